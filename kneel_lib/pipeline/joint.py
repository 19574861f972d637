"""The joint between two bones, from sixteen landmarks: outlines of tibia and femur in the frame of the tibial
plateau.

The outlines are those of `simulation.anatomy`, curves through the landmarks with the hollow that the average
real knee has below the medial tubercle, and not straight lines between landmarks: condyles are round. So what
is measured on simulated knees is what was drawn there, and truth and prediction are measured alike.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.rois import PLATEAU_MM
from kneel_lib.simulation import anatomy

LATERAL_CORNER, MEDIAL_CORNER = landmarks.TIBIA[0], landmarks.TIBIA[-1]
NOTCH = 12


@dataclass(frozen=True)
class Joint:
    """Outlines in the plateau's frame, in widths of the plateau: x runs along the line from the medial corner
    (landmark 8, x = 0) to the lateral one (landmark 0, x = 1), y at a right angle to it towards the femur.

    tibia, femur: (n, 2), of increasing x. notch: x of landmark 12. plateau: its width in the unit of the
    landmarks. corner: (2,) landmark 8. axes: (2, 2), rows are the unit vectors of x and y.
    """

    tibia: np.ndarray
    femur: np.ndarray
    notch: float
    plateau: float
    corner: np.ndarray
    axes: np.ndarray

    def heights(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(tibia's, femur's) y at places x (k,); each (k,), in widths of the plateau."""
        tibia, femur = (np.interp(x, line[:, 0], line[:, 1]) for line in (self.tibia, self.femur))
        return tibia, femur

    def widths(self, x: np.ndarray) -> np.ndarray:
        """The joint-space width at places x (k,), orthogonal to the plateau's line, in the landmarks' unit;
        below zero where the outlines overlap."""
        tibia, femur = self.heights(x)
        return (femur - tibia) * self.plateau

    def to_picture(self, places: np.ndarray) -> np.ndarray:
        """Places (k, 2) of this frame in the frame of the landmarks."""
        return self.corner + places * self.plateau @ self.axes

    @cached_property
    def condylar_line(self) -> np.ndarray:
        """Where a line from below touches the femur on either side of the notch, (2, 2) in this frame: medial
        and lateral."""
        medial = self.femur[:, 0] < self.notch
        slope, touching = 0.0, np.zeros((2, 2))
        for _ in range(20):
            height = self.femur[:, 1] - slope * self.femur[:, 0]
            parts = [(self.femur[part], height[part]) for part in (medial, ~medial)]
            touching = np.stack([line[low.argmin()] for line, low in parts])
            (x, y), before = touching[1] - touching[0], slope
            slope = y / x
            if slope == before:
                break
        return touching


def find_joint(points: np.ndarray) -> Joint | None:
    """The `Joint` of a knee's landmarks, (16, 2) in any picture, of either side; None where
    they cannot be those of a knee: two neighbours in one place, or bones that do not run from side to side.
    """
    plateau = float(np.linalg.norm(points[LATERAL_CORNER] - points[MEDIAL_CORNER]))
    if not np.isfinite(points).all() or plateau == 0:
        return None
    along = (points[LATERAL_CORNER] - points[MEDIAL_CORNER]) / plateau
    up = np.array([along[1], -along[0]])
    femur = points[list(landmarks.FEMUR)].mean(axis=0) - points[MEDIAL_CORNER]
    axes = np.stack([along, up if femur @ up > 0 else -up])
    places = (points - points[MEDIAL_CORNER]) @ axes.T / plateau
    bones = places[list(landmarks.TIBIA)], places[list(landmarks.FEMUR)]
    if min(np.linalg.norm(np.diff(bone, axis=0), axis=1).min() for bone in bones) == 0:
        return None
    notch = float(places[NOTCH, 0])
    if not places[landmarks.FEMUR[-1], 0] < notch < places[landmarks.FEMUR[0], 0]:
        return None
    sized = places * PLATEAU_MM
    curves = anatomy.plateau(sized), anatomy.smooth_through(sized[list(landmarks.FEMUR)])
    tibia, femur = (increasing(curve[::-1] / PLATEAU_MM) for curve in curves)
    return Joint(tibia, femur, notch, plateau, points[MEDIAL_CORNER], axes)


def increasing(line: np.ndarray) -> np.ndarray:
    """A line (n, 2) without the points at which it turns back in x."""
    return line[np.r_[True, line[1:, 0] > np.maximum.accumulate(line[:, 0])[:-1]]]
