import math

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
        ("a.jpg 0.5\n\nb.jpg nan\n", "line 3: the score is NaN"),
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
