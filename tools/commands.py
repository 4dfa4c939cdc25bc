"""The commands of nb.py. Everything but `clean` runs inside .venv, which is made first where it is missing."""

import argparse
import ast
import csv
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

from . import environment
from .environment import ROOT

BUILD = ROOT / "build"


def main(argv):
    """Run one command and return its exit status."""
    arguments = parse(argv)
    if arguments.command != "clean":
        environment.enter(argv)
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        return "interrupted"


def parse(argv):
    """The arguments of a command; `extra` are those that it hands on to pytest or JupyterLab."""
    top = parser()
    arguments, extra = top.parse_known_args(argv)
    if extra and arguments.command not in ("test", "lab"):
        top.error(f"{arguments.command} does not know {' '.join(extra)}")
    arguments.extra = extra
    return arguments


def parser():
    """The command line. Its functions import what needs .venv only when they are called."""
    top = argparse.ArgumentParser(prog="nb.py", description="The face image quality course: set up, run, check, read.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, run, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("setup", lambda arguments: 0, "make .venv and install the course into it")
    course_ = add("course", course, "execute every notebook in order and write the HTML book")
    course_.add_argument("--measured", action="store_true", help="also write the times that README.md gives")
    add("test", test, "ruff, then pytest, which runs every notebook with QUICK=True (other arguments go to pytest)")
    add("lab", lab, "open the notebooks in JupyterLab (other arguments, such as --no-browser, go to it)")
    add("book", book, "write the HTML book from the last run of the course, or from the committed outputs")
    build_ = add("build", build, "execute notebooks and commit-ready write their outputs back")
    build_.add_argument("names", nargs="*", help="notebooks: 02, 02_name or a path (all by default)")
    for command in (course_, build_):
        command.add_argument("--workers", type=int, default=environment.workers(), help="notebooks at a time")
    check_ = add("check", check, "see that the committed outputs are whole and fresh")
    check_.add_argument("names", nargs="*", help="notebooks (all by default)")
    check_.add_argument("--run", action="store_true", dest="again", help="execute again and compare")
    run_ = add("run", run, "execute one notebook with your own parameters")
    run_.add_argument("name", help="a notebook: 02, 02_name or a path")
    help_p = "a parameter; its value is of the type that the notebook gives it"
    run_.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=help_p)
    run_.add_argument("--out", type=Path, default=BUILD / "run", help="folder for the executed notebook")
    run_.add_argument("--wall-limit", type=float, default=3600, help="seconds for the notebook")
    slides_ = add("slides", slides, "write build/slides: slides of the lessons, from their own cells")
    slides_.add_argument("names", nargs="*", help="notebooks (all lessons by default)")
    grade_ = add("grade", grade, "run submissions of exercises and write what is right into a table")
    grade_.add_argument(
        "folder", type=Path, help="notebooks at any depth, such as anna/04_judging_quality_scores.ipynb"
    )
    grade_.add_argument("--out", type=Path, default=BUILD / "grades.csv", help="the table (default: build/grades.csv)")
    grade_.add_argument("--limit", type=float, default=300, help="seconds for one notebook (default: 300)")
    add("lint", lint, "ruff: rules and format").add_argument("--fix", action="store_true", help="correct what ruff can")
    add("bench", bench, "run the benchmarks and write build/benchmarks.csv")
    add("readme", readme, "write what README.md takes from the committed notebooks and benchmark tables")
    add("requirements", requirements, "write requirements*.txt from the lists of packages in pyproject.toml")
    add("clean", clean, "remove what the other commands made").add_argument(
        "--all", action="store_true", help="also .venv and the caches under data/"
    )
    return top


def course(arguments):
    """Execute everything, go on after a failure, then write the book. The status tells whether all went well."""
    from . import catalogue

    begun, ended = time.monotonic(), {}
    jobs = [(path, BUILD / "course" / catalogue.relative(path)) for path in catalogue.course()]
    rows = _side_by_side(execute_one, jobs, arguments.workers, ended)
    total = time.monotonic() - begun
    lessons = max(when for path, when in ended.items() if not catalogue.is_solution(path)) - begun
    _write_results(rows)
    print(f"\nthe lessons were through after {lessons:.0f} s, the solutions after {total:.0f} s", end="")
    status = _summary(rows, total)
    if arguments.measured and not status:  # a run that failed has not taken the time of the course
        from . import readme

        readme.write_times(rows, lessons, total)
    return book(arguments) or status


def execute_one(path, out):
    """Execute one notebook. Returns its path, seconds, error or None."""
    from . import execution

    done = execution.execute(path, out)
    return path, done.seconds, done.error


