import math
import pickle
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import chisquare, norm
from sklearn import metrics

from fiqa_lib.data import pair_indices
from fiqa_lib.errors import DataError
from fiqa_lib.evaluation import FewImpostorsWarning
from fiqa_lib.evaluation import verification as ver
from fiqa_lib.recognition import similarity as sim

few = pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.verification.FewImpostorsWarning")

scores = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf, 0.1, -0.0, 1e-300, 1.7e308]))
labelled = st.lists(st.tuples(scores, st.booleans()), min_size=2, max_size=30)


def faces(n=60, people=9, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, people, n)
    embeddings = (rng.normal(size=(people, dim))[codes] + rng.normal(size=(n, dim))).astype(np.float32)
    return embeddings, np.array([f"p{code}" for code in codes])


def both_classes(rows):
    assume(any(mated for _, mated in rows) and not all(mated for _, mated in rows))
    similarity, mated = zip(*rows, strict=True)
    return np.array(similarity), np.array(mated)


# ------------------------------------------------------------------------------------------------------- similarities


def test_paired_similarities_by_hand():
    a, b = np.array([[3.0, 4], [1, 0], [2, 2]]), np.array([[3.0, 4], [0, 5], [-1, -1]])
    np.testing.assert_allclose(sim.cosine(a, b), [1, 0, -1], atol=1e-15)
    np.testing.assert_allclose(sim.euclidean(a, b), [0, -math.sqrt(26), -math.sqrt(18)])
    np.testing.assert_allclose(sim.cosine(a, b, centre=np.array([1, 1])), sim.cosine(a - 1, b - 1))


@pytest.mark.parametrize("block_bytes", [1, 700, 2000, 10**7])
@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_all_pairs_are_scipys_in_scipys_order(kind, block_bytes):
    embeddings, identities = faces()
    expected = 1 - pdist(embeddings, "cosine") if kind == "cosine" else -pdist(embeddings)
    pairs = sim.all_pairs(embeddings, identities, kind, block_bytes=block_bytes)
    assert pairs.similarity.dtype == np.float32 and pairs.mated.dtype == bool
    np.testing.assert_allclose(pairs.similarity, expected, atol=2e-6)
    np.testing.assert_array_equal(pairs.mated, [x == y for x, y in combinations(identities, 2)])
    i, j = np.triu_indices(len(embeddings), 1)
    paired = getattr(sim, kind)(embeddings[i], embeddings[j])
    np.testing.assert_allclose(pairs.similarity, paired, atol=2e-6)


def test_distances_of_near_twins_survive_the_matrix_product():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 128)) * 10
    embeddings = np.concatenate([one, one + 1e-4]).astype(np.float32)
    expected = sim.euclidean(embeddings[:1], embeddings[1:])[0]
    assert sim.all_pairs(embeddings, ["a", "b"], "euclidean").similarity[0] == pytest.approx(expected, rel=1e-3)


def test_centre_is_subtracted_and_checked():
    embeddings, identities = faces()
    centre = embeddings.mean(axis=0)
    moved = sim.all_pairs(embeddings, identities, centre=centre).similarity
    np.testing.assert_allclose(moved, 1 - pdist(embeddings - centre, "cosine"), atol=2e-6)
    with pytest.raises(DataError, match="centre must have shape"):
        sim.all_pairs(embeddings, identities, centre=centre[:-1])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_faces(n):
    embeddings, identities = faces()
    pairs = sim.all_pairs(embeddings[:n], identities[:n])
    assert len(pairs.similarity) == len(pairs.mated) == n // 2
    assert len(pair_indices(identities[:n]).mated) == n // 2


def test_memory_is_the_result_and_a_block():
    embeddings, identities = faces(n=3000, dim=32)
    tracemalloc.start()
    pairs = sim.all_pairs(embeddings, identities, block_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    result = pairs.similarity.nbytes + pairs.mated.nbytes
    assert peak < result + 8 * 2**20, f"{peak / 2**20:.0f} MB for a result of {result / 2**20:.0f} MB"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.array([[1.0, np.nan], [1, 2], [3, 4]])}, "NaN or infinity in 1 rows, the first is row 0"),
        ({"embeddings": np.array([[1.0, 2], [0, 0], [3, 4]])}, "length 0 .the first is row 1."),
        ({"embeddings": np.ones(3)}, r"shape \(N, D\)"),
        ({"identities": ["a", "b"]}, "3 embeddings, but 2 identities"),
        ({"identities": ["a", "", "b"]}, "1 faces have no identity"),
        ({"identities": [["a"], ["b"], ["c"]]}, "one value for a face"),
        ({"kind": "manhattan"}, "kind must be"),
    ],
)
def test_wrong_embeddings_are_named(change, message):
    call = {"embeddings": np.array([[1.0, 2], [2, 1], [3, 4]]), "identities": ["a", "b", "c"]} | change
    with pytest.raises(DataError, match=message):
        sim.all_pairs(**call)


