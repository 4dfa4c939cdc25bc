"""The one entry to everything the course does: `python tools/nb.py COMMAND` (`make COMMAND` is a thin face over it).

This file only looks at the Python it was started with, makes `.venv` ready and goes on inside it. It keeps to syntax
that Python 2.7 can parse, so that an old Python is told what is missing instead of showing a SyntaxError.
"""

import os
import sys

OLDEST, NEWEST = (3, 11), (3, 14)  # as requires-python in pyproject.toml: all packages have wheels for these


def unfit(version):
    """What to tell somebody whose Python is `version` (a tuple), or None when it will do."""
    if OLDEST <= tuple(version[:2]) <= NEWEST:
        return None
    return (
        "Python 3.11 to 3.14 is needed, this is "
        + str(version[0])
        + "."
        + str(version[1])
        + " ("
        + sys.executable
        + "). "
        "Not all packages of the course have wheels for other versions. Install one of these from your system's "
        "packages or python.org, then run `make PYTHON=python3.12 COMMAND` or `python3.12 tools/nb.py COMMAND`"
    )


def main():
    message = unfit(sys.version_info)
    if message:
        sys.exit(message)
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the project, not tools/
    from tools import commands

    return commands.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
