"""The protocol's benchmarks from end to end, on a small tree that looks like LFW, and the reader of their tables."""

import json
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from fiqa_lib import cli
from fiqa_lib.apps import left_out, protocol_tables
from fiqa_lib.cache import stale_stamp
from fiqa_lib.data import results
from fiqa_lib.data.lfw import lfw_roles, people_pairs
from fiqa_lib.errors import DataError
from fiqa_lib.evaluation import protocol
from fiqa_lib.faces import Detection
from fiqa_lib.scorers import SCORERS, Scorer

pytestmark = [
    pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.protocol.FewPeopleWarning"),
    pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.verification.FewImpostorsWarning"),
]
CHEAP = ["sharpness", "detector-score", "embedding-norm"]


class Middle:
    """Finds the same box in every picture."""

    def __repr__(self):
        return "Middle()"

    def __call__(self, image):
        height, width = image.shape[:2]
        return [Detection(0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height, 1.0)]


class Broken(Scorer):
    """Always fails."""

    name, cost = "broken", "none"

    def _score(self, images, faces):
        raise RuntimeError("out of luck")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, orl_files):
    """ORL's people under invented file names, laid out as LFW; some photographs blurred, so that pairs fail."""
    root = tmp_path_factory.mktemp("lfw")
    rng = np.random.default_rng(0)
    for place in range(40):
        name = f"Person_{place:02d}"
        for number in range(1 if place % 9 == 8 else 4):
            file = root / "images" / name / f"{name}_{number + 1:04d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = cv2.imread(str(orl_files[10 * place + number]))
            if number and rng.random() < 0.5:
                image = cv2.GaussianBlur(image, (0, 0), 1 + 8 * rng.random())
            cv2.imwrite(str(file), image)
    return root


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """One network, and the box in the middle in place of a detector: what is tested is the road."""
    monkeypatch.setattr(protocol_tables, "NETWORKS", ("dlib",))
    monkeypatch.setattr("fiqa_lib.faces.load_detector", lambda name, **options: Middle())


def benchmark(folder, out, *more):
    return cli.main(["benchmark", "--data", "lfw", "--lfw", str(folder), "--out", str(out), "--draws", "40", *more])


def test_from_the_folder_to_the_tables(folder, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SCORERS, "broken", Broken)
    out = tmp_path / "tables"
    assert benchmark(folder, out, "--methods", *CHEAP, "broken", "cr-fiqa") == 0
    said = capsys.readouterr()
    assert re.search(r"1 of 5: .*about \d+ minutes left", said.err)
    assert "broken : failed: RuntimeError: out of luck" in said.out
    table = pd.read_csv(out / "table.csv")
    assert list(table) == protocol_tables.COLUMNS
    good = table[table["status"] == "ok"]
    assert set(good["method"]) == set(CHEAP)
    assert set(good["limit"]) == set(protocol.LIMITS) and set(good["verifier"]) == {"dlib"}
    assert set(good.loc[good["same_model"].astype(bool), "method"]) == {"embedding-norm"}
    reasons = table[table["status"] != "ok"].set_index("method")
    assert reasons.loc["broken", "reason"] == "RuntimeError: out of luck"
    assert reasons.loc["cr-fiqa", "status"] == "left out" and "cr-fiqa" in reasons.loc["cr-fiqa", "reason"]
    people = [f"Person_{place:02d}" for place in range(40)]
    report = [p for p, role in zip(people, lfw_roles(people), strict=True) if role == "report" and int(p[-2:]) % 9 != 8]
    assert set(good["n_people"]) == {len(report)} and set(good["n_mated"]) == {6 * len(report)}
    assert {name.name for name in out.glob("*.csv")} == {
        f"{name}.csv" for name in ("table", "flattery", "winner", "calibration")
    }
    stamp = json.loads((out / "made_from.json").read_text())
    assert (
        stamp["command"].startswith("python -m fiqa_lib benchmark --data lfw")
        and stamp["reference"] == "detector-score"
    )
    assert stale_stamp(out / "made_from.json") is None


def test_the_numbers_are_the_protocols(folder, cache, tmp_path):
    material = protocol_tables.lfw_material(folder, detector=Middle())
    similarity = protocol_tables.similarities(material, protocol_tables.networks())
    scored = protocol_tables.run(material, protocol_tables.entries(["sharpness", "detector-score"], ["dlib"]))
    made = protocol_tables.tables(material, scored, similarity, draws=120)["table"]
    values = SCORERS["sharpness"]().score_samples(material.everyone)  # of all photographs, those in no mated pair too
    faces = {"sharpness": values, "detector-score": SCORERS["detector-score"]().score_samples(material.everyone)}
    judged = protocol.judge(
        faces, material.pairs, similarity, material.people, reference="detector-score", draws=120
    ).table
    both = made.merge(judged, left_on=["method", "verifier", "limit"], right_on=["method", "column", "limit"])
    assert len(both) == 2 * len(protocol.LIMITS)
    for column in ("oracle_scaled", "low", "high", "normalised", "difference"):
        np.testing.assert_allclose(both[f"{column}_x"], both[f"{column}_y"])


