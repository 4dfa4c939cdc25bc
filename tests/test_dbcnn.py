import cv2
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from fiqa_lib.data import split_by_identity
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import Faces
from fiqa_lib.networks.scnn import SCNN
from fiqa_lib.recognition import IResNet, LbpHistograms
from fiqa_lib.recognition.iresnet import IResNetModule
from fiqa_lib.scorers import dbcnn
from fiqa_lib.scorers.dbcnn import (
    DBCNN,
    BilinearNetwork,
    bilinear,
    recogniser_maps,
    ssim_to_clean,
    targets_of,
    vgg16_maps,
)
from fiqa_lib.transforms import degrade, random_degradations

KINDS = ("gaussian_blur", "sensor_noise", "jpeg")


@pytest.fixture(scope="module")
def people(orl):
    """Clean faces of some people, and faces of others with degraded copies."""
    train, test = split_by_identity(orl, random_state=0)
    clean = test[::10].with_attributes(kind="clean", severity=0.0, source=test.names[::10])
    return train, Faces.concat([clean, random_degradations(test[::10], 3, KINDS, random_state=1)])


@pytest.fixture(scope="module")
def fitted(people):
    return DBCNN(**DBCNN.quick).fit(people[0])


# --- the pooling and the network


def test_bilinear_pooling_by_loops():
    rng = np.random.default_rng(0)
    a, s = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 6, 4, 5))
    expected = np.zeros((2, 3, 6))
    for n in range(2):
        for i in range(3):
            for j in range(6):
                total = sum(a[n, i, y, x] * s[n, j, y, x] for y in range(4) for x in range(5)) / 20
                expected[n, i, j] = np.sign(total) * np.sqrt(abs(total))
        expected[n] /= np.sqrt((expected[n] ** 2).sum())
    found = bilinear(torch.from_numpy(a), torch.from_numpy(s))
    np.testing.assert_allclose(found.numpy(), expected.reshape(2, -1), atol=1e-6)


def test_pooling_sees_what_is_together_and_not_where():
    rng = np.random.default_rng(1)
    a, s = (torch.from_numpy(rng.random((1, 4, 3, 3))) for _ in range(2))
    order = rng.permutation(9)
    moved = [m.flatten(2)[..., order].reshape(m.shape) for m in (a, s)]
    torch.testing.assert_close(bilinear(*moved), bilinear(a, s))
    assert (bilinear(moved[0], s) - bilinear(a, s)).abs().max() > 1e-3
    zero = torch.zeros(1, 4, 3, 3, requires_grad=True)
    bilinear(zero, s.float()).sum().backward()
    assert torch.isfinite(zero.grad).all()  # the slope of a root at 0


def test_both_streams_see_the_same_picture_at_the_same_places(dlib_resnet):
    torch.manual_seed(0)
    network = BilinearNetwork(SCNN().maps, recogniser_maps(dlib_resnet)).eval()
    x = torch.full((1, 3, 192, 192), 90.0)
    x[:, :, 20:60, 130:170] = 255.0 * torch.rand(1, 3, 40, 40)
    plain = torch.full((1, 3, 192, 192), 90.0)
    with torch.inference_mode():
        s, a = network.both_maps(x)
        changes = [(m - n).abs().sum(1)[0] for m, n in zip((s, a), network.both_maps(plain), strict=True)]
    assert s.shape[1] == 128 and a.shape[1] == 128 and s.shape[2:] == a.shape[2:]
    for change in changes:
        row, column = np.unravel_index(int(change.argmax()), change.shape)
        place = (np.array([column, row]) + 0.5) / len(change) * 192
        assert 125 <= place[0] <= 175 and 15 <= place[1] <= 65, place


