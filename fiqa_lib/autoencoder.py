"""A stacked autoencoder: layers that learn, one after the other, to say much about their input in few numbers."""

from __future__ import annotations

import numbers

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .errors import DataError
from .state import module_state, restore_module

SIZES = {"original": (7500, 2500, 250, 50), "small": (256, 50)}
"""Layer widths by name. "original" is the published pipeline's: about 190 MB of float32 weights and optimiser state for
each 1000 numbers of input, on top of 340 MB."""
SCALINGS = ("standard", "unit")
SMALLEST = 1e-6  # a column that varies less than this is constant: it is centred and left alone


class StackedAutoencoder(TransformerMixin, BaseEstimator):
    """Compress vectors through layers that were trained one by one to restore their input, then all together.

    Source: G. Hinton, R. Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 2006; Y.
    Bengio et al., Greedy layer-wise training of deep networks, NIPS 2006.

    Pre-training: layer k learns, with a decoder of its own, to restore the codes of layer k - 1. Fine-tuning: layers
    learn together to restore the input. Both stop when the error on held-out rows has not fallen for `patience` epochs,
    and go back to the best epoch.

    `scaling` decides three things that have to fit each other:

    - "standard": each column to mean 0 and variance 1; ELU between layers, codes and output unbounded; squared error.
    - "unit": each column to 0..1 (clipped); the sigmoid after every layer; cross-entropy.

    Cross-entropy on values outside 0..1 has no minimum at the right answer: so the two are not offered apart.

    Parameters
    ----------
    sizes : str, int or sequence of int
        Widths of the layers, the code last: a name in `SIZES`, or any.
    scaling : {"standard", "unit"}
        Learned in `fit`, from the rows given there only.
    pretrain_epochs, epochs : int
        At most, for each layer and for fine-tuning. 0 leaves the step out.
    patience : int
    learning_rate : float
        Of Adam.
    batch_size : int
    validation_share : float in 0..1
        Share of the groups (or rows) held out for stopping. 0: none, all epochs are run.
    random_state : int
        Decides weights, order and held-out rows.

    Attributes
    ----------
    n_features_in_ : int
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
        y
            Ignored.
        groups : sequence of N, optional
            Who or what each row belongs to; rows are held out by group, so that stopping is judged on other people.
        held_out : bool array (N,), optional
            The rows to hold out, in place of a draw.

        Returns
        -------
        self

        Raises
        ------
        DataError
            For anything else, or parameters that make no sense.
        """
        X = self._checked(X)
        if len(X) < 2:
            raise DataError(f"an autoencoder learns from 2 rows or more, not {len(X)}")
        self._check_parameters()
        generator = torch.Generator().manual_seed(self.random_state)
        if held_out is None:
            held_out = held_out_rows(len(X), groups, self.validation_share, generator)
        self.shift_, self.scale_ = self._learn_scaling(X[~held_out])
        self.centre_ = self._scaled(X[~held_out]).mean(0).numpy()
        self.build(X.shape[1], generator)
        scaled = self._scaled(X)
        train, validation = scaled[torch.from_numpy(~held_out)], scaled[torch.from_numpy(held_out)]
        rows = []
        codes, codes_held_out = train, validation
        for number, (encoder, decoder) in enumerate(zip(self.encoder_, reversed(self.decoder_), strict=True), 1):
            both = nn.Sequential(encoder, decoder)
            rows += self._train(f"layer {number}", both, codes, codes_held_out, self.pretrain_epochs, generator)
            with torch.inference_mode():
                codes, codes_held_out = encoder(codes), encoder(codes_held_out)
        whole = nn.Sequential(self.encoder_, self.decoder_)
        rows += self._train("all", whole, train, validation, self.epochs, generator)
        self.history_ = pd.DataFrame(rows, columns=["stage", "epoch", "loss", "validation"])
        return self

    def transform(self, X):
        """Codes of rows: (N, sizes[-1]) float32."""
        scaled = self._scaled(self._checked_again(X))
        with torch.inference_mode():
            return self.encoder_(scaled).numpy()

    def inverse_transform(self, codes):
        """Rows that codes stand for, in the input's own units: (N, D) float32."""
        check_is_fitted(self)
        width = layer_widths(self.sizes)[-1]
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != width:
            raise DataError(f"codes must have the shape (N, {width}), got {codes.shape}")
        with torch.inference_mode():
            return self.decoder_(torch.from_numpy(codes)).numpy() * self.scale_ + self.shift_

    def reconstruct(self, X):
        """Rows after coding and decoding, in their own units: (N, D) float32."""
        return self.inverse_transform(self.transform(X))

    def unexplained(self, X):
        """Share of each row's variation that is lost: squared error over squared distance to the training mean (N,).

        Both in scaled units. 0: restored in full; 1: as good as answering with the mean.
        """
        scaled = self._scaled(self._checked_again(X))
        with torch.inference_mode():
            lost = ((self.decoder_(self.encoder_(scaled)) - scaled) ** 2).sum(1)
        away = ((scaled - torch.from_numpy(self.centre_)) ** 2).sum(1)
        return (lost / away.clamp(min=1e-12)).numpy().astype(np.float64)

    # --- parts

    def _check_parameters(self):
        if self.scaling not in SCALINGS:
            raise DataError(f"scaling must be one of {', '.join(SCALINGS)}, not {self.scaling!r}")
        whole = {"pretrain_epochs": 0, "epochs": 0, "patience": 1, "batch_size": 1, "random_state": 0}
        for name, least in whole.items():
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
                raise DataError(f"{name} must be a whole number from {least}, not {value!r}")
        if not 0 <= self.validation_share < 1:
            raise DataError(f"validation_share must lie in 0..1, without 1, not {self.validation_share!r}")
        if not self.learning_rate > 0:
            raise DataError(f"learning_rate must be above 0, not {self.learning_rate!r}")

    def _checked(self, X):
        X = np.asarray(X, np.float32)
        if X.ndim != 2 or X.shape[1] == 0 or not np.isfinite(X).all():
            raise DataError(
                f"expected finite numbers of shape (N, D), got {X.shape}, {np.sum(~np.isfinite(X))} not finite"
            )
        return X

    def _checked_again(self, X):
        check_is_fitted(self, "scale_")
        X = self._checked(X)
        if X.shape[1] != self.n_features_in_:
            raise DataError(f"{X.shape[1]} numbers a row; this was fitted on rows of {self.n_features_in_}")
        return X

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

    def build(self, n_features, generator=None):
        """Encoder and decoder, mirror images of each other, untrained; `fit` and `set_state` call this.

        Each layer is a linear map and its non-linearity. Weights come from `generator`; without one they are arbitrary.
        """
        sizes, unit = [n_features, *layer_widths(self.sizes)], self.scaling == "unit"
        steps = list(zip(sizes[:-1], sizes[1:], strict=True))
        last = len(steps) - 1
        with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made, which nobody needs
            self.encoder_ = nn.Sequential(*(_layer(a, b, unit, plain=k == last) for k, (a, b) in enumerate(steps)))
            back = reversed(list(enumerate(steps)))
            self.decoder_ = nn.Sequential(*(_layer(b, a, unit, plain=k == 0) for k, (a, b) in back))
        self.n_features_in_ = n_features
        if generator is not None:
            for module in [*self.encoder_.modules(), *self.decoder_.modules()]:
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight, generator=generator)
                    nn.init.zeros_(module.bias)

    def _train(self, stage, module, train, validation, epochs, generator):
        """Train a coder on rows that it has to restore; returns the rows of its history."""
        loss = nn.functional.binary_cross_entropy if self.scaling == "unit" else nn.functional.mse_loss
        settings = {"epochs": epochs, "patience": self.patience, "learning_rate": self.learning_rate}
        history = train_module(
            module,
            lambda rows: loss(module(rows), rows),
            [train],
            [validation],
            batch_size=self.batch_size,
            generator=generator,
            **settings,
        )
        return [(stage, *row) for row in history]

    def get_state(self):
        """What `fit` learned, as a dict of name -> array; the history is left out."""
        check_is_fitted(self)
        layers = module_state(self.encoder_, "encoder.") | module_state(self.decoder_, "decoder.")
        return {"shift": self.shift_, "scale": self.scale_, "centre": self.centre_, **layers}

    def set_state(self, arrays):
        """Take up what `get_state` of one with the same sizes gave. KeyError or RuntimeError where it does not fit."""
        self.shift_, self.scale_, self.centre_ = (np.asarray(arrays[name], np.float32) for name in _VECTORS)
        self.build(len(self.shift_))
        restore_module(self.encoder_, arrays, "encoder.")
        restore_module(self.decoder_, arrays, "decoder.")
        return self


