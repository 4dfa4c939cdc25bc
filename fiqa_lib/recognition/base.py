"""What every recogniser of the course offers, whatever network is inside."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import DataError
from ..faces import SIZE, Faces


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


class TorchRecogniser:
    """A recogniser whose network is a torch module. Subclasses set the attributes and write `preprocess`.

    Attributes
    ----------
    name : str
        Short name, as used in tables and on the command line.
    dim : int
        Length of an embedding.
    similarity : {"cosine", "euclidean"}
        How two embeddings are compared; euclidean means the negative distance, so that higher is more alike.
    module : torch.nn.Module
        Maps a preprocessed batch to embeddings. In evaluation mode; gradients flow to its input.
    """

    name = "recogniser"
    dim = 0
    similarity = "cosine"
    batch_size = 32
    module: torch.nn.Module

    def preprocess(self, faces):
        """Cut this recogniser's own input out of the canonical crops: (N, 3, height, width) float32 tensor."""
        raise NotImplementedError

    def embed(self, faces, batch_size=None):
        """Embeddings of aligned faces.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
        batch_size : int, optional
            Faces per forward pass. The result does not depend on it (up to float32 rounding).

        Returns
        -------
        array (N, dim) float32
            As the network gives them: not normalised, not centred.
        """
        return self._in_batches(self.module, faces, self.dim, batch_size)

    def _in_batches(self, function, faces, width, batch_size=None):
        images, step = crops_of(faces), batch_size or self.batch_size
        out = np.empty((len(images), width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), step):
                out[start : start + step] = function(self.preprocess(images[start : start + step])).cpu().numpy()
        return out

    def __repr__(self):
        return f"{type(self).__name__}(name={self.name!r}, dim={self.dim}, similarity={self.similarity!r})"
