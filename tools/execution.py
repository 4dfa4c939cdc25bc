"""Executing one notebook with papermill: parameters checked, time limited, the kernel ours, a failure named."""

import ast
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat

from . import catalogue
from .environment import FIXED, ROOT

CELL_LIMIT, WALL_LIMIT = 400, 600  # seconds, for one cell and for one notebook
QUICK = {"QUICK": True}
GUARD = ROOT / "tools" / "no_network"

_INSERTED = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that papermill adds
_VOLATILE = {"execution", "papermill", "ExecuteTime", "trusted", "scrolled", "collapsed"}
_WIDGET = "application/vnd.jupyter.widget-view+json"


class ParameterError(ValueError):
    """A parameter that can't be given to the notebook."""


class UnknownParameter(ParameterError):
    """A parameter that the notebook does not have. papermill itself only warns and exits 0."""


class UnfitValue(ParameterError):
    """A value of another type than the notebook's own. papermill would put it in, and a later cell would fail."""


@dataclass
class Run:
    """What came of executing a notebook. `error` is None or one line that names the cell."""

    path: Path
    seconds: float
    notebook: nbformat.NotebookNode
    error: str | None


def execute(path, out, parameters=None, *, cell_limit=CELL_LIMIT, wall_limit=WALL_LIMIT, offline=False):
    """Execute the notebook in `path` in its own folder and write it to `out`, as far as it came.

    Parameters
    ----------
    path, out : Path
        The notebook, and where the executed one goes. `path` itself is not changed.
    parameters : dict, optional
        Values in place of those of the cell tagged `parameters`; see `fitting`.
    cell_limit, wall_limit : float
        Seconds for one cell and for the whole notebook. The kernel is killed when either has passed.
    offline : bool
        Refuse all connections that leave the machine.

    Returns
    -------
    Run

    Raises
    ------
    ParameterError
        Before anything runs: the notebook has no such parameter, or it is of another type.
    """
    import papermill

    path, out = Path(path).resolve(), Path(out).resolve()
    parameters = fitting(path, parameters or {})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    limits = _Limits(cell_limit, wall_limit)
    error, begun = None, time.monotonic()
    with _own_kernel(offline), _quiet():
        try:
            papermill.execute_notebook(
                str(path),
                str(out),
                parameters=parameters,
                kernel_name="python3",
                cwd=str(path.parent),
                progress_bar=False,
                start_timeout=120,
                timeout_func=limits,
            )
        except papermill.PapermillExecutionError as problem:
            error = f"{problem.ename}: {problem.evalue}"
        except TimeoutError:
            error = limits.message()
        except RuntimeError as problem:  # the kernel died or did not start: nbclient has no narrower name for it
            error = f"{type(problem).__name__}: {problem}"
    seconds = time.monotonic() - begun
    notebook = catalogue.read(out if out.exists() else path)
    if error:
        error = f"{_failing_cell(notebook, limits.cell)}: {' '.join(error.split())[:300]}"
    return Run(path, seconds, notebook, error)


def fitting(path, parameters):
    """The parameters as values of the types that the notebook in `path` gives them.

    The type is that of the literal in the cell tagged `parameters`. A whole number will do for a float, and 5e6 for a
    whole number; true, false, yes, no, 1 and 0 will do for a bool. A parameter that is None takes anything.

    Parameters
    ----------
    path : Path
        The notebook.
    parameters : dict
        Name -> value, as text from the command line (`commands.parameter`) or as it is.

    Returns
    -------
    dict

    Raises
    ------
    UnknownParameter, UnfitValue
        The message names the parameter, its default and its type.
    """
    if not parameters:
        return {}
    import papermill

    with _quiet():
        known = papermill.inspect_notebook(str(path))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        has = ", ".join(known) or "none"
        raise UnknownParameter(f"{path.name} has no parameter {', '.join(unknown)}: it has {has}")
    fit = {}
    for name, value in parameters.items():
        try:
            default = ast.literal_eval(known[name]["default"])
        except (ValueError, SyntaxError):  # no literal: checks.parameters_form refuses that in our notebooks
            default = None
        try:
            fit[name] = as_type_of(default, value)
        except ValueError:
            text = f"{path.name}: {name} must be {_WORDS[type(default)]}, such as its default {default!r}"
            hint = f"""; as text: -p {name} '"{value}"'""" if isinstance(default, str) else ""
            raise UnfitValue(f"{text}, and not {value!r}{hint}") from None
    return fit


