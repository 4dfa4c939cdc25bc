"""The exercises of the template notebook."""

import math

import numpy as np

from . import exercise


def _picture(factor=1.0):
    """A fixed RGB image (48, 40, 3) uint8 of even grey values, so that half of it is exact."""
    grey = 2 * np.random.default_rng(5).integers(10, 100, (48, 40, 1))
    return np.repeat(factor * grey, 3, axis=2).astype(np.uint8)


@exercise("T.1")
def brightness(attempt):
    """The mean grey value."""
    white, picture = np.full((8, 8, 3), 255, np.uint8), _picture()
    if not math.isclose(attempt(white), 255, abs_tol=0.5):
        return "a white picture has the mean grey value 255"
    if not math.isclose(attempt(picture), picture.mean(), abs_tol=0.5):
        return "the mean over all pixels is wanted"
    return None


@exercise("T.2")
def fair_sharpness(attempt):
    """A sharpness that does not depend on the contrast."""
    picture = _picture()
    halves = np.repeat(np.where(np.arange(40) < 20, 40, 200)[None, :, None].astype(np.uint8), 48, axis=0).repeat(
        3, axis=2
    )
    if not attempt(picture) > attempt(halves):
        return "detail in every pixel is sharper than a single edge"
    if not math.isclose(attempt(picture), attempt(_picture(0.5)), rel_tol=1e-6):
        return "half the contrast still changes it: by which power of the factor does the variance change?"
    return None
