"""A folder of photographs as one HTML page: scores, a decision, what is wrong with each picture, and what failed.

The page is self-contained: thumbnails are in it as data, style and script too, and its own security policy forbids it
to fetch anything. Nothing is moved or deleted; the page only tells. However many photographs there are, only `CHUNK` of
them are in memory: rows wait in a temporary file until the threshold is known.
"""

from __future__ import annotations

import base64
import json
import math
import tempfile
from functools import partial
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from .. import components
from ..data.folders import checked_arcface_size, no_image_in
from ..errors import DataError, ImageError
from ..faces import Faces, Mtcnn, extract_faces, from_aligned
from ..faces.images import find_images, printable, read_image
from ..files import locked, whole_file
from .output import in_total, progress_bar
from .photographs import CHUNK, score_rows

THUMBNAIL = 96
"""Longest side of a thumbnail, in pixels."""
VERDICTS = {"kept": "kept", "rejected": "rejected", "failed": "no score"}
"""Each verdict, and the words for it on the page."""
COLUMNS = ["path", "verdict", "status", "score", "reason", "messages"]


class Report(NamedTuple):
    """What `write_report` returns.

    `table`: DataFrame, one row for each photograph in the order of `images.find_images`, then one for each file that
    was skipped: `path` (relative to the folder), `verdict` ("kept", "rejected", "failed"), `status`, `score` (NaN
    without one), `reason` (of a failure), `messages` (a tuple of (component, text)).
    `threshold`: float; scores from it on are kept. NaN where nothing was scored.
    """

    table: pd.DataFrame
    threshold: float

    def summary(self):
        """The counts in words, with the first of the files that failed."""
        failed = self.table.loc[self.table["verdict"] == "failed", ["path", "reason"]]
        firsts = {} if failed.empty else {"failed": tuple(failed.iloc[0])}
        counts = self.table["verdict"].value_counts().to_dict()
        return f"{len(self.table)} files: {in_total(counts, firsts)}"


def threshold_for(scores, discard):
    """The highest threshold that rejects no more than a share `discard` of the scores.

    With the n scores sorted upwards and counted from 0, it is number floor(discard * n). A score equal to it is kept:
    equal scores are never separated, so fewer may be rejected than asked.

    Parameters
    ----------
    scores : array (n,)
        Finite, higher is better.
    discard : float
        Share to reject at most, in [0, 1).

    Returns
    -------
    float
        Keep `score >= threshold`.

    Raises
    ------
    DataError
        There is no score, one is not finite, or the share is out of range.
    """
    scores = np.sort(np.asarray(scores, float).ravel())
    if len(scores) == 0 or not np.isfinite(scores).all():
        raise DataError("a threshold needs finite scores, at least one; leave out what could not be scored")
    _check_share(discard)
    rejected = math.floor(discard * len(scores) + 1e-9)  # 0.29 * 100 is a little less than 29
    return float(scores[min(rejected, len(scores) - 1)])


def _check_share(discard):
    if not 0 <= discard < 1:
        raise DataError(f"the share to discard must be at least 0 and below 1, not {discard}")


def write_report(
    folder,
    out,
    scorer,
    *,
    discard=0.1,
    threshold=None,
    fallback=None,
    detector=None,
    aligned=False,
    measures=True,
    title=None,
    n_jobs=1,
    progress=False,
):
    """Score the photographs of a folder and write the page.

    Parameters
    ----------
    folder : path
        Searched with all folders below, as by `images.find_images`.
    out : path
        The HTML file, written whole or not at all.
    scorer : Scorer
        Fitted, if it learns.
    discard : float, default=0.1
        The share of the scored photographs to reject at most, in [0, 1); see `threshold_for`.
    threshold : float, default=None
        Keep scores from this one on. Given, it replaces `discard`.
    fallback : {None, "centre"}, default=None
        What to take where no face is found: nothing, or the middle of the picture.
    detector : callable, default=None
        Finds the faces, as in `faces.extract_faces`. None: `Mtcnn()`.
    aligned : bool, default=False
        The files are 112x112 crops in ArcFace's template (`faces.from_aligned`). Then there are no messages: most are
        about the photograph around the face.
    measures : bool, default=True
        Tell what is wrong with each photograph (`components.measure`).
    title : str, default=None
        Title of the page. None: the name of the folder.
    n_jobs : int, default=1
        Processes that read and measure photographs; no effect on the result.
    progress : bool, default=False
        Show a bar on standard error.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        The folder is missing or holds no image file, or a number is out of range. A photograph that can't be read or
        has no face is no error: it is a row with its reason. Also where another process writes `out`.
    """
    folder, out = Path(folder), Path(out)
    _check_share(discard)
    if threshold is not None and not math.isfinite(threshold):
        raise DataError(f"the threshold must be a finite number, not {threshold}")
    found = find_images(folder)
    if not found.paths:
        raise no_image_in(folder, found.skipped)
    inspect = partial(_inspect, detector=detector, aligned=aligned, fallback=fallback, measures=measures)
    with locked(out):
        return _written(found, folder, out, scorer, discard, threshold, inspect, title, n_jobs, progress)


