"""Any image file or folder -> uint8 RGB. The only place in the library that decodes files.

What a file is read as:

- The content decides the format, never the suffix: JPEG, PNG, GIF (first frame), BMP, TIFF (first page), WebP (first
  frame) and PBM/PGM/PPM.
- The result is always (H, W, 3) uint8 RGB, turned upright by the EXIF orientation. Grey is repeated three times.
- Transparency (alpha channel, transparent colour or palette entry) is laid over white, as a page would show it.
- 16-bit samples keep their upper byte, so 65535 -> 255; PGM and PPM are scaled by their own largest value.
- 32-bit float TIFF must lie in 0..1, which becomes 0..255. Other ranges, and 32-bit or signed integers, are refused:
  nothing in such a file says which number is white.
- CMYK becomes (255 - C)(255 - K) / 255 and so on. CMYK JPEG is inverted where it bears Adobe's marker, as libjpeg's
  documentation tells. Colour profiles are not applied.

A file that is damaged is refused with an `ImageError`, whatever a lenient decoder would make of it. Each format's
structure is checked to its end first (sizes, checksums, markers), and only the parts that decide pixels are handed to
Pillow: so metadata can neither warn nor fail. Pillow's global settings change nothing, except that Pillow itself stops
at a WebP of more than twice its MAX_IMAGE_PIXELS. Limits remain. Only PNG and Deflate have checksums: elsewhere damage
that leaves a well-formed file cannot be told from a picture. Noise inside a JPEG is noticed where libjpeg itself would
warn, but less in a progressive one or one with restart markers. Damaged LZW or JPEG data inside a TIFF make libtiff
write a line to the terminal, besides the error.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageChops, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .errors import DataError, ImageError
from .files import whole_file

MAX_PIXELS = 100_000_000
"""Largest width x height that is decoded unless the caller asks for more."""

SUFFIXES = tuple(".jpg .jpeg .jpe .jfif .mpo .png .gif .bmp .dib .tif .tiff .webp .pbm .pgm .ppm .pnm".split())
"""What `find_images` takes for an image file (in either case)."""

_AGAIN = "copy or download it again"
_CONVERT = "convert it to PNG or JPEG"
_TRUNCATED = f"truncated: it ends before the picture does; {_AGAIN}"


class _Refused(Exception):
    """Why the bytes at hand are no usable picture. Becomes an `ImageError` where the name of the file is known."""


def _corrupt(what):
    return _Refused(f"corrupt: {what}; {_AGAIN}")


def _unsupported(what):
    return _Refused(f"unsupported format: {what}; {_CONVERT}")


class _Picture(NamedTuple):
    """A file whose structure was checked: how to decode it, and how to turn the result."""

    decode: Callable[[], np.ndarray]
    orientation: int = 1


# ------------------------------------------------------------------------------------------------- reading


def read_image(path, *, max_pixels=MAX_PIXELS):
    """Read an image file.

    Parameters
    ----------
    path : str, bytes or Path
    max_pixels : int or None
        Refuse pictures of more than this many pixels, judged by the header, before anything is decoded. None: no limit.

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
    """As `read_image`, for the bytes of an image file in memory. Errors call it `name`."""
    data = data if isinstance(data, bytes) else bytes(memoryview(data))
    try:
        return _decode(data, max_pixels)
    except _Refused as refused:
        raise ImageError(printable(name), refused) from refused.__cause__


def read_bytes(path, *, max_pixels=MAX_PIXELS):
    """The bytes of an image file, once its first bytes look like one. Never waits: pipes and devices are refused.

    Raises
    ------
    ImageError
        When the file cannot be read, does not begin like an image of a supported format, or is far larger than an image
        of `max_pixels` can be.
    """
    try:
        return _read_bytes(path, max_pixels)
    except _Refused as refused:
        raise ImageError(printable(path), refused) from refused.__cause__
    except (OSError, ValueError) as error:  # ValueError: a name no file can have, such as one with a null character
        raise ImageError(printable(path), _why_unreadable(error, path)) from error


def printable(path):
    """A path as text that can be printed and stored anywhere: odd bytes and control characters become escapes."""
    text = os.fsdecode(path) if isinstance(path, (bytes, os.PathLike)) else str(path)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda odd: ascii(odd[0])[1:-1], text)


