from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.data.rois import PLATEAU_MM
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.locate import (
    OFF_MM,
    OFF_SHARE,
    SEARCH_SIDE,
    SHIFTS_MM,
    NoKneeFound,
    locate,
    locate_knee,
    look_every_way,
    moved_mm,
    overlay,
)
from kneel_lib.pipeline.look import BRIGHT, DARK, look
from kneel_lib.pipeline.quality import implausibility
from kneel_lib.pipeline.search import Place

PLACE = Place(np.array([56.0, 58.0]), 70.0, "R", 0.05)


@pytest.fixture(scope="module")
def radiograph(cohort):
    return Radiograph(Path("drawn.png"), cohort.images[0].astype(np.float32), 0.5)


def test_a_picture_without_a_knee_is_said_to_have_none(radiograph, tiny_networks):
    with pytest.raises(NoKneeFound, match="drawn.png shows no knee that the search could find"):
        locate(radiograph, *tiny_networks)


def test_a_side_that_was_told_is_taken_and_without_one_the_more_plausible_is(radiograph, tiny_networks):
    found = {side: locate_knee(radiograph, tiny_networks[0], PLACE, side) for side in ("R", "L", "")}
    assert (found["R"].side, found["L"].side) == ("R", "L")
    chosen, tried = look_every_way(radiograph, tiny_networks[0][0], PLACE, "")
    assert chosen.implausibility == min(view.implausibility for view in tried)
    assert found[""].side == chosen.way.side
    assert chosen.implausibility == implausibility(chosen.shape_distance, chosen.deviation_mm)


@pytest.mark.parametrize("seen", "RL")
def test_the_side_that_the_search_saw_wins_unless_the_other_is_far_more_plausible(
    radiograph, tiny_networks, seen
):
    chosen, tried = look_every_way(radiograph, tiny_networks[0][0], replace(PLACE, side=seen), "")
    least = {side: min(view.implausibility for view in tried if view.way.side == side) for side in "RL"}
    other = "L" if seen == "R" else "R"
    assert chosen.way.side == (other if least[other] < least[seen] - SEARCH_SIDE else seen)
    told, _ = look_every_way(radiograph, tiny_networks[0][0], replace(PLACE, side=seen), other)
    assert told.way.side == other


def test_what_is_implausible_with_bright_bone_is_tried_with_dark_bone_as_well(radiograph, tiny_networks):
    """An untrained network's answer is: so all four ways are tried, and a dark one that is taken is noted."""
    _, tried = look_every_way(radiograph, tiny_networks[0][0], PLACE, "R")
    assert {(view.way.side, view.way.bone) for view in tried} == {
        (side, bone) for side in "RL" for bone in (BRIGHT, DARK)
    }
    noted = {}
    for name, picture in (
        ("as it is", radiograph),
        ("inverted", replace(radiograph, grey=255 - radiograph.grey)),
    ):
        chosen, _ = look_every_way(picture, tiny_networks[0][0], PLACE, "R")
        knee = locate_knee(picture, tiny_networks[0], PLACE, "R")
        noted[name] = chosen.way.bone
        assert knee.notes == (
            ("bone is dark in this picture: turned round",) if chosen.way.bone == DARK else ()
        )
    assert set(noted.values()) == {BRIGHT, DARK}


def test_a_mirrored_picture_of_the_other_side_gives_the_mirrored_knee(radiograph, tiny_networks):
    last = radiograph.grey.shape[1] - 1
    other = replace(radiograph, grey=np.ascontiguousarray(radiograph.grey[:, ::-1]))
    there = replace(PLACE, centre_px=landmarks.mirrored(PLACE.centre_px, last))
    right = locate_knee(radiograph, tiny_networks[0], PLACE, "R")
    left = locate_knee(other, tiny_networks[0], there, "L")
    assert np.abs(landmarks.mirrored(left.points_px, last) - right.points_px).max() < 0.1