def test_paired_needs_equal_shapes():
    with pytest.raises(DataError, match="same number"):
        sim.cosine(np.ones((2, 3)), np.ones((3, 3)))


# ------------------------------------------------------------------------------------------------------ choosing pairs


def test_all_pairs_by_position():
    _, identities = faces(n=25, people=5)
    chosen = pair_indices(identities)
    assert (chosen.index_a < chosen.index_b).all()
    assert set(zip(chosen.index_a, chosen.index_b, strict=True)) == set(combinations(range(25), 2))
    np.testing.assert_array_equal(chosen.mated, identities[chosen.index_a] == identities[chosen.index_b])


@pytest.mark.parametrize(("max_mated", "max_impostor"), [(7, 11), (0, 200), (10**6, 3), (None, 5), (5, None)])
def test_caps_hold_and_pairs_are_different(max_mated, max_impostor):
    _, identities = faces(n=25, people=5)
    every = pair_indices(identities)
    chosen = pair_indices(identities, max_mated=max_mated, max_impostor=max_impostor, random_state=4)
    total = int(every.mated.sum()), int((~every.mated).sum())
    caps = [t if cap is None else min(cap, t) for cap, t in zip((max_mated, max_impostor), total, strict=True)]
    assert [int(chosen.mated.sum()), int((~chosen.mated).sum())] == caps
    assert len(set(zip(chosen.index_a, chosen.index_b, strict=True))) == sum(caps)
    np.testing.assert_array_equal(chosen.mated, identities[chosen.index_a] == identities[chosen.index_b])
    again = pair_indices(identities, max_mated=max_mated, max_impostor=max_impostor, random_state=4)
    np.testing.assert_array_equal(chosen.index_b, again.index_b)


@pytest.mark.parametrize("cap", [3, 9])  # of 14 impostor and 7 mated pairs: drawing, and drawing what to leave out
def test_every_pair_is_equally_likely(cap):
    identities = ["b", "a", "b", "c", "b", "a", "b"]
    count = {True: {}, False: {}}
    for seed in range(3000):
        chosen = pair_indices(identities, max_mated=min(cap, 5), max_impostor=cap, random_state=seed)
        for a, b, mated in zip(*chosen, strict=True):
            count[bool(mated)][int(a), int(b)] = count[bool(mated)].get((int(a), int(b)), 0) + 1
    assert (len(count[True]), len(count[False])) == (7, 14)
    for kind in count.values():
        assert chisquare(list(kind.values())).pvalue > 1e-4


