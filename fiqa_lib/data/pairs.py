"""Pairs of faces: chosen from a set, or read from the pair lists that the field exchanges.

Pairs by position are `PairIndices`. Pairs by name are a DataFrame with `a`, `b` (str), `mated` (bool) and, where the
protocol has them, `fold` (int, from 0). Every malformed line is named by file and line number.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from ..files import write_csv
from .dialects import FLAGS, MISSING, clean_path, find_column, find_couple, flag, is_flag, number_in
from .layouts import need_parts
from .tables import find_delimiter, header_cells, read_lines, read_table

FOLDS = 10
"""Folds of a protocol that announces none: those of LFW, on which the others are modelled."""


# --- pairs by position -------------------------------------------------------------------------------------------


class PairIndices(NamedTuple):
    """Pairs by position: `index_a`, `index_b` (P,) int64, a before b in the list, and `mated` (P,) bool."""

    index_a: np.ndarray
    index_b: np.ndarray
    mated: np.ndarray


def identity_codes(identities):
    """Identities (N,) as int32 numbers, in the order of the sorted identities. An empty string is refused."""
    identities = np.asarray(identities)
    if identities.ndim != 1:
        raise DataError(f"identities must be one value for a face, got shape {identities.shape}")
    if identities.dtype.kind in "US" and (unknown := int(np.sum(identities == identities.dtype.type()))):
        raise DataError(f"{unknown} faces have no identity (''), so whether they are mated is unknown; leave them out")
    return np.unique(identities, return_inverse=True)[1].astype(np.int32)


def pair_indices(identities, *, max_mated=None, max_impostor=None, random_state=0):
    """Pairs of faces: all of them, or a capped random choice that never lists the rest.

    Each pair of a kind is equally likely to be chosen, none twice. Mated pairs come first; within a kind the order
    is that of the faces grouped by identity.

    Parameters
    ----------
    identities : sequence of N
        Two faces are mated when these are equal. An empty string is an unknown identity and is refused.
    max_mated, max_impostor : int, default=None
        The most pairs of either kind. Default: all.
    random_state : int or numpy Generator, default=0
        Decides which pairs are chosen.

    Returns
    -------
    PairIndices
    """
    codes = identity_codes(identities)
    order = np.argsort(codes, kind="stable")
    position = np.arange(len(codes))
    ends = np.searchsorted(codes[order], codes[order], side="right")  # where the identity of each sorted face ends
    partners = (ends - position - 1, len(codes) - ends)  # later faces of the same identity; faces of later identities
    first = (position + 1, ends)
    rng = np.random.default_rng(random_state)
    kinds = []
    for counts, offset, cap in zip(partners, first, (max_mated, max_impostor), strict=True):
        upto = np.cumsum(counts)
        total = int(upto[-1]) if len(upto) else 0
        ordinal = _sample_without_replacement(total, total if cap is None else min(int(cap), total), rng)
        a = np.searchsorted(upto, ordinal, side="right")
        b = offset[a] + ordinal - (upto[a] - counts[a])
        kinds.append(np.sort(np.stack([order[a], order[b]]), axis=0))
    both = np.concatenate(kinds, axis=1)
    return PairIndices(both[0], both[1], np.arange(both.shape[1]) < kinds[0].shape[1])


def _sample_without_replacement(total, size, rng):
    """`size` different integers below `total`, sorted, every such set equally likely; memory for the smaller part."""
    if size >= total:
        return np.arange(total)
    if 2 * size > total:  # choose those to leave out instead, so that few draws hit twice
        return np.delete(np.arange(total), _sample_without_replacement(total, total - size, rng))
    chosen = np.empty(0, np.int64)
    while len(chosen) < size:  # never draws more than are missing, so no set is favoured
        chosen = np.sort(np.concatenate([chosen, rng.integers(total, size=size - len(chosen))]))
        chosen = chosen[np.diff(chosen, prepend=-1) > 0]  # np.unique hashes integers, which takes 60 times as long
    return chosen


# --- pairs by name -----------------------------------------------------------------------------------------------


def pair_table(a, b, mated, **more):
    """The DataFrame of pairs: columns `a`, `b` (str), `mated` (bool), and `more`."""
    columns = {"a": pd.Series(a, dtype="str"), "b": pd.Series(b, dtype="str"), "mated": np.array(mated, dtype=bool)}
    return pd.DataFrame({**columns, **more})


def pair_table_of(rows):
    """The DataFrame of rows (a, b, mated, fold)."""
    a, b, mated, fold = zip(*rows, strict=True) if rows else [()] * 4
    return pair_table(a, b, mated, fold=np.array(fold, dtype=int))


def pairs_of_faces(names, identities, *, max_mated=None, max_impostor=None, random_state=0):
    """All pairs of some faces, or a capped random choice of them: for a folder that comes without a protocol.

    Parameters
    ----------
    names, identities : sequences of N str
        What each face is called, and who it shows.
    max_mated, max_impostor, random_state
        As in `pair_indices`.

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
    return pair_table(a, b, chosen.mated, index_a=chosen.index_a, index_b=chosen.index_b)


