"""What a notebook's outputs were built from, as one hash.

It covers everything that can change an output and stands in this repository:

- the source of the notebook's code cells, in order (prose can be mended without running anything again);
- the modules of `fiqa_lib` that the notebook reaches: the static import graph, also imports inside functions, relative
  imports, the `__init__` of every package on the way, and a module named by a whole string ("fiqa_lib.faces", as lazy
  registries do); names put together while the program runs are not seen;
- the answer key of its exercises, `fiqa_lib/exercises/nbNN.py`, which `check` imports by the exercise's number;
- files of `fiqa_lib` that are not Python (small tables and weights): any notebook may read them;
- requirements.txt.

Line ends count as `\\n`, so that a checkout on Windows has the same hash.
"""

import ast
import hashlib
import re
from pathlib import Path

from . import catalogue
from .environment import ROOT

LIBRARY = "fiqa_lib"


def built_from(path, root=ROOT):
    """SHA-256 (64 hex digits) of what the outputs of the notebook in `path` depend on."""
    root = Path(root)
    notebook = catalogue.read(path)
    digest = hashlib.sha256()
    for cell in catalogue.code_cells(notebook):
        _add(digest, "cell", cell.source.encode())
    for module, file in sorted(library_files(path, notebook, root).items()):
        _add(digest, module, file.read_bytes())
    for file in sorted(_data_files(root)):
        _add(digest, file.relative_to(root).as_posix(), file.read_bytes())
    _add(digest, "requirements", (root / "requirements.txt").read_bytes())
    return digest.hexdigest()


def library_files(path, notebook, root=ROOT):
    """Module name -> file, for all modules of `fiqa_lib` that the notebook in `path` reaches."""
    root, found, waiting = Path(root), {}, set()
    for cell in catalogue.code_cells(notebook):
        waiting |= imported(python_of(cell.source))
    number = catalogue.chapter(path)
    waiting.add(f"{LIBRARY}.exercises." + (f"nb{int(number):02d}" if number.isdigit() else "template"))
    while waiting:
        module = waiting.pop()
        file = module_file(module, root)
        if file is None or module in found:
            continue
        found[module] = file
        is_package = file.name == "__init__.py"
        waiting |= imported(file.read_text(encoding="utf-8"), module if is_package else module.rpartition(".")[0])
    return found


def imported(source, package=""):
    """The names below `fiqa_lib` that `source` may import, with all their parent packages.

    Parameters
    ----------
    source : str
        Python.
    package : str
        The package the source stands in, for relative imports; "" for a notebook.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}  # each may be a module or only a name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(LIBRARY + r"(\.\w+)+", node.value):
                names.add(node.value)
    ours = {name for name in names if name.split(".")[0] == LIBRARY}
    return {".".join(name.split(".")[: i + 1]) for name in ours for i in range(name.count(".") + 1)}


def _absolute(node, package):
    """The module that `from ... import` names, without leading dots."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parents = parts[: len(parts) - node.level + 1]
    return ".".join(parents + ([node.module] if node.module else []))


def module_file(module, root=ROOT):
    """The file of a module of ours, or None where that is no module (a function, a class)."""
    base = Path(root, *module.split("."))
    for file in (base / "__init__.py", base.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def python_of(source):
    """A cell's source; where it does not parse, with IPython's magics and shell lines commented out."""
    try:
        ast.parse(source)
    except SyntaxError:
        return re.sub(r"(?m)^([ \t]*)([%!?])", r"\1pass  # \2", source)
    return source


def _data_files(root):
    files = (root / LIBRARY).rglob("*")
    return [f for f in files if f.is_file() and f.suffix not in (".py", ".pyc") and not f.name.startswith(".")]


def _add(digest, name, content):
    content = content.replace(b"\r\n", b"\n")
    digest.update(f"{name}\0{len(content)}\0".encode() + content)
