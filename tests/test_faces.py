import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data

from fiqa_lib import faces as f
from fiqa_lib.errors import DataError
from fiqa_lib.faces import Detection, DlibHog, Faces


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


@pytest.fixture
def three():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 192, 192, 3), np.uint8)
    return Faces(images, ["a", "b", "a"], ["1", "2", "3"], pd.DataFrame({"severity": [0.0, 0.5, 1.0]}))


def warped(image, scale=1.0, angle=0.0):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    size = (round(width * scale), round(height * scale))
    matrix[:, 2] += [(size[0] - width) / 2, (size[1] - height) / 2]
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


# --- Faces


@pytest.mark.parametrize("key", [slice(1, 3), [1, 2], np.array([False, True, True])])
def test_slices_like_an_array(three, key):
    part = three[key]
    assert list(part.names) == ["2", "3"] and list(part.identities) == ["b", "a"]
    assert list(part.attributes.severity) == [0.5, 1.0] and part.images[0, 0, 0, 0] == 1
    assert list(part.attributes.index) == [0, 1]


def test_one_position_and_none_give_faces(three):
    assert len(three[-1]) == 1 and three[-1].names[0] == "3"
    assert len(three[:0]) == 0 and three[:0].images.shape == (0, 192, 192, 3)


def test_iteration_ends(three):
    assert [x.names[0] for x in three] == ["1", "2", "3"]


def test_concat_keeps_order_and_fills_missing_attributes(three):
    other = Faces(three.images[:1], ["c"], ["4"], pd.DataFrame({"kind": ["blur"]}))
    joined = Faces.concat([three, other])
    assert list(joined.names) == ["1", "2", "3", "4"]
    assert joined.attributes.severity.isna().tolist() == [False, False, False, True]
    assert len(Faces.concat([])) == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"names": ["1", "1", "3"]}, "unique"),
        ({"names": ["1"]}, "1 names"),
        ({"identities": ["a"]}, "1 identities"),
        ({"attributes": pd.DataFrame({"x": [1]})}, "1 attributes"),
        ({"images": np.zeros((3, 112, 112, 3), np.uint8)}, "192"),
        ({"images": np.zeros((3, 192, 192, 3), np.float32)}, "float32"),
    ],
)
def test_refuses_what_does_not_fit(three, change, message):
    given = {"images": three.images, "identities": three.identities, "names": three.names} | change
    with pytest.raises(DataError, match=message):
        Faces(**given)


# --- geometry and alignment


def test_canonical_crop_holds_the_arcface_template():
    matrix = f.similarity_transform(f.ARCFACE_POINTS, f.CANONICAL_POINTS)
    np.testing.assert_allclose(matrix, f.ARCFACE_TO_CANONICAL, atol=1e-9)
    assert f.EYE_DISTANCE == pytest.approx(1.5 * np.hypot(*(f.ARCFACE_POINTS[1] - f.ARCFACE_POINTS[0])))
    corners = np.array([[0, 0, 1], [111, 0, 1], [0, 111, 1], [111, 111, 1]]) @ matrix.T
    assert corners.min() >= 0 and corners.max() <= f.SIZE - 1


def test_canonical_crop_holds_the_chip_of_dlib():
    row, column = f.CHIP_ORIGIN
    assert 0 <= row <= f.SIZE - 150 and 0 <= column <= f.SIZE - 150
    eyes = np.array([f.DLIB_POINTS[2:4].mean(0), f.DLIB_POINTS[0:2].mean(0)])
    # whole pixels for the chip, and dlib's eye line is level where ArcFace's is tilted by 0.3 degrees
    np.testing.assert_allclose(eyes[:, 0], f.CANONICAL_EYES[:, 0], atol=1)


def test_similarity_transform_recovers_a_known_one_and_never_mirrors():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2)) * 30
    angle, scale = 0.4, 1.7
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = f.similarity_transform(points, points @ linear.T + [3, -8])
    np.testing.assert_allclose(found, np.column_stack([linear, [3, -8]]), atol=1e-9)
    mirrored = f.similarity_transform(points, points * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) > 0
    with pytest.raises(DataError, match="coincide"):
        f.similarity_transform(np.ones((5, 2)), points)


