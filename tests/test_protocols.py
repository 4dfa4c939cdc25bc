import math
import os
import pickle
import struct

import numpy as np
import pandas as pd
import pytest

from fiqa_lib import protocols
from fiqa_lib.errors import DataError
from fiqa_lib.evaluation import edc


def write(tmp_path, text, name="file.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


LFW = """2\t2
Abel_Pacheco\t1\t4
Akhmed_Zakayev\t2\t3
Abdel_Madi\t3\tDean_Barker\t12
Al_Gore\t1\tAbel_Pacheco\t1
Zoe\t1\t2
Amy\t1\t3
Zoe\t1\tAmy\t1
Zoe\t2\tAmy\t3
"""


# --------------------------------------------------------------------------------------------------------------- pairs


def test_lfw_pairs(tmp_path):
    table = protocols.read_lfw_pairs(write(tmp_path, LFW))
    assert list(table) == ["a", "b", "mated", "fold"]
    assert table["mated"].tolist() == [True, True, False, False] * 2 and table["mated"].dtype == bool
    assert table["fold"].tolist() == [0] * 4 + [1] * 4
    assert table.loc[0, ["a", "b"]].tolist() == [
        "Abel_Pacheco/Abel_Pacheco_0001.jpg",
        "Abel_Pacheco/Abel_Pacheco_0004.jpg",
    ]
    assert table.loc[2, ["a", "b"]].tolist() == ["Abdel_Madi/Abdel_Madi_0003.jpg", "Dean_Barker/Dean_Barker_0012.jpg"]


@pytest.mark.parametrize("change", [str.encode, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t + "\n\n"])
def test_lfw_pairs_survive_line_ends_marks_and_blank_lines(tmp_path, change):
    expected = protocols.read_lfw_pairs(write(tmp_path, LFW))
    pd.testing.assert_frame_equal(protocols.read_lfw_pairs(write(tmp_path, change(LFW), "other.txt")), expected)


def test_lfw_pairs_of_one_set_of_other_names_and_of_spaces(tmp_path):
    path = write(tmp_path, "1\nJean Paul\t1\t2\nJean Paul\t1\tAmy\t3\n")
    table = protocols.read_lfw_pairs(path, name="{person}_{number}.png")
    assert table["a"].tolist() == ["Jean Paul_1.png"] * 2 and table["fold"].tolist() == [0, 0]
    spaced = protocols.read_lfw_pairs(write(tmp_path, "1\nZoe 1 2\nZoe 1 Amy 3\n", "b.txt"))
    assert spaced["b"].tolist() == ["Zoe/Zoe_0002.jpg", "Amy/Amy_0003.jpg"]
    free = protocols.read_lfw_pairs(write(tmp_path, "# made by hand\nZoe 1 2\n", "c.txt"))
    assert list(free) == ["a", "b", "mated"] and len(free) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (LFW.removeprefix("2\t2\n"), "line 1: a pair, where the header"),
        (LFW.replace("Zoe\t1\t2\n", ""), r"announces 8 pairs \(2 2\), there are 7"),
        (LFW.replace("Zoe\t1\t2", "Zoe\t1"), "line 6: 3 tokens"),
        (LFW.replace("Zoe\t1\t2", "Zoe\t1\t2\tAmy\t1"), "line 6: 3 tokens"),
        (LFW.replace("Zoe\t1\t2", "Zoe\t1\tx"), "line 6: images are counted from 1, got '1' and 'x'"),
        (LFW.replace("Zoe\t1\t2", "Zoe\t0\t2"), "line 6: images are counted from 1"),
        (LFW.replace("Zoe\t1\t2", "Zoe\t1\tZoe\t2"), "line 6: 4 tokens are two people"),
        (LFW.replace("Zoe\t1\t2", "Zoe\t1\tEve\t2"), "fold 2 has 1 mated"),
        (LFW.encode().replace(b"Zoe\t1\t2", b"Zo\xeb\t1\t2"), "line 6: not UTF-8"),
    ],
)
def test_malformed_lfw_pairs_are_named_by_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        protocols.read_lfw_pairs(path)
    assert str(path) in str(caught.value)


