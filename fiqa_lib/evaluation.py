"""How quality scores are judged: the error-versus-discard characteristic (EDC) and what is derived from it.

A quality score is useful when throwing away the faces it calls bad leaves fewer recognition errors. The curve says how
many: x is the share discarded, lowest quality first, y the false non-match rate (FNMR) of what remains.

Two conventions, never to be compared with each other:

- `"fixed"` (Grother & Tabassi 2007; Schlett et al. 2023; ISO/IEC 29794-1): the decision threshold is set once, on all
  impostor pairs, at zero discard.
- `"refit"` (MagFace, CR-FIQA and many papers): impostor pairs are discarded by the same quality, and the threshold for
  the target FMR is derived again from those that remain, at each step.

Missing is not NaN. A NaN in a similarity or a quality is refused: it is nearly always a bug, and sorting would hide it.
A face that *could not be assessed* (none found, the method failed) is marked as such by its caller: quality -inf,
`None`, `pandas.NA` or a masked array. `on_missing` declares what becomes of it: `"worst"` gives it quality -inf, so
that it is discarded first; `"drop"` leaves its pairs out; `"raise"` refuses. `n_missing` counts the pairs concerned.
The readers in `fiqa_lib.protocols` turn empty score cells and failed rows into missing values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from .errors import DataError
from .verification import (
    Threshold,
    allowed_false_matches,
    as_flags,
    as_rate,
    as_scores,
    fit_threshold,
    just_above,
    warn_if_few,
)
from .verification import (
    fmr as false_match_rate,
)

LIMITS = (0.05, 0.2, 0.3, 0.95)
"""The discard shares up to which areas are reported."""

KINDS = ("raw", "minus_best", "normalised", "oracle")
"""What `EDC.pauc` can report; see there."""


# --------------------------------------------------------------------------------------------------------- the result


@dataclass(frozen=True, eq=False)
class StepCurve:
    """A curve over the discarded share, right-continuous: `error[i]` holds from `discard[i]` up to `discard[i + 1]`.

    Attributes
    ----------
    discard : array (K,)
        Rising, from 0.
    error : array (K,)
    linear : bool
        True for the curves of the published scripts only, which join 20 points by straight lines.
    """

    discard: np.ndarray
    error: np.ndarray
    linear: bool = field(default=False, kw_only=True)

    def at(self, discard):
        """The error once the share `discard` (a number or an array, in [0, 1]) has been discarded."""
        discard = np.asarray(discard, dtype=np.float64)
        if not np.all((discard >= 0) & (discard <= 1)):
            raise DataError("the discarded share lies between 0 and 1")
        if self.linear:
            return np.interp(discard, self.discard, self.error)
        return self.error[np.searchsorted(self.discard, discard, side="right") - 1]

    def area(self, limit):
        """Exact area under the curve from 0 to `limit`.

        Raises
        ------
        DataError
            For a limit outside [0, 1], or beyond the last point of a published script's curve.
        """
        limit = as_rate(limit, "limit")
        if self.linear:
            if limit > self.discard[-1] + 1e-12:
                raise DataError(f"the published script's curve ends at {self.discard[-1]:.2f}, no area up to {limit:g}")
            inside = self.discard < limit
            x, y = np.append(self.discard[inside], limit), np.append(self.error[inside], self.at(limit))
            return float(np.trapezoid(y, x))
        ends = np.minimum(np.append(self.discard[1:], 1.0), limit)
        return float(np.sum(self.error * np.maximum(ends - self.discard, 0)))  # not np.dot: its order is the BLAS's


@dataclass(frozen=True, eq=False, kw_only=True)
class EDC(StepCurve):
    """An error-versus-discard curve with all that is needed to read it. Made by `edc`.

    Attributes
    ----------
    discard, error : array (K,)
        One point wherever the sorted quality changes; the last one is (1, 0).
    threshold : float
        The decision threshold at zero discard: accept `similarity >= threshold`. A `verification.Threshold` if fitted.
    realised_fmr : float
        The FMR of all impostor pairs at that threshold. NaN without impostor pairs.
    starting_error : float
        The FNMR at zero discard.
    n_mated, n_impostor : int
        Pairs the curve rests on.
    n_missing : int
        Pairs with a face that could not be assessed; still among the others unless `on_missing="drop"`.
    fmr : float
        The target; NaN where the threshold was given.
    convention, population, pair_quality, compat : str
        As passed to `edc`, `compat` possibly None.
    threshold_at : array (K,)
        The threshold at each point: all the same unless re-fitted.
    mated_left, impostor_left : int array (K,) or None
        Pairs that remain at each point. `impostor_left` is known for re-fitted curves only.
    """

    threshold: float
    realised_fmr: float
    starting_error: float
    n_mated: int
    n_impostor: int
    n_missing: int
    fmr: float
    convention: str
    population: str
    pair_quality: str
    compat: str | None = None
    threshold_at: np.ndarray = field(repr=False)
    mated_left: np.ndarray = field(repr=False)
    impostor_left: np.ndarray | None = field(default=None, repr=False)
    _n_failing: int = field(repr=False)
    _n_units: int = field(repr=False)
    _image_failures: np.ndarray | None = field(default=None, repr=False)

    def pauc(self, limit, kind="raw"):
        """Partial area under the curve up to the discard share `limit`; lower is better.

        Parameters
        ----------
        limit : float in [0, 1]
        kind : str
            - `"raw"`: the exact area under the step curve, in [0, limit].
            - `"minus_best"`: less the area under the theoretical best line max(0, e0 - x), which is e0^2 / 2, less
              (e0 - limit)^2 / 2 while limit < e0 (Olsen et al. 2016). e0 is the starting error.
            - `"normalised"`: raw / (limit * e0). Chance is 1, whatever the data.
            - `"oracle"`: (raw - oracle) / (limit * e0 - oracle), with the area of `oracle()`: 0 is the best possible
              order, 1 is chance, more is worse than chance.

        Returns
        -------
        float
            NaN for the last two where there is nothing to win: no error at the start, or none that can be avoided.
        """
        best = self.oracle().area(limit) if kind == "oracle" else math.nan
        return _rescaled(self.area(limit), float(limit), self.starting_error, _choice(kind, KINDS, "kind"), best)

    def random(self):
        """The curve of a score that knows nothing, on average: the starting error until all is gone."""
        if self.linear:
            return StepCurve(self.discard, np.full(len(self.discard), self.starting_error), linear=True)
        return StepCurve(np.array([0.0, 1.0]), np.array([self.starting_error, 0.0]))

    def oracle(self):
        """The curve of an order that knows the outcome: pairs failing at the starting threshold leave first, singly.

        With the fixed threshold no score can pass below it. For pairs it is reached by a score that knows; for whole
        images (`population="images"`) it is a bound, since an image takes no more failing pairs away than it is in. A
        **re-fitted** curve can pass below it: dropping the impostors that look most alike lowers the threshold.
        """
        curve = _oracle(self._n_failing, self.n_mated, self._n_units, self._image_failures)
        return StepCurve(self.discard, curve.at(self.discard), linear=True) if self.linear else curve

    def to_frame(self, **columns):
        """The points as a tidy table: `discard`, `error`, `threshold`, `mated_left`, and `impostor_left` where known.

        Keyword arguments become constant columns in front: `curve.to_frame(method="sharpness")`. `files.write_csv`
        writes it.
        """
        table = pd.DataFrame(
            {
                "discard": self.discard,
                "error": self.error,
                "threshold": self.threshold_at,
                "mated_left": self.mated_left,
            }
        )
        if self.impostor_left is not None:
            table["impostor_left"] = self.impostor_left
        for place, (name, value) in enumerate(columns.items()):
            table.insert(place, name, value)
        return table

    def summary(self, limits=LIMITS, **columns):
        """One row for each limit: the four areas, and what must be known beside them. `columns` as in `to_frame`."""
        known = {
            "starting_error": self.starting_error,
            "threshold": float(self.threshold),
            "target_fmr": self.fmr,
            "realised_fmr": self.realised_fmr,
            "n_mated": self.n_mated,
            "n_impostor": self.n_impostor,
            "n_missing": self.n_missing,
            "convention": self.convention,
            "population": self.population,
            "pair_quality": self.pair_quality,
            "compat": self.compat,
        }
        rows = [{**columns, "limit": x, **{kind: self.pauc(x, kind) for kind in KINDS}, **known} for x in limits]
        return pd.DataFrame(rows)

    def caption(self):
        """What every figure of this curve must say: error, threshold convention, starting error and number of pairs."""
        rule = (
            "given threshold"
            if math.isnan(self.fmr)
            else f"FNMR at FMR {self.fmr:g} (realised {self.realised_fmr:.3g})"
        )
        zero = ", zero-FMR" if getattr(self.threshold, "zero_fmr", False) else ""
        how = f"{self.compat} script" if self.compat else f"{self.convention} threshold"
        missing = f"; {self.n_missing:,} pairs with an unassessed face" if self.n_missing else ""
        pairs = f"{self.n_mated:,} mated and {self.n_impostor:,} impostor pairs{missing}"
        return (
            f"{rule}{zero}, {how} {float(self.threshold):.4g}; starting error {self.starting_error:.4g}; {pairs}; "
            f"discarding {_UNITS[self.population]}"
        )


_UNITS = {"mated": "mated pairs", "all": "all pairs", "images": "whole images"}


def theoretical_best_area(starting_error, limit):
    """Area under max(0, e0 - x) up to `limit`: e0^2 / 2, less (e0 - limit)^2 / 2 if limit < e0 (Olsen et al. 2016)."""
    return starting_error**2 / 2 - max(starting_error - limit, 0.0) ** 2 / 2


def _rescaled(raw, limit, starting_error, kind, oracle):
    """The area `raw` in one of the `KINDS`; see `EDC.pauc`."""
    chance = limit * starting_error
    if kind == "raw":
        return raw
    if kind == "minus_best":
        return raw - theoretical_best_area(starting_error, limit)
    if kind == "normalised":
        return raw / chance if chance > 0 else math.nan
    return (raw - oracle) / (chance - oracle) if chance - oracle > 1e-12 * chance else math.nan


def _oracle(failing, mated, units, image_failures=None):
    gone = np.arange(failing + 1) if image_failures is None else _most_removed(image_failures, failing)
    left = mated - gone
    error = np.divide(failing - gone, left, out=np.zeros(len(gone)), where=left > 0)
    discard = np.arange(len(gone)) / units
    if discard[-1] < 1:
        discard, error = np.append(discard, 1.0), np.append(error, 0.0)
    return StepCurve(discard, error)


def _most_removed(image_failures, failing):
    """At most how many failing pairs go with the first 0, 1, 2 ... images, if those in most failing pairs go first."""
    gone = np.concatenate([[0], np.cumsum(np.sort(image_failures)[::-1])])
    return np.minimum(gone[: np.searchsorted(gone, failing) + 1], failing)


# ---------------------------------------------------------------------------------------------- checking what comes in


def _choice(value, allowed, name):
    if value not in allowed:
        raise DataError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def _qualities(values, n, name):
    """Quality as float64 with -inf where it is missing, and the mask of what is missing. NaN is refused."""
    try:
        missing, numbers = _missing_apart(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must hold numbers: {error}") from error
    if numbers.shape != (n,):
        raise DataError(f"{name} must have one value for each of the {n} pairs, got shape {numbers.shape}")
    numbers[missing] = -np.inf
    bad = np.flatnonzero(np.isnan(numbers))
    if len(bad):
        raise DataError(
            f"{name} holds {len(bad)} NaN, the first in place {bad[0]}. If that face could not be assessed, mark it as "
            "missing (-inf, None, pandas.NA or a masked array); on_missing says what becomes of it"
        )
    return numbers, np.isneginf(numbers)


def _missing_apart(values):
    """The mask of missing values, and float64 with 0 in their place."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getmaskarray(values), values.filled(0).astype(np.float64)
    if isinstance(getattr(values, "dtype", None), pd.api.extensions.ExtensionDtype):
        return np.asarray(pd.isna(values)), values.to_numpy(dtype=np.float64, na_value=0).copy()
    values = np.asarray(values)
    if values.dtype != object:
        return np.zeros(values.shape, bool), values.astype(np.float64)
    missing = np.array([value is None or value is pd.NA for value in values.ravel()], bool).reshape(values.shape)
    return missing, np.where(missing, 0, values).astype(np.float64)


