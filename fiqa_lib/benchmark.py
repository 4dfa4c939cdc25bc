"""Every quality method on the same pairs: one loop over `SCORERS`, and the tables that it makes.

A method takes part because its file stands in `fiqa_lib/scorers/`; nothing here names one. What one method computes is
kept by content, in parts of a few faces: a run that was interrupted goes on where it stood, and a method that fails is
reported while the others go on.
"""

from __future__ import annotations

import inspect
import sys
import time
import types
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from . import evaluation, protocols, state
from .cache import cache_folder, content_key
from .data.pairs import identities_of_pairs
from .datasets import benchmark_pairs, load, load_orl, orl_d, split_by_identity
from .degradations import CLEAN
from .errors import DataError
from .faces import Faces
from .files import write_csv
from .recognition import as_recogniser, load_recogniser
from .scorers import SCORERS, fit_cached
from .scorers.base import fit_key
from .verification import FewImpostorsWarning, PairIndices, fit_threshold

CHUNK = 40
"""Faces that are scored, and kept, together."""
PREFIX = "benchmark_"
"""How the names of the written tables begin."""
REFERENCES = ("random", "oracle")
"""Rows of the areas that are no methods: one random score, and an order that knows the outcome."""
OTHER_RECOGNISERS = ("lbp", "fisherfaces")
"""Recognisers that owe nothing to a network, for the cross-model matrix."""


class Protocol(NamedTuple):
    """Who is learned from, who is reported on, and which of their faces are compared. Made by `protocol`.

    `identity_a`, `identity_b` (P,) name the person on each side of a pair; `groups` (N,) str the group of each face of
    `test`, "" where it has none; `n_lost` counts pairs whose photographs had no usable face.
    """

    train: Faces
    test: Faces
    pairs: PairIndices
    identity_a: np.ndarray
    identity_b: np.ndarray
    groups: np.ndarray
    n_lost: int = 0


def protocol(data="bundled", pairs=None, groups=None, *, photographs=5, copies=3, random_state=0):
    """The people and the pairs of a benchmark.

    Parameters
    ----------
    data : "bundled" or a folder of `identity/image`
    pairs : path, optional
        A file of pairs (`protocols.read_pairs`) of these photographs, taken as they are. The learners then learn from
        the people of `data` that are in no pair, or, with a folder, from the bundled faces. None: ORL-D's recipe, half
        of the people to learn from and the others clean and degraded.
    groups : path, optional
        A CSV with a header `identity,group` or `name,group`.
    photographs : int or None
        Without `pairs`: at most the first so many photographs of each test person, by name. None takes all.
    copies : int
        Without `pairs`: degraded copies of each, as in `degradations.benchmark`.
    random_state : int

    Raises
    ------
    DataError
        Files that do not fit together; says which names.
    """
    if pairs is None:
        made = _made_pairs(data, photographs, copies, random_state)
    else:
        made = _listed_pairs(data, pairs)
    return made._replace(groups=_groups_of(made.test, groups)) if groups else made


def _made_pairs(data, photographs, copies, random_state):
    faces = load(data).faces
    if photographs is not None:
        train, _ = split_by_identity(faces, random_state=random_state)
        few = pd.Series(faces.names).groupby(faces.identities).rank().to_numpy() <= photographs
        faces = faces[few | np.isin(faces.identities, train.identities)]
    train, test = orl_d(faces, copies=copies, random_state=random_state)
    pairs = benchmark_pairs(test)
    return _protocol(train, test, pairs, test.identities[pairs.index_a], test.identities[pairs.index_b])


def _protocol(train, test, pairs, identity_a, identity_b, n_lost=0):
    return Protocol(train, test, pairs, identity_a, identity_b, np.full(len(test), ""), n_lost)


