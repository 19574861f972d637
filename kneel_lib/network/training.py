"""Training one network on one fold (section 4.3), and predicting with it: a whole recipe, top to bottom.

Nothing is picked on the held-out fold: the last epoch counts. All randomness comes from (seed, fold, epoch),
so a run that was cut off goes on from its checkpoint with the same numbers as one that was not.

`setting` is an `experiment.settings.Setting` throughout, `profile` an `experiment.profiles.Profile`; `model`
has the methods `maps` and `coordinates` of `hourglass.Hourglass`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kneel_lib import landmarks
from kneel_lib.data.rois import Rois
from kneel_lib.errors import KneelError, find
from kneel_lib.network import heatmap_network, hourglass
from kneel_lib.network.augmentation import augment, cut_out, jitter
from kneel_lib.network.fast_maps import MapsOf, training_maps
from kneel_lib.network.losses import heatmap_regularisation, make_loss
from kneel_lib.network.precision import autocast

EVALUATION_BATCH = 64
NETWORKS = {"paper": hourglass.PAPER, "released": hourglass.RELEASED}
EMA = "ema"
"""The schedule under which a run ends with the EMA weights."""
SCHEDULES = "constant", "one_cycle", EMA
MIXUPS = "paper", "released", "standard"
HEATMAP = "heatmap"
"""The network from outside, with heatmaps and a loss of its own (`network.heatmap_network`)."""


@dataclass
class State:
    """Everything that training changes: what a checkpoint has to keep. `epoch` counts the finished ones.

    maps: the model's maps as training computes them (`fast_maps`); all others call `model.maps`.
    averaged: the EMA weights, kept where the rate is constant. There the weights jump about
    to the end, and with them the error of whichever epoch happens to be the last; the average is what they
    jump about. Training does not see it. Under the schedule "ema" `finish` puts it in the model's place.
    """

    model: Any
    maps: Callable[[torch.Tensor], torch.Tensor]
    loss: torch.nn.Module
    averaged: AveragedModel | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    epoch: int
    history: list[dict[str, Any]]


def make_network(setting: Any, profile: Any, outputs: int = landmarks.COUNT) -> torch.nn.Module:
    """The untrained network of a setting at a profile's size; `KneelError` if the ROI is too small for it."""
    if setting.network == HEATMAP:
        return heatmap_network.SpatialConfiguration(outputs)
    base = find(setting.network, {**NETWORKS, HEATMAP: None}, "network")
    depth = profile.depth if setting.network == "paper" else min(base.depth, profile.depth)
    architecture = replace(
        base,
        width=profile.width,
        depth=depth,
        landmarks=outputs,
        block=setting.block,
        dropout=setting.dropout,
    )
    hourglass.check_image_size((profile.size_px, profile.size_px), depth)
    return hourglass.Hourglass(architecture)


def start(
    setting: Any,
    profile: Any,
    batches: int,
    seed: int,
    device: torch.device | str,
    outputs: int = landmarks.COUNT,
    maps_of: Callable[[Any], MapsOf] | None = None,
) -> State:
    """A fresh `State`: network of `outputs` landmarks, loss, Adam, and schedule for `batches` an epoch.

    maps_of: how the model's maps are computed (None: `fast_maps.training_maps` decides).
    """
    torch.manual_seed(seed)
    model: Any = make_network(setting, profile, outputs)
    model = model.to(device, memory_format=torch.channels_last)
    loss: torch.nn.Module
    if setting.network == HEATMAP:
        loss = heatmap_network.HeatmapLoss(outputs, profile.size_px, profile.spacing_mm).to(device)
    else:
        loss = make_loss(
            setting.loss, setting.loss_frame, setting.loss_weight, profile.size_px, profile.spacing_mm
        ).to(device)
    parameters = [*model.parameters(), *loss.parameters()]
    optimizer = torch.optim.Adam(
        parameters, lr=setting.learning_rate, weight_decay=setting.weight_decay, fused=True
    )
    if find(setting.schedule, SCHEDULES, "schedule") == "one_cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, setting.learning_rate, total_steps=profile.epochs * batches
        )
    else:
        schedule = None
    averaged = moving_average(model, setting.ema_decay) if schedule is None else None
    picture = torch.zeros(profile.batch, 1, profile.size_px, profile.size_px, device=device)
    steps, calls = profile.epochs * batches, 2 if mixes_maps(setting) else 1
    maps = maps_of(model) if maps_of else training_maps(model, standardise(picture), steps, calls)
    return State(model, maps, loss, averaged, optimizer, schedule, 0, [])


