"""One label from several."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DataError


def ensemble(labels):
    """One label from several: the mean of their ranks, itself as a rank in 0..1.

    Ranks, because labels have different scales and tails: in a mean of raw values the widest scale would decide.

    Parameters
    ----------
    labels : sequence of arrays (N,)
        Higher is better in each. NaN: this face has no such label.

    Returns
    -------
    array (N,) float64
        1/N for the worst to 1 for the best; ties share their mean rank; NaN where a label is missing.

    Raises
    ------
    DataError
        When no face has all the labels.
    """
    labels = [np.asarray(label, np.float64) for label in labels]
    table = pd.DataFrame(labels).T.dropna()
    if table.empty:
        raise DataError("no face has all the labels: nothing to combine")
    ranks = table.rank().mean(axis=1).rank(pct=True)
    return ranks.reindex(range(len(labels[0]))).to_numpy()
