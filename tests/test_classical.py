"""LBP histograms and Fisherfaces against their definitions and against scikit-learn."""

import cv2
import numpy as np
import pytest

from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.evaluation import verification
from fiqa_lib.faces import CANONICAL_EYES
from fiqa_lib.recognition import Fisherfaces, LbpHistograms, load_recogniser
from fiqa_lib.recognition.classical import face_window
from fiqa_lib.recognition.similarity import euclidean

# --- LBP histograms ----------------------------------------------------------------------------------------------


def test_lbp_labels_of_a_pixel_by_hand():
    """Uniform patterns are numbered apart; a bright dot, an edge and a flat area each have their own label."""
    image = np.full((1, 192, 192, 3), 90, np.uint8)
    flat = LbpHistograms().labels(image)
    assert len(np.unique(flat)) == 1  # all neighbours are >= the centre
    ramp = np.broadcast_to(np.arange(192, dtype=np.uint8)[:, None], (192, 192))
    down = LbpHistograms().labels(np.repeat(ramp[None, ..., None], 3, axis=3))
    up = LbpHistograms().labels(np.repeat(ramp[None, ::-1, :, None], 3, axis=3))
    common = [np.bincount(codes.ravel()).argmax() for codes in (flat, down, up)]
    assert len(set(common)) == 3  # which side is bright matters: the labels are not rotation invariant
    assert LbpHistograms().n_labels == 59


def test_lbp_labels_stand_where_their_pixels_are():
    image = np.full((1, 192, 192, 3), 90, np.uint8)
    (x, y), _ = np.rint(CANONICAL_EYES).astype(int)  # the eye on the picture's left: the upper left of the window
    image[0, y - 4 : y + 5, x - 4 : x + 5] = 200
    codes = LbpHistograms().labels(image)[0]
    rows, columns = np.nonzero(codes != np.bincount(codes.ravel()).argmax())
    np.testing.assert_allclose([columns.mean(), rows.mean()], [30, 45], atol=1.5)


