"""Changes of pictures: degradations for benchmarks and training sets, perturbations for stability methods."""

from .degradations import (
    CLEAN,
    EYE_MIDPOINT,
    SEVERITIES,
    apply_to_image,
    benchmark,
    canonical_eyes,
    degrade,
    random_degradations,
)
from .kinds import KINDS, Degradation, Eyes, to_encoded, to_linear
from .perturbations import (
    PERTURBATIONS,
    PRESETS,
    Perturbation,
    image_seeds,
    mirror,
    normal,
    perturb,
    settings_for,
    uniform,
)

__all__ = [
    "CLEAN",
    "EYE_MIDPOINT",
    "KINDS",
    "PERTURBATIONS",
    "PRESETS",
    "SEVERITIES",
    "Degradation",
    "Eyes",
    "Perturbation",
    "apply_to_image",
    "benchmark",
    "canonical_eyes",
    "degrade",
    "image_seeds",
    "mirror",
    "normal",
    "perturb",
    "random_degradations",
    "settings_for",
    "to_encoded",
    "to_linear",
    "uniform",
]
