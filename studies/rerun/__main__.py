"""`python -m studies.rerun`: does a training end where the record says? Makes recorded runs once more, and
writes how far both lie apart to results/reruns.csv: a row a run, machine and kind of weights. Rows of other
machines stay."""

import argparse
import sys

import pandas as pd

from kneel_lib import paths
from kneel_lib.cli import carry_out

NAMED = ["setting", "cohort", "profile", "fold", "seed", "weights", "recorded_on", "again_on"]
"""What a row is about; a newer one takes the place of an older."""


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.rerun", description=__doc__)
    parser.add_argument("setting", nargs="?", default="wing")
    parser.add_argument("--cohort", default="crops")
    parser.add_argument("--profile", default="study")
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--seed", type=int, default=0)
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    from kneel_lib.errors import KneelError
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.profiles import find_profile
    from kneel_lib.experiment.rows import find_setting
    from kneel_lib.experiment.runs import get_run
    from kneel_lib.experiment.spec import plan
    from kneel_lib.experiment.store import record_of, recorded_in
    from kneel_lib.reporting.export import write_table
    from studies.rerun.compare import compared

    setting, profile = find_setting(options.setting), find_profile(options.profile)
    cohort, path, rows = load_cohort(options.cohort, profile.simulated), paths.RESULTS / "reruns.csv", []
    for fold in options.folds:
        asked = setting, profile, cohort, fold, options.seed
        spec = plan(*asked)
        recorded = recorded_in(record_of(spec)).get(spec.hash)
        if recorded is None:
            raise KneelError(
                f"{spec.said}, on {cohort.name} at {profile.name}, is not recorded: record it first"
            )
        rows += list(compared(recorded, get_run(*asked, weights=True)))
    made = pd.DataFrame(rows)
    before = pd.read_csv(path) if path.is_file() else made[:0]
    table = pd.concat([before, made]).drop_duplicates(NAMED, keep="last", ignore_index=True)
    write_table(table, path)
    print(
        made[["fold", "weights", "recorded_mre_mm", "again_mre_mm", "greatest_apart_mm"]].round(3).to_string()
    )
    print(f"{len(table)} rows in {paths.shown(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
