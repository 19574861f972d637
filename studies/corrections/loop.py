"""The loop once round: answer, correct, train on, answer other knees before and after."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from kneel_lib.data.via import read_via
from kneel_lib.errors import KneelError
from kneel_lib.experiment.runs import commit
from kneel_lib.pipeline.corrected import moves, summary
from kneel_lib.pipeline.fine_tuning import Schedule, fine_tune, write_weights
from kneel_lib.pipeline.predict import load_pretrained
from kneel_lib.pipeline.pretrained import FOLDER
from kneel_lib.reporting.statistics import mean_interval
from kneel_lib.simulation.population import Population, make_files
from studies.corrections.hospital import HOSPITAL, Knee, answers, cohort_of, correct, errors


@dataclass(frozen=True)
class Size:
    """files: how many are answered for correction; those after them are tried. corrected: how many of the
    knees that were found in them the person corrects, at the most."""

    files: int = 16
    corrected: int = 25
    population: Population = HOSPITAL
    schedule: Schedule = Schedule()


def once_round(size: Size, seed: int = 0, weights: Path = FOLDER) -> pd.DataFrame:
    """Two rows, before and after: who was corrected and how far, errors in mm of the other knees."""
    folder, networks = make_files(size.population, jobs=1), load_pretrained(weights)
    truth = read_via(folder / "via.csv")
    files = sorted({name for name, _ in truth})
    first, others = files[: size.files], files[size.files :]
    entries = answers(folder, first, networks)
    with TemporaryDirectory() as work:
        corrected = correct(entries, truth, Path(work, "via.csv"), size.corrected)
        moved = summary(moves(entries, corrected))
        run = fine_tune(cohort_of(folder, Path(work, "via.csv")), size.schedule, weights, seed)
        write_weights(run, Path(work, "weights"), weights)
        adapted = load_pretrained(Path(work, "weights"))
    tried = {
        "before": errors(answers(folder, others, networks), truth),
        "after": errors(answers(folder, others, adapted), truth),
    }
    about = {
        "cohort": size.population.name,
        "seed": seed,
        "commit": commit(),
        **{name: round(value, 3) for name, value in moved.items()},
        **asdict(size.schedule),
        "learning_rate": f"{size.schedule.learning_rate:g}",
        "train_seconds": run.manifest["train_seconds"],
    }
    known = sum(name in others for name, _ in truth)
    rows = [{**about, "stage": stage, **scores(found, known)} for stage, found in tried.items()]
    rows[1] |= difference(tried["before"], tried["after"])
    return pd.DataFrame(rows)


def scores(found: Mapping[Knee, np.ndarray], known: int) -> dict[str, Any]:
    """Errors of the knees that were found, in mm, and how many of those known were not."""
    if not found:
        raise KneelError("none of the other knees was found: there is nothing to compare")
    every = np.stack(list(found.values()))
    return {
        "tested_knees": known,
        "missed": known - len(found),
        "mre_mm": round(float(every.mean()), 3),
        "median_mm": round(float(np.median(every)), 3),
        "within_2_mm": round(float((every <= 2).mean()), 3),
        "greatest_mm": round(float(every.max()), 2),
    }


def difference(before: Mapping[Knee, np.ndarray], after: Mapping[Knee, np.ndarray]) -> dict[str, Any]:
    """The change of the mean error on the knees found both times, with an interval of 95 % by subjects, each
    of whom has one file."""
    both = [knee for knee in before if knee in after]
    change = pd.Series([float((after[knee] - before[knee]).mean()) for knee in both], dtype=float)
    of_file = change.groupby([name for name, _ in both]).mean().to_numpy()
    names = "change_mm", "change_low_mm", "change_high_mm"
    return {name: round(value, 3) for name, value in zip(names, mean_interval(of_file, range(len(of_file))))}
