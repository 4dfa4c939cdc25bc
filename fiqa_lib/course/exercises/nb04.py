"""The exercises of notebook 04: the area under a step curve, and the quality of a pair."""

import math

import numpy as np
from scipy.stats import rankdata

from . import exercise

_DISCARD, _ERROR = (0, 0.2, 0.6, 0.8, 1), (0.6, 0.5, 0.5, 1, 0)


@exercise("4.1")
def normalised_pauc(attempt):
    """Area under a step curve up to a limit, over that of chance."""

    def result(limit, discard=_DISCARD, error=_ERROR):
        return float(attempt(np.array(discard, float), np.array(error, float), limit))

    if math.isclose(result(0.2), 0.12, abs_tol=1e-9):
        return "that is the raw area; chance has the area limit * error[0]"
    if not math.isclose(result(0.2), 1, abs_tol=1e-9):
        return "the five pairs of the notebook have 0.12 up to 0.2, and chance has 0.2 * 0.6: the first step is level"
    if not math.isclose(result(0.3), 0.17 / 0.18, abs_tol=1e-9):
        return "up to 0.3 the second step counts with a width of 0.1: a limit may lie inside a step"
    if not math.isclose(result(1), 0.62 / 0.6, abs_tol=1e-9):
        return "up to 1 each of the steps counts with its own width; the last one ends at 1"
    if not math.isclose(result(0.5, (0, 1), (0.25, 0)), 1, abs_tol=1e-9):
        return "a curve with a single step stays at its starting error, so it is chance: 1"
    return None


@exercise("4.2")
def pair_quality(attempt):
    """The quality of a pair from two distances with missing values; any scale that keeps the order is right."""
    raw_a = np.array([0.5, 3.0, 0.1, np.nan, 0.2, 0.05, 0.4, np.nan, 1.0])
    raw_b = np.array([0.7, 0.2, 0.3, 0.1, np.nan, 0.02, 1.5, np.nan, 0.25])
    missing = np.isnan(raw_a) | np.isnan(raw_b)
    given_a, given_b = raw_a.copy(), raw_b.copy()
    found = np.asarray(attempt(given_a, given_b), float)
    if not (np.array_equal(given_a, raw_a, equal_nan=True) and np.array_equal(given_b, raw_b, equal_nan=True)):
        return "the arrays that were handed in have changed; work on copies"
    if found.shape != raw_a.shape:
        return f"9 pairs have 9 qualities, this has the shape {found.shape}"
    if np.isnan(found).any():
        return "there is a NaN left; edc refuses it, since sorting would hide it"
    wanted = rankdata(-np.maximum(raw_a, raw_b)[~missing])
    if not np.array_equal(rankdata(found[~missing]), wanted):
        return "the order of the assessed pairs is not right: with distances, which of two faces is the worse one?"
    if not np.all(np.isneginf(found[missing])):
        return "a pair with one unassessed face is unassessed, however good the other face is: -inf"
    if np.isinf(found[~missing]).any():
        return "a pair with two assessed faces has a finite quality"
    return None
