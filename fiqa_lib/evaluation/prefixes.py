"""Order statistics of every prefix of a list at once, for the re-fitted curve.

Re-fitting asks two things at each of up to a million cuts: the k-th highest impostor among those above the cut, and
how many mated pairs above the cut lie below a threshold. Both are answered for all cuts at once by "The Wavelet
Matrix" (Claude & Navarro, SPIRE 2012): ranks are split by their bits, highest first, and each question follows its
bits down. O(P log P).
"""

from __future__ import annotations

import numpy as np


def ranks(values):
    """The place of each value in rising order (ties in any order), and the values in that order."""
    order = np.argsort(values)
    rank = np.empty(len(values), np.int32 if len(values) < 2**31 else np.int64)
    rank[order] = np.arange(len(values), dtype=rank.dtype)
    return rank, values[order]


def prefix_sums(values, dtype=np.int64):
    """Sums of the first 0, 1, 2 ... values."""
    sums = np.zeros(len(values) + 1, dtype)
    np.cumsum(values, out=sums[1:])
    return sums


def prefix_kth(rank, length, k, weight):
    """The rank of the `k[i]`-th (from 0) of the first `length[i]` items, each counted by its weight."""
    kth, k = np.zeros(len(length), np.int64), k.copy()

    def choose_upper(bit, in_lower):
        upper = k >= in_lower
        np.add(kth, 1 << bit, out=kth, where=upper)
        np.subtract(k, in_lower, out=k, where=upper)
        return upper

    _descend(rank, length, weight, choose_upper)
    return np.minimum(kth, len(rank) - 1)  # for an empty prefix any rank will do


def prefix_count(rank, length, below, weight):
    """How many of the first `length[i]` items, counted by weight, have a rank under `below[i]`."""
    total = np.zeros(len(length), np.int64)

    def choose_upper(bit, in_lower):
        upper = (below >> bit) & 1 != 0
        np.add(total, in_lower, out=total, where=upper)
        return upper

    _descend(rank, length, weight, choose_upper)
    return total


def _descend(rank, length, weight, choose_upper):
    """Follow each question down the bits of `rank`, from all of the first `length[i]` items to one rank.

    `choose_upper(bit, in_lower)` receives the weight of each question's range in the half where the bit is 0, and
    returns which questions continue in the other half.
    """
    low, high = np.zeros(len(length), rank.dtype), length.astype(rank.dtype)
    for bit in range(len(rank).bit_length() - 1, -1, -1):
        one = (rank >> bit) & 1 != 0
        zeros = prefix_sums(~one, rank.dtype)
        heavy = prefix_sums(np.where(one, 0, weight))
        upper = choose_upper(bit, heavy[high] - heavy[low])
        low = np.where(upper, zeros[-1] + low - zeros[low], zeros[low])
        high = np.where(upper, zeros[-1] + high - zeros[high], zeros[high])
        order = np.concatenate([np.flatnonzero(~one), np.flatnonzero(one)])
        rank, weight = rank[order], weight[order]
