"""What must hold for a notebook. Every function returns a list of problems, each a sentence; an empty list is good.

`notes` returns what is only worth a look. Nothing here executes a notebook.
"""

import ast
import io
import math
import platform
import re
import tokenize
import tomllib
from pathlib import Path
from urllib.parse import unquote

from . import catalogue
from .environment import ROOT
from .provenance import built_from, python_of

SIZE_LIMIT, SIZE_NOTE = 700_000, 500_000  # bytes
RECORD = "application/vnd.fiqa.record+json"
PARAMETERS = {"SEED", "DATA", "QUICK"}

# What must not stand in a committed output: it differs from machine to machine or from run to run.
VOLATILE = {
    "a path": r"/(?:home|root|tmp|work|Users|private|var/folders)/|\b[A-Za-z]:\\+Users|site-packages|ipykernel_\d+",
    "a date or a time of day": r"\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b",
    "an object's address": r"\b0x[0-9a-fA-F]{6,}\b",
    "a timing": r"\b\d[\d.]*\s?(?:ns|µs|us|ms|seconds|minutes|(?:it|faces|images)/s|s/it)(?!\w)|Wall time",
}

# What the text of a notebook must hold, by NOTEBOOKS: pattern -> what it is
OPENING = {
    r"\*\*You will build\*\*": '"**You will build** ..."',
    r"\*\*You will learn to\*\*": '"**You will learn to** ..." (three verbs)',
    r"\*\*Needs\*\*": '"**Needs**: which notebooks before"',
    r"\*\*Time\*\*": '"**Time**: to read and to run"',
    r"\*\*Faithful here\*\*": '"**Faithful here**: ..."',
    r"\*\*Simplified here\*\*": '"**Simplified here**: ..."',
}
SECTIONS = ("Checkpoint", "Exercises", "Recap")  # headings, in this order
ENDING = {r"(?i)\bin practice\b": '"In practice"', r"\bReferences\b": '"References"', r"\bNext\b": '"Next"'}
HABITS = {
    r"(?mi)^#+ .*predict": 'no heading "Predict, then run"',
    r"(?i)what you just saw": 'no "What you just saw"',
    r"(?mi)^#+ .*where it fails": 'no heading "Where it fails"',
}


def problems(path, folder=catalogue.FOLDER, root=ROOT, *, fresh=True):
    """All that is wrong with the notebook in `path` as committed: form, outputs, links, size; freshness if asked."""
    notebook = catalogue.read(path)
    found = solution_form(path, folder) if catalogue.is_solution(path) else lesson_form(path)
    size = Path(path).stat().st_size
    found += parameters_form(notebook) + lost_figures(notebook) + links(path)
    found += executed_in_order(notebook) + outputs(notebook)
    found += freshness(path, root) if fresh else []
    return found + ([f"{size // 1000} KB: the limit is {SIZE_LIMIT // 1000} KB"] if size > SIZE_LIMIT else [])


# ---- form


def lesson_form(path):
    """The parts that each lesson has, in their order: see notebooks/_template.ipynb."""
    notebook = catalogue.read(path)
    first = notebook.cells[0] if notebook.cells else None
    found = []
    if first is None or first.cell_type != "markdown" or not re.match(r"# \S", first.source):
        found.append('the first cell is not a title ("# 07 · Name")')
    opening = "\n".join(c.source for c in _until_parameters(notebook) if c.cell_type == "markdown")
    found += [f"the opening has no {what}" for pattern, what in OPENING.items() if not re.search(pattern, opening)]
    text = catalogue.markdown(notebook)
    places = [_heading(text, title) for title in SECTIONS]
    found += [f"no heading {title!r}" for title, place in zip(SECTIONS, places, strict=True) if place is None]
    if None not in places:
        if places != sorted(places):
            found.append(f"the headings {', '.join(SECTIONS)} stand in another order")
        answers = text[places[0] : places[1]].count("<details>")
        if answers < 3:
            found.append(f"the checkpoint has {answers} answers in <details>: three questions are asked")
        ending = text[places[2] :]
        found += [f"the recap has no {what}" for pattern, what in ENDING.items() if not re.search(pattern, ending)]
    return found + _calls_form(path, notebook)