_WORDS = {
    bool: "True or False (bool)",
    int: "a whole number (int)",
    float: "a number (float)",
    str: "text (str)",
    list: "a list (list)",
    tuple: "a list (tuple)",
    dict: "a dictionary (dict)",
}
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def as_type_of(default, value):
    """`value` as the type of `default`, where nothing is lost by that; ValueError where it does not fit."""
    wanted, number = type(default), isinstance(value, int | float) and not isinstance(value, bool)
    if default is None or (type(value) is wanted and value == value):  # NaN is no value
        return value
    if wanted is bool and str(value).lower() in _SWITCHES:
        return _SWITCHES[str(value).lower()]
    if wanted in (int, float) and number and value in (wanted(value) if abs(value) < 1e300 else None,):
        return wanted(value)
    if wanted in (list, tuple) and isinstance(value, list | tuple):
        return wanted(value)
    raise ValueError(f"{value!r} is no {wanted.__name__}")


def graft(original, executed):
    """`original` with the outputs of `executed`, and nothing else of it: no timing, path or other volatile metadata.

    Pieces of one stream that arrived apart are joined, as their borders depend on timing; a live widget is left as
    its text. Cell ids, sources and tags are the original's.
    """
    result = nbformat.from_dict(original)
    cells = own_cells(executed)
    if [c.source for c in cells] != [c.source for c in result.cells]:
        raise ValueError("the executed notebook has other cells than the original")
    for cell, run in zip(result.cells, cells, strict=True):
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in _VOLATILE and value != []}
        if cell.cell_type == "code":
            cell.outputs = _joined(run.outputs)
            cell.execution_count = run.execution_count
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    result.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    result.nbformat, result.nbformat_minor = 4, 5
    for number, cell in enumerate(result.cells):
        cell.setdefault("id", f"cell-{number:02d}")
    return nbformat.from_dict(result)


def own_cells(notebook):
    """The cells of an executed notebook without those that papermill put in."""
    return [cell for cell in notebook.cells if not _INSERTED.intersection(catalogue.tags(cell))]


def _joined(outputs):
    joined = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
            continue
        if "data" in output:
            output.data.pop(_WIDGET, None)
        joined.append(output)
    return joined


class _Limits:
    """nbclient asks it before each cell how long that cell may take: the least of both limits.

    The notebook's time begins with its first cell; starting the kernel has a limit of its own.
    """

    def __init__(self, cell_limit, wall_limit):
        self.cell_limit, self.wall_limit = cell_limit, wall_limit
        self.end = self.cell = None
        self.by_wall = False

    def __call__(self, cell):
        self.end = self.end or time.monotonic() + self.wall_limit
        self.cell, left = cell, self.end - time.monotonic()
        self.by_wall = left < self.cell_limit
        return max(0.1, min(left, self.cell_limit))  # 0 would mean: no limit

    def message(self):
        if self.by_wall:
            return f"the wall limit of {self.wall_limit:g} s for a notebook has passed"
        return f"the limit of {self.cell_limit:g} s for a cell has passed"


def _failing_cell(notebook, last):
    """Name the cell with an error output, or else the one that was running, as people count it: "cell 5 (In [3])"."""
    cells = own_cells(notebook)
    for number, cell in enumerate(cells, 1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return f"cell {number} (In [{cell.execution_count}])"
    for number, cell in enumerate(cells, 1):
        if last is not None and cell.get("id") == last.get("id"):
            return f"cell {number}"
    return "before the first cell"


@contextmanager
def _own_kernel(offline):
    """A kernel called python3 that is this very Python, found before any other of that name in the user's home.

    Its environment is fixed in its specification; IPython's start-up files of the user are left out.
    """
    with tempfile.TemporaryDirectory(prefix="fiqa-kernel-", ignore_cleanup_errors=True) as folder:
        environment = {**FIXED, "IPYTHONDIR": str(Path(folder, "ipython"))}
        if offline:
            inherited = os.environ.get("PYTHONPATH")
            environment["PYTHONPATH"] = os.pathsep.join([str(GUARD)] + ([inherited] if inherited else []))
        kernel = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": environment,
        }
        place = Path(folder, "kernels", "python3")
        place.mkdir(parents=True)
        (place / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
        ours = {"JUPYTER_PATH": folder, "JUPYTER_RUNTIME_DIR": str(Path(folder, "runtime"))}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _quiet():
    """papermill's log and the warnings of the client's own libraries do not belong to the notebook."""
    logger = logging.getLogger("papermill")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(before)
