"""LFW by people: who is learned from, chosen on and reported on, and which of their photographs are compared.

`published.load_lfw` reads the authors' 6,000 pairs; this module reads the photographs of a *role*. Everything here
follows from file names alone, never from a detector or a seed that somebody could choose: two machines, two detectors
and two years apart compare the same photographs. A photograph without a face keeps its pairs (failure to enrol).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from ..faces import Faces
from ..faces.images import find_images
from .folders import load_files
from .layouts import VARIANTS, image_folder, lfw_folder
from .pair_sets import CentralFace
from .pairs import PairIndices, pair_indices, read_lfw_pairs

ROLES = ("learn", "choose", "report")
"""What people are for: methods learn from the first, are chosen on the second, are reported on the last, once."""
SHARES = (0.5, 0.2, 0.3)
"""Share of the people in each role, in the order of `ROLES`."""
MAX_IMPOSTOR = 300_000
"""The most impostor pairs of a role: 300 expected false matches at an FMR of 1e-3, 30 at 1e-4."""
PER_PERSON = 45
"""The most mated pairs of one person: those of ten photographs. One person of LFW has 140,185 of its 242,257."""


def lfw_roles(names):
    """The role of each person, by a hash of the name: fixed for ever, whatever else is in the folder.

    The first 8 bytes of the SHA-256 of "fiqa_lib, role in LFW: NAME", as a big-endian number over 2^64, say it: below
    0.5 learn, below 0.7 choose, else report. Of LFW's 5,749 people, with two or more photographs: 2,808 learn (836),
    1,118 choose (301), 1,823 report (543). People with one photograph have a role too: they are impostors.

    Parameters
    ----------
    names : sequence of str
        People as LFW writes them ("Abel_Pacheco").

    Returns
    -------
    array (N,) of str
        "learn", "choose" or "report".
    """
    upto = np.cumsum(SHARES)[:-1]
    places = [hash_of(f"fiqa_lib, role in LFW: {name}") / 2**64 for name in names]
    return np.array(ROLES)[np.searchsorted(upto, places, side="right")]


def hash_of(text):
    """A number of 64 bits that follows from a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class LfwPeople(NamedTuple):
    """Photographs of some people, the pairs to compare, and the faces that were found.

    Attributes
    ----------
    names : array (N,) of str
        All photographs ("Ann/Ann_0001.jpg"), sorted, whether a face was found or not.
    people : array (N,) of str
        Who each shows.
    pairs : PairIndices
        Positions in `names`: mated pairs first, then impostor pairs.
    faces : Faces
        Those found, in the order of `names`.
    found : array (N,) of int
        Position in `faces`, -1 where none was found.
    report : DataFrame
        One row for each photograph, as of `load_files`.
    """

    names: np.ndarray
    people: np.ndarray
    pairs: PairIndices
    faces: Faces
    found: np.ndarray
    report: pd.DataFrame

    def spread(self, values, missing):
        """Values of the faces as values of the photographs.

        Parameters
        ----------
        values : array (len(faces), ...)
            Scores or embeddings.
        missing : float
            What a photograph without a face gets: -inf for a score, NaN for an embedding.

        Returns
        -------
        array (N, ...)
        """
        values = np.asarray(values, float if np.asarray(values).dtype.kind != "f" else None)
        if len(values) != len(self.faces):
            raise DataError(f"{len(values)} values for {len(self.faces)} faces; one for each is needed")
        out = np.full((len(self.names), *values.shape[1:]), missing, values.dtype)
        out[self.found >= 0] = values[self.found[self.found >= 0]]
        return out


def load_lfw_people(
    folder=None, role=None, *, variant=None, per_person=PER_PERSON, max_impostor=MAX_IMPOSTOR, **options
):
    """The photographs of LFW's people in a role, and the pairs of the protocol.

    The face in the middle of a photograph is the person's (`CentralFace`).

    Parameters
    ----------
    folder : path, default=None
        Holds `images/NAME/NAME_0001.jpg`, or a layout that `load_lfw` reads. None: where scikit-learn keeps its
        download.
    role : {None, "learn", "choose", "report"}, default=None
        Whose photographs; None takes all people.
    variant : {None, "original", "funneled", "deepfunneled"}, default=None
        Needed when the folder holds several.
    per_person, max_impostor : int or None, default=45 and 300_000
        As in `people_pairs`.
    **options
        As in `load_files`: `detector` (any, such as `Mtcnn()`; only its face in the middle counts), `cache`, `n_jobs`,
        `progress`.

    Returns
    -------
    LfwPeople

    Raises
    ------
    DataError
        The folder is missing or laid out in another way, the role is unknown, or has no photographs.
    """
    if role not in (None, *ROLES):
        raise DataError(f"role must be one of {', '.join(ROLES)} or None, not {role!r}")
    root, _ = lfw_folders(folder, variant)
    index = _photographs(root)
    if role is not None:
        index = index[lfw_roles(index["person"]) == role]
    if not len(index):
        raise DataError(f"{root}: no photograph NAME/NAME_0001.jpg of the people in the role {role}")
    names, people = index["name"].to_numpy(str), index["person"].to_numpy(str)
    pairs = people_pairs(names, people, per_person=per_person, max_impostor=max_impostor)
    options["detector"] = CentralFace(options.get("detector"))
    loaded = load_files([root / name for name in names], identities=people, names=names, **options)
    found = pd.Index(loaded.faces.names).get_indexer(names)
    return LfwPeople(names, people, pairs, loaded.faces, found, loaded.report)


