"""What commands make of files: folders that lose nothing, aligned crops, sets of crops, detectors, odd names."""

import io
import os
import pickle
import shutil
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from fiqa_lib.apps import photographs
from fiqa_lib.apps.report import write_report
from fiqa_lib.cli import main
from fiqa_lib.data import load_files
from fiqa_lib.errors import DataError
from fiqa_lib.faces import DETECTORS, DlibHog, Mtcnn, from_aligned, load_detector, read_image, write_image
from fiqa_lib.recognition.base import arcface_crop
from fiqa_lib.scorers import SCORERS

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))


def encoded(image, form="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def scored(tmp_path, *arguments, method="sharpness"):
    out = tmp_path / "scores.csv"
    assert main(["score", *map(str, arguments), "--method", method, "--out", str(out), "--no-progress"]) == 0
    return pd.read_csv(out)


@pytest.fixture
def crops(tmp_path, orl):
    """A folder of 112-pixel crops, two of which no detector finds, and one picture of another size."""
    folder = tmp_path / "crops"
    images = arcface_crop(orl[:6:2].images)
    images[1, 66:, 15:97] = (120, 160, 200)
    images[2] = (images[2] * 0.08).astype(np.uint8)
    for number, image in enumerate(images):
        write_image(folder / f"{number}.png", image)
    write_image(folder / "wide.png", np.full((112, 96, 3), 99, np.uint8))
    return folder


# --- detectors


def large(side, height=4000, width=6000, left=2600, top=1500):
    photo = np.full((height, width, 3), (90, 120, 140), np.uint8)
    photo[top : top + side, left : left + side] = cv2.resize(ASTRONAUT, (side, side), interpolation=cv2.INTER_AREA)
    return photo, (left + side * 0.44, top + side * 0.22)  # the middle of her face


@pytest.mark.parametrize("name", sorted(DETECTORS))
@pytest.mark.parametrize("side", [512, 768, 1024])
def test_a_small_face_in_a_large_photograph_is_found(name, side):
    photo, (x, y) = large(side)
    best = load_detector(name)(photo)[0]
    assert best.x < x < best.x + best.width and best.y < y < best.y + best.height
    assert 0.12 * side < best.width < 0.3 * side


@pytest.mark.parametrize("left", [1300, 1500, 1600, 1700, 1900])
def test_a_face_on_the_border_of_tiles_is_found_once(left):
    photo, _ = large(512, left=left, top=1500)
    assert len(DlibHog()(photo)) == 1
    assert DlibHog(full_size=False)(photo) == []


def test_a_photograph_that_is_not_reduced_is_not_searched_again(monkeypatch):
    runs = []
    monkeypatch.setattr(DlibHog, "_run", lambda self, image, scale: runs.append(image.shape) or [])
    DlibHog(turned=False)(np.zeros((900, 700, 3), np.uint8))
    assert len(runs) == 3
    DlibHog(turned=False)(np.zeros((3000, 3000, 3), np.uint8))
    assert max(shape[0] for shape in runs[5:]) <= 2000 and runs[5][0] < 3000  # the margin, of a reduced photograph
    assert {shape[:2] for shape in runs[6:]} >= {(2000, 2000)}


def test_detectors_by_name():
    assert isinstance(load_detector(), Mtcnn) and isinstance(load_detector("dlib-hog"), DlibHog)
    assert load_detector("dlib-hog", working_side=500).working_side == 500
    assert not load_detector("dlib-hog", quick=True).full_size and not load_detector(quick=True).further
    assert len({repr(load_detector(name, quick=quick)) for name in DETECTORS for quick in (True, False)}) == 4
    with pytest.raises(DataError, match="known: dlib-hog, mtcnn"):
        load_detector("haar")
    with pytest.raises(DataError, match="no such parameter"):
        load_detector("mtcnn", colour=1)


def test_the_detector_reaches_score_and_its_sheet(tmp_path):
    folder = tmp_path / "photos"
    turn = cv2.getRotationMatrix2D((150, 150), 45, 1)  # between the quarter turns that both try
    turned = cv2.warpAffine(ASTRONAUT[:300, 80:380], turn, (300, 300), borderMode=cv2.BORDER_REPLICATE)
    write_image(folder / "turned.jpg", turned)
    assert scored(tmp_path, folder, "--detector", "dlib-hog").status[0] == "no_face"
    found = scored(tmp_path, folder, "--plot", tmp_path / "sheet.png")
    assert found.status[0] == "ok" and found.detector_score[0] > 0.95
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_the_detector_reaches_the_report(tmp_path):
    folder = tmp_path / "photos"
    write_image(folder / "a.jpg", ASTRONAUT[:300, 80:380])
    hog, mtcnn = (
        write_report(folder, tmp_path / "page.html", SCORERS["sharpness"](), detector=load_detector(name)).table
        for name in ("dlib-hog", "mtcnn")
    )
    assert hog.score[0] != mtcnn.score[0] and list(hog.status) == list(mtcnn.status) == ["ok"]
    named = [{name for name, _ in table.messages[0]} for table in (hog, mtcnn)]
    assert len(named[0] ^ named[1]) <= 2  # both measure the same face, from 68 landmarks in a box like dlib's


# --- crops that are aligned already


def test_aligned_crops_are_scored_without_detection(tmp_path, crops):
    table = scored(tmp_path, crops, "--aligned", "--plot", tmp_path / "sheet.png", method="embedding-norm")
    assert list(table.status) == ["ok", "ok", "ok", "error"] and "96 x 112 pixels" in table.reason[3]
    faces = from_aligned([read_image(crops / f"{number}.png") for number in range(3)])
    np.testing.assert_allclose(table.score[:3], SCORERS["embedding-norm"]().score_samples(faces), rtol=1e-6)
    assert (tmp_path / "sheet.png").is_file()


def test_aligned_crops_in_a_report_and_not_in_a_video(tmp_path, crops, capsys):
    page = tmp_path / "page.html"
    assert main(["report", str(crops), "--aligned", "--method", "sharpness", "--out", str(page), "--no-progress"]) == 0
    table = write_report(crops, page, SCORERS["sharpness"](), aligned=True).table
    assert list(table.status) == ["ok", "ok", "ok", "error"] and not any(table.messages)
    (tmp_path / "film.avi").write_bytes(b"x")
    more = ["--aligned", "--method", "sharpness", "--out", str(tmp_path / "x.csv")]
    assert main(["score", str(tmp_path / "film.avi"), *more]) == 1
    assert "--aligned is for photographs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["score", str(crops), *more, "--detector", "dlib-hog"])


def test_aligned_crops_get_labels_and_a_benchmark(tmp_path, orl, capsys):
    folder = tmp_path / "people"
    for name, crop in zip(orl.names[:80], arcface_crop(orl[:80].images), strict=True):
        write_image(folder / "set" / f"{name}.png", crop)
    labels, out = tmp_path / "labels.csv", tmp_path / "tables"
    more = ["--process-num", "1", "--no-progress", "--repeats", "2"]
    assert main(["sdd-labels", "--image-root", str(folder), "--score-dst", str(labels), "--aligned", *more]) == 0
    table = pd.read_csv(labels)
    assert (table.status == "ok").all() and table.identity.nunique() == 8
    assert "8 people, 80 photographs; 0 not used" in capsys.readouterr().err
    more = ["--methods", "sharpness", "--draws", "20", "--copies", "2", "--photographs", "0"]
    assert main(["benchmark", "--data", str(folder), "--aligned", "--out", str(out), *more]) == 0
    assert "8 people, 80 photographs" in capsys.readouterr().err
    assert main(["benchmark", "--aligned", "--out", str(out), *more]) == 1
    assert "leave out --aligned" in capsys.readouterr().err


def test_a_set_of_crops_is_scored_image_by_image(tmp_path, orl):
    pictures = arcface_crop(orl[:4].images)
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([encoded(p, "PNG") for p in pictures], [True, False])))
    (tmp_path / "bad.bin").write_bytes(b"no pickle")
    inputs = [tmp_path / "lfw.bin", tmp_path / "bad.bin"]
    table = scored(tmp_path, *inputs, "--plot", tmp_path / "sheet.png")
    assert list(table.path[:4]) == ["00000", "00001", "00002", "00003"]
    assert list(table.status) == ["ok"] * 4 + ["error"]
    np.testing.assert_allclose(table.score[:4], SCORERS["sharpness"]().score_samples(from_aligned(pictures)))
    assert "damaged" in table.reason[4]


