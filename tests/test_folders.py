import json
import os
import shutil
import sys

import numpy as np
import pytest

from fiqa_lib import data
from fiqa_lib.apps.labelling_job import Job, file_of, write_list
from fiqa_lib.cache import cache_folder, content_key
from fiqa_lib.data import folders, published
from fiqa_lib.data.tables import read_lines
from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.faces import Detection, DlibHog, from_aligned, write_image
from fiqa_lib.recognition.base import arcface_crop


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
    for person, start in (("ann", 0), ("bob", 10), ("cy", 20)):
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
        "cy/0.pgm",
        "cy/1.pgm",
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
    fresh = folders.load_files([orl_files[55]], detector=Counting(), cache=False).faces
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
    # a process of its own has another number of threads: the detector's sums end in other last digits
    assert np.abs(one.faces.images.astype(int) - two.faces.images).max() <= 1
    assert one.report.equals(two.report)


def placed(orl_files, root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(orl_files[number], root / name)
    return root


def test_the_folder_of_the_photograph_names_the_person_at_any_depth(tmp_path, orl_files, own_cache):
    names = ["batch0/ann/1.pgm", "batch0/ann/2.pgm", "batch1/bob/1.pgm", "stray.pgm"]
    root = placed(orl_files, tmp_path / "people", *names)
    assert list(folders.load_folder(root).faces.identities) == ["ann", "ann", "bob", ""]
    first = folders.load_folder(root, id_key_index=0).faces
    assert list(first.identities) == ["batch0", "batch0", "batch1", ""]
    assert set(folders.load_folder(root, id_key_index=None).faces.identities) == {""}
    assert folders.count_of(folders.load_folder(root).faces) == "2 people, 4 photographs; 1 of no known person"
    listed = Job(image_root=root)
    assert [listed.person(name) for name in names] == ["ann", "ann", "bob", ""]


def test_photographs_at_different_depths_are_refused_with_their_folders(tmp_path, orl_files, own_cache):
    root = placed(orl_files, tmp_path / "people", "ann/1.pgm", "ann/2.pgm", "cy/deep/1.pgm")
    for refusing in (lambda: data.load(root), lambda: write_list(tmp_path, root)):
        with pytest.raises(DataError, match=r"people/ann.*people/cy/deep.*--id-key-index 0"):
            refusing()
    assert list(data.load(root, id_key_index=0).faces.identities) == ["ann", "ann", "cy"]


def test_folders_of_one_name_are_one_person_but_not_silently(tmp_path, orl_files, own_cache):
    root = placed(orl_files, tmp_path / "people", "ann/day1/1.pgm", "bob/day1/1.pgm")
    with pytest.warns(UserWarning, match="ann/day1 and bob/day1 are taken for one person"):
        assert set(data.load(root).faces.identities) == {"day1"}


def test_consistent_looking_cache_entries_are_computed_again(folder, own_cache):
    before = folders.load_folder(folder)
    face = before.faces[:1]
    rows = face.attributes.to_dict("records")
    whole = face.images
    wrong = {
        "small": (whole[:, :50, :50], rows),
        "float": (whole.astype(float), rows),
        "no row": (whole, []),
        "nothing": (whole[:0], []),
        "two rows": (whole, rows * 2),
        "no box": (whole, [rows[0] | {"face_x": None}]),
        "another face": (whole[:, ::-1], rows),
        "no columns": (whole, [{}]),
        "flat": (whole[0], rows),
    }
    stored = sorted(own_cache.rglob("*.npz"))
    for images, attributes in wrong.values():
        for place in stored:
            table = np.frombuffer(json.dumps(attributes).encode(), np.uint8)
            np.savez_compressed(place, images=images, attributes=table)
        again = folders.load_folder(folder)
        np.testing.assert_array_equal(again.faces.images, before.faces.images)
        assert again.report.equals(before.report) and again.faces.attributes.equals(before.faces.attributes)


def test_shape_and_rows_are_checked_whoever_sealed_them(tmp_path, orl):
    place = tmp_path / "crop.npz"
    for faces in (orl[:1], orl[:0]):
        folders._write_crops(place, faces)
        assert len(folders._read_crops(place)[0]) == len(faces)
    broken = orl[:1].with_attributes(face_x=np.inf)
    folders._write_crops(place, broken)
    assert folders._read_crops(place) is None


def test_aligned_crops_enter_without_detection(tmp_path, orl, own_cache):
    crops = arcface_crop(orl[:4].images)
    for number, crop in enumerate(crops):
        write_image(tmp_path / "crops" / f"{number}.png", crop)
    write_image(tmp_path / "crops" / "wide.png", np.zeros((112, 96, 3), np.uint8))
    faces, report = folders.load_folder(tmp_path / "crops", aligned=True, detector=None)
    expected = from_aligned(crops, names=faces.names)
    np.testing.assert_array_equal(faces.images, expected.images)
    assert faces.attributes.equals(expected.attributes) and list(faces.attributes.status) == ["ok"] * 4
    assert "96 x 112 pixels" in report.reason[4] and report.status[4] == "error"
    with pytest.raises(ImageError, match=r"wide\.png: 96 x 112"):
        folders.load_folder(tmp_path / "crops", aligned=True, strict=True)
    with pytest.raises(DataError, match="bundled faces are photographs"):
        data.load(aligned=True)


def test_from_aligned_names_and_refuses(orl):
    crops = arcface_crop(orl[:2].images)
    faces = from_aligned(crops, ["ann", "bob"])
    assert list(faces.names) == ["0", "1"] and list(faces.identities) == ["ann", "bob"]
    assert len(from_aligned([])) == 0 and set(from_aligned(crops).identities) == {""}
    with pytest.raises(DataError, match="second: an ArcFace crop is"):
        from_aligned([crops[0], crops[1][:96]], names=["first", "second"])


ODD = [b"new\nline.pgm", "line\u2028separator.pgm".encode(), b"no\xfftext.pgm", b"back\\slash.pgm", b" space .pgm"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text on this system")
def test_names_that_cannot_be_printed_have_faces_and_rows(tmp_path, orl_files, own_cache):
    root = placed(orl_files, tmp_path / "people", *[f"ann/{os.fsdecode(name)}" for name in ODD])
    faces, report = folders.load_folder(root)
    assert len(faces) == len(report) == len(ODD) and (report.status == "ok").all()
    report.to_csv(tmp_path / "report.csv", encoding="utf-8")
    assert len("".join(faces.names).encode()) and "\n" not in "".join(faces.names)
    lines = write_list(tmp_path, root).read_text(encoding="utf-8").splitlines()
    names = [name for _, name in read_lines(tmp_path / "list.txt", strip=True, backslashes=True)]
    assert len(lines) == len(names) == len(ODD)
    assert {file_of(root, name) for name in names} == {root / "ann" / os.fsdecode(name) for name in ODD}


def test_a_folder_without_a_photograph_says_what_it_holds(tmp_path):
    for name in ("a.txt", "b.txt", "clip.mp4", ".hidden.jpg"):
        (tmp_path / name).write_text("some text")
    with pytest.raises(DataError, match=r"it holds 2 not an image by its suffix, \.txt \(first: a\.txt\).*hidden"):
        folders.load_folder(tmp_path)
    with pytest.raises(DataError, match="2 not an image by its suffix"):
        write_list(tmp_path, tmp_path)


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
