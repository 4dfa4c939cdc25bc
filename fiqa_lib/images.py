"""Moved."""

from .faces.images import (  # noqa: F401
    MAX_PIXELS,
    SUFFIXES,
    Found,
    decode_image,
    find_images,
    printable,
    read_bytes,
    read_image,
    to_rgb_uint8,
    write_image,
)