def moving_average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose `update_parameters` moves it towards the model by 1 - decay.

    So it does with batch-norm statistics; counts of batches, which nothing reads, stay. The average begins
    with the model's first weights, so the first update must not copy.
    """
    move = get_ema_multi_avg_fn(decay)

    def move_floats(averaged: Any, current: Any, count: Any) -> None:
        if averaged[0].is_floating_point():
            move(averaged, current, count)

    averaged = AveragedModel(model, multi_avg_fn=move_floats, use_buffers=True)
    averaged.n_averaged.fill_(1)
    return averaged


def train(
    setting: Any,
    profile: Any,
    rois: Rois,
    seed: int,
    device: torch.device | str = "cpu",
    state: State | None = None,
    after_epoch: Callable[[State], Any] = lambda state: None,
) -> State:
    """Train on `rois` (cut with a margin) to the profile's last epoch; returns the `State`.

    state: where to go on, from a checkpoint; else from the start. after_epoch is called with the state after
    every epoch. `seed` must differ between folds.
    """
    images = torch.from_numpy(rois.images).to(device)
    points = torch.from_numpy(rois.landmarks_px).to(device)
    batches = list(batch_bounds(len(images), profile.batch))
    state = state or start(setting, profile, len(batches), seed, device)
    while state.epoch < profile.epochs:
        started = time.monotonic()
        torch.manual_seed(epoch_seed(seed, state.epoch))
        generator = torch.Generator().manual_seed(epoch_seed(seed, state.epoch))
        order = torch.randperm(len(images), generator=generator)
        state.model.train()
        losses = [
            step(state, setting, profile, images[order[a:b]], points[order[a:b]], generator)
            for a, b in batches
        ]
        mean = torch.stack(losses).double().mean().item()  # the one time in an epoch that a GPU is waited for
        state.epoch += 1
        state.history.append(
            {
                "epoch": state.epoch,
                "learning_rate": state.optimizer.param_groups[0]["lr"],
                "loss": mean,
                "seconds": time.monotonic() - started,
            }
        )
        if not math.isfinite(state.history[-1]["loss"]):
            raise KneelError(
                f"setting {setting.name}: the loss is not finite after epoch {state.epoch}: "
                "lower its learning rate"
            )
        after_epoch(state)
    return state


def finish(setting: Any, state: State) -> State:
    """The state with the network that the run ends with: the last epoch's, or under "ema" the EMA weights."""
    if setting.schedule != EMA:
        return state
    assert state.averaged is not None, "under this schedule the EMA weights are kept"
    return replace(state, model=state.averaged.module, averaged=None)


