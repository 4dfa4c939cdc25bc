"""Submissions of exercises -> a CSV: `python tools/nb.py grade FOLDER --out grades.csv`.

Each notebook below FOLDER is run from its first cell, in its quick form, without a network and within a time limit. A
cell that fails does not end the run. After each cell that checks an exercise the grader asks again itself, under a word
that the submission can't know; so a printed "right" counts for nothing. What is not checked any more counts as missing.

This is a time limit and a wall against the network, not a prison: a notebook runs with your rights to your files. Grade
strangers' work in a container or as a user of its own.
"""

import ast
import secrets
import shutil
import tempfile
from pathlib import Path

import nbformat
import pandas as pd

from fiqa_lib.course.exercises import find
from fiqa_lib.files import write_csv

from . import catalogue, execution
from .environment import ROOT

COLUMNS = ("submission", "exercise", "verdict", "hint", "note")
PASSING = "raises-exception"  # the tag of cells whose error does not end a run
MEASURED = Path("benchmarks", "measured")  # tables that some lessons read
RIGHT, OPEN, WRONG, MISSING = "right", "not attempted", "not right", "missing"


def grade(folder, out, *, limit=300, say=None):
    """Run every notebook below `folder` and write a row for each exercise of the lessons that they come from.

    Parameters
    ----------
    folder : path
        Notebooks at any depth, such as `anna/04_judging_quality_scores.ipynb`. They stay as they are.
    out : path
        The CSV: `submission` (path below `folder`), `exercise` ("4.1"), `verdict` ("right", "not right", "not
        attempted" or "missing"), `hint` (what the check said) and `note` (what went wrong with the whole notebook).
    limit : float, default=300
        Seconds for one notebook.
    say : callable, default=None
        Gets a line for each submission.

    Returns
    -------
    DataFrame
        The rows.

    Raises
    ------
    FileNotFoundError
        `folder` holds no notebook.
    """
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    if not paths:
        raise FileNotFoundError(f"{folder}: no notebooks (*.ipynb) in it or below")
    rows = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        verdicts, note = one(path, limit)
        rows += [(name, number, *verdict, note) for number, verdict in verdicts.items()] or [(name, "", "", "", note)]
        if say:
            right = sum(verdict == RIGHT for verdict, _ in verdicts.values())
            say(f"{name}: {right} of {len(verdicts)} right{'; ' + note if note else ''}")
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_csv(table, out)
    return table


def one(path, limit=300):
    """The verdicts of one notebook, a dict exercise -> (verdict, hint), and a note in words, "" when it went well."""
    try:
        notebook = catalogue.read(path)
    except Exception as error:  # not JSON, no notebook, of another version: nbformat has many names for it
        return {}, f"can't be read as a notebook: {' '.join(str(error).split())[:120]}"
    asked = {number for cell in catalogue.code_cells(notebook) for number, _ in questions(cell.source)}
    expected = exercises_of_chapters({number.partition(".")[0] for number in asked})
    if not expected:
        return {}, "checks no exercise"
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="fiqa-grade-") as scratch:
        inside, executed = Path(scratch, "notebooks", path.name), Path(scratch, "executed.ipynb")
        inside.parent.mkdir()
        shutil.copytree(ROOT / MEASURED, Path(scratch, MEASURED))  # lessons read tables that lie beside them
        catalogue.write(instrumented(notebook, word), inside)
        known = {name: value for name, value in execution.QUICK.items() if has_parameter(notebook, name)}
        run = execution.execute(inside, executed, known, cell_limit=limit, wall_limit=limit, offline=True)
    verdicts = dict.fromkeys(expected, (MISSING, ""))
    for cell in run.notebook.cells:
        for output in cell.get("outputs", []):
            for line in output.get("text", "").splitlines() if output.output_type == "stream" else ():
                if line.startswith(word):
                    number, _, said = line.removeprefix(word).strip().partition(" ")
                    verdicts[number] = (said, "") if said in (RIGHT, OPEN) else (WRONG, said)
    return verdicts, run.error or ""


def questions(source):
    """(number, expression) of each `check("4.1", expression)` in a source, in order; none where it has errors."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2)
    named = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == "check"]
    return [
        (call.args[0].value, ast.unparse(call.args[1]))
        for call in named
        if isinstance(call.args[0], ast.Constant) and _known(call.args[0].value)
    ]


def _known(number):
    try:
        return find(number) is not None
    except LookupError:
        return False


def exercises_of_chapters(chapters):
    """The exercises that the course's own lessons of these chapters check, in order."""
    numbers = []
    for path in catalogue.everything():
        if not catalogue.is_solution(path):
            found = [n for cell in catalogue.code_cells(catalogue.read(path)) for n, _ in questions(cell.source)]
            numbers += [number for number in found if number.partition(".")[0] in chapters]
    return list(dict.fromkeys(numbers))


def has_parameter(notebook, name):
    """Whether the cell tagged `parameters` sets `name`."""
    cells = [cell for cell in catalogue.code_cells(notebook) if "parameters" in catalogue.tags(cell)]
    return any(line.split("=")[0].strip() == name for cell in cells for line in cell.source.splitlines())


def instrumented(notebook, word):
    """A copy without outputs in which errors pass, and in which each exercise is asked about once more."""
    cells = []
    for cell in notebook.cells:
        copy = nbformat.from_dict(cell)
        if copy.cell_type == "code":
            copy.outputs, copy.execution_count = [], None
            copy.metadata["tags"] = [*catalogue.tags(copy), PASSING]
        cells.append(copy)
        for number, expression in questions(cell.source) if cell.cell_type == "code" else ():
            asked = f"print({word!r}, {number!r}, _verdict({number!r}, {expression}))"
            source = f"from fiqa_lib.course.lesson import _verdict\n{asked}"
            cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [PASSING]}))
    result = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    return result
