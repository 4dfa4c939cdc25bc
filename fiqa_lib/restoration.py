"""Restoration of faces by a conditional GAN: any photograph of a person in, that person's best photograph out.

The idea is FaceQgen's (Hernandez-Ortega, Fierrez, Serna & Morales, FG 2021, arXiv 2201.00770): a generator learns from
pairs (any image of a person, the one high-quality image of that person). No quality label is needed. How much a face
changes under restoration then says how good it was; `scorers.faceqgen` makes scores of it.

Layers and loss weights of the paper are not public. Here, and this is our choice: a U-Net (Ronneberger et al. 2015)
against a PatchGAN discriminator (Isola et al. 2017) with the least-squares loss (Mao et al. 2017), L1, and the cosine
of embeddings; what is kept is a moving average of the generator's weights (Yazici et al., ICLR 2019). Networks work on
luminance, on `size` x `size` pixels of the window that dlib's recogniser looks at.
"""

from __future__ import annotations

import copy
import numbers
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn import functional

from . import state
from .cache import content_key
from .degradations import CLEAN, random_degradations
from .errors import DataError, WeightsError
from .faces import CHIP_ORIGIN, SIZE, DlibHog, Faces
from .recognition import DlibResNet, arcface_crop_tensor, as_recogniser
from .recognition.base import crops_of

