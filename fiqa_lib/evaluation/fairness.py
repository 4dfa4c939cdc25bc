"""Whether a quality score treats groups of people alike."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ..errors import DataError
from .curve import checked_choice
from .edc import checked_quality, edc
from .verification import as_flags, as_rate, as_scores, fit_threshold, warn_if_few


def gini(values):
    """Gini coefficient of a few groups' values, corrected for their number by N / (N - 1): 0 all equal, 1 one has all.

    GC = N / (N - 1) * sum_ij |x_i - x_j| / (2 N^2 mean(x)); 0 when all values are 0. `1 - GC` and its cube are the
    fairness rates SQFR and CSQFR of Doersch et al. 2024 (arXiv 2408.11392); the cube spreads the crowded upper end.

    Raises
    ------
    DataError
        With fewer than two values, with negative ones (the coefficient has no meaning for them), or NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise DataError(f"a Gini coefficient takes the values of at least two groups, got shape {values.shape}")
    if not np.all(np.isfinite(values)) or values.min() < 0:
        raise DataError(f"a Gini coefficient takes finite values of at least 0, got {values.tolist()}")
    n, mean = len(values), values.mean()
    if mean == 0:
        return 0.0
    return float(n / (n - 1) * np.abs(values[:, None] - values).sum() / (2 * n**2 * mean))


def fairness(
    quality,
    groups,
    *,
    discard=0.2,
    quality_threshold=None,
    measure="discard_rate",
    similarity=None,
    mated=None,
    index_a=None,
    index_b=None,
    fmr=1e-3,
    threshold=None,
    limit=0.2,
    kind="raw",
):
    """Does one quality threshold treat groups of people alike? And does the score help each of them alike?

    Parameters
    ----------
    quality : array (N,)
        Of each face, higher = better. Missing ones are below every threshold.
    groups : sequence of N
        Each face's group; at least two groups.
    discard : float in [0, 1], default=0.2
        Sets the one threshold for all: at most this share of all faces lies below it (faces of equal quality stay
        together).
    quality_threshold : float, default=None
        The threshold itself, in place of `discard`. A face is discarded when `quality < quality_threshold`.
    measure : {"discard_rate", "mean_quality"}, default="discard_rate"
        Of which the Gini coefficient is taken over groups. The mean quality (Doersch et al.) needs a scale from 0.
    similarity, mated : array (P,), default=None
        Pairs of these faces, for each group's own EDC: its mated pairs, at one decision threshold for all.
    index_a, index_b : int array (P,), default=None
        The faces of each pair, by position.
    fmr : float in [0, 1], default=1e-3
        Target of the decision threshold, which is fitted on the impostor pairs of all groups together.
    threshold : float, default=None
        A decision threshold to use instead.
    limit : float in [0, 1], default=0.2
        Where each group's area ends.
    kind : {"raw", "minus_best", "normalised", "oracle"}, default="raw"
        As for `EDC.pauc`.

    Returns
    -------
    DataFrame
        One row for a group: `group`, `n`, `discard_rate`, `mean_quality` (of assessed faces), `quality_threshold`; with
        pairs also `starting_error`, `pauc`, `fmr` (within the group, at the common threshold), `n_mated`, `n_impostor`;
        and, the same in every row, `gc`, `one_minus_gc`, `one_minus_gc_cubed` of the measure.

    References
    ----------
    Doersch, Schlett, Munch, Rathgeb & Busch 2024, "Fairness measures for biometric quality assessment".
    """
    groups = np.asarray(groups)
    quality, missing = checked_quality(quality, len(groups), "quality")
    names = sorted(set(groups.tolist()))
    if len(names) < 2:
        raise DataError(f"fairness takes at least two groups, got {names}")
    checked_choice(measure, ("discard_rate", "mean_quality"), "measure")
    if quality_threshold is None:
        below = min(int(as_rate(discard, "discard") * len(quality)), len(quality) - 1)
        quality_threshold = float(np.sort(quality)[below])
    rows = []
    for name in names:
        inside = groups == name
        assessed = quality[inside & ~missing]
        rows.append(
            {
                "group": name,
                "n": int(inside.sum()),
                "discard_rate": float(np.mean(missing[inside] | (quality[inside] < quality_threshold))),
                "mean_quality": float(assessed.mean()) if len(assessed) else math.nan,
                "quality_threshold": quality_threshold,
            }
        )
    table = pd.DataFrame(rows)
    if similarity is not None:
        curves = edc_by_group(
            similarity, mated, quality, groups, index_a, index_b, fmr=fmr, threshold=threshold, stacklevel=3
        ).values()
        table["starting_error"] = [curve.starting_error for curve in curves]
        table["pauc"] = [curve.pauc(limit, kind) for curve in curves]
        table["fmr"] = [curve.realised_fmr for curve in curves]
        table["n_mated"] = [curve.n_mated for curve in curves]
        table["n_impostor"] = [curve.n_impostor for curve in curves]
    gc = gini(table[measure])
    return table.assign(gc=gc, one_minus_gc=1 - gc, one_minus_gc_cubed=(1 - gc) ** 3)


def edc_by_group(
    similarity, mated, quality, groups, index_a, index_b, *, fmr=1e-3, threshold=None, stacklevel=2, **options
):
    """Each group's own EDC at one decision threshold, fitted on the impostor pairs of all groups together.

    A group's curve rests on its mated pairs; its `realised_fmr` on the impostor pairs within the group. Parameters are
    those of `fairness`, and `stacklevel` for the warning; other options are for `edc`.

    Returns
    -------
    dict of group to EDC
        Sorted by group.

    Raises
    ------
    DataError
        As `edc`; also when a mated pair spans two groups or a group has no mated pairs.
    """
    groups = np.asarray(groups)
    similarity = as_scores(similarity, "similarity")
    mated = as_flags(mated, len(similarity))
    quality, _ = checked_quality(quality, len(groups), "quality")
    index_a, index_b = _positions(index_a, len(mated), len(groups)), _positions(index_b, len(mated), len(groups))
    of_a, of_b = groups[index_a], groups[index_b]
    split = np.flatnonzero(mated & (of_a != of_b))
    if len(split):
        raise DataError(f"{len(split)} mated pairs span two groups, the first is pair {split[0]}")
    if threshold is None:
        threshold = fit_threshold(similarity[~mated], fmr, warn=False)
        warn_if_few(threshold, stacklevel=stacklevel + 1)
    curves = {}
    for name in sorted(set(groups.tolist())):
        inside = (of_a == name) & (of_b == name)
        if not (inside & mated).any():
            raise DataError(f"group {name!r} has no mated pairs, so it has no curve")
        one = similarity[inside], mated[inside], quality[index_a[inside]], quality[index_b[inside]]
        curves[name] = edc(*one, threshold=float(threshold), **options)
    return curves


def _positions(index, pairs, faces):
    index = np.asarray(index)
    if index.shape != (pairs,) or index.dtype.kind not in "iu":
        raise DataError(f"index_a and index_b must hold a face's position for each of the {pairs} pairs")
    if pairs and not (0 <= index.min() and index.max() < faces):
        raise DataError(f"positions of faces must lie in 0 to {faces - 1}, got {index.min()} to {index.max()}")
    return index
