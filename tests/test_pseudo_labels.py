"""SDD-FIQA labels: equal to a slow literal implementation given the same draws, and draws that are what they claim."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr, wasserstein_distance

from fiqa_lib import pseudo_labels
from fiqa_lib.errors import DataError
from fiqa_lib.pseudo_labels import sdd_draws, sdd_labels, sdd_labels_exact, wasserstein_sorted


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


@pytest.mark.parametrize("draws", pseudo_labels.DRAWS)
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


@pytest.mark.parametrize("draws", pseudo_labels.DRAWS)
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


@pytest.mark.parametrize("draws", pseudo_labels.DRAWS)
def test_ranks_as_the_exact_labels_do(draws):
    embeddings, people = synthetic([12] * 400, dim=512)
    embeddings = embeddings.astype(np.float32)
    exact = sdd_labels_exact(embeddings, people)
    assert spearmanr(sdd_labels(embeddings, people, random_state=0, draws=draws).labels, exact.labels)[0] >= 0.999


@pytest.mark.parametrize("draws", pseudo_labels.DRAWS)
def test_ranks_as_the_exact_labels_do_on_faces(orl, orl_embeddings, draws):
    embeddings = orl_embeddings - orl_embeddings.mean(axis=0)
    exact = sdd_labels_exact(embeddings, orl.identities)
    assert (
        spearmanr(sdd_labels(embeddings, orl.identities, random_state=0, draws=draws).labels, exact.labels)[0] >= 0.99
    )


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
