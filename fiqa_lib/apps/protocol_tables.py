"""The protocol's two benchmarks, ORL-D and LFW, for every method: `fiqa benchmark --data orl-d` and `--data lfw`.

Each method that takes a recogniser is scored with each network, and all are judged on the same pairs, verified by each
network (`evaluation.protocol`). A method that cannot run is a row with its reason. Scores are kept in the cache as they
are made (`benchmark.score`): a run that was killed goes on where it stood.

Only photographs in mated pairs need a score. Scoring runs on one thread in each process, so that the times of methods
can be compared.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import __version__, weights
from ..cache import cache_folder, content_key, sources_of, write_stamp
from ..data.lfw import hash_of, load_lfw_people
from ..data.pairs import PairIndices
from ..errors import DataError, WeightsError
from ..evaluation import protocol
from ..evaluation.calibration import Calibration, expected_calibration_error, non_match_shares
from ..evaluation.verification import fit_threshold
from ..faces import Faces
from ..files import locked, write_csv
from ..recognition import load_recogniser
from ..scorers import SCORERS
from . import benchmark

NETWORKS = ("dlib", "mobilefacenet")
"""Networks that verify, and that methods are made of."""
REFERENCE = "detector-score"
"""The method that all others are compared with, fixed before any number was seen."""
CHANCE = "random"
"""The reference where the one above has no scores."""
LEADER = "distilled"
"""The method that `differences.csv` compares all others with, and that is always calibrated."""
LEARN_FACES = 600
"""The most photographs of LFW's learn people that a method learns from, so that a fit stays short."""
PER_PERSON = 10
"""The most photographs of one person that learning and calibration see: one person of LFW has 530."""
SHARES = (0.05, 0.1, 0.2)
"""Discarded shares that the calibration table asks for."""
N_CALIBRATED = 5
"""How many of the best methods are calibrated, besides the reference and the leader."""
COLUMNS = (
    "method network verifier same_model limit oracle_scaled low high normalised oracle_normalised starting_error "
    "difference difference_low difference_high p_holm verdict n_people n_mated n_impostor not_enrolled n_missing "
    "learns n_learned ms_per_face status reason"
).split()


class Material(NamedTuple):
    """What methods are scored and judged on.

    Attributes
    ----------
    train, test : Faces
        What learners learn from, and the faces that need a score.
    everyone : Faces
        The faces that need an embedding; the rows of `found` are theirs.
    people : array (N,)
        Who each of N photographs shows.
    pairs : PairIndices
        Positions among the N photographs.
    found, scored : array (N,) of int
        Position of each photograph in `everyone` and in `test`; -1 where there is none.
    needed : array (N,) of bool
        Which photographs are in a mated pair.
    """

    train: Faces
    test: Faces
    everyone: Faces
    people: np.ndarray
    pairs: PairIndices
    found: np.ndarray
    scored: np.ndarray
    needed: np.ndarray

    def spread(self, values):
        """Scores of `test` as scores of the photographs: -inf without a face; 0, which nobody reads, if not needed."""
        out = np.where(self.needed, -np.inf, 0.0)
        out[self.scored >= 0] = np.asarray(values)[self.scored[self.scored >= 0]]
        return out


class Entry(NamedTuple):
    """A method, and the network that it is made of ("" without one)."""

    method: str
    network: str

    @property
    def label(self):
        return f"{self.method} ({self.network})" if self.network else self.method


# ------------------------------------------------------------------------------------------------------------ material


def lfw_material(folder=None, role="report", *, learn_faces=LEARN_FACES, train=None, **reading):
    """LFW's people of a role, with faces of its learn people to learn from.

    Parameters
    ----------
    folder : path, default=None
        As for `load_lfw_people`.
    role : {"choose", "report"}, default="report"
        Who is judged.
    learn_faces : int, default=600
        The most faces to learn from.
    train : Faces, default=None
        What an earlier call loaded to learn from; None loads them.
    **reading
        As for `load_lfw_people`: `detector`, `n_jobs`, `progress`, `per_person` and so on.

    Returns
    -------
    Material
    """
    if train is None:
        learned = load_lfw_people(folder, "learn", **reading).faces
        train = learned[_some_faces(learned, learn_faces)]
        del learned
    given = load_lfw_people(folder, role, **reading)
    a, b, mated = given.pairs
    needed = np.isin(np.arange(len(given.names)), np.concatenate([a[mated], b[mated]]))
    tested = needed & (given.found >= 0)
    scored = np.where(tested, np.cumsum(tested) - 1, -1)
    test = given.faces[given.found[tested]]
    return Material(train, test, given.faces, given.people, given.pairs, given.found, scored, needed)


