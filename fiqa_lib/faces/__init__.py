"""Faces: reading photographs, detecting faces in them, aligning those to one canonical crop, masking the background.

`images`: image files (`formats`: what they are, `listing`: those of a folder). `detection`, `mtcnn`: detectors,
`detectors`: by name. `alignment`: landmarks and the canonical crop. `faces`: the `Faces` that
the whole library works on, and how a photograph becomes them. `masking`: face masks and head pose from 68 landmarks.
"""

from .alignment import (
    ARCFACE_POINTS,
    ARCFACE_SIZE,
    ARCFACE_TO_CANONICAL,
    CANONICAL_BOX,
    CANONICAL_EYES,
    CANONICAL_POINTS,
    CHIP_ORIGIN,
    DLIB_POINTS,
    EYE_DISTANCE,
    LANDMARK_BOX,
    MARGIN,
    SIZE,
    align,
    from_arcface_crop,
    geometry,
    landmarks,
    reduce_image,
    similarity_transform,
)
from .detection import Detection, DlibHog, centred_box, credible
from .detectors import DETECTORS, load_detector
from .faces import ATTRIBUTES, Faces, attribute_table, crops_of, extract_faces, from_aligned
from .images import decode_image, find_images, read_image, to_rgb_uint8, write_image
from .mtcnn import Mtcnn

__all__ = [
    "ARCFACE_POINTS",
    "ARCFACE_SIZE",
    "ARCFACE_TO_CANONICAL",
    "ATTRIBUTES",
    "CANONICAL_BOX",
    "CANONICAL_EYES",
    "CANONICAL_POINTS",
    "CHIP_ORIGIN",
    "DETECTORS",
    "DLIB_POINTS",
    "EYE_DISTANCE",
    "LANDMARK_BOX",
    "MARGIN",
    "SIZE",
    "Detection",
    "DlibHog",
    "Faces",
    "Mtcnn",
    "align",
    "attribute_table",
    "centred_box",
    "credible",
    "crops_of",
    "decode_image",
    "extract_faces",
    "find_images",
    "from_aligned",
    "from_arcface_crop",
    "geometry",
    "landmarks",
    "load_detector",
    "read_image",
    "reduce_image",
    "similarity_transform",
    "to_rgb_uint8",
    "write_image",
]
