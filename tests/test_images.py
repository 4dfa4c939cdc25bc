"""Every kind of good file reads to its pixels; every kind of broken one is refused by name; nothing else happens."""

import io
import os
import stat
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from broken_files import chunk, make_broken_files, picture, png, saved, scan_of, tiff
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import get_sampling

from fiqa_lib.errors import DataError, FiqaError, ImageError
from fiqa_lib.faces import images
from fiqa_lib.faces.images import (
    decode_image,
    find_images,
    printable,
    read_bytes,
    read_image,
    to_rgb_uint8,
    write_image,
)

RGB = picture()
GREY = RGB[..., 0].copy()
GREY3 = np.repeat(GREY[..., None], 3, axis=2)
WIDE = (RGB.astype(np.uint16) << 8) | np.random.default_rng(0).integers(0, 256, RGB.shape, dtype=np.uint16)
"""16-bit samples whose upper bytes are RGB."""
WHITE = np.where(RGB[..., :1] > 127, 255, 0).astype(np.uint8).repeat(3, axis=2)
"""Black and white."""
ALPHA = np.linspace(0, 255, GREY.size).round().astype(np.uint8).reshape(GREY.shape)


def over_white(rgb, alpha):
    weight = alpha[..., None] / 255
    return np.rint(rgb * weight + 255 * (1 - weight)).astype(np.uint8)


def palette_image(transparent=None):
    """A palette picture of 16 colours and, as a second result, its pixels."""
    colours = np.random.default_rng(1).integers(0, 256, (16, 3), dtype=np.uint8)
    index = (GREY >> 4).astype(np.uint8)
    image = Image.fromarray(index, mode=None).convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(colours.tobytes())
    pixels = colours[index]
    if transparent is not None:
        image.info["transparency"] = transparent
        pixels[index == transparent] = 255
    return image, pixels


def without_adobe_marker(jpeg):
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def tiff_of(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def encoded(suffix, bgr, *options):
    return cv2.imencode(suffix, bgr, options)[1].tobytes()


def packed_rows(values, depth):
    """Rows of `depth`-bit samples packed into bytes."""
    bits = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=-1)[..., -depth:]
    return list(np.packbits(bits.reshape(len(values), -1), axis=1))


