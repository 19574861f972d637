"""How each method of the tables learns from a fold's training knees and then predicts: network, mean shape, AAM and CLM, forest voting.

A method is a function `Task` -> `Result`. It learns from `task.known` alone; only the control "picked" looks at `task.held_out`.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kneel_lib import checkpoint, landmarks, looks, metrics, training
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.rois import cut_rois
from kneel_lib.hourglass import count_parameters
from kneel_lib.progress import Progress
from kneel_lib.settings import Profile, Setting

MARGIN_SHARE = 1 / 8
FORESTS = "forests.npz"
CHECKPOINT, PICKED = WORKING_FILES = "checkpoint.safetensors", "picked.safetensors"
"""Files of a run that is under way: needed until its predictions are made, and left out of the finished one."""


def run_seed(config):
    """One number for a run's seed and fold together."""
    fold = config["fold"] if isinstance(config["fold"], int) else 0
    return int(np.random.SeedSequence([config["seed"], fold]).generate_state(1)[0])


@dataclass(frozen=True)
class Task:
    """What a method is given. config: what the run is (`runs.make_config`). work: a folder for its checkpoints. first: a network to start from."""

    setting: Setting
    profile: Profile
    known: Cohort
    held_out: Cohort
    config: dict
    work: Path
    device: str = "cpu"
    first: torch.nn.Module | None = None

    @property
    def seed(self):
        return run_seed(self.config)

    def rois(self, centre="truth", margin_px=0):
        """The training knees' ROIs."""
        return cut_rois(self.known, self.profile.size_px, self.profile.spacing_mm, centre, margin_px)


@dataclass(frozen=True)
class Result:
    """What a method hands back: `predict(rois, centre)` -> (n, 16, 2) ROI pixels, and what there is to keep. predict_averaged: the same with averaged weights, if kept."""

    predict: object
    history: pd.DataFrame
    model: torch.nn.Module | None = None
    parameters: int = 0
    predict_averaged: object = None


def train_network(task):
    """Method "network": the hourglass for all landmarks, in ROIs around the truth."""
    rois = task.rois(margin_px=round(task.profile.size_px * MARGIN_SHARE))
    state = fit_network(task, rois, landmarks.COUNT)
    def predictor(model):
        return lambda rois, centre: training.predict(model, rois, task.device)
    return Result(predictor(state.model), pd.DataFrame(state.history), state.model, count_parameters(state.model),
                  predictor(state.averaged) if state.averaged and not task.setting.picked else None)


def search_network(task):
    """Method "search": the same network for the tibial centre alone, in pictures that are cut around their own middle (section 4.4).

    The other landmarks of its predictions are NaN.
    """
    rois = task.rois("image", margin_px=round(task.profile.size_px * MARGIN_SHARE))
    state = fit_network(task, replace(rois, landmarks_px=rois.landmarks_px[:, [landmarks.CENTRE]]), 1)
    final = state.model

    def predict(rois, centre):
        points = np.full((len(rois.images), landmarks.COUNT, 2), np.nan, np.float32)
        points[:, landmarks.CENTRE] = training.predict(final, rois, task.device)[:, 0]
        return points
    return Result(predict, pd.DataFrame(state.history), final, count_parameters(state.model))


def fit_network(task, rois, outputs):
    """Train on these ROIs, with a checkpoint after every epoch; returns the `training.State` with the network to predict with."""
    setting = task.setting
    profile = replace(task.profile, epochs=max(round(task.profile.epochs * setting.epoch_share), 1))
    path = task.work / CHECKPOINT
    state = training.start(setting, profile, len(training.batch_bounds(len(task.known), profile.batch)), task.seed, task.device, outputs)
    if path.is_file():
        state = checkpoint.restore_state(state, path)
    elif task.first is not None:
        take_over(task.first, state)
    progress = Progress(described(task.config), profile.epochs, state.epoch)

    def after_epoch(state):
        if setting.picked:
            pick(task, state)
        checkpoint.save_state(state, path)
        progress.advance(state.epoch, f"loss {state.history[-1]['loss']:.4f}")
    state = training.train(setting, profile, rois, task.seed, task.device, state, after_epoch)
    progress.close()
    if setting.picked:
        state.model.load_state_dict(checkpoint.load_tensors(task.work / PICKED)[0])
    return training.finish(setting, state)


