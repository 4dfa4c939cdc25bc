"""Methods beside each other: against several recognisers, against one another, over limits and starting errors."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import DataError
from .curve import LIMITS
from .edc import checked_quality, edc
from .verification import as_flags, as_rate, as_scores


def cross_model_matrix(similarities, mated, qualities, *, limit=0.2, kind="normalised", **options):
    """Each quality against each recogniser: quality from model i, verification by model j.

    A quality taken from the recogniser that is also tested knows its weaknesses and flatters: those cells are marked
    "same model", and conclusions belong to the others.

    Parameters
    ----------
    similarities : mapping of recogniser name to array (P,)
        The similarities of the pairs by each recogniser.
    mated : bool array (P,)
        Whether the pair shows one person.
    qualities : mapping of name to (quality_a, quality_b)
        A quality with a recogniser's name is taken as that recogniser's own.
    limit : float in [0, 1], default=0.2
        Where the area ends.
    kind : {"raw", "minus_best", "normalised", "oracle"}, default="normalised"
        As for `EDC.pauc`.
    **options
        For `edc`.

    Returns
    -------
    DataFrame
        For each couple: `quality`, `recogniser`, `relation` ("same model" or "cross model"), `pauc`, `limit`, `kind`,
        `starting_error`, `threshold`, `realised_fmr`, `n_mated`, `n_impostor`, `n_missing`.
        `table.pivot(index="quality", columns="recogniser", values="pauc")` is the matrix.
    """
    rows = []
    for (quality, both), (recogniser, similarity) in product(qualities.items(), similarities.items()):
        curve = edc(similarity, mated, *both, **options)
        rows.append(
            {
                "quality": quality,
                "recogniser": recogniser,
                "relation": "same model" if quality == recogniser else "cross model",
                "pauc": curve.pauc(limit, kind),
                "limit": limit,
                "kind": kind,
                "starting_error": curve.starting_error,
                "threshold": float(curve.threshold),
                **{name: getattr(curve, name) for name in ("realised_fmr", "n_mated", "n_impostor", "n_missing")},
            }
        )
    return pd.DataFrame(rows)


def rank_correlations(qualities):
    """How alike two methods order the faces: Spearman's rho and Kendall's tau-b for every couple.

    Parameters
    ----------
    qualities : mapping of name to array (N,), or DataFrame with one column for a method
        Scores of the same N faces. Missing ones rank lowest; NaN is refused.

    Returns
    -------
    DataFrame
        `method_a`, `method_b`, `spearman`, `kendall`, `n`. NaN where one method gives all faces the same score.
    """
    names = list(qualities)
    n = len(qualities[names[0]]) if names else 0
    ranks = {name: stats.rankdata(checked_quality(qualities[name], n, str(name))[0]) for name in names}
    rows = [
        {"method_a": a, "method_b": b, **_correlations(ranks[a], ranks[b]), "n": n} for a, b in combinations(names, 2)
    ]
    return pd.DataFrame(rows, columns=["method_a", "method_b", "spearman", "kendall", "n"])


def _correlations(a, b):
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:  # SciPy warns and returns NaN
        return {"spearman": math.nan, "kendall": math.nan}
    return {"spearman": float(stats.spearmanr(a, b).statistic), "kendall": float(stats.kendalltau(a, b).statistic)}


def rank_stability(
    similarity, mated, qualities, *, limits=LIMITS, starting_errors=(0.01, 0.05, 0.1, 0.2), kind="raw", **options
):
    """Does the order of the methods depend on where one looks? Their ranks over discard limits and starting errors.

    The threshold of each setting is put where the given share of mated pairs fails, or as many fewer as ties demand.

    Parameters
    ----------
    similarity, mated : array (P,)
        As for `edc`.
    qualities : mapping of name to (quality_a, quality_b)
        The scores of each method.
    limits : sequence of float, default=(0.05, 0.2, 0.3, 0.95)
        Where the areas end.
    starting_errors : sequence of float in (0, 1), default=(0.01, 0.05, 0.1, 0.2)
        The FNMR at zero discard of each setting.
    kind : {"raw", "minus_best", "normalised", "oracle"}, default="raw"
        As for `EDC.pauc`.
    **options
        For `edc`, except `fmr`, `threshold`, `convention` and `compat`.

    Returns
    -------
    DataFrame
        For each setting and method: `target_error`, `starting_error` (realised), `limit`, `method`, `pauc`, `rank`
        (1 = lowest area; ties share), `mean_rank` over all settings, and `kendall`: the agreement of this setting's
        ranking with the mean ranking (1 = the same order; NaN with one method).
    """
    similarity = as_scores(similarity, "similarity")
    genuine = np.sort(similarity[as_flags(mated, len(similarity))])
    rows = []
    for target in starting_errors:
        failing = round(as_rate(target, "a starting error") * len(genuine))
        if not 0 < failing < len(genuine):
            raise DataError(
                f"a starting error of {target:g} is {failing} of {len(genuine)} mated pairs; choose another"
            )
        for name, both in qualities.items():
            curve = edc(similarity, mated, *both, threshold=float(genuine[failing]), **options)
            for limit in limits:
                setting = {"target_error": target, "starting_error": curve.starting_error, "limit": limit}
                rows.append({**setting, "method": name, "pauc": curve.pauc(limit, kind)})
    table = pd.DataFrame(rows)
    table["rank"] = table.groupby(["target_error", "limit"])["pauc"].rank()
    table["mean_rank"] = table.groupby("method")["rank"].transform("mean")
    for _, part in table.groupby(["target_error", "limit"]):
        agreement = _correlations(part["rank"].to_numpy(), part["mean_rank"].to_numpy())["kendall"]
        table.loc[part.index, "kendall"] = agreement
    return table
