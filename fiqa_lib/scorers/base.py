"""What every quality method of the course offers, and how it becomes known to the tests, the benchmark and the CLI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .. import weights
from ..cache import cache_folder, content_key, sources_of
from ..errors import DataError
from ..faces import Faces, crops_of
from ..recognition import Recogniser, as_recogniser

SCORERS = {}
"""Name -> class of every registered method, in alphabetical order of their files."""


def register(name):
    """Class decorator: make a scorer known under `name` to the tests, the benchmark and the command line.

    The file that uses it only has to stand in `fiqa_lib/scorers/`; every module of that folder is imported.

    Raises
    ------
    ValueError
        When another class has the name already.
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
    details : tuple of str
        Columns that `assess` gives besides the score, for tables.
    quick : dict
        Constructor parameters with which `fit` is fast: less data or fewer steps, never another path. The common tests
        and quick runs of notebooks use them.
    family : str
        Methods of one family learn one thing together: `fit_cached` fits once for all of them, and what one of them
        saved, any of them loads. They take the same parameters.
    resumes : bool
        Whether `fit` takes `checkpoint=PATH`, a file from which a run that was killed goes on.
    silent : tuple of str
        Constructor parameters that do not change what is learned, such as a progress bar.
    needs_weights : str
        Name of the recogniser that reads the file of weights without which the method can't work, and which the user
        has to bring; empty where it needs none. Loops over `SCORERS` leave such a method out, or name it.

    A subclass that learns also writes `get_state` and `set_state`, which `save`, `load` and `fit_cached` rely on.
    """

    name = "scorer"
    learns = False
    claims = ()
    cost = ""
    details = ()
    quick = {}
    family = ""
    resumes = False
    silent = ()
    needs_weights = ""

    def fit(self, faces, identities=None):
        """Learn from faces of training people, where the method learns; otherwise only check them.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Aligned faces.
        identities : sequence of N, default=None
            Who they show. None: taken from `Faces`.

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
        sklearn.exceptions.NotFittedError
            Before `fit`, where the method learns.
        """
        images = crops_of(faces)
        if self.learns:
            check_is_fitted(self)
        if len(images) == 0:
            return np.zeros(0)
        scores = np.asarray(self._score(images, faces), dtype=np.float64)
        if scores.shape != (len(images),) or np.isnan(scores).any():
            raise DataError(f"{self!r} gave {scores.shape} scores, {np.isnan(scores).sum()} of them NaN: a bug")
        return scores

    def assess(self, faces):
        """Scores and whatever else the method says, for tables of photographs and of frames.

        Returns
        -------
        DataFrame with N rows
            `score`, NaN or infinite where there is none, and the columns `details`. A method that refuses faces also
            gives `status` ("ok" or "refused") and `reason`.
        """
        return pd.DataFrame({"score": self.score_samples(faces)})

    def _score(self, images, faces):
        raise NotImplementedError

    # --- what was learned, kept in a file

    def get_state(self):
        """What `fit` learned, as a dict of name -> array (numbers count as arrays)."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing, so there is no state to keep")

    def set_state(self, arrays):
        """Take up what `get_state` gave. Raises KeyError or ValueError where something is missing or does not fit."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing, so there is no state to take up")

    def save(self, path):
        """Write the parameters and what was learned to a `.npz` file of plain arrays (no pickle); returns the path.

        The recogniser is named in it, not stored.
        """
        return weights.write_state(path, self._kind(), self.get_state(), _plain_parameters(self))

    @classmethod
    def load(cls, path, **parameters):
        """A fitted scorer from what `save` wrote.

        Parameters
        ----------
        path : path
            The file.
        **parameters
            In place of stored ones; a recogniser that is not the default has to be handed in again.

        Raises
        ------
        WeightsError
            The file is missing, damaged, or of another method.
        """
        arrays, stored = weights.read_state(path, cls._kind())
        known = cls().get_params()
        scorer = cls(**{name: value for name, value in stored.items() if name in known} | parameters)
        with weights.explained(path):
            scorer.set_state(arrays)
        return scorer

    @classmethod
    def _kind(cls):
        """What stands in a file as the kind of state: methods of one family share it."""
        return f"scorer {cls.family or cls.name}"


def _plain_parameters(scorer):
    """Constructor parameters as JSON has them; a recogniser becomes its name, other objects are left out."""
    plain = {}
    for name, value in scorer.get_params(deep=False).items():
        if isinstance(value, Recogniser):
            value = value.name
        if isinstance(value, tuple):
            value = list(value)
        if value is None or isinstance(value, (bool, int, float, str, list, dict)):
            plain[name] = value
    return plain


def fit_cached(scorer, faces, identities=None, folder=None):
    """`scorer.fit(faces, identities)`, or what an earlier call with the same content learned.

    The key covers the method's code and all that it imports (`cache.sources_of`), its parameters, the faces, their
    identities and their degradations. A method that learns nothing is fitted directly. One that `resumes` keeps a
    checkpoint beside the file while it learns: after a kill, the next call goes on from there.

    Parameters
    ----------
    scorer : Scorer
        What is fitted.
    faces : Faces
        The training faces.
    identities : sequence of N, default=None
        Who they show. None: taken from `faces`.
    folder : path, default=None
        Where fitted scorers are kept. None: `cache_folder("models")`.

    Returns
    -------
    Scorer
        The same object, fitted.
    """
    if not scorer.learns:
        return scorer.fit(faces, identities)
    key = fit_key(scorer, faces, identities)
    place = Path(folder or cache_folder("models")) / f"{scorer.family or scorer.name}-{key}.npz"
    try:
        arrays, _ = weights.read_state(place, scorer._kind())
        scorer.set_state(arrays)
        return scorer
    except Exception:  # absent or damaged, whatever it raises: a cache is only a reason not to compute
        pass
    _fit(scorer, faces, identities, place.with_suffix(".checkpoint.npz"))
    try:
        scorer.save(place)
    except OSError:  # a full or read-only disk must not stop the work
        pass
    return scorer


def _fit(scorer, faces, identities, checkpoint):
    if scorer.resumes:
        try:
            return scorer.fit(faces, identities, checkpoint=checkpoint)
        except OSError:  # a full or read-only disk must not stop the work
            pass
    return scorer.fit(faces, identities)


def fit_key(scorer, faces, identities=None):
    """A short name for everything that decides what `scorer.fit(faces, identities)` learns."""
    parameters = {n: v for n, v in scorer.get_params(deep=False).items() if n not in scorer.silent}
    recogniser = parameters.pop("recogniser", None)
    parts = [sources_of(type(scorer)), scorer.family or type(scorer).__name__, repr(sorted(parameters.items()))]
    if recogniser is not None:
        recogniser = as_recogniser(recogniser)
        network = getattr(recogniser, "recogniser", recogniser)  # one that remembers embeds as the one it asks
        parts += [sources_of(type(network)), network.fingerprint()]
    parts += [np.ascontiguousarray(crops_of(faces)).tobytes()]
    if isinstance(faces, Faces):
        table = faces.attributes.reindex(columns=["kind", "severity", "inter_eye_px", "pose", "target"])
        parts += [list(faces.identities), list(faces.names), table.to_csv()]
    parts.append(None if identities is None else list(map(str, identities)))
    return content_key(*parts)[:20]
