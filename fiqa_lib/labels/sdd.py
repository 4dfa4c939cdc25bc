"""Quality labels from similarity distributions: SDD-FIQA (Ou et al., CVPR 2021, arXiv 2103.05977).

A good face is similar to the other faces of its person and dissimilar to everybody else. Its label is the
Wasserstein-1 distance between its similarities to the one group and to the other.

`sdd_labels` draws samples as published; `sdd_labels_exact` compares everything; `reference_labels` compares with clean
photographs only. `apps.labelling` does the same from files, for any number of images: `python -m fiqa_lib sdd-labels`.
"""

from __future__ import annotations

import functools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import DataError
from .sdd_distances import (
    EXACT_ROWS,
    Index,
    Settings,
    exact_distances,
    float_type,
    unit_distances,
    unit_draws,
    unit_length,
    usable_rows,
    wasserstein_sorted,
)

SCALES = ("minmax", "robust", "none")
OK, SINGLETON = "ok", "singleton"
ROWS = 65536
"""Rows that are checked or scaled together."""


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
    replacement, and with n_samples images of other people, all equally likely. The label is the mean over the repeats
    of the scaled Wasserstein-1 distances between both sets of cosines.

    Parameters
    ----------
    embeddings : array (N, D)
        Any numeric type; a `numpy.memmap` is read in parts. Any length but 0: cosines are taken. Centre them first
        if the recogniser's embeddings are not centred (see notebook 02).
    identities : sequence of N
        The person in each image.
    n_samples : int, default=24
        Positives and negatives in each repeat, at most; 24 in the authors' code.
    n_repeats : int, default=12
        Number of repeats; 12 in the authors' code.
    random_state : int, default=None
        Seed of the draws; None for other draws each time.
    scale : {"minmax", "robust", "none"}, default="minmax"
        See `scale_distances`.
    draws : {"pooled", "independent"}, default="pooled"
        pooled: the `UNIT` rows of a unit share their strangers (matrix products, fast), and these are spread evenly
        over the people, within a repeat and between the repeats. independent: every image draws for itself, as
        published. For one image all strangers are equally likely either way; notebook 08 shows the difference.
    sources : sequence of N, default=None
        The photograph that each image was made from. Two versions of one photograph are then not a positive pair.
    max_memory : float, default=1e9
        Bytes for the work; results (8 + 4 n_repeats bytes a row) and index (8 to 32 bytes a row) are not counted.
    n_jobs : int, default=None
        Threads; None for one per core. No effect on the result.
    progress : callable, default=None
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
    settings = Settings.checked(n_samples, n_repeats, random_state, draws)
    embeddings = _checked(embeddings, identities, scale)
    index = Index.of(identities, sources)
    work = functools.partial(unit_distances, embeddings, index, settings)
    need = settings.unit_bytes(embeddings.shape[1], float_type(embeddings).itemsize)
    parts = _in_threads(work, index.n_units, n_jobs, max_memory, need, progress)
    return _labels(index, parts, (n_repeats, float_type(embeddings)), scale)


