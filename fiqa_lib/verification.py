"""Verification: how alike two embeddings are, where to draw the line, and what errors that line makes.

Works on arrays only. Everywhere a **similarity** is higher when two faces are more alike (a distance enters with its
sign turned), a pair is accepted when `similarity >= threshold`, and

- FMR, false match rate: the share of non-mated (impostor) pairs that are accepted;
- FNMR, false non-match rate: the share of mated pairs that are not accepted (ISO/IEC 19795-1).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from sklearn.model_selection import KFold

from .errors import DataError

FEW = 30
"""Fewer expected false matches than this carry no threshold: the "rule of 30" (ISO/IEC 19795-1, after Doddington)."""

BLOCK_BYTES = 64 * 2**20
"""How much of the similarity matrix is held at a time, in bytes."""


class FewImpostorsWarning(UserWarning):
    """The threshold rests on fewer than 30 expected false matches: another sample would put it elsewhere."""


# ---------------------------------------------------------------------------------------------- checking what comes in


def _embeddings(values, what="embeddings"):
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise DataError(f"{what} must be a numeric array of shape (N, D), got {values.dtype} {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DataError(f"{what} hold NaN or infinity in {len(bad)} rows, the first is row {bad[0]}; leave them out")
    return values


def as_scores(values, what):
    """Similarities as a 1-D float array without NaN. float32 stays: 84 million pairs need not be copied to float64."""
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise DataError(f"{what} must be a 1-D numeric array, got {values.dtype} {values.shape}")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if np.isnan(values).any():
        raise DataError(f"{what} holds {int(np.isnan(values).sum())} NaN; a pair without a similarity must be left out")
    return values


def as_flags(mated, n):
    """Mated flags as a bool array of length `n`; anything but booleans, 0 and 1 is refused."""
    mated = np.asarray(mated)
    if mated.ndim != 1 or len(mated) != n:
        raise DataError(f"mated must have one flag for each of the {n} pairs, got shape {mated.shape}")
    if mated.dtype == bool:
        return mated
    try:
        flags = mated.astype(bool)
        wrong = bool(np.any(mated != flags))
    except (TypeError, ValueError):
        wrong = True
    if wrong:
        raise DataError("mated must hold booleans (or 0 and 1)")
    return flags


def just_above(value):
    """The next float, of the same precision. Above the largest finite one comes infinity, which is no accident here."""
    with np.errstate(over="ignore"):
        return np.nextafter(value, value.dtype.type(np.inf))


def as_rate(value, what="fmr"):
    """A share between 0 and 1 as a float."""
    value = float(value)
    if not 0 <= value <= 1:
        raise DataError(f"{what} is a share between 0 and 1, got {value}")
    return value


def _both_classes(similarity, mated):
    similarity = as_scores(similarity, "similarity")
    mated = as_flags(mated, len(similarity))
    genuine, impostor = similarity[mated], similarity[~mated]
    for part, name in ((genuine, "mated"), (impostor, "non-mated (impostor)")):
        if not len(part):
            raise DataError(f"there are no {name} pairs among the {len(similarity)} given, so this can't be measured")
    return genuine, impostor


def _identity_codes(identities):
    identities = np.asarray(identities)
    if identities.ndim != 1:
        raise DataError(f"identities must be one value for a face, got shape {identities.shape}")
    if identities.dtype.kind in "US" and np.any(identities == identities.dtype.type()):
        unknown = int(np.sum(identities == identities.dtype.type()))
        raise DataError(f"{unknown} faces have no identity (''), so whether they are mated is unknown; leave them out")
    return np.unique(identities, return_inverse=True)[1].astype(np.int32)


# ------------------------------------------------------------------------------------------------------- similarities


def _unit(x):
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        raise DataError(f"{len(zero)} embeddings have length 0 (the first is row {zero[0]}): they have no cosine")
    return x / norms


def _centred(x, centre):
    if centre is None:
        return x
    centre = np.asarray(centre)
    if centre.shape != x.shape[1:]:
        raise DataError(
            f"centre must have shape {x.shape[1:]}, one value for an embedding dimension, got {centre.shape}"
        )
    return x - centre


def _kind(kind):
    if kind not in ("cosine", "euclidean"):
        raise DataError(f"kind must be 'cosine' or 'euclidean', got {kind!r}")
    return kind


def cosine(a, b, *, centre=None):
    """Cosine of each row of `a` with the same row of `b`, in [-1, 1].

    Parameters
    ----------
    a, b : array (P, D)
        Embeddings of the first and the second face of each pair.
    centre : array (D,), optional
        Subtracted from both first. Take the mean over *other* people (a training set): an embedding whose mean is
        far from 0, as dlib's, gives strangers a cosine of 0.9, and a mean over the tested people leaks.

    Returns
    -------
    array (P,) float64
    """
    a, b = _paired(a, b)
    return np.clip(np.einsum("pd,pd->p", _unit(_centred(a, centre)), _unit(_centred(b, centre))), -1, 1)


def euclidean(a, b):
    """Minus the Euclidean distance of each row of `a` to the same row of `b`: a similarity, in (-inf, 0].

    Parameters
    ----------
    a, b : array (P, D)

    Returns
    -------
    array (P,) float64
    """
    a, b = _paired(a, b)
    return -np.linalg.norm(a - b, axis=1)


def _paired(a, b):
    a, b = _embeddings(a, "a"), _embeddings(b, "b")
    if a.shape != b.shape:
        raise DataError(f"a and b must hold the same number of embeddings of one size, got {a.shape} and {b.shape}")
    return a.astype(np.float64), b.astype(np.float64)


def similarity_matrix_blocks(embeddings, *, kind="cosine", centre=None, block_bytes=BLOCK_BYTES):
    """Yield the upper part of the similarity matrix in bands of rows, each small enough to hold.

    Parameters
    ----------
    embeddings : array (N, D)
    kind : "cosine" or "euclidean"
        Euclidean gives minus the distance. Its band is computed in float64: the difference of two large squares
        would cost float32 the small distances.
    centre : array (D,), optional
        Subtracted first; see `cosine`. Has no effect on the distance.
    block_bytes : int
        Bound on the size of one band.

    Yields
    ------
    start : int
        The first row of the band.
    band : array (rows, N - start) float32
        `band[i, j]` is the similarity of face `start + i` and face `start + j`; columns left of the band's own rows
        were yielded before.
    """
    x = _centred(_embeddings(embeddings), centre)
    x = _unit(x).astype(np.float32) if _kind(kind) == "cosine" else x.astype(np.float64)
    squares = None if kind == "cosine" else np.einsum("nd,nd->n", x, x)
    rows = max(1, int(block_bytes) // max(1, len(x) * x.itemsize))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        band = x[part] @ x[start:].T
        if kind == "cosine":
            np.clip(band, -1, 1, out=band)
        else:
            band *= -2
            band += squares[part, None]
            band += squares[None, start:]
            np.sqrt(np.maximum(band, 0, out=band), out=band)
            band = np.negative(band, out=band).astype(np.float32)
        yield start, band


def _above_diagonal(band):
    """The entries right of the diagonal, row after row, as one array."""
    return np.concatenate([row[i + 1 :] for i, row in enumerate(band)])


class PairBlock(NamedTuple):
    """Some pairs: positions `index_a` < `index_b` (P,) int32, `similarity` (P,) float32, `mated` (P,) bool."""

    index_a: np.ndarray
    index_b: np.ndarray
    similarity: np.ndarray
    mated: np.ndarray


def iterate_pairs(embeddings, identities, *, kind="cosine", centre=None, block_bytes=BLOCK_BYTES):
    """Yield all pairs i < j as `PairBlock`s, in the order of `all_pairs`, never holding more than one block.

    Parameters are those of `all_pairs`.
    """
    codes = _codes_for(embeddings, identities)
    for start, band in similarity_matrix_blocks(embeddings, kind=kind, centre=centre, block_bytes=block_bytes):
        columns = np.arange(start, len(codes), dtype=np.int32)
        a = np.repeat(columns[: len(band)], len(columns) - 1 - np.arange(len(band)))
        b = _above_diagonal(np.broadcast_to(columns, band.shape))
        yield PairBlock(a, b, _above_diagonal(band), codes[a] == codes[b])


class AllPairs(NamedTuple):
    """All pairs i < j, row after row (the order of `numpy.triu_indices(n, 1)` and of SciPy's condensed distances).

    similarity : array (P,) float32; mated : array (P,) bool; P = n (n - 1) / 2. `pair_positions` gives i and j.
    """

    similarity: np.ndarray
    mated: np.ndarray


def all_pairs(embeddings, identities, kind="cosine", centre=None, *, block_bytes=BLOCK_BYTES):
    """Similarity and mated flag of every pair of faces, computed in blocks.

    13,000 faces are 84.5 million pairs: 338 MB of float32 and 85 MB of flags, plus one block.

    Parameters
    ----------
    embeddings : array (N, D)
    identities : sequence of N
        Two faces are mated when these are equal. An empty string is an unknown identity and is refused.
    kind : "cosine" or "euclidean" (minus the distance)
    centre : array (D,), optional
        Subtracted first; see `cosine`.

    Returns
    -------
    AllPairs

    Raises
    ------
    DataError
        For NaN, zero-length embeddings under the cosine, unknown identities and lengths that disagree.
    """
    codes = _codes_for(embeddings, identities)
    n = len(codes)
    result = AllPairs(np.empty(n * (n - 1) // 2, np.float32), np.empty(n * (n - 1) // 2, bool))
    done = 0
    for start, band in similarity_matrix_blocks(embeddings, kind=kind, centre=centre, block_bytes=block_bytes):
        flat = _above_diagonal(band)
        part = slice(done, done + len(flat))
        result.similarity[part] = flat
        result.mated[part] = _above_diagonal(codes[start : start + len(band), None] == codes[None, start:])
        done += len(flat)
    return result


def _codes_for(embeddings, identities):
    codes = _identity_codes(identities)
    if len(codes) != len(embeddings):
        raise DataError(f"{len(embeddings)} embeddings, but {len(codes)} identities")
    return codes


def pair_positions(ordinal, n):
    """Which faces the pairs of `AllPairs` show: from places in that list to (index_a, index_b), index_a < index_b.

    Parameters
    ----------
    ordinal : int array (P,)
        Places in 0 .. n (n - 1) / 2 - 1.
    n : int
        Number of faces.

    Returns
    -------
    (index_a, index_b) : two int64 arrays (P,)
    """
    ordinal = np.asarray(ordinal, dtype=np.int64)
    if ordinal.size and not (0 <= ordinal.min() and ordinal.max() < n * (n - 1) // 2):
        raise DataError(f"{n} faces make {n * (n - 1) // 2} pairs, got places {ordinal.min()} to {ordinal.max()}")
    ends = np.cumsum(np.arange(n - 1, 0, -1, dtype=np.int64))
    a = np.searchsorted(ends, ordinal, side="right")
    return a, ordinal - (ends[a] - (n - 1 - a)) + a + 1


class ScoreTails(NamedTuple):
    """`mated` (M,) float32, all of them; `impostor` (K,) float32, the K highest, falling; `n_impostor`, their total."""

    mated: np.ndarray
    impostor: np.ndarray
    n_impostor: int


def score_tails(embeddings, identities, *, top, kind="cosine", centre=None, block_bytes=BLOCK_BYTES):
    """All mated scores and the `top` highest impostor scores of all pairs: what thresholds and low-FMR curves need.

    For sets too large for `all_pairs`. Exact: `fit_threshold(tails.impostor, fmr, n_impostor=tails.n_impostor)` gives
    the threshold of the full list as long as `top > fmr * n_impostor`.

    Parameters
    ----------
    top : int
        How many impostor scores to keep. The others are those of `all_pairs`.

    Returns
    -------
    ScoreTails
    """
    if top < 1:
        raise DataError(f"top must be at least 1, got {top}")
    codes = _codes_for(embeddings, identities)
    genuine, kept, n_impostor = [np.empty(0, np.float32)], np.empty(0, np.float32), 0
    for start, band in similarity_matrix_blocks(embeddings, kind=kind, centre=centre, block_bytes=block_bytes):
        flat = _above_diagonal(band)
        mated = _above_diagonal(codes[start : start + len(band), None] == codes[None, start:])
        genuine.append(flat[mated])
        flat = flat[~mated]
        n_impostor += len(flat)
        kept = np.concatenate([kept, flat if len(kept) < top else flat[flat > kept.min()]])
        if len(kept) > top:
            kept = np.partition(kept, len(kept) - top)[-top:]
    return ScoreTails(np.concatenate(genuine), np.sort(kept)[::-1], n_impostor)


# ------------------------------------------------------------------------------------------------------ choosing pairs


class PairIndices(NamedTuple):
    """Pairs by position: `index_a`, `index_b` (P,) int64, a before b in the list, and `mated` (P,) bool."""

    index_a: np.ndarray
    index_b: np.ndarray
    mated: np.ndarray


def pair_indices(identities, *, max_mated=None, max_impostor=None, random_state=0):
    """Pairs of faces: all of them, or a capped random choice that never lists the rest.

    Each pair of a kind is equally likely to be chosen, none twice. Mated pairs come first; within a kind the order
    is that of the faces grouped by identity.

    Parameters
    ----------
    identities : sequence of N
        Two faces are mated when these are equal. An empty string is an unknown identity and is refused.
    max_mated, max_impostor : int, optional
        The most pairs of either kind. None: all.
    random_state : int or numpy Generator

    Returns
    -------
    PairIndices
    """
    codes = _identity_codes(identities)
    order = np.argsort(codes, kind="stable")
    position = np.arange(len(codes))
    ends = np.searchsorted(codes[order], codes[order], side="right")  # where the identity of each sorted face ends
    partners = (ends - position - 1, len(codes) - ends)  # later faces of the same identity; faces of later identities
    first = (position + 1, ends)
    rng = np.random.default_rng(random_state)
    found = []
    for counts, offset, cap in zip(partners, first, (max_mated, max_impostor), strict=True):
        upto = np.cumsum(counts)
        total = int(upto[-1]) if len(upto) else 0
        ordinal = _choose(total, total if cap is None else min(int(cap), total), rng)
        a = np.searchsorted(upto, ordinal, side="right")
        b = offset[a] + ordinal - (upto[a] - counts[a])
        found.append(np.sort(np.stack([order[a], order[b]]), axis=0))
    both = np.concatenate(found, axis=1)
    return PairIndices(both[0], both[1], np.arange(both.shape[1]) < found[0].shape[1])


def _choose(total, size, rng):
    """`size` different integers below `total`, sorted, every such set equally likely; memory for the smaller part."""
    if size >= total:
        return np.arange(total)
    if 2 * size > total:  # choose those to leave out instead, so that few draws hit twice
        return np.delete(np.arange(total), _choose(total, total - size, rng))
    chosen = np.empty(0, np.int64)
    while len(chosen) < size:  # never draws more than are missing, so no set is favoured
        chosen = np.sort(np.concatenate([chosen, rng.integers(total, size=size - len(chosen))]))
        chosen = chosen[np.diff(chosen, prepend=-1) > 0]  # np.unique hashes integers, which takes 60 times as long
    return chosen


# ---------------------------------------------------------------------------------------------- thresholds and errors


class Threshold(float):
    """A decision threshold: a float that remembers where it came from. Accept a pair when `similarity >= threshold`.

    Attributes
    ----------
    target_fmr : float
        The FMR that was asked for.
    realised_fmr : float
        The FMR it gives on the impostor pairs it was fitted on; never above the target.
    n_impostor : int
        On how many impostor pairs it rests.
    expected_false_matches : float
        `target_fmr * n_impostor`. Below 30 the threshold is mostly luck.
    zero_fmr : bool
        True when `target_fmr * n_impostor < 1`: no false match is allowed, and the threshold sits just above the
        highest impostor ("zero-FMR"), whatever the target says.
    """

    def __new__(cls, value, target_fmr, realised_fmr, n_impostor, zero_fmr):
        self = super().__new__(cls, value)
        self.target_fmr, self.realised_fmr = target_fmr, realised_fmr
        self.n_impostor, self.zero_fmr = n_impostor, zero_fmr
        self.expected_false_matches = target_fmr * n_impostor
        return self

    def __reduce__(self):
        return type(self), (float(self), self.target_fmr, self.realised_fmr, self.n_impostor, self.zero_fmr)

    def __repr__(self):
        zero = ", zero-FMR" if self.zero_fmr else ""
        return (
            f"Threshold({float(self)!r}, FMR {self.realised_fmr:.3g} for a target of {self.target_fmr:.3g}{zero}, "
            f"{self.n_impostor} impostor pairs)"
        )


def allowed_false_matches(fmr, n_impostor):
    """How many of `n_impostor` pairs an FMR of at most `fmr` lets through: floor(fmr * n + 1e-12). Arrays welcome."""
    return np.floor(fmr * np.asarray(n_impostor) + 1e-12).astype(np.int64)


def fit_threshold(impostor_similarity, fmr, *, n_impostor=None, warn=True):
    """The lowest threshold whose FMR does not exceed `fmr`, hence the one with the lowest FNMR.

    With k = floor(fmr * N + 1e-12), the threshold is the next float above the (k+1)-th highest impostor similarity, so
    that at most the k above it are accepted by `similarity >= threshold` (ties at that value are all rejected).

    Parameters
    ----------
    impostor_similarity : array (N,)
        Similarities of non-mated pairs, in any order. float32 gives a threshold of float32, safe against float64 too.
    fmr : float in [0, 1]
        1 gives -inf: everything is accepted.
    n_impostor : int, optional
        When only the highest similarities of a longer list are at hand (`score_tails`): the length of that list.
    warn : bool
        False leaves the warning to the caller (`warn_if_few`).

    Returns
    -------
    Threshold
        A float, with `realised_fmr`, `n_impostor`, `expected_false_matches` and `zero_fmr`.

    Raises
    ------
    DataError
        Without impostor pairs, with NaN, and where no finite threshold can reach the rate, since more than k impostor
        pairs have similarity +inf.

    Warns
    -----
    FewImpostorsWarning
        When fewer than 30 false matches are expected.
    """
    scores, fmr = as_scores(impostor_similarity, "impostor_similarity"), as_rate(fmr)
    n = len(scores) if n_impostor is None else int(n_impostor)
    if not len(scores):
        raise DataError("there are no non-mated (impostor) pairs, so no threshold can be fitted; give a threshold")
    if n < len(scores):
        raise DataError(f"n_impostor is the length of the full list, so at least {len(scores)}, got {n}")
    k = int(allowed_false_matches(fmr, n))
    if k >= n:
        return Threshold(-math.inf, fmr, 1.0, n, False)
    if k >= len(scores):
        raise DataError(f"an FMR of {fmr:g} needs the {k + 1} highest of {n} impostor pairs, got only {len(scores)}")
    value = np.partition(scores, len(scores) - 1 - k)[len(scores) - 1 - k]
    threshold = just_above(value)
    if value == np.inf:
        raise DataError(
            f"an FMR of {fmr:g} can't be reached: {np.sum(scores == np.inf)} of {n} impostor pairs have similarity +inf"
        )
    realised = float(np.count_nonzero(scores >= threshold) / n)
    threshold = Threshold(float(threshold), fmr, realised, n, k == 0)
    if warn:
        warn_if_few(threshold, stacklevel=3)
    return threshold


def warn_if_few(threshold, stacklevel=2):
    """Issue a `FewImpostorsWarning` when a fitted `Threshold` rests on fewer than 30 expected false matches."""
    if threshold.expected_false_matches >= FEW:
        return
    zero = " It is the zero-FMR threshold, just above the highest impostor." if threshold.zero_fmr else ""
    warnings.warn(
        f"FMR {threshold.target_fmr:g} on {threshold.n_impostor} impostor pairs is "
        f"{threshold.expected_false_matches:.3g} expected false matches, fewer than {FEW}: "
        f"the threshold is not to be relied on.{zero} Use more pairs or a higher FMR.",
        FewImpostorsWarning,
        stacklevel=stacklevel,
    )


def fmr(impostor_similarity, threshold):
    """Share of non-mated pairs accepted by `similarity >= threshold`: a float, or an array for several thresholds."""
    scores = as_scores(impostor_similarity, "impostor_similarity")
    return (len(scores) - _count_below(scores, threshold, "non-mated (impostor)")) / len(scores)


def fnmr(mated_similarity, threshold):
    """Share of mated pairs not accepted by `similarity >= threshold`: a float, or an array for several thresholds."""
    scores = as_scores(mated_similarity, "mated_similarity")
    return _count_below(scores, threshold, "mated") / len(scores)


def _count_below(scores, threshold, name):
    if not len(scores):
        raise DataError(f"there are no {name} pairs")
    threshold = np.asarray(threshold, dtype=np.float64)
    if np.isnan(threshold).any():
        raise DataError("the threshold is NaN")
    if not threshold.ndim:
        return int(np.count_nonzero(scores < threshold))
    return np.searchsorted(np.sort(scores), threshold, side="left")


def fnmr_at_fmr(similarity, mated, fmr):
    """FNMR at the lowest threshold whose FMR does not exceed `fmr`; see `fit_threshold` for errors and the warning.

    Parameters
    ----------
    similarity : array (P,)
    mated : bool array (P,)
    fmr : float in [0, 1]

    Returns
    -------
    float
    """
    genuine, impostor = _both_classes(similarity, mated)
    threshold = fit_threshold(impostor, fmr, warn=False)
    warn_if_few(threshold, stacklevel=3)
    return fnmr(genuine, threshold)


class DET(NamedTuple):
    """Every operating point: `threshold` (T,) rising, with its `fmr` (T,) falling and `fnmr` (T,) rising."""

    threshold: np.ndarray
    fmr: np.ndarray
    fnmr: np.ndarray


def det_curve(similarity, mated):
    """The detection error trade-off: FMR and FNMR at every distinct similarity, and just above the highest.

    Nothing is interpolated or thinned out: between two neighbouring thresholds neither rate changes. For the usual axes
    pass both rates through `probit`.

    Parameters
    ----------
    similarity : array (P,)
    mated : bool array (P,)

    Returns
    -------
    DET
        From (FMR 1, FNMR 0) to (FMR 0, FNMR 1). The last point is missing where the highest similarity is +inf.
    """
    genuine, impostor = _both_classes(similarity, mated)
    threshold = np.unique(np.concatenate([genuine, impostor]).astype(np.float64))
    if threshold[-1] < np.inf:
        threshold = np.append(threshold, just_above(threshold[-1]))
    accepted = len(impostor) - np.searchsorted(np.sort(impostor), threshold, side="left")
    refused = np.searchsorted(np.sort(genuine), threshold, side="left")
    return DET(threshold, accepted / len(impostor), refused / len(genuine))


class ROC(NamedTuple):
    """Every operating point: `threshold` (T,) rising; `fmr` (T,) and the true match rate `tmr` (T,), both falling."""

    threshold: np.ndarray
    fmr: np.ndarray
    tmr: np.ndarray


def roc_curve(similarity, mated):
    """The receiver operating characteristic: `det_curve` with the true match rate in place of the FNMR."""
    det = det_curve(similarity, mated)
    return ROC(det.threshold, det.fmr, 1 - det.fnmr)


def probit(rate):
    """The scale of DET axes: the inverse of the normal distribution function. 0 -> -inf, 0.5 -> 0, 1 -> +inf."""
    return ndtri(np.asarray(rate, dtype=np.float64))


def auc(similarity, mated):
    """Area under the ROC: the share of (mated, impostor) couples ranked right, a tie counting half.

    Exact in integers, and without the sort of all pairs together that scikit-learn's `roc_auc_score` makes.
    """
    genuine, impostor = _both_classes(similarity, mated)
    impostor = np.sort(impostor)
    below = np.searchsorted(impostor, genuine, side="left").sum(dtype=np.int64)
    upto = np.searchsorted(impostor, genuine, side="right").sum(dtype=np.int64)
    return float((int(below) + int(upto)) / (2 * len(genuine) * len(impostor)))


class EqualErrorRate(NamedTuple):
    """`rate`: the mean of FMR and FNMR where they lie closest; `threshold`: where that is."""

    rate: float
    threshold: float


def equal_error_rate(similarity, mated):
    """The error where FMR and FNMR lie closest together (the lowest such threshold, where several do).

    Both are step functions and need not meet: the mean of the two is returned, without interpolation.

    Returns
    -------
    EqualErrorRate
    """
    det = det_curve(similarity, mated)
    best = int(np.argmin(np.abs(det.fmr - det.fnmr)))
    return EqualErrorRate(float((det.fmr[best] + det.fnmr[best]) / 2), float(det.threshold[best]))


class FoldAccuracy(NamedTuple):
    """`mean` and `standard_error` over folds; `accuracy` and `threshold` (F,) of each fold."""

    mean: float
    standard_error: float
    accuracy: np.ndarray
    threshold: np.ndarray


def accuracy_10fold(similarity, mated, folds=10):
    """Verification accuracy by the LFW protocol: the threshold comes from nine folds, the accuracy from the tenth.

    The threshold is the one with the highest accuracy on the other folds, half-way between two neighbouring
    similarities (the lowest such place, where several are equal). Published scripts try a grid of 400 distances
    instead, which may miss it by a hair.

    Parameters
    ----------
    similarity : array (P,)
    mated : bool array (P,)
    folds : int or array (P,)
        A number: that many blocks in the order given, which is how `pairs.txt` and the InsightFace `.bin` files are
        ordered. An array: the fold of each pair (the column `fold` of `protocols.read_lfw_pairs`).

    Returns
    -------
    FoldAccuracy
        The standard error is the sample standard deviation over folds / sqrt(folds) (Huang et al. 2007, LFW).
    """
    similarity = as_scores(similarity, "similarity").astype(np.float64)
    mated = as_flags(mated, len(similarity))
    labels = _fold_labels(folds, len(similarity))
    accuracy, thresholds = [], []
    for fold in np.unique(labels):
        test = labels == fold
        threshold = _most_accurate(*_both_classes(similarity[~test], mated[~test]))
        thresholds.append(threshold)
        accuracy.append(np.mean((similarity[test] >= threshold) == mated[test]))
    accuracy = np.array(accuracy)
    spread = float(accuracy.std(ddof=1) / math.sqrt(len(accuracy)))
    return FoldAccuracy(float(accuracy.mean()), spread, accuracy, np.array(thresholds))


def _fold_labels(folds, n):
    if np.ndim(folds):
        labels = np.asarray(folds)
        if labels.shape != (n,) or len(np.unique(labels)) < 2:
            raise DataError(f"folds must name the fold of each of the {n} pairs, and at least two folds")
        return labels
    if not 2 <= int(folds) <= n:
        raise DataError(f"folds must be between 2 and the number of pairs, {n}; got {folds}")
    labels = np.empty(n, int)
    for fold, (_, test) in enumerate(KFold(int(folds)).split(labels)):
        labels[test] = fold
    return labels


def _most_accurate(genuine, impostor):
    """The threshold with the highest accuracy, half-way between neighbouring similarities."""
    values = np.unique(np.concatenate([genuine, impostor]))
    with np.errstate(over="ignore", invalid="ignore"):
        middle = values[:-1] / 2 + values[1:] / 2
    middle = np.where((middle > values[:-1]) & (middle <= values[1:]), middle, values[1:])  # infinities, neighbours
    candidates = np.concatenate([values[:1], middle, just_above(values[-1:])])
    right = (
        np.searchsorted(np.sort(impostor), candidates) + len(genuine) - np.searchsorted(np.sort(genuine), candidates)
    )
    return float(candidates[np.argmax(right)])
