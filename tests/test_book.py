"""The book's reading aids: what the search knows, colours that can be read, code to copy, pages without a script."""

import json
import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pygments.styles import get_style_by_name

from tools import book, catalogue

ENOUGH = 4.5  # WCAG 2.2, 1.4.3, level AA, for text of normal size


def brightness(colour):
    """Relative luminance of "#rrggbb", as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def contrast(one, other):
    low, high = sorted(map(brightness, (one, other)))
    return (high + 0.05) / (low + 0.05)


def palettes():
    """The two sets of colours of book.css: "light" and "dark"."""
    style = book.STYLE.read_text(encoding="utf-8")
    blocks = re.findall(r':root(\[data-theme="dark"\])? \{(.*?)\}', style, re.S)
    named = {("dark" if dark else "light"): dict(re.findall(r"--(\w+): (#\w{6})", body)) for dark, body in blocks[:2]}
    return named


def test_contrast_as_wcag_defines_it():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme, style", [("light", book.LIGHT), ("dark", book.DARK)])
def test_every_colour_of_text_stands_out(theme, style):
    colours = palettes()[theme]
    pairs = {(ink, paper) for ink in ("ink", "soft", "link", "bad") for paper in ("paper",)}
    pairs |= {("ink", "code"), ("ink", "alarm")}
    weak = [pair for pair in pairs if contrast(*(colours[name] for name in pair)) < ENOUGH]
    for token, look in get_style_by_name(style):
        if "Generic" not in str(token) and "Error" not in str(token):  # Python's lexer gives neither
            ink, paper = "#" + (look["color"] or colours["ink"][1:]), "#" + (look["bgcolor"] or colours["code"][1:])
            weak += [(str(token), ink, paper)] if contrast(ink, paper) < ENOUGH else []
    assert weak == []


def test_both_styles_of_code_are_written():
    style = book.colours()
    assert '\n:root[data-theme="dark"] .highlight .k ' in style and "\n.highlight .k " in style


@pytest.fixture
def pages(tmp_path):
    """A book of one lesson, and what its search knows."""
    text = "# 01 · Alpha\n\nBefore.\n\n## Beta $x$\n\nUnder *beta*.\n\n```\nhidden()\n```\n\n### Gamma\n\nUnder gamma."
    path = tmp_path / "notebooks" / "01_alpha.ipynb"
    path.parent.mkdir()
    catalogue.write(new_notebook(cells=[new_markdown_cell(text), new_code_cell("secret = 1")]), path)
    book.build(tmp_path / "book", [path])
    written = (tmp_path / "book" / "pages.js").read_text(encoding="utf-8")
    return tmp_path / "book", json.loads(written.removeprefix("window.FIQA_PAGES = ").rstrip().removesuffix(";"))


def test_the_search_knows_each_section_and_where_it_stands(pages):
    folder, found = pages
    named = {row["title"]: row for row in found}
    assert "Under beta." in named["Beta"]["text"] and "Under gamma." not in named["Beta"]["text"]
    assert "In [" not in str(found)
    assert "hidden" not in str(found) and "secret" not in str(found)
    page = (folder / "01_alpha.html").read_text(encoding="utf-8")
    for row in found:
        address, _, mark = row["address"].partition("#")
        assert address == "01_alpha.html" and (not mark or f'id="{mark}"' in page)
    assert named["Gamma"]["address"].endswith("#Gamma")


def test_a_page_loads_the_books_own_script_and_can_be_entered_by_keyboard(pages):
    page = (pages[0] / "01_alpha.html").read_text(encoding="utf-8")
    assert "<h2" in page and "<math" in page and "ns0:" not in page  # also in a heading
    assert '<script src="./book.js"></script>' in page and (pages[0] / "book.js").is_file()
    assert page.index('href="#text"') < page.index("<nav>") < page.index('<main id="text">')
    assert book.foreign(page) == []
