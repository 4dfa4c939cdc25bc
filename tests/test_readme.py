"""What README.md says of the benchmark, without its tables, with them, and with half of them."""

from pathlib import Path

import pytest
from PIL import Image

from tools import readme

COLUMNS = (
    "method,network,verifier,same_model,limit,oracle_scaled,low,high,starting_error,n_mated,n_people,verdict,learns,"
    "ms_per_face,status,reason\n"
)
LFW = (
    COLUMNS
    + """plain,,dlib,False,0.2,0.93,0.9,0.97,0.03,4690,543,worse,False,0.04321,ok,
plain,,mobilefacenet,False,0.2,0.83,0.8,0.87,0.01,4690,543,cannot tell,False,0.04321,ok,
plain,,dlib,False,0.3,0.5,0.4,0.6,0.03,4690,543,worse,False,0.04321,ok,
taught,dlib,dlib,True,0.2,0.1,0.0,0.2,0.03,4690,543,better,True,12.345,ok,
taught,dlib,mobilefacenet,False,0.2,0.714,0.66,0.76,0.01,4690,543,better,True,12.345,ok,
taught,mobilefacenet,dlib,False,0.2,0.65,0.6,0.7,0.03,4690,543,better,True,5.5,ok,
ruler,,dlib,False,0.2,0.8,0.7,0.9,0.03,4690,543,reference,False,0.5,ok,
ruler,,mobilefacenet,False,0.2,0.81,0.7,0.9,0.01,4690,543,reference,False,0.5,ok,
broken,dlib,,,,,,,,,,,False,,failed,RuntimeError: out of luck
"""
)
ORL = COLUMNS + "".join(
    line + "\n" for line in LFW.replace("4690,543", "1400,20").splitlines()[1:] if not line.startswith("ruler")
)
FAMILIES = """method,network,verifier,limit,known,left_out,verdict
taught,dlib,dlib,0.2,0.5,0.55,better
taught,dlib,mobilefacenet,0.2,0.6,0.75,cannot tell
"""


@pytest.fixture
def results(monkeypatch, tmp_path):
    """A README without a benchmark beside an empty folder of results."""
    page = tmp_path / "README.md"
    page.write_text(readme.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", page)
    monkeypatch.setattr(readme, "FIGURE", tmp_path / "tour.jpg")
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    readme.write()
    return tmp_path


def put(folder, lfw=LFW, orl=ORL):
    for name, table, text in (("lfw", "table", lfw), ("orl-d", "table", orl), ("orl-d", "families", FAMILIES)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{table}.csv").write_text(text)


def test_without_tables_the_page_says_what_makes_them(results):
    text = readme.README.read_text(encoding="utf-8")
    for name in ("lfw", "orl-d"):
        assert f"`python -m fiqa_lib benchmark --data {name} --out data/results/{name}`" in text
    assert "benchmark.png" not in text
    assert readme.stale() == [] and not (results / "benchmark.png").exists()


def test_the_table_holds_what_was_measured_by_the_other_network_best_first(results):
    put(results)
    rows = [line for line in readme.benchmark().splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| taught | 0.65 [0.60, 0.70] **b** | 0.71 [0.66, 0.76] **b** | 0.65 [0.60, 0.70] **b** | "
        "0.71 [0.66, 0.76] **b** | 0.75 | yes | 5.5 |",
        "| ruler | 0.80 [0.70, 0.90] | 0.81 [0.70, 0.90] |  |  |  | no | 0.5 |",
        "| plain | 0.93 [0.90, 0.97] w | 0.83 [0.80, 0.87] | 0.93 [0.90, 0.97] w | 0.83 [0.80, 0.87] |  | no | 0.043 |",
    ]
    said = readme.benchmark()
    assert "LFW: 4,690 mated pairs of 543 people, 3.0% (dlib) and 1.0% (mobilefacenet) fail" in said
    assert "Better on LFW by both networks: taught." in said
    assert "Still better than ruler there: none; no longer, or never: taught." in said
    assert said.rstrip().endswith("Without numbers: broken (RuntimeError: out of luck).")


def test_page_and_figure_are_stale_until_they_are_written_anew(results):
    put(results)
    assert len(readme.stale()) == 2
    readme.write()
    assert readme.stale() == []
    with Image.open(results / "benchmark.png") as image:
        assert image.width > 400
    put(results, lfw=LFW.replace("0.714", "0.724"))
    assert len(readme.stale()) == 2
    for name in ("lfw", "orl-d"):
        (results / name / "table.csv").unlink()
    assert len(readme.stale()) == 2  # the figure of a benchmark that is gone is not left lying about
    readme.write()
    assert readme.stale() == [] and not (results / "benchmark.png").exists()


def test_one_benchmark_without_the_other_is_refused(results):
    put(results)
    (results / "lfw" / "table.csv").unlink()
    with pytest.raises(ValueError, match="table.csv is missing.*python -m fiqa_lib benchmark --data lfw"):
        readme.write()


def test_the_tables_are_those_that_the_benchmark_writes():
    """Columns by which the page finds its numbers; the benchmark's own tests hold the rest."""
    from fiqa_lib.apps.protocol_tables import COLUMNS as WRITTEN

    assert set(COLUMNS.strip().split(",")) <= set(WRITTEN)


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
