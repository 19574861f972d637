import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kneel_lib import paths, report
from kneel_lib.data.crops import load_crops
from kneel_lib.experiment import engines, runs
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.rows import ONE_CHANGE, SETTINGS
from kneel_lib.experiment.settings import differing_fields
from kneel_lib.experiment.spec import PSEUDO_LABELLED, plan
from kneel_lib.experiment.store import EMA, find_run, recorded_in, recorded_runs
from kneel_lib.reporting import comparisons, label_tables, pages, selection, tables
from kneel_lib.reporting.export import as_text, export

PAPER_ROWS = {"wing": (31.68, 61.83, 78.68, 87.50), "finetune": (45.92, 72.39, 85.36, 90.91)}


def test_the_papers_numbers_are_those_of_its_tables():
    table = selection.paper_table(1).set_index("setting")
    assert len(table) == 24 and len(selection.paper_table(2)) == 6
    for name, values in PAPER_ROWS.items():
        assert tuple(table.loc[name, list(tables.PAPER_METRICS)]) == values


@pytest.mark.parametrize("name, roi", [(tables.SUMMARY, "truth"), (tables.NO_TRUTH, "image")])
def test_committed_summaries_follow_from_the_recorded_runs(name, roi):
    made = tables.summary_table(recorded_runs(), roi)
    committed = pd.read_csv(paths.RESULTS / name).drop(columns=list(tables.OUTLINE), errors="ignore")
    pd.testing.assert_frame_equal(made, committed, atol=6e-4, rtol=0, check_dtype=False)


@pytest.mark.parametrize("name, cohort", [("table1.csv", "cohort"), ("table2.csv", "dataset")])
def test_tables_1_and_2_have_errors_across_along_and_from_the_point_to_the_curve(name, cohort):
    table = pd.read_csv(paths.RESULTS / name).dropna(subset=list(tables.OUTLINE))
    assert {"table1.csv": {"crops", "crops_first"}, "table2.csv": {"A", "B", "val"}}[name] <= set(
        table[cohort]
    )
    across, along, curve = (table[column] for column in tables.OUTLINE[:3])
    near = table["mre_mm"] < 5  # from far off, as after the last epoch of L2, a curve is nearest elsewhere
    assert near.sum() >= len(table) - 1 and (across <= curve)[near].all()
    assert (curve < table["mre_mm"]).all() and (along < table["mre_mm"]).all()


def test_the_cost_without_truth_is_the_difference_of_the_two_means():
    recorded = recorded_runs()
    keys = ["setting", "cohort", "profile"]
    cost = tables.cost_without_truth(recorded).set_index(keys)
    means = [tables.summary_table(recorded, roi).set_index(keys)["mre_mm"] for roi in ("truth", "image")]
    for row_key, row in cost.iterrows():
        assert row["mre_growth_mm"] == pytest.approx(means[1][row_key] - means[0][row_key], abs=1e-9)
        assert row["low"] < row["mre_growth_mm"] < row["high"]


def test_recorded_runs_of_best_cover_every_knee_once():
    best = report.recorded_groups(recorded_runs(), "best")
    predictions = selection.pooled_predictions(best)
    assert (
        len(best) == 5
        and len(predictions) == 529
        and not predictions.duplicated(["subject_id", "side"]).any()
    )


def test_recorded_best_reaches_the_level_that_the_readme_claims():
    row = tables.summary_table(report.recorded_groups(recorded_runs(), "best")).iloc[0]
    assert row["mre_mm"] <= 0.83 and row["out"] == 0
    assert (row[list(tables.PAPER_METRICS)].to_numpy(float) >= [62, 87, 95, 97.5]).all()


def test_recorded_errors_are_those_of_the_predictions(crops):
    labelled = load_crops(name=selection.FINAL_LABELS)
    truth = {
        (row.subject_id, row.side): points
        for row, points in zip(labelled.knees.itertuples(), labelled.landmarks_mm)
    }
    for run in report.recorded_groups(recorded_runs(), "best"):
        for _, row in run.predictions.iterrows():
            points = row[[f"{axis}{n}" for n in range(16) for axis in "xy"]].to_numpy(float).reshape(16, 2)
            errors = row[[f"e{n}" for n in range(16)]].to_numpy(float)
            assert (
                abs(((points - truth[row["subject_id"], row["side"]]) ** 2).sum(axis=1) ** 0.5 - errors).max()
                < 0.01
            ), "places are recorded in hundredths of a mm"


