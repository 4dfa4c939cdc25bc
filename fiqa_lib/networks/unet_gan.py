"""The networks of FaceQgen: a U-Net generator that restores faces, a discriminator, their pictures and losses.

FaceQgen: Hernandez-Ortega, Fierrez, Serna & Morales, FG 2021, arXiv 2201.00770. Its layers and loss weights are not
public. Chosen here: a U-Net (Ronneberger et al. 2015) against a PatchGAN discriminator (Isola et al. 2017) with the
least-squares loss (Mao et al. 2017), L1, and the cosine of embeddings. Networks work on luminance, on `size` x `size`
pixels of the window that dlib's recogniser sees. Training: `faceqgen_training`; scores: `scorers.faceqgen`.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..faces import CHIP_ORIGIN, SIZE
from ..recognition import DlibResNet, arcface_crop_tensor

WINDOW = 150
"""Side of the window of the canonical crop that is restored, at `CHIP_ORIGIN`: what dlib's recogniser sees."""
ROWS, COLUMNS = (slice(start, start + WINDOW) for start in CHIP_ORIGIN)
DARKEST = 0.02  # the logit of 0 and of 1 is infinite

# --- pictures


def luminance(images, size):
    """What the networks see of canonical crops.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        Canonical crops.
    size : int
        Side S in pixels; 96 puts the eyes 34 pixels apart.

    Returns
    -------
    array (N, S, S) float32 in 0..1
        Luma (ITU-R BT.601) of the window, reduced by area mean.
    """
    pictures = np.empty((len(images), size, size), np.float32)
    for image, picture in zip(images, pictures, strict=True):
        grey = cv2.cvtColor(image[ROWS, COLUMNS], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        cv2.resize(grey, (size, size), picture, interpolation=cv2.INTER_AREA)
    return pictures


def canonical(luma):
    """Canonical crops from the networks' pictures, differentiable: (N, 1, S, S) tensor -> (N, 1, 192, 192), same range.

    Enlarged to the window bilinearly. Around it the border is repeated, since nothing was restored there.
    """
    window = functional.interpolate(luma, size=(WINDOW, WINDOW), mode="bilinear", align_corners=False)
    top, left = CHIP_ORIGIN
    return functional.pad(window, (left, SIZE - WINDOW - left, top, SIZE - WINDOW - top), mode="replicate")


def as_images(luma):
    """(N, S, S) luma in 0..1 -> canonical crops (N, 192, 192, 3) uint8, grey, for any recogniser or scorer."""
    grey = canonical(torch.from_numpy(np.ascontiguousarray(luma, np.float32))[:, None])[:, 0].numpy()
    return np.repeat(np.rint(255 * grey.clip(0, 1)).astype(np.uint8)[..., None], 3, axis=3)


def embed_luma(luma, recogniser):
    """Embeddings of the networks' pictures, with gradients: `recogniser.embed(as_images(luma))` up to rounding.

    Parameters
    ----------
    luma : tensor (N, 1, S, S) in 0..1
        Pictures of the networks.
    recogniser : TorchRecogniser
        On the same device.

    Returns
    -------
    tensor (N, dim)
    """
    crops = 255 * canonical(luma).expand(-1, 3, -1, -1)
    chips = crops[:, :, ROWS, COLUMNS] if isinstance(recogniser, DlibResNet) else arcface_crop_tensor(crops)
    return recogniser.module(recogniser.normalise(chips))


# --- networks


def _block(n_in, n_out, kernel=3, stride=1):
    # group norm, not batch norm: a restoration must not depend on the faces beside it
    return nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride, 1), nn.GroupNorm(4, n_out), nn.LeakyReLU(0.2))


class Generator(nn.Module):
    """U-Net: (B, 1, S, S) in 0..1 -> the same shape and range; S a multiple of 16.

    The network computes a correction, which is added to the input on the scale of the logistic function. Training
    starts from a correction of zero, that is from a copy.

    Each 2x2 block of pixels becomes four channels at half the size, and back at the end, which saves layers at full
    size. In between, features shrink three times (to S / 16) and grow again; each stage of the way up also gets the
    features of the same size on the way down (the skip connections that make it a U).

    Parameters
    ----------
    width : int, default=16
        Channels of the first layer; a multiple of 4.
    """

    def __init__(self, width=16):
        super().__init__()
        channels = [width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList([_block(4, width)])
        self.down += [_block(a, b, stride=2) for a, b in zip(channels[:-1], channels[1:], strict=True)]
        self.middle = _block(channels[-1], channels[-1])
        self.up = nn.ModuleList([_block(channels[i] + channels[i - 1], channels[i - 1]) for i in (3, 2, 1)])
        self.last = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, picture):
        x, skips = functional.pixel_unshuffle(2 * picture - 1, 2), []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.middle(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = layer(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        correction = functional.pixel_shuffle(self.last(x), 2)
        return (picture.clamp(DARKEST, 1 - DARKEST).logit() + correction).sigmoid()


class Discriminator(nn.Module):
    """PatchGAN: (B, 1, S, S) in 0..1 -> (B, 1, S/8, S/8), one verdict for each patch of 38 x 38 pixels.

    Trained towards 1 on best photographs and 0 on restorations. It never sees the generator's input, so it can judge
    any single picture.

    Parameters
    ----------
    width : int, default=32
        Channels of the first layer; a multiple of 4.
    """

    def __init__(self, width=32):
        super().__init__()
        first = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        halving = [*_block(width, 2 * width, 4, 2), *_block(2 * width, 4 * width, 4, 2)]
        self.layers = nn.Sequential(*first, *halving, nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, x):
        return self.layers(2 * x - 1)


# --- losses


def discriminator_loss(on_best, on_restored):
    """Least squares: mean (D(t) - 1)^2 + mean D(G(x))^2, over patches."""
    return ((on_best - 1) ** 2).mean() + (on_restored**2).mean()


def adversarial_loss(on_restored):
    """The generator's loss where the discriminator recognises its work: mean (D(G(x)) - 1)^2, over patches."""
    return ((on_restored - 1) ** 2).mean()


def identity_loss(restored, best, centre):
    """Mean of 1 - cosine between centred embeddings (B, dim) of the restoration and of the best photograph."""
    return (1 - functional.cosine_similarity(restored - centre, best - centre)).mean()
