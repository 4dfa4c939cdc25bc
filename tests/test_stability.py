import cv2
import numpy as np
import pytest

from fiqa_lib.errors import DataError
from fiqa_lib.faces import EYE_DISTANCE, SIZE
from fiqa_lib.recognition.base import seen_window
from fiqa_lib.recognition.similarity import cosine
from fiqa_lib.scorers.stability import PerturbationStability
from fiqa_lib.scorers.view_agreement import ViewAgreement
from fiqa_lib.transforms import image_seeds, mirror, perturb


def test_flip_is_the_cosine_with_the_mirror_image(orl, dlib_resnet):
    faces = orl[:40:4]
    expected = cosine(dlib_resnet.embed(faces), dlib_resnet.embed(mirror(faces.images)))
    np.testing.assert_allclose(PerturbationStability("flip").score_samples(faces), expected, atol=1e-6)


def test_draws_are_averaged_and_their_error_given(orl, dlib_resnet):
    faces = orl[:3]
    scorer = PerturbationStability("gaussian", n_draws=5, settings={"sigma": 0.1}, random_state=3)
    clean, cosines = dlib_resnet.embed(faces), []
    for draw in range(5):
        seeds = image_seeds(faces.images, 3, draw)
        cosines.append(cosine(clean, dlib_resnet.embed(perturb(faces, "gaussian", seeds=seeds, sigma=0.1))))
    scores, errors = scorer.score_with_error(faces)
    np.testing.assert_allclose(scores, np.mean(cosines, 0), atol=1e-6)
    np.testing.assert_allclose(errors, np.std(cosines, 0, ddof=1) / np.sqrt(5), atol=1e-6)
    np.testing.assert_allclose(scorer.score_samples(faces), scores, atol=1e-6)


def test_no_randomness_no_error(orl):
    assert PerturbationStability("flip", n_draws=7).score_with_error(orl[:2])[1].tolist() == [0, 0]
    assert np.isnan(PerturbationStability("gaussian", n_draws=1).score_with_error(orl[:2])[1]).all()


def test_clean_embedding_is_computed_once(orl, dlib_resnet):
    class Counting:
        faces = 0

        def embed(self, images):
            Counting.faces += len(images)
            return dlib_resnet.embed(images)

    PerturbationStability("gaussian", n_draws=4, recogniser=Counting()).score_samples(orl[:40])
    assert Counting.faces == 40 * 5


def test_wrong_settings_are_refused(orl):
    for wrong, word in (({"n_draws": 0}, "n_draws"), ({"perturbation": "wobble"}, "wobble")):
        with pytest.raises(DataError, match=word):
            PerturbationStability(**wrong).score_samples(orl[:1])


def test_a_frame_stands_where_the_recogniser_looks(orl, dlib_resnet):
    """What lies outside of the window can't change an embedding: a frame there would measure nothing."""
    scores = PerturbationStability("structured-occlusion", settings={"width": 0.1}).score_samples(orl[:4])
    assert (scores < 0.9999).all()
    moved = perturb(orl[:4], "structured-occlusion", width=0.1, window=dlib_resnet.window)
    np.testing.assert_allclose(scores, cosine(dlib_resnet.embed(orl[:4]), dlib_resnet.embed(moved)), atol=1e-6)
    top, left, bottom, right = dlib_resnet.window
    spare = min(top, left, SIZE - bottom, SIZE - right) / EYE_DISTANCE
    outside = perturb(orl[:4], "structured-occlusion", width=spare)
    assert (cosine(dlib_resnet.embed(orl[:4]), dlib_resnet.embed(outside)) > 0.9999).all()
    given = {"width": 0.1, "window": (0, 0, 192, 192)}
    own = PerturbationStability("structured-occlusion", settings=given).score_samples(orl[:4])
    assert (own > scores).all()


def test_a_window_holds_all_that_a_recogniser_sees(orl, dlib_resnet):
    recogniser = dlib_resnet
    top, left, bottom, right = recogniser.window
    inside = np.zeros(orl.images.shape[1:3], bool)
    inside[top:bottom, left:right] = True
    changed = orl.images[:2].copy()
    changed[:, ~inside] = 0
    np.testing.assert_allclose(recogniser.embed(changed), recogniser.embed(orl.images[:2]), atol=1e-6)
    changed[:, inside] = 0
    assert np.abs(recogniser.embed(changed) - recogniser.embed(orl.images[:2])).max() > 0.02


def test_window_of_a_crop_by_an_affine_map():
    # half the size, shifted by 10: column c of the crop is column 2 c + 20 of the canonical crop
    assert seen_window(np.array([[0.5, 0, -10], [0, 0.5, 0]]), (50, 40)) == (0, 20, 79, 119)
    assert seen_window(np.array([[1.0, 0, 5], [0, 1, 5]]), (300, 300)) == (0, 0, 192, 192)


def test_views_are_their_definition(orl, dlib_resnet):
    image = orl.images[5:6]
    frame = perturb(image, "structured-occlusion", width=0.15, window=dlib_resnet.window)
    blurred = cv2.GaussianBlur(image[0], (0, 0), 0.03 * EYE_DISTANCE)[None]
    clean = dlib_resnet.embed(image)[0].astype(float)
    angles = []
    for view in (frame, mirror(frame), mirror(blurred)):
        other = dlib_resnet.embed(view)[0].astype(float)
        angles.append(np.arccos(clean @ other / np.linalg.norm(clean) / np.linalg.norm(other)))
    expected = -np.mean(angles) / np.linalg.norm(clean)
    np.testing.assert_allclose(ViewAgreement().score_samples(image), expected, rtol=1e-4)


def test_random_views_differ_by_seed_and_wrong_ones_are_refused(orl):
    scores = [ViewAgreement(("gaussian+flip",), random_state=seed).score_samples(orl[:2]) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).all()
    for wrong in ((), "flip", ("flip+wobble",)):
        with pytest.raises(DataError, match="wobble|sequence"):
            ViewAgreement(wrong).score_samples(orl[:1])
