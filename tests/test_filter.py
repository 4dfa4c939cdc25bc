import os

import numpy as np
import pandas as pd
import pytest

from fiqa_lib.apps import filtering
from fiqa_lib.apps.filtering import decide
from fiqa_lib.cli import main
from fiqa_lib.data import load_orl
from fiqa_lib.errors import DataError
from fiqa_lib.faces import write_image

SCORES = pd.DataFrame({
    "path": ["ann/1.jpg", "ann/2.jpg", "ann/3.jpg", "bob/1.jpg", "bob/2.jpg", "cat/1.jpg"],
    "score": [3.0, 5.0, 1.0, 2.0, 2.0, np.nan],
    "status": ["ok", "ok", "ok", "ok", "fallback", "no_face"],
    "reason": ["", "", "", "", "the middle was taken", "no face was found"],
})  # fmt: skip


def verdicts(decision):
    return dict(zip(decision.table["path"], decision.table["verdict"], strict=True))


def kept(decision):
    return [path for path, verdict in verdicts(decision).items() if verdict == "kept"]


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "scores.csv"
    SCORES.to_csv(path, index=False)
    return path


def test_a_threshold_keeps_what_equals_it():
    decision = decide(SCORES, threshold=2.0)
    assert kept(decision) == ["ann/1.jpg", "ann/2.jpg", "bob/1.jpg", "bob/2.jpg"]
    assert verdicts(decision)["ann/3.jpg"] == "rejected" and verdicts(decision)["cat/1.jpg"] == "unscored"
    assert decision.table["reason"][2] == "the score is below 2" and decision.threshold == 2
    assert decision.table["reason"][4] == ""  # that of the fallback is none against it
    assert decision.summary() == "4 kept, 1 rejected, 1 unscored"


@pytest.mark.parametrize(("share", "count"), [(1.0, 5), (0.8, 4), (0.6, 4), (0.4, 2), (0.2, 1), (0.01, 1)])
def test_a_share_is_of_the_scored_and_never_separates_equal_scores(share, count):
    assert len(kept(decide(SCORES, keep=share))) == count


def test_the_best_of_each_person():
    decision = decide(SCORES, best=1)
    assert kept(decision) == ["ann/2.jpg", "bob/1.jpg"]  # of two equal ones the first
    assert decision.table["reason"][0] == "a better one of this person is kept: ann/2.jpg"
    assert kept(decide(SCORES, best=2)) == ["ann/1.jpg", "ann/2.jpg", "bob/1.jpg", "bob/2.jpg"]
    assert kept(decide(SCORES, best=1, threshold=2.5)) == ["ann/2.jpg"]
    assert kept(decide(SCORES, best=1, id_key_index=-1)) == ["ann/1.jpg", "ann/2.jpg", "ann/3.jpg"]


def test_files_with_the_same_bytes_are_kept_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in SCORES["path"]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "ann/1.jpg").write_text("ann/2.jpg")
    decision = decide(SCORES, duplicates=True)
    assert verdicts(decision)["ann/1.jpg"] == "rejected" and len(kept(decision)) == 4
    assert decision.table["reason"][0] == "the same file as ann/2.jpg"
    assert len(kept(decide(SCORES, duplicates=True, keep=0.5))) == 3  # of the four that are left; two are equal
    (tmp_path / "bob/1.jpg").unlink()
    with pytest.raises(DataError, match=r"bob/1\.jpg: can't be read to look for duplicates"):
        decide(SCORES, duplicates=True)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "nothing to decide by"),
        ({"threshold": 1.0, "keep": 0.5}, "not both"),
        ({"threshold": float("nan")}, "finite number"),
        ({"keep": 0.0}, "above 0"),
        ({"keep": 1.5}, "at most 1"),
        ({"best": -1}, "must not be negative"),
        ({"best": 1, "id_key_index": -3}, "no part -3"),
    ],
)
def test_rules_that_can_not_be_followed_are_refused(rules, message):
    with pytest.raises(DataError, match=message):
        decide(SCORES, **rules)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(DataError, match="no photograph has a score"):
        decide(SCORES[5:], keep=0.5)
    assert decide(SCORES[5:], threshold=1.0).summary() == "0 kept, 0 rejected, 1 unscored"


