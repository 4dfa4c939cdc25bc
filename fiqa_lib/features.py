"""A face as a vector of numbers: GIST, HOG, local binary patterns (LBP), and the embedding of a recogniser (CNN).

All but the last look at the same 100x100 picture, `aligned_face`. Each is an object with a `name`, the length `dim` of
its vector, what it is `blind` to, and `extract(faces)`; `extract` computes several for a batch in one call.

None of them was made for quality. GIST describes which stripes are where, HOG which way edges run, LBP what surrounds
each pixel, and an embedding who is shown. HOG and LBP are scikit-image's; GIST is in no package, so it is written here.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.fft
import torch
from skimage.feature import hog, local_binary_pattern

from .errors import DataError
from .faces import CHIP_ORIGIN
from .recognition import as_recogniser
from .recognition.base import Recogniser, crops_of, fixed_crop, grey
from .recognition.classical import region_counts

SIDE = 100
"""Side, in pixels, of the picture that the handcrafted features look at."""
CHIP = 150
"""Side, in pixels, of dlib's chip, which that picture shows: brow to chin, ear to ear."""


# --- the picture ------------------------------------------------------------------------------------------------------


def aligned_matrix():
    """The map (2, 3) that takes (x, y, 1) of the canonical crop to the 100x100 picture; its scale is 2/3."""
    scale, (row, column) = SIDE / CHIP, CHIP_ORIGIN
    # pixel centres: u in the chip lies at (u + 0.5) * scale - 0.5 in the picture
    shift = [(0.5 - origin) * scale - 0.5 for origin in (column, row)]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def aligned_face(faces):
    """The picture that the handcrafted features look at: dlib's chip at two thirds of its size, eyes 35 pixels apart.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Faces aligned to the canonical crop.

    Returns
    -------
    array (N, 100, 100, 3) uint8 RGB
    """
    return fixed_crop(crops_of(faces), aligned_matrix(), (SIDE, SIDE))


def grey_face(faces):
    """`aligned_face` in grey (ITU-R BT.601, as OpenCV rounds it): (N, 100, 100) uint8."""
    return grey(aligned_face(faces))


# --- GIST -------------------------------------------------------------------------------------------------------------

PREFILTER_PAD, FILTER_PAD = 5, 32
"""Pixels by which a picture is mirrored at its border before the prefilter, and before the filter bank."""
LOWPASS, CONTRAST = 4.0, 0.2
"""Prefilter: frequency that is half removed, in cycles per padded picture; the contrast that is not amplified."""
FINEST, STEP = 0.3, 1.85
"""Filter bank: centre frequency of the finest scale, in cycles per pixel; its ratio from scale to scale."""


def gabor_bank(side, orientations=(8, 8, 8, 8)):
    """Transfer functions of the filters of GIST, on the frequency grid of `scipy.fft.fft2`.

    A filter passes stripes of about one frequency and one direction: exp(-3.5 (f / f_s - 1)^2 - pi n^2 / 32 d^2), with
    f the frequency, f_s = 0.3 / 1.85^s cycles per pixel that of scale s, n the number of orientations of that scale and
    d the angle in radians between the frequency's direction and the filter's, pi k / n. Angles run from the x axis
    (rightwards) to the y axis (downwards), so k = 0 passes upright stripes. Only one of a stripe's two frequencies
    (+ and -) is passed: the response is complex, and its magnitude does not ripple with the stripes.

    Parameters
    ----------
    side : int
        Side of the square picture to be filtered, in pixels.
    orientations : sequence of int, default=(8, 8, 8, 8)
        Number of orientations of each scale, from the finest scale on.

    Returns
    -------
    array (sum of orientations, side, side) float32, in 0..1
    """
    frequency = scipy.fft.fftfreq(side)
    radius = np.hypot(frequency[:, None], frequency)
    angle = np.arctan2(frequency[:, None], frequency)
    bank = []
    for scale, count in enumerate(orientations):
        radial = 3.5 * (radius / (FINEST / STEP**scale) - 1) ** 2
        for k in range(count):
            turned = np.angle(np.exp(1j * (angle - np.pi * k / count)))  # brought back to -pi..pi
            bank.append(np.exp(-radial - np.pi * count**2 / 32 * turned**2))
    return np.array(bank, np.float32)


