"""From scores to lists of photographs: kept, rejected with the reason, and without a score. Nothing is moved."""

from __future__ import annotations

import hashlib
import math
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from ..data.score_files import read_scores
from ..data.tables import find_delimiter, header_cells, read_lines, read_table
from ..errors import DataError
from ..faces.images import printable
from ..files import locked, whole_file, write_csv
from .photographs import list_inputs, score_files
from .report import threshold_for

LISTS = {
    "kept": ("path", "score"),
    "rejected": ("path", "score", "reason"),
    "unscored": ("path", "status", "reason"),
}
"""The lists, NAME.csv, and their columns."""


class Decision(NamedTuple):
    """What `decide` returns.

    `table`: DataFrame, one row for each photograph in the order given: `path`, `score` (NaN without one), `status`,
    `verdict` ("kept", "rejected", "unscored"), `reason` ("" for what is kept).
    `threshold`: float; scores below are rejected. NaN where no threshold was asked for.
    """

    table: pd.DataFrame
    threshold: float

    def summary(self):
        """The counts in words."""
        counts = self.table["verdict"].value_counts()
        return ", ".join(f"{counts.get(name, 0)} {name}" for name in LISTS)


def scores_of(path, *, column="score", path_column=None):
    """Scores with the reasons of those that are missing, from a file that `fiqa score` or another tool wrote.

    Parameters
    ----------
    path : path
        As in `data.read_scores`.
    column : str, default="score"
        The column of a table that holds the scores.
    path_column : str, default=None
        The column that holds the paths. None: found by its name.

    Returns
    -------
    DataFrame
        `path`, `score` (NaN without one), `status`, `reason` ("no score in the table" where the file gives none).

    Raises
    ------
    DataError
        As `data.read_scores`.
    """
    table = read_scores(path, column=column, path_column=path_column)
    score = table["score"].astype(float)
    score = score.where(score.map(math.isfinite))  # -inf is how FaceQgen's format says that there is none
    status = table["status"] if "status" in table else pd.Series("ok", index=table.index)
    reason = pd.Series("", index=table.index, dtype=object)
    _, first = next(read_lines(path, strip=True, comments=True)) if Path(path).suffix != ".pkl" else (0, "")
    if "reason" in header_cells(first, find_delimiter(first)) and "status" in table:
        rows = read_table(path, comments=True)
        if len(rows) == len(table):
            reason = rows["reason"].reset_index(drop=True)
    unsaid = score.isna() & (reason == "")
    status = status.where(~(score.isna() & (status == "ok")), "not_assessed")
    return pd.DataFrame({
        "path": table["path"], "score": score, "status": status, "reason": reason.mask(unsaid, "no score in the table")
    })  # fmt: skip


def check_rules(threshold=None, keep=None, best=0, duplicates=False, id_key_index=-2):
    """Raise DataError where `decide` would refuse these rules, before anything is scored. Parameters as there."""
    if threshold is not None and keep is not None:
        raise DataError("give a threshold or a share to keep, not both")
    if threshold is None and keep is None and not best and not duplicates:
        raise DataError("nothing to decide by: give --threshold, --keep, --best or --duplicates")
    if threshold is not None and not math.isfinite(threshold):
        raise DataError(f"the threshold must be a finite number, not {threshold}")
    if keep is not None and not 0 < keep <= 1:
        raise DataError(f"the share to keep must be above 0 and at most 1, not {keep}")
    if best < 0:
        raise DataError(f"the number of photographs of a person must not be negative: {best}")


