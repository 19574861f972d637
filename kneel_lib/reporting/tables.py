"""Tables from finished runs: one row a setting, always labelled with cohort, profile, folds and seeds."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics
from kneel_lib.data.rois import DISPLACED_MM, displacements_mm
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.spec import RunSpec
from kneel_lib.experiment.store import Run, errors_of
from kneel_lib.reporting.selection import (
    TABLE1_PROFILE,
    counted,
    cross_validated,
    group_runs,
    label_runs,
    paper_table,
    pooled_predictions,
    test_set_runs,
    with_ema,
)
from kneel_lib.reporting.statistics import mean_interval

PAPER_METRICS = tuple(f"pck_{radius:g}" for radius in metrics.THRESHOLDS_MM)
SUMMARY = "table1.csv"
METRICS = (
    *PAPER_METRICS,
    *(f"strict_{radius:g}" for radius in metrics.THRESHOLDS_MM),
    "strict_2.5_all16",
    "mre_mm",
    "median_mm",
    "out",
)
SUMMARY_COLUMNS = (
    "setting",
    "cohort",
    "profile",
    "spacing_mm",
    "folds",
    "seeds",
    "knees",
    *METRICS,
    "minutes_per_fold",
)
NO_TRUTH = "no_truth.csv"


def label_table(runs: list[Run]) -> pd.DataFrame:
    """Accuracy on real knees against the number of labelled real knees (`label_runs`), a row a recipe,
    start, label count, fold and seed."""
    rows = [
        {
            "recipe": recipe,
            "start": start,
            "setting": run.spec.setting.name,
            "profile": profile,
            "labels": labels,
            "fold": run.spec.held_out,
            "seed": run.spec.seed,
            "knees": len(run.errors()),
            **metrics.summarise(run.errors()),
        }
        for (recipe, profile, start, labels), group in label_runs(runs).items()
        for run in group
    ]
    return pd.DataFrame(
        rows, columns=["recipe", "start", "setting", "profile", "labels", "fold", "seed", "knees", *METRICS]
    )


def sim_to_real_table(runs: list[Run], names: Sequence[str] = ("mean_shape", "best")) -> pd.DataFrame:
    """Networks trained on simulated knees and tried on real ones, beside the mean shape, and the same with
    few real labels or those alone.

    trained_on: "simulated", "simulated, then crops" or "crops". real_labels: how many real knees with
    landmarks were trained on. Rows without real labels are tried on all real knees, the others on one
    held-out fold (`knees` says how many).
    """
    columns = [
        "trained_on",
        "tested_on",
        "setting",
        "profile",
        "simulated_knees",
        "real_labels",
        "fold",
        "seed",
        "knees",
        "strict_2.5_all16",
        "mre_mm",
        "median_mm",
        "out",
    ]
    origins = [(run, sim_to_real_labels(run.spec)) for run in runs if run.spec.setting.name in names]
    rows = [
        {
            **origin,
            **metrics.summarise(run.errors()),
            "setting": run.spec.setting.name,
            "profile": run.spec.profile.name,
            "tested_on": "crops",
            "fold": run.spec.held_out,
            "seed": run.spec.seed,
            "knees": len(run.errors()),
        }
        for run, origin in origins
        if origin
    ]
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["setting", "profile", "trained_on", "real_labels", "seed"], ignore_index=True
    )


def sim_to_real_labels(spec: RunSpec) -> dict[str, object] | None:
    """What such a run was trained on, for `sim_to_real_table`; None if it does not belong there.

    A run that started from another does not say how many simulated knees that one saw: the transfer's own row
    does.
    """
    if spec.kind == "transfer" and spec.target == "crops":
        return {"trained_on": spec.cohort, "simulated_knees": spec.knees, "real_labels": 0}
    if spec.cohort == "crops" and spec.labels is not None and spec.origin in ("scratch", "simulated"):
        scratch = spec.origin == "scratch"
        return {
            "trained_on": "crops" if scratch else "simulated, then crops",
            "simulated_knees": 0 if scratch else None,
            "real_labels": spec.labels,
        }
    return None


ROI_COLUMNS = (
    "cohort",
    "profile",
    "spacing_mm",
    "folds",
    "seeds",
    "knees",
    *PAPER_METRICS,
    "mre_mm",
    "median_mm",
    "worst_mm",
    "out",
    "minutes_per_fold",
)


def roi_table(runs: list[Run]) -> pd.DataFrame:
    """ROI localisation of section 4.4 out of fold: PCK of the tibial centre in percent, and knees
    (percent) missed by 10 mm or more; a row a cohort and profile."""
    rows: list[dict[str, Any]] = []
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.spec.setting.method == "roi" and run.spec.kind == "fold":
            groups.setdefault((run.spec.cohort, run.spec.profile.name), []).append(run)
    for (cohort, profile), group in sorted(groups.items()):
        errors = errors_of(pooled_predictions(group, "image"))[:, landmarks.CENTRE]
        rows.append(
            {
                "cohort": cohort,
                "profile": profile,
                "spacing_mm": group[0].spec.profile.spacing_mm,
                **counted(group),
                **{
                    f"pck_{radius:g}": metrics.share_within(errors, radius)
                    for radius in metrics.THRESHOLDS_MM
                },
                "mre_mm": errors.mean(),
                "median_mm": np.median(errors),
                "worst_mm": errors.max(),
                "out": 100 * float(np.mean(errors >= metrics.OUTLIER_MM)),
            }
        )
    return pd.DataFrame(rows, columns=ROI_COLUMNS)


OA_GRADES = {"all": range(5), "no": range(2), "yes": range(2, 5)}
"""Radiographic osteoarthritis: Kellgren-Lawrence grade 2 and up."""

TEST_COLUMNS = (
    "dataset",
    "method",
    "oa",
    "trained_on",
    "profile",
    "spacing_mm",
    "folds",
    "seeds",
    "knees",
    "missed",
    "doubted",
    *METRICS,
    "minutes_per_fold",
)


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
        for oa, grades in OA_GRADES.items():
            knees = run.predictions[run.predictions["kl"].isin(grades)]
            errors = errors_of(knees)
            lost = metrics.lost_knees(errors)
            if len(knees):
                rows.append(
                    {
                        "dataset": spec.cohort,
                        "method": spec.setting.name,
                        "oa": oa,
                        "trained_on": pipeline.trained_on,
                        "profile": spec.profile.name,
                        "spacing_mm": spec.profile.spacing_mm,
                        "folds": len(pipeline.landmarks),
                        "seeds": 1,
                        "knees": len(knees),
                        "missed": int(lost.sum()),
                        "doubted": int((~knees["trusted"] & ~lost).sum()),
                        **metrics.summarise(errors, landmarks.TABLE2),
                        "minutes_per_fold": run.manifest["train_seconds"] / 60,
                    }
                )
    return pd.DataFrame(rows, columns=TEST_COLUMNS)


def summary_row(runs: list[Run], roi: str = "truth") -> dict[str, Any]:
    """One row of results/table1.csv from the runs of one setting (their knees pooled over folds and
    seeds)."""
    spec = runs[0].spec
    return {
        "setting": spec.setting.name,
        "cohort": spec.cohort,
        "profile": spec.profile.name,
        "spacing_mm": spec.profile.spacing_mm,
        **counted(runs),
        **metrics.summarise(errors_of(pooled_predictions(runs, roi))),
    }


def summary_table(runs: list[Run], roi: str = "truth") -> pd.DataFrame:
    """A row for each setting, profile and cohort among the runs; the columns of results/table1.csv."""
    return pd.DataFrame(
        [summary_row(group, roi) for group in group_runs(runs).values()], columns=SUMMARY_COLUMNS
    )


def interval_table(runs: list[Run], roi: str = "truth") -> pd.DataFrame:
    """MRE, the paper's PCK, and strict PCK over all 16 landmarks, with 95 % intervals (bootstrap over
    subjects), a row a setting."""
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        predictions = pooled_predictions(group, roi)
        errors, subjects = errors_of(predictions), predictions["subject_id"]
        scored = metrics.lost_outside(errors)
        quantities = {
            "mre_mm": errors,
            **{
                f"pck_{radius:g}": metrics.within(metrics.bone_errors(scored), radius)
                for radius in metrics.THRESHOLDS_MM
            },
            **{
                f"strict_{radius:g}_all16": metrics.within(scored, radius) for radius in metrics.THRESHOLDS_MM
            },
        }
        for quantity, values in quantities.items():
            mean, low, high = mean_interval(values, subjects)
            rows.append(
                {
                    "setting": setting,
                    "cohort": cohort,
                    "profile": profile,
                    "folds": len({run.spec.held_out for run in group}),
                    "quantity": quantity,
                    "mean": mean,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def seed_table(runs: list[Run]) -> pd.DataFrame:
    """Seed variance: how the MRE of one setting on one fold differs from seed to seed, where there are two
    seeds or more. sd_mm: standard deviation over seeds."""
    groups: dict[Any, dict[int, float]] = {}
    for run in cross_validated(runs):
        key = (run.spec.setting.name, run.spec.cohort, run.spec.profile.name, run.spec.held_out)
        groups.setdefault(key, {})[run.spec.seed] = run.errors().mean()
    rows = [
        dict(
            zip(("setting", "cohort", "profile", "fold"), key),
            seeds=len(found),
            mre_mm=np.mean(list(found.values())),
            sd_mm=np.std(list(found.values()), ddof=1),
            least_mm=min(found.values()),
            most_mm=max(found.values()),
        )
        for key, found in groups.items()
        if len(found) > 1
    ]
    return pd.DataFrame(
        rows,
        columns=["setting", "cohort", "profile", "fold", "seeds", "mre_mm", "sd_mm", "least_mm", "most_mm"],
    )


def picked_table(runs: list[Run]) -> pd.DataFrame:
    """How optimistic it is to report the best epoch on the very fold that it was picked on, as the released
    code does; a row a run of the ablation "picked".

    last_mm: MRE of the held-out fold after the last epoch. best_mm: after the best one (best_epoch).
    optimism_mm: what lies between.
    """
    rows = []
    for run in cross_validated(runs):
        if run.spec.setting.picked:
            curve = run.history.set_index("epoch")["held_out_mre"]
            rows.append(
                {
                    "setting": run.spec.setting.name,
                    "cohort": run.spec.cohort,
                    "profile": run.spec.profile.name,
                    "fold": run.spec.held_out,
                    "seed": run.spec.seed,
                    "last_mm": curve.iloc[-1],
                    "best_mm": curve.min(),
                    "best_epoch": curve.idxmin(),
                    "optimism_mm": curve.iloc[-1] - curve.min(),
                }
            )
    return pd.DataFrame(
        rows,
        columns=[
            "setting",
            "cohort",
            "profile",
            "fold",
            "seed",
            "last_mm",
            "best_mm",
            "best_epoch",
            "optimism_mm",
        ],
    )


def cost_without_truth(runs: list[Run]) -> pd.DataFrame:
    """How much the MRE grows, in mm, when nothing true places the ROI:
    paired by knee, with 95 % intervals, a row a setting."""
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        truth, image = (pooled_predictions(group, roi) for roi in ("truth", "image"))
        mean, low, high = mean_interval(errors_of(image) - errors_of(truth), truth["subject_id"])
        rows.append(
            {
                "setting": setting,
                "cohort": cohort,
                "profile": profile,
                "mre_growth_mm": mean,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def beside_paper(summary: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 in the paper's form with the rows of `summary` beside it; the column groups name
    their origin.

    summary: of `summary_table`. A column `origin`, if it has one, is the name of a row's group; else the
    group is called by cohort and profile.
    """
    paper = paper_table().set_index("setting")
    parts = {
        ("", "setting"): paper["label"],
        **{("paper", name): paper[name] for name in (*PAPER_METRICS, "out")},
    }
    named = "origin" in summary
    for origin, rows in summary.groupby(
        summary["origin"] if named else summary["cohort"] + ", " + summary["profile"], sort=False
    ):
        rows = rows.set_index("setting")
        parts |= {
            (origin, name): rows[name]
            for name in (*PAPER_METRICS, "out", "mre_mm", "folds", *(["profile"] if named else []))
        }
    names = [
        *paper.index,
        *(name for name in SETTINGS if name not in paper.index and name in set(summary["setting"])),
    ]
    table = pd.DataFrame({column: values.reindex(names) for column, values in parts.items()})
    table[("", "setting")] = row_labels(names)
    return table


