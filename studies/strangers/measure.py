"""How `predict` does on knees that its networks have not seen, from files as strangers send them."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.predict import Networks, predict_file
from studies.strangers.distortions import Distortion

SURE = 0.9


@dataclass(frozen=True)
class Told:
    """What came of one file: its answer if there is one, its errors (16,) in mm at the true spacing,
    mm_per_px, and where the landmarks truly are, (16, 2) in its pixels."""

    side: str
    knee: Knee | None
    others: int
    errors_mm: np.ndarray
    mm_per_px: float = 1.0
    places: np.ndarray = field(default_factory=lambda: np.full((landmarks.COUNT, 2), np.nan))


def as_files(cohort: Cohort) -> Iterator[tuple[np.ndarray, np.ndarray, str, float]]:
    """(picture, landmarks (16, 2) in its pixels, side, mm a pixel) of each knee, as its file shows it."""
    for image, points, side, step in zip(
        cohort.images, cohort.landmarks_px, cohort.knees["side"], cohort.mm_per_px
    ):
        if side == "L":
            points = landmarks.mirrored(points, image.shape[1] - 1)
            image = np.ascontiguousarray(image[:, ::-1])
        yield image, points, str(side), float(step)


def ask(
    cohort: Cohort, distortion: Distortion, networks: Sequence[Networks], spacing: float | None
) -> list[Told]:
    """What `predict` says of each knee, distorted and written as a PNG. networks: of each knee. spacing: in
    mm, None: not told."""
    told = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "knee.png")
        for (image, points, side, mm_per_px), asked in zip(as_files(cohort), networks):
            picture, places = distortion.change(image, points)
            cv2.imwrite(str(path), picture)
            side = {"R": "L", "L": "R"}[side] if distortion.name == "mirrored" else side
            given = None if spacing is None else spacing * distortion.spacing
            told.append(answer_of(path, places, side, mm_per_px, asked, given))
    return told


def answer_of(
    path: Path, places: np.ndarray, side: str, mm_per_px: float, networks: Networks, spacing: float | None
) -> Told:
    """What `predict` says of one file; of several knees the one nearest to the truth."""
    try:
        _, knees = predict_file(path, networks, spacing)
    except KneelError:
        return Told(side, None, 0, np.full(landmarks.COUNT, np.nan))
    errors = [np.linalg.norm(knee.points_px - places, axis=1) * mm_per_px for knee in knees]
    nearest = int(np.argmin([error.mean() for error in errors]))
    return Told(side, knees[nearest], len(knees) - 1, errors[nearest], mm_per_px, places)


def summary(told: Sequence[Told]) -> dict[str, Any]:
    """A row of numbers. wrong_side: said without a doubt; trust_*: of knees with trust SURE or more."""
    found = [one for one in told if one.knee is not None]
    errors = np.array([one.errors_mm for one in found]).reshape(-1, landmarks.COUNT)
    trusted = [one.knee.trusted for one in found if one.knee]
    mistaken = [one for one in found if one.knee and one.knee.side != one.side]
    guessed = [
        one for one in found if one.knee and any("its side is a guess" in doubt for doubt in one.knee.doubts)
    ]
    sure = np.array([one.knee.trust >= SURE for one in found if one.knee], bool)
    near = np.asarray((errors < 3).all(axis=1))
    return {
        "knees": len(told),
        "found": len(found),
        "others": sum(one.others for one in found),
        "mre_mm": errors.mean() if len(found) else np.nan,
        "median_mm": np.median(errors) if len(found) else np.nan,
        "out": int((errors >= 10).any(axis=1).sum()),
        "wrong_side": sum(one.knee.trusted for one in mistaken if one.knee),
        "side_guessed": len(guessed),
        "trusted": sum(trusted),
        "sure": int(sure.sum()),
        "sure_within_3_mm": near[sure].mean() if sure.any() else np.nan,
        "within_3_mm": near.mean() if len(found) else np.nan,
    }


def labelled(table: pd.DataFrame, **about: Any) -> pd.DataFrame:
    """The table, with what it was measured on in its first columns."""
    return pd.DataFrame(about, index=table.index).join(table)
