"""Where a score comes from: a map over the pixels of a face, made of the gradients of the score.

The gradient at the face says what the smallest change would do. Integrated gradients (Sundararajan, Taly & Yan, 2017)
follow the score on the straight way from the face to a *stand-in*, such as a mean face, and share what the score gains
among the pixels.

- **Faithful**: the integral of the gradient times the difference, as a sum over midpoints; what the pixels are given
  adds up to the gain of the whole way.
- **Changed**: the map is smoothed with its signs, so that noise cancels; only its strongest part is kept (`marked`).
- **Blind**: to what the stand-in shares with the face. A map is about the scorer and says nothing of the face itself.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..errors import DataError


def path_gradients(module, x, base, *, steps=6, batch=16):
    """How much each place would raise the score on the way from the face to a stand-in.

    Parameters
    ----------
    module : callable
        A torch network: (B, C, H, W) -> (B,) scores, higher is better, in evaluation mode.
    x : tensor (N, C, H, W)
        The faces, as the network takes them.
    base : tensor (1, C, H, W) or (N, C, H, W)
        The stand-in.
    steps : int, default=6
        Midpoints of the way at which the gradient is taken. One is the middle of the way alone.
    batch : int, default=16
        Faces in one pass.

    Returns
    -------
    array (N, H, W) float32
        Summed over the channels; positive where the stand-in would raise the score. Its sum is the gain of the whole
        way, as far as the steps are fine enough.

    Raises
    ------
    DataError
        Shapes that do not fit, or no step.
    """
    if x.ndim != 4 or base.shape[1:] != x.shape[1:] or len(base) not in (1, len(x)):
        raise DataError(f"faces of shape {tuple(x.shape)} and a stand-in of shape {tuple(base.shape)} do not fit")
    if int(steps) < 1:
        raise DataError(f"steps must be at least 1, got {steps}")
    parts, base = [], base.expand_as(x)
    for start in range(0, len(x), batch):
        face, change = x[start : start + batch], (base - x)[start : start + batch]
        total = torch.zeros_like(face)
        for share in (np.arange(int(steps)) + 0.5) / int(steps):
            point = (face + float(share) * change).detach().requires_grad_(True)
            total += torch.autograd.grad(module(point).sum(), point)[0]
        parts.append((total * change / int(steps)).sum(1))
    return torch.cat(parts).numpy() if parts else np.zeros((0, *x.shape[2:]), np.float32)


def marked(attribution, *, sigma=7.0, cut=0.5):
    """The strongest places of an attribution: smoothed, cut below a share of its maximum, scaled to a sum of 1.

    Parameters
    ----------
    attribution : array (N, H, W)
        As `path_gradients` gives it.
    sigma : float, default=7.0
        Of the Gaussian that smooths it, in pixels; 0 leaves it as it is.
    cut : float in [0, 1), default=0.5
        What lies below this share of the map's maximum is left out, and the rest counts by how far it is above. 0
        keeps all that is positive.

    Returns
    -------
    array (N, H, W) float64
        At least 0, with a sum of 1; all 0 where nothing is positive.

    Raises
    ------
    DataError
        Other shapes or a cut outside its range.
    """
    attribution = np.asarray(attribution, float)
    if attribution.ndim != 3 or not 0 <= cut < 1:
        raise DataError(f"marked takes (N, H, W) and a cut from 0 to below 1, got {attribution.shape} and {cut}")
    smooth = gaussian_filter(attribution, (0, sigma, sigma)) if sigma else attribution
    top = np.maximum(smooth.max(axis=(1, 2), keepdims=True, initial=0), 0)
    kept = np.maximum(smooth - cut * top, 0)
    total = kept.sum(axis=(1, 2), keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


def mass_on(maps, masks):
    """Share of each map's mass that lies on a mask.

    Parameters
    ----------
    maps : array (N, H, W)
        At least 0.
    masks : array (N, H, W) of bool
        Where the cover is.

    Returns
    -------
    array (N,)
        0..1; 0 for an empty map.

    Raises
    ------
    DataError
        The shapes differ.
    """
    maps, masks = np.asarray(maps, float), np.asarray(masks, bool)
    if maps.shape != masks.shape or maps.ndim != 3:
        raise DataError(f"maps of shape {maps.shape} and masks of shape {masks.shape}; both are (N, H, W)")
    total = maps.sum(axis=(1, 2))
    return np.divide((maps * masks).sum(axis=(1, 2)), total, out=np.zeros(len(maps)), where=total > 0)