def test_crfiqa_pairs(tmp_path):
    table = protocols.read_crfiqa_pairs(write(tmp_path, "00000 00001 00001\n00002 00003 00000\n"))
    assert table["a"].tolist() == ["00000", "00002"] and table["mated"].tolist() == [True, False]
    named = protocols.read_crfiqa_pairs(write(tmp_path, "Zoe_0001.jpg Zoe_0002.jpg 1\n", "b.txt"))
    assert named["b"].tolist() == ["Zoe_0002.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b 1\na b\n", "line 2: `a b 0/1` is expected, got 2 tokens"),
        ("a b 1\n\na b 2\n", "line 3: '2' is no flag"),
        ("a b yes\n", "line 1: 'yes' is no flag"),
    ],
)
def test_malformed_crfiqa_pairs_are_named_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        protocols.read_crfiqa_pairs(write(tmp_path, text))


def test_pairs_csv_keeps_further_columns_as_numbers_where_they_are(tmp_path):
    text = 'a,b,same,fold,dlib,note\n"one, two.jpg",x.jpg,1,0,0.25,7a\ny.jpg,z.jpg,FALSE,1,-1e-3,b\n'
    table = protocols.read_pairs_csv(write(tmp_path, text))
    assert list(table) == ["a", "b", "mated", "fold", "dlib", "note"]
    assert table["a"].tolist() == ["one, two.jpg", "y.jpg"] and table["mated"].tolist() == [True, False]
    assert table["fold"].tolist() == [0, 1] and table["dlib"].tolist() == [0.25, -0.001]
    assert table["note"].tolist() == ["7a", "b"]


def test_pairs_csv_round_trip(tmp_path):
    table = protocols.read_lfw_pairs(write(tmp_path, LFW))
    path = protocols.write_pairs_csv(table, tmp_path / "pairs.csv")
    assert path.read_text().startswith("a,b,same,fold\n")
    pd.testing.assert_frame_equal(protocols.read_pairs_csv(path), table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a,b\n1,2\n", "no column 'mated'|no column 'same'"),
        ("a,same\n1,1\n", "no column 'b'"),
        ("a,b,same\nx,y,1\nx,y\n", "line 3: 3 cells are expected, got 2"),
        ("a,b,same\nx,y,1\n\nx,,0\n", "line 4: the cell 'b' is empty"),
        ("a,b,same\nx,y,1\nx,y,-1\n", "line 3: '-1' is no flag"),
        ('a,b,same\n"two\nlines",y,1\nx,y,no\n', "line 4: 'no' is no flag"),
        ("a,b,b,same\n1,2,3,1\n", "occurs twice"),
        ('a,b,same\n"x,y,1\n', "not valid CSV"),
        (b"a,b,same\n\xff,y,1\n", "not UTF-8"),
    ],
)
def test_malformed_pairs_csv_is_named_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        protocols.read_pairs_csv(write(tmp_path, text))


def test_read_pairs_tells_the_formats_apart(tmp_path):
    lfw, crfiqa = write(tmp_path, LFW, "1.txt"), write(tmp_path, "a b 1\nc d 0\n", "2.txt")
    csv = write(tmp_path, "same,a,b\n1,x,y\n", "3.txt")
    assert len(protocols.read_pairs(lfw)) == 8 and "fold" in protocols.read_pairs(lfw)
    assert protocols.read_pairs(crfiqa)["mated"].tolist() == [True, False]
    assert protocols.read_pairs(csv)["b"].tolist() == ["y"]
    with pytest.raises(DataError, match="read_insightface_bin"):
        protocols.read_pairs(tmp_path / "lfw.bin")
    with pytest.raises(DataError, match="can't be read"):
        protocols.read_pairs(tmp_path / "absent.txt")


def test_pairs_of_faces():
    names, identities = ["n1", "n2", "n3", "n4"], ["a", "b", "a", "a"]
    table = protocols.pairs_of_faces(names, identities)
    assert {frozenset(row) for row in table.loc[table["mated"], ["a", "b"]].to_numpy()} == {
        frozenset(p) for p in (("n1", "n3"), ("n1", "n4"), ("n3", "n4"))
    }
    assert len(table) == 6
    capped = protocols.pairs_of_faces(names, identities, max_mated=1, max_impostor=2, random_state=5)
    assert capped["mated"].tolist() == [True, False, False]
    assert [names[i] for i in capped["index_b"]] == capped["b"].tolist()
    with pytest.raises(DataError, match="4 names, but 3"):
        protocols.pairs_of_faces(names, identities[:3])


