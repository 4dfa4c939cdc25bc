"""Moved."""

from .apps.benchmark import (  # noqa: F401
    CHUNK,
    OTHER_RECOGNISERS,
    PREFIX,
    REFERENCES,
    Protocol,
    Results,
    by_group,
    protocol,
    qualities_of,
    ranking,
    run,
    score,
    similarities,
    strengths,
    tables,
    write,
)
