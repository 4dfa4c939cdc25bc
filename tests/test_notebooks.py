"""Every notebook, found by globbing: its form, its committed outputs, and a run with QUICK and without a network."""

import inspect
import re
from pathlib import Path

import pytest

from tools import api, book, catalogue, checks, execution, provenance, readme, requirements
from tools.environment import ROOT

HERE = Path(__file__).parent
NOTEBOOKS = catalogue.everything()
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def bands_of(path):
    return checks.read_bands(HERE / "bands" / f"{path.stem}.toml")


def test_notebooks_are_found():
    assert "_template" in [path.stem for path in NOTEBOOKS]


def test_every_band_file_belongs_to_a_notebook():
    assert {path.stem for path in (HERE / "bands").glob("*")} <= {path.stem for path in NOTEBOOKS}


def test_every_notebook_has_solutions():
    lessons = {path.stem for path in NOTEBOOKS if not catalogue.is_solution(path)}
    solved = {path.stem.removesuffix("_solutions") for path in NOTEBOOKS if catalogue.is_solution(path)}
    assert lessons == solved


@every_notebook
def test_committed(path):
    """Form, links and outputs, as `python tools/nb.py check` sees them."""
    assert checks.problems(path, fresh=False) == []


def test_all_that_is_committed_is_fresh():
    """Notebooks, tables and weights were made from the code as it is."""
    assert [path.stem for path in NOTEBOOKS if checks.freshness(path)] + provenance.stale_stamps() == []


def test_requirements_are_those_of_pyproject():
    assert requirements.stale() == []


@every_notebook
def test_committed_numbers(path):
    assert checks.bands(checks.records(catalogue.read(path)), bands_of(path), "default") == []


def test_book(tmp_path):
    """All formulas can be drawn, no page fetches anything, and each image is described in words."""
    index = book.build(tmp_path, NOTEBOOKS)
    for page in [index, *tmp_path.rglob("*.html")]:
        text = page.read_text(encoding="utf-8")
        assert book.foreign(text) == [], page.name
        assert undescribed(text) == [], page.name


def undescribed(text):
    """The images of a page whose `alt` says less than three words; a card's thumbnail has its title beside it."""
    images = re.findall(r"<img\b[^>]*>", re.sub(r'base64,[^"]*', "", text))
    said = {image: re.search(r'alt="([^"]*)"', image) for image in images if 'class="thumbnail"' not in image}
    return [image for image, alt in said.items() if not alt or len(alt[1].split()) < 3 or "No description" in alt[1]]


def test_an_image_without_a_description_is_found():
    assert undescribed('<img alt="Two faces side by side" src="a"><img class="thumbnail" alt="" src="b">') == []
    assert len(undescribed('<img src="a"><img alt="face"><img alt="No description has been provided"/>')) == 3


def test_api_pages(tmp_path):
    """Each room has a page with its public names, and no page fetches anything."""
    from fiqa_lib import evaluation

    first = api.build(tmp_path)
    assert first.is_file()
    page = (tmp_path / "fiqa_lib" / "evaluation.html").read_text(encoding="utf-8")
    names = [name for name in evaluation.__all__ if not inspect.ismodule(getattr(evaluation, name))]
    assert [name for name in names if f'id="{name}"' not in page] == []
    assert "<strong>Blind</strong>" in (tmp_path / "fiqa_lib" / "scorers" / "faceqan.html").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.rglob("*.html") if book.foreign(p.read_text(encoding="utf-8"))] == []


def test_readme_says_what_the_notebooks_say():
    assert readme.stale() == []


def test_a_readme_of_other_numbers_is_stale(monkeypatch, tmp_path):
    other = tmp_path / "README.md"
    text = readme.README.read_text(encoding="utf-8")
    other.write_text(text.replace("<!-- /numbers -->", "| invented | 1 |\n<!-- /numbers -->"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", other)
    assert len(readme.stale()) == 1


@pytest.mark.notebook
@every_notebook
def test_quick_run(path):
    """With QUICK and every outside connection refused: no error, nothing on standard error, numbers in their bands."""
    out = ROOT / "build" / "quick" / catalogue.relative(path)
    run = execution.execute(path, out, execution.QUICK, offline=True)
    assert run.error is None
    assert checks.outputs(run.notebook) == []
    assert checks.bands(checks.records(run.notebook), bands_of(path), "quick") == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "GLOSSARY.md", "QUIZZES.md", "TEACHING.md", "data/README.md"]
)
def test_links_of_the_pages_beside_the_notebooks_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    lost = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not lost, f"{page}: {lost}"
