"""GIST against gratings and a literal implementation, HOG and LBP against scikit-image; what each is blind to."""

import cv2
import numpy as np
import pytest
from skimage.feature import hog, local_binary_pattern

from fiqa_lib import features
from fiqa_lib.errors import DataError
from fiqa_lib.faces import CANONICAL_EYES, CHIP_ORIGIN, SIZE
from fiqa_lib.features import FEATURES, Gist, Hog, LbpCodes, LbpHistogram, extract, gabor_bank, gist, prefilter
from fiqa_lib.transforms import canonical_eyes

HANDMADE = ("gist", "hog", "lbp", "lbp-histogram")


@pytest.fixture(scope="module")
def faces(orl):
    return orl[[0, 57, 133]]


def tinted(images, seed=0):
    """The same pictures in colour."""
    gain = np.random.default_rng(seed).uniform(0.6, 1, 3)
    return (images * gain).astype(np.uint8)


# --- the picture


def test_aligned_face_is_the_chip_at_two_thirds():
    """A picture whose values are its coordinates tells where each pixel came from."""
    place = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    place[0, ..., 0], place[0, ..., 1] = np.arange(SIZE), np.arange(SIZE)[:, None]
    found = features.aligned_face(place)
    assert found.shape == (1, 100, 100, 3)
    y, x = (start + (np.arange(100) + 0.5) * 1.5 - 0.5 for start in CHIP_ORIGIN)
    np.testing.assert_allclose(found[0, ..., 0], np.tile(x, (100, 1)), atol=0.51)
    np.testing.assert_allclose(found[0, ..., 1], np.tile(y[:, None], (1, 100)), atol=0.51)
    eyes = CANONICAL_EYES @ features.aligned_matrix()[:, :2].T + features.aligned_matrix()[:, 2]
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(canonical_eyes(128).distance, rel=1e-6)
    assert ((eyes > 20) & (eyes < 80)).all()


# --- GIST


def literal_gist(picture, blocks, orientations):
    """The definition, step by step, in float64: a discrete Fourier transform as a sum, a loop for each filter."""

    def transform(n):
        return np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)

    def mirrored(x, before, after):
        def place(k, n):
            while not 0 <= k < n:
                k = -1 - k if k < 0 else 2 * n - 1 - k
            return k

        rows = [place(k, len(x)) for k in range(-before, len(x) + after)]
        return x[np.ix_(rows, rows)]

    def signed(n):
        return np.array([k if k < n / 2 else k - n for k in range(n)], float)

    def filtered(x, transfer):
        w = transform(len(x))
        return np.conj(w) @ ((w @ x @ w) * transfer) @ np.conj(w) / len(x) ** 2

    n = len(picture)
    x = mirrored(np.log(picture.astype(float) + 1), 5, 5)
    k = signed(n + 10)
    lowpass = np.exp(-(k[:, None] ** 2 + k**2) / (4 / np.sqrt(np.log(2))) ** 2)
    x = x - filtered(x, lowpass).real
    x = x / (0.2 + np.sqrt(np.abs(filtered(x**2, lowpass))))
    x = x[5:-5, 5:-5]
    size = int(np.ceil((n + 64) / 24)) * 24
    x = mirrored(x, 32, size - n - 32)
    f = signed(size) / size
    edges = [int(n * b / blocks) for b in range(blocks + 1)]
    out = []
    for scale, count in enumerate(orientations):
        for turn in range(count):
            transfer = np.empty((size, size))
            for i in range(size):
                for j in range(size):
                    radius, angle = np.hypot(f[i], f[j]), np.arctan2(f[i], f[j]) - np.pi * turn / count
                    angle = (angle + np.pi) % (2 * np.pi) - np.pi
                    radial = (radius / (0.3 / 1.85**scale) - 1) ** 2
                    transfer[i, j] = np.exp(-10 * 0.35 * radial - 2 * np.pi * (16 * count**2 / 32**2) * angle**2)
            magnitude = np.abs(filtered(x, transfer))[32 : 32 + n, 32 : 32 + n]
            for top, bottom in zip(edges[:-1], edges[1:], strict=True):
                out.append([magnitude[top:bottom, a:b].mean() for a, b in zip(edges[:-1], edges[1:], strict=True)])
    return np.array(out).reshape(sum(orientations), blocks, blocks)


@pytest.mark.parametrize("blocks, orientations", [(4, (4, 3)), (5, (2, 2, 1))])
def test_gist_equals_the_literal_definition(orl, blocks, orientations):
    picture = features.grey_face(orl[7])[0]
    expected = literal_gist(picture, blocks, orientations)
    np.testing.assert_allclose(gist(picture, blocks, orientations)[0], expected, rtol=2e-4, atol=2e-6)