def _listed_pairs(data, path):
    loaded, table = load(data), protocols.read_pairs(path)
    faces = loaded.faces
    names = list(map(str, faces.names))
    unusable = loaded.report.loc[~loaded.report["status"].isin(["ok", "fallback"]), "path"]
    lost = [p if str(data) == "bundled" else Path(p).relative_to(data).as_posix() for p in unusable]
    places = pd.DataFrame({"path": names + lost, "score": [*range(len(names)), *[-1] * len(lost)]})
    a, b = (np.asarray(side, int) for side in protocols.pair_qualities(table, places.astype({"score": float})))
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
        attributes = test.attributes.assign(kind=CLEAN, severity=0.0, source=test.names)
        test = Faces(test.images, test.identities, test.names, attributes)
    return _protocol(train, test, pairs, who[0][kept], who[1][kept], int((~kept).sum()))


def _groups_of(faces, path):
    """The group of each face from a CSV by identity or by name."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable CSV ({error})") from error
    key = next((column for column in ("name", "identity") if column in table), None)
    if key is None or "group" not in table:
        raise DataError(f"{path}: expected a header identity,group or name,group; there is {', '.join(table)}")
    if table[key].duplicated().any():
        raise DataError(f"{path}: {table[key][table[key].duplicated()].iloc[0]} stands in it twice")
    known = dict(zip(table[key], table["group"], strict=True))
    named = faces.identities if key == "identity" else faces.attributes.get("source", pd.Series(faces.names))
    found = np.array([known.get(str(name), "") for name in named])
    if not (found != "").any():
        raise DataError(f"{path}: names none of the {len(faces)} faces; the first would be {str(list(named)[0])!r}")
    return found


# ------------------------------------------------------------------------------------------------------------- scoring


class Results(NamedTuple):
    """`scores`: name -> array (N,), methods that worked; `methods`: a row for each method, as `methods` in `tables`."""

    scores: dict
    methods: pd.DataFrame


def run(given, methods=None, *, recogniser=None, quick=False, say=None):
    """Score the faces of a protocol by every method. One that fails is a row with its reason; the others go on.

    Parameters
    ----------
    given : Protocol
    methods : sequence of str, optional
        Names in `SCORERS`; all by default.
    recogniser : Recogniser, optional
        For the methods that use one. Default: each method's own default, dlib's network.
    quick : bool
        Learners with less data or fewer steps, as their class says.
    say : callable, optional
        Is told each method's name before, and its status after.

    Returns
    -------
    Results

    Raises
    ------
    DataError
        For an unknown method. Lists those there are.
    """
    names = sorted(SCORERS) if methods is None else list(dict.fromkeys(methods))
    if unknown := [name for name in names if name not in SCORERS]:
        raise DataError(f"there is no method {', '.join(unknown)}; known: {', '.join(sorted(SCORERS))}")
    scores, rows = {}, []
    for name in names:
        cls = SCORERS[name]
        row = {"method": name, "learns": cls.learns, "cost": cls.cost, "ms_per_face": np.nan}
        try:
            scores[name], row["ms_per_face"] = score(make(name, recogniser, quick), given)
            row |= {"n_missing": int(np.isneginf(scores[name]).sum()), "status": "ok", "reason": ""}
        except Exception as error:  # whatever a method raises, the others still run and the table says so
            row |= {"n_missing": 0, "status": "failed", "reason": f"{type(error).__name__}: {error}"}
        rows.append(row)
        if say:
            say(name, row["status"], row["reason"])
    return Results(scores, pd.DataFrame(rows))


def make(name, recogniser=None, quick=False):
    """A scorer by name, not fitted: with the recogniser where it uses one, with its quick parameters where asked."""
    cls = SCORERS[name]
    scorer = cls(**(cls.quick if quick else {}))
    if recogniser is not None and "recogniser" in scorer.get_params(deep=False):
        scorer.set_params(recogniser=recogniser)
    return scorer


def score(scorer, given):
    """Scores of the test faces of a protocol, from the cache where they were made before.

    Parameters
    ----------
    scorer : Scorer
        A learner is fitted on the protocol's training people, if anything is left to score.
    given : Protocol

    Returns
    -------
    (array (N,), float)
        Higher is better; milliseconds a face took when it was scored, without loading and learning: those of the
        quickest part, since other work on the machine only adds.
    """
    fitted = fit_key(scorer, given.train, None) if scorer.learns else ""
    unlearned = sorted((name, getattr(scorer, name)) for name in scorer.silent)  # they may still change the scores
    about = content_key(fitted, unlearned, *_sources(type(scorer)))
    values, seconds, ready = [], [], False
    for start in range(0, len(given.test), CHUNK):
        part = given.test[start : start + CHUNK]
        place = cache_folder("scores", f"{scorer.name}-{content_key(about, fit_key(scorer, part, None))}.npz")
        kept = _kept(place, scorer.name, len(part))
        if kept is None:
            if not ready:
                scorer = fit_cached(scorer, given.train) if scorer.learns else scorer.fit(given.train)
                scorer.score_samples(part[:1])  # loads what is loaded once
                ready = True
            begin = time.perf_counter()
            found = scorer.score_samples(part)
            kept = {"score": found, "seconds": time.perf_counter() - begin}
            _keep(place, scorer.name, kept)
        values.append(kept["score"])
        seconds.append(float(kept["seconds"]) / len(part))
    return np.concatenate(values), 1000 * min(seconds)


def _kept(place, name, n):
    try:
        arrays, _ = state.read_state(place, f"scores {name}")
    except Exception:  # absent or damaged, whatever it raises: a cache is only a reason not to compute
        return None
    return arrays if arrays["score"].shape == (n,) else None


def _keep(place, name, arrays):
    try:
        state.write_state(place, f"scores {name}", arrays)
    except OSError:  # a full or read-only disk must not stop the work
        pass


def _sources(cls):
    """The source of every module of the library that a method's module reaches through what it imports."""
    waiting, found = {cls.__module__}, {}
    while waiting:
        module = sys.modules.get(waiting.pop())
        if module is None or module.__name__ in found:
            continue
        try:
            found[module.__name__] = Path(inspect.getfile(module)).read_text(encoding="utf-8")
        except (TypeError, OSError):
            found[module.__name__] = ""
        for value in vars(module).values():
            name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if isinstance(name, str) and name.startswith(__package__ + ".") and name not in found:
                waiting.add(name)
    return [found[name] for name in sorted(found)]


