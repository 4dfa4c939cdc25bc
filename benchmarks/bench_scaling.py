"""Rates of scoring and labelling on one process and on a local Dask cluster.

Run with `python benchmarks/bench_scaling.py`; with `--write` they go to benchmarks/measured/scaling.csv too, which
notebook 22 reads. Ratios are of two things measured in one run. The speed-ups are over one worker, for two kinds of
pieces: the network, which needs a core, and waiting, as for a disk or a network, which needs none. Each is the best of
`REPEATS`, so that what else runs on the machine counts less.
"""

import logging
import os
import sys
import time
from pathlib import Path

import numpy as np

from fiqa_lib.data import load_orl
from fiqa_lib.files import write_csv

MEASURED = Path(__file__).resolve().parent / "measured" / "scaling.csv"
PIECE = 40
WORKERS = (1, 2, 3, 4, 8)
REPEATS = 3


def _score(images):
    from fiqa_lib.scorers import SCORERS

    return SCORERS["embedding-norm"]().score_samples(images)


def _one_thread():
    import torch

    torch.set_num_threads(1)


def _nothing(number):
    return number


def _wait(number):
    time.sleep(0.05)


def speed_ups(images):
    """{(kind, workers): speed-up over one worker}."""
    from distributed import Client, LocalCluster

    pieces = [images[i : i + 8] for i in range(0, 192, 8)]
    seconds = {}
    for n in WORKERS:
        options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            client.wait_for_workers(n)
            client.run(_one_thread)
            client.run(_score, images[:2])  # each worker has its network now
            for kind, function, jobs in (("network", _score, pieces), ("waiting", _wait, range(48))):
                best = float("inf")
                for _ in range(REPEATS):
                    start = time.perf_counter()
                    client.gather(client.map(function, jobs, pure=False))
                    best = min(best, time.perf_counter() - start)
                seconds[kind, n] = best
    return {(kind, n): seconds[kind, 1] / value for (kind, n), value in seconds.items()}


def rows():
    import torch
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    images = load_orl().images
    pieces = [images[i : i + PIECE] for i in range(0, len(images), PIECE)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _score(images[:8])
    start = time.perf_counter()
    here = np.concatenate([_score(piece) for piece in pieces])
    alone = time.perf_counter() - start
    torch.set_num_threads(threads)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.run(_one_thread)
        client.gather(client.map(_score, [images[:8]] * 2, pure=False))  # each worker has its network now
        start = time.perf_counter()
        there = np.concatenate(client.gather(client.map(_score, pieces, pure=False)))
        together = time.perf_counter() - start
        start = time.perf_counter()
        client.gather(client.map(_nothing, range(1000)))
        empty = (time.perf_counter() - start) / 1000
    agree = float(np.abs(there / here - 1).max())
    found = [
        ("scoring: one thread", len(images) / alone, "faces/s", "", None),
        ("scoring: two workers over one thread", alone / together, "", ">= 1.3", alone / together >= 1.3),
        ("scoring: largest relative difference", agree, "", "<= 1e-4", agree <= 1e-4),
        ("cluster: an empty task", 1000 * empty, "ms", "<= 10", empty <= 0.01),
    ]
    for (kind, n), value in speed_ups(images).items():
        found.append((f"speed-up: {kind}, {n} workers", value, "", "", None))
    found.append(("speed-up: cores", os.cpu_count(), "", "", None))
    columns = ("name", "value", "unit", "target", "ok")
    return [dict(zip(columns, row, strict=True)) for row in found]


if __name__ == "__main__":
    import pandas as pd

    table = pd.DataFrame(rows())
    print(table.to_string(index=False))
    if "--write" in sys.argv:
        write_csv(table[["name", "value", "unit"]].assign(value=table["value"].map("{:.4g}".format)), MEASURED)
