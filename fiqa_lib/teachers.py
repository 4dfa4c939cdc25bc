"""Labels that teach a quality regressor, each from another idea of what a good face is; and their sum."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from .errors import DataError
from .perturbations import image_seeds, perturb
from .pseudo_labels import unit_length
from .recognition import as_recogniser
from .recognition.base import crops_of
from .scorers.stability import settings_for
from .verification import cosine

CHUNK = 64
EPSILON = 1e-9  # keeps the certainty ratio finite; the paper's code has the same guard
DISTURBANCES = {"flip": {}, "gaussian": {"sigma": 0.05}}


def class_similarities(embeddings, identities, sources, clean):
    """How like its own person's centre a face is, and how like the nearest other person's.

    A centre is the mean of the unit embeddings of a person's clean faces. For a face's own person the photograph that
    the face was made from is left out: it would match by its background.

    Parameters
    ----------
    embeddings : array (N, D)
    identities, sources : sequences of N
        Who is shown, and the photograph that the face was made from.
    clean : array (N,) bool
        The faces that centres are made of.

    Returns
    -------
    (array (N,), array (N,)) float64
        Cosines, CCS and NNCCS in the words of CR-FIQA (Boutros et al., CVPR 2023, section 3.2). The first is NaN where
        a person has no other clean photograph.

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
    """CR-FIQA-style label: CCS / (NNCCS + 1 + eps), see `class_similarities`; (N,) float64, higher is better.

    **Changed**: in the paper centres are the weights of a classifier that is being trained, here means of clean
    embeddings.
    """
    own, other = class_similarities(embeddings, identities, sources, clean)
    return own / (other + 1 + EPSILON)


def agreement(faces, recogniser="dlib", *, clean=None, disturbances=None, random_state=0):
    """FROQ-style label: mean cosine of a face with disturbed versions of itself.

    Nobody has to be known: the label comes from the picture alone (after Babnik et al., FROQ, 2025, arXiv 2509.17689,
    who calibrate a choice of layers with labels from perturbed samples).

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
    recogniser : str or Recogniser
    clean : array (N, dim), optional
        Embeddings of the faces, where they are known already.
    disturbances : dict of str -> dict, optional
        Names in `perturbations.PERTURBATIONS` with their settings; default: the mirror image, and noise of 0.05.
    random_state : int

    Returns
    -------
    array (N,) float64
    """
    images, recogniser = crops_of(faces), as_recogniser(recogniser)
    disturbances = DISTURBANCES if disturbances is None else disturbances
    clean, total = recogniser.embed(images) if clean is None else clean, np.zeros(len(images))
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        for name, settings in disturbances.items():
            settings = settings_for(recogniser, name, settings)
            disturbed = perturb(part, name, seeds=image_seeds(part, random_state, name), **settings)
            total[start : start + CHUNK] += cosine(clean[start : start + CHUNK], recogniser.embed(disturbed))
    return total / len(disturbances)


def ensemble(labels):
    """One label from several: the mean of their ranks, itself as a rank in 0..1.

    Ranks, since labels have different scales and tails: a mean of raw values would listen to whoever spreads most.

    Parameters
    ----------
    labels : sequence of arrays (N,)
        Higher is better in each. A face without one of them (NaN) gets none.

    Returns
    -------
    array (N,) float64
        1/N for the worst to 1 for the best; ties share their mean rank; NaN where a label is missing.
    """
    table = np.stack([np.asarray(label, np.float64) for label in labels])
    known = ~np.isnan(table).any(0)
    if not known.any():
        raise DataError("no face has all the labels: nothing to combine")
    combined = np.full(table.shape[1], np.nan)
    ranks = rankdata(table[:, known], axis=1).mean(0)
    combined[known] = rankdata(ranks) / known.sum()
    return combined
