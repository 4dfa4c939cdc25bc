"""Every quality method on the same pairs: one loop over `SCORERS`, and the tables that it makes.

A method takes part because its file stands in `fiqa_lib/scorers/`; nothing here names one. Scores are cached by
content, in parts of `CHUNK` faces: an interrupted run goes on where it stood. A method that fails is reported, and the
others go on.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import evaluation, weights
from ..cache import cache_folder, content_key, sources_of
from ..data import score_files
from ..data.folders import count_of
from ..data.orl import benchmark_pairs, load, load_orl, orl_d, split_by_identity
from ..data.pairs import PairIndices, read_pairs
from ..errors import DataError
from ..evaluation.verification import FewImpostorsWarning, fit_threshold
from ..faces import Faces
from ..faces.images import printable
from ..files import from_spreadsheet_cell, locked, write_csv
from ..recognition import as_recogniser, load_recogniser
from ..scorers import SCORERS, fit_cached
from ..scorers.base import fit_key
from ..transforms.degradations import CLEAN
from .output import totals

CHUNK = 40
"""Faces that are scored, and cached, together."""
PREFIX = "benchmark_"
"""How the names of the written tables begin."""
REFERENCES = ("random", "oracle")
"""Rows of the areas that are no methods: a random score, and an order that knows the outcome."""
OTHER_RECOGNISERS = ("lbp", "fisherfaces")
"""Recognisers without a network, for the cross-model matrix."""
KIND_COLUMNS = ["method", "kind", "copies", "seen", "failing", "left"]
GROUP_COLUMNS = ["method", "group", "n", "discard_rate", "one_minus_gc", "n_mated", "starting_error", "pauc"]


class Protocol(NamedTuple):
    """Which people the methods learn from, which are reported on, and which faces are compared. See `protocol`.

    `train`, `test`: Faces without a person in both; `pairs`: positions in `test`; `identity_a`, `identity_b` (P,): the
    person on each side of a pair; `groups` (N,) str: the group of each face of `test`, "" where it has none; `n_lost`:
    number of pairs whose photographs had no usable face; `lost`: the photographs without one, in words.
    """

    train: Faces
    test: Faces
    pairs: PairIndices
    identity_a: np.ndarray
    identity_b: np.ndarray
    groups: np.ndarray
    n_lost: int = 0
    lost: str = ""


def protocol(data="bundled", pairs=None, groups=None, *, photographs=5, copies=3, random_state=0, say=None, **reading):
    """The people and the pairs of a benchmark.

    Parameters
    ----------
    data : str or path, default="bundled"
        "bundled", or a folder of `identity/image`.
    pairs : path, default=None
        A file of pairs (`read_pairs`) of these photographs, taken as they are. The learners then learn from
        the people of `data` that are in no pair, or, with a folder, from the bundled faces. None: ORL-D's recipe, half
        of the people to learn from, the others clean and degraded.
    groups : path, default=None
        A CSV file with the header `identity,group` or `name,group`.
    photographs : int or None, default=5
        Without `pairs`: the first photographs of each test person, by name, at most this many. None takes all.
    copies : int, default=3
        Without `pairs`: degraded copies of each test photograph, as in `degradations.benchmark`.
    random_state : int, default=0
        Seed of the split and of the degradations.
    say : callable, default=None
        Called once with how many people and photographs `data` has, as text.
    **reading
        How `data` is read, as for `data.load`: `detector`, `aligned`, `id_key_index`.

    Returns
    -------
    Protocol

    Raises
    ------
    DataError
        The files do not fit together. The message says which names are at fault.
    """
    loaded = load(data, **reading)
    if say is not None:
        say(f"{data}: {count_of(loaded.faces, loaded.report)}")
    if pairs is not None:
        made = _listed_pairs(loaded, data, pairs)
    else:
        made = _made_pairs(loaded, photographs, copies, random_state)
    return made._replace(groups=_groups_of(made.test, groups)) if groups else made


def _made_pairs(loaded, photographs, copies, random_state):
    faces, report = loaded
    if photographs is not None:
        train, _ = split_by_identity(faces, random_state=random_state)
        few = pd.Series(faces.names).groupby(faces.identities).rank().to_numpy() <= photographs
        faces = faces[few | np.isin(faces.identities, train.identities)]
    train, test = orl_d(faces, copies=copies, random_state=random_state)
    pairs = benchmark_pairs(test)
    who = test.identities[pairs.index_a], test.identities[pairs.index_b]
    return Protocol(train, test, pairs, *who, np.full(len(test), ""), lost=_lost(report))


def _lost(report):
    lost = report[~report["status"].isin(["ok", "fallback"])]
    return "" if lost.empty else totals(lost)


def _listed_pairs(loaded, data, path):
    from ..data.pairs import identities_of_pairs

    table = read_pairs(path)
    faces = loaded.faces
    names = list(map(str, faces.names))
    unusable = loaded.report.loc[~loaded.report["status"].isin(["ok", "fallback"]), "path"]
    lost = [p if str(data) == "bundled" else Path(p).relative_to(printable(Path(data))).as_posix() for p in unusable]
    places = pd.DataFrame({"path": names + lost, "score": [*range(len(names)), *[-1] * len(lost)]})
    a, b = (np.asarray(side, int) for side in score_files.pair_qualities(table, places.astype({"score": float})))
    who = identities_of_pairs(table)
    kept = (a >= 0) & (b >= 0)
    a, b, mated = a[kept], b[kept], table["mated"].to_numpy()[kept]
    if not mated.any() or mated.all():
        raise DataError(f"{path}: {mated.sum()} mated pairs and {(~mated).sum()} others can be used; both are needed")
    used, inverse = np.unique(np.concatenate([a, b]), return_inverse=True)
    pairs = PairIndices(inverse[: len(a)], inverse[len(a) :], mated)
    shown = np.unique(faces.identities[used])
    train = load_orl() if str(data) != "bundled" else faces[~np.isin(faces.identities, shown)]
    if len(np.unique(train.identities)) < 2:
        raise DataError(f"{path}: the pairs use nearly all people of {data}; fewer than 2 are left to learn from")
    test = faces[used]
    if not {"kind", "source"} <= set(test.attributes):
        test = test.with_attributes(kind=CLEAN, severity=0.0, source=test.names)
    return Protocol(
        train, test, pairs, who[0][kept], who[1][kept], np.full(len(test), ""), int((~kept).sum()), _lost(loaded.report)
    )


def _groups_of(faces, path):
    """The group of each face from a CSV by identity or by name."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable CSV ({error})") from error
    table = table.map(from_spreadsheet_cell)
    key = next((column for column in ("name", "identity") if column in table), None)
    if key is None or "group" not in table:
        raise DataError(f"{path}: expected a header identity,group or name,group; there is {', '.join(table)}")
    if (twice := table[key].duplicated()).any():
        raise DataError(f"{path}: {table[key][twice].iloc[0]} stands in it twice")
    named = faces.identities if key == "identity" else faces.attributes.get("source", pd.Series(faces.names))
    groups = pd.Series(named, dtype=str).map(table.set_index(key)["group"]).fillna("").to_numpy(str)
    if not (groups != "").any():
        raise DataError(f"{path}: names none of the {len(faces)} faces; the first would be {str(list(named)[0])!r}")
    return groups


