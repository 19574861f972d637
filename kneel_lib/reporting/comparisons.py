"""Differences between rows, paired knee by knee:
with intervals, and corrected for how many were looked at."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics
from kneel_lib.experiment.rows import ONE_CHANGE
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.selection import STUDY, Groups, counted, group_runs, label_runs, pooled_predictions
from kneel_lib.reporting.statistics import holm, interval_over_trainings, paired_difference

UNLIKE_PAIRS = (
    (("study_native", "best_simulated_ema"), ("native", "best")),
    (("study_native", "best_simulated_ema_tta"), ("native", "best")),
    (("study_native", "best_simulated_ema_tta"), ("study_native", "best_simulated_ema")),
    (("study", "best_tta"), ("study", "best")),
    (("study", "best_ema"), ("study", "best")),
    (("study_native", "best_simulated_long"), ("native", "best")),
    (("study_native", "best_simulated_nodropout"), ("native", "best")),
    (("long", "best"), ("study", "heatmap")),
    (("study", "best_nodropout_long"), ("study", "heatmap")),
    (("study", "best_simulated"), ("study", "heatmap")),
)
"""((profile, row), (profile, row)): pairs that are compared knee by knee though they differ in more than
one thing, as one compares two products."""
COMPARED = "quantity knees difference low high p p_holm trainings low_trainings high_trainings".split()


def label_comparisons(runs: list[Run]) -> pd.DataFrame:
    """Every start against "scratch" at the same number of labels, paired by knee, fold and seed:
    the columns of `comparison_table`, with recipe, start and labels."""
    groups, rows = label_runs(runs), []
    for (recipe, profile, start, labels), group in groups.items():
        scratch = groups.get((recipe, profile, "scratch", labels))
        if start != "scratch" and scratch:
            named = {"recipe": recipe, "start": start, "profile": profile, "labels": labels}
            rows += paired_rows(group, scratch, against="scratch", **named)
    table = pd.DataFrame(rows, columns=["recipe", "start", "against", "profile", "labels", *COMPARED])
    return corrected(table, ["recipe", "profile", "quantity"])


def comparison_table(runs: list[Run], against: str = "wing", roi: str = "truth") -> pd.DataFrame:
    """Every setting against one of them, paired by knee, fold and seed: difference, 95 % interval (bootstrap
    over subjects), p by Holm.

    quantity: mre_mm, or pck_1 and pck_2.5 in points of the paper's version. Holm's family are the settings of
    one cohort, profile and quantity. Only knees and seeds that both have are compared.
    """
    return compare_groups(group_runs(runs), lambda setting: None if setting == against else against, roi)


def ablation_table(runs: list[Run]) -> pd.DataFrame:
    """The effect of one change at a time (`rows.ONE_CHANGE`): `comparison_table` of each row with the one
    that it differs from in one thing, which `ablation` names."""
    relatives = {setting: relative for setting, (relative, _) in ONE_CHANGE.items()}
    table = compare_groups(group_runs(runs), relatives.get)
    table.insert(0, "ablation", [ONE_CHANGE[setting][1] for setting in table["setting"]])
    return table


def compare_groups(groups: Groups, reference: Callable[[str], Any], roi: str = "truth") -> pd.DataFrame:
    """`comparison_table` of groups (`group_runs`), each setting against `reference(setting)` of the same
    cohort and profile where that is among them."""
    rows = []
    for (cohort, profile, setting), group in groups.items():
        against = reference(setting)
        if (cohort, profile, against) in groups:
            named = {"setting": setting, "against": against, "cohort": cohort, "profile": profile}
            rows += paired_rows(group, groups[cohort, profile, against], roi, **named)
    table = pd.DataFrame(rows, columns=["setting", "against", "cohort", "profile", *COMPARED])
    return corrected(table, ["cohort", "profile", "quantity"])


def paired_rows(ours: list[Run], theirs: list[Run], roi: str = "truth", **named: Any) -> list[dict[str, Any]]:
    """The rows of `comparison_table` of two lists of runs, with the columns `named` in front."""
    return [
        {**named, **row}
        for row in compare_predictions(*(pooled_predictions(runs, roi) for runs in (ours, theirs)))
    ]


def unlike_pairs(runs: list[Run], pairs: Any = UNLIKE_PAIRS) -> pd.DataFrame:
    """The pairs of rows at real crops that differ in more than one thing (`comparisons.UNLIKE_PAIRS`),
    compared as in `comparison_table` where both have been run.

    minutes, minutes_against: a fold's training. Only knees that both have been tried on are compared.
    """
    groups, rows = group_runs(runs), []
    for (profile, setting), (other_profile, other) in pairs:
        ours, theirs = (groups.get((STUDY, *row)) for row in ((profile, setting), (other_profile, other)))
        if ours and theirs:
            named = {
                "setting": setting,
                "profile": profile,
                "against": other,
                "against_profile": other_profile,
            }
            took, took_against = (counted(group)["minutes_per_fold"] for group in (ours, theirs))
            rows += paired_rows(ours, theirs, **named, minutes=took, minutes_against=took_against)
    columns = "setting profile minutes against against_profile minutes_against".split()
    return corrected(pd.DataFrame(rows, columns=[*columns, *COMPARED]), ["quantity"])


def corrected(table: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """The comparisons with p_holm filled in: Holm's correction over the rows that agree in the columns
    `family`."""
    for _, rows in table.groupby(family):
        table.loc[rows.index, "p_holm"] = holm(rows["p"])
    return table


def compare_predictions(ours: pd.DataFrame, theirs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of `comparison_table` of two predictions tables.

    low_trainings, high_trainings: the 95 % interval by Student's t over the pairs of trainings (a fold and
    seed each), where there are two or more. It knows seed variance, which the bootstrap over subjects does
    not, and it is wide where trainings are few. No rows where the two share nothing.
    """
    both, first, second = paired_errors(ours, theirs)
    if not len(both):
        return
    training = both.groupby(["fold", "seed"]).ngroup().to_numpy()
    quantities = {"mre_mm": (first, second)}
    for radius in (1, 2.5):
        scored = (metrics.bone_errors(metrics.lost_outside(errors)) for errors in (first, second))
        a, b = (metrics.within(errors, radius) for errors in scored)
        quantities[f"pck_{radius:g}"] = a, b
    for quantity, (a, b) in quantities.items():
        difference = paired_difference(a, b, both["subject_id"])
        each = [np.nanmean(a[training == number] - b[training == number]) for number in np.unique(training)]
        _, low_trainings, high_trainings = interval_over_trainings(each) if len(each) > 1 else (np.nan,) * 3
        yield {
            "quantity": quantity,
            "knees": both.groupby(["subject_id", "side"]).ngroups,
            **dict(zip(("difference", "low", "high", "p"), difference)),
            "p_holm": np.nan,
            "trainings": len(each),
            "low_trainings": low_trainings,
            "high_trainings": high_trainings,
        }


