"""Every figure that notebooks share. Functions return a matplotlib `Figure`; `show` turns it into a notebook's output.

Nothing here touches pyplot's global state, so importing it plots nothing and changes no setting. Colours are those of
Okabe and Ito (2008), which colour-blind readers can distinguish; lines also differ in their dashes, for print in grey.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import textwrap

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image
from scipy.special import ndtri as probit

from ..errors import DataError
from ..evaluation.curve import checked_choice

AREAS = {"normalised": "normalised pAUC", "oracle": "oracle-scaled area (0 oracle, 1 chance)"}

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


def _styled(function):
    """Run a figure function with `STYLE` in force and everything else as the caller has it."""

    @functools.wraps(function)
    def draw(*arguments, **options):
        with matplotlib.rc_context(STYLE):
            return function(*arguments, **options)

    return draw


def line_style(index):
    """Colour and dashes of the line with this index in a chart, as a dict; different for the first 24 lines."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)]}


def figure(rows=1, columns=1, *, width=7.0, height=None, **options):
    """A figure in the course's style.

    Parameters
    ----------
    rows, columns : int, default=1
        Number of charts below and beside each other.
    width : float, default=7.0
        Inches (100 pixels each).
    height : float, default=None
        Inches; None: 3.6 per row.
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
        As the functions of this module return it.
    alt : str
        What the figure shows, for readers who can't see it.
    dpi : int, default=None
        Pixels per inch; None: 90 for photographs, 100 for charts.

    Returns
    -------
    IPython.display.Image
    """
    from IPython.display import Image as Output  # only notebooks have it

    photo = getattr(fig, "holds_photographs", False)
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        if photo:
            fig.savefig(buffer, format="jpeg", dpi=dpi or 90, pil_kwargs={"quality": 82, "optimize": True})
        else:
            fig.savefig(buffer, format="png", dpi=dpi or 100, metadata={"Software": None})
            buffer = _with_palette(buffer)
    return Output(data=buffer.getvalue(), format="jpeg" if photo else "png", alt=alt)


def _with_palette(png):
    """The same picture in at most 256 colours: a quarter of the bytes, with no visible difference in a chart."""
    small = io.BytesIO()
    colours = Image.open(png).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    colours.save(small, format="png", optimize=True)
    return small


@_styled
def face_grid(images, titles=None, *, columns=None, row_labels=None, column_labels=None, title=None, cell=0.95):
    """A grid of photographs.

    Parameters
    ----------
    images : sequence of (H, W, 3) or (H, W) arrays, uint8
        Row by row. None leaves a cell empty.
    titles : sequence of str, default=None
        One below each picture.
    columns : int, default=None
        Pictures in a row. None: as many as make a wide rectangle.
    row_labels, column_labels : sequence of str, default=None
        Left of each row and above each column.
    title : str, default=None
        Above the grid.
    cell : float, default=0.95
        Side of one picture in inches.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        Without a picture, or when the numbers of pictures and titles differ.
    """
    images = list(images)
    if not images:
        raise DataError("no picture to show")
    if titles is not None and len(titles) != len(images):
        raise DataError(f"{len(titles)} titles for {len(images)} pictures")
    columns = columns or min(len(images), max(4, math.ceil(math.sqrt(2 * len(images)))))
    rows = math.ceil(len(images) / columns)
    lines = max((t.count("\n") + 1 for t in titles), default=0) if titles is not None else 0
    left = 0.15 + 0.088 * max((len(label) for label in row_labels), default=0) if row_labels is not None else 0
    head = 0.3 * (title is not None) + 0.22 * (column_labels is not None)
    height = rows * (cell + 0.17 * lines + 0.08 * bool(lines) + 0.03) + head
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


@_styled
def similarity_histogram(similarity, mated, *, threshold=None, title=None):
    """Histograms of mated and non-mated similarities, each with area 1, and the decision threshold between them.

    Parameters
    ----------
    similarity : array (N,)
        Of N pairs of faces.
    mated : array (N,) bool
        Whether both faces of a pair show the same person.
    threshold : float, default=None
        The decision threshold, drawn as a line.
    title : str, default=None
        Above the chart.

    Returns
    -------
    Figure
    """
    similarity, mated = np.asarray(similarity, float), np.asarray(mated, bool)
    edges = np.linspace(similarity.min(), similarity.max(), 81)
    fig, axis = figure(height=3.2)
    for group, colour, name, hatch in ((~mated, NON_MATED, "non-mated", "//"), (mated, MATED, "mated", None)):
        style = {"color": colour, "edgecolor": colour, "alpha": 0.55, "hatch": hatch, "linewidth": 0.3}
        axis.hist(similarity[group], edges, density=True, label=f"{name} ({group.sum():,} pairs)", **style)
    if threshold is not None:
        axis.axvline(threshold, color="black", linewidth=1.2, label=f"threshold {threshold:.3f}")
    axis.set(xlabel="similarity (cosine)", ylabel="density", title=title)
    axis.legend()
    return fig


