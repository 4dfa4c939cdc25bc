import numpy as np
import pytest
import torch
from scipy.stats import spearmanr, wasserstein_distance
from torch import nn

from fiqa_lib.data import split_by_identity
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import crops_of
from fiqa_lib.recognition import LbpHistograms
from fiqa_lib.recognition.base import ArcFaceInput, TorchRecogniser
from fiqa_lib.recognition.mobilefacenet import MobileFaceNetModule
from fiqa_lib.scorers.sdd_fiqa import (
    RECIPES,
    Regressor,
    SddFiqa,
    layer_statistics,
    linear_regressor,
    pixel_regressor,
    predict,
    reference_labels,
    small_grey,
    train,
)
from fiqa_lib.transforms import degrade, random_degradations

FAST = {"n_copies": 1, "epochs": 5}


# --- labels


@pytest.fixture
def crowd():
    """Embeddings of 5 people: 1 to 5 clean photographs, and two copies of each."""
    rng = np.random.default_rng(3)
    people = np.repeat(list("abcde"), [1, 2, 3, 4, 5])
    who, source = np.tile(people, 3), np.tile([f"{p}{i}" for i, p in enumerate(people)], 3)
    rows = rng.normal(size=(45, 6)) + 3 * np.eye(6)[np.searchsorted(list("abcde"), who)]
    return rows * rng.uniform(0.5, 2, (45, 1)), who, source, np.arange(45) < 15


def test_labels_are_their_definition(crowd):
    rows, who, source, clean = crowd
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = []
    for i in range(len(rows)):
        mates = [unit[i] @ unit[j] for j in range(15) if who[j] == who[i] and source[j] != source[i]]
        strangers = [unit[i] @ unit[j] for j in range(15) if who[j] != who[i]]
        expected.append(wasserstein_distance(mates, strangers) if mates else np.nan)
    found = reference_labels(rows, who, source, clean, scale="none")
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.isnan(found[[0, 15, 30]]).all() and np.isnan(found).sum() == 3  # the person of one photograph
    scaled = reference_labels(rows, who, source, clean)
    assert np.nanmin(scaled) == 0 and np.nanmax(scaled) == 100
    assert spearmanr(scaled, found, nan_policy="omit").statistic == pytest.approx(1)


def test_labels_need_somebody_to_compare_with(crowd):
    rows, who, source, clean = crowd
    with pytest.raises(DataError, match="clean"):
        reference_labels(rows, who, source, np.zeros(45, bool))
    with pytest.raises(DataError, match="nothing to learn"):
        reference_labels(rows, ["a"] * 45, source, clean)


# --- features


def test_statistics_of_the_layers_by_hand(orl, dlib_resnet):
    images = orl.images[:3]
    found, embeddings = layer_statistics(dlib_resnet, images)
    np.testing.assert_allclose(embeddings, dlib_resnet.embed(images), atol=1e-6)
    module, expected = dlib_resnet.module, []
    with torch.inference_mode():
        x = nn.functional.max_pool2d(module.stem(dlib_resnet.preprocess(images)).relu(), 3, 2)
        for number, block in enumerate(module.blocks):
            x = block(x)
            if number in (2, 6, 9, 12, 13):
                flat = x.numpy().reshape(3, x.shape[1], -1).astype(float)
                expected += [flat.mean(2), flat.std(2)]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-4)
    np.testing.assert_allclose(found[:, -512:-256], dlib_resnet.features(images), atol=1e-5)
    np.testing.assert_allclose(layer_statistics(dlib_resnet, images, batch_size=2)[0], found, atol=1e-5)
    assert not any(block._forward_hooks for block in module.blocks)


class Tokens(TorchRecogniser):
    """Like a transformer: blocks that all give (B, tokens, width)."""

    name, dim = "tokens", 4

    def __init__(self):
        torch.manual_seed(0)

        class Module(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList(nn.Linear(5, 5) for _ in range(3))

            def forward(self, x):
                for block in self.blocks:
                    x = block(x)
                return x.mean(1)[:, :4]

        self.module = Module().eval()

    def preprocess(self, faces):
        return torch.from_numpy(crops_of(faces)[:, :35:5, :5, 0].astype(np.float32) / 255)


def test_a_network_of_tokens_has_one_stage(orl):
    recogniser = Tokens()
    found, _ = layer_statistics(recogniser, orl.images[:2])
    with torch.inference_mode():
        x = recogniser.preprocess(orl.images[:2])
        for block in recogniser.module.blocks:
            x = block(x)
    np.testing.assert_allclose(found, np.concatenate([x.numpy().mean(1), x.numpy().std(1)], axis=1), atol=1e-6)


class Mobile(ArcFaceInput, TorchRecogniser):
    """MobileFaceNet's layers with random weights: its file need not be here."""

    name, dim, scale, batch_size, device = "mobile", 192, 128.0, 16, "cpu"

    def __init__(self):
        torch.manual_seed(0)
        self.module = MobileFaceNetModule().eval()


def test_a_plain_trunk_shows_its_stages(orl):
    recogniser, expected = Mobile(), []
    found, embeddings = layer_statistics(recogniser, orl.images[:2])
    with torch.inference_mode():
        x = recogniser.preprocess(orl.images[:2])
        for number, layer in enumerate(recogniser.module.trunk):
            x = layer(x)
            # the last block before each change of shape: 64 x 28 x 28, 128 x 14 x 14, 128 x 7 x 7; and the end
            if number in (10, 17, 20) or number == len(recogniser.module.trunk) - 1:
                flat = x.numpy().reshape(2, x.shape[1], -1).astype(float)
                expected += [flat.mean(2), flat.std(2)]
    assert found.shape == (2, 1664)
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-4)
    np.testing.assert_allclose(embeddings, recogniser.embed(orl.images[:2]), atol=1e-5)


