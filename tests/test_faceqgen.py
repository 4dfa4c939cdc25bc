"""What the five FaceQgen scores share: one training, one file, one checkpoint; and the output file of the original."""

import inspect

import numpy as np
import pandas as pd
import pytest
from skimage.io import imsave
from sklearn.base import clone

from fiqa_lib.apps import photographs as scoring
from fiqa_lib.cli import main
from fiqa_lib.data import score_files
from fiqa_lib.networks import faceqgen_training, restorer
from fiqa_lib.networks.faceqgen_training import GanTraining
from fiqa_lib.scorers import SCORERS, faceqgen, fit_cached

NAMES = [name for name, cls in SCORERS.items() if cls.family == "faceqgen"]
TINY = {"size": 32, "width": 8, "n_copies": 1, "n_own": 2, "n_steps": 4, "n_identity": 2, "n_snapshots": 1}


@pytest.fixture
def trainings(monkeypatch):
    """How often a network was trained."""
    count, train = [], GanTraining.train
    monkeypatch.setattr(GanTraining, "train", lambda self, checkpoint=None: count.append(1) or train(self, checkpoint))
    faceqgen._TRAINED.clear()
    yield count
    faceqgen._TRAINED.clear()


@pytest.fixture(scope="module")
def few(orl):
    return orl[[0, 1, 2, 10, 11, 12]]


def test_five_scores_one_training(few, trainings):
    fitted = [SCORERS[name](**TINY).fit(few) for name in NAMES]
    assert len(NAMES) == 5 and len(trainings) == 1
    assert len({id(scorer.restorer_) for scorer in fitted}) == 1
    SCORERS["faceqgen"](**TINY, verbose=0, device="cpu").fit(few)
    assert len(trainings) == 1
    SCORERS["faceqgen"](**(TINY | {"n_steps": 5})).fit(few)
    SCORERS["faceqgen"](**TINY).fit(few[1:])
    assert len(trainings) == 3


def test_one_cached_file_for_all_five_across_processes(few, trainings, tmp_path):
    first = fit_cached(SCORERS["faceqgen-mse"](**TINY), few, folder=tmp_path)
    faceqgen._TRAINED.clear()  # as in another process
    other = fit_cached(SCORERS["faceqgen"](**TINY), few, folder=tmp_path)
    assert len(trainings) == 1 and len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(other.measures(few)["mse"], first.score_samples(few))


def test_what_one_saved_another_loads(few, tmp_path):
    path = SCORERS["faceqgen-ssim"](**TINY).fit(few).save(tmp_path / "network.npz")
    loaded = {name: SCORERS[name].load(path).score_samples(few) for name in NAMES}
    measured = SCORERS["faceqgen"].load(path).measures(few)
    columns = {"faceqgen": "combined", **{f"faceqgen-{c.replace('_', '-')}": c for c in restorer.MEASURES}}
    assert columns.keys() == loaded.keys()
    for name, column in columns.items():
        np.testing.assert_array_equal(loaded[name], measured[column])


