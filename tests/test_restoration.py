"""The restoration GAN: networks, losses, targets, training that resumes, and the measures that scores are made of."""

import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import structural_similarity

from fiqa_lib import weights
from fiqa_lib.errors import DataError
from fiqa_lib.faces import CHIP_ORIGIN, Faces
from fiqa_lib.networks import faceqgen_training, unet_gan
from fiqa_lib.networks.faceqgen_training import GanTraining, choose_targets
from fiqa_lib.networks.restorer import MEASURES, Restorer, health
from fiqa_lib.networks.unet_gan import Discriminator, Generator, as_images, luminance
from fiqa_lib.transforms import degrade

TINY = {"size": 32, "width": 8, "n_copies": 1, "n_own": 2, "n_steps": 8, "n_identity": 2, "n_snapshots": 1}
ROW, COLUMN = CHIP_ORIGIN


@pytest.fixture(scope="module")
def three(orl):
    """Three people, three photographs of each."""
    return orl[[0, 1, 2, 10, 11, 12, 20, 21, 22]]


@pytest.fixture(scope="module")
def tiny(three):
    return Restorer(**TINY).fit(three)


def same_weights(one, other):
    first, second = one.get_state(), other.get_state()
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# --- pictures


def test_luminance_is_the_window_shrunk(orl):
    found = luminance(orl.images[:3], 64)
    assert found.shape == (3, 64, 64) and found.dtype == np.float32
    grey = cv2.cvtColor(orl.images[1][ROW : ROW + 150, COLUMN : COLUMN + 150], cv2.COLOR_RGB2GRAY).astype(float) / 255
    assert found[1].mean() == pytest.approx(grey.mean(), abs=1e-3)
    assert np.abs(cv2.resize(found[1], (150, 150)) - grey).mean() < 0.03


def test_canonical_puts_the_window_back_and_repeats_the_border(orl):
    small = luminance(orl.images[:2], 64)
    back = as_images(small)
    assert back.shape == (2, 192, 192, 3) and back.dtype == np.uint8
    np.testing.assert_allclose(luminance(back, 64), small, atol=0.12)
    np.testing.assert_array_equal(back[:, 0], back[:, ROW])
    np.testing.assert_array_equal(back[:, :, 0], back[:, :, COLUMN])


def test_embeddings_are_those_of_the_recogniser_and_have_gradients(orl, dlib_resnet):
    small = luminance(orl.images[:4], 64)
    pictures = torch.from_numpy(small)[:, None].requires_grad_()
    found = unet_gan.embed_luma(pictures, dlib_resnet)
    expected = dlib_resnet.embed(as_images(small))
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=0.01)
    (gradient,) = torch.autograd.grad(found.sum(), pictures)
    assert gradient.abs().sum() > 0


# --- networks and losses


def test_shapes_and_ranges():
    x = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    y = Generator(8)(x).detach()
    assert y.shape == x.shape and 0 <= float(y.min()) and float(y.max()) <= 1
    assert Discriminator(8)(x).shape == (2, 1, 6, 6)


def test_generator_starts_as_a_copy():
    x = torch.linspace(0.05, 0.95, 2 * 32 * 32).reshape(2, 1, 32, 32)
    torch.testing.assert_close(Generator(8)(x), x, atol=1e-5, rtol=0)


def test_one_verdict_sees_38_pixels():
    torch.manual_seed(0)
    network = Discriminator(8)
    for layer in network.layers:  # group norm looks at the whole picture: leave it out
        if isinstance(layer, torch.nn.GroupNorm):
            layer.forward = lambda x: x
    x = torch.rand(1, 1, 96, 96, requires_grad=True)
    network(x)[0, 0, 6, 6].backward()
    rows = torch.nonzero(x.grad.abs().sum((0, 1, 3)))
    assert int(rows.max() - rows.min()) + 1 == 38