def test_similarity_transform_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))

    def cost(parameters):
        a, b, x, y = parameters
        return ((source @ np.array([[a, b], [-b, a]]) + [x, y] - target) ** 2).sum()

    m = f.similarity_transform(source, target)
    best = cost([m[0, 0], m[1, 0], m[0, 2], m[1, 2]])
    for step in 1e-3 * np.vstack([np.eye(4), -np.eye(4)]):
        assert cost(np.array([m[0, 0], m[1, 0], m[0, 2], m[1, 2]]) + step) > best


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.5, 8.0])
def test_align_puts_landmarks_where_they_belong_at_any_size(scale):
    """Bright spots drawn at the landmarks must come out at the canonical points, through the reducing path too."""
    points = (f.CANONICAL_POINTS - 20) * scale + 7.3
    yy, xx = np.mgrid[: int(200 * scale), : int(200 * scale)]
    spots = sum(np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * (1.6 * scale) ** 2)) for x, y in points)
    image = np.repeat(np.round(250 * spots)[..., None], 3, axis=2).astype(np.uint8)
    crop = f.align(image, points).astype(float)[..., 0]
    yy, xx = np.mgrid[:192, :192]
    for x, y in f.CANONICAL_POINTS:
        near = crop * (np.hypot(xx - x, yy - y) < 6)
        centre = np.array([(near * xx).sum(), (near * yy).sum()]) / near.sum()
        np.testing.assert_allclose(centre, [x, y], atol=0.1)


def test_align_averages_when_it_reduces():
    """One-pixel stripes at eight times the crop's scale must turn into even grey, not into a moire."""
    image = np.zeros((1600, 1600, 3), np.uint8)
    image[:, ::2] = 255
    crop = f.align(image, f.CANONICAL_POINTS * 8 + 30)
    assert crop[5:-5, 5:-5].std() < 3 and abs(crop.mean() - 127.5) < 3


def test_geometry_of_a_drawn_face():
    points = np.array([[60.0, 80], [120, 80], [90, 110], [68, 140], [112, 140]])
    g = f.geometry(points)
    assert g == {"inter_eye_px": 60, "roll_deg": 0, "yaw_proxy": 0, "pitch_proxy": 0.5}
    corners = np.array([[130.0, 80], [110, 80], [50, 80], [70, 80], [90, 110]])  # dlib's five of the same face
    assert f.geometry(corners, dlib=True) == g
    angle = np.radians(20)
    turned = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert f.geometry(turned)["roll_deg"] == pytest.approx(20, abs=0.1)
    assert f.geometry(turned)["pitch_proxy"] == pytest.approx(g["pitch_proxy"])
    moved = points.copy()
    moved[2, 0] += 10
    assert f.geometry(moved)["yaw_proxy"] == pytest.approx(10 / 60)


def test_the_templates_are_frontal_and_of_one_size():
    arcface, dlib = f.geometry(f.CANONICAL_POINTS), f.geometry(f.DLIB_POINTS, dlib=True)
    assert dlib["inter_eye_px"] == pytest.approx(arcface["inter_eye_px"], rel=0.01)
    for g in (arcface, dlib):
        assert abs(g["roll_deg"]) < 0.5 and abs(g["yaw_proxy"]) < 0.01


# --- detection


def test_astronaut_is_found_where_she_is(astronaut):
    face = f.extract_faces(astronaut, name="astronaut")
    row = face.attributes.iloc[0]
    assert len(face) == 1 and row.status == "ok" and row.n_faces == 1 and row.detector_score > 0.99
    centre = (row.face_x + row.face_w / 2, row.face_y + row.face_h / 2)
    assert np.hypot(centre[0] - 223, centre[1] - 115) < 20
    assert 35 < row.inter_eye_px < 50


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_size_in_source_pixels_follows_the_photograph(astronaut, scale):
    base, scaled = (f.extract_faces(x) for x in (astronaut, warped(astronaut, scale)))
    ratio = scaled.attributes.inter_eye_px[0] / base.attributes.inter_eye_px[0]
    assert ratio == pytest.approx(scale, rel=0.06)
    difference = np.abs(scaled.images.astype(float) - base.images).mean()
    assert difference < 12  # the same crop, up to resolution


