"""FaceQgen's restoration: any photograph of a person in, that person's best photograph out.

FaceQgen (Hernandez-Ortega, Fierrez, Serna & Morales, FG 2021, arXiv 2201.00770): a generator learns from pairs (any
image of a person, the one high-quality image of that person). No quality label is needed. How much a face changes under
restoration measures how good it was; `scorers.faceqgen` makes scores of it. The networks are in `unet_gan`, their
training in `faceqgen_training`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from skimage.metrics import structural_similarity
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .. import weights
from ..data.training_sets import identified
from ..errors import DataError
from ..faces import crops_of
from .faceqgen_training import HISTORY, GanTraining, chosen_device, flat, numbered, part_of
from .fit import check_whole_numbers
from .unet_gan import Discriminator, Generator, luminance

MEASURES = ("mse", "ssim", "d_input", "d_restored")
"""Columns of `Restorer.measures`, higher for better faces: minus the MSE, the SSIM, the discriminator on both."""
CHUNK = 64  # pictures that go through a network together

# --- the estimator


@dataclass(eq=False, repr=False)
class RestorerParameters(BaseEstimator):
    """Parameters of the restoration and its training, for `Restorer` and for FaceQgen's scorers.

    Parameters
    ----------
    size : int, default=96
        Side of the networks' pictures in pixels; a multiple of 16.
    width : int, default=16
        Channels of the generator's first layer; a multiple of 4.
    n_copies : int, default=8
        Degraded copies of each face. None are made if any of the faces is degraded already (`kind` not "clean").
    n_own : int, default=40
        Degraded copies of each best photograph besides; likewise.
    own_share : float, default=0.9
        Probability, 0..1, that a degraded input shows the best photograph itself.
    n_steps : int, default=400
        Steps of training.
    batch_size : int, default=16
        Pairs in a step.
    n_identity : int, default=16
        Pairs of a step that enter the identity loss, which costs most; at most `batch_size`.
    l1, adversarial, identity : float, default=20.0, 0.3, 30.0
        Weights of the three losses, 0 or more; 0 leaves one out.
    rate : float, default=4e-3
        Learning rate of the generator; the discriminator has a fifth.
    average : float, default=0.99
        Share of the averaged weights that a step keeps, 0..1 without 1 (less in the first steps: step n keeps at most
        (1 + n) / (10 + n)); 0 takes the last weights as they are.
    n_snapshots : int, default=4
        States of the averaged generator kept along the way, to look at (in half precision).
    recogniser : str or Recogniser, default="dlib"
        For the identity loss: one that is a torch network.
    device : str, default=None
        None: "cuda" where there is a GPU, else "cpu".
    random_state : int, default=0
        Seed of copies, weights and batches.
    verbose : int, default=0
        Not 0: a progress bar on standard error.
    """

    size: int = 96
    width: int = 16
    n_copies: int = 8
    n_own: int = 40
    own_share: float = 0.9
    n_steps: int = 400
    batch_size: int = 16
    n_identity: int = 16
    l1: float = 20.0
    adversarial: float = 0.3
    identity: float = 30.0
    rate: float = 4e-3
    average: float = 0.99
    n_snapshots: int = 4
    recogniser: object = "dlib"
    device: str | None = None
    random_state: int = 0
    verbose: int = 0


class Restorer(RestorerParameters):
    """Generator and discriminator, trained against each other. Parameters: see `RestorerParameters`.

    Each step draws people, each equally often, and for each an image x of theirs with the best photograph t of that
    person: a quarter of the time x is as it was handed in; else a degraded copy, with probability `own_share` of the
    best photograph itself (which teaches to undo damage), otherwise of any (which also teaches to change pose, light
    and expression). Half of the pairs are mirrored. Then

    - the discriminator D lowers `discriminator_loss(D(t), D(G(x)))`, unless its accuracy on their patches is at least
      `BALANCE`: this keeps both sides equally strong;
    - the generator G lowers l1 * mean |G(x) - t| + adversarial * `adversarial_loss(D(G(x)))` + identity *
      `identity_loss`, the last over the first `n_identity` images of the batch.

    Both use Adam; the generator's rate rises over 50 steps and falls along a cosine. What restores in the end is a
    moving average of the generator's weights (Yazici et al., ICLR 2019), which is steadier than any one step. The same
    data, parameters, seed and number of threads give the same weights; on a GPU, last digits may differ.

    Attributes
    ----------
    generator_, discriminator_ : torch modules, in evaluation mode
    people_ : array (P,) str
        The training people.
    targets_ : array (P, S, S) float32
        Their best photographs.
    mean_face_ : array (S, S) float32
        The mean of these, with its mirror image.
    reference_ : DataFrame
        Mean and standard deviation of the `measures` of the training images: the scale for a combination.
    history_ : DataFrame
        One row for each step: `l1`, `adversarial`, `identity`, `discriminator` (losses), `accuracy` (of the
        discriminator, before the step), `updated` (whether the discriminator learned in it).
    snapshots_ : dict of int -> dict of str -> array
        Step -> state of the generator after that step.
    """

    def fit(self, faces, identities=None, checkpoint=None):
        """Train.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Of at least two people.
        identities : sequence of N str, default=None
            Who is shown. None: taken from `Faces`.
        checkpoint : path, default=None
            A `.npz` file where the run is kept every `CHECKPOINT_EVERY` steps and deleted at its end. A run that was
            killed continues from there and ends with the same weights.

        Returns
        -------
        self

        Raises
        ------
        DataError
            Parameters out of range, a face without identity, one person only, or a checkpoint of another run.
        """
        self._check()
        run = GanTraining(self, identified(faces, identities))
        run.train(checkpoint)
        self.people_, self.targets_ = run.people, run.targets
        self.mean_face_ = _mean_face(run.targets)
        # put into new modules, as `set_state` does: scores after loading are then equal to the last digit
        self._set_networks(weights.module_state(run.averaged), weights.module_state(run.discriminator))
        self.history_ = pd.DataFrame(run.history, columns=HISTORY)
        self.snapshots_ = run.snapshots
        measured = self._measures(run.pictures)
        self.reference_ = pd.DataFrame({"mean": measured.mean(), "std": measured.std(ddof=0)})
        return self

    def _check(self):
        check_whole_numbers(
            self, size=16, width=4, n_copies=0, n_own=0, n_steps=1, batch_size=1, n_identity=0, n_snapshots=0
        )
        if self.size % 16 or self.width % 4:
            raise DataError(f"size must be a multiple of 16 and width of 4, not {self.size} and {self.width}")
        if self.n_identity > self.batch_size:
            raise DataError(f"n_identity must not exceed the batch of {self.batch_size}, not {self.n_identity}")
        for name in ("l1", "adversarial", "identity", "rate"):
            if not getattr(self, name) >= 0:
                raise DataError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        if not 0 <= self.average < 1:
            raise DataError(f"average must be from 0 to below 1, not {self.average!r}")

    def _set_networks(self, generator, discriminator=None):
        with torch.random.fork_rng(devices=[]):  # new layers draw weights, from the caller's generator
            self.generator_ = weights.restore_module(Generator(self.width), generator)
            if discriminator is not None:
                self.discriminator_ = weights.restore_module(Discriminator(), discriminator)

    # --- use

    def generate(self, faces):
        """Restorations as the networks see them: Faces or array (N, 192, 192, 3) uint8 -> (N, S, S) float32, 0..1.

        `unet_gan.as_images` makes canonical crops of them, for any recogniser or scorer.
        """
        check_is_fitted(self)
        return self._generate(luminance(crops_of(faces), self.size))

    def measures(self, faces, names=MEASURES):
        """How alike a face and its restoration are, and the discriminator's verdicts: all higher for better faces.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces to measure.
        names : sequence of str, default=MEASURES
            Columns to compute.

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
        """A copy whose generator is the snapshot after this step, a key of `snapshots_`; the rest is as trained."""
        check_is_fitted(self)
        if step not in self.snapshots_:
            raise DataError(f"there is no snapshot of step {step}; there are {', '.join(map(str, self.snapshots_))}")
        other = copy.copy(self)
        other._set_networks({name: value.astype(np.float32) for name, value in self.snapshots_[step].items()})
        return other

    def _generate(self, pictures):
        return self._in_chunks(self.generator_, pictures)[:, 0]

    def _measures(self, pictures, names=MEASURES):
        restored = self._generate(pictures) if set(names) - {"d_input"} else None
        ways = {
            "mse": lambda: -((pictures - restored) ** 2).mean((1, 2), dtype=np.float64),
            "ssim": lambda: similarity_of_structure(pictures, restored),
            "d_input": lambda: self._in_chunks(self.discriminator_, pictures).mean((1, 2, 3), dtype=np.float64),
            "d_restored": lambda: self._in_chunks(self.discriminator_, restored).mean((1, 2, 3), dtype=np.float64),
        }
        return pd.DataFrame({name: ways[name]() for name in names}, columns=list(names))

    def _in_chunks(self, module, pictures):
        """A network on (N, S, S) pictures: (N, 1, ...) float32."""
        if len(pictures) == 0:
            return np.zeros((0, 1, self.size, self.size), np.float32)
        device = chosen_device(self.device)
        module, parts = module.to(device), torch.from_numpy(np.ascontiguousarray(pictures))[:, None].split(CHUNK)
        with torch.inference_mode():
            return np.concatenate([module(part.to(device)).cpu().numpy() for part in parts])

    # --- what was learned

    def get_state(self):
        """As `Scorer.get_state`: name -> array."""
        check_is_fitted(self)
        arrays = weights.module_state(self.generator_, "generator/")
        arrays |= weights.module_state(self.discriminator_, "discriminator/") | flat(self.snapshots_, "snapshot/")
        history, reference = self.history_.to_numpy(np.float32), self.reference_.to_numpy(float)
        return arrays | {"people": self.people_, "targets": self.targets_, "history": history, "reference": reference}

    def set_state(self, arrays):
        """As `Scorer.set_state`."""
        self._set_networks(part_of(arrays, "generator/"), part_of(arrays, "discriminator/"))
        self.people_ = np.asarray(arrays["people"], dtype=str)
        self.targets_ = np.asarray(arrays["targets"], np.float32)
        if self.targets_.shape != (len(self.people_), self.size, self.size):
            raise ValueError(f"targets of shape {self.targets_.shape} for {len(self.people_)} people, size {self.size}")
        self.mean_face_ = _mean_face(self.targets_)
        self.history_ = pd.DataFrame(np.asarray(arrays["history"], np.float32), columns=HISTORY)
        self.reference_ = pd.DataFrame(np.asarray(arrays["reference"], float), index=MEASURES, columns=["mean", "std"])
        self.snapshots_ = numbered(arrays, "snapshot/")
        return self


