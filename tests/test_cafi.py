from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from fiqa_lib.apps import cafi_files
from fiqa_lib.cli import main
from fiqa_lib.data import load_files, split_by_identity
from fiqa_lib.errors import DataError, WeightsError
from fiqa_lib.faces import Detection, Faces, extract_faces, load_detector, masking, read_image, write_image
from fiqa_lib.recognition import arcface_crop
from fiqa_lib.scorers import SCORERS
from fiqa_lib.scorers.cafi import Cafi, calibrate_gate
from fiqa_lib.scorers.ser_fiq import SerFiq
from fiqa_lib.transforms import benchmark, degrade


@pytest.fixture(scope="module")
def people(orl):
    return split_by_identity(orl, random_state=0)


@pytest.fixture(scope="module")
def fitted(people):
    return Cafi(**Cafi.quick).fit(people[0])


def with_settings(fitted, **settings):
    """What was fitted, under other settings that `fit` does not look at."""
    other = clone(fitted).set_params(**settings)
    other.set_state(fitted.get_state())
    return other


@pytest.fixture(scope="module")
def mixed(people):
    """Faces from good to hopeless."""
    faces = people[1][::25]
    return Faces.concat([degrade(faces, "shot_noise", 0), degrade(faces, "shot_noise", 1.0)])


def test_gate_then_mask_then_quality(fitted, mixed):
    values = fitted.gate_values(mixed)
    middle = float(np.median(values))
    scorer = with_settings(fitted, gate=middle)
    table = scorer.assess(mixed)
    passed = values >= middle
    assert 0 < passed.sum() < len(mixed)
    np.testing.assert_array_equal(table.status == "ok", passed)
    np.testing.assert_allclose(table.gate, values)
    expected = fitted.dbcnn_.score_samples(masking.masked_crops(mixed[passed]))
    np.testing.assert_allclose(table.score[passed], np.maximum(expected, 0), atol=1e-5)
    assert table.score[~passed].isna().all()
    assert all("gate is closed" in reason for reason in table.reason[~passed]) and set(table.reason[passed]) == {""}


def test_scores_put_the_refused_below_all_others_in_the_order_of_the_gate(fitted, mixed):
    values = fitted.gate_values(mixed)
    scorer = with_settings(fitted, gate=float(np.median(values)))
    scores, passed = scorer.score_samples(mixed), values >= np.median(values)
    assert scores[~passed].max() < 0 <= scores[passed].min()
    np.testing.assert_allclose(scores[~passed], values[~passed] - 1)
    np.testing.assert_allclose(scores[passed], scorer.assess(mixed).score[passed], atol=1e-5)


@pytest.mark.parametrize(("gate", "n_ok"), [(None, 16), (0.0, 16), (1.0, 0)])
def test_gates_that_are_always_open_or_closed(fitted, mixed, gate, n_ok):
    table = with_settings(fitted, gate=gate).assess(mixed)
    assert (table.status == "ok").sum() == n_ok and table.score.notna().sum() == n_ok


def test_a_refused_face_inherits_nothing(fitted, mixed):
    values = fitted.gate_values(mixed)
    scorer = with_settings(fitted, gate=float(np.median(values)))
    good, bad = np.argmax(values), np.argmin(values)
    table = scorer.assess(mixed[[good, bad]])
    assert table.status.tolist() == ["ok", "refused"] and np.isnan(table.score[1])
    alone = pd.concat([scorer.assess(mixed[int(row)]) for row in (good, bad)], ignore_index=True)
    pd.testing.assert_frame_equal(alone, table, atol=1e-4)


def test_small_photographs_and_small_faces_are_refused_with_a_reason(fitted, people):
    faces = people[1][:3].with_attributes(
        photo_width=[100.0, 640.0, 640.0], photo_height=480.0, inter_eye_px=[60, 20, 60]
    )
    table = with_settings(fitted, min_size=112, gate=None).assess(faces)
    assert table.status.tolist() == ["refused", "refused", "ok"]
    assert "photograph has 100 x 480" in table.reason[0] and "at least 112 x 112" in table.reason[0]
    assert "the face has 73 x 73" in table.reason[1]
    assert table.score.isna().tolist() == [True, True, False]
    unknown = with_settings(fitted, min_size=112, gate=None).assess(people[1].images[:1])
    assert unknown.status[0] == "ok"  # an aligned crop alone does not know


def test_no_faces_give_an_empty_table(fitted, people):
    table = fitted.assess(people[1][:0])
    assert len(table) == 0 and list(table) == ["score", "status", "reason", "gate", "yaw", "pitch", "roll"]


def test_landmarks_that_no_head_explains_cost_the_pose_only(fitted, people, monkeypatch):
    def refuse(points, size, nose):
        raise DataError("no pose")

    monkeypatch.setattr(masking, "head_pose", refuse)
    table = with_settings(fitted, gate=None, min_size=0).assess(people[1][:2])
    assert table[["yaw", "pitch", "roll"]].isna().all(axis=None) and table.score.notna().all()


