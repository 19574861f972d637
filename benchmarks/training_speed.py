"""Training speed, two recipes side by side in one run: bf16 + channels_last + batched augmentation against fp32 + solt in a loop.

    python benchmarks/training_speed.py [--rounds 5]

At the sizes of the profiles native and paper. Rounds alternate between the recipes, so that a change in the machine's load meets
both. Written to benchmarks/training_speed.csv: images a second (median over rounds), ratio to the first recipe of that size. The
pictures are noise: speed does not depend on them.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kneel_lib import hourglass
from kneel_lib.augmentation import RELEASED, augment
from kneel_lib.files import write_whole
from kneel_lib.losses import make_loss
from kneel_lib.reference_augmentation import augment_one, reference_stream, seed_reference
from kneel_lib.runs import environment
from kneel_lib.settings import PROFILES
from kneel_lib.training import predict_maps, standardise

BATCH = 16


def make_step(model, prepare, forward):
    """A function that makes one training step of a batch."""
    optimizer, loss = torch.optim.Adam(model.parameters(), fused=True), make_loss("wing")

    def step():
        inputs, truth = prepare()
        optimizer.zero_grad(set_to_none=True)
        loss(hourglass.soft_argmax(forward(model, inputs)), truth).backward()
        optimizer.step()
    return step


def reference_recipe(architecture, images, points, size):
    """fp32, default memory layout, solt knee by knee."""
    stream = reference_stream(RELEASED, size, images.shape[-1])

    def prepare():
        pairs = [augment_one(stream, image, knee) for image, knee in zip(images, points)]
        pictures = torch.from_numpy(np.stack([picture for picture, _ in pairs]))[:, None].float() / 255
        return (pictures - 0.45) / 0.25, torch.from_numpy(np.stack([moved for _, moved in pairs])) / size
    return make_step(hourglass.Hourglass(architecture), prepare, lambda model, inputs: model.maps(inputs))


def our_recipe(architecture, images, points, size):
    """bf16 where the machine has it, channels_last, one batched warp."""
    batch, knees = torch.from_numpy(images), torch.from_numpy(points)
    generator = torch.Generator().manual_seed(0)

    def prepare():
        inputs, moved = augment(batch, knees, size, RELEASED, generator)
        return standardise(inputs), moved / size
    return make_step(hourglass.Hourglass(architecture).to(memory_format=torch.channels_last), prepare, predict_maps)


def measure(steps, rounds, steps_a_round=3):
    """{recipe: images a second}, the median over alternating rounds after one of warming up."""
    rates = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(steps_a_round):
                step()
            if number:
                rates[name].append(BATCH * steps_a_round / (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in rates.items()}


def compare(profile, rounds):
    """A row a recipe at this profile's size."""
    random = np.random.default_rng(0)
    source = profile.size_px + 2 * (profile.size_px // 8)
    images = random.integers(0, 256, (BATCH, source, source), dtype=np.uint8)
    points = random.uniform(0.3 * source, 0.7 * source, (BATCH, 16, 2)).astype(np.float32)
    seed_reference(0)
    architecture = replace(hourglass.PAPER, width=profile.width, depth=profile.depth)
    recipes = {"fp32, solt in a loop": reference_recipe, "bf16, channels_last, batched augmentation": our_recipe}
    rates = measure({name: make(architecture, images, points, profile.size_px) for name, make in recipes.items()}, rounds)
    machine, first = environment(), next(iter(rates.values()))
    return [{"profile": profile.name, "size_px": profile.size_px, "recipe": name, "images_per_s": round(rate, 1), "ratio": round(rate / first, 2),
             "precision": "fp32" if name.startswith("fp32") else machine["precision"], "processor": machine["processor"],
             "threads": machine["threads"]} for name, rate in rates.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = pd.DataFrame([row for name in ("native", "paper") for row in compare(PROFILES[name], options.rounds)])
    print(table.to_string(index=False))
    write_whole(Path(__file__).with_suffix(".csv"), lambda temporary: table.to_csv(temporary, index=False))


if __name__ == "__main__":
    main()
