"""How fast training is, one change at a time: from the released recipe to ours (notebook 10, `python -m
studies.speed`).

A `Recipe` says how training is computed: apart from the network of its first rung and the library that
augments, nothing that is learned changes. Recipes are timed in alternating rounds of one process, so that a
change in the machine's load meets all of them. Operations are counted by torch itself, and set against the
rate of a large matrix product on the same machine: nothing that convolves can be much faster than that. The
last rungs are the library's own `training.step`.

The training rows of results/speed.csv and speed_profile.csv were recorded with an older state of the code,
whose last rungs were kernels of its own for batch norm and ReLU; its rows keep the names that they had.
"""

import multiprocessing
import resource
import statistics
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer
from torch.utils.data import DataLoader, Dataset

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.rois import Rois, cut_rois
from kneel_lib.experiment.methods import MARGIN_SHARE
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import fast_maps, training
from kneel_lib.network.augmentation import augment
from kneel_lib.network.losses import make_loss
from kneel_lib.network.precision import autocast, precision
from kneel_lib.network.ranges import MILD, Augmentation
from studies.speed.solt_augmentation import augment_one, reference_stream, seed_reference

LOADER_WORKERS = 2
STEPS_A_ROUND = 3
SETTING = SETTINGS["best_no_heatmap"]
"""What is learned on every rung: L1 in mm, one-cycle rate."""


@dataclass(frozen=True)
class Recipe:
    """How training is computed. network: "released" or "paper". augmentation: "solt" (knee by knee, in loader
    workers) or "batched" (ours, in torch).

    fused: Adam's one pass. ours: the library's own `training.step`. compiled: its maps compiled by torch.
    """

    name: str
    network: str = "released"
    augmentation: str = "solt"
    channels_last: bool = False
    precision: str = "fp32"
    fused: bool = False
    ours: bool = False
    compiled: bool = False


RELEASED = Recipe("released recipe")
PAPER = replace(RELEASED, name="the paper's network", network="paper")
BATCHED = replace(PAPER, name="+ batched augmentation", augmentation="batched")
CHANNELS_LAST = replace(BATCHED, name="+ channels_last", channels_last=True)
BF16 = replace(CHANNELS_LAST, name="+ bf16", precision="bf16")
FUSED_ADAM = replace(BF16, name="+ fused Adam", precision=precision("cpu"), fused=True)
OURS = replace(FUSED_ADAM, name="the library's own step", ours=True)
COMPILED = replace(OURS, name="+ torch.compile", compiled=True)

ALL = (RELEASED, PAPER, BATCHED, CHANNELS_LAST, BF16, FUSED_ADAM, OURS)
LADDER = tuple(recipe for recipe in ALL if recipe.precision in ("fp32", precision("cpu")))
"""The rungs of one process with all threads;
a machine with bf16 has that rung, and `COMPILED` as one more."""
SPREAD = "+ a process a core"
"""The rung of as many folds side by side as there are cores, each by `OURS` with one thread (`spread_rate`).
"""


@dataclass(frozen=True)
class Trainer:
    """A network in training under a recipe. step: one update from a batch of `batches`."""

    recipe: Recipe
    model: Any
    optimizer: torch.optim.Optimizer
    step: Callable[[torch.Tensor, torch.Tensor], None]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalised coordinates of standardised inputs, in the recipe's precision and layout."""
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        with autocast("cpu", self.recipe.precision):
            maps = self.model.maps(inputs.contiguous(memory_format=layout))
        return self.model.coordinates(maps)


def make_trainer(recipe: Recipe, profile: Profile, seed: int = 0) -> Trainer:
    """A fresh `Trainer`: the profile's network of the recipe's kind, L1 in mm, Adam."""
    return library_trainer(recipe, profile, seed) if recipe.ours else plain_trainer(recipe, profile, seed)


def library_trainer(recipe: Recipe, profile: Profile, seed: int) -> Trainer:
    compiled = partial(fast_maps.compiled_maps, batch=profile.batch)
    maps_of = compiled if recipe.compiled else fast_maps.plain_maps
    endless = 10_000  # batches an epoch: a schedule that does not end here
    state = training.start(SETTING, profile, endless, seed, "cpu", maps_of=maps_of)
    state.model.train()
    generator = torch.Generator().manual_seed(seed)

    def step(images: torch.Tensor, points: torch.Tensor) -> None:
        training.step(state, SETTING, profile, images, points, generator)

    return Trainer(recipe, state.model, state.optimizer, step)


