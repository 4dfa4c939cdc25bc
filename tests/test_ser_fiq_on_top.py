"""SER-FIQ's on-top model: trained with dropout on identities, scored by its passes."""

import numpy as np
import pytest
import torch

from fiqa_lib.data import split_by_identity
from fiqa_lib.errors import DataError
from fiqa_lib.scorers.ser_fiq_on_top import OnTop, SerFiqOnTop


@pytest.fixture(scope="module")
def fitted(orl, dlib_resnet):
    return SerFiqOnTop(n_passes=5, epochs=40, recogniser=dlib_resnet).fit(split_by_identity(orl, random_state=0)[0])


def test_same_as_a_literal_implementation(fitted, orl, dlib_resnet):
    """Two faces, five passes, every pair of embeddings by hand."""
    masks = fitted._drawn(5, torch.Generator().manual_seed(0))[:3]
    expected = []
    for embedding in dlib_resnet.embed(orl[:2]).astype(float):
        start = embedding / np.linalg.norm(embedding) - fitted.centre_
        start = start / np.linalg.norm(start) * np.sqrt(128)
        units = []
        for t in range(5):
            x = start
            for layer, mask in zip(fitted.network_.layers, masks, strict=True):
                x = np.tanh(layer.weight.detach().numpy() @ (x * mask[t].numpy()) + layer.bias.detach().numpy())
            units.append(x / np.linalg.norm(x))
        d = np.mean([np.linalg.norm(units[i] - units[j]) for i in range(5) for j in range(i + 1, 5)])
        expected.append(2 / (1 + np.exp(d)))
    np.testing.assert_allclose(fitted.score_samples(orl[:2]), expected, rtol=1e-5)


def test_it_learned_who_is_who(fitted, orl, dlib_resnet):
    """Without dropout, its outputs lie nearer to their own person's mean, and the means further apart, than before."""
    train, _ = split_by_identity(orl, random_state=0)
    units = torch.nn.functional.normalize(torch.from_numpy(dlib_resnet.embed(train)), dim=1)
    x = fitted._centred(units)
    people = np.unique(train.identities)

    def spread(network):
        with torch.inference_mode():
            out = torch.nn.functional.normalize(network(x, [1.0] * 3), dim=1).numpy()
        means = np.array([out[train.identities == person].mean(0) for person in people])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        own = np.array([out[i] @ means[people == who][0] for i, who in enumerate(train.identities)])
        return own.mean() - (means @ means.T)[np.triu_indices(len(people), 1)].mean()

    torch.manual_seed(0)
    most = 1 + 1 / (len(people) - 1)  # every output on its person's mean, the means as far apart as they can be
    gap = (most - spread(fitted.network_)) / (most - spread(OnTop(128).eval()))
    assert gap < 0.25  # of what was missing before


def test_masks_drop_the_declared_share_of_each_layers_input(fitted):
    drawn = fitted._drawn(4000, torch.Generator().manual_seed(1))
    assert [part.shape[1] for part in drawn] == [128, 128, 512, 128]
    for part in drawn:
        assert (part == 0).float().mean() == pytest.approx(0.5, abs=0.01)
        assert float(part.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("wrong", [{"n_passes": 1}, {"dropout": 1.0}, {"epochs": 0}, {"learning_rate": 0}])
def test_settings_that_make_no_sense_are_refused(orl, wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        SerFiqOnTop(**wrong).fit(orl[:20])


def test_people_are_needed(orl):
    with pytest.raises(DataError, match="identities"):
        SerFiqOnTop().fit(orl.images[:20])
