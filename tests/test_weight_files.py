"""Files of weights as people have them: nested and prefixed otherwise, no weights at all, damaged, hostile."""

import gzip
import io
import json
import os
import signal
import sys
import zipfile

import cv2
import numpy as np
import pytest
import torch
from published_networks import (
    DIM,
    SMALL,
    VIT,
    adaface_state,
    entry,
    insightface_state,
    onnx_model,
    onnx_node,
    onnx_tensor,
    onnx_value,
    transface_state,
)

from fiqa_lib import weights
from fiqa_lib.errors import WeightsError
from fiqa_lib.recognition import Fisherfaces, IResNet, MobileFaceNet, OnnxRecogniser, TransFace, onnx
from fiqa_lib.scorers.dbcnn import DBCNN, vgg16_maps

# --- where the layers lie


def prefixed(prefix, state=None):
    return {prefix + key: value for key, value in (state or insightface_state()).items()}


OTHER = {"conv1.weight": torch.zeros(2, 3, 3, 3), "head.weight": torch.zeros(5)}
PLACES = {
    "net": lambda s: {"net": s},
    "model_state_dict": lambda s: {"model_state_dict": s},
    "backbone": lambda s: {"backbone": s, "epoch": 3},
    "any other key": lambda s: {"weights of my net": s},
    "two levels down": lambda s: {"checkpoint": {"student": s}, "epoch": 1},
    "in a tuple": lambda s: (s, 12),
    "compiled": lambda s: prefixed("_orig_mod.", s),
    "wrapped twice": lambda s: prefixed("module.backbone.", s),
    "nested and prefixed": lambda s: {
        "state_dict": prefixed("_orig_mod.model.encoder.", s),
        "optimizer": {"state": {}},
    },
    "beside a smaller network": lambda s: {"state_dict": OTHER, "ema": s},
    "beside another prefix": lambda s: prefixed("student.", OTHER) | prefixed("teacher.", s),
    "beside a deeper network": lambda s: {"state_dict": deeper(), "net": s},
}


def deeper():
    return insightface_state((3, 2, 3, 2), seed=5)


@pytest.fixture(scope="module")
def expected(orl, tmp_path_factory):
    """Embeddings of two faces by each family's plain file."""
    folder = tmp_path_factory.mktemp("plain")
    made = {}
    for name, state in STATES.items():
        torch.save(state(), folder / f"{name}.pth")
        made[name] = MAKE[name](folder / f"{name}.pth").embed(orl[:2])
    return made


