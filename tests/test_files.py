"""Files are written whole, by one process, and never in place of what is no file; errors of the system are one line."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiqa_lib import files
from fiqa_lib.apps.benchmark import write
from fiqa_lib.apps.labelling import label_files
from fiqa_lib.apps.output import Journal
from fiqa_lib.apps.photographs import score_files
from fiqa_lib.apps.report import write_report
from fiqa_lib.apps.video import score_video
from fiqa_lib.cli import main
from fiqa_lib.data.pairs import read_pairs, write_pairs_csv
from fiqa_lib.data.score_files import read_scores
from fiqa_lib.data.tables import read_table
from fiqa_lib.errors import DataError
from fiqa_lib.scorers import SCORERS


def said(capsys):
    """The one line on standard error."""
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1 and "Traceback" not in text, text
    return text


# -------------------------------------------------------------------------------------------------------- whole files


@pytest.fixture
def odd(tmp_path):
    """Things that are no regular file, by kind."""
    made = {"folder": tmp_path / "folder", "pipe": tmp_path / "pipe", "device": tmp_path / "null"}
    made["folder"].mkdir()
    os.mkfifo(made["pipe"])
    made["device"].symlink_to(os.devnull)
    return made | {"null": os.devnull}


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "null"])
def test_what_is_no_file_is_never_replaced(odd, kind, monkeypatch):
    def replaced(*paths):  # never for real: where this test fails, it would cost the machine its /dev/null
        raise AssertionError(f"{paths[1]} would be replaced")

    monkeypatch.setattr(os, "replace", replaced)
    before = os.lstat(odd[kind]), os.stat(odd[kind])
    with pytest.raises(OSError, match="is a"), files.whole_file(odd[kind]) as temporary:
        temporary.write_text("x")
    after = os.lstat(odd[kind]), os.stat(odd[kind])
    assert [(s.st_mode, s.st_ino) for s in before] == [(s.st_mode, s.st_ino) for s in after]
    with pytest.raises(OSError, match="is a"):
        files.check_output(odd[kind])


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "there" / "real.csv")
    for text in ("new", "again"):
        with files.whole_file(tmp_path / "link.csv") as temporary:
            temporary.write_text(text)
        assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "there" / "real.csv").read_text() == text


def test_a_read_only_file_is_left(tmp_path):
    place = tmp_path / "s.csv"
    place.write_text("mine")
    place.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"), files.whole_file(place):
        pass
    assert place.read_text() == "mine"


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError) as caught, files.whole_file(tmp_path / "s.npy"):
        raise OSError("1000 requested and 0 written")  # NumPy's way to say that the disk is full
    assert caught.value.filename == str(tmp_path / "s.npy") and "requested" in files.in_words(caught.value)
    with pytest.raises(FileNotFoundError) as caught, files.whole_file(tmp_path / "s.npy"):
        (tmp_path / "input").read_text()
    assert caught.value.filename == str(tmp_path / "input")
    assert not list(tmp_path.iterdir())


def test_a_long_name_is_written_as_long_as_the_system_takes_it(tmp_path):
    name = "n" * 251 + ".csv"
    files.write_csv(pd.DataFrame({"a": [1]}), tmp_path / name)
    assert (tmp_path / name).read_text() == "a\n1\n"
    with pytest.raises(OSError, match="long"):
        files.check_output(tmp_path / ("n" + name))


# ------------------------------------------------------------------------------------------- outputs, before the work

COMMANDS = {
    "score": (["score", "photos", "--method", "sharpness"], "--out", "--plot"),
    "report": (["report", "photos", "--method", "sharpness"], "--out"),
    "edc": (["edc", "--scores", "s.csv", "--pairs", "p.csv", "--similarity", "x"], "--out", "--summary", "--plot"),
    "sdd-labels": (["sdd-labels", "--image-root", "photos"], "--score-dst"),
    "benchmark": (["benchmark"], "--out"),
}
WHERE = [(name, option) for name, (_, *options) in COMMANDS.items() for option in options]


def refused(monkeypatch, capsys, name, option, path, *more):
    """What a command says about an output; its work must not have begun."""

    def worked(arguments):
        raise AssertionError("the work has begun")

    from fiqa_lib import cli

    monkeypatch.setitem(cli.COMMANDS, name, (worked, *cli.COMMANDS[name][1:]))
    given = [*COMMANDS[name][0], option, str(path), *map(str, more)]
    if name == "score" and option != "--out":
        given += ["--out", "good.csv"]
    assert main(given) == 1
    return said(capsys)


@pytest.mark.parametrize(("name", "option"), WHERE)
def test_outputs_are_looked_at_before_the_work(tmp_path, monkeypatch, capsys, name, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    wrong = ["file/x.png", "file/y/x.png", "/proc/x.png", "/proc/y/x.png", "n" * 300 + ".png"]
    if name not in ("benchmark", "sdd-labels"):
        wrong += ["folder.png", os.devnull]
    else:
        wrong += ["file"]
    for path in wrong:
        text = refused(monkeypatch, capsys, name, option, path)
        assert path.split("/")[0][:50] in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_picture_of_unknown_kind_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, option in WHERE:
        if option == "--plot":
            for path in ("sheet.docx", "sheet"):
                text = refused(monkeypatch, capsys, name, option, path)
                assert "use one of" in text and ".png" in text and path in text


def test_one_file_for_two_outputs_or_an_input_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("x")
    assert "name the same file" in refused(monkeypatch, capsys, "edc", "--out", "o.csv", "--summary", "./o.csv")
    assert "would replace the input" in refused(monkeypatch, capsys, "edc", "--out", tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "x"


def test_the_folder_of_best_frames_may_not_be_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "not a folder" in refused(monkeypatch, capsys, "score", "--best-dir", "file")


@pytest.mark.parametrize(
    "given",
    [
        ["score", "a.png", "--method", "sharpness", "--out", "s.csv", "--jobs", "0"],
        ["score", "a.png", "--method", "sharpness", "--out", "s.csv", "--jobs", "-2"],
        ["score", "a.png", "--method", "sharpness", "--out", "s.csv", "--best", "-1"],
        ["report", "photos", "--out", "r.html", "--jobs", "many"],
        ["sdd-labels", "--image-root", "photos", "--score-dst", "o.csv", "--process-num", "0"],
        ["sdd-labels", "--image-root", "photos", "--score-dst", "o.csv", "--max-memory", "nan"],
        ["sdd-labels", "--image-root", "photos", "--score-dst", "o.csv", "--seed", "-1"],
        ["benchmark", "--out", "o", "--copies", "-1"],
        ["edc", "--scores", "s.csv", "--pairs", "p.csv", "--similarity", "x", "--draws", "-5"],
    ],
)
def test_numbers_that_make_no_sense_are_wrong_usage(given, capsys):
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "is no whole number" in (text := capsys.readouterr().err) or "no number of bytes" in text


# -------------------------------------------------------------------------------------- errors of the system, anywhere


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_an_error_of_the_system_is_one_line(monkeypatch, capsys, number):
    from fiqa_lib import cli

    def fails(arguments):
        raise OSError(number, os.strerror(number), "/somewhere/o.csv")

    monkeypatch.setitem(cli.COMMANDS, "methods", (fails, *cli.COMMANDS["methods"][1:]))
    assert main(["methods"]) == 1
    assert f"/somewhere/o.csv: {os.strerror(number)}" in said(capsys)


def test_a_process_that_was_killed_is_one_line(monkeypatch, capsys):
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from fiqa_lib import cli

    def fails(arguments):
        raise TerminatedWorkerError("a worker process was terminated ...\nby SIGKILL")

    monkeypatch.setitem(cli.COMMANDS, "methods", (fails, *cli.COMMANDS["methods"][1:]))
    assert main(["methods"]) == 1
    assert "a process was killed" in said(capsys)


def limited(size, *command):
    """Run a command whose files may have `size` bytes at most, as on a disk that is full."""
    code = (
        "import resource, sys; size = int(sys.argv.pop(1)); resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); "
    )
    code += "from fiqa_lib.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, str(size), *map(str, command)], capture_output=True, text=True, check=False
    )


def test_a_full_disk_in_the_middle_is_one_line_and_the_run_goes_on(tmp_path, orl_files):
    inputs = list(orl_files[:3]) * 30
    command = ["score", *inputs, "--method", "brightness", "--no-progress", "--out", tmp_path / "s.csv"]
    done = limited(12_000, *command)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ") and "s.csv" in done.stderr and "File too large" in done.stderr
    assert not (tmp_path / "s.csv").exists()
    assert limited(10**9, *command).returncode == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == len(inputs)
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


def test_nobody_reads_or_nothing_can_be_printed():
    command = [sys.executable, "-m", "fiqa_lib", "methods"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 1


# -------------------------------------------------------------------------------------------------------------- locks

HOLDS = """
import sys, time
from fiqa_lib.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds o.csv."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path / "o.csv"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_it_and_a_dead_one_holds_nothing(tmp_path, holder):
    with pytest.raises(DataError, match=f"process {holder.pid} on .* is writing it"), files.locked(tmp_path / "o.csv"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".o.csv.lock").exists()  # the dead process could not remove it
    with files.locked(tmp_path / "o.csv"), pytest.raises(DataError, match=f"process {os.getpid()}"):
        with files.locked(tmp_path / "o.csv"):
            pass
    assert not list(tmp_path.iterdir())


