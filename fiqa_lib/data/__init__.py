"""Where faces, pairs and scores come from: the bundled faces, folders, published sets, protocols and score files.

`tables` reads all text. `folders` makes faces of image files, `orl` the faces and the benchmark of the course;
`published`, `feret` and `opinion_sets` read what others publish, `lfw` the people of LFW by role; `pairs`, `bin_files`
and `score_files` read protocols and scores; `training_sets` and `non_faces` make what learners train on.
"""

from .bin_files import read_insightface_bin
from .feret import load_feret
from .folders import REPORT, Loaded, load_files, load_folder
from .lfw import LfwPeople, lfw_folders, lfw_roles, load_lfw_people, official_pairs, people_pairs
from .non_faces import FACELESS, non_faces
from .opinion_sets import crops, load_koniq10k, load_live_challenge
from .orl import Benchmark, benchmark_pairs, load, load_orl, orl_d, split_by_identity
from .pair_sets import CentralFace, PairSet, from_arcface_crop
from .pairs import (
    PairIndices,
    identities_of_pairs,
    pair_indices,
    pairs_of_faces,
    read_crfiqa_pairs,
    read_lfw_pairs,
    read_pairs,
    read_pairs_csv,
    read_two_line_pairs,
    write_pairs_csv,
)
from .published import (
    adience_age_group,
    load_adience,
    load_agedb30,
    load_bin,
    load_calfw,
    load_cfp,
    load_cplfw,
    load_lfw,
    load_pairs_csv,
    load_scface,
    load_xqlfw,
)
from .score_files import pair_qualities, read_quality, read_scores, read_scores_csv
from .tables import read_lines, read_table
from .training_sets import identified, is_clean, photographs, with_copies, with_templates

__all__ = [
    "FACELESS",
    "REPORT",
    "Benchmark",
    "CentralFace",
    "LfwPeople",
    "Loaded",
    "PairIndices",
    "PairSet",
    "adience_age_group",
    "benchmark_pairs",
    "crops",
    "from_arcface_crop",
    "identified",
    "identities_of_pairs",
    "is_clean",
    "lfw_folders",
    "lfw_roles",
    "load",
    "load_adience",
    "load_agedb30",
    "load_bin",
    "load_calfw",
    "load_cfp",
    "load_cplfw",
    "load_feret",
    "load_files",
    "load_folder",
    "load_koniq10k",
    "load_lfw",
    "load_lfw_people",
    "load_live_challenge",
    "load_orl",
    "load_pairs_csv",
    "load_scface",
    "load_xqlfw",
    "non_faces",
    "official_pairs",
    "orl_d",
    "pair_indices",
    "pair_qualities",
    "pairs_of_faces",
    "people_pairs",
    "photographs",
    "read_crfiqa_pairs",
    "read_insightface_bin",
    "read_lfw_pairs",
    "read_lines",
    "read_pairs",
    "read_pairs_csv",
    "read_quality",
    "read_scores",
    "read_scores_csv",
    "read_table",
    "read_two_line_pairs",
    "split_by_identity",
    "with_copies",
    "with_templates",
    "write_pairs_csv",
]
