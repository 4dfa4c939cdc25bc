"""Faces from image files and from folders laid out as `identity/image`, with a report on every file.

Aligned crops are cached by the content of the file and the settings of detection. A file that can't be used is a row
of the report, not the end of the work.
"""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..cache import cache_folder, content_key, sources_of
from ..errors import DataError, ImageError
from ..faces import ATTRIBUTES, SIZE, DlibHog, Faces, attribute_table, extract_faces
from ..faces.images import decode_image, find_images, read_bytes
from ..files import whole_file

REPORT = ["path", "status", "reason", "n_faces"]
"""Columns of a report on files."""


class Loaded(NamedTuple):
    """Faces, and a report with one row for every file that was looked at, in order.

    Attributes
    ----------
    faces : Faces
        Those that were found.
    report : DataFrame
        `path`, `status` ("ok", "fallback", "no_face", "error" or "skipped"), `reason`, `n_faces` (taken).
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
        Image files of any format that `images.read_image` reads.
    identities : sequence of str, optional
        Who each file shows. Default: "" (unknown).
    names : sequence of str, optional
        What the face of each file is called. Default: the path.
    detector : callable, optional
        image -> list of `Detection`. Default: `DlibHog()`.
    which : {"largest", "all"}, default="largest"
        The largest face of a photograph, or all of them.
    fallback : {None, "centre"}, default=None
        Where no face is found: take nothing, or the middle of the picture.
    strict : bool, default=False
        Raise an `ImageError` for the first file that can't be read or shows no face, instead of reporting it.
    cache : bool, default=True
        Keep aligned crops under `cache_folder("crops")`, named by the content of the file and the settings, so that a
        second run does no detection. A renamed file is still found; a changed one is not mistaken.
    n_jobs : int, default=1
        Processes, as in joblib. Each file is independent: the result does not depend on it.
    progress : callable, optional
        Wraps the iterable of results, for example `tqdm`.

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
    for path, name, identity, result in zip(paths, names, identities, results, strict=True):
        images, attributes, status, reason = result
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
    return content_key(sources_of(extract_faces, type(detector)), described, which, fallback)[:12]


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
        faces = extract_faces(decode_image(data, name=path), detector=detector, which=which, fallback=fallback)
    except ImageError as error:
        return np.zeros((0, SIZE, SIZE, 3), np.uint8), pd.DataFrame(columns=ATTRIBUTES), "error", error.reason
    if place is not None:
        _write_crops(place, faces)
    return faces.images, faces.attributes, *_status(faces.images, faces.attributes)


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
            return stored["images"], attribute_table(json.loads(stored["attributes"].tobytes().decode()))
    except Exception:  # an absent or damaged cache file, whatever it raises, is only a reason to compute again
        return None


def _write_crops(place, faces):
    rows = faces.attributes.astype(object).where(faces.attributes.notna(), None).to_dict("records")
    try:
        with whole_file(place) as temporary:
            table = np.frombuffer(json.dumps(rows).encode(), np.uint8)
            np.savez_compressed(temporary, images=faces.images, attributes=table)
    except OSError:  # a full or read-only disk must not stop the work: the cache only speeds up
        pass


def read_crops(sources, to_crop, *, strict=False, progress=None):
    """Make one crop of each source where nothing has to be detected.

    Parameters
    ----------
    sources : sequence
        Paths, or other things whose `str` names them.
    to_crop : callable
        source -> array (192, 192, 3) uint8; raises `ImageError`.
    strict : bool, default=False
        Raise the first `ImageError` instead of reporting it.
    progress : callable, optional
        Wraps the iterable of sources, for example `tqdm`.

    Returns
    -------
    (array (N, 192, 192, 3) uint8, list of N positions in `sources`, report)
    """
    crops, kept, rows = [], [], []
    for number, source in enumerate(progress(sources, total=len(sources)) if progress else sources):
        try:
            crops.append(to_crop(source))
        except ImageError as error:
            if strict:
                raise
            rows.append((str(source), "error", error.reason, 0))
            continue
        kept.append(number)
        rows.append((str(source), "ok", "", 1))
    images = np.stack(crops) if crops else np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return images, kept, pd.DataFrame(rows, columns=REPORT)


def load_folder(folder, **options):
    """Faces of every image below a folder laid out as `identity/image` (or deeper; the first folder names the person).

    Images that stand directly in the folder have no identity (""). Names are paths relative to the folder, with "/".

    Parameters
    ----------
    folder : path
        The folder.
    **options
        Further arguments of `load_files`.

    Returns
    -------
    Loaded
        The report also lists the files that were left out (status "skipped").

    Raises
    ------
    DataError
        When the folder is missing, or holds no image file.
    """
    folder = Path(folder)
    listed = find_images(folder)
    if not listed.paths:
        raise DataError(f"{folder}: no image file in this folder or below; expected identity/image.jpg")
    names = [p.relative_to(folder).as_posix() for p in listed.paths]
    loaded = load_files(listed.paths, identities=[folder_identity(name) for name in names], names=names, **options)
    skipped = listed.skipped.assign(status="skipped", n_faces=0)[REPORT]
    if len(skipped) == 0:
        return loaded
    return Loaded(loaded.faces, pd.concat([loaded.report, skipped], ignore_index=True))


def folder_identity(name):
    """The person that a relative path names: its first folder, or "" where it has none."""
    return name.split("/")[0] if "/" in name else ""
