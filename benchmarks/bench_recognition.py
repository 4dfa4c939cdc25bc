"""Speed of the recognisers: against dlib's own call, and as a share of what the processor can do.

Run with `python benchmarks/bench_recognition.py`. Every figure is a ratio of two things measured in one run. For
MobileFaceNet also where its time goes: its depthwise convolutions and PReLUs read and write memory and hardly count.
"""

import time

import cv2
import numpy as np
import torch
from torch import nn

from fiqa_lib.data import load_orl
from fiqa_lib.errors import WeightsError
from fiqa_lib.evaluation import fnmr_at_fmr
from fiqa_lib.recognition import DlibResNet, MobileFaceNet
from fiqa_lib.recognition.similarity import all_pairs
from fiqa_lib.weights import packaged_file

GFLOP_PER_FACE = 0.54  # multiplications and additions of one 150x150 face


def best_seconds(function, repeats):
    """The shortest of several runs: what the machine can do when nothing else disturbs it."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def matrix_peak(size=2048):
    """GFLOP/s of a float32 matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / best_seconds(lambda: a @ b, 10) / 1e9


def rows(n_faces=256):
    import dlib

    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    faces = load_orl()[:n_faces]
    recogniser = DlibResNet()
    recogniser.embed(faces[:64])
    ours = len(faces) / best_seconds(lambda: recogniser.embed(faces), 5)
    peak = matrix_peak()
    theirs_net = dlib.face_recognition_model_v1(
        str(packaged_file("face-recognition-models", "dlib_face_recognition_resnet_model_v1.dat"))
    )
    top, left, bottom, right = recogniser.window
    chips = np.ascontiguousarray(faces.images[:6, top:bottom, left:right])
    theirs = len(chips) / best_seconds(lambda: [theirs_net.compute_face_descriptor(c) for c in chips], 2)
    table = [
        {"name": "recogniser: faces per second (torch)", "value": ours, "unit": "1/s"},
        {"name": "recogniser: faces per second (dlib, one at a time)", "value": theirs, "unit": "1/s"},
        {
            "name": "recogniser: torch over dlib",
            "value": ours / theirs,
            "unit": "x",
            "target": ">= 25",
            "ok": ours / theirs >= 25,
        },
        {
            "name": "recogniser: share of the matrix-product peak",
            "value": ours * GFLOP_PER_FACE / peak,
            "unit": "share",
            "target": ">= 0.6",
            "ok": ours * GFLOP_PER_FACE / peak >= 0.6,
        },
    ]
    table += errors_on_orl(recogniser)
    for batch in (1, 8, 16, 32, 64):
        for name, layout in (("channels last", torch.channels_last), ("channels first", torch.contiguous_format)):
            module = DlibResNet().module.to(memory_format=layout)
            x = recogniser.preprocess(faces[:batch]).contiguous(memory_format=layout)
            with torch.inference_mode():
                rate = batch / best_seconds(lambda m=module, x=x: m(x), max(3, 192 // batch))
            table.append({"name": f"network alone, batch {batch}, {name}", "value": rate, "unit": "1/s"})
    return table + mobilefacenet_rows(faces, peak)


def mobilefacenet_rows(faces, peak):
    """Its share of the peak, and what its kinds of layers do and take."""
    try:
        recogniser = MobileFaceNet()
    except WeightsError as error:
        return [{"name": f"mobilefacenet: not measured, {error}", "value": float("nan"), "unit": ""}]
    recogniser.embed(faces[:64])
    rate = len(faces) / best_seconds(lambda: recogniser.embed(faces), 5)
    layers = layers_of(recogniser, faces[: recogniser.batch_size])
    gflop = sum(layer["gflop"] for layer in layers)
    share = rate * gflop / peak
    table = [
        {"name": "mobilefacenet: faces per second", "value": rate, "unit": "1/s"},
        {"name": "mobilefacenet: one face", "value": gflop, "unit": "GFLOP"},
        {
            "name": "mobilefacenet: share of the matrix-product peak",
            "value": share,
            "unit": "share",
            "target": ">= 0.7",
            "ok": share >= 0.7,
        },
    ]
    for kind in dict.fromkeys(layer["kind"] for layer in layers):
        some = [layer for layer in layers if layer["kind"] == kind]
        work, seconds = (sum(layer[what] for layer in some) for what in ("gflop", "seconds"))
        table += [
            {"name": f"mobilefacenet, {kind}: share of the work", "value": work / gflop, "unit": "share"},
            {"name": f"mobilefacenet, {kind}: time of a face", "value": 1000 * seconds, "unit": "ms"},
            {"name": f"mobilefacenet, {kind}: share of the peak", "value": work / seconds / peak, "unit": "share"},
        ]
    least = sum(layer["seconds"] for layer in layers if layer["kind"] in ("depthwise", "PReLU"))
    bound = gflop / peak / (gflop / peak + least)
    name = "mobilefacenet: share if all but depthwise and PReLU ran at the peak"
    return [*table, {"name": name, "value": bound, "unit": "share"}]


def layers_of(recogniser, faces):
    """Kind, GFLOP and seconds of each layer for one face, measured one by one on inputs of their own shape."""
    found, hooks = [], []

    def seen(module, inputs, output):
        found.append((module, inputs[0].clone(), output.numel() // len(output)))

    for module in recogniser.module.modules():
        if isinstance(module, (nn.Conv2d, nn.PReLU, nn.Linear)):
            hooks.append(module.register_forward_hook(seen))
    table = []
    with torch.inference_mode():
        recogniser.module(recogniser.preprocess(faces))
        for hook in hooks:
            hook.remove()
        for module, x, values in found:
            kind = type(module).__name__
            if isinstance(module, nn.Conv2d):
                kind = "depthwise" if module.groups > 1 else "1x1" if module.kernel_size == (1, 1) else "first"
            work = 0 if kind == "PReLU" else 2 * values * module.weight[0].numel() / 1e9
            seconds = best_seconds(lambda m=module, x=x: m(x), 5) / len(faces)
            table.append({"kind": kind, "gflop": work, "seconds": seconds})
    return table


def errors_on_orl(recogniser):
    """All pairs of ORL through the canonical crop: no speed, but what the speed is for."""
    faces = load_orl()
    embeddings, table = recogniser.embed(faces), []
    for kind in ("cosine", "euclidean"):
        similarity, mated = all_pairs(embeddings, faces.identities, kind)
        value = fnmr_at_fmr(similarity, mated, 1e-3)
        ok = bool(value <= 0.025)
        name = f"ORL, all pairs, {kind}: FNMR at FMR 1e-3"
        table.append({"name": name, "value": float(value), "unit": "share", "target": "<= 0.025", "ok": ok})
    return table


if __name__ == "__main__":
    from run import report

    report(rows())
