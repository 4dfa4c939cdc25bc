"""The exercises of notebook 08: the distance between two samples, and the difference of their means."""

import numpy as np

from . import exercise


@exercise("8.1")
def wasserstein(attempt):
    """Wasserstein-1 of two samples of equal size."""
    rng = np.random.default_rng(71)
    own, others = rng.normal(0.2, 0.1, 9), rng.normal(0, 0.8, 9)  # the stairs cross
    right = np.abs(np.sort(own) - np.sort(others)).mean()
    found = float(attempt(own.copy(), others.copy()))
    if np.isclose(found, np.abs(own - others).mean()):
        return "the pairs are those in sorted order, not those in which the numbers happen to come"
    if np.isclose(found, abs(own.mean() - others.mean())):
        return "that is the difference of the means: here some pairs differ in one direction and some in the other"
    if np.isclose(found, right * 9):
        return "that is the sum; the distance is the mean"
    if np.isclose(found, np.sqrt(np.mean((np.sort(own) - np.sort(others)) ** 2))):
        return "with squares and a root it is Wasserstein-2; take the plain differences"
    if not np.isclose(found, right):
        return "sort both, subtract, take absolute values, then their mean"
    kept = own.copy()
    attempt(kept, others)
    if not np.array_equal(kept, own):
        return "right, but it sorts the caller's array in place: np.sort makes a copy"
    return None


@exercise("8.2")
def gap(attempt):
    """The difference of means, and whether the samples lie apart."""
    cases = [
        (np.array([0.9, 0.7]), np.array([0.1, 0.3, 0.2]), True),
        (np.array([0.0, 0.9]), np.array([0.4, 0.5, 0.3]), False),
        (np.array([0.5, 0.9]), np.array([0.5, 0.1, 0.0]), True),  # they touch
        (np.array([-0.2, -0.1]), np.array([0.3, 0.5]), False),  # apart, the other way round
        (np.array([0.5, 0.9]), np.array([0.4, 0.6]), False),  # one heap above the other, rank by rank, and not apart
    ]
    for own, others, apart in cases:
        answer = attempt(own.copy(), others.copy())
        if not isinstance(answer, tuple) or len(answer) != 2:
            return "two answers are wanted: the difference, and whether the samples lie apart"
        difference, said = answer
        if np.isclose(difference, others.mean() - own.mean()):
            return "own minus others: it must be high for a good image"
        if not np.isclose(difference, own.mean() - others.mean()):
            return "the difference of the two means is wanted"
        if bool(said) != apart:
            return f"own {own}, others {others}: is the smallest own number at least the largest of the others?"
    return None
