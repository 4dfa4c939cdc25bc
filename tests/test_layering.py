"""The rooms of `fiqa_lib` import downwards only. Their order is here; a failure names the import that breaks it.

A room is a module or package directly in the library. Imports are read from the source, those inside functions too.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fiqa_lib

ORDER = (
    ("errors", "files", "cache", "weights"),
    ("faces",),
    ("transforms",),
    ("data",),
    ("recognition",),
    ("evaluation",),
    ("features", "networks"),
    ("labels",),
    ("scorers",),
    ("components",),
    ("course",),
    ("apps",),
    ("cli",),
    ("__init__", "__main__"),
)
"""Rooms from the bottom to the top. Rooms of one layer may import each other, but not in a circle."""


def modules_of(library):
    """Dotted name -> file, of every module of a library (the folder of its top package)."""
    library = Path(library)
    names = {}
    for file in sorted(library.rglob("*.py")):
        parts = [library.name, *file.relative_to(library).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def imports_of(module, modules):
    """(line, dotted name) of each import of a library's own modules in one of them.

    `from .orl import load` leads to `orl`; `from . import orl` leads to `orl` where that is a module, else to the
    package.
    """
    file, library = modules[module], next(iter(modules)).partition(".")[0]
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, node.module] if node.module else base)
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
        else:
            continue
        for target in dict.fromkeys(targets):
            if target.partition(".")[0] == library:
                yield node.lineno, target


def room_of(module):
    """The room of a dotted name: "data" for fiqa_lib.data.orl, "__init__" for the top package itself."""
    return (module.split(".") + ["__init__"])[1]


def circles_in(graph):
    """Circles of a graph (node -> nodes that it imports), each as "a -> b -> a" from its first name on."""
    graph = {node: sorted(targets) for node, targets in sorted(graph.items())}
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return
        except CycleError as error:
            circle = error.args[1][:0:-1]  # graphlib names each node before the one that imports it, the first twice
        first = circle.index(min(circle))
        circle = [*circle[first:], *circle[:first]]
        yield " -> ".join([*circle, circle[0]])
        graph[circle[-1]].remove(circle[0])  # opened, so that the next one shows


def violations(library, order):
    """What breaks the layering of a library, as a list of sentences; empty when all is well.

    Parameters
    ----------
    library : path
        The folder of its top package.
    order : sequence of sequences of str
        Layers of rooms from the bottom to the top.

    Returns
    -------
    list of str
        Rooms that `order` lacks, imports that lead upwards, circles between rooms, circles between the modules of one
        room.
    """
    modules, top = modules_of(library), Path(library).parent
    height = {room: level for level, rooms in enumerate(order) for room in rooms}
    problems = [f"room {room} has no place in the order" for room in sorted({*map(room_of, modules)} - height.keys())]
    rooms, inside = {}, {}
    for module, file in modules.items():
        room = room_of(module)
        for line, target in imports_of(module, modules):
            other = room_of(target)
            if other == "__init__":  # a constant of the top package, such as its version
                continue
            if other == room:
                inside.setdefault(room, {}).setdefault(module, set()).add(target)
                continue
            rooms.setdefault(room, set()).add(other)
            if height.get(room, len(order)) < height.get(other, -1):
                place = f"{file.relative_to(top).as_posix()} line {line}"
                problems.append(f"{place} imports {target}: {room} lies below {other}")
    problems += [f"circle between rooms: {circle}" for circle in circles_in(rooms)]
    return problems + [f"circle in {room}: {circle}" for room in inside for circle in circles_in(inside[room])]


def test_rooms_import_downwards_only():
    problems = violations(Path(fiqa_lib.__file__).parent, ORDER)
    assert not problems, "\n" + "\n".join(problems)


# --- the check itself, on a small tree -----------------------------------------------------------------------------

SMALL = {
    "__init__.py": "__version__ = '1'\nfrom .cli import main\n",
    "errors.py": "import json\n",
    "files.py": "from .errors import DataError\n",
    "data/__init__.py": "from .orl import load\n",
    "data/orl.py": "import os.path\nfrom .. import __version__, files\nfrom .tables import read\n",
    "data/tables.py": "from ..errors import DataError\n",
    "scorers/__init__.py": "",
    "scorers/base.py": "import house.data.orl\nfrom house.data import load\n",
    "cli.py": "def main():\n    from .scorers import base\n",
}
SMALL_ORDER = (("errors", "files"), ("data",), ("scorers",), ("cli",), ("__init__",))


def house(folder, **changed):
    """The small library in a folder, with some files replaced (data__orl for data/orl.py)."""
    for name, text in (SMALL | {f"{key.replace('__', '/')}.py": text for key, text in changed.items()}).items():
        file = folder / "house" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder / "house"


def test_a_tree_in_order_passes(tmp_path):
    assert violations(house(tmp_path), SMALL_ORDER) == []


@pytest.mark.parametrize(
    ("text", "line", "target"),
    [
        ("from ..scorers import SCORERS", 1, "house.scorers"),
        ("from .. import files, scorers", 1, "house.scorers"),
        ("from ..scorers.base import Scorer", 1, "house.scorers.base"),
        ("import os\nfrom ..scorers import base", 2, "house.scorers.base"),
        ("import os\nimport house.scorers.base as b", 2, "house.scorers.base"),
        ("from house import scorers", 1, "house.scorers"),
        ("import os\n\ndef load():\n    from ..scorers import SCORERS", 4, "house.scorers"),
        ("class A:\n    if True:\n        from ..scorers import SCORERS", 3, "house.scorers"),
    ],
)
def test_an_import_upwards_is_named_however_it_is_written(text, line, target, tmp_path):
    problems = violations(house(tmp_path, data__orl=text, scorers__base=""), SMALL_ORDER)
    assert problems == [f"house/data/orl.py line {line} imports {target}: data lies below scorers"]


def test_circles_between_rooms_are_found(tmp_path):
    folder = house(tmp_path, errors="from . import files")  # rooms of one layer
    assert violations(folder, SMALL_ORDER) == ["circle between rooms: errors -> files -> errors"]
    folder = house(tmp_path, errors="", data__tables="from .. import scorers")
    upwards = "house/data/tables.py line 1 imports house.scorers: data lies below scorers"
    assert violations(folder, SMALL_ORDER) == [upwards, "circle between rooms: data -> scorers -> data"]


def test_circles_between_modules_of_a_room_are_found(tmp_path):
    folder = house(tmp_path, data__tables="def read():\n    from .orl import load")
    circle = "circle in data: house.data.orl -> house.data.tables -> house.data.orl"
    assert violations(folder, SMALL_ORDER) == [circle]
    folder = house(tmp_path, data__tables="from . import load")  # through the package's own __init__
    circle = "circle in data: house.data -> house.data.orl -> house.data.tables -> house.data"
    assert violations(folder, SMALL_ORDER) == [circle]


def test_every_circle_is_named_once():
    assert list(circles_in({"a": "b", "b": "ac", "c": "d", "d": "ce"})) == ["a -> b -> a", "c -> d -> c"]
    assert list(circles_in({"a": "a"})) == ["a -> a"]
    assert list(circles_in({"a": "bc", "b": "c"})) == []


def test_a_room_without_a_place_is_named(tmp_path):
    assert violations(house(tmp_path, cellar=""), SMALL_ORDER) == ["room cellar has no place in the order"]


def test_the_house_stays_small():
    """At most 22 rooms, and no file above 600 lines."""
    library = Path(fiqa_lib.__file__).parent
    rooms = [entry for entry in library.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").is_file()]
    assert len(rooms) <= 22
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in library.rglob("*.py")}
    assert {name: n for name, n in lengths.items() if n > 600} == {}


@pytest.mark.parametrize("room", ["apps.labelling", "cli", "data", "evaluation", "evaluation.protocol"])
def test_reading_data_and_judging_tables_needs_no_torch(room):
    """It takes a second to import, and memory in each worker."""
    code = f"import sys, fiqa_lib.{room}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(fiqa_lib.__file__).parent.parent).returncode == 0
