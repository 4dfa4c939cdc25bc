"""The exercises of notebook 18: mean ranks with ties, and the methods that pairing does not separate from the best."""

import numpy as np
import pandas as pd

from . import exercise


@exercise("18.1")
def mean_ranks(attempt):
    """Areas (settings x methods) -> mean rank of each method."""
    table = pd.DataFrame({"a": [0.5, 0.9, 0.2], "b": [0.7, 0.8, 0.3], "c": [0.9, 0.1, 0.4]})
    found = pd.Series(attempt(table.copy()))
    if set(found.index) != {"a", "b", "c"}:
        return "one number for each method is asked for, with the methods as index"
    if not np.allclose(found[["a", "b", "c"]], [5 / 3, 2, 7 / 3]):
        return "rank within each row, 1 for the lowest area, then take the mean over the rows"
    scaled = pd.DataFrame({"a": [0.1, 100.0], "b": [0.2, 200.0], "c": [0.3, 50.0]})
    found = pd.Series(attempt(scaled.copy()))
    if not np.allclose(found[["a", "b", "c"]], [1.5, 2.5, 2.0]):
        return (
            "a setting with large areas must not count more than others: take the mean of ranks, not the rank of means"
        )
    tied = pd.DataFrame({"a": [0.4, 0.4], "b": [0.4, 0.5], "c": [0.6, 0.6]})
    found = pd.Series(attempt(tied.copy()))
    if not np.allclose(found[["a", "b", "c"]], [1.25, 1.75, 3.0]):
        return "two methods that share places 1 and 2 have rank 1.5 each"
    return None


@exercise("18.2")
def not_separated(attempt):
    """Areas of the same draws, by method -> the set that is not separated from the best."""
    rng = np.random.default_rng(0)
    people = rng.normal(0.7, 0.1, 400)
    draws = {
        "best": people,
        "always a little worse": people + 0.02 + rng.normal(0, 0.004, 400),
        "as good": people + 0.004 + rng.normal(0, 0.05, 400),
        "far worse": people + 0.5,
    }
    found = attempt({name: values.copy() for name, values in draws.items()})
    if isinstance(found, str) or not set(found) <= set(draws):
        return "a set of names of methods is asked for"
    found = set(found)
    if "best" not in found:
        return "the method with the lowest mean area is not separated from itself"
    if "far worse" in found:
        return "a method that is worse by 0.5 in every draw is separated"
    if "always a little worse" in found:
        return "one of them is worse in every draw: take the difference draw by draw, then its quantiles"
    if found != {"best", "as good"}:
        return "an interval of the difference that holds 0 does not separate"
    mirrored = {name: values.copy() for name, values in reversed(draws.items())}
    if set(attempt(mirrored)) != found:
        return "the best is the one with the lowest mean, wherever it stands"
    edge = {"steady": np.full(400, 0.5), "sometimes": np.where(np.arange(400) < 30, 0.3, 0.6)}
    if set(attempt(edge)) != {"steady", "sometimes"}:
        return "in 30 of 400 draws the other one wins: that is more than 2.5%, so the interval holds 0"
    for wins, stays in ((16, True), (4, False)):
        edge = {"steady": np.full(400, 0.5), "sometimes": np.where(np.arange(400) < wins, 0.3, 0.6)}
        if ("sometimes" in set(attempt(edge))) != stays:
            return f"in {wins} of 400 draws the other one wins: {'more' if stays else 'less'} than 2.5% of the draws"
    skewed = np.where(np.arange(400) < 300, 0.5, 1.5)
    uneven = {"steady": np.full(400, 0.7), "skewed": skewed, "surely worse": np.full(400, 0.75)}
    if set(attempt(uneven)) != {"steady", "skewed"}:
        return "the best is the one with the lowest mean area, not the lowest median"
    return None
