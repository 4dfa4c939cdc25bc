"""Moved."""

from .networks.scnn import (  # noqa: F401
    CHANNELS,
    CLASSES,
    DISTORTIONS,
    HEAD,
    MEAN_RGB,
    SCNN,
    STD_RGB,
    Distortion,
    classify,
    distort,
    distorted_patches,
    fused,
    normalise,
    pretrain,
    pretrained,
)
