"""MTCNN: the detector with five landmarks that most quality methods were trained behind.

Source: K. Zhang, Z. Zhang, Z. Li, Y. Qiao, Joint face detection and alignment using multitask cascaded convolutional
networks, IEEE Signal Processing Letters 23(10), 2016. Three small networks, each stricter than the one before: P-Net
looks at every place of an image pyramid, R-Net sorts its proposals, O-Net gives boxes and landmarks. The weights come
from the package `mtcnn` (MIT), whose code is not used; `mtcnn_networks` has the networks as torch modules.
"""

from __future__ import annotations

import cv2
import numpy as np

from .detection import Detection, turned_back

CELL, STRIDE, FACTOR = 12, 2, 0.709
"""P-Net's window and step in pixels, and the size of each level of the pyramid as a share of the one before."""
SURE = 0.95
"""A face with at least this score ends the search; below it, the other tries are made and the best one counts."""
UPRIGHT = 0.22
"""What lies between eyes and mouth, as a share of the box: at least 0.28 in 13,232 LFW photographs."""
TILE, OVERLAP = 1600, 400
"""Pixels of a tile, and what neighbours share, when a large photograph is searched at its full size."""


# --- boxes -------------------------------------------------------------------------------------------------------


def suppress(boxes, scores, limit, *, of_smaller=False):
    """Non-maximum suppression: of boxes that overlap, only the best stays.

    Parameters
    ----------
    boxes : array (K, 4)
        Left, top, right, bottom.
    scores : array (K,)
        Higher is better.
    limit : float
        Boxes that overlap a better one by more than this share go.
    of_smaller : bool, default=False
        The share is that of the smaller box, else intersection over union.

    Returns
    -------
    array of int
        Rows that stay, best first.
    """
    order, kept = np.argsort(-scores, kind="stable"), []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(order):
        best, others = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[others, :2])
        shared = np.clip(np.minimum(boxes[best, 2:], boxes[others, 2:]) - corner, 0, None).prod(1)
        whole = np.minimum(areas[best], areas[others]) if of_smaller else areas[best] + areas[others] - shared
        order = others[shared <= limit * whole]
    return np.array(kept, int)


def _squares(boxes):
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.rint(np.hstack([middle - half, middle + half]))


def _patches(image, boxes, size):
    """What stands in square boxes, shrunk to `size` pixels. What lies beyond the picture is black, never cut off."""
    patches = np.zeros((len(boxes), size, size, 3), np.uint8)
    height, width = image.shape[:2]
    for patch, (left, top, right, bottom) in zip(patches, boxes.astype(int), strict=True):
        x, y, x_end, y_end = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if x < x_end and y < y_end:
            part = image[y:y_end, x:x_end]
            if (x, y, x_end, y_end) != (left, top, right, bottom):
                border = (y - top, bottom - y_end, x - left, right - x_end)
                part = cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT)
            cv2.resize(part, (size, size), patch, interpolation=cv2.INTER_AREA)
    return patches


def _run(name, images):
    from .mtcnn_networks import run  # here, so that what needs no detector need not wait for torch

    return run(name, images)


def pyramid(height, width, min_face):
    """Scales at which P-Net's 12-pixel window sees faces from `min_face` pixels to the whole picture, largest first."""
    scales, scale = [], CELL / min_face
    while min(height, width) * scale >= CELL:
        scales.append(scale)
        scale *= FACTOR
    return scales


# --- the detector ------------------------------------------------------------------------------------------------


