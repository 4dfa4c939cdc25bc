"""What learners train on: the faces of training people, and degraded copies where they need them."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from ..errors import DataError
from ..faces import Faces
from ..transforms.degradations import CLEAN, SEVERITIES, random_degradations
from .tables import read_lines


def identified(faces, identities=None):
    """`Faces` with an identity each, from what `fit(faces, identities)` got.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Aligned faces.
    identities : sequence of N, default=None
        Used in place of those of the faces.

    Returns
    -------
    Faces
        N faces with known identities. An array gets the names "face 0", "face 1" ...

    Raises
    ------
    DataError
        When lengths disagree, an identity is unknown, or there are fewer than two people.
    """
    known = isinstance(faces, Faces)
    if identities is None:
        if not known:
            raise DataError("who is shown decides what is learned: pass Faces, or identities")
        identities = faces.identities
    identities = np.asarray(identities).astype(str)
    if len(identities) != len(faces):
        raise DataError(f"{len(faces)} faces, but {len(identities)} identities")
    people = np.unique(identities)
    if "" in people or len(people) < 2:
        raise DataError(
            f"two or more people are needed, all known; got {len(people)} and {(identities == '').sum()} faces without "
            "identity (lay the folder out as identity/image.jpg)"
        )
    if known:
        return Faces(faces.images, identities, faces.names, faces.attributes)
    return Faces(faces, identities, [f"face {i}" for i in range(len(faces))])


def with_templates(faces, path):
    """Mark the photograph of each person that a list of templates names, as the target of FaceQgen's training.

    FaceQnet's authors publish such a list for VGGFace2, `VGGFace2_templates.txt`: lines `user;template` name for each
    person the photograph that conforms best with ICAO's rules.

    Parameters
    ----------
    faces : Faces
        Whose identities are the users of the list.
    path : path
        The list. A template is found by the last part of its name, with or without its suffix.

    Returns
    -------
    Faces
        With the attribute `target` (bool), which `choose_targets` follows.

    Raises
    ------
    DataError
        A line is malformed, or none of the templates is among the faces.
    """
    templates = set()
    for number, line in read_lines(path, strip=True, backslashes=True, allow_empty=False):
        user, separator, image = (part.strip() for part in line.partition(";"))
        if not (user and separator and image):
            raise DataError(f"{path}, line {number}: expected 'user;template', found {line!r}")
        templates.add((user, PurePosixPath(image).stem))
    target = [
        (person, PurePosixPath(name).stem) in templates
        for person, name in zip(faces.identities.tolist(), faces.names.tolist(), strict=True)
    ]
    if not any(target):
        raise DataError(f"{path}: none of its {len(templates)} templates is among the {len(faces)} faces")
    return faces.with_attributes(target=target)


def is_clean(faces):
    """Which faces are photographs as they were taken, not degraded copies.

    Parameters
    ----------
    faces : Faces
        A face without the attribute `kind` counts as clean.

    Returns
    -------
    array (N,) bool
    """
    if "kind" not in faces.attributes:
        return np.ones(len(faces), bool)
    kind = faces.attributes["kind"]
    return (kind.isna() | (kind == CLEAN)).to_numpy()


def photographs(faces):
    """The name of the photograph that each face was made from.

    Parameters
    ----------
    faces : Faces
        A face without the attribute `source` is its own photograph.

    Returns
    -------
    array (N,) str
    """
    if "source" not in faces.attributes:
        return faces.names.copy()
    return faces.attributes["source"].where(faces.attributes["source"].notna(), faces.names).to_numpy(str)


def with_copies(faces, n_copies, *, severities=SEVERITIES, max_together=1, random_state=0, most=None):
    """Clean faces followed by degraded copies of them. Where degraded faces are among them already, no copy is made.

    Parameters
    ----------
    faces : Faces
        The photographs.
    n_copies : int
        Degraded copies of each face, made by `degradations.random_degradations`.
    severities : sequence of float in 0..1, default=degradations.SEVERITIES
        From which the severity of each copy is drawn.
    max_together : int, default=1
        The most kinds of degradation in one copy.
    random_state : int, default=0
        Decides the degradations and the faces that are left out.
    most : int, default=None
        The most faces in the result: clean faces are left out at random before copies are made.

    Returns
    -------
    Faces
        With attributes `kind`, `severity` and `source` if copies were made.
    """
    if not is_clean(faces).all():
        return _at_most(faces, most, 1, random_state)
    faces = _at_most(faces, most, 1 + n_copies, random_state)
    if n_copies == 0:
        return faces
    own = faces.with_attributes(kind=CLEAN, severity=0.0, source=faces.names)
    options = {"severities": severities, "max_together": max_together, "random_state": random_state}
    return Faces.concat([own, random_degradations(faces, n_copies, **options)])


def _at_most(faces, most, times, random_state):
    if most is None or len(faces) * times <= most:
        return faces
    kept = np.random.default_rng(random_state).permutation(len(faces))[: max(1, most // times)]
    return faces[np.sort(kept)]