def test_the_recognisers_maps_are_its_own(orl, dlib_resnet):
    """Up to the tenth block they are what the recogniser computes; and they are a copy."""
    stream = recogniser_maps(dlib_resnet)
    x = dlib_resnet.preprocess(orl[:2])
    module = dlib_resnet.module
    with torch.inference_mode():
        expected = module.blocks[: dbcnn.DLIB_BLOCKS](functional.max_pool2d(module.stem(x).relu(), 3, 2))
        torch.testing.assert_close(stream.layers(x), expected)
    assert stream.layers[0] is not module.stem


def test_an_iresnet_gives_its_maps(orl):
    recogniser = IResNet.__new__(IResNet)
    recogniser.bgr, recogniser.mean, recogniser.scale, recogniser.name = True, 127.5, 127.5, "small"
    recogniser.module = IResNetModule((1, 1, 1, 1), (8, 8, 16, 16), dim=8)
    stream = recogniser_maps(recogniser)
    x = torch.from_numpy(orl.images[:2]).permute(0, 3, 1, 2).float()
    assert stream.channels == 16 and stream(x).shape == (2, 16, 12, 12)
    with pytest.raises(DataError, match="no convolutional maps"):
        recogniser_maps(LbpHistograms())


# --- VGG16 by path


@pytest.fixture(scope="module")
def vgg_state():
    """Random weights in torchvision's layout, with a classifier that is of no use here."""
    torch.manual_seed(0)
    widths, state, n_in, at = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0), {}, 3, 0
    for width in widths:
        if width:
            state[f"features.{at}.weight"] = torch.randn(width, n_in, 3, 3) * (2 / (9 * n_in)) ** 0.5
            state[f"features.{at}.bias"] = torch.randn(width) * 0.1
            n_in = width
        at += 2 if width else 1
    return state | {"classifier.0.weight": torch.zeros(4, 4), "classifier.0.bias": torch.zeros(4)}


def vgg_forward(state, images):
    """torchvision's VGG16 up to the last convolution, written out."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    for at in (0, 2, "pool", 5, 7, "pool", 10, 12, 14, "pool", 17, 19, 21, "pool", 24, 26, 28):
        if at == "pool":
            x = functional.max_pool2d(x, 2, 2)
        else:
            x = functional.conv2d(x, state[f"features.{at}.weight"], state[f"features.{at}.bias"], padding=1).relu()
    return x


def test_vgg16_in_the_published_layout(vgg_state, tmp_path, orl):
    torch.save(vgg_state, tmp_path / "vgg16.pth")
    stream = vgg16_maps(tmp_path / "vgg16.pth")
    with torch.inference_mode():
        found = stream(torch.from_numpy(orl.images[:1]).permute(0, 3, 1, 2).float())
    assert found.shape == (1, 512, 12, 12) and stream.channels == 512
    torch.testing.assert_close(found, vgg_forward(vgg_state, orl.images[:1]), rtol=1e-4, atol=1e-4)


def published_dbcnn(vgg_state, prefix=""):
    """A state dict in the layout of the authors' code, with random numbers."""
    new = torch.Generator().manual_seed(1)
    state = {key.replace("features.", "features1."): v for key, v in vgg_state.items() if key.startswith("features.")}
    n_in, at = 3, 0
    for n in (48, 48, 64, 64, 64, 64, 128, 128, 128):
        state[f"features2.{at}.weight"] = torch.randn(n, n_in, 3, 3, generator=new) * (2 / (9 * n_in)) ** 0.5
        state[f"features2.{at}.bias"] = 0.1 * torch.randn(n, generator=new)
        state[f"features2.{at + 1}.weight"] = 1 + 0.1 * torch.randn(n, generator=new)
        state[f"features2.{at + 1}.bias"] = 0.1 * torch.randn(n, generator=new)
        state[f"features2.{at + 1}.running_mean"] = 0.1 * torch.randn(n, generator=new)
        state[f"features2.{at + 1}.running_var"] = 0.5 + torch.rand(n, generator=new)
        state[f"features2.{at + 1}.num_batches_tracked"] = torch.tensor(9)
        n_in, at = n, at + 3
    state |= {"fc.weight": 4 * torch.randn(1, 512 * 128, generator=new), "fc.bias": torch.tensor([2.0])}
    return {prefix + key: value for key, value in state.items()}


