"""The figure of a chapter's answers draws the recorded differences, and says what is not recorded."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from kneel_lib.errors import KneelError
from kneel_lib.figures import answers

RECORDED = answers.recorded_differences()
PANELS = {
    "one": [("l1", "wing", "last epoch"), ("l1", "wing", "EMA")],
    "two": [("best", "best_no_heatmap", "last epoch")],
    "three": [("l2", "wing", "EMA")],
}


def test_dots_and_lines_are_those_of_the_recorded_table():
    figure, table = answers.answers(RECORDED, PANELS)
    shown = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in shown] == ["(a) one", "(b) two", "(c) three"]
    known = RECORDED.set_index(["setting", "against", "weights"])
    for axes, pairs in zip(shown, PANELS.values()):
        dots = next(line for line in axes.lines if line.get_marker() == "o")
        np.testing.assert_allclose(dots.get_xdata(), known.loc[pairs, "difference"])
        trainings, subjects = axes.collections
        ends = np.array([segment[:, 0] for segment in subjects.get_segments()])
        np.testing.assert_allclose(ends, known.loc[pairs, ["low_subjects", "high_subjects"]])
        assert trainings.get_linewidth()[0] < subjects.get_linewidth()[0]
    labels = [text.get_text() for text in shown[0].get_yticklabels()]
    assert labels == ["l1 − wing, last epoch", "l1 − wing"]  # where there are two, it says which
    assert shown[1].get_yticklabels()[0].get_text() == "best − best_no_heatmap"
    assert list(table["panel"]) == ["a", "a", "b", "c"]
    plt.close(figure)


def test_a_pair_that_is_not_recorded_is_named():
    with pytest.raises(KneelError, match=r"panel 'one': not recorded: \[\('wing', 'nobody', 'EMA'\)\]"):
        answers.answers(RECORDED, {"one": [("wing", "nobody", "EMA")]})


def test_a_panel_has_at_most_a_dozen_rows():
    with pytest.raises(KneelError, match="13 rows, at most 12"):
        answers.answers(RECORDED, {"one": [("l1", "wing", "EMA")] * 13})
