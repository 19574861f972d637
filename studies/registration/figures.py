"""Pictures of the registration: the average knee from fog to bone, what a landmark looks like in the
average, error by round, PCK curves of the error budget."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kneel_lib.figures.style import ONE_COLUMN, TWO_COLUMNS, show_knee
from kneel_lib.imaging import cut
from studies.registration.congealing import Placement, Round
from studies.registration.simulated_crops import Crops


def average_at(crops: Crops, placement: Placement, size_px: int = 180, spacing_mm: float = 0.5) -> np.ndarray:
    """(size, size) float: the crops, each moved and scaled as its placement says, averaged.
    Landmark 4 lies in the middle of every one."""
    total = np.zeros((size_px, size_px))
    for image, scale, centre, inverted in zip(
        crops.images, placement.mm_per_px, placement.centres_px, placement.inverted
    ):
        step = spacing_mm / scale
        total += cut(255 - image if inverted else image, centre - step * (size_px - 1) / 2, step, size_px)
    return total / len(crops.images)


def fog_to_bone(crops: Crops, placements: Sequence[Placement], spacing_mm: float = 0.5) -> Figure:
    """The average knee before the first round and after each round; the last panel with the mean shape."""
    columns = (len(placements) + 1) // 2
    figure, panels = plt.subplots(
        2, columns, figsize=(TWO_COLUMNS, TWO_COLUMNS * 2.15 / columns), layout="constrained"
    )
    for number, (axes, placement) in enumerate(zip(panels.flat, placements)):
        mean = average_at(crops, placement, spacing_mm=spacing_mm)
        low, high = np.percentile(mean, (2, 99.5))
        shape = (
            crops.offsets_mm.mean(axis=0) / spacing_mm + (len(mean) - 1) / 2
            if number == len(placements) - 1
            else None
        )
        show_knee(
            axes,
            np.clip((mean - low) / (high - low), 0, 1) * 255,
            spacing_mm,
            shape,
            title=f"round {number}" if number else "before",
        )
    for axes in panels.flat[len(placements) :]:
        axes.axis("off")
    return figure


def landmark_averages(templates: Mapping[int, np.ndarray], chosen: Sequence[int] = (0, 4, 8, 12)) -> Figure:
    """What some landmarks look like in the average gradients of each round: {round: (16, P, P, 2)};
    strength as brightness, a cross on the landmark."""
    figure, panels = plt.subplots(
        len(chosen),
        len(templates),
        figsize=(TWO_COLUMNS, TWO_COLUMNS * len(chosen) / len(templates)),
        layout="constrained",
    )
    for row, number in zip(panels, chosen):
        for axes, (name, patches) in zip(row, templates.items()):
            strength = np.linalg.norm(patches[number], axis=2)
            axes.imshow(strength, cmap="gray")
            axes.plot(*[(len(strength) - 1) / 2] * 2, "+", color="#D55E00")
            axes.set(xticks=[], yticks=[], title=f"round {name}" if number == chosen[0] else "")
            axes.grid(False)
        row[0].set_ylabel(f"landmark {number}")
    return figure


def agreement_by_scale(totals: np.ndarray, settings: Round, inverted: bool) -> Figure:
    """One knee in one round:
    the best correlation at each scale, and the map over shifts at the best of them."""
    totals = -totals if inverted else totals
    best = int(totals.max(axis=(1, 2)).argmax())
    figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, ONE_COLUMN * 0.8), layout="constrained")
    left.plot(settings.scales, totals.max(axis=(1, 2)), "o-")
    left.set(xlabel="scale, times the one before", ylabel="mean correlation at its best place")
    reach = settings.reach_px
    drawn = right.imshow(
        totals[best], extent=(-reach - 0.5, reach + 0.5, reach + 0.5, -reach - 0.5), cmap="viridis"
    )
    right.set(xlabel="to the right, px", ylabel="downwards, px", title="over shifts, at the best scale")
    right.grid(False)
    figure.colorbar(drawn, ax=right, label="mean correlation")
    return figure


def error_by_round(table: pd.DataFrame) -> Figure:
    """Median and 95th percentile against the truth after each round; table with round, median_mm, p95_mm."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN * 0.75))
    for column, label, marker in (("median_mm", "median", "o"), ("p95_mm", "95th percentile", "s")):
        axes.plot(table["round"], table[column], marker=marker, label=label)
    axes.set(
        xlabel="round",
        ylabel="distance to the truth, mm",
        yscale="log",
        yticks=[0.2, 0.5, 1, 2, 5, 10],
        yticklabels=["0.2", "0.5", "1", "2", "5", "10"],
    )
    axes.minorticks_off()
    axes.legend()
    return figure


def found_against_true(truth: Placement, placement: Placement, apart_mm: np.ndarray) -> Figure:
    """Scales found against true ones, and each knee's score against its error."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, ONE_COLUMN * 0.85), layout="constrained")
    ends = [truth.mm_per_px.min(), truth.mm_per_px.max()]
    left.plot(ends, ends, color="0.6", linewidth=0.8)
    left.scatter(truth.mm_per_px, placement.mm_per_px, s=8)
    left.set(xlabel="true scale, mm a pixel", ylabel="scale found, mm a pixel")
    right.scatter(apart_mm.mean(axis=1), placement.scores, s=8)
    right.set(xlabel="mean distance to the truth, mm", ylabel="score (mean correlation)")
    return figure


def registration_curves(table: pd.DataFrame) -> Figure:
    """PCK over the radius for each line of results/registration_pck.csv."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.35, ONE_COLUMN * 0.9))
    for (line, rows), style in zip(table.groupby("line", sort=False), ("-", "--", ":")):
        axes.plot(rows["radius_mm"], rows["pck"], style, label=line)
    axes.axvline(1.0, color="0.6", linewidth=0.8)
    axes.set(xlabel="radius, mm", ylabel="PCK (bone means), %", ylim=(0, 101))
    axes.legend(loc="lower right", fontsize=7)
    return figure
