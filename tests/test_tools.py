"""The gates: each fault that tools/ promises to find is put in, and must turn it red."""

import argparse
import ast
import base64
import io
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from benchmarks import run as benchmarks
from tools import book, catalogue, checks, commands, environment, execution, nb, provenance
from tools.environment import ROOT

TEMPLATE = ROOT / "notebooks" / "_template.ipynb"
PARAMETERS = 'SEED = 0  # a\nDATA = "bundled"  # b\nQUICK = False  # c'


def code(source, *outputs, tags=(), count=None):
    metadata = {"tags": list(tags)} if tags else {}
    return new_code_cell(source, outputs=list(outputs), metadata=metadata, execution_count=count)


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def save(path, *cells, **metadata):
    """A notebook of these cells in `path`, with stable cell ids."""
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=list(cells), metadata={"kernelspec": kernel, **metadata}), path)
    return path


@pytest.fixture
def project(tmp_path):
    """A tiny project: fiqa_lib with modules that import each other, requirements.txt, one notebook."""
    files = {
        "fiqa_lib/__init__.py": "",
        "fiqa_lib/used.py": "from . import deep\nfrom .sub.leaf import f\n",
        "fiqa_lib/deep.py": "def g():\n    import fiqa_lib.late\n",
        "fiqa_lib/late.py": "LAZY = {'a': 'fiqa_lib.named'}\n",
        "fiqa_lib/named.py": "x = 1\n",
        "fiqa_lib/sub/__init__.py": "from .sibling import y\n",
        "fiqa_lib/sub/leaf.py": "from ..up import z\n",
        "fiqa_lib/sub/sibling.py": "y = 1\n",
        "fiqa_lib/up.py": "z = 1\n",
        "fiqa_lib/unused.py": "x = 1\n",
        "fiqa_lib/course/__init__.py": "",
        "fiqa_lib/course/exercises/__init__.py": "",
        "fiqa_lib/course/exercises/nb02.py": "x = 1\n",
        "fiqa_lib/course/exercises/nb03.py": "x = 1\n",
        "fiqa_lib/table.csv": "a,b\n",
        "requirements.txt": "numpy\n",
    }
    for name, text in files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tmp_path


@pytest.fixture
def notebook(project):
    cells = [new_markdown_cell("# 02 · One"), code(PARAMETERS, tags=["parameters"]), code("from fiqa_lib import used")]
    path = save(project / "notebooks" / "02_one.ipynb", *cells)
    stamp(path, project)
    return path


def stamp(path, root):
    content = catalogue.read(path)
    content.metadata["fiqa"] = {"built_from": provenance.built_from(path, root)}
    catalogue.write(content, path)


class TestFreshness:
    def test_fresh(self, notebook, project):
        assert checks.freshness(notebook, project) == []

    def test_never_built(self, project):
        assert "not made by" in checks.freshness(save(project / "03_x.ipynb", code("1")), project)[0]

    @pytest.mark.parametrize(
        "name",
        [
            "fiqa_lib/used.py",
            "fiqa_lib/deep.py",
            "fiqa_lib/late.py",
            "fiqa_lib/named.py",
            "fiqa_lib/sub/__init__.py",
            "fiqa_lib/sub/leaf.py",
            "fiqa_lib/up.py",
            "fiqa_lib/course/exercises/nb02.py",
            "fiqa_lib/table.csv",
            "requirements.txt",
        ],
    )
    def test_a_change_of_what_it_reaches_makes_it_stale(self, notebook, project, name):
        (project / name).write_text((project / name).read_text() + "changed = 1\n")
        assert "stale" in checks.freshness(notebook, project)[0]

    @pytest.mark.parametrize("name", ["unused.py", "sub/sibling.py", "course/exercises/nb03.py"])
    def test_a_change_elsewhere_does_not(self, notebook, project, name):
        (project / "fiqa_lib" / name).write_text("x = 2\n")
        assert checks.freshness(notebook, project) == []

    def test_comments_and_docstrings_do_not(self, notebook, project):
        library = project / "fiqa_lib" / "deep.py"
        library.write_text(
            '"""What it is for."""\n\n' + library.read_text().replace("():", '():\n    """Why."""') + "# so\n"
        )
        content = catalogue.read(notebook)
        content.cells[2].source += "  # a remark"
        catalogue.write(content, notebook)
        assert checks.freshness(notebook, project) == []

    def test_a_change_of_its_code_makes_it_stale(self, notebook, project):
        content = catalogue.read(notebook)
        content.cells[2].source += "\nx = 1"
        catalogue.write(content, notebook)
        assert "stale" in checks.freshness(notebook, project)[0]

    def test_prose_and_line_ends_do_not(self, notebook, project):
        content = catalogue.read(notebook)
        content.cells[0].source += " mended"
        catalogue.write(content, notebook)
        library = project / "fiqa_lib" / "used.py"
        library.write_bytes(library.read_bytes().replace(b"\n", b"\r\n"))
        assert checks.freshness(notebook, project) == []

    def test_magics_do_not_hide_imports(self, project):
        source = "%matplotlib inline\n!ls\nimport fiqa_lib.unused as u"
        path = save(project / "03_x.ipynb", code(source), code("x = (7\n  % 2)"))
        assert "fiqa_lib.unused" in provenance.library_names(path, catalogue.read(path))

    @pytest.mark.parametrize("table", ["data/results/areas.csv", "benchmarks/measured/areas.csv"])
    def test_a_table_that_it_names_counts(self, project, table):
        place = project / table
        place.parent.mkdir(parents=True)
        place.write_text("a,b\n")
        path = save(project / "02_one.ipynb", code("read('areas.csv')"))
        stamp(path, project)
        (place.parent / "other.csv").write_text("a\n")
        assert checks.freshness(path, project) == []
        place.write_text("a,c\n")
        assert "stale" in checks.freshness(path, project)[0]


