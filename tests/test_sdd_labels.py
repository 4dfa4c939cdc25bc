"""SDD-FIQA labels: equal to a slow literal implementation given the same draws, and draws that are what they claim."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr, wasserstein_distance

from fiqa_lib.errors import DataError
from fiqa_lib.labels import scale_distances, sdd_draws, sdd_labels, sdd_labels_exact
from fiqa_lib.labels.sdd import SCALES, scaled_repeats
from fiqa_lib.labels.sdd_distances import DRAWS, distinct, spread, usable_rows, wasserstein_sorted


def synthetic(counts, dim=16, seed=0):
    """Embeddings whose distance from their person's centre differs from image to image; rows are shuffled."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    noise = rng.uniform(0.3, 2.5, len(people))
    return rng.normal(size=(len(counts), dim))[people] + noise[:, None] * rng.normal(size=(len(people), dim)), people


def literal(embeddings, mates, strangers):
    """The definition, pair by pair: (N, n_repeats) distances."""
    out = np.full(mates.shape[:2], np.nan)
    for i in range(len(embeddings)):
        for repeat in range(mates.shape[1]):
            samples = []
            for others in (mates[i, repeat], strangers[i, repeat]):
                cosines = []
                for j in others[others >= 0]:
                    a, b = embeddings[i], embeddings[j]
                    cosines.append(float(np.dot(a, b)) / math.sqrt(np.dot(a, a)) / math.sqrt(np.dot(b, b)))
                samples.append(cosines)
            if samples[0]:
                out[i, repeat] = wasserstein_distance(*samples)
    return out


SETS = {
    "equal people": [12] * 20,
    "all sizes, singletons too": [1, 1, 2, 3, 5, 24, 25, 26, 60, 1],
    "one person has most": [150, 2, 3, 1],
    "two people": [3, 4],
    "larger than the pool": [700, 5, 40],
}


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("counts", SETS.values(), ids=SETS)
def test_equal_to_a_literal_implementation(counts, draws):
    embeddings, people = synthetic(counts)
    options = {"n_samples": 5, "n_repeats": 3, "random_state": 7, "draws": draws}
    found = sdd_labels(embeddings, people, **options)
    mates, strangers = sdd_draws(people, **options)
    expected = literal(embeddings, mates, strangers)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-9, atol=1e-12)
    low, high = np.nanmin(expected, axis=0), np.nanmax(expected, axis=0)
    np.testing.assert_allclose(found.labels, ((expected - low) / (high - low) * 100).mean(axis=1), rtol=1e-9, atol=1e-9)
    alone = np.array(counts)[people] == 1
    assert (found.status == np.where(alone, "singleton", "ok")).all()
    assert (np.isnan(found.labels) == alone).all()


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("counts", SETS.values(), ids=SETS)
def test_draws_are_distinct_and_of_the_right_people(counts, draws):
    _, people = synthetic(counts)
    mates, strangers = sdd_draws(people, n_samples=5, n_repeats=3, random_state=1, draws=draws)
    for i, person in enumerate(people):
        same = np.flatnonzero(people == person)
        for drawn, allowed in ((mates[i], np.setdiff1d(same, i)), (strangers[i], np.flatnonzero(people != person))):
            for repeat in drawn:
                taken = repeat[repeat >= 0]
                assert len(taken) == min(5, len(allowed)) == len(np.unique(taken))
                assert np.isin(taken, allowed).all()


def test_exact_is_every_positive_against_every_negative():
    embeddings, people = synthetic([1, 2, 3, 8, 70])
    found = sdd_labels_exact(embeddings, people, scale="none")
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ unit.T
    for i, person in enumerate(people):
        mates = cosines[i, (people == person) & (np.arange(len(people)) != i)]
        if len(mates) == 0:
            assert found.status[i] == "singleton" and np.isnan(found.labels[i])
            continue
        assert found.labels[i] == pytest.approx(wasserstein_distance(mates, cosines[i, people != person]), rel=1e-9)