# ------------------------------------------------------------------------------------------------ InsightFace's pickles

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
    read = protocols.read_insightface_bin(dump(tmp_path, (PICTURES[pictures], FLAGS[flags]), protocol))
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
    read = protocols.read_insightface_bin(write(tmp_path, b"\x80\x02(" + images + array + b"t.", "set.bin"))
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
        protocols.read_insightface_bin(path)
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
        protocols.read_insightface_bin(path)
    assert str(path) in str(caught.value)
    good = dump(tmp_path, (IMAGES, np.array([True, False])))
    assert protocols.read_insightface_bin(good).images == IMAGES  # and the reader is unharmed


def test_structured_and_misfitting_arrays_are_refused(tmp_path):
    for flags in (np.zeros(2, dtype=[("x", "i4")]), np.array([1.0, 0.0]), np.array(["1", "0"])):
        with pytest.raises(DataError, match="damaged"):
            protocols.read_insightface_bin(dump(tmp_path, (IMAGES, flags)))
    content = pickle.dumps((IMAGES, np.array([True, False])), protocol=4)
    wide = content.replace(b"K\x02\x85", b"K\x05\x85")
    assert wide != content
    with pytest.raises(DataError, match="do not fit its shape"):
        protocols.read_insightface_bin(write(tmp_path, wide, "set.bin"))


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
        protocols.read_insightface_bin(dump(tmp_path, content))


def test_damaged_bins_are_named(tmp_path):
    whole = pickle.dumps((IMAGES, [True, False]), protocol=4)
    for length in range(len(whole)):
        with pytest.raises(DataError, match="damaged"):
            protocols.read_insightface_bin(write(tmp_path, whole[:length], "set.bin"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            broken[place] = rng.integers(256)
        try:
            protocols.read_insightface_bin(write(tmp_path, bytes(broken), "set.bin"))
        except DataError:
            pass
    with pytest.raises(DataError, match="can't be read"):
        protocols.read_insightface_bin(tmp_path / "absent.bin")
    jpeg = write(tmp_path, b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF", "x.bin")
    with pytest.raises(DataError, match="damaged, or not a pickle"):
        protocols.read_insightface_bin(jpeg)


# -------------------------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize(
    "text",
    [
        "my faces/a 1.jpg 0.5\nb.jpg -3\n",
        "my faces/a 1.jpg\t0.5\nb.jpg\t-3e0\n",
        "img;score\nmy faces/a 1.jpg;0.5\nb.jpg;-3\n",
        "my faces/a 1.jpg;0.5\nb.jpg;-3\n",
        "my faces/a 1.jpg    0.5  \r\nb.jpg -3.0\r\n\r\n",
        "my faces/a 1.jpg 0.5\nb.jpg -3\nb.jpg -3.00001\n",  # the same image twice, as in XQLFW's list
    ],
)
def test_quality_files(tmp_path, text):
    table = protocols.read_quality(write(tmp_path, text))
    assert table["path"].tolist() == ["my faces/a 1.jpg", "b.jpg"]
    assert table["score"].tolist() == [0.5, -3] and table["score"].dtype == "Float64"


def test_quality_file_with_semicolons_in_its_paths(tmp_path):
    assert protocols.read_quality(write(tmp_path, "a;b.jpg 0.5\n"))["path"].tolist() == ["a;b.jpg"]
    assert protocols.read_quality(write(tmp_path, "img;score\na;b.jpg;0.5\n"))["path"].tolist() == ["a;b.jpg"]


def test_minus_infinity_is_a_score_that_is_missing(tmp_path):
    table = protocols.read_quality(write(tmp_path, "a.jpg -inf\nb.jpg 2\n"))
    assert table["score"].tolist() == [-math.inf, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a.jpg 0.5\nb.jpg\n", "line 2: `path score` is expected"),
        ("a.jpg 0.5\nb.jpg good\n", "line 2: the score 'good' is no number"),
        ("a.jpg 0.5\n\nb.jpg nan\n", "line 3: the score is NaN"),
        ("img;score\na.jpg;0.5\nb.jpg 0.5\n", "line 3: `img;score` is expected"),
        ("a.jpg 0.5\na.jpg 0.6\n", "line 2: 'a.jpg' has the score 0.6, but 0.5 in line 1"),
        (" 0.5\n", "line 1: `path score` is expected"),
    ],
)
def test_malformed_quality_files_are_named_by_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        protocols.read_quality(path)
    assert str(path) in str(caught.value)


SCORES = (
    "path,status,score,sharpness\na.jpg,ok,0.5,7\nb.jpg,no_face,,8\nc.jpg,fallback,2,\nd.jpg,error,9,1\ne.jpg,ok,,2\n"
)


def test_scores_csv_turns_failures_into_missing_values(tmp_path):
    table = protocols.read_scores_csv(write(tmp_path, SCORES, "scores.csv"))
    assert table["path"].tolist() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert table["score"].isna().tolist() == [False, True, False, True, True]
    assert table["score"].dropna().tolist() == [0.5, 2]
    assert table["status"].tolist() == ["ok", "no_face", "fallback", "error", "ok"]
    other = protocols.read_scores_csv(write(tmp_path, SCORES, "scores.csv"), column="sharpness")
    assert other["score"].isna().tolist() == [False, True, True, True, False]
    plain = protocols.read_scores_csv(write(tmp_path, "path,score\na.jpg,1\n", "plain.csv"))
    assert list(plain) == ["path", "score"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,score\na,1\n", "no column 'path'"),
        ("path,quality\na,1\n", "no column 'score'"),
        ("path,score\na,1\n,2\n", "line 3: the cell 'path' is empty"),
        ("path,score\na,1\nb,high\n", "line 3: the score 'high' is no number"),
        ("path,score\na,NaN\n", "line 2: the score is NaN"),
        ("path,score\na,1\na,\n", "line 3: 'a' has the score None, but 1.0 in line 2"),
    ],
)
def test_malformed_scores_csv_is_named_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        protocols.read_scores_csv(write(tmp_path, text))


