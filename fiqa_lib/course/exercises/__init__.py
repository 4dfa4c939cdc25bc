"""The exercises of the notebooks: for each one a function that looks at an attempt and says what is still wrong.

The exercises of notebook 08 stand in `fiqa_lib/course/exercises/nb08.py` (the template's in `template.py`):

    from . import exercise

    @exercise("7.1")
    def mean_score(attempt):
        if not math.isclose(attempt([1, 3]), 2):
            return "the mean of 1 and 3 is 2"

The function gets what the reader made, a value or a function, and returns None when it is right, or one hint: a
sentence that helps to go on and does not give the answer away. It may let the reader's own errors pass;
`fiqa_lib.course.lesson` turns them into words. Randomness comes from fixed seeds, and inputs are made anew for each
call, so that an attempt cannot spoil them.
"""

import importlib.util
import re

_REGISTER = {}


def exercise(number):
    """Decorator that registers `verify(attempt) -> None | str` as the check of the exercise `number` ("7.1")."""

    def register(verify):
        known = _REGISTER.get(number)
        if known is not None and known.__module__ + known.__qualname__ != verify.__module__ + verify.__qualname__:
            raise ValueError(f"exercise {number} is defined twice: {known.__qualname__} and {verify.__qualname__}")
        _REGISTER[number] = verify
        return verify

    return register


def find(number):
    """The check of an exercise.

    Parameters
    ----------
    number : str
        "7.1" is the first of notebook 07, "T.1" the first of the template.

    Raises
    ------
    LookupError
        When there is no such exercise. Names those of the same notebook.
    """
    if not isinstance(number, str) or not re.fullmatch(r"(?:\d+|T)\.\d+", number):
        raise LookupError(f'{number!r} is no exercise: their numbers are like "7.1"')
    chapter = number.partition(".")[0]
    name = f"{__name__}.{'template' if chapter == 'T' else f'nb{int(chapter):02d}'}"
    if importlib.util.find_spec(name) is not None:
        importlib.import_module(name)
    if number not in _REGISTER:
        others = sorted(other for other in _REGISTER if other.partition(".")[0] == chapter)
        raise LookupError(f"there is no exercise {number}: notebook {chapter} has {', '.join(others) or 'none'}")
    return _REGISTER[number]
