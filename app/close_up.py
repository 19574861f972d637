"""The picture around one knee, and where its landmarks lie in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from app.opened import moved
from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph, stretch
from kneel_lib.figures.style import FEMUR_COLOUR, TIBIA_COLOUR
from kneel_lib.imaging import cut
from kneel_lib.pipeline.knee import Knee

SHARE, SIZE_PX = 1.35, 760
"""Width of the square in widths of the plateau, and in pixels of the page."""

CONTRAST = (1, 99.5)
"""Percentiles of the square between which it is shown."""

QUALITY = 92


@dataclass(frozen=True)
class CloseUp:
    """A square of the file. origin_px: where its first pixel's centre lies in the file. step_px: how many
    pixels of the file one of its own is."""

    origin_px: tuple[float, float]
    step_px: float

    def to_page(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the file, in pixels of the square; half a pixel more, as SVG counts from the
        outer corner."""
        return np.asarray((points_px - np.array(self.origin_px)) / self.step_px + 0.5)

    def to_file(self, place: Sequence[float]) -> tuple[float, float]:
        """A place in the square, (x, y), in pixels of the file."""
        x, y = (np.asarray(place, float) - 0.5) * self.step_px + self.origin_px
        return float(x), float(y)

    def picture(self, radiograph: Radiograph) -> bytes:
        """The square as a JPEG, black beyond the picture's border."""
        grey = radiograph.grey.astype(np.float32)
        inside = np.ones_like(grey) if radiograph.inside is None else radiograph.inside.astype(np.float32)
        place = np.array(self.origin_px), self.step_px, SIZE_PX
        square, shown = cut(grey - grey.min(), *place), cut(inside, *place) > 0.5
        square = stretch(square, CONTRAST, shown if shown.any() else None)
        return cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

    def marks(self, found: Knee, knee: Knee) -> list[dict[str, Any]]:
        """What is drawn of each landmark. found: as the networks found it, whose ellipses are drawn where a
        landmark was not moved."""
        places = self.to_page(knee.points_px).round(2).tolist()
        away = moved(found, knee.points_px)
        marks: list[dict[str, Any]] = []
        for number, name in enumerate(landmarks.NAMES):
            region = found.region_px[number] / self.step_px
            known = np.isfinite(region).all() and number not in away
            across, along = region.round(2).tolist()
            marks.append(
                {
                    "name": name,
                    "at": places[number],
                    "colour": TIBIA_COLOUR if number in landmarks.TIBIA else FEMUR_COLOUR,
                    "moved": number in away,
                    "ellipse": [along, across, round(float(found.region_degrees[number]), 1)]
                    if known
                    else None,
                }
            )
        return marks


def close_up(knee: Knee) -> CloseUp:
    """The square around a knee, its landmarks in the middle."""
    step = SHARE * knee.plateau_px / SIZE_PX
    middle = (knee.points_px.min(axis=0) + knee.points_px.max(axis=0)) / 2
    x, y = middle - step * (SIZE_PX - 1) / 2
    return CloseUp((float(x), float(y)), step)
