"""Ranks of the embedding's length and of the detector's score among stored reference faces."""

import numpy as np
import pytest
from scipy.stats import rankdata

from fiqa_lib.errors import DataError
from fiqa_lib.faces import from_aligned
from fiqa_lib.scorers.norm_and_detector import NormAndDetector, detector_scores, rank


def test_ranks_inside_the_reference():
    reference = np.array([1.0, 2, 2, 2, 5])
    np.testing.assert_allclose(rank([1, 2, 5, 1.5, 3.5], reference), [0, 0.5, 1, 0.25, 0.75])


def test_ranks_go_on_outside_the_reference():
    reference = np.linspace(0, 8, 9)  # quartiles 2 and 6
    np.testing.assert_allclose(rank([-4, -12, 12, 20], reference), [-0.25, -0.375, 1.25, 1.375])
    assert rank([3.0, 4, 5], np.full(4, 4.0)) == pytest.approx([0.25, 0.5, 0.75])


def test_score_is_the_mean_of_both_ranks(orl, dlib_resnet):
    scorer = NormAndDetector(recogniser=dlib_resnet).fit(orl)
    norms = np.linalg.norm(dlib_resnet.embed(orl), axis=1)
    ranks = [(rankdata(values) - 1) / (len(orl) - 1) for values in (norms, orl.attributes["detector_score"])]
    np.testing.assert_allclose(scorer.score_samples(orl[:9]), np.mean(ranks, axis=0)[:9], atol=1e-4)


def test_not_found_ranks_as_the_worst_found(orl, dlib_resnet):
    scorer = NormAndDetector(recogniser=dlib_resnet).fit(orl[::5])
    lowest = float(orl[::5].attributes["detector_score"].min())
    missed = orl[:2].with_attributes(detector_score=np.nan, status="fallback")
    np.testing.assert_array_equal(
        scorer.score_samples(missed), scorer.score_samples(orl[:2].with_attributes(detector_score=lowest))
    )


def test_faces_that_no_detector_saw_are_refused_by_name(orl, dlib_resnet):
    scorer = NormAndDetector(recogniser=dlib_resnet).fit(orl[::20])
    aligned = from_aligned(np.zeros((2, 112, 112, 3), np.uint8), names=["first", "second"])
    with pytest.raises(DataError, match="first: no detector.*embedding-norm"):
        scorer.score_samples(aligned)
    with pytest.raises(DataError, match="attribute detector_score"):
        scorer.score_samples(orl.images[:1])
    with pytest.raises(DataError, match="at least 2"):
        NormAndDetector().fit(orl[:1])
    assert detector_scores(orl[:3].with_attributes(detector_score=[0.9, np.nan, 1], status="fallback"))[1] == -np.inf
