"""Does each method score each photograph of a folder of photographs in the wild? And how fast, with all that it needs?

Run with `FIQA_WILD=FOLDER python benchmarks/bench_wild.py [METHOD ...]`. FOLDER holds photographs, one face or more in
each. This is what `python -m fiqa_lib score FOLDER --method METHOD` does. A method that learns is fitted on ORL with
its quick settings, so its scores are for counting only; one that needs the user's own weights is left out. Without
FIQA_WILD nothing is measured.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fiqa_lib.apps.photographs import list_inputs, make_scorer, score_files
from fiqa_lib.scorers import SCORERS


def rows(methods=()):
    folder = os.environ.get("FIQA_WILD")
    if not folder:
        return [{"name": "wild: not measured, FIQA_WILD names no folder", "value": float("nan")}]
    inputs, table = list_inputs([folder]), []
    for name, kind in SCORERS.items():
        if kind.needs_weights or (methods and name not in methods):
            continue
        scorer = make_scorer(name, kind.quick)
        with tempfile.TemporaryDirectory() as place:
            begun = time.perf_counter()
            scores = score_files(inputs, scorer, Path(place) / "scores.csv")
            seconds = time.perf_counter() - begun
        scored = int(((scores["status"] == "ok") & np.isfinite(scores["score"])).sum())
        row = {"name": f"{name}: photographs with a score, of {len(inputs)}", "value": scored}
        table.append(row | {"target": f">= {len(inputs)}", "ok": scored == len(inputs)})
        table.append({"name": f"{name}: read and scored", "value": len(inputs) / seconds, "unit": "photographs/s"})
        for path, reason in scores.loc[scores["status"] != "ok", ["path", "reason"]].head(3).to_numpy():
            print(f"{name}: {Path(path).name}: {reason}")
    return table


if __name__ == "__main__":
    from run import report

    report(rows(sys.argv[1:]))
