"""What the columns and cells of other people's tables are called and how they are written.

Names are compared without case, blanks, `_`, `-` and `.`: `Path_1` is `path1`. The same names serve pairs and scores.
"""

from __future__ import annotations

import re
from itertools import product

from ..errors import DataError

STEMS = ("", "path", "img", "image", "file", "filename", "filepath", "imagepath", "name", "photo", "picture", "face")
ENDS = (("1", "2"), ("a", "b"), ("left", "right"), ("first", "second"), ("reference", "probe"))
COUPLES = tuple(
    couple
    for stem, (one, two) in product(STEMS, ENDS)
    for couple in dict.fromkeys(((stem + one, stem + two), (one + stem, two + stem)))
    if stem or one != "1"  # "1 2" is a header of LFW's pairs
)
"""What the two image columns of a table of pairs may be called: a and b, path1 and path2, img_a and img_b ..."""
FLAGS = tuple(
    "same mated issame ismated sameperson issameperson sameidentity match ismatch genuine isgenuine label "
    "target pairlabel groundtruth".split()
)
"""What the column of flags may be called; 1 is the same person in all of them."""
PATHS = tuple(
    "path filename file filepath image imagepath imagename img imgpath imgname name photo picture face".split()
)
"""What the column of images may be called in a table of scores; of several, the first of these."""
SCORES = tuple(
    "score quality qualityscore facequality fiqa predictedquality prediction unifiedqualityscorescalar".split()
)
"""What the column of scores may be called where "score", the default, is not there."""
MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "#num!", "#div/0!"))
"""Cells that say that there is no value, in small letters."""


def plain(name):
    """The name of a column without case, blanks and punctuation."""
    return re.sub(r"[\s_.\-]+", "", name).lower()


def find_column(columns, names):
    """The column that is called by the first of `names` that occurs; None where none does."""
    there = {}
    for column in columns:
        there.setdefault(plain(column), column)
    return next((there[name] for name in names if name in there), None)


def find_couple(columns):
    """The two image columns among these, or None."""
    there = {}
    for column in columns:
        there.setdefault(plain(column), column)
    return next(((there[a], there[b]) for a, b in COUPLES if a in there and b in there), None)


def clean_path(text):
    """A path as it is written here: without quotes around it, with `/` where Windows writes `\\`."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return text.replace("\\", "/")


def number_in(text, *, comma=False):
    """The number in a cell, or None where there is none; brackets around it (`[0.64]`) are left out.

    `comma`: also read 0,64, as spreadsheets write it where cells are separated by semicolons or tabs.
    """
    text = text.strip().strip("[]").strip()
    if comma and re.fullmatch(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?", text):
        text = text.replace(",", ".")
    try:
        return None if "_" in text else float(text)  # Python reads 1_000
    except ValueError:
        return None


def flag(text, place):
    """0/1 (also 00001, as the script that writes pair_list.txt pads it, or 1.0), false/true."""
    text = text.strip().strip("\"'").lower()
    known = {"false": False, "true": True, 0.0: False, 1.0: True}
    try:
        return known[text if text in ("false", "true") else number_in(text, comma=True)]
    except KeyError:
        raise DataError(f"{place}: {text[:40]!r} is no flag; 1 is mated (the same person), 0 is not") from None


def is_flag(text):
    """Whether `flag` reads it."""
    try:
        flag(text, "")
    except DataError:
        return False
    return True
