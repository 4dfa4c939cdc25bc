"""Every figure that notebooks share. Functions return a matplotlib `Figure`; `show` turns it into a notebook's output.

Nothing here touches pyplot's global state, so importing it plots nothing and changes no setting. Colours are those of
Okabe and Ito (2008), told apart by colour-blind readers; lines also differ in their dashes, so that they stay apart in grey.
"""

from __future__ import annotations

import io
import itertools
import math

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .errors import DataError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D", "#B2A800")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (8, 2, 1, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
MATED, NON_MATED = PALETTE[0], PALETTE[1]

STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same text on every machine
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.dpi": 100,
}


def line_style(index):
    """Colour and dashes of the index-th line of a chart; different for the first 24."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)]}


def figure(rows=1, columns=1, *, width=7.0, height=None, **options):
    """A figure in the course's style.

    Parameters
    ----------
    rows, columns : int
    width, height : float
        Inches (100 pixels each). Default height: 3.6 per row.
    **options
        As in `Figure.subplots`, for example `sharey=True`.

    Returns
    -------
    (Figure, axes)
        One Axes, or an array of them.
    """
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(width, height or 3.6 * rows), layout="constrained")
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, columns, **options)
    return fig, axes


def show(fig, alt, *, dpi=None):
    """The picture of a figure as a notebook output: JPEG for photographs, PNG for charts.

    Parameters
    ----------
    fig : Figure
    alt : str
        What the figure shows, for readers who can't see it.
    dpi : int, optional

    Returns
    -------
    IPython.display.Image
    """
    from IPython.display import Image

    photo = getattr(fig, "holds_photographs", False)
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        if photo:
            fig.savefig(buffer, format="jpeg", dpi=dpi or 90, pil_kwargs={"quality": 82, "optimize": True})
        else:
            fig.savefig(buffer, format="png", dpi=dpi or 100, metadata={"Software": None})
    return Image(data=buffer.getvalue(), format="jpeg" if photo else "png", alt=alt)


def face_grid(images, titles=None, *, columns=None, row_labels=None, column_labels=None, title=None, cell=0.95):
    """A grid of photographs.

    Parameters
    ----------
    images : sequence of (H, W, 3) or (H, W) arrays, uint8
        Row by row. None leaves a place empty.
    titles : sequence of str, optional
        One below each picture.
    columns : int, optional
        Default: about as many as give a wide rectangle.
    row_labels, column_labels : sequences of str, optional
    title : str, optional
    cell : float
        Side of one picture in inches.

    Returns
    -------
    Figure
    """
    images = list(images)
    if not images:
        raise DataError("no picture to show")
    if titles is not None and len(titles) != len(images):
        raise DataError(f"{len(titles)} titles for {len(images)} pictures")
    columns = columns or min(len(images), max(4, math.ceil(math.sqrt(2 * len(images)))))
    rows = math.ceil(len(images) / columns)
    lines = max((t.count("\n") + 1 for t in titles), default=0) if titles is not None else 0
    left = 0.09 * max((len(label) for label in row_labels), default=0) if row_labels is not None else 0
    head = 0.3 * (title is not None) + 0.22 * (column_labels is not None)
    height = rows * (cell + 0.15 * lines + 0.03) + head
    fig, axes = figure(rows, columns, width=columns * (cell + 0.03) + left, height=height, squeeze=False)
    fig.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    fig.holds_photographs = True
    for position, (axis, image) in enumerate(itertools.zip_longest(axes.flat, images)):
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        row, column = divmod(position, columns)
        if image is not None:
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        if titles is not None and position < len(titles):
            axis.set_xlabel(titles[position], fontsize=8, labelpad=2)
        if row_labels is not None and column == 0:
            axis.set_ylabel(row_labels[row], fontsize=9, rotation=0, ha="right", va="center", labelpad=4)
        if column_labels is not None and row == 0:
            axis.set_title(column_labels[column], fontsize=9, loc="center", pad=3)
    if title:
        fig.suptitle(title, fontsize=11)
    return fig


def similarity_histogram(similarity, mated, *, threshold=None, xlabel="similarity (cosine)", title=None, bins=80):
    """Histograms of mated and non-mated similarities, each with area 1, and the decision threshold between them.

    Parameters
    ----------
    similarity : array (N,)
    mated : array (N,) bool
    threshold : float, optional
    """
    similarity, mated = np.asarray(similarity, float), np.asarray(mated, bool)
    edges = np.linspace(similarity.min(), similarity.max(), bins + 1)
    fig, axis = figure(height=3.2)
    groups = ((~mated, NON_MATED, "non-mated", "//"), (mated, MATED, "mated", None))
    for group, colour, name, hatch in groups:
        axis.hist(
            similarity[group],
            edges,
            density=True,
            color=colour,
            alpha=0.55,
            hatch=hatch,
            edgecolor=colour,
            linewidth=0.3,
            label=f"{name} ({group.sum():,} pairs)",
        )
    if threshold is not None:
        axis.axvline(threshold, color="black", linewidth=1.2, label=f"threshold {threshold:.3f}")
    axis.set(xlabel=xlabel, ylabel="density", title=title)
    axis.legend()
    return fig


def lines(x, series, *, xlabel, ylabel, title=None, percent=False, bands=None, log=False, height=3.6, ylim=None):
    """One chart of several lines over a common x, each with its own colour, dashes and marker.

    Parameters
    ----------
    x : array (M,)
    series : dict name -> array (M,)
    percent : bool
        The values are shares; the axis shows percent.
    bands : dict name -> (low, high), optional
        Intervals to shade.
    log : bool
        Logarithmic y axis.
    """
    fig, axis = figure(height=height)
    for index, (name, values) in enumerate(series.items()):
        style = line_style(index)
        axis.plot(x, values, marker=MARKERS[index % len(MARKERS)], markersize=4, label=name, **style)
        if bands and name in bands:
            axis.fill_between(x, *bands[name], color=style["color"], alpha=0.15, linewidth=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log:
        axis.set_yscale("log")
    if percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if ylim:
        axis.set_ylim(*ylim)
    place_legend(axis, len(series))
    return fig


def place_legend(axis, count):
    """Inside for few lines; beside the chart where it would hide them."""
    if count <= 4:
        axis.legend(loc="best")
    else:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
