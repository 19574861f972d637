"""Making runs: "if it exists load it, else make it". What a run is says `spec`, where it is kept `store`."""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kneel_lib import metrics, paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.rois import CENTRES, Rois
from kneel_lib.errors import KneelError, find
from kneel_lib.experiment.methods import METHODS, WORKING_FILES, Task, cut_as
from kneel_lib.experiment.predictions import COORDINATES, EMA, FINAL
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.provenance import PIECES, UNKNOWN, as_manifest, begin_piece
from kneel_lib.experiment.settings import Setting
from kneel_lib.experiment.spec import RunSpec, as_data, beginning_of, plan
from kneel_lib.experiment.store import FILES, WEIGHTS, Run, described_files, find_run, load_run
from kneel_lib.experiment.trained import knees_of, load_network
from kneel_lib.files import locked, make_folder, write_text
from kneel_lib.network import checkpoint
from kneel_lib.network.precision import precision


def get_run(
    setting: Setting,
    profile: Profile,
    cohort: Cohort,
    fold: int | str = 0,
    seed: int = 0,
    labels: int | None = None,
    first: Run | None = None,
    source: Cohort | None = None,
    device: str = "cpu",
    weights: bool = False,
) -> Run:
    """The finished run of these parts: see `spec.plan` for what they are, and `get_planned` for the rest."""
    spec = plan(setting, profile, cohort, fold, seed, labels, first.spec if first else None, source)
    return get_planned(spec, cohort, source, first, device, weights)


def get_planned(
    spec: RunSpec,
    cohort: Cohort,
    source: Cohort | None = None,
    first: Run | torch.nn.Module | None = None,
    device: str = "cpu",
    weights: bool = False,
) -> Run:
    """The finished run: loaded if it exists, else made now, going on from a checkpoint where one was left.

    spec: of `plan`, of the same cohort, source and first run. first: a finished run whose network's weights
    are taken over wherever a layer fits, or that network; without one the setting says where to start, and
    that run is made first if it is missing. weights: a recorded run, which has none, will not do, and is made
    again here. A second process that asks for the same run waits for the first.
    """

    def make() -> Run:
        known, held_out = knees_of(spec, cohort, source)
        before = first if first is not None else starting_run(spec, cohort, device)
        return make_run(spec, known, held_out, device, before)

    return find_or_make(spec, make, weights)


def starting_run(spec: RunSpec, cohort: Cohort, device: str) -> Run | None:
    """The finished run that the spec's setting starts from, made if it is missing; None from scratch."""
    first = beginning_of(spec.setting, spec.profile, cohort, spec.held_out)
    if first is None:
        return None
    planned = plan(first.setting, first.profile, first.cohort, spec.held_out, spec.seed, source=first.source)
    return get_planned(planned, first.cohort, first.source, device=device, weights=True)


def find_or_make(spec: RunSpec, make: Callable[[], Run], weights: bool = False) -> Run:
    """The run: found (see `find_run`), or what `make()` gives, which is called by one process at a time."""
    found = find_run(spec, weights)
    if found:
        return found
    with locked(paths.runs() / spec.address, "KNEEL_RUNS"):
        return find_run(spec, weights) or make()


def make_run(
    spec: RunSpec, known: Cohort, held_out: Cohort, device: str, first: Run | torch.nn.Module | None = None
) -> Run:
    """Train on the cohort `known`, predict `held_out`, and put the run's folder in place in one move.

    What the manifest says of code and machine is noted now, before anything is made."""
    clock = time.monotonic()
    method = find(spec.setting.method, METHODS, "method")
    work = working_folder(spec)
    for left_over in work.glob("*.tmp"):
        left_over.unlink()
    pieces = begin_piece(work, beginning(device), not any((work / name).exists() for name in WORKING_FILES))
    network = load_network(first) if isinstance(first, Run) else first
    result = method(Task(spec, known, held_out, work, device, network))
    tables = [predict_held_out(result.predict, spec, held_out, centre, FINAL) for centre in CENTRES]
    if result.predict_ema:
        tables.append(predict_held_out(result.predict_ema, spec, held_out, "truth", EMA))
    predictions = pd.concat(tables)
    predictions.insert(4, "fold", spec.held_out)
    manifest = {
        **as_manifest(pieces),
        "seconds": round(time.monotonic() - clock, 1),
        "train_seconds": round(float(result.history["seconds"].sum()), 1),
        "parameters": result.parameters,
    }
    return keep(spec, manifest, result.history, predictions, result.model)


