"""Folders of files through `predict_all`, with untrained networks: their search finds no knee in any
picture."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, untrained_run
from PIL import Image

from kneel_lib.data.cache import LIBRARY
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.errors import KneelError
from kneel_lib.experiment.rows import NORMALISED, SEARCH
from kneel_lib.pipeline import answer_tables, input_files, predict, pretrained
from kneel_lib.pipeline.locate import locate_knee
from kneel_lib.pipeline.measurements import NAMES
from kneel_lib.pipeline.search import Place
from kneel_lib.simulation.search_fields import search_fields


@pytest.fixture(scope="module")
def weights(cohort, tmp_path_factory):
    """A folder of pretrained networks, one of each kind, of runs that trained nothing."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_RUNS", str(tmp_path_factory.mktemp("runs")))
        for kind, setting, profile, knees in (
            ("landmarks", NORMALISED, TINY, cohort),
            ("search", SEARCH, replace(TINY, spacing_mm=1.0), search_fields(cohort)),
        ):
            pretrained.write_pretrained(untrained_run(setting, profile, knees, "all"), kind, folder)
    return folder


@pytest.fixture
def folder(cohort, tmp_path):
    """Three pictures, a text and a cut-off DICOM file."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number, name in enumerate(("a/b.png", "a_b.png", "c.png")):
        Image.fromarray(cohort.images[number]).save(tmp_path / "in" / name)
    (tmp_path / "in" / "cut.dcm").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    return tmp_path / "in"


def table(output):
    return pd.read_csv(output / "landmarks.csv", keep_default_na=False)


def answers(output):
    return [json.loads(line) for line in (output / predict.ANSWERS).read_text().splitlines()]


def test_pretrained_networks_of_both_kinds_are_loaded(weights):
    landmark_networks, search_networks = predict.load_pretrained(weights)
    assert [network.size_px for network in landmark_networks + search_networks] == [64, 64]
    assert (landmark_networks[0].spacing_mm, search_networks[0].spacing_mm) == (1.6, 1.0)


@pytest.mark.parametrize("lacking", ["landmarks", "search"])
def test_a_copy_that_lacks_either_kind_of_network_says_so_before_it_reads_a_file(
    lacking, weights, folder, tmp_path
):
    (tmp_path / "weights").mkdir()
    for path in weights.iterdir():
        if not path.name.startswith(lacking):
            (tmp_path / "weights" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KneelError, match=f"weights holds no {lacking} network"):
        predict.load_pretrained(tmp_path / "weights")
    with pytest.raises(KneelError, match=f"weights holds no {lacking} network"):
        predict.predict_all(folder, tmp_path / "out", weights=tmp_path / "weights")
    assert not (tmp_path / "out").exists()


def test_each_file_without_an_answer_costs_one_line_and_one_row_with_the_reason(
    folder, weights, tmp_path, capsys
):
    failed = predict.predict_all(folder, tmp_path / "out", weights=weights)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert len(lines) == 5 and set(failed) == {"a/b.png", "a_b.png", "c.png", "cut.dcm", "notes.txt"}
    rows = table(tmp_path / "out")
    assert list(rows.columns) == list(answer_tables.COLUMNS) and rows["file"].tolist() == sorted(failed)
    reasons = dict(zip(rows["file"], rows["reason"]))
    assert reasons == failed and "notes.txt is neither DICOM nor a picture" in reasons["notes.txt"]
    assert all("shows no knee" in reasons[name] for name in ("a/b.png", "a_b.png", "c.png"))
    assert set(rows["trusted"].astype(str)) == {"False"}
    written = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    assert written == {"knees": [], "failed": failed, "missing": {}}
    measured = pd.read_csv(tmp_path / "out" / "measurements.csv", dtype=str)
    assert dict(zip(measured["file"], measured["reason"])) == failed and measured["value"].isna().all()
    shown = {path.name for path in (tmp_path / "out" / "overlays").rglob("*.png")}
    assert len(shown) == 3, "pictures in which nothing was found are shown, and what cannot be read is not"


def test_what_a_spreadsheet_would_take_for_a_formula_is_not_written_as_one(cohort, weights, tmp_path):
    (tmp_path / "in").mkdir()
    names = ["=HYPERLINK(1).png", "+1.png", "-1.png", "@x.png", "plain=.png"]
    for name in names:
        Image.fromarray(cohort.images[0]).save(tmp_path / "in" / name)
    failed = predict.predict_all(tmp_path / "in", tmp_path / "out", weights=weights)
    assert set(failed) == set(names)
    assert set(table(tmp_path / "out")["file"]) == {f"'{name}" for name in names[:4]} | {"plain=.png"}


def test_names_that_are_no_text_or_as_long_as_can_be_are_answered(cohort, weights, tmp_path):
    (tmp_path / "in").mkdir()
    strange = os.path.join(os.fsencode(tmp_path / "in"), b"knee\xff\xe4.png")
    Image.fromarray(cohort.images[0]).save(tmp_path / "in" / ("x" * 246 + ".png"))
    (tmp_path / "in" / ("x" * 246 + ".png")).rename(tmp_path / "in" / ("ü" * 123 + ".png"))
    Path(os.fsdecode(strange)).write_bytes((tmp_path / "in" / ("ü" * 123 + ".png")).read_bytes())
    failed = predict.predict_all(tmp_path / "in", tmp_path / "out", weights=weights)
    assert set(failed) == {"knee\\xff\\xe4.png", "ü" * 123 + ".png"}
    assert all("shows no knee" in reason for reason in failed.values())
    assert set(table(tmp_path / "out")["file"]) == set(failed)
    again = predict.predict_all(tmp_path / "in", tmp_path / "out", weights=weights, resume=True)
    assert again == failed


def test_overlays_have_names_of_their_own_that_a_disk_takes():
    names = ["a/b.png", "a_b.png", "ü" * 123 + ".png", "ü" * 122 + "x.png", "x", "x.png/a", "x.png~/a"]
    names += ["/".join(["y" * 200] * 19), "/".join(["y" * 200] * 18 + ["z"])]
    paths = [input_files.written_path(Path("out/overlays"), name, ".png") for name in names]
    assert paths[0] == Path("out/overlays/a/b.png.png") and len(set(paths)) == len(names)
    assert not {*paths} & {folder for path in paths for folder in path.parents}
    assert max(len(os.fsencode(part)) for path in paths for part in path.parts) < 250
    assert max(len(os.fsencode(path)) for path in paths) < 4000


def test_a_file_beside_a_folder_of_its_overlays_name_is_answered(cohort, weights, tmp_path):
    (tmp_path / "in" / "x.png").mkdir(parents=True)
    for name in ("x", "x.png/a"):
        Image.fromarray(cohort.images[0]).save(tmp_path / "in" / name, "PNG")
    failed = predict.predict_all(tmp_path / "in", tmp_path / "out", weights=weights)
    assert set(failed) == {"x", "x.png/a"} and all("shows no knee" in why for why in failed.values())


@pytest.mark.parametrize(
    "line", [b"\xff\xfe{", b'{"file": "c.png", "knees": [1]}', b"[]", b'{"file": "c.png"}']
)
def test_resuming_leaves_out_a_damaged_line(folder, weights, tmp_path, line):
    first = predict.predict_all(folder, tmp_path / "out", weights=weights)
    kept = tmp_path / "out" / predict.ANSWERS
    kept.write_bytes(line + b"\n" + kept.read_bytes())
    assert predict.predict_all(folder, tmp_path / "out", weights=weights, resume=True) == first


def test_an_input_within_the_folder_of_the_answers_is_one_clear_error(folder, weights):
    with pytest.raises(KneelError, match="lies in the folder of the answers"):
        predict.predict_all(folder, folder.parent, weights=weights)


def test_answers_of_an_earlier_run_are_no_input_and_are_said(folder, weights, tmp_path):
    predict.predict_all(folder, folder / "first", weights=weights)
    failed = predict.predict_all(folder, folder / "second", weights=weights)
    assert "holds answers of an earlier run" in failed["first"]
    assert {name.split("/")[0] for name in failed} == {
        "a",
        "a_b.png",
        "c.png",
        "cut.dcm",
        "notes.txt",
        "first",
    }


def test_what_is_no_file_is_said_and_costs_no_other_file(cohort, weights, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(cohort.images[0]).save(folder / "sub" / "a.png")
    for name, target in {
        "ok": "sub/a.png",
        "loop": "loop",
        "lost": "nowhere",
        "up": "..",
        "b": "sub",
    }.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    (tmp_path / "out" / "overlays").mkdir(parents=True)
    (folder / "own").symlink_to(tmp_path / "out")
    failed = predict.predict_all(folder, tmp_path / "out", weights=weights)
    printed = capsys.readouterr().out
    for name, why in {
        "ok": "shows no knee",
        "sub/a.png": "shows no knee",
        "loop": "is a symbolic link that leads nowhere",
        "lost": "is a symbolic link that leads nowhere",
        "up": "is a symbolic link to a folder: give that folder itself",
        "b": "is a symbolic link to a folder",
        "own": "is a symbolic link to a folder",
        "pipe": "is no file",
    }.items():
        assert why in failed.pop(name) and f"/in/{name} {why}" in printed
    assert not failed
    assert predict.predict_all(folder, tmp_path / "out", weights=weights, resume=True).keys() == set(
        table(tmp_path / "out")["file"]
    )


def test_a_folder_that_cannot_be_looked_into_is_said(cohort, weights, tmp_path):
    """One whose path is longer than the system takes: others can be looked into by whoever may do all."""
    folder, here = tmp_path / "in", os.getcwd()
    folder.mkdir()
    Image.fromarray(cohort.images[0]).save(folder / "a.png")
    try:
        os.chdir(folder)
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(here)
    failed = predict.predict_all(folder, tmp_path / "out", weights=weights)
    assert "shows no knee" in failed.pop("a.png")
    (why,) = failed.values()
    assert "cannot be looked into (File name too long): none of its files is read" in why


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever may do all may look into any folder")
def test_a_folder_without_the_right_to_read_it_is_said(weights, tmp_path):
    (tmp_path / "in" / "closed").mkdir(parents=True, mode=0)
    failed = predict.predict_all(tmp_path / "in", tmp_path / "out", weights=weights)
    assert "closed cannot be looked into (Permission denied)" in failed["closed"]


def test_names_of_files_are_told_apart_on_one_printable_line():
    names = ["a\n.png", "a\\n.png", "\x1b[2J", "\u202egnp.a", os.fsdecode(b"\xff"), "\\xff", "ü.png", "\t=1"]
    shown = [input_files.as_text(name) for name in names]
    assert len(set(shown)) == len(names) and all(text.isprintable() for text in shown)
    assert shown[0] == "a\\n.png" and shown[4:7] == ["\\xff", "\\\\xff", "ü.png"]


@pytest.mark.parametrize("path", ["nowhere", "loop", "x" * 5000, "zero\0byte"])
def test_a_path_that_leads_nowhere_is_one_clear_error(path, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(KneelError, match="is no file and no folder with files"):
        predict.predict_all(path, tmp_path / "out", weights=weights)


def test_what_could_not_be_written_is_asked_again(folder, weights, tmp_path):
    """A full disk is not the file's fault: its overlay is drawn when the run goes on."""
    out = tmp_path / "out"
    (out / "overlays").mkdir(parents=True)
    predict.predict_all(folder, out, weights=weights)
    noted = "".join(
        json.dumps(entry | {"problem": "full", "unfinished": True}) + "\n" for entry in answers(out)
    )
    (out / predict.ANSWERS).write_text(noted)
    assert "full" not in predict.predict_all(folder, out, weights=weights, resume=True).values()


