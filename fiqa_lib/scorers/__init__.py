"""Quality methods, one file each. `SCORERS` holds them all by name."""

import importlib
import pkgutil

from .base import SCORERS, Scorer, fit_cached, register

for _module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["SCORERS", "Scorer", "fit_cached", "register"]
