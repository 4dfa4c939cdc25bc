"""How well a face fits its own class, against the nearest other class: the label of CR-FIQA (Boutros et al. 2023)."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from .sdd_distances import unit_length

EPSILON = 1e-9  # keeps the certainty ratio finite; the paper's code has the same guard


def class_similarities(embeddings, identities, sources, clean):
    """Similarity of each face to its own person's centre, and to the nearest other person's.

    A centre is the mean of the unit embeddings of a person's clean faces. For a face's own person the photograph that
    the face was made from is left out: it would match by its background.

    Parameters
    ----------
    embeddings : array (N, D)
        Of all faces.
    identities : sequence of N
        The person in each face.
    sources : sequence of N
        The photograph that each face was made from.
    clean : array (N,) bool
        The faces that centres are made of.

    Returns
    -------
    (array (N,), array (N,)) float64
        Cosines, called CCS and NNCCS in CR-FIQA (Boutros et al., CVPR 2023, section 3.2). The first is NaN where a
        person has no other clean photograph.

    Raises
    ------
    DataError
        Fewer than two people with clean faces.
    """
    identities, sources, clean = np.asarray(identities), np.asarray(sources), np.asarray(clean, bool)
    unit = unit_length(np.asarray(embeddings, np.float64))
    people, who = np.unique(identities, return_inverse=True)
    sums = np.stack([unit[clean & (who == person)].sum(0) for person in range(len(people))])
    known = np.linalg.norm(sums, axis=1) > 0
    if known.sum() < 2:
        raise DataError("class centres need clean faces of two or more people")
    cosines = unit @ unit_length(np.where(known[:, None], sums, 1)).T
    cosines[:, ~known] = -np.inf
    own = np.full(len(unit), np.nan)
    for row, (person, source) in enumerate(zip(who, sources, strict=True)):
        centre = sums[person] - unit[clean & (who == person) & (sources == source)].sum(0)
        length = np.linalg.norm(centre)
        if length > 1e-6:
            own[row] = unit[row] @ centre / length
    cosines[np.arange(len(unit)), who] = -np.inf
    return own, cosines.max(1)


def certainty_ratio(embeddings, identities, sources, clean):
    """CR-FIQA-style label: CCS / (NNCCS + 1 + eps); (N,) float64, higher is better.

    Parameters and errors as in `class_similarities`. **Changed**: in the paper centres are the weights of a classifier
    that is being trained, here means of clean embeddings.
    """
    own, other = class_similarities(embeddings, identities, sources, clean)
    return own / (other + 1 + EPSILON)
