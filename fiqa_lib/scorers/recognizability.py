"""Recognizability: the distance of a face from all that a recogniser can't recognise (Deng et al. 2021)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..data.non_faces import non_faces
from ..data.training_sets import identified, is_clean, photographs, with_copies
from ..errors import DataError
from ..labels.recognizability import (
    calibrate,
    centre_of,
    clean_stranger_distance,
    cluster,
    describe_clusters,
    pool_template,  # noqa: F401  (lesson 10 takes all of the method from here)
    recognised,
    recognizability,
)
from ..recognition import as_recogniser
from ..transforms.degradations import SEVERITIES
from .base import Scorer, register


@register("recognizability")
class Recognizability(Scorer):
    """Distance from the unrecognisable: e = min(1, 1 - <f_UI, f>), the embedding recognizability score (ERS).

    A recogniser that can't tell who a face is doesn't scatter its embeddings: it puts faces of different people, and
    pictures without a face, into the same places. `fit` finds these by clustering embeddings of training people, of
    severely degraded copies, and of non-faces. The distance of a face from the nearest of them is its score.

    **Faithful** to Deng, Xiong, Wang, Xia and Soatto (arXiv 2106.04112): the score, normalised embeddings,
    hierarchical agglomerative clustering, the threshold `gamma_`, weighted pooling (`pool_template`). **Changed**:
    the paper clusters what a detector finds in photographs in the wild, and takes the largest cluster. Here copies of
    training people stand in for these, a few clusters are found instead of one, and the largest can be one person's;
    so identities decide: every cluster counts in which people are mixed, whatever its size, and each has a centre of
    its own (`nearest`), which ranked other people's faces better than one direction for all (notebook 10).
    **Blind** (ORL training people, half of whom built it, dlib; clean faces get 0.086): to a colour cast of any
    severity, and to pose, uneven light, blur out of focus and low resolution of half severity, after which the mean is
    not lower. Full pose, low resolution and masks (0.072 to 0.076) stay nearer to clean faces than to noise (0.045).
    Of what a detector took for a face it accepts 27% where one direction for all accepts 13%; of other pictures
    without a face 3%.

    Parameters
    ----------
    n_copies : int, default=8
        Degraded copies of each training face, where the faces handed in have none.
    severity : float, default=0.6
        Least severity of these copies, in 0..1.
    distance : float, default=None
        Cosine distance at which the tree of clusters is cut. None: that below which 5% of the pairs of strangers
        among the clean training faces are, since it depends on the recogniser.
    min_people : float, default=4
        A cluster is unrecognisable from this effective number of people on (`describe_clusters`).
    nearest : bool, default=True
        A centre for each such cluster, of which the nearest counts. False: one, the direction of all their members.
    n_patches : int or None, default=8
        Squares of each texture, beside the other `non_faces`. None: no non-faces at all.
    most : int, default=4000
        Largest number of faces that are clustered: memory grows with its square.
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings.
    random_state : int, default=0
        Seed of copies and non-faces.

    Attributes
    ----------
    centres_ : array (K, D)
        f_UI of each chosen cluster, of length 1; one row without `nearest`.
    gamma_ : float
        The threshold: `calibrate` on the training people.
    distance_ : float
        Cosine distance at which the tree was cut.
    clusters_ : DataFrame
        As `describe_clusters` gives it, with `chosen`.
    """

    learns = True
    claims = (
        *("mask", "sunglasses", "occlusion", "low_contrast", "over_exposure", "low_light", "shot_noise"),
        *("sensor_noise", "motion_blur", "jpeg", "rotation", "misalignment"),
    )
    cost = "one embedding"
    quick = {"n_copies": 3}

    def __init__(
        self,
        n_copies=8,
        severity=0.6,
        distance=None,
        min_people=4,
        nearest=True,
        n_patches=8,
        most=4000,
        recogniser="dlib",
        random_state=0,
    ):
        self.n_copies = n_copies
        self.severity = severity
        self.distance = distance
        self.min_people = min_people
        self.nearest = nearest
        self.n_patches = n_patches
        self.most = most
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None):
        """Find the centres and gamma.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Training faces.
        identities : sequence of N, default=None
            The person in each face; None for those of `faces`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            When no cluster mixes `min_people` people.
        """
        recogniser, state = as_recogniser(self.recogniser), self.random_state
        faces = identified(faces, identities)
        levels = [s for s in SEVERITIES if s >= self.severity]
        faces = with_copies(faces, self.n_copies, severities=levels, random_state=state, most=self.most)
        clean, embeddings = is_clean(faces), recogniser.embed(faces)
        self.distance_ = self.distance
        if self.distance is None:
            self.distance_ = clean_stranger_distance(embeddings[clean], faces.identities[clean])
        everything, who = embeddings, faces.identities
        if self.n_patches is not None:
            others = recogniser.embed(non_faces(textures=self.n_patches, grey=False, random_state=state))
            everything, who = np.concatenate([embeddings, others]), np.concatenate([who, [""] * len(others)])
        labels = cluster(everything, self.distance_)
        table = describe_clusters(labels, who)
        table["chosen"] = table["mixed"] >= self.min_people
        if not table["chosen"].any():
            raise DataError(
                f"no cluster mixes {self.min_people:g} people (the most is {table['mixed'].max():.1f}): train on more "
                "people or severer copies, raise distance, or lower min_people"
            )
        self.clusters_ = table
        chosen = np.flatnonzero(table["chosen"])
        groups = [[number] for number in chosen] if self.nearest else [chosen]
        self.centres_ = np.stack([centre_of(everything[np.isin(labels, group)]) for group in groups])
        known = recognised(embeddings, faces.identities, photographs(faces), clean)
        self.gamma_ = calibrate(recognizability(embeddings, self.centres_), known)
        return self

    def _score(self, images, faces):
        return recognizability(as_recogniser(self.recogniser).embed(images), self.centres_)

    def accepts(self, faces):
        """Which faces are recognisable, e >= `gamma_`: (N,) bool."""
        return self.score_samples(faces) >= self.gamma_

    def get_state(self):
        state = {"centres": self.centres_, "gamma": self.gamma_, "distance": self.distance_}
        return state | {f"clusters.{name}": column.to_numpy() for name, column in self.clusters_.items()}

    def set_state(self, arrays):
        centres = arrays["centres"]
        if centres.ndim != 2 or not np.allclose(np.linalg.norm(centres, axis=1), 1):
            raise ValueError(f"the centres must be vectors of length 1, got shape {centres.shape}")
        self.centres_, self.gamma_, self.distance_ = centres, float(arrays["gamma"]), float(arrays["distance"])
        columns = {name.removeprefix("clusters."): c for name, c in arrays.items() if name.startswith("clusters.")}
        self.clusters_ = pd.DataFrame(columns)
