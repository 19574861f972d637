import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.rois import PLATEAU_MM, plateau_mm
from kneel_lib.pipeline.knee import Knee, in_plateau_mm


def flat_knee(mm_per_px):
    """A straight tibia 80 pixels wide, and a straight femur four pixels above it."""
    points = np.zeros((16, 2))
    points[list(landmarks.TIBIA)] = np.stack([np.arange(9) * 10.0, np.full(9, 50.0)], axis=1)
    points[list(landmarks.FEMUR)] = np.stack([np.linspace(0, 80, 7), np.full(7, 46.0)], axis=1)
    return Knee("R", points, mm_per_px, np.zeros(16), 30.0, ())


def test_a_knee_without_a_spacing_has_no_millimetres():
    knee = flat_knee(None)
    assert np.isnan(knee.points_mm).all() and knee.points_mm.shape == (16, 2)
    assert knee.trusted and knee.plateau_px == 80


def test_a_shape_of_any_size_has_the_same_millimetres_at_the_same_plateau():
    points = flat_knee(None).points_px
    assert np.allclose(in_plateau_mm(points), in_plateau_mm(7 * points))
    assert plateau_mm(in_plateau_mm(points)) == pytest.approx(PLATEAU_MM)
