"""Baselines that look at pixels or at the detector only. A method that does not beat them is not worth its cost."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import DataError
from ..faces import CANONICAL_EYES, EYE_DISTANCE, DlibHog, Faces
from .base import Scorer, register


def face_window():
    """Rows and columns (two slices) of the canonical crop that hold the face: brows to mouth, cheek to cheek.

    Background, hair and the repeated border of tight photographs stay outside.
    """
    x, y = CANONICAL_EYES.mean(0)
    top, bottom = y - 0.6 * EYE_DISTANCE, y + 1.5 * EYE_DISTANCE
    left, right = x - 1.0 * EYE_DISTANCE, x + 1.0 * EYE_DISTANCE
    return slice(round(top), round(bottom)), slice(round(left), round(right))


def luminance(images):
    """Luma (ITU-R BT.601) of the face window of canonical crops (N, 192, 192, 3): (N, H, W) float32 in 0..255."""
    rows, columns = face_window()
    return images[:, rows, columns].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


@register("sharpness")
class Sharpness(Scorer):
    """Variance of the Laplacian over the face: how much neighbouring pixels differ (Pech-Pacheco et al. 2000).

    It sees blur, low resolution and haze. **Blind** to everything that adds edges or keeps them: noise *raises* it, and
    so do occluders and JPEG blocks.
    """

    claims = ("gaussian_blur", "defocus_blur", "motion_blur", "low_resolution", "low_contrast")
    cost = "one 3x3 filter"

    def _score(self, images, faces):
        return [cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1].var() for grey in luminance(images)]


@register("brightness")
class Brightness(Scorer):
    """Mean luminance of the face, 0..255. It sees low light and shadow, and takes over-exposure for quality."""

    claims = ("low_light", "uneven_light")
    cost = "one mean"

    def _score(self, images, faces):
        return luminance(images).mean((1, 2))


@register("contrast")
class Contrast(Scorer):
    """Standard deviation of the luminance of the face (RMS contrast, Peli 1990). It sees haze and, weakly, blur.

    It takes shadow, sunglasses, noise and over-exposure for contrast.
    """

    claims = ("low_contrast", "gaussian_blur", "defocus_blur", "motion_blur")
    cost = "one standard deviation"

    def _score(self, images, faces):
        return luminance(images).std((1, 2))


@register("detector-score")
class DetectorScore(Scorer):
    """Score of dlib's HOG face detector, run again on the aligned crop.

    It runs again since the attribute `detector_score` belongs to the photograph, not to a degraded copy of the crop. A
    face that the detector does not find at all, even far below its usual threshold, gets the lowest score.

    Parameters
    ----------
    threshold : float, default=-1.5
        Detections down to this score count; where there is none, this is the score.
    """

    claims = (
        *("mask", "sunglasses", "occlusion", "uneven_light", "low_contrast", "low_light", "jpeg", "low_resolution"),
        *("gaussian_blur", "defocus_blur", "motion_blur", "shot_noise", "sensor_noise"),
    )
    cost = "one run of the detector"

    def __init__(self, threshold=-1.5):
        self.threshold = threshold

    def _score(self, images, faces):
        detector = DlibHog(working_side=images.shape[1], threshold=self.threshold, margin=0, turned=False)
        return [max((d.score for d in detector(image)), default=self.threshold) for image in images]


@register("inter-eye-distance")
class InterEyeDistance(Scorer):
    """Distance of the eyes in pixels of the photograph the face was cut from.

    A fact about the photograph, not about its content: **blind** to every degradation after the crop. It needs the
    attribute `inter_eye_px`, which `faces.extract_faces` sets.
    """

    cost = "none: measured at alignment"

    def _score(self, images, faces):
        if not isinstance(faces, Faces) or "inter_eye_px" not in faces.attributes:
            raise DataError(
                "inter-eye-distance needs faces with the attribute inter_eye_px (faces.extract_faces sets it); "
                "an aligned crop alone no longer knows its size in the photograph"
            )
        return faces.attributes["inter_eye_px"].to_numpy(float)