def test_without_a_network_pixels_are_left(orl):
    with pytest.raises(DataError, match="pixels"):
        layer_statistics(LbpHistograms(), orl.images[:2])
    scorer = SddFiqa(features="pixels", recogniser=LbpHistograms(), n_copies=1, epochs=1).fit(orl[:30])
    assert np.isfinite(scorer.score_samples(orl[:3])).all()


# --- training


def linear_problem(n=600, noise=0.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)).astype(np.float32) * [1, 10, 0.1, 1] + [5, 0, 0, -3]
    y = x @ [3, 0.5, 20, 0] + noise * rng.normal(size=n)
    return x.astype(np.float32), y


def test_a_linear_rule_is_learned():
    x, y = linear_problem()
    regressor = train(linear_regressor(4, dropout=0), x, x, y, epochs=60, learning_rate=0.3)
    assert np.abs(predict(regressor, x) - y).mean() < 0.02 * y.std()
    assert not regressor.training


def test_labels_of_any_scale_are_learned_alike():
    x, y = linear_problem()
    one = train(linear_regressor(4), x, x, y, epochs=5, learning_rate=0.1)
    two = train(linear_regressor(4), x, x, 1e-3 * y - 7, epochs=5, learning_rate=0.1)
    np.testing.assert_allclose(predict(two, x), 1e-3 * predict(one, x) - 7, atol=1e-3 * 1e-2)


def test_the_seed_decides_and_nothing_else_does():
    x, y = linear_problem()
    torch.manual_seed(1)
    one = train(linear_regressor(4), x, x, y, epochs=3, learning_rate=0.1, random_state=5)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # the global generator is as it was
    two = train(linear_regressor(4), x, x, y, epochs=3, learning_rate=0.1, random_state=5)
    three = train(linear_regressor(4), x, x, y, epochs=3, learning_rate=0.1, random_state=6)
    np.testing.assert_array_equal(predict(one, x), predict(two, x))
    assert (predict(three, x) != predict(one, x)).any()


def test_loss_is_smooth_l1_on_hundredths_of_the_range():
    x, y = linear_problem(n=128)
    losses = []
    regressor = linear_regressor(4, dropout=0)
    train(regressor, x, x, y, epochs=1, learning_rate=0.0, watch=lambda epoch, loss: losses.append((epoch, loss)))
    gap = np.abs(predict(regressor, x) - y) / ((y.max() - y.min()) / 100)
    assert losses == [(0, pytest.approx(np.mean(np.where(gap < 1, gap**2 / 2, gap - 0.5)), rel=1e-4))]


def test_half_of_the_faces_are_mirrored_anew_in_each_epoch():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.detach().clone())
            return x

    regressor = Regressor(Spy(), 1, 0.0, (1,))
    plain = np.arange(1, 129, dtype=np.float32)[:, None]
    train(regressor, plain, -plain, plain[:, 0], epochs=8, learning_rate=0.01)
    raw = [(part * regressor.spread + regressor.mean).round().int()[:, 0] for part in seen]
    assert all(sorted(part.abs().tolist()) == list(range(1, 129)) for part in raw)
    share = torch.stack([(part < 0).float().mean() for part in raw])
    assert share.mean() == pytest.approx(0.5, abs=0.06)
    assert len({tuple(sorted(part.tolist())) for part in raw}) == 8


def test_a_feature_that_never_varies_does_no_harm():
    x, y = linear_problem()
    x[:, 3] = 7
    assert np.isfinite(predict(train(linear_regressor(4), x, x, y, epochs=2, learning_rate=0.1), x)).all()
    regressor = train(linear_regressor(4), x, x, np.full(len(y), 3.0), epochs=2, learning_rate=0.1)
    assert np.abs(predict(regressor, x) - 3).max() < 1


