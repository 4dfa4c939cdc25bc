"""Speed of each feature of `fiqa_lib.features` on 100x100 faces, in faces a second, and what two threads gain.

Run with `python benchmarks/bench_features.py`. Absolute numbers hold for this machine; HOG and LBP are also set against
a plain loop over scikit-image in the same run, since they cannot be faster than it allows.
"""

import time

import numpy as np
from skimage.feature import hog, local_binary_pattern

from fiqa_lib.data import load_orl
from fiqa_lib.features import FEATURES, aligned_face, grey_face

THREADS = 2
GIST_TARGET = 150  # faces/s of the classic GIST on two cores


def per_second(functions, n_faces, repeats):
    """Faces a second of each, the best of several runs, taken in turns so that a busy moment hits none alone."""
    seconds = np.empty((repeats, len(functions)))
    for turn in range(repeats):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            seconds[turn, number] = time.perf_counter() - start
    return n_faces / seconds.min(axis=0)


def rows(repeats=3, n_faces=120):
    faces, table = load_orl()[:n_faces], []
    pictures, greys = aligned_face(faces), grey_face(faces)

    def row(name, value, unit, least=None):
        limit, ok = ("", None) if least is None else (f">= {least:g}", bool(value >= least))
        table.append({"name": f"features: {name}", "value": float(value), "unit": unit, "target": limit, "ok": ok})

    plain = {
        "hog": lambda: [hog(p, 9, (8, 8), (3, 3), "L2-Hys", channel_axis=-1).ravel() for p in pictures],
        "lbp": lambda: [local_binary_pattern(g, 25, 5, "uniform").ravel() for g in greys],
    }
    for name, feature in FEATURES.items():
        feature.extract(faces[:4])  # filter banks and weights are made once
        ways = [lambda f=feature: f.extract(faces, THREADS)]
        if name != "cnn":
            ways.append(lambda f=feature: f.extract(faces, 1))
        ways += [plain[name]] if name in plain else []
        found = per_second(ways, len(faces), repeats)
        row(f"{name} ({feature.dim} numbers)", found[0], "faces/s", GIST_TARGET if name == "gist" else None)
        if name != "cnn":
            row(f"{name}, two threads over one", found[0] / found[1], "x")
        if name in plain:
            row(f"{name}, over a plain loop of scikit-image", found[0] / found[2], "x", least=1)
    return table


if __name__ == "__main__":
    for each in rows():
        verdict = {None: "", True: "ok", False: "MISSED"}[each["ok"]]
        print(f"{each['name']:55s} {each['value']:9.2f} {each['unit']:8s} {each['target']:8s} {verdict}")
