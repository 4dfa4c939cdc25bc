"""Moved."""

from .weights import ABOUT, write_state, read_state, explained, module_state, restore_module  # noqa: F401
