"""Videos, made here by OpenCV from bundled faces on a larger canvas."""

import signal
import subprocess
import sys
import time
import weakref

import cv2
import numpy as np
import pandas as pd
import pytest

from fiqa_lib.apps import video
from fiqa_lib.apps.photographs import REASONS, columns_of
from fiqa_lib.apps.video import VideoReader, score_video
from fiqa_lib.cli import main
from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.faces import extract_faces
from fiqa_lib.scorers import SCORERS, Scorer

FPS, SIZE = 25, (320, 240)
PLACE = (90, 40)  # where the face stands, x and y


def frames_of(face, count, blank=()):
    """Frames with a face that moves and, for some, blurs; and some without."""
    large = cv2.resize(face, (130, 158), interpolation=cv2.INTER_CUBIC)
    for i in range(count):
        frame = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        frame[:20, :20] = (200, 40, 40)  # a red corner, to see the order of colours
        if i not in blank:
            shown = cv2.GaussianBlur(large, (0, 0), 0.3 + 0.1 * (i % 12))
            frame[PLACE[1] : PLACE[1] + 158, PLACE[0] + i % 12 : PLACE[0] + i % 12 + 130] = shown
        yield frame


def write_film(path, frames, codec):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), FPS, SIZE)
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory, orl_images):
    """Twelve frames, two of them without a face."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    return write_film(path, frames_of(orl_images[0], 12, blank=(3, 8)), "MJPG")


def sharpness():
    return SCORERS["sharpness"]()


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v")])
def test_frames_come_in_order_with_their_time_and_colours(tmp_path, orl_images, suffix, codec):
    frames = list(frames_of(orl_images[0], 10))
    reader = VideoReader(write_film(tmp_path / f"a{suffix}", frames, codec))
    assert reader.announced == 10 and reader.fps == pytest.approx(FPS)
    found = list(reader)
    assert [frame.number for frame in found] == list(range(10)) and reader.n_read == 10 and reader.n_lost == 0
    np.testing.assert_allclose([frame.time_s for frame in found], np.arange(10) / FPS, atol=1e-3)
    assert {frame.lost_before for frame in found} == {0}
    for frame, original in zip(found, frames, strict=True):
        assert np.abs(frame.image.astype(int) - original).mean() < 6
    red, green, _ = found[0].image[2:18, 2:18].mean((0, 1))
    assert red > green + 100


def test_each_frame_is_scored_on_its_own(film, tmp_path):
    scored = score_video(film, sharpness(), tmp_path / "s.csv")
    table = scored.table
    assert (
        list(table.frame) == list(range(12))
        and scored.n_lost == 0
        and "12 frames: 10 ok, 2 no_face" in scored.summary()
    )
    assert list(table.index[table.status == "no_face"]) == [3, 8]
    assert table.score[[3, 8]].isna().all() and (table.reason[[3, 8]] == REASONS["no_face"]).all()  # nothing inherited
    for frame in VideoReader(film):
        faces = extract_faces(frame.image, detector=video.video_detector())
        row = table.loc[frame.number]
        if len(faces):
            assert row.score == pytest.approx(sharpness().score_samples(faces)[0], rel=1e-6)
            assert row.face_x == pytest.approx(faces.attributes.face_x[0])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "s.csv", keep_default_na=True), table.replace("", np.nan))
    assert not (tmp_path / "s.csv.partial").exists()
    assert table.score[0] > table.score[11]  # the blur grows


def test_a_table_needs_no_file(film):
    assert len(score_video(film, sharpness()).table) == 12


def damaged(film, tmp_path, share=(0.5, 0.56)):
    data = bytearray(film.read_bytes())
    start, end = (int(len(data) * s) for s in share)
    data[start:end] = np.random.default_rng(0).integers(0, 256, end - start, np.uint8).tobytes()
    path = tmp_path / f"damaged{film.suffix}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v")])
def test_damage_in_the_middle_loses_only_itself(tmp_path, orl_images, suffix, codec):
    count = 40
    whole = write_film(tmp_path / f"whole{suffix}", frames_of(orl_images[0], count), codec)
    before = score_video(whole, sharpness()).table
    after = score_video(damaged(whole, tmp_path), sharpness())
    table = after.table
    assert 0 < after.n_lost < 10 and len(table) + after.n_lost == count
    assert f"{after.n_lost} frame" in after.summary() and " lost" in after.summary()
    assert table.time_s.is_monotonic_increasing
    first = int(0.4 * count)
    np.testing.assert_allclose(table.score[:first], before.score[:first])
    if suffix == ".avi":  # no stamps, but each frame is a picture of its own: behind the damage all is as it was
        np.testing.assert_allclose(table.score.iloc[-first:], before.score.iloc[-first:])
    else:  # the stamps say where
        assert table.lost_before.sum() == after.n_lost
        assert table.time_s.iloc[-1] == pytest.approx((count - 1) / FPS, abs=1e-3)


def test_a_film_that_ends_too_early_says_so(film, tmp_path):
    data = film.read_bytes()
    (tmp_path / "short.avi").write_bytes(data[: int(0.6 * len(data))])
    scored = score_video(tmp_path / "short.avi", sharpness())
    assert 4 <= len(scored.table) < 12 and scored.n_lost == 12 - len(scored.table)
    assert scored.table.lost_before.sum() == 0  # lost at the end


@pytest.mark.parametrize("content", [b"", b"no film" * 200, None])
def test_what_is_no_video_is_refused_by_name(tmp_path, film, content):
    path = tmp_path / "x.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.avi: (no video|there is no such file)"):
        score_video(path, sharpness())


def test_headers_without_a_frame_are_refused(tmp_path, film):
    data = film.read_bytes()
    (tmp_path / "head.avi").write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(ImageError, match=r"head\.avi"):
        score_video(tmp_path / "head.avi", sharpness())


class FakeCapture:
    """A capture that tells a story: None is a read that fails, a number the time of a frame in ms."""

    def __init__(self, story, announced=0, fps=10.0):
        self.story, self.at = list(story), -1
        self.facts = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: announced}

    def isOpened(self):
        return True

    def read(self):
        self.at += 1
        good = self.at < len(self.story) and self.story[self.at] is not None
        return good, np.full((8, 8, 3), 7, np.uint8) if good else None

    def get(self, what):
        if what == cv2.CAP_PROP_POS_MSEC:
            return float(self.story[self.at])
        return self.facts.get(what, 8.0)

    def release(self):
        pass


def read_story(monkeypatch, film, story, **facts):
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda path: FakeCapture(story, **facts))
    reader = VideoReader(film)
    return reader, list(reader)


def test_lost_frames_are_found_by_the_stamps_and_by_failed_reads(monkeypatch, film):
    reader, frames = read_story(monkeypatch, film, [0, 100, None, 300, 600, 700], announced=8)
    assert [f.lost_before for f in frames] == [0, 0, 1, 2, 0] and reader.n_lost == 3
    reader, frames = read_story(monkeypatch, film, [0, None, None, 0, 0], announced=0, fps=0)  # no stamps, no count
    assert [f.lost_before for f in frames] == [0, 2, 0] and reader.n_lost == 2
    reader, frames = read_story(monkeypatch, film, [200, 300], announced=4)
    assert [f.lost_before for f in frames] == [2, 0]


def test_many_failures_in_a_row_are_no_end(monkeypatch, film):
    _, frames = read_story(monkeypatch, film, [0, *[None] * 60, 6100], announced=62)
    assert len(frames) == 2 and frames[1].lost_before == 60
    _, frames = read_story(monkeypatch, film, [0, *[None] * 300, 30100], announced=302)
    assert len(frames) == 2 and frames[1].lost_before == 300
    reader, frames = read_story(
        monkeypatch, film, [0, 100], announced=2**31 - 1
    )  # a header that lies ends all the same
    assert len(frames) == 2 and reader.n_lost == 2**31 - 3


def test_uneven_stamps_alone_are_no_loss(monkeypatch, film):
    """A phone's frames come at uneven times; all that were announced are there."""
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda path: FakeCapture([0, 100, 400, 500], announced=4))
    scored = score_video(film, sharpness())
    assert scored.n_lost == 0 and list(scored.table.lost_before) == [0, 0, 0, 0]


