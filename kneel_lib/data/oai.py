"""A folder of radiographs in the form of an OAI image release, with annotations in the form of the paper's
authors.

The release: `contents.csv` (Folder, ParticipantID, SeriesDescription) and one DICOM file `<Folder>/001` a
radiograph. The annotations: a row a knee with subject_id, side, kl, tibia, femur, center. `center` is the
ROI's middle in whole pixels of 0.3 mm of the radiograph *padded by 100 pixels* on each side; tibia and femur
are in pixels of the 466 px ROI around it, in which a left knee is already mirrored.
"""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import delayed
from numpy.typing import ArrayLike

from kneel_lib import landmarks
from kneel_lib.data.cohort import SPLITS, Cohort, check_cohort
from kneel_lib.data.crops import ANNOTATION, ROI_SPACING_MM, read_roi_points
from kneel_lib.data.radiographs import Radiograph, read_radiograph
from kneel_lib.data.tables import PATH, SUBJECT, Rule, Schema, matching, one_of, read_table
from kneel_lib.errors import KneelError
from kneel_lib.files import inside
from kneel_lib.imaging import cut
from kneel_lib.processes import pool

CutKnee = tuple[dict[str, Any], np.ndarray, np.ndarray]
"""(table row, picture, landmarks in mm of the picture)."""

RoiPoints = dict[Any, np.ndarray]
"""{(subject, side): landmarks in pixels of the ROI}."""

CONTENTS = Schema(
    {
        "Folder": PATH,
        "ParticipantID": SUBJECT,
        "SeriesDescription": Rule("str", "text", lambda cells: cells.notna(), empty=True),
    }
)
ANNOTATIONS = replace(
    ANNOTATION,
    columns={
        **ANNOTATION.columns,
        "center": matching(r"-?\d{1,6}(\.\d+)?,-?\d{1,6}(\.\d+)?", "the ROI's middle in pixels as x,y"),
        "split": one_of(*SPLITS, required=False),
    },
)

SERIES = "Bilateral PA Fixed Flexion Knee"
ROI_PX, PAD_PX = 466, 100
BOX_MM = 180.0
"""Side of the square picture that is kept of each knee: the 140 mm ROI with room for shifts."""

OFF_CENTRE_MM = 8.0
"""The picture's middle misses the tibial centre by up to this much, so that an ROI cut around it knows
nothing true."""


def load_oai(folder: Path | str, annotations: Path | str, name: str = "oai", jobs: int = -1) -> Cohort:
    """The cohort of all annotated knees in an OAI-like release: pictures of 180 mm at 0.3 mm, right-oriented,
    off centre.

    folder: holds contents.csv. annotations: csv of the published form. Raises `KneelError` for a subject
    without a radiograph, for files that cannot be read, and for tables without a column.
    """
    groups, points = annotated_radiographs(folder, annotations)
    made = [
        knee
        for part in pool(jobs)(delayed(cut_knees)(path, rows, points) for path, rows in groups)
        for knee in part
    ]
    return gather(name, made)


def annotated_radiographs(
    folder: Path | str, annotations: Path | str
) -> tuple[list[tuple[Path, pd.DataFrame]], RoiPoints]:
    """([(file, its annotation rows)], {(subject_id, side): (16, 2) ROI pixels}) of a release;
    raises what `load_oai` says of its tables."""
    folder = Path(folder)
    listed = read_table(folder / "contents.csv", CONTENTS)
    wanted = listed[listed["SeriesDescription"] == SERIES].drop_duplicates("ParticipantID")
    contents = dict(zip(wanted["ParticipantID"].astype(str), wanted["Folder"]))
    knees = read_table(annotations, ANNOTATIONS)
    absent = [row for row in knees.itertuples() if str(row.subject_id) not in contents]
    if absent:
        raise KneelError(
            f"{folder / 'contents.csv'} lists no '{SERIES}' of subject {absent[0].subject_id} ({len(absent)} "
            "annotated knees without one)"
        )
    groups = [
        (inside(folder, f"{contents[str(subject)]}/001", folder / "contents.csv"), rows)
        for subject, rows in knees.groupby("subject_id", sort=False)
    ]
    return groups, read_roi_points(annotations)


def gather(name: str, made: list[CutKnee]) -> Cohort:
    """The checked cohort of [(table row, picture, landmarks in mm)]; `KneelError` where there is none."""
    if not made:
        raise KneelError(f"cohort {name}: the annotations name no knee")
    table = pd.DataFrame([row for row, _, _ in made])
    return check_cohort(
        Cohort(
            name,
            table,
            tuple(image for _, image, _ in made),
            np.stack([points for _, _, points in made]),
            ROI_SPACING_MM,
        )
    )