def test_the_command_writes_three_lists_from_a_table(scores, tmp_path, capsys):
    assert main(["filter", str(scores), "--keep", "0.4", "--out", str(tmp_path / "lists")]) == 0
    said = capsys.readouterr()
    assert "6 photographs: 2 kept, 3 rejected, 1 unscored; threshold 3" in said.out and said.err == ""
    lists = {name: pd.read_csv(tmp_path / "lists" / f"{name}.csv") for name in filtering.LISTS}
    assert lists["kept"]["path"].tolist() == ["ann/1.jpg", "ann/2.jpg"]
    assert lists["rejected"]["reason"].unique().tolist() == ["the score is below 3"]
    assert lists["unscored"].to_numpy().tolist() == [["cat/1.jpg", "no_face", "no face was found"]]
    assert sorted(os.listdir(tmp_path / "lists")) == ["kept.csv", "rejected.csv", "unscored.csv"]


@pytest.mark.parametrize("text", ["img;score\na.jpg;0.5\nb.jpg;-inf\n", "path,score\na.jpg,0.5\nb.jpg,\n"])
def test_tables_without_status_are_read_and_the_missing_get_a_reason(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    table = filtering.scores_of(tmp_path / "s.csv")
    assert table["reason"].tolist() == ["", "no score in the table"]
    assert verdicts(decide(table, threshold=0.0)) == {"a.jpg": "kept", "b.jpg": "unscored"}


def test_all_lists_or_none(scores, tmp_path, monkeypatch):
    lists = tmp_path / "lists"
    filtering.write_lists(decide(SCORES, threshold=0.0), lists)
    before = {path.name: path.read_bytes() for path in lists.iterdir()}
    write, calls = filtering.write_csv, []

    def full(table, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        return write(table, path)

    monkeypatch.setattr(filtering, "write_csv", full)
    with pytest.raises(OSError, match="No space"):
        filtering.write_lists(decide(SCORES, threshold=4.0), lists)
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == before


def test_a_folder_is_scored_listed_and_left_as_it_was(tmp_path, capsys):
    folder, faces = tmp_path / "photographs", load_orl()
    for number in (0, 1, 2, 10, 11):
        write_image(folder / faces.identities[number] / f"{number}.png", faces.images[number])
    (folder / "half.png").write_bytes((folder / faces.identities[0] / "0.png").read_bytes()[:99])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    given = ["filter", str(folder), "--method", "sharpness", "--best", "1", "--out", str(tmp_path / "lists")]
    assert main([*given, "--no-progress"]) == 0
    lists = {name: pd.read_csv(tmp_path / "lists" / f"{name}.csv") for name in filtering.LISTS}
    assert len(lists["kept"]) == 2 and len(lists["rejected"]) == 3 and len(lists["unscored"]) == 1
    assert "truncated" in lists["unscored"]["reason"][0]
    table = pd.read_csv(tmp_path / "lists" / "scores.csv").set_index("path")["score"]
    for person, rows in table.dropna().groupby(lambda path: path.split("/")[-2]):
        assert rows.idxmax() in set(lists["kept"]["path"]), person
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ((), 1, "nothing to decide by"),
        (("--threshold", "nan"), 1, "finite number"),
        (("--threshold", "1", "--keep", "0.5"), 2, "not allowed with"),
        (("--keep", "1.5"), 2, "no share between 0 and 1"),
        (("--best", "0"), 2, "no whole number"),
    ],
)
def test_errors_of_the_command_are_one_line_and_write_nothing(scores, tmp_path, capsys, more, status, message):
    try:
        found = main(["filter", str(scores), "--out", str(tmp_path / "lists"), *more])
    except SystemExit as stopped:
        found = stopped.code
    said = capsys.readouterr().err
    assert found == status and message in said and not (tmp_path / "lists").exists()
    assert status == 2 or said.count("\n") == 1
    assert main(["filter", str(tmp_path / "missing.csv"), "--keep", "0.5", "--out", str(tmp_path / "lists")]) == 1
    assert "missing.csv" in capsys.readouterr().err
