"""A network's maps as training computes them: plain, compiled, or captured as CUDA graphs.

On a GPU a training step of these small networks waits for Python to launch some two thousand kernels;
captured once, they are launched together. On a processor with units for bf16 compiling fuses what lies
between the convolutions.
"""

import os
import shutil
from collections.abc import Callable
from itertools import cycle
from typing import Any, cast

import torch
from torch import nn

from kneel_lib.network.precision import autocast, precision

MapsOf = Callable[[torch.Tensor], torch.Tensor]
"""Standardised images (batch, 1, S, S) to maps (batch, M, S / 4, S / 4)."""

LONG = 5e8
"""Pixels seen in a whole training from which compiling the network, which takes minutes, is worth it: a fold
of `native` has 1.2e9 and one of `paper` 8.6e9; one of `study` (4e8) is over before it would earn that back.
"""


def training_maps(model: Any, sample: torch.Tensor, steps: int, calls: int) -> MapsOf:
    """`model.maps` as training computes them: CUDA graphs on a GPU, compiled if long, else plain.

    sample: a batch of standardised images as training has them. steps: of the whole training. calls: how
    often a step computes maps.
    """
    if sample.device.type == "cuda":
        return graphed_maps(model, sample, calls)
    seen, compiler = steps * sample.numel(), shutil.which(os.environ.get("CXX", "g++"))
    if compiler and worth_compiling(seen, precision(sample.device)):
        return compiled_maps(model, len(sample))
    return plain_maps(model)


def plain_maps(model: Any) -> MapsOf:
    """`model.maps` itself."""
    return cast(MapsOf, model.maps)


def worth_compiling(pixels: float, kind: str) -> bool:
    """Whether a training on the processor that sees so many pixels is `LONG`, and in bf16 (else nothing is
    gained)."""
    return pixels >= LONG and kind == "bf16"


def compiled_maps(model: Any, batch: int, backend: Any = "inductor") -> MapsOf:
    """`model.maps`, compiled for whole batches; a smaller one takes the plain maps, and all if that fails."""
    compiled = torch.compile(model.maps, backend=backend)

    def maps(images: torch.Tensor) -> torch.Tensor:
        nonlocal compiled
        if len(images) != batch:
            return model.maps(images)
        try:
            return compiled(images)
        except Exception as error:  # a compiler fails in many ways, none of which should end a training
            print(
                f"torch.compile failed, training goes on without it: {str(error).splitlines()[0]}", flush=True
            )
            compiled = model.maps
            return compiled(images)

    return maps


class Maps(nn.Module):
    """What is captured: the maps of a model in the device's precision."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps of standardised images, (batch, 1, S, S). No cast of a weight is kept from call to call."""
        with autocast(images.device, keep_casts=False):
            return cast(torch.Tensor, self.model.maps(images))


def graphed_maps(model: Any, sample: torch.Tensor, calls: int) -> MapsOf:
    """`model.maps` for training, captured for batches of the sample's shape; others take the plain maps.

    calls: how often a step calls them before its backward pass: each needs a graph of its own. The batch-norm
    statistics and weights are as before; where capturing fails, training goes on without it and says so.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    parts = tuple(Maps(model) for _ in range(calls))
    try:
        graphs = torch.cuda.make_graphed_callables(parts, ((sample.clone(),),) * calls)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        print(f"no CUDA graph could be captured, training goes on without it: {reason}", flush=True)
        graphs = ()
    model.load_state_dict(before)
    model.zero_grad(set_to_none=True)
    if not graphs:
        return plain_maps(model)
    turns = cycle(graphs)

    def maps(images: torch.Tensor) -> torch.Tensor:
        if images.shape != sample.shape:
            return cast(torch.Tensor, model.maps(images))
        return cast(torch.Tensor, next(turns)(images))

    return maps