def test_a_killed_fit_goes_on_from_the_cache(few, trainings, tmp_path, monkeypatch):
    monkeypatch.setattr(faceqgen_training, "CHECKPOINT_EVERY", 1)
    step = GanTraining.step

    def dies(self, batch):
        if batch == [3]:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(GanTraining, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_cached(SCORERS["faceqgen"](**TINY), few, folder=tmp_path)
    assert [p.name.endswith(".checkpoint.npz") for p in tmp_path.iterdir()] == [True]
    made = []
    monkeypatch.setattr(GanTraining, "step", lambda self, batch: made.extend(batch) or step(self, batch))
    fit_cached(SCORERS["faceqgen"](**TINY), few, folder=tmp_path)
    assert made == [3]
    assert not list(tmp_path.glob("*.checkpoint.npz")) and len(list(tmp_path.glob("faceqgen-*.npz"))) == 1


def test_combination_by_hand():
    measures = pd.DataFrame({"mse": [-1.0, -3], "ssim": [0.5, 0.5], "d_input": [1.0, 0], "d_restored": [2.0, 2]})
    reference = pd.DataFrame({"mean": [-2.0, 0.5, 0.5, 1], "std": [1, 0, 0.5, 2]}, index=restorer.MEASURES)
    np.testing.assert_allclose(faceqgen.combine(measures, reference), [(1 + 0 + 1 + 0.5) / 4, (-1 + 0 - 1 + 0.5) / 4])


def test_combination_does_not_depend_on_the_other_faces(few):
    scorer = SCORERS["faceqgen"](**TINY).fit(few)
    together = scorer.score_samples(few)
    np.testing.assert_allclose(scorer.score_samples(few[3]), together[3:4], atol=1e-4)


# --- the output file


@pytest.fixture
def model(few, tmp_path):
    return SCORERS["faceqgen"](**TINY).fit(few).save(tmp_path / "network.npz")


def test_output_file_of_the_original(few, orl_files, model, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    photograph = folder / "a;b.png"
    imsave(photograph, np.pad(_picture(orl_files[0]), ((30, 30), (30, 30), (0, 0)), mode="edge"), check_contrast=False)
    (folder / "broken.jpg").write_bytes(b"no picture")
    command = ["score", str(folder), "--method", "faceqgen-ssim", "--model", str(model), "--fallback", "centre"]
    assert main([*command, "--no-progress", "--format", "faceqgen", "--out", str(tmp_path / "scores.txt")]) == 0
    assert main([*command, "--no-progress", "--out", str(tmp_path / "scores.csv")]) == 0
    lines = (tmp_path / "scores.txt").read_text().splitlines()
    assert lines[0] == "img;score" and len(lines) == 3
    table = score_files.read_scores(tmp_path / "scores.csv")
    assert lines[1] == f"{photograph};{float(table['score'][0])!r}"
    assert lines[2] == f"{folder / 'broken.jpg'};-inf"
    again = score_files.read_quality(tmp_path / "scores.txt")
    assert list(again["path"]) == list(table["path"]) and again["score"][0] == table["score"][0]
    assert "1 error" in capsys.readouterr().out


def _picture(path):
    import cv2

    return np.repeat(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[..., None], 3, axis=2)


def test_format_must_be_known(tmp_path):
    with pytest.raises(SystemExit):
        main(["score", "x", "--method", "faceqgen", "--format", "xml", "--out", str(tmp_path / "s")])


def test_training_for_the_command_line_shows_a_bar(few, trainings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path))
    monkeypatch.setattr(scoring, "load_orl", lambda: few)
    scorer = scoring.make_scorer("faceqgen-mse", TINY, progress=True)
    assert scorer.verbose == 0 and len(trainings) == 1
    assert "restoration" in capsys.readouterr().err
    scoring.make_scorer("faceqgen-ssim", TINY)  # from the file
    assert len(trainings) == 1 and capsys.readouterr().err == ""


def test_a_video_has_no_lines_of_files_and_none_is_made_to_wait_for_a_training(tmp_path, capsys, monkeypatch):
    film = tmp_path / "film.avi"
    film.write_bytes(b"")
    made = []
    monkeypatch.setattr(scoring, "make_scorer", lambda *given, **options: made.append(given))
    command = ["score", str(film), "--method", "faceqgen", "--out", str(tmp_path / "s.txt")]
    assert main([*command, "--format", "faceqgen"]) != 0
    assert "for photographs" in capsys.readouterr().err and not (tmp_path / "s.txt").exists()
    assert made == []


def test_the_scorers_take_what_the_restorer_takes():
    """The constructors take the same parameters, with the same defaults, and scikit-learn can copy them."""
    expected = inspect.signature(restorer.Restorer)
    assert all(inspect.signature(SCORERS[name]) == expected for name in NAMES)
    scorer = SCORERS["faceqgen"](**TINY, recogniser="dlib", random_state=4)
    assert clone(scorer).get_params() == scorer.get_params() and "random_state=4" in repr(scorer)
    assert restorer.Restorer(**scorer.get_params()).get_params() == scorer.get_params()
