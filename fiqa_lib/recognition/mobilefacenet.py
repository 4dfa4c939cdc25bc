"""MobileFaceNet: a small modern recogniser, trained with a margin loss on millions of photographs.

Source: S. Chen, Y. Liu, X. Gao, Z. Han, MobileFaceNets: efficient CNNs for accurate real-time face verification on
mobile devices, CCBR 2018. Weights: sirius-ai's MobileFaceNet_TF (Apache-2.0, trained on MS1M), a TensorFlow Lite file
that set-up fetches by its hash. In torch it has gradients and features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import WeightsError
from ..weights import fetched_file, what_instead
from .base import ArcFaceInput, TorchRecogniser
from .checkpoints import sha256

BOTTLENECKS = ((128, 64, 5, 2), (256, 128, 1, 2), (256, 128, 6, 1), (512, 128, 1, 2), (256, 128, 2, 1))
"""Groups of blocks: channels inside, channels out, number of blocks, stride of the first."""


class _PadBelow(nn.Module):
    """Padding of a 3x3 kernel with stride 2 as TensorFlow has it: the odd row and column lie below and to the right."""

    def forward(self, x):
        return functional.pad(x, (0, 1, 0, 1))


def _convolution(n_in, n_out, kernel, stride=1, groups=1, slope=True, padded=True):
    """Layers of one convolution with its PReLU."""
    padding = kernel // 2 if padded and stride == 1 else 0
    layers = [nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups)]
    return [_PadBelow()] * (stride == 2) + layers + [nn.PReLU(n_out)] * slope


class _Bottleneck(nn.Module):
    """Wider, each channel by itself, narrower; with a shortcut where the shape stays."""

    def __init__(self, n_in, inside, n_out, stride):
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(n_in, inside, 1),
            *_convolution(inside, inside, 3, stride, groups=inside),
            *_convolution(inside, n_out, 1, slope=False),
        )
        self.shortcut = stride == 1 and n_in == n_out

    def forward(self, x):
        return x + self.layers(x) if self.shortcut else self.layers(x)


class MobileFaceNetModule(nn.Module):
    """The network alone: (B, 3, 112, 112) normalised RGB -> (B, 192).

    `trunk` gives (B, 512, 7, 7) maps; a depthwise 7x7 convolution weighs their places; two linear layers follow.
    `features` gives the 512 inputs of the last of these.
    """

    def __init__(self):
        super().__init__()
        layers, width = [*_convolution(3, 64, 3, 2), *_convolution(64, 64, 3, groups=64)], 64
        layers += _convolution(64, 64, 1, slope=False)
        for inside, n_out, number, stride in BOTTLENECKS:
            for index in range(number):
                layers.append(_Bottleneck(width, inside, n_out, stride if index == 0 else 1))
                width = n_out
        self.trunk = nn.Sequential(*layers, *_convolution(width, 512, 1))
        self.places = nn.Sequential(
            *_convolution(512, 512, 7, groups=512, slope=False, padded=False), *_convolution(512, 512, 1, slope=False)
        )
        self.last = nn.Linear(512, 192)

    def features(self, x):
        """(B, 512) input of the last linear layer."""
        return self.places(self.trunk(x)).flatten(1)

    def forward(self, x):
        return self.last(self.features(x))


def read_tflite(path):
    """The parameters of a TensorFlow Lite network, in the order in which they are used.

    Parameters
    ----------
    path : path
        A .tflite file of convolutions and PReLUs that are written out as relu(x) + a (x - |x|).

    Returns
    -------
    list of array
        For each convolution its weights (out, in, height, width) and biases, for each PReLU its slopes, which are 2a.

    Raises
    ------
    WeightsError
        The file is missing or is no TensorFlow Lite network.
    """
    import tflite

    if instead := what_instead(path):
        raise WeightsError(f"{path}: {instead}; python -m fiqa_lib fetch brings the right file")
    try:
        data = Path(path).read_bytes()
        if data[4:8] != b"TFL3":
            raise ValueError("its header is not TFL3")
        model = tflite.Model.GetRootAsModel(data, 0)
        graph, arrays = model.Subgraphs(0), []

        def array(index):
            tensor = graph.Tensors(int(index))
            values = model.Buffers(tensor.Buffer()).DataAsNumpy()
            return np.frombuffer(values.tobytes(), "<f4").reshape(tensor.ShapeAsNumpy())

        for number in range(graph.OperatorsLength()):
            operator = graph.Operators(number)
            kind, inputs = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode(), operator.InputsAsNumpy()
            if kind == tflite.BuiltinOperator.CONV_2D:
                arrays += [array(inputs[1]).transpose(0, 3, 1, 2), array(inputs[2])]
            elif kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D:
                arrays += [array(inputs[1]).transpose(3, 0, 1, 2), array(inputs[2])]
            elif kind == tflite.BuiltinOperator.MUL:
                arrays.append(2 * array(inputs[0]))
    except Exception as error:  # whatever an arbitrary file makes the reader raise, it is about this file
        raise WeightsError(f"{path}: not a TensorFlow Lite network ({error})") from error
    return arrays


class MobileFaceNet(ArcFaceInput, TorchRecogniser):
    """MobileFaceNet as a `Recogniser`: 112x112 RGB, 192-d embeddings, compared by their cosine.

    Embeddings are not normalised: their length can be used. Strangers have a cosine near 0.

    Parameters
    ----------
    weights : path, default=None
        `MobileFaceNet.tflite`; None means the file that set-up fetched.
    device : str, default="cpu"
        Where it runs: "cpu" or "cuda".

    Raises
    ------
    WeightsError
        When the file is missing or is not this network.
    """

    name = "mobilefacenet"
    dim = 192
    n_features = 512
    similarity = "cosine"
    scale = 128.0
    batch_size = 16

    def __init__(self, weights=None, device="cpu"):
        path = fetched_file("mobilefacenet") if weights is None else weights
        arrays, module = read_tflite(path), MobileFaceNetModule()
        parameters = list(module.parameters())
        shapes = [tuple(p.shape) for p in parameters]
        shapes[-2] = (*shapes[-2], 1, 1)  # the last layer is stored as a convolution
        if [a.shape for a in arrays] != shapes:
            raise WeightsError(f"{path}: not MobileFaceNet: {len(arrays)} layers where {len(shapes)} are expected")
        if not all(np.isfinite(a).all() for a in arrays):
            raise WeightsError(f"{path}: holds NaN or infinity; the file is damaged")
        with torch.no_grad():
            for parameter, values in zip(parameters, arrays, strict=True):
                parameter.copy_(torch.from_numpy(values.reshape(parameter.shape).copy()))
        self.device = device
        self.module = module.eval().to(device, memory_format=torch.channels_last)
        self.checksum = sha256(path)