def book(arguments):
    """Write build/book."""
    from . import api, book, catalogue

    try:
        index = book.build(BUILD / "book", catalogue.course(), BUILD / "course", _read_results())
        api.build(BUILD / "book" / "api")
    except book.FormulaError as problem:
        print(f"no book: {problem}")
        return 1
    print(f"book: {index}")
    return 0


def build(arguments):
    """Execute without a network and write the outputs back, with the hash of what they were built from."""
    from . import catalogue

    begun = time.monotonic()
    jobs = [(path, BUILD / "built" / catalogue.relative(path)) for path in catalogue.select(arguments.names)]
    return _summary(_side_by_side(build_one, jobs, arguments.workers), time.monotonic() - begun)


def build_one(path, out, root=ROOT):
    """Build one notebook, which is written only when nothing is wrong. Returns its path, seconds, error or None."""
    from . import catalogue, checks, execution, provenance

    source = provenance.built_from(path, root)
    original = catalogue.read(path)
    done = execution.execute(path, out, offline=True)
    wrong = [done.error] if done.error else checks.outputs(done.notebook)
    if not wrong:
        grafted = execution.graft(original, done.notebook)
        grafted.metadata["fiqa"] = {"built_from": source}
        catalogue.write(grafted, path)
    return path, done.seconds, "; ".join(wrong) or None


def readme(arguments):
    """Bring README.md up to date with the committed notebooks."""
    from . import readme

    readme.write()


def requirements(arguments):
    """Bring requirements*.txt up to date with pyproject.toml."""
    from . import requirements

    requirements.write()


def check(arguments):
    """Look at the committed notebooks; with --run, execute them again and compare."""
    from . import catalogue, checks, provenance

    rows = []
    for path in _progress(catalogue.select(arguments.names), rows):
        begun, wrong = time.monotonic(), checks.problems(path)
        if arguments.again:
            wrong += run_again(path, BUILD / "checked" / catalogue.relative(path))
        rows.append((path, time.monotonic() - begun, "; ".join(wrong) or None))
    for path, _, _ in rows:
        for note in checks.notes(path):
            print(f"note: {path.stem}: {note}")
    stale = provenance.stale_stamps()
    for reason in stale:
        print(f"STALE {reason}")
    return _summary(rows) or bool(stale)


def run_again(path, out):
    """Execute the notebook in `path` into `out`; what is wrong with that run, and where it differs from `path`."""
    from . import catalogue, checks, execution

    done = execution.execute(path, out, offline=True)
    if done.error:
        return [done.error]
    committed = catalogue.read(path)
    return checks.outputs(done.notebook) + checks.differences(committed, execution.graft(committed, done.notebook))


def run(arguments):
    """Execute one notebook with parameters into a folder."""
    from . import catalogue, execution

    (path,) = catalogue.select([arguments.name])[:1]
    parameters = dict((name, parameter(name, value)) for name, value in arguments.p)
    rows, limit = [], arguments.wall_limit
    try:
        for _ in _progress([path], rows):
            out = arguments.out / path.name
            done = execution.execute(path, out, parameters, cell_limit=limit, wall_limit=limit)
            rows.append((path, done.seconds, done.error))
    except execution.ParameterError as problem:
        print("\n" + str(problem))
        return 2
    print(f"written: {out}")
    return _summary(rows)


def slides(arguments):
    """Write build/slides."""
    from . import catalogue
    from . import slides as maker

    chosen = catalogue.select(arguments.names) if arguments.names else catalogue.course()
    pages = maker.build(BUILD / "slides", [path for path in chosen if not catalogue.is_solution(path)])
    print(f"{len(pages)} pages in {BUILD / 'slides'}: open one, and turn with the arrow keys")


def grade(arguments):
    """Grade a folder of submissions: see `tools.grade`."""
    from . import grade as grader

    try:
        grader.grade(arguments.folder, arguments.out, limit=arguments.limit, say=print)
    except FileNotFoundError as problem:
        print(problem)
        return 2
    print(f"written: {arguments.out}")
    return 0


def parameter(name, value):
    """A value from the command line: a Python literal where it is one, else text; a folder for DATA from here on."""
    if name == "DATA" and Path(value).exists():
        return str(Path(value).resolve())  # the notebook runs in its own folder
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def test(arguments):
    """Ruff, then pytest as the last thing: its closing line and its status are those of the command."""
    side_by_side = ("-n", str(environment.workers()), "--dist", "loadgroup")  # the groups: tests/conftest.py
    return lint(arguments) or _call("-m", "pytest", *side_by_side, *arguments.extra)