def published_forward(state, images, root):
    """The authors' forward pass, written out: features1 is VGG16, features2 is S-CNN."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    a = vgg_forward({k.replace("features1.", "features."): v for k, v in state.items()}, images)
    for at, stride in zip(range(0, 27, 3), (1, 2, 1, 2, 1, 2, 1, 1, 2), strict=True):
        x = functional.conv2d(x, state[f"features2.{at}.weight"], state[f"features2.{at}.bias"], stride, 1)
        norm = [state[f"features2.{at + 1}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *norm).relu()
    both = torch.einsum("ncyx,ndyx->ncd", a, x) / (12 * 12)
    pooled = functional.normalize(root(both).reshape(len(images), -1))
    return functional.linear(pooled, state["fc.weight"], state["fc.bias"])[:, 0].numpy()


@pytest.mark.parametrize("place", ["plain", "data parallel", "nested"])
def test_published_weights_give_the_authors_score(place, vgg_state, tmp_path, orl):
    state, faces = published_dbcnn(vgg_state), orl[[0, 15, 130]]
    stored = published_dbcnn(vgg_state, "module.") if place == "data parallel" else state
    torch.save({"params": stored} if place == "nested" else stored, tmp_path / "net_params_best.pkl")
    scorer = DBCNN.from_published(tmp_path / "net_params_best.pkl")
    expected = published_forward(state, faces.images, lambda b: (b + 1e-8).sqrt())
    assert expected.std() > 1e-2, "the reference must tell the faces apart"
    np.testing.assert_allclose(scorer.score_samples(faces), expected, atol=5e-5)
    signed = published_forward(state, faces.images[:1], lambda b: b.sign() * (b.abs() + 1e-8).sqrt())
    assert np.abs(signed - expected[:1]).min() > 2e-4, "the paper's root of 0 would show"
    fallen = DBCNN.load(tmp_path / "net_params_best.pkl", lower_is_better=True)
    np.testing.assert_allclose(fallen.score_samples(faces), -expected, atol=1e-4)
    again = DBCNN.load(scorer.save(tmp_path / "state.npz"))
    np.testing.assert_array_equal(again.score_samples(faces), scorer.score_samples(faces))


def test_the_root_of_nothing_is_the_authors_only_where_it_is_asked_for():
    a, s = torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 2, 2)
    a[0, 0] = 1.0  # products 1 and 0
    assert bilinear(a, s)[0].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(bilinear(a, s, "plain")[0], [1.0, 1e-4], rtol=1e-4)
    with pytest.raises(DataError, match="no root 'cubic'; known: signed, plain"):
        DBCNN(root="cubic").build_network(SCNN().maps)


def test_published_weights_that_do_not_fit_are_refused(vgg_state, tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pkl: there is no such file.*DBCNN-PyTorch"):
        DBCNN.from_published(tmp_path / "absent.pkl")
    state = published_dbcnn(vgg_state)
    swapped = {key.translate(str.maketrans("12", "21")) if "features" in key else key: v for key, v in state.items()}
    lacking = {key: value for key, value in state.items() if not key.startswith("fc.")}
    for name, odd, words in (("swapped", swapped, "differ"), ("lacking", lacking, "fc.weight is missing")):
        torch.save(odd, tmp_path / f"{name}.pkl")
        with pytest.raises(WeightsError, match=rf"{name}\.pkl: .*{words}"):
            DBCNN.from_published(tmp_path / f"{name}.pkl")


def test_vgg16_that_does_not_fit_is_refused(vgg_state, tmp_path, people):
    faces = people[0][:2]
    with pytest.raises(WeightsError, match="vgg_weights=PATH.*torchvision"):
        DBCNN(stream="vgg16").fit(faces)
    missing = {key: value for key, value in vgg_state.items() if key != "features.28.bias"}
    wrong = vgg_state | {"features.0.weight": torch.zeros(64, 1, 3, 3)}
    for name, state, word in (
        ("m", missing, "features.28.bias is missing"),
        ("w", wrong, r"features.0.weight is \(64"),
    ):
        torch.save(state, tmp_path / f"{name}.pth")
        with pytest.raises(WeightsError, match=word):
            vgg16_maps(tmp_path / f"{name}.pth")
    (tmp_path / "x.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"x\.pth"):
        vgg16_maps(tmp_path / "x.pth")


# --- the target


def test_ssim_is_one_for_the_same_and_falls_with_damage(orl):
    faces = orl[:4]
    np.testing.assert_allclose(ssim_to_clean(faces.images, faces.images), 1)
    for kind in KINDS:
        means = [ssim_to_clean(degrade(faces, kind, s).images, faces.images).mean() for s in (0.2, 0.5, 1.0)]
        assert 1 > means[0] > means[1] > means[2]


def test_ssim_by_its_definition(orl):
    """Wang et al. 2004, equation 13, with their window of 11 x 11 and sigma 1.5, on the face window."""
    clean, image = orl.images[:1], degrade(orl[:1], "gaussian_blur", 0.6).images
    x, y = (cv2.cvtColor(i[0], cv2.COLOR_RGB2GRAY).astype(float) for i in (image, clean))

    def mean(v):
        return cv2.GaussianBlur(v, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    rows, columns = dbcnn.face_window()
    assert ssim_to_clean(image, clean)[0] == pytest.approx(ssim[rows, columns].mean(), abs=1e-3)


def test_targets_and_what_they_need(people):
    test = people[1]
    ssim = targets_of(test, "ssim")
    clean = (test.attributes["kind"] == "clean").to_numpy()
    np.testing.assert_allclose(ssim[clean], 1)
    np.testing.assert_allclose(targets_of(test, "severity"), 1 - test.attributes["severity"])
    np.testing.assert_allclose(targets_of(test.with_attributes(opinion=0.3), "opinion"), 0.3)
    for faces, target, word in (
        (people[0], "ssim", "kind, source"),
        (people[0], "severity", "severity"),
        (test, "opinion", "opinion"),
        (test[~clean], "ssim", "clean copy"),
        (test, "beauty", "no target 'beauty'"),
        (test.images, "ssim", "kind"),
    ):
        with pytest.raises(DataError, match=word):
            targets_of(faces, target)


# --- learning


def test_it_knows_damage_on_people_it_never_saw(fitted, people):
    test = people[1]
    truth, guess = targets_of(test), fitted.score_samples(test)
    assert spearmanr(guess, truth).statistic > 0.7
    assert np.sqrt(np.mean((guess - truth) ** 2)) < truth.std()


def test_the_linear_unit_alone_is_a_ridge_regression(people):
    """Written in the primal, with an intercept that is not punished."""
    scorer = DBCNN(**(DBCNN.quick | {"n_tuning": 0, "max_faces": 8, "alpha": 0.03})).fit(people[0])
    training = scorer.training_faces(people[0])
    assert len(training) == 8 * (1 + scorer.n_copies)
    z, y = dbcnn.bilinear_features(scorer.network_, training.images).astype(float), targets_of(training)
    mean = z.mean(0)
    dual = np.linalg.solve((z - mean) @ (z - mean).T + 0.03 * np.eye(len(y)), y - y.mean())
    weight = (z - mean).T @ dual
    np.testing.assert_allclose(scorer.network_.linear.weight.detach().numpy()[0], weight, rtol=1e-2, atol=1e-4)
    expected = (z - mean) @ weight + y.mean()
    np.testing.assert_allclose(scorer.score_samples(training), expected, atol=2e-3)


def test_tuning_moves_all_weights_and_not_the_recogniser(people, dlib_resnet):
    before = {name: value.clone() for name, value in dlib_resnet.module.state_dict().items()}
    settings = DBCNN.quick | {"max_faces": 6, "recogniser": dlib_resnet}
    still = DBCNN(**(settings | {"n_tuning": 0})).fit(people[0]).network_
    tuned = DBCNN(**(settings | {"n_tuning": 16, "rate": 1e-3})).fit(people[0]).network_
    for (name, one), two in zip(still.named_parameters(), tuned.parameters(), strict=True):
        assert (one != two).any(), name
    statistics = [name for name in still.state_dict() if "running_" in name]
    for name in statistics:
        torch.testing.assert_close(still.state_dict()[name], tuned.state_dict()[name])
    for name, value in dlib_resnet.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_degraded_faces_are_taken_as_they_are(people):
    assert DBCNN().training_faces(people[1]) is people[1]
    pictures = people[0][:4].with_attributes(opinion=[0.1, 0.4, 0.6, 0.9])
    scorer = DBCNN(**(DBCNN.quick | {"target": "opinion", "n_tuning": 0}))
    assert scorer.training_faces(pictures) is pictures
    scores = scorer.set_params(alpha=1e-6).fit(pictures).score_samples(pictures)
    np.testing.assert_allclose(scores, [0.1, 0.4, 0.6, 0.9], atol=0.05)  # four pictures are learned by heart


def test_wrong_use_is_refused(people):
    with pytest.raises(DataError, match="learns from Faces"):
        DBCNN().fit(people[0].images)
    with pytest.raises(DataError, match="no faces"):
        DBCNN().fit(people[0][:0])
    with pytest.raises(DataError, match="no stream 'ear'"):
        DBCNN(**(DBCNN.quick | {"stream": "ear", "max_faces": 2})).fit(people[0])
    with pytest.raises(DataError, match="no convolutional maps"):
        DBCNN(**(DBCNN.quick | {"recogniser": "lbp", "max_faces": 2})).fit(people[0])


def test_scoring_with_fused_layers_is_the_network_itself(fitted, people):
    x = torch.from_numpy(people[1].images[:3]).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = fitted.network_(x).numpy()
    np.testing.assert_allclose(fitted.score_samples(people[1][:3]), expected, atol=1e-4)
    other = DBCNN(**(DBCNN.quick | {"max_faces": 4, "n_tuning": 0})).fit(people[0])
    before = fitted.score_samples(people[1][:3])
    fitted_again = DBCNN(**DBCNN.quick)
    fitted_again.set_state(other.get_state())
    assert np.abs(fitted_again.score_samples(people[1][:3]) - before).max() > 1e-3
    fitted_again.set_state(fitted.get_state())  # nothing of the former network is left
    np.testing.assert_array_equal(fitted_again.score_samples(people[1][:3]), before)


def test_a_change_before_the_judge_leaves_the_target_alone(people):
    settings = DBCNN.quick | {"max_faces": 4, "n_copies": 3, "n_tuning": 0, "alpha": 1e-3}
    seen = []

    def darkened(faces):
        seen.append(faces.images.copy())
        return faces.images // 2

    scorer = DBCNN(**settings).fit(people[0], change=darkened)
    training = scorer.training_faces(people[0])
    np.testing.assert_array_equal(seen[0], training.images)
    guess = scorer.score_samples(training.images // 2)
    assert np.abs(guess - targets_of(training)).mean() < 0.1  # few pictures are learned nearly by heart


def test_a_cached_fit_knows_what_it_is_built_on(people, tmp_path, monkeypatch):
    from fiqa_lib.scorers import fit_cached

    settings = DBCNN.quick | {"max_faces": 3, "n_tuning": 0}
    fit_cached(DBCNN(**settings), people[0], folder=tmp_path)
    fit_cached(DBCNN(**settings), people[0], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("fiqa_lib.scorers.base.sources_of", lambda *things: "other code")
    fit_cached(DBCNN(**settings), people[0], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
