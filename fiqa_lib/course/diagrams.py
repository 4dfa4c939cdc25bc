"""Two drawings that each lesson opens with: its pipeline, and where in the course it stands."""

from __future__ import annotations

from matplotlib.patches import FancyBboxPatch

from ..errors import DataError
from .plotting import PALETTE, figure

INK, PALE = "#333333", "#EFF3F6"

COURSE = {
    "faces and recognisers": {"00": "tour", "01": "faces from photographs", "02": "recognition"},
    "damage and judgement": {"03": "degradations", "04": "judging scores"},
    "ask the recogniser": {"05": "stability", "06": "SER-FIQ", "07": "inside the network"},
    "labels nobody gave": {"08": "SDD labels", "09": "SDD training", "10": "unrecognisable faces"},
    "features and grades": {"11": "handcrafted features", "12": "score-based quality"},
    "looks and repair": {"13": "DBCNN", "14": "CAFI", "15": "FaceQgen"},
    "students and reasons": {"16": "teachers, students", "17": "component measures"},
    "all together": {"18": "benchmark", "19": "score to decision", "20": "groups, limits"},
    "practice": {"21": "your photographs", "22": "scaling out", "23": "playground"},
}
"""Parts of the course -> lessons, as the map shows them."""


def _box(axis, x, y, width, height, marked):
    style = "round,pad=0,rounding_size=0.06"
    colour = PALETTE[0] if marked else PALE
    axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor="none"))


def _canvas(width, height):
    fig, axis = figure(width=width, height=height)
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.set_axis_off()
    return fig, axis


def pipeline(steps, marked=(), *, width=9.0):
    """The steps of a lesson from left to right, joined by arrows.

    Parameters
    ----------
    steps : sequence of str
        One box each. The first line is its name; further lines, in smaller letters, say what comes out of it.
    marked : sequence of int, default=()
        Positions of the boxes that the lesson is about; they are filled.
    width : float, default=9.0
        Inches.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        Without a step.
    """
    if not steps:
        raise DataError("a pipeline needs a step")
    lines = max(step.count("\n") for step in steps)
    height, gap = 0.55 + 0.2 * lines, 0.3
    side = (width - gap * (len(steps) - 1)) / len(steps)
    fig, axis = _canvas(width, height)
    for number, step in enumerate(steps):
        left, filled = number * (side + gap), number in marked
        _box(axis, left, 0.02, side, height - 0.04, filled)
        name, _, rest = step.partition("\n")
        ink, middle, top = "white" if filled else INK, left + side / 2, height - 0.14
        axis.text(middle, top, name, ha="center", va="top", fontsize=10, weight="bold", color=ink)
        axis.text(middle, top - 0.26, rest, ha="center", va="top", fontsize=8.5, color=ink, linespacing=1.25)
        if number:
            ends = {"xytext": (left - gap + 0.03, height / 2), "arrowprops": {"arrowstyle": "->", "color": INK}}
            axis.annotate("", (left - 0.03, height / 2), **ends)
    return fig


def course_map(here):
    """All lessons of the course by parts, one of them marked.

    Parameters
    ----------
    here : str
        The number of the lesson that is marked, such as "01".

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        There is no such lesson.
    """
    if not any(here in lessons for lessons in COURSE.values()):
        raise DataError(f'there is no lesson {here!r}; they are called "00" to "23"')
    columns, width, height, row = 3, 9.0, 3.6, 0.21
    fig, axis = _canvas(width, height)
    wide, high = width / columns, height / columns
    for number, (part, lessons) in enumerate(COURSE.items()):
        left, top = number % columns * wide, height - number // columns * high - 0.05
        _box(axis, left, top - high + 0.12, wide - 0.12, high - 0.12, False)
        axis.text(left + 0.12, top - 0.2, part, fontsize=9.5, weight="bold", color=INK, va="center")
        for place, (lesson, title) in enumerate(lessons.items(), 1):
            y, marked = top - 0.24 - place * row, lesson == here
            if marked:
                _box(axis, left + 0.06, y - row / 2, wide - 0.24, row, True)
            text = f"{lesson}  {title}" + ("   ← here" if marked else "")
            axis.text(left + 0.12, y, text, fontsize=9, color="white" if marked else INK, va="center")
    return fig
