"""`python -m studies.registration`: make the registration table of the crops anew:
where the published landmarks lie on them."""

import argparse
import sys

import numpy as np

from kneel_lib import paths
from kneel_lib.cli import carry_out, positive


def cast_votes(options: argparse.Namespace) -> int:
    """`--vote`: the table that the finished voters make; where it is written."""
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.store import finished_runs
    from studies.registration import agreement, vote
    from studies.registration.table import write_registration

    cohort = load_cohort(options.vote)
    table, placement = vote.voted_table(cohort, finished_runs())
    made = vote.MAKES[options.vote]
    path = write_registration(table, options.output or paths.cache() / f"{made}_registration.csv")
    moved = agreement.sentence(agreement.crops_of(cohort), placement)
    print(f"{len(table)} knees in {paths.shown(path)}, the labels of {made}; moved by: {moved}")
    return 0


def measure_votes(options: argparse.Namespace) -> int:
    """`--truth`: a vote on simulated crops; where its table is written."""
    from kneel_lib.experiment.cohorts import load_cohort
    from studies.registration import agreement, error_budget, vote_truth

    crops = agreement.crops_of(load_cohort("simulated", options.knees))
    table = vote_truth.truth_rows(crops, options.jobs)
    print(*error_budget.write({"registration_truth.csv": table}, paths.RESULTS), sep="\n")
    return 0


def register(options: argparse.Namespace) -> int:
    if options.vote:
        return cast_votes(options)
    if options.truth:
        return measure_votes(options)
    if options.judge:
        from studies.registration import judges

        print(*judges.record(paths.RESULTS), sep="\n")
        return 0
    from kneel_lib.experiment.cohorts import load_cohort
    from studies.registration import agreement, error_budget
    from studies.registration import table as registration_table

    cohort = load_cohort(options.cohort, options.knees)
    crops = agreement.crops_of(cohort)
    table, placement, replaced = registration_table.make_table(crops, options.check, options.jobs)
    path = registration_table.write_registration(
        table, options.output or paths.cache() / f"{crops.name}_registration.csv"
    )
    print(
        f"{len(table)} knees in {paths.shown(path)}, {int(placement.inverted.sum())} of them inverted, "
        f"{int(replaced.sum())} placed by the network alone; median "
        f"{np.median(placement.mm_per_px):.3f} mm a pixel\nagainst {agreement.truth_name(crops)}: "
        f"{agreement.sentence(crops, placement)}"
    )
    if options.record:
        print(*error_budget.record(options.jobs), sep="\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.registration", description=__doc__)
    parser.add_argument(
        "--cohort", default="auto", help="crops, or simulated: crops cut at places that are known"
    )
    parser.add_argument("--knees", type=positive, help="of a simulated cohort: how many are drawn")
    parser.add_argument(
        "--check",
        action="store_true",
        help="train the checking network too, and let it replace what lies far off (about ten minutes more)",
    )
    parser.add_argument(
        "--vote",
        choices=("crops_templates", "crops_voted"),
        help="the last step: let the networks and forests trained on these labels place every knee anew",
    )
    parser.add_argument(
        "--truth",
        action="store_true",
        help="a vote on simulated crops, against the known truth: results/registration_truth.csv",
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="what systems that did not vote say of each table: results/registration_votes.csv",
    )
    parser.add_argument("--jobs", type=positive, default=2, help="threads")
    parser.add_argument("--output", help="the table's file (default: build/<cohort>_registration.csv)")
    parser.add_argument(
        "--record",
        action="store_true",
        help="also measure how good it is: results/registration.csv and the error budget",
    )
    return carry_out(parser.parse_args(arguments), register)


if __name__ == "__main__":
    sys.exit(main())