def cut_knees(path: Path, rows: pd.DataFrame, points: RoiPoints) -> list[CutKnee]:
    """[(table row, picture, landmarks in mm)] of the annotated knees in one radiograph."""
    radiograph = read_radiograph(path)
    knees = []
    for row in rows.itertuples():
        points_mm = radiograph_points_mm(radiograph, row, points[row.subject_id, row.side])
        knees.append(
            (described(row, ROI_SPACING_MM), *knee_picture(radiograph, points_mm, row.side, row.subject_id))
        )
    return knees


def described(row: Any, mm_per_px: float) -> dict[str, Any]:
    """A knee's row of the cohort's table, from its annotation row and the spacing of its picture."""
    return {
        "subject_id": row.subject_id,
        "side": row.side,
        "kl": row.kl,
        "split": getattr(row, "split", "train"),
        "mm_per_px": mm_per_px,
    }


def radiograph_points_mm(radiograph: Radiograph, row: Any, roi_px: np.ndarray) -> np.ndarray:
    """Landmarks in mm from the centre of the radiograph's first pixel, (16, 2), from an annotation row and
    its points in the ROI."""
    centre = np.array(row.center.split(","), float) - PAD_PX
    inside = roi_px if row.side == "R" else landmarks.mirrored(roi_px, ROI_PX - 1)
    points_mm = (inside + centre - ROI_PX // 2 + 0.5) * ROI_SPACING_MM - radiograph.spacing_mm / 2
    check_inside(radiograph, points_mm, row.subject_id, row.side)
    return points_mm


def check_inside(radiograph: Radiograph, points_mm: np.ndarray, subject: object, side: str) -> None:
    """Raise `KneelError` unless the tibial centre lies in the radiograph:
    else the annotation is of another file, and what is cut around it shows no knee."""
    x, y = points_mm[landmarks.CENTRE] / radiograph.spacing_mm
    height, width = radiograph.image.shape
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        raise KneelError(
            f"annotation of {subject}{side}: its tibial centre, {x:.0f} px from the left and {y:.0f} px from "
            f"the top, is not in {radiograph.path} ({width} x {height} px)"
        )


def off_centre_mm(subject: object, side: str) -> np.ndarray:
    """How far a knee's picture is cut off the tibial centre, (2,) mm: always the same for the same knee."""
    random = np.random.default_rng([zlib.crc32(str(subject).encode()), side == "L"])
    return random.uniform(-OFF_CENTRE_MM, OFF_CENTRE_MM, 2)


def knee_picture(
    radiograph: Radiograph, points_mm: np.ndarray, side: Any, subject: object
) -> tuple[np.ndarray, np.ndarray]:
    """One knee as a right-oriented square of BOX_MM at 0.3 mm, and its landmarks in mm of that picture.

    points_mm: (16, 2) mm from the centre of the radiograph's first pixel, as the radiograph shows them (not
    mirrored).
    """
    side_px = round(BOX_MM / ROI_SPACING_MM)
    reach_mm = (side_px - 1) * ROI_SPACING_MM
    corner_mm = points_mm[landmarks.CENTRE] + off_centre_mm(subject, side) - reach_mm / 2
    image = cut(
        radiograph.image, corner_mm / radiograph.spacing_mm, ROI_SPACING_MM / radiograph.spacing_mm, side_px
    )
    points_mm = points_mm - corner_mm
    if side == "L":
        return np.ascontiguousarray(image[:, ::-1]), landmarks.mirrored(points_mm, reach_mm)
    return image, points_mm


def annotation_row(subject: object, side: str, kl: int, points_px: np.ndarray) -> dict[str, Any]:
    """One row of the published form from landmarks in 0.3 mm pixels of the radiograph, (16, 2), lateral to
    medial."""
    centre = np.round(points_px[landmarks.CENTRE]).astype(int)
    inside = np.round(points_px - centre + ROI_PX // 2).astype(int)
    if side == "L":
        inside = landmarks.mirrored(inside, ROI_PX - 1)
    corner, padded = centre - ROI_PX // 2 + PAD_PX, centre + PAD_PX

    def text(values: ArrayLike) -> str:
        return ",".join(str(int(value)) for value in np.ravel(values))

    return {
        "subject_id": subject,
        "side": side,
        "kl": kl,
        "tibia": text(inside[list(landmarks.TIBIA)]),
        "femur": text(inside[list(landmarks.FEMUR)]),
        "bbox": text([*corner, *(corner + ROI_PX)]),
        "center": text(padded),
    }