class TestOutputs:
    @pytest.mark.parametrize(
        "output, word",
        [
            (new_output("error", ename="ValueError", evalue="no", traceback=[]), "ValueError"),
            (stream("a warning", "stderr"), "standard error"),
            (stream("read /home/someone/x.jpg"), "a path"),
            (stream("read /tmp/x.jpg"), "a path"),
            (stream(r"C:\Users\someone"), "a path"),
            (stream("made 2026-03-01"), "a date"),
            (stream("at 12:30:59"), "a time of day"),
            (stream("<object at 0x7f12ab34cd56>"), "address"),
            (stream("took 12.5 ms"), "a timing"),
            (stream("100%|#####| 3/3 [00:00, 97.1it/s]"), "a timing"),
            (new_output("display_data", data={"text/html": "<img src='/root/a.png'>"}), "a path"),
            (new_output("display_data", data={"image/svg+xml": "<svg>2026-03-01</svg>"}), "a date"),
        ],
    )
    def test_what_must_not_stand_there(self, output, word):
        found = checks.outputs(new_notebook(cells=[code("1", output)]))
        assert len(found) == 1 and word in found[0] and "cell 1" in found[0]

    def test_this_machines_name(self, monkeypatch):
        monkeypatch.setattr("platform.node", lambda: "workhorse")
        assert "machine's name" in checks.volatile("run on workhorse")[0]

    def test_what_may(self):
        picture = new_output("display_data", data={"image/png": "aGk/tmp/hijk0x7f12ab34cd56", "text/plain": "<Figure>"})
        text = stream("rho = 0.960, severity 0.5 s01/01, 3 of 400 faces, FMR 1e-3, 192x192")
        assert checks.outputs(new_notebook(cells=[code("1", picture, text)])) == []

    @pytest.mark.parametrize("counts, good", [((1, 2), True), ((2, 1), False), ((1, 3), False), ((1, None), False)])
    def test_one_run_from_the_top(self, counts, good):
        cells = [code("x", count=count) for count in counts] + [code("", count=None)]
        assert (checks.executed_in_order(new_notebook(cells=cells)) == []) == good

    def test_size(self, notebook, project):
        content = catalogue.read(notebook)
        content.cells[2].outputs = [new_output("display_data", data={"image/png": "a" * 701_000})]
        catalogue.write(content, notebook)
        assert any("701 KB" in problem or "702 KB" in problem for problem in checks.problems(notebook, root=project))


class TestForm:
    """The template is right; every part that is taken from it is missed."""

    def test_the_template_is_right(self):
        assert checks.lesson_form(TEMPLATE) + checks.parameters_form(catalogue.read(TEMPLATE)) == []

    @pytest.mark.parametrize(
        "part, word",
        [
            ("# T · Template", "title"),
            ("**You will build**", "You will build"),
            ("**You will learn to**", "You will learn to"),
            ("**Needs**", "Needs"),
            ("**Time**", "Time"),
            ("**Faithful here**", "Faithful here"),
            ("**Simplified here**", "Simplified here"),
            ("## Checkpoint", "Checkpoint"),
            ("<details>", "<details>"),
            ("## Exercises", "Exercises"),
            ("## Recap", "Recap"),
            ("**In practice**", "In practice"),
            ("**References**", "References"),
            ("**Next**", "Next"),
            ("rng = start(SEED)", "start()"),
            ("record(", "record()"),
            ("check(", "check()"),
        ],
    )
    def test_a_part_that_is_missing(self, tmp_path, part, word):
        content = catalogue.read(TEMPLATE)
        assert any(part in cell.source for cell in content.cells)
        for cell in content.cells:
            cell.source = cell.source.replace(part, "replaced(" if part.endswith("(") else "x")
        nbformat.write(content, tmp_path / "_template.ipynb")
        found = checks.lesson_form(tmp_path / "_template.ipynb")
        assert len(found) == 1 and word in found[0]

    def test_sections_in_another_order(self, tmp_path):
        content = catalogue.read(TEMPLATE)
        for cell in content.cells:
            cell.source = cell.source.replace("## Checkpoint", "## X").replace("## Recap", "## Checkpoint")
            cell.source = cell.source.replace("## X", "## Recap")
        nbformat.write(content, tmp_path / "_template.ipynb")
        assert "another order" in checks.lesson_form(tmp_path / "_template.ipynb")[0]

    def test_an_exercise_of_another_notebook(self, tmp_path):
        shutil.copy(TEMPLATE, tmp_path / "07_other.ipynb")
        assert "T.1 does not belong to notebook 7" in checks.lesson_form(tmp_path / "07_other.ipynb")[0]

    @pytest.mark.parametrize(
        "source, word",
        [
            (PARAMETERS.replace("QUICK = False  # c", ""), "QUICK is missing"),
            (PARAMETERS.replace("  # a", ""), "SEED has no comment"),
            (PARAMETERS + "\nN = 2 * 3  # d", "is not NAME = literal"),
            (PARAMETERS + "\nimport os  # d", "is not NAME = literal"),
            (PARAMETERS.replace("False", "True"), "QUICK must be False"),
            (PARAMETERS.replace("bundled", "/data"), "DATA must be"),
        ],
    )
    def test_parameters(self, source, word):
        found = checks.parameters_form(new_notebook(cells=[code(source, tags=["parameters"])]))
        assert len(found) == 1 and word in found[0]

    def test_parameters_may_be_commented_above_and_span_lines(self):
        source = PARAMETERS + "\n# sizes\nSIZES = [\n    1,\n    2,\n]"
        assert checks.parameters_form(new_notebook(cells=[code(source, tags=["parameters"])])) == []

    def test_no_cell_of_parameters(self):
        assert "0 cells" in checks.parameters_form(new_notebook(cells=[code(PARAMETERS)]))[0]

    def test_a_picture_that_is_shown_too_early_is_lost(self):
        early, last = "show(fig, 'a')\nrecord('x', 1)", "record('x', 1)\nshow(fig, 'a')"
        cells = [new_markdown_cell("show(fig, 'a')\n\nText."), code(last), code(early), code("")]
        assert checks.lost_figures(new_notebook(cells=cells)) == [
            "cell 3: show(...) is not its last line, so its picture is lost"
        ]

    def test_solutions_solve_what_is_asked(self, tmp_path):
        save(tmp_path / "02_x.ipynb", code('check("2.1", a)\ncheck("2.2", b)'))
        title, solved = new_markdown_cell("# 02 · X. Solutions"), code('strict_check("2.2", b)\nstrict_check("2.3", c)')
        path = save(tmp_path / "solutions" / "02_x_solutions.ipynb", title, solved)
        assert checks.solution_form(path, tmp_path) == [
            "exercise 2.1 is not solved with strict_check",
            "there is no exercise 2.3 in 02_x.ipynb",
        ]

    def test_solutions_of_no_notebook(self, tmp_path):
        path = save(tmp_path / "solutions" / "02_x_solutions.ipynb", new_markdown_cell("# T"))
        assert "no notebook 02_x.ipynb" in checks.solution_form(path, tmp_path)[0]

    def test_what_is_only_worth_a_look(self, tmp_path):
        path = save(tmp_path / "02_x.ipynb", new_markdown_cell("# x"), code("\n".join(["x = 1"] * 19)))
        assert any("cell 2 has 19 lines" in note for note in checks.notes(path))
        assert checks.notes(TEMPLATE) == []


