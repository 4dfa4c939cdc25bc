"""Perturbations: small changes that a method makes on purpose, to see whether the embedding of a face stays the same.

The perturbations are those of the study "FIQA by perturbation stability" (course notebook 05): affine maps with and
without a mirror image, rotation, scale, Gaussian and Poisson noise, salt and pepper in grey and in colour, an elastic
warp, occlusion by a square and by a frame, a shuffle of tiles (there called "mixup"), and true mixup with another
picture. A blur is added.

Sizes are in **eye distances** of the canonical crop (`faces.EYE_DISTANCE`), so that a setting means the same at any
resolution; `PRESETS` holds the study's own settings, converted from its 112-pixel crops, whose eyes are 35.24 pixels
apart. What is left of the study's ways is in its favour: it draws the same dots on every face (a fixed seed) and cuts
decimals off; here each face has its own draw and values are rounded. It turns about the middle of the crop and repeats
no border; here the middle of the eyes stays, and the border is repeated.

A positive angle turns the picture **clockwise** as it is seen, against OpenCV's `getRotationMatrix2D`: for OpenCV's
angle a (and the study's) give `degrees=-a`.

Random numbers come from a counter-based generator keyed by each picture's own seed: everything is vectorised over the
batch, and no result depends on the batch or its order.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from ..errors import DataError
from ..faces import CANONICAL_EYES, EYE_DISTANCE, SIZE, crops_of

STUDY_EYES = 35.24
"""Eye distance of the study's aligned 112x112 faces, in pixels."""
STUDY_SIDE = 112
"""Side of these faces, in pixels."""
DOT_LEFT = 0.75**2
"""Share of the mean squared change by one-pixel dots of the canonical crop that is left at 112 pixels.

Along each axis three pixels become two: the first is copied, and the second is the mean of the other two. A dot keeps 1
of its squared change there or 1/4, that is (1 + 1/4 + 1/4) / 2 = 3/4 per pixel.
"""

CENTRE = CANONICAL_EYES.mean(0)

_BLOCK = 1 << 17  # random numbers that are made together


# ------------------------------------------------------------------------------------------------------ random numbers


def image_seeds(images, *keys):
    """One 64-bit seed for each picture, from its pixels and any further keys.

    Parameters
    ----------
    images : array (N, H, W, 3) uint8
        Equal pictures get equal seeds, at any place in the batch.
    *keys : int or str
        Anything that distinguishes draws or methods, such as a random state.

    Returns
    -------
    array (N,) uint64
    """
    tail = zlib.crc32(repr(keys).encode())
    seeds = [(zlib.crc32(image.tobytes()) << 32) | tail for image in np.ascontiguousarray(images)]
    return np.array(seeds, dtype=np.uint64)


def uniform(seeds, shape):
    """Uniform random numbers in (0, 1), by SplitMix64 (Steele, Lea & Flood 2014) run as a counter.

    Parameters
    ----------
    seeds : array (N,) uint64
        One seed for each picture, as `image_seeds` gives them.
    shape : tuple of int
        Shape of the numbers of one picture.

    Returns
    -------
    array (N, *shape) float32
    """
    seeds, count = np.asarray(seeds, np.uint64), math.prod(shape)
    out = np.empty((len(seeds), count), np.float32)
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    rows = max(1, _BLOCK // max(1, count))  # blocks that stay in the processor's cache
    for start in range(0, len(seeds), rows):
        z = seeds[start : start + rows, None] + steps
        shifted = z >> np.uint64(30)
        z ^= shifted
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= np.right_shift(z, np.uint64(27), out=shifted)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= np.right_shift(z, np.uint64(31), out=shifted)
        z >>= np.uint64(40)
        out[start : start + rows] = z.view(np.int64)
    out += np.float32(0.5)
    out *= np.float32(2**-24)
    return out.reshape(-1, *shape)


def normal(seeds, shape):
    """Standard normal random numbers, none beyond 5.4; parameters and result as in `uniform`."""
    import torch  # here, so that reading data and judging tables need no torch

    out = uniform(seeds, shape)
    # float32 has no number between 1 - 2**-24 and 1, where the quantile is infinite
    drawn = torch.from_numpy(out).mul_(2).sub_(1).clamp_(-1 + 2**-23, 1 - 2**-23)
    drawn.erfinv_().mul_(math.sqrt(2))
    return out


# ------------------------------------------------------------------------------------------------------------ geometry


def _sample(images, x, y):
    """Pictures sampled at pixel positions (x, y), each (H, W) or (N, H, W); bilinear, border repeated."""
    import torch
    from torch.nn import functional

    n, height, width = images.shape[:3]
    grid = torch.from_numpy(np.stack([x * 2 / (width - 1) - 1, y * 2 / (height - 1) - 1], -1).astype(np.float32))
    grid = grid.expand(n, -1, -1, -1) if grid.ndim == 3 else grid
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=True).permute(0, 2, 3, 1).numpy()


