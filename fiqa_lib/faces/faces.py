"""`Faces`: aligned crops with who they show, and how a photograph becomes them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DataError
from .alignment import DLIB_POINTS, SIZE, align, from_arcface_crop, geometry, landmarks
from .detection import centred_box, credible
from .mtcnn import Mtcnn


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
    attributes : DataFrame with N rows, default=None
        Anything measured or declared about the face: `severity`, `kind`, `detector_score`, `inter_eye_px` ...

    Raises
    ------
    DataError
        When shapes, types or lengths disagree, or two faces have the same name.
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
            names = pd.Series(self.names)
            raise DataError(f"names must be unique; these occur twice: {sorted(set(names[names.duplicated()]))[:5]}")

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


def crops_of(faces):
    """The canonical crops of faces, checked, so that a picture that was never aligned is not embedded by mistake.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Aligned faces.

    Returns
    -------
    array (N, 192, 192, 3) uint8

    Raises
    ------
    DataError
        For any other shape or type.
    """
    images = faces.images if isinstance(faces, Faces) else np.asarray(faces)
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3) or images.dtype != np.uint8:
        raise DataError(
            f"expected aligned faces: Faces, or uint8 of shape (N, {SIZE}, {SIZE}, 3); got {images.dtype} "
            f"{images.shape}. faces.extract_faces makes them from a photograph"
        )
    return images


def extract_faces(image, *, detector=None, which="largest", fallback=None, name="face", identity=""):
    """Detect, align and describe the faces of one photograph.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
        The photograph, as `images.read_image` gives it.
    detector : callable, default=None
        image -> list of `Detection`. None: `Mtcnn()`. Where it gives no landmarks, dlib's are found in its box.
    which : {"largest", "all"}, default="largest"
        The face with the largest box, or every face from the largest down; of the `credible` detections.
    fallback : {None, "centre"}, default=None
        What to do where no face is found: nothing, or cut out the middle and say so in `status`.
    name : str, default="face"
        Name of the result. Further faces of the same photograph are called `name#2`, `name#3` ...
    identity : str, default=""
        Who is shown. An empty string means unknown.

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
    detections = credible((detector or Mtcnn())(image))
    status = "ok"
    boxes = detections if which == "all" else detections[:1]
    if not boxes and fallback == "centre":
        boxes, status = [centred_box(image)], "fallback"
    crops, rows, names = [], [], []
    for number, box in enumerate(boxes, start=1):
        dlib = box.landmarks is None
        points = landmarks(image, box) if dlib else box.landmarks
        crops.append(align(image, points, target=DLIB_POINTS) if dlib else align(image, points))
        names.append(name if number == 1 else f"{name}#{number}")
        rows.append(
            {
                "status": status,
                "face_x": float(box.x),
                "face_y": float(box.y),
                "face_w": float(box.width),
                "face_h": float(box.height),
                "detector_score": float(box.score),
                "n_faces": len(detections),
                **geometry(points, dlib=dlib),
                "photo_width": image.shape[1],
                "photo_height": image.shape[0],
            }
        )
    images = np.stack(crops) if crops else np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return Faces(images, [identity] * len(crops), names, attribute_table(rows))


def from_aligned(images, identities=None, names=None):
    """Faces from crops that are aligned to ArcFace's 112-pixel template already. Nothing is detected.

    Parameters
    ----------
    images : sequence of N arrays (112, 112, 3) uint8 RGB
        As CR-FIQA, SDD-FIQA and InsightFace feed them to their networks.
    identities : sequence of N str, default=None
        Who is shown. None: unknown ("").
    names : sequence of N str, default=None
        What each face is called. None: "0", "1" ...

    Returns
    -------
    Faces
        `alignment.from_arcface_crop` of each; a recogniser of 112 pixels sees them to the last bit. The attributes are
        those of `extract_faces`, but nothing was measured: only `status` ("ok") and `n_faces` (1) are filled.

    Raises
    ------
    DataError
        A crop has another shape or type. The message names it.
    """
    images = list(images)
    names = [str(number) for number in range(len(images))] if names is None else [str(name) for name in names]
    crops = np.zeros((len(images), SIZE, SIZE, 3), np.uint8)
    for number, image in enumerate(images):
        try:
            crops[number] = from_arcface_crop(image)
        except DataError as error:
            raise DataError(f"{names[number] if number < len(names) else number}: {error}") from error
    attributes = attribute_table([{"status": "ok", "n_faces": 1}] * len(images))
    return Faces(crops, [""] * len(images) if identities is None else identities, names, attributes)


ATTRIBUTES = ["status", "face_x", "face_y", "face_w", "face_h", "detector_score", "n_faces"]
ATTRIBUTES += ["inter_eye_px", "roll_deg", "yaw_proxy", "pitch_proxy", "photo_width", "photo_height"]
"""The columns of the attributes of extracted faces."""


def attribute_table(rows):
    """The attributes of extracted faces as a DataFrame with fixed columns and types, for 0 rows too."""
    types = {name: float for name in ATTRIBUTES} | {"status": str, "n_faces": int}
    return pd.DataFrame(rows, columns=ATTRIBUTES).astype(types)
