"""SER-FIQ: quality as the agreement of embeddings from random sub-networks (Terhörst et al., CVPR 2020)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ..errors import DataError
from ..faces import crops_of
from ..files import whole_file
from ..recognition import as_recogniser
from ..recognition.base import batches
from .base import Scorer, register

CHUNK = 64
AUTHORS_CALIBRATION = (130.0, 0.88)
"""Slope and middle by which SER-FIQ's authors rescale the scores of their ArcFace-R100, and of no other network."""


def robustness(distance):
    """The score of SER-FIQ from the mean pairwise distance d >= 0: 2 / (1 + e^d), in (0, 1] (the paper, section 3)."""
    return 2 * expit(-np.asarray(distance, float))


@register("ser-fiq")
class SerFiq(Scorer):
    """Agreement of T embeddings made with random dropout: 2 / (1 + e^d), d their mean pairwise Euclidean distance.

    The trunk runs once for each face. Dropout acts on the features in front of the last linear layer, as the paper
    proposes for a network in use, so that T passes cost T small matrix products. Embeddings are L2-normalised before
    distances are taken. The T masks are drawn once and used for every face, which makes scores comparable and
    independent of the batch.

    **Faithful:** the formula; T = 100; dropout in front of the last layer of a network in use.
    **Changed:** one set of masks for all faces, in place of new ones for each.
    **Blind** (ORL-D, dlib, share of copies that score lower minus share that score higher): uneven light (-.69), a
    colour cast (-.50) and over-exposure (-.33) raise it; it hardly sees rotation (0) and sunglasses (-.09). dlib's
    network was not trained with dropout, and on photographs the score made of it is at chance (`data/results/lfw`).

    Parameters
    ----------
    n_passes : int, default=100
        T, the number of random sub-networks, at least 2. The paper uses 100.
    dropout : float in (0, 1), default=0.5
        Share of the features that each pass drops.
    recogniser : str or Recogniser, default="dlib"
        One that is a torch network, with `features` and `head`.
    random_state : int, default=0
        Seed of the masks.

    Notes
    -----
    Scores lie close together, at a level that depends on the network: a threshold from another network means nothing.
    `Calibration` puts them on a common scale.
    """

    claims = ("gaussian_blur", "motion_blur", "sensor_noise", "shot_noise")
    cost = "one embedding and n_passes products with the last layer"

    def __init__(self, n_passes=100, dropout=0.5, recogniser="dlib", random_state=0):
        self.n_passes = n_passes
        self.dropout = dropout
        self.recogniser = recogniser
        self.random_state = random_state

    def _score(self, images, faces):
        return robustness(self.mean_distance(images))

    def mean_distance(self, faces):
        """Mean Euclidean distance of the T normalised embeddings of each face, over all pairs i < j.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces aligned to the canonical crop.

        Returns
        -------
        array (N,) float64
            In 0..2.
        """
        if not (isinstance(self.n_passes, int) and self.n_passes >= 2):
            raise DataError(f"n_passes must be a whole number from 2, not {self.n_passes!r}")
        if not 0 < self.dropout < 1:
            raise DataError(f"dropout must lie between 0 and 1, not {self.dropout!r}")
        images, recogniser = crops_of(faces), as_recogniser(self.recogniser)
        head = recogniser.head  # raises DataError with the reason where there is none
        masks = self._masks(recogniser.n_features)
        distances = np.empty(len(images))
        for batch in batches(len(images), CHUNK):
            distances[batch] = _mean_pairwise(torch.from_numpy(recogniser.features(images[batch])), head, masks)
        return distances

    def _masks(self, width):
        """(T, width) float32 of 0 and 1 / (1 - p), so that the mean stays; a pass that drops everything is redrawn."""
        rng = np.random.default_rng(self.random_state)
        masks = rng.random((self.n_passes, width)) >= self.dropout
        while (empty := ~masks.any(1)).any():
            masks[empty] = rng.random((empty.sum(), width)) >= self.dropout
        return torch.from_numpy((masks / (1 - self.dropout)).astype(np.float32))


