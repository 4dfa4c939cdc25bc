"""What every quality method of the course offers, and how it becomes known to the tests, the benchmark and the CLI."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from ..errors import DataError
from ..recognition.base import crops_of

SCORERS = {}
"""Name -> class of every registered method, in alphabetical order of their files."""


def register(name):
    """Class decorator: make a scorer known under `name` to the tests, the benchmark and the command line.

    The file that uses it only has to stand in `fiqa_lib/scorers/`; every module of that folder is imported.

    Raises
    ------
    ValueError
        When another class bears the name already.
    """

    def keep(cls):
        known = SCORERS.get(name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(f"two scorers are called {name!r}: {known.__qualname__} and {cls.__qualname__}")
        cls.name = name
        SCORERS[name] = cls
        return cls

    return keep


class Scorer(BaseEstimator):
    """Base of all quality methods: a scikit-learn estimator whose scores are **higher for better faces**, always.

    A subclass stores its constructor parameters unchanged, learns in `fit` if it must (attributes ending in "_"), and
    writes `_score(images, faces)`. Randomness comes only from `random_state`; the score of a face does not depend on
    the faces beside it.

    Class attributes
    ----------------
    name : str
        Set by `register`.
    learns : bool
        Whether `fit` must be called before `score_samples`.
    claims : tuple of str
        Kinds of `degradations.KINDS` with which the mean score falls. The common tests hold each method to them.
    cost : str
        Work for one face, in a few words, for the list of methods.
    """

    name = "scorer"
    learns = False
    claims = ()
    cost = ""

    def fit(self, faces, identities=None):
        """Learn from faces of training people, where the method learns; otherwise only check them.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
        identities : sequence of N, optional
            Who they show; taken from `Faces` by default.

        Returns
        -------
        self
        """
        crops_of(faces)
        return self

    def score_samples(self, faces):
        """Quality of each face.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Aligned to the canonical crop.

        Returns
        -------
        array (N,) float64
            Higher is better. -inf where the face could not be assessed (see `evaluation`, missing scores).

        Raises
        ------
        DataError
            For anything but aligned faces, or when the method needs an attribute that the faces lack.
        """
        images = crops_of(faces)
        if len(images) == 0:
            return np.zeros(0)
        scores = np.asarray(self._score(images, faces), dtype=np.float64)
        if scores.shape != (len(images),) or np.isnan(scores).any():
            raise DataError(f"{self!r} gave {scores.shape} scores, {np.isnan(scores).sum()} of them NaN: a bug")
        return scores

    def _score(self, images, faces):
        raise NotImplementedError
