"""Component measures: hand-made pictures, symmetries, bad input."""

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data

from fiqa_lib import components
from fiqa_lib.components import COMPONENTS, MEASURED, Portrait, measure, measure_faces, message, to_scalar
from fiqa_lib.components.measures import beside_the_head, colour_distance, mean_lab
from fiqa_lib.errors import DataError
from fiqa_lib.faces import EYE_DISTANCE, SIZE, Detection, DlibHog, Mtcnn, extract_faces, landmarks
from fiqa_lib.faces.masking import POSE_MODEL, POSE_POINTS, Pose, rotation_of
from fiqa_lib.transforms import degrade

# ---------------------------------------------------------------------------------------------- hand-made pictures

MIRRORED = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
]
"""Which of the 68 landmarks becomes which in a mirror."""


@pytest.fixture(scope="module")
def astronaut():
    """(photograph, detections, landmarks), read only."""
    image = skimage.data.astronaut()
    found = DlibHog()(image)
    return image, found, landmarks(image, found[0], 68)


@pytest.fixture(scope="module")
def symmetric(astronaut):
    """68 landmarks, left and right alike, upright, with eyes 113 pixels apart as in the standard's aligned face."""
    points = astronaut[2]
    turned = points[MIRRORED] * [-1, 1]
    left, right = points - points[27], turned - turned[27]
    middle = (left + right) / 2
    distance = middle[[42, 45], 0].mean() - middle[[36, 39], 0].mean()
    return middle * 113 / distance


def values(table, column="raw"):
    return dict(zip(table["component"], table[column], strict=True))


def linear(grey):
    """sRGB value 0..255 of a grey -> linear luminance as uint8 / 255, from the definition."""
    x = grey / 255
    x = x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
    return int(x * 255 + 0.5) / 255


def test_a_plain_grey_picture(symmetric):
    image = np.full((800, 700, 3), 188, np.uint8)
    found = values(measure(image, points=symmetric + [350, 350]))
    assert found["LuminanceMean"] == pytest.approx(linear(188))
    for name in ("LuminanceVariance", "DynamicRange", "UnderExposurePrevention", "OverExposurePrevention"):
        assert found[name] == pytest.approx(0, abs=1e-12)
    assert found["IlluminationUniformity"] == pytest.approx(1)
    assert found["NaturalColour"] == 0 and found["BackgroundEdges"] == 0
    assert np.isnan(found["BlurEffect"]) and found["BlockEffect"] == 0


def test_two_halves(symmetric):
    """Left half luminance a, right half b: the mean between, a quarter of the squared difference, one bit."""
    image = np.full((800, 700, 3), 100, np.uint8)
    image[:, 351:] = 220  # the middle of the face is column 350
    image[:, 350] = 100
    found = values(measure(image, points=symmetric + [350, 350]))
    a, b = linear(100), linear(220)
    assert found["LuminanceMean"] == pytest.approx((a + b) / 2, abs=0.01)
    assert found["LuminanceVariance"] == pytest.approx((a - b) ** 2 / 4, rel=0.02)
    assert found["DynamicRange"] == pytest.approx(1, abs=0.1)  # resampling blends a column
    assert found["IlluminationUniformity"] == 0


def test_dark_and_bright_shares(symmetric):
    """25 of 255 is dark, 26 is not; 247 is bright, 246 is not. Luminances that no grey has are made with blue."""
    points = symmetric + [350, 350]
    blue = np.array([[[grey, grey, x] for x in range(256)] for grey in range(256)], np.uint8)
    light = components.luminance(blue)
    for name, inner, outer in (("UnderExposurePrevention", 25, 26), ("OverExposurePrevention", 247, 246)):
        for luminance, share in ((inner, 1), (outer, 0)):
            colour = blue[light == luminance][0]
            found = values(measure(np.full((800, 700, 3), colour, np.uint8), points=points))
            assert found["LuminanceMean"] == pytest.approx(luminance / 255)
            assert found[name] == pytest.approx(share), (name, luminance)


