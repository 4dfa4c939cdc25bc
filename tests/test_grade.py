"""Grading submissions: what is right, what is forged, what fails and what is missing."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import catalogue, grade
from tools.execution import CELL_LIMIT

HEAD = "import cv2\nimport numpy as np\nfrom fiqa_lib.course.lesson import check"


def submit(folder, name, *cells):
    path = folder / name / "_template.ipynb"
    path.parent.mkdir(parents=True)
    catalogue.write(new_notebook(cells=[new_markdown_cell("# Mine"), *map(new_code_cell, (HEAD, *cells))]), path)


def answer():
    """The source of the template's first exercise, solved, up to its check."""
    solved = catalogue.read(catalogue.FOLDER / "solutions" / "_template_solutions.ipynb")
    cells = [cell.source for cell in catalogue.code_cells(solved)]
    return next(cell for cell in cells if 'strict_check("T.1"' in cell).replace("strict_check(", "check(")


def test_questions_of_a_cell():
    assert grade.questions('x = 1\ncheck("T.1", lambda v: v + x)\ncheck(number, x)') == [("T.1", "lambda v: v + x")]
    assert grade.questions("def broken(:") == [] and grade.questions('check("T.99", 1)') == []


def test_submissions(tmp_path):
    folder, said = tmp_path / "all", []
    submit(folder, "right", 'assert len(open("../benchmarks/measured/labels.csv").read()) > 100', answer())
    submit(folder, "open", 'check("T.1", ...)')
    submit(folder, "wrong", 'check("T.1", lambda *a, **k: -1.0)')
    submit(folder, "after an error", "1 / 0", answer())
    submit(folder, "forged", 'check = lambda *a: print("T.1 right")\ncheck("T.1", lambda *a, **k: -1.0)')
    submit(folder, "never", "import time; time.sleep(60)", answer())
    (folder / "no notebook.ipynb").write_text("{", encoding="utf-8")
    table = grade.grade(folder, tmp_path / "grades.csv", limit=25, say=said.append)
    first = table[table["exercise"] == "T.1"].set_index("submission")
    verdicts = {name.partition("/")[0]: verdict for name, verdict in first["verdict"].items()}
    assert verdicts == {
        "right": "right",
        "open": "not attempted",
        "wrong": "not right",
        "after an error": "right",
        "forged": "not right",
        "never": "missing",
    }
    notes = {name.partition("/")[0]: note for name, note in first["note"].items()}
    assert "ZeroDivisionError" in notes["after an error"] and "limit of" in notes["never"] and notes["right"] == ""
    assert first["hint"]["wrong/_template.ipynb"]
    broken = table[table["submission"] == "no notebook.ipynb"]
    assert len(broken) == 1 and "can't be read" in broken["note"].iloc[0]
    assert (tmp_path / "grades.csv").is_file() and len(said) == 7
    assert CELL_LIMIT > 25


def test_a_folder_without_notebooks(tmp_path):
    with pytest.raises(FileNotFoundError, match="no notebooks"):
        grade.grade(tmp_path, tmp_path / "grades.csv")
