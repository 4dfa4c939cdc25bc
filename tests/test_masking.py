import itertools

import cv2
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from fiqa_lib.errors import DataError
from fiqa_lib.faces import masking
from fiqa_lib.faces.masking import POSE_MODEL, POSE_POINTS, Pose, angles, face_mask, fill, head_pose, rotation_of
from fiqa_lib.transforms import degrade


def projected(pose, distance=1500.0, shift=(120.0, -60.0), size=(480, 640)):
    """Where a pinhole camera of focal length = width sees the six points: written out, without OpenCV."""
    height, width = size
    points = np.zeros((68, 2))
    for place, corner in zip(POSE_POINTS, POSE_MODEL @ rotation_of(pose).T, strict=True):
        x, y, z = corner + [*shift, distance]
        points[place] = x / z * width + (width - 1) / 2, y / z * width + (height - 1) / 2
    return points


@pytest.mark.parametrize("distance", [1200.0, 4000.0])
def test_synthetic_heads_are_recovered_within_a_degree(distance):
    for pose in itertools.product((-60, -20, 0, 35, 75), (-40, 0, 25), (-45, 0, 30)):
        found = head_pose(projected(pose, distance), (480, 640))
        assert np.abs(np.array(found) - pose).max() < 1, (pose, found)


def test_a_pixel_of_noise_costs_a_few_degrees_only():
    rng = np.random.default_rng(0)
    points = projected((20, -10, 5))  # the head is about 190 px wide here
    found = np.array([head_pose(points + rng.normal(0, 1, points.shape), (480, 640)) for _ in range(200)])
    assert np.abs(found.mean(0) - (20, -10, 5)).max() < 1 and found.std(0).max() < 3


def test_signs_are_those_of_the_words():
    """The nose goes where yaw and pitch say, and the eye on the picture's right goes down with roll."""
    nose, chin, left_eye, right_eye = (POSE_MODEL[i] for i in (0, 1, 2, 3))
    ahead = nose - (left_eye + right_eye) / 2
    for pose, axis, sign in (((30, 0, 0), 0, 1), ((-30, 0, 0), 0, -1)):
        assert np.sign((rotation_of(pose) @ ahead)[axis]) == sign
    out = np.array([0.0, 0.0, 1.0])  # out of the face, towards the camera at z = 0
    assert (rotation_of((0, 0, 0)) @ out)[2] < 0
    assert (rotation_of((0, 20, 0)) @ out)[1] < 0  # y runs down in a picture: looking up
    assert (rotation_of((0, 0, 20)) @ (right_eye - left_eye))[1] > 0
    assert (rotation_of((0, 0, 0)) @ (chin - nose))[1] > 0


def test_angles_take_rotations_apart():
    for pose in itertools.product((-89, -30, 0, 60), (-80, 0, 45), (-170, -45, 0, 90)):
        np.testing.assert_allclose(angles(rotation_of(pose)), pose, atol=1e-6)
    assert angles(rotation_of((90, 0, 0))).yaw == pytest.approx(90, abs=1e-5)


def test_pose_follows_faces_that_turn(orl):
    """dlib's points on real faces: the yaw grows with the turn, the roll is that of the picture."""
    faces = orl[::40]
    upright = np.array([head_pose(p, (192, 192)) for p in masking.crop_landmarks(faces)])
    turned = [cv2.warpAffine(i, cv2.getRotationMatrix2D((95.5, 95.5), -15, 1), (192, 192)) for i in faces.images]
    found = np.array([head_pose(p, (192, 192)) for p in masking.crop_landmarks(np.stack(turned))])
    assert np.median(found[:, 2] - upright[:, 2]) == pytest.approx(15, abs=4)
    wide = np.array([head_pose(p, (192, 192)) for p in masking.crop_landmarks(degrade(faces, "pose", 0.7))])
    assert np.abs(wide[:, 0]).mean() > np.abs(upright[:, 0]).mean() + 8


def test_the_point_between_the_nostrils_lowers_the_pitch(orl):
    """CAFI takes landmark 33 for the tip of the nose: the model's tip is then seen lower than it is."""
    points = [masking.at_size(p, 384) for p in masking.crop_landmarks(orl[::20])]
    tip, below = (np.array([head_pose(p, (384, 384), nose=nose) for p in points]) for nose in (30, 33))
    np.testing.assert_array_equal(tip, [head_pose(p, (384, 384)) for p in points])
    change = np.median(below - tip, axis=0)
    assert change[1] == pytest.approx(-14, abs=2) and np.abs(change[[0, 2]]).max() < 1.5
    with pytest.raises(DataError, match="known: 30, 33"):
        head_pose(points[0], (384, 384), nose=29)


