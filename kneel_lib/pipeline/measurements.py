"""What a researcher measures on a knee, from its landmarks: joint-space widths and areas, widths of the
bones, angles; each with its unit, its definition in words, and an interval.

Joint-space widths are orthogonal to the plateau's line, as x along it runs from the medial corner (0) to the
lateral one (1); the fixed places are those of the OAI's quantitative readings. An interval holds the value
from the true landmarks with a probability of 90 %. It is made in two steps. The ellipses of the landmarks
(`quality.region_px`) are read as normal deviations, and carried to the measurement by its derivatives, as if
landmarks erred independently. They do not, so the deviation that results is then multiplied by the factor
that a new knee stays within with that probability: split conformal, on knees that the networks had not seen
(`weights/trust.json`, `measurement_ratios`; results/measurement_intervals.csv says how often it holds).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import chdtri

from kneel_lib import landmarks, outlines
from kneel_lib.pipeline.joint import LATERAL_CORNER, MEDIAL_CORNER, Joint, find_joint
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.quality import read_trust

COMPARTMENTS = {"medial": (0.10, 0.30), "lateral": (0.70, 0.90)}
"""Where least widths and areas are taken, in x: up to the innermost and outermost of the OAI's places.
Further in, the space opens towards the spines; further out, the outline is that of the bones' corners."""

PLACES = {
    "medial": tuple(round(x, 3) for x in np.arange(0.150, 0.301, 0.025).tolist()),
    "lateral": tuple(round(x, 3) for x in np.arange(0.700, 0.901, 0.025).tolist()),
}
"""x of the OAI's readings of joint-space width at fixed places."""

NINETY = float(np.sqrt(chdtri(2, 0.1)))
"""Size of the ellipse that holds 90 % of a normal distribution in the plane, in its standard deviations."""

STEP = 0.0005
"""How far a landmark is moved to find what a measurement owes to it, in widths of the plateau."""

GRID = 81
"""How many places of a compartment are looked at."""

Measure = Callable[[np.ndarray, Joint], float]


@dataclass(frozen=True)
class Definition:
    """What is measured: its name, its unit where mm are known, in words, and how. power: 1 of a length, 2 of
    an area, 0 of an angle."""

    name: str
    unit: str
    power: int
    said: str
    measure: Measure


@dataclass(frozen=True)
class Measurement:
    """A value with the interval that holds the one from the true landmarks with a probability of 90 % (NaN
    where it was not calibrated). unit: mm, mm2 or degree; px and px2 where no spacing is known. share: the
    value in widths of the plateau, or in their square; NaN of an angle."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    share: float


def length(first: int, second: int, points: np.ndarray, joint: Joint) -> float:
    """From one landmark to another."""
    return float(np.linalg.norm(points[first] - points[second]))


def width_at(x: float, points: np.ndarray, joint: Joint) -> float:
    return float(joint.widths(np.array([x]))[0])


def least_width(side: str, points: np.ndarray, joint: Joint) -> float:
    return float(joint.widths(places_of(side))[least_at(joint, side)])


def area(side: str, points: np.ndarray, joint: Joint) -> float:
    x = places_of(side)
    return float(np.trapezoid(joint.widths(x), x) * joint.plateau)


def places_of(side: str) -> np.ndarray:
    """x of the places of a compartment that are looked at, (GRID,)."""
    return np.linspace(*COMPARTMENTS[side], GRID)


def least_at(joint: Joint, side: str) -> int:
    """Which of a compartment's places is the narrowest."""
    return int(joint.widths(places_of(side)).argmin())


def plateau_angle(points: np.ndarray, joint: Joint) -> float:
    return angle(points[MEDIAL_CORNER], points[LATERAL_CORNER])


def condyle_angle(points: np.ndarray, joint: Joint) -> float:
    return angle(*joint.to_picture(joint.condylar_line))


def convergence_angle(points: np.ndarray, joint: Joint) -> float:
    return condyle_angle(points, joint) - plateau_angle(points, joint)


def angle(medial: np.ndarray, lateral: np.ndarray) -> float:
    """Degrees between a line and the picture's rows, above zero where the medial end is the lower."""
    return float(np.degrees(np.arctan2(medial[1] - lateral[1], abs(medial[0] - lateral[0]))))


def widths(side: str) -> list[Definition]:
    """The joint-space widths of a compartment."""
    low, high = COMPARTMENTS[side]
    said = f"least joint-space width from x = {low:.2f} to {high:.2f}, orthogonal to the plateau's line"
    fixed = [
        Definition(
            f"{side}_jsw_{x:.3f}",
            "mm",
            1,
            f"joint-space width at x = {x:.3f}, orthogonal to the plateau's line",
            partial(width_at, x),
        )
        for x in PLACES[side]
    ]
    return [Definition(f"{side}_jsw_min", "mm", 1, said, partial(least_width, side)), *fixed]


