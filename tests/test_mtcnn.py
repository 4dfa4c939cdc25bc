"""MTCNN: its networks, its arithmetic written out slowly; faces that are tight, turned, small, covered or absent."""

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from fiqa_lib.errors import WeightsError
from fiqa_lib.faces import Mtcnn, extract_faces, mtcnn, mtcnn_networks

EYES = np.array([[204.0, 103.0], [247.0, 105.0]])
"""The astronaut's eye centres, by dlib's landmarks, to about four pixels."""


@pytest.fixture(scope="module")
def portrait():
    return astronaut()


@pytest.fixture(scope="module")
def detector():
    return Mtcnn()


def best(detector, image):
    detections = detector(np.ascontiguousarray(image))
    assert detections, "nothing was found"
    return detections[0]


class TestNetworks:
    def test_shapes_of_the_published_architecture(self):
        networks = mtcnn_networks.load_networks()
        sizes = {
            "pnet": (12, [(2, 4, 1, 1), (2, 1, 1)]),
            "rnet": (24, [(2, 4), (2,)]),
            "onet": (48, [(2, 4), (2, 10), (2,)]),
        }
        for name, (size, shapes) in sizes.items():
            with torch.no_grad():
                outputs = networks[name](torch.zeros(2, 3, size, size))
            assert [tuple(o.shape) for o in outputs] == shapes
        counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        assert counts == {"pnet": 6632, "rnet": 100178, "onet": 389040}

    def test_another_file_is_never_read(self, tmp_path, monkeypatch):
        place = tmp_path / "pnet.lz4"
        place.write_bytes(b"another pickle")
        monkeypatch.setattr(mtcnn_networks, "packaged_file", lambda package, name: place)
        with pytest.raises(WeightsError, match=r"pnet\.lz4: not the known weights"):
            mtcnn_networks.load_networks.__wrapped__()


class TestSuppression:
    def test_against_the_definition(self):
        rng = np.random.default_rng(0)
        corner = rng.uniform(0, 50, (60, 2))
        boxes, scores = np.hstack([corner, corner + rng.uniform(5, 40, (60, 2))]), rng.random(60)
        for of_smaller in (False, True):
            kept = []
            for i in np.argsort(-scores):
                if all(self.share(boxes[i], boxes[j], of_smaller) <= 0.4 for j in kept):
                    kept.append(i)
            assert mtcnn.suppress(boxes, scores, 0.4, of_smaller=of_smaller).tolist() == kept

    @staticmethod
    def share(a, b, of_smaller):
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return width * height / (min(areas) if of_smaller else sum(areas) - width * height)

    def test_nothing(self):
        assert mtcnn.suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def test_the_pyramid_reaches_from_the_smallest_face_to_the_picture():
    scales = mtcnn.pyramid(250, 300, 20)
    assert np.isclose(12 / scales[0], 20) and 12 / scales[-1] <= 250 < 12 / (scales[-1] * mtcnn.FACTOR)


class TestFaces:
    def test_eyes(self, portrait, detector):
        face = best(detector, portrait)
        assert face.score > 0.99
        assert np.abs(face.landmarks[:2] - EYES).max() < 6
        assert (face.landmarks[2:, 1] > face.landmarks[:2, 1].max()).all()  # nose and mouth lie below

    def test_a_tight_portrait_has_its_eyes_at_the_same_place(self, portrait, detector):
        """Boxes that reach beyond the picture are padded: clipped, the landmarks would move."""
        free = best(detector, portrait)
        left, top = 170, 75
        tight = best(detector, portrait[top:190, left:280])
        assert np.abs(tight.landmarks + [left, top] - free.landmarks).max() < 5

    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_turned(self, portrait, detector, turns):
        upright, turned = (
            best(detector, portrait[:300, 50:400]),
            best(detector, np.rot90(portrait[:300, 50:400], turns)),
        )
        points = upright.landmarks
        size = np.array([350, 300])
        for _ in range(turns):  # np.rot90 takes (x, y) to (y, width - 1 - x)
            points, size = np.stack([points[:, 1], size[0] - 1 - points[:, 0]], 1), size[::-1]
        assert np.abs(turned.landmarks - points).max() < 5
        assert turned.x < points[:, 0].min() and turned.x + turned.width > points[:, 0].max()

    def test_a_turned_face_is_aligned_upright(self, portrait, detector):
        crops = [
            extract_faces(np.ascontiguousarray(np.rot90(portrait, n)), detector=detector).images[0] for n in (0, 1)
        ]
        assert np.abs(crops[0].astype(float) - crops[1]).mean() < 12

    def test_small_in_a_large_photograph(self, portrait, detector):
        photo = np.full((4000, 6000, 3), (90, 120, 140), np.uint8)
        photo[1500:2012, 2600:3112] = portrait
        face = best(detector, photo)
        assert np.abs(face.landmarks[:2] - EYES - [2600, 1500]).max() < 10

    def test_a_covered_mouth(self, portrait, detector):
        masked = portrait.copy()
        masked[135:190, 180:275] = (120, 160, 200)
        assert np.abs(best(detector, masked).landmarks[:2] - EYES).max() < 12

    @pytest.mark.parametrize("image", [np.zeros((300, 300, 3)), np.full((5, 400, 3), 200), np.full((1, 1, 3), 9)])
    def test_no_face(self, detector, image):
        assert detector(image.astype(np.uint8)) == []

    def test_noise_is_no_face(self, detector):
        noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        assert all(d.score < mtcnn.SURE for d in detector(noise))

    def test_the_size_does_not_matter(self, portrait, detector):
        double = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        assert np.abs(best(detector, double).landmarks / 2 - best(detector, portrait).landmarks).max() < 3

    def test_every_bundled_face_is_found(self, orl_images, detector):
        assert all(best(detector, image).score > 0.9 for image in orl_images)