def test_detail_finer_than_the_aligned_face_is_averaged(symmetric):
    """A chessboard of single pixels on a face eight times as large as the standard's is a plain grey there."""
    board = np.indices((4000, 3600)).sum(0) % 2
    image = np.repeat((60 + 120 * board)[..., None].astype(np.uint8), 3, 2)
    found = values(measure(image, points=symmetric * 8 + [1800, 1800]))
    assert found["LuminanceVariance"] < 1e-4 and found["LuminanceMean"] == pytest.approx(linear(120), abs=0.02)


def test_luminance_is_linear_light():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [188, 188, 188]]], np.uint8)
    assert components.luminance(image).tolist() == [[54, 182, 18, 255, 128]]  # 0.2126, 0.7152, 0.0722 of 255


def test_zones_lie_on_the_cheeks(symmetric):
    """Only what is in the two squares below the eyes decides about the colour and about the evenness of the light."""
    points = symmetric + [350, 350]
    eyes = np.array([points[[36, 39]].mean(0), points[[42, 45]].mean(0)])
    down = (points[[62, 66]].mean(0)[1] - eyes[0, 1]) / 2
    side = 0.3 * 113
    image = np.full((800, 700, 3), (30, 60, 200), np.uint8)
    for x in (eyes[0, 0], eyes[1, 0] - side):
        top, left = int(eyes[0, 1] + down), int(x)
        image[top - 6 : top + int(side) + 7, left - 6 : left + int(side) + 7] = (200, 150, 130)
    found = values(measure(image, points=points))
    assert found["IlluminationUniformity"] == pytest.approx(1) and found["NaturalColour"] == 0
    blue = values(measure(np.full((800, 700, 3), (30, 60, 200), np.uint8), points=points))
    assert blue["NaturalColour"] == 100


