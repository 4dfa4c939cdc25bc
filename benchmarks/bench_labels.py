"""Speed, growth, memory and agreement of the SDD-FIQA labels.

Run with `python benchmarks/bench_labels.py`; with `--write` the rates go to benchmarks/measured/labels.csv too, which
notebook 08 reads to estimate larger runs. Ratios are of two things measured in one run.
"""

import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr, wasserstein_distance

from fiqa_lib.data import load_orl
from fiqa_lib.files import write_csv
from fiqa_lib.labels import sdd_draws, sdd_labels, sdd_labels_exact
from fiqa_lib.recognition import DlibResNet

PER_PERSON = 12
HERE = Path(__file__).resolve().parent
MEASURED = HERE / "measured" / "labels.csv"


def synthetic(images, dim, seed=0):
    """Embeddings of people with 12 images each, of differing quality, and who they are."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(-(-images // PER_PERSON)), PER_PERSON)[:images]
    centres = rng.normal(size=(people[-1] + 1, dim)).astype(np.float32)
    noise = rng.uniform(0.3, 2.5, images).astype(np.float32)
    embeddings = np.empty((images, dim), np.float32)
    for start in range(0, images, 100_000):
        part = slice(start, start + 100_000)
        blur = rng.standard_normal((len(people[part]), dim), np.float32)
        embeddings[part] = centres[people[part]] + noise[part, None] * blur
    return embeddings, people


def seconds_of(function, repeats=1):
    """(shortest time of several runs, last result)."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def cosine(a, b):
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a)) / np.sqrt(np.dot(b, b)))


def literal(embeddings, people, rows, drawn=None, n_samples=24, n_repeats=12):
    """The definition for some rows, pair by pair and repeat by repeat, with given draws or its own: (rows, repeats)."""
    rng = np.random.default_rng(0)
    out = np.empty((len(rows), n_repeats))
    for place, i in enumerate(rows):
        same = np.flatnonzero(people == people[i])
        mates, strangers = same[same != i], np.flatnonzero(people != people[i])
        for repeat in range(n_repeats):
            if drawn is None:
                sets = [rng.choice(x, min(n_samples, len(x)), replace=False) for x in (mates, strangers)]
            else:
                sets = [x[i, repeat][x[i, repeat] >= 0] for x in drawn]
            positive, negative = ([cosine(embeddings[i], embeddings[j]) for j in chosen] for chosen in sets)
            out[place, repeat] = wasserstein_distance(positive, negative)
    return out


