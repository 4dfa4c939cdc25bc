"""What the loaders of published sets return, and how images and pairs become it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from ..faces import Faces, Mtcnn, attribute_table, from_arcface_crop
from ..faces.images import find_images, read_image
from .folders import REPORT, Loaded, checked_arcface_size, folder_identity, load_files, read_crops


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


def read_pair_set(name, index, pairs, *, images, strict, aligned=False, **options):
    """Read the images of `index` that are wanted, and keep the pairs of which both faces were found.

    `index`: one row for each image, columns `name`, `path`, `identity`; the others become attributes. `aligned`: the
    images are crops in ArcFace's template.
    """
    if images not in ("pairs", "all"):
        raise DataError(f'images must be "pairs" or "all", not {images!r}')
    if images == "pairs":
        index = index[index["name"].isin(names_in(pairs))]
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
        loaded = read_arcface_crops(read_image, list(index["path"]), **without_detection(arguments))
    else:
        loaded = load_files(list(index["path"]), which="largest", **arguments)
    rows = [(str(path), "missing", "the folder lacks this image", 0) for path in missing["path"]]
    report = pd.concat([loaded.report, pd.DataFrame(rows, columns=REPORT)], ignore_index=True)
    facts = index.drop(columns=["path", "identity"]).set_index("name").loc[list(loaded.faces.names)]
    faces = loaded.faces.with_attributes(**{column: facts[column].array for column in facts})
    return keep_comparable(name, faces, pairs, report, [*index["name"], *missing["name"]])


def names_in(pairs):
    return pd.unique(pairs[["a", "b"]].to_numpy().ravel())


def image_index(root, pairs, images):
    """Index rows of person/image.jpg: the names in the pairs and, for "all", every image below the folder."""
    names = set(names_in(pairs))
    if images == "all":
        names |= {path.relative_to(root).as_posix() for path in find_images(root).paths}
    names = sorted(names)
    identities = [folder_identity(name) for name in names]
    return pd.DataFrame({"name": names, "path": [str(root / n) for n in names], "identity": identities}, dtype="str")


def without_detection(options):
    """The options that make sense where nothing is detected; the others are accepted and have no effect."""
    return {key: value for key, value in options.items() if key not in ("detector", "fallback", "cache", "n_jobs")}


def keep_comparable(name, faces, pairs, report, reported):
    """The `PairSet`, with the pairs of which a face is lacking set apart. `reported`: the names, in report's order."""
    why = dict(zip(reported, report["status"] + ": " + report["reason"], strict=True))
    there = set(faces.names)
    lacking = [[n for n in pair if n not in there] for pair in zip(pairs["a"], pairs["b"], strict=True)]
    good = np.array([not names for names in lacking], dtype=bool)
    reasons = ["; ".join(f"{n}: {why[n]}" for n in dict.fromkeys(names)) for names in lacking if names]
    dropped = pairs[~good].assign(reason=pd.Series(reasons, index=pairs.index[~good], dtype="str"))
    return PairSet(name, faces, pairs[good].reset_index(drop=True), report, dropped.reset_index(drop=True))


class CentralFace:
    """A detector that returns only the face in the middle of the picture, as the makers of LFW define it.

    The face that contains the central pixel is the person named (Huang et al. 2007, section 3), and a larger one beside
    it is not. Of several boxes that contain the centre, the one centred best is taken; without one there is no face.
    The attribute `n_faces` is therefore never more than 1.

    Parameters
    ----------
    detector : callable, default=None
        image -> list of `Detection`. Default: `Mtcnn()`.
    """

    def __init__(self, detector=None):
        self.detector = detector or Mtcnn()

    def __repr__(self):
        return f"CentralFace({self.detector!r})"

    def __call__(self, image):
        y, x = (np.array(image.shape[:2]) - 1) / 2
        inside = [d for d in self.detector(image) if 0 <= x - d.x <= d.width and 0 <= y - d.y <= d.height]
        return sorted(inside, key=lambda d: np.hypot(d.x + d.width / 2 - x, d.y + d.height / 2 - y))[:1]


# --- crops that are already aligned ------------------------------------------------------------------------------


def read_arcface_crops(read, sources, *, names, identities, strict, progress=None):
    """As `load_files`, for crops that are aligned already. `read(source)` gives the picture or raises ImageError.

    `attributes` has the columns of a detected face, but nothing was measured: only `status` and `n_faces` are filled.
    """

    def to_crop(source):
        return from_arcface_crop(checked_arcface_size(read(source), source))

    images, kept, report = read_crops(sources, to_crop, strict=strict, progress=progress)
    attributes = attribute_table([{"status": "ok", "n_faces": 1}] * len(kept))
    return Loaded(Faces(images, [identities[i] for i in kept], [names[i] for i in kept], attributes), report)
