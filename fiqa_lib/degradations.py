"""What happens to photographs: degradations of severity 0..1, for making benchmarks and training sets.

Rules that hold for every kind in `KINDS`:

- Severity 0 returns the image bit for bit. More severity is more damage, and 1 still shows something.
- Lengths are fractions of the inter-eye distance, never pixels. What is bound to a pixel grid (noise, JPEG,
  resolution) lives on the grid of the canonical crop, so that a larger copy of a face suffers the same.
- Randomness (direction, place, colour, the noise field) is drawn from `random_state`, the face's name and the kind:
  not from its position in the batch, and not from the severity. Two severities differ in severity only.
- Light adds up in linear values, so blur, exposure, haze, shadow, occluders, colour cast and noise are computed there
  (sRGB transfer function, IEC 61966-2-1). Resampling and JPEG act on the encoded values, as software does.
- Work is done in float32 and rounded once. Pixels beyond the border are mirrored (reflect-101).
- A grey picture (R = G = B) stays grey, as if a grey camera had taken it. Only `colour_cast` tints it.

`KINDS` is ordered as a photograph comes about (scene, light, lens, sensor, file, alignment), and kinds that occur
together are applied in that order.
"""

from __future__ import annotations

import hashlib
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from scipy.special import ndtr

from .errors import DataError
from .faces import CANONICAL_EYES, EYE_DISTANCE, SIZE, Faces

EYE_MIDPOINT = tuple(CANONICAL_EYES.mean(axis=0).tolist())
"""(x, y) of the point between the eyes in the canonical crop, in pixels; pixel centres are whole numbers."""

SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The severities of a benchmark unless told otherwise."""

CLEAN = "clean"
"""The `kind` of a face that nothing was done to."""


class Eyes(NamedTuple):
    """Where the face is: pixels between the eyes, and the point midway between them (pixel centres whole)."""

    distance: float
    x: float
    y: float


@dataclass(frozen=True)
class Degradation:
    """One kind of damage and what severity means for it.

    `function(image, value, rng, eyes)` takes and returns a float32 image (H, W, C) of encoded values 0..255, C = 1 for
    a grey picture; `value` is `parameter` in `unit`. It runs from `at_zero` to `at_one` in even steps of itself
    ("linear"), of its logarithm or of its reciprocal (`scale`), as severity ** `power` runs from 0 to 1. `at_zero` is
    the limit: severity 0 itself is always the untouched image.
    """

    name: str
    function: Callable
    description: str
    parameter: str
    unit: str
    at_zero: float
    at_one: float
    scale: str = "linear"
    power: float = 1.0

    def value(self, severity):
        """The physical parameter at a severity in 0..1 (a number or an array)."""
        there, back = _SCALES[self.scale]
        start, end = there(self.at_zero), there(self.at_one)
        return back(start + (end - start) * np.asarray(severity, float) ** self.power)[()]


_SCALES = {
    "linear": (float, np.asarray),
    "logarithmic": (math.log, np.exp),
    "reciprocal": (lambda value: 1 / value, lambda value: 1 / value),
}

# ---------------------------------------------------------------------------------------------------------------------
# Small tools. Images in here are float32 (H, W, C), encoded 0..255 or linear 0..1.


def to_linear(encoded):
    """Encoded sRGB 0..255 -> linear light 0..1, float32 of the same shape. Values outside are clipped."""
    x = np.clip(np.asarray(encoded, np.float32) / 255, 0, 1)
    return np.where(x <= 0.04045, x / 12.92, _power((x + 0.055) / 1.055, 2.4))


def to_encoded(linear):
    """Linear light 0..1 -> encoded sRGB 0..255, float32, not rounded. Values outside are clipped, as a sensor does."""
    x = np.clip(np.asarray(linear, np.float32), 0, 1)
    return 255 * np.where(x <= 0.0031308, x * 12.92, 1.055 * _power(x, 1 / 2.4) - 0.055)


def _power(x, exponent):
    # OpenCV's power is fast on every processor, but knows no scalars and no empty arrays.
    return cv2.pow(np.atleast_1d(x), exponent).reshape(x.shape) if x.size else x


def _keep_axis(image):
    """OpenCV drops the channel axis of grey images; put it back."""
    return image[..., None] if image.ndim == 2 else image


def _filter(image, kernel):
    return _keep_axis(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _resize(image, width, height, interpolation):
    return _keep_axis(cv2.resize(image, (width, height), interpolation=interpolation))


def _remap(image, x, y):
    x, y = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.float32)
    return _keep_axis(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))


def _similarity(image, scale, degrees, shift, centre):
    """Turn by `degrees` and scale about `centre` (x, y), then move by `shift` (x, y) pixels."""
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    matrix[:, 2] += shift
    flags, size = cv2.INTER_CUBIC, image.shape[1::-1]
    return _keep_axis(cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101))


@lru_cache(maxsize=16)
def _positions(height, width, eyes):
    """(u, v): each pixel's place in inter-eye distances from the point between the eyes; u right, v down. Read only."""
    v, u = np.mgrid[:height, :width].astype(np.float32)
    u, v = (u - eyes.x) / eyes.distance, (v - eyes.y) / eyes.distance
    u.flags.writeable = v.flags.writeable = False
    return u, v


