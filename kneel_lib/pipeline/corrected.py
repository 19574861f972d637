"""What a person has changed in the answers: which landmarks were moved, and how far."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.errors import KneelError

LEAST_PX = 0.05
"""What files of coordinates round away is no move."""

COLUMNS = ("file", "side", "landmark", "moved", "distance_px", "distance_mm")

Corrected = Mapping[tuple[str, str], tuple[str, int, np.ndarray]]
"""{(file, side): (subject, grade, (16, 2) landmarks in pixels of the file)}, of `data.via.read_via`."""


def moves(entries: Iterable[Mapping[str, Any]], corrected: Corrected) -> pd.DataFrame:
    """A row a landmark of every knee that is both answered (entries, as predict keeps them) and corrected.
    distance_mm: NaN where no spacing is known. Raises `KneelError` where there is no such knee."""
    knees = [
        (knee, corrected.get((knee["file"], knee["side"]))) for entry in entries for knee in entry["knees"]
    ]
    rows = [
        (knee["file"], knee["side"], number, distance > LEAST_PX, distance, distance * step_of(knee))
        for knee, by_hand in knees
        if by_hand is not None
        for number, distance in enumerate(distances(knee, by_hand[2]))
    ]
    if not rows:
        raise KneelError(
            "no knee is both answered and corrected: give the folder that predict wrote to, and what was "
            "saved after correcting its via.csv or via.json"
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def spacing_told(entries: Iterable[Mapping[str, Any]], given: float | None) -> float | None:
    """The mm a pixel that predict was told for these entries, or else the one given now; `KneelError` where
    the two differ."""
    told = {
        float(knee["mm_per_px"])
        for entry in entries
        if entry.get("spacing_from") == "given"
        for knee in entry["knees"]
    }
    if len(told | ({given} - {None})) > 1:
        numbers = " and ".join(f"{spacing:g}" for spacing in sorted(told))
        raise KneelError(
            f"predict was told {numbers} mm a pixel, and now it is {given or 'not one of them'}: leave "
            "--spacing out, or predict again with it"
        )
    return told.pop() if told else given


def distances(knee: Mapping[str, Any], points_px: np.ndarray) -> list[float]:
    """How far each landmark was moved, in pixels."""
    return np.linalg.norm(points_px - np.array(knee["landmarks_px"]), axis=1).tolist()


def step_of(knee: Mapping[str, Any]) -> float:
    """mm a pixel, NaN where it is not known."""
    return float("nan") if knee["mm_per_px"] is None else float(knee["mm_per_px"])


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Of `moves`: how many knees and landmarks, how many of them were moved, and how far those were."""
    moved = table[table["moved"]]
    return {
        "knees": len(table.drop_duplicates(["file", "side"])),
        "knees_moved": len(moved.drop_duplicates(["file", "side"])),
        "landmarks": len(table),
        "landmarks_moved": len(moved),
        "median_moved_px": float(moved["distance_px"].median()),
        "median_moved_mm": float(moved["distance_mm"].median()),
        "greatest_moved_mm": float(moved["distance_mm"].max()),
    }


def said_of(table: pd.DataFrame) -> str:
    """`summary` in a sentence; `KneelError` where nothing was moved, of which there is nothing to learn."""
    found = summary(table)
    if not found["landmarks_moved"]:
        raise KneelError(f"none of {found['landmarks']} landmarks was moved: there is nothing to learn from")
    mm = "" if np.isnan(found["median_moved_mm"]) else f" ({found['median_moved_mm']:.2f} mm)"
    return (
        f"{found['landmarks_moved']} of {found['landmarks']} landmarks were moved, on "
        f"{found['knees_moved']} of {found['knees']} knees; half of them by more than "
        f"{found['median_moved_px']:.1f} px{mm}"
    )