class TestLinks:
    @pytest.mark.parametrize(
        "link, good",
        [
            ("03_y.ipynb", True),
            ("03_y.ipynb#The-idea", True),
            ("03_y.ipynb#the-idea", True),
            ("#Here", True),
            ("https://example.org/x", True),
            ("04_missing.ipynb", False),
            ("03_y.ipynb#Nowhere", False),
            ("../03_y.ipynb", False),
            ("picture.png", False),
        ],
    )
    def test_links(self, tmp_path, link, good):
        save(tmp_path / "03_y.ipynb", new_markdown_cell("# Y\n## The idea"))
        path = save(
            tmp_path / "02_x.ipynb", new_markdown_cell(f"# X\n## Here\nsee [it]({link}) and `[code](no.ipynb)`")
        )
        found = checks.links(path)
        assert found == [] if good else link in found[0]


class TestComparing:
    @pytest.mark.parametrize(
        "one, other, same",
        [
            ("rho = 0.960", "rho = 0.961", True),
            ("rho = 0.960", "rho = 0.860", False),
            ("rho   0.5\n", "rho 0.5", True),
            ("1,234 faces", "1,234 faces", True),
            ("1,234 faces", "2,234 faces", False),
            ("1.2e-3", "1.3e-3", True),
            ("12 of 400", "19 of 400", False),
            ("right", "wrong", False),
            ("a 1", "a 1 2", False),
            ("-0.000", "0.000", True),
        ],
    )
    def test_text(self, one, other, same):
        assert checks.same_text(one, other) == same

    def test_another_text_and_another_kind_of_output_are_named(self):
        old = new_notebook(cells=[code("1", stream("a = 1.0\nb = 2.0")), code("2", stream("x"))])
        picture = new_output("display_data", data={"image/png": "a"})
        new = new_notebook(cells=[code("1", stream("a = 1.0\nb = 3.0")), code("2", picture)])
        found = checks.differences(old, new)
        assert "cell 1" in found[0] and "'b = 2.0', now 'b = 3.0'" in found[0]
        assert "cell 2: other kinds" in found[1]

    def test_versions_and_random_ids_may_differ(self):
        old = [stream("Python 3.11, numpy 2.4"), new_output("display_data", data={"text/html": "<td id='T_a1b2c'>"})]
        new = [stream("Python 3.14, numpy 3.0"), new_output("display_data", data={"text/html": "<td id='T_d4e5f'>"})]
        assert checks.differences(*[new_notebook(cells=[code("1", *outputs)]) for outputs in (old, new)]) == []


class TestBands:
    BAND = {
        "rho": {"default": [0.5, 1], "quick": [0.3, 1], "above": "base"},
        "base": {"default": [0, 1], "quick": [0, 1]},
    }

    @staticmethod
    def recorded(**values):
        return [{"name": name, "value": value} for name, value in values.items()]

    def test_good(self):
        assert checks.bands(self.recorded(rho=0.9, base=0.2), self.BAND, "default") == []

    @pytest.mark.parametrize(
        "values, mode, word",
        [
            ({"rho": 0.4, "base": 0.2}, "default", "outside its default band"),
            ({"rho": 0.2, "base": 0.1}, "quick", "outside its quick band"),
            ({"rho": 0.6, "base": 0.6}, "default", "is not above base"),
            ({"rho": 0.9}, "default", "base has a band and is not recorded"),
            ({"rho": math.nan, "base": 0.2}, "default", "outside"),
        ],
    )
    def test_bad(self, values, mode, word):
        assert any(word in problem for problem in checks.bands(self.recorded(**values), self.BAND, mode))

    def test_quick_has_its_own_band(self):
        assert checks.bands(self.recorded(rho=0.4, base=0.2), self.BAND, "quick") == []

    def test_below(self):
        band = {name: {"default": [0, 1], "quick": [0, 1]} for name in ("error", "chance")}
        band["error"]["below"] = "chance"
        assert checks.bands(self.recorded(error=0.1, chance=0.5), band, "default") == []
        assert "not below chance" in checks.bands(self.recorded(error=0.6, chance=0.5), band, "default")[0]

    @pytest.mark.parametrize(
        "band",
        [{}, {"default": [0, 1], "quick": [0, 1], "abvoe": "x"}, {"default": [-math.inf, math.inf]}],
    )
    def test_a_band_that_says_too_little_or_is_misspelt(self, band):
        assert checks.bands(self.recorded(n=0.5), {"n": band}, "default") != []

    def test_each_part_of_a_band_may_be_missing(self):
        recorded = self.recorded(error=0.6, chance=0.5)
        assert checks.bands(recorded, {"error": {"default": [0, 1]}}, "quick") == []
        assert "outside its default band" in checks.bands(recorded, {"error": {"default": [0, 0.5]}}, "default")[0]
        assert "not below chance" in checks.bands(recorded, {"error": {"below": "chance"}}, "quick")[0]

    def test_an_endless_band_says_nothing(self):
        band = {"default": [-math.inf, math.inf], "quick": [0, 1]}
        assert "says nothing" in checks.bands(self.recorded(n=0.5), {"n": band}, "default")[0]

    def test_twice(self):
        recorded = self.recorded(rho=0.9, base=0.2) + self.recorded(rho=0.9)
        assert "recorded twice" in checks.bands(recorded, self.BAND, "default")[0]

    def test_what_the_notebook_declares_must_be_true_of_its_committed_numbers(self):
        recorded = [{"name": "n", "value": 2, "high": 1}]
        band = {"n": {"default": [0, 3], "quick": [0, 3]}}
        assert "declares" in checks.bands(recorded, band, "default")[0]
        assert checks.bands(recorded, band, "quick") == []

    def test_no_file_no_bands(self, tmp_path):
        assert checks.read_bands(tmp_path / "none.toml") == {}


