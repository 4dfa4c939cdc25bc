"""Face masks and head pose from 68 landmarks, and what to put in place of the background.

The landmarks are those of iBUG's scheme (Sagonas et al. 2016), found by dlib's predictor (`faces.landmarks`; its
training data, 300-W, is for non-commercial use). Points 0-16 follow the jaw from ear to ear, 17-26 the brows, 27-35 the
nose, 36-47 the eyes, 48-67 the lips; left and right are those of the picture.

Limits of 68 points: they end at the brows, so their hull cuts off the forehead, and they say nothing about hair, ears,
neck, glasses, beard or a hand before the face. `ellipse_mask` adds the forehead by a rule of thumb. A network that
parses faces (BiSeNet trained on CelebAMask-HQ) labels each pixel by part, and denser landmarks (98 of WFLW, 468 of
MediaPipe's mesh) follow more contours; neither comes with this course. `fill` takes any boolean (H, W) array as a mask.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ..errors import DataError
from .alignment import CANONICAL_BOX, SIZE, landmarks
from .faces import crops_of

WORKING_SIZE = 384
"""Side in pixels at which CAFI works: the crop is enlarged to it before landmarks, masks and pose."""
FILLS = ("black", "grey", "blurred")
"""What may take the place of the background."""
REGIONS = ("hull", "ellipse")
"""Which part of a face a mask may keep."""

PARTS = {
    "jaw": range(0, 17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "lips": range(48, 68),
}
"""The 68 points by part of the face."""

# ------------------------------------------------------------------------------------------------------------ landmarks


def _points(points, n=68):
    points = np.asarray(points, float)
    if points.shape != (n, 2) or not np.isfinite(points).all():
        raise DataError(f"expected {n} landmarks as finite (x, y), got an array of shape {points.shape}")
    return points


def enlarged(image, size=WORKING_SIZE):
    """A canonical crop (192, 192, 3) enlarged to (size, size, 3) by cubic interpolation."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def crop_landmarks(faces):
    """The 68 landmarks of aligned faces, in pixels of the canonical crop.

    The predictor always answers, whatever is in the crop: where it sees no face, the points are its mean shape, moved a
    little. They are no proof that there is a face.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Aligned faces.

    Returns
    -------
    array (N, 68, 2) float64
        (x, y).
    """
    return np.array([landmarks(image, CANONICAL_BOX, 68) for image in crops_of(faces)]).reshape(-1, 68, 2)


def at_size(points, size, original=SIZE):
    """Landmarks (..., 2) of a crop of side `original`, in pixels of the same crop resized to side `size`."""
    return (np.asarray(points, float) + 0.5) * (size / original) - 0.5


# ---------------------------------------------------------------------------------------------------------------- masks


def hull_mask(points, shape):
    """The convex hull of 68 landmarks: brows to chin, ear to ear; the forehead is cut off.

    Parameters
    ----------
    points : array (68, 2)
        (x, y) in pixels. Points beyond the border are allowed; the mask ends there.
    shape : (int, int)
        Height and width of the mask in pixels.

    Returns
    -------
    array (height, width) bool
        True inside.
    """
    corners = cv2.convexHull(_points(points).astype(np.float32)).reshape(-1, 2)
    return _polygon(corners, shape)


def ellipse_mask(points, shape):
    """An ellipse around the full face, forehead included.

    Its axis runs from the chin (point 8) through the middle of the brows (17-26). It is 1.5 times as long as from chin
    to brows, by the rule of thirds (hairline to brows, brows to nose, nose to chin are about equal), and as wide as the
    jaw (points 0 to 16). Where the hairline really is, 68 points do not say.

    Parameters and result as for `hull_mask`. Raises `DataError` when the landmarks coincide.
    """
    points = _points(points)
    chin, brows = points[8], points[PARTS["brows"]].mean(0)
    up = brows - chin
    height, width = 1.5 * np.hypot(*up), np.hypot(*(points[16] - points[0]))
    if min(height, width) < 1e-6:
        raise DataError("the landmarks coincide: no face can be drawn around them")
    centre, up = chin + 0.75 * up, up / np.hypot(*up)
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)[:, None]
    across = np.array([-up[1], up[0]])
    return _polygon(centre + 0.5 * (height * np.cos(turn) * up + width * np.sin(turn) * across), shape)


