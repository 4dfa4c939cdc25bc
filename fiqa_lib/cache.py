"""Where things that were computed once are kept. Caches only speed up: deleting the folder loses nothing."""

import hashlib
import os
from pathlib import Path


def cache_folder(*parts):
    """The folder for cached files: `FIQA_CACHE` if set, else `data/cache` of this checkout (or of the home folder).

    Nothing is created here; `files.whole_file` makes folders when something is written.
    """
    if root := os.environ.get("FIQA_CACHE"):
        return Path(root, *parts)
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout.joinpath("data", "cache", *parts)
    return Path.home().joinpath(".cache", "fiqa_lib", *parts)


def content_key(*values):
    """A short hex name for bytes, strings and numbers together, the same on every machine."""
    digest = hashlib.sha256()
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]
