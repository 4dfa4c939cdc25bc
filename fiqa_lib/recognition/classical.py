"""Two recognisers from before deep learning.

They need no published weights and have nothing in common with dlib's network: an independent second opinion, which
every quality method should be tested with.
"""

from __future__ import annotations

import numpy as np
from skimage.feature import local_binary_pattern
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..errors import DataError, WeightsError
from ..faces import CANONICAL_EYES, Faces, crops_of, similarity_transform
from ..files import whole_file
from ..weights import read_arrays
from . import similarity
from .base import Recogniser, fixed_crop, grey, seen_window
from .checkpoints import sha256

WINDOW = (130, 150)
"""Width and height of the face window in pixels, as on FERET in the LBP paper."""
WINDOW_EYES = np.array([[30.0, 45.0], [100.0, 45.0]])
"""Eye centres (x, y) in that window."""
SEEN = seen_window(similarity_transform(CANONICAL_EYES, WINDOW_EYES), WINDOW)
"""The window's place in the canonical crop: (top, left, bottom, right)."""


def face_window(images, scale=1.0, margin=0):
    """The grey face window of the classical methods, from chin to brow.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        Canonical crops, RGB.
    scale : float, default=1.0
        1 gives 130 x 150 pixels (the canonical crop enlarged by a third), 0.5 half of that.
    margin : int, default=0
        Pixels more on every side.

    Returns
    -------
    array (N, height, width) uint8
    """
    target = (WINDOW_EYES + 0.5) * scale - 0.5 + margin
    size = tuple(round(side * scale) + 2 * margin for side in WINDOW)
    return grey(fixed_crop(images, similarity_transform(CANONICAL_EYES, target), size))


