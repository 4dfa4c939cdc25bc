"""What the first bytes of a file say it is, and the words for a file that is no usable picture. See `images`."""

from __future__ import annotations

import errno
import os
import re

from PIL import features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

AGAIN = "copy or download it again"
CONVERT = "convert it to PNG or JPEG"
TRUNCATED = f"truncated: it ends before the picture does; {AGAIN}"
NOT_REGULAR = "not a regular file (a pipe, socket or device); give the name of an image file"


class Refused(Exception):
    """Why some bytes are no usable picture. Becomes an `ImageError` where the name of the file is known."""


def corrupt(what):
    return Refused(f"corrupt: {what}; {AGAIN}")


def unsupported(what):
    return Refused(f"unsupported format: {what}; {CONVERT}")


def printable(path):
    """A path as text that can be printed and stored anywhere: odd bytes and control characters become escapes."""
    text = os.fsdecode(path) if isinstance(path, (bytes, os.PathLike)) else str(path)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda odd: ascii(odd[0])[1:-1], text)


def why_unreadable(error, path):
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


# ------------------------------------------------------------------------------------- what kind of file is it

HEAD = 4096
FORMATS = {
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG\r\n\x1a\n": PngImageFile,
    rb"GIF8[79]a": GifImageFile,
    rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0": BmpImageFile,
    rb"RIFF.{4}WEBP": WebPImageFile,
    rb"II\*\0|MM\0\*": TiffImageFile,
    rb"P[1-6][\s#]": PpmImageFile,
}
RAW_SUFFIXES = tuple(
    ".3fr .arw .cr2 .cr3 .dcr .dng .erf .iiq .kdc .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srw".split()
)
"""Suffixes of camera raw files."""
RAW = "camera raw: it has to be developed; export it as JPEG, or use the JPEG that the camera stored beside it"
_RAW_HEADS = rb"II\*\0.{4}CR|.{4}ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM"
_HEIF_HEADS = {rb".{4}ftyp(hei|hev|mif1|msf1)": "HEIC", rb".{4}ftypavi": "AVIF"}
OTHERS = {  # what people have in place of an image, and what then helps
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": f"unsupported format: JPEG 2000; {CONVERT}",
    rb"\0\0\0\x0cJXL |\xff\x0a": f"unsupported format: JPEG XL; {CONVERT}",
    rb"II\+\0|MM\0\+": f"unsupported format: BigTIFF; {CONVERT}",
    rb"8BPS": f"unsupported format: Photoshop; {CONVERT}",
    rb"%PDF": f"unsupported format: PDF; {CONVERT}",
    rb"\s*(<\?xml.*)?<svg": f"unsupported format: SVG; {CONVERT}",
    rb".{4}ftyp|RIFF.{4}AVI ": "not an image: a video; save single frames of it as PNG or JPEG",
    rb"\x93NUMPY": "not an image: a NumPy array; numpy.load reads it, images.to_rgb_uint8 makes it RGB",
    rb"PK\x03\x04|\x1f\x8b": "not an image: an archive; unpack it",
    rb"version https://git-lfs": "not an image: a Git LFS pointer to one; fetch the file with: git lfs pull",
    rb"\s*(<!doctype html|<html)": "not an image: a web page, so a download failed; download the file again",
    rb"\0+\Z": f"not an image: it begins with zero bytes only, so a copy failed; {AGAIN}",
    rb"[\t\n\r -~]+\Z": "not an image: it holds text; check the path",
}


def plugin_for(head):
    """The Pillow class that reads files which begin like this. `Refused` when there is none."""
    if not head:
        raise Refused(f"is empty (0 bytes); {AGAIN}")
    if re.match(_RAW_HEADS, head, re.DOTALL):
        raise Refused(RAW)
    for pattern, plugin in FORMATS.items():
        if re.match(pattern, head, re.DOTALL):
            return plugin
    for pattern, name in _HEIF_HEADS.items():
        if re.match(pattern, head, re.DOTALL):
            return _heif_plugin(name)
    for pattern, reason in OTHERS.items():
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise Refused(reason)
    raise Refused(f"not an image, or of an unsupported format: its content is unknown; check it or {CONVERT}")


def _heif_plugin(name):
    """The class that reads what phones write: Pillow itself reads AVIF where it was built so, pillow-heif HEIC."""
    if name == "AVIF" and features.check("avif"):
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile
    try:
        import pillow_heif
    except ImportError as error:
        remedy = "Pillow 11.3 or newer" if name == "AVIF" else "pillow-heif"
        raise Refused(f"unsupported format: {name}; install {remedy} to read it, or {CONVERT}") from error
    plugin = getattr(pillow_heif, "AvifImageFile" if name == "AVIF" else "HeifImageFile", None)
    if plugin is None:
        raise unsupported(name)
    return plugin
