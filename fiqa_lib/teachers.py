"""Moved."""

from .labels.agreement import agreement  # noqa: F401
from .labels.cr_fiqa import certainty_ratio, class_similarities  # noqa: F401
from .labels.ensemble import ensemble  # noqa: F401
