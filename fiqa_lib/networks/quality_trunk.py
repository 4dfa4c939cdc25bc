"""A trunk that sees a face once and says what each of its stages saw: means and deviations over the picture.

The trunk is MobileFaceNet's (`recognition.mobilefacenet`), turned upside down: its kernels and its input are rotated by
180 degrees. TensorFlow pads a kernel with stride 2 below and to the right; after the rotation that is above and to the
left, as torch's own padding has it. The numbers are the same, without copies of large maps: a third less time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..recognition.base import ArcFaceInput, arcface_crop
from ..recognition.mobilefacenet import BOTTLENECKS, MobileFaceNetModule

FROZEN = 6
"""Blocks that training leaves as they are: the first group, and the one that halves to 14 x 14 places."""
WIDTHS = [n_out for _, n_out, number, _ in BOTTLENECKS for _ in range(number)] + [512]
N_STATISTICS = 2 * sum(WIDTHS) + 512
"""What a face becomes: a mean and a deviation of each channel after each block, and 512 features."""
N_FROZEN = 2 * sum(WIDTHS[:FROZEN])
"""How many of these, the first ones, come from frozen blocks."""


class _Convolution(nn.Conv2d):
    """The same numbers. With few pictures and one thread torch takes a slow path, which this one leaves out."""

    def _conv_forward(self, x, weight, bias):
        if torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu") and not x.is_cuda:
            shape = self.padding, self.stride, self.dilation, self.groups
            return torch.mkldnn_convolution(x, weight, bias, *shape)
        return super()._conv_forward(x, weight, bias)


def turned_upside_down(module):
    """MobileFaceNet for input that is rotated by 180 degrees: the same module, changed in place."""
    module.trunk = _without_padding(module.trunk)
    _rotate(module.places)
    return module


def _without_padding(layers):
    _rotate(layers)
    kept = []
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.padding = (1, 1)
        if hasattr(layer, "layers"):
            layer.layers = _without_padding(layer.layers)
        if isinstance(layer, nn.Conv2d | nn.PReLU) or hasattr(layer, "layers"):
            kept.append(layer)
    return nn.Sequential(*kept)


def _rotate(layers):
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                layer.__class__ = _Convolution
                layer.weight.copy_(layer.weight.flip(2, 3))


class QualityTrunk(nn.Module):
    """(B, 3, 112, 112) normalised RGB, upside down -> (B, 4736) statistics of its stages.

    Parameters
    ----------
    network : MobileFaceNetModule, default=None
        As its authors trained it; it is changed. None: weights are to be loaded.
    """

    def __init__(self, network=None):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            network = turned_upside_down(network or MobileFaceNetModule())
        layers = list(network.trunk)
        first = next(i for i, layer in enumerate(layers) if hasattr(layer, "layers"))
        last = max(i for i, layer in enumerate(layers) if hasattr(layer, "layers"))
        self.stem = nn.Sequential(*layers[:first])
        self.blocks = nn.ModuleList([*layers[first : last + 1], nn.Sequential(*layers[last + 1 :])])
        self.places = network.places
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        seen, x = self.frozen(x)
        return torch.cat([seen, self.trained(x)], 1)

    def frozen(self, x):
        """(B, N_FROZEN) statistics of the frozen blocks, and what goes on to the others: (B, 128, 14, 14)."""
        return self._through(self.blocks[:FROZEN], self.stem(x))

    def trained(self, x):
        """(B, N_STATISTICS - N_FROZEN) from the output of the frozen blocks."""
        seen, x = self._through(self.blocks[FROZEN:], x)
        return torch.cat([seen, self.places(x).flatten(1)], 1)

    @staticmethod
    def _through(blocks, x):
        seen = []
        for block in blocks:
            x = block(x)
            places = x.float().permute(0, 2, 3, 1).flatten(1, 2)  # (B, places, channels): as they lie in memory
            mean = places.mean(1, keepdim=True)
            seen += [mean[:, 0], ((places - mean).square().mean(1) + 1e-8).sqrt()]
        return torch.cat(seen, 1), x


class Student(nn.Module):
    """A trunk and one linear unit: (B, 3, 112, 112) -> (B,), about 0 (bad) to 1 (good).

    The unit sees the standardised statistics, and the length of the 512 features.

    Parameters
    ----------
    trunk : QualityTrunk, default=None
        None: weights are to be loaded.
    """

    def __init__(self, trunk=None):
        super().__init__()
        self.trunk = QualityTrunk() if trunk is None else trunk
        self.register_buffer("mean", torch.zeros(N_STATISTICS + 1))
        self.register_buffer("scale", torch.ones(N_STATISTICS + 1))
        self.weight = nn.Parameter(torch.zeros(N_STATISTICS + 1))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.judge(self.trunk(x))

    def judge(self, statistics):
        """(B, N_STATISTICS) -> (B,)."""
        return (with_length(statistics.float()) - self.mean) / self.scale @ self.weight + self.bias

    def after_frozen(self, first, frozen):
        """The same from what the frozen blocks gave."""
        return self.judge(torch.cat([first.float(), self.trunk.trained(frozen).float()], 1))


def with_length(statistics):
    """(B, N_STATISTICS) and, as the last column, the length of the 512 features: short where a face says little."""
    return torch.cat([statistics, statistics[:, -512:].norm(dim=1, keepdim=True)], 1)


def trunk_input(images):
    """Canonical crops (N, 192, 192, 3) uint8 -> (N, 3, 112, 112) float32, normalised, upside down."""
    chips = np.ascontiguousarray(arcface_crop(images)[:, ::-1, ::-1])
    x = torch.from_numpy(chips).permute(0, 3, 1, 2).float()  # its channels lie last
    return x.sub_(ArcFaceInput.mean).div_(128.0)
