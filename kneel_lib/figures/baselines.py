"""Figures of the classical systems: shape modes, appearance, response images, votes on a knee, the fit step
by step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.figures.style import (
    BONES,
    INTERVAL,
    ONE_COLUMN,
    TWO_COLUMNS,
    bare,
    ends_too,
    legend_beside,
    scale_bar,
    show_knee,
)


def shape_modes(
    mean_mm: np.ndarray, displacements_mm: np.ndarray, shares: np.ndarray, count: int = 3
) -> Figure:
    """The mean shape (16, 2) mm and what +-2 standard deviations of the first modes (m, 16, 2) mm do to
    it, a panel a mode."""
    size = TWO_COLUMNS * 0.75, TWO_COLUMNS * 0.3 * count
    figure, panels = plt.subplots(count, 1, figsize=size, sharex=True, sharey=True, layout="constrained")
    for mode, axes in enumerate(panels):
        for deviations, style in ((-2, ":"), (0, "-"), (2, "--")):
            shape = mean_mm + deviations * displacements_mm[mode]
            for name, (bone, colour) in BONES.items():
                label = {-2: "-2 sd", 0: "mean", 2: "+2 sd"}[deviations] if name == "tibia" else None
                how = {"color": colour, "marker": "o", "markersize": 2.5, "linewidth": 1, "label": label}
                axes.plot(*shape[list(bone)].T, style, **how)
        title = f"mode {mode + 1}: {100 * shares[mode]:.0f} % of the variance"
        axes.set(title=title, ylabel="mm", aspect="equal")
    panels[0].invert_yaxis()
    panels[-1].set(xlabel="mm, lateral to medial")
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, loc="outside lower center")
    return figure


def appearances(pictures: dict[str, Any]) -> Figure:
    """{title: (h, w) picture} of an AAM side by side; NaN (off the knee) is black."""
    size = TWO_COLUMNS, TWO_COLUMNS / len(pictures) * 0.75
    figure, panels = plt.subplots(1, len(pictures), figsize=size, layout="constrained")
    known = np.concatenate([picture[np.isfinite(picture)] for picture in pictures.values()])
    low, high = np.percentile(known, (0.5, 99.5))
    for axes, (title, picture) in zip(panels, pictures.items()):
        axes.imshow(np.nan_to_num(picture, nan=known.min()), cmap="gray", vmin=low, vmax=high)
        bare(axes, title)
    return figure


def response_maps(rows: Any, truth: Any, names: Any, cell_mm: Mapping[str, float]) -> Figure:
    """Response images around the current points, a row of panels a system: {label: (k, h, w)}, with the truth
    as a cross.

    truth: {label: (k, 2) true points in cells of the map}. names: of the k landmarks. cell_mm: {label: mm in
    a cell}.
    """
    grid, size = (len(rows), len(names)), (TWO_COLUMNS, 1.12 * TWO_COLUMNS / len(names) * len(rows))
    figure, panels = plt.subplots(*grid, figsize=size, layout="constrained", squeeze=False)
    for line, (label, maps) in zip(panels, rows.items()):
        for axes, picture, point, name in zip(line, maps, truth[label], names):
            axes.imshow(picture, cmap="magma")
            axes.plot(*point, "x", color="white", markersize=6)
            bare(axes, name)
            scale_bar(axes, picture.shape, cell_mm[label])
        line[0].set(ylabel=label)
    return figure


def votes_on_knee(image: np.ndarray, mm_per_px: float, responses: Any, truth_px: np.ndarray) -> Figure:
    """One ROI with the piled-up votes of some landmarks on it, a panel a stage.
    responses: {title: (S, S) votes, any scale}."""
    size = TWO_COLUMNS, TWO_COLUMNS / len(responses) * 1.06
    figure, panels = plt.subplots(1, len(responses), figsize=size, layout="constrained")
    for axes, (title, votes) in zip(panels, responses.items()):
        show_knee(axes, image, mm_per_px, truth_px, title=title)
        share = votes / votes.max()
        axes.imshow(share, cmap="magma", alpha=np.clip(1.4 * share, 0, 0.85))
    return figure


def fit_by_step(errors: Mapping[str, np.ndarray]) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): median error over knees after each step of a fit, with quartiles, a line a system.
    errors: {label: (knees, steps)} mm."""
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, ONE_COLUMN * 0.8))
    parts = [
        pd.DataFrame(values)
        .melt(var_name="step", value_name="mm")
        .assign(system=label, line=f"{label} ({values.shape[1] - 1} steps)", last=values.shape[1] - 1)
        for label, values in errors.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    share = table.assign(share=table["step"] / table["last"])
    quartiles = {"estimator": "median", "errorbar": ("pi", 50)}
    sns.lineplot(share, x="share", y="mm", hue="line", marker="o", markersize=3, ax=axes, **quartiles)
    axes.set(xlabel="from the first step (0) to the last (1)", ylabel="mean error of a knee, mm")
    axes.set_ylim(0, None)
    legend_beside(axes)
    groups = table.groupby(["system", "step"], sort=False)["mm"]
    by_step = groups.quantile(np.array([0.5, 0.25, 0.75])).unstack()
    return figure, by_step.set_axis(["median_mm", "quarter_mm", "three_quarters_mm"], axis=1).reset_index()


def final_against_initial(table: pd.DataFrame) -> Figure:
    """Final error over the displacement of the ROI, with 95 % intervals, a line a setting, from
    `tables.by_displacement` of one cohort and one profile a setting.

    The classical systems are solid, networks dashed. Recorded rows that are none of today's are left out.
    """
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, ONE_COLUMN * 0.85))
    table = table[table["setting"].isin(list(SETTINGS))].reset_index(drop=True)
    settings = [SETTINGS[name] for name in table["setting"]]
    label = [f"{setting.label}, {profile}" for setting, profile in zip(settings, table["profile"])]
    place = table.groupby("setting", sort=False).ngroup()
    middle = (table["from_mm"] + table["to_mm"]) / 2 + 0.08 * (place - 3)
    solid = {name: setting.method != "network" for name, setting in zip(label, settings)}
    how: dict[str, Any] = {"hue": "label", "palette": "colorblind", "style": "label", "markers": True}
    how |= {"dashes": {name: "" if whole else (3, 1.5) for name, whole in solid.items()}, "markersize": 6}
    shown = ends_too(table.assign(label=label, middle=middle), "mre_mm")
    sns.lineplot(shown, x="middle", y="mre_mm", **how, err_style="bars", ax=axes, **INTERVAL)
    axes.set(xlabel="displacement of the ROI from landmark 4, mm", ylabel="MRE over 16 landmarks, mm")
    axes.set(xlim=(0, 10), yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    legend_beside(axes)
    return figure