def test_memory_holds_a_few_frames_only(monkeypatch, film):
    alive, most = weakref.WeakSet(), []

    class Picture(np.ndarray):
        """An array that can be watched; NumPy's own has no set of living ones."""

        __hash__ = object.__hash__

    def read(self):
        self.at += 1
        if self.at >= 200:
            return False, None
        picture = np.zeros((8, 8, 3), np.uint8).view(Picture)
        alive.add(picture)
        most.append(len(alive))
        return True, picture

    monkeypatch.setattr(FakeCapture, "read", read)
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda path: FakeCapture(range(0, 20000, 100), announced=200))
    monkeypatch.setattr(video.np, "ascontiguousarray", lambda view: view)  # keep the watched array itself
    table = score_video(film, sharpness(), best=3, best_dir=film.parent).table
    assert len(table) == 200 and max(most) <= video.CHUNK + 3 + 2


def test_best_frames_are_the_best(film, tmp_path):
    scored = score_video(film, sharpness(), best=3, best_dir=tmp_path / "best")
    order = scored.table.sort_values("score", ascending=False, kind="stable").frame[:3]
    assert [f.name for f in scored.best] == [f"{r:02d}_frame_{n:06d}.jpg" for r, n in enumerate(order, start=1)]
    frames = {frame.number: frame.image for frame in VideoReader(film)}
    for file, number in zip(scored.best, order, strict=True):
        stored = cv2.imread(str(file))[..., ::-1]
        assert np.abs(stored.astype(int) - frames[number]).mean() < 3
    everything = score_video(film, sharpness(), best=50, best_dir=tmp_path / "all").best
    assert len(everything) == 10  # frames without a score are not among them


