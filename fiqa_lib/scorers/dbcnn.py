"""DBCNN: how good a picture looks, from two networks whose maps are multiplied (Zhang et al. 2020)."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity
from sklearn.linear_model import Ridge
from torch import nn
from torch.nn import functional

from ..data.training_sets import is_clean
from ..errors import DataError, WeightsError
from ..faces import Faces
from ..networks import fit, scnn
from ..recognition import DlibResNet, IResNet, as_recogniser
from ..recognition.checkpoints import Source, fill, read_layers, renamed, require, shapes_of
from ..transforms.degradations import CLEAN, random_degradations
from ..weights import module_state, restore_module
from .base import Scorer, register
from .pixels import face_window

PERCEPTUAL = (
    *("uneven_light", "low_contrast", "gaussian_blur", "defocus_blur", "motion_blur", "over_exposure", "low_light"),
    *("shot_noise", "sensor_noise", "low_resolution", "jpeg"),
)
"""Kinds of degradation that change how good a picture looks, and neither what it shows nor where."""
TARGETS = ("ssim", "severity", "opinion")
STREAMS = ("recogniser", "vgg16")
DLIB_BLOCKS = 10
"""Blocks of dlib's network that make the second stream: up to its last maps of useful size, 128 channels, 10 x 10."""
VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
"""Channels of VGG16's convolutions, without its last pooling (Simonyan and Zisserman 2015)."""
VGG16_SOURCE = Source("torchvision", "vgg16-397923af.pth", "https://docs.pytorch.org/vision/stable/models/vgg.html")
DBCNN_SOURCE = Source("DBCNN", "a state dict (net_params_best.pkl)", "https://github.com/zwx8981/DBCNN-PyTorch")
PUBLISHED = {"second.layers": "features1", "first": "features2", "linear": "fc"}
"""Own beginning of a layer's name -> that in the authors' file: VGG16, S-CNN, and the linear unit."""
ROOTS = ("signed", "plain")
CHUNK = 4  # small: the maps of a few pictures fit the processor's cache
TUNING_BATCH = 8  # as published

# --- target


def ssim_to_clean(images, clean):
    """Structural similarity of each degraded face to its clean copy, over the face.

    Wang, Bovik, Sheikh, Simoncelli 2004, with their Gaussian window, on the luminance; the mean over the face window
    (brows to mouth, cheek to cheek) of the map. A full-reference measure: it needs the clean copy, which a face in use
    does not have. DBCNN learns to predict it without.

    Parameters
    ----------
    images, clean : arrays (N, 192, 192, 3) uint8
        Degraded faces, and the clean copy of each.

    Returns
    -------
    array (N,) float64
        At most 1, the value of equal pictures.
    """
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    values = []
    for pair in zip(images, clean, strict=True):
        grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pair)
        values.append(structural_similarity(*grey, **options)[1][face_window()].mean())
    return np.array(values)


def targets_of(faces, target="ssim"):
    """What DBCNN learns for each face, higher is better.

    Parameters
    ----------
    faces : Faces
        For "ssim" and "severity" as `degradations` makes them, with `kind`, `severity` and `source`; for "ssim" the
        clean copies must be among them. For "opinion" with the attribute `opinion`.
    target : {"ssim", "severity", "opinion"}, default="ssim"
        "ssim": `ssim_to_clean`. "severity": 1 - severity, which no picture shows, but we know. "opinion": ratings by
        people (`opinion_sets`).

    Returns
    -------
    array (N,) float64

    Raises
    ------
    DataError
        An unknown target, a missing attribute, or a face without its clean copy.
    """
    if target not in TARGETS:
        raise DataError(f"there is no target {target!r}; known: {', '.join(TARGETS)}")
    needed = {"ssim": ("kind", "source"), "severity": ("severity",), "opinion": ("opinion",)}[target]
    table = faces.attributes if isinstance(faces, Faces) else ()
    if lacking := [column for column in needed if column not in table]:
        raise DataError(
            f"the target {target!r} needs faces with {', '.join(lacking)}: degradations makes kind, severity and "
            "source, opinion_sets.crops makes opinion"
        )
    if target == "severity":
        return 1 - table["severity"].to_numpy(float)
    if target == "opinion":
        return table["opinion"].to_numpy(float)
    row_of = {name: row for row, name in enumerate(faces.names)}
    sources = table["source"].to_numpy(str)
    if lost := sorted({name for name in sources if name not in row_of}):
        raise DataError(f"the target 'ssim' needs the clean copy of each face; {lost[0]} and others are not among them")
    return ssim_to_clean(faces.images, faces.images[[row_of[name] for name in sources]])


