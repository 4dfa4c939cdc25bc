"""Cost of the component measures for one photograph, beside that of finding its face, and for one aligned face.

Run with `python benchmarks/bench_components.py`. The figure with a target is a ratio of two things measured in one run.
"""

import time

import cv2
import numpy as np
import skimage.data

from fiqa_lib.components import measure, measure_faces
from fiqa_lib.data import load_orl
from fiqa_lib.faces import DlibHog, landmarks

SIZES = {"512 x 512": 1, "1536 x 1536": 3, "6144 x 6144": 12}


def milliseconds(functions, repeats):
    """The shortest of several runs of each, taken in turns so that a busy moment hits none alone."""
    found = np.empty((repeats, len(functions)))
    for turn in range(repeats):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            found[turn, number] = time.perf_counter() - start
    return 1e3 * found.min(axis=0)


def rows(repeats=5, n_faces=20):
    cv2.setNumThreads(2)
    table = []

    def row(name, value, unit, most=None):
        limit, ok = ("", None) if most is None else (f"<= {most:g}", bool(value <= most))
        table.append({"name": f"components: {name}", "value": float(value), "unit": unit, "target": limit, "ok": ok})

    portrait, detector = skimage.data.astronaut(), DlibHog()
    for size, scale in SIZES.items():
        image = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        found = detector(image)
        points = landmarks(image, found[0], 68)
        detection, where, all_of_it = milliseconds(
            [
                lambda i=image: detector(i),
                lambda i=image, d=found: landmarks(i, d[0], 68),
                lambda i=image, d=found, p=points: measure(i, detections=d, points=p),
            ],
            repeats,
        )
        row(f"{size}, the detector", detection, "ms")
        row(f"{size}, 68 landmarks", where, "ms")
        row(f"{size}, all measures", all_of_it, "ms")
        row(f"{size}, measures and landmarks over the detector", (all_of_it + where) / detection, "x", most=0.6)

    faces = load_orl()[:n_faces]
    (aligned,) = milliseconds([lambda: measure_faces(faces)], repeats)
    row("an aligned face, landmarks and all measures", aligned / n_faces, "ms")
    return table


if __name__ == "__main__":
    for line in rows():
        ok = "" if line["ok"] is None else "ok" if line["ok"] else "MISSED"
        print(f"{line['name']:66} {line['value']:9.3f} {line['unit']:3} {line['target']:8} {ok}")
