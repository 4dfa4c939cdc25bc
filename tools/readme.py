"""What README.md takes from notebooks and from the benchmark's tables. `python tools/nb.py readme` writes it.

Each part stands between `<!-- name -->` and `<!-- /name -->`. The figure of the tour is copied, byte for byte, out of
the committed output of notebook 00, so that the page shows what the notebook shows. The benchmark's table and figure
are made from two committed tables; where these are absent, the page says which command makes them.
"""

import base64
import hashlib
import io
import re

import pandas as pd
from PIL import Image, PngImagePlugin

from fiqa_lib.course import plotting
from fiqa_lib.files import whole_file

from . import catalogue, checks
from .environment import ROOT

README = ROOT / "README.md"
FIGURE = ROOT / "data" / "results" / "tour.png"
FIGURE_ALT = "Error-versus-discard"
NUMBERS = (
    ("FNMR before anything is discarded (FMR 0.1%)", "00_setup_and_tour", "starting_fnmr", "percent"),
    ("mirror agreement, area up to 30% discarded (chance is 1)", "00_setup_and_tour", "pauc_mirror", "number"),
    ("upper end of its 95% interval over people", "00_setup_and_tour", "pauc_mirror_high", "number"),
    ("sharpness, the simplest baseline", "00_setup_and_tour", "pauc_sharpness", "number"),
)
RESULTS = ROOT / "data" / "results"
BENCHMARK_LIMIT = 0.2
BENCHMARK_MADE_BY = "python -m fiqa_lib benchmark --out data/results"
TIMES = ROOT / "benchmarks" / "measured" / "course.csv"
LESSONS, ALL = "lessons, by the clock", "all, by the clock"
TIMES_MADE_BY = "python tools/nb.py course --measured"
LONGEST = 6
MADE_FROM = "Made from"  # a text inside the benchmark's PNG: the hash of the numbers that it shows


def write():
    """Bring README.md and its figures up to date."""
    with whole_file(FIGURE) as temporary:
        temporary.write_bytes(figure())
    rows = benchmark_rows()
    if rows is None:
        benchmark_figure_path().unlink(missing_ok=True)
    else:
        with whole_file(benchmark_figure_path()) as temporary:
            temporary.write_bytes(benchmark_figure(rows))
    with whole_file(README) as temporary:
        temporary.write_text(page(README.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def stale():
    """What of README.md no longer agrees with the notebooks: a list of sentences."""
    text = README.read_text(encoding="utf-8")
    found = [] if page(text) == text else ["README.md is not what the notebooks say"]
    if not FIGURE.is_file() or FIGURE.read_bytes() != figure():
        found.append(f"{FIGURE.name} is not the figure of notebook 00")
    rows, drawn = benchmark_rows(), benchmark_figure_path()
    if _made_from(drawn) != (None if rows is None else _digest(rows)):
        found.append(f"{drawn.name} does not show the tables of the benchmark")
    return [f"{problem}: run python tools/nb.py readme" for problem in found]


def page(text):
    """`text` with its marked parts made anew."""
    for name, made in (("notebooks", table()), ("numbers", numbers()), ("benchmark", benchmark()), ("times", times())):
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, made=made: m[1] + made + m[2], text, flags=re.S
        )
        if count != 1:
            raise ValueError(f"README.md has {count} parts marked <!-- {name} -->; one is needed")
    return text


def lessons():
    """The notebooks of the course in order, without solutions."""
    return [path for path in catalogue.course() if not catalogue.is_solution(path)]


def table():
    """One row for each notebook: title, what it builds, its time."""
    rows = ["| notebook | you will build | time |", "| --- | --- | --- |"]
    for path in lessons():
        text = catalogue.markdown(catalogue.read(path))
        title = re.match(r"# (.+)", text)[1].strip()
        built = re.search(r"\*\*You will build\*\*\s*(.+?)\n", text)[1].strip()
        time = re.search(r"\*\*Time\*\*:?\s*(.+?)\.(?:\s|$)", text)[1].strip()
        rows.append(f"| [{title}](notebooks/{path.name}) | {built} | {time} |")
    return "\n".join(rows) + "\n"


def numbers():
    """The recorded numbers beside the figure."""
    rows = ["| on ORL-D, people the score never saw | |", "| --- | --- |"]
    for label, notebook, record, kind in NUMBERS:
        found = checks.records(catalogue.read(catalogue.FOLDER / f"{notebook}.ipynb"))
        value = next(r["value"] for r in found if r["name"] == record)
        rows.append(f"| {label} | {f'{value:.1%}' if kind == 'percent' else f'{value:.2f}'} |")
    return "\n".join(rows) + "\n"


def figure():
    """The bytes of the tour's figure."""
    notebook = catalogue.read(catalogue.FOLDER / "00_setup_and_tour.ipynb")
    for cell in catalogue.code_cells(notebook):
        for output in cell.outputs:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if alt.startswith(FIGURE_ALT):
                return base64.b64decode(output.data["image/png"])
    raise ValueError(f"notebook 00 shows no figure whose description begins with {FIGURE_ALT!r}")


def write_times(rows, lessons, total):
    """Keep what a run of the course took.

    Parameters
    ----------
    rows : sequence of (Path, float, str or None)
        Each notebook, its seconds beside the others, and what went wrong.
    lessons, total : float
        Seconds by the clock until the lessons were through, and until all were.
    """
    table = pd.DataFrame({"notebook": [path.stem for path, *_ in rows], "seconds": [s for _, s, _ in rows]})
    table.loc[len(table)] = LESSONS, lessons
    table.loc[len(table)] = ALL, total
    with whole_file(TIMES) as temporary:
        table.round(1).to_csv(temporary, index=False, lineterminator="\n")


def times():
    """How long the course takes, and which notebooks take longest."""
    if not TIMES.exists():
        return f"Not measured yet: `{TIMES_MADE_BY}` does, `python tools/nb.py readme` writes this part.\n"
    seconds = pd.read_csv(TIMES).set_index("notebook")["seconds"]
    total, until, each = seconds[ALL], seconds[LESSONS], seconds.drop([ALL, LESSONS])
    of_solutions = each.index.str.endswith("_solutions")
    longest = each.sort_values(ascending=False).head(LONGEST)
    return (
        f"`make course` took {total / 60:.0f} minutes: after {until / 60:.0f} the {(~of_solutions).sum()} lessons were "
        f"through, after {total / 60:.0f} the {of_solutions.sum()} solutions too. Longest, in seconds beside another "
        "notebook: " + ", ".join(f"{name} {value:.0f}" for name, value in longest.items()) + ".\n"
    )


# ---- the benchmark


def benchmark_figure_path():
    return RESULTS / "benchmark.png"


def benchmark_rows():
    """One row for each method and reference, best first, or None where no benchmark was committed.

    Returns
    -------
    DataFrame or None
        Index: name. Columns `pauc`, `low`, `high` (normalised, up to `BENCHMARK_LIMIT`), `starting_error`, `n_mated`,
        `n_identities`, `learns` (missing for references), `ms_per_face`; `attrs["failed"]`: names without scores.
    """
    paths = [RESULTS / f"benchmark_{name}.csv" for name in ("areas", "methods")]
    if not any(path.exists() for path in paths):
        return None
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} is missing beside the other table of the benchmark: {BENCHMARK_MADE_BY}")
    areas, methods = (pd.read_csv(path, na_values=[""], keep_default_na=False) for path in paths)
    here = areas[(areas["limit"] - BENCHMARK_LIMIT).abs() < 1e-9].sort_values(["pauc", "method"])
    if here.empty:
        raise ValueError(f"{paths[0]} has no areas up to {BENCHMARK_LIMIT:.0%}: {BENCHMARK_MADE_BY}")
    columns = ["pauc", "low", "high", "starting_error", "n_mated", "n_identities"]
    beside = methods.set_index("method")[["learns", "ms_per_face"]]
    rows = here.set_index("method")[columns].join(beside)
    rows.attrs["failed"] = methods.loc[methods["status"] != "ok", "method"].tolist()
    return rows


