"""`python -m studies.coverage`: do the intervals of the tables hold? Writes results/interval_coverage.csv
from simulated tables whose parts are as large as those of the recorded runs; two minutes on one core."""

import argparse
import sys

import numpy as np
import pandas as pd

from kneel_lib import paths
from kneel_lib.cli import carry_out

CORRELATIONS = (0.0, 0.1, 0.2, 0.3, 0.4)
TABLES, ROWS, LEARNT = 1000, 19, 1000
"""Simulated tables of each kind; rows of a table, as many as Table 1 has beside its reference; tables of one
row whose networks are trained."""


def write_coverage(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.store import recorded_runs
    from kneel_lib.reporting.export import write_table
    from kneel_lib.reporting.selection import with_ema
    from studies.coverage import coverage, simulation

    recorded = recorded_runs()
    rows = []
    for weights, runs in (("last epoch", recorded), ("EMA", with_ema(recorded))):
        components = simulation.measured(runs)
        print(f"{weights}: {components}", flush=True)
        for correlation in CORRELATIONS:
            random = np.random.default_rng(0)
            tables = (simulation.draw(random, components, ROWS, correlation) for _ in range(options.tables))
            rows += coverage.coverage_rows(tables, parts=weights, rows=ROWS, correlation=correlation)
    random = np.random.default_rng(0)
    learnt = [simulation.train_small(random) for _ in range(options.learnt)]
    rows += coverage.learnt_rows(learnt, parts="small networks, trained", rows=1)
    write_table(pd.DataFrame(rows), paths.RESULTS / "interval_coverage.csv")
    print(f"{len(rows)} rows in {paths.shown(paths.RESULTS / 'interval_coverage.csv')}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.coverage", description=__doc__)
    parser.add_argument("--tables", type=int, default=TABLES, help="simulated tables of each kind")
    parser.add_argument("--learnt", type=int, default=LEARNT, help="simulated tables that are trained")
    return carry_out(parser.parse_args(arguments), write_coverage)


if __name__ == "__main__":
    sys.exit(main())
