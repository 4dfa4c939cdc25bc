import numpy as np

from fiqa_lib.data.non_faces import FACELESS, non_faces


def test_false_positives_are_the_detectors():
    found = non_faces(patches=5)
    kind, score = found.attributes["kind"], found.attributes["detector_score"]
    false = (kind == "false_positive").to_numpy()
    assert false.sum() >= 30 and (~false).sum() == 5
    assert (score[false] > -1).all() and score[~false].isna().all()
    assert (score[false] < 0).all()  # at its own threshold it finds none of them


def test_they_show_nobody():
    found = non_faces(textures=2)
    kinds = found.attributes["kind"].value_counts()
    assert kinds["patch"] == 100 and kinds["texture"] == 2 * len(FACELESS)
    assert set(found.identities) == {""} and len(set(found.names)) == len(found)
    assert set(found.attributes["source"]) <= {*FACELESS, "lfw_subset"} and "astronaut" not in FACELESS
    assert (found.images.reshape(len(found), -1).std(1) > 1).mean() > 0.95  # hardly one is blank
    assert len(np.unique(found.images.reshape(len(found), -1), axis=0)) > 0.9 * len(found)


def test_colour_is_kept_if_wanted():
    grey, coloured = non_faces(patches=0), non_faces(patches=0, grey=False)
    assert (grey.images[..., 0] == grey.images[..., 2]).all()
    assert (coloured.images[..., 0] != coloured.images[..., 2]).any() and len(coloured) == len(grey)


def test_the_seed_decides_the_squares():
    first, again, other = (non_faces(textures=2, patches=0, random_state=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(first.images, again.images)
    squares = (first.attributes["kind"] == "texture").to_numpy()
    assert (first.images[squares] != other.images[squares]).any()
    np.testing.assert_array_equal(first.images[~squares], other.images[~squares])
