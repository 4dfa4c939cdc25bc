"""S-CNN: a network that learns to classify 39 distortions of a picture.

Source: W. Zhang, K. Ma, J. Yan, D. Deng, Z. Wang, Blind image quality assessment using a deep bilinear convolutional
neural network, IEEE TCSVT 30, 2020 (arXiv 1907.02665), section III.A: seven kinds of distortion at five levels, and
over- and under-exposure at two, make 39 classes. No human labels are needed: the distortion is known, since it is
synthetic.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from .. import weights
from ..cache import cache_folder, content_key, sources_of
from ..errors import DataError, WeightsError
from ..transforms.kinds import to_encoded, to_linear
from . import fit

CHANNELS = ((48, 1), (48, 2), (64, 1), (64, 2), (64, 1), (64, 2), (128, 1), (128, 1), (128, 2))
"""Output channels and stride of the nine 3x3 convolutions, as published."""
HEAD = 256
"""Width of the two hidden layers between the pooled maps and the classes, as published."""
MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of a picture in 0..1: the normalisation that the authors (and VGG16) use."""

# --- the 39 distortions: functions of (image float32 (H, W, C) 0..255, value, rng); C is 1 for a grey picture


def _blur(image, sigma, rng):
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101).reshape(image.shape)


def _white_noise(image, deviation, rng):
    return image + deviation * rng.standard_normal(image.shape, np.float32)


