"""Where in a picture knees are, and how large: any picture, of one leg or of two, of any spacing or none.

The search network gives all landmarks of a knee, coarsely, in a window in which the knee may lie anywhere and
be of any size. So the whole picture and its halves are looked at, tall ones in pieces; where a knee seems to
be, the window is drawn around it and looked at again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.normalisation import normalised_cut
from kneel_lib.data.rois import plateau_mm

TALL = 1.6
"""A part that is taller than this many of its widths is looked at in pieces, PIECE of its widths high."""
PIECE = 1.4

AROUND = 1.8
"""Side of the window of the second look, in widths of the plateau."""

SURE, LIKELY, NOTHING, HINT = 0.12, 0.2, 0.3, 1.0
"""Deviation of the maps, as a share of the plateau's width: up to which the search is sure of a knee, up to
which one is likely, from which there is none, and up to which a first look is worth another."""

LOOKS = 3
"""How often it looks at most."""

LARGE = 0.4
"""A knee whose plateau is wider than this share of the picture is the only one in it."""

APART, UNLIKE = 0.75, 1.6
"""Two knees lie at least so many plateaus apart, and neither is more than so many times as large."""


MISSING = "no knee was found"
"""How the note begins that says where a knee was expected."""


@dataclass(frozen=True)
class Place:
    """Where a knee seems to be. centre_px: its landmark 4, (2,), and plateau_px: the width of its plateau, in
    pixels of the picture. side: by the order of its landmarks. deviation: of the maps, as a share of the
    plateau's width."""

    centre_px: np.ndarray
    plateau_px: float
    side: str
    deviation: float


@dataclass(frozen=True)
class Found:
    """What the search found in a picture. places: its knees, from left to right, at most two. others: further
    ones of which it is sure, the surest first. half: "left" or "right" where another knee may be missing."""

    places: list[Place]
    others: list[Place]
    half: str = ""

    @property
    def sure(self) -> tuple[int, ...]:
        """How many of the knees the search is sure of, how many are likely, and whether there is any."""
        sure, likely = (sum(place.deviation <= limit for place in self.places) for limit in (SURE, LIKELY))
        return sure, likely, int(bool(self.places))


def find_places(radiograph: Radiograph, networks: Sequence[Any]) -> Found:
    """The knees in a picture. Where none, or half a pair, is found, the negative is searched too, and its
    knees are taken if more of them are sure."""
    found = places_in(radiograph, networks)
    if found.places and not found.half:
        return found
    negative = replace(radiograph, grey=-np.asarray(radiograph.grey, np.float32))
    return max(found, places_in(negative, networks), key=lambda one: one.sure)


def places_in(radiograph: Radiograph, networks: Sequence[Any]) -> Found:
    """`find_places` in a picture as it is, without the plain strips around it."""
    first, last = radiograph.shown
    (left, top), (right, bottom) = first, last + 1
    whole = look_closer(radiograph, networks, list(windows(left, right, top, bottom)))
    if any(place.plateau_px > LARGE * (right - left) and place.deviation <= SURE for place in whole):
        return Found(sorted(whole, key=lambda place: place.deviation)[:1], [])
    middle = (left + right) / 2
    halves = [*windows(left, middle, top, bottom), *windows(middle, right, top, bottom)]
    found = choose([*whole, *look_closer(radiograph, networks, halves)])
    return replace(found, half=empty_half(found.places, left, right))


def windows(left: float, right: float, top: float, bottom: float) -> Iterator[tuple[np.ndarray, float]]:
    """(centre (2,), side) of the squares that show a part of the picture: all of it, and of one that is much
    longer than wide, or wider than long, pieces (of a long one these alone)."""
    width, height = right - left, bottom - top
    x, y = (left + right - 1) / 2, (top + bottom - 1) / 2
    if height <= TALL * width:
        yield np.array([x, y]), max(width, height)
    short = min(width, height)
    if max(width, height) > TALL * short:
        side = PIECE * short
        count = int(np.ceil((max(width, height) - side) / (side / 2))) + 1
        for begin in np.linspace(0, max(width, height) - side, max(count, 2)):
            place = begin + side / 2
            yield np.array([x, top + place] if height > width else [left + place, y]), side


