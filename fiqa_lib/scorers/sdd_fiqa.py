"""SDD-FIQA: a regressor trained on labels from similarity distributions (Ou et al., CVPR 2021)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..data.training_sets import identified, is_clean, photographs, with_copies
from ..errors import DataError
from ..faces import crops_of
from ..labels.sdd import reference_labels, sdd_labels
from ..networks.fit import gradient_step, shuffled, training_loop
from ..recognition import as_recogniser
from ..transforms.kinds import KINDS
from ..transforms.perturbations import mirror
from ..weights import module_state, restore_module
from .base import Scorer, register
from .pixels import luminance

CHUNK = 64  # faces that are degraded and embedded together
BATCH = 128  # faces in one step of training
SIDE = 64  # of the picture that the small network sees
RECIPES = {"layers": (30, 0.1), "pooled": (30, 0.1), "pixels": (30, 0.003)}
"""Inputs of the regressor, with epochs and learning rate: chosen on ORL training people, split by identity."""


# --- what the regressor sees


def layer_statistics(recogniser, images, batch_size=None):
    """Mean and standard deviation over the picture of what each stage of a network gives, and the embeddings.

    A stage is a row of blocks whose outputs have one shape. The last layer discards much of what separates a good face
    from a bad one, since it is trained for identity alone; earlier stages still hold it.

    Parameters
    ----------
    recogniser : TorchRecogniser
        Its module must have `blocks` (dlib, ArcFace, MagFace, AdaFace, TransFace) or a `trunk` (MobileFaceNet).
    images : array (N, 192, 192, 3) uint8
        Canonical crops.
    batch_size : int, default=None
        Faces in one pass. None: the recogniser's own.

    Returns
    -------
    (array (N, F) float32, array (N, dim) float32)
        Statistics and embeddings. With dlib F is 1472, with MobileFaceNet 1664.

    Raises
    ------
    DataError
        The recogniser has no blocks.
    """
    blocks = _blocks(getattr(recogniser, "module", None))
    if not blocks:
        raise DataError(f'{recogniser.name} has no blocks to look at; use features="pixels"')
    outputs = {}  # number of the block -> (shape of its output, statistics)

    def summarise(number):
        def hook(block, arguments, output):
            flat = output.flatten(2) if output.ndim == 4 else output.transpose(1, 2)  # (B, channels, positions)
            outputs[number] = output.shape[1:], torch.cat([flat.mean(2), flat.std(2, correction=0)], dim=1)

        return hook

    hooks = [block.register_forward_hook(summarise(number)) for number, block in enumerate(blocks)]
    statistics, embeddings, step = [], [], batch_size or recogniser.batch_size
    try:
        with torch.inference_mode():
            for start in range(0, len(images), step):
                embeddings.append(recogniser.module(recogniser.preprocess(images[start : start + step])).cpu().numpy())
                shapes = [shape for shape, _ in outputs.values()] + [None]
                stages = [summary for n, (_, summary) in outputs.items() if shapes[n] != shapes[n + 1]]
                statistics.append(torch.cat(stages, dim=1).cpu().numpy())
    finally:
        for hook in hooks:
            hook.remove()
    return np.concatenate(statistics), np.concatenate(embeddings)


def _blocks(module):
    """The modules whose outputs are summarised: blocks; of a plain trunk those of several layers, and its end."""
    if hasattr(module, "blocks"):
        return list(module.blocks)
    trunk = list(getattr(module, "trunk", ()))
    return [layer for layer in trunk if next(layer.children(), None) is not None] + trunk[-1:]


def small_grey(images):
    """Luminance of the face window, reduced by area: (N, 192, 192, 3) uint8 -> (N, 1, 64, 64) float32 in 0..1."""
    pictures = [cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for grey in luminance(images)]
    return np.stack(pictures)[:, None] / np.float32(255)


def training_material(faces, look, n_copies, random_state, extra=None):
    """What regressors learn from: training faces and their degraded copies, described.

    A few photographs at a time, since copies of thousands of faces would fill the memory.

    Parameters
    ----------
    faces : Faces
        Training faces. If some are degraded already, no copies are made.
    look : callable
        (images (N, 192, 192, 3), embed=True) -> (inputs (N, ...), embeddings (N, D), which may be None unless `embed`).
    n_copies : int
        Degraded copies of each face.
    random_state : int
        Seed of the copies.
    extra : dict of str -> callable, default=None
        Further columns: (faces, embeddings) -> array (N,).

    Returns
    -------
    dict of str -> array, in one order
        `features` (N, ...), `mirrored` (N, ...) of the mirror images, `embeddings` (N, D), `identities`, `sources`,
        `clean` (N,), and the columns of `extra`.
    """
    parts, rows = [], CHUNK if is_clean(faces).all() else max(1, len(faces))
    for start in range(0, len(faces), rows):
        part = with_copies(faces[start : start + rows], n_copies, random_state=random_state)
        features, embeddings = look(part.images)
        mirrored, _ = look(mirror(part.images), embed=False)
        columns = {"features": features, "mirrored": mirrored, "embeddings": embeddings}
        columns |= {"identities": part.identities, "sources": photographs(part), "clean": is_clean(part)}
        parts.append(columns | {name: column(part, embeddings) for name, column in (extra or {}).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# --- the regressor


class Regressor(nn.Module):
    """Inputs, standardised -> one number, on the scale of the labels: (B, ...) -> (B,).

    Parameters
    ----------
    body : torch.nn.Module
        (B, ...) -> (B, width); dropout and one linear unit follow.
    width : int
        Features that the linear unit sees.
    dropout : float
        Share of them left out at random in training, 0..1 without 1.
    shape : tuple
        Shape of the mean and the spread that inputs are standardised by; (1,) for one of each.
    """

    def __init__(self, body, width, dropout, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))
        self.register_buffer("base", torch.tensor(0.0))  # of the labels: their mean, and a hundredth of their range
        self.register_buffer("unit", torch.tensor(1.0))
        self.body, self.last = body, nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, x):
        return self.base + self.unit * self.last(self.body((x - self.mean) / self.spread))[:, 0]

    def initialise(self, x, y):
        """Draw new weights from torch's generator, and learn the scales of inputs (N, ...) and labels (N,)."""
        for layer in self.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        axes = tuple(range(x.ndim)) if self.mean.numel() == 1 else 0
        self.mean.copy_(x.mean(axes))
        self.spread.copy_(x.std(axes).clamp_(min=1e-6))
        self.base.copy_(y.mean())  # it starts at the mean label, not 50 away from it
        self.unit.copy_((y.max() - y.min()) / 100 or 1.0)  # labels of any scale are learned alike


