"""Speed and memory of the evaluation engine: curves, areas, bootstrap, all pairs of a large set.

Run with `python benchmarks/bench_evaluation.py`. Curves and bootstrap are timed in processor seconds (all threads
together), so that a figure is that of one core and other work on the machine does not enter it.
"""

import time
import tracemalloc

import numpy as np

from fiqa_lib.evaluation import LIMITS, FewImpostorsWarning, bootstrap_pauc, compare, edc
from fiqa_lib.recognition.similarity import all_pairs

MEGABYTE = 1e6


def sample(pairs, people=500, seed=0):
    """Similarities, mated flags, two qualities and the identities of random pairs; quality knows something."""
    rng = np.random.default_rng(seed)
    mated = rng.random(pairs) < 0.5
    quality = rng.normal(size=(2, pairs))
    similarity = 0.15 * rng.normal(size=pairs) + mated * (0.6 + 0.05 * quality.min(axis=0))
    one = rng.integers(0, people, pairs)
    other = np.where(mated, one, (one + rng.integers(1, people, pairs)) % people)
    return (similarity, mated, *quality), (one, other)


def processor_seconds(function, repeats=3):
    """The least of several runs."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def peak_megabytes(function):
    """The most that was allocated at a time while it ran, its result included."""
    tracemalloc.start()
    result = function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak / MEGABYTE


def curve_and_areas(pairs, **options):
    curve = edc(*pairs, **options)
    return [curve.pauc(limit) for limit in LIMITS]


def curve_rows():
    million, _ = sample(1_000_000)
    for name, options, target in (
        ("fixed threshold", {}, 1.0),
        ("re-fitted", {"convention": "refit"}, 1.0),
        ("re-fitted, discarding all pairs", {"convention": "refit", "population": "all"}, None),
        ("crfiqa script", {"compat": "crfiqa"}, None),
    ):
        seconds = processor_seconds(lambda options=options: curve_and_areas(million, **options))
        yield f"EDC and 4 areas, 1,000,000 pairs, {name}", seconds, "s", target
    for convention in ("fixed", "refit"):
        quarter, whole = (
            peak_megabytes(lambda n=n, c=convention: edc(*[x[:n] for x in million], convention=c))
            for n in (250_000, 1_000_000)
        )
        yield f"EDC, 1,000,000 pairs, {convention}: peak memory", whole, "MB", None
        yield f"EDC, {convention}: memory of 1,000,000 over 250,000 pairs", whole / quarter, "x", 4.4


def bootstrap_rows():
    pairs, people = sample(10_000)
    for convention in ("fixed", "refit"):
        seconds = processor_seconds(
            lambda c=convention: bootstrap_pauc(*pairs, *people, convention=c, fmr=0.01, n_draws=1000), repeats=1
        )
        yield f"bootstrap, 1,000 draws, 10,000 pairs, {convention}", seconds, "s", 10.0
    similarity, mated, *quality = pairs
    methods = {name: np.array(quality) ** power for name, power in (("a", 1), ("b", 2), ("c", 3))}
    seconds = processor_seconds(
        lambda: compare(similarity, mated, methods, *people, limits=LIMITS, fmr=0.01, n_draws=1000), repeats=1
    )
    yield "comparison of 3 methods at 4 limits, 1,000 draws, 10,000 pairs", seconds, "s", 10.0


def all_pairs_rows(faces=13_000, dim=512):
    rng = np.random.default_rng(0)
    embeddings, identities = rng.normal(size=(faces, dim)).astype(np.float32), rng.integers(0, 3000, faces)
    start = time.perf_counter()
    all_pairs(embeddings, identities)
    yield f"all pairs of {faces:,} faces ({dim}-d)", time.perf_counter() - start, "s", None
    peak = peak_megabytes(lambda: all_pairs(embeddings, identities))
    yield f"all pairs of {faces:,} faces: peak memory", peak, "MB", 1000.0


def rows():
    """Name, value, unit, target (an upper bound) and whether it is met, for each figure."""
    table = []
    for part in (curve_rows, bootstrap_rows, all_pairs_rows):
        for name, value, unit, target in part():
            row = {"name": name, "value": float(value), "unit": unit}
            table.append(row if target is None else row | {"target": f"< {target:g}", "ok": bool(value < target)})
    return table


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", FewImpostorsWarning)
    for row in rows():
        verdict = {None: "", True: "ok", False: "MISSED"}[row.get("ok")]
        print(f"{row['name']:66} {row['value']:9.3f} {row['unit']:3} {row.get('target', ''):8} {verdict}")