class TestExecution:
    """Each of these starts a kernel."""

    def test_an_error_is_named_with_its_cell(self, tmp_path):
        cells = [
            new_markdown_cell("# x"),
            code(PARAMETERS, tags=["parameters"]),
            code("1 / QUICK"),
            code("print('later')"),
        ]
        path = save(tmp_path / "02_x.ipynb", *cells)
        run = execution.execute(path, tmp_path / "out" / "02_x.ipynb", {"QUICK": 0})
        assert run.error == "cell 3 (In [3]): ZeroDivisionError: division by zero"
        assert any("ZeroDivisionError" in problem for problem in checks.outputs(run.notebook))

    def test_warnings_standard_error_and_paths_are_found(self, tmp_path):
        sources = [
            "import warnings\nwarnings.warn('careful')",
            "import sys\nprint('oh', file=sys.stderr)",
            "import os\nprint(os.path.abspath('/tmp/x'))",
        ]
        path = save(tmp_path / "02_x.ipynb", *[code(source) for source in sources])
        run = execution.execute(path, tmp_path / "out.ipynb")
        assert run.error is None
        found = checks.outputs(run.notebook)
        assert [problem.split(":")[0] for problem in found] == ["cell 1", "cell 2", "cell 3"]
        assert "careful" in found[0] and "oh" in found[1] and "a path" in found[2]

    def test_the_wall_limit_ends_a_notebook_and_its_kernel(self, tmp_path):
        # in C for ever: it hears no signal, and lets nothing be sent, so what was printed gets a second to leave first
        deaf = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(1)\nsum(iter(int, 1))"
        path = save(tmp_path / "02_x.ipynb", code("x = 1"), code(deaf))
        begun = time.monotonic()
        run = execution.execute(path, tmp_path / "out.ipynb", wall_limit=5, cell_limit=600)
        assert time.monotonic() - begun < 60
        assert run.error.startswith("cell 2")
        assert run.error.endswith(": the wall limit of 5 s for a notebook has passed")
        kernel = int(run.notebook.cells[1].outputs[0].text)
        assert not alive(kernel)

    def test_a_kernel_that_dies_is_named(self, tmp_path):
        path = save(tmp_path / "02_x.ipynb", code("x = 1"), code("import os\nos._exit(3)"))
        run = execution.execute(path, tmp_path / "out.ipynb")
        assert run.error.startswith("cell 2: DeadKernelError")

    def test_outside_connections_are_refused(self, tmp_path):
        probe = """
import socket, subprocess, sys
def attempt(action):
    try:
        action()
        print("through")
    except OSError as error:
        print("refused" if "outside connections are refused" in str(error) else repr(error))
attempt(lambda: socket.create_connection(("192.0.2.1", 80), timeout=1))
attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM).connect(("2001:db8::1", 80)))
attempt(lambda: socket.getaddrinfo("example.org", 80))
attempt(lambda: socket.gethostbyname("example.org"))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
server = socket.create_server(("127.0.0.1", 0))
attempt(lambda: socket.create_connection(server.getsockname(), timeout=5).close())
attempt(lambda: socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close())
child = "import socket; socket.getaddrinfo('example.org', 80)"
print("refused" in subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stderr)
"""
        path = save(tmp_path / "02_x.ipynb", code(probe))
        run = execution.execute(path, tmp_path / "out.ipynb", offline=True)
        assert run.error is None
        text = "".join(output.text for output in run.notebook.cells[0].outputs)
        assert text.split() == ["refused"] * 5 + ["through"] * 2 + ["True"]

    def test_built_then_checked_with_this_very_python(self, project, monkeypatch):
        """A kernel called python3 that leads elsewhere, in the user's home or on JUPYTER_PATH, is not taken."""
        other = project / "home" / "kernels" / "python3"
        other.mkdir(parents=True)
        (other / "kernel.json").write_text('{"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}')
        monkeypatch.setenv("JUPYTER_PATH", str(project / "home"))
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(project / "home"))
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        test = (
            f"import os, sys\nassert sys.executable == {sys.executable!r}\n"
            "print(os.environ['OMP_NUM_THREADS'], os.environ['PYTHONHASHSEED'], flush=True)\nprint(hash('a') % 1000)"
        )
        path = save(project / "notebooks" / "02_x.ipynb", code(test, tags=["keep"]), code("0.5"), papermill={"a": 1})
        build = commands.build_one(path, project / "built.ipynb", project)
        assert build[2] is None
        committed = catalogue.read(path)
        assert committed.cells[0].outputs[0].text.startswith("2 0\n") and len(committed.cells[0].outputs) == 1
        assert [cell.execution_count for cell in committed.cells] == [1, 2]
        assert set(committed.metadata) == {"kernelspec", "language_info", "fiqa"}
        assert [cell.metadata for cell in committed.cells] == [{"tags": ["keep"]}, {}]
        assert [cell.id for cell in committed.cells] == ["cell-0", "cell-1"]
        assert checks.freshness(path, project) == []
        assert commands.run_again(path, project / "again.ipynb") == []
        committed.cells[1].outputs[0].data["text/plain"] = "0.7"
        catalogue.write(committed, path)
        assert "'0.7', now '0.5'" in commands.run_again(path, project / "again.ipynb")[0]

    def test_a_build_that_is_not_clean_changes_nothing(self, project):
        path = save(project / "notebooks" / "02_x.ipynb", code("import sys\nprint('oh', file=sys.stderr)"))
        before = path.read_bytes()
        assert "standard error" in commands.build_one(path, project / "built.ipynb", project)[2]
        assert path.read_bytes() == before

    def test_the_course_goes_on_after_a_failure_and_says_so(self, tmp_path, monkeypatch, capsys):
        title = "# {} · Name\n\n**You will build** a thing.\n\n**Time**: no time."
        first = save(tmp_path / "01_bad.ipynb", new_markdown_cell(title.format("01")), code("1 / 0"))
        second = save(tmp_path / "02_good.ipynb", new_markdown_cell(title.format("02")), code("1"))
        monkeypatch.setattr(catalogue, "course", lambda: [first, second])
        monkeypatch.setattr(commands, "BUILD", tmp_path / "build")
        assert commands.course(argparse.Namespace(workers=2, measured=False)) == 1
        said = capsys.readouterr().out
        assert "[ 1/2] 01_bad   FAILED" in said and "[ 2/2] 02_good  ok" in said
        assert "2 notebooks, 1 ok, 1 failed" in said
        lessons, everything = map(int, re.search(r"lessons were through after (\d+) s.* after (\d+) s", said).groups())
        assert 0 < lessons <= everything
        assert "FAILED 01_bad: cell 2 (In [1]): ZeroDivisionError: division by zero" in said
        index = (tmp_path / "build" / "book" / "index.html").read_text()
        assert (
            "02 · Name" in index
            and "a thing" in index
            and "no time" in index
            and index.count("failed in the last") == 1
        )
        assert "ZeroDivisionError" in (tmp_path / "build" / "book" / "01_bad.html").read_text()


