"""The public knee crops (Chen, Mendeley Data) with the paper's published landmarks registered onto them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from kneel_lib import landmarks, paths
from kneel_lib.data.cohort import Cohort, check_cohort, knee_name
from kneel_lib.errors import KneelError

NOMINAL_MM_PER_PX = 0.44
ROI_SPACING_MM = 0.3
"""Pixel spacing of the published landmarks: whole pixels of the authors' 466 px ROIs."""

TABLES = {
    "crops": "oai_crops_registration.csv",
    "crops_first": "registration/first.csv",
    "crops_templates": "registration/templates.csv",
    "crops_voted": "registration/voted.csv",
}
"""{cohort: its registration table under data/}. All hold the same knees and pictures. "crops" is what the
study stands on, "crops_templates" (groupwise) and "crops_voted" (moved once by networks and forests trained
on that) are the steps that lead there; "crops_first" is an older table, whose code is lost."""

REGISTRATION_COLUMNS = ("subject_id", "side", "kl", "split", "mm_per_px", "x4_px", "y4_px", "inverted")
ANNOTATION_COLUMNS = ("subject_id", "side", "kl", "tibia", "femur")


def load_crops(
    folder: Path | str | None = None, splits: Iterable[str] = ("train", "val"), name: str = "crops"
) -> Cohort:
    """The cohort of this name (`TABLES`): every knee of `splits` in its registration table, in its order.

    folder: where the downloads are (default: `paths.downloads()`). Landmarks in mm are right up to the
    registration. Raises `KneelError` for missing or unreadable files and for tables
    that disagree.
    """
    folder = Path(folder or paths.downloads())
    knees = read_registration(paths.DATA / TABLES[name])
    knees = knees[knees["split"].isin(splits)].reset_index(drop=True)
    offsets = read_annotation(annotation_path(folder))
    check_grades(annotation_path(folder), knees)
    absent = [
        knee_name(row) for _, row in knees.iterrows() if (row["subject_id"], row["side"]) not in offsets
    ]
    if absent:
        raise KneelError(
            f"{annotation_path(folder)}: no landmarks for {absent[0]} ({len(absent)} knees): "
            "the file is not complete; see data/README.md"
        )
    check_present(folder, knees)
    images = tuple(read_crop(crop_path(folder, row), row) for _, row in knees.iterrows())
    shapes = np.stack([offsets[row["subject_id"], row["side"]] for _, row in knees.iterrows()])
    centres_mm = knees[["x4_px", "y4_px"]].to_numpy() * knees[["mm_per_px"]].to_numpy()
    return check_cohort(Cohort(name, knees, images, centres_mm[:, None] + shapes, NOMINAL_MM_PER_PX))


def read_registration(path: Path | str | None = None) -> pd.DataFrame:
    """The registration table: where landmark 4 lies in each crop and how many mm a crop pixel measures."""
    return read_table(path or paths.DATA / TABLES["crops"], REGISTRATION_COLUMNS)


def read_annotation(path: Path | str) -> dict[Any, np.ndarray]:
    """Published landmarks: {(subject_id, side):
    (16, 2) offsets from landmark 4 in mm}, x to medial, y down."""
    return {
        knee: (points - points[landmarks.CENTRE]) * ROI_SPACING_MM
        for knee, points in read_roi_points(path).items()
    }


def read_roi_points(path: Path | str) -> dict[Any, np.ndarray]:
    """{(subject_id, side): (16, 2) landmarks in pixels of the authors' 0.3 mm ROI}, in which a left knee is
    mirrored."""
    table = read_table(path, ANNOTATION_COLUMNS)
    points = {}
    for line, row in enumerate(table.itertuples(), start=2):
        try:
            points[row.subject_id, row.side] = np.array(
                [float(n) for n in f"{row.tibia},{row.femur}".split(",")]
            ).reshape(landmarks.COUNT, 2)
        except ValueError:
            raise KneelError(
                f"{path}, line {line}: expected 9 tibial and 7 femoral points as x,y,x,y,..."
            ) from None
    return points