def _calls_form(path, notebook):
    """`start`, `record` and `check` are what the tests, the benchmark and the reader hold on to."""
    found = []
    called = calls(notebook)
    for name in ("start", "record", "check"):
        if not called.get(name):
            found.append(f"no cell calls {name}()")
    chapter = catalogue.chapter(path)
    for exercise in called.get("check", []):
        if str(exercise).split(".")[0] != chapter:
            found.append(f"exercise {exercise} does not belong to notebook {chapter}")
    return found


def solution_form(path, folder=catalogue.FOLDER):
    """A solutions notebook has a title and solves exactly the exercises of its lesson, each with `strict_check`."""
    notebook, found = catalogue.read(path), []
    if not notebook.cells or not re.match(r"# \S", notebook.cells[0].source):
        found.append('the first cell is not a title ("# 07 · Name: solutions")')
    lesson = Path(folder) / (Path(path).stem.removesuffix("_solutions") + ".ipynb")
    if not lesson.exists():
        return found + [f"there is no notebook {lesson.name} for these solutions"]
    asked = set(calls(catalogue.read(lesson)).get("check", []))
    solved = set(calls(notebook).get("strict_check", []))
    found += [f"exercise {exercise} is not solved with strict_check" for exercise in sorted(asked - solved)]
    return found + [f"there is no exercise {exercise} in {lesson.name}" for exercise in sorted(solved - asked)]


def parameters_form(notebook):
    """One cell tagged `parameters`: only `NAME = literal  # comment`, with SEED, DATA = "bundled" and QUICK = False."""
    cells = [cell for cell in notebook.cells if "parameters" in catalogue.tags(cell)]
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters: one is needed"]
    source, values, found = cells[0].source, {}, []
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for node in ast.parse(source).body:
        try:
            (target,) = node.targets
            values[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError):
            found.append(f"parameters: {ast.unparse(node)!r} is not NAME = literal")
            continue
        if not commented.intersection(range(node.lineno - 1, node.end_lineno + 1)):
            found.append(f"parameters: {target.id} has no comment")
    found += [f"parameters: {name} is missing" for name in sorted(PARAMETERS - set(values))]
    if values.get("QUICK", False) is not False:
        found.append("parameters: QUICK must be False as committed")
    if values.get("DATA", "bundled") != "bundled":
        found.append('parameters: DATA must be "bundled" as committed')
    return found


def lost_figures(notebook):
    """`show(...)` gives a picture to the last line of a cell; anywhere above, the picture is lost."""
    found = []
    for number, cell in enumerate(notebook.cells, 1):
        body = ast.parse(python_of(cell.source)).body if cell.cell_type == "code" else []
        if any(ast.unparse(line).startswith("show(") for line in body[:-1]):
            found.append(f"cell {number}: show(...) is not its last line, so its picture is lost")
    return found


def calls(notebook):
    """Function name -> the first arguments of its calls (None where that is no literal), over all code cells."""
    found = {}
    for cell in catalogue.code_cells(notebook):
        for node in ast.walk(ast.parse(python_of(cell.source))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                found.setdefault(node.func.id, []).append(first)
    return found


def links(path):
    """Relative links and images of the text that lead to no file, and anchors that lead to no heading."""
    found = []
    for target in re.findall(r"\]\(<?([^)\s>]+)", _without_code(catalogue.markdown(catalogue.read(path)))):
        if re.match(r"[a-z][a-z+.-]*:", target) or target.startswith("//"):
            continue
        name, _, anchor = unquote(target).partition("#")
        file = Path(path).parent / name if name else Path(path)
        if not file.exists():
            found.append(f"the link to {target} leads nowhere")
        elif anchor and file.suffix == ".ipynb" and anchor not in _anchors(catalogue.read(file)):
            found.append(f"the link to {target} leads to no heading")
    return found


def _anchors(notebook):
    """What GitHub and JupyterLab make of headings differs in case only: both forms, and explicit ids."""
    text = _without_code(catalogue.markdown(notebook))
    titles = [re.sub(r"[`*]", "", title).strip() for title in re.findall(r"(?m)^#+ (.+)$", text)]
    lab = {title.replace(" ", "-") for title in titles}
    github = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return lab | github | set(re.findall(r'\b(?:id|name)="([^"]+)"', text))


def _without_code(text):
    return re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text)


