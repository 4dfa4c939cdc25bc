"""Image files: read any of them as uint8 RGB, find them in folders, write them.

This is the only place in the library that decodes image files. Pillow does the decoding. What a file is read as:

- The content decides the format, never the suffix: JPEG, PNG, GIF (first frame), BMP, TIFF (first page), WebP (first
  frame), PBM/PGM/PPM, AVIF where Pillow was built with it, and HEIC where `pillow-heif` is installed. Only camera raw
  files are known by their suffix: to Pillow many are a TIFF with a small preview.
- The result is always (H, W, 3) uint8 RGB, turned upright by the EXIF orientation. Grey is repeated three times.
- Transparency (alpha channel, transparent colour or palette entry) is laid over white, as a page would show it.
- 16-bit samples keep their upper byte, so 65535 -> 255; PGM and PPM are scaled by their own largest value.
- 32-bit float TIFF must lie in 0..1, which becomes 0..255. Other ranges, and 32-bit integers, are refused: nothing in
  such a file says which number is white.
- CMYK becomes (255 - C)(255 - K) / 255 and so on. CMYK JPEG is inverted where it has Adobe's marker, as libjpeg's
  documentation says. Colour profiles are not applied.

A truncated or damaged file is refused with an `ImageError`. Pillow finds most damage. In JPEG and PNG it can return
wrong pixels instead, so these are checked here too (checksums are right, all coded data are used, none are missing).
Limits: only PNG has checksums, so damage that leaves a well-formed file is not noticed elsewhere, and noise in a
progressive JPEG less often. A damaged compressed TIFF makes libtiff write a line to the terminal, besides the error.
"""

from __future__ import annotations

import bz2
import io
import os
import re
import struct
import threading
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import DataError, ImageError
from ..files import whole_file
from .formats import (
    AGAIN,
    HEAD,
    NOT_REGULAR,
    RAW,
    RAW_SUFFIXES,
    TRUNCATED,
    Refused,
    corrupt,
    plugin_for,
    printable,
    unsupported,
    why_unreadable,
)
from .listing import SUFFIXES, Found, find_images, is_picture_name, summary_of

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Found",
    "decode_image",
    "find_images",
    "is_picture_name",
    "printable",
    "read_bytes",
    "read_image",
    "summary_of",
    "to_rgb_uint8",
    "write_image",
]

MAX_PIXELS = 100_000_000
"""Largest width x height that is decoded unless the caller asks for more."""

# ------------------------------------------------------------------------------------------------- reading


def read_image(path, *, max_pixels=MAX_PIXELS):
    """Read an image file.

    Parameters
    ----------
    path : str, bytes or Path
        The file. Its suffix does not matter.
    max_pixels : int or None, default=100_000_000
        Refuse pictures of more pixels than this, judged by the header, before anything is decoded. None: no limit.

    Returns
    -------
    array (H, W, 3) uint8
        RGB, upright, contiguous, writable. See the head of this module for what becomes of each kind of file.

    Raises
    ------
    ImageError
        When the file is missing, unreadable, not a regular file, empty, truncated, corrupt, too large, or no picture of
        a supported format. The message names the file, what is wrong and what to do.
    """
    return decode_image(read_bytes(path, max_pixels=max_pixels), name=path, max_pixels=max_pixels)


def decode_image(data, name="<bytes>", max_pixels=MAX_PIXELS):
    """Decode the bytes of an image file in memory, as `read_image` does with a file.

    Parameters
    ----------
    data : bytes-like
        The whole file.
    name : str, bytes or Path, default="<bytes>"
        What error messages call it.
    max_pixels : int or None, default=100_000_000
        As for `read_image`.

    Returns
    -------
    array (H, W, 3) uint8
    """
    data = data if isinstance(data, bytes) else bytes(memoryview(data))
    try:
        return _decode(data, max_pixels)
    except Refused as refused:
        raise ImageError(printable(name), refused) from refused.__cause__