def linear_regressor(n_inputs, dropout=0.5):
    """Dropout and one linear unit on vectors of `n_inputs` features."""
    with torch.random.fork_rng(devices=[]):  # a new layer draws weights, `train` draws them anew
        return Regressor(nn.Identity(), n_inputs, dropout, (n_inputs,))


def pixel_regressor(dropout=0.5):
    """A small convolutional network on (B, 1, 64, 64) pictures: four 3x3 layers that halve, mean over the picture."""
    layers, n_in = [], 1
    with torch.random.fork_rng(devices=[]):
        for n_out in (16, 32, 64, 128):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
            n_in = n_out
        return Regressor(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), n_in, dropout, (1,))


def train(regressor, inputs, mirrored, labels, *, epochs, learning_rate, random_state=0, watch=None):
    """Fit a regressor: SmoothL1 loss, Adam, mirror images in place of half of the faces, a rate that falls to 0.

    Parameters
    ----------
    regressor : Regressor
        Its weights are drawn anew from `random_state`.
    inputs, mirrored : arrays (N, ...) float32
        Of each face and of its mirror image.
    labels : array (N,)
        What to learn, on any scale.
    epochs : int
        Passes over the faces.
    learning_rate : float
        Of Adam, at the start; it falls along a cosine.
    random_state : int, default=0
        Seed of weights, dropout, order and mirroring.
    watch : callable, default=None
        Called with (epoch from 0, mean loss) after each epoch, for learning curves.

    Returns
    -------
    Regressor
        The same object, in evaluation mode.
    """
    x, flipped = torch.from_numpy(inputs), torch.from_numpy(mirrored)
    y = torch.from_numpy(np.asarray(labels, np.float32))
    generator = torch.Generator().manual_seed(random_state)

    def loss(rows):
        turned = torch.rand(len(rows), generator=generator) < 0.5
        batch = torch.where(turned.view(-1, *[1] * (x.ndim - 1)), flipped[rows], x[rows])
        return functional.smooth_l1_loss(regressor(batch) / regressor.unit, y[rows] / regressor.unit)

    with torch.random.fork_rng(devices=[]):  # dropout and initial weights draw from the global generator
        torch.manual_seed(random_state)
        regressor.initialise(x, y)
        optimiser = torch.optim.Adam(regressor.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(x) // BATCH))
        training_loop(
            gradient_step(optimiser, loss, schedule=schedule),
            shuffled(len(x), BATCH, generator),
            epochs=epochs,
            module=regressor,
            after_epoch=None if watch is None else lambda epoch, mean_loss: watch(epoch - 1, mean_loss),
        )
    return regressor


def predict(regressor, inputs):
    """Labels that a trained regressor gives: inputs (N, ...) float32 -> (N,) float64."""
    with torch.inference_mode():
        parts = [regressor(part) for part in torch.from_numpy(inputs).split(BATCH)]
    return torch.cat(parts).numpy().astype(np.float64)


# --- the scorer


@register("sdd-fiqa")
class SddFiqa(Scorer):
    """A regressor trained on SDD-FIQA labels of training people and their degraded copies: 0 (bad) to 100 (good).

    **Faithful** to Ou et al. (CVPR 2021, arXiv 2103.05977, section 3.3): labels from similarity distributions, dropout
    of 0.5 in front of one linear unit, SmoothL1 loss, Adam, mirror images. **Changed**: they train a whole network
    (ResNet-50, from a recogniser's weights) on millions of photographs, which include bad ones. Here 200 photographs
    have to do: bad ones are degraded copies, the trunk stays as it is, and the unit sees statistics of all its stages
    in place of the last features alone. Labels compare with clean photographs (`reference_labels`).
    **Blind** (trained on half of the ORL training people, dlib; clean faces get 67): to a colour cast, which at full
    severity costs 6 points; pose, sunglasses and a mask at full severity leave 27 to 34, where noise and haze leave
    about 9. A Wasserstein distance has no sign: a face nearer to strangers than to its own person gets a high label.

    Parameters
    ----------
    features : {"layers", "pooled", "pixels"}, default="layers"
        What the regressor sees: `layer_statistics` of the recogniser, its `features` in front of the last layer, or
        grey pixels, with a small network of its own that shares nothing with the recogniser but the labels.
    n_copies : int, default=4
        Degraded copies of each training face, if none of the faces is degraded already.
    against : {"clean", "all"}, default="clean"
        What a label compares with: clean faces, or, as published, samples of all faces of the training set.
    scale : {"minmax", "robust", "none"}, default="minmax"
        Scale of the labels; see `labels.sdd.scale_distances`.
    dropout : float, default=0.5
        Share of the features left out at random in training, 0..1 without 1.
    epochs : int, default=None
        Passes over the faces. None: as in `RECIPES`.
    learning_rate : float, default=None
        Of Adam. None: as in `RECIPES`.
    recogniser : str or Recogniser, default="dlib"
        Makes labels and, but for pixels, features.
    random_state : int, default=0
        Seed of copies, labels and training.

    Attributes
    ----------
    regressor_ : Regressor
    """

    learns = True
    claims = tuple(KINDS)
    cost = "one embedding and a small product"
    quick = {"n_copies": 2, "epochs": 20}

    def __init__(
        self,
        features="layers",
        n_copies=4,
        against="clean",
        scale="minmax",
        dropout=0.5,
        epochs=None,
        learning_rate=None,
        recogniser="dlib",
        random_state=0,
    ):
        self.features = features
        self.n_copies = n_copies
        self.against = against
        self.scale = scale
        self.dropout = dropout
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None, labels=None):
        """Make copies, labels and features, and train.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Training faces.
        identities : sequence of N, default=None
            Who is shown. None: taken from `Faces`.
        labels : array (N,), default=None
            Other labels, higher for better, on any scale; faces where they are NaN are left out. The faces are then
            taken as they are, without copies, and identities are not needed.

        Returns
        -------
        self

        Raises
        ------
        DataError
            Unknown settings; unknown people where labels have to be made; labels that don't fit.
        """
        self._check()
        if labels is None:
            faces = identified(faces, identities)
            material = training_material(faces, self._look, self.n_copies, self.random_state)
            inputs, mirrored = material["features"], material["mirrored"]
            labels = self.make_labels(*(material[name] for name in ("embeddings", "identities", "sources", "clean")))
        else:
            labels, images = np.asarray(labels, np.float64), crops_of(faces)
            if labels.shape != (len(images),) or np.isinf(labels).any() or np.isnan(labels).all():
                raise DataError(f"{len(images)} finite labels (or NaN) are needed, got shape {labels.shape}")
            inputs, mirrored = self._inputs(images), self._inputs(mirror(images))
        known = ~np.isnan(labels)
        epochs, rate = RECIPES[self.features]
        self.regressor_ = train(
            self._regressor(inputs.shape[1]),
            inputs[known],
            mirrored[known],
            labels[known],
            epochs=self.epochs or epochs,
            learning_rate=self.learning_rate or rate,
            random_state=self.random_state,
        )
        return self

    def make_labels(self, embeddings, identities, sources, clean):
        """Labels by `against` and `scale`; parameters as in `reference_labels`.

        Returns
        -------
        array (N,) float64
            NaN for faces that can't be compared.
        """
        if self.against == "clean":
            return reference_labels(embeddings, identities, sources, clean, self.scale)
        options = {"sources": sources, "random_state": self.random_state, "scale": self.scale}
        return sdd_labels(embeddings, identities, **options).labels

    def _check(self):
        for name, known in (("features", RECIPES), ("against", ("clean", "all"))):
            if getattr(self, name) not in known:
                raise DataError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise DataError(f"dropout must be at least 0 and below 1, not {self.dropout!r}")

    def _look(self, images, embed=True):
        """What the regressor sees of canonical crops, float32, and their embeddings (None unless `embed`)."""
        if self.features == "layers":
            return layer_statistics(as_recogniser(self.recogniser), images)
        pixels = self.features == "pixels"
        inputs = small_grey(images) if pixels else as_recogniser(self.recogniser).features(images)
        return inputs, as_recogniser(self.recogniser).embed(images) if embed else None

    def _inputs(self, images):
        return self._look(images, embed=False)[0]

    def _regressor(self, n_inputs):
        return pixel_regressor(self.dropout) if self.features == "pixels" else linear_regressor(n_inputs, self.dropout)

    def _score(self, images, faces):
        chunks = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
        return np.concatenate([predict(self.regressor_, self._inputs(chunk)) for chunk in chunks])

    def get_state(self):
        return module_state(self.regressor_)

    def set_state(self, arrays):
        self._check()
        self.regressor_ = restore_module(self._regressor(arrays["mean"].shape[0]), arrays)
