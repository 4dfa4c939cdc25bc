"""Components: published mappings on tables of values, and the messages."""

import numpy as np
import pytest

from fiqa_lib import components
from fiqa_lib.components import COMPONENTS, message, to_scalar
from fiqa_lib.errors import DataError

# Raw and scalar values in the conformance table that is published with OFIQ 1.0 (photographs of its test set).
PUBLISHED = {
    "UnifiedQualityScore": {24.556244: 65, 15.676003: 6, 21.282320: 34, 14.065577: 3, 27.706718: 86},
    "BackgroundUniformity": {71.593742: 67, 41.833963: 80, 243.065285: 17, 187.572875: 28, 92.553961: 58},
    "IlluminationUniformity": {0.148789: 56, 0.510381: 82, 0.020761: 31, 0.843893: 95, 0.009796: 25},
    "LuminanceMean": {0.296339: 87, 0.498524: 100, 0.103973: 13, 0.189643: 45, 0.444127: 99},
    "LuminanceVariance": {0.014962: 100, 0.039975: 80, 0.007321: 82, 0.067844: 58, 0.030400: 90},
    "UnderExposurePrevention": {0.351960: 100, 0.049128: 100},
    "OverExposurePrevention": {0: 100, 0.000043: 100},
    "DynamicRange": {6.912061: 86, 7.607157: 95, 5.560847: 70, 6.207525: 78},
    "Sharpness": {44: 99, 50: 100, 38: 99, 40: 99, 46: 100},
    "CompressionArtifacts": {0.944085: 100, 0.892851: 100},
    "NaturalColour": {0: 100, 4.809711: 76, 3.299769: 84, 0.955541: 95, 100: 0},
    "SingleFacePresent": {0: 100, 0.720493: 28, 0.743829: 26},
    "EyesOpen": {0.023125: 58, 0.050498: 95, 0.070220: 99, 0.057607: 98},
    "MouthClosed": {0.002205: 96, 0.065307: 90, 0.083904: 87, 0.049862: 92},
    "EyesVisible": {0.546489: 45, 0.163627: 84, 1: 0, 0.015196: 98},
    "MouthOcclusionPrevention": {0: 100, 1: 0},
    "FaceOcclusionPrevention": {0.192486: 81, 0.737660: 26, 0.004296: 100},
    "InterEyeDistance": {492.515573: 100, 352.585483: 100},
    "HeadSize": {0.224977: 2, 0.134832: 0, 0.257293: 4, 0.185500: 1},
    "LeftwardCropOfTheFaceImage": {3.434156: 100},
    "RightwardCropOfTheFaceImage": {3.706289: 100},
    "MarginAboveOfTheFaceImage": {1.545541: 81, 2.423085: 100, 1.742159: 97, 1.819988: 99},
    "MarginBelowOfTheFaceImage": {2.021810: 90, 1.726251: 32, 1.749557: 38, 2.363891: 100},
    "HeadPoseYaw": {7.966364: 98, 1.206760: 100, 5.343358: 99},
    "HeadPosePitch": {-16.617661: 92, -13.847975: 94, -8.573003: 98},
    "HeadPoseRoll": {27.373343: 79, -16.291553: 92},
    "ExpressionNeutrality": {-10876.964844: 24, 10006.855469: 95, -15067.545898: 12, 182.959518: 74},
}


@pytest.mark.parametrize("component", PUBLISHED)
def test_published_values(component):
    raws, scalars = zip(*PUBLISHED[component].items(), strict=True)
    assert to_scalar(component, raws).tolist() == list(scalars)


# Worked out with a pocket calculator: at x0 a sigmoid is one half, so h (a + s / 2) is left.
BY_HAND = [
    ("UnifiedQualityScore", 23, 50),
    ("BackgroundUniformity", 10, 95),  # 190 * 0.5
    ("IlluminationUniformity", 1, 100),
    ("IlluminationUniformity", 0.1, 50),  # 10 ** -0.3 = 0.501
    ("LuminanceMean", 0.2, 50),
    ("LuminanceMean", 0.8, 50),
    ("LuminanceMean", 0.5, 100),  # 0.9975 ** 2 = 0.995
    ("LuminanceVariance", 1 / 60, 100),  # sin(pi / 2)
    ("LuminanceVariance", 1 / 300, 50),  # 60 x = 1/5, so sin(pi / 6)
    ("LuminanceVariance", 0, 0),
    ("UnderExposurePrevention", 0.92, 40),  # 120 * (0.832 - 0.5) = 39.84
    ("UnderExposurePrevention", 0, 100),  # 99.84
    ("UnderExposurePrevention", 1, 0),  # 120 * (0.832 - 0.832018)
    ("OverExposurePrevention", 0.01, 50),
    ("OverExposurePrevention", 0.99, 1),
    ("DynamicRange", 8, 100),
    ("DynamicRange", 4, 50),
    ("Sharpness", -20, 44),  # -14 + 57.5 = 43.5, half away from zero
    ("CompressionArtifacts", 0.3308, 51),  # -0.0278 + 51.5 = 51.4722
    ("NaturalColour", 10, 54),  # 200 (1 - 1 / (1 + e^-1)) = 53.79
    ("SingleFacePresent", 0.25, 75),
    ("EyesOpen", 0.02, 50),
    ("MouthClosed", 0.2, 50),
    ("EyesVisible", 0.125, 88),  # 87.5
    ("MouthOcclusionPrevention", 0.3, 70),
    ("FaceOcclusionPrevention", -0.1, 100),
    ("InterEyeDistance", 70, 50),
    ("InterEyeDistance", 90, 73),  # 1 / (1 + e^-1) = 0.731
    ("HeadSize", 0.45, 100),
    ("HeadSize", 0.40, 54),
    ("HeadSize", 0.50, 54),
    ("LeftwardCropOfTheFaceImage", 0.9, 50),
    ("RightwardCropOfTheFaceImage", 0.9, 50),
    ("MarginAboveOfTheFaceImage", 1.4, 50),
    ("MarginBelowOfTheFaceImage", 1.8, 50),
    ("HeadPoseYaw", 45, 50),
    ("HeadPosePitch", -60, 25),
    ("HeadPoseRoll", 90, 0),
    ("HeadPoseRoll", 180, 0),  # the cosine is -1: upside down is not upright
    ("ExpressionNeutrality", -5000, 50),
    ("NoHeadCoverings", -0.1, 100),
    ("NoHeadCoverings", 0, 100),
    ("NoHeadCoverings", 0.95, 0),
    ("NoHeadCoverings", 0.02, 91),  # (0.5 - 0.0001) / (0.5498 - 0.0001) = 0.9094
    ("NoHeadCoverings", 1, 0),
    ("BlurEffect", 0.70, 50),
    ("BlockEffect", 0.95, 50),
    ("BackgroundEdges", 10, 95),
]