def _some_faces(faces, most):
    """Rows of whole people with two or more photographs, at most `PER_PERSON` of each, in an order fixed by names."""
    rows = []
    for name in sorted(set(faces.identities), key=lambda name: hash_of(f"fiqa_lib, learned from: {name}")):
        own = np.flatnonzero(faces.identities == name)[:PER_PERSON]
        if len(own) > 1 and len(rows) + len(own) <= most:
            rows += own.tolist()
    return np.sort(np.array(rows, int))


def orl_material():
    """ORL-D as `benchmark.protocol` makes it: the pairs of the lesson on the benchmark."""
    given = benchmark.protocol()
    everyone = np.arange(len(given.test))
    needed = np.ones(len(everyone), bool)
    return Material(given.train, given.test, given.test, given.test.identities, given.pairs, everyone, everyone, needed)


def networks(say=None):
    """Name -> recogniser, of those of `NETWORKS` that are here."""
    found = {}
    for name in NETWORKS:
        try:
            found[name] = load_recogniser(name)
        except WeightsError as error:
            if say:
                say(f"without {name}: {error}")
    return found


def similarities(material, recognisers, say=None):
    """Network -> similarity of each pair; embeddings are kept in the cache."""
    found = {}
    for name, recogniser in recognisers.items():
        about = [recogniser.fingerprint(), sources_of(type(recogniser)), material.everyone.images.tobytes()]
        place = cache_folder("embeddings", f"{name}-{content_key(*about)}.npz")
        try:
            made = weights.read_state(place, "embeddings")[0]["embeddings"]
        except WeightsError:
            if say:
                say(f"{len(material.everyone)} embeddings of {name}")
            made = recogniser.embed(material.everyone)
            weights.write_state(place, "embeddings", {"embeddings": made})
        embeddings = np.full((len(material.people), made.shape[1]), np.nan, np.float32)
        embeddings[material.found >= 0] = made[material.found[material.found >= 0]]
        found[name] = protocol.similarities(embeddings, material.pairs, recogniser.similarity_of)
    return found


# ------------------------------------------------------------------------------------------------------------- scoring


class Scored(NamedTuple):
    """Scores of the photographs by label, and a row for each entry: method, network, ms_per_face, status, reason."""

    scores: dict
    rows: pd.DataFrame

    def own(self):
        """Label -> the networks that the method is made of."""
        good = self.rows[self.rows["status"] == "ok"]
        return {
            label: tuple(made_of.split("+"))
            for label, made_of in zip(good["label"], good["made_of"], strict=True)
            if made_of
        }


def entries(methods=None, recognisers=NETWORKS):
    """Every method with every network that it takes, in the order of names.

    Parameters
    ----------
    methods : sequence of str, default=None
        Names in `SCORERS`. None: all.
    recognisers : sequence of str, default=("dlib", "mobilefacenet")
        Networks that methods with a parameter `recogniser` are made of.

    Returns
    -------
    list of list of Entry
        Those of one list learn one thing together.
    """
    names = sorted(SCORERS) if methods is None else list(dict.fromkeys(methods))
    if unknown := [name for name in names if name not in SCORERS]:
        raise DataError(f"there is no method {', '.join(unknown)}; known: {', '.join(sorted(SCORERS))}")
    together = {}
    for name in names:
        cls = SCORERS[name]
        takes = "recogniser" in cls._get_param_names() and not cls.needs_weights
        for network in recognisers if takes else [""]:
            together.setdefault((cls.family or name, network), []).append(Entry(name, network))
    return list(together.values())


