"""CR-FIQA's score from a file in its authors' layout, against their forward pass spelled out."""

import numpy as np
import pandas as pd
import pytest
import torch
from published_networks import SMALL, authors_input, crfiqa_state, insightface_forward, insightface_state
from sklearn.base import clone
from torch.nn import functional

import fiqa_lib as fq
from fiqa_lib.apps import benchmark
from fiqa_lib.cli import main
from fiqa_lib.course.playground import fast_scorers
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.recognition import DlibResNet, IResNet, Remembering, load_recogniser
from fiqa_lib.recognition.iresnet import CHANNELS, DEPTHS
from fiqa_lib.scorers import SCORERS
from fiqa_lib.scorers.cr_fiqa import CRFIQA


def authors_score(state, faces, **layers):
    """Their `evaluation/QualityModel.py`: RGB in -1..1, the embedding after its batch norm, one linear unit."""
    x = authors_input(faces, False, 127.5, 127.5)
    with torch.inference_mode():
        embedding = insightface_forward(state, x, 1e-5, **layers)
        return functional.linear(embedding, state["qs.weight"], state["qs.bias"])[:, 0].numpy()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small network in the layout of ...backbone.pth."""
    path = tmp_path_factory.mktemp("cr-fiqa") / "181952backbone.pth"
    torch.save(crfiqa_state(), path)
    return path


@pytest.fixture(scope="module")
def r18(tmp_path_factory):
    """A network of depth 18 and full width, with its forward pass."""
    state = crfiqa_state(DEPTHS[18], CHANNELS, 512)
    path = tmp_path_factory.mktemp("r18") / "backbone.pth"
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return path, state


@pytest.mark.parametrize("variant", ["cr-fiqa", "arcface"])
def test_the_authors_score(variant, small, orl):
    faces = orl[[0, 15, 130, 399]]
    recogniser = IResNet(small, variant, **SMALL)
    expected = authors_score(crfiqa_state(), faces)
    assert expected.std() > 1e-2, "the reference must tell the faces apart"
    scorer = CRFIQA(recogniser)
    np.testing.assert_allclose(scorer.score_samples(faces), expected, atol=2e-5, rtol=1e-4)
    np.testing.assert_array_equal(clone(scorer).score_samples(faces), scorer.score_samples(faces))
    np.testing.assert_array_equal(CRFIQA(Remembering(recogniser)).score_samples(faces), scorer.score_samples(faces))
    one_by_one = np.concatenate([scorer.score_samples(face) for face in faces])
    np.testing.assert_allclose(one_by_one, scorer.score_samples(faces), atol=1e-5)
    assert scorer.score_samples(faces[:0]).shape == (0,)


def test_weights_by_path_and_the_depth_of_the_file(r18, orl):
    path, state = r18
    faces = orl[[0, 200]]
    expected = authors_score(state, faces, layers=DEPTHS[18])
    scorer = CRFIQA(weights=path)
    np.testing.assert_allclose(scorer.score_samples(faces), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(CRFIQA(weights=path, depth=18).score_samples(faces), scorer.score_samples(faces))
    assert load_recogniser("cr-fiqa", path).name == "cr-fiqa-r18"
    with pytest.raises(WeightsError, match="has the blocks of cr-fiqa-r18, not of cr-fiqa-r50"):
        CRFIQA(weights=path, depth=50).score_samples(faces)
    with pytest.raises(DataError, match="not both"):
        CRFIQA(load_recogniser("cr-fiqa", path), weights=path).score_samples(faces)
    scorer.set_params(weights=path.with_name("absent.pth"))  # what was read is not kept for another file
    with pytest.raises(WeightsError, match=r"absent\.pth: there is no such file"):
        scorer.score_samples(faces)


def test_without_the_two_layers_it_is_said(tmp_path, small, orl):
    torch.save(insightface_state(), tmp_path / "plain.pth")
    assert IResNet(tmp_path / "plain.pth", **SMALL).quality is None
    with pytest.raises(DataError, match=r"arcface-r100 holds no layers qs.weight.*--weights"):
        CRFIQA(IResNet(tmp_path / "plain.pth", **SMALL)).score_samples(orl[:1])
    with pytest.raises(DataError, match="dlib holds no layers"):
        CRFIQA("dlib").score_samples(orl[:1])
    for odd, words in (
        ({"qs.weight": torch.zeros(2, 10)}, r"qs.weight is \(2, 10\), expected \(1, 10\)"),
        ({"qs.bias": torch.tensor([np.nan])}, "qs.bias holds NaN"),
    ):
        torch.save(crfiqa_state() | odd, tmp_path / "odd.pth")
        with pytest.raises(WeightsError, match=rf"odd\.pth: .*{words}"):
            IResNet(tmp_path / "odd.pth", "cr-fiqa", **SMALL)
    torch.save(insightface_state() | {"qs.bias": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="qs.weight is missing"):
        IResNet(tmp_path / "odd.pth", "cr-fiqa", **SMALL)


def test_on_the_command_line(r18, tmp_path, orl_files, capsys):
    path, _ = r18
    photo, out = str(orl_files[0]), tmp_path / "s.csv"
    common = ["score", photo, "--method", "cr-fiqa", "--out", str(out), "--no-progress"]
    assert main(common) == 1
    assert "cr-fiqa needs a file of weights" in (said := capsys.readouterr().err)
    assert "--weights FILE" in said and "fdbtrs/CR-FIQA" in said and len(said.splitlines()) == 1
    assert main([*common, "--weights", str(path)]) == 0
    from fiqa_lib.data import load_files

    expected = CRFIQA(weights=path).score_samples(load_files([photo]).faces)
    np.testing.assert_allclose(pd.read_csv(out).score, expected, atol=1e-6)
    with pytest.raises(WeightsError, match="cr-fiqa needs a file of weights"):
        fq.create_scorer("cr-fiqa")
    found = fq.create_scorer("cr-fiqa", weights=path).score_samples(load_files([photo]).faces)
    np.testing.assert_array_equal(found, expected)


def test_loops_leave_out_what_needs_weights_or_name_it(orl, small, monkeypatch, tmp_path):
    needing = {name for name, cls in SCORERS.items() if cls.needs_weights}
    assert "cr-fiqa" in needing and not any(SCORERS[name].learns for name in needing)
    few = {name: SCORERS[name] for name in ("brightness", "cr-fiqa")}
    assert set(fast_scorers(orl[:1], repeats=1, scorers=few)[1]) == {"brightness"}
    monkeypatch.setattr(benchmark, "SCORERS", few)
    given = benchmark.protocol(photographs=2, copies=1, random_state=0)
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path))  # of scores
    said = []
    results = benchmark.run(given, say=lambda *words: said.append(words))
    assert list(results.scores) == ["brightness"] == list(results.methods["method"])
    assert ("cr-fiqa", "left out", "needs weights: --recogniser cr-fiqa --weights FILE") in said
    asked = benchmark.run(given, ["cr-fiqa"]).methods.iloc[0]  # named by the user: a row that says why
    assert asked["status"] == "failed" and "cr-fiqa needs a file of weights" in asked["reason"]
    results = benchmark.run(given, recogniser=IResNet(small, "cr-fiqa", **SMALL))
    assert set(results.scores) == set(few) and set(results.methods["status"]) == {"ok"}
    assert set(benchmark.run(given, recogniser=DlibResNet()).scores) == {"brightness"}
