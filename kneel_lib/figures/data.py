"""Figures of the data:
knees by grade, the average knee, shapes, and how a simulated radiograph comes about."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from scipy.interpolate import RBFInterpolator

from kneel_lib import landmarks
from kneel_lib.data.cohort import Cohort, knee_name
from kneel_lib.data.rois import Rois, cut_rois
from kneel_lib.figures.style import BONES, ONE_COLUMN, TWO_COLUMNS, bare, legend_beside, scale_bar, show_knee
from kneel_lib.simulation import phantom, population
from kneel_lib.simulation.phantom import Machine, Maps


def knees_by_grade(cohort: Cohort, rois: Rois, seed: int = 0) -> Figure:
    """Fig. 2: one knee of each Kellgren-Lawrence grade with its landmarks."""
    figure, panels = plt.subplots(1, 5, figsize=(TWO_COLUMNS, TWO_COLUMNS / 4.4))
    picks = cohort.knees.reset_index().groupby("kl").sample(1, random_state=seed)
    for axes, (_, row) in zip(panels, picks.iterrows()):
        at, title = row["index"], f"KL {row['kl']} ({knee_name(row)})"
        show_knee(axes, rois.images[at], rois.mm_per_px[at], rois.landmarks_px[at], title=title)
    return figure


NUMBERED_MM = 104.0, 72.0
"""Width and height of the field that `numbered_landmarks` shows, around the middle of its landmarks."""
BESIDE_MM = 5.5
"""How far a number stands from its landmark, into its bone."""


def numbered_landmarks(kl: int = 1, seed: int = 2, mm_per_px: float = 0.3) -> Figure:
    """The sixteen landmarks with their numbers on a simulated knee of this grade: the map of the study."""
    random = np.random.default_rng(seed)
    machine = Machine(mm_per_px=mm_per_px)
    maps, points_mm = population.draw_leg(kl, random, machine)
    width, height = (round(side / mm_per_px) for side in NUMBERED_MM)
    middle = (points_mm.min(axis=0) + points_mm.max(axis=0)) / 2 / mm_per_px
    left, top = (round(value) for value in middle - (width / 2, height / 2))
    signal = phantom.detect(maps, machine, random)[top : top + height, left : left + width]
    points = points_mm / mm_per_px - (left, top)
    size = TWO_COLUMNS * 0.8, TWO_COLUMNS * 0.8 * NUMBERED_MM[1] / NUMBERED_MM[0] + 0.3
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.imshow(phantom.develop(signal, machine))
    outlined = [Stroke(linewidth=2, foreground="black"), Normal()]
    for name, (bone, colour) in BONES.items():
        x, y = points[list(bone)].T
        axes.scatter(x, y, s=26, color=colour, edgecolors="white", linewidths=0.7, label=name)
        for number in bone:
            place = points[number, 1] + (BESIDE_MM if name == "tibia" else -BESIDE_MM) / mm_per_px
            text = axes.text(points[number, 0], place, str(number), color="white", fontsize=10)
            text.set(ha="center", va="center", path_effects=outlined)
    scale_bar(axes, (height, width), mm_per_px)
    bare(axes)
    for x, side, where in ((0.01, "lateral", "left"), (0.99, "medial", "right")):
        axes.text(x, 0.98, side, color="white", ha=where, va="top", transform=axes.transAxes)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def phantom_steps(maps: Maps, machine: Machine, seed: int = 0) -> Figure:
    """How a simulated radiograph comes about, in six pictures: thickness of three tissues in mm, the beam,
    the detector, the display."""
    signal = phantom.detect(maps, machine, np.random.default_rng(seed))
    steps = {
        "soft tissue, mm": maps["soft"],
        "trabecular bone, mm": maps["trabecular"],
        "cortical bone, mm": np.minimum(maps["cortical"], 25),
        "photons that come through": phantom.transmit(maps),
        "+ scatter, blur and noise": signal,
        "logarithm, inverted": phantom.develop(signal, machine),
    }
    size = TWO_COLUMNS * 0.72, TWO_COLUMNS * 0.62
    figure, panels = plt.subplots(2, 3, figsize=size, layout="constrained")
    for axes, (title, image) in zip(panels.flat, steps.items()):
        light = "photons" in title or "noise" in title
        most = np.percentile(image, 55) if light else None
        drawn = axes.imshow(image, cmap="viridis" if "mm" in title else "gray", vmax=most)
        bare(axes, title)
        scale_bar(axes, image.shape, machine.mm_per_px, "black" if light else "white")
        figure.colorbar(drawn, ax=axes, shrink=0.75, extend="max" if light else "neither")
    return figure


def beam_profile(maps: Maps, machine: Machine, row: int, seed: int = 0) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): along one row of the phantom, bone thickness in mm and the detector's signal with few
    and many photons."""
    x = np.arange(maps["soft"].shape[1]) * machine.mm_per_px
    bone = {f"{kind}_mm": maps[kind][row] for kind in ("trabecular", "cortical")}
    table = pd.DataFrame({"x_mm": x, **bone, "transmitted": phantom.transmit(maps)[row]})
    size = TWO_COLUMNS, TWO_COLUMNS * 0.5
    figure, (above, below) = plt.subplots(2, 1, figsize=size, sharex=True, layout="constrained")
    above.plot(x, table["trabecular_mm"], label="trabecular bone")
    above.plot(x, table["cortical_mm"], label="cortical bone")
    above.set(ylabel="thickness, mm")
    for photons in (1000, 24000):
        signal = phantom.detect(maps, replace(machine, photons=photons), np.random.default_rng(seed))
        table[f"signal_{photons}"] = signal[row]
        below.plot(x, table[f"signal_{photons}"], label=f"{photons:,} photons a pixel", linewidth=0.8)
    below.set(xlabel="mm across the leg", ylabel="signal, share of open beam", yscale="log")
    for axes in (above, below):
        legend_beside(axes)
    return figure, table


