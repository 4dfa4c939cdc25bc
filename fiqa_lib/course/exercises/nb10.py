"""The exercises of notebook 10: the score itself, and how many people a cluster holds in effect."""

import numpy as np

from . import exercise


@exercise("10.1")
def score(attempt):
    """e = min(1, 1 - <f_UI, f>) with vectors of any length."""
    rng = np.random.default_rng(91)
    faces = rng.normal(size=(9, 5)) * rng.uniform(0.2, 5, (9, 1))
    centre = np.array([3.0, 0, 4.0, 0, 0])
    faces[0], faces[1] = 2 * centre, -centre
    cosines = faces @ centre / np.linalg.norm(faces, axis=1) / 5
    found = np.asarray(attempt(faces.copy(), centre.copy()), float)
    if found.shape != (9,):
        return f"9 faces have 9 scores, this has the shape {found.shape}"
    if np.allclose(found, cosines):
        return "that is the cosine to the unrecognisable: near it a face should score low"
    if np.allclose(found, 1 - cosines):
        return "right below 1; faces on the far side score more than 1 here, and 1 is the most"
    if np.allclose(found, np.minimum(1, 1 - faces @ centre / 5)):
        return "the faces are not of length 1 yet"
    if np.allclose(found, np.minimum(1, 1 - 5 * cosines)):
        return "the centre is not of length 1 yet"
    if np.allclose(found, np.minimum(1, 1 - faces @ centre)):
        return "both, faces and centre, have to be brought to length 1 first"
    if not np.allclose(found, np.minimum(1, 1 - cosines)):
        return "bring both to length 1, take the inner product, subtract it from 1, and cut off at 1"
    return None


@exercise("10.2")
def effective_people(attempt):
    """exp of the entropy of the shares of people."""
    uneven = np.array(["a"] * 6 + ["b"] * 3 + ["c"])
    shares = np.array([0.6, 0.3, 0.1])
    entropy = -(shares * np.log(shares)).sum()
    found = float(attempt(uneven.copy()))
    if np.isclose(found, entropy) or np.isclose(found, entropy / np.log(2)):
        return "that is the entropy; which number of equally frequent people has this entropy?"
    if np.isclose(found, 3):
        return "that is how many people there are; one who is there once should count less than one who is there often"
    if np.isclose(found, 1 / (shares**2).sum()):
        return "that is another measure (one over the sum of squared shares); here it is exp of the entropy"
    if np.isclose(found, 2**entropy):
        return "a natural logarithm goes with exp, one to base 2 with 2 to the power"
    if not np.isclose(found, np.exp(entropy)):
        return "take the share p of each person, the entropy -sum p log p, and exp of it"
    if not np.isclose(attempt(np.array(["x"] * 5)), 1):
        return "five faces of one person: the answer should be 1"
    if not np.isclose(attempt(np.array(list("abcd"))), 4):
        return "four people, one face each: the answer should be 4"
    return None
