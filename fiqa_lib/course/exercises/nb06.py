"""The exercises of notebook 06: the agreement of T embeddings, and the expected distance under Gaussian dropout."""

import numpy as np

from . import exercise


def _score(distance):
    return 2 / (1 + np.exp(distance))


@exercise("6.1")
def agreement(attempt):
    """The score of SER-FIQ from the embeddings of one face."""
    rng = np.random.default_rng(61)
    embeddings = rng.normal(size=(7, 5)) + 2
    embeddings *= rng.uniform(1, 9, size=(7, 1))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows, columns = np.triu_indices(7, 1)
    distances = np.linalg.norm(unit[rows] - unit[columns], axis=1)
    found = float(attempt(embeddings.copy()))

    def close(value):
        return np.isclose(found, value, rtol=1e-3)

    if close(distances.mean()):
        return "that is the mean distance; the score maps it to (0, 1], higher for more agreement"
    if close(_score(np.linalg.norm(embeddings[rows] - embeddings[columns], axis=1).mean())):
        return "opinions are directions: what has to be done to an embedding before distances are taken?"
    if close(_score(distances.sum() * 2 / 49)):
        return "an embedding and itself are no pair: their zero distances do not count"
    if close(_score((distances**2).mean())):
        return "the distances are squared; the paper takes them plain"
    if close(_score(-distances.mean())):
        return "more disagreement gives a higher score here; check the sign"
    if not close(_score(distances.mean())):
        return "normalise each row, take the mean distance d over all pairs i < j, then 2 / (1 + e^d)"
    if not np.isclose(attempt(np.array([[1.0, 0.0], [4.0, 0.0]])), 1, atol=1e-3):
        return "two embeddings of one direction agree fully, whatever their lengths: the score is 1"
    return None


@exercise("6.2")
def gaussian_distance(attempt):
    """Expected squared distance with multiplicative noise N(1, sigma^2)."""
    rng = np.random.default_rng(62)
    features, weight = np.abs(rng.normal(size=(4, 6))), rng.normal(size=(3, 6))
    found = np.asarray(attempt(features.copy(), weight.copy(), 0.5), float)
    if found.shape != (4,):
        return f"4 faces have 4 expected distances, this has the shape {found.shape}"
    energy = features**2 @ (weight**2).sum(0)
    if np.allclose(found, 0.25 * energy):
        return "that is the variance of one embedding; two of them differ"
    if np.allclose(found, energy):
        return "with sigma 0.5 this is twice as much as it should be: is it the standard deviation or the variance?"
    if not np.allclose(found, 0.5 * energy):
        return "follow the derivation of the notebook: what is the variance of the difference of two such multipliers?"
    if not np.allclose(attempt(features.copy(), weight.copy(), 2.0), 8 * energy):
        return "right for sigma = 0.5 only; how does a variance grow with sigma?"
    return None
