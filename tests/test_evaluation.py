"""The evaluation engine against definitions written out in full, pair by pair, in this file."""

import math
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from fiqa_lib import evaluation as ev
from fiqa_lib.errors import DataError, FiqaError
from fiqa_lib.evaluation import FewImpostorsWarning, Threshold, fit_threshold

pytestmark = pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.verification.FewImpostorsWarning")

GOLDEN_SIMILARITY = np.array([0.2, 0.9, 0.3, 0.9, 0.4])
GOLDEN_A, GOLDEN_B = np.array([1, 2, 2, 4, 9]), np.array([5, 2, 7, 4, 5])
COMBINE = {"min": min, "max": max, "mean": lambda a, b: (a + b) / 2}


def test_every_public_name_is_there_and_functions_are_not_their_modules():
    assert all(hasattr(ev, name) for name in ev.__all__)
    assert callable(ev.edc) and callable(ev.fairness)
    for name in ("edc", "fairness"):
        assert getattr(import_module(f"fiqa_lib.evaluation.{name}"), name) is getattr(ev, name)


# ----------------------------------------------------------------------------------------------- the definition, slowly


def slow_threshold(impostors, fmr):
    """EVALUATION point 3, word by word; None where no finite threshold will do."""
    k = math.floor(fmr * len(impostors) + 1e-12)
    if k >= len(impostors):
        return -math.inf
    value = sorted(impostors, reverse=True)[k]
    return None if value == math.inf else math.nextafter(value, math.inf)


def slow_edc(pairs, fmr=None, threshold=None, convention="fixed", pair_quality="min", population="mated"):
    """[(discard, error), ...] of (similarity, mated, quality_a, quality_b[, image_a, image_b]); None if unreachable."""
    rows = [(s, mated, COMBINE[pair_quality](a, b)) for s, mated, a, b, *_ in pairs]
    if population == "mated":
        units = [q for _, mated, q in rows if mated]
    elif population == "all":
        units = [q for _, _, q in rows]
    else:
        units = list({name: q for _, _, a, b, i, j in pairs for name, q in ((i, a), (j, b))}.values())
    if threshold is None:
        threshold = slow_threshold([s for s, mated, _ in rows if not mated], fmr)
    points = []
    for cut in sorted(set(units)):
        discarded = sum(q < cut for q in units) / len(units)
        impostors = [s for s, mated, q in rows if not mated and (q >= cut or not discarded)]
        if convention == "refit" and impostors:
            threshold = slow_threshold(impostors, fmr)
        if threshold is None:
            return None
        remaining = [s for s, mated, q in rows if mated and q >= cut]
        points.append((discarded, sum(s < threshold for s in remaining) / len(remaining) if remaining else 0.0))
    return [*points, (1.0, 0.0)]


def slow_area(points, limit):
    """The area of a step curve, one rectangle after the other."""
    area = 0.0
    for (x, y), (following, _) in zip(points, points[1:], strict=False):
        area += y * max(0.0, min(following, limit) - min(x, limit))
    return area


# few different values, so that ties are the rule; infinities among them
qualities = st.one_of(st.integers(-2, 3).map(float), st.sampled_from([math.inf, -math.inf, 0.5, 1e308, -0.0, 5e-324]))
similarities = st.one_of(st.integers(-2, 4).map(float), st.sampled_from([math.inf, -math.inf, 0.25, -0.0, 1e-300]))
pair_rows = st.lists(st.tuples(similarities, st.booleans(), qualities, qualities), min_size=1, max_size=24)


@st.composite
def image_pairs(draw):
    """Pairs among a few images, each with one quality: (similarity, mated, quality_a, quality_b, image_a, image_b)."""
    of_image = draw(st.lists(qualities, min_size=2, max_size=7))
    image = st.integers(0, len(of_image) - 1)
    rows = draw(st.lists(st.tuples(similarities, st.booleans(), image, image), min_size=1, max_size=20))
    return [(s, mated, of_image[i], of_image[j], i, j) for s, mated, i, j in rows]


def columns(pairs):
    return [np.array(column) for column in zip(*pairs, strict=True)]


def points_of(curve):
    return list(zip(curve.discard.tolist(), curve.error.tolist(), strict=True))


@settings(max_examples=250, deadline=None)
@given(
    pairs=pair_rows,
    fmr=st.sampled_from([0.0, 1e-3, 0.1, 0.34, 0.5, 1.0]),
    convention=st.sampled_from(["fixed", "refit"]),
    pair_quality=st.sampled_from(["min", "mean", "max"]),
    population=st.sampled_from(["mated", "all"]),
)
def test_curve_is_the_definition(pairs, fmr, convention, pair_quality, population):
    assume(any(p[1] for p in pairs) and not all(p[1] for p in pairs))
    if pair_quality == "mean":
        assume(not any({p[2], p[3]} == {math.inf, -math.inf} for p in pairs))
        assume(not any(1e308 in p[2:4] for p in pairs))  # whose sum overflows in the definition above
    options = {"fmr": fmr, "convention": convention, "pair_quality": pair_quality, "population": population}
    expected = slow_edc(pairs, **options)
    if expected is None:
        with pytest.raises(DataError, match="can't be reached"):
            ev.edc(*columns(pairs), **options)
        return
    assert points_of(ev.edc(*columns(pairs), **options)) == expected


@settings(max_examples=150, deadline=None)
@given(pairs=image_pairs(), fmr=st.sampled_from([0.0, 0.1, 0.5, 1.0]), convention=st.sampled_from(["fixed", "refit"]))
def test_discarding_whole_images_is_the_definition(pairs, fmr, convention):
    assume(any(p[1] for p in pairs) and not all(p[1] for p in pairs))
    *four, image_a, image_b = columns(pairs)
    options = {"fmr": fmr, "convention": convention, "population": "images"}
    expected = slow_edc(pairs, **options)
    assume(expected is not None)
    assert points_of(ev.edc(*four, **options, image_a=image_a, image_b=image_b)) == expected


@settings(max_examples=100, deadline=None)
@given(pairs=pair_rows, threshold=similarities)
def test_curve_at_a_given_threshold(pairs, threshold):
    pairs = [(s, True, a, b) for s, _, a, b in pairs]
    curve = ev.edc(*columns(pairs), threshold=threshold)
    assert points_of(curve) == slow_edc(pairs, threshold=threshold)
    assert curve.n_mated == len(pairs) and curve.n_impostor == 0 and math.isnan(curve.realised_fmr)


