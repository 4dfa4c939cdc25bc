"""Scoring a video frame by frame: in bounded memory, with a time stamp for each frame, and damaged files survived.

OpenCV reads the file (with FFmpeg, which its packages bring). What was scored is kept in `OUT.partial`: a run that was
interrupted reads the video again from its beginning, which is quick, and scores from where it stopped.
"""

from __future__ import annotations

import heapq
import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from . import plotting, scoring
from .cache import content_key
from .errors import DataError, ImageError
from .faces import DlibHog, Faces, extract_faces
from .files import whole_file, write_csv
from .images import write_image

SUFFIXES = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .3gp .ogv .ts .mts".split())
"""What the command line takes for a video (in either case)."""
COLUMNS = ["frame", "time_s", "lost_before", "status", "score", "face_x", "face_y", "face_w", "face_h"]
COLUMNS += ["inter_eye_px", "detector_score", "n_faces"]
CHUNK = 8
PATIENCE = 100, 50_000
"""So many reads in a row may fail before the video counts as ended, at least and at most: damage in the middle fails
too, so as many failures as there are frames to come are borne, but a damaged header may announce millions."""


class Frame(NamedTuple):
    """One frame: its number among those that could be read (from 0), its time, and how many were lost just before."""

    number: int
    time_s: float
    lost_before: int
    image: np.ndarray