# ------------------------------------------------------------------------------------------------------------- scoring


class Results(NamedTuple):
    """What `run` returns.

    `scores`: dict name -> array (N,), of the methods that worked; `methods`: DataFrame with a row for each method, as
    `methods` in `tables`.
    """

    scores: dict
    methods: pd.DataFrame


def run(given, methods=None, *, recogniser=None, quick=False, say=None):
    """Score the faces of a protocol by every method. One that fails is a row with its reason; the others go on.

    Parameters
    ----------
    given : Protocol
        As `protocol` makes it.
    methods : sequence of str, default=None
        Names in `SCORERS`; None takes all but those that need weights of their own which `recogniser` does not have.
    recogniser : Recogniser, default=None
        For the methods that use one. None: each method's own default, dlib's network.
    quick : bool, default=False
        Learners use less data or fewer steps, as their class says.
    say : callable, default=None
        Called with (name, status, reason) after each method, and for each that is left out.

    Returns
    -------
    Results

    Raises
    ------
    DataError
        A method is unknown. The message lists those there are.
    """
    names = list(dict.fromkeys(sorted(SCORERS) if methods is None else methods))
    if unknown := [name for name in names if name not in SCORERS]:
        raise DataError(f"there is no method {', '.join(unknown)}; known: {', '.join(sorted(SCORERS))}")
    scores, rows = {}, []
    for name in names:
        cls = SCORERS[name]
        if methods is None and cls.needs_weights not in ("", *_families(recogniser)):
            if say:
                say(name, "left out", f"needs weights: --recogniser {cls.needs_weights} --weights FILE")
            continue
        row = {"method": name, "learns": cls.learns, "cost": cls.cost, "ms_per_face": np.nan}
        try:
            scorer = cls(**(cls.quick if quick else {}))
            if recogniser is not None and "recogniser" in scorer.get_params(deep=False):
                scorer.set_params(recogniser=recogniser)
            scores[name], row["ms_per_face"] = score(scorer, given)
            row |= {"n_missing": int(np.isneginf(scores[name]).sum()), "status": "ok", "reason": ""}
        except Exception as error:  # whatever a method raises, the others still run and the table says so
            row |= {"n_missing": 0, "status": "failed", "reason": f"{type(error).__name__}: {error}"}
        rows.append(row)
        if say:
            say(name, row["status"], row["reason"])
    return Results(scores, pd.DataFrame(rows))


