"""Moved."""

from .transforms.degradations import (  # noqa: F401
    CLEAN,
    EYE_MIDPOINT,
    SEVERITIES,
    apply_to_image,
    benchmark,
    canonical_eyes,
    degrade,
    random_degradations,
)
from .transforms.kinds import KINDS, Degradation, Eyes, to_encoded, to_linear  # noqa: F401
