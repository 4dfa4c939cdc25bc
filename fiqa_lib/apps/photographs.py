"""Photographs to rows of a table, any number of them: in order, in bounded memory, and resumable.

Rows are appended to `OUT.partial` as they are made. When the same command is given again after an interruption, it
goes on from there: a row is taken over where its photograph still has the same path, size and time of change. The
finished table is moved into place as a whole.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path

import numpy as np

from ..cache import content_key, sources_of
from ..course import plotting
from ..data.bin_files import read_insightface_bin
from ..data.folders import Encoded, load_files, no_image_in
from ..data.orl import load_orl
from ..data.tables import read_lines
from ..errors import DataError
from ..faces.images import find_images, is_picture_name, printable, summary_of
from ..files import locked, whole_file, write_csv
from ..recognition import Recogniser, load_recogniser
from ..scorers import SCORERS, fit_cached
from .output import Journal, progress_bar, save_figure, stamp, table_of, totals

COLUMNS = ["path", "status", "score", "face_x", "face_y", "face_w", "face_h", "inter_eye_px"]
COLUMNS += ["detector_score", "n_faces", "reason"]
CHUNK = 64
"""Photographs that are in memory together."""
LISTS = (".txt", ".lst")
"""Suffixes of files that list photographs, one path a line."""
SCORED = ("ok", "fallback")
"""The statuses of a photograph with a score."""
REASONS = {
    "no_face": "no face was found; the face may be too small, turned away or covered",
    "fallback": "no face was found; the middle of the picture was taken",
    "not_assessed": "the method could not assess this face",
}
"""Why a photograph has no score, or only one of a fallback, by its status."""


def make_scorer(method, parameters=None, *, recogniser=None, weights=None, model=None, progress=False):
    """A scorer by name, ready to score.

    A method that learns is read from the file `model`, as `Scorer.save` writes it. Without one it is fitted on the
    bundled faces; what it learned is kept in the cache.

    Parameters
    ----------
    method : str
        A name in `SCORERS`.
    parameters : dict, default=None
        Constructor parameters of the method.
    recogniser : str, default=None
        Name of a recogniser, for methods that use one. None: dlib's network, or the one of a method that needs its own
        weights.
    weights : path, default=None
        Weights of the recogniser, as its authors publish them; or of a method that `needs_weights`.
    model : path, default=None
        A fitted method.
    progress : bool, default=False
        Show a bar on standard error while the method learns, where it has one.

    Returns
    -------
    Scorer

    Raises
    ------
    DataError
        The method or a parameter is unknown, a recogniser is given to a method that uses none, or a model to one that
        learns nothing. The message lists the known names.
    WeightsError
        The model or the weights can't be read, or the method needs weights and there are none.
    """
    if method not in SCORERS:
        raise DataError(f"there is no method {method!r}; known: {', '.join(sorted(SCORERS))}")
    cls = SCORERS[method]
    if model is not None and not cls.learns:
        raise DataError(f"the method {method} learns nothing; leave out --model")
    scorer, parameters = cls(), dict(parameters or {})
    known = scorer.get_params()
    if recogniser is not None or weights is not None:
        if "recogniser" not in known:
            raise DataError(f"the method {method} uses no recogniser; leave out --recogniser and --weights")
        parameters["recogniser"] = load_recogniser(recogniser or cls.needs_weights or "dlib", weights)
    if cls.needs_weights and parameters.keys().isdisjoint(("recogniser", "weights")):
        load_recogniser(cls.needs_weights)  # it has no file, so that it says which one is needed
    if unknown := sorted(set(parameters) - set(known)):
        raise DataError(f"{method} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    if model is not None:
        return cls.load(model, **parameters)
    scorer.set_params(**parameters)
    if not cls.learns:
        return scorer
    if progress and "verbose" in cls.silent and "verbose" not in parameters:
        return fit_cached(scorer.set_params(verbose=1), load_orl()).set_params(verbose=0)
    return fit_cached(scorer, load_orl())


def score_rows(scorer, faces, names, errors=None):
    """One row for each photograph, or each frame of a video: the only place that says what became of it.

    Parameters
    ----------
    scorer : Scorer
        Fitted, if it learns.
    faces : Faces
        At most one face of each photograph. `faces.names` says of which.
    names : sequence of str
        All photographs, in the order of the rows.
    errors : dict of str -> str, default=None
        Name -> reason of the photographs that can't be read.

    Returns
    -------
    list of dict
        `status` ("ok", "fallback", "no_face", "not_assessed", "refused" or "error"), `reason` ("" where all is well),
        `score` (None without one), what was measured at the face (`faces.attributes`), and the method's `details`.
    """
    rows = {name: {"status": "error", "reason": printable(why), "score": None} for name, why in (errors or {}).items()}
    assessed = scorer.assess(faces).to_dict("records") if len(faces) else []
    for name, measured, said in zip(faces.names, faces.attributes.to_dict("records"), assessed, strict=True):
        status, reason = said.get("status", "ok"), said.get("reason", "")
        has_score = bool(np.isfinite(said["score"]))
        if status in SCORED:
            status = measured.get("status", "ok") if has_score else "not_assessed"
            reason = REASONS.get(status, "")
        score = float(said["score"]) if has_score else None
        rows[str(name)] = {**measured, **said, "status": status, "reason": printable(reason), "score": score}
    nothing = {"status": "no_face", "reason": REASONS["no_face"], "score": None}
    return [dict(rows.get(name, nothing)) for name in names]


def columns_of(scorer):
    """The columns of a table of photographs: `COLUMNS`, with the `details` of the method before the last.

    Parameters
    ----------
    scorer : Scorer
        The method.

    Returns
    -------
    list of str
    """
    return [*COLUMNS[:-1], *scorer.details, COLUMNS[-1]]


def run_key(scorer, *more):
    """A key for everything that a run depends on.

    Parameters
    ----------
    scorer : Scorer
        The method: its code, its parameters, the weights of its recogniser and what it learned are part of the key.
    *more : str, bytes or number
        Anything else, such as the inputs.

    Returns
    -------
    str
    """
    learned = [value for item in sorted(scorer.get_state().items()) for value in item] if scorer.learns else []
    learned = [value if isinstance(value, str) else np.asarray(value).tobytes() for value in learned]
    network = getattr(scorer, "recogniser", None)  # two of one name may have other weights
    weights = network.fingerprint() if isinstance(network, Recogniser) else None
    return content_key(sources_of(type(scorer)), repr(scorer), weights, *learned, *more)


def list_inputs(paths):
    """Every photograph that the inputs name, in their order.

    Parameters
    ----------
    paths : sequence of paths
        A folder stands for the photographs below it (sorted), a `.txt` or `.lst` file for the paths in its lines
        (relative to the folder of the list), a `.bin` file of InsightFace for its images ("00000" ..., as
        `read_insightface_bin` names them; aligned crops), anything else for itself.

    Returns
    -------
    list of (Path or Encoded, str or None)
        The path, and why it can't be used, if so: it gets a row too. What else a folder holds is counted in a warning.
    """
    inputs = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inputs += _below(path)
        elif path.suffix.lower() == ".bin" and path.is_file():
            inputs += _images_in(path)
        elif path.suffix.lower() in LISTS:
            inputs += _listed(path)
        else:
            inputs.append((path, None))
    return inputs


def _below(folder):
    """The photographs of a folder; also those of which only the name is there, such as links that lead out of it."""
    found = find_images(folder)
    of_photographs = found.skipped["path"].map(is_picture_name).to_numpy(bool) & ~_is_hidden(found.skipped)
    rows = [(path, None) for path in found.paths]
    rows += [(Path(row.path), row.reason) for row in found.skipped[of_photographs].itertuples()]
    others = found.skipped[~of_photographs]
    if not rows:
        there = str(no_image_in(folder, found.skipped)).partition("below; ")[2]
        return [(folder, f"the folder holds no image file; {there}")]
    if len(others):
        warnings.warn(f"{printable(folder)}: left out: {summary_of(others)}", stacklevel=3)
    return sorted(rows, key=lambda row: row[0].as_posix())


def _is_hidden(skipped):
    return skipped["path"].map(lambda path: Path(path).name.startswith(".")).to_numpy(bool)


def _images_in(path):
    try:
        images = read_insightface_bin(path).images
    except DataError as error:
        return [(path, str(error).removeprefix(f"{path}: "))]
    return [(Encoded(f"{number:05d}", data), None) for number, data in enumerate(images)]


def _listed(path):
    try:
        lines = read_lines(path, strip=True, backslashes=True, allow_empty=False)
        return [(path.parent / name, None) for _, name in lines]
    except DataError as error:
        return [(path, str(error))]


def score_files(
    inputs,
    scorer,
    out,
    *,
    fallback=None,
    detector=None,
    aligned=False,
    strict=False,
    restart=False,
    n_jobs=1,
    progress=False,
    write=write_csv,
):
    """Score photographs and write the table.

    Parameters
    ----------
    inputs : sequence of paths, or of (path, problem or None) as `list_inputs` gives them
        One row for each, in this order.
    scorer : Scorer
        Fitted, if it learns.
    out : path
        The CSV file. Its columns are `columns_of(scorer)`; `status` and `reason` are those of `score_rows`.
    fallback : {None, "centre"}, default=None
        What to take where no face is found: nothing, or the middle of the picture.
    detector : callable, default=None
        Finds the faces, as in `faces.extract_faces`. None: `Mtcnn()`.
    aligned : bool, default=False
        The inputs are 112x112 crops in ArcFace's template; see `data.load_files`.
    strict : bool, default=False
        Stop at the first photograph that can't be read or has no face.
    restart : bool, default=False
        Drop what an interrupted run left.
    n_jobs : int, default=1
        Processes that read photographs and find faces; no effect on the result.
    progress : bool, default=False
        Show a bar on standard error.
    write : callable, default=write_csv
        Writes the finished table: `write(table, out)`. `write_quality` gives the format `img;score`.

    Returns
    -------
    DataFrame
        As written.

    Raises
    ------
    ImageError, DataError
        With `strict`: the first photograph without a score, and why. DataError also where another process writes `out`,
        or `out` is one of the photographs.
    """
    inputs = [item if isinstance(item, tuple) else (Path(item), None) for item in inputs]
    if os.path.exists(out) and any(os.path.abspath(path) == os.path.abspath(out) for path, _ in inputs):
        raise DataError(f"{printable(out)}: is one of the inputs and would be replaced; give the table another name")
    reading = {"fallback": fallback, "detector": detector, "aligned": aligned}
    more = [repr(detector)] * (detector is not None) + ["aligned"] * aligned
    more += [content_key(path.data) for path, _ in inputs if isinstance(path, Encoded)]
    columns, key = columns_of(scorer), run_key(scorer, fallback, *more)
    with locked(out):
        journal = Journal(out, key, restart=restart)
        known = _still_true(journal.rows, inputs)
        todo = [number for number in range(len(inputs)) if number not in known]
        with progress_bar(len(inputs), done=len(known), shown=progress) as bar:
            for start in range(0, len(todo), CHUNK):
                numbers = todo[start : start + CHUNK]
                part = [inputs[number] for number in numbers]
                marks = [{"input": _name(path), "stamp": stamp(path)} for path, _ in part]  # before they are read
                rows = _rows_of_files(part, scorer, reading, strict, n_jobs)
                rows = [{column: row.get(column) for column in columns} for row in rows]
                journal.append([row | mark for row, mark in zip(rows, marks, strict=True)])
                known |= zip(numbers, journal.rows[-len(part) :], strict=True)
                bar.update(len(part))
        table = table_of([known[number] for number in range(len(inputs))], columns)
        write(table, out)
        journal.remove()
    return table


def _name(path):
    return os.path.abspath(os.fspath(path))


def _still_true(rows, inputs):
    """The rows of an interrupted run by the number of the input that they still describe."""
    by_name = {(row.get("input"), row.get("path")): row for row in rows}  # of two rows the later one
    known = {}
    for number, (path, problem) in enumerate(inputs if by_name else ()):
        row = by_name.get((_name(path), printable(path)))
        if row and problem is None and row.get("stamp") == stamp(path):
            known[number] = row
    return known


def _rows_of_files(inputs, scorer, reading, strict, n_jobs):
    errors = {str(number): problem for number, (_, problem) in enumerate(inputs) if problem}
    if strict and errors:
        number, problem = next(iter(errors.items()))
        raise DataError(f"{printable(inputs[int(number)][0])}: {problem}")
    names = [str(number) for number in range(len(inputs))]
    readable = [name for name in names if name not in errors]
    paths = [inputs[int(name)][0] for name in readable]
    faces, report = load_files(paths, names=readable, strict=strict, n_jobs=n_jobs, **reading)
    failed = (report["status"] == "error").to_numpy()
    errors |= {name: why for name, why, bad in zip(readable, report["reason"], failed, strict=True) if bad}
    rows = score_rows(scorer, faces, names, errors)
    return [row | {"path": printable(path)} for row, (path, _) in zip(rows, inputs, strict=True)]


def write_quality(scores, path):
    """Write a table of scores as FaceQnet and FaceQgen do: the header `img;score`, then one line for each image.

    A missing score becomes -inf, as `data.read_quality` reads it: this format holds no status and no reason.

    Parameters
    ----------
    scores : DataFrame
        With the columns `path` and `score`.
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


