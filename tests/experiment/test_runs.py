import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import say

from kneel_lib import paths
from kneel_lib.data.cohort import check_cohort
from kneel_lib.data.folds import LEAST_KNEES, choose_labels, make_folds, split_rows
from kneel_lib.data.rois import cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.experiment import engines, methods, runs, spec, trained
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.methods import cut_as
from kneel_lib.experiment.profiles import PROFILES, Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.store import (
    WEIGHTS,
    errors_of,
    is_current,
    points_of,
    record,
    recorded_runs,
    working_runs,
)
from kneel_lib.network import checkpoint, test_time_augmentation, training
from kneel_lib.reporting import selection, tables

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=3, batch=8)
BEST = SETTINGS["best"]


@pytest.mark.trains
def test_a_run_is_made_once_and_then_loaded(cohort, store):
    first = runs.get_run(BEST, TINY, cohort, fold=1)
    written = (first.folder / "manifest.json").stat().st_mtime_ns
    again = runs.get_run(BEST, TINY, cohort, fold=1)
    assert again.folder == first.folder and (again.folder / "manifest.json").stat().st_mtime_ns == written
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "history.csv",
        "manifest.json",
        "predictions.csv",
        "spec.json",
        "weights.safetensors",
    ]
    assert (
        len(first.history) == 3
        and {"commit", "versions", "processor", "threads", "seconds"} <= first.manifest.keys()
    )


@pytest.mark.trains
def test_predictions_are_the_held_out_knees_with_their_errors(cohort, store):
    run = runs.get_run(BEST, TINY, cohort, fold=1)
    held_out = cohort.select(make_folds(cohort)[1][1])
    for roi in ("truth", "image"):
        rows = run.chosen(roi)
        assert (rows["subject_id"].to_numpy() == held_out.knees["subject_id"].to_numpy()).all()
        points = rows[[f"{axis}{n}" for n in range(16) for axis in "xy"]].to_numpy().reshape(-1, 16, 2)
        assert np.allclose(np.linalg.norm(points - held_out.landmarks_mm, axis=2), run.errors(roi), atol=2e-3)


@pytest.mark.trains
def test_the_saved_network_predicts_what_was_recorded(cohort, store):
    run = runs.get_run(BEST, TINY, cohort, fold=0)
    rois = cut_as(run.spec, cohort.select(make_folds(cohort)[0][1]))
    points = rois.to_mm(training.predict(trained.load_network(run), rois))
    recorded = run.chosen()[["x0", "y0"]].to_numpy()
    assert np.allclose(points[:, 0], recorded, atol=1e-3)


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else (*value, 1.0) if isinstance(value, tuple) else 7


def with_changed_default(record, field):
    return replace(record, **{field.name: changed(getattr(record, field.name))})


def defaults(record):
    """The fields of a record that numbers depend on and that have a default."""
    return [field for field in fields(record) if field.compare and field.default is not MISSING]


def test_every_default_is_part_of_the_address(cohort):
    """Were a default of the code another one, a run that does not name it would be another run."""
    plain = spec.plan(BEST, TINY, cohort, 0)
    others = [
        *(
            replace(plain, setting=with_changed_default(BEST, f))
            for f in defaults(BEST)
            if f.name != "augmentation"
        ),
        *(replace(plain, profile=with_changed_default(TINY, f)) for f in defaults(TINY)),
        *(
            replace(plain, setting=replace(BEST, augmentation=with_changed_default(BEST.augmentation, f)))
            for f in defaults(BEST.augmentation)
        ),
        *(with_changed_default(plain, f) for f in defaults(plain) if f.name not in ("start", "pipeline")),
        replace(plain, start=spec.Start("crops", BEST, TINY)),
        replace(plain, fingerprint="another"),
        replace(plain, kind="split"),
    ]
    assert len(others) > 50 and len({plain.hash, *(other.hash for other in others)}) == len(others) + 1
    assert len({other.address for other in others}) == len(others)
    assert replace(plain, setting=replace(BEST, label="x", base="y")).hash == plain.hash, "names for people"


@pytest.mark.parametrize("name", ["best", "best_simulated", "best_finetune", "best_tta"])
def test_a_spec_is_read_back_from_json_as_it_was(cohort, name):
    planned = spec.plan(SETTINGS[name], TINY, cohort, 1, labels=4)
    data = json.loads(json.dumps(spec.as_data(planned)))
    assert spec.from_data(data) == planned and spec.from_data(data).hash == planned.hash
    del data["setting"]["dropout"]
    with pytest.raises(TypeError, match="Setting lacks dropout"):
        spec.from_data(data)


