"""What a thing was computed from: a change of arithmetic is seen wherever it matters, a change of words nowhere."""

import shutil

import pytest

from fiqa_lib import cache
from fiqa_lib.recognition import DlibResNet
from fiqa_lib.scorers import SCORERS
from tools import catalogue, provenance
from tools.environment import ROOT

LESSONS = [path for path in catalogue.course() if not catalogue.is_solution(path)]
BENCHMARK = next(path for path in LESSONS if path.stem.endswith("_benchmark"))


@pytest.fixture
def copy(tmp_path):
    """A copy of the library and of what notebooks are stamped with, to change."""
    shutil.copytree(ROOT / "fiqa_lib", tmp_path / "fiqa_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path


def change(root, file, old, new):
    place = root / "fiqa_lib" / file
    text = place.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    place.write_text(text.replace(old, new, 1), encoding="utf-8")


def stale_lessons(root, before):
    return {path.stem for path in LESSONS if provenance.built_from(path, root) != before[path]}


def hashes(root):
    return {path: provenance.built_from(path, root) for path in LESSONS}


def using(text):
    return {p.stem for p in LESSONS if text in "\n".join(c.source for c in catalogue.code_cells(catalogue.read(p)))}


class TestOneScorersArithmetic:
    """FaceQAN's average becomes another one."""

    OLD, NEW = (
        "def _score(self, images, faces):",
        "def _score(self, images, faces):\n        images = images[..., ::-1]",
    )

    def test_lessons_that_may_use_it_are_stale_and_those_without_scorers_not(self, copy):
        before = hashes(copy)
        change(copy, "scorers/faceqan.py", self.OLD, self.NEW)
        stale = stale_lessons(copy, before)
        assert BENCHMARK.stem in stale
        assert using('SCORERS["faceqan"]') <= stale
        assert not {p.stem for p in LESSONS if p.stem[:2] in ("01", "02")} & stale

    def test_the_tables_of_the_benchmark_are_stale(self, copy):
        entry = ["fiqa_lib.apps.benchmark"]
        before = cache.sources_of(*entry, root=copy)
        change(copy, "scorers/faceqan.py", self.OLD, self.NEW)
        assert cache.sources_of(*entry, root=copy) != before

    def test_weights_that_do_not_rest_on_it_stay_fresh(self, copy):
        before = cache.sources_of("fiqa_lib.scorers.distilled", root=copy)
        change(copy, "scorers/faceqan.py", self.OLD, self.NEW)
        assert cache.sources_of("fiqa_lib.scorers.distilled", root=copy) == before


@pytest.mark.parametrize(
    "scorer, rests_on",
    [
        ("distilled", "networks/quality_trunk.py"),
        ("distilled_training", "transforms/hard_copies.py"),
        ("distilled_orl", "transforms/degradations.py"),
        ("distilled_orl", "labels/sdd.py"),
        ("distilled_orl", "transforms/perturbations.py"),
        ("sdd_fiqa", "data/training_sets.py"),
        ("dbcnn", "networks/fit.py"),
        ("cafi", "faces/masking.py"),
        ("faceqgen", "networks/unet_gan.py"),
        ("score_based", "labels/grades.py"),
        ("recognizability", "data/non_faces.py"),
    ],
)
def test_learned_weights_rest_on_all_that_their_method_imports(copy, scorer, rests_on):
    before = cache.sources_of(f"fiqa_lib.scorers.{scorer}", root=copy)
    place = copy / "fiqa_lib" / rests_on
    place.write_text(place.read_text(encoding="utf-8") + "\nCHANGED = 1\n", encoding="utf-8")
    assert cache.sources_of(f"fiqa_lib.scorers.{scorer}", root=copy) != before


def test_a_docstring_or_a_comment_changes_nothing(copy):
    before, tables = hashes(copy), cache.sources_of("fiqa_lib.cli", root=copy)
    for file in sorted((copy / "fiqa_lib").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace('"""', '"""Reworded. ', 1) + "\n# a remark\n", encoding="utf-8")
    assert stale_lessons(copy, before) == set()
    assert cache.sources_of("fiqa_lib.cli", root=copy) == tables


def test_no_module_is_forgotten():
    """Each module is reached from the command line, a room's public names or a lesson: else no check sees it change."""
    rooms = ["components", "data", "evaluation", "faces", "labels", "networks", "recognition", "scorers", "transforms"]
    names = ["fiqa_lib.cli", *[f"fiqa_lib.{room}" for room in rooms]]
    for path in catalogue.everything():
        names += provenance.library_names(path, catalogue.read(path))
    reached = {file.relative_to(ROOT).as_posix() for file in cache.library_files(names).values()}
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "fiqa_lib").rglob("*.py")}
    entrances = {"fiqa_lib/__main__.py"}
    assert {m for m in modules - reached - entrances if not m.endswith("__init__.py")} == set()


