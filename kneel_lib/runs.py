"""Runs and where they are kept. A run = setting x profile x cohort x fold x seed; its content hash is its address.

`get_run` loads a finished run from the working store or from the recorded ones under results/, else it trains it:
"if it exists load it, else make it". A run's folder holds config.json (what the hash is of), manifest.json (where and
how it came about), history.csv, predictions.csv (out-of-fold) and weights.safetensors.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kneel_lib import checkpoint, landmarks, metrics, paths, training
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.cohorts import load_cohort, search_cohort, search_name, unseen_cohort
from kneel_lib.data.folds import make_folds
from kneel_lib.data.rois import CENTRES, cut_rois
from kneel_lib.data.search import is_for_search
from kneel_lib.data.simulated import SIMULATOR
from kneel_lib.errors import KneelError
from kneel_lib.files import last_line, locked, make_folder, write_text
from kneel_lib.methods import FORESTS, METHODS, WORKING_FILES, Task, forest_options, run_seed
from kneel_lib.settings import NAMED, PROFILES, SEARCH, SETTINGS, Profile, Setting, from_scratch, profile_for

RECIPE = 1
"""Raise this when the code changes what a run computes: older runs are then not found any more."""

WEIGHTS = "weights.safetensors"
SIMULATED, UNSEEN = "simulated", "simulated_unseen"
"""The cohort, and the start of a setting, of knees that are drawn; and the start of those whose shapes hold nothing of the held-out subjects."""

AVERAGED = "truth, averaged"
"""In the column roi of predictions: ROIs around the truth, by the moving average of the weights in place of those after the last epoch."""

COORDINATES = [f"{axis}{number}" for number in range(landmarks.COUNT) for axis in "xye"]


@dataclass(frozen=True)
class Run:
    """A finished run. predictions: a row a knee and ROI centre, x and y in mm in the picture's frame, e = error in mm."""

    folder: Path
    config: dict
    manifest: dict
    history: pd.DataFrame
    predictions: pd.DataFrame

    def errors(self, roi="truth"):
        """Landmark errors in mm, (knees, 16), for ROIs centred on the "truth" or on the "image"."""
        return errors_of(self.predictions[self.predictions["roi"] == roi])

    def load_network(self):
        """The trained network, ready to predict; `KneelError` where only predictions were recorded."""
        path = self.folder / WEIGHTS
        if not path.is_file():
            raise KneelError(f"{self.folder} holds no weights (recorded runs keep predictions only): ask for the run with weights=True, which trains it here")
        return load_network(path, self.config)


def load_forests(run, profile, cohort):
    """The voting forests of a finished run on a cohort; where they were not kept (recorded runs) the very same are grown again on its training knees."""
    from kneel_lib.baselines import forest_voting
    path = run.folder / FORESTS
    if path.is_file():
        return forest_voting.load(path)
    chosen = take_knees(cohort, profile.knees)
    known, _ = split_rows(chosen, run.config["fold"])
    rois = cut_rois(chosen.select(known), profile.size_px, profile.spacing_mm)
    return forest_voting.train(rois.images, rois.landmarks_px, profile.spacing_mm, forest_options(profile), run_seed(run.config), jobs=torch.get_num_threads())


def points_of(predictions):
    """The (rows, 16, 2) points of a predictions table, in mm of the picture's frame."""
    return np.stack([predictions[[f"{axis}{number}" for number in range(landmarks.COUNT)]].to_numpy(float) for axis in "xy"], axis=2)


def errors_of(predictions):
    """The (rows, 16) errors in mm of a predictions table."""
    return predictions[[f"e{number}" for number in range(landmarks.COUNT)]].to_numpy(float)


def load_network(path, config):
    """A network of this config with the weights of a safetensors file."""
    model = build_network(config)
    model.load_state_dict(checkpoint.load_tensors(path)[0])
    return model.to(memory_format=torch.channels_last).eval()