def knees_of_cohorts(
    cohorts: Sequence[Cohort], count: int = 7, size_px: int = 150, spacing_mm: float = 0.9
) -> Figure:
    """The first `count` knees of each cohort, a row a cohort, with their landmarks."""
    size = TWO_COLUMNS, TWO_COLUMNS * len(cohorts) / count
    figure, panels = plt.subplots(len(cohorts), count, figsize=size, layout="constrained")
    for row, cohort in zip(np.atleast_2d(panels), cohorts):
        rois = cut_rois(cohort.select(slice(0, count)), size_px, spacing_mm)
        for axes, image, points, grade in zip(row, rois.images, rois.landmarks_px, cohort.knees["kl"]):
            show_knee(axes, image, spacing_mm, points, title=f"{cohort.name}, KL {grade}")
    return figure


def average_knees(cohorts: Sequence[Cohort], size_px: int = 240, spacing_mm: float = 0.4) -> Figure:
    """The average knee of each cohort side by side, each with its mean shape:
    where the phantom differs from bone."""
    side = min(TWO_COLUMNS / len(cohorts), ONE_COLUMN)
    size = side * len(cohorts), 1.1 * side
    figure, panels = plt.subplots(1, len(cohorts), figsize=size, layout="constrained")
    for axes, cohort in zip(np.atleast_1d(panels), cohorts):
        rois = cut_rois(cohort, size_px, spacing_mm)
        mean = average_knee(rois)
        low, high = np.percentile(mean, (2, 99.5))
        picture, shape = (
            np.clip((mean - low) / (high - low), 0, 1) * 255,
            np.nanmean(rois.landmarks_px, axis=0),
        )
        show_knee(axes, picture, spacing_mm, shape, title=f"{cohort.name}: average of {len(cohort)} knees")
    return figure


def average_knee(rois: Rois) -> np.ndarray:
    """The mean picture of all knees, each warped by a thin-plate spline of its landmarks onto the mean shape;
    (S, S) float.

    Edges are sharp only where landmarks lie on the same edge in every knee: a check of the registration.
    """
    side = rois.images.shape[1]
    mean = np.nanmean(rois.landmarks_px, axis=0)
    frame = np.array([(x, y) for x in (0, side - 1) for y in (0, side - 1)], float)
    coarse = np.linspace(0, side - 1, 25)
    grid = np.stack(np.meshgrid(coarse, coarse), axis=-1).reshape(-1, 2)
    total, whole = np.zeros((side, side)), ~np.isnan(rois.landmarks_px).any(axis=(1, 2))
    for image, points in zip(rois.images[whole], rois.landmarks_px[whole]):
        shift = (points - mean).mean(axis=0)
        spline = RBFInterpolator(
            np.concatenate([mean, frame]), np.concatenate([points, frame + shift]), kernel="thin_plate_spline"
        )
        source = spline(grid).reshape(25, 25, 2).astype(np.float32)
        maps = [cv2.resize(source[..., axis], (side, side), interpolation=cv2.INTER_CUBIC) for axis in (0, 1)]
        total += cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR)
    return total / whole.sum()


def show_average_knee(rois: Rois, title: str) -> Figure:
    """`average_knee` at 88 mm, with the mean shape numbered on it."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN * 1.03))
    mean = np.nanmean(rois.landmarks_px, axis=0)
    show_knee(axes, average_knee(rois), float(np.mean(rois.mm_per_px)), mean, title=title, numbers=True)
    return figure


def shape_by_grade(cohort: Cohort) -> Figure:
    """Mean landmark positions of each grade relative to the tibial centre, in mm: the joint space narrows."""
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.4))
    offsets = cohort.landmarks_mm - cohort.landmarks_mm[:, landmarks.CENTRE, None]
    for grade, colour in zip(range(5), plt.get_cmap("viridis")(np.linspace(0, 0.9, 5))):
        mean = np.nanmean(offsets[cohort.knees["kl"] == grade], axis=0)
        for bone, _ in BONES.values():
            label = f"KL {grade}" if bone is landmarks.TIBIA else None
            axes.plot(*mean[list(bone)].T, "o-", color=colour, label=label)
    axes.set(xlabel="mm from the tibial centre, lateral to medial", ylabel="mm", aspect="equal")
    axes.invert_yaxis()
    axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return figure
