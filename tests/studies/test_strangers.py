from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import TINY, untrained_run

from kneel_lib import landmarks
from kneel_lib.data.folds import split_rows
from kneel_lib.errors import KneelError
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.pipeline import quality
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.pretrained import write_pretrained
from kneel_lib.reporting.statistics import conformal_ellipses
from kneel_lib.simulation import shape_model
from studies.strangers import measure, trust
from studies.strangers.__main__ import conformal_table, reliability_table
from studies.strangers.distortions import RIGHT, SPOILT
from studies.strangers.unseen import networks_asked, networks_unseen

KINDS = {kind.name: kind for kind in (*RIGHT, *SPOILT)}
MOVING = ("turned by 10 degrees", "turned by -10 degrees", "mirrored", "upside down", "a quarter turn")


def dotted() -> tuple[np.ndarray, np.ndarray]:
    """A dark picture (224, 224) with a bright dot at each of 16 landmarks of a real shape, and these."""
    shape = shape_model.load()[0].mean
    points = (shape - shape.mean(axis=0)) / 0.5 + 111.5
    picture = np.full((224, 224), 40, np.uint8)
    for point in points:
        cv2.circle(picture, tuple(np.round(point).astype(int).tolist()), 3, 230, -1)
    return picture, points


@pytest.mark.parametrize("name", [*MOVING, "wide black border", "lateral third cut off"])
def test_landmarks_go_where_their_pixels_go(name):
    picture, points = KINDS[name].change(*dotted())
    places = np.round(points).astype(int)
    inside = ((places >= 0) & (places < picture.shape[::-1])).all(axis=1)
    assert inside.sum() >= 8
    assert (picture[places[inside, 1], places[inside, 0]] > 150).all()


@pytest.mark.parametrize("name", [kind.name for kind in (*RIGHT, *SPOILT)])
def test_every_kind_is_a_picture_that_differs_from_the_knee(name):
    picture, points = dotted()
    changed, places = KINDS[name].change(picture.copy(), points.copy())
    assert changed.dtype in (np.uint8, np.uint16) and places.shape == (landmarks.COUNT, 2)
    same = changed.shape == picture.shape and np.array_equal(changed, picture)
    assert same == (name in ("as it is", "spacing x 0.7", "spacing x 1.4"))


def told(error_mm: float, side: str = "R", doubts: tuple[str, ...] = (), said: float = 0.95) -> measure.Told:
    signs = {name: error_mm for name in trust.SIGNS}
    knee = Knee(side, np.zeros((16, 2)), 0.5, np.zeros(16), 30.0, doubts, trust=said, signs=signs)
    return measure.Told("R", knee, 0, np.full(16, error_mm))


def test_a_summary_counts_wrong_sides_only_where_they_are_not_doubted():
    missed = measure.Told("R", None, 0, np.full(16, np.nan))
    some = [told(1.0), told(12.0, said=0.2), told(1.0, "L"), told(1.0, "L", ("its side is a guess",)), missed]
    row = measure.summary(some)
    counts = ("knees", "found", "out", "wrong_side", "side_guessed", "trusted", "sure")
    assert [row[name] for name in counts] == [5, 4, 1, 1, 1, 3, 3]
    assert row["mre_mm"] == pytest.approx(15 / 4) and row["sure_within_3_mm"] == 1.0


def test_trust_falls_with_the_error_that_its_signs_tell_of():
    random = np.random.default_rng(0)
    knees = pd.DataFrame({"subject_id": range(200), "kl": 2, "split": "train"})
    signs = trust.gather([told(error) for error in random.uniform(1, 5, 200)], knees)
    fitted, judged = trust.fit(signs), trust.unseen(signs)
    assert all(weight < 0 for weight in fitted["weights"]) and fitted["subjects"] == 200
    assert judged[signs["near"]].mean() > 0.8 > 0.3 > judged[~signs["near"]].mean()
    groups = trust.reliability(signs, judged, bins=4)
    assert groups["knees"].sum() == 200 and groups["within_3_mm"].is_monotonic_increasing


def test_where_all_knees_are_near_there_is_no_curve_to_have_an_area():
    made = trust.reliability(pd.DataFrame({"near": [True] * 8}), np.linspace(0.5, 0.9, 8), bins=2)
    assert made["auc"].isna().all() and (made["within_3_mm"] == 1).all()


def test_trust_is_checked_on_all_knees_and_on_those_of_val_alone():
    random, errors = np.random.default_rng(0), np.linspace(1, 5, 80)
    random.shuffle(errors)
    knees = pd.DataFrame({"subject_id": range(80), "kl": 2, "split": ["train"] * 60 + ["val"] * 20})
    signs = trust.gather([told(error) for error in errors], knees)
    made = reliability_table(signs, trust.unseen(signs))
    assert made.groupby("checked_on")["knees"].sum().to_dict() == {"five folds": 80, "val": 20}