@settings(max_examples=100, deadline=None)
@given(pairs=pair_rows, limit=st.floats(0, 1), threshold=similarities)
def test_area_is_the_sum_of_rectangles(pairs, limit, threshold):
    pairs = [(s, True, a, b) for s, _, a, b in pairs]
    curve = ev.edc(*columns(pairs), threshold=threshold)
    assert curve.pauc(limit) == pytest.approx(slow_area(points_of(curve), limit), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    pairs=pair_rows,
    seed=st.integers(0, 2**32 - 1),
    convention=st.sampled_from(["fixed", "refit"]),
    population=st.sampled_from(["mated", "all"]),
)
def test_order_of_rows_changes_no_bit(pairs, seed, convention, population):
    assume(any(p[1] for p in pairs) and any(not p[1] and p[0] < math.inf for p in pairs))
    pairs = [p for p in pairs if p[1] or p[0] < math.inf]
    one = columns(pairs)
    order = np.random.default_rng(seed).permutation(len(pairs))
    a, b = (
        ev.edc(*table, fmr=0.2, convention=convention, population=population)
        for table in (one, [column[order] for column in one])
    )
    for name in ("discard", "error", "threshold_at", "mated_left"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    assert a.pauc(0.3) == b.pauc(0.3) and a.threshold == b.threshold


@settings(max_examples=100, deadline=None)
@given(pairs=pair_rows, convention=st.sampled_from(["fixed", "refit"]))
def test_monotone_change_of_quality_changes_nothing(pairs, convention):
    pairs = [(s, m, a, b) for s, m, a, b in pairs if s < math.inf and abs(a) < 10 and abs(b) < 10]
    assume(any(p[1] for p in pairs) and not all(p[1] for p in pairs))
    s, mated, a, b = columns(pairs)
    a, b = np.round(a, 1), np.round(b, 1)
    one = ev.edc(s, mated, a, b, fmr=0.2, convention=convention)
    other = ev.edc(s, mated, np.exp(a) * 3 - 100, np.exp(b) * 3 - 100, fmr=0.2, convention=convention)
    assert points_of(one) == points_of(other)


@settings(max_examples=150, deadline=None)
@given(pairs=image_pairs(), population=st.sampled_from(["mated", "all", "images"]), threshold=st.integers(-2, 4))
def test_no_score_passes_below_the_oracle(pairs, population, threshold):
    assume(any(p[1] for p in pairs))
    *four, image_a, image_b = columns(pairs)
    curve = ev.edc(*four, threshold=threshold, population=population, image_a=image_a, image_b=image_b)
    oracle = curve.oracle()
    x = np.unique(np.concatenate([curve.discard, oracle.discard, np.linspace(0, 1, 41)]))
    assert (oracle.at(x) <= curve.at(x) + 1e-12).all()
    for limit in ev.LIMITS:
        assert oracle.area(limit) <= curve.pauc(limit) + 1e-12


# -------------------------------------------------------------------------------------------------------- golden values


def test_golden_curve_and_areas():
    curve = ev.edc(GOLDEN_SIMILARITY, np.ones(5, bool), GOLDEN_A, GOLDEN_B, threshold=0.5)
    np.testing.assert_allclose(curve.discard, [0, 0.2, 0.6, 0.8, 1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(curve.error, [0.6, 0.5, 0.5, 1, 0], rtol=0, atol=1e-15)
    for limit, area in ((0.2, 0.12), (0.3, 0.17), (0.6, 0.32), (1, 0.62)):
        assert curve.pauc(limit) == pytest.approx(area, abs=1e-12)
    assert ev.theoretical_best_area(0.6, 0.3) == pytest.approx(0.135, abs=1e-12)
    assert curve.pauc(0.3, "minus_best") == pytest.approx(0.17 - 0.135, abs=1e-12)
    assert curve.pauc(0.3, "normalised") == pytest.approx(0.17 / 0.18, abs=1e-12)
    # the oracle discards the three failing pairs first: 3/5, then 2/4 from 0.2 on
    assert curve.pauc(0.3, "oracle") == pytest.approx((0.17 - 0.17) / (0.18 - 0.17), abs=1e-12)
    assert curve.starting_error == pytest.approx(0.6)


def test_golden_gini():
    assert ev.gini([35, 95, 89]) == pytest.approx(0.273973, abs=5e-7)
    assert (1 - ev.gini([35, 95, 89])) ** 3 == pytest.approx(0.382700, abs=5e-7)


def test_theoretical_best_is_the_area_of_its_line():
    for e0, limit in ((0.1, 0.3), (0.3, 0.1), (0.4, 0.4), (0.0, 0.2)):
        x = np.linspace(0, limit, 100_001)
        assert ev.theoretical_best_area(e0, limit) == pytest.approx(np.trapezoid(np.maximum(0, e0 - x), x), abs=1e-8)


# ------------------------------------------------------------------------------------------------------- special curves


def test_all_of_one_quality_leave_together():
    curve = ev.edc(GOLDEN_SIMILARITY, np.ones(5, bool), np.full(5, 3), np.full(5, 3), threshold=0.5)
    assert points_of(curve) == [(0.0, 0.6), (1.0, 0.0)]
    assert curve.pauc(0.2, "normalised") == pytest.approx(1)


def test_none_failing():
    curve = ev.edc(GOLDEN_SIMILARITY, np.ones(5, bool), GOLDEN_A, GOLDEN_B, threshold=0.0)
    assert curve.starting_error == 0 and not curve.error.any()
    assert curve.pauc(0.3) == 0 and curve.pauc(0.3, "minus_best") == 0
    assert math.isnan(curve.pauc(0.3, "normalised")) and math.isnan(curve.pauc(0.3, "oracle"))
    assert points_of(curve.oracle()) == [(0.0, 0.0), (1.0, 0.0)]


def test_all_failing():
    curve = ev.edc(GOLDEN_SIMILARITY, np.ones(5, bool), GOLDEN_A, GOLDEN_B, threshold=1.0)
    assert curve.error.tolist() == [1, 1, 1, 1, 0]
    assert curve.pauc(0.3, "normalised") == pytest.approx(1)
    assert math.isnan(curve.pauc(0.3, "oracle"))  # no order avoids anything


def test_single_pair():
    curve = ev.edc([0.2], [True], [1], [2], threshold=0.5)
    assert points_of(curve) == [(0.0, 1.0), (1.0, 0.0)]


def test_right_continuous():
    curve = ev.edc(GOLDEN_SIMILARITY, np.ones(5, bool), GOLDEN_A, GOLDEN_B, threshold=0.5)
    assert curve.at(0.2) == 0.5 and curve.at(0.19999) == 0.6 and curve.at(1.0) == 0
    np.testing.assert_array_equal(curve.at([0, 0.3, 0.7]), [0.6, 0.5, 0.5])


def test_random_scores_have_a_normalised_area_of_one():
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=400)
    areas = [
        ev.edc(similarity, np.ones(400, bool), *rng.normal(size=(2, 400)), threshold=-1.0).pauc(0.3, "normalised")
        for _ in range(300)
    ]
    assert abs(np.mean(areas) - 1) < 4 * np.std(areas) / np.sqrt(len(areas))
    assert np.std(areas) / np.sqrt(len(areas)) < 0.01


def test_a_score_that_knows_reaches_the_oracle():
    rng = np.random.default_rng(1)
    similarity = rng.permutation(np.arange(200.0))
    curve = ev.edc(similarity, np.ones(200, bool), similarity, similarity, threshold=60.0)
    assert curve.pauc(0.2, "oracle") == pytest.approx(0, abs=1e-12)
    assert curve.random().area(0.2) == pytest.approx(0.2 * curve.starting_error)
    assert ev.edc(similarity, np.ones(200, bool), -similarity, -similarity, threshold=60.0).pauc(0.2, "oracle") > 1


def test_refit_can_pass_below_the_oracle_and_fixed_can_not():
    # the one low-quality impostor is the most similar one: without it, the threshold falls below every mated pair
    similarity = np.array([0.5] * 10 + [0.9] + [0.1] * 9)
    mated = np.arange(20) < 10
    quality = np.where(np.arange(20) == 10, 0.0, np.arange(20) + 1.0)
    options = {"fmr": 0.01, "population": "all"}
    refit = ev.edc(similarity, mated, quality, quality, convention="refit", **options)
    fixed = ev.edc(similarity, mated, quality, quality, **options)
    assert fixed.starting_error == refit.starting_error == 1
    assert refit.at(0.05) == 0 < refit.oracle().at(0.05) == fixed.at(0.05)
    assert refit.impostor_left[1] == 9 and refit.threshold_at[1] < refit.threshold_at[0]


def test_refit_keeps_the_last_threshold_when_impostors_run_out():
    curve = ev.edc([0.3, 0.6, 0.5], [True, True, False], [5, 6, 1], [5, 6, 1], fmr=0, convention="refit")
    assert points_of(curve) == [(0.0, 0.5), (0.5, 0.0), (1.0, 0.0)]
    assert len(set(curve.threshold_at)) == 1 and curve.impostor_left.tolist() == [1, 0, 0]


def test_refit_accepts_at_the_threshold_itself():
    just = math.nextafter(0.5, 1)
    quality = np.arange(6.0)
    curve = ev.edc([0.1, just, just, just, 0.5, 0.5], [1, 1, 1, 1, 0, 0], quality, quality, fmr=0, convention="refit")
    assert points_of(curve) == [(0.0, 0.25), (0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0)]
    lowest = [-np.inf] * 4 + [0.5, 0.5]
    everything = ev.edc(lowest, [1, 1, 1, 1, 0, 0], quality, quality, fmr=1, convention="refit")
    assert everything.threshold == -np.inf and not everything.error.any()


def test_float32_decides_like_float64():
    rng = np.random.default_rng(2)
    similarity = rng.normal(size=3000).astype(np.float32)
    mated, quality = rng.random(3000) < 0.5, rng.normal(size=(2, 3000))
    for convention in ("fixed", "refit"):
        one = ev.edc(similarity, mated, *quality, fmr=0.02, convention=convention)
        other = ev.edc(similarity.astype(np.float64), mated, *quality, fmr=0.02, convention=convention)
        assert points_of(one) == points_of(other)


def test_mean_of_huge_values_does_not_overflow():
    huge = np.array([1.0, 1.5, 1.7]) * 1e308
    curve = ev.edc([0.1, 0.9, 0.9], [True] * 3, huge, huge, threshold=0.5, pair_quality="mean")
    assert len(curve.discard) == 4


def test_large_refit_agrees_with_a_refit_at_each_cut():
    rng = np.random.default_rng(3)
    n = 4000
    mated = rng.random(n) < 0.4
    similarity = np.round(rng.normal(size=n) + mated, 2)
    quality = np.round(rng.normal(size=n), 3)
    curve = ev.edc(similarity, mated, quality, quality, fmr=0.01, convention="refit", population="all")
    for i in rng.integers(0, len(curve.discard) - 200, 40):
        kept = quality >= np.sort(quality)[round(curve.discard[i] * n)]
        threshold = fit_threshold(similarity[kept & ~mated], 0.01, warn=False)
        assert curve.threshold_at[i] == threshold
        assert curve.error[i] == np.mean(similarity[kept & mated] < threshold)
        assert curve.impostor_left[i] == np.sum(kept & ~mated) and curve.mated_left[i] == np.sum(kept & mated)


# ------------------------------------------------------------------------------------------------ what the result tells


def make_data(n=3000, people=60, seed=0, strength=1.0):
    """Pairs of people with two methods: `good` knows something about failures, `bad` does not."""
    rng = np.random.default_rng(seed)
    identity_a = rng.integers(0, people, n)
    mated = rng.random(n) < 0.5
    identity_b = np.where(mated, identity_a, (identity_a + rng.integers(1, people, n)) % people)
    good = rng.normal(size=(2, n))
    similarity = 2.0 * mated + rng.normal(size=n) + strength * mated * np.minimum(good.min(axis=0), 0)
    return {
        "similarity": similarity,
        "mated": mated,
        "good": good,
        "bad": rng.normal(size=(2, n)),
        "identity_a": np.char.add("p", identity_a.astype(str)),
        "identity_b": np.char.add("p", identity_b.astype(str)),
    }


def test_result_carries_what_a_reader_must_know():
    data = make_data()
    curve = ev.edc(data["similarity"], data["mated"], *data["good"], fmr=0.03)
    assert isinstance(curve.threshold, Threshold) and curve.realised_fmr <= 0.03
    assert curve.realised_fmr == np.mean(data["similarity"][~data["mated"]] >= curve.threshold)
    assert curve.starting_error == curve.error[0] == np.mean(data["similarity"][data["mated"]] < curve.threshold)
    assert (curve.n_mated, curve.n_impostor) == (data["mated"].sum(), (~data["mated"]).sum())
    assert curve.n_missing == 0 and curve.compat is None
    for part in ("FMR 0.03", "fixed", "starting error", f"{curve.n_mated:,} mated", f"{curve.n_impostor:,} impostor"):
        assert part in curve.caption()


def test_tables_are_tidy():
    data = make_data()
    curve = ev.edc(data["similarity"], data["mated"], *data["good"], fmr=0.03, convention="refit")
    frame = curve.to_frame(method="good")
    assert list(frame) == ["method", "discard", "error", "threshold", "mated_left", "impostor_left"]
    assert len(frame) == len(curve.discard) and (frame["method"] == "good").all()
    summary = curve.summary(method="good")
    assert list(summary["limit"]) == list(ev.LIMITS)
    for row in summary.itertuples():
        assert row.raw == curve.pauc(row.limit) and row.oracle == curve.pauc(row.limit, "oracle")
    assert (summary["convention"] == "refit").all() and (summary["n_mated"] == curve.n_mated).all()


def test_zero_fmr_says_so():
    with pytest.warns(FewImpostorsWarning, match="zero-FMR"):
        curve = ev.edc([0.9, 0.1, 0.5], [True, True, False], [1, 2, 3], [1, 2, 3])
    assert curve.threshold.zero_fmr and curve.realised_fmr == 0 and "zero-FMR" in curve.caption()


def test_few_expected_false_matches_warn_and_enough_do_not(recwarn):
    rng = np.random.default_rng(0)
    mated = np.arange(4000) < 1000
    quality = rng.normal(size=4000)
    ev.edc(rng.normal(size=4000), mated, quality, quality, fmr=0.01)
    assert not [w for w in recwarn if w.category is FewImpostorsWarning]
    with pytest.warns(FewImpostorsWarning, match="29.7 expected") as caught:
        ev.edc(rng.normal(size=4000), mated, quality, quality, fmr=0.0099)
    assert caught[0].filename == __file__


# ------------------------------------------------------------------------------------------------- what is refused, how


@pytest.mark.parametrize("place", range(4))
def test_nan_is_refused_wherever_it_is(place):
    table = [np.array([0.9, 0.1, 0.4]), np.array([True, True, False]), np.arange(3.0), np.arange(3.0)]
    table[place] = table[place].astype(float)
    table[place][1] = np.nan
    names = ("similarity", "mated", "quality_a", "quality_b")
    with pytest.raises(DataError, match=names[place]):
        ev.edc(*table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mated": [True, True]}, "one flag for each of the 3 pairs"),
        ({"quality_a": [1, 2]}, "quality_a must have one value for each of the 3 pairs"),
        ({"quality_b": [[1, 2, 3]]}, "quality_b must have one value"),
        ({"quality_b": ["a", "b", "c"]}, "quality_b must hold numbers"),
        ({"mated": [0, 1, 2]}, "booleans"),
        ({"mated": ["yes", "no", "no"]}, "booleans"),
        ({"mated": [False] * 3}, "no mated pairs"),
        ({"mated": [True] * 3}, "no non-mated"),
        ({"similarity": [0.1, 0.2, np.inf]}, "can't be reached"),
        ({"similarity": [[0.1, 0.2, 0.3]]}, "similarity must be a 1-D"),
        ({"similarity": []}, "mated must have one flag"),
        ({"fmr": 1.5}, "between 0 and 1"),
        ({"fmr": float("nan")}, "between 0 and 1"),
        ({"threshold": float("nan")}, "threshold is NaN"),
        ({"convention": "sliding"}, "convention must be one of 'fixed', 'refit'"),
        ({"pair_quality": "median"}, "pair_quality must be one of"),
        ({"population": "pairs"}, "population must be one of"),
        ({"on_missing": "ignore"}, "on_missing must be one of"),
        ({"compat": "arcface"}, "compat must be one of"),
        ({"convention": "refit", "threshold": 0.5}, "can't be re-fitted"),
        ({"population": "images"}, "needs image_a and image_b"),
        ({"population": "images", "image_a": [1, 2, 3], "image_b": [4, 5]}, "image_b must name an image"),
        (
            {"population": "images", "image_a": [1, 2, 3], "image_b": [4, 5, 6], "pair_quality": "max"},
            "pair_quality='min'",
        ),
        ({"population": "images", "image_a": [1, 1, 3], "image_b": [4, 5, 6]}, "image '1' comes with two different"),
        ({"image_a": [1, 2, 3]}, "image_b must name an image"),
        ({"image_a": [1, None, 3], "image_b": [4, 5, 6]}, "missing values"),
    ],
)
def test_wrong_input_is_named(change, message):
    call = {
        "similarity": [0.9, 0.1, 0.4],
        "mated": [True, True, False],
        "quality_a": [1, 2, 3],
        "quality_b": [1, 2, 3],
    } | change
    with pytest.raises(DataError, match=message) as caught:
        ev.edc(**call)
    assert isinstance(caught.value, FiqaError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
def test_limits_and_kinds_are_checked(limit):
    curve = ev.edc(GOLDEN_SIMILARITY, np.ones(5, bool), GOLDEN_A, GOLDEN_B, threshold=0.5)
    with pytest.raises(DataError, match="limit"):
        curve.pauc(limit)
    with pytest.raises(DataError, match="kind must be one of"):
        curve.pauc(0.3, "cooked")
    with pytest.raises(DataError, match="between 0 and 1"):
        curve.at(limit)


# ------------------------------------------------------------------------------------------------------- missing scores


MARKS = {
    "-inf": lambda q: np.where(np.isnan(q), -np.inf, q),
    "None": lambda q: np.array([None if math.isnan(v) else v for v in q], dtype=object),
    "pandas.NA": lambda q: pd.array([pd.NA if math.isnan(v) else v for v in q], dtype="Float64"),
    "Series": lambda q: pd.Series([pd.NA if math.isnan(v) else v for v in q], dtype="Float64"),
    "masked": np.ma.masked_invalid,
    "objects": lambda q: np.array([pd.NA if math.isnan(v) else v for v in q], dtype=object),
    "list": lambda q: [None if math.isnan(v) else v for v in q],
}


@pytest.mark.parametrize("mark", MARKS)
def test_missing_faces_follow_the_policy(mark):
    similarity, mated = np.array([0.9, 0.1, 0.8, 0.4, 0.2]), np.array([True, True, True, False, True])
    a, b = np.array([1, np.nan, 3, 4, np.nan]), np.array([5, 6, 7, np.nan, np.nan])
    table = similarity, mated, MARKS[mark](a), MARKS[mark](b)
    worst = ev.edc(*table, threshold=0.5)
    assert worst.n_missing == 3 and worst.n_mated == 4 and worst.n_impostor == 1
    assert points_of(worst) == [(0.0, 0.5), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0)]
    drop = ev.edc(*table, threshold=0.5, on_missing="drop")
    assert (drop.n_missing, drop.n_mated, drop.n_impostor) == (3, 2, 0)
    assert points_of(drop) == [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]
    with pytest.raises(DataError, match="3 pairs have a face that could not be assessed"):
        ev.edc(*table, threshold=0.5, on_missing="raise")
    assert "3 pairs with an unassessed face" in worst.caption()


def test_missing_beside_infinite_quality_is_still_missing():
    for how in ("min", "mean"):
        curve = ev.edc([0.1, 0.9], [True, True], [None, 1.0], [np.inf, 1.0], threshold=0.5, pair_quality=how)
        assert points_of(curve) == [(0.0, 0.5), (0.5, 0.0), (1.0, 0.0)]
    best = ev.edc([0.1, 0.9], [True, True], [None, 1.0], [np.inf, 1.0], threshold=0.5, pair_quality="max")
    assert points_of(best) == [(0.0, 0.5), (0.5, 1.0), (1.0, 0.0)]


def test_nothing_left_after_dropping_is_named():
    with pytest.raises(DataError, match="no mated pairs"):
        ev.edc([0.1, 0.9], [True, False], [None, 1.0], [1.0, 1.0], threshold=0.5, on_missing="drop")


def test_dropping_missing_keeps_images_consistent():
    curve = ev.edc(
        [0.9, 0.1, 0.8],
        [True] * 3,
        [2, None, 2],
        [3, 3, 4],
        threshold=0.5,
        population="images",
        on_missing="drop",
        image_a=["a", "x", "a"],
        image_b=["b", "b", "c"],
    )
    assert curve.discard.tolist() == [0, 1 / 3, 2 / 3, 1]  # image x is gone with its only pair


# --------------------------------------------------------------------------- failure to enrol, and the impostor side


UNMATCHED = {
    "None": lambda s: [None if math.isnan(v) else v for v in s],
    "pandas.NA": lambda s: pd.array([pd.NA if math.isnan(v) else v for v in s], dtype="Float64"),
    "masked": np.ma.masked_invalid,
}


@pytest.mark.parametrize("mark", UNMATCHED)
@pytest.mark.parametrize("convention", ["fixed", "refit"])
def test_a_face_without_an_embedding_fails_when_mated_and_does_not_match_an_impostor(mark, convention):
    rng = np.random.default_rng(0)
    similarity, mated = rng.normal(size=300), rng.random(300) < 0.5
    similarity[mated] += 2
    a, b = rng.normal(size=(2, 300))
    gone = rng.random(300) < 0.1
    table = mated, a, b
    marked = UNMATCHED[mark](np.where(gone, np.nan, similarity))
    options = {"fmr": 0.1, "convention": convention}
    found = ev.edc(marked, *table, **options)
    written = ev.edc(np.where(gone, -1e9, similarity), *table, **options)  # so low that no threshold lets it pass
    assert points_of(found) == points_of(written) and found.threshold == written.threshold
    assert found.n_not_enrolled == gone.sum() and found.n_missing == 0 and found.n_mated == mated.sum()
    assert f"{gone.sum()} pairs with a face that was not enrolled" in found.caption()
    left = ev.edc(similarity[~gone], mated[~gone], a[~gone], b[~gone], **options)
    dropped = ev.edc(marked, *table, **options, on_missing="drop")
    assert points_of(dropped) == points_of(left) and dropped.n_not_enrolled == gone.sum()
    with pytest.raises(DataError, match=rf"{gone.sum()} pairs .* not enrolled \(the first is pair {np.argmax(gone)}"):
        ev.edc(marked, *table, **options, on_missing="raise")


def test_intervals_know_of_faces_without_an_embedding():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(15), 4)
    i, j = np.triu_indices(60, 1)
    mated = people[i] == people[j]
    similarity, quality = rng.normal(size=len(i)) + 2 * mated, rng.normal(size=60)
    gone = (i == 3) | (j == 3)
    table = mated, quality[i], quality[j], people[i], people[j]
    options = {"fmr": 0.05, "n_draws": 30}
    marked = np.ma.array(similarity, mask=gone)
    found = ev.bootstrap_pauc(marked, *table, **options)
    np.testing.assert_array_equal(
        found.draws, ev.bootstrap_pauc(np.where(gone, -1e9, similarity), *table, **options).draws
    )
    dropped = ev.bootstrap_pauc(marked, *table, **options, on_missing="drop")
    left = ev.bootstrap_pauc(similarity[~gone], *(x[~gone] for x in table), **options)
    assert dropped.estimate == left.estimate and dropped.estimate != found.estimate


