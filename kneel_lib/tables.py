"""Tables from finished runs: one row a setting, always labelled with cohort, profile, folds and seeds."""

from dataclasses import replace

import numpy as np
import pandas as pd

from kneel_lib import landmarks, metrics, paths
from kneel_lib.data.rois import DISPLACED_MM, displacements_mm
from kneel_lib.evaluation import DATASETS, STAGES
from kneel_lib.files import write_text, write_whole
from kneel_lib.runs import AVERAGED, SIMULATED, UNSEEN, errors_of, started_from
from kneel_lib.settings import ONE_CHANGE, SETTINGS, UNLIKE_PAIRS
from kneel_lib.statistics import holm, interval_over_trainings, mean_interval, paired_difference

PAPER_METRICS = tuple(f"pck_{radius:g}" for radius in metrics.THRESHOLDS_MM)
SUMMARY = "table1.csv"
TABLE1_PROFILE = "study"
"""At which all networks of Table 1 are compared."""
METRICS = (*PAPER_METRICS, *(f"strict_{radius:g}" for radius in metrics.THRESHOLDS_MM), "strict_2.5_all16", "mre_mm", "median_mm", "out")
SUMMARY_COLUMNS = ("setting", "cohort", "profile", "spacing_mm", "folds", "seeds", "knees", *METRICS, "minutes_per_fold")
COUNTS = ("folds", "seeds", "knees", "missed", "doubted")
NO_TRUTH = "no_truth.csv"
COMPARED = ("quantity", "knees", "difference", "low", "high", "p", "p_holm", "trainings", "low_trainings", "high_trainings")


def paper_table(number=1):
    """The paper's Table 1 or 2 as a table, a row a setting (percentages; *_sd over the two bones)."""
    return pd.read_csv(paths.DATA / f"paper_table{number}.csv")


def pooled_predictions(runs, roi="truth"):
    """Predictions of all the runs' held-out knees for one ROI centre, with a column seed."""
    tables = [run.predictions[run.predictions["roi"] == roi].assign(seed=run.config["seed"]) for run in runs]
    return pd.concat(tables, ignore_index=True)


def group_runs(runs):
    """{(cohort, profile, setting): [runs]} of cross-validation, of `whole_seeds` alone, in the order of Table 1; transfers are left out."""
    order = {name: place for place, name in enumerate(SETTINGS)}
    groups = {}
    for run in sorted(cross_validated(runs), key=lambda run: (run.config["fold"], run.config["seed"])):
        key = run.config["cohort"], run.config["profile"]["name"], run.config["setting"]["name"]
        groups.setdefault(key, []).append(run)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][1], order.get(item[0][2], len(order))))
    return {key: whole_seeds(group) for key, group in ordered}


def table1_runs(runs):
    """Of these runs those on real crops at the profile of Table 1."""
    return [run for run in runs if (run.config["cohort"], run.config["profile"]["name"]) == ("crops", TABLE1_PROFILE)]


def whole_seeds(runs):
    """The runs of those seeds that have most folds. A seed that was tried on one fold alone would make that fold's knees count twice; it is for `seed_table`."""
    folds = {}
    for run in runs:
        folds.setdefault(run.config["seed"], set()).add(run.config["fold"])
    most = max(map(len, folds.values()), default=0)
    return [run for run in runs if len(folds[run.config["seed"]]) == most]


def steady(runs):
    """The same runs, judged by the moving average of their weights where the rate was constant; those of them that have none are left out.

    At a constant rate the error jumps from epoch to epoch, so that the last one is a draw of luck; a falling rate has settled by itself.
    """
    found = []
    for run in runs:
        averaged = run.predictions[run.predictions["roi"] == AVERAGED]
        if len(averaged):
            found.append(replace(run, predictions=averaged.assign(roi="truth")))
        elif run.config["setting"].get("method", "network") != "network" or run.config["setting"].get("schedule", "constant") != "constant":
            found.append(run)
    return found


def by_weights(make, runs):
    """The table that `make(runs)` gives, with a column weights: of the runs as they ended ("last epoch"), and of the `steady` ones ("averaged") where that differs."""
    def place(run):
        return run.config["cohort"], run.config["profile"]["name"]
    differ = {place(run) for run in runs if (run.predictions["roi"] == AVERAGED).any()}
    settled = steady([run for run in runs if place(run) in differ])
    both = pd.concat([make(runs).assign(weights="last epoch"), make(settled).assign(weights="averaged")])
    return both.drop_duplicates([name for name in both if name not in ("weights", "p_holm")], ignore_index=True)


