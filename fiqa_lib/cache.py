"""Where computed things are kept, and what they were computed from.

Caches only speed up: deleting the folder loses nothing. Each key and each stale-check rests on `sources_of`: the code
that a module runs, over the syntax tree, so that a comment or a docstring changes nothing and arithmetic changes all
that rests on it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import os
import secrets
import types
from pathlib import Path

from .files import whole_file

LIBRARY = __name__.partition(".")[0]
ROOT = Path(__file__).resolve().parent.parent


def cache_folder(*parts):
    """The folder for cached files: `FIQA_CACHE` if set, else `data/cache` of this checkout (or of the home folder).

    Nothing is created here; `files.whole_file` makes folders when something is written.

    Parameters
    ----------
    *parts : str
        Folders and file names below it.

    Returns
    -------
    Path
    """
    if root := os.environ.get("FIQA_CACHE"):
        return Path(root, *parts)
    if (ROOT / "pyproject.toml").is_file():
        return ROOT.joinpath("data", "cache", *parts)
    return Path.home().joinpath(".cache", LIBRARY, *parts)


def content_key(*values):
    """A short hex name for bytes, strings and numbers together, the same on every machine.

    Parameters
    ----------
    *values : bytes, or anything with a stable `repr`

    Returns
    -------
    str
        32 hex digits.
    """
    digest = hashlib.sha256()
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


# --- what code a thing was computed with -------------------------------------------------------------------------


def sources_of(*things, root=ROOT):
    """One hash for the code of modules and of all library modules that they import.

    It is taken over the syntax tree without docstrings, comments and layout. A name that a package's `__init__` only
    passes on leads to the module that defines it. A registry package (one whose `__init__` imports its modules by
    `pkgutil`) counts with all its modules, unless code takes entries by literal names: `SCORERS["ser-fiq"]` leads to
    the module that registers "ser-fiq".

    Parameters
    ----------
    *things : str, module, class or function
        A dotted name ("fiqa_lib.labels.sdd", "fiqa_lib.evaluation.edc"), or an object: its module counts. Objects from
        outside the library count with their file; one that has no source is never the same twice.
    root : path, default=ROOT
        The folder in which `fiqa_lib` lies: this checkout or installation.

    Returns
    -------
    str
        64 hex digits, the same on every system and Python version.
    """
    digest = hashlib.sha256()
    names = []
    for thing in things:
        name = thing if isinstance(thing, str) else _module_name(thing)
        if name.partition(".")[0] == LIBRARY:
            names.append(name)
        else:
            text = _foreign_source(thing)
            digest.update(canonical(text).encode())
            names += imported_names(text)
    files = library_files(names, root)
    for module, file in sorted(files.items()):
        digest.update(f"{module}\0{_canonical_file(file, *_state(file))}\0".encode())
    parents = {module.rsplit(".", n)[0] for module in files for n in range(1, module.count(".") + 1)}
    for package in sorted(parents - set(files)):
        file = _module_file(package, Path(root))
        digest.update(f"{package}\0{_own_code(file, *_state(file))}\0".encode())
    return digest.hexdigest()


def library_files(names, root=ROOT):
    """The modules that dotted names of the library rest on, as a dict module name -> file.

    Parameters
    ----------
    names : iterable of str
        Modules ("fiqa_lib.labels.sdd"), names in them ("fiqa_lib.labels.sdd_labels"), or entries of a registry
        ("fiqa_lib.scorers.SCORERS[ser-fiq]").
    root : path, default=ROOT
        The folder in which `fiqa_lib` lies.
    """
    found, waiting, seen = {}, list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        module, attribute = _split(name, Path(root))
        if module is None:
            continue
        file = _module_file(module, Path(root))
        package = file.name == "__init__.py"
        if attribute.startswith("__"):  # a version or the like: no result rests on it
            continue
        if package and attribute:
            further = _passed_on(module, attribute, file, Path(root))
            if further is not None:
                waiting += further
                continue
        if module not in found:
            found[module] = file
            waiting += _imported_by(file, module, package, *_state(file))
            if package and _is_registry(file):
                waiting += [f"{module}.{other.stem}" for other in sorted(file.parent.glob("*.py")) if other != file]
    return found


def imported_names(source, module="", package=False):
    """The dotted names of the library that Python code imports, also inside functions.

    Parameters
    ----------
    source : str
        Python code.
    module : str, default=""
        The module it stands in, for relative imports.
    package : bool, default=False
        Whether it is the `__init__` of a package.

    Returns
    -------
    list of str
        `from package import name` gives "package.name". Where `name` is itself a package, or a registry, the attributes
        and literal keys that the code takes from it are given instead, unless it uses the object as a whole.
    """
    tree = ast.parse(source)
    base = module if package else module.rpartition(".")[0]
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound.setdefault(alias.asname or alias.name, []).append(alias.name)
        elif isinstance(node, ast.ImportFrom):
            parents = base.split(".")[: len(base.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                bound.setdefault(alias.asname or alias.name, []).append(f"{target}.{alias.name}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_dotted(node.value):
            bound.setdefault(f"'{node.value}'", []).append(node.value)  # a module named by a string
    uses = _uses(tree)
    names = []
    for local, targets in bound.items():
        for target in targets:
            if target.partition(".")[0] == LIBRARY:
                parts = uses.get(local)
                names += [target + part for part in sorted(parts)] if parts else [target]
    return names


def canonical(source):
    """Python code as a string that only its meaning decides: the syntax tree without docstrings and comments."""
    return repr(_plain(ast.parse(source)))


def _plain(node):
    if isinstance(node, ast.AST):
        fields = []
        for name, value in ast.iter_fields(node):
            if name in ("ctx", "kind", "type_comment") or value is None or value == []:
                continue
            if isinstance(value, list):
                value = [_plain(item) for item in value if not _is_docstring(item)]
            fields.append((name, _plain(value)))
        return type(node).__name__, *fields
    if isinstance(node, list):
        return [_plain(item) if isinstance(item, ast.AST) else item for item in node]
    return node


def _is_docstring(node):
    """A string that stands alone: a docstring, or the description below a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# Files are parsed once; the time and size of a file tell whether it is still the same.


