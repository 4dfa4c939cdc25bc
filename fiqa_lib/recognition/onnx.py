"""Any recogniser that its authors publish as an ONNX file, run by OpenCV: no further package is needed."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys

import cv2
import numpy as np

from ..cache import cache_folder, content_key, sources_of
from ..errors import DataError, WeightsError
from ..faces import crops_of
from ..faces.images import printable
from ..files import whole_file
from ..weights import what_instead
from . import onnx_trial
from .base import ARCFACE_SIZE, Recogniser, arcface_crop
from .checkpoints import Source, require, sha256

SOURCE = Source(
    "insightface (model zoo, for example)",
    "w600k_r50.onnx of buffalo_l",
    "https://github.com/deepinsight/insightface/tree/master/model_zoo",
)
SECONDS, SECONDS_PER_MB = 10.0, 0.1
"""How long the trial of a file may take: for any, and for each of its megabytes more."""
MEMORY, MEMORY_PER_BYTE = 500_000_000, 4
"""Bytes that the trial of a file may take: for any, and for each of its own bytes more (OpenCV holds copies)."""


def try_out(path, checksum):
    """Open and run a file in a process of its own; a file with the same content that was good before is not run again.

    Parameters
    ----------
    path : Path
        The .onnx file.
    checksum : str
        SHA-256 of its content. A good result is remembered under it in `cache_folder("onnx")`.

    Raises
    ------
    WeightsError
        OpenCV can't run it, or it crashes, hangs, or takes too much memory.
    """
    key = content_key(checksum, cv2.__version__, platform.machine(), sources_of(onnx_trial.__name__))
    known = cache_folder("onnx", f"{key}.json")
    if known.is_file():
        return
    size = path.stat().st_size
    seconds, n_bytes = SECONDS + SECONDS_PER_MB * size / 1e6, MEMORY + MEMORY_PER_BYTE * size
    command = [sys.executable, "-P", onnx_trial.__file__, str(path), str(ARCFACE_SIZE), str(n_bytes)]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    options = {"capture_output": True, "text": True, "errors": "replace", "env": os.environ | alone}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=seconds, **options)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{path}: did not end in {seconds:.0f} s on two pictures. {_REMEDY}") from error
    said, memory = done.stdout.strip(), f"{n_bytes / 1e6:.0f} MB"
    if done.returncode == onnx_trial.REFUSED:
        reason = printable(json.loads(said))
        if "alloc" in reason or "memory" in reason:
            raise WeightsError(f"{path}: takes more than {memory}. {_REMEDY}")
        raise WeightsError(
            f"{path}: OpenCV {cv2.__version__} cannot run it on 3 x {ARCFACE_SIZE} x {ARCFACE_SIZE} pixels "
            f"({reason[:200]}). For example {SOURCE}"
        )
    if done.returncode:
        last = printable((done.stderr.strip().splitlines() or ["without a word"])[-1][:200])
        end = _SIGNALS.get(-done.returncode, f"status {done.returncode}")
        what = f"takes more than {memory}" if "alloc" in done.stderr else f"crashes OpenCV {cv2.__version__}"
        raise WeightsError(f"{path}: {what} ({end}: {last}). {_REMEDY}")
    try:
        with whole_file(known) as temporary:
            temporary.write_text(said + "\n", encoding="utf-8")
    except OSError:  # a full or read-only disk: the file is tried again next time
        pass


_REMEDY = f"It is damaged, or made to do harm. For example {SOURCE}"
_SIGNALS = {int(number): number.name for number in signal.Signals}


class OnnxRecogniser(Recogniser):
    """An ONNX recogniser with a 112x112 input, compared by the cosine. It has neither gradients nor `features`.

    The defaults are those of insightface's own ONNX files. A file does not say which colour order and range its network
    was trained with: look them up at its authors'. A wrong choice gives plausible and bad embeddings.

    A file is first run in a process of its own, since a damaged one can end the process that opens it; that it is good
    is remembered by its content (`try_out`).

    OpenCV ignores the batch size that a file declares, but a file may have it built into a reshape. So two pictures are
    tried together when the file is opened; where they differ from each alone, faces run one by one.

    Parameters
    ----------
    weights : str or Path
        The .onnx file: (N, 3, 112, 112) float32 -> (N, D).
    bgr : bool, default=False
        Whether the network wants blue first.
    mean, scale : float, default=127.5
        Pixels in 0..255 become (pixel - mean) / scale.
    name : str, default="onnx"
        Short name for tables.

    Raises
    ------
    WeightsError
        The file is missing, no ONNX that OpenCV can run, crashes it, or does not turn (N, 3, 112, 112) into one vector
        a face.
    """

    def __init__(self, weights, *, bgr=False, mean=127.5, scale=127.5, name="onnx"):
        if not scale > 0:
            raise DataError(f"scale must be positive, got {scale}")
        self.bgr, self.mean, self.scale, self.name = bgr, mean, scale, name
        self.path = require(weights, name, SOURCE)
        if instead := what_instead(self.path):
            raise WeightsError(f"{self.path}: {instead}. {SOURCE}")
        self.checksum = sha256(self.path)
        self._open()

    def _open(self):
        try_out(self.path, self.checksum)
        try:
            self._network = cv2.dnn.readNetFromONNX(str(self.path))
            trial = onnx_trial.trial_pictures(ARCFACE_SIZE)
            single = [self._forward(trial[i : i + 1]) for i in range(2)]
        except cv2.error as error:
            raise WeightsError(
                f"{self.path}: OpenCV {cv2.__version__} cannot run it on 3 x {ARCFACE_SIZE} x {ARCFACE_SIZE} pixels "
                f"({str(error.err).strip()[:200]}). For example {SOURCE}"
            ) from error
        if single[0].ndim != 2 or len(single[0]) != 1 or not np.isfinite(single).all():
            raise WeightsError(
                f"{self.path}: turns one face into {single[0].shape}, expected one finite vector (1, length); "
                "this is no recogniser"
            )
        self.dim = single[0].shape[1]
        self.batch_size = Recogniser.batch_size if self._runs_batches(trial, np.concatenate(single)) else 1

    def _runs_batches(self, trial, expected):
        try:
            together = self._forward(trial)
        except cv2.error:
            self._network = cv2.dnn.readNetFromONNX(str(self.path))  # what a failed pass leaves behind is not defined
            return False
        return together.shape == expected.shape and np.allclose(together, expected, rtol=1e-3, atol=1e-4)

    def _forward(self, batch):
        self._network.setInput(batch)
        return np.array(self._network.forward())  # a copy: OpenCV uses its memory again

    def preprocess(self, faces):
        """(N, 3, 112, 112) float32 array: the ArcFace crop in the network's channel order and range."""
        chips = arcface_crop(crops_of(faces))
        chips = chips[..., ::-1] if self.bgr else chips
        batch = (chips.transpose(0, 3, 1, 2).astype(np.float32) - self.mean) / self.scale
        return np.ascontiguousarray(batch, dtype=np.float32)

    def embed(self, faces, batch_size=None):
        return super().embed(faces, 1 if self.batch_size == 1 else batch_size)  # 1: the file can do no other

    def _embed(self, images):
        return self._forward(self.preprocess(images))

    def __getstate__(self):  # OpenCV's network cannot travel to another process; the file can be opened there
        return {key: value for key, value in self.__dict__.items() if key != "_network"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        if sha256(self.path) != self.checksum:
            raise WeightsError(f"{self.path}: has changed since it was opened; load the recogniser again")
        self._open()
