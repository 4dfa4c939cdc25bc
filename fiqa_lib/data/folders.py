"""Faces from image files and from folders laid out as `identity/image`, with a report on every file.

Aligned crops are cached by the content of the file and the settings of detection. A file that can't be used is a row
of the report, not the end of the work.
"""

from __future__ import annotations

import functools
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..cache import cache_folder, content_key, sources_of
from ..errors import DataError, ImageError
from ..faces import (
    ARCFACE_SIZE,
    ATTRIBUTES,
    SIZE,
    Faces,
    Mtcnn,
    attribute_table,
    extract_faces,
    from_aligned,
)
from ..faces.images import decode_image, find_images, printable, read_bytes, summary_of
from ..files import whole_file

REPORT = ["path", "status", "reason", "n_faces"]
"""Columns of a report on files."""


@dataclass(frozen=True)
class Encoded:
    """An aligned crop that stands inside a file of many, such as an InsightFace `.bin`: its name and encoded bytes."""

    name: str
    data: bytes

    def __fspath__(self):
        return self.name


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
    aligned=False,
    strict=False,
    cache=True,
    n_jobs=1,
    progress=None,
):
    """Read, detect and align the faces of image files. A file that can't be used is reported, not fatal.

    Parameters
    ----------
    paths : sequence of paths or Encoded
        Image files of any format that `images.read_image` reads; an `Encoded` is always taken as `aligned`.
    identities : sequence of str, default=None
        Who each file shows. Default: "" (unknown).
    names : sequence of str, default=None
        What the face of each file is called. Default: the path.
    detector : callable, default=None
        image -> list of `Detection`. Default: `Mtcnn()`.
    which : {"largest", "all"}, default="largest"
        The largest face of a photograph, or all of them.
    fallback : {None, "centre"}, default=None
        Where no face is found: take nothing, or the middle of the picture.
    aligned : bool, default=False
        The files are 112x112 crops in ArcFace's template (`faces.from_aligned`): nothing is detected, and `detector`,
        `which`, `fallback` and `cache` have no effect. A file of another size is refused with a row.
    strict : bool, default=False
        Raise an `ImageError` for the first file that can't be read or shows no face, instead of reporting it.
    cache : bool, default=True
        Keep aligned crops under `cache_folder("crops")`, named by the content of the file and the settings, so that a
        second run does no detection. A renamed file is still found; a changed one is not mistaken.
    n_jobs : int, default=1
        Processes, as in joblib. Each file is independent: the result does not depend on it.
    progress : callable, default=None
        Wraps the iterable of results, for example `tqdm`.

    Returns
    -------
    Loaded
    """
    paths = [p if isinstance(p, Encoded) else Path(p) for p in paths]
    names = [printable(p) for p in paths] if names is None else [str(n) for n in names]
    identities = [""] * len(paths) if identities is None else [str(i) for i in identities]
    if not len(paths) == len(names) == len(identities):
        raise DataError(f"{len(paths)} paths, {len(names)} names and {len(identities)} identities: lengths must agree")
    detector = detector or Mtcnn()
    settings = _settings_key(detector, which, fallback) if cache and not aligned else None
    work = functools.partial(_crops_of_file, detector=detector, which=which, fallback=fallback, settings=settings)
    work = _aligned_crop if aligned else work
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
            raise ImageError(printable(path), reason)
        rows.append((printable(path), status, reason, len(images)))
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
    if isinstance(path, Encoded):
        return _aligned_crop(path)
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


def _aligned_crop(path):
    """As `_crops_of_file`, for a file that is a crop already."""
    try:
        image = decode_image(path.data if isinstance(path, Encoded) else read_bytes(path), name=path)
        faces = from_aligned([checked_arcface_size(image, path)])
    except ImageError as error:
        return np.zeros((0, SIZE, SIZE, 3), np.uint8), pd.DataFrame(columns=ATTRIBUTES), "error", error.reason
    return faces.images, faces.attributes, "ok", ""