def lint(arguments):
    """Ruff's rules for Python and notebooks, its format for Python."""
    fix = getattr(arguments, "fix", False)
    notebooks_apart = ["--config", "format.exclude = ['*.ipynb']"]
    rules = _call("-m", "ruff", "check", "--quiet", "--output-format=concise", *(["--fix"] if fix else []), ".")
    style = _call("-m", "ruff", "format", "--quiet", *([] if fix else ["--check"]), *notebooks_apart, ".")
    if style and not fix:
        print("the format is not ruff's: python tools/nb.py lint --fix")
    return rules or style


def lab(arguments):
    """JupyterLab at notebooks/. In a container one is root, which Jupyter wants to be told."""
    root = ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    return _call("-m", "jupyterlab", f"--ServerApp.root_dir={ROOT / 'notebooks'}", *root, *arguments.extra)


def bench(arguments):
    """benchmarks/run.py."""
    return _call(str(ROOT / "benchmarks" / "run.py"))


def clean(arguments):
    """Remove build/ and the caches of tools; with --all, also .venv and data/cache."""
    places = [BUILD, ROOT / ".pytest_cache", ROOT / ".ruff_cache", ROOT / ".hypothesis"]
    places += ROOT.glob("*.egg-info")
    for folder in ("fiqa_lib", "tests", "tools", "benchmarks", "notebooks"):
        places += [p for name in ("__pycache__", ".ipynb_checkpoints") for p in (ROOT / folder).rglob(name)]
    if arguments.all:
        places += [environment.VENV, ROOT / "data" / "cache"]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


def _call(*arguments):
    sys.stdout.flush()
    return subprocess.call([sys.executable, *arguments], cwd=ROOT)


def _side_by_side(work, jobs, workers, ended=None):
    """`work(*job)` for each job (path, ...), `workers` at a time, each in a process of its own.

    Returns the rows (path, seconds, error or None) in the order of the jobs. A job whose process dies is a row, too.
    `ended`, a dict, gets the time at which each path was through (`time.monotonic`).
    """
    rows, ended = [], {} if ended is None else ended
    options = {"mp_context": get_context("spawn"), "initializer": _end_with_parent}
    with ProcessPoolExecutor(max(1, min(workers, len(jobs))), **options) as pool:
        running = [pool.submit(work, *job) for job in jobs]
        for (path, *_), future in zip(jobs, running, strict=True):
            future.add_done_callback(lambda _, path=path: ended.setdefault(path, time.monotonic()))
        for path in _progress([job[0] for job in jobs], rows):
            try:
                rows.append(running[len(rows)].result())
            except BrokenProcessPool:
                rows.append((path, 0.0, "the process that executes notebooks was killed (memory?): try --workers 1"))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in active_children():  # a kernel ends when its parent has
                    process.terminate()
                raise
    return rows


def _end_with_parent():
    """Ends this process as soon as the one that started it is gone: killed, it can't tell its workers."""

    def wait():
        parent_process().join()
        os._exit(1)  # its kernel sees it, and ends, too

    threading.Thread(target=wait, daemon=True).start()


def _progress(paths, rows):
    """Yield each path; print one line for each with its time and how it ended, which the caller puts into `rows`."""
    width = max([len(path.stem) for path in paths], default=0)
    for number, path in enumerate(paths, 1):
        print(f"[{number:2}/{len(paths)}] {path.stem:<{width}}  ", end="", flush=True)
        yield path
        _, seconds, error = rows[-1]
        print(f"{'FAILED' if error else 'ok':<6} {seconds:6.1f} s", flush=True)


def _summary(rows, total=None):
    """A table at the end, the failures below it. The status: 1 when anything failed. `total`: seconds by the clock."""
    failed = [(path.stem, error) for path, _, error in rows if error]
    total = sum(seconds for _, seconds, _ in rows) if total is None else total
    print(f"\n{len(rows)} notebooks, {len(rows) - len(failed)} ok, {len(failed)} failed, {total:.0f} s in all")
    for name, error in failed:
        print(f"FAILED {name}: {error}")
    return 1 if failed else 0


def _write_results(rows):
    """build/course/results.csv, for the index of the book."""
    from fiqa_lib.files import whole_file

    with whole_file(BUILD / "course" / "results.csv") as temporary:
        with open(temporary, "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([(p.stem, f"{seconds:.1f}", error or "") for p, seconds, error in rows])


def _read_results():
    file = BUILD / "course" / "results.csv"
    if not file.exists():
        return {}
    with open(file, encoding="utf-8", newline="") as stream:
        return {name: (float(seconds), error or None) for name, seconds, error in csv.reader(stream)}
