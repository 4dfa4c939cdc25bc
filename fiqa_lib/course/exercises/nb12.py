"""The exercises of notebook 12: the expected grade of a face, and macro-F1 from a confusion matrix."""

import numpy as np

from . import exercise


@exercise("12.1")
def expected(attempt):
    """Probabilities of bad, average, good -> one score each."""
    rng = np.random.default_rng(111)
    p = rng.dirichlet((1, 1, 1), 7)
    right = p @ [0, 0.5, 1]
    found = np.asarray(attempt(p.copy()), float)
    if found.shape != (7,):
        return f"seven rows of probabilities want seven scores, not an array of shape {found.shape}"
    if np.allclose(found, p @ [1, 0.5, 0]):
        return "higher must be better: the first column is bad"
    if np.allclose(found, p[:, 2]):
        return "that is P(good): a face that is surely average would get the same 0 as one that is surely bad"
    if np.allclose(found, p.argmax(1) / 2):
        return "that is the value of the likeliest grade: a mean over all three uses what the others say"
    if np.allclose(found, p @ [0, 1, 2]):
        return "the order is right; let good count 1 and average one half"
    if not np.allclose(found, right):
        return "bad counts 0, average 0.5, good 1, each times its probability; then add"
    return None


@exercise("12.2")
def from_confusion(attempt):
    """Macro-F1 from a confusion matrix, true grade by row."""
    cases = [np.array([[6, 3, 1], [2, 5, 3], [0, 4, 16]]), np.array([[0, 9, 1], [0, 7, 0], [0, 2, 30]])]
    for confusion in cases:
        hits, true, said = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
        each = 2 * hits / (true + said)
        found = float(attempt(confusion.copy()))
        if np.isnan(found):
            return "a grade that was never given has no precision, and 0/0 spoils the mean: its F1 is 0"
        if np.isclose(found, hits.sum() / confusion.sum()):
            return "that is accuracy: here each grade counts alike, however rare it is"
        if np.isclose(found, (hits / true).mean()):
            return "that is the mean recall; F1 also asks how many of those called so are so"
        if np.isclose(found, each @ true / true.sum()):
            return "that weights grades by how frequent they are: take the plain mean"
        if not np.isclose(found, each.mean()):
            return "F1 of a grade: 2 x right / (faces of that grade + faces called so); then the mean of the three"
    return None
