"""Component measures on a photograph with landmarks, and on aligned faces."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
import pandas as pd
from skimage.color import xyz2lab
from skimage.measure import blur_effect

from ..errors import DataError
from ..faces import (
    CANONICAL_BOX,
    EYE_DISTANCE,
    SIZE,
    Faces,
    Mtcnn,
    align,
    credible,
    crops_of,
    landmarks,
    reduce_image,
    similarity_transform,
)
from ..faces.masking import head_pose, hull_mask
from ..scorers.pixels import face_window
from ..transforms import to_linear
from .maps import COMPONENTS, message, to_scalar

MEASURED = tuple(name for name, c in COMPONENTS.items() if not c.needs)
"""What `measure` measures on a photograph: the rows of its table."""

ALIGNED = tuple(
    name
    for name in MEASURED
    if not name.startswith(("HeadSize", "Leftward", "Rightward", "Margin", "SingleFace", "BackgroundEdges"))
)
"""What `measure_faces` measures on aligned faces: all that does not depend on how the photograph was framed."""

ALIGNED_SIZE = 616
"""Side of the standard's aligned face, in which light and colour are measured."""
# There: eye on the picture's left and right, tip of the nose, corner of the mouth on the picture's left and right
_ALIGNED_POINTS = np.array([[251, 272], [364, 272], [308, 336], [262, 402], [355, 402]], float)
_BACKGROUND = (354, 292)  # width and height of the part of the aligned face, reduced, where the background is judged
_BACKGROUND_SCALE = 354 / (ALIGNED_SIZE - 2 * 62)
_BACKGROUND_LEAST = 0.05  # less than this share of it beside the head is too little to judge

# Linear sRGB to CIE XYZ for the white D50 (Bradford-adapted): the CIELAB of the standard
_TO_XYZ_D50 = np.array([[0.43605, 0.38508, 0.14309], [0.22249, 0.71689, 0.06062], [0.01393, 0.09710, 0.71419]])
_REC709 = np.array([0.2126, 0.7152, 0.0722])
_LINEAR = to_linear(np.arange(256)).astype(np.float64)

_LIDS = ((37, 41), (38, 40)), ((43, 47), (44, 46))
_INNER_LIPS = (61, 67), (62, 66), (63, 65)
_BLOCKS_SIDE = 512  # JPEG blocks are looked for in a square of at most this side, in pixels


def luminance(image):
    """Linear luminance of an RGB image (H, W, 3) uint8: sRGB decoded, Rec. 709 weights, rounded to uint8 (H, W)."""
    red, green, blue = (_LINEAR[image[..., i]] * w for i, w in enumerate(_REC709))
    return np.floor(255 * (red + green + blue) + 0.5).astype(np.uint8)


