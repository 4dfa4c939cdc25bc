"""Moved."""

from .weights import packaged_file, packaged_files  # noqa: F401
