"""Any recogniser that its authors publish as an ONNX file, run by OpenCV: no further package is needed."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import DataError, WeightsError
from .base import ARCFACE_SIZE, Recogniser, arcface_crop, crops_of
from .checkpoints import Source, require, sha256

SOURCE = Source(
    "insightface (model zoo, for example)",
    "w600k_r50.onnx of buffalo_l",
    "https://github.com/deepinsight/insightface/tree/master/model_zoo",
)


class OnnxRecogniser(Recogniser):
    """An ONNX recogniser with a 112x112 input, compared by the cosine. It has no gradients and no features to drop out.

    The defaults are those of insightface's own ONNX files. A file does not say what colour order and range its network
    was trained with: read it up at its authors', a wrong choice gives plausible and bad embeddings.

    OpenCV ignores the batch size that a file declares, but a file may have it built into a reshape. So two pictures are
    tried together when the file is opened; where they do not come out as they do alone, faces are run one by one.

    Parameters
    ----------
    weights : str or Path
    bgr : bool
        Whether the network wants blue first.
    mean, scale : float
        Pixels in 0..255 become (pixel - mean) / scale.
    name : str

    Raises
    ------
    WeightsError
        The file is missing, no ONNX that OpenCV can run, or does not turn (N, 3, 112, 112) into one vector a face.
    """

    batch_size = 32

    def __init__(self, weights, *, bgr=False, mean=127.5, scale=127.5, name="onnx"):
        if not scale > 0:
            raise DataError(f"scale must be positive, got {scale}")
        self.bgr, self.mean, self.scale, self.name = bgr, mean, scale, name
        self.path = require(weights, name, SOURCE)
        self.checksum = sha256(self.path)
        self._open()

    def _open(self):
        try:
            self._network = cv2.dnn.readNetFromONNX(str(self.path))
            trial = np.random.default_rng(0).uniform(-1, 1, (2, 3, ARCFACE_SIZE, ARCFACE_SIZE)).astype(np.float32)
            single = [self._forward(trial[i : i + 1]) for i in range(2)]
        except cv2.error as error:
            raise WeightsError(
                f"{self.path}: OpenCV {cv2.__version__} cannot run it on 3 x {ARCFACE_SIZE} x {ARCFACE_SIZE} pixels "
                f"({str(error.err).strip()[:200]}). For example {SOURCE}"
            ) from error
        if single[0].shape[0] != 1 or single[0].ndim != 2 or not np.isfinite(single).all():
            raise WeightsError(
                f"{self.path}: turns one face into {single[0].shape}, expected one finite vector (1, length); "
                "this is no recogniser"
            )
        self.dim = single[0].shape[1]
        self._together = self._runs_batches(trial, np.concatenate(single))

    def _runs_batches(self, trial, expected):
        try:
            found = self._forward(trial)
        except cv2.error:
            self._network = cv2.dnn.readNetFromONNX(str(self.path))  # what a failed pass leaves behind is not defined
            return False
        return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3, atol=1e-4)

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
        images = crops_of(faces)
        step = (batch_size or self.batch_size) if self._together else 1
        out = np.empty((len(images), self.dim), np.float32)
        for start in range(0, len(images), step):
            out[start : start + step] = self._forward(self.preprocess(images[start : start + step]))
        return out

    embed.__doc__ = Recogniser.embed.__doc__

    def __getstate__(self):  # OpenCV's network can't travel to another process; the file can be opened there
        return {key: value for key, value in self.__dict__.items() if key != "_network"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open()
