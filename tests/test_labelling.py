"""Labels from files: what the command writes, whoever computes it, whatever interrupts it, whatever is broken."""

import hashlib
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from test_arrays import WRONG

from fiqa_lib.apps.labelling import label_files
from fiqa_lib.apps.labelling_run import Run
from fiqa_lib.cli import main, parser
from fiqa_lib.data.arrays import read_npy
from fiqa_lib.data.score_files import read_scores
from fiqa_lib.errors import DataError
from fiqa_lib.labels import sdd_labels, sdd_labels_exact
from fiqa_lib.labels.sdd import SCALES, scaled_repeats
from fiqa_lib.labels.sdd_distances import DRAWS


def made(folder, counts, dim=16, seed=0):
    """A list of images (shuffled) and their embeddings in one array: (names, embeddings)."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    noise = rng.uniform(0.3, 2.5, len(people))[:, None]
    embeddings = rng.normal(size=(len(counts), dim))[people] + noise * rng.normal(size=(len(people), dim))
    names = [f"p{person:05d}/{i:06d}.jpg" for i, person in enumerate(people)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list.txt").write_text("\n".join(names) + "\n")
    np.save(folder / "all.npy", embeddings.astype(np.float32))
    return names, embeddings.astype(np.float32)


def written_out(folder, names, embeddings):
    """The same embeddings, one file each, below `folder`."""
    for name, row in zip(names, embeddings, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", row)


@pytest.fixture
def small(tmp_path):
    names, embeddings = made(tmp_path, [1, 2, 3, *[12] * 30, 60])
    return tmp_path, names, embeddings


def labelled(folder, out="out.csv", **options):
    options = {"image_list_file": folder / "list.txt", "features": folder / "all.npy", "process_num": 1, **options}
    counts = label_files(folder / out, **options)
    assert not (folder / f"{out}.work").exists() and not list(folder.glob(".*"))
    table = pd.read_csv(folder / out, keep_default_na=False, na_values={"label": ""})
    assert table["status"].value_counts().to_dict() == counts
    return table


# ------------------------------------------------------------------------------------------------- what is written


def by_hash(names):
    """The order that the command sorts by: hash of the person, then hash of the whole name."""

    def number(text):
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    return sorted(range(len(names)), key=lambda i: (number(names[i].split("/")[0]), number(names[i])))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("draws", DRAWS)
def test_the_same_as_in_memory(small, scale, draws):
    folder, names, embeddings = small
    table = labelled(folder, scale=scale, draws=draws, seed=5, n_samples=7, n_repeats=3)
    order = by_hash(names)
    people = np.array([names[i].split("/")[0] for i in order])
    person = np.cumsum(np.concatenate([[0], people[1:] != people[:-1]]))  # numbered in the order of the hashes
    options = {"scale": scale, "draws": draws, "random_state": 5, "n_samples": 7, "n_repeats": 3}
    found = sdd_labels(embeddings[order], person, **options)
    np.testing.assert_allclose(table["label"].to_numpy()[order], found.labels, atol=6e-5)
    assert list(table["name"]) == names and list(table["identity"]) == [n.split("/")[0] for n in names]
    assert (table["status"].to_numpy()[order] == found.status).all()
    repeats = table[[f"repeat_{i:02d}" for i in (1, 2, 3)]].replace("", np.nan).astype(float)
    np.testing.assert_allclose(repeats.to_numpy()[order], scaled_repeats(found.distances, scale), atol=6e-5)
    np.testing.assert_allclose(repeats.mean(axis=1), table["label"], atol=1e-4)


def test_exact_labels_are_those_in_memory(small):
    folder, names, embeddings = small
    table = labelled(folder, exact=True)
    found = sdd_labels_exact(embeddings, [n.split("/")[0] for n in names])
    np.testing.assert_allclose(table["label"], found.labels, atol=2e-4)  # float32 sums, in another order
    assert (table["status"] == found.status).all() and "repeat_01" not in table


def test_the_order_of_the_list_has_no_influence(small):
    folder, names, embeddings = small
    reference = labelled(folder)
    order = np.random.default_rng(1).permutation(len(names))
    other = folder / "other"
    other.mkdir()
    (other / "list.txt").write_text("".join(names[i] + "\r\n\n" for i in order))  # and empty lines, and Windows' ends
    np.save(other / "all.npy", embeddings[order])
    pd.testing.assert_frame_equal(labelled(other), reference.iloc[order].reset_index(drop=True))


def test_processes_and_memory_have_no_influence(tmp_path, monkeypatch):
    made(tmp_path, [12] * 1500 + [400, 1], dim=8)
    reference = labelled(tmp_path)
    original = Run.write_order
    monkeypatch.setattr(Run, "write_order", lambda self, _: original(self, 3e5))  # sorted in seven parts
    for options in ({"process_num": 1}, {"process_num": 2}, {"process_num": 3}):
        pd.testing.assert_frame_equal(labelled(tmp_path, "other.csv", **options), reference)
        assert (tmp_path / "other.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert (labelled(tmp_path, seed=1)["label"] != reference["label"]).any()


def test_one_file_for_each_image(small):
    folder, names, embeddings = small
    reference = labelled(folder)
    written_out(folder / "emb", names, embeddings)
    for name in names[::3]:  # the other way to name them
        (folder / "emb" / f"{name}.npy").rename((folder / "emb" / name).with_suffix(".npy"))
    from_files = {"features": None, "feature_root": folder / "emb", "load_feature": True}
    pd.testing.assert_frame_equal(labelled(folder, "b.csv", **from_files), reference)
    shutil.rmtree(folder / "emb")
    written_out(folder / "emb", names, embeddings[:, None])  # (1, D), as some programs write them
    pd.testing.assert_frame_equal(labelled(folder, "b.csv", process_num=2, **from_files), reference)


def test_labels_from_stored_embeddings_load_no_network_library_and_no_dask():
    code = (
        "import sys, fiqa_lib.apps.labelling, fiqa_lib.cli; sys.exit(bool({'dask', 'distributed'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------ what can't be used


def test_every_kind_of_trouble_has_its_row(small, capsys):
    folder, names, embeddings = small
    written_out(folder / "emb", names, embeddings)
    trouble = {
        names[0]: ("missing", "no such file", lambda p: p.unlink()),
        names[7]: ("corrupt", "not a readable", lambda p: p.write_bytes(p.read_bytes()[:-3])),
        names[9]: ("corrupt", "length 3", lambda p: np.save(p, np.ones(3))),
        names[11]: ("corrupt", "direction", lambda p: np.save(p, np.full(16, np.nan))),
        names[12]: ("corrupt", "direction", lambda p: np.save(p, np.zeros(16))),
        names[13]: ("corrupt", "not a readable", lambda p: np.save(p, np.array([{}] * 16), allow_pickle=True)),
        names[14]: ("corrupt", "instead of one", lambda p: np.save(p, np.ones((2, 16)))),
    }
    for name, (_, _, spoil) in trouble.items():
        spoil(folder / "emb" / f"{name}.npy")
    with open(folder / "list.txt", "a") as file:
        file.write(f"{names[3]}\nnobody.jpg\n")
    np.save(folder / "emb" / "nobody.jpg.npy", embeddings[0])
    command = ["sdd-labels", "--image-list-file", str(folder / "list.txt"), "--feature-root", str(folder / "emb")]
    command += ["--load-feature", "--score-dst", str(folder / "results"), "--process-num", "1", "--no-progress"]
    assert main(command) == 0
    assert "5 " not in capsys.readouterr().err
    table = pd.read_csv(folder / "results" / "sdd_labels.csv", keep_default_na=False)
    for name, (status, reason, _) in trouble.items():
        row = table[table["name"] == name].iloc[0]
        assert row["status"] == status and reason in row["reason"] and name[:-4] in row["reason"] + name
        assert row["label"] == "" and row["repeat_12"] == ""
    assert list(table["status"])[-2:] == ["duplicate", "no_identity"] and table["status"].iloc[3] == "ok"
    kept = [i for i, name in enumerate(names) if name not in trouble]
    (folder / "list.txt").write_text("".join(names[i] + "\n" for i in kept))
    np.save(folder / "all.npy", embeddings[kept])
    expected = labelled(folder)  # as if they had never been there
    found = table[:-2].set_index("name").loc[expected["name"]]
    np.testing.assert_array_equal(found["label"].replace("", np.nan).astype(float), expected["label"])

    (folder / "list.txt").write_text("".join(name + "\n" for name in names))
    assert main([*command, "--strict"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error:") and names[0] in said and said.count("\n") == 1
    # the usable parts up to there are kept; after a repair the same command goes on
    for name in trouble:
        np.save(folder / "emb" / f"{name}.npy", embeddings[names.index(name)])
    assert main([*command, "--strict", "--resume"]) == 0


@pytest.mark.parametrize(
    "change, word",
    [
        ({"image_list_file": "none.txt"}, "none.txt"),
        ({"features": "none.npy"}, "none.npy"),
        ({"features": "list.txt"}, "list.txt"),
        ({"features": "few.npy"}, "few.npy"),
        ({"features": "flat.npy"}, "flat.npy"),
        ({"image_list_file": "empty.txt"}, "empty.txt"),
        ({"image_list_file": "latin.txt"}, "latin.txt, line 2"),
        ({"id_key_index": -1}, "no person has two"),
        ({"id_key_index": 5}, "two people"),
        ({"load_feature": True}, "--features is one array"),
        ({"features": None, "load_feature": True}, "--feature-root"),
        ({"features": None, "load_feature": True, "feature_root": "nowhere"}, "nowhere"),
        ({"max_memory": 1e4}, "--max-memory"),
        ({"n_samples": 0}, "n_samples"),
        ({"scale": "z"}, "scale"),
        ({"image_list_file": None, "features": None}, "--image-root"),
    ],
)
def test_wrong_input_is_named(small, change, word):
    folder, names, embeddings = small
    np.save(folder / "few.npy", embeddings[:-1])
    np.save(folder / "flat.npy", embeddings.ravel())
    (folder / "empty.txt").write_text("\n \n")
    (folder / "latin.txt").write_bytes(b"a/1.jpg\na/\xe9.jpg\n")
    change = {k: folder / v if isinstance(v, str) and k not in ("scale",) else v for k, v in change.items()}
    with pytest.raises(DataError, match=word):
        labelled(folder, restart=True, **change)
    assert not (folder / "out.csv").exists()


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_array_costs_its_own_row_or_is_named(small, name):
    folder, names, embeddings = small
    content = WRONG[name][0]
    written_out(folder / "emb", names, embeddings)
    (folder / "emb" / f"{names[2]}.npy").write_bytes(content)
    table = labelled(folder, features=None, feature_root=folder / "emb", load_feature=True)
    assert table["status"].iloc[2] == "corrupt" and f"{names[2]}.npy" in table["reason"].iloc[2]
    assert (table["status"] == "corrupt").sum() == 1
    (folder / "wrong.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"wrong\.npy"):
        labelled(folder, features=folder / "wrong.npy", restart=True)


def test_a_pipe_is_not_waited_for(small):
    folder, names, _ = small
    os.mkfifo(folder / "pipe.npy")
    with pytest.raises(DataError, match="no regular file"):
        read_npy(folder / "pipe.npy")


def test_a_name_that_leads_out_of_the_folder_is_refused(small):
    folder, names, embeddings = small
    written_out(folder / "emb", names, embeddings)
    (folder / "list.txt").write_text("".join(n + "\n" for n in names) + "p00001/../../x.jpg\n")
    table = labelled(folder, features=None, feature_root=folder / "emb", load_feature=True)
    assert table["status"].iloc[-1] == "corrupt" and "leads out" in table["reason"].iloc[-1]


# ---------------------------------------------------------------------------------------------------- from images


@pytest.fixture
def photographs(tmp_path, orl_files):
    """Four people with five images each, a picture without a face, and a file that is no picture."""
    for person in range(4):
        for image in range(5):
            target = tmp_path / "images" / f"s{person}" / f"{image}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), cv2.imread(str(orl_files[10 * person + image])))
    cv2.imwrite(str(tmp_path / "images" / "s0" / "blank.png"), np.full((90, 90, 3), 127, np.uint8))
    (tmp_path / "images" / "s1" / "broken.png").write_bytes(b"not a picture")
    return tmp_path


def test_embeddings_are_made_from_images_and_kept(photographs, dlib_resnet, orl):
    folder = photographs
    options = {"image_list_file": None, "features": None, "image_root": folder / "images", "fallback": None}
    made = labelled(folder, "made.csv", feature_root=folder / "emb", process_num=2, **options)
    counts = made["status"].value_counts()
    assert counts["corrupt"] == 1 and counts["no_face"] >= 1
    assert made.set_index("name").loc["s1/broken.png", "status"] == "corrupt"
    stored = sorted(p.relative_to(folder / "emb").as_posix()[:-4] for p in (folder / "emb").rglob("*.npy"))
    assert stored == sorted(made["name"][made["status"] == "ok"])
    if "s0/0.png" in stored:
        np.testing.assert_allclose(np.load(folder / "emb/s0/0.png.npy"), dlib_resnet.embed(orl[:1])[0], atol=1e-5)
    # again without images: what is stored is enough
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in made["name"]))
    options = {"features": None, "feature_root": folder / "emb", "load_feature": True}
    again = labelled(folder, "again.csv", **options)
    np.testing.assert_array_equal(again["label"], made["label"])
    # and without a folder for them
    plain = labelled(folder, "plain.csv", image_list_file=None, features=None, image_root=folder / "images")
    np.testing.assert_array_equal(plain["label"], made["label"])


def test_a_reason_with_a_name_that_is_no_text_is_written(photographs):
    odd = os.fsdecode(b"odd\xff\xfe.png")
    (photographs / "images" / "s2" / odd).write_bytes(b"not a picture")
    label_files(photographs / "out.csv", image_root=photographs / "images", process_num=1)
    table = pd.read_csv(photographs / "out.csv", keep_default_na=False)
    (row,) = table[table["name"].str.startswith("s2/odd")].to_dict("records")
    assert row["status"] == "corrupt" and "odd\\udcff\\udcfe.png" in row["reason"]


def test_load_feature_takes_a_word_as_the_program_it_is_named_after(small, capsys):
    folder, names, embeddings = small
    written_out(folder / "emb", names, embeddings)
    command = ["sdd-labels", "--image-list-file", folder / "list.txt", "--feature-root", folder / "emb"]
    command += ["--process-num", 1, "--no-progress", "--id-key-index", 0, "--fix-num", 5, "--repeats", 2]
    for word in ("True", "False"):  # False: what is missing is made from images; here nothing is missing
        given = [*command, "--score-dst", folder / f"{word}.csv", "--load-feature", word]
        assert main([str(x) for x in given]) == 0
    assert (folder / "True.csv").read_bytes() == (folder / "False.csv").read_bytes()
    with pytest.raises(SystemExit):
        main([str(x) for x in [*command, "--score-dst", "x.csv", "--load-feature", "maybe"]])


def test_one_dash_is_enough_as_the_original_spells_it(small):
    folder, names, embeddings = small
    written_out(folder / "emb", names, embeddings)
    command = ["sdd-labels", "--image-list-file", folder / "list.txt", "--feature-root", folder / "emb"]
    command += ["--process-num", 1, "--no-progress", "--id-key-index", -2, "--fix-num", 5, "--repeats", 2]
    for name, option in (("one.csv", ["-load-feature", "True"]), ("two.csv", ["--load-feature"])):
        assert main([str(x) for x in [*command, "--score-dst", folder / name, *option]]) == 0
    assert (folder / "one.csv").read_bytes() == (folder / "two.csv").read_bytes()
    assert parser().parse_args(["sdd-labels", "--score-dst", "x", "-load-feature"]).load_feature is True
    assert parser().parse_args(["sdd-labels", "--score-dst", "x", "-load-feature", "False"]).load_feature is False
    assert parser().parse_args(["sdd-labels", "--score-dst", "x"]).load_feature is False


@pytest.mark.parametrize("root", ["", "/data/src/"])
def test_a_layout_with_a_folder_below_the_person_is_said_with_the_index_that_is_meant(root, small, capsys):
    """The original's lists are person/feature/x.npy: read with -2, all images would be one person, "feature"."""
    folder, names, embeddings = small
    lines = [f"{root}{name.split('/')[0]}/feature/{name.split('/')[1][:-4]}.npy" for name in names]
    reference = labelled(folder)
    (folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    command = ["sdd-labels", "--image-list-file", folder / "list.txt", "--features", folder / "all.npy"]
    command = [str(x) for x in [*command, "--process-num", 1, "--no-progress", "--score-dst", folder / "deep.csv"]]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "list.txt: part -2 of every line is 'feature'" in said and "--id-key-index -3" in said
    assert not (folder / "deep.csv").exists()
    assert main([*command, "--id-key-index", "-3"]) == 0  # the remedy, as it stands: nothing is in its way
    table = pd.read_csv(folder / "deep.csv", keep_default_na=False)
    assert table["identity"].tolist() == reference["identity"].tolist()
    assert (table["status"] == reference["status"]).all()


def test_one_person_in_all_lines_is_not_taken_for_another_layout(tmp_path):
    for lines in ([f"a/{i}.jpg" for i in range(4)], [f"feature/{i}.jpg" for i in range(4)], [f"{i}.jpg" for i in "ab"]):
        (tmp_path / "list.txt").write_text("\n".join(lines))
        np.save(tmp_path / "all.npy", np.eye(len(lines), dtype=np.float32))
        with pytest.raises(DataError, match="at least two people"):
            label_files(
                tmp_path / "x.csv",
                image_list_file=tmp_path / "list.txt",
                features=tmp_path / "all.npy",
                process_num=1,
                restart=True,
            )


def test_text_files_as_the_original_writes_them(small):
    folder, names, embeddings = small
    table = labelled(folder, n_repeats=3, text=True)
    good = table[table["status"] == "ok"]
    assert 0 < len(good) < len(table)
    columns = {"labels": "label", **{f"score_{i}": f"repeat_{i + 1:02d}" for i in range(3)}}
    for name, column in columns.items():
        lines = (folder / f"{name}.txt").read_text().splitlines()
        assert [line.rpartition(" ")[0] for line in lines] == good["name"].tolist()
        np.testing.assert_allclose([float(line.split()[-1]) for line in lines], good[column].astype(float))
    assert not (folder / "score_3.txt").exists()
    scores = read_scores(folder / "labels.txt")
    np.testing.assert_allclose(scores["score"], good["label"])
    (folder / "other").mkdir()
    labelled(folder, "other/exact.csv", exact=True, text=True)
    assert {p.name for p in (folder / "other").iterdir()} == {"exact.csv", "labels.txt"}


# ------------------------------------------------------------------------------------------ interrupted, and going on


def started(*arguments):
    command = [sys.executable, "-m", "fiqa_lib", "sdd-labels", "--no-progress", *map(str, arguments)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def killed_when(condition, *arguments, limit=60):
    """Start the command and kill it as soon as `condition()` holds; False if it was done before."""
    process = started(*arguments)
    end = time.monotonic() + limit
    while not condition():
        if process.poll() is not None:
            said = process.communicate()[0].decode()
            assert process.returncode == 0, said
            return False
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.001)
    process.kill()
    process.communicate()
    while time.monotonic() < end:  # its workers end by themselves
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    raise AssertionError("processes were left over")


def finished(*arguments):
    process = started(*arguments)
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, said


def files_in(folder, pattern, at_least):
    return lambda: len(list(folder.glob(pattern))) >= at_least


@pytest.mark.parametrize("processes, at_least", [(1, 8), (2, 3)])
def test_killed_at_many_points_it_ends_with_the_same_bytes(tmp_path, processes, at_least):
    made(tmp_path, [12] * 5000, dim=16)
    common = ["--image-list-file", tmp_path / "list.txt", "--features", tmp_path / "all.npy"]
    finished(*common, "--score-dst", tmp_path / "undisturbed.csv", "--process-num", 2)
    work = tmp_path / "out.csv.work"
    command = [*common, "--score-dst", tmp_path / "out.csv", "--process-num", processes]
    points = ["run.json", "hashes.raw", "scan.json", "collected/*.json", "duplicates.npy", "distances/*.npy"]
    points = [(p, 1) for p in points] + [("distances/*.npy", 3), ("distances/.*", 1), ("distances/*.npy", 8)]
    points += [("by_line.raw", 1), (".result.csv", 1)]
    points = points[:: 2 if processes > 1 else 1]
    hits = sum(killed_when(files_in(work, pattern, count), *command) for pattern, count in points)
    assert hits >= at_least  # a point that passes within a millisecond may be missed
    finished(*command)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.npy", "list.txt", "out.csv", "undisturbed.csv"]


def test_killed_while_it_packs_files(tmp_path):
    names, embeddings = made(tmp_path, [6] * 1000, dim=8)
    written_out(tmp_path / "emb", names, embeddings)
    common = ["--image-list-file", tmp_path / "list.txt", "--feature-root", tmp_path / "emb", "--load-feature"]
    finished(*common, "--score-dst", tmp_path / "undisturbed.csv", "--process-num", 1)
    command = [*common, "--score-dst", tmp_path / "out.csv", "--process-num", 2]
    work = tmp_path / "out.csv.work"
    hits = sum(killed_when(files_in(work, "collected/*.json", n), *command) for n in (1, 2, 4))
    assert hits >= 2
    finished(*command)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()


def interrupted(folder, **options):
    """What a run leaves that ends after the first distances."""

    class Stop(Exception):
        pass

    def stop(self, number):
        original(self, number)
        if number == 1:
            raise Stop

    original = Run.measure_part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "measure_part", stop)
        with pytest.raises(Stop):
            labelled(folder, **options)
    return folder / "out.csv.work"


