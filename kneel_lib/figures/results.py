"""Figures of results:
errors by distance, landmark and grade, rows with their intervals, differences, labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from kneel_lib import landmarks, metrics
from kneel_lib.data.cohort import Cohort, knee_name
from kneel_lib.data.rois import Rois
from kneel_lib.figures.style import (
    BONES,
    INTERVAL,
    ONE_COLUMN,
    PAPER_COLOUR,
    POINTS,
    TWO_COLUMNS,
    ends_too,
    legend_beside,
    show_knee,
)
from kneel_lib.reporting.statistics import mean_interval

OFF_SCALE = 2.0
"""Times the median MRE of the rows: where the axis of `forest_plot` ends, if it must."""
MATRIX_MM = 0.5
"""Where the colours of `difference_matrix` end: a third of the MRE."""


def cumulative_errors(
    predictions_by_name: Mapping[str, tuple[np.ndarray, Any]],
    paper_points: Mapping[str, Mapping[float, float]] | None = None,
    limit_mm: float = 5.0,
    bones: metrics.Bones = landmarks.TABLE1,
    axes: Axes | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): share of knees whose bone-mean error (over `bones`' landmarks) is within r, a line for
    each name; a knee without errors never is, a bone without is left out.

    predictions_by_name: {label: (errors (n, 16), subjects)}. paper_points: {label: {r: PCK}} drawn as
    markers. Bands are 95 % intervals (bootstrap over subjects).
    """
    beside = axes is None
    if axes is None:
        axes = plt.subplots(figsize=(TWO_COLUMNS, ONE_COLUMN * 0.9))[1]
    radii, rows = np.arange(0, limit_mm + 0.05, 0.1), []
    for label, (errors, subjects) in predictions_by_name.items():
        scored = metrics.bone_errors(metrics.lost_outside(errors), bones)
        rows += [
            (label, radius, *mean_interval(metrics.within(scored, radius), subjects, draws=400))
            for radius in radii
        ]
    table = pd.DataFrame(rows, columns=["line", "radius_mm", "pck", "low", "high"])
    sns.lineplot(ends_too(table, "pck"), x="radius_mm", y="pck", hue="line", ax=axes, **INTERVAL)
    for (label, points), marker in zip((paper_points or {}).items(), "s^D"):
        axes.plot(list(points), list(points.values()), marker, color=PAPER_COLOUR, mfc="white", label=label)
    axes.set(xlabel="distance r, mm", ylabel="PCK @ r, %", xlim=(0, limit_mm), ylim=(0, 101))
    if beside:
        legend_beside(axes)
    return axes.figure, table  # type: ignore[return-value]  # no subfigures here


def errors_by_landmark(errors: np.ndarray, subjects: Any) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): mean error of each landmark in mm with its 95 % interval (bootstrap over subjects)."""
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.42))
    columns = ["mre_mm", "low", "high", "landmark", "name"]
    rows = [
        (*mean_interval(errors[:, number], subjects), number, name)
        for number, name in enumerate(landmarks.NAMES)
    ]
    table = pd.DataFrame(rows, columns=columns)
    bones = table["landmark"].isin(landmarks.TIBIA).map({True: "tibia", False: "femur"})
    colours = {name: colour for name, (_, colour) in BONES.items()}
    shown = ends_too(table.assign(bone=bones), "mre_mm")
    sns.pointplot(shown, x="landmark", y="mre_mm", hue="bone", palette=colours, ax=axes, **POINTS)
    labels = [f"{number} {name}" for number, name in enumerate(landmarks.NAMES)]
    axes.set_xticks(range(landmarks.COUNT), labels, rotation=40, ha="right")
    axes.set(xlabel="", ylabel="mean error, mm", ylim=(0, 1.15 * table["high"].max()))
    axes.legend(loc="lower left", ncols=2)
    return figure, table


def errors_by_grade(table: pd.DataFrame) -> Figure:
    """Mean error for each Kellgren-Lawrence grade with its 95 % interval, from `tables.by_grade`."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN * 0.75))
    sns.pointplot(ends_too(table, "mre_mm"), x="kl", y="mre_mm", ax=axes, **POINTS)
    axes.set(xlabel="Kellgren-Lawrence grade", ylabel="MRE over 16 landmarks, mm", ylim=(0, None))
    return figure


