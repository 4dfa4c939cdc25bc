"""SDD-FIQA: a network that learned what labels from similarity distributions say (Ou et al., CVPR 2021)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

from .. import degradations, pseudo_labels, training
from ..degradations import KINDS
from ..errors import DataError
from ..perturbations import mirror
from ..pseudo_labels import scale_distances, sdd_labels, unit_length, wasserstein_sorted
from ..recognition import as_recogniser
from ..recognition.base import crops_of
from ..state import module_state, restore_module
from ..training import identified, is_clean, photographs, with_copies
from .base import Scorer, register
from .pixels import luminance

CHUNK = 64  # faces that are degraded and looked at together
BATCH = 128  # faces in one step of training
SIDE = 64  # of the picture that the small network sees
RECIPES = {"layers": (30, 0.1), "pooled": (30, 0.1), "pixels": (30, 0.003)}
"""Inputs of the regressor, with epochs and learning rate: chosen on ORL training people, split by identity."""


# --- labels


def reference_labels(embeddings, identities, sources, clean, scale="minmax"):
    """SDD-FIQA labels of faces against clean photographs: every mate and every stranger, nothing drawn.

    In a training set that is mostly degraded copies, `sdd_labels` compares a face mostly with degraded copies, good or
    bad, of its own person. What a gate compares with is a clean reference.

    Parameters
    ----------
    embeddings : array (N, D)
    identities, sources : sequences of N
        Who is shown, and the photograph that the face was made from, with which it is not compared.
    clean : array (N,) bool
        The references.
    scale : {"minmax", "robust", "none"}
        See `pseudo_labels.scale_distances`.

    Returns
    -------
    array (N,) float64
        NaN where the person has no other clean photograph.
    """
    _, who = np.unique(identities, return_inverse=True)
    _, photograph = np.unique(sources, return_inverse=True)
    unit, references = unit_length(embeddings), np.flatnonzero(clean)
    distances = np.full(len(unit), np.nan)
    for row, cosines in enumerate(_rows(unit, unit[references])):
        own = who[references] == who[row]
        mates = cosines[own & (photograph[references] != photograph[row])]
        if len(mates) and not own.all():
            distances[row] = wasserstein_sorted(np.sort(mates), np.sort(cosines[~own]))
    if np.isnan(distances).all():
        raise DataError("no person has another clean photograph and a clean stranger to compare with: nothing to learn")
    return scale_distances(distances[:, None], scale)


def _rows(a, b):
    for start in range(0, len(a), CHUNK):
        yield from a[start : start + CHUNK] @ b.T


# --- what the regressor sees


def layer_statistics(recogniser, images, batch_size=None):
    """Mean and standard deviation over the picture of what each stage of a network gives, and the embeddings.

    A stage is a row of blocks whose outputs have one shape. The last layer has thrown away much that tells a good face
    from a bad one, since identity is all it is asked for; the stages before still hold it.

    Parameters
    ----------
    recogniser : TorchRecogniser
        Whose module has `blocks`: dlib, ArcFace, MagFace, AdaFace, TransFace.
    images : array (N, 192, 192, 3) uint8

    Returns
    -------
    (array (N, F) float32, array (N, dim) float32)
        With dlib F is 1472.
    """
    blocks = getattr(getattr(recogniser, "module", None), "blocks", None)
    if blocks is None:
        raise DataError(f'{recogniser.name} has no blocks to look at; use features="pixels"')
    seen, shapes, hooks = {}, {}, []
    for number, block in enumerate(blocks):
        hooks.append(block.register_forward_hook(_summary(number, seen, shapes)))
    statistics, embeddings, step = [], [], batch_size or recogniser.batch_size
    try:
        with torch.inference_mode():
            for start in range(0, len(images), step):
                embeddings.append(recogniser.module(recogniser.preprocess(images[start : start + step])).cpu().numpy())
                last = [n for n in seen if shapes[n] != shapes.get(n + 1)]
                statistics.append(torch.cat([seen[n] for n in last], dim=1).cpu().numpy())
    finally:
        for hook in hooks:
            hook.remove()
    return np.concatenate(statistics), np.concatenate(embeddings)


def _summary(number, seen, shapes):
    def keep(block, arguments, output):
        flat = output.flatten(2) if output.ndim == 4 else output.transpose(1, 2)  # (B, channels, positions)
        shapes[number] = output.shape[1:]
        seen[number] = torch.cat([flat.mean(2), flat.std(2, correction=0)], dim=1)

    return keep


def small_grey(images):
    """(N, 1, 64, 64) float32: luminance of the face window, 0 to 1, reduced by area."""
    pictures = [cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for grey in luminance(images)]
    return np.stack(pictures)[:, None] / np.float32(255)


# --- the regressor


class Regressor(nn.Module):
    """Inputs, standardised -> one number, on the scale of the labels.

    Parameters
    ----------
    body : torch.nn.Module
        (B, ...) -> (B, width); dropout and one linear unit follow.
    width : int
    dropout : float
    shape : tuple
        Of the mean and the spread that inputs are standardised by; (1,) for one of each.
    """

    def __init__(self, body, width, dropout, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))
        self.register_buffer("base", torch.tensor(0.0))  # of the labels: their mean, and a hundredth of their range
        self.register_buffer("unit", torch.tensor(1.0))
        self.body, self.last = body, nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, x):
        """(B, ...) -> (B,)"""
        return self.base + self.unit * self.last(self.body((x - self.mean) / self.spread))[:, 0]


def linear_regressor(n_inputs, dropout=0.5):
    """Dropout and one linear unit on a vector of features."""
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
    epochs : int
    learning_rate : float
    random_state : int
    watch : callable, optional
        Called with (epoch, mean loss) after each epoch, for learning curves.

    Returns
    -------
    Regressor
        The same object, in evaluation mode.
    """
    x, flipped = torch.from_numpy(inputs), torch.from_numpy(mirrored)
    y = torch.from_numpy(np.asarray(labels, np.float32))
    generator = torch.Generator().manual_seed(random_state)
    steps = epochs * -(-len(x) // BATCH)
    with torch.random.fork_rng(devices=[]):  # dropout and initial weights draw from the global generator
        torch.manual_seed(random_state)
        _prepare(regressor, x, y)
        optimiser = torch.optim.Adam(regressor.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        regressor.train()
        for epoch in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(x), generator=generator).split(BATCH):
                turned = torch.rand(len(rows), generator=generator) < 0.5
                batch = torch.where(turned.view(-1, *[1] * (x.ndim - 1)), flipped[rows], x[rows])
                loss = nn.functional.smooth_l1_loss(regressor(batch) / regressor.unit, y[rows] / regressor.unit)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(rows)
            if watch is not None:
                watch(epoch, total / len(x))
    return regressor.eval()


def _prepare(regressor, x, y):
    for layer in regressor.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    with torch.no_grad():
        axes = tuple(range(x.ndim)) if regressor.mean.numel() == 1 else 0
        regressor.mean.copy_(x.mean(axes))
        regressor.spread.copy_(x.std(axes).clamp_(min=1e-6))
        regressor.base.copy_(y.mean())  # it starts at the mean label, not 50 away from it
        regressor.unit.copy_((y.max() - y.min()) / 100 or 1.0)  # labels of any scale are learned alike


def predict(regressor, inputs):
    """(N,) float64 labels that a trained regressor gives."""
    with torch.inference_mode():
        parts = [regressor(part) for part in torch.from_numpy(inputs).split(BATCH)]
    return torch.cat(parts).numpy().astype(np.float64)


@register("sdd-fiqa")
class SddFiqa(Scorer):
    """A regressor that learned SDD-FIQA labels from training people and their degraded copies: 0 (bad) to 100 (good).

    **Faithful** to Ou et al. (CVPR 2021, arXiv 2103.05977, section 3.3): labels from similarity distributions, dropout
    of 0.5 in front of one linear unit, SmoothL1 loss, Adam, mirror images. **Changed**: they train a whole network
    (ResNet-50, from a recogniser's weights) on millions of photographs, in which bad ones come by themselves. Here 200
    photographs have to do: bad ones are made, the trunk stays as it is, and the unit sees statistics of all its stages
    in place of the last features alone. Labels compare with clean photographs (`reference_labels`).
    **Blind** (ORL training people, half of whom taught, dlib; clean faces get 67): to a colour cast, which at full
    severity costs 6 points; pose, sunglasses and a mask at full severity leave 27 to 34, where noise and haze leave
    about 9. And a Wasserstein distance has no sign: a face nearer to strangers than to its own person teaches too much.

    Parameters
    ----------
    features : {"layers", "pooled", "pixels"}
        What the regressor sees: `layer_statistics` of the recogniser, its `features` in front of the last layer, or
        grey pixels, with a small network of its own that owes nothing to the recogniser but the labels.
    n_copies : int
        Degraded copies of each training face, where the faces handed in have none.
    against : {"clean", "all"}
        What a label compares with: clean faces, or, as published, samples of all faces of the training set.
    scale : {"minmax", "robust", "none"}
        Of the labels; see `pseudo_labels.scale_distances`.
    dropout : float in [0, 1)
    epochs : int, optional
    learning_rate : float, optional
        Default for both: `RECIPES`.
    recogniser : str or Recogniser
        Makes labels and, but for pixels, features.
    random_state : int

    Attributes
    ----------
    regressor_ : Regressor
    """

    learns = True
    claims = tuple(KINDS)
    cost = "one embedding and a small product"
    built_on = (training, degradations, pseudo_labels)
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
        identities : sequence of N, optional
        labels : array (N,), optional
            Other labels, higher for better, on any scale; faces where they are NaN are left out. The faces are then
            taken as they are, without copies, and nobody needs to be known.

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
            inputs, mirrored, embeddings, about = self._look(identified(faces, identities))
            labels = self.make_labels(embeddings, *about)
        else:
            labels = np.asarray(labels, np.float64)
            images = crops_of(faces)
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
        """Labels by `against` and `scale`: (N,) float64, NaN for those that can't be compared."""
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

    def _look(self, faces):
        """Inputs of all training faces and of their mirror images, embeddings, and who, whence and how clean they are.

        A few photographs at a time: copies of thousands of faces would fill the memory.
        """
        found, rows = [], len(faces) if not is_clean(faces).all() else CHUNK
        for start in range(0, len(faces), rows):
            part = with_copies(faces[start : start + rows], self.n_copies, random_state=self.random_state)
            inputs, embeddings = self._inputs(part.images, embed=True)
            about = part.identities, photographs(part), is_clean(part)
            found.append((inputs, self._inputs(mirror(part.images)), embeddings, *about))
        inputs, mirrored, embeddings, *about = (np.concatenate(column) for column in zip(*found, strict=True))
        return inputs, mirrored, embeddings, about

    def _inputs(self, images, embed=False):
        """What the regressor sees of these faces, float32; and their embeddings, if asked for."""
        recogniser = as_recogniser(self.recogniser) if embed or self.features != "pixels" else None
        if self.features == "layers":
            inputs, embeddings = layer_statistics(recogniser, images)
        else:
            inputs = small_grey(images) if self.features == "pixels" else recogniser.features(images)
            embeddings = recogniser.embed(images) if embed else None
        return (inputs, embeddings) if embed else inputs

    def _regressor(self, n_inputs):
        if self.features == "pixels":
            return pixel_regressor(self.dropout)
        return linear_regressor(n_inputs, self.dropout)

    def _score(self, images, faces):
        return np.concatenate(
            [predict(self.regressor_, self._inputs(images[i : i + CHUNK])) for i in range(0, len(images), CHUNK)]
        )

    def get_state(self):
        return module_state(self.regressor_)

    def set_state(self, arrays):
        self._check()
        self.regressor_ = restore_module(self._regressor(arrays["mean"].shape[0]), arrays)
