"""The HTML book: one page for each notebook, an index, and nothing that is fetched from anywhere.

nbconvert turns cells and outputs into HTML; the page around it, its style and the formulas (MathML, which browsers draw
themselves) are made here, since nbconvert's own pages load their scripts from the network.
"""

import base64
import html
import io
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import latex2mathml.converter
import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from pygments.formatters import HtmlFormatter

from fiqa_lib.files import whole_file

from . import catalogue, execution
from .environment import ROOT

STYLE, SCRIPT = ROOT / "tools" / "book.css", ROOT / "tools" / "book.js"
LIGHT, DARK = "xcode", "zenburn"  # of pygments' styles, those whose every colour stands out from --code by 4.5 to 1
TITLE = "Face image quality assessment"
THUMBNAIL = (220, 150)  # pixels, at most
PROMPT = re.compile(r"(?:In|Out)\s?\[[\s\d]*\]:")


FOLDED = """{%- extends 'basic/index.html.j2' -%}
{% block codecell %}
{%- if "tests" in cell.metadata.get("tags", []) -%}
<details class="tests"><summary>What the tests hold this lesson to</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock codecell %}"""
"""nbconvert's page, with the cells that only serve the tests folded."""


class FormulaError(ValueError):
    """A formula that cannot be turned into MathML."""


@dataclass
class Page:
    """What the index and the navigation need to know of one notebook."""

    path: Path
    notebook: nbformat.NotebookNode
    seconds: float | None = None
    error: str | None = None

    @property
    def address(self):
        return catalogue.relative(self.path).with_suffix(".html").as_posix()

    @property
    def title(self):
        first = self.notebook.cells[0].source if self.notebook.cells else ""
        return plain(first.partition("\n")[0].lstrip("# ")) or self.path.stem

    def field(self, name):
        """The text behind a bold name of the opening, such as **Time**: up to the next bold name or empty line."""
        found = re.search(rf"(?s)\*\*{name}\*\*:?(.*?)(?=\n\s*\n|\*\*[A-Z]|\Z)", catalogue.markdown(self.notebook))
        return plain(found.group(1)).strip().rstrip(".") if found else ""


def build(out, paths, executed=None, results=None):
    """Write the book into the folder `out`: index.html and a page for each notebook.

    Parameters
    ----------
    out : Path
        Where the book goes.
    paths : list of Path
        The notebooks, in reading order, solutions among them.
    executed : Path, optional
        A folder of executed notebooks laid out like notebooks/ (build/course). One that still has the notebook's
        code is shown in its place.
    results : dict, optional
        Stem -> (seconds, error or None) of that execution.

    Returns
    -------
    Path
        The index page.

    Raises
    ------
    FormulaError
        When a formula cannot be drawn. Names the notebook.
    """
    out, results = Path(out), results or {}
    pages = [Page(path, newest(path, executed), *results.get(path.stem, (None, None))) for path in paths]
    lessons = [page for page in pages if not catalogue.is_solution(page.path)]
    solutions = {page.path.stem.removesuffix("_solutions"): page for page in pages if catalogue.is_solution(page.path)}
    found = []
    for page in pages:
        navigation = _navigation(page, lessons, solutions)
        made = render(page, navigation, ".." if "/" in page.address else ".")
        write_page(out / page.address, made)
        found += sections(made, page.title, page.address)
    write_page(out / "style.css", STYLE.read_text(encoding="utf-8") + colours())
    write_page(out / "book.js", SCRIPT.read_text(encoding="utf-8"))
    write_page(out / "pages.js", f"window.FIQA_PAGES = {json.dumps(found, ensure_ascii=False)};\n")
    return write_page(out / "index.html", index(lessons, solutions))


def colours():
    """The style sheet of the code: `LIGHT`, and `DARK` where the page is."""
    dark = HtmlFormatter(style=DARK).get_style_defs(':root[data-theme="dark"] .highlight')
    return HtmlFormatter(style=LIGHT).get_style_defs(".highlight") + "\n" + dark


