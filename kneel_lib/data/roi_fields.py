"""Pictures in which a knee is still to be found, for ROI localisation (section 4.4): not mirrored, the knee
anywhere in them.

From whole radiographs they are halves at 1 mm, one a knee. From single-knee crops, which hold nothing but the
knee, the crop is laid off-centre on a black field at 1 mm. Such a cohort has its landmarks where the picture
shows them, so left knees run from medial to lateral; it is for landmark 4 alone and does not pass
`check_cohort`.
"""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import delayed

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.oai import CutKnee, RoiPoints, annotated_radiographs, described, radiograph_points_mm
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.imaging import cut
from kneel_lib.processes import pool

ROI_FIELD_MM = 1.0
FIELD_MM, SCATTER_MM = 200.0, 30.0
"""Side of the black field that a crop is laid on, and how far off its middle the crop's own middle lies at
most."""


def is_for_localisation(cohort: Cohort) -> bool:
    """Whether these are pictures in which the knee is still to be found: of `load_halves` or `scatter`."""
    return cohort.name.endswith(("_halves", "_scattered"))


def halves(image: np.ndarray, mm_per_px: float) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
    """{"R": left half, "L": right half} of a bilateral radiograph at 1 mm, as it shows them:
    ((H, W) uint8, origin in mm of the radiograph)."""
    height_mm, width_mm = (np.array(image.shape) - 1) * mm_per_px
    rows, columns = int(height_mm / ROI_FIELD_MM) + 1, int(width_mm / 2 / ROI_FIELD_MM) + 1
    parts = {}
    for side, left_mm in (("R", 0.0), ("L", width_mm - (columns - 1) * ROI_FIELD_MM)):
        square = cut(
            image, np.array([left_mm, 0.0]) / mm_per_px, ROI_FIELD_MM / mm_per_px, max(rows, columns)
        )
        parts[side] = np.ascontiguousarray(square[:rows, :columns]), np.array([left_mm, 0.0])
    return parts


def load_halves(folder: Path | str, annotations: Path | str, name: str, jobs: int = -1) -> Cohort:
    """The ROI-localisation cohort of an OAI-like release:
    a half radiograph for every annotated knee, landmarks in mm of the half."""
    groups, points = annotated_radiographs(folder, annotations)
    made = [
        knee
        for part in pool(jobs)(delayed(cut_halves)(path, rows, points) for path, rows in groups)
        for knee in part
    ]
    return Cohort(
        f"{name}_halves",
        pd.DataFrame([row for row, _, _ in made]),
        tuple(image for _, image, _ in made),
        np.stack([p for _, _, p in made]),
        ROI_FIELD_MM,
    )


def cut_halves(path: Path, rows: pd.DataFrame, points: RoiPoints) -> list[CutKnee]:
    """[(table row, half, landmarks in mm of the half)] of the annotated knees in one radiograph."""
    radiograph = read_radiograph(path)
    parts, knees = halves(radiograph.image, radiograph.spacing_mm), []
    for row in rows.itertuples():
        image, origin_mm = parts[row.side]
        points_mm = radiograph_points_mm(radiograph, row, points[row.subject_id, row.side])
        knees.append((described(row, ROI_FIELD_MM), image, points_mm - origin_mm))
    return knees


def scatter(cohort: Cohort) -> Cohort:
    """The ROI-localisation cohort of single-knee pictures:
    each as its file shows it, on a black field of FIELD_MM at 1 mm, off-centre; the same every time."""
    made = [
        lay_out(image, step, points, row["side"], f"{row['subject_id']}{row['side']}")
        for image, step, points, (_, row) in zip(
            cohort.images, cohort.mm_per_px, cohort.landmarks_mm, cohort.knees.iterrows()
        )
    ]
    images, points = zip(*made)
    return replace(
        cohort,
        name=f"{cohort.name}_scattered",
        knees=cohort.knees.assign(mm_per_px=ROI_FIELD_MM),
        images=images,
        landmarks_mm=np.stack(points),
        nominal_mm_per_px=ROI_FIELD_MM,
    )


def lay_out(
    image: np.ndarray, mm_per_px: float, points_mm: np.ndarray, side: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """(field (S, S) uint8 at 1 mm, landmarks in mm of the field) of one knee; a left one is mirrored back."""
    if side == "L":
        image, points_mm = image[:, ::-1], landmarks.mirrored(points_mm, (image.shape[1] - 1) * mm_per_px)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    reach_mm = (np.array(image.shape[::-1]) - 1) * mm_per_px
    side_px = round(FIELD_MM / ROI_FIELD_MM)
    corner_mm = (side_px - 1) * ROI_FIELD_MM / 2 - reach_mm / 2 + random.uniform(-SCATTER_MM, SCATTER_MM, 2)
    return cut(
        np.ascontiguousarray(image), -corner_mm / mm_per_px, ROI_FIELD_MM / mm_per_px, side_px
    ), points_mm + corner_mm