def die(path, status):
    os._exit(status)


def sleep(path, seconds):
    time.sleep(seconds)
    return path, seconds, None


def alive(process):
    """Whether a process still runs (one that has ended and waits to be collected does not)."""
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


class TestParameters:
    def test_an_unknown_parameter_is_an_error_that_names_it(self, notebook, tmp_path):
        with pytest.raises(execution.UnknownParameter, match="no parameter QUCIK: it has SEED, DATA, QUICK"):
            execution.execute(notebook, tmp_path / "out.ipynb", {"QUCIK": True})

    def test_the_command_says_it_with_its_status(self, notebook, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(catalogue, "select", lambda names: [notebook])
        arguments = commands.parser().parse_args(["run", "02", "-p", "NOPE", "1", "--out", str(tmp_path / "out")])
        assert arguments.run(arguments) == 2
        assert "02_one.ipynb has no parameter NOPE" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "text, value",
        [("True", True), ("7", 7), ("0.5", 0.5), ("bundled", "bundled"), ("[1, 2]", [1, 2]), ("a b", "a b")],
    )
    def test_values(self, text, value):
        assert commands.parameter("X", text) == value

    @pytest.mark.parametrize(
        ("default", "text", "value"),
        [
            ("0", "7", 7),
            ("5_000_000", "5e6", 5_000_000),
            ("0.2", "1", 1.0),
            ("0.2", "7", 7.0),  # that a share is at most 1 only the notebook can say
            ("1e-3", "1e-4", 1e-4),
            ("False", "no", False),
            ("False", "FALSE", False),
            ("True", "0", False),
            ("False", "yes", True),
            ("False", "True", True),
            ("False", "1", True),
            ('"bundled"', "photos", "photos"),
            ('"bundled"', '"5"', "5"),
            ('""', "", ""),
            ("[1]", "[2, 3]", [2, 3]),
            ("[1]", "(2, 3)", [2, 3]),
            ("None", "anything", "anything"),
        ],
    )
    def test_a_value_is_of_the_type_of_its_default(self, project, default, text, value):
        cell = code(f"{PARAMETERS}\nX = {default}  # d", tags=["parameters"])
        path = save(project / "notebooks" / "03_x.ipynb", new_markdown_cell("# 03"), cell)
        fit = execution.fitting(path, {"X": commands.parameter("X", text)})["X"]
        assert fit == value and type(fit) is type(value)

    @pytest.mark.parametrize(
        ("default", "text", "words"),
        [
            ("0", "abc", "X must be a whole number (int), such as its default 0, and not 'abc'"),
            ("0", "1.5", "X must be a whole number (int), such as its default 0, and not 1.5"),
            ("0", "True", "X must be a whole number (int), such as its default 0, and not True"),
            ("0", "1e999", "X must be a whole number"),
            ("0.2", "much", "X must be a number (float), such as its default 0.2, and not 'much'"),
            ("0.2", "nan", "and not 'nan'"),
            ("0.2", "True", "X must be a number (float)"),
            ("False", "maybe", "X must be True or False (bool), such as its default False, and not 'maybe'"),
            ("False", "2", "X must be True or False"),
            ('"bundled"', "5", "X must be text (str), such as its default 'bundled', and not 5; as text: -p X '\"5\"'"),
            ('"bundled"', "None", "and not None"),
            ("[1]", "2", "X must be a list (list), such as its default [1], and not 2"),
        ],
    )
    def test_a_value_of_another_type_is_refused_in_words(
        self, project, tmp_path, monkeypatch, capsys, default, text, words
    ):
        cell = code(f"{PARAMETERS}\nX = {default}  # d", tags=["parameters"])
        path = save(project / "notebooks" / "03_x.ipynb", new_markdown_cell("# 03"), cell)
        monkeypatch.setattr(catalogue, "select", lambda names: [path])
        arguments = commands.parser().parse_args(["run", "03", "-p", "X", text, "--out", str(tmp_path / "out")])
        assert arguments.run(arguments) == 2
        said = capsys.readouterr().out
        assert "03_x.ipynb: X must be" in said and words in said and not (tmp_path / "out").exists()

    def test_a_folder_of_data_is_meant_from_here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photos").mkdir()
        assert commands.parameter("DATA", "photos") == str(tmp_path / "photos")
        assert commands.parameter("DATA", "bundled") == "bundled"

    def test_limits(self):
        limits = execution._Limits(5, 100)
        assert limits(None) == 5 and "a cell" in limits.message()
        limits = execution._Limits(500, 100)
        assert 99 < limits(None) <= 100 and "a notebook" in limits.message()
        assert execution._Limits(5, -1)(None) > 0  # 0 would mean that there is no limit