def _combine(a, b, how):
    """The quality of a pair. A missing face beside one of quality +inf leaves the mean at -inf."""
    if how == "min":
        return np.minimum(a, b)
    if how == "max":
        return np.maximum(a, b)
    with np.errstate(over="ignore", invalid="ignore"):
        total = a + b
        mean = np.where(np.isfinite(total), total / 2, a / 2 + b / 2)  # the sum of huge values overflows
    return np.where(np.isneginf(a) | np.isneginf(b), -np.inf, mean)


class _Options(NamedTuple):
    """The keyword arguments of `edc`."""

    fmr: float = 1e-3
    threshold: float | None = None
    convention: str = "fixed"
    pair_quality: str = "min"
    population: str = "mated"
    on_missing: str = "worst"
    compat: str | None = None
    image_a: np.ndarray | None = None
    image_b: np.ndarray | None = None

    def checked(self):
        _choice(self.convention, ("fixed", "refit"), "convention")
        _choice(self.pair_quality, ("min", "mean", "max"), "pair_quality")
        _choice(self.population, tuple(_UNITS), "population")
        _choice(self.on_missing, ("worst", "drop", "raise"), "on_missing")
        _choice(self.compat, (None, *_PUBLISHED), "compat")
        if self.convention == "refit" and self.threshold is not None:
            raise DataError("a given threshold can't be re-fitted: use convention='fixed', or give fmr instead")
        if self.population == "images" and (self.image_a is None or self.image_b is None):
            raise DataError("population='images' needs image_a and image_b, to know which image is in which pair")
        if self.population == "images" and self.pair_quality != "min":
            raise DataError("discarding whole images takes a pair away with the worse one: use pair_quality='min'")
        if self.threshold is not None and math.isnan(float(self.threshold)):
            raise DataError("the threshold is NaN")
        return self


class _Pairs(NamedTuple):
    similarity: np.ndarray  # (P,)
    mated: np.ndarray  # (P,) bool
    quality: np.ndarray  # (P,) of the pair
    n_missing: int
    image_a: np.ndarray | None  # (P,) codes into image_quality
    image_b: np.ndarray | None
    image_quality: np.ndarray | None


