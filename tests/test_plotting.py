import io
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fiqa_lib import evaluation
from fiqa_lib.course import plotting
from fiqa_lib.errors import DataError
from fiqa_lib.evaluation import verification


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    mated = np.arange(4000) < 1000
    quality = rng.uniform(size=(2, 4000))
    similarity = np.where(mated, quality.min(0) + 0.3 * rng.normal(size=4000), -1 + 0.3 * rng.normal(size=4000))
    return similarity, mated, quality


def texts(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def picture(shown):
    return Image.open(io.BytesIO(shown.data))


def test_edc_says_all_that_a_reader_must_know(scores):
    similarity, mated, quality = scores
    curves = {
        "good": evaluation.edc(similarity, mated, *quality, fmr=0.01),
        "chance": evaluation.edc(similarity, mated, *quality[:, ::-1], fmr=0.01),
    }
    figure = plotting.edc(curves, intervals={"good": (0.1, 0.2)}, limit=0.3)
    said = texts(figure)
    for needed in ("random", "oracle", "good", "[0.10, 0.20]", "fixed threshold", "starting error", "1,000 mated"):
        assert needed in said, needed
    assert picture(plotting.show(figure, "curves")).format == "PNG"


def test_edc_names_the_area_that_its_intervals_are_of(scores):
    similarity, mated, quality = scores
    curve = evaluation.edc(similarity, mated, *quality, fmr=0.01)
    first = np.arange(len(mated)) % 20
    persons = first, np.where(mated, first, (first + 1) % 20)
    rules = {"fmr": 0.01, "n_draws": 20, "random_state": 0, "limit": 0.2}
    for kind, words in (("normalised", "normalised pAUC up to 20%"), ("oracle", "oracle-scaled area")):
        interval = evaluation.bootstrap_pauc(similarity, mated, *quality, *persons, kind=kind, **rules)
        said = texts(plotting.edc({"good": curve}, intervals={"good": interval}, limit=0.2))
        assert words in said and f"good: {interval.estimate:.2f} [" in said
    with pytest.raises(DataError, match="another area"):
        plotting.edc({"good": curve}, intervals={"good": interval}, limit=0.3)


def test_edc_refuses_curves_that_cannot_be_compared(scores):
    similarity, mated, quality = scores
    fixed = evaluation.edc(similarity, mated, *quality, fmr=0.01)
    refit = evaluation.edc(similarity, mated, *quality, fmr=0.01, convention="refit")
    with pytest.raises(DataError, match="can't share"):
        plotting.edc({"a": fixed, "b": refit})
    with pytest.raises(DataError, match="no curve"):
        plotting.edc({})


def test_photographs_are_jpeg_and_charts_png(orl):
    grid = plotting.face_grid(list(orl.images[:5]), ["a\nb"] * 5, columns=3, row_labels=["x", "y"], title="faces")
    assert picture(plotting.show(grid, "five faces")).format == "JPEG"
    chart = plotting.lines([0, 1], {"a": [1, 2]}, xlabel="x", ylabel="y")
    assert picture(plotting.show(chart, "a line")).format == "PNG"


def test_lines_differ_in_more_than_colour():
    styles = [plotting.line_style(i) for i in range(24)]
    assert len({str(s) for s in styles}) == 24
    assert len({str(s["linestyle"]) for s in styles[:6]}) == 6


def test_global_settings_are_left_alone(scores, orl):
    before = dict(matplotlib.rcParams)
    similarity, mated, _ = scores
    plotting.similarity_histogram(similarity, mated, threshold=0.0)
    plotting.det({"a": verification.det_curve(similarity, mated)})
    plotting.face_grid(list(orl.images[:2]))
    assert dict(matplotlib.rcParams) == before


def test_same_figure_same_bytes(scores):
    def make():
        return plotting.show(plotting.lines([0, 1], {"a": [1, 2]}, xlabel="x", ylabel="y"), "alt").data

    assert make() == make()


def test_face_grid_refuses_what_does_not_fit(orl):
    with pytest.raises(DataError, match="no picture"):
        plotting.face_grid([])
    with pytest.raises(DataError, match="titles"):
        plotting.face_grid(list(orl.images[:2]), ["one"])


def test_matrix_writes_what_is_large_enough():
    table = pd.DataFrame([[3.0, -60.0, np.nan], [90.0, 4.9, 5.0]], index=["a", "b"], columns=["x", "y", "z"])
    axis = plotting.matrix(table, label="points", limit=100, written=5).axes[0]
    written = {tuple(map(int, text.get_position())): text.get_text() for text in axis.texts if text.get_text()}
    assert written == {(1, 0): "-60", (0, 1): "90", (2, 1): "5"}
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    assert plotting.matrix(table, label="points").axes[0].collections[0].get_clim() == (-90, 90)


def test_intervals_stand_in_the_order_of_the_table():
    table = pd.DataFrame({"area": [0.8, 1.0], "low": [0.7, 0.9], "high": [0.95, 1.2]}, index=["good", "idle"])
    fig = plotting.intervals(table, xlabel="area", groups={"good": "ours", "idle": "theirs"})
    axis = fig.axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["good", "idle"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first row is at the top
    ends = [bar.get_segments()[0][:, 0].tolist() for container in axis.containers for bar in container[2]]
    np.testing.assert_allclose(ends, [[0.7, 0.95], [0.9, 1.2]])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["ours", "theirs"]


def test_same_and_cross_model_have_one_colour_each_whichever_comes_first():
    table = pd.DataFrame({"area": [0.8, 1.0], "low": [0.7, 0.9], "high": [0.95, 1.2]}, index=["a", "b"])
    colours = []
    for groups in ({"a": "cross model", "b": "same model"}, {"a": "same model", "b": "cross model"}):
        axis = plotting.intervals(table, xlabel="area", groups=groups).axes[0]
        colours.append({bars.get_label(): bars.lines[0].get_color() for bars in axis.containers})
    assert colours[0] == colours[1] and len(set(colours[0].values())) == 2


def test_a_timeline_names_each_reason_once_even_if_a_panel_lacks_it():
    table = pd.DataFrame({"time_s": [0.0, 1.0, 2.0], "status": ["ok", "no_face", "refused"]})
    table = table.assign(first=[1.0, np.nan, 3.0], second=[1.0, np.nan, np.nan])
    fig = plotting.timeline(table, {"first": "one", "second": "two"})
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["no face", "refused"]
    marks = [line for axis in fig.axes for line in axis.lines if line.get_label() == "no face"]
    assert len(marks) == 2 and len({(line.get_color(), line.get_marker()) for line in marks}) == 1


def test_an_interval_that_does_not_hold_its_estimate_ends_there():
    table = pd.DataFrame({"area": [0.8, 0.2], "low": [0.82, 0.1], "high": [0.9, 0.15]}, index=["above", "below"])
    axis = plotting.intervals(table, xlabel="area").axes[0]
    ends = [part[:, 0].tolist() for container in axis.containers for bar in container[2] for part in bar.get_segments()]
    np.testing.assert_allclose(ends, [[0.8, 0.9], [0.1, 0.2]])


def test_the_command_line_plots_without_what_only_notebooks_need():
    code = (
        "import sys, fiqa_lib.course.plotting; print(*sorted({'seaborn', 'ipywidgets', 'IPython'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