@functools.lru_cache(maxsize=8)
def _bank(side, orientations):
    bank = gabor_bank(side, orientations)
    bank.setflags(write=False)
    return bank


def prefilter(picture):
    """The first step of GIST: take the logarithm, remove slow changes of light, equalise local contrast.

    Parameters
    ----------
    picture : array (side, side) or (side, side, channels)
        Values in 0..255. Channels are treated alike; the local contrast is that of their mean.

    Returns
    -------
    array (side, side, channels) float32
    """
    x = np.asarray(picture, np.float32)
    x = np.log1p(x[..., None] if x.ndim == 2 else x)
    x = np.pad(x, [(PREFILTER_PAD, PREFILTER_PAD)] * 2 + [(0, 0)], mode="symmetric")
    smooth = _lowpass(x.shape[:2])
    x = x - _filtered(x, smooth)
    spread = np.sqrt(np.abs(_filtered(x.mean(2, keepdims=True) ** 2, smooth)))
    inside = slice(PREFILTER_PAD, -PREFILTER_PAD)
    return (x / (CONTRAST + spread))[inside, inside]


@functools.lru_cache(maxsize=8)
def _lowpass(shape):
    """Gaussian transfer function on the grid of `scipy.fft.rfft2`: 1/2 at `LOWPASS` cycles per picture."""
    rows, columns = scipy.fft.fftfreq(shape[0], 1 / shape[0]), scipy.fft.rfftfreq(shape[1], 1 / shape[1])
    return (0.5 ** ((rows[:, None] ** 2 + columns**2) / LOWPASS**2)).astype(np.float32)[..., None]


def _filtered(x, transfer):
    return scipy.fft.irfft2(scipy.fft.rfft2(x, axes=(0, 1)) * transfer, s=x.shape[:2], axes=(0, 1))


def pooling(side, blocks):
    """Matrix (blocks, side) float32: row b takes the mean over part b of a line; parts are as equal as pixels allow."""
    edges = np.linspace(0, side, blocks + 1).astype(int)
    matrix = np.zeros((blocks, side), np.float32)
    for row, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        matrix[row, start:end] = 1 / (end - start)
    return matrix