def _prepare(similarity, mated, quality_a, quality_b, options):
    similarity = as_scores(similarity, "similarity")
    n = len(similarity)
    mated = as_flags(mated, n)
    quality_a, missing_a = _qualities(quality_a, n, "quality_a")
    quality_b, missing_b = _qualities(quality_b, n, "quality_b")
    missing = missing_a | missing_b
    n_missing = int(missing.sum())
    if n_missing and options.on_missing == "raise":
        raise DataError(
            f"{n_missing} pairs have a face that could not be assessed (the first is pair {np.argmax(missing)}); "
            "on_missing='worst' discards them first, 'drop' leaves them out"
        )
    quality = _combine(quality_a, quality_b, options.pair_quality)
    images = _images(options.image_a, options.image_b, quality_a, quality_b, n)
    pairs = _Pairs(similarity, mated, quality, n_missing, *images)
    if n_missing and options.on_missing == "drop":
        pairs = _only(pairs, ~missing)
    if not pairs.mated.any():
        raise DataError(f"there are no mated pairs among the {len(pairs.mated)} given, so there is no FNMR")
    return pairs


def _only(pairs, keep):
    rows = [None if x is None else x[keep] for x in (pairs.similarity, pairs.mated, pairs.quality)]
    if pairs.image_a is None:
        return _Pairs(*rows, pairs.n_missing, None, None, None)
    used, codes = np.unique(np.concatenate([pairs.image_a[keep], pairs.image_b[keep]]), return_inverse=True)
    return _Pairs(*rows, pairs.n_missing, codes[: keep.sum()], codes[keep.sum() :], pairs.image_quality[used])


def _images(image_a, image_b, quality_a, quality_b, n):
    if image_a is None and image_b is None:
        return None, None, None
    for values, name in ((image_a, "image_a"), (image_b, "image_b")):
        if values is None or np.shape(values) != (n,):
            raise DataError(f"{name} must name an image for each of the {n} pairs, got shape {np.shape(values)}")
    codes, names = pd.factorize(np.concatenate([np.asarray(image_a), np.asarray(image_b)]))
    if (codes < 0).any():
        raise DataError("image_a and image_b hold missing values")
    quality = np.concatenate([quality_a, quality_b])
    of_image = np.empty(len(names))
    of_image[codes] = quality
    differs = np.flatnonzero(of_image[codes] != quality)
    if len(differs):
        raise DataError(f"image {str(names[codes[differs[0]]])!r} comes with two different qualities")
    return codes[:n], codes[n:], of_image


# ------------------------------------------------------------------------------------------------------------ the curve


def edc(
    similarity,
    mated,
    quality_a,
    quality_b,
    *,
    fmr=1e-3,
    threshold=None,
    convention="fixed",
    pair_quality="min",
    population="mated",
    on_missing="worst",
    compat=None,
    image_a=None,
    image_b=None,
):
    """The error-versus-discard curve of a quality score.

    Parameters
    ----------
    similarity : array (P,)
        Of each pair, higher = more alike. Infinities are allowed, NaN is refused.
    mated : bool array (P,)
    quality_a, quality_b : array (P,)
        Of the first and the second image of each pair, higher = better. Missing values: see the top of the module.
    fmr : float
        Target false match rate, for which the threshold is fitted on the impostor pairs (`verification.fit_threshold`).
    threshold : float, optional
        A decision threshold to use instead; impostor pairs are then not needed.
    convention : "fixed" or "refit"
        Whether the threshold stays, or is fitted again to the impostor pairs that are no worse than the worst unit
        that remains (at zero discard: to all). Where none of those is left, the last threshold is kept.
    pair_quality : "min", "mean" or "max"
        Of the two images. Discarding images one after the other is "min"; the others are for ablation.
    population : "mated", "all" or "images"
        What the discarded share counts: mated pairs; mated and impostor pairs; or distinct images (which `image_a`
        and `image_b` name), where a pair leaves with the worse of its images. The error is the FNMR of the mated
        pairs that remain in any case, and 0 once none does.
    on_missing : "worst", "drop" or "raise"
        What becomes of pairs with a face that could not be assessed.
    compat : None, "crfiqa" or "magface"
        Reproduce the curve of a published script: re-fitted, all pairs, 0 to 0.95 by 0.05, joined by straight lines.
        Overrides `convention` and `population`. See `_published_crfiqa` and `_published_magface` for their rules.
    image_a, image_b : array (P,), optional
        Which image each side of the pair is; needed for `population="images"`.

    Returns
    -------
    EDC
        Points only where the sorted quality changes, since pairs of equal quality leave together. Independent of the
        order of the rows to the last bit (`compat` excepted: those scripts cut through ties).

    Raises
    ------
    DataError
        For NaN, lengths that disagree, no mated pairs, no impostor pairs where they are needed, an FMR that no
        threshold can reach, and unknown or contradictory options.

    Warns
    -----
    verification.FewImpostorsWarning
        When a fitted threshold rests on fewer than 30 expected false matches.

    References
    ----------
    Grother & Tabassi 2007 (IEEE TPAMI 29); Schlett et al. 2023, "Considerations on the Evaluation of Biometric Quality
    Assessment Algorithms"; ISO/IEC 29794-1.
    """
    options = _Options(
        fmr, threshold, convention, pair_quality, population, on_missing, compat, image_a, image_b
    ).checked()
    curve = _edc(_prepare(similarity, mated, quality_a, quality_b, options), options)
    if isinstance(curve.threshold, Threshold):
        warn_if_few(curve.threshold, stacklevel=3)
    return curve


def _edc(pairs, options):
    if options.compat is not None:
        return _published(pairs, options)
    ordered = _Sorted(pairs, options.population)
    impostor = pairs.similarity[~pairs.mated]
    if options.threshold is None:
        threshold, target = fit_threshold(impostor, options.fmr, warn=False), float(options.fmr)
        realised = threshold.realised_fmr
    else:
        threshold, target = float(options.threshold), math.nan
        realised = false_match_rate(impostor, threshold) if len(impostor) else math.nan
    points = ordered.curve(threshold, options.fmr if options.convention == "refit" else None)
    failing = ordered.genuine < np.float64(threshold)
    images = ordered.image_failures(failing) if options.population == "images" else None
    return EDC(
        discard=np.append(points.discard, 1.0),
        error=np.append(points.error, 0.0),
        threshold=threshold,
        realised_fmr=realised,
        starting_error=float(points.error[0]),
        n_mated=len(ordered.genuine),
        n_impostor=len(impostor),
        n_missing=pairs.n_missing,
        fmr=target,
        convention=options.convention,
        population=options.population,
        pair_quality=options.pair_quality,
        threshold_at=np.append(points.threshold, points.threshold[-1]),
        mated_left=np.append(points.mated_left, 0),
        impostor_left=None if points.impostor_left is None else np.append(points.impostor_left, 0),
        _n_failing=points.failing,
        _n_units=ordered.n_units,
        _image_failures=images,
    )


class _Points(NamedTuple):
    discard: np.ndarray
    error: np.ndarray
    failing: int  # mated pairs below the starting threshold
    threshold: np.ndarray
    mated_left: np.ndarray
    impostor_left: np.ndarray | None


class _Weights(NamedTuple):
    pair: np.ndarray  # (P,) how often each pair counts
    image: np.ndarray | None


