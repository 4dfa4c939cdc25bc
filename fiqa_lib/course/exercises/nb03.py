"""The exercises of notebook 03, degradations."""

import math

import cv2
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


def _scene():
    """A fixed grey picture (96, 96) float with soft shades and some edges, as a face has them."""
    y, x = np.mgrid[0:96, 0:96]
    picture = 90 + 40 * np.sin(x / 17) * np.cos(y / 23)
    picture[(x - 34) ** 2 + (y - 40) ** 2 < 60] = 40
    picture[(x - 62) ** 2 + (y - 40) ** 2 < 60] = 40
    picture[68:72, 38:58] = 60
    picture[8:24] += 30 * (np.arange(16) // 2 % 2)[:, None]  # strands of hair
    return cv2.GaussianBlur(picture, (0, 0), 0.7)


def _picture(noise=0.0, blur=0.0):
    """The scene as RGB uint8, blurred, then with noise of a standard deviation in grey levels."""
    scene = _scene()
    scene = cv2.GaussianBlur(scene, (0, 0), blur) if blur else scene
    scene = scene + np.random.default_rng(3).normal(0, 1, scene.shape) * noise
    return np.repeat(np.rint(np.clip(scene, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)


@exercise("3.3")
def smoothness(attempt):
    """A score that falls with noise and hardly moves with blur."""
    scores = [float(attempt(_picture(noise))) for noise in (0, 3, 6, 12, 24)]
    if not np.isfinite(scores).all():
        return "a score is one finite number"
    if np.any(np.diff(scores) >= 0):
        return "more noise must give a lower score, at each step: higher is better"
    blurred = [float(attempt(_picture(blur=width))) for width in (1.0, 2.0)]
    if max(abs(score - scores[0]) for score in blurred) > (scores[0] - scores[1]) / 2:
        return "blur moves it as much as noise does: which pattern do neighbours have in noise, but not at an edge?"
    if float(attempt(_picture(noise=6, blur=2.0))) >= scores[1]:
        return "a blurred picture with noise is still noisy"
    return None
