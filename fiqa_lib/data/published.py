"""Published face sets, read from the folder or file that their authors publish.

Each loader checks the folder, names what is missing and the page of the authors, and returns a `PairSet`: aligned
faces, the pairs of the authors' protocol, and a report. Nothing is downloaded, except by `load_lfw(download=True)`,
which lets scikit-learn do it. data/README.md shows each layout as a tree. The loaders are tested on small trees of the
same layout, not on the sets themselves.

Memory: a face takes 192 x 192 x 3 = 110,592 bytes, 10,000 faces 1.1 GB, and about twice that while they are joined.
`images="pairs"` (the default) reads only what the protocol uses.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError
from ..faces.images import decode_image, find_images
from .bin_files import read_insightface_bin
from .layouts import FLAT, VARIANTS, holds_people, image_folder, lfw_folder, need_parts, published_at, set_folder
from .pair_sets import CentralFace, image_index, keep_comparable, read_arcface_crops, read_pair_set, without_detection
from .pairs import (
    CFP_LISTS,
    FOLDS,
    blocks,
    pair_table,
    pair_table_of,
    pairs_of_faces,
    read_cfp_pairs,
    read_lfw_pairs,
    read_pairs_csv,
    read_two_line_pairs,
)
from .tables import numbers, read_lines, read_table

# --- LFW and its relatives ---------------------------------------------------------------------------------------


def load_lfw(folder=None, *, download=False, variant=None, pairs="pairs.txt", images="pairs", strict=False, **options):
    """Labeled Faces in the Wild (Huang et al. 2007): 13,233 press photographs, 250 x 250, of 5,749 people.

    `pairs.txt` is view 2: 10 folds of 300 mated and 300 non-mated pairs of 7,701 images. `pairsDevTrain.txt` and
    `pairsDevTest.txt` are view 1, one fold, for development. The first run detects faces, which takes minutes; later
    runs read the cache.

    Parameters
    ----------
    folder : path, default=None
        Holds the image folder (`lfw`, `lfw_funneled` ..., or `images`) and the pairs file; or is the image folder, with
        the pairs file in it or beside it.
        Default: where scikit-learn keeps its download.
    download : bool, default=False
        Let `sklearn.datasets.fetch_lfw_people` download the images (about 200 MB) and the pairs files first, to
        `folder/lfw_home`, or to scikit-learn's own data folder. What is there already is not downloaded again.
    variant : {"original", "funneled", "deepfunneled"}, default=None
        Needed when the folder holds several.
    pairs : str, default="pairs.txt"
        File name of the protocol.
    images : {"pairs", "all"}, default="pairs"
        The images that the protocol names, or every image below the image folder.
    strict : bool, default=False
        Raise for the first image that is missing, unreadable or without a face, instead of dropping its pairs.
    **options
        As in `load_files`: `detector` (default: `CentralFace()`), `fallback`, `cache`, `n_jobs`, `progress`.

    Returns
    -------
    PairSet
        What is missing or malformed, or a failed download, raises a `DataError`, as in all loaders.
    """
    if download:
        _download_lfw(folder, variant)
        variant = variant or "funneled"
    folder = lfw_folder(folder, pairs)
    view = "" if pairs == "pairs.txt" else f", {Path(pairs).stem}"
    return _load_lfw_like("LFW", folder, pairs, variant, images, strict, options, view=view)


def _download_lfw(folder, variant):
    from sklearn import datasets

    if variant == "deepfunneled":
        raise DataError(f"scikit-learn downloads the original and the funneled images only; {published_at('LFW')}")
    # scikit-learn also decodes all people with at least 500 images: one person, here in thumbnails
    options = {"funneled": variant != "original", "min_faces_per_person": 500, "resize": 0.1}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of each try that fails
            datasets.fetch_lfw_people(data_home=None if folder is None else os.fspath(folder), **options)
    except Exception as error:  # whatever the network, the disk or a broken archive can raise
        raise DataError(
            f"scikit-learn could not download LFW ({type(error).__name__}: {error}). Without a connection, copy the "
            f"unpacked folder and pairs.txt from elsewhere and call load_lfw(folder); {published_at('LFW')}"
        ) from error


def load_xqlfw(folder, *, variant=None, images="pairs", strict=False, **options):
    """Cross-Quality LFW (Knoche et al. 2021): the protocol of LFW, with pairs of unlike quality and degraded images.

    That the aligned images follow ArcFace's template is inferred: others feed them to ArcFace-like networks unchanged.
    They are mapped by `from_arcface_crop`, without detection, and lack images in which the authors' detector found no
    face. On some degraded images detection fails: see `PairSet.dropped`. 7,263 images.

    Parameters
    ----------
    folder : path
        Holds `xqlfw_pairs.txt`, the image folder, and optionally `xqlfw_scores.txt` (lines "ID Num Score").
    variant : {"original", "aligned"}, default=None
        Needed when both are there. "aligned" are crops of 112 x 112.
    images, strict, **options
        As in `load_lfw`.

    Returns
    -------
    PairSet
        `attributes["author_score"]`: the quality score in `xqlfw_scores.txt`, 0..1, higher is better.
    """
    return _load_lfw_like("XQLFW", folder, "xqlfw_pairs.txt", variant, images, strict, options)


def load_calfw(folder, *, variant=None, images="pairs", strict=False, **options):
    """Cross-Age LFW (Zheng, Deng & Hu 2017): 12,174 images of LFW's people, mated pairs with an age gap.

    Two lines of `pairs_CALFW.txt` make a pair, each "image number": 1 to 10 is the fold of a mated pair, 0 means
    non-mated. The file gives non-mated pairs no fold; here they go to the folds in the order of the file, in equal
    parts. Use the list as corrected in September 2018. The aligned images do not follow ArcFace's template; both
    variants ("original" and "aligned") go through detection.

    Parameters and result as in `load_xqlfw`, without `author_score`.
    """
    return _load_lfw_like("CALFW", folder, "pairs_CALFW.txt", variant, images, strict, options)


def load_cplfw(folder, *, variant=None, images="pairs", strict=False, **options):
    """Cross-Pose LFW (Zheng & Deng 2018): 11,652 images of LFW's people, mated pairs of unlike pose.

    Two lines of `pairs_CPLFW.txt` make a pair, each "image label": 1 mated, 0 non-mated. The file has 10 x 300 of each
    kind; whether it changes between kinds at each fold (then that is the fold here) or once (then each kind is cut into
    10 equal parts) could not be verified, and both are read. Some images of full profile are not found: see
    `PairSet.dropped`.

    Parameters and result as in `load_xqlfw`, without `author_score`.
    """
    return _load_lfw_like("CPLFW", folder, "pairs_CPLFW.txt", variant, images, strict, options)


def _load_lfw_like(of, folder, name, variant, images, strict, options, *, view=""):
    """LFW, XQLFW (a folder for each person) and CALFW, CPLFW (one flat folder, two lines for a pair)."""
    folder, flat = set_folder(folder, of), VARIANTS[of] is FLAT
    file = folder / name
    if not file.is_file() and not flat and holds_people(folder):  # the image folder itself was given
        file = folder.parent / name
    need_parts(file.parent, of, [name])
    variant, root = image_folder(folder, of, variant)
    pairs = (read_two_line_pairs if flat else read_lfw_pairs)(file)
    index = image_index(root, pairs, images)
    if flat:
        index["identity"] = index["name"].str.replace(r"[_-]\d+[a-z]*(?:\.\w+)+$", "", regex=True)
    if of == "XQLFW" and (scores := file.with_name("xqlfw_scores.txt")).is_file():
        index["author_score"] = index["name"].map(_read_xqlfw_scores(scores)).astype(float)
    options = {"detector": CentralFace(), "images": images, "strict": strict, **options}
    aligned = of == "XQLFW" and variant == "aligned"
    return read_pair_set(f"{of} ({variant}{view})", index, pairs, aligned=aligned, **options)


def _read_xqlfw_scores(path):
    """name -> score of the lines "ID Num Score" after the header."""
    scores = {}
    for number, line in read_lines(path, strip=True):
        parts = line.split()
        if number == 1 and parts == ["ID", "Num", "Score"]:
            continue
        try:
            person, image, score = parts
            scores[f"{person}/{person}_{int(image):04d}.jpg"] = float(score)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected 'NAME number score', found {line!r}") from error
    return scores


# --- CFP and AgeDB -----------------------------------------------------------------------------------------------


def load_cfp(folder, protocol="FP", *, images="pairs", strict=False, **options):
    """Celebrities in Frontal-Profile (Sengupta et al. 2016): 500 people, each 10 frontal and 4 profile images.

    10 folds of 350 mated and 350 non-mated pairs, see `read_cfp_pairs`; 7,000 images for FP, 5,000 for FF. On
    FP some images of full profile are not found: give another detector, `fallback="centre"`, or use the set's
    InsightFace file with `load_bin`.

    Parameters
    ----------
    folder : path
        `cfp-dataset`, with `Data` and `Protocol`, or the folder that holds it.
    protocol : {"FP", "FF"}, default="FP"
        Frontal with profile, or frontal with frontal.
    images, strict, **options
        As in `load_lfw`; the detector is `Mtcnn()`.

    Returns
    -------
    PairSet
        `attributes["pose"]`: "frontal" or "profile".
    """
    if protocol not in ("FP", "FF"):
        raise DataError(f'protocol must be "FP" or "FF", not {protocol!r}')
    root = set_folder(folder, "CFP", "cfp-dataset")
    need_parts(root, "CFP", ["Data/Images", *CFP_LISTS, f"Protocol/Split/{protocol}"])
    names, pairs = read_cfp_pairs(root, protocol)
    index = pd.DataFrame([name.split("/")[:2] for name in names], columns=["identity", "pose"], dtype="str")
    index = index.assign(name=names, path=[str(root / "Data" / "Images" / name) for name in names])
    return read_pair_set(f"CFP-{protocol}", index, pairs, images=images, strict=strict, **options)


def load_agedb30(path, *, images="pairs", strict=False, max_pairs=20_000, random_state=0, **options):
    """AgeDB (Moschoglou et al. 2017): mated pairs of the protocol AgeDB-30 are 30 years apart.

    Three forms are read:

    1. The file `agedb_30.bin` of InsightFace: as `load_bin`.
    2. The authors' folder with `03_Protocol_Images/` and `04_FINAL_protocol_30_years.mat`: 10 folds of 600 pairs, read
       as InsightFace's packer does. Image names begin with the name of the person; what their further parts mean could
       not be verified, so only the name and the age in the .mat file are used.
    3. The authors' folder of all 16,488 images, `ID_NAME_AGE_GENDER.jpg`, such as `0_MariaCallas_35_f.jpg`. It holds no
       protocol: pairs are drawn, and the set is called "AgeDB (sampled pairs)". It is not AgeDB-30.

    Parameters
    ----------
    path : path
        The .bin file or a folder.
    images, strict, **options
        As in `load_lfw`; the detector is `Mtcnn()`.
    max_pairs : int, default=20_000
        Form 3: the most mated, and the most non-mated pairs.
    random_state : int, default=0
        Form 3: decides which pairs are drawn.

    Returns
    -------
    PairSet
        `attributes`: `age` in years, and for form 3 `gender` ("f" or "m").
    """
    path = Path(os.fspath(path)).expanduser()
    if path.is_file():
        return load_bin(path, strict=strict, **without_detection(options))
    folder = set_folder(path, "AgeDB")
    protocol = ["04_FINAL_protocol_30_years.mat", "03_Protocol_Images"]
    if any((folder / part).exists() for part in protocol):
        need_parts(folder, "AgeDB", protocol)
        name, (index, pairs) = "AgeDB-30", _read_agedb_protocol(*(folder / part for part in protocol))
    else:
        name, index = "AgeDB (sampled pairs)", _agedb_images(folder)
        pairs = _drawn_pairs(index, max_pairs, random_state)
    return read_pair_set(name, index, pairs, images=images, strict=strict, **options)


def _agedb_images(folder):
    """Index rows of ID_NAME_AGE_GENDER.jpg, in this folder or below."""
    rows = []
    for file in find_images(folder).paths:
        if match := re.fullmatch(r"(\d+)_(.+)_(\d+)_([fm])", file.stem):
            rows.append((file.relative_to(folder).as_posix(), str(file), match[2], float(match[3]), match[4]))
    if not rows:
        both = "ID_NAME_AGE_GENDER.jpg images (0_MariaCallas_35_f.jpg) and 03_Protocol_Images with its .mat file"
        raise DataError(f"{folder} lacks both {both}; {published_at('AgeDB')}")
    return pd.DataFrame(rows, columns=["name", "path", "identity", "age", "gender"])


def _read_agedb_protocol(file, folder):
    """(index, pairs) of AgeDB-30. `splits`: for each fold 2 x 600 (name without .jpg, age), and 600 labels 1 or -1."""
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
            f"{file}: not in the layout of AgeDB's protocol ({type(error).__name__}: {error}); {published_at('AgeDB')}"
        ) from error
    names = sorted(ages)
    index = pd.DataFrame({"name": names, "identity": [name.split("_")[0] for name in names]}, dtype="str")
    return index.assign(path=[str(folder / n) for n in names], age=[ages[n] for n in names]), pair_table_of(rows)


def _drawn_pairs(index, max_pairs, random_state):
    """Pairs of a set that has no pair protocol: mated and non-mated, at most `max_pairs` of each."""
    caps = {"max_mated": max_pairs, "max_impostor": max_pairs}
    return pairs_of_faces(index["name"], index["identity"], **caps, random_state=random_state)[["a", "b", "mated"]]


# --- Adience and SCface ------------------------------------------------------------------------------------------

ADIENCE_GROUPS = ((0, 2), (4, 6), (8, 13), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
"""The eight age groups of Adience, years inclusive."""
_ADIENCE_PREFIX = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}
_ADIENCE_COLUMNS = ("user_id", "original_image", "face_id", "age", "gender", "fiducial_yaw_angle")


def load_adience(
    folder,
    *,
    variant=None,
    frontal=False,
    within_folds=True,
    images="all",
    strict=False,
    max_pairs=20_000,
    random_state=0,
    **options,
):
    """Adience (Eidinger, Enbar & Hassner 2014): unfiltered photographs, labelled by age group and gender, for fairness.

    The set has no pair protocol. Pairs are drawn within each fold (people do not occur in two), and serve to compare
    groups, not to compare with published verification figures. About 19,000 faces, of which 13,000 frontal.

    The study of notebook 05 draws 4,000 mated and 4,000 non-mated pairs of the whole set with the seed 14:
    `within_folds=False, max_pairs=4000, random_state=14` draws as many in the same way, but not the same pairs.

    Parameters
    ----------
    folder : path
        Holds the images, and `fold_0_data.txt` ... `fold_4_data.txt` (`fold_frontal_0_data.txt` ...), also in `folds/`.
    variant : {"aligned", "faces"}, default=None
        Needed when both folders of images are there.
    frontal : bool, default=False
        Read the folds of frontal faces.
    within_folds : bool, default=True
        Draw pairs within each fold; False: of all faces together, and the pairs have no `fold`.
    images : {"all", "pairs"}, default="all"
        Every labelled face, or only those in a drawn pair.
    max_pairs : int, default=20_000
        The most mated, and the most non-mated pairs of each fold, or of all.
    random_state : int, default=0
        Decides which pairs are drawn.
    strict, **options
        As in `load_lfw`.

    Returns
    -------
    PairSet
        `attributes`: `age_label` (as in the file), `age_group` ("0-2" ... "60-100", or missing: `adience_age_group`),
        `gender` ("f", "m" or missing), `fold`, `user_id`, `yaw_deg` (the authors' estimate, 0 frontal).
    """
    folder = set_folder(folder, "Adience")
    home = set_folder(folder, "Adience", "folds")
    files = [f"fold_{'frontal_' if frontal else ''}{i}_data.txt" for i in range(5)]
    need_parts(home, "Adience", files)
    variant, root = image_folder(folder, "Adience", variant)
    index = pd.concat([_read_adience_fold(home / f, fold) for fold, f in enumerate(files)], ignore_index=True)
    image = f"{_ADIENCE_PREFIX[variant]}." + index["identity"] + "." + index.pop("original_image")
    index["name"] = index["user_id"] + "/" + image
    index["path"] = [str(root / name) for name in index["name"]]
    index = index.drop_duplicates("name", ignore_index=True)
    if within_folds:
        drawn = [_drawn_pairs(part, max_pairs, random_state).assign(fold=fold) for fold, part in index.groupby("fold")]
        pairs = pd.concat(drawn, ignore_index=True)
    else:
        pairs = _drawn_pairs(index, max_pairs, random_state)
    options = {"detector": CentralFace(), "images": images, "strict": strict, **options}
    return read_pair_set(f"Adience ({variant}{', frontal' if frontal else ''})", index, pairs, **options)


def adience_age_group(label):
    """The age group of a label of Adience, or None.

    Most labels are a group. The file also has single ages and ranges of their own, such as "35" and "(38, 42)": a label
    belongs to the group that contains it wholly, and to none otherwise. (This rule is ours; the authors state none.)

    >>> adience_age_group("(8, 12)"), adience_age_group("29"), adience_age_group("(27, 40)")
    ('8-13', '25-32', None)
    """
    years = [int(number) for number in re.findall(r"\d+", label)]
    whole = [f"{low}-{high}" for low, high in ADIENCE_GROUPS if years and low <= min(years) and max(years) <= high]
    return whole[0] if whole and len(years) <= 2 else None


def _read_adience_fold(path, fold):
    table = read_table(path, columns=_ADIENCE_COLUMNS, delimiter="\t")[list(_ADIENCE_COLUMNS)]
    yaw = numbers(table.pop("fiducial_yaw_angle"), path)
    groups = pd.Series([adience_age_group(label) for label in table["age"]], index=table.index, dtype="str")
    gender = table["gender"].where(table["gender"].isin(["f", "m"]))
    table = table.assign(age_group=groups, gender=gender, fold=fold, yaw_deg=yaw)
    return table.rename(columns={"face_id": "identity", "age": "age_label"})


SCFACE_METRES = {1: 4.2, 2: 2.6, 3: 1.0}
"""Distance of the camera in metres for the distance labels of SCface."""
_SCFACE_NAME = re.compile(r"(\d{3})_(?:(frontal|[lr][1-4])|cam([1-8])(?:_([1-3]))?)", re.IGNORECASE)


def load_scface(
    folder, *, cameras=(1, 2, 3, 4, 5), distances=(1, 2, 3), mugshots="cropped", images="pairs", strict=False, **options
):
    """SCface (Grgic, Delac & Grgic 2011): 130 people, each a frontal mugshot and 7 surveillance cameras at 3 distances.

    File names are from the README of Idiap's SCface protocol, folder names from programs that read the set. Cameras 6
    and 7 see infrared. The pairs are those of the authors' DayTime tests: every surveillance image against every
    mugshot, by default 1,950 mated and 251,550 non-mated of 2,080 images. There are no folds.

    Parameters
    ----------
    folder : path
        `SCface_database`, or the folder that holds it.
    cameras : sequence of int in 1..7, default=(1, 2, 3, 4, 5)
        Cameras whose images are in the pairs.
    distances : sequence of int in 1..3, default=(1, 2, 3)
        Distance labels of the images in the pairs, see `SCFACE_METRES`.
    mugshots : {"cropped", "original"}, default="cropped"
        Which frontal mugshots are compared with.
    images : {"pairs", "all"}, default="pairs"
        "all" adds the rotated and the infrared mugshots, and the other cameras and distances, to the faces; the pairs
        stay the same.
    strict, **options
        As in `load_lfw`; the detector is `Mtcnn()`.

    Returns
    -------
    PairSet
        `attributes`: `kind` ("mugshot" or "surveillance"), `pose` ("frontal", "L1" ... "R4", or missing for
        surveillance), `camera` (1..8 or missing), `distance` (label 1..3 or missing), `distance_m`, `infrared` (bool),
        and from `features.txt`: `gender` ("f" or "m"), `birth_year`, `beard`, `moustache`, `glasses` (bool).
    """
    if mugshots not in ("cropped", "original"):
        raise DataError(f'mugshots must be "cropped" or "original", not {mugshots!r}')
    cameras, distances = sorted(set(cameras)), sorted(set(distances))
    if not cameras or not distances or not {*cameras} <= {*range(1, 8)} or not {*distances} <= {1, 2, 3}:
        raise DataError(f"cameras must lie in 1..7 and distances in 1..3, not {cameras} and {distances}")
    root = set_folder(folder, "SCface", "SCface_database")
    gallery = f"mugshot_frontal_{mugshots}_all"
    together = (root / "surveillance_cameras_all").is_dir()
    folders = [] if together else [f"surveillance_cameras_distance_{d}" for d in distances]
    need_parts(root, "SCface", [gallery, *folders])
    rows = _scface_images(root, gallery)
    people = sorted(person for _, person, pose, *_ in rows.values() if (pose or "").lower() == "frontal")
    if not people:
        raise DataError(f"{root / gallery} holds no image called 001_frontal.jpg; {published_at('SCface')}")
    probes = [(f"{p}_cam{c}_{d}", p, c, d) for p in people for c in cameras for d in distances]
    for name, person, c, d in probes:  # also those whose image is missing
        path = root / f"surveillance_cameras_distance_{d}/cam_{c}/{name}.jpg"
        rows.setdefault(name, (path, person, None, c, d))
    index = _scface_index(rows)
    names, shown = (np.repeat([probe[i] for probe in probes], len(people)) for i in (0, 1))
    pairs = pair_table(names, [f"{p}_frontal" for p in people] * len(probes), shown == np.tile(people, len(probes)))
    if (root / "features.txt").is_file():
        index = index.merge(_read_scface_features(root / "features.txt"), on="identity", how="left")
    return read_pair_set(f"SCface ({mugshots} mugshots)", index, pairs, images=images, strict=strict, **options)


def _scface_images(root, gallery):
    """name -> (path, person, pose, camera, distance) of the published folders; of two with one name, the first."""
    folders = [gallery, "mugshot_rotation_all", "surveillance_cameras_IR_cam8"]
    folders += [f"surveillance_cameras_distance_{d}" for d in (1, 2, 3)] + ["surveillance_cameras_all"]
    rows = {}
    for folder in folders:
        for path in find_images(root / folder).paths if (root / folder).is_dir() else []:
            match = _SCFACE_NAME.fullmatch(path.stem)
            if match and ((match[2] or "").lower() != "frontal" or folder == gallery):
                rows.setdefault(path.stem.lower(), (path, *match.groups()))
    return rows


def _scface_index(rows):
    paths, people, poses, cameras, distances = zip(*rows.values(), strict=True)
    table = pd.DataFrame({"name": list(rows), "path": map(str, paths), "identity": people}, dtype="str")
    table["kind"] = ["mugshot" if distance is None else "surveillance" for distance in distances]
    table["pose"] = [pose and ("frontal" if pose.lower() == "frontal" else pose.upper()) for pose in poses]
    table["camera"] = pd.Series(cameras, dtype=float)
    table["distance"] = pd.Series(distances, dtype=float)
    table["distance_m"] = table["distance"].map(SCFACE_METRES).astype(float)
    return table.assign(infrared=table["camera"] >= 6)


def _read_scface_features(path):
    """Lines of number, birth date, gender (0 male, 1 female), beard, moustache, glasses (0/1), after a heading."""
    rows = []
    for number, line in read_lines(path):
        parts = [part.strip() for part in line.split("\t")]
        if not re.fullmatch(r"\d{1,3}", parts[0]):
            continue  # the heading
        try:
            year = float(re.search(r"\d{4}", parts[1])[0])
            gender, *flags = (int(part) for part in parts[2:6])
            beard, moustache, glasses = map(bool, flags)
            rows.append((f"{int(parts[0]):03d}", year, {0: "m", 1: "f"}[gender], beard, moustache, glasses))
        except (TypeError, ValueError, IndexError, KeyError) as error:
            wanted = "number, birth date, gender, beard, moustache and glasses with tabs between them"
            raise DataError(f"{path}, line {number}: expected {wanted}, found {line!r}") from error
    return pd.DataFrame(rows, columns=["identity", "birth_year", "gender", "beard", "moustache", "glasses"])


# --- files of pairs ----------------------------------------------------------------------------------------------


def load_bin(path, *, strict=False, progress=None):
    """A verification file of InsightFace (lfw.bin, agedb_30.bin, cfp_fp.bin, calfw.bin, cplfw.bin ...).

    The images are 112 x 112 and aligned to ArcFace's template: nothing is detected (`from_arcface_crop`). Images that
    occur in several pairs are kept once. The file does not say who is shown: `identities` are empty. Folds are ten
    contiguous parts, as InsightFace evaluates.

    Parameters
    ----------
    path : path
        A pickle of (list of image bytes, list of bool); `read_insightface_bin` refuses everything else.
    strict : bool, default=False
        Raise for the first unreadable image instead of dropping its pairs.
    progress : callable, default=None
        Wraps an iterable, for example `tqdm`.

    Returns
    -------
    PairSet
        Names are the position of the first occurrence of the image in the file: "lfw/00000", "lfw/00001" ...
    """
    path = Path(os.fspath(path)).expanduser()
    content = read_insightface_bin(path)
    first = {}  # image bytes -> name
    names = [first.setdefault(data, f"{path.stem}/{place:05d}") for place, data in enumerate(content.images)]
    pairs = pair_table(names[::2], names[1::2], content.pairs["mated"])
    if len(pairs) >= FOLDS:
        pairs["fold"] = blocks(len(pairs), FOLDS)
    pictures = {f"{path}[{name.rpartition('/')[2]}]": data for data, name in first.items()}
    options = {"names": list(first.values()), "identities": [""] * len(first), "strict": strict, "progress": progress}
    loaded = read_arcface_crops(lambda name: decode_image(pictures[name], name=name), list(pictures), **options)
    return keep_comparable(path.name, loaded.faces, pairs, loaded.report, options["names"])


def load_pairs_csv(path, folder=None, *, images="pairs", strict=False, **options):
    """Your own pairs: a CSV file with the header a,b,same, and the images that it names.

    Parameters
    ----------
    path : path
        The CSV file; see `read_pairs_csv`.
    folder : path, default=None
        Names are relative to it. Default: that of the CSV file. The first folder in a name is taken for the person.
    images, strict, **options
        As in `load_lfw`; the detector is `Mtcnn()`.

    Returns
    -------
    PairSet
        `pairs` keeps further columns of the file.
    """
    path = Path(os.fspath(path)).expanduser()
    folder = path.parent if folder is None else Path(os.fspath(folder)).expanduser()
    pairs = read_pairs_csv(path)
    index = image_index(folder, pairs, images)
    return read_pair_set(path.name, index, pairs, images=images, strict=strict, **options)
