"""Score-based quality: handcrafted features and an embedding, compressed, joined, sorted into good, average, bad."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..data.training_sets import is_clean, photographs
from ..errors import DataError
from ..faces import Faces, crops_of
from ..features import as_feature, extract
from ..labels.grades import GRADES, VALUES, RecognitionRule, by_severity, grade_index
from ..networks.autoencoder import StackedAutoencoder, layer_widths
from ..networks.fit import check_whole_numbers, fit_rows, held_out_rows
from ..transforms.degradations import benchmark
from ..weights import module_state, restore_module
from .base import Scorer, register

SEVERITIES = (0.2, 0.4, 0.6, 0.8)
"""Of the degraded copies that `fit` makes: those of the course's benchmark."""
BATCH, PATIENCE = 64, 6  # of the tuning
WEIGHT_DECAY, HEAD_RATE = 0.01, 0.01


@register("score-based")
class ScoreBasedFQA(Scorer):
    """Four features, each through its own stacked autoencoder, joined and classified as good, average or bad.

    Source: a student project's pipeline (GIST, HOG, LBP and CNN features of 100x100 faces, stacked autoencoders, late
    fusion), which left fusion, tuning and classifier undone.

    Each feature -> autoencoder -> 50 numbers; 4 x 50 = 200, brought to one scale -> a further autoencoder -> softmax
    over the three grades. Autoencoders are pre-trained without grades; then the grades tune all layers together. Score:
    the expected grade, 0 p(bad) + 0.5 p(average) + 1 p(good).

    **Faithful**: features and their order, one autoencoder for each, 50 numbers each, joining, softmax. **Changed**:
    smaller layers by default; LBP as histograms, since codes are names and not numbers; inputs standardised and squared
    error (the original had cross-entropy on unscaled values); dropout; early stopping on people held out of the
    training people. **Blind**: colour (most faces with a cast get a wrong grade), and what its classes do not contain:
    pictures without a face are mostly called bad, but nothing ensures it. Measured in notebook 12, where plain logistic
    regression on the four features is at least as good.

    Parameters
    ----------
    features : str or sequence of str, default="gist+hog+lbp-histogram+cnn"
        Names in `features.FEATURES`, joined by "+" or as a sequence. Any of them can be left out.
    grading : {"severity", "recognition"}, default="severity"
        How training faces are graded; see `grades.by_severity` and `grades.RecognitionRule`. Faces with the attribute
        `grade`, as from `grades.load_graded`, are taken as graded.
    sizes : str or sequence of int, default="small"
        Layers of each feature's autoencoder: a name in `autoencoder.SIZES`, or widths.
    fusion : int or sequence of int, default=100
        Layer or layers of the autoencoder that joins them.
    scaling : {"standard", "unit"}, default="standard"
        Of the autoencoders' input, with the loss that fits; see `StackedAutoencoder`.
    n_copies : int, default=3
        Degraded copies that `fit` makes of each clean face. Faces that come with degraded copies, or graded, are taken
        as they are.
    max_faces : int, default=None
        Largest number of faces to use, drawn evenly from the people. None: all.
    pretrain_epochs : int, default=10
        Largest number of epochs for each layer and for each autoencoder as a whole. 0: no pre-training.
    tune : {"all", "head"}, default="all"
        What the grades train: all layers, or the softmax alone on codes learned without grades.
    tune_epochs : int, default=40
        Largest number of epochs with grades.
    dropout : float, default=0.3
        Share of the inputs and of the 200 numbers left out at random while tuning, 0..1 without 1.
    learning_rate : float, default=3e-4
        While tuning all layers.
    balanced : bool, default=True
        Grades weigh alike, however many faces have them. Better for macro-F1; probabilities then assume that the three
        grades are equally frequent.
    validation_share : float, default=0.2
        Share of the people held out for early stopping, 0..1 without 1.
    recogniser : str or Recogniser, default="dlib"
        Of the feature "cnn" and of grading by recognition.
    random_state : int, default=0
        Seed of copies, held-out people, weights and order.

    Attributes
    ----------
    classes_ : array of str
        "bad", "average", "good": the columns of `predict_proba`.
    history_ : DataFrame
        Losses of every stage: `part`, `stage`, `epoch`, `loss`, `validation`. Not kept in a saved file.
    autoencoders_ : dict of name -> StackedAutoencoder
        As they were before tuning. Not kept in a saved file.
    """

    learns = True
    claims = ()
    cost = "four features, of which the embedding costs most, and a small network"
    quick = {"n_copies": 4, "max_faces": 60, "pretrain_epochs": 3, "tune_epochs": 15}

    def __init__(
        self,
        features="gist+hog+lbp-histogram+cnn",
        grading="severity",
        sizes="small",
        fusion=100,
        scaling="standard",
        n_copies=3,
        max_faces=None,
        pretrain_epochs=10,
        tune="all",
        tune_epochs=40,
        dropout=0.3,
        learning_rate=3e-4,
        balanced=True,
        validation_share=0.2,
        recogniser="dlib",
        random_state=0,
    ):
        self.features = features
        self.grading = grading
        self.sizes = sizes
        self.fusion = fusion
        self.scaling = scaling
        self.n_copies = n_copies
        self.max_faces = max_faces
        self.pretrain_epochs = pretrain_epochs
        self.tune = tune
        self.tune_epochs = tune_epochs
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.balanced = balanced
        self.validation_share = validation_share
        self.recogniser = recogniser
        self.random_state = random_state

    # --- learning

    def fit(self, faces, identities=None):
        """Learn from training people.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Training faces.
        identities : sequence of N, default=None
            Who is shown. None: taken from `Faces`. Unknown people ("") can't be held out as people: then each
            photograph, with its copies, stands for itself.

        Returns
        -------
        self

        Raises
        ------
        DataError
            A grade does not occur, or a parameter makes no sense.
        """
        self._check_parameters()
        faces = self.training_set(faces, identities)
        inputs = self.inputs_of(faces)
        return self.fit_inputs(inputs, self.grades_of(faces, inputs.get("cnn")), _people(faces))

    def training_set(self, faces, identities=None):
        """What `fit` learns from: the faces given, at most `max_faces`, and degraded copies. Parameters as in `fit`."""
        faces = _as_faces(faces, identities)
        as_they_are = "grade" in faces.attributes or not is_clean(faces).all()
        if self.max_faces is not None and len(faces) > self.max_faces:
            faces = faces[_evenly(faces.identities, self.max_faces)]
        if as_they_are:
            return faces
        return benchmark(faces, severities=SEVERITIES, copies=self.n_copies, random_state=self.random_state)

    def grades_of(self, faces, embeddings=None):
        """The grades of a training set: (N,) str. Parameters as in `RecognitionRule.fit`."""
        if "grade" in faces.attributes:
            return faces.attributes["grade"].to_numpy(str)
        if self.grading == "severity":
            return by_severity(faces)
        return RecognitionRule(self.recogniser).fit(faces, embeddings).grade(faces, embeddings)

    def inputs_of(self, faces):
        """The features of faces: dict of name -> array (N, dim)."""
        return extract(faces, self.feature_names(), recogniser=self.recogniser)

    def feature_names(self):
        """The chosen features as a list of names. DataError for none, an unknown one, or one that is named twice."""
        names = self.features.split("+") if isinstance(self.features, str) else list(self.features)
        names = [as_feature(name).name for name in names]
        if not names or len(set(names)) != len(names):
            raise DataError(f"features must name one or more different features, got {self.features!r}")
        return names

    def fit_inputs(self, inputs, grades, people):
        """`fit` for features that are already computed.

        Parameters
        ----------
        inputs : dict of name -> array (N, dim)
            At least the chosen features.
        grades : sequence of N str
            Grade of each face; see `grades.GRADES`.
        people : sequence of N
            Who is shown; some people are held out for early stopping.

        Returns
        -------
        self
        """
        self._check_parameters()
        names, target = self.feature_names(), torch.from_numpy(grade_index(grades))
        if missing := [grade for k, grade in enumerate(GRADES) if not (target == k).any()]:
            raise DataError(f"no face is graded {missing[0]!r}: all of {', '.join(GRADES)} are needed to learn from")
        generator = torch.Generator().manual_seed(self.random_state)
        held_out = held_out_rows(len(target), people, self.validation_share, generator)
        self.autoencoders_, codes = {}, []
        for name in names:
            coder = self._autoencoder(self.sizes, self.scaling)
            self.autoencoders_[name] = coder.fit(inputs[name], held_out=held_out)
            codes.append(self.autoencoders_[name].transform(inputs[name]))
        fusion = self._autoencoder(self.fusion, "standard").fit(np.concatenate(codes, 1), held_out=held_out)
        self.scales_ = {name: (coder.shift_, coder.scale_) for name, coder in self.autoencoders_.items()}
        encoders = [copy.deepcopy(coder.encoder_) for coder in self.autoencoders_.values()]
        self.network_ = _Network(encoders, fusion, _Dropout(self.dropout, generator))
        coders = {**self.autoencoders_, "fusion": fusion}
        histories = [coder.history_.assign(part=part) for part, coder in coders.items()]
        histories.append(self._tune(inputs, target, held_out, generator))
        self.history_ = pd.concat(histories, ignore_index=True)[["part", "stage", "epoch", "loss", "validation"]]
        self.classes_ = np.array(GRADES)
        return self

    def _tune(self, inputs, target, held_out, generator):
        """Train with the grades; returns that part of the history."""
        network, weight = self.network_, None
        if self.tune == "head":
            network.encoders.requires_grad_(False)
            network.fusion.requires_grad_(False)
        train, judged = torch.from_numpy(~held_out), torch.from_numpy(held_out)
        if self.balanced:
            counts = torch.bincount(target[train], minlength=len(GRADES))
            weight = (train.sum() / (len(GRADES) * counts.clamp(min=1))).float()
        rows = [*self._scaled(inputs), target]
        history = fit_rows(
            network,
            lambda *batch: nn.functional.cross_entropy(network(*batch[:-1]), batch[-1], weight=weight),
            [part[train] for part in rows],
            [part[judged] for part in rows],
            epochs=self.tune_epochs,
            patience=PATIENCE,
            learning_rate=self.learning_rate if self.tune == "all" else HEAD_RATE,
            batch_size=BATCH,
            weight_decay=WEIGHT_DECAY,
            generator=generator,
        )
        network.requires_grad_(False)
        table = pd.DataFrame(history, columns=["epoch", "loss", "validation"])
        return table.assign(part="classifier", stage="tuning")

    def _autoencoder(self, sizes, scaling):
        epochs = {"pretrain_epochs": self.pretrain_epochs, "epochs": self.pretrain_epochs}
        return StackedAutoencoder(sizes, scaling, **epochs, random_state=self.random_state)

    def _check_parameters(self):
        for name, known in (("tune", ("all", "head")), ("grading", ("severity", "recognition"))):
            if getattr(self, name) not in known:
                raise DataError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        check_whole_numbers(self, n_copies=0, tune_epochs=0, random_state=0)
        for name in ("dropout", "validation_share"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} must lie in 0..1, without 1, not {getattr(self, name)!r}")

    # --- answers

    def predict_proba(self, faces):
        """Probabilities of bad, average, good: (N, 3) float64, each row with sum 1."""
        images = crops_of(faces)
        check_is_fitted(self)
        if len(images) == 0:
            return np.zeros((0, len(GRADES)))
        return self.proba_of(self.inputs_of(images))

    def proba_of(self, inputs):
        """`predict_proba` for features that are already computed, as `inputs_of` gives them."""
        check_is_fitted(self)
        with torch.inference_mode():
            return self.network_(*self._scaled(inputs)).double().softmax(1).numpy()

    def predict(self, faces):
        """The likeliest grade of each face: (N,) str."""
        return self.classes_[self.predict_proba(faces).argmax(1)]

    def _score(self, images, faces):
        return expected_grade(self.predict_proba(images))

    def _scaled(self, inputs):
        scaled = [
            torch.from_numpy((np.asarray(inputs[name], np.float32) - shift) / scale)
            for name, (shift, scale) in self.scales_.items()
        ]
        return [x.clamp(0, 1) for x in scaled] if self.scaling == "unit" else scaled

    # --- what was learned

    def get_state(self):
        check_is_fitted(self)
        arrays = module_state(self.network_, "network.")
        for name, (shift, scale) in self.scales_.items():
            arrays |= {f"shift.{name}": shift, f"scale.{name}": scale}
        return arrays

    def set_state(self, arrays):
        names = self.feature_names()
        self.scales_ = {name: (arrays[f"shift.{name}"], arrays[f"scale.{name}"]) for name in names}
        encoders = [
            self._autoencoder(self.sizes, self.scaling).build(len(x)).encoder_ for x, _ in self.scales_.values()
        ]
        fusion = self._autoencoder(self.fusion, "standard").build(len(names) * layer_widths(self.sizes)[-1])
        # places for what the state holds: two arrays, since the network's buffers share their memory
        fusion.shift_, fusion.scale_ = np.zeros((2, fusion.n_features_in_), np.float32)
        self.network_ = restore_module(_Network(encoders, fusion, nn.Identity()), arrays, "network.")
        self.classes_ = np.array(GRADES)
        return self