def identities_of_pairs(pairs):
    """Who each side of each pair shows.

    From the columns `identity_a` and `identity_b`; else from the folder names (person/photograph.jpg) where they agree
    with the flags; else two images belong to one person when mated pairs connect them.

    Parameters
    ----------
    pairs : DataFrame
        With `a`, `b`, `mated`.

    Returns
    -------
    (array (P,), array (P,))
        An identity, or its number, for `a` and for `b`.

    Raises
    ------
    DataError
        Mated pairs connect two images that another pair says are different people.
    """
    mated = pairs["mated"].to_numpy()
    if {"identity_a", "identity_b"} <= set(pairs):
        return pairs["identity_a"].to_numpy(str), pairs["identity_b"].to_numpy(str)
    folders = [pairs[side].str.rpartition("/")[0].to_numpy(str) for side in ("a", "b")]
    if all((side != "").all() for side in folders) and np.array_equal(folders[0] == folders[1], mated):
        return tuple(folders)
    return _connected(pairs["a"].to_numpy(str), pairs["b"].to_numpy(str), mated)


def _connected(a, b, mated):
    """Components of the graph whose edges are the mated pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    i, j = index[: len(a)], index[len(a) :]
    edges = coo_array((np.ones(mated.sum()), (i[mated], j[mated])), shape=(len(images), len(images)))
    _, person = connected_components(edges, directed=False)
    wrong = np.flatnonzero((person[i] == person[j]) & ~mated)
    if len(wrong):
        raise DataError(
            f"{a[wrong[0]]} and {b[wrong[0]]} are marked as different people, but other mated pairs connect them; "
            "correct the flags, add the columns identity_a and identity_b, or use --draws 0"
        )
    return person[i], person[j]


def blocks(count, folds):
    """The fold of each of `count` things in order, in contiguous parts as equal as possible (the first ones larger)."""
    return np.repeat(np.arange(folds), [len(part) for part in np.array_split(np.arange(count), folds)])


# --- files -------------------------------------------------------------------------------------------------------


def read_pairs(path):
    """Pairs from any of the text formats that the field and spreadsheets write, recognised by their first lines.

    - a table with a header that names two images and a flag: `a,b,same`, `path1;path2;label`, `img1 img2 issame` ...
    - CR-FIQA: `a b 0/1` on each line, separated by spaces, tabs, commas or semicolons, without a header
    - LFW: `person i j` and `person i other j` after a header line
    - CALFW, CPLFW: `image number`, two lines for a pair

    UTF-8 and UTF-16, line ends of Windows, quotes, lines that begin with `#`, and flags as 1.0 are read in all of them;
    backslashes in names become `/`.

    Parameters
    ----------
    path : str or Path
        A `.bin` file holds images too and is refused: `read_insightface_bin` reads it.

    Returns
    -------
    DataFrame
        As `read_pairs_csv`, `read_lfw_pairs`, `read_crfiqa_pairs` or `read_two_line_pairs` gives it.

    Raises
    ------
    DataError
        No format fits, and which were tried; or what is wrong in which line of the one that does.
    """
    if Path(path).suffix.lower() == ".bin":
        raise DataError(f"{path}: an InsightFace .bin file holds images and pairs; use read_insightface_bin")
    lines = [text for _, text in read_lines(path, strip=True, comments=True, allow_empty=False)]
    first = lines[0]
    if find_couple(header_cells(first)) and _kind_of_line(first) != "a b 0/1":
        return read_pairs_csv(path)
    kinds = [_kind_of_line(text) for text in lines[:200]]
    if all(kind == "LFW" for kind in kinds[1:]) and len(kinds) > 1:
        return read_lfw_pairs(path)  # whatever its header is
    if kinds[0] == "a b 0/1":
        return read_lfw_pairs(path) if any(len(_tokens(text)) == 4 for text in lines[:200]) else read_crfiqa_pairs(path)
    if kinds[0] == "two lines":
        return read_two_line_pairs(path)
    if kinds[0] == "LFW" or (_lfw_header(first) and len(lines) > 1):
        return read_lfw_pairs(path)
    if find_column(header_cells(first), FLAGS):
        return read_pairs_csv(path)  # which says what is missing
    raise DataError(
        f"{path}, line 1: no format of pairs fits {first[:60]!r}. Tried: a table with a header that names two images "
        "and a flag (a,b,same or path1,path2,label); CR-FIQA's `a b 0/1`; LFW's pairs.txt (a header such as `10 300`, "
        "then `person i j`); CALFW's and CPLFW's two lines `image number` a pair"
    )


def _tokens(text):
    """The cells of a line without a header: by the delimiter that is in it, else by white space."""
    delimiter = find_delimiter(text)
    if delimiter == " " or (delimiter == "\t" and "," not in text and ";" not in text):
        return header_cells(text, delimiter) if '"' in text else _lfw_tokens(text)
    return header_cells(text, delimiter)


def _lfw_header(text):
    return len(parts := text.split()) in (1, 2) and all(part.isdigit() for part in parts)


def _kind_of_line(text):
    tokens = _tokens(text)
    if len(tokens) == 3 and is_flag(tokens[2]):
        return "a b 0/1"
    words = _lfw_tokens(text)
    if len(words) in (3, 4) and words[1].isdigit() and words[-1].isdigit():
        return "LFW"
    if len(tokens) == 2 and tokens[1].isdigit() and not tokens[0].isdigit():
        return "two lines"
    return "other"


def read_lfw_pairs(path, *, name="{person}/{person}_{number:04d}.jpg"):
    """Pairs of LFW and XQLFW (`pairs.txt`): a header line, then a line for each pair.

    Three tokens `person i j` are a mated pair, four `person i other j` a non-mated one; tokens are separated by tabs
    or, where there are none, by spaces. A header `10 300` announces 10 folds of 300 mated and 300 non-mated pairs each,
    `500` one such set; both are checked. Any other header is accepted, and then there are no folds.

    Parameters
    ----------
    path : str or Path
        The text file.
    name : str, default="{person}/{person}_{number:04d}.jpg"
        How an image is called, from `person` and `number`. The default is the layout of LFW.

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`, and `fold` if the header announces folds.
    """
    (line, header), *lines = read_lines(path, allow_empty=False)
    if header.lstrip().startswith("#"):  # a comment stands for a header, unless one follows
        lines = [(number, text) for number, text in lines if not text.lstrip().startswith("#")]
        if lines and _lfw_header(lines[0][1]):
            (line, header), *lines = lines
    header = _lfw_tokens(header)
    if len(header) in (3, 4) and not header[0].isdigit() and header[1].isdigit():
        raise DataError(f"{path}, line {line}: a pair, where the header line should be (for LFW: 10 300)")
    rows = [_lfw_row(_lfw_tokens(text), f"{path}, line {number}") for number, text in lines]
    a = [name.format(person=person, number=i) for person, i, _, _ in rows]
    b = [name.format(person=person, number=j) for _, _, person, j in rows]
    table = pair_table(a, b, [row[0] == row[2] for row in rows])
    if not 1 <= len(header) <= 2 or not all(token.isdigit() for token in header):
        return table
    folds, each = (int(header[0]), int(header[1])) if len(header) == 2 else (1, int(header[0]))
    if len(table) != folds * 2 * each:
        announced = f"{folds * 2 * each} pairs ({' '.join(header)})"
        raise DataError(f"{path}: the header announces {announced}, there are {len(table)}")
    table["fold"] = np.repeat(np.arange(folds), 2 * each)
    mated = table.groupby("fold")["mated"].sum()
    if (mated != each).any():
        fold = int(mated.index[mated != each][0])
        raise DataError(f"{path}: fold {fold + 1} has {mated[fold]} mated pairs, the header announces {each}")
    return table


def _lfw_tokens(text):
    text = text.strip()
    return [token.strip() for token in text.split("\t")] if "\t" in text else text.split()


def _lfw_row(tokens, place):
    if len(tokens) not in (3, 4):
        raise DataError(f"{place}: 3 tokens (mated) or 4 (non-mated) are expected, got {len(tokens)}: {tokens}")
    first, i, j = tokens[0], tokens[1], tokens[-1]
    second = first if len(tokens) == 3 else tokens[2]
    if len(tokens) == 4 and first == second:
        raise DataError(f"{place}: 4 tokens are two people, but both are {first!r}")
    if not (i.isdigit() and j.isdigit() and int(i) > 0 and int(j) > 0):
        raise DataError(f"{place}: images are counted from 1, got {i!r} and {j!r}")
    return first, int(i), second, int(j)


def read_crfiqa_pairs(path):
    """Pairs of CR-FIQA's evaluation (`pair_list.txt`): a line `a b 0/1` for each, without a header.

    Commas and semicolons between the three are read too; names with spaces need those, tabs or quotes.

    Parameters
    ----------
    path : str or Path
        The text file.

    Returns
    -------
    DataFrame
        `a`, `b` as written ("00000", "Name_0001.jpg"), `mated`.
    """
    rows = []
    for number, text in read_lines(path, comments=True, allow_empty=False):
        tokens = _tokens(text.strip())
        if len(tokens) != 3:
            raise DataError(
                f"{path}, line {number}: `a b 0/1` is expected, got {len(tokens)} tokens: {text.strip()[:80]!r}"
            )
        a, b = map(clean_path, tokens[:2])
        rows.append((a, b, flag(tokens[2], f"{path}, line {number}")))
    return pair_table(*zip(*rows, strict=True))


def read_two_line_pairs(path):
    """Pairs of CALFW and CPLFW (`pairs_CALFW.txt`): a line "name number" for each image, two lines a pair.

    Both lines of a pair have the same number: 0 for a non-mated pair, else 1 or the fold, counted from 1. See
    `data.load_calfw` and `load_cplfw` for what is known about the folds.

    Parameters
    ----------
    path : str or Path
        The text file.

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`, `fold`.
    """
    rows = []
    for number, line in read_lines(path, strip=True, comments=True, backslashes=True):
        parts = line.split()
        if len(parts) != 2 or not parts[1].isdecimal():
            raise DataError(
                f"{path}, line {number}: expected 'image.jpg number' (two lines make a pair, as in CALFW and CPLFW), "
                f"found {line[:80]!r}"
            )
        rows.append((number, parts[0], int(parts[1])))
    if not rows or len(rows) % 2:
        raise DataError(f"{path}: {len(rows)} lines; in CALFW and CPLFW two lines make a pair, so their number is even")
    for (_, _, first), (number, _, second) in zip(rows[::2], rows[1::2], strict=True):
        if first != second:
            raise DataError(f"{path}, line {number}: the two lines of a pair have one number, not {first} and {second}")
    names, numbers = [name for _, name, _ in rows], np.array([number for _, _, number in rows[::2]])
    return pair_table(names[::2], names[1::2], numbers > 0, fold=_folds_of(numbers))


def _folds_of(numbers):
    mated = numbers > 0
    runs = np.cumsum(np.r_[0, mated[1:] != mated[:-1]])
    if numbers.max() == 1 and runs[-1] > 1:  # the kinds alternate: a fold is a run of each
        return runs // 2
    folds = int(numbers.max()) if numbers.max() > 1 else FOLDS
    fold = np.zeros(len(numbers), dtype=int)
    for kind in (mated, ~mated):
        fold[kind] = blocks(int(kind.sum()), folds)
    if numbers.max() > 1:
        fold[mated] = numbers[mated] - 1
    return fold


CFP_LISTS = ("Protocol/Pair_list_F.txt", "Protocol/Pair_list_P.txt")
"""Lines "number ../Data/Images/001/frontal/01.jpg", of the frontal and of the profile images."""


def read_cfp_pairs(root, protocol):
    """Pairs of CFP: `Protocol/Split/FP/01/same.txt`, `diff.txt` ..., lines "i,j" of numbers in the two lists.

    Parameters
    ----------
    root : Path
        `cfp-dataset`.
    protocol : {"FP", "FF"}
        The second number is of the profile list, or of the frontal list as the first.

    Returns
    -------
    (list of str, DataFrame)
        All images of the lists ("001/frontal/01.jpg"), sorted; and `a`, `b`, `mated`, `fold`.
    """
    frontal, profile = (_read_cfp_list(root / path) for path in CFP_LISTS)
    second = profile if protocol == "FP" else frontal
    split = root / "Protocol" / "Split" / protocol
    folders = sorted(entry.name for entry in split.iterdir() if entry.is_dir() and entry.name.isdecimal())
    files = [f"{folder}/{name}" for folder in folders for name in ("same.txt", "diff.txt")]
    need_parts(split, "CFP", files or ["01/same.txt", "01/diff.txt"])
    rows = []
    for place, file in enumerate(files):
        for number, line in read_lines(split / file, strip=True):
            try:
                i, j = (int(part) for part in line.split(","))
                rows.append((frontal[i], second[j], file.endswith("same.txt"), place // 2))
            except (ValueError, KeyError) as error:
                wanted = "'i,j' of the pair lists"
                raise DataError(f"{split / file}, line {number}: expected {wanted}, found {line!r}") from error
    return sorted({*frontal.values(), *profile.values()}), pair_table_of(rows)


def _read_cfp_list(path):
    """number -> "001/frontal/01.jpg"."""
    names = {}
    for number, line in read_lines(path, strip=True, backslashes=True):
        match = re.fullmatch(r"(\d+)[\s,]+\S*?(\d+)/(frontal|profile)/(\d+\.jpg)", line)
        if not match:
            wanted = "'number ../Data/Images/001/frontal/01.jpg'"
            raise DataError(f"{path}, line {number}: expected {wanted}, found {line!r}")
        names[int(match[1])] = "/".join(match.group(2, 3, 4))
    return names


def read_pairs_csv(path):
    """Pairs in a table with a header, `a,b,same` (or `mated`) in our own files, flags 0/1 or false/true.

    The columns may also be called as in the tables of others: see `dialects.COUPLES` and `FLAGS`.

    Parameters
    ----------
    path : str or Path
        As in `tables.read_table`.

    Returns
    -------
    DataFrame
        `a`, `b`, `mated`, and the further columns of the file (a `fold`, similarities to be judged), as numbers where
        all their cells are numbers or say that there is none ("nan", "n/a", empty: NaN).
    """
    table = read_table(path, comments=True)
    couple, same = find_couple(table), find_column(table, FLAGS)
    if not couple or not same:
        lacking = [name for name in "ab" if name not in map(str.lower, table)] if not couple else ["same"]
        words = "path1,path2 or img1,img2" if not couple else ", ".join(FLAGS[1:])
        raise DataError(
            f"{path}, line {table.attrs['line']}: the header must be like a,b,same; there is no column "
            f"{' and '.join(map(repr, lacking))} (also read: {words}) in {list(table)}"
        )
    comma = table.attrs["delimiter"] in ";\t"
    for column in couple:
        for line in table.index[table[column] == ""]:
            raise DataError(f"{path}, line {line}: the cell {column!r} is empty")
    flags = [flag(text, f"{path}, line {line}") for line, text in table[same].items()]
    a, b = (pd.Series(map(clean_path, table[column]), dtype="str") for column in couple)
    rest = [column for column in table if column not in (*couple, same) and column not in ("a", "b", "mated", "")]
    return pair_table(a.array, b.array, flags, **{column: _numbers(table[column], comma) for column in rest})


def _numbers(cells, comma):
    """Cells as numbers, where each is one or says that there is none, and at least one is; else as they are."""
    values = [(cell.lower() in MISSING, number_in(cell, comma=comma)) for cell in cells]
    if not all(missing or value is not None for missing, value in values) or all(missing for missing, _ in values):
        return cells.array
    if all(re.fullmatch(r"[+-]?\d{1,18}", cell) for cell in cells):
        return np.array([int(cell) for cell in cells])
    return np.array([math.nan if missing else value for missing, value in values], dtype=float)


def write_pairs_csv(pairs, path):
    """Write pairs as a CSV with the header `a,b,same`, whole or not at all.

    Parameters
    ----------
    pairs : DataFrame
        With `a`, `b`, `mated`; other columns are written too.
    path : str or Path
        The file to write.

    Returns
    -------
    Path
    """
    table = pairs.rename(columns={"mated": "same"})
    return write_csv(table.assign(same=table["same"].astype(int)), path)
