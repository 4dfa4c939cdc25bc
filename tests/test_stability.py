import numpy as np
import pytest

from fiqa_lib.errors import DataError
from fiqa_lib.perturbations import image_seeds, mirror, perturb
from fiqa_lib.scorers.stability import PerturbationStability
from fiqa_lib.verification import cosine


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
