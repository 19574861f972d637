"""Crops of known truth: cut out of simulated radiographs at places and scales that nobody is told, as the
public crops were cut out of real ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.imaging import cut
from studies.registration.congealing import Placement

SIZE_PX = 224
SCALE_MM, SCALE_SPREAD_MM, SHIFT_MM = 0.44, 0.04, 3.0
"""Middle and spread of the scales, and spread of the place, as on the real crops."""
INVERTED_SHARE = 0.05


@dataclass(frozen=True)
class Crops:
    """Right-oriented crops (uint8) with what is known of them: knees (a table with subject_id, side, kl,
    split) and offsets_mm (n, 16, 2), the landmarks relative to landmark 4. truth: the `Placement` that a
    registration has to find, or the one on file for real crops."""

    name: str
    knees: pd.DataFrame
    images: tuple
    offsets_mm: np.ndarray
    truth: Placement

    def select(self, rows: np.ndarray) -> "Crops":
        """The crops of these rows only (indices or a boolean mask), in their order."""
        rows = np.arange(len(self.images))[rows]
        return Crops(
            self.name,
            self.knees.iloc[rows].reset_index(drop=True),
            tuple(self.images[k] for k in rows),
            self.offsets_mm[rows],
            self.truth.select(rows),
        )


def cut_crops(cohort: Cohort, seed: int = 0) -> Crops:
    """The `Crops` of a simulated cohort: scales, places and which are inverted are drawn by `seed`."""
    random = np.random.default_rng(seed)
    count = len(cohort)
    scales = np.clip(random.normal(SCALE_MM, SCALE_SPREAD_MM, count), 0.34, 0.55)
    shifts_mm = random.normal(0, SHIFT_MM, (count, 2))
    inverted = random.permutation(count) < max(round(INVERTED_SHARE * count), 1)
    images: list[np.ndarray] | tuple[np.ndarray, ...]
    images, centres = [], []
    for image, own, centre, scale, shift in zip(
        cohort.images, cohort.mm_per_px, cohort.landmarks_px[:, landmarks.CENTRE], scales, shifts_mm
    ):
        origin = centre + shift / own - scale / own * (SIZE_PX - 1) / 2
        images.append(cut(image, origin, scale / own, SIZE_PX))
        centres.append((centre - origin) * own / scale)
    images = tuple(255 - image if flip else image for image, flip in zip(images, inverted))
    return Crops(
        cohort.name,
        cohort.knees,
        images,
        offsets_from_centre(cohort),
        Placement(scales, np.array(centres), np.ones(count), inverted),
    )


def as_found(cohort: Cohort) -> Crops:
    """The `Crops` of the real cohort as their files have them (inverted ones inverted), with the placement
    of the table on file as `truth`."""
    inverted = cohort.knees["inverted"].to_numpy(bool)
    images = tuple(255 - image if flip else image for image, flip in zip(cohort.images, inverted))
    truth = Placement(
        cohort.mm_per_px,
        cohort.landmarks_px[:, landmarks.CENTRE],
        cohort.knees["score"].to_numpy(float),
        inverted,
    )
    return Crops(cohort.name, cohort.knees, images, offsets_from_centre(cohort), truth)


def offsets_from_centre(cohort: Cohort) -> np.ndarray:
    """(n, 16, 2) mm from landmark 4."""
    return cohort.landmarks_mm - cohort.landmarks_mm[:, [landmarks.CENTRE]]
