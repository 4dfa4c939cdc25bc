import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fiqa_lib import evaluation
from fiqa_lib.cli import main
from fiqa_lib.data.pairs import identities_of_pairs, pairs_of_faces, read_pairs_csv, write_pairs_csv
from fiqa_lib.errors import DataError


@pytest.fixture
def files(tmp_path):
    """Embeddings of 12 people, pairs among them, and two score files: one that knows the noise, one that does not."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 8)
    noise = rng.uniform(0.1, 1.6, len(people))
    embeddings = rng.normal(size=(12, 16))[people] + noise[:, None] * rng.normal(size=(len(people), 16))
    names = [f"p{person:02d}/{i:03d}.jpg" for i, person in enumerate(people)]
    pairs = pairs_of_faces(names, people.astype(str))
    write_pairs_csv(pairs[["a", "b", "mated"]], tmp_path / "pairs.csv")
    scores = pd.DataFrame({"path": names, "status": "ok", "score": -noise})
    scores.to_csv(tmp_path / "good.csv", index=False)
    lines = [f"{name} {value:.6f}" for name, value in zip(names, rng.normal(size=len(names)), strict=True)]
    (tmp_path / "chance.txt").write_text("\n".join(lines) + "\n")
    np.save(tmp_path / "emb.npy", embeddings.astype(np.float32))
    return tmp_path


def run(files, *more, scores=("good.csv", "chance.txt")):
    given = ["edc", "--scores", *(str(files / s) for s in scores), "--pairs", str(files / "pairs.csv")]
    return main([*given, "--fmr", "0.02", "--draws", "40", *(str(m) for m in more)])


def test_edc_compares_score_files(files, capsys):
    status = run(
        files, "--embeddings", files / "emb.npy", "--out", files / "o" / "curve.csv", "--summary", files / "s.csv",
        "--plot", files / "curve.png",
    )  # fmt: skip
    said = capsys.readouterr()
    assert status == 0 and said.err == ""
    assert "good" in said.out and "chance" in said.out and "fixed threshold" in said.out and "to" in said.out
    table = pd.read_csv(files / "o" / "curve.csv")
    assert set(table.method) == {"good", "chance"} and {"discard", "error", "threshold"} <= set(table)
    summary = pd.read_csv(files / "s.csv").set_index(["method", "limit"])
    assert summary.normalised["good", 0.3] < summary.normalised["chance", 0.3] - 0.1
    assert (files / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_edc_is_the_librarys(files):
    assert run(files, "--embeddings", files / "emb.npy", "--out", files / "curve.csv", scores=("good.csv",)) == 0
    pairs = read_pairs_csv(files / "pairs.csv")
    scores = pd.read_csv(files / "good.csv").set_index("path").score
    embeddings = pd.DataFrame(np.load(files / "emb.npy").astype(float), index=scores.index)
    a, b = embeddings.loc[pairs.a].to_numpy(), embeddings.loc[pairs.b].to_numpy()
    similarity = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    expected = evaluation.edc(similarity, pairs.mated, scores[pairs.a], scores[pairs.b], fmr=0.02)
    found = pd.read_csv(files / "curve.csv")
    np.testing.assert_allclose(found.discard, expected.discard)
    np.testing.assert_allclose(found.error, expected.error)


def test_edc_reads_similarities_from_the_pairs(files):
    pairs = read_pairs_csv(files / "pairs.csv")
    write_pairs_csv(pairs.assign(cos=np.linspace(0, 1, len(pairs))), files / "pairs.csv")
    assert run(files, "--similarity", "cos") == 0


def test_score_order_does_not_matter_without_embeddings(files, capsys):
    pairs = read_pairs_csv(files / "pairs.csv")
    write_pairs_csv(pairs.assign(cos=np.sin(np.arange(len(pairs)))), files / "pairs.csv")
    run(files, "--similarity", "cos")
    first = capsys.readouterr().out
    table = pd.read_csv(files / "good.csv")
    table[::-1].to_csv(files / "good.csv", index=False)
    run(files, "--similarity", "cos")
    assert capsys.readouterr().out == first


def test_missing_scores_are_counted(files, capsys):
    table = pd.read_csv(files / "good.csv")
    table.loc[3, "status"] = "no_face"
    table.loc[3, "score"] = None
    table.to_csv(files / "good.csv", index=False)
    assert run(files, "--embeddings", files / "emb.npy", scores=("good.csv",)) == 0
    assert "pairs without a score" in capsys.readouterr().out
    assert run(files, "--embeddings", files / "emb.npy", "--on-missing", "raise", scores=("good.csv",)) == 1
    assert capsys.readouterr().err.startswith("error:")


@pytest.mark.parametrize(
    "spoil, word",
    [
        (lambda f: (f / "pairs.csv").unlink(), "pairs.csv"),
        (lambda f: (f / "good.csv").write_text("path,score\n"), "good.csv"),
        (lambda f: (f / "good.csv").write_text("path,score\np00/000.jpg,x\n"), "good.csv, line 2"),
        (lambda f: np.save(f / "emb.npy", np.ones((3, 2))), "emb.npy"),
        (lambda f: (f / "emb.npy").write_bytes(b"hello"), "emb.npy"),
        (lambda f: (f / "pairs.csv").write_text("a,b,same\np00/000.jpg,nobody.jpg,1\n"), "nobody.jpg"),
    ],
)
def test_errors_are_one_line_that_names_the_file(files, capsys, spoil, word):
    spoil(files)
    assert run(files, "--embeddings", files / "emb.npy") == 1
    said = capsys.readouterr().err
    assert said.startswith("error:") and word in said and said.count("\n") == 1


def test_a_column_that_is_not_there(files, capsys):
    assert run(files, "--similarity", "cosine") == 1
    assert "cosine" in capsys.readouterr().err


def test_names_must_tell_files_apart(files, capsys):
    assert run(files, "--embeddings", files / "emb.npy", "--names", "x", "x") == 1
    assert run(files, "--embeddings", files / "emb.npy", "--names", "x") == 1
    assert "--names" in capsys.readouterr().err


def test_few_impostors_are_warned_of_in_one_line(files, capsys):
    assert run(files, "--embeddings", files / "emb.npy", "--fmr", "0.001") == 0
    assert capsys.readouterr().err.startswith("warning: ")


def test_people_are_found_in_columns_folders_or_by_connection():
    pairs = pd.DataFrame({"a": ["x/1", "x/1", "x/1"], "b": ["x/2", "y/1", "y/2"], "mated": [True, False, False]})
    a, b = identities_of_pairs(pairs)
    assert list(a) == ["x"] * 3 and list(b) == ["x", "y", "y"]
    flat = pairs.replace("/", "_", regex=True)
    a, b = identities_of_pairs(flat)
    assert a[0] == b[0] and a[1] != b[1]
    named = flat.assign(identity_a=["1", "1", "1"], identity_b=["1", "2", "2"])
    assert list(identities_of_pairs(named)[1]) == ["1", "2", "2"]


def test_contradicting_flags_are_named():
    pairs = pd.DataFrame({"a": ["1", "2", "1"], "b": ["2", "3", "3"], "mated": [True, True, False]})
    with pytest.raises(DataError, match="1 and 3"):
        identities_of_pairs(pairs)


@pytest.mark.parametrize(
    ("started", "program"), [("/usr/bin/fiqa", "fiqa"), ("fiqa_lib/__main__.py", "python -m fiqa_lib")]
)
def test_help_names_the_program_as_it_was_started(monkeypatch, capsys, started, program):
    monkeypatch.setattr(sys, "argv", [started])
    with pytest.raises(SystemExit) as stopped:
        main(["edc", "--help"])
    assert stopped.value.code == 0 and capsys.readouterr().out.startswith(f"usage: {program} edc ")


def test_help_is_quick():
    """What only the work needs is not imported for the help."""
    code = "import sys; from fiqa_lib.cli import parser; parser().format_help(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fiqa_lib.cli" in modules and not {"torch", "pandas", "cv2", "sklearn", "matplotlib"} & set(modules)


def test_as_a_program(files):
    command = [sys.executable, "-m", "fiqa_lib", "edc", "--scores", files / "good.csv", "--pairs", files / "pairs.csv"]
    done = subprocess.run([*command, "--embeddings", files / "none.npy"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "none.npy" in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--embeddings" in done.stderr


@pytest.mark.parametrize("value", [np.nan, 0])
def test_a_face_that_was_not_enrolled_follows_on_missing_and_is_named(files, capsys, value):
    embeddings = np.load(files / "emb.npy")
    embeddings[4] = value
    np.save(files / "emb.npy", embeddings)
    pairs = read_pairs_csv(files / "pairs.csv")
    name = pd.read_csv(files / "good.csv")["path"][4]
    concerned = ((pairs.a == name) | (pairs.b == name)).sum()
    for rule in ("worst", "drop"):
        assert run(files, "--embeddings", files / "emb.npy", "--on-missing", rule, "--draws", 0) == 0
        said = capsys.readouterr()
        assert f"1 faces have no embedding (NaN or zeros), {name} first" in said.err and str(concerned) in said.out
    assert run(files, "--embeddings", files / "emb.npy", "--on-missing", "raise", "--draws", 0) == 1
    assert name in capsys.readouterr().err
    np.savez(files / "e.npz", embeddings)
    assert run(files, "--embeddings", files / "e.npz") == 1
    assert ".npz" in capsys.readouterr().err


def with_cosines(files, more=(), change=lambda table: table):
    table = read_pairs_csv(files / "pairs.csv").assign(cos=lambda t: np.sin(np.arange(len(t))) + t.mated)
    table = pd.concat([table, pd.DataFrame(more, columns=list(table))], ignore_index=True)
    write_pairs_csv(change(table).astype({"mated": bool}), files / "pairs.csv")


def test_doubled_pairs_and_images_with_themselves_are_left_out_and_counted(files, capsys):
    with_cosines(files)
    run(files, "--similarity", "cos")
    clean = capsys.readouterr()
    rows = read_pairs_csv(files / "pairs.csv").rename(columns={"same": "mated"}).head(3)
    turned = rows.rename(columns={"a": "b", "b": "a"})[list(rows)]
    self = rows.head(1).assign(b=rows.a, mated=True, cos=1.0)
    pairs = pd.concat([read_pairs_csv(files / "pairs.csv"), rows, turned, self])
    write_pairs_csv(pairs, files / "pairs.csv")
    assert run(files, "--similarity", "cos") == 0
    said = capsys.readouterr()
    assert said.out == clean.out
    assert "6 pairs are listed again" in said.err and "1 pairs are an image with itself" in said.err


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (("p00/000.jpg", "p00/001.jpg", False, 0.5), "1 pairs are flagged both as mated and as not"),
        (("p00/001.jpg", "p00/000.jpg", False, 0.5), "1 pairs are flagged both"),
        (("p00/001.jpg", "p00/000.jpg", True, 0.75), "two similarities"),
        (("p00/001.jpg", "p00/001.jpg", False, 0.75), "another person than itself"),
    ],
)
def test_contradictions_are_refused(files, capsys, row, word):
    with_cosines(files, [row])
    assert run(files, "--similarity", "cos") == 1
    assert word in capsys.readouterr().err


def test_fmr_of_one_is_refused_in_words(files, capsys):
    assert run(files, "--embeddings", files / "emb.npy", "--fmr", 1) == 1
    assert "accepts every pair" in capsys.readouterr().err


def test_a_reversed_score_is_asked_about(files, capsys):
    run(files, "--embeddings", files / "emb.npy")
    assert "reversed" not in capsys.readouterr().err
    table = pd.read_csv(files / "good.csv")
    table.assign(score=-table.score).to_csv(files / "good.csv", index=False)
    assert run(files, "--embeddings", files / "emb.npy") == 0
    said = capsys.readouterr().err
    assert "good: discarding by this score makes the error rise" in said and "is the direction reversed?" in said


@pytest.mark.parametrize("compat", ["crfiqa", "magface"])
def test_edc_draws_as_published_scripts_do(files, compat, capsys):
    given = "--embeddings", files / "emb.npy", "--compat", compat, "--fmr", 0.1, "--out", files / "c.csv"
    assert run(files, *given) == 0 and f"{compat} script" in capsys.readouterr().out
    assert len(pd.read_csv(files / "c.csv").query("method == 'good'")) <= 20


def test_threshold_pair_quality_and_the_fmr_curve_are_the_librarys(files, capsys):
    with_cosines(files, change=lambda table: table.assign(cos=table.cos.mask(table.index == 7)))
    given = "--similarity", "cos", "--threshold", 0.8, "--pair-quality", "mean", "--fmr-curve", "--out", files / "c.csv"
    assert run(files, *given, "--plot", files / "c.png", "--draws", 0) == 0
    said = capsys.readouterr()
    assert "given threshold" in said.out and "FMR at 0.3" in said.out and "1 pairs have no similarity" in said.err
    pairs, scores = read_pairs_csv(files / "pairs.csv"), pd.read_csv(files / "good.csv").set_index("path").score
    expected = evaluation.edc(
        np.ma.masked_invalid(pairs.cos), pairs.mated, scores[pairs.a], scores[pairs.b], threshold=0.8,
        pair_quality="mean", impostor_side=True,
    )  # fmt: skip
    found = pd.read_csv(files / "c.csv").query("method == 'good'")
    np.testing.assert_allclose(found.query("kind == 'FNMR'").error, expected.error)
    np.testing.assert_allclose(found.query("kind == 'FMR'").error, expected.impostor.error)
    assert (files / "c_fmr.png").read_bytes().startswith(b"\x89PNG")
    assert run(files, *given, "--convention", "refit") == 1


def test_a_path_column_can_be_named(files):
    table = pd.read_csv(files / "good.csv").rename(columns={"path": "who"})
    table.assign(name="x").to_csv(files / "good.csv", index=False)
    given = "--embeddings", files / "emb.npy", "--draws", 0
    assert run(files, *given, scores=("good.csv",)) == 1
    assert run(files, *given, "--path-column", "who", scores=("good.csv",)) == 0
