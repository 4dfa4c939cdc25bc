"""FaceQgen: quality as the change that a generative restoration makes (Hernandez-Ortega et al., FG 2021).

The published files of FaceQnet and FaceQgen (`.h5`) are not read: they hold Keras models. It would take h5py, the graph
that stands as JSON in the file's attribute `model_config` rebuilt in torch, kernels turned from (height, width, in,
out) to (out, in, height, width), Keras's epsilon of batch norm (1e-3) and padding, and the authors' sample faces with
their scores to compare. Scores that their programs wrote are read by `data.read_quality`.
"""

from __future__ import annotations

from ..networks.restorer import MEASURES, Restorer, RestorerParameters
from .base import Scorer, fit_key, register

_TRAINED = {}  # the last network, by the content that it was trained on: five scores share it


class FaceQgenScore(RestorerParameters, Scorer):
    """What the five scores share: one restoration network, trained once, and all their measures of a face.

    See `networks.restorer.RestorerParameters` for the parameters. `fit` trains, or takes the network that another of
    the five has just trained on the same faces with the same parameters. A file that one of them saved, any of them
    loads.

    **Faithful:** the three published measures; quality as the change that a restoration makes.
    **Changed:** a small network trained in minutes on made damage; a fourth measure and the combination of all.
    **Blind** (ORL-D, share of copies that score lower minus share that score higher): SSIM rises with noise (-1) and
    JPEG (-.47), since a noisy picture stays noisy; the squared error with defocus blur (-.62); the discriminator on the
    input with blur (-.4), low contrast and rotation (-.4, -.3). On photographs none is better than a detector's score
    (`data/results/lfw`).

    Attributes
    ----------
    restorer_ : networks.restorer.Restorer
    """

    family = "faceqgen"
    learns = True
    resumes = True
    silent = ("device", "verbose")
    quick = {"size": 32, "width": 8, "n_copies": 2, "n_own": 4}
    quick |= {"n_steps": 30, "batch_size": 8, "n_identity": 2, "n_snapshots": 1}
    measure = None  # the column of `Restorer.measures` that is the score

    def fit(self, faces, identities=None, checkpoint=None):
        """Train the restoration network; see `networks.restorer.Restorer.fit`."""
        key = fit_key(self, faces, identities)
        if key not in _TRAINED:
            trained = Restorer(**self.get_params()).fit(faces, identities, checkpoint=checkpoint)
            _TRAINED.clear()
            _TRAINED[key] = trained
        self.restorer_ = _TRAINED[key]
        return self

    def measures(self, faces):
        """All measures of each face: `Restorer.measures`, and their combination.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces to measure.

        Returns
        -------
        DataFrame with N rows
            `mse`, `ssim`, `d_input`, `d_restored`, `combined`; higher is better in each.
        """
        table = self.restorer_.measures(faces)
        return table.assign(combined=combine(table, self.restorer_.reference_))

    def _score(self, images, faces):
        return self.restorer_.measures(images, [self.measure])[self.measure]

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
        With the columns `MEASURES`.
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
    measure = "mse"


@register("faceqgen-ssim")
class FaceQgenSsim(FaceQgenScore):
    """Structural similarity of a face and its restoration, at most 1 (FaceQgen's second measure)."""

    cost = "one U-Net and one SSIM"
    measure = "ssim"


@register("faceqgen-d-input")
class FaceQgenInputVerdict(FaceQgenScore):
    """Verdict of FaceQgen's discriminator on the face itself: about 1 for what looks like a best photograph."""

    cost = "one discriminator"
    measure = "d_input"


@register("faceqgen-d-restored")
class FaceQgenRestoredVerdict(FaceQgenScore):
    """Verdict of FaceQgen's discriminator on the restored face: about 1 where the restoration convinces."""

    cost = "one U-Net and one discriminator"
    measure = "d_restored"