def _written(found, folder, out, scorer, discard, threshold, inspect, title, n_jobs, progress):
    photographs = _photographs(folder, found.paths, scorer, inspect, n_jobs, progress)
    skipped = (
        {"path": _relative(path, folder), "status": "skipped", "score": None, "reason": printable(reason)} | _NO_PICTURE
        for path, reason in found.skipped[["path", "reason"]].itertuples(index=False)
        if Path(path) != out  # the page of an earlier run
    )
    rows = []
    # beside the page and not in the system's folder for temporary files, which may lie in memory
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=out.parent) as waiting:
        for source in (photographs, skipped):
            for row in source:
                waiting.write(json.dumps(row) + "\n")
                rows.append({name: row.get(name) for name in COLUMNS})
        scores = [row["score"] for row in rows if row["score"] is not None]
        rule = "given by hand"
        if threshold is None:
            threshold = threshold_for(scores, discard) if scores else math.nan
            rule = f"chosen so that at most {discard:.1%} of the scored photographs are rejected"
        for row in rows:
            row["messages"] = tuple(map(tuple, row["messages"]))
            row["verdict"] = "failed" if row["score"] is None else "kept" if row["score"] >= threshold else "rejected"
        table = pd.DataFrame(rows, columns=COLUMNS).astype({"score": float})
        waiting.seek(0)
        with whole_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as page:
            page.write(_head(title or folder.resolve().name, scorer, table, threshold, rule))
            for line, verdict in zip(waiting, table["verdict"], strict=True):
                page.write(_table_row(json.loads(line), verdict))
            page.write(_FOOT)
    return Report(table, float(threshold))


def _relative(path, folder):
    """The path within the folder as printable text, with "/"."""
    try:
        return printable(Path(path).relative_to(folder).as_posix())
    except ValueError:
        return printable(path)


# ------------------------------------------------------------------------------------------------- the photographs


def _photographs(folder, paths, scorer, inspect, n_jobs, progress):
    """One dict for each photograph, in order; at most `CHUNK` of them are in memory."""
    from joblib import Parallel, delayed

    inspect = delayed(inspect)
    with progress_bar(len(paths), shown=progress, unit="photograph") as bar:
        for start in range(0, len(paths), CHUNK):
            part = paths[start : start + CHUNK]
            faces, pictures, errors = zip(*Parallel(n_jobs=n_jobs)(map(inspect, part)), strict=True)
            faces = Faces.concat([face for face in faces if len(face)])
            names = list(map(str, part))
            unreadable = {name: reason for name, reason in zip(names, errors, strict=True) if reason}
            rows = score_rows(scorer, faces, names, unreadable)
            for path, row, picture in zip(part, rows, pictures, strict=True):
                said = {key: row[key] for key in ("status", "score", "reason")}
                yield {"path": _relative(path, folder)} | said | picture
            bar.update(len(part))


_NO_PICTURE = {"messages": [], "thumbnail": ""}


