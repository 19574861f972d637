import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kneel_lib import checkpoint, engines, looks, methods, paths, runs, tables, training
from kneel_lib.data.cohorts import load_cohort
from kneel_lib.data.folds import make_folds
from kneel_lib.data.rois import cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.settings import PROFILES, SETTINGS, Profile

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=3, batch=8)
BEST = SETTINGS["best"]


def test_a_run_is_made_once_and_then_loaded(cohort, store):
    first = runs.get_run(BEST, TINY, cohort, fold=1)
    written = (first.folder / "manifest.json").stat().st_mtime_ns
    again = runs.get_run(BEST, TINY, cohort, fold=1)
    assert again.folder == first.folder and (again.folder / "manifest.json").stat().st_mtime_ns == written
    assert sorted(path.name for path in first.folder.iterdir()) == ["config.json", "history.csv", "manifest.json", "predictions.csv",
                                                                    "weights.safetensors"]
    assert len(first.history) == 3 and {"commit", "versions", "processor", "threads", "seconds"} <= first.manifest.keys()


def test_predictions_are_the_held_out_knees_with_their_errors(cohort, store):
    run = runs.get_run(BEST, TINY, cohort, fold=1)
    held_out = cohort.select(make_folds(cohort)[1][1])
    for roi in ("truth", "image"):
        rows = run.predictions[run.predictions["roi"] == roi]
        assert (rows["subject_id"].to_numpy() == held_out.knees["subject_id"].to_numpy()).all()
        points = rows[[f"{axis}{n}" for n in range(16) for axis in "xy"]].to_numpy().reshape(-1, 16, 2)
        assert np.allclose(np.linalg.norm(points - held_out.landmarks_mm, axis=2), run.errors(roi), atol=2e-3)


def test_the_saved_network_predicts_what_was_recorded(cohort, store):
    run = runs.get_run(BEST, TINY, cohort, fold=0)
    rois = cut_rois(cohort.select(make_folds(cohort)[0][1]), TINY.size_px, TINY.spacing_mm)
    points = rois.to_mm(training.predict(run.load_network(), rois))
    recorded = run.predictions[run.predictions["roi"] == "truth"][["x0", "y0"]].to_numpy()
    assert np.allclose(points[:, 0], recorded, atol=1e-3)


@pytest.mark.parametrize("change", [lambda c: {**c, "setting": replace(BEST, dropout=0.1)}, lambda c: {**c, "profile": replace(TINY, epochs=4)},
                                    lambda c: {**c, "fold": 1}, lambda c: {**c, "seed": 1}, lambda c: {**c, "cohort": c["cohort"].select(slice(0, 20))}])
def test_the_hash_keys_on_all_that_matters(cohort, change):
    parts = {"setting": BEST, "profile": TINY, "cohort": cohort, "fold": 0, "seed": 0}
    assert runs.content_hash(runs.make_config(**parts)) != runs.content_hash(runs.make_config(**change(parts)))
    assert runs.content_hash(runs.make_config(**parts)) == runs.content_hash(runs.make_config(**{**parts, "setting": replace(BEST, label="x")}))


def test_one_grey_value_changes_the_fingerprint(cohort):
    image = cohort.images[3].copy()
    image[0, 0] += 1
    changed = replace(cohort, images=(*cohort.images[:3], image, *cohort.images[4:]))
    assert changed.fingerprint != cohort.fingerprint


KILLED = """
import sys; sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads(1)
from conftest import drawn_cohort
from kneel_lib import runs, checkpoint
from kneel_lib.settings import PROFILES, SETTINGS, Profile
profile = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=6, batch=8)
save = checkpoint.save_state
def save_and_die(state, path):
    save(state, path)
    if state.epoch == {dies_after}: import os, signal; os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_state = save_and_die
runs.get_run(SETTINGS[{setting!r}], profile, drawn_cohort(), 0)
"""


def run_process(setting, store, dies_after=-1):
    code = KILLED.format(tests=str(Path(__file__).parent), dies_after=dies_after, setting=setting)
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, "KNEEL_RUNS": str(store)}, capture_output=True, text=True)