def test_a_run_on_all_knees_holds_nothing_out(cohort, store):
    run = runs.get_run(BEST, replace(TINY, epochs=1), cohort, "all")
    assert run.spec.kind == "all" and not len(run.predictions) and trained.load_network(run)
    assert not selection.cross_validated([run])


def test_one_grey_value_changes_the_fingerprint(cohort):
    image = cohort.images[3].copy()
    image[0, 0] += 1
    changed = replace(cohort, images=(*cohort.images[:3], image, *cohort.images[4:]))
    assert changed.fingerprint != cohort.fingerprint


KILLED = """
import sys; sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads(1)
from conftest import drawn_cohort
from kneel_lib.experiment import runs
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import checkpoint
profile = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=6, batch=8)
save = checkpoint.save_state
def save_and_die(state, path):
    save(state, path)
    if state.epoch == {dies_after}: import os, signal; os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_state = save_and_die
runs.get_run(SETTINGS[{setting!r}], profile, drawn_cohort(), 0)
"""


def run_process(setting, store, dies_after=-1):
    code = KILLED.format(tests=str(Path(__file__).parent.parent), dies_after=dies_after, setting=setting)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KNEEL_RUNS": str(store)},
        capture_output=True,
        text=True,
    )


@pytest.mark.trains
@pytest.mark.parametrize("setting", ["best", "robust"])
def test_a_killed_run_goes_on_and_ends_equal_to_one_that_was_not(setting, tmp_path):
    assert run_process(setting, tmp_path / "killed", dies_after=2).returncode == -signal.SIGKILL
    assert not working_runs(tmp_path / "killed")
    (partial,) = (tmp_path / "killed").rglob("*.partial")
    (partial / "checkpoint.safetensors.999.tmp").write_bytes(b"half a checkpoint")
    process = run_process(setting, tmp_path / "killed")
    assert not list((tmp_path / "killed").rglob("*.tmp"))
    assert "| 2/6 [" in process.stdout, process.stderr
    assert run_process(setting, tmp_path / "whole").returncode == 0
    (killed,), (whole,) = working_runs(tmp_path / "killed"), working_runs(tmp_path / "whole")
    pd.testing.assert_frame_equal(killed.predictions, whole.predictions, check_exact=True)
    pd.testing.assert_frame_equal(
        killed.history.drop(columns="seconds"), whole.history.drop(columns="seconds"), check_exact=True
    )
    weights = [checkpoint.load_tensors(run.folder / "weights.safetensors")[0] for run in (killed, whole)]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])


@pytest.mark.trains
def test_two_processes_train_one_run_once(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent.parent), dies_after=-1, setting="best")
    environment = {**os.environ, "KNEEL_RUNS": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(working_runs(tmp_path)) == 1
    assert sum("| 6/6 [" in text for text in printed) == 1


@pytest.mark.trains
def test_a_damaged_checkpoint_or_run_is_one_clear_error(cohort, store):
    run = runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)
    (run.folder / "predictions.csv").unlink()
    with pytest.raises(KneelError, match="is not a whole run .* delete it"):
        runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)
    folder = store / spec.plan(BEST, TINY, cohort, 0).address
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True)
    (partial / "checkpoint.safetensors").write_bytes(b"\x10\x00 not a checkpoint")
    with pytest.raises(KneelError, match="checkpoint.safetensors is not a readable safetensors file"):
        runs.get_run(BEST, TINY, cohort, 0)


def test_a_checkpoint_of_an_older_training_is_one_clear_error(cohort, tmp_path):
    state = training.start(SETTINGS["wing"], TINY, 2, 0, "cpu")
    epoch = {"epoch": 1, "learning_rate": 1e-3, "loss": 0.5, "seconds": 1.0}
    older = replace(state, averaged=None, epoch=1, history=[epoch])
    checkpoint.save_state(older, tmp_path / "checkpoint.safetensors")
    with pytest.raises(KneelError, match="its part 'averaged' does not fit"):
        checkpoint.restore_state(state, tmp_path / "checkpoint.safetensors", 3)


