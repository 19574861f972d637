from pathlib import Path

import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.pipeline.look import BRIGHT, DARK, Way, look, ways

CENTRE, PLATEAU = np.array([56.0, 58.0]), 70.0


@pytest.fixture(scope="module")
def radiograph(cohort):
    return Radiograph(Path("drawn.png"), cohort.images[0].astype(np.float32), None)


def seen(radiograph, networks, way, centre=CENTRE, plateau=PLATEAU):
    (view,) = look(radiograph, networks[0][0], centre, plateau, [way])
    return view


def test_a_mirrored_picture_as_the_other_side_gives_the_mirrored_answer(radiograph, tiny_networks):
    last = radiograph.grey.shape[1] - 1
    mirrored = Radiograph(radiograph.path, np.ascontiguousarray(radiograph.grey[:, ::-1]), None)
    right = seen(radiograph, tiny_networks, Way("R", BRIGHT))
    left = seen(mirrored, tiny_networks, Way("L", BRIGHT), landmarks.mirrored(CENTRE, last))
    assert np.abs(landmarks.mirrored(left.points_px, last) - right.points_px).max() < 0.05
    assert left.deviation_mm == pytest.approx(right.deviation_mm, abs=0.05)
    assert left.shape_distance == pytest.approx(right.shape_distance, rel=0.05)
    unturned = seen(mirrored, tiny_networks, Way("R", BRIGHT), landmarks.mirrored(CENTRE, last))
    assert np.abs(landmarks.mirrored(unturned.points_px, last) - right.points_px).max() > 5


def test_an_inverted_picture_with_dark_bone_gives_the_same_answer(radiograph, tiny_networks):
    inverted = Radiograph(radiograph.path, 255 - radiograph.grey, None)
    for side in "RL":
        bright = seen(radiograph, tiny_networks, Way(side, BRIGHT))
        dark = seen(inverted, tiny_networks, Way(side, DARK))
        assert np.abs(dark.points_px - bright.points_px).max() < 0.05
    assert np.abs(seen(inverted, tiny_networks, Way(side, BRIGHT)).points_px - bright.points_px).max() > 5


def test_a_picture_of_twice_as_many_pixels_gives_the_same_answer(radiograph, tiny_networks):
    """The ROI grows with the knee, so an unknown spacing does not matter."""
    twice = Radiograph(radiograph.path, np.kron(radiograph.grey, np.ones((2, 2), np.float32)), None)
    small = seen(radiograph, tiny_networks, Way("R", BRIGHT))
    large = seen(twice, tiny_networks, Way("R", BRIGHT), 2 * CENTRE + 0.5, 2 * PLATEAU)
    assert np.abs((large.points_px - 0.5) / 2 - small.points_px).max() < 1.0
    assert large.plateau_px == pytest.approx(2 * small.plateau_px, rel=0.1)


def test_all_ways_and_shifts_are_looked_at_together_as_one_by_one(radiograph, tiny_networks):
    tried, shifts = ways("RL", [BRIGHT, DARK]), [(0.0, 0.0), (3.0, -2.0)]
    views = look(radiograph, tiny_networks[0][0], CENTRE, PLATEAU, tried, shifts)
    assert len(views) == 8 and {view.way for view in views} == set(tried) and len(tried) == 4
    for view in views[:4]:
        alone = seen(radiograph, tiny_networks, view.way)
        assert np.abs(view.points_px - alone.points_px).max() < 0.02
    for view in views[4:]:
        moved = CENTRE + np.array(shifts[1]) * PLATEAU / 75.8
        assert (
            np.abs(view.points_px - seen(radiograph, tiny_networks, view.way, moved).points_px).max() < 0.02
        )
