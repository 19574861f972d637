"""Seconds from a bilateral radiograph to landmarks: five models, two stages, beside the released recipe (fp32, one ROI after the other). `python benchmarks/pipeline_speed.py`

Weights are random: they do not change the time. The radiograph is a simulated one, read from its DICOM file each time.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from kneel_lib import pipeline, training
from kneel_lib.data.dicom import read_dicom
from kneel_lib.data.simulated import POPULATIONS, make_files, take
from kneel_lib.settings import BEST, PROFILES, SEARCH, SEARCH_PROFILES

MODELS = 5


def make_networks(setting, profile, outputs):
    torch.manual_seed(0)
    return [pipeline.Network(training.make_network(setting, profile, outputs).to(memory_format=torch.channels_last).eval(), profile.size_px, profile.spacing_mm)
            for _ in range(MODELS)]


def ours(path, networks, searches):
    return pipeline.locate(read_dicom(path), networks, searches)


def one_look(path, networks, searches):
    return ours(path, [replace(network, looks=((0.0, 0.0),)) for network in networks], searches)


def released(path, networks, searches):
    with patch.object(training, "precision", lambda device: "fp32"):
        return one_look(path, networks, searches)


def seconds(recipe, *arguments, repeats):
    """Median seconds of a call; a recipe's first call is not counted."""
    recipe(*arguments)
    taken = []
    for _ in range(repeats):
        clock = time.monotonic()
        recipe(*arguments)
        taken.append(time.monotonic() - clock)
    return sorted(taken)[repeats // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="native")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    path = sorted(make_files(take(POPULATIONS["simulated"], 6)).glob("0.S.1/*/*/*/001"))[0]
    networks, searches = make_networks(BEST, PROFILES[options.profile], 16), make_networks(SEARCH, SEARCH_PROFILES["study"], 1)
    with patch.object(pipeline, "FOUND_SHARE", 0.0):   # random networks find nothing: do not stop there
        rows = [{"recipe": name, "seconds": seconds(recipe, path, networks, searches, repeats=options.repeats)}
                for name, recipe in (("four looks, bf16 (ours)", ours), ("one look, bf16", one_look), ("one look, fp32 (as released)", released))]
    table = pd.DataFrame(rows).assign(models=MODELS, stages=2, profile=options.profile, threads=torch.get_num_threads())
    table["ratio"] = table["seconds"].iloc[-1] / table["seconds"]
    print(table.round(2).to_string(index=False))
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.3f")


if __name__ == "__main__":
    main()
