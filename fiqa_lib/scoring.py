"""Scoring any number of photographs into one table: in order, in bounded memory, and resumable.

Rows are appended to `OUT.partial` as they are made. A run that was interrupted goes on from there when the same command
is given again; the finished table is moved into place as a whole.
"""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd

from . import plotting
from .cache import content_key
from .datasets import load_files, load_orl
from .errors import DataError
from .files import whole_file, write_csv
from .images import find_images, printable
from .recognition import load_recogniser
from .scorers import SCORERS, fit_cached

COLUMNS = ["path", "status", "score", "face_x", "face_y", "face_w", "face_h", "inter_eye_px"]
COLUMNS += ["detector_score", "n_faces", "reason"]
CHUNK = 64
LISTS = (".txt", ".lst")


def make_scorer(method, parameters=None, *, recogniser=None, weights=None, model=None, progress=False):
    """A scorer by name, ready to score: with its parameters and, where it uses one, a recogniser.

    A method that learns comes from the file `model`, as `Scorer.save` writes it; without one it is fitted on the
    bundled faces, once: what it learned is kept in the cache.
    `progress`: training shows a bar on standard error, where the method has one.

    Raises
    ------
    DataError
        Unknown method or parameter, a recogniser for a method that uses none, or a model for one that learns nothing.
        Says what there is.
    WeightsError
        The model can't be read.
    """
    if method not in SCORERS:
        raise DataError(f"there is no method {method!r}; known: {', '.join(sorted(SCORERS))}")
    cls = SCORERS[method]
    if model is not None and not cls.learns:
        raise DataError(f"the method {method} learns nothing; leave out --model")
    scorer = cls()
    given = dict(parameters or {})
    known = scorer.get_params()
    if recogniser is not None or weights is not None:
        if "recogniser" not in known:
            raise DataError(f"the method {method} uses no recogniser; leave out --recogniser and --weights")
        given["recogniser"] = load_recogniser(recogniser or "dlib", weights)
    if unknown := sorted(set(given) - set(known)):
        raise DataError(f"{method} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    if model is not None:
        return cls.load(model, **given)
    scorer.set_params(**given)
    if not cls.learns:
        return scorer
    if progress and "verbose" in cls.silent and "verbose" not in given:
        return fit_cached(scorer.set_params(verbose=1), load_orl()).set_params(verbose=0)
    return fit_cached(scorer, load_orl())


def write_quality(scores, path):
    """Write a table of scores as FaceQnet and FaceQgen do: the header `img;score`, then a line for each image.

    A missing score becomes -inf, as `protocols.read_quality` has it: these files hold no status and no reason.

    Parameters
    ----------
    scores : DataFrame with `path` and `score`
    path : path
        Written whole or not at all.

    Returns
    -------
    Path
    """
    values = scores["score"].astype(float).fillna(-math.inf)
    lines = [f"{name};{value!r}" for name, value in zip(scores["path"], values.tolist(), strict=True)]
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(["img;score", *lines]) + "\n", encoding="utf-8", newline="\n")
    return Path(path)


def list_inputs(paths):
    """Every image that the inputs name, in their order: [(path, problem or None)].

    A folder stands for the images below it (sorted), a `.txt` or `.lst` file for the paths in its lines (relative to
    the list's own folder). What can't be listed is kept, with the problem, so that it gets its row.
    """
    found = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = find_images(path).paths
            found += [(p, None) for p in inside] or [(path, "the folder holds no image file")]
        elif path.suffix.lower() in LISTS:
            found += _listed(path)
        else:
            found.append((path, None))
    return found


def _listed(path):
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [(path, f"the list can't be read ({error})")]
    named = [path.parent / line.strip() for line in lines if line.strip()]
    return [(p, None) for p in named] or [(path, "the list is empty")]


def score_files(
    inputs, scorer, out, *, fallback=None, strict=False, restart=False, n_jobs=1, progress=False, write=write_csv
):
    """Score images and write the table.

    Parameters
    ----------
    inputs : sequence of (path, problem or None), as `list_inputs` gives them; or of paths
    scorer : Scorer
        Fitted, if it learns.
    out : path
        The CSV file. `status` is "ok", "fallback", "no_face", "not_assessed" (the method gave no score), "refused" (it
        says why) or "error". A method's own `details` are columns before the last.
    fallback, strict, n_jobs
        As in `datasets.load_files`.
    restart : bool
        Drop what an interrupted run left.
    progress : bool
        Show a bar on standard error.
    write : callable
        Writes the finished table: `write(table, out)`. `write_quality` for the format `img;score`.

    Returns
    -------
    DataFrame
        As written: one row for each input, in order.
    """
    inputs = [item if isinstance(item, tuple) else (Path(item), None) for item in inputs]
    out = Path(out)
    columns = columns_of(scorer)
    key = run_key(scorer, fallback, *(os.fspath(path) for path, _ in inputs))
    journal = Journal(out.with_name(out.name + ".partial"), key, restart, columns)
    done = len(journal.rows)
    bar = _bar(len(inputs), done, progress)
    for start in range(done, len(inputs), CHUNK):
        part = inputs[start : start + CHUNK]
        journal.append(_score_chunk(part, scorer, columns, fallback, strict, n_jobs))
        bar.update(len(part))
    bar.close()
    table = typed(journal.rows, columns)
    write(table, out)
    journal.path.unlink(missing_ok=True)
    return table


