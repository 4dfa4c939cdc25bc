"""The three networks of MTCNN as torch modules, with the weights that the package `mtcnn` ships. See `mtcnn`."""

from __future__ import annotations

import functools
import hashlib
import io

import numpy as np
import torch
from torch import nn

from ..errors import WeightsError
from ..weights import packaged_file

SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""The known files of weights. They are pickles inside, so no other file is ever read."""


class _WidthFirst(nn.Module):
    """(B, C, H, W) -> (B, W * H * C), the order in which the weights were trained."""

    def forward(self, x):
        return x.permute(0, 3, 2, 1).flatten(1)


class _Network(nn.Module):
    """Layers, and one output for each of several last layers. The last output is the pair of face and no face."""

    def __init__(self, layers, outputs):
        super().__init__()
        self.layers, self.outputs = nn.Sequential(*layers), nn.ModuleList(outputs)

    def forward(self, x):
        x = self.layers(x)
        *others, pair = [output(x) for output in self.outputs]
        return *others, torch.sigmoid(pair[:, 1] - pair[:, 0])


def build_networks():
    """P-Net, R-Net and O-Net without weights, as a dict of torch modules: 12, 24 and 48 pixels of input."""

    def convolution(n_in, n_out, kernel):
        return [nn.Conv2d(n_in, n_out, kernel), nn.PReLU(n_out)]

    def linear(n_in, n_out):
        return [_WidthFirst(), nn.Linear(n_in, n_out), nn.PReLU(n_out)]

    pool, rounded_up = nn.MaxPool2d, functools.partial(nn.MaxPool2d, ceil_mode=True)
    pnet = [*convolution(3, 10, 3), rounded_up(2, 2), *convolution(10, 16, 3), *convolution(16, 32, 3)]
    rnet = [*convolution(3, 28, 3), rounded_up(3, 2), *convolution(28, 48, 3), pool(3, 2), *convolution(48, 64, 2)]
    onet = [*convolution(3, 32, 3), rounded_up(3, 2), *convolution(32, 64, 3), pool(3, 2)]
    onet += [*convolution(64, 64, 3), rounded_up(2, 2), *convolution(64, 128, 2)]
    return {
        "pnet": _Network(pnet, [nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)]),
        "rnet": _Network([*rnet, *linear(576, 128)], [nn.Linear(128, 4), nn.Linear(128, 2)]),
        "onet": _Network([*onet, *linear(1152, 256)], [nn.Linear(256, n) for n in (4, 10, 2)]),
    }


@functools.cache
def load_networks():
    """The three networks with the published weights.

    Returns
    -------
    dict of str -> torch.nn.Module
        "pnet", "rnet", "onet", in evaluation mode.

    Raises
    ------
    DataError
        The package `mtcnn` is not installed.
    WeightsError
        A file is not the known one.
    """
    import joblib

    networks = build_networks()
    for name, network in networks.items():
        path = packaged_file("mtcnn", f"mtcnn/assets/weights/{name}.lz4")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != SHA256[name]:
            raise WeightsError(f"{path}: not the known weights (its SHA-256 differs); pip install mtcnn==1.0.0")
        with torch.no_grad():
            for parameter, values in zip(network.parameters(), joblib.load(io.BytesIO(data)), strict=True):
                values = torch.from_numpy(np.ascontiguousarray(values))
                if values.ndim == 4:  # height, width, in, out
                    values = values.permute(3, 2, 0, 1)
                elif values.ndim == 2:
                    values = values.T
                parameter.copy_(values.reshape(parameter.shape))
        network.eval()
    return networks


def run(name, images):
    """The outputs of one network.

    Parameters
    ----------
    name : {"pnet", "rnet", "onet"}
        The network.
    images : array (B, H, W, 3) uint8 RGB
        12 pixels or more for P-Net, 24 for R-Net, 48 for O-Net.

    Returns
    -------
    list of arrays
        Shifts of the four sides of the box, O-Net also ten coordinates of landmarks, and the share of "face", in 0..1.
    """
    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(127.5).div_(128)
        return [output.numpy() for output in load_networks()[name](x)]