def build_network(config):
    """The untrained network that a run of this config has."""
    setting = {name: value for name, value in config["setting"].items() if name != "augmentation"}
    outputs = 1 if setting.get("method") == "search" else landmarks.COUNT
    return training.make_network(Setting(label="", **setting), Profile(**config["profile"]), outputs)


def take_knees(cohort, count):
    """The cohort, or `count` of its knees evenly spread over it."""
    if count is None or count >= len(cohort):
        return cohort
    return cohort.select(np.linspace(0, len(cohort) - 1, count).round().astype(int))


def make_config(setting, profile, cohort, fold, seed):
    """Everything that the run's numbers depend on, apart from the machine, as plain data.

    Fields at their default are left out, so that a field that is added later leaves older runs their address. Raises `KneelError` for the ROI search
    on pictures that are not for it, and for anything else on those that are.
    """
    if is_for_search(cohort) and setting.method != SEARCH.method:
        raise KneelError(f"{cohort.name} has pictures in which the knee is still to be found: the ROI search is what they are for, not {setting.name}; choose another cohort")
    if setting.method == SEARCH.method and not is_for_search(cohort):
        raise KneelError(f"in the pictures of {cohort.name} the knee is found already: for the ROI search give {search_name(cohort.name)}")
    return {"recipe": RECIPE, "cohort": cohort.name, "fingerprint": cohort.fingerprint, "knees": len(cohort), "fold": fold,
            "seed": seed, **describe(setting, profile)}


def describe(setting, profile):
    """What a config says of setting and profile: all that a run's numbers depend on, without labels and counts of folds."""
    described, size = changed_fields(setting), changed_fields(profile)
    del described["label"]
    for name in ("folds", "simulated", "tested"):
        size.pop(name, None)
    return {"setting": described, "profile": size}


def changed_fields(record):
    """{field: value} of a dataclass where the value is not the field's default; dataclasses inside are always described."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {field.name: changed_fields(values[field.name]) if is_dataclass(values[field.name]) else values[field.name]
            for field in fields(record) if is_dataclass(values[field.name]) or values[field.name] != field.default}


def content_hash(config):
    """Sixteen hexadecimal digits that name the config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def address(config):
    """The run's folder, relative to a store."""
    name = f"fold{config['fold']}-seed{config['seed']}-{content_hash(config)}"
    return Path(config["cohort"], config["profile"]["name"], config["setting"]["name"], name)


def find_run(config, weights=False):
    """The finished run of this config, from the working store or results/runs, or None. weights: only one that has its network's weights."""
    has_network = config["setting"].get("method", "network") in ("network", "search")
    for folder in (store / address(config) for store in (paths.runs(), paths.RESULTS / "runs")):
        if (folder / "manifest.json").is_file() and (not weights or not has_network or (folder / WEIGHTS).is_file()):
            return load_run(folder)
    return None


def load_run(folder):
    """A finished run from its folder; `KneelError` if a file is missing or damaged."""
    folder = Path(folder)
    try:
        config, manifest = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "manifest"))
        history, predictions = (pd.read_csv(folder / f"{name}.csv") for name in ("history", "predictions"))
    except (OSError, ValueError) as error:
        raise KneelError(f"{folder} is not a whole run ({error}): delete it; it is made again when it is asked for") from None
    return Run(folder, config, manifest, history, predictions)


def get_run(setting, profile, cohort, fold, seed=0, device="cpu", labels=None, start=None, weights=False):
    """The finished run: loaded if it exists, else made now, going on from a checkpoint where one was left.

    fold: 0 to 4, or "val" to train on the cohort's split "train" and hold out its split "val". labels: how many of the fold's training knees
    may be used (None: all; the same seed gives nested sets, and few knees are repeated up to LEAST_KNEES an epoch, so that each count trains
    for as many steps). start: a finished `Run` whose network's weights are taken over wherever a layer fits; without one, the setting says
    where to start (its `start`), and that run is made first if it is missing. weights: a recorded run, which
    has none, will not do, and is made again here. A second process that asks for the same run waits for the first.
    """
    chosen = take_knees(cohort, profile.knees)

    def make():
        known, held_out = split_rows(chosen, fold)
        known = known if labels is None else choose_labels(known, labels, seed)
        first = start or starting_run(setting, profile, cohort, fold, seed, device)
        return make_run(setting, profile, chosen.select(known), chosen.select(held_out), config, device, first)
    config = plan(setting, profile, cohort, fold, seed, labels, start)
    return find_or_make(config, make, weights)


