"""The exercises of notebook 00."""

import numpy as np

from . import exercise


@exercise("0.1")
def fnmr(attempt):
    """The share of mated similarities below the threshold."""
    scores = np.array([0.9, 0.5, 0.7, 0.2])
    if np.isclose(attempt(scores, 0.6), 2):
        return "a rate is a share of the pairs, not a number of pairs"
    if np.isclose(attempt(scores, 0.1), 1) and np.isclose(attempt(scores, 0.95), 0):
        return "that is the share of accepted pairs; the errors are the others"
    if not np.isclose(attempt(scores, 0.6), 0.5):
        return "of the similarities 0.9, 0.5, 0.7, 0.2 two are not accepted at 0.6"
    if not np.isclose(attempt(scores, 0.5), 0.25):
        return "a similarity that equals the threshold is accepted"
    return None


@exercise("0.2")
def pair_quality_of(attempt):
    """The worse picture decides."""
    quality = np.array([5.0, 1.0, 3.0, 4.0])
    a, b = np.array([0, 2, 3, 0]), np.array([1, 3, 0, 0])
    found = np.asarray(attempt(a, b, quality))
    if found.shape != (4,):
        return "one number for each pair is wanted"
    if not np.allclose(found, [1, 3, 4, 5]):
        return "look up both qualities of each pair first, then take the smaller of the two, pair by pair"
    return None
