"""Cost of the quality methods that only watch the embedding: SER-FIQ and perturbation stability.

Run with `python benchmarks/bench_stability.py`. Every figure is a ratio of two things measured in one run, in turns,
so that a machine with other work disturbs both.

A loop over single pictures is measured twice, each time with both pictures of a pair embedded anew for each draw: with
dlib's own call, as one would write it first; and with the course's own network, whose single passes are nearly as
efficient on two cores as its batches. What sharing and batches can give over the second is bounded by the row "batches
over single passes" times 2 K / (K + 1), whatever the code around them does.
"""

import time

import cv2
import dlib
import numpy as np
import torch

from fiqa_lib.data import load_orl
from fiqa_lib.recognition import DlibResNet
from fiqa_lib.recognition.similarity import cosine
from fiqa_lib.scorers.ser_fiq import SerFiq
from fiqa_lib.scorers.stability import PerturbationStability
from fiqa_lib.transforms import image_seeds, perturb
from fiqa_lib.weights import packaged_file

DRAWS = 4


def best_in_turns(functions, repeats):
    """The shortest of several runs of each function, run in turns: a list of seconds."""
    seconds = np.full((repeats, len(functions)), np.inf)
    for turn in range(repeats):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            seconds[turn, index] = time.perf_counter() - start
    return seconds.min(0)


def one_at_a_time(faces, embed, kind, draws):
    """The definition, picture by picture, both of a pair embedded anew for each draw; `embed` takes one picture."""
    scores = []
    for image in faces.images:
        image, found = image[None], []
        for draw in range(draws):
            moved = perturb(image, kind, seeds=image_seeds(image, 0, draw))
            found.append(cosine(embed(image), embed(moved))[0])
        scores.append(np.mean(found))
    return np.array(scores)


def dlibs_own(recogniser):
    """dlib's own call as a function (1, 192, 192, 3) -> (1, 128), on the same chip."""
    name = "dlib_face_recognition_resnet_model_v1.dat"
    network = dlib.face_recognition_model_v1(str(packaged_file("face-recognition-models", name)))
    top, left, bottom, right = recogniser.window

    def embed(images):
        chip = np.ascontiguousarray(images[0, top:bottom, left:right])
        return np.array(network.compute_face_descriptor(chip))[None]

    return embed


def rows(n_faces=128, repeats=3):
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    faces, recogniser = load_orl()[:n_faces], DlibResNet()
    recogniser.embed(faces[:32])
    table = []

    def row(name, value, unit, target=None, most=None):
        ok = None if target is None and most is None else value >= target if most is None else value <= most
        limit = "" if ok is None else f">= {target:g}" if most is None else f"<= {most:g}"
        table.append({"name": f"stability: {name}", "value": float(value), "unit": unit, "target": limit, "ok": ok})

    ser_fiq = SerFiq(100, recogniser=recogniser)
    plain, whole = best_in_turns([lambda: recogniser.embed(faces), lambda: ser_fiq.score_samples(faces)], repeats)
    row("SER-FIQ, T = 100, over a plain embedding", whole / plain, "x", most=1.15)

    for kind in ("flip", "gaussian"):
        draws = 1 if kind == "flip" else DRAWS
        scorer = PerturbationStability(kind, n_draws=draws, recogniser=recogniser)
        embed, batched = best_in_turns(
            [
                lambda k=draws: [recogniser.embed(faces) for _ in range(k + 1)],
                lambda s=scorer: s.score_samples(faces),
            ],
            repeats,
        )
        row(f"{kind}, K = {draws}, over K + 1 plain embeddings", batched / embed, "x", most=1.25)
        # the same definition, the same pictures, without batches and with nothing shared between draws
        few, own = faces[:8], dlibs_own(recogniser)
        np.testing.assert_allclose(one_at_a_time(few[:2], own, kind, draws), scorer.score_samples(few[:2]), atol=1e-4)
        slow, slow_dlib = best_in_turns(
            [
                lambda k=draws, n=kind, f=few: one_at_a_time(f, recogniser.embed, n, k),
                lambda k=draws, n=kind, f=few, e=own: one_at_a_time(f, e, n, k),
            ],
            2,
        )
        share = len(faces) / len(few) / batched
        row(f"{kind}, K = {draws}, faster than one picture at a time, dlib's own call", slow_dlib * share, "x", 5)
        row(f"{kind}, K = {draws}, faster than one picture at a time, the course's network", slow * share, "x")
    single, batch = best_in_turns(
        [lambda: [recogniser.embed(faces.images[i : i + 1]) for i in range(16)], lambda: recogniser.embed(faces)],
        repeats,
    )
    row("batches over single passes of the course's network", single / 16 * len(faces) / batch, "x")
    return table


if __name__ == "__main__":
    for row in rows():
        ok = "" if row["ok"] is None else "ok" if row["ok"] else "MISSED"
        print(f"{row['name']:70} {row['value']:9.3f} {row['unit']:4} {row['target']:8} {ok}")
