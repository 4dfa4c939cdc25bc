"""A panel for notebooks: a slider for each degradation, and a bar for each fast quality method that follows it."""

from __future__ import annotations

import html
import timeit

import cv2
import ipywidgets as widgets
import numpy as np

from ..scorers import SCORERS
from ..transforms.degradations import degrade
from ..transforms.kinds import KINDS

BUDGET = 0.2
"""Seconds for one face by all methods of a panel together; with degrading and drawing a change takes less than 0.3."""

PICTURE = 288
"""Side of the picture on the panel, in pixels."""


def fast_scorers(face, *, budget=BUDGET, repeats=3, scorers=None):
    """The methods that a panel can afford, chosen by their measured time on this machine.

    Every registered method that learns nothing is timed on one face (the shortest of `repeats`, after a first call that
    does not count). The cheapest are taken as long as all of them together stay within `budget`. Methods that learn are
    left out: on a new machine, fitting them takes minutes. So are those that need weights which the user has to bring.

    Parameters
    ----------
    face : Faces
        One face.
    budget : float, default=BUDGET
        Seconds for all methods together.
    repeats : int, default=3
        Timed calls of each method.
    scorers : dict of str -> class, default=None
        The methods to choose from; None: `SCORERS`.

    Returns
    -------
    (dict of str -> Scorer, dict of str -> float)
        The chosen methods, cheapest first; and the seconds of each method that was timed.
    """
    classes = SCORERS if scorers is None else scorers
    candidates = {name: cls() for name, cls in classes.items() if not (cls.learns or cls.needs_weights)}
    costs = {}
    for name, scorer in candidates.items():
        scorer.score_samples(face)
        costs[name] = min(_seconds(scorer, face) for _ in range(repeats))
    cheapest = sorted(costs, key=costs.get)
    count = np.searchsorted(np.cumsum([costs[name] for name in cheapest]), budget, side="right")
    return {name: candidates[name] for name in cheapest[:count]}, costs


def _seconds(scorer, face):
    return timeit.timeit(lambda: scorer.score_samples(face), number=1)


def percentile(score, clean):
    """Where scores lie among those of clean faces: the share below, ties half.

    Parameters
    ----------
    score : float or array (M,)
        Scores to place.
    clean : array (N,)
        Scores of clean faces, N >= 1.

    Returns
    -------
    float64, or array (M,)
        From 0 to 100.
    """
    clean = np.sort(np.asarray(clean, float))
    below, up_to = (np.searchsorted(clean, score, side=side) for side in ("left", "right"))
    return 100 * (below + up_to) / 2 / len(clean)


class Playground:
    """The panel.

    Parameters
    ----------
    faces : Faces
        Clean faces to choose from; their scores are the scale of the bars.
    scorers : dict of str -> Scorer
        Fitted where they learn.
    random_state : int, default=0
        Randomness of the degradations.

    Attributes
    ----------
    panel : ipywidgets.Widget
        What to display.
    sliders : dict of str -> FloatSlider
        One for each kind in `KINDS`, 0 to 1. The kinds are applied in that order.
    face : IntSlider
        Which face.
    scores, percentiles : dict of str -> float
        Of the picture that is shown; a method that gives no score (-inf) has percentile 0.
    image : array (192, 192, 3) uint8
        The picture that is shown.
    """

    def __init__(self, faces, scorers, *, random_state=0):
        self.faces, self.scorers, self.random_state = faces, dict(scorers), random_state
        self.clean = {name: scorer.score_samples(faces) for name, scorer in self.scorers.items()}
        self.scores, self.percentiles = {}, {}
        look = {"style": {"description_width": "105px"}, "layout": widgets.Layout(width="310px", height="26px")}
        self.face = widgets.IntSlider(0, 0, len(faces) - 1, description="face", **look)
        self.sliders = {}
        for name, kind in KINDS.items():
            slider = widgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.05, description=name.replace("_", " "), **look)
            slider.tooltip = kind.description
            self.sliders[name] = slider
        self.button = widgets.Button(description="all to 0", layout=widgets.Layout(width="310px"))
        self._picture = widgets.Image(format="png", width=PICTURE, height=PICTURE)
        self._bars = widgets.HTML()
        for slider in (self.face, *self.sliders.values()):
            slider.observe(self._changed, "value")
        self.button.on_click(lambda _: self.reset())
        left = widgets.VBox([self.face, *self.sliders.values(), self.button])
        right = widgets.VBox([self._picture, self._bars], layout=widgets.Layout(margin="0 0 0 16px"))
        self.panel = widgets.HBox([left, right])
        self._quiet = False
        self.update()

    def reset(self):
        """Set all degradations to 0, in one update."""
        self._quiet = True
        for slider in self.sliders.values():
            slider.value = 0.0
        self._quiet = False
        self.update()

    def _changed(self, change):
        if not self._quiet:
            self.update()

    def update(self):
        """Degrade the face by the values of the sliders, score it, draw."""
        face = self.faces[[self.face.value]]
        for kind, slider in self.sliders.items():
            if slider.value > 0:
                face = degrade(face, kind, slider.value, random_state=self.random_state)
        self.image = face.images[0]
        for name, scorer in self.scorers.items():
            self.scores[name] = float(scorer.score_samples(face)[0])
            self.percentiles[name] = float(percentile(self.scores[name], self.clean[name]))
        self._draw(str(self.faces.names[self.face.value]))

    def _draw(self, name):
        large = cv2.resize(self.image, (PICTURE, PICTURE), interpolation=cv2.INTER_CUBIC)
        self._picture.value = cv2.imencode(".png", large[..., ::-1])[1].tobytes()
        rows = "".join(
            f'<tr data-method="{html.escape(method)}" data-percentile="{value:.1f}">'
            f'<th scope="row" style="text-align:left;font-weight:normal;padding-right:8px">{html.escape(method)}</th>'
            f'<td style="width:170px"><div style="height:10px;width:{1.7 * value:.0f}px;background:#0072B2"></div></td>'
            f'<td style="text-align:right;padding:0 8px">{value:.0f}</td>'
            f'<td style="text-align:right">{self.scores[method]:.4g}</td></tr>'
            for method, value in self.percentiles.items()
        )
        self._bars.value = (
            f'<table class="fiqa-bars" style="line-height:18px"><caption style="text-align:left">{html.escape(name)}: '
            "percentile among clean faces, and score</caption>" + rows + "</table>"
        )
