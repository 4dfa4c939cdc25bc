"""The work behind `labels.sdd`: which images are drawn for comparison, and Wasserstein distances between cosines.

How it is made fast. Rows are sorted by identity, so that the images of a person are neighbours, and processed in units
of `UNIT` rows. The mates of a unit come from one matrix product. So do its strangers, where the unit shares a random
pool of them (`draws="pooled"`); with `draws="independent"` every image fetches its own. The random numbers of a unit
depend on the seed and on the number of the unit alone, and its products always have the same shapes. So memory, threads
and the order of work can't change a bit of the result.
"""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import numpy as np

from ..errors import DataError

UNIT = 128
"""Rows that are processed together and share a pool of strangers. Part of the definition of the pooled draws."""
SPARE = 8
"""Extra cards of a pool, for images whose own person is among the first `n_samples`."""
DRAWS = ("pooled", "independent")
EXACT_ROWS, EXACT_COLUMNS = 64, 4096
"""Size of a block of the exact labels."""


class Settings(NamedTuple):
    """Everything that decides the draws: see `labels.sdd_labels`, whose `random_state` is `seed` here."""

    n_samples: int
    n_repeats: int
    seed: int
    draws: str

    @classmethod
    def checked(cls, n_samples, n_repeats, random_state, draws):
        """Settings from arguments, or DataError. `random_state=None` takes a seed from the operating system."""
        for name, value in (("n_samples", n_samples), ("n_repeats", n_repeats)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise DataError(f"{name} must be a whole number of at least 1, not {value!r}")
        if draws not in DRAWS:
            raise DataError(f"draws must be one of {', '.join(DRAWS)}, not {draws!r}")
        if random_state is None:
            random_state = int.from_bytes(os.urandom(8), "little")
        if not isinstance(random_state, (int, np.integer)) or random_state < 0:
            raise DataError(f"random_state must be a whole number of at least 0 or None, not {random_state!r}")
        return cls(int(n_samples), int(n_repeats), int(random_state), draws)

    @property
    def pool(self):
        """Size of a pool over all repeats; a person with more images than this has a pool of mates, too."""
        return self.n_repeats * (self.n_samples + SPARE)

    def unit_bytes(self, dim, itemsize):
        """An upper estimate of the memory that one unit takes, in bytes."""
        rows = 3 * UNIT + 4 * self.pool if self.draws == "pooled" else 4 * UNIT + 2 * self.pool + UNIT * self.n_samples
        samples = UNIT * self.n_repeats * self.n_samples
        return 2 * rows * dim * itemsize + 8 * samples * (itemsize + 8)


class Index:
    """The rows sorted by identity (and by photograph), so that each person is one stretch of places.

    `order` (N,) is the row of the embeddings at each place; `bounds` (people + 1,) is where each person's stretch
    begins, and N; `own_bounds` is the same for photographs, or None where every row is a photograph of its own.
    """

    def __init__(self, order, bounds, own_bounds=None):
        self.order, self.bounds, self.own_bounds = order, bounds, own_bounds

    @classmethod
    def of(cls, identities, sources=None):
        person = _codes(identities, "identities")
        photograph = None if sources is None else _codes(sources, "sources")
        if photograph is not None and len(photograph) != len(person):
            raise DataError(f"{len(person)} identities, {len(photograph)} sources: lengths must agree")
        order = np.argsort(person, kind="stable") if photograph is None else np.lexsort((photograph, person))
        new_person = np.diff(person[order]) != 0
        if not new_person.any():
            raise DataError("at least two people are needed: there are no strangers to compare with")
        if photograph is None:
            return cls(order, _bounds(new_person))
        return cls(order, _bounds(new_person), _bounds(new_person | (np.diff(photograph[order]) != 0)))

    def __len__(self):
        return len(self.order)

    @property
    def n_units(self):
        return -(-len(self.order) // UNIT)

    def unit(self, number, size=UNIT):
        """The places of one unit of `size` rows."""
        return np.arange(number * size, min(len(self.order), (number + 1) * size))

    def person(self, places):
        """(start, stop) of the stretch of the person at each place."""
        which = np.searchsorted(self.bounds, places, "right")
        return self.bounds[which - 1], self.bounds[which]

    def photograph(self, places):
        """(start, stop) of the versions of the photograph at each place."""
        if self.own_bounds is None:
            return places, places + 1
        which = np.searchsorted(self.own_bounds, places, "right")
        return self.own_bounds[which - 1], self.own_bounds[which]


def _codes(values, what):
    values = np.asarray(values)
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"{what} must be one value for each row, got shape {values.shape}")
    if values.dtype.kind in "USO" and (unknown := int(np.sum(values == ""))):
        raise DataError(f"{unknown} of the {what} are unknown (''); leave these rows out")
    return np.unique(values, return_inverse=True)[1]


def _bounds(changes):
    return np.concatenate([[0], np.flatnonzero(changes) + 1, [len(changes) + 1]])


# ------------------------------------------------------------------------------------------------------- distances


def float_type(embeddings):
    """The type that the work is done in: float64 for float64, else float32."""
    return np.dtype(np.float64 if embeddings.dtype == np.float64 else np.float32)


def unit_length(rows):
    """Rows as floats, each divided by its length: (N, D) -> (N, D)."""
    rows = np.asarray(rows)
    rows = rows.astype(float_type(rows))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def usable_rows(embeddings):
    """Which rows have a direction: their length is finite and not 0. (N, D) -> (N,) bool."""
    rows = embeddings.astype(float_type(embeddings), copy=False)
    with np.errstate(all="ignore"):
        squared = np.einsum("ij,ij->i", rows, rows)
    return np.isfinite(squared) & (squared > 0)


def unit_distances(embeddings, index, settings, number):
    """Wasserstein-1 distances of one unit: (rows of the unit, n_repeats), in sorted order; NaN for singletons."""
    places = index.unit(number)
    rows = unit_length(embeddings[index.order[places]])
    mates, strangers = (
        _cosines(embeddings, index, settings, rows, drawn) for drawn in unit_draws(index, settings, places, number)
    )
    k, m = ((cosines[:, 0] < np.inf).sum(axis=1) for cosines in (mates, strangers))
    out = np.full((len(places), settings.n_repeats), np.nan, rows.dtype)
    for a, b in {(int(a), int(b)) for a, b in zip(k, m, strict=True) if a}:
        some = np.flatnonzero((k == a) & (m == b))
        out[some] = wasserstein_sorted(np.sort(mates[some, :, :a]), np.sort(strangers[some, :, :b]))
    return out


def _cosines(embeddings, index, settings, rows, drawn):
    """(rows, n_repeats, n_samples) cosines with the drawn images; inf where a row has fewer."""
    out = np.full((len(rows), settings.n_repeats, settings.n_samples), np.inf, rows.dtype)
    for draw in drawn:
        count = draw.columns.shape[2]
        if draw.pool is not None:
            products = rows[draw.rows] @ unit_length(embeddings[index.order[draw.pool]]).T
            flat = draw.columns.reshape(len(draw.rows), -1)
            out[draw.rows, :, :count] = np.take_along_axis(products, flat, axis=1).reshape(draw.columns.shape)
            continue
        for repeat in range(settings.n_repeats):  # one at a time, to save memory
            fetched = unit_length(embeddings[index.order[draw.columns[:, repeat].ravel()]])
            fetched = fetched.reshape(len(draw.rows), count, -1)
            out[draw.rows, repeat, :count] = np.matmul(fetched, rows[draw.rows][:, :, None])[..., 0]
    return out


def wasserstein_sorted(a, b):
    """Wasserstein-1 distance between samples that are sorted along the last axis: the area between their quantiles.

    From (..., k) and (..., m) to (...). With k = m it is the mean of abs(a - b); otherwise the unit interval is cut at
    all i / k and j / m.
    """
    k, m = a.shape[-1], b.shape[-1]
    if k == m:
        return np.abs(a - b).mean(axis=-1)
    i, j, width = _pieces(k, m)
    return np.abs(a[..., i] - b[..., j]) @ width.astype(np.result_type(a, b))


@functools.lru_cache(256)
def _pieces(k, m):
    """Pieces of the unit interval on which both quantile functions are constant: the sample of each, and the width."""
    cuts = np.unique(np.concatenate([np.arange(k + 1) * m, np.arange(m + 1) * k]))  # in units of 1 / (k m): exact
    return cuts[:-1] // m, cuts[:-1] // k, np.diff(cuts) / (k * m)


def exact_distances(embeddings, index, number):
    """Distances of `EXACT_ROWS` rows from all their mates and all strangers: (rows, 1), in sorted order."""
    places = index.unit(number, EXACT_ROWS)
    rows = unit_length(embeddings[index.order[places]])
    cosines = np.empty((len(places), len(index)), rows.dtype)
    for start in range(0, len(index), EXACT_COLUMNS):
        part = unit_length(embeddings[index.order[start : start + EXACT_COLUMNS]])
        np.matmul(rows, part.T, out=cosines[:, start : start + EXACT_COLUMNS])
    out = np.full((len(places), 1), np.nan, rows.dtype)
    (start, stop), (own, own_stop) = index.person(places), index.photograph(places)
    sizes = np.stack([stop - start, own_stop - own], axis=1)
    for size, versions in np.unique(sizes, axis=0):
        if size > versions:  # rows with the same number of mates go together
            some = np.flatnonzero((sizes == (size, versions)).all(axis=1))
            stretch = start[some, None] + np.arange(size)
            others = cosines[some]
            mates = np.take_along_axis(others, stretch, axis=1)
            np.put_along_axis(others, stretch, np.inf, axis=1)
            np.put_along_axis(mates, (own - start)[some, None] + np.arange(versions), np.inf, axis=1)
            others.sort(axis=1)
            mates.sort(axis=1)
            out[some, 0] = wasserstein_sorted(mates[:, : size - versions], others[:, : len(index) - size])
    return out


# ------------------------------------------------------------------------------------------------------------ draws


class Draw(NamedTuple):
    """The draws of some rows of a unit: `pool[columns]` are places, or `columns` themselves without a pool."""

    rows: np.ndarray  # (r,) positions in the unit
    pool: np.ndarray | None  # (p,) places whose embeddings these rows share
    columns: np.ndarray  # (r, n_repeats, count)

    @property
    def places(self):
        return self.columns if self.pool is None else self.pool[self.columns]


def unit_draws(index, settings, places, number):
    """The draws of one unit: (mates, strangers), each a list of `Draw`. They need no embedding."""
    rng = np.random.default_rng([settings.seed, number])
    everybody = (np.zeros_like(places), np.full_like(places, len(index)))
    person, photograph = index.person(places), index.photograph(places)
    strangers = _drawn(rng, settings, np.arange(len(places)), everybody, person)
    large = person[1] - person[0] > max(settings.pool, UNIT)
    mates = _mates_nearby(rng, settings, np.flatnonzero(~large), person, photograph)
    for start in np.unique(person[0][large]):
        mates += _drawn(rng, settings, np.flatnonzero(large & (person[0] == start)), person, photograph)
    return mates, strangers


def _mates_nearby(rng, settings, rows, person, photograph):
    """Mates from the stretch that the people of these rows fill: all cosines within it are one product."""
    if len(rows) == 0:
        return []
    (start, stop), (own, own_stop) = ([side[rows] for side in stretch] for stretch in (person, photograph))
    pool = np.arange(start.min(), stop.max())
    versions = own_stop - own
    population = stop - start - versions
    draws = []
    for count, some in _by_count(np.minimum(population, settings.n_samples)):
        shape = (len(some), settings.n_repeats)
        if (population[some] == count).all():
            taken = np.broadcast_to(np.arange(count), (*shape, count))
        else:
            taken = distinct(rng, np.broadcast_to(population[some, None], shape), count)
        taken = taken + start[some, None, None]
        taken = taken + versions[some, None, None] * (taken >= own[some, None, None])
        draws.append(Draw(rows[some], pool, taken - pool[0]))
    return draws


def _by_count(wanted):
    """(count, positions that want this count) for each count but 0."""
    return [(int(count), np.flatnonzero(wanted == count)) for count in np.unique(wanted) if count]


def _drawn(rng, settings, rows, inside, barred):
    """Draws from a stretch (the same for all rows) without a part of it that is barred for the row."""
    low, high = int(inside[0][rows[0]]), int(inside[1][rows[0]])
    start, stop = barred[0][rows], barred[1][rows]
    wanted = np.minimum(settings.n_samples, high - low - (stop - start))
    draw = _pooled if settings.draws == "pooled" else _independent
    return [
        draw(rng, settings, rows[some], (low, high), (start[some], stop[some]), count)
        for count, some in _by_count(wanted)
    ]


def _pooled(rng, settings, rows, inside, barred, count):
    """For each repeat a hand is dealt, and every row takes the first cards that are not barred for it."""
    (low, high), (start, stop) = inside, (side[:, None, None] for side in barred)
    hands = spread(rng, high - low, count, settings.n_repeats)
    size = min(high - low, count + SPARE)
    while True:
        hands = [deal(rng, high - low, size, hand) for hand in hands]
        pool = low + np.stack(hands)
        barred_card = (pool >= start) & (pool < stop)
        some = np.flatnonzero(barred_card[:, :, :count].any(axis=(1, 2)))  # few, in a large set
        allowed = ~barred_card[some]
        rank = allowed.cumsum(axis=2)
        if (rank[:, :, -1] >= count).all():
            break
        size = min(high - low, 2 * size)
    column = np.arange(pool.size).reshape(pool.shape)
    columns = np.repeat(column[None, :, :count], len(rows), axis=0)
    chosen = np.broadcast_to(column, allowed.shape)[allowed & (rank <= count)]
    columns[some] = chosen.reshape(len(some), *columns.shape[1:])
    return Draw(rows, pool.ravel(), columns)


def _independent(rng, settings, rows, inside, barred, count):
    """Every row draws for itself."""
    (low, high), (start, stop) = inside, (side[:, None, None] for side in barred)
    population = np.broadcast_to((high - low - (stop - start))[:, :, 0], (len(rows), settings.n_repeats))
    taken = low + distinct(rng, population, count)
    return Draw(rows, None, taken + (stop - start) * (taken >= start))


def distinct(rng, population, count):
    """Sets of `count` distinct numbers of 0 .. population - 1 by Floyd's method: every set is equally likely.

    `population` (...) int gives one set for each entry: (..., count) int64, in no particular order.
    """
    out = np.empty((*population.shape, count), np.int64)
    for i in range(count):
        last = population - count + i
        number = rng.integers(0, last + 1)
        taken = (out[..., :i] == number[..., None]).any(axis=-1)
        out[..., i] = np.where(taken, last, number)
    return out


def spread(rng, population, count, n_repeats):
    """Hands of `count` distinct numbers of 0 .. population - 1, spread evenly: (n_repeats, count) int64.

    Every number is equally likely to be in a hand. But two hands seldom share a number, and neighbours (images of one
    person, in a sorted list) are seldom in one hand. This leaves less noise than independent draws.
    """
    start = (rng.permutation(n_repeats) + rng.random()) / n_repeats
    step = population / count
    number = np.minimum(((np.arange(count) + start[:, None]) * step).astype(np.int64), population - 1)
    # each window of the range is rotated by its own amount: otherwise a period of the list could match the step
    window = population // count
    turn = rng.integers(0, window, -(-population // window))
    which = number // window
    length = np.minimum(window, population - which * window)
    return which * window + (number - which * window + turn[which]) % length


def deal(rng, population, size, dealt):
    """Fill `dealt` with further distinct numbers of 0 .. population - 1 at random: (size,) int64."""
    if 2 * size > population:
        rest = np.setdiff1d(np.arange(population), dealt, assume_unique=True)
        return np.concatenate([dealt, rng.permutation(rest)])[:size]
    while len(dealt) < size:
        more = np.concatenate([dealt, rng.integers(0, population, size - len(dealt) + 8)])
        dealt = more[np.sort(np.unique(more, return_index=True)[1])]
    return dealt[:size]
