"""TransFace: a vision transformer for faces whose patches are weighted by a small squeeze-and-excitation network.

Source: J. Dan et al., TransFace: Calibrating Transformer Training for Face Recognition from a Data-Centric Perspective,
ICCV 2023. Layout and input are those of the authors' public repository. Their patch masking and their two further
outputs (patch weights, patch entropy) belong to training and are left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ..errors import DataError
from .base import ARCFACE_SIZE, ArcFaceInput, TorchRecogniser
from .checkpoints import Source, fill, read_layers, renamed, require, sha256, shapes_of

SOURCE = Source("TransFace", "glint360k_model_TransFace_L.pt and others", "https://github.com/DanJun6737/TransFace")
PATCH = 9


class Size(NamedTuple):
    """Width of a token, number of blocks, heads of attention."""

    width: int
    depth: int
    heads: int


SIZES = {"s": Size(512, 12, 8), "b": Size(512, 24, 8), "l": Size(768, 24, 8)}


class _Block(nn.Module):
    """Attention and a two-layer perceptron with ReLU6, each after a layer norm and with a shortcut."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attention(self, x):
        batch, tokens, width = x.shape
        query, key, value = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(functional.relu6(self.fc1(self.norm2(x))))


class TransFaceModule(nn.Module):
    """The network alone: (B, 3, 112, 112) normalised RGB -> (B, dim). `features`: the input of the last linear layer.

    12 x 12 patches of 9 pixels (the last 4 rows and columns of the input are not seen), learned positions, `depth`
    blocks, a layer norm; a weight in 0..1 for each patch; all tokens side by side -> width -> dim, with batch norms.

    Parameters
    ----------
    width : int
        Length of a token.
    depth : int
        Number of blocks.
    heads : int
        Heads of attention in each block.
    dim : int, default=512
        Length of an embedding.
    """

    def __init__(self, width, depth, heads, dim=512):
        super().__init__()
        n_patches = (ARCFACE_SIZE // PATCH) ** 2
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.positions = nn.Parameter(torch.zeros(1, n_patches, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.weigh = nn.Sequential(
            nn.Linear(n_patches * width, n_patches, bias=False),
            nn.ReLU(),
            nn.Linear(n_patches, n_patches, bias=False),
            nn.Sigmoid(),
        )
        self.reduce = nn.Sequential(nn.Linear(n_patches * width, width, bias=False), nn.BatchNorm1d(width, eps=2e-5))
        self.head = nn.Sequential(nn.Linear(width, dim, bias=False), nn.BatchNorm1d(dim, eps=2e-5))
        self.eval()

    @property
    def last(self):
        """The last linear layer."""
        return self.head[0]

    def tokens(self, x):
        """(B, 144, width) patches after the last layer norm."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def features(self, x):
        """(B, width) the input of the last linear layer."""
        tokens = self.tokens(x)
        weighted = tokens * self.weigh(tokens.flatten(1))[:, :, None]
        return self.reduce(weighted.flatten(1))

    def forward(self, x):
        return self.head(self.features(x))


_NAMES = {
    "patches": "patch_embed.proj",
    "positions": "pos_embed",
    "weigh": "senet",
    "reduce.0": "feature.0",
    "reduce.1": "feature.1",
    "head.0": "feature.2",
    "head.1": "feature.3",
}
_NAMES_IN_BLOCK = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def published_name(key):
    """The name in the authors' files of the layer that `TransFaceModule` calls `key`."""
    if block := re.match(r"(blocks\.\d+)\.(.*)", key):
        return f"{block[1]}.{renamed(block[2], _NAMES_IN_BLOCK)}"
    return renamed(key, _NAMES)


class TransFace(ArcFaceInput, TorchRecogniser):
    """A published TransFace as a `Recogniser`: 112x112 RGB in -1..1, 512-d, compared by the cosine.

    Parameters
    ----------
    weights : str or Path
        The authors' file. If it is missing or wrong, the message says where it is published.
    size : {"s", "b", "l"}, default="s"
        Small, base or large.
    device : str, default="cpu"
        Where it runs: "cpu" or "cuda".
    layers : Size, default=None
        Width, depth and heads; None means those of the size. This and the next are for small networks.
    dim : int, default=512
        Length of an embedding.

    Raises
    ------
    WeightsError
        The file is missing, of another layout or size, or not safe to load.
    """

    def __init__(self, weights, size="s", device="cpu", *, layers=None, dim=512):
        if size not in SIZES:
            raise DataError(f"no TransFace of size {size!r}; there are {list(SIZES)}")
        self.name, self.dim, self.device = f"transface-{size}", dim, device
        path = require(weights, self.name, SOURCE)
        with torch.device("meta"):
            module = TransFaceModule(*(layers or SIZES[size]), dim)
        stored = read_layers(path, SOURCE, "patch_embed.proj.weight", shapes_of(module, published_name))
        fill(module, stored, published_name, path, self.name, SOURCE, optional=("mask_token",))
        self.n_features = module.head[0].in_features
        self.module = module.to(device)
        self.checksum = sha256(path)
