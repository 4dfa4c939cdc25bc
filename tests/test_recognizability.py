import numpy as np
import pandas as pd
import pytest

from fiqa_lib.data import non_faces, split_by_identity
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import SIZE, Faces
from fiqa_lib.labels.recognizability import (
    calibrate,
    centre_of,
    clean_stranger_distance,
    cluster,
    describe_clusters,
    pool_template,
    recognised,
    recognizability,
)
from fiqa_lib.recognition import Recogniser
from fiqa_lib.scorers.recognizability import Recognizability
from fiqa_lib.transforms import degrade


def test_score_at_known_directions():
    centre = np.array([1.0, 0, 0])
    faces = np.array([[2.0, 0, 0], [1, 1, 0], [0, 5, 0], [-3, 0, 0]])
    np.testing.assert_allclose(recognizability(faces, centre), [0, 1 - np.sqrt(0.5), 1, 1], atol=1e-12)
    np.testing.assert_allclose(recognizability(faces * 7, centre), recognizability(faces, centre))


def test_centre_counts_directions_not_lengths():
    np.testing.assert_allclose(centre_of([[100.0, 0], [0, 1]]), [np.sqrt(0.5)] * 2)


def test_clusters_merge_by_the_mean_cosine_distance():
    angles = np.radians([0, 10, 80])
    rows = np.column_stack([np.cos(angles), np.sin(angles)])
    mean = np.mean([1 - np.cos(np.radians(80)), 1 - np.cos(np.radians(70))])
    assert len(set(cluster(rows, mean + 1e-6))) == 1
    labels = cluster(rows * [[3], [1], [9]], mean - 1e-6)
    assert labels[0] == labels[1] != labels[2]


def test_description_of_clusters_by_hand():
    labels = [0, 0, 0, 0, 1, 1, 1, 2]
    table = describe_clusters(labels, ["a", "a", "b", "b", "a", "a", "", ""])
    assert table["size"].tolist() == [4, 3, 1]
    assert table["non_faces"].tolist() == [0, 1, 1]
    assert table["people"].tolist() == [2, 1, 0]
    np.testing.assert_allclose(table["mixed"], [2, 1, 0])
    uneven = describe_clusters([0] * 4, ["a", "a", "a", "b"])["mixed"][0]
    assert uneven == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_strangers_decide_where_the_tree_is_cut():
    rng = np.random.default_rng(0)
    rows, who = rng.normal(size=(30, 4)), np.repeat(list("abc"), 10)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    literal = [1 - unit[i] @ unit[j] for i in range(30) for j in range(i + 1, 30) if who[i] != who[j]]
    assert clean_stranger_distance(rows, who) == pytest.approx(np.quantile(literal, 0.05))
    with pytest.raises(DataError, match="two people"):
        clean_stranger_distance(rows, ["a"] * 30)


class Table(Recogniser):
    """Embeddings by the number that a face's first pixels hold."""

    name, dim = "table", 16

    def __init__(self, rows):
        self.rows = np.asarray(rows, np.float32)

    def embed(self, faces, batch_size=None):
        images = faces.images if isinstance(faces, Faces) else faces
        return self.rows[images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]]


def table_of(rows, identities, kinds):
    images = np.zeros((len(rows), SIZE, SIZE, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(rows)) // 256, np.arange(len(rows)) % 256
    names = [f"n{i}" for i in range(len(rows))]
    return Faces(images, identities, names, pd.DataFrame({"kind": kinds, "source": names}, dtype=str))


@pytest.fixture
def small_world():
    """Six people of 20 clean faces, each around an axis; 3 degraded faces of each near one common axis."""
    rng = np.random.default_rng(1)
    axes = np.eye(16)
    clean = np.repeat(axes[:6], 20, axis=0) + 0.05 * rng.normal(size=(120, 16))
    degraded = axes[10] + 0.05 * rng.normal(size=(18, 16))
    people = np.array(list("abcdef"))
    faces = table_of(
        np.concatenate([clean, degraded]),
        [*np.repeat(people, 20), *np.repeat(people, 3)],
        ["clean"] * 120 + ["blur"] * 18,
    )
    return faces, Table(np.concatenate([clean, degraded])), axes[10]


def test_the_cluster_that_mixes_people_is_chosen_and_not_the_largest(small_world):
    faces, recogniser, truth = small_world
    scorer = Recognizability(recogniser=recogniser, n_patches=None, distance=0.5).fit(faces)
    table = scorer.clusters_
    assert table["size"].max() == 20 and table.loc[table["chosen"], "size"].tolist() == [18]
    assert scorer.centres_[0] @ truth > 0.99
    scores = scorer.score_samples(faces)
    assert scores[:120].min() > 0.8 and scores[120:].max() < 0.2
    assert scores[120:].max() < scorer.gamma_ <= scores[:120].min()
    np.testing.assert_array_equal(scorer.accepts(faces), scores >= scorer.gamma_)


def test_several_mixed_clusters_count_together(small_world):
    faces, recogniser, truth = small_world
    rows = recogniser.rows.copy()
    rows[120::3] += 20 * np.eye(16)[12]  # one of three degraded faces of each person goes elsewhere
    settings = {"recogniser": Table(rows), "n_patches": None, "distance": 0.5}
    one = Recognizability(**settings, nearest=False).fit(faces)
    assert one.clusters_["chosen"].sum() == 2
    np.testing.assert_allclose(one.centres_ @ centre_of(rows[120:]), [1], atol=1e-9)
    nearest = Recognizability(**settings).fit(faces)
    own = recognizability(rows, nearest.centres_[0]), recognizability(rows, nearest.centres_[1])
    np.testing.assert_allclose(nearest.score_samples(faces), np.minimum(*own))
    assert nearest.score_samples(faces)[120:].max() < 0.2 < one.score_samples(faces)[120:].max()


def test_without_a_mixed_cluster_it_says_what_to_do(small_world):
    faces, recogniser, _ = small_world
    with pytest.raises(DataError, match="min_people"):
        Recognizability(0, recogniser=recogniser, n_patches=None, distance=0.5).fit(faces[:120])


def test_a_damaged_state_is_refused(small_world, tmp_path):
    faces, recogniser, _ = small_world
    scorer = Recognizability(recogniser=recogniser, n_patches=None, distance=0.5).fit(faces)
    path = scorer.save(tmp_path / "state.npz")
    again = Recognizability.load(path, recogniser=recogniser)
    assert again.gamma_ == scorer.gamma_ and again.distance_ == scorer.distance_
    pd.testing.assert_frame_equal(again.clusters_, scorer.clusters_)
    scorer.centres_ = scorer.centres_ * 2
    scorer.save(path)
    with pytest.raises(WeightsError, match=r"state\.npz.*length 1"):
        Recognizability.load(path, recogniser=recogniser)


def test_recognised_means_nearest_to_another_clean_photograph_of_oneself():
    rows = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.02], [0.2, 1]])
    who = np.array(list("aabbab"))
    sources = ["1", "2", "3", "4", "1", "3"]  # the fifth is a copy of the first, the sixth of the third
    clean = np.array([True] * 4 + [False] * 2)
    assert recognised(rows, who, sources, clean).all()
    assert recognised(rows[[0, 2, 3, 4]], who[[0, 2, 3, 4]], ["1", "3", "4", "1"], clean[[0, 2, 3, 4]]).tolist() == [
        False,  # no other photograph of a is there
        True,
        True,
        False,
    ]


