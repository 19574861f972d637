import numpy as np
import pytest

from kneel_lib import landmarks, metrics
from kneel_lib.reporting.statistics import (
    DRAWS,
    holm,
    mean_interval,
    over_trainings,
    paired_difference,
    resampled_means,
)


@pytest.fixture
def errors():
    """Two knees, all errors 0.5 mm but those named."""
    values = np.full((2, 16), 0.5)
    values[0, [0, 8]] = 0.2, 1.6
    values[1, [9, 15]] = 3.0, 0.2
    return values


def test_errors_are_distances():
    truth = np.zeros((1, 16, 2))
    assert metrics.landmark_errors(truth + [3, 4], truth).tolist() == [[5.0] * 16]


def test_paper_version_averages_inside_a_bone_before_the_threshold(errors):
    assert metrics.bone_errors(errors).tolist() == [[pytest.approx(0.9), 0.5], [0.5, pytest.approx(1.6)]]
    assert metrics.pck_paper(errors, 1.0) == (75.0, pytest.approx(np.std([100, 50], ddof=1)))
    assert metrics.pck_paper(errors, 2.0) == (100.0, 0.0)


def test_strict_version_takes_each_landmark_by_itself(errors):
    assert metrics.pck_strict(errors, 1.0) == 75.0
    assert metrics.pck_strict(errors, 2.0) == 87.5
    assert metrics.pck_strict(errors, 2.5, range(16)) == pytest.approx(100 * 31 / 32)


def test_outliers_count_knees_and_not_landmarks(errors):
    errors[0, [3, 4]] = 10.0, 25.0
    assert metrics.outliers_paper(errors) == 50.0


def test_a_share_is_the_mean_of_what_is_known(errors):
    errors[0, 0] = np.nan
    inside = metrics.within(errors, 1.0)
    assert np.isnan(inside[0, 0]) and set(inside[~np.isnan(inside)]) == {0.0, 100.0}
    assert (
        metrics.share_within(errors, 1.0)
        == np.nanmean(inside)
        == pytest.approx(100 * np.mean(errors[~np.isnan(errors)] <= 1))
    )


def test_missing_landmarks_are_left_out(errors):
    errors[0, 8] = np.nan
    assert metrics.pck_strict(errors, 1.0) == pytest.approx(100 * 6 / 7)
    assert metrics.bone_errors(errors)[0, 0] == pytest.approx(0.2)
    assert metrics.mean_radial_error(errors) == pytest.approx((0.2 + 0.5 * 28 + 3.0 + 0.2) / 31)
    assert metrics.median_error(errors) == 0.5


def test_a_landmark_on_the_radius_is_inside():
    assert metrics.share_within(np.array([1.0, 1.0001]), 1.0) == 50.0


def test_summary_has_the_columns_of_table1(errors):
    assert list(metrics.summarise(errors)) == [
        "pck_1",
        "pck_1.5",
        "pck_2",
        "pck_2.5",
        "strict_1",
        "strict_1.5",
        "strict_2",
        "strict_2.5",
        "strict_2.5_all16",
        "mre_mm",
        "median_mm",
        "out",
    ]


def test_bootstrap_draws_subjects_whole():
    """Three subjects, the first with two knees that are 1, the others with one that is 0: k draws of the
    first mean 2k knees of k + 3."""
    mean, means = resampled_means([1, 0, 1, 0], ["a", "b", "a", "c"], draws=200)
    assert mean == 0.5
    assert set(means) == {2 * k / (k + 3) for k in range(4)}


def test_a_clear_difference_stays_clear_after_correction_over_a_long_table():
    difference = np.random.default_rng(0).normal(-1, 0.5, 100)
    smallest = paired_difference(difference, np.zeros(100), np.arange(100))[3]
    assert smallest == 2 / (DRAWS + 1)
    assert max(holm([smallest] * 60)) < 0.05


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        subjects = np.repeat(np.arange(60), 2)
        values = np.repeat(random.normal(0, 1, 60), 2) + random.normal(0, 0.3, 120)
        mean, low, high = mean_interval(values, subjects, draws=400, seed=trial)
        assert low < mean < high
        hits += low <= 0 <= high
    assert 180 <= hits <= 199


