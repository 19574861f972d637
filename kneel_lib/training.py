"""Training one network on one fold (section 4.3), and predicting with it. A whole recipe reads top to bottom here.

Nothing is picked on the held-out fold: the last epoch counts. All randomness comes from (seed, fold, epoch), so a run
that was cut off goes on from its checkpoint with the same numbers as one that was not.
"""

import math
import time
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kneel_lib import computing, hourglass, landmarks
from kneel_lib.augmentation import augment, cut_out, jitter
from kneel_lib.baselines import heatmap_network
from kneel_lib.errors import KneelError
from kneel_lib.losses import make_loss, map_divergence

EVALUATION_BATCH = 64
NETWORKS = {"paper": hourglass.PAPER, "released": hourglass.RELEASED}
AVERAGED = "averaged"
"""The schedule under which the moving average of the weights is what a run ends with."""
HEATMAP = "heatmap"
"""The network from outside, with heatmaps and a loss of its own (`baselines.heatmap_network`)."""


@dataclass
class State:
    """Everything that training changes: what a checkpoint has to keep. `epoch` counts the finished ones.

    averaged: the moving average of the weights, kept where the rate is constant. There the weights jump about to the end, and with them the error of whichever epoch
    happens to be the last; the average is what they jump about. Training does not see it. Under the schedule "averaged" `finish` puts it in the model's place.
    """

    model: torch.nn.Module
    loss: torch.nn.Module
    averaged: torch.nn.Module | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    epoch: int
    history: list


def make_network(setting, profile, outputs=landmarks.COUNT):
    """The untrained network of a setting at a profile's size. `KneelError` if the depth does not fit the ROI."""
    if setting.network == HEATMAP:
        return heatmap_network.SpatialConfiguration(outputs)
    if setting.network not in NETWORKS:
        raise KneelError(f"unknown network '{setting.network}': choose one of {', '.join([*NETWORKS, HEATMAP])}")
    base = NETWORKS[setting.network]
    depth = profile.depth if setting.network == "paper" else min(base.depth, profile.depth)
    architecture = replace(base, width=profile.width, depth=depth, landmarks=outputs, block=setting.block, dropout=setting.dropout)
    hourglass.check_image_size((profile.size_px, profile.size_px), depth)
    return hourglass.Hourglass(architecture)


def start(setting, profile, batches, seed, device, outputs=landmarks.COUNT):
    """A fresh `State`: network of `outputs` landmarks, loss, Adam and learning-rate schedule for `batches` batches an epoch."""
    torch.manual_seed(seed)
    model = make_network(setting, profile, outputs).to(device, memory_format=torch.channels_last)
    if setting.network == HEATMAP:
        loss = heatmap_network.HeatmapLoss(outputs, profile.size_px, profile.spacing_mm).to(device)
    else:
        loss = make_loss(setting.loss, setting.loss_frame, setting.loss_weight, profile.size_px, profile.spacing_mm).to(device)
    parameters = [*model.parameters(), *loss.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=setting.learning_rate, weight_decay=setting.weight_decay, fused=True)
    if setting.schedule == "one_cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, setting.learning_rate, total_steps=profile.epochs * batches)
    elif setting.schedule in ("constant", AVERAGED):
        schedule = None
    else:
        raise KneelError(f"unknown schedule '{setting.schedule}': choose constant, one_cycle or {AVERAGED}")
    averaged = deepcopy(model).requires_grad_(False) if schedule is None else None
    return State(model, loss, averaged, optimizer, schedule, 0, [])


def train(setting, profile, rois, seed, device="cpu", state=None, after_epoch=lambda state: None):
    """Train on `rois` (cut with a margin) to the profile's last epoch; returns the `State`.

    state: where to go on, from a checkpoint; else from the start. after_epoch is called with the state after every
    epoch. `seed` must differ between folds.
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
        losses = [step(state, setting, profile, images[order[a:b]], points[order[a:b]], generator) for a, b in batches]
        mean = torch.stack(losses).double().mean().item()   # the only time in an epoch that a GPU is waited for
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "learning_rate": state.optimizer.param_groups[0]["lr"],
                              "loss": mean, "seconds": time.monotonic() - started})
        if not math.isfinite(state.history[-1]["loss"]):
            raise KneelError(f"setting {setting.name}: the loss is not finite after epoch {state.epoch}: lower its learning rate")
        after_epoch(state)
    return state


def finish(setting, state):
    """The state with the network that the run ends with: that of the last epoch, or under the schedule "averaged" the moving average."""
    return replace(state, model=state.averaged, averaged=None) if setting.schedule == AVERAGED else state


def epoch_seed(seed, epoch):
    """One number for each pair of seed and epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def batch_bounds(count, batch):
    """(first, last + 1) of each batch; a last batch of one, which batch norm cannot use, is left out."""
    return [(a, min(a + batch, count)) for a in range(0, count, batch) if min(a + batch, count) - a > 1]


