"""DBCNN: how good a picture looks, from two networks whose maps are multiplied (Zhang et al. 2020, arXiv 1907.02665)."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import torch
from sklearn.linear_model import Ridge
from skimage.metrics import structural_similarity
from torch import nn
from torch.nn import functional

from .. import scnn, state
from ..degradations import CLEAN, KINDS, random_degradations
from ..errors import DataError, WeightsError
from ..faces import Faces
from ..recognition import DlibResNet, IResNet, as_recogniser
from ..recognition.base import crops_of
from ..recognition.checkpoints import Source, fill, read_layers
from .base import Scorer, register
from .pixels import face_window

PERCEPTUAL = (
    *("uneven_light", "low_contrast", "gaussian_blur", "defocus_blur", "motion_blur", "over_exposure", "low_light"),
    *("shot_noise", "sensor_noise", "low_resolution", "jpeg"),
)
"""Kinds of degradation that change how good a picture looks, and neither what it shows nor where."""
TARGETS = ("ssim", "severity", "opinion")
STREAMS = ("recogniser", "vgg16")
DLIB_BLOCKS = 10
"""Blocks of dlib's network that make the second stream: up to its last maps of useful size, 128 channels, 10 x 10."""
VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
"""Channels of VGG16's convolutions, without its last pooling (Simonyan and Zisserman 2015)."""
VGG16_SOURCE = Source("torchvision", "vgg16-397923af.pth", "https://docs.pytorch.org/vision/stable/models/vgg.html")
CHUNK = 4  # small: the maps of a few pictures fit the processor's cache

# -------------------------------------------------------------------------------------------------------------- target


def ssim_to_clean(images, clean):
    """Structural similarity of each degraded face to its clean copy, over the face: (N,) float64, at most 1.

    Wang, Bovik, Sheikh, Simoncelli 2004, with their Gaussian window, on the luminance; the mean over the face window
    (brows to mouth, cheek to cheek) of the map. A full-reference measure: it needs the clean copy, which a face in use
    does not have. DBCNN learns to guess it without.

    Parameters
    ----------
    images, clean : arrays (N, 192, 192, 3) uint8
    """
    rows, columns = face_window()
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    found = []
    for image, original in zip(images, clean, strict=True):
        pair = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (image, original))
        found.append(structural_similarity(*pair, **options)[1][rows, columns].mean())
    return np.array(found)


def targets_of(faces, target="ssim"):
    """What DBCNN learns for each face, higher is better.

    Parameters
    ----------
    faces : Faces
        For "ssim" and "severity" as `degradations` makes them, with `kind`, `severity` and `source`; for "ssim" the
        clean copies must be among them. For "opinion" with the attribute `opinion`.
    target : {"ssim", "severity", "opinion"}
        "ssim": `ssim_to_clean`. "severity": 1 - severity, which no picture shows, but we know. "opinion": what people
        said (`opinion_sets`).

    Returns
    -------
    array (N,) float64
    """
    if target not in TARGETS:
        raise DataError(f"there is no target {target!r}; known: {', '.join(TARGETS)}")
    needed = {"ssim": ("kind", "source"), "severity": ("severity",), "opinion": ("opinion",)}[target]
    table = faces.attributes if isinstance(faces, Faces) else ()
    if lacking := [column for column in needed if column not in table]:
        raise DataError(
            f"the target {target!r} needs faces with {', '.join(lacking)}: degradations makes kind, severity and source, "
            "opinion_sets.crops makes opinion"
        )
    if target == "severity":
        return 1 - table["severity"].to_numpy(float)
    if target == "opinion":
        return table["opinion"].to_numpy(float)
    row_of = {name: row for row, name in enumerate(faces.names)}
    sources = table["source"].to_numpy(str)
    if lost := sorted({name for name in sources if name not in row_of}):
        raise DataError(f"the target 'ssim' needs the clean copy of each face; {lost[0]} and others are not among them")
    return ssim_to_clean(faces.images, faces.images[[row_of[name] for name in sources]])


# ------------------------------------------------------------------------------------------------------------- network


