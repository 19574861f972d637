"""Tables from finished runs: one row a setting, always labelled with cohort, profile, folds and seeds."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from kneel_lib import metrics
from kneel_lib.data.crops import TABLES
from kneel_lib.data.folds import FOLDS
from kneel_lib.data.rois import DISPLACED_MM, displacements_mm
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.store import Run, errors_of
from kneel_lib.reporting.selection import (
    STUDY,
    TABLE1_PROFILE,
    counted,
    cross_validated,
    described,
    group_runs,
    paper_table,
    pooled_predictions,
    with_ema,
)
from kneel_lib.reporting.statistics import mean_interval

PAPER_METRICS = tuple(f"pck_{radius:g}" for radius in metrics.THRESHOLDS_MM)
FAR_BEHIND = ("l2", "elastic")
SUMMARY, SETTLED, NO_TRUTH = "table1.csv", "table1_ema.csv", "no_truth.csv"
METRICS = (
    *PAPER_METRICS,
    *(f"strict_{radius:g}" for radius in metrics.THRESHOLDS_MM),
    *"strict_2.5_all16 mre_mm median_mm out".split(),
)
OUTLINE = (
    *("across_mm", "along_mm", "curve_mm"),
    *(f"across_pck_{radius:g}" for radius in metrics.THRESHOLDS_MM),
)
SUMMARY_COLUMNS = (
    *"setting cohort profile spacing_mm folds seeds knees".split(),
    *METRICS,
    *"epochs minutes_per_fold commit".split(),
)


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


def with_outline_errors(table: pd.DataFrame, split: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The table with the columns OUTLINE: mean errors across and along the bones' outlines, and from the
    point to the curve, and the share of landmarks that lie within a radius across. They need the places of
    the labels, which no record holds: `split` is what `studies.labels` found where they are. NaN in rows that
    it does not know. keys: what names a row."""
    known = split[[*keys, *OUTLINE]].drop_duplicates(list(keys))
    return table.merge(known, how="left", on=list(keys))


def interval_table(runs: list[Run], roi: str = "truth") -> pd.DataFrame:
    """MRE, the paper's PCK, and strict PCK over all 16 landmarks, with 95 % intervals (bootstrap over
    subjects), a row a setting."""
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        predictions = pooled_predictions(group, roi)
        errors, subjects = errors_of(predictions), predictions["subject_id"]
        scored = metrics.lost_outside(errors)
        shares = {"pck_{:g}": metrics.bone_errors(scored), "strict_{:g}_all16": scored}
        quantities = {"mre_mm": errors} | {
            name.format(radius): metrics.within(distances, radius)
            for name, distances in shares.items()
            for radius in metrics.THRESHOLDS_MM
        }
        named = {"setting": setting, "cohort": cohort, "profile": profile}
        folds = len({run.spec.held_out for run in group})
        rows += [
            {**named, "folds": folds, "quantity": quantity, **interval("mean", values, subjects)}
            for quantity, values in quantities.items()
        ]
    return pd.DataFrame(rows, columns="setting cohort profile folds quantity mean low high".split())


def interval(name: str, values: ArrayLike, subjects: ArrayLike) -> dict[str, float]:
    """The columns `name`, low and high of `mean_interval`."""
    return dict(zip((name, "low", "high"), mean_interval(values, subjects)))


def seed_table(runs: list[Run]) -> pd.DataFrame:
    """Seed variance: how the MRE of one setting on one fold differs from seed to seed, where there are two
    seeds or more. sd_mm: standard deviation over seeds."""
    keys = ["setting", "cohort", "profile", "fold"]
    found = [described(run) | {"mre_mm": np.nanmean(run.errors())} for run in cross_validated(runs)]
    groups = pd.DataFrame(found, columns=[*keys, "mre_mm"]).groupby(keys, sort=False)["mre_mm"]
    table = groups.agg(seeds="size", mre_mm="mean", sd_mm="std", least_mm="min", most_mm="max").reset_index()
    return table[table["seeds"] > 1].reset_index(drop=True)


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
            last, best = curve.iloc[-1], curve.min()
            rows.append(
                described(run)
                | {"last_mm": last, "best_mm": best, "best_epoch": curve.idxmin(), "optimism_mm": last - best}
            )
    columns = "setting cohort profile fold seed last_mm best_mm best_epoch optimism_mm".split()
    return pd.DataFrame(rows, columns=columns)