def _until_parameters(notebook):
    for cell in notebook.cells:
        if "parameters" in catalogue.tags(cell):
            return
        yield cell


def _heading(text, title):
    found = re.search(rf"(?mi)^#+ .*\b{title}\b", text)
    return found.start() if found else None


def notes(path):
    """What is worth a look and no failure: length, size, habits of the template that are missing."""
    notebook, found = catalogue.read(path), []
    if Path(path).stat().st_size > SIZE_NOTE:
        found.append(f"{Path(path).stat().st_size // 1000} KB: {SIZE_NOTE // 1000} KB is the aim")
    for number, cell in enumerate(notebook.cells, 1):
        lines = cell.source.count("\n") + 1
        if cell.cell_type == "code" and lines > 18:
            found.append(f"cell {number} has {lines} lines of code: about 15 is the limit")
    if catalogue.is_solution(path) or catalogue.chapter(path) == "T":
        return found
    text = catalogue.markdown(notebook)
    words = len(text.split())
    if not 25 <= len(notebook.cells) <= 65 or not 900 <= words <= 2200:
        found.append(f"{len(notebook.cells)} cells and {words} words: 30-60 and 1,000-2,000 are the aim")
    return found + [message for pattern, message in HABITS.items() if not re.search(pattern, text)]


# ---- outputs


def freshness(path, root=ROOT):
    """Whether the outputs are those of the sources as they are now: see provenance."""
    stored = catalogue.read(path).metadata.get("fiqa", {}).get("built_from")
    if stored is None:
        return ["the outputs were not made by `python tools/nb.py build`"]
    if stored != built_from(path, root):
        return ["stale: the notebook or what it imports has changed since: python tools/nb.py build " + Path(path).stem]
    return []


def executed_in_order(notebook):
    """Execution counts 1..n, as one run from the top gives them."""
    counts = [cell.execution_count for cell in catalogue.code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"not one run from the top: execution counts {counts}"]


def outputs(notebook):
    """Errors, anything on standard error (warnings go there), and what must not stand in an output."""
    found = []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                found.append(f"cell {number}: {output.ename}: {output.evalue}")
            elif output.get("name") == "stderr":
                found.append(f"cell {number}: on standard error: {_short(output.text)}")
            else:
                found += [f"cell {number}: {what}" for what in volatile(_text(output))]
    return found


def volatile(text):
    """What in `text` differs from machine to machine or from run to run."""
    host = platform.node()
    patterns = dict(VOLATILE)
    if len(host) > 3 and host != "localhost":
        patterns["this machine's name"] = rf"\b{re.escape(host)}\b"
    found = []
    for what, pattern in patterns.items():
        hit = re.search(pattern, text)
        if hit:
            found.append(f"{what} in an output: {_short(text[max(0, hit.start() - 20) : hit.end() + 20])}")
    return found


def _text(output):
    """All text of an output in all its forms; pictures are left out."""
    if output.output_type == "stream":
        return output.text
    return "\n".join(
        str(value) for kind, value in output.data.items() if not kind.startswith("image/") or kind.endswith("svg+xml")
    )


def _short(text, length=160):
    text = " ".join(str(text).split())
    return text if len(text) <= length else text[: length - 4] + " ..."


# ---- committed against executed again

_NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RELATIVE, ABSOLUTE = 0.02, 0.002  # processors differ in the last digits; three decimals are printed


