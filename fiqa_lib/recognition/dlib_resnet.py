"""dlib's face recognition network (ResNet-29, 128-d), read from dlib's own weight file into a torch module.

Network: D. King, dlib's `dnn_face_recognition_ex`, trained on about 3 million faces; weights CC0, shipped by the
package `face-recognition-models`. In torch it is differentiable and, on a CPU, much faster than dlib's own call.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import WeightsError
from ..faces import CHIP_ORIGIN, crops_of
from ..weights import packaged_file
from .base import TorchRecogniser
from .checkpoints import sha256

INPUT_SIZE = 150
MEAN_RGB = (122.782, 117.001, 104.298)
SCALE = 256.0
# (blocks, channels, first block halves) from the input to the output
STAGES = ((3, 32, False), (4, 64, True), (3, 128, True), (3, 256, True), (1, 256, True))

_LAYER = re.compile(rb"\x05con_4|\x07affine_|\x04fc_2")


def _read_integer(data, at):
    """One integer of dlib's serialisation and where it ends: a control byte (low nibble: length; top bit: sign), then
    the bytes."""
    n_bytes = data[at] & 0x0F
    if not 1 <= n_bytes <= 8 or at + 1 + n_bytes > len(data):
        raise ValueError(f"no integer at byte {at}")
    value = int.from_bytes(data[at + 1 : at + 1 + n_bytes], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + n_bytes


def _read_tensor(data, at):
    """A tensor and where it ends: the version (2), four sizes, then raw little-endian float32."""
    sizes = []
    for _ in range(5):
        value, at = _read_integer(data, at)
        sizes.append(value)
    if sizes[0] != 2 or min(sizes[1:]) < 1:
        raise ValueError(f"no tensor at byte {at}")
    count = int(np.prod(sizes[1:]))
    end = at + 4 * count
    if end > len(data):
        raise ValueError("the file ends within a tensor")
    return np.frombuffer(data, "<f4", count, at).astype(np.float32).reshape(sizes[1:]), end


def read_dat(path):
    """Read the parameters of a dlib network file in order from the input to the output.

    Parameters
    ----------
    path : str or Path
        `dlib_face_recognition_resnet_model_v1.dat`.

    Returns
    -------
    list of (str, array)
        Layer name ("con_4", "affine_" or "fc_2") and its flat float32 parameters ("fc_2": 256 x 128).

    Raises
    ------
    WeightsError
        When the file is missing or not in dlib's layout.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}); pip install face-recognition-models brings this file"
        ) from error
    layers, at = [], 0
    try:
        while match := _LAYER.search(data, at):
            name, at = match.group()[1:].decode(), match.end()
            if name == "fc_2":  # outputs, inputs and a parameter version of its own come first
                for _ in range(2):
                    _, at = _read_integer(data, at)
            tensor, at = _read_tensor(data, at)
            layers.append((name, tensor.squeeze() if name == "fc_2" else tensor.ravel()))
    except ValueError as error:
        raise WeightsError(f"{path}: not a dlib network file ({error})") from error
    return layers


