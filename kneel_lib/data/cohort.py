"""`Cohort`: knees of one origin, right-oriented, with their landmarks;
and the checks that every cohort must pass."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.subjects import names_a_subject
from kneel_lib.errors import KneelError

COLUMNS = ("subject_id", "side", "kl", "split", "mm_per_px")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Cohort:
    """Knees of one origin, a row of `knees` each; every picture looks like a right knee (lateral on the
    left).

    name: what numbers from it are labelled with (crops, simulated, oai). knees: table with at least
    subject_id, side (L, R), kl (Kellgren-Lawrence grade 0-4), split, mm_per_px (pixel spacing). images: grey
    pictures, uint8, (H, W) each; left knees are already mirrored, inverted pictures re-inverted.
    landmarks_mm: (n, 16, 2) float, x before y, in mm from the centre of the picture's first pixel; NaN where
    missing. nominal_mm_per_px: the spacing to assume when a picture's own is not to be used.
    """

    name: str
    knees: pd.DataFrame
    images: tuple
    landmarks_mm: np.ndarray
    nominal_mm_per_px: float

    def __len__(self) -> int:
        return len(self.knees)

    @property
    def mm_per_px(self) -> np.ndarray:
        """Pixel spacing of each picture, (n,)."""
        return self.knees["mm_per_px"].to_numpy(float)

    @property
    def landmarks_px(self) -> np.ndarray:
        """Landmarks in pixels of their picture, (n, 16, 2); pixel centres lie at whole numbers."""
        return self.landmarks_mm / self.mm_per_px[:, None, None]

    def select(self, rows: Any) -> "Cohort":
        """The cohort of these rows only (indices or a boolean mask), in their order."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            knees=self.knees.iloc[rows].reset_index(drop=True),
            images=tuple(self.images[row] for row in rows),
            landmarks_mm=self.landmarks_mm[rows],
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything that training can see: table, landmarks and pixels."""
        digest = hashlib.sha256(self.name.encode())
        digest.update(self.knees[list(COLUMNS)].to_csv(index=False).encode())
        digest.update(np.ascontiguousarray(self.landmarks_mm, dtype=np.float64).tobytes())
        digest.update(repr(self.nominal_mm_per_px).encode())
        for image in self.images:
            digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()


def check_cohort(cohort: Cohort) -> Cohort:
    """Return the cohort if it is sound;
    else raise `KneelError` with the first thing that is wrong and where."""
    knees, points = cohort.knees, cohort.landmarks_mm
    missing = [column for column in COLUMNS if column not in knees]
    if missing:
        raise KneelError(f"cohort {cohort.name}: the table lacks the column {missing[0]}")
    if not len(knees) == len(cohort.images) == len(points) or not len(knees):
        raise KneelError(
            f"cohort {cohort.name}: {len(knees)} rows, {len(cohort.images)} images, {len(points)} landmark "
            "sets: the three must be as many, and more than none"
        )
    if points.shape[1:] != (landmarks.COUNT, 2):
        raise KneelError(
            f"cohort {cohort.name}: landmarks of shape {points.shape}, expected (knees, {landmarks.COUNT}, 2)"
        )
    check_table(cohort)
    check_landmarks(cohort)
    return cohort


def check_table(cohort: Cohort) -> None:
    """The checks of `check_cohort` that concern the table."""
    knees = cohort.knees
    bad = {
        "a side other than L or R": ~knees["side"].isin(["L", "R"]),
        "no subject": knees["subject_id"].isna(),
        "a subject that is neither a number nor a name": ~knees["subject_id"].map(str).map(names_a_subject),
        "a split other than train, val or test": ~knees["split"].isin(SPLITS),
        "a KL grade outside 0 to 4": ~knees["kl"].isin(range(5)),
        "a pixel spacing outside 0.05 to 2 mm": ~pd.to_numeric(knees["mm_per_px"], errors="coerce").between(
            0.05, 2
        ),
        "a second row for the same knee": knees.duplicated(["subject_id", "side"]),
    }
    for what, rows in bad.items():
        if rows.any():
            raise KneelError(
                f"cohort {cohort.name}: {knee_name(knees[rows].iloc[0])} has {what} ({rows.sum()} such rows)"
            )
    across = knees.groupby("subject_id")["split"].nunique() > 1
    if across.any():
        raise KneelError(
            f"cohort {cohort.name}: subject {across.idxmax()} is in more than one split ({across.sum()} such "
            "subjects)"
        )


def check_landmarks(cohort: Cohort) -> None:
    """The checks of `check_cohort` that concern landmarks: numbered lateral to medial, and in the picture."""
    shapes = np.array([image.shape for image in cohort.images])[:, None, ::-1]
    points = cohort.landmarks_px
    outside = ((points < -0.25 * shapes) | (points > 1.25 * shapes)).any(axis=(1, 2))
    for what, rows in {
        "no landmark 4, around which ROIs are cut": np.isnan(points[:, landmarks.CENTRE]).any(axis=1),
        "a landmark that is not finite": np.isinf(points).any(axis=(1, 2)),
        "landmarks that do not run from lateral to medial": out_of_order(points),
        "landmarks far outside its picture": outside,
    }.items():
        if rows.any():
            raise KneelError(
                f"cohort {cohort.name}: {knee_name(cohort.knees[rows].iloc[0])} has {what} ({rows.sum()} "
                "such knees)"
            )


def out_of_order(points: np.ndarray) -> np.ndarray:
    """(n,) booleans: shapes (n, 16, 2) of right-oriented knees whose landmarks do not run from lateral to
    medial on one of the bones."""
    orders = [np.diff(points[:, list(bone), 0], axis=1) < 0 for bone in (landmarks.TIBIA, landmarks.FEMUR)]
    return np.asarray(np.concatenate(orders, axis=1).any(axis=1))


def knee_name(row: pd.Series | dict[str, Any]) -> str:
    """How a knee is named in messages and files, e.g. 9001234R."""
    return f"{row['subject_id']}{row['side']}"