def _positions(images):
    height, width = images.shape[1:3]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def mirror(images):
    """Aligned faces (N, H, W, C), each mirrored about the middle of its eyes: half a pixel beside the crop's middle."""
    mirrored = images[:, :, ::-1]
    shift = round(2 * CENTRE[0]) - (images.shape[2] - 1)
    return np.roll(mirrored, shift, axis=2) if shift else mirrored.copy()


def _affine(images, seeds, degrees, scale, flip, flip_vertical, shear_x, shear_y, window):
    """Rotate (clockwise) and scale about the middle of the eyes; then mirror; then shear."""
    x, y = _positions(images)
    angle = math.radians(degrees)
    dx, dy = x - CENTRE[0], y - CENTRE[1]
    top, _, bottom, _ = window
    if shear_x or shear_y:
        if abs(1 - shear_x * shear_y) < 1e-6:
            raise DataError(f"shear_x {shear_x:g} and shear_y {shear_y:g} together flatten the picture to a line")
        # in the same sampling, which comes before the mirror: with the other sign where one axis is mirrored, and
        # about the point that the mirror will bring to the eyes
        sign = -1 if flip != flip_vertical else 1
        back = np.linalg.inv([[1, sign * shear_x], [sign * shear_y, 1]])
        below = top + bottom - 1 - 2 * CENTRE[1] if flip_vertical else 0
        dx, dy = back[0, 0] * dx + back[0, 1] * (dy - below), back[1, 0] * dx + back[1, 1] * (dy - below) + below
    back_x = (math.cos(angle) * dx + math.sin(angle) * dy) / scale + CENTRE[0]
    back_y = (-math.sin(angle) * dx + math.cos(angle) * dy) / scale + CENTRE[1]
    still = not (degrees or shear_x or shear_y) and scale == 1
    moved = images.astype(np.float32) if still else _sample(images, back_x, back_y)
    if flip_vertical:  # within the window: a recogniser sees what it saw, upside down
        moved[:, top:bottom] = moved[:, top:bottom][:, ::-1].copy()
    return mirror(moved) if flip else moved


def _elastic(images, seeds, alpha, sigma):
    """A smooth random warp (Simard et al. 2003): uniform displacements, blurred by `sigma`, times `alpha`."""
    noise = uniform(seeds, (2, *images.shape[1:3])) * 2 - 1
    shift = gaussian_filter(noise, (0, 0, sigma * EYE_DISTANCE, sigma * EYE_DISTANCE), mode="constant")
    shift *= alpha * EYE_DISTANCE
    x, y = _positions(images)
    return _sample(images, x + shift[:, 0], y + shift[:, 1])


# ------------------------------------------------------------------------------------------------------ blur and noise