def plan(setting, profile, cohort, fold, seed=0, labels=None, start=None):
    """The config of a run that `get_run` would load or make, without making it."""
    config = make_config(setting, profile, take_knees(cohort, profile.knees), fold, seed)
    if labels is not None:
        config["labels"] = labels
    if start is not None:
        config["start"] = {"cohort": start.config["cohort"], "setting": start.config["setting"]["name"], "seed": start.config["seed"],
                           "hash": content_hash(start.config)}
    elif setting.start == "search":
        config["start"] = {"cohort": search_name(cohort.name), "setting": SEARCH.name, "described": describe(SEARCH, profile_for(SEARCH, profile))}
    elif setting.start in (SIMULATED, UNSEEN):
        if cohort.name == SIMULATED:
            raise KneelError(f"setting {setting.name} starts from the simulated knees and cannot be tried on the same ones: choose another cohort, such as crops")
        config["start"] = {"cohort": setting.start, "setting": from_scratch(setting).name, "described": describe(from_scratch(setting), profile), "simulator": SIMULATOR,
                           **({} if profile.simulated is None else {"knees": profile.simulated})}   # all of them leaves older runs their address
    elif setting.start in SETTINGS:
        config["start"] = {"cohort": cohort.name, "setting": setting.start, "hash": content_hash(plan(SETTINGS[setting.start], profile, cohort, fold, seed))}
    elif setting.start:
        raise KneelError(f"setting {setting.name}: unknown start '{setting.start}': choose \"\", search, {SIMULATED}, {UNSEEN} or the name of a row")
    return config


@dataclass(frozen=True)
class Start:
    """Where a setting starts from: the run of this setting, profile and cohort at the same fold and seed, or one that is trained on all of `source` and tried on the cohort."""

    setting: Setting
    profile: Profile
    cohort: Cohort
    source: Cohort | None = None


def start_of(setting, profile, cohort, fold):
    """The `Start` of a setting, or None from scratch: the same recipe on all simulated knees, another row, or the ROI search."""
    if setting.start in (SIMULATED, UNSEEN):
        source = load_cohort(SIMULATED, profile.simulated) if setting.start == SIMULATED else unseen_cohort(take_knees(cohort, profile.knees), fold, profile.simulated)
        return Start(from_scratch(setting), profile, cohort, source)
    if setting.start in SETTINGS:
        return Start(SETTINGS[setting.start], profile, cohort)
    return Start(SEARCH, profile_for(SEARCH, profile), search_cohort(cohort, profile.simulated)) if setting.start else None


def starting_run(setting, profile, cohort, fold, seed, device):
    """The finished run that a setting starts from, made if it is missing; None from scratch."""
    first = start_of(setting, profile, cohort, fold)
    if first is None:
        return None
    if first.source is not None:
        return get_transfer(first.setting, first.profile, first.source, first.cohort, seed, device, weights=True)
    return get_run(first.setting, first.profile, first.cohort, fold, seed, device, weights=True)


def started_from(config):
    """Where a run of this config started: "scratch", "low_cost" (the ROI search: one landmark a knee), "row" (the network of another row), or the cohort it was trained on before."""
    start = config.get("start")
    if start is None:
        return "scratch"
    if config["setting"].get("start") in SETTINGS:
        return "row"
    return "low_cost" if start["setting"] == SEARCH.name else start["cohort"]


def split_rows(cohort, fold):
    """(rows to train on, rows held out) of a fold, 0 to 4, or of "val": the cohort's own train and val splits."""
    folds = make_folds(cohort)
    if fold == "val":
        rows = tuple(np.flatnonzero(cohort.knees["split"] == name) for name in ("train", "val"))
        if not all(map(len, rows)):
            raise KneelError(f"cohort {cohort.name} has no split 'train' and 'val' to hold out: choose a fold, 0 to {len(folds) - 1}")
        return rows
    if fold not in range(len(folds)):
        raise KneelError(f"fold {fold} does not exist: folds are 0 to {len(folds) - 1}, and val where the cohort has that split")
    return folds[fold]


