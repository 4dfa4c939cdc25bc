"""What `bench_soak.py` needs: commands that run in forked processes, damaged files, and what is wrong with a table."""

import csv
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

CRASHED = 70
"""The exit status of a run that ended with an exception."""


class Ended(NamedTuple):
    """How a run ended: exit status (minus a signal), what it said, seconds by the clock and of work, megabytes."""

    status: int
    said: str
    seconds: float
    work: float
    megabytes: float

    @property
    def crashed(self):
        return self.status < 0 or self.status == CRASHED or "Traceback" in self.said


class Running:
    """`cli.main` with arguments, in a forked process."""

    def __init__(self, *arguments):
        self.log, self.start = Path(tempfile.mkstemp(suffix=".log", dir=".")[1]), time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run([str(item) for item in arguments])

    def _run(self, arguments):
        status = CRASHED
        try:
            file = os.open(self.log, os.O_WRONLY)
            os.dup2(file, 1)
            os.dup2(file, 2)
            from fiqa_lib.cli import main

            status = main(arguments)
        except SystemExit as error:
            status = error.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait(self, limit=3600.0, look=None):
        """Its `Ended`; killed after `limit` seconds, or as soon as `look()` says so."""
        killed = False
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if not killed and (time.monotonic() - self.start > limit or (look is not None and look())):
                os.kill(self.pid, signal.SIGKILL)
                killed = True
            time.sleep(0.002)
        said = self.log.read_text(errors="replace")
        self.log.unlink()
        seconds = time.monotonic() - self.start
        work = usage.ru_utime + usage.ru_stime
        return Ended(os.waitstatus_to_exitcode(status), said, seconds, work, usage.ru_maxrss / 1024)


def run(*arguments, **options):
    return Running(*arguments).wait(**options)


def row(name, value, unit="", target=""):
    ok = None
    if target:
        relation, _, number = target.partition(" ")
        ok = bool({"<=": value <= float(number), ">=": value >= float(number), "=": value == float(number)}[relation])
    return {"name": name, "value": float(value), "unit": unit, "target": target, "ok": ok}


def lost_and_doubled(path, names, column="path"):
    """(names without a row, rows too many) of a table."""
    with open(path, newline="", encoding="utf-8") as file:
        counts = Counter(row[column] for row in csv.DictReader(file))
    lost = sum(name not in counts for name in names)
    return lost, sum(counts.values()) - len(counts)


def mutated(data, rng):
    """One of the ways in which a file is damaged: bytes changed, cut, doubled, zeroed, extreme numbers, parts moved."""
    data, size = bytearray(data), len(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, length = rng.randrange(size), rng.choice((1, 2, 4, 8, 64, 1024))
        if rng.random() < 0.4:  # headers decide more than pixels
            at = rng.randrange(min(size, 256))
        kind = rng.randrange(7)
        if kind <= 1:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 2:
            data[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at : at + 8] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63)).to_bytes(
                8, rng.choice(("little", "big"))
            )
        else:
            del data[max(1, at) :]
        data = data or bytearray(1)
        size = len(data)
    return bytes(data)