def _blur(images, seeds, sigma):
    """A Gaussian filter of standard deviation `sigma`; the border is mirrored."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma * EYE_DISTANCE) for image in images]).astype(np.float32)


def _gaussian(images, seeds, sigma, mean):
    """Additive noise of mean `mean` and standard deviation `sigma` (full scale 1), each channel its own."""
    noise = normal(seeds, images.shape[1:])
    noise *= 255 * sigma
    noise += images
    if mean:
        noise += 255 * mean
    return noise


def _poisson(images, seeds, photons):
    """Shot noise: each value as if `photons` quanta made white. The normal limit, fit for 30 photons and more."""
    return images + np.sqrt(images * (255 / photons)) * normal(seeds, images.shape[1:])


def _salt_and_pepper(images, seeds, amount, ratio, coloured):
    """A share `amount` of the pixels (or, coloured, of the channel values) becomes white (share `ratio`) or black.

    With `coloured="random"` these pixels get a colour at random instead, and `ratio` has no meaning.
    """
    if coloured == "random":
        drawn = uniform(seeds, (*images.shape[1:3], 4))
        return np.where(drawn[..., :1] < amount, np.floor(drawn[..., 1:] * 256), images)
    if not isinstance(coloured, bool):
        raise DataError(f'coloured must be True, False or "random", not {coloured!r}')
    shape = images.shape[1:] if coloured else (*images.shape[1:3], 1)
    drawn = uniform(seeds, shape)
    out = np.where(drawn < amount * ratio, np.float32(255), images)
    return np.where((drawn >= amount * ratio) & (drawn < amount), np.float32(0), out)


# ----------------------------------------------------------------------------------------------------------- occlusion


def _random_occlusion(images, seeds, side, anywhere, window):
    """One black square on the face (within one eye distance of its middle, to each side), or anywhere in the window."""
    drawn = uniform(seeds, (2,))
    if anywhere:
        top, left, bottom, right = window
        room = np.array([right - left, bottom - top]) - side * EYE_DISTANCE
        if room.min() < 0:
            raise DataError(f"a square of {side:g} eye distances does not fit into the window {tuple(window)}")
        corner = [left, top] + drawn * room
    else:
        middle = CENTRE + [0, 0.35 * EYE_DISTANCE]
        corner = middle + (drawn * 2 - 1) * EYE_DISTANCE - side * EYE_DISTANCE / 2
    x, y = _positions(images)
    inside = np.ones((len(images), *x.shape), bool)
    for position, start in ((x, corner[:, 0]), (y, corner[:, 1])):
        inside &= (position >= start[:, None, None]) & (position < start[:, None, None] + side * EYE_DISTANCE)
    return np.where(inside[..., None], np.float32(0), images)


def _frame(images, seeds, width, window):
    """A black frame just inside the part of the crop that the recogniser sees: (top, left, bottom, right)."""
    top, left, bottom, right = window
    x, y = _positions(images)
    edge = np.minimum.reduce([x - left, right - 1 - x, y - top, bottom - 1 - y])
    # a pixel is covered by the share of it that lies in the frame
    cover = np.clip(width * EYE_DISTANCE - edge, 0, 1)[..., None]
    return images * (1 - cover)


def _tiles(images, seeds, count, window):
    """Cut the window into count x count tiles and put each in another's place: a derangement, no tile stays."""
    top, left, bottom, right = window
    side = min(bottom - top, right - left) // count
    places = count * count
    # Sattolo's algorithm makes one cycle through all places, which is a derangement; all pictures at once
    order = np.tile(np.arange(places), (len(images), 1))
    drawn, rows = uniform(seeds, (places,)), np.arange(len(images))
    for last in range(places - 1, 0, -1):
        other = np.minimum((drawn[:, last] * last).astype(int), last - 1)
        order[rows, last], order[rows, other] = order[rows, other], order[rows, last].copy()
    out = images.astype(np.float32)
    part = out[:, top : top + side * count, left : left + side * count]
    cut = part.reshape(len(images), count, side, count, side, 3).transpose(0, 1, 3, 2, 4, 5)
    cut = cut.reshape(len(images), places, side, side, 3)[rows[:, None], order]
    cut = cut.reshape(len(images), count, count, side, side, 3).transpose(0, 1, 3, 2, 4, 5)
    out[:, top : top + side * count, left : left + side * count] = cut.reshape(part.shape)
    return out


def _mixup(images, seeds, weight, partner):
    """True mixup (Zhang et al. 2018): a share of another picture is added to each."""
    return (1 - weight) * images + weight * partner.astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- by name


class Perturbation(NamedTuple):
    """One kind of perturbation.

    Attributes
    ----------
    function : callable
        `function(images, seeds, **settings)` takes (N, H, W, 3) pictures and returns float32 ones, not rounded.
    settings : dict
        Names and default values of its settings.
    description : str
        What it does to a picture.
    """

    function: Callable
    settings: dict
    description: str


CROP = (0, 0, SIZE, SIZE)


def _affine_by(degrees=0.0, scale=1.0, flip=False, flip_vertical=False):
    settings = {"degrees": degrees, "scale": scale, "flip": flip, "flip_vertical": flip_vertical}
    return settings | {"shear_x": 0.0, "shear_y": 0.0, "window": CROP}


def _dots(coloured):
    return {"amount": 0.01, "ratio": 0.5, "coloured": coloured}


PERTURBATIONS = {
    name: Perturbation(function, settings, description)
    for name, function, settings, description in (
        ("affine", _affine, _affine_by(0.5, 1.01, True), "small rotation and scale, then the mirror image"),
        ("affine-no-flip", _affine, _affine_by(0.5, 1.01), "small rotation and scale alone"),
        ("flip", _affine, _affine_by(flip=True), "the mirror image alone"),
        ("upside-down", _affine, _affine_by(flip_vertical=True), "the picture upside down"),
        ("rotation", _affine, _affine_by(degrees=2.0), "rotation about the eyes, clockwise"),
        ("scale", _affine, _affine_by(scale=1.03), "enlargement about the eyes"),
        ("blur", _blur, {"sigma": 0.03}, "a slight Gaussian blur"),
        ("gaussian", _gaussian, {"sigma": 0.05, "mean": 0.0}, "additive normal noise"),
        ("poisson", _poisson, {"photons": 255.0}, "shot noise"),
        ("salt-and-pepper", _salt_and_pepper, _dots(coloured=False), "single white and black pixels"),
        (
            "coloured-salt-and-pepper",
            _salt_and_pepper,
            _dots(coloured=True),
            "single extreme values in single channels",
        ),
        (
            "random-colour-salt-and-pepper",
            _salt_and_pepper,
            _dots(coloured="random"),
            "single pixels of random colour",
        ),
        (
            "random-occlusion",
            _random_occlusion,
            {"side": 30 / STUDY_EYES, "anywhere": False, "window": CROP},
            "one black square on the face, or anywhere",
        ),
        ("structured-occlusion", _frame, {"width": 1 / STUDY_EYES, "window": CROP}, "a black frame"),
        ("elastic", _elastic, {"alpha": 3 / STUDY_EYES, "sigma": 1 / STUDY_EYES}, "a smooth random warp"),
        ("tiles", _tiles, {"count": 4, "window": CROP}, 'tiles shuffled (the study\'s "mixup")'),
        ("mixup", _mixup, {"weight": 0.2, "partner": None}, "a share of another picture added"),
    )
}
"""Name -> perturbation, with default settings. Lengths are in eye distances."""