class Portrait:
    """A photograph with the 68 landmarks of its face, and what several measures use. Computed at first access.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        RGB.
    points : array (68, 2)
        Landmarks (x, y) in pixels.
    areas : sequence of float, default=()
        Areas of all faces in the photograph, the largest first.

    Attributes
    ----------
    eyes : array (2, 2)
        Middle of the corners of each eye: the eye on the picture's left, then on its right.
    distance : float
        Between them.
    chin : float
        T, from the middle of the eyes to the chin.

    Raises
    ------
    DataError
        When the landmarks are not 68 finite points, or eyes or chin coincide.
    """

    def __init__(self, image, points, areas=()):
        self.image, self.areas = image, tuple(areas)
        self.points = points = np.asarray(points, float)
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise DataError(f"expected 68 landmarks as finite (x, y), got an array of shape {points.shape}")
        self.eyes = np.array([points[[36, 39]].mean(0), points[[42, 45]].mean(0)])
        self.middle = self.eyes.mean(0)
        self.distance = float(np.hypot(*(self.eyes[1] - self.eyes[0])))
        self.chin = float(np.hypot(*(points[8] - self.middle)))
        if min(self.distance, self.chin) < 1e-6:
            raise DataError("the landmarks coincide: nothing can be measured with them")

    @cached_property
    def pose(self):
        """`masking.Pose`, or None where no pose explains the landmarks.

        The face is put into the middle of a square as wide as the canonical crop for its eyes, so that the angles do
        not depend on the size of the photograph or on the place of the face in it.
        """
        scale = EYE_DISTANCE / self.distance
        centred = (self.points - self.points.mean(0)) * scale + (SIZE - 1) / 2
        try:
            return head_pose(centred, (SIZE, SIZE))
        except DataError:
            return None

    @property
    def five(self):
        """Eyes, tip of the nose and mouth corners, (5, 2): from them the canonical crop is aligned."""
        return np.vstack([self.eyes, self.points[[30, 48, 54]]])

    @cached_property
    def to_aligned(self):
        """The similarity (2, 3) from the photograph to the standard's aligned face."""
        return similarity_transform(self.five, _ALIGNED_POINTS)

    def cut(self, matrix, width, height):
        """A part of the photograph.

        Parameters
        ----------
        matrix : array (2, 3)
            The similarity that takes the photograph to the part.
        width : int
            Pixels of the part.
        height : int
            Pixels of the part.

        Returns
        -------
        (array (height, width, 3) uint8, array (height, width) bool)
            The part, and what of it lies inside the photograph.
        """
        scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
        side = max(width, height)
        image, inner = reduce_image(self.image, matrix, scale, side) if scale < 0.5 else (self.image, matrix)
        picture = cv2.warpAffine(image, inner, (width, height), borderMode=cv2.BORDER_REPLICATE)
        right, bottom = self.image.shape[1] - 0.5, self.image.shape[0] - 0.5
        corners = np.array([[-0.5, -0.5, 1], [right, -0.5, 1], [right, bottom, 1], [-0.5, bottom, 1]]) @ matrix.T
        inside = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(inside, np.rint(np.clip(corners, -1e6, 1e6) * 16).astype(np.int32), 1, shift=4)
        return picture, inside.astype(bool)

    @cached_property
    def face(self):
        """(aligned picture around the landmarks, its luminance, mask of the face, landmarks in it)."""
        points = np.column_stack([self.points, np.ones(68)]) @ self.to_aligned.T
        low, high = np.floor(points.min(0)), np.ceil(points.max(0)) + 1
        width, height = np.clip(high - low, 1, 4 * ALIGNED_SIZE).astype(int)
        matrix = self.to_aligned.copy()
        matrix[:, 2] -= low
        picture, inside = self.cut(matrix, int(width), int(height))
        return picture, luminance(picture), hull_mask(points - low, (height, width)) & inside, points - low

    @cached_property
    def histogram(self):
        """Shares of the 256 luminances in the face; None where no pixel of the face lies in the photograph."""
        _, light, mask, _ = self.face
        counts = np.bincount(light[mask], minlength=256)
        return counts / counts.sum() if counts.sum() else None

    @cached_property
    def zones(self):
        """Two slices (rows, columns) of the aligned picture: squares of 0.3 eye distances on the cheeks.

        Each begins below an eye's centre, half-way down to the mouth, and reaches towards the nose.
        """
        points = self.face[3]
        left, right = points[[36, 39]].mean(0), points[[42, 45]].mean(0)
        down = np.hypot(*(points[[62, 66]].mean(0) - (left + right) / 2)) / 2
        side = int(0.3 * np.hypot(*(right - left)))
        starts = (left[0], left[1] + down), (right[0] - side, right[1] + down)
        corners = np.maximum(np.rint(starts), 0).astype(int)
        return [(slice(y, y + side), slice(x, x + side)) for x, y in corners]


# ------------------------------------------------------------------------------------------------------------- measures
# Each takes a Portrait and returns its raw value, NaN where it can't be assessed.


def _of_histogram(measure):
    return lambda portrait: np.nan if portrait.histogram is None else float(measure(portrait.histogram))


_LEVELS = np.arange(256) / 255


def _variance(shares):
    return shares @ (_LEVELS - shares @ _LEVELS) ** 2


def _entropy(shares):
    present = shares[shares > 0]
    return -(present @ np.log2(present)) + 0.0  # no minus zero


