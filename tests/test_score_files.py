import math
import pickle

import numpy as np
import pandas as pd
import pytest

from fiqa_lib.data import read_crfiqa_pairs, read_pairs, score_files
from fiqa_lib.errors import DataError
from fiqa_lib.evaluation import edc


def write(tmp_path, text, name="file.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


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
    table = score_files.read_quality(write(tmp_path, text))
    assert table["path"].tolist() == ["my faces/a 1.jpg", "b.jpg"]
    assert table["score"].tolist() == [0.5, -3] and table["score"].dtype == "Float64"


def test_quality_file_with_semicolons_in_its_paths(tmp_path):
    assert score_files.read_quality(write(tmp_path, "a;b.jpg 0.5\n"))["path"].tolist() == ["a;b.jpg"]
    assert score_files.read_quality(write(tmp_path, "img;score\na;b.jpg;0.5\n"))["path"].tolist() == ["a;b.jpg"]


def test_minus_infinity_is_a_score_that_is_missing(tmp_path):
    table = score_files.read_quality(write(tmp_path, "a.jpg -inf\nb.jpg 2\n"))
    assert table["score"].tolist() == [-math.inf, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a.jpg 0.5\nb.jpg\n", "line 2: `path score` is expected"),
        ("a.jpg 0.5\nb.jpg good\n", "line 2: the score 'good' is no number"),
        ("img;score\na.jpg;0.5\nb.jpg 0.5\n", "line 3: `img;score` is expected"),
        ("a.jpg 0.5\na.jpg 0.6\n", "line 2: 'a.jpg' has the score 0.6, but 0.5 in line 1"),
        (" 0.5\n", "line 1: `path score` is expected"),
    ],
)
def test_malformed_quality_files_are_named_by_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        score_files.read_quality(path)
    assert str(path) in str(caught.value)


SCORES = (
    "path,status,score,sharpness\na.jpg,ok,0.5,7\nb.jpg,no_face,,8\nc.jpg,fallback,2,\nd.jpg,error,9,1\ne.jpg,ok,,2\n"
)


def test_scores_csv_turns_failures_into_missing_values(tmp_path):
    table = score_files.read_scores_csv(write(tmp_path, SCORES, "scores.csv"))
    assert table["path"].tolist() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert table["score"].isna().tolist() == [False, True, False, True, True]
    assert table["score"].dropna().tolist() == [0.5, 2]
    assert table["status"].tolist() == ["ok", "no_face", "fallback", "error", "ok"]
    other = score_files.read_scores_csv(write(tmp_path, SCORES, "scores.csv"), column="sharpness")
    assert other["score"].isna().tolist() == [False, True, True, True, False]
    plain = score_files.read_scores_csv(write(tmp_path, "path,score\na.jpg,1\n", "plain.csv"))
    assert list(plain) == ["path", "score"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who,score\na,1\n", "no column 'path'.*--path-column"),
        ("path,glow\na,1\n", "no column 'score'.*--column"),
        ("path,score\na,1\n,2\n", "line 3: the cell 'path' is empty"),
        ("path,score\na,1\nb,high\n", "line 3: the score 'high' is no number"),
        ("path,score\na,1\na,\n", "line 3: 'a' has the score None, but 1.0 in line 2"),
    ],
)
def test_malformed_scores_csv_is_named_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        score_files.read_scores_csv(write(tmp_path, text))


def test_read_scores_tells_the_formats_apart(tmp_path):
    for name, text in (("1", SCORES), ("2", "img;score\na.jpg;0.5\n"), ("3", "a.jpg 0.5\n")):
        assert score_files.read_scores(write(tmp_path, text, name))["path"][0] == "a.jpg"


def test_pair_qualities_find_images_by_path_name_or_stem(tmp_path):
    pairs = read_crfiqa_pairs(write(tmp_path, "00000 00001 1\n00001 00002 0\n"))
    scores = score_files.read_quality(write(tmp_path, "x/00000.jpg 5\nx\\00001.jpg 6\nx/00002.jpg 7\n", "q.txt"))
    for match in ("auto", "stem"):
        a, b = score_files.pair_qualities(pairs, scores, match=match)
        assert (list(a), list(b)) == ([5, 6], [6, 7])
    with pytest.raises(DataError, match="by path, 3 images have no score: 00000, 00001, 00002"):
        score_files.pair_qualities(pairs, scores, match="path")
    clash = pd.concat([scores, scores.assign(path="y/" + scores["path"])], ignore_index=True)
    with pytest.raises(DataError, match="by stem, 3 scores have one name"):
        score_files.pair_qualities(pairs, clash)
    with pytest.raises(DataError, match="match must be"):
        score_files.pair_qualities(pairs, scores, match="luck")


