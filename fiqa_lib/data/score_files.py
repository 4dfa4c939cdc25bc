"""Files of quality scores, read into tidy tables and matched with pairs.

Scores are a DataFrame with `path` (str) and `score` (nullable Float64, as written; whether higher is better is decided
by the tool that wrote them). A face without a score is `pandas.NA`, never NaN, and `evaluation.edc(on_missing=...)`
decides what becomes of it. Every malformed line is named by file and line number.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path, PurePosixPath

import pandas as pd

from ..errors import DataError
from .dialects import MISSING, PATHS, SCORES, clean_path, find_column, number_in
from .tables import DELIMITERS, find_delimiter, header_cells, read_lines, read_table
from .unpickling import Array, read_plain_pickle, short

USABLE = ("ok", "fallback")
"""Values of a score file's `status` that stand for a score; with any other, or without a number, it is missing."""


class MissingScoresWarning(UserWarning):
    """Cells of a score file say NaN: these faces count as not assessed."""


def read_scores(path, *, column="score", path_column=None):
    """Scores from any of the formats that tools and spreadsheets write, recognised by the first line.

    - a table with a header that names images and scores: ours (`path,status,score`), OFIQ's (`Filename;...`), others
    - FaceQnet's and FaceQgen's `img;score`; CR-FIQA's `path score`; also with commas and tabs, without a header
    - a pickle (`.pkl`, `.pickle`) of a dict from names to numbers: nothing in it is run

    UTF-8 and UTF-16, line ends of Windows, quotes, lines that begin with `#`, and brackets around a score (`[0.6]`) are
    read in all of them; backslashes in paths become `/`. Scores may have any range.

    Parameters
    ----------
    path : str or Path
        The file.
    column : str, default="score"
        Which column of a table holds the scores; see `read_scores_csv`.
    path_column : str, default=None
        Which column holds the paths. Default: found by its name.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64), and `status` if the file has it.

    Raises
    ------
    DataError
        No format fits, and which were tried; or what is wrong in which line of the one that does.

    Warns
    -----
    MissingScoresWarning
        When scores are NaN: they become missing, as an empty cell does.
    """
    if Path(path).suffix.lower() in (".pkl", ".pickle"):
        return read_scores_pickle(path)
    _, first = next(read_lines(path, strip=True, comments=True, allow_empty=False))
    cells = header_cells(first)
    if path_column is not None or column != "score":
        return read_scores_csv(path, column=column, path_column=path_column)
    if _is_quality_header(first) or (len(cells) == 2 and number_in(cells[1], comma=True) is not None):
        return read_quality(path)
    if find_delimiter(first) in DELIMITERS and find_column(cells, PATHS):
        return read_scores_csv(path)
    if (score := _parts(first, _separator(first))) and number_in(score[1]) is not None:
        return read_quality(path)
    raise DataError(
        f"{path}, line 1: no format of scores fits {first[:60]!r}. Tried: a table with a header that names images and "
        "scores (path,score; Filename;UnifiedQualityScore.scalar; other names by --column and --path-column); "
        "`path score`; `img;score`; a .pkl of a dict from names to numbers"
    )


def read_scores_csv(path, *, column="score", path_column=None):
    """Scores in a table with a header: ours (`path`, the score column and, usually, `status`), OFIQ's, or others'.

    A score is missing (`pandas.NA`) where its cell is empty or says so ("nan", "n/a"), the `status` is neither "ok" nor
    "fallback", or a component of OFIQ (`NAME.scalar`) is -1, by which it says that it could not assess the face.

    Parameters
    ----------
    path : str or Path
        As in `tables.read_table`.
    column : str, default="score"
        Which column holds the scores. Where there is no "score", one that is called by a name of `dialects.SCORES` is
        taken; for OFIQ that is "UnifiedQualityScore.scalar".
    path_column : str, default=None
        Which column holds the paths. Default: the one called by a name of `dialects.PATHS`.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64), and `status` if the file has it.
    """
    table = read_table(path, comments=True)
    where = f"{path}, line {table.attrs['line']}"
    given = path_column
    if path_column is None:
        path_column = find_column(table, PATHS)
    if path_column not in table.columns:
        remedy = "" if given else "; name it by --path-column"
        raise DataError(f"{where}: no column {given or 'path'!r} in the header {list(table)}{remedy}")
    if column not in table:
        other = find_column(table, SCORES) if column == "score" else None
        if other is None:
            raise DataError(f"{where}: no column {column!r} in the header {list(table)}; name it by --column")
        column = other
    ofiq, comma = column.endswith(".scalar"), table.attrs["delimiter"] in ";\t"
    status = table["status"] if "status" in table else pd.Series("ok", index=table.index)
    rows, nan = [], []
    for line, name, cell, state in zip(table.index, table[path_column], table[column], status, strict=True):
        if not name:
            raise DataError(f"{path}, line {line}: the cell {path_column!r} is empty")
        score = None
        if cell.lower() not in MISSING:
            score = _score(cell, f"{path}, line {line}", comma=comma)
        elif cell:
            nan.append(line)
        if ofiq and score == -1:
            score = None
        rows.append((line, clean_path(name), score if state in USABLE else None))
    _warn_of_nan(path, nan)
    scores = _scores(rows, path)
    if "status" in table:
        scores["status"] = table["status"][~pd.Series([name for _, name, _ in rows]).duplicated().to_numpy()].array
    return scores


