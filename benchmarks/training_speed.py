"""Training speed, one change at a time from the released recipe to ours, and what each change costs in accuracy.

    python benchmarks/training_speed.py [--parts ladder memory accuracy cores sizes shares] [--rounds 3]

Writes the rows `train` (a row a profile and recipe) and `cores` of results/speed.csv, results/speed_accuracy.csv, results/speed_sizes.csv (our recipe,
one size changed at a time) and results/speed_profile.csv (where a step's time goes). Run it on a machine that does nothing else (but for the part
"accuracy", which takes longest and is not timed). Accuracy: fold 0, trained at the profile named by
--accuracy under each recipe, seed 0; differences are paired, each recipe against the one before, and their intervals hold the spread over subjects and over seeds.
"""

import argparse
import os
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import torch

from kneel_lib import memory, runs, speed, tables
from kneel_lib.data.cohorts import load_cohort
from kneel_lib.data.folds import make_folds
from kneel_lib.paths import RESULTS
from kneel_lib.settings import BEST, find_profile

KNEES, BATCH_AT_PAPER, SHORT_STEPS = 32, 8, 15
LUCK_SEEDS = range(5)
ACCURACY = RESULTS / "speed_accuracy.csv"
PARTS = ("ladder", "memory", "accuracy", "cores", "sizes", "shares")


def ladder(profile, cohort, rounds, recipes=speed.LADDER, spread=True):
    """A row a recipe at this profile, then (spread) the rungs of a process a core: rate, ratio, operations, share of the machine's limit."""
    rois = speed.training_rois(cohort.select(slice(0, KNEES)), profile)
    steps = speed.STEPS_A_ROUND if profile.size_px > 256 else SHORT_STEPS
    rates = speed.rates(recipes, rois, profile, rounds, steps)
    limits = {precision: speed.matrix_rate(precision) for precision in {recipe.precision for recipe in recipes}}
    first, rows = rates[recipes[0].name], []

    def add(recipe, name, rate):
        work = speed.operations(recipe.network, profile)
        rows.append({"what": "train", "step": name, "profile": profile.name, "size_px": profile.size_px, "batch": profile.batch, "images_per_s": rate, "ratio": rate / first,
                     "gflop_per_image": work, "limit_share": work * rate / limits[recipe.precision], "machine": speed.machine()})
        print(f"{profile.name}, {name}: {rate:.2f} images/s, {100 * rows[-1]['limit_share']:.0f} % of the limit", flush=True)
    for recipe in recipes:
        add(recipe, recipe.name, rates[recipe.name])
    for rung, rate in speed.spread_rates(rois, profile, rounds, steps).items() if spread else ():
        add(speed.SPREAD_LADDER[rung][0], rung, rate)
    return rows


def accuracy(profile, cohort, rungs=()):
    """results/speed_accuracy.csv: a row a recipe, MRE on fold 0 and difference from the recipe before. rungs: measure these alone again, and keep the other rows.

    From the paper's network on: the released one is another method, compared in Table 1 (row "released_network"). The recipe of the study itself is trained with LUCK_SEEDS,
    so that the interval of a difference knows how much of it is the luck of a run.
    """
    known, held_out = make_folds(cohort)[0]
    subjects, climbed = cohort.knees["subject_id"].to_numpy()[held_out], (*speed.LADDER[1:], speed.OURS)

    @cache
    def errors_of(recipe):
        errors = speed.held_out_errors(recipe, cohort, known, held_out, profile)
        print(f"{recipe.name}: MRE {errors.mean():.3f} mm", flush=True)
        return errors
    rows = [{"step": recipe.name, **speed.cost_in_accuracy(errors_of(recipe), before and errors_of(before), subjects),
             "accuracy": f"{cohort.name}, {profile.name}, fold 0, seed 0, {len(held_out)} knees"} for before, recipe in zip((None, *climbed), climbed) if not rungs or recipe.name in rungs]
    seeds = [runs.get_run(BEST, profile, cohort, 0, seed).errors().mean() for seed in LUCK_SEEDS]
    measured = speed.with_luck(pd.DataFrame(rows), seeds).assign(luck_mm=np.std(seeds, ddof=1), luck_seeds=len(seeds))
    kept = pd.read_csv(ACCURACY) if rungs else measured[:0]
    tables.write_table(pd.concat([part for part in (kept[~kept["step"].isin(rungs)], measured) if len(part)]), ACCURACY)
    table = pd.read_csv(RESULTS / "speed.csv")
    speed.record(with_accuracy(table[table["what"] == "train"]))


