"""Each public parameter of the library has a meaning, and its default where it has one."""

import ast
import re
from pathlib import Path

import pytest

import fiqa_lib

LIBRARY = Path(fiqa_lib.__file__).parent
ELSEWHERE = re.compile(r"[Pp]arameters[^.]*\b(those of|as in|as there|as for)\b|\) -> \(|\d -> ")
"""Parameters that another function describes, or shapes from input to output in one line."""


def documented(docstring):
    """Parameter -> (type line, description) of the sections Parameters and Attributes of a numpydoc docstring."""
    found, names, section = {}, [], None
    lines = (docstring or "").splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=False):
        if below.startswith("---"):
            section = line.strip()
        elif section in ("Parameters", "Other Parameters", "Attributes"):
            if line and not line.startswith((" ", "-")) and re.match(r"[*\w, ]+( : |$)", line):
                names = [name.strip(" *") for name in line.partition(" : ")[0].split(",")]
                found.update({name: [line, ""] for name in names})
            elif line.startswith(" "):
                for name in names:
                    found[name][1] += line.strip()
    return found


def public_functions(tree):
    """(qualified name, node, docstring): public functions, public methods, and classes with their constructors."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in (m for m in node.body if isinstance(m, ast.FunctionDef)):
                if method.name == "__init__":
                    yield node.name, method, ast.get_docstring(node)
                elif not method.name.startswith("_") and ast.get_docstring(method):  # without: inherited from the base
                    yield f"{node.name}.{method.name}", method, ast.get_docstring(method)


def problems_of(name, node, docstring):
    arguments = node.args
    own = [
        a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs] if a.arg not in ("self", "cls")
    ]
    with_default = {a.arg for a in arguments.args[len(arguments.args) - len(arguments.defaults) :]}
    with_default |= {a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None}
    known = documented(docstring)
    if not known and len(own) <= 1 and not with_default and docstring:  # one plain argument: its line says it
        return []
    found = []
    for argument in own:
        if argument not in known:
            if ELSEWHERE.search(docstring or ""):
                continue
            if not re.search(rf"`{argument}`", docstring or ""):
                found.append(f"{name}: {argument} is not described")
        elif not known[argument][1]:
            found.append(f"{name}: {argument} has no meaning")
        elif known[argument][1].startswith(("As in ", "As for ")):  # its default stands there
            continue
        elif argument in with_default and "default" not in known[argument][0]:
            found.append(f"{name}: {argument} has a default that is not given")
    return found


def exported(path):
    """The names of a file that are public: those that its room's `__all__` lists, and registered scorers."""
    init = ast.parse((path.parent / "__init__.py").read_text(encoding="utf-8"))
    lists = [n.value for n in init.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"]
    names = {name for values in lists for name in ast.literal_eval(values)}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any("register" in ast.unparse(d) for d in node.decorator_list):
            names.add(node.name)
    return names


WHOLE = {"course/lesson.py", "course/plotting.py"}  # notebooks call all of these
FILES = {p.relative_to(LIBRARY).as_posix(): p for p in sorted(LIBRARY.rglob("*.py")) if "exercises" not in p.parts}


@pytest.mark.parametrize("name", FILES)
def test_every_public_parameter_has_a_meaning_and_its_default(name):
    path, found = FILES[name], []
    public = exported(path)
    for function, node, text in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
        if name in WHOLE or function.partition(".")[0] in public:
            found += problems_of(function, node, text)
    assert found == [], "\n" + "\n".join(found)


def test_the_check_sees_what_is_missing():
    source = '''
def f(a, b=1, c=2):
    """Do.

    Parameters
    ----------
    a : int
        A number.
    b : int
        Another.
    c : int, default=2
    """
'''
    ((name, node, text),) = public_functions(ast.parse(source))
    assert problems_of(name, node, text) == ["f: b has a default that is not given", "f: c has no meaning"]