class Mtcnn:
    """MTCNN as a detector: boxes, scores and five landmarks.

    A photograph is searched at `working_side` first. Where no face is sure (score below `SURE`), a margin is added for
    heads that fill the frame, the picture is turned by quarter turns, and last a large photograph is searched at its
    full size, tile by tile; the best of all tries counts.

    **Faithful**: networks, weights, thresholds, pyramid and suppression of the published detector. **Changed**: boxes
    that reach beyond the picture are padded with black, not clipped (clipping moves the landmarks); the further tries.
    **Blind**: faces below `min_face` pixels; heads turned in the picture by about 45 degrees from every quarter turn.

    Parameters
    ----------
    min_face : int, default=24
        Pixels of the smallest face, at the size that is searched.
    working_side : int, default=1000
        The longer side of the photograph in the first tries; larger ones are reduced.
    thresholds : tuple of 3 float, default=(0.6, 0.7, 0.7)
        What P-Net, R-Net and O-Net must at least say, in 0..1.
    further : bool, default=True
        Whether the further tries are made.
    """

    def __init__(self, min_face=24, working_side=1000, thresholds=(0.6, 0.7, 0.7), further=True):
        self.min_face, self.working_side = min_face, working_side
        self.thresholds, self.further = tuple(thresholds), further

    def __repr__(self):
        return f"Mtcnn({self.min_face}, {self.working_side}, {self.thresholds}, {self.further})"

    def __call__(self, image):
        """Detections in an (H, W, 3) uint8 RGB image, best score first, with landmarks (5, 2).

        Landmarks: the eye on the picture's left, the eye on its right (of the upright face), nose, mouth corners.
        """
        height, width = image.shape[:2]
        scale = min(1.0, self.working_side / max(height, width))
        small = image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        detections = self._search(small)
        best = _best(detections)
        if self.further and best < SURE:
            best, detections = max([(best, detections), *self._further(small)], key=lambda found: found[0])
            if scale < 1 and best < SURE:
                tiles = self._tiles(image)
                if _best(tiles) > best:
                    return tiles
        return [_moved(d, 1 / scale, 0, 0) for d in detections]

    def _further(self, image):
        """(best score, detections) with a margin and after each quarter turn, until one face is sure."""
        height, width = image.shape[:2]
        margin = round(0.4 * min(height, width))
        detections = self._search(cv2.copyMakeBorder(image, *[margin] * 4, cv2.BORDER_REPLICATE))
        yield _best(detections), [_moved(d, 1, -margin, -margin) for d in detections]
        for turns in (1, 3, 2):
            if _best(detections) >= SURE:
                break
            detections = self._search(np.ascontiguousarray(np.rot90(image, turns)))
            yield _best(detections), [turned_back(d, turns, height, width) for d in detections]

    def _tiles(self, image):
        detections = []
        height, width = image.shape[:2]
        for top in range(0, max(1, height - OVERLAP), TILE - OVERLAP):
            for left in range(0, max(1, width - OVERLAP), TILE - OVERLAP):
                tile = np.ascontiguousarray(image[top : top + TILE, left : left + TILE])
                detections += [_moved(d, 1, left, top) for d in self._search(tile)]
        if not detections:
            return []
        boxes = np.array([[d.x, d.y, d.x + d.width, d.y + d.height] for d in detections])
        return [detections[i] for i in suppress(boxes, np.array([d.score for d in detections]), 0.5, of_smaller=True)]

    def _search(self, image):
        """One pass of the three networks."""
        return self._finished(image, self._refined(image, self._proposals(image)))

    def _proposals(self, image):
        """P-Net at each level of the pyramid: (K, 4) boxes."""
        height, width = image.shape[:2]
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        for scale in pyramid(height, width, self.min_face):
            size = (max(CELL, round(width * scale)), max(CELL, round(height * scale)))
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            shifts, score = (output[0] for output in _run("pnet", level[None]))
            y, x = np.nonzero(score >= self.thresholds[0])
            if not len(y):
                continue
            score, corner = score[y, x], STRIDE * np.stack([x, y], 1)
            windows = np.hstack([corner, corner + CELL]).astype(float)
            kept = suppress(windows, score, 0.5)
            factor = np.array([width / size[0], height / size[1]] * 2)
            boxes.append((windows[kept] + CELL * shifts[:, y, x].T[kept]) * factor)
            scores.append(score[kept])
        boxes, scores = np.concatenate(boxes), np.concatenate(scores)
        return boxes[suppress(boxes, scores, 0.7)]

    def _refined(self, image, boxes):
        """R-Net: fewer and better boxes, (K, 4)."""
        if not len(boxes):
            return boxes
        squares = _squares(boxes)
        shifts, score = _run("rnet", _patches(image, squares, 24))
        kept = score >= self.thresholds[1]
        squares, shifts, score = squares[kept], shifts[kept], score[kept]
        boxes = squares + shifts * (squares[:, 2:] - squares[:, :2]).repeat(2, 1)
        return boxes[suppress(boxes, score, 0.7)]

    def _finished(self, image, boxes):
        """O-Net: a list of `Detection`, best first."""
        if not len(boxes):
            return []
        squares = _squares(boxes)
        shifts, points, score = _run("onet", _patches(image, squares, 48))
        kept = score >= self.thresholds[2]
        squares, shifts, points, score = squares[kept], shifts[kept], points[kept], score[kept]
        sides = squares[:, 2:] - squares[:, :2]
        points = squares[:, None, :2] + np.stack([points[:, :5], points[:, 5:]], 2) * sides[:, None]
        boxes = squares + shifts * np.hstack([sides, sides])
        return [
            Detection(*boxes[i, :2].tolist(), *(boxes[i, 2:] - boxes[i, :2]).tolist(), float(score[i]), points[i])
            for i in suppress(boxes, score, 0.7, of_smaller=True)
        ]


def _best(detections):
    """The score of the best upright face; one whose landmarks are not those of an upright face counts half."""
    return max((d.score * (1.0 if _upright(d) else 0.5) for d in detections), default=0.0)


def _upright(detection):
    """Whether the mouth lies clearly below the eyes. A sideways face can score .99 with landmarks that are guesses."""
    eyes, mouth = detection.landmarks[:2].mean(0), detection.landmarks[3:].mean(0)
    return mouth[1] - eyes[1] > UPRIGHT * detection.height


def _moved(detection, factor, left, top):
    """A detection after scaling and shifting of the picture."""
    x, y, width, height, score, points = detection
    place = factor * np.asarray(points) + [left, top]
    return Detection(factor * x + left, factor * y + top, factor * width, factor * height, score, place)
