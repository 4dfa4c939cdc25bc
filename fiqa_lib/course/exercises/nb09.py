"""The exercises of notebook 09: the SmoothL1 loss with a width, and a distance of distributions with a sign."""

import numpy as np
from scipy.stats import wasserstein_distance

from . import exercise


@exercise("9.1")
def smooth_l1(attempt):
    """SmoothL1 loss of each error."""
    error = np.array([-7.0, -2.0, -0.5, 0.0, 0.3, 1.9, 2.1, 40.0])
    found = np.asarray(attempt(error.copy(), 2.0), float)
    if found.shape != error.shape:
        return f"8 errors have 8 losses, this has the shape {found.shape}"
    right = np.where(np.abs(error) < 2, error**2 / 4, np.abs(error) - 1)
    if (found < 0).any():
        return "a loss is never negative: what about errors below 0?"
    if np.allclose(found, error**2 / 4):
        return "right near 0; far away the loss grows like the error, not like its square"
    if np.allclose(found, np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)):
        return "right for beta = 1; here it is 2"
    inside = np.abs(error) < 2
    if np.allclose(found[inside], right[inside]) and not np.allclose(found, right):
        return "right within beta of 0; outside, both pieces have to meet at beta: try it there"
    if not np.allclose(found, right):
        return "within beta of 0 it is r^2 / (2 beta), outside |r| - beta / 2"
    if not np.allclose(attempt(np.array([3.0, -3.0]), 4.0), 9 / 8):
        return "right for beta = 2 only"
    return None


@exercise("9.2")
def signed_distance(attempt):
    """Wasserstein-1 distance with the sign of the difference of means."""
    rng = np.random.default_rng(82)
    near, far = rng.normal(0.8, 0.1, 9), rng.normal(0.2, 0.2, 30)
    crossing = rng.normal(0.5, 0.4, 9), rng.normal(0.5, 0.05, 30)

    def gives(mates, strangers):
        return float(attempt(mates.copy(), strangers.copy()))

    plain = wasserstein_distance(near, far)
    if not np.isclose(gives(near, far), plain):
        if np.isclose(gives(near, far), -plain):
            return "these mates are more alike than the strangers: the sign should be positive"
        return f"for these mates and strangers the distance is {plain:.4f} (scipy.stats.wasserstein_distance)"
    swapped = gives(far[:9], near.repeat(3))
    if swapped > 0:
        return "where strangers are more alike on average, it has to be negative"
    if not np.isclose(swapped, -wasserstein_distance(far[:9], near)):
        return "with mates and strangers in each other's place the size should be the Wasserstein distance"
    size = wasserstein_distance(*crossing)
    if not np.isclose(abs(gives(*crossing)), size):
        if np.isclose(gives(*crossing), np.subtract(*(x.mean() for x in crossing))):
            return "the difference of means is smaller where the heaps lie inside each other; only its sign is wanted"
        return "one heap inside the other: the size should still be the Wasserstein distance"
    if not np.isclose(gives(np.array([0.1, 0.1, 0.9]), np.array([0.2, 0.2, 0.2])), 0.3):
        return "mates 0.1, 0.1, 0.9 are more alike on average than strangers of 0.2: the sign is that of the means"
    if not np.isclose(gives(np.array([0.0, 1.0]), np.array([0.5, 0.5])), 0.5):
        return "where the means are equal the distance stays: a sign of 0 would lose it"
    return None