def sections(page, title, address):
    """What the search knows of a page: for each of its headings a dict `page`, `title`, `address` (with the heading's
    mark) and `text`, without code and outputs."""
    finder = _Sections()
    finder.feed(page)
    rows = [(mark, " ".join(head.split()), " ".join(PROMPT.sub("", text).split())) for mark, head, text in finder.found]
    return [
        {"page": title, "title": head or title, "address": address + (f"#{mark}" if mark else ""), "text": text}
        for mark, head, text in rows
        if head or text
    ]


def newest(path, executed=None):
    """The notebook as it was executed last, where that has the same code as `path`, or else as it is committed."""
    own = catalogue.read(path)
    other = Path(executed) / catalogue.relative(path) if executed else None
    if other is None or not other.exists():
        return own
    run = catalogue.read(other)
    cells = execution.own_cells(run)
    return run if [c.source for c in cells] == [c.source for c in own.cells] else own


def render(page, navigation, up):
    """The HTML of one notebook with its navigation; `up` leads from the page to the folder of the book."""
    exporter = _Exporter(raw_template=FOLDED, template_name="basic", embed_images=True)
    try:
        body, _ = exporter.from_notebook_node(page.notebook, {"metadata": {"path": str(page.path.parent)}})
    except FormulaError as problem:
        raise FormulaError(f"{page.path.name}: {problem}") from problem
    body = re.sub(r'(href="[^":#]*)\.ipynb(#[^"]*)?"', r'\1.html\2"', body)
    failed = f'<p class="failed">Failed in the last run: {html.escape(page.error)}</p>' if page.error else ""
    return _page(page.title, navigation + failed + f"<main>{body}</main>" + navigation, up)


def thumbnail(notebook):
    """An <img> with the first picture of a notebook's outputs, small and inside the page; "" where it has none."""
    for cell in catalogue.code_cells(notebook):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if picture := data.get("image/png") or data.get("image/jpeg"):
                image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
                image.thumbnail(THUMBNAIL)
                small = io.BytesIO()
                image.save(small, "JPEG", quality=80)
                code = base64.b64encode(small.getvalue()).decode()
                return f'<img class="thumbnail" alt="" src="data:image/jpeg;base64,{code}">'
    return ""


def index(lessons, solutions):
    """The first page: where to begin, and each notebook with its first picture, what it builds and its time."""
    rows = []
    for page in lessons:
        answer = solutions.get(page.path.stem)
        took = "" if page.seconds is None else f"<br>last run: {page.seconds:.0f} s"
        took = '<br><span class="failed">failed in the last run</span>' if page.error else took
        rows.append(
            f'<tr><td><a href="{page.address}">{thumbnail(page.notebook)}{html.escape(page.title)}</a>'
            + (f'<br><a class="small" href="{answer.address}">solutions</a>' if answer else "")
            + f"</td><td>{html.escape(page.field('You will build'))}</td>"
            + f'<td class="small">{html.escape(page.field("Time"))}{took}</td></tr>'
        )
    head = "<tr><th>Notebook</th><th>You will build</th><th>Time</th></tr>"
    empty = "" if rows else "<p>There are no notebooks yet.</p>"
    if first := next((page for page in lessons if not page.path.stem.startswith("_")), None):
        empty = (
            f'<p class="first">New here? Begin with <a href="{first.address}">{html.escape(first.title)}</a>'
            + (f" ({html.escape(time)})" if (time := first.field("Time")) else "")
            + '. Each notebook names those that it builds on. The library: <a href="api/fiqa_lib.html">API</a>.</p>'
        )
    return _page(TITLE, f"<main><h1>{TITLE}</h1>{empty}<table class='index'>{head}{''.join(rows)}</table></main>", ".")


def mathml(formula, display):
    """A LaTeX formula as MathML; `display` is "block" or "inline".

    Raises
    ------
    FormulaError
        When the formula is broken or holds a command that is not known: it would be drawn as its bare name.
    """
    braces = re.sub(r"\\[{}]", "", formula)
    if braces.count("{") != braces.count("}"):
        raise FormulaError(f"the braces of the formula {formula!r} do not match")
    try:
        drawn = latex2mathml.converter.convert(formula.strip(), display=display)
    except Exception as problem:  # the converter has many error types without a common base
        raise FormulaError(f"the formula {formula!r} cannot be drawn: {type(problem).__name__}") from problem
    unknown = re.search(r">(\\[A-Za-z]+)<", drawn)
    if unknown:
        raise FormulaError(f"the formula {formula!r} has the unknown command {unknown.group(1)}")
    return drawn