@pytest.mark.parametrize("population", ["mated", "all"])
def test_impostor_side_is_the_definition(population):
    rng = np.random.default_rng(2)
    similarity, mated = rng.integers(0, 5, 200).astype(float), rng.random(200) < 0.4
    a, b = rng.integers(0, 6, (2, 200)).astype(float)
    curve = ev.edc(similarity, mated, a, b, threshold=3.0, population=population, impostor_side=True)
    quality, units = np.minimum(a, b), np.ones(200, bool) if population == "all" else ~mated
    for cut in np.unique(quality[units]):
        kept = quality >= cut
        share = np.mean(~kept[units])
        expected = np.mean(similarity[kept & ~mated] >= 3) if (kept & ~mated).any() else 0
        assert curve.impostor.at(share) == pytest.approx(expected, abs=1e-15)
    assert curve.impostor.error[0] == curve.realised_fmr and curve.impostor.at(1) == 0
    plain = ev.edc(similarity, mated, a, b, threshold=3.0, population=population)
    assert plain.impostor is None and points_of(plain) == points_of(curve)


def test_impostor_side_of_whole_images_and_where_there_is_none():
    table = [0.9, 0.1, 0.8], [True, True, False], [1, 2, 1], [2, 3, 3]
    images = {"image_a": ["x", "y", "x"], "image_b": ["y", "z", "z"], "population": "images"}
    curve = ev.edc(*table, threshold=0.5, impostor_side=True, **images)
    assert list(zip(curve.impostor.discard, curve.impostor.error, strict=True))[:2] == [(0, 1), (1 / 3, 0)]
    with pytest.raises(DataError, match="no impostor pairs"):
        ev.edc([0.9], [True], [1], [2], threshold=0.5, impostor_side=True)
    for options in ({"convention": "refit"}, {"compat": "crfiqa"}):
        with pytest.raises(DataError, match="re-fitting holds the FMR"):
            ev.edc(*table, fmr=0.5, impostor_side=True, **options)