LEAST_KNEES = 200


def choose_labels(rows, count, seed):
    """`count` of the rows, drawn by `seed`, repeated in turn up to LEAST_KNEES; `KneelError` if there are not so many."""
    if not 2 <= count <= len(rows):
        raise KneelError(f"cannot take {count} labelled knees: the fold has {len(rows)} to train on, and 2 are the least")
    chosen = np.random.default_rng(seed).permutation(rows)[:count]
    return np.resize(chosen, max(count, LEAST_KNEES))


def get_transfer(setting, profile, source, target, seed=0, device="cpu", weights=False):
    """The finished run that is trained on all knees of `source` and tried on all of `target`, which it never sees before.

    In its predictions the fold is "all". Kept, resumed and locked like every run. weights: as of `get_run`.
    """
    config = plan_transfer(setting, profile, source, target, seed)
    known, tried = take_knees(source, profile.knees), take_knees(target, profile.knees)
    return find_or_make(config, lambda: make_run(setting, profile, known, tried, config, device), weights)


def plan_transfer(setting, profile, source, target, seed=0):
    """The config of a run that `get_transfer` would load or make, without making it; `KneelError` for a setting that starts elsewhere, and for knees tried on themselves."""
    if setting.start:
        raise KneelError(f"setting {setting.name} starts from another run, which a transfer does not do: choose its recipe from scratch, {from_scratch(setting).name}")
    source, target = take_knees(source, profile.knees), take_knees(target, profile.knees)
    if source.fingerprint == target.fingerprint:
        raise KneelError(f"a network that is trained on all knees of {source.name} cannot be tried on the same ones: choose another cohort to train on or to try on")
    return make_config(setting, profile, source, "all", seed) | {"target": target.name, "target_fingerprint": target.fingerprint}


def find_or_make(config, make, weights=False):
    """The run of this config: loaded, or what `make()` gives, which is called by one process at a time. weights: see `find_run`."""
    found = find_run(config, weights)
    if found:
        return found
    folder = paths.runs() / address(config)
    with locked(folder, "KNEEL_RUNS"):
        return find_run(config, weights) or make()


def make_run(setting, profile, known, held_out, config, device, start=None):
    """Train (or average) on the cohort `known`, predict `held_out`, and put the run's folder in place in one move."""
    started, clock = datetime.now(timezone.utc), time.monotonic()
    method = METHODS.get(setting.method)
    if method is None:
        raise KneelError(f"unknown method '{setting.method}': choose one of {', '.join(METHODS)}")
    work = working_folder(config)
    for left_over in work.glob("*.tmp"):
        left_over.unlink()
    result = method(Task(setting, profile, known, held_out, config, work, device, start.load_network() if start else None))
    tables = [predict_held_out(result.predict, profile, held_out, config["fold"], centre) for centre in CENTRES]
    if result.predict_averaged:
        tables.append(predict_held_out(result.predict_averaged, profile, held_out, config["fold"], "truth").assign(roi=AVERAGED))
    manifest = {"setting": asdict(setting), "profile": asdict(profile), "started": started.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - clock, 1),
                "train_seconds": round(float(result.history["seconds"].sum()), 1), "parameters": result.parameters,
                "device": str(device), **environment(device)}
    return keep(config, manifest, result.history, pd.concat(tables), result.model)


