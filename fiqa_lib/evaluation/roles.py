"""Who a benchmark's people are for, how severe its damage is, and which kinds of damage belong together.

Part of the protocol; `evaluation.protocol` has all of these names too. LFW's roles are `data.lfw_roles`.
"""

from __future__ import annotations

import numpy as np

from ..data.lfw import ROLES
from ..data.orl import load_orl
from ..errors import DataError
from ..transforms.degradations import benchmark
from ..transforms.kinds import KINDS

SEVERITIES = (0.2, 0.4, 0.6, 0.8)
"""Severities of the degraded copies of ORL-D, the same for learning and for reporting."""

FAMILIES = {
    "blur": ("gaussian_blur", "defocus_blur", "motion_blur", "low_resolution"),
    "noise": ("shot_noise", "sensor_noise", "jpeg"),
    "light": ("uneven_light", "low_contrast", "colour_cast", "over_exposure", "low_light"),
    "cover": ("mask", "sunglasses", "occlusion"),
    "geometry": ("pose", "rotation", "misalignment"),
}
"""Kinds of damage that teach each other: who learned from one knows something of the others of its family."""
FAMILY_OF = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}
"""Kind of damage -> its family."""


def orl_roles(people):
    """The role of each person of ORL (or of any small set that is split in the same way).

    `data.split_by_identity` with its defaults, as in ORL-D since the first lesson, puts the people, sorted by name, in
    the order of `numpy.random.default_rng(0).permutation`: its first half trains, the other is tested. Here the first
    three fifths of the training half *learn* (12 of ORL's 40), the rest of it *choose* (8); the tested half is to
    *report* on (20). Once a choice is written down, what was chosen may learn from both.

    Parameters
    ----------
    people : sequence of str
        Who each face shows; repeated names are one person.

    Returns
    -------
    array (N,) of str
        "learn", "choose" or "report" for each entry.
    """
    people = np.asarray(people, str)
    names = np.unique(people)
    if len(names) < 4:
        raise DataError(f"{len(names)} people: at least 4 are needed for three roles")
    ordered = np.random.default_rng(0).permutation(names)
    half = min(max(1, round(0.5 * len(names))), len(names) - 1)
    learn = round(0.6 * half)
    role = dict.fromkeys(ordered[:learn], "learn") | dict.fromkeys(ordered[learn:half], "choose")
    return np.array([role.get(name, "report") for name in people], dtype="<U6")


def orl_d_of(role, faces=None, **options):
    """ORL-D for the people of one role: each photograph clean and degraded, at `SEVERITIES`.

    Parameters
    ----------
    role : {"learn", "choose", "report"}
        Whose faces.
    faces : Faces, default=None
        Faces with identities; None takes ORL's.
    **options
        Of `degradations.benchmark`: `kinds`, `copies`, `random_state`.

    Returns
    -------
    Faces
        For "report", those of `data.orl_d().test` to the last bit.
    """
    if role not in ROLES:
        raise DataError(f"role must be one of {', '.join(ROLES)}, not {role!r}")
    faces = load_orl() if faces is None else faces
    return benchmark(faces[orl_roles(faces.identities) == role], **{"severities": SEVERITIES, **options})


def leave_family_out():
    """What a learner learns from and is tested on, for each family that it must not know.

    Yields
    ------
    (str, tuple of str, tuple of str)
        The family, the kinds of all others (to learn from), and its own kinds (to report on).
    """
    for family, tested in FAMILIES.items():
        yield family, tuple(kind for kind in KINDS if FAMILY_OF[kind] != family), tested
