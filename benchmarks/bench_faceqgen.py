"""FaceQgen: what its training costs at default size, and a score.

Run with `python benchmarks/bench_faceqgen.py`. Seconds are those of two quiet cores.
"""

import time

from fiqa_lib.data import load_orl, split_by_identity
from fiqa_lib.scorers import SCORERS


def rows():
    train, test = split_by_identity(load_orl(), random_state=0)
    start = time.perf_counter()
    scorer = SCORERS["faceqgen"]().fit(train)
    training = time.perf_counter() - start
    start = time.perf_counter()
    scorer.score_samples(test)
    each = 1000 * (time.perf_counter() - start) / len(test)
    name = f"FaceQgen: training on {len(train)} faces"
    return [
        {"name": name, "value": training, "unit": "s", "target": "<= 240", "ok": training <= 240},
        {"name": "FaceQgen: all measures of a face", "value": each, "unit": "ms"},
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"{row['name']}: {row['value']:.1f} {row['unit']}")
