"""Writing files whole or not at all."""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path):
    """Yield a temporary path beside `path`; move it into place when the block ends, delete it when the block fails.

    A reader, or a process killed at any moment, sees the old file or the new one, never half of one. The temporary
    name keeps the suffix, since NumPy, OpenCV and matplotlib choose a format by it.

    Parameters
    ----------
    path : str or Path
        Where the file shall stand. Missing folders are made.

    Examples
    --------
    >>> with whole_file("scores.csv") as temporary:
    ...     table.to_csv(temporary, index=False)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(table, path):
    """Write a DataFrame as UTF-8 CSV with `\\n` line ends, whole or not at all. `path` is returned as a Path."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    return Path(path)
