"""Results that cannot be bent unnoticed: whatever is changed in a run or a recorded file is one line."""

import copy
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import say

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment import audit, runs, store, trained
from kneel_lib.experiment.listing import list_record, listing
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=3, batch=8)
ERRORS = [f"e{number}" for number in range(16)]


@pytest.fixture
def run(cohort, store):
    """A finished run of the mean shape, which needs no training."""
    return runs.get_run(SETTINGS["mean_shape"], TINY, cohort, 0)


@pytest.fixture
def old_run(run):
    """The same, as it was written before manifests said anything of files."""
    manifest = {name: value for name, value in run.manifest.items() if name != "files"}
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    return run


def refused(run, message):
    with pytest.raises(KneelError, match=message) as caught:
        store.load_run(run.folder)
    assert "\n" not in str(caught.value) and run.spec.hash in str(caught.value)


def rewrite(run, change, name="predictions.csv"):
    table = pd.read_csv(run.folder / name)
    change(table).to_csv(run.folder / name, index=False)


@pytest.mark.parametrize("name", ["predictions.csv", "history.csv", "spec.json"])
def test_any_change_of_a_runs_files_is_noticed(run, name):
    path = run.folder / name
    assert run.manifest["files"][name]["sha256"] and store.load_run(run.folder)
    if name.endswith(".csv"):
        assert run.manifest["files"][name]["rows"] == len(pd.read_csv(path))
    path.write_bytes(path.read_bytes() + b"\n")
    refused(run, f"is not a whole run .{name} has not the .*content that manifest.json says")


def cell(column, value, row=2):
    def change(table):
        table = table.astype({column: object})
        table.loc[row, column] = value
        return table

    return change


PREDICTIONS = {
    "header only": (lambda t: t.iloc[:0], "has predictions of 0 rows"),
    "truncated": (lambda t: t.iloc[:-2], "has not as many rows for each ROI"),
    "doubled": (lambda t: pd.concat([t, t]), "stand in an earlier row"),
    "one row twice": (lambda t: pd.concat([t, t.iloc[3:4]]), "stand in an earlier row"),
    "column gone": (lambda t: t.drop(columns="e15"), "has no column e15"),
    "negative": (cell("e0", -1), "row 2, landmark 0, column e: '-1.*', allowed is a number from 0 to 2000"),
    "text": (cell("e0", "abc"), "row 2, landmark 0, column e: 'abc', allowed"),
    "infinite": (cell("x3", "inf"), "row 2, landmark 3, column x: 'inf', allowed"),
    "10**400": (cell("x3", "1" + "0" * 400), "row 2, landmark 3, column x: .* allowed"),
    "no point": (cell("x3", ""), "row 2, landmark 3: an error, but no point"),
    "side": (cell("side", "X"), "row 2, column side: 'X', allowed is L or R"),
    "split": (cell("split", "trian"), "row 2, column split: 'trian', allowed is train, val or test"),
    "roi": (cell("roi", "truht"), "row 2, column roi: 'truht', allowed"),
    "weights": (cell("weights", "fnial"), "row 2, column weights: 'fnial', allowed is final or ema"),
    "grade": (cell("kl", 9), "row 2, column kl: '9', allowed is a whole number from 0 to 4"),
}


@pytest.mark.parametrize("change, message", PREDICTIONS.values(), ids=PREDICTIONS)
def test_predictions_that_are_none_are_one_line_without_a_checksum_too(old_run, change, message):
    rewrite(old_run, change)
    refused(old_run, message)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec | {"seed": 5},
        lambda spec: spec | {"fold": 1},
        lambda spec: spec | {"knees": "x"},
        lambda spec: spec | {"setting": spec["setting"] | {"learning_rate": 1.0}},
        lambda spec: spec | {"setting": "wing"},
        lambda spec: [],
        lambda spec: None,
    ],
)
def test_another_configuration_is_noticed(old_run, change):
    path = old_run.folder / "spec.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    refused(old_run, "is not a whole run")


@pytest.mark.parametrize("name", ["spec.json", "manifest.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "null", "{", '"x"'])
def test_json_that_is_none_of_a_run(old_run, name, text):
    (old_run.folder / name).write_text(text)
    refused(old_run, "is not a whole run")


def test_a_folder_under_another_name_is_noticed(run):
    other = run.folder.with_name(run.folder.name[:-16] + "0" * 16)
    shutil.copytree(run.folder, other)
    with pytest.raises(KneelError, match="is not a whole run .its spec.json is that of"):
        store.load_run(other)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.iloc[:0], "the history has no rows"),
        (lambda t: t.drop(columns="seconds"), "the history has no seconds"),
        (lambda t: t.assign(seconds="x"), "must be numbers from 0"),
        (lambda t: t.assign(seconds=-1), "must be numbers from 0"),
    ],
)
def test_a_history_that_is_none(old_run, change, message):
    rewrite(old_run, change, "history.csv")
    refused(old_run, message)


def test_a_trained_runs_history_has_every_epoch(run):
    trained = copy.copy(run.spec)
    object.__setattr__(trained, "setting", SETTINGS["wing"])
    whole = pd.DataFrame({"epoch": [1, 2, 3], "seconds": [1.0, 1.0, 1.0]})
    audit.check_history(whole, trained, "here")
    for history in (whole.iloc[:2], pd.concat([whole, whole])):
        with pytest.raises(KneelError, match="here: the history has the epochs 1 to .*, the run has 1 to 3"):
            audit.check_history(history, trained, "here")


@pytest.mark.trains
def test_changed_weights_are_noticed(cohort, store):
    run = runs.get_run(SETTINGS["wing"], TINY, cohort, 0)
    path = run.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(KneelError, match="weights.safetensors has not the content that manifest.json says"):
        trained.load_network(run)