STARTS = {"": "scratch", "search": "low_cost", **{name: name for name in (SIMULATED, UNSEEN)}}
"""{start of a setting: where `started_from` says that its run began}; of the name of a row it says "row"."""


def cross_validated(runs):
    """The runs that held out a fold of their own cohort and trained on all the rest of it, started as their setting says."""
    return [run for run in runs if isinstance(run.config["fold"], int) and run.config["setting"].get("method") != "search" and "labels" not in run.config
            and started_from(run.config) == STARTS.get(run.config["setting"].get("start", ""), "row")]


LABEL_RECIPES = {"best": "best", "best_finetune": "best", "wing": "wing", "wing_finetune": "wing"}
"""{setting: recipe} of the curve of accuracy over labelled knees: a recipe from scratch, and the same from low-cost labels."""


def label_runs(runs):
    """{(recipe, profile, start, labels): [runs]} of the curve of accuracy over labelled real knees, for the folds and profiles in which it was run.

    start: "scratch", "simulated" (trained before on simulated knees with all landmarks) or "low_cost" (on the tibial centre alone). labels: knees
    trained on; a run on all of a fold's knees counts as the last point.
    """
    real = [(LABEL_RECIPES[run.config["setting"]["name"]], run.config["profile"]["name"], run) for run in runs
            if run.config["cohort"] == "crops" and isinstance(run.config["fold"], int) and run.config["setting"]["name"] in LABEL_RECIPES]
    tried = {(recipe, profile, run.config["fold"]) for recipe, profile, run in real if "labels" in run.config}
    groups = {}
    for recipe, profile, run in sorted(real, key=lambda entry: (entry[2].config["fold"], entry[2].config["seed"])):
        if (recipe, profile, run.config["fold"]) in tried:
            labels = run.config.get("labels", run.config["knees"] - len(run.errors()))
            groups.setdefault((recipe, profile, started_from(run.config), labels), []).append(run)
    return dict(sorted(groups.items()))


def label_table(runs):
    """Accuracy on real knees against the number of labelled real knees (`label_runs`), a row a recipe, start, label count, fold and seed."""
    rows = [{"recipe": recipe, "start": start, "setting": run.config["setting"]["name"], "profile": profile, "labels": labels, "fold": run.config["fold"],
             "seed": run.config["seed"], "knees": len(run.errors()), **metrics.summarise(run.errors())}
            for (recipe, profile, start, labels), group in label_runs(runs).items() for run in group]
    return pd.DataFrame(rows, columns=["recipe", "start", "setting", "profile", "labels", "fold", "seed", "knees", *METRICS])


def label_comparisons(runs):
    """Every start against "scratch" at the same number of labels, paired by knee, fold and seed: the columns of `comparison_table`, with recipe, start and labels."""
    groups, rows = label_runs(runs), []
    for (recipe, profile, start, labels), group in groups.items():
        scratch = groups.get((recipe, profile, "scratch", labels))
        if start != "scratch" and scratch:
            rows += paired_rows(group, scratch, recipe=recipe, start=start, against="scratch", profile=profile, labels=labels)
    return corrected(pd.DataFrame(rows, columns=["recipe", "start", "against", "profile", "labels", *COMPARED]), ["recipe", "profile", "quantity"])


def sim_to_real_table(runs, names=("mean_shape", "best")):
    """Networks trained on simulated knees and tried on real ones, beside the mean shape, and the same with few real labels or those alone.

    trained_on: "simulated", "simulated, then crops" or "crops". real_labels: how many real knees with landmarks were trained on. Rows without
    real labels are tried on all real knees, the others on one held-out fold (`knees` says how many).
    """
    columns = ["trained_on", "tested_on", "setting", "profile", "simulated_knees", "real_labels", "fold", "seed", "knees", "strict_2.5_all16", "mre_mm", "median_mm", "out"]
    origins = [(run, sim_to_real_labels(run.config)) for run in runs if run.config["setting"]["name"] in names]
    rows = [{**origin, **metrics.summarise(run.errors()), "setting": run.config["setting"]["name"], "profile": run.config["profile"]["name"],
             "tested_on": "crops", "fold": run.config["fold"], "seed": run.config["seed"], "knees": len(run.errors())} for run, origin in origins if origin]
    return pd.DataFrame(rows, columns=columns).sort_values(["setting", "profile", "trained_on", "real_labels", "seed"], ignore_index=True)