def columns_of(scorer):
    """The columns of a table of photographs: `COLUMNS`, with what the method says besides its score."""
    return [*COLUMNS[:-1], *scorer.details, COLUMNS[-1]]


def run_key(scorer, *more):
    """What a run depends on: the method, its parameters, what it learned, and `more` (strings, numbers, bytes)."""
    learned = [value for item in sorted(scorer.get_state().items()) for value in item] if scorer.learns else []
    learned = [value if isinstance(value, str) else np.asarray(value).tobytes() for value in learned]
    return content_key(repr(scorer), *learned, *more)


def _score_chunk(part, scorer, columns, fallback, strict, n_jobs):
    """The rows of some inputs, in order."""
    if strict and (bad := [(path, why) for path, why in part if why]):
        raise DataError(f"{bad[0][0]}: {bad[0][1]}")
    readable = [row for row, (_, problem) in enumerate(part) if problem is None]
    names = [str(row) for row in readable]
    paths = [part[row][0] for row in readable]
    faces, report = load_files(paths, names=names, fallback=fallback, strict=strict, n_jobs=n_jobs)
    assessed_faces = assessed(scorer, faces)
    said = dict(zip(names, report[["status", "reason"]].itertuples(index=False), strict=True))
    rows = []
    for row, (path, problem) in enumerate(part):
        name = str(row)
        status, reason = ("error", problem) if problem else said[name]
        found = assessed_faces.get(name, {"status": "ok"})
        if found["status"] in ("ok", "fallback"):
            found |= {"status": status, "reason": reason}
        found["path"] = printable(path)
        rows.append([_cell(found.get(column)) for column in columns])
    return rows


def assessed(scorer, faces):
    """What a method says about each face, and what was measured at it: a dict name -> dict of columns.

    `status` is "ok" ("fallback" where the middle was taken), or what kept the method from a score, with the `reason`.
    """
    said = scorer.assess(faces).to_dict("records")
    found = {}
    for name, measured, row in zip(faces.names, faces.attributes.to_dict("records"), said, strict=True):
        row = {**measured, "status": measured.get("status", "ok"), "reason": "", **row}
        if row["status"] in ("ok", "fallback") and not np.isfinite(row["score"]):
            row |= {"status": "not_assessed", "reason": "the method could not assess this face"}
        if not np.isfinite(row["score"]):
            row["score"] = None
        found[str(name)] = row
    return found


def _cell(value):
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def typed(rows, columns, text=("path", "status", "reason")):
    """The rows as a typed table, exactly as it is read back from the journal: numbers, but for the columns `text`."""
    table = pd.DataFrame(rows, columns=columns, dtype=str)
    for column in columns:
        if column not in text:
            table[column] = pd.to_numeric(table[column].replace("", None))
    return table


class Journal:
    """Rows appended to a file as they are made. The first line is the key of the run; a torn last line is dropped."""

    def __init__(self, path, key, restart, columns=COLUMNS):
        self.path, self.rows, self.columns = path, [], columns
        path.parent.mkdir(parents=True, exist_ok=True)
        if not restart and path.exists():
            self.rows = self._read(key)
        with whole_file(path) as temporary:
            temporary.write_bytes(f"{key}\n".encode() + _lines(self.rows))

    def _read(self, key):
        text = self.path.read_bytes().decode("utf-8", "replace")
        head, _, body = text.partition("\n")
        if head != key:  # of another command: nothing of it can be used
            return []
        complete = body[: body.rfind("\n") + 1]
        try:
            rows = list(csv.reader(io.StringIO(complete), strict=True))
        except csv.Error:
            return []
        good = []
        for row in rows:
            if len(row) != len(self.columns):
                break
            good.append(row)
        return good

    def append(self, rows):
        with self.path.open("ab") as file:
            file.write(_lines(rows))
            file.flush()
            os.fsync(file.fileno())
        self.rows += rows


def _lines(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[c.replace("\n", " ") for c in row] for row in rows])
    return text.getvalue().encode("utf-8")


def _bar(total, done, shown, unit="face"):
    from tqdm import tqdm

    return tqdm(total=total, initial=done, disable=not shown, unit=unit)


def contact_sheet(table, path, *, count=12, fallback=None):
    """Draw the best and the worst faces of a table into a picture file.

    Parameters
    ----------
    table : DataFrame
        As `score_files` returns it.
    count : int
        At most this many of each.
    """
    scored = table.dropna(subset=["score"]).sort_values("score", ascending=False, kind="stable")
    if scored.empty:
        raise DataError("no face was scored: there is nothing to draw")
    count = min(count, len(scored))
    pictures, titles = [], []
    for rows in (scored.head(count), scored.tail(count)[::-1]):
        faces = load_files(rows["path"], names=range(count), fallback=fallback).faces
        if len(faces) != count:
            raise DataError("photographs have changed or gone since they were scored: run again with --restart")
        pictures += list(faces.images)
        titles += [f"{value:.3g}" for value in rows["score"]]
    figure = plotting.face_grid(pictures, titles, columns=count, row_labels=["best", "worst"])
    with whole_file(path) as temporary:
        try:
            figure.savefig(temporary, dpi=150)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
