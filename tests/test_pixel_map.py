"""Maps over the pixels: exact where the answer is known, and refused where the shapes do not fit."""

import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError
from fiqa_lib.evaluation.pixel_map import marked, mass_on, path_gradients


def test_of_a_linear_score_it_is_the_weight_times_the_change():
    generator = torch.Generator().manual_seed(0)
    weight, x, base = (torch.randn(n, 3, 6, 5, generator=generator) for n in (1, 4, 1))
    found = path_gradients(lambda faces: (faces * weight).sum((1, 2, 3)), x, base, steps=1, batch=3)
    np.testing.assert_allclose(found, (weight * (base - x)).sum(1), rtol=1e-5)


def test_it_adds_up_to_the_gain_of_the_whole_way():
    generator = torch.Generator().manual_seed(1)
    x, base = (torch.randn(n, 1, 4, 4, generator=generator) for n in (3, 3))

    def score(faces):
        return torch.tanh(faces.sum((1, 2, 3)) / 4) + (faces**2).mean((1, 2, 3))

    found = path_gradients(score, x, base, steps=200)
    np.testing.assert_allclose(found.sum((1, 2)), score(base) - score(x), atol=1e-3)
    assert abs(path_gradients(score, x, base, steps=1).sum((1, 2)) - found.sum((1, 2))).max() > 1e-3


def test_marked_keeps_the_strongest_place_and_sums_to_one():
    attribution = np.zeros((2, 20, 20))
    attribution[0, 5, 5], attribution[0, 15, 15], attribution[1] = 1, 0.4, -1
    maps = marked(attribution, sigma=0, cut=0.5)
    assert maps[0, 5, 5] == 1 and maps[1].sum() == 0
    assert marked(attribution, sigma=0, cut=0)[0, 15, 15] == pytest.approx(0.4 / 1.4)
    smooth = marked(attribution, sigma=2)[0]
    assert smooth.sum() == pytest.approx(1) and smooth.argmax() == 5 * 20 + 5


def test_mass_on_a_mask():
    maps, masks = np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool)
    maps[0], masks[:, 0] = [[3, 0], [1, 0]], True
    np.testing.assert_allclose(mass_on(maps, masks), [0.75, 0])


def test_what_does_not_fit_is_refused():
    x = torch.zeros(2, 3, 4, 4)
    for base, steps in ((torch.zeros(1, 3, 4, 5), 6), (torch.zeros(3, 3, 4, 4), 6), (x, 0)):
        with pytest.raises(DataError):
            path_gradients(lambda faces: faces.sum((1, 2, 3)), x, base, steps=steps)
    for attribution, cut in ((np.zeros((2, 2)), 0.5), (np.zeros((1, 2, 2)), 1)):
        with pytest.raises(DataError):
            marked(attribution, cut=cut)
    with pytest.raises(DataError):
        mass_on(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)))
