"""Run every benchmark and print one table: `python tools/nb.py bench`.

Each benchmarks/bench_*.py has a function `rows()` that measures and returns a list of dicts with

- name: what was measured,
- value and unit: the figure,
- target: what it should reach, as text (">= 25"), or "" where none is set,
- ok: whether it does; None where there is no target.

The table goes to build/benchmarks.csv too. The status is 1 when a target was missed or a benchmark failed.
"""

import importlib.util
import sys
from pathlib import Path

import pandas as pd

from fiqa_lib.files import write_csv

HERE = Path(__file__).resolve().parent
COLUMNS = ["benchmark", "name", "value", "unit", "target", "ok"]


def collect(folder=HERE):
    """The rows of all benchmarks in `folder`, as a DataFrame with the columns above. One that fails is a row too."""
    rows = []
    for path in sorted(Path(folder).glob("bench_*.py")):
        name = path.stem.removeprefix("bench_")
        print(f"{name} ...", flush=True)
        try:
            measured = _load(path).rows()
        except Exception as error:  # whatever it is, the others still run and the table says so
            measured = [{"name": f"{type(error).__name__}: {error}", "value": float("nan"), "ok": False}]
        rows += [{"benchmark": name, "unit": "", "target": "", "ok": None, **row} for row in measured]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"value": float, "ok": object})


def missed(table):
    """The rows whose target was missed."""
    return table[[ok is not None and not pd.isna(ok) and not ok for ok in table["ok"]]]


def report(rows, measured=None):
    """Print the rows of one benchmark; with `--write` the figures go to the table `measured` too."""
    for row in rows:
        verdict = {None: "", True: "ok", False: "MISSED"}[row.get("ok")]
        print(f"{row['name']:78} {row['value']:10.5g} {row.get('unit', ''):13} {row.get('target', ''):9} {verdict}")
    if measured is not None and "--write" in sys.argv:
        table = (
            pd.DataFrame(rows).reindex(columns=["name", "value", "unit", "target"]).fillna({"unit": "", "target": ""})
        )
        write_csv(table.assign(value=table["value"].map("{:.5g}".format)), measured)


def _load(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def main(folder=HERE, out=HERE.parent / "build" / "benchmarks.csv"):
    """Measure, print, write; return the exit status."""
    table = collect(folder)
    shown = table.assign(ok=["" if pd.isna(ok) else "ok" if ok else "MISSED" for ok in table["ok"]])
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    print(f"written: {write_csv(table, out)}")
    return 1 if len(missed(table)) else 0


if __name__ == "__main__":
    sys.exit(main())
