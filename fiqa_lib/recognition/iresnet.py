"""IResNet, the network of ArcFace, MagFace, AdaFace and CR-FIQA, and how their published files differ.

| | ArcFace (insightface) | MagFace | AdaFace |
|---|---|---|---|
| names of layers | conv1, layer1.0.bn1 ... fc, features | the same, prefixed | input_layer, body, output_layer |
| input | RGB, -1..1 | BGR, 0..1 | BGR, -1..1 |
| epsilon of batch norm | 1e-5 | 2e-5 | 1e-5 |
| first block's shortcut | convolution | convolution | every second pixel |
| last batch norm | with scale and shift | with scale and shift | without |

CR-FIQA's file is ArcFace's, with one linear unit more (`qs`) that predicts quality from the embedding.

Sources: J. Deng et al., ArcFace, CVPR 2019; Q. Meng et al., MagFace, CVPR 2021; M. Kim et al., AdaFace, CVPR 2022; F.
Boutros et al., CR-FIQA, CVPR 2023; the layouts and inputs are those of the authors' public repositories.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ..errors import DataError, WeightsError
from .base import ARCFACE_SIZE, ArcFaceInput, TorchRecogniser
from .checkpoints import Source, fill, read_layers, renamed, require, sha256, shapes_of

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Blocks in each of the four stages, by the depth in the network's name."""
CHANNELS = (64, 128, 256, 512)
QUALITY = ("qs.weight", "qs.bias")
"""CR-FIQA's two layers more: a linear unit from the embedding to quality."""


class Variant(NamedTuple):
    """What distinguishes one family of published IResNets from another."""

    source: Source
    layout: str  # "insightface" or "adaface"
    bgr: bool
    mean: float  # pixels become (pixel - mean) / scale
    scale: float
    epsilon: float  # of batch norm


_ARCFACE = Source(
    "ArcFace (insightface, arcface_torch)",
    "backbone.pth (for example of ms1mv3_arcface_r100_fp16)",
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch",
)
_MAGFACE = Source("MagFace", "magface_epoch_00025.pth", "https://github.com/IrvingMeng/MagFace")
_ADAFACE = Source("AdaFace", "adaface_ir101_webface12m.ckpt and others", "https://github.com/mk-minchul/AdaFace")
_CR_FIQA = Source(
    "CR-FIQA",
    "181952backbone.pth (L, depth 100) and 32572backbone.pth (S, depth 50)",
    "https://github.com/fdbtrs/CR-FIQA",
)

VARIANTS = {
    "arcface": Variant(_ARCFACE, "insightface", bgr=False, mean=127.5, scale=127.5, epsilon=1e-5),
    "magface": Variant(_MAGFACE, "insightface", bgr=True, mean=0.0, scale=255.0, epsilon=2e-5),
    "adaface": Variant(_ADAFACE, "adaface", bgr=True, mean=127.5, scale=127.5, epsilon=1e-5),
    "cr-fiqa": Variant(_CR_FIQA, "insightface", bgr=False, mean=127.5, scale=127.5, epsilon=1e-5),
}


class _Block(nn.Module):
    """Batch norm, 3x3 convolution, batch norm, PReLU, 3x3 convolution, batch norm; plus a shortcut; nothing after."""

    def __init__(self, n_in, n_out, stride, convolve, epsilon):
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(n_in, epsilon),
            nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out, epsilon),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out, epsilon),
        )
        self.stride = stride
        self.shortcut = nn.Identity()
        if convolve:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out, epsilon))

    def forward(self, x):
        # the shortcut skips pixels itself: the same as a 1x1 convolution of stride 2, whose gradient for the weights
        # crashes PyTorch 2.13 on a CPU when channels are last and few
        return self.residual(x) + self.shortcut(x[:, :, :: self.stride, :: self.stride])


class IResNetModule(nn.Module):
    """The network alone: (B, 3, 112, 112) normalised -> (B, dim). `features` gives the input of the last linear layer.

    Parameters
    ----------
    layers : sequence of four int
        Number of blocks in each stage; each stage halves the map.
    channels : sequence of four int, default=(64, 128, 256, 512)
        Channels of each stage; the stem has as many as the first.
    dim : int, default=512
        Length of an embedding.
    layout : {"insightface", "adaface"}, default="insightface"
        "insightface": every halving block convolves its shortcut, and the last batch norm has scale and shift.
        "adaface": only blocks that change the number of channels convolve it, and the last batch norm has neither.
    epsilon : float, default=1e-5
        Of every batch norm.
    """

    def __init__(self, layers, channels=CHANNELS, dim=512, layout="insightface", epsilon=1e-5):
        super().__init__()
        self.n_features = channels[-1] * (ARCFACE_SIZE // 16) ** 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, 1, 1, bias=False), nn.BatchNorm2d(channels[0], epsilon), nn.PReLU(channels[0])
        )
        blocks, n_in = [], channels[0]
        for count, n_out in zip(layers, channels, strict=True):
            for index in range(count):
                stride = 2 if index == 0 else 1
                convolve = n_in != n_out or (layout == "insightface" and stride == 2)
                blocks.append(_Block(n_in, n_out, stride, convolve, epsilon))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(n_in, epsilon)
        self.head = nn.Sequential(
            nn.Linear(self.n_features, dim), nn.BatchNorm1d(dim, epsilon, affine=layout == "insightface")
        )
        self.eval()

    @property
    def last(self):
        """The last linear layer."""
        return self.head[0]

    def maps(self, x):
        """(B, channels, 7, 7) activations after the last block's batch norm."""
        return self.norm(self.blocks(self.stem(x)))

    def features(self, x):
        """(B, channels * 49) the maps as one vector, the input of the last linear layer. Training has dropout here."""
        return self.maps(x).flatten(1)

    def forward(self, x):
        return self.head(self.features(x))


