"""`python -m studies.strangers`: what `predict` does with distorted and spoilt files of knees that its
networks have not seen: results/strangers.csv."""

import argparse
import sys
from pathlib import Path

from kneel_lib import paths
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.runs import commit
from kneel_lib.files import write_text
from kneel_lib.pipeline.predict import load_pretrained
from kneel_lib.progress import Progress
from studies.strangers.distortions import RIGHT, SPOILT
from studies.strangers.measure import frame, table

SPLIT = "val"


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.strangers", description=__doc__)
    parser.add_argument(
        "weights", type=Path, help=f"folder of networks that have not seen the split {SPLIT} of the crops"
    )
    parser.add_argument("--spacing", type=float, help="tell the spacing, in mm a pixel")
    parser.add_argument("--output", type=Path, default=paths.RESULTS / "strangers.csv")
    options = parser.parse_args(arguments)
    networks, crops = load_pretrained(options.weights), load_cohort("crops")
    cohort, kinds = crops.select((crops.knees["split"] == SPLIT).to_numpy()), (*RIGHT, *SPOILT)
    progress, rows = Progress("distortions", len(kinds), unit="kind"), []
    for row in table(cohort, kinds, networks, options.spacing):
        rows.append(row)
        progress.advance(len(rows), row["distortion"])
    progress.close()
    names = " ".join(sorted(path.stem for path in options.weights.glob("*.safetensors")))
    about = {"cohort": f"crops, {SPLIT}", "trained_on": "crops, train", "networks": names}
    made = frame(rows, **about, commit=commit(), spacing_mm=options.spacing)
    write_text(options.output, made.to_csv(index=False, float_format="%.4f"))
    print(f"{len(made)} kinds of files in {paths.shown(options.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
