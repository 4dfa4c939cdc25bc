"""The exercises of notebook 16: the certainty ratio, and one label from several."""

import math

import numpy as np

from . import exercise


@exercise("16.1")
def ratio(attempt):
    """CCS / (NNCCS + 1) of one face, from its embedding and the centres of all people."""
    centres = np.array([[2.0, 0.0], [0.0, 0.5], [-3.0, 0.0]])

    def result(embedding, own):
        return float(attempt(np.array(embedding, float), centres.copy(), own))

    found = result([3.0, 4.0], 0)
    right = 0.6 / (0.8 + 1)
    if math.isclose(found, 0.6 / 0.8, abs_tol=1e-6):
        return "the 1 is missing below the line: without it the label explodes where the nearest other centre is at 0"
    if math.isclose(found, 6 / (2 + 1), abs_tol=1e-6):
        return "these are products of vectors with their lengths; the label is made of cosines"
    if not math.isclose(found, right, abs_tol=1e-6):
        return "cosine with the own centre, over (1 + the largest cosine with any other centre)"
    if not math.isclose(result([1.0, 0.0], 0), 1.0, abs_tol=1e-6):
        return "the nearest OTHER centre: a face that lies on its own centre must not meet itself below the line"
    if not math.isclose(result([0.0, 2.0], 1), 1.0, abs_tol=1e-6):
        return "own says which row of the centres is the face's person"
    return None


@exercise("16.2")
def combined(attempt):
    """One label from several: the mean of their ranks in 0..1, NaN where one is missing."""

    def result(*labels):
        return np.asarray(attempt([np.array(label, float) for label in labels]), float)

    found = result([0.1, 0.2, 0.9], [30.0, 10.0, 1000.0])
    if found.shape != (3,):
        return f"one number for each face is wanted; this has the shape {found.shape}"
    if np.allclose(found, [15.05, 5.1, 500.45]):
        return "that is the mean of the raw values: the label with the larger numbers decides alone"
    if np.allclose(found, [1.5, 1.5, 3]):
        return "right order; divide by the number of faces, so that the best possible label is 1"
    if not np.allclose(found, [0.5, 0.5, 1]):
        return (
            "rank the faces within each label (scipy.stats.rankdata), average over labels, divide by the count of faces"
        )
    if not np.allclose(result([5.0, 5.0, 7.0]), [0.5, 0.5, 1]):
        return "faces with equal labels share their mean rank, here 1.5 of 3"
    found = result([1.0, np.nan, 2.0], [3.0, 4.0, 5.0])
    if not (np.isnan(found[1]) and np.allclose(found[[0, 2]], [0.5, 1])):
        return "a face that lacks a label gets NaN, and the others are ranked without it"
    return None
