"""A stacked autoencoder: layers trained one after the other to describe their input by few numbers."""

from __future__ import annotations

import numbers

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..errors import DataError
from .fit import check_whole_numbers, fit_rows, held_out_rows

SIZES = {"original": (7500, 2500, 250, 50), "small": (256, 50)}
"""Layer widths by name. "original" is the published pipeline's: about 190 MB of float32 weights and optimiser state for
each 1000 numbers of input, on top of 340 MB."""
SCALINGS = ("standard", "unit")
SMALLEST = 1e-6  # a column that varies less than this is constant: it is centred, and not divided by its spread


class StackedAutoencoder(TransformerMixin, BaseEstimator):
    """Compress vectors by layers that are trained one by one to restore their input, then all together.

    Source: G. Hinton, R. Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 2006; Y.
    Bengio et al., Greedy layer-wise training of deep networks, NIPS 2006.

    Pre-training: layer k learns, with a decoder of its own, to restore the codes of layer k - 1. Fine-tuning: all
    layers learn together to restore the input. Both stop when the error on held-out rows has not fallen for `patience`
    epochs, and return to the best epoch.

    `scaling` fixes input, output and loss together, since cross-entropy needs values in 0..1:

    - "standard": each column to mean 0 and variance 1; ELU between layers, codes and output unbounded; squared error.
    - "unit": each column to 0..1 (clipped); a sigmoid after every layer; cross-entropy.

    Parameters
    ----------
    sizes : str, int or sequence of int, default="small"
        Widths of the layers, the code last: a name in `SIZES`, or numbers.
    scaling : {"standard", "unit"}, default="standard"
        Scaling of the columns, learned from the rows given to `fit` that are not held out.
    pretrain_epochs : int, default=20
        Largest number of epochs for each layer; 0 skips pre-training.
    epochs : int, default=20
        Largest number of epochs of fine-tuning; 0 skips it.
    patience : int, default=3
        Epochs without a lower held-out error before training stops.
    learning_rate : float, default=1e-3
        Learning rate of Adam.
    batch_size : int, default=64
        Rows in a step.
    validation_share : float, default=0.2
        Share of the groups (or rows) held out for stopping, 0..1 without 1. 0: none, all epochs are run.
    random_state : int, default=0
        Seed of weights, order and held-out rows.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the rows given to `fit`.
    history_ : DataFrame
        `stage` ("layer 1" ..., "all"), `epoch`, `loss` (training), `validation` (NaN without held-out rows).
    """

    def __init__(
        self,
        sizes="small",
        scaling="standard",
        pretrain_epochs=20,
        epochs=20,
        patience=3,
        learning_rate=1e-3,
        batch_size=64,
        validation_share=0.2,
        random_state=0,
    ):
        self.sizes = sizes
        self.scaling = scaling
        self.pretrain_epochs = pretrain_epochs
        self.epochs = epochs
        self.patience = patience
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_share = validation_share
        self.random_state = random_state

    def fit(self, X, y=None, groups=None, held_out=None):
        """Learn scaling and weights.

        Parameters
        ----------
        X : array (N, D)
            Finite numbers; N at least 2.
        y : object, default=None
            Ignored; it is there for scikit-learn.
        groups : sequence of N, default=None
            Who or what each row shows. Rows are held out by group, so that stopping is judged on other people.
        held_out : bool array (N,), default=None
            Rows to hold out, in place of a draw.

        Returns
        -------
        self

        Raises
        ------
        DataError
            Rows that are not finite or too few, or a parameter out of range.
        """
        X = _rows(X)
        if len(X) < 2:
            raise DataError(f"an autoencoder learns from 2 rows or more, not {len(X)}")
        self._check_parameters()
        generator = torch.Generator().manual_seed(self.random_state)
        if held_out is None:
            held_out = held_out_rows(len(X), groups, self.validation_share, generator)
        self.shift_, self.scale_ = self._learn_scaling(X[~held_out])
        self.centre_ = self._scaled(X[~held_out]).mean(0).numpy()
        self.build(X.shape[1], generator)
        train, validation = (self._scaled(X)[torch.from_numpy(rows)] for rows in (~held_out, held_out))
        history, codes, codes_held_out = [], train, validation
        for number, (encoder, decoder) in enumerate(zip(self.encoder_, reversed(self.decoder_), strict=True), 1):
            both = nn.Sequential(encoder, decoder)
            history += self._train(f"layer {number}", both, codes, codes_held_out, self.pretrain_epochs, generator)
            with torch.inference_mode():
                codes, codes_held_out = encoder(codes), encoder(codes_held_out)
        whole = nn.Sequential(self.encoder_, self.decoder_)
        history += self._train("all", whole, train, validation, self.epochs, generator)
        self.history_ = pd.DataFrame(history, columns=["stage", "epoch", "loss", "validation"])
        return self

    def transform(self, X):
        """Codes of rows: (N, D) -> (N, sizes[-1]) float32."""
        scaled = self._scaled_input(X)
        with torch.inference_mode():
            return self.encoder_(scaled).numpy()

    def inverse_transform(self, codes):
        """Rows that codes stand for, in the input's own units: (N, sizes[-1]) -> (N, D) float32."""
        check_is_fitted(self)
        width = layer_widths(self.sizes)[-1]
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != width:
            raise DataError(f"codes must have the shape (N, {width}), got {codes.shape}")
        with torch.inference_mode():
            return self.decoder_(torch.from_numpy(codes)).numpy() * self.scale_ + self.shift_

    def reconstruct(self, X):
        """Rows after coding and decoding, in their own units: (N, D) -> (N, D) float32."""
        return self.inverse_transform(self.transform(X))

    def unexplained(self, X):
        """Share of each row's variation that is lost: squared error over squared distance to the training mean.

        Both in scaled units; (N, D) -> (N,) float64. 0: restored in full; 1: as good as answering with the mean.
        """
        scaled = self._scaled_input(X)
        with torch.inference_mode():
            lost = ((self.decoder_(self.encoder_(scaled)) - scaled) ** 2).sum(1)
        away = ((scaled - torch.from_numpy(self.centre_)) ** 2).sum(1)
        return (lost / away.clamp(min=1e-12)).numpy().astype(np.float64)

    # --- parts

    def _check_parameters(self):
        if self.scaling not in SCALINGS:
            raise DataError(f"scaling must be one of {', '.join(SCALINGS)}, not {self.scaling!r}")
        check_whole_numbers(self, pretrain_epochs=0, epochs=0, patience=1, batch_size=1, random_state=0)
        if not 0 <= self.validation_share < 1:
            raise DataError(f"validation_share must lie in 0..1, without 1, not {self.validation_share!r}")
        if not self.learning_rate > 0:
            raise DataError(f"learning_rate must be above 0, not {self.learning_rate!r}")

    def _learn_scaling(self, X):
        if self.scaling == "standard":
            shift, scale = X.mean(0), X.std(0)
        else:
            shift, scale = X.min(0), X.max(0) - X.min(0)
        scale[scale < SMALLEST] = 1
        return shift, scale

    def _scaled(self, X):
        scaled = (X - self.shift_) / self.scale_
        return torch.from_numpy(scaled.clip(0, 1) if self.scaling == "unit" else scaled)

    def _scaled_input(self, X):
        check_is_fitted(self, "scale_")
        X = _rows(X)
        if X.shape[1] != self.n_features_in_:
            raise DataError(f"{X.shape[1]} numbers a row; this was fitted on rows of {self.n_features_in_}")
        return self._scaled(X)

    def build(self, n_features, generator=None):
        """Make encoder and decoder, mirror images of each other, untrained; `fit` calls this.

        Parameters
        ----------
        n_features : int
            Columns of the input.
        generator : torch.Generator, default=None
            Draws the weights. None: they are arbitrary.

        Returns
        -------
        self
        """
        widths, unit = [n_features, *layer_widths(self.sizes)], self.scaling == "unit"
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made; those are replaced below
            encoder = [_layer(a, b, unit) for a, b in pairs]
            decoder = [_layer(b, a, unit) for a, b in reversed(pairs)]
        if not unit:  # the code and the restored input are unbounded
            encoder[-1][1] = decoder[-1][1] = nn.Identity()
        self.encoder_, self.decoder_ = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.n_features_in_ = n_features
        if generator is not None:
            for module in [*self.encoder_.modules(), *self.decoder_.modules()]:
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight, generator=generator)
                    nn.init.zeros_(module.bias)
        return self

    def _train(self, stage, module, train, validation, epochs, generator):
        """Train a coder to restore rows; returns the rows of its history."""
        loss = nn.functional.binary_cross_entropy if self.scaling == "unit" else nn.functional.mse_loss
        history = fit_rows(
            module,
            lambda rows: loss(module(rows), rows),
            [train],
            [validation],
            epochs=epochs,
            patience=self.patience,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            generator=generator,
        )
        return [(stage, *row) for row in history]


def layer_widths(sizes):
    """Widths of the layers as a tuple, from a name in `SIZES`, a number or a sequence. DataError for anything else."""
    if isinstance(sizes, str):
        if sizes not in SIZES:
            raise DataError(f"unknown sizes {sizes!r}; known names: {', '.join(SIZES)}")
        return SIZES[sizes]
    widths = tuple(sizes) if isinstance(sizes, (list, tuple)) else (sizes,)
    if not widths or not all(isinstance(w, numbers.Integral) and w >= 1 for w in widths):
        raise DataError(f"sizes must be a name or one or more whole numbers from 1, got {sizes!r}")
    return tuple(int(w) for w in widths)


def _layer(n_in, n_out, unit):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.Sigmoid() if unit else nn.ELU())


def _rows(X):
    X = np.asarray(X, np.float32)
    if X.ndim != 2 or X.shape[1] == 0 or not np.isfinite(X).all():
        raise DataError(f"expected finite numbers of shape (N, D), got {X.shape}, {np.sum(~np.isfinite(X))} not finite")
    return X
