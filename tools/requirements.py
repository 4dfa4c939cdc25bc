"""requirements*.txt, written from the one list of packages in pyproject.toml: `python tools/nb.py requirements`."""

import tomllib
from pathlib import Path

from .environment import ROOT

WRITTEN = "# Written from pyproject.toml by `python tools/nb.py requirements`: change it there."
FILES = {
    "requirements.txt": (
        "What the course runs on. constraints.txt: the versions last tested together.",
        ["", "course"],
    ),
    "requirements-dev.txt": ("What the tests need besides.", ["dev", "scale"]),
    "requirements-scale.txt": ("For `fiqa sdd-labels --cluster`. The course does not need it.", ["scale"]),
}


def texts(root=ROOT):
    """File name -> what it must hold."""
    project = tomllib.loads(Path(root, "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        name: "\n".join([f"# {text}", WRITTEN, *[line for part in parts for line in lists[part]]]) + "\n"
        for name, (text, parts) in FILES.items()
    }


def write(root=ROOT):
    """Write the files."""
    for name, text in texts(root).items():
        Path(root, name).write_text(text, encoding="utf-8", newline="\n")


def stale(root=ROOT):
    """The files that do not hold what pyproject.toml says."""
    return [n for n, text in texts(root).items() if Path(root, n).read_text(encoding="utf-8") != text]