def _state(file):
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=1000)
def _canonical_file(file, _time, _size):
    return canonical(file.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1000)
def _own_code(file, _time, _size):
    """What the `__init__` of a package does besides importing and setting names such as `__all__`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [
        line for line in tree.body if not isinstance(line, (ast.Import, ast.ImportFrom)) and not _is_dunder(line)
    ]
    return repr(_plain(tree))


def _is_dunder(line):
    return isinstance(line, ast.Assign) and all(getattr(name, "id", "").startswith("__") for name in line.targets)


@functools.lru_cache(maxsize=1000)
def _imported_by(file, module, package, _time, _size):
    return tuple(imported_names(file.read_text(encoding="utf-8"), module, package))


@functools.lru_cache(maxsize=1000)
def _parsed(file, _time, _size):
    return ast.parse(file.read_text(encoding="utf-8"))


def _uses(tree):
    """Local name -> the parts of it that code takes: {".edc", "[ser-fiq]"}. Names used as a whole are left out."""
    inner, parts, whole = set(), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            inner.add(id(node.value))
            parts.setdefault(node.value.id, set()).add("." + node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
                inner.add(id(node.value))
                parts.setdefault(node.value.id, set()).add(f"[{node.slice.value}]")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in inner:
            whole.add(node.id)
    return {name: found for name, found in parts.items() if name not in whole}


def _split(name, root):
    """A dotted name as (module, rest): the longest beginning that is a module of the library."""
    plain, bracket, key = name.partition("[")
    parts = plain.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        if _module_file(module, root) is not None:
            return module, ".".join(parts[end:]) + bracket + key
    return None, name


def _module_file(module, root):
    base = root.joinpath(*module.split("."))
    for file in (base / "__init__.py", base.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _passed_on(package, attribute, file, root):
    """Where a package's `__init__` got a name from, as dotted names; None where it defines the name itself."""
    name, bracket, key = attribute.partition("[")
    name = name.partition(".")[0]
    if _is_registry(file) and name.isupper():  # the table of all entries, or one entry of it
        return _registered(file.parent, package).get(key.rstrip("]")) if bracket else None
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return [f"{target}.{alias.name}"]
    return None


def _is_registry(file):
    return any(isinstance(node, ast.Name) and node.id == "pkgutil" for node in ast.walk(_tree(file)))


def _registered(folder, package):
    """Entry -> [module] of a registry package, from the decorators `@register("entry")` of its modules."""
    entries = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "register" and node.args:
                if isinstance(node.args[0], ast.Constant):
                    entries.setdefault(node.args[0].value, []).append(f"{package}.{file.stem}")
    return entries


def _tree(file):
    return _parsed(file, *_state(file))


def _is_dotted(text):
    parts = text.split(".")
    return len(parts) > 1 and parts[0] == LIBRARY and all(part.isidentifier() for part in parts)


def _module_name(thing):
    return thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__


def _foreign_source(thing):
    try:
        module = thing if isinstance(thing, types.ModuleType) else inspect.getmodule(thing)
        return inspect.getsource(module if getattr(module, "__file__", None) else thing)
    except (OSError, TypeError):
        return f"unknown = {secrets.token_hex()!r}"  # never the same twice


# --- stamps: files that say what a committed table or a learned weight was made from -----------------------------


def write_stamp(path, command, things, **facts):
    """Write a JSON file that says what the files beside it were made from.

    Parameters
    ----------
    path : path
        Of the stamp, for instance `data/results/made_from.json`.
    command : str
        What to type to make them again.
    things : list of str
        Dotted names, as `sources_of` takes them.
    **facts
        Anything JSON can hold: version, date of the data, numbers of faces.

    Returns
    -------
    Path
    """
    stamp = {"command": command, "code": list(things), "sources": sources_of(*things), **facts}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(stamp, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
    return Path(path)


def stale_stamp(path, root=ROOT):
    """Why the files beside a stamp are out of date, as a sentence; None when they are fresh.

    Parameters
    ----------
    path : path
        Of a file that `write_stamp` wrote.
    root : path, default=ROOT
        The folder in which `fiqa_lib` lies.
    """
    try:
        stamp = json.loads(Path(path).read_text(encoding="utf-8"))
        command, code, sources = stamp["command"], stamp["code"], stamp["sources"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path}: not a stamp that fiqa_lib wrote ({error})"
    if sources_of(*code, root=root) != sources:
        return f"{path}: the code has changed since; run again: {command}"
    return None