def recogniser_maps(recogniser):
    """A copy of the convolutional part of a recogniser: float RGB 0..255 (B, 3, H, W) -> maps, with `channels`."""
    if isinstance(recogniser, DlibResNet):
        module = recogniser.module
        layers = [module.stem, nn.ReLU(), nn.MaxPool2d(3, 2), *module.blocks[:DLIB_BLOCKS]]
        return _Stream(copy.deepcopy(nn.Sequential(*layers)), recogniser.normalise, 128)
    if isinstance(recogniser, IResNet):
        module = recogniser.module
        layers = copy.deepcopy(nn.Sequential(module.stem, *module.blocks, module.norm))
        return _Stream(layers, recogniser.normalise, module.norm.num_features)
    raise DataError(
        f"{recogniser.name} has no convolutional maps; DBCNN's second stream runs with dlib, ArcFace, MagFace or "
        'AdaFace, or with stream="vgg16"'
    )


def vgg16_maps(path=None):
    """VGG16's convolutions without the last pooling: float RGB 0..255 (B, 3, H, W) -> (B, 512, H / 16, W / 16).

    Parameters
    ----------
    path : path, optional
        A state dict in torchvision's layout (`features.0.weight` ...; the classifier may be in it). Without it the
        weights are empty, to be filled by `set_state`.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or of another network.
    """
    layers, n_in = [], 3
    for n_out in VGG16:
        if n_out == "pool":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(n_in, n_out, 3, 1, 1), nn.ReLU(inplace=True)]
        n_in = n_out
    module = nn.Sequential(*layers)
    if path is not None:
        found = read_layers(path, VGG16_SOURCE, "features.0.weight")
        found = {name: value for name, value in found.items() if name.startswith("features.")}
        module = fill(module, found, lambda key: f"features.{key}", path, "VGG16", VGG16_SOURCE)
    return _Stream(module, scnn.normalise, 512)


class _Stream(nn.Module):
    """Layers with their own normalisation of the input."""

    def __init__(self, layers, normalise, channels):
        super().__init__()
        self.layers, self.normalise, self.channels = layers, normalise, channels

    def forward(self, x):
        return self.layers(self.normalise(x))


class BilinearNetwork(nn.Module):
    """Both streams, bilinear pooling and the linear unit: float RGB 0..255 (B, 3, H, W) -> (B,) quality.

    With maps A (B, C, P) of the second stream and S (B, 128, P) of S-CNN at the same P positions (S is resized to A's
    grid where they differ, as the authors' code does), the paper's equations 5 to 7: B = A S^T / P, then sign(B)
    sqrt(|B|), then length 1, then one linear unit.
    """

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second
        self.linear = nn.Linear(second.channels * scnn.CHANNELS[-1][0], 1)

    def both_maps(self, x):
        """The maps of S-CNN (B, 128, h, w) and of the second stream (B, C, h, w), on one grid."""
        s, a = self.first(scnn.normalise(x)), self.second(x)
        if s.shape[2:] != a.shape[2:]:
            s = functional.interpolate(s, a.shape[2:], mode="bilinear", align_corners=True)
        return s, a

    def features(self, x):
        """(B, C * 128) of length 1, before the linear unit."""
        s, a = self.both_maps(x)
        return bilinear(a, s)

    def forward(self, x):
        return self.linear(self.features(x))[:, 0]


def bilinear(a, s):
    """Bilinear pooling of maps (B, C, h, w) and (B, D, h, w): (B, C * D), signed square root, length 1."""
    product = a.flatten(2) @ s.flatten(2).mT / (a.shape[2] * a.shape[3])
    product = product.flatten(1)
    rooted = product.sign() * (product.abs() + 1e-8).sqrt()  # the slope of a plain root at 0 is infinite
    return functional.normalize(rooted)


# -------------------------------------------------------------------------------------------------------------- scorer


@register("dbcnn")
class DBCNN(Scorer):
    """Perceptual quality by deep bilinear pooling: S-CNN for what damage looks like, a second network for content.

    Learns in three steps: S-CNN tells 39 distortions apart (`scnn`); then the linear unit is fitted, both streams
    frozen; then all weights are tuned together.
    """

    learns = True
    claims = ()
    cost = "two networks and one matrix product"

    def __init__(
        self,
        target="ssim",
        n_copies=8,
        kinds=PERCEPTUAL,
        stream="recogniser",
        vgg_weights=None,
        n_patches=7000,
        patch=64,
        alpha=0.01,
        n_tuning=400,
        rate=1e-5,
        max_faces=None,
        recogniser="dlib",
        random_state=0,
    ):
        self.target = target
        self.n_copies = n_copies
        self.kinds = kinds
        self.stream = stream
        self.vgg_weights = vgg_weights
        self.n_patches = n_patches
        self.patch = patch
        self.alpha = alpha
        self.n_tuning = n_tuning
        self.rate = rate
        self.max_faces = max_faces
        self.recogniser = recogniser
        self.random_state = random_state
