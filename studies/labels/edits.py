"""What a person changed of the first stage's annotation, and who is nearer to the person: results/
annotation_stages.csv.

The comparison with the network is selected by the first stage's errors: a point that the person moved is one
where the first stage was seen to be wrong. And a person who starts from an answer is drawn to it, so the
untouched points favour whatever resembles the first stage.
"""

import numpy as np
import pandas as pd

from kneel_lib import landmarks, outlines
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.statistics import mean_interval
from studies.labels.predictions import System, answers, made_by
from studies.labels.stages import Stages

MOVES_MM = (0.0, 0.5, 1.0, 2.0, 4.0, np.inf)
"""Edges of the classes of how far a point was moved."""


def edit_rows(stages: Stages) -> pd.DataFrame:
    """Rows "edits": share of moved points, by how much and in which direction; of all, by landmark and by
    grade. across_share: of the squared length of a move, the part across the outline, mean over the moves."""
    across, along = outlines.split_errors(stages.first, stages.second)
    length = np.hypot(across, along)
    rows = []
    for landmark, kl, chosen in groups(stages.knees["kl"].to_numpy()):
        moved = stages.moved & chosen
        subset = length[moved]
        known = stages.moved[chosen.any(axis=1)]
        rows.append(
            {
                "what": "edits",
                "landmark": landmark,
                "kl": kl,
                "points": int(chosen.sum()),
                "moved_percent": 100 * moved.sum() / chosen.sum(),
                "knees_touched_percent": 100 * known.any(axis=1).mean() if landmark == "all" else np.nan,
                "median_mm": np.median(subset) if len(subset) else np.nan,
                "p95_mm": np.percentile(subset, 95) if len(subset) else np.nan,
                "across_share": np.mean((across[moved] / subset) ** 2) if len(subset) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def groups(kl: np.ndarray) -> list[tuple[int | str, int | str, np.ndarray]]:
    """[(landmark, grade, (n, 16) which points)] of all points, each landmark, and each grade."""
    shape = len(kl), landmarks.COUNT
    number = np.broadcast_to(np.arange(landmarks.COUNT), shape)
    grade = np.broadcast_to(kl[:, None], shape)
    return [
        ("all", "all", np.ones(shape, bool)),
        *((landmark, "all", number == landmark) for landmark in range(landmarks.COUNT)),
        *(("all", int(value), grade == value) for value in np.unique(kl)),
    ]


def head_to_head(stages: Stages, system: System, runs: list[Run]) -> pd.DataFrame:
    """Rows "errors" (MRE of the system and of the first stage on untouched and on moved points) and "nearer"
    (how often the system is nearer to the person than the first stage was, by how far the point was moved),
    with 95 % intervals over subjects. Out of fold; on the labels that the system was trained on."""
    cohort = load_cohort(system.cohort)
    said, rows_of = answers(runs, system, cohort), stage_rows(stages, cohort.knees)
    kept = rows_of >= 0
    rows_of = rows_of[kept]
    error = np.linalg.norm(said[kept] - cohort.landmarks_mm[kept], axis=2)
    move = np.linalg.norm(stages.first - stages.second, axis=2)[rows_of]
    moved, subjects = stages.moved[rows_of], cohort.knees["subject_id"].to_numpy()[kept]
    rows = []
    for name, chosen in (("untouched", ~moved), ("moved", moved)):
        values = {system.setting: error, "first stage": move}
        for who, found in values.items():
            if who == "first stage" and name == "untouched":
                continue
            mean, low, high = mean_interval(np.where(chosen, found, np.nan), subjects)
            rows.append(
                {"what": "errors", "system": who, "points_are": name, "value": mean, "low": low, "high": high}
                | {"points": int(chosen.sum())}
            )
    for low_mm, high_mm in zip(MOVES_MM[:-1], MOVES_MM[1:]):
        chosen = moved & (move > low_mm) & (move <= high_mm)
        if not chosen.any():
            continue
        nearer = np.where(chosen, 100.0 * (error < move), np.nan)
        mean, low, high = mean_interval(nearer, subjects)
        rows.append(
            {
                "what": "nearer",
                "system": system.setting,
                "points_are": "moved by "
                + (f"{low_mm:g} to {high_mm:g} mm" if high_mm < np.inf else f"more than {low_mm:g} mm"),
                "value": mean,
                "low": low,
                "high": high,
                "points": int(chosen.sum()),
            }
        )
    about = {"cohort": system.cohort, "profile": system.profile, "folds": 5, "seed": 0}
    return pd.DataFrame(rows).assign(**about, **made_by(runs, [system], cohort))


def stage_rows(stages: Stages, knees: pd.DataFrame) -> np.ndarray:
    """For each knee of a table its row in the stages, -1 where they do not have it."""
    place = {(row.subject_id, row.side): number for number, row in enumerate(stages.knees.itertuples())}
    return np.array([place.get((str(row.subject_id), row.side), -1) for row in knees.itertuples()])
