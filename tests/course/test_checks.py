"""What the checks say, and the form of the labs: nothing here runs a notebook."""

import nbformat
import numpy as np
import pytest
import torch
from wrong_answers import WRONG

from course import gradebook
from course.checks import expect
from course.recorded import recorded_errors
from kneel_lib.errors import KneelError

SOURCES = [gradebook.source_of(lab) for lab in gradebook.LABS]


def message(*arguments, **named):
    with pytest.raises(AssertionError) as caught:
        expect(*arguments, **named)
    return str(caught.value)


@pytest.mark.parametrize("got", [2.0, np.float32(2), torch.tensor(2.0, requires_grad=True), True + 1])
def test_a_right_answer_of_any_kind_passes(got):
    expect(got, 2.0, {"half": 1.0})


def test_nan_stands_for_nan():
    expect([1.0, np.nan], np.array([1.0, np.nan]))


@pytest.mark.parametrize("got", ["3.0", ["3.0", "4"], b"3"])
def test_a_text_is_no_number_even_if_it_looks_like_one(got):
    with pytest.raises(AssertionError, match="not a number or an array of numbers"):
        expect(got, 3.0)


def test_a_known_mistake_is_named_before_all_else():
    assert message(1.0, 2.0, {"half": 1.0}, "task") == "task: half"
    assert message([[1.0, 2.0]], [2.0], {"not averaged": [[1.0, 2.0]]}) == "not averaged"


def test_an_unknown_mistake_is_described():
    assert "shape (3,), it should have (2,)" in message(np.zeros(3), np.zeros(2))
    assert "the answer is [1., 5.], it should be [1., 2.]" in message([1.0, 5.0], [1.0, 2.0])
    many = np.zeros((4, 4))
    many[2, 1] = 7
    assert "1 of 16 numbers differ; the first is at [2, 1]: 7." in message(many, np.zeros((4, 4)))
    assert "does it end with `return`" in message(None, 1.0)
    assert "a str (seven), not a number" in message("seven", 7)


def test_a_mistake_that_gives_the_right_answer_is_a_mistake_of_the_lab():
    with pytest.raises(ValueError, match="cannot tell the right answer from: none"):
        expect(1.0, 1.0, {"none": 1.0})


def test_six_labs_of_24_graded_cells_or_more_with_a_hidden_test_in_each():
    assert gradebook.LABS == tuple(f"lab{number}" for number in range(1, 7))
    graded = 0
    for path in SOURCES:
        cells = nbformat.read(path, as_version=4).cells
        checks = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
        graded += len(checks)
        for cell in checks:
            assert (
                cell.source.count("### BEGIN HIDDEN TESTS") == cell.source.count("### END HIDDEN TESTS") == 1
            )
            assert cell.metadata.nbgrader.points > 0 and cell.metadata.nbgrader.locked
        solutions = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")]
        assert len(solutions) == len(checks) >= 4
        hints = sum(
            "<summary>Hint</summary>" in cell.source for cell in cells if cell.cell_type == "markdown"
        )
        assert hints == len(solutions)
    assert graded >= 24


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_source_holds_no_outputs_and_short_cells(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert len(cell.source.splitlines()) <= 60 and "sys.path" not in cell.source
            assert "nbgrader" in cell.metadata
    assert sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown") >= 700


def test_every_lab_has_planted_answers_for_most_of_its_tasks():
    for path, (lab, wrong) in zip(SOURCES, WRONG.items()):
        cells = nbformat.read(path, as_version=4).cells
        tasks = {
            cell.metadata.nbgrader.grade_id
            for cell in cells
            if cell.metadata.get("nbgrader", {}).get("solution")
        }
        assert {answer.task for answer in wrong} == tasks, lab
    assert sum(len(wrong) for wrong in WRONG.values()) >= 12


def test_recorded_errors_are_of_the_same_knees_in_both_rows_and_each_is_held_out_once():
    (wing, wing_mm), (l1, l1_mm) = recorded_errors("wing"), recorded_errors("l1")
    assert wing.equals(l1) and len(wing) == 529 and not wing.duplicated(["subject_id", "side"]).any()
    assert (wing.groupby("subject_id")["fold"].nunique() == 1).all()
    assert np.isfinite(wing_mm).all() and 0 < wing_mm.mean() < l1_mm.mean() < 3
    with pytest.raises(KneelError, match="choose one of wing, l1"):
        recorded_errors("l2")
