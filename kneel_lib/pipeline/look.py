"""How a landmark network looks at a knee: a ROI of the knee's own size, mirrored for a left one, turned round
where bone is dark, normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.normalisation import normalise, sample
from kneel_lib.data.rois import PLATEAU_MM, plateau_mm
from kneel_lib.pipeline.knee import in_plateau_mm
from kneel_lib.pipeline.quality import implausibility, shape_distance

BRIGHT, DARK = 1, -1


@dataclass(frozen=True)
class Way:
    """One way to look at a knee: as a right or a left one ("R", "L"), with BRIGHT or DARK bone."""

    side: str
    bone: int


@dataclass(frozen=True)
class View:
    """What one look gave. points_px: (16, 2) in pixels of the picture. deviation_mm: (16,) of the maps, at a
    plateau of PLATEAU_MM."""

    way: Way
    points_px: np.ndarray
    deviation_mm: np.ndarray

    @property
    def centre_px(self) -> np.ndarray:
        """Landmark 4, (2,)."""
        return self.points_px[landmarks.CENTRE]

    @property
    def plateau_px(self) -> float:
        return float(plateau_mm(self.points_px))

    @cached_property
    def shape_distance(self) -> float:
        """How rare the shape is as it lies in the picture."""
        return shape_distance(self.shape_mm)

    @property
    def shape_mm(self) -> np.ndarray:
        """(16, 2) as a right knee at a plateau of PLATEAU_MM."""
        return in_plateau_mm(self.points_px * [-1, 1] if self.way.side == "L" else self.points_px)

    @property
    def implausibility(self) -> float:
        """What decides between two ways."""
        return implausibility(self.shape_distance, self.deviation_mm)


def ways(sides: str, bones: Sequence[int]) -> list[Way]:
    return [Way(side, bone) for side, bone in product(sides, bones)]


def look(
    radiograph: Radiograph,
    network: Any,
    centre_px: np.ndarray,
    plateau_px: float,
    tried: Sequence[Way],
    shifts_mm: Sequence[tuple[float, float]] = ((0.0, 0.0),),
) -> list[View]:
    """A `View` for each way and each shift of the ROI, all in one batch.

    centre_px, plateau_px: where landmark 4 and how wide the plateau is thought to be. shifts_mm: at a plateau
    of PLATEAU_MM.
    """
    unit, size = plateau_px / PLATEAU_MM, network.size_px
    step = network.spacing_mm * unit
    images, origins, taken = [], [], []
    for shift in shifts_mm:
        origin = centre_px + np.multiply(shift, unit) - step * (size - 1) / 2
        square, inside = sample(radiograph.grey, radiograph.inside, origin, step, size)
        for bone in {way.bone: None for way in tried}:
            image = normalise(bone * square, inside)
            for way in (way for way in tried if way.bone == bone):
                images.append(image[:, ::-1] if way.side == "L" else image)
                origins.append(origin)
                taken.append(way)
    points, deviation = network.answer(np.stack(images))
    return [
        View(way, origin + step * (landmarks.mirrored(found, size - 1) if way.side == "L" else found), spread)
        for way, origin, found, spread in zip(taken, origins, points, deviation * network.spacing_mm)
    ]
