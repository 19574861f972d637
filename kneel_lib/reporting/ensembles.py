"""How far trainings on the same knees are from one another, and from the truth all together: what is left to
win by training better.

Two networks that err alike see the same thing and miss the same label; what they do not share is seed
variance. The error of their mean point (an ensemble, no row of Table 1) shows how much that costs.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.experiment.store import Run, errors_of, points_of
from kneel_lib.reporting.selection import STUDY, cross_validated
from kneel_lib.reporting.statistics import paired_difference

TOGETHER = {
    "recipes at 0.5 mm a pixel": (
        ("native", "best"),
        ("native", "best_nodropout"),
        *(("study_native", f"best_simulated_{kind}") for kind in ("long", "nodropout", "ema")),
    ),
    "seeds of best at study": (("study", "best"),),
    "seeds of wing at study": (("study", "wing"),),
}
"""{name: rows, as (profile, row)}: trainings whose answers are compared with one another (`ensemble`)."""

COLUMNS = tuple("trainings fold count knees each_mm apart_mm together_mm difference low high".split())


def ensemble_table(runs: list[Run], groups: Any = TOGETHER) -> pd.DataFrame:
    """A row for each of the `groups` of rows on real crops and each fold that at least two of its trainings
    share (`ensembles.TOGETHER`).

    each_mm: mean MRE of the trainings. apart_mm: mean distance between the answers of two of them.
    together_mm: MRE of their mean point. difference, low, high: of the mean point against the trainings,
    paired by knee, with a 95 % interval over subjects.
    """
    crops, rows = [run for run in cross_validated(runs) if run.spec.cohort == STUDY], []
    for label, members in groups.items():
        folds: dict[Any, list[Run]] = {}
        for run in crops:
            if (run.spec.profile.name, run.spec.setting.name) in members:
                folds.setdefault(run.spec.held_out, []).append(run)
        rows += [
            {"trainings": label, "fold": fold, **ensemble(group)}
            for fold, group in sorted(folds.items())
            if len(group) > 1
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def ensemble(runs: list[Run]) -> dict[str, Any]:
    """The columns of `ensemble_table` of runs that held out the same knees."""
    answers = [run.chosen().sort_values(["subject_id", "side"]) for run in runs]
    points, errors = (np.stack([part(table) for table in answers]) for part in (points_of, errors_of))
    apart = [np.nanmean(np.linalg.norm(first - second, axis=2)) for first, second in combinations(points, 2)]
    together = error_of_mean(points, errors)
    difference = paired_difference(together, errors.mean(axis=0), answers[0]["subject_id"])
    return {
        **{"count": len(runs), "knees": len(together), "each_mm": np.nanmean(errors)},
        **{"apart_mm": np.mean(apart), "together_mm": np.nanmean(together)},
        **dict(zip(("difference", "low", "high"), difference)),
    }


def error_of_mean(points: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Distance from the truth of the mean of k points, given only their own distances: |mean - t|^2 = mean |p
    - t|^2 - mean |p - mean|^2.

    points: (k, n, 16, 2). errors: (k, n, 16), in the same unit. Returns (n, 16). Recorded runs keep points
    and errors, but not the truth.
    """
    spread = ((points - points.mean(axis=0)) ** 2).sum(axis=3).mean(axis=0)
    return np.sqrt(np.maximum((errors**2).mean(axis=0) - spread, 0))