def with_accuracy(table):
    """The rows `train` with the accuracy that was measured last."""
    columns = ["mre_mm", "difference", "low", "high", "accuracy"]
    measured = pd.read_csv(ACCURACY) if ACCURACY.is_file() else pd.DataFrame(columns=["step", *columns])
    return table.drop(columns=columns, errors="ignore").merge(measured, on="step", how="left")


def timing(profiles, cohort, rounds):
    """The rows `train` and `compile` of results/speed.csv."""
    rows = [row for profile in profiles for row in ladder(profile, cohort, rounds)]
    rows += [row | {"what": "compile"} for row in ladder(profiles[-1], cohort, rounds, (speed.FUSED_ADAM, speed.COMPILED), spread=False)]
    speed.record(with_accuracy(pd.DataFrame(rows)))


def peaks(profiles, cohort):
    """The column `peak_mb` of the rows `train` that are there; of a process a core: of all of them together."""
    table = pd.read_csv(RESULTS / "speed.csv")
    for profile in profiles:
        rois = speed.training_rois(cohort.select(slice(0, KNEES)), profile)
        most = {recipe.name: speed.peak_mb(recipe, rois, profile) for recipe in speed.LADDER}
        most |= {rung: torch.get_num_threads() * speed.peak_mb(recipe, rois, profile, kept, threads=1) for rung, (recipe, kept) in speed.SPREAD_LADDER.items()}
        rows = (table["what"] == "train") & (table["profile"] == profile.name)
        table.loc[rows, "peak_mb"] = table.loc[rows, "step"].map(most)
    speed.record(table[table["what"] == "train"])


def cores(profile, cohort):
    """The rows `cores` of results/speed.csv."""
    used = speed.rates_by_cores(speed.training_rois(cohort.select(slice(0, KNEES)), profile), profile)
    speed.record(pd.DataFrame([{"what": "cores", "step": step, "images_per_s": rate, "ratio": rate / next(iter(used.values())), "profile": profile.name,
                                "size_px": profile.size_px, "batch": profile.batch, "machine": speed.machine()} for step, rate in used.items()]))


def sizes(profile, cohort):
    """results/speed_sizes.csv."""
    few = cohort.select(slice(0, KNEES))
    tables.write_table(pd.DataFrame(speed.rates_over_sizes(few, profile)).assign(profile=profile.name, machine=speed.machine()), RESULTS / "speed_sizes.csv")


def shares(profiles, cohort):
    """results/speed_profile.csv: where the time of a step goes."""
    rows = []
    for profile in profiles:
        rois = speed.training_rois(cohort.select(slice(0, KNEES)), profile)
        rows += [{"recipe": recipe.name, "kind": kind, "share": share, "profile": profile.name, "machine": speed.machine()}
                 for recipe in (speed.PAPER, speed.FUSED_ADAM, speed.OURS) for kind, share in speed.time_by_kind(recipe, rois, profile).items()]
    tables.write_table(pd.DataFrame(rows), RESULTS / "speed_profile.csv")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--profiles", nargs="*", default=["paper", "study"], help="of the ladder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accuracy", default="quick", help="profile of the comparison in accuracy")
    parser.add_argument("--rungs", nargs="*", help="of the comparison in accuracy: measure these alone again")
    parser.add_argument("--cohort", default="auto")
    options = parser.parse_args()
    if memory.without(os.environ.get(memory.VARIABLE, "")) != os.environ.get(memory.VARIABLE, ""):
        parser.error(f"{memory.VARIABLE} keeps freed memory already, which is a rung of the ladder: unset it")
    cohort, study = load_cohort(options.cohort), find_profile("study")
    profiles = [replace(find_profile(name), batch=BATCH_AT_PAPER) if name == "paper" else find_profile(name) for name in options.profiles]
    work = {"accuracy": lambda: accuracy(find_profile(options.accuracy), cohort, options.rungs or ()), "ladder": lambda: timing(profiles, cohort, options.rounds),
            "memory": lambda: peaks(profiles, cohort),
            "cores": lambda: cores(study, cohort), "sizes": lambda: sizes(study, cohort), "shares": lambda: shares(profiles, cohort)}
    for part in options.parts:
        work[part]()


if __name__ == "__main__":
    main()