def differences(committed, executed):
    """Where two runs of the same notebook differ: text (numbers with a tolerance) and kinds of output."""
    found = []
    for number, (old, new) in enumerate(zip(committed.cells, executed.cells, strict=True), 1):
        kinds = [[_kind(output) for output in cell.get("outputs", [])] for cell in (old, new)]
        if kinds[0] != kinds[1]:
            found.append(f"cell {number}: other kinds of output: {kinds[0]}, now {kinds[1]}")
            continue
        for before, after in zip(old.get("outputs", []), new.get("outputs", []), strict=True):
            text = [_comparable(output) for output in (before, after)]
            if not same_text(*text):
                found.append(f"cell {number}: the output differs: {_first_difference(*text)}")
    return found


def same_text(one, other):
    """Whether two texts are equal but for white space and small differences of numbers."""
    if " ".join(re.sub(_NUMBER, "#", one).split()) != " ".join(re.sub(_NUMBER, "#", other).split()):
        return False
    pairs = zip(re.findall(_NUMBER, one), re.findall(_NUMBER, other), strict=True)
    return all(math.isclose(_value(a), _value(b), rel_tol=RELATIVE, abs_tol=ABSOLUTE) for a, b in pairs)


def _value(number):
    return float(number.replace(",", ""))


def _kind(output):
    if output.output_type == "stream":
        return "stream " + output.name
    return " ".join([output.output_type, *sorted(output.get("data", {}))])


def _comparable(output):
    """Text without what may differ: versions, the random ids of pandas' styled tables, rules of a table's width."""
    lines = [line for line in _text(output).splitlines() if not line.startswith("Python 3.")]
    return re.sub(r"\bT_[0-9a-f]{5}|[-=]{3,}|─+", "", "\n".join(lines))


def _first_difference(one, other):
    for before, after in zip(one.splitlines(), other.splitlines(), strict=False):
        if not same_text(before, after):
            return f"{_short(before, 80)!r}, now {_short(after, 80)!r}"
    return "other lines at the end"


# ---- recorded numbers and their bands


def records(notebook):
    """The numbers that a run recorded: a list of dicts with name, value and what the notebook itself says of it."""
    data = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [forms[RECORD] for forms in data if RECORD in forms]


def read_bands(path):
    """The bands of one notebook, tests/bands/NN_name.toml: name -> default, quick ([low, high]), above, below.

    `above` and `below` name another record of the notebook: the baseline that this one must be better than. Each of
    the four may be missing: an interval that would be wider than the value itself catches nothing and is not kept.
    """
    path = Path(path)
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def bands(recorded, wanted, mode):
    """Hold recorded numbers against their bands.

    Parameters
    ----------
    recorded : list of dict
        See `records`.
    wanted : dict
        See `read_bands`.
    mode : str
        "default" or "quick".
    """
    found, values = [], {}
    for record in recorded:
        name, value = record["name"], record["value"]
        if name in values:
            found.append(f"{name} is recorded twice")
        values[name] = value
        if mode == "default" and not _within(value, record.get("low"), record.get("high")):
            found.append(f"{name} = {value:.4g} lies outside what its notebook declares")
    found += [f"{name} has a band and is not recorded" for name in wanted if name not in values]
    for name in (name for name in wanted if name in values):
        found += _one_band(name, values, wanted[name], mode)
    return found


def _one_band(name, values, band, mode):
    unknown = sorted(set(band) - {"default", "quick", "above", "below"})
    if unknown or not band:
        return [f"{name}: a band has default, quick, above or below, not {unknown or 'nothing'}"]
    found, (low, high) = [], band.get(mode, (-math.inf, math.inf))
    if mode in band and low == -math.inf and high == math.inf:
        found.append(f"{name}: a band without any end says nothing")
    if not low <= values[name] <= high:
        found.append(f"{name} = {values[name]:.4g} lies outside its {mode} band {low:g} to {high:g}")
    for word, sign in (("above", 1), ("below", -1)):
        for baseline in [band[word]] if isinstance(band.get(word), str) else band.get(word, []):
            if baseline not in values:
                found.append(f"{name}: its baseline {baseline} is not recorded")
            elif not sign * values[name] > sign * values[baseline]:
                found.append(f"{name} = {values[name]:.4g} is not {word} {baseline} = {values[baseline]:.4g}")
    return found


def _within(value, low, high):
    return (low is None or value >= low) and (high is None or value <= high)
