"""The protocol against definitions written out: roles, failure to enrol, judging, Holm, the winner's curse."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from fiqa_lib import evaluation as ev
from fiqa_lib.data import orl_d, split_by_identity
from fiqa_lib.data.pairs import PairIndices
from fiqa_lib.errors import DataError
from fiqa_lib.evaluation import bootstrap, protocol
from fiqa_lib.evaluation.verification import FewImpostorsWarning
from fiqa_lib.transforms.kinds import KINDS

pytestmark = [
    pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.protocol.FewPeopleWarning"),
    pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.protocol.FewDrawsWarning"),
    pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.verification.FewImpostorsWarning"),
]
FMR = 0.02  # small data


class World:
    """Faces of some people with a true quality; two networks that fail on bad faces, each with a taste of its own."""

    def __init__(self, n_people=24, each=5, seed=0):
        rng = np.random.default_rng(seed)
        self.people = np.repeat([f"p{i:02d}" for i in range(n_people)], each)
        n = len(self.people)
        a, b = np.triu_indices(n, 1)
        self.pairs = PairIndices(a, b, self.people[a] == self.people[b])
        self.quality, tastes = rng.normal(size=n), {net: rng.normal(size=n) for net in ("one", "two")}
        self.similarities = {}
        for net, taste in tastes.items():
            total = self.quality + taste
            mean = np.where(self.pairs.mated, 1 + 0.35 * np.minimum(total[a], total[b]), 0)
            self.similarities[net] = mean + rng.normal(scale=0.25, size=len(a))
        self.scores = {
            "good": self.quality,
            "of one": self.quality + tastes["one"],
            "noise": rng.normal(size=n),
            "coarse": np.round(self.quality),
        }

    def sides(self, name):
        return self.scores[name][self.pairs.index_a], self.scores[name][self.pairs.index_b]

    @property
    def who(self):
        return self.people[self.pairs.index_a], self.people[self.pairs.index_b]


@pytest.fixture(scope="module")
def world():
    return World()


def judged(world, **options):
    options = {"reference": "noise", "own": {"of one": "one"}, "fmr": FMR, "draws": 60, **options}
    return protocol.judge(world.scores, world.pairs, world.similarities, world.people, **options)


# --- roles and families


def test_orls_people_have_the_roles_they_have_had_since_the_first_lesson(orl):
    train, test = split_by_identity(orl)
    roles = dict(zip(orl.identities, protocol.orl_roles(orl.identities), strict=True))
    assert {who for who, role in roles.items() if role == "report"} == set(test.identities)
    assert {who for who, role in roles.items() if role != "report"} == set(train.identities)
    of = {role: sorted(who for who, r in roles.items() if r == role) for role in protocol.ROLES}
    assert [len(of[role]) for role in protocol.ROLES] == [12, 8, 20]
    # written out, so that a change of NumPy's generator cannot change them unseen
    assert of["learn"] == LEARN and of["choose"] == CHOOSE
    order = np.random.default_rng(0).permutation(sorted(roles))
    assert set(order[:12]) == set(LEARN) and set(order[12:20]) == set(CHOOSE)
    with pytest.raises(DataError, match="at least 4"):
        protocol.orl_roles(["a", "b", "c"])


LEARN = ["s02", "s03", "s04", "s05", "s11", "s12", "s19", "s23", "s24", "s25", "s28", "s35"]
CHOOSE = ["s01", "s18", "s21", "s27", "s29", "s31", "s38", "s39"]


def test_orl_d_of_the_report_people_is_orl_d(orl):
    few = orl[np.isin(np.arange(len(orl)) % 10, (0, 1))]
    mine, theirs = protocol.orl_d_of("report", few, kinds=["jpeg"], copies=3), orl_d(few, kinds=["jpeg"], copies=3).test
    np.testing.assert_array_equal(mine.images, theirs.images)
    assert mine.names.tolist() == theirs.names.tolist()
    learn = protocol.orl_d_of("learn", few, kinds=["jpeg"], copies=3)
    assert set(learn.attributes["severity"]) == {0.0, *protocol.SEVERITIES} == set(mine.attributes["severity"])
    with pytest.raises(DataError, match="role must be"):
        protocol.orl_d_of("test", few)


def test_every_kind_of_damage_has_one_family():
    kinds = [kind for family in protocol.FAMILIES.values() for kind in family]
    assert sorted(kinds) == sorted(KINDS) and list(protocol.FAMILIES) == ["blur", "noise", "light", "cover", "geometry"]
    for family, learned, tested in protocol.leave_family_out():
        assert set(learned) | set(tested) == set(KINDS) and not set(learned) & set(tested)
        assert {protocol.FAMILY_OF[kind] for kind in tested} == {family}
        assert list(learned) == [kind for kind in KINDS if kind not in tested]


def test_the_line_that_lessons_print():
    line = protocol.describe()
    assert line == (
        "ORL-D (severities 0.2, 0.4, 0.6, 0.8; 12 people learn, 8 choose, 20 report), report people: FNMR at "
        "FMR 0.001, threshold fixed at zero discard; area up to 20% discard (5% and 30% beside it), "
        "oracle-scaled: 0 the oracle, 1 chance; intervals over people"
    )
    assert "50% learn, 20% choose, 30% report" in protocol.describe("lfw", "choose") and "\n" not in line
    for wrong in (("imagenet", "report"), ("lfw", "test")):
        with pytest.raises(DataError):
            protocol.describe(*wrong)


# --- failure to enrol


def test_who_is_not_enrolled_fails_and_matches_nobody(monkeypatch):
    embeddings = np.array([[1, 0], [1, 0.1], [np.nan, np.nan], [0, 1], [1, 1]], np.float32)
    pairs = PairIndices(
        np.array([0, 0, 1, 2, 0]), np.array([1, 2, 3, 3, 4]), np.array([True, True, False, False, True])
    )
    expected = [
        -math.inf
        if np.isnan(embeddings[[i, j]]).any()
        else embeddings[i] @ embeddings[j] / np.linalg.norm(embeddings[i]) / np.linalg.norm(embeddings[j])
        for i, j in zip(pairs.index_a, pairs.index_b, strict=True)
    ]
    for size in (20_000, 1, 2):
        monkeypatch.setattr(protocol, "PAIRS_AT_ONCE", size)
        found = protocol.similarities(embeddings, pairs)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    threshold = ev.fit_threshold(found[~pairs.mated], 0.4, warn=False)
    assert threshold > -math.inf and found[1] < threshold and found[3] < threshold
    all_missing = protocol.similarities(np.full((2, 3), np.nan), PairIndices([0], [1], [False]))
    assert ev.fit_threshold(all_missing, 1e-3, warn=False) > all_missing[0]


def test_failures_raise_the_starting_error_by_their_share(world):
    lost = np.arange(len(world.people)) % 10 == 0
    touched = lost[world.pairs.index_a] | lost[world.pairs.index_b]
    failing = {net: np.where(touched, -np.inf, s) for net, s in world.similarities.items()}
    made = protocol.judge(world.scores, world.pairs, failing, world.people, reference="noise", fmr=FMR, draws=20)
    assert made.support["not_enrolled"].tolist() == [int((touched & world.pairs.mated).sum())] * 2
    for net, s in failing.items():
        threshold = made.support.set_index("network")["threshold"][net]
        row = made.table.query("column == @net and method == 'good'").iloc[0]
        assert row["starting_error"] == np.mean(s[world.pairs.mated] < threshold)
        assert np.mean(s[~world.pairs.mated] >= threshold) <= FMR


# --- judging


def listed(world, times):
    """Rows of the pairs, each as often as a draw counts it."""
    a, b, mated = world.pairs
    position = {name: i for i, name in enumerate(sorted(set(world.people)))}
    count = []
    for i, j, same in zip(a, b, mated, strict=True):
        m, n = times[position[world.people[i]]], times[position[world.people[j]]]
        count.append(m if same else m * n)
    return np.repeat(np.arange(len(a)), count)


def slow_area(world, net, name, limit, rows, threshold=None):
    qa, qb = world.sides(name)
    similarity, mated = world.similarities[net][rows], world.pairs.mated[rows]
    curve = ev.edc(similarity, mated, qa[rows], qb[rows], fmr=FMR, threshold=threshold)
    return curve.pauc(limit, "oracle")


def test_the_table_is_the_definition(world):
    draws, limits = 25, (0.2, 0.3)
    made = judged(world, draws=draws, limits=limits, random_state=3)
    rng, n = np.random.default_rng(3), len(set(world.people))
    all_rows = np.arange(len(world.pairs.mated))
    samples = [
        listed(world, np.bincount(rng.integers(n, size=n), minlength=n)) for _ in range(draws)
    ]  # the same for both networks
    columns = {
        ("of one", "same model"): ["one"],
        ("of one", "cross model"): ["two"],
        ("good", "cross model"): ["one", "two"],
        ("noise", "two"): ["two"],
        ("coarse", "one"): ["one"],
    }
    for (name, column), nets in columns.items():
        row = made.table.set_index(["method", "column", "limit"]).loc[(name, column, 0.2)]
        assert row["networks"] == "+".join(nets)
        area = {m: np.mean([slow_area(world, net, m, 0.2, all_rows) for net in nets]) for m in (name, "noise")}
        drawn = {
            m: np.array([np.mean([slow_area(world, net, m, 0.2, r) for net in nets]) for r in samples])
            for m in (name, "noise")
        }
        assert row["oracle_scaled"] == pytest.approx(area[name], abs=1e-12)
        np.testing.assert_allclose([row["low"], row["high"]], np.quantile(drawn[name], [0.025, 0.975]), atol=1e-12)
        if name == "noise":
            assert row["verdict"] == "reference" and np.isnan(row["difference"]) and np.isnan(row["p_holm"])
            continue
        difference = drawn[name] - drawn["noise"]
        assert row["difference"] == pytest.approx(area[name] - area["noise"], abs=1e-12)
        tail = min(np.sum(difference >= 0), np.sum(difference <= 0))
        assert row["p_value"] == min(1, 2 * (1 + tail) / (draws + 1))
    # every method with every column that it has, at every limit
    assert len(made.table) == len(limits) * (1 + 4 + 2 * 4)
    assert set(made.table.query("column == 'same model'")["method"]) == {"of one"}


def test_corrected_intervals_and_verdicts(world):
    made = judged(world, draws=400)
    for (_, _), part in made.table.groupby(["column", "limit"], sort=False):
        compared = part[part["verdict"] != "reference"]
        np.testing.assert_array_equal(compared["p_holm"], slow_holm(compared["p_value"].tolist()))
        for row in compared.itertuples():
            outside = row.difference_high < 0 or row.difference_low > 0
            sure = row.p_holm <= 0.05 and outside
            side = "better" if row.difference < 0 else "worse"
            assert row.verdict == (side if sure else "cannot tell")
            assert row.difference_low <= row.difference <= row.difference_high
    head = made.table.query("limit == 0.2").set_index(["method", "column"])
    assert head.loc[("good", "cross model"), "verdict"] == "better"
    assert head.loc[("good", "cross model"), "oracle_scaled"] < 0.9 < head.loc[("noise", "one"), "high"]


def test_a_corrected_interval_is_wider(world):
    few, many = judged(world, draws=300), None
    world_of_many = World()
    rng = np.random.default_rng(9)
    world_of_many.scores |= {f"noise {i}": rng.normal(size=len(world.people)) for i in range(6)}
    many = judged(world_of_many, draws=300)
    width = [
        made.table.query("method == 'good' and column == 'cross model' and limit == 0.2").iloc[0]
        for made in (few, many)
    ]
    assert width[0]["difference"] == width[1]["difference"] and width[0]["p_value"] == width[1]["p_value"]
    assert (
        width[1]["difference_high"] - width[1]["difference_low"]
        > width[0]["difference_high"] - width[0]["difference_low"]
    )


def test_noise_against_noise_is_never_better():
    """Under no difference at all, a verdict other than "cannot tell" must be rare."""
    wrong = 0
    for seed in range(12):
        world = World(n_people=16, each=4, seed=seed)
        rng = np.random.default_rng(100 + seed)
        world.scores = {f"noise {i}": rng.normal(size=len(world.people)) for i in range(4)}
        made = protocol.judge(
            world.scores,
            world.pairs,
            world.similarities,
            world.people,
            reference="noise 0",
            fmr=FMR,
            draws=200,
            limits=(0.2,),
        )
        wrong += (made.table.query("column == 'cross model'")["verdict"].isin(["better", "worse"])).any()
    assert wrong <= 3


def test_flattery_needs_the_interval_of_the_interaction():
    world = World(n_people=60, each=5, seed=2)
    made = judged(world, draws=300)
    row = made.flattery.query("limit == 0.2").iloc[0]
    assert made.flattery["method"].unique().tolist() == ["of one"] and row["own"] == "one"
    everything = np.arange(len(world.pairs.mated))
    area = {(m, net): slow_area(world, net, m, 0.2, everything) for m in ("of one", "noise") for net in ("one", "two")}
    on_own, on_other = (area["of one", net] - area["noise", net] for net in ("one", "two"))
    assert row["interaction"] == pytest.approx(on_own - on_other, abs=1e-12)
    assert row["interaction"] < 0 and row["high"] < 0 and row["verdict"] == "flattered"
    honest = judged(world, draws=300, own={"good": "one"})  # knows neither network's taste
    assert honest.flattery.query("limit == 0.2")["verdict"].tolist() == ["cannot tell"]
    assert len(judged(world, draws=20, own=None).flattery) == 0


def test_side_by_side(world):
    made = judged(world)
    wide = made.side_by_side()
    assert sorted(wide["method"]) == sorted(world.scores)
    assert wide["cross_oracle_scaled"].is_monotonic_increasing
    assert wide.set_index("method")["same_oracle_scaled"].notna().to_dict() == {
        "good": False,
        "of one": True,
        "noise": False,
        "coarse": False,
    }
    with pytest.raises(DataError, match="no limit 0.5"):
        made.side_by_side(0.5)


def test_a_method_of_all_networks_has_no_cross_model_number(world):
    made = judged(world, own={"of one": ["one", "two"]}, draws=20)
    assert made.table.query("method == 'of one' and column == 'cross model'").empty and made.flattery.empty
    assert made.side_by_side().iloc[-1]["method"] == "of one"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "nobody"}, "the reference 'nobody' is not among"),
        ({"own": {"nobody": "one"}}, "no methods"),
        ({"own": {"good": "three"}}, "do not verify"),
    ],
)
def test_unknown_names_are_named(world, options, message):
    with pytest.raises(DataError, match=message):
        judged(world, **options)


def test_wrong_scores_are_refused(world):
    for wrong, message in ((np.zeros(3), "one for each"), (np.full(len(world.people), np.nan), "NaN")):
        with pytest.raises(DataError, match=message):
            protocol.judge(
                {"a": world.quality, "b": wrong}, world.pairs, world.similarities, world.people, reference="a", draws=5
            )


# --- warnings: pairs, people, draws


def test_few_people_few_pairs_and_few_draws_are_said(world):
    with pytest.warns(protocol.FewPeopleWarning, match=r"effective people in mated pairs \(one\)") as caught:
        judged(world)
    assert {w.filename for w in caught if w.category is protocol.FewPeopleWarning} == {__file__}
    with pytest.warns(protocol.FewDrawsWarning, match="take at least 120"):
        judged(world, draws=50)
    with pytest.warns(FewImpostorsWarning, match="expected false matches") as caught:
        judged(world, fmr=1e-3)
    assert {w.filename for w in caught if w.category is FewImpostorsWarning} == {__file__}
    given = world.scores, world.pairs, world.similarities, world.people
    with pytest.warns(FewImpostorsWarning, match="expected false matches") as caught:
        protocol.out_of_bag_winner(*given, draws=10)
    assert {w.filename for w in caught if w.category is FewImpostorsWarning} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error", protocol.FewDrawsWarning)
        judged(world, draws=120)


def test_enough_people_are_no_warning():
    world = World(n_people=70, each=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(world, draws=120)


def test_support_counts_people_not_pairs():
    who_a = np.array(["a"] * 6 + ["b"] * 3 + ["c", "a", "a", "b"])
    who_b = np.array(["a"] * 6 + ["b"] * 3 + ["c", "d", "e", "d"])
    mated = who_a == who_b
    similarity = np.array([0.1, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.2, 0.8, 0.1, 0.7])
    found = protocol.support(similarity, mated, who_a, who_b, 0.5)
    assert found == (3, 100 / (36 + 9 + 1), 2, 3)  # a and c fail; a, b, d match falsely


# --- strata


def test_strata_hold_the_starting_error():
    world = World(n_people=40, each=4, seed=4)
    similarity, (a, b) = world.similarities["one"], world.who
    given = {"good": world.sides("good")}
    threshold = ev.fit_threshold(similarity[~world.pairs.mated], FMR, warn=False)
    spread = {}
    for strata in (None, "errors"):
        options = bootstrap.BootstrapOptions(n_draws=200, strata=strata, fmr=FMR, refit_threshold=False)
        draws = list(bootstrap._Given.of(similarity, world.pairs.mated, given, a, b, options, 2).draws())
        names = sorted(set(world.people))
        assert all(draw.sum() == len(names) for draw in draws)
        if strata:
            groups = bootstrap.error_strata(similarity, world.pairs.mated, a, threshold)
            for label in set(groups.values()):
                members = [names.index(who) for who, its in groups.items() if its == label]
                assert all(draw[members].sum() == len(members) for draw in draws)
        failing = world.pairs.mated & (similarity < threshold)
        counts = np.array([[np.sum(mask & (a == who)) for who in names] for mask in (failing, world.pairs.mated)])
        spread[strata] = np.std([(draw @ counts[0]) / (draw @ counts[1]) for draw in draws])
    assert spread["errors"] < 0.6 * spread[None]


def test_error_strata_are_the_definition():
    who = np.array(list("aaabbbcccdde"))
    mated = np.array([True] * 11 + [False])
    similarity = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0.0])
    # failing: a 3, b 1, c 0, d 2; the median of 1, 2, 3 is 2
    assert bootstrap.error_strata(similarity, mated, who, 0.5) == {"a": 2, "b": 1, "c": 0, "d": 1}


def test_without_strata_the_draws_are_those_of_old(world):
    similarity, who = world.similarities["one"], world.who
    options = {"fmr": FMR, "n_draws": 40, "kind": "oracle"}
    plain = ev.bootstrap_areas(similarity, world.pairs.mated, {"good": world.sides("good")}, *who, **options)
    one_group = dict.fromkeys(world.people.tolist(), "all")
    grouped = ev.bootstrap_areas(
        similarity, world.pairs.mated, {"good": world.sides("good")}, *who, strata=one_group, **options
    )
    pd.testing.assert_frame_equal(plain, grouped)
    rng, n = np.random.default_rng(0), len(set(world.people))
    areas = [
        slow_area(world, "one", "good", 0.2, listed(world, np.bincount(rng.integers(n, size=n), minlength=n)))
        for _ in range(40)
    ]
    row = plain.query("limit == 0.2").iloc[0]
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(areas, [0.025, 0.975]), atol=1e-12)
    with pytest.raises(DataError, match="strata must be"):
        ev.bootstrap_areas(similarity, world.pairs.mated, {"good": world.sides("good")}, *who, strata="people")


def test_a_stratified_judgement_has_the_same_numbers_and_other_intervals(world):
    plain, stratified = judged(world), judged(world, stratified=True)
    columns = ["oracle_scaled", "difference", "normalised"]
    pd.testing.assert_frame_equal(plain.table[columns], stratified.table[columns])
    assert not np.allclose(plain.table["low"], stratified.table["low"])


# --- Holm


def slow_holm(p_values):
    """The step-down rule, one after the other."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, before = [None] * len(p_values), 0.0
    for rank, i in enumerate(order):
        before = max(before, min(1.0, p_values[i] * (len(p_values) - rank)))
        out[i] = before
    return out