def test_a_user_with_the_crops_gets_the_recorded_runs_at_once(crops, store):
    labelled, recorded = load_cohort(selection.FINAL_LABELS), SETTINGS["best"]
    assert all(find_run(plan(recorded, PROFILES["native"], labelled, fold)) for fold in range(5))
    found = engines.get_table([recorded], PROFILES["native"], labelled)
    assert len(found) == 5 and all(paths.RESULTS in run.folder.parents for run in found)


@pytest.mark.trains
def test_the_report_is_remade_without_pictures_or_training(tmp_path, monkeypatch):
    monkeypatch.setenv("KNEEL_DATA", str(tmp_path / "nothing"))
    pages = (
        *("README.md", "results/README.md", "notebooks/paper_vs_code.md"),
        "docs/what_the_numbers_show.md",
    )
    for page in pages:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copyfile(paths.ROOT / page, tmp_path / page)
    written = report.build_report(tmp_path)
    assert all(path.stat().st_size > 0 for path in written) and len(written) >= 9
    for page in pages:
        assert (tmp_path / page).read_text() == (paths.ROOT / page).read_text(), (
            f"{page} is out of date: run `make report`"
        )
    for path in written:
        if path.suffix == ".csv":
            pd.testing.assert_frame_equal(
                pd.read_csv(path),
                pd.read_csv(paths.ROOT / "results" / path.name),
                atol=2e-3,
                rtol=0,
                obj=f"results/{path.name} (out of date? `make report`)",
            )
    described = (tmp_path / "results" / "README.md").read_text()
    assert all(f"`{path.name}`" in described for path in (paths.ROOT / "results").glob("*.csv")), (
        "results/README.md does not say what a table is"
    )


@pytest.fixture
def recorded_fold():
    """One recorded run, whose predictions may be changed."""
    run = report.recorded_groups(recorded_runs(), "best")[0]
    return replace(run, predictions=run.predictions.copy())


@pytest.mark.parametrize("gone", [(0, 8, 9, 15), range(16)])
def test_missing_landmarks_and_lost_knees_count_alike_in_every_table(recorded_fold, gone):
    table = recorded_fold.predictions
    knees = recorded_fold.chosen().index[:100]
    table.loc[knees, [f"e{number}" for number in gone]] = np.nan
    summary, intervals = (
        tables.summary_table([recorded_fold]).iloc[0],
        tables.interval_table([recorded_fold]).set_index("quantity")["mean"],
    )
    assert [summary[f"pck_{radius:g}"] for radius in (1, 2.5)] == pytest.approx(
        [intervals["pck_1"], intervals["pck_2.5"]]
    )
    assert summary["strict_2.5_all16"] == pytest.approx(intervals["strict_2.5_all16"])
    whole = report.recorded_groups(recorded_runs(), "best")[0]
    changed = {
        row["quantity"]: row["difference"] for row in comparisons.paired_rows([recorded_fold], [whole])
    }
    assert (changed["pck_2.5"] < -50) == (len(gone) == 16), (
        "a knee that was not found is outside of every radius, an unknown landmark is left out"
    )


def test_rows_that_share_no_training_are_not_compared(recorded_fold):
    spec = replace(recorded_fold.spec, seed=7)
    assert comparisons.paired_rows([recorded_fold], [replace(recorded_fold, spec=spec)]) == []
    other = replace(recorded_fold, spec=replace(spec, setting=SETTINGS["wing"]))
    assert (
        comparisons.comparison_table([recorded_fold, other]).empty
        and comparisons.comparison_by_group([recorded_fold, other]).empty
    )