@pytest.mark.parametrize("component, raw, scalar", BY_HAND)
def test_values_by_hand(component, raw, scalar):
    assert to_scalar(component, raw) == scalar


def test_every_component_has_a_value_by_hand():
    assert {name for name, _, _ in BY_HAND} == set(COMPONENTS)


def test_halves_are_rounded_away_from_zero():
    assert [to_scalar("DynamicRange", x) for x in (0.04, 0.12, 0.2, 1.0)] == [1, 2, 3, 13]  # 0.5, 1.5, 2.5, 12.5
    values = [0.5, 1.5, 2.5, -0.5, -2.5, 0.49999999999999994, 3.2, -3.7, 0.0]
    assert components.round_half_away(np.array(values)).tolist() == [1, 2, 3, -1, -3, 0, 3, -4, 0]


@pytest.mark.parametrize("component", COMPONENTS)
def test_always_a_whole_number_from_0_to_100_or_minus_1(component):
    raws = np.array([-1e9, -3.0, -0.1, 0.0, 0.3, 0.7, 1.0, 7.5, 80.0, 1e9, np.nan, np.inf, -np.inf])
    scalars = to_scalar(component, raws)
    assert scalars.dtype.kind == "i" and scalars.shape == raws.shape
    assert (scalars[-3:] == -1).all() and (scalars[:-3] >= 0).all() and (scalars[:-3] <= 100).all()
    assert scalars[:-3].max() > 0
    assert [to_scalar(component, raw) for raw in raws] == scalars.tolist()


def test_one_value_gives_an_int_and_a_missing_one_fails():
    assert type(to_scalar("EyesOpen", 0.02)) is int
    assert to_scalar("EyesOpen", None) == -1
    assert to_scalar("EyesOpen", [[0.02, None]]).tolist() == [[50, -1]]
    assert to_scalar("EyesOpen", []).shape == (0,)


def test_unknown_component_and_text_are_refused():
    with pytest.raises(DataError, match="Beauty.*EyesOpen"):
        to_scalar("Beauty", 1)
    with pytest.raises(DataError, match="EyesOpen.*wide"):
        to_scalar("EyesOpen", "wide")
    with pytest.raises(DataError, match="Beauty"):
        message("Beauty", 1)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_message_where_it_is_bad_and_none_where_it_is_good(component):
    raws = np.concatenate([np.linspace(-90, 90, 721), np.linspace(0, 1, 101), [-20000.0, 20000.0, 200.0]])
    scalars = to_scalar(component, raws)
    for raw, scalar in zip(raws, scalars, strict=True):
        text = message(component, raw)
        assert bool(text) == (scalar < COMPONENTS[component].limit)
        assert "{" not in text and (not text or not text[0].islower() and text.endswith("."))
    assert scalars.min() < COMPONENTS[component].limit <= scalars.max()


def test_messages_know_the_side():
    assert "dark" in message("LuminanceMean", 0.05) and "bright" in message("LuminanceMean", 0.95)
    assert "flat" in message("LuminanceVariance", 0.001) and "harsh" in message("LuminanceVariance", 0.2)
    assert "closer" in message("HeadSize", 0.2) and "back" in message("HeadSize", 0.8)
    assert "30 degrees to the picture's left" in message("HeadPoseYaw", -30)
    assert "30 degrees to the picture's right" in message("HeadPoseYaw", 30)
    assert "raise the chin" in message("HeadPosePitch", -30) and "lower the chin" in message("HeadPosePitch", 30)
    assert message("HeadPoseYaw", 19) == "" and message("HeadPoseYaw", 21)
    assert "12%" in message("OverExposurePrevention", 0.12)
    assert "assessed" in message("EyesOpen", np.nan)


def test_some_framing_needs_no_message():
    """The published curves of head size and margins contradict each other; the limits of messages must not."""
    names = ("HeadSize", "MarginAboveOfTheFaceImage", "MarginBelowOfTheFaceImage")
    framings = [
        (size, above, 1 / size - above) for size in np.linspace(0.2, 0.7, 501) for above in np.arange(1, 3, 0.02)
    ]
    scalars = np.array([to_scalar(name, column) for name, column in zip(names, np.transpose(framings), strict=True)])
    assert scalars.min(axis=0).max() < 25  # whatever the framing, one of the three calls it bad
    assert any(not any(message(n, x) for n, x in zip(names, raws, strict=True)) for raws in framings[::7])
