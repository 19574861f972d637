import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import drawn_cohort

from kneel_lib import metrics
from kneel_lib.baselines import rfrv_clm
from kneel_lib.data.folds import split_rows, take_knees
from kneel_lib.data.rois import CENTRES
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.methods import cut_as
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.store import load_run
from kneel_lib.figures import baselines as baseline_figures
from kneel_lib.figures import style
from kneel_lib.reporting import comparisons, selection, tables

pytestmark = pytest.mark.trains

SMOKE = PROFILES["smoke"]


@pytest.fixture(scope="module")
def knees():
    return drawn_cohort(60, seed=3)


@pytest.fixture(scope="module")
def classical(knees, tmp_path_factory):
    """One run of every row that is no network, on one fold of drawn knees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_RUNS", str(tmp_path_factory.mktemp("runs")))
        names = [name for name, setting in SETTINGS.items() if setting.method not in ("network", "tta")]
        return {name: runs.get_run(SETTINGS[name], SMOKE, knees, 0) for name in names}


def test_all_classical_rows_of_the_paper_are_there(classical):
    assert list(classical) == ["mean_shape", "aam_igo", "aam_lbp", "clm_igo", "clm_lbp", "rfrv_clm"]
    assert set(selection.paper_table()["setting"]) - {"finetune"} <= set(SETTINGS)


@pytest.mark.parametrize("roi", CENTRES)
def test_every_row_predicts_every_knee_for_every_roi(classical, roi):
    for run in classical.values():
        assert np.isfinite(run.errors(roi)).all() and len(run.errors(roi)) == len(run.errors("truth"))


def test_votes_and_experts_beat_the_mean_shape(classical):
    error = {name: run.errors().mean() for name, run in classical.items()}
    assert error["rfrv_clm"] < error["mean_shape"] and error["clm_igo"] < error["mean_shape"]


def test_forests_that_were_not_kept_are_grown_again_as_they_were(classical, knees, tmp_path):
    recorded = tmp_path / classical["rfrv_clm"].spec.address
    shutil.copytree(classical["rfrv_clm"].folder, recorded, ignore=shutil.ignore_patterns("*.npz"))
    again = trained.load_forests(load_run(recorded), knees)
    chosen = take_knees(knees, SMOKE.knees)
    held_out = chosen.select(split_rows(chosen, 0)[1])
    rois = cut_as(classical["rfrv_clm"].spec, held_out)
    errors = metrics.landmark_errors(rois.to_mm(rfrv_clm.fit(again, rois.images)), held_out.landmarks_mm)
    assert np.allclose(errors, classical["rfrv_clm"].errors(), atol=1e-3)


def test_final_against_initial_error(classical):
    table = tables.by_displacement(list(classical.values()))
    assert (
        set(table["setting"]) == set(classical)
        and (table.groupby("setting")["knees"].sum() == len(classical["mean_shape"].errors())).all()
    )
    mean = table[table["setting"] == "mean_shape"]
    inside = (mean["mre_mm"] > mean["from_mm"] - 4) & (mean["mre_mm"] < mean["to_mm"] + 4)
    assert inside.all() and mean["mre_mm"].iloc[-1] > mean["mre_mm"].iloc[0]
    style.use_style()
    assert len(baseline_figures.final_against_initial(table).axes[0].get_legend().get_texts()) == len(
        classical
    )


def test_comparisons_are_paired_corrected_and_labelled(classical):
    table = comparisons.comparison_table(list(classical.values()), against="mean_shape")
    assert set(table["setting"]) == set(classical) - {"mean_shape"} and set(table["quantity"]) == {
        "mre_mm",
        "pck_1",
        "pck_2.5",
    }
    assert table["p_holm"].isna().all() and set(table["trainings"]) == {1}, "of one fold nothing is said"
    assert (
        (table["low_subjects"] <= table["difference"]) & (table["difference"] <= table["high_subjects"])
    ).all()
    row = table[(table["setting"] == "rfrv_clm") & (table["quantity"] == "mre_mm")].iloc[0]
    assert row["difference"] == pytest.approx(
        classical["rfrv_clm"].errors().mean() - classical["mean_shape"].errors().mean()
    )
    assert comparisons.comparison_table(list(classical.values()), against="best").empty
    groups = comparisons.comparison_by_group(list(classical.values()), against="mean_shape")
    by_landmark = groups[groups["group"] == "landmark"].groupby("setting")["difference"].mean()
    whole = table[table["quantity"] == "mre_mm"].set_index("setting")["difference"]
    assert np.allclose(by_landmark, whole[by_landmark.index], atol=1e-9), (
        "no landmark is missing here, so the mean over landmarks is the whole"
    )
    assert set(groups["value"][groups["group"] == "kl"]) <= set(range(5))
    known = groups["low_subjects"].notna()  # a grade of one subject has no interval
    assert (groups["low_subjects"] <= groups["difference"])[known].all() and known.mean() > 0.5


def test_the_picked_control_keeps_the_epoch_that_looked_best(knees, store):
    tiny = replace(SMOKE, epochs=4, knees=None)
    run = runs.get_run(SETTINGS["picked"], tiny, knees, 0)
    assert len(run.history) == 4 and run.errors().mean() == pytest.approx(
        run.history["held_out_mre"].min(), abs=2e-3
    )
    plain = runs.get_run(SETTINGS["wing"], tiny, knees, 0)
    assert run.errors().mean() <= plain.errors().mean() + 1e-6 and "held_out_mre" not in plain.history