def test_nothing_is_done_twice_and_torn_files_are_done_again(tmp_path):
    made(tmp_path, [12] * 3000, dim=4)
    reference = labelled(tmp_path, "reference.csv")
    work = interrupted(tmp_path)
    assert len(list((work / "distances").iterdir())) == 2
    torn = work / "distances" / "000001.npy"
    torn.write_bytes(torn.read_bytes()[:1000])  # as after a power cut
    done = []
    original = Run.measure_part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "measure_part", lambda self, n: done.append(n) or original(self, n))
        table = labelled(tmp_path)
    assert done == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(table, reference)


def test_an_interrupted_run_of_another_command_is_not_mixed_in(tmp_path):
    names, embeddings = made(tmp_path, [12] * 1500, dim=4)
    expected = labelled(tmp_path, "expected.csv", seed=9)
    interrupted(tmp_path)
    with pytest.raises(DataError, match="--restart"):
        labelled(tmp_path, seed=9)
    pd.testing.assert_frame_equal(labelled(tmp_path, seed=9, restart=True), expected)
    interrupted(tmp_path)
    np.save(tmp_path / "all.npy", embeddings[::-1])  # other input under the same name
    with pytest.raises(DataError, match="--restart"):
        labelled(tmp_path)
    changed = labelled(tmp_path, restart=True)
    pd.testing.assert_frame_equal(labelled(tmp_path, "fresh.csv"), changed)


