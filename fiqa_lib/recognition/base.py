"""What every recogniser of the course offers, whatever is inside, and the crop that most networks share."""

from __future__ import annotations

import functools
import hashlib

import cv2
import numpy as np
import torch
from torch.nn import functional

from ..cache import content_key
from ..errors import DataError
from ..faces import CANONICAL_EYES, SIZE, Faces, similarity_transform
from . import similarity

ARCFACE_SIZE = 112
"""Side in pixels of the crop that ArcFace introduced and most published recognisers use."""
ARCFACE_EYES = np.array([[38.2946, 51.6963], [73.5318, 51.5014]])
"""Eye centres in that crop as (x, y): on the picture's left, on its right (insightface's five-point template)."""


def crops_of(faces):
    """The canonical crops of `Faces`, or of an array that already is (N, 192, 192, 3) uint8, checked.

    Raises DataError for any other shape or type, so that a picture that was never aligned is not embedded by mistake.
    """
    images = faces.images if isinstance(faces, Faces) else np.asarray(faces)
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3) or images.dtype != np.uint8:
        raise DataError(
            f"expected aligned faces: Faces, or uint8 of shape (N, {SIZE}, {SIZE}, 3); got {images.dtype} "
            f"{images.shape}. faces.extract_faces makes them from a photograph"
        )
    return images


# --- crops -------------------------------------------------------------------------------------------------------


def seen_window(matrix, size):
    """The part of the canonical crop that a crop by `matrix` shows: (top, left, bottom, right), whole pixels inside.

    Parameters
    ----------
    matrix : array (2, 3)
        As in `fixed_crop`.
    size : (width, height)
    """
    back = cv2.invertAffineTransform(np.asarray(matrix, float))
    corners = np.array([[0, 0], [size[0] - 1, size[1] - 1]]) @ back[:, :2].T + back[:, 2]
    left, top = np.clip(np.ceil(corners[0]), 0, SIZE).astype(int).tolist()
    right, bottom = np.clip(np.floor(corners[1]) + 1, 0, SIZE).astype(int).tolist()
    return top, left, bottom, right


@functools.cache
def arcface_matrix():
    """The one similarity that takes the canonical crop to the ArcFace crop: (2, 3), M @ (x, y, 1). Scale 0.67."""
    matrix = similarity_transform(CANONICAL_EYES, ARCFACE_EYES)
    matrix.setflags(write=False)
    return matrix


