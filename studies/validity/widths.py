"""Which joint-space width? Ways to make one number of a knee's joint space, in one unit for all knees."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from kneel_lib.data.rois import PLATEAU_MM
from kneel_lib.pipeline.joint import Joint, find_joint
from kneel_lib.pipeline.measurements import COMPARTMENTS, GRID, PLACES, area, least_width

Ranges = dict[str, tuple[float, float]]

OUTER: Ranges = {"medial": (0.15, 0.30), "lateral": (0.70, 0.85)}
MIDDLE: Ranges = {"medial": (0.20, 0.30), "lateral": (0.70, 0.80)}
WIDE: Ranges = {"medial": (0.05, 0.40), "lateral": (0.60, 0.95)}


def compartment(side: str, joint: Joint) -> float:
    """The least width of one compartment as `measurements` has it."""
    return least_width(side, np.empty(0), joint)


def least(joint: Joint) -> float:
    """The lesser of the two compartments' least widths."""
    return min(compartment(side, joint) for side in COMPARTMENTS)


def least_within(ranges: Ranges, joint: Joint) -> float:
    """`least`, taken between other places."""
    return min(joint.widths(np.linspace(*ends, GRID)).min() for ends in ranges.values())


def least_fixed(joint: Joint) -> float:
    """The least of the widths at the OAI's fixed places."""
    return min(joint.widths(np.array(places)).min() for places in PLACES.values())


def least_mean(joint: Joint) -> float:
    """The lesser of the two compartments' mean widths: area over length."""
    lengths = {side: (high - low) * joint.plateau for side, (low, high) in COMPARTMENTS.items()}
    return min(area(side, np.empty(0), joint) / length for side, length in lengths.items())


def shortest(joint: Joint) -> float:
    """The shortest way from bone to bone over a compartment's tibia, in any direction; below zero where they
    overlap."""
    ways = []
    for low, high in COMPARTMENTS.values():
        x = np.linspace(low, high, GRID)
        around = np.linspace(low - 0.05, high + 0.05, 2 * GRID)
        tibia, femur = joint.heights(x)[0], joint.heights(around)[1]
        away = cdist(np.stack([x, tibia], axis=1), np.stack([around, femur], axis=1)).min()
        ways.append(away * joint.plateau if joint.widths(x).min() > 0 else joint.widths(x).min())
    return float(min(ways))


WIDTHS: dict[str, Callable[[Joint], float]] = {
    "least": least,
    "medial": partial(compartment, "medial"),
    "lateral": partial(compartment, "lateral"),
    "least, x 0.15 to 0.30": partial(least_within, OUTER),
    "least, x 0.20 to 0.30": partial(least_within, MIDDLE),
    "least, x 0.05 to 0.40": partial(least_within, WIDE),
    "least of fixed places": least_fixed,
    "least mean": least_mean,
    "shortest": shortest,
}
"""{name: width in the unit of the landmarks}. Lateral ranges mirror the medial ones that the names say."""

NOMINAL, PLATEAU = "nominal spacing", "plateau of 75.8 mm"
assert f"{PLATEAU_MM:g}" in PLATEAU


def width_table(points_px: np.ndarray, mm_per_px: float | np.ndarray) -> pd.DataFrame:
    """A row a knee, a column each of WIDTHS in mm, zero where bones overlap, and `plateau`, the plateau's
    width in mm; NaN where landmarks (n, 16, 2) are none of a knee. mm_per_px: of all knees, or (n,)."""
    rows = [one_row(points) for points in points_px]
    return pd.DataFrame(rows, columns=[*WIDTHS, "plateau"]).mul(np.broadcast_to(mm_per_px, len(rows)), axis=0)


def one_row(points: np.ndarray) -> list[float]:
    joint = find_joint(points)
    if joint is None:
        return [np.nan] * (len(WIDTHS) + 1)
    return [max(measure(joint), 0.0) for measure in WIDTHS.values()] + [joint.plateau]


def at_one_size(table: pd.DataFrame) -> pd.DataFrame:
    """The same widths as if every plateau measured PLATEAU_MM: what needs no spacing."""
    return table[[*WIDTHS]].mul(PLATEAU_MM / table["plateau"], axis=0)