def keep(config, manifest, history, predictions, model=None):
    """Put everything about a finished run into its folder of the working store, in one move; returns the `Run`."""
    folder, work = paths.runs() / address(config), working_folder(config)
    write_text(work / "config.json", json.dumps(config, indent=1) + "\n")
    write_text(work / "history.csv", history.to_csv(index=False, float_format="%.6g"))
    write_text(work / "predictions.csv", predictions.to_csv(index=False, float_format="%.3f"))
    if model is not None:
        checkpoint.save_weights(model, work / WEIGHTS)
    write_text(work / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    try:
        if folder.exists():   # not whole, or without the weights that are wanted now
            shutil.rmtree(folder)
        os.replace(work, folder)
    except OSError as error:
        raise KneelError(f"cannot put the finished run into its place {folder} ({error}): move that away; the same command goes on from {work.name}") from None
    for name in WORKING_FILES:
        (folder / name).unlink(missing_ok=True)
    return load_run(folder)


def working_folder(config):
    """Where a run is made, with its checkpoints, until it is finished; the folder is there."""
    folder = paths.runs() / address(config)
    work = folder.with_name(f"{folder.name}.partial")
    make_folder(work, "KNEEL_RUNS")
    return work


def predict_held_out(predict, profile, cohort, fold, centre):
    """The out-of-fold predictions table of one ROI centre: who, x and y in mm in the picture's frame, error in mm."""
    rois = cut_rois(cohort, profile.size_px, profile.spacing_mm, centre)
    points_mm = rois.to_mm(predict(rois, centre))
    errors = metrics.landmark_errors(points_mm, cohort.landmarks_mm)
    values = np.concatenate([points_mm, errors[..., None]], axis=2).reshape(len(cohort), -1)
    who = cohort.knees[["subject_id", "side", "kl", "split"]].assign(fold=fold, roi=centre)
    return pd.concat([who, pd.DataFrame(values, columns=COORDINATES)], axis=1)


@cache
def commit():
    """The commit of this code, or "unknown" where it is no git checkout or git is not installed."""
    try:
        git = subprocess.run(["git", "-C", paths.ROOT, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return git.stdout.strip() or "unknown"


def environment(device="cpu"):
    """What the manifest says of code and machine."""
    processor = next((line.split(":")[1].strip() for line in read_lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return {"commit": commit(), "python": platform.python_version(), "system": platform.system(),
            "processor": processor, "threads": torch.get_num_threads(), "precision": training.precision(device),
            "versions": {name: version(name) for name in ("torch", "numpy", "pandas", "scikit-learn", "opencv-python-headless")}}


def read_lines(path):
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def recorded_runs(store=None):
    """Every finished run under results/runs (or another store), sorted by its address."""
    store = Path(store or paths.RESULTS / "runs")
    return [load_run(path.parent) for path in sorted(store.glob("*/*/*/*/manifest.json")) if not path.parent.name.endswith(".partial")]


def record(profiles, settings=None, store=None):
    """Copy the finished runs of these profiles (and of these settings alone, if given) from the working store to results/runs, without weights.

    Runs that today's code would not make are left out (`is_current`). Returns the new folders.
    """
    copied = []
    for run in recorded_runs(store or paths.runs()):
        target = paths.RESULTS / "runs" / address(run.config)
        wanted = run.config["profile"]["name"] in profiles and (not settings or run.config["setting"]["name"] in settings)
        if wanted and is_current(run.config) and not (target / "manifest.json").is_file():
            copy_run(run.folder, target)
            copied.append(target)
    return copied


def is_current(config):
    """Whether a run of this config is of today's recipe, and its setting and profile, where the tables of settings know them, are as they stand there now."""
    setting, profile = NAMED.get(config["setting"]["name"]), config["profile"]["name"]
    if setting is None or profile not in PROFILES or config["setting"].get("method") == "pipeline":
        return config["recipe"] == RECIPE
    described = json.loads(json.dumps(describe(setting, profile_for(setting, PROFILES[profile]))))
    return config["recipe"] == RECIPE and described == {name: config[name] for name in described}


def copy_run(folder, target):
    """Copy a run without its weights, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        for left_over in (partial, target):
            shutil.rmtree(left_over, ignore_errors=True)
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns("*.safetensors", "*.npz", "*.lock"))
        os.replace(partial, target)
    except OSError as error:
        raise KneelError(f"cannot write {target} ({last_line(error)}): free some space; the runs that were copied before are kept") from None