def test_only_one_of_many_threads_holds_it_at_a_time(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    inside, most = [], []

    def work(number):
        with files.locked(tmp_path / "o.csv", wait=30):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.001)
            inside.remove(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(60)))
    assert most == [1] * 60 and not list(tmp_path.iterdir())


def test_every_long_work_holds_its_output(tmp_path, holder, orl_files):
    out, scorer = tmp_path / "o.csv", SCORERS["brightness"]()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.pgm").write_bytes(orl_files[0].read_bytes())
    works = [
        lambda: score_files(orl_files[:1], scorer, out),
        lambda: score_video(tmp_path / "any.avi", scorer, out),
        lambda: write_report(tmp_path / "photos", out, scorer),
        lambda: label_files(out, image_root=tmp_path / "photos"),
    ]
    for work in works:
        with pytest.raises(DataError, match=f"process {holder.pid}"):
            work()
    assert not out.exists()


def test_two_runs_at_once_lose_and_double_nothing(tmp_path, orl_files):
    inputs = list(orl_files[:40])
    command = [sys.executable, "-m", "fiqa_lib", "score", *inputs, "--method", "brightness", "--no-progress"]
    command += ["--out", tmp_path / "o.csv"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(process.communicate()[1], process.returncode) for process in running]
    assert min(status for _, status in ended) == 0
    assert all("is writing it" in text for text, status in ended if status)
    assert list(pd.read_csv(tmp_path / "o.csv").path) == list(map(str, inputs))
    assert [p.name for p in tmp_path.iterdir()] == ["o.csv"]


