"""Scores as chances and grades, against definitions written out face by face."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from fiqa_lib.data.pairs import PairIndices
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.evaluation import calibration as c


def world(n=4000, seed=0):
    """Scores, and faces that fail with a chance that falls with the score."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    truth = 0.6 / (1 + np.exp(2 * scores + 1))
    return scores, truth, (rng.random(n) < truth).astype(float)


# --- what is learned from


def slow_shares(scores, pairs, similarity, threshold, good):
    ranked = sorted(scores, reverse=True)
    least = ranked[max(math.ceil(good * len(scores) - 1e-12), 1) - 1]
    out = []
    for face in range(len(scores)):
        tries = []
        for a, b, mated, s in zip(*pairs, similarity, strict=True):
            if mated and face in (a, b):
                partner = b if a == face else a
                if scores[partner] >= least and scores[partner] > -math.inf:
                    tries.append(s < threshold)
        out.append(sum(tries) / len(tries) if tries else math.nan)
    return out


@pytest.mark.parametrize("good", [0.2, 0.5, 1.0])
def test_non_match_shares_are_the_definition(good):
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(8), 4)
    a, b = np.triu_indices(len(people), 1)
    pairs = PairIndices(a, b, people[a] == people[b])
    scores = np.round(rng.normal(size=len(people)), 1)
    scores[[3, 17]] = -np.inf
    similarity = rng.normal(size=len(a))
    similarity[::9] = -np.inf
    found = c.non_match_shares(scores, pairs, similarity, 0.1, good=good)
    np.testing.assert_allclose(found, slow_shares(scores, pairs, similarity, 0.1, good))
    if good == 1:
        assert not np.isnan(found).any()


def test_shares_refuse_what_they_cannot_read():
    pairs = PairIndices(np.array([0]), np.array([1]), np.array([True]))
    with pytest.raises(DataError, match="NaN"):
        c.non_match_shares([np.nan, 1], pairs, [0.5], 0.1)
    with pytest.raises(DataError, match="above 0"):
        c.non_match_shares([0, 1], pairs, [0.5], 0.1, good=0)


# --- chance and grade


def test_chance_is_isotonic_regression():
    scores, _, failed = world()
    made = c.Calibration().fit(scores, failed)
    theirs = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(scores, failed)
    grid = np.linspace(-6, 6, 501)
    np.testing.assert_allclose(made.chance(grid), theirs.predict(grid), atol=1e-12)
    assert np.all(np.diff(made.chance(grid)) <= 0)
    assert made.chance([-np.inf, -1e9]).tolist() == [1.0, made.chances_[0]]


def slow_pava(values):
    """Falling means by pooling neighbours that rise, one after the other."""
    blocks = [[v] for v in values]
    while True:
        for i in range(len(blocks) - 1):
            if np.mean(blocks[i]) < np.mean(blocks[i + 1]):
                blocks[i : i + 2] = [blocks[i] + blocks[i + 1]]
                break
        else:
            return [np.mean(block) for block in blocks for _ in block]


def test_chance_is_the_pooling_of_neighbours_that_rise():
    rng = np.random.default_rng(1)
    scores, failed = np.arange(30.0), (rng.random(30) < np.linspace(0.9, 0.1, 30)).astype(float)
    shuffled = rng.permutation(30)
    made = c.Calibration().fit(scores[shuffled], failed[shuffled])
    np.testing.assert_allclose(made.chance(scores), slow_pava(failed), atol=1e-12)


def test_grades_are_shares_of_faces_that_score_lower():
    scores, _, failed = world(3000)
    made = c.Calibration().fit(scores, failed)
    probe = np.array([-9, -1, 0, 0.5, 2, 9.0])
    np.testing.assert_allclose(made.grade(probe), [100 * np.mean(scores < x) for x in probe], atol=0.1)
    assert np.all(np.diff(made.grade(np.linspace(-5, 5, 300))) >= 0)
    assert made.grade([-np.inf]).tolist() == [0]


