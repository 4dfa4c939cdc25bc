"""FaceQAN, GraFIQs-style and DifFIQA-style scores against their definitions, written out for one face with loops."""

import cv2
import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError
from fiqa_lib.recognition.classical import LbpHistograms
from fiqa_lib.scorers.diffiqa import DifFIQAStyle
from fiqa_lib.scorers.faceqan import FaceQAN, attackable
from fiqa_lib.scorers.grafiqs import GraFIQs
from fiqa_lib.transforms import image_seeds, mirror, perturb, uniform


def cos(a, b):
    a, b = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    return a @ b / np.sqrt(a @ a * (b @ b))


def pixels(recogniser, image):
    """dlib's chip in -1..1, (1, 3, 150, 150), and the network as a function of it."""
    chip = recogniser.preprocess(image[None]) * 256 + recogniser._mean
    return chip / 127.5 - 1, lambda x: recogniser.module(recogniser.normalise((x + 1) * 127.5))


@pytest.mark.parametrize("epsilon", [0.001, 0.03])
def test_faceqan_is_its_definition(orl, dlib_resnet, epsilon):
    image = orl.images[3]
    start, network = pixels(dlib_resnet, image)
    clean = dlib_resnet.embed(image[None])
    noise = uniform(image_seeds(image[None], 5, "faceqan"), (3, *start.shape[1:]))[0] * 2 - 1
    similarities = []
    for sample in range(3):
        x = (start + epsilon * torch.from_numpy(noise[sample])).clamp(-1, 1)
        for _ in range(4):
            x = x.detach().requires_grad_()
            embedded = network(x)
            similarity = torch.nn.functional.cosine_similarity(embedded, torch.from_numpy(clean))
            similarities.append(cos(embedded.detach(), clean))
            similarity.sum().backward()
            x = (x - epsilon * x.grad.sign()).clamp(-1, 1)
    flip = cos(clean, dlib_resnet.embed(mirror(image[None])))
    expected = ((1 + np.mean(similarities)) / 2 * np.clip(1 - np.std(similarities), 0, 1) * flip) ** 5
    scorer = FaceQAN(n_samples=3, n_steps=4, epsilon=epsilon, recogniser=dlib_resnet, random_state=5)
    found, flips = scorer.parts(image[None])
    # gradients near zero take either sign by rounding, hence the tolerance; the effect itself is far larger
    loss = 1 - np.reshape(similarities, (3, 4)).T
    np.testing.assert_allclose(1 - found[0], loss, rtol=0.05, atol=1e-7)
    assert loss[-1].mean() > 5 * loss[0].mean()
    np.testing.assert_allclose(flips, flip, atol=1e-6)
    np.testing.assert_allclose(scorer.score_samples(image[None]), expected, rtol=2e-3)


def test_attack_goes_down_and_hurts_a_bad_face_more(orl, dlib_resnet):
    from fiqa_lib.transforms import degrade

    faces = orl[:60:10]
    scorer = FaceQAN(n_samples=2, n_steps=4, recogniser=dlib_resnet)
    clean, _ = scorer.parts(faces.images)
    assert (np.diff(clean.mean(2), axis=1) < 0).all()
    worse, _ = scorer.parts(degrade(faces, "low_contrast", 1, random_state=1).images)
    assert worse[:, -1].mean() < clean[:, -1].mean()


def test_range_of_the_attack_is_that_of_the_pixels(orl, dlib_resnet):
    x, unit, low, high = attackable(dlib_resnet, orl.images[:1])
    start, _ = pixels(dlib_resnet, orl.images[0])
    np.testing.assert_allclose(((x - low) / unit - 1).numpy(), start.numpy(), atol=1e-5)
    np.testing.assert_allclose((high - low).numpy(), 255 / 256, atol=1e-6)


@pytest.mark.parametrize("layer", ["input", "features"])
def test_grafiqs_is_the_size_of_the_gradient(orl, dlib_resnet, layer):
    """The gradient of 1 - cos(e, m) with respect to e is known; the chain rule through the last layer is a product."""
    image = orl.images[7:8]
    e, m = (dlib_resnet.embed(i)[0].astype(float) for i in (image, mirror(image)))
    by_embedding = -(m / np.linalg.norm(m) - cos(e, m) * e / np.linalg.norm(e)) / np.linalg.norm(e)
    if layer == "features":
        expected = np.abs(dlib_resnet.head.weight.detach().numpy().T @ by_embedding).sum()
    else:
        x = dlib_resnet.preprocess(image).requires_grad_()
        dlib_resnet.module(x).backward(torch.from_numpy(by_embedding[None]).float())
        expected = x.grad.abs().sum().item()
        dlib_resnet.module.zero_grad()
    found = GraFIQs(layer, recogniser=dlib_resnet).score_samples(image)
    np.testing.assert_allclose(-found, expected, rtol=1e-4)


def test_diffiqa_is_its_definition(orl, dlib_resnet):
    image = orl.images[11]
    flipped = mirror(image[None])[0]
    clean = dlib_resnet.embed(image[None])
    cosines = [cos(clean, dlib_resnet.embed(flipped[None]))]
    for draw in range(2):
        for picture in (image, flipped):
            seeds = image_seeds(picture[None], 4, draw, "diffiqa")
            noised = perturb(picture[None], "gaussian", seeds=seeds, sigma=0.2)[0]
            cosines.append(cos(clean, dlib_resnet.embed(noised[None])))
            cosines.append(cos(clean, dlib_resnet.embed(cv2.GaussianBlur(noised, (0, 0), 2.0)[None])))
    assert len(cosines) == 9 and np.std(cosines) > 1e-4
    scorer = DifFIQAStyle(n_draws=2, noise=0.2, filter_sigma=2.0, recogniser=dlib_resnet, random_state=4)
    np.testing.assert_allclose(scorer.score_samples(image[None]), np.mean(cosines), atol=1e-6)


@pytest.mark.parametrize("method", [FaceQAN, DifFIQAStyle])
def test_seed_decides_the_noise(orl, method):
    scores = [method(random_state=seed).score_samples(orl[:2]) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).all()


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (FaceQAN(n_samples=0), "n_samples"),
        (FaceQAN(n_steps=2.5), "n_steps"),
        (FaceQAN(epsilon=0), "epsilon"),
        (FaceQAN(power=float("nan")), "power"),
        (GraFIQs("pixels"), "layer must be one of input, features"),
        (DifFIQAStyle(n_draws=0), "n_draws"),
        (DifFIQAStyle(noise=-1), "noise"),
        (DifFIQAStyle(filter_sigma=0), "filter_sigma"),
        (FaceQAN(recogniser=LbpHistograms()), "gradients"),
        (GraFIQs(recogniser=LbpHistograms()), "gradients"),
    ],
)
def test_wrong_settings_are_refused(orl, scorer, reason):
    with pytest.raises(DataError, match=reason):
        scorer.score_samples(orl[:1])
