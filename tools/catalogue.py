"""Which notebooks there are, and reading and writing them."""

import re
from pathlib import Path

import nbformat

from fiqa_lib.files import whole_file

from .environment import ROOT

FOLDER = ROOT / "notebooks"


def course(folder=FOLDER):
    """The notebooks of the course in reading order, then their solutions. Found by globbing: no list to keep."""
    folder = Path(folder)
    return sorted(folder.glob("[0-9]*.ipynb")) + sorted((folder / "solutions").glob("[0-9]*.ipynb"))


def everything(folder=FOLDER):
    """`course`, and the template with its solutions, which are held to the same rules."""
    folder = Path(folder)
    return course(folder) + sorted(folder.glob("_*.ipynb")) + sorted((folder / "solutions").glob("_*.ipynb"))


def select(names, folder=FOLDER):
    """The notebooks that `names` (each a path, a stem or its beginning: "02") mean; all when there are none.

    Raises
    ------
    SystemExit
        When a name means no notebook. Lists those there are.
    """
    paths = everything(folder)
    if not names:
        return paths
    chosen = []
    for name in names:
        found = [p for p in paths if p == Path(name).resolve()] or [p for p in paths if p.stem == name]
        found = found or [p for p in paths if p.stem.startswith(name)]
        if not found:
            raise SystemExit(f"no notebook is called {name!r}: there are {', '.join(p.stem for p in paths)}")
        chosen += [p for p in found if p not in chosen]
    return chosen


def is_solution(path):
    """Whether `path` is a solutions notebook."""
    return Path(path).stem.endswith("_solutions")


def chapter(path):
    """The number of a notebook as its exercises have it: "7" for 07_name, "T" for the template."""
    number = re.match(r"(\d+)_", Path(path).stem)
    return str(int(number.group(1))) if number else "T"


def relative(path, folder=FOLDER):
    """`path` below the folder of notebooks, also for copies of it elsewhere: solutions/02_name_solutions.ipynb."""
    return Path("solutions", Path(path).name) if is_solution(path) else Path(Path(path).name)


def read(path):
    """The notebook in `path`, as nbformat 4."""
    return nbformat.read(path, as_version=4)


def write(notebook, path):
    """Write `notebook` whole or not at all, with `\\n` line ends on every system."""
    with whole_file(path) as temporary:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")


def code_cells(notebook):
    """The code cells that have a source, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def markdown(notebook):
    """All text of the notebook's markdown cells."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def tags(cell):
    """The tags of a cell, a list."""
    return cell.metadata.get("tags", [])
