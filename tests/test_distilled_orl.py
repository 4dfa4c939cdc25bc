"""Labels of several teachers against literal definitions, and the student that learns them."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from fiqa_lib.data import split_by_identity
from fiqa_lib.errors import DataError
from fiqa_lib.labels import agreement, certainty_ratio, class_similarities, ensemble
from fiqa_lib.scorers.distilled_orl import DistilledOrl
from fiqa_lib.scorers.sdd_fiqa import layer_statistics
from fiqa_lib.transforms import degrade, mirror


@pytest.fixture
def crowd(rng_seed=7):
    """Embeddings of 4 people with 3 photographs each, clean and one degraded copy of each."""
    rng = np.random.default_rng(rng_seed)
    centres = rng.normal(size=(4, 8))
    clean = np.repeat(centres, 3, axis=0) + 0.3 * rng.normal(size=(12, 8))
    embeddings = np.concatenate([clean, clean + rng.normal(size=clean.shape)])
    people, photographs = np.tile(np.repeat(list("abcd"), 3), 2), np.tile([f"p{i}" for i in range(12)], 2)
    return embeddings, people, photographs, np.arange(24) < 12


def cos(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def literal(embeddings, people, photographs, clean, row):
    unit = [e / np.linalg.norm(e) for e in embeddings]
    own = [
        u for u, p, s, c in zip(unit, people, photographs, clean, strict=True)
        if c and p == people[row] and s != photographs[row]
    ]  # fmt: skip
    others = [
        np.mean([u for u, p, c in zip(unit, people, clean, strict=True) if c and p == person], axis=0)
        for person in set(people) - {people[row]}
    ]
    return cos(unit[row], np.mean(own, axis=0)), max(cos(unit[row], centre) for centre in others)


def test_class_similarities_are_their_definition(crowd):
    own, other = class_similarities(*crowd)
    for row in range(24):
        np.testing.assert_allclose((own[row], other[row]), literal(*crowd, row), atol=1e-9)
    np.testing.assert_allclose(certainty_ratio(*crowd), own / (other + 1), atol=1e-6)


def test_a_person_with_one_photograph_has_no_label_but_counts_as_a_stranger(crowd):
    embeddings, people, photographs, clean = crowd
    alone = np.ones(24, bool)
    alone[[1, 2, 13, 14]] = False
    own, other = class_similarities(embeddings[alone], people[alone], photographs[alone], clean[alone])
    assert np.isnan(own[:1]).all() and np.isfinite(own[1:10]).all() and np.isnan(own[10]) and np.isfinite(other).all()


def test_one_person_is_too_few(crowd):
    embeddings, people, photographs, clean = crowd
    with pytest.raises(DataError, match="two or more people"):
        class_similarities(embeddings[:3], people[:3], photographs[:3], clean[:3])


def test_ensemble_is_a_mean_of_ranks():
    a, b = [0.1, 0.2, 0.9, np.nan], [10, 30, 20, 40]
    np.testing.assert_allclose(ensemble({"one": a, "two": b}.values()), [1 / 3, 2.5 / 3, 2.5 / 3, np.nan])
    np.testing.assert_array_equal(ensemble([a]), ensemble([np.exp(a)]))  # scale and tails do not matter
    with pytest.raises(DataError, match="no face has all"):
        ensemble([[np.nan, 1.0], [1.0, np.nan]])


def test_agreement_falls_with_blur_and_forgets_the_batch(orl):
    faces = orl[::100]
    found = agreement(faces)
    assert found.shape == (4,) and (np.abs(found) <= 1).all()
    np.testing.assert_allclose([agreement(face)[0] for face in faces], found, atol=1e-5)
    assert agreement(degrade(faces, "gaussian_blur", 1.0)).mean() < found.mean()


def test_the_student_is_a_ridge_regression_on_one_pass(orl, dlib_resnet):
    people = orl[:60]
    student = DistilledOrl(n_copies=1, alpha=50.0).fit(people)
    looked = student.look(people)
    label = ensemble([certainty_ratio(*(looked[c] for c in ("embeddings", "identities", "sources", "clean")))])
    alone = DistilledOrl(("certainty",), n_copies=1, alpha=50.0).fit(people)
    x, y = np.concatenate([looked["features"], looked["mirrored"]]).astype(float), np.tile(label, 2)
    mean, scale = x.mean(0), x.std(0)
    by_hand = Ridge(50.0).fit((x - mean) / np.where(scale == 0, 1, scale), y)
    seen = layer_statistics(dlib_resnet, orl.images[60:70])[0].astype(float)
    expected = by_hand.predict((seen - mean) / np.where(scale == 0, 1, scale))
    np.testing.assert_allclose(alone.score_samples(orl[60:70]), expected, atol=1e-4)
    assert (student.score_samples(orl[60:70]) != alone.score_samples(orl[60:70])).all()
    np.testing.assert_allclose(looked["mirrored"], layer_statistics(dlib_resnet, mirror(_copies(people)))[0], atol=1e-4)


def _copies(people):
    from fiqa_lib.data import with_copies

    return with_copies(people, 1).images


def test_it_ranks_faces_of_unseen_people_as_its_teachers_would(orl):
    train, test = split_by_identity(orl, random_state=0)
    student = DistilledOrl(n_copies=3).fit(train)
    looked = student.look(test[:60])
    told = ensemble(student.labels(looked))
    agreed = spearmanr(student.predict_features(looked["features"]), told).statistic
    rng, chance, other = np.random.default_rng(0), [], student.look(test[60:100])
    told_of_others = ensemble(student.labels(other))
    for _ in range(8):  # one alone may go with quality by 0.3 either way: that is what the features differ in most
        confused = student.fit_features(looked["features"], looked["mirrored"], rng.permutation(told))
        chance.append(spearmanr(confused.predict_features(other["features"]), told_of_others).statistic)
    assert agreed > 0.6 and abs(np.mean(chance)) < 0.3, (agreed, chance)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"taught_by": ("nobody",)}, "taught_by takes"),
        ({"taught_by": ()}, "taught_by takes"),
        ({"taught_by": "sdd"}, "sequence"),
        ({"taught_by": ("sdd", "sdd")}, "each once"),
        ({"alpha": 0}, "alpha"),
        ({"recogniser": "lbp"}, "blocks"),
    ],
)
def test_wrong_settings_are_refused(orl, settings, reason):
    with pytest.raises(DataError, match=reason):
        DistilledOrl(**({"n_copies": 1} | settings)).fit(orl[:20])


def test_people_are_needed(orl):
    with pytest.raises(DataError, match="pass Faces"):
        DistilledOrl(n_copies=1).fit(orl.images[:4])
    with pytest.raises(DataError, match="no other clean|another clean|no face has all"):
        DistilledOrl(n_copies=1).fit(orl[::10])
