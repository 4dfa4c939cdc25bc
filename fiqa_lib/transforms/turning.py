"""A face turned in space: what a photograph from the side, aligned by its five landmarks, looks like.

The face of a canonical crop is laid over a generic head: an ellipsoid with a nose, whose proportions vary from call to
call. The head is turned and seen again: what is hidden disappears, what was seen at a slant is stretched. Then it is
aligned anew by its own five landmarks, as a detector would give them. After "face profiling" (Zhu, Lei, Liu, Shi & Li,
Face alignment across large poses, CVPR 2016), without a fitted model. What the photograph does not show, the ear and
the back of the head, is stretched background: beyond some 75 degrees it is no face any more.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..faces.alignment import CANONICAL_POINTS, EYE_DISTANCE, SIZE, similarity_transform

LANDMARK_NOISE = 0.02
"""Spread of the landmarks' errors on a frontal face, in eye distances; it grows with the turn."""
STEP = (0.375, 0.75)
"""Distance of the points of the surface along x and y, in pixels of the crop."""
_MIDDLE = CANONICAL_POINTS[:2].mean(0)


def depth(x, y, shape):
    """Height of a head's surface over the plane of its silhouette, in eye distances; the origin is between the eyes.

    Parameters
    ----------
    x, y : arrays
        Places in the frontal picture, to the right and down.
    shape : array (5,)
        Half width, half height and half depth of the head, height of the nose, and how fast the surroundings recede.

    Returns
    -------
    array
        Negative beyond the silhouette.
    """
    wide, high, deep, nose, recede = shape
    out = np.hypot(x / wide, y / high)
    skull = deep * np.sqrt(np.clip(1 - out**2.3, 0, None)) - recede * np.clip(out - 1, 0, 0.8)
    along = np.where(y < 0.57, np.clip((y + 0.05) / 0.62, 0, 1), np.exp(-(((y - 0.57) / 0.13) ** 2)))
    ridge = nose * along * np.exp(-((x / (0.13 + 0.08 * np.clip(along, 0, 1))) ** 2))
    beside = np.exp(-(((x - 0.5) / 0.25) ** 2)) + np.exp(-(((x + 0.5) / 0.25) ** 2))
    sockets = -0.1 * beside * np.exp(-((y / 0.2) ** 2))
    lips = 0.1 * np.exp(-((x / 0.4) ** 2) - ((y - 1.15) / 0.18) ** 2)
    return skull + ridge + sockets + lips


def random_head(rng):
    """The `shape` that `depth` takes, drawn around a usual head."""
    return np.array([1.2, 1.85, 1.35, 0.35, 1.3]) * np.exp(rng.normal(0, [0.05, 0.05, 0.12, 0.15, 0.2]))


def turn(image, yaw, pitch=0.0, rng=0, *, noise=LANDMARK_NOISE):
    """The crop of a face as if the head had been turned before the photograph was taken.

    Parameters
    ----------
    image : array (192, 192, 3) uint8 RGB
        The canonical crop of a face that looks into the camera, more or less.
    yaw : float
        Degrees about the vertical axis; positive: the nose moves to the picture's right.
    pitch : float, default=0.0
        Degrees about the horizontal axis; positive: the head nods.
    rng : int or numpy.random.Generator, default=0
        Draws the proportions of the head and the errors of the landmarks.
    noise : float, default=0.02
        Spread of the landmarks' errors, in eye distances, on a frontal face; twice as large at 90 degrees.

    Returns
    -------
    array (192, 192, 3) uint8
        Aligned by the turned landmarks.
    """
    rng = np.random.default_rng(rng)
    shape = random_head(rng)
    rotation = _rotation(np.radians(yaw), np.radians(pitch))
    flat = (CANONICAL_POINTS - _MIDDLE) / EYE_DISTANCE
    marks = np.column_stack([flat, depth(*flat.T, shape)]) @ rotation.T
    marks = marks[:, :2] + rng.normal(0, noise * (1 + abs(yaw) / 90), (5, 2))
    back = similarity_transform(CANONICAL_POINTS, marks)  # crop -> turned plane, in eye distances
    source, seen = _visible(rotation, shape, back)
    picture = cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    behind = cv2.warpAffine(
        _without_face(image, shape),
        np.column_stack([back[:, :2] * EYE_DISTANCE, back[:, 2] * EYE_DISTANCE + _MIDDLE]),
        (SIZE, SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    share = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), 0.8)[..., None]
    return np.rint(share * picture + (1 - share) * behind).astype(np.uint8)


def _rotation(yaw, pitch):
    """(3, 3), x to the right, y down, z towards the camera."""
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    return about_x @ about_y


def _visible(rotation, shape, back):
    """Where each pixel of the new crop lies in the old one (192, 192, 2), and whether anything is seen there.

    A surface over a plane hides itself in one order: along a line of sight, points towards the camera lie on one side.
    Written in that order, the last one stays, and nothing has to be sorted.
    """
    coarse = np.arange(-0.25 * SIZE, 1.25 * SIZE, 3)
    x, y = np.meshgrid((coarse - _MIDDLE[0]) / EYE_DISTANCE, (coarse - _MIDDLE[1]) / EYE_DISTANCE)
    points = np.stack([x, y, depth(x, y, shape)], -1).astype(np.float32)
    points = cv2.resize(points, None, fx=3 / STEP[0], fy=3 / STEP[1], interpolation=cv2.INTER_LINEAR)
    towards = rotation[2, :2]  # the camera's direction, in the plane of the old picture
    flips = (slice(None, None, -1 if towards[1] < 0 else 1), slice(None, None, -1 if towards[0] < 0 else 1))
    points = points[flips].swapaxes(0, 1).reshape(-1, 3)  # columns first: turns are mostly about the vertical axis
    to_crop = np.linalg.inv(back[:, :2])
    column, row = ((to_crop @ rotation[:2]).astype(np.float32) @ points.T) - (to_crop @ back[:, 2:]).astype(np.float32)
    column, row = np.rint(column).astype(np.int32), np.rint(row).astype(np.int32)
    inside = np.flatnonzero((column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE))
    place, points = row[inside] * SIZE + column[inside], points[inside]
    source = np.zeros((SIZE, SIZE, 2), np.float32)
    seen = np.zeros((SIZE, SIZE), np.float32)
    source.reshape(-1, 2)[place] = points[:, :2] * np.float32(EYE_DISTANCE) + _MIDDLE.astype(np.float32)
    seen.reshape(-1)[place] = 1
    for _ in range(3):  # gaps where the surface was stretched
        near = cv2.blur(seen, (3, 3))
        fill = (seen == 0) & (near > 0.3)
        source[fill] = (cv2.blur(source * seen[..., None], (3, 3)) / np.maximum(near, 1e-6)[..., None])[fill]
        seen[fill] = 1
    return cv2.medianBlur(source, 5), seen > 0  # single points of what lies behind shine through a stretched surface


def _without_face(image, shape):
    """The surroundings, continued to where the face was."""
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    mask = np.zeros((48, 48), np.uint8)
    axes = (round(1.05 * shape[0] * EYE_DISTANCE / 4), round(1.05 * shape[1] * EYE_DISTANCE / 4))
    cv2.ellipse(mask, (round(_MIDDLE[0] / 4), round(_MIDDLE[1] / 4)), axes, 0, 0, 360, 255, -1)
    mask[-1:, :] = mask[:, :1] = mask[:, -1:] = 0
    return cv2.resize(cv2.inpaint(small, mask, 3, cv2.INPAINT_TELEA), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
