"""Intervals for areas under the error-versus-discard curve, and paired comparisons, by a bootstrap over people.

Pairs are not independent: those of one person succeed or fail together, and an impostor pair involves two people. So
people are drawn, with replacement, as many as there are. Someone drawn m times counts m times: a mated pair of
identity i has weight m_i, an impostor pair of i and j weight m_i * m_j. The curve, and the threshold too, are computed
anew with these weights, exactly as if each pair were listed that many times.

Weighting a pair by the product of its two identities' multiplicities is the pigeonhole bootstrap of Owen (2007) and
Owen & Eckles (2012, "Bootstrapping data arrays of arbitrary order"), mildly conservative; for face verification,
Fogliato, Patil & Perona (2024, IJCV) examine this and its relatives. Drawing subjects rather than comparisons is the
subsets bootstrap of Bolle, Ratha & Pankanti (2004).

Two ways to keep the luck of the starting error out of an interval: the oracle-scaled area (`kind="oracle"`) divides by
what each draw allows, and `strata="errors"` draws people with and without failing pairs apart, so that each draw has
as many of them as the data. `out_of_bag_areas` gives the areas on those who were not drawn, for the winner's curse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import DataError
from .curve import KINDS, LIMITS, StepCurve, checked_choice, oracle_curve, rescaled_area
from .edc import EdcOptions, SortedPairs, checked_pairs, checked_quality, checked_similarity, curve_of
from .verification import as_flags, warn_if_few

AREA_COLUMNS = (
    "method limit kind pauc low high standard_error starting_error n_mated n_missing n_draws n_invalid n_identities"
).split()
DIFFERENCE_COLUMNS = (
    "method reference limit kind pauc pauc_reference difference low high probability_better p_value "
    "n_draws n_invalid n_identities"
).split()


@dataclass(frozen=True, eq=False)
class BootstrapOptions(EdcOptions):
    """The keyword arguments that `bootstrap_pauc`, `bootstrap_areas` and `compare` share, checked.

    Parameters
    ----------
    kind : {"raw", "minus_best", "normalised", "oracle"}, default="raw"
        As for `EDC.pauc`. `"oracle"` is not available for whole images.
    refit_threshold : bool, default=True
        False holds the threshold of the full data in every draw: its uncertainty is then left out. Has no effect
        where `threshold` is given.
    n_draws : int, default=1000
        How often the people are drawn, at least 2.
    confidence : float in (0, 1), default=0.95
        The share of draws inside the interval.
    random_state : int or numpy Generator, default=0
        The same identities and the same seed give the same draws for every method, whatever the order of the rows.
    strata : {None, "errors"} or mapping of person to label, default=None
        Draw people within groups, as many of each as there are; None draws from all. "errors": the groups of
        `error_strata`.
    fmr, threshold, convention, pair_quality, population, on_missing, image_a, image_b
        As for `edc`. `compat` is refused.

    Raises
    ------
    TypeError
        For an unknown name.
    DataError
        For an option out of range and for options that contradict each other.
    """

    kind: str = "raw"
    refit_threshold: bool = True
    n_draws: int = 1000
    confidence: float = 0.95
    random_state: int | np.random.Generator = 0
    strata: str | Mapping | None = None

    def __post_init__(self):
        super().__post_init__()
        checked_choice(self.kind, KINDS, "kind")
        if self.compat is not None:
            raise DataError("the curves of published scripts are not resampled; leave compat out")
        if self.population == "images" and self.kind == "oracle":
            raise DataError("the oracle of whole images is only a bound and is not resampled; use another kind")
        if self.convention == "refit" and not self.refit_threshold:
            raise DataError("convention='refit' fits thresholds; refit_threshold=False belongs to convention='fixed'")
        if int(self.n_draws) < 2:
            raise DataError(f"n_draws must be at least 2, got {self.n_draws}")
        if not 0 < self.confidence < 1:
            raise DataError(f"confidence is a share between 0 and 1, got {self.confidence}")
        if not (self.strata in (None, "errors") if isinstance(self.strata, str | None) else True):
            raise DataError(f"strata must be None, 'errors' or a mapping of person to label, got {self.strata!r}")


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
        The share of draws inside the interval.
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


def bootstrap_pauc(similarity, mated, quality_a, quality_b, identity_a, identity_b, *, limit=0.2, **options):
    """A confidence interval for a partial area, from a bootstrap over identities (see the top of the module).

    Parameters
    ----------
    similarity, mated, quality_a, quality_b : array (P,)
        As for `edc`, with missing similarities where a face was not enrolled.
    identity_a, identity_b : array (P,)
        Who each side of the pair shows: equal for mated pairs and only for them.
    limit : float in [0, 1], default=0.2
        Where the area ends.
    **options
        See `BootstrapOptions`: `kind`, `refit_threshold`, `n_draws`, `confidence`, `random_state`, and those of `edc`.

    Returns
    -------
    Interval
        A percentile interval.

    Raises
    ------
    DataError
        As `edc`; also when identities and mated flags disagree, with fewer than two identities, or no valid draws.
    """
    options = BootstrapOptions(**options)
    people = identity_a, identity_b
    resampled = resample(similarity, mated, {"score": (quality_a, quality_b)}, *people, [limit], options)
    return resampled.interval("score", 0, limit)


def bootstrap_areas(similarity, mated, qualities, identity_a, identity_b, *, limits=LIMITS, **options):
    """`bootstrap_pauc` of many methods at many limits, on the same draws of identities.

    Parameters
    ----------
    similarity, mated, identity_a, identity_b : array (P,)
        As for `bootstrap_pauc`.
    qualities : mapping of name to (quality_a, quality_b)
        The scores of each method.
    limits : sequence of float, default=(0.05, 0.2, 0.3, 0.95)
        Where the areas end.
    **options
        See `BootstrapOptions`.

    Returns
    -------
    DataFrame
        For each method and limit: `method`, `limit`, `kind`, `pauc`, `low`, `high`, `standard_error`,
        `starting_error`, `n_mated`, `n_missing`, `n_draws`, `n_invalid`, `n_identities`.
    """
    options = BootstrapOptions(**options)
    resampled = resample(similarity, mated, qualities, identity_a, identity_b, limits, options)
    rows = []
    for (name, curve), (place, limit) in product(resampled.curves.items(), enumerate(limits)):
        interval = resampled.interval(name, place, limit)
        setting = {"method": name, "limit": limit, "kind": options.kind, "pauc": interval.estimate}
        rows.append({**setting, **vars(interval), **vars(curve), "n_draws": len(interval.draws)})
    return pd.DataFrame(rows, columns=AREA_COLUMNS)


def compare(similarity, mated, qualities, identity_a, identity_b, *, reference=None, limits=(0.2,), **options):
    """Is one quality method better than another? Differences of their areas on the same draws of identities.

    Two intervals that overlap say little, since both methods see the same lucky or unlucky people. The interval of the
    difference, paired draw by draw, says it.

    Parameters
    ----------
    similarity, mated, identity_a, identity_b : array (P,)
        As for `bootstrap_pauc`.
    qualities : mapping of name to (quality_a, quality_b)
        At least two methods on the same pairs. With `on_missing="drop"` a pair missing in one is left out for all.
    reference : str, default=None
        Compare every other method with this one. None: every method with every later one.
    limits : sequence of float, default=(0.2,)
        Where the areas end.
    **options
        See `BootstrapOptions`.

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
    options = BootstrapOptions(**options)
    resampled = resample(similarity, mated, qualities, identity_a, identity_b, limits, options)
    couples = combinations(names, 2) if reference is None else ((n, reference) for n in names if n != reference)
    rows = []
    for (one, other), (place, limit) in product(couples, enumerate(limits)):
        interval = resampled.interval(one, place, limit, other)
        setting = {"method": one, "reference": other, "limit": limit, "kind": options.kind}
        areas = {"pauc": resampled.area(one, limit), "pauc_reference": resampled.area(other, limit)}
        difference = {"difference": interval.estimate, "n_draws": len(interval.draws)}
        rows.append({**setting, **areas, **difference, **vars(interval), **_odds(interval.draws)})
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)


