"""A folder of radiographs in the form of an OAI image release, with annotations in the form of the paper's authors.

The release: `contents.csv` (Folder, ParticipantID, SeriesDescription) and one DICOM file `<Folder>/001` a radiograph. The
annotations: a row a knee with subject_id, side, kl, tibia, femur, center. `center` is the ROI's middle in whole pixels of
0.3 mm of the radiograph *padded by 100 pixels* on each side; tibia and femur are in pixels of the 466 px ROI around it,
in which a left knee is already mirrored.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort, check_cohort
from kneel_lib.data.crops import ROI_SPACING_MM, read_annotation, read_table
from kneel_lib.data.dicom import read_dicom
from kneel_lib.data.rois import cut
from kneel_lib.errors import KneelError

SERIES = "Bilateral PA Fixed Flexion Knee"
ROI_PX, PAD_PX = 466, 100
BOX_MM = 180.0
"""Side of the square picture that is kept of each knee: the 140 mm ROI with room for shifts."""

OFF_CENTRE_MM = 8.0
"""The picture's middle misses the tibial centre by up to this much, so that an ROI cut around it knows nothing true."""


def load_oai(folder, annotations, name="oai", jobs=-1):
    """The cohort of all annotated knees in an OAI-like release: pictures of 180 mm at 0.3 mm, right-oriented, off centre.

    folder: holds contents.csv. annotations: csv of the published form. Raises `KneelError` for a subject without a radiograph,
    for files that cannot be read, and for tables without a column.
    """
    folder = Path(folder)
    contents = read_table(folder / "contents.csv", ("Folder", "ParticipantID", "SeriesDescription"))
    contents = contents[contents["SeriesDescription"] == SERIES].drop_duplicates("ParticipantID").set_index("ParticipantID")["Folder"]
    knees = read_table(annotations, ("subject_id", "side", "kl", "tibia", "femur", "center"))
    absent = [row for row in knees.itertuples() if row.subject_id not in contents.index]
    if absent:
        raise KneelError(f"{folder / 'contents.csv'} lists no '{SERIES}' of subject {absent[0].subject_id} ({len(absent)} annotated knees without one)")
    offsets = read_annotation(annotations)
    groups = [(folder / contents[subject] / "001", rows) for subject, rows in knees.groupby("subject_id", sort=False)]
    made = [knee for part in Parallel(jobs)(delayed(cut_knees)(path, rows, offsets) for path, rows in groups) for knee in part]
    table = pd.DataFrame([row for row, _, _ in made])
    return check_cohort(Cohort(name, table, tuple(image for _, image, _ in made), np.stack([points for _, _, points in made]), ROI_SPACING_MM))


def cut_knees(path, rows, offsets):
    """[(table row, picture, landmarks in mm)] of the annotated knees in one radiograph."""
    radiograph = read_dicom(path)
    knees = []
    for row in rows.itertuples():
        try:
            centre_px = np.array([float(part) for part in str(row.center).split(",")]).reshape(2) - PAD_PX
        except ValueError:
            raise KneelError(f"annotation of {row.subject_id}{row.side}: center '{row.center}' is not x,y") from None
        tibial_centre = [float(part) for part in row.tibia.split(",")][2 * landmarks.CENTRE:2 * landmarks.CENTRE + 2]
        shift_px = off_centre_px(row.subject_id, row.side)
        image, points_mm = knee_picture(radiograph, centre_px + shift_px, np.array(tibial_centre), offsets[row.subject_id, row.side], row.side)
        points_mm = points_mm - shift_px * [1 if row.side == "R" else -1, 1] * ROI_SPACING_MM
        split = getattr(row, "split", "train")
        knees.append(({"subject_id": row.subject_id, "side": row.side, "kl": row.kl, "split": split, "mm_per_px": ROI_SPACING_MM}, image, points_mm))
    return knees


def off_centre_px(subject, side):
    """Where a knee's picture is cut, relative to its ROI's middle, in 0.3 mm pixels: always the same for the same knee."""
    random = np.random.default_rng([int(subject), side == "L"])
    return random.uniform(-OFF_CENTRE_MM, OFF_CENTRE_MM, 2) / ROI_SPACING_MM


def knee_picture(radiograph, centre_px, tibial_centre_px, offsets_mm, side):
    """One knee as a right-oriented square of BOX_MM at 0.3 mm, and its landmarks in mm of that picture.

    centre_px: the ROI's middle in 0.3 mm pixels of the radiograph. tibial_centre_px: landmark 4 in the (mirrored) ROI.
    """
    side_px = round(BOX_MM / ROI_SPACING_MM)
    step = ROI_SPACING_MM / radiograph.mm_per_px
    origin = (centre_px - side_px / 2 + 0.5) * step - 0.5
    image = cut(radiograph.image, origin, step, side_px)
    corner = (side_px - ROI_PX) / 2
    if side == "L":
        image = np.ascontiguousarray(image[:, ::-1])
    return image, (tibial_centre_px + corner) * ROI_SPACING_MM + offsets_mm


def annotation_row(subject, side, kl, points_px):
    """One row of the published form from landmarks in 0.3 mm pixels of the radiograph, (16, 2), lateral to medial."""
    centre = np.round(points_px[landmarks.CENTRE]).astype(int)
    inside = np.round(points_px - centre + ROI_PX // 2).astype(int)
    if side == "L":
        inside[:, 0] = ROI_PX - 1 - inside[:, 0]
    corner, padded = centre - ROI_PX // 2 + PAD_PX, centre + PAD_PX

    def text(values):
        return ",".join(str(int(value)) for value in np.ravel(values))
    return {"subject_id": subject, "side": side, "kl": kl, "tibia": text(inside[list(landmarks.TIBIA)]), "femur": text(inside[list(landmarks.FEMUR)]),
            "bbox": text([*corner, *(corner + ROI_PX)]), "center": text(padded)}
