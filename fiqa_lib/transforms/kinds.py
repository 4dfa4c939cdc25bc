"""The kinds of degradation, by name: each is a function, in the order in which a photograph comes about.

To find or change a kind, look for the function of its name. The rules for all kinds are in `degradations`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy.special import ndtr

from ..faces import EYE_DISTANCE


class Eyes(NamedTuple):
    """Where the face is, in pixels: distance between the eyes, and (x, y) of the point midway between them."""

    distance: float
    x: float
    y: float


@dataclass(frozen=True)
class Degradation:
    """One kind of degradation and what severity means for it.

    Attributes
    ----------
    name : str
        Its key in `KINDS`.
    function : callable
        `function(image, value, rng, eyes)` takes and returns a float32 image (H, W, C) of encoded values 0..255; C = 1
        for a grey picture. `value` is the physical parameter.
    description : str
        What happens to the photograph, for tables and tooltips.
    parameter, unit : str
        What the physical parameter is called, and its unit.
    at_zero, at_one : float
        The parameter at severity 0 (a limit: severity 0 itself is always the untouched image) and at severity 1.
    scale : {"linear", "logarithmic", "reciprocal"}, default="linear"
        Whether the parameter, its logarithm or its reciprocal runs in even steps.
    power : float, default=1.0
        The steps are those of severity ** power.
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

_EYES = "inter-eye distances"

KINDS = {}
"""Every kind by name, in the order in which a photograph comes about."""


def _kind(parameter, unit, at_zero, at_one, **curve):
    """Register the decorated function under its own name; its docstring becomes the description."""

    def register(function):
        name, description = function.__name__, " ".join((function.__doc__ or "").split())
        KINDS[name] = Degradation(name, function, description, parameter, unit, at_zero, at_one, **curve)
        return function

    return register


# ---------------------------------------------------------------------------------------------------------------------
# Helpers. Images here are float32 (H, W, C), encoded 0..255 or linear 0..1.


def to_uint8(image):
    """Rounded and clipped to 0..255, uint8."""
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def to_linear(encoded):
    """Encoded sRGB 0..255 (array of any shape) -> linear light 0..1, float32. Values outside are clipped."""
    x = np.clip(np.asarray(encoded, np.float32) / 255, 0, 1)
    return np.where(x <= 0.04045, x / 12.92, _power((x + 0.055) / 1.055, 2.4))


def to_encoded(linear):
    """Linear light 0..1 (array of any shape) -> encoded sRGB 0..255, float32, not rounded. Clipped, as by a sensor."""
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
    """Standard normal noise (H, W, C) whose grains are one pixel of the canonical crop, for images of any size."""
    height, width, channels = shape
    scale = EYE_DISTANCE / eyes.distance
    if abs(scale - 1) < 1e-3:
        return rng.standard_normal(shape, np.float32)
    grain = rng.standard_normal((max(round(height * scale), 1), max(round(width * scale), 1), channels), np.float32)
    return _resize(grain, width, height, cv2.INTER_NEAREST if scale < 1 else cv2.INTER_AREA)


def _photons(expected, normal):
    """Poisson counts with the given means, as a smooth function of one fixed standard normal field.

    The quantile of the Poisson distribution at the probability of `normal` (above four photons by its Cornish-Fisher
    expansion), so that a pixel bright at one exposure is bright at the next. Drawing again for each severity would
    change the noise.
    """
    counts = np.maximum(np.rint(expected + np.sqrt(expected) * normal + (normal * normal - 1) / 6), 0)
    few = expected < 4  # there the expansion is off by some percent: invert the distribution itself
    counts[few] = _few_photons(expected[few].astype(float), ndtr(normal[few].astype(float)))
    return counts


def _few_photons(expected, uniform):
    """Poisson quantiles of `uniform` by adding up the probabilities: 30 times as fast as `scipy.stats.poisson.ppf`."""
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