def _odds(differences):
    valid = differences[~np.isnan(differences)]
    better = float(np.mean(valid < 0) + np.mean(valid == 0) / 2)
    return {"probability_better": better, "p_value": two_sided_p(differences)}


class Resampled(NamedTuple):
    """Curves on the data, and the areas of every draw of people.

    Attributes
    ----------
    curves : dict of name to EDC
        On all people.
    draws : dict of name to array (draws, limits)
        Areas; NaN where a draw has none.
    n_identities : int
        People drawn from.
    options : BootstrapOptions
        As they were given.
    """

    curves: dict
    draws: dict
    n_identities: int
    options: BootstrapOptions

    def area(self, name, limit):
        """The area on the data."""
        return self.curves[name].pauc(limit, self.options.kind)

    def interval(self, name, place, limit, reference=None):
        """The `Interval` of an area at `limit`, the `place`-th of the limits, or of its difference to a reference."""
        estimate, draws = self.area(name, limit), self.draws[name][:, place]
        if reference is not None:
            estimate, draws = estimate - self.area(reference, limit), draws - self.draws[reference][:, place]
        return percentile_interval(estimate, draws, self.options.confidence, self.n_identities)


def percentile_interval(estimate, draws, confidence, n_identities):
    """The `Interval` of a number from its value on the data and in each draw (NaN where it has none)."""
    invalid = int(np.isnan(draws).sum())
    if invalid > len(draws) - 2:
        raise DataError(
            f"{invalid} of {len(draws)} draws have no value: too few identities with mated and impostor pairs, or "
            "no error at the start"
        )
    low, high = np.nanquantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    spread = float(np.nanstd(draws, ddof=1))
    return Interval(estimate, float(low), float(high), spread, confidence, n_identities, invalid, draws)