def test_equal_scores_keep_the_earlier_frame(film, tmp_path):
    class Same(Scorer):
        def _score(self, images, faces):
            return np.ones(len(images))

    best = score_video(film, Same(), best=2, best_dir=tmp_path).best
    assert [f.name for f in best] == ["01_frame_000000.jpg", "02_frame_000001.jpg"]


def test_best_and_its_folder_belong_together(film, tmp_path):
    for options in ({"best": 3}, {"best_dir": tmp_path}, {"best": -1, "best_dir": tmp_path}):
        with pytest.raises(DataError, match="belong together"):
            score_video(film, sharpness(), **options)


class Counting(Scorer):
    seen = 0

    def _score(self, images, faces):
        Counting.seen += len(images)
        return np.asarray(images, float).mean((1, 2, 3))


def test_going_on_scores_only_what_is_left(film, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "CHUNK", 1)
    whole = score_video(film, Counting(), tmp_path / "whole.csv", best=2, best_dir=tmp_path / "whole")

    class Stops(Counting):
        def _score(self, images, faces):
            if Counting.seen == 5:
                raise KeyboardInterrupt
            return super()._score(images, faces)

        def __repr__(self):
            return repr(Counting())

    Counting.seen = 0
    with pytest.raises(KeyboardInterrupt):
        score_video(film, Stops(), tmp_path / "s.csv", best=2, best_dir=tmp_path / "best")
    again = score_video(film, Counting(), tmp_path / "s.csv", best=2, best_dir=tmp_path / "best")
    assert Counting.seen == 10
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [f.name for f in again.best] == [f.name for f in whole.best]
    Counting.seen = 0
    score_video(film, Counting(), tmp_path / "s.csv")
    assert Counting.seen == 10  # a finished run leaves nothing to go on from


def test_killed_it_goes_on_and_ends_the_same(film, tmp_path):
    """A real process, killed with SIGKILL after some rows."""
    given = ["score", str(film), "--method", "detector-score", "--no-progress"]
    assert main([*given, "--out", str(tmp_path / "whole.csv")]) == 0
    code = (
        "import sys; from fiqa_lib.apps import video; video.CHUNK = 1; from fiqa_lib.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *given, "--out", str(tmp_path / "s.csv")]
    partial = tmp_path / "s.csv.partial"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > 3):
        time.sleep(0.005)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_command_line(film, tmp_path, capsys):
    out, plot, best = tmp_path / "s.csv", tmp_path / "timeline.png", tmp_path / "best"
    status = main(
        ["score", str(film), "--method", "sharpness", "--out", str(out), "--plot", str(plot), "--best", "4",
         "--best-dir", str(best), "--no-progress"]
    )  # fmt: skip
    said = capsys.readouterr()
    assert status == 0 and said.err == "" and "12 frames: 10 ok, 2 no_face" in said.out
    assert len(pd.read_csv(out)) == 12 and len(list(best.iterdir())) == 4
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_folder_whose_name_ends_like_a_film_is_a_folder(tmp_path, film, capsys):
    folder = tmp_path / "clips.avi"
    folder.mkdir()
    assert main(["score", str(folder), "--method", "sharpness", "--out", str(tmp_path / "s.csv"), "--no-progress"]) == 0
    assert "holds no image file" in pd.read_csv(tmp_path / "s.csv").reason[0]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--best", "3"], "--best-dir"),
        (["--best-dir", "x"], "belong together"),
        (["another.jpg"], "alone"),
        (["--strict"], "--strict"),
    ],
)
def test_wrong_use_is_one_line(film, tmp_path, capsys, more, word):
    assert main(["score", str(film), *more, "--method", "sharpness", "--out", str(tmp_path / "s.csv")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error:") and word in said and said.count("\n") == 1


def test_best_is_for_videos(tmp_path, capsys):
    assert main(["score", "a.jpg", "--best", "3", "--method", "sharpness", "--out", str(tmp_path / "s.csv")]) == 1
    assert "video" in capsys.readouterr().err


def test_details_of_a_method_are_columns(film):
    class Detailed(Scorer):
        details = ("gate",)

        def assess(self, faces):
            n = len(faces)
            refused = np.arange(n) % 2 == 1
            said = {"score": np.where(refused, np.nan, 1.0), "status": np.where(refused, "refused", "ok")}
            return pd.DataFrame({**said, "reason": np.where(refused, "odd", ""), "gate": 0.25})

    table = score_video(film, Detailed()).table
    assert {"ok", "refused", "no_face"} == set(table.status) and (table.gate.dropna() == 0.25).all()
    assert table.score[table.status == "refused"].isna().all() and set(table.reason[table.status == "refused"]) == {
        "odd"
    }
    assert list(columns_of(Detailed()))[-2:] == ["gate", "reason"]
