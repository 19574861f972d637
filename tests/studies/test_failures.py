"""The gallery of failures: what is drawn of made-up knees, and real knees by number alone."""

import re

import pandas as pd
import pytest

from kneel_lib import paths
from kneel_lib.data.crops import read_registration
from kneel_lib.reporting.pages import write_between_marks
from studies.failures import pictures, worst
from studies.failures.__main__ import MARKS, PAGE, in_words


def test_every_case_is_drawn_and_told(cohort, tiny_networks):
    cases = pictures.drawn_cases(cohort, tiny_networks, ("as it is", "upside down", "texture"))
    table = pictures.case_table(cases)
    assert list(table["kind"]) == ["as it is", "upside down", "texture"]
    assert list(table["should_be_answered"]) == [True, False, False]
    figure = pictures.gallery(cases)
    assert [axes.get_title().splitlines()[0] for axes in figure.axes] == list(table["kind"])
    for axes, (_, _, told) in zip(figure.axes, cases):
        kind, said = axes.get_title().splitlines()
        error = f"{told.errors_mm.mean():.1f} mm"
        assert said == "no knee found" if told.knee is None else (error in said) == (kind != "texture")


def test_the_worst_knees_are_the_worst_and_have_no_subject():
    table = worst.worst_table()
    assert len(table) == worst.SHOWN and table["mean_mm"].is_monotonic_decreasing
    assert (table["greatest_mm"] > table["mean_mm"]).all() and table["forest_mm"].notna().all()
    assert table["knee"].str.fullmatch("[0-9a-f]{8}").all() and table["knee"].is_unique


def test_doubts_are_counted_without_their_numbers():
    knees = pd.DataFrame(
        {
            "kl": [0, 4, 4],
            "doubts": [
                None,
                "views disagree by 3.4 mm at landmark 12; no knee has this shape (distance 90)",
                "views disagree by 5.0 mm at landmark 2; its side is a guess",
            ],
        }
    )
    table = worst.doubt_table(knees).set_index("doubt")
    assert table.loc["views disagree", ["knees", "KL 0", "KL 4"]].tolist() == [2, 0, 2]
    assert table.loc["its side is a guess", "knees"] == 1 and len(table) == 3


def test_a_knees_name_is_always_the_same_and_tells_no_number():
    assert worst.named("9001695R") == worst.named("9001695R") != worst.named("9001695L")


def test_cells_are_words():
    table = in_words(pd.DataFrame({"a": [1.234, float("nan")], "b": [2, 3], "c": ["x", None]}))
    assert table.to_numpy().tolist() == [["1.23", "2", "x"], ["-", "3", "-"]]


def test_the_page_names_no_subject_and_shows_simulated_knees_alone():
    text = PAGE.read_text()
    subjects = {str(subject) for subject in read_registration()["subject_id"]}
    assert not subjects & set(re.findall(r"\d{7}", text))
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == ["../figures/failures_simulated.png"]
    assert all(mark in text for mark in MARKS) and worst.worst_table()["knee"].iloc[0] in text


def test_the_page_lists_what_the_tables_hold():
    table = pd.read_csv(paths.RESULTS / "failures_doubts.csv")
    knees = pd.read_csv(paths.RESULTS / "validity_knees.csv")
    assert table["knees"].max() <= (~knees["trusted"]).sum()
    assert all(doubt in PAGE.read_text() for doubt in table["doubt"])


def test_marks_of_a_page_are_its_own(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"a\n{MARKS[0]}\nold\n{MARKS[1]}\nb")
    write_between_marks(page, ["new"], MARKS)
    assert page.read_text() == f"a\n{MARKS[0]}\nnew\n{MARKS[1]}\nb"
    with pytest.raises(Exception, match="has lost the marks"):
        write_between_marks(page, ["new"])