def test_a_store_that_cannot_be_written_is_one_clear_error(cohort, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KNEEL_RUNS", str(tmp_path / "file"))
    with pytest.raises(KneelError, match="set KNEEL_RUNS to a folder that you may write to"):
        runs.get_run(BEST, TINY, cohort, 0)


FULL_DISK = """
import sys; sys.path.insert(0, {tests!r})
import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
from conftest import drawn_cohort
from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
profile = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=8)
runs.get_run(SETTINGS["mean_shape"], profile, drawn_cohort(), 0)
try:
    runs.get_run(SETTINGS["best"], profile, drawn_cohort(), 0)
except KneelError as error:
    print(error)
"""


@pytest.mark.trains
def test_a_full_disk_is_one_clear_error_and_finished_runs_stay(tmp_path):
    """The system refuses files above 30 kB, as a full disk would refuse them: the small run fits, the
    checkpoint does not."""
    code = FULL_DISK.format(tests=str(Path(__file__).parent.parent))
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KNEEL_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert "cannot write" in process.stdout and "finished runs are kept" in process.stdout
    assert [run.spec.setting.name for run in working_runs(tmp_path)] == ["mean_shape"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_fold_that_is_not_there(cohort, store):
    for fold in (7, -1, "first"):
        with pytest.raises(KneelError, match=f"fold {fold} does not exist"):
            runs.get_run(SETTINGS["mean_shape"], TINY, cohort, fold)


@pytest.mark.parametrize("subject", ["NA", "null", "None"])
def test_a_run_keeps_a_subject_whose_name_reads_like_nothing(crops, store, subject):
    knees = crops.knees.astype({"subject_id": str})
    held = runs.get_run(SETTINGS["mean_shape"], PROFILES["smoke"], crops, 0).predictions["subject_id"].iloc[0]
    knees.loc[knees["subject_id"] == str(held), "subject_id"] = subject
    named = replace(crops, name="mine", knees=knees)
    tables = [runs.get_run(SETTINGS["mean_shape"], PROFILES["smoke"], named, fold) for fold in range(5)]
    assert sum((table.predictions["subject_id"] == subject).any() for table in tables) == 1


def test_a_cohort_refuses_a_subject_that_no_table_can_hold(crops):
    knees = crops.knees.astype({"subject_id": str})
    knees.loc[knees.index[0], "subject_id"] = "scans/k0.png"
    with pytest.raises(KneelError, match="scans/k0.png.* has a subject that is neither a number nor a name"):
        check_cohort(replace(crops, knees=knees))


def test_folds_keep_subjects_together_and_cover_every_knee_once(cohort):
    folds = make_folds(cohort)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(len(cohort)))
    subjects = cohort.knees["subject_id"].to_numpy()
    assert all(not set(subjects[a]) & set(subjects[b]) for a, b in folds)


@pytest.mark.trains
def test_a_transfer_is_trained_on_one_cohort_and_tried_on_all_of_another(cohort, store):
    from conftest import drawn_cohort

    other = drawn_cohort(12, seed=5)
    run = runs.get_run(BEST, TINY, other, source=cohort)
    assert len(run.errors()) == 12 and set(run.predictions["fold"]) == {"all"} and run.spec.knees == 24
    assert runs.get_run(BEST, TINY, other, source=cohort).folder == run.folder
    with pytest.raises(KneelError, match="cannot be tried on the same ones"):
        runs.get_run(BEST, TINY, cohort, source=cohort)
    with pytest.raises(KneelError, match="choose its recipe from scratch, best"):
        runs.get_run(SETTINGS["best_simulated"], TINY, other, source=cohort)
    mean = runs.get_run(SETTINGS["mean_shape"], TINY, other, source=cohort)
    offsets = (cohort.landmarks_mm - cohort.landmarks_mm[:, 4:5]).mean(axis=0)
    expected = np.linalg.norm(other.landmarks_mm[:, 4:5] + offsets - other.landmarks_mm, axis=2)
    assert np.allclose(mean.errors(), expected, atol=2e-3)
    assert tables.summary_table([run]).empty


def test_summary_of_runs_pools_folds_and_labels_them(cohort, store):
    made = engines.get_table([SETTINGS["mean_shape"]], TINY, cohort) + engines.get_table(
        [BEST], TINY, cohort, [0, 1]
    )
    table = tables.summary_table(made)
    assert table["setting"].tolist() == ["mean_shape", "best"] and table["folds"].tolist() == [5, 2]
    assert table["knees"].tolist() == [24, len(make_folds(cohort)[0][1]) + len(make_folds(cohort)[1][1])]
    errors = np.concatenate([run.errors() for run in made[:5]])
    assert table["mre_mm"][0] == pytest.approx(errors.mean())
    assert list(table.columns) == json.loads((Path(__file__).parent / "table1_columns.json").read_text())


@pytest.mark.trains
def test_recording_leaves_weights_behind(cohort, store, tmp_path, monkeypatch):
    runs.get_run(BEST, TINY, cohort, 0)
    say(store)
    run = runs.get_run(BEST, TINY, cohort, 0)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    assert record(["native"]) == []
    (recorded,) = record(["tiny"])
    assert recorded.folder == tmp_path / "results/runs/drawn/tiny/best.parquet" and record(["tiny"]) == []
    monkeypatch.setenv("KNEEL_RUNS", str(tmp_path / "new machine"))
    found = runs.get_run(BEST, TINY, cohort, 0)
    assert found.folder == recorded.folder, "predictions are there, so nothing is trained"
    assert (found.spec, found.manifest) == (run.spec, run.manifest)
    assert found.predictions.columns.tolist() == run.predictions.columns.tolist()
    ours, theirs = (one.chosen().sort_values(["subject_id", "side"]) for one in (found, run))
    assert np.array_equal(errors_of(ours), errors_of(theirs)), "errors are kept to 0.001 mm"
    assert np.allclose(points_of(ours), points_of(theirs), atol=0.006), "places to 0.01 mm"
    pd.testing.assert_frame_equal(found.history, run.history)
    with pytest.raises(KneelError, match="holds no weights"):
        trained.load_network(found)
    (again,) = engines.get_table([BEST], TINY, cohort, [0], weights=True)
    assert again.folder != recorded.folder and trained.load_network(again)
    assert np.array_equal(again.errors(), run.errors())
    assert runs.get_run(BEST, TINY, cohort, 0).folder == again.folder
    mean = runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)
    assert runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0, weights=True).manifest == mean.manifest, (
        "a method without a network has none to ask for"
    )