def speed_rows(images=19_200, dim=512):
    embeddings, people = synthetic(images, dim)
    what = f"{images:,} x {dim}"
    exact = sdd_labels_exact(embeddings, people).labels
    for draws, target in (("pooled", 1.5), ("independent", None)):
        seconds, found = seconds_of(
            lambda d=draws: sdd_labels(embeddings, people, random_state=0, draws=d), 3 if target else 1
        )
        yield f"{what}, 12 repeats, {draws} draws", seconds, "s", None if target is None else ("<=", target)
        yield f"{what}, {draws}: Spearman with exact", spearmanr(found.labels, exact)[0], "", (">=", 0.999)
        if draws == "pooled":
            rate, reference = images / seconds, found.distances
    rows = np.arange(0, images, images // 60)
    drawn = sdd_draws(people, random_state=0)
    np.testing.assert_allclose(reference[rows], literal(embeddings, people, rows, drawn), rtol=1e-4, atol=1e-5)
    del drawn
    seconds, _ = seconds_of(lambda: literal(embeddings, people, rows))
    yield f"literal, {len(rows)} of these images, for each", 1000 * seconds / len(rows), "ms", None
    yield "faster than the literal implementation", rate * seconds / len(rows), "x", (">=", 100)
    embeddings, people = synthetic(4800, 512)
    seconds, exact = seconds_of(lambda: sdd_labels_exact(embeddings, people), 2)
    yield "4,800 x 512, exact", seconds, "s", ("<", 2)
    found = sdd_labels(embeddings, people, random_state=0)
    yield "4,800 x 512: Spearman with exact", spearmanr(found.labels, exact.labels)[0], "", (">=", 0.999)


def orl_rows():
    faces = load_orl()
    embeddings = DlibResNet().embed(faces)
    exact = sdd_labels_exact(embeddings, faces.identities).labels
    for repeats, draws in ((12, "independent"), (12, "pooled"), (16, "pooled")):
        found = [
            spearmanr(
                sdd_labels(embeddings, faces.identities, n_repeats=repeats, draws=draws, random_state=s).labels, exact
            )[0]
            for s in range(10)
        ]
        target = (">=", 0.999) if draws == "pooled" else None
        yield f"ORL, {repeats} repeats, {draws}: Spearman with exact (median of 10)", np.median(found), "", target


def growth_rows(dim=128, sizes=(10_000, 100_000, 1_000_000)):
    """From files, so that memory can be seen: the array through a memory map, and the whole command."""
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for images in sizes:
            embeddings, people = synthetic(images, dim)
            np.save(folder / "all.npy", embeddings)
            names = (f"{person:07d}/{i:08d}.jpg\n" for i, person in enumerate(people))
            (folder / "list.txt").write_text("".join(names))
            del embeddings
            mapped = np.load(folder / "all.npy", mmap_mode="r")
            repeats = 3 if images <= 100_000 else 1
            seconds, _ = seconds_of(lambda m=mapped, p=people: sdd_labels(m, p, random_state=0), repeats)
            rates[images] = 1e6 * seconds / images
            yield f"{images:,} x {dim}, memory map: for each image", rates[images], "us", None
            command, peak, share = run_command(folder)
            yield f"{images:,} x {dim}, whole command: for each image", 1e6 * command / images, "us", None
            yield f"{images:,} x {dim}, whole command: peak memory of all processes", peak, "MB", None
            yield f"{images:,} x {dim}, whole command: over an idle interpreter each", share, "MB", ("<", 1000)
        ratio = rates[sizes[-1]] / rates[sizes[0]]
        yield f"{sizes[-1]:,} over {sizes[0]:,}: time for each image", ratio, "x", ("<", 1.3)
        mapped = np.load(folder / "all.npy", mmap_mode="r")
        tracemalloc.start()
        found = sdd_labels(mapped, people, random_state=0, max_memory=100e6)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        besides = sum(part.nbytes for part in found) + 32 * images
        name = f"{images:,} x {dim}, max_memory 100 MB: peak besides results and index"
        yield name, (peak - besides) / 1e6, "MB", ("<", 100)


def run_command(folder):
    """Seconds of the command with two processes, and the most anonymous memory of all of them, in MB.

    Pages of mapped files are not counted: the system takes them back when it needs them.
    """
    command = [sys.executable, "-m", "fiqa_lib", "sdd-labels", "--image-list-file", folder / "list.txt"]
    command += ["--features", folder / "all.npy", "--score-dst", folder / "labels.csv", "--process-num", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start, peak, most = time.perf_counter(), 0, 0
    process = subprocess.Popen([*command, "--no-progress"], stdout=subprocess.DEVNULL, env=environment)
    idle = interpreter_memory()
    while process.poll() is None:
        found = [anonymous(pid) for pid in [process.pid, *children(process.pid)]]
        peak, most = max(peak, sum(found)), max(most, sum(max(0, memory - idle) for memory in found))
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError("the command failed")
    return time.perf_counter() - start, peak, most


def interpreter_memory():
    """What a process takes that has only imported the library, in MB."""
    code = "import fiqa_lib.apps.labelling, sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = anonymous(process.pid)
        process.stdin.close()
    return found


def anonymous(pid):
    """Anonymous memory of a process in MB (Linux); 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon")), 0)


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def rows():
    table = []
    for part in (speed_rows, orl_rows, growth_rows):
        for name, value, unit, target in part():
            row = {"name": f"labels: {name}", "value": float(value), "unit": unit}
            if target is not None:
                sign, limit = target
                met = {"<": value < limit, "<=": value <= limit, ">=": value >= limit}[sign]
                row |= {"target": f"{sign} {limit:g}", "ok": bool(met)}
            table.append(row)
    return table


if __name__ == "__main__":
    import pandas as pd

    found = rows()
    for row in found:
        verdict = {None: "", True: "ok", False: "MISSED"}[row.get("ok")]
        print(f"{row['name']:82} {row['value']:10.4f} {row['unit']:3} {row.get('target', ''):9} {verdict}")
    if "--write" in sys.argv:
        measured = pd.DataFrame(found)[["name", "value", "unit"]]
        print(f"written: {write_csv(measured.assign(value=measured['value'].round(4)), MEASURED)}")
