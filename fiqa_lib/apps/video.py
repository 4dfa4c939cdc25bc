"""A video to rows of a table, frame by frame: in bounded memory, with time stamps, and damaged files survived.

OpenCV reads the file (with FFmpeg, which its packages bring). Rows are kept in `OUT.partial`: after an interruption the
video is read again from its beginning, which is quick, and scored from where the run stopped.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from ..cache import content_key
from ..course import plotting
from ..errors import DataError, ImageError
from ..faces import Faces, extract_faces, load_detector
from ..faces.images import write_image
from ..files import locked, write_csv
from .output import Journal, progress_bar, save_figure, stamp, table_of, totals
from .photographs import run_key, score_rows

SUFFIXES = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .3gp .ogv .ts .mts".split())
"""What the command line takes for a video (in either case)."""
COLUMNS = ["frame", "time_s", "lost_before", "status", "score", "face_x", "face_y", "face_w", "face_h"]
COLUMNS += ["inter_eye_px", "detector_score", "n_faces"]
CHUNK = 8
"""Frames that are in memory together."""
PATIENCE = 100, 50_000
"""How many reads in a row may fail before the video has ended, at least and at most. Reads also fail at damage in the
middle, so the limit is the number of frames still to come. A damaged header may announce millions, hence the maximum.
"""


class Frame(NamedTuple):
    """One frame of a video.

    `number`: from 0, among the frames that can be read; `time_s`: its time stamp in seconds; `lost_before`: frames lost
    between the previous one and this one; `image`: array (H, W, 3) uint8 RGB.
    """

    number: int
    time_s: float
    lost_before: int
    image: np.ndarray


class VideoReader:
    """Iterates over the frames of a video file, and counts those that are lost.

    A frame is lost when the file announces it but it can't be read: its bytes are damaged, or the file ends too early.
    Where frames are missing in the middle, the time stamps jump; `lost_before` is found from that. AVI has no stamps:
    there the number of lost frames is known but not their place, and the times of later frames are too early. A frame
    that the decoder repaired with parts of its neighbours is not noticed.

    Parameters
    ----------
    path : path
        The video file.

    Attributes
    ----------
    announced : int
        Frames that the file says it has; 0 where it does not say. Exact in AVI and MP4, an estimate in MKV and WebM.
    fps : float
        Frames per second as announced; 0 where the file does not say.
    n_read : int
        Frames read so far.
    n_skipped : int
        Frames lost in the middle so far, by the time stamps.

    Raises
    ------
    ImageError
        The file can't be opened as a video.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise ImageError(path, "there is no such file")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg would write each damaged block to the terminal
        self._capture = cv2.VideoCapture(str(self.path))
        if not self._capture.isOpened():
            raise ImageError(path, "no video that OpenCV can open; the file is damaged or of an unknown format")
        self.fps = self._positive(cv2.CAP_PROP_FPS)
        self.announced = int(self._positive(cv2.CAP_PROP_FRAME_COUNT))
        self.n_read = self.n_skipped = 0

    def _positive(self, what):
        value = self._capture.get(what)
        return value if np.isfinite(value) and value > 0 else 0.0

    def __iter__(self):
        failures, before = 0, None
        while failures < min(max(PATIENCE[0], self.announced - self.n_read), PATIENCE[1]):
            good, image = self._capture.read()
            if not good or image is None:
                failures += 1
                continue
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            lost = self._lost(before, time, failures)
            self.n_skipped += lost
            yield Frame(self.n_read, time, lost, np.ascontiguousarray(image[..., ::-1]))
            self.n_read += 1
            failures, before = 0, time
        self._capture.release()

    def _lost(self, before, time, failures):
        """Frames lost between two that were read: what the time stamps say, or the failed reads."""
        if not self.fps:
            return failures
        gap = time if before is None else time - before - 1 / self.fps
        return max(failures, round(gap * self.fps), 0)

    @property
    def n_lost(self):
        """Frames lost so far, or in all once the video has ended."""
        return max(self.announced - self.n_read, 0) if self.announced else self.n_skipped


class Scored(NamedTuple):
    """What `score_video` returns.

    `table`: DataFrame, one row for each frame; `n_lost`: frames that could not be read; `best`: files of the best
    frames, best first.
    """

    table: pd.DataFrame
    n_lost: int
    best: list

    def summary(self):
        """One sentence for people."""
        lost = f"; {self.n_lost} {'frame was' if self.n_lost == 1 else 'frames were'} lost" if self.n_lost else ""
        counts = totals(self.table, good=("ok", "fallback"), name="frame")
        return f"{len(self.table)} frames: {counts}{lost}"


def video_detector():
    """The detector for frames: as for photographs, but without the last, slow tries."""
    return load_detector(quick=True)


