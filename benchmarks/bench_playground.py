"""How long the playground takes to follow a slider: damage, all fast scores, picture and bars, in this process.

Run with `python benchmarks/bench_playground.py`. The aim is 300 ms for a change on 2 cores.
What the browser adds (sending one picture of 288 pixels over a local socket) is not in it.
"""

import time

import cv2
import numpy as np
import torch

from fiqa_lib.course.playground import Playground, fast_scorers
from fiqa_lib.data import load_orl
from fiqa_lib.scorers import SCORERS


def rows(n_faces=30, repeats=5):
    cv2.setNumThreads(2)
    torch.set_num_threads(2)
    table = []

    def row(name, value, unit, most=None):
        limit, ok = ("", None) if most is None else (f"<= {most:g}", bool(value <= most))
        table.append({"name": f"playground: {name}", "value": float(value), "unit": unit, "target": limit, "ok": ok})

    faces = load_orl()[:n_faces]
    scorers, costs = fast_scorers(faces[:1])
    row("methods that learn nothing", sum(not cls.learns for cls in SCORERS.values()), "")
    row("of these within the budget", len(scorers), "")
    row("all of these for one face", 1e3 * sum(costs[name] for name in scorers), "ms")
    playground = Playground(faces, scorers)
    times = {kind: _changes(playground, slider, repeats) for kind, slider in playground.sliders.items()}
    row("a change of one slider, median", 1e3 * np.median(np.concatenate(list(times.values()))), "ms", most=300)
    row("a change of the slowest slider, median", 1e3 * max(np.median(each) for each in times.values()), "ms", most=300)
    for slider in playground.sliders.values():
        slider.set_trait("value", 0.5)
    row("a change with all sliders up, median", 1e3 * np.median(_changes(playground, playground.face, repeats)), "ms")
    return table


def _changes(playground, slider, repeats):
    """Seconds of each of several changes of one slider; it ends where it began."""
    start, found = slider.value, []
    step = 1 if isinstance(start, int) else slider.step
    for turn in range(repeats):
        begin = time.perf_counter()
        slider.value = start + step * (turn + 1)
        found.append(time.perf_counter() - begin)
    slider.value = start
    return found


if __name__ == "__main__":
    for line in rows():
        ok = "" if line["ok"] is None else "ok" if line["ok"] else "MISSED"
        print(f"{line['name']:50} {line['value']:9.1f} {line['unit']:3} {line['target']:8} {ok}")