WINDOW = 150
"""Side of the window of the canonical crop that is restored, at `CHIP_ORIGIN`: what dlib's recogniser looks at."""
SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Severities of the degraded copies in training; up to two kinds together."""
BALANCE = 0.8
"""The discriminator is not updated in a step in which it already tells this share of patches apart."""
MEASURES = ("mse", "ssim", "d_input", "d_restored")
"""What `Restorer.measures` gives, higher for better faces: minus the MSE, the SSIM, the discriminator on both."""
DARKEST = 0.02  # the logit of 0 and of 1 is infinite
CHUNK = 64

# --- pictures ----------------------------------------------------------------------------------------------------


def luminance(images, size):
    """What the networks see of canonical crops.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
    size : int
        Pixels along a side; 96 puts the eyes 34 pixels apart.

    Returns
    -------
    array (N, size, size) float32 in 0..1
        Luma (ITU-R BT.601) of the window, shrunk by area mean.
    """
    row, column = CHIP_ORIGIN
    window = images[:, row : row + WINDOW, column : column + WINDOW]
    found = np.empty((len(images), size, size), np.float32)
    for picture, target in zip(window, found, strict=True):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        cv2.resize(grey.astype(np.float32) / 255, (size, size), target, interpolation=cv2.INTER_AREA)
    return found


def canonical(luma):
    """Canonical crops from the networks' pictures, differentiable: (N, 1, S, S) tensor -> (N, 1, 192, 192), same range.

    Enlarged to the window bilinearly; around it the border is repeated, since nothing was restored there.
    """
    window = functional.interpolate(luma, size=(WINDOW, WINDOW), mode="bilinear", align_corners=False)
    top, left = CHIP_ORIGIN
    return functional.pad(window, (left, SIZE - WINDOW - left, top, SIZE - WINDOW - top), mode="replicate")


def as_images(luma):
    """(N, S, S) luma in 0..1 -> canonical crops (N, 192, 192, 3) uint8, grey, for any recogniser or scorer."""
    grey = canonical(torch.from_numpy(np.ascontiguousarray(luma, np.float32))[:, None])[:, 0].numpy()
    return np.repeat(np.rint(255 * grey.clip(0, 1)).astype(np.uint8)[..., None], 3, axis=3)


def embed_luma(luma, recogniser):
    """Embeddings of the networks' pictures, with gradients: `recogniser.embed(as_images(luma))` but for rounding.

    Parameters
    ----------
    luma : tensor (N, 1, S, S) in 0..1
    recogniser : TorchRecogniser
        On the same device.

    Returns
    -------
    tensor (N, dim)
    """
    crops = 255 * canonical(luma).expand(-1, 3, -1, -1)
    if isinstance(recogniser, DlibResNet):
        row, column = CHIP_ORIGIN
        chips = crops[:, :, row : row + WINDOW, column : column + WINDOW]
    else:
        chips = arcface_crop_tensor(crops)
    return recogniser.module(recogniser.normalise(chips))


# --- networks ----------------------------------------------------------------------------------------------------


def _layer(n_in, n_out, stride=1):
    # group norm, not batch norm: a restoration must not depend on the faces beside it
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1), nn.GroupNorm(4, n_out), nn.LeakyReLU(0.2))


class Generator(nn.Module):
    """U-Net: (B, 1, S, S) in 0..1 -> the same shape and range; S a multiple of 16.

    What the network computes is a correction: it is added to the input on the scale of the logistic function. Training
    starts from a correction of zero, that is from a copy.

    Each 2x2 block of pixels becomes four channels at half the size, and back at the end, which costs a quarter of
    layers at full size. In between, features shrink three times (to S / 16) and grow again; each stage of the way up
    also gets the features of the same size on the way down (the skip connections that make it a U).
    """

    def __init__(self, width=16):
        super().__init__()
        channels = [width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList([_layer(4, width)])
        self.down += [_layer(a, b, stride=2) for a, b in zip(channels[:-1], channels[1:], strict=True)]
        self.middle = _layer(channels[-1], channels[-1])
        self.up = nn.ModuleList([_layer(channels[i] + channels[i - 1], channels[i - 1]) for i in (3, 2, 1)])
        self.last = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, picture):
        x, skips = functional.pixel_unshuffle(2 * picture - 1, 2), []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.middle(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = layer(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        correction = functional.pixel_shuffle(self.last(x), 2)
        return (picture.clamp(DARKEST, 1 - DARKEST).logit() + correction).sigmoid()


class Discriminator(nn.Module):
    """PatchGAN: (B, 1, S, S) in 0..1 -> (B, 1, S/8, S/8), one verdict for each patch of 38 x 38 pixels.

    Trained towards 1 on best photographs and 0 on restorations. It never sees the generator's input: so it can judge
    any single picture.
    """

    def __init__(self, width=32):
        super().__init__()

        def halve(n_in, n_out):
            return [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.GroupNorm(4, n_out), nn.LeakyReLU(0.2)]

        first = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        blocks = [*first, *halve(width, 2 * width), *halve(2 * width, 4 * width)]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, x):
        return self.layers(2 * x - 1)


# --- losses ------------------------------------------------------------------------------------------------------


def discriminator_loss(on_best, on_restored):
    """Least squares: mean (D(t) - 1)^2 + mean D(G(x))^2, over patches."""
    return ((on_best - 1) ** 2).mean() + (on_restored**2).mean()


def adversarial_loss(on_restored):
    """What the generator pays when it is found out: mean (D(G(x)) - 1)^2, over patches."""
    return ((on_restored - 1) ** 2).mean()


def identity_loss(restored, best, centre):
    """Mean of 1 - cosine between centred embeddings (B, dim) of the restoration and of the best photograph."""
    return (1 - functional.cosine_similarity(restored - centre, best - centre)).mean()


# --- the best photograph of each person --------------------------------------------------------------------------


def choose_targets(faces, identities=None):
    """The row of each person's best photograph: what restorations of that person shall look like.

    The rule: of the person's candidates, the one that dlib's frontal-face detector scores highest when it is run again
    on the crop; of equals, the first. The detector knows upright frontal faces, evenly lit and uncovered, and nothing
    else. Candidates are, by the attributes of the faces,

    - those marked in a column `target` (bool), where there is one;
    - frontal mugshots, where `kind` says "mugshot" (as `published.load_scface` does);
    - undamaged faces (`kind` "clean", or no such column), else all.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
    identities : sequence of N str, optional
        Taken from `Faces` by default.

    Returns
    -------
    (array (P,) str, array (P,) int)
        The people in sorted order, and their rows.

    Raises
    ------
    DataError
        Where a face has no identity, or a person has no marked photograph or no mugshot.
    """
    images, who = crops_of(faces), _identities(faces, identities)
    allowed = _candidates(faces, len(images))
    people = np.unique(who)
    if lacking := [str(p) for p in people if not allowed[who == p].any()]:
        raise DataError(f"no photograph of {', '.join(lacking[:5])} may be the target: mark one in the column target")
    scores = np.full(len(images), -np.inf)
    scores[allowed] = _frontal_scores(images[allowed])
    rows = np.arange(len(images))
    best = [rows[(who == p) & allowed][np.argmax(scores[(who == p) & allowed])] for p in people]
    return people, np.array(best)


def _identities(faces, identities):
    who = faces.identities if identities is None and isinstance(faces, Faces) else identities
    if who is None:
        raise DataError("restoration learns from pairs of one person: hand in Faces, or identities beside the array")
    who = np.asarray([str(w) for w in who])
    if len(who) != len(crops_of(faces)) or (who == "").any():
        raise DataError(f"{len(crops_of(faces))} faces need as many identities, none of them empty")
    return who


def _candidates(faces, n):
    """(n,) bool: which faces may be a target."""
    table = faces.attributes if isinstance(faces, Faces) else pd.DataFrame(index=range(n))
    if "target" in table:
        return table["target"].fillna(False).to_numpy(bool)
    if "kind" not in table:
        return np.ones(n, bool)
    kind = table["kind"].astype(object)
    if (kind == "mugshot").any():
        frontal = table["pose"].astype(object) == "frontal" if "pose" in table else True
        return ((kind == "mugshot") & frontal).to_numpy(bool)
    clean = ((kind == CLEAN) | kind.isna()).to_numpy(bool)
    who = faces.identities
    only_damaged = ~np.isin(who, who[clean])
    return clean | only_damaged


def _frontal_scores(images, threshold=-1.5):
    detector = DlibHog(working_side=SIZE, threshold=threshold, margin=0)
    return [max((d.score for d in detector(image)), default=threshold) for image in images]


# --- training ----------------------------------------------------------------------------------------------------


class Restorer(BaseEstimator):
    """Generator and discriminator, trained against each other.

    Each step draws people, each equally often, and for each an image x of theirs with the best photograph t of that
    person: a quarter of the time x is as it was handed in; else a degraded copy, with probability `own_share` of the
    best photograph itself (which teaches to undo damage), otherwise of any (which also teaches to change pose, light
    and expression). Half of the pairs are mirrored. Then

    - the discriminator D lowers `discriminator_loss(D(t), D(G(x)))`, unless it already tells at least `BALANCE` of
      their patches apart: so that neither side runs away (the balance of the updates);
    - the generator G lowers l1 * mean |G(x) - t| + adversarial * `adversarial_loss(D(G(x)))` + identity *
      `identity_loss`, the last over the first `n_identity` images of the batch, since it costs most.

    Both use Adam; the generator's rate rises over 50 steps and falls along a cosine. What restores in the end is a
    moving average of the generator's weights, which is steadier than any one step of the game. The same data,
    parameters, seed and number of threads give the same weights; on a GPU, last digits may differ.

    Parameters
    ----------
    size : int
        Pixels along a side; a multiple of 16.
    width : int
        Channels of the first layer; a multiple of 4.
    n_copies : int
        Degraded copies of each face, where none of the faces is degraded already. Faces with a `kind` other than
        "clean" are taken as they are.
    n_own : int
        Degraded copies of each best photograph besides; none where the faces are degraded already.
    own_share : float in 0..1
    n_steps, batch_size, n_identity : int
    l1, adversarial, identity : float
        Weights of the three losses; 0 leaves one out.
    rate : float
        Learning rate of the generator; the discriminator has a fifth.
    average : float in 0..1, 1 excluded
        Share of the averaged weights that a step keeps (less in the first steps: step n keeps at most
        (1 + n) / (10 + n)); 0 takes the last weights as they are.
    n_snapshots : int
        States of the averaged generator kept along the way, to look at (in half precision).
    recogniser : str or Recogniser
        For the identity loss: one that is a torch network.
    device : str, optional
        Default: "cuda" where there is a GPU, else "cpu".
    random_state : int
    verbose : int
        Not 0: a progress bar on standard error.

    Attributes
    ----------
    generator_, discriminator_ : torch modules, in evaluation mode
    people_ : array (P,) str
    targets_ : array (P, S, S) float32
        The best photographs.
    mean_face_ : array (S, S) float32
        Their mean, with its mirror image.
    reference_ : DataFrame
        `measures` of the training images, their mean and standard deviation: the scale for a combination.
    history_ : DataFrame
        One row for each step: `l1`, `adversarial`, `identity`, `discriminator` (losses), `accuracy` (of the
        discriminator, before the step), `updated` (whether the discriminator learned in it).
    snapshots_ : dict of int -> dict of str -> array
        Step -> state of the generator after so many steps.
    """

    def __init__(
        self,
        size=96,
        width=16,
        n_copies=8,
        n_own=40,
        own_share=0.9,
        n_steps=400,
        batch_size=16,
        n_identity=16,
        l1=20.0,
        adversarial=0.3,
        identity=30.0,
        rate=4e-3,
        average=0.99,
        n_snapshots=4,
        recogniser="dlib",
        device=None,
        random_state=0,
        verbose=0,
    ):
        self.size = size
        self.width = width
        self.n_copies = n_copies
        self.n_own = n_own
        self.own_share = own_share
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.n_identity = n_identity
        self.l1 = l1
        self.adversarial = adversarial
        self.identity = identity
        self.rate = rate
        self.average = average
        self.n_snapshots = n_snapshots
        self.recogniser = recogniser
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, faces, identities=None, checkpoint=None):
        """Train.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Of at least two people.
        identities : sequence of N str, optional
        checkpoint : path, optional
            A `.npz` file where the run is kept every `CHECKPOINT_EVERY` steps and deleted at its end. A run that was
            killed goes on from there and ends with the same weights.

        Returns
        -------
        self

        Raises
        ------
        DataError
            Parameters out of range, a face without identity, one person only, or a checkpoint of another run.
        """
        self._check()
        run = _Run(self, faces, identities)
        run.go(checkpoint)
        self.people_, self.targets_ = run.people, run.targets
        self.mean_face_ = _mean_face(run.targets)
        # put into new modules, as `set_state` does: scores after loading are then equal to the last digit
        with torch.random.fork_rng(devices=[]):  # new layers draw their first weights from the caller's generator
            self.generator_ = state.restore_module(Generator(self.width), state.module_state(run.averaged))
            self.discriminator_ = state.restore_module(Discriminator(), state.module_state(run.discriminator))
        self.history_ = pd.DataFrame(run.history, columns=HISTORY)
        self.snapshots_ = run.snapshots
        measured = self._measures(run.pictures)
        self.reference_ = pd.DataFrame({"mean": measured.mean(), "std": measured.std(ddof=0)})
        return self

    def _check(self):
        whole = {"size": 16, "width": 4, "n_copies": 0, "n_own": 0, "n_steps": 1, "batch_size": 1, "n_identity": 0}
        for name, least in {**whole, "n_snapshots": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
                raise DataError(f"{name} must be a whole number from {least}, not {value!r}")
        if self.size % 16 or self.width % 4:
            raise DataError(f"size must be a multiple of 16 and width of 4, not {self.size} and {self.width}")
        if self.n_identity > self.batch_size:
            raise DataError(f"n_identity must not exceed the batch of {self.batch_size}, not {self.n_identity}")
        for name in ("l1", "adversarial", "identity", "rate"):
            if not getattr(self, name) >= 0:
                raise DataError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        if not 0 <= self.average < 1:
            raise DataError(f"average must be from 0 to below 1, not {self.average!r}")

    # --- use

    def generate(self, faces):
        """Restorations as the networks see them: (N, S, S) float32 in 0..1."""
        check_is_fitted(self)
        return self._generate(luminance(crops_of(faces), self.size))

    def restore(self, faces):
        """Restored faces as canonical crops, for any recogniser or scorer.

        Returns
        -------
        Faces (identities, names and attributes kept) or array (N, 192, 192, 3) uint8, as handed in
            Grey. Around the window of the networks the border is repeated.
        """
        images = as_images(self.generate(faces))
        if not isinstance(faces, Faces):
            return images
        return Faces(images, faces.identities, faces.names, faces.attributes)

    def measures(self, faces, names=MEASURES):
        """How alike a face and its restoration are, and what the discriminator says: all higher for better faces.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
        names : sequence of str
            Which of `MEASURES`; only what these need is computed.

        Returns
        -------
        DataFrame with N rows and these columns
            `mse`: minus the mean squared difference, in -1..0. `ssim`: structural similarity (Wang et al. 2004;
            Gaussian window of deviation 1.5, values 0..1), at most 1. `d_input`, `d_restored`: mean verdict of the
            patches, about 0 (restored) to 1 (best photograph).
        """
        check_is_fitted(self)
        return self._measures(luminance(crops_of(faces), self.size), names)

    def at(self, step):
        """A copy whose generator is the snapshot after `step` steps; the rest is as after training."""
        check_is_fitted(self)
        if step not in self.snapshots_:
            raise DataError(f"there is no snapshot of step {step}; there are {', '.join(map(str, self.snapshots_))}")
        other = copy.copy(self)
        full = {name: value.astype(np.float32) for name, value in self.snapshots_[step].items()}
        other.generator_ = state.restore_module(Generator(self.width), full)
        return other

    def _generate(self, pictures):
        return self._in_batches(self.generator_, pictures)[:, 0]

    def _measures(self, pictures, names=MEASURES):
        restored = self._generate(pictures) if set(names) - {"d_input"} else None
        ways = {
            "mse": lambda: -((pictures - restored) ** 2).mean((1, 2), dtype=np.float64),
            "ssim": lambda: similarity_of_structure(pictures, restored),
            "d_input": lambda: self._in_batches(self.discriminator_, pictures).mean((1, 2, 3), dtype=np.float64),
            "d_restored": lambda: self._in_batches(self.discriminator_, restored).mean((1, 2, 3), dtype=np.float64),
        }
        return pd.DataFrame({name: ways[name]() for name in names}, columns=list(names))

    def _in_batches(self, module, pictures):
        """A network on (N, S, S) pictures: (N, 1, ...) float32."""
        device = chosen_device(self.device)
        module = module.to(device)
        found = []
        with torch.inference_mode():
            for start in range(0, len(pictures), CHUNK):
                part = torch.from_numpy(np.ascontiguousarray(pictures[start : start + CHUNK]))[:, None]
                found.append(module(part.to(device)).cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, 1, self.size, self.size), np.float32)

    # --- what was learned

    def get_state(self):
        """As `Scorer.get_state`: name -> array."""
        check_is_fitted(self)
        arrays = state.module_state(self.generator_, "generator/") | state.module_state(
            self.discriminator_, "discriminator/"
        )
        for step, layers in self.snapshots_.items():
            arrays |= {f"snapshot/{step}/{name}": value for name, value in layers.items()}
        history, reference = self.history_.to_numpy(np.float32), self.reference_.to_numpy(float)
        return arrays | {"people": self.people_, "targets": self.targets_, "history": history, "reference": reference}

    def set_state(self, arrays):
        """As `Scorer.set_state`."""
        self.generator_ = state.restore_module(Generator(self.width), arrays, "generator/")
        self.discriminator_ = state.restore_module(Discriminator(), arrays, "discriminator/")
        self.people_ = np.asarray(arrays["people"], dtype=str)
        self.targets_ = np.asarray(arrays["targets"], np.float32)
        if self.targets_.shape != (len(self.people_), self.size, self.size):
            raise ValueError(f"targets of shape {self.targets_.shape} for {len(self.people_)} people, size {self.size}")
        self.mean_face_ = _mean_face(self.targets_)
        self.history_ = pd.DataFrame(np.asarray(arrays["history"], np.float32), columns=HISTORY)
        self.reference_ = pd.DataFrame(np.asarray(arrays["reference"], float), index=MEASURES, columns=["mean", "std"])
        self.snapshots_ = _numbered(arrays, "snapshot/")
        return self


HISTORY = ("l1", "adversarial", "identity", "discriminator", "accuracy", "updated")
CHECKPOINT_EVERY = 50
WARM_UP = 50
AS_HANDED_IN = 0.25
"""Share of a batch that is not damaged."""


def similarity_of_structure(first, second):
    """SSIM of each picture with the other of the same row: (N, S, S), (N, S, S) in 0..1 -> (N,) float64."""
    from skimage.metrics import structural_similarity

    settings = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.array([structural_similarity(a, b, **settings) for a, b in zip(first, second, strict=True)], float)


def chosen_device(device=None):
    """What is asked for; else "cuda" where there is a GPU, else "cpu"."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _mean_face(targets):
    mean = targets.mean(0)
    return (mean + mean[:, ::-1]) / 2


