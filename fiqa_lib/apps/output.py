"""What every command needs to write its results: a progress bar, a figure file, and rows that survive a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from ..errors import DataError
from ..files import whole_file


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
    with whole_file(path) as temporary:
        try:
            figure.savefig(temporary, dpi=150)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error


class Journal:
    """The rows of a table, appended to the file `OUT.partial` as they are made, so that an interrupted run can go on.

    The first line of the file is the key of the run, every other line one row as JSON. Rows of another run are dropped,
    and so is everything from the first damaged line on.

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
            with self.path.open("ab") as file:
                file.writelines(line + b"\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
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