def test_holm():
    assert protocol.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 7, 30):
        p = np.round(rng.random(size) ** 3, 2).tolist()
        assert protocol.holm(p).tolist() == slow_holm(p)
    np.testing.assert_array_equal(protocol.holm([0.02, np.nan, 0.04]), [0.04, np.nan, 0.04])
    for wrong in ([1.2], [-0.1], [[0.1]]):
        with pytest.raises(DataError, match="p-values"):
            protocol.holm(wrong)


# --- the winner's curse


def test_the_winner_is_judged_on_those_left_out(world):
    draws = 15
    table = protocol.out_of_bag_winner(
        world.scores, world.pairs, world.similarities, world.people, fmr=FMR, draws=draws, random_state=5
    )
    rng, n = np.random.default_rng(5), len(set(world.people))
    thresholds = {
        net: float(ev.fit_threshold(s[~world.pairs.mated], FMR, warn=False)) for net, s in world.similarities.items()
    }
    won, promised, kept, outside = [], [], [], []
    for _ in range(draws):
        times = np.bincount(rng.integers(n, size=n), minlength=n)
        numbers = []
        for counts in (times, (times == 0).astype(int)):
            rows = listed(world, counts)
            numbers.append(
                [
                    np.mean([slow_area(world, net, m, 0.2, rows, thresholds[net]) for net in thresholds])
                    for m in world.scores
                ]
            )
        best = int(np.argmin(numbers[0]))
        won.append(best)
        promised.append(numbers[0][best])
        kept.append(numbers[1][best])
        outside.append(numbers[1])
    by_name = table.set_index("method")
    for place, name in enumerate(world.scores):
        assert by_name.loc[name, "chosen"] == pytest.approx(np.mean(np.array(won) == place))
        assert by_name.loc[name, "out_of_bag"] == pytest.approx(np.mean(outside, axis=0)[place], abs=1e-12)
    last = table.iloc[-1]
    assert last["method"] == protocol.WINNER
    assert last["in_bag"] == pytest.approx(np.mean(promised), abs=1e-12)
    assert last["out_of_bag"] == pytest.approx(np.mean(kept), abs=1e-12)
    assert last["optimism"] == pytest.approx(np.mean(kept) - np.mean(promised), abs=1e-12)


def test_the_best_of_many_noises_promises_too_much():
    world = World(n_people=40, each=4, seed=8)
    rng = np.random.default_rng(1)
    world.scores = {f"noise {i}": rng.normal(size=len(world.people)) for i in range(15)}
    last = protocol.out_of_bag_winner(
        world.scores, world.pairs, world.similarities, world.people, fmr=FMR, draws=60
    ).iloc[-1]
    assert last["in_bag"] < 0.95 and last["optimism"] > 0.05


def test_out_of_bag_refuses_what_it_is_not(world):
    with pytest.raises(DataError, match="fixed threshold of all people"):
        bootstrap.out_of_bag_areas(
            world.similarities["one"], world.pairs.mated, {"a": world.sides("good")}, *world.who, convention="refit"
        )
