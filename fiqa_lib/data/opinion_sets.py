"""Photographs with opinions of people: KonIQ-10k and LIVE In the Wild, in the layouts that their authors publish.

Many people looked at each photograph and rated how good it looks; the mean is its opinion score (MOS). These sets show
anything, not only faces, and nobody was asked whether a face in them can be recognised. With them DBCNN learns the
target of its paper: `DBCNN(target="opinion").fit(crops(load_koniq10k(folder)).faces)`.

Nothing is downloaded. The loaders are tested on small folders of the same layout, not on the sets themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from ..errors import DataError, ImageError
from ..faces import SIZE, Faces
from ..faces.images import read_image
from .folders import Loaded, read_crops
from .tables import numbers, read_table

PAGES = {
    "KonIQ-10k": "https://database.mmsp-kn.de/koniq-10k-database.html",
    "LIVE In the Wild": "https://live.ece.utexas.edu/research/ChallengeDB/index.html",
}
"""Where the authors of each set publish it."""

KONIQ_SETS, KONIQ_SCORES = "koniq10k_distributions_sets.csv", "koniq10k_scores_and_distributions.csv"
KONIQ_SIZES = ("512x384", "1024x768")
LIVE_FILES = {"images": "AllImages_release", "mos": "AllMOS_release", "sd": "AllStdDev_release"}
LIVE_TRAINING = 7  # pictures shown to people before the study, named t1..t7


class OpinionSet(NamedTuple):
    """Photographs and what people think of them.

    Attributes
    ----------
    name : str
        The set.
    index : DataFrame
        `name` (of the file), `path`, `mos` (mean opinion, 0 to 100, higher is better), `sd` (standard deviation of the
        opinions, in the authors' units), and `split` ("training", "validation" or "test"; "" where the authors
        publish none).
    """

    name: str
    index: pd.DataFrame

    def __repr__(self):
        return f"OpinionSet({self.name}: {len(self.index)} photographs)"


def _find(folder, of, names, below, what):
    """The first of `names` that is in the folder or its known subfolders."""
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder}: no such folder; {of} is published at {PAGES[of]}")
    for name in names:
        for place in (root, *(root / part for part in below)):
            if (place / name).exists():
                return place / name
    raise DataError(f"{folder}: {what} is not in this folder; {of} is published at {PAGES[of]}")


def load_koniq10k(folder, *, size="512x384"):
    """KonIQ-10k (Hosu, Lin, Szirányi and Saupe 2020): 10,073 photographs, each judged by about 120 people.

    Parameters
    ----------
    folder : path
        Holds a table and the folder of photographs, unpacked here or each in a folder named after its archive:
        `koniq10k_distributions_sets.csv` (from the authors' code repository: `image_name`, `c1`..`c5`, `c_total`, `MOS`
        from 0 to 100, `SD`, `set`), or `koniq10k_scores_and_distributions.csv` (`MOS` from 1 to 5, `SD`, and
        `MOS_zscore` from 0 to 100, which is the one taken; it has no split); and `512x384/` or `1024x768/`.
    size : {"512x384", "1024x768"}, default="512x384"
        Which folder of photographs is read.

    Returns
    -------
    OpinionSet

    Raises
    ------
    DataError
        When a part is missing or the table has another layout. Names the page of the authors.
    """
    of = "KonIQ-10k"
    if size not in KONIQ_SIZES:
        raise DataError(f"size must be one of {', '.join(KONIQ_SIZES)}, not {size!r}")
    places = ("metadata", Path(KONIQ_SCORES).stem, "koniq10k_scores")
    file = _find(folder, of, (KONIQ_SETS, KONIQ_SCORES), places, f"{KONIQ_SETS} or {KONIQ_SCORES}")
    images = _find(folder, of, (size,), (f"koniq10k_{size}",), f"the folder {size}")
    table = read_table(file, columns=("image_name", "SD"))
    mos = "MOS" if "set" in table else "MOS_zscore"
    if mos not in table:
        raise DataError(f"{file}: the column {mos} is missing; this is no table of {of}")
    values = numbers(table[mos], file)
    for line in table.index[~values.between(0, 100)]:
        raise DataError(f"{file}, line {line}: {mos} must be a number from 0 to 100, not {table[mos][line]!r}")
    names, split = table["image_name"], table["set"] if "set" in table else ""
    index = {"path": [images / name for name in names], "mos": values, "sd": numbers(table["SD"], file), "split": split}
    return OpinionSet(f"{of}, {size}", pd.DataFrame({"name": names, **index}).reset_index(drop=True))


def load_live_challenge(folder, *, training=False):
    """LIVE In the Wild Image Quality Challenge (Ghadiyaram and Bovik 2016): 1,162 photographs from phones.

    Parameters
    ----------
    folder : path
        `ChallengeDB_release`, with `Data/AllImages_release.mat` (a cell array of 1,169 names), `AllMOS_release.mat` and
        `AllStdDev_release.mat` (1 x 1,169), and `Images/`, whose `trainingImages/` holds the first seven.
    training : bool, default=False
        Also the seven pictures that people saw for practice, t1 to t7.

    Returns
    -------
    OpinionSet
        Without a split: the authors publish none.

    Raises
    ------
    DataError
        When a part is missing, damaged, or the lengths disagree.
    """
    of = "LIVE In the Wild"
    below = ("Data", "ChallengeDB_release/Data")
    names, mos, sd = (
        _read_mat(_find(folder, of, (f"{name}.mat",), below, f"{name}.mat"), name) for name in LIVE_FILES.values()
    )
    images = _find(folder, of, ("Images",), ("ChallengeDB_release",), "the folder Images")
    names = [str(np.ravel(cell)[0]) if np.size(cell) else "" for cell in np.ravel(names)]
    mos, sd = (np.ravel(values).astype(float) for values in (mos, sd))
    if not len(names) == len(mos) == len(sd):
        raise DataError(f"{folder}: {len(names)} names, {len(mos)} scores and {len(sd)} deviations: lengths must agree")
    if not np.isfinite(mos).all() or mos.min() < 0 or mos.max() > 100:
        raise DataError(f"{folder}: {LIVE_FILES['mos']}.mat must hold numbers from 0 to 100")
    practice = np.arange(len(names)) < LIVE_TRAINING
    paths = [images / "trainingImages" / n if first else images / n for n, first in zip(names, practice, strict=True)]
    index = pd.DataFrame({"name": names, "path": paths, "mos": mos, "sd": sd, "split": ""})
    return OpinionSet(of, index if training else index[~practice].reset_index(drop=True))


def _read_mat(path, name):
    from scipy.io import loadmat

    try:
        return loadmat(path)[name]
    except KeyError as error:
        raise DataError(f"{path}: holds no variable {name}; this is not the authors' file") from error
    except Exception as error:  # whatever a damaged file makes SciPy raise, it is about this file
        raise DataError(f"{path}: not a readable MATLAB file ({error}); copy or download it again") from error


def crops(opinion_set, *, how="resized", strict=False, progress=None):
    """The photographs of a set as squares of 192 pixels with their opinion, in the form in which DBCNN takes faces.

    They are no faces: identities are empty, and no recogniser should see them.

    Parameters
    ----------
    opinion_set : OpinionSet
        What to read.
    how : {"resized", "native"}, default="resized"
        "resized": the central square, shrunk to 192 pixels; fine noise and blocks shrink with it. "native": the
        central 192 pixels as they are; the opinion was about the whole photograph.
    strict : bool, default=False
        Raise the first `ImageError` instead of reporting it.
    progress : callable, default=None
        Wraps the iterable of paths, for example `tqdm`.

    Returns
    -------
    Loaded
        Faces with the attributes `opinion` (0 to 1), `mos`, `sd`, `split`; and the report.
    """
    if how not in ("resized", "native"):
        raise DataError(f"how must be 'resized' or 'native', not {how!r}")
    images, kept, report = read_crops(
        list(opinion_set.index["path"]), lambda path: _square(path, how), strict=strict, progress=progress
    )
    rows = opinion_set.index.iloc[kept]
    table = rows[["mos", "sd", "split"]].assign(opinion=rows["mos"] / 100)
    return Loaded(Faces(images, [""] * len(kept), rows["name"], table), report)


def _square(path, how):
    image = read_image(path)
    height, width = image.shape[:2]
    if min(height, width) < SIZE:
        raise ImageError(path, f"{width} x {height} pixels: at least {SIZE} x {SIZE} are needed")
    side = min(height, width) if how == "resized" else SIZE
    top, left = (height - side) // 2, (width - side) // 2
    part = image[top : top + side, left : left + side]
    return part if side == SIZE else cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
