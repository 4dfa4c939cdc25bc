"""Published face sets, read from the folder or file that their authors hand out.

Each loader checks the folder, names what is missing and the page where the authors publish it, and returns a
`PairSet`: aligned faces, the pairs of the authors' protocol, and a report. Nothing is downloaded, but for
`load_lfw(download=True)`, which lets scikit-learn do it.

What was known about a layout when its loader was written stands in the docstring of the loader, with what was not
known. The loaders are tested on small trees of the same layout, not on the sets themselves.

Memory: a face takes 192 x 192 x 3 = 110,592 bytes, 10,000 faces 1.1 GB, and about twice that while they are joined.
`images="pairs"` (the default) reads only what the protocol uses.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from . import protocols
from .datasets import REPORT, Loaded, load_files
from .errors import DataError, ImageError
from .faces import CANONICAL_EYES, SIZE, DlibHog, Faces, attribute_table, similarity_transform
from .images import decode_image, find_images, read_image
from .protocols import _lines

PAGES = {
    "LFW": "http://vis-www.cs.umass.edu/lfw/",
    "XQLFW": "https://martlgap.github.io/xqlfw",
    "CALFW": "http://whdeng.cn/CALFW/index.html",
    "CPLFW": "http://whdeng.cn/CPLFW/index.html",
    "CFP": "http://www.cfpw.io",
    "AgeDB": "https://ibug.doc.ic.ac.uk/resources/agedb/",
    "Adience": "https://talhassner.github.io/home/projects/Adience/Adience-data.html",
    "SCface": "https://www.scface.org",
    "InsightFace .bin": "https://github.com/deepinsight/insightface",
}
"""Where the authors of each set publish it."""

FOLDS = 10
"""Folds of a protocol that announces none: those of LFW, on which the others are modelled."""


class PairSet(NamedTuple):
    """Faces and the pairs to compare.

    Attributes
    ----------
    name : str
        The set, and which variant of it.
    faces : Faces
        `attributes` holds what the authors say about each image besides what alignment measures.
    pairs : DataFrame
        Columns `a`, `b` (names in `faces`), `mated` (bool) and, where the protocol has them, `fold` (int, from 0).
    report : DataFrame
        One row for every image that was wanted: `path`, `status` ("ok", "fallback", "no_face", "error" or "missing"),
        `reason`, `n_faces`.
    dropped : DataFrame
        Pairs of the protocol that can't be compared, since an image is missing or shows no face: the columns of `pairs`
        and `reason`. An error rate over the rest is too good when the dropped images are the difficult ones: report
        `len(dropped)` beside it, or load with `fallback="centre"`.
    """

    name: str
    faces: Faces
    pairs: pd.DataFrame
    report: pd.DataFrame
    dropped: pd.DataFrame

    def __repr__(self):
        mated = int(self.pairs["mated"].sum())
        return (
            f"PairSet({self.name}: {len(self.faces)} faces, {len(self.pairs)} pairs of which {mated} mated, "
            f"{len(self.dropped)} pairs dropped)"
        )


class CentralFace:
    """A detector that returns only the face in the middle of the picture, as the makers of LFW define it.

    The face that contains the central pixel is the person named (Huang et al. 2007, section 3), and a larger one beside
    it is not. Of several boxes that contain the centre, the one centred best is taken; where none does, there is no
    face. The attribute `n_faces` is therefore never more than 1.

    Parameters
    ----------
    detector : callable, optional
        image -> list of `Detection`. Default: `DlibHog()`.
    """

    def __init__(self, detector=None):
        self.detector = detector or DlibHog()

    def __repr__(self):
        return f"CentralFace({self.detector!r})"

    def __call__(self, image):
        y, x = (np.array(image.shape[:2]) - 1) / 2
        inside = [d for d in self.detector(image) if 0 <= x - d.x <= d.width and 0 <= y - d.y <= d.height]
        return sorted(inside, key=lambda d: np.hypot(d.x + d.width / 2 - x, d.y + d.height / 2 - y))[:1]


# --- crops that are already aligned ------------------------------------------------------------------------------

ARCFACE_SIZE = 112
ARCFACE_EYES = np.array([[38.2946, 51.6963], [73.5318, 51.5014]])
"""Eye centres in the 112-pixel crop of ArcFace, (2, 2) as (x, y): on the picture's left, then on its right."""
ARCFACE_TO_CANONICAL = similarity_transform(ARCFACE_EYES, CANONICAL_EYES)
"""The one similarity (2, 3) that takes ArcFace's crop to the canonical crop: 1.49 times larger, turned by 0.3 degrees.

It is fitted on the eye centres alone. ArcFace's third point is the tip of the nose and dlib's the base: they are not
the same point, so they must not be fitted to each other.
"""


