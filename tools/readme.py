"""What README.md takes from notebooks and from the benchmark's tables. `python tools/nb.py readme` writes it.

Each part stands between `<!-- name -->` and `<!-- /name -->`. The figure of the tour is copied, byte for byte, out of
the committed output of notebook 00, so that the page shows what the notebook shows. The benchmark's table and figure
are made from the committed tables of LFW and ORL-D; where these are absent, the page says which command makes them.
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
FIGURE = ROOT / "data" / "results" / "tour.jpg"
FIGURE_ALT = "Faces sorted by quality score"
NUMBERS = (
    ("FNMR before anything is discarded (FMR 0.1%)", "00_setup_and_tour", "starting_fnmr", "percent"),
    ("mirror agreement, area up to 20% discard (0 oracle, 1 chance)", "00_setup_and_tour", "oracle_mirror", "number"),
    ("upper end of its 95% interval over people", "00_setup_and_tour", "oracle_mirror_high", "number"),
    ("distilled, a small network trained on other people", "00_setup_and_tour", "oracle_distilled", "number"),
    ("upper end of its 95% interval over people", "00_setup_and_tour", "oracle_distilled_high", "number"),
    ("sharpness, the simplest baseline", "00_setup_and_tour", "oracle_sharpness", "number"),
)
RESULTS = ROOT / "data" / "results"
BENCHMARK_LIMIT = 0.2
BENCHMARKS = ("lfw", "orl-d")
TITLES = {"lfw": "LFW", "orl-d": "ORL-D"}
TIMES = ROOT / "benchmarks" / "measured" / "course.csv"
LESSONS, ALL = "lessons, by the clock", "all, by the clock"
TIMES_MADE_BY = "python tools/nb.py course --measured"
LONGEST = 6
SHIPPED = "distilled"  # its weights come with the library
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
            alt = output.get("metadata", {}).get("image/jpeg", {}).get("alt", "")
            if alt.startswith(FIGURE_ALT):
                return base64.b64decode(output.data["image/jpeg"])
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
    """Numbers of both benchmarks at the headline limit, each score judged by a network that it is not made of.

    Returns
    -------
    DataFrame or None
        A row for each benchmark, method and verifier: `oracle_scaled`, `low`, `high`, `starting_error`, `n_mated`,
        `n_people`, `same_model` (only of a score that is made of all networks), `learns`, `ms_per_face`, `verdict`, and
        `survives`: the verdict of leave-family-out, "" where a method learns nothing. `attrs["without"]`: method ->
        reason, of those without numbers. None where neither benchmark was committed.
    """
    paths = {name: RESULTS / name / "table.csv" for name in BENCHMARKS}
    if not any(path.exists() for path in paths.values()):
        return None
    parts, without = [], {}
    for name, path in paths.items():
        if not path.exists():
            raise ValueError(f"{path} is missing beside the other benchmark: {made_by(name)}")
        table = pd.read_csv(path, dtype={"network": str, "reason": str}).fillna({"network": "", "reason": ""})
        failed = table[table["status"] != "ok"]
        without |= dict(zip(failed["method"], failed["reason"], strict=True))
        here = table[(table["limit"] == BENCHMARK_LIMIT) & (table["network"] != table["verifier"])]
        parts.append(here.assign(benchmark=name))
    rows = pd.concat(parts, ignore_index=True)
    families = RESULTS / "orl-d" / "families.csv"
    rows["survives"] = ""
    if families.exists():
        left = pd.read_csv(families, dtype={"network": str})
        left = left[(left["limit"] == BENCHMARK_LIMIT) & (left["network"] != left["verifier"])]
        rows["survives"] = rows["method"].map(left.drop_duplicates("method").set_index("method")["verdict"]).fillna("")
        rows["left_out"] = rows["method"].map(left.drop_duplicates("method").set_index("method")["left_out"])
    rows.attrs["without"] = {method: why for method, why in without.items() if method not in set(rows["method"])}
    return rows


def made_by(name):
    return f"python -m fiqa_lib benchmark --data {name} --out data/results/{name}"


def benchmark():
    """The benchmark's figure, table and what must be said beside them."""
    rows = benchmark_rows()
    if rows is None:
        commands = " and ".join(f"`{made_by(name)}`" for name in BENCHMARKS)
        return f"Not committed yet: {commands} make the tables, `python tools/nb.py readme` this part.\n"
    order = _order(rows)
    by = rows.set_index(["method", "benchmark", "verifier"])
    columns = [(name, verifier) for name in BENCHMARKS for verifier in sorted(set(rows["verifier"]))]
    lines = ["![Areas of all methods with 95% intervals, on LFW and on ORL-D](data/results/benchmark.png)", ""]
    lines += [_said(rows, columns), ""]
    titles = [f"{TITLES[name]}, by {verifier}" for name, verifier in columns]
    lines += ["| " + " | ".join(["method", *titles, "unknown damage", "trained", "ms per face"]) + " |"]
    lines += ["| --- | " + " | ".join([":---:"] * len(titles)) + " | ---: | :---: | ---: |"]
    for method in order:
        cells, of_method = [], rows[rows["method"] == method]
        for column in columns:
            found = by.loc[[(method, *column)]] if (method, *column) in by.index else by.iloc[:0]
            cells.append(_cell(found.iloc[0]) if len(found) else "")
        left = of_method["left_out"].iloc[0] if "left_out" in of_method else float("nan")
        learns = of_method["learns"].iloc[0]
        trained = "" if pd.isna(learns) else "yes" if str(learns) == "True" else "no"
        trained = "on LFW, ships" if method == SHIPPED else trained
        cost = of_method["ms_per_face"].min()
        ends = ["" if pd.isna(left) else f"{left:.2f}", trained, "" if pd.isna(cost) else f"{cost:.2g}"]
        lines.append("| " + " | ".join([method, *cells, *ends]) + " |")
    if without := rows.attrs["without"]:
        lines += ["", "Without numbers: " + "; ".join(f"{name} ({why})" for name, why in without.items()) + "."]
    return "\n".join(lines) + "\n"


