"""Moved."""

from .labels.sdd import (  # noqa: F401
    OK,
    ROWS,
    SCALES,
    SINGLETON,
    Labels,
    between,
    in_order,
    reference_labels,
    scale_distances,
    scale_limits,
    scaled_repeats,
    sdd_draws,
    sdd_labels,
    sdd_labels_exact,
)
from .labels.sdd_distances import (  # noqa: F401
    DRAWS,
    EXACT_ROWS,
    UNIT,
    Index,
    Settings,
    distinct,
    exact_distances,
    spread,
    unit_distances,
    unit_length,
    usable_rows,
    wasserstein_sorted,
)
