"""Moved."""

from .data.training_sets import identified, is_clean, photographs, with_copies  # noqa: F401
