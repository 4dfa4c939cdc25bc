"""The arguments of the command line: what an option is, the types of values, and outputs checked before the work."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError

OUTPUTS = {"out": "file", "summary": "file", "plot": "figure", "best_dir": "folder", "score_dst": "file"}
"""Options that name outputs, and what these are. The --out of `benchmark` and of `filter` is a folder."""
INPUTS = (
    "inputs",
    "source",
    "scores",
    "pairs",
    "embeddings",
    "groups",
    "image_list_file",
    "features",
    "weights",
    "model",
)
"""Options that name files to read."""


class OneOf(NamedTuple):
    """Options of which at most one may be given; exactly one where they are `required`."""

    options: tuple
    required: bool = False


def option(name, text, **settings):
    """One option for `ArgumentParser.add_argument`; its help is `text`, with the default where there is one."""
    if settings.get("default") and "(default" not in text:
        text += " (default: %(default)s)"
    if settings.get("type") in METAVARS:
        settings.setdefault("metavar", METAVARS[settings["type"]])
    return name, settings | {"help": text}


def flag(name, text):
    """An option without a value, False by default."""
    return name, {"action": "store_true", "help": text}


def share(text):
    """A number above 0 and at most 1, from the command line."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1")
    return value


def switch(text):
    """True or False, from the command line."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")


def _whole(text, low, also=()):
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not (low <= value < 2**32 or value in also):
        least = f"from {low} on" + "".join(f", or {number}" for number in also)
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number {least}")
    return value


def positive(text):
    """A whole number from 1 on, from the command line."""
    return _whole(text, 1)


def natural(text):
    """A whole number from 0 on, from the command line."""
    return _whole(text, 0)


def processes(text):
    """A number of processes from the command line: from 1 on, or -1 for one for each core."""
    return _whole(text, 1, (-1,))


def number_of_bytes(text):
    """A finite number above 0, from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 1e9")
    return value


METAVARS = {int: "N", positive: "N", natural: "N", processes: "N", Path: "FILE", share: "SHARE"}
"""What the help shows for a value, by its type."""


def check_outputs(arguments):
    """See before the work that every output can be written and replaces no input."""
    given = {name: value for name, value in vars(arguments).items() if name in OUTPUTS and value is not None}
    if not given:
        return
    from . import output

    kinds = {name: OUTPUTS[name] for name in given}
    if arguments.command in ("benchmark", "filter") or (name := given.get("score_dst")) and name.suffix != ".csv":
        kinds |= dict.fromkeys({"out", "score_dst"} & set(given), "folder")
    named = {"--" + name.replace("_", "-"): (path, kinds[name]) for name, path in given.items()}
    inputs = [value for name in INPUTS for value in _several(getattr(arguments, name, None)) if value is not None]
    output.check_outputs(named, inputs)


def _several(value):
    return value if isinstance(value, list | tuple) else [value]


def parameters(items):
    """NAME=VALUE strings as a dict; values are Python literals where they can be, else text."""
    import ast

    parameters = {}
    for item in items or ():
        name, equals, text = item.partition("=")
        if not equals:
            raise DataError(f"--param {item}: expected NAME=VALUE")
        try:
            parameters[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parameters[name] = text
    return parameters


# -------------------------------------------------------------------------------- options of more than one command

RECOGNISER = (
    option("--recogniser", "the recogniser, where one is used (default: dlib)", metavar="NAME"),
    option("--weights", "weights of the recogniser, or of cr-fiqa, as their authors publish them", type=Path),
)
METHOD = (
    option("--param", "a parameter of the method; may be repeated", action="append", metavar="NAME=VALUE"),
    *RECOGNISER,
    option("--model", "a fitted method that learns (default: fit on the bundled faces)", type=Path, metavar="FILE.npz"),
)
FALLBACK = option("--fallback", "where no face is found: take the middle of the picture", choices=("centre",))
READING = OneOf(
    (
        option("--detector", "what finds the faces", choices=("dlib-hog", "mtcnn"), default="mtcnn"),
        flag("--aligned", "the images are 112x112 crops in ArcFace's template: nothing is detected"),
    )
)
JOBS = option(
    "--jobs", "processes that read photographs and find faces; -1: one for each core", type=processes, default=1
)
NO_PROGRESS = flag("--no-progress", "show no progress bar")
RESTART = flag("--restart", "drop what an interrupted run of the same command left")
STRICT = flag("--strict", "stop at the first image that can't be used")
PAIRS = {"text": "the pairs: a,b,same CSV, LFW pairs.txt or CR-FIQA pair_list.txt", "type": Path}
FMR = option("--fmr", "target false match rate", type=share, default=1e-3, metavar="RATE")
