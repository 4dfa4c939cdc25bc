"""The photographs in a folder and below, and what else is there. See `images`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..errors import DataError
from .formats import HEAD, NOT_REGULAR, RAW_SUFFIXES, Refused, plugin_for, printable, why_unreadable

SUFFIXES = tuple(".jpg .jpeg .jpe .jfif .mpo .png .gif .bmp .dib .tif .tiff .webp .pbm .pgm .ppm .pnm".split())
SUFFIXES += (".heic", ".heif", ".hif", ".avif", *RAW_SUFFIXES)  # these too are photographs: none goes without a word
"""What `find_images` takes for an image file by its name (in either case)."""


class Found(NamedTuple):
    """The image files of a folder.

    Attributes
    ----------
    paths : list of Path
        The image files, sorted. Whether they can be read is found out when they are.
    skipped : DataFrame
        One row for everything else in the folder, sorted likewise: `path` (as `printable` gives it) and `reason`.
    """

    paths: list[Path]
    skipped: pd.DataFrame


def find_images(folder, *, suffixes=SUFFIXES):
    """List the image files in a folder and below: by suffix and, of other files, those that begin like a picture.

    The order is plain: by the path relative to the folder, written with "/", compared character by character, as
    `LC_ALL=C sort` does on every machine ("10.png" stands before "2.png"). Links to files inside the folder count as
    files. Links that lead out of it are not followed, nor are links to folders: what they show inside the folder is
    found in its own place. Names that begin with a dot are hidden and left out.

    Parameters
    ----------
    folder : str, bytes or Path
        Where to look.
    suffixes : str or sequence of str, default=SUFFIXES
        Which files are images. With or without their dot, in either case. Other suffixes than the default: only these,
        and no file is opened.

    Returns
    -------
    Found
        Everything in the folder is either in `paths` or in `skipped`. An empty folder gives an empty result.

    Raises
    ------
    DataError
        When the folder is missing, is no folder, or cannot be listed.
    """
    folder = Path(os.fsdecode(folder))
    look_inside = suffixes is SUFFIXES
    suffixes = [suffixes] if isinstance(suffixes, str) else suffixes
    wanted = {"." + suffix.lower().removeprefix(".") for suffix in suffixes}
    try:
        os.scandir(folder).close()
    except (OSError, ValueError) as error:
        reason = why_unreadable(error, folder).replace("such file", "such folder")
        if isinstance(error, NotADirectoryError) and folder.exists():
            reason = "is not a folder; images.read_image reads a single file"
        raise DataError(f"{printable(folder)}: {reason}") from error
    root = folder.resolve()
    paths, skipped, closed = [], [], []
    for current, subfolders, names in os.walk(folder, onerror=closed.append):
        for path in [Path(current, name) for name in subfolders + names]:
            try:
                reason = _why_skipped(path, root, wanted, look_inside)
            except OSError as error:
                reason = why_unreadable(error, path)
            if reason is not None:
                skipped.append((path, reason))
            elif not path.is_dir():
                paths.append(path)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    skipped += [(Path(error.filename), why_unreadable(error, error.filename)) for error in closed]
    rows = [(printable(path), reason) for path, reason in sorted(skipped, key=lambda row: row[0].as_posix())]
    return Found(sorted(paths, key=Path.as_posix), pd.DataFrame(rows, columns=["path", "reason"], dtype="str"))


def _why_skipped(path, root, wanted, look_inside):
    """Why `find_images` leaves a file or folder out; None for an image file, and for a folder to walk into."""
    if path.name.startswith("."):
        return "hidden: its name begins with a dot; rename it to use it"
    if path.is_symlink():
        target = os.path.realpath(path, strict=True)
        if not Path(target).is_relative_to(root):
            return f"link that leads out of the folder, to {printable(target)}; copy what it shows into the folder"
        if os.path.isdir(target):
            return "link to a folder; its images are found in their own place"
    elif getattr(path, "is_junction", bool)():  # Windows, Python 3.12
        return "link to a folder; put the folder itself here"
    elif path.is_dir():
        return None
    if not path.is_file():
        return NOT_REGULAR
    if (suffix := path.suffix.lower()) in wanted:
        return None
    by_name = f"not an image by its suffix, {printable(suffix)}" if suffix else "not an image: it has no suffix"
    if not look_inside:
        return by_name
    with open(path, "rb") as file:
        head = file.read(HEAD)
    try:
        plugin_for(head)
    except Refused as refused:
        return None if re.match(_UNREADABLE_PICTURE, str(refused)) else by_name
    return None


_UNREADABLE_PICTURE = "camera raw|unsupported format: (HEIC|AVIF|JPEG|BigTIFF|Photoshop)"
"""The reasons of `formats` against files that are pictures: their reader says what to do."""


def is_picture_name(path):
    """Whether a name is that of a photograph, readable or not."""
    return Path(path).suffix.lower() in SUFFIXES


def summary_of(skipped, limit=4):
    """What was left out of a folder, counted by reason, in one line.

    Parameters
    ----------
    skipped : DataFrame
        With the columns `path` and `reason`, as in `Found`.
    limit : int, default=4
        The most reasons that are named; the rarest are counted together.

    Returns
    -------
    str
        Such as "3 not an image by its suffix, .txt (first: notes.txt)". Empty for none.
    """
    groups = skipped.groupby(skipped["reason"].str.partition(";")[0], sort=False)["path"].agg(["size", "first"])
    groups = groups.sort_values("size", ascending=False, kind="stable")
    said = [f"{n} {reason} (first: {os.path.basename(path)})" for reason, n, path in groups.head(limit).itertuples()]
    rest = int(groups["size"].iloc[limit:].sum())
    return "; ".join([*said, f"{rest} others"] if rest else said)
