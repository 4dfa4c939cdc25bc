"""The exercises of notebook 22: when the last worker is done, and how much faster many of them can be."""

import math

from . import exercise


@exercise("22.1")
def finish(attempt):
    """When all pieces are done: each goes to the worker that is free first, in the order given."""
    cases = [(([3.0, 3.0, 3.0], 1), 9.0), (([3.0, 3.0, 3.0], 2), 6.0), (([1.0, 1.0, 4.0], 2), 5.0)]
    for (pieces, workers), right in cases:
        found = float(attempt(list(pieces), workers))
        if math.isclose(found, right, abs_tol=1e-9):
            continue
        if math.isclose(found, sum(pieces) / workers, abs_tol=1e-9):
            return "the sum over the workers is a lower bound: a piece can't be cut, so somebody finishes later"
        if math.isclose(found, max(pieces), abs_tol=1e-9):
            return "the longest piece is a lower bound: with few workers they also wait for each other"
        return f"pieces {pieces} on {workers} workers take {right}, this says {found}"
    if not math.isclose(float(attempt([4.0, 1.0, 1.0], 2)), 4.0, abs_tol=1e-9):
        return "the order matters: with the long piece first, 4, 1, 1 on two workers take 4"
    return None


@exercise("22.2")
def speed_up(attempt):
    """Amdahl: how much faster with n workers, if a share of the work can't be divided."""
    if not math.isclose(float(attempt(0.0, 8)), 8, abs_tol=1e-9):
        return "where everything can be divided, 8 workers are 8 times as fast"
    found = float(attempt(0.1, 10))
    if math.isclose(found, 9, abs_tol=1e-9):
        return "the undivided part takes its time in full; add up times, then compare with 1"
    if not math.isclose(found, 1 / (0.1 + 0.9 / 10), abs_tol=1e-9):
        return "time with n workers: share + (1 - share) / n, where one worker needs 1; the speed-up is 1 over it"
    if not math.isclose(float(attempt(0.25, 10**9)), 4, abs_tol=1e-3):
        return "with ever more workers the speed-up tends to 1 over the share"
    return None
