"""What a score means: the chance that its face fails against a good photograph of the same person, and 0 to 100.

Scores of different methods have no common unit. `Calibration` gives any of them two: P(non-match), the chance that the
face is not matched, at the decision threshold of the protocol, with a good partner, by isotonic regression (Zadrozny &
Elkan 2002: the best fit that never rises with the score); and a grade 0..100, the share of the calibration faces that
score lower. It is fitted on the people of one role and must be judged on those of another:
`expected_calibration_error`, and the share discarded against the share asked for.
"""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from ..weights import explained, read_state, write_state
from .verification import as_rate

KIND = "calibration"
"""What the file of a calibration says that it is."""
QUANTILES = 1001
"""How many points of the distribution of the scores are kept, for grades and thresholds: steps of 0.1%."""


def non_match_shares(scores, pairs, similarity, threshold, *, good=0.5):
    """For each face, the share of its mated pairs with a good partner that fail: what a calibration learns from.

    With a bad partner it is the partner that fails. Whether a partner is good is said by the same scores.

    Parameters
    ----------
    scores : array (N,)
        Scores of the faces; higher is better, -inf could not be assessed, NaN is refused.
    pairs : PairIndices
        Positions of the faces, and whether they are mated.
    similarity : array (P,)
        Of each pair; -inf where a face was not enrolled (`protocol.similarities`).
    threshold : float
        A mated pair below it fails.
    good : float in (0, 1], default=0.5
        The share of the faces, from the best score down, that are good partners; those that tie with the last of
        them too.

    Returns
    -------
    array (N,)
        NaN for faces without a mated pair with a good partner.
    """
    scores = _checked_scores(scores)
    if not 0 < good <= 1:
        raise DataError(f"good is a share above 0 and up to 1, got {good}")
    a, b, mated = (np.asarray(column) for column in pairs)
    least = np.sort(scores)[::-1][max(int(np.ceil(good * len(scores) - 1e-12)), 1) - 1]
    partner = (scores >= least) & (scores > -np.inf)
    failing = np.asarray(similarity) < float(threshold)
    tried, failed = np.zeros(len(scores)), np.zeros(len(scores))
    for face, other in ((a, b), (b, a)):
        used = mated & partner[other]
        tried += np.bincount(face[used], minlength=len(scores))
        failed += np.bincount(face[used], failing[used], minlength=len(scores))
    return np.divide(failed, tried, out=np.full(len(scores), np.nan), where=tried > 0)


