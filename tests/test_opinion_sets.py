"""The loaders, on small folders in the authors' layouts."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from fiqa_lib.data import opinion_sets
from fiqa_lib.data.opinion_sets import crops, load_koniq10k, load_live_challenge
from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.faces import write_image

MOS = [77.38, 15.22, 50.5]


def picture(seed, size=(384, 512)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture
def koniq(tmp_path):
    """The table of the authors' repository, with its split, and three photographs."""
    for i in range(3):
        write_image(tmp_path / "512x384" / f"1000{i}.png", picture(i))
    votes = {f"c{i}": 0.2 for i in range(1, 6)} | {"c_total": 105}
    rows = {"image_name": [f"1000{i}.png" for i in range(3)], **votes, "MOS": MOS, "SD": 0.5}
    pd.DataFrame({**rows, "set": ["training", "validation", "test"]}).to_csv(
        tmp_path / "koniq10k_distributions_sets.csv", index=False
    )
    return tmp_path


@pytest.fixture
def live(tmp_path):
    """Nine pictures, of which the first seven are for practice, in three MATLAB files."""
    names = [f"t{i}.bmp" for i in range(1, 8)] + ["3.bmp", "4.JPG"]
    for i, name in enumerate(names):
        write_image(tmp_path / "Images" / ("trainingImages" if i < 7 else "") / name, picture(i, (250, 240)))
    cells = np.empty((9, 1), object)
    cells[:, 0] = names
    (tmp_path / "Data").mkdir()
    savemat(tmp_path / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(tmp_path / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.linspace(10, 90, 9)[None]})
    savemat(tmp_path / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": np.full((1, 9), 18.0)})
    return tmp_path


def test_koniq_with_its_split(koniq):
    found = load_koniq10k(koniq)
    assert list(found.index.mos) == MOS and list(found.index.split) == ["training", "validation", "test"]
    assert all(path.is_file() for path in found.index.path) and "3 photographs" in repr(found)


def test_koniq_scores_of_the_other_table_are_the_zscores(koniq):
    table = pd.read_csv(koniq / "koniq10k_distributions_sets.csv").drop(columns="set")
    (koniq / "koniq10k_distributions_sets.csv").unlink()
    scores = table.assign(MOS=[4.1, 1.6, 3.0], MOS_zscore=MOS)
    place = koniq / "koniq10k_scores_and_distributions"
    place.mkdir()
    scores.to_csv(place / "koniq10k_scores_and_distributions.csv", index=False)
    (koniq / "512x384").rename(koniq / "1024x768")
    found = load_koniq10k(koniq, size="1024x768")
    assert list(found.index.mos) == MOS and set(found.index.split) == {""}


def test_what_is_missing_is_named_with_the_authors_page(koniq, tmp_path):
    with pytest.raises(DataError, match="no such folder.*mmsp"):
        load_koniq10k(tmp_path / "absent")
    with pytest.raises(DataError, match="1024x768 is not in this folder.*mmsp"):
        load_koniq10k(koniq, size="1024x768")
    with pytest.raises(DataError, match="size must be"):
        load_koniq10k(koniq, size="big")
    (koniq / "koniq10k_distributions_sets.csv").unlink()
    with pytest.raises(DataError, match=r"koniq10k_distributions_sets\.csv or"):
        load_koniq10k(koniq)
    with pytest.raises(DataError, match=r"AllImages_release\.mat.*live\.ece"):
        load_live_challenge(koniq)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t.drop(columns="MOS"), "MOS"),
        (lambda t: t.assign(MOS=["3", "x", "4"]), "line 3: MOS"),
        (lambda t: t.assign(MOS=[3, 4, 400]), "line 4: MOS"),
    ],
)
def test_a_table_of_another_layout_is_refused(koniq, change, word):
    path = koniq / "koniq10k_distributions_sets.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(DataError, match=word):
        load_koniq10k(koniq)


def test_live_challenge_without_and_with_the_practice_pictures(live):
    found = load_live_challenge(live)
    assert list(found.index["name"]) == ["3.bmp", "4.JPG"]
    np.testing.assert_allclose(found.index.mos, [80, 90])
    np.testing.assert_allclose(found.index.sd, 18)
    everything = load_live_challenge(live, training=True)
    assert len(everything.index) == 9 and all(path.is_file() for path in everything.index.path)
    assert len(crops(everything).faces) == 9


def test_live_challenge_files_that_do_not_fit(live):
    savemat(live / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": np.ones((1, 4))})
    with pytest.raises(DataError, match="lengths must agree"):
        load_live_challenge(live)
    savemat(live / "Data" / "AllStdDev_release.mat", {"another": np.ones((1, 9))})
    with pytest.raises(DataError, match="no variable AllStdDev_release"):
        load_live_challenge(live)
    whole = (live / "Data" / "AllMOS_release.mat").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a file of MATLAB" * 20):
        (live / "Data" / "AllMOS_release.mat").write_bytes(damaged)
        with pytest.raises(DataError, match=r"AllMOS_release\.mat"):
            load_live_challenge(live)


def test_crops_carry_the_opinion(koniq):
    faces, report = crops(load_koniq10k(koniq))
    assert faces.images.shape == (3, 192, 192, 3) and list(report.status) == ["ok"] * 3
    np.testing.assert_allclose(faces.attributes.opinion, np.array(MOS) / 100)
    assert set(faces.identities) == {""} and list(faces.attributes.split) == ["training", "validation", "test"]


def test_native_crops_are_the_pixels_of_the_middle(koniq):
    native = crops(load_koniq10k(koniq), how="native").faces.images
    np.testing.assert_array_equal(native[1], picture(1)[96:288, 160:352])
    resized = crops(load_koniq10k(koniq)).faces.images
    assert resized.std() < native.std()  # noise is averaged away
    with pytest.raises(DataError, match="how must be"):
        crops(load_koniq10k(koniq), how="squeezed")


def test_one_bad_photograph_loses_only_itself(koniq):
    data = (koniq / "512x384" / "10001.png").read_bytes()
    (koniq / "512x384" / "10001.png").write_bytes(data[: len(data) // 2])
    write_image(koniq / "512x384" / "10002.png", picture(2, (100, 300)))
    faces, report = crops(load_koniq10k(koniq))
    assert list(faces.names) == ["10000.png"] and list(report.status) == ["ok", "error", "error"]
    assert "truncated" in report.reason[1] and "at least 192" in report.reason[2]
    with pytest.raises(ImageError, match=r"10001\.png"):
        crops(load_koniq10k(koniq), strict=True)


def test_every_set_has_a_page():
    assert all(page.startswith("https://") for page in opinion_sets.PAGES.values())