class TestCatalogue:
    def test_order_and_kinds(self, tmp_path):
        for name in ("02_b", "00_a", "_template", "solutions/00_a_solutions", "notes"):
            save(tmp_path / f"{name}.ipynb")
        assert [p.stem for p in catalogue.course(tmp_path)] == ["00_a", "02_b", "00_a_solutions"]
        assert [p.stem for p in catalogue.everything(tmp_path)][3:] == ["_template"]
        assert [p.stem for p in catalogue.select(["02"], tmp_path)] == ["02_b"]
        assert [p.stem for p in catalogue.select(["00_a"], tmp_path)] == ["00_a"]
        with pytest.raises(SystemExit, match="no notebook is called '09'"):
            catalogue.select(["09"], tmp_path)

    @pytest.mark.parametrize("name, chapter", [("07_x", "7"), ("10_x_solutions", "10"), ("_template", "T")])
    def test_chapter(self, name, chapter):
        assert catalogue.chapter(f"{name}.ipynb") == chapter


class TestGraft:
    def test_volatile_things_stay_behind(self):
        original = new_notebook(cells=[code("x"), new_markdown_cell("y")], metadata={"papermill": 1})
        executed = nbformat.from_dict(original)
        executed.cells[0].metadata["execution"] = {"iopub": "now"}
        executed.cells[0].metadata["tags"] = []
        executed.cells[0].execution_count = 1
        widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "slider"}
        executed.cells[0].outputs = [stream("a"), stream("b"), new_output("display_data", data=widget), stream("c")]
        executed.cells.insert(0, code("QUICK = True", tags=["injected-parameters"]))
        result = execution.graft(original, executed)
        assert [output.get("text") for output in result.cells[0].outputs] == ["ab", None, "c"]
        assert result.cells[0].outputs[1].data == {"text/plain": "slider"}
        assert result.cells[0].metadata == {} and result.cells[0].execution_count == 1
        assert "papermill" not in result.metadata
        nbformat.validate(result)

    def test_another_notebook_is_refused(self):
        with pytest.raises(ValueError, match="other cells"):
            execution.graft(new_notebook(cells=[code("x")]), new_notebook(cells=[code("y")]))


