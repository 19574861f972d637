"""Speed, one change at a time from the released recipe to ours: of training; of inference: one knee, many
knees, a bilateral radiograph, a folder.

    python -m studies.speed [--parts ladder memory cores threads sizes shares inference] [--rounds 3]
    [--files 1000] [--no-compile]

Training writes the rows `train` (a row a profile and recipe) and `cores` of results/speed.csv,
results/speed_sizes.csv (our recipe, one size changed at a time), results/speed_profile.csv (where a step's
time goes) and results/threads.csv (beside a busy process). Run it on a machine that does nothing else.

Inference writes the rows `infer` of results/speed.csv. The knees are those of the val split of the real crops
(of the simulated cohort where they are not here), the network is the pretrained one; radiographs are
simulated ones, read from their DICOM files each time, and the five-model team has random weights, which do
not change its time.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from kneel_lib.cli import carry_out
from kneel_lib.data.cohort import Cohort
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.profiles import PROFILES, ROI_PROFILES, Profile, find_profile
from kneel_lib.experiment.rows import BEST, ROI
from kneel_lib.experiment.settings import Setting
from kneel_lib.network import training
from kneel_lib.network.precision import precision
from kneel_lib.paths import RESULTS
from kneel_lib.pipeline import paper_pipeline, predictors, pretrained
from kneel_lib.reporting.export import write_table
from kneel_lib.simulation.population import POPULATIONS, make_files, take
from studies.speed import inference as inference_speed
from studies.speed import measures
from studies.speed import threads as beside
from studies.speed import training as training_speed
from studies.speed.training import Recipe

KNEES, BATCH_AT_PAPER, SHORT_STEPS = 32, 8, 15
PARTS = ("ladder", "memory", "cores", "threads", "sizes", "shares", "inference")
MODELS = 5


def ladder(profile: Profile, cohort: Cohort, rounds: int, recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """A row a recipe at this profile, then one of a process a core: rate, ratio, operations, share of the
    machine's limit.
    """
    rois = training_speed.training_rois(cohort.select(slice(0, KNEES)), profile)
    steps = training_speed.STEPS_A_ROUND if profile.size_px > 256 else SHORT_STEPS
    rates = training_speed.rates(recipes, rois, profile, rounds, steps)
    limits = {kind: measures.matrix_rate(kind) for kind in {recipe.precision for recipe in recipes}}
    rows: list[dict[str, Any]]
    first, rows = rates[recipes[0].name], []

    def add(recipe: Recipe, name: str, rate: float) -> None:
        work = measures.operations(recipe.network, profile)
        rows.append(
            {
                "what": "train",
                "step": name,
                "profile": profile.name,
                "size_px": profile.size_px,
                "batch": profile.batch,
                "images_per_s": rate,
                "ratio": rate / first,
                "gflop_per_image": work,
                "limit_share": work * rate / limits[recipe.precision],
                "machine": measures.machine(),
            }
        )
        print(
            f"{profile.name}, {name}: {rate:.2f} images/s, "
            f"{100 * rows[-1]['limit_share']:.0f} % of the limit",
            flush=True,
        )

    for recipe in recipes:
        add(recipe, recipe.name, rates[recipe.name])
    spread = [
        training_speed.spread_rate(rois, profile, torch.get_num_threads(), 1, steps) for _ in range(rounds)
    ]
    add(training_speed.OURS, training_speed.SPREAD, np.median(spread))
    return rows


def timing(profiles: Sequence[Profile], cohort: Cohort, rounds: int, recipes: Sequence[Recipe]) -> None:
    """The rows `train` of results/speed.csv."""
    rows = [row for profile in profiles for row in ladder(profile, cohort, rounds, recipes)]
    measures.record(pd.DataFrame(rows))


def peaks(profiles: Sequence[Profile], cohort: Cohort) -> None:
    """The column `peak_mb` of the rows `train` that are there; of a process a core: of all together."""
    table = pd.read_csv(RESULTS / "speed.csv")
    for profile in profiles:
        rois = training_speed.training_rois(cohort.select(slice(0, KNEES)), profile)
        most = {
            recipe.name: training_speed.peak_mb(recipe, rois, profile) for recipe in training_speed.LADDER
        }
        alone = training_speed.peak_mb(training_speed.OURS, rois, profile, threads=1)
        most[training_speed.SPREAD] = torch.get_num_threads() * alone
        rows = (table["what"] == "train") & (table["profile"] == profile.name)
        table.loc[rows, "peak_mb"] = table.loc[rows, "step"].map(most)
    measures.record(table[table["what"] == "train"])


def cores(profile: Profile, cohort: Cohort) -> None:
    """The rows `cores` of results/speed.csv."""
    used = training_speed.rates_by_cores(
        training_speed.training_rois(cohort.select(slice(0, KNEES)), profile), profile
    )
    measures.record(
        pd.DataFrame(
            [
                {
                    "what": "cores",
                    "step": step,
                    "images_per_s": rate,
                    "ratio": rate / next(iter(used.values())),
                    "profile": profile.name,
                    "size_px": profile.size_px,
                    "batch": profile.batch,
                    "machine": measures.machine(),
                }
                for step, rate in used.items()
            ]
        )
    )


def threads(profile: Profile, cohort: Cohort) -> None:
    """results/threads.csv."""
    rois = training_speed.training_rois(cohort.select(slice(0, KNEES)), profile)
    rows = beside.rates(rois, profile, torch.get_num_threads())
    write_table(
        pd.DataFrame(rows).assign(profile=profile.name, machine=measures.machine()), RESULTS / "threads.csv"
    )


def sizes(profile: Profile, cohort: Cohort) -> None:
    """results/speed_sizes.csv."""
    few = cohort.select(slice(0, KNEES))
    write_table(
        pd.DataFrame(measures.rates_over_sizes(few, profile)).assign(
            profile=profile.name, machine=measures.machine()
        ),
        RESULTS / "speed_sizes.csv",
    )


def shares(profiles: Sequence[Profile], cohort: Cohort) -> None:
    """results/speed_profile.csv: where the time of a step goes."""
    rows = []
    for profile in profiles:
        rois = training_speed.training_rois(cohort.select(slice(0, KNEES)), profile)
        rows += [
            {
                "recipe": recipe.name,
                "kind": kind,
                "share": share,
                "profile": profile.name,
                "machine": measures.machine(),
            }
            for recipe in (training_speed.PAPER, training_speed.FUSED_ADAM, training_speed.OURS)
            for kind, share in measures.time_by_kind(recipe, rois, profile).items()
        ]
    write_table(pd.DataFrame(rows), RESULTS / "speed_profile.csv")


def team(setting: Setting, profile: Profile, outputs: int) -> list[predictors.Network]:
    """Five networks of a profile with random weights."""
    torch.manual_seed(0)
    return [
        predictors.Network(
            training.make_network(setting, profile, outputs)  # type: ignore[call-overload]  # torch's stub
            .to(memory_format=torch.channels_last)
            .eval(),
            profile.size_px,
            profile.spacing_mm,
        )
        for _ in range(MODELS)
    ]


def knee_rows(cohort: Cohort, rounds: int, slow: bool) -> list[dict[str, Any]]:
    """A row a rung, with its error on the knees that the pretrained network has not seen."""
    network = pretrained.load_networks("landmarks")[0]
    split = cohort.knees["split"].to_numpy() if "split" in cohort.knees else np.full(len(cohort), "val")
    unseen, seen = (
        cohort.select(np.flatnonzero(split == "val")),
        cohort.select(np.flatnonzero(split != "test")[: inference_speed.CALIBRATION_KNEES]),
    )
    rois = inference_speed.rois_for(network, unseen)
    with tempfile.TemporaryDirectory() as folder:
        ladder = inference_speed.rungs(network, folder, inference_speed.rois_for(network, seen), slow)
        rates = inference_speed.rates(ladder, rois, rounds)
        first = rates[ladder[0].name]
        return [
            {
                "step": rung.name,
                "unit": "knee",
                "images_per_s": rates[rung.name],
                "ratio": rates[rung.name] / first,
                "mre_mm": np.nanmean(inference_speed.errors_mm(rung, rois, unseen)),
                "accuracy": f"{cohort.name}, split val, one view of the middle, {len(unseen)} knees",
            }
            for rung in ladder
        ]


def radiograph_rows(path: Path) -> list[dict[str, Any]]:
    """A row a recipe for a bilateral radiograph: five models, two stages, ROIs of the profile native."""
    networks, roi_networks = team(BEST, PROFILES["native"], 16), team(ROI, ROI_PROFILES["study"], 1)
    with patch.object(paper_pipeline, "FOUND_SHARE", 0.0):  # random networks find nothing: do not stop there
        rates = {
            name: 1 / inference_speed.seconds(call)
            for name, call in inference_speed.radiograph_recipes(path, networks, roi_networks).items()
        }
    first = next(iter(rates.values()))
    return [
        {
            "step": f"radiograph, five models, two stages: {name}",
            "unit": "radiograph",
            "images_per_s": rate,
            "ratio": rate / first,
        }
        for name, rate in rates.items()
    ]


def folder_row(paths: Sequence[Path], files: int) -> dict[str, Any]:
    """A folder of this many bilateral radiographs through `predict`."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            shutil.copyfile(paths[number % len(paths)], Path(folder, f"{number:04d}.dcm"))
        rate = inference_speed.folder_rate(folder, Path(folder, "found"))
    return {
        "step": f"folder of {files} radiographs: predict, pretrained networks",
        "unit": "radiograph",
        "images_per_s": rate,
    }