def test_read_scores_tells_the_formats_apart(tmp_path):
    for name, text in (("1", SCORES), ("2", "img;score\na.jpg;0.5\n"), ("3", "a.jpg 0.5\n")):
        assert protocols.read_scores(write(tmp_path, text, name))["path"][0] == "a.jpg"


def test_pair_qualities_find_images_by_path_name_or_stem(tmp_path):
    pairs = protocols.read_crfiqa_pairs(write(tmp_path, "00000 00001 1\n00001 00002 0\n"))
    scores = protocols.read_quality(write(tmp_path, "x/00000.jpg 5\nx\\00001.jpg 6\nx/00002.jpg 7\n", "q.txt"))
    for match in ("auto", "stem"):
        a, b = protocols.pair_qualities(pairs, scores, match=match)
        assert (list(a), list(b)) == ([5, 6], [6, 7])
    with pytest.raises(DataError, match="by path, 3 images have no score: 00000, 00001, 00002"):
        protocols.pair_qualities(pairs, scores, match="path")
    clash = pd.concat([scores, scores.assign(path="y/" + scores["path"])], ignore_index=True)
    with pytest.raises(DataError, match="by stem, 3 scores bear one name"):
        protocols.pair_qualities(pairs, clash)
    with pytest.raises(DataError, match="match must be"):
        protocols.pair_qualities(pairs, scores, match="luck")


def test_from_files_to_a_curve_with_missing_faces(tmp_path):
    pairs = protocols.read_pairs(write(tmp_path, "a,b,same,dlib\na.jpg,c.jpg,1,0.9\na.jpg,b.jpg,1,0.1\n", "p.csv"))
    scores = protocols.read_scores(write(tmp_path, SCORES, "s.csv"))
    curve = edc(pairs["dlib"], pairs["mated"], *protocols.pair_qualities(pairs, scores), threshold=0.5)
    assert curve.n_missing == 1 and curve.error.tolist() == [0.5, 0, 0]
