"""LFW by people, on small trees; with the environment variable FIQA_LFW, on the set itself too."""

import hashlib
import os
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from fiqa_lib.data import lfw
from fiqa_lib.errors import DataError
from fiqa_lib.faces import Detection

PEOPLE = {"Ann_Lee": 3, "Bob": 2, "Cy_Dee": 1, "Eve": 1}


class Middle:
    """Finds the same box in every picture."""

    def __repr__(self):
        return "Middle()"

    def __call__(self, image):
        height, width = image.shape[:2]
        return [Detection(0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height, 1.0)]


class BesideAndMiddle(Middle):
    """A larger face in the corner, and the one in the middle."""

    def __call__(self, image):
        return [Detection(0, 0, 45, 45, 9.0), *super().__call__(image)]


def nobody(image):
    return []


def tree(root, orl_files):
    for place, (name, count) in enumerate(PEOPLE.items()):
        for number in range(count):
            file = root / name / f"{name}_{number + 1:04d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), cv2.imread(str(orl_files[10 * place + number])))


@pytest.fixture
def folder(tmp_path, orl_files):
    tree(tmp_path / "images", orl_files)
    (tmp_path / "pairs.txt").write_text("1\nAnn_Lee\t1\t3\nAnn_Lee\t1\tBob\t2\n")
    return tmp_path


def slow_role(name):
    digest = hashlib.sha256(f"fiqa_lib, role in LFW: {name}".encode()).digest()
    place = int(digest.hex()[:16], 16) / 2**64
    return "learn" if place < 0.5 else "choose" if place < 0.7 else "report"


def test_roles_are_the_hash_and_nothing_else():
    names = [f"Person_{i}" for i in range(4000)]
    roles = lfw.lfw_roles(names)
    assert roles.tolist() == [slow_role(name) for name in names]
    assert lfw.lfw_roles(names[::-1]).tolist() == roles[::-1].tolist()
    for role, share in zip(lfw.ROLES, lfw.SHARES, strict=True):
        assert abs(np.mean(roles == role) - share) < 0.03
    # fixed once: a change of the rule is a change of who is reported on
    assert lfw.lfw_roles(["George_W_Bush", "Tony_Blair", "Gerhard_Schroeder"]).tolist() == ["choose", "learn", "report"]
    assert lfw.lfw_roles([]).tolist() == []


def test_all_pairs_of_a_small_set():
    people = np.array(["b", "a", "a", "c", "a"])
    names = np.array([f"{p}{i}" for i, p in enumerate(people)])
    pairs = lfw.people_pairs(names, people)
    found = {(int(a), int(b)): bool(m) for a, b, m in zip(*pairs, strict=True)}
    assert found == {(i, j): bool(people[i] == people[j]) for i, j in combinations(range(5), 2)}
    assert pairs.mated.tolist() == sorted(pairs.mated.tolist(), reverse=True)  # mated first
    nobody_twice = lfw.people_pairs(["x", "y"], ["p", "q"])
    assert not nobody_twice.mated.any() and len(nobody_twice.mated) == 1


def named(names, pairs):
    return {frozenset((names[a], names[b])) for a, b in zip(pairs.index_a, pairs.index_b, strict=True)}


def test_capped_pairs_follow_from_the_names_not_from_their_order():
    people = np.repeat(["a", "b", "c"], [20, 6, 3])
    names = np.array([f"{p}_{i:03d}" for i, p in enumerate(people)])
    pairs = lfw.people_pairs(names, people, per_person=10, max_impostor=40)
    counts = {p: int(np.sum(pairs.mated & (people[pairs.index_a] == p))) for p in "abc"}
    assert counts == {"a": 10, "b": 10, "c": 3} and np.sum(~pairs.mated) == 40
    assert np.array_equal(people[pairs.index_a] == people[pairs.index_b], pairs.mated)
    assert len(named(names, pairs)) == len(pairs.mated)
    shuffled = np.random.default_rng(1).permutation(len(names))
    again = lfw.people_pairs(names[shuffled], people[shuffled], per_person=10, max_impostor=40)
    assert named(names[shuffled], again) == named(names, pairs)
    other = lfw.people_pairs(np.char.add(names, "x"), people, per_person=10, max_impostor=40)
    assert {frozenset(n[:-1] for n in pair) for pair in named(np.char.add(names, "x"), other)} != named(names, pairs)
    everything = lfw.people_pairs(names, people, per_person=None, max_impostor=None)
    assert len(everything.mated) == 29 * 28 // 2


def test_bad_lists_are_refused():
    with pytest.raises(DataError, match="twice"):
        lfw.people_pairs(["a", "a"], ["p", "p"])
    with pytest.raises(DataError, match="2 names, but 1 people"):
        lfw.people_pairs(["a", "b"], ["p"])