def _polygon(corners, shape):
    height, width = (int(side) for side in shape)
    canvas = np.zeros((height, width), np.uint8)
    fixed = np.rint(np.asarray(corners, float) * 16).astype(np.int32)  # sixteenths of a pixel
    cv2.fillConvexPoly(canvas, fixed, 1, lineType=cv2.LINE_8, shift=4)
    return canvas.astype(bool)


_MASKS = {"hull": hull_mask, "ellipse": ellipse_mask}


def face_mask(points, shape, region="hull"):
    """`hull_mask` or `ellipse_mask` of (68, 2) points, by name: `region` is one of `REGIONS`, default="hull"."""
    if region not in _MASKS:
        raise DataError(f"there is no region {region!r}; known: {', '.join(REGIONS)}")
    return _MASKS[region](points, shape)


def fill(image, mask, how="black"):
    """The picture with something else outside the mask.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        The picture.
    mask : array (H, W) bool
        True is kept.
    how : {"black", "grey", "blurred"}, default="black"
        "black" is CAFI's; it makes the sharpest edge. "grey" is the middle of the scale, 128. "blurred" keeps what is
        around the face, blurred by a twelfth of the width: no new edge, but colours stay.

    Returns
    -------
    array (H, W, 3) uint8
    """
    image, mask = np.asarray(image), np.asarray(mask)
    if image.dtype != np.uint8 or image.ndim != 3 or mask.shape != image.shape[:2] or mask.dtype != bool:
        raise DataError(
            f"a uint8 picture (H, W, 3) and a boolean mask (H, W) are needed, got {image.dtype} {image.shape} and "
            f"{mask.dtype} {mask.shape}"
        )
    if how not in FILLS:
        raise DataError(f"there is no fill {how!r}; known: {', '.join(FILLS)}")
    if how == "blurred":
        around = cv2.GaussianBlur(image, (0, 0), image.shape[1] / 12, borderType=cv2.BORDER_REPLICATE)
    else:
        around = np.uint8(0 if how == "black" else 128)
    return np.where(mask[..., None], image, around)


def masked_crops(faces, region="hull", how="black", points=None, size=WORKING_SIZE):
    """Aligned faces with the background replaced, as CAFI does: enlarged, masked, and back at the canonical size.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Aligned faces.
    region : {"hull", "ellipse"}, default="hull"
        What is kept: see `hull_mask` and `ellipse_mask`.
    how : {"black", "grey", "blurred"}, default="black"
        What takes the place of the background: see `fill`.
    points : array (N, 68, 2) or (68, 2), default=None
        Landmarks in pixels of the crop. One set for all faces gives one mask for all, a control. None: found.
    size : int, default=384
        Side in pixels at which the mask is drawn.

    Returns
    -------
    array (N, 192, 192, 3) uint8
    """
    images = crops_of(faces)
    points = crop_landmarks(images) if points is None else np.asarray(points, float)
    points = np.broadcast_to(points, (len(images), 68, 2))
    out = np.empty_like(images)
    for image, where, target in zip(images, points, out, strict=True):
        large = masked_picture(image, where, region, how, size)
        target[:] = cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return out


def masked_picture(image, points, region="hull", how="black", size=WORKING_SIZE):
    """One crop (192, 192, 3) as `masked_crops` has it before it is reduced again: (size, size, 3) uint8."""
    mask = face_mask(at_size(points, size), (size, size), region)
    return fill(enlarged(image, size), mask, how)


# ----------------------------------------------------------------------------------------------------------------- pose

POSE_MODEL = np.array(
    [
        [0.0, 0.0, 0.0],  # tip of the nose
        [0.0, -330.0, -65.0],  # chin
        [-225.0, 170.0, -135.0],  # outer corner of the eye on the picture's left
        [225.0, 170.0, -135.0],  # and on its right
        [-150.0, -150.0, -125.0],  # corner of the mouth on the picture's left
        [150.0, -150.0, -125.0],  # and on its right
    ]
)
"""CAFI's six points of a head, (6, 3): x to the picture's right, y up, z out of the face. Units do not matter."""
POSE_POINTS = (30, 8, 36, 45, 48, 54)
"""The same points among the 68 landmarks."""
NOSES = (30, 33)
"""Landmarks that may stand for the tip of the nose: the tip, and the point below it between the nostrils (CAFI's)."""
_FRONTAL = np.diag([1.0, -1.0, -1.0])  # from the model's axes to the camera's (x right, y down, z into the scene)