def sdd_labels_exact(
    embeddings, identities, *, scale="minmax", sources=None, max_memory=1e9, n_jobs=None, progress=None
):
    """SDD-FIQA labels from all positives against all negatives: the value that `sdd_labels` estimates.

    Parameters and errors as in `sdd_labels`. Work grows with N squared, memory with N: about 1 kB per row and thread.

    Returns
    -------
    Labels
        `distances` has one column.
    """
    embeddings = _checked(embeddings, identities, scale)
    index = Index.of(identities, sources)
    work = functools.partial(exact_distances, embeddings, index)
    need = 4 * EXACT_ROWS * len(index) * float_type(embeddings).itemsize
    parts = _in_threads(work, -(-len(index) // EXACT_ROWS), n_jobs, max_memory, need, progress)
    return _labels(index, parts, (1, float_type(embeddings)), scale)


def sdd_draws(identities, *, n_samples=24, n_repeats=12, random_state=0, draws="pooled", sources=None):
    """The same draws that `sdd_labels` makes with these arguments, for tests and lessons. Parameters as there.

    Returns
    -------
    (array (N, n_repeats, n_samples), array (N, n_repeats, n_samples))
        Rows of the mates and of the strangers that each image is compared with; -1 where there are fewer.
    """
    settings, index = Settings.checked(n_samples, n_repeats, random_state, draws), Index.of(identities, sources)
    drawn_rows = tuple(np.full((len(index), n_repeats, n_samples), -1) for _ in range(2))
    for number in range(index.n_units):
        places = index.unit(number)
        for out, drawn in zip(drawn_rows, unit_draws(index, settings, places, number), strict=True):
            for draw in drawn:
                out[index.order[places[draw.rows]], :, : draw.columns.shape[2]] = index.order[draw.places]
    return drawn_rows


def reference_labels(embeddings, identities, sources, clean, scale="minmax"):
    """SDD-FIQA labels of faces against clean photographs: every mate and every stranger, nothing drawn.

    In a training set of mostly degraded copies, `sdd_labels` compares a face mostly with degraded copies of its own
    person. In use, a face is compared with a clean reference.

    Parameters
    ----------
    embeddings : array (N, D)
        Of all faces.
    identities : sequence of N
        The person in each face.
    sources : sequence of N
        The photograph that each face was made from. A face is not compared with its own photograph.
    clean : array (N,) bool
        The references.
    scale : {"minmax", "robust", "none"}, default="minmax"
        See `scale_distances`.

    Returns
    -------
    array (N,) float64
        NaN where the person has no other clean photograph.

    Raises
    ------
    DataError
        When no face can be compared with a mate and a stranger.
    """
    _, who = np.unique(identities, return_inverse=True)
    _, photograph = np.unique(sources, return_inverse=True)
    unit, references = unit_length(embeddings), np.flatnonzero(clean)
    distances = np.full(len(unit), np.nan)
    for start in range(0, len(unit), 64):
        for row, cosines in enumerate(unit[start : start + 64] @ unit[references].T, start):
            own = who[references] == who[row]
            mates = cosines[own & (photograph[references] != photograph[row])]
            if len(mates) and not own.all():
                distances[row] = wasserstein_sorted(np.sort(mates), np.sort(cosines[~own]))
    if np.isnan(distances).all():
        raise DataError("no person has another clean photograph and a clean stranger to compare with: nothing to learn")
    return scale_distances(distances[:, None], scale)


def _checked(embeddings, identities, scale):
    """The embeddings as an array, after a look at every row; DataError names the first one without a direction."""
    check_scale(scale)
    embeddings = np.asarray(embeddings)  # of a memmap this is a view, with faster access
    if embeddings.ndim != 2 or embeddings.dtype.kind not in "fiu":
        raise DataError(f"embeddings must be a numeric array (N, D), got {embeddings.dtype} {embeddings.shape}")
    if len(identities) != len(embeddings):
        raise DataError(f"{len(embeddings)} embeddings, {len(identities)} identities: lengths must agree")
    step = max(1, int(64e6 // (16 * max(1, embeddings.shape[1]))))
    for start in range(0, len(embeddings), step):
        usable = usable_rows(embeddings[start : start + step])
        if not usable.all():
            row = start + int(np.argmin(usable))
            raise DataError(f"the embedding in row {row} has no direction (NaN, infinite or all 0); leave it out")
    return embeddings


def _in_threads(work, count, n_jobs, max_memory, need, progress):
    """work(0), work(1), ... in order, computed by as many threads as memory allows."""
    if need > max_memory:
        raise DataError(f"max_memory is {max_memory:.3g} bytes, but the work needs {need:.3g}; raise it")
    threads = int(max(1, min(n_jobs or joblib.cpu_count(), max_memory // need, count)))
    progress = progress or (lambda iterable, total: iterable)
    # one BLAS thread in each of ours: more would compete for small products, and could add in another order
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        yield from progress(in_order(pool, work, range(count), 4 * threads), total=count)


def in_order(pool, work, numbers, ahead):
    """work(number) for each number, in order, from an executor that holds at most `ahead` tasks at a time."""
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


def _labels(index, parts, columns, scale):
    """Labels from distances in the order of the index, part by part. `columns`: (how many, type)."""
    distances = np.empty((len(index), columns[0]), columns[1])
    start = 0
    for part in parts:
        distances[index.order[start : start + len(part)]] = part
        start += len(part)
    missing = np.isnan(distances[:, 0])
    if missing.all():
        raise DataError("no person has two images, so nothing can be compared with its own person")
    return Labels(scale_distances(distances, scale), np.where(missing, SINGLETON, OK), distances)


# -------------------------------------------------------------------------------------------------------- the scale


def check_scale(scale):
    """Raise DataError for an unknown scale."""
    if scale not in SCALES:
        raise DataError(f"scale must be one of {', '.join(SCALES)}, not {scale!r}")


def scale_distances(distances, scale="minmax"):
    """Labels from the distances of each repeat.

    Parameters
    ----------
    distances : array (N, n_repeats)
        NaN rows stay NaN.
    scale : {"minmax", "robust", "none"}, default="minmax"
        minmax: in each repeat the smallest distance becomes 0 and the largest 100, as published; one outlier then
        moves all labels. robust: the 1st percentile becomes 0 and the 99th 100; values beyond are clipped.
        none: distances as they are, 0..2.

    Returns
    -------
    array (N,) float64
        Mean over the repeats. 50 for all where all distances of a repeat are equal.
    """
    limits = scale_limits(distances, scale)
    parts = [between(distances[i : i + ROWS], limits).mean(axis=1) for i in range(0, len(distances), ROWS)]
    return np.concatenate(parts) if parts else np.zeros(0)


def scaled_repeats(distances, scale="minmax"):
    """Each repeat on its own scale, before the mean: (N, n_repeats) float64. See `scale_distances`."""
    return between(distances, scale_limits(distances, scale))


def scale_limits(distances, scale):
    """(value for 0, value for 100) of each repeat, two arrays (n_repeats,) float64; None with "none".

    `distances` (N, n_repeats) may be memory-mapped; robust needs memory for one repeat. NaN are left out.
    """
    check_scale(scale)
    distances = np.asarray(distances)  # of a memmap too: nanmin would copy all of that
    if scale == "none" or len(distances) == 0:
        return None
    if scale == "minmax":
        return tuple(end(distances, axis=0).astype(np.float64) for end in (np.nanmin, np.nanmax))
    columns = (column[~np.isnan(column)].astype(np.float64) for column in distances.T)
    return tuple(np.array([np.percentile(column, (1, 99)) for column in columns]).T)


def between(distances, limits):
    """Distances on the scale that `scale_limits` gave."""
    distances = np.asarray(distances, np.float64)
    if limits is None:
        return distances
    low, high = limits
    flat = high == low
    scaled = np.clip((distances - low) / np.where(flat, 1, high - low), 0, 1) * 100
    return np.where(flat & ~np.isnan(distances), 50.0, scaled)
