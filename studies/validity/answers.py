"""What `predict` answers for graded crops that its networks have not seen: from the file as it is, and from a
second view of it, turned, scaled and moved.

Answers are kept as they come, so that a stopped study goes on where it ended.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.data.crops import NOMINAL_MM_PER_PX
from kneel_lib.data.graded import check_unseen
from kneel_lib.data.grey import Radiograph
from kneel_lib.data.pictures import read_picture
from kneel_lib.errors import KneelError
from kneel_lib.files import write_text
from kneel_lib.network.test_time_augmentation import VIEWS, carried_back, seen, view_matrix
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.locate import locate
from kneel_lib.pipeline.predict import Networks
from kneel_lib.progress import Progress

PLAIN, MOVED = "plain", "moved"
REPEATED_EVERY = 4
"""The knees of every so many-th subject are looked at a second time."""

COORDINATES = [f"{axis}{number}" for number in range(landmarks.COUNT) for axis in "xy"]


def answer_all(knees: pd.DataFrame, networks: Networks, log: Path) -> pd.DataFrame:
    """A row a knee and view: subject_id, side, kl, split, view, trusted, doubts, x0, y0 to x15, y15 in pixels
    of the crop as its file shows it; NaN where no knee was found.

    knees: of `graded.find_graded`. log: what has been answered before is read from it, new answers are added.
    Raises `KneelError` if a subject has a labelled knee.
    """
    check_unseen(set(knees["subject_id"]))
    known = {(row["subject_id"], row["side"], row["view"]): row for row in read_log(log)}
    todo = list(asked_of(knees))
    progress = Progress("predicting", len(todo), unit="view")
    write_text(log, "".join(json.dumps(row) + "\n" for row in known.values()))
    rows = []
    with open(log, "a", encoding="utf-8") as file:
        for knee, view, matrix in todo:
            row = known.get((knee.subject_id, knee.side, view))
            if row is None:
                about = {name: getattr(knee, name) for name in ("subject_id", "side", "kl", "split")}
                row = about | {"view": view} | answer_of(knee.path, knee.side, networks, matrix)
                file.write(json.dumps(row) + "\n")
                file.flush()
            rows.append(row)
            progress.advance(len(rows))
    progress.close()
    return pd.DataFrame(rows)


def asked_of(knees: pd.DataFrame) -> Iterator[tuple[Any, str, tuple[float, float, float] | None]]:
    """(knee, name of the view, the view) of everything that is asked: all knees as they are, then the second
    look, by each of VIEWS in turn."""
    for knee in knees.itertuples():
        yield knee, PLAIN, None
    subjects = sorted(set(knees["subject_id"]))[::REPEATED_EVERY]
    repeated = knees[knees["subject_id"].isin(subjects)]
    for number, knee in enumerate(repeated.itertuples()):
        yield knee, MOVED, VIEWS[number % len(VIEWS)]


def read_log(log: Path) -> list[dict[str, Any]]:
    """The answers of a stopped study; a last line that was cut off is left out."""
    rows = []
    for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def answer_of(
    path: Path, side: str, networks: Networks, view: tuple[float, float, float] | None
) -> dict[str, Any]:
    """What is found in one file, of which the side is told and the nominal spacing, seen in a view of VIEWS
    (None: as it is)."""
    try:
        radiograph = read_picture(path, NOMINAL_MM_PER_PX)
        knee = (
            nearest_knee(radiograph, networks, side)
            if view is None
            else seen_in(radiograph, networks, side, view)
        )
    except KneelError as error:
        points = np.full((landmarks.COUNT, 2), np.nan)
        return {"trusted": False, "doubts": str(error).replace(str(path), path.name)} | named(points)
    return {"trusted": knee.trusted, "doubts": "; ".join(knee.doubts)} | named(knee.points_px)


def nearest_knee(radiograph: Radiograph, networks: Networks, side: str) -> Knee:
    """Of the knees that are found the one nearest to the picture's middle: a crop shows one."""
    middle = np.array(radiograph.grey.shape[::-1]) / 2
    knees: Sequence[Knee] = locate(radiograph, *networks, side)
    return min(knees, key=lambda knee: np.linalg.norm(knee.points_px[landmarks.CENTRE] - middle))


def seen_in(radiograph: Radiograph, networks: Networks, side: str, view: tuple[float, float, float]) -> Knee:
    """The knee as it is found in another view of the picture, its landmarks carried back."""
    to_picture = view_matrix(*view, radiograph.grey.shape[1])
    grey = seen(radiograph.grey[None].astype(np.float32), to_picture)[0]
    knee = nearest_knee(replace(radiograph, grey=grey), networks, side)
    return replace(knee, points_px=carried_back(knee.points_px, to_picture))


def named(points_px: np.ndarray) -> dict[str, float]:
    """Landmarks (16, 2) under the names of their columns, to a hundredth of a pixel."""
    return dict(zip(COORDINATES, points_px.round(2).ravel().tolist()))


def points_of(rows: pd.DataFrame) -> np.ndarray:
    """(rows, 16, 2) landmarks in pixels."""
    return rows[COORDINATES].to_numpy(float).reshape(-1, landmarks.COUNT, 2)
