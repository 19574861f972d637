"""The public knee crops (Chen, Mendeley Data) with the paper's published landmarks registered onto them."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from kneel_lib import landmarks, paths
from kneel_lib.data.cohort import Cohort, check_cohort, knee_name
from kneel_lib.data.polarity import bone_is_dark
from kneel_lib.data.tables import (
    GRADE,
    KNEE,
    SIDE,
    SPLIT,
    SUBJECT,
    Rule,
    Schema,
    matching,
    number,
    read_table,
    read_text,
    satisfying,
    whole,
)
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

FARTHEST_PX = 1_000
"""No landmark of a published table is as far from its ROI's corner, in either direction."""

REGISTRATION_SHA256 = {
    "crops": "ef670dedc0f9c7ea3f853ca084383f771f6461d5d2e4ae6a38403dcd374c44f4",
    "crops_first": "eac12081849e2be91a8b7469d376ca78c2b3b288bf98f0853f0a2829fb803623",
    "crops_templates": "9c2fb74211878737abbe5ed887577366449a5673ab7b93f63c31eba917007f8f",
    "crops_voted": "92c9a575ceda411a020e354d89846e71619f7fffab0345bf7a0cf1cfd587c4cf",
}
"""Of the committed tables, with line ends as "\\n": recorded runs stand on them."""


def points_rule(count: int) -> Rule:
    """The rule of a cell with so many points."""

    def holds(text: str) -> bool:
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            return False
        inside = all(abs(value) <= FARTHEST_PX for value in values)  # NaN is not
        return len(values) == 2 * count and inside and values[::2] == sorted(values[::2])

    return satisfying(holds, f"{count} points in pixels as x,y,x,y,... from lateral to medial")


KNEES = {"subject_id": SUBJECT, "side": SIDE, "kl": GRADE}
REGISTRATION = Schema(
    {
        **KNEES,
        "split": SPLIT,
        "mm_per_px": number(0.05, 2),
        "x4_px": number(0, 223),
        "y4_px": number(0, 223),
        "inverted": whole(0, 1),
    },
    KNEE,
)
ANNOTATION = Schema(
    {**KNEES, "tibia": points_rule(len(landmarks.TIBIA)), "femur": points_rule(len(landmarks.FEMUR))}, KNEE
)


def load_crops(
    folder: Path | str | None = None, splits: Iterable[str] = ("train", "val"), name: str = "crops"
) -> Cohort:
    """The cohort of this name (`TABLES`): every knee of `splits` in its registration table, in its order.

    folder: where the downloads are (default: `paths.downloads()`). Landmarks in mm are right up to the
    registration. Raises `KneelError` for missing or unreadable files and for tables
    that disagree.
    """
    folder = Path(folder or paths.downloads())
    knees, landmarks_mm = labelled_knees(folder, splits, name)
    check_present(folder, knees)
    images = tuple(read_crop(crop_path(folder, row), row["side"]) for _, row in knees.iterrows())
    return check_cohort(Cohort(name, knees, images, landmarks_mm, NOMINAL_MM_PER_PX))


def labelled_knees(
    folder: Path | str, splits: Iterable[str], name: str = "crops"
) -> tuple[pd.DataFrame, np.ndarray]:
    """(rows of `splits` in the registration table of this cohort, (n, 16, 2) landmarks in mm of the
    right-oriented crop), without the crops themselves. Raises what `load_crops` says of its tables."""
    knees = read_registration(name)
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
    shapes = np.stack([offsets[row["subject_id"], row["side"]] for _, row in knees.iterrows()])
    centres_mm = knees[["x4_px", "y4_px"]].to_numpy() * knees[["mm_per_px"]].to_numpy()
    return knees, centres_mm[:, None] + shapes


def read_registration(name: str = "crops") -> pd.DataFrame:
    """The registration table of a cohort (`TABLES`): where landmark 4 lies in each crop and how many mm a
    crop pixel measures. Raises `KneelError` for a cell that is not allowed, and if the committed table is not
    the one that it was."""
    path = paths.DATA / TABLES[name]
    table = read_table(path, REGISTRATION)
    text = read_text(path, REGISTRATION.where)
    if hashlib.sha256(text.encode()).hexdigest() != REGISTRATION_SHA256[name]:
        raise KneelError(
            f"{path} ({len(table)} rows) is not the table that recorded runs stand on: it was cut off or "
            "changed; get it again from git"
        )
    return table


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
    return {
        (row.subject_id, row.side): np.array(f"{row.tibia},{row.femur}".split(","), float).reshape(-1, 2)
        for row in read_table(path, ANNOTATION).itertuples()
    }


def check_grades(path: Path | str, knees: pd.DataFrame) -> None:
    """Raise `KneelError` if a knee's KL grade differs between the annotation and the registration table."""
    annotated = read_table(path, ANNOTATION)[["subject_id", "side", "kl"]]
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


def read_crop(path: Path | str, side: str) -> np.ndarray:
    """One crop as a right-oriented grey picture with bright bone, (H, W) uint8: left ones are mirrored, and
    those in which bone is dark turned round."""
    try:
        with Image.open(path) as picture:
            image = np.array(picture.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise KneelError(
            f"{path} is not a readable image ({error}): delete it and get it again, see data/README.md"
        ) from None
    if side == "L":
        image = image[:, ::-1]
    return np.ascontiguousarray(255 - image if bone_is_dark(image) else image)


CHECKSUMS = paths.DATA / "checksums.csv"
LISTED = Schema(
    {
        "file": satisfying(
            lambda text: re.fullmatch(r"\w[\w./-]*", text) is not None and ".." not in text,
            "a path below the data's folder",
        ),
        "sha256": matching("[0-9a-f]{64}", "64 hexadecimal digits"),
    },
    ("file",),
    where="get it again from git",
)


def sha256(path: Path | str) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path | str) -> pd.DataFrame:
    """What is wrong with the downloads under `folder`: a table of file (relative) and problem (missing,
    different)."""
    folder, rows = Path(folder), []
    for file, expected in read_table(CHECKSUMS, LISTED)[["file", "sha256"]].itertuples(index=False):
        path = folder / file
        try:
            if not path.is_file():
                rows.append((file, "missing"))
            elif sha256(path) != expected:
                rows.append((file, "different"))
        except OSError as error:
            raise KneelError(
                f"{str(path)[:200]} cannot be read ({error.strerror}): give another folder"
            ) from None
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
