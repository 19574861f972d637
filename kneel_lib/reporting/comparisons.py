"""Differences between rows, paired knee by knee: with intervals over trainings and over subjects, corrected
for how many were looked at, and with what could have been seen."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics
from kneel_lib.experiment.rows import ONE_CHANGE
from kneel_lib.experiment.spec import PSEUDO_LABELLED, SIMULATED
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.selection import (
    FINAL_LABELS,
    STUDY,
    Groups,
    counted,
    group_runs,
    label_runs,
    pooled_predictions,
    with_ema,
)
from kneel_lib.reporting.statistics import (
    FIVE_FOLDS,
    LEVEL,
    detectable,
    holm,
    holm_levels,
    over_trainings,
    paired_difference,
)

PAIRS: dict[tuple[str, str], tuple[tuple[tuple[str, str], tuple[str, str]], ...]] = {
    (STUDY, "last epoch"): (
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
        (("study", "l1_nowd"), ("study", "wing_nowd")),
    ),
    (STUDY, "EMA"): (
        (("study", "elastic"), ("study", "l1")),
        (("study", "l1_nowd"), ("study", "wing_nowd")),
        (("study", "robust"), ("study", "wing_nowd")),
        (("study", "mixup_0.1_nowd"), ("study", "wing_nowd")),
        (("study", "mixup_0.2_nowd"), ("study", "wing_nowd")),
        (("study", "mixup_0.5_nowd"), ("study", "wing_nowd")),
        (("study", "mixup_0.75_nowd"), ("study", "wing_nowd")),
    ),
    (FINAL_LABELS, "last epoch"): ((("native", "best_normalised"), ("native", "best")),),
    (FINAL_LABELS, "EMA"): (
        (("study", "robust"), ("study", "wing_nowd")),
        (("study", "mixup_0.75_nowd"), ("study", "wing_nowd")),
        (("study", "finetune"), ("study", "wing_nowd")),
        (("study", "nodropout"), ("study", "wing_nowd")),
    ),
}
"""{(labels, which weights): pairs ((profile, row), (profile, row))} that are compared knee by knee beside
`ablations.csv` and `comparisons.csv`: two products that differ in more than one thing, or two rows that a
sentence sets against each other."""
COMPARED = (
    "quantity knees difference trainings low_trainings high_trainings se_trainings p p_holm detectable "
    "low_subjects high_subjects"
).split()

BY_GROUP = (
    "setting against cohort profile group value difference trainings low_trainings high_trainings "
    "low_subjects high_subjects"
).split()


def label_comparisons(runs: list[Run]) -> pd.DataFrame:
    """Every start against "scratch" at the same number of labels, and a student against the simulated knees
    that its teacher began with, paired by knee, fold and seed: the columns of `comparison_table`, with
    recipe, start and labels."""
    groups, rows = label_runs(runs), []
    for (recipe, cohort, profile, start, labels), group in groups.items():
        place = {"cohort": cohort, "profile": profile, "labels": labels}
        for against in ("scratch", SIMULATED) if start == PSEUDO_LABELLED else ("scratch",):
            other = groups.get((recipe, cohort, profile, against, labels))
            if other and start != against:
                rows += paired_rows(group, other, recipe=recipe, start=start, against=against, **place)
    named = ["recipe", "start", "against", "cohort", "profile", "labels"]
    table = pd.DataFrame(rows, columns=[*named, *COMPARED])
    return corrected(table, ["recipe", "cohort", "profile", "quantity"])


def comparison_table(runs: list[Run], against: str = "wing") -> pd.DataFrame:
    """Every setting against one of them, paired by knee, fold and seed; the columns of `compare_predictions`.

    quantity: mre_mm, or pck_1 and pck_2.5 in points of the paper's version. p_holm: after Holm's correction,
    whose family are the settings of one cohort, profile and quantity that have two trainings or more.
    detectable: the least difference that would have a p_holm of 0.05, were the row's spread over trainings
    and the other rows what they are. epochs: of each training of the setting. Only knees and seeds that both
    have are compared.
    """
    return compare_groups(group_runs(runs), lambda setting: None if setting == against else against)


def ablation_table(runs: list[Run]) -> pd.DataFrame:
    """The effect of one change at a time (`rows.ONE_CHANGE`): `comparison_table` of each row with the one
    that it differs from in one thing, which `ablation` names."""
    relatives = {setting: relative for setting, (relative, _) in ONE_CHANGE.items()}
    table = compare_groups(group_runs(runs), relatives.get)
    table.insert(0, "ablation", [ONE_CHANGE[setting][1] for setting in table["setting"]])
    return table


def compare_groups(groups: Groups, reference: Callable[[str], Any]) -> pd.DataFrame:
    """`comparison_table` of groups (`group_runs`), each setting against `reference(setting)` of the same
    cohort and profile where that is among them."""
    rows = []
    for (cohort, profile, setting), group in groups.items():
        against = reference(setting)
        if (cohort, profile, against) in groups:
            named = {"setting": setting, "against": against, "cohort": cohort, "profile": profile}
            named["epochs"] = counted(group)["epochs"]
            rows += paired_rows(group, groups[cohort, profile, against], **named)
    table = pd.DataFrame(rows, columns=["setting", "against", "cohort", "profile", "epochs", *COMPARED])
    return corrected(table, ["cohort", "profile", "quantity"])


def paired_rows(ours: list[Run], theirs: list[Run], **named: Any) -> list[dict[str, Any]]:
    """The rows of `comparison_table` of two lists of runs, with the columns `named` in front."""
    first, second = (pooled_predictions(runs) for runs in (ours, theirs))
    return [{**named, **row} for row in compare_predictions(first, second, held_out_ratio(ours))]


def held_out_ratio(runs: list[Run]) -> float:
    """Knees that a run holds out for each of the rest, in the mean over these runs. The rest is what it could
    have trained on: of few labels, too, the trainings of a table are drawn from the same rest."""
    held_out = np.array([len(run.chosen()) for run in runs])
    rest = np.array([run.spec.knees for run in runs]) - held_out
    return float(np.mean(held_out / rest)) if (rest > 0).all() else 0.0


def unlike_pairs(runs: list[Run]) -> pd.DataFrame:
    """The pairs of rows at real crops in `PAIRS`, compared as in `comparison_table` where both have been run;
    Holm's correction is over the pairs of the same labels and weights.

    minutes, minutes_against: a fold's training. Only knees that both have been tried on are compared.
    """
    by_weights = {"last epoch": group_runs(runs), "EMA": group_runs(with_ema(runs))}
    rows: list[dict[str, Any]] = []
    for (cohort, weights), pairs in PAIRS.items():
        groups = by_weights[weights]
        for ours, theirs in pairs:
            if (cohort, *ours) in groups and (cohort, *theirs) in groups:
                pair = groups[cohort, *ours], groups[cohort, *theirs]
                took, took_against = (counted(group)["minutes_per_fold"] for group in pair)
                named: dict[str, Any] = {"cohort": cohort, "weights": weights}
                named |= {"setting": ours[1], "profile": ours[0], "minutes": took}
                named |= {"against": theirs[1], "against_profile": theirs[0], "minutes_against": took_against}
                rows += paired_rows(*pair, **named)
    columns = "cohort weights setting profile minutes against against_profile minutes_against".split()
    return corrected(pd.DataFrame(rows, columns=[*columns, *COMPARED]), ["cohort", "weights", "quantity"])


def corrected(table: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """The comparisons with p_holm and detectable filled in: Holm's correction over the rows that agree in the
    columns `family` and have a p."""
    for _, rows in table[table["p"].notna()].groupby(family):
        table.loc[rows.index, "p_holm"] = holm(rows["p"])
        levels = holm_levels(rows["p"])
        table.loc[rows.index, "detectable"] = detectable(rows["se_trainings"], rows["trainings"], levels)
    return table


def compare_predictions(
    ours: pd.DataFrame, theirs: pd.DataFrame, held_out_ratio: float = FIVE_FOLDS
) -> Iterator[dict[str, Any]]:
    """The rows of `comparison_table` of two predictions tables. No rows where the two share nothing.

    low_trainings, high_trainings, se_trainings, p: `statistics.over_trainings` of the pairs of trainings (a
    fold and seed each), where they are of two folds or more: what other trainings of these settings would
    have said. low_subjects, high_subjects: the 95 % bootstrap over subjects: what other knees would have said
    of these very networks. It does not know seed variance, and judges no setting.
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
        yield {
            "quantity": quantity,
            "knees": both.groupby(["subject_id", "side"]).ngroups,
            **both_intervals(a, b, both["subject_id"], both["fold"], training, held_out_ratio),
            "p_holm": np.nan,
            "detectable": np.nan,
        }