class _Layers:
    """The layers of a file, taken in order; a (convolution, affine) pair becomes one convolution."""

    def __init__(self, path):
        self.path, self.layers, self.at = path, read_dat(path), 0

    def take(self, name, size):
        if self.at >= len(self.layers):
            raise WeightsError(f"{self.path}: ends after {self.at} layers; this is not dlib's face recognition network")
        stored, values = self.layers[self.at]
        if stored != name or values.size != size:
            raise WeightsError(
                f"{self.path}: layer {self.at} is {stored} with {values.size} numbers, expected {name} with {size}; "
                "this is not dlib_face_recognition_resnet_model_v1.dat"
            )
        self.at += 1
        return values

    def convolution(self, n_in, n_out, kernel, stride=1, padding=0):
        weights = self.take("con_4", n_out * n_in * kernel * kernel + n_out)
        gamma, beta = self.take("affine_", 2 * n_out).reshape(2, n_out)
        weight, bias = weights[:-n_out].reshape(n_out, n_in, kernel, kernel), weights[-n_out:]
        layer = nn.Conv2d(n_in, n_out, kernel, stride, padding)
        with torch.no_grad():  # gamma * (w x + b) + beta is one convolution
            layer.weight.copy_(torch.from_numpy(weight * gamma[:, None, None, None]))
            layer.bias.copy_(torch.from_numpy(bias * gamma + beta))
        return layer


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut. A halving block shrinks the shortcut by a 2x2 mean."""

    def __init__(self, layers, n_in, n_out, halves):
        super().__init__()
        self.halves = halves
        self.first = layers.convolution(n_in, n_out, 3, *((2, 0) if halves else (1, 1)))
        self.second = layers.convolution(n_out, n_out, 3, 1, 1)

    def forward(self, x):
        y = self.second(self.first(x).relu_())
        if self.halves:
            x = functional.avg_pool2d(x, 2)
            # dlib adds tensors of different shapes as if zeros were appended to the smaller one
            (channels, height, width), (c, h, w) = y.shape[1:], x.shape[1:]
            y = functional.pad(y, (0, max(0, w - width), 0, max(0, h - height)))
            if c < channels or h < height or w < width:
                x = functional.pad(x, (0, max(0, width - w), 0, max(0, height - h), 0, channels - c))
        return y.add_(x).relu_()


class DlibResNetModule(nn.Module):
    """The network alone: (B, 3, 150, 150) normalised RGB -> (B, 128). `features` gives the 256 pooled features.

    Parameters
    ----------
    path : str or Path
        dlib's weight file.
    """

    def __init__(self, path):
        super().__init__()
        layers = _Layers(path)
        self.stem = layers.convolution(3, 32, 7, stride=2)
        blocks, n_in = [], 32
        for count, channels, halves in STAGES:
            for index in range(count):
                blocks.append(_Block(layers, n_in, channels, halves and index == 0))
                n_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(n_in, 128, bias=False)
        with torch.no_grad():
            self.last.weight.copy_(torch.from_numpy(layers.take("fc_2", n_in * 128).reshape(n_in, 128).T.copy()))
        self.eval()

    def maps(self, x):
        """(B, 256, 1..2, 1..2) activations before pooling."""
        x = functional.max_pool2d(self.stem(x).relu_(), 3, 2)
        return self.blocks(x)

    def features(self, x):
        """(B, 256) pooled activations, not negative: the input of the last linear layer."""
        return self.maps(x).mean((2, 3))

    def forward(self, x):
        return self.last(self.features(x))


class DlibResNet(TorchRecogniser):
    """dlib's ResNet-29 as a `Recogniser`: 150x150 RGB, 128-d embeddings.

    Its authors compare by Euclidean distance with threshold 0.6. The course uses the cosine, which does as well on ORL
    and better on photographs in the wild (notebook 02 measures it). The embeddings are not centred: strangers have a
    cosine near 0.9, so thresholds look high. Take them from data.

    Parameters
    ----------
    weights : str or Path, default=None
        `dlib_face_recognition_resnet_model_v1.dat`; None means the file of the package `face-recognition-models`.
    device : str, default="cpu"
        Where it runs: "cpu" or "cuda".

    Raises
    ------
    WeightsError
        When the file is missing or is not this network.
    """

    name = "dlib"
    dim = 128
    n_features = 256
    similarity = "cosine"
    window = (*CHIP_ORIGIN, CHIP_ORIGIN[0] + INPUT_SIZE, CHIP_ORIGIN[1] + INPUT_SIZE)

    def __init__(self, weights=None, device="cpu"):
        path = weights or packaged_file("face-recognition-models", "dlib_face_recognition_resnet_model_v1.dat")
        self.device = device
        # convolutions with the channels last are a quarter faster on a CPU (benchmarks/bench_recognition.py)
        self.module = DlibResNetModule(path).to(device, memory_format=torch.channels_last)
        self._mean = torch.tensor(MEAN_RGB, device=device).view(1, 3, 1, 1)
        self.checksum = sha256(path)

    def preprocess(self, faces):
        """(N, 3, 150, 150) float32: dlib's chip, minus its mean colour, over 256. Stored with the channels last."""
        row, column = CHIP_ORIGIN  # a plain slice: no second interpolation
        chips = crops_of(faces)[:, row : row + INPUT_SIZE, column : column + INPUT_SIZE]
        pixels = torch.from_numpy(np.ascontiguousarray(chips)).permute(0, 3, 1, 2).to(self.device, torch.float32)
        return pixels.sub_(self._mean).div_(SCALE)

    def normalise(self, chips):
        """(N, 3, 150, 150) float RGB tensor in 0..255 -> network input; the differentiable half of `preprocess`."""
        return (chips - self._mean) / SCALE
