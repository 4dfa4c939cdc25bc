"""Good, average, bad: two rules, pictures without a face, shortcuts, intervals over people, a user's folders."""

import warnings

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from fiqa_lib.errors import DataError, ImageError
from fiqa_lib.evaluation import fit_threshold
from fiqa_lib.faces import SIZE, DlibHog, Faces
from fiqa_lib.labels import grades
from fiqa_lib.labels.grades import (
    GRADES,
    RecognitionRule,
    ShortcutWarning,
    by_severity,
    compare_predictions,
    cues,
    grade_index,
    load_graded,
    macro_f1,
    shortcuts,
)
from fiqa_lib.transforms import benchmark, degrade

# --- rules


def test_severity_decides_by_its_edges(orl):
    copies = benchmark(orl[:4], severities=(0.2, 0.4, 0.6, 0.8), copies=4)
    found = by_severity(copies)
    severity = copies.attributes["severity"].to_numpy()
    assert set(found) == set(GRADES)
    np.testing.assert_array_equal(found == "good", severity < 0.3)
    np.testing.assert_array_equal(found == "bad", severity >= 0.7)
    np.testing.assert_array_equal(by_severity(copies, (0.2, 0.8)) == "good", severity < 0.2)
    with pytest.raises(DataError, match="severity"):
        by_severity(orl[:4])
    with pytest.raises(DataError, match="rise"):
        by_severity(copies, (0.7, 0.3))


@pytest.fixture
def few(orl):
    """Three people, four photographs each, each photograph once clean and twice blurred."""
    clean = orl[[10 * person + k for person in (0, 5, 9) for k in range(4)]]
    return benchmark(clean, ["gaussian_blur"], severities=(0.4, 1.0), copies=2)