def _overlap_of_cheeks(portrait):
    _, light, _, _ = portrait.face
    left, right = (light[zone].ravel() for zone in portrait.zones)
    if min(left.size, right.size) == 0:
        return np.nan
    shares = [np.bincount(part, minlength=256) / part.size for part in (left, right)]
    return float(np.minimum(*shares).sum())


def _colour_of_cheeks(portrait):
    picture = portrait.face[0]
    if all(np.array_equal(picture[..., 0], picture[..., i]) for i in (1, 2)):
        return 0.0  # a grey picture has no unnatural colour
    cheeks = np.concatenate([picture[zone].reshape(-1, 3) for zone in portrait.zones])
    if len(cheeks) == 0:
        return np.nan
    return colour_distance(*mean_lab(cheeks)[1:])


def mean_lab(pixels):
    """CIELAB (white D50) of the mean of sRGB pixels (..., 3) in 0..255: array (L, a, b)."""
    mean = np.asarray(pixels, float).reshape(-1, 3).mean(0)
    return xyz2lab(_TO_XYZ_D50 @ to_linear(mean).astype(float), illuminant="D50")


def colour_distance(a, b):
    """How far CIELAB a, b lie outside 5..25 and 5..35; 100 where one is negative (greenish or bluish skin)."""
    if a < 0 or b < 0:
        return 100.0
    return float(np.hypot(max(0.0, 5 - a, a - 25), max(0.0, 5 - b, b - 35)))


def _largest_gap(points, pairs):
    return max(float(np.hypot(*(points[i] - points[j]))) for i, j in pairs)


def _pixels_between_eyes(portrait):
    if portrait.pose is None:
        return np.nan
    return portrait.distance / float(np.cos(np.radians(min(abs(portrait.pose.yaw), 60.0))))  # beyond, a guess


def _pose_angle(axis):
    return lambda portrait: np.nan if portrait.pose is None else getattr(portrait.pose, axis)


def _second_face(portrait):
    if not portrait.areas:
        return np.nan
    return portrait.areas[1] / portrait.areas[0] if len(portrait.areas) > 1 else 0.0


def blur(crop):
    """Blur effect of the face window of a canonical crop, by `skimage.measure.blur_effect` on its luma.

    It measures how much of the differences between neighbouring pixels is left after another blur. At the crop's scale:
    detail that a recogniser does not see does not count. **Blind**: noise makes it lower (sharper), and so do JPEG
    blocks and areas burnt out to white.

    Source: Crete et al., The blur effect: perception and estimation with a new no-reference perceptual blur metric,
    2007.

    Parameters
    ----------
    crop : array (192, 192, 3) uint8
        RGB.

    Returns
    -------
    float
        From 0 (sharp) to 1 (blurred); NaN for a flat picture.
    """
    rows, columns = face_window()
    grey = cv2.cvtColor(np.ascontiguousarray(crop[rows, columns]), cv2.COLOR_RGB2GRAY)
    return np.nan if grey.min() == grey.max() else float(blur_effect(grey))


def _blocks_of_photograph(portrait):
    low, high = portrait.points.min(0), portrait.points.max(0)
    middle, half = (low + high) / 2, np.minimum((high - low) / 2, _BLOCKS_SIDE / 2)
    height, width = portrait.image.shape[:2]
    left, top = np.clip(np.floor(middle - half), 0, [width, height]).astype(int)
    right, bottom = np.clip(np.ceil(middle + half), 0, [width, height]).astype(int)
    return blocks(portrait.image[top:bottom, left:right])


def blocks(image):
    """JPEG block effect: how much one of every eight grid lines stands out, as a logarithm of a ratio.

    For each line between two columns (and rows): the logarithm of the mean absolute step across it, less that of its
    two neighbours. Averaged over every eighth line, for each of the eight possible offsets of the grid; the largest
    less the median, averaged over both directions.

    **Blind** to compression before the picture was resized or turned, and to formats without 8x8 blocks. Smooth faces
    and small blocks in large faces give lower values. In the spirit of Wang, Sheikh and Bovik, No-reference perceptual
    quality assessment of JPEG compressed images, ICIP 2002.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        RGB.

    Returns
    -------
    float
        0 without blocks; NaN below 24 pixels.
    """
    if min(image.shape[:2]) < 24:
        return np.nan
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    effects = []
    for turned in (grey, grey.T):
        step = np.log(np.abs(np.diff(turned, axis=1)).mean(0) + 0.1)  # 0.1 grey values: flat areas have no steps
        peak = step[1:-1] - (step[:-2] + step[2:]) / 2
        phases = np.array([peak[start::8].mean() for start in range(8)])
        effects.append(phases.max() - np.median(phases))
    return float(np.mean(effects))


