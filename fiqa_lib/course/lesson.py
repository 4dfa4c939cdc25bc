"""What every notebook calls: start with a seed, record a number, check an exercise. The one module that prints."""

import functools
import importlib.metadata
import inspect
import math
import numbers
import os
import random
import sys
import traceback

import IPython.display
import matplotlib
import numpy as np
import torch
from IPython.core.interactiveshell import InteractiveShell

from .. import __version__
from .exercises import find
from .plotting import STYLE

RECORD = "application/vnd.fiqa.record+json"
"""The type of a recorded number among the outputs of a notebook's cell."""
THREADS = 2
VERSIONS = {"numpy": "numpy", "torch": "torch", "scikit-learn": "scikit-learn", "opencv-python": "opencv"}


def start(seed):
    """Seed Python, NumPy and torch, fix threads and the style of figures, and print one line of versions.

    Notebooks pass `random_state` on where they can; the global seeds are for what has no such argument.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1, as NumPy requires.

    Returns
    -------
    numpy.random.Generator
        A generator of that seed.

    Raises
    ------
    ValueError
        The seed is no whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"SEED must be a whole number from 0 to {2**32 - 1}, such as 0, and not {seed!r}")
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that libraries without a random_state use
    torch.manual_seed(seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", THREADS)))
    matplotlib.rcParams.update(STYLE)
    print(versions())
    return np.random.default_rng(seed)


def versions():
    """One line: Python and the libraries that numbers depend on, major and minor version only."""
    installed = {name: importlib.metadata.version(package) for package, name in VERSIONS.items()}
    shown = {"Python": sys.version.split()[0], **installed, "fiqa_lib": __version__}
    return ", ".join(f"{name} {'.'.join(version.split('.')[:2])}" for name, version in shown.items())


def record(name, value, low=None, high=None, better_than=None):
    """Put a number into the notebook's output for the tests and the benchmark to read, and show it.

    Parameters
    ----------
    name : str
        An identifier, used once in a notebook: "fnmr_clean".
    value : number
        A finite real number; a NumPy scalar or an array with one element is accepted.
    low, high : float, default=None
        Where the number usually lies; shown to the reader. None: no limit on that side.
    better_than : str, default=None
        The record of the baseline that it is compared with; shown to the reader.

    Raises
    ------
    ValueError
        When the name is no identifier or the value is not one finite number.
    """
    if not str(name).isidentifier():
        raise ValueError(f"record: {name!r} is no identifier, such as fnmr_clean")
    value = _number(name, value)
    text = f"{name} = {_three_decimals(value)}"
    if low is not None or high is not None:
        ends = [_three_decimals(_number(name, end)) for end in (low, high) if end is not None]
        word = "between" if len(ends) == 2 else "above" if high is None else "below"
        text += f"   (usually {word} {' and '.join(ends)})"
    if better_than is not None:
        text += f"   (to compare with {better_than})"
    entry = {"name": name, "value": value, "low": low, "high": high, "better_than": better_than}
    if InteractiveShell.initialized():
        entry = {key: item for key, item in entry.items() if item is not None}
        IPython.display.display({"text/plain": text, RECORD: entry}, raw=True)
    else:
        print(text)


def _number(name, value):
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"record: {name} must be one finite number, not {value!r}")
    return int(value) if isinstance(value, numbers.Integral) else float(f"{float(value):.6g}")


def _three_decimals(value):
    if isinstance(value, int):
        return str(value)
    return f"{value:.3g}" if value and abs(value) < 0.001 else f"{value:.3f}"


# ---- exercises


class _NotAttempted(Exception):
    """The reader's function is still the stub."""


class _Failed(Exception):
    """The reader's function raised; the cause is the error."""


def check(number, attempt):
    """Print whether an exercise is not attempted, right, or what to think about next. Never raises for an attempt.

    Parameters
    ----------
    number : str
        The exercise, such as "7.1".
    attempt : object
        What the reader made. None, `...`, or a function that returns either or raises NotImplementedError counts as
        not attempted.
    """
    print(f"{number} {_verdict(number, attempt)}")


def strict_check(number, attempt):
    """`check` for the solutions: anything but right raises AssertionError. Parameters as in `check`."""
    verdict = _verdict(number, attempt)
    if verdict != "right":
        raise AssertionError(f"{number} {verdict}")
    print(f"{number} right")


def _verdict(number, attempt):
    """ "right", "not attempted", or a hint."""
    verify = find(number)
    if attempt is None or attempt is Ellipsis:
        return "not attempted"
    try:
        hint = verify(_guarded(attempt))
    except (_NotAttempted, NotImplementedError):
        return "not attempted"
    except _Failed as failure:
        return "stops with " + _error_text(failure.__cause__)
    except Exception as error:  # of another type or shape than the check could use, or an error in a reader's class
        return f"gave something the check cannot use: {_error_text(error)}"
    if hint is None:
        return "right"
    if not isinstance(hint, str):
        raise TypeError(f"the check of exercise {number} returned {hint!r}: None or a hint is expected")
    return f"not yet: {hint}"


def _guarded(attempt):
    """The reader's function; stubs and its errors raise exceptions that differ from those of the check itself."""
    if not inspect.isroutine(attempt) and not isinstance(attempt, functools.partial):
        return attempt

    def call(*arguments, **named):
        try:
            result = attempt(*arguments, **named)
        except NotImplementedError as stub:
            raise _NotAttempted from stub
        except Exception as error:
            raise _Failed from error
        if result is None or result is Ellipsis:
            raise _NotAttempted
        return result

    return functools.update_wrapper(call, attempt)


def _error_text(error):
    """An error in one line: its type, its text, and the reader's line (in a notebook's cell) where it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    cells = [f for f in frames if "ipykernel_" in f.filename or f.filename.startswith("<ipython-input")]
    place = f' in the line "{cells[-1].line}"' if cells and cells[-1].line else ""
    return f"{type(error).__name__}{place}: {error}" if str(error) else f"{type(error).__name__}{place}"