class Calibration:
    """A score as P(non-match with a good partner) and as a grade of 0..100.

    Attributes
    ----------
    scores_, chances_ : arrays (K,)
        Knots of the falling curve of P(non-match) over the score, joined by straight lines, level beyond the ends.
    quantiles_ : array (1001,)
        Quantiles of the finite scores of the calibration faces.
    missing_ : float
        Share of the calibration faces that could not be assessed.
    about_ : dict
        What was passed to `fit` as `about`, and `n_faces`.
    """

    def fit(self, scores, non_match, *, about=None):
        """Learn the curve.

        Parameters
        ----------
        scores : array (N,)
            Scores of faces; -inf are those that could not be assessed. NaN and +inf are refused.
        non_match : array (N,)
            What came of them, 0 (matched) to 1 (failed): flags, or shares as of `non_match_shares`. NaN is unknown:
            such a face counts for the grades only.
        about : dict, default=None
            What JSON can hold: the method, the networks, the FMR, the people. Kept with the calibration.

        Returns
        -------
        Calibration
            Itself.
        """
        from sklearn.isotonic import IsotonicRegression  # here, so that reading a calibration stays quick

        scores, non_match = _checked_scores(scores), np.asarray(non_match, float)
        if non_match.shape != scores.shape:
            raise DataError(f"{len(scores)} scores, but outcomes of shape {non_match.shape}; one for each is needed")
        if np.isposinf(scores).any():
            raise DataError("a score is +inf; a calibration takes finite scores, and -inf for faces without one")
        known = ~np.isnan(non_match)
        if np.any((non_match[known] < 0) | (non_match[known] > 1)):
            raise DataError("outcomes lie between 0 (matched) and 1 (failed)")
        finite = np.isfinite(scores)
        if len(np.unique(scores[finite & known])) < 2:
            raise DataError("a calibration takes at least two different finite scores with a known outcome")
        curve = IsotonicRegression(increasing=False, out_of_bounds="clip", y_min=0, y_max=1)
        curve.fit(scores[finite & known], non_match[finite & known])
        self.scores_, self.chances_ = (np.asarray(x, float) for x in (curve.X_thresholds_, curve.y_thresholds_))
        self.quantiles_ = np.quantile(scores[finite], np.linspace(0, 1, QUANTILES))
        self.missing_ = float(np.mean(~finite))
        self.about_ = {**(about or {}), "n_faces": len(scores)}
        return self

    def chance(self, scores):
        """P(non-match at the threshold with a good partner): array (N,) of 0..1. 1 for a face without a score (-inf).

        Parameters
        ----------
        scores : array (N,)
            Of the calibrated method.
        """
        scores = _checked_scores(scores)
        return np.where(np.isneginf(scores), 1.0, np.interp(scores, self._fitted().scores_, self.chances_))

    def grade(self, scores):
        """0..100: the share of the calibration faces with a score that is lower, in percent; half of those alike.

        A grade of 20 is better than 20 of 100 faces of the calibration set. It never falls as the score rises.

        Parameters
        ----------
        scores : array (N,)
            Of the calibrated method; -inf gives 0.
        """
        scores, quantiles = _checked_scores(scores), self._fitted().quantiles_
        where = np.linspace(0, 1, len(quantiles))
        first, last = (np.searchsorted(quantiles, scores, side) for side in ("left", "right"))
        between = np.interp(scores, *_distinct(quantiles, where))
        tied = (where[np.minimum(first, len(where) - 1)] + where[np.maximum(last - 1, 0)]) / 2
        share = np.where(last - first > 1, tied, between)
        share = np.where(scores < quantiles[0], 0, np.where(scores > quantiles[-1], 1, share))
        return np.where(np.isneginf(scores), 0.0, 100 * (self.missing_ + (1 - self.missing_) * share))

    def threshold_for(self, *, share):
        """The score below which a share of faces like those of the calibration would be discarded.

        Parameters
        ----------
        share : float in [0, 1]
            The discarded share that is wanted. Faces without a score belong to it.

        Returns
        -------
        float
            Keep a face when `score >= threshold`.
        """
        share, missing = as_rate(share, "share"), self._fitted().missing_
        inside = max(share - missing, 0) / (1 - missing)
        return float(np.interp(inside, np.linspace(0, 1, len(self.quantiles_)), self.quantiles_))

    def save(self, path):
        """Write it as plain arrays, `.npz`; `Calibration.load` reads it."""
        arrays = {"scores": self._fitted().scores_, "chances": self.chances_, "quantiles": self.quantiles_}
        return write_state(path, KIND, arrays | {"missing": self.missing_}, self.about_)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; a `WeightsError` names a file that is missing, damaged or of another kind."""
        arrays, about = read_state(path, KIND)
        self = cls()
        with explained(path):
            self.scores_, self.chances_, self.quantiles_ = (
                np.asarray(arrays[name], float) for name in ("scores", "chances", "quantiles")
            )
            self.missing_, self.about_ = float(arrays["missing"]), about
            if self.scores_.ndim != 1 or self.scores_.shape != self.chances_.shape or self.quantiles_.ndim != 1:
                raise ValueError("the arrays of a calibration have one dimension, scores and chances one length")
            if not len(self.scores_) or not len(self.quantiles_) or np.any(np.diff(self.scores_) < 0):
                raise ValueError("the knots of a calibration rise")
        return self

    def _fitted(self):
        if not hasattr(self, "scores_"):
            raise DataError("this calibration has not been fitted; call fit, or Calibration.load")
        return self


def _distinct(quantiles, where):
    """Quantiles without repetition, each with the middle of its places."""
    values, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
    return values, (where[first] + where[first + counts - 1]) / 2


def threshold_for(scores, *, share=None, non_match=None, fnmr=None):
    """The score from which faces are kept, so that a wanted share is discarded, or a wanted error remains.

    Parameters
    ----------
    scores : array (N,)
        Scores of faces; faces without one (-inf) are discarded in any case. NaN is refused.
    share : float in [0, 1), default=None
        Discard at most this share; equal scores stay together.
    non_match : array (N,), default=None
        What came of the faces, 0 to 1, or their predicted chances; NaN is unknown and not counted. Needed for `fnmr`.
    fnmr : float in [0, 1], default=None
        The mean of `non_match` of the faces that are kept must not exceed this; of all such thresholds, the lowest.

    Returns
    -------
    float
        Keep a face when `score >= threshold`.

    Raises
    ------
    DataError
        Neither or both are wanted, or no threshold gives it.
    """
    scores = _checked_scores(scores)
    if (share is None) == (fnmr is None):
        raise DataError("say one: share (to discard) or fnmr (to remain)")
    finite = np.sort(scores[scores > -np.inf])
    if not len(finite):
        raise DataError("no face has a score, so no threshold can be set")
    if share is not None:
        k = int(np.floor(as_rate(share, "share") * len(scores) + 1e-12))
        if k >= len(scores):
            raise DataError("a share of 1 leaves no face")
        return float(max(np.sort(scores)[k], finite[0]))
    fnmr = as_rate(fnmr, "fnmr")
    outcome = np.asarray(np.nan if non_match is None else non_match, float)
    if outcome.shape != scores.shape:
        raise DataError(f"fnmr needs non_match, one value for each of the {len(scores)} scores")
    known = ~np.isnan(outcome) & (scores > -np.inf)
    order = np.argsort(scores[known], kind="stable")
    values, failed = scores[known][order], outcome[known][order]
    remaining = np.cumsum(failed[::-1])[::-1] / np.arange(len(values), 0, -1)  # of those from each place on
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
    reached = starts[remaining[starts] <= fnmr + 1e-12]
    if not len(reached):
        best = f"the least is {remaining[starts].min():.3g}" if len(starts) else "no outcome is known"
        raise DataError(f"no threshold leaves an error of {fnmr:g}; {best}")
    return float(values[reached[0]])


def expected_calibration_error(chance, outcome, *, bins=10):
    """How far predicted chances are from what came of them, on average over faces (Naeini et al. 2015).

    Faces are sorted by their predicted chance and cut into bins of equally many; equal chances stay in one. In each,
    the mean prediction is compared with the mean outcome.

    Parameters
    ----------
    chance : array (N,)
        Predictions, 0..1.
    outcome : array (N,)
        What came of them, 0..1. NaN is unknown and left out.
    bins : int, default=10
        The most bins.

    Returns
    -------
    float
        The mean of |prediction - outcome| over the bins, each weighted by its faces. 0 is best.
    """
    chance, outcome = np.asarray(chance, float), np.asarray(outcome, float)
    if chance.shape != outcome.shape or chance.ndim != 1:
        raise DataError(f"{chance.shape} predictions, but {outcome.shape} outcomes; one for each is needed")
    known = ~np.isnan(outcome)
    chance, outcome = chance[known], outcome[known]
    if not len(chance):
        raise DataError("no outcome is known, so nothing can be compared")
    for values, what in ((chance, "predictions"), (outcome, "outcomes")):
        if np.isnan(values).any() or np.any((values < 0) | (values > 1)):
            raise DataError(f"{what} lie between 0 and 1")
    if int(bins) < 1:
        raise DataError(f"bins must be at least 1, got {bins}")
    ordered = np.sort(chance)
    place = np.searchsorted(ordered, chance, side="left")  # the first place of its value: ties share it
    bin_of = place * int(bins) // len(chance)
    gap = np.bincount(bin_of, chance - outcome)
    return float(np.abs(gap).sum() / len(chance))


def _checked_scores(scores):
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise DataError(
            "scores are one number for each face; NaN is refused, -inf is a face that could not be assessed"
        )
    return scores
