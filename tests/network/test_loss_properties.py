"""What holds for every loss and any coordinates: least at the truth, growing with each error."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kneel_lib.network import losses

FLOATS = {"allow_nan": False, "allow_infinity": False, "width": 32}
COORDINATES = arrays(np.float32, (3, 4, 2), elements=st.floats(0, 1, **FLOATS))
ERRORS = arrays(np.float32, (3, 4, 2), elements=st.floats(-0.5, 0.5, **FLOATS))
NAMES = st.sampled_from(sorted(losses.LOSSES))
PLACES = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1))
FRAMES = st.sampled_from(["normalised", "pixels", "mm"])


@cache
def make(name, frame="normalised", landmarks=4):
    loss = losses.make_loss(name, frame, size_px=100, spacing_mm=0.3)
    if name == "robust":
        loss.loss = losses.AdaptiveRobust(landmarks)
    return loss


def value(loss, prediction, truth):
    return loss(torch.from_numpy(prediction), torch.from_numpy(truth)).item()


@given(COORDINATES, NAMES, FRAMES)
def test_a_loss_is_zero_at_the_truth_and_the_robust_one_has_its_least_there(truth, name, frame):
    at_truth, beside = (value(make(name, frame), truth + off, truth) for off in (0, np.float32(0.01)))
    assert at_truth < beside
    assert name == "robust" or at_truth == 0


@given(COORDINATES, ERRORS, PLACES, st.floats(0.01, 1), NAMES, FRAMES)
def test_a_larger_error_of_any_coordinate_is_a_larger_loss(truth, errors, place, more, name, frame):
    larger = errors.copy()
    larger[place] += more if errors[place] >= 0 else -more
    loss = make(name, frame)
    assert value(loss, truth + larger, truth) > value(loss, truth + errors, truth)


@given(ERRORS, NAMES)
def test_both_directions_count_alike(errors, name):
    truth, loss = np.zeros((3, 4, 2), np.float32), make(name)
    assert value(loss, errors, truth) == pytest.approx(value(loss, -errors, truth), rel=1e-6)


@given(COORDINATES, ERRORS, NAMES)
def test_a_batch_that_holds_everything_twice_has_the_same_loss(truth, errors, name):
    loss = make(name)
    twice = np.concatenate([truth, truth]), np.concatenate([errors, errors])
    assert value(loss, sum(twice), twice[0]) == pytest.approx(value(loss, truth + errors, truth), rel=1e-4)


@given(COORDINATES, ERRORS, st.integers(0, 3), NAMES)
def test_missing_landmarks_leave_the_mean_of_the_others(truth, errors, number, name):
    """A landmark that is missing in all knees: the loss of the other three alone."""
    holes = truth.copy()
    holes[:, number] = np.nan
    kept = [n for n in range(4) if n != number]
    alone = value(make(name, landmarks=3), (truth + errors)[:, kept], truth[:, kept])
    assert value(make(name), truth + errors, holes) == pytest.approx(alone, rel=1e-4, abs=1e-6)


@given(ERRORS)
def test_elastic_lies_half_way_between_its_parts_and_wing_above_four_times_the_distance(errors):
    truth = np.zeros((3, 4, 2), np.float32)
    one, two, both, wing = (value(make(name), errors, truth) for name in ("l1", "l2", "elastic", "wing"))
    assert both == pytest.approx((one + two) / 2, rel=1e-5, abs=1e-8)
    assert 4 * one <= wing <= 5 * one + 1e-6


@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_no_map_is_nearer_to_a_gaussian_than_the_gaussian_itself(seed, x, y):
    truth, cells = torch.tensor([[[x, y]]]), torch.arange(10.0)
    gaussian = -((cells - 10 * x).square()[None, :] + (cells - 10 * y).square()[:, None]) / 2
    other = gaussian + torch.randn(10, 10, generator=torch.Generator().manual_seed(seed))
    for divergence in losses.DIVERGENCES:
        best, worse = (
            losses.heatmap_regularisation(maps[None, None], truth, 1.0, divergence=divergence).item()
            for maps in (gaussian, other)
        )
        assert best < worse and (
            divergence == "cross_entropy" or 0 <= best + 1e-6 < 1e-4 + worse <= np.log(2)
        )