def plain(text):
    """Text without Markdown's marks and HTML's tags, for one line of the index."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", re.sub(r"<[^>]+>", "", text))
    return " ".join(html.unescape(re.sub(r"[*`]", "", text)).split())


def foreign(page):
    """What a browser would fetch from elsewhere to show the HTML `page`; links to click on are not among it."""
    finder = _Finder()
    finder.feed(page)
    return finder.found + re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", page)


class _Finder(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            wanted = {"src", "href", "srcset", "poster", "data", "action"}
            self.found += [value for name, value in attrs if name in wanted and re.match(r"(https?:)?//", value or "")]


class _Sections(HTMLParser):
    """Cuts a page at its headings of the first three levels: rows [mark, heading, text]."""

    HEADS, SILENT = ("h1", "h2", "h3"), ("script", "style", "nav", "pre", "svg", "math", "title")

    def __init__(self):
        super().__init__()
        self.found, self.silent, self.heading = [["", "", ""]], 0, False

    def handle_starttag(self, tag, attrs):
        self.silent += tag in self.SILENT
        if tag in self.HEADS:
            self.found.append([dict(attrs).get("id") or "", "", ""])
            self.heading = True

    def handle_endtag(self, tag):
        self.silent -= tag in self.SILENT
        self.heading = self.heading and tag not in self.HEADS

    def handle_data(self, data):
        if not self.silent:
            self.found[-1][1 if self.heading else 2] += data


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown, with its formulas drawn here and now."""

    def inline_math(self, body):
        return mathml(body, "inline")

    def block_math(self, body):
        return mathml(body, "block")

    def _html_embed_images(self, html):
        """Only where there is a picture: the parser behind it closes <details> before its answer."""
        return super()._html_embed_images(html) if "<img" in html else html

    def latex_environment(self, name, body):
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def markdown_of(folder):
    """A function from Markdown to HTML, formulas drawn; pictures are found beside `folder` and taken in."""
    renderer = _Renderer(escape=False, embed_images=True, path=str(folder), anchor_link_text="")

    def draw(source):
        made = MarkdownWithMath(renderer=renderer).render(source)
        return re.sub(r"(</?)ns\d+:", r"\1", made)  # headings pass through an XML parser, which renames <math>

    return draw


class _Exporter(HTMLExporter):
    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", self._to_html  # for outputs of type text/markdown too

    def _to_html(self, source):
        return markdown_of(self._folder)(source)

    def from_notebook_node(self, nb, resources=None, **kw):
        self._folder = resources["metadata"]["path"]
        return super().from_notebook_node(nb, resources, **kw)


def _navigation(page, lessons, solutions):
    """Links to the index, the neighbours, and the solutions or the lesson."""
    stem = page.path.stem
    up = "../" if "/" in page.address else ""
    links = [(f"{up}index.html", "Contents")]
    if catalogue.is_solution(page.path):
        lesson = next((p for p in lessons if p.path.stem == stem.removesuffix("_solutions")), None)
        links += [(up + lesson.address, "The notebook")] if lesson else []
    else:
        place = [p.path for p in lessons].index(page.path)
        links += [(lessons[place - 1].address, "← " + lessons[place - 1].title)] if place else []
        links += [(lessons[place + 1].address, lessons[place + 1].title + " →")] if place + 1 < len(lessons) else []
        links += [(solutions[stem].address, "Solutions")] if stem in solutions else []
    return "<nav>" + " ".join(f'<a href="{to}">{html.escape(text)}</a>' for to, text in links) + "</nav>"


def _page(title, body, up):
    body = body.replace("<main>", '<main id="text">', 1)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><link rel="stylesheet" href="{up}/style.css">'
        f'<script src="{up}/book.js"></script></head>\n'
        f'<body><a class="skip" href="#text">To the text</a>{body}</body></html>\n'
    )


def write_page(path, text):
    """Write a page whole or not at all; returns its path."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path
