"""The HTML report of a folder: the decision, the page as text, and the page in a real browser."""

import base64
import html
import re
import tracemalloc

import cv2
import numpy as np
import pytest
from browser import Browser, needs_browser
from hypothesis import given
from hypothesis import strategies as st

from fiqa_lib.apps import report as module
from fiqa_lib.apps.report import threshold_for, thumbnail, write_report
from fiqa_lib.cli import main
from fiqa_lib.components import measure
from fiqa_lib.data import load_files
from fiqa_lib.errors import DataError
from fiqa_lib.faces import read_image
from fiqa_lib.scorers import SCORERS

EVIL = """<img src=x onerror="document.title='run'">&amp;'.png"""


def photographs(folder, images, names):
    for image, name in zip(images, names, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        large = cv2.copyMakeBorder(cv2.resize(image, None, fx=2, fy=2), 60, 60, 60, 60, cv2.BORDER_REPLICATE)
        path.write_bytes(cv2.imencode(".png", large[..., ::-1])[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, orl_images):
    """Six portraits (two of them blurred, one with an evil name), a wall, a broken file and a note."""
    place = tmp_path_factory.mktemp("photographs")
    images = [*orl_images[:4], *(cv2.GaussianBlur(image, (0, 0), 3) for image in orl_images[4:6])]
    photographs(place, images, ["a/one.png", "a/two.png", "b/three.png", EVIL, "b/soft.png", "b/softer.png"])
    photographs(place, [np.full((60, 80, 3), 120, np.uint8)], ["wall.png"])
    (place / "broken.jpg").write_bytes(b"nothing of a picture")
    (place / "note.txt").write_text("about the photographs")
    return place


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = write_report(folder, out, SCORERS["sharpness"](), discard=0.34)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert list(out.parent.iterdir()) == [out]  # nothing is left beside it
    return result, out


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.floats(0, 1, exclude_max=True))
def test_threshold_rejects_at_most_the_share_and_as_many_as_it_can(values, discard):
    scores = np.array(values, float)
    threshold = threshold_for(scores, discard)
    share = {t: np.mean(scores < t) for t in np.unique(scores)}
    allowed = [t for t, rejected in share.items() if rejected <= discard + 1e-9]
    assert threshold == max(allowed)


def test_threshold_by_hand():
    assert threshold_for([5, 1, 4, 2, 3], 0.4) == 3
    assert threshold_for([1, 1, 1, 2], 0.5) == 1  # equal scores are not separated
    assert threshold_for(np.arange(100), 0.29) == 29  # 0.29 * 100 is 28.999...


@pytest.mark.parametrize(("scores", "discard"), [([], 0.1), ([1, np.nan], 0.1), ([1, -np.inf], 0.1), ([1, 2], 1.0)])
def test_threshold_refuses(scores, discard):
    with pytest.raises(DataError):
        threshold_for(scores, discard)


def test_table_agrees_with_scoring_and_measuring_one_by_one(folder, written):
    table = written[0].table.set_index("path")
    assert table["verdict"].value_counts().to_dict() == {"kept": 4, "rejected": 2, "failed": 3}
    assert set(table.index[table.verdict == "rejected"]) == {"b/soft.png", "b/softer.png"}
    assert table.status[["wall.png", "broken.jpg", "note.txt"]].to_list() == ["no_face", "error", "skipped"]
    assert (table.reason[["wall.png", "broken.jpg", "note.txt"]] != "").all()
    for name in ("a/one.png", EVIL, "b/soft.png"):
        faces = load_files([folder / name]).faces
        assert table.score[name] == SCORERS["sharpness"]().score_samples(faces)[0]
        told = measure(read_image(folder / name)).query("message != '' and scalar >= 0")
        assert table.messages[name] == tuple(zip(told.component, told.message, strict=True))
    assert len(table.messages["b/softer.png"]) > 0


def test_page_is_self_contained_and_escaped(written):
    text = written[1].read_text(encoding="utf-8")
    assert "<img src=x" not in text and html.escape(EVIL) in text
    text = text.replace(html.escape(EVIL), "")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!data:)[a-z/]|url\(|@import|https?:""", text)
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(pictures) == 7
    for picture in pictures:
        data = base64.b64decode(picture)
        assert len(data) < 8000
        assert max(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape) == module.THUMBNAIL


def test_thumbnail_keeps_colours_and_small_pictures():
    red = np.zeros((40, 500, 3), np.uint8)
    red[..., 0] = 200
    data = base64.b64decode(thumbnail(red).partition(",")[2])
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert back.shape == (8, 96, 3) and back[..., 2].mean() > 190 and back[..., 0].mean() < 10
    assert base64.b64decode(thumbnail(red[:3, :2]).partition(",")[2]).startswith(b"\xff\xd8")


def test_a_threshold_by_hand_and_the_middle_of_the_picture(folder, tmp_path):
    result = write_report(
        folder, tmp_path / "r.html", SCORERS["sharpness"](), threshold=1e9, fallback="centre", measures=False
    )
    table = result.table.set_index("path")
    assert (
        result.threshold == 1e9 and table.status["wall.png"] == "fallback" and table.verdict["wall.png"] == "rejected"
    )
    assert "the middle of the picture was taken" in table.reason["wall.png"]
    assert not table.messages.map(len).any()


def test_the_result_does_not_depend_on_jobs_or_chunks(folder, written, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    again = write_report(folder, tmp_path / "r.html", SCORERS["sharpness"](), discard=0.34, title=folder.name)
    assert (tmp_path / "r.html").read_bytes() == written[1].read_bytes()
    assert again.table.equals(written[0].table)


def test_a_folder_without_any_face(tmp_path):
    photographs(tmp_path / "in", [np.full((60, 80, 3), 120, np.uint8)], ["wall.png"])
    result = write_report(tmp_path / "in", tmp_path / "r.html", SCORERS["sharpness"]())
    assert np.isnan(result.threshold) and result.table.verdict.to_list() == ["failed"]
    assert "No photograph could be scored" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_an_old_page_survives_a_failure(folder, tmp_path, monkeypatch):
    out = tmp_path / "r.html"
    out.write_text("old")
    monkeypatch.setattr(module, "_table_row", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(folder, out, SCORERS["sharpness"](), measures=False)
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]


def test_pictures_wait_on_disk_not_in_memory(tmp_path, monkeypatch):
    """Thumbnails of 60 kB for 2,000 rows are 120 MB; what is held at any moment is a small part of it."""
    (tmp_path / "in").mkdir()
    for number in range(2000):
        (tmp_path / "in" / f"{number:04d}.png").write_bytes(b"")

    def inspect(path, **options):
        return module.Faces.concat([]), {"messages": [], "thumbnail": f"{int(path.stem):060000d}"}, ""

    monkeypatch.setattr(module, "_inspect", inspect)
    tracemalloc.start()
    result = write_report(tmp_path / "in", tmp_path / "r.html", SCORERS["sharpness"]())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(result.table) == 2000 and (tmp_path / "r.html").stat().st_size > 120e6
    assert peak < 30e6


def test_command(folder, tmp_path, capsys):
    out = tmp_path / "r.html"
    options = ["--method", "sharpness", "--out", str(out), "--discard", "0.34", "--no-progress", "--no-messages"]
    assert main(["report", str(folder), *options, "--title", "<Holiday>"]) == 0
    said = capsys.readouterr()
    assert "9 files: 4 kept, 3 failed (first: broken.jpg: not an image: " in said.out and said.err == ""
    assert "<h1>Photographs of &lt;Holiday&gt;</h1>" in out.read_text(encoding="utf-8")


def test_command_without_a_score_has_no_threshold(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"nothing")
    given = ["report", str(tmp_path / "in"), "--method", "sharpness", "--out", str(tmp_path / "r.html")]
    assert main([*given, "--no-progress", "--no-messages"]) == 0
    said = capsys.readouterr().out
    assert "1 failed (first: a.jpg: not an image: " in said and "nan" not in said
    assert "; no threshold: nothing was scored." in said


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["missing"], "missing"),
        (["."], "no image file"),
        ([".", "--discard", "1.5"], "below 1"),
        ([".", "--threshold", "nan"], "finite"),
        ([".", "--method", "nothing"], "no method"),
    ],
)
def test_command_refuses(tmp_path, monkeypatch, capsys, given, hint):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *given, "--out", "r.html"]) == 1
    assert hint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@needs_browser
def test_in_a_browser(written, tmp_path):
    """Sorting by mouse and keyboard, filters, escaping, pictures; no error and no request but for the page itself."""
    table = written[0].table
    names = "Array.from(document.querySelectorAll('tbody tr:not([hidden]) th'), th => th.firstChild.textContent)"
    with Browser(tmp_path / "profile") as page:
        page.open(written[1].as_uri())
        assert page.run(names) == table.path.to_list()
        assert page.run("document.title") != "run" and page.run("document.querySelectorAll('img').length") == 7
        assert page.run("Array.from(document.images).every(img => img.complete && img.naturalWidth > 0 && img.alt)")

        page.run("document.querySelector('th[data-key=score] button').focus()")
        page.press("Enter", number=13)
        scored = table.dropna(subset="score").sort_values("score").path.to_list()
        assert page.run(names)[: len(scored)] == scored
        assert page.run("document.querySelector('th[data-key=score]').ariaSort") == "ascending"
        page.run("document.querySelector('th[data-key=score] button').click()")
        assert page.run(names)[: len(scored)] == scored[::-1]  # those without a score stay last

        page.run("verdict.value = 'rejected'; verdict.dispatchEvent(new Event('change'))")
        assert sorted(page.run(names)) == ["b/soft.png", "b/softer.png"]
        assert page.run("shown.textContent") == "2 of 9 shown"
        page.run("verdict.value = ''; verdict.dispatchEvent(new Event('change'))")
        page.run("document.getElementById('text').focus()")
        page.call("Input.insertText", text="ONERROR")
        assert page.run(names) == [EVIL]

        unnamed = "Array.from(document.querySelectorAll('input, select')).filter(e => !e.labels.length).length"
        assert page.run(unnamed) == 0
        page.run("fetch('data:text/plain,x').catch(() => document.body.dataset.refused = 'yes')")
        assert page.run("document.body.dataset.refused") == "yes"  # the page's own policy forbids it
        assert page.requested() == [written[1].as_uri()]
