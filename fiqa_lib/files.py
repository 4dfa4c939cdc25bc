"""Files that are written: whole or not at all, by one process at a time, and never in place of what is no file."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DataError

REMEDIES = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EFBIG: "write to another disk, or raise the limit on the size of files",
    errno.EACCES: "write to another folder, or change its permissions",
    errno.EPERM: "write to another folder, or change its permissions",
    errno.EROFS: "write to another folder",
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "name another folder",
    errno.EEXIST: "name another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the path",
}
"""What to do about an error of the operating system."""


def in_words(error):
    """An OSError as one line: the file, what is wrong, and what to do.

    Parameters
    ----------
    error : OSError
        As it was raised.

    Returns
    -------
    str
    """
    text = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        text = f"{os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}: {text}"
    remedy = REMEDIES.get(error.errno)
    return " ".join((f"{text}; {remedy}" if remedy else text).split())


def regular(path):
    """Where a file that is called `path` is to be written: behind a symbolic link, what the link leads to.

    Parameters
    ----------
    path : str or Path
        The file, which may be missing.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        Something else has this name: a folder, a device such as `/dev/null`, a pipe or a socket. They are refused, not
        written through, since what is written there is neither whole nor can it be read again. So is a file that its
        owner has made read-only, as replacing it would ask only for the folder's permission.
    """
    path = Path(path)
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return place
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a device, pipe or socket and is not replaced; name a file", str(path))
    if not mode & 0o222:
        raise PermissionError(errno.EACCES, "is read-only", str(path))
    return place


@contextmanager
def whole_file(path):
    """Yield a temporary path beside `path`; move it into place when the block ends, delete it when the block fails.

    A reader, or a process killed at any moment, sees the old file or the new one, never half of one. The temporary
    name keeps the suffix, since NumPy, OpenCV and matplotlib choose a format by it. Only regular files are replaced;
    see `regular`.

    Parameters
    ----------
    path : str or Path
        Where the file shall stand. Missing folders are made.

    Raises
    ------
    OSError
        The file can't be written; `filename` is `path`, and not the temporary file.

    Examples
    --------
    >>> with whole_file("scores.csv") as temporary:
    ...     table.to_csv(temporary, index=False)
    """
    place = regular(path)
    temporary = place.with_name(f".{place.stem[:40]}.{os.getpid()}-{secrets.token_hex(4)}{place.suffix}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, place)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise  # of another file, such as one that was read in the block
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_output(path, *, folder=False):
    """Fail now, and not after the work, where an output can't be written. Nothing is left behind.

    Parameters
    ----------
    path : str or Path
        The file, or the folder.
    folder : bool, default=False
        `path` is a folder for files.

    Raises
    ------
    OSError
        As `regular`; or a file stands where a folder should be, or no file can be made there.
    """
    place = Path(path) if folder else regular(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        place.lstat()  # a name that is too long
    here = place if folder else place.parent
    while not os.path.lexists(here):
        here = here.parent
    if not here.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{here} is a file, not a folder", str(path))
    probe = here / f".fiqa-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"no file can be made in {here} ({reason})", str(path)) from error


# ------------------------------------------------------------------------------------------------------------- locks


@contextmanager
def locked(path, *, wait=0):
    """Hold an output while it is made, so that a second run does not write to it.

    The lock is one of the operating system (`flock`, on Windows `msvcrt.locking`) on a file `.NAME.lock` beside the
    output, which is removed at the end. It ends with its process: what a killed run leaves is taken over. Where the
    file system has no locks the work goes on without one.

    Parameters
    ----------
    path : str or Path
        The output; missing folders are made.
    wait : float, default=0
        Seconds to wait for another process.

    Raises
    ------
    DataError
        Another process holds it. The message says which.
    OSError
        No file can be made beside the output.
    """
    path = Path(path)
    place = path.with_name(f".{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + wait
    while (descriptor := _hold(place)) is None:
        if time.monotonic() >= end:
            raise DataError(f"{path}: {_holder(place)} is writing it; wait until it has ended, or give another name")
        time.sleep(0.05)
    try:
        yield
    finally:
        if os.name == "nt":  # an open file can't be removed there
            os.close(descriptor)
        with suppress(OSError):
            place.unlink()
        if os.name != "nt":
            os.close(descriptor)


def _hold(place):
    """A descriptor of the locked file, or None where another process holds it."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), os.stat(place)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        except FileNotFoundError:
            pass  # the holder has ended and removed the file since it was opened
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                return None
            raise
        os.close(descriptor)


def _lock(descriptor):
    """Raise EAGAIN or EACCES where another process holds the lock."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # behind the end, as a locked byte can't be read by others
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _holder(place):
    with suppress(OSError):
        if text := place.read_text(encoding="utf-8", errors="replace")[:200]:
            return text
    return "another process"


# --------------------------------------------------------------------------------------------------------------- CSV

_RUNS = re.compile("'*[=+\\-@\t\r]")


def spreadsheet_cell(value):
    """A cell as it is written to a CSV file: text that a spreadsheet would run as a formula gets an apostrophe.

    That is text which begins with `=`, `+`, `-`, `@`, a tab or a carriage return, and is no number; and, so that
    `from_spreadsheet_cell` is exact, such text behind apostrophes.

    Parameters
    ----------
    value : object
        What is no text is returned as it is.

    Returns
    -------
    object
    """
    if not isinstance(value, str) or not _RUNS.match(value) or _is_number(value):
        return value
    return "'" + value


def from_spreadsheet_cell(text):
    """What `spreadsheet_cell` was given: one apostrophe in front of a formula is removed.

    Parameters
    ----------
    text : str
        A cell of a CSV file.

    Returns
    -------
    str
    """
    return text[1:] if text.startswith("'") and _RUNS.match(text) else text


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_csv(table, path):
    """Write a DataFrame as UTF-8 CSV with `\\n` line ends, whole or not at all. `path` is returned as a Path.

    Text that a spreadsheet would run is written as `spreadsheet_cell` says; `data.read_table` undoes it.
    """
    columns = {}
    for name in table.columns:
        column = table[name]
        if column.dtype.kind == "O" and any(value is not spreadsheet_cell(value) for value in column):
            columns[name] = type(column)([spreadsheet_cell(v) for v in column], index=column.index, dtype=object)
    table = table.assign(**columns).rename(columns=spreadsheet_cell)
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    return Path(path)