class VideoReader:
    """Iterates over the frames of a video file, and counts those that are lost.

    A frame is lost when the file announces it and none comes: the bytes are damaged, or the file ends too early. Where
    frames are missing in the middle, the time stamps jump; that is how `lost_before` is found. AVI has no stamps: there
    the number of lost frames is known but not their place, and frames behind them bear too early a time. A frame that
    the decoder repaired with parts of its neighbours is not noticed.

    Attributes
    ----------
    announced : int
        Frames that the file says it has; 0 where it does not say. Exact in AVI and MP4, an estimate in MKV and WebM.
    fps : float
        Frames per second as announced; 0 where the file does not say.
    width, height : int
    n_read : int
        Frames read so far.
    n_skipped : int
        Frames lost in the middle so far, by the time stamps.

    Raises
    ------
    ImageError
        When the file can't be opened as a video.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise ImageError(path, "there is no such file")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg would write each damaged block to the terminal
        self._capture = cv2.VideoCapture(str(self.path))
        if not self._capture.isOpened():
            raise ImageError(
                path, "no video that OpenCV can open; it is damaged at a place that is needed, or of an unknown format"
            )
        self.fps = self._positive(cv2.CAP_PROP_FPS)
        self.announced = int(self._positive(cv2.CAP_PROP_FRAME_COUNT))
        self.width = int(self._positive(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._positive(cv2.CAP_PROP_FRAME_HEIGHT))
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
    """What `score_video` gives: the table, how many frames were lost, and the files of the best frames."""

    table: pd.DataFrame
    n_lost: int
    best: list

    def summary(self):
        """One sentence for people."""
        counts = ", ".join(f"{count} {status}" for status, count in self.table["status"].value_counts().items())
        lost = f"; {self.n_lost} {'frame was' if self.n_lost == 1 else 'frames were'} lost" if self.n_lost else ""
        return f"{len(self.table)} frames: {counts}{lost}"


def video_detector():
    """The detector for frames: as for photographs, but without the last, slow try with a margin."""
    return DlibHog(margin=0)


def score_video(
    path, scorer, out=None, *, detector=None, fallback=None, best=0, best_dir=None, restart=False, progress=False
):
    """Score the largest face of each frame.

    Each frame is on its own: nothing is carried over from the one before it. Memory holds a few frames, `best` more,
    and one row of the table for each frame.

    Parameters
    ----------
    path : path
    scorer : Scorer
        Fitted, if it learns.
    out : path, optional
        The CSV file, written whole at the end. While it grows it is called `OUT.partial`.
    detector : callable, optional
        As in `faces.extract_faces`. Default: `video_detector()`.
    fallback : {None, "centre"}
        As in `faces.extract_faces`.
    best : int
        So many frames with the highest scores are written to `best_dir`, as JPEG, named by rank and frame.
    restart : bool
        Drop what an interrupted run left.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    Scored
        The table has one row for each frame that could be read: `frame` (from 0), `time_s` (its time stamp),
        `lost_before` (frames lost between it and the row above), `status` ("ok", "fallback", "no_face", "refused" or
        "not_assessed"), `score`, what was measured at the face, what the method says besides, and `reason`.

    Raises
    ------
    ImageError
        When the file can't be opened, or holds no frame that can be read.
    DataError
        `best` without `best_dir`, or the other way round.
    """
    if not (isinstance(best, int) and best >= 0) or (best > 0) != (best_dir is not None):
        raise DataError("best (a whole number from 0) and best_dir (a folder) belong together")
    reader, columns = VideoReader(path), [*COLUMNS, *scorer.details, "reason"]
    work = _FrameScorer(scorer, detector or video_detector(), fallback, columns)
    journal = None
    if out is not None:
        out = Path(out)
        key = scoring.run_key(scorer, fallback, repr(work.detector), str(path), _fingerprint(path))
        journal = scoring.Journal(out.with_name(out.name + ".partial"), key, restart, columns)
    rows, leaders = ([] if journal is None else list(journal.rows)), _Best(best)
    done = len(rows)
    bar = scoring._bar(reader.announced or None, 0, progress, unit="frame")
    waiting = []
    for frame in reader:
        if frame.number < done:  # scored by a run that was interrupted
            leaders.offer(rows[frame.number], frame.image, columns)
            bar.update(1)
            continue
        waiting.append(frame)
        if len(waiting) == CHUNK:
            _score_waiting(waiting, work, rows, journal, leaders, bar)
    _score_waiting(waiting, work, rows, journal, leaders, bar)
    bar.close()
    if not reader.n_read:
        raise ImageError(path, "no frame of this video can be read")
    table = _table(rows[: reader.n_read], columns, reader)
    files = leaders.write(best_dir)
    if journal is not None:
        write_csv(table, out)
        journal.path.unlink(missing_ok=True)
    return Scored(table, reader.n_lost, files)


def _fingerprint(path):
    """Size and beginning of the file: enough to notice that another video has taken its name."""
    with open(path, "rb") as file:
        return content_key(os.path.getsize(path), file.read(1 << 20))


def _score_waiting(waiting, work, rows, journal, leaders, bar):
    if not waiting:
        return
    fresh = work.rows(waiting)
    if journal is not None:
        journal.append(fresh)
    for row, frame in zip(fresh, waiting, strict=True):
        leaders.offer(row, frame.image, work.columns)
    rows += fresh
    bar.update(len(waiting))
    waiting.clear()


class _FrameScorer(NamedTuple):
    scorer: object
    detector: object
    fallback: object
    columns: list

    def rows(self, frames):
        """The rows of some frames, as strings."""
        found = [
            extract_faces(frame.image, detector=self.detector, fallback=self.fallback, name=str(frame.number))
            for frame in frames
        ]
        faces = Faces.concat(found) if any(map(len, found)) else found[0]
        said = scoring.assessed(self.scorer, faces)
        rows = []
        for frame in frames:
            row = said.get(str(frame.number), {"status": "no_face", "reason": "no face was found in this frame"})
            row |= {"frame": frame.number, "time_s": float(frame.time_s), "lost_before": frame.lost_before}
            rows.append([scoring._cell(row.get(column)) for column in self.columns])
        return rows


def _table(rows, columns, reader):
    table = scoring.typed(rows, columns, text=("status", "reason"))
    skipped = int(table["lost_before"].sum())
    if reader.announced and skipped > reader.n_lost:  # the stamps jump, but nothing that was announced is missing
        table["lost_before"] = 0
    return table


class _Best:
    """The frames with the highest scores so far; of equal scores the earlier frame."""

    def __init__(self, count):
        self.count, self.heap = count, []

    def offer(self, row, image, columns):
        text = row[columns.index("score")]
        if not self.count or text == "":
            return
        number = int(row[columns.index("frame")])
        item = (float(text), -number, image)
        if len(self.heap) < self.count:
            heapq.heappush(self.heap, item)
        elif item[:2] > self.heap[0][:2]:
            heapq.heapreplace(self.heap, item)

    def write(self, folder):
        """Write them as files, best first; returns the paths."""
        files = []
        for rank, (_, number, image) in enumerate(sorted(self.heap, key=lambda item: item[:2], reverse=True), start=1):
            files.append(Path(folder) / f"{rank:02d}_frame_{-number:06d}.jpg")
            write_image(files[-1], image)
        return files


def timeline(table, path, *, title=None):
    """Draw the scores of a table over time into a picture file; see `plotting.timeline`."""
    figure = plotting.timeline(table, {"score": "score"}, title=title)
    with whole_file(path) as temporary:
        try:
            figure.savefig(temporary, dpi=150)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
