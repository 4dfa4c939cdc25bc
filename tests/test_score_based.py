"""Score-based quality: leakage, chance, branches, grades from rules and from folders. Its contract: test_scorers.py."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from fiqa_lib.data import orl_d, split_by_identity
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import Faces
from fiqa_lib.features import FEATURES, extract
from fiqa_lib.labels.grades import GRADES, RecognitionRule, by_severity
from fiqa_lib.scorers.score_based import ScoreBasedFQA, expected_grade
from fiqa_lib.transforms import benchmark

FAST = {"pretrain_epochs": 3, "tune_epochs": 15}
CHEAP = "gist+lbp-histogram"  # features that need no network


@pytest.fixture(scope="module")
def graded(orl):
    """(training faces, test faces of other people), degraded; their cheap features and grades by severity."""
    train, test = orl_d(orl[::2], copies=4, random_state=0)
    train = benchmark(train, severities=(0.2, 0.4, 0.6, 0.8), copies=4, random_state=1)
    return {
        name: (faces, extract(faces, CHEAP.split("+")), by_severity(faces))
        for name, faces in (("train", train), ("test", test))
    }


@pytest.fixture(scope="module")
def fitted(graded):
    faces, inputs, grades = graded["train"]
    return ScoreBasedFQA(CHEAP, **FAST).fit_inputs(inputs, grades, faces.identities)


def macro_f1(scorer, inputs, truth):
    return f1_score(truth, scorer.classes_[scorer.proba_of(inputs).argmax(1)], average="macro")


# --- leakage


def test_shuffled_grades_score_at_chance(graded, fitted):
    """The same features with grades dealt out at random: on other people nothing but chance may be left."""
    faces, inputs, grades = graded["train"]
    _, others, truth = graded["test"]
    rng = np.random.default_rng(0)
    chance = np.mean([f1_score(truth, rng.permutation(truth), average="macro") for _ in range(50)])
    shuffled = []
    for seed in range(3):
        dealt = np.random.default_rng(seed).permutation(grades)
        scorer = ScoreBasedFQA(CHEAP, **FAST, random_state=seed).fit_inputs(inputs, dealt, faces.identities)
        shuffled.append(macro_f1(scorer, others, truth))
    assert np.mean(shuffled) < chance + 0.05
    assert macro_f1(fitted, others, truth) > chance + 0.15


def test_test_people_leave_no_trace(orl):
    """Learned from the training people alone: whoever else is scored, before or after, changes nothing."""
    train, test = split_by_identity(orl[::5], random_state=0)
    first = ScoreBasedFQA("lbp-histogram", **FAST, n_copies=3).fit(train)
    before = {name: value.copy() for name, value in first.get_state().items()}
    first.score_samples(test)
    for name, value in first.get_state().items():
        np.testing.assert_array_equal(value, before[name])


def test_held_out_people_teach_no_weight_and_no_scale(graded):
    """Rows held out for stopping may end the training; with a fixed number of epochs they change nothing at all."""
    faces, inputs, grades = graded["train"]
    scorer = ScoreBasedFQA(CHEAP, pretrain_epochs=1, tune_epochs=1)
    state = scorer.fit_inputs(inputs, grades, faces.identities).get_state()
    generator = torch.Generator().manual_seed(0)
    people = np.unique(faces.identities)
    held_out = people[torch.randperm(len(people), generator=generator)[: round(0.2 * len(people))].numpy()]
    rows = np.isin(faces.identities, held_out)
    assert 0 < rows.sum() < len(rows)
    spoiled = {name: np.where(rows[:, None], values[::-1] * 3 + 1, values) for name, values in inputs.items()}
    other = ScoreBasedFQA(CHEAP, pretrain_epochs=1, tune_epochs=1)
    for name, value in other.fit_inputs(spoiled, grades, faces.identities).get_state().items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)


def test_copies_of_one_photograph_stay_together(orl):
    """Without identities each photograph is its own person: its copies are held out with it."""
    from fiqa_lib.scorers.score_based import _people

    scorer = ScoreBasedFQA(n_copies=3)
    unknown = scorer.training_set(orl.images[:5])
    people = _people(unknown)
    assert len(unknown) == 20 and len(set(people)) == 5
    assert all(len(set(people[k : k + 4])) == 1 for k in range(0, 20, 4))
    np.testing.assert_array_equal(_people(scorer.training_set(orl[:12]))[::4], orl.identities[:12])


# --- branches


@pytest.mark.parametrize("features", ["gist", "hog", "lbp", "lbp-histogram", "gist+lbp-histogram", ["hog", "gist"]])
def test_any_branch_can_be_left_out(orl, features):
    faces = orl[::20]
    scorer = ScoreBasedFQA(features, pretrain_epochs=1, tune_epochs=2, n_copies=4).fit(faces)
    names = features.split("+") if isinstance(features, str) else features
    assert list(scorer.autoencoders_) == names == list(scorer.scales_)
    probabilities = scorer.predict_proba(faces[:4])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert scorer.network_.shift.shape == (50 * len(names),)


def test_the_branch_of_the_recogniser(orl, dlib_resnet):
    faces = orl[::40]
    scorer = ScoreBasedFQA("cnn", recogniser=dlib_resnet, pretrain_epochs=1, tune_epochs=1, n_copies=4).fit(faces)
    assert scorer.scales_["cnn"][0].shape == (128,)
    alone = scorer.proba_of({"cnn": dlib_resnet.embed(faces)})
    np.testing.assert_allclose(scorer.predict_proba(faces), alone, atol=1e-4)


@pytest.mark.parametrize(
    "wrong, word",
    [
        ({"features": "gist+sift"}, "sift"),
        ({"features": ()}, "one or more"),
        ({"features": "gist+gist"}, "different"),
        ({"grading": "taste"}, "grading"),
        ({"tune": "some"}, "tune"),
        ({"dropout": 1.0}, "dropout"),
        ({"n_copies": -1}, "n_copies"),
        ({"sizes": "vast"}, "vast"),
        ({"scaling": "raw"}, "scaling"),
        ({"fusion": 0}, "sizes"),
        ({"random_state": None}, "random_state"),
    ],
)
def test_settings_that_make_no_sense_are_refused(orl, wrong, word):
    settings = {"features": "lbp-histogram", "pretrain_epochs": 1, "tune_epochs": 1, "n_copies": 4, **wrong}
    with pytest.raises(DataError, match=word):
        ScoreBasedFQA(**settings).fit(orl[::40])


# --- grades


def test_copies_are_made_and_graded_by_severity(orl):
    taught = ScoreBasedFQA(n_copies=4).training_set(orl[:6])
    assert len(taught) == 30
    np.testing.assert_array_equal(ScoreBasedFQA().grades_of(taught), by_severity(taught))


def test_degraded_faces_are_taken_as_they_are(graded):
    faces = graded["train"][0]
    assert ScoreBasedFQA(n_copies=9).training_set(faces) is faces


def test_the_users_own_grades_count(orl):
    """Grades that contradict the severity are believed: the user's word is the label."""
    faces = benchmark(orl[::10], severities=(0.2, 0.5, 0.9), copies=3)
    contrary = np.array(GRADES)[::-1][[GRADES.index(g) for g in by_severity(faces)]]
    scorer = ScoreBasedFQA("lbp-histogram", pretrain_epochs=3, tune_epochs=20, learning_rate=1e-3)
    usual = scorer.fit(faces).score_samples(faces)
    turned = scorer.fit(faces.with_attributes(grade=contrary)).score_samples(faces)
    assert np.corrcoef(usual, turned)[0, 1] < -0.5


