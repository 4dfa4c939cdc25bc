"""GraFIQs-style quality: the size of the gradient that a face causes (after Kolf, Damer and Boutros, 2024)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from ..errors import DataError
from ..recognition import as_recogniser
from ..recognition.base import batches
from ..transforms.perturbations import mirror
from .base import Scorer, register

CHUNK = 16
LAYERS = ("input", "features")


@register("grafiqs")
class GraFIQs(Scorer):
    """Minus the summed absolute gradient of a self-consistency loss: a face the network knows asks for no change.

    **Faithful:** the idea (a loss without labels, one backward pass, the sum of absolute gradients, lower is better)
    and that nothing is trained. **Changed, so that this is GraFIQs-style only:** the authors' loss compares the
    statistics of one picture with those that batch normalisation recorded in training. dlib's network has none, so
    the loss is 1 - cos(E(I), E(mirrored I)), the mirrored embedding held fixed; and the gradient is taken at an
    activation, not at the weights of a block.
    **Blind** (ORL training people, dlib): low contrast moves it by no more than its own scatter, and a mask at full
    severity raises it above the undisturbed face. Colour cast, sunglasses and low resolution move it little.
    `layer="input"` instead takes noise for quality and overrates the harm of low contrast: its gradient grows as the
    pixels are compressed.

    Parameters
    ----------
    layer : {"input", "features"}, default="features"
        Where the gradient is taken: the network's input, or the features in front of its last linear layer.
    recogniser : str or Recogniser, default="dlib"
        One that is a torch network.
    """

    claims = ("pose", "uneven_light", "motion_blur", "shot_noise", "jpeg", "rotation", "misalignment")
    cost = "2 embeddings and 1 gradient"

    def __init__(self, layer="features", recogniser="dlib"):
        self.layer = layer
        self.recogniser = recogniser

    def _score(self, images, faces):
        if self.layer not in LAYERS:
            raise DataError(f"layer must be one of {', '.join(LAYERS)}, not {self.layer!r}")
        recogniser = as_recogniser(self.recogniser)
        head = recogniser.head  # raises DataError with the reason where there is no network
        scores = np.empty(len(images))
        for batch in batches(len(images), CHUNK):
            target = torch.from_numpy(recogniser.embed(mirror(images[batch]))).to(recogniser.device)
            if self.layer == "input":
                x, rest = recogniser.preprocess(images[batch]), recogniser.module
            else:
                x, rest = torch.from_numpy(recogniser.features(images[batch])).to(recogniser.device), head
            x.requires_grad_()
            loss = (1 - functional.cosine_similarity(rest(x), target)).sum()
            (gradient,) = torch.autograd.grad(loss, x)
            scores[batch] = -gradient.abs().flatten(1).sum(1, dtype=torch.float64).cpu().numpy()
        return scores