class _Sorted:
    """Pairs sorted by quality once, from which curves are read off, plain or weighted.

    A *unit* is what the discarded share counts. A *cut* is a distinct quality of the units; at cut c, all that has a
    lower quality is gone. `unit_start` and `genuine_start` say, for each cut, how many units and mated pairs that is.
    """

    def __init__(self, pairs, population):
        self.pairs, self.population = pairs, population
        self.genuine_rows = _by_quality(pairs, pairs.mated)
        self.genuine = pairs.similarity[self.genuine_rows]
        quality = pairs.quality[self.genuine_rows]
        self.unit_rows, units = self.genuine_rows, quality
        if population != "mated":
            of_units = pairs.quality if population == "all" else pairs.image_quality
            self.unit_rows = np.argsort(of_units)
            units = of_units[self.unit_rows]
        self.n_units = len(units)
        self.unit_start = np.flatnonzero(np.append(True, units[1:] != units[:-1]))
        self.cuts = units[self.unit_start]
        self.genuine_start = self.unit_start if units is quality else np.searchsorted(quality, self.cuts)

    def curve(self, threshold, fmr=None, weights=None):
        """The points before (1, 0); re-fitted to `fmr` at each cut if that is given, else at the one threshold."""
        units = None if weights is None else weights.image if self.population == "images" else weights.pair
        left = _left(self.unit_start, self.n_units, None if units is None else units[self.unit_rows])
        weight = None if weights is None else weights.pair[self.genuine_rows]
        mated_left = _left(self.genuine_start, len(self.genuine), weight)
        if fmr is None:
            failing = self.genuine < np.float64(threshold)
            wrong = _left(self.genuine_start, None, failing if weight is None else failing * weight)
            thresholds, impostor_left = np.full(len(left), float(threshold)), None
        else:
            thresholds, impostor_left = self._refit(fmr, threshold, weights, left == left[0])
            wrong = self._failing_at(thresholds, weight)
        error = np.divide(wrong, mated_left, out=np.zeros(len(left)), where=mated_left > 0)
        return _Points((left[0] - left) / left[0], error, int(wrong[0]), thresholds, mated_left, impostor_left)

    def fit(self, fmr, weights):
        """The threshold of `verification.fit_threshold` if every impostor pair were there `weights.pair` times."""
        rows, values = self._impostors_falling
        upto = np.cumsum(weights.pair[rows])
        k = allowed_false_matches(fmr, upto[-1])
        if k >= upto[-1]:
            return -np.inf
        value = values[np.searchsorted(upto, k, side="right")]
        if value == np.inf:
            raise DataError(f"an FMR of {fmr:g} can't be reached: too many impostor pairs have similarity +inf")
        return just_above(value)

    def image_failures(self, failing):
        """In how many failing mated pairs each image is."""
        rows = self.genuine_rows[failing]
        both = np.concatenate([self.pairs.image_a[rows], self.pairs.image_b[rows]])
        return np.bincount(both, minlength=self.n_units)

    @cached_property
    def _impostors_falling(self):
        rows = np.flatnonzero(~self.pairs.mated)
        rows = rows[np.argsort(self.pairs.similarity[rows])[::-1]]
        return rows, self.pairs.similarity[rows]

    @cached_property
    def _impostors_best_first(self):
        """Impostor rows from the best quality down, so that what remains at a cut is always the beginning."""
        rows = _by_quality(self.pairs, ~self.pairs.mated)
        remain = len(rows) - np.searchsorted(self.pairs.quality[rows], self.cuts)
        return rows[::-1], remain, *_ranks(self.pairs.similarity[rows[::-1]])

    @cached_property
    def _genuine_ranks(self):
        return _ranks(self.genuine[::-1])

    def _refit(self, fmr, threshold, weights, untouched):
        """Thresholds at each cut, for the impostor pairs at or above it, and how many those are.

        Where no unit is gone yet, no impostor is either, be it worse than the worst mated pair.
        """
        rows, remain, rank, ordered = self._impostors_best_first
        remain = np.where(untouched, len(rows), remain)
        first, run = _runs(remain)
        remain = remain[first]
        weight = None if weights is None else weights.pair[rows]
        left = remain if weight is None else _running(weight)[remain]
        k = allowed_false_matches(fmr, left)
        value = ordered[_prefix_kth(rank, remain, np.maximum(left - 1 - k, 0), weight)]
        if np.any((k < left) & (value == np.inf)):
            raise DataError(
                f"an FMR of {fmr:g} can't be reached at every discard: too many impostor pairs have similarity +inf"
            )
        fitted = np.where(k < left, just_above(value), -np.inf)
        last = np.maximum.accumulate(np.where(left > 0, np.arange(len(left)), -1))
        fitted = np.where(last >= 0, fitted[last], float(threshold))  # none left: the last one that could be fitted
        return fitted[run].astype(np.float64), left[run]

    def _failing_at(self, thresholds, weight):
        """How many mated pairs at or above each cut lie below its own threshold.

        Counted where the threshold changes; in between, those that leave are subtracted.
        """
        first, run = _runs(thresholds)
        rank, ordered = self._genuine_ranks
        remain = len(self.genuine) - self.genuine_start[first]
        below = np.searchsorted(ordered, thresholds[first])
        at_change = _prefix_count(rank, remain, below, None if weight is None else weight[::-1])
        own = np.repeat(thresholds, np.diff(self.genuine_start, append=len(self.genuine)))
        gone = _running((self.genuine < own) * (1 if weight is None else weight))
        return at_change[run] - (gone[self.genuine_start] - gone[self.genuine_start[first]][run])