def test_rotated_head_is_put_upright(astronaut):
    face = f.extract_faces(warped(astronaut, angle=15))
    assert face.attributes.roll_deg[0] == pytest.approx(f.extract_faces(astronaut).attributes.roll_deg[0] - 15, abs=3)
    again = f.landmarks(face.images[0], (30, 40, 130, 130))
    assert abs(f.geometry(again, dlib=True)["roll_deg"]) < 3


def test_every_orl_person_is_found(orl):
    counts = orl.attributes.status.value_counts()
    assert counts["ok"] == 400


def test_largest_and_all_faces(astronaut):
    small = cv2.resize(astronaut[:256, 96:352], None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    scene = np.full((512, 800, 3), 120, np.uint8)
    scene[:, :512] = astronaut
    scene[300:, :512] = 120  # the suit holds a texture that some detectors take for a face
    scene[100 : 100 + small.shape[0], 560 : 560 + small.shape[1]] = small
    everyone = f.extract_faces(scene, which="all", name="scene")
    assert list(everyone.names) == ["scene", "scene#2"] and (everyone.attributes.n_faces == 2).all()
    assert everyone.attributes.face_w[0] >= everyone.attributes.face_w[1]
    assert everyone.attributes.face_x[0] < 500 < everyone.attributes.face_x[1]
    largest = f.extract_faces(scene, name="scene")
    np.testing.assert_array_equal(largest.images[0], everyone.images[0])


def test_no_face_is_empty_and_a_fallback_is_declared():
    noise = np.random.default_rng(0).integers(0, 255, (200, 150, 3)).astype(np.uint8)
    none = f.extract_faces(noise)
    assert len(none) == 0 and list(none.attributes) == f.ATTRIBUTES
    fallback = f.extract_faces(noise, fallback="centre")
    row = fallback.attributes.iloc[0]
    assert row.status == "fallback" and np.isnan(row.detector_score) and row.n_faces == 0
    assert (row.face_x + row.face_w / 2, row.face_y + row.face_h / 2) == pytest.approx((75, 100))


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (500, 2, 3), (79, 79, 3)])
def test_tiny_pictures_have_no_face_but_do_no_harm(shape):
    image = np.full(shape, 90, np.uint8)
    assert len(f.extract_faces(image)) == 0
    assert f.extract_faces(image, fallback="centre").images.shape == (1, 192, 192, 3)


def test_detector_is_an_argument(astronaut):
    def fixed(image):
        return [Detection(0, 0, 20, 20, 9.0), Detection(170, 60, 110, 110, 7.0), Detection(0, 0, 400, 400, 2.0)]

    face = f.extract_faces(astronaut, detector=fixed)
    assert face.attributes.detector_score[0] == 7.0 and face.attributes.n_faces[0] == 2


def test_landmarks_of_a_detector_are_used(astronaut):
    found = DlibHog()(astronaut)[0]
    points = f.landmarks(astronaut, found)
    own = f.extract_faces(astronaut, detector=lambda _: [found])
    np.testing.assert_array_equal(own.images[0], f.align(astronaut, points, target=f.DLIB_POINTS))
    eyes = np.array([points[2:4].mean(0), points[0:2].mean(0)])
    five = np.vstack([eyes, eyes.mean(0) + [[0, 25], [-18, 50], [18, 50]]])
    given = f.extract_faces(astronaut, detector=lambda _: [found._replace(landmarks=five)])
    np.testing.assert_array_equal(given.images[0], f.align(astronaut, five))
    assert given.attributes.inter_eye_px[0] == pytest.approx(own.attributes.inter_eye_px[0])


def test_landmarks_of_both_detectors_bring_a_face_to_the_same_place(astronaut, orl_images):
    for image in (astronaut, *orl_images[:5]):
        hog, mtcnn = (f.extract_faces(image, detector=f.load_detector(name)) for name in ("dlib-hog", "mtcnn"))
        eyes = [f.landmarks(face.images[0], f.CANONICAL_BOX) for face in (hog, mtcnn)]
        np.testing.assert_allclose(eyes[0].mean(0), eyes[1].mean(0), atol=5)


