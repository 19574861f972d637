"""Regions of interest: square pictures of one size and spacing, cut out of a cohort (section 4.3).

The paper centres them on the true tibial centre at the true spacing. For use on new images nothing true is
known: then the centre is the picture's own and the spacing the nominal one.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.normalisation import normalised_cut
from kneel_lib.errors import find
from kneel_lib.imaging import cut

CENTRES = ("truth", "image", "displaced")
DISPLACED_MM = 10.0

SCALES = ("spacing", "plateau")
GREYS = ("file", "normalised")
PLATEAU_MM = 75.8
"""Width of the tibial plateau, landmark 0 to 8, in the median of the crops: a ROI whose scale is the
plateau's shows it this wide at its nominal spacing, whatever the file's spacing says."""


@dataclass(frozen=True)
class Rois:
    """ROIs of n knees. Pixel (x, y) of ROI k lies at `origin_mm[k] + mm_per_px[k] * (x, y)` in its picture's
    frame.

    images: (n, S, S) uint8, S = size_px + 2 * margin_px. landmarks_px: (n, 16, 2) in ROI pixels, margin
    included. mm_per_px: (n,) true mm in a ROI pixel. origin_mm: (n, 2). size_px: side without the margin.
    """

    images: np.ndarray
    landmarks_px: np.ndarray
    mm_per_px: np.ndarray
    origin_mm: np.ndarray
    size_px: int
    margin_px: int

    def to_mm(self, points_px: np.ndarray) -> np.ndarray:
        """(n, 16, 2) ROI pixels, counted without the margin, to mm in the picture's frame."""
        return self.origin_mm[:, None] + (points_px + self.margin_px) * self.mm_per_px[:, None, None]


def cut_rois(
    cohort: Cohort,
    size_px: int,
    spacing_mm: float,
    centre: str = "truth",
    margin_px: int = 0,
    scale: str = "spacing",
    grey: str = "file",
) -> Rois:
    """Cut every knee's ROI of `size_px` pixels of `spacing_mm`, plus `margin_px` on each side; outside is
    black.

    centre="truth": around landmark 4, true spacing (the paper). centre="image": around the picture's middle,
    nominal spacing; `mm_per_px` then says what a ROI pixel really measures. centre="displaced": landmark 4
    moved by `displacements_mm`, true spacing: what a poor ROI localisation would hand over. scale="plateau":
    not the true spacing, but one at which the knee's plateau measures PLATEAU_MM. grey: as the "file" has it,
    or "normalised" (`data.normalisation`). Raises `KneelError` for any other.
    """
    truth = find(centre, CENTRES, "ROI centre") != "image"
    picture_mm = cohort.mm_per_px
    step_px = spacing_mm / (picture_mm if truth else np.full(len(cohort), cohort.nominal_mm_per_px))
    if find(scale, SCALES, "ROI scale") == "plateau" and truth:
        step_px = step_px * plateau_mm(cohort.landmarks_mm) / PLATEAU_MM
    middle_px = (
        cohort.landmarks_px[:, landmarks.CENTRE]
        if truth
        else np.array([((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2) for image in cohort.images])
    )
    if centre == "displaced":
        middle_px = middle_px + displacements_mm(cohort.knees) / picture_mm[:, None]
    side = size_px + 2 * margin_px
    origin_px = middle_px - step_px[:, None] * (side - 1) / 2
    images = cut_all(cohort.images, origin_px, step_px, side, margin_px, grey)
    points = (cohort.landmarks_px - origin_px[:, None]) / step_px[:, None, None]
    return Rois(
        images,
        points.astype(np.float32),
        step_px * picture_mm,
        origin_px * picture_mm[:, None],
        size_px,
        margin_px,
    )


def cut_all(
    pictures: Iterable[np.ndarray],
    origins_px: np.ndarray,
    steps_px: np.ndarray,
    side: int,
    margin_px: int = 0,
    grey: str = "file",
) -> np.ndarray:
    """(n, side, side) uint8: a square of each picture, its first pixel at an origin (n, 2), its pixels a step
    (n,) apart, all in pixels of the picture. grey: see `cut_rois`."""
    squares = zip(pictures, origins_px, steps_px)
    if find(grey, GREYS, "kind of grey values") == "normalised":
        return np.stack([normalised_cut(*square, side, margin_px) for square in squares])
    return np.stack([cut(*square, side) for square in squares])


def plateau_mm(points_mm: np.ndarray) -> np.ndarray:
    """Width of the tibial plateau, landmark 0 to 8, of shapes (..., 16, 2); (...,), PLATEAU_MM if unknown."""
    width = np.linalg.norm(points_mm[..., landmarks.TIBIA[-1], :] - points_mm[..., 0, :], axis=-1)
    return np.where(np.isfinite(width), width, PLATEAU_MM)


def displacements_mm(knees: pd.DataFrame) -> np.ndarray:
    """How far each knee's "displaced" ROI lies off the truth, (n, 2) mm: uniform in length up to
    DISPLACED_MM, in any direction.

    Always the same for the same knee, whether its subject is 17, "17" or "0017": a number that was read from
    a csv again has lost its zeros.
    """
    names = knees["subject_id"].astype(str).str.replace(r"^0+(?=\d+$)", "", regex=True) + knees["side"]
    lengths, angles = np.array(
        [np.random.default_rng(zlib.crc32(name.encode())).uniform(size=2) for name in names]
    ).T * [[DISPLACED_MM], [2 * np.pi]]
    return lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