def from_arcface_crop(image):
    """The canonical crop of a face that was aligned to ArcFace's 112-pixel template. Nothing is detected.

    The canonical crop shows more than ArcFace's: about 12 px at the left, 14 at the right, 5 above and 19 below are the
    repeated border. Cubic interpolation: cut back to 112 pixels the crop differs less than with linear (50 instead of
    41 dB on a portrait).

    Parameters
    ----------
    image : array (112, 112, 3) uint8 RGB

    Returns
    -------
    array (192, 192, 3) uint8
    """
    image = np.asarray(image)
    if image.shape != (ARCFACE_SIZE, ARCFACE_SIZE, 3) or image.dtype != np.uint8:
        raise DataError(f"an ArcFace crop is (112, 112, 3) uint8, not {image.shape} {image.dtype}")
    size = (SIZE, SIZE)
    return cv2.warpAffine(image, ARCFACE_TO_CANONICAL, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _load_arcface_crops(read, sources, *, names, identities, strict, progress=None):
    """As `load_files`, for crops that are aligned already. `read(source)` gives the picture or raises ImageError.

    `attributes` has the columns of a detected face, but nothing was measured: only `status` and `n_faces` are filled.
    """
    crops, kept, rows = [], [], []
    numbered = enumerate(sources)
    for number, source in progress(numbered, total=len(sources)) if progress else numbered:
        try:
            image = read(source)
            if image.shape[:2] != (ARCFACE_SIZE, ARCFACE_SIZE):
                height, width = image.shape[:2]
                raise ImageError(source, f"{width} x {height} pixels; an aligned crop of this set has 112 x 112")
        except ImageError as error:
            if strict:
                raise
            rows.append((str(source), "error", error.reason, 0))
            continue
        crops.append(from_arcface_crop(image))
        kept.append(number)
        rows.append((str(source), "ok", "", 1))
    images = np.stack(crops) if crops else np.zeros((0, SIZE, SIZE, 3), np.uint8)
    attributes = attribute_table([{"status": "ok", "n_faces": 1}] * len(kept))
    faces = Faces(images, [identities[i] for i in kept], [names[i] for i in kept], attributes)
    return Loaded(faces, pd.DataFrame(rows, columns=REPORT))


# --- what all loaders share --------------------------------------------------------------------------------------


def _pair_set(name, index, pairs, *, images, strict, aligned=False, **options):
    """Read the images of `index` that are wanted, and keep the pairs of which both faces were found.

    `index`: one row for each image, columns `name`, `path`, `identity`; the others become attributes.
    """
    if images not in ("pairs", "all"):
        raise DataError(f'images must be "pairs" or "all", not {images!r}')
    if images == "pairs":
        index = index[index["name"].isin(pd.unique(pairs[["a", "b"]].to_numpy().ravel()))]
    there = index["path"].map(lambda path: Path(path).is_file()).to_numpy(bool)
    missing, index = index[~there], index[there]
    if len(index) == 0:
        example = f"; the first would be {missing['path'].iloc[0]}" if len(missing) else ""
        raise DataError(f"{name}: none of the {len(missing)} images of the protocol is there{example}")
    if strict and len(missing):
        raise DataError(
            f"{name}: {len(missing)} images are missing, the first is {missing['path'].iloc[0]}; strict=False drops "
            "their pairs and lists them"
        )
    arguments = {"identities": list(index["identity"]), "names": list(index["name"]), "strict": strict, **options}
    if aligned:
        loaded = _load_arcface_crops(read_image, list(index["path"]), **_only_progress(arguments))
    else:
        loaded = load_files(list(index["path"]), which="largest", **arguments)
    rows = [(str(path), "missing", "the folder lacks this image", 0) for path in missing["path"]]
    report = pd.concat([loaded.report, pd.DataFrame(rows, columns=REPORT)], ignore_index=True)
    why = dict(zip([*index["name"], *missing["name"]], report["status"] + ": " + report["reason"], strict=True))
    return _keep_comparable(name, _with_facts(loaded.faces, index), pairs, report, why)


def _only_progress(arguments):
    """The options that make sense where nothing is detected; the others are accepted and have no effect."""
    no_effect = {"detector", "fallback", "cache", "n_jobs"}
    return {key: value for key, value in arguments.items() if key not in no_effect}


def _with_facts(faces, index):
    """Add the columns of `index` that state something about an image to the attributes of its face."""
    facts = index.drop(columns=["path", "identity"]).set_index("name").loc[list(faces.names)]
    return faces.with_attributes(**{column: facts[column].array for column in facts})


def _keep_comparable(name, faces, pairs, report, why):
    """The `PairSet`, with the pairs of which a face is lacking set apart. `why`: name -> what became of the image."""
    found = set(faces.names)
    lacking = [[n for n in pair if n not in found] for pair in zip(pairs["a"], pairs["b"], strict=True)]
    good = np.array([not names for names in lacking], dtype=bool)
    reasons = ["; ".join(f"{n}: {why[n]}" for n in dict.fromkeys(names)) for names in lacking if names]
    dropped = pairs[~good].assign(reason=pd.Series(reasons, index=pairs.index[~good], dtype="str"))
    return PairSet(name, faces, pairs[good].reset_index(drop=True), report, dropped.reset_index(drop=True))


def _folder(folder, of):
    folder = Path(os.fspath(folder)).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {_published(of)}")
    return folder


def _published(of):
    return f"the authors publish {of} at {PAGES[of]}; data/README.md shows the layout that is read"


def _need(folder, of, parts):
    """Raise a DataError that names those of the relative paths `parts` that the folder lacks."""
    missing = [part for part in parts if not (folder / part).exists()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(f"{folder} lacks {', '.join(missing[:5])}{more}; {_published(of)}")


def _first_file(of, name, folders):
    """The first file called `name` in one of the folders."""
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folders[0]} lacks {name}; {_published(of)}")


def _image_folder(folder, of, variants, variant, holds=None):
    """(variant, folder) of the images: `variants` maps each variant to the relative paths under which it is known.

    `holds(folder)` tells whether the given folder is the image folder itself.
    """
    if variant is not None and variant not in variants:
        raise DataError(f"variant must be one of {', '.join(variants)}, not {variant!r}")
    found = {}
    for key, paths in variants.items():
        there = [folder / path for path in paths if (folder / path).is_dir()]
        if there := [path for path in there if holds is None or holds(path)]:
            found[key] = there[0]
    if not found and holds is not None and holds(folder):
        own = [key for key, paths in variants.items() if folder.name in paths]
        found = {own[0] if own else variant or "unnamed variant": folder}
    if variant is not None:
        found = {key: path for key, path in found.items() if key == variant}
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(found)}: say which with variant=")
    if not found:
        wanted = [path for key, paths in variants.items() for path in paths[:1] if variant in (None, key)]
        raise DataError(f"{folder} lacks the images ({' or '.join(wanted)}); {_published(of)}")
    return next(iter(found.items()))


def _blocks(count, folds):
    """The fold of each of `count` things in order, in contiguous parts as equal as possible (the first ones larger)."""
    return np.repeat(np.arange(folds), [len(part) for part in np.array_split(np.arange(count), folds)])


# --- LFW and its relatives ---------------------------------------------------------------------------------------

_LFW_FOLDERS = {
    "original": ["lfw", "lfw/lfw"],
    "funneled": ["lfw_funneled", "lfw-funneled", "lfw-funneled/lfw_funneled"],
    "deepfunneled": ["lfw-deepfunneled", "lfw_deepfunneled", "lfw-deepfunneled/lfw-deepfunneled"],
}