def test_a_run_on_another_set_or_with_another_detector_is_not_gone_on_with(tmp_path, orl, monkeypatch):
    keys = []
    monkeypatch.setattr(photographs, "run_key", lambda scorer, *more: keys.append(more) or "key")
    inputs = [(photographs.Encoded("0", encoded(arcface_crop(orl[i : i + 1].images)[0], "PNG")), None) for i in (0, 1)]
    for given in (inputs[:1], inputs[1:]):
        photographs.score_files(given, SCORERS["sharpness"](), tmp_path / "s.csv")
    photographs.score_files(inputs[:1], SCORERS["sharpness"](), tmp_path / "s.csv", aligned=True)
    photographs.score_files(inputs[:1], SCORERS["sharpness"](), tmp_path / "s.csv", detector=load_detector("dlib-hog"))
    assert len(set(keys)) == 4


# --- folders


def test_a_folder_loses_nothing_without_a_word(tmp_path, capsys):
    folder = tmp_path / "phone"
    folder.mkdir()
    portrait = encoded(ASTRONAUT[:300, 80:380])
    heic = b"\0\0\0\x18ftypheic" + bytes(100)
    good = {"ok.JPG": portrait, "without_suffix": portrait, "photo.jpg_large": portrait, "saved.part": portrait}
    bad = {
        "IMG_1.HEIC": (heic, "HEIC"),
        "heic_without_suffix": (heic, "HEIC"),
        "raw.nef": (b"MM\0*" + bytes(200), "camera raw"),
        "raw.CR3": (b"\0\0\0\x18ftypcrx " + bytes(200), "camera raw"),
        "renamed_raw": (b"II*\0\x10\0\0\0CR\2\0" + bytes(200), "camera raw"),
    }
    other = {"clip.mp4": bytes(10), "notes.txt": b"text", "more.txt": b"text", "README": b"text", ".hidden": portrait}
    for name, data in {**good, **{name: data for name, (data, _) in bad.items()}, **other}.items():
        (folder / name).write_bytes(data)
    (tmp_path / "elsewhere.jpg").write_bytes(portrait)
    (folder / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    bad["link.jpg"] = (None, "link that leads out")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
        bad["pipe.jpg"] = (None, "not a regular file")
    table = scored(tmp_path, folder).set_index("path")
    table.index = [os.path.basename(path) for path in table.index]
    assert list(table.index) == sorted([*good, *bad])
    assert (table.status[list(good)] == "ok").all() and (table.status[list(bad)] == "error").all()
    for name, (_, word) in bad.items():
        assert word in table.reason[name], name
    said = capsys.readouterr().err
    for word in ("2 not an image by its suffix, .txt", ".mp4", "no suffix", "hidden"):
        assert word in said


def test_heic_is_read_where_pillow_heif_is(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(ASTRONAUT[:300, 80:380])).save(str(tmp_path / "photo.HEIC"), quality=90)
    table = scored(tmp_path, tmp_path / "photo.HEIC")
    assert table.status[0] == "ok"
    assert np.abs(read_image(tmp_path / "photo.HEIC").astype(float) - ASTRONAUT[:300, 80:380]).mean() < 3


def test_the_reason_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert "install pillow-heif" in load_files([tmp_path / "a.heic"]).report.reason[0]


def test_avif_is_read_and_turned_upright(tmp_path):
    if not hasattr(Image.core, "_dummy") and ".avif" not in Image.registered_extensions():
        pytest.skip("Pillow was built without AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(ASTRONAUT[:300, 80:380])
    picture.save(tmp_path / "a.avif", quality=95)
    assert np.abs(read_image(tmp_path / "a.avif").astype(float) - np.asarray(picture)).mean() < 4
    picture.save(tmp_path / "turned.avif", quality=95, exif=exif)
    turned = np.rot90(np.asarray(picture), -1).astype(float)
    assert np.abs(read_image(tmp_path / "turned.avif") - turned).mean() < 4


# --- names


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text on this system")
def test_odd_names_have_rows_a_sheet_a_report_and_labels(tmp_path, orl_files, capsys):
    names = [b"new\nline.pgm", "line\u2028sep.pgm".encode(), b"no\xfftext.pgm", b"back\\slash.pgm", b" space .pgm"]
    for number, name in enumerate(names):
        for person in range(2):
            place = tmp_path / "people" / f"p{person}" / os.fsdecode(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(orl_files[10 * person + number], place)
    folder = tmp_path / "people"
    table = scored(tmp_path, folder, "--plot", tmp_path / "sheet.png")
    assert len(table) == 10 and (table.status == "ok").all() and table.path.is_unique
    assert (tmp_path / "sheet.png").is_file()
    page = write_report(folder, tmp_path / "page.html", SCORERS["sharpness"]()).table
    assert len(page) == 10 and (page.status == "ok").all()
    labels, more = tmp_path / "labels.csv", ["--process-num", "1", "--no-progress", "--repeats", "2"]
    assert main(["sdd-labels", "--image-root", str(folder), "--score-dst", str(labels), *more]) == 0
    labelled = pd.read_csv(labels)
    assert len(labelled) == 10 and (labelled.status == "ok").all() and set(labelled.identity) == {"p0", "p1"}
    assert "2 people, 10 photographs" in capsys.readouterr().err