def test_the_spread_over_views_is_in_mm_of_the_file_or_of_the_plateau(radiograph, tiny_networks):
    knee = locate_knee(radiograph, tiny_networks[0], PLACE, "R")
    unknown = locate_knee(replace(radiograph, mm_per_px=None), tiny_networks[0], PLACE, "R")
    assert knee.spread_mm.shape == (16,) and knee.spread_mm.max() > 0
    assert unknown.spread_mm == pytest.approx(knee.spread_mm / 0.5 * PLATEAU_MM / knee.plateau_px)
    assert np.array_equal(unknown.points_px, knee.points_px) and np.isnan(unknown.points_mm).all()


def test_an_untrained_networks_answer_is_doubted(radiograph, tiny_networks):
    doubts = locate_knee(radiograph, tiny_networks[0], PLACE, "").doubts
    assert any("the networks hesitate" in doubt for doubt in doubts)
    assert any("no knee has this shape" in doubt for doubt in doubts)


def test_an_overlay_marks_every_landmark_and_what_is_not_to_be_trusted(radiograph, cohort):
    knee = Knee("R", cohort.landmarks_px[0], 0.5, np.zeros(16), 30.0, ())
    dark = replace(radiograph, grey=np.zeros((110, 112), np.uint8))
    shown = overlay(dark, [knee])
    assert max(shown.shape[:2]) == 800 and shown.dtype == np.uint8
    x, y = np.round(knee.points_px * 800 / 112).astype(int).T
    assert np.array_equal(shown[y[landmarks.TIBIA[0]], x[landmarks.TIBIA[0]]], (0, 94, 213))
    assert np.array_equal(shown[y[landmarks.FEMUR[0]], x[landmarks.FEMUR[0]]], (233, 180, 86))
    yellow = (shown == (0, 255, 255)).all(axis=2)
    doubted = overlay(dark, [replace(knee, doubts=("a reason",))])
    assert not yellow.any() and (doubted == (0, 255, 255)).all(axis=2).sum() > 50


def test_an_overlay_of_a_large_picture_is_made_smaller():
    large = Radiograph(Path("large.dcm"), np.zeros((3000, 1500), np.uint8), None)
    empty = overlay(large, [])
    assert empty.shape == (1600, 800, 3) and (empty[:40] == (0, 255, 255)).all(axis=2).any(), "it says so"


def test_networks_look_together_where_the_first_look_saw_the_knee(radiograph, tiny_networks):
    """Not where the search did: the ROI is drawn anew, at the knee and at its size."""
    (network,) = tiny_networks[0]
    for off in (0.0, 12.0):
        place = replace(PLACE, centre_px=PLACE.centre_px + off)
        seen, _ = look_every_way(radiograph, network, place, "R")
        if moved_mm(seen, place) > OFF_MM or abs(np.log(seen.plateau_px / place.plateau_px)) > OFF_SHARE:
            (seen,) = look(radiograph, network, seen.centre_px, seen.plateau_px, [seen.way])
        views = look(radiograph, network, seen.centre_px, seen.plateau_px, [seen.way], SHIFTS_MM)
        points = np.stack([view.points_px for view in views])
        knee = locate_knee(radiograph, [network], place, "R")
        assert np.allclose(knee.points_px, points.mean(axis=0), atol=1e-3)
        there = look(radiograph, network, place.centre_px, place.plateau_px, [seen.way], SHIFTS_MM)
        assert np.abs(knee.points_px - np.mean([view.points_px for view in there], axis=0)).max() > 0.5


def test_a_second_look_is_taken_where_the_first_one_moved_far(radiograph, tiny_networks):
    (network,) = tiny_networks[0]
    place = replace(PLACE, centre_px=PLACE.centre_px + 12.0)
    first, _ = look_every_way(radiograph, network, place, "R")
    assert moved_mm(first, place) > OFF_MM
    once = look(radiograph, network, first.centre_px, first.plateau_px, [first.way], SHIFTS_MM)
    knee = locate_knee(radiograph, [network], place, "R")
    assert np.abs(knee.points_px - np.mean([view.points_px for view in once], axis=0)).max() > 0.2
