"""The two drawings that lessons open with."""

import pytest

from fiqa_lib.course.diagrams import COURSE, course_map, pipeline
from fiqa_lib.errors import DataError
from tools import catalogue


def texts(fig):
    return [text.get_text() for text in fig.axes[0].texts]


def filled(fig):
    """Left ends of the boxes in the marked colour."""
    first = pipeline(["a"], marked=[0]).axes[0].patches[0].get_facecolor()
    return [patch.get_x() for patch in fig.axes[0].patches if patch.get_facecolor() == first]


def test_a_pipeline_names_its_steps_in_order_and_fills_those_marked():
    fig = pipeline(["photograph\nany size", "crop\n192 x 192", "score"], marked=[1])
    assert [t for t in texts(fig) if t] == ["photograph", "any size", "crop", "192 x 192", "score"]
    boxes = [patch.get_x() for patch in fig.axes[0].patches if hasattr(patch, "get_x")]
    assert filled(fig) == [sorted(boxes)[1]]
    with pytest.raises(DataError, match="needs a step"):
        pipeline([])


def test_the_map_marks_one_lesson():
    fig = course_map("06")
    assert [text for text in texts(fig) if "here" in text] == ["06  SER-FIQ   ← here"]
    with pytest.raises(DataError, match="no lesson '24'"):
        course_map("24")


def test_the_map_knows_every_lesson_that_there_is():
    known = {number for lessons in COURSE.values() for number in lessons}
    assert len(known) == sum(len(lessons) for lessons in COURSE.values())
    lessons = [path.stem[:2] for path in catalogue.course() if not catalogue.is_solution(path)]
    assert set(lessons) <= known
