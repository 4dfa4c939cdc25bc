"""Moved."""

from .data.layouts import PAGES  # noqa: F401
from .data.pair_sets import (  # noqa: F401
    ARCFACE_EYES,
    ARCFACE_SIZE,
    ARCFACE_TO_CANONICAL,
    CentralFace,
    PairSet,
    from_arcface_crop,
)
from .data.pairs import FOLDS  # noqa: F401
from .data.published import (  # noqa: F401
    ADIENCE_GROUPS,
    SCFACE_METRES,
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
