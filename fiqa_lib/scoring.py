"""Moved."""

from .apps.photographs import (  # noqa: F401
    CHUNK,
    COLUMNS,
    LISTS,
    columns_of,
    contact_sheet,
    list_inputs,
    make_scorer,
    run_key,
    score_files,
    write_quality,
)