_VECTORS = ("shift", "scale", "centre")


def layer_widths(sizes):
    """Widths of the layers as a tuple, from a name in `SIZES` or a sequence. DataError says what is possible."""
    if isinstance(sizes, str):
        if sizes not in SIZES:
            raise DataError(f"there are no sizes called {sizes!r}; known: {', '.join(SIZES)}, or any widths")
        return SIZES[sizes]
    widths = tuple(sizes) if isinstance(sizes, (list, tuple)) else (sizes,)
    if not widths or not all(isinstance(w, numbers.Integral) and w >= 1 for w in widths):
        raise DataError(f"sizes must be a name or one or more whole numbers from 1, got {sizes!r}")
    return tuple(int(w) for w in widths)


def _layer(inside, outside, unit, plain):
    """A linear map and its non-linearity. `plain`: code or restored input, unbounded unless `unit`."""
    if unit:
        return nn.Sequential(nn.Linear(inside, outside), nn.Sigmoid())
    return nn.Sequential(nn.Linear(inside, outside), nn.Identity() if plain else nn.ELU())


def held_out_rows(n, groups, share, generator):
    """(n,) bool array: about `share` of the groups, at least one and not all of them; none where that is impossible.

    Without groups each row is its own.
    """
    groups = np.arange(n) if groups is None else np.asarray(groups)
    if len(groups) != n:
        raise DataError(f"{n} rows, but {len(groups)} groups")
    names, of_row = np.unique(groups, return_inverse=True)
    if share == 0 or len(names) < 2:
        return np.zeros(n, bool)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = torch.randperm(len(names), generator=generator)[:count].numpy()
    return np.isin(of_row, chosen)


