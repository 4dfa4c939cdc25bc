"""The same labels from a Dask cluster: a real scheduler and real workers, on this machine's loopback."""

import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
from test_labelling import labelled, made

from fiqa_lib.apps import labelling
from fiqa_lib.errors import DataError

pytest.importorskip("distributed", reason="dask.distributed is not installed: pip install -r requirements-scale.txt")
LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard"]


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers as processes of their own: (address, workers, scheduler, what starts another)."""
    address_file = tmp_path / "scheduler.json"
    processes = []

    def start(*arguments):
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *map(str, arguments[1:]), *LOOPBACK]
        log = open(tmp_path / f"{len(processes)}.log", "wb")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=os.environ))
        log.close()
        return processes[-1]

    start("dask_scheduler", "--port", 0, "--scheduler-file", address_file)
    deadline = time.monotonic() + 30
    while not address_file.exists():
        assert time.monotonic() < deadline, (tmp_path / "0.log").read_text()
        time.sleep(0.05)
    workers = [
        start(
            "dask_worker",
            "--scheduler-file",
            address_file,
            "--nthreads",
            1,
            "--no-nanny",
            "--local-directory",
            tmp_path,
        )
        for _ in range(2)
    ]
    from distributed import Client

    with Client(scheduler_file=str(address_file), timeout=30) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
    assert address.startswith("tcp://127.0.0.1:")
    yield address, workers, processes[0], start
    for process in processes:
        process.kill()
        process.wait()


def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed(tmp_path, cluster):
    address, workers, *_ = cluster
    made(tmp_path, [12] * 8000, dim=16)
    labelled(tmp_path, "here.csv")
    labelled(tmp_path, "there.csv", cluster=address)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()

    killed = []

    def kill_one():
        """In the middle of the run: once the second of twelve tasks has left its file."""
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "again.csv.work" / "distances").glob("0*.npy"))) < 2:
            if time.monotonic() > deadline:
                return
            time.sleep(0.002)
        workers[0].send_signal(signal.SIGKILL)
        killed.append(len(list((tmp_path / "again.csv.work" / "distances").glob("0*.npy"))))

    killer = threading.Thread(target=kill_one)
    killer.start()
    labelled(tmp_path, "again.csv", cluster=address)
    killer.join()
    assert killed and killed[0] < 12, "the worker was not killed in the middle of the run"
    assert workers[0].wait(10) == -signal.SIGKILL
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert len(pd.read_csv(tmp_path / "again.csv")) == 96000


@pytest.mark.parametrize("who", ["workers", "scheduler"])
def test_a_cluster_that_is_gone_is_said_on_one_line_and_a_second_run_goes_on(tmp_path, cluster, who):
    address, workers, scheduler, start = cluster
    made(tmp_path, [12] * 4000, dim=16)
    reference = labelled(tmp_path, "here.csv")
    code = "import sys; from fiqa_lib.apps import labelling; labelling.WORKER_SECONDS = 1; "
    code += "from fiqa_lib.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sdd-labels", "--image-list-file", tmp_path / "list.txt", "--no-progress"]
    command += ["--features", tmp_path / "all.npy", "--score-dst", tmp_path / "out.csv", "--cluster", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    distances = tmp_path / "out.csv.work" / "distances"
    while process.poll() is None and not list(distances.glob("0*.npy")):
        time.sleep(0.002)
    for lost in workers if who == "workers" else [scheduler]:
        lost.send_signal(signal.SIGKILL)
    said = process.communicate(timeout=90)[1]
    seen, *lines = said.splitlines()
    assert seen.startswith("4000 people") and process.returncode == 1 and len(lines) == 1, said
    assert lines[0].startswith("error: "), said
    assert "the cluster is lost" in said and "the same command goes on" in said
    done = len(list(distances.glob("0*.npy")))
    assert 0 < done < 6
    before = {path.name: path.stat().st_mtime_ns for path in distances.glob("0*.npy")}
    if who == "workers":
        start("dask_worker", address, "--nthreads", 1, "--no-nanny", "--local-directory", tmp_path)
    again = {"cluster": address} if who == "workers" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelling.shutil, "rmtree", lambda *args, **options: None)
        labelling.label_files(tmp_path / "out.csv", image_list_file=tmp_path / "list.txt",
                              features=tmp_path / "all.npy", process_num=1, **again)  # fmt: skip
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in distances.glob("0*.npy")}.items()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv", keep_default_na=False, na_values={"label": ""}),
                                  reference)  # fmt: skip


def test_an_address_where_nobody_answers(tmp_path, monkeypatch):
    made(tmp_path, [3, 3])
    monkeypatch.setattr(labelling, "CONNECT_SECONDS", 1)
    with pytest.raises(DataError, match="no Dask scheduler"):
        labelled(tmp_path, cluster="tcp://127.0.0.1:1")