def _coverage(distance, eyes):
    """Anti-aliased cover 0..1 (H, W, 1) of a shape, from the signed distance to its edge in inter-eye distances."""
    return np.clip(0.5 - distance * eyes.distance, 0, 1)[..., None]


def _luminance(linear):
    """Linear (..., C) -> (..., 1), Rec. 709 weights."""
    return linear if linear.shape[-1] == 1 else linear @ np.array([[0.2126], [0.7152], [0.0722]], np.float32)


def _paint(colour, channels):
    """A linear RGB colour as seen by a camera of `channels` channels."""
    colour = np.asarray(colour, np.float32)
    return colour if channels == 3 else _luminance(colour)


def _noise_field(shape, rng, eyes):
    """Standard normal noise (H, W, C) whose grains are one pixel of the canonical crop, whatever the image's size."""
    height, width, channels = shape
    scale = EYE_DISTANCE / eyes.distance
    if abs(scale - 1) < 1e-3:
        return rng.standard_normal(shape, np.float32)
    grain = rng.standard_normal((max(round(height * scale), 1), max(round(width * scale), 1), channels), np.float32)
    return _resize(grain, width, height, cv2.INTER_NEAREST if scale < 1 else cv2.INTER_AREA)


def _photons(expected, normal):
    """Poisson counts with the given means, as a smooth function of one fixed standard normal field.

    The quantile of the Poisson distribution at the probability of `normal` (above four photons by its Cornish-Fisher
    expansion), so that a pixel lucky at one exposure is lucky at the next: drawing anew for each severity would change
    the noise with it.
    """
    counts = np.maximum(np.rint(expected + np.sqrt(expected) * normal + (normal * normal - 1) / 6), 0)
    few = expected < 4  # there the expansion is off by some percent: invert the distribution itself
    counts[few] = _few_photons(expected[few].astype(float), ndtr(normal[few].astype(float)))
    return counts


def _few_photons(expected, uniform):
    """Poisson quantiles of `uniform` by adding up the probabilities; for means of a few photons."""
    counts = np.zeros_like(expected)
    remaining = np.arange(len(expected))
    probability = np.exp(-expected)
    excess = uniform - probability
    k = 0
    while len(remaining := remaining[keep := excess > 0]):
        k += 1
        counts[remaining] = k
        probability = probability[keep] * expected[remaining] / k
        excess = excess[keep] - probability
        if k == 64:  # a uniform that is 1 to the last digit has no quantile
            break
    return counts


# ---------------------------------------------------------------------------------------------------------------------
# The kinds, in the order in which a photograph comes about.


def _pose(image, degrees, rng, eyes):
    turn = float(rng.choice([-1.0, 1.0])) * math.radians(degrees)
    width, depth, height = 1.78, 1.45, 2.2  # half axes of the head with its hair
    u, v = _positions(*image.shape[:2], eyes)
    u = u + depth * math.sin(turn)  # the point between the eyes stays in place, as after alignment
    level = np.maximum(1 - np.abs((v - 0.4) / height) ** 4, 0.1) ** 0.25  # a box more than a ball
    # A point of the head at (width sin a, depth cos a) is seen at reach sin(a + lag) after the turn.
    reach = math.hypot(width * math.cos(turn), depth * math.sin(turn))
    lag = math.atan2(depth * math.sin(turn), width * math.cos(turn))
    source = width * level * np.sin(np.arcsin(np.clip(u / (reach * level), -1, 1)) - lag)
    # Beside the head stands what stood beside it before, stretched from the head's edge to the border.
    borders = -(eyes.x + 0.5) / eyes.distance, (image.shape[1] - 0.5 - eyes.x) / eyes.distance
    for side, border in zip((-1, 1), borders, strict=True):
        edge, old_edge = side * reach * level, side * width * level
        room = np.maximum(np.abs(border + depth * math.sin(turn) - edge), 1e-3)
        beside = old_edge + np.abs(border - old_edge) / room * (u - edge)
        source = np.where(side * u > np.abs(edge), beside, source)
    return _remap(image, source * eyes.distance + eyes.x, v * eyes.distance + eyes.y)


