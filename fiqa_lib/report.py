"""Moved."""

from .apps.report import THUMBNAIL, Report, threshold_for, thumbnail, write_report  # noqa: F401
