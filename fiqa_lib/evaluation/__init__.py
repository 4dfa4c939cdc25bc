"""How quality scores are judged: verification errors, the error-versus-discard curve, intervals, comparisons, fairness.

`evaluation.edc` and `evaluation.fairness` are functions; import their modules' other names by
`from fiqa_lib.evaluation.edc import ...`. What the whole course judges by is in `evaluation.protocol`; what a score
means, in `evaluation.calibration`.
"""

from . import calibration, protocol
from .bootstrap import BootstrapOptions, Interval, bootstrap_areas, bootstrap_pauc, compare
from .comparisons import cross_model_matrix, rank_correlations, rank_stability
from .curve import EDC, KINDS, LIMITS, StepCurve, theoretical_best_area
from .edc import edc
from .fairness import edc_by_group, fairness, gini
from .verification import (
    DET,
    ROC,
    EqualErrorRate,
    FewImpostorsWarning,
    FoldAccuracy,
    Threshold,
    accuracy_10fold,
    allowed_false_matches,
    auc,
    det_curve,
    equal_error_rate,
    fit_threshold,
    fmr,
    fnmr,
    fnmr_at_fmr,
    probit,
    roc_curve,
    warn_if_few,
)

__all__ = [
    "DET",
    "EDC",
    "KINDS",
    "LIMITS",
    "ROC",
    "BootstrapOptions",
    "EqualErrorRate",
    "FewImpostorsWarning",
    "FoldAccuracy",
    "Interval",
    "StepCurve",
    "Threshold",
    "accuracy_10fold",
    "allowed_false_matches",
    "auc",
    "bootstrap_areas",
    "bootstrap_pauc",
    "calibration",
    "compare",
    "cross_model_matrix",
    "det_curve",
    "edc",
    "edc_by_group",
    "equal_error_rate",
    "fairness",
    "fit_threshold",
    "fmr",
    "fnmr",
    "fnmr_at_fmr",
    "gini",
    "probit",
    "protocol",
    "rank_correlations",
    "rank_stability",
    "roc_curve",
    "theoretical_best_area",
    "warn_if_few",
]