@pytest.mark.parametrize("setting", ["best", "robust"])
def test_a_killed_run_goes_on_and_ends_equal_to_one_that_was_not(setting, tmp_path):
    assert run_process(setting, tmp_path / "killed", dies_after=2).returncode == -signal.SIGKILL
    assert not runs.recorded_runs(tmp_path / "killed")
    partial, = (tmp_path / "killed").rglob("*.partial")
    (partial / "checkpoint.safetensors.999.tmp").write_bytes(b"half a checkpoint")
    process = run_process(setting, tmp_path / "killed")
    assert not list((tmp_path / "killed").rglob("*.tmp"))
    assert "goes on after epoch 2 of 6" in process.stdout, process.stderr
    assert run_process(setting, tmp_path / "whole").returncode == 0
    (killed,), (whole,) = runs.recorded_runs(tmp_path / "killed"), runs.recorded_runs(tmp_path / "whole")
    pd.testing.assert_frame_equal(killed.predictions, whole.predictions, check_exact=True)
    pd.testing.assert_frame_equal(killed.history.drop(columns="seconds"), whole.history.drop(columns="seconds"), check_exact=True)
    weights = [checkpoint.load_tensors(run.folder / "weights.safetensors")[0] for run in (killed, whole)]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])


def test_two_processes_train_one_run_once(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent), dies_after=-1, setting="best")
    environment = {**os.environ, "KNEEL_RUNS": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(runs.recorded_runs(tmp_path)) == 1
    assert sum("epoch 6/6" in text for text in printed) == 1


def test_a_damaged_checkpoint_or_run_is_one_clear_error(cohort, store):
    run = runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)
    (run.folder / "predictions.csv").unlink()
    with pytest.raises(KneelError, match="is not a whole run .* delete it"):
        runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)
    folder = store / runs.address(runs.make_config(BEST, TINY, cohort, 0, 0))
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True)
    (partial / "checkpoint.safetensors").write_bytes(b"\x10\x00 not a checkpoint")
    with pytest.raises(KneelError, match="checkpoint.safetensors is not a readable safetensors file"):
        runs.get_run(BEST, TINY, cohort, 0)


def test_a_checkpoint_of_an_older_training_is_one_clear_error(cohort, tmp_path):
    state = training.start(SETTINGS["wing"], TINY, 2, 0, "cpu")
    checkpoint.save_state(replace(state, averaged=None), tmp_path / "checkpoint.safetensors")
    with pytest.raises(KneelError, match="its part 'averaged' does not fit"):
        checkpoint.restore_state(state, tmp_path / "checkpoint.safetensors")


