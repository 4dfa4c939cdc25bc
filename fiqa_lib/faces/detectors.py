"""The detectors by name, as commands and options choose them."""

from __future__ import annotations

from ..errors import DataError
from .detection import DlibHog
from .mtcnn import Mtcnn

DETECTORS = {"dlib-hog": DlibHog, "mtcnn": Mtcnn}
"""Name -> class. An instance is called with an image and returns a list of `Detection`."""

_QUICK = {"dlib-hog": {"margin": 0, "full_size": False, "turned": False}, "mtcnn": {"further": False}}


def load_detector(name="mtcnn", *, quick=False, **parameters):
    """A detector by name.

    Parameters
    ----------
    name : {"mtcnn", "dlib-hog"}, default="mtcnn"
        A key of `DETECTORS`.
    quick : bool, default=False
        Without the last, slow tries, as for the frames of a video: a face that one frame lacks stands in the next.
    **parameters
        Constructor parameters of the detector.

    Returns
    -------
    callable
        image -> list of `Detection`.

    Raises
    ------
    DataError
        The name or a parameter is unknown. The message lists the known names.
    """
    if name not in DETECTORS:
        raise DataError(f"there is no detector {name!r}; known: {', '.join(DETECTORS)}")
    try:
        return DETECTORS[name](**(_QUICK[name] if quick else {}) | parameters)
    except TypeError as error:
        raise DataError(f"the detector {name} has no such parameter ({error})") from error