@pytest.fixture
def record(run, tmp_path, monkeypatch):
    """The recorded file of two runs."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    say(paths.runs())
    store.record(["tiny"])
    return store.record_of(run.spec)


def test_the_manifest_says_runs_rows_and_checksum_of_each_file(record):
    listed = pd.read_csv(listing())
    assert listed["file"].tolist() == ["drawn/tiny/mean_shape.parquet"]
    assert listed["rows"].tolist() == [len(pd.read_parquet(record))] and listed["runs"].tolist() == [1]


def test_a_recorded_file_that_was_changed_is_noticed(record):
    content = record.read_bytes()
    record.write_bytes(content[:200] + bytes([content[200] ^ 255]) + content[201:])
    with pytest.raises(KneelError, match="mean_shape.parquet is not a whole record of runs"):
        store.recorded_runs()


@pytest.mark.parametrize("kind", ["gone", "a folder", "a loop", "not listed", "another's", "a copy"])
def test_recorded_files_are_those_of_the_manifest(record, kind):
    if kind in ("gone", "a folder", "a loop"):
        record.unlink()
    if kind == "a folder":
        record.mkdir()
    elif kind == "a loop":
        record.symlink_to(record)
    elif kind == "not listed":
        listing().unlink()
    elif kind in ("another's", "a copy"):
        other = record.with_name("wing.parquet")
        shutil.copy(record, other)
        if kind == "another's":
            list_record(other)
    with pytest.raises(KneelError, match="parquet is not (there|a whole record)"):
        store.recorded_runs()


def bend(path, change):
    """Change the predictions in a recorded file and say so in the manifest, as somebody does who means it."""
    with pq.ParquetFile(path) as file:
        table, packed = file.read(), file.metadata.metadata[b"runs"]
    frame = change(table.to_pandas())
    changed = pa.Table.from_pandas(frame, preserve_index=False)
    with pq.ParquetWriter(path, changed.schema) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({"runs": packed})
    list_record(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.iloc[:0], "has predictions of 0 rows"),
        (lambda t: t.iloc[:-1], "has not as many rows"),
        (lambda t: pd.concat([t, t]), "stand in an earlier row"),
        (lambda t: t.assign(run="0" * 16), "has predictions of a run 0000000000000000"),
        (lambda t: t.assign(e3=-t["e3"]), "column e: .* allowed is a number from 0"),
        (lambda t: t.assign(side="X"), "column side: 'X', allowed is L or R"),
        (lambda t: t.drop(columns="e3"), "is not a whole record of runs"),
    ],
)
def test_a_bent_record_is_noticed_though_the_manifest_agrees(record, change, message):
    bend(record, change)
    with pytest.raises(KneelError, match=message) as caught:
        store.recorded_runs()
    assert "\n" not in str(caught.value) and "mean_shape.parquet" in str(caught.value)


@pytest.fixture
def real_record(crops, tmp_path, monkeypatch):
    """A copy of the recorded mean shape on the real crops."""
    name = "runs/crops_first/native/mean_shape.parquet"
    path = tmp_path / "results" / name
    path.parent.mkdir(parents=True)
    shutil.copy(paths.RESULTS / name, path)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    return path


def halved(table):
    return table.assign(**{name: (table[name] / 2).round().astype("Int32") for name in ERRORS})


BENT = {
    "all errors halved": (
        halved,
        "the error says .* mm, point and label lie .* mm apart .[0-9]+ such errors",
    ),
    "one error": (lambda t: t.assign(e5=[0, *t["e5"][1:]]), "landmark 5: the error says 0.000 mm"),
    "moved points": (lambda t: t.assign(x5=t["x5"] + 3), "landmark 5: the error says"),
    "the worst knees gone": (
        lambda t: t[~t["subject_id"].isin(t.loc[t["e0"].nlargest(3).index, "subject_id"])],
        "is missing; it has [0-9]+ knees, the run held out 10[56]",
    ),
    "another knee": (
        lambda t: t.assign(subject_id=t["subject_id"].replace(t["subject_id"].iloc[0], "9999999")),
        "9999999. is no knee of crops",
    ),
}


@pytest.mark.parametrize("change, message", BENT.values(), ids=BENT)
def test_errors_follow_from_points_and_labels(real_record, change, message):
    list_record(real_record)
    assert len(store.recorded_runs()) == 5
    bend(real_record, change)
    with pytest.raises(KneelError, match=message) as caught:
        store.recorded_runs()
    assert "\n" not in str(caught.value) and "mean_shape.parquet" in str(caught.value)


def test_errors_that_do_not_follow_are_named_on_any_knees(run):
    """What the test above shows on real labels, without them."""
    truth = np.zeros((len(run.predictions), 16, 2))
    distances = np.linalg.norm(store.points_of(run.predictions), axis=2)
    sound = run.predictions.assign(**dict(zip(ERRORS, distances.T)))
    audit.compare(sound, truth, "here")
    bent = sound.assign(e7=sound["e7"] / 2)
    with pytest.raises(KneelError, match=rf"here: .* landmark 7: .* .{len(bent)} such errors"):
        audit.compare(bent, truth, "here")


def test_without_the_labels_it_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KNEEL_DATA", str(tmp_path))
    audit.say_missing.cache_clear()
    assert audit.labels("crops", "fold") is None and audit.labels("crops", "fold") is None
    assert audit.labels("simulated", "fold") is None, "drawn knees have none to be read"
    printed = capsys.readouterr().out
    assert printed.count("the labels are not on this machine") == 1 and printed.count("\n") == 1
