"""The length of the embedding as quality."""

from __future__ import annotations

import numpy as np

from ..recognition import as_recogniser
from .base import Scorer, register


@register("embedding-norm")
class EmbeddingNorm(Scorer):
    """Length of the raw embedding: a network that finds little evidence of a face tends to give a short vector.

    MagFace (Meng et al. 2021) trains for this; with other recognisers, such as dlib's, it is a by-product.
    **Blind** (dlib): pose, sunglasses, shadow, rotation and misalignment; haze makes it longer.

    Parameters
    ----------
    recogniser : str or Recogniser, default="dlib"
        As `recognition.as_recogniser` takes it.
    """

    claims = ("gaussian_blur", "defocus_blur", "motion_blur", "shot_noise", "sensor_noise", "over_exposure")
    cost = "one embedding"

    def __init__(self, recogniser="dlib"):
        self.recogniser = recogniser

    def _score(self, images, faces):
        return np.linalg.norm(as_recogniser(self.recogniser).embed(images), axis=1)
