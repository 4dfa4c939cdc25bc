import cv2
import numpy as np
import pytest
from scipy.ndimage import convolve1d
from scipy.special import ndtri

from fiqa_lib.errors import DataError
from fiqa_lib.faces import CANONICAL_EYES, EYE_DISTANCE
from fiqa_lib.recognition.base import arcface_crop, arcface_matrix, seen_window
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
    right, y = np.rint(CANONICAL_EYES[1]).astype(int)
    image[0, y - 1 : y + 2, right - 1 : right + 2] = 250
    middle, (yy, xx) = CANONICAL_EYES.mean(0), np.mgrid[:192, :192]
    spot = complex(right - middle[0], y - middle[1])

    def found(picture):
        light = picture[0, ..., 0].astype(float)
        return complex((light * (xx - middle[0])).sum(), (light * (yy - middle[1])).sum()) / light.sum()

    turn = found(p.perturb(image, "rotation", degrees=10)) / spot
    assert abs(turn) == pytest.approx(1, abs=0.01) and np.degrees(np.angle(turn)) == pytest.approx(10, abs=0.5)
    assert found(p.perturb(image, "scale", scale=1.2)) / spot == pytest.approx(1.2, abs=0.01)


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
    window = (30, 20, 180, 170)
    framed = p.perturb(white, "structured-occlusion", width=2 / EYE_DISTANCE, window=window)[0, ..., 0]
    assert (framed[30:32, 20:170] == 0).all() and (framed[32:178, 22:168] == 255).all()


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


# --- the presets against the study's code, written out for its 112-pixel crops


def study_dots(image, rng, amount=2e-4, s_vs_p=0.5):
    out, (height, width) = image.copy(), image.shape[:2]
    for share, value in ((s_vs_p, 255), (1 - s_vs_p, 0)):
        count = int(np.ceil(amount * image.size * share))
        out[rng.integers(0, height - 1, count), rng.integers(0, width - 1, count), :] = value
    return out


def study_warp(rng, n, alpha=3.0, sigma=1.0, side=112):
    """torchvision's ElasticTransform: where each pixel is taken from, minus where it is, in pixels: (n, 2, side, side).

    Half a grid of -1..1 with `align_corners=False` is side / 2 pixels.
    """
    taps = np.arange(-4, 5)  # its kernel has int(8 * sigma + 1) taps, an odd number here
    kernel = np.exp(-0.5 * (taps / sigma) ** 2)
    noise = rng.random((n, 2, side, side)) * 2 - 1
    for axis in (2, 3):
        noise = convolve1d(noise, kernel / kernel.sum(), axis=axis, mode="mirror")
    return noise * alpha / side * side / 2


def at_112(images):
    return arcface_crop(images).astype(float)


def rms(change):
    return np.sqrt(np.mean(np.square(change)))


def test_dots_of_the_study_change_a_crop_as_much_as_its_code(orl):
    """Its amount of 2e-4 counts three values a pixel, and each dot is a whole pixel: 8 dots, three times the share."""
    faces, rng = orl[::4], np.random.default_rng(0)
    crops = arcface_crop(faces.images)
    theirs = np.stack([[study_dots(crop, rng) for crop in crops] for _ in range(4)])
    assert (theirs != crops).any(-1).mean() == pytest.approx(6.3e-4, rel=0.03)
    preset = p.PRESETS["study-salt-and-pepper"][1]
    assert preset["amount"] * p.DOT_LEFT == pytest.approx(8 / 112**2)
    ours = np.stack([at_112(p.perturb(faces, "study-salt-and-pepper", draw=draw)) for draw in range(4)])
    assert rms(ours - crops) == pytest.approx(rms(theirs.astype(float) - crops), rel=0.04)
    brighter = ((ours - crops) > 20).mean() / (np.abs(ours - crops) > 20).mean()
    assert brighter == pytest.approx((theirs > crops).mean() / (theirs != crops).mean(), abs=0.06)


def test_the_warp_of_the_study_moves_as_far_as_its_code():
    rng, inner = np.random.default_rng(0), np.s_[:, :, 16:-16, 16:-16]
    theirs = np.linalg.norm(study_warp(rng, 60)[inner], axis=1) / p.STUDY_EYES
    y, x = np.mgrid[:192, :192].astype(np.float32)
    ramps = np.repeat(np.stack([x, y, x], -1)[None], 30, 0)  # what a pixel holds says where it came from
    name, settings = p.PRESETS["study-elastic"]
    moved = p.PERTURBATIONS[name].function(ramps, np.arange(30, dtype=np.uint64), **settings) - ramps
    ours = np.linalg.norm(moved[:, 24:-24, 24:-24, :2], axis=-1) / EYE_DISTANCE
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.02)
    shares = (0.1, 0.5, 0.9, 0.99)
    np.testing.assert_allclose(np.quantile(ours, shares), np.quantile(theirs, shares), rtol=0.04)


