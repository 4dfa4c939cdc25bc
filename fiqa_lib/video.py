"""Moved."""

from .apps.video import (  # noqa: F401
    COLUMNS,
    SUFFIXES,
    Frame,
    Scored,
    VideoReader,
    score_video,
    timeline,
    video_detector,
)