def _warn_of_nan(path, lines):
    if lines:
        warnings.warn(
            f"{path}: {len(lines)} scores are NaN, the first in line {lines[0]}; these faces count as not assessed",
            MissingScoresWarning,
            stacklevel=4,
        )


def read_quality(path):
    """Scores in the text formats of published tools: CR-FIQA's `path score`, FaceQnet's and FaceQgen's `img;score`.

    The score is what follows the last space or tab, so paths may hold spaces. A file has semicolons or commas between
    its two cells where its first line is a header such as `img;score`, or has a number behind its last one. FaceQgen
    writes brackets around its scores (`[0.6432184]`). Scores may have any range. A path that occurs again with the same
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
    lines = list(read_lines(path, strip=True, comments=True, allow_empty=False))
    separator = _separator(lines[0][1])
    if _is_header(header_cells(lines[0][1])):
        lines = lines[1:]
    rows, nan = [], []
    for line, text in lines:
        parts = _parts(text, separator)
        if not parts or not parts[0]:
            form = "`path score`" if separator is None else f"`img{separator}score`"
            raise DataError(f"{path}, line {line}: {form} is expected, got {text[:80]!r}")
        score = None
        if parts[1].strip("[] ").lower() in MISSING - {""}:
            nan.append(line)
        else:
            score = _score(parts[1], f"{path}, line {line}", comma=separator == ";")
        rows.append((line, clean_path(parts[0]), score))
    _warn_of_nan(path, nan)
    return _scores(rows, path)


def _parts(text, separator):
    """[path, score] of a line; None where there is one part only."""
    text = re.sub(r"\[\s*([^\[\]\s]+)\s*\]\s*$", r"\1", re.sub(r"^(.*)\[(\[[^\[\]]*\])\]\s*$", r"\1\2", text))
    parts = text.rsplit(separator, 1)
    return [part.strip() for part in parts] if len(parts) == 2 else None


def _separator(first):
    """What separates path and score: a semicolon or a comma, or None for white space."""
    for mark in ";,":
        head, found, tail = first.rpartition(mark)
        names = _is_header(header_cells(first, mark))
        if found and (names or (head.strip() and number_in(tail, comma=mark == ";") is not None)):
            # "a 0,5": the comma is that of the number, behind a space
            if mark == "," and re.search(r"\s[+-]?\d+$", head):
                continue
            return mark
    return None


def _is_header(cells):
    return len(cells) == 2 and bool(find_column(cells[:1], PATHS)) and bool(find_column(cells[1:], SCORES))


def _is_quality_header(first):
    """Whether a line is a header of `read_quality`: `img;score`, whose paths may hold semicolons, or with spaces."""
    mark = find_delimiter(first)
    return _is_header(cells := header_cells(first)) and (mark == " " or (mark == ";" and cells[0].lower() != "path"))


def read_scores_pickle(path):
    """Scores in a pickle of a dict from names to numbers, NumPy's included, without running anything in it.

    Parameters
    ----------
    path : str or Path
        The file. A number may stand in an array or list of its own, as networks give it.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64; missing where it is None or NaN).

    Raises
    ------
    DataError
        Naming what the file tries to load, or the first name whose score is no number.
    """
    content = read_plain_pickle(path, "scores by name", floats=True)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: a dict from names to scores is expected, got {type(content).__name__}")
    rows, nan = [], []
    for place, (name, value) in enumerate(content.items(), start=1):
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        for _ in range(3):  # [[0.64]]
            value = value.value.tolist() if isinstance(value, Array) and hasattr(value.value, "tolist") else value
            value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
        if not (value is None or isinstance(value, int | float)):
            raise DataError(f"{path}: the score of {short(name)} is no number but {type(value).__name__}")
        if isinstance(value, float) and math.isnan(value):
            nan.append(place)
            value = None
        rows.append((place, clean_path(name), None if value is None else float(value)))
    _warn_of_nan(path, nan)
    return _scores(rows, path)


def _score(text, place, *, comma=False):
    score = number_in(text, comma=comma)
    if score is None:
        raise DataError(f"{place}: the score {text[:40]!r} is no number")
    if math.isnan(score):
        raise DataError(f"{place}: the score is NaN in brackets; write -inf or leave the cell empty")
    return score


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
