"""Files of quality scores, read into tidy tables and matched with pairs.

Scores are a DataFrame with `path` (str) and `score` (nullable Float64, as written; whether higher is better is decided
by the tool that wrote them). A face without a score is `pandas.NA`, never NaN, and `evaluation.edc(on_missing=...)`
decides what becomes of it. Every malformed line is named by file and line number.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath

import pandas as pd

from ..errors import DataError
from .tables import DELIMITERS, find_delimiter, header_cells, read_lines, read_table

USABLE = ("ok", "fallback")
"""Values of a score file's `status` that stand for a score; with any other, or without a number, it is missing."""


def read_scores(path, *, column="score"):
    """Scores from any of the formats, recognised by the first line; see `read_scores_csv` and `read_quality`.

    Parameters
    ----------
    path : str or Path
        The text file.
    column : str, default="score"
        Which column of a table holds the scores.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64), and `status` if the file has it.
    """
    _, first = next(read_lines(path, allow_empty=False))
    if find_delimiter(first) in DELIMITERS and "path" in header_cells(first):
        return read_scores_csv(path, column=column)
    return read_quality(path)


def read_scores_csv(path, *, column="score"):
    """Scores in our own format: a table with a header naming `path`, the score column and, usually, `status`.

    A score is missing (`pandas.NA`) where its cell is empty, or the `status` is neither "ok" nor "fallback".

    Parameters
    ----------
    path : str or Path
        As in `tables.read_table`.
    column : str, default="score"
        Which column holds the scores.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64), and `status` if the file has it.
    """
    table = read_table(path, columns=("path", column))
    status = table["status"] if "status" in table else pd.Series("ok", index=table.index)
    rows = []
    for line, name, cell, state in zip(table.index, table["path"], table[column], status, strict=True):
        if not name:
            raise DataError(f"{path}, line {line}: the cell 'path' is empty")
        score = _score(cell, f"{path}, line {line}") if cell else None
        rows.append((line, name, score if state in USABLE else None))
    scores = _scores(rows, path)
    if "status" in table:
        scores["status"] = table["status"][~table["path"].duplicated()].array
    return scores


def read_quality(path):
    """Scores in the text formats of published tools: `path score`, or FaceQnet's `img;score`.

    The score is what follows the last space or tab, so paths may hold spaces. A file is FaceQnet's where its first
    line is the header `img;score`, or has a number behind its last semicolon. A path that occurs again with the same
    score (to 1 part in 10,000, as on a graphics card) is taken once; with another it is refused.

    Parameters
    ----------
    path : str or Path
        The text file.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64).
    """
    lines = list(read_lines(path, strip=True, allow_empty=False))
    head = lines[0][1].lower().replace(" ", "")
    semicolon = head == "img;score" or (";" in head and _is_number(head.rpartition(";")[2]))
    if head == "img;score":
        lines = lines[1:]
    rows = []
    for number, text in lines:
        parts = text.rsplit(";" if semicolon else None, 1)
        if len(parts) != 2 or not parts[0].strip():
            form = "`img;score`" if semicolon else "`path score`"
            raise DataError(f"{path}, line {number}: {form} is expected, got {text!r}")
        rows.append((number, parts[0].strip(), _score(parts[1].strip(), f"{path}, line {number}")))
    return _scores(rows, path)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _score(text, place):
    if not _is_number(text):
        raise DataError(f"{place}: the score {text!r} is no number")
    if math.isnan(float(text)):
        raise DataError(
            f"{place}: the score is NaN; write -inf (in a CSV: an empty cell) for a face that could not be assessed"
        )
    return float(text)


def _scores(rows, path):
    """The table of (line, path, score or None), each path once."""
    seen = {}
    for number, name, score in rows:
        first, other = seen.setdefault(name, (number, score))
        same = score == other or (score is not None and other is not None and math.isclose(score, other, rel_tol=1e-4))
        if not same:
            raise DataError(f"{path}, line {number}: {name!r} has the score {score}, but {other} in line {first}")
    scores = pd.array([score for _, score in seen.values()], dtype="Float64")
    return pd.DataFrame({"path": pd.Series(list(seen), dtype="str"), "score": scores})


_KEYS = {
    "path": lambda text: text.replace("\\", "/"),
    "name": lambda text: PurePosixPath(text.replace("\\", "/")).name,
    "stem": lambda text: PurePosixPath(text.replace("\\", "/")).stem,
}


def pair_qualities(pairs, scores, *, match="auto"):
    """The two qualities of each pair, for `evaluation.edc`.

    Parameters
    ----------
    pairs : DataFrame
        With `a`, `b`.
    scores : DataFrame
        With `path`, `score`.
    match : {"auto", "path", "name", "stem"}, default="auto"
        By what a pair's image is found among the paths: the whole path, its last part, or that without the suffix
        (CR-FIQA's pairs name "00000", its scores "images/00000.jpg"). "auto": the first of these by which every
        image is found, and only once.

    Returns
    -------
    (quality_a, quality_b) : two pandas Float64 arrays (P,)
        With `pandas.NA` where the score is missing.

    Raises
    ------
    DataError
        Naming the images that have no row, or more than one.
    """
    if match not in ("auto", *_KEYS):
        raise DataError(f"match must be 'auto', {', '.join(map(repr, _KEYS))}, got {match!r}")
    problems = []
    for way in _KEYS if match == "auto" else (match,):
        index = pd.Index([_KEYS[way](text) for text in scores["path"]])
        wanted = {side: [_KEYS[way](text) for text in pairs[side]] for side in ("a", "b")}
        absent = sorted({key for keys in wanted.values() for key in keys} - set(index))
        if not absent and index.is_unique:
            values = pd.Series(scores["score"].array, index=index)
            return values.loc[wanted["a"]].array, values.loc[wanted["b"]].array
        if absent:
            problems.append(f"by {way}, {len(absent)} images have no score: {', '.join(absent[:3])} ...")
        else:
            twice = sorted(set(index[index.duplicated()]))
            problems.append(f"by {way}, {len(twice)} scores have one name: {', '.join(twice[:3])} ...")
    raise DataError(f"pairs and scores do not fit ({'; '.join(problems)})")