# --- network


def recogniser_maps(recogniser):
    """A copy of the convolutional part of a recogniser: float RGB 0..255 (B, 3, H, W) -> maps, with `channels`."""
    if isinstance(recogniser, DlibResNet):
        module = recogniser.module
        layers = [module.stem, nn.ReLU(), nn.MaxPool2d(3, 2), *module.blocks[:DLIB_BLOCKS]]
        return _Stream(copy.deepcopy(nn.Sequential(*layers)), recogniser.normalise, 128)
    if isinstance(recogniser, IResNet):
        module = recogniser.module
        layers = copy.deepcopy(nn.Sequential(module.stem, *module.blocks, module.norm))
        return _Stream(layers, recogniser.normalise, module.norm.num_features)
    raise DataError(
        f"{recogniser.name} has no convolutional maps; DBCNN's second stream runs with dlib, ArcFace, MagFace or "
        'AdaFace, or with stream="vgg16"'
    )


def vgg16_maps(path=None):
    """VGG16's convolutions without the last pooling: float RGB 0..255 (B, 3, H, W) -> (B, 512, H / 16, W / 16).

    Parameters
    ----------
    path : path, default=None
        A state dict in torchvision's layout (`features.0.weight` ...; the classifier may be in it). None: the weights
        are arbitrary, to be filled by `set_state`.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or of another network.
    """
    layers, n_in = [], 3
    for n_out in VGG16:
        if n_out == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(n_in, n_out, 3, 1, 1), nn.ReLU(inplace=True)]
            n_in = n_out
    module = nn.Sequential(*layers)
    if path is not None:
        shapes = shapes_of(module, lambda key: f"features.{key}")
        weights = read_layers(require(path, "VGG16", VGG16_SOURCE), VGG16_SOURCE, "features.0.weight", shapes)
        weights = {name: value for name, value in weights.items() if name.startswith("features.")}
        module = fill(module, weights, lambda key: f"features.{key}", path, "VGG16", VGG16_SOURCE)
    return _Stream(module, scnn.normalise, 512)


class _Stream(nn.Module):
    """Layers with their own normalisation of the input."""

    def __init__(self, layers, normalise, channels):
        super().__init__()
        self.layers, self.normalise, self.channels = layers, normalise, channels

    def forward(self, x):
        return self.layers(self.normalise(x))


class BilinearNetwork(nn.Module):
    """Both streams, bilinear pooling and the linear unit: float RGB 0..255 (B, 3, H, W) -> (B,) quality.

    With maps A (B, C, P) of the second stream and S (B, 128, P) of S-CNN at the same P positions (S is resized to A's
    grid where they differ, as the authors' code does), the paper's equations 5 to 7: B = A S^T / P, then sign(B)
    sqrt(|B|), then length 1, then one linear unit. `root`: see `bilinear`.
    """

    def __init__(self, first, second, root="signed"):
        super().__init__()
        self.first, self.second, self.root = first, second, root
        self.linear = nn.Linear(second.channels * scnn.CHANNELS[-1][0], 1)

    def both_maps(self, x):
        """The maps of S-CNN (B, 128, h, w) and of the second stream (B, C, h, w), on one grid."""
        s, a = self.first(scnn.normalise(x)), self.second(x)
        if s.shape[2:] != a.shape[2:]:
            s = functional.interpolate(s, a.shape[2:], mode="bilinear", align_corners=True)
        return s, a

    def features(self, x):
        """(B, C * 128) of length 1, before the linear unit."""
        s, a = self.both_maps(x)
        return bilinear(a, s, self.root)

    def forward(self, x):
        return self.linear(self.features(x))[:, 0]

    def for_scoring(self):
        """The same network with S-CNN's batch norms folded into its convolutions; it shares the other weights."""
        quick = BilinearNetwork(scnn.fused(self.first), self.second, self.root)
        quick.linear = self.linear
        return quick.eval()


