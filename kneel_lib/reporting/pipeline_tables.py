"""Tables beyond the landmarks: ROI localisation, and whole pipelines on test sets (Table 2)."""

from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics
from kneel_lib.experiment.provenance import commit_of
from kneel_lib.experiment.store import Run, errors_of
from kneel_lib.reporting.selection import counted, pooled_predictions, test_set_runs
from kneel_lib.reporting.tables import METRICS, PAPER_METRICS

ROI_COLUMNS = (
    *"cohort profile spacing_mm folds seeds knees".split(),
    *PAPER_METRICS,
    *"mre_mm median_mm worst_mm out minutes_per_fold commit".split(),
)
TEST_COLUMNS = (
    *"dataset method oa trained_on profile spacing_mm folds seeds knees missed doubted".split(),
    *METRICS,
    *"minutes_per_fold commit".split(),
)
OA_GRADES = {"all": range(5), "no": range(2), "yes": range(2, 5)}
"""Radiographic osteoarthritis: Kellgren-Lawrence grade 2 and up."""


def roi_table(runs: list[Run]) -> pd.DataFrame:
    """ROI localisation of section 4.4 out of fold: PCK of the tibial centre in percent, and knees
    (percent) missed by 10 mm or more; a row a cohort and profile."""
    rows = []
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.spec.setting.method == "roi" and run.spec.kind == "fold":
            groups.setdefault((run.spec.cohort, run.spec.profile.name), []).append(run)
    for (cohort, profile), group in sorted(groups.items()):
        errors = errors_of(pooled_predictions(group, "image"))[:, landmarks.CENTRE]
        shares = [metrics.share_within(errors, radius) for radius in metrics.THRESHOLDS_MM]
        rows.append(
            {"cohort": cohort, "profile": profile, "spacing_mm": group[0].spec.profile.spacing_mm}
            | counted(group)
            | dict(zip(PAPER_METRICS, shares))
            | {"mre_mm": errors.mean(), "median_mm": np.median(errors), "worst_mm": errors.max()}
            | {"out": 100 * float(np.mean(errors >= metrics.OUTLIER_MM))}
        )
    return pd.DataFrame(rows, columns=ROI_COLUMNS)


def test_set_table(runs: list[Run]) -> pd.DataFrame:
    """Table 2: a row a test set, pipeline and group of knees (oa: radiographic osteoarthritis). PCK of
    landmarks 0, 4, 8 and 9, 12, 15.

    folds: how many fold models are averaged. missed: knees that ROI localisation did not find; doubted: those
    with an answer that is not to be trusted.
    """
    rows = []
    for run in test_set_runs(runs):
        spec, pipeline = run.spec, run.spec.pipeline
        assert pipeline is not None  # every run on a test set has one
        named = {
            **{"dataset": spec.cohort, "method": spec.setting.name, "trained_on": pipeline.trained_on},
            **{"profile": spec.profile.name, "spacing_mm": spec.profile.spacing_mm},
            **{"folds": len(pipeline.landmarks), "seeds": 1},
            "minutes_per_fold": run.manifest["train_seconds"] / 60,
            "commit": commit_of([run.manifest]),
        }
        for oa, grades in OA_GRADES.items():
            knees = run.predictions[run.predictions["kl"].isin(grades)]
            errors = errors_of(knees)
            lost = metrics.lost_knees(errors)
            counts = {"missed": int(lost.sum()), "doubted": int((~knees["trusted"] & ~lost).sum())}
            if len(knees):
                accuracy = metrics.summarise(errors, landmarks.TABLE2)
                rows.append(named | {"oa": oa, "knees": len(knees), **counts, **accuracy})
    return pd.DataFrame(rows, columns=TEST_COLUMNS)