def look_closer(
    radiograph: Radiograph, networks: Sequence[Any], shown: list[tuple[np.ndarray, float]]
) -> list[Place]:
    """The places that windows show, each looked at again in a window around it until it is sure. Where
    it never is, the surest look counts: a knee that could be of either side may look worse from near."""
    places = [place for place in look(radiograph, networks, shown) if place.deviation < HINT]
    for number in range(1, LOOKS):
        unsure = [i for i, place in enumerate(places) if number == 1 or place.deviation > SURE]
        around = [(places[i].centre_px, AROUND * places[i].plateau_px) for i in unsure]
        for i, place in zip(unsure, look(radiograph, networks, around)):
            surer = min(places[i], place, key=lambda one: one.deviation)
            places[i] = place if place.deviation <= SURE else surer
    return [place for place in places if place.deviation < NOTHING]


def look(
    radiograph: Radiograph, networks: Sequence[Any], shown: list[tuple[np.ndarray, float]]
) -> list[Place]:
    """The `Place` that each window (centre, side) shows, by the mean of the networks."""
    if not shown:
        return []
    answers = []
    for network in networks:
        steps = np.array([side / network.size_px for _, side in shown])
        origins = np.array([centre for centre, _ in shown]) - steps[:, None] * (network.size_px - 1) / 2
        images = [
            normalised_cut(radiograph.grey, origin, step, network.size_px, inside=radiograph.inside)
            for origin, step in zip(origins, steps)
        ]
        points, deviation = network.answer(np.stack(images))
        answers.append((origins[:, None] + points * steps[:, None, None], deviation.mean(axis=1) * steps))
    points, deviation = (np.mean(parts, axis=0) for parts in zip(*answers))
    return [place_of(*found) for found in zip(points, deviation)]


def place_of(points_px: np.ndarray, deviation_px: float) -> Place:
    """The `Place` of landmarks (16, 2) in pixels of the picture."""
    width = max(float(plateau_mm(points_px)), 1.0)
    side = "R" if points_px[landmarks.TIBIA[-1], 0] > points_px[0, 0] else "L"
    return Place(points_px[landmarks.CENTRE], width, side, float(deviation_px) / width)


def choose(places: list[Place]) -> Found:
    """The surest place and the surest of those that can be the other knee beside it; and those of the others
    that are sure and lie elsewhere."""
    chosen: list[Place] = []
    others: list[Place] = []
    for place in sorted(places, key=lambda place: place.deviation):
        if len(chosen) < 2 and all(beside(place, other) for other in chosen):
            chosen.append(place)
        elif place.deviation <= SURE:
            others.append(place)
    further: list[Place] = []
    for place in others:
        if all(elsewhere(place, other) for other in (*chosen, *further)):
            further.append(place)
    return Found(sorted(chosen, key=lambda place: float(place.centre_px[0])), further)


def elsewhere(place: Place, other: Place) -> bool:
    """Whether two places are of different knees, wherever they lie."""
    apart = np.linalg.norm(place.centre_px - other.centre_px)
    return bool(apart > APART * max(place.plateau_px, other.plateau_px))


def beside(place: Place, other: Place) -> bool:
    """Whether two places can be the two knees of one picture."""
    away, down = np.abs(place.centre_px - other.centre_px)
    larger, smaller = max(place.plateau_px, other.plateau_px), min(place.plateau_px, other.plateau_px)
    return bool(away > APART * larger and down < 1.5 * larger and larger < UNLIKE * smaller)


def empty_half(places: Sequence[Place], left: float, right: float) -> str:
    """ "left" or "right" where a picture between two columns with one knee, small and beside its middle, has
    room for another one in that half; else ""."""
    width, middle = right - left, (left + right) / 2
    if len(places) != 1 or places[0].plateau_px > LARGE * width:
        return ""
    off, plateau = float(places[0].centre_px[0]) - middle, places[0].plateau_px
    if abs(off) < 0.5 * plateau or width / 2 + abs(off) < 1.5 * plateau:
        return ""
    return "left" if off > 0 else "right"