def bilinear(a, s, root="signed"):
    """Bilinear pooling of maps (B, C, h, w) and (B, D, h, w): (B, C * D), square root, length 1.

    The root of a product b is sign(b) sqrt(|b| + 1e-8), which is 0 where b is 0 ("signed", the paper's); or, for the
    authors' weights, sqrt(b + 1e-8), which is 1e-4 there ("plain", their code's: after ReLU no product is negative).
    """
    product = a.flatten(2) @ s.flatten(2).mT / (a.shape[2] * a.shape[3])
    product = product.flatten(1)
    if root == "plain":
        return functional.normalize((product.clamp(min=0) + 1e-8).sqrt())
    rooted = product.sign() * (product.abs() + 1e-8).sqrt()  # the slope of a plain root at 0 is infinite
    return functional.normalize(rooted)


# --- scorer


@register("dbcnn")
class DBCNN(Scorer):
    """Perceptual quality by deep bilinear pooling: S-CNN for distortions, a second network for content.

    Source: Zhang, Ma, Yan, Deng, Wang 2020 (arXiv 1907.02665). `fit` learns in three steps: S-CNN learns to classify 39
    distortions (`networks.scnn`); the linear unit is fitted with both streams frozen; all weights are tuned together.

    **Faithful**: both networks' form, the bilinear pooling, the order of training. **Changed**: without human opinions,
    the target is a measure against the clean copy; the recogniser's maps stand in for VGG16, whose weights are the
    user's (`stream="vgg16"`); S-CNN learns on faces, with mild levels fit for their size; the linear unit is the exact
    minimum of the squared error with ridge penalty instead of that of a descent; tuning is short.

    **Blind**: to whether a face can be recognised. On bundled faces the mean score falls from 1.0 to 0.05 under noise
    and to 0.6 under blur, but only to 0.85 with a face mask, 0.8 for a turned head and 0.75 behind sunglasses. A kind
    of degradation that was not in training is seen, and misjudged in size (notebook 13). Darkness counts as
    degradation; whether dark skin does was not measured, since these few people cannot show it.

    The authors' own weights are read by `from_published`. They learned on whole photographs of hundreds of pixels, so
    their scores of a crop of 192 are another question; the course can't ship them and has not measured them. To use
    them in CAFI: they learned on unmasked pictures (its `train_on="faces"`), and its gate and mask stay as they are;
    only its judge `dbcnn_` is replaced by what `from_published` gives, and its cut at 0 has to be set to the scale of
    the opinions that the file learned, which need not begin at 0.

    Parameters
    ----------
    target : {"ssim", "severity", "opinion"}, default="ssim"
        What is learned; see `targets_of`.
    n_copies : int, default=2
        Degraded copies that `fit` makes of each face, if none of the faces is degraded already.
    kinds : sequence of str, default=None
        Kinds of these copies. None: `PERCEPTUAL`.
    stream : {"recogniser", "vgg16"}, default="recogniser"
        The second stream.
    vgg_weights : path, default=None
        torchvision's state dict of VGG16, for `stream="vgg16"`; needed by `fit` only.
    n_patches : int, default=4000
        Patches for the pre-training of S-CNN; see `scnn.pretrain`.
    patch : int, default=64
        Their side in pixels.
    alpha : float, default=0.01
        Ridge penalty of the linear unit.
    n_tuning : int, default=80
        Pictures drawn for tuning all weights, in steps of 8; 0 leaves that out.
    rate : float, default=1e-5
        Learning rate of the tuning (Adam).
    max_faces : int, default=None
        Largest number of faces to use, evenly spread over those given. None: all.
    recogniser : str or Recogniser, default="dlib"
        One with convolutional maps: dlib, ArcFace, MagFace, AdaFace.
    random_state : int, default=0
        Seed of copies, pre-training and tuning.
    root : {"signed", "plain"}, default="signed"
        The square root of the pooling; see `bilinear`. The authors' weights need "plain".

    Attributes
    ----------
    network_ : BilinearNetwork
    """

    learns = True
    claims = ("uneven_light", "low_contrast", "gaussian_blur", "motion_blur", "low_light", "sensor_noise", "jpeg")
    cost = "two networks and one matrix product"
    quick = {"n_patches": 390, "patch": 32, "n_tuning": 8, "max_faces": 30}

    def __init__(
        self,
        target="ssim",
        n_copies=2,
        kinds=None,
        stream="recogniser",
        vgg_weights=None,
        n_patches=4000,
        patch=64,
        alpha=0.01,
        n_tuning=80,
        rate=1e-5,
        max_faces=None,
        recogniser="dlib",
        random_state=0,
        root="signed",
    ):
        self.target = target
        self.n_copies = n_copies
        self.kinds = kinds
        self.stream = stream
        self.vgg_weights = vgg_weights
        self.n_patches = n_patches
        self.patch = patch
        self.alpha = alpha
        self.n_tuning = n_tuning
        self.rate = rate
        self.max_faces = max_faces
        self.recogniser = recogniser
        self.random_state = random_state
        self.root = root

    @classmethod
    def from_published(cls, path, *, lower_is_better=False, **parameters):
        """The network of a file in the layout of the authors' code: VGG16 and S-CNN, ready to score.

        Parameters
        ----------
        path : path
            A state dict with `features1` (VGG16), `features2` (S-CNN) and `fc`, behind any prefix.
        lower_is_better : bool, default=False
            Whether the file learned opinions that fall with quality, such as the DMOS of LIVE; the score is then minus
            what it says. A file does not tell: look it up at its authors'.
        **parameters
            Other parameters of the class; they have no effect on scores.

        Returns
        -------
        DBCNN
            Fitted. `save` and `load` work as for one that learned here.

        Raises
        ------
        WeightsError
            The file is missing, damaged, or of another layout.
        """
        scorer = cls(**{"stream": "vgg16", "root": "plain", **parameters})
        path = require(path, "DBCNN", DBCNN_SOURCE)
        with torch.device("meta"):
            network = BilinearNetwork(scnn.SCNN().maps, vgg16_maps(), scorer.root)

        def published(key):
            return renamed(key, PUBLISHED)

        layers = read_layers(path, DBCNN_SOURCE, "features1.0.weight", shapes_of(network, published))
        begins = tuple(f"{name}." for name in PUBLISHED.values())
        layers = {key: value for key, value in layers.items() if key.startswith(begins)}
        fill(network, layers, published, path, "DBCNN", DBCNN_SOURCE)
        if lower_is_better:
            network.linear.load_state_dict({key: -value for key, value in network.linear.state_dict().items()})
        scorer.network_ = network.requires_grad_(False).to(memory_format=torch.channels_last)
        return scorer

    @classmethod
    def load(cls, path, **parameters):
        """As `Scorer.load`; a file that does not end in `.npz` is read by `from_published`."""
        if Path(path).suffix == ".npz":
            return super().load(path, **parameters)
        return cls.from_published(path, **parameters)

    def fit(self, faces, identities=None, change=None):
        """Pre-train S-CNN on the clean faces, make degraded copies, fit the linear unit, tune all.

        Parameters
        ----------
        faces : Faces
            Clean, or with degraded copies among them (attributes `kind`, `severity`, `source`); with the target
            "opinion" pictures as `opinion_sets.crops` gives them.
        identities : object, default=None
            Ignored: who is shown does not matter to looks.
        change : callable, default=None
            Faces -> images (N, 192, 192, 3): applied to the faces before the network sees them, such as masking. The
            target stays that of the unchanged faces, and S-CNN learns on them.

        Returns
        -------
        self

        Raises
        ------
        DataError
            The target can't be computed from these faces, or a parameter makes no sense.
        WeightsError
            VGG16's weights are missing.
        """
        if not isinstance(faces, Faces):
            raise DataError("DBCNN learns from Faces: their names decide how each copy is degraded")
        if len(faces) == 0:
            raise DataError("no faces to learn from")
        if self.stream == "vgg16" and self.vgg_weights is None:
            raise WeightsError(f"stream='vgg16' needs a file of weights: vgg_weights=PATH. {VGG16_SOURCE}")
        training = self.training_faces(faces)
        targets = targets_of(training, self.target)
        settings = {"n_patches": self.n_patches, "patch": self.patch, "random_state": self.random_state}
        first = scnn.pretrained(training.images[is_clean(training)], **settings)
        network = self.build_network(first.maps, self.vgg_weights)
        images = training.images if change is None else change(training)
        self.fit_linear(network, images, targets)
        self.tune(network, images, targets)
        self.network_ = network
        return self

    def training_faces(self, faces):
        """The faces that `fit` learns from when `faces` are handed in: these and their degraded copies."""
        if self.target == "opinion" or not is_clean(faces).all():
            return faces
        if self.max_faces is not None and self.max_faces < len(faces):
            faces = faces[np.unique(np.linspace(0, len(faces) - 1, self.max_faces).round().astype(int))]
        clean = faces.with_attributes(kind=CLEAN, severity=0.0, source=faces.names)
        kinds = PERCEPTUAL if self.kinds is None else self.kinds
        copies = random_degradations(faces, self.n_copies, kinds, random_state=self.random_state)
        return Faces.concat([clean, copies])

    def build_network(self, first, vgg_weights=None):
        """A `BilinearNetwork` of two streams, before the linear unit is fitted.

        Parameters
        ----------
        first : callable
            The maps of S-CNN.
        vgg_weights : path, default=None
            Weights of VGG16, where that is the second stream.

        Returns
        -------
        BilinearNetwork
        """
        if self.stream not in STREAMS:
            raise DataError(f"there is no stream {self.stream!r}; known: {', '.join(STREAMS)}")
        if self.stream == "vgg16":
            second = vgg16_maps(vgg_weights)
        else:
            second = recogniser_maps(as_recogniser(self.recogniser))
        if self.root not in ROOTS:
            raise DataError(f"there is no root {self.root!r}; known: {', '.join(ROOTS)}")
        network = BilinearNetwork(first, second, self.root).requires_grad_(True)
        return network.to(memory_format=torch.channels_last).eval()

    def fit_linear(self, network, images, targets):
        """First stage: the ridge regression on what the frozen streams give becomes the linear unit.

        Parameters
        ----------
        network : BilinearNetwork
            Changed in place.
        images : array (N, 192, 192, 3) uint8
            Pictures to learn from.
        targets : array (N,)
            What the judge should say of them.
        """
        model = Ridge(alpha=self.alpha).fit(bilinear_features(network, images), targets)
        with torch.no_grad():
            network.linear.weight.copy_(torch.from_numpy(model.coef_.reshape(1, -1)))
            network.linear.bias.fill_(float(model.intercept_))

    def tune(self, network, images, targets):
        """Second stage: a few steps of all weights, in place; parameters as in `fit_linear`. Batch norm stays fixed."""
        rng = np.random.default_rng(self.random_state)
        order = [rng.permutation(len(images)) for _ in range(1 + self.n_tuning // len(images))]
        order, truth = np.concatenate(order)[: self.n_tuning], torch.tensor(targets, dtype=torch.float32)

        def loss(rows):
            return functional.mse_loss(network(_tensor(images[rows])), truth[rows])

        optimiser = torch.optim.Adam(network.parameters(), lr=self.rate)
        fit.training_loop(
            fit.gradient_step(optimiser, loss, at_once=CHUNK),
            lambda epoch: [order[start : start + TUNING_BATCH] for start in range(0, self.n_tuning, TUNING_BATCH)],
        )
        network.requires_grad_(False)

    def _score(self, images, faces):
        if getattr(self, "_quick_of", None) is not self.network_:
            self._quick_of, self._quick = self.network_, self.network_.for_scoring()
        return _in_chunks(self._quick, images)

    def get_state(self):
        """Weights of both streams and of the linear unit."""
        return module_state(self.network_)

    def set_state(self, arrays):
        """Take up what `get_state` gave."""
        self.network_ = restore_module(self.build_network(scnn.SCNN().maps), arrays).requires_grad_(False)


def bilinear_features(network, images):
    """(N, C * 128) float32: what the linear unit of a `BilinearNetwork` sees of canonical crops."""
    return _in_chunks(network.for_scoring().features, images)


def _in_chunks(function, images):
    with torch.inference_mode():
        parts = [function(_tensor(images[start : start + CHUNK])) for start in range(0, len(images), CHUNK)]
    return torch.cat(parts).numpy()


def _tensor(images):
    """uint8 (N, H, W, 3) -> float (N, 3, H, W) in 0..255, channels last."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