def pick(task, state):
    """Control "picked": note the held-out fold's error after this epoch, and keep the network if it is the best so far, as the released code does."""
    rois = cut_rois(task.held_out, task.profile.size_px, task.profile.spacing_mm)
    errors = metrics.landmark_errors(rois.to_mm(training.predict(state.model, rois, task.device)), task.held_out.landmarks_mm)
    before = [epoch["held_out_mre"] for epoch in state.history[:-1]]
    state.history[-1]["held_out_mre"] = float(np.nanmean(errors))
    if not before or state.history[-1]["held_out_mre"] < min(before):
        checkpoint.save_weights(state.model, task.work / PICKED)


def described(config):
    """How a run is named in progress lines."""
    labels = f", {config['labels']} labels" if "labels" in config else ""
    start = f", from {config['start']['cohort']} {config['start']['setting']}" if "start" in config else ""
    return f"{config['setting']['name']}, fold {config['fold']}, seed {config['seed']}{labels}{start}"


def take_over(network, state):
    """Put a trained network's weights into a fresh training state wherever name and shape agree (section 4.4: all but the last layer)."""
    for model in filter(None, (state.model, state.averaged)):
        own = model.state_dict()
        fitting = {name: value for name, value in network.state_dict().items() if name in own and own[name].shape == value.shape}
        model.load_state_dict(own | fitting)


def look_again(task):
    """Method "looks": a trained network, and the mean of its answers to several views of each ROI. Its seconds are those of no training."""
    return Result(lambda rois, centre: looks.predict(task.first, rois, task.device), one_step(0.0), parameters=count_parameters(task.first))


def average_shape(task):
    """Method "mean_shape": the training knees' mean landmarks in the ROI, whatever the picture shows."""
    means = mean_shapes(task)
    return Result(lambda rois, centre: np.repeat(means.get(centre, means["truth"])[None], len(rois.images), axis=0), one_step(0.0))


def mean_shapes(task):
    """{ROI centre: the training knees' mean landmarks, (16, 2) ROI pixels}."""
    return {centre: np.nanmean(task.rois(centre).landmarks_px, axis=0) for centre in ("truth", "image")}


def one_step(seconds):
    """The history of a method that learns in one go."""
    return pd.DataFrame({"epoch": [0], "seconds": [seconds]})


def fit_menpo(task):
    """Methods "aam" and "clm": Menpo's models with the setting's features, started from the mean shape (section 4.2)."""
    from kneel_lib.baselines import menpo_models   # takes a second to import: only where it is used
    clock, rois = time.monotonic(), task.rois()
    model = menpo_models.train(task.setting.method, task.setting.features, rois.images, rois.landmarks_px)
    means, seconds = mean_shapes(task), time.monotonic() - clock
    return Result(lambda rois, centre: menpo_models.fit(model, rois.images, means.get(centre, means["truth"])), one_step(seconds))


def vote_with_forests(task):
    """Method "rfrv_clm": random-forest regression voting in a constrained local model, trained on the fold's own knees."""
    from kneel_lib.baselines import forest_voting
    clock, rois, options = time.monotonic(), task.rois(), forest_options(task.profile)
    bar = Progress(described(task.config), len(options.stages) * landmarks.COUNT, unit="forest")
    model = forest_voting.train(rois.images, rois.landmarks_px, task.profile.spacing_mm, options, task.seed, torch.get_num_threads(), bar.advance)
    bar.close()
    forest_voting.save(model, task.work / FORESTS)
    seconds = time.monotonic() - clock
    return Result(lambda rois, centre: forest_voting.fit(model, rois.images), one_step(seconds))


def forest_options(profile):
    """Size of the forests at a profile: tiny or quicker ones where the network is small too."""
    from kneel_lib.baselines import forest_voting
    if profile.width < 8:
        return forest_voting.TINY
    return replace(forest_voting.Options(), samples=4, candidates=100) if profile.width < 24 else forest_voting.Options()


METHODS = {"network": train_network, "search": search_network, "mean_shape": average_shape, "aam": fit_menpo, "clm": fit_menpo, "rfrv_clm": vote_with_forests, "looks": look_again}
