"""Rows that were trained at another size than Table 1's, beside the paper's numbers for the same row: at the
crops' own pixels (results/key_rows.csv) and at the paper's own size (results/paper_size.csv). And how fast
training was (results/training_rates.csv)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.data.crops import TABLES
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.selection import by_weights, counted, group_runs, paper_table
from kneel_lib.reporting.tables import PAPER_METRICS, summary_row

SIZES = {"key_rows.csv": ("study_native", "native"), "paper_size.csv": ("paper",)}
"""{file under results/: profiles}."""

COLUMNS = (
    *"setting cohort profile size_px spacing_mm folds seeds knees epochs".split(),
    *PAPER_METRICS,
    *(f"paper_{name}" for name in PAPER_METRICS),
    *"mre_mm median_mm out minutes_per_fold images_per_s computed_on commit".split(),
)


def size_table(runs: list[Run], profiles: Sequence[str]) -> pd.DataFrame:
    """A row a setting that trains a network at one of these profiles, its labels, and weights (`by_weights`);
    the columns are COLUMNS and weights."""
    return by_weights(
        size_rows,
        [run for run in runs if run.spec.profile.name in profiles and run.spec.setting.method == "network"],
    )


def size_rows(runs: list[Run]) -> pd.DataFrame:
    """`size_table` of these runs by the weights that they have."""
    paper = paper_table().set_index("setting").reindex(columns=PAPER_METRICS).add_prefix("paper_")
    rows = [
        {**summary_row(group), "size_px": group[0].spec.profile.size_px, **speed(group)}
        for group in group_runs(runs).values()
    ]
    named = pd.DataFrame(rows, columns=None if rows else ["setting"])
    return named.join(paper, on="setting").reindex(columns=COLUMNS)


def speed(runs: list[Run]) -> dict[str, Any]:
    """images_per_s: training images over the time of the median epoch, mean over the runs. computed_on: the
    card, or the processor and its threads; all that there were."""
    rates = [(run.spec.knees - len(run.chosen())) / run.history["seconds"].median() for run in runs]
    return {
        "images_per_s": np.mean(rates),
        "computed_on": ", ".join(sorted({machine_of(run) for run in runs})),
    }


RATED = ("wing", "mixup_0.75_nowd", "best")
"""Rows whose rates are listed: one pass of the network a step, two passes, and another loss."""


def rate_table(runs: list[Run]) -> pd.DataFrame:
    """How fast each kind of machine trained, a row a profile, setting and machine: images_per_s and
    minutes_per_fold, medians over the runs. Other work may have run beside them, and several runs on one
    graphics card at once."""
    rows = [
        {
            "profile": run.spec.profile.name,
            "setting": run.spec.setting.name,
            "computed_on": machine_of(run),
            "size_px": run.spec.profile.size_px,
            "images_per_s": speed([run])["images_per_s"],
            "minutes_per_fold": counted([run])["minutes_per_fold"],
        }
        for group in group_runs(runs).values()
        for run in group
        if run.spec.setting.name in RATED and run.spec.cohort in TABLES
    ]
    columns = "profile setting computed_on size_px".split()
    rates = ["images_per_s", "minutes_per_fold"]
    groups = pd.DataFrame(rows, columns=[*columns, *rates]).groupby(columns, sort=False)
    return groups[rates].median().assign(runs=groups.size()).reset_index()


def machine_of(run: Run) -> str:
    """The graphics card of a run, or else its processor, threads and precision."""
    made = run.manifest
    said = [f"{made.get(what, '?')}{unit}" for what, unit in (("processor", ""), ("threads", " threads"))]
    return made.get("card") or ", ".join([*said, made.get("precision", "?")])
