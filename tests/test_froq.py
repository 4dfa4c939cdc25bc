"""FROQ: the greedy choice of layers, and the score from one pass."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fiqa_lib.errors import DataError
from fiqa_lib.recognition import load_recogniser
from fiqa_lib.recognition.classical import LbpHistograms
from fiqa_lib.recognition.similarity import cosine
from fiqa_lib.scorers.froq import FROQ, choose_layers, layer_lengths, pseudo_labels
from fiqa_lib.transforms import image_seeds, mirror, perturb


def test_lengths_are_those_of_the_layers_outputs(orl, dlib_resnet):
    """Computed by walking through the first layers by hand; the stem's is taken before its activation in place."""
    images, module = orl.images[:2], dlib_resnet.module
    lengths = layer_lengths(dlib_resnet, images)
    with torch.inference_mode():
        stem = module.stem(dlib_resnet.preprocess(images))
        expected = stem.flatten(1).norm(dim=1).numpy()
        block = module.blocks[0](torch.nn.functional.max_pool2d(stem.relu(), 3, 2)).flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(lengths["stem"], expected, rtol=1e-5)
    np.testing.assert_allclose(lengths["blocks.0"], block, rtol=1e-5)
    np.testing.assert_allclose(lengths["last"], np.linalg.norm(dlib_resnet.embed(images), axis=1), rtol=1e-5)
    assert not module.stem._forward_hooks


def test_choice_is_greedy_and_stops_at_the_best():
    rng = np.random.default_rng(0)
    label = rng.normal(size=200)
    other = rng.normal(size=200)
    lengths = {
        "noise": rng.normal(size=200),
        "half": label + 0.8 * other,
        "cancels": label - 1.1 * other,
        "against": -label,
    }
    chosen, correlations = choose_layers(lengths, label, n_layers=3)
    assert chosen == ["half", "cancels"] and len(correlations) == 3  # the third, noise, would only harm
    assert correlations[0] == pytest.approx(spearmanr(lengths["half"], label).statistic)
    assert correlations[1] > correlations[0] and correlations[2] < correlations[1]


def test_pseudo_label_is_the_mean_of_three_agreements(orl, dlib_resnet):
    image, (top, left, bottom, right) = orl.images[8:9], dlib_resnet.window
    clean = dlib_resnet.embed(image)
    noisy = perturb(image, "gaussian", seeds=image_seeds(image, 3, "gaussian"), sigma=0.05)
    parts = [cosine(clean, dlib_resnet.embed(other))[0] for other in (mirror(image), noisy)]
    covered = []
    for rows in (slice(top, (top + bottom) // 2), slice((top + bottom) // 2, bottom)):
        for columns in (slice(left, (left + right) // 2), slice((left + right) // 2, right)):
            other = image.copy()
            other[:, rows, columns] = 128
            covered.append(cosine(clean, dlib_resnet.embed(other))[0])
    expected = np.mean([*parts, np.mean(covered)])
    np.testing.assert_allclose(pseudo_labels(image, dlib_resnet, grid=2, random_state=3), expected, atol=1e-6)


@pytest.mark.parametrize("network", ["dlib", "mobilefacenet"])
def test_score_is_the_mean_length_and_needs_no_identities(orl, network):
    recogniser = load_recogniser(network)
    scorer = FROQ(**FROQ.quick | {"most": 30}, recogniser=recogniser).fit(orl.images[::10])
    lengths = layer_lengths(recogniser, orl.images[:3])
    assert 1 <= len(scorer.layers_) <= 10
    expected = np.mean([lengths[name] for name in scorer.layers_], axis=0)
    np.testing.assert_allclose(scorer.score_samples(orl[:3]), expected, rtol=1e-5)


def test_what_does_not_fit_is_said(orl, dlib_resnet):
    with pytest.raises(DataError, match="n_layers"):
        FROQ(n_layers=0).fit(orl[:5])
    with pytest.raises(DataError, match="calibration faces"):
        FROQ(n_copies=0).fit(orl[:2])
    with pytest.raises(DataError, match="no torch network"):
        FROQ(recogniser=LbpHistograms()).fit(orl[:5])
    with pytest.raises(DataError, match="another network"):
        layer_lengths(dlib_resnet, orl.images[:1], ["trunk.0"])