def test_losses_at_known_values():
    on_best, on_restored = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 1.0])
    assert float(unet_gan.discriminator_loss(on_best, on_restored)) == pytest.approx(0.125 + 0.5)
    assert float(unet_gan.adversarial_loss(on_restored)) == pytest.approx(0.5)
    centre = torch.tensor([1.0, 1.0])
    a, b = torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([[5.0, 1.0], [1.0, 9.0]])
    assert float(unet_gan.identity_loss(a, b, centre)) == pytest.approx(0.5)


# --- targets


def test_target_is_the_photograph_the_frontal_detector_likes_best(orl):
    people, rows = choose_targets(orl[:20])
    assert list(people) == ["s01", "s02"] and (rows // 10 == [0, 1]).all()
    from fiqa_lib.scorers import SCORERS

    scores = SCORERS["detector-score"]().score_samples(orl[:20])
    assert list(rows) == [np.argmax(scores[:10]), 10 + np.argmax(scores[10:])]


def test_damaged_faces_are_no_target_and_marks_and_mugshots_decide(three):
    both = Faces.concat([degrade(three, "jpeg", 0.0), degrade(three, "jpeg", 0.2)])
    _, rows = choose_targets(both)
    assert (rows < len(three)).all()
    marked = three.with_attributes(target=np.arange(9) % 3 == 2)
    assert list(choose_targets(marked)[1]) == [2, 5, 8]
    kinds = ["surveillance", "mugshot", "mugshot"] * 3
    poses = [None, "L1", "frontal"] * 3
    assert list(choose_targets(three.with_attributes(kind=kinds, pose=poses))[1]) == [2, 5, 8]
    with pytest.raises(DataError, match="s01"):
        choose_targets(three.with_attributes(target=np.arange(9) > 2))


def test_who_is_shown_must_be_known(three):
    with pytest.raises(DataError, match="identities"):
        choose_targets(three.images)
    with pytest.raises(DataError, match="1 faces without identity"):
        Restorer(**TINY).fit(three, ["", *three.identities[1:]])
    with pytest.raises(DataError, match="two or more people"):
        Restorer(**TINY).fit(three[:3])


# --- training


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 40},
        {"width": 6},
        {"n_steps": 0},
        {"batch_size": 1.5},
        {"n_identity": 99},
        {"l1": -1},
        {"rate": np.nan},
        {"average": 1.0},
        {"average": np.nan},
    ],
)
def test_parameters_out_of_range_are_named(three, wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        Restorer(**(TINY | wrong)).fit(three)


def test_training_twice_gives_the_same_weights_whatever_the_global_seed(three, tiny):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    same_weights(Restorer(**TINY).fit(three), tiny)
    assert torch.equal(torch.get_rng_state(), before)
    other = Restorer(**TINY, random_state=1).fit(three)
    assert not np.array_equal(other.generate(three), tiny.generate(three))


def test_training_leaves_the_shared_recogniser_alone(three, dlib_resnet):
    Restorer(**TINY, recogniser=dlib_resnet).fit(three)
    assert all(p.grad is None for p in dlib_resnet.module.parameters())


def test_both_networks_learn_and_the_history_says_when(three):
    run = Restorer(**(TINY | {"n_steps": 30})).fit(three)
    assert list(run.history_) == list(faceqgen_training.HISTORY) and len(run.history_) == 30
    assert run.history_["accuracy"].between(0, 1).all() and run.history_["updated"].isin([0, 1]).all()
    assert (run.history_["updated"] == (run.history_["accuracy"] < faceqgen_training.BALANCE)).all()
    assert list(run.snapshots_) == [15]


def test_a_loss_with_weight_zero_is_left_out(three):
    plain = Restorer(**TINY, adversarial=0, identity=0).fit(three)
    assert plain.history_["adversarial"].isna().all() and plain.history_["identity"].isna().all()
    assert not plain.history_["updated"].any()


@pytest.mark.parametrize("average", [0.0, 0.4, 0.99])
def test_the_kept_generator_is_the_moving_average_of_all_steps(three, average):
    run = GanTraining(Restorer(**TINY, average=average), three)
    expected = {name: value.copy() for name, value in weights.module_state(run.generator).items()}
    for number in range(4):
        run.step([number])
        kept = min(average, (1 + number) / (10 + number))
        for name, value in weights.module_state(run.generator).items():
            expected[name] = kept * expected[name] + (1 - kept) * value
    found = weights.module_state(run.averaged)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    moved = np.abs(found["last.bias"] - weights.module_state(run.generator)["last.bias"]).max()
    assert (moved == 0) == (average == 0)


class Killed(Exception):
    pass


def test_a_run_that_was_killed_ends_with_the_same_weights(three, tmp_path, monkeypatch):
    settings = TINY | {"n_steps": 9}
    whole = Restorer(**settings).fit(three)
    monkeypatch.setattr(faceqgen_training, "CHECKPOINT_EVERY", 2)
    step, made = GanTraining.step, []

    def dies(self, batch):
        if batch == [6]:
            raise Killed
        made.extend(batch)
        return step(self, batch)

    monkeypatch.setattr(GanTraining, "step", dies)
    path = tmp_path / "run.npz"
    with pytest.raises(Killed):
        Restorer(**settings).fit(three, checkpoint=path)
    assert path.exists()
    monkeypatch.setattr(GanTraining, "step", lambda self, batch: made.extend(batch) or step(self, batch))
    resumed = Restorer(**settings).fit(three, checkpoint=path)
    assert made == [*range(6), *range(6, 9)] and not path.exists()
    same_weights(resumed, whole)
    pd.testing.assert_frame_equal(resumed.history_, whole.history_)


def test_a_killed_process_is_resumed(tmp_path):
    code = (
        "import sys; from fiqa_lib.data import load_orl\n"
        "from fiqa_lib.networks import faceqgen_training, restorer\n"
        "faceqgen_training.CHECKPOINT_EVERY = 1; faces = load_orl()[[0, 1, 10, 11]]\n"
        f"restorer.Restorer(**({TINY!r} | {{'n_steps': int(sys.argv[1])}})).fit(faces, checkpoint=sys.argv[2])\n"
    )
    path = tmp_path / "run.npz"
    process = subprocess.Popen([sys.executable, "-c", code, "100000", str(path)])
    try:
        deadline = time.monotonic() + 120
        while not path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    from fiqa_lib.weights import read_state

    arrays, _ = read_state(path, "restoration run")  # whole, whenever the process died
    assert len(arrays["history"]) >= 1


def test_checkpoint_of_another_run_is_refused_and_a_damaged_one_is_a_new_start(three, tiny, tmp_path):
    path = tmp_path / "run.npz"
    run = GanTraining(Restorer(**TINY, random_state=5), three)
    run.step([0])
    run.save(path)
    with pytest.raises(DataError, match=r"run\.npz.*another run"):
        Restorer(**TINY).fit(three, checkpoint=path)
    path.write_bytes(b"torn")
    same_weights(Restorer(**TINY).fit(three, checkpoint=path), tiny)


def test_faces_that_are_degraded_already_are_taken_as_they_are(three):
    both = Faces.concat([degrade(three, "jpeg", 0.0), degrade(three, "jpeg", 0.5)])
    run = GanTraining(Restorer(**TINY), both)
    assert len(run.inputs) == len(both)
    assert len(GanTraining(Restorer(**TINY), three).inputs) == 9 + 9 + 3 * 2


def test_each_person_is_drawn_equally_often(orl):
    uneven = orl[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]  # ten photographs of one, one of the other
    run = GanTraining(Restorer(**(TINY | {"batch_size": 64})), uneven)
    draws = np.concatenate([run.draw(k)[1].numpy() for k in range(20)])
    plain = np.abs(draws[:, 0] - run.targets[0]).mean((1, 2))
    mirrored = np.abs(draws[:, 0] - run.targets[0][:, ::-1]).mean((1, 2))
    share = np.mean((plain < 1e-6) | (mirrored < 1e-6))
    assert share == pytest.approx(0.5, abs=0.05)


def test_gpu_is_used_when_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert faceqgen_training.chosen_device() == "cuda" and faceqgen_training.chosen_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert faceqgen_training.chosen_device() == "cpu"


def test_progress_bar_on_standard_error_only_when_asked(three, capsys):
    Restorer(**TINY).fit(three)
    assert capsys.readouterr().err == ""
    Restorer(**TINY, verbose=1).fit(three)
    said = capsys.readouterr()
    assert "restoration" in said.err and "8/8" in said.err and said.out == ""


# --- measures


class Copy(torch.nn.Module):
    def forward(self, x):
        return x


class Negative(torch.nn.Module):
    def forward(self, x):
        return 1 - x


class Bright(torch.nn.Module):
    """A discriminator that likes light."""

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 8)


