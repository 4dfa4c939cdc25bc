"""The error-versus-discard curve as an object: its areas, its random and oracle companions, its tables and caption."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import DataError
from .verification import as_rate

LIMITS = (0.05, 0.2, 0.3, 0.95)
"""The discard shares up to which areas are reported."""

KINDS = ("raw", "minus_best", "normalised", "oracle")
"""What `EDC.pauc` can report; see there."""

UNITS = {"mated": "mated pairs", "all": "all pairs", "images": "whole images"}
"""What the discarded share can count (the `population` of `edc`), in words."""


def checked_choice(value, allowed, name):
    """`value` if it is among `allowed`, else DataError."""
    if value not in allowed:
        raise DataError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


@dataclass(frozen=True, eq=False)
class StepCurve:
    """A curve over the discarded share, right-continuous: `error[i]` holds from `discard[i]` up to `discard[i + 1]`.

    Attributes
    ----------
    discard : array (K,)
        Rising, from 0.
    error : array (K,)
        The error at each discarded share.
    linear : bool, default=False
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
        return float(np.sum(self.error * np.maximum(ends - self.discard, 0)))  # np.dot sums in the order of the BLAS


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
    n_not_enrolled : int
        Pairs with a face that has no embedding, counted in the same way: a mated one fails, an impostor does not match.
    fmr : float
        The target; NaN where the threshold was given.
    convention, population, pair_quality, compat : str
        As passed to `edc`, `compat` possibly None.
    threshold_at : array (K,)
        The threshold at each point: all the same unless re-fitted.
    mated_left, impostor_left : int array (K,) or None
        Pairs that remain at each point. `impostor_left` is known for re-fitted curves only.
    impostor : StepCurve or None
        With `impostor_side=True`, the FMR of what remains, over the share discarded.
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
    impostor: StepCurve | None = field(default=None, repr=False)
    n_not_enrolled: int = 0
    _oracle: StepCurve = field(repr=False)

    def pauc(self, limit, kind="raw"):
        """Partial area under the curve up to the discard share `limit`; lower is better.

        Parameters
        ----------
        limit : float in [0, 1]
            Where the area ends.
        kind : {"raw", "minus_best", "normalised", "oracle"}, default="raw"
            - `"raw"`: the exact area under the step curve, in [0, limit].
            - `"minus_best"`: less the area under the theoretical best line max(0, e0 - x), which is e0^2 / 2, less
              (e0 - limit)^2 / 2 while limit < e0 (Olsen et al. 2016). e0 is the starting error.
            - `"normalised"`: raw / (limit * e0). Chance is 1, whatever the data.
            - `"oracle"`: (raw - oracle) / (limit * e0 - oracle), with the area of `oracle()`: 0 is the best possible
              order, 1 is chance, more is worse than chance.

        Returns
        -------
        float
            NaN for the last two where nothing can be gained: no error at the start, or none that can be avoided.
        """
        best = self.oracle().area(limit) if kind == "oracle" else math.nan
        return rescaled_area(
            self.area(limit), float(limit), self.starting_error, checked_choice(kind, KINDS, "kind"), best
        )

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
        if self.linear:
            return StepCurve(self.discard, self._oracle.at(self.discard), linear=True)
        return self._oracle

    def to_frame(self, **columns):
        """The points as a tidy table: `discard`, `error`, `threshold`, `mated_left`, and `impostor_left` where known.

        Keyword arguments become constant columns in front: `curve.to_frame(method="sharpness")`. `files.write_csv`
        writes it.
        """
        points = {
            "discard": self.discard,
            "error": self.error,
            "threshold": self.threshold_at,
            "mated_left": self.mated_left,
            "impostor_left": self.impostor_left,
        }
        table = pd.DataFrame({name: values for name, values in points.items() if values is not None})
        for place, (name, value) in enumerate(columns.items()):
            table.insert(place, name, value)
        return table

    def summary(self, limits=LIMITS, **columns):
        """One row for each of `limits`: four areas, and what must be known beside them. `columns`: see `to_frame`."""
        known = {"starting_error": self.starting_error, "threshold": float(self.threshold), "target_fmr": self.fmr}
        counts = ("realised_fmr", "n_mated", "n_impostor", "n_missing")
        rules = ("convention", "population", "pair_quality", "compat")
        known |= {name: getattr(self, name) for name in counts + rules}
        if self.n_not_enrolled:
            known["n_not_enrolled"] = self.n_not_enrolled
        rows = [{**columns, "limit": x, **{kind: self.pauc(x, kind) for kind in KINDS}, **known} for x in limits]
        return pd.DataFrame(rows)

    def caption(self):
        """What every figure of this curve must say: error, threshold convention, starting error and number of pairs."""
        rule = f"FNMR at FMR {self.fmr:g} (realised {self.realised_fmr:.3g})"
        if math.isnan(self.fmr):
            rule = "given threshold"
        zero = ", zero-FMR" if getattr(self.threshold, "zero_fmr", False) else ""
        how = f"{self.compat} script" if self.compat else f"{self.convention} threshold"
        missing = f"; {self.n_missing:,} pairs with an unassessed face" if self.n_missing else ""
        if self.n_not_enrolled:
            missing += f"; {self.n_not_enrolled:,} pairs with a face that was not enrolled"
        return (
            f"{rule}{zero}, {how} {float(self.threshold):.4g}; starting error {self.starting_error:.4g}; "
            f"{self.n_mated:,} mated and {self.n_impostor:,} impostor pairs{missing}; discarding "
            f"{UNITS[self.population]}"
        )


def theoretical_best_area(starting_error, limit):
    """Area under max(0, e0 - x) up to `limit`, where e0 is `starting_error` (Olsen et al. 2016).

    It is e0^2 / 2, less (e0 - limit)^2 / 2 if limit < e0.
    """
    return starting_error**2 / 2 - max(starting_error - limit, 0.0) ** 2 / 2


def rescaled_area(raw, limit, starting_error, kind, oracle):
    """The area `raw` in one of the `KINDS`, given the oracle's area; see `EDC.pauc`."""
    chance = limit * starting_error
    if kind == "raw":
        return raw
    if kind == "minus_best":
        return raw - theoretical_best_area(starting_error, limit)
    if kind == "normalised":
        return raw / chance if chance > 0 else math.nan
    return (raw - oracle) / (chance - oracle) if chance - oracle > 1e-12 * chance else math.nan


def oracle_curve(failing, mated, units, image_failures=None):
    """The oracle's curve for `failing` of `mated` pairs; the discarded share counts `units`.

    For whole images, `image_failures` says in how many failing pairs each image is: those in most of them go first.
    """
    gone = np.arange(failing + 1)
    if image_failures is not None:
        gone = np.concatenate([[0], np.cumsum(np.sort(image_failures)[::-1])])
        gone = np.minimum(gone[: np.searchsorted(gone, failing) + 1], failing)
    left = mated - gone
    error = np.divide(failing - gone, left, out=np.zeros(len(gone)), where=left > 0)
    discard = np.arange(len(gone)) / units
    if discard[-1] < 1:
        discard, error = np.append(discard, 1.0), np.append(error, 0.0)
    return StepCurve(discard, error)
