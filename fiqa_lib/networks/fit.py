"""The one training loop: epochs of batches, a step for each batch, validation, early stopping, the best weights."""

from __future__ import annotations

import math
import numbers

import numpy as np
import torch
from tqdm import tqdm

from ..errors import DataError


def training_loop(
    step, batches, *, epochs=1, first=0, module=None, validate=None, patience=None, after_epoch=None, progress=None
):
    """Train for some epochs.

    The loop draws nothing at random: `batches` and `step` do, from generators that the caller seeds. Equal seeds give
    equal weights.

    Parameters
    ----------
    step : callable
        batch -> float: one update of the weights; returns the mean loss of the batch. Usually a `gradient_step`; two
        networks trained against each other need a step of their own.
    batches : callable
        epoch (from 1) -> iterable of batches, each an array of row numbers.
    epochs : int, default=1
        Largest number of epochs.
    first : int, default=0
        Epochs done by an earlier, interrupted run: the loop goes on after them. Not for early stopping, whose best
        weights are not kept between runs.
    module : torch.nn.Module, default=None
        Put into training mode for each epoch and into evaluation mode after it. None: modes are the caller's.
    validate : callable, default=None
        () -> loss on held-out rows. If given, `module` ends with the weights of the best epoch.
    patience : int, default=None
        Stop after this many epochs without a new best validation loss. None: run all epochs.
    after_epoch : callable, default=None
        Called with (epoch, mean loss) after each epoch: for learning curves and checkpoints.
    progress : str, default=None
        Label of a progress bar on standard error. None: no bar.

    Returns
    -------
    list of (int, float, float)
        For each epoch its number from 1, the mean training loss, and the validation loss (NaN without `validate`).
    """
    history = []
    best, best_epoch, best_weights = math.inf, first, None
    bar = {"initial": first, "total": epochs, "desc": progress, "disable": progress is None}
    for epoch in tqdm(range(first + 1, epochs + 1), **bar):
        if module is not None:
            module.train()
        total, n_rows = 0.0, 0
        for batch in batches(epoch):
            total += step(batch) * len(batch)
            n_rows += len(batch)
        if module is not None:
            module.eval()
        loss, validation = total / max(n_rows, 1), math.nan
        if validate is not None:
            with torch.inference_mode():
                validation = float(validate())
        history.append((epoch, loss, validation))
        if after_epoch is not None:
            after_epoch(epoch, loss)
        if validation < best:
            best, best_epoch = validation, epoch
            best_weights = {name: value.clone() for name, value in module.state_dict().items()}
        elif validate is not None and patience is not None and epoch - best_epoch >= patience:
            break
    if best_weights is not None:
        module.load_state_dict(best_weights)
    if module is not None:
        module.eval()
    return history


def gradient_step(optimiser, loss, *, schedule=None, at_once=None):
    """The usual step of `training_loop`: gradient of the mean loss of a batch, one update.

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        Updates the weights that it was made for.
    loss : callable
        Row numbers -> scalar tensor, the mean loss of these rows. Augmentation belongs in here.
    schedule : torch.optim.lr_scheduler.LRScheduler, default=None
        Moves the learning rate after each step.
    at_once : int, default=None
        Largest number of rows in one pass; the gradients of the parts add up to that of the batch. None: all.

    Returns
    -------
    callable
        Row numbers -> float, the mean loss before the update.
    """

    def step(rows):
        optimiser.zero_grad()
        size, total = at_once or len(rows), 0.0
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            share = loss(part) * (len(part) / len(rows))
            share.backward()
            total += share.item()
        optimiser.step()
        if schedule is not None:
            schedule.step()
        return total

    return step


def shuffled(n_rows, batch_size, generator):
    """Batches for `training_loop`: every row once per epoch, in an order drawn anew.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    batch_size : int
        Rows in a batch; the last one may have fewer.
    generator : torch.Generator
        Draws the order.

    Returns
    -------
    callable
        epoch -> tuple of row numbers, one tensor for each batch.
    """
    return lambda epoch: torch.randperm(n_rows, generator=generator).split(batch_size)


def fit_rows(
    module, loss, train, held_out, *, epochs, patience, learning_rate, batch_size, generator, weight_decay=0.0
):
    """Train a module on tensors by AdamW with early stopping; it ends in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place. What it draws itself, for dropout, must come from `generator` too.
    loss : callable
        (*rows of each tensor) -> scalar tensor, the mean loss.
    train, held_out : sequences of tensors
        Tensors with one entry for each row. `held_out` may have no rows: then all epochs run and the last one counts.
    epochs, patience : int
        Largest number of epochs, and epochs without improvement on `held_out` before the end.
    learning_rate : float
        Of AdamW.
    weight_decay : float, default=0.0
        Of AdamW.
    batch_size : int
        Rows in a step.
    generator : torch.Generator
        Draws the order of rows.

    Returns
    -------
    list of (int, float, float)
        As `training_loop`: epoch, loss, validation loss.
    """
    optimiser = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=weight_decay)
    return training_loop(
        gradient_step(optimiser, lambda rows: loss(*(part[rows] for part in train))),
        shuffled(len(train[0]), batch_size, generator),
        epochs=epochs,
        module=module,
        validate=(lambda: loss(*held_out)) if len(held_out[0]) else None,
        patience=patience,
    )


def held_out_rows(n, groups, share, generator):
    """Rows to hold out for early stopping, whole groups at a time.

    Parameters
    ----------
    n : int
        Number of rows.
    groups : sequence of n, or None
        Who or what each row shows. None: each row is its own group.
    share : float
        Share of the groups to hold out, 0..1 without 1; at least one group and not all of them.
    generator : torch.Generator
        Draws the groups.

    Returns
    -------
    array (n,) bool
        All False where `share` is 0 or there is one group only.

    Raises
    ------
    DataError
        The number of groups is not `n`.
    """
    groups = np.arange(n) if groups is None else np.asarray(groups)
    if len(groups) != n:
        raise DataError(f"{n} rows, but {len(groups)} groups")
    names = np.unique(groups)
    if share == 0 or len(names) < 2:
        return np.zeros(n, bool)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = torch.randperm(len(names), generator=generator)[:count].numpy()
    return np.isin(groups, names[chosen])


def check_whole_numbers(estimator, **smallest):
    """Raise DataError for the first named parameter of an estimator that is not a whole number from its smallest."""
    for name, least in smallest.items():
        value = getattr(estimator, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
            raise DataError(f"{name} must be a whole number from {least}, not {value!r}")
