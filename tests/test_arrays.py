"""One reader of .npy files, which says in words what else a file is."""

import numpy as np
import pytest

from fiqa_lib.data.arrays import read_npy
from fiqa_lib.errors import DataError


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f8", "i8", "u1"])
@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (5,)])
def test_arrays_are_read_as_they_are(tmp_path, shape, dtype, mmap):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    found = read_npy(tmp_path / "a.npy", mmap=mmap, ndim=len(shape))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def saved(array, save=np.save):
    import io

    file = io.BytesIO()
    save(file, array)
    return file.getvalue()


GOOD = saved(np.ones((3, 4), np.float32))
WRONG = {
    "npz": (saved(np.ones(3), np.savez), r"\.npz.*numpy\.save"),
    "PK": (b"PK", r"\.npz"),
    "PK and rubbish": (b"PK\x03\x04rubbish", r"\.npz"),
    "empty": (b"", "it is empty"),
    "text": (b"1,2,3\n", "does not begin as one"),
    "pickle": (b"\x80\x04]\x94.", "it is a pickle"),
    "objects": (saved(np.array([{}, 1], object)), "Python objects"),
    "half": (GOOD[: len(GOOD) // 2], "damaged"),
    "magic only": (GOOD[:6], "damaged"),
    "a byte short": (GOOD[:-1], "damaged"),
    "a header that is no dict": (header(b"hello"), "damaged"),
    "a header that does not parse": (header(b"{'descr': '<f4', ((((("), "damaged"),
    "a header of rubbish": (header(b"\xff\xfe\x00"), "damaged"),
    "a shape of terabytes": (
        header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"),
        "damaged",
    ),
    "a negative shape": (header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4), }\n") + bytes(32), "."),
    "texts": (saved(np.array(["a", "b"])), "an array of str"),
    "complex": (saved(np.ones(3, complex)), "an array of complex"),
    "one dimension": (saved(np.ones(3)), r"shape \(3,\), where 2 dimensions"),
    "none": (saved(np.array(3.0)), r"shape \(\), where 2"),
}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_everything_else_is_named(tmp_path, name, mmap):
    content, message = WRONG[name]
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_npy(path, ndim=2, mmap=mmap)
    assert str(path) in str(caught.value) and len(str(caught.value)) < len(str(path)) + 200


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(DataError, match="can't be read"):
        read_npy(tmp_path)


def test_mutated_files_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(500):
        broken = bytearray(GOOD)
        for place in rng.integers(0, 130, 3):
            broken[place] = rng.integers(256)
        (tmp_path / "a.npy").write_bytes(broken)
        try:
            read_npy(tmp_path / "a.npy", ndim=2)
        except DataError:
            pass
