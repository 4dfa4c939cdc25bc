"""The input of `labelling.label_files`: settings, the list of images, and their embeddings, read or made."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import numpy as np

from ..cache import content_key, sources_of
from ..data.arrays import read_npy
from ..data.folders import check_depth, folder_identity, load_files, no_image_in
from ..errors import DataError
from ..faces import load_detector
from ..faces.images import find_images, printable, summary_of
from ..files import whole_file
from ..labels.sdd import check_scale
from ..labels.sdd_distances import Settings
from .output import stamp

CODE = ("fiqa_lib.apps.labelling", "fiqa_lib.labels.sdd")
"""A run continues with the code that began it: see `Job.key`."""
MISSING, CORRUPT, NO_FACE = "missing", "corrupt", "no_face"


@dataclass
class Job:
    """The input and settings that decide the labels.

    Parameters
    ----------
    image_list_file : path, default=None
        One image a line. None: every image below `image_root`, sorted.
    image_root : path, default=None
        Lines are relative to it.
    feature_root : path, default=None
        Folder of embeddings: that of `a/b.jpg` is `a/b.jpg.npy` or `a/b.npy`. A missing one is made from the image and
        stored there, unless `load_feature`.
    features : path, default=None
        One `.npy` array (N, D) instead; row i belongs to line i.
    load_feature : bool, default=False
        Only read embeddings, never make them.
    id_key_index : int, default=-2
        The part of a line, split at "/", that names the person: -2 in `person/image.jpg`, -3 in
        `person/feature/image.npy`.
    n_samples : int, default=24
        As in `labels.sdd_labels`.
    n_repeats : int, default=12
        As in `labels.sdd_labels`.
    seed : int, default=0
        Seed of the draws.
    draws : {"pooled", "independent"}, default="pooled"
        As in `labels.sdd_labels`.
    scale : {"minmax", "robust", "none"}, default="minmax"
        As in `labels.scale_distances`.
    exact : bool, default=False
        All positives against all negatives; work grows with N squared.
    recogniser : str, default="dlib"
        Makes embeddings from images; a name for `load_recogniser`.
    weights : path, default=None
        The recogniser's weights.
    fallback : {None, "centre"}, default=None
        What to do with a picture in which no face is found; see `data.load_files`.
    detector : str, default="mtcnn"
        Finds the faces in images; a key of `faces.DETECTORS`.
    aligned : bool, default=False
        The images are 112x112 crops in ArcFace's template; see `data.load_files`.

    Raises
    ------
    DataError
        For settings that make no sense, or a list that is missing.
    """

    image_list_file: str | None = None
    image_root: str | None = None
    feature_root: str | None = None
    features: str | None = None
    load_feature: bool = False
    id_key_index: int = -2
    n_samples: int = 24
    n_repeats: int = 12
    seed: int = 0
    draws: str = "pooled"
    scale: str = "minmax"
    exact: bool = False
    recogniser: str = "dlib"
    weights: str | None = None
    fallback: str | None = None
    detector: str = "mtcnn"
    aligned: bool = False

    def __post_init__(self):
        check_scale(self.scale)
        load_detector(self.detector)
        self.n_samples, self.n_repeats, self.seed, self.draws = self.settings
        if self.features and (self.feature_root or self.load_feature):
            raise DataError(
                "--features is one array; --feature-root and --load-feature are for one file for each image"
            )
        if self.load_feature and not self.feature_root:
            raise DataError("--load-feature needs --feature-root, where the embeddings are")
        if self.image_list_file is None and self.image_root is None:
            raise DataError("--image-list-file or --image-root is needed: which images get labels?")
        for name in ("image_list_file", "image_root", "feature_root", "features", "weights"):
            if getattr(self, name) is not None:
                setattr(self, name, str(Path(getattr(self, name)).resolve()))
        for path, what in ((self.image_list_file, "list of images"), (self.features, "file")):
            if path is not None and not Path(path).is_file():
                raise DataError(f"{path}: there is no such {what}")

    @property
    def source(self):
        """Where the embeddings come from: "features" (one array), "npy" or "images"."""
        return "features" if self.features else "npy" if self.load_feature else "images"

    @property
    def settings(self):
        return Settings.checked(self.n_samples, self.n_repeats, self.seed, self.draws)

    @property
    def columns(self):
        return 1 if self.exact else self.n_repeats

    def key(self):
        """A hash of everything that decides the result: settings, list, array, weights, and the code itself."""
        with open(self.image_list_file, "rb") as lines:
            digest = hashlib.file_digest(lines, "sha256").hexdigest()
        states = [stamp(path) if path else None for path in (self.features, self.weights)]
        return content_key(json.dumps(asdict(self)), digest, json.dumps(states), sources_of(*CODE))

    def person(self, name):
        """The person that a line names, or "" where it has no such part."""
        return folder_identity(name, self.id_key_index)

    def place(self, name):
        """Where the embedding of an image belongs; None without a folder for them."""
        if self.feature_root is None:
            return None
        relative = PurePosixPath(name)
        if relative.is_absolute():
            inside = self.image_root is not None and relative.is_relative_to(self.image_root)
            relative = relative.relative_to(self.image_root if inside else relative.anchor)
        if ".." in relative.parts:
            raise DataError(f"{name}: leads out of {self.feature_root}")
        return Path(self.feature_root, relative.parent, relative.name + ".npy")

    def stored(self, name):
        """Where the embedding of an image is stored, or None."""
        path = self.place(name)
        if path is None:
            return None
        return next((p for p in (path, path.with_suffix("").with_suffix(".npy")) if p.exists()), None)

    def stamps(self, names):
        """[stamp of the image, stamp of the stored embedding] of some lines; None for what is missing or not read."""
        found = []
        for name in names:
            image = stamp(Path(self.image_root or "", name)) if self.source == "images" else None
            try:
                found.append([image, (path := self.stored(name)) and stamp(path)])
            except (DataError, OSError):
                found.append([image, None])
        return found


class People:
    """Looks, while a list is read, whether its lines name more than one person; if not, which part of them would.

    A list `person/feature/x.npy` read with the index -2 names one person, "feature", in every line.
    """

    def __init__(self, job):
        self.job, self.first, self.differ, self.one = job, None, set(), True

    def look_at(self, person, name):
        """One line and the person that it names."""
        if not self.one:
            return
        parts = name.split("/")[::-1]
        if self.first is None:
            self.first = person, parts
        self.one = person == self.first[0]
        # the file's own name is no person
        self.differ |= {-i - 1 for i, (a, b) in enumerate(zip(parts, self.first[1], strict=False)) if i and a != b}

    def check(self):
        """DataError where all lines name one person and another part of them would name several."""
        if not self.one or not self.differ or not self.first[0]:
            return
        part = max(self.differ)
        raise DataError(
            f"{self.job.image_list_file}: part {self.job.id_key_index} of every line is {self.first[0]!r}, so all "
            f"images would be one person. Part {part} differs from line to line: if it names the person, give "
            f"--id-key-index {part}"
        )


def write_list(folder, image_root, id_key_index=-2):
    """The path of a list of every image below a folder. What else is there is said in a warning.

    A name that no line of a list can hold (line ends, backslashes, bytes that are no text, spaces at its ends) is
    written with these characters as `%0A`; `file_of` finds it.
    """
    found = find_images(image_root)
    if not found.paths:
        raise no_image_in(image_root, found.skipped)
    names = [p.relative_to(image_root).as_posix() for p in found.paths]
    check_depth(image_root, names, id_key_index)
    if len(found.skipped):
        warnings.warn(f"{printable(image_root)}: left out: {summary_of(found.skipped)}", stacklevel=2)
    with whole_file(folder / "list.txt") as temporary:
        text = "".join(f"{_as_line(name)}\n" for name in names)
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return folder / "list.txt"


def _as_line(name):
    if name == name.strip().lstrip("\ufeff") and printable(name) == name and "\\" not in name:
        return name
    return quote(name, safe="/", errors="surrogateescape")


def file_of(root, name):
    """The image file of a line: the path itself or, where there is none, the one that `write_list` encoded so."""
    path = Path(root or "", name)
    if "%" in name and not path.exists():
        decoded = Path(root or "", unquote(name, errors="surrogateescape"))
        return decoded if decoded.exists() else path
    return path


def read_embedding(path, dim=None):
    """The embedding in a `.npy` file, (D,). DataError names a file that is missing, damaged or of another length."""
    array = read_npy(path)
    if array.size == 0 or array.shape[-1:] != (array.size,):
        raise DataError(f"{path}: holds an array {array.shape} instead of one embedding")
    if dim is not None and array.size != dim:
        raise DataError(f"{path}: an embedding of length {array.size}, where {dim} is expected")
    return array.ravel()


def rows_of_files(job, names, dim):
    """Embeddings of some lines, read or made: (n, dim) float32, and {position: (status, reason)} of the unusable."""
    rows, problems = np.zeros((len(names), dim), np.float32), {}
    for i, name in enumerate(names):
        try:
            if (path := job.stored(name)) is None:
                problems[i] = MISSING, f"{job.place(name)}: there is no such file"
            else:
                rows[i] = read_embedding(path, dim)
        except DataError as error:
            problems[i] = CORRUPT, str(error)
    missing = [i for i, (status, _) in problems.items() if status == MISSING]
    if job.load_feature or not missing:
        return rows, problems
    paths = [file_of(job.image_root, names[i]) for i in missing]
    for i, (row, problem) in zip(missing, _embedded(job, paths), strict=True):
        if problem is not None:
            problems[i] = problem
            continue
        if len(row) != dim:
            raise DataError(
                f"{job.feature_root}: holds embeddings of length {dim}, but those of {job.recogniser} have {len(row)}: "
                "give another --recogniser, or another --feature-root"
            )
        del problems[i]
        rows[i] = row
        if (path := job.place(names[i])) is not None:
            with whole_file(path) as temporary:
                np.save(temporary, row)
    return rows, problems


@functools.lru_cache(2)
def load_recogniser(name, weights):
    """A recogniser, loaded once in each process; networks are imported by processes that need one."""
    from .. import recognition

    return recognition.load_recogniser(name, weights)


def _embedded(job, paths):
    """(embedding, None) or (None, (status, reason)) of each image file."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processes share the cores, and the last digits must not depend on the number of them
    try:
        options = {"fallback": job.fallback, "detector": load_detector(job.detector), "aligned": job.aligned}
        faces, report = load_files(paths, names=range(len(paths)), cache=False, **options)
        rows = dict(zip(faces.names, load_recogniser(job.recogniser, job.weights).embed(faces), strict=True))
    finally:
        torch.set_num_threads(threads)
    results = []
    for i, (path, status, reason) in enumerate(zip(paths, report["status"], report["reason"], strict=True)):
        if status in ("ok", "fallback"):
            results.append((rows[str(i)], None))
        elif status == "no_face":
            results.append((None, (NO_FACE, reason)))
        else:
            results.append((None, (CORRUPT if path.exists() else MISSING, f"{path}: {reason}")))
    return results