def benchmark():
    """The benchmark's figure, table and what must be said beside them."""
    rows = benchmark_rows()
    if rows is None:
        return f"Not committed yet: `{BENCHMARK_MADE_BY}` makes the tables, `python tools/nb.py readme` this part.\n"
    first, methods = rows.iloc[0], rows["learns"].notna()
    below = int((rows["high"][methods] < 1).sum())
    said = (
        f"{methods.sum()} methods on the same {first.n_mated:,.0f} mated pairs of {first.n_identities:.0f} people whom "
        f"no learner saw; {first.starting_error:.1%} of the pairs fail before anything is discarded. The area up to "
        f"{BENCHMARK_LIMIT:.0%} discarded is given as a share of chance's; lower is better. The interval ends below "
        f"chance for {below} of the methods. A place above another is no proof of being better: the paired differences "
        "in [notebook 18](notebooks/18_benchmark.ipynb) say where the data decide."
    )
    lines = ["![Areas of all methods with 95% intervals](data/results/benchmark.png)", "", said, ""]
    lines += [
        "| method | area | 95% interval over people | trained | ms per face |",
        "| --- | ---: | :---: | :---: | ---: |",
    ]
    for name, row in rows.iterrows():
        learns = "" if pd.isna(row.learns) else "yes" if row.learns else "no"
        time = "" if pd.isna(row.ms_per_face) else f"{row.ms_per_face:.3g}"
        lines.append(f"| {name} | {row.pauc:.2f} | {row.low:.2f} to {row.high:.2f} | {learns} | {time} |")
    if rows.attrs["failed"]:
        lines += ["", f"Without scores in this run: {', '.join(rows.attrs['failed'])}."]
    return "\n".join(lines) + "\n"


def benchmark_figure(rows):
    """The bytes of the benchmark's figure, with the hash of what it shows inside."""
    kinds = {name: _kind_of(row) for name, row in rows.iterrows()}
    shown = rows[["pauc", "low", "high"]].copy()  # a bootstrap interval need not hold its estimate; the bar reaches it
    shown["low"], shown["high"] = shown[["pauc", "low"]].min(axis=1), shown[["pauc", "high"]].max(axis=1)
    drawn = plotting.intervals(
        shown,
        xlabel=f"normalised area up to {BENCHMARK_LIMIT:.0%} discarded (1 is chance, lower is better), 95% interval",
        groups=kinds,
    )
    image = Image.open(io.BytesIO(plotting.show(drawn, "").data))
    text, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text(MADE_FROM, _digest(rows))
    image.save(buffer, format="png", pnginfo=text, optimize=True)
    return buffer.getvalue()


def _kind_of(row):
    return "reference" if pd.isna(row.learns) else "trained on faces" if row.learns else "not trained"


def _digest(rows):
    return hashlib.sha256(rows.to_csv(float_format="%.6g", lineterminator="\n").encode()).hexdigest()


def _made_from(path):
    """The hash inside a figure; "" where there is none, None where there is no figure."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get(MADE_FROM, "")
