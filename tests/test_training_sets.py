import numpy as np
import pytest

from fiqa_lib.data.training_sets import identified, is_clean, photographs, with_copies, with_templates
from fiqa_lib.errors import DataError
from fiqa_lib.faces import Faces
from fiqa_lib.networks.faceqgen_training import choose_targets
from fiqa_lib.transforms import degrade, random_degradations


def test_clean_faces_come_first_and_then_their_copies(orl):
    made = with_copies(orl[:4], 3, severities=(0.5, 1.0), random_state=7)
    assert len(made) == 16 and is_clean(made).tolist() == [True] * 4 + [False] * 12
    np.testing.assert_array_equal(made.images[:4], orl.images[:4])
    same = random_degradations(orl[:4], 3, severities=(0.5, 1.0), random_state=7)
    np.testing.assert_array_equal(made.images[4:], same.images)
    assert set(made.attributes["severity"]) <= {0, 0.5, 1.0}
    assert photographs(made).tolist() == [*orl.names[:4], *np.repeat(orl.names[:4], 3)]


def test_copies_do_not_depend_on_the_faces_beside(orl):
    together = with_copies(orl[:4], 2)
    alone = with_copies(orl[2:3], 2)
    rows = [2, 8, 9]
    np.testing.assert_array_equal(together.images[rows], alone.images)


def test_degraded_faces_are_taken_as_they_are(orl):
    mixed = Faces.concat([orl[:2].with_attributes(kind="clean", source=orl.names[:2]), degrade(orl[:2], "jpeg", 0.5)])
    assert len(with_copies(mixed, 5)) == 4
    assert photographs(mixed).tolist() == [*orl.names[:2]] * 2


def test_faces_that_nothing_is_known_of_are_clean_and_their_own_photographs(orl):
    assert is_clean(orl[:3]).all()
    assert photographs(orl[:3]).tolist() == orl.names[:3].tolist()
    joined = Faces.concat([degrade(orl[:1], "jpeg", 0.5), orl[1:2]])  # kind and source are missing for the second
    assert is_clean(joined).tolist() == [False, True]
    assert photographs(joined).tolist() == [orl.names[0], orl.names[1]]


def test_no_more_than_most(orl):
    few = with_copies(orl, 4, most=23, random_state=3)
    assert len(few) == 20 and is_clean(few).sum() == 4
    assert set(few.names[:4]) != set(with_copies(orl, 4, most=23, random_state=4).names[:4])
    assert len(with_copies(degrade(orl[:9], "jpeg", 0.5), 4, most=5)) == 5


def test_who_is_shown_has_to_be_known(orl):
    assert identified(orl[:20]).identities.tolist() == orl.identities[:20].tolist()
    other = identified(orl[:2], ["a", "b"])
    assert other.identities.tolist() == ["a", "b"] and other.names.tolist() == orl.names[:2].tolist()
    assert identified(orl.images[:2], ["a", "b"]).identities.tolist() == ["a", "b"]
    for wrong in ((orl.images[:2],), (orl[:2], ["a"]), (orl[:2], ["a", ""]), (orl[:2], ["a", "a"])):
        with pytest.raises(DataError, match="identit|known"):
            identified(*wrong)


def test_templates_become_the_targets_of_faceqgen(orl, tmp_path):
    orl = orl[:20]
    file = tmp_path / "VGGFace2_templates.txt"
    file.write_text("user;template\ns01;s01/04.jpg\ns02;07\nn000001;0001_01.jpg\n")
    marked = with_templates(orl, file)
    assert np.flatnonzero(marked.attributes["target"]).tolist() == [3, 16]
    people, places = choose_targets(marked)
    assert people.tolist() == ["s01", "s02"] and places.tolist() == [3, 16]
    for content, word in (("s01\n", "line 1: expected 'user;template'"), ("s09;1\n", "none of its 1 templates")):
        file.write_text(content)
        with pytest.raises(DataError, match=word):
            with_templates(orl, file)
