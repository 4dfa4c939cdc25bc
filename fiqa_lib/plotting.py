"""Moved."""

from .course.plotting import (  # noqa: F401
    DASHES,
    MARKERS,
    MATED,
    NON_MATED,
    PALETTE,
    STYLE,
    det,
    edc,
    face_grid,
    figure,
    intervals,
    line_style,
    lines,
    matrix,
    show,
    similarity_histogram,
    timeline,
)
