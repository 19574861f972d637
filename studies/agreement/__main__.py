"""`python -m studies.agreement`: measurements on the simulated test sets A and B against what was drawn there
(results/measurement_errors.csv).

Every recorded pipeline of Table 2, predict's own networks (on the first KNEES_ASKED knees of a set, by file),
and, on the true landmarks, straight lines between them in place of outlines: the part of an error that is the
definition's. The radiographs are drawn where they are not there yet, some minutes.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib import landmarks, paths
from kneel_lib.cli import carry_out
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.via import read_via
from kneel_lib.errors import KneelError
from kneel_lib.experiment.runs import commit
from kneel_lib.experiment.store import Run, points_of, recorded_runs
from kneel_lib.files import write_text
from kneel_lib.pipeline.joint import Joint, find_joint
from kneel_lib.pipeline.measurement_errors import error_table, measured_all
from kneel_lib.pipeline.measurements import DEFINITIONS
from kneel_lib.pipeline.predict import load_pretrained, predict_file
from kneel_lib.progress import Progress
from kneel_lib.simulation.population import POPULATIONS, make_files

KNEES_ASKED = 80
Truth = dict[tuple[str, str], np.ndarray]
"""{(subject, side): landmarks (16, 2) in mm of the file}: as they were drawn, to a hundredth of a pixel, and
not rounded to 0.3 mm as the published form of annotations is."""


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.agreement", description=__doc__)
    return carry_out(parser.parse_args(arguments), study)


def study(options: argparse.Namespace) -> int:
    tables = [table for dataset in ("A", "B") for table in tables_of(dataset)]
    table = pd.concat(tables, ignore_index=True).assign(commit=commit())
    path = paths.RESULTS / "measurement_errors.csv"
    write_text(path, table.to_csv(index=False, float_format="%.4f"))
    print(f"{len(table)} rows in {paths.shown(path)}")
    return 0


def tables_of(dataset: str) -> Iterator[pd.DataFrame]:
    """The tables of one test set, one a method."""
    folder = make_files(POPULATIONS[dataset])
    truth, files = read_truth(folder)
    shapes = np.stack(list(truth.values()))
    values = measured_all(shapes)
    about: dict[str, Any] = {"dataset": dataset, "method": "straight lines", "trained_on": "", "profile": ""}
    widths = [column for column, one in enumerate(DEFINITIONS) if "_jsw_" in one.name or "_area" in one.name]
    yield labelled(error_table(straight_values(shapes), values).iloc[widths], about)
    for run in recorded_runs():
        if run.spec.kind == "test" and run.spec.cohort == dataset:
            yield recorded_table(run, truth)
    yield predicted_table(dataset, files, truth)


def read_truth(folder: Path) -> tuple[Truth, dict[str, Path]]:
    """(the `Truth`, {subject: its file}) of a drawn population."""
    truth, files = {}, {}
    for (name, side), (subject, _, points) in read_via(folder / "via.csv").items():
        files[subject] = folder / name
        truth[subject, side] = points * read_radiograph(folder / name).spacing_mm
    return truth, files


def straight_values(shapes: np.ndarray) -> np.ndarray:
    """`measured_all` with straight lines from landmark to landmark as outlines."""
    rows = []
    for points in shapes:
        joint = straight(points)
        rows.append([definition.measure(points, joint) for definition in DEFINITIONS])
    return np.array(rows)


def straight(points: np.ndarray) -> Joint:
    """The `Joint` of these landmarks with straight lines between them."""
    joint = find_joint(points)
    assert joint is not None  # these are drawn knees
    places = (points - joint.corner) @ joint.axes.T / joint.plateau
    tibia, femur = (places[list(bone)][::-1] for bone in (landmarks.TIBIA, landmarks.FEMUR))
    return replace(joint, tibia=tibia, femur=femur)


def recorded_table(run: Run, truth: Truth) -> pd.DataFrame:
    """The errors of a recorded pipeline."""
    knees = run.predictions.dropna(subset=["e0"])
    keys = [(str(row.subject_id), str(row.side)) for row in knees.itertuples()]
    values = measured_all(points_of(knees)), measured_all(np.stack([truth[key] for key in keys]))
    spec = run.spec
    trained_on = spec.pipeline.trained_on if spec.pipeline else ""
    about = {"dataset": spec.cohort, "method": spec.setting.name, "trained_on": trained_on}
    return labelled(error_table(*values), about | {"profile": spec.profile.name})


def predicted_table(dataset: str, files: dict[str, Path], truth: Truth) -> pd.DataFrame:
    """The errors of what `predict` answers, with the networks that ship."""
    networks, found, true = load_pretrained(), list[np.ndarray](), list[np.ndarray]()
    progress = Progress(f"predict on {dataset}", KNEES_ASKED, unit="knee")
    for subject, path in files.items():
        if len(found) >= KNEES_ASKED:
            break
        try:
            _, knees = predict_file(path, networks)
        except KneelError:
            continue
        for knee in knees:
            if (subject, knee.side) in truth:
                found.append(knee.points_mm)
                true.append(truth[subject, knee.side])
        progress.advance(len(found))
    progress.close()
    errors = error_table(measured_all(np.stack(found)), measured_all(np.stack(true)))
    return labelled(errors, {"dataset": dataset, "method": "predict", "trained_on": "crops", "profile": ""})


def labelled(table: pd.DataFrame, about: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(about, index=table.index).join(table)


if __name__ == "__main__":
    sys.exit(main())