def train_module(
    module, loss, train, held_out, *, epochs, patience, learning_rate, batch_size, generator, weight_decay=0.0
):
    """Adam with early stopping. The module ends with the weights of its best epoch, in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
    loss : callable
        (*batch) -> scalar tensor, the mean loss of some rows.
    train, held_out : sequences of tensors with equally many rows
        `held_out` may have none: then all epochs are run, and the last one counts.
    epochs, patience, batch_size : int
    learning_rate, weight_decay : float
    generator : torch.Generator
        Of the order of rows. (What the module itself draws, for dropout, it has to draw from a generator, too.)

    Returns
    -------
    list of (epoch, loss, validation loss), epochs counted from 1
    """
    optimiser = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=weight_decay)
    rows, n = [], len(train[0])
    judged = len(held_out[0]) > 0
    best, best_epoch, kept = np.inf, 0, None
    for epoch in range(1, epochs + 1):
        module.train()
        total = 0.0
        for batch in torch.randperm(n, generator=generator).split(batch_size):
            optimiser.zero_grad(set_to_none=True)
            value = loss(*(part[batch] for part in train))
            value.backward()
            optimiser.step()
            total += value.item() * len(batch)
        module.eval()
        with torch.inference_mode():
            validation = loss(*held_out).item() if judged else np.nan
        rows.append((epoch, total / n, validation))
        if not judged:
            continue
        if validation < best:
            best, best_epoch = validation, epoch
            kept = {name: value.clone() for name, value in module.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    if kept is not None:
        module.load_state_dict(kept)
    module.eval()
    return rows
