"""The command line: `python -m fiqa_lib COMMAND`. Errors about the user's input are one line, without a traceback.

Exit status: 0 done, 1 an error that stopped the work, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from .errors import DataError, FiqaError
from .files import whole_file, write_csv


def main(argv=None):
    """Run one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _say_warning
            return arguments.run(arguments) or 0
    except FiqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1


def _say_warning(message, category, filename, lineno, file=None, line=None):
    print(f"warning: {message}", file=sys.stderr)


def parser():
    """The parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m fiqa_lib", description="Face image quality assessment.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_score(commands)
    _add_report(commands)
    _add_methods(commands)
    _add_edc(commands)
    _add_sdd_labels(commands)
    _add_benchmark(commands)
    return top


def _share(text):
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1")
    return value


# -------------------------------------------------------------------------------------------------------------- score


def _add_score(commands):
    text = "score photographs: one row for every input, in order, whatever is wrong with it; or a video, frame by frame"
    command = commands.add_parser("score", help=text, description=text)
    command.set_defaults(run=score)
    add = command.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="PATH",
        help="image files, folders, lists of them (.txt, one path a line); or a video",
    )
    add("--method", required=True, metavar="NAME", help="a quality method; `methods` lists them")
    add("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method; may be repeated")
    add("--recogniser", metavar="NAME", help="for methods that use one (default: dlib)")
    add("--weights", type=Path, metavar="FILE", help="the recogniser's weights, as its authors publish them")
    add("--model", type=Path, metavar="FILE.npz", help="a fitted method that learns (default: fit on bundled faces)")
    add("--out", type=Path, required=True, metavar="SCORES.csv", help="where the table is written")
    add("--format", choices=("csv", "faceqgen"), default="csv", help="faceqgen: lines `img;score`, without status")
    add("--plot", type=Path, metavar="SHEET.jpg", help="contact sheet of the best and the worst faces; video: timeline")
    add("--best", type=int, default=0, metavar="N", help="video: write the N best frames to --best-dir")
    add("--best-dir", type=Path, metavar="DIR", help="video: the folder for the best frames")
    add("--fallback", choices=("centre",), help="where no face is found: take the middle of the picture, and say so")
    add("--restart", action="store_true", help="do not go on with a run of the same command that was interrupted")
    add("--strict", action="store_true", help="stop at the first input that can't be scored")
    add("--jobs", type=int, default=1, metavar="N", help="processes for detection (default: 1)")
    add("--no-progress", action="store_true", help="no progress bar")


def score(arguments):
    """Score photographs, or one video, into a table; see `scoring.score_files` and `video.score_video`."""
    from . import scoring

    film = _video_of(arguments)
    scorer = scoring.make_scorer(
        arguments.method,
        _parameters(arguments.param),
        recogniser=arguments.recogniser,
        weights=arguments.weights,
        model=arguments.model,
        progress=not arguments.no_progress,
    )
    if film is not None:
        return _score_video(arguments, film, scorer)
    inputs = scoring.list_inputs(arguments.inputs)
    table = scoring.score_files(
        inputs,
        scorer,
        arguments.out,
        fallback=arguments.fallback,
        strict=arguments.strict,
        restart=arguments.restart,
        n_jobs=arguments.jobs,
        write=scoring.write_quality if arguments.format == "faceqgen" else write_csv,
        progress=not arguments.no_progress,
    )
    if arguments.plot:
        scoring.contact_sheet(table, arguments.plot, fallback=arguments.fallback)
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    print(f"{len(table)} inputs: {counts}. Written: {arguments.out}")


def _video_of(arguments):
    """The video among the inputs, or None; DataError where the options do not fit."""
    from .video import SUFFIXES

    films = [text for text in arguments.inputs if Path(text).suffix.lower() in SUFFIXES and not Path(text).is_dir()]
    if films and len(arguments.inputs) > 1:
        raise DataError(f"{films[0]}: a video is scored alone; give one video, or photographs without it")
    if not films and (arguments.best or arguments.best_dir):
        raise DataError("--best and --best-dir are for a video; the table of photographs can be sorted by score")
    if films and (arguments.best > 0) != (arguments.best_dir is not None):
        raise DataError("--best N (from 1) and --best-dir DIR belong together")
    if films and arguments.strict:
        raise DataError("--strict is for photographs: in a video, frames without a face are nothing unusual")
    if films and arguments.format != "csv":
        raise DataError(
            f"--format {arguments.format} is for photographs: it names a file for each score; frames have none"
        )
    return films[0] if films else None


def _score_video(arguments, film, scorer):
    from . import video

    result = video.score_video(
        film,
        scorer,
        arguments.out,
        fallback=arguments.fallback,
        best=arguments.best,
        best_dir=arguments.best_dir,
        restart=arguments.restart,
        progress=not arguments.no_progress,
    )
    if arguments.plot:
        video.timeline(result.table, arguments.plot, title=f"{Path(film).name}: {arguments.method}")
    best = f" Best frames: {arguments.best_dir}" if result.best else ""
    print(f"{result.summary()}. Written: {arguments.out}{best}")


def _parameters(given):
    """NAME=VALUE strings as a dict; values are Python literals where they can be, else text."""
    import ast

    found = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise DataError(f"--param {item}: expected NAME=VALUE")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def _add_methods(commands):
    text = "list the quality methods"
    command = commands.add_parser("methods", help=text, description=text)
    command.set_defaults(run=methods)


def methods(arguments):
    """One line for each method: name, cost, what it is."""
    from .scorers import SCORERS

    width = max(map(len, SCORERS))
    for name, cls in sorted(SCORERS.items()):
        first = cls.__doc__.strip().splitlines()[0]
        print(f"{name:{width}}  {first}  [{cls.cost}]")


# ------------------------------------------------------------------------------------------------------------- report


def _add_report(commands):
    text = "a folder of photographs as one HTML page: scores, kept or rejected, what is wrong with each, what failed"
    command = commands.add_parser("report", help=text, description=text)
    command.set_defaults(run=report)
    add = command.add_argument
    add("folder", type=Path, metavar="FOLDER", help="looked through with all folders below; nothing in it is changed")
    add("--out", type=Path, required=True, metavar="PAGE.html", help="the page: one file that needs no network")
    add("--method", default="view-agreement", metavar="NAME", help="a quality method (default: view-agreement)")
    add("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method; may be repeated")
    add("--recogniser", metavar="NAME", help="for methods that use one (default: dlib)")
    add("--weights", type=Path, metavar="FILE", help="the recogniser's weights, as its authors publish them")
    add("--model", type=Path, metavar="FILE.npz", help="a fitted method that learns (default: fit on bundled faces)")
    rule = command.add_mutually_exclusive_group()
    rule.add_argument("--discard", type=float, default=0.1, metavar="SHARE", help="reject at most it (default: 0.1)")
    rule.add_argument("--threshold", type=float, metavar="SCORE", help="or: keep what scores at least this")
    add("--fallback", choices=("centre",), help="where no face is found: take the middle of the picture, and say so")
    add("--no-messages", action="store_true", help="only scores, no component messages")
    add("--title", help="default: the folder's name")
    add("--jobs", type=int, default=1, metavar="N", help="processes that read photographs (default: 1)")
    add("--no-progress", action="store_true", help="no progress bar")


def report(arguments):
    """One page about a folder; see `report.write_report`."""
    from . import scoring
    from .report import write_report

    scorer = scoring.make_scorer(
        arguments.method,
        _parameters(arguments.param),
        recogniser=arguments.recogniser,
        weights=arguments.weights,
        model=arguments.model,
    )
    written = write_report(
        arguments.folder,
        arguments.out,
        scorer,
        discard=arguments.discard,
        threshold=arguments.threshold,
        fallback=arguments.fallback,
        measures=not arguments.no_messages,
        title=arguments.title,
        n_jobs=arguments.jobs,
        progress=not arguments.no_progress,
    )
    counts = ", ".join(f"{n} {verdict}" for verdict, n in written.table["verdict"].value_counts().items())
    rule = (
        f"threshold {written.threshold:.4g}" if math.isfinite(written.threshold) else "no threshold: nothing was scored"
    )
    print(f"{len(written.table)} files: {counts}; {rule}. Written: {arguments.out}")


# ---------------------------------------------------------------------------------------------------------------- edc


def _add_edc(commands):
    text = "judge quality scores: error-versus-discard curves on a list of pairs"
    command = commands.add_parser("edc", help=text, description=text, epilog=EDC_EPILOG)
    command.set_defaults(run=edc)
    add = command.add_argument
    add("--scores", type=Path, nargs="+", required=True, metavar="FILE", help="score files; several are compared")
    add("--names", nargs="+", metavar="NAME", help="what to call them (default: their file names)")
    add("--column", default="score", help="score column of CSV files (default: score)")
    add(
        "--pairs", type=Path, required=True, metavar="FILE", help="a,b,same CSV, LFW pairs.txt or CR-FIQA pair_list.txt"
    )
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--embeddings", type=Path, metavar="FILE.npy", help="one row for each row of the first score file"
    )
    source.add_argument("--similarity", metavar="COLUMN", help="column of the pairs file, higher is more alike")
    add("--kind", choices=("cosine", "euclidean"), default="cosine", help="how embeddings are compared")
    add("--fmr", type=_share, default=1e-3, help="target false match rate (default: 1e-3)")
    add("--convention", choices=("fixed", "refit"), default="fixed", help="decision threshold (default: fixed)")
    add("--population", choices=("mated", "all"), default="mated", help="which pairs are discarded")
    add("--on-missing", choices=("worst", "drop", "raise"), default="worst", help="faces without a score")
    add("--limit", type=_share, default=0.3, help="discard share of the intervals (default: 0.3)")
    add("--draws", type=int, default=1000, help="bootstrap draws over people; 0 for none (default: 1000)")
    add("--seed", type=int, default=0, help="of the bootstrap")
    add("--out", type=Path, metavar="CURVE.csv", help="write the curves: method, discard, error, ...")
    add("--summary", type=Path, metavar="TABLE.csv", help="write the areas at all limits")
    add("--plot", type=Path, metavar="CURVE.png", help="draw the curves with chance and oracle")


EDC_EPILOG = (
    "People, for the intervals, are taken from the columns identity_a and identity_b of the pairs file; else from the "
    "folder names (person/photograph.jpg) where they agree with the flags; else two images belong to one person when "
    "mated pairs connect them."
)


def edc(arguments):
    """Compare score files on one list of pairs."""
    from . import evaluation, plotting, protocols

    pairs = protocols.read_pairs(arguments.pairs)
    tables = [protocols.read_scores(path, column=arguments.column) for path in arguments.scores]
    names = _method_names(arguments)
    similarity = _similarity(arguments, pairs, tables[0])
    mated = pairs["mated"].to_numpy()
    rules = {
        "fmr": arguments.fmr,
        "convention": arguments.convention,
        "population": arguments.population,
        "on_missing": arguments.on_missing,
    }
    qualities = {}
    for name, path, table in zip(names, arguments.scores, tables, strict=True):
        try:
            qualities[name] = protocols.pair_qualities(pairs, table)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    curves = {name: evaluation.edc(similarity, mated, *quality, **rules) for name, quality in qualities.items()}
    intervals = _intervals(arguments, pairs, similarity, mated, qualities, rules) if arguments.draws else {}
    if arguments.out:
        write_csv(pd.concat([c.to_frame(method=name) for name, c in curves.items()]), arguments.out)
    if arguments.summary:
        write_csv(pd.concat([c.summary(method=name) for name, c in curves.items()]), arguments.summary)
    if arguments.plot:
        figure = plotting.edc(curves, intervals=intervals, limit=arguments.limit)
        with whole_file(arguments.plot) as temporary:
            _save(figure, temporary, arguments.plot)
    _print_curves(arguments, curves, intervals)


def _method_names(arguments):
    names = arguments.names or [path.stem for path in arguments.scores]
    if len(names) != len(arguments.scores):
        raise DataError(f"{len(names)} names for {len(arguments.scores)} score files: give one name for each")
    if len(set(names)) != len(names):
        raise DataError(f"two score files are called alike ({', '.join(names)}): tell them apart with --names")
    return names


def _similarity(arguments, pairs, table):
    """The similarity of each pair, from a column of the pairs or from embeddings in the order of the first scores."""
    from . import protocols, verification

    if arguments.similarity:
        if arguments.similarity not in pairs:
            raise DataError(
                f"{arguments.pairs}: there is no column {arguments.similarity!r}; there are {', '.join(pairs)}"
            )
        values = pairs[arguments.similarity]
        if not pd.api.types.is_numeric_dtype(values):
            raise DataError(f"{arguments.pairs}: the column {arguments.similarity!r} does not hold numbers")
        return values.to_numpy(float)
    try:
        embeddings = np.load(arguments.embeddings, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{arguments.embeddings}: not a readable .npy array ({error})") from error
    if embeddings.ndim != 2 or len(embeddings) != len(table):
        raise DataError(
            f"{arguments.embeddings}: shape {embeddings.shape}, but {arguments.scores[0]} has {len(table)} rows; "
            "row i of the array belongs to row i of the first score file"
        )
    rows = table.assign(score=np.arange(len(table), dtype=float))
    a, b = (np.asarray(side, dtype=float).astype(int) for side in protocols.pair_qualities(pairs, rows))
    compare = verification.cosine if arguments.kind == "cosine" else verification.euclidean
    return compare(embeddings[a], embeddings[b])


def _intervals(arguments, pairs, similarity, mated, qualities, rules):
    from . import evaluation
    from .data.pairs import identities_of_pairs

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


def _save(figure, temporary, path):
    try:
        figure.savefig(temporary, dpi=150)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _print_curves(arguments, curves, intervals):
    first = next(iter(curves.values()))
    print(first.caption())
    rows = []
    for name, curve in curves.items():
        row = {"method": name, **{f"pAUC({x:g})": curve.pauc(x, "normalised") for x in (0.05, 0.2, 0.3, 0.95)}}
        if name in intervals:
            row[f"95% interval at {arguments.limit:g}"] = f"{intervals[name].low:.3f} to {intervals[name].high:.3f}"
        if curve.n_missing:
            row["pairs without a score"] = curve.n_missing
        rows.append(row)
    print("Normalised: the area under the curve over that of chance; chance is 1, lower is better.")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3f}"))


# --------------------------------------------------------------------------------------------------------- sdd-labels


def _add_sdd_labels(commands):
    text = "quality labels from a recogniser (SDD-FIQA), for any number of images"
    command = commands.add_parser("sdd-labels", help=text, description=text, epilog=SDD_EPILOG)
    command.set_defaults(run=sdd_labels)
    add = command.add_argument
    add("--image-list-file", type=Path, metavar="FILE", help="one image a line (default: all below --image-root)")
    add("--image-root", type=Path, metavar="FOLDER", help="the lines of the list are relative to it")
    add("--score-dst", type=Path, required=True, metavar="OUT", help="FILE.csv, or a folder for sdd_labels.csv")
    add("--id-key-index", type=int, default=-2, metavar="I", help="part of a line that names the person (default: -2)")
    add(
        "--feature-root", type=Path, metavar="FOLDER", help="embeddings, one .npy for each image; missing ones are made"
    )
    add("--load-feature", **SWITCH, help="only read embeddings, make none from images")
    add("--features", type=Path, metavar="FILE.npy", help="embeddings as one array, row i for line i")
    add("--recogniser", default="dlib", metavar="NAME", help="to make embeddings with (default: dlib)")
    add("--weights", type=Path, metavar="FILE", help="the recogniser's weights, as its authors publish them")
    add("--fallback", choices=("centre",), help="where no face is found: take the middle of the picture")
    add("--fix-num", type=int, default=24, metavar="N", help="positives and negatives of each repeat (default: 24)")
    add("--repeats", type=int, default=12, metavar="N", help="(default: 12)")
    add("--draws", choices=("pooled", "independent"), default="pooled", help="negatives: shared by neighbours, or not")
    add("--exact", action="store_true", help="all positives against all negatives; work grows with the square")
    add("--scale", choices=("minmax", "robust", "none"), default="minmax", help="of each repeat (default: minmax)")
    add("--seed", type=int, default=0, help="of the draws (default: 0)")
    add("--process-num", type=int, metavar="N", help="processes (default: one for each core); no effect on the result")
    add("--cluster", metavar="ADDRESS", help="of a Dask scheduler, such as tcp://host:8786; no effect on the result")
    add("--max-memory", type=float, default=1e9, metavar="BYTES", help="for the work of all processes (default: 1e9)")
    add("--strict", action="store_true", help="stop at the first image that can't be used")
    going_on = command.add_mutually_exclusive_group()
    going_on.add_argument("--resume", action="store_true", help="go on with an interrupted run (what is done anyway)")
    going_on.add_argument("--restart", action="store_true", help="drop what an interrupted run left")
    add("--no-progress", action="store_true", help="no progress bars")


def _switch(text):
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")


SWITCH = {"nargs": "?", "const": True, "default": False, "type": _switch, "metavar": "True|False"}
SDD_EPILOG = (
    "A run that was interrupted, even by kill -9, goes on when the same command is given again, and ends with the same "
    "bytes. What it has so far lies beside OUT in a folder OUT.work, which is removed at the end. Embeddings of image "
    "a/b.jpg are looked for in FEATURE_ROOT/a/b.jpg.npy, then in FEATURE_ROOT/a/b.npy. On a cluster all machines must "
    "see the same files under the same names."
)


def sdd_labels(arguments):
    """Labels of listed images into a table; see `labelling.label_files`."""
    from . import labelling

    given = dict(vars(arguments))
    out = given["score_dst"] if given["score_dst"].suffix == ".csv" else given["score_dst"] / "sdd_labels.csv"
    given |= {"n_samples": given["fix_num"], "n_repeats": given["repeats"], "progress": not given["no_progress"]}
    for name in ("command", "run", "score_dst", "fix_num", "repeats", "resume", "no_progress"):
        given.pop(name)
    counts = labelling.label_files(out, **given)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: -item[1]))
    print(f"{sum(counts.values())} images: {said}. Written: {out}")


# ---------------------------------------------------------------------------------------------------------- benchmark


def _add_benchmark(commands):
    text = "judge every method on the same pairs, and write the tables"
    command = commands.add_parser("benchmark", help=text, description=text, epilog=BENCHMARK_EPILOG)
    command.set_defaults(run=benchmark)
    add = command.add_argument
    add("--data", default="bundled", metavar="FOLDER", help="person/photograph.jpg (default: the bundled faces)")
    add("--pairs", type=Path, metavar="PROTOCOL", help="a,b,same CSV, LFW pairs.txt or CR-FIQA pair_list.txt")
    add("--groups", type=Path, metavar="FILE.csv", help="identity,group or name,group: also report by group")
    add("--methods", nargs="+", metavar="NAME", help="only these (default: all; `methods` lists them)")
    add("--recogniser", metavar="NAME", help="that verifies, and that the methods use (default: dlib)")
    add("--weights", type=Path, metavar="FILE", help="the recogniser's weights, as its authors publish them")
    add("--photographs", type=int, default=5, metavar="N", help="of each person, without --pairs (default: 5; 0: all)")
    add("--copies", type=int, default=3, metavar="N", help="degraded copies of each, without --pairs (default: 3)")
    add("--fmr", type=_share, default=1e-3, help="target false match rate (default: 1e-3)")
    add("--limit", type=_share, default=0.2, help="discard share of ranks and differences (default: 0.2)")
    add("--draws", type=int, default=300, help="bootstrap draws over people (default: 300)")
    add("--seed", type=int, default=0, help="of people, damage and draws (default: 0)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the tables benchmark_*.csv")


BENCHMARK_EPILOG = (
    "Learners are fitted on people who are in no pair. Scores are kept in the cache as they are made: a run that was "
    "interrupted goes on when the same command is given again. Exit status 1 when a method failed; the others are in "
    "the tables all the same."
)


def benchmark(arguments):
    """All methods on the same pairs; see `benchmark.run` and `benchmark.tables`."""
    from . import benchmark as bench
    from .recognition import load_recogniser

    recogniser = None
    if arguments.recogniser or arguments.weights:
        recogniser = load_recogniser(arguments.recogniser or "dlib", arguments.weights)
    given = bench.protocol(
        arguments.data,
        arguments.pairs,
        arguments.groups,
        photographs=arguments.photographs or None,
        copies=arguments.copies,
        random_state=arguments.seed,
    )
    results = bench.run(given, arguments.methods, recogniser=recogniser, say=_say_method)
    similarity = bench.similarities(given, recogniser)
    options = {"fmr": arguments.fmr, "limit": arguments.limit, "n_draws": arguments.draws}
    made = bench.tables(given, results, similarity, random_state=arguments.seed, **options)
    bench.write(made, arguments.out)
    areas = made["areas"].query("limit == @arguments.limit").sort_values("pauc")
    print(f"Normalised pAUC up to {arguments.limit:g}: chance is 1, lower is better.")
    print(areas[["method", "pauc", "low", "high"]].to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    failed = results.methods.query("status != 'ok'")
    for name, reason in zip(failed["method"], failed["reason"], strict=True):
        print(f"error: {name}: {reason}", file=sys.stderr)
    print(f"{len(results.scores)} methods, {len(failed)} failed. Written: {arguments.out}")
    return int(len(failed) > 0)


def _say_method(name, status, reason):
    print(f"{name}: {status}{': ' + reason if reason else ''}", file=sys.stderr, flush=True)