def beside_the_head(shape, eyes):
    """Mask (H, W) of the background: outside an ellipse of 3.4 x 5.4 eye distances and what is below it.

    A guess from the place of the eyes (2, 2) alone, with room for hair. Hats, raised hands and other people count as
    background, and so does wide hair.
    """
    distance = float(np.hypot(*(eyes[1] - eyes[0])))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    u, v = (columns - eyes[:, 0].mean()) / distance, (rows - eyes[:, 1].mean()) / distance - 0.3
    return (np.abs(u) > 1.7) | ((v < 0) & ((u / 1.7) ** 2 + (v / 2.7) ** 2 > 1))


def _edges_of_background(portrait):
    scale, (width, height) = _BACKGROUND_SCALE, _BACKGROUND
    # (x - 62) * scale for pixel centres: u -> (u - 62 + 0.5) * scale - 0.5
    matrix = portrait.to_aligned * scale
    matrix[:, 2] += [(0.5 - 62) * scale - 0.5, 0.5 * scale - 0.5]
    picture, inside = portrait.cut(matrix, width, height)
    eyes = np.column_stack([portrait.eyes, [1, 1]]) @ matrix.T
    mask = beside_the_head((height, width), eyes) & inside
    mask = cv2.erode(mask.astype(np.uint8), np.ones((4, 4), np.uint8)).astype(bool)
    if mask.mean() < _BACKGROUND_LEAST:
        return np.nan
    light = luminance(picture)
    # Scharr's 3x3 kernel: what OpenCV's Sobel means by the size -1, with which the published mapping was made
    across, down = (cv2.Scharr(light, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return float(np.hypot(across, down)[mask].mean())


_MEASURES = {
    "IlluminationUniformity": _overlap_of_cheeks,
    "LuminanceMean": _of_histogram(lambda shares: shares @ _LEVELS),
    "LuminanceVariance": _of_histogram(_variance),
    "UnderExposurePrevention": _of_histogram(lambda shares: shares[:26].sum()),
    "OverExposurePrevention": _of_histogram(lambda shares: shares[247:].sum()),
    "DynamicRange": _of_histogram(_entropy),
    "NaturalColour": _colour_of_cheeks,
    "SingleFacePresent": _second_face,
    "EyesOpen": lambda p: min(_largest_gap(p.points, pairs) for pairs in _LIDS) / p.chin,
    "MouthClosed": lambda p: _largest_gap(p.points, _INNER_LIPS) / p.chin,
    "InterEyeDistance": _pixels_between_eyes,
    "HeadSize": lambda p: p.chin / p.image.shape[0],
    "LeftwardCropOfTheFaceImage": lambda p: (p.eyes[0, 0] + 0.5) / p.distance,
    "RightwardCropOfTheFaceImage": lambda p: (p.image.shape[1] - 0.5 - p.eyes[1, 0]) / p.distance,
    "MarginAboveOfTheFaceImage": lambda p: (p.middle[1] + 0.5) / p.chin,
    "MarginBelowOfTheFaceImage": lambda p: (p.image.shape[0] - 0.5 - p.middle[1]) / p.chin,
    "HeadPoseYaw": _pose_angle("yaw"),
    "HeadPosePitch": _pose_angle("pitch"),
    "HeadPoseRoll": _pose_angle("roll"),
    "BlurEffect": lambda p: blur(align(p.image, p.five)),
    "BlockEffect": _blocks_of_photograph,
    "BackgroundEdges": _edges_of_background,
}

# Of an aligned face: the crop is the picture, so nothing is aligned again.
_ALIGNED_MEASURES = {
    **_MEASURES,
    "BlurEffect": lambda portrait: blur(portrait.image),
    "BlockEffect": lambda portrait: blocks(portrait.image),
}

NO_FACE = "No face was found: show one face, upright and large enough."
_NOT_ASSESSED = "Could not be assessed: "
_WHY_NOT = {
    "BackgroundEdges": _NOT_ASSESSED + "there is too little background beside the head.",
    "SingleFacePresent": _NOT_ASSESSED + "the faces of the photograph were not counted.",
}


def measure(image, *, detector=None, detections=None, points=None):
    """Every component of one photograph.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        RGB, as `images.read_image` gives it.
    detector : callable, default=None
        image -> list of `faces.Detection`; None: `faces.Mtcnn()`. It takes most of the time.
    detections : list of `faces.Detection`, default=None
        The result of a detector that ran before; it is not run again.
    points : array (68, 2), default=None
        Landmarks of the face, where they are known. Then no detector runs, and other faces are counted only where
        `detections` are given too.

    Returns
    -------
    DataFrame
        One row for each name in `MEASURED`, always in that order: `component`, `raw` (float; NaN where it could not be
        assessed), `scalar` (int 0..100, or -1) and `message` (what to do about it; "" where nothing). Without a face
        each row has -1, and the message of `SingleFacePresent` is `NO_FACE`.

    Raises
    ------
    DataError
        When `image` is not (H, W, 3) uint8, or `points` are not 68 finite points.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"expected an RGB image (H, W, 3) uint8, got {image.dtype} {image.shape}")
    if detections is None and points is None:
        detections = (detector or Mtcnn())(image)
    boxes = credible(list(detections or ()))
    if points is None and not boxes:
        no_face = dict.fromkeys(MEASURED, _NOT_ASSESSED + "no face was found.")
        return _table({}, no_face | {"SingleFacePresent": NO_FACE})
    where = landmarks(image, boxes[0], 68) if points is None else points
    try:
        portrait = Portrait(image, where, [box.width * box.height for box in boxes])
    except DataError:
        if points is not None:
            raise
        # in a batch one useless face is no reason to stop
        return _table({}, dict.fromkeys(MEASURED, _NOT_ASSESSED + "the landmarks of the face coincide."))
    return _table({name: _MEASURES[name](portrait) for name in MEASURED}, _WHY_NOT)


def _table(raws, why):
    rows = []
    for name in MEASURED:
        raw = float(raws.get(name, np.nan))
        scalar = to_scalar(name, raw)
        rows.append((name, raw, scalar, (scalar < 0 and why.get(name)) or message(name, raw)))
    return pd.DataFrame(rows, columns=["component", "raw", "scalar", "message"])


def measure_faces(faces):
    """Raw values of aligned faces, for the components that make sense there (`ALIGNED`).

    Light, colour, sharpness and expression of the canonical crop, at its scale. How the photograph was framed is gone.
    `InterEyeDistance` is the photograph's (attribute `inter_eye_px`; NaN without it), even if the crop was degraded
    since. `HeadPoseRoll` is that of the crop: alignment has removed the head's own roll (attribute `roll_deg`).

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Aligned to the canonical crop; the landmarks are found in each crop.

    Returns
    -------
    DataFrame
        One row for each face (index: its name, or its number), one column for each name in `ALIGNED`.
    """
    images = crops_of(faces)
    names = pd.Index(faces.names if isinstance(faces, Faces) else range(len(images)), name="face")
    known = faces.attributes if isinstance(faces, Faces) else pd.DataFrame()
    between = known["inter_eye_px"].to_numpy(float) if "inter_eye_px" in known else np.full(len(images), np.nan)
    rows = []
    for image, distance in zip(images, between, strict=True):
        portrait = Portrait(image, landmarks(image, CANONICAL_BOX, 68))
        row = {name: _ALIGNED_MEASURES[name](portrait) for name in ALIGNED}
        row["InterEyeDistance"] *= distance / portrait.distance
        rows.append(row)
    return pd.DataFrame(rows, index=names, columns=list(ALIGNED), dtype=float)