def test_interval_of_clustered_knees_is_wider_than_of_independent_ones():
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 40), 2)
    clustered, independent = (
        mean_interval(values, np.repeat(np.arange(40), 2)),
        mean_interval(values, np.arange(80)),
    )
    assert clustered[2] - clustered[1] > 1.2 * (independent[2] - independent[1])


def test_one_subject_has_a_mean_and_no_interval():
    mean, *others = paired_difference([1, 2], [0, 0], [7, 7])
    assert mean == 1.5 and np.isnan(others).all(), "two knees of one person say nothing of another"
    mean, *others = mean_interval([1.0, np.nan], ["a", "b"])
    assert mean == 1 and np.isnan(others).all()
    assert np.isnan(mean_interval([], [])).all()


def test_a_subject_of_whom_nothing_is_known_changes_no_interval():
    values, subjects = np.random.default_rng(0).normal(0, 1, 20), np.arange(20)
    more = mean_interval([*values, np.nan, np.nan], [*subjects, 100, 101])
    assert more == mean_interval(values, subjects)
    assert paired_difference([*values, np.nan], np.zeros(21), [*subjects, 100])[3] > 2 / (DRAWS + 1)


@pytest.mark.parametrize("values", [[0.1], [np.nan, 0.1], [0.1, 0.2, np.nan]])
def test_trainings_that_are_too_few_or_unknown_have_no_p(values):
    assert np.isnan(over_trainings(values)[1:]).all()


def test_pairing_sees_what_two_intervals_hide():
    """A constant gain of 0.05 mm under a spread of 1 mm between knees: certain when paired, invisible when
    not."""
    random = np.random.default_rng(0)
    subjects = np.arange(100) // 2
    second = 1 + random.gamma(2, 0.5, 100)
    first = second - 0.05 + random.normal(0, 0.02, 100)
    mean, low, high, p = paired_difference(first, second, subjects)
    assert (
        low < -0.05 + 0.01 < high + 0.02
        and high < 0
        and p < 0.01
        and mean == pytest.approx(np.mean(first - second))
    )
    (_, a, b), (_, c, d) = mean_interval(first, subjects), mean_interval(second, subjects)
    assert a < d and c < b
    assert paired_difference(second, second + random.normal(0, 1, 100), subjects)[3] > 0.05


def test_a_paired_interval_covers_the_truth_about_as_often_as_it_says():
    random, covered = np.random.default_rng(1), 0
    for trial in range(200):
        subjects = np.repeat(np.arange(40), 2)
        difference = np.repeat(random.normal(0, 1, 40), 2) + random.normal(0, 0.3, 80)
        _, low, high, _ = paired_difference(difference, np.zeros(80), subjects, draws=300, seed=trial)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_holm_corrects_step_by_step():
    assert np.allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert np.allclose(holm([0.9, 0.8]), [1.0, 1.0]) and len(holm([])) == 0


def test_a_knee_is_out_from_ten_millimetres_on(errors):
    errors[0, 3] = 9.999
    assert metrics.outliers_paper(errors) == 0.0
    errors[0, 3] = 10.0
    assert metrics.outliers_paper(errors) == 50.0


def test_a_summary_by_hand(errors):
    """Knee 0: tibia 0.2 and 1.6, femur 0.5 twice. Knee 1: tibia 0.5 twice, femur 3.0 and 0.2."""
    found = metrics.summarise(errors)
    assert [found[f"pck_{radius}"] for radius in ("1", "1.5", "2", "2.5")] == [75.0, 75.0, 100.0, 100.0]
    assert [found[f"strict_{radius}"] for radius in ("1", "1.5", "2", "2.5")] == [75.0, 75.0, 87.5, 87.5]
    assert found["strict_2.5_all16"] == pytest.approx(100 * 31 / 32) and found["out"] == 0.0
    assert found["mre_mm"] == pytest.approx((28 * 0.5 + 0.2 + 1.6 + 3.0 + 0.2) / 32)
    assert found["median_mm"] == 0.5


