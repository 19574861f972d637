"""Errors across and along outlines on shapes made by hand."""

import numpy as np
import pytest

from kneel_lib import landmarks, outlines


def bones(curve):
    """(1, 16, 2): both bones' landmarks on a curve, a function of a share from 0 to 1."""
    points = np.empty((1, landmarks.COUNT, 2))
    for bone in (landmarks.TIBIA, landmarks.FEMUR):
        points[0, list(bone)] = [curve(share) for share in np.linspace(0, 1, len(bone))]
    return points


STRAIGHT = bones(lambda share: (60 * share, 10.0))
ARC = bones(lambda share: (40 * np.cos(np.pi * share), 40 * np.sin(np.pi * share)))


def test_on_a_straight_edge_across_is_y_and_along_is_x():
    across, along = outlines.split_errors(STRAIGHT + [0.7, -0.4], STRAIGHT)
    assert across == pytest.approx(np.full((1, 16), -0.4)) and along == pytest.approx(np.full((1, 16), 0.7))


def test_the_parts_hold_the_whole_error_whatever_the_outline():
    random = np.random.default_rng(0)
    predicted = ARC + random.normal(0, 2, ARC.shape)
    across, along = outlines.split_errors(predicted, ARC)
    assert np.hypot(across, along) == pytest.approx(np.linalg.norm(predicted - ARC, axis=2))


def test_on_an_arc_a_radial_error_is_across_and_a_sliding_one_along():
    inner = [k for bone in (landmarks.TIBIA, landmarks.FEMUR) for k in bone[1:-1]]
    across, along = outlines.split_errors(1.05 * ARC, ARC)
    assert np.abs(across[:, inner]) == pytest.approx(2.0) and np.abs(along[:, inner]).max() < 1e-9
    turn = np.array([[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]])
    across, along = outlines.split_errors(ARC @ turn.T, ARC)
    assert np.abs(along[:, inner]) == pytest.approx(2.0, abs=0.01)
    assert np.abs(across[:, inner]).max() < 0.06


def test_sliding_along_an_arc_leaves_the_curve_by_far_less_than_the_landmark():
    turn = np.array([[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]])
    inner = [k for bone in (landmarks.TIBIA, landmarks.FEMUR) for k in bone[1:-1]]
    distance = outlines.point_to_curve(ARC @ turn.T, ARC)[:, inner]
    assert distance.max() < 0.4  # of 2.0 from point to point: seven points draw the arc


def test_a_point_beyond_a_bones_end_is_as_far_as_that_end():
    predicted = STRAIGHT.copy()
    predicted[0, 0] += [-3.0, 4.0]
    distance = outlines.point_to_curve(predicted, STRAIGHT)
    assert distance[0, 0] == pytest.approx(5.0) and distance[0, 1:] == pytest.approx(0.0)


def test_distance_to_the_curve_is_never_above_that_to_the_landmark():
    random = np.random.default_rng(1)
    predicted = ARC + random.normal(0, 3, (50, 16, 2))
    truth = np.repeat(ARC, 50, axis=0)
    assert (
        outlines.point_to_curve(predicted, truth) <= np.linalg.norm(predicted - truth, axis=2) + 1e-9
    ).all()


def test_a_missing_landmark_leaves_its_bone_without_a_distance():
    truth = ARC.copy()
    truth[0, 12] = np.nan
    distance = outlines.point_to_curve(ARC, truth)
    assert np.isnan(distance[0, list(landmarks.FEMUR)]).all()
    assert (distance[0, list(landmarks.TIBIA)] < 1e-6).all()