def sim_to_real_labels(config):
    """What a run of this config was trained on, for `sim_to_real_table`; None if it does not belong there.

    A run that started from another does not say how many simulated knees that one saw: the transfer's own row does.
    """
    if config["fold"] == "all" and config["target"] == "crops":
        return {"trained_on": config["cohort"], "simulated_knees": config["knees"], "real_labels": 0}
    if config["cohort"] == "crops" and "labels" in config and started_from(config) in ("scratch", "simulated"):
        scratch = started_from(config) == "scratch"
        return {"trained_on": "crops" if scratch else "simulated, then crops", "simulated_knees": 0 if scratch else None, "real_labels": config["labels"]}
    return None


SEARCH_COLUMNS = ("cohort", "profile", "spacing_mm", "folds", "seeds", "knees", *PAPER_METRICS, "mre_mm", "median_mm", "worst_mm", "out", "minutes_per_fold")


def search_table(runs):
    """The ROI search of section 4.4 out of fold: PCK of the tibial centre in percent, and knees (percent) missed by 10 mm or more; a row a cohort and profile."""
    rows, groups = [], {}
    for run in runs:
        if run.config["setting"].get("method") == "search" and isinstance(run.config["fold"], int):
            groups.setdefault((run.config["cohort"], run.config["profile"]["name"]), []).append(run)
    for (cohort, profile), group in sorted(groups.items()):
        errors = errors_of(pooled_predictions(group, "image"))[:, landmarks.CENTRE]
        rows.append({"cohort": cohort, "profile": profile, "spacing_mm": group[0].config["profile"]["spacing_mm"], **counted(group),
                     **{f"pck_{radius:g}": metrics.share_within(errors, radius) for radius in metrics.THRESHOLDS_MM},
                     "mre_mm": errors.mean(), "median_mm": np.median(errors), "worst_mm": errors.max(), "out": 100 * float(np.mean(errors >= metrics.OUTLIER_MM))})
    return pd.DataFrame(rows, columns=SEARCH_COLUMNS)


OA_GRADES = {"all": range(5), "no": range(2), "yes": range(2, 5)}
"""Radiographic osteoarthritis: Kellgren-Lawrence grade 2 and up."""

TEST_COLUMNS = ("dataset", "method", "oa", "trained_on", "profile", "spacing_mm", "folds", "seeds", "knees", "missed", "doubted", *METRICS, "minutes_per_fold")


def test_set_runs(runs):
    """The evaluations of whole pipelines on test sets, in the order of the paper's Table 2."""
    chosen = [run for run in runs if run.config["fold"] == "test"]
    return sorted(chosen, key=lambda run: (DATASETS.index(run.config["cohort"]), run.config["profile"]["name"], list(STAGES).index(run.config["setting"]["name"])))


def test_set_table(runs):
    """Table 2: a row a test set, pipeline and group of knees (oa: radiographic osteoarthritis). PCK of landmarks 0, 4, 8 and 9, 12, 15.

    folds: how many fold models are averaged. missed: knees that the search did not find; doubted: those with an answer that is not to be trusted.
    """
    rows = []
    for run in test_set_runs(runs):
        config = run.config
        for oa, grades in OA_GRADES.items():
            knees = run.predictions[run.predictions["kl"].isin(grades)]
            errors = errors_of(knees)
            lost = metrics.lost_knees(errors)
            if len(knees):
                rows.append({"dataset": config["cohort"], "method": config["setting"]["name"], "oa": oa, "trained_on": config["trained_on"],
                             "profile": config["profile"]["name"], "spacing_mm": config["profile"]["spacing_mm"], "folds": len(config["networks"]["landmarks"]),
                             "seeds": 1, "knees": len(knees), "missed": int(lost.sum()), "doubted": int((~knees["trusted"] & ~lost).sum()),
                             **metrics.summarise(errors, landmarks.TABLE2), "minutes_per_fold": run.manifest["train_seconds"] / 60})
    return pd.DataFrame(rows, columns=TEST_COLUMNS)