def test_export_writes_three_forms(tmp_path):
    table = tables.beside_paper(tables.summary_table(recorded_runs()))
    csv, markdown, latex = export(table, tmp_path, "table1")
    assert len(pd.read_csv(csv)) == len(table) and "paper: pck_1" in csv.read_text()
    assert markdown.read_text().count("\n") == len(table) + 2
    assert r"Wing + mixup $\alpha$ = 0.75 + cutout 10\% (no wd, finetune)" in latex.read_text()


@pytest.mark.trains
def test_runs_at_a_constant_rate_are_judged_by_ema_weights_too(crops, store):
    profile = replace(PROFILES["smoke"], epochs=2)
    wing, other, best, mean, picked = (
        runs.get_run(SETTINGS[name], profile, crops, 0)
        for name in ("wing", "l1", "best", "mean_shape", "picked")
    )
    settled = selection.with_ema([wing, other, best, mean, picked])
    assert [run.spec.setting.name for run in settled] == ["wing", "l1", "best", "mean_shape"]
    assert not np.allclose(settled[0].errors(), wing.errors()) and np.array_equal(
        settled[0].errors(), wing.errors(weights=EMA), equal_nan=True
    )
    assert settled[2] is best
    table = selection.by_weights(tables.summary_table, [wing, best]).set_index(["setting", "weights"])
    assert set(table.index) == {("wing", "last epoch"), ("wing", "EMA"), ("best", "last epoch")}
    assert table.loc[("wing", "EMA"), "mre_mm"] == pytest.approx(np.nanmean(settled[0].errors()), abs=1e-6)


