"""The exercises of notebook 02: similarities of all pairs, and an error rate at a threshold."""

import ast
import inspect
import math
import textwrap

import numpy as np

from . import exercise


def _vectors(n=7, seed=3):
    """Fixed embeddings (n, 5) of very different lengths."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, 5)) * rng.uniform(0.2, 5, (n, 1))


def _cosines(vectors):
    unit = vectors / np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return unit @ unit.T


@exercise("2.1")
def all_cosines(attempt):
    """The cosines of all rows with all rows."""
    vectors = _vectors()
    given = vectors.copy()
    result = np.asarray(attempt(given), float)
    if not np.array_equal(given, vectors):
        return "the embeddings that were handed in have changed; `a = a / n` makes a new array, `a /= n` does not"
    if result.shape != (7, 7):
        return f"7 embeddings have 7 x 7 cosines, this has the shape {result.shape}"
    if not np.allclose(np.diag(result), 1, atol=1e-5):
        return "the cosine of a face with itself is 1: is each row divided by its own length?"
    if not np.allclose(result, _cosines(vectors), atol=1e-5):
        return "the diagonal is right, the rest is not: a matrix product of unit vectors gives all of it"
    if not np.allclose(np.asarray(attempt(_vectors(1))), 1, atol=1e-5):
        return "one embedding has one cosine, 1"
    if _has_loop(attempt):
        return "all values are right; now without a loop: what is the product of a matrix with its own transpose?"
    return None


def _has_loop(function):
    """Whether the source of a function holds a loop; False where there is no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return False
    loops = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)
    return any(isinstance(node, loops) for node in ast.walk(tree))


# mated, impostor, rate -> FNMR, worked out by hand; each line is about one thing that goes wrong
_MATED = (0.9, 0.7, 0.6, 0.4)
_CASES = (
    (_MATED, (0.5, 0.8, 0.1, 0.3, 0.2), 0.2, 0.25, "one of five may pass, so the threshold lies just above 0.5"),
    (_MATED, (0.5, 0.8, 0.1, 0.65, 0.2), 0.35, 0.5, "0.35 of five is 1.75: one may pass, not two"),
    (_MATED, (0.1, 0.2, 0.3, 0.5), 0.0, 0.25, "at a rate of 0 the threshold lies just above the highest impostor"),
    (_MATED, (0.6, 0.5, 0.5, 0.6), 0.25, 0.5, "two impostors are tied at 0.6 and only one may pass: then neither does"),
    (_MATED, (0.7, 0.2, 0.1, 0.0), 0.1, 0.75, "a mated pair that equals the impostor at the line is refused with it"),
    (_MATED, (0.95, 0.99), 1.0, 0.0, "at a rate of 1 everything is accepted, so no mated pair is refused"),
)


@exercise("2.2")
def fnmr_at_fmr(attempt):
    """The FNMR at the lowest threshold whose FMR is at most the rate."""
    for mated, impostor, rate, wanted, hint in _CASES:
        if not math.isclose(float(attempt(np.array(mated), np.array(impostor), rate)), wanted, abs_tol=1e-9):
            return f"mated {list(mated)}, impostors {list(impostor)}, rate {rate}: {hint}"
    # 29 of the hundred impostors 0.01 .. 1.00 may pass: the threshold lies just above 0.71
    impostor = np.random.default_rng(1).permutation(np.arange(1, 101)) / 100
    if not math.isclose(float(attempt(np.array([0.705, 0.715, 0.9]), impostor, 0.29)), 1 / 3, abs_tol=1e-9):
        return "of 100 impostors 29 may pass at 0.29, and floor(0.29 * 100) is 28: a tiny number added first helps"
    return None
