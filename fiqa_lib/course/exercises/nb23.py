"""The exercises of notebook 23: the percentile of a score among clean faces."""

import numpy as np

from ..playground import percentile
from . import exercise


@exercise("23.1")
def my_percentile(attempt):
    """Share of clean scores below a score, ties half, times 100."""
    clean = np.array([1.0, 2.0, 3.0, 4.0])
    found = float(attempt(2.5, clean.copy()))
    if np.isclose(found, 0.5):
        return "a percentile runs from 0 to 100"
    if not np.isclose(found, 50):
        return "of the clean scores 1, 2, 3, 4 half lie below 2.5"
    if not np.isclose(attempt(2.0, clean.copy()), 37.5):
        return "a clean score that equals the score counts half: 2 among 1, 2, 3, 4 is (1 + 1/2) of 4"
    rng = np.random.default_rng(201)
    clean = rng.integers(0, 9, 50).astype(float)
    for score in (-1.0, 4.0, 8.0, 99.0):
        if not np.isclose(attempt(score, clean.copy()), percentile(score, clean)):
            return f"for the score {score:g} among 50 whole numbers from 0 to 8 another percentile is expected"
    return None
