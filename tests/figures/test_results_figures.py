"""Figures of recorded tables: what they draw, and what they leave out."""

import pandas as pd

from kneel_lib.figures import results


def label_rows(cohort, counts):
    """A row a count of labels, of the start "scratch"."""
    about = {"recipe": "best", "cohort": cohort, "profile": "long", "weights": "last epoch"}
    return [{**about, "start": "scratch", "labels": count, "mre_mm": 1.0} for count in counts]


def test_a_cohort_of_one_count_has_no_panel_beside_a_curve():
    lone, curve = label_rows("crops", [50]), label_rows("crops_first", [25, 50])
    (axes,) = results.label_curve(pd.DataFrame(lone + curve)).axes
    assert "crops_first" in axes.get_title()
    (axes,) = results.label_curve(pd.DataFrame(lone)).axes
    assert axes.get_title().startswith("best, crops, long")
