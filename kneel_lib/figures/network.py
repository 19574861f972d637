"""Figures of training: losses, augmentation, maps, curves over epochs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from kneel_lib.figures.style import ONE_COLUMN, TWO_COLUMNS, bare, scale_bar, show_knee


def mixing_density(alphas: Iterable[float], draws: Any) -> Figure:
    """How the share of the mixed-in image is distributed for each alpha of mixup: histograms of {alpha:
    shares}."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.3, ONE_COLUMN * 0.7))
    shares = pd.DataFrame({f"α = {alpha}": draws[alpha] for alpha in alphas})
    histogram = {"bins": 40, "binrange": (0, 1), "stat": "density", "common_norm": False}
    sns.histplot(shares, **histogram, element="step", fill=False, ax=axes)
    axes.set(xlabel="share λ of the first image", ylabel="density", yscale="log", xlim=(0, 1))
    sns.move_legend(axes, "upper center", ncols=2, title=None)
    return figure


def training_curves(histories: Mapping[str, pd.DataFrame]) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): training loss by epoch, a line for each name; the loss's own unit, on a log scale."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.25, ONE_COLUMN * 0.8))
    table = pd.concat([history.assign(line=label) for label, history in histories.items()], ignore_index=True)
    sns.lineplot(table, x="epoch", y="loss", hue="line", errorbar=None, ax=axes)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure, table


def held_out_curves(histories: Mapping[str, pd.DataFrame]) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): MRE of the held-out fold after every epoch, of runs that noted it (the ablation
    "picked"); its least value and its last one are marked."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.25, ONE_COLUMN * 0.8))
    for label, history in histories.items():
        best, last = history.iloc[history["held_out_mre"].argmin()], history.iloc[-1]
        said = f"{label}: least {best.held_out_mre:.2f} mm (▾), last {last.held_out_mre:.2f} mm (■)"
        (line,) = axes.plot(history["epoch"], history["held_out_mre"], label=said)
        for epoch, marker in ((best, "v"), (last, "s")):
            axes.plot(epoch["epoch"], epoch["held_out_mre"], marker, color=line.get_color())
    axes.set(xlabel="epoch", ylabel="MRE of the held-out fold, mm", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure, pd.concat([history.assign(line=label) for label, history in histories.items()])


def augmented_batch(images: Any, points_px: Any, mm_per_px: float) -> Figure:
    """Augmented ROIs, (n, 1, S, S) in [0, 1], in two rows with their points."""
    size = TWO_COLUMNS, TWO_COLUMNS * 4 / len(images) * 1.02
    figure, panels = plt.subplots(2, len(images) // 2, figsize=size)
    for axes, image, points in zip(panels.flat, images, points_px):
        show_knee(axes, 255 * image[0], mm_per_px, points)
    return figure


def show_maps(
    probabilities: np.ndarray, cell_mm: float, chosen: Sequence[int] = (0, 4, 8, 9, 12, 15)
) -> Figure:
    """Soft-argmax maps of one knee, (M, h, w) probabilities, for some landmarks;
    each scaled to its own peak."""
    figure, panels = plt.subplots(1, len(chosen), figsize=(TWO_COLUMNS, TWO_COLUMNS / len(chosen) * 1.2))
    for axes, number in zip(panels, chosen):
        axes.imshow(probabilities[number], cmap="magma")
        bare(axes, f"{number}: peak {probabilities[number].max():.2f}")
        scale_bar(axes, probabilities[number].shape, cell_mm)
    return figure


def loss_shapes(losses: Mapping[str, Any], limit: float = 0.05) -> Figure:
    """Losses (name: function of prediction and truth) and their slopes over the error of one normalised
    coordinate."""
    figure, panels = plt.subplots(1, 2, figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.32))
    errors = np.linspace(-limit, limit, 401)
    for name, values in losses.items():
        panels[0].plot(errors, values(errors), label=name)
        panels[1].plot(errors, np.gradient(values(errors), errors), label=name)
    panels[0].set(xlabel="error, share of the ROI side", ylabel="loss")
    panels[1].set(xlabel="error, share of the ROI side", ylabel="slope (gradient)")
    panels[0].legend()
    return figure
