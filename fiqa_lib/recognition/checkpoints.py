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
from ..faces.images import printable
from ..weights import what_instead

NESTED = ("state_dict", "state_dict_backbone", "model_state_dict", "model", "net", "backbone", "params")
"""Keys under which training checkpoints keep the layers. They only decide between places that fit equally well."""
LEVELS = 3
"""Levels of nested dicts and lists in which layers are looked for: the file's own, and two below it."""
CANDIDATES = 200
"""Prefixes that are tried in one dict, the shortest first: a bound for files that are made to take long."""
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
        raise WeightsError(
            f"{name} needs a file of weights, which the course can't ship: --weights FILE, or weights=FILE in Python. "
            f"{source}"
        )
    path = Path(weights)
    if not path.is_file():
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise WeightsError(f"{path}: {what}. {source}")
    return path


def read_layers(path, source, anchor, shapes=None):
    """Read the layers out of a file that `torch.save` wrote, without running anything in it.

    They may lie in nested dicts, and their names may begin with any prefix (`module.`, `_orig_mod.`, ...). Where
    several places hold the anchor, the one with the most layers of the network is taken; between equal ones that with
    the fewest others, then the usual key of a checkpoint, then the first.

    Parameters
    ----------
    path : Path
        The file.
    source : Source
        Where the right file is published, for messages.
    anchor : str
        The name of a layer that must be there. The prefix that it has in the file is removed from all names.
    shapes : dict of str -> shape, default=None
        The published names and shapes of the network's layers. None: any layers count.

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
    places = list(_places(state))
    found = []
    for order, (names, tensors) in enumerate(places):
        ends = [key for key in tensors if key == anchor or key.endswith("." + anchor)]
        for key in sorted(ends, key=len)[:CANDIDATES]:
            prefix = key.removesuffix(anchor)
            inside = prefix and shapes and key in shapes  # a block's own conv1, where the network's conv1 is missing
            if not inside:
                layers = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
                fit = sum(shapes is None or shapes.get(name) == tuple(t.shape) for name, t in layers.items())
                usual = next((NESTED.index(name) for name in names if name in NESTED), len(NESTED))
                found.append(((fit, fit - len(layers), -usual, -order), layers))
    if found:
        return max(found, key=lambda item: item[0])[1]
    if not places and not isinstance(state, (dict, list, tuple)):
        raise WeightsError(f"{path}: holds a {type(state).__name__} instead of named layers. {source}")
    raise WeightsError(f"{path}: no layer {anchor}, under any prefix; {_inventory(places)}. {source}")


def _places(state):
    """(names of the keys that lead there, name -> tensor) of every dict with tensors, the outermost first."""
    level, seen = [((), state)] if isinstance(state, (dict, list, tuple)) else [], set()
    for _ in range(LEVELS):
        below = []
        for names, holder in level:
            if id(holder) in seen:  # a file can name one dict many times
                continue
            seen.add(id(holder))
            items = holder.items() if isinstance(holder, dict) else enumerate(holder[:100])
            tensors = {}
            for key, value in items:
                if isinstance(value, torch.Tensor):
                    tensors[str(key)] = value
                elif isinstance(value, (dict, list, tuple)):
                    below.append(((*names, str(key)), value))
            if tensors:
                yield names, tensors
        level = below


def _inventory(places):
    """What tensors a file holds, and where, in words."""
    if not places:
        return "the file holds no tensors"
    parts = []
    for names, tensors in sorted(places, key=lambda place: -len(place[1]))[:3]:
        where = f" under {'.'.join(names)}.*" if names else ""
        first = ", ".join(".".join((*names, name)) for name in list(tensors)[:3])
        parts.append(f"{len(tensors)} tensors{where}, the first {first}")
    more = f"; and others in {len(places) - 3} further places" if len(places) > 3 else ""
    return printable(f"the file holds {'; '.join(parts)}{more}")


def _load(path, source):
    if instead := what_instead(path, holds=("data.pkl",)):
        raise WeightsError(f"{path}: {instead}. {source}")
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
        raise WeightsError(f"{path}: not a file of weights that torch can read ({_reason(error)}). {source}") from error


def _reason(error):
    """Why torch could not read a file, without its advice to switch the protection off."""
    text = str(error).strip()
    if isinstance(error, EOFError) or "unexpected EOF" in text or "Ran out of input" in text:
        return "it ends too early, as a download that stopped"
    if found := re.search(r"WeightsUnpickler error: (.+)", text):
        text = found[1]
    elif "weights_only" in text:
        text = "it is damaged, or of another kind"
    return printable((text or type(error).__name__).splitlines()[0][:200])


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


def shapes_of(module, published):
    """The published names of a module's layers and their shapes, as `read_layers` takes them."""
    return {published(key): tuple(value.shape) for key, value in module.state_dict().items()}


def _is_plain(tensor):
    """Whether a tensor is dense real numbers in memory: neither sparse, quantised, complex, nor without storage."""
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return dense and not tensor.is_complex()


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
        if not _is_plain(layers[key]):
            raise WeightsError(f"{path}: layer {key} holds {layers[key].dtype} that is not plain numbers. {source}")
        if not torch.isfinite(layers[key]).all():
            raise WeightsError(f"{path}: layer {key} holds NaN or infinity; the file is damaged. {source}")
    state = {wanted[key]: layers[key].to(torch.float32) for key in wanted}
    module.load_state_dict(state | {key: torch.tensor(0) for key in counters}, assign=True)
    return module.eval()
