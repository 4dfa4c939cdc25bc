"""Image files: read any of them as uint8 RGB, find them in folders, write them.

This is the only place in the library that decodes image files. Pillow does the decoding. What a file is read as:

- The content decides the format, never the suffix: JPEG, PNG, GIF (first frame), BMP, TIFF (first page), WebP (first
  frame) and PBM/PGM/PPM.
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

import errno
import io
import os
import re
import struct
import threading
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageChops, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import DataError, ImageError
from ..files import whole_file

MAX_PIXELS = 100_000_000
"""Largest width x height that is decoded unless the caller asks for more."""

SUFFIXES = tuple(".jpg .jpeg .jpe .jfif .mpo .png .gif .bmp .dib .tif .tiff .webp .pbm .pgm .ppm .pnm".split())
"""What `find_images` takes for an image file (in either case)."""

_AGAIN = "copy or download it again"
_CONVERT = "convert it to PNG or JPEG"
_TRUNCATED = f"truncated: it ends before the picture does; {_AGAIN}"
_NOT_REGULAR = "not a regular file (a pipe, socket or device); give the name of an image file"


class _Refused(Exception):
    """Why some bytes are no usable picture. Becomes an `ImageError` where the name of the file is known."""


def _corrupt(what):
    return _Refused(f"corrupt: {what}; {_AGAIN}")


def _unsupported(what):
    return _Refused(f"unsupported format: {what}; {_CONVERT}")


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
    except _Refused as refused:
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
            raise _Refused("is a folder, not an image file; images.find_images lists the images in a folder")
        if os.path.exists(path) and not os.path.isfile(path):
            raise _Refused(_NOT_REGULAR)
        with open(path, "rb") as file:
            _plugin_for(file.read(_HEAD))
            size = file.seek(0, os.SEEK_END)
            if max_pixels is not None and size > (limit := 8 * max_pixels + 2**26):  # 16-bit RGBA and metadata
                raise _Refused(f"too large: {size:,} bytes, and {max_pixels:,} pixels take at most {limit:,}; check it")
            file.seek(0)
            return file.read()
    except _Refused as refused:
        raise ImageError(printable(path), refused) from refused.__cause__
    except (OSError, ValueError) as error:  # ValueError: a name no file can have, such as one with a null character
        raise ImageError(printable(path), _why_unreadable(error, path)) from error


def printable(path):
    """A path as text that can be printed and stored anywhere: odd bytes and control characters become escapes."""
    text = os.fsdecode(path) if isinstance(path, (bytes, os.PathLike)) else str(path)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda odd: ascii(odd[0])[1:-1], text)


def _why_unreadable(error, path):
    """The reason, with its remedy, why the operating system refused to read a file."""
    if isinstance(error, ValueError):
        return f"no such file: no file can have this name ({error}); check the path"
    if error.errno == errno.ENOENT and os.path.islink(path):
        return f"broken link to {printable(os.readlink(path))}; put the file there or remove the link"
    reasons = {
        errno.ENOENT: "no such file; check the path",
        errno.ENOTDIR: "no such file: a part of its path is not a folder; check the path",
        errno.ELOOP: "loop of links: it leads back to itself; remove the link",
        errno.EACCES: "no permission to read it; change its permissions or its owner",
        errno.EPERM: "no permission to read it; change its permissions or its owner",
        errno.ENAMETOOLONG: "name too long for this system; shorten it",
    }
    return reasons.get(error.errno, f"cannot be read: {error.strerror or error}; check the disk")


def _decode(data, max_pixels):
    plugin = _plugin_for(data[:_HEAD])
    try:
        if plugin is PngImageFile:
            data = _checked_png(data)
        with _strict_pillow():
            stream = io.BytesIO(data)
            image = plugin(stream)  # reads the header only
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise _Refused(
                    f"too large: {image.width} x {image.height} pixels, and the limit is {max_pixels:,}; "
                    "scale it down, or raise max_pixels if you trust the file"
                )
            if plugin is TiffImageFile:
                _check_tiff(image)
            if plugin is JpegImageFile:
                _check_jpeg(image, data, stream.tell())
            image.load()
            return _upright(_rgb_of(image), image.info.get("exif"))
    except _Refused:
        raise
    except DataError as error:  # of `to_rgb_uint8`
        raise _unsupported(error) from error
    except MemoryError as error:
        raise _Refused("too large: there is not enough memory to decode it; scale it down") from error
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
        return _Refused(_TRUNCATED)
    if re.search("could not create decoder|Missing dimensions", text):
        return _Refused(f"truncated or corrupt: the decoder found no picture; {_AGAIN}")
    if "not identified by this driver" in text:
        return _Refused(f"zero-sized or corrupt: its header gives no usable size; {_AGAIN}")
    if re.search("unsupported|cannot handle|unknown pixel mode|not yet supported", text, re.I):
        return _unsupported(text)
    if not isinstance(error, (OSError, SyntaxError, ValueError)):  # a slip of the decoder: its text alone says nothing
        text = f"the decoder failed with {type(error).__name__} {text}"
    return _corrupt(text)


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
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return np.array(ImageOps.exif_transpose(image))


# -------------------------------------------------------------------------- what Pillow alone would not notice


def _checked_png(data):
    """The same PNG (ISO/IEC 15948) with only the chunks that decide pixels, once all checksums are found right."""
    kept, pixels, position, kind = [data[:8]], [], 8, None
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _Refused(_TRUNCATED)
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise _corrupt(f"the checksum of PNG chunk {kind!r} is wrong")
        if kind == b"tRNS" and data[24] != 8 and data[25] != 3:
            raise _unsupported(f"PNG of {data[24]} bits with a transparent colour")
        if kind == b"IDAT":
            pixels.append(data[position + 8 : end - 4])
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf"):
            kept.append(data[position:end])
        position = end
    if not pixels:
        raise _corrupt("there is no picture in this PNG")
    # Without the checksum at its end the stream never ends for the decoder, so it cannot end before the picture does:
    # Pillow would leave the missing rows black.
    return b"".join([*kept, _png_chunk(b"IDAT", b"".join(pixels)[:-4]), _png_chunk(b"IEND", b"")])


def _png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _check_tiff(image):
    """Refuse a TIFF, of which only the header is read so far, that Pillow would read wrongly."""
    areas = [(right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile]
    if sum(areas) < image.width * image.height:  # Pillow leaves strips or tiles that the file lacks black
        raise _Refused(_TRUNCATED)
    if image.tag_v2.get(254, 0) & 1:
        raise _unsupported("its first picture is a reduced copy, as in camera raw files")
    if image.tag_v2.get(284) == 2 and max(image.tag_v2.get(258, (1,))) > 8:
        raise _unsupported("TIFF with one plane per colour at more than 8 bits")


def _check_jpeg(image, data, start):
    """Decode a JPEG whose coded data begin at byte `start`, and refuse one that libjpeg would only warn about.

    libjpeg returns a picture for damaged data and counts warnings that Pillow does not show. But its decoder asks for
    more bytes until the last block is complete. So intact data of a JPEG with one scan need their last byte, and need
    nothing after it but filling. `_Watched` tells the first, and Pillow's error at the end of the stream the second.
    """
    end = _JPEG_AFTER_SCAN.search(data, start)
    if end is None:
        raise _Refused(_TRUNCATED)
    numbers = [number[0] & 7 for number in _JPEG_RESTART.findall(data, start, end.start())]
    if any(number != i % 8 for i, number in enumerate(numbers)):
        raise _corrupt("restart markers out of order")
    if not end[0].endswith(b"\xd9"):
        return  # several scans: these Pillow checks alone
    image.fp = stream = _Watched(data[: end.start()])
    try:
        image.load()
    except OSError as error:
        raise _corrupt("damaged or truncated inside: its coded data end before the picture does") from error
    if not stream.last_byte_was_read:
        raise _corrupt("it holds more coded data than the picture needs")


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
        raise _unsupported("32-bit or signed integers do not say which number is white")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for an inverted one
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return to_rgb_uint8(np.asarray(image if image.mode == mode else image.convert(mode)))


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


# ------------------------------------------------------------------------------------- what kind of file is it

_HEAD = 4096
_FORMATS = {
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG\r\n\x1a\n": PngImageFile,
    rb"GIF8[79]a": GifImageFile,
    rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0": BmpImageFile,
    rb"RIFF.{4}WEBP": WebPImageFile,
    rb"II\*\0|MM\0\*": TiffImageFile,
    rb"P[1-6][\s#]": PpmImageFile,
}
_OTHERS = {  # what people have in place of an image, and what then helps
    rb".{4}ftyp(hei|hev|mif1|msf1)": f"unsupported format: HEIC; {_CONVERT}",
    rb".{4}ftypavi": f"unsupported format: AVIF; {_CONVERT}",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": f"unsupported format: JPEG 2000; {_CONVERT}",
    rb"\0\0\0\x0cJXL |\xff\x0a": f"unsupported format: JPEG XL; {_CONVERT}",
    rb"II\+\0|MM\0\+": f"unsupported format: BigTIFF; {_CONVERT}",
    rb"8BPS": f"unsupported format: Photoshop; {_CONVERT}",
    rb"%PDF": f"unsupported format: PDF; {_CONVERT}",
    rb"\s*(<\?xml.*)?<svg": f"unsupported format: SVG; {_CONVERT}",
    rb".{4}ftyp|RIFF.{4}AVI ": "not an image: a video; save single frames of it as PNG or JPEG",
    rb"\x93NUMPY": "not an image: a NumPy array; numpy.load reads it, images.to_rgb_uint8 makes it RGB",
    rb"PK\x03\x04|\x1f\x8b": "not an image: an archive; unpack it",
    rb"version https://git-lfs": "not an image: a Git LFS pointer to one; fetch the file with: git lfs pull",
    rb"\s*(<!doctype html|<html)": "not an image: a web page, so a download failed; download the file again",
    rb"\0+\Z": f"not an image: it begins with zero bytes only, so a copy failed; {_AGAIN}",
    rb"[\t\n\r -~]+\Z": "not an image: it holds text; check the path",
}


def _plugin_for(head):
    """The Pillow class that reads files which begin like this. `_Refused` when there is none."""
    if not head:
        raise _Refused(f"is empty (0 bytes); {_AGAIN}")
    for pattern, plugin in _FORMATS.items():
        if re.match(pattern, head, re.DOTALL):
            return plugin
    for pattern, reason in _OTHERS.items():
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise _Refused(reason)
    raise _Refused(f"not an image, or of an unsupported format: its content is unknown; check it or {_CONVERT}")


# -------------------------------------------------------------------------------------------------- folders


class Found(NamedTuple):
    """The image files of a folder.

    Attributes
    ----------
    paths : list of Path
        The image files, sorted.
    skipped : DataFrame
        One row for everything else in the folder, sorted likewise: `path` (as `printable` gives it) and `reason`.
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
        Where to look.
    suffixes : str or sequence of str, default=SUFFIXES
        Which files are images. With or without their dot, in either case.

    Returns
    -------
    Found
        Everything in the folder is either in `paths` or in `skipped`. An empty folder gives an empty result.

    Raises
    ------
    DataError
        When the folder is missing, is no folder, or cannot be listed.
    """
    folder = Path(os.fsdecode(folder))
    suffixes = [suffixes] if isinstance(suffixes, str) else suffixes
    wanted = {"." + suffix.lower().removeprefix(".") for suffix in suffixes}
    try:
        os.scandir(folder).close()
    except (OSError, ValueError) as error:
        reason = _why_unreadable(error, folder).replace("such file", "such folder")
        if isinstance(error, NotADirectoryError) and folder.exists():
            reason = "is not a folder; images.read_image reads a single file"
        raise DataError(f"{printable(folder)}: {reason}") from error
    root = folder.resolve()
    paths, skipped, closed = [], [], []
    for current, subfolders, names in os.walk(folder, onerror=closed.append):
        for path in [Path(current, name) for name in subfolders + names]:
            try:
                reason = _why_skipped(path, root, wanted)
            except OSError as error:
                reason = _why_unreadable(error, path)
            if reason is not None:
                skipped.append((path, reason))
            elif not path.is_dir():
                paths.append(path)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    skipped += [(Path(error.filename), _why_unreadable(error, error.filename)) for error in closed]
    rows = [(printable(path), reason) for path, reason in sorted(skipped, key=lambda row: row[0].as_posix())]
    return Found(sorted(paths, key=Path.as_posix), pd.DataFrame(rows, columns=["path", "reason"], dtype="str"))


def _why_skipped(path, root, wanted):
    """Why `find_images` leaves a file or folder out; None for an image file, and for a folder to walk into."""
    if path.name.startswith("."):
        return "hidden: its name begins with a dot; rename it to use it"
    if path.is_symlink():
        target = os.path.realpath(path, strict=True)
        if not Path(target).is_relative_to(root):
            return f"link that leads out of the folder, to {printable(target)}; copy what it shows into the folder"
        if os.path.isdir(target):
            return "link to a folder; its images are found in their own place"
    elif getattr(path, "is_junction", bool)():  # Windows, Python 3.12
        return "link to a folder; put the folder itself here"
    elif path.is_dir():
        return None
    if not path.is_file():
        return _NOT_REGULAR
    if (suffix := path.suffix.lower()) not in wanted:
        return f"not an image by its suffix, {printable(suffix)}" if suffix else "not an image: it has no suffix"
    return None


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