def read_bytes(path, *, max_pixels=MAX_PIXELS):
    """The bytes of an image file, if its first bytes look like one. Never waits: pipes and devices are refused.

    Parameters
    ----------
    path : str, bytes or Path
        The file.
    max_pixels : int or None, default=100_000_000
        Files far larger than an image of this many pixels can be are not read. None: no limit.

    Returns
    -------
    bytes

    Raises
    ------
    ImageError
        When the file cannot be read, is too large, or does not begin like an image of a supported format.
    """
    try:
        if os.path.isdir(path):
            raise Refused("is a folder, not an image file; images.find_images lists the images in a folder")
        if os.path.exists(path) and not os.path.isfile(path):
            raise Refused(NOT_REGULAR)
        with open(path, "rb") as file:
            if printable(path).lower().endswith(".bz2"):
                return _unpacked(file.read(), max_pixels)
            plugin = plugin_for(file.read(HEAD))
            if plugin is TiffImageFile and printable(path).lower().endswith(RAW_SUFFIXES):
                raise Refused(RAW)  # its first picture may be a small preview
            size = file.seek(0, os.SEEK_END)
            if max_pixels is not None and size > (limit := _most_bytes(max_pixels)):
                raise Refused(f"too large: {size:,} bytes, and {max_pixels:,} pixels take at most {limit:,}; check it")
            file.seek(0)
            return file.read()
    except Refused as refused:
        raise ImageError(printable(path), refused) from refused.__cause__
    except (OSError, ValueError) as error:  # ValueError: a name no file can have, such as one with a null character
        raise ImageError(printable(path), why_unreadable(error, path)) from error


def _most_bytes(max_pixels):
    return 8 * max_pixels + 2**26  # 16-bit RGBA and metadata


def _unpacked(data, max_pixels):
    """The content of a file packed by bzip2, as FERET's are; never more than a picture of `max_pixels` can have."""
    unpacker = bz2.BZ2Decompressor()
    try:
        content = unpacker.decompress(data, -1 if max_pixels is None else _most_bytes(max_pixels))
    except (OSError, ValueError) as error:
        raise Refused("corrupt: it is not packed by bzip2, as its name says") from error
    if not unpacker.eof:
        what = "truncated: the packed data end too early" if unpacker.needs_input else "too large when it is unpacked"
        raise Refused(what)
    plugin_for(content[:HEAD])
    return content


def _decode(data, max_pixels):
    plugin = plugin_for(data[:HEAD])
    try:
        if plugin is PngImageFile:
            data = _checked_png(data)
        with _strict_pillow():
            stream = io.BytesIO(data)
            image = plugin(stream)  # reads the header only
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise Refused(
                    f"too large: {image.width} x {image.height} pixels, and the limit is {max_pixels:,}; "
                    "scale it down, or raise max_pixels if you trust the file"
                )
            if plugin is TiffImageFile:
                _check_tiff(image)
            if plugin is JpegImageFile:
                _check_jpeg(image, data, stream.tell())
            image.load()
            exif, pixels = image.info.get("exif"), _rgb_of(image)
            image.close()  # before it is turned: a large picture should not stand in memory three times
            return _upright(pixels, exif)
    except Refused:
        raise
    except DataError as error:  # of `to_rgb_uint8`
        raise unsupported(error) from error
    except MemoryError as error:
        raise Refused("too large: there is not enough memory to decode it; scale it down") from error
    except Exception as error:  # on damaged input Pillow raises anything: OSError, SyntaxError, KeyError, TypeError ...
        raise _why_undecodable(error) from error


_pillow_lock = threading.Lock()


