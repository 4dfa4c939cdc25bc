"""The exercises of notebook 11: the uniform code of one pixel, and a cell's histogram of directions."""

import numpy as np

from . import exercise


@exercise("11.1")
def uniform_code(attempt):
    """The rotation invariant uniform code of one pixel from its neighbours in order around it."""
    cases = [
        ([9, 9, 1, 1, 1, 9], 3),  # the run of lighter neighbours goes through the end of the list
        ([1, 1, 1, 1, 1, 1], 0),
        ([5, 5, 5, 5, 5, 5], 6),  # equal counts as "not darker"
        ([9, 1, 9, 1, 1, 1], 7),
        ([1, 9, 9, 9, 1, 1], 3),
    ]
    for neighbours, right in cases:
        found = attempt(5, np.array(neighbours))
        if found == right:
            continue
        if neighbours[0] == 5:
            return "a neighbour as light as the centre counts as not darker: >="
        if neighbours == [9, 9, 1, 1, 1, 9]:
            return "the neighbours stand in a circle: the last one is beside the first (np.roll)"
        if right == 7:
            return "more than two changes around the circle: the code is the number of neighbours plus one"
        return f"centre 5, neighbours {neighbours}: how many are not darker?"
    return None


@exercise("11.2")
def directions(attempt):
    """Histogram of a cell: gradient directions of 0..180 degrees in nine bins, weighted by magnitude."""
    rng = np.random.default_rng(102)
    across, down = rng.normal(size=(8, 8)), rng.normal(size=(8, 8))
    angle = np.degrees(np.arctan2(down, across))
    length = np.hypot(across, down)
    right = np.histogram(angle % 180, bins=9, range=(0, 180), weights=length)[0]
    found = np.asarray(attempt(across.copy(), down.copy()), float)
    if found.shape != (9,):
        return f"nine numbers are wanted, not an array of shape {found.shape}"
    if np.allclose(found, np.histogram(angle % 180, bins=9, range=(0, 180))[0]):
        return "that counts pixels: let each weigh as much as its gradient is long"
    if np.allclose(found, np.histogram(angle, bins=9, range=(0, 180), weights=length)[0]):
        return "half of the pixels are lost: -30 degrees and 150 are the same edge (modulo 180)"
    if np.allclose(found, np.histogram(angle, bins=9, range=(-180, 180), weights=length)[0]):
        return "bins of 40 degrees over the full circle: an edge and its opposite belong together (modulo 180)"
    if not np.allclose(found, right):
        return "angle = arctan2(down, across) in degrees, modulo 180; nine bins of 20 degrees, weighted by the length"
    return None