def test_lbp_histograms_count_the_labels_of_each_region(orl):
    recogniser = LbpHistograms()
    codes, histograms = recogniser.labels(orl[:1])[0], recogniser.embed(orl[:1])[0].astype(float) ** 2
    assert histograms.sum() == pytest.approx(1, abs=1e-6)
    expected = np.zeros((7, 7, 59))
    for y in range(150):
        for x in range(130):
            expected[y * 7 // 150, x * 7 // 130, codes[y, x]] += 1
    np.testing.assert_allclose(histograms.reshape(7, 7, 59) * 150 * 130, expected, atol=0.01)


def test_lbp_similarity_is_chi_square_and_bounded_by_the_vectors(orl):
    recogniser = LbpHistograms()
    a, b = recogniser.embed(orl[:30]), recogniser.embed(orl[30:60])
    p, q = a.astype(float) ** 2, b.astype(float) ** 2
    expected = [
        sum((u - v) ** 2 / (u + v) for u, v in zip(*pair, strict=True) if u + v) for pair in zip(p, q, strict=True)
    ]
    found = recogniser.similarity_of(a, b)
    np.testing.assert_allclose(found, np.negative(expected), rtol=1e-9)
    hellinger = euclidean(a, b) ** 2
    assert (hellinger <= -found + 1e-9).all() and (-found <= 2 * hellinger + 1e-9).all()
    np.testing.assert_allclose(recogniser.similarity_of(a, a), 0, atol=1e-12)
    with pytest.raises(DataError):
        recogniser.similarity_of(a, b[:3])


def test_lbp_takes_no_weights(tmp_path):
    with pytest.raises(DataError, match="no file of weights"):
        load_recogniser("lbp", tmp_path / "x.npz")


def test_classical_window_puts_the_eyes_where_the_paper_has_them():
    image = np.zeros((1, 192, 192, 3), np.uint8)
    for x, y in CANONICAL_EYES:
        cv2.circle(image[0], (round(x), round(y)), 4, (255, 255, 255), -1)
    for scale, margin in ((1.0, 0), (1.0, 2), (0.5, 0)):
        window = face_window(image, scale, margin)[0].astype(float)
        assert window.shape == (round(150 * scale) + 2 * margin, round(130 * scale) + 2 * margin)
        rows, columns = np.mgrid[: window.shape[0], : window.shape[1]]
        for x, y in ((30, 45), (100, 45)):
            near = window * (np.abs(columns - x * scale - margin) < 15 * scale)
            np.testing.assert_allclose((columns * near).sum() / near.sum(), x * scale + margin, atol=1)
            np.testing.assert_allclose((rows * near).sum() / near.sum(), y * scale + margin, atol=1)


# --- Fisherfaces -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fisherfaces(orl):
    return Fisherfaces().fit(orl[:80])


def test_fisherfaces_is_scikit_learns_pca_and_lda(orl):
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    train, test = orl[:60], orl[200:220]
    recogniser = Fisherfaces(n_components=30, shrinkage=None).fit(train)

    def pixels(faces):
        flat = face_window(faces.images, 0.5).reshape(len(faces), -1).astype(float)
        return (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)

    chain = make_pipeline(PCA(30, svd_solver="full"), LinearDiscriminantAnalysis(solver="svd"))
    expected = chain.fit(pixels(train), train.identities).transform(pixels(test))
    found = recogniser.embed(test)
    signs = np.sign((found * expected).sum(0))  # the sign of a discriminant is arbitrary
    np.testing.assert_allclose(found * signs, expected, rtol=1e-4, atol=1e-4)
    assert (recogniser.projection_.max(0) >= -recogniser.projection_.min(0)).all()


def test_fisherfaces_embeddings_are_centred_and_tell_training_people_apart(orl, fisherfaces):
    embeddings = fisherfaces.embed(orl[:80])
    assert fisherfaces.dim == 7
    np.testing.assert_allclose(embeddings.mean(0), 0, atol=1e-4)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    nearest = (unit @ unit.reshape(8, 10, 7).mean(1).T).argmax(1)
    np.testing.assert_array_equal(nearest, np.repeat(np.arange(8), 10))


def test_classical_recognisers_know_strangers_apart(orl, fisherfaces):
    """On people they have not seen both are far better than chance, though far from dlib's network."""
    test = orl[200:]
    for recogniser, least in ((LbpHistograms(), 0.85), (Fisherfaces().fit(orl[:200]), 0.9)):
        pairs = recogniser.all_pairs(recogniser.embed(test), test.identities)
        assert least < verification.auc(pairs.similarity, pairs.mated) < 0.995


def test_brightness_and_contrast_do_not_matter_to_fisherfaces(orl, fisherfaces):
    images = orl.images[100:104]
    dimmed = (images.astype(float) * 0.6 + 20).astype(np.uint8)
    similarity = fisherfaces.similarity_of(fisherfaces.embed(images), fisherfaces.embed(dimmed))
    assert similarity.min() > 0.99


def test_fisherfaces_state_survives_a_file(tmp_path, orl, fisherfaces):
    path = fisherfaces.save(tmp_path / "state.npz")
    loaded = load_recogniser("fisherfaces", path)
    np.testing.assert_array_equal(loaded.embed(orl[90:95]), fisherfaces.embed(orl[90:95]))
    assert loaded.dim == fisherfaces.dim and len(loaded.checksum) == 64
    np.savez(tmp_path / "other.npz", mean=np.zeros(3), projection=np.zeros((3, 2)))
    np.savez(tmp_path / "pickled.npz", mean=np.array([{}], object), projection=np.zeros((3, 2)))
    for wrong in ("other.npz", "pickled.npz", "absent.npz"):
        with pytest.raises(WeightsError, match=wrong):
            load_recogniser("fisherfaces", tmp_path / wrong)
    with pytest.raises(DataError, match="npz"):
        fisherfaces.save(tmp_path / "state.bin")


def test_fisherfaces_refuses_what_it_can_not_learn_from(orl):
    wrong = {
        "nothing yet": lambda: Fisherfaces().embed(orl[:1]),
        "pass Faces": lambda: Fisherfaces().fit(orl.images[:20]),
        "2 or more people": lambda: Fisherfaces().fit(orl[:10]),
        "two pictures": lambda: Fisherfaces().fit(orl[::10]),
        "without identity": lambda: Fisherfaces().fit(orl.images[:20], [""] * 5 + ["a"] * 7 + ["b"] * 8),
        "3 identities": lambda: Fisherfaces().fit(orl[:20], ["a", "b", "b"]),
        r"1\.\.18": lambda: Fisherfaces(n_components=19).fit(orl[:20]),
    }
    for message, call in wrong.items():
        with pytest.raises(DataError, match=message):
            call()