def _families(recogniser):
    """Names by which `needs_weights` may mean a recogniser: "cr-fiqa-r50" is a "cr-fiqa"."""
    return () if recogniser is None else (recogniser.name, recogniser.name.rpartition("-")[0])


def score(scorer, given):
    """Scores of the test faces of a protocol, from the cache where they were made before.

    Parameters
    ----------
    scorer : Scorer
        A learner is fitted on the protocol's training people, if anything is left to score.
    given : Protocol
        As `protocol` makes it.

    Returns
    -------
    array (N,) float
        Higher is better.
    float
        Milliseconds for one face, without loading and learning: those of the quickest part, since other work on the
        machine only adds time.
    """
    fitted = fit_key(scorer, given.train, None) if scorer.learns else ""
    unlearned = sorted((name, getattr(scorer, name)) for name in scorer.silent)  # they may still change the scores
    about = content_key(fitted, unlearned, sources_of(type(scorer)))
    values, seconds, ready = [], [], False
    for start in range(0, len(given.test), CHUNK):
        part = given.test[start : start + CHUNK]
        place = cache_folder("scores", f"{scorer.name}-{content_key(about, fit_key(scorer, part, None))}.npz")
        cached = _read_scores(place, scorer.name, len(part))
        if cached is None:
            if not ready:
                scorer = fit_cached(scorer, given.train) if scorer.learns else scorer.fit(given.train)
                scorer.score_samples(part[:1])  # loads what is loaded once
                ready = True
            begin = time.perf_counter()
            cached = {"score": scorer.score_samples(part)}
            cached["seconds"] = time.perf_counter() - begin
            try:
                weights.write_state(place, f"scores {scorer.name}", cached)
            except OSError:  # a full or read-only disk must not stop the work
                pass
        values.append(cached["score"])
        seconds.append(float(cached["seconds"]) / len(part))
    return np.concatenate(values), 1000 * min(seconds)


def _read_scores(place, name, n):
    try:
        arrays, _ = weights.read_state(place, f"scores {name}")
        return arrays if arrays["score"].shape == (n,) else None
    except Exception:  # absent or damaged, whatever it raises: a cache is only a reason not to compute
        return None


# -------------------------------------------------------------------------------------------------------------- tables


def similarities(given, recogniser=None, others=OTHER_RECOGNISERS):
    """Similarity of the protocol's pairs by several recognisers.

    Parameters
    ----------
    given : Protocol
        As `protocol` makes it. Recognisers that learn are fitted on its training people.
    recogniser : str or Recogniser, default=None
        The one that decides. None: dlib's network.
    others : sequence of str, default=OTHER_RECOGNISERS
        Further ones.

    Returns
    -------
    dict of str -> array (P,)
        By name, the one that decides first.
    """
    by_name, (a, b, _) = {}, given.pairs
    for one in [as_recogniser(recogniser or "dlib"), *map(load_recogniser, others)]:
        if hasattr(one, "fit"):
            one.fit(given.train)
        embeddings = one.embed(given.test)
        by_name.setdefault(one.name, one.similarity_of(embeddings[a], embeddings[b]))
    return by_name


def qualities_of(given, scores):
    """Scores of the faces as qualities of the pairs.

    Parameters
    ----------
    given : Protocol
        As `protocol` makes it.
    scores : dict of str -> array (N,)
        Scores of the test faces by method.

    Returns
    -------
    dict of str -> (array (P,), array (P,))
        `quality_a` and `quality_b`, as `evaluation` takes them.
    """
    return {name: (values[given.pairs.index_a], values[given.pairs.index_b]) for name, values in scores.items()}


