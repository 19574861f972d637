"""`python -m studies.corrections`: what correcting 25 knees of another, simulated hospital changes on its
other knees (results/corrections.csv)."""

import argparse
import sys

import pandas as pd

from kneel_lib import paths
from kneel_lib.cli import carry_out, not_negative

RESULT = "corrections.csv"


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.corrections", description=__doc__)
    parser.add_argument("--seeds", type=not_negative, nargs="+", default=[0])
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    from kneel_lib.reporting.export import write_table
    from studies.corrections.loop import Size, once_round

    table = pd.concat([once_round(Size(), seed) for seed in options.seeds], ignore_index=True)
    write_table(table, paths.RESULTS / RESULT)
    print(table[["seed", "stage", "tested_knees", "missed", "mre_mm", "within_2_mm"]].to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
