"""Figures of the labels: what a person moved, who is nearer to the person, where errors point, the floor."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from kneel_lib import landmarks, outlines
from kneel_lib.figures.style import BONES, ONE_COLUMN, TWO_COLUMNS

MAGNIFIED = 8
LINE_MM = 0.024
"""Least distance between two lines of names beside a curve of errors."""

FEW = 30
"""Points below which a share is not drawn."""


def edit_rates(table: pd.DataFrame) -> Figure:
    """Share of points that the person moved, by landmark and by grade. table: annotation_stages.csv."""
    edits = table[table["what"] == "edits"].astype({"landmark": str, "kl": str})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(TWO_COLUMNS, ONE_COLUMN * 0.8), layout="constrained", width_ratios=(3, 1)
    )
    by_landmark = edits[edits["landmark"] != "all"]
    number = by_landmark["landmark"].astype(int)
    for bone, (members, colour) in BONES.items():
        chosen = number.isin(members)
        left.bar(number[chosen], by_landmark["moved_percent"][chosen], color=colour, label=bone)
    left.set(xlabel="landmark", ylabel="moved by the person, %", xticks=range(landmarks.COUNT))
    left.legend()
    by_grade = edits[edits["kl"] != "all"]
    right.bar(by_grade["kl"], by_grade["moved_percent"], color="0.4")
    right.set(xlabel="KL grade")
    return figure


def nearer(table: pd.DataFrame) -> Figure:
    """How often each system is nearer to the person than the first stage was, by how far the point was moved,
    with 95 % intervals over subjects. table: rows "nearer" of one cohort of annotation_stages.csv."""
    rows = table[(table["what"] == "nearer") & (table["points"] >= FEW)]
    moves = list(dict.fromkeys(rows["points_are"]))
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS * 0.75, ONE_COLUMN * 0.85), layout="constrained")
    systems = list(dict.fromkeys(rows["system"]))
    for number, system in enumerate(systems):
        own = rows[rows["system"] == system].set_index("points_are").reindex(moves)
        place = np.arange(len(moves)) + 0.15 * (number - (len(systems) - 1) / 2)
        reach = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
        axes.errorbar(place, own["value"], yerr=reach, fmt="o", capsize=2, label=system)
    axes.axhline(50, color="0.6", linewidth=0.8)
    labels = [name.removeprefix("moved by ") for name in moves]
    axes.set(xticks=range(len(moves)), xticklabels=labels, ylim=(0, 102), xlabel="moved by the person")
    axes.set_ylabel("nearer to the person than\nthe first stage was, %")
    axes.legend(loc="lower right")
    return figure


def error_ellipses(shape_mm: np.ndarray, parts: Mapping[str, pd.DataFrame]) -> Figure:
    """The root mean square error across and along the outline, an ellipse a landmark on the mean shape
    (16, 2) in mm, magnified eight times. parts: {title: rows of error_split.csv by landmark}."""
    figure, panels = plt.subplots(
        1,
        len(parts),
        figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.8 / len(parts)),
        layout="constrained",
        squeeze=False,
    )
    direction = outlines.tangents(shape_mm[None])[0]
    for axes, (title, table) in zip(panels.flat, parts.items()):
        ordered = table.sort_values("landmark", key=lambda column: column.astype(int))
        sizes = ordered[["along_rms_mm", "across_rms_mm"]].to_numpy(float)
        for members, colour in BONES.values():
            axes.plot(*outlines.outline(shape_mm[list(members)]).T, color="0.8", linewidth=1)
            for number in members:
                angle = np.degrees(np.arctan2(direction[number, 1], direction[number, 0]))
                along, across = 2 * MAGNIFIED * sizes[number]
                axes.add_patch(
                    Ellipse(tuple(shape_mm[number]), along, across, angle=angle, color=colour, alpha=0.5)
                )
        axes.plot(*shape_mm.T, ".", color="black", markersize=2)
        axes.set(
            aspect="equal",
            title=title,
            xlabel="mm",
            ylim=(shape_mm[:, 1].max() + 12, shape_mm[:, 1].min() - 12),
        )
        axes.grid(False)
    return figure


def floor_by_grade(table: pd.DataFrame) -> Figure:
    """MRE of a perfect network on the labels, and how far `best` lies above it, by grade, a panel a cohort of
    labels. table: rows "floor" of label_floor.csv."""
    rows = table[table["what"] == "floor"]
    cohorts = list(dict.fromkeys(rows["cohort"]))
    figure, panels = plt.subplots(
        1,
        len(cohorts),
        figsize=(TWO_COLUMNS, ONE_COLUMN * 0.8),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axes, cohort in zip(panels.flat, cohorts):
        own = rows[rows["cohort"] == cohort]
        place = np.arange(len(own))
        reach = np.abs(own[["low", "high"]].to_numpy().T - own["mre_mm"].to_numpy())
        axes.bar(place, own["mre_mm"], color="0.75", label="shared by unlike systems")
        axes.bar(place, own["above_mm"], bottom=own["mre_mm"], color="#0072B2", label="the network's own")
        axes.errorbar(place, own["mre_mm"], yerr=reach, fmt="none", color="black", capsize=2)
        axes.set(xticks=place, xticklabels=own["kl"], xlabel="KL grade", title=f"labels: {cohort}")
    panels[0, 0].set_ylabel("MRE, mm")
    panels[0, -1].legend()
    return figure


REMOVED = {
    "less the part along the edge": ("along the edge", "#0072B2"),
    "less a scale and a shift a knee": ("a scale and a shift a knee", "#D55E00"),
    "less the rounding to whole pixels": ("rounding to whole pixels", "#CC79A7"),
    "seed variance": ("seed variance", "#009E73"),
}
"""{what is taken out: (its name, its colour)}, in the order in which the bars show it."""


def what_is_removed(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """The MRE of `best` as stacked bars: what is left of it when one thing after the other is taken out, and
    what each takes. table: rows "removed" of label_floor.csv, a bar a cohort of labels. seeds: rows of
    ensembles.csv of several seeds of one setting, a bar each: the mean of their answers takes seed variance
    out."""
    removed = table[table["what"] == "removed"]
    bars: dict[str, dict[str, float]] = {}
    for cohort, own in removed.groupby("cohort", sort=False):
        taken = own.set_index("of")["removed_mm"].dropna()
        bars[f"best, labels {cohort}"] = {"left": own["mre_mm"].iloc[-1], **taken}
    for row in seeds.itertuples():
        bars[f"{row.trainings}, fold {row.fold}"] = {
            "left": row.together_mm,
            "seed variance": row.each_mm - row.together_mm,
        }
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, 0.35 * len(bars) + 0.9), layout="constrained")
    begin = np.zeros(len(bars))
    for step, (name, colour) in {"left": ("left", "0.75"), **REMOVED}.items():
        width = np.array([bar.get(step, 0.0) for bar in bars.values()])
        axes.barh(list(bars), width, left=begin, color=colour, label=name, height=0.65)
        begin += width
    axes.invert_yaxis()
    axes.set(xlabel="MRE, mm")
    axes.grid(False, axis="y")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(REMOVED) + 1)
    return figure


def judged_tables(table: pd.DataFrame) -> Figure:
    """Out-of-fold MRE of each system by each table of labels; filled: it took no part in the table.
    table: registration_votes.csv."""
    labels = list(dict.fromkeys(table["labels"]))
    order = [name for name in ("crops_first", "crops_templates", "crops_voted", "crops") if name in labels]
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS * 0.85, ONE_COLUMN * 1.2), layout="constrained")
    ends = []
    colours = dict(zip(dict.fromkeys(table["setting"]), ("#0072B2", "#009E73", "#D55E00", "#CC79A7")))
    for (trained_on, setting), own in table.groupby(["trained_on", "setting"], sort=False):
        own = own.set_index("labels").reindex(order)
        axes.plot(order, own["mre_mm"], "-", color=colours[setting], linewidth=0.8, alpha=0.6)
        for voted, fill in ((False, colours[setting]), (True, "white")):
            chosen = own[own["voted"] == voted]
            axes.plot(chosen.index, chosen["mre_mm"], "o", color=colours[setting], markerfacecolor=fill)
        ends.append((own["mre_mm"].iloc[-1], f"{setting}, trained on {trained_on}", colours[setting]))
    free = -np.inf
    for height, name, colour in sorted(ends):
        free = max(height, free + LINE_MM)
        axes.annotate(
            name,
            (len(order) - 1, height),
            xytext=(len(order) - 0.8, free),
            fontsize=6,
            va="center",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
        )
    axes.set(xlabel="judged by the labels of", ylabel="MRE, mm", xlim=(-0.2, len(order) + 0.9))
    return figure


def region_areas(table: pd.DataFrame) -> Figure:
    """Area of the 90 % regions by landmark, circles and ellipses. table: conformal_regions.csv of one cohort,
    checked on the folds."""
    rows = table[(table["checked_on"] == "folds") & (table["landmark"].astype(str) != "all")]
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS * 0.75, ONE_COLUMN * 0.75), layout="constrained")
    for shift, (shape, own) in zip((-0.2, 0.2), rows.groupby("shape", sort=False)):
        axes.bar(own["landmark"].astype(int) + shift, own["area_mm2"], width=0.38, label=shape)
    axes.set(xlabel="landmark", ylabel="area of the 90 % region, mm²", xticks=range(landmarks.COUNT))
    axes.legend()
    return figure
