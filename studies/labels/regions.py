"""Regions that hold a landmark with a probability of 90 %: results/conformal_regions.csv.

Split conformal prediction (Vovk et al. 2005): the size is a quantile of the errors on knees that the network
has not seen, so the promise needs no model of the errors. An ellipse whose axes lie across and along the
outline needs less room than a circle, since landmarks slide along edges. The outline at hand is that of the
prediction: of a new knee there is no other.
"""

from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, outlines
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run, points_of
from kneel_lib.reporting.statistics import conformal_ellipses, conformal_quantile
from studies.labels.edits import groups
from studies.labels.predictions import System, made_by, out_of_fold

LEVEL = 0.9


def parts_of(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n, 16, 2): the truth across and along the outline of the prediction, seen from the prediction; mm."""
    return np.stack(outlines.split_errors(truth, points), axis=2)


def ellipses(parts: np.ndarray) -> np.ndarray:
    """(16, 2) half axes in mm, across and along, of each landmark's region, from calibration knees
    (n, 16, 2)."""
    return conformal_ellipses(parts, LEVEL)


def circles(parts: np.ndarray) -> np.ndarray:
    """(16, 2) the same of circles: both half axes are the radius."""
    return np.repeat(conformal_quantile(np.linalg.norm(parts, axis=2), LEVEL)[:, None], 2, axis=1)


SHAPES = {"ellipse": ellipses, "circle": circles}


def covered(parts: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(n, 16) booleans: the truth lies in the landmark's region."""
    return np.asarray(np.linalg.norm(parts / axes, axis=2) <= 1)


Tried = list[tuple[np.ndarray, np.ndarray]]
"""[(which knees are tested, which calibrate)], both (n,) booleans."""


def region_table(
    runs: list[Run], cohort_name: str, setting: str = "best", profile: str = "native"
) -> pd.DataFrame:
    """A row a shape, landmark and grade, of answers out of fold: coverage of each fold's knees by regions
    from the other folds ("folds"), and of the knees of split val by regions from those of train ("val").
    across_mm, along_mm, area_mm2: half axes and area, mean over the folds."""
    cohort, system = load_cohort(cohort_name), System(cohort_name, setting, profile)
    said = out_of_fold(runs, system, cohort)
    parts = parts_of(points_of(said), cohort.landmarks_mm)
    fold, split = said["fold"].to_numpy(), cohort.knees["split"].to_numpy()
    tried = [(fold == number, fold != number) for number in np.unique(fold)]
    kl = cohort.knees["kl"].to_numpy()
    made = coverage_rows(parts, kl, tried, "folds")
    made += coverage_rows(parts, kl, [(split == "val", split == "train")], "val")
    about = {"cohort": cohort_name, "setting": setting, "profile": profile, "seed": 0}
    return pd.DataFrame(made).assign(**about, **made_by(runs, [system], cohort))


def coverage_rows(parts: np.ndarray, kl: np.ndarray, tried: Tried, checked_on: str) -> list[dict[str, Any]]:
    """Rows of `region_table`. parts: (n, 16, 2) as in `parts_of`; kl: (n,)."""
    rows = []
    for shape, make in SHAPES.items():
        axes = [make(parts[calibration]) for _, calibration in tried]
        inside = np.concatenate([covered(parts[tested], axis) for (tested, _), axis in zip(tried, axes)])
        grades = np.concatenate([kl[tested] for tested, _ in tried])
        mean = np.mean(axes, axis=0)
        for landmark, grade, chosen in groups(grades):
            numbers = range(landmarks.COUNT) if landmark == "all" else [landmark]
            rows.append(
                {
                    "checked_on": checked_on,
                    "shape": shape,
                    "landmark": landmark,
                    "kl": grade,
                    "coverage_percent": 100 * inside[chosen].mean(),
                    "across_mm": mean[list(numbers), 0].mean(),
                    "along_mm": mean[list(numbers), 1].mean(),
                    "area_mm2": np.pi * mean[list(numbers)].prod(axis=1).mean(),
                    "knees": int(chosen.any(axis=1).sum()),
                }
            )
    return rows