def _order(rows):
    """Methods, the best mean on LFW first."""
    first = rows[rows["benchmark"] == BENCHMARKS[0]]
    return first.groupby("method")["oracle_scaled"].mean().sort_values().index.tolist()


def _cell(row):
    mark = {"better": " **b**", "worse": " w"}.get(row["verdict"], "") + (" *" if row["same_model"] is True else "")
    return f"{row['oracle_scaled']:.2f} [{row['low']:.2f}, {row['high']:.2f}]{mark}"


def _said(rows, columns):
    parts = []
    for name in BENCHMARKS:
        here = rows[rows["benchmark"] == name]
        first = here.iloc[0]
        errors = here.groupby("verifier")["starting_error"].first()
        said = " and ".join(f"{error:.1%} ({verifier})" for verifier, error in errors.items())
        parts.append(f"{TITLES[name]}: {first.n_mated:,.0f} mated pairs of {first.n_people:.0f} people, {said} fail")
    lfw = rows[rows["benchmark"] == BENCHMARKS[0]]
    verdicts = lfw.groupby("method")["verdict"].agg(lambda v: set(v) == {"better"})
    better = [method for method in _order(rows) if verdicts[method]]
    learned = rows.drop_duplicates("method").set_index("method")["survives"]
    kept = [m for m, verdict in learned.items() if verdict == "better"]
    lost = [m for m, verdict in learned.items() if verdict not in ("", "better")]
    reference = sorted(set(rows.loc[rows["verdict"] == "reference", "method"]))
    text = (
        f"{'; '.join(parts)} before anything is discarded. Nothing was learned from these people, except "
        "that the recognisers may know some of them: they were trained on photographs of celebrities. The number is "
        f"the area of the error-versus-discard curve up to {BENCHMARK_LIMIT:.0%} discarded, on a scale where 0 is the "
        "oracle and 1 is chance, with a 95% interval over people. Each score is made of a network that does not verify "
        f"here (*: of all networks). **b** and w: better and worse than {', '.join(reference)}, which was fixed "
        "beforehand; the intervals behind these two are corrected for the number of methods. "
    )
    if "distilled" in set(rows["method"]):
        text += (
            "`distilled` has MobileFaceNet's trunk and learned from both networks: for it neither column is foreign. "
        )
    text += f"Better on LFW by {'both networks' if len(columns) > 2 else 'this network'}: {_listed(better)}. "
    if learned.ne("").any():
        text += (
            "*Unknown damage* is ORL-D again, for methods that learn from damaged copies: the mean over five families "
            "of damage, each judged by a copy of the method that has not learned from it. Still better than "
            f"{', '.join(reference)} there: {_listed(kept)}; no longer, or never: {_listed(lost)}. "
        )
    return text.strip()


def _listed(names):
    return ", ".join(names) if names else "none"


def benchmark_figure(rows):
    """The bytes of the benchmark's figure, with the hash of what it shows inside."""
    image = Image.open(io.BytesIO(plotting.show(_drawn(rows), "").data))
    text, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text(MADE_FROM, _digest(rows))
    image.save(buffer, format="png", pnginfo=text, optimize=True)
    return buffer.getvalue()


def _drawn(rows):
    """One chart for each benchmark: methods from the top down, one marker for each verifier."""
    order = _order(rows)
    fig, axes = plotting.figure(1, len(BENCHMARKS), width=11, height=1.2 + 0.27 * len(order), sharey=True)
    for axis, name in zip(axes, BENCHMARKS, strict=True):
        for index, verifier in enumerate(sorted(set(rows["verifier"]))):
            part = rows[(rows["benchmark"] == name) & (rows["verifier"] == verifier)].set_index("method")
            part = part.reindex(order)
            ends = [
                (part["oracle_scaled"] - part["low"]).clip(lower=0),
                (part["high"] - part["oracle_scaled"]).clip(lower=0),
            ]
            places = [place + 0.3 * index - 0.15 for place in range(len(order))]
            style = {
                "color": plotting.PALETTE[index],
                "fmt": plotting.MARKERS[index],
                "markersize": 4,
                "linewidth": 1.2,
            }
            axis.errorbar(part["oracle_scaled"], places, xerr=ends, label=f"verified by {verifier}", **style)
        axis.axvline(1, color="black", linewidth=1, linestyle=":")
        axis.set(title=TITLES[name], xlabel=f"area up to {BENCHMARK_LIMIT:.0%} discarded (0 oracle, 1 chance)")
        axis.set_yticks(range(len(order)), order, fontsize=9)
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower left")
    return fig


def _digest(rows):
    return hashlib.sha256(rows.to_csv(float_format="%.6g", lineterminator="\n").encode()).hexdigest()


def _made_from(path):
    """The hash inside a figure; "" where there is none, None where there is no figure."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get(MADE_FROM, "")
