"""Two free signals together: the length of the embedding and the detector's own score, by their ranks."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from ..faces import Faces, crops_of
from ..recognition import as_recogniser
from .base import Scorer, register

REFERENCES = 1001


@register("norm-and-detector")
class NormAndDetector(Scorer):
    """Mean of two ranks among reference faces: of the length of the embedding, and of the detector's score.

    Both numbers exist already when a photograph is recognised. They have no common unit, so each is turned into its
    rank among the faces of `fit`: 0 the lowest, 1 the highest, 0.5 the median. The reference is stored; a face's score
    does not depend on the faces beside it. Outside the reference the rank goes on, ever more slowly, to -0.5 and 1.5:
    very bad faces are still ordered, and neither signal outweighs the other. Identities are not needed.

    The course's own combination: the embedding norm (MagFace, Meng et al. 2021) and the confidence of a face detector
    are known signals. **Faithful:** each by itself. **Changed:** the norm is a by-product of networks that were not
    trained for it; ranks instead of raw numbers.
    **Blind** (ORL training people, dlib): pose, uneven light, colour cast, rotation and misalignment. Half-severe low
    contrast raises it, since it lengthens the embedding. A degraded copy of a crop has the detector's score of its
    photograph: only the length sees what happened after the crop.

    A face that was cut from the middle of a photograph because the detector found none (`status` "fallback") has the
    detector rank of the worst reference face. Where nothing was detected at all, as in crops that come aligned, there
    is no such score: a DataError says so, and `embedding-norm` is the method for them.

    Parameters
    ----------
    recogniser : str or Recogniser, default="dlib"
        Whose embedding's length is taken.

    Attributes
    ----------
    norms_, detections_ : arrays (at most 1001,) float64
        Reference quantiles, sorted.
    """

    learns = True
    claims = (
        *("mask", "gaussian_blur", "defocus_blur", "motion_blur", "low_resolution", "over_exposure"),
        *("shot_noise", "sensor_noise", "jpeg"),
    )
    cost = "one embedding; the detector has run already"

    def __init__(self, recogniser="dlib"):
        self.recogniser = recogniser

    def fit(self, faces, identities=None):
        """Store the quantiles of both signals.

        Parameters
        ----------
        faces : Faces
            Reference faces with the attribute `detector_score`; at least two.
        identities : sequence of N, default=None
            Not used.

        Returns
        -------
        self
        """
        found = detector_scores(faces)
        found = found[np.isfinite(found)]
        if len(found) < 2:
            raise DataError(f"{len(found)} reference faces were found by a detector; at least 2 are needed")
        self.norms_, self.detections_ = quantiles(self._norms(crops_of(faces))), quantiles(found)
        return self

    def _score(self, images, faces):
        found = detector_scores(faces)
        detection = rank(np.where(np.isfinite(found), found, self.detections_[0]), self.detections_)
        return (rank(self._norms(images), self.norms_) + detection) / 2

    def _norms(self, images):
        return np.linalg.norm(as_recogniser(self.recogniser).embed(images).astype(float), axis=1)

    def get_state(self):
        return {"norms": self.norms_, "detections": self.detections_}

    def set_state(self, arrays):
        self.norms_, self.detections_ = arrays["norms"], arrays["detections"]
        return self


def detector_scores(faces):
    """The attribute `detector_score`, (N,) float64; -inf where the detector found no face in the photograph.

    Parameters
    ----------
    faces : Faces
        As `faces.extract_faces` gives them.

    Returns
    -------
    array (N,) float64

    Raises
    ------
    DataError
        A face has no such score and is no fallback. The message names it.
    """
    table = faces.attributes if isinstance(faces, Faces) else {}
    if "detector_score" not in table:
        raise DataError(
            "norm-and-detector needs faces with the attribute detector_score (faces.extract_faces sets it); use "
            "embedding-norm for crops that were aligned elsewhere"
        )
    scores = table["detector_score"].to_numpy(float)
    fallback = (table["status"] == "fallback").to_numpy() if "status" in table else np.zeros(len(scores), bool)
    if (unknown := np.isnan(scores) & ~fallback).any():
        raise DataError(
            f"{faces.names[unknown][0]}: no detector has seen this face (aligned elsewhere?), so it has no "
            "detector_score; use embedding-norm, or give the photograph"
        )
    return np.where(np.isnan(scores), -np.inf, scores)


def quantiles(values):
    """At most `REFERENCES` sorted numbers that stand for a distribution: (N,) -> (min(N, 1001),) float64."""
    return np.sort(values) if len(values) <= REFERENCES else np.quantile(values, np.linspace(0, 1, REFERENCES))


def rank(values, reference):
    """Rank of each value among sorted reference numbers, 0 at the lowest and 1 at the highest.

    Parameters
    ----------
    values : array (N,)
        Finite numbers.
    reference : array (M,)
        Sorted, M at least 2. Equal ones share their mean rank.

    Returns
    -------
    array (N,) float64
        Outside the reference above -0.5 and below 1.5; halfway there one distance between the quartiles away.
    """
    values = np.asarray(values, float)
    known, first, counts = np.unique(reference, return_index=True, return_counts=True)
    inside = np.interp(values, known, (first + (counts - 1) / 2) / (len(reference) - 1))
    spread = np.subtract(*np.quantile(reference, (0.75, 0.25))) or np.ptp(reference) or 1.0
    beyond = (np.clip(values - known[-1], 0, None) - np.clip(known[0] - values, 0, None)) / spread
    return inside + beyond / (1 + np.abs(beyond)) / 2