def check_grades(path: Path | str, knees: pd.DataFrame) -> None:
    """Raise `KneelError` if a knee's KL grade differs between the annotation and the registration table."""
    annotated = read_table(path, ANNOTATION_COLUMNS)[["subject_id", "side", "kl"]]
    both = annotated.assign(subject_id=annotated["subject_id"].astype(str)).merge(
        knees.assign(subject_id=knees["subject_id"].astype(str)), on=["subject_id", "side"]
    )
    differ = both[both["kl_x"] != both["kl_y"]]
    if len(differ):
        row = differ.iloc[0]
        raise KneelError(
            f"{path}: {knee_name(row)} has KL {row['kl_x']}, the registration table says {row['kl_y']} "
            f"({len(differ)} such knees): the file is not the published one; see data/README.md"
        )


def read_table(path: Path | str, columns: Iterable[str]) -> pd.DataFrame:
    """A csv with at least these columns; `KneelError` if it is not there, is no table, or lacks one."""
    path = Path(path)
    if not path.is_file():
        raise KneelError(f"{path} is not there: data/README.md says where to get it")
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise KneelError(f"{path} cannot be read as csv: {error}") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise KneelError(f"{path} has no column {missing[0]} (it has {', '.join(map(str, table.columns))})")
    return table


def annotation_path(folder: Path | str) -> Path:
    return Path(folder) / "oai_landmarks" / "bf_landmarks_1_0.3.csv"


def crop_path(folder: Path | str, row: Any) -> Path:
    return Path(folder) / "oai_crops" / row["split"] / str(row["kl"]) / f"{knee_name(row)}.png"


def check_present(folder: Path | str, knees: pd.DataFrame) -> None:
    """Raise `KneelError` unless every crop of the table is a file under `folder`."""
    absent = [path for path in (crop_path(folder, row) for _, row in knees.iterrows()) if not path.is_file()]
    if absent:
        raise KneelError(
            f"{len(absent)} of {len(knees)} knee crops are missing under {Path(folder) / 'oai_crops'} (the "
            f"first is {absent[0].relative_to(Path(folder))}): data/README.md says where to get them, "
            "`python -m kneel_lib verify` lists them"
        )


def read_crop(path: Path | str, row: Any) -> np.ndarray:
    """One crop as a right-oriented grey picture, (H, W) uint8:
    left ones mirrored, inverted ones re-inverted."""
    try:
        with Image.open(path) as picture:
            image = np.array(picture.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise KneelError(
            f"{path} is not a readable image ({error}): delete it and get it again, see data/README.md"
        ) from None
    if row["side"] == "L":
        image = image[:, ::-1]
    return np.ascontiguousarray(255 - image if row["inverted"] else image)


CHECKSUMS = paths.DATA / "checksums.csv"


def sha256(path: Path | str) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path | str) -> pd.DataFrame:
    """What is wrong with the downloads under `folder`: a table of file (relative) and problem (missing,
    different)."""
    folder, rows = Path(folder), []
    for file, expected in pd.read_csv(CHECKSUMS).itertuples(index=False):
        path = folder / file
        if not path.is_file():
            rows.append((file, "missing"))
        elif sha256(path) != expected:
            rows.append((file, "different"))
    return pd.DataFrame(rows, columns=["file", "problem"])


def list_checksums(folder: Path | str) -> pd.DataFrame:
    """The table that data/checksums.csv holds, from a folder known to be whole (training and validation
    crops)."""
    knees = read_registration()
    files = [annotation_path(folder)] + [
        crop_path(folder, row) for _, row in knees[knees["split"] != "test"].iterrows()
    ]
    return pd.DataFrame(
        [(path.relative_to(folder).as_posix(), sha256(path)) for path in files], columns=["file", "sha256"]
    )