def tables(given, results, similarity, *, fmr=1e-3, limit=0.2, n_draws=300, random_state=0):
    """All tables of the benchmark.

    Parameters
    ----------
    given : Protocol
        As `protocol` makes it.
    results : Results
        As `run` returns it.
    similarity : dict of str -> array (P,)
        As `similarities` returns it. All tables but the cross-model matrix rest on the first.
    fmr : float, default=1e-3
        Target false match rate of the decision threshold, in (0, 1).
    limit : float, default=0.2
        Discard share up to which ranks, differences and groups are judged, in (0, 1).
    n_draws : int, default=300
        Bootstrap draws over people, for the intervals.
    random_state : int, default=0
        Seed of the draws and of the random score.

    Returns
    -------
    dict of str -> DataFrame
        - `methods`: `method`, `learns`, `cost`, `ms_per_face`, `n_missing`, `status`, `reason`
        - `setting`: one row: people, faces, pairs, starting error, threshold
        - `scores`: `name`, `identity`, `kind`, `severity`, and one column for each method
        - `areas`: normalised pAUC at `limit` and at `evaluation.LIMITS`, with its interval, methods and `REFERENCES`
        - `differences`: every method against the best one at `limit`, paired; the best was chosen on these very pairs
        - `stability`, `correlations`, `cross`: see `evaluation.rank_stability`, `rank_correlations`,
          `cross_model_matrix`
        - `kinds`: see `strengths`
        - `groups`: see `by_group`; of the faces' groups, else of clean and degraded probes

    Raises
    ------
    DataError
        No method worked.
    """
    if not results.scores:
        raise DataError("no method gave scores: " + "; ".join(results.methods["reason"]))
    first, mated = next(iter(similarity.values())), given.pairs.mated
    qualities = qualities_of(given, results.scores)
    who = given.identity_a, given.identity_b
    guess = np.random.default_rng(random_state).random(len(given.test))
    with_references = {**qualities, **qualities_of(given, {"random": guess}), "oracle": (first, first)}
    options = {"fmr": fmr, "kind": "normalised", "n_draws": n_draws, "random_state": random_state}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewImpostorsWarning)  # `setting` says how few there are
        limits = tuple(sorted({*evaluation.LIMITS, limit}))
        areas = evaluation.bootstrap_areas(first, mated, with_references, *who, limits=limits, **options)
        made = {"methods": results.methods, "setting": _setting(given, first, similarity, fmr), "areas": areas}
        made["scores"] = _score_table(given.test, results.scores)
        if len(qualities) > 1:
            best = ranking(areas, limit)[0]
            made["differences"] = evaluation.compare(
                first, mated, qualities, *who, reference=best, limits=(limit,), **options
            )
            made["correlations"] = evaluation.rank_correlations(results.scores)
            # only starting errors that leave at least 5 failing pairs
            errors = [error for error in (0.01, 0.05, 0.1, 0.2) if error * mated.sum() >= 5] or (0.5,)
            made["stability"] = evaluation.rank_stability(first, mated, qualities, starting_errors=errors)
        made["cross"] = evaluation.cross_model_matrix(
            similarity, mated, with_references, limit=limit, kind="oracle", fmr=fmr
        )
        made["kinds"] = strengths(given, results.scores, first, fmr=fmr, limit=limit)
        made["groups"] = by_group(given, results.scores, first, fmr=fmr, limit=limit)
    return made


def ranking(areas, limit):
    """The methods of a table of areas, best first, without the `REFERENCES`.

    Parameters
    ----------
    areas : DataFrame
        As in `tables`.
    limit : float
        One of the limits in it.

    Returns
    -------
    list of str
    """
    here = areas[np.isclose(areas["limit"], limit) & ~areas["method"].isin(REFERENCES)]
    return here.sort_values(["pauc", "method"])["method"].tolist()


def _setting(given, similarity, recognisers, fmr):
    curve = evaluation.edc(similarity, given.pairs.mated, np.zeros(len(similarity)), np.zeros(len(similarity)), fmr=fmr)
    row = {
        "recogniser": next(iter(recognisers)),
        "train_people": len(np.unique(given.train.identities)),
        "test_people": len(np.unique(np.concatenate([given.identity_a, given.identity_b]))),
        "faces": len(given.test),
        "n_mated": curve.n_mated,
        "n_impostor": curve.n_impostor,
        "n_lost": given.n_lost,
        "fmr": fmr,
        "realised_fmr": curve.realised_fmr,
        "threshold": float(curve.threshold),
        "starting_error": curve.starting_error,
    }
    return pd.DataFrame([row])


def _score_table(faces, scores):
    about = faces.attributes[["kind", "severity"]].reset_index(drop=True)
    return pd.DataFrame({"name": faces.names, "identity": faces.identities}).join([about, short(pd.DataFrame(scores))])


