"""Read files of published weights: check them, explain what is wrong with them, never run code in them."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import WeightsError

PREFIXES = ("", "module.", "model.", "backbone.", "features.module.", "module.features.")
"""Prefixes of layer names: none (ArcFace, TransFace), `model.` (AdaFace, a Lightning checkpoint), `features.module.` or
`module.features.` (MagFace's two ways of training), and what torch's wrappers add."""
NESTED = ("state_dict", "state_dict_backbone", "model")
"""Keys under which a training checkpoint keeps the layers."""
INERT = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities.")
"""Modules whose classes a Lightning checkpoint names beside its weights. They are read as empty stand-ins."""


class Source(NamedTuple):
    """Who publishes a network, under what file name, and on what page: for messages."""

    title: str
    file: str
    page: str

    def __str__(self):
        return f"{self.title} publishes it as {self.file} at {self.page}"


class _StandIn:
    """Takes the place of a training library's class, so that nothing of that library is imported or run."""

    def __new__(cls, *arguments, **keywords):
        return super().__new__(cls)

    def __init__(self, *arguments, **keywords): ...

    def __setstate__(self, state): ...


def sha256(path):
    """SHA-256 of a file as 64 hexadecimal digits. Raises WeightsError when the file cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def require(weights, name, source):
    """The Path of a file that the user has to bring. Raises WeightsError, with the `source`, when there is none."""
    if weights is None:
        raise WeightsError(f"{name} needs a file of weights, which the course can't ship: weights=PATH. {source}")
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file. {source}")
    return path


def read_layers(path, source, anchor):
    """Read the layers out of a file that `torch.save` wrote, without running anything in it.

    Parameters
    ----------
    path : Path
        The file.
    source : Source
        Where the right file is published, for messages.
    anchor : str
        The name of a layer that must be there. The prefix that it has in the file is removed from all names.

    Returns
    -------
    dict of str -> tensor
        On the CPU. Entries without the prefix (the training classifier) are left out.

    Raises
    ------
    WeightsError
        When the file is no torch checkpoint, would run code, or does not hold the layer.
    """
    state = _load(path, source)
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: holds a {type(state).__name__} instead of named layers. {source}")
    state = next((state[key] for key in NESTED if isinstance(state.get(key), dict)), state)
    layers = {str(key): value for key, value in state.items() if isinstance(value, torch.Tensor)}
    for prefix in PREFIXES:
        if prefix + anchor in layers:
            return {key[len(prefix) :]: value for key, value in layers.items() if key.startswith(prefix)}
    first = ", ".join(sorted(layers)[:4]) or "no layers at all"
    raise WeightsError(
        f"{path}: no layer {anchor!r}, with or without a prefix such as 'module.'; it holds {len(layers)} layers: "
        f"{first} ... {source}"
    )


def _load(path, source):
    try:
        with torch.serialization.safe_globals(_stand_ins(path)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's doubts about the format: the file loads, or an error is explained
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever an arbitrary file makes torch raise, it is about this file
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise WeightsError(
                f"{path}: refused, since loading it would run code ({code[1]}). Weights are tensors and need none. "
                f"Use the authors' own file: {source}"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{path}: not a file of weights that torch can read ({reason}). {source}") from error


def _stand_ins(path):
    """Stand-ins for the classes of a training library that a checkpoint names, if it names no others."""
    listing = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)  # torch 2.6 and later
    if listing is None or not zipfile.is_zipfile(path):
        return []
    names = listing(path)
    return [(_StandIn, name) for name in names] if all(name.startswith(INERT) for name in names) else []


def renamed(key, table):
    """The name of a layer with its beginning replaced by `table` (own beginning -> published one), else as it is."""
    for own, published in table.items():
        if key == own or key.startswith(own + "."):
            return published + key[len(own) :]
    return key


def fill(module, layers, published, path, name, source, optional=()):
    """Put layers into a module that was built on torch's "meta" device; both must agree exactly.

    Parameters
    ----------
    module : torch.nn.Module
        Filled in place and returned, in evaluation mode.
    layers : dict of str -> tensor
        As `read_layers` gives them.
    published : callable
        The module's own name of a layer -> its name in the authors' files.
    path, name, source : Path, str, Source
        The file, the network and its publisher, for messages.
    optional : collection of str, default=()
        Published names that the module does not have and that may be in the file.

    Raises
    ------
    WeightsError
        When layers are missing, too many, of another shape, or hold NaN or infinity.
    """
    own = module.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}  # of no use here, absent from old files
    wanted = {published(key): key for key in own if key not in counters}
    given = {key for key in layers if not key.endswith("num_batches_tracked") and key not in optional}
    problems = [f"{key} is missing" for key in wanted if key not in given]
    problems += [
        f"{key} is {tuple(layers[key].shape)}, expected {tuple(own[wanted[key]].shape)}"
        for key in wanted
        if key in given and layers[key].shape != own[wanted[key]].shape
    ]
    problems += [f"{key} is not expected" for key in sorted(given - wanted.keys())]
    if problems:
        raise WeightsError(
            f"{path}: these are not the layers of {name}; {len(problems)} of them differ: {'; '.join(problems[:4])}"
            f"{' ...' if len(problems) > 4 else ''}. {source}"
        )
    for key in wanted:
        if not torch.isfinite(layers[key]).all():
            raise WeightsError(f"{path}: layer {key} holds NaN or infinity; the file is damaged. {source}")
    state = {wanted[key]: layers[key].to(torch.float32) for key in wanted}
    module.load_state_dict(state | {key: torch.tensor(0) for key in counters}, assign=True)
    return module.eval()