def checked_arcface_size(image, source):
    """A picture that was read from `source`, if it has the size of an aligned crop; else `ImageError`."""
    height, width = image.shape[:2]
    if (height, width) != (ARCFACE_SIZE, ARCFACE_SIZE):
        reason = f"{width} x {height} pixels; an aligned crop has {ARCFACE_SIZE} x {ARCFACE_SIZE}"
        raise ImageError(printable(source), f"{reason}; faces in photographs are found without --aligned")
    return image


def _status(images, attributes):
    if len(images) == 0:
        return "no_face", "no face was found; the face may be too small, turned away or covered"
    if attributes["status"].iloc[0] == "fallback":
        return "fallback", "no face was found; the middle of the picture was taken"
    return "ok", ""


def _read_crops(place):
    """(images, attributes) of a cache file; None where it is absent, damaged, or not as `_write_crops` leaves it."""
    try:
        data = io.BytesIO(place.read_bytes())  # np.load leaves a damaged file open
        with np.load(data, allow_pickle=False) as stored:
            images, table, seal = stored["images"], stored["attributes"].tobytes(), stored["seal"].tobytes()
        if seal != _seal(images, table):  # no face and a crop that was lost look alike: only the seal tells them apart
            return None
        rows = json.loads(table.decode())
        return (images, attribute_table(rows)) if _consistent(images, rows) else None
    except Exception:  # whatever it raises, it is only a reason to compute again
        return None


def _consistent(images, rows):
    """Whether arrays and rows can be what `extract_faces` returned."""
    if images.dtype != np.uint8 or images.shape != (len(rows), SIZE, SIZE, 3):
        return False
    boxes = np.array([[row[name] for name in ("face_x", "face_y", "face_w", "face_h")] for row in rows], float)
    known = all(set(row) == set(ATTRIBUTES) and row["status"] in ("ok", "fallback") for row in rows)
    return known and bool(np.isfinite(boxes).all())


def _seal(images, table):
    return content_key(str(images.dtype), str(images.shape), images.tobytes(), table).encode()


def _write_crops(place, faces):
    rows = faces.attributes.astype(object).where(faces.attributes.notna(), None).to_dict("records")
    table = json.dumps(rows).encode()
    arrays = {"attributes": table, "seal": _seal(faces.images, table)}
    arrays = {name: np.frombuffer(data, np.uint8) for name, data in arrays.items()}
    try:
        with whole_file(place) as temporary:
            np.savez_compressed(temporary, images=faces.images, **arrays)
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
    progress : callable, default=None
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
            rows.append((printable(source), "error", error.reason, 0))
            continue
        kept.append(number)
        rows.append((printable(source), "ok", "", 1))
    images = np.stack(crops) if crops else np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return images, kept, pd.DataFrame(rows, columns=REPORT)


def load_folder(folder, *, id_key_index=-2, **options):
    """Faces of every image below a folder of `identity/image`. The folder of a photograph names its person.

    It may lie at any depth, the same for all. Images that stand directly in the folder have no identity (""). Names are
    paths relative to the folder, with "/"; characters that can't be printed are escaped.

    Parameters
    ----------
    folder : path
        The folder.
    id_key_index : int or None, default=-2
        Which part of the relative path names the person, as in `sdd-labels`: -2 is the folder of the photograph, 0 the
        first folder. None: nobody is named.
    **options
        Further arguments of `load_files`.

    Returns
    -------
    Loaded
        The report also lists the files that were left out (status "skipped").

    Raises
    ------
    DataError
        When the folder is missing, holds no image file (the message says what it holds), or photographs at different
        depths, so that -2 would take people for some folders and sets of people for others.
    """
    folder = Path(folder)
    listed = find_images(folder)
    if not listed.paths:
        raise no_image_in(folder, listed.skipped, "expected identity/image.jpg")
    relative = [p.relative_to(folder).as_posix() for p in listed.paths]
    identities = [""] * len(relative)
    if id_key_index is not None:
        check_depth(folder, relative, id_key_index)
        identities = [printable(folder_identity(name, id_key_index)) for name in relative]
    names = [printable(name) for name in relative]
    loaded = load_files(listed.paths, identities=identities, names=names, **options)
    skipped = listed.skipped.assign(status="skipped", n_faces=0)[REPORT]
    if len(skipped) == 0:
        return loaded
    return Loaded(loaded.faces, pd.concat([loaded.report, skipped], ignore_index=True))


