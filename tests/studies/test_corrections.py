"""The loop of answers, corrections and training on: each step on small real parts, and once round."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY, untrained_run
from dicom_writer import write_radiograph

from kneel_lib import landmarks
from kneel_lib.cli import main
from kneel_lib.data.via import via_rows, write_via
from kneel_lib.errors import KneelError
from kneel_lib.experiment import trained
from kneel_lib.experiment.rows import NORMALISED
from kneel_lib.pipeline import fine_tuning
from kneel_lib.pipeline.corrected import moves, said_of, spacing_told, summary
from kneel_lib.pipeline.fine_tuning import Schedule
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.predict import ANSWERS, described
from kneel_lib.pipeline.pretrained import FOLDER, read_network, write_pretrained
from kneel_lib.simulation import shape_model
from studies.corrections import hospital
from studies.corrections.loop import Size, difference, once_round, scores

STEP = 0.2
SHAPE = shape_model.load()[1].sample(np.random.default_rng(1), 1)[0] / STEP + [300, 260]


def entry(name, points=SHAPE, mm_per_px=STEP):
    """The answer about a file with one right knee."""
    knee = Knee("R", points, mm_per_px, np.ones(16), 30.0, ())
    return {"file": name, "knees": [described(name, knee)], "problem": ""}


def off(points, **shifts_px):
    """Landmarks, some of them moved along x: l3=5 moves landmark 3 by 5 pixels."""
    moved = points.copy()
    for name, shift in shifts_px.items():
        moved[int(name[1:]), 0] += shift
    return moved


def test_moves_are_counted_and_measured_of_the_knees_that_were_corrected():
    by_hand = {("a.dcm", "R"): ("a", 2, off(SHAPE, l3=5.0, l9=-10.0)), ("b.dcm", "R"): ("b", 0, SHAPE)}
    table = moves([entry("a.dcm"), entry("b.dcm"), entry("c.dcm")], by_hand)
    assert set(table["file"]) == {"a.dcm", "b.dcm"} and len(table) == 2 * landmarks.COUNT
    assert table[table["moved"]][["file", "landmark"]].to_numpy().tolist() == [["a.dcm", 3], ["a.dcm", 9]]
    found = summary(table)
    assert (found["knees"], found["knees_moved"], found["landmarks_moved"]) == (2, 1, 2)
    assert found["median_moved_px"] == pytest.approx(7.5, abs=0.02)
    assert found["greatest_moved_mm"] == pytest.approx(10 * STEP, abs=0.01)


def test_without_a_spacing_moves_are_in_pixels_alone():
    table = moves([entry("a.png", mm_per_px=None)], {("a.png", "R"): ("a", -1, off(SHAPE, l0=4.0))})
    assert table["distance_mm"].isna().all() and table["distance_px"].max() == pytest.approx(4, abs=0.02)


def test_what_was_moved_is_said_in_a_sentence_and_nothing_moved_is_nothing_to_learn():
    by_hand = {("a.png", "R"): ("a", -1, off(SHAPE, l0=4.0))}
    said = said_of(moves([entry("a.png", mm_per_px=None)], by_hand))
    assert said == "1 of 16 landmarks were moved, on 1 of 1 knees; half of them by more than 4.0 px"
    assert said_of(moves([entry("a.png")], by_hand)).endswith("more than 4.0 px (0.80 mm)")
    with pytest.raises(KneelError, match="none of 16 landmarks was moved"):
        said_of(moves([entry("a.png")], {("a.png", "R"): ("a", -1, SHAPE)}))


@pytest.mark.parametrize(
    "told, given, spacing",
    [("given", None, 0.2), ("given", 0.2, 0.2), ("PixelSpacing", 0.3, 0.3), ("", None, None)],
)
def test_the_spacing_that_predict_was_told_is_known_from_the_answers(told, given, spacing):
    assert spacing_told([entry("a.png") | {"spacing_from": told}], given) == spacing


def test_a_spacing_that_contradicts_the_answers_is_refused():
    with pytest.raises(KneelError, match="predict was told 0.2 mm a pixel, and now it is 0.15"):
        spacing_told([entry("a.png") | {"spacing_from": "given"}], 0.15)


def test_corrections_of_other_files_are_refused_in_one_sentence():
    with pytest.raises(KneelError, match="no knee is both answered and corrected"):
        moves([entry("a.dcm")], {("b.dcm", "R"): ("b", 0, SHAPE)})


def test_the_person_moves_what_is_off_to_where_it_belongs_and_leaves_the_rest(tmp_path):
    truth = {("a", "R"): ("17", 3, off(SHAPE, l2=0.9 / STEP, l5=1.2 / STEP)), ("b", "R"): ("18", 1, SHAPE)}
    read = hospital.correct([entry("a"), entry("b")], truth, tmp_path / "via.csv", 1)
    assert list(read) == [("a", "R")] and read["a", "R"][:2] == ("17", 3)
    shift = read["a", "R"][2] - SHAPE
    assert shift[5, 0] == pytest.approx(1.2 / STEP, abs=0.02)
    assert np.abs(np.delete(shift, 5, axis=0)).max() < 0.02


def test_errors_are_in_mm_and_a_knee_that_was_not_found_is_missed():
    truth = {("a", "R"): ("17", 3, off(SHAPE, l2=10.0)), ("b", "R"): ("18", 1, SHAPE)}
    found = hospital.errors([entry("a")], truth)
    assert found["a", "R"][2] == pytest.approx(2.0, abs=0.01)
    said = scores(found, 2)
    assert (said["tested_knees"], said["missed"]) == (2, 1)
    assert said["mre_mm"] == pytest.approx(2 / 16, abs=0.002)
    with pytest.raises(KneelError, match="none of the other knees"):
        scores({}, 2)


def test_an_answer_that_lies_on_the_other_knee_is_no_answer_to_this_one():
    truth = {("a", "R"): ("17", 3, SHAPE + [200 / STEP, 0])}
    assert hospital.errors([entry("a")], truth) == {} and hospital.by_hand(entry("a"), truth) == []


def test_the_change_is_of_the_same_knees_and_its_interval_holds_it():
    random = np.random.default_rng(0)
    before = {(f"f{n}", side): random.uniform(1, 2, 16) for n in range(12) for side in "RL"}
    after = {knee: error - 0.3 + random.normal(0, 0.1) for knee, error in before.items()}
    del after["f3", "L"]
    found = difference(before, after)
    assert found["change_low_mm"] < found["change_mm"] < found["change_high_mm"] < 0
    assert found["change_mm"] == pytest.approx(-0.3, abs=0.08)


@pytest.fixture
def weights(cohort, store, tmp_path):
    """A folder with one small landmark network that nothing has trained, and a file of the search's."""
    torch.manual_seed(3)
    write_pretrained(untrained_run(NORMALISED, TINY, cohort, "all"), "landmarks", tmp_path / "weights")
    (tmp_path / "weights" / "search-x.safetensors").write_bytes(b"as it is")
    return tmp_path / "weights"


