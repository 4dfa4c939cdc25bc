"""Degradations of severity 0..1: what happens to photographs, for making benchmarks and training sets.

Rules that hold for every kind in `KINDS`:

- Severity 0 returns the image bit for bit. More severity changes the image more, and 1 still shows something.
- Lengths are fractions of the inter-eye distance, never pixels. What is bound to a pixel grid (noise, JPEG,
  resolution) uses the grid of the canonical crop, so that a larger copy of a face is degraded by the same amount.
- Randomness (direction, place, colour, the noise field) is drawn from `random_state`, the face's name and the kind:
  not from its position in the batch, and not from the severity. Two severities differ in severity only.
- Light adds up in linear values, so blur, exposure, haze, shadow, occluders, colour cast and noise are computed there
  (sRGB transfer function, IEC 61966-2-1). Resampling and JPEG act on the encoded values, as software does.
- Work is done in float32 and rounded once. Pixels beyond the border are mirrored (reflect-101).
- A grey picture (R = G = B) stays grey, as if a grey camera had taken it. Only `colour_cast` tints it.

`KINDS` is ordered as a photograph comes about (scene, light, lens, sensor, file, alignment), and kinds that occur
together are applied in that order. The kinds themselves are in `kinds`.
"""

from __future__ import annotations

import hashlib
import numbers
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from ..faces import CANONICAL_EYES, EYE_DISTANCE, SIZE, Faces
from .kinds import KINDS, Eyes, to_uint8

EYE_MIDPOINT = tuple(CANONICAL_EYES.mean(axis=0).tolist())
"""(x, y) of the point between the eyes in the canonical crop, in pixels; pixel centres are whole numbers."""

SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The default severities of benchmarks and training sets."""

CLEAN = "clean"
"""The `kind` of a face that was not degraded."""


# ---------------------------------------------------------------------------------------------------------------------
# Images


def apply_to_image(image, kind, severity, rng=0, *, eyes=None):
    """Degrade one image.

    Parameters
    ----------
    image : array (H, W, 3) uint8
        RGB. The canonical crop, or any picture whose `eyes` are given.
    kind : str
        A name in `KINDS`.
    severity : float
        From 0 to 1; 0 returns a copy of the image, unchanged.
    rng : int or numpy.random.Generator, default=0
        The same seed with another severity gives the same direction, place, colour and noise field. A generator moves
        on with each call.
    eyes : Eyes, default=None
        Where the face is. None: as in the canonical crop, scaled to the width of the image.

    Returns
    -------
    array (H, W, 3) uint8

    Raises
    ------
    DataError
        Unknown kind, severity outside 0..1 or not a number, image of another shape or type.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise DataError(f"an image must be uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape}")
    if np.ndim(severity):
        raise DataError(f"severity of one image must be one number in 0..1, got shape {np.shape(severity)}")
    step = _check_kind(kind), _check_severities(severity, 1)[0], np.random.default_rng(rng)
    return _apply_steps(image, [step], eyes)


def canonical_eyes(width=SIZE):
    """`Eyes` of the canonical crop when it is enlarged or shrunk to `width` pixels (default: its own size)."""
    scale = width / SIZE
    return Eyes(EYE_DISTANCE * scale, *((place + 0.5) * scale - 0.5 for place in EYE_MIDPOINT))


def _apply_steps(image, steps, eyes=None):
    """Apply (kind, severity, rng) one after the other in float, and round once."""
    steps = [step for step in steps if step[1] > 0]
    if not steps or image.size == 0:
        return image.copy()
    eyes = canonical_eyes(image.shape[1]) if eyes is None else _check_eyes(eyes)
    result = image.astype(np.float32)
    if all(np.array_equal(image[..., 0], image[..., i]) for i in (1, 2)):
        result = result[..., :1]  # a grey camera has one channel of noise
    for kind, severity, rng in steps:
        degradation = KINDS[kind]
        result = np.clip(degradation.function(result, float(degradation.value(severity)), rng, eyes), 0, 255)
    return np.broadcast_to(to_uint8(result), image.shape).copy()


# ---------------------------------------------------------------------------------------------------------------------
# Faces


