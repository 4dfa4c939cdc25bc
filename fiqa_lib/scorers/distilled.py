"""One pass of a small network that was trained, once, to foresee whether recognition will fail."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..evaluation.calibration import Calibration
from ..networks.quality_trunk import Student, trunk_input
from ..transforms.kinds import KINDS
from ..weights import explained, module_state, read_state, restore_module, shipped_file, write_state
from .base import Scorer, register

WEIGHTS, CALIBRATION = "distilled.npz", "distilled_calibration.npz"
"""Files in `data/models`."""
KIND = "network distilled"
BATCH = 8
"""Faces in one pass: more do not stay in a core's own memory."""


@register("distilled")
class Distilled(Scorer):
    """A small network that foresees recognition from one look: 0 (bad) to 100 (good). Nothing has to be fitted.

    After the idea of LightQNet (Chen, Li, Wang & Li, 2021) and eDifFIQA (Babnik, Peer & Struc, IEEE TBIOM 2024): slow
    teachers label a training set, and a small student that sees each face once learns to predict the label.
    **Faithful**: distillation into a network that scores in one pass; labels from recognition itself.
    **Changed**: the student is MobileFaceNet's trunk with one linear unit on the means and deviations of its stages,
    trained by `python -m fiqa_lib train-distilled` on LFW's learn people: each photograph and six copies of it, turned
    in space, small, blurred, covered. The label of a copy is its similarity to the person's *other* photographs, by
    dlib's network and by MobileFaceNet, as a mean of ranks. Verified by one of these two it is of the same model.
    What it was trained on and how it did stand in `data/README.md`.
    **Blind**: to what its copies do not show: age, twins, a wrong person in the photograph; painted faces.

    Parameters
    ----------
    weights : path, default=None
        What the training command wrote. None: the file that ships, `data/models/distilled.npz`.
    """

    claims = tuple(KINDS)
    cost = "1 pass of 1.2 million parameters"
    details = ("p_nonmatch",)
    networks = ("dlib", "mobilefacenet")  # whose recognition it learned to foresee

    def __init__(self, weights=None):
        self.weights = weights

    def _score(self, images, faces):
        student, middle, spread = self._student()
        with torch.inference_mode():
            parts = [student(trunk_input(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        return 100 / (1 + np.exp(-(torch.cat(parts).double().numpy() - middle) / spread))

    def assess(self, faces):
        """Score and the chance of a false non-match.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Aligned to the canonical crop.

        Returns
        -------
        DataFrame
            `score`, and `p_nonmatch`: the chance that the face is not matched to a good photograph of the same person
            at an FMR of 1e-3, as on LFW's choose people. NaN with `weights` of one's own, which have no calibration.
        """
        table = super().assess(faces)
        chance = np.nan if self.weights else calibration().chance(table["score"].to_numpy())
        return pd.DataFrame({**table, "p_nonmatch": chance})

    def _student(self):
        path = Path(self.weights) if self.weights else shipped_file(WEIGHTS)
        return _read(path, os.stat(path).st_mtime_ns if path.exists() else None)


def calibration():
    """What the shipped weights' scores mean: a `Calibration` on LFW's choose people, verified by both networks.

    `calibration().threshold_for(share=0.1)` is the score below which a tenth of faces like those would be discarded.
    """
    return Calibration.load(shipped_file(CALIBRATION))


@functools.lru_cache(maxsize=2)
def _read(path, _time):
    arrays, settings = read_state(path, KIND)
    student = Student()
    with explained(path):
        restore_module(student, arrays)
        return student.eval(), float(settings["middle"]), float(settings["spread"])


def save_student(student, path, middle, spread, **about):
    """Write a student in half precision, and the scale of its scores.

    Parameters
    ----------
    student : Student
        After training.
    path : path
        Ends in `.npz`.
    middle, spread : float
        What it says of a usual face, which becomes a score of 50, and by how much more it says of one with 73.
    **about
        Anything JSON can hold, kept in the file.

    Returns
    -------
    Path
    """
    # the linear unit keeps its digits: it weighs 4,736 numbers against each other
    whole = ("mean", "scale", "weight", "bias")
    arrays = {n: v if n in whole else v.astype(np.float16) for n, v in module_state(student).items()}
    return write_state(path, KIND, arrays, {"middle": float(middle), "spread": float(spread), **about})