def test_quantiles_agree_with_scipy():
    rng = np.random.default_rng(0)
    for k, m in ((1, 1), (1, 24), (11, 24), (24, 24), (24, 7), (5, 999)):
        a, b = rng.normal(size=(3, k)), rng.normal(1, 2, size=(3, m))
        expected = [wasserstein_distance(x, y) for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(wasserstein_sorted(np.sort(a), np.sort(b)), expected, rtol=1e-12)


@pytest.mark.parametrize("draws", DRAWS)
def test_ranks_as_the_exact_labels_do(draws):
    embeddings, people = synthetic([12] * 400, dim=512)
    embeddings = embeddings.astype(np.float32)
    exact = sdd_labels_exact(embeddings, people)
    assert spearmanr(sdd_labels(embeddings, people, random_state=0, draws=draws).labels, exact.labels)[0] >= 0.999


def test_ranks_as_the_exact_labels_do_on_faces(orl, orl_embeddings):
    """On 400 faces 12 x 24 strangers leave some out: 0.998 to 0.999; with 16 x 24 hardly any, and more than 0.999."""
    for embeddings in (orl_embeddings, orl_embeddings - orl_embeddings.mean(axis=0)):
        exact = sdd_labels_exact(embeddings, orl.identities).labels
        for repeats, least in ((12, 0.9975), (16, 0.999)):
            for seed in range(3):
                found = sdd_labels(embeddings, orl.identities, n_repeats=repeats, random_state=seed)
                assert spearmanr(found.labels, exact)[0] >= least, (repeats, seed)


def test_spread_hands_leave_less_noise_than_independent_draws(orl, orl_embeddings):
    exact = sdd_labels_exact(orl_embeddings, orl.identities, scale="none").labels

    def error(draws):
        found = [
            sdd_labels(orl_embeddings, orl.identities, random_state=s, draws=draws, scale="none") for s in range(5)
        ]
        return np.sqrt(np.mean([(x.labels - exact) ** 2 for x in found]))

    assert error("pooled") < error("independent") / 2


@pytest.mark.parametrize("population, count, repeats", [(10, 3, 4), (25, 24, 2), (24, 24, 3), (401, 24, 12), (7, 1, 1)])
def test_spread_hands_are_distinct_and_all_numbers_equally_likely(population, count, repeats):
    rng = np.random.default_rng(0)
    hands = np.array([spread(rng, population, count, repeats) for _ in range(4000)])
    assert hands.shape == (4000, repeats, count)
    assert (np.diff(np.sort(hands), axis=2) > 0).all()
    for repeat in range(repeats):
        often = np.bincount(hands[:, repeat].ravel(), minlength=population) / 4000
        expected = count / population
        np.testing.assert_allclose(often, expected, atol=5 * math.sqrt(expected * (1 - expected) / 4000) + 1e-9)


def test_spread_hands_seldom_meet():
    """12 x 24 of 400: never a number twice but where two steps meet."""
    rng = np.random.default_rng(0)
    seen = [len(np.unique(spread(rng, 400, 24, 12))) for _ in range(50)]
    assert min(seen) > 280


def test_a_period_of_the_list_does_not_meet_that_of_the_steps():
    """Ten images of each person in the same order of kinds, 24 steps of ten: a hand must not be of one kind."""
    rng = np.random.default_rng(0)
    hands = np.concatenate([spread(rng, 240, 24, 12) for _ in range(20)])
    assert min(len(np.unique(hand % 10)) for hand in hands) >= 4


@pytest.mark.parametrize("draws", DRAWS)
def test_every_stranger_is_as_likely(draws):
    """Over many seeds, for one image."""
    _, people = synthetic([4] * 15)
    counts = np.zeros(60)
    for seed in range(1500):
        _, strangers = sdd_draws(people, n_samples=5, n_repeats=2, random_state=seed, draws=draws)
        counts += np.bincount(strangers[0].ravel(), minlength=60)
    others = counts[people != people[0]]
    assert counts.sum() == others.sum() == 1500 * 10
    expected = 1500 * 10 / 56
    assert np.abs(others - expected).max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize("population, count", [(5, 5), (6, 2), (100, 10)])
def test_floyds_sets_are_equally_likely(population, count):
    found = np.sort(distinct(np.random.default_rng(0), np.full(20000, population), count))
    assert (np.diff(found, axis=1) > 0).all() and found.min() >= 0 and found.max() < population
    often = np.bincount(found.ravel(), minlength=population) / 20000
    np.testing.assert_allclose(often, count / population, atol=0.02)
    if population == 6:
        assert len(np.unique(found, axis=0)) == 15


def test_neither_threads_nor_memory_nor_kind_of_array_matter(tmp_path):
    embeddings, people = synthetic([12] * 60 + [300], dim=32)
    embeddings = embeddings.astype(np.float32)
    np.save(tmp_path / "e.npy", embeddings)
    reference = sdd_labels(embeddings, people, random_state=3, n_jobs=1).distances
    for options in ({"n_jobs": 2}, {"n_jobs": 5, "max_memory": 40e6}):
        np.testing.assert_array_equal(sdd_labels(embeddings, people, random_state=3, **options).distances, reference)
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    np.testing.assert_array_equal(sdd_labels(mapped, people, random_state=3).distances, reference)
    np.testing.assert_array_equal(sdd_labels(embeddings.tolist(), people, random_state=3).distances[:5].shape, (5, 12))
    assert (sdd_labels(embeddings, people, random_state=4).distances != reference).any()
    once, twice = (sdd_labels(embeddings, people).distances for _ in range(2))
    assert (once != twice).any()
    one, two = (sdd_labels_exact(embeddings, people, n_jobs=n).distances for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(DataError, match="max_memory"):
        sdd_labels(embeddings, people, max_memory=1e5)


def test_versions_of_one_photograph_are_no_mates():
    embeddings, people = synthetic([9, 12, 30, 2])
    sources = np.empty(len(people), int)
    for person in range(4):
        sources[people == person] = person * 100 + np.arange((people == person).sum()) // 3
    for draws in DRAWS:
        options = {"n_samples": 5, "n_repeats": 3, "random_state": 0, "draws": draws, "sources": sources}
        mates, strangers = sdd_draws(people, **options)
        for i in range(len(people)):
            taken = mates[i][mates[i] >= 0]
            assert (people[taken] == people[i]).all() and (sources[taken] != sources[i]).all()
        found = sdd_labels(embeddings, people, **options)
        np.testing.assert_allclose(found.distances, literal(embeddings, mates, strangers), rtol=1e-9, atol=1e-12)
        assert (found.status[people == 3] == "singleton").all()  # two versions of one photograph
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    exact = sdd_labels_exact(embeddings, people, sources=sources, scale="none").labels
    for i in np.flatnonzero(people < 3)[:10]:
        mates = (people == people[i]) & (sources != sources[i])
        cosines = unit @ unit[i]
        assert exact[i] == pytest.approx(wasserstein_distance(cosines[mates], cosines[people != people[i]]), rel=1e-9)


def test_one_outlier_moves_everybody_on_one_scale_and_nobody_on_the_other():
    rng = np.random.default_rng(0)
    distances = rng.normal(0.5, 0.1, (1000, 3))
    spoilt = distances.copy()
    spoilt[0] = 10
    moved = {
        scale: np.abs(scale_distances(distances, scale)[1:] - scale_distances(spoilt, scale)[1:]).max()
        for scale in SCALES
    }
    assert moved["minmax"] > 50 and moved["robust"] < 2 and moved["none"] == 0
    robust = scaled_repeats(spoilt, "robust")
    assert robust.min() == 0 and robust.max() == 100
    spoilt[5] = np.nan
    assert np.isnan(scale_distances(spoilt, "robust")[5])
    assert (scale_distances(np.ones((4, 2))) == 50).all()


@pytest.mark.parametrize(
    "wrong, word",
    [
        ({"n_samples": 0}, "n_samples"),
        ({"n_repeats": 1.5}, "n_repeats"),
        ({"scale": "z"}, "scale"),
        ({"draws": "some"}, "draws"),
        ({"random_state": -1}, "random_state"),
        ({"sources": [1, 2]}, "sources"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, word):
    embeddings, people = synthetic([3, 3])
    with pytest.raises(DataError, match=word):
        sdd_labels(embeddings, people, **wrong)


def test_nan_and_unknown_people_are_named():
    embeddings, people = synthetic([3, 3])
    for row, value in ((2, np.nan), (4, 0.0)):
        spoilt = embeddings.copy()
        spoilt[row] = value
        with pytest.raises(DataError, match=f"row {row}"):
            sdd_labels(spoilt, people)
    with pytest.raises(DataError, match="unknown"):
        sdd_labels(embeddings, ["a", "a", "b", "b", "", "c"])
    with pytest.raises(DataError, match="two people"):
        sdd_labels(embeddings, ["a"] * 6)
    with pytest.raises(DataError, match="two images"):
        sdd_labels(embeddings, list("abcdef"))


def test_a_direction_needs_a_length():
    rows = np.ones((5, 4), np.float32)
    rows[0], rows[1], rows[2], rows[3, 2] = 1e15, 1e30, 0, np.inf  # the second is too long to be squared
    assert list(usable_rows(rows)) == [True, False, False, False, True]
    assert list(usable_rows(np.array([[0, 0], [0, 3]], np.int8))) == [False, True]