def gist(picture, blocks=4, orientations=(8, 8, 8, 8)):
    """GIST of one square picture: the mean magnitude of each filter's response in each block.

    Parameters
    ----------
    picture : array (side, side) or (side, side, channels)
        Values in 0..255.
    blocks : int, default=4
        Parts of the picture in each direction, 1..side.
    orientations : sequence of int, default=(8, 8, 8, 8)
        As in `gabor_bank`.

    Returns
    -------
    array (channels, filters, blocks, blocks) float32
        Filters in the order of `gabor_bank`; blocks by rows.

    Notes
    -----
    The order is not that of the C code lear-gist, which lists blocks by columns and turns the other way: its filter m
    of a scale with n orientations is filter (n - m) mod n here. Rearrange before a model that was trained on its
    vectors sees these: swap the last two axes, and the filters of each scale as said.
    """
    clear = prefilter(picture)
    side, channels = clear.shape[0], clear.shape[2]
    length = -(-(side + 2 * FILTER_PAD) // 24) * 24  # a multiple of 24: transforms of such a length are fast
    inside, pool = slice(FILTER_PAD, FILTER_PAD + side), pooling(side, blocks)
    bank = _bank(length, tuple(orientations))
    out = np.empty((channels, len(bank), blocks, blocks), np.float32)
    for channel in range(channels):
        margin = (FILTER_PAD, length - side - FILTER_PAD)
        spectrum = scipy.fft.fft2(np.pad(clear[..., channel], [margin, margin], mode="symmetric"))
        for start in range(0, len(bank), 4):  # four at a time stay in the processor's cache
            part = slice(start, start + 4)
            response = scipy.fft.ifft(spectrum * bank[part], axis=1, overwrite_x=True)[:, inside]  # only rows inside
            response = scipy.fft.ifft(response, axis=2)[..., inside]
            out[channel, part] = pool @ np.sqrt(response.real**2 + response.imag**2) @ pool.T
    return out


# --- the features -----------------------------------------------------------------------------------------------------


class Feature:
    """Base of the features. Subclasses set the attributes and write `_of`, or `extract` itself.

    Attributes
    ----------
    name : str
        Short name for tables.
    dim : int
        Length of the vector of one face.
    blind : str
        What the feature does not see; the tests check it.
    """

    name = "feature"
    dim = 0
    blind = ""

    def extract(self, faces, n_jobs=None):
        """Vectors of aligned faces. The vector of a face does not depend on the faces beside it.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces aligned to the canonical crop.
        n_jobs : int, default=None
            Threads; None means as many as torch uses. The result does not depend on it.

        Returns
        -------
        array (N, dim) float32

        Raises
        ------
        DataError
            For anything but aligned faces.
        """
        pictures = self._pictures(faces)
        # threads suffice: OpenCV, SciPy's FFT and most of scikit-image release Python's lock
        with ThreadPoolExecutor(n_jobs or torch.get_num_threads()) as pool:
            rows = pool.map(self._of, pictures)
            return np.fromiter(rows, np.dtype((np.float32, self.dim)), len(pictures))

    def _pictures(self, faces):
        return grey_face(faces)

    def _of(self, picture):
        """The vector of one picture."""
        raise NotImplementedError


@dataclass(frozen=True)
class Gist(Feature):
    """GIST: which stripes are where, coarsely (A. Oliva, A. Torralba, Modeling the shape of the scene, IJCV 2001).

    Prefilter, Gabor bank in the frequency domain, mean magnitude over blocks; see `prefilter`, `gabor_bank`, `gist`.
    Constants are those of the authors' published code; the code is written anew.

    Parameters
    ----------
    blocks : int, default=4
        Parts of the picture in each direction. 4 is the classic setting (512 numbers).
    orientations : tuple of int, default=(8, 8, 8, 8)
        Number of orientations of each scale, finest first.
    colour : bool, default=False
        Whether each colour channel is described by itself, one after the other.
    name : str, default="gist"
        Short name for tables.
    """

    blocks: int = 4
    orientations: tuple = (8, 8, 8, 8)
    colour: bool = False
    name: str = "gist"
    blind = "the amount of light (logarithm; but a veil is seen), where in its block a stripe lies, colour if grey"

    @property
    def dim(self):
        return self.blocks**2 * sum(self.orientations) * (3 if self.colour else 1)

    def _pictures(self, faces):
        return aligned_face(faces) if self.colour else grey_face(faces)

    def _of(self, picture):
        return gist(picture, self.blocks, self.orientations).ravel()


@dataclass(frozen=True)
class Hog(Feature):
    """HOG: how strong edges of each direction are in each cell (N. Dalal, B. Triggs, CVPR 2005), by scikit-image.

    At each pixel the colour channel with the strongest gradient counts.

    Parameters
    ----------
    orientations : int, default=9
        Number of bins of directions in 0..180 degrees.
    cell : int, default=8
        Side of a cell, in pixels.
    block : int, default=3
        Side of a block, in cells. Blocks overlap; each is normalised by itself (L2-Hys).
    name : str, default="hog"
        Short name for tables.
    """

    orientations: int = 9
    cell: int = 8
    block: int = 3
    name: str = "hog"
    blind = "light, contrast and veils (gradients, normalised in blocks), dark on light or light on dark"

    @property
    def dim(self):
        return (SIDE // self.cell - self.block + 1) ** 2 * self.block**2 * self.orientations

    def _pictures(self, faces):
        return aligned_face(faces)

    def _of(self, picture):
        cells, block = (self.cell, self.cell), (self.block, self.block)
        return hog(picture, self.orientations, cells, block, "L2-Hys", channel_axis=-1)


@dataclass(frozen=True)
class LbpCodes(Feature):
    """Uniform local binary patterns of every pixel as they are: a map of codes, flattened. By scikit-image.

    Source: T. Ojala, M. Pietikainen, T. Maenpaa, PAMI 2002. The code of a pixel is the number of its `points`
    neighbours at distance `radius` that are not darker, where those lie side by side; `points` + 1 where they do not.
    Neighbours beyond the picture count as black, so the codes of the outer `radius` pixels mean little.

    A code is a name, not a quantity: code 26 (no pattern) is not "more" than 25 (all lighter). Taken as numbers, as
    here and in the original pipeline, the map is a poor vector; `LbpHistogram` counts instead.

    Parameters
    ----------
    points : int, default=25
        Neighbours of a pixel.
    radius : int, default=5
        Their distance, in pixels.
    name : str, default="lbp"
        Short name for tables.
    """

    points: int = 25
    radius: int = 5
    name: str = "lbp"
    blind = "light, contrast, veils (only comparisons; not at the border), direction (lighter neighbours are counted)"

    @property
    def dim(self):
        return SIDE * SIDE

    def _of(self, picture):
        return local_binary_pattern(picture, self.points, self.radius, "uniform").ravel()


@dataclass(frozen=True)
class LbpHistogram(Feature):
    """How often each uniform local binary pattern occurs in each part of the picture (T. Ahonen et al., PAMI 2006).

    The codes of `LbpCodes` without the outer `radius` pixels; square roots of shares, so that Euclidean distances are
    those of Hellinger, which give rare patterns their weight.

    Parameters
    ----------
    points : int, default=25
        Neighbours of a pixel.
    radius : int, default=5
        Their distance, in pixels.
    grid : int, default=5
        Parts of the picture in each direction.
    name : str, default="lbp-histogram"
        Short name for tables.
    """

    points: int = 25
    radius: int = 5
    grid: int = 5
    name: str = "lbp-histogram"
    blind = "what `lbp` is blind to, and where in its part of the picture a pattern lies"

    @property
    def dim(self):
        return self.grid**2 * (self.points + 2)

    def _of(self, picture):
        codes = local_binary_pattern(picture, self.points, self.radius, "uniform").astype(np.int64)
        codes = codes[self.radius : -self.radius, self.radius : -self.radius]
        counts = region_counts(codes, (self.grid, self.grid), self.points + 2)
        return np.sqrt(counts / counts.sum(1, keepdims=True)).ravel()


@dataclass(frozen=True)
class Cnn(Feature):
    """The embedding of a recogniser, which cuts its own input out of the canonical crop.

    Parameters
    ----------
    recogniser : str or Recogniser, default="dlib"
        As `recognition.as_recogniser` takes it.
    name : str, default="cnn"
        Short name for tables.
    """

    recogniser: str | Recogniser = "dlib"
    name: str = "cnn"
    blind = "what its training taught it to overlook; with dlib above all colour and light from one side"

    @property
    def dim(self):
        return as_recogniser(self.recogniser).dim

    def extract(self, faces, n_jobs=None):
        return as_recogniser(self.recogniser).embed(faces)


FEATURES = {
    "gist": Gist(),
    "gist-25x25": Gist(25, (8, 5, 5), True, "gist-25x25"),
    "hog": Hog(),
    "lbp": LbpCodes(),
    "lbp-histogram": LbpHistogram(),
    "cnn": Cnn(),
}
"""The features by name. "gist-25x25" is the original pipeline's setting: 33,750 numbers."""


def as_feature(feature, recogniser="dlib"):
    """A feature from itself or from its name.

    Parameters
    ----------
    feature : str or Feature
        A name in `FEATURES`, or a feature, which is returned as it is.
    recogniser : str or Recogniser, default="dlib"
        The recogniser of "cnn".

    Returns
    -------
    Feature

    Raises
    ------
    DataError
        Unknown name; the message lists the known ones.
    """
    if isinstance(feature, Feature):
        return feature
    if feature not in FEATURES:
        raise DataError(f"there is no feature {feature!r}; known: {', '.join(FEATURES)}")
    return Cnn(recogniser) if feature == "cnn" else FEATURES[feature]


def extract(faces, features=tuple(FEATURES), *, recogniser="dlib", n_jobs=None):
    """Several features of a batch in one call.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Faces aligned to the canonical crop.
    features : sequence of str or Feature, default=all of `FEATURES`
        Which ones. "gist-25x25" of 1000 faces takes 135 MB.
    recogniser : str or Recogniser, default="dlib"
        The recogniser of "cnn".
    n_jobs : int, default=None
        Threads; None means as many as torch uses.

    Returns
    -------
    dict of name -> array (N, dim) float32
    """
    chosen = [as_feature(feature, recogniser) for feature in features]
    return {feature.name: feature.extract(faces, n_jobs) for feature in chosen}


def overview():
    """DataFrame with one row for each of `FEATURES`: `name`, `dim`, `blind_to`."""
    rows = [(name, feature.dim, feature.blind) for name, feature in FEATURES.items()]
    return pd.DataFrame(rows, columns=["name", "dim", "blind_to"])