def _runs(values):
    """Where runs of equal neighbours start, and in which run each place is."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return np.flatnonzero(new), np.cumsum(new) - 1


def _by_quality(pairs, chosen):
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(pairs.quality[rows])]


def _left(start, n, weight):
    """How much remains from each start on: of `n` items, or of the weights."""
    if weight is None:
        return n - start
    upto = _running(weight)
    return upto[-1] - upto[start]


# ------------------------------------------------------------------------------------------------ every prefix at once
#
# Re-fitting asks two things at each of up to a million cuts: the k-th highest impostor among those above the cut, and
# how many mated pairs above the cut lie below a threshold. Answered for all cuts at once by "The Wavelet Matrix"
# (SPIRE 2012): ranks are split by their bits, highest first, and each question follows its bits down. O(P log P).


def _ranks(values):
    """The place of each value in rising order (ties anyhow), and the values in that order."""
    order = np.argsort(values)
    rank = np.empty(len(values), np.int32 if len(values) < 2**31 else np.int64)
    rank[order] = np.arange(len(values), dtype=rank.dtype)
    return rank, values[order]


def _running(values, dtype=np.int64):
    """Sums of the first 0, 1, 2 ... values."""
    sums = np.zeros(len(values) + 1, dtype)
    np.cumsum(values, out=sums[1:])
    return sums


def _descend(rank, length, weight, goes_up):
    """Follow each question down the bits of `rank`, from all of the first `length[i]` items to one rank.

    `goes_up(bit, zeros)` is told how much weight each question's range has in the half where the bit is 0, and says
    which questions go on in the other half.
    """
    low, high = np.zeros(len(length), rank.dtype), length.astype(rank.dtype)
    for bit in range(len(rank).bit_length() - 1, -1, -1):
        one = (rank >> bit) & 1 != 0
        zeros = _running(~one, rank.dtype)
        heavy = zeros if weight is None else _running(np.where(one, 0, weight))
        up = goes_up(bit, heavy[high] - heavy[low])
        low = np.where(up, zeros[-1] + low - zeros[low], zeros[low])
        high = np.where(up, zeros[-1] + high - zeros[high], zeros[high])
        order = np.concatenate([np.flatnonzero(~one), np.flatnonzero(one)])
        rank, weight = rank[order], None if weight is None else weight[order]


def _prefix_kth(rank, length, k, weight=None):
    """The rank of the `k[i]`-th (from 0) of the first `length[i]` items, each counted by its weight."""
    found, k = np.zeros(len(length), np.int64), k.copy()

    def goes_up(bit, zeros):
        up = k >= zeros
        np.add(found, 1 << bit, out=found, where=up)
        np.subtract(k, zeros, out=k, where=up)
        return up

    _descend(rank, length, weight, goes_up)
    return np.minimum(found, len(rank) - 1)  # a question about nothing ends anywhere


def _prefix_count(rank, length, below, weight=None):
    """How many of the first `length[i]` items, counted by weight, have a rank under `below[i]`."""
    total = np.zeros(len(length), np.int64)

    def goes_up(bit, zeros):
        up = (below >> bit) & 1 != 0
        np.add(total, zeros, out=total, where=up)
        return up

    _descend(rank, length, weight, goes_up)
    return total


# ---------------------------------------------------------------------------------------------- the published scripts


def _published_crfiqa(genuine, impostor, fmr):
    """The decision of CR-FIQA's `ERC/erc.py` and `ERC/roc.py`: the similarity that a mated pair must exceed.

    Candidates are the distinct similarities of both classes; the FMR of a candidate counts impostors at or above it.
    Of those whose FMR lies nearest to the target - above or below it - the lowest is taken. Yet a pair is then
    accepted only if it lies strictly above, so the threshold's own pair counts as an error. The script works on
    angles, arccos(s) / pi; the order is the same.
    """
    candidate = np.unique(np.concatenate([genuine, impostor]))
    matches = len(impostor) - np.searchsorted(np.sort(impostor), candidate)
    return candidate[np.argmin(np.abs(matches / len(impostor) - fmr))]


def _published_magface(genuine, impostor, fmr):
    """The decision of MagFace's `eval_quality.py`: the similarity that a mated pair must exceed.

    The script goes down the sorted impostors by whole divisions: the place of the last, N - 1, stands for FMR 1;
    divided by ten and rounded down for FMR 0.1; and so on, until the place is 0. So only powers of ten exist (it
    prints 1e-3), and a point is left out where the division arrives at 0 too early: at FMR 1e-3 with 100 impostors or
    fewer.
    """
    place, rate = len(impostor) - 1, 1.0
    while not math.isclose(rate, fmr):
        if place == 0:
            return None
        place, rate = place // 10, rate / 10
    return np.sort(impostor)[::-1][place]


_PUBLISHED = {"crfiqa": _published_crfiqa, "magface": _published_magface}


def _published(pairs, options):
    """The curve of a published script.

    Both sort all pairs by the lower of the two qualities and, at each rate of arange(0, 0.98, 0.05), drop the first
    int(rate * P) - through ties - and decide anew on the rest. Their sort leaves the order of ties open; here it is
    that of the rows. CR-FIQA's area joins the 20 points by straight lines; MagFace publishes none, and gets the same.
    """
    compat, fmr = options.compat, as_rate(options.fmr)
    if options.threshold is not None or options.pair_quality != "min" or options.population == "images":
        raise DataError(
            f"compat={compat!r} discards all pairs by the lower quality and fits its own threshold; leave threshold, "
            "pair_quality and population as they are"
        )
    if compat == "magface" and not (fmr > 0 and math.isclose(fmr, 10.0 ** round(math.log10(fmr)))):
        raise DataError(f"the MagFace script knows FMR 1, 0.1, 0.01, 0.001 ... only, got {fmr:g}")
    order = np.argsort(pairs.quality, kind="stable")
    similarity, mated = pairs.similarity[order], pairs.mated[order]
    points = []
    for rate in np.arange(0, 0.98, 0.05):
        kept = slice(int(rate * len(order)), None)
        genuine, impostor = similarity[kept][mated[kept]], similarity[kept][~mated[kept]]
        if not len(genuine) or not len(impostor):
            raise DataError(
                f"no {'impostor' if len(genuine) else 'mated'} pairs are left at discard {rate:.2f}, where the "
                f"{compat} script divides by zero"
            )
        limit = _PUBLISHED[compat](genuine, impostor, fmr)
        if limit is None:
            break
        points.append((rate, np.count_nonzero(genuine <= limit) / len(genuine), limit, len(genuine), len(impostor)))
    if not points:
        raise DataError(
            f"the {compat} script has no threshold for FMR {fmr:g} with {int((~mated).sum())} impostor pairs"
        )
    discard, error, limits, mated_left, impostor_left = map(np.array, zip(*points, strict=True))
    start, impostor = just_above(limits[0]), similarity[~mated]
    realised = float(np.count_nonzero(impostor >= start) / len(impostor))
    zero = bool(allowed_false_matches(fmr, len(impostor)) == 0)
    return EDC(
        discard=discard,
        error=error,
        linear=True,
        threshold=Threshold(float(start), fmr, realised, len(impostor), zero),
        realised_fmr=realised,
        starting_error=float(error[0]),
        n_mated=int(mated_left[0]),
        n_impostor=len(impostor),
        n_missing=pairs.n_missing,
        fmr=fmr,
        convention="refit",
        population="all",
        pair_quality="min",
        compat=compat,
        threshold_at=just_above(limits),
        mated_left=mated_left,
        impostor_left=impostor_left,
        _n_failing=int(np.count_nonzero(similarity[mated] < start)),
        _n_units=len(order),
    )


# ------------------------------------------------------------------------------------------------------------ intervals


@dataclass(frozen=True, eq=False)
class Interval:
    """A number with a percentile interval from a bootstrap over identities.

    Attributes
    ----------
    estimate, low, high : float
        The value on the data, and the bounds of the interval.
    standard_error : float
        Standard deviation of the draws.
    confidence : float
    n_identities, n_invalid : int
        Identities drawn from; draws without mated pairs, without impostor pairs, or where the number is undefined.
    draws : array (B,)
        NaN for the invalid.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    confidence: float
    n_identities: int
    n_invalid: int
    draws: np.ndarray = field(repr=False)


def bootstrap_pauc(
    similarity,
    mated,
    quality_a,
    quality_b,
    identity_a,
    identity_b,
    *,
    limit=0.2,
    kind="raw",
    refit_threshold=True,
    n_draws=1000,
    confidence=0.95,
    random_state=0,
    **options,
):
    """A confidence interval for a partial area, from a bootstrap over identities.

    Pairs are not independent: those of one person succeed or fail together, and an impostor pair involves two people.
    So people are drawn, with replacement, as many as there are. Someone drawn m times counts m times: a mated pair
    of identity i has weight m_i, an impostor pair of i and j weight m_i * m_j. The curve, and the threshold too, are
    computed anew with these weights, exactly as if each pair stood there that many times.

    Weighting a pair by the product of its two identities' multiplicities is the pigeonhole bootstrap of Owen
    (2007) and Owen & Eckles (2012, "Bootstrapping data arrays of arbitrary order"), mildly conservative; for face
    verification, Fogliato, Patil & Perona (2024, IJCV) examine this and its relatives. Drawing subjects rather than
    comparisons is the subsets bootstrap of Bolle, Ratha & Pankanti (2004).

    Parameters
    ----------
    similarity, mated, quality_a, quality_b
        As for `edc`.
    identity_a, identity_b : array (P,)
        Who each side of the pair shows: equal for mated pairs and only for them.
    limit, kind
        As for `EDC.pauc`. `"oracle"` is not available for whole images.
    refit_threshold : bool
        False holds the threshold of the full data in every draw: its uncertainty is then left out. Has no effect
        where `threshold` is given.
    n_draws : int
    confidence : float in (0, 1)
    random_state : int or numpy Generator
        The same identities and the same seed give the same draws for every method, whatever the order of the rows.
    **options
        The other keyword arguments of `edc`, except `compat`.

    Returns
    -------
    Interval
        A percentile interval.

    Raises
    ------
    DataError
        As `edc`; also when identities and mated flags disagree, with fewer than two identities, or no valid draws.
    """
    trial = _bootstrap(
        similarity,
        mated,
        {"score": (quality_a, quality_b)},
        identity_a,
        identity_b,
        [limit],
        kind,
        refit_threshold,
        n_draws,
        random_state,
        _Options(**options),
    )
    _warn(trial, stacklevel=3)
    return _interval(trial.curves["score"].pauc(limit, kind), trial.areas[:, 0, 0], confidence, trial.n_identities)


