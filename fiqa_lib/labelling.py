"""SDD-FIQA labels for any number of image files: bounded memory, many processes or a cluster, and resumable.

`label_files` is what `python -m fiqa_lib sdd-labels` runs. It works in a folder beside the result, `RESULT.work`:

1. scan: the list is read once; each line leaves two 64-bit hashes, of its identity and of its whole path.
2. collect: the embeddings are read (or made from the images) and checked, part by part. Single files are packed into
   one; a row of `--features` stays where it is. What can't be used is noted with the reason.
3. index: the usable lines are sorted by their hashes. So the order of the list has no influence on the labels.
4. distances: tasks of some units each, as in `pseudo_labels`, leave one file each.
5. scale and write, in the order of the list.

Every file of the folder is written whole or is overwritten by the next run, so a run that was killed at any moment goes
on where it was. What a task computes follows from its number alone: processes and machines don't matter.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import joblib
import numpy as np

from . import pseudo_labels
from .cache import content_key
from .errors import DataError
from .files import whole_file
from .images import find_images
from .pseudo_labels import EXACT_ROWS, OK, SINGLETON, UNIT, Index, in_order, one_blas_thread, usable_rows

MISSING, CORRUPT, NO_FACE, NO_IDENTITY, DUPLICATE = "missing", "corrupt", "no_face", "no_identity", "duplicate"
TASK_UNITS = 64
"""Units that one task computes: 8192 rows."""
CONNECT_SECONDS = 20
"""How long a Dask scheduler may take to answer."""
PART = {"features": 65536, "npy": 1024, "images": 64}
"""Lines that are collected together, by where the embeddings come from."""


# ------------------------------------------------------------------------------------------ one .npy for each image


class NpyFiles:
    """Embeddings in one `.npy` file for each image, as an array that `sdd_labels` takes; read when they are asked for.

    Parameters
    ----------
    paths : sequence of paths
        Each of shape (D,) or (1, D).

    Raises
    ------
    DataError
        On reading, for a file that is missing, damaged or of another length. Names it.
    """

    def __init__(self, paths):
        self.paths = [Path(p) for p in paths]
        if not self.paths:
            raise DataError("no file of embeddings was given")
        first = read_npy(self.paths[0])
        self.shape, self.dtype = (len(self.paths), len(first)), first.dtype

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, rows):
        places = np.arange(len(self))[rows]
        out = np.empty((places.size, self.shape[1]), self.dtype)
        for row, place in zip(out, places.ravel(), strict=True):
            row[:] = read_npy(self.paths[place], self.shape[1])
        return out.reshape(*places.shape, -1)


def read_npy(path, dim=None):
    """The embedding in a `.npy` file, (D,). DataError names a file that is missing, damaged or of another length."""
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a readable .npy array ({error})") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.size == 0:
        raise DataError(f"{path}: does not hold an embedding")
    if found.size != found.shape[-1]:
        raise DataError(f"{path}: holds an array {found.shape} instead of one embedding")
    if dim is not None and found.size != dim:
        raise DataError(f"{path}: an embedding of length {found.size}, where {dim} is expected")
    return found.ravel()


# ------------------------------------------------------------------------------------------------------- the command


class Job(NamedTuple):
    """What decides the labels. See `label_files`."""

    list_file: str
    image_root: str | None
    feature_root: str | None
    features: str | None
    load_feature: bool
    id_key_index: int
    n_samples: int
    n_repeats: int
    seed: int
    draws: str
    scale: str
    exact: bool
    recogniser: str
    weights: str | None
    fallback: str | None
    dim: int

    @property
    def source(self):
        """Where the embeddings come from: "features" (one array), "npy" or "images"."""
        return "features" if self.features else "npy" if self.load_feature else "images"

    @property
    def settings(self):
        return pseudo_labels.Settings.checked(self.n_samples, self.n_repeats, self.seed, self.draws)

    @property
    def columns(self):
        return 1 if self.exact else self.n_repeats


def label_files(
    out,
    *,
    image_list_file=None,
    image_root=None,
    feature_root=None,
    features=None,
    load_feature=False,
    id_key_index=-2,
    n_samples=24,
    n_repeats=12,
    seed=0,
    draws="pooled",
    scale="minmax",
    exact=False,
    recogniser="dlib",
    weights=None,
    fallback=None,
    process_num=None,
    cluster=None,
    max_memory=1e9,
    strict=False,
    restart=False,
    progress=False,
):
    """Write SDD-FIQA labels of listed images to a CSV file.

    Parameters
    ----------
    out : path
        Written whole or not at all: columns `name`, `identity`, `status`, `label`, `repeat_01` ... (each on its own
        scale; the label is their mean; not with `exact`), `reason`. One row for each line of the list, in its order.
    image_list_file : path, optional
        One image a line. Default: every image below `image_root`, sorted.
    image_root : path, optional
        Lines are relative to it.
    feature_root : path, optional
        Folder of embeddings: that of `a/b.jpg` is `a/b.jpg.npy` or `a/b.npy`. One that is missing is made from the
        image and stored there, unless `load_feature`.
    features : path, optional
        One `.npy` array (N, D) instead; row i belongs to line i.
    load_feature : bool
        Only read embeddings, never make them.
    id_key_index : int
        Which part of a line, split at "/", names the person: -2 in `person/image.jpg`.
    n_samples, n_repeats, draws, scale
        As in `sdd_labels`.
    seed : int
        Of the draws.
    exact : bool
        All positives against all negatives; work grows with N squared.
    recogniser, weights, fallback
        For embeddings from images: as in `load_recogniser` and `datasets.load_files`.
    process_num : int, optional
        Processes on this machine; default: one for each core.
    cluster : str, optional
        Address of a Dask scheduler, which then has the work done. All machines must see the same files.
    max_memory : float
        Bytes for the work of all processes together; interpreters (about 100 MB each) not counted.
    strict : bool
        Raise for the first line that can't be used, instead of noting it.
    restart : bool
        Drop what an interrupted run left. Without it a run of the same command goes on where that stopped.
    progress : bool
        Show bars on standard error.

    Returns
    -------
    dict of str -> int
        How many lines have each status: "ok", "singleton", "missing", "corrupt", "no_face", "no_identity", "duplicate".

    Raises
    ------
    DataError
        Settings that make no sense; a list or an array that can't be read; fewer than two people; an interrupted run
        of another command; with `strict` the first unusable line.
    """
    out = Path(out).resolve()
    folder = out.with_name(out.name + ".work")
    pseudo_labels.check_choices(scale=scale, draws=draws)
    if features and (feature_root or load_feature):
        raise DataError("--features is one array; --feature-root and --load-feature are for one file for each image")
    if load_feature and not feature_root:
        raise DataError("--load-feature needs --feature-root, where the embeddings are")
    list_file = _list_file(image_list_file, image_root)
    job = Job(
        *(_absolute(p) for p in (list_file, image_root, feature_root, features)),
        *(bool(load_feature), int(id_key_index), n_samples, n_repeats, seed, draws, scale, bool(exact)),
        *(recogniser, _absolute(weights), fallback, 0),
    )
    _ = job.settings  # refused here if they make no sense
    process_num = process_num or joblib.cpu_count()
    run = _Run.begun(folder, job, restart)
    run.scan()
    run = run.with_dimension()
    _check_memory(job, run, 1 if cluster else process_num, max_memory)
    with _workers(process_num, cluster) as (pool, ahead):
        run.collect(pool, ahead, strict, progress)
        run.sort(max_memory, strict)
        run.measure(pool, ahead, progress)
    counts = run.write(out, max_memory, progress)
    shutil.rmtree(folder, ignore_errors=True)
    return counts


def _absolute(path):
    return None if path is None else str(Path(path).resolve())


def _list_file(image_list_file, image_root):
    if image_list_file is not None:
        if not Path(image_list_file).is_file():
            raise DataError(f"{image_list_file}: there is no such list of images")
        return image_list_file
    if image_root is None:
        raise DataError("--image-list-file or --image-root is needed: which images shall get labels?")
    return None


def _check_memory(job, run, workers, max_memory):
    itemsize = 8 if job.features and run.embeddings.dtype == np.float64 else 4
    need = job.settings.unit_bytes(run.job.dim, itemsize)
    if job.exact:
        need = 4 * EXACT_ROWS * run.count * itemsize
    if workers * need > max_memory:
        raise DataError(
            f"{workers} processes need {workers * need:.2g} bytes, more than --max-memory {max_memory:.2g}: raise it "
            "or lower --process-num"
        )


# ------------------------------------------------------------------------------------------------------- who works


@contextmanager
def _workers(process_num, cluster):
    """(executor, how many tasks it may be ahead)."""
    if cluster:
        with _dask(cluster) as client:
            yield client.get_executor(), 1000
    elif process_num == 1:
        yield _Here(), 1
    else:
        context, parent = get_context("spawn"), os.getpid()
        with ProcessPoolExecutor(process_num, context, initializer=_end_with, initargs=(parent,)) as pool:
            yield pool, 4 * process_num


class _Here:
    """An executor that works on the spot."""

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _dask(address):
    try:
        from distributed import Client
    except ImportError as error:
        raise DataError("a cluster needs dask.distributed: pip install -r requirements-scale.txt") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise DataError(f"{address}: no Dask scheduler answers there ({error})") from error
    with client:
        yield client


def _end_with(parent):
    """End this worker when the process that started it is gone, however it went."""

    def watch():
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do_task(folder, token, stage, more, number):
    """One task of a run, in whichever process."""
    run = _opened(folder, token)
    with one_blas_thread():
        return getattr(run, stage)(number, *more)


@functools.lru_cache(4)
def _opened(folder, token):
    return _Run.opened(folder, token)


# ---------------------------------------------------------------------------------------------------------- the run


class _Run:
    """A run in its folder. Stages are called in order; each does what is left to do."""

    def __init__(self, folder, job, token):
        self.folder, self.job, self.token = Path(folder), job, token

    # --- begin, or go on

    @classmethod
    def begun(cls, folder, job, restart):
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for torn in [*folder.glob(".*"), *folder.glob("*/.*")]:  # what a killed process was just writing
            torn.unlink(missing_ok=True)
        if job.list_file is None:
            job = job._replace(list_file=str(_written_list(folder, job.image_root)))
        key = _key(job)
        about = folder / "run.json"
        found = _read_json(about)
        if found is not None and found["key"] != key:
            raise DataError(
                f"{folder}: holds an interrupted run with other settings or other input; --restart drops it, or write "
                "the result under another name"
            )
        found = found or {"key": key, "token": secrets.token_hex(8), "job": job._asdict()}
        run = cls(folder, job, found["token"])
        run._note("run.json", found)
        return run

    @classmethod
    def opened(cls, folder, token):
        """For a task. The token tells this run from earlier ones, whose files a process may still have open."""
        found = _read_json(Path(folder) / "run.json")
        if found is None or found["token"] != token:
            raise DataError(f"{folder}: not to be seen from {platform.node()}; all machines must share this folder")
        return cls(folder, Job(**found["job"]), token).with_dimension()

    def _note(self, name, content):
        with whole_file(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    # --- 1. scan

    def scan(self):
        if (self.folder / "scan.json").exists():
            return
        offsets, count = [], 0
        with open(self.job.list_file, "rb") as lines, open(self.folder / "hashes.raw", "wb") as hashes:
            for name, offset in _names(lines, self.job.list_file):
                if count % self.part == 0:
                    offsets.append(offset)
                hashes.write(_hash(self.identity(name)) + _hash(name))
                count += 1
        if count == 0:
            raise DataError(f"{self.job.list_file}: no image is listed")
        self._note("scan.json", {"count": count, "offsets": offsets})

    @property
    def part(self):
        return PART[self.job.source]

    def identity(self, name):
        """The person that a line names, or "" where it has no such part."""
        parts = name.split("/")
        return parts[self.job.id_key_index] if -len(parts) <= self.job.id_key_index < len(parts) else ""

    @functools.cached_property
    def _scanned(self):
        return _read_json(self.folder / "scan.json")

    @property
    def count(self):
        return self._scanned["count"]

    def names(self, number):
        """The lines of one part."""
        with open(self.job.list_file, "rb") as lines:
            lines.seek(self._scanned["offsets"][number])
            return [name for name, _ in itertools.islice(_names(lines, self.job.list_file), self.part)]

    # --- 2. collect

    def with_dimension(self):
        """This run, knowing how long an embedding is."""
        found = _read_json(self.folder / "dimension.json")
        if found is None:
            found = {"dim": getattr(self, "_dimension_of_" + self.job.source)()}
            self._note("dimension.json", found)
        self.job = self.job._replace(dim=found["dim"])
        return self

    def _dimension_of_features(self):
        found = self.embeddings
        if found.ndim != 2 or found.dtype.kind not in "fiu" or len(found) != self.count:
            raise DataError(
                f"{self.job.features}: {found.dtype} {found.shape}, but the list has {self.count} images; row i of the "
                "array belongs to line i"
            )
        return found.shape[1]

    def _dimension_of_npy(self):
        for number in range(len(self._scanned["offsets"])):
            if (found := self._usual_length(number)) is not None:
                return found
        raise DataError(f"{self.job.feature_root}: not one of the listed images has a readable .npy file there")

    def _dimension_of_images(self):
        """That of the embeddings that are there already; else the recogniser's."""
        found = self._usual_length(0) if self.job.feature_root else None
        return found or _recogniser(self.job.recogniser, self.job.weights).dim

    def _usual_length(self, number):
        """What most of the first files of a part have, so that one wrong file is not the measure of all; or None."""
        lengths = Counter()
        for name in self.names(number):
            with suppress(DataError):
                if (path := self.stored(name)) is not None:
                    lengths[len(read_npy(path))] += 1
            if lengths.total() == 25:
                break
        return lengths.most_common(1)[0][0] if lengths else None

    def stored(self, name):
        """Where the embedding of an image stands, or None."""
        path = self.place(name)
        if path is None:
            return None
        return next((p for p in (path, path.with_suffix("").with_suffix(".npy")) if p.exists()), None)

    def place(self, name):
        """Where the embedding of an image belongs; None without a folder for them."""
        if self.job.feature_root is None:
            return None
        relative = PurePosixPath(name)
        if relative.is_absolute():
            root = self.job.image_root
            inside = root is not None and relative.is_relative_to(root)
            relative = relative.relative_to(root if inside else relative.anchor)
        if ".." in relative.parts:
            raise DataError(f"{name}: leads out of {self.job.feature_root}")
        return Path(self.job.feature_root, relative.parent, relative.name + ".npy")

    def collect(self, pool, ahead, strict, progress):
        if self.job.source != "features":
            size = self.count * self.job.dim * 4
            packed = self.folder / "features.raw"
            if not packed.exists() or packed.stat().st_size != size:
                shutil.rmtree(self.folder / "collected", ignore_errors=True)
                with open(packed, "wb") as file:
                    file.truncate(size)
        (self.folder / "collected").mkdir(exist_ok=True)
        numbers = range(len(self._scanned["offsets"]))
        done = [n for n in numbers if _read_json(self._collected(n)) is not None]
        if strict:
            for number in done:
                self._refuse(_read_json(self._collected(number)))
        size, more = (self.part, self.count), (strict,)
        self._run_tasks(pool, ahead, "collect_part", numbers, done, size, progress, "embeddings", more)

    def _collected(self, number):
        return self.folder / "collected" / f"{number:06d}.json"

    def collect_part(self, number, strict):
        """Read, check and pack the embeddings of one part; note what can't be used: [line, status, reason]."""
        names, start = self.names(number), number * self.part
        rows, problems = getattr(self, "_rows_of_" + self.job.source)(names, start)
        for i in np.flatnonzero(~usable_rows(rows)):
            problems.setdefault(int(i), (CORRUPT, "the embedding has no direction (NaN, infinite or all 0)"))
        for i, name in enumerate(names):
            if not self.identity(name):
                problems[i] = NO_IDENTITY, f"the path has no part {self.job.id_key_index}; see --id-key-index"
        bad = [[start + i, *problems[i]] for i in sorted(problems)]
        if strict:
            self._refuse(bad)
        if self.job.source != "features":
            with open(self.folder / "features.raw", "r+b") as file:
                file.seek(start * self.job.dim * 4)
                file.write(rows.tobytes())
        self._note(f"collected/{number:06d}.json", bad)

    def _refuse(self, bad):
        for line, _, reason in bad[:1]:
            raise DataError(f"{self.name_of(line)}: {reason}")

    def _rows_of_features(self, names, start):
        return np.asarray(self.embeddings[start : start + len(names)]), {}

    def _rows_of_npy(self, names, start):
        rows, problems = np.zeros((len(names), self.job.dim), np.float32), {}
        for i, name in enumerate(names):
            try:
                path = self.stored(name)
                if path is None:
                    problems[i] = MISSING, f"{self.place(name)}: there is no such file"
                    continue
                rows[i] = read_npy(path, self.job.dim)
            except DataError as error:
                problems[i] = CORRUPT, str(error)
        return rows, problems

    def _rows_of_images(self, names, start):
        rows, problems = self._rows_of_npy(names, start) if self.job.feature_root else (None, {})
        if rows is None:
            rows = np.zeros((len(names), self.job.dim), np.float32)
            problems = dict.fromkeys(range(len(names)), (MISSING, ""))
        wanted = [i for i, (status, _) in problems.items() if status == MISSING]
        found, unusable = _embedded(self.job, [Path(self.job.image_root or "", names[i]) for i in wanted])
        for i, row, problem in zip(wanted, found, unusable, strict=True):
            if problem is not None:
                problems[i] = problem
                continue
            if len(row) != self.job.dim:
                raise DataError(
                    f"{self.job.feature_root}: holds embeddings of length {self.job.dim}, but those of "
                    f"{self.job.recogniser} have {len(row)}: give another --recogniser, or another --feature-root"
                )
            del problems[i]
            rows[i] = row
            if (path := self.place(names[i])) is not None:
                with whole_file(path) as temporary:
                    np.save(temporary, row)
        return rows, problems

    @functools.cached_property
    def embeddings(self):
        if self.job.source == "features":
            try:
                return np.asarray(np.load(self.job.features, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError) as error:
                raise DataError(f"{self.job.features}: not a readable .npy array ({error})") from error
        return np.asarray(np.memmap(self.folder / "features.raw", np.float32, "r", shape=(self.count, self.job.dim)))

    # --- 3. index

    def sort(self, max_memory, strict):
        """Places of the usable lines, by the hashes of identity and path; a line that is there twice counts once."""
        if not (self.folder / "sorted.json").exists():
            self._sort(max_memory)
        twice = np.load(self.folder / "duplicates.npy")
        if strict and len(twice):
            raise DataError(f"{self.job.list_file}: {self.name_of(twice[0])} is listed more than once")
        if len(self.index.bounds) < 3:
            raise DataError("at least two people with usable images are needed: there is nobody to tell apart")
        if (np.diff(self.index.bounds) < 2).all():
            raise DataError("no person has two usable images, so nothing can be compared with its own person")

    def _sort(self, max_memory):
        unusable = np.array([line for n in range(len(self._scanned["offsets"])) for line in self._unusable(n)], int)
        hashes = np.memmap(self.folder / "hashes.raw", np.uint64, "r", shape=(self.count, 2))
        buckets = max(1, int(np.ceil(self.count * 100 / max_memory)))
        total, twice = 0, []
        with open(self.folder / "order.raw", "wb") as order, open(self.folder / "bounds.raw", "wb") as bounds:
            for bucket in range(buckets):
                lines = _lines_of(hashes, bucket, buckets, unusable)
                keys = np.asarray(hashes[lines])
                places = np.lexsort((lines, keys[:, 1], keys[:, 0]))
                lines, keys = lines[places], keys[places]
                new = np.ones((len(lines), 2), bool)
                new[1:] = keys[1:] != keys[:-1]
                again = ~new.any(axis=1)
                twice.append(lines[again])
                lines, new = lines[~again], new[~again]
                order.write(lines.astype(np.int64).tobytes())
                bounds.write((total + np.flatnonzero(new[:, 0])).astype(np.int64).tobytes())
                total += len(lines)
            bounds.write(np.int64(total).tobytes())
        with whole_file(self.folder / "duplicates.npy") as temporary:
            np.save(temporary, np.sort(np.concatenate(twice)))
        self._note("sorted.json", {"total": total})

    def _unusable(self, number):
        return [line for line, _, _ in _read_json(self._collected(number))]

    def name_of(self, line):
        return self.names(line // self.part)[line % self.part]

    @functools.cached_property
    def index(self):
        order, bounds = (
            np.asarray(np.memmap(self.folder / name, np.int64, "r")) if (self.folder / name).stat().st_size else []
            for name in ("order.raw", "bounds.raw")
        )
        return Index(np.asarray(order, np.int64), bounds)

    # --- 4. distances

    @property
    def task_rows(self):
        return 4 * EXACT_ROWS if self.job.exact else TASK_UNITS * UNIT

    def measure(self, pool, ahead, progress):
        (self.folder / "distances").mkdir(exist_ok=True)
        total = len(self.index)
        numbers = range(-(-total // self.task_rows))
        done = [n for n in numbers if self._distances(n) is not None]
        self._run_tasks(pool, ahead, "measure_part", numbers, done, (self.task_rows, total), progress, "distances")

    def measure_part(self, number):
        """Distances of the rows of one task, into a file of their own."""
        if self.job.exact:
            work = functools.partial(pseudo_labels.exact_distances, self.embeddings, self.index)
            step = EXACT_ROWS
        else:
            work = functools.partial(pseudo_labels.unit_distances, self.embeddings, self.index, self.job.settings)
            step = UNIT
        first, last = number * self.task_rows, min(len(self.index), (number + 1) * self.task_rows)
        parts = [work(unit) for unit in range(first // step, -(-last // step))]
        with whole_file(self.folder / "distances" / f"{number:06d}.npy") as temporary:
            np.save(temporary, np.concatenate(parts).astype(np.float32))

    def _distances(self, number):
        """What a task left, or None."""
        rows = min(self.task_rows, len(self.index) - number * self.task_rows)
        try:
            found = np.load(self.folder / "distances" / f"{number:06d}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if found.shape == (rows, self.job.columns) else None

    # --- 5. write

    def write(self, out, max_memory, progress):
        tasks = range(-(-len(self.index) // self.task_rows))
        limits = self._limits(tasks)
        place = self.folder / "by_line.raw"
        with open(place, "wb") as file:
            file.truncate(self.count * self.job.columns * 4)
        by_line = np.memmap(place, np.float32, "r+", shape=(self.count, self.job.columns))
        for number in range(len(self._scanned["offsets"])):
            by_line[number * self.part : (number + 1) * self.part] = np.nan
        for number in tasks:
            lines = self.index.order[number * self.task_rows : (number + 1) * self.task_rows]
            by_line[lines] = self._distances(number)
        counts = Counter()
        temporary = self.folder / ".result.csv"  # beside the others, so that nothing is left over if this is killed
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            repeats = [] if self.job.exact else [f"repeat_{i + 1:02d}" for i in range(self.job.n_repeats)]
            file.write(",".join(["name", "identity", "status", "label", *repeats, "reason"]) + "\n")
            with _bar(self.count, 0, progress, "writing") as bar:
                for number in range(len(self._scanned["offsets"])):
                    file.write(self._written(number, by_line, limits, counts))
                    bar.update(min(self.part, self.count - number * self.part))
        os.replace(temporary, out)
        return dict(counts)

    def _limits(self, tasks):
        """What becomes 0 and what 100 in each repeat, without holding more than one repeat of all images."""
        if self.job.scale == "none":
            return None
        if self.job.scale == "minmax":
            ends = [(np.nanmin(d, axis=0), np.nanmax(d, axis=0)) for d in map(self._known, tasks) if len(d)]
            low, high = zip(*ends, strict=True)
            return np.min(low, axis=0).astype(float), np.max(high, axis=0).astype(float)
        columns = (
            np.concatenate([self._known(number)[:, repeat] for number in tasks]) for repeat in range(self.job.columns)
        )
        return pseudo_labels.scale_limits(columns, "robust")

    def _known(self, number):
        found = self._distances(number)
        return found[~np.isnan(found[:, 0])]

    def _written(self, number, by_line, limits, counts):
        """The rows of one part as text."""
        start, names = number * self.part, self.names(number)
        scaled = pseudo_labels.between(by_line[start : start + len(names)], limits)
        labels = scaled.mean(axis=1)
        problems = {line - start: (status, reason) for line, status, reason in _read_json(self._collected(number))}
        problems |= {int(line) - start: (DUPLICATE, "listed before") for line in self._twice(start, len(names))}
        digits = "%.6f" if self.job.scale == "none" else "%.4f"
        repeats = 0 if self.job.exact else self.job.n_repeats
        pattern, nothing = ",".join([digits] * (1 + repeats)), "," * repeats
        text = io.StringIO()
        for i, name in enumerate(names):
            status, reason = problems.get(i, (OK, ""))
            if status == OK and np.isnan(labels[i]):
                status, reason = SINGLETON, "the person has no other usable image"
            values = pattern % (labels[i], *scaled[i, :repeats]) if status == OK else nothing
            text.write(f"{_cell(name)},{_cell(self.identity(name))},{status},{values},{_cell(reason)}\n")
            counts[status] += 1
        return text.getvalue()

    def _twice(self, start, length):
        twice = np.load(self.folder / "duplicates.npy", mmap_mode="r")
        return twice[np.searchsorted(twice, start) : np.searchsorted(twice, start + length)]

    # --- tasks

    def _run_tasks(self, pool, ahead, stage, numbers, done, size, progress, text, more=()):
        """Do those of the numbered tasks that are not done. `size`: rows of a task, rows of all."""
        left = sorted(set(numbers) - set(done))

        def rows(number):
            return min(size[0], size[1] - number * size[0])

        work = functools.partial(do_task, str(self.folder), self.token, stage, more)
        with _bar(size[1], sum(map(rows, done)), progress, text) as bar:
            try:
                for number, _ in zip(left, in_order(pool, work, left, ahead), strict=True):
                    bar.update(rows(number))
            except BrokenExecutor as error:
                raise DataError("a worker was killed (out of memory?); the same command goes on from here") from error


# -------------------------------------------------------------------------------------------------------- small parts


def _key(job):
    """Of everything that decides the result: settings, list, array, and the code itself."""
    digest = hashlib.sha256()
    with open(job.list_file, "rb") as lines:
        for block in iter(lambda: lines.read(2**20), b""):
            digest.update(block)
    state = None
    if job.features is not None:
        if not Path(job.features).is_file():
            raise DataError(f"{job.features}: there is no such file")
        found = os.stat(job.features)
        state = (found.st_size, found.st_mtime_ns)
    code = [Path(module).read_bytes() for module in (__file__, pseudo_labels.__file__)]
    return content_key(json.dumps(job._asdict()), digest.hexdigest(), state, *code)


def _written_list(folder, image_root):
    """A list of every image below a folder."""
    found = find_images(image_root).paths
    if not found:
        raise DataError(f"{image_root}: no image file in this folder or below")
    place = folder / "list.txt"
    with whole_file(place) as temporary:
        text = "".join(f"{p.relative_to(image_root).as_posix()}\n" for p in found)
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return place


def _names(lines, path):
    """(name, where its line begins) of each line that is not empty, from a file opened in binary mode."""
    offset = lines.tell()
    for number, line in enumerate(lines, 1):
        try:
            name = line.decode("utf-8").lstrip("\ufeff").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not UTF-8 text") from error
        if name:
            yield name, offset
        offset += len(line)


def _hash(text):
    """64 bits, little-endian: among 5 million people two meet by accident in one of a million lists."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _lines_of(hashes, bucket, buckets, unusable, step=2**20):
    """Usable lines whose first hash lies in the given of several equal stretches of all hashes."""
    found = []
    for start in range(0, len(hashes), step):
        top = np.asarray(hashes[start : start + step, 0]) >> np.uint64(32)
        lines = start + np.flatnonzero((top * np.uint64(buckets)) >> np.uint64(32) == bucket)
        found.append(lines[~np.isin(lines, unusable)])
    return np.concatenate(found)


def _read_json(path):
    """What a file of the run holds, or None if it isn't there (or was torn when the machine stopped)."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@functools.lru_cache(2)
def _recogniser(name, weights):
    from .recognition import load_recogniser

    return load_recogniser(name, weights)


def _embedded(job, paths):
    """Embeddings of image files, and for each None or (status, reason)."""
    if not paths:
        return [], []
    import torch

    from .datasets import load_files

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processes share the cores, and the last digits must not depend on how many there are
    try:
        faces, report = load_files(paths, names=range(len(paths)), fallback=job.fallback, cache=False)
        rows = dict(zip(faces.names, _recogniser(job.recogniser, job.weights).embed(faces), strict=True))
    finally:
        torch.set_num_threads(threads)
    problems = []
    for path, status, reason in zip(paths, report["status"], report["reason"], strict=True):
        if status in ("ok", "fallback"):
            problems.append(None)
        elif status == "no_face":
            problems.append((NO_FACE, reason))
        else:
            problems.append((CORRUPT if path.exists() else MISSING, f"{path}: {reason}"))
    return [rows.get(str(i)) for i in range(len(paths))], problems


def _cell(text):
    """A CSV cell."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _bar(total, done, shown, text):
    from tqdm import tqdm

    return tqdm(total=total, initial=done, disable=not shown, unit="image", desc=text)
