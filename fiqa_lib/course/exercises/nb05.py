"""The exercises of notebook 05: stability with its standard error, and an occluder sized by the face."""

import math

import numpy as np

from . import exercise


@exercise("5.1")
def stability_with_error(attempt):
    """Mean cosine of one embedding with K others, and the standard error of that mean."""

    def result(perturbed):
        score, error = attempt(np.array([3.0, 4.0]), np.array(perturbed, float))
        return float(score), float(error)

    copies = [[3, 4], [8, 6], [4, -3], [30, 40]]
    cosines = np.array([1, 0.96, 0, 1])
    score, error = result(copies)
    if not math.isclose(score, cosines.mean(), abs_tol=1e-9):
        return "the score is the mean cosine: the length of an embedding must not matter"
    if math.isclose(error, cosines.std(ddof=1), abs_tol=1e-9):
        return "that is the spread of single draws; their mean is steadier, by the root of their number"
    if math.isclose(error, cosines.std() / 2, abs_tol=1e-9):
        return "the mean was taken from the same draws, which makes them look closer together: divide by K - 1"
    if not math.isclose(error, cosines.std(ddof=1) / 2, abs_tol=1e-9):
        return "the standard error is the standard deviation of the cosines over the root of K"
    score, error = result([[8, 6]])
    if not math.isclose(score, 0.96, abs_tol=1e-9):
        return "one copy has a score, too: its cosine"
    if not math.isnan(error):
        return "one draw says nothing about the spread: NaN"
    return None


@exercise("5.2")
def occlude(attempt):
    """A black square between the eyes, in eye distances."""

    def result(scale, side, shift=0):
        image = np.full((60 * scale, 50 * scale, 3), 200, np.uint8)
        eyes = np.array([[15.0, 20.0 - shift], [35.0, 20.0 - shift]]) * scale
        found = np.asarray(attempt(image, eyes, side))
        return image, found

    image, found = result(1, 0.5)
    if (image != 200).any():
        return "the picture that was handed in has changed; work on a copy"
    if found.shape != image.shape or found.dtype != np.uint8:
        return "the result has the shape and the type of the picture"
    black = (found == 0).all(axis=2)
    if not np.isin(found, (0, 200)).all() or not black.any():
        return "inside the square all three channels are 0, outside nothing changes"
    if black.sum() != 100:
        return f"eyes 20 pixels apart and side 0.5 give a square of 10 x 10 pixels, this covers {black.sum()}"
    for side, width in ((0.53, 11), (0.52, 10)):
        if (result(1, side)[1] == 0).all(axis=2).sum() != width * width:
            return f"the width is rounded: eyes 20 pixels apart and side {side} give {20 * side:.1f}, so {width} pixels"
    rows, columns = np.nonzero(black)
    if abs(rows.mean() - 20) > 0.75 or abs(columns.mean() - 25) > 0.75:
        return "the middle of the square is the middle between the eyes, given as (x, y): x counts columns"
    _, found = result(3, 0.5)
    if (found == 0).all(axis=2).sum() != 900:
        return "at three times the resolution the square is three times as wide"
    _, found = result(1, 1.0, shift=18)
    if (found == 0).all(axis=2).sum() not in (20 * 12, 20 * 11, 20 * 13):
        return "a square that reaches over the border is cut off there; a negative index would wrap around"
    eyes = np.array([[20.0, 20.0], [32.0, 36.0]])
    tilted = np.asarray(attempt(np.full((60, 50, 3), 200, np.uint8), eyes, 0.5))
    if (tilted == 0).all(axis=2).sum() != 100:
        return "the eye distance is measured along the line between the eyes, tilted or not"
    return None