def expected_grade(probabilities):
    """Expected grade in 0..1 from probabilities (N, 3) of bad, average, good."""
    return np.asarray(probabilities, np.float64) @ np.array(VALUES)


class _Network(nn.Module):
    """Encoders side by side, their codes on one scale, the joining encoder, and the softmax's linear layer."""

    def __init__(self, encoders, fusion, dropout):
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.dropout = dropout
        self.register_buffer("shift", torch.from_numpy(fusion.shift_))
        self.register_buffer("scale", torch.from_numpy(fusion.scale_))
        self.fusion = copy.deepcopy(fusion.encoder_)
        with torch.random.fork_rng(devices=[]):  # a new layer draws weights; these start at 0
            self.head = nn.Linear(layer_widths(fusion.sizes)[-1], len(GRADES))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, *inputs):
        codes = [encoder(self.dropout(x)) for encoder, x in zip(self.encoders, inputs, strict=True)]
        joined = (torch.cat(codes, 1) - self.shift) / self.scale
        return self.head(nn.functional.elu(self.fusion(self.dropout(joined))))


class _Dropout(nn.Module):
    """Dropout that draws from its own generator: torch's draws from the global one, which others use too."""

    def __init__(self, share, generator):
        super().__init__()
        self.share, self.generator = share, generator

    def forward(self, x):
        if not self.training or self.share == 0:
            return x
        kept = torch.rand(x.shape, generator=self.generator) >= self.share
        return x * kept / (1 - self.share)


def _as_faces(faces, identities):
    images = crops_of(faces)
    if not isinstance(faces, Faces):
        faces = Faces(images, [""] * len(images), [str(row) for row in range(len(images))])
    if identities is None:
        return faces
    identities = np.asarray(identities).astype(str)
    if len(identities) != len(faces):
        raise DataError(f"{len(faces)} faces, but {len(identities)} identities")
    return Faces(images, identities, faces.names, faces.attributes)


def _people(faces):
    """Who each face shows; a photograph of somebody unknown is a person of its own, with its copies."""
    return np.array([who or f"\x1f{name}" for who, name in zip(faces.identities, photographs(faces), strict=True)])


def _evenly(identities, count):
    """Positions of `count` faces: one of each person in turn, until there are enough; in rising order."""
    turn = pd.Series(identities).groupby(identities).cumcount().to_numpy()
    return np.sort(np.argsort(turn, kind="stable")[:count])