def with_networks(restorer, generator, discriminator):
    import copy

    other = copy.copy(restorer)
    other.generator_, other.discriminator_ = generator, discriminator
    return other


def test_polarity_of_each_measure(three, tiny):
    """No change is the best there is: 0 for minus the MSE, 1 for SSIM; verdicts are handed on with their sign."""
    same = with_networks(tiny, Copy(), Bright()).measures(three)
    assert (same["mse"] == 0).all() and np.allclose(same["ssim"], 1)
    changed = with_networks(tiny, Negative(), Bright()).measures(three)
    assert (changed["mse"] < -0.01).all() and (changed["ssim"] < 0.5).all()
    light = luminance(three.images, TINY["size"]).mean((1, 2))
    np.testing.assert_allclose(changed["d_input"], light, atol=1e-5)
    np.testing.assert_allclose(changed["d_restored"], 1 - light, atol=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_alone_is_that_of_all(three, tiny, name):
    alone = tiny.measures(three, [name])
    pd.testing.assert_frame_equal(alone, tiny.measures(three)[[name]])


def test_what_is_not_asked_for_is_not_computed(three, tiny):
    """The verdict on the input needs no restoration, and the squared difference no discriminator."""
    assert len(with_networks(tiny, None, Bright()).measures(three, ["d_input"])) == len(three)
    assert len(with_networks(tiny, Copy(), None).measures(three, ["mse", "ssim"])) == len(three)


def test_measures_as_a_literal_implementation(three, tiny):
    found, restored = tiny.measures(three), tiny.generate(three)
    pictures = luminance(three.images, TINY["size"])
    for row in range(3):
        a, b = pictures[row].astype(float), restored[row].astype(float)
        assert found["mse"][row] == pytest.approx(-np.mean((a - b) ** 2), rel=1e-4)
        expected = structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert found["ssim"][row] == pytest.approx(expected, abs=1e-4)


def test_snapshot_is_an_earlier_generator(three, tiny):
    early = tiny.at(4)
    assert not np.array_equal(early.generate(three), tiny.generate(three))
    with pytest.raises(DataError, match="step 3.*4"):
        tiny.at(3)


# --- health of the GAN


def faces_of(n_people, seed=0):
    """Pictures (3 a person), the targets of each, who they show."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(rng.random((n_people, 16, 16), dtype=np.float32), 3, axis=0)
    inputs = (targets + 0.3 * rng.random(targets.shape, dtype=np.float32)).clip(0, 1)
    return inputs, targets, np.repeat(np.arange(n_people), 3)


def test_a_copying_generator_is_found():
    inputs, targets, people = faces_of(4)
    copied = health(inputs, inputs, targets, people, targets.mean(0))
    assert copied.change == 0 and copied.copies and not copied.collapsed


def test_a_collapsed_generator_is_found():
    inputs, targets, people = faces_of(4)
    mean = targets.mean(0)
    same = health(inputs, np.broadcast_to(mean, inputs.shape), targets, people, mean)
    assert same.variety < 1e-6 and same.collapsed and not same.copies and same.to_mean == 0


def test_a_perfect_generator_is_healthy():
    inputs, targets, people = faces_of(4)
    found = health(inputs, targets, targets, people, targets.mean(0))
    assert found.change == pytest.approx(1) and found.variety == pytest.approx(1) and found.to_target == 0
    assert not found.copies and not found.collapsed
    with pytest.raises(DataError, match="2 people"):
        health(inputs[:3], targets[:3], targets[:3], people[:3], targets.mean(0))