def folder_identity(name, id_key_index=-2):
    """The person that a path names: by default the folder of the photograph, and "" where it has none.

    This is the one rule for folders, lists of images and pairs. -1 is the file itself.

    >>> folder_identity("set/ann/1.jpg"), folder_identity("set/ann/1.jpg", 0), folder_identity("1.jpg")
    ('ann', 'set', '')
    """
    parts = name.split("/")
    if len(parts) == 1 and id_key_index != -1:
        return ""
    return parts[id_key_index] if -len(parts) <= id_key_index < len(parts) else ""


def check_depth(folder, names, id_key_index=-2):
    """Refuse photographs at different depths below a folder: the same rule can't name the person of both.

    Warns where folders of one name stand in several places: they count as one person.

    Parameters
    ----------
    folder : path
        What the message names.
    names : sequence of str
        Paths relative to it, with "/". Those without a folder name nobody, and do no harm.
    id_key_index : int, default=-2
        Only -2, the folder of the photograph, depends on the depth.

    Raises
    ------
    DataError
        It names one photograph of each depth, and what to do.
    """
    depths = {}
    for name in names:
        depths.setdefault(name.count("/"), name)
    depths.pop(0, None)
    if id_key_index == -2 and len(depths) > 1:
        (_, first), *_, (_, last) = sorted(depths.items())
        parents = [printable(Path(folder, name).parent) for name in (first, last)]
        raise DataError(
            f"{printable(folder)}: some photographs lie deeper than others ({parents[0]} and {parents[1]} both hold "
            "some), so it is not clear which folder names the person; put all at one depth, or say which part of the "
            "path it is: --id-key-index 0 (id_key_index=0) is the first folder"
        )
    places = {}
    for name in names if id_key_index == -2 else ():
        if "/" in name:
            places.setdefault(folder_identity(name), set()).add(name.rpartition("/")[0])
    shared = [sorted(found) for found in places.values() if len(found) > 1]
    if shared:
        warnings.warn(
            f"{printable(folder)}: {printable(shared[0][0])} and {printable(shared[0][1])} are taken for one person, "
            f"and so are {len(shared) - 1} other sets of folders with one name; if these are no names of people, say "
            "which part of the path is: --id-key-index 0 (id_key_index=0) is the first folder",
            stacklevel=3,
        )


def no_image_in(folder, skipped, advice=""):
    """The `DataError` about a folder without an image file: it says what is there instead."""
    there = f"; it holds {summary_of(skipped)}" if len(skipped) else "; it is empty"
    return DataError(f"{printable(folder)}: no image file in this folder or below{there}{advice and '; ' + advice}")


def count_of(faces, report=None):
    """How many people and photographs were loaded, for people who run a command.

    Parameters
    ----------
    faces : Faces
        What was loaded.
    report : DataFrame, default=None
        Its report: also say how many files could not be used.

    Returns
    -------
    str
        Such as "8 people, 16 photographs; 2 of no known person; 3 files not used".
    """
    people = len(set(faces.identities) - {""})
    unknown = int((faces.identities == "").sum())
    lost = 0 if report is None else int((~report["status"].isin(["ok", "fallback"])).sum())
    said = f"{people} people, {len(faces)} photographs"
    said += f"; {unknown} of no known person" if unknown else ""
    return said + (f"; {lost} files not used" if lost else "")
