import json
import os
import shutil

import numpy as np
import pytest

from fiqa_lib import datasets
from fiqa_lib.cache import cache_folder, content_key
from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.faces import Detection, DlibHog
from fiqa_lib.images import read_image


class Counting(DlibHog):
    """A detector that counts its calls; named like a DlibHog, so that crops are cached."""

    calls = 0

    def __call__(self, image):
        Counting.calls += 1
        return super().__call__(image)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))
    Counting.calls = 0
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, orl_files):
    """Three people, two photographs each, one stray photograph, and one file of each kind of trouble."""
    root = tmp_path / "people"
    for person, start in (("ann", 0), ("bob", 10), ("cy/deep", 20)):
        (root / person).mkdir(parents=True)
        for image in range(2):
            shutil.copy(orl_files[start + image], root / person / f"{image}.pgm")
    shutil.copy(orl_files[30], root / "stray.pgm")
    (root / "ann" / "broken.jpg").write_bytes(b"no picture")
    (root / "ann" / "notes.txt").write_text("not an image")
    (root / "bob" / "wall.pgm").write_bytes(b"P5 90 90 255\n" + bytes(8100))
    return root


def test_folder_of_people_with_everything_reported(folder, own_cache):
    faces, report = datasets.load_folder(folder)
    assert list(faces.names) == ["ann/0.pgm", "ann/1.pgm", "bob/0.pgm", "bob/1.pgm"] + [
        "cy/deep/0.pgm",
        "cy/deep/1.pgm",
        "stray.pgm",
    ]
    assert list(faces.identities) == ["ann", "ann", "bob", "bob", "cy", "cy", ""]
    rows = {os.path.basename(row.path): row for row in report.itertuples()}
    assert rows["broken.jpg"].status == "error" and rows["broken.jpg"].reason
    assert rows["wall.pgm"].status == "no_face" and rows["wall.pgm"].n_faces == 0
    assert rows["notes.txt"].status == "skipped"
    assert len(report) == 10 and (report.status == "ok").sum() == len(faces)


def test_second_run_does_no_detection_and_gives_the_same(folder, own_cache):
    first = datasets.load_folder(folder, detector=Counting())
    calls = Counting.calls
    assert calls > 0
    second = datasets.load_folder(folder, detector=Counting())
    assert Counting.calls == calls
    np.testing.assert_array_equal(first.faces.images, second.faces.images)
    assert first.faces.attributes.equals(second.faces.attributes)
    assert first.report.equals(second.report)


def test_cache_goes_by_content_not_by_name(folder, own_cache, orl_files):
    datasets.load_folder(folder, detector=Counting())
    calls = Counting.calls
    (folder / "ann" / "0.pgm").rename(folder / "ann" / "renamed.pgm")
    datasets.load_folder(folder, detector=Counting())
    assert Counting.calls == calls
    shutil.copy(orl_files[55], folder / "ann" / "1.pgm")
    changed = datasets.load_folder(folder, detector=Counting()).faces
    assert Counting.calls > calls
    fresh = datasets.load_files([orl_files[55]], cache=False).faces
    np.testing.assert_array_equal(changed[changed.names == "ann/1.pgm"].images, fresh.images)


def test_cache_knows_the_settings(folder, own_cache):
    paths = [folder / "bob" / "wall.pgm"]
    assert len(datasets.load_files(paths).faces) == 0
    assert len(datasets.load_files(paths, fallback="centre").faces) == 1
    assert datasets.load_files(paths, fallback="centre").report.status[0] == "fallback"


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_cache_files_are_computed_again(folder, own_cache, damage):
    before = datasets.load_folder(folder).faces
    stored = sorted(own_cache.rglob("*.npz"))
    assert stored
    for file in stored:
        file.write_bytes(file.read_bytes()[:200] if damage is None else damage)
    np.testing.assert_array_equal(datasets.load_folder(folder).faces.images, before.images)


def test_a_detector_without_a_lasting_name_is_not_cached(folder, own_cache):
    datasets.load_folder(folder, detector=lambda image: [Detection(10, 30, 70, 70, 1.0)])
    assert not list(own_cache.rglob("*.npz"))