def test_grades_of_few_values_and_of_missing_faces():
    scores = np.repeat([1.0, 2.0, 3.0], [200, 500, 300])
    made = c.Calibration().fit(scores, scores < 2)
    np.testing.assert_allclose(made.grade([0.5, 1, 2, 3, 3.5]), [0, 10, 45, 85, 100], atol=0.15)
    with_missing = c.Calibration().fit(np.append(scores, np.full(1000, -np.inf)), np.append(scores < 2, np.ones(1000)))
    np.testing.assert_allclose(with_missing.grade([-np.inf, 1, 2, 3]), [0, 55, 72.5, 92.5], atol=0.15)
    assert with_missing.missing_ == 0.5


@pytest.mark.parametrize(
    ("scores", "outcomes", "message"),
    [
        ([0, 1, np.nan], [0, 1, 0], "NaN"),
        ([0, 1, np.inf], [0, 1, 0], r"\+inf"),
        ([0, 1], [0, 2], "between 0"),
        ([0, 1], [0, 1, 0], "2 scores"),
        ([1, 1, -np.inf], [0, 1, 1], "two different"),
        ([0, 1], [np.nan, 1], "two different"),
    ],
)
def test_bad_input_is_refused(scores, outcomes, message):
    with pytest.raises(DataError, match=message):
        c.Calibration().fit(scores, outcomes)


def test_what_is_not_fitted_says_so(tmp_path):
    for call in (lambda m: m.chance([0]), lambda m: m.grade([0]), lambda m: m.save(tmp_path / "a.npz")):
        with pytest.raises(DataError, match="has not been fitted"):
            call(c.Calibration())


# --- how good it is, on others


