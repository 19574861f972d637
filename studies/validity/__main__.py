"""`python -m studies.validity`: does the joint-space width mean anything? Landmarks predicted for knees whose
grade is known and whose subjects no network has seen (results/validity_answers.parquet), and of these
validity_knees.csv, validity_definitions.csv and validity.csv.

Which width is taken is chosen on the labelled knees, out of fold, and then tried on the others once. With
--recorded the tables are made again from the recorded answers, without pictures.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from kneel_lib import paths
from kneel_lib.cli import carry_out

ANSWERS = paths.RESULTS / "validity_answers.parquet"


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.validity", description=__doc__)
    parser.add_argument("--recorded", action="store_true", help="make the tables from the recorded answers")
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    from kneel_lib.reporting.export import write_table
    from studies.validity import choice

    answers = pd.read_parquet(ANSWERS) if options.recorded else predicted(ANSWERS)
    (about,) = answers[["networks", "commit"]].drop_duplicates().to_dict("records")
    labelled = choice.labelled_widths()
    definitions = choice.definition_table(labelled)
    chosen = choice.best(definitions)
    print(f"chosen on the labelled knees: {' at '.join(chosen)}", flush=True)
    knees = choice.knee_table(answers, *chosen)
    made: dict[str, pd.DataFrame] = {
        "validity_definitions.csv": definitions,
        "validity_knees.csv": knees,
        "validity.csv": choice.validity_table(knees, labelled, *chosen),
    }
    for name, table in made.items():
        write_table(table if name == "validity_knees.csv" else table.assign(**about), paths.RESULTS / name)
        print(f"{len(table)} rows in {paths.shown(paths.RESULTS / name)}", flush=True)
    return 0


def predicted(path: Path) -> pd.DataFrame:
    """The answers, predicted now and recorded with the networks and the commit that they are of."""
    from kneel_lib.data.cache import LIBRARY
    from kneel_lib.data.graded import find_graded
    from kneel_lib.experiment.runs import commit
    from kneel_lib.files import contents_hash, write_whole
    from kneel_lib.pipeline import onnx_export
    from kneel_lib.pipeline.predict import networks_of
    from kneel_lib.pipeline.pretrained import FOLDER, networks_named
    from studies.validity.answers import COORDINATES, answer_all

    knees, about = find_graded(), {"networks": networks_named(), "commit": commit()}
    networks = networks_of(FOLDER, onnx_export.can_run(FOLDER, write=True))
    made_by = contents_hash(*sorted(FOLDER.glob("*.safetensors")), LIBRARY)
    answers = answer_all(knees, networks, paths.cache() / "validity" / f"answers-{made_by}.jsonl")
    answers = answers.astype({name: "float32" for name in COORDINATES}).assign(**about)
    write_whole(path, lambda temporary: answers.to_parquet(temporary, index=False))
    return answers


if __name__ == "__main__":
    sys.exit(main())