def inference(cohort: Cohort, rounds: int, files: int, slow: bool) -> None:
    """The rows `infer` of results/speed.csv."""
    rows = knee_rows(cohort, rounds, slow)
    radiographs = sorted(make_files(take(POPULATIONS["simulated"], 6)).glob("0.S.1/*/*/*/001"))
    rows += radiograph_rows(radiographs[0])
    rows.append(folder_row(radiographs, files))
    measures.record(pd.DataFrame(rows).assign(what="infer", machine=measures.machine()))


def main(arguments: list[str] | None = None) -> int:
    """The command line of this study; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--profiles", nargs="*", default=["paper", "study"], help="of the ladder")
    parser.add_argument("--rounds", type=int, help="of each timing (default: 3 of training, 5 of inference)")
    parser.add_argument("--files", type=int, default=1000, help="of the folder that inference is timed on")
    parser.add_argument("--no-compile", action="store_true", help="leave out the rungs that compile first")
    parser.add_argument("--cohort", default="auto")
    return carry_out(parser.parse_args(arguments), study_speed)


def study_speed(options: argparse.Namespace) -> int:
    torch.set_num_threads(os.cpu_count() or 1)  # of the rungs of one process
    study = find_profile("study")
    profiles = [
        replace(find_profile(name), batch=BATCH_AT_PAPER) if name == "paper" else find_profile(name)
        for name in options.profiles
    ]
    cohort = load_cohort(options.cohort)
    compiling = precision("cpu") == "bf16" and not options.no_compile
    recipes = (*training_speed.LADDER, training_speed.COMPILED) if compiling else training_speed.LADDER
    work = {
        "ladder": lambda: timing(profiles, cohort, options.rounds or 3, recipes),
        "memory": lambda: peaks(profiles, cohort),
        "cores": lambda: cores(study, cohort),
        "threads": lambda: threads(study, cohort),
        "sizes": lambda: sizes(study, cohort),
        "shares": lambda: shares(profiles, cohort),
        "inference": lambda: inference(cohort, options.rounds or 5, options.files, not options.no_compile),
    }
    for part in options.parts:
        work[part]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