def test_one_file_holds_all_runs_of_a_row_and_one_line_reads_it(cohort, store, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    for fold in (0, 1):
        runs.get_run(SETTINGS["mean_shape"], TINY, cohort, fold)
        say(store)
        (recorded,) = record(["tiny"])
    table = pd.read_parquet(recorded.folder)
    assert table["run"].nunique() == 2 and set(table["fold"]) == {"0", "1"}
    assert [run.spec.fold for run in recorded_runs()] == [0, 1]
    recorded.folder.write_bytes(recorded.folder.read_bytes()[:-50])
    with pytest.raises(KneelError, match="mean_shape.parquet is not a whole record of runs"):
        recorded_runs()


def test_a_run_that_held_nothing_out_is_recorded_beside_those_that_did(cohort, store, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    made = [runs.get_run(SETTINGS["mean_shape"], TINY, cohort, fold) for fold in ("all", 0)]
    say(store)
    record(["tiny"])
    found = {run.spec: run for run in recorded_runs()}
    assert found.keys() == {run.spec for run in made}
    assert not len(found[made[0].spec].predictions) and len(found[made[1].spec].errors())


@pytest.mark.trains
def test_few_labels_are_nested_sets_of_the_fold_and_keep_off_the_table(cohort, store, tmp_path):
    known = make_folds(cohort)[0][0]
    few, more = (set(choose_labels(known, count, 0)) for count in (4, 8))
    assert few < more <= set(known) and len(more) == 8 and len(choose_labels(known, 4, 0)) == LEAST_KNEES
    with pytest.raises(KneelError, match="cannot take 500 labelled knees"):
        choose_labels(known, 500, 0)
    run = runs.get_run(BEST, replace(TINY, epochs=1), cohort, 0, labels=4)
    assert run.spec.labels == 4 and not selection.cross_validated([run])


@pytest.mark.trains
def test_a_started_run_takes_over_every_layer_that_fits(cohort, store):
    first = runs.get_run(BEST, TINY, cohort, fold=1)
    state = training.start(BEST, TINY, 3, 5, "cpu")
    methods.take_over(trained.load_network(first), state)
    assert all(
        (own == other).all()
        for own, other in zip(
            state.model.state_dict().values(), trained.load_network(first).state_dict().values()
        )
    )
    one = training.make_network(BEST, TINY, outputs=1)
    fresh = training.start(BEST, TINY, 3, 5, "cpu")
    before = {name: value.clone() for name, value in fresh.model.state_dict().items()}
    methods.take_over(one, fresh)
    kept = [
        name
        for name, value in fresh.model.state_dict().items()
        if value.shape != one.state_dict()[name].shape
    ]
    assert kept and all((fresh.model.state_dict()[name] == before[name]).all() for name in kept)
    continued = runs.get_run(BEST, TINY, cohort, fold=0, first=first)
    assert (
        continued.spec.start.run == first.spec.hash
        and continued.folder != runs.get_run(BEST, TINY, cohort, fold=0).folder
    )


def test_displaced_rois_are_the_same_every_time_and_at_most_10_mm_off(cohort):
    truth, displaced = (cut_rois(cohort, 64, 1.6, centre) for centre in ("truth", "displaced"))
    shift = np.linalg.norm(displaced.origin_mm - truth.origin_mm, axis=1)
    assert 0 < shift.min() and shift.max() <= 10 and shift.std() > 1
    assert np.array_equal(displaced.images, cut_rois(cohort, 64, 1.6, "displaced").images)
    assert np.allclose(displaced.to_mm(displaced.landmarks_px), cohort.landmarks_mm, atol=1e-3)


def test_the_split_val_can_be_held_out(cohort, store):
    marked = replace(
        cohort,
        knees=cohort.knees.assign(split=np.where(cohort.knees["subject_id"] < 9000008, "val", "train")),
    )
    run = runs.get_run(SETTINGS["mean_shape"], TINY, marked, "val")
    assert (
        set(run.predictions["split"]) == {"val"}
        and len(run.errors()) == (marked.knees["split"] == "val").sum()
    )
    assert not selection.cross_validated([run])
    with pytest.raises(KneelError, match="has no split 'train' and 'val'"):
        runs.get_run(SETTINGS["mean_shape"], TINY, cohort, "val")


@pytest.mark.trains
def test_fine_tuning_starts_from_the_roi_network_of_its_own_fold(cohort, store):
    """All layers but the last are taken over, and the ROI network is made only where the fine-tuned run is
    missing."""
    profile = replace(PROFILES["smoke"], epochs=1)
    tuned = runs.get_run(SETTINGS["best_finetune"], profile, cohort, 1)
    (search,) = [run for run in working_runs(store) if run.spec.setting.name == "roi"]
    assert (search.spec.cohort, search.spec.held_out, search.spec.profile.name) == (
        "drawn_scattered",
        1,
        "smoke",
    )
    assert tuned.spec.origin == "low_cost"
    state = training.start(SETTINGS["best_finetune"], profile, 1, 0, "cpu")
    methods.take_over(trained.load_network(search), state)
    taken = state.model.state_dict()
    assert all(
        torch.equal(taken[name], value)
        for name, value in trained.load_network(search).state_dict().items()
        if not name.startswith("output.")
    )
    assert taken["output.weight"].shape[0] == 16
    shutil.rmtree(search.folder)
    assert (
        runs.get_run(SETTINGS["best_finetune"], profile, cohort, 1).folder == tuned.folder
        and not search.folder.exists()
    )


@pytest.mark.trains
def test_a_row_from_simulated_knees_starts_with_the_network_of_its_plain_recipe(cohort, store):
    """Trained on all simulated knees once for every fold; never tried on these themselves."""
    profile = replace(PROFILES["smoke"], epochs=1)
    made = [runs.get_run(SETTINGS["best_simulated"], profile, cohort, fold) for fold in (0, 1)]
    (before,) = [run for run in working_runs(store) if run.spec.cohort == "simulated"]
    assert (before.spec.setting.name, before.spec.held_out, before.spec.target) == ("best", "all", "drawn")
    assert made[0].spec.origin == "simulated" and len(selection.cross_validated([*made, before])) == 2
    with pytest.raises(KneelError, match="cannot be tried on the same ones"):
        runs.get_run(SETTINGS["best_simulated"], profile, load_cohort("simulated", 40), 0)


@pytest.mark.trains
def test_a_row_can_start_from_simulated_knees_that_hold_nothing_of_the_held_out_subjects(crops, store):
    setting, profile = SETTINGS["best_simulated_unseen"], replace(PROFILES["smoke"], epochs=1, knees=None)
    made = runs.get_run(setting, profile, crops, 1)
    (before,) = [run for run in working_runs(store) if run.spec.held_out == "all"]
    assert before.spec.cohort == "simulated_unseen_1" and before.spec.target == "crops"
    assert made.spec.origin == "simulated_unseen" and selection.cross_validated([made, before]) == [made]
    with pytest.raises(
        KneelError, match="for the folds 0 to 4 of all crops alone, not for fold 0 of 40 knees"
    ):
        runs.get_run(setting, PROFILES["smoke"], crops, 0)
    with pytest.raises(KneelError, match="not for fold val of"):
        runs.get_run(setting, profile, crops, "val")


@pytest.mark.trains
def test_a_row_of_test_time_augmentation_uses_the_network_of_its_row_and_trains_nothing(cohort, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    looked = runs.get_run(SETTINGS["best_tta"], profile, cohort, 0)
    plain = runs.get_run(SETTINGS["best"], profile, cohort, 0)
    assert looked.spec.start.run == plain.spec.hash and not (looked.folder / WEIGHTS).exists()
    _, held_out = split_rows(cohort, 0)
    rois = cut_as(plain.spec, cohort.select(held_out))
    expected = rois.to_mm(test_time_augmentation.predict(trained.load_network(plain), rois))
    assert np.allclose(looked.predictions.query("roi == 'truth'")[["x4", "y4"]], expected[:, 4], atol=1e-3)
    assert len(selection.cross_validated([looked, plain])) == 2 and selection.with_ema([looked]) == [looked]


def test_the_count_of_simulated_knees_is_part_of_what_starts_from_them(cohort):
    counts = [
        spec.plan(SETTINGS["best_simulated"], replace(TINY, simulated=count), cohort, 0).hash
        for count in (None, 40, 60)
    ]
    assert len(set(counts)) == 3


@pytest.mark.trains
def test_a_run_is_finished_where_a_broken_one_lies_or_weights_are_gone(cohort, store):
    run = runs.get_run(BEST, TINY, cohort, 0)
    (run.folder / WEIGHTS).unlink()
    assert trained.load_network(runs.get_run(BEST, TINY, cohort, 0, weights=True))
    (run.folder / "manifest.json").unlink()
    assert (runs.get_run(BEST, TINY, cohort, 0).folder / "manifest.json").is_file()


def test_a_run_needs_no_git(cohort, store, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    runs.commit.cache_clear()
    assert runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0).manifest["commit"] == "unknown"
    runs.commit.cache_clear()


@pytest.mark.trains
def test_a_picked_run_goes_on_when_it_is_stopped_before_its_predictions(cohort, store):
    picked, planned = SETTINGS["picked"], spec.plan(SETTINGS["picked"], TINY, cohort, 0)
    known, held_out = (cohort.select(rows) for rows in make_folds(cohort)[0])
    methods.train_network(methods.Task(planned, known, held_out, runs.working_folder(planned)))
    run = runs.get_run(picked, TINY, cohort, 0)
    assert len(run.history) == 3 and not {path.name for path in run.folder.iterdir()} & set(
        methods.WORKING_FILES
    )


@pytest.mark.trains
def test_a_run_is_recorded_whole_or_not_at_all_and_only_if_it_is_of_today(
    cohort, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    run = runs.get_run(SETTINGS["mean_shape"], PROFILES["smoke"], cohort, 0)
    older = runs.get_run(replace(SETTINGS["mean_shape"], features="older"), PROFILES["smoke"], cohort, 0)
    assert is_current(run.spec) and not is_current(older.spec)
    say(store)
    target = tmp_path / "results/runs/drawn/smoke/mean_shape.parquet"
    target.mkdir(parents=True)
    with pytest.raises(KneelError, match="cannot write .*free some space"):
        record(["smoke"])
    target.rmdir()
    (recorded,) = record(["smoke"])
    assert (recorded.folder, recorded.spec) == (target, run.spec) and not list(target.parent.glob("*.tmp"))


def test_a_setting_with_an_unknown_start_is_refused(cohort, store):
    with pytest.raises(
        KneelError, match="unknown start 'hips': choose one of roi, simulated, simulated_unseen, "
    ):
        runs.get_run(replace(BEST, start="hips"), TINY, cohort, 0)