def test_grading_by_recognition(orl, dlib_resnet):
    faces = orl[: 4 * 10]
    scorer = ScoreBasedFQA(grading="recognition", n_copies=4, recogniser=dlib_resnet)
    taught = scorer.training_set(faces)
    embeddings = dlib_resnet.embed(taught)
    expected = RecognitionRule(dlib_resnet).fit(taught, embeddings).grade(taught, embeddings)
    np.testing.assert_array_equal(scorer.grades_of(taught, embeddings), expected)
    assert len(set(expected)) == 3


def test_a_grade_that_nobody_has_is_named(orl):
    with pytest.raises(DataError, match="graded 'bad'"):
        ScoreBasedFQA("lbp-histogram", n_copies=0).fit(orl[:20])
    with pytest.raises(DataError, match="'fair'"):
        ScoreBasedFQA("lbp-histogram").fit(orl[:3].with_attributes(grade=["good", "bad", "fair"]))
    with pytest.raises(DataError, match="3 identities"):
        ScoreBasedFQA("lbp-histogram").fit(orl[:2], ["a", "b", "c"])


def test_many_faces_are_thinned_evenly(orl):
    taught = ScoreBasedFQA(max_faces=80, n_copies=0).training_set(orl)
    people, counts = np.unique(taught.identities, return_counts=True)
    assert len(people) == 40 and set(counts) == {2}
    assert len(ScoreBasedFQA(max_faces=5, n_copies=2).training_set(orl)) == 15