def compare(
    similarity,
    mated,
    qualities,
    identity_a,
    identity_b,
    *,
    reference=None,
    limits=(0.2,),
    kind="raw",
    refit_threshold=True,
    n_draws=1000,
    confidence=0.95,
    random_state=0,
    **options,
):
    """Is one quality method better than another? Differences of their areas on the same draws of identities.

    Two intervals that overlap say little, since both methods see the same lucky or unlucky people. The interval of the
    difference, paired draw by draw, says it.

    Parameters
    ----------
    qualities : mapping of name to (quality_a, quality_b)
        At least two methods on the same pairs. With `on_missing="drop"` a pair missing in one is left out for all.
    reference : str, optional
        Compare every other method with this one. None: every method with every later one.
    limits : sequence of float
    similarity, mated, identity_a, identity_b, kind and the rest
        As for `bootstrap_pauc`.

    Returns
    -------
    DataFrame
        For each couple and limit: `method`, `reference`, `limit`, `kind`, `pauc`, `pauc_reference`, `difference`
        (negative: the method is better), `low`, `high`, `probability_better` (share of draws in which the method has
        the lower area, a tie counting half), `p_value` (two-sided, of no difference, by the draws: never below
        2 / (n_draws + 1)), `n_draws`, `n_invalid`, `n_identities`. No correction is made for many comparisons.
    """
    names = list(qualities)
    if len(names) < 2:
        raise DataError(f"comparing takes at least two methods, got {names}")
    if reference is not None and reference not in names:
        raise DataError(f"the reference {reference!r} is not among the methods {names}")
    trial = _bootstrap(
        similarity,
        mated,
        qualities,
        identity_a,
        identity_b,
        limits,
        kind,
        refit_threshold,
        n_draws,
        random_state,
        _Options(**options),
    )
    _warn(trial, stacklevel=3)
    couples = combinations(names, 2) if reference is None else ((n, reference) for n in names if n != reference)
    rows = []
    for (one, other), (place, limit) in product(couples, enumerate(limits)):
        areas = [trial.curves[name].pauc(limit, kind) for name in (one, other)]
        draws = [trial.areas[:, names.index(name), place] for name in (one, other)]
        interval = _interval(areas[0] - areas[1], draws[0] - draws[1], confidence, trial.n_identities)
        rows.append(
            {
                "method": one,
                "reference": other,
                "limit": limit,
                "kind": kind,
                "pauc": areas[0],
                "pauc_reference": areas[1],
                "difference": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                **_odds(interval.draws),
                "n_draws": len(interval.draws),
                "n_invalid": interval.n_invalid,
                "n_identities": interval.n_identities,
            }
        )
    return pd.DataFrame(rows)


def bootstrap_areas(
    similarity,
    mated,
    qualities,
    identity_a,
    identity_b,
    *,
    limits=LIMITS,
    kind="raw",
    refit_threshold=True,
    n_draws=1000,
    confidence=0.95,
    random_state=0,
    **options,
):
    """`bootstrap_pauc` of many methods at many limits, on the same draws of identities.

    Parameters
    ----------
    qualities : mapping of name to (quality_a, quality_b)
    limits : sequence of float
    similarity, mated, identity_a, identity_b, kind and the rest
        As for `bootstrap_pauc`.

    Returns
    -------
    DataFrame
        For each method and limit: `method`, `limit`, `kind`, `pauc`, `low`, `high`, `standard_error`,
        `starting_error`, `n_mated`, `n_missing`, `n_draws`, `n_invalid`, `n_identities`.
    """
    trial = _bootstrap(
        similarity,
        mated,
        qualities,
        identity_a,
        identity_b,
        limits,
        kind,
        refit_threshold,
        n_draws,
        random_state,
        _Options(**options),
    )
    _warn(trial, stacklevel=3)
    rows = []
    for (index, (name, curve)), (place, limit) in product(enumerate(trial.curves.items()), enumerate(limits)):
        draws = trial.areas[:, index, place]
        interval = _interval(curve.pauc(limit, kind), draws, confidence, trial.n_identities)
        rows.append(
            {
                "method": name,
                "limit": limit,
                "kind": kind,
                "pauc": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "standard_error": interval.standard_error,
                "starting_error": curve.starting_error,
                "n_mated": curve.n_mated,
                "n_missing": curve.n_missing,
                "n_draws": len(draws),
                "n_invalid": interval.n_invalid,
                "n_identities": interval.n_identities,
            }
        )
    return pd.DataFrame(rows)


def _odds(differences):
    differences = differences[~np.isnan(differences)]
    tail = min(np.sum(differences >= 0), np.sum(differences <= 0))
    return {
        "probability_better": float(np.mean(differences < 0) + np.mean(differences == 0) / 2),
        "p_value": float(min(1, 2 * (1 + tail) / (len(differences) + 1))),
    }


def _warn(trial, stacklevel):
    threshold = next(iter(trial.curves.values())).threshold
    if isinstance(threshold, Threshold):
        warn_if_few(threshold, stacklevel=stacklevel + 1)


def _interval(estimate, draws, confidence, people):
    if not 0 < confidence < 1:
        raise DataError(f"confidence is a share between 0 and 1, got {confidence}")
    invalid = int(np.isnan(draws).sum())
    if invalid > len(draws) - 2:
        raise DataError(
            f"{invalid} of {len(draws)} draws have no value: too few identities with mated and impostor pairs, or no "
            "error at the start"
        )
    low, high = np.nanquantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    spread = float(np.nanstd(draws, ddof=1))
    return Interval(estimate, float(low), float(high), spread, confidence, people, invalid, draws)


class _Trial(NamedTuple):
    curves: dict  # name -> EDC on the data
    areas: np.ndarray  # (draws, methods, limits)
    n_identities: int


def _bootstrap(
    similarity,
    mated,
    qualities,
    identity_a,
    identity_b,
    limits,
    kind,
    refit_threshold,
    n_draws,
    random_state,
    options,
):
    _check_bootstrap(options.checked(), kind, refit_threshold, n_draws)
    similarity = as_scores(similarity, "similarity")
    mated = as_flags(mated, len(similarity))
    people_a, people_b, people = _people(identity_a, identity_b, mated)
    if options.on_missing == "drop":
        keep, qualities = _complete(qualities, len(mated))
        similarity, mated, people_a, people_b = (x[keep] for x in (similarity, mated, people_a, people_b))
        if options.image_a is not None:
            options = options._replace(
                image_a=np.asarray(options.image_a)[keep], image_b=np.asarray(options.image_b)[keep]
            )
    pairs = {name: _prepare(similarity, mated, *both, options) for name, both in qualities.items()}
    curves = {name: _edc(one, options) for name, one in pairs.items()}
    methods = [_Sorted(one, options.population) for one in pairs.values()]
    image_people = _people_of_images(next(iter(pairs.values())), people_a, people_b)
    held = None if refit_threshold and options.threshold is None else next(iter(curves.values())).threshold
    rng = np.random.default_rng(random_state)
    areas = np.full((int(n_draws), len(methods), len(limits)), np.nan)
    for draw in areas:
        times = np.bincount(rng.integers(people, size=people), minlength=people)
        pair = np.where(mated, times[people_a], times[people_a] * times[people_b])
        weights = _Weights(pair, None if image_people is None else times[image_people])
        if not pair[mated].any() or (held is None and not pair[~mated].any()):
            continue
        start = methods[0].fit(options.fmr, weights) if held is None else held
        fmr = options.fmr if options.convention == "refit" else None
        for method, row in zip(methods, draw, strict=True):
            row[:] = _weighted_areas(method, start, fmr, weights, limits, kind)
    return _Trial(curves, areas, people)