def test_embeddings_that_were_replaced_meanwhile_are_read_again(tmp_path, monkeypatch):
    """With all that rests on them: order, distances, and the length of an embedding."""
    monkeypatch.setattr("fiqa_lib.apps.labelling_run.TASK_UNITS", 1)
    names, embeddings = made(tmp_path, [12] * 150, dim=4)
    written_out(tmp_path / "emb", names, embeddings)
    options = {"features": None, "feature_root": tmp_path / "emb", "load_feature": True}
    before = labelled(tmp_path, "before.csv", **options)
    interrupted(tmp_path, **options)
    collected = []
    original = Run.collect_part
    monkeypatch.setattr(Run, "collect_part", lambda self, n, strict: collected.append(n) or original(self, n, strict))
    np.save(tmp_path / "emb" / f"{names[1030]}.npy", -embeddings[1030])  # the same size
    (tmp_path / "emb" / f"{names[1040]}.npy").unlink()
    after = labelled(tmp_path, **options)
    assert collected == [1]
    pd.testing.assert_frame_equal(after, labelled(tmp_path, "truth.csv", **options))
    assert after.label[1030] != before.label[1030] and after.status[1040] == "missing"
    interrupted(tmp_path, **options)
    written_out(tmp_path / "emb", names, np.hstack([embeddings, embeddings[:, :2]]))
    pd.testing.assert_frame_equal(labelled(tmp_path, **options), labelled(tmp_path, "truth.csv", **options))


