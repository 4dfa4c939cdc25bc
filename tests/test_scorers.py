"""The contract of every quality method, by one loop over the registry: a new method needs no test file for it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fiqa_lib.data import split_by_identity
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.scorers import SCORERS, Scorer, register
from fiqa_lib.transforms import KINDS, degrade

ATOL = 1e-4  # float32 networks round differently in different batches


@pytest.fixture(scope="module")
def people(orl):
    """(training faces, ten faces of other people)."""
    train, test = split_by_identity(orl, random_state=0)
    return train, test[::20]


@pytest.fixture(scope="module")
def fitted(people):
    """Each method fitted once, on demand."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = SCORERS[name](**SCORERS[name].quick).fit(people[0])
        return made[name]

    return get


# one that needs a file, which the user has to bring, has its own tests
every_method = pytest.mark.parametrize("name", [name for name, cls in SCORERS.items() if not cls.needs_weights])
every_learner = pytest.mark.parametrize("name", [name for name, cls in SCORERS.items() if cls.learns])


@every_method
def test_one_finite_score_for_each_face(name, fitted, people):
    scores = fitted(name).score_samples(people[1])
    assert scores.shape == (len(people[1]),) and scores.dtype == np.float64
    assert np.isfinite(scores).all() and scores.std() > 0


@every_method
def test_batch_and_order_change_nothing(name, fitted, people):
    scorer, faces = fitted(name), people[1]
    scores = scorer.score_samples(faces)
    scale = max(1.0, np.abs(scores).max())
    order = np.random.default_rng(0).permutation(len(faces))
    np.testing.assert_allclose(scorer.score_samples(faces[order]), scores[order], atol=ATOL * scale)
    one_by_one = np.concatenate([scorer.score_samples(face) for face in faces])
    np.testing.assert_allclose(one_by_one, scores, atol=ATOL * scale)


@every_method
def test_twice_the_same(name, fitted, people):
    scorer = fitted(name)
    np.testing.assert_array_equal(scorer.score_samples(people[1][:3]), scorer.score_samples(people[1][:3]))


@every_method
def test_no_faces_give_no_scores(name, fitted, people):
    assert fitted(name).score_samples(people[1][:0]).shape == (0,)


@pytest.mark.parametrize("name", SCORERS)
def test_clone_params_and_repr(name):
    scorer = SCORERS[name]()
    copy = clone(scorer)
    assert copy is not scorer and repr(copy) == repr(scorer)
    assert copy.get_params() == scorer.get_params()
    assert copy.set_params(**copy.get_params()) is copy
    assert type(scorer).__name__ in repr(scorer)


@every_method
def test_fit_returns_itself_and_keeps_the_parameters(name, fitted):
    scorer = fitted(name)
    assert isinstance(scorer, Scorer)
    assert scorer.get_params() == SCORERS[name](**SCORERS[name].quick).get_params()


@every_learner
def test_what_was_learned_survives_a_file(name, fitted, people, tmp_path):
    scorer, faces = fitted(name), people[1]
    path = scorer.save(tmp_path / "state.npz")
    again = SCORERS[name].load(path)
    assert again.get_params() == scorer.get_params()
    np.testing.assert_array_equal(again.score_samples(faces), scorer.score_samples(faces))
    with pytest.raises(WeightsError, match="no such file"):
        SCORERS[name].load(tmp_path / "absent.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"state\.npz"):
        SCORERS[name].load(path)


@every_learner
def test_same_seed_learns_the_same(name, fitted, people):
    again = SCORERS[name](**SCORERS[name].quick).fit(people[0])
    np.testing.assert_array_equal(again.score_samples(people[1]), fitted(name).score_samples(people[1]))


@every_learner
def test_not_fitted_is_said(name, people):
    with pytest.raises(NotFittedError, match="fit"):
        SCORERS[name](**SCORERS[name].quick).score_samples(people[1])


@every_method
def test_what_is_no_aligned_face_is_refused(name, fitted):
    scorer = fitted(name)
    wrong = (
        np.zeros((2, 112, 112, 3), np.uint8),
        np.zeros((2, 192, 192, 3), np.float32),
        np.zeros((192, 192, 3), np.uint8),
        np.zeros((2, 192, 192), np.uint8),
    )
    for images in wrong:
        with pytest.raises(DataError, match="aligned"):
            scorer.score_samples(images)


@every_method
def test_input_is_left_as_it_was(name, fitted, people):
    faces = people[1][:2]
    before = faces.images.copy()
    fitted(name).score_samples(faces)
    np.testing.assert_array_equal(faces.images, before)


@every_method
def test_higher_is_better_for_what_it_claims_to_see(name, fitted, people):
    """On degraded copies the mean score falls with severity, for every kind that the method claims to see."""
    scorer, faces = fitted(name), people[0][::10]
    for kind in scorer.claims:
        means = [scorer.score_samples(degrade(faces, kind, s, random_state=1)).mean() for s in (0, 0.5, 1)]
        assert means[0] > means[1] > means[2], (kind, means)


@pytest.mark.parametrize("name", SCORERS)
def test_described_for_the_list_of_methods(name):
    cls = SCORERS[name]
    assert cls.name == name and cls.__doc__ and cls.__doc__ != Scorer.__doc__ and cls.cost
    assert set(cls.claims) <= set(KINDS)


def test_a_name_can_be_taken_only_once():
    with pytest.raises(ValueError, match="sharpness"):

        @register("sharpness")
        class Another(Scorer):
            pass


def test_a_score_that_is_no_number_is_a_bug_with_a_name(people):
    class Broken(Scorer):
        def _score(self, images, faces):
            return np.full(len(images), np.nan)

    with pytest.raises(DataError, match="Broken"):
        Broken().score_samples(people[1])


def test_inter_eye_distance_is_the_photographs(people):
    scorer = SCORERS["inter-eye-distance"]()
    np.testing.assert_array_equal(scorer.score_samples(people[1]), people[1].attributes.inter_eye_px)
    with pytest.raises(DataError, match="inter_eye_px"):
        scorer.score_samples(people[1].images)
