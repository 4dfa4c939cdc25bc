"""The playground: which methods it takes, what its sliders do, and the panel in JupyterLab in a real browser."""

import json
import os
import subprocess
import sys
import time

import cv2
import nbformat
import numpy as np
import pytest
from browser import Browser, needs_browser
from scipy.stats import percentileofscore

from fiqa_lib.course import playground as module
from fiqa_lib.course.playground import Playground, fast_scorers, percentile
from fiqa_lib.scorers import SCORERS, Scorer
from fiqa_lib.transforms import KINDS, degrade
from tools.environment import ROOT

NOTEBOOK = ROOT / "notebooks" / "23_playground.ipynb"


@pytest.fixture(scope="module")
def panel(orl):
    names = ("sharpness", "brightness", "contrast")
    return Playground(orl[:12], {name: SCORERS[name]() for name in names})


@pytest.fixture(autouse=True)
def fresh(request):
    if "panel" in request.fixturenames:
        playground = request.getfixturevalue("panel")
        playground.face.value = 0
        playground.reset()


def test_percentile_is_that_of_scipy():
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 9, 30).astype(float)
    scores = np.array([-np.inf, 0.0, 3.5, 4.0, 8.0, 99.0])
    np.testing.assert_allclose(percentile(scores, clean), percentileofscore(clean, scores, kind="mean"))
    assert percentile(4.0, clean) == percentileofscore(clean, 4.0, kind="mean")


def made(costs, monkeypatch):
    """Scorers whose measured cost is what we say; one of them learns and would be the cheapest."""

    def scorer(name, learns=False):
        def score(self, images, faces):
            if learns:
                raise AssertionError("a method that learns was called")
            return np.zeros(len(images))

        return type(name, (Scorer,), {"name": name, "learns": learns, "_score": score})

    monkeypatch.setattr(module, "_seconds", lambda each, face: costs[each.name])
    return {"learner": scorer("learner", learns=True)} | {name: scorer(name) for name in costs}


def test_fast_is_what_was_measured_to_be_fast(orl, monkeypatch):
    scorers = made({"costly": 0.5, "cheap": 0.01, "middle": 0.1, "next": 0.12}, monkeypatch)
    chosen, costs = fast_scorers(orl[:1], budget=0.2, scorers=scorers)
    assert list(chosen) == ["cheap", "middle"] and set(costs) == {"costly", "cheap", "middle", "next"}
    assert list(fast_scorers(orl[:1], budget=1, scorers=scorers)[0]) == ["cheap", "middle", "next", "costly"]
    assert fast_scorers(orl[:1], budget=0.001, scorers=scorers)[0] == {}


def test_registered_methods_come_by_themselves(orl):
    chosen, costs = fast_scorers(orl[:1], budget=1e9, repeats=1)
    assert set(chosen) == set(costs) == {name for name, cls in SCORERS.items() if not (cls.learns or cls.needs_weights)}


def test_one_slider_does_what_the_library_does(panel, orl):
    assert list(panel.sliders) == list(KINDS)
    np.testing.assert_array_equal(panel.image, orl.images[0])
    for kind in ("occlusion", "sensor_noise"):
        panel.reset()
        panel.sliders[kind].value = 0.6
        expected = degrade(orl[:1], kind, 0.6, random_state=0)
        np.testing.assert_array_equal(panel.image, expected.images[0])
        assert panel.scores["sharpness"] == SCORERS["sharpness"]().score_samples(expected)[0]


def test_kinds_act_in_the_order_of_a_photograph_whichever_slider_moved_first(panel, orl):
    panel.sliders["jpeg"].value = 0.8
    panel.sliders["gaussian_blur"].value = 0.5
    expected = degrade(degrade(orl[:1], "gaussian_blur", 0.5, random_state=0), "jpeg", 0.8, random_state=0)
    np.testing.assert_array_equal(panel.image, expected.images[0])


