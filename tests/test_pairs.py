import pandas as pd
import pytest

from fiqa_lib.data import pairs
from fiqa_lib.errors import DataError


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


def test_lfw_pairs(tmp_path):
    table = pairs.read_lfw_pairs(write(tmp_path, LFW))
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
    expected = pairs.read_lfw_pairs(write(tmp_path, LFW))
    pd.testing.assert_frame_equal(pairs.read_lfw_pairs(write(tmp_path, change(LFW), "other.txt")), expected)


def test_lfw_pairs_of_one_set_of_other_names_and_of_spaces(tmp_path):
    path = write(tmp_path, "1\nJean Paul\t1\t2\nJean Paul\t1\tAmy\t3\n")
    table = pairs.read_lfw_pairs(path, name="{person}_{number}.png")
    assert table["a"].tolist() == ["Jean Paul_1.png"] * 2 and table["fold"].tolist() == [0, 0]
    spaced = pairs.read_lfw_pairs(write(tmp_path, "1\nZoe 1 2\nZoe 1 Amy 3\n", "b.txt"))
    assert spaced["b"].tolist() == ["Zoe/Zoe_0002.jpg", "Amy/Amy_0003.jpg"]
    free = pairs.read_lfw_pairs(write(tmp_path, "# made by hand\nZoe 1 2\n", "c.txt"))
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
        pairs.read_lfw_pairs(path)
    assert str(path) in str(caught.value)


def test_crfiqa_pairs(tmp_path):
    table = pairs.read_crfiqa_pairs(write(tmp_path, "00000 00001 00001\n00002 00003 00000\n"))
    assert table["a"].tolist() == ["00000", "00002"] and table["mated"].tolist() == [True, False]
    named = pairs.read_crfiqa_pairs(write(tmp_path, "Zoe_0001.jpg Zoe_0002.jpg 1\n", "b.txt"))
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
        pairs.read_crfiqa_pairs(write(tmp_path, text))


def test_pairs_csv_keeps_further_columns_as_numbers_where_they_are(tmp_path):
    text = 'a,b,same,fold,dlib,note\n"one, two.jpg",x.jpg,1,0,0.25,7a\ny.jpg,z.jpg,FALSE,1,-1e-3,b\n'
    table = pairs.read_pairs_csv(write(tmp_path, text))
    assert list(table) == ["a", "b", "mated", "fold", "dlib", "note"]
    assert table["a"].tolist() == ["one, two.jpg", "y.jpg"] and table["mated"].tolist() == [True, False]
    assert table["fold"].tolist() == [0, 1] and table["dlib"].tolist() == [0.25, -0.001]
    assert table["note"].tolist() == ["7a", "b"]


def test_pairs_csv_round_trip(tmp_path):
    table = pairs.read_lfw_pairs(write(tmp_path, LFW))
    path = pairs.write_pairs_csv(table, tmp_path / "pairs.csv")
    assert path.read_text().startswith("a,b,same,fold\n")
    pd.testing.assert_frame_equal(pairs.read_pairs_csv(path), table)


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
        pairs.read_pairs_csv(write(tmp_path, text))


def test_read_pairs_tells_the_formats_apart(tmp_path):
    lfw, crfiqa = write(tmp_path, LFW, "1.txt"), write(tmp_path, "a b 1\nc d 0\n", "2.txt")
    csv = write(tmp_path, "same,a,b\n1,x,y\n", "3.txt")
    assert len(pairs.read_pairs(lfw)) == 8 and "fold" in pairs.read_pairs(lfw)
    assert pairs.read_pairs(crfiqa)["mated"].tolist() == [True, False]
    assert pairs.read_pairs(csv)["b"].tolist() == ["y"]
    with pytest.raises(DataError, match="read_insightface_bin"):
        pairs.read_pairs(tmp_path / "lfw.bin")
    with pytest.raises(DataError, match="can't be read"):
        pairs.read_pairs(tmp_path / "absent.txt")


def test_pairs_of_faces():
    names, identities = ["n1", "n2", "n3", "n4"], ["a", "b", "a", "a"]
    table = pairs.pairs_of_faces(names, identities)
    assert {frozenset(row) for row in table.loc[table["mated"], ["a", "b"]].to_numpy()} == {
        frozenset(p) for p in (("n1", "n3"), ("n1", "n4"), ("n3", "n4"))
    }
    assert len(table) == 6
    capped = pairs.pairs_of_faces(names, identities, max_mated=1, max_impostor=2, random_state=5)
    assert capped["mated"].tolist() == [True, False, False]
    assert [names[i] for i in capped["index_b"]] == capped["b"].tolist()
    with pytest.raises(DataError, match="4 names, but 3"):
        pairs.pairs_of_faces(names, identities[:3])


