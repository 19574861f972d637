"""Training speed, one change at a time from the released recipe to ours, and what each change costs in accuracy.

    python benchmarks/training_speed.py [--profiles paper study] [--rounds 3] [--accuracy quick]

Writes the rows `train` of results/speed.csv (a row a profile and recipe), results/speed_sizes.csv (our recipe, one size changed at a time) and
results/speed_profile.csv (where a step's time goes). Run it on a machine that does nothing else. Accuracy: fold 0, trained at the profile named by
--accuracy under each recipe, seed 0; differences are paired, each recipe against the one before.
"""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd

from kneel_lib import speed, tables
from kneel_lib.data.cohorts import load_cohort
from kneel_lib.data.folds import make_folds
from kneel_lib.paths import RESULTS
from kneel_lib.settings import find_profile

KNEES, BATCH_AT_PAPER = 32, 8


def ladder(profile, cohort, rounds):
    """A row a recipe at this profile: rate, ratio, memory, operations, share of the machine's limit."""
    recipes = (*speed.LADDER, speed.COMPILED) if profile.name == "study" else speed.LADDER
    rois = speed.training_rois(cohort.select(slice(0, KNEES)), profile)
    rates = speed.rates(recipes, rois, profile, rounds)
    limits = {precision: speed.matrix_rate(precision) for precision in {recipe.precision for recipe in recipes}}
    first = rates[recipes[0].name]
    rows = []
    for recipe in recipes:
        work = speed.operations(recipe.network, profile)
        rows.append({"what": "train", "step": recipe.name, "profile": profile.name, "size_px": profile.size_px, "batch": profile.batch, "images_per_s": rates[recipe.name],
                     "ratio": rates[recipe.name] / first, "peak_mb": speed.peak_mb(recipe, rois, profile), "gflop_per_image": work,
                     "limit_share": work * rates[recipe.name] / limits[recipe.precision], "machine": speed.machine()})
        print(f"{profile.name}, {recipe.name}: {rates[recipe.name]:.2f} images/s", flush=True)
    return rows


def accuracy(profile, cohort):
    """{recipe's name: MRE and difference from the recipe before} on fold 0."""
    known, held_out = make_folds(cohort)[0]
    subjects, before, found = cohort.knees["subject_id"].to_numpy()[held_out], None, {}
    for recipe in speed.LADDER:
        errors = speed.held_out_errors(recipe, cohort, known, held_out, profile)
        found[recipe.name] = {**speed.cost_in_accuracy(errors, before, subjects), "accuracy": f"{cohort.name}, {profile.name}, fold 0, seed 0, {len(held_out)} knees"}
        print(f"{recipe.name}: MRE {found[recipe.name]['mre_mm']:.3f} mm", flush=True)
        before = errors
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="*", default=["paper", "study"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accuracy", default="quick", help="profile of the comparison in accuracy")
    parser.add_argument("--cohort", default="auto")
    options = parser.parse_args()
    cohort = load_cohort(options.cohort)
    rows = []
    for name in options.profiles:
        profile = find_profile(name)
        rows += ladder(replace(profile, batch=BATCH_AT_PAPER) if name == "paper" else profile, cohort, options.rounds)
    costs = accuracy(find_profile(options.accuracy), cohort)
    nothing = {"mre_mm": np.nan}
    speed.record(pd.DataFrame([{**row, **costs.get(row["step"], nothing)} for row in rows]))
    study = find_profile("study")
    sizes = pd.DataFrame(speed.rates_over_sizes(cohort.select(slice(0, KNEES)), study)).assign(profile=study.name, machine=speed.machine())
    tables.write_table(sizes, RESULTS / "speed_sizes.csv")
    rois = speed.training_rois(cohort.select(slice(0, KNEES)), study)
    shares = [{"recipe": recipe.name, "kind": kind, "share": share, "profile": study.name, "machine": speed.machine()}
              for recipe in (speed.PAPER, speed.OURS) for kind, share in speed.time_by_kind(recipe, rois, study).items()]
    tables.write_table(pd.DataFrame(shares), RESULTS / "speed_profile.csv")


if __name__ == "__main__":
    main()