def forest_plot(intervals: pd.DataFrame, paper: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """A dozen rows: PCK @ 1 and 2.5 mm (paper's version) and MRE with 95 % intervals, diamonds for the paper.

    A row that has fewer folds than another has a square: it is about other knees. An MRE far beyond others is
    written, so that these keep their scale. intervals: rows of `tables.interval_table` of one cohort and
    profile. paper: `tables.paper_table()`. labels: {setting: label}, in order.
    """
    quantities = {"pck_1": "PCK @ 1 mm, %", "pck_2.5": "PCK @ 2.5 mm, %", "mre_mm": "MRE, mm"}
    size = TWO_COLUMNS, 1.1 + 0.2 * len(labels)
    figure, panels = plt.subplots(1, 3, figsize=size, sharey=True, layout="constrained")
    most = intervals["folds"].max()
    folds = {True: f"here, 95 %, {most} folds" if most > 1 else "here, 95 %, 1 fold", False: "fewer folds"}
    shown = intervals[intervals["setting"].isin(list(labels))]
    shown = shown.assign(knees=(shown["folds"] == most).map(folds))
    kinds = [kind for kind in folds.values() if kind in set(shown["knees"])]
    published = paper[paper["setting"].isin(list(labels))]
    for axes, (quantity, title) in zip(panels, quantities.items()):
        rows = shown[shown["quantity"] == quantity]
        names = {"x": "mean", "y": "setting", "order": list(labels), "hue": "knees", "hue_order": kinds}
        palette = {kind: "C0" if kind == folds[True] else "C4" for kind in kinds}
        markers = ["o" if kind == folds[True] else "s" for kind in kinds]
        sns.pointplot(ends_too(rows, "mean"), **names, palette=palette, markers=markers, ax=axes, **POINTS)
        if quantity in paper and len(published):
            x, y = published[quantity], published["setting"]
            axes.plot(x, y, "D", color=PAPER_COLOUR, mfc="white", markersize=3.5, label="paper")
        axes.get_legend().remove()
        axes.set_xlabel(title, fontsize=8)
        axes.set_ylabel("")
        end = OFF_SCALE * rows["mean"].median()
        if rows["mean"].max() > end and quantity == "mre_mm":
            axes.set_xlim(right=end)
            for row in rows[rows["mean"] > end].itertuples():
                box = {"fc": "white", "ec": "none", "pad": 1}
                text = f"{row.mean:.1f} → "
                axes.text(end, row.setting, text, ha="right", va="center", fontsize=6.5, bbox=box)
    panels[0].set_yticks(range(len(labels)), list(labels.values()), fontsize=7)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=7)
    return figure


GROUPS = {"kl": "Kellgren-Lawrence grade", "landmark": "landmark"}


def differences_by_group(table: pd.DataFrame) -> Figure:
    """Where a difference in MRE comes from: by KL grade and by landmark, dots with 95 % intervals over
    subjects (other knees, the same networks), a colour a setting; rows of `comparisons.comparison_by_group`.
    """
    size = TWO_COLUMNS, ONE_COLUMN * 0.85
    figure, panels = plt.subplots(
        1, 2, figsize=size, sharey=True, width_ratios=(1, 2.4), layout="constrained"
    )
    for axes, (group, label) in zip(panels, GROUPS.items()):
        over = {"low_subjects": "low", "high_subjects": "high"}
        rows = ends_too(table[table["group"] == group].rename(columns=over), "difference")
        names = {"x": "value", "y": "difference", "hue": "setting"}
        sns.pointplot(rows, **names, dodge=0.4, formatter="{:g}".format, ax=axes, **POINTS)
        axes.get_legend().remove()
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set(xlabel=label, ylabel=f"MRE minus that of {table['against'].iloc[0]}, mm")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=7)
    return figure


