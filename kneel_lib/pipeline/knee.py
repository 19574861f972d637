"""One knee's answer: its landmarks, and how sure they are. What is measured from them stands in
`measurements`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kneel_lib import landmarks, outlines
from kneel_lib.data.rois import PLATEAU_MM, plateau_mm


@dataclass(frozen=True)
class Knee:
    """One knee's answer. points_px: (16, 2) in pixels of the file, as it shows them. mm_per_px: None where
    nothing tells it; then all mm are NaN.

    spread_mm: (16,) standard deviation over networks and views; where no spacing is known, at a plateau of
    PLATEAU_MM. shape_distance: squared Mahalanobis distance to the nearest grade's shape model, with
    measurement noise; about 7 is usual. doubts: why the answer should not be trusted; empty if nothing
    speaks against it. notes: what was done to the picture or is worth knowing, no reason to doubt. trust: the
    probability that every landmark is within 3 mm, NaN where it was not judged; signs: the numbers that it is
    judged by (`quality.signs`). region_px: (16, 2) half axes, across and along the outline, of the ellipse
    that holds the true landmark with a probability of 90 % (`quality.region_px`), in pixels; NaN where it was
    not calibrated. deviation_px: (16,) of the maps, which it is made of.
    """

    side: str
    points_px: np.ndarray
    mm_per_px: float | None
    spread_mm: np.ndarray
    shape_distance: float
    doubts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    trust: float = float("nan")
    signs: dict[str, float] = field(default_factory=dict)
    region_px: np.ndarray = field(default_factory=lambda: np.full((landmarks.COUNT, 2), np.nan))
    deviation_px: np.ndarray = field(default_factory=lambda: np.full(landmarks.COUNT, np.nan))

    @property
    def points_mm(self) -> np.ndarray:
        """(16, 2) mm from the centre of the file's first pixel; NaN without a spacing."""
        return self.points_px * (np.nan if self.mm_per_px is None else self.mm_per_px)

    @property
    def plateau_px(self) -> float:
        """Width of the tibial plateau, landmark 0 to 8, in pixels."""
        return float(plateau_mm(self.points_px))

    @property
    def region_degrees(self) -> np.ndarray:
        """(16,) how far the axis along the outline is turned from the x axis towards the y axis, -90 to
        90."""
        along = outlines.tangents(self.points_px[None])[0]
        return np.degrees(np.arctan2(along[:, 1], along[:, 0]) + np.pi / 2) % 180 - 90

    @property
    def trusted(self) -> bool:
        return not self.doubts


def in_plateau_mm(points_px: np.ndarray) -> np.ndarray:
    """A shape (16, 2) at the size at which its plateau measures PLATEAU_MM: mm that need no spacing."""
    return points_px * (PLATEAU_MM / float(plateau_mm(points_px)))


def knee_from(described: Mapping[str, Any]) -> Knee:
    """The `Knee` that `predict.described` wrote down as plain data, to the digits that it kept."""
    region = described["region_px"]
    how = {} if region is None else {"region_px": np.array(region)}
    trust = float("nan") if described["trust"] is None else described["trust"]
    return Knee(
        described["side"],
        np.array(described["landmarks_px"]),
        described["mm_per_px"],
        np.array(described["spread_mm"]),
        described["shape_distance"],
        tuple(described["doubts"]),
        tuple(described["notes"]),
        trust,
        described["signs"],
        **how,
    )
