"""The files from which Binder builds the course: what they name exists, and the commands are those of set-up."""

import re

import pytest

from fiqa_lib.cli import main
from tools.environment import ROOT

FOLDER = ROOT / ".binder"


def lines(name):
    return [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]


def test_its_requirements_are_those_of_the_course():
    named = [line.split()[1] for line in lines("requirements.txt") if line.startswith("-")]
    assert [(FOLDER / name).resolve() for name in named] == [ROOT / "requirements.txt", ROOT / "constraints.txt"]


def test_its_python_is_one_that_the_course_takes():
    major, minor = re.fullmatch(r"python-(\d)\.(\d+)", lines("runtime.txt")[0]).groups()
    assert (3, 11) <= (int(major), int(minor)) <= (3, 14)


def test_its_last_step_is_a_script_of_known_commands(capsys):
    script = FOLDER / "postBuild"
    assert script.stat().st_mode & 0o111 and script.read_text(encoding="utf-8").startswith("#!/bin/bash\nset -euo")
    commands = re.findall(r"python -m fiqa_lib (\S+)", script.read_text(encoding="utf-8"))
    assert commands == ["fetch"]
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0 and capsys.readouterr().out
    code = re.search(r'python -c "(.*)"', script.read_text(encoding="utf-8")).group(1)
    exec(compile(code, "postBuild", "exec"), {})
    assert re.search(r"\d+ methods ready", capsys.readouterr().out)