def both_intervals(
    a: np.ndarray, b: np.ndarray, subjects: Any, folds: Any, training: np.ndarray, held_out_ratio: float
) -> dict[str, Any]:
    """Difference of a and b (n, k), with its intervals over trainings and over subjects.

    training: (n,) which pair of trainings each row is of. Of a single fold there is no interval over them,
    however many seeds it has: how much folds differ is not seen.
    """
    difference, low, high, _ = paired_difference(a, b, subjects)
    each = training_means(a - b, training)
    found = over_trainings(each, held_out_ratio) if len(set(folds)) > 1 else (np.nan,) * 5
    _, low_trainings, high_trainings, p, se = found
    return {
        "difference": difference,
        "trainings": len(each),
        "low_trainings": low_trainings,
        "high_trainings": high_trainings,
        "se_trainings": se,
        "p": p,
        "low_subjects": low,
        "high_subjects": high,
    }


def training_means(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The mean of the known entries of values (n, k) for each training that has any."""
    known = ~np.isnan(values)
    counts = np.bincount(training, weights=known.sum(axis=1))
    sums = np.bincount(training, weights=np.where(known, values, 0).sum(axis=1))
    return sums[counts > 0] / counts[counts > 0]


def effects(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Comparisons to read: one row instead of one a quantity, each difference with its 95 % interval over
    trainings, as text.

    comparisons: of `comparison_table`, `ablation_table` or `label_comparisons`. The columns that say what is
    compared come first. "over subjects" is the interval of the MRE for other knees and the same networks. p:
    of the MRE over trainings, after Holm. resolved: whether that is 0.05 or less, and if not, how much more
    of a difference would be.
    """
    names = [name for name in comparisons if name not in COMPARED]
    rows = []
    for _, part in comparisons.groupby(names, sort=False):
        by_quantity = part.set_index("quantity")
        mre = by_quantity.loc["mre_mm"]
        pck = [difference_text(by_quantity.loc[f"pck_{radius}"], 1) for radius in ("1", "2.5")]
        subjects = f"{mre['low_subjects']:+.2f} to {mre['high_subjects']:+.2f}"
        p = "-" if np.isnan(mre["p_holm"]) else f"{mre['p_holm']:.3f}"
        counts = mre["knees"], mre["trainings"]
        said = difference_text(mre, 2), subjects, *pck, p, verdict(mre)
        rows.append((*part[names].iloc[0], *counts, *said))
    shown = ["knees", "trainings", "MRE, mm", "over subjects", "PCK @ 1 mm, points", "PCK @ 2.5 mm, points"]
    return pd.DataFrame(rows, columns=[*names, *shown, "p", "resolved"])


def verdict(row: Any) -> str:
    """Whether a comparison's MRE can be told from none: "yes", or what is missing."""
    if np.isnan(row["p_holm"]):
        return f"not resolved: one {'training' if row['trainings'] < 2 else 'fold'}"
    if row["p_holm"] <= LEVEL:
        return "yes"
    more = row["detectable"] - abs(row["low_trainings"] + row["high_trainings"]) / 2
    return f"not resolved: {more:.3f} mm more would be"


def difference_text(row: Any, digits: int) -> str:
    """A difference and its interval over trainings, where it has one: "-0.07 (-0.11 to -0.03)"."""
    difference, low, high = (row[name] for name in ("difference", "low_trainings", "high_trainings"))
    interval = "" if np.isnan(low) else f" ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"{difference:+.{digits}f}{interval}"


def comparison_by_group(runs: list[Run], against: str = "wing") -> pd.DataFrame:
    """Where a setting's difference in MRE from another comes from: by KL grade and by landmark, in mm with 95
    % intervals over trainings and over subjects (`compare_predictions`), without correction.

    group: "kl" or "landmark"; value: which. The same pairs as in `comparison_table`.
    """
    groups, rows = group_runs(runs), []
    for (cohort, profile, setting), group in groups.items():
        if setting == against or (cohort, profile, against) not in groups:
            continue
        both, first, second = paired_errors(
            *(pooled_predictions(part) for part in (group, groups[cohort, profile, against]))
        )
        if not len(both):
            continue
        training = both.groupby(["fold", "seed"]).ngroup().to_numpy()
        parts: list[tuple[Any, ...]] = [
            ("kl", grade, (both["kl"] == grade).to_numpy(), range(landmarks.COUNT))
            for grade in sorted(both["kl"].unique())
        ]
        parts += [
            ("landmark", number, np.ones(len(both), bool), [number]) for number in range(landmarks.COUNT)
        ]
        named = {"setting": setting, "against": against, "cohort": cohort, "profile": profile}
        for kind, value, knees, columns in parts:
            a, b = (errors[knees][:, list(columns)] for errors in (first, second))
            subjects, folds = (both[name][knees] for name in ("subject_id", "fold"))
            found = both_intervals(a, b, subjects, folds, training[knees], held_out_ratio(group))
            rows.append({**named, "group": kind, "value": value, **found})
    return pd.DataFrame(rows, columns=BY_GROUP)


def paired_errors(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """(table of who, errors (n, 16), errors (n, 16)) of the knees and seeds that two predictions tables
    share."""
    names = [f"e{number}" for number in range(landmarks.COUNT)]
    both = ours.merge(theirs, on=["subject_id", "side", "seed"], suffixes=("", "_other"))
    return both, both[names].to_numpy(float), both[[f"{name}_other" for name in names]].to_numpy(float)
