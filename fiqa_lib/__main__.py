"""`python -m fiqa_lib`: see `fiqa_lib.cli`."""

import sys

from .cli import main

sys.exit(main())
