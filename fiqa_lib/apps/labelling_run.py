"""A run of `labelling.label_files` in its folder, stage by stage.

1. scan: the list is read once; each line leaves two 64-bit hashes, of its identity and of its whole path.
2. collect: the embeddings are read (or made from the images) and checked, part by part. Single files are packed into
   one; a row of `features` stays where it is. Lines that can't be used are noted with the reason.
3. sort: the usable lines are sorted by their hashes. So the order of the list has no influence on the labels.
4. measure: tasks of some units each, as in `labels.sdd_distances`, leave one file of distances each.
5. write: the distances are scaled and written in the order of the list.
"""

from __future__ import annotations

import csv
import errno
import functools
import hashlib
import itertools
import json
import os
import platform
import secrets
import shutil
from collections import Counter
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..cache import content_key
from ..data.arrays import read_npy
from ..data.tables import read_lines
from ..errors import DataError
from ..faces.images import printable
from ..files import spreadsheet_cell, whole_file
from ..labels.sdd import OK, SINGLETON, between, in_order, scale_limits
from ..labels.sdd_distances import EXACT_ROWS, UNIT, Index, exact_distances, unit_distances, usable_rows
from .labelling_job import CORRUPT, Job, People, load_recogniser, read_embedding, rows_of_files, write_list


class Counts(dict):
    """Number of lines by status. `firsts`: of each status but "ok", the first line's (name, reason)."""

    def __init__(self, counts, firsts):
        super().__init__(counts)
        self.firsts = firsts


TASK_UNITS = 64
"""Units that one task computes: 8192 rows."""
PART = {"features": 65536, "npy": 1024, "images": 64}
"""Lines that are collected together, by the source of the embeddings."""