_FABRICS = np.array(
    [[0.36, 0.55, 0.66], [0.75, 0.76, 0.76], [0.02, 0.02, 0.025], [0.05, 0.08, 0.16], [0.40, 0.06, 0.07]]
)


def _mask(image, top, rng, eyes):
    colour = _paint(_FABRICS[rng.integers(len(_FABRICS))] * rng.uniform(0.85, 1.15), image.shape[2])
    u, v = _positions(*image.shape[:2], eyes)
    jaw = (np.abs(u / 1.13) ** 2.4 + np.abs(np.maximum(v - 0.5, 0) / 1.48) ** 2.4) ** (1 / 2.4) - 1
    upper_edge = top - v - 0.16 * np.exp(-((u / 0.3) ** 2)) + 0.10 * u**2
    cover = _coverage(np.maximum(jaw, upper_edge), eyes)
    pleats = 1 + 0.07 * np.sin(2 * np.pi * v / 0.27)
    shading = (pleats * (1 - 0.35 * np.minimum(u / 1.2, 1) ** 2))[..., None]
    linear = to_linear(image)
    return to_encoded(linear + cover * (_lit(colour, linear, eyes) * shading - linear))


def _lit(colour, linear, eyes):
    """Put an object's colour (C,) into the light of the face: skin of linear luminance 0.3 is taken as well lit."""
    u, v = _positions(*linear.shape[:2], eyes)
    face = (np.abs(u) < 1) & (np.abs(v - 0.5) < 1)
    light = _luminance(linear)[face if face.any() else ...].mean()
    return colour * np.clip(light / 0.3, 0.25, 1.3)


_DARKEST = 0.01  # what the lenses let through at severity 1


def _sunglasses(image, transmission, rng, eyes):
    roundness, height = float(rng.uniform(2.2, 4.0)), float(rng.uniform(0.34, 0.42))
    colour = _paint(rng.choice([[0.006, 0.006, 0.007], [0.02, 0.012, 0.006], [0.006, 0.012, 0.01]]), image.shape[2])
    u, v = _positions(*image.shape[:2], eyes)
    size = 0.72 + 0.28 * math.log(transmission) / math.log(_DARKEST)
    thin = 0.01 + 0.03 * (size - 0.72) / 0.28
    x, y = (np.abs(u) - 0.53) / (0.5 * size), (v - 0.04) / (height * size)  # one lens and its mirror image
    lens = height * size * ((np.abs(x) ** roundness + np.abs(y) ** roundness) ** (1 / roundness) - 1)
    bridge = np.maximum(np.abs(v + 0.05) - thin, np.abs(u) - 0.3)
    temple = np.maximum(np.abs(v + 0.06) - thin, np.abs(np.abs(u) - 1.15) - 0.22)
    frame = np.minimum(np.abs(lens) - thin, np.maximum(np.minimum(bridge, temple), -lens))
    linear = to_linear(image)
    tint = 1 - transmission
    reflection = 0.03 * tint * np.clip(0.5 - 0.5 * y + 0.3 * u, 0, 1)[..., None] * _luminance(linear).mean()
    linear = linear + _coverage(lens, eyes) * (tint * (colour - linear) + reflection)
    return to_encoded(linear + _coverage(frame, eyes) * (colour - linear))


def _occlusion(image, side, rng, eyes):
    right, down, angle, stretch = rng.uniform([-0.5, -0.1, 0, -0.25], [0.5, 1.2, math.pi, 0.25]).tolist()
    stretch, colour = math.exp(stretch), _paint(rng.uniform(0.03, 0.6, 3), image.shape[2])
    u, v = _positions(*image.shape[:2], eyes)
    u, v, cos, sin = u - right, v - down, math.cos(angle), math.sin(angle)
    x, y = u * cos + v * sin, v * cos - u * sin
    edge = np.maximum(np.abs(x) - 0.5 * side * stretch, np.abs(y) - 0.5 * side / stretch)
    linear = to_linear(image)
    shading = np.clip(1 + 0.25 * x, 0.5, 1.5)[..., None]
    return to_encoded(linear + _coverage(edge, eyes) * (_lit(colour, linear, eyes) * shading - linear))


