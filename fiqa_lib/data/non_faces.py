"""Pictures without a face, from what scikit-image ships: squares of textures, patches, a detector's false positives."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import skimage.data

from ..faces import DLIB_POINTS, SIZE, DlibHog, Faces, align, attribute_table, geometry, landmarks

FACELESS = (
    *("brick", "cat", "cell", "coffee", "coins", "grass", "gravel", "immunohistochemistry", "logo", "moon", "page"),
    *("retina", "rocket", "stereo_motorcycle", "text"),
)
"""Pictures of scikit-image without a human face."""


def non_faces(*, threshold=-1.0, patches=100, textures=0, grey=True, random_state=0):
    """Crops without a face. Nobody's photograph is needed for them.

    Where quality is graded they are a case of their own, not examples of a class: they come from other cameras, so a
    learner would learn to recognise the camera.

    Parameters
    ----------
    threshold : float, default=-1.0
        Lowest score of dlib's detector, run on `FACELESS`, for the false positives, which are aligned as a face would
        be. At its own threshold, 0, it makes no mistake on them.
    patches : int, default=100
        The most of the 100 patches of `skimage.data.lfw_subset` (25 x 25 pixels, enlarged) that show no face.
    textures : int, default=0
        Random squares of each picture of `FACELESS`, of all sizes from 60 pixels.
    grey : bool, default=True
        Without colour, as the bundled faces are: otherwise colour alone would separate the two.
    random_state : int, default=0
        Decides the squares.

    Returns
    -------
    Faces
        Identity ""; attributes `kind` ("texture", "false_positive" or "patch"), `source` (the picture) and those of
        `faces.extract_faces`.
    """
    crops = [*_textures(textures, random_state), *_false_positives(threshold), *_patches(patches)]
    images = [_rgb(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)) if grey else crop for crop, _ in crops]
    rows = [row for _, row in crops]
    table = attribute_table(rows).assign(**{name: [row[name] for row in rows] for name in ("kind", "source")})
    names = [f"{row['kind']} {row['source']}#{row['number']}" for row in rows]
    return Faces(np.array(images, np.uint8).reshape(-1, SIZE, SIZE, 3), [""] * len(rows), names, table)


def _row(kind, source, number, status="fallback", **measured):
    return {"status": status, "number": number, "n_faces": 0, "kind": kind, "source": source, **measured}


def _textures(n, random_state):
    rng = np.random.default_rng(random_state)
    for name in FACELESS:
        picture = _picture(name)
        shortest = min(picture.shape[:2])
        for number in range(n):
            side = int(rng.integers(min(60, shortest), shortest + 1))
            top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
            yield _sized(picture[top : top + side, left : left + side]), _row("texture", name, number)


@functools.cache
def _false_positives(threshold):
    crops, detector = [], DlibHog(threshold=threshold, margin=0, turned=False)
    for name in FACELESS:
        picture = _picture(name)
        for number, box in enumerate(detector(picture), 1):
            points = landmarks(picture, box)
            measured = dict(zip(("face_x", "face_y", "face_w", "face_h", "detector_score"), box[:5], strict=True))
            row = _row("false_positive", name, number, status="ok", **measured, **geometry(points, dlib=True))
            crops.append((align(picture, points, target=DLIB_POINTS), row))
    return tuple(crops)


def _patches(n):
    for number, patch in enumerate(skimage.data.lfw_subset()[100 : 100 + n], 1):
        yield _sized(_rgb((255 * patch).round().astype(np.uint8))), _row("patch", "lfw_subset", number)


def _picture(name):
    picture = getattr(skimage.data, name)()
    return _rgb(np.asarray(picture[0] if isinstance(picture, tuple) else picture))


def _sized(picture):
    method = cv2.INTER_AREA if len(picture) > SIZE else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(picture), (SIZE, SIZE), interpolation=method)


def _rgb(picture):
    picture = picture[..., None] if picture.ndim == 2 else picture
    return np.ascontiguousarray(np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3)))