def difference_matrix(table: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Where each row gains (green) or loses (purple) against another: a field for each KL grade and landmark,
    a dot where the 95 % interval over trainings leaves out zero (without correction).

    table: rows of `comparisons.comparison_by_group` of one cohort and profile, against one setting. labels:
    of its settings, in order.
    """
    names = list(dict.fromkeys(table["setting"]))
    table = table.assign(dot=np.where((table["low_trainings"] > 0) | (table["high_trainings"] < 0), "•", ""))
    size = TWO_COLUMNS, 1.0 + 0.17 * len(names)
    figure, panels = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(5, 16), layout="constrained")
    colours = {"cmap": "PRGn_r", "vmin": -MATRIX_MM, "vmax": MATRIX_MM, "cbar": False}
    for axes, (group, label) in zip(panels, GROUPS.items()):
        rows = table[table["group"] == group]
        fields = rows.pivot(index="setting", columns="value", values=["difference", "dot"]).loc[names]
        values, dots = fields["difference"].astype(float), fields["dot"]
        sns.heatmap(values, annot=dots, fmt="", **colours, xticklabels=[f"{v:g}" for v in values], ax=axes)
        axes.set(xlabel=label, ylabel="")
        axes.tick_params(axis="x", rotation=0, labelsize=6.5)
    panels[0].set_yticks(np.arange(len(names)) + 0.5, labels, fontsize=7)
    label, shrink = f"MRE minus that of {table['against'].iloc[0]}, mm", min(1, 12 / len(names))
    figure.colorbar(panels[0].collections[0], ax=panels, extend="both", shrink=shrink, label=label)
    return figure


def interval_coverage(table: pd.DataFrame) -> Figure:
    """How often 95 % intervals of a difference between settings hold, and how often a table without any
    difference has a star, over how much the trainings of two folds correlate; results/interval_coverage.csv.

    Solid: parts as large as those of EMA weights; dashed: of the last epoch; crosses: small networks that
    were trained. Bars: what the number of simulated tables leaves open.
    """
    drawn = {"coverage_settings": "95 % intervals that hold, %", "family_wise": "tables with a false star, %"}
    size = TWO_COLUMNS, ONE_COLUMN * 0.8
    figure, panels = plt.subplots(1, 2, figsize=size, layout="constrained")
    styles = {"EMA": "o-", "last epoch": "s--", "small networks, trained": "x"}
    for axes, (name, label), promised in zip(panels, drawn.items(), (95, 5)):
        for number, interval in enumerate(table["interval"].unique()):
            for parts, line in styles.items():
                rows = table[(table["interval"] == interval) & (table["parts"] == parts)]
                label_of = {"label": interval} if parts == "EMA" else {}
                shown = {"fmt": line, "color": f"C{number}", "capsize": 2, "markersize": 3.5, "linewidth": 1}
                axes.errorbar(rows["correlation"], rows[name], rows[f"{name}_within"], **shown, **label_of)
        axes.axhline(promised, color="0.5", linewidth=0.8)
        axes.set(xlabel="correlation of two folds' trainings", ylabel=label, ylim=(-2, 102))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=7)
    return figure


LOW_COST = "from the tibial centre alone"
START_LABELS = {
    "scratch": "from scratch",
    "low_cost": LOW_COST,
    "simulated": "from simulated knees",
    "pseudo_labelled": "from these, by way of pseudo-labels",
}


def label_curve(table: pd.DataFrame) -> Figure:
    """MRE over the number of labelled real knees, a panel a recipe, cohort, profile and kind of weights, a
    line a start: every fold and seed as a point, their mean as a line. Where no start has two counts there is
    no line, and no panel beside those that have one."""
    named = table.assign(start=table["start"].map(START_LABELS))
    every = list(named.groupby(["recipe", "cohort", "profile", "weights"]))
    lines = [panel for panel in every if panel[1].groupby("start")["labels"].nunique().max() > 1]
    panels = lines or every
    size = ONE_COLUMN * (0.3 + len(panels)), ONE_COLUMN * 0.95
    figure, row = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axes, (title, part) in zip(row[0], panels):
        order, counts = list(START_LABELS.values()), sorted(part["labels"].unique())
        shown = {"x": "labels", "y": "mre_mm", "hue": "start", "style": "start", "ax": axes}
        shown |= {"hue_order": order, "style_order": order}
        sns.lineplot(part, **shown, markers=True, errorbar=None)
        sns.scatterplot(part, **shown, alpha=0.6, legend=False)
        axes.set(title="{}, {}, {}\n{}".format(*title), xlabel="labelled real knees", xscale="log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.get_legend().remove()
    row[0, 0].set(ylabel="MRE over 16 landmarks, mm", ylim=(0, None))
    figure.legend(*row[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def predictions_by_error(cohort: Cohort, rois: Rois, predicted_px: np.ndarray, errors: np.ndarray) -> Figure:
    """The best, the median and the worst of these knees by mean error, truth and prediction on the
    picture."""
    order = np.argsort(np.nanmean(errors, axis=1))
    figure, panels = plt.subplots(1, 3, figsize=(TWO_COLUMNS, TWO_COLUMNS / 2.8))
    for axes, name, index in zip(panels, ("best", "median", "worst"), order[[0, len(order) // 2, -1]]):
        row = cohort.knees.iloc[index]
        title = f"{name}: {knee_name(row)}, KL {row['kl']}, {np.nanmean(errors[index]):.2f} mm"
        points = rois.landmarks_px[index], predicted_px[index]
        show_knee(axes, rois.images[index], rois.mm_per_px[index], *points, title)
    return figure