def _read_bytes(path, max_pixels):
    if not stat.S_ISREG(mode := os.stat(path).st_mode):
        raise _Refused(_not_regular(mode))
    with open(path, "rb", opener=_open_without_waiting) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):  # it was exchanged since
            raise _Refused(_not_regular(facts.st_mode))
        _format_of(file.read(_HEAD))
        if max_pixels is not None and facts.st_size > (limit := 8 * max_pixels + 2**26):  # 16-bit RGBA and metadata
            raise _Refused(
                f"too large: {facts.st_size:,} bytes, and {max_pixels:,} pixels take at most {limit:,}; check it"
            )
        file.seek(0)
        return file.read()


def _open_without_waiting(path, flags):
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _not_regular(mode):
    if stat.S_ISDIR(mode):
        return "is a folder, not an image file; images.find_images lists the images in a folder"
    return "not a regular file (a pipe, socket or device); give the name of an image file"


def _why_unreadable(error, path):
    """The reason, with its remedy, why the operating system would not hand out the file."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT and os.path.islink(path):
        return f"broken link to {printable(os.readlink(path))}; put the file there or remove the link"
    reasons = {
        errno.ENOENT: "no such file; check the path",
        errno.ENOTDIR: "no such file: a part of its path is not a folder; check the path",
        errno.ELOOP: "loop of links: it leads back to itself; remove the link",
        errno.EACCES: "no permission to read it; change its permissions or its owner",
        errno.EPERM: "no permission to read it; change its permissions or its owner",
        errno.ENAMETOOLONG: "name too long for this system; shorten it",
    }
    if isinstance(error, ValueError):
        return f"no such file: no file can have this name ({error}); check the path"
    return reasons.get(number, f"cannot be read: {error.strerror or error}; check the disk")


def _decode(data, max_pixels):
    if not data:
        raise _Refused(_EMPTY)
    try:
        picture = _format_of(data[:_HEAD])(data, partial(_check_size, max_pixels))
        return _upright(picture.decode(), picture.orientation)
    except _Refused:
        raise
    except struct.error as error:  # a field lies behind the end
        raise _Refused(_TRUNCATED) from error
    except MemoryError as error:
        raise _Refused("too large: there is not enough memory to decode it; scale it down") from error
    except Exception as error:  # on damaged input Pillow raises anything: OSError, SyntaxError, KeyError, TypeError ...
        raise _why_undecodable(error) from error


def _check_size(max_pixels, width, height):
    if width <= 0 or height <= 0:
        raise _Refused(f"zero-sized: its header says {width} x {height} pixels; {_AGAIN}")
    if max_pixels is not None and width * height > max_pixels:
        raise _Refused(
            f"too large: {width} x {height} pixels, and the limit is {max_pixels:,}; "
            "scale it down, or raise max_pixels if you trust the file"
        )


def _why_undecodable(error):
    """The reason, with its remedy, of an error that Pillow raised."""
    if isinstance(error, Image.DecompressionBombError):
        return _Refused(f"too large: {error} Raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file")
    if isinstance(error, SyntaxError) and str(error) == str(error.__cause__):  # what Pillow makes of any error
        error = error.__cause__
    text = str(error)
    if re.search("truncated|not enough", text, re.IGNORECASE):
        return _Refused(_TRUNCATED)
    if not isinstance(error, (OSError, SyntaxError, ValueError)):  # a slip of the decoder; its text alone tells nothing
        return _corrupt(f"the decoder failed with {type(error).__name__} {text}")
    if re.search("unsupported|cannot handle|unknown pixel mode|not yet supported", text, re.IGNORECASE):
        return _unsupported(text)
    return _corrupt(text)


_TURNS = {  # EXIF 2.32, tag 0x0112: where the stored rows and columns belong in the upright picture
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}


def _upright(pixels, orientation):
    turn = _TURNS.get(orientation)
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


# ------------------------------------------------------------------------------------------ pixels to uint8 RGB


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
        When shape, type or range is another.
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


def _from_pillow(image):
    """uint8 RGB of a decoded Pillow image."""
    if image.mode == "F" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        return _grey(values if image.mode == "F" else values.astype(np.uint16))
    if image.mode == "I":
        raise _unsupported("32-bit or signed integers do not say which number is white")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return to_rgb_uint8(np.asarray(image if image.mode == mode else image.convert(mode)))


def _grey(values):
    try:
        return to_rgb_uint8(values)
    except DataError as error:
        raise _unsupported(error) from error


def _load(plugin, stream):
    """Decode with one Pillow plugin. `Image.open` would check against Pillow's global limit, and warn."""
    with _strict_pillow():
        image = plugin(stream)
        image.load()
    return image


_pillow_lock = threading.Lock()
_pillow_users = {"inside": 0, "setting": False}