def test_a_small_picture_is_the_face_window():
    images = np.zeros((1, 192, 192, 3), np.uint8)
    images[:] = 200
    assert small_grey(images).shape == (1, 1, 64, 64)
    np.testing.assert_allclose(small_grey(images), 200 / 255, rtol=1e-5)
    assert pixel_regressor()(torch.zeros(2, 1, 64, 64)).shape == (2,)


# --- the scorer


@pytest.fixture(scope="module")
def split(orl):
    return split_by_identity(orl, random_state=0)


@pytest.fixture(scope="module", params=RECIPES)
def fitted(request, split):
    return SddFiqa(request.param, n_copies=2, epochs=15).fit(split[0])


def test_it_ranks_other_people_by_what_was_done_to_them(fitted, split):
    faces = split[1][::4]
    probes = random_degradations(faces, 4, kinds=["gaussian_blur", "sensor_noise", "low_resolution"], random_state=5)
    score = fitted.score_samples(probes)
    assert spearmanr(score, probes.attributes["severity"]).statistic < -0.5
    assert np.mean(fitted.score_samples(faces)) > score.mean() + 5  # of 100


def test_files_hold_all_that_was_learned(fitted, split, tmp_path):
    path = fitted.save(tmp_path / "state.npz")
    faces = split[1][:5]
    np.testing.assert_array_equal(SddFiqa.load(path).score_samples(faces), fitted.score_samples(faces))
    with pytest.raises(WeightsError, match=r"state\.npz"):
        SddFiqa.load(path, features="pixels" if fitted.features != "pixels" else "pooled")


def test_pixels_need_no_recogniser_for_scores(split):
    class Dear(LbpHistograms):
        def embed(self, faces, batch_size=None):
            calls.append(len(faces))
            return super().embed(faces, batch_size)

    calls = []
    scorer = SddFiqa(features="pixels", recogniser=Dear(), **FAST).fit(split[0][:40])
    calls.clear()
    scorer.score_samples(split[1][:3])
    assert calls == []


def test_other_labels_are_learned_and_faces_taken_as_they_are(split, monkeypatch):
    faces = degrade(split[0][::2], "rotation", np.linspace(0, 1, 100))
    looked = []
    inputs = SddFiqa._inputs
    monkeypatch.setattr(
        SddFiqa, "_inputs", lambda self, images, **more: looked.append(len(images)) or inputs(self, images, **more)
    )
    labels = faces.attributes["severity"].to_numpy() * 3  # the more the better
    labels[::10] = np.nan
    scorer = SddFiqa(n_copies=7, epochs=30).fit(faces, labels=labels)
    assert looked == [100, 100]  # the faces and their mirror images: no copies
    other = degrade(split[1][:40], "rotation", np.linspace(0, 1, 40))
    assert spearmanr(scorer.score_samples(other), other.attributes["severity"]).statistic > 0.7
    for wrong in (labels[1:], np.full(100, np.nan), np.where(np.isnan(labels), np.inf, labels)):
        with pytest.raises(DataError, match="labels"):
            SddFiqa().fit(faces, labels=wrong)


def test_copies_are_made_a_few_at_a_time_and_all_the_same(split, monkeypatch):
    """Memory is bounded by a chunk; what is learned does not depend on it."""
    import fiqa_lib.scorers.sdd_fiqa as module

    look = SddFiqa("pixels", **FAST)._look
    whole = module.training_material(split[0][:20], look, 1, 0)
    monkeypatch.setattr(module, "CHUNK", 6)
    parts = module.training_material(split[0][:20], look, 1, 0)
    one, two = (np.lexsort([m["sources"], m["clean"], m["features"].sum((1, 2, 3))]) for m in (whole, parts))
    for name in whole:
        np.testing.assert_array_equal(whole[name][one], parts[name][two], err_msg=name)
    assert len(parts["features"]) == 40 and parts["clean"].sum() == 20


def test_published_samples_are_at_hand(split):
    scorers = [SddFiqa("pooled", against=against, **FAST) for against in ("clean", "all")]
    embeddings = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    about = np.repeat(list("abcd"), 10), np.arange(40).astype(str), np.arange(40) < 20
    clean, everything = (scorer.make_labels(embeddings, *about) for scorer in scorers)
    assert np.isnan(clean).sum() == 20 and not np.isnan(everything).any()  # c and d have no clean face
    np.testing.assert_array_equal(everything, scorers[1].make_labels(embeddings, *about))


@pytest.mark.parametrize("wrong", [{"features": "x"}, {"against": "x"}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_that_make_no_sense_are_refused(orl, wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        SddFiqa(**wrong).fit(orl[:20])


def test_unknown_people_are_refused(orl):
    with pytest.raises(DataError, match="identities"):
        SddFiqa(**FAST).fit(orl.images[:20])
