import numpy as np
import pytest
from scipy.special import ndtri

from fiqa_lib.errors import DataError
from fiqa_lib.faces import CANONICAL_EYES, EYE_DISTANCE
from fiqa_lib.transforms import perturbations as p

KINDS = [*p.PERTURBATIONS, *p.PRESETS]


def options(kind, faces):
    return {"partner": faces.images[-1]} if kind == "mixup" else {}


@pytest.mark.parametrize("kind", KINDS)
def test_neither_batch_nor_order_matters(kind, orl):
    faces = orl[:12:2]
    more = options(kind, orl)
    together = p.perturb(faces, kind, **more)
    assert together.shape == faces.images.shape and together.dtype == np.uint8
    assert (together != faces.images).any()
    np.testing.assert_array_equal(p.perturb(faces[::-1], kind, **more)[::-1], together)
    np.testing.assert_array_equal(p.perturb(faces[2], kind, **more)[0], together[2])


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "salt-and-pepper", "random-occlusion", "elastic", "tiles"])
def test_draws_and_seeds_differ_and_repeat(kind, orl):
    base = p.perturb(orl[:2], kind)
    np.testing.assert_array_equal(p.perturb(orl[:2], kind), base)
    assert (p.perturb(orl[:2], kind, draw=1) != base).any()
    assert (p.perturb(orl[:2], kind, random_state=1) != base).any()


def test_no_faces(orl):
    for kind in KINDS:
        assert p.perturb(orl[:0], kind, **options(kind, orl)).shape == (0, 192, 192, 3)


