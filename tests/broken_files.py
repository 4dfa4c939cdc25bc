"""Files that are no usable picture, as people meet them, built by code. Used by the tests of images and of the CLI.

Also the small writers of single PNG and TIFF parts that the tests use to build pictures no library here can write.
"""

import io
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, features


def picture(height=90, width=75):
    """A picture with smooth parts, edges and no symmetry, the same on every machine: (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 3 % 256, y * 2 + x, 255 - y * 2], axis=-1)
    rgb[height // 5 : height // 2, width // 8 : width // 3] = (250, 40, 10)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def saved(image, form, **options):
    """The bytes of a file as Pillow writes it, from an array or a Pillow image."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind, body=b""):
    """One PNG chunk with its right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *extra):
    """A PNG. `colour`: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA. `rows`: packed bytes of each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return PNG + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND")


PNG = b"\x89PNG\r\n\x1a\n"


def tiff(order, tags, data):
    """A TIFF of one strip. `order`: "<" or ">". `tags`: {number: integer or tuple of them}; strip tags are added."""
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 273: 8, 279: len(data), **tags}
    start = 8 + len(data) + len(data) % 2
    entries, behind = [], b""
    place = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        values = values if isinstance(values, tuple) else (values,)
        kind, code = (3, "H") if max(values) < 65536 else (4, "I")
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        entry = struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed) <= 4:
            entries.append(entry + packed.ljust(4, b"\0"))
        else:
            entries.append(entry + struct.pack(f"{order}I", place + len(behind)))
            behind += packed
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", start)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return head + data.ljust(start - 8, b"\0") + directory + behind


def scan_of(jpeg):
    """(start, end) of the coded data of a JPEG with one scan."""
    start = jpeg.index(b"\xff\xda")
    return start + 2 + struct.unpack_from(">H", jpeg, start + 2)[0], jpeg.rindex(b"\xff\xd9")


