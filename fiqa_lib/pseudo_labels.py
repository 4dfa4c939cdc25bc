"""Quality labels from a recogniser: SDD-FIQA, in memory or from files of any size.

SDD-FIQA (Ou et al., CVPR 2021, arXiv 2103.05977): a good face is like its person's other faces and unlike everybody
else. Its label is the Wasserstein-1 distance between its similarities to the one and to the other.

How it is made fast. Rows are sorted by identity, so that the images of a person are neighbours, and handled in units of
`UNIT` rows. The mates of a unit are one matrix product. So are its strangers, where the unit shares a random pool of
them (`draws="pooled"`); with `draws="independent"` every image fetches its own. The random numbers of a unit depend on
the seed and on the number of the unit alone, and its products always have the same shapes: neither memory nor threads
nor the order of work can change a bit of the result.

`labelling` does the same from files, for any number of images: the command `python -m fiqa_lib sdd-labels`.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

from .errors import DataError

UNIT = 128
"""Rows that are handled together and share a pool of strangers. Part of the definition of the pooled draws."""
SPARE = 8
"""How many more than `n_samples` are dealt, for those images whose own person is among them."""
SCALES = ("minmax", "robust", "none")
DRAWS = ("pooled", "independent")
OK, SINGLETON = "ok", "singleton"
ROWS = 65536
"""Rows that are scaled together."""


class Labels(NamedTuple):
    """Quality labels, one for each row of the embeddings, in their order.

    Attributes
    ----------
    labels : array (N,) float64
        Higher is better; 0..100, or a distance with `scale="none"`. NaN where `status` is not "ok".
    status : array (N,) str
        "ok", or "singleton": the person has no other photograph, so there is nothing to compare with.
    distances : array (N, n_repeats)
        The Wasserstein-1 distance of each repeat, before scaling. (N, 1) from `sdd_labels_exact`.
    """

    labels: np.ndarray
    status: np.ndarray
    distances: np.ndarray


def sdd_labels(
    embeddings,
    identities,
    *,
    n_samples=24,
    n_repeats=12,
    random_state=None,
    scale="minmax",
    draws="pooled",
    sources=None,
    max_memory=1e9,
    n_jobs=None,
    progress=None,
):
    """SDD-FIQA labels from samples, as published: section 3.2, equations 4 to 8.

    In each repeat an image is compared with min(n_samples, n - 1) other images of its person, drawn without
    replacement, and with n_samples images of other people, each image as likely as another. The label is the mean over
    the repeats of the scaled Wasserstein-1 distances between both sets of cosines.

    Parameters
    ----------
    embeddings : array (N, D)
        Any numeric type, a `numpy.memmap` or anything else that has `shape` and `dtype` and gives rows for
        `embeddings[indices]`, as `labelling.NpyFiles`. Of any length but 0: cosines are taken. Centre them first where
        the recogniser's are not (see notebook 02).
    identities : sequence of N
    n_samples, n_repeats : int
        24 and 12 in the authors' code.
    random_state : int, optional
        Seed of the draws; None for other draws each time.
    scale : {"minmax", "robust", "none"}
        See `scale_distances`.
    draws : {"pooled", "independent"}
        pooled: the `UNIT` rows of a unit share their strangers (matrix products, fast), and these are spread evenly
        over the people, within a repeat and between the repeats. independent: every image draws for itself, as
        published. For one image any stranger is as likely as another either way; see notebook 07 for what differs.
    sources : sequence of N, optional
        The photograph that each image was made from. Two versions of one photograph are then no positive pair.
    max_memory : float
        Bytes for the work, results (8 + 4 n_repeats bytes a row) and index (8 to 32 bytes a row) not counted.
    n_jobs : int, optional
        Threads; default: one for each core. No effect on the result.
    progress : callable, optional
        Wraps an iterable of units and takes `total`, for example `tqdm`.

    Returns
    -------
    Labels

    Raises
    ------
    DataError
        For NaN or zero-length embeddings (named by row), unknown identities (""), fewer than two people, no person
        with two images, or lengths that disagree.
    """
    check_choices(scale=scale)
    settings = Settings.checked(n_samples, n_repeats, random_state, draws)
    embeddings = _arraylike(embeddings)
    check_embeddings(embeddings, identities, max_memory)
    index = Index.of(identities, sources)
    work = functools.partial(unit_distances, embeddings, index, settings)
    need = settings.unit_bytes(embeddings.shape[1], float_type(embeddings).itemsize)
    found = _in_threads(work, index.n_units, n_jobs, max_memory, need, progress)
    return _labels(index, found, n_repeats, float_type(embeddings), scale)


def sdd_labels_exact(
    embeddings, identities, *, scale="minmax", sources=None, max_memory=1e9, n_jobs=None, progress=None
):
    """SDD-FIQA labels from all positives against all negatives: what the samples of `sdd_labels` estimate.

    Parameters and errors as there. Work grows with N squared, memory with N: about 1 kB a row and thread.

    Returns
    -------
    Labels
        `distances` has one column.
    """
    check_choices(scale=scale)
    embeddings = _arraylike(embeddings)
    check_embeddings(embeddings, identities, max_memory)
    index = Index.of(identities, sources)
    work = functools.partial(exact_distances, embeddings, index)
    need = 4 * EXACT_ROWS * len(index) * float_type(embeddings).itemsize
    found = _in_threads(work, -(-len(index) // EXACT_ROWS), n_jobs, max_memory, need, progress)
    return _labels(index, found, 1, float_type(embeddings), scale)


def _labels(index, found, n_repeats, kind, scale):
    distances = np.full((len(index), n_repeats), np.nan, kind)
    start = 0
    for part in found:
        distances[index.order[start : start + len(part)]] = part
        start += len(part)
    missing = np.isnan(distances[:, 0])
    if missing.all():
        raise DataError("no person has two images, so nothing can be compared with its own person")
    return Labels(scale_distances(distances, scale), np.where(missing, SINGLETON, OK), distances)


def _in_threads(work, count, n_jobs, max_memory, need, progress):
    """work(0), work(1), ... in order, with as many threads as memory allows."""
    if need > max_memory:
        raise DataError(f"max_memory is {max_memory:.3g} bytes, but the work needs {need:.3g}; raise it")
    threads = int(max(1, min(n_jobs or joblib.cpu_count(), max_memory // need, count)))
    progress = progress or (lambda iterable, total: iterable)
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        yield from progress(in_order(pool, work, range(count), 4 * threads), total=count)


def in_order(pool, work, numbers, ahead):
    """work(number) for each number, in order, from an executor that is never more than `ahead` tasks in front."""
    waiting = deque()
    try:
        for number in numbers:
            waiting.append(pool.submit(work, number))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class one_blas_thread:
    """Context in which a matrix product uses one thread, whichever of our threads asks for it.

    Several would share what is too small to be shared, and might add in another order. The limit is the process's, so
    those who are inside are counted: the first sets it, the last lifts it.
    """

    _lock, _inside, _limit = threading.Lock(), 0, None

    def __enter__(self):
        cls = type(self)
        with cls._lock:
            cls._inside += 1
            if cls._inside == 1:
                cls._limit = threadpool_limits(1, "blas")

    def __exit__(self, *error):
        cls = type(self)
        with cls._lock:
            cls._inside -= 1
            if cls._inside == 0:
                cls._limit.restore_original_limits()


# ------------------------------------------------------------------------------------------------- what comes in


class Settings(NamedTuple):
    """What decides the draws."""

    n_samples: int
    n_repeats: int
    seed: int
    draws: str

    @classmethod
    def checked(cls, n_samples, n_repeats, random_state, draws):
        for name, value in (("n_samples", n_samples), ("n_repeats", n_repeats)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise DataError(f"{name} must be a whole number of at least 1, not {value!r}")
        check_choices(draws=draws)
        if random_state is None:
            random_state = int.from_bytes(os.urandom(8), "little")
        if not isinstance(random_state, (int, np.integer)) or random_state < 0:
            raise DataError(f"random_state must be a whole number of at least 0 or None, not {random_state!r}")
        return cls(int(n_samples), int(n_repeats), int(random_state), draws)

    @property
    def pool(self):
        """Rows of a pool over all repeats; a person with more images than this has a pool of mates, too."""
        return self.n_repeats * (self.n_samples + SPARE)

    def unit_bytes(self, dim, itemsize):
        """An upper estimate of the memory that one unit takes."""
        rows = 3 * UNIT + 4 * self.pool if self.draws == "pooled" else 4 * UNIT + 2 * self.pool + UNIT * self.n_samples
        samples = UNIT * self.n_repeats * self.n_samples
        return 2 * rows * dim * itemsize + 8 * samples * (itemsize + 8)


def check_choices(**given):
    """Raise DataError unless `scale` and `draws`, where given, are known."""
    for name, value in given.items():
        known = {"scale": SCALES, "draws": DRAWS}[name]
        if value not in known:
            raise DataError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _arraylike(embeddings):
    """What has a shape stays as it is, but for the wrapping of a memmap, which makes each access slower."""
    plain = isinstance(embeddings, np.ndarray) or not hasattr(embeddings, "shape")
    return np.asarray(embeddings) if plain else embeddings


def float_type(embeddings):
    """The type that the work is done in: float64 for float64, else float32."""
    return np.dtype(np.float64 if embeddings.dtype == np.float64 else np.float32)


def check_embeddings(embeddings, identities, max_memory=1e9):
    """Raise DataError unless each row is a direction; names the first row that is not. Reads everything once."""
    shape, kind = getattr(embeddings, "shape", ()), getattr(embeddings, "dtype", np.dtype(object)).kind
    if len(shape) != 2 or kind not in "fiu":
        raise DataError(f"embeddings must be a numeric array (N, D), got {type(embeddings).__name__} {shape}")
    if len(identities) != shape[0]:
        raise DataError(f"{shape[0]} embeddings, {len(identities)} identities: lengths must agree")
    step = max(1, int(min(max_memory, 64e6) // (16 * max(1, shape[1]))))
    for start in range(0, shape[0], step):
        usable = usable_rows(np.asarray(embeddings[start : start + step]))
        if not usable.all():
            row = start + int(np.argmin(usable))
            raise DataError(f"the embedding in row {row} has no direction (NaN, infinite or all 0); leave it out")


def usable_rows(embeddings):
    """Which rows have a direction: their length is finite and not 0. (N, D) -> (N,) bool."""
    rows = embeddings.astype(float_type(embeddings), copy=False)
    with np.errstate(all="ignore"):
        squared = np.einsum("ij,ij->i", rows, rows)
    return np.isfinite(squared) & (squared > 0)


class Index:
    """The rows sorted by identity (and by photograph), so that each person is one stretch of rows.

    Attributes
    ----------
    order : array (N,)
        Row of the embeddings at each place.
    bounds : array (people + 1,)
        Where each person's stretch begins; the last entry is N.
    own_bounds : array or None
        The same for photographs; None where every row is a photograph of its own.
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
        person = person[order]
        bounds = _bounds(np.diff(person) != 0, len(order))
        if len(bounds) < 3:
            raise DataError("at least two people are needed: there is nobody to tell apart")
        if photograph is None:
            return cls(order, bounds)
        changes = (np.diff(person) != 0) | (np.diff(photograph[order]) != 0)
        return cls(order, bounds, _bounds(changes, len(order)))

    def __len__(self):
        return len(self.order)

    @property
    def n_units(self):
        return -(-len(self.order) // UNIT)

    def unit(self, number):
        """The places of one unit."""
        return np.arange(number * UNIT, min(len(self.order), (number + 1) * UNIT))

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


def _bounds(changes, count):
    return np.concatenate([[0], np.flatnonzero(changes) + 1, [count]])


# --------------------------------------------------------------------------------------------------------- the work


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
    """(rows, n_repeats, n_samples) cosines with what was drawn; inf where a row has fewer."""
    out = np.full((len(rows), settings.n_repeats, settings.n_samples), np.inf, rows.dtype)
    for draw in drawn:
        count = draw.columns.shape[2]
        if draw.pool is not None:
            products = rows[draw.rows] @ unit_length(embeddings[index.order[draw.pool]]).T
            flat = draw.columns.reshape(len(draw.rows), -1)
            out[draw.rows, :, :count] = np.take_along_axis(products, flat, axis=1).reshape(draw.columns.shape)
            continue
        for repeat in range(settings.n_repeats):  # one at a time, since they are many
            fetched = unit_length(embeddings[index.order[draw.columns[:, repeat].ravel()]])
            fetched = fetched.reshape(len(draw.rows), count, -1)
            out[draw.rows, repeat, :count] = np.matmul(fetched, rows[draw.rows][:, :, None])[..., 0]
    return out


def wasserstein_sorted(a, b):
    """Wasserstein-1 distance between samples that are sorted along the last axis: the area between their quantiles.

    Parameters
    ----------
    a : array (..., k)
    b : array (..., m)

    Returns
    -------
    array (...)
        With k = m it is the mean of abs(a - b). Else the unit interval is cut at all i / k and j / m.
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


def unit_length(rows):
    """Rows as floats, each divided by its length."""
    rows = np.asarray(rows)
    rows = rows.astype(np.float64 if rows.dtype == np.float64 else np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# -------------------------------------------------------------------------------------------------------- the draws


class Draw(NamedTuple):
    """What was drawn for some rows of a unit: `pool[columns]` are places, or `columns` themselves without a pool.

    Attributes
    ----------
    rows : array (r,)
        Positions in the unit.
    pool : array (p,) or None
        Places whose embeddings these rows share.
    columns : array (r, n_repeats, count)
    """

    rows: np.ndarray
    pool: np.ndarray | None
    columns: np.ndarray

    @property
    def places(self):
        return self.columns if self.pool is None else self.pool[self.columns]


def sdd_draws(identities, *, n_samples=24, n_repeats=12, random_state=0, draws="pooled", sources=None):
    """The very draws of `sdd_labels` with the same arguments, for tests and lessons.

    Returns
    -------
    (array (N, n_repeats, n_samples), array (N, n_repeats, n_samples))
        Rows of the mates and of the strangers that each image is compared with; -1 where there are fewer.
    """
    settings, index = Settings.checked(n_samples, n_repeats, random_state, draws), Index.of(identities, sources)
    found = tuple(np.full((len(index), n_repeats, n_samples), -1) for _ in range(2))
    for number in range(index.n_units):
        places = index.unit(number)
        for out, drawn in zip(found, unit_draws(index, settings, places, number), strict=True):
            for draw in drawn:
                out[index.order[places[draw.rows]], :, : draw.columns.shape[2]] = index.order[draw.places]
    return found


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
    found = []
    for count, some in _by_count(np.minimum(population, settings.n_samples)):
        shape = (len(some), settings.n_repeats)
        if (population[some] == count).all():
            taken = np.broadcast_to(np.arange(count), (*shape, count))
        else:
            taken = distinct(rng, np.broadcast_to(population[some, None], shape), count)
        taken = taken + start[some, None, None]
        taken = taken + versions[some, None, None] * (taken >= own[some, None, None])
        found.append(Draw(rows[some], pool, taken - pool[0]))
    return found


def _by_count(wanted):
    """(count, positions that want as many) for each count but 0."""
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
    """Sets of distinct whole numbers, drawn by Floyd's method: every set is as likely as another.

    Parameters
    ----------
    rng : numpy.random.Generator
    population : array of int
        For each set, numbers are drawn from 0 .. population - 1; at least `count`.
    count : int

    Returns
    -------
    array (*population.shape, count) int64
        In no particular order.
    """
    out = np.empty((*population.shape, count), np.int64)
    for i in range(count):
        last = population - count + i
        number = rng.integers(0, last + 1)
        taken = (out[..., :i] == number[..., None]).any(axis=-1)
        out[..., i] = np.where(taken, last, number)
    return out


def spread(rng, population, count, n_repeats):
    """Hands of distinct whole numbers, spread evenly: over the range within a hand, and between the hands.

    Every number is as likely as another to be in a hand, but two hands seldom hold the same, and neighbours (of one
    person, in a sorted list) are seldom in one hand: less noise than from draws that know nothing of each other.

    Parameters
    ----------
    rng : numpy.random.Generator
    population, count, n_repeats : int
        `count` numbers in each hand, from 0 .. population - 1.

    Returns
    -------
    array (n_repeats, count) int64
    """
    start = (rng.permutation(n_repeats) + rng.random()) / n_repeats
    step = population / count
    number = np.minimum(((np.arange(count) + start[:, None]) * step).astype(np.int64), population - 1)
    # each window of the range is turned by an amount of its own: else a period of the list could be that of the steps
    window = population // count
    turn = rng.integers(0, window, -(-population // window))
    which = number // window
    length = np.minimum(window, population - which * window)
    return which * window + (number - which * window + turn[which]) % length


def deal(rng, population, size, dealt):
    """Deal further cards of 0 .. population - 1 at random, until `size` lie on the table.

    Parameters
    ----------
    rng : numpy.random.Generator
    population, size : int
    dealt : array of int
        Those that lie there already; they stay in front.

    Returns
    -------
    array (size,) int64
    """
    if 2 * size > population:
        rest = np.setdiff1d(np.arange(population), dealt, assume_unique=True)
        return np.concatenate([dealt, rng.permutation(rest)])[:size]
    while len(dealt) < size:
        more = np.concatenate([dealt, rng.integers(0, population, size - len(dealt) + 8)])
        dealt = more[np.sort(np.unique(more, return_index=True)[1])]
    return dealt[:size]


EXACT_ROWS, EXACT_COLUMNS = 64, 4096


def exact_distances(embeddings, index, number):
    """Distances of `EXACT_ROWS` rows from all their mates and all strangers: (rows, 1), in sorted order."""
    places = np.arange(number * EXACT_ROWS, min(len(index), (number + 1) * EXACT_ROWS))
    rows = unit_length(embeddings[index.order[places]])
    cosines = np.empty((len(places), len(index)), rows.dtype)
    for start in range(0, len(index), EXACT_COLUMNS):
        part = unit_length(embeddings[index.order[start : start + EXACT_COLUMNS]])
        np.matmul(rows, part.T, out=cosines[:, start : start + EXACT_COLUMNS])
    out = np.full((len(places), 1), np.nan, rows.dtype)
    person, photograph = index.person(places), index.photograph(places)
    sizes = np.stack([person[1] - person[0], photograph[1] - photograph[0]], axis=1)
    for size, versions in np.unique(sizes, axis=0):
        if size > versions:
            some = np.flatnonzero((sizes == (size, versions)).all(axis=1))
            out[some, 0] = _exact(cosines[some], person[0][some], size, photograph[0][some], versions)
    return out


def _exact(cosines, start, size, own, versions):
    """Rows with equally many mates: (rows, N) cosines, where each person's stretch begins, and its photograph's."""
    stretch = start[:, None] + np.arange(size)
    mates = np.take_along_axis(cosines, stretch, axis=1)
    np.put_along_axis(cosines, stretch, np.inf, axis=1)
    np.put_along_axis(mates, (own - start)[:, None] + np.arange(versions), np.inf, axis=1)
    cosines.sort(axis=1)
    mates.sort(axis=1)
    return wasserstein_sorted(mates[:, : size - versions], cosines[:, : cosines.shape[1] - size])


# -------------------------------------------------------------------------------------------------------- the scale


def scale_distances(distances, scale="minmax"):
    """Labels from the distances of each repeat.

    Parameters
    ----------
    distances : array (N, n_repeats)
        NaN rows stay NaN.
    scale : {"minmax", "robust", "none"}
        minmax: in each repeat the smallest distance becomes 0 and the largest 100, as published; one outlier then
        decides about everybody. robust: the 1st percentile becomes 0 and the 99th 100, and what lies beyond is cut off.
        none: left as they are, 0..2.

    Returns
    -------
    array (N,) float64
        Mean over the repeats. 50 for all where a repeat knows no difference.
    """
    limits = _limits_of_known(distances, scale)
    parts = [between(distances[i : i + ROWS], limits).mean(axis=1) for i in range(0, len(distances), ROWS)]
    return np.concatenate(parts) if parts else np.zeros(0)


def scaled_repeats(distances, scale="minmax"):
    """Each repeat on its own scale, before the mean: (N, n_repeats) float64. See `scale_distances`."""
    return between(distances, _limits_of_known(distances, scale))


def _limits_of_known(distances, scale):
    check_choices(scale=scale)
    columns = (column[~np.isnan(column)] for column in np.asarray(distances).T)  # one at a time, since they are long
    return scale_limits(columns, scale)


def scale_limits(repeats, scale):
    """(what becomes 0, what becomes 100) in each repeat, two arrays (n_repeats,) float64; None with "none".

    `repeats` gives the distances of one repeat after another, without NaN.
    """
    if scale == "none":
        return None
    percentiles = (0, 100) if scale == "minmax" else (1, 99)
    return tuple(np.array([np.percentile(np.asarray(r, np.float64), percentiles) for r in repeats]).T)


def between(distances, limits):
    """Distances on the scale that `scale_limits` gave."""
    distances = np.asarray(distances, np.float64)
    if limits is None:
        return distances
    low, high = limits
    flat = high == low
    scaled = np.clip((distances - low) / np.where(flat, 1, high - low), 0, 1) * 100
    return np.where(flat & ~np.isnan(distances), 50.0, scaled)
