"""How each method of the tables learns from a fold's training knees and then predicts.

A method is a function `Task` -> `Result`. It learns from `task.known` alone; only the ablation "picked" looks
at `task.held_out`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kneel_lib import landmarks, metrics
from kneel_lib.baselines import rfrv_clm
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.rois import Rois, cut_rois
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.settings import Setting
from kneel_lib.experiment.spec import RunSpec
from kneel_lib.network import checkpoint, test_time_augmentation, training
from kneel_lib.network.hourglass import count_parameters
from kneel_lib.progress import Progress

MARGIN_SHARE = 1 / 8
FORESTS = "forests.npz"
CHECKPOINT, PICKED = WORKING_FILES = "checkpoint.safetensors", "picked.safetensors"
"""Files of a run that is under way: needed until its predictions are made, then left out."""


@dataclass(frozen=True)
class Task:
    """What a method is given. work: a folder for its checkpoints. first: a network to start from."""

    spec: RunSpec
    known: Cohort
    held_out: Cohort
    work: Path
    device: str = "cpu"
    first: torch.nn.Module | None = None

    @property
    def setting(self) -> Setting:
        return self.spec.setting

    @property
    def profile(self) -> Profile:
        return self.spec.profile

    def rois(self, centre: str = "truth", margin_px: int = 0) -> Rois:
        """The training knees' ROIs."""
        return cut_as(self.spec, self.known, centre, margin_px)


def cut_as(spec: RunSpec, cohort: Cohort, centre: str = "truth", margin_px: int = 0) -> Rois:
    """The ROIs of these knees as the run of a spec sees them."""
    profile, setting = spec.profile, spec.setting
    return cut_rois(
        cohort, profile.size_px, profile.spacing_mm, centre, margin_px, setting.roi_scale, setting.grey
    )


Predict = Callable[[Rois, str], np.ndarray]
"""(ROIs, what they are centred on) -> landmarks (n, 16, 2) in ROI pixels."""


@dataclass(frozen=True)
class Result:
    """What a method hands back, and what to keep. predict_ema: `predict` with EMA weights, if kept."""

    predict: Predict
    history: pd.DataFrame
    model: torch.nn.Module | None = None
    parameters: int = 0
    predict_ema: Predict | None = None


def train_network(task: Task, centre: str = "truth") -> Result:
    """Method "network": the hourglass for all landmarks, in ROIs around the truth. With the centre "image" it
    is method "search": a knee that lies anywhere in its picture, at any size; ROIs are the pictures."""
    rois = task.rois(centre, margin_px=round(task.profile.size_px * MARGIN_SHARE))
    state = fit_network(task, rois, landmarks.COUNT)

    def predictor(model: torch.nn.Module) -> Predict:
        return lambda rois, centre: training.predict(model, rois, task.device)

    return Result(
        predictor(state.model),
        pd.DataFrame(state.history),
        state.model,
        count_parameters(state.model),
        predictor(state.averaged.module) if state.averaged and not task.setting.picked else None,
    )


def localise_roi(task: Task) -> Result:
    """Method "roi": the same network for the tibial centre alone, in whole pictures (section 4.4).

    ROIs are cut around the pictures' own middle. The other landmarks of its predictions are NaN.
    """
    rois = task.rois("image", margin_px=round(task.profile.size_px * MARGIN_SHARE))
    state = fit_network(task, replace(rois, landmarks_px=rois.landmarks_px[:, [landmarks.CENTRE]]), 1)
    final = state.model

    def predict(rois: Rois, centre: str) -> np.ndarray:
        points = np.full((len(rois.images), landmarks.COUNT, 2), np.nan, np.float32)
        points[:, landmarks.CENTRE] = training.predict(final, rois, task.device)[:, 0]
        return points

    return Result(predict, pd.DataFrame(state.history), final, count_parameters(state.model))


def fit_network(task: Task, rois: Rois, outputs: int) -> training.State:
    """Train on these ROIs, with a checkpoint after every epoch; returns the `training.State` with the network
    to predict with."""
    setting = task.setting
    profile = replace(task.profile, epochs=max(round(task.profile.epochs * setting.epoch_share), 1))
    path = task.work / CHECKPOINT
    state = training.start(
        setting,
        profile,
        len(training.batch_bounds(len(task.known), profile.batch)),
        task.spec.generator_seed,
        task.device,
        outputs,
    )
    if path.is_file():
        state = checkpoint.restore_state(state, path, profile.epochs)
    elif task.first is not None:
        take_over(task.first, state)
    progress = Progress(task.spec.said, profile.epochs, state.epoch)

    def after_epoch(state: training.State) -> None:
        if setting.picked:
            pick(task, state)
        checkpoint.save_state(state, path)
        progress.advance(state.epoch, f"loss {state.history[-1]['loss']:.4f}")

    state = training.train(setting, profile, rois, task.spec.generator_seed, task.device, state, after_epoch)
    progress.close()
    if setting.picked:
        checkpoint.load_weights(state.model, task.work / PICKED)
    return training.finish(setting, state)


