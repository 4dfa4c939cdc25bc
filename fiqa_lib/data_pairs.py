"""Which faces to compare: pairs by position, all of them or a random choice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .errors import DataError


class PairIndices(NamedTuple):
    """Pairs by position: `index_a`, `index_b` (P,) int64, a before b in the list, and `mated` (P,) bool."""

    index_a: np.ndarray
    index_b: np.ndarray
    mated: np.ndarray


def identity_codes(identities):
    """Identities (N,) as int32 numbers, in the order of the sorted identities. An empty string is refused."""
    identities = np.asarray(identities)
    if identities.ndim != 1:
        raise DataError(f"identities must be one value for a face, got shape {identities.shape}")
    if identities.dtype.kind in "US" and (unknown := int(np.sum(identities == identities.dtype.type()))):
        raise DataError(f"{unknown} faces have no identity (''), so whether they are mated is unknown; leave them out")
    return np.unique(identities, return_inverse=True)[1].astype(np.int32)


def pair_indices(identities, *, max_mated=None, max_impostor=None, random_state=0):
    """Pairs of faces: all of them, or a capped random choice that never lists the rest.

    Each pair of a kind is equally likely to be chosen, none twice. Mated pairs come first; within a kind the order
    is that of the faces grouped by identity.

    Parameters
    ----------
    identities : sequence of N
        Two faces are mated when these are equal. An empty string is an unknown identity and is refused.
    max_mated, max_impostor : int, default=None
        The highest number of mated and of impostor pairs. None: all.
    random_state : int or numpy Generator, default=0
        Seed of the choice.

    Returns
    -------
    PairIndices
    """
    codes = identity_codes(identities)
    order = np.argsort(codes, kind="stable")
    position = np.arange(len(codes))
    ends = np.searchsorted(codes[order], codes[order], side="right")  # where the identity of each sorted face ends
    partners = (ends - position - 1, len(codes) - ends)  # later faces of the same identity; faces of later identities
    first = (position + 1, ends)
    rng = np.random.default_rng(random_state)
    chosen = []
    for counts, offset, cap in zip(partners, first, (max_mated, max_impostor), strict=True):
        upto = np.cumsum(counts)
        total = int(upto[-1]) if len(upto) else 0
        ordinal = _sample_without_replacement(total, total if cap is None else min(int(cap), total), rng)
        a = np.searchsorted(upto, ordinal, side="right")
        b = offset[a] + ordinal - (upto[a] - counts[a])
        chosen.append(np.sort(np.stack([order[a], order[b]]), axis=0))
    both = np.concatenate(chosen, axis=1)
    return PairIndices(both[0], both[1], np.arange(both.shape[1]) < chosen[0].shape[1])


def _sample_without_replacement(total, size, rng):
    """`size` different integers below `total`, sorted, every such set equally likely; memory for the smaller part."""
    if size >= total:
        return np.arange(total)
    if 2 * size > total:  # choose those to leave out instead, so that few draws hit twice
        return np.delete(np.arange(total), _sample_without_replacement(total, total - size, rng))
    chosen = np.empty(0, np.int64)
    while len(chosen) < size:  # never draws more than are missing, so no set is favoured
        chosen = np.sort(np.concatenate([chosen, rng.integers(total, size=size - len(chosen))]))
        chosen = chosen[np.diff(chosen, prepend=-1) > 0]  # np.unique hashes integers, which takes 60 times as long
    return chosen
