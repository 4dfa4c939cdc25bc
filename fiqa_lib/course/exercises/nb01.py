"""The exercises of notebook 01: faces from photographs."""

import numpy as np

from ...faces import CANONICAL_EYES, CANONICAL_POINTS
from . import exercise


@exercise("1.1")
def overlap(attempt):
    """Intersection over union of one box with several."""
    box = np.array([10.0, 10, 14, 14])
    others = np.array([[10, 10, 14, 14], [12, 10, 16, 14], [18, 18, 19, 19], [11, 11, 13, 13], [20, 4, 30, 9]], float)
    found = np.asarray(attempt(box.copy(), others.copy()), float)
    if found.shape != (5,):
        return f"one number for each of the other boxes is wanted, (K,), not the shape {found.shape}"
    if found[4] != 0 or found[2] != 0:
        return "boxes that share nothing overlap by 0: a negative width is no width, and two of them no area"
    if not np.isclose(found[0], 1):
        return "a box overlaps itself by 1: the area of the union counts what both share once"
    if not np.isclose(found[3], 0.25):
        return "a box inside the other: the union is the larger one, so the overlap is the share of its area"
    if not np.isclose(found[1], 1 / 3):
        return "two boxes of 16 that share 8 cover 24 together"
    return None


def _turned(degrees, scale=1.0, shift=(0.0, 0.0)):
    """The canonical landmarks, turned clockwise as seen in a picture, scaled and shifted: (5, 2)."""
    angle = np.radians(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return CANONICAL_POINTS @ matrix.T + shift


@exercise("1.2")
def eyes_of(attempt):
    """Inter-eye distance and roll from five landmarks."""
    level = np.array([[15, 10], [35, 10], [25, 22], [17, 34], [33, 34]], float)
    answer = attempt(level.copy())
    if np.shape(answer) != (2,):
        return "two numbers are wanted: the distance and the roll"
    distance, roll = answer
    if not np.isclose(distance, 20):
        return "the eyes are the first two landmarks; between those of this face are 20 pixels"
    if not np.isclose(roll, 0, atol=1e-6):
        return "both eyes stand equally high, so the roll is 0: which way does your eye line point?"
    lower = level.copy()
    lower[1, 1] += 20  # the eye on the picture's right is 20 lower: 45 degrees
    distance, roll = attempt(lower)
    if np.isclose(roll, np.pi / 4):
        return "the roll is wanted in degrees"
    if np.isclose(roll, -45):
        return "y grows downwards: is the roll positive when the eye on the picture's right is lower?"
    if not np.isclose(roll, 45):
        return "the eye on the right is 20 pixels to the right and 20 lower: which angle is that?"
    if not np.isclose(distance, np.hypot(20, 20)):
        return "the distance must not depend on the roll"
    distance, roll = attempt(_turned(130, 0.7, (300, 40)))
    expected = np.degrees(np.arctan2(*(CANONICAL_EYES[1] - CANONICAL_EYES[0])[::-1])) + 130
    if not np.isclose(roll, expected):
        return "a face turned by more than 90 degrees comes out wrong: np.arctan2 knows all four quadrants"
    return None


@exercise("1.3")
def from_eyes(attempt):
    """The similarity transform that takes two eye centres to their places in the canonical crop."""
    left, right = CANONICAL_EYES
    matrix = np.asarray(attempt(left.copy(), right.copy()), float)
    if matrix.shape != (2, 3):
        return f"a matrix of shape (2, 3) is wanted, not {matrix.shape}"
    if not np.allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-6):
        return "eyes that are in their places already must stay: the matrix must be [[1, 0, 0], [0, 1, 0]]"
    for degrees, scale, shift in ((0, 2.0, (30, -12)), (25, 0.4, (90, 5)), (-170, 1.3, (400, 500))):
        eyes = _turned(degrees, scale, shift)[:2]
        matrix = np.asarray(attempt(eyes[0].copy(), eyes[1].copy()), float)
        hint = _not_similar(matrix) or _not_met(matrix, eyes, degrees)
        if hint:
            return hint
    return None


def _not_similar(matrix):
    linear = matrix[:, :2]
    if np.linalg.det(linear) <= 0:
        return "the matrix mirrors the face: its determinant must be positive"
    if not np.allclose(linear.T @ linear, np.linalg.det(linear) * np.eye(2), rtol=1e-6, atol=1e-9):
        return "the matrix stretches the face: turn and scale are [[p, -q], [q, p]]"
    return None


def _not_met(matrix, eyes, degrees):
    met = eyes @ matrix[:, :2].T + matrix[:, 2]
    if np.allclose(met, CANONICAL_EYES, atol=1e-6):
        return None
    middle = np.allclose(met.mean(0), CANONICAL_EYES.mean(0), atol=1e-6)
    if degrees == 0:
        return "a face of twice the size: the eyes do not meet their places" + (", only their middle does" * middle)
    return "a turned face: the eyes do not meet their places; which way must it be turned back?"
