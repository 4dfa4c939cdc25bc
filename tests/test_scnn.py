import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError
from fiqa_lib.networks import scnn
from fiqa_lib.networks.scnn import CLASSES, DISTORTIONS, SCNN, distort, distorted_patches


@pytest.fixture(scope="module")
def pictures(orl):
    from skimage.data import astronaut

    return np.concatenate([orl.images[::80], astronaut()[None, 30:222, 130:322]])


def test_thirty_nine_classes_as_published():
    assert len(CLASSES) == 39 == len(set(CLASSES)) and len(DISTORTIONS) == 9
    levels = [len(made.values) for made in DISTORTIONS.values()]
    assert sorted(levels) == [2, 2, 5, 5, 5, 5, 5, 5, 5]


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_each_level_does_more(kind, pictures):
    """Away from the original, further with each level, on a grey and on a coloured picture."""
    for picture in pictures[[0, -1]]:
        before, distances = picture.copy(), []
        for level in range(1, len(DISTORTIONS[kind].values) + 1):
            result = distort(picture, kind, level, rng=1)
            assert result.shape == picture.shape and result.dtype == np.uint8
            np.testing.assert_array_equal(result, distort(picture, kind, level, rng=1))
            distances.append(np.mean((result.astype(float) - picture) ** 2))
        assert distances[0] > 0 and (np.diff(distances) > 0).all(), distances
        np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_grey_stays_grey_and_colour_stays_colour(kind, pictures):
    grey, colour = distort(pictures[0], kind, 2), distort(pictures[-1], kind, 1)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert np.abs(colour[..., 0].astype(int) - colour[..., 2]).mean() > 3


def test_noise_is_of_its_colour():
    """White noise has a flat spectrum, pink noise one that falls with the frequency."""
    flat = np.full((128, 128, 3), 128, np.uint8)
    slopes = {}
    for kind in ("white noise", "pink noise"):
        noise = distort(flat, kind, 2, rng=0)[..., 0].astype(float) - 128
        assert noise.std() == pytest.approx(12, rel=0.1)
        power = np.abs(np.fft.fft2(noise)) ** 2
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
        inside = (frequency > 0.02) & (frequency < 0.5)
        slopes[kind] = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert abs(slopes["white noise"]) < 0.2 and slopes["pink noise"] == pytest.approx(-2, abs=0.3)


def test_quantised_pictures_have_few_colours(pictures):
    for level, most in enumerate(DISTORTIONS["quantisation"].values, start=1):
        assert len(np.unique(distort(pictures[-1], "quantisation", level).reshape(-1, 3), axis=0)) <= most


def test_quantisation_dithers():
    """On a ramp the local mean survives, as error diffusion has it; plain rounding would leave steps."""
    ramp = np.broadcast_to(np.linspace(60, 200, 128)[None, :, None], (64, 128, 3)).round().astype(np.uint8)
    result = distort(ramp, "quantisation", 5)
    local = np.convolve(result[..., 0].astype(float).mean(0), np.ones(9) / 9, "valid")  # a column has one value
    values = ramp[0, 4:-4, 0].astype(float)
    within = (values > result.min() + 8) & (values < result.max() - 8)  # beyond its colours a palette has no means
    assert within.sum() > 40 and np.abs(local - values)[within].max() < 12
    steps = np.sort(np.unique(result[..., 0])).astype(float)
    rounded = steps[np.abs(values[:, None] - steps).argmin(1)]
    assert np.abs(rounded - values)[within].max() > 12  # the test can tell
    assert len(np.unique(result[:, 64, 0])) > 1


def test_wrong_use_is_refused(pictures):
    for kind, level in (("fog", 1), ("jpeg", 0), ("jpeg", 6), ("over-exposure", 3)):
        with pytest.raises(DataError, match="no distortion"):
            distort(pictures[0], kind, level)
    with pytest.raises(DataError, match="uint8 RGB"):
        distort(pictures[0][..., 0], "jpeg", 1)
    with pytest.raises(DataError, match="patch"):
        distorted_patches(pictures, 5, patch=300)
    with pytest.raises(DataError, match="N at least 1"):
        distorted_patches(pictures[:0], 5)


def test_the_network_is_as_published():
    network = SCNN().eval()
    convolutions = [layer for layer in network.maps if isinstance(layer, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [48, 48, 64, 64, 64, 64, 128, 128, 128]
    assert [c.stride[0] for c in convolutions] == [1, 2, 1, 2, 1, 2, 1, 1, 2]
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    assert [layer.out_features for layer in network.head if isinstance(layer, torch.nn.Linear)] == [256, 256, 39]
    assert network.maps(torch.zeros(1, 3, 224, 224)).shape == (1, 128, 14, 14)
    assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 39)


def test_input_is_normalised_as_the_authors_do(pictures):
    x = scnn.normalise(pictures)
    assert x.shape == (len(pictures), 3, 192, 192)
    expected = (pictures[2, 5, 7] / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(x[2, :, 5, 7], expected, rtol=1e-5)
    as_tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(scnn.normalise(as_tensor), x)


def test_patches_hold_all_classes_equally_often(pictures):
    patches, classes = distorted_patches(pictures, 39 * 4, patch=32, random_state=3)
    assert patches.shape == (156, 32, 32, 3) and (np.bincount(classes, minlength=39) == 4).all()
    again, _ = distorted_patches(pictures, 39 * 4, patch=32, random_state=3)
    np.testing.assert_array_equal(patches, again)
    assert (distorted_patches(pictures, 39 * 4, patch=32, random_state=4)[0] != patches).any()


def test_it_learns_and_the_same_seed_learns_the_same(orl):
    learn, other = orl.images[:100:5], orl.images[200::40]
    network = scnn.pretrain(learn, n_patches=1170, patch=32, batch=12, random_state=1)
    assert not network.training
    patches, classes = distorted_patches(other, 390, patch=32, random_state=9)
    accuracy = (scnn.classify(network, patches) == classes).mean()
    assert accuracy > 3 / 39
    again = scnn.pretrain(learn, n_patches=1170, patch=32, batch=12, random_state=1)
    for one, two in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_what_was_learned_is_kept_by_content(pictures, tmp_path, monkeypatch):
    settings = {"n_patches": 39, "patch": 16, "random_state": 0}
    first = scnn.pretrained(pictures, folder=tmp_path, **settings)
    (file,) = tmp_path.iterdir()
    calls = []
    monkeypatch.setattr(scnn, "pretrain", lambda *a, **k: calls.append(k) or SCNN().eval())
    second = scnn.pretrained(pictures, folder=tmp_path, **settings)
    assert not calls
    for one, two in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    scnn.pretrained(pictures[:-1], folder=tmp_path, **settings)
    scnn.pretrained(pictures, folder=tmp_path, **(settings | {"patch": 32}))
    assert len(calls) == 2
    file.write_bytes(file.read_bytes()[:1000])
    scnn.pretrained(pictures, folder=tmp_path, **settings)
    assert len(calls) == 3
