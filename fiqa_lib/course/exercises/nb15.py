"""The exercises of notebook 15: the polarity of a score, and a number that finds a copying generator."""

import numpy as np

from . import exercise


@exercise("15.1")
def quality_by_mse(attempt):
    """Minus the mean squared difference of pictures in 0..1, from pictures in 0..255."""
    rng = np.random.default_rng(141)
    face, restored = rng.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    right = -np.mean((face / 255 - restored / 255) ** 2)
    found = float(attempt(face.copy(), restored.copy()))
    if np.isclose(found, -right):
        return "the size is right; but a face that changes much was a poor one, and higher must be better"
    if np.isclose(found, right * 255**2):
        return "both pictures count from 0 to 255: bring them to 0..1 first"
    if np.isclose(found, -np.abs(face / 255 - restored / 255).mean()):
        return "that is the absolute difference: the S in MSE stands for squared"
    if not np.isclose(found, right):
        return "convert before you subtract: uint8 wraps around below 0; then square, take the mean, mind the sign"
    return None


@exercise("15.2")
def change(attempt):
    """Distance of restorations to inputs, over that of inputs to targets."""
    rng = np.random.default_rng(142)
    inputs, targets = rng.random((2, 3, 4, 4))
    if not np.isclose(float(attempt(inputs, inputs.copy(), targets)), 0):
        return "a generator that copies has changed nothing: 0 is wanted"
    if not np.isclose(float(attempt(inputs, targets.copy(), targets)), 1):
        return "a generator that reaches the target changed as much as was asked for: 1 is wanted"
    restored = rng.random((3, 4, 4))
    right = np.abs(restored - inputs).mean() / np.abs(inputs - targets).mean()
    if not np.isclose(float(attempt(inputs, restored, targets)), right):
        return "mean absolute differences: restored to input, divided by input to target"
    return None
