import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from broken_files import make_broken_files

from fiqa_lib.apps import photographs
from fiqa_lib.apps.output import Journal
from fiqa_lib.apps.report import write_report
from fiqa_lib.apps.video import score_video
from fiqa_lib.cli import main
from fiqa_lib.errors import DataError
from fiqa_lib.scorers import SCORERS, Scorer


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path, orl_files):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, source in enumerate(orl_files[::50]):
        shutil.copy(source, folder / f"{index:02d}.pgm")
    return folder


def run(*arguments):
    return main(["score", *map(str, arguments), "--no-progress"])


def test_one_row_for_each_input_in_order_whatever_is_wrong(photos, tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.mkdir()
    kinds = make_broken_files(broken)
    assert len(kinds) >= 25
    one = photos / "03.pgm"
    (tmp_path / "list.txt").write_text("photos/01.pgm\n\nnowhere.jpg\n")
    (tmp_path / "empty").mkdir()
    inputs = [one, tmp_path / "missing.png", photos, tmp_path / "list.txt", tmp_path / "empty", broken, one]
    assert run(*inputs, "--method", "sharpness", "--out", tmp_path / "s.csv") == 0
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == photographs.COLUMNS
    head = [one, tmp_path / "missing.png", *sorted(photos.iterdir()), photos / "01.pgm", tmp_path / "nowhere.jpg"]
    assert list(table.path[: len(head)]) == [str(p) for p in head]
    assert table.path.iloc[-1] == str(one) and table.score.iloc[-1] == table.score.iloc[0]
    good = table[table.status == "ok"]
    assert good.score.notna().all() and (good.inter_eye_px > 20).all()
    bad = table[table.status == "error"]
    assert bad.score.isna().all() and bad.reason.notna().all() and len(bad) > 20
    assert "inputs" in capsys.readouterr().out
    assert not (tmp_path / "s.csv.partial").exists()


def test_scores_are_the_scorers(photos, tmp_path):
    run(photos, "--method", "brightness", "--out", tmp_path / "s.csv")
    from fiqa_lib.data import load_files

    faces = load_files(sorted(photos.iterdir())).faces
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "s.csv").score, SCORERS["brightness"]().score_samples(faces))


@pytest.mark.parametrize("name", sorted(name for name, cls in SCORERS.items() if not cls.needs_weights))
def test_every_method_by_name(name, photos, tmp_path, orl, monkeypatch):
    monkeypatch.setattr(photographs, "load_orl", lambda: orl)  # aligned already
    quick = [f"--param={key}={value!r}" for key, value in SCORERS[name].quick.items()]
    assert run(*sorted(photos.iterdir())[:2], "--method", name, *quick, "--out", tmp_path / "s.csv") == 0
    assert pd.read_csv(tmp_path / "s.csv").score.notna().all()


def test_parameters_reach_the_method(photos, tmp_path):
    common = (photos / "00.pgm", "--method", "perturbation-stability", "--out", tmp_path / "s.csv")
    run(*common)
    flip = pd.read_csv(tmp_path / "s.csv").score[0]
    run(*common, "--param", "perturbation=gaussian", "--param", "settings={'sigma': 0.2}")
    assert pd.read_csv(tmp_path / "s.csv").score[0] != flip


@pytest.mark.parametrize(
    "more, word",
    [
        (("--method", "magic"), "magic"),
        (("--method", "sharpness", "--param", "x=1"), "no parameter x"),
        (("--method", "sharpness", "--param", "x"), "NAME=VALUE"),
        (("--method", "sharpness", "--recogniser", "dlib"), "uses no recogniser"),
        (("--method", "ser-fiq", "--recogniser", "dlib", "--weights", "none.dat"), "none.dat"),
    ],
)
def test_wrong_use_is_one_line(more, word, photos, tmp_path, capsys):
    assert run(photos, *more, "--out", tmp_path / "s.csv") == 1
    said = capsys.readouterr().err
    assert said.startswith("error:") and word in said and said.count("\n") == 1
    assert not (tmp_path / "s.csv").exists()


def test_strict_stops_and_writes_nothing(photos, tmp_path):
    (photos / "05.pgm").write_bytes(b"broken")
    assert run(photos, "--method", "sharpness", "--out", tmp_path / "s.csv", "--strict") == 1
    assert not (tmp_path / "s.csv").exists()


