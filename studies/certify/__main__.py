"""`python -m studies.certify`: the re-run certificate. Executes the recorded notebooks again, with nothing
kept from before, and holds their tables against the recorded ones; --record keeps those of an execution."""

import argparse
import sys
from pathlib import Path

from kneel_lib import paths
from kneel_lib.cli import carry_out


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.certify", description=__doc__)
    parser.add_argument("--notebook", nargs="*", help="only those whose names start so, e.g. 01 03")
    parser.add_argument("--record", action="store_true", help="keep the tables, to be compared with later")
    parser.add_argument("--profile", default="quick", help="with --record (else: the recorded one)")
    place = paths.RESULTS / "certified"
    parser.add_argument("--reference", type=Path, default=place, help="where the tables are recorded")
    parser.add_argument("--at-once", type=int, default=0, help="notebooks side by side (default: one a core)")
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.profiles import find_profile
    from kneel_lib.notebook_runner import side_by_side
    from studies.certify.executions import certify, record

    at_once = options.at_once or side_by_side(None)
    if options.record:
        given = {"profile": find_profile(options.profile).name, "cohort": "simulated"}
        return int(bool(record(options.notebook, given, options.reference, at_once)))
    return int(not all(table.equal for table in certify(options.notebook, options.reference, at_once)))


if __name__ == "__main__":
    sys.exit(main())
