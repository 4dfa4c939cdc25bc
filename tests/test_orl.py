import cv2
import numpy as np
import pytest

from fiqa_lib.data import orl as orl_faces
from fiqa_lib.errors import DataError
from fiqa_lib.faces import Faces, read_image


def test_orl_is_whole(orl):
    assert len(orl) == 400 and len(set(orl.identities)) == 40
    assert orl.names[0] == "s01/01" and orl.names[-1] == "s40/10"
    assert {"ok", "fallback"} >= set(orl.attributes.status)
    assert np.array_equal(orl.images[..., 0], orl.images[..., 1])


def test_orl_files_are_read_as_they_are(orl_files):
    image = read_image(orl_files[0])
    assert image.shape == (112, 92, 3)
    raw = orl_files[0].read_bytes()
    assert image[..., 0].tobytes() == raw[-112 * 92 :]


def test_split_keeps_people_apart(orl):
    train, test = orl_faces.split_by_identity(orl, 0.3, random_state=1)
    assert not set(train.identities) & set(test.identities)
    assert len(set(train.identities)) == 12 and len(train) + len(test) == 400
    again, _ = orl_faces.split_by_identity(orl, 0.3, random_state=1)
    assert list(again.names) == list(train.names)
    other, _ = orl_faces.split_by_identity(orl, 0.3, random_state=2)
    assert set(other.identities) != set(train.identities)
    shuffled = orl[np.random.default_rng(0).permutation(400)]
    assert set(orl_faces.split_by_identity(shuffled, 0.3, random_state=1)[0].names) == set(train.names)


def test_split_refuses_what_cannot_be_split(orl):
    with pytest.raises(DataError, match="at least 2"):
        orl_faces.split_by_identity(orl[:10])
    with pytest.raises(DataError, match="share"):
        orl_faces.split_by_identity(orl, 1.0)
    nobody = Faces(orl.images[:3], ["a", "", "b"], ["1", "2", "3"])
    with pytest.raises(DataError, match="without identity"):
        orl_faces.split_by_identity(nobody)


def test_benchmark_keeps_people_apart_and_starts_from_clean_faces(orl):
    train, test = orl_faces.orl_d(orl[:100], copies=2)
    assert not set(train.identities) & set(test.identities)
    clean = test[(test.attributes.kind == "clean").to_numpy()]
    assert set(train.names) | set(clean.names) == set(orl.names[:100])
    assert len(test) == 3 * len(clean) and (clean.attributes.severity == 0).all()
    assert set(test.attributes.source) == set(clean.names)


def test_benchmark_pairs_by_definition(orl):
    test = orl_faces.orl_d(orl[:60], copies=2).test
    kind, source = test.attributes["kind"], test.attributes["source"]
    expected = {
        frozenset((i, j))
        for i in range(len(test))
        for j in range(len(test))
        if kind[i] == "clean" and source[i] != source[j]
    }
    pairs = orl_faces.benchmark_pairs(test)
    found = [frozenset(pair) for pair in zip(pairs.index_a.tolist(), pairs.index_b.tolist(), strict=True)]
    assert len(found) == len(set(found)) and set(found) == expected
    assert (kind[pairs.index_a] == "clean").all()
    np.testing.assert_array_equal(pairs.mated, test.identities[pairs.index_a] == test.identities[pairs.index_b])
    with pytest.raises(DataError, match="source"):
        orl_faces.benchmark_pairs(orl)


def test_a_folder_without_a_face_is_said_with_the_first_reason(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.full((120, 120, 3), 127, np.uint8))
    for made in (orl_faces.load, orl_faces.orl_d):
        with pytest.raises(DataError, match=r"no face in 2 files \(first: .*a/1.png: no face was found"):
            made(str(tmp_path))