def plain_trainer(recipe: Recipe, profile: Profile, seed: int) -> Trainer:
    torch.manual_seed(seed)
    model: Any = training.make_network(replace(SETTING, network=recipe.network), profile)
    model = (model.to(memory_format=torch.channels_last) if recipe.channels_last else model).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=SETTING.learning_rate, fused=recipe.fused)
    loss = make_loss("l1", "mm", 1.0, profile.size_px, profile.spacing_mm)

    def step(inputs: torch.Tensor, truth: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(trainer.forward(inputs), truth).backward()
        optimizer.step()

    trainer = Trainer(recipe, model, optimizer, step)
    return trainer


class Augmented(Dataset):
    """ROIs with their margin through solt, one at a time, as the released code's loader workers do it."""

    def __init__(self, rois: Rois, size_px: int, ranges: Augmentation) -> None:
        self.rois, self.size_px, self.stream = (
            rois,
            size_px,
            reference_stream(ranges, size_px, rois.images.shape[-1]),
        )

    def __len__(self) -> int:
        return len(self.rois.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture, points = augment_one(self.stream, self.rois.images[number], self.rois.landmarks_px[number])
        return torch.from_numpy(picture)[None].float() / 255, torch.from_numpy(points) / self.size_px


def seed_worker(number: int) -> None:
    seed_reference(torch.initial_seed() % 2**32)


def batches(
    recipe: Recipe, rois: Rois, profile: Profile, seed: int = 0, ranges: Augmentation = MILD
) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """Endless (standardised inputs, normalised truth) of whole batches in random order; for `training.step`,
    which augments by itself, (ROIs, their pixels).

    Close it: loader workers end with it.
    """
    generator = torch.Generator().manual_seed(seed)
    if recipe.augmentation == "solt":
        loader = DataLoader(
            Augmented(rois, profile.size_px, ranges),
            profile.batch,
            shuffle=True,
            drop_last=True,
            num_workers=LOADER_WORKERS,
            worker_init_fn=seed_worker,
            generator=generator,
        )
        while True:
            yield from ((training.standardise(pictures), truth) for pictures, truth in loader)
    images, points = torch.from_numpy(rois.images), torch.from_numpy(rois.landmarks_px)
    while True:
        for chosen in torch.randperm(len(images), generator=generator).split(profile.batch)[
            : len(images) // profile.batch
        ]:
            if recipe.ours:
                yield images[chosen], points[chosen]
                continue
            inputs, moved = augment(images[chosen], points[chosen], profile.size_px, ranges, generator)
            yield training.standardise(inputs), moved / profile.size_px


def training_rois(cohort: Cohort, profile: Profile) -> Rois:
    """The knees' ROIs with the margin that augmentation needs."""
    return cut_rois(
        cohort, profile.size_px, profile.spacing_mm, margin_px=round(profile.size_px * MARGIN_SHARE)
    )


def timer(call: Callable[[], object]) -> Timer:
    """torch's stopwatch for a call, with the threads that torch uses here; it warms up by itself."""
    return Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())


def rates(
    recipes: Sequence[Recipe], rois: Rois, profile: Profile, rounds: int = 3, steps: int = STEPS_A_ROUND
) -> dict[str, float]:
    """{recipe's name: images a second}: the median over alternating rounds."""
    trainers = [make_trainer(recipe, profile) for recipe in recipes]
    seen = [[one_round(trainer, rois, profile, steps) for trainer in trainers] for _ in range(rounds)]
    return {recipe.name: statistics.median(values) for recipe, values in zip(recipes, zip(*seen))}


def one_round(trainer: Trainer, rois: Rois, profile: Profile, steps: int) -> float:
    """Images a second over some steps of training, augmentation included, after two that fill the loaders."""
    with closing(batches(trainer.recipe, rois, profile)) as stream:
        return profile.batch / timer(lambda: trainer.step(*next(stream))).timeit(steps).mean


def peak_mb(recipe: Recipe, rois: Rois, profile: Profile, threads: int | None = None) -> float:
    """The most memory (MB) that two steps of training take in a process of their own, libraries included,
    loader workers not.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(own_peak_mb, recipe, rois, profile, threads or torch.get_num_threads()).result()


def own_peak_mb(recipe: Recipe, rois: Rois, profile: Profile, threads: int) -> float:
    torch.set_num_threads(threads)
    trainer = make_trainer(recipe, profile)
    with closing(batches(recipe, rois, profile)) as stream:
        for _ in range(2):
            trainer.step(*next(stream))
    status = Path("/proc/self/status")  # Linux: its own peak; getrusage there begins with its parent's
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def spread_rate(
    rois: Rois, profile: Profile, processes: int, threads: int, steps: int = STEPS_A_ROUND
) -> float:
    """Images a second of all processes together, each training a network of its own (another fold, say) by
    `OURS` with this many threads.
    """
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(own_rate, *zip(*[(rois, profile, steps, threads)] * processes)))


def own_rate(rois: Rois, profile: Profile, steps: int, threads: int) -> float:
    torch.set_num_threads(threads)
    return one_round(make_trainer(OURS, profile), rois, profile, steps)


def rates_by_cores(rois: Rois, profile: Profile, steps: int = 20) -> dict[str, float]:
    """{how the cores are used: images a second}."""
    cores = torch.get_num_threads()
    ways = {
        "one process, one thread": (1, 1),
        f"one process, {cores} threads": (1, cores),
        f"{cores} processes, one thread each": (cores, 1),
    }
    return {name: spread_rate(rois, profile, *way, steps) for name, way in ways.items()}
