"""The error-versus-discard curve (EDC): how many recognition errors remain when the faces called bad are thrown away.

x is the share discarded, lowest quality first; y the false non-match rate (FNMR) of what remains.

Two conventions, never to be compared with each other:

- `"fixed"` (Grother & Tabassi 2007; Schlett et al. 2023; ISO/IEC 29794-1): the decision threshold is set once, on all
  impostor pairs, at zero discard.
- `"refit"` (MagFace, CR-FIQA and many papers): impostor pairs are discarded by the same quality, and the threshold for
  the target FMR is derived again from those that remain, at each step.

Missing is not NaN. A NaN in a similarity or a quality is refused: it is nearly always a bug, and sorting would hide it.
A face that *could not be assessed* (none found, the method failed) is marked as such by its caller: quality -inf,
`None`, `pandas.NA` or a masked array. `on_missing` declares what becomes of it: `"worst"` gives it quality -inf, so
that it is discarded first; `"drop"` leaves its pairs out; `"raise"` refuses. `n_missing` counts the pairs concerned.
The readers in `fiqa_lib.data` turn empty score cells and failed rows into missing values.

A face that the recogniser could not *enrol* has no embedding, so its pairs have no similarity: their caller marks it as
missing in the same way. A pair that can't be compared is not accepted: with `"worst"` a mated pair fails and an
impostor pair does not match; `"drop"` leaves both out; `"raise"` refuses. `n_not_enrolled` counts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from . import verification
from .curve import EDC, UNITS, StepCurve, checked_choice, oracle_curve
from .prefixes import prefix_count, prefix_kth, prefix_sums, ranks
from .published_scripts import SCRIPTS, published_curve
from .verification import allowed_false_matches, as_flags, as_scores, fit_threshold, just_above, warn_if_few


@dataclass(frozen=True, eq=False)
class EdcOptions:
    """The keyword arguments of `edc`, checked; see there."""

    fmr: float = 1e-3
    threshold: float | None = None
    convention: str = "fixed"
    pair_quality: str = "min"
    population: str = "mated"
    on_missing: str = "worst"
    compat: str | None = None
    image_a: np.ndarray | None = None
    image_b: np.ndarray | None = None
    impostor_side: bool = False

    def __post_init__(self):
        checked_choice(self.convention, ("fixed", "refit"), "convention")
        checked_choice(self.pair_quality, ("min", "mean", "max"), "pair_quality")
        checked_choice(self.population, tuple(UNITS), "population")
        checked_choice(self.on_missing, ("worst", "drop", "raise"), "on_missing")
        checked_choice(self.compat, (None, *SCRIPTS), "compat")
        if self.convention == "refit" and self.threshold is not None:
            raise DataError("a given threshold can't be re-fitted: use convention='fixed', or give fmr instead")
        if self.population == "images" and (self.image_a is None or self.image_b is None):
            raise DataError("population='images' needs image_a and image_b, to know which image is in which pair")
        if self.population == "images" and self.pair_quality != "min":
            raise DataError("discarding whole images takes a pair away with the worse one: use pair_quality='min'")
        if self.threshold is not None and math.isnan(float(self.threshold)):
            raise DataError("the threshold is NaN")
        if self.impostor_side and (self.convention == "refit" or self.compat is not None):
            raise DataError("re-fitting holds the FMR, so it has no curve of its own: use convention='fixed'")

    @property
    def refit_fmr(self):
        """The FMR to fit again at each cut; None with the fixed threshold."""
        return self.fmr if self.convention == "refit" else None


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
    impostor_side=False,
):
    """The error-versus-discard curve of a quality score.

    Parameters
    ----------
    similarity : array (P,)
        Of each pair, higher = more alike. Infinities are allowed, NaN is refused. Missing (`None`, `pandas.NA`, masked)
        where a face was not enrolled: see the top of the module.
    mated : bool array (P,)
        Whether the pair shows one person.
    quality_a, quality_b : array (P,)
        Of the first and the second image of each pair, higher = better. Missing values: see the top of the module.
    fmr : float in [0, 1], default=1e-3
        Target false match rate, for which the threshold is fitted on the impostor pairs (`verification.fit_threshold`).
    threshold : float, default=None
        A decision threshold to use instead; impostor pairs are then not needed.
    convention : {"fixed", "refit"}, default="fixed"
        Whether the threshold stays, or is fitted again to the impostor pairs that are no worse than the worst unit
        that remains (at zero discard: to all). Where none of those is left, the last threshold is kept.
    pair_quality : {"min", "mean", "max"}, default="min"
        Of the two images. Discarding images one after the other is "min"; the others are for ablation.
    population : {"mated", "all", "images"}, default="mated"
        What the discarded share counts: mated pairs; mated and impostor pairs; or distinct images (which `image_a`
        and `image_b` name), where a pair leaves with the worse of its images. The error is the FNMR of the mated
        pairs that remain in any case, and 0 once none does.
    on_missing : {"worst", "drop", "raise"}, default="worst"
        What becomes of pairs with a face that could not be assessed, or not enrolled.
    compat : {None, "crfiqa", "magface"}, default=None
        Reproduce the curve of a published script: re-fitted, all pairs, 0 to 0.95 by 0.05, joined by straight lines.
        Overrides `convention` and `population`. `published_scripts` documents their rules.
    image_a, image_b : array (P,), default=None
        Which image each side of the pair is; needed for `population="images"`.
    impostor_side : bool, default=False
        Also compute `EDC.impostor`: the FMR of the impostor pairs that remain when they are discarded by the same
        quality. With the fixed threshold only.

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
    images = image_a, image_b
    options = EdcOptions(
        fmr, threshold, convention, pair_quality, population, on_missing, compat, *images, impostor_side
    )
    curve = curve_of(checked_pairs(similarity, mated, quality_a, quality_b, options), options)
    warn_if_few(curve.threshold, stacklevel=3)
    return curve


