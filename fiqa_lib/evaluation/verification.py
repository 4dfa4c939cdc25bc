"""Verification: where to draw the line between similarities, and what errors that line makes.

A similarity is higher when two faces are more alike, a pair is accepted when `similarity >= threshold`, and

- FMR, false match rate: the share of non-mated (impostor) pairs that are accepted;
- FNMR, false non-match rate: the share of mated pairs that are not accepted (ISO/IEC 19795-1).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from ..errors import DataError

FEW = 30
"""Fewer expected false matches make a threshold unreliable: the "rule of 30" (ISO/IEC 19795-1, after Doddington)."""


class FewImpostorsWarning(UserWarning):
    """The threshold rests on fewer than 30 expected false matches: another sample would put it elsewhere."""


# ------------------------------------------------------------------------------------------------------ input checks


def as_scores(values, what):
    """Similarities as a 1-D float array without NaN. float32 stays: 84 million pairs need not be copied to float64."""
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise DataError(f"{what} must be a 1-D numeric array, got {values.dtype} {values.shape}")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if np.isnan(values).any():
        raise DataError(f"{what} holds {int(np.isnan(values).sum())} NaN; a pair without a similarity must be left out")
    return values


def as_flags(mated, n):
    """Mated flags as a bool array of length `n`; anything but booleans, 0 and 1 is refused."""
    mated = np.asarray(mated)
    if mated.ndim != 1 or len(mated) != n:
        raise DataError(f"mated must have one flag for each of the {n} pairs, got shape {mated.shape}")
    if mated.dtype != bool and not (mated.dtype.kind in "fiuO" and np.isin(mated, (0, 1)).all()):
        raise DataError("mated must hold booleans (or 0 and 1)")
    return mated.astype(bool, copy=False)


def as_rate(value, what="fmr"):
    """A share between 0 and 1 as a float."""
    value = float(value)
    if not 0 <= value <= 1:
        raise DataError(f"{what} is a share between 0 and 1, got {value}")
    return value


def just_above(value):
    """The next float of the same precision. Above the largest finite one comes infinity, as intended here."""
    with np.errstate(over="ignore"):
        return np.nextafter(value, value.dtype.type(np.inf))


def _both_classes(similarity, mated):
    """The similarities of the mated and of the impostor pairs; either may not be empty."""
    similarity = as_scores(similarity, "similarity")
    mated = as_flags(mated, len(similarity))
    genuine, impostor = similarity[mated], similarity[~mated]
    for part, name in ((genuine, "mated"), (impostor, "non-mated (impostor)")):
        if not len(part):
            raise DataError(f"there are no {name} pairs among the {len(similarity)} given, so this can't be measured")
    return genuine, impostor


# --------------------------------------------------------------------------------------------- thresholds and errors


class Threshold(float):
    """A decision threshold: a float that knows where it came from. Accept a pair when `similarity >= threshold`.

    Attributes
    ----------
    target_fmr : float
        The FMR that was asked for.
    realised_fmr : float
        The FMR it gives on the impostor pairs it was fitted on; never above the target.
    n_impostor : int
        On how many impostor pairs it rests.
    expected_false_matches : float
        `target_fmr * n_impostor`. Below 30 the threshold is mostly luck.
    zero_fmr : bool
        True when `target_fmr * n_impostor < 1`: no false match is allowed, and the threshold sits just above the
        highest impostor ("zero-FMR"), whatever the target says.
    """

    def __new__(cls, value, target_fmr, realised_fmr, n_impostor, zero_fmr):
        self = super().__new__(cls, value)
        self.target_fmr, self.realised_fmr = target_fmr, realised_fmr
        self.n_impostor, self.zero_fmr = n_impostor, zero_fmr
        self.expected_false_matches = target_fmr * n_impostor
        return self

    def __reduce__(self):
        return type(self), (float(self), self.target_fmr, self.realised_fmr, self.n_impostor, self.zero_fmr)

    def __repr__(self):
        zero = ", zero-FMR" if self.zero_fmr else ""
        return (
            f"Threshold({float(self)!r}, FMR {self.realised_fmr:.3g} for a target of {self.target_fmr:.3g}{zero}, "
            f"{self.n_impostor} impostor pairs)"
        )


def allowed_false_matches(fmr, n_impostor):
    """How many of `n_impostor` pairs an FMR of at most `fmr` lets through: floor(fmr * n + 1e-12). Also for arrays."""
    return np.floor(fmr * np.asarray(n_impostor) + 1e-12).astype(np.int64)


def fit_threshold(impostor_similarity, fmr, *, warn=True):
    """The lowest threshold whose FMR does not exceed `fmr`, hence the one with the lowest FNMR.

    With k = floor(fmr * N + 1e-12), the threshold is the next float above the (k+1)-th highest impostor similarity, so
    that at most the k above it are accepted by `similarity >= threshold` (ties at that value are all rejected).

    Parameters
    ----------
    impostor_similarity : array (N,)
        Similarities of non-mated pairs, in any order. float32 gives a threshold of float32, safe against float64 too.
    fmr : float in [0, 1]
        The target false match rate. 1 gives -inf: everything is accepted.
    warn : bool, default=True
        False leaves the warning to the caller (`warn_if_few`).

    Returns
    -------
    Threshold
        A float, with `realised_fmr`, `n_impostor`, `expected_false_matches` and `zero_fmr`.

    Raises
    ------
    DataError
        Without impostor pairs, with NaN, and where no finite threshold can reach the rate, since more than k impostor
        pairs have similarity +inf.

    Warns
    -----
    FewImpostorsWarning
        When fewer than 30 false matches are expected.
    """
    scores, fmr = as_scores(impostor_similarity, "impostor_similarity"), as_rate(fmr)
    n = len(scores)
    if not n:
        raise DataError("there are no non-mated (impostor) pairs, so no threshold can be fitted; give a threshold")
    k = int(allowed_false_matches(fmr, n))
    if k >= n:
        return Threshold(-math.inf, fmr, 1.0, n, False)
    value = np.partition(scores, n - 1 - k)[n - 1 - k]
    if value == np.inf:
        raise DataError(
            f"an FMR of {fmr:g} can't be reached: {np.sum(scores == np.inf)} of {n} impostor pairs have similarity +inf"
        )
    threshold = just_above(value)
    realised = float(np.count_nonzero(scores >= threshold) / n)
    threshold = Threshold(float(threshold), fmr, realised, n, k == 0)
    if warn:
        warn_if_few(threshold, stacklevel=3)
    return threshold


def warn_if_few(threshold, stacklevel=2):
    """Issue a `FewImpostorsWarning` when a threshold rests on fewer than 30 expected false matches.

    Parameters
    ----------
    threshold : Threshold or float
        As `fit_threshold` gives it. A plain float passes: on how many impostor pairs it rests is unknown.
    stacklevel : int, default=2
        As in `warnings.warn`: 2 points at the caller.
    """
    if getattr(threshold, "expected_false_matches", FEW) >= FEW:
        return
    zero = " It is the zero-FMR threshold, just above the highest impostor." if threshold.zero_fmr else ""
    warnings.warn(
        f"FMR {threshold.target_fmr:g} on {threshold.n_impostor} impostor pairs is "
        f"{threshold.expected_false_matches:.3g} expected false matches, fewer than {FEW}: "
        f"the threshold is not to be relied on.{zero} Use more pairs or a higher FMR.",
        FewImpostorsWarning,
        stacklevel=stacklevel,
    )


def fmr(impostor_similarity, threshold):
    """Share of the pairs `impostor_similarity` that `similarity >= threshold` accepts, for one or more `threshold`."""
    scores = as_scores(impostor_similarity, "impostor_similarity")
    return (len(scores) - _count_below(scores, threshold, "non-mated (impostor)")) / len(scores)


def fnmr(mated_similarity, threshold):
    """Share of the pairs in `mated_similarity` that `similarity >= threshold` rejects, for one or more `threshold`."""
    scores = as_scores(mated_similarity, "mated_similarity")
    return _count_below(scores, threshold, "mated") / len(scores)


def _count_below(scores, threshold, name):
    if not len(scores):
        raise DataError(f"there are no {name} pairs")
    threshold = np.asarray(threshold, dtype=np.float64)
    if np.isnan(threshold).any():
        raise DataError("the threshold is NaN")
    if not threshold.ndim:
        return int(np.count_nonzero(scores < threshold))
    return np.searchsorted(np.sort(scores), threshold, side="left")


def fnmr_at_fmr(similarity, mated, fmr):
    """FNMR at the lowest threshold whose FMR does not exceed `fmr`; see `fit_threshold` for errors and the warning.

    Parameters
    ----------
    similarity, mated : array (P,)
        As for `det_curve`.
    fmr : float in [0, 1]
        The target false match rate.

    Returns
    -------
    float
    """
    genuine, impostor = _both_classes(similarity, mated)
    threshold = fit_threshold(impostor, fmr, warn=False)
    warn_if_few(threshold, stacklevel=3)
    return fnmr(genuine, threshold)


class DET(NamedTuple):
    """Every operating point: `threshold` (T,) rising, with its `fmr` (T,) falling and `fnmr` (T,) rising."""

    threshold: np.ndarray
    fmr: np.ndarray
    fnmr: np.ndarray


def det_curve(similarity, mated):
    """The detection error trade-off: FMR and FNMR at every distinct similarity, and just above the highest.

    Between two neighbouring thresholds neither rate changes. For the usual axes pass both rates through `probit`.
    scikit-learn's `det_curve` gives the same rates, but drops the ends and refuses infinite similarities.

    Parameters
    ----------
    similarity : array (P,)
        Of each pair, higher = more alike.
    mated : bool array (P,)
        Whether the pair shows one person.

    Returns
    -------
    DET
        From (FMR 1, FNMR 0) to (FMR 0, FNMR 1). The last point is missing where the highest similarity is +inf.
    """
    genuine, impostor = _both_classes(similarity, mated)
    threshold = np.unique(np.concatenate([genuine, impostor]).astype(np.float64))
    if threshold[-1] < np.inf:
        threshold = np.append(threshold, just_above(threshold[-1]))
    return DET(threshold, fmr(impostor, threshold), fnmr(genuine, threshold))


class ROC(NamedTuple):
    """Every operating point: `threshold` (T,) rising; `fmr` (T,) and the true match rate `tmr` (T,), both falling."""

    threshold: np.ndarray
    fmr: np.ndarray
    tmr: np.ndarray


def roc_curve(similarity, mated):
    """The receiver operating characteristic: true match rates in place of FNMR. Parameters are those of `det_curve`."""
    det = det_curve(similarity, mated)
    return ROC(det.threshold, det.fmr, 1 - det.fnmr)


def probit(rate):
    """The scale of DET axes: the inverse of the normal distribution function. 0 -> -inf, 0.5 -> 0, 1 -> +inf."""
    return ndtri(np.asarray(rate, dtype=np.float64))


def auc(similarity, mated):
    """Area under the ROC: the share of (mated, impostor) couples in the right order, a tie counting half.

    Equal to scikit-learn's `roc_auc_score`, but exact in integers and without sorting all pairs together. Parameters
    are those of `det_curve`.
    """
    genuine, impostor = _both_classes(similarity, mated)
    impostor = np.sort(impostor)
    twice = sum(int(np.searchsorted(impostor, genuine, side).sum(dtype=np.int64)) for side in ("left", "right"))
    return twice / (2 * len(genuine) * len(impostor))


class EqualErrorRate(NamedTuple):
    """`rate`: the mean of FMR and FNMR where they lie closest; `threshold`: where that is."""

    rate: float
    threshold: float


def equal_error_rate(similarity, mated):
    """The error where FMR and FNMR lie closest together (the lowest such threshold, where several do).

    Both are step functions and need not meet: the mean of the two is returned, without interpolation. Parameters are
    those of `det_curve`.

    Returns
    -------
    EqualErrorRate
    """
    det = det_curve(similarity, mated)
    best = int(np.argmin(np.abs(det.fmr - det.fnmr)))
    return EqualErrorRate(float((det.fmr[best] + det.fnmr[best]) / 2), float(det.threshold[best]))


class FoldAccuracy(NamedTuple):
    """`mean` and `standard_error` over folds; `accuracy` and `threshold` (F,) of each fold."""

    mean: float
    standard_error: float
    accuracy: np.ndarray
    threshold: np.ndarray


def accuracy_10fold(similarity, mated, folds=10):
    """Verification accuracy by the LFW protocol: the threshold comes from nine folds, the accuracy from the tenth.

    The threshold is the one with the highest accuracy on the other folds, half-way between two neighbouring
    similarities (the lowest such place, where several are equal). Published scripts try a grid of 400 distances
    instead, which may miss it by a hair.

    Parameters
    ----------
    similarity, mated : array (P,)
        As for `det_curve`.
    folds : int or array (P,), default=10
        A number: that many blocks in the order given, which is how `pairs.txt` and the InsightFace `.bin` files are
        ordered. An array: the fold of each pair (the column `fold` of `data.read_lfw_pairs`).

    Returns
    -------
    FoldAccuracy
        The standard error is the sample standard deviation over folds / sqrt(folds) (Huang et al. 2007, LFW).
    """
    similarity = as_scores(similarity, "similarity").astype(np.float64)
    mated = as_flags(mated, len(similarity))
    labels = _fold_labels(folds, len(similarity))
    accuracy, thresholds = [], []
    for fold in np.unique(labels):
        test = labels == fold
        threshold = _most_accurate(*_both_classes(similarity[~test], mated[~test]))
        thresholds.append(threshold)
        accuracy.append(np.mean((similarity[test] >= threshold) == mated[test]))
    accuracy = np.array(accuracy)
    spread = float(accuracy.std(ddof=1) / math.sqrt(len(accuracy)))
    return FoldAccuracy(float(accuracy.mean()), spread, accuracy, np.array(thresholds))


def _fold_labels(folds, n):
    if np.ndim(folds):
        labels = np.asarray(folds)
        if labels.shape != (n,) or len(np.unique(labels)) < 2:
            raise DataError(f"folds must name the fold of each of the {n} pairs, and at least two folds")
        return labels
    if not 2 <= int(folds) <= n:
        raise DataError(f"folds must be between 2 and the number of pairs, {n}; got {folds}")
    return np.concatenate([np.full(len(part), i) for i, part in enumerate(np.array_split(np.arange(n), int(folds)))])


def _most_accurate(genuine, impostor):
    """The threshold with the highest accuracy, half-way between neighbouring similarities."""
    values = np.unique(np.concatenate([genuine, impostor]))
    with np.errstate(over="ignore", invalid="ignore"):
        middle = values[:-1] / 2 + values[1:] / 2
    middle = np.where((middle > values[:-1]) & (middle <= values[1:]), middle, values[1:])  # infinities, neighbours
    candidates = np.concatenate([values[:1], middle, just_above(values[-1:])])
    wrong = _count_below(genuine, candidates, "mated") - _count_below(impostor, candidates, "non-mated (impostor)")
    return float(candidates[np.argmin(wrong)])
