"""The exercises of notebook 04: a curve between oracle and chance, the quality of a pair, a score of one's own."""

import math

import numpy as np
from scipy.stats import rankdata

from . import exercise

_DISCARD, _ERROR = (0, 0.2, 0.6, 0.8, 1), (0.6, 0.5, 0.5, 1, 0)


@exercise("4.1")
def oracle_scaled(attempt):
    """Area under a step curve up to a limit, between that of the oracle and that of chance."""

    def result(limit, n_mated=5, discard=_DISCARD, error=_ERROR):
        return float(attempt(np.array(discard, float), np.array(error, float), n_mated, limit))

    flat = (0, 1), (0.25, 0)
    found = result(0.5, 4, *flat)
    if math.isclose(found, 0.5 * 0.25, abs_tol=1e-9):
        return "that is the raw area; it is to be placed between the areas of the oracle and of chance"
    if not math.isclose(found, 1, abs_tol=1e-9):
        return "a curve with a single step stays at its starting error, so it is chance: 1"
    if not math.isclose(result(0.3), 0, abs_tol=1e-9):
        return "up to 0.3 the five pairs of the notebook are in as good an order as any: 0"
    if math.isclose(result(0.6), (0.32 - 0.18) / (0.36 - 0.18), abs_tol=1e-6):
        return "the line max(0, e0 - x) is not the oracle: its pairs leave one by one, from fewer and fewer"
    floor = 0.2 * (0.6 + 0.5 + 1 / 3)
    if not math.isclose(result(0.6), (0.32 - floor) / (0.36 - floor), abs_tol=1e-9):
        return "up to 0.6 the oracle's three steps are 0.6, 0.5 and 1/3, each 0.2 wide"
    if not math.isclose(result(0.5, 8, *flat), 1, abs_tol=1e-9):
        return "with 8 pairs, 2 of them failing, chance is still 1: the number of pairs counts for the oracle only"
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


@exercise("4.3")
def my_score(attempt):
    """The contract of a score: one finite number for each face, the same in any batch, and not the same for all."""
    images = np.random.default_rng(4).integers(0, 256, (6, 192, 192, 3)).astype(np.uint8)
    images[1] //= 4
    images[2] = images[2].mean(axis=(0, 1), keepdims=True).astype(np.uint8)
    images[3, 48:144] = images[3, 48:144].mean(axis=0, keepdims=True).astype(np.uint8)
    found = np.asarray(attempt(images.copy()), float)
    if found.shape != (len(images),):
        return f"{len(images)} faces have {len(images)} scores, this has the shape {found.shape}"
    if not np.isfinite(found).all():
        return "each score must be a finite number"
    if np.ptp(found) == 0:
        return "six very different pictures have the same score: nothing could be discarded by it"
    alone = np.concatenate([np.atleast_1d(np.asarray(attempt(images[i : i + 1].copy()), float)) for i in range(6)])
    if not np.allclose(alone, found):
        return "a face's score depends on the other faces of its batch: a gate sees one face at a time"
    return None
