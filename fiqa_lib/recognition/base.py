"""What every recogniser offers, whatever is inside, and the crop that most networks share."""

from __future__ import annotations

import functools
import hashlib

import cv2
import numpy as np
import torch
from torch.nn import functional

from ..cache import content_key
from ..errors import DataError
from ..faces import ARCFACE_SIZE, ARCFACE_TO_CANONICAL, SIZE, crops_of
from . import similarity

# --- crops -------------------------------------------------------------------------------------------------------


def seen_window(matrix, size):
    """The part of the canonical crop that a crop by `matrix` shows.

    Parameters
    ----------
    matrix : array (2, 3)
        Affine map from the canonical crop to the new one, as in `fixed_crop`.
    size : (int, int)
        Width and height of the new crop, in pixels.

    Returns
    -------
    (top, left, bottom, right) : four int
        Whole pixels of the canonical crop that lie inside.
    """
    back = cv2.invertAffineTransform(np.asarray(matrix, float))
    corners = np.array([[0, 0], [size[0] - 1, size[1] - 1]]) @ back[:, :2].T + back[:, 2]
    left, top = np.clip(np.ceil(corners[0]), 0, SIZE).astype(int).tolist()
    right, bottom = np.clip(np.floor(corners[1]) + 1, 0, SIZE).astype(int).tolist()
    return top, left, bottom, right


@functools.cache
def arcface_matrix():
    """Takes (x, y, 1) of the canonical crop to the ArcFace crop, (2, 3): its scale is 2/3."""
    matrix = cv2.invertAffineTransform(ARCFACE_TO_CANONICAL)
    matrix.setflags(write=False)
    return matrix


def fixed_crop(images, matrix, size):
    """Cut every canonical crop by the same affine map: bilinear interpolation, repeated border.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        Canonical crops.
    matrix : array (2, 3)
        Takes (x, y, 1) of the canonical crop to the new one.
    size : (int, int)
        Width and height of the new crop, in pixels.

    Returns
    -------
    array (N, height, width, 3) uint8
    """
    out = np.empty((len(images), size[1], size[0], 3), np.uint8)
    for image, target in zip(images, out, strict=True):
        cv2.warpAffine(image, matrix, size, target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out


def grey(images):
    """RGB pictures (N, H, W, 3) uint8 in grey: (N, H, W) uint8 (ITU-R BT.601, as OpenCV rounds it)."""
    out = np.empty(images.shape[:3], np.uint8)
    for image, target in zip(images, out, strict=True):
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY, dst=target)
    return out


def arcface_crop(images):
    """The 112x112 crop of ArcFace, MagFace, AdaFace, TransFace and most ONNX models.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        Canonical crops, RGB.

    Returns
    -------
    array (N, 112, 112, 3) uint8
        RGB, with the eye centres at the points of `ARCFACE_POINTS`.
    """
    return fixed_crop(images, arcface_matrix(), (ARCFACE_SIZE, ARCFACE_SIZE))


