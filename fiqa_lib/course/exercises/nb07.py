"""The exercises of notebook 07: the smallest weights of a layer, and a step of projected descent."""

import numpy as np

from . import exercise


@exercise("7.1")
def prune_smallest(attempt):
    """A copy of the weights in which the share of smallest magnitude is zero."""
    weight = np.random.default_rng(71).permutation(np.arange(1, 41) * np.tile([1.0, -1.0], 20)).reshape(4, 10)
    given = weight.copy()
    found = np.asarray(attempt(given, 0.4))
    if not np.array_equal(given, weight):
        return "the network is needed whole, too: weight itself must stay as it is"
    if found.shape != weight.shape:
        return f"weights of the shape {weight.shape} are expected back, this has {found.shape}"
    gone = found == 0
    if gone.sum() == 16 and np.array_equal(gone, weight <= np.sort(weight, axis=None)[15]):
        return "those are the most negative weights; small means near zero"
    if gone.sum() == 16 and np.array_equal(gone, np.abs(weight) >= 25):
        return "those are the largest weights; the small ones go"
    if gone.sum() != 16:
        return f"of 40 weights, 0.4 are 16; here {gone.sum()} are zero"
    if not np.array_equal(gone, np.abs(weight) <= 16):
        return "sixteen are zero, but not the sixteen of smallest magnitude (of the whole array, not of each row)"
    if not np.array_equal(found[~gone], weight[~gone]):
        return "the weights that stay keep their values"
    return None


@exercise("7.2")
def projected_step(attempt):
    """One step down the sign of the gradient, no further than a radius from the start, within low..high."""
    x = np.array([0.50, 0.50, 0.52, 0.00, 0.95, 0.98])
    start = np.array([0.50, 0.50, 0.50, 0.01, 0.97, 0.99])
    gradient = np.array([3.0, -0.1, -2.0, 5.0, 0.0, -1.0])
    stepped = x - 0.02 * np.sign(gradient)
    near = np.clip(stepped, start - 0.03, start + 0.03)
    found = np.asarray(attempt(x.copy(), gradient.copy(), start.copy(), 0.02, 0.03, 0.0, 1.0), float)
    if found.shape != x.shape:
        return f"{len(x)} pixels are expected back, this has the shape {found.shape}"
    if np.allclose(found, np.clip(x + 0.02 * np.sign(gradient), 0, 1)) or found[0] > x[0]:
        return "the cosine is to fall: against the gradient, not along it"
    if np.isclose(found[0] - x[0], -0.06):
        return "only the sign of the gradient counts; a step is epsilon long in each pixel"
    if np.allclose(found, np.clip(stepped, 0, 1)):
        return "valid pixels, but the third is further than radius from its start"
    if np.allclose(found, near):
        return "near enough, but the fourth is darker than low"
    if not np.allclose(found, np.clip(near, 0, 1)):
        return "step against the sign, then stay within radius of the start, then within low..high"
    return None
