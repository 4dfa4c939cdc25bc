"""Moved."""

from .labels.grades import (  # noqa: F401
    CUES,
    EDGES,
    GRADES,
    VALUES,
    Graded,
    RecognitionRule,
    ShortcutWarning,
    _mean_recall,
    by_severity,
    compare_predictions,
    confusion_by_group,
    cues,
    grade_index,
    load_graded,
    macro_f1,
    shortcut_model,
    shortcuts,
)