# ------------------------------------------------------------------------------------------------ the published scripts


def slow_crfiqa(similarity, mated, quality, fmr):
    order = sorted(range(len(quality)), key=lambda i: quality[i])
    result = []
    for rate in np.arange(0, 0.98, 0.05):
        kept = order[int(rate * len(order)) :]
        genuine = [similarity[i] for i in kept if mated[i]]
        impostor = [similarity[i] for i in kept if not mated[i]]
        nearest = None
        for threshold in sorted(set(genuine + impostor)):
            distance = abs(sum(s >= threshold for s in impostor) / len(impostor) - fmr)
            if nearest is None or distance < nearest[0]:
                nearest = distance, threshold
        result.append(1 - sum(s > nearest[1] for s in genuine) / len(genuine))
    return result


def slow_magface(similarity, mated, quality):
    """FNMR "at FMR 1e-3", in distances, as the script counts it."""
    order = sorted(range(len(quality)), key=lambda i: quality[i])
    result = []
    for rate in np.arange(0, 0.98, 0.05):
        kept = order[int(rate * len(order)) :]
        genuine = [-similarity[i] for i in kept if mated[i]]
        impostor = sorted(-similarity[i] for i in kept if not mated[i])
        place, step = len(impostor) - 1, 0
        while True:
            if step == 3:
                rejected = [d for d in genuine if not d < impostor[place]]
                result.append(len(rejected) / len(genuine))
            if place == 0:
                break
            place, step = int(place / 10), step + 1
    return result


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fmr", [1e-1, 1e-2, 1e-3])
def test_crfiqa_mode_reproduces_the_script(seed, fmr):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(90, 260))
    mated = rng.random(n) < 0.5
    similarity = np.round(rng.normal(size=n) + mated, 1 if seed % 2 else 6)  # ties in every second trial
    a, b = np.round(rng.normal(size=(2, n)), 1 if seed % 3 else 6)
    curve = ev.edc(similarity, mated, a, b, fmr=fmr, compat="crfiqa")
    expected = slow_crfiqa(similarity.tolist(), mated.tolist(), np.minimum(a, b).tolist(), fmr)
    np.testing.assert_allclose(curve.error, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(curve.discard, np.arange(20) * 0.05, atol=1e-12)
    assert curve.pauc(0.95) == pytest.approx(np.trapezoid(expected, np.arange(20) * 0.05))
    assert (curve.convention, curve.population, curve.compat) == ("refit", "all", "crfiqa")
    assert curve.starting_error == np.mean(similarity[mated] < curve.threshold)
    assert curve.realised_fmr == np.mean(similarity[~mated] >= curve.threshold)


@pytest.mark.parametrize("seed", range(4))
def test_magface_mode_reproduces_the_script(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2500, 4500))
    mated = rng.random(n) < 0.3
    similarity = np.round(rng.normal(size=n) + 2 * mated, 2 if seed % 2 else 9)
    a, b = np.round(rng.normal(size=(2, n)), 2)
    curve = ev.edc(similarity, mated, a, b, fmr=1e-3, compat="magface")
    expected = slow_magface(similarity.tolist(), mated.tolist(), np.minimum(a, b).tolist())
    np.testing.assert_allclose(curve.error, expected, rtol=0, atol=1e-15)
    assert curve.starting_error == np.mean(similarity[mated] < curve.threshold)


