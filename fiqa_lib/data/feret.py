"""Color FERET (Phillips et al. 2000): 994 people in a studio, some of them again months or years later."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from ..errors import DataError
from .layouts import need_parts, published_at, set_folder
from .pair_sets import read_pair_set
from .pairs import pair_table
from .tables import read_lines

PROBES = ("fb", "dup1", "dup2")
"""Lists of probes: another expression a moment later; another day; at least 18 months later."""
_NAME = re.compile(r"(\d{5})_(\d{6})_([a-z]{2})(?:_\w+)*\.(?:ppm|jpg|png|tif)", re.IGNORECASE)


def load_feret(folder, probes="fb", *, max_impostor=20_000, random_state=0, images="pairs", strict=False, **options):
    """Color FERET: the frontal gallery `fa` against one of the authors' lists of probes.

    Layout and names are those that programs which read the set use; the set itself was not at hand. Pictures are read
    as they are published, packed (`.ppm.bz2`), or unpacked. Mated pairs are all; of the non-mated ones, a million, some
    are drawn.

    Parameters
    ----------
    folder : path
        `colorferet` with `dvd1` and `dvd2`, or the folder that holds it.
    probes : {"fb", "dup1", "dup2"}, default="fb"
        See `PROBES`.
    max_impostor : int or None, default=20_000
        The most non-mated pairs; None takes all.
    random_state : int, default=0
        Decides which non-mated pairs are drawn.
    images : {"pairs", "all"}, default="pairs"
        The images in a pair, or both lists whole.
    strict : bool, default=False
        As in `load_lfw`.
    **options
        As in `load_files`; the detector is `Mtcnn()`.

    Returns
    -------
    PairSet
        `attributes`: `pose` ("fa", "fb" ...), `date` (YYMMDD), and from the ground truth, where it is there, `gender`
        ("f" or "m") and `birth_year`.
    """
    if probes not in PROBES:
        raise DataError(f"probes must be one of {', '.join(PROBES)}, not {probes!r}")
    root = set_folder(folder, "FERET", "colorferet")
    discs = [root / name for name in ("dvd1", "dvd2") if (root / name).is_dir()]
    need_parts(root, "FERET", [] if discs else ["dvd1"])
    lists = {name: _read_list(discs, name) for name in ("fa", probes)}
    index = pd.concat(lists.values()).drop_duplicates("name", ignore_index=True)
    index["path"] = [_place(discs, person, name) for person, name in zip(index["identity"], index["name"], strict=True)]
    facts = {person: _facts(discs, person) for person in index["identity"].unique()}
    for column in ("gender", "birth_year"):
        index[column] = [facts[person].get(column) for person in index["identity"]]
    pairs = _pairs(lists[probes], lists["fa"], max_impostor, random_state)
    return read_pair_set(f"FERET (fa, {probes})", index, pairs, images=images, strict=strict, **options)


def _read_list(discs, name):
    """Rows `name`, `identity`, `pose`, `date` of a list: lines "00001 00001_930831_fa_a.ppm"."""
    files = [file for disc in discs if (file := disc / "doc" / "partitions" / f"{name}.txt").is_file()]
    need_parts(discs[0], "FERET", [] if files else [f"doc/partitions/{name}.txt"])
    rows = []
    for file in files:
        for number, line in read_lines(file, strip=True):
            image = line.split()[-1].removesuffix(".bz2") if line.split() else ""
            if not (match := _NAME.fullmatch(image)):
                raise DataError(f"{file}, line {number}: expected '00001 00001_930831_fa_a.ppm', found {line!r}")
            rows.append((image, match[1], match[3].lower(), match[2]))
    if not rows:
        raise DataError(f"{files[0]}: no image is listed; {published_at('FERET')}")
    return pd.DataFrame(rows, columns=["name", "identity", "pose", "date"], dtype="str").drop_duplicates("name")


def _place(discs, person, name):
    """The image file, unpacked or packed, on the disc that has it; where it would be, if none has."""
    places = [disc / "data" / "images" / person / file for disc in discs for file in (name, f"{name}.bz2")]
    return str(next((place for place in places if place.is_file()), places[0]))


def _facts(discs, person):
    """`gender`, `birth_year` of a person, as far as the ground truth says: lines "gender=Male", "yob=1943"."""
    files = [disc / "data" / "ground_truths" / "name_value" / person / f"{person}.txt" for disc in discs]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    values = dict(line.lower().replace(" ", "").partition("=")[::2] for _, line in read_lines(file, strip=True))
    facts = {"gender": {"male": "m", "female": "f"}.get(values.get("gender"))}
    if re.fullmatch(r"\d{4}", values.get("yob", "")):
        facts["birth_year"] = float(values["yob"])
    return facts


def _pairs(probes, gallery, max_impostor, random_state):
    """Each probe with each gallery image of its person, and some with other people's; never an image with itself."""
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(len(probes)), np.arange(len(gallery)), indexing="ij"))
    names = [table["name"].to_numpy(str) for table in (probes, gallery)]
    people = [table["identity"].to_numpy(str) for table in (probes, gallery)]
    mated, same = people[0][a] == people[1][b], names[0][a] == names[1][b]
    true, others = np.flatnonzero(mated & ~same), np.flatnonzero(~mated)
    if max_impostor is not None and len(others) > max_impostor:
        others = np.sort(np.random.default_rng(random_state).choice(others, max_impostor, replace=False))
    chosen = np.concatenate([true, others])
    return pair_table(names[0][a[chosen]], names[1][b[chosen]], mated[chosen])