@_kind("yaw", "degrees", 0, 60)
def pose(image, degrees, rng, eyes):
    """Head turned left or right: the crop wrapped on an ellipsoid, eyes kept in place. A stand-in for real pose:
    the hidden side is mirrored, and the nose has no depth."""
    turn = float(rng.choice([-1.0, 1.0])) * math.radians(degrees)
    width, depth, height = 1.78, 1.45, 2.2  # half axes of the head with its hair
    u, v = _positions(*image.shape[:2], eyes)
    u = u + depth * math.sin(turn)  # the point between the eyes stays in place, as after alignment
    level = np.maximum(1 - np.abs((v - 0.4) / height) ** 4, 0.1) ** 0.25  # a box more than a ball
    # A point of the head at (width sin a, depth cos a) is seen at reach sin(a + lag) after the turn.
    reach = math.hypot(width * math.cos(turn), depth * math.sin(turn))
    lag = math.atan2(depth * math.sin(turn), width * math.cos(turn))
    source = width * level * np.sin(np.arcsin(np.clip(u / (reach * level), -1, 1)) - lag)
    # The background beside the head stays, stretched from the head's new edge to the border.
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


@_kind("upper edge below the eyes", _EYES, 1.8, 0.2)
def mask(image, top, rng, eyes):
    """Face mask of a random fabric, worn ever higher: on the chin, over the mouth, over the nose."""
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
    """An object's colour (C,) in the light of the face: skin of linear luminance 0.3 counts as well lit."""
    u, v = _positions(*linear.shape[:2], eyes)
    face = (np.abs(u) < 1) & (np.abs(v - 0.5) < 1)
    light = _luminance(linear)[face if face.any() else ...].mean()
    return colour * np.clip(light / 0.3, 0.25, 1.3)


_DARKEST = 0.01  # what the lenses let through at severity 1


@_kind("transmission of the lenses", "share of light", 1, _DARKEST, scale="logarithmic")
def sunglasses(image, transmission, rng, eyes):
    """Glasses whose lenses grow and darken."""
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


@_kind("side", _EYES, 0, 2.2, power=1.1)
def occlusion(image, side, rng, eyes):
    """A plain object before the face, of random place, angle and colour."""
    right, down, angle, stretch = rng.uniform([-0.5, -0.1, 0, -0.25], [0.5, 1.2, math.pi, 0.25]).tolist()
    stretch, colour = math.exp(stretch), _paint(rng.uniform(0.03, 0.6, 3), image.shape[2])
    u, v = _positions(*image.shape[:2], eyes)
    u, v, cos, sin = u - right, v - down, math.cos(angle), math.sin(angle)
    x, y = u * cos + v * sin, v * cos - u * sin
    edge = np.maximum(np.abs(x) - 0.5 * side * stretch, np.abs(y) - 0.5 * side / stretch)
    linear = to_linear(image)
    shading = np.clip(1 + 0.25 * x, 0.5, 1.5)[..., None]
    return to_encoded(linear + _coverage(edge, eyes) * (_lit(colour, linear, eyes) * shading - linear))


@_kind("shadow", "stops", 0, 9, power=0.7)
def uneven_light(image, stops, rng, eyes):
    """Light from one side only: the other side falls into shadow."""
    # From one side, up to 40 degrees above or below: faces are rarely lit from straight below.
    azimuth = float(rng.choice([0, np.pi]) + rng.uniform(-0.7, 0.7))
    edge = float(rng.uniform(-0.6, -0.1))
    u, v = _positions(*image.shape[:2], eyes)
    along = u * math.cos(azimuth) + (v - 0.5) * math.sin(azimuth)
    shadow = 1 / (1 + np.exp(-(along - edge) / 0.16))
    return to_encoded(to_linear(image) * np.exp2(-stops * shadow)[..., None])


@_kind("transmission of the air", "share of light", 1, 0.08, scale="logarithmic")
def low_contrast(image, transmission, rng, eyes):
    """Haze (Koschmieder's law): the picture fades into grey air."""
    airlight = _paint(np.array([0.97, 1.0, 1.03]) * rng.uniform(0.45, 0.75), image.shape[2])
    return to_encoded(to_linear(image) * transmission + airlight * (1 - transmission))


@_kind("channel gain", "stops", 0, 4)
def colour_cast(image, stops, rng, eyes):
    """Coloured light or wrong white balance of a random hue; the only kind that tints a grey picture."""
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


@_kind("standard deviation", _EYES, 0, 0.16, power=1.25)
def gaussian_blur(image, sigma, rng, eyes):
    """Soft lens or turbulent air: Gaussian blur."""
    blurred = cv2.GaussianBlur(to_linear(image), (0, 0), sigma * eyes.distance, borderType=cv2.BORDER_REFLECT_101)
    return to_encoded(_keep_axis(blurred))


@_kind("disc radius", _EYES, 0, 0.27, power=1.3)
def defocus_blur(image, radius, rng, eyes):
    """Out of focus: disc-shaped blur."""
    return to_encoded(_filter(to_linear(image), _disc(round(radius * eyes.distance, 4))))


