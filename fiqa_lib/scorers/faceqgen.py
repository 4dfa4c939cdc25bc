"""FaceQgen: quality as the change that a generative restoration makes (Hernandez-Ortega et al., FG 2021)."""

from __future__ import annotations

from .. import restoration
from ..restoration import MEASURES, Restorer
from .base import Scorer, fit_key, register

_TRAINED = {}  # the last network, by the content that it was trained on: five scores share it


class FaceQgenScore(Scorer):
    """What the five scores share: one restoration network, trained once, and all their measures of a face.

    See `restoration.Restorer` for the parameters. `fit` trains, or takes up the network that another of the five
    has just trained on the same faces with the same parameters. A file that one of them saved, any of them loads.
    """

    family = "faceqgen"
    learns = True
    resumes = True
    built_on = (restoration,)
    silent = ("device", "verbose")
    quick = {
        "size": 32,
        "width": 8,
        "n_copies": 2,
        "n_own": 4,
        "n_steps": 30,
        "batch_size": 8,
        "n_identity": 2,
        "n_snapshots": 1,
    }

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
        """Train the restoration network; see `restoration.Restorer.fit`."""
        key = fit_key(self, faces, identities)
        if key not in _TRAINED:
            trained = Restorer(**self.get_params()).fit(faces, identities, checkpoint=checkpoint)
            _TRAINED.clear()
            _TRAINED[key] = trained
        self.restorer_ = _TRAINED[key]
        return self

    def measures(self, faces):
        """All measures of each face, for tables: `restoration.Restorer.measures`, and their combination.

        Returns
        -------
        DataFrame with N rows
            `mse`, `ssim`, `d_input`, `d_restored`, `combined`; higher is better in each.
        """
        found = self.restorer_.measures(faces)
        return found.assign(combined=combine(found, self.restorer_.reference_))

    def get_state(self):
        return self.restorer_.get_state()

    def set_state(self, arrays):
        self.restorer_ = Restorer(**self.get_params()).set_state(arrays)
        return self


def combine(measures, reference):
    """The mean of the measures, each in standard deviations from its mean over the training images.

    Parameters
    ----------
    measures : DataFrame
        With the columns `restoration.MEASURES`.
    reference : DataFrame
        `Restorer.reference_`.

    Returns
    -------
    array (N,) float64
    """
    columns = list(MEASURES)
    scale = reference["std"][columns].replace(0, 1)
    return ((measures[columns] - reference["mean"][columns]) / scale).mean(axis=1).to_numpy(float)


@register("faceqgen")
class FaceQgen(FaceQgenScore):
    """Mean of the four FaceQgen measures, each in standard deviations from its mean over the training images."""

    cost = "one U-Net, two runs of the discriminator, one SSIM"

    def _score(self, images, faces):
        return self.measures(images)["combined"]


@register("faceqgen-mse")
class FaceQgenMse(FaceQgenScore):
    """Minus the mean squared difference between a face and its restoration, -1..0 (FaceQgen's first measure)."""

    cost = "one U-Net"

    def _score(self, images, faces):
        return self.restorer_.measures(images, ["mse"])["mse"]


@register("faceqgen-ssim")
class FaceQgenSsim(FaceQgenScore):
    """Structural similarity of a face and its restoration, at most 1 (FaceQgen's second measure)."""

    cost = "one U-Net and one SSIM"

    def _score(self, images, faces):
        return self.restorer_.measures(images, ["ssim"])["ssim"]


@register("faceqgen-d-input")
class FaceQgenInputVerdict(FaceQgenScore):
    """Verdict of FaceQgen's discriminator on the face itself: about 1 for what looks like a best photograph."""

    cost = "one discriminator"

    def _score(self, images, faces):
        return self.restorer_.measures(images, ["d_input"])["d_input"]


@register("faceqgen-d-restored")
class FaceQgenRestoredVerdict(FaceQgenScore):
    """Verdict of FaceQgen's discriminator on the restored face: about 1 where the restoration convinces."""

    cost = "one U-Net and one discriminator"

    def _score(self, images, faces):
        return self.restorer_.measures(images, ["d_restored"])["d_restored"]