def curve_of(pairs, options):
    """The `EDC` of checked `Pairs`, without warnings."""
    if options.compat is not None:
        return published_curve(pairs, options)
    ordered = SortedPairs(pairs, options.population)
    impostor = pairs.similarity[~pairs.mated]
    if options.threshold is None:
        threshold, target = fit_threshold(impostor, options.fmr, warn=False), float(options.fmr)
        realised = threshold.realised_fmr
    else:
        threshold, target = float(options.threshold), math.nan
        realised = verification.fmr(impostor, threshold) if len(impostor) else math.nan
    once = np.ones(len(pairs.mated), np.int64)
    images = failures = None
    if options.population == "images":
        images, failures = np.ones(ordered.n_units, np.int64), ordered.image_failures(threshold)
    points = ordered.curve(threshold, options.refit_fmr, once, images)
    return EDC(
        discard=np.append(points.discard, 1.0),
        error=np.append(points.error, 0.0),
        threshold=threshold,
        realised_fmr=realised,
        starting_error=float(points.error[0]),
        n_mated=len(ordered.genuine),
        n_impostor=len(impostor),
        n_missing=pairs.n_missing,
        n_not_enrolled=pairs.n_not_enrolled,
        fmr=target,
        convention=options.convention,
        population=options.population,
        pair_quality=options.pair_quality,
        threshold_at=np.append(points.threshold, points.threshold[-1]),
        mated_left=np.append(points.mated_left, 0),
        impostor_left=None if points.impostor_left is None else np.append(points.impostor_left, 0),
        impostor=impostor_curve(pairs, threshold, options.population) if options.impostor_side else None,
        _oracle=oracle_curve(points.failing, len(ordered.genuine), ordered.n_units, failures),
    )


def impostor_curve(pairs, threshold, population):
    """The FMR over the discarded share, a `StepCurve`: that of impostor pairs, or of what `population` counts.

    An impostor pair fails where a mated one does not, at `similarity >= threshold`; so this is the curve of negative
    similarities, with the two kinds exchanged.
    """
    if pairs.mated.all():
        raise DataError("there are no impostor pairs, so there is no FMR to draw: leave impostor_side out")
    turned = pairs._replace(similarity=-pairs.similarity.astype(np.float64), mated=~pairs.mated)
    ordered = SortedPairs(turned, population)
    images = np.ones(ordered.n_units, np.int64) if population == "images" else None
    points = ordered.curve(just_above(np.float64(-threshold)), None, np.ones(len(pairs.mated), np.int64), images)
    return StepCurve(np.append(points.discard, 1.0), np.append(points.error, 0.0))


# ------------------------------------------------------------------------------------------------------ input checks


class Pairs(NamedTuple):
    """Pairs after all checks. Images are numbered where they are known."""

    similarity: np.ndarray  # (P,)
    mated: np.ndarray  # (P,) bool
    quality: np.ndarray  # (P,) of the pair
    n_missing: int
    image_a: np.ndarray | None  # (P,) places in image_quality
    image_b: np.ndarray | None
    image_quality: np.ndarray | None
    n_not_enrolled: int = 0