def test_colour_against_known_cielab():
    """White is (100, 0, 0); sRGB red has a = 80.8, b = 69.9 for the white D50 (Lindbloom's calculator)."""
    np.testing.assert_allclose(mean_lab([[255, 255, 255]]), [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(mean_lab([[255, 0, 0]]), [54.29, 80.81, 69.89], atol=0.05)
    np.testing.assert_allclose(mean_lab([[0, 0, 0], [200, 100, 50]]), mean_lab([[100, 50, 25]]))  # the mean is first
    assert colour_distance(10, 20) == 0 and colour_distance(5, 35) == 0
    assert colour_distance(2, 20) == 3 and colour_distance(2, 39) == 5 and colour_distance(28, 1) == 5
    assert colour_distance(-0.1, 20) == 100 and colour_distance(10, -1) == 100


def test_geometry_by_hand(symmetric):
    points = symmetric + [300, 250]
    eyes = np.array([points[[36, 39]].mean(0), points[[42, 45]].mean(0)])
    chin = points[8, 1] - eyes[0, 1]
    found = values(measure(np.zeros((900, 700, 3), np.uint8), points=points))
    assert found["InterEyeDistance"] == pytest.approx(113, rel=0.01)  # frontal, so the yaw takes nothing away
    assert found["HeadSize"] == pytest.approx(chin / 900)
    assert found["LeftwardCropOfTheFaceImage"] == pytest.approx((eyes[0, 0] + 0.5) / 113)
    assert found["RightwardCropOfTheFaceImage"] == pytest.approx((699.5 - eyes[1, 0]) / 113)
    assert found["MarginAboveOfTheFaceImage"] == pytest.approx((eyes[0, 1] + 0.5) / chin)
    assert found["MarginBelowOfTheFaceImage"] == pytest.approx((899.5 - eyes[0, 1]) / chin)


def test_lids_and_lips_by_hand(symmetric):
    points = symmetric + [300, 250]
    chin = points[8, 1] - points[[36, 39]].mean(0)[1]
    points[[37, 38, 43, 44]] = points[[41, 40, 47, 46]] - [0, 10]  # lids 10 apart ...
    points[37] = points[41] - [0, 4]
    points[[43, 44]] = points[[47, 46]] - [0, 3]  # ... but those of the right eye 3
    points[[61, 62, 63]] = points[[67, 66, 65]] - [[0, 5], [0, 20], [0, 7]]
    found = values(measure(np.zeros((900, 700, 3), np.uint8), points=points))
    assert found["EyesOpen"] == pytest.approx(3 / chin)
    assert found["MouthClosed"] == pytest.approx(20 / chin)


def test_pose_is_found_again():
    """A model head, turned, seen by a camera in front of the canonical crop."""
    for pose in (Pose(0, 0, 0), Pose(25, 0, 0), Pose(-25, 5, 0), Pose(5, 20, -10), Pose(0, -20, 30)):
        seen = POSE_MODEL @ rotation_of(pose).T + [0, 0, 1500]
        six = seen[:, :2] / seen[:, 2:] * SIZE + (SIZE - 1) / 2
        points = np.full((68, 2), np.nan)
        points[list(POSE_POINTS)] = six
        along = points[45] - points[36]
        inner = (np.hypot(*along) - EYE_DISTANCE) * along / np.hypot(*along)
        points[39], points[42] = points[36] + inner, points[45] - inner  # eye centres as far apart as in the crop
        rest = np.isnan(points[:, 0])
        points[rest] = (68 * (SIZE - 1) / 2 - points[~rest].sum(0)) / rest.sum()  # and all of it in the middle
        for scale, shift in ((1, 0), (7, 300)):
            portrait = Portrait(np.zeros((9, 9, 3), np.uint8), points * scale + shift)
            np.testing.assert_allclose(portrait.pose, pose, atol=0.01)


def test_inter_eye_distance_makes_up_for_the_turned_head(astronaut):
    image, _, points = astronaut
    portrait = Portrait(image, points)
    portrait.__dict__["pose"] = Pose(60.0, 0.0, 0.0)
    assert components.measures._pixels_between_eyes(portrait) == pytest.approx(2 * portrait.distance)
    portrait.__dict__["pose"] = Pose(89.9, 0.0, 0.0)  # no face is a thousand pixels wide because of a guess
    assert components.measures._pixels_between_eyes(portrait) == pytest.approx(2 * portrait.distance)


def test_mirror_swaps_left_and_right(astronaut):
    image, found, points = astronaut
    first = values(measure(image, detections=found, points=points))
    flipped = (points * [-1, 1] + [image.shape[1] - 1, 0])[MIRRORED]
    second = values(measure(np.ascontiguousarray(image[:, ::-1]), detections=found, points=flipped))
    swapped = {"LeftwardCropOfTheFaceImage": "RightwardCropOfTheFaceImage"}
    swapped |= {there: here for here, there in swapped.items()}
    for name, value in first.items():
        sign = -1 if name in ("HeadPoseYaw", "HeadPoseRoll") else 1
        tolerance = {"rel": 0.02, "abs": 0.02} if name not in swapped else {"rel": 1e-9}
        assert second[swapped.get(name, name)] == pytest.approx(sign * value, **tolerance), name
    assert first["LeftwardCropOfTheFaceImage"] < first["RightwardCropOfTheFaceImage"] - 1


def test_size_of_the_photograph_changes_only_the_pixels_between_the_eyes(astronaut):
    image, found, points = astronaut
    tables = {}
    for scale in (1, 3, 6):
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        tables[scale] = values(measure(large, detections=found, points=(points + 0.5) * scale - 0.5))
    for scale, table in tables.items():
        assert table["InterEyeDistance"] == pytest.approx(scale * tables[1]["InterEyeDistance"])
        for name, value in table.items():
            if name in ("InterEyeDistance", "BlockEffect"):  # blocks are bound to the pixels of the file
                continue
            # fine texture of a background gets softer when it is enlarged to the standard's scale
            tolerance = 0.05 if name != "BackgroundEdges" else 0.15 if scale == 1 else 0.08
            assert value == pytest.approx(tables[3][name], rel=tolerance, abs=0.02), (name, scale)


def test_framing_changes_only_what_is_about_framing(astronaut):
    image, found, points = astronaut
    first = values(measure(image, detections=found, points=points))
    top, left = 40, 120
    part = np.ascontiguousarray(image[top:300, left:400])
    second = values(measure(part, detections=found, points=points - [left, top]))
    framing = {n for n in MEASURED if "Crop" in n or "Margin" in n} | {"HeadSize", "BackgroundEdges", "BlockEffect"}
    for name, value in second.items():
        if name not in framing:
            assert value == pytest.approx(first[name], rel=1e-4, abs=1e-9), name
    assert second["HeadSize"] == pytest.approx(first["HeadSize"] * 512 / 260)
    portrait = Portrait(image, points)
    lost = first["LeftwardCropOfTheFaceImage"] - second["LeftwardCropOfTheFaceImage"]
    assert lost == pytest.approx(left / portrait.distance)
    assert first["MarginAboveOfTheFaceImage"] - second["MarginAboveOfTheFaceImage"] == pytest.approx(
        top / portrait.chin
    )


def test_what_lies_outside_the_photograph_does_not_count(symmetric):
    """Half of the face is cut off: the repeated border is no part of it."""
    image = np.full((800, 300, 3), 200, np.uint8)
    image[:, :2] = 0
    found = values(measure(image, points=symmetric + [0, 350]))
    assert found["UnderExposurePrevention"] < 0.05


# -------------------------------------------------------------------------------------------------------- own measures


def test_blur_rises_with_blur_and_not_with_contrast(astronaut):
    crop = extract_faces(astronaut[0]).images[0]
    levels = [components.blur(cv2.GaussianBlur(crop, (0, 0), sigma) if sigma else crop) for sigma in (0, 1, 2, 4)]
    assert levels == sorted(levels) and levels[0] < 0.55 < 0.75 < levels[-1]
    half = (crop.astype(float) / 2 + 60).round().astype(np.uint8)
    assert components.blur(half) == pytest.approx(levels[0], abs=0.02)


def test_blocks_of_a_chessboard():
    """Fields of eight pixels with a step of 3 between them: log(3.1) - log(0.1) on each grid line, and 0 elsewhere."""
    board = np.indices((64, 80)) // 8
    image = np.repeat((100 + 3 * (board.sum(0) % 2))[..., None], 3, 2).astype(np.uint8)
    expected = np.log(3.1 / 0.1)
    assert components.blocks(image) == pytest.approx(expected, rel=1e-5)
    assert components.blocks(image[3:, 5:]) == pytest.approx(expected, rel=1e-5)  # wherever the grid begins
    fields_of_9 = np.repeat((100 + 3 * ((np.indices((90, 90)) // 9).sum(0) % 2))[..., None], 3, 2).astype(np.uint8)
    assert components.blocks(fields_of_9) < expected / 2
    assert np.isnan(components.blocks(image[:20]))


def test_blocks_rise_with_compression(astronaut):
    image, found, points = astronaut
    raws = []
    for quality in (100, 60, 30, 10, 5):
        _, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        again = np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])
        raws.append(values(measure(again, detections=found, points=points))["BlockEffect"])
    assert raws == sorted(raws) and raws[0] < 0.15 and raws[-1] > 1


def test_background_of_stripes_and_its_edges(symmetric):
    """On a ramp of 1/4 luminance per pixel Scharr's gradient is 32 / 4; what is on the head does not matter."""
    points = symmetric + [350, 350]
    scale = 354 / 492  # the judged picture has 354 columns for 492 of the aligned face
    light = np.clip(120 + (np.arange(700) - 350) * scale / 4, 0, 255)  # a quarter luminance per judged pixel
    encoded = [int(np.argmin([abs(255 * linear(grey) - value) for grey in range(256)])) for value in light]
    image = np.repeat(np.tile(np.array(encoded, np.uint8), (800, 1))[..., None], 3, 2)
    raw = values(measure(image, points=points))["BackgroundEdges"]
    assert raw == pytest.approx(32 / 4, rel=0.1)  # whole grey values make steps of it
    busy = image.copy()
    busy[200:560, 250:450] = np.random.default_rng(0).integers(0, 256, (360, 200, 3), dtype=np.uint8)
    assert values(measure(busy, points=points))["BackgroundEdges"] == pytest.approx(raw, rel=1e-6)
    busy[:, :150] = np.random.default_rng(0).integers(0, 256, (800, 150, 3), dtype=np.uint8)
    assert values(measure(busy, points=points))["BackgroundEdges"] > 3 * raw


def test_the_head_is_left_out_of_the_background():
    eyes = np.array([[90.0, 100.0], [110.0, 100.0]])
    mask = beside_the_head((200, 200), eyes)
    assert not mask[100, 100] and not mask[60, 100] and not mask[199, 100]
    assert mask[100, 60] and mask[40, 100] and mask[199, 140]
    np.testing.assert_array_equal(mask[:, 1:], mask[:, :0:-1])


def test_no_room_beside_the_head_is_said(symmetric):
    image = np.full((300, 240, 3), 100, np.uint8)
    table = measure(image, points=symmetric + [120, 110]).set_index("component")
    assert table.scalar["BackgroundEdges"] == -1 and "too little background" in table.message["BackgroundEdges"]


# -------------------------------------------------------------------------------------------------------- photographs


def test_the_table_of_a_photograph(astronaut):
    image, found, points = astronaut
    before = image.copy()
    table = measure(image)
    np.testing.assert_array_equal(image, before)
    assert list(table) == ["component", "raw", "scalar", "message"] and tuple(table["component"]) == MEASURED
    assert table["raw"].dtype == float and table["scalar"].dtype.kind == "i"
    assert table["scalar"].tolist() == [to_scalar(*row) for row in zip(table.component, table.raw, strict=True)]
    assert table["message"].tolist() == [message(*row) for row in zip(table.component, table.raw, strict=True)]
    pd.testing.assert_frame_equal(measure(image, detections=Mtcnn()(image)), table)
    by_hog = measure(image, detections=found)
    pd.testing.assert_frame_equal(measure(image, detections=found, points=points), by_hog)
    pd.testing.assert_frame_equal(measure(image, detector=lambda picture: found), by_hog)


def test_what_needs_a_model_is_not_measured_and_says_what_it_needs():
    for name, component in COMPONENTS.items():
        assert (name in MEASURED) == (component.needs == "")
    for name in ("UnifiedQualityScore", "Sharpness", "CompressionArtifacts", "BackgroundUniformity", "NoHeadCoverings"):
        assert COMPONENTS[name].needs
    assert {name for name, c in COMPONENTS.items() if c.own} == {"BlurEffect", "BlockEffect", "BackgroundEdges"}
    assert set(components.ALIGNED) < set(MEASURED)


def test_a_second_face_counts_by_its_area(astronaut):
    image, _, points = astronaut
    large, small = Detection(180, 80, 92, 92, 2.0), Detection(10, 10, 46, 46, 1.5)
    doubtful = Detection(0, 0, 300, 300, 0.1)  # not credible beside a face of score 2
    for faces, raw in (([large], 0), ([small, large], 0.25), ([small, large, doubtful], 0.25)):
        table = measure(image, detections=faces, points=points).set_index("component")
        assert table.raw["SingleFacePresent"] == pytest.approx(raw)
    table = measure(image, points=points).set_index("component")
    assert table.scalar["SingleFacePresent"] == -1 and "not counted" in table.message["SingleFacePresent"]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (1, 500), (60, 40)])
def test_a_picture_without_a_face(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    table = measure(image)
    assert tuple(table["component"]) == MEASURED
    assert table["raw"].isna().all() and (table["scalar"] == -1).all()
    said = values(table, "message")
    assert said.pop("SingleFacePresent") == components.NO_FACE and all("no face" in text for text in said.values())


def test_a_huge_photograph_a_grey_one_and_a_tiny_face(astronaut):
    image, found, _ = astronaut
    first = values(measure(image, detections=found))
    huge = cv2.resize(image, (6000, 6000), interpolation=cv2.INTER_LINEAR)
    large = values(measure(huge))
    assert large["LuminanceMean"] == pytest.approx(first["LuminanceMean"], abs=0.03)
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    assert values(measure(grey, detections=found))["NaturalColour"] == 0
    tiny = [Detection(*(v / 16 for v in found[0][:4]), 1.0)]
    table = measure(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), detections=tiny)
    assert values(table, "scalar")["InterEyeDistance"] < 5


def test_a_face_at_the_border_and_one_beyond_it(astronaut):
    image, _, points = astronaut
    cut = np.ascontiguousarray(image[:150, :225])
    assert values(measure(cut, points=points), "scalar")["RightwardCropOfTheFaceImage"] == 0
    outside = values(measure(image, points=points + 2000), "scalar")
    assert outside["LuminanceMean"] == -1 and outside["LeftwardCropOfTheFaceImage"] == 100


def test_useless_landmarks_of_a_found_face_do_not_stop_a_batch(astronaut, monkeypatch):
    image, found, _ = astronaut
    monkeypatch.setattr(components.measures, "landmarks", lambda *arguments: np.full((68, 2), 7.0))
    table = measure(image, detections=found)
    assert (table["scalar"] == -1).all() and table["message"].str.contains("coincide").all()


def test_bad_input_is_refused(astronaut):
    image, _, points = astronaut
    for wrong in (image[..., 0], image.astype(float), image[:0], image[..., :2]):
        with pytest.raises(DataError, match="RGB image"):
            measure(wrong)
    for wrong in (points[:5], np.full((68, 2), np.nan), np.zeros((68, 2))):
        with pytest.raises(DataError, match="landmarks"):
            measure(image, points=wrong)


# ------------------------------------------------------------------------------------------------------- aligned faces


def test_aligned_faces_agree_with_their_photograph(astronaut):
    image, found, _ = astronaut
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)  # eyes farther apart than in the crop
    photograph, faces = values(measure(large)), extract_faces(large)
    table = measure_faces(faces)
    assert list(table) == list(components.ALIGNED) and table.index.tolist() == ["face"]
    close = {"EyesOpen": 0.02, "MouthClosed": 0.03, "IlluminationUniformity": 0.1, "DynamicRange": 0.2}
    close |= {"HeadPoseYaw": 5, "HeadPosePitch": 5, "HeadPoseRoll": 5, "InterEyeDistance": 3}
    for name in components.ALIGNED:
        if name != "BlockEffect":  # the grid of the file is lost with the alignment
            assert table[name].iloc[0] == pytest.approx(photograph[name], abs=close.get(name, 0.02)), name


def test_a_face_does_not_depend_on_its_batch(orl):
    faces = orl[[3, 200, 77]]
    together = measure_faces(faces)
    alone = pd.concat([measure_faces(face) for face in faces])
    pd.testing.assert_frame_equal(together, alone)
    assert together.index.tolist() == faces.names.tolist() and np.isfinite(together.to_numpy()).all()
    bare = measure_faces(faces.images)
    assert bare["InterEyeDistance"].isna().all()
    pd.testing.assert_frame_equal(
        bare.drop(columns="InterEyeDistance"),
        together.drop(columns="InterEyeDistance").reset_index(drop=True),
        check_names=False,
    )
    assert measure_faces(faces[:0]).shape == (0, len(components.ALIGNED))
    scalars = components.to_scalars(together)
    assert scalars.shape == together.shape and scalars.index.equals(together.index)
    assert scalars["EyesOpen"].tolist() == to_scalar("EyesOpen", together["EyesOpen"]).tolist()


@pytest.mark.parametrize(
    "component, kind, rises",
    [
        ("LuminanceMean", "low_light", False),
        ("LuminanceMean", "over_exposure", True),
        ("UnderExposurePrevention", "low_light", True),
        ("OverExposurePrevention", "over_exposure", True),
        ("IlluminationUniformity", "uneven_light", False),
        ("DynamicRange", "low_contrast", False),
        ("LuminanceVariance", "low_contrast", False),
        ("BlurEffect", "defocus_blur", True),
        ("BlurEffect", "low_resolution", True),
        ("BlockEffect", "jpeg", True),
        ("NaturalColour", "colour_cast", True),
    ],
)
def test_raw_values_follow_the_degradation(orl, component, kind, rises):
    faces = orl[::40]
    # in the deepest shadow both cheeks are black, and alike again
    levels = (0, 0.25, 0.5) if kind == "uneven_light" else (0, 0.5, 1)
    means = [measure_faces(degrade(faces, kind, s, random_state=2))[component].mean() for s in levels]
    assert means == sorted(means, reverse=not rises) and means[0] != means[2], means


def test_yaw_grows_with_the_turn_of_the_head(orl):
    faces = orl[::40]
    yaws = [measure_faces(degrade(faces, "pose", s, random_state=2))["HeadPoseYaw"].abs().mean() for s in (0, 0.5, 0.8)]
    assert yaws[0] < yaws[1] < yaws[2]
    rolls = [
        measure_faces(degrade(faces, "rotation", s, random_state=2))["HeadPoseRoll"].abs().mean() for s in (0, 0.3, 0.6)
    ]
    assert rolls[0] + 5 < rolls[1] < rolls[2] - 5