def test_magface_mode_leaves_points_out_as_the_script_does():
    rng = np.random.default_rng(5)
    mated = np.arange(700) % 2 == 0
    similarity, quality = rng.normal(size=700) + mated, rng.normal(size=700)
    curve = ev.edc(similarity, mated, quality, quality, compat="magface")
    expected = slow_magface(similarity.tolist(), mated.tolist(), quality.tolist())
    assert 5 < len(curve.error) == len(expected) < 20
    np.testing.assert_allclose(curve.error, expected, atol=1e-15)
    with pytest.raises(DataError, match="ends at"):
        curve.pauc(0.95)
    with pytest.raises(DataError, match="no threshold for FMR"):
        ev.edc(similarity[:100], mated[:100], quality[:100], quality[:100], compat="magface")


def test_script_modes_draw_random_and_oracle_on_their_own_grid():
    data = make_data()
    curve = ev.edc(data["similarity"], data["mated"], *data["good"], fmr=0.01, compat="crfiqa")
    assert curve.oracle().discard.tolist() == curve.discard.tolist() and curve.oracle().linear
    assert curve.random().area(0.95) == pytest.approx(0.95 * curve.starting_error)
    assert 0 < curve.pauc(0.3, "oracle") < 1 and curve.pauc(0.3, "normalised") < 1
    assert "crfiqa script" in curve.caption()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compat": "crfiqa", "threshold": 0.5}, "fits its own threshold"),
        ({"compat": "crfiqa", "pair_quality": "mean"}, "lower quality"),
        ({"compat": "magface", "fmr": 0.002}, "knows FMR 1, 0.1"),
        ({"compat": "magface", "fmr": 0.0}, "knows FMR 1, 0.1"),
    ],
)
def test_script_modes_refuse_what_the_scripts_can_not(options, message):
    data = make_data()
    with pytest.raises(DataError, match=message):
        ev.edc(data["similarity"], data["mated"], *data["good"], **options)