def test_table_2_scores_its_own_landmarks(errors):
    errors[:, [4, 12]] = 9.0
    one, two = (metrics.summarise(errors, bones) for bones in (landmarks.TABLE1, landmarks.TABLE2))
    assert one["strict_1"] == 75.0 and two["strict_1"] == pytest.approx(100 * 6 / 12)
    assert one["pck_2.5"] == 100.0 and two["pck_2.5"] == 0.0


def test_a_lost_knee_is_out_and_outside_of_every_radius_and_adds_nothing_to_the_means(errors):
    with_lost = np.concatenate([errors, np.full((2, 16), np.nan)])
    found, before = metrics.summarise(with_lost), metrics.summarise(errors)
    assert metrics.lost_knees(with_lost).tolist() == [False, False, True, True]
    assert found["out"] == 50.0 and found["pck_2.5"] == before["pck_2.5"] / 2
    assert found["strict_2"] == before["strict_2"] / 2
    assert (found["mre_mm"], found["median_mm"]) == (before["mre_mm"], before["median_mm"])
    nothing = metrics.summarise(np.full((2, 16), np.nan))
    assert np.isnan(nothing["mre_mm"]) and nothing["out"] == 100.0 and nothing["strict_2.5_all16"] == 0.0


def test_a_bone_without_a_known_landmark_has_no_error(errors):
    errors[0, [0, 8]] = np.nan
    assert np.isnan(metrics.bone_errors(errors)[0, 0]) and metrics.bone_errors(errors)[0, 1] == 0.5


def test_an_interval_over_trainings_is_students_with_what_folds_share():
    """Three values 1, 2, 3: t at 2 degrees of freedom is 4.3027, the variance 1; a fold of five adds a
    quarter of it."""
    for ratio, variance in ((0, 1 / 3), (0.25, 1 / 3 + 0.25)):
        mean, low, high = over_trainings([1.0, 2.0, 3.0], ratio)[:3]
        reach = 4.3027 * variance**0.5
        assert mean == 2.0 and [low, high] == pytest.approx([2 - reach, 2 + reach], abs=1e-4)


def test_p_is_twice_the_share_on_the_other_side_with_one_draw_added():
    """Two subjects, +3 and -1: a draw's mean is 3, 1 or -1; so p is twice the share of -1."""
    values, subjects, draws = [3.0, -1.0], ["a", "b"], 999
    mean, means = resampled_means(values, subjects, draws)
    _, low, high, p = paired_difference(values, [0.0, 0.0], subjects, draws)
    assert mean == 1.0 and set(means) == {3.0, 1.0, -1.0} and (low, high) == (-1.0, 3.0)
    assert p == 2 * ((means == -1).sum() + 1) / 1000
    assert paired_difference([1.0, 2.0], [1.0, 2.0], subjects, draws)[3] == 1.0


def test_an_interval_leaves_out_two_and_a_half_percent_on_each_side():
    values = np.random.default_rng(3).normal(2, 1, 50)
    mean, low, high = mean_interval(values, np.arange(50))
    _, means = resampled_means(values, np.arange(50))
    assert mean == pytest.approx(values.mean()) and len(means) == DRAWS
    assert (
        (means < low).mean()
        == pytest.approx(0.025, abs=2e-3)
        == pytest.approx((means > high).mean(), abs=2e-3)
    )


def test_unknown_values_are_left_out_of_sums_and_counts():
    mean, means = resampled_means([[1.0, np.nan], [np.nan, 3.0]], ["a", "b"], draws=50)
    assert mean == 2.0 and set(means) == {1.0, 2.0, 3.0}


def test_draws_are_the_same_every_time_and_others_with_another_seed():
    values = np.random.default_rng(0).normal(0, 1, 30)
    first, again, other = (resampled_means(values, np.arange(30), 100, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
