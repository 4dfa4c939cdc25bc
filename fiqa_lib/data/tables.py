"""The one reader of text: lists of images, pair protocols, score files and tables.

It reads UTF-8 with or without a byte order mark and UTF-16 with one, LF and CRLF line ends. What is no text is refused
with the file and the line, and so is a row with the wrong number of cells.
"""

from __future__ import annotations

import codecs
import csv
import re

import pandas as pd

from ..errors import DataError
from ..files import from_spreadsheet_cell

UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
DELIMITERS = ",;\t"
"""What can separate the cells of a table. A header without any of these is split at spaces."""


def read_lines(
    path, *, strip=False, blank=False, comments=False, backslashes=False, allow_empty=True, start=0, offsets=False
):
    """Yield (line number, text) of each line of a text file. The file is never held in memory as a whole.

    Parameters
    ----------
    path : str or Path
        UTF-8, or UTF-16 with a byte order mark.
    strip : bool, default=False
        Remove white space at both ends of each line. Line ends are always removed.
    blank : bool, default=False
        Also yield lines that are empty or only white space.
    comments : bool, default=False
        Treat a line that begins with `#` as a blank one.
    backslashes : bool, default=False
        Turn `\\` into `/`, for lists of paths that were written on Windows.
    allow_empty : bool, default=True
        Whether a file without any line to yield is accepted.
    start : int, default=0
        Begin at this byte of the file, an offset that an earlier call yielded. Lines are then counted from there.
    offsets : bool, default=False
        Yield (offset in bytes, text) instead, to come back with `start`.

    Raises
    ------
    DataError
        The file can't be read, is not text, or is empty. Raised when the first line is asked for, or the bad one.
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    with file:
        if (head := file.read(4)) == b"PK\3\4":
            raise DataError(f"{path}: a zip archive or a spreadsheet (.xlsx), no text; save the table as CSV")
        encoding = UTF16.get(head[:2], "utf-8")
        offset, empty = file.seek(start), True
        for number, raw in enumerate(_raw_lines(file, "\n".encode(encoding)), start=1):
            text = _decoded(raw, encoding, f"{path}, line {number}")
            if comments and text.lstrip().startswith("#"):
                text = ""
            if blank or text.strip():
                empty = False
                text = text.replace("\\", "/") if backslashes else text
                yield offset if offsets else number, text.strip() if strip else text
            offset += len(raw)
    if empty and not allow_empty:
        raise DataError(f"{path}: the file is empty")


def _raw_lines(file, newline):
    """The lines of a binary file with their ends. In UTF-16 a newline is two bytes, the first at an even place."""
    if len(newline) == 1:
        yield from file
        return
    line = b""
    while part := file.readline():
        line += part
        if len(line) % 2:
            line += file.read(1)
        if line.endswith(newline):
            yield line
            line = b""
    if line:
        yield line


def _decoded(raw, encoding, place):
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not {encoding[:6].upper()} text ({error.reason}); save the file as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{place}: a NUL character: this is no text file, or UTF-16 without byte order mark")
    return text.lstrip("\ufeff").removesuffix("\n").strip("\r")  # lists that were joined have a mark in their middle


def header_cells(text, delimiter=None):
    """The cells of a header line, with the delimiter that occurs most in it unless one is given."""
    return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter or find_delimiter(text)), [])]


def find_delimiter(text):
    """Which of `DELIMITERS` occurs most in a line, outside of quotes; a space where none does."""
    bare = re.sub(r'"[^"]*"', "", text)
    best = max(DELIMITERS, key=bare.count)
    return best if best in bare else " "


def numbers(column, path):
    """A column of `read_table` as numbers (float, NaN for an empty cell); DataError for a cell that is no number."""
    values = []
    for line, cell in column.items():
        try:
            values.append(float(cell or "nan"))
        except ValueError:
            raise DataError(f"{path}, line {line}: {column.name} must be a number, not {cell!r}") from None
    return pd.Series(values, index=column.index, dtype=float)


def read_table(path, *, columns=(), delimiter=None, comments=False):
    """Read a table with a header line; cells may stand in double quotes and hold delimiters and line ends.

    An apostrophe that `files.write_csv` put before a formula is removed.

    Parameters
    ----------
    path : str or Path
        As in `read_lines`.
    columns : sequence of str, default=()
        Columns that the header must have.
    delimiter : str, default=None
        The character between cells. Default: found in the header, see `find_delimiter`.
    comments : bool, default=False
        Leave out lines that begin with `#`.

    Returns
    -------
    DataFrame of str
        Its index is the line number in the file, for error messages. Empty rows are left out. `attrs["delimiter"]` is
        what stood between the cells, `attrs["line"]` where the header is.

    Raises
    ------
    DataError
        As `read_lines`; or a column is missing or occurs twice, or a row has another number of cells than the header.
    """
    texts = [text for _, text in read_lines(path, blank=True, comments=comments)]
    first = next((text for text in texts if text.strip()), None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    delimiter = delimiter or find_delimiter(first)
    reader = csv.reader((text + "\n" for text in texts), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    rows = [(number, [from_spreadsheet_cell(cell) for cell in row]) for number, row in rows]
    line, header = rows.pop(0)
    while len(header) > 1 and not header[-1]:
        header.pop()
    if len(set(header)) != len(header):
        raise DataError(f"{path}, line {line}: a column occurs twice in the header {header}")
    if absent := [column for column in columns if column not in header]:
        raise DataError(f"{path}, line {line}: no column {', '.join(map(repr, absent))} in the header {header}")
    for number, row in rows:
        while len(row) > len(header) and not row[-1]:  # spreadsheets write empty cells at the end
            row.pop()
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: {len(header)} cells are expected, got {len(row)}")
    lines, cells = zip(*rows, strict=True) if rows else ([], [])
    table = pd.DataFrame(list(cells), columns=header, index=pd.Index(lines, dtype=int, name="line"), dtype="str")
    table.attrs.update(delimiter=delimiter, line=line)
    return table