def test_script_modes_name_a_class_that_runs_out():
    quality = np.arange(40.0)
    with pytest.raises(DataError, match=r"no mated pairs are left at discard 0\.50"):
        ev.edc(quality, quality < 20, quality, quality, fmr=0.1, compat="crfiqa")
    with pytest.raises(DataError, match=r"no impostor pairs are left at discard 0\.50"):
        ev.edc(quality, quality >= 20, quality, quality, fmr=0.1, compat="crfiqa")


def test_the_conventions_differ_on_the_same_pairs():
    rng = np.random.default_rng(11)
    n = 6000
    mated = rng.random(n) < 0.5
    quality = rng.normal(size=n)
    similarity = 3 * mated + rng.normal(size=n) + np.where(mated, 1, -1) * np.minimum(quality, 0)
    fixed, refit, script = (
        ev.edc(similarity, mated, quality, quality, fmr=0.02, **options)
        for options in ({}, {"convention": "refit"}, {"compat": "crfiqa"})
    )
    assert fixed.starting_error == refit.starting_error
    assert len({round(curve.pauc(0.3), 5) for curve in (fixed, refit, script)}) == 3


# ------------------------------------------------------------------------------------------------------------ bootstrap


def drawn_times(seed, data, draws):
    """How often each person is drawn, by name, in each draw."""
    rng, names = np.random.default_rng(seed), sorted(set(data["identity_a"]) | set(data["identity_b"]))
    for _ in range(draws):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        yield dict(zip(names, times.tolist(), strict=True))


@pytest.mark.parametrize("convention", ["fixed", "refit"])
@pytest.mark.parametrize("population", ["mated", "all"])
@pytest.mark.parametrize("kind", ev.KINDS)
def test_draws_equal_pairs_written_out_that_many_times(convention, population, kind):
    data = make_data(n=240, people=12, seed=4)
    known = data["similarity"], data["mated"], *np.round(data["good"], 1)
    people = data["identity_a"], data["identity_b"]
    options = {"fmr": 0.05, "convention": convention, "population": population}
    result = ev.bootstrap_pauc(*known, *people, n_draws=15, random_state=9, limit=0.4, kind=kind, **options)
    for value, times in zip(result.draws, drawn_times(9, data, 15), strict=True):
        copies = [
            times[a] if mated else times[a] * times[b] for a, b, mated in zip(*people, data["mated"], strict=True)
        ]
        written = ev.edc(*(np.repeat(column, copies) for column in known), **options)
        assert value == pytest.approx(written.pauc(0.4, kind), abs=1e-12)


@pytest.mark.parametrize("convention", ["fixed", "refit"])
@pytest.mark.parametrize("kind", ["raw", "normalised"])
def test_draws_of_whole_images_count_each_image_by_its_person(convention, kind):
    data = make_data(n=240, people=12, seed=4)
    a, b = np.round(data["good"], 1)
    options = {
        "fmr": 0.05,
        "convention": convention,
        "image_a": np.char.add(data["identity_a"], a.astype(str)),
        "image_b": np.char.add(data["identity_b"], b.astype(str)),
    }
    people = data["identity_a"], data["identity_b"]
    table = data["similarity"], data["mated"], a, b, *people
    result = ev.bootstrap_pauc(*table, population="images", n_draws=10, random_state=9, limit=0.4, kind=kind, **options)
    for value, times in zip(result.draws, drawn_times(9, data, 10), strict=True):
        assert value == pytest.approx(weighted_image_area(data, a, b, options, times, 0.4, kind), abs=1e-12)


def weighted_image_area(data, a, b, options, times, limit, kind):
    """The area with whole images discarded, each image and each pair counted by its weight, by definition."""
    images = {}
    rows = []
    for i in range(len(a)):
        one, other = data["identity_a"][i], data["identity_b"][i]
        images[options["image_a"][i]] = (a[i], times[one])
        images[options["image_b"][i]] = (b[i], times[other])
        weight = times[one] if data["mated"][i] else times[one] * times[other]
        rows += [(data["similarity"][i], data["mated"][i], min(a[i], b[i]))] * weight
    total = sum(weight for _, weight in images.values())
    threshold, points = None, []
    for cut in sorted({quality for quality, _ in images.values()}):
        gone = sum(w for q, w in images.values() if q < cut) / total
        impostors = [s for s, mated, q in rows if not mated and (q >= cut or not gone)]
        if threshold is None or (options["convention"] == "refit" and impostors):
            threshold = slow_threshold(impostors, options["fmr"])
        remaining = [s for s, mated, q in rows if mated and q >= cut]
        error = sum(s < threshold for s in remaining) / len(remaining) if remaining else 0.0
        points.append((gone, error))
    area = slow_area([*points, (1.0, 0.0)], limit)
    return area / (limit * points[0][1]) if kind == "normalised" else area


def bootstrap(data, method="good", **options):
    options = {"fmr": 0.03, "n_draws": 200} | options
    return ev.bootstrap_pauc(
        data["similarity"], data["mated"], *data[method], data["identity_a"], data["identity_b"], **options
    )


def test_interval_surrounds_the_estimate_and_narrows_with_people():
    few, many = (bootstrap(make_data(n=50 * people, people=people, seed=6)) for people in (20, 320))
    for result in (few, many):
        assert result.low < result.estimate < result.high and result.n_invalid == 0
        assert result.standard_error == pytest.approx(np.std(result.draws, ddof=1))
    assert (many.high - many.low) < 0.5 * (few.high - few.low)
    assert (few.n_identities, many.n_identities) == (20, 320)


def test_identities_matter():
    """With errors that come from whole people, an interval over pairs would be far too narrow."""
    rng = np.random.default_rng(7)
    people, each = 30, 100
    identity = np.repeat(np.arange(people), each)
    failing_people = rng.random(people) < 0.3
    similarity = np.where(failing_people[identity], 0.2, 0.8)
    quality = rng.normal(size=(2, people * each))
    clustered = ev.bootstrap_pauc(
        similarity, np.ones(people * each, bool), *quality, identity, identity, threshold=0.5, n_draws=300
    )
    e0 = failing_people.mean()
    over_pairs = 0.2 * np.sqrt(e0 * (1 - e0) / (people * each))
    over_people = 0.2 * np.sqrt(e0 * (1 - e0) / people)
    assert clustered.standard_error == pytest.approx(over_people, rel=0.25)
    assert clustered.standard_error > 5 * over_pairs


def test_bootstrap_is_repeatable_and_blind_to_row_order():
    data = make_data(n=800, people=20)
    one = bootstrap(data, random_state=3)
    order = np.random.default_rng(0).permutation(800)
    moved = {k: v[..., order] for k, v in data.items()}
    np.testing.assert_array_equal(one.draws, bootstrap(moved, random_state=3).draws)
    assert not np.array_equal(one.draws, bootstrap(data, random_state=4).draws)


