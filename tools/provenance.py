"""What a notebook's outputs were built from, as one hash, and which committed files are out of date.

The hash covers everything that can change an output and stands in this repository:

- the notebook's code cells, in order, without comments (prose and remarks can be edited without running anything);
- the library code that they reach: `fiqa_lib.cache.sources_of` says how far that is;
- the answer key of its exercises, `fiqa_lib/course/exercises/nbNN.py`, which `check` imports by the exercise's number;
- files of `fiqa_lib` that are not Python, the learned weights in `data/models`, and each file of `data/results` or
  `benchmarks/measured` that the code names;
- the packages that requirements.txt asks for.

Line ends count as `\\n`, so that a checkout on Windows has the same hash.
"""

import ast
import hashlib
import re
from pathlib import Path

from fiqa_lib import cache

from . import catalogue
from .environment import ROOT

LIBRARY = "fiqa_lib"
TABLES = ("data/results", "benchmarks/measured")


def built_from(path, root=ROOT):
    """SHA-256 (64 hex digits) of what the outputs of the notebook in `path` depend on."""
    root = Path(root)
    notebook = catalogue.read(path)
    digest = hashlib.sha256()
    for cell in catalogue.code_cells(notebook):
        _add(digest, "cell", cache.canonical(python_of(cell.source)).encode())
    _add(digest, "library", cache.sources_of(*library_names(path, notebook), root=root).encode())
    for file in sorted(_data_files(notebook, root)):
        _add(digest, file.relative_to(root).as_posix(), file.read_bytes())
    _add(digest, "requirements", "\n".join(_requirements(root)).encode())
    return digest.hexdigest()


def library_names(path, notebook):
    """The dotted names of `fiqa_lib` that the notebook in `path` uses, with the answer key of its exercises."""
    source = "\n".join(python_of(cell.source) for cell in catalogue.code_cells(notebook))
    number = catalogue.chapter(path)
    key = f"nb{int(number):02d}" if number.isdigit() else "template"
    return [*cache.imported_names(source), f"{LIBRARY}.course.exercises.{key}"]


def stale_stamps(root=ROOT):
    """Committed tables and weights whose code has changed since: a list of sentences."""
    stamps = sorted(file for at in ("*", "results/*") for file in Path(root, "data").glob(f"{at}/*made_from.json"))
    return [reason for stamp in stamps if (reason := cache.stale_stamp(stamp, root))]


def python_of(source):
    """A cell's source; where it does not parse, with IPython's magics and shell lines commented out."""
    try:
        ast.parse(source)
    except SyntaxError:
        return re.sub(r"(?m)^([ \t]*)([%!?])", r"\1pass  # \2", source)
    return source


def _data_files(notebook, root):
    files = [f for f in (root / LIBRARY).rglob("*") if f.suffix not in (".py", ".pyc") and not f.name.startswith(".")]
    files += (root / "data" / "models").glob("*.npz")
    text = "\n".join(cell.source for cell in catalogue.code_cells(notebook))
    for folder in TABLES:
        files += [file for file in (root / folder).glob("*") if file.name in text]
    if re.search(r"\bresults\.(row|table)\(", text):  # of `fiqa_lib.data.results`
        files += (root / "data" / "results").glob("*/*.csv")
    return [file for file in files if file.is_file()]


def _requirements(root):
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _add(digest, name, content):
    content = content.replace(b"\r\n", b"\n")
    digest.update(f"{name}\0{len(content)}\0".encode() + content)