def test_recognition_equals_its_definition(few):
    """Median over the other clean photographs of the person, never another version of the same one."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(len(few), 6))
    rule = RecognitionRule(fmr=0.1, clean_share=0.25).fit(few, embeddings)
    clean = (few.attributes["kind"] == "clean").to_numpy()
    source = few.attributes["source"].to_numpy(str)
    centred = embeddings - embeddings[clean].mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    expected = []
    for i in range(len(few)):
        values = [
            unit[i] @ unit[j]
            for j in range(len(few))
            if clean[j] and few.identities[i] == few.identities[j] and source[i] != source[j]
        ]
        assert len(values) == 3
        expected.append(np.median(values))
    np.testing.assert_allclose(rule.recognisability(few, embeddings), expected)
    impostors = [
        unit[i] @ unit[j]
        for i in range(len(few))
        for j in range(i)
        if clean[i] and clean[j] and few.identities[i] != few.identities[j]
    ]
    low = float(fit_threshold(np.array(impostors), 0.1, warn=False))
    high = np.quantile(np.array(expected)[clean], 0.25)
    np.testing.assert_allclose(rule.edges_, (low, max(low, high)))
    found = rule.grade(few, embeddings)
    np.testing.assert_array_equal(found == "bad", np.array(expected) < rule.edges_[0])
    np.testing.assert_array_equal(found == "good", np.array(expected) >= rule.edges_[1])


def test_recognition_grades_blurred_faces_lower(few):
    grades_ = RecognitionRule().fit(few).grade(few)
    kind, severity = few.attributes["kind"], few.attributes["severity"]
    order = grade_index(grades_)
    assert order[(kind == "clean").to_numpy()].mean() > 1.5 > 1.1 > order[(severity == 1.0).to_numpy()].mean()


def test_recognition_needs_someone_to_compare_with(few):
    with pytest.raises(DataError, match="two people"):
        RecognitionRule().fit(few[few.identities == few.identities[0]])
    rule = RecognitionRule().fit(few)
    alone = few[few.attributes["source"] == few.attributes["source"][0]]
    with pytest.raises(DataError, match="no other clean photograph"):
        rule.grade(alone)
    with pytest.raises(DataError, match="fit it"):
        RecognitionRule().grade(few)
    unknown = Faces(few.images, [""] * len(few), few.names, few.attributes)
    with pytest.raises(DataError, match="who is shown"):
        rule.grade(unknown)
    with pytest.raises(DataError, match="7 embeddings"):
        rule.grade(few, np.zeros((7, 128)))


def test_order_of_the_grades():
    np.testing.assert_array_equal(grade_index(["good", "bad", "average"]), [2, 0, 1])
    assert list(np.array(GRADES)[grade_index(GRADES)]) == ["bad", "average", "good"]
    with pytest.raises(DataError, match="'fair'"):
        grade_index(["good", "fair"])


# --- shortcuts


def table_of(seed=0, n=90, size=None, colour=None, brightness=None):
    """Cues that say nothing, with one replaced by the grade, and the grades."""
    rng = np.random.default_rng(seed)
    truth = np.array(GRADES)[rng.integers(0, 3, n)]
    code = grade_index(truth)
    table = pd.DataFrame(
        {
            "width": rng.integers(50, 300, n),
            "height": rng.integers(50, 300, n),
            "colour": rng.uniform(0, 20, n),
            "brightness": rng.uniform(0, 255, n),
        }
    ).astype(float)
    if size:
        table["width"] = np.array([100, 250, 160])[code]
    if colour:
        table["colour"] = np.array([0.0, 0.0, 9.0])[code]
    if brightness:
        table["brightness"] = 100 + 40 * code + rng.normal(0, 8, n)
    return table, truth


@pytest.mark.parametrize("what, cue", [("size", "size"), ("colour", "colour mode"), ("brightness", "brightness")])
def test_a_made_shortcut_is_found_and_no_other(what, cue):
    table, truth = table_of(**{what: True}, n=150)
    found = shortcuts(table, truth).set_index("cue")
    assert found.loc[cue, "readable"] and found.loc["all three", "readable"]
    assert found.loc[cue, "balanced_accuracy"] > 0.6
    assert not found["readable"].drop([cue, "all three"]).any()


def test_without_a_shortcut_none_is_found():
    """Over many draws of cues that know nothing the accuracy is chance, and the alarm is silent."""
    found = pd.concat([shortcuts(*table_of(seed), n_draws=100) for seed in range(12)])
    assert found["balanced_accuracy"].mean() == pytest.approx(1 / 3, abs=0.04)
    assert found["readable"].mean() <= 0.05


def test_a_person_does_not_stand_on_both_sides():
    """Each person has one size and one grade, drawn independently: only who knows the person can know the grade."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 8)
    truth = np.array(GRADES)[np.arange(30) % 3][people]
    table = pd.DataFrame({"width": rng.permutation(1000)[:30][people], "height": 5.0, "colour": 0.0, "brightness": 9.0})
    kept_apart = shortcuts(table, truth, people).set_index("cue").loc["size", "balanced_accuracy"]
    mixed = shortcuts(table, truth).set_index("cue").loc["size", "balanced_accuracy"]
    assert kept_apart < 0.5 < 0.6 < mixed


def test_shortcuts_refuse_what_they_cannot_judge():
    table, truth = table_of(n=12)
    with pytest.raises(DataError, match="1 class"):
        shortcuts(table, ["good"] * 12)
    with pytest.raises(DataError, match="lengths"):
        shortcuts(table, truth[:-1])
    with pytest.raises(DataError, match="too few"):
        shortcuts(table.iloc[:3], ["good", "bad", "average"])


def test_cues_are_what_they_say(orl):
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[..., 0] = 90
    found = cues([colour, orl.images[0]])
    assert found.loc[0].tolist() == [6, 4, 90, 30]
    assert found.loc[1].tolist() == [SIZE, SIZE, 0, pytest.approx(orl.images[0].mean())]


# --- intervals over people


