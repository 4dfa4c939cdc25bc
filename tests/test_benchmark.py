"""The benchmark: what it compares, keeps, and says of a method that fails; and a method added in one file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_state import Mean

from fiqa_lib import evaluation, weights
from fiqa_lib.apps import benchmark
from fiqa_lib.errors import DataError
from fiqa_lib.scorers import SCORERS, Scorer

ROOT = Path(__file__).resolve().parents[1]
CHEAP = ["sharpness", "brightness"]
TOY = '''
"""A toy: the mean of the green channel."""

from .base import Scorer, register


@register("toy-green")
class ToyGreen(Scorer):
    """Mean of the green channel: a toy."""

    cost = "one mean"

    def _score(self, images, faces):
        return images[..., 1].mean(axis=(1, 2), dtype=float)
'''


@pytest.fixture(scope="module")
def given():
    return benchmark.protocol(photographs=3, copies=2)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nobody_is_learned_from_and_reported_on(given):
    assert not set(given.train.identities) & set(given.test.identities)
    assert len(given.train) == 200 and len(given.test) == 20 * 3 * 3
    assert set(given.identity_a) | set(given.identity_b) == set(given.test.identities)


def test_scores_are_the_methods_own_and_are_not_made_twice(given, cache, monkeypatch):
    first, _ = benchmark.score(SCORERS["sharpness"](), given)
    np.testing.assert_array_equal(first, SCORERS["sharpness"]().score_samples(given.test))
    kept = sorted((cache / "scores").glob("sharpness-*.npz"))
    assert len(kept) == int(np.ceil(len(given.test) / benchmark.CHUNK))
    kept[0].write_bytes(b"torn")  # one part is lost; only that is made again
    made = []
    cls = SCORERS["sharpness"]
    inner = cls._score
    monkeypatch.setattr(
        cls, "_score", lambda self, images, faces: made.append(len(images)) or inner(self, images, faces)
    )
    again, _ = benchmark.score(cls(), given)
    np.testing.assert_array_equal(again, first)
    assert sum(n for n in made if n > 1) <= benchmark.CHUNK


def test_a_parameter_that_is_not_learned_with_may_still_change_the_scores(given, cache):
    class Gated(Mean):
        """One number, and a gate that `fit` does not ask about."""

        cost, silent, name, fits, factor = "none", ("gate",), "gated-of-tests", 0, 1.0

        def __init__(self, gate=0.5):
            self.gate = gate

        def _score(self, images, faces):
            return np.full(len(images), self.gate)

    for gate in (0.5, 0.7, 0.5):
        found, _ = benchmark.score(Gated(gate), given)
        assert (found == gate).all()
    assert Gated.fits == 1


def test_what_a_face_costs_is_not_what_else_the_machine_did(given, cache):
    benchmark.score(SCORERS["brightness"](), given)
    parts = sorted((cache / "scores").glob("brightness-*.npz"))
    for place in parts[1:]:  # as if all but one had been scored while something else was running
        arrays, _ = weights.read_state(place, "scores brightness")
        weights.write_state(place, "scores brightness", {**arrays, "seconds": 1e3})
    arrays, _ = weights.read_state(parts[0], "scores brightness")
    _, found = benchmark.score(SCORERS["brightness"](), given)
    assert found == pytest.approx(1000 * float(arrays["seconds"]) / len(arrays["score"]))


def test_a_method_that_fails_is_named_and_the_others_go_on(given, cache, monkeypatch):
    class Broken(Scorer):
        """Always fails."""

        cost = "none"

        def _score(self, images, faces):
            raise RuntimeError("out of luck")

    Broken.name = "broken"
    monkeypatch.setitem(SCORERS, "broken", Broken)
    results = benchmark.run(given, ["broken", *CHEAP])
    assert sorted(results.scores) == sorted(CHEAP)
    row = results.methods.set_index("method").loc["broken"]
    assert row["status"] == "failed" and row["reason"] == "RuntimeError: out of luck"
    with pytest.raises(DataError, match="no method nonsense"):
        benchmark.run(given, ["nonsense"])


@pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.verification.FewImpostorsWarning")
def test_tables(given, tmp_path):
    results = benchmark.run(given, CHEAP)
    similarity = benchmark.similarities(given, others=())
    made = benchmark.tables(given, results, similarity, n_draws=20)
    first = similarity["dlib"]
    areas = made["areas"].set_index(["method", "limit"])
    for name, both in benchmark.qualities_of(given, results.scores).items():
        curve = evaluation.edc(first, given.pairs.mated, *both, fmr=1e-3)
        for limit in evaluation.LIMITS:
            assert areas.loc[(name, limit), "pauc"] == pytest.approx(curve.pauc(limit, "normalised"))
    bounds = areas["pauc"].xs(0.2, level="limit")
    assert bounds.idxmin() == "oracle" and abs(bounds["random"] - 1) < 0.1
    blur = made["kinds"].query("method == 'sharpness' and kind == 'gaussian_blur'")
    assert blur["seen"].item() == 1  # a blurred copy is never sharper than its photograph
    assert benchmark.write(made, tmp_path) == [tmp_path / f"benchmark_{name}.csv" for name in made]
    written = pd.read_csv(tmp_path / "benchmark_areas.csv")
    pd.testing.assert_frame_equal(written, made["areas"], check_dtype=False, rtol=1e-5)
    assert set(made["groups"]["group"]) == {"clean probe", "degraded probe"}


@pytest.mark.filterwarnings("ignore::fiqa_lib.evaluation.verification.FewImpostorsWarning")
def test_any_limit_can_be_asked_for(given):
    results = benchmark.run(given, CHEAP)
    made = benchmark.tables(given, results, benchmark.similarities(given, others=()), limit=0.25, n_draws=10)
    assert set(made["areas"]["limit"]) == {0.25, *evaluation.LIMITS}
    assert sorted(benchmark.ranking(made["areas"], 0.25)) == sorted(CHEAP)


@pytest.mark.parametrize("key", ["identity", "name"])
def test_groups_are_read_by_identity_or_by_name(tmp_path, key):
    rows = {"identity": ["s01,young", "s02,old"], "name": ["s01/01,young", "s01/02,young", "s02/01,old"]}[key]
    (tmp_path / "groups.csv").write_text("\n".join([f"{key},group", *rows]))
    made = benchmark.protocol(groups=tmp_path / "groups.csv", photographs=2, copies=1, random_state=5)
    expected = pd.Series(made.test.identities).map({"s01": "young", "s02": "old"}).fillna("")
    if key == "name":
        expected[(made.test.identities == "s02") & (made.test.attributes["source"] != "s02/01")] = ""
    assert list(made.groups) == list(expected) and (made.groups != "").any()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("person,group\ns01,a\n", "expected a header"),
        ("identity,group\ns01,a\ns01,b\n", "s01 stands in it twice"),
        ("identity,group\nnobody,a\n", "names none"),
    ],
)
def test_groups_that_do_not_fit_are_refused(tmp_path, text, word):
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(DataError, match=word):
        benchmark.protocol(groups=tmp_path / "groups.csv", photographs=2, copies=1)


def test_a_method_added_in_one_file_is_listed_scored_benchmarked_and_tested(tmp_path):
    """In a copy of the library, with one file more and nothing else changed."""
    for folder in ("fiqa_lib", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "fiqa_lib" / "scorers" / "toy.py").write_text(TOY, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def python(*arguments):
        command = [sys.executable, "-m", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "toy-green" in python("fiqa_lib", "methods")
    from skimage import data, io

    io.imsave(tmp_path / "face.png", data.astronaut())
    python("fiqa_lib", "score", tmp_path / "face.png", "--method", "toy-green", "--out", tmp_path / "s.csv")
    assert pd.read_csv(tmp_path / "s.csv")["status"].tolist() == ["ok"]
    out = tmp_path / "tables"
    small = ["--methods", "toy-green", "sharpness", "--photographs", "3", "--copies", "2", "--draws", "10"]
    python("fiqa_lib", "benchmark", *small, "--out", out)
    assert {"toy-green", "sharpness"} <= set(pd.read_csv(out / "benchmark_areas.csv")["method"])
    said = python("pytest", "-p", "no:cacheprovider", "tests/test_scorers.py", "-k", "toy-green")
    assert re.search(r"\b(?:9|[1-9]\d) passed", said), said  # the contract, and its exit status was 0
