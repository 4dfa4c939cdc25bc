"""InsightFace's `.bin` files: pictures and pairs in one pickle, read without running anything that it asks for."""

from __future__ import annotations

import math
import pickle
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from .pairs import pair_table


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
    try:
        with open(path, "rb") as file:
            content = _RefusingUnpickler(file, path).load()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except DataError:
        raise
    except Exception as error:  # a broken pickle can raise nearly anything
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: damaged, or not a pickle of images and flags ({what})") from error
    content = _plain(content)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise DataError(f"{path}: a pair (images, flags) is expected, got {_what(content)}")
    images, flags = (_plain(part) for part in content)
    for part, name in ((images, "images"), (flags, "flags")):
        if not isinstance(part, list | tuple):
            raise DataError(f"{path}: a list of {name} is expected, got {_what(part)}")
    images = [_image_bytes(image, f"{path}: image {place}") for place, image in enumerate(images)]
    flags = [_checked_flag(flag, f"{path}: flag {place}") for place, flag in enumerate(flags)]
    if len(images) != 2 * len(flags) or not flags:
        numbers = f"{len(images)} images and {len(flags)} flags"
        raise DataError(f"{path}: two images for each flag are expected, got {numbers}")
    names = [f"{place:05d}" for place in range(len(images))]
    return BinPairs(images, pair_table(names[::2], names[1::2], flags))


def _plain(value):
    """An array of flags as a list of Python numbers, of bytes as an array; anything else as it is."""
    value = value.value if isinstance(value, _Array) else value
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype != np.uint8 else value


def _what(value):
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, list | tuple) else "")


def _image_bytes(value, place):
    value = _plain(value)
    value = value.tobytes() if isinstance(value, np.ndarray) else value
    if isinstance(value, bytes | bytearray) and len(value):
        return bytes(value)
    raise DataError(f"{place} must be encoded bytes, got {_what(value)}")


def _checked_flag(value, place):
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    raise DataError(f"{place} must be True or False, got {_what(value)} {value!r:.40}")


# --- what stands in for the few things that the pickle may name ----------------------------------------------------


class _Array:
    """A pickled NumPy array, rebuilt from its bytes without NumPy's own unpickling."""

    __slots__ = ("value",)

    def __init__(self, value=None):
        self.value = value

    def __setstate__(self, state):
        _, shape, dtype, _, raw = state
        self.value = _array(raw, dtype, shape)


class _DType:
    __slots__ = ("code", "order")

    def __init__(self, code):
        self.code, self.order = code, "="

    def __setstate__(self, state):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a structured NumPy dtype")
        self.order = order


def _array(raw, dtype, shape):
    if not isinstance(dtype, _DType) or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError("a malformed NumPy array")
    if dtype.code.startswith("O"):
        if type(raw) is not list or len(raw) != math.prod(shape):
            raise pickle.UnpicklingError("a malformed NumPy array of objects")
        return raw
    value = np.frombuffer(bytes(raw), np.dtype(dtype.code).newbyteorder(dtype.order))
    if len(value) != math.prod(shape):
        raise pickle.UnpicklingError("a NumPy array whose bytes do not fit its shape")
    return value


def _text(value):
    return value.decode("ascii") if isinstance(value, bytes) else value


def _new_dtype(code, align=False, copy=True):
    code = _text(code)
    if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|O8?", code):
        raise pickle.UnpicklingError(f"a NumPy array of type {code!r}")
    return _DType(code)


def _new_bytes(value=b"", encoding="latin-1", errors="strict"):
    """Bytes in pickles of the old protocols: text to be encoded. A number, which would be a size, is refused."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if not isinstance(value, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return value.encode("latin-1")


def _no_call(*_):
    raise pickle.UnpicklingError("a call of numpy.ndarray")


class _Allowed:
    """One of the few things a `.bin` file may call. It has no attributes to overwrite and no state to set."""

    __slots__ = ("_call",)

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("an attempt to change the reader")


_ALLOWED = {
    ("numpy", "dtype"): _new_dtype,
    ("numpy", "ndarray"): _no_call,
    ("_codecs", "encode"): _new_bytes,
    **{(module, name): _new_bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = lambda *_: _Array()
    _ALLOWED[f"{_core}.multiarray", "scalar"] = lambda dtype, raw: _array(raw, dtype, (1,)).tolist()[0]
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = lambda raw, dtype, shape, order: _Array(_array(raw, dtype, shape))


class _RefusingUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing. Strings of Python 2 become bytes, as those files mean them."""

    def __init__(self, file, path):
        super().__init__(file, encoding="bytes")
        self._path = path

    def find_class(self, module, name):
        call = _ALLOWED.get((module, name))
        if call is None:
            raise DataError(
                f"{self._path}: refused, since it asks for {module}.{name}; a file of images and pairs holds "
                "nothing but lists, bytes, bools, ints and NumPy arrays. Don't open it with pickle.load, which could "
                "run a program; get it from its authors again"
            )
        return _Allowed(call)

    def persistent_load(self, pid):
        raise DataError(f"{self._path}: refused, since it refers to something outside of the file ({pid!r:.60})")