def _uneven_light(image, stops, rng, eyes):
    # From one side, up to 40 degrees above or below: light from straight below is for films.
    azimuth = float(rng.choice([0, np.pi]) + rng.uniform(-0.7, 0.7))
    edge = float(rng.uniform(-0.6, -0.1))
    u, v = _positions(*image.shape[:2], eyes)
    along = u * math.cos(azimuth) + (v - 0.5) * math.sin(azimuth)
    shadow = 1 / (1 + np.exp(-(along - edge) / 0.16))
    return to_encoded(to_linear(image) * np.exp2(-stops * shadow)[..., None])


def _haze(image, transmission, rng, eyes):
    airlight = _paint(np.array([0.97, 1.0, 1.03]) * rng.uniform(0.45, 0.75), image.shape[2])
    return to_encoded(to_linear(image) * transmission + airlight * (1 - transmission))


def _colour_cast(image, stops, rng, eyes):
    hue = rng.uniform(0, 2 * np.pi) - 2 * np.pi * np.arange(3) / 3
    gains = np.exp2(stops * np.cos(hue)).astype(np.float32)
    gains /= _luminance(gains)  # a grey card keeps its luminance
    return to_encoded(to_linear(image) * gains)


@lru_cache(maxsize=64)
def _disc(radius):
    """Disc of `radius` pixels as a kernel; each weight is the share of that pixel inside the disc (9 x 9 samples)."""
    half, fine = int(np.ceil(radius)) + 1, 9
    axis = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    inside = axis[:, None] ** 2 + axis**2 <= max(radius, 0.2) ** 2
    kernel = inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3)).astype(np.float32)
    return kernel / kernel.sum()


def _streak(length, angle):
    """Straight streak of `length` pixels as a kernel: points along it, each shared among its four nearest pixels."""
    half = int(np.ceil(length / 2)) + 1
    t = (np.arange(n := max(int(8 * length), 2)) + 0.5) / n - 0.5
    x, y = half + length * t * np.cos(angle), half + length * t * np.sin(angle)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    column, row = x.astype(int), y.astype(int)
    for dx, wx in ((0, 1 - (x - column)), (1, x - column)):
        for dy, wy in ((0, 1 - (y - row)), (1, y - row)):
            np.add.at(kernel, (row + dy, column + dx), wx * wy)
    return kernel / kernel.sum()


def _gaussian_blur(image, sigma, rng, eyes):
    blurred = cv2.GaussianBlur(to_linear(image), (0, 0), sigma * eyes.distance, borderType=cv2.BORDER_REFLECT_101)
    return to_encoded(_keep_axis(blurred))


def _defocus_blur(image, radius, rng, eyes):
    return to_encoded(_filter(to_linear(image), _disc(round(radius * eyes.distance, 4))))


def _motion_blur(image, length, rng, eyes):
    return to_encoded(_filter(to_linear(image), _streak(length * eyes.distance, rng.uniform(0, np.pi))))


def _over_exposure(image, stops, rng, eyes):
    return to_encoded(to_linear(image) * 2**stops)


def _low_light(image, stops, rng, eyes):
    full_well, read_noise = 20_000, 3.0  # electrons, those of a good small camera
    amplified = 0.65  # share of the lost stops that gain makes up for
    white = float(full_well * 2.0**-stops)  # electrons that a white pixel collects
    shot, read = _noise_field(image.shape, rng, eyes), _noise_field(image.shape, rng, eyes)
    electrons = _photons(to_linear(image) * white, shot) + read_noise * read
    return to_encoded(electrons * float(2.0 ** (-(1 - amplified) * stops) / white))


def _shot_noise(image, sigma, rng, eyes):
    white = 1 / sigma**2  # photons that make white: their number varies by its square root
    return to_encoded(_photons(to_linear(image) * white, _noise_field(image.shape, rng, eyes)) / white)


def _sensor_noise(image, sigma, rng, eyes):
    return to_encoded(to_linear(image) + sigma * _noise_field(image.shape, rng, eyes))


def _low_resolution(image, pixels, rng, eyes):
    height, width = image.shape[:2]
    scale = min(pixels / eyes.distance, 1)
    small = _resize(image, max(round(width * scale), 1), max(round(height * scale), 1), cv2.INTER_AREA)
    return _resize(small, width, height, cv2.INTER_CUBIC)


