import numpy as np
import pandas as pd
import pytest
from conftest import drawn_cohort

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment.profiles import Profile
from studies.registration import agreement, congealing, error_budget, network_check
from studies.registration import table as registration_table
from studies.registration.congealing import Placement
from studies.registration.simulated_crops import Crops, offsets_from_centre

ROUNDS = tuple(congealing.Round(sigma, 8, 6, 0.08) for sigma in (3.0, 2.0))
TINY = Profile("tiny", size_px=64, spacing_mm=0.8, width=4, depth=2, epochs=3)


@pytest.fixture(scope="module")
def crops():
    cohort = drawn_cohort(16)
    truth = Placement(
        cohort.mm_per_px / 2, cohort.landmarks_px[:, 4], np.ones(len(cohort)), np.zeros(len(cohort), bool)
    )
    return Crops("drawn", cohort.knees, cohort.images, offsets_from_centre(cohort) / 2, truth)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KNEEL_CACHE", str(tmp_path))
    return tmp_path


def test_a_shape_is_laid_onto_points_some_of_which_are_far_off(crops):
    random = np.random.default_rng(0)
    points = crops.truth.landmarks_px(crops.offsets_mm) + random.normal(0, 0.2, crops.offsets_mm.shape)
    points[:, 9:12] += 15
    found = network_check.fit_placement(points, crops.offsets_mm, crops.truth.inverted)
    apart = congealing.disagreement_mm(crops.truth, found, crops.offsets_mm)
    assert np.median(apart) < 0.2 and apart.max() < 1.0
    assert found.mm_per_px == pytest.approx(crops.truth.mm_per_px, rel=0.02)


@pytest.mark.trains
def test_the_network_replaces_only_what_lies_far_apart(crops):
    truth = crops.truth
    astray = Placement(truth.mm_per_px.copy(), truth.centres_px.copy(), truth.scores, truth.inverted)
    astray.centres_px[3] += 20
    astray.centres_px[5] += 0.5
    astray.mm_per_px[7] *= 1.01
    both, check_mm, replaced = network_check.combine(astray, truth, crops.offsets_mm)
    assert list(np.flatnonzero(replaced)) == [3] and check_mm[3] == pytest.approx(20 * 2**0.5 * 0.44, abs=0.1)
    assert both.centres_px[3] == pytest.approx(truth.centres_px[3], abs=0.05)
    others = np.arange(len(crops.images)) != 3
    assert (both.centres_px[others] == astray.centres_px[others]).all() and (
        both.mm_per_px[others] == astray.mm_per_px[others]
    ).all()


def test_no_subject_is_on_both_sides_of_the_check(crops):
    for known, unseen in network_check.halves(crops):
        assert not set(crops.knees["subject_id"].iloc[known]) & set(crops.knees["subject_id"].iloc[unseen])
        assert len(known) + len(unseen) == len(crops.images)


@pytest.mark.trains
def test_the_table_is_made_whole_and_kept_rounds_are_not_repeated(crops, cache):
    table, placement, replaced = registration_table.make_table(crops, jobs=1, profile=TINY, rounds=ROUNDS)
    on_file = pd.read_csv(paths.DATA / "oai_crops_registration.csv", nrows=1)
    assert list(table) == list(on_file) and len(table) == len(crops.images) and table.notna().all(axis=None)
    folder = registration_table.kept_in(crops, rounds=ROUNDS)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len([name for name in kept if name.startswith("round")]) == len(ROUNDS)
    (folder / "round-2.npz").write_bytes(b"cut off by a full disk")
    again = registration_table.make_table(crops, jobs=1, profile=TINY, rounds=ROUNDS)[0]
    assert again.equals(table)
    assert (folder / "round-1.npz").stat().st_mtime_ns == kept["round-1.npz"], "a finished round is loaded"
    path = registration_table.write_registration(table, cache / "table.csv")
    assert pd.read_csv(path)[list(table)[:4]].equals(table[list(table)[:4]])


def test_the_table_that_runs_stand_on_is_not_written_over(crops):
    with pytest.raises(KneelError, match="write beside it"):
        registration_table.write_registration(pd.DataFrame(), paths.DATA / "oai_crops_registration.csv")


def test_rows_by_grade_count_what_is_lost_and_what_is_noticed():
    kl = np.array([0, 0, 3, 3])
    apart = np.full((4, 16), 0.2)
    apart[1:3] = 5.0
    rows = {
        row["kl"]: row
        for row in agreement.distance_rows("x", "drawn", kl, apart, np.array([False, True, False, False]))
    }
    assert set(rows) == {"all", 0, 3}
    assert (
        rows["all"]["above_3mm"],
        rows["all"]["unnoticed"],
        rows[3]["unnoticed"],
        rows[0]["unnoticed"],
    ) == (2, 1, 1, 0)


def test_a_registration_error_added_once_more_lowers_the_curve_and_alone_it_is_the_ceiling():
    random = np.random.default_rng(0)
    network, shift = (
        random.normal(0, 0.6, (200, 16, 2)),
        random.normal(0, 0.4, (200, 1, 2)) * np.ones((1, 16, 1)),
    )
    curves = (
        error_budget.pck_curves(network, shift)
        .pivot(index="radius_mm", columns="line", values="pck")
        .loc[1.0]
    )
    assert (
        curves["registration error added once more"]
        < curves["recorded"]
        < curves["registration and rounding alone"]
        < 100
    )