class TestBook:
    def test_formulas(self):
        drawn = book.mathml(
            r"\frac{1}{N}\sum_{i=1}^{N} \operatorname{FNMR}(t), \quad \begin{cases}a & b\\ c & d\end{cases}", "block"
        )
        assert drawn.startswith("<math") and "mfrac" in drawn and "\\" not in drawn

    @pytest.mark.parametrize("formula", [r"\nosuchcommand{x}", r"\frac{a}{b", r"\left( x"])
    def test_a_broken_formula_is_an_error(self, formula):
        with pytest.raises(book.FormulaError):
            book.mathml(formula, "inline")

    def test_pages(self, tmp_path):
        text = "# 0{} · T{}\n\n**You will build** a *thing* with $x_1$.\n\n**Time**: 5 minutes.\n\n"
        answer = "<details><summary>Answer</summary>\n\nIt is $y^2$, see [it](02_b.ipynb#x).\n\n</details>"
        first = save(tmp_path / "01_a.ipynb", new_markdown_cell(text.format(1, 1) + answer), code("x < 1"))
        second = save(tmp_path / "02_b.ipynb", new_markdown_cell(text.format(2, 2)))
        solved = save(tmp_path / "solutions" / "01_a_solutions.ipynb", new_markdown_cell("# S [back](../01_a.ipynb)"))
        index = book.build(
            tmp_path / "book", [first, second, solved], None, {"01_a": (12.3, None), "02_b": (1, "cell 2: no")}
        )
        listed = index.read_text()
        assert "a thing with" in listed and "5 minutes" in listed and "last run: 12 s" in listed
        assert 'Begin with <a href="01_a.html">' in listed and "thumbnail" not in listed
        page = (tmp_path / "book" / "01_a.html").read_text()
        assert "<math" in page and "$" not in page
        assert 'href="02_b.html#x"' in page and 'href="index.html"' in page and "T2 →" in page
        hidden = page[page.index("<details>") : page.index("</details>")]
        assert "It is" in hidden  # the answer is inside, not behind
        assert "cell 2: no" in (tmp_path / "book" / "02_b.html").read_text()
        assert 'href="../01_a.html"' in (tmp_path / "book" / "solutions" / "01_a_solutions.html").read_text()

    def test_the_index_shows_the_first_picture_small(self, tmp_path):
        picture = io.BytesIO()
        Image.new("RGB", (900, 600), (200, 30, 30)).save(picture, "PNG")
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": "picture"}
        cell = code("show()")
        cell["outputs"] = [new_output("display_data", data)]
        path = save(tmp_path / "01_a.ipynb", new_markdown_cell("# T"), cell)
        listed = book.build(tmp_path / "book", [path]).read_text()
        (shown,) = re.findall(r'<img class="thumbnail" alt="" src="data:image/jpeg;base64,([^"]+)">', listed)
        small = Image.open(io.BytesIO(base64.b64decode(shown)))
        assert small.size == (220, 147)

    def test_pictures_beside_a_notebook_are_taken_into_the_page(self, tmp_path):
        (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        path = save(tmp_path / "01_a.ipynb", new_markdown_cell("# T\n\n![dot](dot.png)"))
        book.build(tmp_path / "book", [path])
        assert "data:image/png;base64" in (tmp_path / "book" / "01_a.html").read_text()

    def test_the_last_run_is_shown_only_when_it_is_of_this_code(self, tmp_path):
        path = save(tmp_path / "01_a.ipynb", code("x"))
        save(tmp_path / "course" / "01_a.ipynb", code("x", stream("shown")))
        assert book.newest(path, tmp_path / "course").cells[0].outputs[0].text == "shown"
        save(tmp_path / "course" / "01_a.ipynb", code("y", stream("old")))
        assert book.newest(path, tmp_path / "course").cells[0].outputs == []

    @pytest.mark.parametrize(
        "page, count",
        [
            ('<a href="https://x.org">x</a><img src="data:image/png;base64,//x">', 0),
            ('<script src="https://x.org/a.js"></script>', 1),
            ('<link href="//x.org/a.css">', 1),
            ("<style>body { background: url(https://x.org/a.png) }</style>", 1),
        ],
    )
    def test_what_is_fetched_from_elsewhere(self, page, count):
        assert len(book.foreign(page)) == count


class TestEnvironment:
    def test_an_old_python_is_told_what_to_do(self, tmp_path):
        """nb.py as an old Python runs it: a message, no traceback, another status."""
        old = "import sys, runpy; sys.version_info = (3, 8, 18); runpy.run_path(sys.argv[1], run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", old, ROOT / "tools" / "nb.py"], capture_output=True, text=True)
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
        assert "Python 3.11 to 3.14 is needed, this is 3.8" in done.stderr and "make PYTHON=python3.12" in done.stderr

    @pytest.mark.parametrize(
        "version, fit", [((3, 10), 0), ((3, 11, 0), 1), ((3, 14, 9), 1), ((3, 15), 0), ((2, 7), 0)]
    )
    def test_pythons_that_have_all_wheels(self, version, fit):
        assert (nb.unfit(version) is None) == bool(fit)

    def test_the_metadata_ask_for_the_same_pythons(self):
        metadata = (ROOT / "pyproject.toml").read_text()
        assert f'requires-python = ">=3.{nb.OLDEST[1]},<3.{nb.NEWEST[1] + 1}"' in metadata

    def test_nb_parses_on_old_pythons(self):
        """Only syntax that Python 2.7 has: no annotations, f-strings, keyword-only arguments, walrus, match, async."""
        tree = ast.parse((ROOT / "tools" / "nb.py").read_text())
        new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match, ast.AsyncFunctionDef, ast.Nonlocal, ast.Starred)
        for node in ast.walk(tree):
            assert not isinstance(node, new), ast.unparse(node)
            if isinstance(node, ast.arguments):
                assert not node.kwonlyargs and not node.posonlyargs
                assert not any(argument.annotation for argument in node.args)
        assert (ROOT / "tools" / "nb.py").read_text().isascii()

    @pytest.mark.parametrize(
        "stderr, words",
        [
            (
                "ImportError: libGL.so.1: cannot open shared object file: No such file",
                ["apt-get install libgl1", "mesa-libGL"],
            ),
            ("ImportError: libgthread-2.0.so.0: cannot open shared object file", ["libglib2.0-0", "dnf install"]),
            ("ImportError: libodd.so.3: cannot open shared object file", ["libodd.so", "package of your system"]),
            ("ImportError: DLL load failed while importing cv2", ["Visual C++ Redistributable"]),
            ("Traceback\n  File x\nImportError: something else", ["something else"]),
        ],
    )
    def test_a_missing_library_is_named_with_its_remedy(self, stderr, words):
        sentence = environment.explain("cv2", stderr)
        assert "cv2" in sentence and "\n" not in sentence and all(word in sentence for word in words)

    def test_preflight(self):
        here = Path(sys.prefix)
        environment.preflight(here, {"math": "import math"})
        broken = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
        with pytest.raises(SystemExit, match="apt-get install libgl1"):
            environment.preflight(here, {"cv2": broken})

    def test_no_ensurepip(self, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(SystemExit, match=r"apt-get install python3\.\d+-venv"):
            environment._create(tmp_path / ".venv")

    @pytest.fixture
    def installed(self, tmp_path, monkeypatch):
        """A project whose environment is pretended to be there; `calls` lists what pip is asked for."""
        for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt", "pyproject.toml"):
            (tmp_path / name).write_text(name)
        venv = tmp_path / ".venv"
        place = environment.venv_python(venv)
        place.parent.mkdir(parents=True)
        place.touch()
        calls = []
        monkeypatch.setattr(environment, "_works", lambda venv: True)
        monkeypatch.setattr(environment, "preflight", lambda venv: None)
        monkeypatch.setattr(environment, "_fetch", lambda root, venv: None)
        monkeypatch.setattr(environment, "_pip", lambda venv, *arguments: calls.append(arguments) or 0)
        return tmp_path, venv, calls

    def test_setup_is_done_once(self, installed):
        root, venv, calls = installed
        environment.setup(root, venv)
        assert len(calls) == 2 and "-c" in calls[0] and "--no-deps" in calls[1]
        environment.setup(root, venv)
        assert len(calls) == 2

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "constraints.txt", "pyproject.toml"])
    def test_and_again_when_its_lists_change(self, installed, name):
        root, venv, calls = installed
        environment.setup(root, venv)
        (root / name).write_text("changed")
        assert not environment.is_ready(root, venv)
        environment.setup(root, venv)
        assert len(calls) == 4

    def test_the_ranges_are_tried_where_the_tested_versions_fail(self, installed, monkeypatch, capsys):
        root, venv, calls = installed
        monkeypatch.setattr(environment, "_pip", lambda venv, *a: calls.append(a) or int("-c" in a))
        environment.setup(root, venv)
        assert [("-c" in a) for a in calls] == [True, False, False]
        assert "do not install here" in capsys.readouterr().out

    def test_a_failed_installation_leaves_no_stamp(self, installed, monkeypatch):
        root, venv, _ = installed
        monkeypatch.setattr(environment, "_pip", lambda venv, *a: 1)
        with pytest.raises(SystemExit, match="pip could not install"):
            environment.setup(root, venv)
        assert not environment.is_ready(root, venv)

    def test_the_makefile_has_the_commands(self):
        listed = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("COMMANDS"))
        text = commands.parser().format_help()
        for name in listed.partition(":=")[2].split():
            assert f"    {name} " in text