# own name of a layer -> published name, for each layout: of the whole network, and of one block
_NAMES = {
    "insightface": (
        {"stem.0": "conv1", "stem.1": "bn1", "stem.2": "prelu", "norm": "bn2", "head.0": "fc", "head.1": "features"},
        {f"residual.{i}": name for i, name in enumerate(("bn1", "conv1", "bn2", "prelu", "conv2", "bn3"))}
        | {"shortcut": "downsample"},
    ),
    "adaface": (
        {"stem": "input_layer", "norm": "output_layer.0", "head.0": "output_layer.3", "head.1": "output_layer.4"},
        {"residual": "res_layer", "shortcut": "shortcut_layer"},
    ),
}


def published_name(key, layout, layers):
    """The name in the authors' files of the layer that `IResNetModule` calls `key`; `layers`: blocks in each stage."""
    whole, in_block = _NAMES[layout]
    block = re.match(r"blocks\.(\d+)\.(.*)", key)
    if not block:
        return renamed(key, whole)
    place, name = int(block[1]), renamed(block[2], in_block)
    if layout == "adaface":
        return f"body.{place}.{name}"
    ends = np.cumsum(layers)
    stage = int(np.searchsorted(ends, place, side="right"))
    return f"layer{stage + 1}.{place - ends[stage] + layers[stage]}.{name}"


def depth_of(layers, layout):
    """The depth (18, 34, 50, 100) whose number of blocks the layer names of a file show, or None."""
    pattern = r"body\.(\d+)\." if layout == "adaface" else r"(layer\d\.\d+)\."
    blocks = {match[1] for key in layers if (match := re.match(pattern, key))}
    return {sum(counts): depth for depth, counts in DEPTHS.items()}.get(len(blocks))


class IResNet(ArcFaceInput, TorchRecogniser):
    """A published IResNet as a `Recogniser`: 112x112, 512-d, compared by the cosine.

    AdaFace's own code returns a normalised embedding and its length. Here as everywhere `embed` gives the raw one; its
    length is MagFace's and AdaFace's notion of quality (the scorer "embedding-norm").

    Parameters
    ----------
    weights : str or Path
        The authors' file. If it is missing or wrong, the message says where it is published.
    variant : {"arcface", "magface", "adaface", "cr-fiqa"}, default="arcface"
        Whose training: decides names of layers, colour order, range and batch norm (see the module's table).
    depth : {18, 34, 50, 100}, default=100
        The network's depth, as in its name. None: that of the file.
    device : str, default="cpu"
        Where it runs: "cpu" or "cuda".
    layers : sequence of four int, default=None
        Number of blocks in each stage; None means those of the depth. This and the next two are for small networks.
    channels : sequence of four int, default=(64, 128, 256, 512)
        Channels of each stage.
    dim : int, default=512
        Length of an embedding.

    Attributes
    ----------
    quality : torch.nn.Linear or None
        CR-FIQA's unit (B, dim) -> (B, 1), where the file holds one (the scorer "cr-fiqa").

    Raises
    ------
    WeightsError
        The file is missing, of another layout or depth, or not safe to load.
    """

    quality = None

    def __init__(self, weights, variant="arcface", depth=100, device="cpu", *, layers=None, channels=CHANNELS, dim=512):
        if variant not in VARIANTS or depth not in (None, *DEPTHS):
            raise DataError(f"no {variant!r} of depth {depth!r}; variants {list(VARIANTS)}, depths {list(DEPTHS)}")
        source, layout, self.bgr, self.mean, self.scale, epsilon = VARIANTS[variant]
        self.name, self.dim, self.device = f"{variant}-r{depth}" if depth else variant, dim, device
        path = require(weights, self.name, source)
        anchor = "input_layer.0.weight" if layout == "adaface" else "conv1.weight"

        def network(counts):
            with torch.device("meta"):
                module = IResNetModule(counts, channels, dim, layout, epsilon)
            return module, lambda key: published_name(key, layout, counts)

        counts = layers or DEPTHS[depth or max(DEPTHS)]
        module, published = network(counts)
        stored = read_layers(path, source, anchor, shapes_of(module, published))
        other = depth_of(stored, layout)
        if layers is None and depth is None:
            if other is None:
                raise WeightsError(f"{path}: has the blocks of no {variant} of depth {list(DEPTHS)}. {source}")
            self.name = f"{variant}-r{other}"
            module, published = network(DEPTHS[other])
        elif layers is None and other not in (None, depth):
            raise WeightsError(f"{path}: has the blocks of {variant}-r{other}, not of {self.name}. {source}")
        fill(module, stored, published, path, self.name, source, optional=QUALITY if layout == "insightface" else ())
        if layout == "insightface" and not stored.keys().isdisjoint(QUALITY):
            with torch.device("meta"):
                quality = nn.Linear(dim, 1)
            unit = {key: stored[key] for key in QUALITY if key in stored}
            self.quality = fill(quality, unit, lambda key: f"qs.{key}", path, f"{self.name}'s qs", source).to(device)
        self.n_features = module.n_features
        self.module = module.to(device, memory_format=torch.channels_last)
        self.checksum = sha256(path)
