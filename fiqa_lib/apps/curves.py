"""Score files judged on one list of pairs: the work of the command `edc`.

A pair that is flagged both ways is refused. A pair that is listed again, also as b,a, and an image with itself are left
out, counted and warned of; with `--compat` they stay, as the published scripts keep them.

A face whose embedding is NaN or all zeros was not enrolled: with `--on-missing worst` its mated pairs fail and its
impostor pairs do not match; with `drop` they are left out; with `raise` the first such face is an error.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from .. import evaluation
from ..course import plotting
from ..data import score_files
from ..data.arrays import read_npy
from ..data.pairs import identities_of_pairs, read_pairs
from ..errors import DataError
from ..files import write_csv
from ..recognition.similarity import cosine, euclidean
from .output import save_figure


class PairsWarning(UserWarning):
    """Pairs or faces that the curves rest on are not what one would expect."""


def compare_score_files(arguments):
    """Read pairs and scores, write tables and figures, print the areas; `arguments` are those of the command."""
    if arguments.fmr >= 1 and arguments.threshold is None:
        raise DataError("--fmr 1 accepts every pair, so that no mated pair fails: give a rate below 1, such as 0.001")
    compat = None if arguments.compat == "none" else arguments.compat
    if arguments.fmr_curve and (compat or arguments.convention == "refit"):
        raise DataError("--fmr-curve needs one threshold: use --convention fixed, and no --compat")
    pairs = checked_pair_list(read_pairs(arguments.pairs), arguments.pairs, arguments.similarity, keep=bool(compat))
    columns = {"column": arguments.column, "path_column": arguments.path_column}
    tables = [score_files.read_scores(path, **columns) for path in arguments.scores]
    names = _method_names(arguments)
    similarity = _similarity(arguments, pairs, tables[0])
    mated = pairs["mated"].to_numpy()
    rules = {name: getattr(arguments, name) for name in ("fmr", "threshold", "convention", "population", "on_missing")}
    rules |= {"pair_quality": arguments.pair_quality, "compat": compat}
    qualities = {}
    for name, path, table in zip(names, arguments.scores, tables, strict=True):
        try:
            qualities[name] = score_files.pair_qualities(pairs, table)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    curves = {
        name: evaluation.edc(similarity, mated, *quality, impostor_side=arguments.fmr_curve, **rules)
        for name, quality in qualities.items()
    }
    drawn = arguments.draws and not compat  # the curves of published scripts are not resampled
    intervals = _intervals(arguments, pairs, similarity, mated, qualities, rules) if drawn else {}
    for name, interval in intervals.items():
        if interval.low > 1:
            warnings.warn(
                f"{name}: discarding by this score makes the error rise (area {interval.estimate:.2f} of chance, "
                f"interval {interval.low:.2f} to {interval.high:.2f}): is the direction reversed? Higher is better",
                PairsWarning,
                stacklevel=2,
            )
    if arguments.out:
        write_csv(pd.concat([_points(c, name, arguments.fmr_curve) for name, c in curves.items()]), arguments.out)
    if arguments.summary:
        write_csv(pd.concat([c.summary(method=name) for name, c in curves.items()]), arguments.summary)
    if arguments.plot:
        save_figure(plotting.edc(curves, intervals=intervals, limit=arguments.limit), arguments.plot)
        if arguments.fmr_curve:
            beside = arguments.plot.with_name(f"{arguments.plot.stem}_fmr{arguments.plot.suffix}")
            save_figure(plotting.impostor_side(curves), beside)
    _print_curves(arguments, curves, intervals)


def checked_pair_list(pairs, path, similarity=None, *, keep=False):
    """The pairs that can be judged, each once.

    Parameters
    ----------
    pairs : DataFrame
        With `a`, `b`, `mated`.
    path : path
        Of their file, for messages.
    similarity : str, optional
        The column of similarities: a pair that is listed twice must have one.
    keep : bool, default=False
        Warn only, and leave out nothing.

    Returns
    -------
    DataFrame
        Without pairs that are listed again (in either order) and images with themselves; a warning counts them.

    Raises
    ------
    DataError
        A pair is flagged as mated and as not, an image as not mated with itself, or a pair has two similarities.
    """
    ends = pairs[["a", "b"]].to_numpy(str)
    key = pd.DataFrame(np.sort(ends, axis=1), columns=["a", "b"], index=pairs.index)
    alone = ends[:, 0] == ends[:, 1]
    if (wrong := np.flatnonzero(alone & ~pairs["mated"].to_numpy())).size:
        raise DataError(f"{path}: {ends[wrong[0]][0]} is flagged as another person than itself; correct the flag")
    both = key.groupby(["a", "b"])
    for column, what in (("mated", "flagged both as mated and as not"), (similarity, "listed with two similarities")):
        if (
            column in pairs
            and (different := np.flatnonzero(pairs.groupby([key["a"], key["b"]])[column].transform("nunique") > 1)).size
        ):
            a, b = ends[different[0]]
            count = both.ngroup().iloc[different].nunique()
            raise DataError(f"{path}: {count} pairs are {what}, the first is {a} with {b}; keep the right line of each")
    again = key.duplicated().to_numpy() & ~alone
    left = "kept, as the published script does" if keep else "left out"
    for rows, what in ((alone, "are an image with itself"), (again, "are listed again")):
        if rows.any():
            a, b = ends[np.argmax(rows)]
            warnings.warn(f"{path}: {rows.sum()} pairs {what} ({a} with {b} first): {left}", PairsWarning, stacklevel=3)
    return pairs if keep else pairs[~(alone | again)].reset_index(drop=True)


def _points(curve, name, impostor):
    table = curve.to_frame(method=name)
    if not impostor:
        return table
    other = pd.DataFrame({"method": name, "discard": curve.impostor.discard, "error": curve.impostor.error})
    other["threshold"] = float(curve.threshold)
    return pd.concat([table.assign(kind="FNMR"), other.assign(kind="FMR")])


def _method_names(arguments):
    names = arguments.names or [path.stem for path in arguments.scores]
    if len(names) != len(arguments.scores):
        raise DataError(f"{len(names)} names for {len(arguments.scores)} score files: give one name for each")
    if len(set(names)) != len(names):
        raise DataError(f"two score files have the same name ({', '.join(names)}): give different --names")
    return names


def _similarity(arguments, pairs, table):
    """The similarity of each pair, masked where it can't be compared.

    It comes from a column of the pairs, or from embeddings in the order of the first score file.
    """
    if column := arguments.similarity:
        if column not in pairs:
            raise DataError(f"{arguments.pairs}: there is no column {column!r}; there are {', '.join(pairs)}")
        if pairs[column].dtype.kind not in "biuf":
            raise DataError(f"{arguments.pairs}: the column {column!r} does not hold numbers")
        values = pairs[column].to_numpy(float)
        if (apart := np.isnan(values)).any():
            a, b = pairs.loc[np.argmax(apart), ["a", "b"]]
            _say_not_enrolled(arguments, f"{apart.sum()} pairs have no similarity ({a} with {b} first)")
            return np.ma.array(values, mask=apart)
        return values
    embeddings = read_npy(arguments.embeddings, mmap=True)
    if embeddings.ndim != 2 or len(embeddings) != len(table):
        raise DataError(
            f"{arguments.embeddings}: shape {embeddings.shape}, but {arguments.scores[0]} has {len(table)} rows; "
            "row i of the array belongs to row i of the first score file"
        )
    rows = table.assign(score=np.arange(len(table), dtype=float))
    a, b = (np.asarray(side, dtype=float).astype(int) for side in score_files.pair_qualities(pairs, rows))
    if (infinite := np.flatnonzero(np.isinf(embeddings).any(axis=1))).size:
        name = table["path"].iloc[infinite[0]]
        raise DataError(
            f"{arguments.embeddings}: {len(infinite)} embeddings hold infinity, {name} first; make them anew"
        )
    absent = np.isnan(embeddings).any(axis=1) | ~np.asarray(embeddings).any(axis=1)
    if not absent.any():
        return (cosine if arguments.kind == "cosine" else euclidean)(embeddings[a], embeddings[b])
    apart = absent[a] | absent[b]
    name = table["path"].iloc[int(np.argmax(absent))]
    _say_not_enrolled(
        arguments,
        f"{arguments.embeddings}: {absent.sum()} faces have no embedding (NaN or zeros), {name} first: they were not "
        f"enrolled; {apart.sum()} pairs",
    )
    values = np.zeros(len(pairs))
    compare = cosine if arguments.kind == "cosine" else euclidean
    values[~apart] = compare(embeddings[a[~apart]], embeddings[b[~apart]])
    return np.ma.array(values, mask=apart)


def _say_not_enrolled(arguments, what):
    if arguments.on_missing == "raise":
        raise DataError(f"{what}; --on-missing worst counts them as not accepted, drop leaves them out")
    rule = "left out" if arguments.on_missing == "drop" else "a mated pair fails, an impostor pair does not match"
    warnings.warn(f"{what}: {rule}", PairsWarning, stacklevel=3)


def _intervals(arguments, pairs, similarity, mated, qualities, rules):
    who = identities_of_pairs(pairs)
    options = {"limit": arguments.limit, "kind": "normalised", "n_draws": arguments.draws}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the curves themselves have already warned
        return {
            name: evaluation.bootstrap_pauc(
                similarity, mated, *quality, *who, random_state=arguments.seed, **options, **rules
            )
            for name, quality in qualities.items()
        }


def _print_curves(arguments, curves, intervals):
    print(next(iter(curves.values())).caption())
    rows = []
    for name, curve in curves.items():
        row = {"method": name, **{f"pAUC({x:g})": curve.pauc(x, "normalised") for x in (0.05, 0.2, 0.3, 0.95)}}
        if name in intervals:
            row[f"95% interval at {arguments.limit:g}"] = f"{intervals[name].low:.3f} to {intervals[name].high:.3f}"
        if curve.n_missing:
            row["pairs without a score"] = curve.n_missing
        if curve.n_not_enrolled:
            row["pairs not enrolled"] = curve.n_not_enrolled
        if curve.impostor is not None:
            row |= {f"FMR at {x:g}": f"{curve.impostor.at(x):.3g}" for x in (0, arguments.limit)}
        rows.append(row)
    print("Normalised: the area under the curve over that of chance; chance is 1, lower is better.")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3f}"))
