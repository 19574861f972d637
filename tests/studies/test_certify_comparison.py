"""Tables beside recorded ones: what counts as equal, and what is listed."""

import pandas as pd
import pytest

from studies.certify.comparison import compare

RECORDED = pd.DataFrame(
    {
        "setting": ["wing", "l1", "l2"],
        "label": ["Wing loss", None, "L2 loss"],
        "mre_mm": [1.2, 3.0, None],
        "pck_2": [90.0, 80.0, 0.0],
        "seconds": [1.0, 2.0, 3.0],
    }
)


@pytest.fixture
def compared(tmp_path):
    """(table, differences) of a changed copy of `RECORDED` beside it."""

    def compare_with(**changed):
        now = RECORDED.assign(**changed)
        for name, table in (("recorded.csv", RECORDED), ("now.csv", now)):
            table.to_csv(tmp_path / name, index=False)
        return compare("03_hourglass", "t.csv", tmp_path / "recorded.csv", tmp_path / "now.csv")

    return compare_with


def test_the_same_table_is_equal_whatever_its_times_are(compared):
    table, differences = compared(seconds=[9.0, 9.0, 9.0])
    assert table.equal and differences.empty and table.greatest_difference == 0
    assert (table.values, table.identical, table.beyond, table.left_out) == (12, 12, 0, 3)
    assert table.tolerance == "0.001 or 0.1 %, 0.005 mm"


def test_a_number_within_its_tolerance_is_equal_but_not_identical(compared):
    table, differences = compared(mre_mm=[1.205, 3.0, None], pck_2=[90.09, 80.0, 0.001])
    assert table.equal and differences.empty
    assert table.identical == 9 and table.greatest_difference == pytest.approx(0.09)


@pytest.mark.parametrize(
    "changed, row, column, recorded, now",
    [
        ({"mre_mm": [1.206, 3.0, None]}, 0, "mre_mm", 1.2, 1.206),
        ({"pck_2": [90.0, 80.2, 0.0]}, 1, "pck_2", 80.0, 80.2),
        ({"pck_2": [90.0, 80.0, 0.0011]}, 2, "pck_2", 0.0, 0.0011),
        ({"mre_mm": [1.2, None, None]}, 1, "mre_mm", 3.0, None),
        ({"mre_mm": [1.2, 3.0, 2.0]}, 2, "mre_mm", None, 2.0),
        ({"setting": ["wing", "l1", "best"]}, 2, "setting", "l2", "best"),
        ({"label": [None, None, "L2 loss"]}, 0, "label", "Wing loss", None),
        ({"label": ["Wing loss", "L1 loss", "L2 loss"]}, 1, "label", None, "L1 loss"),
        ({"pck_2": ["90.0", "80.0", "none"]}, 2, "pck_2", 0.0, "none"),
    ],
)
def test_what_differs_by_more_is_listed_with_its_place(compared, changed, row, column, recorded, now):
    table, differences = compared(**changed)
    assert not table.equal and table.beyond == len(differences) == 1
    (one,) = differences.itertuples()
    assert (one.notebook, one.table, one.row, one.column) == ("03_hourglass", "t.csv", row, column)
    for value, wanted in ((one.recorded, recorded), (one.now, now)):
        assert pd.isna(value) if wanted is None else value == wanted
    assert one.tolerance == ("0.005 mm" if column == "mre_mm" else "0.001 or 0.1 %")


def test_another_shape_is_never_equal(tmp_path):
    RECORDED.to_csv(tmp_path / "recorded.csv", index=False)
    for now in (RECORDED.iloc[:2], RECORDED.drop(columns="pck_2"), RECORDED.rename(columns={"pck_2": "p"})):
        now.to_csv(tmp_path / "now.csv", index=False)
        table, differences = compare("n", "t", tmp_path / "recorded.csv", tmp_path / "now.csv")
        assert not table.equal and differences.empty
        assert table.note.startswith("3 rows of setting, label, mre_mm, pck_2, seconds recorded, ")


@pytest.mark.parametrize(
    "column, left_out",
    [
        ("seconds", True),
        ("train_seconds", True),
        ("minutes_per_fold", True),
        ("images_per_s", True),
        ("steps", False),
        ("strict_2", False),
        ("settings", False),
        ("fold_ms", True),
        ("mm", False),
        ("commit", True),
        ("this run: simulated, quick: commit", True),
        ("commits", False),
    ],
)
def test_columns_of_times_and_commits_are_told_by_their_names(column, left_out, tmp_path):
    for name, value in (("recorded.csv", 1.0), ("now.csv", 5.0)):
        pd.DataFrame({column: [value]}).to_csv(tmp_path / name, index=False)
    table, _ = compare("n", "t", tmp_path / "recorded.csv", tmp_path / "now.csv")
    assert table.equal == left_out
