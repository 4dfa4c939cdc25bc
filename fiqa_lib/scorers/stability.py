"""Quality as stability: a face that the recogniser knows well keeps its embedding under a small disturbance."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from ..faces import crops_of
from ..recognition import as_recogniser
from ..recognition.base import batches
from ..recognition.similarity import cosine
from ..transforms.perturbations import PERTURBATIONS, PRESETS, image_seeds, perturb, settings_for
from .base import Scorer, register

DETERMINISTIC = ("affine", "affine-no-flip", "flip", "upside-down", "rotation", "scale", "structured-occlusion")
DETERMINISTIC += ("blur", "mixup")
"""Perturbations without randomness."""
CHUNK = 32  # faces that are perturbed together: memory stays small, vectorisation pays


@register("perturbation-stability")
class PerturbationStability(Scorer):
    """Mean cosine between the embedding of a face and those of K perturbed copies: Q = mean_k cos(E(I), E(f_k(I))).

    Source: the study "FIQA by perturbation stability" (course notebook 05), which takes one draw; here K draws, whose
    standard error `score_with_error` gives. The clean embedding is computed once: the cost is K + 1 embeddings.

    **Faithful:** the measure, and the study's perturbations (`perturbations.PRESETS`).
    **Changed:** the mirror image as the default, since no draw has to be paid for.
    **Blind** (ORL-D, dlib, "flip", share of copies that score lower minus share that score higher): blur that is alike
    on both sides (Gaussian -.38, defocus .05), low contrast (-.05), low light (.11): mirror images stay alike.

    Parameters
    ----------
    perturbation : str, default="flip"
        A name in `perturbations.PERTURBATIONS` or `PRESETS`. "flip", the mirror image, has no randomness.
    n_draws : int, default=4
        K, the number of draws for each face. Perturbations without randomness are drawn once.
    settings : dict, default=None
        Settings of the perturbation in place of its defaults. A frame, tiles and a square `anywhere` are placed where
        the recogniser looks (its `window`) unless a setting says otherwise.
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings.
    random_state : int, default=0
        Seed of the draws, together with each picture's own pixels.
    """

    claims = ("sensor_noise", "shot_noise", "motion_blur", "rotation", "occlusion", "pose")
    cost = "n_draws + 1 embeddings"

    def __init__(self, perturbation="flip", n_draws=4, settings=None, recogniser="dlib", random_state=0):
        self.perturbation = perturbation
        self.n_draws = n_draws
        self.settings = settings
        self.recogniser = recogniser
        self.random_state = random_state

    def score_with_error(self, faces):
        """Scores and their standard errors over the draws.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces aligned to the canonical crop.

        Returns
        -------
        (array (N,), array (N,)) float64
            Scores and standard errors. The error is 0 for a perturbation without randomness, and NaN for one draw of a
            random one.
        """
        cosines = self._cosines(crops_of(faces))
        if self._deterministic():
            return cosines[:, 0], np.zeros(len(cosines))
        if cosines.shape[1] < 2:
            return cosines[:, 0], np.full(len(cosines), np.nan)
        return cosines.mean(1), cosines.std(1, ddof=1) / np.sqrt(cosines.shape[1])

    def _score(self, images, faces):
        return self._cosines(images).mean(1)

    def _deterministic(self):
        return PRESETS.get(self.perturbation, (self.perturbation,))[0] in DETERMINISTIC

    def _cosines(self, images):
        """(N, K) cosine of each face's embedding with those of its perturbed copies."""
        if not (isinstance(self.n_draws, int) and self.n_draws >= 1):
            raise DataError(f"n_draws must be a whole number from 1, not {self.n_draws!r}")
        if self.perturbation not in PERTURBATIONS and self.perturbation not in PRESETS:
            raise DataError(f"there is no perturbation {self.perturbation!r}; see perturbations.PERTURBATIONS")
        recogniser = as_recogniser(self.recogniser)
        draws = 1 if self._deterministic() else self.n_draws
        settings = settings_for(recogniser, self.perturbation, self.settings)
        cosines = np.empty((len(images), draws))
        for batch in batches(len(images), CHUNK):
            clean = recogniser.embed(images[batch])
            for draw in range(draws):
                seeds = image_seeds(images[batch], self.random_state, draw)
                perturbed = perturb(images[batch], self.perturbation, seeds=seeds, **settings)
                cosines[batch, draw] = cosine(clean, recogniser.embed(perturbed))
        return cosines
