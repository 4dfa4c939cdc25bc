import json

import numpy as np
import pandas as pd
import pytest
import skimage.data

from fiqa_lib import components
from fiqa_lib.apps import component_tables
from fiqa_lib.cli import main
from fiqa_lib.data.score_files import read_scores
from fiqa_lib.errors import DataError
from fiqa_lib.faces import write_image

# The columns of OFIQ 1.0, in the order of its enumeration of measures.
OFIQ = (
    "UnifiedQualityScore BackgroundUniformity IlluminationUniformity LuminanceMean LuminanceVariance "
    "UnderExposurePrevention OverExposurePrevention DynamicRange Sharpness CompressionArtifacts NaturalColour "
    "SingleFacePresent EyesOpen MouthClosed EyesVisible MouthOcclusionPrevention FaceOcclusionPrevention "
    "InterEyeDistance HeadSize LeftwardCropOfTheFaceImage RightwardCropOfTheFaceImage MarginAboveOfTheFaceImage "
    "MarginBelowOfTheFaceImage HeadPoseYaw HeadPosePitch HeadPoseRoll ExpressionNeutrality NoHeadCoverings"
).split()
HEADER = ["Filename", *OFIQ, *(f"{name}.scalar" for name in OFIQ)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A portrait, a wall, and half a file, with names that need care."""
    folder = tmp_path_factory.mktemp("photographs")
    write_image(folder / "a; b.png", skimage.data.astronaut())
    write_image(folder / "wall.png", np.full((200, 200, 3), 120, np.uint8))
    (folder / "broken.png").write_bytes((folder / "wall.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "ofiq.csv"
    assert main(["score", str(folder), "--components", "--format", "ofiq", "--out", str(out), "--no-progress"]) == 0
    return out


def row_of(table, name):
    return table[table["path"].str.endswith(name)].iloc[0]


def test_the_columns_are_ofiqs_in_its_order(written):
    lines = written.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(";") == HEADER and len(lines) == 4


def test_the_numbers_are_those_of_measure_and_none_is_rounded(written):
    row = row_of(component_tables.read_ofiq(written), "a; b.png")
    found = components.measure(skimage.data.astronaut()).set_index("component")
    names = [name for name in OFIQ if name in found.index]
    assert len(names) == 19
    for name in names:
        assert row[name] == found.raw[name]  # to the last digit
        assert row[f"{name}.scalar"] == found.scalar[name] >= 0


def test_what_is_not_assessed_is_minus_one_and_never_a_number(written):
    table = component_tables.read_ofiq(written)
    portrait = row_of(table, "a; b.png")
    left_out = [name for name in OFIQ if components.COMPONENTS[name].needs]
    assert len(left_out) == 9
    for name in left_out:
        assert portrait[f"{name}.scalar"] == -1 and np.isnan(portrait[name])
    for name in ("wall.png", "broken.png"):
        row = row_of(table, name)
        assert all(row[f"{each}.scalar"] == -1 and np.isnan(row[each]) for each in OFIQ)


def test_nothing_of_our_own_goes_under_ofiqs_names(written):
    text = written.read_text(encoding="utf-8")
    assert not any(name in text for name in ("BlurEffect", "BlockEffect", "BackgroundEdges", ";nan", "NaN"))


def test_json_holds_the_same(folder, written, tmp_path):
    out = tmp_path / "ofiq.json"
    assert main(["score", str(folder), "--components", "--format", "ofiq", "--out", str(out), "--no-progress"]) == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    assert len(content) == 3 and all(list(entry) == HEADER for entry in content)
    pd.testing.assert_frame_equal(component_tables.read_ofiq(out), component_tables.read_ofiq(written))


def test_writing_and_reading_keep_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"path": ["=1+1.jpg", 'd/ä "b";c.jpg', "c.jpg"], "status": "ok", "reason": ""})
    for name in components.MEASURED:
        table[name] = rng.normal(size=3) * 10.0 ** rng.integers(-12, 12, 3)
        table[f"{name}.scalar"] = rng.integers(0, 101, 3)
    table.loc[2, "DynamicRange"], table.loc[2, "DynamicRange.scalar"] = np.nan, -1
    back = component_tables.read_ofiq(component_tables.write_ofiq(table, tmp_path / "t.csv"))
    own = [name for name in components.MEASURED if components.COMPONENTS[name].own]
    columns = [c for c in table if c not in ("status", "reason", *own, *(f"{name}.scalar" for name in own))]
    pd.testing.assert_frame_equal(back[columns], table[columns], check_dtype=False, check_exact=True)
    again = component_tables.write_ofiq(back, tmp_path / "again.csv")
    assert again.read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_scores_are_read_from_a_column_of_it(written):
    scores = read_scores(written, column="LuminanceMean.scalar")
    assert scores["score"].isna().sum() == 2 and 0 <= scores["score"].max() <= 100
    assert read_scores(written)["score"].isna().all()  # nobody made up a unified score


def test_tables_of_later_versions_are_read(tmp_path):
    path = tmp_path / "native.csv"
    path.write_text(
        "Filename;Sharpness.native;HeadPoseYaw.native;Sharpness.scalar;HeadPoseYaw.scalar;assessment_time_in_ms;\n"
        "a.png;3.25;-1;70;100;812\nb.png;0;4.5;-1;99;790\n"
    )
    table = component_tables.read_ofiq(path)
    assert list(table) == ["path", "Sharpness", "HeadPoseYaw", "Sharpness.scalar", "HeadPoseYaw.scalar"]
    assert table["HeadPoseYaw"].tolist() == [-1, 4.5]  # an angle, not a failure
    assert table["Sharpness"][0] == 3.25 and np.isnan(table["Sharpness"][1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Filename;Sharpness.scalar\na;5\n", "no column Sharpness"),
        ("Filename;Sharpness\na;5\n", "no column that ends in .scalar"),
        ("path;Sharpness;Sharpness.scalar\na;5;5\n", "no column Filename"),
        ("Filename;Sharpness;Sharpness.scalar\na;5;101\n", "whole number from -1 to 100"),
        ("Filename;Sharpness;Sharpness.scalar\na;5;7.5\n", "whole number from -1 to 100"),
        ("Filename;Sharpness;Sharpness.scalar\na;5;\n", "whole number from -1 to 100"),
        ("Filename;Sharpness;Sharpness.scalar\na;five;5\n", "line 2: Sharpness must be a number"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        component_tables.read_ofiq(path)


def test_our_own_table_has_status_reason_and_our_measures(folder, tmp_path):
    out = tmp_path / "own.csv"
    assert main(["score", str(folder), "--components", "--out", str(out), "--no-progress"]) == 0
    table = pd.read_csv(out)
    assert {"BlurEffect", "BlurEffect.scalar", "BackgroundEdges.scalar"} <= set(table)
    assert row_of(table, "a; b.png").status == "ok"
    assert row_of(table, "wall.png").status == "no_face" and "no face" in row_of(table, "wall.png").reason
    assert row_of(table, "broken.png").status == "error" and row_of(table, "broken.png").reason


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--format", "ofiq"), "--format ofiq is for --components"),
        (("--components", "--format", "faceqgen"), "holds one score"),
        (("--components", "--aligned"), "leave out --aligned"),
        (("--components", "--plot", "sheet.png"), "leave out --plot"),
    ],
)
def test_what_does_not_fit_is_said(folder, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    assert main(["score", str(folder), "--out", "t.csv", *more]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "t.csv").exists()


def test_coverage_names_every_component_of_ofiq_once():
    table = components.coverage()
    assert table["component"].tolist() == OFIQ
    measured = table["status"] == "measured"
    assert set(table["component"][measured]) == set(OFIQ) & set(components.MEASURED)
    proxies = table[table["status"] == "proxy"]
    assert set(proxies["here"]) == {name for name, c in components.COMPONENTS.items() if c.own}
    assert (table["status"].isin(["measured", "proxy", "not here"])).all()
    assert (table.loc[~measured, "why"] != "").all()
