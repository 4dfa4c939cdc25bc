"""What README.md takes from notebooks: figure, numbers and the table. `python tools/nb.py readme` writes them.

Each part stands between `<!-- name -->` and `<!-- /name -->`. The figure is copied, byte for byte, out of the committed
output of notebook 00, so that the page shows what the notebook shows.
"""

import base64
import re

from fiqa_lib.files import whole_file

from . import catalogue, checks
from .environment import ROOT

README = ROOT / "README.md"
FIGURE = ROOT / "data" / "results" / "tour.png"
FIGURE_ALT = "Error-versus-discard"
NUMBERS = (
    ("FNMR before anything is discarded (FMR 0.1%)", "00_setup_and_tour", "starting_fnmr", "percent"),
    ("mirror agreement, area up to 30% discarded (chance is 1)", "00_setup_and_tour", "pauc_mirror", "number"),
    ("upper end of its 95% interval over people", "00_setup_and_tour", "pauc_mirror_high", "number"),
    ("sharpness, the simplest baseline", "00_setup_and_tour", "pauc_sharpness", "number"),
)


def write():
    """Bring README.md and its figure up to date."""
    with whole_file(FIGURE) as temporary:
        temporary.write_bytes(figure())
    with whole_file(README) as temporary:
        temporary.write_text(page(README.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def stale():
    """What of README.md no longer agrees with the notebooks: a list of sentences."""
    text = README.read_text(encoding="utf-8")
    found = [] if page(text) == text else ["README.md is not what the notebooks say"]
    if not FIGURE.is_file() or FIGURE.read_bytes() != figure():
        found.append(f"{FIGURE.name} is not the figure of notebook 00")
    return [f"{problem}: run python tools/nb.py readme" for problem in found]


def page(text):
    """`text` with its marked parts made anew."""
    for name, made in (("notebooks", table()), ("numbers", numbers())):
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, made=made: m[1] + made + m[2], text, flags=re.S
        )
        if count != 1:
            raise ValueError(f"README.md has {count} parts marked <!-- {name} -->; one is needed")
    return text


def lessons():
    """The notebooks of the course in order, without solutions."""
    return [path for path in catalogue.course() if not catalogue.is_solution(path)]


def table():
    """One row for each notebook: title, what it builds, its time."""
    rows = ["| notebook | you will build | time |", "| --- | --- | --- |"]
    for path in lessons():
        text = catalogue.markdown(catalogue.read(path))
        title = re.match(r"# (.+)", text)[1].strip()
        built = re.search(r"\*\*You will build\*\*\s*(.+?)\n", text)[1].strip()
        time = re.search(r"\*\*Time\*\*:?\s*(.+?)\.(?:\s|$)", text)[1].strip()
        rows.append(f"| [{title}](notebooks/{path.name}) | {built} | {time} |")
    return "\n".join(rows) + "\n"


def numbers():
    """The recorded numbers beside the figure."""
    rows = ["| on ORL-D, people the score never saw | |", "| --- | --- |"]
    for label, notebook, record, kind in NUMBERS:
        found = checks.records(catalogue.read(catalogue.FOLDER / f"{notebook}.ipynb"))
        value = next(r["value"] for r in found if r["name"] == record)
        rows.append(f"| {label} | {f'{value:.1%}' if kind == 'percent' else f'{value:.2f}'} |")
    return "\n".join(rows) + "\n"


def figure():
    """The bytes of the tour's figure."""
    notebook = catalogue.read(catalogue.FOLDER / "00_setup_and_tour.ipynb")
    for cell in catalogue.code_cells(notebook):
        for output in cell.outputs:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if alt.startswith(FIGURE_ALT):
                return base64.b64decode(output.data["image/png"])
    raise ValueError(f"notebook 00 shows no figure whose description begins with {FIGURE_ALT!r}")