def test_gist_of_a_side_that_blocks_do_not_divide():
    picture = np.random.default_rng(0).integers(0, 256, (47, 47), dtype=np.uint8)
    np.testing.assert_allclose(gist(picture, 4, (2,))[0], literal_gist(picture, 4, (2,)), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("scale, turn", [(0, 0), (0, 4), (1, 3), (2, 1), (3, 6)])
def test_a_grating_is_answered_by_its_own_filter_alone(scale, turn):
    """Stripes made by hand: the one filter of their frequency and direction answers most, everywhere alike."""
    angle, frequency = np.pi * turn / 8, 0.3 / 1.85**scale
    y, x = np.mgrid[:100, :100]
    stripes = 0.5 + 0.3 * np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + 0.4)
    found = gist(np.exp(5.4 * stripes) - 1, 4, (8, 8, 8, 8))[0]  # the prefilter takes the logarithm
    inner = found[:, 1:3, 1:3].mean((1, 2))
    assert inner.argmax() == 8 * scale + turn
    assert inner.max() > 1.2 * np.sort(inner)[-2]
    spread = found[8 * scale + turn, 1:3, 1:3]
    assert spread.max() < 1.15 * spread.min()


def test_the_bank_answers_a_periodic_grating_with_half_its_amplitude():
    """Of the two frequencies of a cosine one passes, at full strength: the magnitude has no ripple."""
    side = 120
    bank = gabor_bank(side, (8,))
    wave = 3 * np.cos(2 * np.pi * 36 / side * np.arange(side))  # 36 / 120 = 0.3 cycles per pixel
    answer = np.abs(np.fft.ifft2(np.fft.fft2(np.tile(wave, (side, 1))) * bank[0]))
    np.testing.assert_allclose(answer, 1.5, rtol=1e-5)
    other = np.abs(np.fft.ifft2(np.fft.fft2(np.tile(wave, (side, 1))) * bank[4]))
    assert other.max() < 0.01


def test_half_the_stripes_answer_in_half_of_the_blocks():
    picture = np.full((100, 100), 40.0)
    picture[:, :50] += 60 * (np.arange(50) % 4 < 2)
    found = gist(picture, 4, (8, 8))[0, 0]
    assert found[:, 0].min() > 3 * found[:, 3].max()


def test_prefilter_takes_out_light_and_evens_contrast():
    rng = np.random.default_rng(0)
    picture = rng.uniform(20, 80, (100, 100))
    np.testing.assert_allclose(prefilter(3 * picture), prefilter(picture), atol=0.05)
    assert prefilter(np.full((100, 100), 77.0)).max() < 1e-4
    shaded = picture * np.linspace(1, 3, 100)
    assert np.corrcoef(prefilter(shaded).ravel(), prefilter(picture).ravel())[0, 1] > 0.99


def test_classic_and_original_sizes():
    assert {name: FEATURES[name].dim for name in FEATURES} == {
        "gist": 512,
        "gist-25x25": 33750,
        "hog": 8100,
        "lbp": 10000,
        "lbp-histogram": 675,
        "cnn": 128,
    }


def test_gist_in_colour_is_three_times_grey_where_the_picture_is_grey(faces):
    grey, colour = Gist().extract(faces), Gist(colour=True).extract(faces)
    np.testing.assert_allclose(colour.reshape(3, 3, 512), np.repeat(grey[:, None], 3, axis=1), rtol=1e-4)


# --- HOG and LBP are scikit-image's


def test_hog_is_scikit_images(faces):
    images = tinted(faces.images)
    expected = [hog(p, 9, (8, 8), (3, 3), "L2-Hys", channel_axis=-1) for p in features.aligned_face(images)]
    np.testing.assert_array_equal(Hog().extract(images, n_jobs=2), np.array(expected, np.float32))


def test_lbp_is_scikit_images(faces):
    images = tinted(faces.images)
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in features.aligned_face(images)]
    codes = np.array([local_binary_pattern(g, 25, 5, "uniform") for g in grey])
    np.testing.assert_array_equal(LbpCodes().extract(images), codes.reshape(3, -1))
    assert set(np.unique(codes)) <= set(range(27))


def test_lbp_histogram_counts_the_codes(faces):
    codes = LbpCodes().extract(faces).reshape(-1, 100, 100)[:, 5:-5, 5:-5]
    found = LbpHistogram().extract(faces).reshape(len(faces), 5, 5, 27)
    for row in range(len(faces)):
        for i in range(5):
            for j in range(5):
                cell = codes[row, 18 * i : 18 * i + 18, 18 * j : 18 * j + 18].astype(int)
                shares = [np.mean(cell == code) for code in range(27)]
                np.testing.assert_allclose(found[row, i, j] ** 2, shares, atol=1e-6)


# --- what they are blind to


def distance(name, a, b):
    one, other = (FEATURES[name].extract(x).astype(float) for x in (a, b))
    return np.linalg.norm(one - other, axis=1)


