"""The table that a run ends with: where each held-out knee's landmarks were said to be, and how far off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.rois import CENTRES
from kneel_lib.data.tables import (
    KNEE,
    SIDE,
    SPLIT,
    SUBJECT,
    Schema,
    held_against,
    matching,
    number,
    one_of,
    whole,
)
from kneel_lib.errors import KneelError

FINAL, EMA = "final", "ema"
"""In the column weights of predictions: what the run ends with, and the EMA weights kept beside it."""

COORDINATES = [f"{axis}{number}" for number in range(landmarks.COUNT) for axis in "xye"]
FARTHEST_MM = 2000.0
"""No picture is as large."""

AGAIN = "delete the run, it is made again; a recorded one get again from git"
KNEES = Schema(
    {
        "subject_id": SUBJECT,
        "side": SIDE,
        "kl": whole(0, 4),
        "split": SPLIT,
        "roi": one_of(*CENTRES, "found"),
        "weights": one_of(FINAL, EMA),
        "run": matching("[0-9a-f]{16}", "a run's hash of 16 hexadecimal digits", required=False),
        "seconds": number(0, 1e7, required=False),
        "trusted": one_of("True", "False", required=False),
    },
    where=AGAIN,
)
"""Who is predicted, a row a knee, ROI and kind of weights. run: where several share a table."""

POINTS = Schema(
    {
        "x": number(-FARTHEST_MM, FARTHEST_MM, empty=True),
        "y": number(-FARTHEST_MM, FARTHEST_MM, empty=True),
        "e": number(0, FARTHEST_MM, empty=True),
    },
    where=AGAIN,
)
"""Where, a row a landmark: what `COORDINATES` are columns of."""


def points_of(predictions: pd.DataFrame) -> np.ndarray:
    """The (rows, 16, 2) points of a predictions table, in mm of the picture's frame."""
    return np.stack([of_landmarks(predictions, axis) for axis in "xy"], axis=2)


def errors_of(predictions: pd.DataFrame) -> np.ndarray:
    """The (rows, 16) errors in mm of a predictions table."""
    return of_landmarks(predictions, "e")


def of_landmarks(predictions: pd.DataFrame, axis: str) -> np.ndarray:
    return predictions[[f"{axis}{number}" for number in range(landmarks.COUNT)]].to_numpy(float)


def check_cells(predictions: pd.DataFrame, place: Path, several: bool = False) -> None:
    """Raise `KneelError` for a cell that a predictions table cannot hold, or a knee that is twice in it.

    several: knees may be in it several times, as in the pictures of the search.
    """
    missing = [name for name in COORDINATES if name not in predictions]
    if missing:
        raise KneelError(f"{place} has no column {missing[0]}: {AGAIN}")
    if not len(predictions):
        return
    once = () if several else (*KNEE, "roi", "weights", *(["run"] if "run" in predictions else []))
    held_against(predictions, replace(KNEES, unique=once), place, "row {}")
    rows = pd.MultiIndex.from_product([predictions.index, range(landmarks.COUNT)])
    cells = {
        axis: predictions[[f"{axis}{number}" for number in range(landmarks.COUNT)]].to_numpy().ravel()
        for axis in POINTS.columns
    }
    points = pd.DataFrame(cells, index=rows).infer_objects()
    held_against(points, POINTS, place, "row {}, landmark {}")
    without = points["x"].isna() & points["e"].notna()
    if without.any():
        row, landmark = points.index[without][0]
        raise KneelError(f"{place}, row {row}, landmark {landmark}: an error, but no point: {AGAIN}")


def check_rows(predictions: pd.DataFrame, spec: Any, place: object) -> None:
    """Raise `KneelError` unless there are as many rows for each ROI and kind of weights; none are right only
    for a run that held nothing out."""
    if (spec.kind == "all") != (not len(predictions)):
        raise KneelError(f"{place} has predictions of {len(predictions)} rows, which is not right: {AGAIN}")
    counts = (predictions["roi"] + " " + predictions["weights"]).value_counts()
    if counts.nunique() > 1:
        of = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise KneelError(f"{place} has not as many rows for each ROI and kind of weights ({of}): {AGAIN}")
