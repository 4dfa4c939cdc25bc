"""What was tried for `distilled`: recipes learned on LFW's learn people, compared on its choose people.

Run with `FIQA_LFW=FOLDER python benchmarks/bench_distilled.py --work WORK --out data/results/distilled_recipes.csv`,
where WORK is the folder that `python -m fiqa_lib train-distilled --work WORK` filled. The recipes are ridges on the
trunk as it is, so that one pass over the copies serves all. Verified by dlib's network and MobileFaceNet. Numbers are
normalised areas up to 20% and 30% discard (1 is chance), and the oracle-scaled area up to 20%. The shipped weights
alone are also reported on the report people: `--report`, once. `rows()` measures the time of a face.
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

from fiqa_lib.apps.distilling import PHOTOGRAPHS, turned  # noqa: E402
from fiqa_lib.data import load_lfw_people, load_orl  # noqa: E402
from fiqa_lib.evaluation import edc, protocol  # noqa: E402
from fiqa_lib.files import write_csv  # noqa: E402
from fiqa_lib.networks.quality_trunk import Student  # noqa: E402
from fiqa_lib.scorers.distilled import Distilled  # noqa: E402
from fiqa_lib.scorers.distilled_training import (  # noqa: E402
    TEACHERS,
    Observer,
    fit_ridge,
    load_material,
    look_at_copies,
    photographs_to_learn_from,
)

FAMILIES = {
    "turns": ("turn", "pose"),
    "few pixels and blur": ("few_pixels", "gaussian_blur", "defocus_blur", "motion_blur", "low_resolution"),
    "noise": ("shot_noise", "sensor_noise", "jpeg"),
    "light": ("uneven_light", "low_contrast", "colour_cast", "over_exposure", "low_light"),
    "cover": ("mask", "sunglasses", "occlusion", "patches"),
}


def without(kinds, family):
    """Rows none of whose damages is of a family."""
    return np.array([not set(row.split("+")) & set(FAMILIES[family]) for row in kinds])


def areas(scores, material, similarities):
    """One row of numbers for scores of photographs, -inf without a face."""
    row, (a, b, mated) = {}, (np.asarray(column) for column in material.pairs)
    for network, values in similarities.items():
        curve = edc(values, mated, scores[a], scores[b], fmr=protocol.FMR)
        row[f"{network} 20%"] = curve.pauc(0.2, "normalised")
        row[f"{network} 30%"] = curve.pauc(0.3, "normalised")
        row[f"{network} oracle-scaled 20%"] = curve.pauc(0.2, "oracle")
    return row


def recipes(material):
    """Name -> (rows to learn from, label, options of `fit_ridge`)."""
    kinds, everything = material["kinds"], np.ones(len(material["kinds"]), bool)
    both = material["label"]
    kept = ~turned(kinds)
    yield "shipped: without copies turned in space", (kept, both, {})
    yield "with all copies", (everything, both, {})
    yield "with copies turned by less than 40 degrees", (kept | (np.abs(material["yaw"]) < 40), both, {})
    for family in FAMILIES:
        yield f"without {family}", (kept & without(kinds, family), both, {})
    yield "photographs alone", (kinds == "", both, {})
    for teacher in TEACHERS:
        yield f"taught by {teacher} alone", (kept, material[f"label of {teacher}"], {})
    for alpha in (1e4, 1e6):
        yield f"penalty {alpha:g}", (kept, both, {"alpha": alpha})
    yield "length as any statistic", (kept, both, {"length_counts": 1})


def described(role, observer, work):
    """LFW's people of a role: photographs, statistics, similarities of both networks. Kept in the work folder."""
    material, kept = load_lfw_people(os.environ["FIQA_LFW"], role), work / f"described-{role}.npz"
    if not kept.is_file():
        seen = observer(material.faces.images, quick=False)
        np.savez(kept, **{name: seen[name] for name in ("statistics", *TEACHERS)})
    seen = dict(np.load(kept))
    similarities = {
        name: protocol.similarities(
            material.spread(seen[name], np.nan), material.pairs, observer.teachers[name].similarity_of
        )
        for name in TEACHERS
    }
    return material, seen, similarities


def rows():
    """Milliseconds of one core for a face, for `benchmarks/run.py`: one at a time, and 64 in a row."""
    faces, scorer, found = load_orl()[:64], Distilled(), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, number in (("one face", 1), ("64 faces", 64)):
            scorer.score_samples(faces[:number])
            seconds = []
            for _ in range(max(3, 32 // number)):
                start = time.process_time()
                scorer.score_samples(faces[:number])
                seconds.append(time.process_time() - start)
            found.append({"name": f"distilled, {name}", "value": 1000 * min(seconds) / number, "unit": "ms a face"})
    finally:
        torch.set_num_threads(threads)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that train-distilled filled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true", help="also the shipped weights on the report people, once")
    options = parser.parse_args(arguments)
    if "FIQA_LFW" not in os.environ:
        sys.exit("FIQA_LFW names no folder with LFW's photographs; nothing is measured")
    learn = load_lfw_people(os.environ["FIQA_LFW"], "learn").faces
    names, people = np.asarray(learn.names), np.asarray(learn.identities)
    used = photographs_to_learn_from(names, people)[:PHOTOGRAPHS]
    files = look_at_copies(learn.images[used], names[used], options.work, None)
    copies = load_material(files, people[used], of_each=True)
    observer, student, rows = Observer(), Student(), []
    choose, seen, similarities = described("choose", observer, options.work)

    def add(recipe, scores, people="choose", material=choose, of=similarities, learned=""):
        found = areas(material.spread(scores, -np.inf), material, of)
        rows.append({"recipe": recipe, "people": people, "copies learned from": learned} | found)
        print(recipe, people, {name: round(value, 3) for name, value in found.items()}, flush=True)

    add("random", np.random.default_rng(0).random(len(choose.faces)))
    add("detector-score", choose.faces.attributes["detector_score"].to_numpy())
    add("embedding-norm of mobilefacenet", np.linalg.norm(seen["mobilefacenet"], axis=1))
    add("shipped", Distilled().score_samples(choose.faces))
    for recipe, (kept, label, settings) in recipes(copies):
        kept = kept & ~np.isnan(label)
        fit_ridge(student, copies["statistics"][kept], label[kept], **settings)
        with torch.inference_mode():
            add(recipe, student.judge(torch.from_numpy(seen["statistics"])).numpy(), learned=int(kept.sum()))
    if options.report:
        report, seen, similarities = described("report", observer, options.work)
        about = {"people": "report", "material": report, "of": similarities}
        add("detector-score", report.faces.attributes["detector_score"].to_numpy(), **about)
        add("embedding-norm of mobilefacenet", np.linalg.norm(seen["mobilefacenet"], axis=1), **about)
        add("shipped", Distilled().score_samples(report.faces), **about)
    write_csv(pd.DataFrame(rows).round(4), options.out)


if __name__ == "__main__":
    main()
