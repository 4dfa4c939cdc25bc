"""What README.md says of the benchmark, without its tables, with them, and with half of them."""

from pathlib import Path

import pytest
from PIL import Image

from tools import readme

AREAS = """method,limit,pauc,low,high,starting_error,n_mated,n_identities
plain,0.2,0.93,0.9,0.97,0.25,9500,20
plain,0.3,0.5,0.4,0.6,0.25,9500,20
taught,0.2,0.714,0.66,0.76,0.25,9500,20
useless,0.2,1.01,1.02,1.05,0.25,9500,20
random,0.2,1.0,0.98,1.02,0.25,9500,20
oracle,0.2,0.6,0.55,0.65,0.25,9500,20
"""
METHODS = """method,learns,cost,ms_per_face,n_missing,status,reason
plain,False,one mean,0.04321,0,ok,
taught,True,a network,12.345,0,ok,
useless,False,none,0.01,0,ok,
broken,False,none,,0,failed,RuntimeError: out of luck
"""


@pytest.fixture
def results(monkeypatch, tmp_path):
    """A README without a benchmark beside an empty folder of results."""
    page = tmp_path / "README.md"
    page.write_text(readme.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", page)
    monkeypatch.setattr(readme, "FIGURE", tmp_path / "tour.png")
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    readme.write()
    return tmp_path


def put(folder, areas=AREAS, methods=METHODS):
    (folder / "benchmark_areas.csv").write_text(areas)
    (folder / "benchmark_methods.csv").write_text(methods)


def test_without_tables_the_page_says_what_makes_them(results):
    text = readme.README.read_text(encoding="utf-8")
    assert "`python -m fiqa_lib benchmark --out data/results`" in text and "benchmark.png" not in text
    assert readme.stale() == [] and not (results / "benchmark.png").exists()


def test_the_table_holds_what_was_measured_best_first(results):
    put(results)
    rows = [line for line in readme.benchmark().splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| oracle | 0.60 | 0.55 to 0.65 |  |  |",
        "| taught | 0.71 | 0.66 to 0.76 | yes | 12.3 |",
        "| plain | 0.93 | 0.90 to 0.97 | no | 0.0432 |",
        "| random | 1.00 | 0.98 to 1.02 |  |  |",
        "| useless | 1.01 | 1.02 to 1.05 | no | 0.01 |",
    ]
    said = readme.benchmark()
    assert "3 methods on the same 9,500 mated pairs of 20 people" in said and "chance for 2 of the methods" in said
    assert said.rstrip().endswith("Without scores in this run: broken.")


def test_page_and_figure_are_stale_until_they_are_written_anew(results):
    put(results)
    assert len(readme.stale()) == 2
    readme.write()
    assert readme.stale() == []
    with Image.open(results / "benchmark.png") as image:
        assert image.width > 400
    put(results, areas=AREAS.replace("0.714", "0.724"))
    assert len(readme.stale()) == 2
    for name in ("areas", "methods"):
        (results / f"benchmark_{name}.csv").unlink()
    assert len(readme.stale()) == 2  # the figure of a benchmark that is gone is not left lying about
    readme.write()
    assert readme.stale() == [] and not (results / "benchmark.png").exists()


def test_one_table_without_the_other_is_refused(results):
    put(results)
    (results / "benchmark_methods.csv").unlink()
    with pytest.raises(ValueError, match="benchmark_methods.csv is missing.*python -m fiqa_lib benchmark"):
        readme.write()


def test_the_tables_are_those_that_the_benchmark_writes(results):
    """Columns by which the page finds its numbers; the benchmark's own tests hold the rest."""
    from fiqa_lib.apps import benchmark

    given = benchmark.protocol(photographs=3, copies=1)
    made = benchmark.run(given, ["sharpness", "brightness"])
    similarity = benchmark.similarities(given, others=())
    areas = benchmark.tables(given, made, similarity, n_draws=10)["areas"]
    assert set(AREAS.splitlines()[0].split(",")) <= set(areas.columns)
    assert list(made.methods.columns) == METHODS.splitlines()[0].split(",")


def test_times_of_the_course(results, monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "TIMES", tmp_path / "course.csv")
    assert "Not measured yet" in readme.times()
    rows = [
        (Path("01_a.ipynb"), 60.04, None),
        (Path("02_b.ipynb"), 120.0, None),
        (Path("01_a_solutions.ipynb"), 20.0, "x"),
    ]
    readme.write_times(rows, 90, 150)
    assert (tmp_path / "course.csv").read_text().splitlines()[1:] == [
        "01_a,60.0",
        "02_b,120.0",
        "01_a_solutions,20.0",
        '"lessons, by the clock",90.0',
        '"all, by the clock",150.0',
    ]
    said = readme.times()
    assert "took 2 minutes: after 2 the 2 lessons were through, after 2 the 1 solutions too" in said
    assert said.endswith("02_b 120, 01_a 60, 01_a_solutions 20.\n")