def people_pairs(names, people, *, per_person=PER_PERSON, max_impostor=MAX_IMPOSTOR):
    """Mated and impostor pairs of photographs; where there are too many, the choice is seeded by their names.

    Parameters
    ----------
    names, people : arrays (N,) of str
        Photographs, each once, and who they show. The order does not change which pairs are chosen.
    per_person : int or None, default=45
        The most mated pairs of one person. With all of them (None) one person can be most of the data: then neither an
        error rate nor an interval is about people.
    max_impostor : int or None, default=300_000
        The most impostor pairs; None takes all.

    Returns
    -------
    PairIndices
        Positions in `names`, mated pairs first.
    """
    names, people = np.asarray(names, str), np.asarray(people, str)
    if names.shape != people.shape:
        raise DataError(f"{len(names)} names, but {len(people)} people")
    order = np.argsort(names, kind="stable")
    if (names[order][1:] == names[order][:-1]).any():
        raise DataError("a photograph stands in the list twice; its pairs could not be told apart")
    mated = [_mated_pairs(person, order[people[order] == person], names, per_person) for person in _repeated(people)]
    mated = np.concatenate([np.empty((2, 0), int), *mated], axis=1)
    seed = hash_of("\n".join(["fiqa_lib, impostor pairs", *names[order]]))
    drawn = pair_indices(people[order], max_mated=0, max_impostor=max_impostor, random_state=seed)
    both = np.sort(np.concatenate([mated, [order[drawn.index_a], order[drawn.index_b]]], axis=1), axis=0)
    return PairIndices(both[0], both[1], np.arange(both.shape[1]) < mated.shape[1])


def _repeated(people):
    found, counts = np.unique(people, return_counts=True)
    return found[counts > 1]


def _mated_pairs(person, rows, names, most):
    """(2, P) rows of one person's pairs; if there are too many, those that a generator seeded by the names draws."""
    a, b = np.triu_indices(len(rows), 1)
    if most is not None and len(a) > most:
        rng = np.random.default_rng(hash_of("\n".join([f"fiqa_lib, mated pairs of {person}", *names[rows]])))
        kept = np.sort(rng.choice(len(a), int(most), replace=False))
        a, b = a[kept], b[kept]
    return np.stack([rows[a], rows[b]])


def official_pairs(names, file):
    """The authors' pairs (`pairs.txt`) among some photographs, as positions.

    Parameters
    ----------
    names : sequence of str
        Photographs, as in `LfwPeople.names`.
    file : path
        The list of pairs.

    Returns
    -------
    PairIndices
        Pairs of which a photograph is not among `names` are left out: those between two roles, in particular.
    """
    table = read_lfw_pairs(file)
    places = pd.Index(np.asarray(names, str))
    a, b = (places.get_indexer(table[side].to_numpy(str)) for side in ("a", "b"))
    kept = (a >= 0) & (b >= 0)
    return PairIndices(a[kept], b[kept], table["mated"].to_numpy()[kept])


def lfw_folders(folder=None, variant=None):
    """Where the photographs and the list of pairs of a copy of LFW are.

    Parameters
    ----------
    folder : path, default=None
        As for `load_lfw`: both read a folder by the same rule. None: scikit-learn's own data folder.
    variant : {None, "original", "funneled", "deepfunneled"}, default=None
        Needed when there are several.

    Returns
    -------
    (Path, Path)
        The folder of people, and `pairs.txt`, which need not be there.
    """
    folder = lfw_folder(folder)
    _, root = image_folder(folder, "LFW", variant)
    inside = any(root == folder / path for paths in VARIANTS["LFW"].values() for path in paths)
    return root, (folder if inside else root.parent) / "pairs.txt"


def _photographs(root):
    """Rows `name`, `person` of NAME/NAME_0001.jpg, sorted by name. Other files are no part of the set."""
    found = [path.relative_to(root).as_posix() for path in find_images(root).paths]
    matches = [match for name in found if (match := re.fullmatch(r"([^/]+)/\1_\d{4}\.jpg", name))]
    index = pd.DataFrame([(match[0], match[1]) for match in matches], columns=["name", "person"], dtype="str")
    return index.sort_values("name", ignore_index=True)
