"""The exercises of notebook 19: a grade from 0 to 100, and the threshold for a wanted error."""

import numpy as np

from . import exercise


@exercise("19.1")
def grade(attempt):
    """Lower ones count whole, equal ones half."""
    others = np.array([3.0, 1.0, 2.0, 2.0, 5.0])
    cases = [
        (4.0, 80, "four of five scores are lower than 4: that is 80 percent"),
        (0.0, 0, "no score is lower than 0, so its grade is 0"),
        (9.0, 100, "all scores are lower than 9, so its grade is 100"),
        (2.0, 40, "one score is lower than 2, and two are equal: these count half"),
    ]
    for score, expected, hint in cases:
        found = np.asarray(attempt(score, others.copy()), float)
        if found.shape != ():
            return "return one number"
        if expected and np.isclose(found, expected / 100):
            return "in percent: 0 to 100"
        if not np.isclose(found, expected):
            return hint
    return None


@exercise("19.2")
def level_for(attempt):
    """The lowest level that leaves an error that is small enough."""
    cases = [
        (([1, 2, 3, 4], [1, 1, 0, 0], 0.34), 2.0, "of the faces from 2 on a third fails, and 0.34 is wished"),
        (([4, 1, 3, 2], [0, 1, 0, 1], 0.34), 2.0, "the scores need not be sorted; sort both lists in the same way"),
        (([1, 2, 3, 4], [1, 1, 0, 0], 0.5), 1.0, "exactly the wanted error is allowed: all four faces may stay"),
        (([1, 2, 2, 3], [0, 1, 0, 0], 0.0), 3.0, "two faces have the score 2: both stay, or both go"),
        (([1, 2, 3, 4], [0, 1, 0, 0], 0.3), 1.0, "the lowest level wins, even where one above it leaves too much"),
        (([1, 2], [0, 1], 0.4), np.inf, "the face with the best score fails, and all faces together fail too often"),
    ]
    for (scores, failed, wanted), expected, hint in cases:
        found = np.asarray(attempt(np.array(scores, float), np.array(failed, float), wanted), float)
        if found.shape != ():
            return "return one number, the level"
        if not (found == expected or np.isclose(found, expected)):
            return hint
    return None