def pick(task: Task, state: training.State) -> None:
    """Ablation "picked", as the released code does: note the held-out fold's error after this epoch, and keep
    the network if it is the best so far."""
    rois = cut_as(task.spec, task.held_out)
    errors = metrics.landmark_errors(
        rois.to_mm(training.predict(state.model, rois, task.device)), task.held_out.landmarks_mm
    )
    before = [epoch["held_out_mre"] for epoch in state.history[:-1]]
    state.history[-1]["held_out_mre"] = float(np.nanmean(errors))
    if not before or state.history[-1]["held_out_mre"] < min(before):
        checkpoint.save_weights(state.model, task.work / PICKED)


def take_over(network: torch.nn.Module, state: training.State) -> None:
    """Put a trained network's weights into a fresh training state wherever name and shape agree (section 4.4:
    all but the last layer)."""
    for model in filter(None, (state.model, state.averaged and state.averaged.module)):
        own = model.state_dict()
        fitting = {
            name: value
            for name, value in network.state_dict().items()
            if name in own and own[name].shape == value.shape
        }
        model.load_state_dict(own | fitting)


def average_views(task: Task) -> Result:
    """Method "tta": a trained network, and the mean of its predictions for several views; trains nothing."""
    assert task.first is not None, "a setting of this method names the row that it starts from"
    return Result(
        lambda rois, centre: test_time_augmentation.predict(task.first, rois, task.device),
        one_step(0.0),
        parameters=count_parameters(task.first),
    )


def average_shape(task: Task) -> Result:
    """Method "mean_shape": the training knees' mean landmarks in the ROI, whatever the picture shows."""
    means = mean_shapes(task)
    return Result(
        lambda rois, centre: np.repeat(means.get(centre, means["truth"])[None], len(rois.images), axis=0),
        one_step(0.0),
    )


def mean_shapes(task: Task) -> dict[str, np.ndarray]:
    """{ROI centre: the training knees' mean landmarks, (16, 2) ROI pixels}."""
    return {centre: np.nanmean(task.rois(centre).landmarks_px, axis=0) for centre in ("truth", "image")}


def one_step(seconds: float) -> pd.DataFrame:
    """The history of a method that learns in one go."""
    return pd.DataFrame({"epoch": [0], "seconds": [seconds]})


def fit_menpo(task: Task) -> Result:
    """Methods "aam" and "clm": Menpo's models with the setting's features, started from the mean shape
    (section 4.2)."""
    from kneel_lib.baselines import aam_clm  # takes a second to import: only where it is used

    clock, rois = time.monotonic(), task.rois()
    model = aam_clm.train(task.setting.method, task.setting.features, rois.images, rois.landmarks_px)
    means, seconds = mean_shapes(task), time.monotonic() - clock
    return Result(
        lambda rois, centre: aam_clm.fit(model, rois.images, means.get(centre, means["truth"])),
        one_step(seconds),
    )


def vote_with_forests(task: Task) -> Result:
    """Method "rfrv_clm": random-forest regression voting in a constrained local model, trained on the fold's
    own knees."""
    clock, stages = time.monotonic(), forest_options(task.profile).stages
    bar = Progress(task.spec.said, len(stages) * landmarks.COUNT, unit="forest")
    model = train_forests(task.spec, task.rois(), bar.advance)
    bar.close()
    rfrv_clm.save(model, task.work / FORESTS)
    seconds = time.monotonic() - clock
    return Result(lambda rois, centre: rfrv_clm.fit(model, rois.images), one_step(seconds))


def train_forests(
    spec: RunSpec, rois: Rois, progress: Callable[[int], Any] = lambda done: None
) -> rfrv_clm.Model:
    """The voting forests of a run, from the ROIs of its training knees."""
    return rfrv_clm.train(
        rois.images,
        rois.landmarks_px,
        spec.profile.spacing_mm,
        forest_options(spec.profile),
        spec.generator_seed,
        torch.get_num_threads(),
        progress,
    )


def forest_options(profile: Profile) -> rfrv_clm.Options:
    """Size of the forests at a profile: tiny or quicker ones where the network is small too."""
    if profile.width < 8:
        return rfrv_clm.TINY
    return (
        replace(rfrv_clm.Options(), samples=4, candidates=100) if profile.width < 24 else rfrv_clm.Options()
    )


METHODS = {
    "network": train_network,
    "roi": localise_roi,
    "search": partial(train_network, centre="image"),
    "mean_shape": average_shape,
    "aam": fit_menpo,
    "clm": fit_menpo,
    "rfrv_clm": vote_with_forests,
    "tta": average_views,
}