class Run:
    """A run in its folder. Stages are called in order; each does what is left to do."""

    def __init__(self, folder, job, token, progress=False):
        self.folder, self.job, self.token, self.progress = Path(folder), job, token, progress

    @classmethod
    def begin(cls, folder, job, restart, progress):
        """Begin a run, or continue one of the same job."""
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for torn in [*folder.glob(".*"), *folder.glob("*/.*")]:  # half-written files of a killed process
            torn.unlink(missing_ok=True)
        if job.image_list_file is None:
            job = replace(job, image_list_file=write_list(folder, job.image_root, job.id_key_index))
        key = job.key()
        about = _read_json(folder / "run.json") or {"key": key, "token": secrets.token_hex(8), "job": asdict(job)}
        if about["key"] != key:
            raise DataError(
                f"{folder}: holds an interrupted run with other settings or other input; --restart drops it, or write "
                "the result under another name"
            )
        run = cls(folder, job, about["token"], progress)
        run._note("run.json", about)
        return run

    @classmethod
    def opened(cls, folder, token):
        """For a task. The token differs from that of earlier runs, whose files a process may still have open."""
        about = _read_json(Path(folder) / "run.json")
        if about is None or about["token"] != token:
            raise DataError(f"{folder}: not visible from {platform.node()}; all machines must share this folder")
        return cls(folder, Job(**about["job"]), token)

    def _note(self, name, content):
        with whole_file(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def bytes_of_a_task(self):
        itemsize = 8 if self.job.features and self.embeddings.dtype == np.float64 else 4
        if self.job.exact:
            return 4 * EXACT_ROWS * self.count * itemsize
        return self.job.settings.unit_bytes(self.dim, itemsize)

    def _run_tasks(self, pool, ahead, stage, result, size, total, **options):
        """Do the tasks of `size` rows each, `total` in all, for which `result(number)` is None."""
        rows = [min(size, total - start) for start in range(0, total, size)]
        left = [number for number in range(len(rows)) if result(number) is None]
        done = total - sum(rows[number] for number in left)
        work = functools.partial(do_task, str(self.folder), self.token, stage, **options)
        text = {"collect": "embeddings", "measure": "distances"}[stage]
        with tqdm(total=total, initial=done, disable=not self.progress, unit="image", desc=text) as bar:
            try:
                for number, _ in zip(left, in_order(pool, work, left, ahead), strict=True):
                    bar.update(rows[number])
            except BrokenExecutor as error:
                raise DataError("a worker was killed (out of memory?); the same command goes on from here") from error

    # --- 1. scan

    def scan(self):
        if (self.folder / "scan.json").exists():
            return
        offsets, count, people = [], 0, People(self.job)
        with open(self.folder / "hashes.raw", "wb") as hashes:
            for offset, name in self.lines():
                if count % self.part == 0:
                    offsets.append(offset)
                person = self.job.person(name)
                people.look_at(person, name)
                hashes.write(_hash(person) + _hash(name))
                count += 1
        people.check()
        if count == 0:
            raise DataError(f"{self.job.image_list_file}: no image is listed")
        self._note("scan.json", [count, offsets])

    @property
    def part(self):
        return PART[self.job.source]

    @functools.cached_property
    def count(self):
        return _read_json(self.folder / "scan.json")[0]

    @functools.cached_property
    def offsets(self):
        """Where each part of the list begins, in bytes."""
        return _read_json(self.folder / "scan.json")[1]

    def names(self, number):
        """The lines of one part."""
        return [name for _, name in itertools.islice(self.lines(self.offsets[number]), self.part)]

    def lines(self, start=0):
        """(offset in bytes, name) of each line of the list from an offset on."""
        return read_lines(self.job.image_list_file, strip=True, backslashes=True, start=start, offsets=True)

    def name_of(self, line):
        return self.names(line // self.part)[line % self.part]

    # --- 2. collect

    def forget_changed(self):
        """Drop what an interrupted run collected from files that have changed since, and all that rests on it."""
        if self.job.source == "features":  # one array, which is part of the job's key
            return
        numbers = [n for n in range(len(self.offsets)) if self.unusable(n) is not None]
        changed = [n for n in numbers if self._collected(n)["stamps"] != self._stamps(self.job.stamps(self.names(n)))]
        if not changed:
            return
        shutil.rmtree(self.folder / "distances", ignore_errors=True)
        for name in ("duplicates.npy", "dimension.json", *(f"collected/{number:06d}.json" for number in changed)):
            (self.folder / name).unlink(missing_ok=True)
        self.token = secrets.token_hex(8)  # processes must not go on with the old order, which they keep in memory
        self._note("run.json", {**_read_json(self.folder / "run.json"), "token": self.token})

    @staticmethod
    def _stamps(stamps):
        return content_key(json.dumps(stamps))

    def _collected(self, number):
        return _read_json(self.folder / "collected" / f"{number:06d}.json")

    @functools.cached_property
    def embeddings(self):
        """All embeddings, memory-mapped: (lines, D)."""
        if self.job.source != "features":
            shape = (self.count, self.dim)
            return np.asarray(np.memmap(self.folder / "features.raw", np.float32, "r", shape=shape))
        array = np.asarray(read_npy(self.job.features, mmap=True))
        if array.ndim != 2 or len(array) != self.count:
            raise DataError(
                f"{self.job.features}: {array.dtype} {array.shape}, but the list has {self.count} images; row i of the "
                "array belongs to line i"
            )
        return array

    @functools.cached_property
    def dim(self):
        """Length of an embedding; noted in the folder, so that all processes agree."""
        if self.job.source == "features":
            return self.embeddings.shape[1]
        if (dim := _read_json(self.folder / "dimension.json")) is None:
            usual = Counter(itertools.islice(self._stored_lengths(), 25)).most_common(1)
            if not usual and self.job.source == "npy":
                raise DataError(f"{self.job.feature_root}: none of the listed images has a readable .npy file there")
            dim = usual[0][0] if usual else load_recogniser(self.job.recogniser, self.job.weights).dim
            self._note("dimension.json", dim)
        return dim

    def _stored_lengths(self):
        """Lengths of the stored embeddings: several are asked for, so that one wrong file doesn't decide."""
        for number in range(len(self.offsets) if self.job.source == "npy" else 1):
            for name in self.names(number):
                with suppress(DataError):
                    if (path := self.job.stored(name)) is not None:
                        yield len(read_embedding(path))

    def collect(self, pool, ahead, strict):
        packed, size = self.folder / "features.raw", self.count * self.dim * 4
        if self.job.source != "features" and not (packed.exists() and packed.stat().st_size == size):
            shutil.rmtree(self.folder / "collected", ignore_errors=True)
            with open(packed, "wb") as file:
                file.truncate(size)
        for number in range(len(self.offsets) if strict else 0):  # an earlier run without `strict` may have noted some
            for line, _, reason in self.unusable(number) or ():
                raise DataError(f"{self.name_of(line)}: {reason}")
        self._run_tasks(pool, ahead, "collect", self.unusable, self.part, self.count, strict=strict)

    def unusable(self, number):
        """[line, status, reason] of the lines of a part that can't be used; None before it is collected."""
        note = self._collected(number)
        return None if note is None else note["unusable"]

    def collect_part(self, number, strict):
        """Read, check and pack the embeddings of one part."""
        names, start = self.names(number), number * self.part
        stamps = [] if self.job.source == "features" else self.job.stamps(names)
        if self.job.source == "features":
            rows, problems = np.asarray(self.embeddings[start : start + len(names)]), {}
        else:
            rows, problems = rows_of_files(self.job, names, self.dim)
        for i in np.flatnonzero(~usable_rows(rows)):
            problems.setdefault(int(i), (CORRUPT, "the embedding has no direction (NaN, infinite or all 0)"))
        for i, name in enumerate(names):
            if not self.job.person(name):
                problems[i] = "no_identity", f"the path has no part {self.job.id_key_index}; see --id-key-index"
        if strict and problems:
            first = min(problems)
            raise DataError(f"{names[first]}: {problems[first][1]}")
        if self.job.source != "features":
            with open(self.folder / "features.raw", "r+b") as file:
                file.seek(start * self.dim * 4)
                file.write(rows.tobytes())
        if self.job.source == "images":  # embeddings that were stored by this very run
            stamps = [
                [image, old or new] for (image, old), (_, new) in zip(stamps, self.job.stamps(names), strict=True)
            ]
        note = {"stamps": self._stamps(stamps), "unusable": [[start + i, *problems[i]] for i in sorted(problems)]}
        self._note(f"collected/{number:06d}.json", note)

    # --- 3. sort

    def sort(self, max_memory, strict):
        """Places of the usable lines, by the hashes of identity and path; a repeated line counts once."""
        if not (self.folder / "duplicates.npy").exists():
            self.write_order(max_memory)
        duplicates = read_npy(self.folder / "duplicates.npy")
        if strict and len(duplicates):
            raise DataError(f"{self.job.image_list_file}: {self.name_of(duplicates[0])} is listed more than once")
        if len(self.index.bounds) < 3:
            raise DataError("at least two people with usable images are needed: there are no strangers to compare with")
        if (np.diff(self.index.bounds) < 2).all():
            raise DataError("no person has two usable images, so nothing can be compared with its own person")

    def write_order(self, max_memory):
        """Sort all lines, one stretch of the first hash after another, so that memory is bounded."""
        unusable = np.array([line for n in range(len(self.offsets)) for line, *_ in self.unusable(n)], int)
        hashes = np.memmap(self.folder / "hashes.raw", np.uint64, "r", shape=(self.count, 2))
        buckets = max(1, int(np.ceil(self.count * 100 / max_memory)))
        total, duplicates = 0, []
        with open(self.folder / "order.raw", "wb") as order, open(self.folder / "bounds.raw", "wb") as bounds:
            for bucket in range(buckets):
                lines = _lines_of(hashes, bucket, buckets, unusable)
                keys = np.asarray(hashes[lines])
                places = np.lexsort((lines, keys[:, 1], keys[:, 0]))
                lines, keys = lines[places], keys[places]
                new = np.ones((len(lines), 2), bool)
                new[1:] = keys[1:] != keys[:-1]
                again = ~new.any(axis=1)
                duplicates.append(lines[again])
                lines, new = lines[~again], new[~again]
                order.write(lines.astype(np.int64).tobytes())
                bounds.write((total + np.flatnonzero(new[:, 0])).astype(np.int64).tobytes())
                total += len(lines)
            bounds.write(np.int64(total).tobytes())
        with whole_file(self.folder / "duplicates.npy") as temporary:  # last: says that the others are whole
            np.save(temporary, np.sort(np.concatenate(duplicates)))

    @functools.cached_property
    def index(self):
        """The sorted lines: an `Index` on memory-mapped files."""
        paths = self.folder / "order.raw", self.folder / "bounds.raw"
        if paths[0].stat().st_size == 0:  # NumPy can't map an empty file
            return Index(np.zeros(0, int), np.zeros(1, int))
        return Index(*(np.asarray(np.memmap(path, np.int64, "r")) for path in paths))

    # --- 4. measure

    @property
    def task_rows(self):
        return 4 * EXACT_ROWS if self.job.exact else TASK_UNITS * UNIT

    def measure(self, pool, ahead):
        self._run_tasks(pool, ahead, "measure", self.distances, self.task_rows, len(self.index))

    def measure_part(self, number):
        """Distances of the rows of one task, into a file of their own."""
        work, step = functools.partial(exact_distances, self.embeddings, self.index), EXACT_ROWS
        if not self.job.exact:
            work, step = functools.partial(unit_distances, self.embeddings, self.index, self.job.settings), UNIT
        first, last = number * self.task_rows, min(len(self.index), (number + 1) * self.task_rows)
        parts = [work(unit) for unit in range(first // step, -(-last // step))]
        with whole_file(self.folder / "distances" / f"{number:06d}.npy") as temporary:
            np.save(temporary, np.concatenate(parts).astype(np.float32))

    def distances(self, number):
        """The distances of a task, (rows, columns), or None."""
        rows = min(self.task_rows, len(self.index) - number * self.task_rows)
        try:
            array = read_npy(self.folder / "distances" / f"{number:06d}.npy")
        except DataError:  # not there yet, or torn when the machine stopped
            return None
        return array if array.shape == (rows, self.job.columns) else None

    # --- 5. write

    def write(self, out, text=False):
        """Scale the distances and write the table, and with `text` the text files beside it. Returns `Counts`."""
        tasks = range(-(-len(self.index) // self.task_rows))
        by_line, shape = self.folder / "by_line.raw", (self.count, self.job.columns)
        _allocate(by_line, 4 * shape[0] * shape[1])
        by_line = np.memmap(by_line, np.float32, "r+", shape=shape)
        by_line[:] = np.nan
        for number in tasks:
            by_line[self.index.order[number * self.task_rows :][: self.task_rows]] = self.distances(number)
        limits, counts, firsts = scale_limits(by_line, self.job.scale), Counter(), {}
        repeats = [] if self.job.exact else [f"repeat_{i + 1:02d}" for i in range(self.job.n_repeats)]
        names = ["labels.txt", *(f"score_{i}.txt" for i in range(len(repeats)))] if text else []
        places = {self.folder / f".{name}": out.with_name(name) for name in names}
        temporary = self.folder / ".result.csv"  # in the folder, so that nothing is left over if this is killed
        with ExitStack() as stack:
            opened = functools.partial(open, mode="w", encoding="utf-8", newline="")
            table = csv.writer(stack.enter_context(opened(temporary)), lineterminator="\n")
            files = [stack.enter_context(opened(place)) for place in places]
            table.writerow(["name", "identity", "status", "label", *repeats, "reason"])
            for number in tqdm(range(len(self.offsets)), disable=not self.progress, desc="writing"):
                rows = list(self._rows(number, by_line, limits, counts, firsts))
                table.writerows(rows)
                for column, file in enumerate(files, 3):
                    file.writelines(f"{row[0]} {row[column]}\n" for row in rows if row[2] == OK)
        for place, final in places.items():
            os.replace(place, final)
        os.replace(temporary, out)  # last: says that the others are whole
        return Counts(counts, firsts)

    def _rows(self, number, by_line, limits, counts, firsts):
        """The rows of one part, as text."""
        start, names = number * self.part, self.names(number)
        scaled = between(by_line[start : start + len(names)], limits)
        labels = scaled.mean(axis=1)
        problems = {line: (status, reason) for line, status, reason in self.unusable(number)}
        duplicates = read_npy(self.folder / "duplicates.npy", mmap=True)
        first, last = np.searchsorted(duplicates, (start, start + len(names)))
        problems |= dict.fromkeys(duplicates[first:last].tolist(), ("duplicate", "listed before"))
        repeats = 0 if self.job.exact else self.job.n_repeats
        pattern = ",".join(["%.6f" if self.job.scale == "none" else "%.4f"] * (1 + repeats))
        for i, name in enumerate(names):
            status, reason = problems.get(start + i, (OK, ""))
            if status == OK and np.isnan(labels[i]):
                status, reason = SINGLETON, "the person has no other usable image"
            values = pattern % (labels[i], *scaled[i, :repeats]) if status == OK else "," * repeats
            counts[status] += 1
            if status != OK:
                firsts.setdefault(status, (name, reason))
            name, person, reason = map(spreadsheet_cell, (name, self.job.person(name), printable(reason)))
            yield name, person, status, *values.split(","), reason


def do_task(folder, token, stage, number, **options):
    """One task of a run, in any process."""
    return getattr(_opened(folder, token), f"{stage}_part")(number, **options)


@functools.lru_cache(4)
def _opened(folder, token):
    # One BLAS thread from now on: processes share the cores, and sums must not depend on the number of threads.
    threadpool_limits(1, "blas")
    return Run.opened(folder, token)


def _allocate(path, size):
    """A file of zeros whose blocks are on the disk: a mapped file with holes would kill the process on a full disk."""
    with open(path, "wb") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that can't
                    raise OSError(error.errno, error.strerror, str(path)) from error


def _hash(text):
    """64 bits, little-endian: among 5 million people two meet by accident in one of a million lists."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _lines_of(hashes, bucket, buckets, unusable, step=2**20):
    """Usable lines whose first hash lies in one of several equal stretches of all hashes."""
    lines = []
    for start in range(0, len(hashes), step):
        top = np.asarray(hashes[start : start + step, 0]) >> np.uint64(32)
        part = start + np.flatnonzero((top * np.uint64(buckets)) >> np.uint64(32) == bucket)
        lines.append(part[~np.isin(part, unusable)])
    return np.concatenate(lines)


def _read_json(path):
    """The content of a file of the run, or None if it isn't there (or was torn when the machine stopped)."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