def test_macro_f1_is_scikit_learns():
    rng = np.random.default_rng(0)
    for classes in (3, 2, 1):
        truth, said = (np.array(GRADES)[rng.integers(0, classes, 50)] for _ in range(2))
        counts, names = grades.confusion_by_group(truth, said, rng.integers(0, 5, 50))
        assert counts.sum() == 50 and list(names) == sorted(set(truth) | set(said))
        assert macro_f1(counts.sum(0)) == pytest.approx(f1_score(truth, said, average="macro"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = balanced_accuracy_score(truth, said)
        assert grades._mean_recall(counts.sum(0)) == pytest.approx(expected)


def test_intervals_are_those_of_drawing_people_literally():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(12), 10)
    truth = np.array(GRADES)[rng.integers(0, 3, 120)]
    right = rng.random(12)[people] > rng.random(120)  # some people are hard
    good = np.where(right, truth, "bad")
    said = {"a": good, "b": np.full(120, "average"), "same": good}
    table = compare_predictions(truth, said, people, reference="a", n_draws=200).set_index("name")
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=200)
    drawn = {name: [] for name in ("a", "b")}
    for counts in weights:
        rows = np.concatenate([np.repeat(np.flatnonzero(people == p), n) for p, n in enumerate(counts)])
        for name in drawn:
            drawn[name].append(f1_score(truth[rows], said[name][rows], average="macro"))
    for name, values in drawn.items():
        np.testing.assert_allclose(table.loc[name, ["low", "high"]].astype(float), np.quantile(values, [0.025, 0.975]))
    lead = np.subtract(drawn["a"], drawn["b"])
    np.testing.assert_allclose(
        table.loc["b", ["lead_low", "lead_high"]].astype(float), np.quantile(lead, [0.025, 0.975])
    )
    assert table.loc["same", ["lead", "lead_low", "lead_high"]].tolist() == [0, 0, 0]
    assert np.isnan(table.loc["a", "lead"]) and table.loc["b", "lead"] > 0


def test_comparison_refuses_what_does_not_fit():
    with pytest.raises(DataError, match="reference"):
        compare_predictions(["good"], {"a": ["good"]}, ["x"], reference="b")
    with pytest.raises(DataError, match="2 predictions"):
        compare_predictions(["good"], {"a": ["good", "bad"]}, ["x"], reference="a")


# --- the user's own folders


def write_tree(root, images, *, size=None, suffix="png"):
    """root/GRADE/... from {grade: [(name, picture)]}; a size for each grade makes the trap."""
    for grade, pictures in images.items():
        for name, picture in pictures:
            path = root / grade / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if size:
                picture = cv2.resize(picture, (size[grade], size[grade]), interpolation=cv2.INTER_AREA)
            assert cv2.imwrite(str(path), picture[..., ::-1])


@pytest.fixture(scope="module")
def pictures(orl):
    """Twelve pictures of each grade: canonical crops, more or less blurred."""
    made = {}
    for grade, severity in (("good", 0.0), ("average", 0.5), ("bad", 1.0)):
        faces = degrade(orl[:120:10], "gaussian_blur", severity) if severity else orl[:120:10]
        made[grade] = [
            (f"{who}/{k}", image) for k, (who, image) in enumerate(zip(faces.identities, faces.images, strict=True))
        ]
    return made