def test_masked_crops_are_the_large_pictures_reduced(orl):
    points = masking.crop_landmarks(orl[:1])
    large = masking.masked_picture(orl.images[0], points[0], size=200)
    assert large.shape == (200, 200, 3) and 0.3 < (large == 0).all(-1).mean() < 0.9
    small = cv2.resize(large, (192, 192), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(masking.masked_crops(orl[:1], size=200)[0], small)


def test_no_pose_without_a_face():
    for points in (np.zeros((68, 2)), np.column_stack([np.arange(68.0), np.arange(68.0)])):
        with pytest.raises(DataError, match="coincide or lie on a line"):
            head_pose(points, (100, 100))
    with pytest.raises(DataError, match="68 landmarks"):
        head_pose(np.zeros((5, 2)), (100, 100))
    with pytest.raises(DataError, match="68 landmarks"):
        head_pose(np.full((68, 2), np.nan), (100, 100))


def test_hull_is_the_convex_hull(orl):
    points = masking.crop_landmarks(orl[:1])[0]
    mask = masking.hull_mask(points, (192, 192))
    hull = ConvexHull(points)
    y, x = np.mgrid[:192, :192]
    inside = np.all(hull.equations[:, :2] @ np.stack([x.ravel(), y.ravel()]) + hull.equations[:, 2:] <= 0, axis=0)
    assert (mask.ravel() != inside).mean() < 0.01  # the outline itself
    assert mask.sum() == pytest.approx(hull.volume, rel=0.03)


def test_ellipse_holds_chin_and_forehead(orl):
    for points in masking.crop_landmarks(orl[::80]):
        ellipse, hull = (face_mask(points, (192, 192), region) for region in ("ellipse", "hull"))
        rows = np.flatnonzero(ellipse.any(1))
        assert rows[0] < points[17:27, 1].min() - 15  # the forehead above the brows
        assert abs(rows[-1] - points[8, 1]) < 6
        assert ellipse[hull].mean() > 0.9


def test_masks_end_at_the_border():
    points = np.random.default_rng(0).uniform(-300, 500, (68, 2))
    for region in masking.REGIONS:
        mask = face_mask(points, (40, 70), region)
        assert mask.shape == (40, 70) and mask.dtype == bool and mask.any()
    with pytest.raises(DataError, match="hull, ellipse"):
        face_mask(points, (40, 70), "square")
    with pytest.raises(DataError, match="coincide"):
        masking.ellipse_mask(np.zeros((68, 2)), (40, 70))


def test_fill_keeps_the_face_and_nothing_else(orl):
    image = orl.images[0]
    mask = masking.hull_mask(masking.crop_landmarks(orl[:1])[0], image.shape[:2])
    before = image.copy()
    for how in masking.FILLS:
        filled = fill(image, mask, how)
        np.testing.assert_array_equal(filled[mask], image[mask])
    assert (fill(image, mask, "black")[~mask] == 0).all() and (fill(image, mask, "grey")[~mask] == 128).all()
    blurred = fill(image, mask, "blurred")
    assert blurred[~mask].std() < image[~mask].std() and blurred[~mask].mean() == pytest.approx(
        image[~mask].mean(), rel=0.1
    )
    np.testing.assert_array_equal(image, before)
    for wrong in (
        (image, mask[:-1], "black"),
        (image, mask.astype(int), "black"),
        (image.astype(float), mask, "black"),
    ):
        with pytest.raises(DataError, match="boolean mask"):
            fill(*wrong)
    with pytest.raises(DataError, match="fill 'pink'"):
        fill(image, mask, "pink")


def test_masked_crops_are_faces_again(orl):
    faces = orl[:3]
    masked = masking.masked_crops(faces)
    points = masking.crop_landmarks(faces)
    assert masked.shape == faces.images.shape and masked.dtype == np.uint8
    for image, original, where in zip(masked, faces.images, points, strict=True):
        inner = cv2.erode(masking.hull_mask(where, (192, 192)).astype(np.uint8), np.ones((5, 5))).astype(bool)
        outer = cv2.dilate(masking.hull_mask(where, (192, 192)).astype(np.uint8), np.ones((5, 5))).astype(bool)
        assert np.abs(image[inner].astype(int) - original[inner]).max() <= 12  # enlarged and reduced again
        assert (image[~outer] == 0).all()
    one_for_all = masking.masked_crops(faces, points=points[0])
    holes = (one_for_all == 0).all(3)
    assert (holes[0] == holes[1]).mean() > 0.98 and (masked[0] == one_for_all[0]).all()


def test_parts_are_the_68_points():
    assert sorted(itertools.chain(*masking.PARTS.values())) == list(range(68))
    np.testing.assert_allclose(masking.at_size([[-0.5, -0.5], [191.5, 191.5]], 384), [[-0.5, -0.5], [383.5, 383.5]])
    assert Pose(1.0, 2.0, 3.0).yaw == 1.0
