"""Color FERET, read from a small tree in the published layout."""

import bz2

import cv2
import numpy as np
import pytest
from test_published import FAST, fails, rows

from fiqa_lib.data import load_feret
from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.faces.images import read_image

GALLERY = {"00001_930831_fa_a.ppm": 1, "00002_930831_fa.ppm": 1, "00740_941201_fa.ppm": 2}  # name -> disc
PROBES = {"00001_930831_fb_a.ppm": 1, "00002_940128_fb.ppm": 1, "00740_941201_fb.ppm": 2}


@pytest.fixture
def feret(tmp_path, orl_files):
    root = tmp_path / "colorferet"
    (root / "dvd1/doc/partitions").mkdir(parents=True)
    for kind, names in (("fa", GALLERY), ("fb", PROBES)):
        (root / f"dvd1/doc/partitions/{kind}.txt").write_text("".join(f"{name[:5]} {name}\n" for name in names))
        for name, disc in names.items():
            place = root / f"dvd{disc}/data/images/{name[:5]}/{name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            coded = cv2.imencode(".ppm", cv2.imread(str(orl_files[int(name[:5]) % 40 * 10])))[1].tobytes()
            if kind == "fa":
                place.with_name(f"{name}.bz2").write_bytes(bz2.compress(coded))
            else:
                place.write_bytes(coded)
    facts = root / "dvd1/data/ground_truths/name_value/00001"
    facts.mkdir(parents=True)
    (facts / "00001.txt").write_text("id=cfrS00001\ngender=Male\nyob=1943\nrace=White\n")
    return tmp_path


def test_packed_and_unpacked_pictures_of_both_discs_and_what_is_known(feret):
    found = load_feret(feret, **FAST)
    assert found.name == "FERET (fa, fb)" and len(found.faces) == 6 and len(found.dropped) == 0
    assert len(found.pairs) == 9 and found.pairs.mated.sum() == 3
    for a, b, mated in rows(found.pairs, "a", "b", "mated"):
        assert a in PROBES and b in GALLERY and mated == (a[:5] == b[:5])
    about = found.faces.attributes.set_index(found.faces.names)
    assert about.loc["00001_930831_fb_a.ppm", ["pose", "date", "gender", "birth_year"]].tolist() == [
        "fb", "930831", "m", 1943.0]  # fmt: skip
    assert about["gender"].notna().sum() == 2
    np.testing.assert_array_equal(found.faces.images[0], load_feret(feret / "colorferet", **FAST).faces.images[0])


def test_few_of_the_non_mated_pairs_are_drawn_and_all_mated_ones_stay(feret):
    drawn = [load_feret(feret, max_impostor=2, random_state=seed, **FAST).pairs for seed in (0, 0, 1)]
    assert drawn[0].mated.tolist() == [True] * 3 + [False] * 2
    assert drawn[0].equals(drawn[1]) and not drawn[0].equals(drawn[2])


def test_an_image_is_not_compared_with_itself(feret):
    (feret / "colorferet/dvd1/doc/partitions/dup1.txt").write_text("00001 00001_930831_fa_a.ppm\n")
    pairs = load_feret(feret, "dup1", **FAST).pairs
    assert len(pairs) == 2 and not pairs.mated.any()


def test_missing_or_malformed_parts_are_named(feret, tmp_path):
    fails("FERET", "doc/partitions/dup2.txt", load_feret, feret, "dup2")
    with pytest.raises(DataError, match="probes must be one of"):
        load_feret(feret, "fc")
    (tmp_path / "empty").mkdir()
    fails("FERET", "dvd1", load_feret, tmp_path / "empty")
    (feret / "colorferet/dvd1/doc/partitions/fb.txt").write_text("00001 00001_930831_fb_a.ppm\nhello\n")
    with pytest.raises(DataError, match=r"fb\.txt, line 2: expected"):
        load_feret(feret)


def test_a_packed_picture_that_is_damaged_or_too_large_is_refused(feret, tmp_path):
    (place,) = (feret / "colorferet/dvd1/data/images/00001").glob("*.bz2")
    whole = place.read_bytes()
    for content, word in (
        (whole[:-20], "truncated"),
        (b"BZh9" + bytes(50), "corrupt"),
        (bz2.compress(bytes(200_000_000)), "too large"),
        (bz2.compress(b"no picture"), "not an image"),
        (b"", "truncated"),
    ):
        place.write_bytes(content)
        with pytest.raises(ImageError, match=word):
            read_image(place, max_pixels=10_000_000)
    dropped = load_feret(feret, **FAST).dropped
    assert len(dropped) == 3 and dropped["reason"].str.contains("truncated").all()