def _jpeg(image, quality, rng, eyes):
    height, width = image.shape[:2]
    scale = EYE_DISTANCE / eyes.distance
    if abs(scale - 1) >= 1e-3:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = _resize(image, max(round(width * scale), 1), max(round(height * scale), 1), way)
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(np.clip(round(quality), 1, 100))]
    code = cv2.imencode(".jpg", _rounded(image)[..., ::-1], settings)[1]  # OpenCV expects BGR
    flag = cv2.IMREAD_GRAYSCALE if image.shape[2] == 1 else cv2.IMREAD_COLOR
    image = _keep_axis(cv2.imdecode(code, flag))[..., ::-1].astype(np.float32)
    return image if image.shape[:2] == (height, width) else _resize(image, width, height, cv2.INTER_CUBIC)


def _rotation(image, degrees, rng, eyes):
    side = float(rng.choice([-1.0, 1.0]))
    return _similarity(image, 1.0, side * degrees, (0, 0), (eyes.x, eyes.y + 0.5 * eyes.distance))


def _misalignment(image, shift, rng, eyes):
    angle, growth = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    move = shift * eyes.distance * np.array([np.cos(angle), np.sin(angle)])
    return _similarity(image, float(np.exp(0.4 * growth * shift)), 0.0, move, (eyes.x, eyes.y + 0.5 * eyes.distance))


_EYES = "inter-eye distances"

KINDS = {
    kind.name: kind
    for kind in (
        Degradation(
            "pose",
            _pose,
            "Head turned left or right: the crop wrapped on an ellipsoid, eyes kept in place. A stand-in for "
            "real pose: the hidden side is mirrored, and the nose has no depth.",
            "yaw",
            "degrees",
            0,
            60,
        ),
        Degradation(
            "mask",
            _mask,
            "Face mask of a random fabric, worn ever higher: on the chin, over the mouth, over the nose.",
            "upper edge below the eyes",
            _EYES,
            1.8,
            0.2,
        ),
        Degradation(
            "sunglasses",
            _sunglasses,
            "Glasses whose lenses grow and darken.",
            "transmission of the lenses",
            "share of light",
            1,
            _DARKEST,
            scale="logarithmic",
        ),
        Degradation(
            "occlusion",
            _occlusion,
            "A plain object before the face, of random place, angle and colour.",
            "side",
            _EYES,
            0,
            2.2,
            power=1.1,
        ),
        Degradation(
            "uneven_light",
            _uneven_light,
            "Light from one side only: the other side falls into shadow.",
            "shadow",
            "stops",
            0,
            9,
            power=0.7,
        ),
        Degradation(
            "low_contrast",
            _haze,
            "Haze (Koschmieder's law): the picture fades into grey air.",
            "transmission of the air",
            "share of light",
            1,
            0.08,
            scale="logarithmic",
        ),
        Degradation(
            "colour_cast",
            _colour_cast,
            "Coloured light or wrong white balance of a random hue; the only kind that tints a grey picture.",
            "channel gain",
            "stops",
            0,
            4,
        ),
        Degradation(
            "gaussian_blur",
            _gaussian_blur,
            "Soft lens or turbulent air: Gaussian blur.",
            "standard deviation",
            _EYES,
            0,
            0.16,
            power=1.25,
        ),
        Degradation(
            "defocus_blur", _defocus_blur, "Out of focus: disc-shaped blur.", "disc radius", _EYES, 0, 0.27, power=1.3
        ),
        Degradation(
            "motion_blur",
            _motion_blur,
            "Camera or head moved in a straight line of random direction.",
            "streak length",
            _EYES,
            0,
            0.8,
            power=1.3,
        ),
        Degradation(
            "over_exposure", _over_exposure, "Too much light: highlights clip to white.", "exposure", "stops", 0, 3.9
        ),
        Degradation(
            "low_light",
            _low_light,
            "Too little light: the camera's gain makes up for 65% of the lost stops and amplifies the noise.",
            "lost light",
            "stops",
            0,
            10.5,
            power=0.6,
        ),
        Degradation(
            "shot_noise",
            _shot_noise,
            "Few photons (Poisson): noise grows with the square root of the light.",
            "noise of a white pixel",
            "share of white; 1 / unit^2 photons",
            0,
            0.5,
            power=2,
        ),
        Degradation(
            "sensor_noise",
            _sensor_noise,
            "Read noise: Gaussian in linear light, clipped at black and white; most visible in the shadows.",
            "standard deviation",
            "share of white",
            0,
            0.3,
            power=1.75,
        ),
        Degradation(
            "low_resolution",
            _low_resolution,
            "Small face: shrunk (area mean) and enlarged again (cubic).",
            "eyes apart",
            "pixels",
            EYE_DISTANCE,
            4,
            scale="reciprocal",
            power=1.4,
        ),
        Degradation(
            "jpeg",
            _jpeg,
            "JPEG compression of the crop at its canonical size.",
            "quality factor",
            "libjpeg's 1..100",
            95,
            2,
            scale="logarithmic",
            power=0.6,
        ),
        Degradation(
            "rotation",
            _rotation,
            "Turned in the plane of the picture, left or right.",
            "angle",
            "degrees",
            0,
            42,
            power=1.2,
        ),
        Degradation(
            "misalignment",
            _misalignment,
            "Landmarks found wrongly: shifted in a random direction, and enlarged or shrunk by exp(0.4 shift).",
            "shift",
            _EYES,
            0,
            0.6,
            power=1.1,
        ),
    )
}
"""Every kind by name, in the order in which a photograph comes about."""


