"""Inference speed: one knee, many knees, a bilateral radiograph, a folder of 1,000 files.

    python benchmarks/inference_speed.py [--rounds 5] [--files 1000] [--no-compile]

Writes the rows `infer` of results/speed.csv. The knees are those of the val split of the real crops (of the simulated cohort where they are not
here), the network is the one that ships; radiographs are simulated ones, read from their DICOM files each time, and the five-model team has random
weights, which do not change its time. Run it on a machine that does nothing else.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from kneel_lib import inference_speed, pipeline, shipping, speed, training
from kneel_lib.data.cohorts import load_cohort
from kneel_lib.data.simulated import POPULATIONS, make_files, take
from kneel_lib.settings import BEST, PROFILES, SEARCH, SEARCH_PROFILES

MODELS = 5


def team(setting, profile, outputs):
    """Five networks of a profile with random weights."""
    torch.manual_seed(0)
    return [pipeline.Network(training.make_network(setting, profile, outputs).to(memory_format=torch.channels_last).eval(), profile.size_px, profile.spacing_mm)
            for _ in range(MODELS)]


def knee_rows(cohort, rounds, slow):
    """A row a rung, with its error on the knees that the shipped network has not seen."""
    network = shipping.load_networks("landmarks")[0]
    split = cohort.knees["split"].to_numpy() if "split" in cohort.knees else np.full(len(cohort), "val")
    unseen, seen = cohort.select(np.flatnonzero(split == "val")), cohort.select(np.flatnonzero(split != "test")[:inference_speed.CALIBRATION_KNEES])
    rois = inference_speed.rois_for(network, unseen)
    with tempfile.TemporaryDirectory() as folder:
        ladder = inference_speed.rungs(network, folder, inference_speed.rois_for(network, seen), slow)
        rates = inference_speed.rates(ladder, rois, rounds)
        first = rates[ladder[0].name]
        return [{"step": rung.name, "unit": "knee", "images_per_s": rates[rung.name], "ratio": rates[rung.name] / first,
                 "mre_mm": np.nanmean(inference_speed.errors_mm(rung, rois, unseen)), "accuracy": f"{cohort.name}, split val, one look at the middle, {len(unseen)} knees"}
                for rung in ladder]


def radiograph_rows(path, repeats):
    """A row a recipe for a whole bilateral radiograph: five models, two stages, ROIs of the profile native."""
    networks, searches = team(BEST, PROFILES["native"], 16), team(SEARCH, SEARCH_PROFILES["study"], 1)
    with patch.object(pipeline, "FOUND_SHARE", 0.0):   # random networks find nothing: do not stop there
        rates = {name: 1 / inference_speed.seconds(call, repeats) for name, call in inference_speed.radiograph_recipes(path, networks, searches).items()}
    first = next(iter(rates.values()))
    return [{"step": f"radiograph, five models, two stages: {name}", "unit": "radiograph", "images_per_s": rate, "ratio": rate / first} for name, rate in rates.items()]


def folder_row(paths, files):
    """A folder of this many bilateral radiographs through `predict`."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            shutil.copyfile(paths[number % len(paths)], Path(folder, f"{number:04d}.dcm"))
        rate = inference_speed.folder_rate(folder, Path(folder, "found"))
    return {"step": f"folder of {files} radiographs: predict, shipped networks, two stages", "unit": "radiograph", "images_per_s": rate}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--cohort", default="auto")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    rows = knee_rows(load_cohort(options.cohort), options.rounds, not options.no_compile)
    radiographs = sorted(make_files(take(POPULATIONS["simulated"], 6)).glob("0.S.1/*/*/*/001"))
    rows += radiograph_rows(radiographs[0], options.rounds)
    rows.append(folder_row(radiographs, options.files))
    speed.record(pd.DataFrame(rows).assign(what="infer", machine=speed.machine()))


if __name__ == "__main__":
    main()