@pytest.mark.trains
def test_training_on_begins_with_the_very_network_and_is_made_once(cohort, weights, tmp_path):
    """Without a step the parameters stay those of the file; with steps they do not."""
    spec, model = read_network(next(weights.glob("landmarks-*")))
    still = fine_tuning.fine_tune(cohort, Schedule(1, 0.0, 8), weights)
    moved = fine_tuning.fine_tune(cohort, Schedule(1, 1e-3, 8), weights)
    assert still.spec.start.run == spec.hash and still.spec.origin == "drawn" != "scratch"
    first = dict(model.named_parameters())
    for run, same in ((still, True), (moved, False)):
        now = dict(trained.load_network(run).named_parameters())
        assert all(torch.equal(now[name], first[name]) for name in first) == same
    folder = moved.folder
    when = (folder / "manifest.json").stat().st_mtime_ns
    assert fine_tuning.fine_tune(cohort, Schedule(1, 1e-3, 8), weights).folder == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == when
    path = fine_tuning.write_weights(moved, tmp_path / "adapted", weights)
    assert read_network(path)[0] == moved.spec
    assert (tmp_path / "adapted" / "search-x.safetensors").read_bytes() == b"as it is"
    with pytest.raises(KneelError, match="another landmark network"):
        fine_tuning.write_weights(still, tmp_path / "adapted", weights)
    with pytest.raises(KneelError, match="another landmark network"):
        fine_tuning.fine_tune(cohort, Schedule(1, 1e-2, 8), weights, output=tmp_path / "adapted")
    assert len(list(folder.parent.glob("*/manifest.json"))) == 2, "and before anything is trained"


def test_what_cannot_be_begun_with_is_refused(cohort, tmp_path):
    with pytest.raises(KneelError, match="0 landmark networks"):
        fine_tuning.fine_tune(cohort, weights=tmp_path)
    with pytest.raises(KneelError, match="at least 2"):
        fine_tuning.fine_tune(cohort.select([0]), weights=FOLDER)


@pytest.mark.trains
def test_adapt_says_what_was_moved_and_writes_what_predict_takes(tmp_path, store, capsys):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    rows, pixels = [], np.random.default_rng(0).integers(0, 4000, (520, 600))
    for name in ("a.dcm", "b.dcm"):
        write_radiograph(source / name, pixels)
        rows += via_rows(name, 0, [("R", "", "", off(SHAPE, l4=4.0))])
    write_via(tmp_path / "via.csv", rows)
    lines = [json.dumps({**entry(name), "asked": [], "state": []}) for name in ("a.dcm", "b.dcm")]
    (output / ANSWERS).write_text("\n".join(lines) + "\n")
    given = f"adapt {source} {tmp_path / 'via.csv'} --answers {output} --output {tmp_path / 'new'} --epochs 1"
    assert main(given.split()) == 0
    said = capsys.readouterr().out
    assert "2 of 32 landmarks were moved, on 2 of 2 knees; half of them by more than 4.0 px (0.80 mm)" in said
    kinds = sorted(path.name.split("-")[0] for path in (tmp_path / "new").glob("*.safetensors"))
    assert kinds == ["landmarks", "search"]
    assert pd.read_csv(tmp_path / "new" / "moves.csv")["moved"].sum() == 2


@pytest.mark.trains(long=True)
def test_once_round_on_a_small_hospital(store):
    small = replace(hospital.HOSPITAL, name="small_hospital", grades=(1, 1, 1, 1, 0), both_knees=2)
    table = once_round(Size(1, 2, small, Schedule(1)))
    assert list(table["stage"]) == ["before", "after"] and set(table["tested_knees"]) == {2}
    assert set(table["knees"]) == {2} and (table["landmarks_moved"] > 0).all()
    assert (table["mre_mm"] < 10).all() and table["change_mm"].notna().tolist() == [False, True]
    assert {"cohort", "seed", "commit"} <= set(table)