# -------------------------------------------------------------------------------------------------------------- tables


def similarities(given, recogniser=None, others=OTHER_RECOGNISERS):
    """Similarity of the protocol's pairs by each recogniser: a dict name -> array (P,), the chosen one first.

    Those that learn are fitted on the training people.
    """
    found, (a, b, _) = {}, given.pairs
    for one in [as_recogniser(recogniser or "dlib"), *map(load_recogniser, others)]:
        if hasattr(one, "fit"):
            one.fit(given.train)
        embeddings = one.embed(given.test)
        found.setdefault(one.name, one.similarity_of(embeddings[a], embeddings[b]))
    return found


def qualities_of(given, scores):
    """Name -> (quality_a, quality_b) of the pairs, as `evaluation` takes them."""
    return {name: (values[given.pairs.index_a], values[given.pairs.index_b]) for name, values in scores.items()}


def tables(given, results, similarity, *, fmr=1e-3, limit=0.2, n_draws=300, random_state=0):
    """All that the benchmark says.

    Parameters
    ----------
    given : Protocol
    results : Results
    similarity : dict
        As `similarities` gives them; all but the cross-model matrix rest on the first.
    fmr, limit, n_draws, random_state
        As in `evaluation`; `limit` is that of ranks, differences and groups.

    Returns
    -------
    dict of str -> DataFrame
        - `methods`: `method`, `learns`, `cost`, `ms_per_face`, `n_missing`, `status`, `reason`
        - `setting`: one row: people, faces, pairs, starting error, threshold
        - `scores`: `name`, `identity`, `kind`, `severity`, and one column for each method
        - `areas`: normalised pAUC at each of `evaluation.LIMITS` with its interval, methods and `REFERENCES`
        - `differences`: every method against the best one at `limit`, paired; the best was chosen on these very pairs
        - `stability`, `correlations`, `cross`: see `evaluation.rank_stability`, `rank_correlations`,
          `cross_model_matrix`
        - `kinds`: see `strengths`
        - `groups`: see `by_group`; of the faces' groups, else of clean and degraded probes

    Raises
    ------
    DataError
        When no method worked.
    """
    if not results.scores:
        raise DataError("no method gave scores: " + "; ".join(results.methods["reason"]))
    first, mated = next(iter(similarity.values())), given.pairs.mated
    qualities = qualities_of(given, results.scores)
    who = given.identity_a, given.identity_b
    guess = np.random.default_rng(random_state).random(len(given.test))
    beside = {**qualities, **qualities_of(given, {"random": guess}), "oracle": (first, first)}
    options = {"fmr": fmr, "kind": "normalised", "n_draws": n_draws, "random_state": random_state}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewImpostorsWarning)  # `setting` says how few there are
        areas = evaluation.bootstrap_areas(first, mated, beside, *who, limits=evaluation.LIMITS, **options)
        best = ranking(areas, limit)[0]
        made = {"methods": results.methods, "setting": _setting(given, first, similarity, fmr), "areas": areas}
        made["scores"] = _score_table(given.test, results.scores)
        if len(qualities) > 1:
            made["differences"] = evaluation.compare(
                first, mated, qualities, *who, reference=best, limits=(limit,), **options
            )
            made["correlations"] = evaluation.rank_correlations(results.scores)
            made["stability"] = _stability(first, mated, qualities)
        made["cross"] = evaluation.cross_model_matrix(similarity, mated, beside, limit=limit, kind="oracle", fmr=fmr)
        made["kinds"] = strengths(given, results.scores, first, fmr=fmr, limit=limit)
        made["groups"] = by_group(given, results.scores, first, fmr=fmr, limit=limit)
    return made


