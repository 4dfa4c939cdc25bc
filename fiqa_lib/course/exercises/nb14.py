"""The exercises of notebook 14: the decision for one face, and a mask without a hard edge."""

import cv2
import numpy as np

from . import exercise


@exercise("14.1")
def decide(attempt):
    """Size first, then the gate, then the looks."""
    cases = [
        ((0.9, 0.6, (640, 480)), (0.6, ""), "a face that passes gets its looks as the score and an empty reason"),
        ((0.5, 0.9, (640, 480)), (None, "gate"), "below the gate there is no score, however good the looks"),
        ((0.9, 0.9, (640, 100)), (None, "size"), "the shorter side decides whether a photograph is too small"),
        ((0.9, 0.9, (100, 640)), (None, "size"), "size is (width, height): both count"),
        ((0.1, 0.9, (50, 50)), (None, "size"), "too small comes first: nothing else of such a face is asked"),
        ((0.7, 0.4, (112, 112)), (0.4, ""), "exactly at the gate, and exactly at the smallest size, passes"),
    ]
    for given, expected, hint in cases:
        found = attempt(*given)
        if not isinstance(found, tuple) or len(found) != 2:
            return "return a pair: (score, reason)"
        score, reason = found
        if score == -1 or score == 0 and expected[0] is None:
            return "a refused face has no score: None, not a number that looks like one"
        if (score is None) != (expected[0] is None) or (score is not None and not np.isclose(score, expected[0])):
            return hint
        if reason != expected[1]:
            return hint
    if attempt(0.5, 0.9, (640, 480), gate=0.4) != (0.9, ""):
        return "gate and min_size are parameters: 0.5 passes a gate of 0.4"
    return None


@exercise("14.2")
def soft_fill(attempt):
    """A blurred mask as a weight."""
    rng = np.random.default_rng(132)
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[10:30, 15:40] = True

    def right(value, sigma, mask=mask):
        weight = cv2.GaussianBlur(mask.astype(float), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)[..., None]
        return np.rint(weight * image + (1 - weight) * value)

    found = attempt(image.copy(), mask.copy(), 128, 3.0)
    found = np.asarray(found)
    if found.shape != image.shape:
        return f"the result is a picture like the one that came in, {image.shape}, not {found.shape}"
    if found.dtype != np.uint8:
        return "return uint8: round, then convert"
    difference = np.abs(found.astype(float) - right(128, 3.0))
    if np.abs(found.astype(float) - np.where(mask[..., None], image, 128)).max() == 0:
        return "that is the hard mask; blur the mask (as numbers, not as booleans) and use it as a weight"
    if np.abs(found.astype(float) - right(0, 3.0)).max() <= 1:
        return "value is what stands in place of the rest: 128 here, not always 0"
    if difference.max() > 2:
        return "weight * picture + (1 - weight) * value, where weight is the blurred mask, between 0 and 1"
    if difference.mean() > 0.3:
        return "nearly: round to the nearest whole number instead of cutting off"
    if np.abs(np.asarray(attempt(image.copy(), mask.copy(), 128, 6.0)).astype(float) - right(128, 6.0)).max() > 2:
        return "right for sigma = 3; use the parameter sigma"
    reaching = np.zeros((40, 50), bool)
    reaching[:30, 15:] = True
    at_border = np.asarray(attempt(image.copy(), reaching.copy(), 128, 3.0)).astype(float)
    if np.abs(at_border - right(128, 3.0, reaching)).max() > 2:
        return "right inside; a mask that reaches the border stays whole there (cv2.BORDER_REPLICATE)"
    return None