@contextmanager
def _strict_pillow():
    """Make Pillow refuse truncated files, even if LOAD_TRUNCATED_IMAGES is set elsewhere; then put it back."""
    with _pillow_lock:
        if _pillow_users["inside"] == 0:
            _pillow_users["setting"] = ImageFile.LOAD_TRUNCATED_IMAGES
        _pillow_users["inside"] += 1
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        with _pillow_lock:
            _pillow_users["inside"] -= 1
            if _pillow_users["inside"] == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _pillow_users["setting"]


# ------------------------------------------------------------------- formats: check the structure, prepare decoding
# Each takes the bytes and `check(width, height)`, which it calls as soon as the header has told the size.


def _jpeg(data, check):
    """ISO/IEC 10918-1, annex B."""
    kept, frame, scans, interval, adobe, orientation = [data[:2]], None, 0, 0, False, 1
    for marker, start, end in _jpeg_segments(data):
        head = data[start + 4 : start + 18]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, 1)
            check(width, height)
            frame = marker
        elif marker == 0xDA:
            scans += 1
            _check_restarts(data, start, end, interval)
        elif marker == 0xDD:
            (interval,) = struct.unpack_from(">H", head)
        elif marker == 0xE1 and head.startswith(b"Exif\0\0"):
            orientation = _orientation(data[start + 10 : end])
            continue
        elif marker == 0xEE and head.startswith(b"Adobe"):
            adobe = True
        elif marker == 0xFE or marker >= 0xE0 and not head.startswith(b"JFIF\0"):
            continue
        kept.append(data[start:end])
    if frame is None or scans == 0:
        raise _corrupt("there is no picture in this JPEG")
    whole = b"".join(kept)
    if frame in (0xC0, 0xC1) and scans == 1:
        return _Picture(partial(_jpeg_pixels, _Watched(whole[:-2]), adobe), orientation)
    return _Picture(partial(_jpeg_pixels, io.BytesIO(whole), adobe), orientation)


_JPEG_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xfe])")
_JPEG_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_JPEG_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def _jpeg_segments(data):
    """Yield (marker, start, end) of each segment until the end-of-image marker. A scan includes its coded data."""
    position = 2
    while True:
        found = _JPEG_MARKER.match(data, position)
        if not found:
            at_end = not data[position:].strip(b"\xff")
            raise _Refused(_TRUNCATED) if at_end else _corrupt(f"no JPEG marker at byte {position}")
        marker, start = found[1][0], found.end() - 2
        if marker == 0xD9:
            yield marker, start, found.end()
            return
        (length,) = struct.unpack_from(">H", data, found.end())
        end = found.end() + length
        if length < 2 or end > len(data):
            raise _Refused(_TRUNCATED)
        if marker == 0xDA:
            if not (after := _JPEG_AFTER_SCAN.search(data, end)):
                raise _Refused(_TRUNCATED)
            end = after.start()
        yield marker, start, end
        position = end


def _check_restarts(data, start, end, interval):
    """Restart markers within a scan count 0 to 7 and again, and only stand where an interval was declared."""
    numbers = [number[0] & 7 for number in _JPEG_RESTART.findall(data, start, end)]
    if numbers and interval == 0 or any(number != i % 8 for i, number in enumerate(numbers)):
        raise _corrupt("restart markers out of order")


class _Watched(io.BytesIO):
    """A sequential JPEG without its end marker, served in two parts, to learn how much of it the decoder needs.

    libjpeg takes damaged data for a picture and only counts warnings that Pillow does not show. But its decoder asks
    for more bytes until the last block is complete. So coded data that are right need their last byte, and need nothing
    after it but filling: `last_byte_was_read` tells the first, and Pillow's error at the end of the stream the second.
    """

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


def _jpeg_pixels(stream, adobe):
    try:
        image = _load(JpegImageFile, stream)
    except OSError as error:
        if "truncated" in str(error):  # the end marker is there, else it would not have come so far
            raise _corrupt("damaged or truncated inside: its coded data end before the picture does") from error
        raise
    if not getattr(stream, "last_byte_was_read", True):
        raise _corrupt("it holds more coded data than the picture needs")
    if image.mode == "CMYK" and not adobe:  # Pillow takes every CMYK JPEG for an inverted one
        image = ImageChops.invert(image)
    return _from_pillow(image)