def test_picture_and_bars_show_what_was_computed(panel, orl):
    panel.face.value = 3
    panel.sliders["low_light"].value = 0.7
    shown = cv2.imdecode(np.frombuffer(panel._picture.value, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    expected = degrade(orl[[3]], "low_light", 0.7, random_state=0).images[0]
    large = cv2.resize(expected, (module.PICTURE, module.PICTURE), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(shown, large)
    assert panel.percentiles["brightness"] < 10
    for name, value in panel.percentiles.items():
        assert f'data-method="{name}" data-percentile="{value:.1f}"' in panel._bars.value


def test_reset_updates_once(panel, monkeypatch):
    for slider in panel.sliders.values():
        slider.value = 0.1
    updates = []
    monkeypatch.setattr(panel, "_draw", updates.append)
    panel.button.click()
    assert len(updates) == 1 and all(slider.value == 0 for slider in panel.sliders.values())


# ------------------------------------------------------------------------------------------------------- in JupyterLab


def beginning(path):
    """The notebook up to its panel, as a quick run."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if "display(playground.panel)" in cell.source)
    notebook.cells = notebook.cells[: last + 1]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = cell.source.replace("QUICK = False", "QUICK = True")
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


class Lab:
    """A JupyterLab server on a folder, for the time of a `with`; `address` has its token."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "lab.log"

    def __enter__(self):
        home = {name: str(self.folder / name.lower()) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
        home |= {"JUPYTERLAB_SETTINGS_DIR": str(self.folder / "s"), "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "w")}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--ServerApp.port=0"]
        command += ["--allow-root", f"--ServerApp.root_dir={self.folder}", "--LabApp.expose_app_in_browser=True"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | home)
        end, runtime = time.monotonic() + 60, self.folder / "jupyter_runtime_dir"
        while time.monotonic() < end and self.process.poll() is None:
            for file in runtime.glob("jpserver-*.json"):
                try:
                    said = json.loads(file.read_text())
                except ValueError:  # it is being written
                    continue
                self.address = f"{said['url']}lab/tree/playground.ipynb?token={said['token']}"
                return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"JupyterLab did not start: {self.log.read_text()[-2000:]}")

    def __exit__(self, *error):
        self.process.terminate()  # it ends its kernels
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


OPENED = "Array.from(jupyterapp.shell.widgets('main')).find(w => w.context?.path === 'playground.ipynb')"
BAR = "document.querySelector('.fiqa-bars tr[data-method=sharpness]')?.dataset.percentile"
HANDLES = "Array.from(document.querySelectorAll('.widget-slider')).find(e => e.textContent.includes('gaussian blur'))"


@needs_browser
def test_in_jupyterlab(tmp_path):
    """The notebook's own cells run in JupyterLab; a slider moved by the keyboard moves the bars and the picture."""
    beginning(tmp_path / "playground.ipynb")
    with Lab(tmp_path) as lab, Browser(tmp_path / "profile", 1400, 1300) as page:
        page.open(lab.address)
        page.wait("window.jupyterapp && document.querySelectorAll('.jp-Notebook .jp-Cell').length > 5")
        page.wait(f"{OPENED}?.sessionContext?.session?.kernel?.connectionStatus === 'connected'")
        page.run(f"jupyterapp.shell.activateById({OPENED}.id)")
        page.wait("jupyterapp.shell.currentWidget !== null")
        page.run("jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")
        before = float(page.wait(BAR, limit=180))
        picture = "document.querySelector('.widget-image')?.naturalWidth"
        assert page.wait(picture) == module.PICTURE
        sliders = "document.querySelectorAll('.widget-slider').length"
        assert page.run(sliders) == len(KINDS) + 1

        source = page.run("document.querySelector('.widget-image').src")
        page.run(f"{HANDLES}.scrollIntoView({{block: 'center'}}), {HANDLES}.querySelector('.noUi-handle').focus()")
        for _ in range(12):
            page.press("ArrowRight", number=39)
        page.wait(f"{HANDLES}.textContent.includes('0.60')")
        after = float(page.wait(f"{BAR} < 10 && {BAR}"))  # each step of the slider is scored: it comes down in steps
        page.wait(f"document.querySelector('.widget-image').src !== {json.dumps(source)}")
        page.screenshot(tmp_path / "playground.png")  # kept by pytest, to look at
        assert after < 10 < before
        assert page.run("document.querySelectorAll('.jp-RenderedText[data-mime-type*=stderr]').length") == 0
