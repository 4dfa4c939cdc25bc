"""FROQ: quality as the activity of a few layers that were chosen once (Babnik, Jain, Peer and Štruc, IJCB 2025)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata

from ..data.training_sets import with_copies
from ..errors import DataError
from ..faces import Faces, crops_of
from ..labels import agreement
from ..networks.fit import check_whole_numbers
from ..recognition import as_recogniser
from ..recognition.base import batches
from ..recognition.similarity import cosine
from .base import Scorer, register

CHUNK = 32
GREY = 128  # what a covered square becomes: about 0 in the network's input


@register("froq")
class FROQ(Scorer):
    """Mean length of what a few layers of the network give: a face it sees well excites them more.

    `fit` chooses the layers once. Calibration faces and degraded copies of them get a pseudo-label, the mean agreement
    of their embedding under a mirror image, noise and covered squares. The `n_layers` layers whose length of output
    (L2) ranks most like it are candidates. Starting from the best, the layer whose addition to the mean ranks most like
    the label is added, to the last; the set with the highest correlation is kept. Faces need no identities.

    **Faithful:** the pseudo-label's three parts, Spearman's correlation, all layers of the module tree looked at, ten
    candidates, the greedy choice, plain mean of raw lengths, a single pass for a score. **Changed:** copies come from
    the course's degradations, not from BSRGAN; the noise is one draw of the course's, the grid is 4 x 4 and not
    8 x 8 squares (a quarter of the passes); lengths of convolutions are taken before their activation, where it is
    no layer of its own (dlib).
    **Blind** (ORL training people, dlib, `quick`): sunglasses and severe noise raise it, and so does half-severe
    over-exposure: they excite the early layers.

    Parameters
    ----------
    n_layers : int, default=10
        Number of candidates.
    n_copies : int, default=2
        Degraded copies of each calibration face, where the faces handed in have none.
    grid : int, default=4
        Squares to a side of the grid that covers the face for the pseudo-label, one square at a time.
    most : int, default=300
        The most faces, copies included, to calibrate with.
    recogniser : str or Recogniser, default="dlib"
        One that is a torch network.
    random_state : int, default=0
        Seed of copies and noise.

    Attributes
    ----------
    layers_ : list of str
        The chosen layers, in the order in which they were added; names as in `module.named_modules()`.
    correlations_ : array (n_layers,) float64
        Of the set of the first 1, 2 ... candidates with the pseudo-label.
    """

    learns = True
    claims = (
        *("pose", "mask", "occlusion", "uneven_light", "low_contrast", "low_light", "rotation", "misalignment"),
        *("gaussian_blur", "defocus_blur", "motion_blur", "low_resolution", "jpeg"),
    )
    cost = "1 embedding"
    quick = {"n_copies": 1, "grid": 2, "most": 120}

    def __init__(self, n_layers=10, n_copies=2, grid=4, most=300, recogniser="dlib", random_state=0):
        self.n_layers = n_layers
        self.n_copies = n_copies
        self.grid = grid
        self.most = most
        self.recogniser = recogniser
        self.random_state = random_state

    def fit(self, faces, identities=None):
        """Choose the layers.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Calibration faces, ideally of every quality.
        identities : sequence of N, default=None
            Not used.

        Returns
        -------
        self
        """
        check_whole_numbers(self, n_layers=1, n_copies=0, grid=1, most=3)
        recogniser = as_recogniser(self.recogniser)
        _ = recogniser.head  # raises DataError with the reason where there is no network
        if not isinstance(faces, Faces):
            images = crops_of(faces)
            faces = Faces(images, [""] * len(images), [f"face {i}" for i in range(len(images))])
        faces = with_copies(faces, self.n_copies, random_state=self.random_state, most=self.most)
        if len(faces) < 3:
            raise DataError(f"{len(faces)} calibration faces; at least 3 are needed to rank layers")
        label = pseudo_labels(faces.images, recogniser, self.grid, self.random_state)
        lengths = layer_lengths(recogniser, faces.images)
        self.layers_, self.correlations_ = choose_layers(lengths, label, self.n_layers)
        return self

    def _score(self, images, faces):
        lengths = layer_lengths(as_recogniser(self.recogniser), images, self.layers_)
        return np.mean([lengths[name] for name in self.layers_], axis=0)

    def get_state(self):
        return {"layers": np.array(self.layers_), "correlations": self.correlations_}

    def set_state(self, arrays):
        self.layers_, self.correlations_ = [str(name) for name in arrays["layers"]], arrays["correlations"]
        return self


def pseudo_labels(images, recogniser, grid=4, random_state=0):
    """Mean of three agreements of a face with itself: mirrored, with noise, and with one square covered.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        Canonical crops.
    recogniser : Recogniser
        Makes the embeddings.
    grid : int, default=4
        The window that the recogniser sees is divided into grid x grid squares; each is covered once.
    random_state : int, default=0
        Seed of the noise.

    Returns
    -------
    array (N,) float64
        Mean cosines; higher is better.
    """
    clean = recogniser.embed(images)
    others = agreement(images, recogniser, clean=clean, random_state=random_state)  # mirror image and noise
    top, left, bottom, right = recogniser.window
    rows, columns = np.linspace(top, bottom, grid + 1).astype(int), np.linspace(left, right, grid + 1).astype(int)
    total = np.zeros(len(images))
    for row in range(grid):
        for column in range(grid):
            covered = images.copy()
            covered[:, rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = GREY
            total += cosine(clean, recogniser.embed(covered))
    return (2 * others + total / grid**2) / 3


def layer_lengths(recogniser, images, names=None):
    """Length (L2) of what each layer of a network gives for each face, from one pass.

    Parameters
    ----------
    recogniser : TorchRecogniser
        The network.
    images : array (N, 192, 192, 3) uint8
        Canonical crops.
    names : sequence of str, default=None
        Layers as `module.named_modules()` calls them. None: all that give a tensor.

    Returns
    -------
    dict of str -> array (N,) float64
        In the order of the module tree.

    Raises
    ------
    DataError
        The network has no such layer.
    """
    tree = dict(recogniser.module.named_modules())
    names = [name for name in tree if name] if names is None else list(names)
    if unknown := [name for name in names if name not in tree]:
        raise DataError(f"{recogniser.name} has no layer {unknown[0]!r}: the layers were chosen for another network")
    lengths = {name: np.full(len(images), np.nan) for name in names}

    def measure(name):
        def hook(layer, arguments, output):
            # at once: dlib's network applies its activations in place
            lengths[name][batch] = output.flatten(1).norm(dim=1).cpu().numpy()

        return hook

    hooks = [tree[name].register_forward_hook(measure(name)) for name in names]
    try:
        with torch.inference_mode():
            for batch in batches(len(images), CHUNK):  # the hooks read it
                recogniser.module(recogniser.preprocess(images[batch]))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: values for name, values in lengths.items() if not np.isnan(values).any()}


def choose_layers(lengths, label, n_layers=10):
    """The greedy choice: layers whose mean length ranks faces as the label does.

    Parameters
    ----------
    lengths : dict of str -> array (N,)
        As `layer_lengths` gives them.
    label : array (N,)
        Pseudo-labels.
    n_layers : int, default=10
        Number of candidates: those that rank most like the label by themselves.

    Returns
    -------
    (list of str, array (n,) float64)
        The chosen layers, and Spearman's correlation of the growing set, to its end.
    """

    def agrees(chosen):
        return spearman(np.mean([lengths[name] for name in chosen], axis=0), label)

    left = sorted(lengths, key=lambda name: -agrees([name]))[:n_layers]
    chosen, correlations = [], []
    while left:
        chosen.append(max(left, key=lambda name: agrees([*chosen, name])))
        left.remove(chosen[-1])
        correlations.append(agrees(chosen))
    return chosen[: int(np.argmax(correlations)) + 1], np.array(correlations)


def spearman(a, b):
    """Correlation of ranks of two arrays (N,); 0 where one of them is constant."""
    a, b = rankdata(a), rankdata(b)
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0
