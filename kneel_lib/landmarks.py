"""The sixteen landmarks: their numbers, bones and order (section 4.1 and Fig.
1 of the paper), and what mirroring does to them."""

import numpy as np

COUNT = 16
TIBIA = tuple(range(0, 9))
FEMUR = tuple(range(9, 16))
CENTRE = 4
"""The tibial centre, around which ROIs are cut."""

NAMES = (
    "lateral tibial corner",
    "lateral plateau edge",
    "lateral plateau",
    "lateral spine",
    "tibial centre",
    "medial spine",
    "medial plateau",
    "medial plateau edge",
    "medial tibial corner",
    "lateral femoral corner",
    "lateral condyle edge",
    "lateral condyle",
    "intercondylar notch",
    "medial condyle",
    "medial condyle edge",
    "medial femoral corner",
)

TABLE1 = ((0, 8), (9, 15))
"""Landmarks scored in Table 1, by bone: errors are averaged inside a bone before PCK is taken."""

TABLE2 = ((0, 4, 8), (9, 12, 15))
"""Landmarks scored in Table 2, by bone."""


MIRROR_IMAGE = (*TIBIA[::-1], *FEMUR[::-1])
"""For each landmark the one that stands in its place in the mirror image of a knee."""


def mirrored(points: np.ndarray, reach: float) -> np.ndarray:
    """Points (..., 2) of a picture that is mirrored left to right;
    `reach` is the x of its last pixel's centre, in the points' unit."""
    return np.stack([reach - points[..., 0], points[..., 1]], axis=-1)