def score_video(
    path, scorer, out=None, *, detector=None, fallback=None, best=0, best_dir=None, restart=False, progress=False
):
    """Score the largest face of each frame.

    Each frame is on its own: nothing is carried over from the one before it. Memory holds `CHUNK` frames, `best` more,
    and one row of the table for each frame.

    Parameters
    ----------
    path : path
        The video file.
    scorer : Scorer
        Fitted, if it learns.
    out : path, default=None
        The CSV file, written whole at the end. While it grows it is called `OUT.partial`. None writes no file.
    detector : callable, default=None
        As in `faces.extract_faces`. None: `video_detector()`.
    fallback : {None, "centre"}, default=None
        What to take where no face is found: nothing, or the middle of the frame.
    best : int, default=0
        Number of frames with the highest scores that are written to `best_dir`, as JPEG, named by rank and frame.
    best_dir : path, default=None
        The folder for the best frames.
    restart : bool, default=False
        Drop what an interrupted run left.
    progress : bool, default=False
        Show a bar on standard error.

    Returns
    -------
    Scored
        The table has one row for each frame that could be read: `frame` (from 0), `time_s` (its time stamp),
        `lost_before` (frames lost between it and the row above), `status`, `score`, what was measured at the face, the
        method's `details`, and `reason`; see `photographs.score_rows`.

    Raises
    ------
    ImageError
        The file can't be opened, or holds no frame that can be read.
    DataError
        `best` without `best_dir`, or the other way round; another process writes `out`.
    """
    if not (isinstance(best, int) and best >= 0) or (best > 0) != (best_dir is not None):
        raise DataError("best (a whole number from 0) and best_dir (a folder) belong together")
    with nullcontext() if out is None else locked(out):
        return _scored(path, scorer, out, detector or video_detector(), fallback, best, best_dir, restart, progress)


def _scored(path, scorer, out, detector, fallback, best, best_dir, restart, progress):
    reader, columns, leaders = VideoReader(path), [*COLUMNS, *scorer.details, "reason"], []
    key = run_key(scorer, fallback, repr(detector), str(path), _fingerprint(path))
    journal = Journal(out, key, restart=restart)
    if [row.get("frame") for row in journal.rows] != list(range(len(journal.rows))):
        journal = Journal(out, key, restart=True)  # frames are lost or doubled: not rows of one run
    frames = iter(reader)
    with progress_bar(reader.announced or None, shown=progress, unit="frame") as bar:
        for frame in islice(frames, len(journal.rows)):  # scored by a run that was interrupted
            leaders = _best_of(leaders, journal.rows[frame.number], frame.image, best)
            bar.update(1)
        while batch := list(islice(frames, CHUNK)):
            journal.append(_rows_of_frames(batch, scorer, detector, fallback, columns))
            for row, frame in zip(journal.rows[-len(batch) :], batch, strict=True):
                leaders = _best_of(leaders, row, frame.image, best)
            bar.update(len(batch))
            batch.clear()  # or these frames would stay in memory beside the next ones
    if not reader.n_read:
        raise ImageError(path, "no frame of this video can be read")
    table = table_of(journal.rows[: reader.n_read], columns, text=("status", "reason"))
    if reader.announced and table["lost_before"].sum() > reader.n_lost:
        table["lost_before"] = 0  # the stamps jump, but nothing that was announced is missing
    files = _write_frames(leaders, best_dir)
    if out is not None:
        write_csv(table, out)
    journal.remove()
    return Scored(table, reader.n_lost, files)


def _fingerprint(path):
    """Size, time of change and beginning of the file: enough to notice that another video has taken its name."""
    with open(path, "rb") as file:
        return content_key(*stamp(path), file.read(1 << 20))


def _rows_of_frames(frames, scorer, detector, fallback, columns):
    names = [str(frame.number) for frame in frames]
    faces = [
        extract_faces(frame.image, detector=detector, fallback=fallback, name=name)
        for frame, name in zip(frames, names, strict=True)
    ]
    rows = score_rows(scorer, Faces.concat([face for face in faces if len(face)]), names)
    for row, frame in zip(rows, frames, strict=True):
        row |= {"frame": frame.number, "time_s": float(frame.time_s), "lost_before": frame.lost_before}
    return [{column: row.get(column) for column in columns} for row in rows]


def _best_of(leaders, row, image, count):
    """The frames with the highest scores so far, best first, as (score, -number, image); of equals the earlier one."""
    if not count or row["score"] is None:
        return leaders
    return sorted([*leaders, (row["score"], -row["frame"], image)], key=lambda item: item[:2], reverse=True)[:count]


def _write_frames(leaders, folder):
    files = []
    for rank, (_, number, image) in enumerate(leaders, start=1):
        files.append(Path(folder) / f"{rank:02d}_frame_{-number:06d}.jpg")
        write_image(files[-1], image)
    return files


def timeline(table, path, *, title=None):
    """Draw the scores of a table over time into a picture file; see `plotting.timeline`.

    Parameters
    ----------
    table : DataFrame
        As in `Scored`.
    path : path
        The picture; its suffix chooses the format.
    title : str, default=None
        Above the figure.
    """
    save_figure(plotting.timeline(table, {"score": "score"}, title=title), path)
