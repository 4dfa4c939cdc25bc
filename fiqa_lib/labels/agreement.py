"""A label from the picture alone: does the embedding stay when the face is perturbed a little (after FROQ, 2025)?"""

from __future__ import annotations

import numpy as np

CHUNK = 64  # faces that are perturbed together
DISTURBANCES = {"flip": {}, "gaussian": {"sigma": 0.05}}


def agreement(faces, recogniser="dlib", *, clean=None, disturbances=None, random_state=0):
    """FROQ-style label: mean cosine of a face with perturbed versions of itself.

    No identities are needed: the label comes from the picture alone (after Babnik et al., FROQ, 2025, arXiv 2509.17689,
    who calibrate a choice of layers with labels from perturbed samples).

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Faces to label.
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings.
    clean : array (N, D), default=None
        Embeddings of the faces, if they are known already.
    disturbances : dict of str -> dict, default=None
        Names in `perturbations.PERTURBATIONS` with their settings; None for the mirror image and noise of 0.05.
    random_state : int, default=0
        Seed of the noise.

    Returns
    -------
    array (N,) float64
        In -1..1, higher is better.
    """
    # here and not above, so that labels from stored embeddings need no network library
    from ..faces import crops_of
    from ..recognition import as_recogniser
    from ..recognition.similarity import cosine
    from ..transforms.perturbations import image_seeds, perturb, settings_for

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
