"""One pass instead of many, learned from a small set of faces: a ridge regression on the labels of several teachers."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..data.training_sets import identified
from ..errors import DataError
from ..labels import agreement, cr_fiqa, ensemble
from ..labels.sdd import reference_labels
from ..recognition import as_recogniser
from ..transforms.kinds import KINDS
from .base import Scorer, register
from .sdd_fiqa import CHUNK, layer_statistics, training_material

TEACHERS = ("certainty", "sdd", "agreement")


@register("distilled-orl")
class DistilledOrl(Scorer):
    """A ridge regression on one pass of the recogniser, trained on combined labels: about 0 (bad) to 1 (good).

    Its input are statistics of all stages of the network (`sdd_fiqa.layer_statistics`), not the embedding alone.

    What lesson 16 builds. `distilled` is the same idea with far more to learn from.

    After the idea of eDifFIQA (Babnik, Peer & Struc, IEEE TBIOM 2024): a slow teacher labels a training set, and a
    student that sees each face once learns to predict the label.
    **Faithful**: distillation into a regressor that scores in a single pass; labels improved by combining sources.
    **Changed**: the teachers are those of this course, the certainty ratio of CR-FIQA and the similarity distributions
    of SDD-FIQA (and, if asked for, agreement under disturbances as in FROQ) in place of a diffusion model; the trunk
    stays as it is, and the student is linear, since 200 photographs have to do. The recipe was chosen on ORL's training
    people, in folds of whole persons (notebook 16).
    **Blind**: of the course's degradations to none; a colour cast moves it least (ORL training people, dlib). What was
    not in training, such as a painted face, it can't judge.

    Parameters
    ----------
    taught_by : sequence of str, default=("certainty", "sdd")
        Of "certainty" (`cr_fiqa.certainty_ratio`), "sdd" (`labels.sdd.reference_labels`) and "agreement"
        (`agreement.agreement`). Their ranks are added up.
    n_copies : int, default=4
        Degraded copies of each training face, if none of the faces is degraded already.
    alpha : float, default=3000.0
        Strength of the ridge penalty, on standardised features; labels lie in 0..1.
    recogniser : str or Recogniser, default="dlib"
        A torch network; see `sdd_fiqa.layer_statistics`.
    random_state : int, default=0
        Seed of copies and disturbances.

    Attributes
    ----------
    mean_, scale_, coef_ : arrays (F,) float64
    intercept_ : float
        quality = intercept + coef . (features - mean) / scale
    """

    learns = True
    claims = tuple(KINDS)
    cost = "1 embedding and a product"
    quick = {"n_copies": 3}

    def __init__(self, taught_by=("certainty", "sdd"), n_copies=4, alpha=3000.0, recogniser="dlib", random_state=0):
        self.taught_by = taught_by
        self.n_copies = n_copies
        self.alpha = alpha
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None):
        """Make copies, label them, and fit the student on each face and its mirror image.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Of two or more people, each with two or more clean photographs.
        identities : sequence of N, default=None
            Who is shown. None: taken from `Faces`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            Unknown teachers, unknown people, or nobody with a second clean photograph.
        """
        material = self.look(faces, identities)
        return self.fit_features(material["features"], material["mirrored"], ensemble(self.labels(material)))

    def fit_features(self, features, mirrored, label):
        """Fit the student alone.

        Parameters
        ----------
        features : array (N, F)
            What the student sees of each face.
        mirrored : array (N, F)
            The same of its mirror image.
        label : array (N,)
            Higher is better. NaN: this face is left out.

        Returns
        -------
        self
        """
        known = ~np.isnan(label)
        x, y = np.concatenate([features[known], mirrored[known]]), np.tile(label[known], 2)
        scaler, ridge = make_pipeline(StandardScaler(), Ridge(self.alpha)).fit(x, y).named_steps.values()
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_ = ridge.coef_, float(ridge.intercept_)
        return self

    def labels(self, looked):
        """One array (N,) for each teacher, of faces that `look` described."""
        about = [looked[column] for column in ("embeddings", "identities", "sources", "clean")]
        known = {"certainty": cr_fiqa.certainty_ratio, "sdd": reference_labels}
        return [looked["agreement"] if name == "agreement" else known[name](*about) for name in self.taught_by]

    def look(self, faces, identities=None):
        """What `fit` learns from: arrays over training faces and copies, in one order. Parameters as in `fit`.

        Returns
        -------
        dict of str -> array
            As `sdd_fiqa.training_material`, and `agreement` if that teacher is asked for.
        """
        self._check()
        recogniser, extra = as_recogniser(self.recogniser), {}
        if "agreement" in self.taught_by:
            options = {"recogniser": recogniser, "random_state": self.random_state}
            extra["agreement"] = lambda part, embeddings: agreement(part, clean=embeddings, **options)
        return training_material(
            identified(faces, identities),
            lambda images, embed=True: layer_statistics(recogniser, images),
            self.n_copies,
            self.random_state,
            extra,
        )

    def _check(self):
        named = [self.taught_by] if isinstance(self.taught_by, str) else list(self.taught_by)
        if not named or len(set(named)) < len(named) or not set(named) <= set(TEACHERS):
            raise DataError(f"taught_by takes one or more of {', '.join(TEACHERS)}, each once, not {self.taught_by!r}")
        if isinstance(self.taught_by, str):
            raise DataError(f"taught_by is a sequence: ({self.taught_by!r},)")
        if not self.alpha > 0:
            raise DataError(f"alpha must be above 0, not {self.alpha!r}")

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
        """As `Scorer.load`."""
        scorer = super().load(path, **parameters)
        return scorer.set_params(taught_by=tuple(scorer.taught_by))  # JSON knows lists only

    def set_state(self, arrays):
        self.mean_, self.scale_, self.coef_ = arrays["mean"], arrays["scale"], arrays["coef"]
        self.intercept_ = float(arrays["intercept"])
        return self
