"""The components of the standard: what their raw values are, how these become 0..100, and what to do when it is low."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from ..errors import DataError

# ------------------------------------------------------------------------------------------------- raw value -> 0..100


@dataclass(frozen=True)
class Sigmoid:
    """h (a + s sigmoid((x - x0) / w)), the form of most published mappings."""

    x0: float
    w: float
    h: float = 100
    a: float = 0
    s: float = 1

    def __call__(self, x):
        return self.h * (self.a + self.s * expit((x - self.x0) / self.w))


def _uncovered(x):
    return 100 * (1 - x)


def _angle(x):
    return 100 * np.maximum(np.cos(np.radians(x)), 0) ** 2


_COVERING = Sigmoid(x0=0.02, w=0.1, h=1)


def _no_head_coverings(x):
    """100 up to 0, 0 from 0.95 on, and between them a falling sigmoid, rescaled so that it meets both."""
    low, high = 0.0, 0.95
    x = np.clip(x, low, high)
    return 100 * (_COVERING(high) - _COVERING(x)) / (_COVERING(high) - _COVERING(low))


def round_half_away(x):
    """Nearest whole numbers, halves away from zero as in C: 0.5 -> 1, 2.5 -> 3, -0.5 -> -1. (NumPy: to even.)"""
    size = np.abs(x)
    whole = np.floor(size)
    return np.copysign(whole + (size - whole >= 0.5), x)


# ----------------------------------------------------------------------------------------------------------- components


@dataclass(frozen=True)
class Component:
    """One property of a portrait.

    Attributes
    ----------
    name : str
        As the standard's reference implementation calls it, unless `own`.
    raw : str
        What the raw value is, with its unit.
    curve : callable
        Raw value (array) -> quality before clamping and rounding.
    advice : str or (str, str, float)
        What to do, one sentence for the person in front of the camera; `{x}` stands for the raw value, `{size}` for its
        absolute value. A tuple holds the advice for raw values below and above its third member.
    limit : int, default=50
        There is a message for scalars below it. This course's choice, not the standard's.
    needs : str, default=""
        What measuring it would need and is not bundled; "" where this package measures it.
    own : bool, default=False
        A measure of this course in place of one that needs a trained model.
    """

    name: str
    raw: str
    curve: Callable
    advice: str | tuple
    limit: int = 50
    needs: str = ""
    own: bool = False


_RAW = {
    "UnifiedQualityScore": "length of a MagFace embedding",
    "BackgroundUniformity": "mean length of the luminance gradient (Scharr) over the background",
    "IlluminationUniformity": "overlap of the luminance histograms of both cheeks, 0..1",
    "LuminanceMean": "mean linear luminance of the face, 0..1",
    "LuminanceVariance": "variance of the linear luminance of the face",
    "UnderExposurePrevention": "share of the face with a linear luminance of 25/255 or less",
    "OverExposurePrevention": "share of the face with a linear luminance of 247/255 or more",
    "DynamicRange": "entropy of the luminance histogram of the face, bits",
    "Sharpness": "votes of a trained forest",
    "CompressionArtifacts": "similarity to an uncompressed picture, as a trained network guesses it",
    "NaturalColour": "distance of the cheeks' mean CIELAB a, b from 5..25, 5..35; 0 for a grey picture",
    "SingleFacePresent": "area of the second-largest face over that of the largest",
    "EyesOpen": "lid distance of the narrower eye over the distance T from eyes to chin",
    "MouthClosed": "distance of the inner lips over T",
    "EyesVisible": "covered share of the eyes, 0..1",
    "MouthOcclusionPrevention": "covered share of the mouth, 0..1",
    "FaceOcclusionPrevention": "covered share of the face, 0..1",
    "InterEyeDistance": "pixels between the eye centres, over the cosine of the yaw",
    "HeadSize": "T over the height of the picture",
    "LeftwardCropOfTheFaceImage": "from the eye on the picture's left to its left border, in eye distances",
    "RightwardCropOfTheFaceImage": "from the eye on the picture's right to its right border, in eye distances",
    "MarginAboveOfTheFaceImage": "from the middle of the eyes to the upper border, in T",
    "MarginBelowOfTheFaceImage": "from the middle of the eyes to the lower border, in T",
    "HeadPoseYaw": "angle in degrees, positive when the nose points to the picture's right",
    "HeadPosePitch": "angle in degrees, positive when the nose points up",
    "HeadPoseRoll": "angle in degrees, positive when the eye on the picture's right is lower",
    "ExpressionNeutrality": "score of a trained classifier",
    "NoHeadCoverings": "share of the head that hat or cloth covers, 0..1",
    "BlurEffect": "how little the face changes when it is blurred again, 0 sharp .. 1 blurred",
    "BlockEffect": "how much steps stand out on every eighth line of the grid, logarithm of a ratio",
    "BackgroundEdges": "mean length of the luminance gradient (Scharr) beside and above the head",
}

_CURVES = {
    "UnifiedQualityScore": Sigmoid(x0=23, w=2.6),
    "BackgroundUniformity": Sigmoid(h=190, a=1, s=-1, x0=10, w=100),
    "IlluminationUniformity": lambda x: 100 * np.maximum(x, 0) ** 0.3,
    "LuminanceMean": lambda x: 100 * expit((x - 0.2) / 0.05) * (1 - expit((x - 0.8) / 0.05)),
    # 60x / (60x + 1), also for huge x
    "LuminanceVariance": lambda x: 100 * np.sin(np.pi * (1 - 1 / (60 * np.maximum(x, 0) + 1))),
    "UnderExposurePrevention": Sigmoid(h=120, a=0.832, s=-1, x0=0.92, w=0.05),
    "OverExposurePrevention": lambda x: 1 / (np.maximum(x, 0) + 0.01),
    "DynamicRange": lambda x: 12.5 * x,
    "Sharpness": Sigmoid(h=1, a=-14, s=115, x0=-20, w=15),
    "CompressionArtifacts": Sigmoid(h=1, a=-0.0278, s=103, x0=0.3308, w=0.092),
    "NaturalColour": Sigmoid(h=200, a=1, s=-1, x0=0, w=10),
    "SingleFacePresent": _uncovered,
    "EyesOpen": Sigmoid(x0=0.02, w=0.01),
    "MouthClosed": Sigmoid(a=1, s=-1, x0=0.2, w=0.06),
    "EyesVisible": _uncovered,
    "MouthOcclusionPrevention": _uncovered,
    "FaceOcclusionPrevention": _uncovered,
    "InterEyeDistance": Sigmoid(x0=70, w=20),
    "HeadSize": lambda x: Sigmoid(h=200, a=1, s=-1, x0=0, w=0.05)(np.abs(x - 0.45)),
    "LeftwardCropOfTheFaceImage": Sigmoid(x0=0.9, w=0.1),
    "RightwardCropOfTheFaceImage": Sigmoid(x0=0.9, w=0.1),
    "MarginAboveOfTheFaceImage": Sigmoid(x0=1.4, w=0.1),
    "MarginBelowOfTheFaceImage": Sigmoid(x0=1.8, w=0.1),
    "HeadPoseYaw": _angle,
    "HeadPosePitch": _angle,
    "HeadPoseRoll": _angle,
    "ExpressionNeutrality": Sigmoid(x0=-5000, w=5000),
    "NoHeadCoverings": _no_head_coverings,
    "BlurEffect": Sigmoid(a=1, s=-1, x0=0.70, w=0.04),
    "BlockEffect": Sigmoid(a=1, s=-1, x0=0.95, w=0.15),
    "BackgroundEdges": Sigmoid(h=190, a=1, s=-1, x0=10, w=100),
}

_ADVICE = {
    "UnifiedQualityScore": "Take the picture again: it is unlikely to be recognised.",
    "BackgroundUniformity": "Stand before a plain wall.",
    "IlluminationUniformity": "The cheeks are lit differently: turn towards the light, or light the darker side too.",
    "LuminanceMean": (
        "The face is too dark: add light from the front, or expose longer.",
        "The face is too bright: take some light away, or expose shorter.",
        0.5,
    ),
    "LuminanceVariance": (
        "The face looks flat: look for haze or a dirty lens, and for light that models the face a little.",
        "The contrast on the face is harsh: use softer, larger lights.",
        1 / 60,
    ),
    "UnderExposurePrevention": "{x:.0%} of the face is nearly black: add light from the front, "
    "do not stand before a window.",
    "OverExposurePrevention": "{x:.0%} of the face is burnt out to white: expose shorter, avoid direct sun and flash.",
    "DynamicRange": "The face has few shades: check exposure, and do not save with reduced colours.",
    "Sharpness": "The face is blurred: focus on the eyes and hold still.",
    "CompressionArtifacts": "The file is compressed too much: send the original.",
    "NaturalColour": "The skin has an unnatural colour: set the white balance, avoid coloured light.",
    "SingleFacePresent": "Another face is nearly as large: only one person may stand before the camera.",
    "EyesOpen": "An eye is closed: open both eyes.",
    "MouthClosed": "The mouth is open: close it.",
    "EyesVisible": "Uncover the eyes.",
    "MouthOcclusionPrevention": "Uncover the mouth.",
    "FaceOcclusionPrevention": "Uncover the face.",
    "InterEyeDistance": "Only {x:.0f} pixels between the eyes: come closer, or take more pixels.",
    "HeadSize": (
        "The head is small in the picture: come closer, or crop the picture.",
        "The head is too large for the picture: step back.",
        0.45,
    ),
    "LeftwardCropOfTheFaceImage": "The face is cut off on the picture's left: leave more room there.",
    "RightwardCropOfTheFaceImage": "The face is cut off on the picture's right: leave more room there.",
    "MarginAboveOfTheFaceImage": "There is too little room above the head: leave more.",
    "MarginBelowOfTheFaceImage": "There is too little room below the chin: show the shoulders.",
    "HeadPoseYaw": (
        "The head is turned by {size:.0f} degrees to the picture's left: look straight into the camera.",
        "The head is turned by {size:.0f} degrees to the picture's right: look straight into the camera.",
        0,
    ),
    "HeadPosePitch": (
        "The head is bent down by {size:.0f} degrees: raise the chin, or lower the camera.",
        "The head is raised by {size:.0f} degrees: lower the chin, or raise the camera.",
        0,
    ),
    "HeadPoseRoll": (
        "The head leans by {size:.0f} degrees (the eye on the picture's left is lower): hold it upright.",
        "The head leans by {size:.0f} degrees (the eye on the picture's right is lower): hold it upright.",
        0,
    ),
    "ExpressionNeutrality": "Look neutral, without a smile.",
    "NoHeadCoverings": "Take off hat or scarf.",
    "BlurEffect": "The face is blurred: clean the lens, focus on the eyes and hold still.",
    "BlockEffect": "The face shows JPEG blocks: send the original file, saved at a higher quality.",
    "BackgroundEdges": "The background is busy: stand before a plain wall.",
}

_LIMITS = {
    # The published margins want 1.4 T above the eyes and 1.8 T below: a height of 3.2 T and more, where this curve
    # wants 2.2 T. No picture satisfies all three; from 5 on, pictures that satisfy the margins get no message.
    "HeadSize": 5,
    **dict.fromkeys(("HeadPoseYaw", "HeadPosePitch", "HeadPoseRoll"), int(_angle(20.0))),  # 88
}

_SEGMENTATION = "a network that labels the pixels of a face"
_NEEDS = {
    "UnifiedQualityScore": "the weights of MagFace (iResNet-50)",
    "BackgroundUniformity": _SEGMENTATION,
    "Sharpness": "a random forest on filter responses",
    "CompressionArtifacts": "a network that guesses structural similarity",
    "EyesVisible": _SEGMENTATION,
    "MouthOcclusionPrevention": _SEGMENTATION,
    "FaceOcclusionPrevention": _SEGMENTATION,
    "ExpressionNeutrality": "two networks for expressions and a boosted classifier",
    "NoHeadCoverings": _SEGMENTATION,
}

_OWN = ("BlurEffect", "BlockEffect", "BackgroundEdges")

COMPONENTS = {
    name: Component(
        name, raw, _CURVES[name], _ADVICE[name], _LIMITS.get(name, 50), _NEEDS.get(name, ""), own=name in _OWN
    )
    for name, raw in _RAW.items()
}
"""Every component by name, in the order of the standard; the course's own at the end."""


