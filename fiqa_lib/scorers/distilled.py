"""One pass instead of many: a ridge regression that learned what several teachers say of training faces."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import teachers, training
from ..degradations import KINDS
from ..errors import DataError
from ..perturbations import mirror
from ..recognition import as_recogniser
from ..training import identified, is_clean, photographs, with_copies
from . import sdd_fiqa
from .base import Scorer, register
from .sdd_fiqa import layer_statistics, reference_labels

CHUNK = 64  # photographs whose copies are looked at together, and faces that are scored together
TEACHERS = ("certainty", "sdd", "agreement")


@register("distilled")
class Distilled(Scorer):
    """A ridge regression on one pass of the recogniser, taught by an ensemble of labels: about 0 (bad) to 1 (good).

    What it sees are statistics of all stages of the network (`sdd_fiqa.layer_statistics`), not the embedding alone.

    After the idea of eDifFIQA (Babnik, Peer & Struc, IEEE TBIOM 2024): a slow teacher labels a training set, and a
    student that sees each face once learns to say the same.
    **Faithful**: distillation into a regressor that scores in a single pass; labels improved by combining sources.
    **Changed**: the teachers are those of this course, the certainty ratio of CR-FIQA and the similarity distributions
    of SDD-FIQA (and, if asked for, agreement under disturbances as in FROQ) in place of a diffusion model; the trunk
    stays as it is, and the student is linear, since 200 photographs have to do. The recipe was chosen on ORL's training
    people, in folds of whole persons (notebook 15).
    **Blind**: of the course's degradations to none; a colour cast moves it least (ORL training people, dlib). What it
    was never shown, such as a painted face, it can't know.

    Parameters
    ----------
    taught_by : sequence of str
        Of "certainty" (`teachers.certainty_ratio`), "sdd" (`sdd_fiqa.reference_labels`) and "agreement"
        (`teachers.agreement`). Their ranks are added up.
    n_copies : int
        Degraded copies of each training face, where the faces handed in have none.
    alpha : float
        Strength of the ridge penalty, on standardised features; labels lie in 0..1.
    recogniser : str or Recogniser
        A torch network; see `sdd_fiqa.layer_statistics`.
    random_state : int

    Attributes
    ----------
    mean_, scale_, coef_ : arrays (F,) float64
    intercept_ : float
        quality = intercept + coef . (features - mean) / scale
    """

    learns = True
    claims = tuple(KINDS)
    cost = "1 embedding and a product"
    built_on = (teachers, training, sdd_fiqa)
    quick = {"n_copies": 3}

    def __init__(self, taught_by=("certainty", "sdd"), n_copies=4, alpha=3000.0, recogniser="dlib", random_state=0):
        self.taught_by = taught_by
        self.n_copies = n_copies
        self.alpha = alpha
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None):
        """Make copies, ask the teachers, and fit the student on each face and its mirror image.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Of two or more people, each with two or more clean photographs.
        identities : sequence of N, optional

        Returns
        -------
        self

        Raises
        ------
        DataError
            Unknown teachers, unknown people, or nobody with a second clean photograph.
        """
        self._check()
        looked = self._look(identified(faces, identities))
        return self.fit_features(looked["features"], looked["mirrored"], teachers.ensemble(self.labels(looked)))

    def fit_features(self, features, mirrored, label):
        """Fit the student alone: arrays (N, F), (N, F) and labels (N,), NaN where there is none."""
        known = ~np.isnan(label)
        x, y = np.concatenate([features[known], mirrored[known]]), np.tile(label[known], 2)
        scaler, ridge = make_pipeline(StandardScaler(), Ridge(self.alpha)).fit(x, y).named_steps.values()
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_ = ridge.coef_, float(ridge.intercept_)
        return self

    def labels(self, looked):
        """One array (N,) for each teacher, of faces that `look` described."""
        about = [looked[column] for column in ("embeddings", "identities", "sources", "clean")]
        known = {"certainty": teachers.certainty_ratio, "sdd": reference_labels}
        return [looked["agreement"] if name == "agreement" else known[name](*about) for name in self.taught_by]

    def look(self, faces, identities=None):
        """What `fit` learns from: a dict of arrays over the training faces and their copies, in one order.

        `features`, `mirrored` (N, F), `embeddings` (N, D), `identities`, `sources`, `clean`, and `agreement` if that
        teacher is asked for.
        """
        self._check()
        return self._look(identified(faces, identities))

    def _check(self):
        named = [self.taught_by] if isinstance(self.taught_by, str) else list(self.taught_by)
        if not named or len(set(named)) < len(named) or not set(named) <= set(TEACHERS):
            raise DataError(f"taught_by takes one or more of {', '.join(TEACHERS)}, each once, not {self.taught_by!r}")
        if isinstance(self.taught_by, str):
            raise DataError(f"taught_by is a sequence: ({self.taught_by!r},)")
        if not self.alpha > 0:
            raise DataError(f"alpha must be above 0, not {self.alpha!r}")

    def _look(self, faces):
        """A few photographs at a time: copies of thousands of faces would fill the memory."""
        recogniser, found = as_recogniser(self.recogniser), []
        rows = CHUNK if is_clean(faces).all() else max(1, len(faces))
        for start in range(0, len(faces), rows):
            part = with_copies(faces[start : start + rows], self.n_copies, random_state=self.random_state)
            features, embeddings = layer_statistics(recogniser, part.images)
            seen = {
                "features": features,
                "mirrored": layer_statistics(recogniser, mirror(part.images))[0],
                "embeddings": embeddings,
                "identities": part.identities,
                "sources": photographs(part),
                "clean": is_clean(part),
            }
            if "agreement" in self.taught_by:
                seen["agreement"] = teachers.agreement(
                    part, recogniser, clean=embeddings, random_state=self.random_state
                )
            found.append(seen)
        return {column: np.concatenate([seen[column] for seen in found]) for column in found[0]}

    def _score(self, images, faces):
        recogniser = as_recogniser(self.recogniser)
        parts = [layer_statistics(recogniser, images[i : i + CHUNK])[0] for i in range(0, len(images), CHUNK)]
        return self.predict_features(np.concatenate(parts))

    def predict_features(self, features):
        """Quality from the features of one pass: (N, F) -> (N,) float64."""
        return (features - self.mean_) / self.scale_ @ self.coef_ + self.intercept_

    def get_state(self):
        return {"mean": self.mean_, "scale": self.scale_, "coef": self.coef_, "intercept": np.array(self.intercept_)}

    @classmethod
    def load(cls, path, **parameters):
        scorer = super().load(path, **parameters)
        return scorer.set_params(taught_by=tuple(scorer.taught_by))  # JSON knows lists only

    load.__func__.__doc__ = Scorer.load.__doc__

    def set_state(self, arrays):
        self.mean_, self.scale_, self.coef_ = arrays["mean"], arrays["scale"], arrays["coef"]
        self.intercept_ = float(arrays["intercept"])
        return self
