import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.evaluation import fnmr_at_fmr
from fiqa_lib.faces import CHIP_ORIGIN
from fiqa_lib.recognition import DlibResNet
from fiqa_lib.recognition.dlib_resnet import read_dat
from fiqa_lib.recognition.similarity import all_pairs
from fiqa_lib.weights import packaged_file

WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
ROW, COLUMN = CHIP_ORIGIN
CHIP = np.s_[ROW : ROW + 150, COLUMN : COLUMN + 150]


@pytest.fixture(scope="module")
def weights():
    return packaged_file("face-recognition-models", WEIGHTS)


def test_same_numbers_as_dlib(orl, dlib_resnet, weights):
    import dlib

    faces = orl[::50]
    network = dlib.face_recognition_model_v1(str(weights))
    chips = np.ascontiguousarray(faces.images[:, *CHIP])
    expected = np.array([network.compute_face_descriptor(chip) for chip in chips])
    assert np.abs(dlib_resnet.embed(faces) - expected).max() < 1e-5


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_errors_on_orl_through_the_canonical_crop(orl, orl_embeddings, kind):
    similarity, mated = all_pairs(orl_embeddings, orl.identities, kind)
    assert fnmr_at_fmr(similarity, mated, 1e-3) <= 0.025


def test_number_of_parameters_in_the_file(weights):
    layers = read_dat(weights)
    assert sum(values.size for _, values in layers) == 5_614_592
    assert [name for name, _ in layers].count("con_4") == 29 and layers[-1][1].shape == (256, 128)


@pytest.mark.parametrize("batch_size", [1, 3, 32, 64])
def test_result_does_not_depend_on_the_batch(orl, dlib_resnet, batch_size):
    faces = orl[:7]
    np.testing.assert_allclose(dlib_resnet.embed(faces, batch_size), dlib_resnet.embed(faces), atol=2e-6)
    np.testing.assert_allclose(dlib_resnet.embed(faces[::-1], batch_size)[::-1], dlib_resnet.embed(faces), atol=2e-6)


def test_no_faces_give_an_empty_array(orl, dlib_resnet):
    assert dlib_resnet.embed(orl[:0]).shape == (0, 128)
    assert dlib_resnet.embed(orl[:1]).dtype == np.float32


def test_features_lead_to_the_embedding(orl, dlib_resnet):
    faces = orl[:3]
    features = dlib_resnet.features(faces)
    assert features.shape == (3, 256) and features.min() >= 0
    weight = dlib_resnet.module.last.weight.detach().numpy()
    np.testing.assert_allclose(features @ weight.T, dlib_resnet.embed(faces), atol=1e-6)


def test_gradients_reach_the_input(orl, dlib_resnet):
    """The gradient of one output agrees with a finite difference, in double precision.

    A little noise first: the repeated border of a crop holds equal neighbours, where a maximum has no gradient. The
    step is tiny, since thousands of units sit close to the kink of their ReLU.
    """
    module = DlibResNet().module.double()
    generator = torch.Generator().manual_seed(0)
    noise, direction = (torch.randn((1, 3, 150, 150), dtype=torch.float64, generator=generator) for _ in range(2))
    x = (dlib_resnet.preprocess(orl[:1]).double() + 1e-3 * noise).requires_grad_()
    module(x)[0, 3].backward()
    with torch.no_grad():
        numeric = (module(x + 1e-9 * direction)[0, 3] - module(x - 1e-9 * direction)[0, 3]) / 2e-9
    assert float(numeric) == pytest.approx(float((x.grad * direction).sum()), rel=1e-5)


def test_normalise_is_preprocess(orl, dlib_resnet):
    chips = torch.from_numpy(orl.images[:2, *CHIP].copy()).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(dlib_resnet.normalise(chips), dlib_resnet.preprocess(orl[:2]))


def test_network_parameters_are_left_alone_by_embedding(orl, dlib_resnet):
    before = dlib_resnet.module.last.weight.clone()
    images = orl.images[:2].copy()
    dlib_resnet.embed(images)
    np.testing.assert_array_equal(images, orl.images[:2])
    assert torch.equal(before, dlib_resnet.module.last.weight) and not dlib_resnet.module.training


def test_unaligned_pictures_are_refused(dlib_resnet):
    for wrong in (np.zeros((2, 150, 150, 3), np.uint8), np.zeros((2, 192, 192, 3)), np.zeros((192, 192, 3), np.uint8)):
        with pytest.raises(DataError, match="192"):
            dlib_resnet.embed(wrong)


def test_wrong_weight_files_are_explained(tmp_path, weights):
    data = weights.read_bytes()
    wrong = {
        "missing.dat": None,
        "empty.dat": b"",
        "text.dat": b"not a network",
        "cut.dat": data[: len(data) // 2],
        "other.dat": packaged_file("face-recognition-models", "mmod_human_face_detector.dat").read_bytes(),
    }
    for name, content in wrong.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            DlibResNet(tmp_path / name)