def epoch_seed(seed: int, epoch: int) -> int:
    """One number for each pair of seed and epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def batch_bounds(count: int, batch: int) -> list[tuple[int, int]]:
    """(first, last + 1) of each batch; a last batch of one, which batch norm cannot use, is left out."""
    return [(a, min(a + batch, count)) for a in range(0, count, batch) if min(a + batch, count) - a > 1]


def step(
    state: State,
    setting: Any,
    profile: Any,
    images: torch.Tensor,
    points: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """One batch: augment, predict, update. Returns the loss, still on its device."""
    inputs, points = augment(images, points, profile.size_px, setting.augmentation, generator)
    if setting.cutout:
        inputs = cut_out(inputs, setting.cutout, generator)
    if setting.jitter_mm:
        points = jitter(points, setting.jitter_mm / profile.spacing_mm, generator)
    loss = batch_loss(state, setting, standardise(inputs), points / profile.size_px, generator)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
    if state.schedule:
        state.schedule.step()
    if state.averaged:
        state.averaged.update_parameters(state.model)
    return loss.detach()


def batch_loss(
    state: State, setting: Any, inputs: torch.Tensor, truth: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """The loss of a batch: plain, or one of the mixup forms (eq. 5 to 9; `Setting.mixup` says which)."""

    def maps_of(pictures: torch.Tensor) -> torch.Tensor:
        with autocast(pictures.device):
            return state.maps(pictures)

    def compare(maps: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if setting.network == HEATMAP:
            return state.loss(maps, targets)
        loss = state.loss(state.model.coordinates(maps), targets)
        if not setting.heatmap_weight:
            return loss
        return loss + setting.heatmap_weight * heatmap_regularisation(
            maps, targets, setting.heatmap_sigma, state.model.architecture.beta, setting.heatmap_divergence
        )

    if not setting.mixup_alpha:
        return compare(maps_of(inputs), truth)
    find(setting.mixup, MIXUPS, "mixup")
    share = mixing_share(setting.mixup_alpha, generator)
    other = torch.randperm(len(inputs), generator=generator)
    in_image = share if setting.mixup == "released" else max(share, 1 - share)
    mixed = maps_of(in_image * inputs + (1 - in_image) * inputs[other])
    if setting.mixup == "standard":
        return in_image * compare(mixed, truth) + (1 - in_image) * compare(mixed, truth[other])
    return share * compare(maps_of(inputs), truth) + (1 - share) * compare(mixed, truth[other])


def loss_and_decay(
    model: Any, setting: Any, profile: Any, images: torch.Tensor, points: torch.Tensor
) -> tuple[float, float]:
    """(norm of the loss's gradient, norm of the weight decay's) on one batch: what Adam adds up before it
    divides by its own size.

    images: (n, 1, S, S) in 0 to 1. points: (n, 16, 2) ROI pixels. The decay of the setting WING, 1e-4, is
    used for every setting.
    """
    model.eval()
    loss = make_loss(
        setting.loss, setting.loss_frame, setting.loss_weight, profile.size_px, profile.spacing_mm
    )
    model.zero_grad(set_to_none=True)
    coordinates = model.coordinates(predict_maps(model, standardise(images)))
    loss(coordinates, points / profile.size_px).backward()
    weights = [parameter for parameter in model.parameters() if parameter.grad is not None]
    gradient = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in weights))
    decay = 1e-4 * math.sqrt(sum(float(parameter.detach().square().sum()) for parameter in weights))
    model.zero_grad(set_to_none=True)
    return gradient, decay


def mixes_maps(setting: Any) -> bool:
    """Whether a step computes maps twice: of the images, and of the mixed ones (eq. 9)."""
    return setting.mixup_alpha > 0 and setting.mixup != "standard"


def mixing_share(alpha: float, generator: torch.Generator) -> float:
    """lambda ~ Beta(alpha, alpha), eq. 5, from the run's own generator."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def standardise(images: torch.Tensor) -> torch.Tensor:
    """Grey values in [0, 1] to about zero mean and unit deviation, channels last: what the network sees."""
    return ((images - 0.45) / 0.25).contiguous(memory_format=torch.channels_last)


def predict_maps(model: Any, inputs: torch.Tensor, precision: str | None = None) -> torch.Tensor:
    """The network's maps for standardised inputs, in the device's precision or in this one."""
    with autocast(inputs.device, precision):
        return model.maps(inputs)


@torch.no_grad()
def predict(
    model: Any, rois: Rois, device: torch.device | str = "cpu", precision: str | None = None
) -> np.ndarray:
    """Landmarks of each ROI in ROI pixels (without the margin), (n, M, 2) float32."""
    model.eval()
    edge = rois.margin_px
    inside = slice(edge, edge + rois.size_px)
    images = torch.from_numpy(np.ascontiguousarray(rois.images[:, None, inside, inside]))
    if torch.device(device).type == "cuda":
        images = images.pin_memory()  # so that a batch travels while the one before it is computed
    coordinates = [
        model.coordinates(
            predict_maps(model, standardise(part.to(device, non_blocking=True).float() / 255), precision)
        )
        for part in images.split(EVALUATION_BATCH)
    ]
    return torch.cat(coordinates).cpu().numpy() * rois.size_px
