"""Detectors side by side: photographs a second, faces found, and what a turn, a cut or a cover costs.

Run with `FIQA_LFW=FOLDER python benchmarks/bench_detection.py`; with `--write` the figures go to
benchmarks/measured/detection.csv too. FOLDER holds `images/NAME/NAME_0001.jpg`, or any layout of `data.load_lfw`;
without it the speed is that of one portrait. A face counts as found when its eyes lie within half the eye distance of
where they are: known by construction for the changed portraits. In LFW it lies over the middle of the picture.
"""

import os
import time
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from fiqa_lib.data import load_lfw_people, load_orl
from fiqa_lib.data.lfw import lfw_folders
from fiqa_lib.data.pair_sets import CentralFace
from fiqa_lib.faces import DlibHog, Mtcnn, extract_faces, landmarks, read_image
from fiqa_lib.recognition import load_recogniser

DETECTORS = {"dlib-hog": DlibHog, "mtcnn": Mtcnn}
MEASURED = Path(__file__).resolve().parent / "measured" / "detection.csv"
TIMED, EMBEDDED, BLOCK = 200, 1000, 50  # photographs: for the detectors, for the whole road, in turns of


def rows():
    """One row for each detector and question."""
    torch_threads(1)
    found, speed = [], {}
    for name, kind in DETECTORS.items():
        detector = kind()
        hits = (load_orl(detector=detector, fallback="centre").attributes["status"] == "ok").sum()
        found.append(
            {"name": f"{name}: ORL faces found, of 400", "value": hits, **wanted(name == "mtcnn", hits == 400, 400)}
        )
        found += changed_portraits(name, detector)
    folder = os.environ.get("FIQA_LFW")
    files = sorted(lfw_folders(folder)[0].glob("*/*.jpg")) if folder else []
    pictures = [read_image(file) for file in spread(files, TIMED)] or [astronaut()[:250, 100:350]] * 40
    for name, kind in DETECTORS.items():
        speed[name] = photographs_per_second(kind(), pictures)
        found.append({"name": f"{name} with landmarks", "value": speed[name], "unit": "photographs/s"})
    ratio = speed["mtcnn"] / speed["dlib-hog"]
    found.append({"name": "mtcnn against dlib-hog, one thread", "value": ratio, "target": ">= 1.5", "ok": ratio >= 1.5})
    found += roads([read_image(file) for file in spread(files, EMBEDDED)] or pictures)
    if files:
        found += lfw(folder, files)
    else:
        found.append({"name": "LFW: not measured, FIQA_LFW names no folder", "value": float("nan")})
    return found


def spread(files, number):
    """About so many of them, evenly spread."""
    return files[:: max(1, len(files) // number)][:number]


def roads(pictures):
    """Photograph to embedding by dlib's network, both roads in turns. dlib-hog brings dlib's own five landmarks."""
    network, seconds = load_recogniser("dlib"), dict.fromkeys(DETECTORS, 0.0)
    detectors = {name: CentralFace(kind()) for name, kind in DETECTORS.items()}
    for start in range(0, len(pictures), BLOCK):
        for name, detector in detectors.items():
            begun = time.perf_counter()
            faces = [extract_faces(p, detector=detector, fallback="centre") for p in pictures[start : start + BLOCK]]
            network.embed(np.concatenate([face.images for face in faces]))
            seconds[name] += time.perf_counter() - begun
    table = [
        {
            "name": f"{name}: photograph to embedding, {len(pictures):,}",
            "value": len(pictures) / s,
            "unit": "photographs/s",
        }
        for name, s in seconds.items()
    ]
    ratio = seconds["dlib-hog"] / seconds["mtcnn"]
    return [*table, {"name": "the road of mtcnn against dlib-hog's", "value": ratio, "target": "> 1", "ok": ratio > 1}]


def wanted(asked, ok, target):
    return {"target": f">= {target}", "ok": bool(ok)} if asked else {}


def torch_threads(number):
    """Both detectors on one core, so that the ratio is that of the work."""
    import torch

    torch.set_num_threads(number)
    cv2.setNumThreads(number)


def eyes_of(picture, detection):
    if detection.landmarks is not None:
        return detection.landmarks[:2]
    points = landmarks(picture, detection)
    return np.array([points[2:4].mean(0), points[0:2].mean(0)])


def photographs_per_second(detector, pictures):
    for picture in pictures[:3]:
        detector(picture)
    begun = time.perf_counter()
    for picture in pictures:
        for detection in detector(picture)[:1]:
            eyes_of(picture, detection)
    return len(pictures) / (time.perf_counter() - begun)


def changed_portraits(name, detector):
    """The astronaut turned by 15 to 180 degrees, cut at the forehead and chin, and covered."""
    photo, eyes = astronaut(), np.array([[203.5, 102.0], [246.5, 104.3]])
    tries = {}
    for degrees in (15, 30, 45, 90, 180, 270):
        matrix = cv2.getRotationMatrix2D((225, 120), degrees, 1.0)
        tries[f"turned by {degrees} degrees"] = (
            cv2.warpAffine(photo, matrix, (512, 512)),
            eyes @ matrix[:, :2].T + matrix[:, 2],
        )
    tries["cut tightly"] = np.ascontiguousarray(photo[75:165, 180:270]), eyes - [180, 75]
    masked = photo.copy()
    masked[125:190, 175:280] = (120, 160, 200)
    tries["masked"] = masked, eyes
    glasses = photo.copy()
    glasses[92:116, 185:265] = 20
    tries["sunglasses"] = glasses, eyes
    found = []
    for change, (picture, where) in tries.items():
        distance = np.linalg.norm(where[1] - where[0])
        hit = any(
            np.linalg.norm(eyes_of(picture, d) - where, axis=1).max() < 0.5 * distance for d in detector(picture)[:1]
        )
        found.append({"name": f"{name}: {change}", "value": float(hit), "unit": "found"})
    return found


def lfw(folder, files):
    """The share of LFW photographs with a face over the middle: all of them by MTCNN, every tenth by both."""
    found = load_lfw_people(folder).found >= 0
    share, tenth = found.mean(), {}
    for name, kind in DETECTORS.items():
        detector, hits = CentralFace(kind()), 0
        for file in files[::10]:
            hits += bool(detector(read_image(file)))
        tenth[name] = hits / len(files[::10])
    rows = [{"name": f"mtcnn: LFW, {len(found):,} photographs, face found", "value": share}]
    rows[0] |= wanted(True, share >= 0.998, 0.998)
    rows += [{"name": f"{name}: LFW, every tenth, face found", "value": value} for name, value in tenth.items()]
    more = tenth["mtcnn"] - tenth["dlib-hog"]
    return [*rows, {"name": "LFW, found by mtcnn minus by dlib-hog", "value": more, **wanted(True, more >= 0, 0)}]


if __name__ == "__main__":
    from run import report

    report(rows(), MEASURED)