def test_from_files_to_a_curve_with_missing_faces(tmp_path):
    pairs = read_pairs(write(tmp_path, "a,b,same,dlib\na.jpg,c.jpg,1,0.9\na.jpg,b.jpg,1,0.1\n", "p.csv"))
    scores = score_files.read_scores(write(tmp_path, SCORES, "s.csv"))
    curve = edc(pairs["dlib"], pairs["mated"], *score_files.pair_qualities(pairs, scores), threshold=0.5)
    assert curve.n_missing == 1 and curve.error.tolist() == [0.5, 0, 0]


ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "windows": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "comments": lambda text: ("# made by hand\n" + text.replace("\n", "\n# between\n", 1)).encode(),
    "blank lines": lambda text: ("\n" + text.replace("\n", "\n\n") + "  \n").encode(),
}
DIALECTS = {
    "ours": "path,status,score\nd/a 1.jpg,ok,0.5\nd/b.jpg,ok,-3\n",
    "semicolons and decimal commas": "path;score\nd/a 1.jpg;0,5\nd/b.jpg;-3,0\n",
    "tabs": "path\tscore\nd/a 1.jpg\t0.5\nd/b.jpg\t-3\n",
    "quotes": '"path","score"\n"d/a 1.jpg","0.5"\n"d/b.jpg","-3"\n',
    "backslashes": "path,score\nd\\a 1.jpg,0.5\nd\\b.jpg,-3\n",
    "other names": "Image_Path,Quality Score\nd/a 1.jpg,0.5\nd/b.jpg,-3\n",
    "an index, and empty columns at the end": ",path,score,\n0,d/a 1.jpg,0.5,\n1,d/b.jpg,-3,\n",
    "OFIQ": (
        "Filename;UnifiedQualityScore;Sharpness;UnifiedQualityScore.scalar;Sharpness.scalar;\n"
        "d\\a 1.jpg;27.1;3.2;0.5;90;\nd\\b.jpg;20.5;1.1;-3;-1;\n"
    ),
    "no header": "d/a 1.jpg,0.5\nd/b.jpg,-3\n",
    "no header, semicolons": "d/a 1.jpg;0.5\nd/b.jpg;-3\n",
    "no header, quotes": '"d/a 1.jpg",0.5\n"d/b.jpg",-3\n',
    "CR-FIQA": "d/a 1.jpg 0.5\nd/b.jpg -3\n",
    "CR-FIQA with a header": "path score\nd/a 1.jpg 0.5\nd/b.jpg -3\n",
    "FaceQnet": "img;score\nd/a 1.jpg;0.5\nd/b.jpg;-3\n",
    "FaceQgen": "img;score\nd/a 1.jpg;[0.5]\nd/b.jpg;[-3.]\n",
    "FaceQgen, without a header": "d/a 1.jpg;[0.5]\nd/b.jpg;[-3.]\n",
    "FaceQgen, a matrix": "d/a 1.jpg [[ 0.5 ]]\nd/b.jpg [[-3.]]\n",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_scores(tmp_path, dialect, encoding):
    table = score_files.read_scores(write(tmp_path, ENCODINGS[encoding](DIALECTS[dialect]), "scores.csv"))
    assert table["path"].tolist() == ["d/a 1.jpg", "d/b.jpg"] and table["score"].tolist() == [0.5, -3]


def test_columns_can_be_chosen_and_ofiq_says_minus_one_for_what_it_could_not_assess(tmp_path):
    path = write(tmp_path, DIALECTS["OFIQ"], "ofiq.csv")
    assert score_files.read_scores(path, column="UnifiedQualityScore")["score"].tolist() == [27.1, 20.5]
    sharp = score_files.read_scores(path, column="Sharpness.scalar")["score"]
    assert sharp[0] == 90 and sharp[1] is pd.NA
    other = score_files.read_scores(write(tmp_path, "who,name,score\nx.jpg,ann,1\n"), path_column="who")
    assert other["path"].tolist() == ["x.jpg"]
    with pytest.raises(DataError, match="no column 'whose'"):
        score_files.read_scores(path, path_column="whose")


@pytest.mark.parametrize("text", ["path,score\na,1\nb,NaN\n", "a 1\nb nan\n", "img;score\na;1\nb;[nan]\n"])
def test_one_nan_is_a_missing_score_and_said(tmp_path, text):
    with pytest.warns(score_files.MissingScoresWarning, match="1 scores are NaN, the first in line [23]"):
        table = score_files.read_scores(write(tmp_path, text))
    assert table["score"].isna().tolist() == [False, True]


@pytest.mark.parametrize("text", ["hello\n", "two words\n", "x,y,z\n1,2,3\n", "<html>\n<body>\n"])
def test_formats_that_were_tried_are_said(tmp_path, text):
    with pytest.raises(DataError, match=r"Tried: a table.*path score.*img;score.*\.pkl"):
        score_files.read_scores(write(tmp_path, text))


def test_spreadsheets_are_named(tmp_path):
    with pytest.raises(DataError, match=r"\.xlsx.*save the table as CSV"):
        score_files.read_scores(write(tmp_path, b"PK\x03\x04\x14\x00", "scores.xlsx"))


MAKERS = {
    "float": float,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "array": np.array,
    "array of one": lambda v: np.array([v]),
    "list of one": lambda v: [v],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_pickled_scores_are_read(tmp_path, make, protocol):
    content = {"d/a.jpg": make(0.5), "d\\b.jpg": make(-3.0)}
    table = score_files.read_scores(write(tmp_path, pickle.dumps(content, protocol), "scores.pkl"))
    assert table["path"].tolist() == ["d/a.jpg", "d/b.jpg"] and table["score"].tolist() == [0.5, -3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1, 2]), "a dict from names to scores is expected, got list"),
        (pickle.dumps({}), "a dict from names"),
        (pickle.dumps({"a": "good"}), "score of 'a' is no number but str"),
        (pickle.dumps({"a": np.zeros(3)}), "no number but list"),
        (b"cos\nsystem\n(Vls\ntR.", r"refused, since it asks for os\.system"),
        (b"hello", "damaged, or not a pickle"),
        (b"", "can't be read|damaged"),
    ],
)
def test_other_pickles_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        score_files.read_scores(write(tmp_path, content, "scores.pkl"))