def similarity_of_structure(first, second):
    """SSIM of each picture of `first` with that of `second` in the same row: (N, S, S) in 0..1 -> (N,) float64."""
    settings = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.array([structural_similarity(a, b, **settings) for a, b in zip(first, second, strict=True)], float)


def _mean_face(targets):
    mean = targets.mean(0)
    return (mean + mean[:, ::-1]) / 2


# --- health of the GAN

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
        Inputs of the generator, its outputs, and for each the best photograph of its person.
    people : sequence of N
        Who is shown; at least two.
    mean_face : array (S, S)
        `Restorer.mean_face_`.

    Returns
    -------
    Health

    Raises
    ------
    DataError
        Fewer than two people.
    """
    people = np.asarray(people)
    if len(np.unique(people)) < 2:
        raise DataError("variety needs restorations of at least 2 people")

    def distance(a, b):
        return float(np.abs(a - b).mean(dtype=np.float64))

    def spread(pictures):
        means = np.stack([pictures[people == p].mean(0) for p in np.unique(people)])
        return distance(means, means.mean(0))

    to_input, wanted, spread_of_targets = distance(restored, inputs), distance(inputs, targets), spread(targets)
    return Health(
        to_input=to_input,
        to_target=distance(restored, targets),
        to_mean=distance(restored, mean_face),
        input_to_target=wanted,
        target_to_mean=distance(targets, mean_face),
        change=to_input / wanted if wanted else 0.0,
        variety=spread(restored) / spread_of_targets if spread_of_targets else 0.0,
    )
