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
from kneel_lib.reporting import selection
from kneel_lib.reporting.statistics import conformal_ellipses, conformal_quantile
from studies.labels.edits import groups

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


def region_table(
    runs: list[Run], cohort_name: str, setting: str = "best", profile: str = "native"
) -> pd.DataFrame:
    """A row a shape, landmark and grade: coverage of each fold's knees by regions from the other folds
    ("folds"), and of the split val by regions from the knees of train out of fold ("val", where that run is
    recorded). across_mm, along_mm, area_mm2: half axes and area, mean over the folds."""
    cohort = load_cohort(cohort_name)
    keys = list(zip(cohort.knees["subject_id"].astype(str), cohort.knees["side"]))
    truth = dict(zip(keys, cohort.landmarks_mm))
    kept = [
        run
        for run in runs
        if (run.spec.cohort, run.spec.setting.name, run.spec.profile.name) == (cohort_name, setting, profile)
        and run.spec.seed == 0
        and run.spec.fingerprint == cohort.fingerprint
    ]
    folds = [run.chosen() for run in selection.cross_validated(kept)]
    made: list[dict[str, Any]] = []
    found = [(table, parts_of(points_of(table), labels_of(table, truth))) for table in folds]
    tried = [
        (found[k], np.concatenate([parts for j, (_, parts) in enumerate(found) if j != k]))
        for k in range(len(found))
    ]
    made += coverage_rows(tried, "folds")
    for run in (run for run in kept if run.spec.kind == "split"):
        table = run.chosen()
        known = [parts[(of["split"] == "train").to_numpy()] for of, parts in found]
        made += coverage_rows(
            [((table, parts_of(points_of(table), labels_of(table, truth))), np.concatenate(known))], "val"
        )
    return pd.DataFrame(made).assign(cohort=cohort_name, setting=setting, profile=profile, seed=0)


def labels_of(table: pd.DataFrame, truth: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """(n, 16, 2) labels in mm of the knees of a predictions table."""
    return np.stack([truth[str(who), side] for who, side in zip(table["subject_id"], table["side"])])


def coverage_rows(tried: Any, checked_on: str) -> list[dict[str, Any]]:
    """Rows of `region_table`. tried: [((predictions, their parts), calibration parts)]."""
    rows = []
    for shape, make in SHAPES.items():
        axes = [make(calibration) for _, calibration in tried]
        inside = np.concatenate([covered(parts, axis) for ((_, parts), _), axis in zip(tried, axes)])
        kl = np.concatenate([table["kl"].to_numpy() for (table, _), _ in tried])
        mean = np.mean(axes, axis=0)
        for landmark, grade, chosen in groups(kl):
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
