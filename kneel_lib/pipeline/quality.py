"""How far an answer can be trusted: the spread of its views, the rarity of its shape, what file and picture
contradict each other in, and the reasons to doubt it in words."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.imaging import similarity
from kneel_lib.pipeline.border import near_border
from kneel_lib.pipeline.metal import has_metal
from kneel_lib.simulation import shape_model

SPREAD_LIMIT_MM, RAREST_SHAPE = 3.0, 45.0
"""A knee is not to be trusted where views of one landmark spread (standard deviation) by more, or where its
shape, turned upright, is farther from the models: of the 529 labelled knees, out of fold, none is farther
than 18.4, of drawn ones none than 30, of a few from elsewhere one is at 35."""

LEAST_APPEARANCE = 0.1
"""What a distance counts for at the least, where little of a knee is inside of the picture."""

DEVIATION_LIMIT_MM = 4.5
"""Mean deviation of the maps, at a plateau of PLATEAU_MM, above which the networks hesitate: 3.4 mm at the
most on the knees of split val, which the network had not seen."""

DISTANCE_A_MM = 60.0
"""What a mm of deviation weighs beside the shape's squared distance, when ways to look are compared."""

SIDE_MARGIN, BONE_MARGIN, CONTRADICTED, MISPLACED = 2.0, 30.0, 5.0, 20.0
"""A side, or a polarity, that was found by trying is a guess where the other one is less than this more
implausible (so a side is none where search and landmark networks agree); a side that was told, or that
follows from where the knee lies, is contradicted where the other one is this much more plausible. One by
place is contradicted too where search and landmark networks both see the other side: of montages of real
crops in another order than right, left all knees were so, and none of those in order."""

MEASURED_MM = 1.0
"""Standard deviation of a predicted coordinate that the shape's judgement allows for."""

TRUST_LIMIT = 0.03
"""An answer with less trust is doubted: none of the 529 labelled knees has less, out of fold, but blurred and
damaged pictures have."""

LEAST_DOUBT = 0.05
"""Added to 1 - trust where regions are made: a knee that is fully trusted has regions too."""

PLATEAU_RANGE_MM = (60.0, 105.0)
"""What plateaus of adults measure; outside, the spacing is doubted."""


@dataclass(frozen=True)
class Evidence:
    """What an answer is judged by; mm at a plateau of PLATEAU_MM.

    deviation_mm, spread_mm: (16,) of the maps and over the views. implausibility: {(side, polarity of bone):
    of the first look that way}. chosen: the way that was taken. said: the side as it was told, or (by_place)
    as it follows from where the knee lies. moved_mm: from where the search saw landmark 4. search_deviation:
    of its maps, as a share of the plateau. search_side: by the order of the landmarks that it saw.
    appearance, strangest: of `appearance.unlike_knees`.
    """

    deviation_mm: np.ndarray
    spread_mm: np.ndarray
    shape_distance: float
    implausibility: Mapping[tuple[str, int], float]
    chosen: tuple[str, int]
    said: str
    by_place: bool
    moved_mm: float
    search_deviation: float
    search_side: str
    appearance: float
    strangest: int

    def margin(self, part: int) -> float:
        """How much more implausible the ways are that differ from the chosen one in side (0) or bone (1), at
        the least; infinite where none was tried."""
        others = [value for way, value in self.implausibility.items() if way[part] != self.chosen[part]]
        return min(others, default=np.inf) - self.implausibility[self.chosen]


def implausibility(distance: float, deviation_mm: np.ndarray) -> float:
    """What decides between two ways to look at a knee: rarity of the shape and deviation of the maps
    together."""
    return float(distance + DISTANCE_A_MM * deviation_mm.mean())


def shape_distance(points_mm: np.ndarray) -> float:
    """Squared Mahalanobis distance of a shape to the nearest grade's model, measurement noise included."""
    residual = points_mm - points_mm[landmarks.CENTRE]
    return min(mahalanobis(model, residual) for model in shape_model.load().values())


def upright(points_mm: np.ndarray) -> np.ndarray:
    """A shape (16, 2) turned as the mean shape stands: a turned picture of a knee is no rare knee."""
    turn = similarity(points_mm, mean_shape())[:, :2]
    return np.asarray(points_mm @ (turn / np.hypot(*turn[:, 0])).T)


@cache
def mean_shape() -> np.ndarray:
    """(16, 2) mm: mean of all grades."""
    return np.asarray(np.mean([model.mean for model in shape_model.load().values()], axis=0))


def mahalanobis(model: shape_model.ShapeModel, shape_mm: np.ndarray) -> float:
    """Of one grade's model, around which measured coordinates scatter by MEASURED_MM, those of landmark 4
    shared by all."""
    basis = model.modes.reshape(len(model.modes), -1)
    noise = MEASURED_MM**2 * (np.eye(basis.shape[1]) + np.tile(np.eye(2), (landmarks.COUNT, landmarks.COUNT)))
    covariance = (basis.T * model.deviations**2) @ basis + noise
    residual = (shape_mm - model.mean).ravel()
    return float(residual @ np.linalg.solve(covariance, residual))


