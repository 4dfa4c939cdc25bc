"""The weights that ship: what they say, how large and how fresh they are; and what their training rests on."""

import numpy as np
import pandas as pd
import pytest
import skimage
import torch

import fiqa_lib as fq
from fiqa_lib import cache, weights
from fiqa_lib.cli import main
from fiqa_lib.errors import WeightsError
from fiqa_lib.faces.alignment import CANONICAL_POINTS
from fiqa_lib.networks.quality_trunk import N_FROZEN, N_STATISTICS, QualityTrunk, Student, trunk_input
from fiqa_lib.recognition import load_recogniser
from fiqa_lib.scorers import distilled
from fiqa_lib.scorers.distilled import CALIBRATION, WEIGHTS, Distilled, calibration, save_student
from fiqa_lib.scorers.distilled_training import (
    AT_ONCE,
    MOST,
    TEACHERS,
    fine_tune,
    fit_ridge,
    load_material,
    look_at_copies,
    photographs_to_learn_from,
)
from fiqa_lib.transforms import degrade
from fiqa_lib.transforms.hard_copies import TURN, hard_copies, misaligned
from fiqa_lib.transforms.turning import turn

MODELS = cache.ROOT / "data" / "models"


# --- what ships


def test_the_weights_that_ship_score_without_a_fit(orl):
    faces = orl[:4]
    scores = fq.create_scorer("distilled").score_samples(faces)
    assert scores.shape == (4,) and ((scores > 0) & (scores < 100)).all()
    np.testing.assert_array_equal(Distilled().score_samples(faces), scores)
    table = Distilled().assess(faces)
    np.testing.assert_array_equal(table["score"], scores)
    np.testing.assert_allclose(table["p_nonmatch"], calibration().chance(scores))


def test_it_is_what_the_command_uses_when_no_method_is_named(tmp_path):
    skimage.io.imsave(tmp_path / "a.png", skimage.data.astronaut())
    out = tmp_path / "o.csv"
    assert main(["score", str(tmp_path / "a.png"), "--out", str(out), "--no-progress"]) == 0
    row = pd.read_csv(out).iloc[0]
    face = fq.load_faces(tmp_path / "a.png")
    assert row["score"] == pytest.approx(Distilled().score_samples(face)[0], rel=1e-4)
    assert row["p_nonmatch"] == pytest.approx(calibration().chance([row["score"]])[0], abs=1e-4)


@pytest.mark.parametrize("kind", ["low_resolution", "gaussian_blur", "motion_blur", "occlusion", "pose", "low_light"])
def test_clean_faces_are_better_than_damaged_ones(orl, kind):
    faces = orl[::20]
    clean, damaged = (Distilled().score_samples(f) for f in (faces, degrade(faces, kind, 0.8)))
    assert (clean > damaged).mean() >= 0.9, clean - damaged


def test_a_turned_head_is_worse_the_more_it_is_turned(orl):
    means = [
        Distilled().score_samples(np.stack([turn(image, yaw, 0, 0) for image in orl.images[::40]])).mean()
        for yaw in (0, 30, 60)
    ]
    assert means[0] > means[1] > means[2], means