STATES = {"arcface": insightface_state, "adaface": adaface_state, "transface": transface_state}
MAKE = {
    "arcface": lambda path: IResNet(path, "arcface", **SMALL),
    "adaface": lambda path: IResNet(path, "adaface", **SMALL),
    "transface": lambda path: TransFace(path, layers=VIT, dim=DIM),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", STATES)
def test_layers_are_found_wherever_they_lie(name, place, expected, tmp_path, orl):
    torch.save(PLACES[place](STATES[name]()), tmp_path / "w.pth")
    np.testing.assert_array_equal(MAKE[name](tmp_path / "w.pth").embed(orl[:2]), expected[name])


def test_a_file_without_the_layers_says_where_its_tensors_are(tmp_path):
    net = {f"conv.{i}.weight": torch.zeros(1) for i in range(412)}
    torch.save({"net": net, "optimizer": {"momentum": torch.zeros(2)}, "epoch": 4}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as error:
        IResNet(tmp_path / "w.pth", **SMALL)
    assert "w.pth: no layer conv1.weight" in str(error.value)
    assert "the file holds 412 tensors under net.*, the first net.conv.0.weight" in str(error.value)
    assert "1 tensors under optimizer.*, the first optimizer.momentum" in str(error.value)
    torch.save({"epoch": 4}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no layer conv1.weight.*holds no tensors"):
        IResNet(tmp_path / "w.pth", **SMALL)
    torch.save(torch.zeros(4), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds a Tensor instead of named layers"):
        IResNet(tmp_path / "w.pth", **SMALL)


def test_a_blocks_layer_is_not_taken_for_the_networks(tmp_path):
    state = insightface_state()
    del state["conv1.weight"]  # layer1.0.conv1.weight and others end alike
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no layer conv1.weight, under any prefix"):
        IResNet(tmp_path / "w.pth", **SMALL)


def test_a_structure_that_names_itself_often_takes_no_time(tmp_path):
    inner = {f"k{i}": torch.zeros(1) for i in range(50)}
    for _ in range(6):
        inner = {f"k{i}": inner for i in range(2000)}
    torch.save(inner, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no tensors"):
        IResNet(tmp_path / "w.pth", **SMALL)


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize("odd", ["sparse", "complex", "quantised", "without storage"])
def test_layers_that_are_no_plain_numbers_are_named(odd, tmp_path):
    state = insightface_state()
    plain = state["fc.weight"]
    state["fc.weight"] = {
        "sparse": lambda: plain.to_sparse(),
        "complex": lambda: plain.to(torch.complex64),
        "quantised": lambda: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        "without storage": lambda: plain.to("meta"),
    }[odd]()
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth: "):
        IResNet(tmp_path / "w.pth", **SMALL)


# --- what is no file of weights

PAGE = b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 261000000\n"


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def cut_checkpoint():
    stream = io.BytesIO()
    torch.save(insightface_state(), stream)
    return stream.getvalue()[:-3000]


def bomb():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("archive/data.pkl", "mean.npy"):
            archive.writestr(name, bytes(20_000_000))
    return stream.getvalue()


INSTEAD = {
    "page": (PAGE, "a web page .HTML."),
    "page after a mark and lines": (b"\xef\xbb\xbf\n\n <HTML lang=en>", "a web page .HTML."),
    "page in utf-16": (PAGE.decode().encode("utf-16"), "a web page .HTML."),
    "lfs pointer": (LFS, "git-lfs pointer.*git lfs pull"),
    "empty": (b"", "an empty file"),
    "message": (b'{"error": "Invalid username or password."}', "a text file that begins with .*Invalid username"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "zip of something else": (zipped(**{"notes/readme.md": b"x"}), "zip archive of something else.*notes/readme.md"),
    "cut zip": (cut_checkpoint(), "zip archive whose end is missing"),
    "gzip": (gzip.compress(b"x" * 99), "gzip archive; unpack"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "picture"),
}
READERS = {
    "arcface": lambda path: IResNet(path, **SMALL),
    "adaface": lambda path: IResNet(path, "adaface", **SMALL),
    "cr-fiqa": lambda path: IResNet(path, "cr-fiqa", depth=None),
    "transface": lambda path: TransFace(path, layers=VIT, dim=DIM),
    "onnx": OnnxRecogniser,
    "mobilefacenet": MobileFaceNet,
    "fisherfaces": Fisherfaces.load,
    "vgg16": vgg16_maps,
    "dbcnn": DBCNN.from_published,
    "state": lambda path: weights.read_state(path, "toy"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", INSTEAD)
def test_what_is_no_file_of_weights_is_named(case, reader, tmp_path):
    data, words = INSTEAD[case]
    (tmp_path / "odd.bin").write_bytes(data)
    if reader in ("onnx", "mobilefacenet") and case == "cut zip":
        words = "zip archive"
    with pytest.raises(WeightsError, match=rf"odd\.bin: .*{words}") as error:
        READERS[reader](tmp_path / "odd.bin")
    assert "weights_only" not in str(error.value) and "allow_pickle" not in str(error.value)


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_is_named(reader, tmp_path):
    with pytest.raises(WeightsError, match=r"(folder|directory)"):
        READERS[reader](tmp_path)


def test_a_torchscript_program_is_named(tmp_path):
    (tmp_path / "w.pt").write_bytes(zipped(**{"net/data.pkl": b"x", "net/constants.pkl": b"x", "net/code/a.py": b""}))
    with pytest.raises(WeightsError, match="TorchScript.*state dict"):
        IResNet(tmp_path / "w.pt", **SMALL)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "UNPACKED", 30_000_000)  # 4 GB
    (tmp_path / "bomb.npz").write_bytes(bomb())
    for reader in ("arcface", "fisherfaces", "state"):
        with pytest.raises(WeightsError, match=r"bomb\.npz: an archive of .* unpacks to 40 MB"):
            READERS[reader](tmp_path / "bomb.npz")


@pytest.mark.parametrize("reader", ["arcface", "transface", "vgg16", "dbcnn"])
def test_torchs_advice_is_never_passed_on(reader, tmp_path):
    old = io.BytesIO()
    torch.save(insightface_state(), old, _use_new_zipfile_serialization=False)
    for data in (
        old.getvalue()[:4000],
        old.getvalue()[:-2000],
        b"\x80\x02}q\x00.",
        b"\x80\x04\x95junk",
        b"\x00\x01\x02\x03",
    ):
        (tmp_path / "w.pth").write_bytes(data)
        with pytest.raises(WeightsError, match=r"w\.pth: ") as error:
            READERS[reader](tmp_path / "w.pth")
        assert "weights_only" not in str(error.value) and "Re-running" not in str(error.value)


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"projection": np.zeros((3, 2))}, "lacks mean"),
        ({"mean": np.array(["a"]), "projection": np.zeros((3, 2))}, "'mean' holds <U1, not numbers"),
        ({"mean": np.zeros(3, complex), "projection": np.zeros((3, 2))}, "'mean' holds complex128"),
        ({"mean": np.zeros(()), "projection": np.zeros((3, 2))}, r"mean \(\) and projection \(3, 2\)"),
    ],
)
def test_arrays_are_checked_to_be_what_is_needed(arrays, words, tmp_path):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(WeightsError, match=rf"f\.npz: .*{words}"):
        Fisherfaces.load(tmp_path / "f.npz")


def test_a_single_array_is_no_state(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(4))
    np.savez(tmp_path / "raw.npz", a=1)
    with zipfile.ZipFile(tmp_path / "raw.npz", "a") as archive:
        archive.writestr("note.txt", b"not an array")
    for reader in ("fisherfaces", "state"):
        with pytest.raises(WeightsError, match=r"a\.npy: a single NumPy array"):
            READERS[reader](tmp_path / "a.npy")
        with pytest.raises(WeightsError, match=r"raw\.npz: 'note.txt' holds bytes, not numbers"):
            READERS[reader](tmp_path / "raw.npz")


# --- ONNX: a damaged file ends a child process, never this one


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


def model(*nodes, **tensors):
    """An ONNX file of these nodes from "x" to "y"."""
    graph = b"".join(entry(1, node) for node in nodes) + entry(2, "graph")
    graph += b"".join(entry(5, onnx_tensor(name, values)) for name, values in tensors.items())
    graph += entry(11, onnx_value("x", ["N", 3, 112, 112])) + entry(12, onnx_value("y", ["N", 6]))
    return entry(1, 8) + entry(8, entry(1, "") + entry(2, 13)) + entry(7, graph)


def stand_in(tmp_path, monkeypatch, code):
    """Let other code take the place of the trial."""
    (tmp_path / "trial.py").write_text(code)
    monkeypatch.setattr(onnx.onnx_trial, "__file__", str(tmp_path / "trial.py"))


def test_a_good_file_is_tried_once(cache, tmp_path, monkeypatch):
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(onnx_model()[0])
    runs, run = [], onnx.subprocess.run
    monkeypatch.setattr(onnx.subprocess, "run", lambda *a, **k: runs.append(a) or run(*a, **k))
    first = OnnxRecogniser(tmp_path / "a.onnx")
    for name in ("a.onnx", "b.onnx"):  # by its content, not by its name
        assert OnnxRecogniser(tmp_path / name).dim == first.dim
    assert len(runs) == 1 and [json.loads(f.read_text()) for f in cache.iterdir()] == [[1, 6]]
    (tmp_path / "b.onnx").write_bytes(onnx_model(dim=7)[0])
    OnnxRecogniser(tmp_path / "b.onnx")
    assert len(runs) == 2
    with pytest.raises(WeightsError):
        first.__setstate__({**first.__getstate__(), "path": tmp_path / "b.onnx"})  # another file by now


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FIQA_CACHE", str(tmp_path / "file"))
    (tmp_path / "a.onnx").write_bytes(onnx_model()[0])
    assert OnnxRecogniser(tmp_path / "a.onnx").dim == 6


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGABRT"])
def test_a_crash_is_words_with_the_files_name(name, cache, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, f"import os, signal\nos.kill(os.getpid(), {int(getattr(signal, name))})")
    (tmp_path / "a.onnx").write_bytes(onnx_model()[0])
    with pytest.raises(WeightsError, match=rf"a\.onnx: crashes OpenCV {cv2.__version__} \({name}: "):
        OnnxRecogniser(tmp_path / "a.onnx")
    assert not cache.exists()


@pytest.mark.parametrize("operator", ["Conv", "MaxPool"])
def test_a_division_by_zero_in_opencv_ends_only_the_child(operator, cache, tmp_path):
    node = onnx_node(operator, ["x", "w"][: 1 + (operator == "Conv")], "y", kernel_shape=[3, 3], strides=[0, 0])
    (tmp_path / "zero.onnx").write_bytes(model(node, w=np.ones((4, 3, 3, 3))))
    with pytest.raises(WeightsError, match=r"zero\.onnx: (crashes OpenCV .*SIGFPE|OpenCV .* cannot run it)"):
        OnnxRecogniser(tmp_path / "zero.onnx")


def test_a_hang_is_words_with_the_files_name(cache, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "import time\ntime.sleep(60)")
    monkeypatch.setattr(onnx, "SECONDS", 1.0)
    (tmp_path / "a.onnx").write_bytes(onnx_model()[0])
    with pytest.raises(WeightsError, match=r"a\.onnx: did not end in 1 s"):
        OnnxRecogniser(tmp_path / "a.onnx")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits address space")
def test_a_file_that_takes_all_memory_is_words_with_its_name(cache, tmp_path):
    rng = np.random.default_rng(0)
    wide = onnx_node("Conv", ["x", "w"], "y", kernel_shape=[3, 3], strides=[1, 1], pads=[9000, 9000, 9000, 9000])
    (tmp_path / "wide.onnx").write_bytes(model(wide, w=rng.normal(size=(4, 3, 3, 3))))
    with pytest.raises(WeightsError, match=r"wide\.onnx: takes more than 500 MB"):
        OnnxRecogniser(tmp_path / "wide.onnx")
    assert not cache.exists()


def test_what_opencv_says_is_kept(cache, tmp_path):
    (tmp_path / "odd.onnx").write_bytes(model(onnx_node("NoSuchLayer", ["x"], "y")))
    with pytest.raises(WeightsError, match=rf"odd\.onnx: OpenCV {cv2.__version__} cannot run it on 3 x 112 x 112"):
        OnnxRecogniser(tmp_path / "odd.onnx")


def test_the_trial_knows_nothing_of_the_library(tmp_path):
    """It starts quickly, without torch, from any folder, and takes no module of the folder it lies in for another."""
    (tmp_path / "a.onnx").write_bytes(onnx_model()[0])
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'fiqa_lib' in sys.modules)"
    )
    command = [sys.executable, "-P", "-c", code, onnx.onnx_trial.__file__, str(tmp_path / "a.onnx"), "112", "500000000"]
    done = onnx.subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.stdout.split("\n")[:2] == ["[1, 6]", "0 False False"], done.stderr
