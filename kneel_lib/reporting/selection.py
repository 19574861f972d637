"""Which of the finished runs a table is made of: grouped by row, whole seeds, as they ended or by EMA
weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import paths
from kneel_lib.data.crops import TABLES
from kneel_lib.data.tables import Schema, matching, number, one_of, read_table
from kneel_lib.experiment.provenance import commit_of
from kneel_lib.experiment.rows import DATASETS, SETTINGS, STAGES
from kneel_lib.experiment.spec import SIMULATED, UNSEEN
from kneel_lib.experiment.store import EMA, FINAL, Run

STUDY, TABLE1_PROFILE = "crops_first", "study"
"""The labels on which, and the profile at which, all networks of Table 1 have been compared."""

FINAL_LABELS = "crops"
"""The labels that the study's last runs stand on: Table 1 follows row by row."""

Groups = dict[tuple[str, str, str], list[Run]]
"""Runs by (cohort, profile, setting)."""


PERCENT = {
    name: number(0, 100)
    for radius in ("1", "1.5", "2", "2.5")
    for name in (f"pck_{radius}", f"pck_{radius}_sd")
} | {"out": number(0, 100)}
NAME = matching(r"[a-z][a-z0-9_.]*", "a row's name in small letters, digits, _ and .")
LABEL = matching(r".{1,80}", "text of 80 characters at most")
PAPER = {
    1: Schema({"setting": NAME, "label": LABEL, **PERCENT}, ("setting",), 24, "get it again from git"),
    2: Schema(
        {"dataset": one_of("A", "B"), "method": NAME, "label": LABEL, **PERCENT},
        ("dataset", "method"),
        6,
        "get it again from git",
    ),
}
"""The paper's tables as they are committed."""


def paper_table(number: int = 1) -> pd.DataFrame:
    """The paper's Table 1 or 2 as a table, a row a setting (percentages; *_sd over the two bones)."""
    return read_table(paths.DATA / f"paper_table{number}.csv", PAPER[number]).reset_index(drop=True)


def pooled_predictions(runs: list[Run], roi: str = "truth") -> pd.DataFrame:
    """Predictions of all the runs' held-out knees for one ROI centre, with a column seed."""
    return pd.concat([run.chosen(roi).assign(seed=run.spec.seed) for run in runs], ignore_index=True)


def group_runs(runs: list[Run]) -> Groups:
    """{(cohort, profile, setting): [runs]} of cross-validation, of `whole_seeds` alone, in the order of Table
    1; transfers are left out."""
    order = {name: place for place, name in enumerate(SETTINGS)}
    groups: dict[Any, list[Run]] = {}
    for run in sorted(cross_validated(runs), key=lambda run: (run.spec.held_out, run.spec.seed)):
        key = run.spec.cohort, run.spec.profile.name, run.spec.setting.name
        groups.setdefault(key, []).append(run)
    ordered = sorted(
        groups.items(), key=lambda item: (item[0][0], item[0][1], order.get(item[0][2], len(order)))
    )
    return {key: whole_seeds(group) for key, group in ordered}


def table1_runs(runs: list[Run], labels: str = STUDY) -> list[Run]:
    """Of these runs those on real crops, under these labels, at the profile of Table 1."""
    return [run for run in runs if (run.spec.cohort, run.spec.profile.name) == (labels, TABLE1_PROFILE)]


def whole_seeds(runs: list[Run]) -> list[Run]:
    """The runs of those seeds that have most folds. A seed that was tried on one fold alone would make
    that fold's knees count twice; it is for `seed_table`."""
    folds: dict[int, set[Any]] = {}
    for run in runs:
        folds.setdefault(run.spec.seed, set()).add(run.spec.held_out)
    most = max(map(len, folds.values()), default=0)
    return [run for run in runs if len(folds[run.spec.seed]) == most]


def with_ema(runs: list[Run]) -> list[Run]:
    """The same runs, judged by their EMA weights where the rate was constant; those of them that kept none
    are left out.

    At a constant rate the error jumps from epoch to epoch, so that the last one holds much seed variance; a
    falling rate has settled by itself.
    """
    found = []
    for run in runs:
        if run.has_ema:
            found.append(replace(run, predictions=run.chosen(weights=EMA).assign(weights=FINAL)))
        elif run.spec.setting.method != "network" or run.spec.setting.schedule != "constant":
            found.append(run)
    return found