def test_uniform_is_uniform_and_independent():
    seeds = np.arange(400, dtype=np.uint64)
    drawn = p.uniform(seeds, (500,))
    assert 0 < drawn.min() and drawn.max() < 1
    counts = np.histogram(drawn, 50, (0, 1))[0]
    chi2 = ((counts - 4000) ** 2 / 4000).sum()
    assert chi2 < 95  # 49 degrees of freedom: exceeded once in 10,000
    correlation = np.corrcoef(drawn[:50])[np.triu_indices(50, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(500)
    noise = p.normal(seeds, (500,))
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01


def test_mirror_keeps_the_eyes_in_place():
    image = np.zeros((1, 192, 192, 3), np.uint8)
    (left, y), (right, _) = np.rint(CANONICAL_EYES).astype(int)
    image[0, y, left] = 200
    mirrored = p.mirror(image)
    assert abs(np.argmax(mirrored[0, y, :, 0]) - right) <= 1
    np.testing.assert_array_equal(p.mirror(mirrored), image)


def test_rotation_and_scale_turn_about_the_eyes(orl):
    image = np.zeros((1, 192, 192, 3), np.uint8)
    (left, y), (right, _) = np.rint(CANONICAL_EYES).astype(int)
    image[0, y - 1 : y + 2, right - 1 : right + 2] = 250
    turned = p.perturb(image, "rotation", degrees=10)[0, ..., 0].astype(float)
    yy, xx = np.mgrid[:192, :192]
    found = np.array([(turned * xx).sum(), (turned * yy).sum()]) / turned.sum() - CANONICAL_EYES.mean(0)
    assert np.hypot(*found) == pytest.approx(EYE_DISTANCE / 2, abs=0.4)
    assert abs(np.degrees(np.arctan2(found[1], found[0]))) == pytest.approx(10, abs=1)
    larger = p.perturb(image, "scale", scale=1.2)[0, ..., 0].astype(float)
    found = (larger * xx).sum() / larger.sum() - CANONICAL_EYES.mean(0)[0]
    assert found == pytest.approx(1.2 * EYE_DISTANCE / 2, abs=0.5)


def test_flip_is_the_affine_map_without_rotation_and_scale(orl):
    np.testing.assert_array_equal(p.perturb(orl[:2], "flip"), p.mirror(orl.images[:2]))
    still = p.perturb(orl[:2], "affine-no-flip", degrees=0, scale=1)
    np.testing.assert_array_equal(still, orl.images[:2])


def test_noise_has_the_declared_size():
    grey = np.full((4, 192, 192, 3), 128, np.uint8)
    grey[1:] += np.arange(1, 4, dtype=np.uint8)[:, None, None, None]
    assert p.perturb(grey, "gaussian", sigma=0.04).astype(float)[0].std() == pytest.approx(0.04 * 255, rel=0.03)
    assert p.perturb(grey, "poisson", photons=100).astype(float)[0].std() == pytest.approx(
        np.sqrt(128 * 255 / 100), rel=0.03
    )
    dots = p.perturb(grey, "salt-and-pepper", amount=0.1, ratio=0.25)[0]
    assert (dots == 255).all(-1).mean() == pytest.approx(0.025, rel=0.15)
    assert (dots == 0).all(-1).mean() == pytest.approx(0.075, rel=0.15)
    coloured = p.perturb(grey, "coloured-salt-and-pepper", amount=0.1)[0]
    assert ((coloured == 255) | (coloured == 0)).mean() == pytest.approx(0.1, rel=0.1)
    assert (np.ptp(coloured, axis=-1) > 0).any()


def test_square_and_frame_have_the_declared_size():
    white = np.full((1, 192, 192, 3), 255, np.uint8)
    black = (p.perturb(white, "random-occlusion", side=0.5)[0, ..., 0] == 0).sum()
    assert black == pytest.approx((0.5 * EYE_DISTANCE) ** 2, rel=0.06)
    window = (36, 21, 186, 171)
    framed = p.perturb(white, "structured-occlusion", width=2 / EYE_DISTANCE, window=window)[0, ..., 0]
    assert (framed[36:38, 21:171] == 0).all() and (framed[38:184, 23:169] == 255).all()


def test_no_tile_stays_and_none_is_lost():
    image = np.zeros((30, 192, 192, 3), np.uint8)
    tiles = np.arange(16).reshape(4, 4).repeat(48, 0).repeat(48, 1)
    image[..., 0], image[:, 0, 0, 1] = tiles, np.arange(30)  # the mark makes each picture its own
    shuffled = p.perturb(image, "tiles")[..., 0]
    assert (shuffled != tiles).all()
    for one in shuffled:
        assert sorted(np.unique(one)) == list(range(16))
    assert len(np.unique(shuffled[:, ::48, ::48].reshape(30, -1), axis=0)) > 25


def test_elastic_moves_by_the_declared_amount(orl):
    image = orl.images[:1]
    seeds = p.image_seeds(image, 0)
    still = p.perturb(image, "elastic", alpha=0.0, sigma=0.05, seeds=seeds)
    np.testing.assert_array_equal(still, image)
    small, large = (
        np.abs(p.perturb(image, "elastic", alpha=a, sigma=0.05, seeds=seeds).astype(float) - image).mean()
        for a in (0.2, 1.0)
    )
    assert 0 < small < large


def test_true_mixup_is_a_weighted_mean(orl):
    mixed = p.perturb(orl[:2], "mixup", partner=orl.images[50], weight=0.25)
    expected = 0.75 * orl.images[:2] + 0.25 * orl.images[50].astype(float)
    assert np.abs(mixed - expected).max() <= 0.51


def test_presets_are_the_studys_settings_in_eye_distances():
    name, settings = p.PRESETS["study-random-occlusion"]
    assert name == "random-occlusion" and settings["side"] * 35.24 == pytest.approx(30)
    assert p.PRESETS["study-salt-and-pepper"][1] == {"amount": 2e-4, "ratio": 0.5}


def test_unknown_names_and_settings_are_refused(orl):
    with pytest.raises(DataError, match="known: affine"):
        p.perturb(orl[:1], "wobble")
    with pytest.raises(DataError, match="sigma"):
        p.perturb(orl[:1], "gaussian", strength=1)
    with pytest.raises(DataError, match="partner"):
        p.perturb(orl[:1], "mixup")
    with pytest.raises(DataError, match="aligned"):
        p.perturb(orl.images[0], "flip")


def test_normal_numbers_are_the_quantiles_of_the_uniform_ones(monkeypatch):
    seeds = np.arange(50, dtype=np.uint64)
    expected = ndtri(p.uniform(seeds, (2000,)).astype(float))
    np.testing.assert_allclose(p.normal(seeds, (2000,)), expected, atol=2e-6)
    monkeypatch.setattr(p, "uniform", lambda seeds, shape: np.array([[0, 0.5, 1]], np.float32))  # float32 rounds to 1
    ends = p.normal(seeds[:1], (3,))[0]
    assert np.isfinite(ends).all() and ends[1] == 0 and -5.5 < ends[0] < -5 and 5 < ends[2] < 5.5
