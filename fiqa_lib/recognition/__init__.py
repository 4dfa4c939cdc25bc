"""Recognisers: they turn an aligned face into an embedding. `load_recogniser(name)` makes one by name."""

import fnmatch
import functools

from ..errors import DataError
from .base import ArcFaceInput, Recogniser, Remembering, TorchRecogniser, arcface_crop, arcface_crop_tensor
from .classical import Fisherfaces, LbpHistograms
from .dlib_resnet import DlibResNet
from .iresnet import IResNet
from .mobilefacenet import MobileFaceNet
from .onnx import OnnxRecogniser
from .transface import TransFace

__all__ = [
    "RECOGNISERS",
    "ArcFaceInput",
    "DlibResNet",
    "Fisherfaces",
    "IResNet",
    "LbpHistograms",
    "MobileFaceNet",
    "OnnxRecogniser",
    "Recogniser",
    "Remembering",
    "TorchRecogniser",
    "TransFace",
    "arcface_crop",
    "arcface_crop_tensor",
    "as_recogniser",
    "list_recognisers",
    "load_recogniser",
]


def _lbp(weights, device, **options):
    if weights is not None:
        raise DataError("LBP histograms learn nothing and take no file of weights")
    return LbpHistograms(**options)


def _fisherfaces(weights, device, **options):
    return Fisherfaces(**options) if weights is None else Fisherfaces.load(weights)


def _onnx(weights, device, **options):
    return OnnxRecogniser(weights, **options)  # OpenCV runs it on the CPU, whatever the device


_DEPTHS = {"arcface": (18, 34, 50, 100), "magface": (18, 50, 100), "adaface": (18, 34, 50, 100)}

RECOGNISERS = {
    "dlib": DlibResNet,
    "mobilefacenet": MobileFaceNet,
    "lbp": _lbp,
    "fisherfaces": _fisherfaces,
    **{
        f"{variant}-r{depth}": functools.partial(IResNet, variant=variant, depth=depth)
        for variant, depths in _DEPTHS.items()
        for depth in depths
    },
    "cr-fiqa": functools.partial(IResNet, variant="cr-fiqa", depth=None),
    **{f"transface-{size}": functools.partial(TransFace, size=size) for size in "sbl"},
    "onnx": _onnx,
}
"""Name -> callable (weights, device=..., **options) that makes the recogniser."""


def list_recognisers(pattern="*"):
    """Names that `load_recogniser` knows.

    Parameters
    ----------
    pattern : str, default="*"
        Shell wildcards, for example "arcface*".

    Returns
    -------
    list of str
        In the order of `RECOGNISERS`.
    """
    return [name for name in RECOGNISERS if fnmatch.fnmatchcase(name, pattern)]


def load_recogniser(name="dlib", weights=None, device="cpu", **options):
    """Make a recogniser by name.

    | name | needs |
    |---|---|
    | "dlib" | nothing: dlib's ResNet, whose weights are installed with the course |
    | "mobilefacenet" | nothing, where set-up could fetch its weights; else `weights`: MobileFaceNet.tflite |
    | "lbp" | nothing: it learns nothing |
    | "fisherfaces" | `fit` on training people, or `weights`: a file that `Fisherfaces.save` wrote |
    | "arcface-r18", -r34, -r50, -r100 | `weights`: a backbone.pth of insightface's arcface_torch |
    | "magface-r18", -r50, -r100 | `weights`: the authors' .pth |
    | "adaface-r18", -r34, -r50, -r100 | `weights`: the authors' .ckpt |
    | "cr-fiqa" | `weights`: the authors' ...backbone.pth; the scorer "cr-fiqa" reads its quality |
    | "transface-s", -b, -l | `weights`: the authors' .pt |
    | "onnx" | `weights`: an .onnx file with a 112x112 input |

    Parameters
    ----------
    name : str, default="dlib"
        A key of `RECOGNISERS`; `list_recognisers` gives them.
    weights : path, default=None
        A file in the layout its authors publish.
    device : str, default="cpu"
        Where a torch network runs: "cpu" or "cuda". The others ignore it.
    **options
        Further parameters of the class, for example `bgr=True` for "onnx" or `grid=(5, 5)` for "lbp".

    Returns
    -------
    Recogniser

    Raises
    ------
    DataError
        Unknown name.
    WeightsError
        The file is missing, of another layout, or not safe to load; the message says where the right one is published.
    """
    if name not in RECOGNISERS:
        raise DataError(f"there is no recogniser {name!r}; known: {', '.join(RECOGNISERS)}")
    return RECOGNISERS[name](weights, device=device, **options)


@functools.lru_cache(maxsize=4)
def _shared(name):
    return load_recogniser(name)


def as_recogniser(recogniser):
    """A recogniser from itself or from its name; all who ask for one name share one object.

    Parameters
    ----------
    recogniser : str or Recogniser
        A name in `RECOGNISERS` that needs no file of weights, or a recogniser, which is returned as it is.

    Returns
    -------
    Recogniser
    """
    return _shared(recogniser) if isinstance(recogniser, str) else recogniser