def decide(scores, *, threshold=None, keep=None, best=0, duplicates=False, id_key_index=-2):
    """Keep or reject each photograph that has a score.

    In this order: of files with the same bytes the best-scored stays; then the threshold; then the best of each person.
    Of equal scores the first in the table counts as better.

    Parameters
    ----------
    scores : DataFrame
        `path`, `score` (NaN without one), `status`, `reason`, as `scores_of` or `photographs.score_files` gives them.
    threshold : float, default=None
        Keep scores from this one on.
    keep : float, default=None
        Keep at least this share of the scored photographs (after duplicates), in (0, 1]: as many as `threshold_for`
        keeps, which never separates equal scores. Not with `threshold`.
    best : int, default=0
        Keep at most this many photographs of each person; 0: all.
    duplicates : bool, default=False
        Of files with the same content keep one. The files are read.
    id_key_index : int, default=-2
        Which part of a path names the person; -2 is the folder.

    Returns
    -------
    Decision

    Raises
    ------
    DataError
        No rule is given, or two thresholds; a number is out of range; a path has no such part; a file can't be read; or
        a share is to be kept and nothing has a score.
    """
    check_rules(threshold, keep, best, duplicates)
    table = scores[["path", "score", "status", "reason"]].reset_index(drop=True)
    scored = table["score"].notna()
    table["verdict"] = scored.map({True: "kept", False: "unscored"})
    table.loc[scored, "reason"] = ""  # such as that of a fallback, which is no reason against it
    ranked = table[scored].sort_values("score", ascending=False, kind="stable")
    if duplicates:
        _reject(table, _beyond(ranked, ranked["path"].map(_digest), 1), "the same file as {}")
        ranked = ranked[table.loc[ranked.index, "verdict"] == "kept"]
    if keep is not None:
        if ranked.empty:
            raise DataError("no photograph has a score: there is no share to keep")
        threshold = threshold_for(ranked["score"], 1 - keep)
    if threshold is not None:
        low = ranked.index[ranked["score"] < threshold]
        table.loc[low, ["verdict", "reason"]] = "rejected", f"the score is below {threshold:.6g}"
        ranked = ranked.drop(low)
    if best:
        persons = ranked["path"].map(lambda path: _person(path, id_key_index))
        said = "better ones of this person are kept: {}" if best > 1 else "a better one of this person is kept: {}"
        _reject(table, _beyond(ranked, persons, best), said)
    return Decision(table, math.nan if threshold is None else float(threshold))


def _reject(table, beyond, reason):
    for row, first in beyond.items():
        table.loc[row, ["verdict", "reason"]] = "rejected", reason.format(first)


def _beyond(ranked, groups, count):
    """{row: path of the best of its group} of the rows beyond the first `count` of each group."""
    firsts = ranked["path"].groupby(groups, sort=False).transform("first")
    late = ranked["path"].groupby(groups, sort=False).cumcount() >= count
    return firsts[late].to_dict()


def _digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{printable(path)}: can't be read to look for duplicates ({error.strerror})") from error


def _person(path, index):
    parts = PurePosixPath(path).parts
    try:
        return parts[index]
    except IndexError:
        raise DataError(f"{printable(path)}: has no part {index} that names a person; see --id-key-index") from None


def write_lists(decision, folder):
    """Write kept.csv, rejected.csv and unscored.csv: all of them, or none.

    Parameters
    ----------
    decision : Decision
        As `decide` returns it.
    folder : path
        Made where it is missing.

    Returns
    -------
    dict of str -> Path
        By the name of the list.

    Raises
    ------
    DataError
        Another process writes there.
    OSError
        A file can't be written; then the lists of an earlier run are as they were.
    """
    paths = {name: Path(folder) / f"{name}.csv" for name in LISTS}
    with locked(paths["kept"]), ExitStack() as stack:  # moved into place when all are written
        for name, path in paths.items():
            rows = decision.table[decision.table["verdict"] == name]
            write_csv(rows[list(LISTS[name])], stack.enter_context(whole_file(path)))
    return paths


def filter_command(arguments, make_scorer, reading):
    """What `fiqa filter` does, with the parsed command line.

    Parameters
    ----------
    arguments : argparse.Namespace
        The options of the command.
    make_scorer : callable
        Gives the scorer; called for a folder only.
    reading : callable
        `arguments` -> how photographs are read, for `score_files`.
    """
    rules = {"threshold": arguments.threshold, "keep": arguments.keep, "best": arguments.best or 0}
    rules |= {"duplicates": arguments.duplicates, "id_key_index": arguments.id_key_index}
    check_rules(**rules)
    if arguments.source.is_dir():
        options = {"n_jobs": arguments.jobs, "progress": not arguments.no_progress, "fallback": arguments.fallback}
        inputs = list_inputs([arguments.source])
        scores = score_files(inputs, make_scorer(), arguments.out / "scores.csv", **options, **reading(arguments))
    else:
        scores = scores_of(arguments.source, column=arguments.column, path_column=arguments.path_column)
    decision = decide(scores, **rules)
    write_lists(decision, arguments.out)
    rule = f"; threshold {decision.threshold:.6g}" if math.isfinite(decision.threshold) else ""
    print(f"{len(scores)} photographs: {decision.summary()}{rule}. Written: {printable(arguments.out)}")
