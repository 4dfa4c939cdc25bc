"""Moved."""

from .course.lesson import RECORD, check, record, start, strict_check, versions  # noqa: F401
