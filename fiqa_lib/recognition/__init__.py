"""Recognisers: networks that turn an aligned face into an embedding."""

import functools

from ..errors import DataError
from .base import TorchRecogniser
from .dlib_resnet import DlibResNet

__all__ = ["DlibResNet", "TorchRecogniser", "as_recogniser", "load_recogniser"]


def load_recogniser(name="dlib", weights=None, device="cpu"):
    """A recogniser by name.

    Parameters
    ----------
    name : str
        "dlib": dlib's ResNet, whose weights are installed with the course.
    weights : path, optional
        A file of weights in the layout its authors publish.
    device : str

    Raises
    ------
    DataError
        Unknown name.
    WeightsError
        The file is missing or of another layout.
    """
    if name != "dlib":
        raise DataError(f"there is no recogniser {name!r}; known: dlib")
    return DlibResNet(weights, device)


@functools.lru_cache(maxsize=4)
def _shared(name):
    return load_recogniser(name)


def as_recogniser(recogniser):
    """The recogniser itself, or for a name the one shared by all who ask for that name."""
    return _shared(recogniser) if isinstance(recogniser, str) else recogniser