@pytest.mark.parametrize("kept", [True, False])
def test_an_image_that_was_replaced_meanwhile_is_embedded_again(photographs, monkeypatch, kept):
    folder = photographs
    options = {"image_list_file": None, "features": None, "image_root": folder / "images", "fallback": "centre"}
    options |= {"feature_root": folder / "emb"} if kept else {}

    def stop(self, out, text=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            labelled(folder, **options)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    collected = []
    original = Run.collect_part
    monkeypatch.setattr(Run, "collect_part", lambda self, n, strict: collected.append(n) or original(self, n, strict))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            labelled(folder, **options)  # nothing has changed, though the run itself stored embeddings
    assert collected == [] and times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    shutil.copy(folder / "images" / "s2" / "0.png", folder / "images" / "s1" / "0.png")
    if kept:  # the embedding of the old picture is the user's to remove: what is stored is taken
        (folder / "emb" / "s1" / "0.png.npy").unlink()
    table = labelled(folder, **options)
    assert collected == [0]
    pd.testing.assert_frame_equal(table, labelled(folder, "truth.csv", **options))


def test_totals_name_the_first_of_each_kind(small, capsys):
    folder, names, embeddings = small
    embeddings[[7, 9]] = np.nan
    np.save(folder / "all.npy", embeddings)
    command = ["sdd-labels", "--image-list-file", folder / "list.txt", "--features", folder / "all.npy"]
    assert main([*map(str, command), "--score-dst", str(folder / "o.csv"), "--no-progress", "--process-num", "1"]) == 0
    assert f"2 corrupt (first: {names[7]}: the embedding has no direction (NaN, infinite or all 0))" in (
        capsys.readouterr().out
    )


def test_a_disk_that_is_full_is_one_line(small, monkeypatch, capsys):
    import errno

    folder, names, _ = small

    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    command = ["sdd-labels", "--image-list-file", folder / "list.txt", "--features", folder / "all.npy"]
    command = [*map(str, command), "--score-dst", str(folder / "o.csv"), "--no-progress", "--process-num", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)  # for the file that is mapped: writing it would kill the process
        assert main(command) == 1
    seen, *said = capsys.readouterr().err.splitlines()
    assert seen.startswith("34 people") and len(said) == 1
    assert "by_line.raw: No space left" in said[0] and not (folder / "o.csv").exists()
    assert main(command) == 0


def test_a_worker_that_dies_is_said_and_the_run_goes_on(tmp_path):
    made(tmp_path, [12] * 3000, dim=4)
    reference = labelled(tmp_path, "reference.csv")
    (tmp_path / "sitecustomize.py").write_text(DIES)
    command = [sys.executable, "-m", "fiqa_lib", "sdd-labels", "--no-progress", "--process-num", "2"]
    command += ["--image-list-file", tmp_path / "list.txt", "--features", tmp_path / "all.npy"]
    command += ["--score-dst", tmp_path / "out.csv"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "goes on" in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "sitecustomize.py").unlink()
    pd.testing.assert_frame_equal(labelled(tmp_path), reference)


DIES = """
import os, sys, signal
if any("spawn_main" in a or a == "--multiprocessing-fork" for a in sys.argv + sys.orig_argv):
    from fiqa_lib.apps.labelling_run import Run
    original = Run.measure_part
    def measure_part(self, number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, number)
    Run.measure_part = measure_part
"""