def space(side: str) -> Definition:
    low, high = COMPARTMENTS[side]
    said = f"area of the joint space from x = {low:.2f} to {high:.2f}"
    return Definition(f"{side}_area", "mm2", 2, said, partial(area, side))


FEMUR_CORNERS = landmarks.FEMUR[0], landmarks.FEMUR[-1]
ROWS = "against the picture's rows, above zero where the medial end is the lower"

DEFINITIONS = (
    *widths("medial"),
    *widths("lateral"),
    space("medial"),
    space("lateral"),
    Definition(
        "plateau_width",
        "mm",
        1,
        "width of the tibial plateau, from landmark 0 to 8",
        partial(length, LATERAL_CORNER, MEDIAL_CORNER),
    ),
    Definition(
        "condyle_width",
        "mm",
        1,
        "width of the femoral condyles, from landmark 9 to 15",
        partial(length, *FEMUR_CORNERS),
    ),
    Definition("plateau_angle", "degree", 0, f"plateau's line, landmark 0 to 8, {ROWS}", plateau_angle),
    Definition(
        "condyle_angle", "degree", 0, f"line that touches both condyles from below, {ROWS}", condyle_angle
    ),
    Definition(
        "convergence_angle",
        "degree",
        0,
        "condyle_angle - plateau_angle, above zero where the joint narrows to the medial side",
        convergence_angle,
    ),
)
NAMES = tuple(definition.name for definition in DEFINITIONS)
PIXEL_UNITS = {"mm": "px", "mm2": "px2", "degree": "degree"}


def signed_values(points: np.ndarray) -> np.ndarray:
    """(measurements,) in the unit of the landmarks (16, 2), widths below zero where bones overlap; NaN where
    these are no landmarks of a knee."""
    joint = find_joint(points)
    if joint is None:
        return np.full(len(DEFINITIONS), np.nan)
    return np.array([definition.measure(points, joint) for definition in DEFINITIONS])


def measured(points: np.ndarray) -> dict[str, float]:
    """{name: value} from landmarks (16, 2), in their own unit (px or mm) and degrees."""
    return dict(zip(NAMES, least_zero(signed_values(points)).tolist()))


def least_zero(values: np.ndarray) -> np.ndarray:
    """Values (measurements,) with lengths and areas of zero at the least: bones that overlap have no joint
    space."""
    lengths = np.array([definition.power > 0 for definition in DEFINITIONS])
    return np.where(lengths, np.maximum(values, 0), values)


def deviations(points: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(measurements,) standard deviation of each, if landmarks (16, 2) err independently by what their
    ellipses of 90 %, half axes (16, 2) across and along the outline in the same unit, say."""
    step = STEP * float(np.linalg.norm(points[LATERAL_CORNER] - points[MEDIAL_CORNER]))
    along = outlines.tangents(points[None])[0]
    across = np.stack([along[:, 1], -along[:, 0]], axis=1)
    axes = np.stack([across, along], axis=1)
    values, variance = signed_values(points), np.zeros(len(DEFINITIONS))
    for number, axis in np.ndindex(points.shape):
        moved = points.copy()
        moved[number] += step * axes[number, axis]
        derivative = (signed_values(moved) - values) / step
        variance += (derivative * region[number, axis] / NINETY) ** 2
    return np.sqrt(variance)


def measurements(knee: Knee) -> tuple[Measurement, ...]:
    """The `Measurement`s of a knee, in the order of DEFINITIONS."""
    points, region = knee.points_px, knee.region_px
    values = signed_values(points)
    known = np.isfinite(region).all() and np.isfinite(values).all()
    half = deviations(points, region) * ratios() if known else np.full(len(values), np.nan)
    low, high = values - half, values + half
    table = np.stack([least_zero(end) for end in (values, low, high)], axis=1)
    return tuple(in_units(knee, one, row) for one, row in zip(DEFINITIONS, table))


def in_units(knee: Knee, definition: Definition, row: np.ndarray) -> Measurement:
    """A `Measurement` from its value and the ends of its interval in pixels (3,)."""
    step, power = knee.mm_per_px, definition.power
    unit = PIXEL_UNITS[definition.unit] if step is None else definition.unit
    value, low, high = (row * (1.0 if step is None else step**power)).tolist()
    share = float(row[0] / knee.plateau_px**power) if power and knee.plateau_px else float("nan")
    return Measurement(definition.name, value, low, high, unit, share)


def ratios(trust: Mapping[str, Any] | None = None) -> np.ndarray:
    """(measurements,) by what a deviation is multiplied to hold 90 % of new knees; NaN where it was never
    calibrated."""
    fitted = (read_trust() if trust is None else trust).get("measurement_ratios", {})
    return np.array([fitted.get(name, np.nan) for name in NAMES])
