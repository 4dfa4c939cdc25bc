"""Moved."""

from .data.folders import REPORT, Loaded, load_files, load_folder  # noqa: F401
from .data.orl import Benchmark, benchmark_pairs, load, load_orl, orl_d, split_by_identity  # noqa: F401
from .data.published import load_lfw  # noqa: F401
from .faces import Faces  # noqa: F401
