"""`python -m studies.labels`: whose truth? Writes annotation_stages.csv, error_split.csv,
error_split_test_sets.csv, label_floor.csv and conformal_regions.csv under results/ from the recorded runs,
the labels and both stages of the annotation.

With --noise: is the floor told right? Writes label_noise.csv from simulated knees with spoilt labels, on
which systems are trained where that is missing."""

import argparse
import sys

import pandas as pd

from kneel_lib import paths
from kneel_lib.cli import carry_out

SYSTEMS = {
    "crops_first": ("best", "rfrv_clm", "clm_igo"),
    "crops_voted": ("best", "rfrv_clm"),
    "crops": ("best", "rfrv_clm", "clm_igo"),
}
"""{cohort: settings that are recorded on five folds of it at profile native}, the network first."""


def write_tables(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.store import recorded_runs
    from kneel_lib.reporting.export import write_table
    from studies.labels import edits, floor, regions, split, test_sets
    from studies.labels.predictions import System
    from studies.labels.stages import load_stages

    runs = recorded_runs()
    systems = {
        cohort: [System(cohort, setting, "native") for setting in settings]
        for cohort, settings in SYSTEMS.items()
    }
    stages = load_stages()
    compared = [
        edits.head_to_head(stages, system, runs) for several in systems.values() for system in several
    ]
    made = {
        "annotation_stages.csv": pd.concat([edits.edit_rows(stages), *compared], ignore_index=True),
        "label_floor.csv": pd.concat(
            [floor.floor_table(runs, cohort, several) for cohort, several in systems.items()],
            ignore_index=True,
        ),
        "conformal_regions.csv": pd.concat(
            [regions.region_table(runs, cohort) for cohort in systems], ignore_index=True
        ),
        "error_split.csv": split.split_table(runs),
        "error_split_test_sets.csv": test_sets.split_table(runs),
    }
    for name, table in made.items():
        write_table(table, paths.RESULTS / name)
        print(f"{len(table)} rows in {paths.shown(paths.RESULTS / name)}")
    return 0


def write_noise(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.profiles import find_profile
    from kneel_lib.reporting.export import write_table
    from studies.labels.noise import noise_table

    profile = find_profile(options.profile)
    table = noise_table(load_cohort("simulated", profile.simulated), profile)
    write_table(table, paths.RESULTS / "label_noise.csv")
    print(f"{len(table)} rows in {paths.shown(paths.RESULTS / 'label_noise.csv')}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.labels", description=__doc__)
    parser.add_argument("--noise", action="store_true", help="the floor on labels with errors of known size")
    parser.add_argument("--profile", default="long", help="of --noise")
    options = parser.parse_args(arguments)
    return carry_out(options, write_noise if options.noise else write_tables)


if __name__ == "__main__":
    sys.exit(main())