def _numbered(arrays, prefix):
    """{prefix7/name: array} -> {7: {name: array}}, in the order of the numbers."""
    found = {}
    for key, value in arrays.items():
        if key.startswith(prefix):
            number, _, name = key[len(prefix) :].partition("/")
            found.setdefault(int(number), {})[name] = value
    return dict(sorted(found.items()))


class _Run:
    """One training run. Its state after any step can be written and taken up; what a step draws depends on its number
    alone, so that a run that was taken up makes the same steps."""

    def __init__(self, settings, faces, identities):
        self.settings, self.device = settings, torch.device(chosen_device(settings.device))
        images, who = crops_of(faces), _identities(faces, identities)
        self.people, rows = choose_targets(faces, identities)
        if len(self.people) < 2:
            raise DataError("restoration needs faces of at least 2 people, else one face fits all")
        self.key = content_key(repr(settings.get_params()), images.tobytes(), list(who), rows.tolist())
        self.targets = luminance(images[rows], settings.size)
        self.inputs, origin = self._inputs(faces, images, who, rows)
        self.pools = self._pools(origin)
        self.pictures = luminance(self.inputs.images, settings.size)
        self._prepare_identity(images, rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.random_state)
            self.generator, self.discriminator = Generator(settings.width), Discriminator()
        for module in (self.generator, self.discriminator):
            module.to(self.device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.generator)
        self.for_generator = torch.optim.Adam(self.generator.parameters(), settings.rate, (0.5, 0.99))
        self.for_discriminator = torch.optim.Adam(self.discriminator.parameters(), settings.rate / 5, (0.5, 0.99))
        self.history, self.snapshots = [], {}

    def _inputs(self, faces, images, who, rows):
        """What is restored, and what each row is: 0 as handed in, 1 any copy, 2 a copy of a best photograph."""
        table = faces.attributes if isinstance(faces, Faces) else pd.DataFrame(index=range(len(images)))
        names = faces.names if isinstance(faces, Faces) else np.arange(len(images)).astype(str)
        plain = Faces(images, who, names, table.reindex(columns=["kind", "source"]).astype(object))
        kind = plain.attributes["kind"].fillna(CLEAN)
        if (kind != CLEAN).any():
            of_best = plain.attributes["source"].isin(names[rows]).to_numpy()
            return plain, np.where(kind == CLEAN, 0, np.where(of_best, 2, 1))
        plain = Faces(images, who, names)  # without missing facts, which would hide what the copies are
        settings, seed = self.settings, self.settings.random_state
        how = {"severities": SEVERITIES, "max_together": 2}
        copies = random_degradations(plain, settings.n_copies, random_state=seed, **how)
        own = random_degradations(plain[rows], settings.n_own, random_state=seed + 1, **how)
        own = Faces(own.images, own.identities, [f"best|{name}" for name in own.names], own.attributes)
        origin = np.repeat([0, 1, 2], [len(plain), len(copies), len(own)])
        return Faces.concat([plain, copies, own]), origin

    def _pools(self, origin):
        """For each person three arrays of rows: as handed in, any copies, copies of the best photograph."""
        person = np.searchsorted(self.people, self.inputs.identities)
        found = [[np.flatnonzero((person == p) & (origin == o)) for o in range(3)] for p in range(len(self.people))]
        return [[pool if len(pool) else np.concatenate(pools) for pool in pools] for pools in found]

    def _prepare_identity(self, images, rows):
        """Embeddings of the best photographs, as they are and mirrored (2, P, dim), and the centre of all faces."""
        self.best = self.centre = self.recogniser = None
        if not (self.settings.identity and self.settings.n_identity):
            return
        recogniser = as_recogniser(self.settings.recogniser)
        recogniser.head  # noqa: B018 - refused with a reason where there is no network
        best = images[rows]
        both = [recogniser.embed(best), recogniser.embed(np.ascontiguousarray(best[:, :, ::-1]))]
        self.best = torch.from_numpy(np.stack(both)).to(self.device)
        self.centre = torch.from_numpy(recogniser.embed(images).mean(0)).to(self.device)
        if torch.device(recogniser.device) != self.device:  # a copy: the shared one stays where it is
            recogniser = copy.deepcopy(recogniser)
            recogniser.module.to(self.device)
            recogniser.device = self.device
            if hasattr(recogniser, "_mean"):
                recogniser._mean = recogniser._mean.to(self.device)
        self.recogniser = recogniser

    def draw(self, number):
        """The batch of one step: inputs and best photographs (B, 1, S, S), and embeddings of the latter or None."""
        settings = self.settings
        rng = np.random.default_rng([settings.random_state, number])
        person = rng.integers(len(self.people), size=settings.batch_size)
        damaged = rng.random(settings.batch_size) >= AS_HANDED_IN
        own = rng.random(settings.batch_size) < settings.own_share
        origin = damaged * (1 + own)
        rows = [rng.choice(self.pools[p][o]) for p, o in zip(person, origin, strict=True)]
        mirrored = rng.random(settings.batch_size) < 0.5
        x, t = self.pictures[rows], self.targets[person]
        turn = mirrored[:, None, None]
        pair = [np.where(turn, y[:, :, ::-1], y)[:, None] for y in (x, t)]
        tensors = [torch.from_numpy(y).to(self.device) for y in pair]
        if self.best is None:
            return *tensors, None
        return *tensors, self.best[torch.from_numpy(mirrored.astype(int)), torch.from_numpy(person)]

    def go(self, checkpoint=None):
        from tqdm import tqdm

        settings = self.settings
        done = self.take_up(checkpoint) if checkpoint is not None else 0
        kept = {settings.n_steps * i // (settings.n_snapshots + 1) for i in range(1, settings.n_snapshots + 1)} - {0}
        bar = tqdm(total=settings.n_steps, initial=done, disable=not settings.verbose, unit="step", desc="restoration")
        with bar:
            for step in range(done, settings.n_steps):
                self.history.append(self.step(step))
                if step + 1 in kept:
                    self.snapshots[step + 1] = _half(state.module_state(self.averaged))
                if checkpoint is not None and (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < settings.n_steps:
                    self.keep(checkpoint)
                bar.update()
        if checkpoint is not None:
            Path(checkpoint).unlink(missing_ok=True)

    def step(self, number):
        """One update of both networks; returns a row of the history."""
        settings = self.settings
        x, t, best = self.draw(number)
        restored = self.generator(x)
        on_best, on_restored = self.discriminator(t), self.discriminator(restored.detach())
        accuracy = 0.5 * float((on_best > 0.5).float().mean() + (on_restored < 0.5).float().mean())
        d_loss = discriminator_loss(on_best, on_restored)
        updated = bool(settings.adversarial) and accuracy < BALANCE
        if updated:
            self.for_discriminator.zero_grad()
            d_loss.backward()
            self.for_discriminator.step()
        losses = {"l1": (restored - t).abs().mean()}
        if settings.adversarial:
            losses["adversarial"] = adversarial_loss(self.discriminator(restored))
        if settings.identity and settings.n_identity:
            seen = embed_luma(restored[: settings.n_identity], self.recogniser)
            losses["identity"] = identity_loss(seen, best[: settings.n_identity], self.centre)
        loss = sum(getattr(settings, name) * value for name, value in losses.items())
        for group in self.for_generator.param_groups:
            group["lr"] = settings.rate * _schedule(number, settings.n_steps)
        self.for_generator.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.for_generator.step()
        self.take_average(min(settings.average, (1 + number) / (10 + number)))
        row = losses | {"discriminator": d_loss}
        return [*(float(row[n].detach()) if n in row else np.nan for n in HISTORY[:4]), accuracy, float(updated)]

    @torch.no_grad()
    def take_average(self, kept):
        """Averaged weights: `kept` of what they were, the rest from the generator."""
        for mean, now in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - kept)

    def keep(self, path):
        """Write the run as it stands: networks, optimisers, history, snapshots."""
        arrays = state.module_state(self.generator, "generator/") | state.module_state(
            self.discriminator, "discriminator/"
        )
        arrays |= state.module_state(self.averaged, "averaged/")
        arrays |= _optimiser_state(self.for_generator, "for_generator/")
        arrays |= _optimiser_state(self.for_discriminator, "for_discriminator/")
        for step, layers in self.snapshots.items():
            arrays |= {f"snapshot/{step}/{name}": value for name, value in layers.items()}
        arrays["history"] = np.array(self.history, np.float64)
        state.write_state(path, "restoration run", arrays, {"key": self.key})

    def take_up(self, path):
        """Go on from what `keep` wrote: the number of steps done. A missing or damaged file is a new start."""
        try:
            arrays, settings = state.read_state(path, "restoration run")
        except WeightsError:
            return 0
        if settings.get("key") != self.key:
            raise DataError(
                f"{path}: the checkpoint of another run (other faces or parameters); give another path, or delete it"
            )
        with state.explained(path):
            state.restore_module(self.generator, arrays, "generator/").train()
            state.restore_module(self.discriminator, arrays, "discriminator/").train()
            state.restore_module(self.averaged, arrays, "averaged/").train()
            _restore_optimiser(self.for_generator, arrays, "for_generator/")
            _restore_optimiser(self.for_discriminator, arrays, "for_discriminator/")
            self.history, self.snapshots = arrays["history"].tolist(), _numbered(arrays, "snapshot/")
        return len(self.history)


def _schedule(step, n_steps):
    """Share of the full rate: up over the warm-up, then down along a cosine."""
    return min(1, (step + 1) / WARM_UP) * (0.51 + 0.49 * np.cos(np.pi * step / n_steps))


def _half(layers):
    return {name: value.astype(np.float16) for name, value in layers.items()}


def _optimiser_state(optimiser, prefix):
    """What Adam remembers, as arrays: prefix + "index/exp_avg" ..."""
    found = {}
    for index, values in optimiser.state_dict()["state"].items():
        found |= {f"{prefix}{index}/{name}": value.detach().cpu().numpy() for name, value in values.items()}
    return found


def _restore_optimiser(optimiser, arrays, prefix):
    remembered = _numbered(arrays, prefix)
    layers = {index: {n: torch.as_tensor(v) for n, v in values.items()} for index, values in remembered.items()}
    optimiser.load_state_dict({**optimiser.state_dict(), "state": layers})


# --- health of the GAN -------------------------------------------------------------------------------------------

COPIES_BELOW = 0.1
COLLAPSED_BELOW = 0.3
"""Below these values of `Health.change` and `Health.variety` a generator copies its input, or knows one face only."""


class Health(NamedTuple):
    """Whether a generator restores, copies or has collapsed. Distances are mean absolute differences, 0..1.

    Attributes
    ----------
    to_input, to_target, to_mean : float
        From the restorations to their inputs, to the best photographs of the same people, and to the mean face.
    input_to_target, target_to_mean : float
        The same of the inputs and of the best photographs, to compare with.
    change : float
        `to_input / input_to_target`: 0 for a copy, 1 for as much change as the target asks for.
    variety : float
        How far the mean restorations of the people lie from their common mean, over the same of the best photographs:
        0 where everybody gets one face, about 1 where people differ as they should.
    """

    to_input: float
    to_target: float
    to_mean: float
    input_to_target: float
    target_to_mean: float
    change: float
    variety: float

    @property
    def copies(self):
        """Whether the generator hands its input on."""
        return self.change < COPIES_BELOW

    @property
    def collapsed(self):
        """Whether everybody gets the same face."""
        return self.variety < COLLAPSED_BELOW


def health(inputs, restored, targets, people, mean_face):
    """Measure copying and collapse on people that the generator never saw.

    Parameters
    ----------
    inputs, restored, targets : array (N, S, S) in 0..1
        `targets` holds, for each input, the best photograph of its person.
    people : sequence of N
        Who is shown; at least two.
    mean_face : array (S, S)
        `Restorer.mean_face_`.

    Returns
    -------
    Health
    """
    people = np.asarray(people)
    if len(np.unique(people)) < 2:
        raise DataError("variety needs restorations of at least 2 people")

    def apart(a, b):
        return float(np.abs(a - b).mean(dtype=np.float64))

    def spread(pictures):
        means = np.stack([pictures[people == p].mean(0) for p in np.unique(people)])
        return apart(means, means.mean(0))

    to_input, wanted = apart(restored, inputs), apart(inputs, targets)
    return Health(
        to_input=to_input,
        to_target=apart(restored, targets),
        to_mean=apart(restored, mean_face),
        input_to_target=wanted,
        target_to_mean=apart(targets, mean_face),
        change=to_input / wanted if wanted else 0.0,
        variety=spread(restored) / spread(targets) if spread(targets) else 0.0,
    )
