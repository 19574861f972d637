"""Who judges the registration's last step: systems that took no part in it, out of fold.

A table of labels is better if systems that never voted on it err less by it. Every system is judged by every
table, the table's common scale and shift brought to those of the labels that the system was trained on: those
nobody can tell.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from kneel_lib.data.crops import TABLES
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.store import Run, recorded_runs
from kneel_lib.reporting.statistics import paired_difference
from studies.labels.predictions import System, made_by
from studies.registration import vote
from studies.registration.agreement import crops_of
from studies.registration.congealing import in_gauge_of

JUDGES = (
    ("crops_first", "best", "native"),
    ("crops_first", "rfrv_clm", "native"),
    ("crops_first", "clm_igo", "native"),
    ("crops_first", "best_simulated", "study"),
    ("crops_templates", "best", "study"),
    ("crops_templates", "rfrv_clm", "native"),
    ("crops_voted", "best", "native"),
    ("crops_voted", "rfrv_clm", "native"),
    ("crops", "clm_igo", "native"),
)
"""(cohort whose labels it was trained on, setting, profile) of each system that has five folds."""


def has_voted(trained_on: str, setting: str, profile: str, table: str) -> bool:
    """Whether a system's own answers are in a table, directly or through the one before."""
    voters = {(cohort, *voter) for cohort, chosen in vote.VOTERS.items() for voter in chosen.items()}
    made_by = {made: cohort for cohort, made in vote.MAKES.items()}
    while table in made_by:
        table = made_by[table]
        if table == trained_on and (trained_on, setting, profile) in voters:
            return True
    return False


def judge(
    runs: list[Run], judges: Iterable[tuple[str, str, str]] = JUDGES, tables: Iterable[str] = TABLES
) -> pd.DataFrame:
    """results/registration_votes.csv: a row a system and table of labels. voted: whether the system's own
    answers are in the table (then it is no judge). difference, low, high: against the labels that it was
    trained on, paired by knee, with a 95 % interval over subjects."""
    cohorts = {name: load_cohort(name) for name in tables}
    crops = {name: crops_of(cohort) for name, cohort in cohorts.items()}
    rows = []
    for trained_on, setting, profile in judges:
        votes = vote.votes_of(runs, cohorts[trained_on], setting, profile)
        made = made_by(runs, [System(trained_on, setting, profile)], cohorts[trained_on])
        own = crops[trained_on]
        errors = {
            name: vote.judged(votes, in_gauge_of(own.truth, known.truth, own.offsets_mm), own)
            for name, known in crops.items()
        }
        for name, found in errors.items():
            difference, low, high, _ = paired_difference(found, errors[trained_on], own.knees["subject_id"])
            rows.append(
                {
                    "trained_on": trained_on,
                    "setting": setting,
                    "profile": profile,
                    "labels": name,
                    "voted": has_voted(trained_on, setting, profile, name),
                    "mre_mm": found.mean(),
                    "median_mm": np.median(found),
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "knees": len(found),
                    **made,
                }
            )
    return pd.DataFrame(rows).assign(folds=5, seed=0, roi="image")


def moved(tables: Iterable[str] = TABLES) -> pd.DataFrame:
    """results/registration_moves.csv: how far each table's labels lie from those of the table before, in the
    same gauge: mean and 95th percentile of the distance in mm, standard deviation of the scale."""
    crops = {name: crops_of(load_cohort(name)) for name in tables}
    rows = []
    for before, after in (("crops_first", "crops_templates"), *vote.MAKES.items(), ("crops_first", "crops")):
        first, second = (crops[name].truth for name in (before, after))
        offsets = crops[before].offsets_mm
        placed = in_gauge_of(first, second, offsets)
        apart = (placed.landmarks_px(offsets) - first.landmarks_px(offsets)) * first.mm_per_px[:, None, None]
        distance = np.linalg.norm(apart, axis=2)
        rows.append(
            {
                "before": before,
                "after": after,
                "mean_mm": distance.mean(),
                "p95_mm": np.percentile(distance, 95),
                "scale_sd_percent": 100 * np.std(placed.mm_per_px / first.mm_per_px),
                "knees": len(distance),
            }
        )
    return pd.DataFrame(rows)


def record(folder: Path) -> list[Path]:
    """Write both tables from the recorded runs; returns the files."""
    from studies.registration.error_budget import write

    return write(
        {"registration_votes.csv": judge(recorded_runs()), "registration_moves.csv": moved()}, folder
    )
