import os
import pickle
import resource
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from fiqa_lib.data.bin_files import read_insightface_bin
from fiqa_lib.errors import DataError


def write(tmp_path, text, name="file.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


IMAGES = [b"\xff\xd8first\xff\xd9", b"\xff\xd8\x00\x80two", b"three\x00", b"4"]


def dump(tmp_path, content, protocol=4):
    return write(tmp_path, pickle.dumps(content, protocol=protocol), "set.bin")


FLAGS = {
    "bools": [True, False],
    "ints": [1, 0],
    "numpy bools": [np.bool_(True), np.bool_(False)],
    "numpy ints": [np.int64(1), np.int64(0)],
    "bool array": np.array([True, False]),
    "int array": np.array([1, 0], dtype=np.int32),
    "big-endian array": np.array([1, 0], dtype=">i4"),
    "object array": np.array([True, False], dtype=object),
}
PICTURES = {
    "bytes": IMAGES,
    "bytearrays": [bytearray(image) for image in IMAGES],
    "arrays": [np.frombuffer(image, np.uint8) for image in IMAGES],
    "column arrays": [np.frombuffer(image, np.uint8).reshape(-1, 1) for image in IMAGES],  # cv2.imencode
    "object array": np.array(IMAGES, dtype=object),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("pictures", PICTURES)
def test_bin_is_read_in_all_the_ways_it_can_be_written(tmp_path, pictures, flags, protocol):
    read = read_insightface_bin(dump(tmp_path, (PICTURES[pictures], FLAGS[flags]), protocol))
    assert read.images == IMAGES
    assert all(type(image) is bytes for image in read.images)
    assert read.pairs["mated"].tolist() == [True, False] and read.pairs["mated"].dtype == bool
    assert read.pairs["a"].tolist() == ["00000", "00002"] and read.pairs["b"].tolist() == ["00001", "00003"]


def test_bin_of_python_2_is_read(tmp_path):
    """Python 2 wrote its byte strings as SHORT_BINSTRING and pickled arrays with byte strings for their types."""
    string = lambda b: b"U" + bytes([len(b)]) + b  # noqa: E731
    dtype = (
        b"cnumpy\ndtype\n("
        + string(b"b1")
        + b"K\x00K\x01tR(K\x03"
        + string(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR"
    array += b"(K\x01(K\x02t" + dtype + b"I00\n" + string(b"\x01\x00") + b"tb"
    images = b"](" + b"".join(map(string, IMAGES)) + b"e"
    read = read_insightface_bin(write(tmp_path, b"\x80\x02(" + images + array + b"t.", "set.bin"))
    assert read.images == IMAGES and read.pairs["mated"].tolist() == [True, False]


class Hostile:
    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "eval"),
        (getattr, "getattr"),
        (np.load, "load"),
        (np.frombuffer, "frombuffer"),
        (__import__, "__import__"),
    ],
)
def test_hostile_pickles_are_refused_by_name(tmp_path, call, name, protocol):
    victim = tmp_path / "victim"
    command = f"touch {victim}"
    path = dump(tmp_path, ([Hostile(call, command)] * 2, [True]), protocol)
    with pytest.raises(DataError, match=rf"refused.*{name}.*pickle\.load") as caught:
        read_insightface_bin(path)
    assert str(path) in str(caught.value) and not victim.exists()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cposix\nsystem\n.", r"asks for posix\.system"),
        (b"c__builtin__\nexec\n(Vprint(1)\ntR.", r"asks for __builtin__\.exec"),
        (b"(Vls\nios\nsystem\n.", r"asks for os\.system"),  # INST
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", r"asks for builtins\.eval"),  # STACK_GLOBAL
        (b"\x80\x02\x82\x01.", "unregistered extension code"),  # EXT1: a name from the copyreg registry
        (b"P7\n.", "something outside of the file"),  # a persistent reference
        # BUILD on the reader's own function, with attributes and with slots
        (b"cnumpy.core.multiarray\n_reconstruct\n}V__call__\nVx\nsb.", "attempt to change the reader"),
        (b"cnumpy.core.multiarray\n_reconstruct\nN}V_call\nVx\ns\x86b.", "attempt to change the reader"),
        (b"cnumpy\nndarray\n(I9\ntR.", r"a call of numpy\.ndarray"),
        (b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.", "bytes in an unknown encoding"),  # two gigabytes of zeros
        (b"c_codecs\nencode\n(V\\u0041\nVrot13\ntR.", "bytes in an unknown encoding"),
        (b"cnumpy\ndtype\n(VV100000000\ntR.", "type 'V100000000'"),
        (b"cnumpy\ndtype\n(Vf8\ntR.", "type 'f8'"),
    ],
)
def test_handwritten_programs_are_refused(tmp_path, program, message):
    path = write(tmp_path, program, "set.bin")
    with pytest.raises(DataError, match=message) as caught:
        read_insightface_bin(path)
    assert str(path) in str(caught.value)
    good = dump(tmp_path, (IMAGES, np.array([True, False])))
    assert read_insightface_bin(good).images == IMAGES  # and the reader is unharmed