PROXIES = {
    "Sharpness": "BlurEffect",
    "CompressionArtifacts": "BlockEffect",
    "BackgroundUniformity": "BackgroundEdges",
}
"""Components that are not measured here -> the course's own measure of nearly the same property."""

_DIFFERENCES = {
    **dict.fromkeys(
        (
            "LuminanceMean",
            "LuminanceVariance",
            "UnderExposurePrevention",
            "OverExposurePrevention",
            "DynamicRange",
        ),
        "face region: hull of 68 landmarks; OFIQ also cuts out what covers the face",
    ),
    "SingleFacePresent": "ratio of areas; OFIQ takes its square root",
    "EyesOpen": "two pairs of lid points for each eye instead of three",
    **dict.fromkeys(
        ("LeftwardCropOfTheFaceImage", "RightwardCropOfTheFaceImage"),
        "the eye on that side; OFIQ takes the other eye, its raw values are larger by about 1",
    ),
    **dict.fromkeys(
        ("HeadPoseYaw", "HeadPosePitch", "HeadPoseRoll"), "six landmarks and a mean head instead of a network"
    ),
    "InterEyeDistance": "its yaw is that of six landmarks and a mean head",
}
_LANDMARKS = "68 landmarks instead of 98"


def coverage():
    """What this package has of the components of ISO/IEC 29794-5 and OFIQ.

    Returns
    -------
    DataFrame
        One row for each component of OFIQ, in its order: `component`; `status` ("measured", with the published map;
        "proxy", another measure of nearly the same property under a name of its own; "not here"); `here`, the name of
        what is measured ("" for nothing); `why`, how a measured one differs from OFIQ's, or what is missing.
    """
    rows = []
    for name, component in COMPONENTS.items():
        if component.own:
            continue
        status = "measured" if not component.needs else "proxy" if name in PROXIES else "not here"
        here = name if status == "measured" else PROXIES.get(name, "")
        why = f"needs {component.needs}" if component.needs else _DIFFERENCES.get(name, _LANDMARKS)
        rows.append((name, status, here, why))
    return pd.DataFrame(rows, columns=["component", "status", "here", "why"])