def test_the_square_of_the_study_lies_anywhere():
    window = seen_window(arcface_matrix(), (112, 112))
    white = np.full((400, 192, 192, 3), 255, np.uint8)
    seeds = np.arange(400, dtype=np.uint64)
    black = at_112(p.perturb(white, "study-random-occlusion", seeds=seeds, window=window))[..., 0] < 128
    assert black.mean() == pytest.approx(30**2 / 112**2, rel=0.04)
    spots = np.array([[np.mean(axis) for axis in np.nonzero(one)] for one in black])
    uniform = (112 - 30) / np.sqrt(12)  # of an integer from 0 to 82
    np.testing.assert_allclose(spots.mean(0), 55.5, atol=4 * uniform / 20)
    np.testing.assert_allclose(spots.std(0), uniform, rtol=0.1)


def test_frame_and_affine_map_of_the_study(orl):
    faces = orl[::40]
    crops, window = at_112(faces.images), seen_window(arcface_matrix(), (112, 112))
    framed = np.zeros_like(crops)
    framed[:, 1:-1, 1:-1] = crops[:, 1:-1, 1:-1]
    ours = at_112(p.perturb(faces, "study-structured-occlusion", window=window))
    # the window is cut to whole pixels of the larger crop, so a frame may cover a quarter of a pixel more
    assert rms(ours - crops) == pytest.approx(rms(framed - crops), rel=0.15)
    name, settings = p.PRESETS["study-affine"]
    assert name == "affine" and settings == {"degrees": -0.5, "scale": 1.01, "flip": True}
    turned = cv2.getRotationMatrix2D((56, 56), 0.5, 1.01)
    theirs = np.stack([cv2.flip(cv2.warpAffine(c.astype(np.uint8), turned, (112, 112)), 1) for c in crops])
    inner = np.s_[:, 20:-20, 20:-20]
    distance = {
        degrees: rms((at_112(p.perturb(faces, "study-affine", degrees=degrees)) - theirs)[inner])
        for degrees in (-0.5, 0.5)
    }
    assert distance[-0.5] < 0.9 * distance[0.5]


def test_presets_hold_lengths_in_eye_distances():
    assert p.PRESETS["study-random-occlusion"][1]["side"] * p.STUDY_EYES == pytest.approx(30)
    assert p.PRESETS["study-structured-occlusion"][1]["width"] * p.STUDY_EYES == pytest.approx(1)


# --- settings that the study's code has


@pytest.mark.parametrize("degrees", [10, -25])
def test_positive_angles_turn_clockwise_against_opencv(degrees, orl):
    image, (x, y) = orl.images[:1], p.CENTRE
    turned = p.perturb(image, "rotation", degrees=degrees)[0].astype(float)
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), -degrees, 1)
    expected = cv2.warpAffine(image[0], matrix, (192, 192), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(turned - expected)[20:-20, 20:-20].mean() < 1


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("flip_vertical", [False, True])
def test_shear_comes_after_the_mirrors(flip, flip_vertical, orl):
    image, (x, y) = orl.images[:1], p.CENTRE
    settings = {"degrees": 4, "scale": 1.1, "flip": flip, "flip_vertical": flip_vertical}
    mirrored = p.perturb(image, "affine", **settings)[0]
    matrix = np.array([[1, 0.2, -0.2 * y], [-0.1, 1, 0.1 * x]])
    expected = cv2.warpAffine(mirrored, matrix, (192, 192), borderMode=cv2.BORDER_REPLICATE).astype(float)
    found = p.perturb(image, "affine", shear_x=0.2, shear_y=-0.1, **settings)[0]
    assert np.abs(found - expected)[45:-45, 45:-45].mean() < 1.5
    with pytest.raises(DataError, match="flatten"):
        p.perturb(image, "affine", shear_x=2, shear_y=0.5)


def test_upside_down_stays_in_the_window(orl):
    images = orl.images[:2]
    np.testing.assert_array_equal(p.perturb(images, "upside-down"), images[:, ::-1])
    part = p.perturb(images, "upside-down", window=(30, 0, 150, 192))
    np.testing.assert_array_equal(part[:, 30:150], images[:, 30:150][:, ::-1])
    np.testing.assert_array_equal(part[:, :30], images[:, :30])
    both = p.perturb(images, "flip", flip_vertical=True)
    np.testing.assert_array_equal(both, p.mirror(images)[:, ::-1])


def test_noise_may_have_a_mean_and_dots_a_random_colour():
    grey = np.full((1, 192, 192, 3), 100, np.uint8)
    darker = p.perturb(grey, "gaussian", sigma=0.02, mean=-0.1).astype(float)
    assert darker.mean() == pytest.approx(100 - 25.5, abs=0.3) and darker.std() == pytest.approx(5.1, rel=0.05)
    dots = p.perturb(grey, "random-colour-salt-and-pepper", amount=0.2)[0]
    changed = dots[(dots != 100).any(-1)].astype(float)
    assert len(changed) / 192**2 == pytest.approx(0.2, rel=0.05)
    np.testing.assert_allclose(changed.mean(0), 127.5, atol=4)
    np.testing.assert_allclose(changed.std(0), 256 / np.sqrt(12), rtol=0.03)
    assert np.abs(np.corrcoef(changed.T)[np.triu_indices(3, 1)]).max() < 0.05
    with pytest.raises(DataError, match="random"):
        p.perturb(grey, "salt-and-pepper", coloured="blue")


def test_a_square_that_does_not_fit_is_refused(orl):
    with pytest.raises(DataError, match="does not fit"):
        p.perturb(orl[:1], "random-occlusion", anywhere=True, side=3, window=(30, 20, 141, 170))


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