def test_holding_the_threshold_leaves_its_uncertainty_out():
    data = make_data(n=2000, people=40, seed=8)
    assert bootstrap(data, refit_threshold=False).standard_error < bootstrap(data).standard_error
    given_threshold = bootstrap(data, threshold=1.5)
    assert given_threshold.estimate == ev.edc(data["similarity"], data["mated"], *data["good"], threshold=1.5).pauc(0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity_a": lambda d: d["identity_a"][:-1]}, "identity_a must name a person for each"),
        ({"identity_a": lambda d: d["identity_b"], "identity_b": lambda d: d["identity_a"][::-1]}, "contradict"),
        ({"identity_b": lambda d: np.where(d["mated"], None, d["identity_b"])}, "missing values"),
        ({"n_draws": lambda d: 1}, "n_draws"),
        ({"confidence": lambda d: 95}, "confidence"),
        ({"kind": lambda d: "cooked"}, "kind must be one of"),
        (
            {"kind": lambda d: "oracle", "population": lambda d: "images"}
            | {f"image_{x}": lambda d: np.arange(200) for x in "ab"},
            "only a bound",
        ),
        ({"compat": lambda d: "crfiqa"}, "not resampled"),
        ({"convention": lambda d: "refit", "refit_threshold": lambda d: False}, "belongs to convention='fixed'"),
        ({"threshold": lambda d: -100.0, "kind": lambda d: "normalised"}, "draws have no value"),
    ],
)
def test_bootstrap_names_what_is_wrong(change, message):
    data = make_data(n=200, people=10)
    call = {key: data[key] for key in ("similarity", "mated", "identity_a", "identity_b")}
    call |= {"quality_a": data["good"][0], "quality_b": data["good"][1], "n_draws": 10}
    with pytest.raises(DataError, match=message):
        ev.bootstrap_pauc(**(call | {key: make(data) for key, make in change.items()}))


def test_one_person_is_not_a_sample():
    with pytest.raises(DataError, match="at least two"):
        ev.bootstrap_pauc([0.1, 0.9], [True, True], [1, 2], [1, 2], ["p", "p"], ["p", "p"], threshold=0.5)


def test_unknown_option_is_named():
    with pytest.raises(TypeError, match="treshold"):
        bootstrap(make_data(n=200), treshold=0.5)


def test_few_impostors_warning_points_at_the_call():
    data = make_data(n=200)
    people = data["identity_a"], data["identity_b"]
    both = {"good": data["good"], "bad": data["bad"]}
    with pytest.warns(FewImpostorsWarning) as caught:
        ev.bootstrap_pauc(data["similarity"], data["mated"], *data["good"], *people, n_draws=3)
        ev.bootstrap_areas(data["similarity"], data["mated"], both, *people, n_draws=3)
        ev.compare(data["similarity"], data["mated"], both, *people, n_draws=3)
    assert [warning.filename for warning in caught] == [__file__] * 3


def test_areas_of_many_methods_are_those_of_each():
    data = make_data(n=800, people=20)
    people = data["identity_a"], data["identity_b"]
    options = {"fmr": 0.05, "n_draws": 20, "kind": "normalised"}
    both = {"good": data["good"], "bad": data["bad"]}
    table = ev.bootstrap_areas(data["similarity"], data["mated"], both, *people, limits=(0.2, 0.3), **options)
    assert list(zip(table["method"], table["limit"], strict=True)) == [(m, x) for m in both for x in (0.2, 0.3)]
    one = bootstrap(data, "bad", limit=0.3, **options)
    last = table.iloc[-1]
    assert (last["pauc"], last["low"], last["high"], last["n_identities"]) == (one.estimate, one.low, one.high, 20)


def test_compare_tells_a_good_method_from_a_bad_one():
    data = make_data(n=4000, people=80, seed=10)
    methods = {"good": data["good"], "bad": data["bad"], "same": data["bad"]}
    table = ev.compare(
        data["similarity"],
        data["mated"],
        methods,
        data["identity_a"],
        data["identity_b"],
        limits=(0.2, 0.3),
        fmr=0.03,
        n_draws=300,
    )
    assert list(zip(table["method"], table["reference"], strict=True))[::2] == [
        ("good", "bad"),
        ("good", "same"),
        ("bad", "same"),
    ]
    first = table.iloc[0]
    assert first["difference"] == pytest.approx(first["pauc"] - first["pauc_reference"])
    assert first["low"] <= first["difference"] <= first["high"] < 0
    assert first["probability_better"] > 0.99 and first["p_value"] < 0.05
    last = table.iloc[-1]
    assert last["difference"] == last["low"] == last["high"] == 0
    assert last["p_value"] == 1 and last["probability_better"] == 0.5
    only = ev.compare(
        data["similarity"],
        data["mated"],
        methods,
        data["identity_a"],
        data["identity_b"],
        reference="bad",
        fmr=0.03,
        n_draws=20,
    )
    assert only["method"].tolist() == ["good", "same"] and (only["reference"] == "bad").all()


def test_compare_pairs_the_draws():
    data = make_data(n=1500, people=30, seed=12)
    call = (data["similarity"], data["mated"])
    people = (data["identity_a"], data["identity_b"])
    options = {"fmr": 0.03, "n_draws": 60, "random_state": 2}
    one, other = (ev.bootstrap_pauc(*call, *data[m], *people, **options).draws for m in ("good", "bad"))
    table = ev.compare(*call, {"good": data["good"], "bad": data["bad"]}, *people, **options)
    assert table["low"][0] == pytest.approx(np.quantile(one - other, 0.025))
    assert table["probability_better"][0] == np.mean(one < other)


def test_compare_drops_a_pair_that_one_method_lacks_for_all():
    data = make_data(n=600, people=20, seed=13)
    holes = np.ma.masked_array(data["bad"], mask=np.random.default_rng(0).random((2, 600)) < 0.05)
    keep = ~np.ma.getmaskarray(holes).any(axis=0)
    options = {"fmr": 0.05, "n_draws": 20}
    dropped = ev.compare(
        data["similarity"],
        data["mated"],
        {"good": data["good"], "bad": holes},
        data["identity_a"],
        data["identity_b"],
        on_missing="drop",
        **options,
    )
    kept = ev.compare(
        data["similarity"][keep],
        data["mated"][keep],
        {"good": data["good"][:, keep], "bad": data["bad"][:, keep]},
        data["identity_a"][keep],
        data["identity_b"][keep],
        **options,
    )
    pd.testing.assert_frame_equal(dropped, kept)


def test_compare_needs_two_methods_and_a_known_reference():
    data = make_data(n=100, people=10)
    call = data["similarity"], data["mated"]
    with pytest.raises(DataError, match="at least two methods"):
        ev.compare(*call, {"good": data["good"]}, data["identity_a"], data["identity_b"])
    with pytest.raises(DataError, match="'ugly' is not among"):
        both = {"good": data["good"], "bad": data["bad"]}
        ev.compare(*call, both, data["identity_a"], data["identity_b"], reference="ugly")


def test_draws_without_a_class_are_counted_not_guessed():
    # two people: a draw often holds only one of them, and then no impostor pair
    result = ev.bootstrap_pauc(
        [0.9, 0.2, 0.8, 0.1, 0.5],
        [True, True, True, True, False],
        [1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5],
        ["a", "a", "b", "b", "a"],
        ["a", "a", "b", "b", "b"],
        n_draws=200,
    )
    assert 60 < result.n_invalid < 140 and np.isnan(result.draws).sum() == result.n_invalid


# ---------------------------------------------------------------------------------------------------------- comparisons


def test_cross_model_matrix_marks_the_diagonal():
    data = make_data()
    other = data["similarity"] + np.random.default_rng(1).normal(size=3000) / 3
    table = ev.cross_model_matrix(
        {"dlib": data["similarity"], "arcface": other},
        data["mated"],
        {"dlib": data["good"], "sharpness": data["bad"]},
        fmr=0.03,
        limit=0.3,
    )
    assert table.set_index(["quality", "recogniser"])["relation"].to_dict() == {
        ("dlib", "dlib"): "same model",
        ("dlib", "arcface"): "cross model",
        ("sharpness", "dlib"): "cross model",
        ("sharpness", "arcface"): "cross model",
    }
    matrix = table.pivot(index="quality", columns="recogniser", values="pauc")
    expected = ev.edc(other, data["mated"], *data["good"], fmr=0.03).pauc(0.3, "normalised")
    assert matrix.loc["dlib", "arcface"] == expected


