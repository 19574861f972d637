"""One radiograph with its answer, and with what a person has moved since."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.errors import KneelError, unforeseen
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.measurements import Measurement, measurements
from kneel_lib.pipeline.predict import Asked, Networks, described, load_pretrained, predict_file

BY_HAND = "moved by hand: "


@dataclass(frozen=True)
class Opened:
    """A file below a safe name, what was found in it, and the same knees as they were corrected."""

    path: Path
    radiograph: Radiograph
    found: tuple[Knee, ...]
    knees: tuple[Knee, ...]

    @property
    def name(self) -> str:
        return self.path.name

    def moved(self, knee: int) -> tuple[int, ...]:
        """The landmarks of a knee that lie elsewhere than they were found."""
        return tuple(moved(self.found[knee], self.knees[knee].points_px))

    def with_landmark(self, knee: int, landmark: int, place_px: tuple[float, float]) -> "Opened":
        """With a landmark put at (x, y), in pixels of the file; at the border where that lies outside."""
        height, width = self.radiograph.grey.shape
        points = self.knees[knee].points_px.copy()
        points[landmark] = np.clip(np.nan_to_num(place_px), 0, (width - 1, height - 1))
        return self.with_points(knee, points)

    def put_back(self, knee: int, *numbers: int) -> "Opened":
        """With landmarks where they were found."""
        points = self.knees[knee].points_px.copy()
        points[list(numbers)] = self.found[knee].points_px[list(numbers)]
        return self.with_points(knee, points)

    def with_points(self, knee: int, points_px: np.ndarray) -> "Opened":
        """With the landmarks (16, 2) of one knee."""
        knees = list(self.knees)
        knees[knee] = corrected(self.found[knee], points_px)
        return replace(self, knees=tuple(knees))

    def measurements(self, knee: int) -> tuple[Measurement, ...]:
        return measurements(self.knees[knee])

    @cached_property
    def entry(self) -> dict[str, Any]:
        """The answer as `predict.answer` makes it, for what writes files of it."""
        return {
            "file": self.name,
            "state": [],
            "asked": Asked(Path(), self.radiograph.mm_per_px).question,
            "knees": [described(self.name, knee) for knee in self.knees],
            "problem": "",
        }


def moved(found: Knee, points_px: np.ndarray) -> list[int]:
    """The landmarks (16, 2) that lie elsewhere than a knee's were found."""
    return np.flatnonzero((points_px != found.points_px).any(axis=1)).tolist()


def corrected(found: Knee, points_px: np.ndarray) -> Knee:
    """A knee with landmarks (16, 2) that a person has moved. What the networks say of their own certainty is
    not said of a person's landmarks: ellipses, intervals and trust are left out, and a note names what was
    moved. Doubts stay."""
    numbers = moved(found, points_px)
    if not numbers:
        return found
    note = BY_HAND + ", ".join(f"landmark {number}" for number in numbers)
    spread = found.spread_mm.copy()
    spread[numbers] = np.nan
    return replace(
        found,
        points_px=points_px,
        spread_mm=spread,
        notes=(*found.notes, note),
        trust=float("nan"),
        region_px=np.full((landmarks.COUNT, 2), np.nan),
        deviation_px=np.full(landmarks.COUNT, np.nan),
    )


def ready_networks() -> Networks:
    """The networks that came with the package, after all that is only slow the first time: the process that
    reads files has started, and each network has answered once."""
    networks = load_pretrained()
    with TemporaryDirectory() as folder:
        blank = Path(folder, "blank.png")
        cv2.imwrite(str(blank), np.zeros((256, 256), np.uint8))
        with suppress(KneelError):  # it shows no knee
            predict_file(blank, networks)
    for network in networks[0]:
        network.answer(np.zeros((1, network.size_px, network.size_px), np.float32))
    return networks


def open_file(path: Path, networks: Networks, mm_per_px: float | None = None) -> Opened:
    """The answer about one file. mm_per_px: spacing where the file says none. Raises `KneelError`, which
    names the file and not the folder that it was put into, for whatever is wrong with it."""
    try:
        radiograph, knees = predict_file(path, networks, mm_per_px)
    except KneelError as error:
        raise KneelError(str(error).replace(str(path), path.name)) from None
    except Exception as error:  # whatever a stranger's file leads to is told in one sentence
        said = unforeseen(error).replace(str(path), path.name)
        raise KneelError(f"{path.name} could not be answered ({said})") from None
    return Opened(path, radiograph, tuple(knees), tuple(knees))