# ---------------------------------------------------------------------------------------------------------------- CSV

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x"]


@given(st.one_of(st.text(), st.text("'=+-@\t\r1.e a")))
def test_a_cell_comes_back_and_is_never_run(text):
    cell = files.spreadsheet_cell(text)
    assert files.from_spreadsheet_cell(cell) == text
    if cell[:1] in tuple("=+-@\t\r"):
        float(cell)  # a number, which stays one


def test_tables_come_back_and_numbers_stay_numbers(tmp_path):
    names = [*FORMULAS[:5], "'=1", "plain.jpg", "-1.5", "it's"]
    values = np.linspace(-3, 3, len(names))
    table = pd.DataFrame({"path": names, "status": "ok", "score": values, "=head": 1})
    table["mixed"] = pd.Series([None, 7, *[-2] * 6, "=1"], dtype=object)
    files.write_csv(table, tmp_path / "s.csv")
    raw = pd.read_csv(tmp_path / "s.csv", keep_default_na=False)
    assert raw.score.dtype == float and not any(str(p)[0] in "=+@\t\r" for p in raw.path)
    assert list(raw.mixed) == ["", "7", *["-2"] * 6, "'=1"]
    back = read_table(tmp_path / "s.csv", columns=("path", "=head"))
    assert list(back.path) == names
    scores = read_scores(tmp_path / "s.csv")
    assert list(scores.path) == names
    np.testing.assert_array_equal(scores.score.astype(float), values)


def test_pairs_labels_groups_and_scores_of_formulas_come_back(tmp_path, capsys):
    people = ["=a", "+b", "@c"]
    names = [f"{person}/{i}.jpg" for person in people for i in range(3)]
    pairs = pd.DataFrame({"a": names[:-1], "b": names[1:], "mated": [True, False] * 4})
    write_pairs_csv(pairs, tmp_path / "p.csv")
    assert list(read_pairs(tmp_path / "p.csv").a) == names[:-1]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    np.save(tmp_path / "all.npy", np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32))
    options = {"image_list_file": tmp_path / "list.txt", "features": tmp_path / "all.npy", "process_num": 1}
    label_files(tmp_path / "l.csv", n_samples=2, n_repeats=2, **options)
    assert "\n'=a/0.jpg,'=a," in (tmp_path / "l.csv").read_text()
    back = read_table(tmp_path / "l.csv")
    assert list(back.name) == names and list(back.identity) == list(np.repeat(people, 3))


def test_a_benchmark_writes_formulas_as_text(tmp_path):
    write({"scores": pd.DataFrame({"name": ["=1"], "identity": ["@b"], "x": [-1.5]})}, tmp_path)
    assert (tmp_path / "benchmark_scores.csv").read_text() == "name,identity,x\n'=1,'@b,-1.5\n"


def test_a_journal_that_cannot_grow_names_its_file(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "s.csv", "key")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        journal.append([{"a": 1}])
    assert caught.value.filename == str(tmp_path / "s.csv.partial")
