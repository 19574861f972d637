"""The recorded out-of-fold answers that the labels are looked at with."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kneel_lib.data.cohort import Cohort, knee_name
from kneel_lib.data.folds import FOLDS
from kneel_lib.errors import KneelError
from kneel_lib.experiment.store import Run, points_of
from kneel_lib.reporting import selection


@dataclass(frozen=True)
class System:
    """What is recorded on five folds: a setting at a profile, trained on the labels of a cohort."""

    cohort: str
    setting: str
    profile: str

    @property
    def name(self) -> str:
        return f"{self.setting} ({self.profile})"


def folds_of(runs: list[Run], system: System, cohort: Cohort) -> list[Run]:
    """The recorded runs of a system on the five folds of this cohort's labels. Raises `KneelError` if one is
    missing."""
    chosen = [
        run
        for run in selection.cross_validated(runs)
        if (run.spec.cohort, run.spec.setting.name, run.spec.profile.name, run.spec.seed)
        == (system.cohort, system.setting, system.profile, 0)
        and run.spec.fingerprint == cohort.fingerprint
    ]
    if len(chosen) != FOLDS:
        raise KneelError(
            f"{len(chosen)} of {FOLDS} folds of {system.name} are recorded on {system.cohort}: run "
            f"`python -m kneel_lib train {system.setting} --profile {system.profile} "
            f"--cohort {system.cohort}`"
        )
    return chosen


def out_of_fold(runs: list[Run], system: System, cohort: Cohort, roi: str = "truth") -> pd.DataFrame:
    """The system's out-of-fold predictions for the knees of the cohort that it was trained on, in their
    order. Raises `KneelError` if a fold is missing."""
    said = selection.pooled_predictions(folds_of(runs, system, cohort), roi)
    said.index = pd.Index(said["subject_id"].astype(str) + said["side"])
    return said.loc[[knee_name(row) for _, row in cohort.knees.iterrows()]]


def answers(runs: list[Run], system: System, cohort: Cohort, roi: str = "truth") -> np.ndarray:
    """(n, 16, 2) mm in the pictures' frames: the places in `out_of_fold`."""
    return points_of(out_of_fold(runs, system, cohort, roi))


def made_by(runs: list[Run], systems: list[System], cohort: Cohort) -> dict[str, str]:
    """{"epochs", "commit"} of the systems, in their order, for a table that is made from all of them."""
    counted = [selection.counted(folds_of(runs, system, cohort)) for system in systems]
    return {key: " ".join(str(row[key]) for row in counted) for key in ("epochs", "commit")}
