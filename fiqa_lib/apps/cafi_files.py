"""What CAFI writes beside its scores: the masked faces, and the tables of the original's three steps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..data.folders import load_files
from ..errors import DataError
from ..faces import write_image
from ..files import write_csv
from ..scorers.cafi import Cafi
from .photographs import CHUNK


def check(scorer):
    """DataError, before any work, where a scorer has no masked faces to write."""
    if not isinstance(scorer, Cafi):
        raise DataError("--masks and --cafi-tables are for photographs and --method cafi: no other method masks faces")


def write_masks(table, scorer, folder, *, inputs=None, **reading):
    """Write the masked face of every photograph that was scored, as a PNG file of `scorer.size` pixels a side.

    Parameters
    ----------
    table : DataFrame
        As `photographs.score_files` returns it.
    scorer : Cafi
        The scorer that made it.
    folder : path
        Where to. A picture bears its photograph's name; a name that occurs again gets a number: `a.png`, `a-2.png`.
    inputs : sequence, default=None
        What was scored, row by row, as `photographs.score_files` took it. None: the paths in the table.
    **reading
        `fallback`, `detector` and `aligned`, as the photographs were scored.

    Returns
    -------
    Series of str
        The file of each row that was scored, by the row's label.

    Raises
    ------
    DataError
        A photograph has changed or gone since it was scored.
    """
    scored = table.dropna(subset=["score"])
    stems = [Path(path).stem for path in scored["path"]]
    files = pd.Series([str(Path(folder, f"{name}.png")) for name in _distinct(stems)], scored.index, dtype=object)
    paths = list(table["path"]) if inputs is None else [path for path, _ in inputs]
    paths = [path for path, good in zip(paths, table["score"].notna(), strict=True) if good]
    for start in range(0, len(scored), CHUNK):
        part = scored.iloc[start : start + CHUNK]
        faces = load_files(paths[start : start + CHUNK], names=range(len(part)), **reading).faces
        if len(faces) != len(part):
            raise DataError("photographs have changed or gone since they were scored: run again with --restart")
        for file, picture in zip(files.loc[part.index], scorer.pictures(faces), strict=True):
            write_image(file, picture)
    return files


def _distinct(names):
    """Names in which none occurs twice, on file systems too that take A and a for the same."""
    taken = set()
    for name in names:
        number, free = 1, name
        while free.lower() in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free.lower())
        yield free


def write_tables(table, folder, masks=None):
    """Write the tables of the original: `serfiq.csv`, `Degree.csv` and `dbcnn.csv`, one for each of its steps.

    Parameters
    ----------
    table : DataFrame
        As `photographs.score_files` returns it for CAFI.
    folder : path
        Where to.
    masks : Series, default=None
        What `write_masks` returned. None: photographs stand for their masked faces, and `masked_path` is empty.

    Returns
    -------
    list of Path
        `serfiq.csv` (`img_path`, `serfiq_score`; best first) holds every face, the refused ones too; `Degree.csv`
        (`img_path`, `roll`, `pitch`, `yaw`, `masked_path`) and `dbcnn.csv` (`img_name`, `score`) those that passed.
        The score of the gate is the one its threshold is for. A photograph without a face is in none of them.
    """
    passed = table.dropna(subset=["score"])
    files = pd.Series("", passed.index, dtype=object) if masks is None else masks
    gate = table.dropna(subset=["gate"]).sort_values("gate", ascending=False, kind="stable")
    degrees = passed[["path", "roll", "pitch", "yaw"]].assign(masked_path=files)
    named = passed["path"] if masks is None else masks
    judged = passed[["score"]].assign(img_name=[Path(file).name for file in named])
    tables = {
        "serfiq.csv": gate[["path", "gate"]].rename(columns={"path": "img_path", "gate": "serfiq_score"}),
        "Degree.csv": degrees.rename(columns={"path": "img_path"}),
        "dbcnn.csv": judged[["img_name", "score"]],
    }
    return [write_csv(content, Path(folder, name)) for name, content in tables.items()]
