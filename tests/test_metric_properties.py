"""What holds for any errors: shares between 0 and 100 that grow with the radius, distances, corrected
p-values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kneel_lib import landmarks, metrics
from kneel_lib.reporting.statistics import holm, mean_interval, paired_difference

FLOATS = {"allow_infinity": False, "allow_nan": False}
ERRORS = arrays(np.float64, (5, 16), elements=st.floats(0, 15, **FLOATS))
WITH_HOLES = arrays(np.float64, (5, 16), elements=st.one_of(st.floats(0, 15, **FLOATS), st.just(np.nan)))
POINTS = arrays(np.float64, (3, 16, 2), elements=st.floats(-200, 200, **FLOATS))
RADII = st.floats(0.1, 12, **FLOATS)
BONES = st.sampled_from([landmarks.TABLE1, landmarks.TABLE2])


@given(POINTS, POINTS, POINTS)
def test_errors_are_a_distance(one, two, three):
    there = metrics.landmark_errors(one, two)
    assert np.array_equal(there, metrics.landmark_errors(two, one))
    assert (metrics.landmark_errors(one, one) == 0).all()
    assert (there <= metrics.landmark_errors(one, three) + metrics.landmark_errors(three, two) + 1e-9).all()


@given(POINTS, POINTS, st.floats(-3, 3, **FLOATS), st.floats(0.1, 9, **FLOATS))
def test_errors_do_not_depend_on_where_and_how_a_picture_lies_but_on_its_scale(one, two, angle, scale):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = metrics.landmark_errors(one @ turn + 7, two @ turn + 7)
    assert np.allclose(moved, scale * metrics.landmark_errors(one, two), atol=1e-6)


@given(ERRORS, RADII, RADII, BONES)
def test_a_larger_radius_holds_no_fewer_and_shares_are_percentages(errors, first, second, bones):
    small, large = sorted((first, second))
    for share in (
        lambda radius: metrics.share_within(errors, radius),
        lambda radius: metrics.pck_strict(errors, radius),
        lambda radius: metrics.pck_paper(errors, radius, bones)[0],
    ):
        assert 0 <= share(small) <= share(large) <= 100
    assert metrics.share_within(errors, 15) == 100


@given(WITH_HOLES, st.permutations(range(5)), BONES)
def test_the_order_of_knees_does_not_matter(errors, order, bones):
    errors[0, :] = 1.0
    first, other = (metrics.summarise(rows, bones) for rows in (errors, errors[list(order)]))
    assert first == pytest.approx(other, nan_ok=True)


@given(ERRORS, st.integers(0, 4), st.integers(0, 15), BONES)
def test_a_larger_error_makes_no_number_better(errors, knee, number, bones):
    worse = errors.copy()
    worse[knee, number] += 3
    before, after = metrics.summarise(errors, bones), metrics.summarise(worse, bones)
    for name, value in before.items():
        assert after[name] >= value if name in ("mre_mm", "median_mm", "out") else after[name] <= value, name


@given(WITH_HOLES)
def test_a_bones_error_lies_between_its_landmarks(errors):
    for number, bone in enumerate(landmarks.TABLE1):
        for knee, mean in zip(errors[:, list(bone)], metrics.bone_errors(errors)[:, number]):
            known = knee[~np.isnan(knee)]
            assert np.isnan(mean) == (not len(known))
            assert not len(known) or known.min() - 1e-9 <= mean <= known.max() + 1e-9


@given(ERRORS)
def test_lost_knees_halve_every_share_of_as_many_found_ones(errors):
    before = metrics.summarise(errors)
    after = metrics.summarise(np.concatenate([errors, np.full((5, 16), np.nan)]))
    for name, value in before.items():
        if name.startswith(("pck", "strict")):
            assert after[name] == pytest.approx(value / 2)
    assert after["out"] == pytest.approx(50 + before["out"] / 2) and after["mre_mm"] == before["mre_mm"]


P_VALUES = st.lists(st.floats(0, 1, **FLOATS), min_size=1, max_size=12)


@given(P_VALUES)
def test_holm_lowers_no_p_keeps_their_order_and_stays_below_bonferroni(p_values):
    corrected = holm(p_values)
    assert (corrected >= np.array(p_values) - 1e-12).all() and (corrected <= 1).all()
    bonferroni = np.minimum(np.array(p_values) * len(p_values), 1)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(corrected[order]) >= -1e-12).all() and (corrected <= bonferroni + 1e-12).all()
    assert corrected[order[0]] == pytest.approx(min(1, len(p_values) * min(p_values)))


VALUES = arrays(np.float64, (12,), elements=st.floats(-5, 5, **FLOATS))


@given(VALUES, VALUES)
def test_a_difference_the_other_way_round_is_its_negative(first, second):
    subjects = np.arange(12) // 2
    mean, low, high, p = paired_difference(first, second, subjects, draws=200)
    other = paired_difference(second, first, subjects, draws=200)
    assert other == pytest.approx((-mean, -high, -low, p), abs=1e-9) and 2 / 201 <= p <= 1


@given(VALUES, st.floats(-9, 9, **FLOATS), st.floats(0.1, 9, **FLOATS))
def test_an_interval_moves_and_grows_with_its_values(values, shift, scale):
    subjects = np.arange(12) // 2
    mean, low, high = mean_interval(values, subjects, draws=200)
    assert low <= high and mean == pytest.approx(values.mean(), abs=1e-9)
    moved = mean_interval(scale * values + shift, subjects, draws=200)
    assert moved == pytest.approx([scale * part + shift for part in (mean, low, high)], abs=1e-6)