def run(material, groups, *, jobs=1, say=None):
    """Score a material by every entry. What cannot run is a row with its reason; the others go on.

    Parameters
    ----------
    material : Material
        Whose `test` is scored.
    groups : list of list of Entry
        As of `entries`.
    jobs : int, default=1
        Processes, each with one thread.
    say : callable, default=None
        Called with a line after each group.

    Returns
    -------
    Scored
    """
    from joblib import Parallel, delayed

    small = material._replace(everyone=None)  # not sent to the processes
    start, rows, scores = time.monotonic(), [], {}
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for done, group in enumerate(parallel(delayed(_score_group)(small, group) for group in groups), 1):
        for row, values in group:
            rows.append(row)
            if values is not None:
                scores[row["label"]] = material.spread(values)
            if say:
                left = (time.monotonic() - start) / done * (len(groups) - done) / 60
                reason = f" ({row['reason']})" if row["reason"] else ""
                say(f"{done} of {len(groups)}: {row['label']}: {row['status']}{reason}; about {left:.0f} minutes left")
    rows = pd.DataFrame(rows).sort_values("label", kind="stable", ignore_index=True)
    return Scored({label: scores[label] for label in sorted(scores)}, rows)


@contextmanager
def one_thread():
    """The numerical libraries use one thread inside the block."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def in_words(error):
    """An error that a method raised, as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _score_group(material, group):
    """(row, scores or None) of each entry."""
    with one_thread():
        return [_score_entry(material, entry) for entry in group]


def _score_entry(material, entry):
    cls, values = SCORERS[entry.method], None
    row = {"method": entry.method, "network": entry.network, "label": entry.label, "learns": cls.learns}
    row |= {
        "n_learned": len(material.train) if cls.learns else 0,
        "made_of": entry.network,
        "ms_per_face": np.nan,
        "n_missing": 0,
        "status": "ok",
        "reason": "",
    }
    if cls.needs_weights:
        return row | {"status": "left out", "reason": f"needs the user's weights of {cls.needs_weights}"}, None
    try:
        scorer = make(entry)
        row["made_of"] = entry.network or "+".join(getattr(scorer, "networks", ()))
        values, row["ms_per_face"] = benchmark.score(scorer, material)
        row["n_missing"] = int(np.isneginf(values).sum())
    except Exception as error:  # whatever a method raises, the others still run and the table says so
        row |= {"status": "failed", "reason": in_words(error)}
    return row, values


def make(entry):
    """The scorer of an entry, with the parameters that it has by itself."""
    scorer = SCORERS[entry.method]()
    return scorer.set_params(recogniser=entry.network) if entry.network else scorer


# -------------------------------------------------------------------------------------------------------------- tables


def tables(material, scored, similarity, *, draws=protocol.DRAWS, jobs=1):
    """Tables by the protocol.

    Parameters
    ----------
    material : Material
        Whom the scores are of.
    scored : Scored
        As of `run`.
    similarity : dict of str -> array (P,)
        As of `similarities`.
    draws : int, default=2000
        Draws of people; more are taken where the number of methods asks for them.
    jobs : int, default=1
        Processes.

    Returns
    -------
    dict of str -> DataFrame
        `table` (columns `COLUMNS`), `flattery`, `winner` (see `protocol`), and `differences`: all methods against
        `LEADER`, where it has scores.
    """
    from joblib import Parallel, delayed

    if not scored.scores:
        raise DataError("no method gave scores: " + "; ".join(scored.rows["reason"]))
    scores, reference = dict(scored.scores), REFERENCE
    if reference not in scores:  # left out by who chose methods: then chance is what they are compared with
        reference = CHANCE
        scores[CHANCE] = np.random.default_rng(0).random(len(material.people))
    draws = max(draws, 40 * len(scores))  # as many as Holm's correction needs at 95%
    given, own = (material.pairs, similarity, material.people), scored.own()
    calls = [delayed(protocol.judge)(scores, *given, reference=reference, own=own, draws=draws)]
    calls.append(delayed(protocol.out_of_bag_winner)(scored.scores, *given, draws=min(draws, 500)))
    leader = next((label for label in scored.scores if label.split(" ")[0] == LEADER), None)
    if leader:
        calls.append(
            delayed(protocol.judge)(scores, *given, reference=leader, limits=(protocol.HEADLINE,), draws=draws)
        )
    judged, winner, *against = Parallel(n_jobs=jobs)(calls)
    made = {"table": _table(judged, scored, material, own), "flattery": judged.flattery, "winner": winner}
    if against:
        columns = "method column limit oracle_scaled difference difference_low difference_high p_holm verdict".split()
        rows = against[0].table.loc[against[0].table["column"].isin(similarity), columns]
        made["differences"] = rows.rename(columns={"column": "verifier"}).assign(reference=leader)
    return made