def test_three_folders_are_read(tmp_path, pictures):
    write_tree(tmp_path, pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_graded(tmp_path, cache=False)
    assert len(found.faces) == 36 and list(pd.unique(found.faces.attributes["grade"])) == ["good", "average", "bad"]
    for name, who, grade in zip(
        found.faces.names, found.faces.identities, found.faces.attributes["grade"], strict=True
    ):
        assert name.split("/")[:2] == [grade, who]
    assert set(found.report["status"]) <= {"ok", "fallback"} and (found.report["width"] == SIZE).all()
    assert list(found.shortcuts["cue"]) == ["size", "colour mode", "brightness", "all three"]
    assert not found.shortcuts["readable"].any()


def test_classes_of_different_sizes_are_warned_of(tmp_path, pictures):
    write_tree(tmp_path, pictures, size={"good": 192, "average": 150, "bad": 120})
    with pytest.warns(ShortcutWarning, match=r"size \(100% right\).*chance is 33%") as caught:
        found = load_graded(tmp_path, cache=False)
    assert len(caught) == 1 and "colour" not in str(caught[0].message)
    assert found.shortcuts.set_index("cue").loc["size", "readable"]
    assert (found.faces.images.shape[1:]) == (SIZE, SIZE, 3)  # after alignment the sizes are gone, the traces are not


def test_a_coloured_class_is_warned_of(tmp_path, pictures):
    coloured = {**pictures, "good": [(name, p * np.array([1, 0.8, 0.6])) for name, p in pictures["good"]]}
    write_tree(tmp_path, {grade: [(n, p.astype(np.uint8)) for n, p in some] for grade, some in coloured.items()})
    with pytest.warns(ShortcutWarning, match="colour mode"):
        load_graded(tmp_path, cache=False)


def test_flat_folders_damaged_files_and_pictures_without_a_face(tmp_path, pictures):
    flat = {grade: [(name.replace("/", "-"), p) for name, p in some[:4]] for grade, some in pictures.items()}
    flat["bad"].append(("wall", np.full((120, 90, 3), 128, np.uint8)))
    write_tree(tmp_path, flat)
    (tmp_path / "average" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = load_graded(tmp_path, cache=False)
    status = found.report.assign(file=[p.rsplit("/", 1)[1] for p in found.report["path"]]).set_index("file")["status"]
    assert status["torn.png"] == "error" and status["wall.png"] == "fallback"
    assert len(found.report) == 14 and len(found.faces) == 13 and set(found.faces.identities) == {""}
    assert np.isnan(found.report.set_index("status").loc["error", "width"])
    with pytest.raises(ImageError, match=r"torn\.png"):
        load_graded(tmp_path, strict=True, cache=False)


def test_too_few_pictures_are_said_to_be_too_few(tmp_path, pictures):
    write_tree(tmp_path, {grade: some[:1] for grade, some in pictures.items()})
    with pytest.warns(ShortcutWarning, match="too few pictures"):
        found = load_graded(tmp_path, cache=False)
    assert len(found.faces) == 3 and found.shortcuts.empty


def test_numbered_folders_are_read_and_the_mapping_is_printed(tmp_path, pictures, capsys):
    write_tree(tmp_path, {grade: some[:1] for grade, some in pictures.items()})
    for grade, number in (("good", "0"), ("average", "1"), ("bad", "2")):
        (tmp_path / grade).rename(tmp_path / number)
    with pytest.warns(ShortcutWarning, match="too few pictures"):
        found = load_graded(tmp_path, cache=False)
    assert list(found.faces.attributes["grade"]) == ["good", "average", "bad"]
    assert "0/ good, 1/ average, 2/ bad" in capsys.readouterr().out


def test_a_missing_or_empty_folder_is_named(tmp_path, pictures):
    with pytest.raises(DataError, match="no folder good/"):
        load_graded(tmp_path)
    write_tree(tmp_path, {grade: some[:1] for grade, some in pictures.items() if grade != "bad"})
    (tmp_path / "bad").mkdir()
    with pytest.raises(DataError, match=r"bad: no image file"):
        load_graded(tmp_path)
    (tmp_path / "bad" / "x.png").write_bytes(b"no picture")
    for grade in ("good", "average"):
        for path in (tmp_path / grade).rglob("*.png"):
            path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 3 images could be used"):
        load_graded(tmp_path)


def test_the_detectors_own_threshold_finds_none_of_them():
    """What `non_faces` says of its pictures, on one of them."""
    import skimage.data

    picture = np.repeat(skimage.data.gravel()[..., None], 3, axis=2)
    assert DlibHog(margin=0, turned=False)(picture) == [] and len(DlibHog(threshold=-1.0, margin=0)(picture)) > 3