@pytest.mark.trains
def test_seeds_say_how_much_one_setting_differs_from_itself(crops, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    made = [
        runs.get_run(SETTINGS["best"], profile, crops, fold, seed) for fold, seed in ((0, 0), (0, 1), (1, 0))
    ]
    table = tables.seed_table(made)
    errors = [run.errors().mean() for run in made[:2]]
    assert table[["setting", "fold", "seeds"]].values.tolist() == [["best", 0, 2]]
    assert table["sd_mm"].iloc[0] == pytest.approx(np.std(errors, ddof=1)) and table["most_mm"].iloc[
        0
    ] == pytest.approx(max(errors))


@pytest.mark.trains
def test_picking_the_epoch_on_the_reported_fold_is_never_worse_than_the_last(crops, store):
    profile = replace(PROFILES["smoke"], epochs=3)
    picked, wing = (runs.get_run(SETTINGS[name], profile, crops, 0) for name in ("picked", "wing"))
    row = tables.picked_table([picked, wing]).squeeze()
    assert row["setting"] == "picked" and row["best_mm"] == pytest.approx(
        np.nanmean(picked.errors()), abs=1e-3
    )
    assert row["last_mm"] == pytest.approx(np.nanmean(wing.errors()), abs=1e-3), (
        "looking at the held-out fold changes no weight"
    )
    assert row["optimism_mm"] == pytest.approx(row["last_mm"] - row["best_mm"]) and row["optimism_mm"] >= 0


@pytest.mark.trains
def test_a_seed_that_was_tried_on_one_fold_does_not_make_its_knees_count_twice(crops, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    made = [
        runs.get_run(SETTINGS["best"], profile, crops, fold, seed) for fold, seed in ((0, 0), (1, 0), (0, 1))
    ]
    row = tables.summary_table(made).squeeze()
    assert (row["folds"], row["seeds"]) == (2, 1)
    assert row["mre_mm"] == pytest.approx(np.concatenate([run.errors() for run in made[:2]]).mean(), abs=1e-6)
    assert tables.summary_table([made[0], made[2]]).squeeze()["seeds"] == 2, (
        "two seeds that have as many folds both count"
    )


def test_an_ablation_changes_one_field():
    """`ONE_CHANGE` holds each row that was derived from another by one field, and no other."""
    for name, (against, text) in ONE_CHANGE.items():
        (field,) = differing_fields(SETTINGS[name], SETTINGS[against])
        assert text.split()[0] == field
    assert len(ONE_CHANGE) > 45 and "best_js" not in ONE_CHANGE, (
        "another form needs another weight: two fields"
    )
    assert all(len(row.label) <= 40 for row in SETTINGS.values())


@pytest.mark.trains
def test_the_table_of_ablations_compares_each_row_with_its_nearest(crops, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    made = [
        runs.get_run(SETTINGS[name], profile, crops, 0)
        for name in ("best", "best_no_heatmap", "best_js", "wing")
    ]
    table = comparisons.ablation_table(made)
    assert set(zip(table["setting"], table["against"])) == {("best", "best_no_heatmap")}
    row = table[(table["setting"] == "best") & (table["quantity"] == "mre_mm")].iloc[0]
    assert (
        row["difference"] == pytest.approx(made[0].errors().mean() - made[1].errors().mean(), abs=1e-6)
        and row["low_subjects"] <= row["difference"] <= row["high_subjects"]
    )
    shown = table.assign(cohort=selection.STUDY, weights="last epoch")
    assert "heatmap_weight 2.0" in pages.ablation_markdown(shown)
    assert row["trainings"] == 1 and np.isnan(row["low_trainings"])


@pytest.mark.trains
def test_a_difference_has_an_interval_over_trainings_too(crops, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    made = {
        name: [runs.get_run(SETTINGS[name], profile, crops, fold) for fold in (0, 1)]
        for name in ("best", "best_no_heatmap")
    }
    row = (
        comparisons.comparison_table(made["best"] + made["best_no_heatmap"], against="best_no_heatmap")
        .set_index("quantity")
        .loc["mre_mm"]
    )
    each = [first.errors().mean() - second.errors().mean() for first, second in zip(*made.values())]
    held_out = np.array([len(run.errors()) for run in made["best"]])
    shared = (held_out / (made["best"][0].spec.knees - held_out)).mean()
    reach = 12.706 * abs(each[0] - each[1]) * ((1 / 2 + shared) / 2) ** 0.5
    assert (row["trainings"], row["low_trainings"], row["high_trainings"]) == pytest.approx(
        (2, np.mean(each) - reach, np.mean(each) + reach), abs=1e-3
    )
    shown = comparisons.effects(
        comparisons.comparison_table(made["best"] + made["best_no_heatmap"], against="best_no_heatmap")
    )
    assert (
        len(shown) == 1
        and shown["MRE, mm"][0].startswith(f"{row['difference']:+.2f} ({row['low_trainings']:+.2f} to")
        and shown["over subjects"][0].startswith(f"{row['low_subjects']:+.2f} to")
        and shown["trainings"].tolist() == [2]
    )


def test_tables_to_read_give_each_quantity_its_own_number_of_places():
    table = tables.beside_paper(tables.summary_table(recorded_runs()))
    row = as_text(table).loc["wing"]
    assert (
        row[("paper", "pck_1")] == "31.7"
        and row[(f"{selection.STUDY}, study", "folds")] == "5"
        and row[(f"{selection.STUDY}, study", "mre_mm")] == "1.59"
        and row[("", "setting")] == "Wing loss"
    )
    assert as_text(table).loc["finetune", (f"{selection.STUDY}, long", "folds")] == ""


def test_the_recorded_column_of_table1_has_one_row_a_setting():
    recorded = recorded_runs()
    rows = tables.recorded_rows(recorded).set_index("setting")
    assert rows.index.is_unique and set(rows["cohort"]) == {selection.STUDY}
    assert (
        rows.loc[["wing", "best"], "profile"].tolist() == ["study", "study"]
        and rows.loc["aam_igo", "profile"] == "native"
    )
    beside = tables.beside_paper(tables.recorded_rows(recorded).assign(origin="recorded"))
    assert beside.loc["aam_igo", ("recorded", "profile")] == "native"


def test_a_student_is_compared_with_what_its_teacher_began_with():
    few = recorded_in(paths.RESULTS / "runs" / "crops" / "long" / "best.parquet").values()
    table = comparisons.label_comparisons(list(few))
    own = (table["start"] == "pseudo_labelled") & (table["quantity"] == "mre_mm")
    students = table[own & (table["against"] == "simulated")].set_index("labels")
    assert students["knees"].to_dict() == {25: 106, 50: 318, 100: 106, 423: 106}
    for labels, row in students.iterrows():
        counts = (None,) if labels == 423 else (labels,)
        means = {
            start: np.mean(
                [
                    np.nanmean(run.errors())
                    for run in few
                    if run.spec.origin == start and run.spec.labels in counts
                ]
            )
            for start in ("pseudo_labelled", "simulated")
        }
        difference = means["pseudo_labelled"] - means["simulated"]
        assert row["difference"] == pytest.approx(difference, abs=2e-3)


def test_pairs_that_a_sentence_compares_have_a_family_of_their_own_by_labels_and_weights():
    names = ("best", "best_normalised"), ("robust", "wing_nowd", "mixup_0.75_nowd")
    kept = [
        run
        for profile, settings in zip(("native", "study"), names)
        for name in settings
        for run in recorded_in(paths.RESULTS / "runs" / "crops" / profile / f"{name}.parquet").values()
    ]
    table = comparisons.unlike_pairs(kept).query("quantity == 'mre_mm'")
    families = table.groupby(["cohort", "weights"], sort=False).size().to_dict()
    assert families == {("crops", "last epoch"): 1, ("crops", "EMA"): 2}
    alone = table[table["weights"] == "last epoch"].iloc[0]
    assert alone["setting"] == "best_normalised" and alone["p_holm"] == pytest.approx(alone["p"])
    mixed = table[table["setting"] == "mixup_0.75_nowd"].iloc[0]
    assert 0.02 < mixed["low_trainings"] < mixed["difference"] < 0.1


def test_chosen_rows_stand_in_their_order_after_the_last_epoch_and_averaged():
    table = tables.chosen_rows(selection.table1_runs(recorded_runs()), ["best", "wing", "l1"])
    assert table.index.tolist() == tables.row_labels(["best", "wing", "l1"])
    last, averaged = (
        table[(f"{selection.STUDY}, study", "mre_mm")],
        table[(f"{selection.STUDY}, study, EMA", "mre_mm")],
    )
    assert last.iloc[0] == averaged.iloc[0] and averaged.iloc[1] < last.iloc[1]


@pytest.mark.trains
def test_label_table_has_a_row_for_each_run_and_none_for_others(crops, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    few = runs.get_run(SETTINGS["best"], profile, crops, 0, labels=4)
    started = runs.get_run(SETTINGS["best_finetune"], profile, crops, 0, labels=4)
    whole, elsewhere = (runs.get_run(SETTINGS["best"], profile, crops, fold) for fold in (0, 1))
    pseudo = replace(crops.select(slice(0, 8)), name=PSEUDO_LABELLED)
    student = runs.get_run(SETTINGS["best"], profile, pseudo, "all", weights=True)
    tuned = runs.get_run(SETTINGS["best"], profile, crops, 0, labels=4, first=student)
    made = [few, started, whole, elsewhere, runs.get_run(SETTINGS["mean_shape"], profile, crops, 0)]
    all_labels = 40 - len(whole.errors())
    table = label_tables.label_table([*made, student, tuned])
    assert table[["start", "labels"]].to_numpy().tolist() == [
        ["low_cost", 4],
        ["pseudo_labelled", 4],
        ["scratch", 4],
        ["scratch", all_labels],
    ]
    assert set(table["cohort"]) == {"crops"}
    assert label_tables.label_table([]).columns.tolist() == table.columns.tolist()
    others = [runs.get_run(SETTINGS[name], profile, crops, 0, labels=4) for name in ("wing", "wing_finetune")]
    assert label_tables.label_table(made + others).groupby("recipe").size().to_dict() == {
        "best": 3,
        "wing": 2,
    }
    compared = comparisons.label_comparisons(made + others)
    assert set(compared["recipe"]) == {"best", "wing"}
    compared = compared[compared["recipe"] == "best"]
    assert compared["labels"].tolist() == [4, 4, 4] and set(compared["start"]) == {"low_cost"}
    difference = np.nanmean(started.errors()) - np.nanmean(few.errors())
    assert compared.set_index("quantity")["difference"]["mre_mm"] == pytest.approx(difference, abs=1e-6)