def doubts(radiograph: Radiograph, knee: Any, evidence: Evidence) -> Iterator[str]:
    """Reasons, in words, not to trust an answer."""
    yield from radiograph.notes
    spread = evidence.spread_mm
    if spread.max() > SPREAD_LIMIT_MM:
        yield f"views disagree by {spread.max():.1f} mm at landmark {int(spread.argmax())}"
    if evidence.shape_distance > RAREST_SHAPE:
        yield f"no knee has this shape (distance {evidence.shape_distance:.0f})"
    if evidence.deviation_mm.mean() > DEVIATION_LIMIT_MM:
        yield f"the networks hesitate (their maps spread by {evidence.deviation_mm.mean():.1f} mm)"
    if near_border(radiograph, knee.points_px, 0.01 * knee.plateau_px):
        yield "landmarks at the border or outside of the picture"
    astray = evidence.search_side != evidence.chosen[0] and evidence.margin(0) < 0
    if evidence.by_place and (astray or evidence.margin(0) < -MISPLACED):
        yield f"it lies where a knee of side {evidence.said} does, but looks like one of the other side"
    elif evidence.said and not evidence.by_place and evidence.margin(0) < -CONTRADICTED:
        yield f"it is said to be a knee of side {evidence.said}, but looks like one of the other side"
    if not evidence.said and evidence.margin(0) < SIDE_MARGIN:
        yield "its side is a guess: the other mirroring is about as plausible"
    elif not evidence.said and evidence.search_side != evidence.chosen[0]:
        yield "its side is a guess: search and landmark networks see different ones"
    if evidence.margin(1) < BONE_MARGIN:
        yield "whether bone is bright or dark is a guess"
    if knee.mm_per_px is not None:
        plateau, (low, high) = knee.plateau_px * knee.mm_per_px, PLATEAU_RANGE_MM
        if not low <= plateau <= high:
            yield f"a plateau of {plateau:.0f} mm, which no adult has: is the spacing right?"
    if has_metal(radiograph, knee, evidence.chosen[1]):
        yield "metal, or a part of the picture that is white altogether, beside the joint"
    elif evidence.appearance > 1:
        yield f"the picture is not what knees look like near landmark {evidence.strangest}: metal, or spoilt?"
    if knee.trust < TRUST_LIMIT:
        yield f"landmarks are likely to be off (trust {knee.trust:.2f})"


TRUST = Path(__file__).parent.parent / "weights" / "trust.json"
"""The logistic regression behind `trust`: names, means and deviations of its signs, weights, intercept; made
by `python -m studies.strangers --trust`."""


def signs(evidence: Evidence) -> dict[str, float]:
    """The numbers that the trust in an answer is judged by; mm at a plateau of PLATEAU_MM."""
    return {
        "deviation_mm": float(evidence.deviation_mm.mean()),
        "greatest_deviation_mm": float(evidence.deviation_mm.max()),
        "greatest_spread_mm": float(evidence.spread_mm.max()),
        "log_shape_distance": float(np.log(max(evidence.shape_distance, 1.0))),
        "moved_mm": evidence.moved_mm,
        "search_deviation": evidence.search_deviation,
        "log_appearance": float(np.log(max(evidence.appearance, LEAST_APPEARANCE))),
    }


def trust(found: Mapping[str, float]) -> float:
    """P(all landmarks within 3 mm) by the signs of an answer; NaN where it was never calibrated."""
    fitted = read_trust()
    if not fitted:
        return float("nan")
    values = np.array([found[name] for name in fitted["signs"]])
    scaled = (values - fitted["means"]) / fitted["deviations"]
    return float(expit(scaled @ np.array(fitted["weights"]) + fitted["intercept"]))


def expected_size(deviation: np.ndarray, doubted: np.ndarray | float) -> np.ndarray:
    """How large errors are expected to be, relative to each other: the deviation of a landmark's map, times
    the root of how little its knee is trusted. With regions of this size, the share that holds the truth is
    about the same at every grade; the root was chosen among five powers on the knees that calibrate it.

    deviation: (..., 16). doubted: 1 - trust, (...).
    """
    return np.asarray(deviation * np.sqrt(np.asarray(doubted) + LEAST_DOUBT)[..., None])


def region_px(deviation_px: np.ndarray, trust: float) -> np.ndarray:
    """(16, 2) half axes in pixels, across and along the answer's outline, of the ellipse around each landmark
    that holds the true one with a probability of 90 %: conformal multiples of the `expected_size` of its
    error; NaN where they were never calibrated."""
    ratios = read_trust().get("region_ratios")
    known = np.full((landmarks.COUNT, 2), np.nan) if ratios is None else np.array(ratios)
    return np.asarray(expected_size(deviation_px, 1 - trust)[:, None] * known)


@cache
def read_trust() -> dict[str, Any]:
    """What TRUST holds; nothing where it is not there."""
    return json.loads(TRUST.read_text()) if TRUST.is_file() else {}
