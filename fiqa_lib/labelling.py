"""Moved."""

from .apps.labelling import CONNECT_SECONDS, label_files  # noqa: F401
from .apps.labelling_job import Job, read_npy  # noqa: F401
from .apps.labelling_run import Run, do_task  # noqa: F401
