"""SER-FIQ's on-top model: dropout for networks that were trained without it (Terhörst et al., CVPR 2020)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..data.training_sets import identified
from ..errors import DataError
from ..networks.fit import check_whole_numbers, fit_rows, held_out_rows
from ..recognition import as_recogniser
from ..recognition.base import batches
from ..weights import module_state, restore_module
from .base import Scorer, register
from .ser_fiq import robustness

CHUNK = 64
WIDTHS = (128, 512)
BATCH = 256
HELD_OUT = 0.15


class OnTop(nn.Module):
    """Embedding -> 128 -> 512 -> embedding, tanh after each, dropout in front of each linear layer.

    Parameters
    ----------
    dim : int
        Length of the embedding, in and out.
    """

    def __init__(self, dim):
        super().__init__()
        sizes = (dim, *WIDTHS, dim)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, x, masks):
        """(B, dim) unit embeddings and a mask for the input of each layer, broadcast to it -> (B, dim)."""
        for layer, mask in zip(self.layers, masks, strict=True):
            x = torch.tanh(layer(x * mask))
        return x


@register("ser-fiq-on-top")
class SerFiqOnTop(Scorer):
    """SER-FIQ on a small network that `fit` trains on top of the embeddings, with dropout, to tell people apart.

    Dropout asks a network for its sub-networks; one that was trained without dropout never learned to have any. The
    paper's answer is a small network on its embeddings (layers of n / 128 / 512 / n / people), trained with dropout on
    identities. The layer of people is only for training. T passes with random masks give T embeddings of length n, and
    the score is 2 / (1 + e^d), d their mean pairwise Euclidean distance, as in `ser-fiq`.

    **Faithful:** the sizes, tanh, dropout of a half in front of every layer, training on identities, the score.
    **Changed:** embeddings are L2-normalised and centred first (dlib's all lie in one narrow cone); softmax over people
    and AdamW, with early stopping on held-out photographs, in place of binary cross-entropy and AdaDelta over 100
    epochs; hundreds to thousands of photographs where the authors have millions; the T masks are the same for every
    face, so that scores can be compared.
    **Blind** (ORL training people, dlib): of the course's degradations to none; a colour cast and half-severe pose move
    it least. But these are the people whom it learned, and how far a face it has seen stands above others is flattery:
    the benchmark, on other people, is the judge.

    Parameters
    ----------
    n_passes : int, default=100
        T, at least 2.
    dropout : float in (0, 1), default=0.5
        Share of the inputs of each layer that a pass drops.
    epochs : int, default=100
        Largest number of epochs of training.
    learning_rate : float, default=0.003
        Of AdamW.
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings; any.
    random_state : int, default=0
        Seed of weights, order, and masks.

    Attributes
    ----------
    network_ : OnTop
    centre_ : array (dim,) float32
        Mean of the unit embeddings of `fit`.
    """

    learns = True
    claims = (
        *("mask", "sunglasses", "occlusion", "uneven_light", "low_contrast", "over_exposure", "low_light"),
        *("gaussian_blur", "defocus_blur", "motion_blur", "low_resolution", "shot_noise", "sensor_noise", "jpeg"),
        *("rotation", "misalignment"),
    )
    cost = "one embedding and n_passes passes of a small network"
    quick = {"epochs": 60}

    def __init__(self, n_passes=100, dropout=0.5, epochs=100, learning_rate=3e-3, recogniser="dlib", random_state=0):
        self.n_passes = n_passes
        self.dropout = dropout
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None):
        """Train the small network.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Of two or more people. Photographs of one person are held out for early stopping, never all of them.
        identities : sequence of N, default=None
            Who is shown. None: taken from `Faces`.

        Returns
        -------
        self
        """
        self._check()
        faces = identified(faces, identities)
        units = functional.normalize(torch.from_numpy(as_recogniser(self.recogniser).embed(faces)), dim=1)
        self.centre_ = units.mean(0).numpy()
        x = self._centred(units)
        who = torch.from_numpy(np.unique(faces.identities, return_inverse=True)[1])
        generator = torch.Generator().manual_seed(self.random_state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.network_ = OnTop(x.shape[1])
            people = nn.Linear(x.shape[1], int(who.max()) + 1)
        whole = nn.ModuleList([self.network_, people])
        held_out = held_out_rows(len(x), None, HELD_OUT, generator)

        def loss(x, who):
            keep = self._drawn(len(x), generator) if whole.training else [1.0] * 4
            *masks, last = keep
            return functional.cross_entropy(people(self.network_(x, masks) * last), who)

        fit_rows(
            whole,
            loss,
            (x[~held_out], who[~held_out]),
            (x[held_out], who[held_out]),
            epochs=self.epochs,
            patience=15,
            learning_rate=self.learning_rate,
            batch_size=BATCH,
            generator=generator,
        )
        return self

    def _centred(self, units):
        """Unit embeddings minus their centre, at length 1 again, times the root of their number of entries."""
        x = functional.normalize(units - torch.from_numpy(self.centre_), dim=1)
        return x * x.shape[1] ** 0.5

    def _drawn(self, n, generator):
        """Masks of n rows for the inputs of the four linear layers: 0, or 1 / (1 - dropout) so that the mean stays."""
        dim = len(self.centre_)
        drawn = (torch.rand(n, width, generator=generator) for width in (dim, *WIDTHS, dim))
        return [(part >= self.dropout).float() / (1 - self.dropout) for part in drawn]

    def _score(self, images, faces):
        self._check()
        masks = self._drawn(self.n_passes, torch.Generator().manual_seed(self.random_state))[:3]
        embeddings = torch.from_numpy(as_recogniser(self.recogniser).embed(images))
        x = self._centred(functional.normalize(embeddings, dim=1))
        distances = np.empty(len(x))
        with torch.inference_mode():
            for batch in batches(len(x), CHUNK):
                passes = functional.normalize(self.network_(x[batch, None], masks), dim=2)  # (n, T, dim)
                squared = (2 - 2 * passes @ passes.transpose(1, 2)).clamp_(min=0)
                squared.diagonal(dim1=1, dim2=2).zero_()
                sums = squared.sqrt_().sum((1, 2), dtype=torch.float64)
                distances[batch] = sums / (self.n_passes * (self.n_passes - 1))
        return robustness(distances)

    def _check(self):
        check_whole_numbers(self, n_passes=2, epochs=1)
        if not 0 < self.dropout < 1:
            raise DataError(f"dropout must lie between 0 and 1, not {self.dropout!r}")
        if not self.learning_rate > 0:
            raise DataError(f"learning_rate must be above 0, not {self.learning_rate!r}")

    def get_state(self):
        return {"centre": self.centre_, **module_state(self.network_)}

    def set_state(self, arrays):
        arrays = dict(arrays)
        self.centre_ = arrays.pop("centre")
        self.network_ = restore_module(OnTop(len(self.centre_)), arrays)
        return self
