"""The one reader of `.npy` files: an array of the wanted kind, or an error that says what the file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError

MAGIC = b"\x93NUMPY"


def read_npy(path, *, ndim=None, kinds="fiu", mmap=False):
    """The array in a `.npy` file, without running anything in it and without believing the size in its header.

    Parameters
    ----------
    path : str or Path
        The file.
    ndim : int, default=None
        How many dimensions the array must have.
    kinds : str, default="fiu"
        Which kinds of numbers, as in `numpy.dtype.kind`: f floats, i and u integers, b bools.
    mmap : bool, default=False
        Leave the array in the file and read what is asked for.

    Returns
    -------
    array

    Raises
    ------
    DataError
        The file is missing, damaged, an archive (.npz), something else, or holds another kind of array.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path}: can't be read (it is no regular file)")
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    if head != MAGIC:
        what = "it is empty" if not head else "it does not begin as one"
        if head.startswith(b"PK"):
            what = "it is an archive of arrays (.npz) or another zip file; write the one array with numpy.save"
        elif head[:1] == b"\x80":
            what = "it is a pickle; write the array with numpy.save"
        raise DataError(f"{path}: not a readable .npy array: {what}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped, so that the file must be as long as it says
        array = array if mmap else np.array(array)
    except Exception as error:  # a damaged header can make NumPy raise nearly anything
        what = "its header or its length is damaged"
        if "allow_pickle" in str(error) or "Object arrays" in str(error) or "Python objects" in str(error):
            what = "it holds Python objects, which could run a program; write an array of numbers with numpy.save"
        raise DataError(f"{path}: not a readable .npy array: {what} ({type(error).__name__})") from None
    if array.dtype.kind not in kinds:
        raise DataError(f"{path}: an array of {array.dtype.name}, where numbers are expected")
    if ndim is not None and array.ndim != ndim:
        raise DataError(f"{path}: an array of shape {array.shape}, where {ndim} dimensions are expected")
    return array