def test_a_run_that_was_killed_goes_on(folder, cache, tmp_path, monkeypatch):
    inner, made = SCORERS["contrast"]._score, []

    def killed(self, images, faces):
        raise KeyboardInterrupt

    def counted(self, images, faces):
        made.append(len(images))
        return inner(self, images, faces)

    monkeypatch.setattr(SCORERS["sharpness"], "_score", killed)
    monkeypatch.setattr(SCORERS["contrast"], "_score", counted)
    methods = ["--methods", "contrast", "detector-score", "sharpness"]
    assert benchmark(folder, tmp_path / "a", *methods) == 1
    assert made and not (tmp_path / "a" / "table.csv").exists()
    monkeypatch.undo()
    monkeypatch.setenv("FIQA_CACHE", str(cache))
    monkeypatch.setattr(protocol_tables, "NETWORKS", ("dlib",))
    monkeypatch.setattr("fiqa_lib.faces.load_detector", lambda name, **options: Middle())
    made.clear()
    monkeypatch.setattr(SCORERS["contrast"], "_score", counted)
    assert benchmark(folder, tmp_path / "a", *methods) == 0
    report, choose = (
        len(protocol_tables.lfw_material(folder, r, detector=Middle()).test) for r in ("report", "choose")
    )
    assert report > choose >= sum(n for n in made if n > 1)  # of the choose people only: the others were kept
    assert set(pd.read_csv(tmp_path / "a" / "table.csv")["method"]) == set(methods[1:])


