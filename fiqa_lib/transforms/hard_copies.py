"""Copies of a photograph as hard as those from the wild: turned heads, few pixels, cover, several damages together.

`degradations.random_degradations` makes copies for lessons, one damage at a time and by name. A network that has to
judge photographs from anywhere learns from these instead: wider, mixed, and aligned with a detector's errors.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ..faces.alignment import CANONICAL_POINTS, EYE_DISTANCE, SIZE, similarity_transform
from .degradations import apply_to_image
from .kinds import KINDS
from .turning import turn

TURN, FEW_PIXELS, PATCHES = "turn", "few_pixels", "patches"
"""Damages that are no `KINDS`: a turn in space, a small or badly stored picture, things before the face."""


class Copy(NamedTuple):
    """A copy: its picture, the damages it went through, and the turn in degrees."""

    image: np.ndarray
    kinds: tuple
    yaw: float = 0.0
    pitch: float = 0.0


def hard_copies(image, rng):
    """The photograph itself and six copies.

    Parameters
    ----------
    image : array (192, 192, 3) uint8 RGB
        A canonical crop.
    rng : numpy.random.Generator
        Draws everything.

    Returns
    -------
    list of Copy
        The first has no `kinds`. About half are mirrored, all but the first.
    """
    made = [Copy(image, ()), _turned(image, rng, 15, 75)]
    made.append(_damaged(_turned(image, rng, 0, 70, 15), rng, 0.1, 0.7))
    made.append(_turned(image, rng, 30, 78))
    if rng.random() < 0.5:
        made[-1] = _with(made[-1], few_pixels(made[-1].image, rng), FEW_PIXELS)
    made.append(_damaged(Copy(image, ()), rng, 0.1, 1))
    several = _damaged(Copy(image, ()), rng, 0.1, 0.8)
    for _ in range(rng.integers(1, 3)):
        several = _damaged(several, rng, 0.1, 0.7)
    made.append(several)
    small = _turned(image, rng, 0, 60) if rng.random() < 0.4 else Copy(image, ())
    made.append(_with(small, few_pixels(small.image, rng), FEW_PIXELS))
    return made[:1] + [_aligned_with_errors(copy, rng) for copy in made[1:]]


def _with(copy, image, kind):
    return copy._replace(image=image, kinds=(*copy.kinds, kind))


def _turned(image, rng, low, high, spread=12):
    yaw = float(rng.choice([-1, 1]) * rng.uniform(low, high))
    pitch = float(np.clip(rng.normal(0, spread), -35, 35))
    return Copy(turn(image, yaw, pitch, rng), (TURN,), yaw, pitch)


def _damaged(copy, rng, low, high):
    drawn = rng.random()
    if drawn < 0.15:
        return _with(copy, few_pixels(copy.image, rng), FEW_PIXELS)
    if drawn < 0.2:
        return _with(copy, patches(copy.image, rng), PATCHES)
    kind = list(KINDS)[rng.integers(len(KINDS))]
    return _with(copy, apply_to_image(copy.image, kind, float(rng.uniform(low, high)), rng), kind)


def _aligned_with_errors(copy, rng):
    """Landmarks a little off in half of the copies, far off in a tenth; and a mirror image every other time."""
    drawn = rng.random()
    if drawn < 0.5:
        copy = copy._replace(image=misaligned(copy.image, 0.025, rng))
    elif drawn < 0.6:
        copy = _with(copy, misaligned(copy.image, 0.1, rng), "misalignment")
    if rng.random() < 0.5:
        copy = copy._replace(image=np.ascontiguousarray(copy.image[:, ::-1]), yaw=-copy.yaw)
    return copy


def misaligned(image, spread, rng):
    """The crop as landmarks with errors of this spread, in eye distances, would have cut it."""
    moved = CANONICAL_POINTS + rng.normal(0, spread * EYE_DISTANCE, (5, 2))
    matrix = similarity_transform(moved, CANONICAL_POINTS)
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


_DOWN = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)


def few_pixels(image, rng):
    """A crop of 18 to 110 pixels made large again: by one of four rules, at times blurred, noisy, JPEG-coded."""
    side = int(np.exp(rng.uniform(np.log(18), np.log(110))))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))
    small = cv2.resize(image, (side, side), interpolation=_DOWN[rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])])
    if rng.random() < 0.4:
        small = np.clip(small + rng.normal(0, rng.uniform(1, 10), small.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])[1]
        small = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return cv2.resize(small, (SIZE, SIZE), interpolation=_DOWN[1 + rng.integers(2)])


def patches(image, rng):
    """One to three rectangles before the face: a colour, noise, or another piece of the photograph."""
    image, out = np.asarray(image), image.copy()
    for _ in range(rng.integers(1, 4)):
        width, height = rng.integers(20, 90, 2)
        left, top = np.maximum(rng.integers(20, SIZE - 20, 2) - (width // 2, height // 2), 0)
        part = out[top : top + height, left : left + width]
        what = rng.integers(3)
        if what == 0:
            part[:] = rng.integers(0, 256, 3)
        elif what == 1:
            part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
        else:
            x, y = rng.integers(0, SIZE - part.shape[1] + 1), rng.integers(0, SIZE - part.shape[0] + 1)
            part[:] = image[y : y + part.shape[0], x : x + part.shape[1]]
    return out
