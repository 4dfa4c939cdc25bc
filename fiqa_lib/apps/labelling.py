"""SDD-FIQA labels for any number of image files: bounded memory, many processes or a cluster, and resumable.

`label_files` is behind the command `python -m fiqa_lib sdd-labels`. It works in a folder beside the result,
`RESULT.work`, in the five stages of `labelling_run.Run`. Every file there is written whole, or is overwritten by the
next run, so a run that was killed at any moment continues where it was. The result of a task depends on its number
alone, so the number of processes or machines has no influence on the labels.
"""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import os
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import joblib
from threadpoolctl import threadpool_limits

from ..errors import DataError
from ..files import locked
from .labelling_run import Job, Run

CONNECT_SECONDS = 20
"""How long a Dask scheduler may take to answer."""
WORKER_SECONDS = 20
"""How long a cluster may be without any worker."""


def label_files(
    out,
    *,
    process_num=None,
    cluster=None,
    max_memory=1e9,
    text=False,
    strict=False,
    restart=False,
    progress=False,
    say=None,
    **job,
):
    """Write SDD-FIQA labels of listed images to a CSV file.

    Parameters
    ----------
    out : path
        The table, written whole or not at all: columns `name`, `identity`, `status`, `label`, `repeat_01` ... (each on
        its own scale; the label is their mean; not with `exact`), `reason`. One row for each line of the list, in its
        order.
    process_num : int, default=None
        Processes on this machine; None for one per core. No effect on the result.
    cluster : str, default=None
        Address of a Dask scheduler that runs the work instead. All machines must see the same files.
    max_memory : float, default=1e9
        Bytes for the work of all processes together; interpreters (about 100 MB each) are not counted.
    text : bool, default=False
        Also write `labels.txt` and, one for each repeat, `score_0.txt` ... beside the table: lines `name label` of the
        images that have one, as the unofficial implementation does.
    strict : bool, default=False
        Raise for the first line that can't be used, instead of a row with the reason.
    restart : bool, default=False
        Drop the files of an interrupted run. Without it the same command continues where that run stopped.
    progress : bool, default=False
        Show bars on standard error.
    say : callable, default=None
        Called once with how many people and images were found, as text.
    **job
        Input and settings: the fields of `labelling_run.Job`, such as `image_list_file`, `features`, `n_samples`.

    Returns
    -------
    labelling_run.Counts
        A dict: number of lines with each status: "ok", "singleton", "missing", "corrupt", "no_face", "no_identity",
        "duplicate". Its `firsts` says which line was the first of each, and why.

    Raises
    ------
    DataError
        Settings that make no sense; a list or an array that can't be read; fewer than two people, with the index that
        is meant where another part of the lines differs; an interrupted run of another command; another process that
        writes `out`; a cluster that has lost its scheduler or all workers; with `strict` the first unusable line.
    """
    out = Path(out).resolve()
    folder = out.with_name(out.name + ".work")
    run = functools.partial(_labelled, out, folder, process_num, cluster, max_memory, text, strict, say)
    with locked(out):
        try:
            return run(Run.begin(folder, Job(**job), restart, progress))
        except OSError as error:  # one about writing names no file
            if error.filename is None:
                raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
            raise


def _labelled(out, folder, process_num, cluster, max_memory, text, strict, say, run):
    try:
        run.scan()
    except DataError:  # nothing is worth keeping yet, and another command is going to be given
        shutil.rmtree(folder, ignore_errors=True)
        raise
    run.forget_changed()
    process_num = process_num or joblib.cpu_count()
    workers, need = 1 if cluster else process_num, run.bytes_of_a_task()
    if workers * need > max_memory:
        raise DataError(
            f"{workers} processes need {workers * need:.2g} bytes, more than --max-memory {max_memory:.2g}: raise it "
            "or lower --process-num"
        )
    with _executor(process_num, cluster) as (pool, ahead):
        run.collect(pool, ahead, strict)
        run.sort(max_memory, strict)
        if say is not None:
            people, images = len(run.index.bounds) - 1, len(run.index)
            say(f"{people} people, {images} photographs; {run.count - images} not used")
        run.measure(pool, ahead)
    counts = run.write(out, text)
    shutil.rmtree(folder, ignore_errors=True)
    return counts


@contextmanager
def _executor(process_num, cluster):
    """(executor, how many tasks may be submitted ahead)."""
    if cluster:
        with threadpool_limits(1, "blas"), _dask(cluster) as client:
            yield _Cluster(client, cluster), 1000
    elif process_num == 1:
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as pool:  # lifts the limit that tasks set, see do_task
            yield pool, 1
    else:
        context, parent = get_context("spawn"), os.getpid()
        with ProcessPoolExecutor(process_num, context, initializer=_end_with, initargs=(parent,)) as pool:
            yield pool, 4 * process_num


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
    logs = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado.application", "asyncio")]
    levels = [log.level for log in logs]
    for log in logs:  # a lost connection is an error of ours, on one line
        log.setLevel(logging.CRITICAL)
    try:
        with client:
            yield client
    except DataError:  # its threads go on to complain until this process ends: the levels stay
        raise
    except BaseException:
        _set_levels(logs, levels)
        raise
    _set_levels(logs, levels)


def _set_levels(logs, levels):
    for log, level in zip(logs, levels, strict=True):
        log.setLevel(level)


class _Cluster:
    """An executor on a Dask cluster that says so when its workers or its scheduler are gone, instead of waiting."""

    def __init__(self, client, address):
        self.client, self.address, self.pool = client, address, client.get_executor()
        self.seen = time.monotonic()  # when there was a worker

    def submit(self, work, number):
        try:
            return _Task(self, self.pool.submit(work, number))
        except Exception as error:  # distributed has many for a connection that is closed
            raise self.lost("its scheduler has ended") from error

    def lost(self, what):
        return DataError(
            f"{self.address}: the cluster is lost: {what}; start it, and the same command goes on from here"
        )

    def look(self):
        """Raise DataError where nobody works any more."""
        try:
            workers = self.client.scheduler_info()["workers"]
        except Exception as error:
            raise self.lost("its scheduler does not answer") from error
        if workers:
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > WORKER_SECONDS:
            raise self.lost("it has no worker")


class _Task:
    def __init__(self, cluster, future):
        self.cluster, self.future = cluster, future

    def cancel(self):
        with suppress(Exception):  # of a connection that is closed
            self.future.cancel()

    def result(self):
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        while True:
            try:
                return self.future.result(timeout=1)
            except TimeoutError:
                if self.future.done():
                    raise
                self.cluster.look()
            except KilledWorker as error:
                raise self.cluster.lost("a task ended several workers (out of memory?)") from error
            except (CancelledError, concurrent.futures.CancelledError, CommClosedError) as error:
                raise self.cluster.lost("its scheduler has ended") from error


def _end_with(parent):
    """End this worker when the process that started it is gone, even by kill -9."""

    def watch():
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