def contact_sheet(table, path, *, count=12, inputs=None, **reading):
    """Draw the best and the worst faces of a table into a picture file.

    Parameters
    ----------
    table : DataFrame
        As `score_files` returns it.
    path : path
        The picture; its suffix chooses the format.
    count : int, default=12
        Number of best and of worst faces, at most.
    inputs : sequence, default=None
        What was scored, row by row, as `score_files` took it. None: the paths in the table, where names that can't be
        printed are not those of the files.
    **reading
        `fallback`, `detector` and `aligned`, as the photographs were scored.

    Raises
    ------
    DataError
        No face was scored, a photograph has changed since, or the format is unknown.
    """
    paths = list(table["path"]) if inputs is None else [item[0] if type(item) is tuple else item for item in inputs]
    scored = (
        table.assign(place=range(len(table)))
        .dropna(subset=["score"])
        .sort_values("score", ascending=False, kind="stable")
    )
    if scored.empty:
        raise DataError("no face was scored: there is nothing to draw")
    count = min(count, len(scored))
    pictures, titles = [], []
    for rows in (scored.head(count), scored.tail(count)[::-1]):
        faces, report = load_files([paths[place] for place in rows["place"]], names=range(count), **reading)
        if len(faces) != count:
            lost = totals(report, good=SCORED)
            raise DataError(f"photographs have changed or gone since they were scored ({lost}): run again")
        pictures += list(faces.images)
        titles += [f"{value:.3g}" for value in rows["score"]]
    save_figure(plotting.face_grid(pictures, titles, columns=count, row_labels=["best", "worst"]), path)
