"""The stacked autoencoder: what it must restore, that it repeats, what it refuses, and whom it looks at."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from fiqa_lib.errors import DataError
from fiqa_lib.networks.autoencoder import SIZES, StackedAutoencoder, layer_widths
from fiqa_lib.networks.fit import held_out_rows


def on_a_plane(n=300, width=30, rank=3, noise=0.05, seed=0):
    """Rows that lie near a plane of `rank` dimensions, in odd units."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, width)) + noise * rng.normal(size=(n, width))
    return (rows * rng.uniform(0.1, 50, width) + rng.normal(size=width) * 20).astype(np.float32)


def on_a_curve(n=400, seed=0):
    """Rows that one number decides, but no straight line holds."""
    t = np.random.default_rng(seed).uniform(-1, 1, n)
    return np.column_stack([t, t**2, t**3, np.sin(3 * t), np.cos(3 * t)]).astype(np.float32)


def unexplained_by_pca(train, test, rank):
    mean, scale = train.mean(0), train.std(0)
    scaled, other = (train - mean) / scale, (test - mean) / scale
    pca = PCA(rank).fit(scaled)
    return ((pca.inverse_transform(pca.transform(other)) - other) ** 2).sum() / (other**2).sum()


def test_a_linear_one_comes_near_pca():
    """PCA is the best linear coder; one layer with a linear code can reach it and not pass it."""
    rows, others = on_a_plane(seed=0)[:200], on_a_plane(seed=0)[200:]
    coder = StackedAutoencoder(3, pretrain_epochs=300, epochs=0, learning_rate=1e-2, validation_share=0).fit(rows)
    lost = np.average(coder.unexplained(others), weights=((others - rows.mean(0)) ** 2 / rows.var(0)).sum(1))
    best = unexplained_by_pca(rows, others, 3)
    assert 0.98 * best < lost < 1.25 * best


def test_layers_restore_what_no_line_can():
    rows, others = on_a_curve(seed=0), on_a_curve(seed=1)
    settings = {"pretrain_epochs": 60, "epochs": 200, "patience": 30, "learning_rate": 5e-3, "batch_size": 32}
    deep = StackedAutoencoder((32, 1), **settings).fit(rows)
    assert np.mean(deep.unexplained(others)) < 0.3 * unexplained_by_pca(rows, others, 1)


@pytest.mark.parametrize("scaling", ["standard", "unit"])
def test_restores_better_than_the_mean_in_the_inputs_own_units(scaling):
    rows = on_a_plane(400)
    coder = StackedAutoencoder((16, 6), scaling, 60, 60, patience=10, learning_rate=3e-3).fit(rows[:300])
    restored = coder.reconstruct(rows[300:])
    lost = ((restored - rows[300:]) ** 2).sum(0) / ((rows[:300].mean(0) - rows[300:]) ** 2).sum(0)
    assert restored.shape == (100, 30) and lost.max() < 0.6
    assert np.mean(coder.unexplained(rows[300:])) < 0.5
    codes = coder.transform(rows[300:])
    assert codes.shape == (100, 6) and codes.dtype == np.float32
    if scaling == "unit":
        assert 0 <= codes.min() and codes.max() <= 1
        low, high = rows[:300].min(0), rows[:300].max(0)
        assert (restored >= low - 1e-3).all() and (restored <= high + 1e-3).all()


def test_pretraining_and_tuning_each_lower_the_loss():
    history = StackedAutoencoder((16, 8, 4), pretrain_epochs=15, epochs=15).fit(on_a_plane()).history_
    assert list(history["stage"].unique()) == ["layer 1", "layer 2", "layer 3", "all"]
    for _, stage in history.groupby("stage"):
        assert stage["loss"].iloc[-1] < stage["loss"].iloc[0] and (stage["epoch"].diff().dropna() == 1).all()


def test_pretraining_helps_a_short_tuning():
    rows = on_a_plane(noise=0.3)
    lost = [
        StackedAutoencoder((20, 12, 6), pretrain_epochs=epochs, epochs=3).fit(rows).history_["validation"].iloc[-1]
        for epochs in (0, 30)
    ]
    assert lost[1] < lost[0]


def test_same_seed_same_weights_and_nobody_elses_randomness():
    rows = on_a_plane()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one = StackedAutoencoder((8, 3), pretrain_epochs=3, epochs=3).fit(rows)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    other = StackedAutoencoder((8, 3), pretrain_epochs=3, epochs=3).fit(rows)
    np.testing.assert_array_equal(one.transform(rows), other.transform(rows))
    third = StackedAutoencoder((8, 3), pretrain_epochs=3, epochs=3, random_state=1).fit(rows)
    assert not np.allclose(third.transform(rows), one.transform(rows))


