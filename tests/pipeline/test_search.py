from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kneel_lib.data.radiographs import Radiograph
from kneel_lib.pipeline import search
from kneel_lib.pipeline.search import Found, Place, choose, find_places, place_of, windows


def covered(shown, width, height):
    """(height, width) of how many windows show each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return sum(
        (np.abs(columns - centre[0]) <= side / 2) & (np.abs(rows - centre[1]) <= side / 2)
        for centre, side in shown
    )


@pytest.mark.parametrize(
    "width, height", [(400, 300), (300, 400), (300, 479), (300, 481), (200, 900), (90, 2000), (900, 200)]
)
def test_windows_cover_every_pixel_of_a_picture(width, height):
    shown = list(windows(0, width, 0, height))
    assert covered(shown, width, height).min() >= 1
    assert (len(shown) == 1) == (max(width, height) <= search.TALL * min(width, height))


def test_a_tall_picture_is_looked_at_in_pieces_that_overlap_by_half():
    """So a knee that the border of one window cuts lies well inside of another one."""
    shown = list(windows(0, 200, 0, 1500))
    tops = np.array([centre[1] - side / 2 for centre, side in shown])
    assert {side for _, side in shown} == {search.PIECE * 200}
    assert tops[0] == 0 and tops[-1] + search.PIECE * 200 == pytest.approx(1500)
    assert np.diff(tops).max() <= search.PIECE * 100 + 1e-9


def test_a_wide_picture_is_looked_at_as_a_whole_and_in_pieces():
    whole, *pieces = windows(0, 1500, 0, 200)
    assert whole[1] == 1500 and {side for _, side in pieces} == {search.PIECE * 200}
    lefts = np.array([centre[0] - side / 2 for centre, side in pieces])
    assert lefts[0] == 0 and lefts[-1] + search.PIECE * 200 == pytest.approx(1500)


def test_windows_of_the_right_half_lie_there():
    ((centre, side),) = windows(300, 600, 50, 450)
    assert centre == pytest.approx([449.5, 249.5]) and side == 400


def place(x, y, deviation, width=100.0):
    return Place(np.array([x, y], float), width, "R", deviation)


def test_two_knees_side_by_side_are_kept_from_left_to_right():
    left, right = place(150, 300, 0.08), place(420, 310, 0.05)
    assert choose([right, left]) == Found([left, right], []) == choose([left, right])


def test_a_third_knee_is_dropped_and_it_is_the_least_sure():
    left, right, third = place(150, 300, 0.08), place(420, 310, 0.05), place(700, 300, 0.2)
    assert choose([third, left, right]) == Found([left, right], [])


def test_a_knee_that_is_sure_and_lies_elsewhere_is_named_once():
    left, right = place(150, 300, 0.05), place(420, 310, 0.06)
    below, again = place(150, 700, 0.07), place(160, 690, 0.08)
    assert choose([again, left, below, right]) == Found([left, right], [below])


@pytest.mark.parametrize(
    "other",
    [place(160, 310, 0.1), place(150, 700, 0.1), place(400, 700, 0.1), place(400, 300, 0.1, 40.0)],
    ids=["on top of it", "far below it", "beside it but far below", "beside it but small"],
)
def test_what_cannot_be_the_other_knee_is_dropped(other):
    sure = place(150, 300, 0.05)
    assert choose([other, sure]).places == [sure]


def test_no_place_gives_none():
    assert choose([]) == Found([], [])


def test_the_side_of_a_place_is_by_the_order_of_its_landmarks(cohort):
    points = cohort.landmarks_px[0]
    right, left = place_of(points, 4.0), place_of(points * [-1, 1], 4.0)
    assert (right.side, left.side) == ("R", "L")
    assert right.plateau_px == pytest.approx(np.linalg.norm(points[8] - points[0]))
    assert right.deviation == pytest.approx(4.0 / right.plateau_px)


def test_a_search_that_is_sure_of_nothing_finds_no_place(cohort, tiny_networks):
    """The maps of an untrained network are flat."""
    radiograph = Radiograph(Path("drawn.png"), cohort.images[0], None)
    assert find_places(radiograph, tiny_networks[1]) == Found([], [])


def test_what_windows_show_is_told_in_pixels_of_the_picture(cohort, tiny_networks):
    """The same window of the same picture, further to the right and below: so is the place."""
    image = cohort.images[0].astype(np.float32)
    padded = np.pad(image, ((30, 0), (50, 0)))
    inside = np.pad(np.ones(image.shape, bool), ((30, 0), (50, 0)))
    radiograph = Radiograph(Path("drawn.png"), image, None)
    (first,) = search.look(radiograph, tiny_networks[0], [(np.array([55.0, 50.0]), 96.0)])
    moved = replace(radiograph, grey=padded, inside=inside)
    (other,) = search.look(moved, tiny_networks[0], [(np.array([105.0, 80.0]), 96.0)])
    assert other.centre_px == pytest.approx(first.centre_px + [50, 30], abs=0.05)
    assert other.plateau_px == pytest.approx(first.plateau_px, rel=0.01) and other.side == first.side


def test_several_networks_answer_by_their_mean(cohort, tiny_networks):
    radiograph, (network,) = Radiograph(Path("drawn.png"), cohort.images[0], None), tiny_networks[0]
    shown = [(np.array([55.0, 50.0]), 96.0)]
    (once,) = search.look(radiograph, [network], shown)
    (twice,) = search.look(radiograph, [network, network], shown)
    assert twice.centre_px == pytest.approx(once.centre_px) and search.look(radiograph, [network], []) == []
