"""Moved."""

from .transforms.perturbations import (  # noqa: F401
    PERTURBATIONS,
    PRESETS,
    STUDY_EYES,
    Perturbation,
    image_seeds,
    mirror,
    normal,
    perturb,
    settings_for,
    uniform,
)