def degrade(faces, kind, severity, *, random_state=0):
    """The same faces, degraded.

    Parameters
    ----------
    faces : Faces
        Clean, or degraded before.
    kind : str
        A name in `KINDS`.
    severity : float or array (N,)
        From 0 to 1.
    random_state : int, default=0
        With the face's name and the kind, it decides every random choice: a face gets the same result in any batch,
        at any place in it, and moves along one path as the severity grows.

    Returns
    -------
    Faces
        Named "name|kind=0.40", identities kept. The attributes gain `kind` ("clean" at severity 0), `severity` and
        `source` (name of the clean face); others are kept. A face that was degraded before keeps its `source`, its
        `kind` becomes "first+second" and its severity 1 - (1 - first)(1 - second).

    Raises
    ------
    DataError
        Unknown kind, severity outside 0..1 or not a number, or another number of severities than of faces.
    """
    _check_kind(kind)
    severities, state = _check_severities(severity, len(faces)), _check_state(random_state)
    named = enumerate(zip(faces.names, severities, strict=True))
    return _make_copies(faces, [_copy(row, [(kind, s)], name, (state, name)) for row, (name, s) in named])


def benchmark(faces, kinds=None, severities=SEVERITIES, *, copies=6, random_state=0):
    """Each face clean and in several degraded copies: the recipe of ORL-D, the course's bundled benchmark.

    Parameters
    ----------
    faces : Faces
        Clean faces, of the people kept for testing: splitting by identity comes before this call.
    kinds : sequence of str, default=None
        Names in `KINDS`; None: all.
    severities : sequence of float, default=SEVERITIES
        Above 0 and up to 1.
    copies : int or None, default=6
        Degraded copies of each face: as many different kinds, drawn for each face, with the severities spread evenly
        (when there are more copies than kinds, kinds recur with another severity). None makes every kind at every
        severity: a large set.
    random_state : int, default=0
        Decides kinds, severities and the randomness of each copy.

    Returns
    -------
    Faces
        N (1 + copies) faces: each clean face (named as before) followed by its copies (named and described as by
        `degrade`, to which they are equal bit for bit).

    Raises
    ------
    DataError
        Unknown kinds, severities outside 0..1, more copies than combinations.
    """
    kinds, levels, state = _check_kinds(kinds), _check_levels(severities), _check_state(random_state)
    most = len(kinds) * len(levels)
    if copies is not None and not (_is_whole(copies) and 0 <= copies <= most):
        raise DataError(f"copies must be a whole number from 0 to {most} (kinds x severities) or None, got {copies!r}")
    plan = []
    for row, name in enumerate(faces.names):
        if copies is None:
            cells = [(kind, level) for kind in kinds for level in levels]
        else:
            cells = _spread(kinds, levels, copies, _generator(state, name, "benchmark"))
        plan.append(_Copy(row, [], name, (state, name)))
        plan += [_copy(row, [cell], name, (state, name)) for cell in cells]
    return _make_copies(faces, plan)


def random_degradations(faces, n_copies, kinds=None, severities=SEVERITIES, *, max_together=1, random_state=0):
    """Degraded copies with random kinds and severities, for training sets. The clean faces are not among them.

    Parameters
    ----------
    faces : Faces
        Faces of the training people.
    n_copies : int
        Copies of each face, 0 or more. The first k of n copies are the k copies of a shorter run.
    kinds : sequence of str, default=None
        Names in `KINDS`; None: all.
    severities : sequence of float, default=SEVERITIES
        Above 0 and up to 1; each kind's severity is one of these.
    max_together : int, default=1
        Each copy gets 1 to `max_together` different kinds, each number equally often, in the order of `KINDS`.
    random_state : int, default=0
        Decides kinds, severities and the randomness of each copy.

    Returns
    -------
    Faces
        N n_copies faces, the copies of one face together; named "name|0:low_light=0.40+jpeg=0.80", with attributes
        `kind` "low_light+jpeg", `severity` 1 - product of (1 - severity), and `source`.

    Raises
    ------
    DataError
        Unknown kinds, severities outside 0..1, numbers that are not whole or too small.
    """
    kinds, levels, state = _check_kinds(kinds), _check_levels(severities), _check_state(random_state)
    if not (_is_whole(n_copies) and n_copies >= 0):
        raise DataError(f"n_copies must be a whole number, 0 or more, got {n_copies!r}")
    if not (_is_whole(max_together) and 1 <= max_together <= len(kinds)):
        raise DataError(f"max_together must be a whole number from 1 to {len(kinds)} (kinds), got {max_together!r}")
    plan = []
    for row, name in enumerate(faces.names):
        for copy in range(n_copies):
            rng = _generator(state, name, f"copy {copy}")
            chosen = rng.choice(len(kinds), size=rng.integers(1, max_together + 1), replace=False)
            recipe = [(kinds[i], levels[rng.integers(len(levels))]) for i in sorted(chosen)]
            plan.append(_copy(row, recipe, name, (state, name, f"copy {copy}"), prefix=f"{copy}:"))
    return _make_copies(faces, plan)


class _Copy(NamedTuple):
    """One face to be made: from which row, by which (kind, severity) steps, its name, the key of its randomness."""

    row: int
    recipe: list
    name: str
    key: tuple


