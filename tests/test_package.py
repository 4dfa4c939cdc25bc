"""The wheel in an environment of its own: the command, the three lines of the README, and nothing of the course."""

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

import fiqa_lib as fq
from tools.environment import ROOT

COURSE_ONLY = (
    "jupyterlab",
    "papermill",
    "ipywidgets",
    "nbconvert",
    "seaborn",
    "latex2mathml",
    "pdoc",
    "pytest",
    "dask",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network from a copy of what it is made of."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "fiqa_lib", "data"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """An environment with this wheel and the packages installed here, without the course's own checkout."""
    place = tmp_path_factory.mktemp("clean") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    (own / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # editable installs there stay unseen
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*pip, "--ignore-installed", str(wheel)], check=True, capture_output=True)
    return scripts, python


def run(command, folder, **more):
    environment = (
        {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"FIQA_CACHE": str(folder / "cache")} | more
    )
    return subprocess.run([str(c) for c in command], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_wheel_asks_for_what_the_library_imports_and_extras_for_the_rest(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
        entry = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    always = {
        re.match(r"[\w-]+", line)[0] for line in re.findall(r"Requires-Dist: (.+)", metadata) if "extra ==" not in line
    }
    assert {"numpy", "torch", "dlib-bin"} <= always and not always & set(COURSE_ONLY)
    assert {"course", "dev", "scale"} == set(re.findall(r"Provides-Extra: (\w+)", metadata))
    assert "fiqa = fiqa_lib.cli:main" in entry
    assert all(n.startswith(("fiqa_lib/", "fiqa_lib-")) for n in names)
    assert f"Version: {fq.__version__}" in metadata
    committed = sorted((ROOT / "data" / "results").glob("*/*.csv"))
    shipped = {name.partition("/data/share/fiqa_lib/")[2] for name in names if "/data/share/" in name}
    assert committed and {f"results/{file.parent.name}/{file.name}" for file in committed} <= shipped


def test_the_command(clean, tmp_path):
    scripts, _ = clean
    done = run([scripts / "fiqa", "methods"], tmp_path)
    assert done.returncode == 0 and "ser-fiq" in done.stdout, done.stderr
    Image.fromarray(astronaut()).save(tmp_path / "a.png")
    done = run(
        [scripts / "fiqa", "score", "a.png", "--method", "sharpness", "--out", "o.csv", "--no-progress"], tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.csv").read_text().splitlines()[1].startswith("a.png,")
    assert run([scripts / "fiqa", "--version"], tmp_path).stdout.strip() == f"fiqa {fq.__version__}"


def test_three_lines_from_a_photograph_to_a_score(clean, tmp_path):
    """Those of README.md, as they stand there."""
    _, python = clean
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(import fiqa_lib as fq\n.*?)```", text, re.S)[1]
    Image.fromarray(astronaut()).save(tmp_path / "photograph.jpg")
    done = run([python, "-c", lines], tmp_path)  # its weights come with the wheel
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+\.\d+", done.stdout)


def test_the_library_imports_without_the_packages_of_the_course(clean, tmp_path):
    """Every module but those of the course and of a cluster."""
    _, python = clean
    code = f"""
import importlib, pkgutil, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {COURSE_ONLY!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import fiqa_lib
for module in pkgutil.walk_packages(fiqa_lib.__path__, "fiqa_lib."):
    if not module.name.startswith("fiqa_lib.course") and module.name != "fiqa_lib.__main__":
        importlib.import_module(module.name)
print(fiqa_lib.__file__)
"""
    done = run([python, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout  # the wheel's, not the checkout's


class TestTopLevel:
    def test_methods(self):
        assert "ser-fiq" in fq.list_methods() and fq.list_methods() == sorted(fq.list_methods())

    def test_an_unknown_method_names_those_there_are(self):
        with pytest.raises(fq.DataError, match="ser-fiq"):
            fq.create_scorer("ser-fiqq")

    def test_parameters(self):
        assert fq.create_scorer("ser-fiq", random_state=3).random_state == 3

    def test_a_photograph_without_a_face(self, tmp_path):
        place = tmp_path / "empty.png"
        Image.new("RGB", (300, 300)).save(place)
        with pytest.raises(fq.DataError, match="empty.png.*no face"):
            fq.load_faces(place)

    def test_a_photograph_and_a_folder(self, tmp_path):
        Image.fromarray(astronaut()).save(tmp_path / "a.png")
        assert len(fq.load_faces(tmp_path / "a.png")) == 1
        assert list(fq.load_faces(tmp_path).names) == ["a.png"]

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(fq.DataError, match="nowhere.jpg"):
            fq.load_faces(tmp_path / "nowhere.jpg")