def _known(component):
    if component not in COMPONENTS:
        raise DataError(f"there is no component {component!r}; known: {', '.join(COMPONENTS)}")
    return COMPONENTS[component]


def to_scalar(component, raw):
    """The published quality 0..100 of a raw value: mapped, clamped, and rounded with halves away from zero.

    Parameters
    ----------
    component : str
        A name in `COMPONENTS`, measured here or not.
    raw : float or array
        Raw value(s). NaN, None or infinite: could not be assessed.

    Returns
    -------
    int, or array of int
        0..100; -1 where the raw value is not a finite number.

    Raises
    ------
    DataError
        For an unknown component or a raw value that is no number.
    """
    known = _known(component)
    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{component}: the raw value must be a number or an array of numbers, got {raw!r}") from error
    finite = np.isfinite(values)
    quality = np.clip(known.curve(np.where(finite, values, 0.0)), 0, 100)
    scalar = np.where(finite, round_half_away(quality), -1).astype(int)
    return scalar if scalar.ndim else int(scalar)


def to_scalars(raws):
    """`to_scalar` for each column of a table of raw values (DataFrame), as `measure_faces` gives it."""
    return pd.DataFrame({name: to_scalar(name, raws[name]) for name in raws}, index=raws.index)


def message(component, raw):
    """What to do about a raw value.

    Parameters
    ----------
    component : str
        A name in `COMPONENTS`.
    raw : float
        Raw value.

    Returns
    -------
    str
        One sentence, or "" where nothing needs to be done.
    """
    known, scalar = _known(component), to_scalar(component, raw)
    if scalar < 0:
        return "Could not be assessed."
    if scalar >= known.limit:
        return ""
    advice, raw = known.advice, float(raw)
    if not isinstance(advice, str):
        low, high, middle = advice
        advice = low if raw < middle else high
    return advice.format(x=raw, size=abs(raw))
