"""Degraded copies of faces: names and attributes, the benchmark's recipe, random copies for training sets."""

import numpy as np
import pandas as pd
import pytest

from fiqa_lib.faces import Faces
from fiqa_lib.transforms import degradations as dg

ALL = list(dg.KINDS)


@pytest.fixture(scope="module")
def faces(orl):
    """Six people of ORL, named as people."""
    names = ["s2", "s5", "s13", "s21", "s36", "s40"]
    return Faces(orl.images[:360:60], names, names, pd.DataFrame({"score": np.arange(6) / 7, "group": list("aabbcc")}))


def test_degrade_names_and_describes_what_it_did(faces):
    result = dg.degrade(faces, "jpeg", [0.4, 0.125, 1, 0, 0.2, 1 / 3])
    tails = ["0.40", "0.125", "1.00", "0.00", "0.20", "0.333333"]
    assert list(result.names) == [f"{name}|jpeg={tail}" for name, tail in zip(faces.names, tails, strict=True)]
    assert list(result.identities) == list(faces.identities)
    table = result.attributes
    assert list(table["kind"]) == ["jpeg"] * 3 + ["clean"] + ["jpeg"] * 2
    assert list(table["severity"]) == [0.4, 0.125, 1, 0, 0.2, 1 / 3]
    assert list(table["source"]) == list(faces.names)
    assert list(table["score"]) == list(faces.attributes["score"])
    assert list(faces.attributes) == ["score", "group"]  # the argument is left alone


def test_faces_degraded_twice_remember_both(faces):
    twice = dg.degrade(dg.degrade(faces[:2], "low_light", 0.5), "jpeg", [0.2, 0])
    assert list(twice.names) == ["s2|low_light=0.50|jpeg=0.20", "s5|low_light=0.50|jpeg=0.00"]
    assert list(twice.attributes["kind"]) == ["low_light+jpeg", "low_light"]
    np.testing.assert_allclose(twice.attributes["severity"], [1 - 0.5 * 0.8, 0.5])
    assert list(twice.attributes["source"]) == ["s2", "s5"]


def test_a_source_column_of_another_meaning_is_replaced(faces):
    labelled = faces.with_attributes(source="camera 7")
    assert list(dg.degrade(labelled, "jpeg", 0.5).attributes["source"]) == list(faces.names)


def test_no_faces_give_no_faces(faces):
    none = faces[:0]
    assert len(dg.degrade(none, "jpeg", 0.5)) == len(dg.degrade(none, "jpeg", [])) == 0
    assert len(dg.benchmark(none)) == len(dg.random_degradations(none, 3)) == 0


# --- benchmark and training sets ---------------------------------------------------------------------------------


def test_benchmark_has_each_face_clean_and_in_several_copies(faces):
    made = dg.benchmark(faces, copies=5, random_state=3)
    assert len(made) == 6 * len(faces)
    table = made.attributes.assign(identity=made.identities)
    assert list(table["source"]) == list(np.repeat(faces.names, 6))
    clean = table["kind"] == "clean"
    assert list(made.names[clean]) == list(faces.names)
    assert np.array_equal(made.images[clean], faces.images)
    for source, group in table[~clean].groupby("source"):
        assert group["kind"].nunique() == 5
        assert sorted(group["severity"]) == list(dg.SEVERITIES)
        assert set(group["identity"]) == {source}


def test_benchmark_copies_are_those_of_degrade(faces):
    made = dg.benchmark(faces[:3], copies=4, random_state=3)
    for i, row in enumerate(made.attributes.itertuples()):
        if row.kind != "clean":
            alone = dg.degrade(faces[faces.names == row.source], row.kind, row.severity, random_state=3)
            assert made.names[i] == alone.names[0]
            assert np.array_equal(made.images[i], alone.images[0])


def test_benchmark_of_every_combination_and_of_many_copies(faces):
    full = dg.benchmark(faces[:2], ["jpeg", "mask"], [0.5, 1.0], copies=None)
    assert len(full) == 2 * (1 + 4)
    many = dg.benchmark(faces[:2], ["jpeg", "mask"], [0.5, 1.0], copies=4)
    assert sorted(many.names) == sorted(full.names)
    three = dg.benchmark(faces[:1], ["jpeg", "mask"], [0.2, 0.5, 1.0], copies=3).attributes.iloc[1:]
    assert three["kind"].nunique() == 2 and not three.duplicated(["kind", "severity"]).any()
    assert len(dg.benchmark(faces, copies=0)) == len(faces)


def test_benchmark_of_a_face_does_not_depend_on_the_others(faces):
    whole, part = dg.benchmark(faces, random_state=1), dg.benchmark(faces[[3]], random_state=1)
    mine = whole[(whole.attributes["source"] == faces.names[3]).to_numpy()]
    assert list(mine.names) == list(part.names)
    assert np.array_equal(mine.images, part.images)


def test_random_degradations_mix_and_describe(faces):
    made = dg.random_degradations(faces, 12, max_together=3, random_state=2)
    assert len(made) == 12 * len(faces) == len(set(made.names))
    together = made.attributes["kind"].str.count("[+]") + 1
    assert set(together) == {1, 2, 3}
    assert not (made.attributes["kind"] == "clean").any()
    order = {kind: i for i, kind in enumerate(ALL)}
    for name, row in zip(made.names, made.attributes.itertuples(), strict=True):
        parts = [part.split("=") for part in name.split(":")[1].split("+")]
        kinds = [kind for kind, _ in parts]
        assert row.kind == "+".join(kinds)
        assert kinds == sorted(set(kinds), key=order.get)
        assert row.severity == pytest.approx(1 - np.prod([1 - float(s) for _, s in parts]))
        assert all(float(s) in dg.SEVERITIES for _, s in parts)


def test_random_degradations_grow_without_changing(faces):
    few, many = (dg.random_degradations(faces[:3], n, max_together=2, random_state=2) for n in (2, 5))
    rows = [face * 5 + copy for face in range(3) for copy in range(2)]
    assert list(many.names[rows]) == list(few.names)
    assert np.array_equal(many.images[rows], few.images)
    alone = dg.random_degradations(faces[2], 5, max_together=2, random_state=2)
    assert np.array_equal(alone.images, many.images[10:])


def test_copies_of_one_kind_differ(faces):
    made = dg.random_degradations(faces[:1], 4, ["occlusion"], [0.6])
    assert len({image.tobytes() for image in made.images}) == 4