def effects(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Comparisons to read: one row instead of one a quantity, each difference with its 95 % interval over
    subjects, as text.

    comparisons: of `comparison_table`, `ablation_table` or `label_comparisons`. The columns that say what is
    compared come first. "over trainings" is the interval of the MRE over pairs of trainings (their number in
    brackets), "-" where there is but one. p: of the MRE, after Holm.
    """
    names = [name for name in comparisons if name not in COMPARED]
    rows = []
    for _, part in comparisons.groupby(names, sort=False):
        by_quantity = part.set_index("quantity")
        mre = by_quantity.loc["mre_mm"]
        over = f"{mre['low_trainings']:+.2f} to {mre['high_trainings']:+.2f} ({mre['trainings']})"
        pck = [difference_text(by_quantity.loc[f"pck_{radius}"], 1) for radius in ("1", "2.5")]
        over = over if mre["trainings"] > 1 else "-"
        rows.append(
            (*part[names].iloc[0], mre["knees"], difference_text(mre, 2), over, *pck, f"{mre['p_holm']:.3f}")
        )
    shown = ["knees", "MRE, mm", "over trainings", "PCK @ 1 mm, points", "PCK @ 2.5 mm, points", "p"]
    return pd.DataFrame(rows, columns=[*names, *shown])


def difference_text(row: Any, digits: int) -> str:
    """A difference and its interval: "-0.07 (-0.09 to -0.05)"."""
    return f"{row['difference']:+.{digits}f} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})"


def comparison_by_group(runs: list[Run], against: str = "wing", roi: str = "truth") -> pd.DataFrame:
    """Where a setting's difference in MRE from another comes from: by KL grade and by landmark, in mm with 95
    % intervals, without correction.

    group: "kl" or "landmark"; value: which. The same pairs as in `comparison_table`.
    """
    groups, rows = group_runs(runs), []
    for (cohort, profile, setting), group in groups.items():
        if setting == against or (cohort, profile, against) not in groups:
            continue
        both, first, second = paired_errors(
            *(pooled_predictions(part, roi) for part in (group, groups[cohort, profile, against]))
        )
        if not len(both):
            continue
        parts: list[tuple[Any, ...]] = [
            ("kl", grade, (both["kl"] == grade).to_numpy(), range(landmarks.COUNT))
            for grade in sorted(both["kl"].unique())
        ]
        parts += [
            ("landmark", number, np.ones(len(both), bool), [number]) for number in range(landmarks.COUNT)
        ]
        for kind, value, knees, columns in parts:
            a, b = (errors[knees][:, list(columns)] for errors in (first, second))
            difference, low, high, _ = paired_difference(a, b, both["subject_id"][knees])
            rows.append((setting, against, cohort, profile, kind, value, difference, low, high))
    columns = "setting against cohort profile group value difference low high".split()
    return pd.DataFrame(rows, columns=columns)


def paired_errors(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """(table of who, errors (n, 16), errors (n, 16)) of the knees and seeds that two predictions tables
    share."""
    names = [f"e{number}" for number in range(landmarks.COUNT)]
    both = ours.merge(theirs, on=["subject_id", "side", "seed"], suffixes=("", "_other"))
    return both, both[names].to_numpy(float), both[[f"{name}_other" for name in names]].to_numpy(float)