def region_counts(codes, grid, n_labels):
    """How often each label occurs in each region of a map of labels.

    Parameters
    ----------
    codes : array (H, W) int
        Labels in 0 .. n_labels - 1.
    grid : (int, int)
        Rows and columns of regions, as equal as whole pixels allow.
    n_labels : int
        Number of labels.

    Returns
    -------
    array (rows * columns, n_labels) int64
    """
    rows, columns = (np.arange(side) * parts // side for side, parts in zip(codes.shape, grid, strict=True))
    places = (rows[:, None] * grid[1] + columns) * n_labels + codes
    return np.bincount(places.ravel(), minlength=grid[0] * grid[1] * n_labels).reshape(-1, n_labels)


class LbpHistograms(Recogniser):
    """Histograms of uniform local binary patterns on a grid, compared by chi-square. Nothing is learned.

    Source: T. Ahonen, A. Hadid, M. Pietikainen, Face Description with Local Binary Patterns, PAMI 2006: LBP(8, 2) with
    59 labels, 7 x 7 regions of a 130 x 150 window. Its weights of the regions, learned on FERET, are left out.

    `similarity` is "own": minus chi-square, sum (p - q)^2 / (p + q), from 0 (equal) to -2 (no pattern in common).
    The embedding holds the **square roots** of the histograms, which sum to 1 over all regions. So its length is 1, and
    cosine and Euclidean distance, for code that needs vectors, are those of Bhattacharyya and Hellinger. With H the
    Euclidean distance of two embeddings, H^2 <= chi-square <= 2 H^2: it is the nearest to the real similarity.

    Parameters
    ----------
    grid : (int, int), default=(7, 7)
        Rows and columns of regions in the window.
    points : int, default=8
        Neighbours of a pixel.
    radius : int, default=2
        Their distance, in pixels of the window.
    """

    name = "lbp"
    similarity = "own"
    window = SEEN
    batch_size = 64

    def __init__(self, grid=(7, 7), points=8, radius=2):
        self.grid, self.points, self.radius = tuple(grid), points, radius
        self.n_labels = points * (points - 1) + 3  # uniform patterns, and one label for all others
        self.dim = grid[0] * grid[1] * self.n_labels

    def labels(self, faces):
        """(N, 150, 130) int64: the uniform pattern of every pixel of the window, in 0 .. n_labels - 1."""
        border = self.radius  # neighbours beyond the picture count as 0, so a margin is coded and cut off
        windows = face_window(crops_of(faces), margin=border)
        out = np.empty((len(windows), WINDOW[1], WINDOW[0]), np.int64)
        for window, labels in zip(windows, out, strict=True):
            codes = local_binary_pattern(window, self.points, self.radius, method="nri_uniform")
            labels[:] = codes[border:-border, border:-border]
        return out

    def _embed(self, images):
        counts = [region_counts(labels, self.grid, self.n_labels).ravel() for labels in self.labels(images)]
        return np.sqrt(np.array(counts) / (WINDOW[0] * WINDOW[1]))

    def similarity_of(self, a, b, centre=None):
        """Minus the chi-square distance of the histograms behind each row of `a` and the same row of `b`.

        Parameters
        ----------
        a, b : array (P, dim)
            Embeddings, that is square roots of histograms.
        centre : array (dim,), default=None
            Has no effect.

        Returns
        -------
        array (P,) float64
            In [-2, 0].
        """
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape or a.ndim != 2:
            raise DataError(f"a and b must hold the same number of embeddings of one size, got {a.shape} and {b.shape}")
        return _minus_chi2(a**2, b**2)

    def all_pairs(self, embeddings, identities, centre=None):
        """Similarity and mated flag of every pair, about 2 s for 400 faces; parameters as in `Recogniser.all_pairs`.

        Time grows with the square of the number of faces. Beyond a few thousand use
        `all_pairs(embeddings, identities, kind="euclidean")`, which one matrix product computes.
        """
        pairs = similarity.all_pairs(embeddings, identities, kind="euclidean")
        histograms = np.asarray(embeddings, np.float32) ** 2
        rows = [_minus_chi2(histograms[i], histograms[i + 1 :]) for i in range(len(histograms) - 1)]
        return pairs._replace(similarity=np.concatenate([np.zeros(0, np.float32), *rows]).astype(np.float32))


def _minus_chi2(p, q):
    total = p + q
    return -((p - q) ** 2 / np.where(total > 0, total, 1)).sum(-1)


class Fisherfaces(Recogniser):
    """Linear discriminants of whole pictures, learned on training people and compared by the cosine.

    Source: P. Belhumeur, J. Hespanha, D. Kriegman, Eigenfaces vs. Fisherfaces, PAMI 1997, section 2.4: principal
    components first, so that the scatter within people can be inverted, then Fisher's linear discriminant.
    Pictures are the 65 x 75 grey window, each brought to mean 0 and variance 1. Embeddings are centred on the training
    mean, so no further centre is needed.

    Parameters
    ----------
    n_components : int, default=None
        Principal components that are kept. None: the number of pictures minus the number of people, as in the paper,
        which is also the most that is possible.
    shrinkage : float in 0..1, "auto" or None, default="auto"
        Shrinkage of the scatter within people towards a sphere; "auto" is Ledoit and Wolf's. None is the paper's, which
        overfits when people have few pictures: the scatter is then nearly singular.

    Raises
    ------
    DataError
        On use before `fit` or `load`.
    """

    name = "fisherfaces"
    similarity = "cosine"
    window = SEEN
    batch_size = 256

    def __init__(self, n_components=None, shrinkage="auto"):
        self.n_components, self.shrinkage = n_components, shrinkage
        self.mean_ = self.projection_ = None

    def fit(self, faces, identities=None):
        """Learn from training people. The people it is tested on must be others.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces aligned to the canonical crop.
        identities : sequence of N, default=None
            Who they show; None takes those of `Faces`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            Fewer than 2 people, unknown ones, or no person with two pictures.
        """
        images = crops_of(faces)
        if identities is None:
            if not isinstance(faces, Faces):
                raise DataError("Fisherfaces learns who is who: pass Faces, or identities")
            identities = faces.identities
        identities = np.asarray(identities).astype(str)
        people = np.unique(identities)
        if len(identities) != len(images):
            raise DataError(f"{len(images)} faces, but {len(identities)} identities")
        if (identities == "").any() or len(people) < 2 or len(images) <= len(people):
            raise DataError(
                f"Fisherfaces needs 2 or more people, all known, and two pictures of some; got {len(images)} pictures "
                f"of {len(people)} people, {(identities == '').sum()} pictures without identity"
            )
        most = len(images) - len(people)
        if self.n_components is not None and not 1 <= self.n_components <= most:
            raise DataError(f"n_components must be in 1..{most} (pictures minus people), got {self.n_components}")
        pixels = self._pixels(images)
        components = PCA(min(self.n_components or most, pixels.shape[1]), svd_solver="full").fit(pixels)
        solver = "svd" if self.shrinkage is None else "eigen"
        discriminant = LinearDiscriminantAnalysis(solver=solver, shrinkage=self.shrinkage)
        discriminant.fit(components.transform(pixels), identities)
        width = min(len(people) - 1, components.n_components_)
        # both steps are linear: one matrix does both, centred on the mean of the training pictures
        projection = components.components_.T @ discriminant.scalings_[:, :width]
        largest = np.abs(projection).argmax(0)  # signs are arbitrary: the largest entry of each direction is positive
        projection *= np.sign(projection[largest, np.arange(width)])
        return self._take(components.mean_, projection, None)

    def _take(self, mean, projection, checksum):
        self.mean_, self.projection_, self.checksum, self.dim = mean, projection, checksum, projection.shape[1]
        return self

    def _pixels(self, images):
        windows = face_window(images, scale=0.5).reshape(len(images), -1).astype(np.float64)
        spread = windows.std(axis=1, keepdims=True)
        return (windows - windows.mean(axis=1, keepdims=True)) / np.maximum(spread, 1.0)

    def embed(self, faces, batch_size=None):
        crops_of(faces)
        self._check_fitted()
        return super().embed(faces, batch_size)

    def _embed(self, images):
        return (self._pixels(images) - self.mean_) @ self.projection_

    def _check_fitted(self):
        if self.projection_ is None:
            raise DataError("Fisherfaces has learned nothing yet: fit it on training people, or load a saved state")

    def save(self, path):
        """Write what was learned to a `.npz` file of plain arrays (no pickle), whole or not at all.

        `load_recogniser("fisherfaces", weights=path)` reads it.

        Parameters
        ----------
        path : path
            Must end in `.npz`.

        Returns
        -------
        path
        """
        self._check_fitted()
        if not str(path).endswith(".npz"):
            raise DataError(f"{path}: the name must end in .npz")
        with whole_file(path) as temporary:
            np.savez(temporary, mean=self.mean_, projection=self.projection_)
        return path

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            A `.npz` file.

        Returns
        -------
        Fisherfaces
            Fitted.

        Raises
        ------
        WeightsError
            When the file is missing or of another kind.
        """
        checksum = sha256(path)
        pixels = int(np.prod([round(side * 0.5) for side in WINDOW]))
        state = read_arrays(path, "mean", "projection")
        mean, projection = state["mean"], state["projection"]
        right = mean.shape == (pixels,) and projection.ndim == 2 and len(projection) == pixels
        if not right or not (np.isfinite(mean).all() and np.isfinite(projection).all()):
            raise WeightsError(
                f"{path}: mean {mean.shape} and projection {projection.shape}, expected finite ({pixels},) and "
                f"({pixels}, length); Fisherfaces.save writes such a file"
            )
        return cls()._take(mean, projection, checksum)