def _table(judged, scored, material, own):
    numbers = judged.table[judged.table["column"].isin(judged.support["network"])].rename(
        columns={"column": "verifier", "method": "label"}
    )
    numbers["same_model"] = [
        v in own.get(label, ()) for label, v in zip(numbers["label"], numbers["verifier"], strict=True)
    ]
    beside = judged.support.set_index("network")[["people", "n_mated", "n_impostor", "not_enrolled"]]
    numbers = numbers.join(beside.rename(columns={"people": "n_people"}), on="verifier")
    rows = scored.rows
    if CHANCE in set(numbers["label"]):
        chance = {"method": CHANCE, "network": "", "label": CHANCE, "learns": False, "status": "ok", "reason": ""}
        rows = pd.concat([rows, pd.DataFrame([chance])], ignore_index=True)
    merged = rows.merge(numbers, on="label", how="left").astype({"reason": str})
    merged = merged.sort_values(["verifier", "limit", "oracle_scaled"], kind="stable", ignore_index=True)
    return merged[COLUMNS]


def calibration_table(sides, similarity, labels, *, fmr=protocol.FMR):
    """How well calibrated scores are: fitted on one role's people, judged on another's.

    Photographs in mated pairs count, at most `PER_PERSON` of one person: those of a single one, with photographs alike,
    would otherwise move the threshold for all. The decision threshold is that of each side's impostors.

    Parameters
    ----------
    sides : ((Material, dict of str -> array), (Material, dict of str -> array))
        Material and scores of those who are calibrated on, and of those who are judged.
    similarity : (dict of str -> array (P,), dict of str -> array (P,))
        Of the pairs of each side.
    labels : sequence of str
        Which scores.
    fmr : float, default=1e-3
        Where the decision threshold is fixed, on the impostors of the side that is calibrated on.

    Returns
    -------
    DataFrame
        `method`, `verifier`, `ece` (expected calibration error), `non_match` (the mean outcome), `faces` and, for each
        of `SHARES`, `discard_5`, ...: the share of judged photographs below the threshold for 5%.
    """
    rows = []
    counted = [_at_most(material) for material, _ in sides]
    for verifier in similarity[0]:
        threshold = fit_threshold(similarity[0][verifier][~sides[0][0].pairs.mated], fmr, warn=False)
        for label in labels:
            came, values = [], []
            for (material, scores), kept, compared in zip(sides, counted, similarity, strict=True):
                outcome = non_match_shares(scores[label], material.pairs, compared[verifier], threshold)
                values.append(scores[label][kept])
                came.append(outcome[kept])
            made = Calibration().fit(values[0], came[0])
            row = {"method": label, "verifier": verifier}
            row |= {"ece": expected_calibration_error(made.chance(values[1]), came[1])}
            row |= {"non_match": float(np.nanmean(came[1])), "faces": len(values[1])}
            for share in SHARES:
                row[f"discard_{100 * share:g}"] = float(np.mean(values[1] < made.threshold_for(share=share)))
            rows.append(row)
    return pd.DataFrame(rows)


def _at_most(material):
    """Which photographs count: those in mated pairs, the first `PER_PERSON` of each person."""
    place = pd.Series(material.people[material.needed]).groupby(material.people[material.needed]).cumcount()
    kept = np.flatnonzero(material.needed)[place.to_numpy() < PER_PERSON]
    return kept


# --------------------------------------------------------------------------------------------------------- commands