@contextmanager
def _strict_pillow():
    """Pillow as we need it: no truncated files, no size limit but ours, no warnings. One thread at a time."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, which decide no pixel
        before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _why_undecodable(error):
    """The reason, with its remedy, of an error that Pillow raised."""
    if isinstance(error, SyntaxError) and str(error) == str(error.__cause__):  # Pillow wraps many errors in this one
        error = error.__cause__
    text = str(error)
    if isinstance(error, (struct.error, EOFError)) or re.search("truncated|not enough|EOF|only got", text, re.I):
        return Refused(TRUNCATED)
    if re.search("could not create decoder|Missing dimensions", text):
        return Refused(f"truncated or corrupt: the decoder found no picture; {AGAIN}")
    if "not identified by this driver" in text:
        return Refused(f"zero-sized or corrupt: its header gives no usable size; {AGAIN}")
    if re.search("unsupported|cannot handle|unknown pixel mode|not yet supported", text, re.I):
        return unsupported(text)
    if not isinstance(error, (OSError, SyntaxError, ValueError)):  # a slip of the decoder: its text alone says nothing
        text = f"the decoder failed with {type(error).__name__} {text}"
    return corrupt(text)


def _upright(pixels, exif_block):
    """Turn pixels by the orientation that an EXIF block declares. (Pillow has already turned a TIFF.)"""
    exif = Image.Exif()
    try:
        exif.load(exif_block or b"")
        orientation = exif.get(0x0112, 1)
    except Exception:  # a damaged block can raise anything, and says nothing about the pixels
        return pixels
    if orientation not in range(2, 9):
        return pixels
    turned = pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
    turned = turned[::-1] if orientation in (3, 4, 7, 8) else turned
    turned = turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned
    return np.ascontiguousarray(turned)


# -------------------------------------------------------------------------- what Pillow alone would not notice


def _checked_png(data):
    """The same PNG (ISO/IEC 15948) with only the chunks that decide pixels, once all checksums are found right."""
    kept, pixels, position, kind = [data[:8]], [], 8, None
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise Refused(TRUNCATED)
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise corrupt(f"the checksum of PNG chunk {kind!r} is wrong")
        if kind == b"tRNS" and data[24] != 8 and data[25] != 3:
            raise unsupported(f"PNG of {data[24]} bits with a transparent colour")
        if kind == b"IDAT":
            pixels.append(data[position + 8 : end - 4])
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            kept.append(data[position:end])
        position = end
    if not pixels:
        raise corrupt("there is no picture in this PNG")
    # Without the checksum at its end the stream never ends for the decoder, so it cannot end before the picture does:
    # Pillow would leave the missing rows black.
    return b"".join([*kept, _png_chunk(b"IDAT", b"".join(pixels)[:-4]), _png_chunk(b"IEND", b"")])


def _png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _check_tiff(image):
    """Refuse a TIFF, of which only the header is read so far, that Pillow would read wrongly."""
    areas = [(right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile]
    if sum(areas) < image.width * image.height:  # Pillow leaves strips or tiles that the file lacks black
        raise Refused(TRUNCATED)
    if image.tag_v2.get(254, 0) & 1:
        raise unsupported("its first picture is a reduced copy, as in camera raw files")
    if image.tag_v2.get(284) == 2 and max(image.tag_v2.get(258, (1,))) > 8:
        raise unsupported("TIFF with one plane per colour at more than 8 bits")


def _check_jpeg(image, data, start):
    """Decode a JPEG whose coded data begin at byte `start`, and refuse one that libjpeg would only warn about.

    libjpeg returns a picture for damaged data and counts warnings that Pillow does not show. But its decoder asks for
    more bytes until the last block is complete. So intact data of a JPEG with one scan need their last byte, and need
    nothing after it but filling. `_Watched` tells the first, and Pillow's error at the end of the stream the second.
    """
    end = _JPEG_AFTER_SCAN.search(data, start)
    if end is None:
        raise Refused(TRUNCATED)
    numbers = [number[0] & 7 for number in _JPEG_RESTART.findall(data, start, end.start())]
    if any(number != i % 8 for i, number in enumerate(numbers)):
        raise corrupt("restart markers out of order")
    if not end[0].endswith(b"\xd9"):
        return  # several scans: these Pillow checks alone
    image.fp = stream = _Watched(data[: end.start()])
    try:
        image.load()
    except OSError as error:
        raise corrupt("damaged or truncated inside: its coded data end before the picture does") from error
    if not stream.last_byte_was_read:
        raise corrupt("it holds more coded data than the picture needs")


_JPEG_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_JPEG_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


class _Watched(io.BytesIO):
    """A JPEG without its end marker, served in two parts, to learn whether the decoder needs the last byte."""

    def __init__(self, data):
        padding = b"\xff\0" * 8  # what the decoder may read ahead; one bits are no Huffman code, so make no blocks
        super().__init__(data + padding)
        body = data.rstrip(b"\0\xff")  # the last byte proper; cameras may pad with zeros
        self.last, self.last_byte_was_read = len(body) - 1, False

    def read(self, size=-1):
        room = self.last - self.tell()
        if room <= 0:
            self.last_byte_was_read = True
        elif size < 0 or size > room:
            size = room
        return super().read(size)


# ------------------------------------------------------------------------------------------ pixels to uint8 RGB


_ROWS = 512
"""Rows of a picture that are converted together."""


def _rgb_of(image):
    """uint8 RGB of a loaded Pillow image."""
    if image.mode == "F" or image.mode.startswith("I;16"):
        tags, values = getattr(image, "tag_v2", {}), np.asarray(image)
        if image.mode != "F":
            values = values.astype(np.uint16) << (4 if tags.get(258) == (12,) else 0)  # 12-bit TIFF is not scaled
        pixels = to_rgb_uint8(values)
        return 255 - pixels if tags.get(262) == 0 else pixels  # nor is white-is-zero inverted, at these depths
    if image.mode == "I" and image.format == "PPM":  # Pillow has scaled it to 0..65535
        return to_rgb_uint8(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode == "I":
        raise unsupported("32-bit or signed integers do not say which number is white")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for an inverted one
    mode = "RGBA" if image.has_transparency_data else "RGB"
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, max(1, image.height), _ROWS):  # all at once takes three times the memory of the picture, or six
        rows = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        pixels[top : top + _ROWS] = to_rgb_uint8(np.asarray(rows if rows.mode == mode else rows.convert(mode)))
    return pixels


def to_rgb_uint8(array):
    """Turn an array of any usual pixel type into uint8 RGB, by the rules at the head of this module.

    Parameters
    ----------
    array : array (H, W) or (H, W, C)
        C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. bool (True is white), uint8, uint16 or float in 0..1.

    Returns
    -------
    array (H, W, 3) uint8
        A new array.

    Raises
    ------
    DataError
        When its shape, type or range is another.
    """
    array = np.asarray(array)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or array.size == 0:
        raise DataError(f"an image has the shape (H, W) or (H, W, 1 to 4), none of them 0, not {array.shape}")
    array = _uint8(array)
    if array.shape[2] in (2, 4):
        alpha = array[..., -1:].astype(np.uint16)
        array = ((array[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else np.array(array, order="C")


def _uint8(array):
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array * np.uint8(255)
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind != "f":
        raise DataError(f"an image of {array.dtype} does not say which number is white; scale it to uint8")
    if not (array.min() >= -1e-6 and array.max() <= 1 + 1e-6):  # also where a value is not a number
        raise DataError(f"an image of floats must lie in 0..1, not {array.min():.4g}..{array.max():.4g}; scale it")
    return np.rint(array * 255).clip(0, 255).astype(np.uint8)


# -------------------------------------------------------------------------------------------------- writing

_WRITERS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
_WRITERS |= {".webp": "WEBP", ".ppm": "PPM"}


def write_image(path, rgb, quality=95):
    """Write an image, whole or not at all, in the format its suffix names: JPEG, PNG, BMP, TIFF, WebP or PPM.

    Parameters
    ----------
    path : str, bytes or Path
        Missing folders are made. An existing file is replaced.
    rgb : array (H, W, 3) uint8
        The pixels.
    quality : int, default=95
        1 (small file) to 100 (best), for JPEG (full colour resolution, 4:4:4) and WebP; the other formats lose nothing.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DataError
        When `rgb` or `quality` is of another kind.
    ImageError
        When the suffix names no format, the picture is too large for it, or the file cannot be written.
    """
    path, rgb = Path(os.fsdecode(path)), np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise DataError(f"an image must be uint8 of shape (H, W, 3), not {rgb.dtype} {rgb.shape}; use to_rgb_uint8")
    if not 1 <= quality <= 100:
        raise DataError(f"quality must lie in 1..100, not {quality}")
    form = _WRITERS.get(path.suffix.lower())
    if form is None:
        known = " ".join(_WRITERS)
        raise ImageError(printable(path), f"no format to write is known by suffix {path.suffix!r}; use one of {known}")
    options = {"JPEG": {"quality": quality, "subsampling": 0}, "WEBP": {"quality": quality}}.get(form, {})
    try:
        with whole_file(path) as temporary:
            Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, format=form, **options)
    except (OSError, ValueError) as error:
        reason = f"could not be written as {form}: {error}; check its folder and size"
        raise ImageError(printable(path), reason) from error
    return path
