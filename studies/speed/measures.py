"""What a step of training is made of, and what it is set against: operations, the machine's limit, kinds of
operation, sizes, hours of a whole table; and the file that the rows of this study are kept in.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from kneel_lib.data.cohort import Cohort
from kneel_lib.data.rois import Rois
from kneel_lib.experiment import runs
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import training
from kneel_lib.paths import RESULTS
from kneel_lib.reporting.export import write_table
from kneel_lib.reporting.selection import paper_table
from studies.speed.training import OURS, SETTING, Recipe, batches, make_trainer, rates, timer, training_rois


def operations(network: str, profile: Profile) -> float:
    """Floating-point operations (GFLOP) for training on one image: forward and backward, a product and a sum
    as two, counted by torch on the meta device.
    """
    with torch.device("meta"):
        model: Any = training.make_network(replace(SETTING, network=network), profile)
        with FlopCounterMode(display=False) as counter:
            model.maps(torch.zeros(2, 1, profile.size_px, profile.size_px)).sum().backward()
    return counter.get_total_flops() / 2 / 1e9


def matrix_rate(precision: str = "bf16", size: int = 2048) -> float:
    """GFLOP a second of a large matrix product with the threads that torch uses: the machine's limit, as far
    as a library reaches it.
    """
    factor = torch.rand(size, size).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * size**3 / timer(lambda: factor @ factor).blocked_autorange().median / 1e9


KINDS = {
    "convolution": ("convolution", "mkldnn"),
    "batch norm": ("batch_norm",),
    "ReLU": ("clamp_min", "threshold", "relu"),
    "sums, joins, copies": ("add", "cat", "copy", "mul", "fill", "zero", "slice", "empty"),
    "pooling, up-sampling": ("pool", "upsample"),
    "soft-argmax, loss": ("softmax", "abs", "sum", "mm", "where"),
    "optimizer": ("adam", "optimizer"),
}


def time_by_kind(recipe: Recipe, rois: Rois, profile: Profile, steps: int = 3) -> dict[str, float]:
    """{kind of operation: share of a training step's time}, by torch's profiler, and the part of the batches
    in it: "augmentation".

    `training.step` augments by itself: the share of its batches is nearly none, and its augmentation is among
    the other kinds.
    """
    trainer = make_trainer(recipe, profile)
    with closing(batches(recipe, rois, profile)) as stream:
        trainer.step(*next(stream))
        clock = time.perf_counter()
        ready = [next(stream) for _ in range(steps)]
        augmentation = 1e6 * (time.perf_counter() - clock)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for batch in ready:
            trainer.step(*batch)
    taken = dict.fromkeys(KINDS, 0.0) | {"other": 0.0, "augmentation": augmentation}
    for event in profiler.key_averages():
        kind = next(
            (kind for kind, words in KINDS.items() if any(word in event.key.lower() for word in words)),
            "other",
        )
        taken[kind] += event.self_cpu_time_total
    whole = sum(taken.values())
    return {kind: share / whole for kind, share in sorted(taken.items(), key=lambda item: -item[1])}


SIZES = {
    "size_px": (64, 96, 128, 192, 256),
    "width": (8, 16, 24, 32),
    "depth": (2, 3, 4, 5),
    "batch": (4, 8, 16, 32),
}


def rates_over_sizes(
    cohort: Cohort, profile: Profile, sizes: Mapping[str, Sequence[int]] | None = None, rounds: int = 2
) -> list[dict[str, Any]]:
    """[{changed, value, images_per_s, gflop_per_image}]: our recipe with one size at a time changed from the
    profile's.
    """
    rows = []
    for changed, values in (sizes or SIZES).items():
        for value in values:
            other = (
                replace(profile, **{changed: value})  # type: ignore[arg-type]  # whole numbers
                if changed != "size_px"
                else replace(profile, size_px=value, spacing_mm=profile.spacing_mm * profile.size_px / value)
            )
            rate = rates([OURS], training_rois(cohort, other), other, rounds)[OURS.name]
            rows.append(
                {
                    "changed": changed,
                    "value": value,
                    "images_per_s": rate,
                    "gflop_per_image": operations("paper", other),
                }
            )
            gc.collect()
    return rows


def table_hours(images_per_s: float, profile: Profile, knees: int = 423, folds: int = 5) -> float:
    """Hours that all network rows of the paper's Table 1 take at this rate of images (one pass each), all
    folds, one job after the other.

    With mixup every image passes through the network twice.
    """
    rows = [SETTINGS[name] for name in paper_table()["setting"] if SETTINGS[name].method == "network"]
    passes = sum(2 if row.mixup_alpha else 1 for row in rows)
    return passes * folds * knees * profile.epochs / images_per_s / 3600


def machine() -> str:
    """One line that names the machine: processor, threads, precision."""
    described = runs.environment()
    return f"{described['processor']}, {described['threads']} threads, {described['precision']}"


COLUMNS = (
    "what",
    "step",
    "images_per_s",
    "ratio",
    "peak_mb",
    "mre_mm",
    "machine",
    "profile",
    "size_px",
    "batch",
    "unit",
    "gflop_per_image",
    "limit_share",
    "accuracy",
)


def record(rows: pd.DataFrame, path: Path = RESULTS / "speed.csv") -> None:
    """Put these rows into results/speed.csv in the place of its older ones of the same `what` and profile."""
    rows = rows.reindex(columns=list(COLUMNS))
    kept = pd.read_csv(path) if path.is_file() else rows[:0]
    replaced = set(map(str, rows["what"] + rows["profile"].astype(object).fillna("")))
    stale = (kept["what"] + kept["profile"].astype(object).fillna("")).isin(replaced)
    parts = [part for part in (kept[~stale], rows) if len(part)]
    write_table(pd.concat(parts).sort_values("what", kind="stable", ascending=False), path)
