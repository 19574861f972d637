"""What training for longer gains: rows that differ in nothing but their epochs (results/epochs.csv)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.experiment.store import Run, errors_of
from kneel_lib.reporting.comparisons import paired_rows
from kneel_lib.reporting.selection import cross_validated, pooled_predictions

CHANGE = ("low_trainings", "high_trainings", "low_subjects", "high_subjects")
COLUMNS = (
    *"setting cohort size_px batch profile epochs trainings knees mre_mm against change_mm".split(),
    *CHANGE,
)


def length_table(runs: list[Run]) -> pd.DataFrame:
    """A row a setting, labels and number of epochs, of networks that were trained for two numbers of epochs
    or more at the same size and batch: the MRE on the folds and seeds that all of these have.

    change_mm: from the next smaller number of epochs (against), paired by knee, with intervals over trainings
    and over subjects (`comparisons.compare_predictions`). The curve is flat where this is about zero.
    """
    groups: dict[Any, dict[int, list[Run]]] = {}
    for run in cross_validated(runs):
        spec = run.spec
        if spec.setting.method == "network":
            alike = spec.setting.name, spec.cohort, replace(spec.profile, name="", epochs=0)
            groups.setdefault(alike, {}).setdefault(spec.profile.epochs, []).append(run)
    rows = [row for lengths in groups.values() if len(lengths) > 1 for row in length_rows(lengths)]
    return pd.DataFrame(rows, columns=COLUMNS)


def length_rows(lengths: dict[int, list[Run]]) -> Iterator[dict[str, Any]]:
    """The rows of one setting. lengths: {epochs: its runs}."""
    made = {epochs: {trained_on(run): run for run in lengths[epochs]} for epochs in sorted(lengths)}
    shared = sorted(set.intersection(*(set(found) for found in made.values())))
    shorter: list[Run] = []
    for epochs, found in made.items() if shared else ():
        chosen = [found[key] for key in shared]
        spec, table = chosen[0].spec, pooled_predictions(chosen)
        yield {
            "setting": spec.setting.name,
            "cohort": spec.cohort,
            "size_px": spec.profile.size_px,
            "batch": spec.profile.batch,
            "profile": spec.profile.name,
            "epochs": epochs,
            "trainings": len(chosen),
            "knees": len(table),
            "mre_mm": float(np.nanmean(errors_of(table))),
            **(change(chosen, shorter) if shorter else {}),
        }
        shorter = chosen


def trained_on(run: Run) -> tuple[Any, int]:
    """What runs are paired by: the fold that is held out, and the seed."""
    return run.spec.held_out, run.spec.seed


def change(longer: list[Run], shorter: list[Run]) -> dict[str, Any]:
    """What the longer trainings change in MRE, of how many epochs."""
    (mre,) = (row for row in paired_rows(longer, shorter) if row["quantity"] == "mre_mm")
    kept = {name: mre[name] for name in CHANGE}
    return {"against": shorter[0].spec.profile.epochs, "change_mm": mre["difference"], **kept}