def _check_bootstrap(options, kind, refit_threshold, n_draws):
    _choice(kind, KINDS, "kind")
    if options.compat is not None:
        raise DataError("the curves of published scripts are not resampled; leave compat out")
    if options.population == "images" and kind == "oracle":
        raise DataError("the oracle of whole images is only a bound and is not resampled; use another kind")
    if options.convention == "refit" and not refit_threshold:
        raise DataError("convention='refit' fits thresholds; refit_threshold=False belongs to convention='fixed'")
    if int(n_draws) < 2:
        raise DataError(f"n_draws must be at least 2, got {n_draws}")


def _weighted_areas(method, threshold, fmr, weights, limits, kind):
    points = method.curve(threshold, fmr, weights)
    curve = StepCurve(points.discard, points.error)
    best = StepCurve(np.zeros(1), np.full(1, np.nan))
    if kind == "oracle":
        units = weights.pair[method.unit_rows].sum()
        best = _oracle(points.failing, int(points.mated_left[0]), int(units))
    return [_rescaled(curve.area(x), x, points.error[0], kind, best.area(x)) for x in limits]


def _people(identity_a, identity_b, mated):
    """Identities as numbers, given by their sorted names, so that draws do not depend on the order of the rows."""
    for values, name in ((identity_a, "identity_a"), (identity_b, "identity_b")):
        if np.shape(values) != mated.shape:
            raise DataError(
                f"{name} must name a person for each of the {len(mated)} pairs, got shape {np.shape(values)}"
            )
    codes, names = pd.factorize(np.concatenate([np.asarray(identity_a), np.asarray(identity_b)]), sort=True)
    if (codes < 0).any():
        raise DataError("identities hold missing values; leave pairs of unknown people out")
    a, b = codes[: len(mated)], codes[len(mated) :]
    wrong = np.flatnonzero((a == b) != mated)
    if len(wrong):
        first = wrong[0]
        raise DataError(
            f"{len(wrong)} mated flags contradict the identities; the first is pair {first}, called "
            f"{'mated' if mated[first] else 'non-mated'}: {names[a[first]]!r} and {names[b[first]]!r}"
        )
    if len(names) < 2:
        raise DataError("a bootstrap over identities takes at least two of them")
    return a, b, len(names)


def _people_of_images(pairs, people_a, people_b):
    """Whom each image shows; None where images are not known."""
    if pairs.image_a is None:
        return None
    who = np.empty(len(pairs.image_quality), np.int64)
    who[pairs.image_a], who[pairs.image_b] = people_a, people_b
    return who


def _complete(qualities, n):
    """Which pairs have a quality in every method, and the qualities of those."""
    read = {name: [_qualities(x, n, f"quality of {name}") for x in both] for name, both in qualities.items()}
    keep = ~np.any([missing for both in read.values() for _, missing in both], axis=0)
    return keep, {name: tuple(values[keep] for values, _ in both) for name, both in read.items()}


# --------------------------------------------------------------------------------------------------------- comparisons


def cross_model_matrix(similarities, mated, qualities, *, limit=0.2, kind="normalised", **options):
    """Each quality against each recogniser: quality from model i, verification by model j.

    A quality taken from the recogniser that is also tested knows its weaknesses and flatters: those cells are marked
    "same model", and conclusions belong to the others.

    Parameters
    ----------
    similarities : mapping of recogniser name to array (P,)
    mated : bool array (P,)
    qualities : mapping of name to (quality_a, quality_b)
        A quality bearing a recogniser's name is taken as that recogniser's own.
    limit, kind
        As for `EDC.pauc`.
    **options
        For `edc`.

    Returns
    -------
    DataFrame
        For each couple: `quality`, `recogniser`, `relation` ("same model" or "cross model"), `pauc`, `limit`, `kind`,
        `starting_error`, `threshold`, `realised_fmr`, `n_mated`, `n_impostor`, `n_missing`.
        `table.pivot(index="quality", columns="recogniser", values="pauc")` is the matrix.
    """
    rows = []
    for (quality, both), (recogniser, similarity) in product(qualities.items(), similarities.items()):
        curve = edc(similarity, mated, *both, **options)
        rows.append(
            {
                "quality": quality,
                "recogniser": recogniser,
                "relation": "same model" if quality == recogniser else "cross model",
                "pauc": curve.pauc(limit, kind),
                "limit": limit,
                "kind": kind,
                "starting_error": curve.starting_error,
                "threshold": float(curve.threshold),
                "realised_fmr": curve.realised_fmr,
                "n_mated": curve.n_mated,
                "n_impostor": curve.n_impostor,
                "n_missing": curve.n_missing,
            }
        )
    return pd.DataFrame(rows)


def rank_correlations(qualities):
    """How alike two methods order the faces: Spearman's rho and Kendall's tau-b for every couple.

    Parameters
    ----------
    qualities : mapping of name to array (N,), or DataFrame with one column for a method
        Scores of the same N faces. Missing ones rank lowest; NaN is refused.

    Returns
    -------
    DataFrame
        `method_a`, `method_b`, `spearman`, `kendall`, `n`. NaN where one method gives all faces the same score.
    """
    names = list(qualities)
    if not names:
        return pd.DataFrame(columns=["method_a", "method_b", "spearman", "kendall", "n"])
    n = len(qualities[names[0]])
    ranks = {name: stats.rankdata(_qualities(qualities[name], n, str(name))[0]) for name in names}
    rows = []
    for a, b in combinations(names, 2):
        rows.append({"method_a": a, "method_b": b, **_correlation(ranks[a], ranks[b]), "n": n})
    return pd.DataFrame(rows, columns=["method_a", "method_b", "spearman", "kendall", "n"])


def _correlation(a, b):
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:  # SciPy warns and returns NaN
        return {"spearman": math.nan, "kendall": math.nan}
    return {"spearman": float(stats.spearmanr(a, b).statistic), "kendall": float(stats.kendalltau(a, b).statistic)}


def rank_stability(
    similarity, mated, qualities, *, limits=LIMITS, starting_errors=(0.01, 0.05, 0.1, 0.2), kind="raw", **options
):
    """Does the order of the methods depend on where one looks? Their ranks over discard limits and starting errors.

    The threshold of each setting is put where the given share of mated pairs fails, or as many fewer as ties demand.

    Parameters
    ----------
    similarity, mated : array (P,)
    qualities : mapping of name to (quality_a, quality_b)
    limits : sequence of float
    starting_errors : sequence of float in (0, 1)
    kind
        As for `EDC.pauc`.
    **options
        For `edc`, except `fmr`, `threshold`, `convention` and `compat`.

    Returns
    -------
    DataFrame
        For each setting and method: `target_error`, `starting_error` (realised), `limit`, `method`, `pauc`, `rank`
        (1 = lowest area; ties share), `mean_rank` over all settings, and `kendall`: the agreement of this setting's
        ranking with the mean ranking (1 = the same order; NaN with one method).
    """
    similarity = as_scores(similarity, "similarity")
    genuine = np.sort(similarity[as_flags(mated, len(similarity))])
    rows = []
    for target in starting_errors:
        failing = round(as_rate(target, "a starting error") * len(genuine))
        if not 0 < failing < len(genuine):
            raise DataError(
                f"a starting error of {target:g} is {failing} of {len(genuine)} mated pairs; choose another"
            )
        for name, both in qualities.items():
            curve = edc(similarity, mated, *both, threshold=float(genuine[failing]), **options)
            for limit in limits:
                start = {"target_error": target, "starting_error": curve.starting_error, "limit": limit}
                rows.append({**start, "method": name, "pauc": curve.pauc(limit, kind)})
    table = pd.DataFrame(rows)
    setting = ["target_error", "limit"]
    table["rank"] = table.groupby(setting)["pauc"].rank()
    table["mean_rank"] = table.groupby("method")["rank"].transform("mean")
    agreement = {
        key: _correlation(part["rank"].to_numpy(), part["mean_rank"].to_numpy())["kendall"]
        for key, part in table.groupby(setting)
    }
    table["kendall"] = [agreement[key] for key in zip(table["target_error"], table["limit"], strict=True)]
    return table


