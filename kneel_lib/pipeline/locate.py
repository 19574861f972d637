"""From any radiograph to landmarks: find the knees, then look at each as the landmark networks were trained
to see knees, at the size of its own plateau.

Nothing about the file need be known. Whether bone is bright or dark, and which side the knee is of, are found
by trying and keeping the most plausible answer; where the file tells the side, it is checked. Only mm need
the spacing. Several networks, and several slightly moved ROIs, are averaged; how far they disagree is part of
the answer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.rois import PLATEAU_MM
from kneel_lib.errors import KneelError
from kneel_lib.pipeline import quality
from kneel_lib.pipeline.appearance import unlike_knees
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.look import BRIGHT, DARK, View, look, ways
from kneel_lib.pipeline.search import MISSING, Place, find_places

SEARCH_SIDE = 7.5
"""How much more implausible a view counts that is of another side than the search saw. The search told the
side of all 529 crops, and in all of 928 pictures made of the 58 of split val, which it had not seen; landmark
networks alone were wrong in 2 and 8, never by more than 7. Of 44 halves of simulated radiographs each was
wrong in one."""

PLAUSIBLE = 235.0
"""An answer with bright bone that is no more implausible than this is not tried with dark bone."""

SHIFTS_MM = ((1.0, 0.6), (-1.0, -0.6))
"""How far each network's ROIs are moved off the knee's centre, at a plateau of PLATEAU_MM. Two views are as
good as four: MRE 0.913 and 0.914 mm on split val, 0.928 mm with one (the network before this one, on the
older labels)."""

OFF_MM, OFF_SHARE = 4.0, 0.08
"""Where the first look moved the centre by more, or changed the size by a greater share, than this, the ROI
is drawn anew before the networks look at it together."""


class NoKneeFound(KneelError):
    """The image was read, and no knee was found in it."""


def locate(
    radiograph: Radiograph, networks: Sequence[Any], search_networks: Sequence[Any], side: str = ""
) -> list[Knee]:
    """The `Knee`s in a `Radiograph`, from left to right, at most two.

    side: "L" or "R" where a single knee's is known. Raises `NoKneeFound` where there is none.
    """
    seen = find_places(radiograph, search_networks)
    places = seen.places
    if not places and not np.ptp(radiograph.grey):
        raise NoKneeFound(f"{radiograph.path} shows nothing: every pixel has the same grey value")
    if not places:
        why = f" ({'; '.join(radiograph.notes)})" if radiograph.notes else ""
        raise NoKneeFound(f"{radiograph.path} shows no knee that the search could find{why}")
    said = side or (radiograph.side if radiograph.side in ("L", "R") else "")
    if len(places) == 2:
        found = [locate_knee(radiograph, networks, *pair, by_place=True) for pair in zip(places, "RL")]
    else:
        found = [locate_knee(radiograph, networks, places[0], said)]
    notes = [f"{MISSING} in the picture's {seen.half} half"] if seen.half else []
    notes += [further_knees(len(seen.others))] if seen.others else []
    notes += [*sides_contradicted(radiograph.side, len(places)), *filter(None, [radiograph.turned])]
    return [replace(knee, notes=(*knee.notes, *notes)) for knee in found]


def further_knees(count: int) -> str:
    """A note on knees that were seen beside the two that a picture may have."""
    knees = "another knee was" if count == 1 else f"{count} more knees were"
    return f"{knees} seen in the picture, and left out: give one radiograph a file"


def sides_contradicted(said: str, count: int) -> list[str]:
    """A note where the file says one knee and two were found, or both and one was found."""
    if said == "B" and count == 1:
        return ["the file says that it shows both knees, and one was found"]
    if said in ("L", "R") and count == 2:
        return [f"the file says that it shows side {said} alone, and two knees were found"]
    return []


def locate_knee(
    radiograph: Radiograph, networks: Sequence[Any], place: Place, said: str = "", by_place: bool = False
) -> Knee:
    """One `Knee` from where it seems to be. said: its side as file or caller have it, or (by_place) as it
    follows from where it lies beside another: it is taken, and doubted where the picture contradicts it."""
    first, tried = look_every_way(radiograph, networks[0], place, said)
    if moved_mm(first, place) > OFF_MM or abs(np.log(first.plateau_px / place.plateau_px)) > OFF_SHARE:
        (first,) = look(radiograph, networks[0], first.centre_px, first.plateau_px, [first.way])
    views = [
        view
        for network in networks
        for view in look(radiograph, network, first.centre_px, first.plateau_px, [first.way], SHIFTS_MM)
    ]
    points = np.stack([view.points_px for view in views])
    final = View(first.way, points.mean(axis=0), np.mean([view.deviation_mm for view in views], axis=0))
    scale, step = PLATEAU_MM / final.plateau_px, radiograph.mm_per_px
    spread_mm = np.sqrt(points.var(axis=0).sum(axis=1)) * scale
    distance = quality.shape_distance(quality.upright(final.shape_mm))
    evidence = quality.Evidence(
        final.deviation_mm,
        spread_mm,
        distance,
        {(view.way.side, view.way.bone): view.implausibility for view in tried},
        (final.way.side, final.way.bone),
        said,
        by_place,
        moved_mm(final, place),
        place.deviation,
        place.side,
        *unlike_knees(radiograph, final.points_px, final.way.side, final.way.bone),
    )
    signs, deviation_px = quality.signs(evidence), final.deviation_mm / scale
    trust = quality.trust(signs)
    knee = Knee(
        final.way.side,
        final.points_px,
        step,
        spread_mm if step is None else spread_mm * step / scale,
        distance,
        (),
        ("bone is dark in this picture: turned round",) if final.way.bone == DARK else (),
        trust,
        signs,
        quality.region_px(deviation_px, trust),
        deviation_px,
    )
    return replace(knee, doubts=tuple(quality.doubts(radiograph, knee, evidence)))


def moved_mm(view: View, place: Place) -> float:
    """How far a view's landmark 4 lies from where the search saw it, at a plateau of PLATEAU_MM."""
    return float(np.linalg.norm(view.centre_px - place.centre_px)) * PLATEAU_MM / view.plateau_px


