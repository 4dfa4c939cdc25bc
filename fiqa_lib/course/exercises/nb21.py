"""The exercises of notebook 21: a decision for each score, and the lowest threshold that reaches an error rate."""

import math

import numpy as np

from . import exercise


@exercise("21.1")
def decide(attempt):
    """The word "kept", "rejected" or "failed" for each score."""
    found = list(attempt([0.1, 0.9, 0.5], 0.5))
    if len(found) != 3:
        return "one word for each score, in their order"
    if found[2] != "kept":
        return "a score that equals the threshold is kept"
    if found != ["rejected", "kept", "kept"]:
        return "below the threshold a photograph is rejected; the words are kept, rejected and failed"
    missing = list(attempt([float("nan"), 0.9, -math.inf, math.inf], 0.5))
    if missing[0] != "failed":
        return "NaN is neither below nor above a threshold: ask for it first"
    if missing != ["failed", "kept", "failed", "failed"]:
        return "an infinite score is no score either: such a photograph has failed"
    return None


def _by_trying(quality, missed, target):
    fits = [t for t in np.unique(quality) if missed[quality >= t].mean() <= target]
    return min(fits, default=math.inf)


@exercise("21.2")
def lowest_threshold(attempt):
    """The lowest pair quality from which on the FNMR is at most the target."""
    quality, missed = np.array([4.0, 3.0, 2.0, 1.0]), np.array([False, False, True, True])
    if not np.isclose(attempt(quality.copy(), missed.copy(), 0.0), 3):
        return "of the qualities 4, 3, 2, 1 the last two are missed; without any miss, pairs from 3 on can be kept"
    if not np.isclose(attempt(quality.copy(), missed.copy(), 0.5), 1):
        return "with half of the pairs allowed to be missed all can stay: the lowest threshold is asked for"
    late = np.array([True, False, False, False])
    if not np.isclose(attempt(quality.copy(), late.copy(), 0.25), 1):
        return "the best pair is missed, the others are not: the FNMR falls again later, so look at all thresholds"
    if attempt(quality.copy(), np.ones(4, bool), 0.5) != math.inf:
        return "where no threshold reaches the target, return infinity"
    equal = np.array([2.0, 2.0, 2.0])
    if attempt(equal, np.array([False, True, True]), 0.5) != math.inf:
        return "equal pairs come in together: with the qualities 2, 2, 2 there is one threshold, and it keeps all"
    rng = np.random.default_rng(182)
    for _ in range(20):
        quality, missed = rng.integers(0, 8, 30).astype(float), rng.random(30) < 0.4
        if attempt(quality.copy(), missed.copy(), 0.3) != _by_trying(quality, missed, 0.3):
            return f"for the qualities {quality.astype(int).tolist()} the threshold differs from trying them all"
    return None
