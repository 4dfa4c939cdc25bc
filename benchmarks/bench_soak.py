"""A soak test: hostile files, kill -9, two runs at once, 50,000 files, fuzzed files, hostile videos, a lost cluster.

`python benchmarks/bench_soak.py` prints every number; with `--write` they go to benchmarks/measured/soak.csv too, and
`--part kills` runs one part alone. `python tools/nb.py bench` runs a twentieth of everything.

Each run of a command is a process of its own that a process with warm imports forks: `cli.main` with the arguments of a
person. An exception that reaches its end, a signal, or more than the limit of time is a crash. Memory is the largest
resident size of the process, or of one of its own.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from soak_runs import Running, lost_and_doubled, mutated, row, run

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "benchmarks" / "measured" / "soak.csv"
ALONE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
ALONE["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
"""The environment: a process with threads can't be forked, and the tests know how to damage files."""
MEMORY, FUZZ_MEMORY, FUZZ_SECONDS, FUZZ_HANGS = 1500, 500, 10, 60
"""Megabytes of a run; megabytes and seconds of work of a run on one fuzzed file, and seconds after which it hangs."""


# ----------------------------------------------------------------------------------------------------- what is read


def _crops(folder, count, distinct=64):
    """`count` aligned crops of ORL in folders of ten a person: links to `distinct` files. Returns their paths."""
    from fiqa_lib.data import load_orl
    from fiqa_lib.faces.images import write_image
    from fiqa_lib.recognition import arcface_crop

    originals = []
    for number, crop in enumerate(arcface_crop(load_orl().images[:distinct])):
        originals.append(Path(f"{folder}_originals") / f"{number:03d}.jpg")
        write_image(originals[-1], crop)
    paths = [Path(folder) / f"p{number // 10:05d}" / f"{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % distinct], path)
    return paths


def _hostile(folder, count):
    """`count` files with names of pictures, most of them damaged; the number that the file system took."""
    from broken_files import make_broken_files, picture, saved

    from fiqa_lib.data import load_orl

    make_broken_files(folder)
    rng, face = random.Random(0), load_orl().images[0]
    kinds = {"jpg": ("JPEG", {}), "jpeg": ("JPEG", {"progressive": True}), "png": ("PNG", {}), "gif": ("GIF", {})}
    kinds |= {"bmp": ("BMP", {}), "webp": ("WEBP", {}), "tif": ("TIFF", {}), "pgm": ("PPM", {})}
    kinds |= {"tiff": ("TIFF", {"compression": "tiff_adobe_deflate"})}
    wholes = {end: [saved(image, *form[:1], **form[1]) for image in (picture(), face)] for end, form in kinds.items()}
    left = max(0, count - len(os.listdir(folder)))
    for number in range(left):
        end = list(wholes)[number % len(wholes)]
        whole = rng.choice(wholes[end])
        (folder / f"z{number:04d}.{end}").write_bytes(whole if number % 20 < 2 else mutated(whole, rng))
    return len(os.listdir(folder))


# ------------------------------------------------------------------------------------------------------------- parts


def hostile(share):
    """Hostile files through `score`, `report` and `sdd-labels`."""
    folder = Path("hostile/person")
    count = _hostile(folder, max(200, round(1000 * share)))
    score = run("score", "hostile", "--method", "sharpness", "--out", "hostile.csv", "--no-progress")
    with open("hostile.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (Path("hostile") / "second").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        if number % 2:
            path.rename(Path("hostile") / "second" / path.name)
    page = run("report", "hostile", "--out", "page.html", "--method", "sharpness", "--no-messages", "--no-progress")
    arguments = ("--image-root", "hostile", "--score-dst", "labels.csv", "--process-num", 1, "--no-progress")
    labels = run("sdd-labels", *arguments)
    assert labels.status == 0, labels.said
    with open("labels.csv", newline="", encoding="utf-8") as file:
        labelled = list(csv.DictReader(file))
    runs = {"score": score, "report": page, "sdd-labels": labels}
    found = [row("hostile files", count, "", f">= {round(1000 * share)}")]
    for name, ended in runs.items():
        found.append(row(f"hostile: {name}: crashes", ended.crashed or ended.status != 0, "", "= 0"))
        found.append(row(f"hostile: {name}: peak memory", ended.megabytes, "MB", f"<= {MEMORY}"))
    found.append(
        row(
            "hostile: score: rows lost or doubled",
            abs(len(rows) - count) + len(rows) - len({r["path"] for r in rows}),
            "",
            "= 0",
        )
    )
    unread = int(labels.said.rpartition("left out: ")[2].split()[0]) if "left out: " in labels.said else 0
    found.append(row("hostile: sdd-labels: rows lost or doubled", abs(len(labelled) + unread - count), "", "= 0"))
    said = [row["reason"] for row in rows if row["status"] == "error"]
    found.append(row("hostile: refused, each with a reason", sum(map(bool, said)), "files"))
    found.append(row("hostile: refused without a reason", sum(not text for text in said), "files", "= 0"))
    return found


def _killed(name, arguments, out, partial, kills, names, column):
    """Kill a command at random moments, go on with it, and compare what it leaves with an undisturbed run."""
    rng, out = random.Random(1), Path(out)
    whole = run(*arguments, "--no-progress")
    assert whole.status == 0, whole.said
    reference = out.read_bytes()
    out.unlink()
    done = inside = finished = differ = lost = doubled = crashed = 0
    while done < kills:
        moment = rng.uniform(0.0, 0.8) * whole.seconds
        ended = run(*arguments, "--no-progress", limit=moment)
        if ended.status == -signal.SIGKILL:
            done += 1
            inside += partial(out)
        crashed += ended.crashed and ended.status != -signal.SIGKILL
        if ended.status == 0 or done == kills:  # one that lasts to its end
            again = run(*arguments, "--no-progress")
            crashed += again.status != 0
            finished += 1
            differ += out.read_bytes() != reference
            missing, more = lost_and_doubled(out, names, column)
            lost, doubled = lost + missing, doubled + more
            out.unlink()
    return [
        row(f"{name}: kills", done, "", f">= {kills}"),
        row(f"{name}: kills that left a part of the work", inside),
        row(f"{name}: times that it was finished", finished),
        row(f"{name}: results with other bytes than without a kill", differ, "", "= 0"),
        row(f"{name}: rows lost", lost, "", "= 0"),
        row(f"{name}: rows doubled", doubled, "", "= 0"),
        row(f"{name}: crashes", crashed, "", "= 0"),
    ]


def _some_rows(out):
    partial = out.with_name(out.name + ".partial")
    return partial.exists() and partial.read_bytes().count(b"\n") > 1


def _some_tasks(out):
    work = out.with_name(out.name + ".work")
    return any(work.glob("collected/*.json")) or any(work.glob("distances/*.npy"))


def _labels_to_make(people=2500, dim=32):
    """A list of 12 images of each of many people, and their embeddings in one array. Returns the lines."""
    rng = np.random.default_rng(0)
    lines = [f"p{person:05d}/{image:02d}.jpg" for person in range(people) for image in range(12)]
    centres = np.repeat(rng.normal(size=(people, dim)), 12, axis=0)
    np.save("all.npy", (centres + rng.normal(size=centres.shape)).astype(np.float32))
    Path("list.txt").write_text("\n".join(lines) + "\n")
    return lines


def kills(share):
    """50 kills of `score` and 50 of `sdd-labels`, half of them with two processes."""
    paths, number = _crops("faces", 384), max(2, round(50 * share))
    arguments = ("score", "faces", "--aligned", "--method", "sharpness", "--out", "scores.csv")
    found = _killed("kill -9: score", arguments, "scores.csv", _some_rows, number, list(map(str, paths)), "path")
    lines = _labels_to_make()
    for processes in (1, 2):
        arguments = ("sdd-labels", "--image-list-file", "list.txt", "--features", "all.npy", "--process-num", processes)
        arguments += ("--score-dst", f"labels{processes}.csv")
        name, out = f"kill -9: sdd-labels, processes {processes}", f"labels{processes}.csv"
        found += _killed(name, arguments, out, _some_tasks, max(1, number // 2), lines, "name")
    return found


def pairs(share):
    """Two runs on one output at once, 20 times for each command; every other time both are killed, and one goes on."""
    paths, lines = _crops("faces", 256), _labels_to_make(800)
    score = ("score", "faces", "--aligned", "--method", "sharpness", "--no-progress", "--out")
    label = ("sdd-labels", "--image-list-file", "list.txt", "--features", "all.npy", "--process-num", 1)
    label += ("--no-progress", "--score-dst")
    found = []
    for name, arguments, names, column in (
        ("score", score, list(map(str, paths)), "path"),
        ("sdd-labels", label, lines, "name"),
    ):
        out, total, rng = Path(f"pair_{name}.csv"), max(2, round(20 * share)), random.Random(2)
        whole = run(*arguments, out)
        assert whole.status == 0, whole.said
        reference, told, wrong, lost, doubled = out.read_bytes(), 0, 0, 0, 0
        for number in range(total):
            out.unlink()
            limit = rng.uniform(0.2, 0.9) * whole.seconds if number % 2 else 3600
            both = [Running(*arguments, out) for _ in range(2)]
            ends = [running.wait(limit) for running in both]
            told += sum("is writing it" in ended.said for ended in ends)
            good = all(e.status in (0, 1, -signal.SIGKILL) and "Traceback" not in e.said for e in ends)
            good &= all("is writing it" in e.said for e in ends if e.status == 1)
            good &= number % 2 == 1 or any(e.status == 0 for e in ends)
            wrong += not good
            if number % 2:
                wrong += run(*arguments, out).status != 0
            wrong += out.read_bytes() != reference
            missing, more = lost_and_doubled(out, names, column)
            lost, doubled = lost + missing, doubled + more
        found += [
            row(f"two at once: {name}: pairs of runs", total, "", f">= {total}"),
            row(f"two at once: {name}: runs that were told who writes", told),
            row(f"two at once: {name}: wrong ends or other bytes", wrong, "", "= 0"),
            row(f"two at once: {name}: rows lost", lost, "", "= 0"),
            row(f"two at once: {name}: rows doubled", doubled, "", "= 0"),
        ]
    return found


def many(share):
    """50,000 files: crops and one empty file in fifty through `score`; 50,000 embeddings through `sdd-labels`."""
    count = round(50_000 * share)
    paths = _crops("many", count)
    for path in paths[::50]:
        path.unlink()
        path.touch()
    score = run("score", "many", "--aligned", "--method", "sharpness", "--out", "many.csv", "--no-progress")
    lost, doubled = lost_and_doubled("many.csv", map(str, paths))
    rng = np.random.default_rng(0)
    originals = [Path("rows") / f"{number:03d}.npy" for number in range(500)]
    originals[0].parent.mkdir()
    for path in originals:
        np.save(path, rng.normal(size=128).astype(np.float32))
    names = [path.relative_to("many").as_posix() for path in paths]
    for number, name in enumerate(names):
        place = Path("features") / f"{name}.npy"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number * 7 % 500], place)
    Path("many.txt").write_text("\n".join(names) + "\n")
    arguments = ("--image-list-file", "many.txt", "--feature-root", "features", "--load-feature", "--process-num", 1)
    label = run("sdd-labels", *arguments, "--score-dst", "labels.csv", "--no-progress")
    missing, more = lost_and_doubled("labels.csv", names, "name")
    found = [row("many files", count)]
    for name, ended, wrong in (("score", score, lost + doubled), ("sdd-labels", label, missing + more)):
        found += [
            row(f"many files: {name}: crashes", ended.status != 0, "", "= 0"),
            row(f"many files: {name}: rows lost or doubled", wrong, "", "= 0"),
            row(f"many files: {name}: peak memory", ended.megabytes, "MB", f"<= {MEMORY}"),
            row(f"many files: {name}: for each", 1000 * ended.seconds / count, "ms"),
        ]
    return found


def _fuzzed(name, wholes, suffix, command, count):
    """Each mutated file through one of the commands; crashes, the slowest and the largest run."""
    rng, ends = random.Random(suffix), []
    for number in range(count):
        file = Path(f"fuzzed{suffix}")
        file.write_bytes(mutated(wholes[number % len(wholes)], rng))
        ended = run(*command(number, file), "--no-progress", limit=FUZZ_HANGS)
        if ended.crashed or ended.work > FUZZ_SECONDS or ended.megabytes > FUZZ_MEMORY:
            print(f"{name} {number}: {ended}", file=sys.stderr, flush=True)
        ends.append(ended)
    long = sum(len(ended.said) > 2000 for ended in ends)
    return [
        row(f"fuzzed {name}: files", len(ends), "", f">= {count}"),
        row(f"fuzzed {name}: crashes", sum(ended.crashed for ended in ends), "", "= 0"),
        row(f"fuzzed {name}: refused", sum(ended.status == 1 for ended in ends)),
        row(f"fuzzed {name}: more than 2,000 characters of words", long, "", "= 0"),
        row(f"fuzzed {name}: hang", sum(ended.status == -signal.SIGKILL for ended in ends), "", "= 0"),
        row(f"fuzzed {name}: most seconds of work", max(ended.work for ended in ends), "s", f"<= {FUZZ_SECONDS}"),
        row(f"fuzzed {name}: peak memory", max(ended.megabytes for ended in ends), "MB", f"<= {FUZZ_MEMORY}"),
    ]


def _scoring(file, *more, method="embedding-norm"):
    return ("score", file, "--method", method, "--out", "fuzzed.csv", "--restart", *more)


def fuzz_bin(share):
    import pickle

    from broken_files import saved

    from fiqa_lib.data import load_orl
    from fiqa_lib.recognition import arcface_crop

    images = [saved(crop, "JPEG") for crop in arcface_crop(load_orl().images[:4])]
    arrays = [np.frombuffer(image, np.uint8) for image in images]
    wholes = [pickle.dumps((images, [True, False]), protocol) for protocol in (0, 2, 4)]
    wholes += [pickle.dumps((arrays, np.array([True, False])), protocol) for protocol in (2, 4)]
    return _fuzzed(".bin", wholes, ".bin", lambda n, file: _scoring(file, method="sharpness"), round(400 * share))


def fuzz_pth(share):
    import io

    import torch
    from published_networks import insightface_state, magface_checkpoint

    path, wholes = _crops("one", 1)[0], []
    state = {name: torch.as_tensor(value) for name, value in insightface_state().items()}
    for content in (state, magface_checkpoint(state)):
        for zipped in (True, False):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=zipped)
            wholes.append(stream.getvalue())
    names = ("arcface-r18", "magface-r18", "adaface-r18")

    def command(number, file):
        return _scoring(path, "--aligned", "--recogniser", names[number % 3], "--weights", file)

    return _fuzzed(".pth", wholes, ".pth", command, round(400 * share))


def fuzz_onnx(share):
    from published_networks import onnx_model

    path, wholes = _crops("one", 1)[0], [onnx_model()[0], onnx_model(reshape=True)[0], onnx_model(batch=1)[0]]

    def command(number, file):
        return _scoring(path, "--aligned", "--recogniser", "onnx", "--weights", file)

    return _fuzzed(".onnx", wholes, ".onnx", command, round(400 * share))


def fuzz_npy(share):
    """As all embeddings, as one person's embedding, and as the embeddings of `edc`."""
    import io

    rng, wholes = np.random.default_rng(0), []
    for array in (rng.normal(size=(12, 8)), rng.normal(size=(12, 8)).astype(np.float32), rng.normal(size=8)):
        stream = io.BytesIO()
        np.save(stream, array)
        wholes.append(stream.getvalue())
    names = [f"p{i // 3}/{i % 3}.jpg" for i in range(12)]
    Path("names.txt").write_text("\n".join(names) + "\n")
    Path("s.csv").write_text("path,score\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
    lines = [f"{a},{b},{int(a[:2] == b[:2])}\n" for i, a in enumerate(names) for b in names[i + 1 :]]
    Path("p.csv").write_text("a,b,same\n" + "".join(lines))
    for name in names:
        Path("rows", name).parent.mkdir(parents=True, exist_ok=True)
        np.save(Path("rows", f"{name}.npy"), rng.normal(size=8))
    label = ("sdd-labels", "--image-list-file", "names.txt", "--score-dst", "l.csv", "--process-num", 1, "--restart")

    def command(number, file):
        if number % 3 == 2:
            shutil.copy(file, Path("rows", names[0] + ".npy"))
            return (*label, "--feature-root", "rows", "--load-feature")
        if number % 2:
            return (*label, "--features", file)
        return ("edc", "--scores", "s.csv", "--pairs", "p.csv", "--embeddings", file, "--draws", 0)

    return _fuzzed(".npy", wholes, ".npy", command, round(400 * share))


def videos(share):
    """Damaged videos of three formats."""
    import cv2

    from fiqa_lib.data import load_orl

    wholes = []
    for suffix, codec in ((".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "mp4v")):
        writer = cv2.VideoWriter(f"whole{suffix}", cv2.VideoWriter_fourcc(*codec), 10, (192, 192))
        for image in load_orl().images[:12]:
            writer.write(image[..., ::-1])
        writer.release()
        wholes.append((suffix, Path(f"whole{suffix}").read_bytes()))
    found = []
    for suffix, whole in wholes:
        command = lambda number, file: _scoring(file, method="sharpness")  # noqa: E731
        found += _fuzzed(f"video {suffix}", [whole], suffix, command, max(2, round(40 * share)))
    return found


class Cluster:
    """A Dask scheduler and one worker on this machine, as processes."""

    def __init__(self):
        self.processes, self.file = [], Path("scheduler.json").resolve()
        self.file.unlink(missing_ok=True)
        self.scheduler = self.start("dask_scheduler", "--port", 0, "--scheduler-file", self.file)
        while not self.file.exists():
            time.sleep(0.05)
        self.worker = self.add_worker()
        from distributed import Client

        with Client(scheduler_file=str(self.file), timeout=60) as client:
            client.wait_for_workers(1, timeout=120)
            self.address = client.scheduler.address

    def start(self, module, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments), "--host", "127.0.0.1"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen([*command, "--no-dashboard"], **silent))
        return self.processes[-1]

    def add_worker(self):
        options = ("--nthreads", 1, "--no-nanny", "--local-directory", Path.cwd())
        return self.start("dask_worker", "--scheduler-file", self.file, *options)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


def cluster(share):
    """The only worker, or the scheduler, is killed in the middle: what is said, and that the same command goes on."""
    lines, found = _labels_to_make(4000, 16), []
    given = ("sdd-labels", "--image-list-file", "list.txt", "--features", "all.npy", "--no-progress")
    assert run(*given, "--process-num", 1, "--score-dst", "here.csv").status == 0
    for who in ("worker", "scheduler"):
        dask = Cluster()
        out, log = Path(f"{who}.csv"), open(f"{who}.log", "w+", encoding="utf-8")
        arguments = [*given, "--score-dst", out, "--cluster", dask.address]
        command = [sys.executable, "-m", "fiqa_lib", *map(str, arguments)]  # its client has threads: not forked
        start, process = time.monotonic(), subprocess.Popen(command, stdout=log, stderr=log)
        tasks = Path(f"{out}.work") / "distances"
        while process.poll() is None and not list(tasks.glob("0*.npy")):
            time.sleep(0.002)
        getattr(dask, who).kill()
        try:
            process.wait(180)
        except subprocess.TimeoutExpired:
            process.kill()
        seconds, done = time.monotonic() - start, len(list(tasks.glob("0*.npy")))
        log.seek(0)
        said = log.read()
        log.close()
        told = process.returncode == 1 and "the cluster is lost" in said and "Traceback" not in said
        if who == "worker":
            dask.add_worker()
        else:
            dask.end()
            dask = Cluster()
        arguments[-1] = dask.address
        again = subprocess.run(
            [sys.executable, "-m", "fiqa_lib", *map(str, arguments)], capture_output=True, timeout=600
        )
        dask.end()
        same = again.returncode == 0 and out.read_bytes() == Path("here.csv").read_bytes()
        lost, doubled = lost_and_doubled(out, lines, "name")
        found += [
            row(f"cluster: the only {who} killed: said on one line", told, "", "= 1"),
            row(f"cluster: the only {who} killed: until it is said", seconds, "s", "<= 60"),
            row(f"cluster: the only {who} killed: tasks kept, of 6", done, "", ">= 1"),
            row(f"cluster: the only {who} killed: the same command goes on to the same bytes", same, "", "= 1"),
            row(f"cluster: the only {who} killed: rows lost or doubled", lost + doubled, "", "= 0"),
        ]
    return found


PARTS = {part.__name__: part for part in
         (hostile, kills, pairs, many, fuzz_bin, fuzz_pth, fuzz_onnx, fuzz_npy, videos, cluster)}  # fmt: skip


def measure(parts, share):
    """Rows of some parts, each in an empty folder of its own, with an empty cache."""
    import torch

    import fiqa_lib.apps.labelling
    import fiqa_lib.apps.photographs
    import fiqa_lib.apps.report  # noqa: F401  (warm for the processes that are forked)

    torch.set_num_threads(1)
    found, here = [], Path.cwd()
    for name in parts:
        with tempfile.TemporaryDirectory(prefix=f"soak_{name}_") as folder:
            os.environ["FIQA_CACHE"] = str(Path(folder) / "cache")
            os.chdir(folder)
            start = time.monotonic()
            rows = PARTS[name](share)
            os.chdir(here)
        found += [{"part": name, **row} for row in rows]
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def rows(share=0.05):
    """A twentieth of everything, in a process that can be forked."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "soak.csv"
        command = [sys.executable, __file__, "--share", str(share), "--out", str(out)]
        subprocess.run(command, check=True, env=os.environ | ALONE)
        table = pd.read_csv(out, keep_default_na=False)
    table["ok"] = table["ok"].map({"True": True, "False": False, "": None})
    return table.drop(columns="part").to_dict("records")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="a smaller trial, such as 0.05")
    parser.add_argument("--out", type=Path, help="write the rows to this file")
    parser.add_argument("--write", action="store_true", help="write them to benchmarks/measured/soak.csv, by part")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ALONE.items()):
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], os.environ | ALONE)
    from fiqa_lib.files import write_csv

    out = arguments.out and arguments.out.resolve()
    table = pd.DataFrame(measure(arguments.part, arguments.share))
    print(table.drop(columns="part").to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if out:
        write_csv(table, out)
    if arguments.write:
        kept = pd.read_csv(MEASURED, keep_default_na=False) if MEASURED.exists() else table.head(0)
        table = table.assign(value=table["value"].map("{:.4g}".format))
        everything = pd.concat([kept[~kept["part"].isin(arguments.part)], table])
        order = everything["part"].map(list(PARTS).index)
        write_csv(everything.iloc[np.argsort(order, kind="stable")], MEASURED)
    missed = int((~table["ok"].dropna().astype(bool)).sum())
    print(f"{missed} of {table['ok'].notna().sum()} targets missed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
