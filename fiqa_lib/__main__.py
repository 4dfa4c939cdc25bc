"""`python -m fiqa_lib`: see `fiqa_lib.cli`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
