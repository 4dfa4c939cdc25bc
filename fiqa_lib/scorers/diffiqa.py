"""DifFIQA-style quality: the embedding's agreement with noised, denoised and mirrored copies (after Babnik 2023)."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import DataError
from ..recognition import as_recogniser
from ..recognition.base import batches
from ..recognition.similarity import cosine
from ..transforms.perturbations import image_seeds, mirror, perturb
from .base import Scorer, register

CHUNK = 32


@register("diffiqa-style")
class DifFIQAStyle(Scorer):
    """Mean cosine of a face's embedding with those of its mirror image and of noised and denoised copies of both.

    **Faithful** to DifFIQA (Babnik, Peer and Štruc, IJCB 2023): the comparison of the face with the noised picture and
    with what is recovered from it, for the picture and its mirror image, averaged over draws. **Changed, so that this
    is DifFIQA-style only:** no diffusion model is available offline. The forward process is one draw of additive noise
    of standard deviation `noise`, and a plain Gaussian filter replaces the model that denoises: it restores nothing and
    knows nothing of faces.
    **Blind** (ORL training people, dlib): a face that is noisy already moves no further when more is added, so that
    half-severe sensor and shot noise raise the score; so does half-severe over-exposure. Half-severe compression and
    half a turn of the head don't lower it. Low contrast, uneven light and sunglasses do so only up to half severity.

    Parameters
    ----------
    n_draws : int, default=1
        Draws of noise, at least 1.
    noise : float, default=0.1
        Standard deviation of the noise, above 0; the full scale of pixels is 1.
    filter_sigma : float, default=1.5
        Standard deviation of the Gaussian filter, in pixels of the canonical crop.
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings.
    random_state : int, default=0
        Seed of the noise, together with each picture's own pixels.
    """

    claims = (
        *("occlusion", "misalignment", "rotation"),
        *("gaussian_blur", "defocus_blur", "motion_blur", "low_resolution"),
    )
    cost = "2 + 4 * n_draws embeddings"

    def __init__(self, n_draws=1, noise=0.1, filter_sigma=1.5, recogniser="dlib", random_state=0):
        self.n_draws = n_draws
        self.noise = noise
        self.filter_sigma = filter_sigma
        self.recogniser = recogniser
        self.random_state = random_state

    def _score(self, images, faces):
        if not (isinstance(self.n_draws, int) and self.n_draws >= 1):
            raise DataError(f"n_draws must be a whole number from 1, not {self.n_draws!r}")
        for name in ("noise", "filter_sigma"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise DataError(f"{name} must be a number above 0, not {value!r}")
        recogniser = as_recogniser(self.recogniser)
        scores = np.empty(len(images))
        for batch in batches(len(images), CHUNK):
            clean = recogniser.embed(images[batch])
            scores[batch] = np.mean([cosine(clean, recogniser.embed(i)) for i in self._copies(images[batch])], axis=0)
        return scores

    def _copies(self, images):
        """The mirror image; then for each draw the noised and the denoised picture, and those of the mirror image."""
        mirrored = mirror(images)
        yield mirrored
        for draw in range(self.n_draws):
            for picture in (images, mirrored):
                seeds = image_seeds(picture, self.random_state, draw, "diffiqa")
                noised = perturb(picture, "gaussian", seeds=seeds, sigma=self.noise)
                yield noised
                yield smooth(noised, self.filter_sigma)


def smooth(images, sigma):
    """Pictures (N, H, W, 3), each blurred by a Gaussian of `sigma` pixels; same type."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])
