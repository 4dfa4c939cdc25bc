"""PreFIQs against its definition, written out for one face."""

import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError
from fiqa_lib.recognition.classical import LbpHistograms
from fiqa_lib.scorers.prefiqs import PreFIQs, pruned


def weights_of(module):
    return [layer.weight for layer in module.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]


def test_each_layer_loses_its_smallest_weights(dlib_resnet):
    before = [weight.detach().clone() for weight in weights_of(dlib_resnet.module)]
    for whole, less in zip(before, weights_of(pruned(dlib_resnet.module, 0.4)), strict=True):
        order = whole.abs().flatten().argsort()
        gone, kept = order[: round(0.4 * len(order))], order[round(0.4 * len(order)) :]
        assert (less.flatten()[gone] == 0).all()
        torch.testing.assert_close(less.flatten()[kept], whole.flatten()[kept], rtol=0, atol=0)
    for now, whole in zip(weights_of(dlib_resnet.module), before, strict=True):
        torch.testing.assert_close(now, whole, rtol=0, atol=0)  # the network itself stays


def test_over_the_whole_network_layers_lose_unequal_shares(dlib_resnet):
    shares = [(weight == 0).float().mean().item() for weight in weights_of(pruned(dlib_resnet.module, 0.4, "network"))]
    sizes = [weight.numel() for weight in weights_of(dlib_resnet.module)]
    assert np.average(shares, weights=sizes) == pytest.approx(0.4, abs=1e-4)
    assert np.ptp(shares) > 0.3


def test_score_is_minus_the_distance_of_unit_embeddings(orl, dlib_resnet):
    image = orl.images[5:6]
    network = pruned(dlib_resnet.module, 0.3)
    with torch.inference_mode():
        whole, less = (f(dlib_resnet.preprocess(image))[0].double() for f in (dlib_resnet.module, network))
    expected = -torch.linalg.norm(whole / whole.norm() - less / less.norm()).item()
    np.testing.assert_allclose(PreFIQs(0.3, recogniser=dlib_resnet).score_samples(image), expected, rtol=1e-4)


def test_pruned_once_for_each_setting(dlib_resnet):
    assert pruned(dlib_resnet.module, 0.4) is pruned(dlib_resnet.module, 0.4)
    assert pruned(dlib_resnet.module, 0.4) is not pruned(dlib_resnet.module, 0.2)


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (PreFIQs(0), "share"),
        (PreFIQs(float("nan")), "share"),
        (PreFIQs(scope="block"), "layer, network"),
        (PreFIQs(recogniser=LbpHistograms()), "no torch network"),
    ],
)
def test_wrong_settings_are_refused(orl, scorer, reason):
    with pytest.raises(DataError, match=reason):
        scorer.score_samples(orl[:1])