def _copy(row, recipe, source, key, prefix=""):
    """A copy named after its recipe, such as "s1|jpeg=0.40": two decimals, up to six where they are needed."""
    steps = (f"{kind}={np.format_float_positional(round(s, 6), min_digits=2)}" for kind, s in recipe)
    return _Copy(row, recipe, f"{source}|{prefix}{'+'.join(steps)}", key)


def _make_copies(faces, plan):
    images = np.empty((len(plan), *faces.images.shape[1:]), np.uint8)
    for image, copy in zip(images, plan, strict=True):
        steps = [(kind, severity, _generator(*copy.key, kind)) for kind, severity in copy.recipe]
        image[:] = _apply_steps(faces.images[copy.row], steps)
    rows = np.array([copy.row for copy in plan], int)
    attributes = faces.attributes.iloc[rows].reset_index(drop=True)
    attributes = _describe(attributes, faces.names[rows], [copy.recipe for copy in plan])
    return Faces(images, faces.identities[rows], [copy.name for copy in plan], attributes)


def _describe(attributes, names, recipes):
    """`attributes` with kind, severity and source, including degradations of an earlier call."""
    kinds, severities, sources = [], [], []
    missing = pd.Series([None] * len(names), dtype=object)
    before = (attributes.get(column, missing) for column in ("kind", "severity", "source"))
    for name, recipe, kind, severity, source in zip(names, recipes, *before, strict=True):
        described = isinstance(kind, str) and isinstance(source, str)  # by an earlier call
        steps = [kind] if described and kind != CLEAN else []
        total = float(severity) if steps else 0.0
        for step, extent in recipe:
            if extent > 0:
                total = 1 - (1 - total) * (1 - extent) if steps else float(extent)
                steps.append(step)
        kinds.append("+".join(steps) or CLEAN)
        severities.append(total)
        sources.append(source if described else str(name))
    text = {"kind": pd.Series(kinds, dtype=str), "source": pd.Series(sources, dtype=str)}
    return attributes.assign(severity=np.array(severities, float), **text)


def _spread(kinds, levels, copies, rng):
    """`copies` different (kind, level) cells: all kinds before one recurs, levels in turn, both in random order."""
    kinds, levels = [kinds[i] for i in rng.permutation(len(kinds))], [levels[i] for i in rng.permutation(len(levels))]
    rounds = ((i // len(kinds), i % len(kinds)) for i in range(copies))
    return [(kinds[i], levels[(i + turn) % len(levels)]) for turn, i in rounds]


def _generator(state, *words):
    """A random generator of its own for each key, the same on every machine."""
    digest = hashlib.sha256("\x1f".join([str(state), *map(str, words)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


# ---------------------------------------------------------------------------------------------------------------------
# Checks of arguments: each returns what the code can rely on


def _check_kind(kind):
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"unknown kind of degradation {kind!r}; there are: {', '.join(KINDS)}")
    return kind


def _check_kinds(kinds):
    """Known kinds in the order of KINDS."""
    wanted = {_check_kind(kind) for kind in (KINDS if kinds is None else [kinds] if isinstance(kinds, str) else kinds)}
    if not wanted:
        raise DataError(f"no kind of degradation given; there are: {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in wanted]


def _check_severities(severity, n):
    """List of n floats in 0..1, from one number or n."""
    try:
        values = np.asarray(severity, float)
    except (TypeError, ValueError):
        raise DataError(f"severity must be a number in 0..1 or {n} of them, got {severity!r}") from None
    if values.shape not in {(), (n,)}:
        raise DataError(f"severity must be one number or {n} of them, one for each face, got shape {values.shape}")
    outside = ~((values >= 0) & (values <= 1))  # NaN too
    if outside.any():
        raise DataError(f"severity must lie in 0..1, got {values[outside][:5]}")
    return np.broadcast_to(values, (n,)).tolist()


def _check_levels(severities):
    severities = list(severities)
    levels = sorted(set(_check_severities(severities, len(severities))))
    if not levels or levels[0] == 0:
        raise DataError(f"severities must be one or more numbers above 0 and up to 1, got {severities}")
    return levels


def _is_whole(number):
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def _check_state(random_state):
    if not _is_whole(random_state):
        raise DataError(f"random_state must be a whole number, got {random_state!r}: results must be repeatable")
    return int(random_state)


def _check_eyes(eyes):
    if np.shape(eyes) != (3,) or not np.all(np.isfinite(eyes)) or eyes[0] <= 0:
        raise DataError(f"eyes must be (distance above 0, x, y) in pixels, got {eyes!r}")
    return Eyes(*map(float, eyes))
