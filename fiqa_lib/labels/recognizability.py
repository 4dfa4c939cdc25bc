"""The centre of the unrecognisable, and the embedding recognizability score (ERS; Deng et al., arXiv 2106.04112)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import entropy
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import roc_curve
from sklearn.preprocessing import normalize

from ..errors import DataError

# --- the cluster


def clean_stranger_distance(embeddings, identities, share=0.05):
    """The cosine distance that a share of the pairs of strangers stays below: where to cut the tree of clusters.

    Parameters
    ----------
    embeddings : array (N, D)
        Of clean faces.
    identities : sequence of N
        The person in each face.
    share : float, default=0.05
        Share of the pairs of different people, in 0..1.

    Returns
    -------
    float
        1 minus the (1 - share) quantile of the cosines between different people.

    Raises
    ------
    DataError
        When all faces show one person.
    """
    unit, (_, who) = normalize(embeddings), np.unique(identities, return_inverse=True)
    above = np.triu(who[:, None] != who[None])
    if not above.any():
        raise DataError("clean faces of two people are needed to know how far apart strangers are")
    return float(1 - np.quantile((unit @ unit.T)[above], 1 - share))


def cluster(embeddings, distance):
    """Hierarchical agglomerative clustering by the mean cosine distance between the members of two clusters.

    Parameters
    ----------
    embeddings : array (N, D)
        Of faces and non-faces, any length but 0.
    distance : float
        Clusters whose mean distance is larger are not merged.

    Returns
    -------
    array (N,) int
        Number of the cluster of each embedding, from 0.
    """
    method = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="cosine", linkage="average", compute_full_tree=True
    )
    return method.fit_predict(np.asarray(embeddings, np.float64))


def describe_clusters(labels, identities):
    """Number of faces and people in each cluster.

    Parameters
    ----------
    labels : array (N,) int
        As `cluster` gives them.
    identities : sequence of N str
        The person in each picture; "" for a non-face.

    Returns
    -------
    DataFrame
        One row for each cluster, by number: `size`, `non_faces`, `people`, and `mixed`: the effective number of people,
        exp of the entropy of their shares. 1 where all faces show one person; k where k people share it evenly.
    """
    known = np.asarray(identities) != ""
    counts = pd.crosstab(np.asarray(labels)[known], np.asarray(identities)[known])
    counts = counts.reindex(range(np.max(labels) + 1), fill_value=0).to_numpy()
    size = np.bincount(labels)
    some = counts.sum(axis=1) > 0
    mixed = np.zeros(len(size))
    mixed[some] = np.exp(entropy(counts[some], axis=1))
    people = (counts > 0).sum(axis=1)
    return pd.DataFrame({"size": size, "non_faces": size - counts.sum(axis=1), "people": people, "mixed": mixed})


def centre_of(embeddings):
    """The direction of some embeddings: the mean of the unit vectors, brought to length 1. (D,) float64."""
    return normalize(normalize(np.asarray(embeddings, np.float64)).mean(axis=0, keepdims=True))[0]


def recognizability(embeddings, centre):
    """e = min(1, 1 - <f_UI, f>), both of length 1 (the paper, section 2.2): (N,) in [0, 1].

    Parameters
    ----------
    embeddings : array (N, D)
        Of faces, any length but 0.
    centre : array (D,) or (K, D)
        f_UI, of length 1. Of several, the nearest counts.
    """
    cosines = normalize(np.asarray(embeddings, np.float64)) @ np.atleast_2d(np.asarray(centre, np.float64)).T
    return np.clip(1 - cosines.max(axis=1), 0, 1)


# --- use of the score


def recognised(embeddings, identities, sources, clean):
    """Which faces are nearest to their own person, among the clean faces of all people: (N,) bool.

    Parameters
    ----------
    embeddings : array (N, D)
        Of all faces.
    identities : sequence of N
        The person in each face.
    sources : sequence of N
        The photograph that each face was made from. A face is not compared with its own photograph.
    clean : array (N,) bool
        The gallery.
    """
    identities, (_, source) = np.asarray(identities), np.unique(sources, return_inverse=True)
    unit, gallery = normalize(np.asarray(embeddings, np.float64)), np.flatnonzero(clean)
    cosines = unit @ unit[gallery].T
    cosines[source[:, None] == source[gallery]] = -np.inf
    return identities == identities[gallery[cosines.argmax(axis=1)]]


def calibrate(scores, recognised):
    """The threshold gamma that best separates recognised from unrecognised faces: accept where score >= gamma.

    It maximises the share of recognised faces kept plus the share of unrecognised faces refused (Youden's index). The
    paper tunes gamma by the accuracy on its data, and gets 0.60 for its own network. If the scores separate nothing,
    gamma is the lowest score: everything is accepted.

    Parameters
    ----------
    scores : array (N,)
        Of training people.
    recognised : array (N,) bool
        As the function `recognised` gives it.

    Returns
    -------
    float

    Raises
    ------
    DataError
        When all or none are recognised.
    """
    recognised = np.asarray(recognised, bool)
    if recognised.all() or not recognised.any():
        raise DataError("all faces, or none, were recognised: a threshold needs both; add severer or milder copies")
    accepted_wrongly, kept, thresholds = roc_curve(recognised, np.asarray(scores, float))
    gain = kept - accepted_wrongly
    return float(thresholds[np.argmax(gain) if gain.max() > 0 else -1])


def pool_template(embeddings, weights=None):
    """One embedding for several photographs of one person: the weighted mean of their unit vectors, of length 1.

    Parameters
    ----------
    embeddings : array (K, D)
        Of one person.
    weights : array (K,), default=None
        Not negative, for example recognizability. None: the plain mean.

    Returns
    -------
    array (D,) float64

    Raises
    ------
    DataError
        When the weights do not fit, or none is above 0.
    """
    unit = normalize(np.asarray(embeddings, np.float64))
    weights = np.ones(len(unit)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != (len(unit),) or not (weights >= 0).all() or not (weights > 0).any():
        raise DataError(f"{len(unit)} weights are needed, none below 0 and one above; got {weights.tolist()}")
    return normalize((weights @ unit)[None])[0]