def _study_dots(amount, ratio):
    """Share of the canonical crop's pixels that changes a 112-pixel crop as much (rms) as the study's dots do.

    Its `amount` counts the values of all three channels, but each draw sets a whole pixel.
    """
    values = 3 * STUDY_SIDE**2
    dots = math.ceil(amount * values * ratio) + math.ceil(amount * values * (1 - ratio))
    return dots / STUDY_SIDE**2 / DOT_LEFT


def _study_warp(alpha, sigma):
    """torchvision's `alpha` is in half pixels (its grid is -1..1), and blurred noise is weaker on a finer grid."""
    return {"alpha": alpha / 2 / STUDY_EYES * (EYE_DISTANCE / STUDY_EYES), "sigma": sigma / STUDY_EYES}


PRESETS = {
    "study-affine": ("affine", {"degrees": -0.5, "scale": 1.01, "flip": True}),
    "study-salt-and-pepper": ("salt-and-pepper", {"amount": _study_dots(2e-4, 0.5), "ratio": 0.5}),
    "study-elastic": ("elastic", _study_warp(alpha=3, sigma=1)),
    "study-structured-occlusion": ("structured-occlusion", {"width": 1 / STUDY_EYES}),
    "study-mixup": ("tiles", {"count": 4}),
    "study-random-occlusion": ("random-occlusion", {"side": 30 / STUDY_EYES, "anywhere": True}),
}
"""The settings of the study, by name: (perturbation, settings). They do to a 112-pixel crop what the study's code does;
the tests write that out and compare."""


def perturb(faces, kind, *, random_state=0, draw=0, seeds=None, **settings):
    """Perturb aligned faces.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Aligned to the canonical crop.
    kind : str
        A name in `PERTURBATIONS` or `PRESETS`.
    random_state : int, default=0
        With `draw` and each picture's own pixels it decides the picture's random numbers.
    draw : int, default=0
        Number of the draw: another one gives other random numbers.
    seeds : array (N,) uint64, default=None
        Random seeds of the pictures. None: `image_seeds(images, random_state, draw, name)`.
    **settings
        Settings other than the defaults in `PERTURBATIONS[kind].settings`. `mixup` needs `partner`, a picture or one
        for each face. Those with a `window` (frame, tiles, a square anywhere, upside down) take that of a recogniser;
        see `settings_for`.

    Returns
    -------
    array (N, 192, 192, 3) uint8
        Rounded once, at the end.

    Raises
    ------
    DataError
        Unknown name or setting, or pictures that are not aligned.
    """
    images = crops_of(faces)
    name, preset = PRESETS.get(kind, (kind, {}))
    if name not in PERTURBATIONS:
        raise DataError(f"there is no perturbation {kind!r}; known: {', '.join([*PERTURBATIONS, *PRESETS])}")
    known = PERTURBATIONS[name]
    if unknown := set(settings) - set(known.settings):
        raise DataError(f"{kind} has no setting {', '.join(sorted(unknown))}; it has {', '.join(known.settings)}")
    settings = {**known.settings, **preset, **settings}
    if settings.get("partner", images) is None:
        raise DataError("mixup needs partner=, the picture to mix in")
    if len(images) == 0:
        return images.copy()
    seeds = image_seeds(images, random_state, draw, name) if seeds is None else np.asarray(seeds, np.uint64)
    out = np.rint(known.function(images, seeds, **settings))
    return np.clip(out, 0, 255, out=out).astype(np.uint8)


def settings_for(recogniser, perturbation, settings=None):
    """Settings for `perturb`, with the recogniser's own window where the perturbation has one and none is given.

    Parameters
    ----------
    recogniser : Recogniser
        Its `window` says which part of the crop it sees.
    perturbation : str
        A name in `PERTURBATIONS` or `PRESETS`.
    settings : dict, default=None
        Settings of the perturbation; these take precedence.

    Returns
    -------
    dict
    """
    name = PRESETS.get(perturbation, (perturbation,))[0]
    own = {"window": recogniser.window} if "window" in PERTURBATIONS[name].settings else {}
    return own | dict(settings or {})