def ranking(areas, limit):
    """The methods of a table of areas, best first, without the `REFERENCES`."""
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
    front = pd.DataFrame({"name": faces.names, "identity": faces.identities}).join(about)
    return front.join(pd.DataFrame({name: [float(f"{v:.6g}") for v in values] for name, values in scores.items()}))


def _stability(similarity, mated, qualities):
    """Over the starting errors that so many mated pairs can show."""
    errors = [error for error in (0.01, 0.05, 0.1, 0.2) if error * mated.sum() >= 5]
    return evaluation.rank_stability(similarity, mated, qualities, starting_errors=errors or (0.5,))


def strengths(given, scores, similarity, *, fmr=1e-3, limit=0.2):
    """What each method sees of each kind of degradation.

    Returns
    -------
    DataFrame
        For each method and kind among the test faces (none where there are only photographs as they are): `copies`;
        `seen`, how often a copy scores lower than the photograph that it was made of minus how often it scores higher
        (1 always lower, 0 blind, -1 takes damage for quality); `failing`, the failing mated pairs with a probe of this
        kind; `left`, the share of those that are still there after `limit` of all mated pairs is discarded (NaN for
        none; chance is 1 - limit).
    """
    faces, (a, b, mated) = given.test, given.pairs
    kind, place = faces.attributes["kind"].to_numpy(str), {str(name): row for row, name in enumerate(faces.names)}
    source = np.array([place.get(str(name), -1) for name in faces.attributes["source"]])
    threshold = fit_threshold(similarity[~mated], fmr, warn=False)
    failing = mated & (similarity < float(threshold))
    rows = []
    for name, values in scores.items():
        worse = np.minimum(values[a], values[b])
        keeps = worse > np.quantile(worse[mated], limit, method="lower")
        for one in sorted(set(kind) - {CLEAN}):
            copies = np.flatnonzero((kind == one) & (source >= 0))
            failed = failing & (kind[b] == one)
            rows.append(
                {
                    "method": name,
                    "kind": one,
                    "copies": len(copies),
                    "seen": np.sign(_order(values[source[copies]]) - _order(values[copies])).mean(),
                    "failing": int(failed.sum()),
                    "left": keeps[failed].mean() if failed.any() else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=["method", "kind", "copies", "seen", "failing", "left"])


def _order(values):
    return np.maximum(values, np.finfo(float).min)  # -inf less -inf is no number


def by_group(given, scores, similarity, *, fmr=1e-3, limit=0.2):
    """What one quality limit and one decision threshold for all do to each group.

    A pair belongs to the group of its probe (`index_b`), a face to its own. Where the faces bear no groups, clean and
    degraded faces stand in for them, so that the table can be read; people differ in none of this.

    Returns
    -------
    DataFrame
        For each method and group: `n` faces, `discard_rate` at the limit that discards the share `limit` of all faces,
        `n_mated`, `starting_error` of the group, `pauc` (normalised, up to `limit`; NaN without errors), and
        `one_minus_gc` over the groups' discard rates (1: all alike).
    """
    groups = given.groups
    if not (groups != "").any():
        groups = np.where(given.test.attributes["kind"] == CLEAN, "clean probe", "degraded probe")
    names = sorted(set(groups[groups != ""]))
    if len(names) < 2:
        return pd.DataFrame(columns=GROUP_COLUMNS)
    a, b, mated = given.pairs
    threshold = float(fit_threshold(similarity[~mated], fmr, warn=False))
    known, rows = groups != "", []
    for name, values in scores.items():
        table = evaluation.fairness(values[known], groups[known], discard=limit).set_index("group")
        for group in names:
            inside = np.flatnonzero(mated & (groups[b] == group))
            row = {"method": name, "group": group, "n": int(table.loc[group, "n"])}
            row |= {"discard_rate": table.loc[group, "discard_rate"], "one_minus_gc": table.loc[group, "one_minus_gc"]}
            rows.append(row | _area_of(similarity, mated, values[a], values[b], inside, threshold, limit))
    return pd.DataFrame(rows)[GROUP_COLUMNS]


GROUP_COLUMNS = ["method", "group", "n", "discard_rate", "one_minus_gc", "n_mated", "starting_error", "pauc"]


def _area_of(similarity, mated, quality_a, quality_b, rows, threshold, limit):
    if len(rows) == 0:
        return {"n_mated": 0, "starting_error": np.nan, "pauc": np.nan}
    curve = evaluation.edc(similarity[rows], mated[rows], quality_a[rows], quality_b[rows], threshold=threshold)
    return {
        "n_mated": curve.n_mated,
        "starting_error": curve.starting_error,
        "pauc": curve.pauc(limit, "normalised"),
    }


def write(made, folder):
    """Write the tables of a benchmark into a folder, each file whole or not at all; returns their paths.

    Numbers have six digits, so that a repeated run on the same machine leaves the same bytes.
    """
    return [write_csv(_short(table), Path(folder) / f"{PREFIX}{name}.csv") for name, table in made.items()]


def _short(table):
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: [float(f"{v:.6g}") for v in table[name]] for name in numbers})


def read(folder):
    """The tables that `write` left in a folder: a dict name -> DataFrame.

    Raises
    ------
    DataError
        When there are none.
    """
    paths = sorted(Path(folder).glob(f"{PREFIX}*.csv"))
    if not paths:
        raise DataError(f"{folder}: no table of a benchmark; python -m fiqa_lib benchmark --out {folder} makes them")
    return {p.stem.removeprefix(PREFIX): pd.read_csv(p, na_values=[""], keep_default_na=False) for p in paths}