def test_a_sample_never_lists_all_pairs():
    identities = np.random.default_rng(0).integers(0, 5000, 30_000)  # 450 million pairs
    tracemalloc.start()
    chosen = pair_indices(identities, max_mated=1000, max_impostor=50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(chosen.mated) == 51_000 and peak < 20 * 2**20


# ---------------------------------------------------------------------------------------------- thresholds and errors


def literal_threshold(impostors, fmr):
    k = math.floor(fmr * len(impostors) + 1e-12)
    if k >= len(impostors):
        return -math.inf
    return math.nextafter(sorted(impostors, reverse=True)[k], math.inf)


@few
@settings(max_examples=200, deadline=None)
@given(impostors=st.lists(scores, min_size=1, max_size=40), fmr=st.one_of(st.floats(0, 1), st.sampled_from([0.1, 0.3])))
def test_threshold_is_the_definition_and_the_best_there_is(impostors, fmr):
    k = math.floor(fmr * len(impostors) + 1e-12)
    if k < impostors.count(math.inf):
        with pytest.raises(DataError, match="can't be reached"):
            ver.fit_threshold(impostors, fmr)
        return
    threshold = ver.fit_threshold(impostors, fmr)
    assert threshold == literal_threshold(impostors, fmr)
    assert threshold.realised_fmr == sum(s >= threshold for s in impostors) / len(impostors) <= fmr + 1e-12
    lower = math.nextafter(threshold, -math.inf)
    if math.isfinite(lower):
        assert sum(s >= lower for s in impostors) / len(impostors) > fmr or lower > max(impostors)
    assert threshold.zero_fmr == (k == 0) and threshold.n_impostor == len(impostors)


@few
def test_threshold_of_exact_multiples_is_not_lost_to_rounding():
    assert 0.29 * 100 < 29  # this is what the 1e-12 is for
    for n in (100, 1000):
        for k in range(1, n):
            assert ver.fit_threshold(np.arange(float(n)), k / n).realised_fmr == k / n


def test_threshold_reports_and_warns():
    impostors = np.arange(1000.0)
    with pytest.warns(FewImpostorsWarning, match=r"5 expected false matches, fewer than 30") as caught:
        threshold = ver.fit_threshold(impostors, 0.005)
    assert caught[0].filename == __file__
    assert threshold == np.nextafter(994.0, np.inf) and threshold.realised_fmr == 0.005
    assert threshold.expected_false_matches == 5 and not threshold.zero_fmr
    with pytest.warns(FewImpostorsWarning, match="zero-FMR"):
        assert ver.fit_threshold(impostors, 0.0009).zero_fmr
    assert ver.fit_threshold(impostors, 0.03) > 0  # 30 expected: no warning, or this test would fail
    assert "FMR 0.03" in repr(ver.fit_threshold(impostors, 0.03))
    copy = pickle.loads(pickle.dumps(threshold))
    assert copy == threshold and copy.realised_fmr == threshold.realised_fmr


def test_threshold_of_float32_holds_for_both_precisions():
    impostors = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    threshold = ver.fit_threshold(impostors, 0.02)
    assert np.float32(threshold) == threshold
    assert np.sum(impostors >= np.float32(threshold)) == np.sum(impostors.astype(float) >= threshold) == 100


@pytest.mark.parametrize(
    ("impostors", "fmr", "message"),
    [
        ([], 0.1, "no non-mated"),
        ([0.1, np.nan], 0.1, "1 NaN"),
        ([0.1], 1.1, "between 0 and 1"),
        ([0.1], -0.1, "between 0 and 1"),
        ([[0.1]], 0.1, "1-D"),
        (["a"], 0.1, "numeric"),
    ],
)
def test_threshold_names_what_is_wrong(impostors, fmr, message):
    with pytest.raises(DataError, match=message):
        ver.fit_threshold(impostors, fmr)


def test_error_rates_accept_at_the_threshold():
    similarity = np.array([0.1, 0.5, 0.5, 0.9])
    assert ver.fmr(similarity, 0.5) == 0.75 and ver.fnmr(similarity, 0.5) == 0.25
    np.testing.assert_array_equal(ver.fmr(similarity, [0, 0.5, 0.51, np.inf]), [1, 0.75, 0.25, 0])
    np.testing.assert_array_equal(ver.fnmr(similarity, [0, 0.5, 0.51, np.inf]), [0, 0.25, 0.75, 1])
    for call in (ver.fmr, ver.fnmr):
        with pytest.raises(DataError, match="there are no"):
            call([], 0.5)
        with pytest.raises(DataError, match="NaN"):
            call(similarity, math.nan)


@few
def test_fnmr_at_fmr():
    similarity = np.array([0.9, 0.4, 0.6, 0.5, 0.3, 0.1])
    mated = np.array([True, True, True, False, False, False])
    assert ver.fnmr_at_fmr(similarity, mated, 0.0) == 1 / 3
    assert ver.fnmr_at_fmr(similarity, mated, 0.34) == 0
    with pytest.raises(DataError, match="no mated"):
        ver.fnmr_at_fmr(similarity, ~mated & mated, 0.1)


@settings(max_examples=100, deadline=None)
@given(rows=labelled)
def test_det_has_every_operating_point(rows):
    similarity, mated = both_classes(rows)
    det = ver.det_curve(similarity, mated)
    for threshold, fmr, fnmr in zip(*det, strict=True):
        assert fmr == np.mean(similarity[~mated] >= threshold)
        assert fnmr == np.mean(similarity[mated] < threshold)
    assert set(similarity) <= set(det.threshold) and (np.diff(det.threshold) > 0).all()
    assert (det.fmr[0], det.fnmr[0]) == (1, 0)
    assert (det.fmr[-1], det.fnmr[-1]) == (0, 1) or similarity.max() == math.inf
    roc = ver.roc_curve(similarity, mated)
    np.testing.assert_array_equal(roc.tmr, 1 - det.fnmr)


@settings(max_examples=100, deadline=None)
@given(rows=labelled)
def test_auc_counts_couples(rows):
    similarity, mated = both_classes(rows)
    couples = [(m > i) + (m == i) / 2 for m in similarity[mated] for i in similarity[~mated]]
    assert ver.auc(similarity, mated) == pytest.approx(np.mean(couples), abs=1e-15)


def test_curves_and_area_are_scikit_learns():
    rng = np.random.default_rng(0)
    mated = rng.random(3000) < 0.3
    similarity = np.round(rng.normal(size=3000) + mated, 1)
    assert ver.auc(similarity, mated) == pytest.approx(metrics.roc_auc_score(mated, similarity), abs=1e-12)
    fmr, tmr, threshold = metrics.roc_curve(mated, similarity, drop_intermediate=False)
    ours = ver.roc_curve(similarity, mated)
    np.testing.assert_allclose([ours.fmr, ours.tmr], [fmr[::-1], tmr[::-1]], atol=1e-15)
    np.testing.assert_array_equal(ours.threshold[:-1], threshold[:0:-1])  # theirs ends at +inf, ours just above the top
    fmr, fnmr, threshold = metrics.det_curve(mated, similarity)
    det = ver.det_curve(similarity, mated)
    place = np.searchsorted(det.threshold, threshold[np.isfinite(threshold)])
    assert len(place) > 40
    np.testing.assert_array_equal([det.fmr[place], det.fnmr[place]], [fmr[: len(place)], fnmr[: len(place)]])


@settings(max_examples=100, deadline=None)
@given(rows=labelled)
def test_equal_error_rate_is_the_closest_point(rows):
    similarity, mated = both_classes(rows)
    eer = ver.equal_error_rate(similarity, mated)
    fmr, fnmr = np.mean(similarity[~mated] >= eer.threshold), np.mean(similarity[mated] < eer.threshold)
    assert eer.rate == (fmr + fnmr) / 2
    for other in [*similarity, math.nextafter(similarity.max(), math.inf)]:
        gap = abs(np.mean(similarity[~mated] >= other) - np.mean(similarity[mated] < other))
        assert abs(fmr - fnmr) <= gap + 1e-15


def test_equal_error_rate_of_two_normal_distributions():
    rng = np.random.default_rng(1)
    mated = np.arange(100_000) % 2 == 0
    eer = ver.equal_error_rate(rng.normal(size=100_000) + 2 * mated, mated)
    assert eer.rate == pytest.approx(norm.cdf(-1), abs=0.005) and eer.threshold == pytest.approx(1, abs=0.03)


def test_probit():
    np.testing.assert_allclose(ver.probit([0.5, 0.975]), [0, 1.959964], atol=1e-6)
    assert ver.probit(0) == -np.inf and ver.probit(1) == np.inf


# ----------------------------------------------------------------------------------------------------------- ten folds


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=8, max_size=24),
    folds=st.integers(2, 4),
)
def test_fold_thresholds_come_from_the_other_folds(rows, folds):
    similarity, mated = both_classes(rows)
    parts = np.array_split(np.arange(len(rows)), folds)
    rest = [np.setdiff1d(np.arange(len(rows)), part) for part in parts]
    assume(all(0 < mated[r].sum() < len(r) for r in rest))
    result = ver.accuracy_10fold(similarity, mated, folds)
    for part, other, accuracy, threshold in zip(parts, rest, result.accuracy, result.threshold, strict=True):

        def right(t, rows=other):
            return int(np.sum((similarity[rows] >= t) == mated[rows]))

        candidates = [*similarity, *(similarity + 0.5), 10, -10]
        assert right(threshold) == max(right(t) for t in candidates)
        assert accuracy == np.mean((similarity[part] >= threshold) == mated[part])
    assert result.mean == pytest.approx(result.accuracy.mean())
    assert result.standard_error == pytest.approx(result.accuracy.std(ddof=1) / math.sqrt(folds))


def test_separable_pairs_are_all_right_and_the_threshold_is_half_way():
    mated = np.tile([True, False], 50)
    result = ver.accuracy_10fold(np.where(mated, 0.8, 0.2), mated)
    assert result.mean == 1 and result.standard_error == 0 and len(result.accuracy) == 10
    np.testing.assert_allclose(result.threshold, 0.5)


def test_folds_may_be_named():
    mated = np.tile([True, False], 10)
    similarity = np.where(mated, 0.8, 0.2)
    similarity[:4] -= 10  # a fold on another scale: its own threshold would be right, that of the others is not
    labels = np.repeat(["x", "y", "y", "y", "y"], 4)
    result = ver.accuracy_10fold(similarity, mated, labels)
    assert result.accuracy[0] == 0.5
    with pytest.raises(DataError, match="folds must"):
        ver.accuracy_10fold(similarity, mated, labels[:-1])
    with pytest.raises(DataError, match="between 2 and the number"):
        ver.accuracy_10fold(similarity, mated, 21)
    with pytest.raises(DataError, match="no mated"):
        ver.accuracy_10fold(similarity, mated, np.where(mated, "x", "y"))