def test_a_store_that_cannot_be_written_is_one_clear_error(cohort, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KNEEL_RUNS", str(tmp_path / "file"))
    with pytest.raises(KneelError, match="set KNEEL_RUNS to a folder that you may write to"):
        runs.get_run(BEST, TINY, cohort, 0)


FULL_DISK = """
import sys; sys.path.insert(0, {tests!r})
import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
from conftest import drawn_cohort
from kneel_lib import runs
from kneel_lib.settings import PROFILES, SETTINGS, Profile
profile = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=8)
runs.get_run(SETTINGS["mean_shape"], profile, drawn_cohort(), 0)
try:
    runs.get_run(SETTINGS["best"], profile, drawn_cohort(), 0)
except runs.KneelError as error:
    print(error)
"""


def test_a_full_disk_is_one_clear_error_and_finished_runs_stay(tmp_path):
    """The system refuses files above 30 kB, as a full disk would refuse them: the small run fits, the checkpoint does not."""
    code = FULL_DISK.format(tests=str(Path(__file__).parent))
    process = subprocess.run([sys.executable, "-c", code], env={**os.environ, "KNEEL_RUNS": str(tmp_path)}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "cannot write" in process.stdout and "finished runs are kept" in process.stdout
    assert [run.config["setting"]["name"] for run in runs.recorded_runs(tmp_path)] == ["mean_shape"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_fold_that_is_not_there(cohort, store):
    with pytest.raises(KneelError, match="fold 7 does not exist"):
        runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 7)


def test_folds_keep_subjects_together_and_cover_every_knee_once(cohort):
    folds = make_folds(cohort)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(len(cohort)))
    subjects = cohort.knees["subject_id"].to_numpy()
    assert all(not set(subjects[a]) & set(subjects[b]) for a, b in folds)


def test_a_transfer_is_trained_on_one_cohort_and_tried_on_all_of_another(cohort, store):
    from conftest import drawn_cohort
    other = drawn_cohort(12, seed=5)
    run = runs.get_transfer(BEST, TINY, cohort, other)
    assert len(run.errors()) == 12 and set(run.predictions["fold"]) == {"all"} and run.config["knees"] == 24
    assert runs.get_transfer(BEST, TINY, cohort, other).folder == run.folder
    with pytest.raises(KneelError, match="cannot be tried on the same ones"):
        runs.get_transfer(BEST, TINY, cohort, cohort)
    with pytest.raises(KneelError, match="choose its recipe from scratch, best"):
        runs.get_transfer(SETTINGS["best_simulated"], TINY, cohort, other)
    mean = runs.get_transfer(SETTINGS["mean_shape"], TINY, cohort, other)
    offsets = (cohort.landmarks_mm - cohort.landmarks_mm[:, 4:5]).mean(axis=0)
    expected = np.linalg.norm(other.landmarks_mm[:, 4:5] + offsets - other.landmarks_mm, axis=2)
    assert np.allclose(mean.errors(), expected, atol=2e-3)
    assert tables.summary_table([run]).empty


def test_summary_of_runs_pools_folds_and_labels_them(cohort, store):
    made = engines.get_table([SETTINGS["mean_shape"]], TINY, cohort) + engines.get_table([BEST], TINY, cohort, [0, 1])
    table = tables.summary_table(made)
    assert table["setting"].tolist() == ["mean_shape", "best"] and table["folds"].tolist() == [5, 2]
    assert table["knees"].tolist() == [24, len(make_folds(cohort)[0][1]) + len(make_folds(cohort)[1][1])]
    errors = np.concatenate([run.errors() for run in made[:5]])
    assert table["mre_mm"][0] == pytest.approx(errors.mean())
    assert list(table.columns) == json.loads((Path(__file__).parent / "table1_columns.json").read_text())


def test_recording_leaves_weights_behind(cohort, store, tmp_path, monkeypatch):
    run = runs.get_run(BEST, TINY, cohort, 0)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    assert runs.record(["native"]) == []
    copied, = runs.record(["tiny"])
    assert not list(copied.glob("*.safetensors")) and runs.record(["tiny"]) == []
    recorded = runs.load_run(copied)
    pd.testing.assert_frame_equal(recorded.predictions, run.predictions)
    with pytest.raises(KneelError, match="holds no weights"):
        recorded.load_network()
    monkeypatch.setenv("KNEEL_RUNS", str(tmp_path / "new machine"))
    assert runs.get_run(BEST, TINY, cohort, 0).folder == copied, "predictions are there, so nothing is trained"
    again, = engines.get_table([BEST], TINY, cohort, [0], weights=True)
    assert again.folder != copied and again.load_network() and np.array_equal(again.errors(), run.errors())
    assert runs.get_run(BEST, TINY, cohort, 0).folder == again.folder
    mean = runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)
    assert runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0, weights=True).manifest == mean.manifest, "a method without a network has none to ask for"


def test_few_labels_are_nested_sets_of_the_fold_and_keep_off_the_table(cohort, store, tmp_path):
    known = make_folds(cohort)[0][0]
    few, more = (set(runs.choose_labels(known, count, 0)) for count in (4, 8))
    assert few < more <= set(known) and len(more) == 8 and len(runs.choose_labels(known, 4, 0)) == runs.LEAST_KNEES
    with pytest.raises(KneelError, match="cannot take 500 labelled knees"):
        runs.choose_labels(known, 500, 0)
    run = runs.get_run(BEST, replace(TINY, epochs=1), cohort, 0, labels=4)
    assert run.config["labels"] == 4 and not tables.cross_validated([run])


