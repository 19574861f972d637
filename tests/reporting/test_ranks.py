"""Whether the order of our rows agrees with the paper's."""

import pandas as pd
import pytest
from scipy.stats import spearmanr

from kneel_lib import paths
from kneel_lib.experiment.store import recorded_in
from kneel_lib.reporting import tables
from kneel_lib.reporting.selection import paper_table

SETTINGS = ("l2", "l1", "elastic", "robust", "wing")


@pytest.fixture(scope="module")
def runs():
    folder = paths.RESULTS / "runs" / "crops" / "study"
    return [run for name in SETTINGS for run in recorded_in(folder / f"{name}.parquet").values()]


def test_the_order_of_five_rows_is_correlated_with_the_papers(runs):
    summary = tables.summary_table(runs).set_index("setting")
    paper = paper_table().set_index("setting").loc[summary.index]
    table = tables.rank_table(runs)
    assert table["weights"].tolist() == ["last epoch"] * 8 + ["EMA"] * 8
    table = table[table["weights"] == "last epoch"].set_index(["quantity", "without"])
    assert set(table["rows"][:, ""]) == {5} and set(table["rows"][:, "l2 elastic"]) == {3}
    for name in tables.PAPER_METRICS:
        expected = spearmanr(summary[name], paper[name]).statistic
        assert table.loc[(name, ""), "rho"] == pytest.approx(expected)
    kept = summary.drop(index=["l2", "elastic"]).index
    expected = spearmanr(summary.loc[kept, "pck_2.5"], paper.loc[kept, "pck_2.5"]).statistic
    assert table.loc[("pck_2.5", "l2 elastic"), "rho"] == pytest.approx(expected)
    assert set(table["epochs"]) == {60} and set(table["cohort"]) == {"crops"}


def test_a_row_without_all_folds_is_left_out_and_two_rows_have_no_order(runs):
    fewer = [run for run in runs if run.spec.setting.name != "wing" or run.spec.held_out]
    assert set(tables.rank_table(fewer)["rows"]) == {4}
    assert tables.rank_table([run for run in runs if run.spec.setting.name in ("l1", "wing")]).empty


def test_the_committed_table_has_both_weights_and_both_tables_of_labels():
    committed = pd.read_csv(paths.RESULTS / "rank_correlation.csv")
    assert set(committed["weights"]) == {"last epoch", "EMA"}
    assert set(committed["cohort"]) == {"crops", "crops_first"}
    assert committed["rho"].between(-1, 1).all()
