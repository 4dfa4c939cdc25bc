"""Recognizability: how far a face is from where a recogniser puts all that it cannot tell apart (Deng et al. 2021)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import entropy
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import roc_curve
from sklearn.preprocessing import normalize

from .. import degradations, faceless, training
from ..degradations import SEVERITIES
from ..errors import DataError
from ..faceless import non_faces
from ..recognition import as_recogniser
from ..training import identified, is_clean, photographs, with_copies
from .base import Scorer, register

# --- the cluster


def clean_stranger_distance(embeddings, identities, share=0.05):
    """The cosine distance that a share of the pairs of strangers stays below: where to cut the tree of clusters.

    Parameters
    ----------
    embeddings : array (N, D)
        Of clean faces.
    identities : sequence of N
    share : float

    Returns
    -------
    float
        1 minus the (1 - share) quantile of the cosines between different people.
    """
    unit, (_, who) = normalize(embeddings), np.unique(identities, return_inverse=True)
    above = np.triu(who[:, None] != who[None])
    if not above.any():
        raise DataError("clean faces of two people are needed to know how far apart strangers are")
    return float(1 - np.quantile((unit @ unit.T)[above], 1 - share))


def cluster(embeddings, distance):
    """Hierarchical agglomerative clustering by the mean cosine distance between the members of two clusters.

    Parameters
    ----------
    embeddings : array (N, D)
    distance : float
        Clusters whose mean distance is larger are not merged.

    Returns
    -------
    array (N,) int
        Number of the cluster of each embedding, from 0.
    """
    method = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="cosine", linkage="average", compute_full_tree=True
    )
    return method.fit_predict(np.asarray(embeddings, np.float64))


def describe_clusters(labels, identities):
    """How many faces and people each cluster holds.

    Parameters
    ----------
    labels : array (N,) int
        As `cluster` gives them.
    identities : sequence of N str
        "" for what is no face.

    Returns
    -------
    DataFrame
        One row for each cluster, by number: `size`, `non_faces`, `people`, and `mixed`: the effective number of people,
        exp of the entropy of their shares. 1 where all faces show one person; k where k people share it evenly.
    """
    known = np.asarray(identities) != ""
    counts = pd.crosstab(np.asarray(labels)[known], np.asarray(identities)[known])
    counts = counts.reindex(range(np.max(labels) + 1), fill_value=0).to_numpy()
    size = np.bincount(labels)
    some = counts.sum(axis=1) > 0
    mixed = np.zeros(len(size))
    mixed[some] = np.exp(entropy(counts[some], axis=1))
    people = (counts > 0).sum(axis=1)
    return pd.DataFrame({"size": size, "non_faces": size - counts.sum(axis=1), "people": people, "mixed": mixed})


def centre_of(embeddings):
    """The direction of some embeddings: the mean of the unit vectors, brought to length 1. (D,) float64."""
    return normalize(normalize(np.asarray(embeddings, np.float64)).mean(axis=0, keepdims=True))[0]


def recognizability(embeddings, centre):
    """e = min(1, 1 - <f_UI, f>), both of length 1 (the paper, section 2.2). (N, D) and (D,) -> (N,) in [0, 1]."""
    cosines = normalize(np.asarray(embeddings, np.float64)) @ np.asarray(centre, np.float64)
    return np.clip(1 - cosines, 0, 1)


# --- what it is good for


def recognised(embeddings, identities, sources, clean):
    """Which faces are nearest to their own person, among the clean faces of all people: (N,) bool.

    Parameters
    ----------
    embeddings : array (N, D)
    identities, sources : sequences of N
        A face is not compared with another version of its own photograph.
    clean : array (N,) bool
        The gallery.
    """
    identities, (_, source) = np.asarray(identities), np.unique(sources, return_inverse=True)
    unit, gallery = normalize(np.asarray(embeddings, np.float64)), np.flatnonzero(clean)
    cosines = unit @ unit[gallery].T
    cosines[source[:, None] == source[gallery]] = -np.inf
    return identities == identities[gallery[cosines.argmax(axis=1)]]


def calibrate(scores, recognised):
    """The threshold gamma that best parts recognised from unrecognised faces: accept where score >= gamma.

    It maximises the share of recognised faces kept plus the share of unrecognised faces refused (Youden's index). The
    paper tunes gamma by the accuracy on its data, and gets 0.60 for its own network. Scores that part nothing give the
    lowest score: everything is accepted.

    Parameters
    ----------
    scores : array (N,)
        Of training people.
    recognised : array (N,) bool

    Raises
    ------
    DataError
        When all or none are recognised.
    """
    recognised = np.asarray(recognised, bool)
    if recognised.all() or not recognised.any():
        raise DataError("all faces, or none, were recognised: a threshold needs both; add severer or milder copies")
    accepted_wrongly, kept, thresholds = roc_curve(recognised, np.asarray(scores, float))
    gain = kept - accepted_wrongly
    return float(thresholds[np.argmax(gain) if gain.max() > 0 else -1])


def pool_template(embeddings, weights=None):
    """One embedding for several photographs of one person: the weighted mean of their unit vectors, of length 1.

    Parameters
    ----------
    embeddings : array (K, D)
    weights : array (K,), optional
        Not negative, for instance recognizability. None: the plain mean.

    Returns
    -------
    array (D,) float64

    Raises
    ------
    DataError
        When nothing is left to pool.
    """
    unit = normalize(np.asarray(embeddings, np.float64))
    weights = np.ones(len(unit)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != (len(unit),) or not (weights >= 0).all() or not (weights > 0).any():
        raise DataError(f"{len(unit)} weights are needed, none below 0 and one above; got {weights.tolist()}")
    return normalize((weights @ unit)[None])[0]


@register("recognizability")
class Recognizability(Scorer):
    """Distance from the unrecognisable: e = min(1, 1 - <f_UI, f>), the embedding recognizability score (ERS).

    A recogniser that can't tell who a face is doesn't scatter its answers: it puts faces of different people, and
    pictures that show none, into the same places. `fit` finds them by clustering embeddings of training people, of
    severely degraded copies, and of non-faces. f_UI is the direction of their mean.

    **Faithful** to Deng, Xiong, Wang, Xia and Soatto (arXiv 2106.04112): the score, normalised embeddings,
    hierarchical agglomerative clustering, the threshold `gamma_`, weighted pooling (`pool_template`). **Changed**:
    the paper clusters what a detector finds in photographs in the wild, and takes the largest cluster. Here copies of
    training people stand in for these, a few clusters are found instead of one, and the largest can be one person's;
    so identities decide: every cluster counts in which people are mixed, whatever its size.
    **Blind** (ORL training people, half of whom built it, dlib; clean faces get 0.086): to a colour cast of any
    severity, and to pose, uneven light, blur out of focus and low resolution of half severity, after which the mean is
    not lower. Full pose, low resolution and masks (0.072 to 0.076) stay nearer to clean faces than to noise (0.045).

    Parameters
    ----------
    n_copies : int
        Degraded copies of each training face, where the faces handed in have none.
    severity : float
        Of these copies, at least.
    distance : float, optional
        Cosine distance at which the tree of clusters is cut. Default: that below which 5% of the pairs of strangers
        among the clean training faces are, since it depends on the recogniser.
    min_people : float
        A cluster is unrecognisable from this effective number of people on (`describe_clusters`).
    n_patches : int or None
        Squares of each texture, beside the other `non_faces`. None: no non-faces at all.
    most : int
        At most so many faces are clustered: memory grows with the square.
    recogniser : str or Recogniser
    random_state : int

    Attributes
    ----------
    centre_ : array (D,)
        f_UI.
    gamma_ : float
        The threshold: `calibrate` on the training people.
    distance_ : float
    clusters_ : DataFrame
        As `describe_clusters` gives it, with `chosen`.
    """

    learns = True
    claims = (
        *("mask", "sunglasses", "occlusion", "low_contrast", "over_exposure", "low_light", "shot_noise"),
        *("sensor_noise", "motion_blur", "jpeg", "rotation", "misalignment"),
    )
    cost = "one embedding"
    built_on = (training, degradations, faceless)
    quick = {"n_copies": 3}

    def __init__(
        self,
        n_copies=8,
        severity=0.6,
        distance=None,
        min_people=5,
        n_patches=8,
        most=4000,
        recogniser="dlib",
        random_state=0,
    ):
        self.n_copies = n_copies
        self.severity = severity
        self.distance = distance
        self.min_people = min_people
        self.n_patches = n_patches
        self.most = most
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None):
        """Find f_UI and gamma.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
        identities : sequence of N, optional

        Returns
        -------
        self

        Raises
        ------
        DataError
            Fewer people than `min_people`, or no cluster that mixes so many.
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
        self.centre_ = centre_of(everything[table["chosen"].to_numpy()[labels]])
        known = recognised(embeddings, faces.identities, photographs(faces), clean)
        self.gamma_ = calibrate(recognizability(embeddings, self.centre_), known)
        return self

    def _score(self, images, faces):
        return recognizability(as_recogniser(self.recogniser).embed(images), self.centre_)

    def accepts(self, faces):
        """Which faces are recognisable, e >= `gamma_`: (N,) bool."""
        return self.score_samples(faces) >= self.gamma_

    def get_state(self):
        state = {"centre": self.centre_, "gamma": self.gamma_, "distance": self.distance_}
        return state | {f"clusters.{name}": column.to_numpy() for name, column in self.clusters_.items()}

    def set_state(self, arrays):
        centre = arrays["centre"]
        if centre.ndim != 1 or not np.isclose(np.linalg.norm(centre), 1):
            raise ValueError(f"the centre must be a vector of length 1, got shape {centre.shape}")
        self.centre_, self.gamma_, self.distance_ = centre, float(arrays["gamma"]), float(arrays["distance"])
        columns = {name.removeprefix("clusters."): c for name, c in arrays.items() if name.startswith("clusters.")}
        self.clusters_ = pd.DataFrame(columns)
