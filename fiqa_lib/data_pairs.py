"""Moved."""

from .data.pairs import PairIndices, identity_codes, pair_indices  # noqa: F401
