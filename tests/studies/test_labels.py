"""Whose truth? Both stages of an annotation, the split of errors, and the floor, on labels that are made here."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kneel_lib import landmarks, outlines, paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import annotation_path
from kneel_lib.errors import KneelError
from kneel_lib.reporting.statistics import conformal_quantile
from studies.labels import edits, figures, floor, noise, regions, stages


def via_table(knees):
    """A VIA table of points: {(file, side): (16, 2) pixels}."""
    rows = [
        {
            "filename": f"{file}.png",
            "region_id": number,
            "region_shape_attributes": json.dumps({"name": "point", "cx": x, "cy": y}),
            "region_attributes": json.dumps(
                {"Bone": "T" if number in landmarks.TIBIA else "F", "Side": side}
            ),
        }
        for (file, side), points in knees.items()
        for number, (x, y) in enumerate(np.asarray(points).tolist())
    ]
    return pd.DataFrame(rows)


def drawn_bones(random):
    """(16, 2) whole pixels of an ROI, each bone from lateral to medial."""
    return np.concatenate(
        [
            np.stack([np.sort(random.integers(50, 400, count)), random.integers(200, 280, count)], axis=1)
            for count in (len(landmarks.TIBIA), len(landmarks.FEMUR))
        ]
    )


@pytest.fixture
def release(tmp_path):
    """(folder with the published table and both stages, the published points in ROI pixels): a right and a
    left knee at 0.15 mm a pixel, of which a person moved landmark 8 of the left one by 12 pixels."""
    random = np.random.default_rng(0)
    published = {key: drawn_bones(random) for key in (("1", "R"), ("2", "L"))}
    after = {
        key: 2.0 * points * [-1 if key[1] == "L" else 1, 1] + [2000, 300] for key, points in published.items()
    }
    before = {key: points.copy() for key, points in after.items()}
    before["2", "L"][8] += [12, 0]
    (tmp_path / "oai_annotation_stages").mkdir()
    for name, table in zip(stages.FILES, (before, after)):
        via_table(table).to_csv(tmp_path / "oai_annotation_stages" / name, index=False)
    rows = [
        {
            "subject_id": int(who),
            "side": side,
            "kl": 3,
            "tibia": ",".join(map(str, points[:9].ravel())),
            "femur": ",".join(map(str, points[9:].ravel())),
        }
        for (who, side), points in published.items()
    ]
    annotation_path(tmp_path).parent.mkdir()
    pd.DataFrame(rows).to_csv(annotation_path(tmp_path), index=False)
    return tmp_path, published


def test_stages_lie_in_mm_of_the_published_rois_and_know_what_was_moved(release):
    folder, published = release
    found = stages.load_stages(folder)
    assert list(found.knees["subject_id"]) == ["1", "2"] and list(found.knees["kl"]) == [3, 3]
    assert found.second == pytest.approx(np.stack(list(published.values())) * 0.3)
    assert found.moved.sum() == 1 and found.moved[1, 8]
    # twelve pixels of 0.15 mm to the right are 1.8 mm to the left in a left knee that is mirrored
    assert found.first[1, 8] - found.second[1, 8] == pytest.approx([-1.8, 0.0])


def test_a_missing_stage_says_where_it_can_be_had(tmp_path):
    with pytest.raises(KneelError, match="git show 4d6c9dd"):
        stages.load_stages(tmp_path)


def test_a_table_of_something_else_is_named(release):
    folder, _ = release
    path = folder / "oai_annotation_stages" / stages.FILES[1]
    table = pd.read_csv(path)
    table.loc[3, "region_attributes"] = "{}"
    table.to_csv(path, index=False)
    with pytest.raises(KneelError, match="refined.csv is no VIA table of points"):
        stages.load_stages(folder)


def test_edits_are_counted_by_landmark_and_grade(release):
    found = stages.load_stages(release[0])
    table = edits.edit_rows(found).set_index(["landmark", "kl"])
    assert table.loc[("all", "all"), "moved_percent"] == pytest.approx(100 / 32)
    assert table.loc[("all", "all"), "knees_touched_percent"] == 50
    assert table.loc[(8, "all"), "moved_percent"] == 50 and table.loc[(7, "all"), "moved_percent"] == 0
    assert table.loc[(8, "all"), "median_mm"] == pytest.approx(1.8)
    across, along = outlines.split_errors(found.first, found.second)
    share = across[1, 8] ** 2 / (across[1, 8] ** 2 + along[1, 8] ** 2)
    assert table.loc[(8, "all"), "across_share"] == pytest.approx(share)


def test_the_shared_error_of_unlike_systems_is_that_of_the_labels():
    random = np.random.default_rng(3)
    shape = 400, landmarks.COUNT, 2
    label = random.normal(0, 0.6, shape)
    errors = {
        name: label + random.normal(0, own, shape)
        for name, own in {"best": 0.3, "forest": 0.7, "clm": 0.9}.items()
    }
    knees = pd.DataFrame({"subject_id": range(400), "kl": np.arange(400) % 5})

    cohort = SimpleNamespace(knees=knees)
    rows = pd.DataFrame(floor.shared_rows(errors, cohort))
    of_all = rows[rows["kl"] == "all"]
    assert of_all["rms_mm"].to_numpy() == pytest.approx(0.6 * np.sqrt(2), abs=0.03)
    assert ((of_all["low"] < 0.6 * np.sqrt(2)) & (of_all["high"] > 0.6 * np.sqrt(2))).all()
    found = pd.DataFrame(floor.floor_rows(errors, cohort)).set_index("kl").loc["all"]
    perfect = np.linalg.norm(label, axis=2).mean()
    assert found["mre_mm"] == pytest.approx(perfect, abs=0.03)
    assert found["above_mm"] == pytest.approx(
        np.linalg.norm(errors["best"], axis=2).mean() - perfect, abs=0.03
    )


def test_recorded_tables_say_what_the_files_say(crops):
    """The numbers of the repository, counted again from the downloads."""
    found = stages.load_stages()
    table = pd.read_csv(paths.RESULTS / "annotation_stages.csv")
    whole = table[(table["what"] == "edits") & (table["landmark"] == "all") & (table["kl"] == "all")].iloc[0]
    assert whole["points"] == found.moved.size
    assert whole["moved_percent"] == pytest.approx(100 * found.moved.mean(), abs=1e-3)
    assert len(found.knees) == 748


def test_ellipses_hold_what_they_promise_and_are_smaller_than_circles_where_points_slide():
    random = np.random.default_rng(5)
    parts = random.normal(0, [0.4, 1.2], (4000, landmarks.COUNT, 2))
    known, unseen = parts[:500], parts[500:]
    areas = {}
    for shape, make in regions.SHAPES.items():
        axes = make(known)
        assert 100 * regions.covered(unseen, axes).mean() == pytest.approx(90, abs=1)
        areas[shape] = axes.prod(axis=1).mean()
    assert areas["ellipse"] < 0.75 * areas["circle"]


def test_too_few_calibration_knees_promise_nothing():
    assert np.isinf(conformal_quantile(np.zeros((8, 3)), 0.9)).all()
    assert conformal_quantile(np.arange(9.0), 0.9) == 8


def test_parts_are_seen_from_the_prediction():
    points = np.zeros((1, 16, 2))
    points[..., 0] = np.arange(16) * 5.0
    parts = regions.parts_of(points, points + [0.3, 2.0])
    assert np.abs(parts[..., 0]) == pytest.approx(2.0) and np.abs(parts[..., 1]) == pytest.approx(0.3)


@pytest.fixture
def recorded():
    names = "annotation_stages error_split label_floor registration_votes conformal_regions"
    return {name: pd.read_csv(paths.RESULTS / f"{name}.csv") for name in names.split()}


def test_figures_draw_every_row_that_they_are_given(recorded):
    stages_table = recorded["annotation_stages"]
    left, right = figures.edit_rates(stages_table).axes
    assert len(left.patches) == landmarks.COUNT and len(right.patches) == 5
    assert max(bar.get_height() for bar in left.patches) == pytest.approx(30.882)
    (axes,) = figures.nearer(stages_table[stages_table["cohort"] == "crops_first"]).axes
    assert len(axes.containers) == 3
    floors = figures.floor_by_grade(recorded["label_floor"]).axes
    assert [len(panel.patches) for panel in floors] == [12, 12, 12]
    votes = recorded["registration_votes"]
    (axes,) = figures.judged_tables(votes).axes
    assert sum(line.get_marker() == "o" and len(line.get_xdata()) for line in axes.lines) == len(votes)
    own = recorded["conformal_regions"]
    (axes,) = figures.region_areas(own[own["cohort"] == "crops"]).axes
    assert len(axes.patches) == 2 * landmarks.COUNT


def test_ellipses_lie_along_the_outline(recorded):
    split = recorded["error_split"]
    rows = split[
        (split["cohort"] == "crops_first")
        & (split["setting"] == "best")
        & (split["profile"] == "native")
        & (split["landmark"] != "all")
    ]
    shape = np.zeros((landmarks.COUNT, 2))
    shape[:, 0] = np.arange(landmarks.COUNT) * 5.0
    (axes,) = figures.error_ellipses(shape, {"best": rows}).axes
    assert len(axes.patches) == landmarks.COUNT
    assert all(patch.angle == 0 and patch.width > patch.height for patch in axes.patches[:9])


def drawn_shapes(count):
    """A cohort of plain pictures with shapes that vary."""
    random = np.random.default_rng(0)
    shape = np.zeros((16, 2))
    shape[:, 0] = [*range(0, 72, 8), *range(4, 68, 10)]
    shape[9:, 1] = -20
    points = 20 + shape + random.normal(0, 1, (count, 16, 2))
    knees = pd.DataFrame(
        {"subject_id": range(count), "side": "R", "kl": np.arange(count) % 5, "split": "train"}
    )
    blank = (np.zeros((8, 8), np.uint8),) * count
    return Cohort("drawn", knees.assign(mm_per_px=1.0), blank, points, 1.0)


def test_spoilt_labels_err_as_much_as_was_put_in():
    true = drawn_shapes(2000)
    labels = noise.spoilt(true, noise.Noise(shift_mm=0, scale=0, step_mm=1e-6))
    across, along = outlines.split_errors(labels.landmarks_mm, true.landmarks_mm)
    assert (across.std(), along.std()) == pytest.approx((0.25, 0.75), rel=0.02)
    common = noise.Noise(along_mm=0, across_mm=0, shift_mm=0.5, scale=0, step_mm=1e-6)
    moved = noise.spoilt(true, common).landmarks_mm - true.landmarks_mm
    assert moved.std(axis=0) == pytest.approx(0.5, rel=0.1) and np.ptp(moved, axis=1) == pytest.approx(
        0, abs=1e-5
    )
    whole = noise.spoilt(true).landmarks_mm / 0.3
    assert whole == pytest.approx(np.round(whole), abs=1e-6)
    assert np.array_equal(noise.spoilt(true).landmarks_mm, noise.spoilt(true).landmarks_mm)
    assert noise.spoilt(true).fingerprint != true.fingerprint


def test_the_floor_is_the_error_that_was_put_in_where_systems_err_apart():
    true = drawn_shapes(400)
    labels, random = noise.spoilt(true), np.random.default_rng(1)
    made = {}
    for name, own in (("best", 0.2), ("rfrv_clm", 0.5), ("clm_igo", 0.6)):
        said = true.landmarks_mm[100:300] + random.normal(0, own, (200, 16, 2))
        table = pd.DataFrame(
            {f"{axis}{k}": said[:, k, a] for k in range(16) for a, axis in enumerate("xy")}
        ).assign(**true.knees.iloc[100:300].reset_index(drop=True))
        made[name] = SimpleNamespace(chosen=lambda table=table: table)
    rows = pd.DataFrame(noise.noise_rows(true, labels, made)).set_index(["what", "of", "kl"])
    put_in = rows.loc[("put in", "labels", "all")]
    told = rows.loc[("floor", "best", "all")]
    assert told["mre_mm"] == pytest.approx(put_in["mre_mm"], rel=0.04)
    assert told["knees"] == put_in["knees"] == 200
    against = rows.loc[("against the truth", "best", "all"), "rms_mm"]
    assert against == pytest.approx(0.2 * np.sqrt(2), rel=0.03)
    assert rows.loc[("against spoilt labels", "best", "all"), "mre_mm"] > told["mre_mm"]
