import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError
from fiqa_lib.scorers.ser_fiq import Calibration, SerFiq, expected_squared_distance, robustness


def test_score_at_known_distances():
    np.testing.assert_allclose(robustness([0, np.log(3), 1e9]), [1, 0.5, 0], atol=1e-12)


def test_same_as_a_literal_implementation(orl, dlib_resnet):
    """Two faces, seven passes, every pair of embeddings by hand."""
    scorer = SerFiq(n_passes=7, recogniser=dlib_resnet)
    masks = scorer._masks(256).numpy()
    weight = dlib_resnet.head.weight.detach().numpy().astype(float)
    expected = []
    for features in dlib_resnet.features(orl[:2]).astype(float):
        units = [z / np.linalg.norm(z) for z in (weight @ (mask * features) for mask in masks)]
        d = np.mean([np.linalg.norm(units[i] - units[j]) for i in range(7) for j in range(i + 1, 7)])
        expected.append(2 / (1 + np.exp(d)))
    np.testing.assert_allclose(scorer.score_samples(orl[:2]), expected, rtol=1e-5)


def test_passes_differ_and_drop_the_declared_share():
    masks = SerFiq(n_passes=400, dropout=0.3)._masks(256)
    assert (masks == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert float(masks.mean()) == pytest.approx(1, abs=0.02)
    assert len(torch.unique(masks, dim=0)) == 400


def test_more_passes_agree_better_between_seeds(orl):
    def disagreement(passes):
        """Of the faces among each other; a set of masks also shifts all of them together, which ranks nothing."""
        first, second = (SerFiq(passes, random_state=seed).mean_distance(orl[:40]) for seed in (0, 1))
        return (first - second).std()

    assert disagreement(100) < disagreement(5) / 2


def test_closed_form_is_the_expectation(orl, dlib_resnet):
    features = dlib_resnet.features(orl[:3])
    weight = dlib_resnet.head.weight.detach().numpy()
    rng = np.random.default_rng(0)
    a, b = ((rng.random((20000, 1, 256)) >= 0.4) / 0.6 for _ in range(2))
    simulated = (((a - b) * features @ weight.T.astype(float)) ** 2).sum(2).mean(0)
    np.testing.assert_allclose(expected_squared_distance(features, weight, 0.4), simulated, rtol=0.02)


@pytest.mark.parametrize("wrong", [{"n_passes": 1}, {"n_passes": 2.5}, {"dropout": 0}, {"dropout": 1.0}])
def test_settings_that_make_no_sense_are_refused(orl, wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        SerFiq(**wrong).score_samples(orl[:1])


def test_calibration_recovers_a_known_curve(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(0.7, 0.01, 20000)
    matched = rng.random(20000) < 1 / (1 + np.exp(-300 * (scores - 0.705)))
    calibration = Calibration.fit(scores, matched)
    assert calibration.slope == pytest.approx(300, rel=0.1)
    assert calibration.middle == pytest.approx(0.705, abs=5e-4)
    calibration.save(tmp_path / "c.json")
    np.testing.assert_array_equal(Calibration.load(tmp_path / "c.json")(scores), calibration(scores))
    assert (np.diff(calibration(np.sort(scores))) >= 0).all()


def test_calibration_needs_both_outcomes_and_a_whole_file(tmp_path):
    with pytest.raises(DataError, match="both"):
        Calibration.fit([0.1, 0.2], [True, True])
    for content in ("", "{}", "[1, 2]", '{"slope": "x", "middle": 1}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(DataError, match=r"bad\.json"):
            Calibration.load(tmp_path / "bad.json")