def test_68_landmarks_are_found_in_a_box_of_mtcnn(astronaut):
    """dlib's model was trained in dlib's boxes; those of MTCNN are smaller and reach lower."""
    boxes = [f.load_detector(name)(astronaut)[0] for name in ("dlib-hog", "mtcnn")]
    points = [f.landmarks(astronaut, box, 68) for box in boxes]
    assert np.hypot(*(points[0] - points[1]).T).mean() < 2.5


def test_crops_of_takes_aligned_faces_only(three):
    assert f.crops_of(three) is three.images and f.crops_of(three.images) is three.images
    for wrong in (three.images[0], three.images[:, :112, :112], three.images.astype(float)):
        with pytest.raises(DataError, match="aligned faces"):
            f.crops_of(wrong)


def test_the_room_of_faces_imports_no_recogniser():
    code = "import sys, fiqa_lib.faces.masking; print(*(m for m in sys.modules if m.startswith('fiqa_lib.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in done.stdout.split()}
    assert "faces" in rooms and not rooms & {"recognition", "scorers", "components", "evaluation", "data", "transforms"}


def test_a_large_box_with_a_poor_score_is_not_the_largest_face():
    boxes = [Detection(0, 0, 50, 50, 1.5), Detection(0, 0, 60, 60, 0.0002), Detection(0, 0, 40, 40, 1.0)]
    assert [d.width for d in f.credible(boxes)] == [50, 40]
    assert [d.score for d in f.credible([Detection(0, 0, 5, 5, -0.3)])] == [-0.3]
    assert f.credible([]) == []


def test_grey_and_float_images_are_refused(astronaut):
    for wrong in (astronaut[..., 0], astronaut / 255.0, np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(DataError, match="RGB"):
            f.extract_faces(wrong)
    for option in ({"which": "both"}, {"fallback": "middle"}):
        with pytest.raises(DataError, match=next(iter(option))):
            f.extract_faces(astronaut, **option)


def test_landmarks_are_finer_than_whole_pixels(orl_images):
    """dlib gives whole pixels; on a face 70 pixels wide that would be too coarse."""
    image = orl_images[0]
    points = f.landmarks(image, DlibHog()(image)[0])
    assert np.abs(points - np.round(points)).max() > 0.05
    shifted = np.roll(image, 3, axis=1)
    box = DlibHog()(image)[0]
    moved = f.landmarks(shifted, box._replace(x=box.x + 3))
    np.testing.assert_allclose(moved - points, np.tile([3, 0], (5, 1)), atol=0.6)


def test_68_landmarks_agree_with_5(astronaut):
    box = DlibHog()(astronaut)[0]
    five, many = f.landmarks(astronaut, box), f.landmarks(astronaut, box, 68)
    assert many.shape == (68, 2)
    eyes = np.array([many[36:42].mean(0), many[42:48].mean(0)])
    np.testing.assert_allclose(eyes, [five[2:4].mean(0), five[0:2].mean(0)], atol=3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_dlib_finds_a_turned_face_and_sets_it_upright(astronaut, turns):
    detector = DlibHog()
    (true,) = detector(astronaut)[:1]
    upright = f.align(astronaut, f.alignment.five_of_68(f.landmarks(astronaut, true, 68)))
    turned = np.ascontiguousarray(np.rot90(astronaut, turns))
    assert DlibHog(turned=False)(turned) == []
    found = f.extract_faces(turned, detector=detector)
    assert len(found) == 1
    assert np.abs(found.images[0].astype(int) - upright).mean() < 5  # another direction is above 50
    box = detector(turned)[0]
    middle = np.array([true.x + true.width / 2, true.y + true.height / 2])
    side = astronaut.shape[0] - 1
    for _ in range(turns):
        middle = np.array([middle[1], side - middle[0]])
    np.testing.assert_allclose([box.x + box.width / 2, box.y + box.height / 2], middle, atol=15)
