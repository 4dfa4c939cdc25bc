"""What every command needs to write its results: a progress bar, figures, totals, and rows that survive a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from ..errors import DataError
from ..faces.images import printable
from ..files import check_output, whole_file


def progress_bar(total, *, done=0, shown=True, unit="face"):
    """A `tqdm` progress bar on standard error.

    Parameters
    ----------
    total : int or None
        Number of items; None where it is unknown.
    done : int, default=0
        Items that an earlier run has finished.
    shown : bool, default=True
        False gives a bar that prints nothing.
    unit : str, default="face"
        What is counted.

    Returns
    -------
    tqdm.tqdm
        Also a context manager; `update(n)` moves it.
    """
    from tqdm import tqdm

    return tqdm(total=total, initial=done, disable=not shown, unit=unit)


def check_outputs(outputs, inputs=()):
    """Fail before the work where an output can't be written, or would replace an input or another output.

    Parameters
    ----------
    outputs : dict of str -> (path, kind)
        By the name of the option; the kind is "file", "figure" or "folder".
    inputs : sequence of paths, default=()
        What the command reads.

    Raises
    ------
    OSError
        As `files.check_output`.
    DataError
        Two outputs are one file, an output is an input, or a figure has a suffix that matplotlib does not know.
    """
    seen = {}
    for name, (path, kind) in outputs.items():
        if kind == "figure":
            check_figure(path)
        check_output(path, folder=kind == "folder")
        if kind == "folder":
            continue
        if (other := seen.setdefault(os.path.realpath(path), name)) != name:
            raise DataError(f"{printable(path)}: {other} and {name} name the same file; give two names")
        if os.path.exists(path) and (same := [p for p in inputs if os.path.exists(p) and os.path.samefile(p, path)]):
            raise DataError(
                f"{printable(path)}: {name} would replace the input {printable(same[0])}; give another name"
            )


def check_figure(path):
    """Raise DataError unless matplotlib knows the suffix of a picture file; the message lists those it knows."""
    from matplotlib.figure import Figure

    known = sorted(Figure().canvas.get_supported_filetypes())
    if (suffix := Path(path).suffix.lower()).removeprefix(".") not in known:
        raise DataError(
            f"{printable(path)}: no picture format has the suffix {suffix!r}; use one of .{' .'.join(known)}"
        )


def totals(table, *, good=("ok",), name="path"):
    """How many rows have each status, and of those that failed the first with its reason.

    Parameters
    ----------
    table : DataFrame
        With `status`, `reason`, and the column that names a row.
    good : sequence of str, default=("ok",)
        Statuses that need no reason.
    name : str, default="path"
        The column that names a row.

    Returns
    -------
    str
        Such as "5 ok, 2 error (first: a.jpg: the file is empty)".
    """
    firsts = table.drop_duplicates("status").set_index("status")
    reasons = {status: (row[name], row["reason"]) for status, row in firsts.iterrows() if status not in good}
    return in_total(table["status"].value_counts().to_dict(), reasons)


def in_total(counts, firsts):
    """Counts in words, with the first of each kind; see `totals`.

    Parameters
    ----------
    counts : dict of str -> int
        By status.
    firsts : dict of str -> (name, reason)
        By status, where there is something to say.

    Returns
    -------
    str
    """
    parts = []
    for status, count in sorted(counts.items(), key=lambda item: -item[1]):
        part = f"{count} {status}"
        if status in firsts:
            said = [printable(text) for text in firsts[status] if isinstance(text, str | int) and text != ""]
            part += f" (first: {': '.join(said)})"
        parts.append(part)
    return ", ".join(parts)


def stamp(path):
    """What tells that a file is still the same one: its size and the time of its last change; None without a file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    list of int, or None
        Bytes, and nanoseconds.
    """
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return [about.st_size, about.st_mtime_ns]


def save_figure(figure, path):
    """Write a matplotlib figure to a file, whole or not at all, with 150 dots per inch.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : path
        The file. Its suffix chooses the format.

    Raises
    ------
    DataError
        matplotlib does not know the suffix. The message lists those it knows.
    """
    check_figure(path)
    with whole_file(path) as temporary:
        try:
            figure.savefig(temporary, dpi=150)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error


class Journal:
    """The rows of a table, appended to the file `OUT.partial` as they are made, so that an interrupted run can go on.

    The first line of the file is the key of the run, every other line one row as JSON. Rows of another run are dropped,
    and so is everything from the first damaged line on. Whoever keeps one holds the output by `files.locked`.

    Parameters
    ----------
    out : path or None
        The table that is being made. None keeps the rows in memory only.
    key : str
        Everything that the rows depend on; see `photographs.run_key`.
    restart : bool, default=False
        Drop what an interrupted run left.

    Attributes
    ----------
    rows : list of dict
        All rows so far, always as they are read back from the file.
    """

    def __init__(self, out, key, *, restart=False):
        self.path = None if out is None else Path(out).with_name(Path(out).name + ".partial")
        self.rows = []
        if self.path is None:
            return
        lines = (
            [] if restart or not self.path.exists() else self.path.read_bytes().split(b"\n")[:-1]
        )  # the last is torn
        if lines and lines[0] == key.encode():
            self.rows = _parse(lines[1:])
        with whole_file(self.path) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in [key.encode(), *lines[1 : 1 + len(self.rows)]]))

    def append(self, rows):
        """Add rows and make sure that they are on the disk.

        Parameters
        ----------
        rows : sequence of dict
            Values are numbers, strings or None.
        """
        lines = [json.dumps(row, default=lambda number: number.item()).encode() for row in rows]  # of NumPy's numbers
        if self.path is not None:
            try:
                with self.path.open("ab") as file:
                    file.writelines(line + b"\n" for line in lines)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:  # one about writing names no file
                raise OSError(error.errno, error.strerror or str(error), str(self.path)) from error
        self.rows += _parse(lines)

    def remove(self):
        """Delete the file: the finished table has been written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _parse(lines):
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def table_of(rows, columns, text=("path", "status", "reason")):
    """Rows as a DataFrame.

    Parameters
    ----------
    rows : sequence of dict
        As in `Journal.rows`.
    columns : sequence of str
        Columns of the table, in order. What a row lacks becomes NaN.
    text : sequence of str, default=("path", "status", "reason")
        Columns that hold text. All others hold numbers.

    Returns
    -------
    DataFrame
    """
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(**{name: pd.to_numeric(table[name]) for name in columns if name not in text})
