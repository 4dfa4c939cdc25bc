"""What a face is worth, according to a recogniser or a rule: labels that teach a quality method.

The modules `grades` (good, average, bad) and `recognizability` (the centre of the unrecognisable) are used by their own
names: `from fiqa_lib.labels import grades`. Importing this package needs no network library.
"""

from .agreement import agreement
from .cr_fiqa import certainty_ratio, class_similarities
from .ensemble import ensemble
from .sdd import Labels, reference_labels, scale_distances, sdd_draws, sdd_labels, sdd_labels_exact

__all__ = [
    "Labels",
    "agreement",
    "certainty_ratio",
    "class_similarities",
    "ensemble",
    "reference_labels",
    "scale_distances",
    "sdd_draws",
    "sdd_labels",
    "sdd_labels_exact",
]
