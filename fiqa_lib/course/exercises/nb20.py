"""The exercises of notebook 20: Holm's correction, and an exact test over people."""

import itertools

import numpy as np

from ...evaluation.protocol import holm as right_holm
from . import exercise


@exercise("20.1")
def holm(attempt):
    """Corrected p-values in the order given."""
    given = np.array([0.04, 0.01, 0.03])
    found = np.asarray(attempt(given.copy()), float)
    if found.shape != (3,):
        return f"return one number for each of the 3 p-values, not an array of shape {found.shape}"
    if np.allclose(found, given * 3):
        return "that is Bonferroni's correction, m-fold for all; only the smallest counts m-fold"
    if np.allclose(found, np.sort(right_holm(given))) or np.allclose(found, [0.03, 0.06, 0.06]):
        return "right numbers in another order: return them in the order given"
    if np.allclose(found, [0.04, 0.03, 0.06]):
        return "0.04 was the largest and comes out below 0.03's: none may be lower than one that was smaller before"
    if not np.allclose(found, [0.06, 0.03, 0.06]):
        return "sort; the smallest of m counts m-fold, the next (m - 1)-fold; then none below the one before"
    if np.max(attempt(np.array([0.9, 0.8]))) > 1:
        return "no p-value exceeds 1"
    for seed in range(3):
        given = np.random.default_rng(seed).random(7) ** 3
        if not np.allclose(attempt(given.copy()), right_holm(given)):
            return "right for three; try more, such as [0.001, 0.2, 0.02, 0.02]"
    return None


@exercise("20.2")
def exact_p(attempt):
    """The share of all groups with a gap at least as large."""
    rates = np.array([0.9, 0.8, 0.1, 0.0, 0.2, 0.1, 0.3])
    inside = np.array([True, True, False, False, False, False, False])

    def right(rates, inside, one_sided=False):
        gaps = []
        for chosen in itertools.combinations(range(len(rates)), int(inside.sum())):
            own = np.isin(np.arange(len(rates)), chosen)
            gaps.append(rates[own].mean() - rates[~own].mean())
        gap = rates[inside].mean() - rates[~inside].mean()
        return np.mean(np.array(gaps) >= gap - 1e-12) if one_sided else np.mean(np.abs(gaps) >= abs(gap) - 1e-12)

    found = float(attempt(rates.copy(), inside.copy()))
    if found == 0:
        return "the group itself is one of all groups, so that the share is never 0: >=, with room for rounding"
    if not 0 < found <= 1:
        return f"a share lies between 0 and 1, not {found:g}"
    if not np.isclose(found, right(rates, inside)):
        return "go through itertools.combinations(range(n), k), take each gap, count those at least as large"
    lower = np.array([0.1, 0.0, 0.6, 0.5, 0.2, 0.9])
    few = np.array([True, True, False, False, False, False])
    if not np.isclose(attempt(lower.copy(), few.copy()), right(lower, few)):
        return "right where the group is discarded more; where it is discarded less, the absolute value counts"
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rates, inside = rng.integers(0, 11, 9) / 10, np.arange(9) < 3 + seed
        if not np.isclose(attempt(rates.copy(), inside.copy()), right(rates, inside)):
            return "nearly: gaps that are equal but for rounding count as equal (1e-12)"
    return None