# ---------------------------------------------------------------------------------------------------------------------
# One image


def apply_to_image(image, kind, severity, rng=0, *, eyes=None):
    """One image, degraded.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        RGB. The canonical crop, or any picture whose `eyes` are given.
    kind : str
        A name in `KINDS`.
    severity : float in 0..1
        0 returns a copy of the image, unchanged.
    rng : int or numpy.random.Generator
        The same seed with another severity gives the same direction, place, colour and noise field. A generator is
        used up by each call.
    eyes : Eyes, optional
        Where the face is. By default as in the canonical crop, scaled to the width of the image.

    Returns
    -------
    array (H, W, 3) uint8

    Raises
    ------
    DataError
        Unknown kind, severity outside 0..1 or not a number, image of another shape or type.
    """
    return _combined(_image(image), [(_known(kind), _severity(severity), np.random.default_rng(rng))], eyes)


def apply(images, kind, severity, seeds, *, eyes=None):
    """Images (N, H, W, 3) uint8, degraded: `apply_to_image` for each.

    `severity` is one number or N; `seeds` are N integers or generators, one for each image; `eyes` is for all.
    Raises DataError as `apply_to_image` does, and when the numbers of images, severities and seeds differ.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"images must be uint8 of shape (N, H, W, 3), got {images.dtype} {images.shape}")
    severities, seeds = _severities(severity, len(images)), list(seeds)
    if len(seeds) != len(images):
        raise DataError(f"{len(images)} images, but {len(seeds)} seeds; give one seed for each image")
    result = np.empty_like(images)
    for i, (image, seed) in enumerate(zip(images, seeds, strict=True)):
        result[i] = apply_to_image(image, kind, severities[i], seed, eyes=eyes)
    return result


def canonical_eyes(width=SIZE):
    """`Eyes` of the canonical crop when it is enlarged or shrunk to `width` pixels."""
    scale = width / SIZE
    return Eyes(EYE_DISTANCE * scale, *((place + 0.5) * scale - 0.5 for place in EYE_MIDPOINT))


def _combined(image, steps, eyes=None):
    """Apply (kind, severity, rng) one after the other in float, and round once."""
    steps = [step for step in steps if step[1] > 0]
    if not steps or image.size == 0:
        return image.copy()
    eyes = canonical_eyes(image.shape[1]) if eyes is None else _eyes(eyes)
    result = image.astype(np.float32)
    if all(np.array_equal(image[..., 0], image[..., i]) for i in (1, 2)):
        result = result[..., :1]  # a grey camera has one channel of noise
    for kind, severity, rng in steps:
        degradation = KINDS[kind]
        result = np.clip(degradation.function(result, float(degradation.value(severity)), rng, eyes), 0, 255)
    return np.broadcast_to(_rounded(result), image.shape).copy()


def _rounded(image):
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Faces


def degrade(faces, kind, severity, *, random_state=0):
    """The same faces, degraded.

    Parameters
    ----------
    faces : Faces
    kind : str
        A name in `KINDS`.
    severity : float or (N,) array in 0..1
    random_state : int
        With the face's name and the kind, it decides every random choice: a face gets the same result in any batch,
        at any place in it, and moves along one path as the severity grows.

    Returns
    -------
    Faces
        Named "name|kind=0.40", identities kept. The attributes gain `kind` ("clean" at severity 0), `severity` and
        `source` (name of the clean face); others are kept. A face that was degraded before keeps its `source`, its
        `kind` becomes "first+second" and its severity 1 - (1 - first)(1 - second).

    Raises
    ------
    DataError
        Unknown kind, severity outside 0..1 or not a number, as many severities as there are not faces.
    """
    _known(kind)
    severities, state = _severities(severity, len(faces)), _state(random_state)
    recipes = [[(kind, s)] for s in severities]
    named = enumerate(zip(faces.names, recipes, strict=True))
    return _carry_out(
        faces, [_Copy(row, recipe, f"{name}|{_text(recipe)}", (state, name)) for row, (name, recipe) in named]
    )


def benchmark(faces, kinds=None, severities=SEVERITIES, *, copies=6, random_state=0):
    """Each face clean and in several degraded copies: the recipe of ORL-D, the course's bundled benchmark.

    Parameters
    ----------
    faces : Faces
        Clean faces, of the people kept for testing: splitting by identity comes before this call.
    kinds : sequence of str, optional
        Names in `KINDS`; all by default.
    severities : sequence of float in 0..1, not 0
    copies : int or None
        Degraded copies of each face: as many different kinds, drawn for each face, with the severities spread evenly
        (when there are more copies than kinds, kinds recur with another severity). None makes every kind at every
        severity: a large set.
    random_state : int

    Returns
    -------
    Faces
        N (1 + copies) faces: each clean face (named as before) followed by its copies (named and described as by
        `degrade`, to which they are equal bit for bit).

    Raises
    ------
    DataError
        Unknown kinds, severities outside 0..1, more copies than combinations.
    """
    kinds, levels, state = _kinds(kinds), _levels(severities), _state(random_state)
    most = len(kinds) * len(levels)
    if copies is not None and not (_is_whole(copies) and 0 <= copies <= most):
        raise DataError(f"copies must be a whole number from 0 to {most} (kinds x severities) or None, got {copies!r}")
    plan = []
    for row, name in enumerate(faces.names):
        if copies is None:
            cells = [(kind, level) for kind in kinds for level in levels]
        else:
            cells = _spread(kinds, levels, copies, _stream(state, name, "benchmark"))
        plan.append(_Copy(row, [], name, (state, name)))
        plan += [_Copy(row, [cell], f"{name}|{_text([cell])}", (state, name)) for cell in cells]
    return _carry_out(faces, plan)


def random_degradations(faces, n_copies, kinds=None, severities=SEVERITIES, *, max_together=1, random_state=0):
    """Degraded copies with random kinds and severities, for training sets. The clean faces are not among them.

    Parameters
    ----------
    faces : Faces
    n_copies : int
        Copies of each face. The first k of n copies are the k copies of a shorter run.
    kinds : sequence of str, optional
        Names in `KINDS`; all by default.
    severities : sequence of float in 0..1, not 0
        Each kind's severity is one of these.
    max_together : int
        Each copy suffers 1 to `max_together` different kinds, each number equally often, in the order of `KINDS`.
    random_state : int

    Returns
    -------
    Faces
        N n_copies faces, the copies of one face together; named "name|0:low_light=0.40+jpeg=0.80", with attributes
        `kind` "low_light+jpeg", `severity` 1 - product of (1 - severity), and `source`.

    Raises
    ------
    DataError
        Unknown kinds, severities outside 0..1, numbers that are not whole or too small.
    """
    kinds, levels, state = _kinds(kinds), _levels(severities), _state(random_state)
    if not (_is_whole(n_copies) and n_copies >= 0):
        raise DataError(f"n_copies must be a whole number, 0 or more, got {n_copies!r}")
    if not (_is_whole(max_together) and 1 <= max_together <= len(kinds)):
        raise DataError(f"max_together must be a whole number from 1 to {len(kinds)} (kinds), got {max_together!r}")
    plan = []
    for row, name in enumerate(faces.names):
        for copy in range(n_copies):
            rng = _stream(state, name, f"copy {copy}")
            chosen = rng.choice(len(kinds), size=rng.integers(1, max_together + 1), replace=False)
            recipe = [(kinds[i], levels[rng.integers(len(levels))]) for i in sorted(chosen)]
            plan.append(_Copy(row, recipe, f"{name}|{copy}:{_text(recipe)}", (state, name, f"copy {copy}")))
    return _carry_out(faces, plan)


class _Copy(NamedTuple):
    """One face to be made: from which row, by which (kind, severity) steps, its name, the key of its randomness."""

    row: int
    recipe: list
    name: str
    key: tuple


def _carry_out(faces, plan):
    images = np.empty((len(plan), *faces.images.shape[1:]), np.uint8)
    for image, copy in zip(images, plan, strict=True):
        steps = [(kind, severity, _stream(*copy.key, kind)) for kind, severity in copy.recipe]
        image[:] = _combined(faces.images[copy.row], steps)
    rows = np.array([copy.row for copy in plan], int)
    recipes = [copy.recipe for copy in plan]
    attributes = _described(faces.attributes.iloc[rows].reset_index(drop=True), faces.names[rows], recipes)
    return Faces(images, faces.identities[rows], [copy.name for copy in plan], attributes)


def _described(attributes, names, recipes):
    """`attributes` with kind, severity and source, in view of what was done to the faces before."""
    kinds, severities, sources = [], [], []
    missing = pd.Series([None] * len(names), dtype=object)
    before = (attributes.get(column, missing) for column in ("kind", "severity", "source"))
    for name, recipe, kind, severity, source in zip(names, recipes, *before, strict=True):
        known = isinstance(kind, str) and isinstance(source, str)  # has been here before
        steps = [kind] if known and kind != CLEAN else []
        total = float(severity) if steps else 0.0
        for step, extent in recipe:
            if extent > 0:
                total = 1 - (1 - total) * (1 - extent) if steps else float(extent)
                steps.append(step)
        kinds.append("+".join(steps) or CLEAN)
        severities.append(total)
        sources.append(source if known else str(name))
    text = {"kind": pd.Series(kinds, dtype=str), "source": pd.Series(sources, dtype=str)}
    return attributes.assign(severity=np.array(severities, float), **text)


def _spread(kinds, levels, copies, rng):
    """`copies` different (kind, level) cells: all kinds before one recurs, levels in turn, both in random order."""
    kinds, levels = [kinds[i] for i in rng.permutation(len(kinds))], [levels[i] for i in rng.permutation(len(levels))]
    rounds = ((i // len(kinds), i % len(kinds)) for i in range(copies))
    return [(kinds[i], levels[(i + turn) % len(levels)]) for turn, i in rounds]


def _text(recipe):
    """[("jpeg", 0.4)] -> "jpeg=0.40"; two decimals, up to six where needed to tell severities apart."""
    return "+".join(f"{kind}={np.format_float_positional(round(s, 6), min_digits=2)}" for kind, s in recipe)


def _stream(state, *words):
    """A generator of its own for each key, the same on every machine."""
    digest = hashlib.sha256("\x1f".join([str(state), *map(str, words)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


# ---------------------------------------------------------------------------------------------------------------------
# Checks of arguments: each returns what the code can rely on


def _known(kind):
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"unknown kind of degradation {kind!r}; there are: {', '.join(KINDS)}")
    return kind


def _kinds(kinds):
    """Known kinds in the order of KINDS."""
    kinds = list(KINDS) if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
    wanted = {_known(kind) for kind in kinds}
    if not kinds:
        raise DataError(f"no kind of degradation given; there are: {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in wanted]


def _severities(severity, n):
    """(n,) floats in 0..1 from one number or n."""
    try:
        values = np.asarray(severity, float)
    except (TypeError, ValueError):
        raise DataError(f"severity must be a number in 0..1 or {n} of them, got {severity!r}") from None
    if values.shape not in {(), (n,)}:
        raise DataError(f"severity must be one number or {n} of them, one for each face, got shape {values.shape}")
    if not np.all((values >= 0) & (values <= 1)):  # NaN fails too
        raise DataError(f"severity must lie in 0..1, got {values[~((values >= 0) & (values <= 1))][:5]}")
    return np.broadcast_to(values, (n,)).tolist()


def _severity(severity):
    if np.ndim(severity):
        raise DataError(f"severity of one image must be one number in 0..1, got shape {np.shape(severity)}")
    return _severities(severity, 1)[0]


def _levels(severities):
    levels = sorted(set(_severities(list(severities), len(list(severities)))))
    if not levels or levels[0] == 0:
        raise DataError(f"severities must be one or more numbers above 0 and up to 1, got {list(severities)}")
    return levels


def _is_whole(number):
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def _state(random_state):
    if not _is_whole(random_state):
        raise DataError(f"random_state must be a whole number, got {random_state!r}: results must be repeatable")
    return int(random_state)


def _eyes(eyes):
    if np.shape(eyes) != (3,) or not np.all(np.isfinite(eyes)) or eyes[0] <= 0:
        raise DataError(f"eyes must be (distance above 0, x, y) in pixels, got {eyes!r}")
    return Eyes(*map(float, eyes))


def _image(image):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise DataError(f"an image must be uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape}")
    return image