def two_sided_p(differences):
    """The p-value of no difference, by draws (NaN is left out): 2 (1 + the smaller tail) / (draws + 1), at most 1."""
    differences = differences[~np.isnan(differences)]
    tail = min(np.sum(differences >= 0), np.sum(differences <= 0))
    return float(min(1, 2 * (1 + tail) / (len(differences) + 1)))


def resample(similarity, mated, qualities, identity_a, identity_b, limits, options):
    """Curves on the data and areas of every draw, the same draws for all methods.

    The warning of too few impostors points at the line that called the function that calls this one.

    Parameters
    ----------
    similarity, mated, qualities, identity_a, identity_b
        As for `bootstrap_areas`.
    limits : sequence of float
        Where the areas end.
    options : BootstrapOptions
        The same identities, seed and strata give the same draws, whatever the similarities.

    Returns
    -------
    Resampled
    """
    given = _Given.of(similarity, mated, qualities, identity_a, identity_b, options, 5)
    refit = options.refit_threshold and options.threshold is None
    areas = np.full((int(options.n_draws), len(given.methods), len(limits)), np.nan)
    for draw, times in zip(areas, given.draws(), strict=True):
        pair = np.where(given.mated, times[given.people_a], times[given.people_a] * times[given.people_b])
        image = None if given.image_people is None else times[given.image_people]
        if not pair[given.mated].any() or (refit and not pair[~given.mated].any()):
            continue
        start = given.methods[0].fit(options.fmr, pair) if refit else given.threshold
        for method, row in zip(given.methods, draw, strict=True):
            row[:] = _weighted_areas(method, start, (pair, image), limits, options)
    return Resampled(given.curves, {name: areas[:, i] for i, name in enumerate(given.curves)}, given.people, options)


def out_of_bag_areas(similarity, mated, qualities, identity_a, identity_b, *, limit=0.2, **options):
    """Areas on the people of each draw, and on those whom the draw left out (about 37% of them).

    Whoever chooses the best of many methods on some people gets a number that is too good. Here the choice can be made
    on the people drawn and judged on the others, again and again. The decision threshold stays that of all people: it
    belongs to the recogniser, not to the choice.

    Parameters
    ----------
    similarity, mated, qualities, identity_a, identity_b
        As for `bootstrap_areas`.
    limit : float in [0, 1], default=0.2
        Where the areas end.
    **options
        See `BootstrapOptions`; `refit_threshold`, `convention="refit"` and `population="images"` are refused.

    Returns
    -------
    (dict of name to array (draws,), dict of name to array (draws,))
        On the drawn, and on those left out. NaN where there is nothing to measure.
    """
    if {"refit_threshold", "convention", "population"} & set(options):
        raise DataError("out-of-bag areas are those of pairs at the fixed threshold of all people")
    options = BootstrapOptions(**options, refit_threshold=False)
    given = _Given.of(similarity, mated, qualities, identity_a, identity_b, options, 4)
    areas = np.full((2, len(given.methods), int(options.n_draws)), np.nan)
    for draw, times in enumerate(given.draws()):
        left_out = (times == 0).astype(np.int64)
        for side, people in enumerate((times, left_out)):
            pair = np.where(given.mated, people[given.people_a], 0)
            if pair.any():
                for place, method in enumerate(given.methods):
                    areas[side, place, draw] = _weighted_areas(method, given.threshold, (pair, None), [limit], options)[
                        0
                    ]
    return tuple(dict(zip(given.curves, side, strict=True)) for side in areas)