def recorded_rows(runs: list[Run]) -> pd.DataFrame:
    """`summary_table` of the runs on real crops, one row a setting: at the profile of Table 1 where it was
    run there, else where it has most folds (then the finest pixels)."""
    summary = summary_table(runs)
    real = summary[summary["cohort"] == "crops"].assign(
        elsewhere=lambda rows: rows["profile"] != TABLE1_PROFILE
    )
    ordered = real.sort_values(
        ["elsewhere", "folds", "spacing_mm"], ascending=[True, False, True], kind="stable"
    )
    return ordered.drop_duplicates("setting").drop(columns="elsewhere").sort_index()


def row_labels(names: Iterable[str]) -> list[str]:
    """How the paper's table names these settings, or where it has no such row, how ours does."""
    paper = paper_table().set_index("setting")["label"]
    return [paper.get(name) or SETTINGS[name].label for name in names]


def chosen_rows(runs: list[Run], names: Sequence[str]) -> pd.DataFrame:
    """`beside_paper` of these runs for the settings `names` alone, in that order; those without a run are
    left empty.

    Where weights were averaged (`with_ema`) a second group of columns has the same runs so; rows with a
    falling rate are the same in both.
    """
    parts = [summary_table(runs)]
    if any(run.has_ema for run in runs):
        parts.append(summary_table(with_ema(runs)).assign(profile=lambda rows: rows["profile"] + ", EMA"))
    return (
        beside_paper(pd.concat(parts))
        .set_index(("", "setting"))
        .reindex(row_labels(names))
        .rename_axis("setting")
    )