# ------------------------------------------------------------------------------------------------------------- fairness


def gini(values):
    """Gini coefficient of a few groups' values, corrected for their number by N / (N - 1): 0 all equal, 1 one has all.

    GC = N / (N - 1) * sum_ij |x_i - x_j| / (2 N^2 mean(x)); 0 when all values are 0. `1 - GC` and its cube are the
    fairness rates SQFR and CSQFR of Doersch et al. 2024 (arXiv 2408.11392); the cube spreads the crowded upper end.

    Raises
    ------
    DataError
        With fewer than two values, with negative ones (the coefficient has no meaning for them), or NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise DataError(f"a Gini coefficient takes the values of at least two groups, got shape {values.shape}")
    if not np.all(np.isfinite(values)) or values.min() < 0:
        raise DataError(f"a Gini coefficient takes finite values of at least 0, got {values.tolist()}")
    n, mean = len(values), values.mean()
    if mean == 0:
        return 0.0
    return float(n / (n - 1) * np.abs(values[:, None] - values).sum() / (2 * n**2 * mean))


def fairness(
    quality,
    groups,
    *,
    discard=0.2,
    quality_threshold=None,
    measure="discard_rate",
    similarity=None,
    mated=None,
    index_a=None,
    index_b=None,
    fmr=1e-3,
    threshold=None,
    limit=0.2,
    kind="raw",
):
    """Does one quality threshold treat groups of people alike? And does the score help each of them alike?

    Parameters
    ----------
    quality : array (N,)
        Of each face, higher = better. Missing ones are below every threshold.
    groups : sequence of N
        Each face's group; at least two groups.
    discard : float
        Sets the one threshold for all: at most this share of all faces lies below it (faces of equal quality stay
        together).
    quality_threshold : float, optional
        The threshold itself, in place of `discard`. A face is discarded when `quality < quality_threshold`.
    measure : "discard_rate" or "mean_quality"
        Of which the Gini coefficient is taken over groups. The mean quality (Doersch et al.) needs a scale from 0.
    similarity, mated, index_a, index_b : array (P,), optional
        Pairs of these faces, by position, for each group's own EDC: its mated pairs, at one decision threshold for all.
    fmr, threshold, limit, kind
        As for `edc` and `EDC.pauc`. The threshold is fitted on the impostor pairs of all groups together.

    Returns
    -------
    DataFrame
        One row for a group: `group`, `n`, `discard_rate`, `mean_quality` (of assessed faces), `quality_threshold`; with
        pairs also `starting_error`, `pauc`, `fmr` (within the group, at the common threshold), `n_mated`, `n_impostor`;
        and, the same in every row, `gc`, `one_minus_gc`, `one_minus_gc_cubed` of the measure.

    References
    ----------
    Doersch, Schlett, Munch, Rathgeb & Busch 2024, "Fairness measures for biometric quality assessment".
    """
    groups = np.asarray(groups)
    quality, missing = _qualities(quality, len(groups), "quality")
    names = sorted(set(groups.tolist()))
    if len(names) < 2:
        raise DataError(f"fairness takes at least two groups, got {names}")
    _choice(measure, ("discard_rate", "mean_quality"), "measure")
    if quality_threshold is None:
        quality_threshold = float(
            np.sort(quality)[min(int(as_rate(discard, "discard") * len(quality)), len(quality) - 1)]
        )
    rows = []
    for name in names:
        inside = groups == name
        assessed = quality[inside & ~missing]
        rows.append(
            {
                "group": name,
                "n": int(inside.sum()),
                "discard_rate": float(np.mean(missing[inside] | (quality[inside] < quality_threshold))),
                "mean_quality": float(assessed.mean()) if len(assessed) else math.nan,
                "quality_threshold": quality_threshold,
            }
        )
    table = pd.DataFrame(rows)
    if similarity is not None:
        by_group = edc_by_group(
            similarity, mated, quality, groups, index_a, index_b, fmr=fmr, threshold=threshold, stacklevel=3
        )
        table["starting_error"] = [by_group[name].starting_error for name in names]
        table["pauc"] = [by_group[name].pauc(limit, kind) for name in names]
        table["fmr"] = [by_group[name].realised_fmr for name in names]
        table["n_mated"] = [by_group[name].n_mated for name in names]
        table["n_impostor"] = [by_group[name].n_impostor for name in names]
    gc = gini(table[measure])
    return table.assign(gc=gc, one_minus_gc=1 - gc, one_minus_gc_cubed=(1 - gc) ** 3)


def edc_by_group(
    similarity, mated, quality, groups, index_a, index_b, *, fmr=1e-3, threshold=None, stacklevel=2, **options
):
    """Each group's own EDC at one decision threshold, fitted on the impostor pairs of all groups together.

    A group's curve rests on its mated pairs; its `realised_fmr` on the impostor pairs within the group.

    Parameters
    ----------
    similarity, mated : array (P,)
    quality, groups : array (N,)
        Of each face.
    index_a, index_b : int array (P,)
        The faces of each pair, by position.
    fmr, threshold, **options
        As for `edc`.

    Returns
    -------
    dict of group to EDC
        Sorted by group.

    Raises
    ------
    DataError
        As `edc`; also when a mated pair spans two groups or a group has no mated pairs.
    """
    groups = np.asarray(groups)
    similarity = as_scores(similarity, "similarity")
    mated = as_flags(mated, len(similarity))
    quality, _ = _qualities(quality, len(groups), "quality")
    index_a, index_b = _positions(index_a, len(mated), len(groups)), _positions(index_b, len(mated), len(groups))
    of_a, of_b = groups[index_a], groups[index_b]
    split = np.flatnonzero(mated & (of_a != of_b))
    if len(split):
        raise DataError(f"{len(split)} mated pairs span two groups, the first is pair {split[0]}")
    if threshold is None:
        threshold = fit_threshold(similarity[~mated], fmr, warn=False)
        warn_if_few(threshold, stacklevel=stacklevel + 1)
    curves = {}
    for name in sorted(set(groups.tolist())):
        inside = (of_a == name) & (of_b == name)
        if not (inside & mated).any():
            raise DataError(f"group {name!r} has no mated pairs, so it has no curve")
        one = similarity[inside], mated[inside], quality[index_a[inside]], quality[index_b[inside]]
        curves[name] = edc(*one, threshold=float(threshold), **options)
    return curves


def _positions(index, pairs, faces):
    index = np.asarray(index)
    if index.shape != (pairs,) or index.dtype.kind not in "iu":
        raise DataError(f"index_a and index_b must hold a face's position for each of the {pairs} pairs")
    if pairs and not (0 <= index.min() and index.max() < faces):
        raise DataError(f"positions of faces must lie in 0 to {faces - 1}, got {index.min()} to {index.max()}")
    return index