class TestCommands:
    def test_clean(self, tmp_path, monkeypatch):
        kept = ["fiqa_lib/a.py", "data/cache/x", ".venv/y", "notebooks/a.ipynb"]
        made = ["build/x", "fiqa_lib/__pycache__/x", "notebooks/solutions/.ipynb_checkpoints/x", ".pytest_cache/x"]
        for name in kept + made:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        monkeypatch.setattr(commands, "ROOT", tmp_path)
        monkeypatch.setattr(commands, "BUILD", tmp_path / "build")
        commands.clean(argparse.Namespace(all=False))
        assert [name for name in kept + made if (tmp_path / name).exists()] == kept

    def test_a_process_that_dies_is_reported_and_nothing_hangs(self, tmp_path, capsys):
        jobs = [(Path("01_dies.ipynb"), 9), (Path("02_too.ipynb"), 9)]
        rows = commands._side_by_side(die, jobs, 1)
        assert [row[0].stem for row in rows] == ["01_dies", "02_too"] and all("killed" in row[2] for row in rows)
        assert "01_dies  FAILED" in capsys.readouterr().out

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
    def test_what_is_ended_or_killed_leaves_nothing_that_goes_on(self, number):
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
            "from pathlib import Path; import test_tools; from tools import commands\n"
            "commands._side_by_side(test_tools.sleep, [(Path('a'), 600), (Path('b'), 600), (Path('c'), 600)], 2)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout.read(1) == b"["  # the first has been announced
            deadline = time.monotonic() + 60
            while len(psutil.Process(process.pid).children()) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            process.communicate(timeout=60)
        assert process.returncode != 0
        psutil.wait_procs(children, 30)
        assert not any(alive(child.pid) for child in children)

    @pytest.mark.parametrize("cores, expected", [(1, 1), (2, 2), (3, 2), (6, 3), (64, 4)])
    def test_processes_side_by_side(self, monkeypatch, cores, expected):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
        assert environment.workers() == expected

    @pytest.mark.parametrize("lint, pytest_, status", [(0, 0, 0), (1, 0, 1), (0, 5, 5), (0, 1, 1)])
    def test_the_status_of_test(self, monkeypatch, lint, pytest_, status):
        monkeypatch.setattr(commands, "lint", lambda arguments: lint)
        monkeypatch.setattr(commands, "_call", lambda *arguments: pytest_)
        assert commands.test(commands.parse(["test"])) == status

    def test_arguments_for_others_are_handed_on(self, monkeypatch):
        called = []
        monkeypatch.setattr(commands, "lint", lambda arguments: 0)
        monkeypatch.setattr(commands, "_call", lambda *arguments: called.append(arguments))
        for words in (["test", "tests/test_x.py", "-k", "name"], ["lab", "--no-browser", "--port", "1"]):
            arguments = commands.parse(words)
            arguments.run(arguments)
        assert called[0][:3] == ("-m", "pytest", "-n") and called[0][-3:] == ("tests/test_x.py", "-k", "name")
        assert called[1][-3:] == ("--no-browser", "--port", "1")
        with pytest.raises(SystemExit):
            commands.parse(["course", "--fast"])

    def test_lint_sees_rules_and_format(self, tmp_path, monkeypatch):
        monkeypatch.setattr(commands, "ROOT", tmp_path)
        (tmp_path / "a.py").write_text("x = 1\n")
        assert commands.lint(argparse.Namespace(fix=False)) == 0
        (tmp_path / "a.py").write_text("x   =  1\n")
        assert commands.lint(argparse.Namespace(fix=False)) != 0
        (tmp_path / "a.py").write_text("import os\n")
        assert commands.lint(argparse.Namespace(fix=False)) != 0
        (tmp_path / "a.py").unlink()
        save(tmp_path / "b.ipynb", code("import os"))
        assert commands.lint(argparse.Namespace(fix=False)) != 0

    def test_ci_calls_make_test_and_nothing_after_it(self):
        script = (ROOT / ".ci" / "run").read_text()
        assert script.rstrip().endswith("exec make test")
        assert os.access(ROOT / ".ci" / "run", os.X_OK)


class TestBenchmarks:
    def test_all_are_collected_and_a_failure_is_a_row(self, tmp_path, capsys):
        (tmp_path / "bench_a.py").write_text(
            "def rows():\n    return [dict(name='speed', value=30, unit='faces/s', target='>= 25', ok=True)]\n"
        )
        assert benchmarks.main(tmp_path, tmp_path / "out.csv") == 0
        (tmp_path / "bench_b.py").write_text("def rows():\n    return [dict(name='n', value=1.5)]\n")
        (tmp_path / "bench_c.py").write_text("def rows():\n    raise OSError('no data')\n")
        assert benchmarks.main(tmp_path, tmp_path / "out.csv") == 1
        said = capsys.readouterr().out
        assert "OSError: no data" in said and "MISSED" in said
        lines = (tmp_path / "out.csv").read_text().splitlines()
        assert lines[0] == "benchmark,name,value,unit,target,ok"
        assert lines[1] == "a,speed,30.0,faces/s,>= 25,True" and lines[2] == "b,n,1.5,,,"

    def test_a_missed_target_is_the_status(self, tmp_path):
        row = "dict(name='speed', value=20, unit='faces/s', target='>= 25', ok=False)"
        (tmp_path / "bench_a.py").write_text(f"def rows():\n    return [{row}]\n")
        assert benchmarks.main(tmp_path, tmp_path / "out.csv") == 1