def by_weights(make: Callable[[list[Run]], pd.DataFrame], runs: list[Run]) -> pd.DataFrame:
    """The table that `make(runs)` gives, with a column weights: of the runs as they ended ("last epoch"), and
    of the same `with_ema` ("EMA") where that differs."""

    def place(run: Run) -> tuple[str, str]:
        return run.spec.cohort, run.spec.profile.name

    differ = {place(run) for run in runs if run.has_ema}
    settled = with_ema([run for run in runs if place(run) in differ])
    both = pd.concat([make(runs).assign(weights="last epoch"), make(settled).assign(weights="EMA")])
    return both.drop_duplicates(
        [name for name in both if name not in ("weights", "p_holm", "detectable")], ignore_index=True
    )


ORIGINS = {"": "scratch", "roi": "low_cost", SIMULATED: SIMULATED, UNSEEN: UNSEEN}
"""{start of a setting: the `origin` of its runs}; of the name of a row it is "row"."""


def cross_validated(runs: list[Run]) -> list[Run]:
    """The runs that held out a fold of their own cohort and trained on all the rest of it, started as
    their setting says."""
    return [
        run
        for run in runs
        if run.spec.kind == "fold"
        and run.spec.setting.method != "roi"
        and run.spec.labels is None
        and run.spec.origin == ORIGINS.get(run.spec.setting.start, "row")
    ]


LABEL_RECIPES = {"best": "best", "best_finetune": "best", "wing": "wing", "wing_finetune": "wing"}
"""{setting: recipe} of the curve of accuracy over labelled knees:
a recipe from scratch, and the same from low-cost labels."""


def label_runs(runs: list[Run]) -> dict[Any, list[Run]]:
    """{(recipe, cohort, profile, start, labels): [runs]} of the curve of accuracy over labelled real knees,
    for the folds and profiles in which it was run.

    start: "scratch", "simulated" (trained before on simulated knees with all landmarks), "low_cost" (on the
    tibial centre alone) or "pseudo_labelled" (after simulated knees on crops without landmarks, by what the
    network of the start "simulated" says of them). labels: knees trained on; a run on all of a fold's knees
    counts as the last point.
    """
    real = [
        (LABEL_RECIPES[run.spec.setting.name], run.spec.cohort, run.spec.profile.name, run)
        for run in runs
        if run.spec.cohort in TABLES and run.spec.kind == "fold" and run.spec.setting.name in LABEL_RECIPES
    ]
    tried = {
        (recipe, cohort, profile, run.spec.held_out)
        for recipe, cohort, profile, run in real
        if run.spec.labels is not None
    }
    groups: dict[Any, list[Run]] = {}
    for *place, run in sorted(real, key=lambda entry: (entry[-1].spec.held_out, entry[-1].spec.seed)):
        if (*place, run.spec.held_out) in tried:
            labels = run.spec.labels or run.spec.knees - len(run.errors())
            groups.setdefault((*place, run.spec.origin, labels), []).append(run)
    return dict(sorted(groups.items()))


def test_set_runs(runs: list[Run]) -> list[Run]:
    """The evaluations of whole pipelines on test sets, in the order of the paper's Table 2."""

    def place(run: Run) -> tuple[int, str, int]:
        dataset, stage = DATASETS.index(run.spec.cohort), list(STAGES).index(run.spec.setting.name)
        return dataset, run.spec.profile.name, stage

    return sorted((run for run in runs if run.spec.kind == "test"), key=place)


def counted(runs: list[Run]) -> dict[str, Any]:
    """How many folds, seeds, knees and epochs there are in runs of one setting, which commit they come from
    (`provenance.commit_of`), and how long they took: epochs times the median epoch, since a machine may have
    been paused."""
    knees = pd.concat([run.predictions[["subject_id", "side"]] for run in runs]).drop_duplicates()
    seconds = [run.history["seconds"].median() * len(run.history) for run in runs]
    return {
        "folds": len({run.spec.held_out for run in runs}),
        "seeds": len({run.spec.seed for run in runs}),
        "knees": len(knees),
        "epochs": max(len(run.history) for run in runs),
        "commit": commit_of(run.manifest for run in runs),
        "minutes_per_fold": np.mean(seconds) / 60,
    }


def described(run: Run) -> dict[str, Any]:
    """What a row of one run says of it: setting, cohort, profile, held-out fold, seed, commit, and how many
    knees."""
    spec = run.spec
    named = {"setting": spec.setting.name, "cohort": spec.cohort, "profile": spec.profile.name}
    made = {"fold": spec.held_out, "seed": spec.seed, "commit": commit_of([run.manifest])}
    return {**named, **made, "knees": len(run.chosen())}
