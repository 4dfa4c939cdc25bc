"""The pair lists and score files that the field exchanges, read into tidy tables.

Pairs come as a DataFrame with `a`, `b` (str), `mated` (bool) and, where the protocol has them, `fold` (int, from 0);
scores with `path` (str) and `score` (nullable Float64; that higher is better is the writer's business). A face without
a score is `pandas.NA`, never NaN, and `evaluation.edc(on_missing=...)` says what becomes of it.

Every malformed line is named by file and line number.
"""

from __future__ import annotations

import csv
import math
import pickle
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from .errors import DataError
from .files import write_csv
from .verification import pair_indices

USABLE = ("ok", "fallback")
"""Values of a score file's `status` that stand for a score; with any other, or without a number, it is missing."""


def _lines(path):
    """(line number, text) of each line that is not blank."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.decode("utf-8").strip("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from error
        if text.strip():
            yield number, text


def _not_empty(lines, path):
    lines = list(lines)
    if not lines:
        raise DataError(f"{path}: the file is empty")
    return lines


def _pairs(a, b, mated, **more):
    columns = {"a": pd.Series(a, dtype="str"), "b": pd.Series(b, dtype="str"), "mated": np.array(mated, dtype=bool)}
    return pd.DataFrame({**columns, **more})


_FLAGS = {"0": False, "1": True, "false": False, "true": True}


def _flag(text, path, line):
    text = text.strip().lower()
    if text in _FLAGS:
        return _FLAGS[text]
    if text.isdigit() and int(text) < 2:  # the script that writes pair_list.txt pads its flags: 00001
        return bool(int(text))
    raise DataError(f"{path}, line {line}: {text!r} is no flag; 1 is mated (the same person), 0 is not")


# --------------------------------------------------------------------------------------------------------------- pairs


def read_lfw_pairs(path, *, name="{person}/{person}_{number:04d}.jpg"):
    """Pairs of LFW and XQLFW (`pairs.txt`): a header line, then a line for each pair.

    Three tokens `person i j` are a mated pair, four `person i other j` a non-mated one; tokens are separated by tabs
    or, where there are none, by spaces. A header `10 300` announces 10 folds of 300 mated and 300 non-mated pairs each,
    `500` one such set; both are checked. Any other header is let pass, and no folds are given.

    Parameters
    ----------
    path : str or Path
    name : str
        How an image is called, from `person` and `number`. The default is the layout of LFW.

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`, and `fold` if the header tells.
    """
    lines = _not_empty(_lines(path), path)
    header = _lfw_tokens(lines[0][1])
    if len(header) in (3, 4) and not header[0].isdigit() and header[1].isdigit():
        raise DataError(f"{path}, line {lines[0][0]}: a pair, where the header line should be (for LFW: 10 300)")
    rows = [_lfw_row(_lfw_tokens(text), path, number) for number, text in lines[1:]]
    a = [name.format(person=person, number=i) for person, i, _, _ in rows]
    b = [name.format(person=person, number=j) for _, _, person, j in rows]
    table = _pairs(a, b, [row[0] == row[2] for row in rows])
    if not 1 <= len(header) <= 2 or not all(token.isdigit() for token in header):
        return table
    folds, each = (int(header[0]), int(header[1])) if len(header) == 2 else (1, int(header[0]))
    if len(table) != folds * 2 * each:
        raise DataError(
            f"{path}: the header announces {folds * 2 * each} pairs ({' '.join(header)}), there are {len(table)}"
        )
    table["fold"] = np.repeat(np.arange(folds), 2 * each)
    mated = table.groupby("fold")["mated"].sum()
    if (mated != each).any():
        fold = int(mated.index[mated != each][0])
        raise DataError(f"{path}: fold {fold + 1} has {mated[fold]} mated pairs, the header announces {each}")
    return table


def _lfw_tokens(text):
    return [token.strip() for token in text.strip().split("\t")] if "\t" in text.strip() else text.split()


def _lfw_row(tokens, path, line):
    if len(tokens) not in (3, 4):
        raise DataError(
            f"{path}, line {line}: 3 tokens (mated) or 4 (non-mated) are expected, got {len(tokens)}: {tokens}"
        )
    first, i, j = tokens[0], tokens[1], tokens[-1]
    second = first if len(tokens) == 3 else tokens[2]
    if len(tokens) == 4 and first == second:
        raise DataError(f"{path}, line {line}: 4 tokens are two people, but both are {first!r}")
    if not (i.isdigit() and j.isdigit() and int(i) > 0 and int(j) > 0):
        raise DataError(f"{path}, line {line}: images are counted from 1, got {i!r} and {j!r}")
    return first, int(i), second, int(j)


def read_crfiqa_pairs(path):
    """Pairs of CR-FIQA's evaluation (`pair_list.txt`): a line `a b 0/1` for each, without a header.

    `a` and `b` are kept as written ("00000", "Name_0001.jpg").

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`.
    """
    rows = []
    for number, text in _not_empty(_lines(path), path):
        tokens = text.split("\t") if text.count("\t") == 2 else text.split()
        if len(tokens) != 3:
            raise DataError(f"{path}, line {number}: `a b 0/1` is expected, got {len(tokens)} tokens: {text.strip()!r}")
        rows.append((tokens[0].strip(), tokens[1].strip(), _flag(tokens[2], path, number)))
    return _pairs(*zip(*rows, strict=True))


def read_pairs_csv(path):
    """Pairs in our own format: CSV with the header `a,b,same` (or `mated`), flags 0/1 or false/true.

    Further columns are kept, as numbers where all their cells are numbers: a `fold`, or similarities to be judged.

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`, and the further columns.
    """
    header, rows = _csv(path)
    flag = "same" if "same" in header else "mated"
    for column in ("a", "b", flag):
        if column not in header:
            raise DataError(f"{path}, line 1: the header must be a,b,same; there is no column {column!r} in {header}")
    columns = {column: [row[place] for _, row in rows] for place, column in enumerate(header)}
    for column in ("a", "b"):
        for (number, _), cell in zip(rows, columns[column], strict=True):
            if not cell:
                raise DataError(f"{path}, line {number}: the cell {column!r} is empty")
    flags = [_flag(text, path, number) for (number, _), text in zip(rows, columns[flag], strict=True)]
    more = {column: _numbers(columns[column]) for column in header if column not in ("a", "b", flag)}
    return _pairs(columns["a"], columns["b"], flags, **more)


def _numbers(cells):
    try:
        return pd.to_numeric(pd.Series(cells, dtype="object"))
    except (TypeError, ValueError):
        return pd.Series(cells, dtype="str")


def _csv(path):
    """Header, and (line number, cells) of each row, all with as many cells as the header."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason})") from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    if not rows:
        raise DataError(f"{path}: the file is empty")
    header = rows.pop(0)[1]
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line 1: a column occurs twice in the header {header}")
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: {len(header)} cells are expected, got {len(row)}")
    return header, rows


def write_pairs_csv(pairs, path):
    """Write a table of pairs as `a,b,same` and what other columns it has; whole or not at all. Returns the path."""
    table = pairs.rename(columns={"mated": "same"})
    return write_csv(table.assign(same=table["same"].astype(int)), path)


def pairs_of_faces(names, identities, *, max_mated=None, max_impostor=None, random_state=0):
    """All pairs of some faces, or a capped random choice of them: for a folder that comes without a protocol.

    Parameters
    ----------
    names, identities : sequences of N str
    max_mated, max_impostor, random_state
        As in `verification.pair_indices`.

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`, and `index_a`, `index_b`: the positions in `names`.
    """
    names = np.asarray(names, dtype=str)
    if names.shape != np.shape(identities):
        raise DataError(f"{len(names)} names, but {len(identities)} identities")
    chosen = pair_indices(identities, max_mated=max_mated, max_impostor=max_impostor, random_state=random_state)
    a, b = names[chosen.index_a], names[chosen.index_b]
    return _pairs(a, b, chosen.mated, index_a=chosen.index_a, index_b=chosen.index_b)


def read_pairs(path):
    """Pairs from any of the text formats, told apart by their content: `a,b,same` CSV, LFW, or CR-FIQA.

    A `.bin` file holds images too: `read_insightface_bin`.
    """
    if Path(path).suffix.lower() == ".bin":
        raise DataError(f"{path}: an InsightFace .bin file holds images and pairs; use read_insightface_bin")
    first = _not_empty(_lines(path), path)[0][1].strip()
    if {"a", "b"} <= {cell.strip() for cell in first.split(",")}:
        return read_pairs_csv(path)
    tokens = first.split()
    if len(tokens) == 3 and tokens[2].isdigit() and int(tokens[2]) < 2:
        return read_crfiqa_pairs(path)
    return read_lfw_pairs(path)


# ------------------------------------------------------------------------------------------------ InsightFace's pickles


class BinPairs(NamedTuple):
    """`images`: encoded pictures (bytes), two a pair; `pairs`: `a`, `b` ("00000" ..., places in `images`), `mated`."""

    images: list
    pairs: pd.DataFrame


def read_insightface_bin(path):
    """The verification sets that InsightFace hands out (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW) as one `.bin` file each.

    Such a file is a pickle of (list of encoded images, list of flags), and a pickle can run any program when it is
    opened. This reader follows no reference out of the file: it admits lists, tuples, bytes, bools, ints and NumPy
    arrays of these (rebuilt here, not by NumPy) and refuses anything else by name.

    Returns
    -------
    BinPairs
        Image 2i and 2i + 1 are pair i. The bytes are not decoded; `images.read_image` is for that. Names are those of
        CR-FIQA's extraction, five digits. The order is that of the protocol: ten equal folds.

    Raises
    ------
    DataError
        Naming what the file tries to load, or what is not as published.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = _Refusing(file, path).load()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except DataError:
        raise
    except Exception as error:  # a broken pickle can raise nearly anything
        raise DataError(
            f"{path}: damaged, or not a pickle of images and flags ({type(error).__name__}: {error})"
        ) from error
    content = _plain(content)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise DataError(f"{path}: a pair (images, flags) is expected, got {_what(content)}")
    images, flags = (_plain(part) for part in content)
    for part, name in ((images, "images"), (flags, "flags")):
        if not isinstance(part, list | tuple):
            raise DataError(f"{path}: a list of {name} is expected, got {_what(part)}")
    images = [_image_bytes(image, path, place) for place, image in enumerate(images)]
    flags = [_bin_flag(flag, path, place) for place, flag in enumerate(flags)]
    if len(images) != 2 * len(flags) or not flags:
        raise DataError(
            f"{path}: two images for each flag are expected, got {len(images)} images and {len(flags)} flags"
        )
    names = [f"{place:05d}" for place in range(len(images))]
    return BinPairs(images, _pairs(names[::2], names[1::2], flags))