def load_lfw(folder=None, *, download=False, variant=None, pairs="pairs.txt", images="pairs", strict=False, **options):
    """Labeled Faces in the Wild (Huang et al. 2007): 13,233 press photographs, 250 x 250, of 5,749 people.

    Layout (from the authors' README): `NAME/NAME_0001.jpg` ... below `lfw/` (as collected), `lfw_funneled/` or
    `lfw-deepfunneled/` (aligned by two methods of the authors); `pairs.txt` (view 2: 10 folds of 300 mated and 300
    non-mated pairs), `pairsDevTrain.txt` and `pairsDevTest.txt` (view 1, one fold, for development). `lfw-funneled` and
    a folder within a folder of the same name, as some archives unpack, are also taken.

    The pairs use 7,701 images: 0.85 GB of memory; all images 1.46 GB. The first run detects faces, which takes
    minutes; later runs read the cache.

    Parameters
    ----------
    folder : path, optional
        Holds the image folder and the pairs file; or is the image folder, with the pairs file in it or beside it.
        Default: where scikit-learn keeps its download.
    download : bool
        Let `sklearn.datasets.fetch_lfw_people` download the images (about 200 MB) and the pairs files first, to
        `folder/lfw_home`, or to scikit-learn's own data folder. What is there already is not downloaded again.
    variant : {"original", "funneled", "deepfunneled"}, optional
        Needed when the folder holds several.
    pairs : str
        File name of the protocol.
    images : {"pairs", "all"}
        The images that the protocol names, or every image below the image folder.
    strict : bool
        Raise for the first image that is missing, unreadable or without a face, instead of dropping its pairs.
    **options
        As in `datasets.load_files`: `detector` (default: `CentralFace()`), `fallback`, `cache`, `n_jobs`, `progress`.

    Returns
    -------
    PairSet

    Raises
    ------
    DataError
        When a part is missing (with the page of the authors), a line of the pairs file is malformed (with its number),
        or the download fails.
    """
    if download:
        folder = _download_lfw(folder, variant)
        variant = variant or "funneled"
    elif folder is None:
        folder = _sklearn_home()
        if not folder.is_dir():
            raise DataError(
                f"no folder was given and {folder} does not exist; load_lfw(download=True) lets scikit-learn "
                f"download LFW there; {_published('LFW')}"
            )
    elif not (Path(folder) / pairs).is_file() and (Path(folder) / "lfw_home").is_dir():
        folder = Path(folder) / "lfw_home"
    folder = _folder(folder, "LFW")
    variant, root = _image_folder(folder, "LFW", _LFW_FOLDERS, variant, holds=_holds_people)
    table = protocols.read_lfw_pairs(_first_file("LFW", pairs, [folder, root, root.parent]))
    view = "" if pairs == "pairs.txt" else f", {Path(pairs).stem}"
    options.setdefault("detector", CentralFace())
    return _pair_set(
        f"LFW ({variant}{view})", _people_index(root, table, images), table, images=images, strict=strict, **options
    )


def _holds_people(folder):
    """Whether a folder holds NAME/NAME_0001.jpg for some NAME."""
    return any((entry / f"{entry.name}_0001.jpg").is_file() for entry in sorted(folder.iterdir()) if entry.is_dir())


def _people_index(root, pairs, images):
    """Index rows of person/image.jpg: the names in the pairs and, for "all", every image below the folder."""
    names = set(pd.unique(pairs[["a", "b"]].to_numpy().ravel()))
    if images == "all":
        names |= {path.relative_to(root).as_posix() for path in find_images(root).paths}
    names = sorted(names)
    people = [name.split("/")[0] if "/" in name else "" for name in names]
    return pd.DataFrame({"name": names, "path": [str(root / n) for n in names], "identity": people}, dtype="str")


def _sklearn_home():
    """Where scikit-learn keeps LFW. Its own `get_data_home` would create the folder."""
    return Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser() / "lfw_home"


