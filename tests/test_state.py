"""Learned states in files, and fits that are kept by content."""

import numpy as np
import pytest
import torch

from fiqa_lib import weights
from fiqa_lib.errors import WeightsError
from fiqa_lib.faces import SIZE, Faces
from fiqa_lib.recognition import DlibResNet, Fisherfaces, LbpHistograms, as_recogniser, load_recogniser
from fiqa_lib.scorers import fit_cached
from fiqa_lib.scorers.base import Scorer


class Mean(Scorer):
    """Learns one number."""

    learns, name, fits = True, "mean-of-tests", 0

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, faces, identities=None):
        type(self).fits += 1
        self.mean_ = self.factor * faces.images.mean()
        return self

    def get_state(self):
        return {"mean": self.mean_}

    def set_state(self, arrays):
        self.mean_ = float(arrays["mean"])

    def _score(self, images, faces):
        return images.mean((1, 2, 3)) - self.mean_


@pytest.fixture
def faces():
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    return Faces(images, ["a", "a", "b"], ["1", "2", "3"])


def test_arrays_and_settings_come_back(tmp_path):
    path = weights.write_state(tmp_path / "s.npz", "toy", {"a": np.arange(3.0), "n": 4}, {"x": [1, "y"]})
    arrays, settings = weights.read_state(path, "toy")
    assert arrays["a"].tolist() == [0, 1, 2] and arrays["n"] == 4 and settings == {"x": [1, "y"]}
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


def test_wrong_files_are_named(tmp_path):
    path = weights.write_state(tmp_path / "s.npz", "toy", {"a": np.arange(3.0)})
    with pytest.raises(WeightsError, match="state of 'toy', not of 'other'"):
        weights.read_state(path, "other")
    np.savez(tmp_path / "plain.npz", a=1)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "pickle.npz", about=np.array([{"kind": "toy"}], dtype=object))
    for name in ("plain", "text", "pickle", "absent"):
        with pytest.raises(WeightsError, match=name):
            weights.read_state(tmp_path / f"{name}.npz", "toy")
    with pytest.raises(WeightsError, match=r"\.npz"):
        weights.write_state(tmp_path / "s.pt", "toy", {})
    with pytest.raises(TypeError, match="plain arrays"):
        weights.write_state(tmp_path / "s.npz", "toy", {"a": object()})


def test_modules_survive(tmp_path):
    torch.manual_seed(0)
    one, other = (torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)) for _ in range(2))
    path = weights.write_state(tmp_path / "m.npz", "module", weights.module_state(one, "net."))
    arrays, _ = weights.read_state(path, "module")
    x = torch.randn(4, 3)
    assert torch.equal(weights.restore_module(other, arrays, "net.")(x), one.eval()(x))
    with pytest.raises(WeightsError, match=r"m\.npz: does not fit"), weights.explained(path):
        weights.restore_module(torch.nn.Linear(5, 2), arrays, "net.")


def test_same_content_is_fitted_once(tmp_path, faces):
    Mean.fits = 0
    first = fit_cached(Mean(), faces, folder=tmp_path)
    again = fit_cached(Mean(), faces, folder=tmp_path)
    assert Mean.fits == 1 and again.mean_ == first.mean_
    fit_cached(Mean(2.0), faces, folder=tmp_path)  # other parameters
    fit_cached(Mean(), faces[:2], folder=tmp_path)  # other faces
    fit_cached(Mean(), faces, ["a", "b", "b"], folder=tmp_path)  # other people
    fit_cached(Mean(), faces.with_attributes(severity=0.5), folder=tmp_path)  # other degradations
    assert Mean.fits == 5


class Asker(Mean):
    """Learns with a recogniser."""

    name = "asker-of-tests"

    def __init__(self, recogniser="dlib"):
        self.recogniser = recogniser

    @property
    def factor(self):
        return as_recogniser(self.recogniser).dim


def test_what_is_learned_with_a_recogniser_is_kept_for_its_content(tmp_path, faces):
    """By name or as an object, one recogniser is one key; other options, training people or weights are another."""
    Asker.fits = 0
    for recogniser in ("dlib", load_recogniser("dlib"), DlibResNet()):
        fit_cached(Asker(recogniser), faces, folder=tmp_path)
    assert Asker.fits == 1
    rng = np.random.default_rng(0)
    images, who = rng.integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8), list("aabbccdd")
    people = [Faces(i, who, list("12345678")) for i in (images, images[::-1])]
    others = [LbpHistograms(), LbpHistograms(grid=(3, 3)), *(Fisherfaces(n_components=2).fit(f) for f in people)]
    changed = DlibResNet()
    changed.checksum = None  # as for a network that comes from no file
    others.append(changed)
    with torch.no_grad():
        again = DlibResNet()
        again.checksum = None
        again.module.last.weight.mul_(2)
    others.append(again)
    assert len({r.fingerprint() for r in others}) == len(others)
    for recogniser in others:
        fit_cached(Asker(recogniser), faces, folder=tmp_path)
        fit_cached(Asker(recogniser), faces, folder=tmp_path)
    assert Asker.fits == 1 + len(others)


def test_a_damaged_cache_is_only_computed_again(tmp_path, faces):
    Mean.fits = 0
    fit_cached(Mean(), faces, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"damaged")
    assert fit_cached(Mean(), faces, folder=tmp_path).mean_ == faces.images.mean() and Mean.fits == 2


def test_loading_takes_parameters_from_the_file_and_from_the_call(tmp_path, faces):
    path = Mean(3.0).fit(faces).save(tmp_path / "s.npz")
    assert Mean.load(path).factor == 3 and Mean.load(path, factor=4.0).factor == 4
    assert Mean.load(path).mean_ == pytest.approx(3 * faces.images.mean())
    with pytest.raises(WeightsError, match=r"s\.npz"):

        class Other(Mean):
            name = "another"

        Other.load(path)
