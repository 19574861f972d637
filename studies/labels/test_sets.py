"""Errors of whole pipelines across and along the outline, and from the point to the curve, on the test sets:
results/error_split_test_sets.csv."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import outlines
from kneel_lib.errors import KneelError
from kneel_lib.experiment.store import Run, errors_of, points_of
from kneel_lib.pipeline.test_sets import load_cases
from kneel_lib.reporting import selection
from kneel_lib.reporting.pipeline_tables import OA_GRADES
from studies.labels.split import shares_across

ROUNDED_MM = 0.02
"""By how much a recorded error may differ from that of recorded places: they are kept to 0.01 mm."""


def split_table(runs: list[Run]) -> pd.DataFrame:
    """A row a test set, pipeline and group of knees (oa), as in results/table2.csv: means over the knees that
    were found, in mm. Recorded answers of test sets that are not on this machine, or whose labels are others,
    are left out."""
    rows = []
    for run in selection.test_set_runs(runs):
        pipeline = run.spec.pipeline
        assert pipeline is not None  # every run on a test set has one
        try:
            fingerprint, truth = true_places(run.spec.cohort, run.spec.profile.tested)
        except KneelError as error:
            print(f"left out: {error}", flush=True)
            continue
        if fingerprint != run.spec.fingerprint:
            print(f"left out: {run.spec.said} was tried on other labels of {run.spec.cohort}", flush=True)
            continue
        found = run.predictions.dropna(subset=["e0"])
        for oa, grades in OA_GRADES.items():
            knees = found[found["kl"].isin(grades)]
            if len(knees):
                about = {"dataset": run.spec.cohort, "method": run.spec.setting.name, "oa": oa}
                named = {"trained_on": pipeline.trained_on, "profile": run.spec.profile.name}
                rows.append({**about, **named, **split_of(knees, truth), "knees": len(knees)})
    return pd.DataFrame(rows)


@cache
def true_places(dataset: str, tested: int | None) -> tuple[str, dict[tuple[str, str], np.ndarray]]:
    """(fingerprint, {(subject, side): landmarks (16, 2) in mm}) of a test set."""
    fingerprint, _, cases = load_cases(dataset, tested)
    return fingerprint, {
        (str(row["subject_id"]), row["side"]): points
        for case in cases
        for (_, row), points in zip(case.knees.iterrows(), case.truth_mm)
    }


def split_of(knees: pd.DataFrame, truth: dict[tuple[str, str], np.ndarray]) -> dict[str, Any]:
    """Means over knees that were found, and shares of landmarks with an across part within a radius. Raises
    `ValueError` where their recorded errors are not those of their recorded places."""
    places = np.stack([truth[key] for key in zip(knees["subject_id"].astype(str), knees["side"])])
    points = points_of(knees)
    if np.abs(np.linalg.norm(points - places, axis=2) - errors_of(knees)).max() > ROUNDED_MM:
        raise ValueError("recorded errors are not those of the recorded places")
    across, along = (np.abs(part) for part in outlines.split_errors(points, places))
    curve = float(np.nanmean(outlines.point_to_curve(points, places)))
    means = {"across_mm": across.mean(), "along_mm": along.mean(), "curve_mm": curve}
    return means | shares_across(across)
