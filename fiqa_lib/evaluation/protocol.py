"""THE protocol: on whom, how far and against what every quality score of this course is judged.

One name shall have one number. Who learns, is chosen on and is reported on; how severe the damage is; where areas end;
which of them is the headline: all of it stands here, and each lesson prints `describe()`.

- Decision threshold: fixed at zero discard, FMR 1e-3. Error: FNMR of the mated pairs that remain.
- Headline: the area up to 20% discard, oracle-scaled (0 the oracle, 1 chance); 5% and 30% beside it, and the
  normalised area and the starting error beside that.
- Verified by at least two networks. A score made of a network that verifies too knows its weaknesses: *same model* and
  *cross model* stand apart, and "it flatters itself" needs the interval of the interaction (`Judgement.flattery`).
- Intervals over people; paired differences against a reference that is fixed beforehand, Holm-corrected. "better" only
  where the corrected interval says so. The best of many is judged on people whom its choice has not seen
  (`out_of_bag_winner`).
- Failure to enrol counts: a face without an embedding fails in mated pairs and matches no impostor (`similarities`).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..data.lfw import SHARES
from ..errors import DataError
from .bootstrap import BootstrapOptions, error_strata, out_of_bag_areas, percentile_interval, resample, two_sided_p
from .curve import rescaled_area
from .roles import FAMILIES, FAMILY_OF, ROLES, SEVERITIES, leave_family_out, orl_d_of, orl_roles
from .verification import FEW, FewImpostorsWarning, fit_threshold, warn_if_few

__all__ = [
    "CROSS",
    "DRAWS",
    "FAMILIES",
    "FAMILY_OF",
    "FMR",
    "HEADLINE",
    "LIMITS",
    "ROLES",
    "SAME",
    "SEVERITIES",
    "FewDrawsWarning",
    "FewPeopleWarning",
    "Judgement",
    "Support",
    "describe",
    "holm",
    "judge",
    "leave_family_out",
    "orl_d_of",
    "orl_roles",
    "out_of_bag_winner",
    "similarities",
    "support",
]

FMR = 1e-3
"""The false match rate at which the threshold is fixed."""
LIMITS = (0.05, 0.2, 0.3)
"""The discard shares up to which areas are reported."""
HEADLINE = 0.2
"""The one that is the headline."""
DRAWS = 2000
"""Draws of people for an interval."""
SAME, CROSS = "same model", "cross model"
"""The columns of a network that a method is made of, and of the others."""
PAIRS_AT_ONCE = 20_000
"""Pairs whose embeddings are compared at once: 31 MB for a network of 192 numbers."""


class FewPeopleWarning(UserWarning):
    """Fewer than 30 people stand behind an error rate (the rule of 30, counted in people)."""


class FewDrawsWarning(UserWarning):
    """With so few draws no corrected p-value can fall below the level, however clear the difference."""


def describe(which="orl-d", role="report"):
    """The protocol in one line, as each lesson prints it.

    Parameters
    ----------
    which : {"orl-d", "lfw"}, default="orl-d"
        The benchmark.
    role : {"learn", "choose", "report"}, default="report"
        Whose numbers are shown.

    Returns
    -------
    str
    """
    if which not in ("orl-d", "lfw") or role not in ROLES:
        raise DataError(f'describe takes "orl-d" or "lfw" and one of {", ".join(ROLES)}, not {which!r} and {role!r}')
    if which == "orl-d":
        data = f"ORL-D (severities {', '.join(map(str, SEVERITIES))}; 12 people learn, 8 choose, 20 report)"
    else:
        shares = ", ".join(f"{share:.0%} {name}" for share, name in zip(SHARES, ROLES, strict=True))
        data = f"LFW ({shares}, by a hash of the name)"
    beside = " and ".join(f"{limit:.0%}" for limit in LIMITS if limit != HEADLINE)
    return (
        f"{data}, {role} people: FNMR at FMR {FMR:g}, threshold fixed at zero discard; area up to {HEADLINE:.0%} "
        f"discard ({beside} beside it), oracle-scaled: 0 the oracle, 1 chance; intervals over people"
    )


# ------------------------------------------------------------------------------------------------------- similarities


def similarities(embeddings, pairs, similarity_of=None):
    """Similarity of each pair, with failure to enrol: a row of NaN fails when mated and matches no impostor.

    Parameters
    ----------
    embeddings : array (N, D)
        One for each face; NaN where none could be made.
    pairs : PairIndices
        Positions in `embeddings`.
    similarity_of : callable, default=None
        Two arrays (P, D) -> array (P,): `recogniser.similarity_of` compares as the recogniser is meant to be. None: the
        cosine.

    Returns
    -------
    array (P,) float64
        -inf for pairs with a face that was not enrolled.
    """
    if similarity_of is None:
        from ..recognition.similarity import cosine as similarity_of  # here: a table of scores needs no torch

    embeddings = np.asarray(embeddings)
    a, b = np.asarray(pairs.index_a), np.asarray(pairs.index_b)
    enrolled = ~np.isnan(embeddings).any(axis=1)
    rows = np.flatnonzero(enrolled[a] & enrolled[b])
    out = np.full(len(a), -np.inf)
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        part = rows[start : start + PAIRS_AT_ONCE]
        out[part] = similarity_of(embeddings[a[part]], embeddings[b[part]])
    return out


class Support(NamedTuple):
    """How many people stand behind an error rate.

    Attributes
    ----------
    people : int
        People with mated pairs.
    effective : float
        (sum of n)^2 / sum of n^2 over their numbers n of mated pairs: as many people with equally many pairs would say
        as much. 1.7 of 301 where one person has three quarters of the pairs.
    failing : int
        People with a mated pair that fails.
    false_matching : int
        People in an impostor pair that is accepted.
    """

    people: int
    effective: float
    failing: int
    false_matching: int


def support(similarity, mated, identity_a, identity_b, threshold):
    """The `Support` of an error rate.

    Parameters
    ----------
    similarity, mated, identity_a, identity_b : array (P,)
        As for `bootstrap_pauc`.
    threshold : float
        Accept `similarity >= threshold`.

    Returns
    -------
    Support
    """
    identity_a, identity_b = np.asarray(identity_a), np.asarray(identity_b)
    accepted = np.asarray(similarity) >= float(threshold)
    _, counts = np.unique(identity_a[mated], return_counts=True)
    false = ~mated & accepted
    both = np.concatenate([identity_a[false], identity_b[false]])
    failing = np.unique(identity_a[mated & ~accepted])
    effective = float(counts.sum() ** 2 / np.sum(counts.astype(float) ** 2)) if len(counts) else 0.0
    return Support(len(counts), effective, len(failing), len(np.unique(both)))


# ------------------------------------------------------------------------------------------------------------- judging


class Judgement(NamedTuple):
    """What `judge` returns.

    Attributes
    ----------
    table : DataFrame
        A row for each method, column ("same model", "cross model" or a network) and limit; see `judge`.
    flattery : DataFrame
        A row for each method that is made of a verifying network, and limit: `interaction`, (method - reference) on
        its own network less (method - reference) on the others, `low`, `high` (corrected as the p-value), `p_value`,
        `p_holm` and `verdict`: "flattered" where it surely looks better on its own network, "cannot tell" else (or
        "the contrary").
    support : DataFrame
        For each network, the `Support` and `threshold`, `realised_fmr`, `n_mated`, `n_impostor`, `not_enrolled` (mated
        pairs with a face that was not enrolled).
    """

    table: pd.DataFrame
    flattery: pd.DataFrame
    support: pd.DataFrame

    def side_by_side(self, limit=HEADLINE):
        """Same-model and cross-model numbers beside each other: one row for each method, the best cross-model first."""
        part = self.table[self.table["limit"] == limit]
        if not len(part):
            raise DataError(f"there is no limit {limit}; there are {sorted(set(self.table['limit']))}")
        shown = ("oracle_scaled", "low", "high", "normalised", "starting_error", "difference", "p_holm", "verdict")
        out = []
        for column in (SAME, CROSS):
            of_column = part[part["column"] == column].set_index("method")[list(shown)]
            out.append(of_column.add_prefix(column.split()[0] + "_"))
        wide = pd.concat(out, axis=1).reindex(pd.unique(part["method"]))
        return wide.sort_values("cross_oracle_scaled", kind="stable").rename_axis("method").reset_index()


def judge(
    scores,
    pairs,
    similarities,
    people,
    *,
    reference,
    own=None,
    limits=LIMITS,
    fmr=FMR,
    draws=DRAWS,
    confidence=0.95,
    stratified=False,
    random_state=0,
):
    """Judge quality scores by the protocol.

    Parameters
    ----------
    scores : mapping of name to array (N,)
        Scores of N faces; higher is better. -inf: could not be assessed, discarded first. NaN is refused.
    pairs : PairIndices
        Positions of the faces, and whether they are mated.
    similarities : mapping of network to array (P,)
        As the function `similarities` makes them.
    people : array (N,)
        Who each face shows.
    reference : str
        The method that all others are compared with, fixed before any number is seen.
    own : mapping of method to network or sequence of networks, default=None
        Of which verifying networks a method is made. A method that is not named is made of none.
    limits : sequence of float, default=(0.05, 0.2, 0.3)
        Where areas end.
    fmr : float, default=1e-3
        Where the threshold is fixed.
    draws : int, default=2000
        Draws of people. With m methods beside the reference at least 2 m / (1 - confidence) are needed.
    confidence : float, default=0.95
        Of the intervals, and one minus the level of the tests.
    stratified : bool, default=False
        Draw people in groups by how many of their mated pairs fail (`error_strata`, over all networks), so that the
        starting error is hardly redrawn. The numbers are oracle-scaled in any case.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    Judgement
        `table`: `method`, `column`, `networks` that verify there ("+" between them; their numbers are averaged),
        `limit`, `oracle_scaled` (lower is better) with `low` and `high`, not corrected; `normalised`,
        `oracle_normalised` (the oracle's own), `starting_error`; `difference` to the reference on the same networks
        and draws (negative is better), `p_value`, `p_holm` (over all methods of that column and limit),
        `difference_low` and `difference_high`, at the confidence that Holm's step asks of this method, and `verdict`:
        "better", "worse" or "cannot tell", "reference". `n_invalid` draws had no number.

    Raises
    ------
    DataError
        Unknown names, wrong lengths, NaN, identities that contradict the flags.

    Warns
    -----
    FewPeopleWarning, FewDrawsWarning, verification.FewImpostorsWarning
        What rests on too little. The tables are made in any case.
    """
    own = _own_networks(scores, similarities, own, reference)
    qualities, who, mated = _sides(scores, pairs, people)
    thresholds = {net: fit_threshold(np.asarray(s)[~mated], fmr, warn=False) for net, s in similarities.items()}
    backing = _support_table(similarities, mated, who, thresholds)
    others = len(scores) - 1
    if 2 * others / (int(draws) + 1) > 1 - confidence:
        needed = math.ceil(2 * others / (1 - confidence))
        warnings.warn(
            f"{draws} draws are too few for {others} comparisons: no corrected p-value can reach "
            f"{1 - confidence:.3g}; take at least {needed}",
            FewDrawsWarning,
            stacklevel=2,
        )
    strata = _common_strata(similarities, mated, who, thresholds) if stratified else None
    options = BootstrapOptions(
        kind="oracle", fmr=fmr, n_draws=draws, confidence=confidence, random_state=random_state, strata=strata
    )
    made = {}
    for net, values in similarities.items():
        made[net] = resample(values, mated, qualities, *who, limits, options)
    rows, flattery = [], []
    for place, limit in enumerate(limits):
        numbers = _Numbers(made, place, limit, confidence)
        for column in (SAME, CROSS, *similarities):
            networks = {name: _networks(column, own[name], similarities) for name in scores}
            rows += _column(numbers, column, {n: nets for n, nets in networks.items() if nets}, reference)
        flattery += _flattery(numbers, own, list(similarities), reference)
    return Judgement(pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(flattery, columns=FLATTERY), backing)


COLUMNS = (
    "method column networks limit oracle_scaled low high normalised oracle_normalised starting_error difference "
    "difference_low difference_high p_value p_holm verdict n_invalid"
).split()
FLATTERY = "method own limit interaction low high p_value p_holm verdict".split()


def _own_networks(scores, networks, own, reference):
    """Method -> tuple of the verifying networks that it is made of, checked."""
    if reference not in scores:
        raise DataError(f"the reference {reference!r} is not among the methods {', '.join(scores)}")
    if clash := {SAME, CROSS} & set(networks):
        raise DataError(f"a network can't be called {clash.pop()!r}")
    own = {name: (nets,) if isinstance(nets, str) else tuple(nets) for name, nets in (own or {}).items()}
    if strange := sorted(set(own) - set(scores)):
        raise DataError(f"own names {', '.join(strange)}, which are no methods; there are {', '.join(scores)}")
    if strange := sorted({net for nets in own.values() for net in nets} - set(networks)):
        raise DataError(f"own names {', '.join(strange)}, which do not verify; there are {', '.join(networks)}")
    return {name: own.get(name, ()) for name in scores}


def _sides(scores, pairs, people):
    """Qualities of both sides for each method, people of both sides, mated flags."""
    people = np.asarray(people)
    a, b, mated = (np.asarray(column) for column in pairs)
    for name, values in scores.items():
        if np.shape(values) != people.shape:
            raise DataError(f"{name}: {np.shape(values)} scores for {len(people)} faces; one for each is needed")
    qualities = {name: (np.asarray(values)[a], np.asarray(values)[b]) for name, values in scores.items()}
    return qualities, (people[a], people[b]), mated.astype(bool)


def _support_table(similarities, mated, who, thresholds):
    rows, too_few = [], []
    for net, values in similarities.items():
        threshold, values = thresholds[net], np.asarray(values)
        found = support(values, mated, *who, threshold)
        rest = {"threshold": float(threshold), "realised_fmr": threshold.realised_fmr, "n_mated": int(mated.sum())}
        rest |= {"n_impostor": threshold.n_impostor, "not_enrolled": int(np.isneginf(values[mated]).sum())}
        rows.append({"network": net, **found._asdict(), **rest})
        too_few += [f"{count:.3g} {what} ({net})" for what, count in _people_counts(found).items() if count < FEW]
    if too_few:
        warnings.warn(
            f"fewer than {FEW} people behind the errors: {'; '.join(too_few)}. Other people may give other numbers.",
            FewPeopleWarning,
            stacklevel=3,
        )
    return pd.DataFrame(rows)


def _people_counts(found):
    return {
        "effective people in mated pairs": found.effective,
        "people with a failing mated pair": found.failing,
        "people in a false match": found.false_matching,
    }


def _common_strata(similarities, mated, who, thresholds):
    """Person -> label, from the groups of every network together."""
    parts = [error_strata(s, mated, who[0], thresholds[net]) for net, s in similarities.items()]
    return {person: max(part[person] for part in parts) for person in parts[0]}


def _networks(column, own, networks):
    """The networks whose numbers stand in a column for a method made of `own`."""
    if column == SAME:
        return tuple(net for net in networks if net in own)
    if column == CROSS:
        return tuple(net for net in networks if net not in own)
    return (column,)


class _Numbers(NamedTuple):
    """Estimates and draws at one limit, averaged over networks."""

    made: dict  # network -> Resampled
    place: int
    limit: float
    confidence: float

    def of(self, method, networks):
        """(estimate, draws) of the oracle-scaled area."""
        estimate = np.mean([self.made[net].area(method, self.limit) for net in networks])
        return float(estimate), np.mean([self.made[net].draws[method][:, self.place] for net in networks], axis=0)

    def interval(self, estimate, draws, confidence=None):
        people = next(iter(self.made.values())).n_identities
        return percentile_interval(estimate, draws, confidence or self.confidence, people)

    def plain(self, method, networks):
        """Normalised area, that of the oracle, and starting error."""
        curves = [self.made[net].curves[method] for net in networks]
        best = [_normalised(c, c.oracle().area(self.limit), self.limit) for c in curves]
        return {
            "normalised": float(np.mean([c.pauc(self.limit, "normalised") for c in curves])),
            "oracle_normalised": float(np.mean(best)),
            "starting_error": float(np.mean([c.starting_error for c in curves])),
        }


def _normalised(curve, area, limit):
    return rescaled_area(area, limit, curve.starting_error, "normalised", math.nan)


def _column(numbers, column, networks, reference):
    """Rows of one column at one limit. `networks`: method -> those that verify it there."""
    rows, differences = [], {}
    for name, nets in networks.items():
        estimate, draws = numbers.of(name, nets)
        interval = numbers.interval(estimate, draws)
        row = {"method": name, "column": column, "networks": "+".join(nets), "limit": numbers.limit}
        row |= {"oracle_scaled": estimate, "low": interval.low, "high": interval.high, **numbers.plain(name, nets)}
        rows.append(row | {"n_invalid": interval.n_invalid})
        if name != reference:
            base, base_draws = numbers.of(reference, nets)
            differences[name] = estimate - base, draws - base_draws
    compared = _corrected(numbers, differences)
    for row in rows:
        if row["method"] == reference:
            row["verdict"] = "reference"
            continue
        difference, low, high, p, p_holm, sign = compared[row["method"]]
        row |= {"difference": difference, "difference_low": low, "difference_high": high}
        row |= {"p_value": p, "p_holm": p_holm, "verdict": {-1: "better", 0: "cannot tell", 1: "worse"}[sign]}
    return rows


def _flattery(numbers, own, networks, reference):
    interactions = {}
    for name, nets in own.items():
        others = _networks(CROSS, nets, networks)
        if name == reference or not nets or not others:
            continue
        sides = [(numbers.of(name, part), numbers.of(reference, part)) for part in (nets, others)]
        (on_own, own_draws), (on_others, other_draws) = [(m[0] - r[0], m[1] - r[1]) for m, r in sides]
        interactions[name] = on_own - on_others, own_draws - other_draws
    rows = []
    for name, (value, low, high, p, p_holm, sign) in _corrected(numbers, interactions).items():
        verdict = {-1: "flattered", 0: "cannot tell", 1: "the contrary"}[sign]
        rows.append(
            dict(
                zip(
                    FLATTERY,
                    (name, "+".join(own[name]), numbers.limit, value, low, high, p, p_holm, verdict),
                    strict=True,
                )
            )
        )
    return rows


def _corrected(numbers, differences):
    """Name -> (value, low, high, p, Holm's p, sign): sign is -1 or 1 only where Holm's p and the interval agree."""
    if not differences:
        return {}
    p_values = {name: two_sided_p(draws) for name, (_, draws) in differences.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    level, found = 1 - numbers.confidence, {}
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):
        value, draws = differences[name]
        interval = numbers.interval(value, draws, 1 - level / (len(p_values) - rank))
        sure = adjusted[name] <= level and not interval.low <= 0 <= interval.high
        sign = int(np.sign(interval.low)) if sure else 0
        found[name] = value, interval.low, interval.high, p_values[name], float(adjusted[name]), sign
    return {name: found[name] for name in differences}


def holm(p_values):
    """p-values corrected for their number by Holm's step-down method (1979): valid however the tests depend.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below the one before it, nor rise
    above 1.

    Parameters
    ----------
    p_values : sequence of m float
        NaN is no test: it stays NaN and is not counted.

    Returns
    -------
    array (m,)
        In the order given.
    """
    p_values = np.asarray(p_values, float)
    if p_values.ndim != 1 or np.any((p_values < 0) | (p_values > 1)):
        raise DataError("p-values are a list of numbers between 0 and 1")
    out = np.full(len(p_values), np.nan)
    order = np.argsort(p_values, kind="stable")
    order = order[~np.isnan(p_values[order])]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return out


WINNER = "(the winner)"


def out_of_bag_winner(scores, pairs, similarities, people, *, limit=HEADLINE, fmr=FMR, draws=500, random_state=0):
    """What the best of many methods is worth on people whom the choice has not seen (the winner's curse).

    In each draw of people the method with the lowest oracle-scaled area, averaged over the networks, wins; its area is
    then taken on the people who were not drawn.

    Parameters
    ----------
    scores, pairs, similarities, people, fmr, random_state
        As for `judge`. The threshold stays that of all people.
    limit : float, default=0.2
        Where the area ends.
    draws : int, default=500
        Draws of people.

    Returns
    -------
    DataFrame
        A row for each method, the best first: `method`, `chosen` (share of draws that it wins), `all_people` (its
        number on everyone), `in_bag` and `out_of_bag` (means over the draws). The last row, "(the winner)": of whoever
        wins each draw; `optimism` is what its promise fell short by (out_of_bag - in_bag), `low` and `high` hold the
        middle 95% of its out-of-bag numbers.
    """
    qualities, who, mated = _sides(scores, pairs, people)
    options = {"kind": "oracle", "fmr": fmr, "n_draws": draws, "random_state": random_state}
    sides, whole = [], []
    for values in similarities.values():
        warn_if_few(fit_threshold(np.asarray(values)[~mated], fmr, warn=False), stacklevel=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewImpostorsWarning)  # said in the line before
            sides.append(out_of_bag_areas(values, mated, qualities, *who, limit=limit, **options))
            once = BootstrapOptions(kind="oracle", fmr=fmr, n_draws=2, refit_threshold=False)
            whole.append(resample(values, mated, qualities, *who, [limit], once))
    inside, outside = (np.mean([[side[k][n] for n in scores] for side in sides], axis=0) for k in (0, 1))
    valid = ~np.isnan(inside).any(0) & ~np.isnan(outside).any(0)
    if valid.sum() < 2:
        raise DataError("no draw has errors both among the drawn and among those left out: too few people")
    inside, outside = inside[:, valid], outside[:, valid]
    first = inside.argmin(0)
    best = inside.min(0), outside[first, np.arange(len(first))]
    rows = []
    for place, name in enumerate(scores):
        everyone = float(np.mean([one.area(name, limit) for one in whole]))
        rows.append((name, float(np.mean(first == place)), everyone, inside[place].mean(), outside[place].mean()))
    table = pd.DataFrame(rows, columns=["method", "chosen", "all_people", "in_bag", "out_of_bag"])
    table = table.sort_values("all_people", kind="stable", ignore_index=True)
    promised, kept = (float(side.mean()) for side in best)
    low, high = np.quantile(best[1], [0.025, 0.975])
    last = {"method": WINNER, "chosen": 1.0, "all_people": table["all_people"].min(), "in_bag": promised}
    last |= {"out_of_bag": kept, "optimism": kept - promised, "low": float(low), "high": float(high)}
    return pd.concat([table, pd.DataFrame([last])], ignore_index=True)