def test_a_started_run_takes_over_every_layer_that_fits(cohort, store):
    first = runs.get_run(BEST, TINY, cohort, fold=1)
    state = training.start(BEST, TINY, 3, 5, "cpu")
    methods.take_over(first.load_network(), state)
    assert all((own == other).all() for own, other in zip(state.model.state_dict().values(), first.load_network().state_dict().values()))
    one = training.make_network(BEST, TINY, outputs=1)
    fresh = training.start(BEST, TINY, 3, 5, "cpu")
    before = {name: value.clone() for name, value in fresh.model.state_dict().items()}
    methods.take_over(one, fresh)
    kept = [name for name, value in fresh.model.state_dict().items() if value.shape != one.state_dict()[name].shape]
    assert kept and all((fresh.model.state_dict()[name] == before[name]).all() for name in kept)
    continued = runs.get_run(BEST, TINY, cohort, fold=0, start=first)
    assert continued.config["start"]["hash"] == runs.content_hash(first.config) and continued.folder != runs.get_run(BEST, TINY, cohort, fold=0).folder


def test_displaced_rois_are_the_same_every_time_and_at_most_10_mm_off(cohort):
    truth, displaced = (cut_rois(cohort, 64, 1.6, centre) for centre in ("truth", "displaced"))
    shift = np.linalg.norm(displaced.origin_mm - truth.origin_mm, axis=1)
    assert 0 < shift.min() and shift.max() <= 10 and shift.std() > 1
    assert np.array_equal(displaced.images, cut_rois(cohort, 64, 1.6, "displaced").images)
    assert np.allclose(displaced.to_mm(displaced.landmarks_px), cohort.landmarks_mm, atol=1e-3)


def test_the_split_val_can_be_held_out(cohort, store):
    marked = replace(cohort, knees=cohort.knees.assign(split=np.where(cohort.knees["subject_id"] < 9000008, "val", "train")))
    run = runs.get_run(SETTINGS["mean_shape"], TINY, marked, "val")
    assert set(run.predictions["split"]) == {"val"} and len(run.errors()) == (marked.knees["split"] == "val").sum()
    assert not tables.cross_validated([run])
    with pytest.raises(KneelError, match="has no split 'train' and 'val'"):
        runs.get_run(SETTINGS["mean_shape"], TINY, cohort, "val")


def test_fine_tuning_starts_from_the_search_network_of_its_own_fold(cohort, store):
    """All layers but the last are taken over, and the search is made only where the fine-tuned run is missing."""
    profile = replace(PROFILES["smoke"], epochs=1)
    tuned = runs.get_run(SETTINGS["best_finetune"], profile, cohort, 1)
    (search,) = [run for run in runs.recorded_runs(store) if run.config["setting"]["name"] == "search"]
    assert (search.config["cohort"], search.config["fold"], search.config["profile"]["name"]) == ("drawn_scattered", 1, "smoke")
    assert runs.started_from(tuned.config) == "low_cost"
    state = training.start(SETTINGS["best_finetune"], profile, 1, 0, "cpu")
    methods.take_over(search.load_network(), state)
    taken = state.model.state_dict()
    assert all(torch.equal(taken[name], value) for name, value in search.load_network().state_dict().items() if not name.startswith("output."))
    assert taken["output.weight"].shape[0] == 16
    shutil.rmtree(search.folder)
    assert runs.get_run(SETTINGS["best_finetune"], profile, cohort, 1).folder == tuned.folder and not search.folder.exists()


def test_a_row_from_simulated_knees_starts_with_the_network_of_its_plain_recipe(cohort, store):
    """Trained on all simulated knees once for every fold; never tried on these themselves."""
    profile = replace(PROFILES["smoke"], epochs=1)
    made = [runs.get_run(SETTINGS["best_simulated"], profile, cohort, fold) for fold in (0, 1)]
    (before,) = [run for run in runs.recorded_runs(store) if run.config["cohort"] == "simulated"]
    assert (before.config["setting"]["name"], before.config["fold"], before.config["target"]) == ("best", "all", "drawn")
    assert runs.started_from(made[0].config) == "simulated" and len(tables.cross_validated([*made, before])) == 2
    with pytest.raises(KneelError, match="cannot be tried on the same ones"):
        runs.get_run(SETTINGS["best_simulated"], profile, load_cohort("simulated", 40), 0)


