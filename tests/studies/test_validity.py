"""The validity study: on drawn crops with tiny real networks, and on made-up widths of which the answer is
known."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from kneel_lib import paths
from kneel_lib.data.graded import PUBLISHED, check_unseen, find_graded, labelled_subjects
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.joint import find_joint
from kneel_lib.pipeline.measurements import measured
from kneel_lib.reporting.statistics import mean_interval, weighted_interval
from kneel_lib.simulation import shape_model
from studies.validity import answers, choice, figures, labelled, tables, widths

SHAPES = shape_model.load()[2].sample(np.random.default_rng(0), 6)
UNKNOWN = ("9900001", "9900002")


@pytest.fixture
def folder(tmp_path):
    """Both crops of two subjects whom nobody has labelled, and one of a labelled subject."""
    picture = np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    seen = min(labelled_subjects())
    for number, name in enumerate([f"{who}{side}" for who in UNKNOWN for side in "LR"] + [f"{seen}L"]):
        place = tmp_path / "oai_crops_unlabelled" / "train" / str(number % 5)
        place.mkdir(parents=True)
        cv2.imwrite(str(place / f"{name}.png"), picture)
    return tmp_path


def test_graded_crops_are_those_of_other_subjects(folder):
    knees = find_graded(folder)
    assert list(zip(knees["subject_id"], knees["side"])) == [(who, side) for who in UNKNOWN for side in "LR"]
    assert list(knees["kl"]) == [0, 1, 2, 3] and set(knees["split"]) == {"train"}


def test_without_crops_one_line_says_where_to_get_them(tmp_path):
    with pytest.raises(KneelError, match="data/README.md") as said:
        find_graded(tmp_path)
    assert "\n" not in str(said.value)


def test_subjects_whom_a_network_has_seen_are_refused():
    with pytest.raises(KneelError, match="has a labelled knee"):
        check_unseen({UNKNOWN[0], min(labelled_subjects())})


def test_answers_are_kept_and_a_stopped_study_goes_on(folder, tiny_networks, tmp_path):
    knees, log = find_graded(folder), tmp_path / "answers.jsonl"
    found = answers.answer_all(knees, tiny_networks, log)
    assert list(found["view"]) == [answers.PLAIN] * 4 + [answers.MOVED] * 2  # of the first subject
    assert set(found.loc[found["view"] == answers.MOVED, "subject_id"]) == {UNKNOWN[0]}
    shutil.rmtree(folder / "oai_crops_unlabelled")  # what is known is not asked again
    pd.testing.assert_frame_equal(answers.answer_all(knees, tiny_networks, log), found)
    log.write_text(log.read_text()[:-20])
    cut = answers.answer_all(knees, tiny_networks, log)
    assert not cut["trusted"].iloc[-1] and cut["doubts"].iloc[-1].startswith("9900001R.png is not a readable")


def test_definitions_agree_with_the_measurements_of_predict():
    table = widths.width_table(SHAPES, 1.0)
    for number, shape in enumerate(SHAPES):
        values, row = measured(shape), table.iloc[number]
        assert row["medial"] == pytest.approx(values["medial_jsw_min"])
        assert row["least"] == pytest.approx(min(values["medial_jsw_min"], values["lateral_jsw_min"]))
        assert row["plateau"] == pytest.approx(values["plateau_width"])
        assert row["shortest"] <= row["least"] + 1e-9 <= row["least mean"] + 1e-9
        assert row["least, x 0.05 to 0.40"] <= row["least, x 0.15 to 0.30"] <= row["least, x 0.20 to 0.30"]


def test_widths_scale_with_the_spacing_and_not_with_it_at_one_size():
    once, twice = widths.width_table(SHAPES, 1.0), widths.width_table(SHAPES / 2, np.full(len(SHAPES), 2.0))
    pd.testing.assert_frame_equal(once, twice)
    pd.testing.assert_frame_equal(widths.at_one_size(once), widths.at_one_size(3 * once))


def test_landmarks_of_no_knee_have_no_width():
    assert find_joint(np.zeros((16, 2))) is None
    assert (
        widths.width_table(np.stack([np.zeros((16, 2)), np.full((16, 2), np.nan)]), 1.0).isna().all(axis=None)
    )


def made_up(subjects=300):
    """Both knees of so many people, narrower by grade, alike in a person; a second look errs by 0.2 mm."""
    random = np.random.default_rng(0)
    kl = np.repeat(random.choice(5, subjects, p=(0.3, 0.2, 0.2, 0.2, 0.1)), 2)
    width = 5 - kl + np.repeat(random.normal(0, 0.5, subjects), 2) + random.normal(0, 0.2, 2 * subjects)
    knees = pd.DataFrame(
        {"subject_id": np.repeat(np.arange(subjects), 2).astype(str), "side": ["L", "R"] * subjects, "kl": kl}
    )
    return knees, pd.Series(width)


def test_area_under_the_curve_by_mix_of_grades():
    knees, width = made_up()
    rows = pd.DataFrame(tables.auc_rows(knees, width, draws=200)).set_index(["mix", "group"])
    healthy, ill = width[knees["kl"] < 3].to_numpy(), width[knees["kl"] >= 3].to_numpy()
    pairs = (ill[:, None] < healthy).mean()
    assert rows.loc[("sample", "KL >= 3"), "value"] == pytest.approx(pairs)
    assert ((rows["low"] < rows["value"]) & (rows["value"] < rows["high"])).all()
    weights = tables.mix_weights(knees["kl"])
    shares = pd.Series(weights).groupby(knees["kl"]).sum() / weights.sum()
    assert shares.to_numpy() == pytest.approx(np.array([*PUBLISHED.values()]) / sum(PUBLISHED.values()))
    assert sum(PUBLISHED.values()) == 6604


def test_the_area_is_that_of_scikit_learn_with_ties_and_weights():
    random = np.random.default_rng(3)
    positive, score = random.random(80) < 0.4, random.integers(0, 12, 80).astype(float)
    weights, counts = random.random(80), random.integers(0, 3, (5, 80))
    found = tables.weighted_auc(positive, score, weights, counts)
    wanted = [roc_auc_score(positive, score, sample_weight=weights * drawn) for drawn in counts]
    assert found == pytest.approx(wanted)
    assert np.isnan(tables.weighted_auc(positive, score, weights, counts * positive)).all()


def test_an_interval_of_a_weighted_mean_is_that_of_the_mean():
    knees, width = made_up()
    found = weighted_interval(
        lambda weights: weights @ width.to_numpy() / weights.sum(axis=1), knees["subject_id"], draws=200
    )
    assert found == pytest.approx(mean_interval(width, knees["subject_id"], draws=200))


def test_intervals_know_that_knees_of_a_person_are_alike():
    knees, width = made_up()
    own = tables.auc_rows(knees, width, draws=300)[0]
    apart = tables.auc_rows(knees.assign(subject_id=np.arange(len(knees))), width, draws=300)[0]
    assert own["value"] == apart["value"] and own["high"] - own["low"] > 1.15 * (apart["high"] - apart["low"])


def test_a_width_that_says_nothing_has_half_the_area():
    knees, _ = made_up()
    noise = pd.Series(np.random.default_rng(1).normal(size=len(knees)))
    row = tables.auc_rows(knees, noise, draws=200)[1]
    assert row["low"] < 0.5 < row["high"]


def test_sides_and_views_are_compared_pair_by_pair():
    knees, width = made_up()
    icc, r = (row["value"] for row in tables.side_rows(knees, width))
    assert icc == pytest.approx(r, abs=0.02) and icc > 0.95
    second = width + 0.1 + np.random.default_rng(2).normal(0, 0.2, len(width))
    second[::5] = np.nan
    rows = {row["group"]: row for row in tables.repeat_rows(knees, width, second)}
    assert rows["bias"]["value"] == pytest.approx(0.1, abs=0.03) and rows["bias"]["knees"] == 480
    assert rows["SD of the difference"]["value"] == pytest.approx(0.2, abs=0.02), "the bias is no part of it"
    assert rows["SD of one measurement"]["high"] < rows["SD of the difference"]["low"]


def test_out_of_fold_answers_are_of_every_labelled_knee_and_near_its_crop():
    runs = choice.recorded_in(
        paths.RESULTS / "runs" / labelled.COHORT / labelled.PROFILE / f"{labelled.SETTING}.parquet"
    )
    found = labelled.out_of_fold(list(runs.values()))
    assert len(found.knees) == 529 and not found.knees.duplicated(["subject_id", "side"]).any()
    assert (np.abs(found.points_px[:, 4] - 112) < 40).all()
    with pytest.raises(KneelError, match=f"folds of {labelled.SETTING} are recorded"):
        labelled.out_of_fold(list(runs.values())[1:])


@pytest.fixture
def recorded():
    return {
        name: pd.read_csv(paths.RESULTS / f"{name}.csv", dtype={"subject_id": str}, keep_default_na=True)
        for name in ("validity", "validity_knees", "validity_definitions")
    }


def test_recorded_knees_are_those_that_no_network_has_seen(recorded):
    knees = recorded["validity_knees"]
    check_unseen(set(knees["subject_id"]))
    assert (knees.groupby("subject_id").size() == 2).all() and set(knees["kl"]) == set(range(5))


def test_recorded_tables_follow_from_the_recorded_answers(recorded):
    """The chosen width is the best on the labelled knees, and its numbers are those of the recorded
    landmarks."""
    chosen = choice.best(recorded["validity_definitions"])
    kept = pd.read_parquet(paths.RESULTS / "validity_answers.parquet")
    some = kept[kept["subject_id"].isin(sorted(set(kept["subject_id"]))[:20])]
    made = choice.knee_table(some, *chosen)
    said = recorded["validity_knees"].set_index(["subject_id", "side"])["width_mm"]
    assert made.set_index(["subject_id", "side"])["width_mm"].to_numpy() == pytest.approx(
        said.loc[list(zip(made["subject_id"], made["side"]))].to_numpy(), abs=1e-3
    )
    table = recorded["validity"]
    whole = table[
        (table["sample"] == "unlabelled")
        & table["chosen"]
        & (table["group"] == "KL >= 3")
        & (table["mix"] == "sample")
    ].iloc[0]
    knees = recorded["validity_knees"].dropna(subset=["width_mm"])
    again = tables.auc_rows(knees, knees["width_mm"], draws=20)[1]
    assert again["value"] == pytest.approx(whole["value"], abs=1e-3) and whole["knees"] == len(knees)


def test_figures_draw_what_the_tables_hold(recorded):
    knees = recorded["validity_knees"]
    (axes,) = figures.width_by_grade(knees).axes
    assert len(axes.get_xticks()) == 5
    (axes,) = figures.roc_curves(knees).axes
    assert len(axes.lines) == 4
    (axes,) = figures.definitions(recorded["validity_definitions"]).axes
    assert len(axes.get_yticks()) == len(widths.WIDTHS) and len(axes.containers) == 6
    (axes,) = figures.left_and_right(knees).axes
    assert len(axes.collections[0].get_offsets()) == knees["subject_id"].nunique()
