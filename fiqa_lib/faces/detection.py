"""Where the faces of a photograph are: detectors, and which of their answers to believe.

A detector is any callable that takes an (H, W, 3) uint8 RGB image and returns a list of `Detection`, best score first.
A detector whose answer can change with its settings shows them in its `repr`: caches of crops use it as a name.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np


class Detection(NamedTuple):
    """One detected face.

    Attributes
    ----------
    x, y : float
        Left and top of the box, in pixels of the photograph; the box may reach past its border.
    width, height : float
        Size of the box in pixels.
    score : float
        The detector's own score; higher is surer. Not comparable between detectors.
    landmarks : array (5, 2) or None, default=None
        (x, y) of the five points of `alignment.ARCFACE_POINTS` (eyes, nose, mouth corners), from a detector that finds
        them itself. None: `alignment.landmarks` finds dlib's five in the box.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    landmarks: np.ndarray | None = None


SMALLEST = 80
"""Pixels of the smallest face that dlib's detector sees."""

FULL_SIZE_SCORE = 0.3
"""The least score of a face that only the search at full size finds. It looks at so many places that cloth and hair
reach 0.25 there (measured); of 300 ORL faces of 80 to 150 pixels, 1.3% have a score from 0 to 0.3."""


class DlibHog:
    """dlib's HOG face detector (frontal to half profile), run at suitable sizes and margins.

    The detector sees faces of about 80 pixels and more. Photographs are therefore enlarged (at most twice) or reduced
    so that their longer side is about `working_side`; where nothing is found, twice that is tried, then a replicated
    margin, for portraits whose head fills the frame, then a photograph that had to be reduced at its full size, and
    last the picture turned by quarter turns.

    Parameters
    ----------
    working_side : int, default=1000
        Pixels of the longer side in the first try.
    threshold : float, default=0.0
        Detections below this score are dropped. 0 is dlib's own; negative finds more, and more that are no faces. In
        the last two tries it is at least `FULL_SIZE_SCORE`.
    margin : float, default=0.3
        Margin of that try as a share of the shorter side. 0 switches that try off.
    full_size : bool, default=True
        Whether that try is made, tile by tile: some seconds for 24 megapixels without a face.
    turned : bool, default=True
        Whether the last try is made. A face that it finds has the five points of `alignment.ARCFACE_POINTS`, from
        dlib's model of 68: the five of the other one would be looked for upright.
    """

    def __init__(self, working_side=1000, threshold=0.0, margin=0.3, full_size=True, turned=True):
        self.working_side, self.threshold, self.margin = working_side, threshold, margin
        self.full_size, self.turned = full_size, turned

    def __repr__(self):
        settings = f"working_side={self.working_side}, threshold={self.threshold}, margin={self.margin}"
        return f"DlibHog({settings}, full_size={self.full_size}, turned={self.turned})"

    def __call__(self, image):
        """Detections in an (H, W, 3) uint8 RGB image, best score first."""
        height, width = image.shape[:2]
        longer = max(height, width)
        scales = []
        for side in (self.working_side, 2 * self.working_side):
            scale = min(2.0, side / longer)
            if scale not in scales and scale * min(height, width) >= 1:
                scales.append(scale)
        for scale in scales:
            if detections := self._run(image, scale):
                return detections
        if not scales:
            return []
        if detections := self._with_margin(image):
            return detections
        if self.full_size and scales[-1] < 1 and (detections := self._tiles(image, scales[-1])):
            return detections
        return self._quarter_turns(image, scales[0]) if self.turned else []

    def _quarter_turns(self, image, scale):
        """The detections of the direction with the best one."""
        from .alignment import five_of_68, landmarks  # here: it reads dlib's models

        best = []
        for turns in (1, 3, 2):
            turned = np.ascontiguousarray(np.rot90(image, turns))
            found = [d for d in self._run(turned, scale) if d.score >= FULL_SIZE_SCORE]
            if found and (not best or found[0].score > best[0].score):
                found = [d._replace(landmarks=five_of_68(landmarks(turned, d, 68))) for d in found]
                best = [turned_back(d, turns, *image.shape[:2]) for d in found]
        return best

    def _with_margin(self, image):
        height, width = image.shape[:2]
        pad = round(self.margin * min(height, width))
        if pad == 0:
            return []
        scale = min(2.0, 2 * self.working_side / (max(height, width) + 2 * pad))
        if scale < 1:  # reduced first: the margin of a large photograph would take three times its memory
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            pad, reduced, scale = round(scale * pad), scale, 1.0
        else:
            reduced = 1.0
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        return [_scaled(d._replace(x=d.x - pad, y=d.y - pad), 1 / reduced) for d in self._run(padded, scale)]

    def _tiles(self, image, scale):
        """The photograph at its full size. Tiles share what a face can have that was too small at `scale`."""
        side = 2 * self.working_side
        shared = min(side // 2, round(1.25 * SMALLEST / scale))
        detections = []
        for top in range(0, max(1, image.shape[0] - shared), side - shared):
            for left in range(0, max(1, image.shape[1] - shared), side - shared):
                found = self._run(image[top : top + side, left : left + side], 1)
                detections += [d._replace(x=d.x + left, y=d.y + top) for d in found if d.score >= FULL_SIZE_SCORE]
        return _without_repeats(detections)

    def _run(self, image, scale):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        boxes, scores, _ = _dlib_detector().run(np.ascontiguousarray(scaled), 0, self.threshold)
        detections = [
            Detection(b.left() / scale, b.top() / scale, b.width() / scale, b.height() / scale, float(s))
            for b, s in zip(boxes, scores, strict=True)
        ]
        return sorted(detections, key=lambda d: -d.score)


def turned_back(detection, turns, height, width):
    """A detection of `np.rot90(image, turns)`, in the picture (height, width) as it was."""
    corners = np.array([[detection.x, detection.y], [detection.x + detection.width, detection.y + detection.height]])
    points = np.vstack([corners, detection.landmarks])
    for turn in range(turns, 0, -1):
        side = width if turn % 2 == 1 else height  # the width of the picture before this quarter turn
        points = np.stack([side - 1 - points[:, 1], points[:, 0]], 1)
    (left, top), (right, bottom) = points[:2].min(0), points[:2].max(0)
    return Detection(left, top, right - left, bottom - top, detection.score, points[2:])


def _scaled(detection, factor):
    """A detection in a picture that is `factor` times as large."""
    x, y, width, height = (factor * value for value in detection[:4])
    return detection._replace(x=x, y=y, width=width, height=height)


def _without_repeats(detections):
    """Detections, best first, of which none has its middle in a better one: neighbouring tiles see a face twice."""
    kept = []
    for d in sorted(detections, key=lambda d: -d.score):
        x, y = d.x + d.width / 2, d.y + d.height / 2
        if not any(0 <= x - k.x <= k.width and 0 <= y - k.y <= k.height for k in kept):
            kept.append(d)
    return kept


@functools.cache
def _dlib_detector():
    import dlib

    return dlib.get_frontal_face_detector()


def centred_box(image):
    """The middle 60% of the shorter side as a `Detection` of score NaN, for photographs without a detected face."""
    height, width = image.shape[:2]
    side = 0.6 * min(height, width)
    return Detection((width - side) / 2, (height - side) / 2, side, side, float("nan"))


def credible(detections):
    """Drop detections that score less than a quarter of the best one, and sort the rest from the largest box down.

    A detector run at its own threshold also returns a few textures with a score near 0. Their boxes may be larger than
    the face's: without this the "largest face" of a portrait can be a sleeve.
    """
    best = max((d.score for d in detections), default=0.0)
    kept = [d for d in detections if d.score >= best / 4 or d.score == best]
    return sorted(kept, key=lambda d: (-d.width * d.height, -d.score))