def test_without_the_folder_the_error_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FIQA_LFW", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "nothing"))
    assert cli.main(["benchmark", "--data", "lfw", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "--lfw FOLDER or the variable FIQA_LFW" in said and "Traceback" not in said
    assert cli.main(["benchmark", "--data", "lfw", "--lfw", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 1
    assert f"{tmp_path / 'no'}: no such folder" in capsys.readouterr().err
    assert cli.main(["benchmark", "--data", "lfw", "--pairs", "x.csv", "--out", str(tmp_path / "out")]) == 1
    assert "leave --pairs out" in capsys.readouterr().err


def test_the_variable_names_the_folder(folder, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_LFW", str(folder))
    assert cli.main(["benchmark", "--data", "lfw", "--methods", "sharpness", "--out", str(tmp_path / "out")]) == 0
    assert set(pd.read_csv(tmp_path / "out" / "table.csv")["method"]) == {"sharpness", "random"}  # it needs a reference


def test_learners_learn_from_few_photographs_of_whole_people(folder, cache):
    faces = protocol_tables.lfw_material(folder, detector=Middle(), learn_faces=10**6).train
    assert set(lfw_roles(faces.identities)) == {"learn"} and (pd.Series(faces.identities).value_counts() == 4).all()
    few = protocol_tables.lfw_material(folder, detector=Middle(), learn_faces=19).train
    assert len(few) == 16 and set(few.names) < set(faces.names)


def test_every_method_stands_once_for_each_network(monkeypatch):
    groups = protocol_tables.entries(recognisers=["dlib", "mobilefacenet"])
    flat = [entry for group in groups for entry in group]
    assert {entry.method for entry in flat} == set(SCORERS) and len(set(flat)) == len(flat)
    assert [e.network for e in flat if e.method == "ser-fiq"] == ["dlib", "mobilefacenet"]
    assert [e.network for e in flat if e.method == "sharpness"] == [""]
    assert [len(group) for group in groups if group[0].method == "faceqgen"] == [5, 5]  # learned once together
    with pytest.raises(DataError, match="no method nonsense"):
        protocol_tables.entries(["nonsense"])


def test_calibration_is_judged_on_other_people_and_one_person_does_not_count_for_all():
    rng = np.random.default_rng(0)

    def side(seed, crowd):
        """200 people with 4 photographs; the first has `crowd` more, all bad."""
        people = np.repeat(np.arange(200), 4)
        quality = rng.normal(size=len(people))
        people, quality = np.r_[np.zeros(crowd, int), people], np.r_[rng.normal(-4, 0.1, crowd), quality]
        names = np.array([f"{i:05d}" for i in range(len(people))])
        pairs = people_pairs(names, people.astype(str), per_person=None, max_impostor=20_000)
        worst = np.minimum(quality[pairs.index_a], quality[pairs.index_b])
        failing = rng.random(len(worst)) < 1 / (1 + np.exp(2 * worst + 3))
        similarity = np.where(pairs.mated, np.where(failing, 0.0, 2.0), rng.uniform(0, 1, len(worst)))
        everyone = np.arange(len(people))
        needed = np.ones(len(people), bool)
        return (
            protocol_tables.Material(None, None, None, people, pairs, everyone, everyone, needed),
            quality,
            similarity,
        )

    chosen, q_chosen, s_chosen = side(1, crowd=200)
    judged, q_judged, s_judged = side(2, crowd=0)
    table = protocol_tables.calibration_table(
        ((chosen, {"m": q_chosen}), (judged, {"m": q_judged})), ({"net": s_chosen}, {"net": s_judged}), ["m"], fmr=0.01
    )
    row = table.iloc[0]
    for share in protocol_tables.SHARES:
        assert abs(row[f"discard_{100 * share:g}"] - share) < 0.03
    assert row["ece"] < 0.05 and row["faces"] == 800


# --- leave-family-out


class Kinds(Scorer):
    """Learns which kinds it has seen; a face that it scores is as bad as its darkness."""

    name, learns, cost, seen = "kinds", True, "none", []

    def __init__(self, n_copies=18):
        self.n_copies = n_copies

    def fit(self, faces, identities=None):
        self.seen.append(set(faces.attributes["kind"]))
        self.fitted_ = 1
        return self

    def get_state(self):
        return {"fitted": np.array(1)}

    def set_state(self, arrays):
        self.fitted_ = int(arrays["fitted"])

    def _score(self, images, faces):
        return images.mean((1, 2, 3))


def test_left_out_is_left_out(cache, monkeypatch, tmp_path):
    monkeypatch.setitem(SCORERS, "kinds", Kinds)
    Kinds.seen.clear()
    material = protocol_tables.orl_material()
    similarity = protocol_tables.similarities(material, protocol_tables.networks())
    groups = protocol_tables.entries(["kinds", "sharpness"], ["dlib"])
    reference = SCORERS["sharpness"]().score_samples(material.test)
    made = left_out.families(material, groups, similarity, reference, draws=30)
    assert len(Kinds.seen) == 6
    for family, seen in zip([None, *protocol.FAMILIES], Kinds.seen, strict=True):
        assert seen - {"clean"} == {kind for kind in protocol.FAMILY_OF if protocol.FAMILY_OF[kind] != family}
    assert set(made["method"]) == {"kinds"} and len(made) == len(protocol.LIMITS)
    np.testing.assert_allclose(made["left_out"], made["known"])  # what it knows does not change its scores
    np.testing.assert_allclose(made[list(protocol.FAMILIES)].mean(axis=1), made["left_out"])


# --- the reader


@pytest.fixture
def committed(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    place = tmp_path / "data" / "results" / "lfw"
    place.mkdir(parents=True)
    (place / "table.csv").write_text(
        "method,network,verifier,limit,oracle_scaled,status,reason\n"
        "ser-fiq,dlib,dlib,0.2,0.5,ok,\nser-fiq,dlib,mobilefacenet,0.2,0.6,ok,\n"
        "ser-fiq,mobilefacenet,dlib,0.2,0.7,ok,\nsharpness,,dlib,0.2,0.9,ok,\nsharpness,,dlib,0.05,0.8,ok,\n"
        "broken,,,,,failed,RuntimeError: out of luck\n"
    )
    return place


def test_rows_of_the_committed_tables(committed):
    assert len(results.table("lfw")) == 6 and results.table("lfw")["network"].iloc[3] == ""
    assert results.row("lfw", "ser-fiq")["oracle_scaled"] == 0.5
    assert results.row("lfw", "ser-fiq", verifier="mobilefacenet")["oracle_scaled"] == 0.6
    assert results.row("lfw", "ser-fiq", network="mobilefacenet")["oracle_scaled"] == 0.7
    assert results.row("lfw", "sharpness", limit=0.05)["oracle_scaled"] == 0.8
    for arguments, word in (
        ({"method": "nonsense"}, "there are broken, ser-fiq, sharpness"),
        ({"method": "broken"}, "RuntimeError: out of luck"),
        ({"method": "sharpness", "limit": 0.4}, "limit 0.4"),
    ):
        with pytest.raises(DataError, match=word):
            results.row("lfw", **arguments)
    with pytest.raises(DataError, match="python -m fiqa_lib benchmark --data orl-d"):
        results.table("orl-d")
    with pytest.raises(DataError, match="benchmark must be one of"):
        results.table("imagenet")
    shutil.rmtree(committed)