def _download_lfw(folder, variant):
    """Let scikit-learn download and unpack LFW; the folder that then holds it."""
    from sklearn import datasets

    if variant == "deepfunneled":
        raise DataError(f"scikit-learn downloads the original and the funneled images only; {_published('LFW')}")
    home = None if folder is None else os.fspath(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of each try that fails
            # it also decodes the people with at least so many images: here one person, in thumbnails
            datasets.fetch_lfw_people(
                data_home=home, funneled=variant != "original", min_faces_per_person=500, resize=0.1
            )
    except Exception as error:  # whatever the network, the disk or a broken archive can raise
        raise DataError(
            f"scikit-learn could not download LFW ({type(error).__name__}: {error}). Without a connection, copy the "
            f"unpacked folder and pairs.txt from elsewhere and call load_lfw(folder); {_published('LFW')}"
        ) from error
    return _sklearn_home() if folder is None else Path(folder) / "lfw_home"


_XQLFW_FOLDERS = {
    "original": ["lfw_original_imgs_min_qual0.85variant11", "xqlfw/lfw_original_imgs_min_qual0.85variant11"],
    "aligned": ["xqlfw_aligned_112", "xqlfw_aligned_112/xqlfw_aligned_112"],
}


def load_xqlfw(folder, *, variant=None, images="pairs", strict=False, **options):
    """Cross-Quality LFW (Knoche et al. 2021): the protocol of LFW, with pairs of unlike quality and degraded images.

    Layout: `xqlfw_pairs.txt` (as LFW's pairs.txt), the optional `xqlfw_scores.txt` (lines "ID Num Score"), and
    `lfw_original_imgs_min_qual0.85variant11/NAME/NAME_0001.jpg` (variant "original", from xqlfw.zip) or
    `xqlfw_aligned_112/NAME/NAME_0001.jpg` (variant "aligned", 112 x 112). That the aligned images follow ArcFace's
    template is inferred: others feed them to ArcFace-like networks unchanged. They are mapped as
    `from_arcface_crop` does, without detection, and lack images in which the authors' detector found no face.

    7,263 images, 0.8 GB. Detection fails on some of the degraded images: see `PairSet.dropped`.

    Parameters
    ----------
    folder : path
        Holds the pairs file and the image folder.
    variant : {"original", "aligned"}, optional
        Needed when both are there.
    images, strict, **options
        As in `load_lfw`.

    Returns
    -------
    PairSet
        `attributes["author_score"]`: the quality score in `xqlfw_scores.txt`, 0..1, higher is better.
    """
    folder = _folder(folder, "XQLFW")
    _need(folder, "XQLFW", ["xqlfw_pairs.txt"])
    variant, root = _image_folder(folder, "XQLFW", _XQLFW_FOLDERS, variant, holds=_holds_people)
    pairs = protocols.read_lfw_pairs(folder / "xqlfw_pairs.txt")
    index = _people_index(root, pairs, images)
    if (folder / "xqlfw_scores.txt").is_file():
        index["author_score"] = index["name"].map(_read_xqlfw_scores(folder / "xqlfw_scores.txt")).astype(float)
    options.setdefault("detector", CentralFace())
    name, aligned = f"XQLFW ({variant})", variant == "aligned"
    return _pair_set(name, index, pairs, images=images, strict=strict, aligned=aligned, **options)


def _read_xqlfw_scores(path):
    """name -> score of the lines "ID Num Score" after the header."""
    scores = {}
    for number, line in _lines(path):
        parts = line.split()
        if number == 1 and parts == ["ID", "Num", "Score"]:
            continue
        try:
            person, image, score = parts
            scores[f"{person}/{person}_{int(image):04d}.jpg"] = float(score)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected 'NAME number score', found {line.strip()!r}") from error
    return scores


_FLAT_FOLDERS = {
    "original": ["images", "images&landmarks/images", "images&landmarks/images&landmarks/images"],
    "aligned": ["aligned images", "aligned_images"],
}


def load_calfw(folder, *, variant=None, images="pairs", strict=False, **options):
    """Cross-Age LFW (Zheng, Deng & Hu 2017): 12,174 images of LFW's people, mated pairs with an age gap.

    Layout: `pairs_CALFW.txt`, and the images in one flat folder, `NAME_0001.jpg`: `aligned images/` (variant "aligned")
    or `images&landmarks/images/` (also once more nested, or just `images/`; variant "original"). Two lines make a pair,
    each "image number", both with one number: 1 to 10 is the fold of a mated pair, 0 means non-mated. The file gives
    non-mated pairs no fold; here they go to the folds in the order of the file, in equal parts. The authors corrected
    the list in September 2018: use the newer one. The aligned images do not follow ArcFace's template; both variants go
    through detection.

    At most 12,000 images, 1.3 GB.

    Parameters and result as in `load_xqlfw`, without `author_score`.
    """
    return _load_flat("CALFW", folder, variant, images, strict, options)


def load_cplfw(folder, *, variant=None, images="pairs", strict=False, **options):
    """Cross-Pose LFW (Zheng & Deng 2018): 11,652 images of LFW's people, mated pairs of unlike pose.

    Layout: `pairs_CPLFW.txt`, and the images in one flat folder, `NAME_1.jpg`: `aligned images/` (variant "aligned") or
    `images/` (variant "original"). Two lines make a pair, each "image label", both with one label: 1 mated, 0
    non-mated. The file has 10 x 300 of each kind; whether it changes between kinds at each fold (then that is the fold
    here) or once (then each kind is cut into 10 equal parts) could not be verified, and both are read. Images of full
    profile defeat dlib's detector: see `PairSet.dropped`.

    At most 12,000 images, 1.3 GB.

    Parameters and result as in `load_xqlfw`, without `author_score`.
    """
    return _load_flat("CPLFW", folder, variant, images, strict, options)


def _load_flat(of, folder, variant, images, strict, options):
    folder = _folder(folder, of)
    _need(folder, of, [f"pairs_{of}.txt"])
    variant, root = _image_folder(folder, of, _FLAT_FOLDERS, variant)
    pairs = _read_two_line_pairs(folder / f"pairs_{of}.txt")
    index = _people_index(root, pairs, images)
    index["identity"] = index["name"].str.replace(r"[_-]\d+[a-z]*(?:\.\w+)+$", "", regex=True)
    options.setdefault("detector", CentralFace())
    return _pair_set(f"{of} ({variant})", index, pairs, images=images, strict=strict, **options)


def _read_two_line_pairs(path):
    """The pairs of CALFW and CPLFW: a line for each image, "name number", and the same number on both lines."""
    rows = []
    for number, line in _lines(path):
        parts = line.split()
        if len(parts) != 2 or not parts[1].isdecimal():
            raise DataError(f"{path}, line {number}: expected 'image.jpg number', found {line.strip()!r}")
        rows.append((number, parts[0], int(parts[1])))
    if not rows or len(rows) % 2:
        raise DataError(f"{path}: {len(rows)} lines; two lines make a pair, so their number is even")
    for (_, _, first), (number, _, second) in zip(rows[::2], rows[1::2], strict=True):
        if first != second:
            raise DataError(f"{path}, line {number}: the two lines of a pair bear one number, not {first} and {second}")
    names, tokens = [name for _, name, _ in rows], np.array([token for _, _, token in rows[::2]])
    table = pd.DataFrame({"a": names[::2], "b": names[1::2]}, dtype="str")
    return table.assign(mated=tokens > 0, fold=_folds_of(tokens))


def _folds_of(tokens):
    """The fold of each pair from the numbers in the file: see `load_calfw` and `load_cplfw`."""
    mated = tokens > 0
    runs = np.cumsum(np.r_[0, mated[1:] != mated[:-1]])
    if tokens.max() == 1 and runs[-1] > 1:
        return runs // 2
    folds = int(tokens.max()) if tokens.max() > 1 else FOLDS
    fold = np.zeros(len(tokens), dtype=int)
    for kind in (mated, ~mated):
        fold[kind] = _blocks(int(kind.sum()), folds)
    if tokens.max() > 1:
        fold[mated] = tokens[mated] - 1
    return fold


# --- CFP and AgeDB -----------------------------------------------------------------------------------------------


def load_cfp(folder, protocol="FP", *, images="pairs", strict=False, **options):
    """Celebrities in Frontal-Profile (Sengupta et al. 2016): 500 people, each 10 frontal and 4 profile images.

    Layout (from the authors' Readme): `Data/Images/001/frontal/01.jpg`, `Data/Images/001/profile/01.jpg`;
    `Protocol/Pair_list_F.txt` and `Pair_list_P.txt` (lines "number ../Data/Images/001/frontal/01.jpg");
    `Protocol/Split/FF/01/same.txt`, `diff.txt`, and the same below `FP`: lines "i,j" of these numbers, counted from 1;
    in FP the first is of the frontal list and the second of the profile list. 10 folds of 350 mated and 350 non-mated
    pairs. The folder `cfp-dataset` itself or the one that holds it may be given.

    dlib's detector misses most images of full profile: on FP, give a detector that finds them, `fallback="centre"`, or
    use the set's InsightFace file with `load_bin`.

    7,000 images for FP, 0.8 GB; 5,000 for FF, 0.55 GB.

    Parameters
    ----------
    folder : path
    protocol : {"FP", "FF"}
        Frontal with profile, or frontal with frontal.
    images, strict, **options
        As in `load_lfw`; the detector is `DlibHog()`.

    Returns
    -------
    PairSet
        `attributes["pose"]`: "frontal" or "profile".
    """
    if protocol not in ("FP", "FF"):
        raise DataError(f'protocol must be "FP" or "FF", not {protocol!r}')
    folder = _folder(folder, "CFP")
    root = folder / "cfp-dataset" if (folder / "cfp-dataset").is_dir() else folder
    lists = ["Protocol/Pair_list_F.txt", "Protocol/Pair_list_P.txt"]
    _need(root, "CFP", ["Data/Images", *lists, f"Protocol/Split/{protocol}"])
    frontal, profile = (_read_cfp_list(root / path) for path in lists)
    pairs = _read_cfp_split(root / "Protocol" / "Split" / protocol, frontal, profile if protocol == "FP" else frontal)
    names = sorted({*frontal.values(), *profile.values()})
    parts = [name.split("/") for name in names]
    index = pd.DataFrame({"name": names, "identity": [p[0] for p in parts], "pose": [p[1] for p in parts]}, dtype="str")
    index["path"] = [str(root / "Data" / "Images" / name) for name in names]
    return _pair_set(f"CFP-{protocol}", index, pairs, images=images, strict=strict, **options)


def _read_cfp_list(path):
    """number -> "001/frontal/01.jpg"."""
    found = {}
    for number, line in _lines(path):
        match = re.fullmatch(r"(\d+)[\s,]+\S*?(\d+)[/\\](frontal|profile)[/\\](\d+\.jpg)", line.strip())
        if not match:
            raise DataError(
                f"{path}, line {number}: expected 'number ../Data/Images/001/frontal/01.jpg', found {line.strip()!r}"
            )
        found[int(match[1])] = "/".join(match.group(2, 3, 4))
    return found


def _read_cfp_split(split, first, second):
    folders = sorted(entry for entry in split.iterdir() if entry.is_dir() and entry.name.isdecimal())
    wanted = [f"{entry.name}/{name}" for entry in folders for name in ("same.txt", "diff.txt")]
    _need(split, "CFP", wanted or ["01/same.txt", "01/diff.txt"])
    rows = []
    for fold, entry in enumerate(folders):
        for name, mated in (("same.txt", True), ("diff.txt", False)):
            for number, line in _lines(entry / name):
                try:
                    i, j = (int(part) for part in line.split(","))
                    rows.append((first[i], second[j], mated, fold))
                except (ValueError, KeyError) as error:
                    raise DataError(
                        f"{entry / name}, line {number}: expected 'i,j' of the pair lists, found {line.strip()!r}"
                    ) from error
    return _pair_table(rows)


def _pair_table(rows):
    table = pd.DataFrame(rows, columns=["a", "b", "mated", "fold"])
    return table.astype({"a": "str", "b": "str", "mated": bool, "fold": int})


def load_agedb30(path, *, images="pairs", strict=False, max_pairs=20_000, random_state=0, **options):
    """AgeDB (Moschoglou et al. 2017): mated pairs of the protocol AgeDB-30 are 30 years apart.

    Three forms are read:

    1. The file `agedb_30.bin` of InsightFace: as `load_bin`.
    2. The authors' folder with `03_Protocol_Images/` and `04_FINAL_protocol_30_years.mat`: 10 folds of 600 pairs. Its
       variable `splits` is read as InsightFace's packer does: a cell for each fold, with a 2 x 600 cell of (image name
       without ".jpg", age) and 600 labels, 1 mated and -1 not. The image names there begin with the name of the person;
       what their further parts mean could not be verified, so only the name and the age of the .mat file are used.
    3. The authors' folder of all 16,488 images, `ID_NAME_AGE_GENDER.jpg`, such as `0_MariaCallas_35_f.jpg`. It holds no
       protocol: pairs are drawn, and the set is called "AgeDB (sampled pairs)". It is not AgeDB-30.

    12,000 images at most for the protocol, 1.3 GB; all images 1.8 GB.

    Parameters
    ----------
    path : path of the .bin file or of a folder
    images, strict, **options
        As in `load_lfw`; the detector is `DlibHog()`.
    max_pairs, random_state
        Of the drawn pairs of form 3: at most so many of each kind, mated and not.

    Returns
    -------
    PairSet
        `attributes`: `age` in years, and for form 3 `gender` ("f" or "m").
    """
    path = Path(os.fspath(path)).expanduser()
    if path.is_file():
        return load_bin(path, strict=strict, **_only_progress(options))
    folder = _folder(path, "AgeDB")
    protocol = [folder / "04_FINAL_protocol_30_years.mat", folder / "03_Protocol_Images"]
    if any(part.exists() for part in protocol):
        _need(folder, "AgeDB", [part.name for part in protocol])
        index, pairs = _read_agedb_protocol(*protocol)
        return _pair_set("AgeDB-30", index, pairs, images=images, strict=strict, **options)
    index = _agedb_images(folder)
    pairs = _drawn_pairs(index, max_pairs, random_state)
    return _pair_set("AgeDB (sampled pairs)", index, pairs, images=images, strict=strict, **options)


def _agedb_images(folder):
    """Index rows of ID_NAME_AGE_GENDER.jpg, in this folder or below."""
    rows = []
    for file in find_images(folder).paths:
        if match := re.fullmatch(r"(\d+)_(.+)_(\d+)_([fm])", file.stem):
            name = file.relative_to(folder).as_posix()
            rows.append((name, str(file), match[2], float(match[3]), match[4]))
    if not rows:
        raise DataError(
            f"{folder} lacks both ID_NAME_AGE_GENDER.jpg images (0_MariaCallas_35_f.jpg) and 03_Protocol_Images with "
            f"04_FINAL_protocol_30_years.mat; {_published('AgeDB')}"
        )
    columns = {"name": "str", "path": "str", "identity": "str", "age": float, "gender": "str"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _read_agedb_protocol(file, folder):
    """(index, pairs) of the .mat file of AgeDB-30."""
    from scipy.io import loadmat

    ages, rows = {}, []
    try:
        for fold, cell in enumerate(loadmat(file)["splits"].ravel()):
            people, labels = cell[0, 0][0], cell[0, 0][1].ravel()
            for column, label in enumerate(labels):
                pair = []
                for row in (0, 1):
                    person = people[row, column][0, 0]
                    pair.append(f"{person[0].item()}.jpg")
                    ages[pair[-1]] = float(person[1].item())
                rows.append((*pair, {1: True, -1: False}[int(label)], fold))
    except Exception as error:  # SciPy raises anything on what is no .mat file; so does a layout other than expected
        raise DataError(
            f"{file}: not in the layout of AgeDB's protocol ({type(error).__name__}: {error}); {_published('AgeDB')}"
        ) from error
    names = sorted(ages)
    index = pd.DataFrame({"name": names, "identity": [name.split("_")[0] for name in names]}, dtype="str")
    return index.assign(path=[str(folder / n) for n in names], age=[ages[n] for n in names]), _pair_table(rows)


def _drawn_pairs(index, max_pairs, random_state):
    """Pairs of a set that has no pair protocol: mated and non-mated, at most `max_pairs` of each."""
    pairs = protocols.pairs_of_faces(
        index["name"], index["identity"], max_mated=max_pairs, max_impostor=max_pairs, random_state=random_state
    )
    return pairs[["a", "b", "mated"]]


# --- Adience and SCface ------------------------------------------------------------------------------------------

ADIENCE_GROUPS = ((0, 2), (4, 6), (8, 13), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
"""The eight age groups of Adience, years inclusive."""
_ADIENCE_FOLDERS = {"aligned": ["aligned"], "faces": ["faces"]}
_ADIENCE_PREFIX = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}


def load_adience(
    folder,
    *,
    variant=None,
    frontal=False,
    images="all",
    strict=False,
    max_pairs=20_000,
    random_state=0,
    **options,
):
    """Adience (Eidinger, Enbar & Hassner 2014): unfiltered photographs, labelled by age group and gender, for fairness.

    Layout (from the authors' README): five tab-separated files `fold_0_data.txt` ... `fold_4_data.txt` (or
    `fold_frontal_0_data.txt` ...), in the folder or in `folds/`, with the header user_id, original_image, face_id, age,
    gender, x, y, dx, dy, tilt_ang, fiducial_yaw_angle, fiducial_score; and the images
    `aligned/USER_ID/landmark_aligned_face.FACE_ID.ORIGINAL_IMAGE` (variant "aligned") or
    `faces/USER_ID/coarse_tilt_aligned_face.FACE_ID.ORIGINAL_IMAGE` (variant "faces"). `face_id` names the person.

    The set has no pair protocol. Pairs are drawn within each fold (people do not occur in two), and serve to compare
    groups, not to compare with published verification figures.

    About 19,000 faces, 2.1 GB; the frontal ones about 13,000, 1.4 GB.

    Parameters
    ----------
    folder : path
    variant : {"aligned", "faces"}, optional
        Needed when both are there.
    frontal : bool
        Read the folds of frontal faces.
    images : {"all", "pairs"}
        Every labelled face, or only those in a drawn pair.
    max_pairs, random_state
        At most so many mated and so many non-mated pairs of each fold.
    strict, **options
        As in `load_lfw`.

    Returns
    -------
    PairSet
        `attributes`: `age_label` (as in the file), `age_group` ("0-2", "4-6", "8-13", "15-20", "25-32", "38-43",
        "48-53", "60-100"; missing where the label lies in none: see `adience_age_group`), `gender` ("f", "m" or
        missing), `fold`, `user_id`, `yaw_deg` (the authors' estimate, 0 frontal).
    """
    folder = _folder(folder, "Adience")
    home = folder / "folds" if (folder / "folds").is_dir() else folder
    files = [f"fold_{'frontal_' if frontal else ''}{i}_data.txt" for i in range(5)]
    _need(home, "Adience", files)
    variant, root = _image_folder(folder, "Adience", _ADIENCE_FOLDERS, variant)
    index = pd.concat([_read_adience_fold(home / f, fold) for fold, f in enumerate(files)], ignore_index=True)
    image = f"{_ADIENCE_PREFIX[variant]}." + index["identity"] + "." + index.pop("original_image")
    index["name"] = index["user_id"] + "/" + image
    index["path"] = [str(root / name) for name in index["name"]]
    index = index.drop_duplicates("name", ignore_index=True)
    drawn = [_drawn_pairs(part, max_pairs, random_state).assign(fold=fold) for fold, part in index.groupby("fold")]
    name = f"Adience ({variant}{', frontal' if frontal else ''})"
    options.setdefault("detector", CentralFace())
    return _pair_set(name, index, pd.concat(drawn, ignore_index=True), images=images, strict=strict, **options)


def adience_age_group(label):
    """The age group of a label of Adience, or None.

    Most labels are a group. The file also has single ages and ranges of their own, such as "35" and "(38, 42)": a label
    belongs to the group that contains it wholly, and to none otherwise. (This rule is ours; the authors state none.)

    >>> adience_age_group("(8, 12)"), adience_age_group("29"), adience_age_group("(27, 40)")
    ('8-13', '25-32', None)
    """
    years = [int(number) for number in re.findall(r"\d+", label)]
    if len(years) not in (1, 2):
        return None
    for low, high in ADIENCE_GROUPS:
        if low <= min(years) and max(years) <= high:
            return f"{low}-{high}"
    return None


_ADIENCE_COLUMNS = ("user_id", "original_image", "face_id", "age", "gender", "fiducial_yaw_angle")


def _read_adience_fold(path, fold):
    lines = list(_lines(path))
    header = lines[0][1].strip().split("\t") if lines else []
    absent = [column for column in _ADIENCE_COLUMNS if column not in header]
    if absent:
        raise DataError(f"{path}, line 1: the tab-separated header lacks {', '.join(absent)}; {_published('Adience')}")
    places = [header.index(column) for column in _ADIENCE_COLUMNS]
    rows = []
    for number, line in lines[1:]:
        parts = line.split("\t")
        try:
            user, image, face, age, gender, yaw = (parts[place].strip() for place in places)
            yaw = float(yaw or "nan")
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: expected {len(header)} columns with tabs, found {line!r}"
            ) from error
        rows.append(
            (face, user, image, age, adience_age_group(age), gender if gender in ("f", "m") else None, fold, yaw)
        )
    columns = ["identity", "user_id", "original_image", "age_label", "age_group", "gender", "fold", "yaw_deg"]
    types = dict.fromkeys(columns, "str") | {"fold": int, "yaw_deg": float}
    return pd.DataFrame(rows, columns=columns).astype(types)


SCFACE_METRES = {1: 4.2, 2: 2.6, 3: 1.0}
"""Distance of the camera in metres for the distance labels of SCface."""


def load_scface(
    folder,
    *,
    cameras=(1, 2, 3, 4, 5),
    distances=(1, 2, 3),
    mugshots="cropped",
    images="pairs",
    strict=False,
    **options,
):
    """SCface (Grgic, Delac & Grgic 2011): 130 people, each a frontal mugshot and 7 surveillance cameras at 3 distances.

    Layout (file names from the README of Idiap's SCface protocol; folder names from programs that read the set):
    `mugshot_frontal_cropped_all/001_frontal.jpg` or `mugshot_frontal_original_all/`;
    `surveillance_cameras_distance_1/cam_1/001_cam1_1.jpg` ... or, all in one, `surveillance_cameras_all/`; and the
    optional `mugshot_rotation_all/001_L1.jpg` (L4 to L1, R1 to R4), `surveillance_cameras_IR_cam8/001_cam8.jpg` and
    `features.txt` (a heading, then tab-separated number, birth date, gender 0 male 1 female, beard, moustache,
    glasses). Suffixes in either case. Distance 1 is 4.20 m, 2 is 2.60 m, 3 is 1.00 m. Cameras 6 and 7 see infrared.

    The pairs are those of the authors' DayTime tests: every surveillance image against every mugshot, with the default
    cameras and all distances 1,950 mated and 251,550 non-mated. There are no folds.

    2,080 images, 0.23 GB.

    Parameters
    ----------
    folder : path
    cameras : sequence of int in 1..7
    distances : sequence of int in 1..3
    mugshots : {"cropped", "original"}
        Which frontal mugshots are compared with.
    images : {"pairs", "all"}
        "all" adds the rotated and the infrared mugshots, and the other cameras and distances, to the faces; the pairs
        stay the same.
    strict, **options
        As in `load_lfw`; the detector is `DlibHog()`.

    Returns
    -------
    PairSet
        `attributes`: `kind` ("mugshot" or "surveillance"), `pose` ("frontal", "L1" ... "R4", or missing for
        surveillance), `camera` (1..8 or missing), `distance` (label 1..3 or missing), `distance_m`, `infrared` (bool),
        and from `features.txt`: `gender` ("f" or "m"), `birth_year`, `beard`, `moustache`, `glasses` (bool).
    """
    if mugshots not in ("cropped", "original"):
        raise DataError(f'mugshots must be "cropped" or "original", not {mugshots!r}')
    if (
        not set(cameras) <= set(range(1, 8))
        or not set(distances) <= {1, 2, 3}
        or not len(cameras)
        or not len(distances)
    ):
        raise DataError(f"cameras must lie in 1..7 and distances in 1..3, not {tuple(cameras)} and {tuple(distances)}")
    folder = _folder(folder, "SCface")
    root = folder / "SCface_database" if (folder / "SCface_database").is_dir() else folder
    gallery = f"mugshot_frontal_{mugshots}_all"
    together = root / "surveillance_cameras_all"
    probes = [f"surveillance_cameras_distance_{d}" for d in sorted(set(distances))]
    _need(root, "SCface", [gallery] + ([] if together.is_dir() else probes))
    there = _scface_images(root, gallery)
    people = sorted(there.loc[there["pose"] == "frontal", "identity"])
    if not people:
        raise DataError(f"{root / gallery} holds no image called 001_frontal.jpg; {_published('SCface')}")
    index, pairs = _scface_protocol(root, there, people, sorted(set(cameras)), sorted(set(distances)), gallery)
    if (root / "features.txt").is_file():
        index = index.merge(_read_scface_features(root / "features.txt"), on="identity", how="left")
    return _pair_set(f"SCface ({mugshots} mugshots)", index, pairs, images=images, strict=strict, **options)


_SCFACE_NAME = re.compile(r"(\d{3})_(?:(frontal|[lr][1-4])|cam([1-8])(?:_([1-3]))?)", re.IGNORECASE)


def _scface_images(root, gallery):
    """One row for each image of the published folders; of an image that stands in two, the first."""
    folders = [gallery, "mugshot_rotation_all", "surveillance_cameras_IR_cam8"]
    folders += [f"surveillance_cameras_distance_{d}" for d in (1, 2, 3)] + ["surveillance_cameras_all"]
    rows = {}
    for folder in folders:
        for path in find_images(root / folder).paths if (root / folder).is_dir() else []:
            match = _SCFACE_NAME.fullmatch(path.stem)
            if match and (match[2] or "").lower() != "frontal" or match and folder == gallery:
                rows.setdefault(path.stem.lower(), (path, *match.groups()))
    return _scface_table([(name, *row) for name, row in rows.items()])


def _scface_table(rows):
    """Index rows from (name, path, person, pose, camera, distance)."""
    names, paths, people, poses, cameras, distances = zip(*rows, strict=True) if rows else [()] * 6
    table = pd.DataFrame({"name": names, "path": map(str, paths), "identity": people}, dtype="str")
    table["kind"] = ["mugshot" if distance is None else "surveillance" for distance in distances]
    table["pose"] = [pose and ("frontal" if pose.lower() == "frontal" else pose.upper()) for pose in poses]
    table["camera"] = pd.Series(cameras, dtype=float)
    table["distance"] = pd.Series(distances, dtype=float)
    table["distance_m"] = table["distance"].map(SCFACE_METRES).astype(float)
    return table.assign(infrared=table["camera"] >= 6)


def _scface_protocol(root, there, people, cameras, distances, gallery):
    """(index, pairs): each probe that the protocol has, also those whose image is missing, against every mugshot."""
    probes = [(f"{p}_cam{c}_{d}", p, c, d) for p in people for c in cameras for d in distances]
    known = set(there["name"])
    absent = [
        (name, str(root / f"surveillance_cameras_distance_{d}" / f"cam_{c}" / f"{name}.jpg"), person, None, c, d)
        for name, person, c, d in probes
        if name not in known
    ]
    index = pd.concat([there, _scface_table(absent)], ignore_index=True) if absent else there
    a = np.repeat([name for name, *_ in probes], len(people))
    b = np.tile([f"{person}_frontal" for person in people], len(probes))
    mated = np.repeat([person for _, person, *_ in probes], len(people)) == np.tile(people, len(probes))
    return index, pd.DataFrame({"a": a, "b": b}, dtype="str").assign(mated=mated)


def _read_scface_features(path):
    rows = []
    for number, line in _lines(path):
        parts = [part.strip() for part in line.split("\t")]
        if not re.fullmatch(r"\d{1,3}", parts[0]):
            continue  # the heading
        try:
            year = float(re.search(r"\d{4}", parts[1])[0])
            gender, *flags = (int(part) for part in parts[2:6])
            beard, moustache, glasses = (bool(flag) for flag in flags)
            rows.append((f"{int(parts[0]):03d}", year, {0: "m", 1: "f"}[gender], beard, moustache, glasses))
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise DataError(
                f"{path}, line {number}: expected number, birth date, gender, beard, moustache and glasses with tabs "
                f"between them, found {line!r}"
            ) from error
    columns = ["identity", "birth_year", "gender", "beard", "moustache", "glasses"]
    return pd.DataFrame(rows, columns=columns)


# --- files of pairs ----------------------------------------------------------------------------------------------


def load_bin(path, *, strict=False, progress=None):
    """A verification file of InsightFace (lfw.bin, agedb_30.bin, cfp_fp.bin, calfw.bin, cplfw.bin ...).

    The images are 112 x 112 and aligned to ArcFace's template: nothing is detected, one fixed similarity takes them to
    the canonical crop (`from_arcface_crop`). Images that occur in several pairs are kept once. The file says nothing
    about who is shown: `identities` are empty. Folds are ten contiguous parts, as InsightFace evaluates.

    At most 12,000 images for a file of 6,000 pairs, 1.3 GB.

    Parameters
    ----------
    path : path
        A pickle of (list of image bytes, list of bool). It is read with an unpickler that refuses everything else.
    strict : bool
        Raise for the first unreadable image instead of dropping its pairs.
    progress : callable, optional
        Wraps an iterable, for example `tqdm`.

    Returns
    -------
    PairSet
        Names are the position of the first occurrence of the image in the file: "lfw/00000", "lfw/00001" ...
    """
    path = Path(os.fspath(path)).expanduser()
    content = protocols.read_insightface_bin(path)
    first = {}  # image bytes -> name
    names = [first.setdefault(data, f"{path.stem}/{place:05d}") for place, data in enumerate(content.images)]
    pairs = content.pairs.assign(a=pd.Series(names[::2], dtype="str"), b=pd.Series(names[1::2], dtype="str"))
    if len(pairs) >= FOLDS:
        pairs["fold"] = _blocks(len(pairs), FOLDS)
    pictures = {f"{path}[{name.rpartition('/')[2]}]": data for data, name in first.items()}
    loaded = _load_arcface_crops(
        lambda source: decode_image(pictures[source], name=source),
        list(pictures),
        names=list(first.values()),
        identities=[""] * len(first),
        strict=strict,
        progress=progress,
    )
    why = dict(zip(first.values(), loaded.report["status"] + ": " + loaded.report["reason"], strict=True))
    return _keep_comparable(path.name, loaded.faces, pairs, loaded.report, why)


def load_pairs_csv(path, folder=None, *, images="pairs", strict=False, **options):
    """Your own pairs: a CSV file with the header a,b,same, and the images that it names.

    Parameters
    ----------
    path : path of the CSV file
    folder : path, optional
        What the names are relative to. Default: the folder of the CSV file. The first folder in a name is taken for the
        person; an image without folder has no identity.
    images, strict, **options
        As in `load_lfw`; the detector is `DlibHog()`.

    Returns
    -------
    PairSet
        `pairs` keeps further columns of the file.

    Raises
    ------
    DataError
        When the file is missing or a line is malformed (with its number), or none of the images is there.
    """
    path = Path(os.fspath(path)).expanduser()
    folder = path.parent if folder is None else Path(os.fspath(folder)).expanduser()
    pairs = protocols.read_pairs_csv(path)
    index = _people_index(folder, pairs, images)
    return _pair_set(path.name, index, pairs, images=images, strict=strict, **options)