def test_rows_are_coded_one_by_one():
    rows = on_a_plane()
    coder = StackedAutoencoder((8, 3), pretrain_epochs=2, epochs=2).fit(rows)
    np.testing.assert_allclose(coder.transform(rows[5:6]), coder.transform(rows)[5:6], atol=1e-5)
    assert coder.transform(rows[:0]).shape == (0, 3)


def test_it_stops_and_goes_back_to_the_best_epoch():
    """On noise there is nothing to learn: the held-out error soon rises, and the best weights come back."""
    rows = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
    coder = StackedAutoencoder((200, 30), pretrain_epochs=0, epochs=300, patience=4, learning_rate=3e-3).fit(rows)
    history = coder.history_
    assert len(history) < 300 and len(history) == history["validation"].to_numpy().argmin() + 1 + 4
    held_out = held_out_rows(60, None, 0.2, torch.Generator().manual_seed(0))
    scaled = (rows[held_out] - coder.shift_) / coder.scale_
    error = (((coder.reconstruct(rows[held_out]) - coder.shift_) / coder.scale_ - scaled) ** 2).mean()
    assert error == pytest.approx(history["validation"].min(), rel=1e-4)


def test_scaling_is_learned_from_rows_that_are_not_held_out():
    rows = on_a_plane(100)
    held_out = np.arange(100) >= 80
    spoiled = rows.copy()
    spoiled[held_out] *= 1000
    for scaling in ("standard", "unit"):
        one, other = (
            StackedAutoencoder(4, scaling, pretrain_epochs=1, epochs=1).fit(x, held_out=held_out)
            for x in (rows, spoiled)
        )
        np.testing.assert_array_equal(one.shift_, other.shift_)
        np.testing.assert_array_equal(one.scale_, other.scale_)


def test_people_are_held_out_whole():
    people = np.repeat(list("abcdefghij"), 7)
    held_out = held_out_rows(70, people, 0.3, torch.Generator().manual_seed(5))
    assert held_out.sum() == 21 and len(set(people[held_out])) == 3
    assert not set(people[held_out]) & set(people[~held_out])
    for share, groups in ((0, people), (0.5, ["one"] * 70)):
        assert not held_out_rows(70, groups, share, torch.Generator()).any()
    assert held_out_rows(70, people, 0.001, torch.Generator()).sum() == 7
    assert held_out_rows(70, people, 0.999, torch.Generator()).sum() == 63


def test_a_constant_column_does_no_harm():
    rows = on_a_plane()
    rows[:, 4] = 7
    for scaling in ("standard", "unit"):
        coder = StackedAutoencoder((8, 3), scaling, pretrain_epochs=5, epochs=5).fit(rows)
        assert np.isfinite(coder.reconstruct(rows)).all()


def test_sizes_by_name_number_and_list():
    assert layer_widths("original") == (7500, 2500, 250, 50) == SIZES["original"]
    assert layer_widths(12) == (12,) and layer_widths([9, 3]) == (9, 3)
    widths = [m.out_features for m in _linear(StackedAutoencoder("small"), 40)]
    assert widths == [256, 50, 256, 40]


def _linear(coder, width):
    coder.build(width)
    both = [*coder.encoder_.modules(), *coder.decoder_.modules()]
    return [m for m in both if isinstance(m, torch.nn.Linear)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": "huge"},
        {"sizes": ()},
        {"sizes": (10, 0)},
        {"sizes": 2.5},
        {"scaling": "none"},
        {"epochs": -1},
        {"batch_size": 0},
        {"validation_share": 1.0},
        {"learning_rate": 0},
        {"patience": 0.5},
        {"random_state": None},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        StackedAutoencoder(**wrong).fit(on_a_plane(20))


def test_rows_that_make_no_sense_are_refused():
    rows = on_a_plane(20)
    spoiled = rows.copy()
    spoiled[3, 4] = np.nan
    for wrong in (spoiled, rows[0], rows[:, :0]):
        with pytest.raises(DataError, match="finite"):
            StackedAutoencoder(3).fit(wrong)
    with pytest.raises(DataError, match="2 rows"):
        StackedAutoencoder(3).fit(rows[:1])
    with pytest.raises(DataError, match="19 groups"):
        StackedAutoencoder(3).fit(rows, groups=range(19))
    coder = StackedAutoencoder(3, pretrain_epochs=1, epochs=1).fit(rows)
    with pytest.raises(DataError, match="fitted on rows of 30"):
        coder.transform(rows[:, :7])
    with pytest.raises(DataError, match=r"\(N, 3\)"):
        coder.inverse_transform(rows)
    with pytest.raises(NotFittedError):
        StackedAutoencoder(3).transform(rows)


def test_it_is_an_estimator():
    coder = StackedAutoencoder((8, 3), scaling="unit")
    assert clone(coder).get_params() == coder.get_params() and "unit" in repr(coder)
