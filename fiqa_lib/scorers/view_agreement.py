"""Quality as agreement of several views: a good face keeps its embedding under a frame, a blur and a mirror."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from ..recognition import as_recogniser
from ..recognition.base import batches
from ..recognition.similarity import cosine
from ..transforms.perturbations import PERTURBATIONS, PRESETS, image_seeds, perturb, settings_for
from .base import Scorer, register

CHUNK = 32
VIEWS = ("structured-occlusion", "structured-occlusion+flip", "blur+flip")
SETTINGS = {"structured-occlusion": {"width": 0.15}, "blur": {"sigma": 0.03}}


@register("view-agreement")
class ViewAgreement(Scorer):
    """Minus the mean angle between a face's embedding and those of a few views of it, over the embedding's length.

    The course's own combination of two known ideas, perturbation stability (notebook 05) and the embedding norm:
    Q = -mean_k arccos(cos(E(I), E(f_k(I)))) / |E(I)|. The views differ in what they remove: a frame the surroundings of
    the face, a blur its fine detail, a mirror the side the light comes from. The recipe was chosen on ORL's training
    people (notebook 05); nothing is trained.

    **Blind** (ORL training people, dlib): a colour cast does not move it, a mask at full severity scores above the
    undisturbed face, and from half severity on a larger occluder lowers it no further.

    The angle is divided by the length since a random disturbance of given size turns a short vector further. Dividing
    by it twice or not at all changes little.

    Parameters
    ----------
    views : sequence of str, default=VIEWS
        Each a name in `perturbations.PERTURBATIONS` or `PRESETS`, or several joined by "+", applied from left to right.
    settings : dict of str -> dict, default=None
        Settings by name of the perturbation; None means a frame of 0.15 and a blur of 0.03 eye distances.
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings.
    random_state : int, default=0
        Seed of views with randomness.
    """

    claims = (
        *("pose", "sunglasses", "uneven_light", "low_contrast", "low_light", "over_exposure", "misalignment"),
        *("rotation", "gaussian_blur", "defocus_blur", "motion_blur", "low_resolution", "shot_noise", "sensor_noise"),
        "jpeg",
    )
    cost = "1 embedding and one for each view"

    def __init__(self, views=VIEWS, settings=None, recogniser="dlib", random_state=0):
        self.views = views
        self.settings = settings
        self.recogniser = recogniser
        self.random_state = random_state

    def _score(self, images, faces):
        chains = self._chains()
        recogniser = as_recogniser(self.recogniser)
        scores = np.empty(len(images))
        for batch in batches(len(images), CHUNK):
            clean = recogniser.embed(images[batch])
            views = (self._view(images[batch], chain, recogniser) for chain in chains)
            angles = [np.arccos(np.clip(cosine(clean, recogniser.embed(view)), -1, 1)) for view in views]
            length = np.linalg.norm(clean.astype(float), axis=1)
            scores[batch] = -np.mean(angles, axis=0) / np.maximum(length, np.finfo(float).tiny)
        return scores

    def _view(self, images, chain, recogniser):
        settings = SETTINGS if self.settings is None else self.settings
        for step, name in enumerate(chain):
            seeds = image_seeds(images, self.random_state, step, name)
            images = perturb(images, name, seeds=seeds, **settings_for(recogniser, name, settings.get(name)))
        return images

    def _chains(self):
        if isinstance(self.views, str) or not len(self.views):
            raise DataError(f"views must be a sequence of one or more names, not {self.views!r}")
        chains = [str(view).split("+") for view in self.views]
        for name in {name for chain in chains for name in chain} | set(self.settings or ()):
            if name not in PERTURBATIONS and name not in PRESETS:
                raise DataError(f"there is no perturbation {name!r}; see perturbations.PERTURBATIONS")
        return chains
