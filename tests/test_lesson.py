"""What every notebook calls: start, record, check."""

import functools
import re

import numpy as np
import pytest
import torch

from fiqa_lib.course import exercises, lesson


@pytest.fixture
def asked(monkeypatch):
    """An exercise 99.1: a function that doubles a number."""
    monkeypatch.setattr(exercises, "_REGISTER", dict(exercises._REGISTER))

    @exercises.exercise("99.1")
    def double(attempt):
        if attempt(3) != 6:
            return "3 doubled is 6"

    return "99.1"


def stub_ellipsis(x): ...


def stub_raising(x):
    raise NotImplementedError


class TestCheck:
    @pytest.mark.parametrize("attempt", [None, ..., stub_ellipsis, stub_raising, lambda x: None, lambda x: ...])
    def test_not_attempted(self, asked, capsys, attempt):
        lesson.check(asked, attempt)
        assert capsys.readouterr().out == "99.1 not attempted\n"

    def test_right(self, asked, capsys):
        lesson.check(asked, lambda x: 2 * x)
        assert capsys.readouterr().out == "99.1 right\n"

    def test_right_as_a_partial_function(self, asked, capsys):
        lesson.check(asked, functools.partial(lambda a, b: a * b, 2))
        assert capsys.readouterr().out == "99.1 right\n"

    def test_wrong_gets_the_hint(self, asked, capsys):
        lesson.check(asked, lambda x: x)
        assert capsys.readouterr().out == "99.1 not yet: 3 doubled is 6\n"

    def test_an_exception_in_the_attempt_is_put_into_words(self, asked, capsys):
        lesson.check(asked, lambda x: x / 0)
        assert capsys.readouterr().out == "99.1 stops with ZeroDivisionError: division by zero\n"

    def test_an_exception_names_the_readers_line(self, asked, capsys):
        import linecache

        source = "def attempt(x):\n    y = x + 1\n    return y.missing\n"
        linecache.cache["/x/ipykernel_1/2.py"] = (len(source), None, source.splitlines(True), "/x/ipykernel_1/2.py")
        space = {}
        exec(compile(source, "/x/ipykernel_1/2.py", "exec"), space)
        lesson.check(asked, space["attempt"])
        assert 'AttributeError in the line "return y.missing"' in capsys.readouterr().out

    def test_a_value_of_another_kind_is_a_hint_too(self, asked, capsys):
        lesson.check(asked, "a text instead of a function")
        assert "gave something the check cannot use: TypeError" in capsys.readouterr().out

    def test_a_stub_class_is_not_attempted(self, monkeypatch, capsys):
        monkeypatch.setattr(exercises, "_REGISTER", {"99.2": lambda attempt: attempt().fit(1)})

        class Stub:
            def fit(self, x):
                raise NotImplementedError

        lesson.check("99.2", Stub)
        assert capsys.readouterr().out == "99.2 not attempted\n"

    def test_a_check_that_answers_neither_none_nor_text_is_an_error(self, monkeypatch):
        monkeypatch.setattr(exercises, "_REGISTER", {"99.3": lambda attempt: True})
        with pytest.raises(TypeError, match="99.3"):
            lesson.check("99.3", 1)

    @pytest.mark.parametrize("attempt", [None, stub_ellipsis, lambda x: x, lambda x: x / 0])
    def test_strict_raises_on_anything_but_right(self, asked, attempt):
        with pytest.raises(AssertionError, match="99.1"):
            lesson.strict_check(asked, attempt)

    def test_strict_says_right(self, asked, capsys):
        lesson.strict_check(asked, lambda x: 2 * x)
        assert capsys.readouterr().out == "99.1 right\n"


class TestRegistry:
    @pytest.mark.parametrize("number", ["99.7", "T.99", "one", 7.1])
    def test_unknown_exercise(self, number):
        with pytest.raises(LookupError):
            exercises.find(number)

    def test_unknown_exercise_names_its_neighbours(self):
        with pytest.raises(LookupError, match=r"T\.1"):
            exercises.find("T.99")

    def test_a_number_is_given_once(self, asked):
        with pytest.raises(ValueError, match="twice"):

            @exercises.exercise(asked)
            def other(attempt):
                return None


class TestRecord:
    def test_text_has_three_decimals(self, capsys):
        lesson.record("share", 0.123456)
        assert capsys.readouterr().out == "share = 0.123\n"

    @pytest.mark.parametrize(
        "value, text", [(40, "40"), (np.int64(7), "7"), (2e-5, "2e-05"), (0.0, "0.000"), (np.array([1.5]), "1.500")]
    )
    def test_other_numbers(self, capsys, value, text):
        lesson.record("n", value)
        assert capsys.readouterr().out == f"n = {text}\n"

    def test_what_the_notebook_declares_is_shown(self, capsys):
        lesson.record("n", 0.5, low=0.25, high=1, better_than="baseline")
        assert capsys.readouterr().out == "n = 0.500   (usually between 0.250 and 1)   (to compare with baseline)\n"

    @pytest.mark.parametrize("value", [float("nan"), np.inf, "0.5", None, 1j])
    def test_only_finite_numbers(self, value):
        with pytest.raises(ValueError, match="finite number"):
            lesson.record("n", value)

    def test_only_identifiers(self):
        with pytest.raises(ValueError, match="identifier"):
            lesson.record("two words", 1)

    def test_in_a_notebook_it_is_an_output_that_tests_can_read(self, monkeypatch):
        from IPython.core.interactiveshell import InteractiveShell

        shown = []
        monkeypatch.setattr(InteractiveShell, "initialized", classmethod(lambda cls: True))
        monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
        lesson.record("n", np.float32(0.1), low=0)
        assert shown == [
            {
                "text/plain": "n = 0.100   (usually above 0)",
                "application/vnd.fiqa.record+json": {"name": "n", "value": 0.1, "low": 0},
            }
        ]


class TestStart:
    def test_the_same_seed_gives_the_same_numbers_everywhere(self):
        def numbers():
            rng = lesson.start(3)
            return rng.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - the global one is the subject

        assert numbers() == numbers()

    def test_threads_are_fixed(self, monkeypatch):
        before = torch.get_num_threads()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        lesson.start(0)
        assert torch.get_num_threads() == 1
        torch.set_num_threads(before)

    def test_versions_are_major_and_minor_only(self, capsys):
        lesson.start(0)
        line = capsys.readouterr().out.strip()
        assert re.fullmatch(r"Python 3\.\d+(, [\w-]+ \d+\.\d+)+", line)


@pytest.mark.parametrize("seed", ["abc", "0", 1.0, None, True, -1, 2**32, [0]])
def test_a_seed_that_is_no_whole_number_is_refused_in_words(seed):
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match=r"SEED must be a whole number from 0 to 4294967295, such as 0, and not"):
        lesson.start(seed)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_seed_may_be_numpys(capsys):
    assert lesson.start(np.int64(3)).random() == lesson.start(3).random()
