"""Moved."""

from .data.non_faces import FACELESS, non_faces  # noqa: F401
