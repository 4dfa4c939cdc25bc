"""The exercises of notebook 13: bilinear pooling of two stacks of maps, and the same about their means."""

import numpy as np

from . import exercise


def _maps(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 4, 5)) + 0.5, rng.normal(size=(2, 4, 5)) + 0.5


def _finished(product):
    rooted = np.sign(product) * np.sqrt(np.abs(product))
    return (rooted / np.linalg.norm(rooted)).ravel()


def _shape_hint(found):
    if found.shape == (3, 2):
        return "right size, but a table; the description is one long vector"
    return f"3 maps and 2 maps make 6 products in one vector; this has the shape {found.shape}"


@exercise("13.1")
def pooled(attempt):
    """Products averaged over places, signed square root, length 1."""
    a, s = _maps(121)
    found = np.asarray(attempt(a.copy(), s.copy()), float)
    if found.shape != (6,):
        return _shape_hint(found)
    product = np.einsum("chw,dhw->cd", a, s) / 20

    def like(value):
        return np.allclose(found, value, atol=1e-4)

    if like(product.ravel()) or like(product.ravel() / np.linalg.norm(product)):
        return "the signed square root is missing: it keeps a few large products from drowning the rest"
    if like(np.sqrt(np.abs(product)).ravel() / np.linalg.norm(np.sqrt(np.abs(product)))):
        return "some products are negative; their sign has to come back after the root"
    rooted = np.sign(product) * np.sqrt(np.abs(product))
    if like(rooted.ravel()) or like(np.sign(product).ravel() * np.sqrt(np.abs(product * 20)).ravel()):
        return "nearly there: divide by the length, so that the vector has length 1"
    if like(_finished(product).reshape(3, 2).T.ravel()):
        return "the order is that of the table A S^T: the first stream's channels are the rows"
    if like(_finished(np.outer(a.mean((1, 2)), s.mean((1, 2))))):
        return "this multiplies the averages; multiply at each place first, then average over the places"
    if not like(_finished(product)):
        return "multiply each map of a with each map of s place by place, average over places, root with sign, length 1"
    return None


@exercise("13.2")
def covariance_pooled(attempt):
    """The same after each map's mean was taken out."""
    a, s = _maps(122)
    found = np.asarray(attempt(a.copy(), s.copy()), float)
    if found.shape != (6,):
        return _shape_hint(found)

    def centred(m):
        return m - m.mean((1, 2), keepdims=True)

    def like(value):
        return np.allclose(found, value, atol=1e-4)

    product = np.einsum("chw,dhw->cd", a, s) / 20
    right = np.einsum("chw,dhw->cd", centred(a), centred(s)) / 20
    if like(_finished(product)):
        return "these are the products as before; add 5 to a map and see whether your result changes: it must not"
    if like(_finished(np.einsum("chw,dhw->cd", a - a.mean(), s - s.mean()) / 20)):
        return "each map has a mean of its own; one mean for all channels is taken out here"
    if like(_finished(np.einsum("chw,dhw->cd", a - a.mean(0), s - s.mean(0)) / 20)):
        return "the mean over the channels was taken out; it has to be the mean over the places"
    if not like(_finished(right)):
        return "take out each map's mean over its places, then do all that 13.1 does"
    if not np.allclose(attempt(a + np.arange(3)[:, None, None], s.copy()), _finished(right), atol=1e-4):
        return "a constant added to a map must change nothing"
    return None
