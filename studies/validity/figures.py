"""Figures of the validity study, from its recorded tables."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from kneel_lib.figures.style import ONE_COLUMN, TWO_COLUMNS, legend_beside
from studies.validity.tables import LEAST_GRADES, WHOLE_MIX, mix_weights

COLOURS = dict(zip(LEAST_GRADES, ("#56B4E9", "#E69F00", "#D55E00")))
WANTED = 0.95


def width_by_grade(knees: pd.DataFrame, width: str = "width_mm") -> Figure:
    """The widths of all knees by grade. knees: validity_knees.csv."""
    figure, axes = plt.subplots(figsize=(1.2 * ONE_COLUMN, 0.85 * ONE_COLUMN), layout="constrained")
    sns.violinplot(knees, x="kl", y=width, color="0.8", inner="quart", cut=0, linewidth=0.8, ax=axes)
    axes.set(xlabel="KL grade", ylabel="joint-space width, mm")
    return figure


def roc_curves(knees: pd.DataFrame, width: str = "width_mm") -> Figure:
    """Curves of a narrow joint as a sign of each grade or a higher one, for the whole set's mix of grades."""
    knees = knees.dropna(subset=[width])
    weights = mix_weights(knees["kl"])
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN), layout="constrained")
    for least, colour in COLOURS.items():
        false, true, _ = roc_curve(knees["kl"] >= least, -knees[width], sample_weight=weights)
        axes.plot(false, true, color=colour, label=f"KL {least} or more")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.set(xlabel="false positives", ylabel="true positives", aspect="equal")
    axes.legend(loc="lower right")
    return figure


def definitions(table: pd.DataFrame, group: str = "KL >= 3") -> Figure:
    """Area under the curve of each way to measure, on labelled knees. table: validity_definitions.csv."""
    rows = table[(table["mix"] == WHOLE_MIX) & (table["group"] == group)]
    names = list(dict.fromkeys(rows["definition"]))[::-1]
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, 1.1 * ONE_COLUMN), layout="constrained")
    kinds = list(dict.fromkeys(zip(rows["landmarks"], rows["scale"])))
    colours = dict(zip(dict.fromkeys(rows["scale"]), sns.color_palette("colorblind")))
    for number, (landmarks, scale) in enumerate(kinds):
        own = rows[(rows["landmarks"] == landmarks) & (rows["scale"] == scale)].set_index("definition")
        own = own.reindex(names)
        place = np.arange(len(names)) - 0.11 * (number - (len(kinds) - 1) / 2)
        reach = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
        how = {"marker": "o" if number < len(kinds) / 2 else "x", "color": colours[scale]}
        axes.errorbar(
            own["value"],
            place,
            xerr=reach,
            linestyle="",
            markersize=3.5,
            label=f"{landmarks}, {scale}",
            **how,
        )
    axes.axvline(WANTED, color="0.5", linestyle="--", linewidth=0.8)
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel=f"area under the curve for {group}")
    legend_beside(axes)
    return figure


def left_and_right(knees: pd.DataFrame, width: str = "width_mm") -> Figure:
    """Both knees of each person."""
    pairs = knees.pivot(index="subject_id", columns="side", values=width).dropna()
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN), layout="constrained")
    axes.scatter(pairs["R"], pairs["L"], s=6, alpha=0.5)
    greatest = float(pairs.to_numpy().max())
    axes.plot([0, greatest], [0, greatest], color="0.6", linewidth=0.8)
    axes.set(xlabel="right, mm", ylabel="left, mm", aspect="equal")
    return figure
