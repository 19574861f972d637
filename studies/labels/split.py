"""Errors across and along the outline, and from the point to the curve: results/error_split.csv."""

from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import metrics, outlines
from kneel_lib.data.cohort import Cohort, knee_name
from kneel_lib.data.crops import TABLES
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run, points_of
from kneel_lib.reporting import selection
from kneel_lib.reporting.statistics import mean_interval
from studies.labels.edits import groups

CLOSELY = ("best", "wing", "rfrv_clm", "clm_igo")
"""Settings that are shown by landmark and by grade too; of all others the mean over all is enough."""


def split_table(runs: list[Run]) -> pd.DataFrame:
    """A row a recorded row of the real crops (cohort, profile, setting, weights), for all landmarks and
    grades; for those of CLOSELY at the finest pixels also by landmark, and by grade.

    across_mm, along_mm: means of the absolute parts. curve_mm: mean distance from the point to the curve.
    across_pck_1 and so on: percentage of landmarks, each by itself, with an across part of so many mm or
    less. low, high: of across_mm, over subjects. Out of fold, ROIs around the truth.
    """
    rows = []
    for name in TABLES:
        groups = {
            key: group
            for key, group in selection.group_runs(runs).items()
            if key[0] == name and all(run.spec.knees == group[0].spec.knees for run in group)
        }
        if not groups:
            continue
        cohort = load_cohort(name)
        curves = outlines.curves_of(cohort.landmarks_mm)
        for (_, profile, setting), group in groups.items():
            if any(run.spec.fingerprint != cohort.fingerprint for run in group):
                continue
            labelled = {"last epoch": group, "EMA": selection.with_ema(group) if group[0].has_ema else []}
            for weights, chosen in labelled.items():
                if chosen:
                    about = {"cohort": name, "profile": profile, "setting": setting, "weights": weights}
                    closely = setting in CLOSELY and profile == "native" and weights == "last epoch"
                    rows += split_rows(chosen, cohort, curves, about, closely)
    return pd.DataFrame(rows)


def shares_across(across: np.ndarray) -> dict[str, float]:
    """{"across_pck_1": percentage of landmarks whose across part (mm, not negative) is 1 mm or less, ...}."""
    return {
        f"across_pck_{radius:g}": metrics.share_within(across, radius) for radius in metrics.THRESHOLDS_MM
    }


def split_rows(
    group: list[Run],
    cohort: Cohort,
    curves: dict[tuple[int, ...], np.ndarray],
    about: dict[str, Any],
    closely: bool,
) -> list[dict[str, Any]]:
    """The rows of `split_table` of one group of runs."""
    said = selection.pooled_predictions(group)
    place = {knee_name(row): number for number, (_, row) in enumerate(cohort.knees.iterrows())}
    rows = [place[name] for name in said["subject_id"].astype(str) + said["side"]]
    truth, points = cohort.landmarks_mm[rows], points_of(said)
    across, along = (np.abs(part) for part in outlines.split_errors(points, truth))
    curve = outlines.point_to_curve(points, truth, {bone: drawn[rows] for bone, drawn in curves.items()})
    counted = selection.counted(group)
    made_by = {name: counted[name] for name in ("folds", "seeds", "epochs", "commit")}
    parts = groups(said["kl"].to_numpy()) if closely else groups(said["kl"].to_numpy())[:1]
    made = []
    for landmark, kl, chosen in parts:
        mean, low, high = mean_interval(np.where(chosen, across, np.nan), said["subject_id"])
        made.append(
            {
                **about,
                "landmark": landmark,
                "kl": kl,
                "mre_mm": np.hypot(across, along)[chosen].mean(),
                "across_mm": mean,
                "low": low,
                "high": high,
                "along_mm": along[chosen].mean(),
                "curve_mm": np.nanmean(curve[chosen]),
                **shares_across(across[chosen]),
                "across_rms_mm": np.sqrt((across[chosen] ** 2).mean()),
                "along_rms_mm": np.sqrt((along[chosen] ** 2).mean()),
                "knees": int(chosen.any(axis=1).sum()),
                **made_by,
            }
        )
    return made