def fixed_crop(images, matrix, size):
    """Cut every canonical crop by the same affine map, with bilinear interpolation; the border is repeated.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
    matrix : array (2, 3)
        Takes (x, y, 1) of the canonical crop to the new one.
    size : (width, height)

    Returns
    -------
    array (N, height, width, 3) uint8
    """
    out = np.empty((len(images), size[1], size[0], 3), np.uint8)
    for image, target in zip(images, out, strict=True):
        cv2.warpAffine(image, matrix, size, target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out


def arcface_crop(images):
    """The 112x112 crop of ArcFace, MagFace, AdaFace, TransFace and most ONNX models.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8

    Returns
    -------
    array (N, 112, 112, 3) uint8 RGB
        Eye centres at `ARCFACE_EYES`.
    """
    return fixed_crop(images, arcface_matrix(), (ARCFACE_SIZE, ARCFACE_SIZE))


def arcface_crop_tensor(images):
    """`arcface_crop` without rounding, for gradients down to the canonical crop.

    Parameters
    ----------
    images : tensor (N, C, 192, 192) floating

    Returns
    -------
    tensor (N, C, 112, 112), same type and device
        Rounded to whole numbers it is `arcface_crop`.
    """
    back = cv2.invertAffineTransform(arcface_matrix())
    grid = np.stack([*np.meshgrid(np.arange(ARCFACE_SIZE), np.arange(ARCFACE_SIZE))], axis=-1) @ back[:, :2].T
    grid = (grid + back[:, 2]) * 2 / (SIZE - 1) - 1  # pixels to the -1..1 between the outermost pixel centres
    grid = torch.as_tensor(grid, dtype=images.dtype, device=images.device).expand(len(images), -1, -1, -1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


# --- the contract ------------------------------------------------------------------------------------------------


class Recogniser:
    """Turns aligned faces into embeddings and says how two embeddings are compared.

    Attributes
    ----------
    name : str
        Short name, as used in tables and on the command line.
    dim : int
        Length of an embedding. 0 before a recogniser that learns is fitted.
    similarity : {"cosine", "euclidean", "own"}
        How two embeddings are compared. euclidean means minus the distance. "own" is known only to `similarity_of` and
        `all_pairs`; its docstring names the nearest of the other two, for code that needs vectors.
    checksum : str or None
        SHA-256 of the file of weights, for tables and logs; None where there is no file.
    window : (top, left, bottom, right)
        The part of the canonical crop that it looks at, in pixels (beyond it at most the reach of a filter counts).
    """

    name = "recogniser"
    dim = 0
    similarity = "cosine"
    checksum = None
    window = (0, 0, SIZE, SIZE)

    def embed(self, faces, batch_size=None):
        """Embeddings of aligned faces.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
        batch_size : int, optional
            Faces per pass. The result does not depend on it (up to float32 rounding).

        Returns
        -------
        array (N, dim) float32
            As the recogniser gives them: not normalised, not centred.

        Raises
        ------
        DataError
            For anything but aligned faces.
        """
        raise NotImplementedError

    def similarity_of(self, a, b, centre=None):
        """Similarity of each row of `a` with the same row of `b`, higher for more alike.

        Parameters
        ----------
        a, b : array (P, dim)
            Embeddings.
        centre : array (dim,), optional
            Subtracted first where the similarity is the cosine (see `verification.cosine`); no effect on a distance.

        Returns
        -------
        array (P,) float64
        """
        if self.similarity == "cosine":
            return similarity.cosine(a, b, centre=centre)
        return similarity.euclidean(a, b)

    def all_pairs(self, embeddings, identities, centre=None):
        """Similarity and mated flag of every pair, as `verification.all_pairs`, with this recogniser's similarity."""
        return similarity.all_pairs(embeddings, identities, kind=self.similarity, centre=centre)

    def features(self, faces, batch_size=None):
        """Input of the last linear layer. Only recognisers that are torch networks have one."""
        raise DataError(self._no_network())

    @property
    def head(self):
        """What leads from `features` to the embedding. Only recognisers that are torch networks have one."""
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
                if self.checksum is None:  # else that of the file says it
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
    """A recogniser that remembers its embeddings: for many questions about the same faces.

    Each score by perturbation, for instance, asks for the undisturbed face again. Not for measuring speed, which is
    why it has to be asked for. All else is the recogniser's own.

    Parameters
    ----------
    recogniser : Recogniser
    limit : int
        At most so many embeddings are kept; the oldest go first.
    """

    def __init__(self, recogniser, limit=50_000):
        self.recogniser, self.limit, self._known = recogniser, limit, {}
        for name in ("name", "dim", "similarity", "checksum", "window"):
            setattr(self, name, getattr(recogniser, name))

    def __getattr__(self, name):
        if name.startswith("__") or name == "recogniser":
            raise AttributeError(name)
        return getattr(self.recogniser, name)

    def embed(self, faces, batch_size=None):
        images = crops_of(faces)
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        found = {key: self._known[key] for key in keys if key not in new}
        if new:
            found.update(zip(new, self.recogniser.embed(images[list(new.values())], batch_size), strict=True))
        self._known.update(found)
        for key in list(self._known)[: max(0, len(self._known) - self.limit)]:
            del self._known[key]
        return np.array([found[key] for key in keys], np.float32).reshape(len(keys), self.dim)

    embed.__doc__ = Recogniser.embed.__doc__

    def features(self, faces, batch_size=None):
        """Input of the last linear layer, as the recogniser gives it; not remembered."""
        return self.recogniser.features(faces, batch_size)

    @property
    def head(self):
        """The recogniser's."""
        return self.recogniser.head

    def similarity_of(self, a, b, centre=None):
        """The recogniser's."""
        return self.recogniser.similarity_of(a, b, centre)

    def all_pairs(self, embeddings, identities, centre=None):
        """The recogniser's."""
        return self.recogniser.all_pairs(embeddings, identities, centre)

    def fingerprint(self):
        """The recogniser's."""
        return self.recogniser.fingerprint()


class TorchRecogniser(Recogniser):
    """A recogniser whose network is a torch module. Subclasses set the attributes and write `preprocess`.

    Attributes
    ----------
    module : torch.nn.Module
        Maps a preprocessed batch to embeddings. In evaluation mode; gradients flow to its input. Its method `features`
        gives the input of the last linear layer.
    n_features : int
        Width of that input.
    """

    n_features = 0
    batch_size = 32
    device = "cpu"
    module: torch.nn.Module

    def preprocess(self, faces):
        """Cut this recogniser's own input out of the canonical crops: (N, 3, height, width) float32 tensor."""
        raise NotImplementedError

    def embed(self, faces, batch_size=None):
        return self._in_batches(self.module, faces, self.dim, batch_size)

    embed.__doc__ = Recogniser.embed.__doc__

    def features(self, faces, batch_size=None):
        """(N, n_features) float32 input of the last linear layer, where stochastic dropout belongs.

        `head` leads from there to the embedding: `head(torch.from_numpy(features))` equals `embed(faces)`.
        """
        return self._in_batches(self.module.features, faces, self.n_features, batch_size)

    @property
    def head(self):
        """torch.nn.Module (B, n_features) -> (B, dim): the last linear layer, and its batch norm where there is one."""
        return self.module.head if hasattr(self.module, "head") else self.module.last

    def _in_batches(self, function, faces, width, batch_size=None):
        images, step = crops_of(faces), batch_size or self.batch_size
        out = np.empty((len(images), width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), step):
                out[start : start + step] = function(self.preprocess(images[start : start + step])).cpu().numpy()
        return out


class ArcFaceInput:
    """Mix-in: the 112x112 input that ArcFace's successors share, which differ in colour order and in scale.

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
        """(N, 3, 112, 112) float RGB tensor in 0..255 -> network input; what `preprocess` does, differentiable."""
        return ((chips.flip(1) if self.bgr else chips) - self.mean) / self.scale
