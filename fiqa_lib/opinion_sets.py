"""Moved."""

from .data.opinion_sets import PAGES, OpinionSet, crops, load_koniq10k, load_live_challenge  # noqa: F401
