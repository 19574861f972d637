"""Knobs that teach: one number, what it does to a picture, a row of still pictures for readers, and a slider
for those who have a kernel.

A `Knob` draws one value into one panel. `show_knob` shows the row of still pictures, and below it, where
somebody sits at the notebook, a slider that draws the same for any value. Papermill, nbconvert and whatever
else executes a notebook unattended get no slider, so that no state of a widget is ever stored.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from IPython import get_ipython
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from kneel_lib.figures.shown import show_photo
from kneel_lib.figures.style import (
    BONES,
    FEMUR_COLOUR,
    ONE_COLUMN,
    TIBIA_COLOUR,
    TWO_COLUMNS,
    bare,
    scale_bar,
)
from kneel_lib.network.losses import gaussian_target
from kneel_lib.simulation import phantom, shape_model

MAP_CELLS, TRUE_CELL = 24, (13.3, 9.6)
"""Side of the map of `sigma_knob`, and where its landmark lies (x, y)."""


@dataclass(frozen=True)
class Knob:
    """What can be turned: its name with its unit, from `low` to `high` by `step`, the values of the still
    pictures, and how one value is drawn into one panel. height: of a panel, as a share of its width. photo:
    whether radiographs are drawn."""

    name: str
    low: float
    high: float
    step: float
    stills: tuple[float, ...]
    draw: Callable[[Axes, float], None]
    height: float = 1.0
    photo: bool = False


def still_row(knob: Knob) -> Figure:
    """The still pictures side by side."""
    count = len(knob.stills)
    size = TWO_COLUMNS, (TWO_COLUMNS / count) * knob.height + 0.3
    figure, panels = plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)
    for axes, value in zip(panels[0], knob.stills):
        knob.draw(axes, value)
    return figure


def attended() -> bool:
    """Whether somebody sits at this notebook: the front end that sent the cell could be asked for input."""
    shell = get_ipython()
    kernel = getattr(shell, "kernel", None)
    return bool(kernel and kernel.get_parent("shell").get("content", {}).get("allow_stdin"))


def show_knob(knob: Knob) -> Figure:
    """Show the still pictures, and a slider where somebody can turn it; returns the still pictures."""
    figure = still_row(knob)
    show_photo(figure) if knob.photo else plt.show()
    if attended():
        turn(knob)
    return figure


def turn(knob: Knob) -> None:
    """A slider, and under it the picture for its value."""
    from ipywidgets import FloatSlider, interact

    def picture(value: float) -> None:
        figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN * knob.height + 0.3))
        knob.draw(axes, value)
        plt.show()

    first = knob.stills[len(knob.stills) // 2]
    how = {"continuous_update": False, "style": {"description_width": "initial"}}
    slider = FloatSlider(first, min=knob.low, max=knob.high, step=knob.step, description=knob.name, **how)
    interact(picture, value=slider)


def sigma_knob() -> Knob:
    """The gaussian that heatmap regularisation asks a map to be, for its width in cells."""
    truth = torch.tensor([[TRUE_CELL]])

    def draw(axes: Axes, sigma: float) -> None:
        target = gaussian_target(truth, MAP_CELLS, MAP_CELLS, sigma)[0, 0].numpy()
        axes.imshow(target, cmap="magma", vmin=0)
        axes.plot(*TRUE_CELL, "x", color=FEMUR_COLOUR)
        bare(axes, f"σ = {sigma:g} cells: peak {target.max():.2f}")

    return Knob("sigma, cells", 0.3, 5.0, 0.1, (0.5, 1.0, 2.0, 4.0), draw)


def mixup_knob(first: np.ndarray, second: np.ndarray, mm_per_px: float) -> Knob:
    """A blend of two pictures, (S, S) uint8, for the share of the first (equation 5 of the paper)."""

    def draw(axes: Axes, share: float) -> None:
        axes.imshow(share * first.astype(float) + (1 - share) * second, vmin=0, vmax=255)
        scale_bar(axes, first.shape, mm_per_px)
        bare(axes, f"λ = {share:g}")

    return Knob("lambda", 0.0, 1.0, 0.05, (1.0, 0.8, 0.5, 0.2), draw, photo=True)


def mode_knob(mean_mm: np.ndarray, displacement_mm: np.ndarray, number: int = 1) -> Knob:
    """The mean shape (16, 2) mm, moved along a mode; displacement_mm: what one standard deviation does."""
    low, high = mean_mm.min(axis=0) - 9, mean_mm.max(axis=0) + 9

    def draw(axes: Axes, deviations: float) -> None:
        shape = mean_mm + deviations * displacement_mm
        for bone, colour in BONES.values():
            axes.plot(*mean_mm[list(bone)].T, ":", color="0.6", linewidth=1)
            axes.plot(*shape[list(bone)].T, "o-", color=colour, markersize=2.5, linewidth=1)
        axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal")
        bare(axes, f"mode {number}: {deviations:+g} sd" if deviations else "mean shape")

    height = float((high - low)[1] / (high - low)[0])
    return Knob(f"mode {number}, sd", -3.0, 3.0, 0.25, (-2.0, 0.0, 2.0), draw, height)


def radius_knob(errors_mm: np.ndarray, directions: np.ndarray, limit_mm: float = 12.0) -> Knob:
    """Which errors count as correct within a radius; errors_mm (n,), directions (n, 2): where each points,
    of any length. PCK is the share inside of the circle."""
    lengths = np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    places = np.minimum(errors_mm, limit_mm)[:, None] * directions / lengths

    def draw(axes: Axes, radius: float) -> None:
        inside = errors_mm <= radius
        for chosen, colour in ((inside, FEMUR_COLOUR), (~inside, TIBIA_COLOUR)):
            x, y = places[chosen].T
            axes.scatter(x, y, s=5, color=colour, linewidths=0)
        axes.add_patch(Circle((0, 0), radius, fill=False, linewidth=1))
        axes.set(xlim=(-limit_mm, limit_mm), ylim=(limit_mm, -limit_mm), aspect="equal")
        bare(axes, f"{100 * inside.mean():.0f} % within {radius:g} mm")
        scale_bar(axes, (2 * limit_mm, 2 * limit_mm), 1, "black", (-limit_mm, -limit_mm))

    return Knob("radius r, mm", 0.5, 10.0, 0.5, (1.0, 2.5, 5.0, 10.0), draw)


PHANTOM_MM, PHANTOM_STEP_MM = (110.0, 70.0), 0.35
"""Width and height of the field that `beam_knob` draws, and its pixel."""


def beam_knob(kl: int = 1, seed: int = 0) -> Knob:
    """One and the same phantom knee under beams of other angles. The angle is given as what it does: by how
    many mm the front and the back rim of the plateau come to lie apart in the picture."""
    width, height = (round(side / PHANTOM_STEP_MM) for side in PHANTOM_MM)
    shape = shape_model.load()[kl].mean
    corner = -np.array(PHANTOM_MM) / 2

    def draw(axes: Axes, tilt_mm: float) -> None:
        machine = phantom.Machine(mm_per_px=PHANTOM_STEP_MM)
        random = np.random.default_rng(seed)
        place = (height, width), corner, PHANTOM_STEP_MM
        maps = phantom.thickness_maps(shape, kl, random, *place, tilt_mm)
        axes.imshow(phantom.develop(phantom.detect(maps, machine, random), machine))
        scale_bar(axes, (height, width), PHANTOM_STEP_MM)
        bare(axes, f"rims {tilt_mm:g} mm apart")

    return Knob("beam: rims apart, mm", 0.0, 10.0, 0.5, (0.0, 3.0, 8.0), draw, height / width, photo=True)