@_kind("streak length", _EYES, 0, 0.8, power=1.3)
def motion_blur(image, length, rng, eyes):
    """Camera or head moved in a straight line of random direction."""
    return to_encoded(_filter(to_linear(image), _streak(length * eyes.distance, rng.uniform(0, np.pi))))


@_kind("exposure", "stops", 0, 3.9)
def over_exposure(image, stops, rng, eyes):
    """Too much light: highlights clip to white."""
    return to_encoded(to_linear(image) * 2**stops)


@_kind("lost light", "stops", 0, 10.5, power=0.6)
def low_light(image, stops, rng, eyes):
    """Too little light: the camera's gain makes up for 65% of the lost stops and amplifies the noise."""
    full_well, read_noise = 20_000, 3.0  # electrons, those of a good small camera
    amplified = 0.65  # share of the lost stops that gain makes up for
    white = float(full_well * 2.0**-stops)  # electrons that a white pixel collects
    shot, read = _noise_field(image.shape, rng, eyes), _noise_field(image.shape, rng, eyes)
    electrons = _photons(to_linear(image) * white, shot) + read_noise * read
    return to_encoded(electrons * float(2.0 ** (-(1 - amplified) * stops) / white))


@_kind("noise of a white pixel", "share of white; 1 / unit^2 photons", 0, 0.5, power=2)
def shot_noise(image, sigma, rng, eyes):
    """Few photons (Poisson): noise grows with the square root of the light."""
    white = 1 / sigma**2  # photons that make white: their number varies by its square root
    return to_encoded(_photons(to_linear(image) * white, _noise_field(image.shape, rng, eyes)) / white)


@_kind("standard deviation", "share of white", 0, 0.3, power=1.75)
def sensor_noise(image, sigma, rng, eyes):
    """Read noise: Gaussian in linear light, clipped at black and white; most visible in the shadows."""
    return to_encoded(to_linear(image) + sigma * _noise_field(image.shape, rng, eyes))


@_kind("eyes apart", "pixels", EYE_DISTANCE, 4, scale="reciprocal", power=1.4)
def low_resolution(image, pixels, rng, eyes):
    """Small face: shrunk (area mean) and enlarged again (cubic)."""
    height, width = image.shape[:2]
    scale = min(pixels / eyes.distance, 1)
    small = _resize(image, max(round(width * scale), 1), max(round(height * scale), 1), cv2.INTER_AREA)
    return _resize(small, width, height, cv2.INTER_CUBIC)


@_kind("quality factor", "libjpeg's 1..100", 95, 2, scale="logarithmic", power=0.6)
def jpeg(image, quality, rng, eyes):
    """JPEG compression of the crop at its canonical size."""
    height, width = image.shape[:2]
    scale = EYE_DISTANCE / eyes.distance
    if abs(scale - 1) >= 1e-3:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = _resize(image, max(round(width * scale), 1), max(round(height * scale), 1), way)
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(np.clip(round(quality), 1, 100))]
    code = cv2.imencode(".jpg", to_uint8(image)[..., ::-1], settings)[1]  # OpenCV expects BGR
    flag = cv2.IMREAD_GRAYSCALE if image.shape[2] == 1 else cv2.IMREAD_COLOR
    image = _keep_axis(cv2.imdecode(code, flag))[..., ::-1].astype(np.float32)
    return image if image.shape[:2] == (height, width) else _resize(image, width, height, cv2.INTER_CUBIC)


@_kind("angle", "degrees", 0, 42, power=1.2)
def rotation(image, degrees, rng, eyes):
    """Turned in the plane of the picture, left or right."""
    side = float(rng.choice([-1.0, 1.0]))
    return _similarity(image, 1.0, side * degrees, (0, 0), (eyes.x, eyes.y + 0.5 * eyes.distance))


@_kind("shift", _EYES, 0, 0.6, power=1.1)
def misalignment(image, shift, rng, eyes):
    """Landmarks found wrongly: shifted in a random direction, and enlarged or shrunk by exp(0.4 shift)."""
    angle, growth = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    move = shift * eyes.distance * np.array([np.cos(angle), np.sin(angle)])
    return _similarity(image, float(np.exp(0.4 * growth * shift)), 0.0, move, (eyes.x, eyes.y + 0.5 * eyes.distance))
