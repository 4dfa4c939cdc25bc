"""What a process loses to another one beside it: notebooks and tests run two at a time on two cores.

Run with `python benchmarks/bench_side_by_side.py`. Each figure is the time of a piece of work in two processes at once
over its time in one process alone, under the settings of `tools/environment.py`. Work that fills both cores by itself
takes about twice as long beside its like; threads that spin while they wait make it many times as long.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
WORK = {
    "singular values, 800 x 1800": (
        "import numpy as np; a = np.random.default_rng(0).normal(size=(800, 1800))",
        "np.linalg.svd(a, full_matrices=False)",
    ),
    "embeddings of 64 faces": (
        "from fiqa_lib.data import load_orl; from fiqa_lib.recognition import load_recogniser\n"
        "faces, network = load_orl()[:64], load_recogniser()",
        "network.embed(faces)",
    ),
}
MEASURE = """
import sys, time
{prepare}
{work}
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
for _ in range({repeats}):
    {work}
print(time.perf_counter() - start, flush=True)
"""


def _seconds(prepare, work, processes, repeats=8):
    """Mean seconds of `work`, repeated in so many processes that begin together."""
    from tools.environment import FIXED

    command = [sys.executable, "-c", MEASURE.format(prepare=prepare, work=work, repeats=repeats)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=os.environ | FIXED, cwd=ROOT, **pipes) for _ in range(processes)]
    for process in running:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the process that measures failed: {prepare}")
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [float(process.communicate()[0]) for process in running]
    return sum(found) / len(found) / repeats


def rows():
    found = []
    for name, (prepare, work) in WORK.items():
        alone, beside = (_seconds(prepare, work, processes) for processes in (1, 2))
        ratio = beside / alone
        found.append({"name": f"{name}: two at once over one", "value": ratio, "target": "<= 3", "ok": ratio <= 3})
    return found


if __name__ == "__main__":
    import pandas as pd

    print(pd.DataFrame(rows()).to_string(index=False))