def strengths(given, scores, similarity, *, fmr=1e-3, limit=0.2):
    """What each method sees of each kind of degradation.

    Parameters
    ----------
    given : Protocol
        As `protocol` makes it.
    scores : dict of str -> array (N,)
        Scores of the test faces by method.
    similarity : array (P,)
        Of the pairs.
    fmr : float, default=1e-3
        Target false match rate of the decision threshold.
    limit : float, default=0.2
        Share of the mated pairs that is discarded.

    Returns
    -------
    DataFrame
        One row for each method and kind among the test faces (none where no face is degraded): `copies`; `seen`, how
        often a copy scores lower than its clean photograph minus how often it scores higher (1 always lower, 0 blind,
        -1 takes damage for quality); `failing`, the number of failing mated pairs with a probe of this kind; `left`,
        the share of those that remains after the discard (NaN without any; chance is 1 - limit).
    """
    faces, (a, b, mated) = given.test, given.pairs
    kinds, row_of = faces.attributes["kind"].to_numpy(str), {str(name): row for row, name in enumerate(faces.names)}
    source = np.array([row_of.get(str(name), -1) for name in faces.attributes["source"]])
    failing = mated & (similarity < float(fit_threshold(similarity[~mated], fmr, warn=False)))
    rows = []
    for name, values in scores.items():
        finite = np.maximum(values, np.finfo(float).min)  # -inf minus -inf would be NaN
        worse = np.minimum(values[a], values[b])
        keeps = worse > np.quantile(worse[mated], limit, method="lower")
        for kind in sorted(set(kinds) - {CLEAN}):
            copies = np.flatnonzero((kinds == kind) & (source >= 0))
            failed = failing & (kinds[b] == kind)
            seen = np.sign(finite[source[copies]] - finite[copies]).mean()
            left = keeps[failed].mean() if failed.any() else np.nan
            rows.append((name, kind, len(copies), seen, int(failed.sum()), left))
    return pd.DataFrame(rows, columns=KIND_COLUMNS)


def by_group(given, scores, similarity, *, fmr=1e-3, limit=0.2):
    """What one quality limit and one decision threshold for all do to each group.

    A pair belongs to the group of its probe (`index_b`), a face to its own. Where the faces have no groups, clean and
    degraded faces stand in for them, so that the table can be read.

    Parameters
    ----------
    given, scores, similarity, fmr, limit
        As in `strengths`; here `limit` is the share of all faces that is discarded.

    Returns
    -------
    DataFrame
        One row for each method and group: `n` faces, `discard_rate` at the limit, `one_minus_gc` over the groups'
        discard rates (1: all alike), `n_mated`, `starting_error` of the group, and `pauc` (normalised, up to `limit`;
        NaN without errors). No row where there are fewer than two groups.
    """
    groups = given.groups
    if not (groups != "").any():
        groups = np.where(given.test.attributes["kind"] == CLEAN, "clean probe", "degraded probe")
    known = groups != ""
    names, (a, b, mated) = sorted(set(groups[known])), given.pairs
    if len(names) < 2:
        return pd.DataFrame(columns=GROUP_COLUMNS)
    threshold = float(fit_threshold(similarity[~mated], fmr, warn=False))
    rows = []
    for method, values in scores.items():
        table = evaluation.fairness(values[known], groups[known], discard=limit).set_index("group")
        for group in names:
            of_faces = [table.loc[group, column] for column in ("n", "discard_rate", "one_minus_gc")]
            of_pairs, inside = (0, np.nan, np.nan), mated & (groups[b] == group)
            if inside.any():
                quality = values[a][inside], values[b][inside]
                curve = evaluation.edc(similarity[inside], mated[inside], *quality, threshold=threshold)
                of_pairs = curve.n_mated, curve.starting_error, curve.pauc(limit, "normalised")
            rows.append((method, group, *of_faces, *of_pairs))
    return pd.DataFrame(rows, columns=GROUP_COLUMNS)


def write(made, folder):
    """Write the tables of a benchmark into a folder, each file whole or not at all.

    Numbers have six digits, so that a repeated run on the same machine leaves the same bytes.

    Parameters
    ----------
    made : dict of str -> DataFrame
        As `tables` returns it.
    folder : path
        Made where it is missing.

    Returns
    -------
    list of Path
    """
    folder = Path(folder)
    with locked(folder / f"{PREFIX}tables", wait=60):  # two runs must not leave half of each other's tables
        return [write_csv(short(table), folder / f"{PREFIX}{name}.csv") for name, table in made.items()]


def short(table):
    """The table with numbers of six digits, so that a repeated run on the same machine leaves the same bytes."""
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: [float(f"{v:.6g}") for v in table[name]] for name in numbers})
