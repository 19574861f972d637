from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kneel_lib import landmarks, metrics
from kneel_lib.data import oai, roi_fields
from kneel_lib.errors import KneelError
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.store import errors_of, working_runs
from kneel_lib.pipeline import test_sets
from kneel_lib.pipeline.knee import Knee
from kneel_lib.reporting import pipeline_tables, tables
from kneel_lib.simulation import population

SMOKE = replace(PROFILES["smoke"], epochs=1)


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("KNEEL_CACHE", str(tmp_path_factory.getbasetemp() / "evaluation-cache"))


@pytest.mark.trains
def test_cases_have_their_landmarks_where_the_file_shows_them(own_cache):
    """The truth of a case, carried to the right-oriented cohort's frame, is the cohort's."""
    _, count, cases = test_sets.load_cases("A", 10)
    cases = list(cases)
    folder = population.make_files(population.take(population.POPULATIONS["A"], 10))
    cohort = oai.load_oai(folder, folder / "annotations.csv", "A", jobs=1)
    assert count == len(cases) and sum(len(case.knees) for case in cases) == len(cohort)
    shapes = {
        (row["subject_id"], row["side"]): points
        for (_, row), points in zip(cohort.knees.iterrows(), cohort.landmarks_mm)
    }
    for case in cases:
        for (_, row), truth in zip(case.knees.iterrows(), case.truth_mm):
            shape = truth if row["side"] == "R" else landmarks.mirrored(truth, 0)
            expected = shapes[row["subject_id"], row["side"]]
            assert np.allclose(shape - shape[4], expected - expected[4], atol=1e-6)


@pytest.mark.trains
def test_search_cohorts_keep_the_knees_and_their_order(own_cache):
    """So that a fold of the landmark cohort and the same fold of its ROI localisation hold out the same
    subjects."""
    folder = population.make_files(population.take(population.POPULATIONS["A"], 10))
    knees = oai.load_oai(folder, folder / "annotations.csv", "A", jobs=1).knees
    assert knees[["subject_id", "side"]].equals(
        roi_fields.load_halves(folder, folder / "annotations.csv", "A", jobs=1).knees[["subject_id", "side"]]
    )


@pytest.mark.trains
def test_a_perfect_answer_scores_zero_and_a_lost_knee_is_counted(own_cache):
    _, _, cases = test_sets.load_cases("B", 10)
    case = next(cases)
    step = case.radiograph.mm_per_px
    located = {
        side: Knee(side, truth / step, step, np.zeros(16), 30.0, ())
        for side, truth in zip(case.knees["side"], case.truth_mm)
    }
    perfect = test_sets.case_table(case, located)
    assert np.allclose(errors_of(perfect), 0, atol=1e-9) and perfect["trusted"].all()
    lost = test_sets.case_table(case, {})
    assert np.isnan(errors_of(lost)).all() and not lost["trusted"].any()
    both = metrics.summarise(np.concatenate([errors_of(perfect), errors_of(lost)]), landmarks.TABLE2)
    assert (both["pck_1"], both["out"]) == (50.0, 50.0) and both["mre_mm"] < 1e-9


@pytest.mark.trains
def test_table_2_is_made_from_evaluations_of_whole_pipelines(own_cache, store):
    """Both kinds of pipeline on simulated radiographs, through training, search and landmarks; a second
    call loads what is there."""
    made = [test_sets.evaluate("A", method, SMOKE) for method in ("two_stage", "rfrv_clm")]
    table = pipeline_tables.test_set_table(made)
    assert (
        table["method"].tolist() == ["rfrv_clm"] * 3 + ["two_stage"] * 3
        and table["oa"].tolist() == ["all", "no", "yes"] * 2
    )
    whole = table[table["oa"] == "all"]
    assert (whole["knees"] == len(made[0].predictions)).all() and table.groupby("method")[
        "knees"
    ].sum().tolist() == [2 * n for n in whole["knees"]]
    assert whole["folds"].tolist() == [1, 2] and set(table["trained_on"]) == {"simulated"}
    again = test_sets.evaluate("A", "two_stage", SMOKE)
    assert (
        again.folder == made[0].folder
        and pd.testing.assert_frame_equal(again.predictions, made[0].predictions) is None
    )
    searches = pipeline_tables.roi_table(working_runs(store))
    assert (
        searches["cohort"].tolist() == ["simulated_halves"]
        and searches["folds"].tolist() == [2]
        and searches["worst_mm"].iloc[0] > 0
    )
    assert not set(tables.summary_table(working_runs(store))["setting"]) & {"roi", "two_stage"}


@pytest.mark.trains
def test_the_validation_crops_are_predicted_without_truth(crops, store):
    """Mirroring back and forth, nominal spacing and true millimetres fit together: forests get real knees
    to a few mm."""
    made = test_sets.evaluate("val", "rfrv_clm", SMOKE)
    assert len(made.predictions) == (crops.knees["split"] == "val").sum() == 58
    errors = made.errors("found")
    assert (
        np.nanmean(errors) < 3
        and abs(
            np.nanmean(errors[made.predictions["side"] == "L"])
            - np.nanmean(errors[made.predictions["side"] == "R"])
        )
        < 1
    )


def test_unknown_test_sets_and_pipelines_are_refused():
    with pytest.raises(KneelError, match="unknown test set 'C': choose one of A, B, val, test"):
        test_sets.load_cases("C")
    with pytest.raises(KneelError, match="unknown pipeline 'magic': choose"):
        test_sets.evaluate("A", "magic", SMOKE)


def test_missing_test_images_are_named(crops):
    """The publisher's test split is not on every machine: what is missing is said, and where to get it."""
    try:
        _, count, cases = test_sets.load_cases("test")
    except KneelError as error:
        assert "144 of 144 knee crops are missing" in str(error)
    else:
        assert count == 144


def test_a_crops_pipeline_knows_the_nominal_spacing_alone(cohort):
    """The same files, whose true spacing is another: what the pipeline is given is the same to the last
    bit."""
    knees = cohort.knees.assign(mm_per_px=1.4 * cohort.knees["mm_per_px"])
    misread = replace(cohort, knees=knees, landmarks_mm=1.4 * cohort.landmarks_mm)
    for row in (0, 1):
        first, other = (test_sets.crop_case(one, row) for one in (cohort, misread))
        assert first.radiograph.mm_per_px == other.radiograph.mm_per_px == cohort.nominal_mm_per_px
        assert np.array_equal(first.radiograph.grey, other.radiograph.grey)
        assert first.radiograph.side == other.radiograph.side == cohort.knees["side"][row]
        assert np.allclose(1.4 * first.truth_mm, other.truth_mm), "the truth is in true millimetres"


def test_errors_of_a_crop_are_in_true_millimetres_where_its_file_shows_the_knee(cohort):
    for row in (0, 1):
        case = test_sets.crop_case(cohort, row)
        step, side = float(cohort.knees["mm_per_px"][row]), cohort.knees["side"][row]
        x, y = np.round(case.truth_mm[0] / step).astype(int).T
        assert case.radiograph.grey[y, x].mean() > 150, "the drawn landmarks are bright dots"
        off = case.truth_mm[0] / step + [3, 4]
        located = {side: Knee(side, off, case.radiograph.mm_per_px, np.zeros(16), 30.0, ())}
        assert errors_of(test_sets.case_table(case, located)) == pytest.approx(np.full((1, 16), 5 * step))