def test_a_new_scorer_changes_what_uses_all_of_them(copy):
    before = cache.sources_of("fiqa_lib.scorers.SCORERS", root=copy)
    (copy / "fiqa_lib" / "scorers" / "added.py").write_text("x = 1\n")
    assert cache.sources_of("fiqa_lib.scorers.SCORERS", root=copy) != before


def test_an_entry_by_name_leads_to_the_module_that_registers_it():
    files = cache.library_files(["fiqa_lib.scorers.SCORERS[ser-fiq]"])
    assert "fiqa_lib.scorers.ser_fiq" in files and "fiqa_lib.scorers.faceqan" not in files


@pytest.mark.parametrize(
    "source, names",
    [
        ("from fiqa_lib.scorers import SCORERS\nSCORERS['a'](), SCORERS['b']", {"[a]", "[b]"}),
        ("from fiqa_lib.scorers import SCORERS\nSCORERS['a'], SCORERS[name]", {""}),
        ("from fiqa_lib.scorers import SCORERS\nfor s in SCORERS: pass", {""}),
        ("from fiqa_lib.scorers import SCORERS as S\nS['a']", {"[a]"}),
    ],
)
def test_what_code_takes_from_a_registry(source, names):
    assert set(cache.imported_names(source)) == {f"fiqa_lib.scorers.SCORERS{name}" for name in names}


def test_objects_count_with_their_module():
    assert cache.sources_of(SCORERS["ser-fiq"]) == cache.sources_of("fiqa_lib.scorers.ser_fiq")
    assert cache.sources_of(DlibResNet) == cache.sources_of("fiqa_lib.recognition.dlib_resnet")


def test_an_object_without_source_is_never_fresh():
    scope = {"__name__": "nowhere"}
    exec("class Made: pass", scope)
    assert cache.sources_of(scope["Made"]) != cache.sources_of(scope["Made"])


def test_a_module_from_outside_counts_with_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "users_own.py").write_text("from fiqa_lib.errors import DataError\n\n\ndef f():\n    return 1\n")
    import users_own

    first = cache.sources_of(users_own)
    assert first == cache.sources_of(users_own.f)
    assert first != cache.sources_of("fiqa_lib.errors")


class TestStamps:
    def test_fresh_until_the_code_changes(self, copy, tmp_path):
        stamp = cache.write_stamp(tmp_path / "made_from.json", "fiqa benchmark", ["fiqa_lib.files"], faces=3)
        assert cache.stale_stamp(stamp, copy) is None
        change(copy, "files.py", "parents=True", "parents=not False")
        assert "run again: fiqa benchmark" in cache.stale_stamp(stamp, copy)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"command": 1}', "\0"])
    def test_a_damaged_stamp_is_stale(self, tmp_path, text):
        place = tmp_path / "made_from.json"
        place.write_text(text)
        assert "not a stamp" in cache.stale_stamp(place)

    def test_none(self, tmp_path):
        assert "not a stamp" in cache.stale_stamp(tmp_path / "made_from.json")
