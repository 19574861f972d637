"""Rows at other sizes than Table 1's, from the recorded runs of two settings."""

import numpy as np
import pytest

from kneel_lib import paths
from kneel_lib.experiment.store import recorded_in
from kneel_lib.reporting import sizes
from kneel_lib.reporting.selection import paper_table


def recorded(profile, setting):
    return list(recorded_in(paths.RESULTS / "runs" / "crops_first" / profile / f"{setting}.parquet").values())


def test_a_row_stands_beside_the_papers_and_says_how_fast_it_was_on_what():
    runs = recorded("paper", "wing")
    table = sizes.size_table(runs + recorded("study", "wing"), ("paper",))
    assert list(table["weights"]) == ["last epoch", "EMA"] and set(table["profile"]) == {"paper"}
    paper = paper_table().set_index("setting").loc["wing"]
    assert (table["paper_pck_2.5"] == paper["pck_2.5"]).all() and set(table["computed_on"]) == {"NVIDIA H200"}
    trained = runs[0].spec.knees - len(runs[0].errors())
    assert table["images_per_s"][0] == pytest.approx(trained / runs[0].history["seconds"].median())
    assert table["mre_mm"][0] == pytest.approx(np.nanmean(runs[0].errors()))


def test_what_trains_nothing_is_left_out_and_no_runs_are_an_empty_table():
    tta = recorded("study_native", "best_simulated_ema_tta")
    assert tta and sizes.size_table(tta, ("study_native",)).empty
    assert list(sizes.size_table([], ("paper",))) == [*sizes.COLUMNS, "weights"]


def test_rates_stand_by_the_machine_that_trained():
    native, big = recorded("native", "best"), recorded("paper", "wing")
    table = sizes.rate_table(native + big).set_index(["profile", "setting"])
    assert table.loc[("native", "best"), "runs"].sum() == 5  # the run on a split is not of the folds
    assert table.loc[("paper", "wing"), "computed_on"] == "NVIDIA H200"
    assert table.loc[("paper", "wing"), "images_per_s"] == pytest.approx(sizes.speed(big)["images_per_s"])
    assert list(sizes.rate_table([])) == [*table.index.names, *table.columns]