def test_gamma_parts_best():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    flags = np.array([False, False, True, False, True, True])
    literal = max(sorted(scores), key=lambda g: np.mean(scores[flags] >= g) + np.mean(scores[~flags] < g))
    assert calibrate(scores, flags) == literal
    assert calibrate(np.ones(6), flags) == 1 and calibrate(-scores, flags) == -0.6  # nothing to part by: accept all
    for all_alike in (np.ones(6, bool), np.zeros(6, bool)):
        with pytest.raises(DataError, match="both"):
            calibrate(scores, all_alike)


def test_template_by_hand():
    rows = np.array([[2.0, 0], [0, 0.1], [0, 7]])
    np.testing.assert_allclose(pool_template(rows), np.array([1, 2]) / np.sqrt(5))
    np.testing.assert_allclose(pool_template(rows, [1, 0, 0]), [1, 0])
    np.testing.assert_allclose(pool_template(rows, [3, 1, 0]), np.array([3, 1]) / np.sqrt(10))
    for wrong in ([0, 0, 0], [1, 1], [1, 1, -1], [1, 1, np.nan]):
        with pytest.raises(DataError, match="weights"):
            pool_template(rows, wrong)


@pytest.fixture(scope="module")
def fitted(orl):
    train, test = split_by_identity(orl, random_state=0)
    return Recognizability().fit(train), test


def test_faces_of_strangers_collapse_and_the_score_knows(fitted, dlib_resnet):
    """On people it has not seen, with a degradation whose kind is among those it learned from."""
    scorer, test = fitted
    clean = test[::5]
    degraded = degrade(clean, "sensor_noise", 0.9, random_state=1)
    strangers = clean.identities[:, None] != clean.identities

    def alike(faces):
        unit = dlib_resnet.embed(faces)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        return (unit @ unit.T)[strangers].mean()

    assert alike(degraded) > alike(clean) + 0.05
    below = scorer.score_samples(degraded)[:, None] < scorer.score_samples(clean)
    assert below.mean() > 0.99  # of the pairs of a degraded and a clean face
    known = recognised(
        dlib_resnet.embed(np.concatenate([test.images, degraded.images])),
        np.concatenate([test.identities, clean.identities]),
        np.concatenate([test.names, clean.names]),
        np.arange(len(test) + len(degraded)) < len(test),
    )[len(test) :]
    assert 0.1 < known.mean() < 0.4  # the recogniser still knows some: these may pass
    assert scorer.accepts(clean).mean() > 0.9 and scorer.accepts(degraded)[~known].mean() < 0.1


def test_what_is_no_face_is_less_recognisable_than_a_face(fitted, orl):
    scorer, test = fitted
    others = non_faces(textures=3, grey=False, random_state=9)
    clean = scorer.score_samples(test[::5])
    assert np.mean(clean[:, None] > scorer.score_samples(others)) > 0.99
    mistakes = others.attributes["kind"] == "false_positive"  # aligned by what a detector took for eyes and a mouth
    accepted = scorer.accepts(others)
    assert accepted[~mistakes].mean() < 0.05 and accepted[mistakes].mean() < 0.35
    one = Recognizability(nearest=False).fit(split_by_identity(orl, random_state=0)[0])
    assert one.accepts(others)[mistakes].mean() < accepted[mistakes].mean()  # the price of the nearest of several


def test_the_largest_cluster_would_have_been_another(fitted):
    table = fitted[0].clusters_
    assert table["chosen"].sum() >= 2 and table.loc[table["chosen"], "mixed"].min() >= 5
    assert table.loc[~table["chosen"], "size"].max() > table.loc[table["chosen"], "size"].min()


def test_settings_and_people_that_do_not_fit_are_refused(orl):
    with pytest.raises(DataError, match="min_people"):
        Recognizability(n_copies=1, n_patches=None).fit(orl[:30])  # three people
    with pytest.raises(DataError, match="identities"):
        Recognizability(n_copies=1).fit(orl.images[:30])