def animation():
    """What makes Pillow write a second picture behind the first."""
    return {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def good_files():
    """{name: (bytes of a file, its pixels, largest difference allowed)}."""
    paletted, palette_pixels = palette_image()
    holed, holed_pixels = palette_image(transparent=3)
    cmyk = Image.fromarray(RGB).convert("CMYK")
    inverted = Image.fromarray(255 - np.asarray(cmyk), "CMYK")
    ink = np.asarray(cmyk).astype(float)
    cmyk_rgb = np.rint((255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255).astype(np.uint8)
    rgba, grey_alpha = np.dstack([RGB, ALPHA]), Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    seen, grey_seen = over_white(RGB, ALPHA), over_white(GREY3, ALPHA)
    bilevel = Image.fromarray(WHITE[..., 0]).convert("1", dither=Image.Dither.NONE)
    small = np.arange(16).reshape(4, 4)
    jpeg = saved(RGB, "JPEG", quality=95, subsampling=0)
    wide_rows = list(WIDE.astype(">u2").reshape(len(WIDE), -1).view(np.uint8))
    wide_grey = WIDE[..., 0]
    grey_rows = list(wide_grey.astype(">u2").view(np.uint8))
    pgm_largest_100 = np.rint(GREY3 // 3 / 100 * 255).astype(np.uint8)
    words = b" ".join(b"%d" % v for v in RGB.ravel())
    return {
        "jpeg": (jpeg, RGB, 20),
        "jpeg_grey": (saved(GREY, "JPEG", quality=95), GREY3, 20),
        "jpeg_progressive": (saved(RGB, "JPEG", quality=95, subsampling=0, progressive=True), RGB, 20),
        "jpeg_restart_markers": (saved(RGB, "JPEG", quality=95, subsampling=0, restart_marker_rows=1), RGB, 20),
        "jpeg_trailing_garbage": (jpeg + b"\0\xff\xd9garbage", RGB, 20),
        "jpeg_padded_scan": (jpeg[:-2] + bytes(100) + b"\xff\xff\xff\xd9", RGB, 20),
        "jpeg_fill_bytes": (jpeg[:2] + b"\xff\xff\xff" + jpeg[2:], RGB, 20),
        "jpeg_two_pictures": (saved(RGB, "MPO", quality=95, subsampling=0, **animation()), RGB, 20),
        "jpeg_cmyk_adobe": (saved(cmyk, "JPEG", quality=100, subsampling=0), RGB, 20),
        "jpeg_cmyk_plain": (without_adobe_marker(saved(inverted, "JPEG", quality=100, subsampling=0)), RGB, 20),
        "jpeg_damaged_exif": (saved(RGB, "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0MM\0*\xff\xff"), RGB, 20),
        "png": (saved(RGB, "PNG"), RGB, 0),
        "png_grey": (saved(GREY, "PNG"), GREY3, 0),
        "png_rgba": (saved(rgba, "PNG"), seen, 1),
        "png_grey_alpha": (saved(grey_alpha, "PNG"), grey_seen, 1),
        "png_palette": (saved(paletted, "PNG"), palette_pixels, 0),
        "png_palette_transparent": (saved(holed, "PNG"), holed_pixels, 0),
        "png_1_bit": (saved(bilevel, "PNG"), WHITE, 0),
        "png_2_bit": (png(4, 4, 2, 0, packed_rows(small % 4, 2)), (small % 4 * 85)[..., None].repeat(3, 2), 0),
        "png_4_bit": (png(4, 4, 4, 0, packed_rows(small, 4)), (small * 17)[..., None].repeat(3, 2), 0),
        "png_rgb_transparent": (
            saved(Image.fromarray(RGB), "PNG", transparency=tuple(RGB[5, 5].tolist())),
            np.where((RGB == RGB[5, 5]).all(axis=2, keepdims=True), 255, RGB).astype(np.uint8),
            0,
        ),
        "png_16_bit_grey": (png(75, 90, 16, 0, grey_rows), GREY3, 0),
        "png_16_bit_rgb": (png(75, 90, 16, 2, wide_rows), RGB, 0),
        "png_16_bit_rgb_by_opencv": (encoded(".png", WIDE[..., ::-1]), RGB, 0),
        "png_interlaced": (INTERLACED, np.arange(64, dtype=np.uint8).reshape(8, 8, 1).repeat(3, 2), 0),
        "png_animated": (saved(RGB, "PNG", **animation()), RGB, 0),
        "png_trailing_garbage": (saved(RGB, "PNG") + b"garbage", RGB, 0),
        "png_text_bomb": (with_text(saved(RGB, "PNG"), 10**8), RGB, 0),
        "gif": (saved(paletted, "GIF"), palette_pixels, 0),
        "gif_grey": (saved(GREY, "GIF"), GREY3, 0),
        "gif_transparent": (saved(holed, "GIF", transparency=3), holed_pixels, 0),
        "gif_animated": (saved(paletted, "GIF", **animation()), palette_pixels, 0),
        "gif_small_frame": small_frame_gif(),
        "gif_no_trailer": (saved(paletted, "GIF")[:-1], palette_pixels, 0),
        "gif_interlaced": (saved(paletted, "GIF", interlace=1), palette_pixels, 0),
        "bmp": (saved(RGB, "BMP"), RGB, 0),
        "bmp_grey": (saved(GREY, "BMP"), GREY3, 0),
        "bmp_1_bit": (saved(bilevel, "BMP"), WHITE, 0),
        "bmp_palette": (saved(paletted, "BMP"), palette_pixels, 0),
        "bmp_rgba": (saved(rgba, "BMP"), RGB, 0),
        "bmp_top_down": (top_down(saved(RGB, "BMP")), RGB, 0),
        "webp": (saved(RGB, "WEBP", quality=100), RGB, 160),
        "webp_lossless": (saved(RGB, "WEBP", lossless=True), RGB, 0),
        "webp_rgba": (saved(rgba, "WEBP", lossless=True, exact=True), seen, 1),
        "webp_animated": (saved(RGB, "WEBP", lossless=True, **animation()), RGB, 0),
        "tiff": (saved(RGB, "TIFF"), RGB, 0),
        "tiff_grey": (saved(GREY, "TIFF"), GREY3, 0),
        "tiff_rgba": (tiff_of(rgba, photometric="rgb", extrasamples=["unassalpha"]), seen, 1),
        "tiff_palette": (saved(paletted, "TIFF"), palette_pixels, 0),
        "tiff_1_bit": (saved(bilevel, "TIFF"), WHITE, 0),
        "tiff_lzw": (saved(RGB, "TIFF", compression="tiff_lzw"), RGB, 0),
        "tiff_deflate": (saved(RGB, "TIFF", compression="tiff_adobe_deflate"), RGB, 0),
        "tiff_packbits": (saved(RGB, "TIFF", compression="packbits"), RGB, 0),
        "tiff_jpeg": (saved(RGB, "TIFF", compression="jpeg", quality=95), RGB, 60),
        "tiff_two_pages": (saved(RGB, "TIFF", **animation()), RGB, 0),
        "tiff_planes": (tiff_of(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"), RGB, 0),
        "tiff_tiles": (tiff_of(RGB, photometric="rgb", tile=(16, 32)), RGB, 0),
        "tiff_big_endian": (tiff_of(RGB, photometric="rgb", byteorder=">"), RGB, 0),
        "tiff_cmyk": (saved(cmyk, "TIFF"), cmyk_rgb, 1),
        "tiff_fax": (saved(bilevel, "TIFF", compression="group4"), WHITE, 0),
        "tiff_12_bit": (tiff("<", TIFF_12_BIT, packed_12_bit(wide_grey >> 4)), GREY3[:, :74], 0),
        "tiff_16_bit_grey": (tiff_of(wide_grey), GREY3, 0),
        "tiff_16_bit_grey_big_endian": (tiff_of(wide_grey, byteorder=">"), GREY3, 0),
        "tiff_16_bit_grey_lzw": (encoded(".tiff", wide_grey), GREY3, 0),
        "tiff_16_bit_white_is_zero": (tiff_of(65535 - wide_grey, photometric="miniswhite"), GREY3, 0),
        "tiff_16_bit_rgb": (tiff_of(WIDE, photometric="rgb"), RGB, 0),
        "tiff_16_bit_rgb_big_endian": (tiff_of(WIDE, photometric="rgb", byteorder=">"), RGB, 0),
        "tiff_16_bit_rgb_lzw": (encoded(".tiff", WIDE[..., ::-1]), RGB, 0),
        "tiff_float": (tiff_of((GREY / 255).astype(np.float32)), GREY3, 0),
        "tiff_float_big_endian": (tiff_of((GREY / 255).astype(np.float32), byteorder=">"), GREY3, 0),
        "pbm": (saved(bilevel, "PPM"), WHITE, 0),
        "pgm": (saved(GREY, "PPM"), GREY3, 0),
        "ppm": (saved(RGB, "PPM"), RGB, 0),
        "pgm_16_bit": (b"P5 75 90 65535\n" + wide_grey.astype(">u2").tobytes(), GREY3, 1),
        "ppm_16_bit": (b"P6 75 90 65535\n" + WIDE.astype(">u2").tobytes(), RGB, 1),
        "pgm_largest_100": (b"P5 75 90 100\n" + (GREY // 3).tobytes(), pgm_largest_100, 0),
        "pgm_comments": (b"P5 # one\n#two\n75 # three\r90\n#four\n255\n" + GREY.tobytes(), GREY3, 0),
        "pgm_plain": (b"P2 3 1 3\n0 1 #one\n3\n", np.uint8([[[0] * 3, [85] * 3, [255] * 3]]), 0),
        "ppm_plain": (b"P3 75 90\n255\n" + words + b"\n", RGB, 0),
        "pbm_plain": (b"P1\n3 2\n010 # none\n1 1 1", np.uint8([[255, 0, 255], [0, 0, 0]])[..., None].repeat(3, 2), 0),
    }


TIFF_12_BIT = {256: 74, 257: 90, 258: 12}


def packed_12_bit(values):
    return b"".join(row.tobytes() for row in packed_rows(values[:, :74], 12))


def with_text(data, size):
    """A PNG with a text chunk that would unpack to `size` bytes."""
    return data[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(size))) + data[33:]


def top_down(bmp):
    """The same BMP with its rows stored from the top."""
    height = int.from_bytes(bmp[22:26], "little")
    rows = np.frombuffer(bmp[54:], np.uint8).reshape(height, -1)[::-1]
    return bmp[:22] + (-height).to_bytes(4, "little", signed=True) + bmp[26:54] + rows.tobytes()


def small_frame_gif():
    """A GIF whose first frame leaves 3 columns and 2 rows of its screen to the background colour."""
    image, pixels = palette_image()
    data = saved(image, "GIF")
    at = data.index(b",\0\0\0\0")
    data = data[:6] + struct.pack("<HH", 78, 92) + data[10:at] + b"," + struct.pack("<HH", 3, 2) + data[at + 5 :]
    screen = np.tile(np.uint8(image.getpalette()[:3]), (92, 78, 1))
    screen[2:, 3:] = pixels
    return data, screen, 0


def interlaced_png():
    """An 8x8 grey PNG of the values 0 to 63 in Adam7 order."""
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    rows = [values[y::dy, x::dx] for y, dy, x, dx in passes]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for block in rows for row in block))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND")


INTERLACED = interlaced_png()
GOOD = good_files()


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    return folder, make_broken_files(folder)


# ------------------------------------------------------------------------------------------------- good files


@pytest.mark.parametrize("name", GOOD)
def test_good_file_reads_to_its_pixels(name, tmp_path):
    data, expected, tolerance = GOOD[name]
    path = tmp_path / "image.png"  # the suffix must not matter
    path.write_bytes(data)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
    assert np.array_equal(decode_image(data), pixels)


def test_lossy_files_are_close_on_average():
    for name, (data, expected, tolerance) in GOOD.items():
        if tolerance > 1:
            assert np.abs(decode_image(data).astype(int) - expected).mean() < 3, name


def stored_for(orientation, upright):
    """How a camera stores an upright picture under each EXIF orientation (EXIF 2.32: where row 0 and column 0 lie)."""
    rows_from = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]}  # row 0 is top or bottom
    sideways = upright.transpose(1, 0, 2)  # row 0 is the left side, column 0 the top
    rows_from |= {5: sideways, 6: sideways[::-1], 7: sideways[::-1, ::-1], 8: sideways[:, ::-1]}
    return np.ascontiguousarray(rows_from[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation(form, orientation):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(form, {})
    data = saved(stored_for(orientation, RGB), form, exif=exif(orientation), **options)
    pixels = decode_image(data)
    assert pixels.shape == RGB.shape and pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - RGB).max() <= (20 if form == "JPEG" else 0)
    assert np.array_equal(pixels, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")))


def test_exif_orientation_of_webp_with_the_prefix_of_jpeg():
    """Some programs put `Exif\\0\\0` before the EXIF block of a WebP, which its specification does not know."""
    data = saved(stored_for(6, RGB), "WEBP", exif=exif(6), lossless=True)
    at = data.index(b"EXIF") + 4
    length = int.from_bytes(data[at : at + 4], "little")
    data = data[:at] + (length + 6).to_bytes(4, "little") + b"Exif\0\0" + data[at + 4 :]
    data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    assert np.array_equal(decode_image(data), RGB)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_impossible_orientation_is_ignored(orientation):
    assert np.array_equal(decode_image(saved(RGB, "PNG", exif=exif(orientation))), RGB)


def test_16_bits_are_scaled_and_not_clipped():
    for data in (
        png(3, 1, 16, 0, [b"\0\0\x80\0\xff\xff"]),
        tiff("<", {256: 3, 258: 16}, b"\0\0\0\x80\xff\xff"),
        b"P5 3 1 65535\n\0\0\x80\0\xff\xff",
    ):
        assert decode_image(data)[0, :, 0].tolist() == [0, 128, 255]


def test_all_16_bit_files_agree_to_one_level_with_exact_scaling():
    exact = WIDE / 257
    for name in ("png_16_bit_rgb", "tiff_16_bit_rgb", "ppm_16_bit"):
        assert np.abs(decode_image(GOOD[name][0]) - exact).max() <= 1


def test_pnm_agrees_with_pillow():
    for name in ("pbm", "pgm", "ppm", "pgm_largest_100", "pgm_comments", "ppm_plain", "pbm_plain"):
        data = GOOD[name][0]
        assert np.array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))), name


def test_every_form_of_bytes_and_path(tmp_path):
    data = saved(RGB, "PNG")
    path = tmp_path / "image.jpg"
    path.write_bytes(data)
    for value in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert np.array_equal(decode_image(value), RGB)
    for value in (path, str(path), os.fsencode(path)):
        assert np.array_equal(read_image(value), RGB)
        assert read_bytes(value) == data
    with pytest.raises(TypeError):
        decode_image("text")


# ------------------------------------------------------------------------------------------------- broken files


def test_broken_files_are_many_kinds(broken):
    assert len(broken[1]) >= 60


def test_every_broken_file_is_refused_with_its_name_and_reason(broken):
    folder, expected = broken
    for name, word in expected.items():
        with pytest.raises(ImageError) as caught:
            read_image(folder / name)
        error = caught.value
        assert word in error.reason, (name, error.reason)
        assert error.path == printable(folder / name)
        assert ";" in error.reason, f"no remedy: {error.reason}"
        assert str(error).isprintable() and str(error).encode()
        assert isinstance(error, FiqaError)


def test_a_folder_of_everything_is_read_without_a_crash_and_nothing_is_lost(tmp_path):
    expected = make_broken_files(tmp_path / "mixed")
    for name, (data, _, _) in GOOD.items():
        (tmp_path / "mixed" / f"good_{name}.png").write_bytes(data)
    found = find_images(tmp_path / "mixed")
    refused, read = dict(zip(found.skipped.path, found.skipped.reason, strict=True)), []
    for path in found.paths:
        try:
            read_image(path)
            read.append(path.name)
        except ImageError as error:
            refused[error.path] = error.reason
    assert sorted(read) == sorted(f"good_{name}.png" for name in GOOD)
    assert refused.keys() == {printable(tmp_path / "mixed" / name) for name in expected}
    for name, word in expected.items():
        assert word in refused[printable(tmp_path / "mixed" / name)]


def test_broken_files_write_nothing_to_the_terminal_or_the_log(broken, capfd, caplog):
    for name in broken[1].keys() - {"tiff_damaged_deflate.tif"}:  # libtiff writes a line
        with pytest.raises(ImageError):
            read_image(broken[0] / name)
    assert capfd.readouterr() == ("", "") and caplog.text == ""


@pytest.mark.parametrize("name", [n for n in GOOD if "trailing" not in n])
def test_no_file_may_lose_its_end(name):
    """A cut file is refused, or has lost nothing that a pixel depends on."""
    data = GOOD[name][0]
    whole = decode_image(data)
    cuts = {1, 2, 3, 5, 8, 13, 21, *range(30, len(data), max(1, len(data) // 40))}
    for cut in cuts:
        try:
            pixels = decode_image(data[:-cut])
        except ImageError:
            continue
        # the end of the last number of a plain PNM is not missed
        assert np.array_equal(pixels, whole) or "plain" in name and cut <= 8, (name, cut)


@pytest.mark.parametrize("size", [64, 256])
def test_noise_inside_a_jpeg_is_mostly_noticed(size):
    """libjpeg itself would show a picture in all cases. Chance can leave a well-formed file; that must stay rare."""
    data = saved(np.asarray(Image.fromarray(RGB).resize((300, 360))), "JPEG", quality=90)
    start, end = scan_of(data)
    random = np.random.default_rng(size)
    missed = 0
    for _ in range(100):
        at = random.integers(start, end - size)
        try:
            decode_image(data[:at] + random.bytes(size) + data[at + size :])
            missed += 1
        except ImageError:
            pass
    assert missed <= {64: 45, 256: 15}[size]


def test_truncated_files_are_refused_even_if_pillow_is_told_to_load_them(broken, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for name in broken[1]:
        with pytest.raises(ImageError):
            read_image(broken[0] / name)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_no_global_setting_is_changed(broken):
    def state():
        return ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, warnings.filters[:], warnings.showwarning

    before = state()
    for name in broken[1]:
        with pytest.raises(ImageError):
            read_image(broken[0] / name)
    for data, _, _ in GOOD.values():
        decode_image(data)
    assert state() == before


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match="no such file; check the path"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="not a folder"):
        (tmp_path / "file").write_bytes(b"x")
        read_image(tmp_path / "file" / "image.jpg")


@pytest.mark.parametrize("name", ["", "nul\0.jpg", "\ud800.jpg", "x" * 5000, "x" * 300 + ".jpg"])
def test_impossible_names(name):
    with pytest.raises(ImageError) as caught:
        read_image(name)
    assert str(caught.value).encode()


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(ImageError, match="is a folder.*find_images"):
        read_image(tmp_path)


def test_device_is_refused_unopened(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("was opened"))
    with pytest.raises(ImageError, match="not a regular file"):
        read_image("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_refused_unopened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("was opened"))  # opening it would wait for ever
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.jpg")


@contextmanager
def as_nobody():
    """Give up the rights of root for a while, since root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder():
    """A folder that everybody can enter (pytest's own are closed to others)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no file permissions of this kind")
def test_no_permission(public_folder):
    path, closed = public_folder / "image.png", public_folder / "closed"
    path.write_bytes(saved(RGB, "PNG"))
    closed.mkdir()
    (closed / "inside.png").write_bytes(saved(RGB, "PNG"))
    with as_nobody():
        assert read_image(path).shape == RGB.shape or os.geteuid() != 65534
    os.chmod(path, 0)
    os.chmod(closed, 0)
    with as_nobody():
        with pytest.raises(ImageError, match="no permission.*change"):
            read_image(path)
        found = find_images(public_folder)
        with pytest.raises(DataError, match="no permission"):
            find_images(closed)
    assert found.paths == [path]
    assert found.skipped.path.tolist() == [str(closed)] and "no permission" in found.skipped.reason[0]
    os.chmod(closed, 0o755)


def test_disk_error_is_an_image_error(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    path.write_bytes(saved(RGB, "PNG"))

    def fails(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", fails)
    with pytest.raises(ImageError, match="Input/output error"):
        read_image(path)


# ----------------------------------------------------------------------------------------------------- size


def test_limit_of_pixels_is_exact():
    for name, (data, expected, _) in GOOD.items():
        count = expected.shape[0] * expected.shape[1]
        assert decode_image(data, max_pixels=count).shape == expected.shape
        assert decode_image(data, max_pixels=None).shape == expected.shape
        with pytest.raises(ImageError, match="too large.*max_pixels"):
            decode_image(data, name, max_pixels=count - 1)


def test_pillows_own_limit_does_not_warn_or_stop(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # Pillow warns above this, and stops at twice as much
    for name, (data, expected, _) in GOOD.items():
        assert decode_image(data).shape == expected.shape, name


def test_refusing_a_bomb_takes_no_memory(broken):
    """Measured in a process of its own, by the system, since decoders take memory that Python does not see."""
    folder, expected = broken
    bombs = [str(folder / name) for name in expected if "bomb" in name or name == "huge.png"]
    assert len(bombs) >= 8
    code = (
        "import resource, sys\n"
        "from fiqa_lib.faces.images import ImageError, read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_image(path); print('read', path)\n"
        "    except ImageError as error: assert 'too large' in error.reason, error\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    pytest.importorskip("resource", reason="this system does not tell the memory of a process")
    done = subprocess.run([sys.executable, "-c", code, *bombs], capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 10_000


def test_file_far_larger_than_its_picture_is_not_read(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(saved(RGB, "PNG"))
    os.truncate(path, 2**27)
    assert len(read_bytes(path)) == 2**27
    with pytest.raises(ImageError, match="too large: 134,217,728 bytes"):
        read_bytes(path, max_pixels=RGB.size)


# ----------------------------------------------------------------------------------------- fuzz and threads

FUZZED = sorted(name for name in GOOD if len(GOOD[name][0]) < 60_000 and name not in ("tiff_lzw", "tiff_jpeg"))


@settings(max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzz(draws):
    """Whatever happens to the bytes of a file: uint8 RGB or an ImageError, and no warning."""
    data = bytearray(GOOD[draws.draw(st.sampled_from(FUZZED))][0])
    for _ in range(draws.draw(st.integers(1, 4))):
        top = draws.draw(st.sampled_from([min(100, len(data)), len(data)]))  # headers deserve half of it
        at = draws.draw(st.integers(0, max(0, top - 1)))
        what = draws.draw(st.sampled_from(["byte", "cut", "insert", "remove", "repeat"]))
        piece = draws.draw(st.binary(min_size=1, max_size=8))
        if what == "byte":
            data[at : at + len(piece)] = piece
        elif what == "cut":
            del data[at:]
        elif what == "insert":
            data[at:at] = piece
        elif what == "remove":
            del data[at : at + len(piece)]
        else:
            data[at:at] = data[at : at + 64]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pixels = decode_image(bytes(data), max_pixels=10**6)
        except ImageError as error:
            assert error.path == "<bytes>" and ";" in error.reason
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert 0 < pixels.shape[0] * pixels.shape[1] <= 10**6
    assert not caught


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP", b"II*\0", b"P5 "]))
def test_fuzz_of_nothing(data, head):
    with pytest.raises(ImageError):
        decode_image(head + data)


def test_threads(broken, monkeypatch):
    """Many threads at once read and refuse the same, also while Pillow is told to load truncated files."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = [data for data, _, _ in GOOD.values()]
    data += [
        (broken[0] / name).read_bytes() for name in broken[1] if name.endswith(("half.jpg", "half.png", "rows.png"))
    ]

    def outcome(data):
        try:
            return decode_image(data).tobytes()
        except ImageError as error:
            return error.reason

    alone = [outcome(each) for each in data]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(outcome, data * 5))
    assert together == alone * 5
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_tall_pictures_are_converted_part_by_part_to_the_same_pixels(mode):
    values = np.random.default_rng(0).integers(0, 256, (1300, 7, 4), dtype=np.uint8)
    picture = Image.fromarray(values).convert(mode)
    if mode == "P":
        picture.info["transparency"] = 3
    form = "TIFF" if mode == "CMYK" else "PNG"
    pieces = [picture.crop((0, top, 7, top + 100)) for top in range(0, 1300, 100)]
    expected = np.concatenate([decode_image(saved_picture(piece, form)) for piece in pieces])
    np.testing.assert_array_equal(decode_image(saved_picture(picture, form)), expected)


def saved_picture(picture, form):
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


def test_reading_a_large_picture_takes_little_more_than_the_picture():
    code = """if True:
        import io, resource, sys
        import numpy as np
        from PIL import Image
        from fiqa_lib.faces import decode_image
        buffer, (side, mode) = io.BytesIO(), (5000, sys.argv[1])
        Image.new(mode, (side, side)).save(buffer, "PNG" if mode == "RGBA" else "JPEG")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pixels = decode_image(buffer.getvalue())
        assert pixels.shape == (side, side, 3)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / pixels.nbytes)
    """
    for mode in ("RGB", "RGBA"):  # Pillow's own picture was counted before: it is made and freed, so it is reused
        done = subprocess.run([sys.executable, "-c", code, mode], capture_output=True, text=True, check=True)
        assert float(done.stdout) < 1.8, mode


# ----------------------------------------------------------------------------------------------------- folders


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names_of(found, folder):
    return [path.relative_to(folder).as_posix() for path in found.paths]


def test_order_is_plain_and_by_relative_path(tmp_path):
    names = ["b.jpg", "a/10.png", "a/2.png", "a.png", "B.JPG", "a-b/1.jpeg", "a/b/c/d.TIFF", "\u00e9.webp", "z.pgm"]
    tree(tmp_path, *names)
    found = find_images(tmp_path)
    assert names_of(found, tmp_path) == sorted(names)
    assert names_of(found, tmp_path)[:3] == ["B.JPG", "a-b/1.jpeg", "a.png"]
    assert len(found.skipped) == 0 and list(found.skipped.columns) == ["path", "reason"]


def test_skipped_files_are_reported_with_reasons(tmp_path):
    tree(tmp_path, "a.jpg", "notes.txt", "README", ".hidden.jpg", ".git/a.jpg", "sub/b.csv", "sub/.DS_Store")
    found = find_images(tmp_path)
    assert names_of(found, tmp_path) == ["a.jpg"]
    reasons = {Path(p).relative_to(tmp_path).as_posix(): r for p, r in found.skipped.itertuples(index=False)}
    assert list(reasons) == [".git", ".hidden.jpg", "README", "notes.txt", "sub/.DS_Store", "sub/b.csv"]
    assert all("hidden" in reasons[name] for name in (".git", ".hidden.jpg", "sub/.DS_Store"))
    assert ".txt" in reasons["notes.txt"] and "no suffix" in reasons["README"]


def test_suffixes_are_an_argument(tmp_path):
    tree(tmp_path, "a.jpg", "b.xyz", "c.XYZ", "d.png")
    for suffixes in (".xyz", ["xyz"], {".XYZ"}):
        assert names_of(find_images(tmp_path, suffixes=suffixes), tmp_path) == ["b.xyz", "c.XYZ"]


def test_links(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    tree(inside, "sub/a.jpg", "inside_too/b.jpg")
    tree(outside, "secret.jpg")
    (inside / "file_in.jpg").symlink_to("sub/a.jpg")
    (inside / "text.txt").symlink_to("sub/a.jpg")
    (inside / "file_out.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder_out").symlink_to(outside)
    (inside / "folder_in").symlink_to("sub")
    (inside / "sub" / "loop").symlink_to("..")
    (inside / "self.jpg").symlink_to("self.jpg")
    (inside / "gone.jpg").symlink_to("nowhere.jpg")
    (inside / "up.jpg").symlink_to("../inside/sub/../../outside/secret.jpg")
    found = find_images(inside)
    assert names_of(found, inside) == ["file_in.jpg", "inside_too/b.jpg", "sub/a.jpg"]
    reasons = {Path(p).relative_to(inside).as_posix(): r for p, r in found.skipped.itertuples(index=False)}
    words = {
        "file_out.jpg": "leads out of the folder",
        "folder_in": "link to a folder",
        "folder_out": "leads out of the folder",
        "gone.jpg": "broken link to nowhere.jpg",
        "self.jpg": "loop of links",
        "sub/loop": "link to a folder",
        "text.txt": ".txt",
        "up.jpg": "leads out of the folder",
    }
    assert reasons.keys() == words.keys()
    assert all(word in reasons[name] for name, word in words.items())


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path):
    tree(tmp_path, "data/a.jpg", "data-private/b.jpg")
    (tmp_path / "data" / "link.jpg").symlink_to("../data-private/b.jpg")
    assert names_of(find_images(tmp_path / "data"), tmp_path / "data") == ["a.jpg"]


def test_the_folder_itself_may_be_a_link(tmp_path):
    tree(tmp_path, "real/sub/a.jpg")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "b.jpg").symlink_to("sub/a.jpg")
    found = find_images(tmp_path / "link")
    assert names_of(found, tmp_path / "link") == ["b.jpg", "sub/a.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_special_files_are_skipped(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mknod(tmp_path / "socket.jpg", stat.S_IFSOCK | 0o600)
    found = find_images(tmp_path)
    assert found.paths == [] and found.skipped.reason.str.contains("not a regular file").tolist() == [True, True]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text on this system")
def test_names_with_odd_bytes(tmp_path):
    odd = os.fsdecode(b"odd\xff.png")
    (tmp_path / odd).write_bytes(saved(RGB, "PNG"))
    (tmp_path / os.fsdecode(b"odd\xfe.txt")).write_bytes(b"x")
    found = find_images(os.fsencode(tmp_path))
    assert [path.name for path in found.paths] == [odd]
    assert np.array_equal(read_image(found.paths[0]), RGB)
    assert found.skipped.to_csv().encode() and "odd\\udcfe.txt" in found.skipped.path[0]


def test_unreadable_folder_is_reported(tmp_path, monkeypatch):
    tree(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(images.os, "scandir", scandir)
    found = find_images(tmp_path)
    assert names_of(found, tmp_path) == ["a/1.jpg", "c/3.jpg"]
    assert found.skipped.path.tolist() == [str(tmp_path / "b")] and "no permission" in found.skipped.reason[0]


def test_empty_and_missing_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    found = find_images(tmp_path / "empty")
    assert found.paths == [] and len(found.skipped) == 0
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "missing")
    tree(tmp_path, "file.jpg")
    with pytest.raises(DataError, match="is not a folder"):
        find_images(tmp_path / "file.jpg")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop of links"):
        find_images(tmp_path / "loop")


def test_deep_folders(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "a.jpg").write_bytes(b"x")
    assert find_images(tmp_path).paths == [deep / "a.jpg"]


# ----------------------------------------------------------------------------------------- arrays and writing


def test_to_rgb_uint8():
    assert np.array_equal(to_rgb_uint8(RGB), RGB) and to_rgb_uint8(RGB) is not RGB
    assert not np.shares_memory(to_rgb_uint8(RGB), RGB)
    assert np.array_equal(to_rgb_uint8(GREY), GREY3)
    assert np.array_equal(to_rgb_uint8(GREY[..., None]), GREY3)
    assert np.array_equal(to_rgb_uint8(WHITE[..., 0] > 0), WHITE)
    assert np.array_equal(to_rgb_uint8(WIDE), RGB)
    assert np.array_equal(to_rgb_uint8(RGB / 255), RGB)
    assert np.array_equal(to_rgb_uint8((RGB / 255).astype(np.float32)), RGB)
    assert np.abs(to_rgb_uint8(np.dstack([RGB, ALPHA])).astype(int) - over_white(RGB, ALPHA)).max() <= 1
    assert np.array_equal(to_rgb_uint8(np.dstack([GREY, np.zeros_like(GREY)])), np.full_like(RGB, 255))
    assert to_rgb_uint8(RGB[:, ::-1]).flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 5), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((5, 5), np.int64),
        np.zeros((5, 5), complex),
        np.full((5, 5), 1.5),
        np.full((5, 5), -0.5),
        np.full((5, 5), np.nan),
    ],
)
def test_to_rgb_uint8_refuses(array):
    with pytest.raises(DataError):
        to_rgb_uint8(array)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".ppm", ".PNG", ".jpg", ".jpeg", ".webp"])
def test_written_image_is_read_back(suffix, tmp_path):
    path = write_image(tmp_path / "new" / f"image{suffix}", RGB)
    assert path == tmp_path / "new" / f"image{suffix}"
    difference = np.abs(read_image(path).astype(int) - RGB)
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    assert difference.mean() < (3 if lossy else 1e-9)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_quality_matters(tmp_path):
    sizes = [write_image(tmp_path / f"{q}.jpg", RGB, quality=q).stat().st_size for q in (10, 50, 95, 100)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    with Image.open(tmp_path / "10.jpg") as image:
        assert get_sampling(image) == 0  # 4:4:4
    assert write_image(tmp_path / "a.jpg", RGB).read_bytes() == (tmp_path / "95.jpg").read_bytes()


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_image(tmp_path / "image.png", RGB)
    before = path.read_bytes()

    def fails(self, target, **_):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(ImageError, match="No space left"):
        write_image(path, 255 - RGB)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.parametrize("array", [GREY, RGB.astype(float), RGB[..., :2], RGB[:0]])
def test_write_refuses_other_arrays(array, tmp_path):
    with pytest.raises(DataError, match="uint8"):
        write_image(tmp_path / "image.png", array)
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_other_names_sizes_and_qualities(tmp_path):
    for name in ("image", "image.xyz", "image.gif"):
        with pytest.raises(ImageError, match="use one of .jpg"):
            write_image(tmp_path / name, RGB)
    with pytest.raises(DataError, match="quality"):
        write_image(tmp_path / "image.jpg", RGB, quality=0)
    wide = np.zeros((1, 70000, 3), np.uint8)
    for name in ("image.jpg", "image.webp"):
        with pytest.raises(ImageError, match="could not be written"):
            write_image(tmp_path / name, wide)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="could not be written"):
        write_image(tmp_path / "folder.png", RGB)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]
