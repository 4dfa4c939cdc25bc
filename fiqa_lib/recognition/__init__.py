"""Recognisers: what turns an aligned face into an embedding."""

import functools

from ..errors import DataError
from .base import ArcFaceInput, Recogniser, Remembering, TorchRecogniser, arcface_crop, arcface_crop_tensor
from .classical import Fisherfaces, LbpHistograms
from .dlib_resnet import DlibResNet
from .iresnet import IResNet
from .onnx import OnnxRecogniser
from .transface import TransFace

__all__ = [
    "RECOGNISERS",
    "ArcFaceInput",
    "DlibResNet",
    "Fisherfaces",
    "IResNet",
    "LbpHistograms",
    "OnnxRecogniser",
    "Recogniser",
    "Remembering",
    "TorchRecogniser",
    "TransFace",
    "arcface_crop",
    "arcface_crop_tensor",
    "as_recogniser",
    "load_recogniser",
]


def _iresnet(variant, depth):
    return lambda weights, device, **options: IResNet(weights, variant, depth, device, **options)


def _transface(size):
    return lambda weights, device, **options: TransFace(weights, size, device, **options)


def _onnx(weights, device, **options):
    return OnnxRecogniser(weights, **options)  # OpenCV runs it on the CPU, whatever the device


def _lbp(weights, device, **options):
    if weights is not None:
        raise DataError("LBP histograms learn nothing and take no file of weights")
    return LbpHistograms(**options)


def _fisherfaces(weights, device, **options):
    return Fisherfaces(**options) if weights is None else Fisherfaces.load(weights)


RECOGNISERS = {
    "dlib": DlibResNet,
    "lbp": _lbp,
    "fisherfaces": _fisherfaces,
    **{f"arcface-r{depth}": _iresnet("arcface", depth) for depth in (18, 34, 50, 100)},
    **{f"magface-r{depth}": _iresnet("magface", depth) for depth in (18, 50, 100)},
    **{f"adaface-r{depth}": _iresnet("adaface", depth) for depth in (18, 50, 100)},
    **{f"transface-{size}": _transface(size) for size in "sbl"},
    "onnx": _onnx,
}
"""Name -> function of (weights, device, **options) that makes the recogniser."""


def load_recogniser(name="dlib", weights=None, device="cpu", **options):
    """A recogniser by name.

    Parameters
    ----------
    name : str
        A key of `RECOGNISERS`. "dlib": dlib's ResNet, whose weights are installed with the course. "lbp": needs
        nothing. "fisherfaces": a saved state, or unfitted without one. "arcface-r50", "magface-r100", "adaface-r18",
        "transface-l", "onnx" and their like: weights are the user's.
    weights : path, optional
        A file in the layout its authors publish.
    device : str
        For torch networks: "cpu" or "cuda".
    **options
        Further options of the class; for "onnx" for example `bgr=True`.

    Raises
    ------
    DataError
        Unknown name.
    WeightsError
        The file is missing, of another layout, or not safe to load; the message says where the right one is published.
    """
    if name not in RECOGNISERS:
        raise DataError(f"there is no recogniser {name!r}; known: {', '.join(RECOGNISERS)}")
    return RECOGNISERS[name](weights, device, **options)


@functools.lru_cache(maxsize=4)
def _shared(name):
    return load_recogniser(name)


def as_recogniser(recogniser):
    """The recogniser itself, or for a name the one shared by all who ask for that name."""
    return _shared(recogniser) if isinstance(recogniser, str) else recogniser
