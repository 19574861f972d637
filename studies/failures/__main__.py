"""`python -m studies.failures`: the gallery of failures, docs/failures.md. Pictures are of simulated knees
(figures/failures_simulated), real knees appear by number alone, from the recorded tables."""

import argparse
import sys

import pandas as pd

from kneel_lib import paths
from kneel_lib.cli import carry_out

PAGE = paths.ROOT / "docs" / "failures.md"
FIGURES = paths.ROOT / "figures"
MARKS = "<!-- failures: written by python -m studies.failures -->", "<!-- end of failures -->"
DRAWN = 10
"""Simulated knees that are drawn to take the first of."""


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.failures", description=__doc__)
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.figures import style
    from kneel_lib.pipeline.predict import load_pretrained
    from kneel_lib.reporting.export import markdown, write_table
    from kneel_lib.reporting.pages import write_between_marks
    from studies.failures import pictures, worst

    style.use_style()
    cases = pictures.drawn_cases(load_cohort("simulated", DRAWN), load_pretrained())
    drawn = pictures.case_table(cases)
    style.save_figure(pictures.gallery(cases), "failures_simulated", FIGURES, drawn, endings=("png",))
    knees = pd.read_csv(paths.RESULTS / "validity_knees.csv")
    made = {
        "failures_worst.csv": worst.worst_table(),
        "failures_unsure.csv": worst.unsure_table(),
        "failures_doubts.csv": worst.doubt_table(knees),
    }
    for name, table in made.items():
        write_table(table, paths.RESULTS / name)
    doubted = int((~knees["trusted"]).sum())
    titles = (
        f"**The {worst.SHOWN} labelled knees on which `{worst.NETWORK}` errs most, out of fold** "
        "(`results/failures_worst.csv`)",
        "**The worst of the knees on which the trust was judged** (`results/failures_unsure.csv`)",
        f"**Why {doubted} of {len(knees)} knees of other subjects are not trusted** "
        "(`results/failures_doubts.csv`)",
    )
    shown = [markdown(in_words(table)) for table in made.values()]
    write_between_marks(PAGE, [part for pair in zip(titles, shown) for part in pair], MARKS)
    print(f"{paths.shown(PAGE)} and {len(made)} tables are made")
    return 0


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text: lengths with two digits, what is not known as a dash."""

    def said(value: object) -> str:
        if value is None or value != value:
            return "-"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    return table.map(said)


if __name__ == "__main__":
    sys.exit(main())