def cost_without_truth(runs: list[Run]) -> pd.DataFrame:
    """How much the MRE grows, in mm, when nothing true places the ROI:
    paired by knee, with 95 % intervals, a row a setting."""
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        truth, image = (pooled_predictions(group, roi) for roi in ("truth", "image"))
        growth = interval("mre_growth_mm", errors_of(image) - errors_of(truth), truth["subject_id"])
        rows.append({"setting": setting, "cohort": cohort, "profile": profile, **growth})
    return pd.DataFrame(rows, columns="setting cohort profile mre_growth_mm low high".split())


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
            for name in (*PAPER_METRICS, "out", "mre_mm", "folds", *(["profile"] if named else []), "commit")
        }
    names = [
        *paper.index,
        *(name for name in SETTINGS if name not in paper.index and name in set(summary["setting"])),
    ]
    table = pd.DataFrame({column: values.reindex(names) for column, values in parts.items()})
    table[("", "setting")] = row_labels(names)
    return table


def rank_table(runs: list[Run]) -> pd.DataFrame:
    """Does the order of our rows agree with that of the paper's Table 1? Spearman's rank correlation, for
    each table of labels at the profile of Table 1, weights and quantity, over the rows with all five folds:
    over all that the paper has, and without those that lie far behind there (`FAR_BEHIND`), on which any
    order of the others would agree."""
    paper, made = paper_table().set_index("setting").add_suffix("_paper"), []
    by_weights = {"last epoch": summary_table(runs), "EMA": summary_table(with_ema(runs))}
    summary = pd.concat([table.assign(weights=weights) for weights, table in by_weights.items()])
    real = summary[(summary["profile"] == TABLE1_PROFILE) & summary["cohort"].isin(TABLES)]
    for (cohort, weights), rows in real[real["folds"] == FOLDS].groupby(["cohort", "weights"], sort=False):
        both = rows.set_index("setting").join(paper, how="inner")
        for left_out in ((), FAR_BEHIND):
            kept = both.drop(index=list(left_out), errors="ignore")
            about = {"cohort": cohort, "profile": TABLE1_PROFILE, "epochs": kept["epochs"].max()}
            about |= {"weights": weights, "rows": len(kept), "without": " ".join(left_out)}
            for name in PAPER_METRICS if len(kept) > 2 else ():
                rho = spearmanr(kept[name], kept[f"{name}_paper"]).statistic
                made.append({**about, "quantity": name, "rho": rho})
    columns = "cohort profile epochs weights quantity rows without rho".split()
    return pd.DataFrame(made, columns=columns)


def recorded_rows(runs: list[Run]) -> pd.DataFrame:
    """`summary_table` of the runs on real crops, one row a setting: at the profile of Table 1 where it was
    run there, else where it has most folds (then the finest pixels)."""
    summary = summary_table(runs)
    real = summary[summary["cohort"] == STUDY].assign(
        elsewhere=lambda rows: rows["profile"] != TABLE1_PROFILE
    )
    ordered = real.sort_values(
        ["elsewhere", "folds", "spacing_mm"], ascending=[True, False, True], kind="stable"
    )
    return ordered.drop_duplicates("setting").drop(columns="elsewhere").sort_index()


def row_labels(names: Iterable[str]) -> list[str]:
    """How the paper's table names these settings, or where it has no such row, how ours does."""
    paper = paper_table().set_index("setting")["label"]
    return [paper.get(name) or own_label(name) for name in names]


def own_label(name: str) -> str:
    """How our tables name a row; one that is recorded, but none of today's rows, by its name."""
    return SETTINGS[name].label if name in SETTINGS else name


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


def by_grade(runs: list[Run]) -> pd.DataFrame:
    """MRE, median and knees with an outlier for each KL grade of one setting's runs."""
    grades = pooled_predictions(runs).groupby("kl")
    return pd.DataFrame([{"kl": grade, **spread(knees)} for grade, knees in grades])


def spread(knees: pd.DataFrame) -> dict[str, Any]:
    """How many knees these predictions are of; their MRE with its interval, median, and share with an
    outlier."""
    errors = errors_of(knees)
    return {
        "knees": len(knees),
        **interval("mre_mm", errors, knees["subject_id"]),
        "median_mm": metrics.median_error(errors),
        "out": metrics.outliers_paper(errors),
    }


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
                named = {"setting": setting, "cohort": cohort, "profile": profile}
                rows.append({**named, "from_mm": start, "to_mm": start + step_mm, **spread(knees)})
    columns = "setting cohort profile from_mm to_mm knees mre_mm low high median_mm out".split()
    return pd.DataFrame(rows, columns=columns)