def _png(data, check):
    """ISO/IEC 15948: chunks of length, kind, data and CRC."""
    view, kept, pixels, orientation, position, kind = memoryview(data), [data[:8]], [], 1, 8, None
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if position == 8:
            if kind != b"IHDR" or length != 13:
                raise _corrupt("the first chunk of this PNG is not its header")
            width, height, depth = struct.unpack_from(">IIB", data, 16)
            check(width, height)
        if end > len(data):
            raise _Refused(_TRUNCATED)
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise _corrupt(f"the checksum of PNG chunk {kind!r} is wrong")
        if kind in (b"IHDR", b"PLTE", b"tRNS"):
            kept.append(view[position:end])
        elif kind == b"IDAT":
            pixels.append(view[position + 8 : end - 4])
        elif kind == b"eXIf":
            orientation = _orientation(data[position + 8 : end - 4])
        position = end
    if not pixels:
        raise _corrupt("there is no picture in this PNG")
    # Without the checksum at its end the stream never ends for the decoder, so it cannot end before the picture does:
    # Pillow would leave the missing rows black.
    stream = b"".join(pixels)[:-4]
    kept += [struct.pack(">I4s", len(stream), b"IDAT"), stream, bytes(4), struct.pack(">I4sI", 0, b"IEND", 0xAE426082)]
    return _Picture(partial(_png_pixels, b"".join(kept), depth), orientation)