def keep(
    spec: RunSpec,
    manifest: dict[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    model: torch.nn.Module | None = None,
) -> Run:
    """Put everything about a finished run into its folder of the working store, in one move; returns it."""
    folder, work = paths.runs() / spec.address, working_folder(spec)
    write_text(work / "spec.json", json.dumps(as_data(spec), indent=1) + "\n")
    write_text(work / "history.csv", history.to_csv(index=False, float_format="%.6g"))
    write_text(work / "predictions.csv", predictions.to_csv(index=False, float_format="%.3f"))
    if model is not None:
        checkpoint.save_weights(model, work / WEIGHTS)
    manifest = {**manifest, "files": described_files(work, (*FILES, WEIGHTS))}
    write_text(work / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    try:
        if folder.exists():  # not whole, or without the weights that are wanted now
            shutil.rmtree(folder)
        os.replace(work, folder)
    except OSError as error:
        raise KneelError(
            f"cannot put the finished run into its place {folder} ({error}): move that away; "
            f"the same command goes on from {work.name}"
        ) from None
    for name in (*WORKING_FILES, PIECES):
        (folder / name).unlink(missing_ok=True)
    return load_run(folder)


def working_folder(spec: RunSpec) -> Path:
    """Where a run is made, with its checkpoints, until it is finished; the folder is there."""
    folder = paths.runs() / spec.address
    work = folder.with_name(f"{folder.name}.partial")
    make_folder(work, "KNEEL_RUNS")
    return work


def predict_held_out(
    predict: Callable[[Rois, str], np.ndarray], spec: RunSpec, cohort: Cohort, centre: str, weights: str
) -> pd.DataFrame:
    """The predictions table of one ROI centre: who, x and y in mm in the picture's frame, error in mm."""
    who = cohort.knees[["subject_id", "side", "kl", "split"]].assign(roi=centre, weights=weights)
    if not len(cohort):
        return who.reindex(columns=[*who.columns, *COORDINATES])
    rois = cut_as(spec, cohort, centre)
    points_mm = rois.to_mm(predict(rois, centre))
    errors = metrics.landmark_errors(points_mm, cohort.landmarks_mm)
    values = np.concatenate([points_mm, errors[..., None]], axis=2).reshape(len(cohort), -1)
    return pd.concat([who, pd.DataFrame(values, columns=COORDINATES)], axis=1)


@cache
def commit() -> str:
    """The commit of this code, or "unknown" where it is no git checkout or git is not installed; "-dirty" if
    a file of it was changed. Looked up once a process, whose code stays what it was when it was loaded."""
    command = ["git", "-C", str(paths.ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        git = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return UNKNOWN
    return git.stdout.strip() or UNKNOWN


def beginning(device: str = "cpu") -> dict[str, Any]:
    """What is noted when a run, or a further piece of it, begins: when, and `environment`."""
    return {"started": datetime.now(UTC).isoformat(timespec="seconds"), **environment(device)}


def environment(device: str = "cpu") -> dict[str, Any]:
    """What the manifest says of code and machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    packages = ("torch", "numpy", "pandas", "scikit-learn", "opencv-python-headless")
    return {
        "device": str(device),
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": next(named, platform.processor()),
        "card": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else "",
        "threads": torch.get_num_threads(),
        "precision": precision(device),
        "versions": {name: version(name) for name in packages},
    }
