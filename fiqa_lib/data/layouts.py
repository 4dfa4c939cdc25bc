"""What is known about the folders of published sets: where the authors publish them, and where their parts can be."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DataError

PAGES = {
    "LFW": "http://vis-www.cs.umass.edu/lfw/",
    "XQLFW": "https://martlgap.github.io/xqlfw",
    "CALFW": "http://whdeng.cn/CALFW/index.html",
    "CPLFW": "http://whdeng.cn/CPLFW/index.html",
    "CFP": "http://www.cfpw.io",
    "AgeDB": "https://ibug.doc.ic.ac.uk/resources/agedb/",
    "Adience": "https://talhassner.github.io/home/projects/Adience/Adience-data.html",
    "SCface": "https://www.scface.org",
    "FERET": "https://www.nist.gov/itl/products-and-services/color-feret-database",
    "InsightFace .bin": "https://github.com/deepinsight/insightface",
}
"""Where the authors of each set publish it."""

FLAT = {
    "original": ["images", "images&landmarks/images", "images&landmarks/images&landmarks/images"],
    "aligned": ["aligned images", "aligned_images"],
}
VARIANTS = {
    "LFW": {
        "original": ["lfw", "lfw/lfw"],
        "funneled": ["lfw_funneled", "lfw-funneled", "lfw-funneled/lfw_funneled"],
        "deepfunneled": ["lfw-deepfunneled", "lfw_deepfunneled", "lfw-deepfunneled/lfw-deepfunneled"],
    },
    "XQLFW": {
        "original": ["lfw_original_imgs_min_qual0.85variant11", "xqlfw/lfw_original_imgs_min_qual0.85variant11"],
        "aligned": ["xqlfw_aligned_112", "xqlfw_aligned_112/xqlfw_aligned_112"],
    },
    "CALFW": FLAT,
    "CPLFW": FLAT,
    "Adience": {"aligned": ["aligned"], "faces": ["faces"]},
}
"""Set -> variant -> the folders, relative to that of the set, where the images of this variant can be."""


def published_at(of):
    return f"the authors publish {of} at {PAGES[of]}; data/README.md shows the layout that is read"


def set_folder(folder, of, inner=None):
    """The folder of a set, or the one called `inner` in it, if there."""
    folder = Path(os.fspath(folder)).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {published_at(of)}")
    return folder / inner if inner and (folder / inner).is_dir() else folder


def lfw_folder(folder=None, pairs="pairs.txt"):
    """The folder of a copy of LFW: the one given, or `lfw_home` in it; None: where scikit-learn keeps its own."""
    if folder is None:
        folder = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser() / "lfw_home"
        if not folder.is_dir():
            raise DataError(
                f"no folder was given and {folder} does not exist; data.load_lfw(download=True) lets scikit-learn "
                f"download LFW there; {published_at('LFW')}"
            )
    folder = set_folder(folder, "LFW")
    return folder if (folder / pairs).is_file() else set_folder(folder, "LFW", "lfw_home")


def need_parts(folder, of, parts):
    """Raise a DataError that names those of the relative paths `parts` that the folder lacks."""
    if missing := [part for part in parts if not (folder / part).exists()]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(f"{folder} lacks {', '.join(missing[:5])}{more}; {published_at(of)}")


def image_folder(folder, of, variant):
    """(variant, folder) of the images, as `VARIANTS` knows them.

    LFW and XQLFW may also be in `images`, or given by the image folder itself.
    """
    variants, by_person = VARIANTS[of], of in ("LFW", "XQLFW")
    if variant is not None and variant not in variants:
        raise DataError(f"variant must be one of {', '.join(variants)}, not {variant!r}")
    there = {}
    for key, paths in variants.items():
        places = [folder / path for path in paths if (folder / path).is_dir()]
        if places := [place for place in places if holds_people(place) or not by_person]:
            there[key] = places[0]
    if not there and by_person and (folder / "images").is_dir() and holds_people(folder / "images"):
        there = {variant or "unnamed variant": folder / "images"}
    if not there and by_person and holds_people(folder):
        own = [key for key, paths in variants.items() if folder.name in paths]
        there = {own[0] if own else variant or "unnamed variant": folder}
    there = {key: path for key, path in there.items() if variant in (None, key)}
    if len(there) > 1:
        raise DataError(f"{folder} holds {' and '.join(there)}: say which with variant=")
    if not there:
        wanted = [paths[0] for key, paths in variants.items() if variant in (None, key)]
        raise DataError(f"{folder} lacks the images ({' or '.join(wanted)}); {published_at(of)}")
    return there.popitem()


def holds_people(folder):
    """Whether a folder holds NAME/NAME_0001.jpg for some NAME."""
    return any((entry / f"{entry.name}_0001.jpg").is_file() for entry in sorted(folder.iterdir()) if entry.is_dir())
