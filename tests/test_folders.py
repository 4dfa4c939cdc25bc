import json
import os
import shutil

import numpy as np
import pytest

from fiqa_lib import data
from fiqa_lib.cache import cache_folder, content_key
from fiqa_lib.data import folders, published
from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.faces import Detection, DlibHog


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
    faces, report = folders.load_folder(folder)
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
    first = folders.load_folder(folder, detector=Counting())
    calls = Counting.calls
    assert calls > 0
    second = folders.load_folder(folder, detector=Counting())
    assert Counting.calls == calls
    np.testing.assert_array_equal(first.faces.images, second.faces.images)
    assert first.faces.attributes.equals(second.faces.attributes)
    assert first.report.equals(second.report)


def test_cache_goes_by_content_not_by_name(folder, own_cache, orl_files):
    folders.load_folder(folder, detector=Counting())
    calls = Counting.calls
    (folder / "ann" / "0.pgm").rename(folder / "ann" / "renamed.pgm")
    folders.load_folder(folder, detector=Counting())
    assert Counting.calls == calls
    shutil.copy(orl_files[55], folder / "ann" / "1.pgm")
    changed = folders.load_folder(folder, detector=Counting()).faces
    assert Counting.calls > calls
    fresh = folders.load_files([orl_files[55]], cache=False).faces
    np.testing.assert_array_equal(changed[changed.names == "ann/1.pgm"].images, fresh.images)


def test_cache_knows_the_settings(folder, own_cache):
    paths = [folder / "bob" / "wall.pgm"]
    assert len(folders.load_files(paths).faces) == 0
    assert len(folders.load_files(paths, fallback="centre").faces) == 1
    assert folders.load_files(paths, fallback="centre").report.status[0] == "fallback"


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_cache_files_are_computed_again(folder, own_cache, damage):
    before = folders.load_folder(folder).faces
    stored = sorted(own_cache.rglob("*.npz"))
    assert stored
    for file in stored:
        file.write_bytes(file.read_bytes()[:200] if damage is None else damage)
    np.testing.assert_array_equal(folders.load_folder(folder).faces.images, before.images)


def test_a_detector_without_a_lasting_name_is_not_cached(folder, own_cache):
    folders.load_folder(folder, detector=lambda image: [Detection(10, 30, 70, 70, 1.0)])
    assert not list(own_cache.rglob("*.npz"))


def test_unwritable_cache_is_no_reason_to_stop(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file" / "below"))
    assert len(folders.load_folder(folder).faces) == 7


def test_strict_stops_at_the_first_bad_file(folder, own_cache):
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        folders.load_folder(folder, strict=True)


def test_processes_change_nothing(folder, own_cache):
    one = folders.load_folder(folder, cache=False)
    two = folders.load_folder(folder, cache=False, n_jobs=2)
    np.testing.assert_array_equal(one.faces.images, two.faces.images)
    assert one.report.equals(two.report)


def test_missing_and_empty_folders_are_explained(tmp_path):
    for wrong in ("missing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=wrong):
            folders.load_folder(tmp_path / wrong)


def test_lengths_must_agree(tmp_path):
    with pytest.raises(DataError, match="lengths"):
        folders.load_files([tmp_path / "a.png"], names=["a", "b"])


def test_bundled_and_folder_look_alike(orl, folder, own_cache):
    bundled, own = data.load(), data.load(folder)
    assert list(bundled.report.columns) == list(own.report.columns)
    assert list(bundled.faces.attributes) == list(own.faces.attributes)
    assert len(bundled.report) == 400


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
    folders.load_folder(folder)
    with np.load(next(own_cache.rglob("*.npz")), allow_pickle=False) as stored:
        rows = json.loads(stored["attributes"].tobytes())
    assert all(isinstance(row, dict) for row in rows)


def test_everything_that_is_offered_is_there():
    assert all(hasattr(data, name) for name in data.__all__)
    assert data.load_lfw is published.load_lfw