def test_resuming_looks_at_new_and_changed_files_alone(folder, cohort, weights, tmp_path):
    out = tmp_path / "out"
    predict.predict_all(folder, out, weights=weights)
    noted = "".join(json.dumps(entry | {"problem": "as it was"}) + "\n" for entry in answers(out))
    (out / predict.ANSWERS).write_text(noted + '{"file": "cut off in the')
    Image.fromarray(cohort.images[5][:100]).save(folder / "a_b.png")
    Image.fromarray(cohort.images[6]).save(folder / "new.png")
    (folder / "c.png").unlink()
    failed = predict.predict_all(folder, out, weights=weights, resume=True)
    assert set(failed) == {"a/b.png", "a_b.png", "cut.dcm", "new.png", "notes.txt"}
    assert {name for name, problem in failed.items() if problem == "as it was"} == {
        "a/b.png",
        "cut.dcm",
        "notes.txt",
    }
    assert [entry["file"] for entry in answers(out)] == [
        "a/b.png",
        "cut.dcm",
        "notes.txt",
        "a_b.png",
        "new.png",
    ]
    assert table(out)["file"].tolist() == sorted(failed)
    afresh = predict.predict_all(folder, out, weights=weights)
    assert "as it was" not in afresh.values()


def test_resuming_looks_again_where_an_overlay_was_lost(folder, weights, tmp_path):
    out = tmp_path / "out"
    predict.predict_all(folder, out, weights=weights)
    answered = [entry | {"problem": "" if "/" in entry["file"] else "as it was"} for entry in answers(out)]
    predict.overlay_path(out, "a/b.png").unlink()
    (out / predict.ANSWERS).write_text("".join(json.dumps(entry) + "\n" for entry in answered))
    failed = predict.predict_all(folder, out, weights=weights, resume=True)
    assert "shows no knee" in failed["a/b.png"] and failed["c.png"] == "as it was"