def arcface_crop_tensor(images):
    """`arcface_crop` without rounding, so that gradients reach the canonical crop.

    Parameters
    ----------
    images : tensor (N, C, 192, 192), floating point
        Canonical crops.

    Returns
    -------
    tensor (N, C, 112, 112)
        Same type and device. Rounded to whole numbers it equals `arcface_crop`.
    """
    back = cv2.invertAffineTransform(arcface_matrix())
    grid = np.stack([*np.meshgrid(np.arange(ARCFACE_SIZE), np.arange(ARCFACE_SIZE))], axis=-1) @ back[:, :2].T
    grid = (grid + back[:, 2]) * 2 / (SIZE - 1) - 1  # grid_sample wants -1..1 between the outermost pixel centres
    grid = torch.as_tensor(grid, dtype=images.dtype, device=images.device).expand(len(images), -1, -1, -1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def batches(n, size):
    """Slices that divide n rows into parts of `size` rows; the last part may be shorter."""
    return (slice(start, start + size) for start in range(0, n, size))


# --- the contract ------------------------------------------------------------------------------------------------


class Recogniser:
    """Turns aligned faces into embeddings and defines how two embeddings are compared.

    A subclass sets the attributes and writes `_embed(images)` for one batch.

    Attributes
    ----------
    name : str
        Short name for tables and the command line.
    dim : int
        Length of an embedding; 0 before a recogniser that learns is fitted.
    similarity : {"cosine", "euclidean", "own"}
        How two embeddings are compared. "euclidean" is minus the distance. "own" is defined by the subclass, in
        `similarity_of` and `all_pairs`; its docstring names the nearest of the other two, for code that needs vectors.
    checksum : str or None
        SHA-256 of the file of weights, for tables and logs; None where there is no file.
    window : (top, left, bottom, right)
        The part of the canonical crop that it looks at, in pixels. Beyond it, at most the reach of a filter counts.
    batch_size : int
        Default number of faces per pass of `embed`.
    """

    name = "recogniser"
    dim = 0
    similarity = "cosine"
    checksum = None
    window = (0, 0, SIZE, SIZE)
    batch_size = 32

    def embed(self, faces, batch_size=None):
        """Embeddings of aligned faces.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces aligned to the canonical crop.
        batch_size : int, default=None
            Faces per pass; None means the recogniser's own. The result does not depend on it, up to float32 rounding.

        Returns
        -------
        array (N, dim) float32
            Raw embeddings: not normalised, not centred.

        Raises
        ------
        DataError
            For anything but aligned faces.
        """
        return self._in_batches(self._embed, faces, self.dim, batch_size)

    def _embed(self, images):
        """Embeddings (n, dim) of one batch of canonical crops (n, 192, 192, 3)."""
        raise NotImplementedError

    def _in_batches(self, function, faces, width, batch_size=None):
        """(N, width) float32: `function` of one batch of canonical crops after the other."""
        images = crops_of(faces)
        out = np.empty((len(images), width), np.float32)
        for batch in batches(len(images), batch_size or self.batch_size):
            out[batch] = function(images[batch])
        return out

    def similarity_of(self, a, b, centre=None):
        """Similarity of each row of `a` with the same row of `b`; higher means more alike.

        Parameters
        ----------
        a, b : array (P, dim)
            Embeddings.
        centre : array (dim,), default=None
            Subtracted first where the similarity is the cosine (see `cosine`); it has no effect on a distance.

        Returns
        -------
        array (P,) float64
        """
        if self.similarity == "cosine":
            return similarity.cosine(a, b, centre=centre)
        return similarity.euclidean(a, b)

    def all_pairs(self, embeddings, identities, centre=None):
        """Similarity and mated flag of every pair of N faces, with this recogniser's similarity.

        Parameters
        ----------
        embeddings : array (N, dim)
            As `embed` gives them.
        identities : sequence of N
            Who each face shows.
        centre : array (dim,), default=None
            As in `similarity_of`.

        Returns
        -------
        namedtuple (similarity, mated)
            Arrays (N (N - 1) / 2,), float32 and bool, in the order of `numpy.triu_indices(N, 1)`.
        """
        return similarity.all_pairs(embeddings, identities, kind=self.similarity, centre=centre)

    def features(self, faces, batch_size=None):
        """Input of the last linear layer; parameters as in `embed`. Only torch networks have one; others raise."""
        raise DataError(self._no_network())

    @property
    def head(self):
        """What leads from `features` to the embedding. Only torch networks have one; others raise DataError."""
        raise DataError(self._no_network())

    def _no_network(self):
        return (
            f"{self.name} is no torch network, so it has neither features before a last layer nor gradients: methods "
            "that need them run with dlib, ArcFace, MagFace, AdaFace or TransFace"
        )

    def fingerprint(self):
        """A short name for all that decides the embeddings: class, options, weights. Part of the keys of caches."""
        parts = [type(self).__qualname__, self.name, self.dim, self.similarity, self.window, self.checksum]
        for name, value in sorted(vars(self).items()):
            if name.startswith("_") or name in ("device", "batch_size", "path"):
                continue
            if isinstance(value, np.ndarray):
                parts += [name, value.shape, value.tobytes()]
            elif isinstance(value, torch.nn.Module):
                if self.checksum is None:  # otherwise the file's checksum covers the weights
                    parts += [(key, array.cpu().numpy().tobytes()) for key, array in value.state_dict().items()]
            elif value is None or isinstance(value, (bool, int, float, str, tuple)):
                parts += [name, value]
        return content_key(*parts)

    def __sklearn_clone__(self):
        """The copy of a scorer shares its recogniser: nothing changes it, and it may hold 65 million weights."""
        return self

    def __repr__(self):
        return f"{type(self).__name__}(name={self.name!r}, dim={self.dim}, similarity={self.similarity!r})"


class Remembering(Recogniser):
    """A recogniser that keeps its embeddings, for many questions about the same faces.

    Each score by perturbation, for instance, asks for the undisturbed face again. It is a wrapper that the user has to
    ask for, since it spoils measurements of speed. All but `embed` is the wrapped recogniser's own.

    Parameters
    ----------
    recogniser : Recogniser
        Makes the embeddings.
    limit : int, default=50_000
        Number of embeddings that are kept; the oldest go first.
    """

    def __init__(self, recogniser, limit=50_000):
        self.recogniser, self.limit, self._embeddings = recogniser, limit, {}
        own = ("name", "dim", "similarity", "checksum", "window")
        for name in (*own, "features", "similarity_of", "all_pairs", "fingerprint"):  # else the base class would answer
            setattr(self, name, getattr(recogniser, name))

    def __getattr__(self, name):
        if name.startswith("__") or name == "recogniser":
            raise AttributeError(name)
        return getattr(self.recogniser, name)

    def embed(self, faces, batch_size=None):
        images = crops_of(faces)
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        new = {key: row for row, key in enumerate(keys) if key not in self._embeddings}
        asked = {key: self._embeddings[key] for key in keys if key not in new}
        if new:
            asked.update(zip(new, self.recogniser.embed(images[list(new.values())], batch_size), strict=True))
        self._embeddings.update(asked)
        for key in list(self._embeddings)[: max(0, len(self._embeddings) - self.limit)]:
            del self._embeddings[key]
        return np.array([asked[key] for key in keys], np.float32).reshape(len(keys), self.dim)

    @property
    def head(self):
        """The recogniser's."""
        return self.recogniser.head


class TorchRecogniser(Recogniser):
    """A recogniser whose network is a torch module. A subclass sets the attributes and writes `preprocess`.

    Attributes
    ----------
    module : torch.nn.Module
        Maps a preprocessed batch to embeddings. In evaluation mode; gradients flow to its input. Its method `features`
        gives the input of the last linear layer.
    n_features : int
        Width of that input.
    device : str
        Where the network runs: "cpu" or "cuda".
    """

    n_features = 0
    device = "cpu"
    module: torch.nn.Module

    def preprocess(self, faces):
        """Cut this recogniser's own input out of the canonical crops: (N, 3, height, width) float32 tensor."""
        raise NotImplementedError

    def _embed(self, images):
        return self._run(self.module, images)

    def features(self, faces, batch_size=None):
        """Input of the last linear layer, where stochastic dropout belongs.

        `head` leads from there to the embedding: `head(torch.from_numpy(features))` equals `embed(faces)`.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Faces aligned to the canonical crop.
        batch_size : int, default=None
            As in `embed`.

        Returns
        -------
        array (N, n_features) float32
        """
        run = functools.partial(self._run, self.module.features)
        return self._in_batches(run, faces, self.n_features, batch_size)

    @property
    def head(self):
        """torch.nn.Module (B, n_features) -> (B, dim): the last linear layer, and its batch norm where there is one."""
        return self.module.head if hasattr(self.module, "head") else self.module.last

    def _run(self, function, images):
        with torch.inference_mode():
            return function(self.preprocess(images)).cpu().numpy()


class ArcFaceInput:
    """Mix-in: the 112x112 input of ArcFace and its successors, which differ in colour order and range.

    Attributes
    ----------
    bgr : bool
        Whether the first channel is blue.
    mean, scale : float
        Pixels in 0..255 become (pixel - mean) / scale.
    """

    bgr = False
    mean = 127.5
    scale = 127.5
    window = seen_window(arcface_matrix(), (ARCFACE_SIZE, ARCFACE_SIZE))

    def preprocess(self, faces):
        """(N, 3, 112, 112) float32: `arcface_crop`, in the channel order and range of the network's training."""
        chips = torch.from_numpy(arcface_crop(crops_of(faces))).permute(0, 3, 1, 2)
        return self.normalise(chips.to(self.device, torch.float32))

    def normalise(self, chips):
        """(N, 3, 112, 112) float RGB tensor in 0..255 -> network input; the differentiable half of `preprocess`."""
        return ((chips.flip(1) if self.bgr else chips) - self.mean) / self.scale
