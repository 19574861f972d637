"""How far few labels go: accuracy over the number of labelled real knees, and what simulated knees teach."""

from collections.abc import Sequence

import pandas as pd

from kneel_lib import metrics
from kneel_lib.data.crops import TABLES
from kneel_lib.experiment.spec import RunSpec
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.selection import described, label_runs
from kneel_lib.reporting.tables import METRICS


def label_table(runs: list[Run]) -> pd.DataFrame:
    """Accuracy on real knees against the number of labelled real knees (`label_runs`), a row a recipe,
    start, label count, fold and seed."""
    rows = [
        {
            "recipe": recipe,
            "start": start,
            "labels": labels,
            **described(run),
            **metrics.summarise(run.errors()),
        }
        for (recipe, _, _, start, labels), group in label_runs(runs).items()
        for run in group
    ]
    columns = "recipe start setting cohort profile labels fold seed knees".split()
    return pd.DataFrame(rows, columns=[*columns, *METRICS, "commit"])


def sim_to_real_table(runs: list[Run], names: Sequence[str] = ("mean_shape", "best")) -> pd.DataFrame:
    """Networks trained on simulated knees and tried on real ones, beside the mean shape, and the same with
    few real labels or those alone.

    trained_on: "simulated", "simulated, then" the real cohort, or that alone. real_labels: how many real
    knees with landmarks were trained on. Rows without real labels are tried on all real knees, the others on
    one held-out fold (`knees` says how many).
    """
    origins = [(run, sim_to_real_labels(run.spec)) for run in runs if run.spec.setting.name in names]
    rows = [
        {**origin, **described(run), **metrics.summarise(run.errors()), "tested_on": run.spec.tried_on}
        for run, origin in origins
        if origin
    ]
    columns = "trained_on tested_on setting profile simulated_knees real_labels fold seed knees".split()
    return pd.DataFrame(
        rows, columns=[*columns, "strict_2.5_all16", "mre_mm", "median_mm", "out", "commit"]
    ).sort_values(["setting", "profile", "trained_on", "real_labels", "seed"], ignore_index=True)


def sim_to_real_labels(spec: RunSpec) -> dict[str, object] | None:
    """What such a run was trained on, for `sim_to_real_table`; None if it does not belong there.

    A run that started from another does not say how many simulated knees that one saw: the transfer's own row
    does.
    """
    if spec.kind == "transfer" and spec.target in TABLES:
        return {"trained_on": spec.cohort, "simulated_knees": spec.knees, "real_labels": 0}
    if spec.cohort in TABLES and spec.labels is not None and spec.origin in ("scratch", "simulated"):
        scratch = spec.origin == "scratch"
        return {
            "trained_on": spec.cohort if scratch else f"simulated, then {spec.cohort}",
            "simulated_knees": 0 if scratch else None,
            "real_labels": spec.labels,
        }
    return None
