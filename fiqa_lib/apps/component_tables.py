"""Component measures of photographs as files: our table, and OFIQ's names and order of columns, as CSV or JSON.

OFIQ's table: `Filename`, the raw value of each of the 28 components, then `NAME.scalar` of each, with semicolons. What
could not be assessed has the raw value 0 and the scalar -1, as OFIQ writes it: only the scalar tells. What is not
measured here (`components.COMPONENTS[name].needs`) is in each row in the same way, so the file keeps OFIQ's columns.

Source: OFIQSampleApp of OFIQ 1.0 (later versions call a raw value `NAME.native`; `read_ofiq` takes both).

- **Changed**: raw values in full (OFIQ cuts them to six decimals), and no column of times.
- **Blind**: the same name does not make the same number. `components` lists where definitions differ.
"""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..components import COMPONENTS, MEASURED, measure
from ..data.folders import Encoded
from ..data.tables import numbers, read_table
from ..errors import DataError, ImageError
from ..faces import Mtcnn
from ..faces.images import printable, read_image
from ..files import locked, spreadsheet_cell, whole_file, write_csv
from .output import progress_bar, totals
from .photographs import CHUNK, REASONS, list_inputs

OFIQ = tuple(name for name, component in COMPONENTS.items() if not component.own)
"""The components of OFIQ's table, in its order."""
STATUSES = ("ok", "no_face", "error")
"""What can become of a photograph."""


def measure_files(inputs, *, detector=None, n_jobs=1, progress=False):
    """Component measures of photographs, one row for each.

    Parameters
    ----------
    inputs : sequence of (path, problem or None)
        As `photographs.list_inputs` gives them.
    detector : callable, default=None
        Finds the faces, as in `components.measure`. None: `Mtcnn()`.
    n_jobs : int, default=1
        Processes; no effect on the result.
    progress : bool, default=False
        Show a bar on standard error.

    Returns
    -------
    DataFrame
        `path`, `status` (in `STATUSES`), `reason` ("" where all is well); for each name in `components.MEASURED` its
        raw value (NaN: not assessed) in a column of that name, and NAME.scalar (0..100; -1: not assessed).

    Raises
    ------
    DataError
        An input is an aligned crop of a `.bin` file: most measures are about the photograph around the face.
    """
    from joblib import Parallel, delayed

    if crops := [path for path, _ in inputs if isinstance(path, Encoded)]:
        raise DataError(f"{printable(crops[0])}: aligned crops have no framing to measure; give photographs")
    one, rows = delayed(partial(_row, detector=detector or Mtcnn())), []
    with progress_bar(len(inputs), shown=progress, unit="photograph") as bar:
        for start in range(0, len(inputs), CHUNK):
            part = inputs[start : start + CHUNK]
            rows += Parallel(n_jobs=n_jobs)(one(path, problem) for path, problem in part)
            bar.update(len(part))
    columns = ["path", "status", "reason", *MEASURED, *map("{}.scalar".format, MEASURED)]
    return pd.DataFrame(rows, columns=columns)


def _row(path, problem, *, detector):
    status, found = "error", None
    try:
        if problem is None:
            found = measure(read_image(path), detector=detector)
            counted = found["scalar"][found["component"] == "SingleFacePresent"].item() >= 0
            status, problem = ("ok", "") if counted else ("no_face", REASONS["no_face"])
    except ImageError as error:
        problem = error.reason
    raw = dict.fromkeys(MEASURED, np.nan) if found is None else dict(zip(found.component, found.raw, strict=True))
    scalar = dict.fromkeys(MEASURED, -1) if found is None else dict(zip(found.component, found.scalar, strict=True))
    row = {"path": printable(path), "status": status, "reason": printable(problem), **raw}
    return row | {f"{name}.scalar": int(value) for name, value in scalar.items()}


