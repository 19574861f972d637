"""Errors that labs 2 and 5 judge: of two rows of Table 1, on every real knee, out of fold. A copy, so that
what the labs say of them holds when the compendium records its runs anew.

`python -m course.recorded COHORT` writes the copy again from the recorded runs of a cohort.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from kneel_lib import landmarks
from kneel_lib.errors import KneelError, find
from kneel_lib.experiment.store import recorded_runs
from kneel_lib.files import write_text

FILE = Path(__file__).parent / "recorded_errors.csv"
SETTINGS, PROFILE = ("wing", "l1"), "study"
KNEE = ["subject_id", "side", "kl", "fold"]
ERRORS = [f"e{number}" for number in range(landmarks.COUNT)]


def recorded_errors(setting: str) -> tuple[pd.DataFrame, np.ndarray]:
    """(table of 529 real knees: subject_id, side, kl, fold; errors (529, 16) in mm) of "wing" or "l1", each
    fold trained once with seed 0, after the last epoch, ROIs around the true landmark 4."""
    table = pd.read_csv(FILE)
    rows = table[table["setting"] == find(setting, SETTINGS, "recorded row")].reset_index(drop=True)
    return rows[KNEE], rows[ERRORS].to_numpy(float)


def copy_of(cohort: str) -> pd.DataFrame:
    """The rows of FILE, from the recorded runs of a cohort; `KneelError` where it lacks a fold."""
    tables = []
    for run in recorded_runs():
        spec = run.spec
        wanted = spec.cohort == cohort and spec.profile.name == PROFILE and spec.setting.name in SETTINGS
        if wanted and spec.kind == "fold" and spec.seed == 0 and spec.labels is None:
            rows = run.chosen()[[*KNEE, *ERRORS]]
            tables.append(rows.assign(setting=spec.setting.name))
    if len(tables) != 5 * len(SETTINGS):
        raise KneelError(f"{len(tables)} runs of {cohort} are recorded, not five folds of each of {SETTINGS}")
    order = ["setting", "subject_id", "side"]
    return pd.concat(tables)[["setting", *KNEE, *ERRORS]].sort_values(order, ignore_index=True)


if __name__ == "__main__":
    write_text(FILE, copy_of(sys.argv[1]).to_csv(index=False, float_format="%.3f"))
