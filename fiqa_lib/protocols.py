"""Moved."""

from .data.bin_files import BinPairs, read_insightface_bin  # noqa: F401
from .data.pairs import (  # noqa: F401
    pairs_of_faces,
    read_crfiqa_pairs,
    read_lfw_pairs,
    read_pairs,
    read_pairs_csv,
    write_pairs_csv,
)
from .data.score_files import USABLE, pair_qualities, read_quality, read_scores, read_scores_csv  # noqa: F401