def _mean_pairwise(features, head, masks):
    """Mean distance over i < j of T unit vectors u_t: ||u_i - u_j||^2 = 2 - 2 <u_i, u_j>."""
    n, passes = len(features), len(masks)
    with torch.inference_mode():
        dropped = (features[:, None, :] * masks).reshape(n * passes, -1)
        unit = torch.nn.functional.normalize(head(dropped).reshape(n, passes, -1), dim=2)
        squared = (2 - 2 * unit @ unit.transpose(1, 2)).clamp_(min=0)
        squared.diagonal(dim1=1, dim2=2).zero_()
        return (squared.sqrt_().sum((1, 2), dtype=torch.float64) / (passes * (passes - 1))).numpy()


def expected_squared_distance(features, weight, dropout=0.5):
    """Expected squared distance of two embeddings with independent dropout, in closed form; not normalised.

    With inverted dropout z = W (m * f) / (1 - p), each m_k kept with probability 1 - p: the covariance of z is
    p / (1 - p) * sum_k f_k^2 w_k w_k^T, and two independent draws differ by twice its trace.

    Parameters
    ----------
    features : array (N, F)
        Input of the last linear layer.
    weight : array (D, F)
        Weights of that layer.
    dropout : float in (0, 1), default=0.5
        p, the share that is dropped.

    Returns
    -------
    array (N,) float64
    """
    features, weight = np.asarray(features, float), np.asarray(weight, float)
    return 2 * dropout / (1 - dropout) * (features**2 @ (weight**2).sum(0))


class Calibration:
    """A logistic curve that turns the scores of one method with one recogniser into a probability.

    Fitted on training people: how likely is a face with this score to be matched with another picture of its person?
    calibrated = 1 / (1 + exp(-slope * (score - middle))). SER-FIQ's authors give 130 and 0.88, for their ArcFace-R100
    only (`AUTHORS_CALIBRATION`).

    Parameters
    ----------
    slope : float
        Steepness of the curve.
    middle : float
        The score of probability 1/2.
    """

    def __init__(self, slope, middle):
        self.slope, self.middle = float(slope), float(middle)

    def __repr__(self):
        return f"Calibration(slope={self.slope:.6g}, middle={self.middle:.6g})"

    @classmethod
    def fit(cls, scores, matched):
        """Fit the curve.

        Parameters
        ----------
        scores : array (N,)
            Finite scores of one method.
        matched : array (N,) bool
            Whether each face was matched.

        Returns
        -------
        Calibration

        Raises
        ------
        DataError
            When all or none were matched, or lengths disagree.
        """
        scores, matched = np.asarray(scores, float), np.asarray(matched, bool)
        if scores.shape != matched.shape or scores.ndim != 1 or not np.isfinite(scores).all():
            raise DataError(f"finite scores and as many flags are needed, got {scores.shape} and {matched.shape}")
        if matched.all() or not matched.any():
            raise DataError("all faces, or none, were matched: a calibration needs both; add degraded copies")
        centre, spread = scores.mean(), scores.std() or 1.0
        model = LogisticRegression(C=1e6).fit(((scores - centre) / spread)[:, None], matched)
        slope = model.coef_[0, 0] / spread
        return cls(slope, centre - model.intercept_[0] / slope)

    def __call__(self, scores):
        """Calibrated scores, in (0, 1), of scores of any shape."""
        return expit(self.slope * (np.asarray(scores, float) - self.middle))

    def save(self, path):
        """Write the two numbers to a JSON file, whole or not at all."""
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({"slope": self.slope, "middle": self.middle}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises DataError, with the file's name, when it holds something else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(content["slope"], content["middle"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a calibration ({error}); make one with Calibration.fit(...).save") from error
