"""The exercises of notebook 03, degradations."""

import math

import numpy as np

from . import exercise

_STREAKS = ((9.0, 0.0), (14.0, math.pi / 2), (15.0, math.pi / 6), (20.0, 2.5), (3.0, 1.0))  # length, angle


@exercise("3.1")
def motion_kernel(attempt):
    """A kernel whose weights lie evenly along a centred streak: tested by its moments."""
    for length, angle in _STREAKS:
        kernel = np.asarray(attempt(length, angle), float)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
            return f"a square array with an odd side is wanted, so that one pixel is the middle; got {kernel.shape}"
        if not np.isfinite(kernel).all() or kernel.min() < 0:
            return "a weight is a share of the light: none is negative"
        if not math.isclose(kernel.sum(), 1, abs_tol=1e-6):
            return f"the weights add up to {kernel.sum():.3g}: a blur must neither add light nor take it away"
        hint = _shape_of_streak(kernel, length, angle)
        if hint:
            return hint
    return None


def _shape_of_streak(kernel, length, angle):
    half = kernel.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    if math.hypot((kernel * x).sum(), (kernel * y).sum()) > 0.3:
        return "the streak is not centred: the blurred picture would move"
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    place = f"at length {length:g} and angle {angle:.2f}"
    width = math.sqrt((kernel * across**2).sum())
    if width > 0.75:
        return f"{place} the weights lie {width:.1f} pixels off the line: is the angle in radians, and y down?"
    extent = math.sqrt(12 * (kernel * along**2).sum())  # of a streak with even weights
    if abs(extent - length) > 1.0:
        return f"{place} the weights spread as those of an even streak of {extent:.1f} pixels do"
    if kernel.max() > 3 / length + 1e-9:
        return f"{place} one pixel holds {kernel.max():.2f} of the light: it should lie evenly along the streak"
    return None


_CALLS = 20


def _counted(curve):
    """`curve`, and a list that grows with each of its calls."""
    calls = []

    def call(severity):
        calls.append(float(severity))
        return curve(severity)

    return call, calls


_CURVES = (  # falling curve, target, the severity at which it falls to it
    (lambda s: 1 - s**2, 0.5, math.sqrt(0.5)),
    (lambda s: math.exp(-3 * s), 0.5, math.log(2) / 3),
    (lambda s: 1 - 0.2 * s, 0.9, 0.5),
    (lambda s: 1 / (1 + math.exp(40 * (s - 0.93))), 0.5, 0.93),
    (lambda s: 0.9 if s < 0.3 else 0.4, 0.5, 0.3),
)


@exercise("3.2")
def severity_at(attempt):
    """Where a falling curve reaches a target, in few calls; nan where it never does."""
    for curve, target, where in _CURVES:
        call, calls = _counted(curve)
        found = float(attempt(call, target))
        if any(not 0 <= severity <= 1 for severity in calls):
            return "severities lie in 0..1: the curve was asked for another"
        if math.isnan(found):
            return "a curve that does fall to its target got nan"
        if abs(found - where) > 1.1e-3:
            side = "above" if found > where else "below"
            return f"the answer for one curve is {abs(found - where):.2g} {side} the right one: which half to keep?"
        if len(calls) > _CALLS:
            return f"{len(calls)} calls of the curve are more than {_CALLS}: halve the interval each time"
    call, _ = _counted(lambda s: 1 - 0.3 * s)
    if not math.isnan(float(attempt(call, 0.5))):
        return "a curve that stays above its target at severity 1 should give nan"
    return None