# --- answers


def test_probabilities_grades_and_score_agree(fitted, graded):
    faces, inputs, _ = graded["test"]
    probabilities = fitted.predict_proba(faces[:10])
    np.testing.assert_allclose(probabilities, fitted.proba_of({n: x[:10] for n, x in inputs.items()}), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert list(fitted.classes_) == ["bad", "average", "good"]
    np.testing.assert_array_equal(fitted.predict(faces[:10]), fitted.classes_[probabilities.argmax(1)])
    np.testing.assert_allclose(fitted.score_samples(faces[:10]), probabilities @ [0, 0.5, 1])
    np.testing.assert_allclose(expected_grade([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0, 0.5]]), [0, 0.5, 1, 0.5])
    for answer in (fitted.predict(faces[:0]), fitted.predict_proba(faces[:0]), fitted.score_samples(faces[:0])):
        assert len(answer) == 0


def test_grades_tune_the_layers_that_pretraining_made(graded, fitted):
    faces, inputs, grades = graded["train"]
    before = fitted.autoencoders_["gist"].encoder_[0][0].weight
    assert not torch.equal(fitted.network_.encoders[0][0][0].weight, before)
    head = ScoreBasedFQA(CHEAP, **FAST, tune="head").fit_inputs(inputs, grades, faces.identities)
    assert torch.equal(head.network_.encoders[0][0][0].weight, head.autoencoders_["gist"].encoder_[0][0].weight)
    stages = fitted.history_.groupby("part")["stage"].unique().to_dict()
    assert set(stages) == {"gist", "lbp-histogram", "fusion", "classifier"} and list(stages["classifier"]) == ["tuning"]


def test_without_pretraining_there_is_no_history_of_it(graded):
    faces, inputs, grades = graded["train"]
    scorer = ScoreBasedFQA(CHEAP, pretrain_epochs=0, tune_epochs=2).fit_inputs(inputs, grades, faces.identities)
    assert set(scorer.history_["part"]) == {"classifier"}


def test_unit_scaling_takes_rows_beyond_the_training_range(graded):
    faces, inputs, grades = graded["train"]
    scorer = ScoreBasedFQA(CHEAP, scaling="unit", **FAST).fit_inputs(inputs, grades, faces.identities)
    far = {name: values[:5] * 100 for name, values in inputs.items()}
    at_the_edge = {name: np.maximum(x[:5], 0) + 1e9 * (x[:5] > 0) for name, x in inputs.items()}
    assert np.isfinite(scorer.proba_of(far)).all() and np.isfinite(scorer.proba_of(at_the_edge)).all()


def test_other_randomness_is_left_alone(graded):
    faces, inputs, grades = graded["train"]
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    ScoreBasedFQA(CHEAP, pretrain_epochs=1, tune_epochs=1).fit_inputs(inputs, grades, faces.identities)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_file_of_other_branches_does_not_fit(graded, fitted, tmp_path):
    path = fitted.save(tmp_path / "state.npz")
    with pytest.raises(WeightsError, match="does not fit"):
        ScoreBasedFQA.load(path, features="hog")
    again = ScoreBasedFQA.load(path)
    _, inputs, _ = graded["test"]
    np.testing.assert_array_equal(again.proba_of(inputs), fitted.proba_of(inputs))


def test_faces_in_an_array_serve_as_well(orl):
    images = orl.images[::25]
    scorer = ScoreBasedFQA("lbp-histogram", pretrain_epochs=1, tune_epochs=1, n_copies=4)
    names = [str(k) for k in range(len(images))]
    one, other = scorer.fit(images).score_samples(images), None
    other = scorer.fit(Faces(images, [""] * len(images), names)).score_samples(images)
    np.testing.assert_array_equal(one, other)
    assert set(FEATURES) >= set(scorer.feature_names())