def look_every_way(radiograph: Radiograph, network: Any, place: Place, said: str) -> tuple[View, list[View]]:
    """(the most plausible view of the side that was said, or else of either, with the search's word for one;
    all that were tried)."""
    tried = look(radiograph, network, place.centre_px, place.plateau_px, ways("RL", [BRIGHT]))
    if min(view.implausibility for view in tried) > PLAUSIBLE:
        tried += look(radiograph, network, place.centre_px, place.plateau_px, ways("RL", [DARK]))
    allowed = [view for view in tried if not said or view.way.side == said]
    return min(allowed, key=lambda view: view.implausibility + against_search(view, place)), tried


def against_search(view: View, place: Place) -> float:
    """SEARCH_SIDE for a view of the side that the search did not see."""
    return SEARCH_SIDE if view.way.side != place.side else 0.0


def overlay(
    radiograph: Radiograph, knees: Sequence[Knee], least_px: int = 800, greatest_px: int = 1600
) -> np.ndarray:
    """The radiograph with its landmarks, (H, W, 3) uint8 BGR: tibia orange, femur blue;
    an ellipse holds the true landmark with a probability of 90 %; knees not to be trusted are marked, and a
    picture without one says so."""
    longest = max(radiograph.image.shape)
    scale = np.clip(longest, least_px, greatest_px) / longest
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(radiograph.image, None, fx=scale, fy=scale, interpolation=kind)
    picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    for knee in knees:
        for number, point in enumerate(knee.points_px):
            colour = (0, 94, 213) if number in landmarks.TIBIA else (233, 180, 86)
            place = tuple(np.round(point * scale).astype(int).tolist())
            cv2.circle(picture, place, 3, colour, -1, cv2.LINE_AA)
            if np.isfinite(knee.region_px[number]).all():
                across, along = np.maximum(np.round(knee.region_px[number] * scale), 1).astype(int).tolist()
                angle = float(knee.region_degrees[number])
                cv2.ellipse(picture, place, (along, across), angle, 0, 360, colour, 1, cv2.LINE_AA)
        if not knee.trusted:
            x, y = np.round(knee.points_px.min(axis=0) * scale).astype(int).tolist()
            write_on(picture, "not to be trusted", (x, max(y - 12, 12)))
    if not knees:
        write_on(picture, MISSING, (12, 24))
    return picture


def write_on(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    """Yellow words on a picture (H, W, 3), from this pixel (x, y) on."""
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 255), 1, cv2.LINE_AA)
