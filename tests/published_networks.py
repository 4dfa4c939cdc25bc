"""Files of recognisers as their authors publish them, with random numbers, and forward passes spelled out."""

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from fiqa_lib.errors import WeightsError
from fiqa_lib.faces import CANONICAL_EYES
from fiqa_lib.recognition.transface import Size
from fiqa_lib.weights import fetched_file

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


def crfiqa_state(layers=LAYERS, channels=CHANNELS, dim=DIM, seed=0):
    """CR-FIQA's ...backbone.pth: insightface's network and the linear unit `qs` on its embedding."""
    new = Numbers(seed + 1)
    return insightface_state(layers, channels, dim, seed) | {"qs.weight": new.normal(1, dim), "qs.bias": new.normal(1)}


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


def fetched(name):
    """Whether set-up could fetch the weights of a recogniser."""
    try:
        return fetched_file(name).is_file()
    except WeightsError:
        return False
