"""Moved."""

from .faces.masking import (  # noqa: F401
    CANONICAL_BOX,
    FILLS,
    PARTS,
    POSE_MODEL,
    POSE_POINTS,
    REGIONS,
    WORKING_SIZE,
    Pose,
    angles,
    at_size,
    crop_landmarks,
    ellipse_mask,
    enlarged,
    face_mask,
    fill,
    head_pose,
    hull_mask,
    masked_crops,
    rotation_of,
)