def checked_pairs(similarity, mated, quality_a, quality_b, options):
    """Check the columns of `edc` and apply `pair_quality` and `on_missing`; returns `Pairs`."""
    similarity, apart = checked_similarity(similarity)
    n = len(similarity)
    mated = as_flags(mated, n)
    quality_a, missing_a = checked_quality(quality_a, n, "quality_a")
    quality_b, missing_b = checked_quality(quality_b, n, "quality_b")
    missing = missing_a | missing_b
    n_missing = int(missing.sum())
    if n_missing and options.on_missing == "raise":
        raise DataError(
            f"{n_missing} pairs have a face that could not be assessed (the first is pair {np.argmax(missing)}); "
            "on_missing='worst' discards them first, 'drop' leaves them out"
        )
    if apart.any() and options.on_missing == "raise":
        raise DataError(
            f"{apart.sum()} pairs have a face that was not enrolled (the first is pair {np.argmax(apart)}); "
            "on_missing='worst' counts them as not accepted, 'drop' leaves them out"
        )
    quality = _pair_quality(quality_a, quality_b, options.pair_quality)
    image_a, image_b, image_quality = _numbered_images(options.image_a, options.image_b, quality_a, quality_b)
    if options.on_missing == "drop" and (n_missing or apart.any()):
        keep = ~(missing | apart)
        similarity, mated, quality = similarity[keep], mated[keep], quality[keep]
        if image_a is not None:
            used, codes = np.unique(np.concatenate([image_a[keep], image_b[keep]]), return_inverse=True)
            image_a, image_b, image_quality = codes[: keep.sum()], codes[keep.sum() :], image_quality[used]
    if not mated.any():
        raise DataError(f"there are no mated pairs among the {len(mated)} given, so there is no FNMR")
    return Pairs(similarity, mated, quality, n_missing, image_a, image_b, image_quality, int(apart.sum()))


def checked_similarity(values):
    """Similarities (P,) with -inf where they are missing, and the mask of what is missing. NaN is refused."""
    dtype = getattr(values, "dtype", None)
    if not isinstance(values, np.ma.MaskedArray) and not isinstance(dtype, pd.api.extensions.ExtensionDtype):
        values = np.asarray(values)
        if values.dtype != object or values.ndim != 1:
            values = as_scores(values, "similarity")
            return values, np.zeros(len(values), bool)
    try:
        missing, numbers = _split_missing(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"similarity must hold numbers: {error}") from error
    numbers[missing] = -np.inf
    return as_scores(numbers, "similarity"), missing


def checked_quality(values, n, name):
    """Quality (n,) as float64 with -inf where it is missing, and the mask of what is missing. NaN is refused."""
    try:
        missing, numbers = _split_missing(values)
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


