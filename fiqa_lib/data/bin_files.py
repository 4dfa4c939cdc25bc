"""InsightFace's `.bin` files: pictures and pairs in one pickle, read without running anything that it asks for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from .pairs import pair_table
from .unpickling import Array, Other, read_plain_pickle, short


class BinPairs(NamedTuple):
    """`images`: encoded pictures (bytes), two a pair; `pairs`: `a`, `b` ("00000" ..., places in `images`), `mated`."""

    images: list
    pairs: pd.DataFrame


def read_insightface_bin(path):
    """The verification sets that InsightFace publishes (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW) as one `.bin` file each.

    Such a file is a pickle of (list of encoded images, list of flags), and a pickle can run any program when it is
    opened. This reader follows no reference out of the file: it accepts lists, tuples, bytes, bools, ints and NumPy
    arrays of these (rebuilt here, not by NumPy) and refuses anything else by name.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    BinPairs
        Image 2i and 2i + 1 are pair i. The bytes are not decoded; `images.decode_image` does that. Names are those of
        CR-FIQA's extraction, five digits. The order is that of the protocol: ten equal folds.

    Raises
    ------
    DataError
        Naming what the file tries to load, or what is not as published.
    """
    content = read_plain_pickle(path, "images and flags")
    content = _plain(content)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise DataError(f"{path}: a pair (images, flags) is expected, got {_what(content)}")
    images, flags = (_plain(part) for part in content)
    for part, name in ((images, "images"), (flags, "flags")):
        if not isinstance(part, list | tuple):
            raise DataError(f"{path}: a list of {name} is expected, got {_what(part)}")
    if len(images) != 2 * len(flags) or not flags:
        numbers = f"{len(images)} images and {len(flags)} flags"
        raise DataError(f"{path}: two images for each flag are expected, got {numbers}")
    images = [_image_bytes(image, f"{path}: image {place}") for place, image in enumerate(images)]
    flags = [_checked_flag(flag, f"{path}: flag {place}") for place, flag in enumerate(flags)]
    names = [f"{place:05d}" for place in range(len(images))]
    return BinPairs(images, pair_table(names[::2], names[1::2], flags))


def _plain(value):
    """An array of flags as a list of Python numbers; anything else as it is."""
    if isinstance(value, Array):
        value = value.value if isinstance(value.value, list) or value.value.dtype == np.uint8 else value.value.tolist()
    return value


def _what(value):
    name = value.name if isinstance(value, Other) else "array" if isinstance(value, Array) else type(value).__name__
    return name + (f" of {len(value)}" if isinstance(value, list | tuple) else "")


def _image_bytes(value, place):
    if isinstance(value, Array) and isinstance(value.value, np.ndarray) and value.value.dtype == np.uint8:
        value = value.tobytes()
    if isinstance(value, bytes) and len(value):
        return value
    raise DataError(f"{place} must be encoded bytes, got {_what(value)}")


def _checked_flag(value, place):
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    number = f" {short(value)}" if isinstance(value, bool | int | float) else ""
    raise DataError(f"{place} must be True or False, got {_what(value)}{number}")
