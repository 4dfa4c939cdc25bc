"""Leave-family-out: what learners know of a family of damage that they have not learned from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..data.pairs import PairIndices
from ..evaluation import protocol
from ..evaluation.bootstrap import BootstrapOptions, percentile_interval, resample, two_sided_p
from ..faces import Faces
from ..scorers import SCORERS
from ..transforms.degradations import CLEAN, random_degradations
from . import benchmark
from .protocol_tables import (
    REFERENCE,
    entries,
    facts_of,
    in_words,
    make,
    networks,
    one_thread,
    orl_material,
    run,
    similarities,
    tables,
    write,
)

SLOW = {"cafi", "dbcnn", "faceqgen"}
"""Methods, or families of methods, of which six fits would take most of an hour; they are rows with that reason."""


def families(material, groups, similarity, reference_scores, *, draws=1000, jobs=1, say=None):
    """What learners know of a family of damage that they have not learned from, on ORL-D.

    For each family a learner is fitted on the training people and copies of them with all other kinds of damage, and
    judged on the mated pairs whose probe is clean or of this family. Beside it: the same learner, fitted in the same
    way on copies of all kinds. Numbers are means over the families.

    Parameters
    ----------
    material : Material
        ORL-D, as of `orl_material`.
    groups : list of list of Entry
        As of `entries`; those that do not learn are left out.
    similarity : dict of str -> array (P,)
        As of `similarities`.
    reference_scores : array (N,)
        Of `REFERENCE`.
    draws : int, default=1000
        Draws of people.
    jobs : int, default=1
        Processes, each with one thread.
    say : callable, default=None
        Called with a line after each fit.

    Returns
    -------
    DataFrame
        `method`, `network`, `verifier`, `limit`, `known` and `left_out` (oracle-scaled, lower is better), `loss`
        (left_out - known) with `loss_low` and `loss_high`; `reference`, and `difference` of left_out to it with
        `difference_low`, `difference_high`, `p_holm` and `verdict`; one column for each family (left out); `reason`
        where the learner could not be fitted.
    """
    from joblib import Parallel, delayed

    learners = [[entry for entry in group if SCORERS[entry.method].learns] for group in groups]
    slow = [e for group in learners for e in group if {e.method, SCORERS[e.method].family} & SLOW]
    learners = [[entry for entry in group if entry not in slow] for group in learners]
    tasks = [(group, family) for group in learners if group for family in (None, *protocol.FAMILIES)]
    small = material._replace(everyone=None)
    scores, reasons = {}, dict.fromkeys(slow, "not run: six fits take too long")
    parallel = Parallel(n_jobs=jobs, return_as="generator")
    for place, made in enumerate(parallel(delayed(_on_one_thread)(small, *task) for task in tasks), 1):
        family = tasks[place - 1][1]
        for entry, values, reason in made:
            scores[entry, family] = values
            if reason:
                reasons[entry] = reason
            if say:
                say(f"{place} of {len(tasks)}: {entry.label} without {family or 'nothing'}: {reason or 'ok'}")
    good = [entry for group in learners for entry in group if entry not in reasons]
    rows = []
    for verifier, values in similarity.items():
        rows += _family_rows(material, values, verifier, good, scores, reference_scores, draws)
    failed = [{"method": e.method, "network": e.network, "reason": reason} for e, reason in reasons.items()]
    return pd.DataFrame(rows + failed)


def _on_one_thread(material, group, family):
    with one_thread():
        return _score_left_out(material, group, family)


def _score_left_out(material, group, family):
    out = []
    for entry in group:
        try:
            scorer = make(entry)
            copies = scorer.get_params(deep=False).get("n_copies", 3)
            kinds = [kind for kind in protocol.FAMILY_OF if protocol.FAMILY_OF[kind] != family]
            clean = material.train.with_attributes(kind=CLEAN, severity=0.0, source=material.train.names)
            options = {"severities": protocol.SEVERITIES, "random_state": 0}
            train = Faces.concat([clean, random_degradations(material.train, copies, kinds, **options)])
            rows = _probes(material, family)
            row = np.zeros(len(material.test))
            row[rows], _ = benchmark.score(scorer, material._replace(train=train, test=material.test[rows]))
            out.append((entry, row, ""))
        except Exception as error:  # the others go on
            out.append((entry, None, in_words(error)))
    return out


def _probes(material, family):
    """Which faces are clean or of a family; of any with None."""
    of = pd.Series(material.test.attributes["kind"].to_numpy(str)).map(protocol.FAMILY_OF).fillna(CLEAN)
    return np.flatnonzero((of == CLEAN) | (of == family) | (family is None))


def _family_rows(material, similarity, verifier, good, scores, reference, draws):
    """Rows of one verifier: means over families of areas that share their draws of people."""
    sums = {}
    for family in protocol.FAMILIES:
        kept = ~material.pairs.mated | np.isin(material.pairs.index_b, _probes(material, family))
        pairs = PairIndices(*(np.asarray(column)[kept] for column in material.pairs))
        by_name = {("known", e): scores[e, None] for e in good} | {("left_out", e): scores[e, family] for e in good}
        by_name["reference"] = reference
        sides = {name: (v[pairs.index_a], v[pairs.index_b]) for name, v in by_name.items()}
        who = material.people[pairs.index_a], material.people[pairs.index_b]
        options = BootstrapOptions(kind="oracle", fmr=protocol.FMR, n_draws=draws, random_state=0)
        made = resample(similarity[kept], pairs.mated, sides, *who, protocol.LIMITS, options)
        for name in by_name:
            for place, limit in enumerate(protocol.LIMITS):
                sums.setdefault((name, limit), []).append((made.area(name, limit), made.draws[name][:, place]))
    means = {key: tuple(np.mean(column, axis=0) for column in zip(*parts, strict=True)) for key, parts in sums.items()}
    people, rows = len(np.unique(material.people)), []
    for limit in protocol.LIMITS:
        base, p_values = means["reference", limit], []
        for entry in good:
            known, left = means[("known", entry), limit], means[("left_out", entry), limit]
            row = {"method": entry.method, "network": entry.network, "verifier": verifier, "limit": limit}
            row |= {"known": known[0], "left_out": left[0], "loss": left[0] - known[0], "reference": base[0]}
            loss = percentile_interval(row["loss"], left[1] - known[1], 0.95, people)
            row |= {"loss_low": loss.low, "loss_high": loss.high, "difference": left[0] - base[0]}
            p_values.append(two_sided_p(left[1] - base[1]))
            confidence = 1 - 0.05 / len(good)  # Bonferroni's, which is on the safe side of Holm's
            interval = percentile_interval(row["difference"], left[1] - base[1], confidence, people)
            row |= {"difference_low": interval.low, "difference_high": interval.high}
            each = {
                family: part[0]
                for family, part in zip(protocol.FAMILIES, sums[("left_out", entry), limit], strict=True)
            }
            rows.append(row | each | {"reason": ""})
        for row, p in zip(rows[len(rows) - len(good) :], protocol.holm(p_values), strict=True):
            sure = p <= 0.05 and not row["difference_low"] <= 0 <= row["difference_high"]
            row |= {"p_holm": p, "verdict": ("better" if row["difference"] < 0 else "worse") if sure else "cannot tell"}
    return rows


def make_orl(out, *, methods=None, draws=protocol.DRAWS, jobs=1, left_out=True, say=None):
    """The tables of ORL-D into a folder: `table`, `flattery`, `winner`, `differences`, `families`.

    Parameters
    ----------
    out : Path
        The folder.
    methods : sequence of str, default=None
        As of `entries`.
    draws : int, default=2000
        Draws of people.
    jobs : int, default=1
        Processes.
    left_out : bool, default=True
        Whether `families` is made: six fits for each learner.
    say : callable, default=None
        Told how far it is, in lines.

    Returns
    -------
    dict of str -> DataFrame
    """
    material, recognisers = orl_material(), networks(say)
    similarity = similarities(material, recognisers, say)
    scored = run(material, entries(methods, list(recognisers)), jobs=jobs, say=say)
    made = tables(material, scored, similarity, draws=draws, jobs=jobs)
    if left_out and REFERENCE in scored.scores:
        groups = entries(methods, list(recognisers)[:1])
        options = {"draws": min(draws, 1000), "jobs": jobs, "say": say}
        made["families"] = families(material, groups, similarity, scored.scores[REFERENCE], **options)
    write(made, out, f"python -m fiqa_lib benchmark --data orl-d --out {out}", **facts_of(material, recognisers, draws))
    return made