def write(made, folder, command, **facts):
    """Write tables and the stamp that says what they were computed from.

    Parameters
    ----------
    made : dict of str -> DataFrame
        By the names of the files.
    folder : path
        Made where it is missing.
    command : str
        What to type to make them again.
    **facts
        For the stamp; see `cache.write_stamp`.
    """
    with locked(folder / "tables", wait=60):
        for name, table in made.items():
            write_csv(benchmark.short(table), folder / f"{name}.csv")
        write_stamp(folder / "made_from.json", command, [__name__, "fiqa_lib.scorers"], **facts)


def make_lfw(folder, out, *, methods=None, draws=protocol.DRAWS, jobs=1, say=None, **reading):
    """The tables of LFW's report people into a folder: `table`, `flattery`, `winner`, `differences`, `calibration`.

    Parameters
    ----------
    folder : path or None
        Where LFW is; see `load_lfw_people`.
    out, methods, draws, jobs, say
        As of `entries`.
    **reading
        As for `load_lfw_people`.

    Returns
    -------
    dict of str -> DataFrame
    """
    recognisers = networks(say)
    material = lfw_material(folder, n_jobs=jobs, **reading)
    if say:
        say(f"LFW: {len(material.people)} photographs, {material.needed.sum()} of them in mated pairs")
    similarity = similarities(material, recognisers, say)
    scored = run(material, entries(methods, list(recognisers)), jobs=jobs, say=say)
    made = tables(material, scored, similarity, draws=draws, jobs=jobs)
    labels = _to_calibrate(made["table"], scored)
    chosen = lfw_material(folder, "choose", train=material.train, n_jobs=jobs, **reading)
    groups = [[e for e in group if e.label in labels] for group in entries(methods, list(recognisers))]
    on_choose = run(chosen, [group for group in groups if group], jobs=jobs, say=say)
    sides = (chosen, on_choose.scores), (material, scored.scores)
    compared = similarities(chosen, recognisers, say), similarity
    made["calibration"] = calibration_table(sides, compared, [x for x in labels if x in on_choose.scores])
    facts = facts_of(material, recognisers, draws) | {"learn_faces": len(material.train)}
    write(made, out, f"python -m fiqa_lib benchmark --data lfw --out {out}", **facts)
    return made


def summary(table):
    """The numbers at the headline limit, a row for each method, the best first; then what could not run."""
    here = table[table["limit"] == protocol.HEADLINE].assign(
        number=lambda t: t["oracle_scaled"].map("{:.2f}".format) + np.where(t["same_model"].astype(bool), " *", "")
    )
    wide = here.pivot(index=["method", "network"], columns="verifier", values="number")
    order = here.groupby(["method", "network"])["oracle_scaled"].mean().sort_values().index
    lines = [f"Area up to {protocol.HEADLINE:.0%} discard, oracle-scaled: 0 the oracle, 1 chance. *: same model"]
    lines.append(wide.loc[order].reset_index().to_string(index=False))
    without = table[table["status"] != "ok"]
    lines += [f"{r.method} {r.network}: {r.status}: {r.reason}" for r in without.itertuples()]
    return "\n".join(lines)


def _to_calibrate(table, scored):
    """Labels of the reference, of the leader, and of those with the best mean over verifiers at the headline."""
    here = table[(table["limit"] == protocol.HEADLINE) & (table["method"] != CHANCE)]
    label = here["method"] + np.where(here["network"] == "", "", " (" + here["network"] + ")")
    best = here.groupby(label)["oracle_scaled"].mean().sort_values().index[:N_CALIBRATED]
    fixed = [label for label in scored.scores if label.split(" ")[0] in (REFERENCE, LEADER)]
    return list(dict.fromkeys([*fixed, *best]))


def facts_of(material, recognisers, draws):
    return {
        "version": __version__,
        "networks": {name: recogniser.fingerprint()[:16] for name, recogniser in recognisers.items()},
        "photographs": len(material.people),
        "scored": len(material.test),
        "people": len(np.unique(material.people)),
        "draws": draws,
        "reference": REFERENCE,
    }