@pytest.mark.parametrize("name", ["hog", "lbp", "lbp-histogram"])
def test_gradients_and_comparisons_do_not_see_contrast_or_a_veil(name):
    """Exactly: every value doubled and raised. For LBP but at the border, whose neighbours beyond it count as black."""
    picture = np.random.default_rng(0).integers(0, 100, (100, 100), dtype=np.uint8)
    lighter = 2 * picture + 30
    if name == "hog":
        picture, lighter = (np.repeat(x[..., None], 3, axis=2) for x in (picture, lighter))
    found, expected = FEATURES[name]._of(lighter), FEATURES[name]._of(picture)
    if name == "lbp":
        found, expected = (codes.reshape(100, 100)[5:-5, 5:-5] for codes in (found, expected))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_gist_does_not_see_the_amount_of_light_but_a_veil(orl):
    """Half the light is a shift of the logarithm. A veil, light added everywhere, is not."""
    faces = orl[::57]
    others = distance("gist", faces, np.roll(faces.images, 1, axis=0))
    dim, veiled = ((faces.images * 0.5 + veil).round().astype(np.uint8) for veil in (0, 100))
    assert (distance("gist", faces, dim) < 0.1 * others).all()
    assert np.median(distance("gist", faces, veiled)) > 0.4 * np.median(others)


def test_hog_does_not_know_dark_from_light(orl):
    faces = orl[::57]
    others = np.roll(faces.images, 1, axis=0)
    moved = {name: distance(name, faces, 255 - faces.images) / distance(name, faces, others) for name in HANDMADE}
    assert moved["hog"].max() < 0.2  # a pixel with two gradients of one strength may take the other one
    assert min(np.median(moved[name]) for name in ("gist", "lbp", "lbp-histogram")) > 0.4


def test_lbp_does_not_know_the_direction():
    """Stripes falling and, mirrored, rising: alike for LBP's counts, nothing in common for HOG and GIST."""
    y, x = np.mgrid[:SIZE, :SIZE]
    falling = (127 + 80 * np.sin(2 * np.pi * (x + 1.1 * y) / 19.3)).astype(np.uint8)
    falling, rising = (np.repeat(s[None, ..., None], 3, axis=3) for s in (falling, falling[::-1]))
    apart = {name: distance(name, falling, rising)[0] for name in HANDMADE}
    length = {name: np.linalg.norm(FEATURES[name].extract(falling)) for name in HANDMADE}
    assert apart["lbp-histogram"] < 0.15 * length["lbp-histogram"]
    assert apart["hog"] > 1.2 * length["hog"] and apart["gist"] > 1.2 * length["gist"]


def test_lbp_histogram_does_not_know_the_place_within_a_part():
    """A dot here or there in the same part; the map of codes tells them apart."""
    pictures = np.full((2, 100, 100), 100, np.uint8)
    pictures[0, 48:51, 46:49] = pictures[1, 51:54, 50:53] = 30  # dark: a lighter dot is "not darker", as the flat is
    histograms, maps = ([FEATURES[n]._of(p) for p in pictures] for n in ("lbp-histogram", "lbp"))
    np.testing.assert_allclose(*histograms, atol=1e-6)
    assert (maps[0] != maps[1]).sum() > 50


# --- one call for a batch


def test_one_call_gives_all(faces):
    found = extract(faces, HANDMADE, n_jobs=2)
    assert list(found) == list(HANDMADE)
    for name, values in found.items():
        assert values.shape == (3, FEATURES[name].dim) and values.dtype == np.float32 and np.isfinite(values).all()
        alone = FEATURES[name].extract(faces[1], n_jobs=1)
        np.testing.assert_array_equal(alone[0], values[1])


def test_the_embedding_is_the_recognisers(faces, dlib_resnet):
    np.testing.assert_array_equal(extract(faces, ["cnn"], recogniser=dlib_resnet)["cnn"], dlib_resnet.embed(faces))


def test_no_faces_give_no_rows(faces):
    for name, values in extract(faces[:0]).items():
        assert values.shape == (0, FEATURES[name].dim)


def test_what_is_wrong_is_said(faces):
    with pytest.raises(DataError, match="no feature 'sift'; known: gist"):
        extract(faces, ["sift"])
    for name in FEATURES:
        with pytest.raises(DataError, match="aligned"):
            FEATURES[name].extract(np.zeros((1, 100, 100, 3), np.uint8))


def test_an_error_in_a_thread_is_raised(faces, monkeypatch):
    monkeypatch.setattr(features, "hog", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Hog().extract(faces, n_jobs=2)


def test_each_is_described():
    table = features.overview()
    assert list(table["name"]) == list(FEATURES) and (table["blind_to"].str.len() > 20).all()