def test_resuming_with_another_spacing_or_side_looks_again(folder, weights, tmp_path):
    """What was answered to another question is no answer to this one."""
    out = tmp_path / "out"
    predict.predict_all(folder, out, weights=weights)
    for asked in ({"mm_per_px": 0.2}, {"mm_per_px": 0.2, "side": "L"}):
        noted = "".join(json.dumps(entry | {"problem": "as it was"}) + "\n" for entry in answers(out))
        (out / predict.ANSWERS).write_text(noted)
        assert (
            "as it was"
            not in predict.predict_all(folder, out, weights=weights, resume=True, **asked).values()
        )


def test_answers_about_other_files_stay_and_are_in_no_table(folder, weights, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    Image.new("L", (300, 300)).save(other / "elsewhere.png")
    predict.predict_all(other, out, weights=weights)
    for _ in range(2):
        predict.predict_all(folder, out, weights=weights)
        assert "elsewhere.png" in {entry["file"] for entry in answers(out)}
        assert "elsewhere.png" not in set(pd.read_csv(out / "landmarks.csv")["file"])
    noted = "".join(json.dumps(entry | {"problem": "as it was"}) + "\n" for entry in answers(out))
    (out / predict.ANSWERS).write_text(noted)
    assert predict.predict_all(other, out, weights=weights, resume=True) == {"elsewhere.png": "as it was"}


def test_two_runs_never_write_to_one_folder(folder, weights, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        predict.alone_in(tmp_path / "out"),
        pytest.raises(KneelError, match="another run is writing to .*out"),
    ):
        predict.predict_all(folder, tmp_path / "out", weights=weights)
    predict.predict_all(folder, tmp_path / "out", weights=weights)
    assert (tmp_path / "out" / "landmarks.csv").is_file()


def test_answers_of_another_question_are_counted(folder, weights, tmp_path, capsys):
    predict.predict_all(folder, tmp_path / "out", weights=weights)
    predict.predict_all(folder, tmp_path / "out", 0.2, weights=weights, resume=True)
    assert "earlier answers are of another spacing, side" in capsys.readouterr().out


@pytest.mark.parametrize("changed", ["weights", "calibration", "code"])
def test_what_an_answer_depends_on_is_part_of_the_question(weights, tmp_path, monkeypatch, changed):
    shutil.copytree(weights, tmp_path / "weights")
    shutil.copytree(LIBRARY / "pipeline", tmp_path / "code" / "pipeline")
    (tmp_path / "trust.json").write_text("{}")
    monkeypatch.setattr(predict, "LIBRARY", tmp_path / "code")
    monkeypatch.setattr(predict, "TRUST", tmp_path / "trust.json")
    first, again = (predict.Asked(tmp_path, weights=tmp_path / "weights").question for _ in range(2))
    assert first == again
    network = next((tmp_path / "weights").glob("*.safetensors"))
    files = {
        "weights": network,
        "calibration": tmp_path / "trust.json",
        "code": tmp_path / "code/pipeline/look.py",
    }
    with open(files[changed], "ab") as file:
        file.write(b"\n")
    assert predict.Asked(tmp_path, weights=tmp_path / "weights").question != first


def test_an_answer_of_other_networks_says_for_which_ones_trust_was_calibrated(
    cohort, weights, tmp_path, monkeypatch
):
    picture = tmp_path / "knee.png"
    Image.fromarray(cohort.images[0]).save(picture)
    ours = predict.answer("knee.png", picture, predict.Asked(tmp_path / "out", 0.5))
    monkeypatch.setattr(predict, "FOLDER", weights)  # as if others had come along
    theirs = predict.answer(
        "knee.png", picture, predict.Asked(tmp_path / "out", 0.5, weights=pretrained.FOLDER)
    )
    for entry, said in ((ours, False), (theirs, True)):
        assert {predict.UNCALIBRATED in knee["notes"] for knee in entry["knees"]} == {said}


@pytest.mark.trains
def test_two_processes_give_the_tables_of_one(folder, weights, tmp_path):
    failed = [
        predict.predict_all(folder, tmp_path / f"out{jobs}", jobs=jobs, weights=weights) for jobs in (1, 2)
    ]
    assert failed[0] == failed[1] and len(failed[0]) == 5
    for name in ("landmarks.csv", "landmarks.json"):
        first, second = ((tmp_path / out / name).read_text() for out in ("out1", "out2"))
        assert first == second


def test_what_was_written_into_the_folder_is_not_read_again(folder, weights):
    for _ in range(2):
        failed = predict.predict_all(folder, folder / "out", weights=weights)
        assert set(failed) == {"a/b.png", "a_b.png", "c.png", "cut.dcm", "notes.txt"}


def test_an_output_that_cannot_be_written_is_said_before_anything_is_predicted(
    folder, weights, tmp_path, capsys
):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(KneelError, match="cannot write"):
        predict.predict_all(folder, tmp_path / "out", weights=weights)
    assert "predicting" not in capsys.readouterr().out


@pytest.mark.parametrize("mm_per_px", [None, 0.5])
def test_a_knees_rows_have_millimetres_where_the_spacing_is_known(mm_per_px, cohort, tiny_networks, tmp_path):
    radiograph = Radiograph(tmp_path / "x.png", cohort.images[0], mm_per_px)
    knee = locate_knee(radiograph, tiny_networks[0], Place(np.array([56.0, 58.0]), 70.0, "R", 0.05), "R")
    entry = {"file": "x.png", "problem": "", "knees": [predict.described("x.png", knee)]}
    answer_tables.write_tables(tmp_path, [json.loads(json.dumps(entry))])
    rows = pd.read_csv(tmp_path / "landmarks.csv")
    assert rows["landmark"].tolist() == list(range(16)) and set(rows["side"]) == {"R"}
    assert np.allclose(rows[["x_px", "y_px"]], knee.points_px, atol=0.006)
    assert rows["reason"][0] == "; ".join([*knee.doubts, *knee.notes]) and not rows["trusted"].any()
    (said,) = json.loads((tmp_path / "landmarks.json").read_text())["knees"]
    measured = pd.read_csv(tmp_path / "measurements.csv")
    assert tuple(measured["measurement"]) == NAMES == tuple(said["measurements"])
    assert set(measured["unit"]) == ({"px", "px2"} if mm_per_px is None else {"mm", "mm2"}) | {"degree"}
    if mm_per_px is None:
        assert rows[["x_mm", "y_mm"]].isna().all(axis=None)
        assert said["landmarks_mm"] is None
    else:
        assert np.allclose(rows[["x_mm", "y_mm"]], 0.5 * rows[["x_px", "y_px"]], atol=0.006)


def test_an_answer_from_before_there_were_measurements_is_asked_for_again(folder, weights, tmp_path):
    asked, file = predict.Asked(tmp_path, weights=weights), folder / "c.png"
    entry = predict.refusal("c.png", "", state=predict.state_of(file), asked=asked.question)
    entry["knees"] = [{"measurements": {}}]
    predict.overlay_path(tmp_path, "c.png").parent.mkdir()
    predict.overlay_path(tmp_path, "c.png").touch()
    assert predict.holds(entry, file, asked)
    assert not predict.holds({**entry, "knees": [{"side": "R"}]}, file, asked)