def test_rank_correlations_are_scipys():
    rng = np.random.default_rng(2)
    a = rng.normal(size=50)
    table = ev.rank_correlations({"a": a, "b": np.round(a + rng.normal(size=50), 1), "flat": np.ones(50)})
    first = table.iloc[0]
    b = np.round(a + np.random.default_rng(2).normal(size=100)[50:], 1)
    assert first["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert first["kendall"] == pytest.approx(stats.kendalltau(a, b).statistic)
    assert table.iloc[1][["spearman", "kendall"]].isna().all() and (table["n"] == 50).all()
    same = ev.rank_correlations(pd.DataFrame({"x": a, "y": np.exp(a), "z": -a}))
    assert same["spearman"].tolist() == pytest.approx([1, -1, -1])
    with pytest.raises(DataError, match="NaN"):
        ev.rank_correlations({"a": [1.0, np.nan], "b": [1, 2]})
    missing = ev.rank_correlations({"a": [None, 1, 2], "b": [-5, 1, 2]})
    assert missing["kendall"][0] == pytest.approx(1)


def test_rank_stability_ranks_every_setting():
    data = make_data(n=4000, seed=14)
    rng = np.random.default_rng(0)
    middling = data["good"] + rng.normal(size=data["good"].shape)
    table = ev.rank_stability(
        data["similarity"],
        data["mated"],
        {"bad": data["bad"], "middling": middling, "good": data["good"]},
        starting_errors=(0.05, 0.2),
    )
    assert len(table) == 3 * len(ev.LIMITS) * 2
    np.testing.assert_allclose(table["starting_error"], table["target_error"], atol=5e-4)
    means = table.groupby("method")["rank"].mean()
    assert means["good"] < means["middling"] < means["bad"]
    one = table[(table["target_error"] == 0.2) & (table["limit"] == 0.3)].set_index("method")
    assert one["rank"].to_dict() == one["pauc"].rank().to_dict()
    assert one["kendall"].iloc[0] == pytest.approx(stats.kendalltau(one["rank"], one["mean_rank"]).statistic)
    genuine = np.sort(data["similarity"][data["mated"]])
    curve = ev.edc(data["similarity"], data["mated"], *data["good"], threshold=genuine[round(0.2 * len(genuine))])
    assert one.loc["good", "pauc"] == curve.pauc(0.3)


def test_rank_stability_refuses_errors_below_one_pair():
    data = make_data(n=100)
    with pytest.raises(DataError, match="is 0 of"):
        ev.rank_stability(data["similarity"], data["mated"], {"good": data["good"]}, starting_errors=(0.001,))


# ------------------------------------------------------------------------------------------------------------- fairness


def test_gini_of_equal_and_of_one_sided_groups():
    assert ev.gini([4, 4, 4]) == 0 and ev.gini([0, 0]) == 0
    assert ev.gini([1, 0]) == pytest.approx(1) and ev.gini([5, 0, 0, 0]) == pytest.approx(1)
    with pytest.raises(DataError, match="at least two"):
        ev.gini([1])
    with pytest.raises(DataError, match="finite values of at least 0"):
        ev.gini([1, -1])


def test_fairness_counts_discards_at_one_threshold():
    quality = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, None], dtype=object)
    groups = ["x", "x", "x", "y", "x", "y", "y", "y", "x", "y"]
    table = ev.fairness(quality, groups, discard=0.4).set_index("group")
    assert table["quality_threshold"].tolist() == [4, 4]  # below it: 1, 2, 3 and the missing one, 4 of 10
    assert table["discard_rate"].to_dict() == {"x": 3 / 5, "y": 1 / 5}
    assert table.loc["y", "mean_quality"] == pytest.approx((4 + 6 + 7 + 8) / 4)
    gc = ev.gini([3 / 5, 1 / 5])
    assert table["gc"].tolist() == pytest.approx([gc, gc])
    assert table["one_minus_gc_cubed"].iloc[0] == pytest.approx((1 - gc) ** 3)
    unassessed = ev.fairness([None, None, None, 4, 5, 6], list("xxxxyy"), discard=0.2)
    assert unassessed["discard_rate"].tolist() == [3 / 4, 0]  # below any threshold, even that of -inf
    given_one = ev.fairness(quality, groups, quality_threshold=7.5)
    assert given_one["discard_rate"].tolist() == [4 / 5, 4 / 5] and given_one["gc"].iloc[0] == 0


def test_fairness_of_the_golden_means():
    quality = np.array([34.0, 36, 94, 96, 89, 89])
    table = ev.fairness(quality, list("aabbcc"), measure="mean_quality")
    assert table["mean_quality"].tolist() == [35, 95, 89]
    assert table["gc"].iloc[0] == pytest.approx(0.273973, abs=5e-7)
    assert table["one_minus_gc_cubed"].iloc[0] == pytest.approx(0.382700, abs=5e-7)


def test_fairness_with_pairs_gives_each_group_its_curve():
    rng = np.random.default_rng(3)
    n, pairs = 400, 6000
    groups = np.where(np.arange(n) < 200, "old", "young")
    quality = rng.normal(size=n)
    a = rng.integers(0, n, pairs)
    mated = rng.random(pairs) < 0.5
    b = np.where(mated, (a // 200) * 200 + rng.integers(0, 200, pairs), rng.integers(0, n, pairs))
    similarity = rng.normal(size=pairs) + 2 * mated - 0.5 * mated * (groups[a] == "old")
    table = ev.fairness(
        quality, groups, similarity=similarity, mated=mated, index_a=a, index_b=b, fmr=0.02, limit=0.3
    ).set_index("group")
    assert table.loc["old", "starting_error"] > table.loc["young", "starting_error"]
    threshold = fit_threshold(similarity[~mated], 0.02)
    young = (groups[a] == "young") & (groups[b] == "young")
    curve = ev.edc(similarity[young], mated[young], quality[a[young]], quality[b[young]], threshold=threshold)
    assert table.loc["young", "pauc"] == curve.pauc(0.3)
    assert table.loc["young", "fmr"] == np.mean(similarity[young & ~mated] >= threshold)
    assert table.loc["young", "n_mated"] == (young & mated).sum()


def test_fairness_names_what_is_wrong():
    with pytest.raises(DataError, match="at least two groups"):
        ev.fairness([1, 2], ["x", "x"])
    with pytest.raises(DataError, match="measure must be one of"):
        ev.fairness([1, 2], ["x", "y"], measure="luck")
    pairs = {"similarity": [0.1, 0.9], "mated": [True, False], "index_a": [0, 0], "index_b": [1, 1]}
    with pytest.raises(DataError, match="span two groups"):
        ev.fairness([1, 2], ["x", "y"], **pairs)
    with pytest.raises(DataError, match="positions of faces"):
        ev.fairness([1, 2], ["x", "y"], **pairs | {"index_b": [1, 2]})
    with pytest.raises(DataError, match="a face's position for each"):
        ev.fairness([1, 2], ["x", "y"], **pairs | {"index_b": [1]})
    with pytest.raises(DataError, match="group 'y' has no mated pairs"):
        ev.fairness([1, 2, 3], ["x", "x", "y"], **pairs)