def write_ofiq(table, path):
    """Write component measures under OFIQ's column names.

    Parameters
    ----------
    table : DataFrame
        As `measure_files` returns it. What is no component of OFIQ is left out.
    path : path
        `.json`: a list of objects; else a CSV file with semicolons. Written whole or not at all.

    Returns
    -------
    Path
    """
    header = ["Filename", *OFIQ, *map("{}.scalar".format, OFIQ)]
    rows = []
    for record in table.to_dict("records"):
        scalars = {name: int(record.get(f"{name}.scalar", -1)) for name in OFIQ}
        raws = [float(record[name]) if scalars[name] >= 0 else 0.0 for name in OFIQ]
        rows.append([record["path"], *raws, *scalars.values()])
    if Path(path).suffix.lower() == ".json":
        content = [dict(zip(header, row, strict=True)) for row in rows]
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=";", lineterminator="\n")
        writer.writerows([header, *([spreadsheet_cell(row[0]), *row[1:]] for row in rows)])
        text = lines.getvalue()
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def read_ofiq(path):
    """Component measures from a table with OFIQ's column names, ours or one that OFIQ wrote.

    Parameters
    ----------
    path : path
        CSV with semicolons, or `.json` as `write_ofiq` writes it. OFIQ may have measured fewer components.

    Returns
    -------
    DataFrame
        `path`; for each component of the file its raw value (NaN where the scalar is -1), and NAME.scalar (int).

    Raises
    ------
    DataError
        The file is no such table; a scalar has no raw value, or is no whole number from -1 to 100.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        try:
            table = pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))).astype(str)
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: no list of objects with OFIQ's names ({error})") from error
    else:
        table = read_table(path)
    table = table.rename(columns=lambda name: str(name).removesuffix(".native"))
    names = [name.removesuffix(".scalar") for name in table if name.endswith(".scalar")]
    lost = [name for name in ["Filename", *names] if name not in table]
    if lost or not names:
        what = f"no column {lost[0]}" if lost else "no column that ends in .scalar"
        raise DataError(f"{path}: {what}; OFIQ's are Filename, NAME or NAME.native, and NAME.scalar")
    found = {"path": table["Filename"]}
    scalars = {f"{name}.scalar": numbers(table[f"{name}.scalar"], path) for name in names}
    for name, column in scalars.items():
        if not (column.between(-1, 100) & (column % 1 == 0)).all():
            raise DataError(f"{path}: {name} must be a whole number from -1 to 100")
    for name in names:
        found[name] = numbers(table[name], path).where(scalars[f"{name}.scalar"] >= 0)
    found |= {name: column.astype(int) for name, column in scalars.items()}
    return pd.DataFrame(found).reset_index(drop=True)


def score_components(inputs, out, *, style="csv", **reading):
    """Measure photographs and write the table.

    Parameters
    ----------
    inputs : sequence of (path, problem or None)
        As `photographs.list_inputs` gives them.
    out : path
        The file.
    style : {"csv", "ofiq"}, default="csv"
        Our table, with status, reason and the course's own measures; or OFIQ's, as CSV, or JSON by the suffix `.json`.
    **reading
        `detector`, `n_jobs` and `progress` of `measure_files`.

    Returns
    -------
    DataFrame
        As `measure_files`.

    Raises
    ------
    DataError
        As `measure_files`; or another process writes `out`.
    """
    if style not in ("csv", "ofiq"):
        raise DataError(f"style must be 'csv' or 'ofiq', not {style!r}")
    with locked(out):
        table = measure_files(inputs, **reading)
        (write_ofiq if style == "ofiq" else write_csv)(table, out)
    return table


def score_command(arguments, detector):
    """What `fiqa score --components` does, with the parsed command line; see `score_components`.

    Parameters
    ----------
    arguments : argparse.Namespace
        The options of the command.
    detector : callable
        Finds the faces.

    Raises
    ------
    DataError
        An option does not fit.
    """
    unused = (
        "param recogniser weights model plot best best_dir masks cafi_tables aligned fallback restart strict".split()
    )
    if given := [name for name in unused if getattr(arguments, name)]:
        raise DataError(f"--components measures photographs and scores none; leave out --{given[0].replace('_', '-')}")
    if arguments.format == "faceqgen":
        raise DataError("--format faceqgen holds one score; with --components take csv or ofiq")
    options = {"n_jobs": arguments.jobs, "progress": not arguments.no_progress}
    options |= {"detector": detector, "style": arguments.format}
    inputs = list_inputs(arguments.inputs)
    table = score_components(inputs, arguments.out, **options)
    print(f"{len(table)} inputs: {totals(table)}. Written: {printable(arguments.out)}")