def test_it_works_without_the_fetched_network(orl, monkeypatch, tmp_path):
    monkeypatch.setenv("FIQA_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError):
        load_recogniser("mobilefacenet", weights=tmp_path / "absent.tflite")
    distilled._read.cache_clear()
    assert np.isfinite(Distilled().score_samples(orl[:1])).all()


def test_the_files_are_small_and_fresh():
    assert sum(file.stat().st_size for file in MODELS.iterdir()) <= 6e6
    assert cache.stale_stamp((MODELS / WEIGHTS).with_suffix(".json")) is None


def test_the_calibration_belongs_to_the_scale():
    """A score of 50 is that of a usual photograph; chances fall as scores rise."""
    made = calibration()
    assert made.about_["method"] == "distilled" and 40 < made.threshold_for(share=0.5) < 65
    chances = made.chance(np.array([5.0, 25, 50, 75, 95]))
    assert (np.diff(chances) <= 0).all() and chances[0] > 3 * chances[-1]


def test_weights_of_ones_own_and_files_that_are_none(orl, tmp_path):
    student = Student()
    with torch.no_grad():
        student.bias.fill_(2.0)
    path = save_student(student, tmp_path / "own.npz", 1.0, 1.0)
    scorer = Distilled(path)
    np.testing.assert_allclose(scorer.score_samples(orl[:2]), 100 / (1 + np.exp(-1)), rtol=1e-6)
    assert scorer.assess(orl[:2])["p_nonmatch"].isna().all()
    with pytest.raises(WeightsError, match="no such file"):
        Distilled(tmp_path / "absent.npz").score_samples(orl[:1])
    with pytest.raises(WeightsError, match="calibration"):
        Distilled(weights.shipped_file(CALIBRATION)).score_samples(orl[:1])
    with pytest.raises(WeightsError, match="restore it"):
        weights.shipped_file("absent.npz")


# --- the trunk


def test_upside_down_it_is_the_same_network(orl):
    network = load_recogniser("mobilefacenet")
    trunk = QualityTrunk(load_recogniser("mobilefacenet").module).eval()
    with torch.inference_mode():
        seen = trunk(trunk_input(orl.images[:2]))
        first, frozen = trunk.frozen(trunk_input(orl.images[:2]))
        maps = network.module.trunk(network.preprocess(orl[:2]))
        assert seen.shape == (2, N_STATISTICS) and first.shape == (2, N_FROZEN)
        torch.testing.assert_close(trunk.trained(frozen), seen[:, N_FROZEN:], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(seen[:, -1536:-1024], maps.mean((2, 3)), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(seen[:, -1024:-512], maps.std((2, 3), correction=0), atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(seen[:, -512:], network.features(orl[:2]), atol=1e-4)


# --- copies


def dots(size=192):
    """A grey picture with one bright square at each landmark."""
    image = np.full((size, size, 3), 60, np.uint8)
    for x, y in np.rint(CANONICAL_POINTS).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


def test_a_face_that_is_not_turned_stays():
    image = dots()
    still = turn(image, 0, 0, 0, noise=0)
    assert np.abs(still.astype(int) - image).mean() < 1.5


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_nose_moves_with_the_turn_and_the_eyes_come_nearer(sign):
    turned = turn(dots(), 40 * sign, 0, 0, noise=0)[..., 0].astype(float)
    bright = turned > 150
    rows, columns = np.nonzero(bright)
    eyes = columns[np.abs(rows - CANONICAL_POINTS[0, 1]) < 18]
    nose = columns[np.abs(rows - CANONICAL_POINTS[2, 1]) < 12]
    assert sign * (nose.mean() - eyes.mean()) > 8, (nose.mean(), eyes.mean())


def test_the_far_side_of_a_turned_head_is_hidden(orl):
    """A mark on the far cheek disappears, one on the near cheek stays."""
    for side, seen in ((150, False), (54, True)):
        image = np.full((192, 192, 3), 60, np.uint8)
        image[118:126, side - 4 : side + 4] = 255
        assert (turn(image, 65, 0, 0, noise=0).max() > 200) == seen


def test_hard_copies_are_seeded_and_of_many_kinds(orl):
    image = orl.images[0]
    one, two = (hard_copies(image, np.random.default_rng(3)) for _ in range(2))
    assert len(one) == 7 and one[0].kinds == () and (one[0].image == image).all()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.image.shape == (192, 192, 3) and a.image.dtype == np.uint8
    assert sum(TURN in copy.kinds for copy in one) >= 3
    assert all(abs(copy.yaw) <= 78 and abs(copy.pitch) <= 35 for copy in one)


def test_misaligned_by_nothing_changes_nothing(orl):
    np.testing.assert_array_equal(misaligned(orl.images[0], 0, np.random.default_rng(0)), orl.images[0])


# --- training


def test_photographs_to_learn_from():
    people = ["a"] * 30 + ["b"] * 2 + ["c"]
    rows = photographs_to_learn_from([f"{i}" for i in range(33)], people)
    taken = np.array(people)[rows]
    assert (taken == "a").sum() == MOST and (taken == "b").sum() == 2 and "c" not in taken
    assert len(set(rows)) == len(rows)
    with pytest.raises(fq.DataError, match="second photograph"):
        photographs_to_learn_from(["1", "2"], ["a", "b"])


@pytest.fixture
def material(tmp_path):
    """Made-up statistics of 2 files of copies: quality is the first statistic."""
    rng = np.random.default_rng(0)

    def look(images, quick=True):
        n = len(images)
        found = {name: rng.normal(size=(n, 16)) for name in TEACHERS}
        return found | {
            "statistics": rng.normal(size=(n, N_STATISTICS)).astype(np.float16),
            "frozen": rng.normal(size=(n, 128, 14, 14)).astype(np.float16),
        }

    people = np.repeat(["a", "b", "c"], 8)
    images = rng.integers(0, 255, (24, 192, 192, 3), dtype=np.uint8)
    names = [f"{i}" for i in range(24)]
    files = look_at_copies(images, names, tmp_path, look)
    times = [file.stat().st_mtime_ns for file in files]
    assert look_at_copies(images, names, tmp_path, None) == files  # nothing is made twice
    assert [file.stat().st_mtime_ns for file in files] == times
    return load_material(files, people)


def test_material_keeps_its_order(material):
    assert len(material["source"]) == 24 * 7 and (np.diff(material["source"]) >= 0).all()
    assert (material["kinds"] == "").sum() == 24 and AT_ONCE < 24
    label = material["label"]
    assert np.isfinite(label).all() and label.min() >= 0 and label.max() == 1


def test_ridge_and_fine_tuning_learn(material):
    student = Student()
    wanted = 0.5 + 0.1 * material["statistics"][:, 0].astype(float)
    fit_ridge(student, material["statistics"], wanted, alpha=1.0)
    found = student.judge(torch.from_numpy(material["statistics"])).detach().numpy()
    assert np.corrcoef(found, wanted)[0, 1] > 0.99
    losses = []
    before = student.trunk.blocks[-1][0].weight.clone()
    kept = student.trunk.stem[0].weight.clone()
    fine_tune(student, material, epochs=2, watch=lambda epoch, loss, _: losses.append(loss))
    assert len(losses) == 2 and losses[1] < losses[0]
    assert not torch.equal(student.trunk.blocks[-1][0].weight, before)
    assert torch.equal(student.trunk.stem[0].weight, kept)