def slow_ece(chance, outcome, bins):
    rows = sorted(zip(chance, outcome, strict=True))
    groups = {}
    for x, y in rows:
        first = next(i for i, (other, _) in enumerate(rows) if other == x)
        groups.setdefault(first * bins // len(rows), []).append((x, y))
    return sum(len(g) * abs(np.mean([x for x, _ in g]) - np.mean([y for _, y in g])) for g in groups.values()) / len(
        rows
    )


def test_expected_calibration_error_is_the_definition():
    rng = np.random.default_rng(0)
    for size, bins in ((1, 10), (7, 3), (60, 10), (60, 1), (100, 100)):
        chance, outcome = np.round(rng.random(size), 1), rng.integers(0, 2, size).astype(float)
        assert c.expected_calibration_error(chance, outcome, bins=bins) == pytest.approx(
            slow_ece(chance, outcome, bins)
        )
    assert c.expected_calibration_error([0.5, 0.5], [0, 1]) == 0
    assert c.expected_calibration_error([0.0, 1.0], [1, 0]) == 1
    assert c.expected_calibration_error([0.2, 0.9], [np.nan, 1]) == pytest.approx(0.1)
    for wrong in (([0.1], [0, 1]), ([1.2], [1]), ([np.nan], [1]), ([0.1], [np.nan]), ([0.1], [3])):
        with pytest.raises(DataError):
            c.expected_calibration_error(*wrong)
    with pytest.raises(DataError, match="bins"):
        c.expected_calibration_error([0.1], [0], bins=0)


def test_on_other_faces_it_is_calibrated_and_a_wrong_one_is_not():
    scores, _, failed = world(6000, seed=1)
    others, truth, came = world(6000, seed=2)
    made = c.Calibration().fit(scores, failed)
    assert c.expected_calibration_error(made.chance(others), came) < 0.02
    np.testing.assert_allclose(made.chance(others).mean(), truth.mean(), atol=0.02)
    assert c.expected_calibration_error(made.chance(others) ** 0.5, came) > 0.1
    for share in (0.05, 0.2, 0.5):
        assert abs(np.mean(others < made.threshold_for(share=share)) - share) < 0.03


# --- thresholds


def slow_threshold(scores, share=None, outcomes=None, fnmr=None):
    """The lowest (fnmr) or highest (share) of the scores that does it."""
    candidates = sorted({s for s in scores if s > -math.inf})
    if share is not None:
        fits = [t for t in candidates if sum(s < t for s in scores) <= share * len(scores) + 1e-9]
        return max(fits, default=candidates[0])
    for t in candidates:
        kept = [y for s, y in zip(scores, outcomes, strict=True) if s >= t and not math.isnan(y)]
        if kept and sum(kept) / len(kept) <= fnmr + 1e-12:
            return t
    return None


def test_thresholds_are_the_definition():
    rng = np.random.default_rng(4)
    for _ in range(60):
        n = int(rng.integers(1, 30))
        scores, outcomes = np.round(rng.normal(size=n), 1), rng.integers(0, 2, n).astype(float)
        scores[rng.random(n) < 0.15] = -np.inf
        outcomes[rng.random(n) < 0.1] = np.nan
        if np.isneginf(scores).all():
            with pytest.raises(DataError, match="no face has a score"):
                c.threshold_for(scores, share=0.2)
            continue
        for share in (0, 0.1, 0.33, 0.9):
            assert c.threshold_for(scores, share=share) == slow_threshold(scores, share)
        for fnmr in (0, 0.2, 0.5, 1):
            expected = slow_threshold(scores, None, outcomes, fnmr)
            known = scores[(scores > -np.inf) & ~np.isnan(outcomes)]
            if expected is None or not len(known):
                with pytest.raises(DataError, match="no threshold leaves"):
                    c.threshold_for(scores, non_match=outcomes, fnmr=fnmr)
                continue
            found = c.threshold_for(scores, non_match=outcomes, fnmr=fnmr)
            assert np.array_equal(known >= found, known >= expected)


def test_thresholds_refuse_what_they_cannot_read():
    for wrong, message in (
        ({}, "say one"),
        ({"share": 0.1, "fnmr": 0.1}, "say one"),
        ({"share": 1.0}, "leaves no face"),
        ({"share": 1.5}, "between 0 and 1"),
        ({"fnmr": 0.1}, "needs non_match"),
    ):
        with pytest.raises(DataError, match=message):
            c.threshold_for([0.0, 1.0], **wrong)


def test_the_calibrations_own_threshold_counts_missing_faces():
    scores = np.append(np.linspace(0, 1, 800), np.full(200, -np.inf))
    made = c.Calibration().fit(scores, np.append(np.linspace(1, 0, 800), np.ones(200)))
    for share in (0.1, 0.2, 0.4, 1.0):
        assert np.mean(scores < made.threshold_for(share=share)) == pytest.approx(max(share, 0.2), abs=0.002)


# --- files


def test_a_calibration_comes_back_from_its_file(tmp_path):
    scores, _, failed = world(500)
    made = c.Calibration().fit(scores, failed, about={"method": "sharpness", "fmr": 1e-3})
    again = c.Calibration.load(made.save(tmp_path / "sharpness.npz"))
    grid = np.append(np.linspace(-4, 4, 99), -np.inf)
    np.testing.assert_array_equal(made.chance(grid), again.chance(grid))
    np.testing.assert_array_equal(made.grade(grid), again.grade(grid))
    assert made.threshold_for(share=0.2) == again.threshold_for(share=0.2)
    assert again.about_ == {"method": "sharpness", "fmr": 1e-3, "n_faces": 500}


def test_other_files_are_refused(tmp_path):
    from fiqa_lib.weights import write_state

    good = {"scores": np.arange(3.0), "chances": np.array([1, 0.5, 0]), "quantiles": np.arange(5.0), "missing": 0.0}
    c.Calibration.load(write_state(tmp_path / "good.npz", c.KIND, good))
    for change in ({"scores": np.arange(2.0)}, {"scores": np.array([2.0, 1, 0])}, {"missing": np.arange(2)}):
        with pytest.raises(WeightsError, match="bad.npz"):
            c.Calibration.load(write_state(tmp_path / "bad.npz", c.KIND, good | change))
    without = {name: value for name, value in good.items() if name != "quantiles"}
    with pytest.raises(WeightsError, match="bad.npz"):
        c.Calibration.load(write_state(tmp_path / "bad.npz", c.KIND, without))
    with pytest.raises(WeightsError, match="not of 'calibration'"):
        c.Calibration.load(write_state(tmp_path / "other.npz", "ridge", good))
    with pytest.raises(WeightsError, match="no such file"):
        c.Calibration.load(tmp_path / "nothing.npz")