@pytest.fixture(scope="module")
def folds(cohort, tmp_path_factory):
    """A folder of two networks that trained nothing, of folds 0 and 1 of drawn knees; and these."""
    folder = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_RUNS", str(tmp_path_factory.mktemp("runs")))
        for fold in (0, 1):
            write_pretrained(untrained_run(SETTINGS["best"], TINY, cohort, fold), "landmarks", folder)
    return folder, cohort


def test_a_knee_is_asked_of_the_networks_that_held_it_out_alone(folds):
    folder, cohort = folds
    found = networks_unseen(folder, cohort)
    for fold in (0, 1):
        held_out = split_rows(cohort, fold)[1]
        assert len(held_out) and all(len(found[row][0]) == 1 for row in held_out)
    others = set(range(len(cohort))) - set(np.concatenate([split_rows(cohort, k)[1] for k in (0, 1)]))
    assert others and all(found[row][0] == [] and len(found[row][1]) == 1 for row in others)
    assert [name.split("-")[0] for name in networks_asked(folder).split()] == ["landmarks"] * 2 + ["search"]


def test_networks_of_other_labels_are_refused_with_their_name(folds):
    folder, cohort = folds
    moved = replace(cohort, landmarks_mm=cohort.landmarks_mm + 1)
    with pytest.raises(KneelError, match=r"landmarks-drawn-0-.*was trained on other knees, labels"):
        networks_unseen(folder, moved)


def test_a_file_that_is_no_picture_is_a_knee_that_was_missed(tmp_path):
    path = Path(tmp_path, "knee.png")
    path.write_bytes(b"no picture")
    assert measure.answer_of(path, np.zeros((16, 2)), "R", 0.5, ([], []), None).knee is None


def test_what_was_measured_stands_in_the_first_columns():
    made = measure.labelled(pd.DataFrame({"mre_mm": [1.0, 2.0]}), cohort="crops", commit="abc")
    assert list(made) == ["cohort", "commit", "mre_mm"] and (made["cohort"] == "crops").all()


def test_conformal_ellipses_hold_nine_in_ten_of_other_knees_and_are_as_long_as_errors_are():
    random = np.random.default_rng(0)
    parts = random.normal(size=(400, 16, 2)) * [1, 3]
    assert np.abs(trust.covered(parts, list(range(400))).mean(axis=0) - 0.9).max() < 0.03
    axes = conformal_ellipses(parts, trust.COVERAGE)
    assert np.allclose(axes[:, 1] / axes[:, 0], 3, rtol=0.2) and np.allclose(axes[:, 0], 2.146, rtol=0.15)


def test_regions_are_counted_by_landmark_and_by_grade():
    random = np.random.default_rng(0)
    knees = pd.DataFrame({"subject_id": range(200), "kl": [0] * 150 + [4] * 50, "split": "train"})
    ratios = random.normal(size=(200, 16, 2)) * np.where(knees["kl"] == 4, 2, 1)[:, None, None]
    deviation = np.full(16, 3.0)
    knee = Knee("R", np.zeros((16, 2)), 0.5, np.zeros(16), 30.0, (), deviation_px=deviation)
    answers = [measure.Told("R", knee, 0, np.zeros(16), 0.5)] * 200
    made = conformal_table(answers, ratios, knees, np.full(200, 0.8))
    by_landmark, by_grade = made[made["kl"] == "all"], made[made["landmark"] == "all"].set_index("kl")
    assert list(by_landmark["landmark"]) == list(range(16)) and set(by_landmark["knees"]) == {200}
    assert np.abs(by_landmark["coverage"] - 0.9).max() < 0.04
    assert dict(by_grade["knees"]) == {0: 150, 4: 50}
    assert by_grade.loc[4, "coverage"] < 0.9 < by_grade.loc[0, "coverage"]
    axes = 1.5 * np.sqrt(0.2 + quality.LEAST_DOUBT) * conformal_ellipses(ratios, trust.COVERAGE)
    assert np.allclose(by_landmark[["across_mm", "along_mm"]], axes)


def test_regions_that_grow_with_doubt_hold_as_often_where_errors_are_larger():
    """What the trust tells of a knee's errors, its regions take up; deviations of maps tell nothing here."""
    random = np.random.default_rng(0)
    trusts = random.uniform(0.3, 1, 600)
    errors = random.normal(size=(600, 16, 2)) * np.sqrt(1 - trusts + quality.LEAST_DOUBT)[:, None, None]
    doubtful = trusts < 0.5
    for sizes, least, most in (
        (np.ones((600, 16)), 0.6, 0.85),
        (quality.expected_size(np.ones((600, 16)), 1 - trusts), 0.88, 0.92),
    ):
        held = trust.covered(errors / sizes[..., None], list(range(600)))
        assert least < held[doubtful].mean() < most


def test_conformal_factors_hold_nine_in_ten_of_other_knees():
    random = np.random.default_rng(0)
    ratios = random.exponential(size=(400, 16))
    within = trust.coverage(ratios, list(range(400)))
    assert np.abs(within - 0.9).max() < 0.02
    assert ((random.exponential(size=(4000, 16)) <= trust.conformal(ratios)).mean(axis=0) > 0.85).all()