def step(state, setting, profile, images, points, generator):
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
        move_average(state.averaged, state.model, setting.average_decay)
    return loss.detach()


def batch_loss(state, setting, inputs, truth, generator):
    """The loss of a batch: plain, or one of the mixup forms (eq. 5 to 9; `Setting.mixup` says which)."""
    def compare(maps, targets):
        if setting.network == HEATMAP:
            return state.loss(maps, targets)
        loss = state.loss(state.model.coordinates(maps), targets)
        if not setting.map_term:
            return loss
        return loss + setting.map_term * map_divergence(maps, targets, setting.map_sigma, state.model.architecture.beta, setting.map_divergence)

    if not setting.mixup_alpha:
        return compare(predict_maps(state.model, inputs), truth)
    share = mixing_share(setting.mixup_alpha, generator)
    other = torch.randperm(len(inputs), generator=generator)
    in_image = share if setting.mixup == "released" else max(share, 1 - share)
    mixed = predict_maps(state.model, in_image * inputs + (1 - in_image) * inputs[other])
    if setting.mixup == "standard":
        return in_image * compare(mixed, truth) + (1 - in_image) * compare(mixed, truth[other])
    if setting.mixup not in ("paper", "released"):
        raise KneelError(f"unknown mixup '{setting.mixup}': choose paper, released or standard")
    return share * compare(predict_maps(state.model, inputs), truth) + (1 - share) * compare(mixed, truth[other])


def loss_and_decay(model, setting, profile, images, points):
    """(norm of the loss's gradient, norm of the weight decay's) on one batch: what Adam adds up before it divides by its own size.

    images: (n, 1, S, S) in 0 to 1. points: (n, 16, 2) ROI pixels. The decay of the setting WING, 1e-4, is used for every setting.
    """
    model.eval()
    loss = make_loss(setting.loss, setting.loss_frame, setting.loss_weight, profile.size_px, profile.spacing_mm)
    model.zero_grad(set_to_none=True)
    coordinates = model.coordinates(predict_maps(model, standardise(images)))
    loss(coordinates, points / profile.size_px).backward()
    weights = [parameter for parameter in model.parameters() if parameter.grad is not None]
    gradient = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in weights))
    decay = 1e-4 * math.sqrt(sum(float(parameter.detach().square().sum()) for parameter in weights))
    model.zero_grad(set_to_none=True)
    return gradient, decay


def mixing_share(alpha, generator):
    """lambda ~ Beta(alpha, alpha), eq. 5, from the run's own generator."""
    seed = int(torch.randint(2 ** 31, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def standardise(images):
    """Grey values in [0, 1] to about zero mean and unit deviation, channels last: what the network sees."""
    return ((images - 0.45) / 0.25).contiguous(memory_format=torch.channels_last)


def move_average(averaged, model, decay):
    """Move the averaged weights (and batch-norm statistics) towards the model's by 1 - decay; counts of batches, which nothing reads, stay."""
    moving, current = ([tensor for tensor in chain(network.parameters(), network.buffers()) if tensor.is_floating_point()] for network in (averaged, model))
    get_ema_multi_avg_fn(decay)(moving, current, None)


def precision(device):
    """"bf16" where the machine computes in it, else "fp32"; or what was chosen by `computing.computing_in`."""
    kind = torch.device(device).type
    if computing.current().precision:
        return computing.current().precision
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()) else "fp32"


def predict_maps(model, inputs):
    """The network's maps for standardised inputs, under autocast where the machine gains from it."""
    device = inputs.device.type
    with torch.autocast(device, torch.bfloat16) if precision(device) == "bf16" else nullcontext():
        return model.maps(inputs)


@torch.no_grad()
def predict(model, rois, device="cpu"):
    """Landmarks of each ROI in ROI pixels (without the margin), (n, M, 2) float32."""
    model.eval()
    edge = rois.margin_px
    inside = slice(edge, edge + rois.size_px)
    images = torch.from_numpy(np.ascontiguousarray(rois.images[:, None, inside, inside]))
    if torch.device(device).type == "cuda":
        images = images.pin_memory()   # so that a batch travels while the one before it is computed
    coordinates = [model.coordinates(predict_maps(model, standardise(part.to(device, non_blocking=True).float() / 255))) for part in images.split(EVALUATION_BATCH)]
    return torch.cat(coordinates).cpu().numpy() * rois.size_px