def test_a_face_that_the_method_cannot_assess_has_no_score(photos, tmp_path):
    class Refuses(Scorer):
        def _score(self, images, faces):
            return np.where(np.arange(len(images)) == 1, -np.inf, 1.0)

    table = photographs.score_files(sorted(photos.iterdir())[:3], Refuses(), tmp_path / "s.csv")
    assert list(table.status) == ["ok", "not_assessed", "ok"] and np.isnan(table.score[1])


def test_killed_at_any_moment_it_goes_on_and_ends_the_same(photos, tmp_path, monkeypatch):
    """A real process, killed with SIGKILL at several points, ends with the bytes of an undisturbed run."""
    monkeypatch.setattr(photographs, "CHUNK", 1)
    assert run(photos, "--method", "detector-score", "--out", tmp_path / "whole.csv") == 0
    code = "import sys; from fiqa_lib.apps import photographs; from fiqa_lib.cli import main; "
    code += "photographs.CHUNK = 1; sys.exit(main())"
    command = [sys.executable, "-c", code, "score", photos, "--method", "detector-score", "--no-progress"]
    out = tmp_path / "s.csv"
    partial, kills = tmp_path / "s.csv.partial", 0
    for rows in (1, 3, 6):
        process = subprocess.Popen([*map(str, command), "--out", str(out)], stdout=subprocess.DEVNULL)
        while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > rows):
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    assert (
        subprocess.run([*map(str, command), "--out", str(out)], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_going_on_uses_what_was_done_and_only_that(photos, tmp_path, monkeypatch):
    class Counting(Scorer):
        seen = 0

        def _score(self, images, faces):
            Counting.seen += len(images)
            return images.mean((1, 2, 3))

    inputs = sorted(photos.iterdir())
    out, partial = tmp_path / "s.csv", tmp_path / "s.csv.partial"
    photographs.score_files(inputs, Counting(), out)
    whole = out.read_bytes()
    key = photographs.run_key(Counting(), None)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda journal: None)  # as if it were killed before the end
        photographs.score_files(inputs, Counting(), out)
    assert partial.read_bytes().count(b"\n") == 1 + len(inputs)
    torn = b"".join(partial.read_bytes().splitlines(keepends=True)[:4]) + b'{"path": "half a ro'
    assert torn.startswith(key.encode())
    Counting.seen = 0
    partial.write_bytes(torn)
    photographs.score_files(inputs, Counting(), out)
    assert Counting.seen == len(inputs) - 3 and out.read_bytes() == whole
    for spoiled in (torn.replace(key.encode(), b"another"), b"", b"\xff\xfe", key.encode() + b"\n5\n"):
        Counting.seen = 0
        partial.write_bytes(spoiled)
        photographs.score_files(inputs, Counting(), out)
        assert Counting.seen == len(inputs) and out.read_bytes() == whole
    Counting.seen = 0
    partial.write_bytes(torn)
    photographs.score_files(inputs, Counting(), out, restart=True)
    assert Counting.seen == len(inputs)


@pytest.mark.parametrize("fallback", [None, "centre"])
def test_table_page_and_video_say_the_same_of_a_picture(photos, tmp_path, fallback):
    """One face, one picture without a face, and one face that the method does not take."""

    class Picky(Scorer):
        def _score(self, images, faces):
            return np.where(images.mean((1, 2, 3)) > 250, -np.inf, images.mean((1, 2, 3)))

    folder = tmp_path / "few"
    folder.mkdir()
    portrait = cv2.copyMakeBorder(cv2.imread(str(photos / "00.pgm")), 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    wall = np.full_like(portrait, 120)
    pictures = {"a.png": portrait, "b.png": wall, "c.png": np.full_like(portrait, 255)}
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / name), picture)
    table = photographs.score_files(sorted(folder.iterdir()), Picky(), tmp_path / "s.csv", fallback=fallback)
    page = write_report(folder, tmp_path / "r.html", Picky(), fallback=fallback, measures=False).table
    writer = cv2.VideoWriter(str(tmp_path / "f.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, portrait.shape[1::-1])
    for picture in pictures.values():
        writer.write(picture)
    writer.release()
    frames = score_video(tmp_path / "f.avi", Picky(), fallback=fallback).table
    expected = ["ok", "fallback", "not_assessed"] if fallback else ["ok", "no_face", "no_face"]
    for rows in (table, page, frames):
        assert list(rows.status) == expected
        assert list(rows.reason) == [photographs.REASONS.get(status, "") for status in expected]
        np.testing.assert_allclose(rows.score, table.score, atol=4)  # the video is compressed


def test_contact_sheet(photos, tmp_path):
    out = tmp_path / "sheet.jpg"
    assert run(photos, photos, "--method", "sharpness", "--out", tmp_path / "s.csv", "--plot", out) == 0
    assert out.read_bytes().startswith(b"\xff\xd8")
    with pytest.raises(DataError, match="nothing to draw"):
        photographs.contact_sheet(pd.DataFrame(columns=photographs.COLUMNS), out)


def test_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in SCORERS) and len(said.splitlines()) == len(SCORERS)


class Mean(Scorer):
    seen = 0

    def _score(self, images, faces):
        Mean.seen += len(images)
        return images.mean((1, 2, 3))


def interrupted(inputs, out):
    """What a run leaves that is killed just before its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "remove", lambda journal: None)
        photographs.score_files(inputs, Mean(), out)
    out.unlink()
    Mean.seen = 0


def test_a_photograph_that_was_replaced_meanwhile_is_scored_again_and_no_other(photos, tmp_path):
    inputs, out = sorted(photos.iterdir()), tmp_path / "s.csv"
    interrupted(inputs, out)
    picture = cv2.imread(str(inputs[3]), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(inputs[3]), picture // 3)  # of the same size: only the time tells
    table = photographs.score_files(inputs, Mean(), out)
    truth = photographs.score_files(inputs, Mean(), tmp_path / "truth.csv", restart=True)
    assert Mean.seen == 1 + len(inputs)
    pd.testing.assert_frame_equal(table, truth)


def test_a_run_with_other_weights_is_another_run():
    from fiqa_lib.recognition import load_recogniser

    one, other = load_recogniser("dlib"), load_recogniser("dlib")
    other.checksum = "of other weights"
    keys = [photographs.run_key(SCORERS["embedding-norm"](recogniser=network)) for network in (one, one, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_photograph_that_came_or_went_meanwhile_costs_no_other_row(photos, tmp_path):
    inputs, out = sorted(photos.iterdir()), tmp_path / "s.csv"
    interrupted([*inputs[1:], tmp_path / "missing.png"], out)
    shutil.copy(inputs[0], tmp_path / "missing.png")
    given = [inputs[0], inputs[4], *inputs[2:], tmp_path / "missing.png"]
    table = photographs.score_files(given, Mean(), out)
    assert Mean.seen == 2  # the first, and the one that could not be read before
    pd.testing.assert_frame_equal(table, photographs.score_files(given, Mean(), tmp_path / "truth.csv"))


def test_doubled_lost_and_mixed_rows_of_a_journal_do_not_reach_the_table(photos, tmp_path):
    """As two runs at once would have left it."""
    inputs, out, partial = sorted(photos.iterdir()), tmp_path / "s.csv", tmp_path / "s.csv.partial"
    truth = photographs.score_files(inputs, Mean(), tmp_path / "truth.csv")
    interrupted(inputs, out)
    key, *rows = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join([key, *rows[2:5], *rows[:5], *rows[4:6]]))
    pd.testing.assert_frame_equal(photographs.score_files(inputs, Mean(), out), truth)
    assert Mean.seen == len(inputs) - 6


def test_a_table_does_not_replace_a_photograph(photos, capsys):
    one = photos / "00.pgm"
    before = one.read_bytes()
    for inputs in (one, photos):
        assert run(inputs, "--method", "sharpness", "--out", one) == 1
        assert "replace" in capsys.readouterr().err and one.read_bytes() == before


def test_totals_name_the_first_of_each_kind(photos, tmp_path, capsys):
    (photos / "02.pgm").write_bytes(b"broken")
    (photos / "04.pgm").write_bytes(b"")
    assert run(photos, "--method", "sharpness", "--out", tmp_path / "s.csv") == 0
    said = capsys.readouterr().out
    reason = pd.read_csv(tmp_path / "s.csv").reason[2]
    assert f"2 error (first: {photos / '02.pgm'}: {reason})" in said and said.count("\n") == 1
    assert main(["report", str(photos), "--method", "sharpness", "--out", str(tmp_path / "r.html"), "--no-messages",
                 "--no-progress"]) == 0  # fmt: skip
    assert f"failed (first: 02.pgm: {reason})" in capsys.readouterr().out