def test_structured_and_misfitting_arrays_are_refused(tmp_path):
    for flags in (np.zeros(2, dtype=[("x", "i4")]), np.array([1.0, 0.0]), np.array(["1", "0"])):
        with pytest.raises(DataError, match="damaged"):
            read_insightface_bin(dump(tmp_path, (IMAGES, flags)))
    content = pickle.dumps((IMAGES, np.array([True, False])), protocol=4)
    wide = content.replace(b"K\x02\x85", b"K\x05\x85")
    assert wide != content
    with pytest.raises(DataError, match="do not fit its shape"):
        read_insightface_bin(write(tmp_path, wide, "set.bin"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES, r"a pair \(images, flags\) is expected, got list of 4"),
        ((IMAGES, [True, False], 3), "got tuple of 3"),
        ({"images": IMAGES}, "got dict"),
        ((IMAGES, [True]), "4 images and 1 flags"),
        (([], []), "0 images and 0 flags"),
        ((IMAGES, [True, 2]), "flag 1 must be True or False, got int 2"),
        ((IMAGES, [True, 0.0]), "flag 1 must be True or False, got float"),
        ((IMAGES, {True, False}), "a list of flags is expected, got set"),
        ((["a.jpg", *IMAGES[1:]], [True, False]), "image 0 must be encoded bytes, got str"),
        (([b"", *IMAGES[1:]], [True, False]), "image 0 must be encoded bytes"),
        ((b"images", [True, False]), "a list of images is expected, got bytes"),
    ],
)
def test_other_contents_are_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_insightface_bin(dump(tmp_path, content))


def test_damaged_bins_are_named(tmp_path):
    whole = pickle.dumps((IMAGES, [True, False]), protocol=4)
    for length in range(len(whole)):
        with pytest.raises(DataError, match="damaged"):
            read_insightface_bin(write(tmp_path, whole[:length], "set.bin"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            broken[place] = rng.integers(256)
        try:
            read_insightface_bin(write(tmp_path, bytes(broken), "set.bin"))
        except DataError:
            pass
    with pytest.raises(DataError, match="can't be read"):
        read_insightface_bin(tmp_path / "absent.bin")
    jpeg = write(tmp_path, b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF", "x.bin")
    with pytest.raises(DataError, match="damaged, or not a pickle"):
        read_insightface_bin(jpeg)


def doubled(times):
    """A list that holds itself-made-before twice, `times` deep: 2 ** times things when somebody walks through it."""
    steps = b"".join(b"]q%c(h%ch%ce" % (i, i - 1, i - 1) for i in range(1, times + 1))
    return b"]q\x00K\x01a" + b"0" + steps.replace(b"e]", b"e0]")


def dtype(code):
    return b"cnumpy\ndtype\n(V" + code + b"\ntR"


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(tR"
BOMBS = {
    "a flag that is 2 ** 40 lists": b"\x80\x02](U\x011U\x011e](" + doubled(40) + b"e\x86.",
    "an image that is 2 ** 40 lists": b"\x80\x02](" + doubled(40) + b"U\x011e]I01\na\x86.",
    "a persistent name that is 2 ** 40 lists": b"\x80\x02" + doubled(40) + b"Q.",
    "a type that is 2 ** 40 lists": b"\x80\x02cnumpy\ndtype\n" + doubled(40) + b"\x85R.",
    "a key that is 2 ** 40 tuples": b"\x80\x02}K\x01\x85q\x01" + b"0h\x01h\x01\x86q\x01" * 40 + b"K\x01s.",
    "a set of 2 ** 40 tuples": b"\x80\x04\x8f(K\x01\x85q\x01" + b"0h\x01h\x01\x86q\x01" * 40 + b"\x90.",
    "two gigabytes of zeros": ARRAY + b"(K\x01(J\x00\x00\x00\x7ft" + dtype(b"u1") + b"I00\nJ\x00\x00\x00\x7ftb.",
    "bytes of a number": b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.",
    "a place in the memo": b"\x80\x02Nr\xff\xff\xff\x0f.",
    "a text of four gigabytes": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 2 ** 62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "a shape of 2 ** 62": (
        ARRAY + b"(K\x01(\x8a\x08" + struct.pack("<Q", 2**62) + b"t" + dtype(b"u1") + b"I00\nU\x01atb."
    ),
    "one text, encoded 5000 times": (
        b"\x80\x02X" + struct.pack("<I", 50_000) + b"a" * 50_000 + b"q\x00c_codecs\nencode\nq\x010("
        + b"h\x01h\x00U\x06latin1\x86R" * 5_000 + b"l."
    ),
    "a number of 100,000 digits": b"(lp0\nL" + b"9" * 100_000 + b"L\na.",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_in_a_moment_and_in_little_space(tmp_path, bomb):
    """In a process of its own that may take 100 MB more than its imports, and in words that don't repeat the file."""
    path = write(tmp_path, BOMBS[bomb], "bomb.bin")
    code = (
        "import resource, sys, time\nfrom fiqa_lib.data.bin_files import read_insightface_bin\n"
        "from fiqa_lib.errors import DataError\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "try:\n    read_insightface_bin(sys.argv[1])\nexcept DataError as error:\n    message = str(error)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(time.perf_counter() - start, (after - before) / 1024, len(message))"
    )
    limits = lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=90, preexec_fn=limits, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    seconds, megabytes, length = map(float, done.stdout.split())
    assert seconds < 1 and megabytes < 100 and length < 400 + len(str(path))


def test_broken_files_take_no_time(tmp_path):
    """Bytes changed at random, in files that are written in all the ways."""
    wholes = [pickle.dumps((PICTURES[p], FLAGS[f]), v) for p in PICTURES for f in FLAGS for v in (0, 2, 4)]
    rng, start = np.random.default_rng(1), time.perf_counter()
    for whole in wholes:
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 2):
            broken[place] = rng.integers(256)
        try:
            read_insightface_bin(write(tmp_path, bytes(broken), "set.bin"))
        except DataError as error:
            assert len(str(error)) < 500 + len(str(tmp_path))
    assert time.perf_counter() - start < 10