def _inspect(path, *, detector, aligned, fallback, measures):
    """(Faces with at most one face, what the page shows, "" or why it can't be read): decodes and searches it once."""
    try:
        image = read_image(path)
        crop = [checked_arcface_size(image, path)] if aligned else None
    except ImageError as error:
        return Faces.concat([]), _NO_PICTURE, error.reason
    picture = {"messages": [], "thumbnail": thumbnail(image), "size": list(image.shape[1::-1])}
    if aligned:
        return from_aligned(crop, names=[str(path)]), picture, ""
    detections = (detector or Mtcnn())(image)
    faces = extract_faces(image, detector=lambda _: detections, fallback=fallback, name=str(path))
    if measures and list(faces.attributes["status"]) == ["ok"]:
        measured = components.measure(image, detections=detections).query("message != '' and scalar >= 0")
        picture["messages"] = list(zip(measured["component"], measured["message"], strict=True))
    return faces, picture, ""


def thumbnail(image, size=THUMBNAIL):
    """A picture as the text of a `data:` address, a JPEG.

    Parameters
    ----------
    image : array (H, W, 3) uint8 RGB
        The picture.
    size : int, default=96
        Its longest side becomes at most this many pixels.

    Returns
    -------
    str
    """
    scale = min(1, size / max(image.shape[:2]))
    width, height = (max(1, round(scale * side)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


# -------------------------------------------------------------------------------------------------------- the page


def _table_row(row, verdict):
    """One row of the page. What comes from outside (names, reasons, messages) is escaped."""
    name, has_score = escape(row["path"]), row["score"] is not None
    score, order = (f"{row['score']:.4g}", repr(row["score"])) if has_score else ("", "")
    size = " × ".join(map(str, row.get("size", ())))
    picture = f'<img src="{row["thumbnail"]}" alt="photograph {name}">' if row["thumbnail"] else "no picture"
    messages = "".join(f"<li><b>{escape(what)}</b> {escape(text)}</li>" for what, text in row["messages"])
    messages = f"<ul>{messages}</ul>" if messages else ""
    reason = f"<p>{escape(row['reason'])}</p>" if row["reason"] else ""
    return (
        f'<tr data-verdict="{verdict}" data-score="{order}" data-messages="{len(row["messages"])}"><td>{picture}</td>'
        f'<th scope="row">{name}<small>{size}</small></th><td class="n">{score}</td>'
        f'<td><span class="v {verdict}">{VERDICTS[verdict]}</span></td><td>{reason}{messages}</td></tr>\n'
    )


def _head(title, scorer, table, threshold, rule):
    counts = table["verdict"].value_counts()
    kept, rejected, failed = (int(counts.get(name, 0)) for name in VERDICTS)
    scored = max(1, kept + rejected)
    sentence = f"{len(table)} files: {kept} kept, {rejected} rejected ({rejected / scored:.1%} of those with a score), "
    sentence += f"{failed} without a score. "
    if math.isfinite(threshold):
        sentence += f"Kept are scores from {threshold:.4g} on: {rule}."
    else:
        sentence += "No photograph could be scored, so there is no threshold."
    faults = [component for row in table["messages"] for component, _ in row]
    common = pd.Series(faults, dtype=object).value_counts().head(5)
    common = ", ".join(f"{name} ({count})" for name, count in common.items())
    method = f"Method: {getattr(scorer, 'name', type(scorer).__name__)}. Higher scores are better. "
    method += "Nothing was moved or deleted: this page only tells."
    failures = table[table["verdict"] == "failed"]
    listed = "".join(f"<li>{escape(p)}: {escape(r)}</li>" for p, r in zip(failures.path, failures.reason, strict=True))
    return _HEAD.format(
        title=escape(printable(title)),
        style=_STYLE,
        sentence=escape(sentence),
        method=escape(method),
        common=f"<p>Most frequent messages: {escape(common)}.</p>" if common else "",
        failures=f"<details><summary>Without a score: {failed}</summary><ul>{listed}</ul></details>" if failed else "",
        kept=kept,
        rejected=rejected,
        failed=failed,
        all=len(table),
    )


_STYLE = """
body{font:16px/1.45 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:1.5rem auto;
max-width:70rem;padding:0 1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}
caption{text-align:left;color:#555;padding:.4rem 0}
th,td{border-bottom:1px solid #ccc;padding:.4rem .6rem;text-align:left;vertical-align:top}
thead th{position:sticky;top:0;background:#fff}tbody th{font-weight:normal;overflow-wrap:anywhere;max-width:18rem}
th small{display:block;color:#555}td.n{font-variant-numeric:tabular-nums}td ul{margin:0;padding-left:1.1rem}
td p{margin:0}img{display:block;max-width:96px;max-height:96px}tbody tr{content-visibility:auto}
.v{white-space:nowrap;border:2px solid;border-radius:.3rem;padding:0 .4rem}
.kept{color:#00583f}.rejected{color:#9a3a00}.failed{color:#444;border-style:dashed}
thead button{font:inherit;font-weight:bold;background:none;border:0;padding:0;cursor:pointer;text-decoration:underline}
th[aria-sort=ascending] button::after{content:" \\2191"}th[aria-sort=descending] button::after{content:" \\2193"}
form{display:flex;flex-wrap:wrap;gap:1rem;align-items:end;margin:1rem 0}input,select{font:inherit}
:focus-visible{outline:3px solid #0072b2;outline-offset:2px}
@media print{form{display:none}thead th{position:static}}
"""

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Photographs of {title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Photographs of {title}</h1>
<p>{sentence}</p>
<p>{method}</p>
{common}
{failures}
<form id="filters">
<label>Show <select id="verdict"><option value="">all ({all})</option><option value="kept">kept ({kept})</option>
<option value="rejected">rejected ({rejected})</option>
<option value="failed">no score ({failed})</option></select></label>
<label>Name or message holds <input id="text" type="search" autocomplete="off"></label>
<output id="shown" aria-live="polite">{all} of {all} shown</output>
</form>
<table id="photographs">
<caption>The buttons of the headings sort; without a score: last.</caption>
<thead><tr><th scope="col">photograph</th><th scope="col" data-key="name"><button type="button">file</button></th>
<th scope="col" data-key="score"><button type="button">score</button></th>
<th scope="col" data-key="verdict"><button type="button">decision</button></th>
<th scope="col" data-key="messages"><button type="button">what to do about it</button></th></tr></thead>
<tbody>
"""

_FOOT = """</tbody>
</table>
</main>
<script>
"use strict";
const body = document.querySelector("#photographs tbody");
const rows = Array.from(body.rows);
const heads = Array.from(document.querySelectorAll("th[data-key]"));
const words = rows.map(row => row.textContent.toLowerCase());
const names = rows.map(row => row.cells[1].firstChild ? row.cells[1].firstChild.textContent : "");
const order = new Map(rows.map((row, i) => [row, i]));
function value(row, key) {
  if (key === "name") return names[order.get(row)];
  if (key === "verdict") return row.dataset.verdict;
  return row.dataset[key] === "" ? null : Number(row.dataset[key]);
}
function compare(a, b) { return a < b ? -1 : a > b ? 1 : 0; }
function sort(head) {
  const key = head.dataset.key, up = head.getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
  heads.forEach(each => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const sorted = rows.slice().sort((one, other) => {
    const a = value(one, key), b = value(other, key);
    if (a === null || b === null) return (a === null) - (b === null) || order.get(one) - order.get(other);
    return sign * compare(a, b) || order.get(one) - order.get(other);
  });
  body.append(...sorted);
}
function filter() {
  const verdict = document.getElementById("verdict").value;
  const text = document.getElementById("text").value.toLowerCase();
  let shown = 0;
  rows.forEach((row, i) => {
    const fits = (!verdict || row.dataset.verdict === verdict) && words[i].includes(text);
    row.hidden = !fits;
    shown += fits;
  });
  document.getElementById("shown").textContent = shown + " of " + rows.length + " shown";
}
heads.forEach(head => head.querySelector("button").addEventListener("click", () => sort(head)));
document.getElementById("verdict").addEventListener("change", filter);
document.getElementById("text").addEventListener("input", filter);
document.getElementById("filters").addEventListener("submit", event => event.preventDefault());
</script>
</body>
</html>
"""