def test_a_photograph_that_is_large_enough(fitted, orl_images):
    faces = extract_faces(np.repeat(np.repeat(orl_images[0], 3, 0), 3, 1))
    good = with_settings(fitted, min_size=112, gate=None).assess(faces).iloc[0]
    assert good.status == "ok" and 0 <= good.score < 1.5 and good.reason == ""
    assert max(abs(good.yaw), abs(good.pitch), abs(good.roll)) < 40


def test_roll_that_alignment_took_out_is_given_back(fitted, people):
    faces = people[1][:4]
    plain = fitted.assess(faces.with_attributes(roll_deg=0.0)).roll
    turned = fitted.assess(faces.with_attributes(roll_deg=25.0)).roll
    np.testing.assert_allclose(turned - plain, 25)


def test_controls_of_the_mask(fitted, people):
    faces = people[1][:3]
    np.testing.assert_array_equal(with_settings(fitted, region=None).masked(faces), faces.images)
    one = with_settings(fitted, region="mean").masked(faces)
    black = (one == 0).all(3)
    assert (black[0] == black[1]).mean() > 0.97 and 0.3 < black.mean() < 0.9
    grey = with_settings(fitted, region="mean", fill="grey").masked(faces)
    assert (grey[black].astype(int) - 128 == 0).mean() > 0.9
    scores = {
        r: with_settings(fitted, region=r, gate=None).score_samples(faces) for r in ("hull", "ellipse", "mean", None)
    }
    assert len({tuple(np.round(s, 6)) for s in scores.values()}) == 4


def test_learning_on_masked_faces_is_another_thing(people, fitted):
    quick = Cafi.quick | {"quality": Cafi.quick["quality"] | {"max_faces": 6, "n_tuning": 0}, "gate": None}
    plain, masked = (Cafi(**quick, train_on=on).fit(people[0]) for on in ("faces", "masked"))
    faces = people[1][:20:4]
    assert np.abs(plain.score_samples(faces) - masked.score_samples(faces)).max() > 1e-3
    again = Cafi(**quick, train_on="masked")
    again.set_state(masked.get_state())
    np.testing.assert_array_equal(again.score_samples(faces), masked.score_samples(faces))


def test_the_gate_is_calibrated_on_matches(people, fitted):
    """On other people, faces of a high gate value are matched more often than those of a low one."""
    test = benchmark(people[1][::4], copies=4, severities=(0.3, 0.6, 0.9), random_state=3)
    values = fitted.gate_values(test)
    assert ((values > 0) & (values < 1)).all() and fitted.calibration_.slope > 0 and 0 < fitted.threshold_ < 1
    from fiqa_lib.data import benchmark_pairs
    from fiqa_lib.recognition import as_recogniser

    pairs, recogniser = benchmark_pairs(test), as_recogniser("dlib")
    embeddings = recogniser.embed(test)
    mated = pairs.mated
    a, b = pairs.index_a[mated], pairs.index_b[mated]
    matched = recogniser.similarity_of(embeddings[a], embeddings[b]) >= fitted.threshold_
    low = values[b] < np.median(values[b])
    assert matched[~low].mean() > matched[low].mean() + 0.05


def test_no_gate_without_people(people):
    faces = people[0][:6]
    nobody = Faces(faces.images, [""] * 6, faces.names)
    one = Faces(faces.images, ["a"] * 6, faces.names)
    for wrong in (nobody, one):
        with pytest.raises(DataError, match="two known people"):
            Cafi(**Cafi.quick).fit(wrong)
    with pytest.raises(DataError, match="learns from Faces"):
        Cafi(**Cafi.quick).fit(faces.images)
    alone = people[0][::10]
    with pytest.raises(DataError, match="several pictures"):
        calibrate_gate(alone[:3], SerFiq(5), n_copies=0)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"gate": 1.5}, "gate"),
        ({"region": "nose"}, "region 'nose'"),
        ({"fill": "red"}, "fill"),
        ({"train_on": "x"}, "train_on"),
        ({"nose": 31}, "nose 31"),
        ({"size": 100}, "from 112"),
        ({"calibration": "none"}, "calibration"),
        ({"calibration": (130,)}, "calibration"),
        ({"calibration": (-130, 0.88)}, "calibration"),
        ({"judge": "wobble"}, "learn nothing: .*sharpness"),
        ({"judge": "dbcnn"}, "fitted scorer"),
    ],
)
def test_settings_that_make_no_sense_are_refused(people, settings, word):
    with pytest.raises(DataError, match=word):
        Cafi(**(Cafi.quick | settings)).fit(people[0])