class Pose(NamedTuple):
    """Angles of a head in degrees, as seen in the picture. Applied in the order pitch, yaw, roll.

    Attributes
    ----------
    yaw : float
        Positive when the nose points to the picture's right.
    pitch : float
        Positive when the nose points up.
    roll : float
        Positive when the eye on the picture's right is lower (clockwise).
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(points, size, nose=30):
    """Head pose from 68 landmarks by the six-point model (solvePnP).

    The camera is a guess, as in CAFI: focal length = width of the picture in pixels, optical axis through its centre,
    no distortion. The angles depend on that guess, and a few degrees of error come from the mean head alone. The
    smallest algebraic error is found first (SQPnP, which has no second solution to fall into), then the reprojection
    error is minimised (Levenberg-Marquardt).

    Parameters
    ----------
    points : array (68, 2)
        (x, y) in pixels.
    size : (int, int)
        Height and width of the picture in pixels.
    nose : {30, 33}, default=30
        The landmark that stands for the tip of the nose: the tip itself, or the point between the nostrils, which CAFI
        takes. With 33 the same faces seem to look down: the pitch of 80 ORL faces was lower by 14 degrees (median; 8 to
        24 for nine in ten), while yaw and roll changed by less than one (median).

    Returns
    -------
    Pose
        Angles in degrees.

    Raises
    ------
    DataError
        When no pose explains the points (they coincide, or lie on a line), or for another `nose`.
    """
    if nose not in NOSES:
        raise DataError(f"there is no nose {nose!r} among the landmarks; known: {', '.join(map(str, NOSES))}")
    image_points = np.ascontiguousarray(_points(points)[[nose, *POSE_POINTS[1:]]])
    height, width = (float(side) for side in size)
    camera = np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]])
    spread = np.linalg.svd(image_points - image_points.mean(0), compute_uv=False)
    if spread[1] < 1e-3 * max(spread[0], 1e-9):
        raise DataError("the landmarks coincide or lie on a line: no head pose can be computed")
    try:
        good, turn, shift = cv2.solvePnP(POSE_MODEL, image_points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if not good:
            raise DataError("no pose of the head explains these landmarks")
        turn, _ = cv2.solvePnPRefineLM(POSE_MODEL, image_points, camera, None, turn, shift)
    except cv2.error as error:
        raise DataError(f"no pose of the head explains these landmarks ({error.err})") from error
    return angles(cv2.Rodrigues(turn)[0])


def angles(rotation):
    """The `Pose` of a rotation (3, 3) from the axes of `POSE_MODEL` to the camera's. At a yaw of +-90 the roll is 0."""
    turn = np.asarray(rotation, float) @ _FRONTAL
    yaw = np.degrees(np.arcsin(np.clip(turn[2, 0], -1, 1)))
    if np.hypot(turn[2, 1], turn[2, 2]) < 1e-9:  # the profile: roll and pitch turn about the same axis
        return Pose(float(yaw), float(np.degrees(np.arctan2(turn[1, 2], turn[1, 1]))), 0.0)
    pitch = -np.degrees(np.arctan2(turn[2, 1], turn[2, 2]))
    roll = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    return Pose(float(yaw), float(pitch), float(roll))


def rotation_of(pose):
    """The rotation (3, 3) of a `Pose` in degrees: the inverse of `angles`, for synthetic heads and drawings."""
    yaw, pitch, roll = np.radians(pose)
    about_x = np.array([[1, 0, 0], [0, np.cos(-pitch), -np.sin(-pitch)], [0, np.sin(-pitch), np.cos(-pitch)]])
    about_y = np.array([[np.cos(-yaw), 0, np.sin(-yaw)], [0, 1, 0], [-np.sin(-yaw), 0, np.cos(-yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x @ _FRONTAL
