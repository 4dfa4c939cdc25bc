"""The exercises of notebook 17: one mapping with all its corners, and a framing for three curves that disagree."""

import numpy as np

from ...components import COMPONENTS
from . import exercise


@exercise("17.1")
def scalar_of(attempt):
    """Raw value -> whole number from 0 to 100, or -1."""
    shape = {"x0": 0.9, "w": 0.1}
    if round(float(attempt(0.9, **shape))) != 50:
        return "at x0 the sigmoid is one half, so with h = 100, a = 0, s = 1 the scalar is 50"
    if float(attempt(1.0, **shape)) <= 50:
        return "with s = 1 the curve rises: 1.0 lies above x0 = 0.9, so its scalar lies above 50"
    if round(float(attempt(1.0, **shape))) != 73:
        return "one width above x0 a sigmoid is 0.731; is w where it belongs?"
    if attempt(1.0, **shape) != 73:
        return "a scalar is a whole number"
    if attempt(2.0, x0=2.0, w=1.0, h=25) != 13:
        return "12.5 becomes 13: halves are rounded away from zero, which Python's round and NumPy's do not do"
    wide = {"x0": -20.0, "w": 15.0, "h": 1, "a": -14, "s": 115}
    if attempt(80.0, **wide) > 100 or attempt(-200.0, **wide) < 0:
        return "with other h, a and s the curve leaves 0..100: clamp it"
    if attempt(80.0, **wide) != 100 or attempt(-200.0, **wide) != 0:
        return "clamped values are 100 and 0; h multiplies all of (a + s times the sigmoid)"
    if attempt(float("nan"), **shape) != -1:
        return "a raw value that is not a number could not be assessed: -1"
    if attempt(-1e6, **shape) != 0:
        return "far below x0 the scalar is 0"
    return None


@exercise("17.2")
def best_framing(attempt):
    """(T over the height, eyes below the upper border in T) with the largest worst quality of the three."""
    answer = attempt() if callable(attempt) else attempt
    size, above = (float(value) for value in answer)
    if not 0 < size < 1 or not 0 < above < 1 / size:
        return "two numbers are asked for: T over the height of the picture, and eyes to upper border in T"
    raws = {
        "HeadSize": size,
        "MarginAboveOfTheFaceImage": above,
        "MarginBelowOfTheFaceImage": 1 / size - above,
    }
    qualities = {name: float(COMPONENTS[name].curve(np.array(raw))) for name, raw in raws.items()}
    worst = min(qualities, key=qualities.get)
    if qualities[worst] < 19.9:
        return f"the worst of the three is {worst} with {qualities[worst]:.1f}; some framing has about 20"
    return None