def by_grade(runs: list[Run], roi: str = "truth") -> pd.DataFrame:
    """MRE, median and knees with an outlier for each KL grade of one setting's runs."""
    predictions = pooled_predictions(runs, roi)
    rows = []
    for grade, knees in predictions.groupby("kl"):
        errors = errors_of(knees)
        mean, low, high = mean_interval(errors, knees["subject_id"])
        rows.append(
            {
                "kl": grade,
                "knees": len(knees),
                "mre_mm": mean,
                "low": low,
                "high": high,
                "median_mm": metrics.median_error(errors),
                "out": metrics.outliers_paper(errors),
            }
        )
    return pd.DataFrame(rows)


def by_displacement(runs: list[Run], step_mm: float = 2.0) -> pd.DataFrame:
    """Final against initial error: MRE of ROIs cut off the truth (`rois.displacements_mm`), a row a setting
    and range of displacement.

    Runs that were recorded before ROIs were displaced have no such predictions and are left out.
    """
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        predictions = pooled_predictions(group, "displaced")
        if predictions.empty:
            continue
        lengths = np.linalg.norm(displacements_mm(predictions), axis=1)
        for start in np.arange(0, DISPLACED_MM, step_mm):
            knees = predictions[(lengths >= start) & (lengths < start + step_mm)]
            if len(knees):
                errors = errors_of(knees)
                mean, low, high = mean_interval(errors, knees["subject_id"])
                rows.append(
                    {
                        "setting": setting,
                        "cohort": cohort,
                        "profile": profile,
                        "from_mm": start,
                        "to_mm": start + step_mm,
                        "knees": len(knees),
                        "mre_mm": mean,
                        "low": low,
                        "high": high,
                        "median_mm": metrics.median_error(errors),
                        "out": metrics.outliers_paper(errors),
                    }
                )
    return pd.DataFrame(
        rows,
        columns=[
            "setting",
            "cohort",
            "profile",
            "from_mm",
            "to_mm",
            "knees",
            "mre_mm",
            "low",
            "high",
            "median_mm",
            "out",
        ],
    )