def test_command_line_says_gate_and_pose(fitted, orl_images, tmp_path):
    model = fitted.save(tmp_path / "cafi.npz")
    write_image(tmp_path / "photos" / "a.png", np.repeat(np.repeat(orl_images[0], 2, 0), 2, 1))
    write_image(tmp_path / "photos" / "b.png", orl_images[1][:90, :80])
    write_image(tmp_path / "photos" / "c.png", np.full((200, 200, 3), 50, np.uint8))
    (tmp_path / "photos" / "d.png").write_bytes(b"broken")
    out = tmp_path / "s.csv"
    given = ["score", str(tmp_path / "photos"), "--method", "cafi", "--model", str(model), "--param", "min_size=112"]
    assert main([*given, "--param", "gate=None", "--out", str(out), "--no-progress"]) == 0
    table = pd.read_csv(out)
    assert (
        table.status.tolist() == ["ok", "refused", "no_face", "error"]
        and table.score.notna().tolist() == [True] + [False] * 3
    )
    assert table.reason[1:].notna().all() and "80 x 90" in table.reason[1]
    assert table.loc[0, ["gate", "yaw", "pitch", "roll"]].notna().all()


# --- as the original is written


def test_a_given_calibration_and_a_raw_threshold(fitted, mixed):
    raw = SerFiq(fitted.n_passes, random_state=0).score_samples(mixed)
    for middle in (0.88, float(np.median(raw))):  # the first is SER-FIQ's own; no face passes it with dlib's network
        curve = 1 / (1 + np.exp(-130 * (raw - middle)))
        given = with_settings(fitted, calibration=(130, middle), gate=0.5)
        np.testing.assert_allclose(given.gate_values(mixed), curve, rtol=1e-9)
        np.testing.assert_array_equal(given.assess(mixed).status == "ok", curve >= 0.5)
    plain = with_settings(fitted, calibration="raw", gate=float(np.median(raw)))
    np.testing.assert_array_equal(plain.gate_values(mixed), raw)
    np.testing.assert_array_equal(plain.assess(mixed).status == "ok", raw >= np.median(raw))
    assert (plain.score_samples(mixed)[raw < np.median(raw)] < 0).all()


def test_with_curve_and_judge_given_nothing_has_to_be_learned_from_people(people, mixed, tmp_path):
    """Faces without identities are enough, and the judge sees what is on black."""
    faces = people[0][:6]
    unknown = Faces(faces.images, [""] * 6, faces.names)
    middle = float(np.median(SerFiq(20, random_state=0).score_samples(mixed)))
    settings = {"gate": 0.5, "calibration": (130, middle), "judge": "sharpness", "n_passes": 20, "min_size": 64}
    cafi = Cafi(**settings).fit(unknown)
    assert cafi.dbcnn_ is None and cafi.calibration_ is None
    table, judge = cafi.assess(mixed), SCORERS["sharpness"]()
    passed = (table.status == "ok").to_numpy()
    assert passed.any()
    np.testing.assert_allclose(table.score[passed], judge.score_samples(masking.masked_crops(mixed[passed])))
    again = Cafi.load(cafi.save(tmp_path / "cafi.npz"))
    np.testing.assert_array_equal(again.score_samples(mixed), cafi.score_samples(mixed))
    with pytest.raises(WeightsError, match="hand in the same one, calibration"):
        Cafi.load(tmp_path / "cafi.npz", calibration="learned")
    with pytest.raises(WeightsError, match="hand in the same one, judge"):
        Cafi.load(tmp_path / "cafi.npz", judge="contrast")


def test_a_judge_of_negative_scores_keeps_its_order_above_the_refused(fitted, mixed):
    judge = SCORERS["view-agreement"]()
    middle = float(np.median(fitted.gate_values(mixed)))
    own = clone(fitted).set_params(judge=judge, gate=middle, calibration="learned")
    own.calibration_, own.dbcnn_, own.mean_points_ = fitted.calibration_, None, fitted.mean_points_
    table, scores = own.assess(mixed), own.score_samples(mixed)
    passed = (table.status == "ok").to_numpy()
    assert (table.score[passed] < 0).all() and scores[~passed].max() < 0 < scores[passed].min()
    np.testing.assert_array_equal(np.argsort(scores[passed]), np.argsort(table.score[passed]))


def test_a_learned_judge_is_known_again_by_what_it_learned(people, fitted, mixed, tmp_path):
    judge = fitted.dbcnn_
    cafi = Cafi(judge=judge, calibration="raw", gate=None, n_passes=5).fit(people[0][:4])
    expected = judge.score_samples(masking.masked_crops(mixed))
    np.testing.assert_array_equal(cafi.score_samples(mixed), expected)
    path = cafi.save(tmp_path / "cafi.npz")
    np.testing.assert_array_equal(Cafi.load(path, judge=judge).score_samples(mixed), expected)
    other = SCORERS["dbcnn"](**judge.get_params())
    changed = judge.get_state()
    other.set_state(changed | {name: value * 1.01 for name, value in changed.items() if name.endswith("linear.bias")})
    for wrong in (None, other):
        with pytest.raises(WeightsError, match="judge"):
            Cafi.load(path, judge=wrong)
    frozen = clone(Cafi(judge=FrozenEstimator(judge), calibration="raw", gate=None)).fit(people[0][:4])
    np.testing.assert_array_equal(frozen.score_samples(mixed), expected)