def _png_pixels(data, depth):
    image = _load(PngImageFile, io.BytesIO(data))
    key = image.info.get("transparency")
    if key is None or isinstance(key, bytes) or image.mode == "P":
        return _from_pillow(image)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        return to_rgb_uint8(np.dstack([values, np.where(values == key, 0, 65535).astype(np.uint16)]))
    if depth != 8:  # the file gives the transparent colour at its own depth, Pillow the pixels at 8 bits
        scaled = [value >> 8 if depth == 16 else value * 255 // (2**depth - 1) for value in np.atleast_1d(key).tolist()]
        image.info["transparency"] = tuple(scaled) if isinstance(key, tuple) else scaled[0]
    return _from_pillow(image)


def _gif(data, check):
    """GIF89a specification: screen, colour table, then blocks until the trailer."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    head, control, frame = data[:position], b"", None
    while (kind := data[position : position + 1]) != b";":
        start = position
        if kind == b"!":
            position = _gif_end_of_blocks(data, position + 2)
            if frame is None and data[start + 1 : start + 2] == b"\xf9":
                control = data[start:position]
        elif kind == b",":
            left, top, across, down, flags = struct.unpack_from("<4HB", data, position + 1)
            table = 3 << (flags & 7) + 1 if flags & 0x80 else 0
            if frame is None:
                width, height = max(width, left + across), max(height, top + down)
                check(width, height)
            position = _gif_end_of_blocks(data, position + 11 + table)
            frame = frame or data[start:position]
        else:
            raise _corrupt(f"no GIF block at byte {position}") if kind else _Refused(_TRUNCATED)
    if frame is None:
        raise _corrupt("there is no picture in this GIF")
    head = head[:6] + struct.pack("<HH", width, height) + head[10:]
    return _Picture(lambda: _from_pillow(_load(GifImageFile, io.BytesIO(head + control + frame + b";"))))


def _gif_end_of_blocks(data, position):
    while True:
        (length,) = struct.unpack_from("B", data, position)
        position += 1 + length
        if length == 0:
            return position


def _bmp(data, check):
    """Windows bitmap, or OS/2 bitmap of the first version with its 12-byte header."""
    old = data[14] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    if width < 0:
        raise _corrupt(f"the header of this BMP says a width of {width}")
    check(width, abs(height))
    if not old and struct.unpack_from("<I", data, 30)[0] == 0:  # not compressed: rows of whole 4 bytes
        (offset,), (bits,) = struct.unpack_from("<I", data, 10), struct.unpack_from("<H", data, 28)
        if offset + (width * bits + 31) // 32 * 4 * abs(height) > len(data):
            raise _Refused(_TRUNCATED)
    return _Picture(lambda: _from_pillow(_load(BmpImageFile, io.BytesIO(data))))


def _webp(data, check):
    """RFC 9649: a RIFF container."""
    (size,) = struct.unpack_from("<I", data, 4)
    if 8 + size > len(data):
        raise _Refused(_TRUNCATED)
    position, orientation, seen = 12, 1, False
    while position < 8 + size:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if body + length > 8 + size:
            raise _corrupt(f"WebP chunk {kind!r} is longer than its file")
        if not seen and kind in _WEBP_SIZES:
            check(*_WEBP_SIZES[kind](data, body))
            seen = True
        elif kind == b"EXIF":
            orientation = _orientation(data[body : body + length].removeprefix(b"Exif\0\0"))
        position = body + length + length % 2
    if not seen:
        raise _corrupt("there is no picture in this WebP")
    return _Picture(lambda: _from_pillow(_load(WebPImageFile, io.BytesIO(data[: 8 + size]))), orientation)


def _webp_lossy_size(data, body):
    width, height = struct.unpack_from("<HH", data, body + 6)
    return width & 0x3FFF, height & 0x3FFF


def _webp_lossless_size(data, body):
    (bits,) = struct.unpack_from("<I", data, body + 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _webp_canvas_size(data, body):
    low, high = struct.unpack_from("<IH", data, body + 4)
    return (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1


_WEBP_SIZES = {b"VP8 ": _webp_lossy_size, b"VP8L": _webp_lossless_size, b"VP8X": _webp_canvas_size}


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_SINGLE = {254, 256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323}
_TIFF_KEPT = _TIFF_SINGLE | {258, 273, 279, 320, 324, 325, 338, 339, 347, 529, 530, 531, 532}
_TIFF_COMPRESSIONS = {1, 5, 7, 8, 32773, 32946}  # none, LZW, JPEG, Deflate, PackBits, Deflate by its old number


def _tiff(data, check):
    """TIFF 6.0. Pillow gets a new directory of the entries that decide pixels, put behind the file."""
    order, entries, end = _tiff_directory(data, _TIFF_KEPT | {274})
    struct.unpack_from("I", data, end)  # the place of the next directory
    tags = {tag: values for tag, (_, values) in entries.items() if values}
    if any(len(entries[tag][1]) != 1 for tag in _TIFF_SINGLE & entries.keys()) or not {256, 257} <= tags.keys():
        raise _corrupt("the directory of this TIFF is damaged")
    (width,), (height,), photometric = tags[256], tags[257], tags.get(262, (1,))[0]
    check(width, height)
    _check_tiff_data(data, tags, width * height)
    directory = [entries[tag][0] for tag in sorted(entries) if tag in _TIFF_KEPT - {254}]
    body = data[8:] + b"\0" * (len(data) % 2)
    head = data[:4] + struct.pack(f"{order}I", 8 + len(body))
    tail = struct.pack(f"{order}H", len(directory)) + b"".join(directory) + bytes(4)
    depth = tags.get(258, (1,))[0]
    return _Picture(partial(_tiff_pixels, head + body + tail, depth, photometric == 0), _first_valid(tags.get(274)))


def _tiff_directory(data, wanted):
    """(byte order, {tag: (its 12 bytes, its integers)}, end) of the first directory. struct.error if it is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise struct.error("no TIFF header")
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    found, total, end = {}, 0, start + 2 + 12 * count
    if end > len(data):
        raise struct.error("directory behind the end")
    for at in range(start + 2, end, 12):
        tag, kind, n = struct.unpack_from(f"{order}HHI", data, at)
        if tag not in wanted or tag in found:
            continue
        size = _TIFF_SIZES.get(kind, 1) * n
        place = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        total += size
        if place + size > len(data) or total > len(data):
            raise struct.error("tag data behind the end")
        code = {1: "B", 3: "H", 4: "I"}.get(kind)
        values = struct.unpack_from(f"{order}{n}{code}", data, place) if code else ()
        found[tag] = data[at : at + 12], values
    return order, found, end


def _check_tiff_data(data, tags, pixels):
    """Every strip or tile lies inside the file; layouts that Pillow would take for another are refused."""
    if tags.get(259, (1,))[0] not in _TIFF_COMPRESSIONS:
        raise _unsupported(f"TIFF of compression {tags[259][0]}")
    if tags.get(254, (0,))[0] & 1:
        raise _unsupported("its first picture is a reduced copy, as in camera raw files")
    if len(tags.get(258, ())) > 6 or tags.get(277, (1,))[0] > 6:
        raise _unsupported("TIFF with more than 6 samples per pixel")
    if tags.get(284, (1,))[0] == 2 and set(tags.get(258, ())) != {8} and len(tags.get(258, ())) > 1:
        raise _unsupported("TIFF with one plane per colour at more than 8 bits")
    if tags.get(322, (0,))[0] * tags.get(323, (0,))[0] > max(4 * pixels, 2**20):
        raise _corrupt("the tiles of this TIFF are far larger than its picture")
    _check_tiff_layout(tags)
    budget = 64 * max(pixels, 2**20)
    for places, sizes in ((273, 279), (324, 325)):
        for place, size in zip(tags.get(places, ()), tags.get(sizes, ()), strict=False):
            if place + size > len(data):
                raise _Refused(_TRUNCATED)
            if tags.get(259) in ((8,), (32946,)):
                budget = _check_deflate(data[place : place + size], budget)


def _check_tiff_layout(tags):
    """The strips or tiles, and their bytes, suffice for the whole picture. Pillow leaves what is missing black."""
    (width,), (height,), bits = tags[256], tags[257], tags.get(258, (1,))
    across, down = tags.get(322, (width,))[0], tags.get(323, tags.get(278, (height,)))[0]
    if not across or not down:
        raise _corrupt("the strips of this TIFF have no size")
    planes = tags.get(277, (1,))[0] if tags.get(284) == (2,) else 1
    count = len(tags.get(324, tags.get(273, ())))
    size = (width * sum(bits) + 7) // 8 * height
    if count < -(-width // across) * -(-height // down) * planes:
        raise _Refused(_TRUNCATED)
    if tags.get(259, (1,)) == (1,) and sum(tags.get(325, tags.get(279, (size,)))) < size:
        raise _Refused(_TRUNCATED)


def _check_deflate(stream, budget):
    """Check one stream: libtiff skips its checksum and writes errors to the terminal. Returns the rest of `budget`."""
    engine = zlib.decompressobj()
    try:
        while not engine.eof:
            out = len(engine.decompress(stream, 2**20))
            stream, budget = engine.unconsumed_tail, budget - out
            if budget < 0 or out == 0 and not engine.eof and not stream:
                raise _corrupt("its Deflate data do not fit its size")
    except zlib.error as error:
        raise _corrupt(f"its Deflate data: {error}") from error
    return budget


def _tiff_pixels(data, depth, white_is_zero):
    with _strict_pillow():
        image = TiffImageFile(io.BytesIO(data))
        image.im = Image.new(image.mode, image.size).im  # else Pillow checks its global limit again, and warns
        image.load()
    if not image.mode.startswith(("I;16", "F")):
        return _from_pillow(image)
    values = np.asarray(image)
    if depth == 12:  # Pillow gives 0..4095
        values = values << 4
    pixels = _grey(values if image.mode == "F" else values.astype(np.uint16))
    return 255 - pixels if white_is_zero else pixels


def _orientation(exif):
    """The EXIF orientation, 1 to 8; 1 (upright) where it is missing or the EXIF block is damaged."""
    try:
        return _first_valid(_tiff_directory(exif, {274})[1].get(274, (b"", ()))[1])
    except struct.error:
        return 1


def _first_valid(values):
    return values[0] if values and 1 <= values[0] <= 8 else 1


_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM_BITS = re.compile(rb"P[14]" + _SPACE + rb"(\d{1,10})" + _SPACE + rb"(\d{1,10})\s")
_PNM_SAMPLES = re.compile(rb"P[2356]" + _SPACE + rb"(\d{1,10})" + _SPACE + rb"(\d{1,10})" + _SPACE + rb"(\d{1,10})\s")


def _pnm(data, check):
    """Netpbm's PBM, PGM and PPM, plain (P1 to P3) and raw (P4 to P6), with any largest value up to 65535."""
    bits, plain, channels = data[1:2] in b"14", data[1:2] in b"123", 3 if data[1:2] in b"36" else 1
    header = (_PNM_BITS if bits else _PNM_SAMPLES).match(data)
    if not header:
        raise _corrupt("its PNM header is damaged or incomplete")
    width, height, largest = (*map(int, header.groups()), 1)[:3]
    check(width, height)
    if not 1 <= largest <= 65535:
        raise _corrupt(f"its header says a largest value of {largest}")
    shape = height, width, channels
    if bits:
        return _Picture(lambda: to_rgb_uint8(_pbm_white(data, header.end(), shape, plain)))
    return _Picture(lambda: to_rgb_uint8(_pnm_samples(data, header.end(), shape, plain, largest)))


def _pbm_white(data, start, shape, plain):
    height, width, _ = shape
    if plain:
        digits = np.frombuffer(_without_comments(data[start:]).translate(None, b" \t\n\v\f\r"), np.uint8)
        black = _exactly(digits, height * width).reshape(height, width) - ord("0")
    else:
        row = (width + 7) // 8
        packed = _exactly(np.frombuffer(data, np.uint8, offset=start), height * row).reshape(height, row)
        black = np.unpackbits(packed, axis=1, count=width)
    if black.max() > 1:
        raise _corrupt("it holds other digits than 0 and 1")
    return black == 0


def _pnm_samples(data, start, shape, plain, largest):
    if plain:
        text = _without_comments(data[start:]).strip()
        if not re.fullmatch(rb"[\d\s]*", text):
            raise _corrupt("it holds something else than numbers")
        values = np.fromstring(text.decode(), np.float64, sep=" ")
    else:
        kind = np.dtype(np.uint8 if largest < 256 else ">u2")
        values = np.frombuffer(data, kind, count=(len(data) - start) // kind.itemsize, offset=start)
    values = _exactly(values, np.prod(shape)).reshape(shape)
    if values.max() > largest:
        raise _corrupt(f"it holds a value above its declared largest, {largest}")
    scaled = np.rint(np.arange(largest + 1) / largest * 255).astype(np.uint8)
    return scaled[values.astype(np.uint16, copy=False)]


def _without_comments(text):
    return re.sub(rb"#[^\r\n]*", b"", text)


def _exactly(values, count):
    if len(values) < count:
        raise _Refused(_TRUNCATED)
    return values[:count]


# ------------------------------------------------------------------------------------- what kind of file is it

_HEAD = 4096
_EMPTY = f"is empty (0 bytes); {_AGAIN}"

_FORMATS = [
    (re.compile(pattern, re.DOTALL), reader)
    for pattern, reader in (
        (rb"\xff\xd8\xff", _jpeg),
        (rb"\x89PNG\r\n\x1a\n", _png),
        (rb"GIF8[79]a", _gif),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", _bmp),
        (rb"RIFF.{4}WEBP", _webp),
        (rb"II\*\0|MM\0\*", _tiff),
        (rb"P[1-6][\s#]", _pnm),
    )
]

_OTHERS = [  # what people have in place of an image, and what then helps
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), reason)
    for pattern, reason in (
        (rb".{4}ftyp(hei|hev|mif1|msf1)", str(_unsupported("HEIC"))),
        (rb".{4}ftypavi", str(_unsupported("AVIF"))),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", str(_unsupported("JPEG 2000"))),
        (rb"\0\0\0\x0cJXL |\xff\x0a", str(_unsupported("JPEG XL"))),
        (rb"II\+\0|MM\0\+", str(_unsupported("BigTIFF"))),
        (rb"P[F7]\s", str(_unsupported("PFM or PAM"))),
        (rb"8BPS", str(_unsupported("Photoshop"))),
        (rb"\0\0\x01\0", str(_unsupported("icon"))),
        (rb"\x76\x2f\x31\x01", str(_unsupported("OpenEXR"))),
        (rb"%PDF", str(_unsupported("PDF"))),
        (rb"\s*(<\?xml.*)?<svg", str(_unsupported("SVG"))),
        (rb".{4}ftyp|RIFF.{4}AVI ", "not an image: a video; save single frames of it as PNG or JPEG"),
        (rb"\x93NUMPY", "not an image: a NumPy array; numpy.load reads it, images.to_rgb_uint8 makes it RGB"),
        (rb"PK\x03\x04|\x1f\x8b", "not an image: an archive; unpack it"),
        (rb"version https://git-lfs", "not an image: a Git LFS pointer to one; fetch the file with: git lfs pull"),
        (rb"\s*(<!doctype html|<html)", "not an image: a web page, so a download failed; download the file again"),
        (rb"\0+\Z", f"not an image: it begins with zero bytes only, so a copy failed; {_AGAIN}"),
        (rb"[\t\n\r -~]+\Z", "not an image: it holds text; check the path"),
    )
]


def _format_of(head):
    """The function that reads files which begin like this."""
    for pattern, reader in _FORMATS:
        if pattern.match(head):
            return reader
    for pattern, reason in _OTHERS:
        if pattern.match(head):
            raise _Refused(reason)
    if not head:
        raise _Refused(_EMPTY)
    raise _Refused(f"not an image, or of an unsupported format: its content is unknown; check it or {_CONVERT}")


# -------------------------------------------------------------------------------------------------- folders


class Found(NamedTuple):
    """The image files of a folder.

    `paths`: list of Path, sorted. `skipped`: DataFrame with one row for everything else that was met, columns `path`
    (as `printable` gives it) and `reason`, sorted likewise.
    """

    paths: list[Path]
    skipped: pd.DataFrame


def find_images(folder, *, suffixes=SUFFIXES):
    """List the image files in a folder and below, by suffix, without opening any.

    The order is plain: by the path relative to the folder, written with "/", compared character by character, as
    `LC_ALL=C sort` does on every machine ("10.png" stands before "2.png"). Links to files inside the folder count as
    files. Links that lead out of it are not followed, nor are links to folders: what they show inside the folder is
    found in its own place. Names that begin with a dot are hidden and left out.

    Parameters
    ----------
    folder : str, bytes or Path
    suffixes : sequence of str
        With or without their dot, in either case.

    Returns
    -------
    Found
        Everything met is either in `paths` or in `skipped`. An empty folder gives an empty result.

    Raises
    ------
    DataError
        When the folder is missing, is no folder, or cannot be listed.
    """
    folder, wanted = Path(os.fsdecode(folder)), _dotted(suffixes)
    try:
        root = folder.resolve(strict=True)
        top = _entries(folder)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise DataError(f"{printable(folder)}: {_why_not_listed(error, folder)}") from error
    paths, skipped, waiting = [], [], [(folder, top)]
    while waiting:
        current, entries = waiting.pop()
        for entry in entries:
            path = current / entry.name
            try:
                reason = _why_skipped(entry, root, wanted)
                if reason is None and entry.is_dir(follow_symlinks=False):
                    waiting.append((path, _entries(path)))
                elif reason is None:
                    paths.append(path)
            except OSError as error:
                reason = _why_unreadable(error, path)
            if reason is not None:
                skipped.append((path, reason))

    def place(path):
        return path.relative_to(folder).as_posix()

    rows = [(printable(path), reason) for path, reason in sorted(skipped, key=lambda row: place(row[0]))]
    return Found(sorted(paths, key=place), pd.DataFrame(rows, columns=["path", "reason"], dtype="str"))


def _dotted(suffixes):
    suffixes = [suffixes] if isinstance(suffixes, str) else suffixes
    return {"." + suffix.lower().removeprefix(".") for suffix in suffixes}


def _entries(folder):
    with os.scandir(folder) as entries:
        return list(entries)


def _why_not_listed(error, folder):
    if isinstance(error, NotADirectoryError) and os.path.exists(folder):
        return "is not a folder; images.read_image reads a single file"
    if isinstance(error, RuntimeError):
        error = OSError(errno.ELOOP, str(error))
    return _why_unreadable(error, folder).replace("such file", "such folder")


def _why_skipped(entry, root, wanted):
    """Why `find_images` leaves an entry out; None for an image file, and for a folder to walk into."""
    if entry.name.startswith("."):
        return "hidden: its name begins with a dot; rename it to use it"
    if entry.is_symlink():
        target = os.path.realpath(entry.path, strict=True)
        if not Path(target).is_relative_to(root):
            return f"link that leads out of the folder, to {printable(target)}; copy what it shows into the folder"
        if os.path.isdir(target):
            return "link to a folder; its images are found in their own place"
    elif getattr(entry, "is_junction", bool)():  # Windows, Python 3.12
        return "link to a folder; put the folder itself here"
    elif entry.is_dir():
        return None
    if not entry.is_file():
        return _not_regular(entry.stat().st_mode)
    if (suffix := Path(entry.name).suffix.lower()) not in wanted:
        return f"not an image by its suffix, {printable(suffix)}" if suffix else "not an image: it has no suffix"
    return None


# -------------------------------------------------------------------------------------------------- writing

_WRITERS = {
    ".jpg": ("JPEG", {"subsampling": 0}),
    ".jpeg": ("JPEG", {"subsampling": 0}),
    ".png": ("PNG", {}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".webp": ("WEBP", {}),
    ".ppm": ("PPM", {}),
}


def write_image(path, rgb, quality=95):
    """Write an image, whole or not at all, in the format its suffix names: JPEG, PNG, BMP, TIFF, WebP or PPM.

    Parameters
    ----------
    path : str or Path
        Missing folders are made. An existing file is replaced.
    rgb : array (H, W, 3) uint8
    quality : int, 1 to 100
        Of JPEG (written with full colour resolution, 4:4:4) and WebP; the other formats lose nothing.

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
    if path.suffix.lower() not in _WRITERS:
        known = " ".join(_WRITERS)
        raise ImageError(printable(path), f"no format to write is known by suffix {path.suffix!r}; use one of {known}")
    form, options = _WRITERS[path.suffix.lower()]
    if form in ("JPEG", "WEBP"):
        options = {**options, "quality": quality}
    try:
        with whole_file(path) as temporary:
            Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, format=form, **options)
    except (OSError, ValueError) as error:
        raise ImageError(
            printable(path), f"could not be written as {form}: {error}; check its folder and size"
        ) from error
    return path
