"""Slides of a lesson, from its own cells: `python tools/nb.py slides` writes build/slides, one page for each lesson.

A slide for the title, one for each section with its first paragraph and its first formula, one for each figure with its
text for those who can't see it, and one for the questions of the checkpoint. The arrow keys turn the pages; printed,
each slide is a page. Like the book's pages they fetch nothing.
"""

import html
import re

from . import book, catalogue

SILENT = ("Exercises", "Recap")  # sections that are work at home
PICTURES = ("image/png", "image/jpeg")
STYLE = """
:root { color-scheme: light; }
body { margin: 0; font: 28px/1.45 system-ui, sans-serif; color: #1f2430; background: #fff; }
section { box-sizing: border-box; min-height: 100vh; padding: 3.5vh 5vw; display: none; flex-direction: column;
          justify-content: center; }
section.now { display: flex; }
h1 { font-size: 2em; }
h2 { font-size: 1.5em; margin: 0 0 .6em; }
p, ol { margin: .4em 0; max-width: 48em; }
figure { margin: 0; display: flex; flex-direction: column; }
img { max-width: 90vw; max-height: 74vh; object-fit: contain; align-self: center; }
figcaption { font-size: .7em; color: #5b6475; margin-top: .6em; }
code { font: .85em ui-monospace, monospace; }
a { color: #1a5fb4; }
footer { position: fixed; right: 1rem; bottom: .5rem; font-size: 15px; color: #5b6475; }
@media print { section { display: flex; page-break-after: always; } footer { display: none; } }
"""
SCRIPT = """
const slides = [...document.querySelectorAll("section")];
let now = Math.min(slides.length, Math.max(1, Number(location.hash.slice(1)) || 1)) - 1;
const show = (step) => {
  now = Math.min(slides.length - 1, Math.max(0, now + step));
  slides.forEach((slide, number) => slide.classList.toggle("now", number === now));
  history.replaceState(null, "", "#" + (now + 1));
  document.querySelector("footer").textContent = `${now + 1} / ${slides.length}`;
};
addEventListener("keydown", (event) => {
  if (["ArrowRight", "PageDown", " "].includes(event.key)) show(1);
  if (["ArrowLeft", "PageUp"].includes(event.key)) show(-1);
});
addEventListener("click", (event) => event.target.closest("a") || show(event.clientX < innerWidth / 3 ? -1 : 1));
show(0);
"""


def build(out, paths):
    """Write the slides of the notebooks in `paths` into the folder `out`; returns the pages."""
    written = []
    for path in paths:
        notebook = catalogue.read(path)
        title = book.Page(path, notebook).title
        body = "".join(f"<section>{slide}</section>\n" for slide in slides(path, notebook))
        page = (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{STYLE}</style></head>\n<body><main>{body}</main><footer></footer>"
            f"<script>{SCRIPT}</script></body></html>\n"
        )
        written.append(book.write_page(out / f"{path.stem}.html", page))
    return written


def slides(path, notebook):
    """The HTML of each slide of a notebook, in order."""
    draw = book.markdown_of(path.parent)
    made, silent, checkpoint = [], False, False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"(?m)^(?=#{1,2} )", cell.source):
                heading = re.match(r"(#{1,2}) (.*)", part)
                if heading:
                    name, rest = heading.group(2).strip(), part[heading.end() :]
                    silent, checkpoint = name.startswith(SILENT), name.startswith("Checkpoint")
                    if not silent:
                        shown = questions(rest) if checkpoint else gist(rest)
                        made.append(draw(f"{heading.group(1)} {name}\n\n{shown}"))
        elif not silent:
            made += figures(cell)
    return made


def gist(text):
    """The first paragraph of a text, and its first formula that stands by itself."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    words = [part for part in parts if not part.startswith(("$$", "```", "|", "<", "!", "-", "*", "1.", "#"))]
    lead = [part for part in parts if part.startswith("**You will build**")]
    formula = [part for part in parts if part.startswith("$$")]
    return "\n\n".join([*(lead or words)[:1], *formula[:1]])


def questions(text):
    """The questions of a checkpoint, without their answers."""
    return re.sub(r"(?s)<details>.*?</details>", "", text).strip()


def figures(cell):
    """A slide for each picture among a cell's outputs, with its text for those who can't see it below it."""
    found = []
    for output in cell.get("outputs", []):
        for kind in PICTURES:
            if code := output.get("data", {}).get(kind):
                said = html.escape(output.get("metadata", {}).get(kind, {}).get("alt", "") or "A figure of this lesson")
                picture = f'<img alt="{said}" src="data:{kind};base64,{"".join(code).strip()}">'
                found.append(f"<figure>{picture}<figcaption>{said}</figcaption></figure>")
    return found
