"""Both stages of the authors' annotation: what went to a person, and what came back.

The history of the authors' repository holds them as VIA tables in pixels of the whole radiographs. The paper
says that BoneFinder annotated all images first and that a person refined them; the two tables say how much.
Published landmarks lie in ROIs of another scale, so the second stage is laid onto them by a similarity
without rotation, and the first stage with it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kneel_lib import landmarks, paths
from kneel_lib.data.crops import ROI_SPACING_MM, annotation_path, read_roi_points
from kneel_lib.errors import KneelError

FILES = "oai_landmarks_00_via_format.csv", "oai_landmarks_00_via_format_refined.csv"
"""The tables of both stages, in `oai_annotation_stages/` of the downloads."""

WHERE = (
    "the tables of both annotation stages are in the history of the paper's repository on GitHub "
    "(MIPT-Oulu/KNEEL, commit 4d6c9dd): `git show 4d6c9dd:annotations/<file>`"
)


@dataclass(frozen=True)
class Stages:
    """knees: a table with subject_id (text), side, kl. first, second: (n, 16, 2) mm in the authors' ROI, in
    which a left knee is mirrored; second are the published landmarks. moved: (n, 16) booleans: points that
    the person moved."""

    knees: pd.DataFrame
    first: np.ndarray
    second: np.ndarray
    moved: np.ndarray


def read_stage(path: Path) -> dict[tuple[str, str], np.ndarray]:
    """{(subject_id, side): (16, 2) pixels of the whole radiograph}; knees without sixteen points are left
    out. Raises `KneelError` if the file is not there or is no VIA table of points."""
    if not path.is_file():
        raise KneelError(f"{path} is not there: {WHERE}")
    table = pd.read_csv(path)
    try:
        shapes = [json.loads(text) for text in table["region_shape_attributes"]]
        attributes = [json.loads(text) for text in table["region_attributes"]]
        table = table.assign(
            x=[float(shape["cx"]) for shape in shapes],
            y=[float(shape["cy"]) for shape in shapes],
            side=[said["Side"] for said in attributes],
            bone=[said["Bone"] for said in attributes],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise KneelError(f"{path} is no VIA table of points with Bone and Side ({error}): {WHERE}") from None
    knees = {}
    bones = "T" * len(landmarks.TIBIA) + "F" * len(landmarks.FEMUR)
    for (file, side), points in table.sort_values("region_id").groupby(["filename", "side"]):
        if "".join(points["bone"]) == bones:
            knees[Path(str(file)).stem, str(side)] = points[["x", "y"]].to_numpy(float)
    return knees


def load_stages(folder: Path | None = None) -> Stages:
    """Both stages of every published knee that they have, in the order of the published table."""
    folder = Path(folder or paths.downloads())
    before, after = (read_stage(folder / "oai_annotation_stages" / name) for name in FILES)
    annotated = pd.read_csv(annotation_path(folder))
    published = {
        (str(who), side): points for (who, side), points in read_roi_points(annotation_path(folder)).items()
    }
    grades = {(str(row.subject_id), row.side): row.kl for row in annotated.itertuples()}
    known = [key for key in published if key in before and key in after]
    first, second, moved = [], [], []
    for key in known:
        scale, shift = scale_and_shift(mirrored_if_left(after[key], key[1]), published[key])
        first.append((scale * mirrored_if_left(before[key], key[1]) + shift) * ROI_SPACING_MM)
        second.append((scale * mirrored_if_left(after[key], key[1]) + shift) * ROI_SPACING_MM)
        moved.append((before[key] != after[key]).any(axis=1))
    knees = pd.DataFrame(known, columns=["subject_id", "side"])
    grade = pd.Series([grades[key] for key in known])
    return Stages(knees.assign(kl=grade), np.stack(first), np.stack(second), np.stack(moved))


def mirrored_if_left(points: np.ndarray, side: str) -> np.ndarray:
    """The points with a left knee turned to look like a right one."""
    return points * [-1, 1] if side == "L" else points


def scale_and_shift(points: np.ndarray, onto: np.ndarray) -> tuple[float, np.ndarray]:
    """(scale, shift) that lay points (16, 2) onto others by least squares, without rotation."""
    middle, target = points.mean(axis=0), onto.mean(axis=0)
    spread = points - middle
    scale = float((spread * (onto - target)).sum() / (spread**2).sum())
    return scale, target - scale * middle