PAIRS = [("d/a 1.jpg", "d/b.jpg", True), ("d/a 1.jpg", "e/c.jpg", False)]
DIALECTS = {
    "ours": "a,b,same\nd/a 1.jpg,d/b.jpg,1\nd/a 1.jpg,e/c.jpg,0\n",
    "semicolons": "path1;path2;label\nd/a 1.jpg;d/b.jpg;1\nd/a 1.jpg;e/c.jpg;0\n",
    "tabs": "img1\timg2\tissame\nd/a 1.jpg\td/b.jpg\tTrue\nd/a 1.jpg\te/c.jpg\tFalse\n",
    "numbers with points": "Image_A,Image_B,is_same\nd/a 1.jpg,d/b.jpg,1.0\nd/a 1.jpg,e/c.jpg,0.0\n",
    "numbers with commas": "file1;file2;match\nd/a 1.jpg;d/b.jpg;1,0\nd/a 1.jpg;e/c.jpg;0,0\n",
    "quotes": '"a","b","mated"\n"d/a 1.jpg","d/b.jpg","1"\n"d/a 1.jpg","e/c.jpg","0"\n',
    "spaces": 'img1 img2 issame\n"d/a 1.jpg" d/b.jpg 1\n"d/a 1.jpg" e/c.jpg 0\n',
    "backslashes": "a,b,same\nd\\a 1.jpg,d\\b.jpg,1\nd\\a 1.jpg,e\\c.jpg,0\n",
    "an index": ",a,b,same\n0,d/a 1.jpg,d/b.jpg,1\n1,d/a 1.jpg,e/c.jpg,0\n",
    "empty cells at the end": "a,b,same,\nd/a 1.jpg,d/b.jpg,1,\nd/a 1.jpg,e/c.jpg,0,\n",
    "no header, commas": "d/a 1.jpg,d/b.jpg,1\nd/a 1.jpg,e/c.jpg,0\n",
    "no header, semicolons": "d\\a 1.jpg;d\\b.jpg;1.0\nd\\a 1.jpg;e\\c.jpg;0.0\n",
    "no header, tabs": "d/a 1.jpg\td/b.jpg\t1\nd/a 1.jpg\te/c.jpg\t0\n",
    "no header, quotes and spaces": '"d/a 1.jpg" d/b.jpg 1.0\n"d/a 1.jpg" e/c.jpg 0.0\n',
}
ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "windows": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "comments and blank lines": lambda text: ("# by hand\n\n" + text.replace("\n", "\n# x\n\n", 1)).encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_pairs(tmp_path, dialect, encoding):
    table = pairs.read_pairs(write(tmp_path, ENCODINGS[encoding](DIALECTS[dialect]), "pairs.csv"))
    assert list(table[["a", "b", "mated"]].itertuples(index=False, name=None)) == PAIRS
    assert list(table) == ["a", "b", "mated"]


def test_similarities_with_commas_and_one_nan_are_numbers(tmp_path):
    text = "a;b;same;cos;note\nx;y;1;0,25;-\nx;z;0;nan;7\n"
    table = pairs.read_pairs(write(tmp_path, text))
    assert table["cos"][0] == 0.25 and table["cos"].isna().tolist() == [False, True]
    assert table["note"].tolist() == ["-", "7"]


def test_read_pairs_reads_two_line_pairs_and_says_what_they_are(tmp_path):
    table = pairs.read_pairs(write(tmp_path, "A_1.jpg 1\nA_2.jpg 1\nA_1.jpg 0\nB_1.jpg 0\n"))
    assert table["b"].tolist() == ["A_2.jpg", "B_1.jpg"] and table["mated"].tolist() == [True, False]
    with pytest.raises(DataError, match="3 lines; in CALFW and CPLFW two lines make a pair"):
        pairs.read_pairs(write(tmp_path, "A_1.jpg 1\nA_2.jpg 1\nA_1.jpg 0\n"))
    with pytest.raises(DataError, match="line 2: expected 'image.jpg number'"):
        pairs.read_pairs(write(tmp_path, "A_1.jpg 1\nA_2.jpg\n"))


def test_lfw_with_comments(tmp_path):
    expected = pairs.read_pairs(write(tmp_path, LFW))
    pd.testing.assert_frame_equal(pairs.read_pairs(write(tmp_path, "# LFW\n" + LFW, "c.txt")), expected)
    assert len(pairs.read_pairs(write(tmp_path, "# by hand\nZoe 1 2\nZoe 1 Amy 3\n", "d.txt"))) == 2
    with pytest.raises(DataError, match="a pair, where the header line should be"):
        pairs.read_pairs(write(tmp_path, "Zoe 1 2\nZoe 1 Amy 3\n", "e.txt"))


@pytest.mark.parametrize("text", ["hello\n", "x,y,z\n1,2,3\n", "<html>\n<body>\n", "one.jpg two.jpg\n"])
def test_formats_that_were_tried_are_said(tmp_path, text):
    with pytest.raises(DataError, match="Tried: a table.*CR-FIQA's.*LFW's.*CPLFW"):
        pairs.read_pairs(write(tmp_path, text))


def test_spreadsheets_are_named(tmp_path):
    with pytest.raises(DataError, match=r"\.xlsx.*save the table as CSV"):
        pairs.read_pairs(write(tmp_path, b"PK\x03\x04\x14\x00", "pairs.xlsx"))