def counted(runs):
    """How many folds, seeds and knees there are in runs of one setting, and how long they took: epochs times the median epoch, since a machine may have been paused."""
    knees = pd.concat([run.predictions[["subject_id", "side"]] for run in runs]).drop_duplicates()
    return {"folds": len({run.config["fold"] for run in runs}), "seeds": len({run.config["seed"] for run in runs}), "knees": len(knees),
            "minutes_per_fold": np.mean([run.history["seconds"].median() * len(run.history) for run in runs]) / 60}


def summary_row(runs, roi="truth"):
    """One row of results/table1.csv from the runs of one setting (their knees pooled over folds and seeds)."""
    config = runs[0].config
    return {"setting": config["setting"]["name"], "cohort": config["cohort"], "profile": config["profile"]["name"],
            "spacing_mm": config["profile"]["spacing_mm"], **counted(runs), **metrics.summarise(errors_of(pooled_predictions(runs, roi)))}


def summary_table(runs, roi="truth"):
    """A row for each setting, profile and cohort among the runs; the columns of results/table1.csv."""
    return pd.DataFrame([summary_row(group, roi) for group in group_runs(runs).values()], columns=SUMMARY_COLUMNS)


def interval_table(runs, roi="truth"):
    """MRE, the paper's PCK, and strict PCK over all 16 landmarks, with 95 % intervals (bootstrap over subjects), a row a setting."""
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        predictions = pooled_predictions(group, roi)
        errors, subjects = errors_of(predictions), predictions["subject_id"]
        scored = metrics.lost_outside(errors)
        quantities = {"mre_mm": errors, **{f"pck_{radius:g}": metrics.within(metrics.bone_errors(scored), radius) for radius in metrics.THRESHOLDS_MM},
                      **{f"strict_{radius:g}_all16": metrics.within(scored, radius) for radius in metrics.THRESHOLDS_MM}}
        for quantity, values in quantities.items():
            mean, low, high = mean_interval(values, subjects)
            rows.append({"setting": setting, "cohort": cohort, "profile": profile, "folds": len({run.config["fold"] for run in group}), "quantity": quantity,
                         "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def comparison_table(runs, against="wing", roi="truth"):
    """Every setting against one of them, paired by knee, fold and seed: difference, 95 % interval (bootstrap over subjects), p by Holm.

    quantity: mre_mm, or pck_1 and pck_2.5 in points of the paper's version. Holm's family are the settings of one cohort,
    profile and quantity. Only knees and seeds that both have are compared.
    """
    return compare_groups(group_runs(runs), lambda setting: None if setting == against else against, roi)


def switch_table(runs):
    """The effect of one switch at a time (`settings.ONE_CHANGE`): `comparison_table` of each row with the one that it differs from in one thing, which `switch` names."""
    relatives = {setting: relative for setting, (relative, _) in ONE_CHANGE.items()}
    table = compare_groups(group_runs(runs), relatives.get)
    table.insert(0, "switch", [ONE_CHANGE[setting][1] for setting in table["setting"]])
    return table


def compare_groups(groups, reference, roi="truth"):
    """`comparison_table` of groups (`group_runs`), each setting against `reference(setting)` of the same cohort and profile where that is among them."""
    rows = []
    for (cohort, profile, setting), group in groups.items():
        against = reference(setting)
        if (cohort, profile, against) in groups:
            rows += paired_rows(group, groups[cohort, profile, against], roi, setting=setting, against=against, cohort=cohort, profile=profile)
    table = pd.DataFrame(rows, columns=["setting", "against", "cohort", "profile", *COMPARED])
    return corrected(table, ["cohort", "profile", "quantity"])


def paired_rows(ours, theirs, roi="truth", **named):
    """The rows of `comparison_table` of two lists of runs, with the columns `named` in front."""
    return [{**named, **row} for row in compare_predictions(*(pooled_predictions(runs, roi) for runs in (ours, theirs)))]


def unlike_pairs(runs, pairs=UNLIKE_PAIRS):
    """The pairs of rows at real crops that differ in more than one thing (`settings.UNLIKE_PAIRS`), compared as in `comparison_table` where both have been run.

    minutes, minutes_against: a fold's training. Only knees that both have been tried on are compared.
    """
    groups, rows = group_runs(runs), []
    for (profile, setting), (other_profile, other) in pairs:
        ours, theirs = groups.get(("crops", profile, setting)), groups.get(("crops", other_profile, other))
        if ours and theirs:
            rows += paired_rows(ours, theirs, setting=setting, profile=profile, minutes=counted(ours)["minutes_per_fold"], against=other, against_profile=other_profile,
                                minutes_against=counted(theirs)["minutes_per_fold"])
    return corrected(pd.DataFrame(rows, columns=["setting", "profile", "minutes", "against", "against_profile", "minutes_against", *COMPARED]), ["quantity"])


def corrected(table, family):
    """The comparisons with p_holm filled in: Holm's correction over the rows that agree in the columns `family`."""
    for _, rows in table.groupby(family):
        table.loc[rows.index, "p_holm"] = holm(rows["p"])
    return table


def seed_table(runs):
    """The luck of a training: how the MRE of one setting on one fold differs from seed to seed, where there are two seeds or more. sd_mm: standard deviation over seeds."""
    groups = {}
    for run in cross_validated(runs):
        key = run.config["setting"]["name"], run.config["cohort"], run.config["profile"]["name"], run.config["fold"]
        groups.setdefault(key, {})[run.config["seed"]] = run.errors().mean()
    rows = [dict(zip(("setting", "cohort", "profile", "fold"), key), seeds=len(found), mre_mm=np.mean(list(found.values())), sd_mm=np.std(list(found.values()), ddof=1),
                 least_mm=min(found.values()), most_mm=max(found.values())) for key, found in groups.items() if len(found) > 1]
    return pd.DataFrame(rows, columns=["setting", "cohort", "profile", "fold", "seeds", "mre_mm", "sd_mm", "least_mm", "most_mm"])


def picked_table(runs):
    """How optimistic it is to report the best epoch on the very fold that it was picked on, as the released code does; a row a run of the control "picked".

    last_mm: MRE of the held-out fold after the last epoch. best_mm: after the best one (best_epoch). optimism_mm: what lies between.
    """
    rows = []
    for run in cross_validated(runs):
        if run.config["setting"].get("picked"):
            curve = run.history.set_index("epoch")["held_out_mre"]
            rows.append({"setting": run.config["setting"]["name"], "cohort": run.config["cohort"], "profile": run.config["profile"]["name"], "fold": run.config["fold"],
                         "seed": run.config["seed"], "last_mm": curve.iloc[-1], "best_mm": curve.min(), "best_epoch": curve.idxmin(), "optimism_mm": curve.iloc[-1] - curve.min()})
    return pd.DataFrame(rows, columns=["setting", "cohort", "profile", "fold", "seed", "last_mm", "best_mm", "best_epoch", "optimism_mm"])


def compare_predictions(ours, theirs):
    """The rows of `comparison_table` of two predictions tables.

    low_trainings, high_trainings: the 95 % interval by Student's t over the pairs of trainings (a fold and seed each), where there are two or more. It
    knows the luck of a training, which the bootstrap over subjects does not, and it is wide where trainings are few. No rows where the two share nothing.
    """
    both, first, second = paired_errors(ours, theirs)
    if not len(both):
        return
    training = both.groupby(["fold", "seed"]).ngroup().to_numpy()
    quantities = {"mre_mm": (first, second)}
    for radius in (1, 2.5):
        quantities[f"pck_{radius:g}"] = tuple(metrics.within(metrics.bone_errors(metrics.lost_outside(errors)), radius) for errors in (first, second))
    for quantity, (a, b) in quantities.items():
        difference, low, high, p = paired_difference(a, b, both["subject_id"])
        each = [np.nanmean(a[training == number] - b[training == number]) for number in np.unique(training)]
        _, low_trainings, high_trainings = interval_over_trainings(each) if len(each) > 1 else (np.nan,) * 3
        yield {"quantity": quantity, "knees": both.groupby(["subject_id", "side"]).ngroups, "difference": difference, "low": low, "high": high, "p": p, "p_holm": np.nan,
               "trainings": len(each), "low_trainings": low_trainings, "high_trainings": high_trainings}


def effects(comparisons):
    """Comparisons to read: one row instead of one a quantity, each difference with its 95 % interval over subjects, as text.

    comparisons: of `comparison_table`, `switch_table` or `label_comparisons`. The columns that say what is compared come first. "over trainings" is the interval of the
    MRE over pairs of trainings (their number in brackets), "-" where there is but one. p: of the MRE, after Holm.
    """
    names = [name for name in comparisons if name not in COMPARED]
    rows = []
    for _, part in comparisons.groupby(names, sort=False):
        by_quantity = part.set_index("quantity")
        mre = by_quantity.loc["mre_mm"]
        over = f"{mre['low_trainings']:+.2f} to {mre['high_trainings']:+.2f} ({mre['trainings']})" if mre["trainings"] > 1 else "-"
        rows.append({**part.iloc[0][names], "knees": mre["knees"], "MRE, mm": difference_text(mre, 2), "over trainings": over,
                     **{f"PCK @ {radius} mm, points": difference_text(by_quantity.loc[f"pck_{radius}"], 1) for radius in ("1", "2.5")}, "p": f"{mre['p_holm']:.3f}"})
    return pd.DataFrame(rows, columns=[*names, "knees", "MRE, mm", "over trainings", "PCK @ 1 mm, points", "PCK @ 2.5 mm, points", "p"])


def difference_text(row, digits):
    """A difference and its interval: "-0.07 (-0.09 to -0.05)"."""
    return f"{row['difference']:+.{digits}f} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})"


def comparison_by_group(runs, against="wing", roi="truth"):
    """Where a setting's difference in MRE from another comes from: by KL grade and by landmark, in mm with 95 % intervals, without correction.

    group: "kl" or "landmark"; value: which. The same pairs as in `comparison_table`.
    """
    groups, rows = group_runs(runs), []
    for (cohort, profile, setting), group in groups.items():
        if setting == against or (cohort, profile, against) not in groups:
            continue
        both, first, second = paired_errors(*(pooled_predictions(part, roi) for part in (group, groups[cohort, profile, against])))
        if not len(both):
            continue
        parts = [("kl", grade, (both["kl"] == grade).to_numpy(), range(landmarks.COUNT)) for grade in sorted(both["kl"].unique())]
        parts += [("landmark", number, np.ones(len(both), bool), [number]) for number in range(landmarks.COUNT)]
        for kind, value, knees, columns in parts:
            difference, low, high, _ = paired_difference(first[knees][:, list(columns)], second[knees][:, list(columns)], both["subject_id"][knees])
            rows.append({"setting": setting, "against": against, "cohort": cohort, "profile": profile, "group": kind, "value": value, "difference": difference, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["setting", "against", "cohort", "profile", "group", "value", "difference", "low", "high"])


def paired_errors(ours, theirs):
    """(table of who, errors (n, 16), errors (n, 16)) of the knees and seeds that two predictions tables share."""
    names = [f"e{number}" for number in range(landmarks.COUNT)]
    both = ours.merge(theirs, on=["subject_id", "side", "seed"], suffixes=("", "_other"))
    return both, both[names].to_numpy(float), both[[f"{name}_other" for name in names]].to_numpy(float)


def cost_without_truth(runs):
    """How much the MRE grows, in mm, when nothing true places the ROI: paired by knee, with 95 % intervals, a row a setting."""
    rows = []
    for (cohort, profile, setting), group in group_runs(runs).items():
        truth, image = (pooled_predictions(group, roi) for roi in ("truth", "image"))
        mean, low, high = mean_interval(errors_of(image) - errors_of(truth), truth["subject_id"])
        rows.append({"setting": setting, "cohort": cohort, "profile": profile, "mre_growth_mm": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def beside_paper(summary):
    """The paper's Table 1 in the paper's form with the rows of `summary` beside it; the column groups name their origin.

    summary: of `summary_table`. A column `origin`, if it has one, is the name of a row's group; else the group is called by cohort and profile.
    """
    paper = paper_table().set_index("setting")
    parts = {("", "setting"): paper["label"], **{("paper", name): paper[name] for name in (*PAPER_METRICS, "out")}}
    named = "origin" in summary
    for origin, rows in summary.groupby(summary["origin"] if named else summary["cohort"] + ", " + summary["profile"], sort=False):
        rows = rows.set_index("setting")
        parts |= {(origin, name): rows[name] for name in (*PAPER_METRICS, "out", "mre_mm", "folds", *(["profile"] if named else []))}
    names = [*paper.index, *(name for name in SETTINGS if name not in paper.index and name in set(summary["setting"]))]
    table = pd.DataFrame({column: values.reindex(names) for column, values in parts.items()})
    table[("", "setting")] = row_labels(names)
    return table


def recorded_rows(runs):
    """`summary_table` of the runs on real crops, one row a setting: at the profile of Table 1 where it was run there, else where it has most folds (then the finest pixels)."""
    summary = summary_table(runs)
    real = summary[summary["cohort"] == "crops"].assign(elsewhere=lambda rows: rows["profile"] != TABLE1_PROFILE)
    ordered = real.sort_values(["elsewhere", "folds", "spacing_mm"], ascending=[True, False, True], kind="stable")
    return ordered.drop_duplicates("setting").drop(columns="elsewhere").sort_index()


def row_labels(names):
    """How the paper's table names these settings, or where it has no such row, how ours does."""
    paper = paper_table().set_index("setting")["label"]
    return [paper.get(name) or SETTINGS[name].label for name in names]


def chosen_rows(runs, names):
    """`beside_paper` of these runs for the settings `names` alone, in that order; those without a run are left empty.

    Where weights were averaged (`steady`) a second group of columns has the same runs so; rows with a falling rate are the same in both.
    """
    parts = [summary_table(runs)]
    if any((run.predictions["roi"] == AVERAGED).any() for run in runs):
        parts.append(summary_table(steady(runs)).assign(profile=lambda rows: rows["profile"] + ", averaged"))
    return beside_paper(pd.concat(parts)).set_index(("", "setting")).reindex(row_labels(names)).rename_axis("setting")


def by_grade(runs, roi="truth"):
    """MRE, median and knees with an outlier for each KL grade of one setting's runs."""
    predictions = pooled_predictions(runs, roi)
    rows = []
    for grade, knees in predictions.groupby("kl"):
        errors = errors_of(knees)
        mean, low, high = mean_interval(errors, knees["subject_id"])
        rows.append({"kl": grade, "knees": len(knees), "mre_mm": mean, "low": low, "high": high,
                     "median_mm": metrics.median_error(errors), "out": metrics.outliers_paper(errors)})
    return pd.DataFrame(rows)


def by_displacement(runs, step_mm=2.0):
    """Final against initial error: MRE of ROIs cut off the truth (`rois.displacements_mm`), a row a setting and range of displacement.

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
                rows.append({"setting": setting, "cohort": cohort, "profile": profile, "from_mm": start, "to_mm": start + step_mm, "knees": len(knees),
                             "mre_mm": mean, "low": low, "high": high, "median_mm": metrics.median_error(errors), "out": metrics.outliers_paper(errors)})
    return pd.DataFrame(rows, columns=["setting", "cohort", "profile", "from_mm", "to_mm", "knees", "mre_mm", "low", "high", "median_mm", "out"])


def write_table(table, path):
    """A table as csv, written whole or not at all."""
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.3f"))


def export(table, folder, name):
    """The table as csv, markdown and LaTeX under `folder`; returns the three paths. Missing cells stay empty."""
    flat = table.copy()
    if isinstance(flat.columns, pd.MultiIndex):
        flat.columns = [": ".join(part for part in column if part) for column in flat.columns]
    text = as_text(flat)
    written = {"csv": text.to_csv(index=False), "md": markdown(text), "tex": latex(text)}
    files = []
    for ending, content in written.items():
        files.append(folder / f"{name}.{ending}")
        write_text(files[-1], content)
    return files


def as_text(table, digits=1):
    """The table with every cell as text: percentages to `digits` places, millimetres (*_mm) to one more, counts (`COUNTS`) whole, missing ones empty."""
    def column_as_text(column):
        name = (column.name[-1] if isinstance(column.name, tuple) else column.name).split(": ")[-1]
        places = 0 if name in COUNTS else digits + name.endswith("_mm")
        return column.map(lambda value: value if isinstance(value, str) else "" if pd.isna(value) else f"{value:.{places}f}")
    return table.apply(column_as_text).astype(object)


def markdown(table):
    """A table of texts as a markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def latex(table):
    """A table of texts as a LaTeX tabular (needs booktabs)."""
    def escape(text):
        for sign, replacement in {"%": r"\%", "_": r"\_", "&": r"\&", "α": r"$\alpha$"}.items():
            text = text.replace(sign, replacement)
        return text
    rows = [" & ".join(map(escape, line)) + r" \\" for line in [list(table.columns), *table.to_numpy().tolist()]]
    frame = r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}", r"\toprule"
    return "\n".join([*frame, rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"