def test_unwritable_cache_is_no_reason_to_stop(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file" / "below"))
    assert len(datasets.load_folder(folder).faces) == 7


def test_strict_stops_at_the_first_bad_file(folder, own_cache):
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        datasets.load_folder(folder, strict=True)


def test_processes_change_nothing(folder, own_cache):
    one = datasets.load_folder(folder, cache=False)
    two = datasets.load_folder(folder, cache=False, n_jobs=2)
    np.testing.assert_array_equal(one.faces.images, two.faces.images)
    assert one.report.equals(two.report)


def test_missing_and_empty_folders_are_explained(tmp_path):
    for wrong in ("missing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=wrong):
            datasets.load_folder(tmp_path / wrong)


def test_lengths_must_agree(tmp_path):
    with pytest.raises(DataError, match="lengths"):
        datasets.load_files([tmp_path / "a.png"], names=["a", "b"])


def test_orl_is_whole(orl):
    assert len(orl) == 400 and len(set(orl.identities)) == 40
    assert orl.names[0] == "s01/01" and orl.names[-1] == "s40/10"
    assert {"ok", "fallback"} >= set(orl.attributes.status)
    assert np.array_equal(orl.images[..., 0], orl.images[..., 1])


def test_orl_files_are_read_as_they_are(orl_files):
    image = read_image(orl_files[0])
    assert image.shape == (112, 92, 3)
    raw = orl_files[0].read_bytes()
    assert image[..., 0].tobytes() == raw[-112 * 92 :]


def test_bundled_and_folder_look_alike(orl, folder, own_cache):
    bundled, own = datasets.load(), datasets.load(folder)
    assert list(bundled.report.columns) == list(own.report.columns)
    assert list(bundled.faces.attributes) == list(own.faces.attributes)
    assert len(bundled.report) == 400


def test_split_keeps_people_apart(orl):
    train, test = datasets.split_by_identity(orl, 0.3, random_state=1)
    assert not set(train.identities) & set(test.identities)
    assert len(set(train.identities)) == 12 and len(train) + len(test) == 400
    again, _ = datasets.split_by_identity(orl, 0.3, random_state=1)
    assert list(again.names) == list(train.names)
    other, _ = datasets.split_by_identity(orl, 0.3, random_state=2)
    assert set(other.identities) != set(train.identities)
    shuffled = orl[np.random.default_rng(0).permutation(400)]
    assert set(datasets.split_by_identity(shuffled, 0.3, random_state=1)[0].names) == set(train.names)


def test_split_refuses_what_cannot_be_split(orl):
    with pytest.raises(DataError, match="at least 2"):
        datasets.split_by_identity(orl[:10])
    with pytest.raises(DataError, match="share"):
        datasets.split_by_identity(orl, 1.0)
    nobody = datasets.Faces(orl.images[:3], ["a", "", "b"], ["1", "2", "3"])
    with pytest.raises(DataError, match="without identity"):
        datasets.split_by_identity(nobody)


def test_benchmark_keeps_people_apart_and_starts_from_clean_faces(orl):
    train, test = datasets.orl_d(orl[:100], copies=2)
    assert not set(train.identities) & set(test.identities)
    clean = test[(test.attributes.kind == "clean").to_numpy()]
    assert set(train.names) | set(clean.names) == set(orl.names[:100])
    assert len(test) == 3 * len(clean) and (clean.attributes.severity == 0).all()
    assert set(test.attributes.source) == set(clean.names)


def test_benchmark_pairs_by_definition(orl):
    test = datasets.orl_d(orl[:60], copies=2).test
    kind, source = test.attributes["kind"], test.attributes["source"]
    expected = {
        frozenset((i, j))
        for i in range(len(test))
        for j in range(len(test))
        if kind[i] == "clean" and source[i] != source[j]
    }
    pairs = datasets.benchmark_pairs(test)
    found = [frozenset(pair) for pair in zip(pairs.index_a.tolist(), pairs.index_b.tolist(), strict=True)]
    assert len(found) == len(set(found)) and set(found) == expected
    assert (kind[pairs.index_a] == "clean").all()
    np.testing.assert_array_equal(pairs.mated, test.identities[pairs.index_a] == test.identities[pairs.index_b])
    with pytest.raises(DataError, match="source"):
        datasets.benchmark_pairs(orl)


def test_cache_folder_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path))
    assert cache_folder("crops") == tmp_path / "crops"
    monkeypatch.delenv("FIQA_CACHE")
    assert cache_folder().parts[-2:] == ("data", "cache")


def test_content_key_keeps_values_apart():
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key(1, "1") != content_key("1", 1)
    assert content_key(b"x") == content_key(b"x")


def test_cached_attributes_are_plain_json(folder, own_cache):
    datasets.load_folder(folder)
    with np.load(next(own_cache.rglob("*.npz")), allow_pickle=False) as stored:
        rows = json.loads(stored["attributes"].tobytes())
    assert all(isinstance(row, dict) for row in rows)


def test_lfw_is_the_published_loaders(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        datasets.load_lfw(tmp_path / "nowhere")
