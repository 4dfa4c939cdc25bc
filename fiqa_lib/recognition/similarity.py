"""How alike two embeddings are. A **similarity** is higher when two faces are more alike; a distance gets a minus."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data.pairs import identity_codes
from ..errors import DataError

BLOCK_BYTES = 64 * 2**20
"""How much of the similarity matrix is held at a time, in bytes."""


def cosine(a, b, *, centre=None):
    """Cosine of each row of `a` with the same row of `b`.

    Parameters
    ----------
    a, b : array (P, D)
        Embeddings of the first and the second face of each pair.
    centre : array (D,), default=None
        Subtracted from both first. Take the mean over *other* people (a training set): an embedding whose mean is
        far from 0, as dlib's, gives strangers a cosine of 0.9, and a mean over the tested people leaks.

    Returns
    -------
    array (P,) float64
        In [-1, 1].

    Raises
    ------
    DataError
        For shapes that disagree, NaN, infinity and embeddings of length 0.
    """
    a, b = _paired(a, b)
    return np.clip(np.einsum("pd,pd->p", _unit(_centred(a, centre)), _unit(_centred(b, centre))), -1, 1)


def euclidean(a, b):
    """Minus the Euclidean distance of each row of `a` to the same row of `b`.

    Parameters
    ----------
    a, b : array (P, D)
        Embeddings of the first and the second face of each pair.

    Returns
    -------
    array (P,) float64
        In (-inf, 0].
    """
    a, b = _paired(a, b)
    return -np.linalg.norm(a - b, axis=1)


class AllPairs(NamedTuple):
    """All pairs i < j of n faces, row after row: the order of `numpy.triu_indices(n, 1)` and of SciPy's `pdist`.

    similarity : array (P,) float32; mated : array (P,) bool; P = n (n - 1) / 2.
    """

    similarity: np.ndarray
    mated: np.ndarray


def all_pairs(embeddings, identities, kind="cosine", centre=None, *, block_bytes=BLOCK_BYTES):
    """Similarity and mated flag of every pair of faces, computed in blocks.

    13,000 faces are 84.5 million pairs: 338 MB of float32 and 85 MB of flags, plus one block.

    Parameters
    ----------
    embeddings : array (N, D)
        One embedding for each face.
    identities : sequence of N
        Two faces are mated when these are equal. An empty string is an unknown identity and is refused.
    kind : {"cosine", "euclidean"}, default="cosine"
        The similarity; "euclidean" is minus the distance.
    centre : array (D,), default=None
        Subtracted first; see `cosine`. Has no effect on the distance.
    block_bytes : int, default=64 MB
        Bound on the size of one block of the similarity matrix, in bytes.

    Returns
    -------
    AllPairs

    Raises
    ------
    DataError
        For NaN, zero-length embeddings under the cosine, unknown identities and lengths that disagree.
    """
    codes = identity_codes(identities)
    n = len(codes)
    if n != len(embeddings):
        raise DataError(f"{len(embeddings)} embeddings, but {n} identities")
    pairs = AllPairs(np.empty(n * (n - 1) // 2, np.float32), np.empty(n * (n - 1) // 2, bool))
    done = 0
    for start, band in _similarity_bands(embeddings, kind, centre, block_bytes):
        flat = _above_diagonal(band)
        part = slice(done, done + len(flat))
        pairs.similarity[part] = flat
        pairs.mated[part] = _above_diagonal(codes[start : start + len(band), None] == codes[None, start:])
        done += len(flat)
    return pairs


def _similarity_bands(embeddings, kind, centre, block_bytes):
    """Yield (start, band): `band[i, j]` is the similarity (float32) of the faces `start + i` and `start + j`."""
    if kind not in ("cosine", "euclidean"):
        raise DataError(f"kind must be 'cosine' or 'euclidean', got {kind!r}")
    x = _centred(_embeddings(embeddings), centre)
    # distances in float64: the difference of two large squares would cost float32 the small ones
    x = _unit(x).astype(np.float32) if kind == "cosine" else x.astype(np.float64)
    squares = None if kind == "cosine" else np.einsum("nd,nd->n", x, x)
    rows = max(1, int(block_bytes) // max(1, len(x) * x.itemsize))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        band = x[part] @ x[start:].T
        if kind == "cosine":
            np.clip(band, -1, 1, out=band)
        else:  # in place, so that memory stays one block
            band *= -2
            band += squares[part, None]
            band += squares[None, start:]
            np.sqrt(np.maximum(band, 0, out=band), out=band)
            band = np.negative(band, out=band).astype(np.float32)
        yield start, band


def _above_diagonal(band):
    """The entries right of the diagonal, row after row, as one array."""
    return np.concatenate([row[i + 1 :] for i, row in enumerate(band)])


def _embeddings(values, what="embeddings"):
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise DataError(f"{what} must be a numeric array of shape (N, D), got {values.dtype} {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DataError(f"{what} hold NaN or infinity in {len(bad)} rows, the first is row {bad[0]}; leave them out")
    return values


def _paired(a, b):
    a, b = _embeddings(a, "a"), _embeddings(b, "b")
    if a.shape != b.shape:
        raise DataError(f"a and b must hold the same number of embeddings of one size, got {a.shape} and {b.shape}")
    return a.astype(np.float64), b.astype(np.float64)


def _centred(x, centre):
    if centre is None:
        return x
    centre = np.asarray(centre)
    if centre.shape != x.shape[1:]:
        raise DataError(
            f"centre must have shape {x.shape[1:]}, one value for an embedding dimension, got {centre.shape}"
        )
    return x - centre


def _unit(x):
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        raise DataError(f"{len(zero)} embeddings have length 0 (the first is row {zero[0]}): they have no cosine")
    return x / norms