def _what(value):
    size = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return f"{type(value).__name__}{size}"


def _image_bytes(value, path, place):
    value = _plain(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        value = value.tobytes()
    if isinstance(value, bytes | bytearray) and len(value):
        return bytes(value)
    raise DataError(f"{path}: image {place} must be encoded bytes, got {_what(value)}")


def _bin_flag(value, path, place):
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    raise DataError(f"{path}: flag {place} must be True or False, got {_what(value)} {value!r:.40}")


class _Array:
    """A pickled NumPy array, rebuilt from its bytes without NumPy's own unpickling."""

    __slots__ = ("value",)

    def __setstate__(self, state):
        _, shape, dtype, _, raw = state
        self.value = _array(raw, dtype, shape)


class _DType:
    __slots__ = ("code", "order")

    def __init__(self, code):
        self.code, self.order = code, "="

    def __setstate__(self, state):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a structured NumPy dtype")
        self.order = order


def _array(raw, dtype, shape):
    if not isinstance(dtype, _DType) or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError("a malformed NumPy array")
    if dtype.code.startswith("O"):
        if type(raw) is not list or len(raw) != math.prod(shape):
            raise pickle.UnpicklingError("a malformed NumPy array of objects")
        return raw
    value = np.frombuffer(bytes(raw), np.dtype(dtype.code).newbyteorder(dtype.order))
    if len(value) != math.prod(shape):
        raise pickle.UnpicklingError("a NumPy array whose bytes do not fit its shape")
    return value


def _plain(value):
    """An array of flags as a list of Python numbers, of bytes as an array; anything else as it is."""
    value = value.value if isinstance(value, _Array) else value
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype != np.uint8 else value


def _text(value):
    return value.decode("ascii") if isinstance(value, bytes) else value


def _new_dtype(code, align=False, copy=True):
    code = _text(code)
    if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|O8?", code):
        raise pickle.UnpicklingError(f"a NumPy array of type {code!r}")
    return _DType(code)


def _new_scalar(dtype, raw):
    return _array(raw, dtype, (1,)).tolist()[0]


def _new_from_buffer(raw, dtype, shape, order):
    array = _Array()
    array.value = _array(raw, dtype, shape)
    return array


def _new_bytes(value=b"", encoding="latin-1", errors="strict"):
    """What bytes look like in pickles of the old protocols: text to be encoded."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if not isinstance(value, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return value.encode("latin-1")


def _nothing(*_):
    raise pickle.UnpicklingError("a call of numpy.ndarray")


class _Admitted:
    """One of the few things a `.bin` file may call. It has no attributes to overwrite and no state to set."""

    __slots__ = ("_call",)

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("an attempt to change the reader")


_NUMPY = {"_reconstruct": lambda *_: _Array(), "scalar": _new_scalar}
_ADMITTED = {
    **{
        (f"{module}.multiarray", name): call
        for module in ("numpy.core", "numpy._core")
        for name, call in _NUMPY.items()
    },
    **{(f"{module}.numeric", "_frombuffer"): _new_from_buffer for module in ("numpy.core", "numpy._core")},
    ("numpy", "dtype"): _new_dtype,
    ("numpy", "ndarray"): _nothing,
    ("_codecs", "encode"): _new_bytes,
    **{(module, name): _new_bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
}


class _Refusing(pickle.Unpickler):
    """An unpickler that imports nothing. Strings of Python 2 become bytes, as those files mean them."""

    def __init__(self, file, path):
        super().__init__(file, encoding="bytes")
        self._path = path

    def find_class(self, module, name):
        call = _ADMITTED.get((module, name))
        if call is None:
            raise DataError(
                f"{self._path}: refused, since it asks for {module}.{name}; a file of images and pairs holds "
                "nothing but lists, bytes, bools, ints and NumPy arrays. Don't open it with pickle.load, which could "
                "run a program; get it from its authors again"
            )
        return _Admitted(call)

    def persistent_load(self, pid):
        raise DataError(f"{self._path}: refused, since it refers to something outside of the file ({pid!r:.60})")


# -------------------------------------------------------------------------------------------------------------- scores


def read_quality(path):
    """Scores in the text formats of published tools: `path score`, or FaceQnet's `img;score`.

    The score is what follows the last space or tab, so paths may hold spaces. A file is FaceQnet's where its first
    line is the header `img;score`, or has a number behind its last semicolon. A path that occurs again with the same
    score (to 1 part in 10,000, as on a graphics card) is taken once; with another it is refused.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64).
    """
    lines = _not_empty(_lines(path), path)
    head = lines[0][1].strip().lower().replace(" ", "")
    semicolon = head == "img;score" or (";" in head and _is_number(head.rpartition(";")[2]))
    if head == "img;score":
        lines = lines[1:]
    rows = []
    for number, text in lines:
        parts = text.rsplit(";", 1) if semicolon else text.rsplit(None, 1)
        if len(parts) != 2 or not parts[0].strip():
            form = "`img;score`" if semicolon else "`path score`"
            raise DataError(f"{path}, line {number}: {form} is expected, got {text.strip()!r}")
        rows.append((number, parts[0].strip(), _score(parts[1].strip(), path, number)))
    return _scores(rows, path)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _score(text, path, line):
    if not _is_number(text):
        raise DataError(f"{path}, line {line}: the score {text!r} is no number")
    if math.isnan(float(text)):
        raise DataError(
            f"{path}, line {line}: the score is NaN; a face that could not be assessed has -inf here, or an empty cell "
            "in a CSV file"
        )
    return float(text)


def _scores(rows, path):
    """The table of (line, path, score or None), each path once."""
    seen = {}
    for number, name, score in rows:
        if name not in seen:
            seen[name] = (number, score)
            continue
        first, other = seen[name]
        same = score == other or (score is not None and other is not None and math.isclose(score, other, rel_tol=1e-4))
        if not same:
            raise DataError(f"{path}, line {number}: {name!r} has the score {score}, but {other} in line {first}")
    scores = pd.array([score for _, score in seen.values()], dtype="Float64")
    return pd.DataFrame({"path": pd.Series(list(seen), dtype="str"), "score": scores})


def read_scores_csv(path, *, column="score"):
    """Scores in our own format: CSV with a header naming `path`, the score column and, usually, `status`.

    A score is missing (`pandas.NA`) where its cell is empty, or the `status` is neither "ok" nor "fallback".

    Parameters
    ----------
    path : str or Path
    column : str
        Which column holds the scores.

    Returns
    -------
    DataFrame
        `path`, `score` (Float64), and `status` if the file has it.
    """
    header, rows = _csv(path)
    for name in ("path", column):
        if name not in header:
            raise DataError(f"{path}, line 1: there is no column {name!r} in the header {header}")
    at_path, at_score = header.index("path"), header.index(column)
    at_status = header.index("status") if "status" in header else None
    cleaned, status = [], {}
    for number, row in rows:
        if not row[at_path]:
            raise DataError(f"{path}, line {number}: the cell 'path' is empty")
        usable = at_status is None or row[at_status] in USABLE
        score = _score(row[at_score], path, number) if row[at_score] else None
        cleaned.append((number, row[at_path], score if usable else None))
        status.setdefault(row[at_path], None if at_status is None else row[at_status])
    table = _scores(cleaned, path)
    if at_status is not None:
        table["status"] = pd.Series(list(status.values()), dtype="str")
    return table


def read_scores(path, *, column="score"):
    """Scores from any of the formats, told apart by their first line; see `read_scores_csv` and `read_quality`."""
    first = _not_empty(_lines(path), path)[0][1]
    if "path" in [cell.strip() for cell in first.split(",")]:
        return read_scores_csv(path, column=column)
    return read_quality(path)


_KEYS = {
    "path": lambda text: text.replace("\\", "/"),
    "name": lambda text: PurePosixPath(text.replace("\\", "/")).name,
    "stem": lambda text: PurePosixPath(text.replace("\\", "/")).stem,
}


def pair_qualities(pairs, scores, *, match="auto"):
    """The two qualities of each pair, for `evaluation.edc`.

    Parameters
    ----------
    pairs : DataFrame with `a`, `b`
    scores : DataFrame with `path`, `score`
    match : "auto", "path", "name" or "stem"
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
    tries = tuple(_KEYS) if match == "auto" else (match,)
    problems = []
    for way in tries:
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
            problems.append(f"by {way}, {len(twice)} scores bear one name: {', '.join(twice[:3])} ...")
    raise DataError(f"pairs and scores do not fit ({'; '.join(problems)})")
