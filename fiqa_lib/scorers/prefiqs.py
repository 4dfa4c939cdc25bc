"""PreFIQs: quality as what survives pruning of the network (Kolf et al., 2026)."""

from __future__ import annotations

import copy
import weakref

import numpy as np
import torch

from ..errors import DataError
from ..recognition import as_recogniser
from ..recognition.base import batches
from .base import Scorer, register

CHUNK = 16
SCOPES = ("layer", "network")
_PRUNED = weakref.WeakKeyDictionary()  # module -> {(share, scope): pruned copy}; goes when the module goes


@register("prefiqs")
class PreFIQs(Scorer):
    """Minus the distance between the unit embeddings of a network and of the same network without its smallest weights.

    A face that the network knows well stands on many strong weights. One that hangs on weak ones moves when they go.

    **Faithful** to PreFIQs (Kolf, Ozgur, Atzori, Babnik, Štruc, Damer and Boutros, arXiv 2605.13396): nothing is
    trained, the weights of smallest magnitude are set to zero, two passes, Euclidean distance of L2-normalised
    embeddings, smaller is better. **Changed:** the networks are small. Affine or batch-norm layers are folded into
    the convolutions here, so that magnitudes of two layers can't be compared: by default each layer loses its own
    smallest weights. `scope="network"` takes the smallest of all.
    **Blind** (ORL training people, dlib): of the course's degradations to none; half-severe occlusion and colour cast
    move it least. With mobilefacenet the paper's share is too much: 20 clear faces move as far as strangers are apart,
    and blurred ones less. There, take `share=0.1` (notebook 07).

    Parameters
    ----------
    share : float in (0, 1), default=0.4
        Share of the weights of convolutions and linear layers that become 0. Biases and slopes stay.
    scope : {"layer", "network"}, default="layer"
        Where the smallest are looked for: in each layer by itself, or in all layers together.
    recogniser : str or Recogniser, default="dlib"
        One that is a torch network.
    """

    claims = (
        *("pose", "mask", "sunglasses", "low_contrast", "over_exposure", "low_light", "rotation", "gaussian_blur"),
        *("defocus_blur", "motion_blur", "low_resolution", "shot_noise", "sensor_noise", "jpeg"),
    )
    cost = "2 embeddings"

    def __init__(self, share=0.4, scope="layer", recogniser="dlib"):
        self.share = share
        self.scope = scope
        self.recogniser = recogniser

    def _score(self, images, faces):
        recogniser = as_recogniser(self.recogniser)
        _ = recogniser.head  # raises DataError with the reason where there is no network
        network = pruned(recogniser.module, self.share, self.scope)
        scores = np.empty(len(images))
        for batch in batches(len(images), CHUNK):
            whole = recogniser.embed(images[batch])
            with torch.inference_mode():
                less = network(recogniser.preprocess(images[batch])).cpu().numpy()
            scores[batch] = -np.linalg.norm(_unit(whole) - _unit(less), axis=1)
        return scores


def pruned(module, share=0.4, scope="layer"):
    """A copy of a network without its weights of smallest magnitude; made once for each network and setting.

    Parameters
    ----------
    module : torch.nn.Module
        The network; it stays as it is.
    share : float in (0, 1), default=0.4
        Share of the weights that become 0.
    scope : {"layer", "network"}, default="layer"
        Where the smallest are looked for.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    DataError
        The share is not between 0 and 1, or the scope is unknown.
    """
    if not 0 < share < 1:
        raise DataError(f"share must lie between 0 and 1, not {share!r}")
    if scope not in SCOPES:
        raise DataError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    known = _PRUNED.setdefault(module, {})
    if (share, scope) not in known:
        network = copy.deepcopy(module)
        layers = [layer.weight for layer in network.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
        together = torch.cat([weight.detach().abs().flatten() for weight in layers])
        with torch.no_grad():
            for weight in layers:
                weight[weight.abs() <= _quantile(weight.abs() if scope == "layer" else together, share)] = 0
        known[share, scope] = network
    return known[share, scope]


def _quantile(values, share):
    """The value up to which `share` of the values lie (torch.quantile refuses more than 16 million)."""
    return values.flatten().kthvalue(max(1, round(share * values.numel()))).values


def _unit(embeddings):
    embeddings = embeddings.astype(float)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
