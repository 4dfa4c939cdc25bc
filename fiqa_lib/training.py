"""What learners train on: the faces of training people, and degraded copies where they need them."""

from __future__ import annotations

import numpy as np

from .degradations import CLEAN, SEVERITIES, random_degradations
from .errors import DataError
from .faces import Faces
from .recognition.base import crops_of


def identified(faces, identities=None):
    """`Faces` with an identity each, from what `fit(faces, identities)` got.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
    identities : sequence of N, optional
        In place of those of the faces.

    Raises
    ------
    DataError
        When lengths disagree, somebody is unknown, or there are fewer than two people.
    """
    images = crops_of(faces)
    if identities is None:
        if not isinstance(faces, Faces):
            raise DataError("who is shown decides what is learned: pass Faces, or identities")
        identities = faces.identities
    identities = np.asarray(identities).astype(str)
    if len(identities) != len(images):
        raise DataError(f"{len(images)} faces, but {len(identities)} identities")
    people = np.unique(identities)
    if "" in people or len(people) < 2:
        raise DataError(
            f"two or more people are needed, all known; got {len(people)} and {(identities == '').sum()} faces without "
            "identity (lay the folder out as identity/image.jpg)"
        )
    if isinstance(faces, Faces):
        return Faces(images, identities, faces.names, faces.attributes)
    return Faces(images, identities, [f"face {i}" for i in range(len(images))])


def is_clean(faces):
    """Which faces nothing was done to: (N,) bool. All, where no attribute says otherwise."""
    if "kind" not in faces.attributes:
        return np.ones(len(faces), bool)
    kind = faces.attributes["kind"]
    return (kind.isna() | (kind == CLEAN)).to_numpy()


def photographs(faces):
    """The photograph that each face was made from: (N,) str. Its own name, where no attribute says otherwise."""
    if "source" not in faces.attributes:
        return faces.names.copy()
    return faces.attributes["source"].where(faces.attributes["source"].notna(), faces.names).to_numpy(str)


def with_copies(faces, n_copies, *, severities=SEVERITIES, max_together=1, random_state=0, most=None):
    """Clean faces followed by degraded copies of them. Faces that are degraded already are taken as they are.

    Parameters
    ----------
    faces : Faces
    n_copies : int
        Of each face; as `degradations.random_degradations` makes them, with the next three arguments.
    severities : sequence of float
    max_together : int
    random_state : int
    most : int, optional
        At most so many faces in the result: if there are more, clean faces are left out at random first.

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
