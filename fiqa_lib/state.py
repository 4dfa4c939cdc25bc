"""Learned states in files: named arrays and a few settings, without pickle, written whole or not at all."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from .errors import WeightsError
from .files import whole_file

ABOUT = "about"  # the entry that holds kind and settings, as JSON


def write_state(path, kind, arrays, settings=None):
    """Write arrays to a `.npz` file.

    Parameters
    ----------
    path : path
        Must end in `.npz`.
    kind : str
        What this is; `read_state` refuses a file of another kind.
    arrays : dict of str -> array or number
    settings : dict, optional
        Whatever JSON can hold.

    Returns
    -------
    Path
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise WeightsError(f"{path}: the name must end in .npz")
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    if wrong := [name for name, value in plain.items() if value.dtype == object or name == ABOUT]:
        raise TypeError(f"{', '.join(wrong)}: only plain arrays can be stored, under any name but {ABOUT!r}")
    about = json.dumps({"kind": kind, "settings": settings or {}}, sort_keys=True)
    with whole_file(path) as temporary:
        np.savez(temporary, **plain, **{ABOUT: np.frombuffer(about.encode(), np.uint8)})
    return path


def read_state(path, kind):
    """Read what `write_state` wrote.

    Returns
    -------
    (dict of str -> array, dict)
        Arrays and settings.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or of another kind. Nothing in it is executed.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop(ABOUT).tobytes())
        found, settings = about["kind"], dict(about["settings"])
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file; `save` of a fitted {kind} writes one") from error
    except Exception as error:  # whatever an arbitrary file makes NumPy raise, it is about this file
        raise WeightsError(f"{path}: not a state that fiqa_lib wrote ({error})") from error
    if found != kind:
        raise WeightsError(f"{path}: holds the state of {found!r}, not of {kind!r}")
    return arrays, settings


@contextmanager
def explained(path):
    """Turn errors of shape and of missing entries, while a state is taken up, into one that names the file."""
    try:
        yield
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path}: does not fit ({type(error).__name__}: {error}); fit and save it again") from error


def module_state(module, prefix=""):
    """The layers of a torch module as arrays, each name preceded by `prefix`."""
    return {prefix + name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def restore_module(module, arrays, prefix=""):
    """Put arrays that `module_state` made into a module of the same architecture; it is in evaluation mode afterwards.

    Raises
    ------
    RuntimeError
        When layers are missing or of another shape.
    """
    layers = {
        name[len(prefix) :]: torch.from_numpy(np.ascontiguousarray(value))
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    module.load_state_dict(layers)
    return module.eval()