@_styled
def lines(x, series, *, xlabel, ylabel, title=None, percent=False, bands=None, log=False, height=3.6, ylim=None):
    """One chart of several lines over a common x, each with its own colour, dashes and marker.

    Parameters
    ----------
    x : array (M,)
        Common to all lines.
    series : dict name -> array (M,)
        The lines, in the order of the legend.
    xlabel, ylabel : str
        Names of the axes, with units.
    title : str, default=None
        Above the chart.
    percent : bool, default=False
        The values are shares; the axis shows percent.
    bands : dict name -> (low, high), default=None
        Intervals to shade, each end an array (M,).
    log : bool, default=False
        Logarithmic y axis.
    height : float, default=3.6
        Inches.
    ylim : (float, float), default=None
        Ends of the y axis; None: chosen by the data.

    Returns
    -------
    Figure
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
    if len(series) <= 4:
        axis.legend()
    else:  # it would hide the lines
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig


@_styled
def edc(curves, *, intervals=None, limit=0.3, kind=None, discard_max=1.0, title="Error versus discard"):
    """Error-versus-discard curves on the same pairs, with the random and the oracle curve and all that defines them.

    Parameters
    ----------
    curves : dict name -> evaluation.EDC
        All from the same pairs: the random and the oracle curve, drawn once, must hold for each of them.
    intervals : dict name -> (low, high) or evaluation.Interval, default=None
        Of the area up to `limit`, of the kind that the legend names; written into it beside the value.
    limit : float, default=0.3
        The discard share up to which the legend's area is taken.
    kind : {"normalised", "oracle"}, default=None
        The area of the legend: chance is 1, lower is better, and for "oracle" 0 is the best possible order. None: that
        of `intervals`, where they are Intervals, else "normalised".
    discard_max : float, default=1.0
        Right end of the x axis.
    title : str, default="Error versus discard"
        Above the chart.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        Without a curve, when the curves do not start at the same error or were made by different rules, or when an
        interval is of another area than the legend's.
    """
    if not curves:
        raise DataError("no curve to draw")
    kind = _kind_of(curves, intervals or {}, limit, kind)
    first = next(iter(curves.values()))
    rules = {(c.convention, c.population, c.compat, c.n_mated, round(c.starting_error, 12)) for c in curves.values()}
    if len(rules) > 1:
        raise DataError(
            "these curves rest on different pairs, thresholds or conventions and can't share a figure; "
            "draw one figure for each"
        )
    height, legend_rows = 5.0, math.ceil((len(curves) + 2) / 2)
    foot_height = 0.24 * (legend_rows + 1) + 0.45
    ratios = {"height_ratios": [height - foot_height, foot_height]}
    fig, (axis, foot) = figure(2, height=height, gridspec_kw=ratios)
    for curve, style, name in (
        (first.random(), {"color": "black", "linestyle": (0, (1, 2))}, "random (1 by definition)"),
        (first.oracle(), {"color": "#7F7F7F", "linestyle": "-", "linewidth": 1}, "oracle (best possible order)"),
    ):
        _steps(axis, curve, discard_max, label=name, **style)
    for index, (name, curve) in enumerate(curves.items()):
        text = f"{name}: {curve.pauc(limit, kind):.2f}"
        if intervals and name in intervals:
            interval = intervals[name]
            low, high = (interval.low, interval.high) if hasattr(interval, "low") else interval
            text += f" [{low:.2f}, {high:.2f}]"
        _steps(axis, curve, discard_max, label=text, zorder=3, **line_style(index))
    target = "" if math.isnan(first.fmr) else f" at FMR {first.fmr:g}"
    axis.set(xlim=(0, discard_max), xlabel="share discarded, lowest quality first", ylabel=f"FNMR{target}")
    # the last few pairs of a curve jump between 0 and 1 and would squeeze the rest
    top = max(c.error[c.discard <= min(discard_max, 0.95)].max() for c in curves.values())
    axis.set_ylim(0, 1.08 * max(top, first.starting_error, 1e-6))
    for ends in (axis.xaxis, axis.yaxis):
        ends.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.set_title(title)
    what = f"{AREAS[kind]} up to {limit:.0%}" + (", 95% interval in brackets" if intervals else "")
    foot.axis("off")
    place = {"loc": "upper left", "bbox_to_anchor": (0, 1), "borderaxespad": 0, "ncols": 2, "frameon": False}
    foot.legend(*axis.get_legend_handles_labels(), title=what, alignment="left", fontsize=9, title_fontsize=9, **place)
    foot.text(
        0, 0, textwrap.fill(first.caption(), 105), fontsize=8, color="#4D4D4D", va="bottom", transform=foot.transAxes
    )
    return fig


def _kind_of(curves, intervals, limit, kind):
    """The area that intervals with an estimate are of; `kind` where there are none."""
    estimates = {name: i.estimate for name, i in intervals.items() if name in curves and hasattr(i, "estimate")}
    estimates = {name: value for name, value in estimates.items() if math.isfinite(value)}
    for known in AREAS if kind is None else [checked_choice(kind, tuple(AREAS), "kind")]:
        if all(abs(curves[name].pauc(limit, known) - value) < 1e-6 for name, value in estimates.items()):
            return known
    raise DataError(
        f"the intervals are of another area than {' or '.join(AREAS) if kind is None else kind} up to {limit:.0%} of "
        "these curves: give bootstrap_pauc the same limit, rule and kind"
    )


def impostor_side(curves, *, discard_max=0.95, title="False matches versus discard"):
    """The FMR of the impostor pairs that remain when they are discarded by the same quality.

    Parameters
    ----------
    curves : dict name -> evaluation.EDC
        Made with `impostor_side=True`, all from the same pairs.
    discard_max : float, default=0.95
        Right end of the x axis; of the last pairs no rate can be told.
    title : str, default="False matches versus discard"
        Above the chart.

    Returns
    -------
    Figure
    """
    if not curves or any(curve.impostor is None for curve in curves.values()):
        raise DataError("no impostor side to draw: make the curves by edc(..., impostor_side=True)")
    fig, axis = figure(1, height=4.0)
    for index, (name, curve) in enumerate(curves.items()):
        _steps(axis, curve.impostor, discard_max, label=name, **line_style(index))
    start = next(iter(curves.values())).impostor.error[0]
    axis.axhline(start, color="black", linestyle=(0, (1, 2)), label="random")
    axis.set(xlim=(0, discard_max), xlabel="share discarded, lowest quality first", ylabel="FMR", title=title)
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.legend(frameon=False)
    return fig


def _steps(axis, curve, discard_max, **options):
    x, y = np.append(curve.discard, 1.0), np.append(curve.error, curve.error[-1])
    axis.plot(x, y, drawstyle="default" if curve.linear else "steps-post", **options)


@_styled
def det(curves):
    """Detection error trade-off on probit axes: FNMR against FMR, one line for each recogniser or set.

    Parameters
    ----------
    curves : dict name -> verification.DET
        As `verification.det_curve` gives them.

    Returns
    -------
    Figure
    """
    fig, axis = figure(height=4.6, width=6.2)
    ticks = np.array([1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5])
    names = [f"{tick:.4g}%" for tick in 100 * ticks]
    for index, (name, curve) in enumerate(curves.items()):
        inside = (curve.fmr > 0) & (curve.fnmr > 0) & (curve.fmr < 1) & (curve.fnmr < 1)
        axis.plot(probit(curve.fmr[inside]), probit(curve.fnmr[inside]), label=name, **line_style(index))
    ends = probit(np.array([5e-5, 0.6]))
    axis.plot(ends, ends, color="#BDBDBD", linewidth=1, label="equal error")
    axis.set_xticks(probit(ticks), names)
    axis.set_yticks(probit(ticks), names)
    axis.set(xlim=ends, ylim=ends, xlabel="FMR (false match rate)", ylabel="FNMR (false non-match rate)")
    axis.legend()
    return fig


@_styled
def timeline(table, series, *, title=None, height=None):
    """Scores over the time of a video, one panel for each; frames without a score leave a gap and a mark.

    Parameters
    ----------
    table : DataFrame
        As `video.score_video` gives it: one row for each frame, with `time_s`. The columns `status` and `lost_before`
        are drawn too, if present.
    series : dict column -> label
        What is drawn, from top to bottom.
    title : str, default=None
        Above the first panel.
    height : float, default=None
        Inches; None: by the number of panels.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        When the table has no rows.
    """
    if len(table) == 0:
        raise DataError("no frame to draw")
    fig, axes = figure(len(series), 1, height=height or 1.2 + 1.7 * len(series), sharex=True, squeeze=False)
    x = table["time_s"].to_numpy(float)
    for index, (axis, (column, label)) in enumerate(zip(axes[:, 0], series.items(), strict=True)):
        y = table[column].to_numpy(float)
        axis.plot(x, np.where(np.isfinite(y), y, np.nan), color=PALETTE[index % len(PALETTE)], linewidth=1.4)
        axis.set_ylabel(label)
        _mark_unscored(axis, table, x, np.isfinite(y))
    axes[-1, 0].set_xlabel("time in the video, seconds")
    if title:
        axes[0, 0].set_title(title)
    marks = {}  # label -> mark: a panel may lack one that another has
    for axis in axes.flat:
        for mark, label in zip(*axis.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, mark)
    if marks:
        fig.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=4)
    return fig


def _mark_unscored(axis, table, x, scored):
    """Marks at the foot of a panel for frames without a score, by their status, and for lost frames."""
    place = axis.get_xaxis_transform()
    groups = []
    if "status" in table:
        status = table["status"].to_numpy(str)
        groups = [(name, ~scored & (status == name)) for name in sorted(set(status))]  # a colour each in all panels
    if "lost_before" in table:
        groups.append(("frames lost before", table["lost_before"].to_numpy() > 0))
    for order, (name, rows) in enumerate(groups, start=1):
        if rows.any():
            style = {"color": PALETTE[(order + 3) % len(PALETTE)], "marker": MARKERS[order % len(MARKERS)]}
            style |= {"linestyle": "", "markersize": 4, "label": name.replace("_", " ")}
            axis.plot(x[rows], np.full(rows.sum(), 0.03), transform=place, **style)


@_styled
def matrix(table, *, label, limit=None, written=0.0, digits=0, width=9.6, height=None):
    """A table of changes as a coloured matrix with numbers, zero in the middle of the scale.

    Parameters
    ----------
    table : DataFrame of numbers
        Its index names the rows, its columns are named below.
    label : str
        What the numbers are; beside the scale.
    limit : float, default=None
        The scale ends at plus and minus this. None: the largest number.
    written : float, default=0.0
        Numbers smaller than this are left out of the cells.
    digits : int, default=0
        Decimals of the numbers.
    width : float, default=9.6
        Inches.
    height : float, default=None
        Inches; None: by the number of rows.

    Returns
    -------
    Figure
    """
    import seaborn  # here: it takes a second, which the command line should not wait for

    limit = limit or max(np.nanmax(np.abs(table.to_numpy(float))), 1e-9)
    texts = table.map(lambda value: f"{value:.{digits}f}" if abs(value) >= written else "")
    fig, axis = figure(width=width, height=height or 1.4 + 0.24 * len(table))
    scale = {"cmap": "PuOr", "vmin": -limit, "vmax": limit, "cbar_kws": {"label": label, "shrink": 0.8}}
    seaborn.heatmap(table.astype(float), annot=texts, fmt="", annot_kws={"fontsize": 7.5}, ax=axis, **scale)
    axis.set_xticks(axis.get_xticks(), table.columns, rotation=55, ha="right", rotation_mode="anchor", fontsize=8.5)
    axis.set_yticks(axis.get_yticks(), table.index, fontsize=8.5)
    axis.set(xlabel=None, ylabel=None)
    axis.grid(False)  # it would show through cells without a number
    return fig


@_styled
def intervals(table, *, xlabel, chance=1.0, groups=None):
    """Values with intervals, one row each from the top down, and the line of chance.

    Parameters
    ----------
    table : DataFrame
        Columns `area`, `low`, `high` (or other three, in this order); the index names the rows.
    xlabel : str
        Name of the x axis.
    chance : float, default=1.0
        Where the dotted line stands.
    groups : dict row -> str, default=None
        Rows of one group share colour and marker; the legend names the groups.

    Returns
    -------
    Figure
    """
    fig, axis = figure(width=7.4, height=0.9 + 0.21 * len(table))
    names = np.array([(groups or {}).get(row, "") for row in table.index], dtype=object)
    first = [name for name in ("same model", "cross model") if name in names]  # one colour each in all lessons
    for index, name in enumerate(dict.fromkeys([*first, *names])):
        rows = np.flatnonzero(names == name)
        value, low, high = table.iloc[rows, :3].to_numpy(float).T
        ends = np.maximum(0, [value - low, high - value])  # a percentile interval need not contain its estimate
        style = {"color": PALETTE[index % len(PALETTE)], "fmt": MARKERS[index % len(MARKERS)], "capsize": 3}
        axis.errorbar(value, rows, xerr=ends, label=name or None, **style)
    axis.axvline(chance, color="black", linewidth=1, linestyle=":")
    axis.set_yticks(range(len(table)), table.index, fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel=xlabel)
    if any(names):
        fig.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig
