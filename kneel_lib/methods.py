"""How each method of the tables learns from a fold's training knees and then predicts: network, mean shape, AAM and CLM, forest voting.

A method is a function (setting, profile, cohort, config, work, device, start) -> `Result`. It sees the training knees only.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from kneel_lib import checkpoint, landmarks, training
from kneel_lib.data.rois import cut_rois
from kneel_lib.hourglass import count_parameters
from kneel_lib.progress import Progress

MARGIN_SHARE = 1 / 8


@dataclass(frozen=True)
class Result:
    """What a method hands back: `predict(rois, centre)` -> (n, 16, 2) ROI pixels, and what there is to keep."""

    predict: object
    history: pd.DataFrame
    model: torch.nn.Module | None = None
    parameters: int = 0


def train_network(setting, profile, cohort, config, work, device, start):
    """Method "network": the hourglass, with a checkpoint after every epoch."""
    rois = cut_rois(cohort, profile.size_px, profile.spacing_mm, "truth", round(profile.size_px * MARGIN_SHARE))
    fold = 0 if config["fold"] == "all" else config["fold"]
    seed = int(np.random.SeedSequence([config["seed"], fold]).generate_state(1)[0])
    path = work / "checkpoint.safetensors"
    state = training.start(setting, profile, len(training.batch_bounds(len(cohort), profile.batch)), seed, device)
    if path.is_file():
        state = checkpoint.restore_state(state, path)
    elif start is not None:
        take_over(start.load_network(), state)
    progress = Progress(described(config), profile.epochs, state.epoch)

    def after_epoch(state):
        checkpoint.save_state(state, path)
        progress.advance(state.epoch, f"loss {state.history[-1]['loss']:.4f}")
    state = training.train(setting, profile, rois, seed, device, state, after_epoch)
    progress.close()
    return Result(lambda rois, centre: training.predict(state.final, rois, device), pd.DataFrame(state.history), state.final,
                  count_parameters(state.final if not state.averaged else state.model))


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


def average_shape(setting, profile, cohort, config, work, device, start):
    """Method "mean_shape": the training knees' mean landmarks in the ROI, whatever the picture shows."""
    means = mean_shapes(profile, cohort)
    return Result(lambda rois, centre: np.repeat(means.get(centre, means["truth"])[None], len(rois.images), axis=0), one_step(0.0))


def mean_shapes(profile, cohort):
    """{ROI centre: the knees' mean landmarks, (16, 2) ROI pixels}."""
    rois = {centre: cut_rois(cohort, profile.size_px, profile.spacing_mm, centre) for centre in ("truth", "image")}
    return {centre: np.nanmean(part.landmarks_px, axis=0) for centre, part in rois.items()}


def one_step(seconds):
    """The history of a method that learns in one go."""
    return pd.DataFrame({"epoch": [0], "seconds": [seconds]})


def fit_menpo(setting, profile, cohort, config, work, device, start):
    """Methods "aam" and "clm": Menpo's models with the setting's features, started from the mean shape (section 4.2)."""
    from kneel_lib.baselines import menpo_models   # takes a second to import: only where it is used
    clock, rois = time.monotonic(), cut_rois(cohort, profile.size_px, profile.spacing_mm)
    model = menpo_models.train(setting.method, setting.features, rois.images, rois.landmarks_px)
    means, seconds = mean_shapes(profile, cohort), time.monotonic() - clock
    return Result(lambda rois, centre: menpo_models.fit(model, rois.images, means.get(centre, means["truth"])), one_step(seconds))


def vote_with_forests(setting, profile, cohort, config, work, device, start):
    """Method "rfrv_clm": random-forest regression voting in a constrained local model, trained on the fold's own knees."""
    from kneel_lib.baselines import forest_voting
    clock, rois = time.monotonic(), cut_rois(cohort, profile.size_px, profile.spacing_mm)
    fold = 0 if config["fold"] == "all" else config["fold"]
    seed = int(np.random.SeedSequence([config["seed"], fold]).generate_state(1)[0])
    options = forest_options(profile)
    bar = Progress(described(config), len(options.stages) * landmarks.COUNT, unit="forest")
    model = forest_voting.train(rois.images, rois.landmarks_px, profile.spacing_mm, options, seed, torch.get_num_threads(), bar.advance)
    bar.close()
    seconds = time.monotonic() - clock
    return Result(lambda rois, centre: forest_voting.fit(model, rois.images), one_step(seconds))


def forest_options(profile):
    """Size of the forests at a profile: tiny or quicker ones where the network is small too."""
    from kneel_lib.baselines import forest_voting
    if profile.width < 8:
        return forest_voting.TINY
    return replace(forest_voting.Options(), samples=4, candidates=100) if profile.width < 24 else forest_voting.Options()


METHODS = {"network": train_network, "mean_shape": average_shape, "aam": fit_menpo, "clm": fit_menpo, "rfrv_clm": vote_with_forests}