def _split_missing(values):
    """The mask of missing values, and a float64 copy with 0 in their place."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getmaskarray(values), values.filled(0).astype(np.float64)
    if isinstance(getattr(values, "dtype", None), pd.api.extensions.ExtensionDtype):
        return np.asarray(pd.isna(values)), values.to_numpy(dtype=np.float64, na_value=0).copy()
    values = np.asarray(values)
    if values.dtype != object:
        return np.zeros(values.shape, bool), values.astype(np.float64)
    missing = np.array([value is None or value is pd.NA for value in values.ravel()], bool).reshape(values.shape)
    return missing, np.where(missing, 0, values).astype(np.float64)


def _pair_quality(a, b, how):
    """The quality of a pair. A missing face beside one of quality +inf leaves the mean at -inf."""
    if how != "mean":
        return np.minimum(a, b) if how == "min" else np.maximum(a, b)
    with np.errstate(over="ignore", invalid="ignore"):
        total = a + b
        mean = np.where(np.isfinite(total), total / 2, a / 2 + b / 2)  # the sum of huge values overflows
    return np.where(np.isneginf(a) | np.isneginf(b), -np.inf, mean)


def _numbered_images(image_a, image_b, quality_a, quality_b):
    """Images as numbers, (P,) for each side, and the quality of each image; three None where images are not given."""
    if image_a is None and image_b is None:
        return None, None, None
    n = len(quality_a)
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


# -------------------------------------------------------------------------------------------------------- the engine


class Points(NamedTuple):
    """The points of a curve, one for each cut, before the last one, (1, 0)."""

    discard: np.ndarray
    error: np.ndarray
    failing: int  # mated pairs below the starting threshold
    threshold: np.ndarray
    mated_left: np.ndarray
    impostor_left: np.ndarray | None


class SortedPairs:
    """Pairs sorted by quality once, from which curves are read off for any weights (how often each pair counts).

    A *unit* is what the discarded share counts. A *cut* is a distinct quality of the units; at cut c, all that has a
    lower quality is gone. `unit_start` and `genuine_start` say, for each cut, how many units and mated pairs that is.
    """

    def __init__(self, pairs, population):
        self.pairs, self.population = pairs, population
        self.genuine_rows = _rows_by_quality(pairs, pairs.mated)
        self.genuine = pairs.similarity[self.genuine_rows]
        quality = pairs.quality[self.genuine_rows]
        self.unit_rows, units = self.genuine_rows, quality
        if population != "mated":
            of_units = pairs.quality if population == "all" else pairs.image_quality
            self.unit_rows = np.argsort(of_units)
            units = of_units[self.unit_rows]
        self.n_units = len(units)
        self.unit_start, _ = _runs(units)
        self.cuts = units[self.unit_start]
        self.genuine_start = self.unit_start if units is quality else np.searchsorted(quality, self.cuts)

    def curve(self, threshold, fmr, pair_weight, image_weight=None):
        """The `Points` of the curve; re-fitted to `fmr` at each cut unless that is None, else at the one threshold."""
        units = image_weight if self.population == "images" else pair_weight
        left = _remaining(self.unit_start, units[self.unit_rows])
        weight = pair_weight[self.genuine_rows]
        mated_left = _remaining(self.genuine_start, weight)
        if fmr is None:
            wrong = _remaining(self.genuine_start, (self.genuine < np.float64(threshold)) * weight)
            thresholds, impostor_left = np.full(len(left), float(threshold)), None
        else:
            thresholds, impostor_left = self._refit(fmr, threshold, pair_weight, left == left[0])
            wrong = self._failing_at(thresholds, weight)
        error = np.divide(wrong, mated_left, out=np.zeros(len(left)), where=mated_left > 0)
        return Points((left[0] - left) / left[0], error, int(wrong[0]), thresholds, mated_left, impostor_left)

    def fit(self, fmr, pair_weight):
        """The threshold of `verification.fit_threshold` if every impostor pair were there `pair_weight` times."""
        rows, values = self._impostors_falling
        upto = np.cumsum(pair_weight[rows])
        k = allowed_false_matches(fmr, upto[-1])
        if k >= upto[-1]:
            return -np.inf
        value = values[np.searchsorted(upto, k, side="right")]
        if value == np.inf:
            raise DataError(f"an FMR of {fmr:g} can't be reached: too many impostor pairs have similarity +inf")
        return just_above(value)

    def image_failures(self, threshold):
        """In how many failing mated pairs each image is."""
        rows = self.genuine_rows[self.genuine < np.float64(threshold)]
        both = np.concatenate([self.pairs.image_a[rows], self.pairs.image_b[rows]])
        return np.bincount(both, minlength=self.n_units)

    @cached_property
    def _impostors_falling(self):
        """Impostor rows from the highest similarity down, and these similarities."""
        rows = np.flatnonzero(~self.pairs.mated)
        rows = rows[np.argsort(self.pairs.similarity[rows])[::-1]]
        return rows, self.pairs.similarity[rows]

    @cached_property
    def _impostors_best_first(self):
        """Impostor rows from the best quality down, so that what remains at a cut is always the beginning."""
        rows = _rows_by_quality(self.pairs, ~self.pairs.mated)
        remain = len(rows) - np.searchsorted(self.pairs.quality[rows], self.cuts)
        return rows[::-1], remain, *ranks(self.pairs.similarity[rows[::-1]])

    @cached_property
    def _genuine_ranks(self):
        return ranks(self.genuine[::-1])

    def _refit(self, fmr, threshold, pair_weight, untouched):
        """Thresholds at each cut, for the impostor pairs at or above it, and how many those are.

        Where no unit is discarded yet (`untouched`), all impostor pairs count, also those of lower quality.
        """
        rows, remain, rank, ordered = self._impostors_best_first
        remain = np.where(untouched, len(rows), remain)
        first, run = _runs(remain)
        remain = remain[first]
        weight = pair_weight[rows]
        left = prefix_sums(weight)[remain]
        k = allowed_false_matches(fmr, left)
        value = ordered[prefix_kth(rank, remain, np.maximum(left - 1 - k, 0), weight)]
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
        at_change = prefix_count(rank, remain, below, weight[::-1])
        own = np.repeat(thresholds, np.diff(self.genuine_start, append=len(self.genuine)))
        gone = prefix_sums((self.genuine < own) * weight)
        return at_change[run] - (gone[self.genuine_start] - gone[self.genuine_start[first]][run])


def _runs(values):
    """Where runs of equal neighbours start, and in which run each place is."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return np.flatnonzero(new), np.cumsum(new) - 1


def _rows_by_quality(pairs, chosen):
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(pairs.quality[rows])]


def _remaining(start, weight):
    """How much weight remains from each start on."""
    upto = prefix_sums(weight)
    return upto[-1] - upto[start]
