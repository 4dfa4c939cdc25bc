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
