import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.rois import PLATEAU_MM, plateau_mm
from kneel_lib.pipeline.knee import Knee, in_plateau_mm, least_distance


def flat_knee(mm_per_px):
    """A straight tibia 80 pixels wide, and a straight femur four pixels above it."""
    points = np.zeros((16, 2))
    points[list(landmarks.TIBIA)] = np.stack([np.arange(9) * 10.0, np.full(9, 50.0)], axis=1)
    points[list(landmarks.FEMUR)] = np.stack([np.linspace(0, 80, 7), np.full(7, 46.0)], axis=1)
    return Knee("R", points, mm_per_px, np.zeros(16), 30.0, ())


def test_joint_space_is_the_distance_of_facing_landmarks():
    knee = flat_knee(0.5)
    assert knee.joint_space_mm() == {"medial": pytest.approx(2.0), "lateral": pytest.approx(2.0)}
    assert knee.trusted and knee.plateau_px == 80


def test_a_knee_without_a_spacing_has_no_millimetres_but_shares():
    knee = flat_knee(None)
    assert np.isnan(knee.points_mm).all() and knee.points_mm.shape == (16, 2)
    assert all(np.isnan(width) for width in knee.joint_space_mm().values())
    assert knee.joint_space_share() == {"medial": pytest.approx(0.05), "lateral": pytest.approx(0.05)}
    assert knee.joint_space_px == {"medial": pytest.approx(4.0), "lateral": pytest.approx(4.0)}


def test_shares_do_not_depend_on_the_spacing():
    assert flat_knee(0.1).joint_space_share() == flat_knee(0.9).joint_space_share()


def test_lines_that_cross_have_no_distance():
    cross = np.array([[0.0, 0.0], [10.0, 10.0]]), np.array([[0.0, 10.0], [10.0, 0.0]])
    assert least_distance(*cross) < 0.15  # each is sampled at 100 points
    assert least_distance(cross[0], cross[0] + [0, 30]) == pytest.approx(np.hypot(10, 20), abs=0.1)


def test_a_shape_of_any_size_has_the_same_millimetres_at_the_same_plateau():
    points = flat_knee(None).points_px
    assert np.allclose(in_plateau_mm(points), in_plateau_mm(7 * points))
    assert plateau_mm(in_plateau_mm(points)) == pytest.approx(PLATEAU_MM)