def _jpeg(image, quality, rng):
    code = cv2.imencode(".jpg", _pixels(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    flag = cv2.IMREAD_GRAYSCALE if image.shape[2] == 1 else cv2.IMREAD_COLOR
    return cv2.imdecode(code, flag).reshape(image.shape)[..., ::-1].astype(np.float32)


def _jpeg2000(image, ratio, rng):
    code = io.BytesIO()
    picture = Image.fromarray(_pixels(image).squeeze())
    picture.save(code, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True)
    return np.asarray(Image.open(code), np.float32).reshape(image.shape)


def _contrast(image, share, rng):
    middle = image.mean((0, 1))
    return middle + share * (image - middle)


def _pink_noise(image, deviation, rng):
    height, width, _ = image.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # no shift of the whole picture
    white = np.fft.rfft2(rng.standard_normal(image.shape), axes=(0, 1))
    pink = np.fft.irfft2(white / frequency[..., None], s=(height, width), axes=(0, 1))
    return image + (deviation * pink / pink.std()).astype(np.float32)


def _quantised(image, colours, rng):
    picture = Image.fromarray(np.broadcast_to(_pixels(image), (*image.shape[:2], 3)).copy())
    palette = picture.quantize(int(colours))  # Pillow dithers only towards a palette that it is given
    few = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    return np.asarray(few.convert("RGB"), np.float32)[..., : image.shape[2]]


def _exposed(image, stops, rng):
    return to_encoded(to_linear(image) * 2.0**stops)


def _pixels(image):
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


class Distortion(NamedTuple):
    """One kind of distortion: its function, the unit of its values, and one value for each level, mildest first."""

    function: object
    unit: str
    values: tuple


DISTORTIONS = {
    "gaussian blur": Distortion(_blur, "standard deviation in pixels", (0.8, 1.4, 2.2, 3.4, 5.5)),
    "white noise": Distortion(_white_noise, "standard deviation, of 255", (6, 12, 22, 38, 64)),
    "jpeg": Distortion(_jpeg, "quality factor", (40, 20, 10, 5, 2)),
    "jpeg 2000": Distortion(_jpeg2000, "compression ratio", (12, 24, 45, 75, 110)),
    "contrast": Distortion(_contrast, "share that is left", (0.75, 0.55, 0.4, 0.28, 0.18)),
    "pink noise": Distortion(_pink_noise, "standard deviation, of 255", (6, 12, 22, 38, 64)),
    "quantisation": Distortion(_quantised, "colours, with dithering", (32, 16, 8, 5, 3)),
    "over-exposure": Distortion(_exposed, "stops", (1.2, 2.4)),
    "under-exposure": Distortion(_exposed, "stops", (-2, -4)),
}
"""The nine kinds as published. The levels are this course's own: the published ones are for larger pictures."""

CLASSES = tuple((kind, level) for kind, made in DISTORTIONS.items() for level in range(1, len(made.values) + 1))
"""(kind, level from 1) of the 39 classes, in the order of the outputs."""


def distort(image, kind, level, rng=0):
    """A picture with one of the 39 distortions.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
        A grey picture (R = G = B) stays grey.
    kind : str
        A name in `DISTORTIONS`.
    level : int
        From 1, the mildest.
    rng : int or numpy.random.Generator, default=0
        Draws the noise.

    Returns
    -------
    array (H, W, 3) uint8

    Raises
    ------
    DataError
        Not an image, or an unknown kind or level.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image must be uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape}")
    if (kind, level) not in CLASSES:
        raise DataError(f"there is no distortion {kind!r} of level {level!r}; see scnn.CLASSES")
    grey = (image == image[..., :1]).all()
    pixels = (image[..., :1] if grey else image).astype(np.float32)  # one channel: noise on a grey picture is grey
    made = DISTORTIONS[kind]
    result = made.function(pixels, made.values[level - 1], np.random.default_rng(rng))
    return np.broadcast_to(_pixels(result), image.shape).copy()


# --- the network


class SCNN(nn.Module):
    """Nine 3x3 convolutions with batch norm and ReLU, then mean over positions, 256, 256, and the 39 classes.

    Input (B, 3, H, W), normalised by `normalise`; any size, since the maps are averaged (the authors use 224). `maps`
    gives (B, 128, H / 16, W / 16) activations, which DBCNN uses; the head only serves the pre-training.
    """

    def __init__(self):
        super().__init__()
        maps, head, width = [], [], 3
        for n_out, stride in CHANNELS:
            maps += [nn.Conv2d(width, n_out, 3, stride, 1), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
            width = n_out
        for n_out in (HEAD, HEAD):
            head += [nn.Linear(width, n_out), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]
            width = n_out
        self.maps = nn.Sequential(*maps)
        self.head = nn.Sequential(*head, nn.Linear(width, len(CLASSES)))

    def forward(self, x):
        return self.head(self.maps(x).mean((2, 3)))


def fused(maps):
    """The layers `SCNN.maps` with each batch norm folded into its convolution: the same in evaluation, but faster."""
    layers = []
    for convolution, norm in zip(maps[0::3], maps[1::3], strict=True):
        layers += [nn.utils.fuse_conv_bn_eval(convolution, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last).eval()


def normalise(images):
    """uint8 RGB (N, H, W, 3), or a float tensor (N, 3, H, W) in 0..255 -> network input (N, 3, H, W) float32."""
    if not isinstance(images, torch.Tensor):
        images = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN_RGB, STD_RGB))
    return (images / 255 - mean) / deviation


# --- pre-training


def distorted_patches(images, count, *, patch=64, random_state=0):
    """Patches of distorted pictures with their classes, all 39 equally often (up to a remainder).

    Each patch has its own draw: a picture, its distortion (of the whole picture), a place, and a flip.

    Parameters
    ----------
    images : array (N, H, W, 3) uint8
        Undistorted pictures.
    count : int
        Number of patches.
    patch : int, default=64
        Side in pixels, from 16 to the smaller side of the pictures.
    random_state : int, default=0
        Seed of all draws.

    Returns
    -------
    (array (count, patch, patch, 3) uint8, array (count,) int)
        Patches, and their classes as indices into `CLASSES`.

    Raises
    ------
    DataError
        No pictures, or a patch that does not fit.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) == 0:
        raise DataError(f"pictures must be uint8 (N, H, W, 3), N at least 1, got {images.dtype} {images.shape}")
    if not 16 <= patch <= min(images.shape[1:3]):
        raise DataError(f"patch must lie between 16 and {min(images.shape[1:3])} pixels, not {patch!r}")
    rng = np.random.default_rng(random_state)
    classes = np.concatenate([rng.permutation(len(CLASSES)) for _ in range(-(-count // len(CLASSES)))])[:count]
    patches = np.empty((count, patch, patch, 3), np.uint8)
    for target, label in zip(patches, classes, strict=True):
        picture = distort(images[rng.integers(len(images))], *CLASSES[label], rng)
        top, left = rng.integers(0, np.array(picture.shape[:2]) - patch + 1)
        target[:] = picture[top : top + patch, left : left + patch][:, :: rng.choice([1, -1])]
    return patches, classes


def pretrain(images, *, n_patches=4000, patch=64, batch=32, rate=2e-3, random_state=0):
    """Train an `SCNN` to classify the 39 distortions, on patches that are seen once each.

    Parameters
    ----------
    images : array (N, H, W, 3) uint8
        Undistorted pictures.
    n_patches : int, default=4000
        Number of patches.
    patch : int, default=64
        Side of a patch in pixels.
    batch : int, default=32
        Patches in a step.
    rate : float, default=2e-3
        Largest learning rate of AdamW; it rises and falls once (one cycle).
    random_state : int, default=0
        Seed of patches and weights.

    Returns
    -------
    SCNN
        In evaluation mode.
    """
    patches, classes = distorted_patches(images, n_patches, patch=patch, random_state=random_state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        network = SCNN()
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    network.to(memory_format=torch.channels_last)
    steps = max(len(patches) // batch, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.2)

    def loss(rows):
        return functional.cross_entropy(network(normalise(patches[rows])), torch.from_numpy(classes[rows]))

    fit.training_loop(
        fit.gradient_step(optimiser, loss, schedule=schedule),
        lambda epoch: np.array_split(np.arange(len(patches)), steps),
        module=network,
    )
    return network


def pretrained(images, *, folder=None, **settings):
    """`pretrain(images, **settings)`, or what an earlier call with the same pictures and settings learned.

    Parameters
    ----------
    images : array (N, H, W, 3) uint8
        Undistorted pictures.
    folder : path, default=None
        Where weights are kept. None: `cache_folder("models")`. The name of the file covers the source of the training,
        pictures and settings.
    **settings
        Of `pretrain`.

    Returns
    -------
    SCNN
        In evaluation mode.
    """
    images = np.ascontiguousarray(images)
    key = content_key(sources_of(__name__), sorted(settings.items()), images.shape, images.tobytes())[:20]
    path = Path(folder or cache_folder("models")) / f"scnn-{key}.npz"
    try:
        return weights.restore_module(SCNN(), weights.read_state(path, "scnn")[0])
    except (WeightsError, RuntimeError):  # absent or damaged: a cache only saves time
        pass
    network = pretrain(images, **settings)
    try:
        weights.write_state(path, "scnn", weights.module_state(network), settings)
    except OSError:  # a full or read-only disk must not stop the work
        pass
    return network


def classify(network, images):
    """Likeliest distortion of each of `images` by a `network`: (N, H, W, 3) uint8 -> (N,) int, places in `CLASSES`."""
    with torch.inference_mode():
        return np.array([int(network(normalise(image[None])).argmax()) for image in np.asarray(images)], int)