def test_the_folder_with_images_beside_the_pairs(folder):
    found = lfw.load_lfw_people(folder, detector=Middle(), cache=False)
    assert found.names.tolist() == [
        "Ann_Lee/Ann_Lee_0001.jpg",
        "Ann_Lee/Ann_Lee_0002.jpg",
        "Ann_Lee/Ann_Lee_0003.jpg",
        "Bob/Bob_0001.jpg",
        "Bob/Bob_0002.jpg",
        "Cy_Dee/Cy_Dee_0001.jpg",
        "Eve/Eve_0001.jpg",
    ]
    assert found.people.tolist() == ["Ann_Lee"] * 3 + ["Bob"] * 2 + ["Cy_Dee", "Eve"]
    assert len(found.faces) == 7 and found.found.tolist() == list(range(7))
    assert found.pairs.mated.sum() == 4 and len(found.pairs.mated) == 21
    official = lfw.official_pairs(found.names, folder / "pairs.txt")
    assert [x.tolist() for x in official] == [[0, 0], [2, 4], [True, False]]
    assert [x.tolist() for x in lfw.official_pairs(found.names[:3], folder / "pairs.txt")] == [[0], [2], [True]]


@pytest.mark.parametrize("place", ["scikit/lfw_home/lfw_funneled", "own/lfw-deepfunneled", "just/people"])
def test_other_layouts_are_those_of_load_lfw(place, tmp_path, orl_files, monkeypatch):
    tree(tmp_path / place, orl_files)
    top = {"scikit": tmp_path / "scikit", "own": tmp_path / "own", "just": tmp_path / place}[place.split("/")[0]]
    root, pairs = lfw.lfw_folders(top)
    assert root == tmp_path / place and pairs == (tmp_path / place).parent / "pairs.txt"
    assert len(lfw.load_lfw_people(top, detector=Middle(), cache=False).faces) == 7
    if place.startswith("scikit"):
        monkeypatch.setenv("SCIKIT_LEARN_DATA", str(top))
        assert lfw.lfw_folders() == (root, pairs)


def test_a_role_has_its_people_only(folder):
    parts = []
    for role in lfw.ROLES:
        if any(slow_role(name) == role for name in PEOPLE):
            part = lfw.load_lfw_people(folder, role, detector=Middle(), cache=False)
            assert {slow_role(name) for name in part.people} == {role}
            parts += part.names.tolist()
        else:
            with pytest.raises(DataError, match=f"in the role {role}"):
                lfw.load_lfw_people(folder, role, detector=Middle(), cache=False)
    assert sorted(parts) == lfw.load_lfw_people(folder, detector=Middle(), cache=False).names.tolist()
    with pytest.raises(DataError, match="role must be one of"):
        lfw.load_lfw_people(folder, "test")


def test_the_face_in_the_middle_is_the_persons(folder):
    middle = lfw.load_lfw_people(folder, detector=Middle(), cache=False).faces
    beside = lfw.load_lfw_people(folder, detector=BesideAndMiddle(), cache=False).faces
    np.testing.assert_array_equal(middle.images, beside.images)


def test_a_photograph_without_a_face_keeps_its_pairs(folder):
    (folder / "images" / "Bob" / "Bob_0001.jpg").write_bytes(b"no picture")
    (folder / "images" / "Bob" / "notes.jpg").write_bytes(b"not of the set")
    found = lfw.load_lfw_people(folder, detector=Middle(), cache=False)
    assert len(found.names) == 7 and len(found.faces) == 6 and len(found.pairs.mated) == 21
    assert found.found.tolist() == [0, 1, 2, -1, 3, 4, 5]
    assert found.report["status"].tolist() == ["ok"] * 3 + ["error"] + ["ok"] * 3
    assert found.spread(np.arange(6), -np.inf).tolist() == [0, 1, 2, -np.inf, 3, 4, 5]
    embeddings = found.spread(np.ones((6, 2), np.float32), np.nan)
    assert embeddings.dtype == np.float32 and np.isnan(embeddings).all(1).tolist() == [False] * 3 + [True] + [False] * 3
    with pytest.raises(DataError, match="7 values for 6 faces"):
        found.spread(np.arange(7), 0)
    empty = lfw.load_lfw_people(folder, detector=nobody, cache=False)
    assert len(empty.faces) == 0 and set(empty.found) == {-1}
    assert np.isneginf(empty.spread(np.zeros(0), -np.inf)).all()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        lfw.load_lfw_people(tmp_path / "nowhere")
    with pytest.raises(DataError, match="lacks the images"):
        lfw.load_lfw_people(tmp_path)


@pytest.mark.skipif("FIQA_LFW" not in os.environ, reason="FIQA_LFW names no folder with LFW's images and pairs.txt")
def test_the_set_itself():
    root, file = lfw.lfw_folders(Path(os.environ["FIQA_LFW"]))
    index = lfw._photographs(root)
    people, names = index["person"].to_numpy(str), index["name"].to_numpy(str)
    everyone, counts = np.unique(people, return_counts=True)
    assert len(names) == 13_233 and len(everyone) == 5_749
    roles = lfw.lfw_roles(everyone)
    assert [int(np.sum(roles == role)) for role in lfw.ROLES] == [2808, 1118, 1823]
    assert [int(np.sum((roles == role) & (counts > 1))) for role in lfw.ROLES] == [836, 301, 543]
    official = lfw.official_pairs(names, file)
    assert len(official.mated) == 6000 and official.mated.sum() == 3000
    mated = []
    for role in lfw.ROLES:
        of_role = np.isin(people, everyone[roles == role])
        pairs = lfw.people_pairs(names[of_role], people[of_role])
        assert np.sum(~pairs.mated) == 300_000
        mated.append(int(pairs.mated.sum()))
    assert mated == [7276, 2542, 4690]
