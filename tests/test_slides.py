"""Slides: every section and figure of a lesson, no answers, nothing fetched."""

import re

import pytest

from tools import book, catalogue, slides

LESSONS = [path for path in catalogue.course() if not catalogue.is_solution(path)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("slides")
    return {page.stem: page.read_text(encoding="utf-8") for page in slides.build(out, LESSONS)}


@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_lesson_becomes_slides(pages, path):
    page, notebook = pages[path.stem], catalogue.read(path)
    assert book.foreign(page) == [] and "<details" not in page
    shown = page.count("<section>")
    heads = len(re.findall(r"(?m)^#{1,2} ", catalogue.markdown(notebook)))
    assert heads - 3 <= len(re.findall(r"<h[12]", page)) <= heads < shown + 3  # without exercises and recap
    assert '<img alt=""' not in page and "<img src" not in page


def test_the_gist_of_a_section():
    text = "\n\n- a list\n\nThe first *words*.\n\n$$\nx = 1\n$$\n\nMore words."
    assert slides.gist(text) == "The first *words*.\n\n$$\nx = 1\n$$"


def test_questions_come_without_answers():
    assert slides.questions("1. Why?\n\n<details><summary>Answer</summary>\n\nBecause.\n\n</details>\n\n2. How?") == (
        "1. Why?\n\n\n\n2. How?"
    )