def with_frame_size(jpeg, width, height):
    """A JPEG whose header says another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def _overwritten(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def _jpegs():
    whole = saved(picture(), "JPEG", quality=90)
    start, end = scan_of(whole)
    middle = (start + end) // 2
    noise = random.Random(1).randbytes(400)
    restarts = saved(picture(), "JPEG", restart_marker_rows=1)
    first = restarts.index(b"\xff\xd0")
    progressive = saved(picture(), "JPEG", progressive=True)
    return {
        "jpeg_half.jpg": (whole[: len(whole) // 2], "truncated"),
        "jpeg_header_only.jpg": (whole[:start], "truncated"),
        "jpeg_cut_in_header.jpg": (whole[:100], "truncated"),
        "jpeg_two_bytes_short.jpg": (whole[:-2], "truncated"),
        "jpeg_half_but_ended.jpg": (whole[:middle] + b"\xff\xd9", "truncated"),
        "jpeg_progressive_half.jpg": (progressive[: len(progressive) // 2], "truncated"),
        "jpeg_noise_inside.jpg": (_overwritten(whole, middle, noise), "corrupt"),
        "jpeg_zeros_inside.jpg": (_overwritten(whole, middle, bytes(400)), "corrupt"),
        "jpeg_copied_twice_inside.jpg": (whole[:middle] + whole[start:middle] + whole[middle:], "corrupt"),
        "jpeg_no_scan.jpg": (whole[: whole.index(b"\xff\xda")] + b"\xff\xd9", "truncated"),
        "jpeg_restarts_swapped.jpg": (_overwritten(restarts, first, b"\xff\xd3"), "corrupt"),
        "jpeg_no_width.jpg": (with_frame_size(whole, 0, 90), "zero-sized"),
        "jpeg_no_height.jpg": (with_frame_size(whole, 75, 0), "zero-sized"),
        "jpeg_bomb.jpg": (with_frame_size(whole, 65500, 65500), "too large"),
        "jpeg_12_bit.jpg": (_overwritten(whole, whole.index(b"\xff\xc0") + 4, b"\x0c"), "unsupported"),
    }


def _pngs():
    whole = saved(picture(), "PNG")
    plain = saved(picture(), "PNG", compress_level=0)  # where a changed pixel leaves everything but the checksums right
    at = plain.index(b"IDAT") + 5000
    row = bytes(75 * 3)
    header = struct.pack(">IIBBBBB", 75, 90, 8, 2, 0, 0, 0)
    few = zlib.compress(b"".join(b"\0" + row for _ in range(40)))
    damaged = bytearray(zlib.compress(random.Random(2).randbytes(90 * 226)))
    damaged[300:310] = bytes(10)
    begin = PNG + chunk(b"IHDR", header)
    return {
        "png_half.png": (whole[: len(whole) // 2], "truncated"),
        "png_no_end_chunk.png": (whole[:-12], "truncated"),
        "png_signature_only.png": (PNG, "truncated"),
        "png_wrong_checksum.png": (_overwritten(plain, at, bytes([plain[at] ^ 1])), "checksum"),
        "png_wrong_header_checksum.png": (_overwritten(whole, 29, b"\0\0\0\0"), "corrupt"),
        "png_no_header.png": (PNG + chunk(b"IDAT", few) + chunk(b"IEND"), "corrupt"),
        "png_no_data.png": (begin + chunk(b"IEND"), "corrupt"),
        "png_too_few_rows.png": (begin + chunk(b"IDAT", few) + chunk(b"IEND"), "truncated"),
        "png_damaged_stream.png": (begin + chunk(b"IDAT", bytes(damaged)) + chunk(b"IEND"), "corrupt"),
        "png_no_width.png": (png(0, 90, 8, 2, []), "zero-sized"),
        "png_bomb.png": (png(60000, 60000, 8, 2, [row]), "too large"),
        "png_16_bit_transparent_colour.png": (
            png(4, 1, 16, 0, [bytes(8)], chunk(b"tRNS", b"\0\0")),
            "unsupported",
        ),
        "png_4_bit_transparent_colour.png": (png(4, 1, 4, 0, [bytes(2)], chunk(b"tRNS", b"\0\0")), "unsupported"),
        "png_line_ends_translated.png": (whole.replace(b"\r\n", b"\n"), "not an image"),
    }


def _gifs():
    whole = saved(picture(), "GIF")
    at = whole.index(b",", 781)
    body = whole[:at] + whole[at : at + 11]
    return {
        "gif_half.gif": (whole[: len(whole) // 2], "truncated"),
        "gif_no_picture.gif": (whole[:at] + b";", "truncated"),
        "gif_damaged_codes.gif": (body + b"\x04\xff\xff\xff\xff\0;", "corrupt"),
        "gif_too_few_codes.gif": (body + whole[at + 11 : at + 11 + 256] + b"\0;", "truncated"),
        "gif_early_end.gif": (body + b"\x04" + _lzw(256, 5, 5, 257) + b"\0;", "truncated"),
        "gif_unknown_block.gif": (whole[:at] + b"?" + whole[at + 1 :], "truncated"),
        "gif_bomb.gif": (_overwritten(whole, 6, b"\xff\xff\xff\xff"), "too large"),
        "gif_bomb_frame.gif": (_overwritten(whole, at + 5, b"\xff\xff\xff\xff"), "too large"),
    }


def _lzw(*codes):
    """GIF codes of 9 bits each."""
    bits = sum(code << 9 * i for i, code in enumerate(codes))
    return bits.to_bytes((9 * len(codes) + 7) // 8, "little")


def _bmps():
    whole = saved(picture(), "BMP")
    return {
        "bmp_half.bmp": (whole[: len(whole) // 2], "truncated"),
        "bmp_header_only.bmp": (whole[:20], "truncated"),
        "bmp_no_height.bmp": (_overwritten(whole, 22, bytes(4)), "zero-sized"),
        "bmp_negative_width.bmp": (_overwritten(whole, 18, b"\xff\xff\xff\xff"), "too large"),
        "bmp_bomb.bmp": (_overwritten(whole, 18, b"\0\0\1\0\0\0\1\0"), "too large"),
        "bmp_unknown_compression.bmp": (_overwritten(whole, 30, b"\7\0\0\0"), "unsupported"),
    }


def _webps():
    lossy, lossless = saved(picture(), "WEBP"), saved(picture(), "WEBP", lossless=True)
    alpha = saved(np.dstack([picture(), picture()[..., 0]]), "WEBP")
    middle = len(lossless) // 2
    return {
        "webp_half.webp": (lossy[: len(lossy) // 2], "truncated"),
        "webp_damaged.webp": (_overwritten(lossless, middle, b"\xff" * 200), "corrupt"),
        "webp_no_picture.webp": (lossy[:12].replace(lossy[4:8], b"\4\0\0\0"), "corrupt"),
        "webp_huge_canvas.webp": (_overwritten(alpha, 24, b"\xff\xff\xff\xff\xff\xff"), "corrupt"),
    }


def _tiffs():
    whole = saved(picture(), "TIFF")
    deflated = saved(picture(), "TIFF", compression="tiff_adobe_deflate")
    values = np.linspace(0, 300, 90 * 75, dtype=np.float32).reshape(90, 75)
    missing = np.where(values > 100, np.nan, values / 300).astype(np.float32)
    grey = picture()[..., 0]
    return {
        "tiff_half.tif": (whole[: len(whole) // 2], "truncated"),
        "tiff_header_only.tif": (whole[:8], "truncated"),
        "tiff_directory_outside.tif": (_overwritten(whole, 4, b"\xff\xff\xff\x7f"), "truncated"),
        "tiff_strip_outside.tif": (tiff("<", {256: 90, 257: 75, 273: 10**6}, grey.tobytes()), "truncated"),
        "tiff_too_few_strips.tif": (tiff("<", {256: 90, 257: 75, 278: 10}, grey.tobytes()), "truncated"),
        "tiff_damaged_deflate.tif": (_overwritten(deflated, len(deflated) // 2, b"\xff" * 20), "corrupt"),
        "tiff_no_size.tif": (tiff("<", {256: 0}, b"\0"), "zero-sized"),
        "tiff_bomb.tif": (tiff("<", {256: 70000, 257: 70000}, b"\0"), "too large"),
        "tiff_float_range.tif": (saved(values, "TIFF"), "unsupported"),
        "tiff_not_a_number.tif": (saved(missing, "TIFF"), "unsupported"),
        "tiff_32_bit.tif": (saved(grey.astype(np.int32), "TIFF"), "unsupported"),
        "tiff_reduced_copy.tif": (tiff(">", {254: 1}, b"\0"), "unsupported"),
        "tiff_16_bit_planes.tif": (tiff("<", {258: (16,) * 3, 262: 2, 277: 3, 284: 2}, bytes(6)), "unsupported"),
        "tiff_big.tif": (b"II+\0\x08\0\0\0" + bytes(40), "unsupported"),
    }


def _pnms():
    grey = saved(picture()[..., 0], "PPM")
    return {
        "pgm_half.pgm": (grey[: len(grey) // 2], "truncated"),
        "pgm_header_only.pgm": (b"P5 75 90\n", "truncated"),
        "pgm_no_width.pgm": (b"P5 0 90 255\n", "zero-sized"),
        "pgm_bomb.pgm": (b"P5 99999 99999 255\n" + bytes(100), "too large"),
        "pgm_no_largest.pgm": (b"P5 2 2 0\n" + bytes(4), "corrupt"),
        "ppm_words.ppm": (b"P3 1 1 255\n1 two 3\n", "corrupt"),
        "ppm_too_few_numbers.ppm": (b"P3 1 1 255\n1 2\n", "truncated"),
        "pbm_wrong_digit.pbm": (b"P1 2 2\n0 1 2 0\n", "corrupt"),
    }


def _others():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a")
    array = io.BytesIO()
    np.save(array, picture())
    jpeg = saved(picture(), "JPEG")
    return {
        "empty.jpg": (b"", "empty"),
        "zeros.png": (bytes(5000), "zero bytes"),
        "one_byte.jpg": (b"\xff", "not an image"),
        "text.jpg": (b"This is not a picture.\n", "text"),
        "web_page.jpg": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "web page"),
        "lfs_pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        "archive.jpg": (packed.getvalue(), "archive"),
        "array.png": (array.getvalue(), "NumPy array"),
        "document.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        "drawing.png": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        "video.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        "newer.jpg": (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "truncated" if features.check("avif") else "AVIF"),
        "jpeg2000.jpg": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        "layers.png": (b"8BPS\0\1" + bytes(20), "Photoshop"),
        "unknown.jpg": (random.Random(3).randbytes(1000), "not an image"),
        "space in name.jpg": (jpeg[:500], "truncated"),
        "line\nbreak.jpg": (jpeg[:500], "truncated"),
        "x" * 200 + ".jpg": (jpeg[:500], "truncated"),
        "gr\u00fc\u00df\u4f60.jpg": (jpeg[:500], "truncated"),
    }


def make_broken_files(folder):
    """Fill a folder with files that must be refused, one or several of each kind.

    Parameters
    ----------
    folder : Path
        Is made if missing.

    Returns
    -------
    dict of str to str
        Name of each file -> a word that the reason for refusing it must contain. What this file system cannot hold
        (odd bytes, pipes, links) is left out.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for group in (_jpegs, _pngs, _gifs, _bmps, _webps, _tiffs, _pnms, _others):
        for name, (data, word) in group().items():
            expected |= _made(name, word, lambda name=name, data=data: (folder / name).write_bytes(data))
    odd = os.fsdecode(b"odd\xff\xfe.jpg")
    expected |= _made(odd, "truncated", lambda: (folder / odd).write_bytes(saved(picture(), "JPEG")[:500]))
    expected |= _made("huge.png", "too large", lambda: _write_sparse(folder / "huge.png", 2**36))
    expected |= _made("link_broken.jpg", "broken link", lambda: (folder / "link_broken.jpg").symlink_to("gone.jpg"))
    expected |= _made("link_loop.jpg", "loop of links", lambda: (folder / "link_loop.jpg").symlink_to("link_loop.jpg"))
    if hasattr(os, "mkfifo"):
        expected |= _made("pipe.jpg", "not a regular file", lambda: os.mkfifo(folder / "pipe.jpg"))
    return expected


def _made(name, word, make):
    try:
        make()
    except (OSError, UnicodeError):
        return {}
    return {name: word}


def _write_sparse(path, size):
    """A file that claims `size` bytes and takes none: the head of a good PNG, then zeros."""
    with open(path, "wb") as file:
        file.write(saved(picture(), "PNG")[:1000])
        file.truncate(size)