def test_a_row_can_start_from_simulated_knees_that_hold_nothing_of_the_held_out_subjects(crops, store):
    setting, profile = SETTINGS["best_simulated_unseen"], replace(PROFILES["smoke"], epochs=1, knees=None)
    made = runs.get_run(setting, profile, crops, 1)
    (before,) = [run for run in runs.recorded_runs(store) if run.config["fold"] == "all"]
    assert before.config["cohort"] == "simulated_unseen_1" and before.config["target"] == "crops"
    assert runs.started_from(made.config) == "simulated_unseen" and tables.cross_validated([made, before]) == [made]
    with pytest.raises(KneelError, match="for the folds 0 to 4 of all crops alone, not for fold 0 of 40 knees"):
        runs.get_run(setting, PROFILES["smoke"], crops, 0)
    with pytest.raises(KneelError, match="not for fold val of"):
        runs.get_run(setting, profile, crops, "val")


def test_a_row_of_looks_uses_the_network_of_its_row_and_trains_nothing(cohort, store):
    profile = replace(PROFILES["smoke"], epochs=1)
    looked = runs.get_run(SETTINGS["best_looks"], profile, cohort, 0)
    plain = runs.get_run(SETTINGS["best"], profile, cohort, 0)
    assert looked.config["start"]["hash"] == runs.content_hash(plain.config) and not (looked.folder / runs.WEIGHTS).exists()
    _, held_out = runs.split_rows(cohort, 0)
    rois = cut_rois(cohort.select(held_out), profile.size_px, profile.spacing_mm)
    expected = rois.to_mm(looks.predict(plain.load_network(), rois))
    assert np.allclose(looked.predictions.query("roi == 'truth'")[["x4", "y4"]], expected[:, 4], atol=1e-3)
    assert len(tables.cross_validated([looked, plain])) == 2 and tables.steady([looked]) == [looked]


def test_the_count_of_simulated_knees_is_part_of_what_starts_from_them(cohort):
    counts = [runs.content_hash(runs.plan(SETTINGS["best_simulated"], replace(TINY, simulated=count), cohort, 0)) for count in (None, 40, 60)]
    assert len(set(counts)) == 3


def test_a_run_is_finished_where_a_broken_one_lies_or_weights_are_gone(cohort, store):
    run = runs.get_run(BEST, TINY, cohort, 0)
    (run.folder / runs.WEIGHTS).unlink()
    assert runs.get_run(BEST, TINY, cohort, 0, weights=True).load_network()
    (run.folder / "manifest.json").unlink()
    assert (runs.get_run(BEST, TINY, cohort, 0).folder / "manifest.json").is_file()


def test_a_run_needs_no_git(cohort, store, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    runs.commit.cache_clear()
    assert runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0).manifest["commit"] == "unknown"
    runs.commit.cache_clear()


def test_a_picked_run_goes_on_when_it_is_stopped_before_its_predictions(cohort, store):
    picked, config = SETTINGS["picked"], runs.plan(SETTINGS["picked"], TINY, cohort, 0)
    known, held_out = (cohort.select(rows) for rows in make_folds(cohort)[0])
    methods.train_network(methods.Task(picked, TINY, known, held_out, config, runs.working_folder(config)))
    run = runs.get_run(picked, TINY, cohort, 0)
    assert len(run.history) == 3 and not {path.name for path in run.folder.iterdir()} & set(methods.WORKING_FILES)


def test_a_run_is_recorded_whole_or_not_at_all_and_only_if_it_is_of_today(cohort, store, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    run = runs.get_run(SETTINGS["mean_shape"], PROFILES["smoke"], cohort, 0)
    older = runs.get_run(replace(SETTINGS["mean_shape"], features="older"), PROFILES["smoke"], cohort, 0)
    target = paths.RESULTS / "runs" / runs.address(run.config)
    target.mkdir(parents=True)
    (target / "config.json").write_text("half a copy")
    assert runs.is_current(run.config) and not runs.is_current(older.config)
    assert runs.record(["smoke"]) == [target] and runs.load_run(target).config == run.config
    (target.parent / f"{target.name}.partial").write_text("in the way")
    shutil.rmtree(target)
    with pytest.raises(KneelError, match="cannot write .*free some space"):
        runs.record(["smoke"])
    assert not target.exists()


def test_a_setting_with_an_unknown_start_is_refused(cohort, store):
    with pytest.raises(KneelError, match="unknown start 'hips': choose"):
        runs.get_run(replace(BEST, start="hips"), TINY, cohort, 0)
