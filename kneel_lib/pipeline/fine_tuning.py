"""The pretrained landmark network trained on, on knees that a person has corrected."""

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kneel_lib.data.cohort import Cohort
from kneel_lib.errors import KneelError
from kneel_lib.experiment.runs import get_planned
from kneel_lib.experiment.spec import RunSpec, plan
from kneel_lib.experiment.store import Run
from kneel_lib.files import write_whole
from kneel_lib.pipeline.pretrained import FOLDER, read_network, write_pretrained

NAME = "corrections"
"""What setting and profile of such a run are called."""

LEAST_KNEES = 2


@dataclass(frozen=True)
class Schedule:
    """How it is trained on: a few epochs with steps a twentieth as long as the longest that the network was
    made by, in batches that few knees fill more than once."""

    epochs: int = 10
    learning_rate: float = 1e-4
    batch: int = 8


def plan_fine_tuning(first: RunSpec, cohort: Cohort, schedule: Schedule, seed: int = 0) -> RunSpec:
    """The spec of a run that begins with the network of `first`, all layers, and is trained on every knee of
    the cohort: the same recipe but for the schedule."""
    setting = replace(first.setting, name=NAME, label=NAME, start="", learning_rate=schedule.learning_rate)
    size = replace(first.profile, name=NAME, epochs=schedule.epochs, batch=schedule.batch, knees=None)
    return plan(setting, size, cohort, "all", seed, first=first)


def fine_tune(
    cohort: Cohort,
    schedule: Schedule = Schedule(),
    weights: Path = FOLDER,
    seed: int = 0,
    device: str = "cpu",
    output: Path | None = None,
) -> Run:
    """The finished run, found or made. weights: the folder of the network to begin with. output: where
    `write_weights` is to write. Raises `KneelError` where `weights` holds no landmark network or more than
    one, for a single knee, and, before anything is trained, where `output` holds another landmark network."""
    paths = sorted(Path(weights).glob("landmarks-*.safetensors"))
    if len(paths) != 1:
        raise KneelError(f"{weights} holds {len(paths)} landmark networks: one is needed to begin with")
    if len(cohort) < LEAST_KNEES:
        raise KneelError(f"{len(cohort)} corrected knee: at least {LEAST_KNEES} are needed to train on")
    first, model = read_network(paths[0])
    spec = plan_fine_tuning(first, cohort, schedule, seed)
    if output:
        check_folder(spec, output)
    return get_planned(spec, cohort, first=model, device=device, weights=True)


def check_folder(spec: RunSpec, folder: Path) -> None:
    """`KneelError` where another landmark network lies in a folder."""
    others = [path for path in folder.glob("landmarks-*.safetensors") if spec.hash[:8] not in path.name]
    if others:
        raise KneelError(f"{folder} holds another landmark network, {others[0].name}: give a new folder")


def write_weights(run: Run, folder: Path, weights: Path = FOLDER) -> Path:
    """A folder that `predict --weights` takes: the run's network with the search networks of `weights`;
    returns the network's file. Raises `KneelError` where another landmark network lies there."""
    check_folder(run.spec, folder)
    path = write_pretrained(run, "landmarks", folder)
    for search in sorted(Path(weights).glob("search-*.safetensors")):
        write_whole(folder / search.name, partial(shutil.copyfile, search))
    return path
