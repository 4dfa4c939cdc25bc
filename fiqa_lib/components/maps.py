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


def _luminance_mean(x):
    return 100 * expit((x - 0.2) / 0.05) * (1 - expit((x - 0.8) / 0.05))


def _luminance_variance(x):
    return 100 * np.sin(np.pi * (1 - 1 / (60 * np.maximum(x, 0) + 1)))  # 60x / (60x + 1), also for huge x


def _over_exposure(x):
    return 1 / (np.maximum(x, 0) + 0.01)


def _dynamic_range(x):
    return 12.5 * x


def _illumination_uniformity(x):
    return 100 * np.maximum(x, 0) ** 0.3


def _uncovered(x):
    return 100 * (1 - x)


def _angle(x):
    return 100 * np.maximum(np.cos(np.radians(x)), 0) ** 2


_HEAD_SIZE = Sigmoid(h=200, a=1, s=-1, x0=0, w=0.05)


def _head_size(x):
    return _HEAD_SIZE(np.abs(x - 0.45))


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
    advice : callable
        Raw value -> what to do about it, one sentence for the person in front of the camera.
    limit : int
        There is a message for scalars below it. This course's choice, not the standard's.
    own : bool
        A measure of this course in place of one that needs a trained model.
    needs : str
        What measuring it would need and is not bundled; "" where this module measures it.
    """

    name: str
    raw: str
    curve: Callable
    advice: Callable
    limit: int = 50
    own: bool = False
    needs: str = ""


def _side(low, high, middle=0.0):
    """Advice that depends on which side of `middle` the raw value lies."""
    return lambda x: (low if x < middle else high).format(x=x, size=abs(x))


def _say(text):
    return lambda x: text.format(x=x)


_ASK_AGAIN = "Take the picture again: it is unlikely to be recognised."
_SEGMENTATION = "a network that labels the pixels of a face"
_POSE_LIMIT = int(_angle(20.0))  # 88

COMPONENTS = {
    c.name: c
    for c in (
        Component(
            "UnifiedQualityScore",
            "length of a MagFace embedding",
            Sigmoid(x0=23, w=2.6),
            _say(_ASK_AGAIN),
            needs="the weights of MagFace (iResNet-50)",
        ),
        Component(
            "BackgroundUniformity",
            "mean length of the luminance gradient (Scharr) over the background",
            Sigmoid(h=190, a=1, s=-1, x0=10, w=100),
            _say("Stand before a plain wall."),
            needs=_SEGMENTATION,
        ),
        Component(
            "IlluminationUniformity",
            "overlap of the luminance histograms of both cheeks, 0..1",
            _illumination_uniformity,
            _say("The cheeks are lit differently: turn towards the light, or light the darker side too."),
        ),
        Component(
            "LuminanceMean",
            "mean linear luminance of the face, 0..1",
            _luminance_mean,
            _side(
                "The face is too dark: add light from the front, or expose longer.",
                "The face is too bright: take some light away, or expose shorter.",
                0.5,
            ),
        ),
        Component(
            "LuminanceVariance",
            "variance of the linear luminance of the face",
            _luminance_variance,
            _side(
                "The face looks flat: look for haze or a dirty lens, and for light that models the face a little.",
                "The contrast on the face is harsh: use softer, larger lights.",
                1 / 60,
            ),
        ),
        Component(
            "UnderExposurePrevention",
            "share of the face with a linear luminance of 25/255 or less",
            Sigmoid(h=120, a=0.832, s=-1, x0=0.92, w=0.05),
            _say("{x:.0%} of the face is nearly black: add light from the front, do not stand before a window."),
        ),
        Component(
            "OverExposurePrevention",
            "share of the face with a linear luminance of 247/255 or more",
            _over_exposure,
            _say("{x:.0%} of the face is burnt out to white: expose shorter, avoid direct sun and flash."),
        ),
        Component(
            "DynamicRange",
            "entropy of the luminance histogram of the face, bits",
            _dynamic_range,
            _say("The face has few shades: check exposure, and do not save with reduced colours."),
        ),
        Component(
            "Sharpness",
            "votes of a trained forest",
            Sigmoid(h=1, a=-14, s=115, x0=-20, w=15),
            _say("The face is blurred: focus on the eyes and hold still."),
            needs="a random forest on filter responses",
        ),
        Component(
            "CompressionArtifacts",
            "similarity to an uncompressed picture, as a trained network guesses it",
            Sigmoid(h=1, a=-0.0278, s=103, x0=0.3308, w=0.092),
            _say("The file is compressed too much: send the original."),
            needs="a network that guesses structural similarity",
        ),
        Component(
            "NaturalColour",
            "distance of the cheeks' mean CIELAB a, b from 5..25, 5..35; 0 for a grey picture",
            Sigmoid(h=200, a=1, s=-1, x0=0, w=10),
            _say("The skin has an unnatural colour: set the white balance, avoid coloured light."),
        ),
        Component(
            "SingleFacePresent",
            "area of the second-largest face over that of the largest",
            _uncovered,
            _say("Another face is nearly as large: only one person may stand before the camera."),
        ),
        Component(
            "EyesOpen",
            "lid distance of the narrower eye over the distance T from eyes to chin",
            Sigmoid(x0=0.02, w=0.01),
            _say("An eye is closed: open both eyes."),
        ),
        Component(
            "MouthClosed",
            "distance of the inner lips over T",
            Sigmoid(a=1, s=-1, x0=0.2, w=0.06),
            _say("The mouth is open: close it."),
        ),
        *(
            Component(name, f"covered share of {what}, 0..1", _uncovered, _say(f"Uncover {what}."), needs=_SEGMENTATION)
            for name, what in (
                ("EyesVisible", "the eyes"),
                ("MouthOcclusionPrevention", "the mouth"),
                ("FaceOcclusionPrevention", "the face"),
            )
        ),
        Component(
            "InterEyeDistance",
            "pixels between the eye centres, over the cosine of the yaw",
            Sigmoid(x0=70, w=20),
            _say("Only {x:.0f} pixels between the eyes: come closer, or take more pixels."),
        ),
        Component(
            "HeadSize",
            "T over the height of the picture",
            _head_size,
            _side(
                "The head is small in the picture: come closer, or crop the picture.",
                "The head is too large for the picture: step back.",
                0.45,
            ),
            # The published margins want 1.4 T above the eyes and 1.8 T below: a height of 3.2 T and more, where this
            # curve wants 2.2 T. No picture pleases all three; from 5 on, those that please the margins are let be.
            limit=5,
        ),
        Component(
            "LeftwardCropOfTheFaceImage",
            "from the eye on the picture's left to its left border, in eye distances",
            Sigmoid(x0=0.9, w=0.1),
            _say("The face is cut off on the picture's left: leave more room there."),
        ),
        Component(
            "RightwardCropOfTheFaceImage",
            "from the eye on the picture's right to its right border, in eye distances",
            Sigmoid(x0=0.9, w=0.1),
            _say("The face is cut off on the picture's right: leave more room there."),
        ),
        Component(
            "MarginAboveOfTheFaceImage",
            "from the middle of the eyes to the upper border, in T",
            Sigmoid(x0=1.4, w=0.1),
            _say("There is too little room above the head: leave more."),
        ),
        Component(
            "MarginBelowOfTheFaceImage",
            "from the middle of the eyes to the lower border, in T",
            Sigmoid(x0=1.8, w=0.1),
            _say("There is too little room below the chin: show the shoulders."),
        ),
        Component(
            "HeadPoseYaw",
            "angle in degrees, positive when the nose points to the picture's right",
            _angle,
            _side(
                "The head is turned by {size:.0f} degrees to the picture's left: look straight into the camera.",
                "The head is turned by {size:.0f} degrees to the picture's right: look straight into the camera.",
            ),
            limit=_POSE_LIMIT,
        ),
        Component(
            "HeadPosePitch",
            "angle in degrees, positive when the nose points up",
            _angle,
            _side(
                "The head is bent down by {size:.0f} degrees: raise the chin, or lower the camera.",
                "The head is raised by {size:.0f} degrees: lower the chin, or raise the camera.",
            ),
            limit=_POSE_LIMIT,
        ),
        Component(
            "HeadPoseRoll",
            "angle in degrees, positive when the eye on the picture's right is lower",
            _angle,
            _side(
                "The head leans by {size:.0f} degrees (the eye on the picture's left is lower): hold it upright.",
                "The head leans by {size:.0f} degrees (the eye on the picture's right is lower): hold it upright.",
            ),
            limit=_POSE_LIMIT,
        ),
        Component(
            "ExpressionNeutrality",
            "score of a trained classifier",
            Sigmoid(x0=-5000, w=5000),
            _say("Look neutral, without a smile."),
            needs="two networks for expressions and a boosted classifier",
        ),
        Component(
            "NoHeadCoverings",
            "share of the head that hat or cloth covers, 0..1",
            _no_head_coverings,
            _say("Take off hat or scarf."),
            needs=_SEGMENTATION,
        ),
        Component(
            "BlurEffect",
            "how little the face changes when it is blurred again, 0 sharp .. 1 blurred",
            Sigmoid(a=1, s=-1, x0=0.70, w=0.04),
            _say("The face is blurred: clean the lens, focus on the eyes and hold still."),
            own=True,
        ),
        Component(
            "BlockEffect",
            "how much steps stand out on every eighth line of the grid, logarithm of a ratio",
            Sigmoid(a=1, s=-1, x0=0.95, w=0.15),
            _say("The face shows JPEG blocks: send the original file, saved at a higher quality."),
            own=True,
        ),
        Component(
            "BackgroundEdges",
            "mean length of the luminance gradient (Scharr) beside and above the head",
            Sigmoid(h=190, a=1, s=-1, x0=10, w=100),
            _say("The background is busy: stand before a plain wall."),
            own=True,
        ),
    )
}
"""Every component by name, in the order of the standard; the course's own at the end."""


def _known(component):
    if component not in COMPONENTS:
        raise DataError(f"there is no component {component!r}; known: {', '.join(COMPONENTS)}")
    return COMPONENTS[component]


def to_scalar(component, raw):
    """The published quality 0..100 of a raw value: mapped, clamped, and rounded with halves away from zero.

    Parameters
    ----------
    component : str
        A name in `COMPONENTS`, also of those that this module does not measure.
    raw : number or array
        NaN, None or infinite: could not be assessed.

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
    """`to_scalar` for each column of a table of raw values, as `measure_faces` gives it."""
    return pd.DataFrame({name: to_scalar(name, raws[name]) for name in raws}, index=raws.index)


def message(component, raw):
    """What to do about a raw value: one sentence, or "" where nothing needs to be done."""
    known, scalar = _known(component), to_scalar(component, raw)
    if scalar < 0:
        return "Could not be assessed."
    return "" if scalar >= known.limit else known.advice(float(raw))
