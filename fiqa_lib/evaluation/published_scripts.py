"""The curves of two published scripts, reproduced: CR-FIQA's and MagFace's. See `published_curve`."""

from __future__ import annotations

import math

import numpy as np

from ..errors import DataError
from .curve import EDC, oracle_curve
from .verification import Threshold, allowed_false_matches, as_rate, just_above


def crfiqa_threshold(genuine, impostor, fmr):
    """The decision of CR-FIQA's `ERC/erc.py` and `ERC/roc.py`: the similarity that a mated pair must exceed.

    Candidates are the distinct similarities of both classes; the FMR of a candidate counts impostors at or above it.
    Of those whose FMR lies nearest to the target - above or below it - the lowest is taken. Yet a pair is then
    accepted only if it lies strictly above, so the threshold's own pair counts as an error. The script works on
    angles, arccos(s) / pi; the order is the same.
    """
    candidate = np.unique(np.concatenate([genuine, impostor]))
    matches = len(impostor) - np.searchsorted(np.sort(impostor), candidate)
    return candidate[np.argmin(np.abs(matches / len(impostor) - fmr))]


def magface_threshold(genuine, impostor, fmr):
    """The decision of MagFace's `eval_quality.py`: the similarity that a mated pair must exceed, or None.

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


SCRIPTS = {"crfiqa": crfiqa_threshold, "magface": magface_threshold}
"""The values of `compat`, with the decision rule of each."""


def published_curve(pairs, options):
    """The curve of a published script.

    Both sort all pairs by the lower of the two qualities and, at each rate of arange(0, 0.98, 0.05), drop the first
    int(rate * P) - through ties - and decide anew on the rest. Their sort leaves the order of ties open; here it is
    that of the rows. CR-FIQA's area joins the 20 points by straight lines; MagFace publishes none, and gets the same.

    `pairs` are checked (`edc.Pairs`); of the options (`edc.EdcOptions`) only `fmr` and `compat` may be set.
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
        limit = SCRIPTS[compat](genuine, impostor, fmr)
        if limit is None:
            break
        points.append((rate, np.count_nonzero(genuine <= limit) / len(genuine), limit, len(genuine), len(impostor)))
    impostor = similarity[~mated]
    if not points:
        raise DataError(f"the {compat} script has no threshold for FMR {fmr:g} with {len(impostor)} impostor pairs")
    discard, error, limits, mated_left, impostor_left = map(np.array, zip(*points, strict=True))
    start = just_above(limits[0])
    realised = float(np.count_nonzero(impostor >= start) / len(impostor))
    zero = bool(allowed_false_matches(fmr, len(impostor)) == 0)
    failing = int(np.count_nonzero(similarity[mated] < start))
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
        n_not_enrolled=pairs.n_not_enrolled,
        fmr=fmr,
        convention="refit",
        population="all",
        pair_quality="min",
        compat=compat,
        threshold_at=just_above(limits),
        mated_left=mated_left,
        impostor_left=impostor_left,
        _oracle=oracle_curve(failing, int(mated_left[0]), len(order)),
    )