def test_size_and_nose_are_parameters(fitted, people):
    faces = people[1][:2]
    small = with_settings(fitted, size=192, gate=None)
    np.testing.assert_array_equal(small.masked(faces), masking.masked_crops(faces, size=192))
    assert [p.shape for p in small.pictures(faces)] == [(192, 192, 3)] * 2
    assert (small.masked(faces) != fitted.masked(faces)).any()
    pitch = [with_settings(fitted, nose=nose, gate=None, min_size=0).assess(faces).pitch for nose in (30, 33)]
    assert (pitch[0] - pitch[1] > 5).all()
    whole = next(with_settings(fitted, region=None).pictures(faces))
    np.testing.assert_array_equal(whole, masking.enlarged(faces.images[0]))


def test_masks_are_of_the_faces_that_were_scored(orl, tmp_path):
    """Found by the same detector, in crops as crops, and of the inputs instead of their printed names."""
    seen, scorer = [], SimpleNamespace(pictures=lambda faces: faces.images)

    def detector(image):
        seen.append(image.shape)
        return [Detection(0, 0, *image.shape[:2], 1.0)]

    write_image(tmp_path / "a.png", orl.images[0])
    table = pd.DataFrame({"path": ["printed", "unread.png"], "score": [1.0, None]})
    inputs = [(tmp_path / "a.png", None), (tmp_path / "unread.png", None)]
    files = cafi_files.write_masks(table, scorer, tmp_path / "masks", inputs=inputs, detector=detector)
    assert seen and files.tolist() == [str(tmp_path / "masks" / "printed.png")]
    write_image(tmp_path / "a.png", arcface_crop(orl.images[:1])[0])
    seen.clear()
    cafi_files.write_masks(table, scorer, tmp_path / "masks", inputs=inputs, detector=detector, aligned=True)
    assert not seen and read_image(files[0]).shape == (192, 192, 3)


def test_command_line_writes_masks_and_the_tables_of_the_original(fitted, orl_images, tmp_path, capsys):
    model = fitted.save(tmp_path / "cafi.npz")
    for name, picture in (("one/a.png", orl_images[0]), ("two/a.png", orl_images[1]), ("b.png", orl_images[2])):
        write_image(tmp_path / "photos" / name, np.repeat(np.repeat(picture, 2, 0), 2, 1))
    write_image(tmp_path / "photos" / "c.png", np.full((200, 200, 3), 50, np.uint8))
    given = ["score", str(tmp_path / "photos"), "--out", str(tmp_path / "s.csv"), "--no-progress", "--method"]
    extra = ["--masks", str(tmp_path / "masks"), "--cafi-tables", str(tmp_path / "tables")]
    with_model = [*given, "cafi", "--model", str(model), "--param", "size=224", "--detector", "dlib-hog"]
    gates = pd.Series(dtype=float)
    for gate in ("None", "0.999999"):
        assert main([*with_model, "--param", f"gate={gate}", "--restart", *extra]) == 0
        table = pd.read_csv(tmp_path / "s.csv")
        first, degree, last = (pd.read_csv(tmp_path / "tables" / f"{n}.csv") for n in ("serfiq", "Degree", "dbcnn"))
        passed = table[table.score.notna()]
        assert list(first) == ["img_path", "serfiq_score"] and list(last) == ["img_name", "score"]
        assert first.serfiq_score.is_monotonic_decreasing and len(first) == 3
        assert degree.img_path.tolist() == passed.path.tolist() and len(last) == len(passed)
        gates = table.gate
        if gate == "None":
            assert last.img_name.tolist() == ["b.png", "a.png", "a-2.png"]
            np.testing.assert_allclose(last.score, passed.score)
            np.testing.assert_allclose(degree[["yaw", "pitch", "roll"]], passed[["yaw", "pitch", "roll"]])
            for path, photograph in zip(degree.masked_path, degree.img_path, strict=True):
                faces = load_files([photograph], detector=load_detector("dlib-hog")).faces
                expected = masking.masked_picture(faces.images[0], masking.crop_landmarks(faces)[0], size=224)
                np.testing.assert_array_equal(read_image(path), expected)
    assert gates.notna().sum() == 3
    assert main([*given, "sharpness", *extra]) == 1
    assert "--method cafi" in capsys.readouterr().err
