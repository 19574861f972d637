"""Whose truth? Both stages of an annotation, the split of errors, and the floor, on labels that are made
here."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kneel_lib import landmarks, outlines, paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.crops import annotation_path
from kneel_lib.errors import KneelError
from kneel_lib.experiment.store import recorded_runs
from kneel_lib.reporting.statistics import conformal_quantile
from studies.labels import edits, figures, floor, noise, predictions, regions, stages


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


def test_what_is_removed_is_what_was_put_in(crops):
    """A shift and a scale a knee of known size, and errors along and across of known size, are told apart."""
    random = np.random.default_rng(4)
    truth, count = crops.landmarks_mm, len(crops.landmarks_mm)
    along = outlines.tangents(truth)
    across = np.stack([-along[..., 1], along[..., 0]], axis=2)
    own = 0.2 * random.normal(size=(count, 16, 1)) * across + 0.6 * random.normal(size=(count, 16, 1)) * along
    middle = truth.mean(axis=1, keepdims=True)
    scale, shift = 1 + 0.02 * random.normal(size=(count, 1, 1)), 0.5 * random.normal(size=(count, 1, 2))
    answer = middle + (truth - middle) * scale + shift + own
    rows = pd.DataFrame(floor.removal_rows(answer, crops)).set_index("of")
    assert rows["mre_mm"].iloc[0] == pytest.approx(np.linalg.norm(answer - truth, axis=2).mean())
    assert rows["removed_mm"].dropna().sum() == pytest.approx(
        rows["mre_mm"].iloc[0] - rows["mre_mm"].iloc[-1]
    )
    placed = rows.loc["less a scale and a shift a knee"]
    assert placed["shift_sd_mm"] == pytest.approx(0.5, rel=0.2)
    assert placed["scale_sd_percent"] == pytest.approx(2, rel=0.25)
    # the fit takes some of the errors of single landmarks along, so a little less than all is left
    assert placed["mre_mm"] == pytest.approx(np.linalg.norm(own, axis=2).mean(), rel=0.12)
    left = rows.loc["less the part along the edge", "mre_mm"]
    assert left == pytest.approx(0.2 * np.sqrt(2 / np.pi), rel=0.25)
    assert ((rows["low"] < rows["mre_mm"]) & (rows["mre_mm"] < rows["high"])).all()


def test_a_floor_has_an_interval_that_draws_its_ratio_too():
    of_knees = np.array([[0.4, 0.6], [0.7, 0.9], [0.5, 1.0]])
    both, first = floor.told_floor(of_knees, np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert both == pytest.approx(0.8 / np.sqrt(0.75) * np.sqrt(0.5))
    assert first == pytest.approx(0.7 / np.sqrt(0.5) * np.sqrt(0.4))


def test_recorded_tables_follow_from_the_recorded_runs(crops):
    """A few rows of each table, made again from the runs and the labels."""
    runs = [run for run in recorded_runs() if (run.spec.cohort, run.spec.profile.name) == ("crops", "native")]
    system = predictions.System("crops", "best", "native")
    answer = predictions.answers(runs, system, crops)
    made = pd.DataFrame(floor.removal_rows(answer, crops)).set_index("of")
    kept = pd.read_csv(paths.RESULTS / "label_floor.csv")
    kept = kept[(kept["what"] == "removed") & (kept["cohort"] == "crops")].set_index("of")
    for column in ("mre_mm", "low", "high", "removed_mm", "shift_sd_mm", "scale_sd_percent"):
        assert made[column].to_numpy() == pytest.approx(kept[column].to_numpy(), abs=1e-3, nan_ok=True)
    assert set(kept["commit"].str.split().str.len()) == {3}

    across, along = outlines.split_errors(answer, crops.landmarks_mm)
    split = pd.read_csv(paths.RESULTS / "error_split.csv", dtype={"landmark": str})
    split = split[
        (split["cohort"] == "crops") & (split["profile"] == "native") & (split["setting"] == "best")
    ]
    split = split[split["kl"] == "all"].set_index("landmark")
    assert split.loc["all", "across_pck_1.5"] == pytest.approx(100 * np.mean(np.abs(across) <= 1.5), abs=0.02)
    assert split.loc["8", "along_rms_mm"] == pytest.approx(np.sqrt(np.mean(along[:, 8] ** 2)), abs=1e-3)

    regions_made = regions.region_table(runs, "crops").set_index(["checked_on", "shape", "landmark", "kl"])
    recorded_regions = pd.read_csv(paths.RESULTS / "conformal_regions.csv", dtype={"landmark": str})
    own = recorded_regions[(recorded_regions["cohort"] == "crops") & (recorded_regions["kl"] == "all")]
    for row in own[own["landmark"].isin(["0", "8"])].itertuples():
        made_row = regions_made.loc[(row.checked_on, row.shape, int(row.landmark), "all")]
        assert made_row["coverage_percent"] == pytest.approx(row.coverage_percent, abs=1e-3)


def test_who_is_nearer_is_asked_of_every_moved_point_of_the_crops(crops):
    found = stages.load_stages()
    runs = [run for run in recorded_runs() if (run.spec.cohort, run.spec.profile.name) == ("crops", "native")]
    table = edits.head_to_head(found, predictions.System("crops", "best", "native"), runs)
    errors = table[table["what"] == "errors"].set_index(["system", "points_are"])
    known = edits.stage_rows(found, crops.knees)
    assert errors["points"].groupby("points_are").first().sum() == 16 * (known >= 0).sum()
    moved = found.moved[known[known >= 0]]
    assert errors.loc[("best", "moved"), "points"] == moved.sum()
    nearer = table[table["what"] == "nearer"]
    assert nearer["points"].sum() == moved.sum() and nearer["value"].is_monotonic_increasing


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
    seeds = pd.read_csv(paths.RESULTS / "ensembles.csv")
    seeds = seeds[seeds["trainings"].str.startswith("seeds of best")]
    (axes,) = figures.what_is_removed(recorded["label_floor"], seeds).axes
    ends = np.array([[bar.get_x() + bar.get_width() for bar in part] for part in axes.containers]).max(axis=0)
    removed = recorded["label_floor"][recorded["label_floor"]["of"] == "as it is"]
    assert ends == pytest.approx([*removed["mre_mm"], *seeds["each_mm"]], abs=2e-3)
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