def error_strata(similarity, mated, identity_a, threshold):
    """People in groups by how many of their mated pairs fail: none, up to the median of those who fail, more.

    Parameters
    ----------
    similarity, mated, identity_a : array (P,)
        As for `bootstrap_pauc`. Who is in no mated pair is in no group.
    threshold : float
        A mated pair below it fails.

    Returns
    -------
    dict of person to {0, 1, 2}
    """
    people, whose = np.unique(np.asarray(identity_a)[mated], return_inverse=True)
    failing = np.bincount(whose, np.asarray(similarity)[mated] < float(threshold), minlength=len(people))
    middle = np.median(failing[failing > 0]) if failing.any() else 0
    labels = np.where(failing == 0, 0, np.where(failing <= middle, 1, 2))
    return dict(zip(people.tolist(), labels.tolist(), strict=True))


class _Given(NamedTuple):
    """All that the draws are made from, checked and sorted once."""

    mated: np.ndarray
    people_a: np.ndarray
    people_b: np.ndarray
    people: int
    methods: list  # SortedPairs, one for each curve
    curves: dict
    threshold: float
    image_people: np.ndarray | None  # whom each image shows
    groups: list  # people who are drawn together, as arrays of their numbers
    options: BootstrapOptions

    @classmethod
    def of(cls, similarity, mated, qualities, identity_a, identity_b, options, stacklevel):
        similarity, apart = checked_similarity(similarity)
        mated = as_flags(mated, len(similarity))
        people_a, people_b, names = _numbered_people(identity_a, identity_b, mated)
        if options.on_missing == "drop":
            keep, qualities = _complete(qualities, ~apart)
            columns = similarity, apart, mated, people_a, people_b
            similarity, apart, mated, people_a, people_b = (x[keep] for x in columns)
            if options.image_a is not None:
                images = {side: np.asarray(getattr(options, side))[keep] for side in ("image_a", "image_b")}
                options = replace(options, **images)
        if apart.any():
            similarity = np.ma.array(similarity, mask=apart)
        pairs = {name: checked_pairs(similarity, mated, *both, options) for name, both in qualities.items()}
        curves = {name: curve_of(one, options) for name, one in pairs.items()}
        threshold = next(iter(curves.values())).threshold
        warn_if_few(threshold, stacklevel=stacklevel)
        methods = [SortedPairs(one, options.population) for one in pairs.values()]
        first = next(iter(pairs.values()))
        image_people = None
        if first.image_a is not None:
            image_people = np.empty(len(first.image_quality), np.int64)
            image_people[first.image_a], image_people[first.image_b] = people_a, people_b
        labels = options.strata
        if labels is None:
            groups = [np.arange(len(names))]
        else:
            if isinstance(labels, str):
                labels = error_strata(np.ma.filled(similarity, -np.inf), mated, np.asarray(names)[people_a], threshold)
            of_people, _ = pd.factorize(np.array([str(labels.get(name)) for name in names]), sort=True)
            groups = [np.flatnonzero(of_people == group) for group in range(of_people.max() + 1)]
        people = len(names)
        return cls(mated, people_a, people_b, people, methods, curves, threshold, image_people, groups, options)

    def draws(self):
        """How often each person counts, for one draw after the other."""
        rng = np.random.default_rng(self.options.random_state)
        for _ in range(int(self.options.n_draws)):
            times = np.zeros(self.people, np.int64)
            for group in self.groups:
                times[group] = np.bincount(rng.integers(len(group), size=len(group)), minlength=len(group))
            yield times


def _weighted_areas(method, threshold, weights, limits, options):
    points = method.curve(threshold, options.refit_fmr, *weights)
    curve = StepCurve(points.discard, points.error)
    best = StepCurve(np.zeros(1), np.full(1, np.nan))
    if options.kind == "oracle":
        units = weights[0][method.unit_rows].sum()
        best = oracle_curve(points.failing, int(points.mated_left[0]), int(units))
    return [rescaled_area(curve.area(x), x, points.error[0], options.kind, best.area(x)) for x in limits]


def _numbered_people(identity_a, identity_b, mated):
    """Identities as numbers, given by their sorted names, so that draws do not depend on the order of the rows.

    Returns the numbers of both sides, and the names.
    """
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
    return a, b, list(names)


def _complete(qualities, compared):
    """Which of the pairs that were compared have a quality in every method, and the qualities of those."""
    n = len(compared)
    both_sides = {name: [checked_quality(x, n, f"quality of {name}") for x in both] for name, both in qualities.items()}
    keep = compared & ~np.any([missing for both in both_sides.values() for _, missing in both], axis=0)
    return keep, {name: tuple(values[keep] for values, _ in both) for name, both in both_sides.items()}
