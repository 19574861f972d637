"""All figures: 88 or 180 mm wide, tibia and femur by colour, truth and prediction by shape, a 10 mm bar on every picture.

A figure is saved as PDF and PNG beside the csv that it draws. Pictures of real knees are drawn only where
`pictures_allowed()`; in the notebooks that the project publishes they are left out.
"""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from scipy.interpolate import RBFInterpolator

from kneel_lib import landmarks, metrics
from kneel_lib.data import phantom
from kneel_lib.data.cohort import knee_name
from kneel_lib.data.cohorts import load_cohort
from kneel_lib.data.rois import cut_rois
from kneel_lib.data.simulated import POPULATIONS
from kneel_lib.files import write_whole
from kneel_lib.statistics import mean_interval

STYLE = Path(__file__).with_name("kneel.mplstyle")
ONE_COLUMN, TWO_COLUMNS = 88 / 25.4, 180 / 25.4
TIBIA_COLOUR, FEMUR_COLOUR, PAPER_COLOUR = "#D55E00", "#56B4E9", "#000000"
BONES = {"tibia": (landmarks.TIBIA, TIBIA_COLOUR), "femur": (landmarks.FEMUR, FEMUR_COLOUR)}
WITHOUT_PICTURES = "KNEEL_WITHOUT_PICTURES"
OFF_SCALE = 2.0
"""Times the median MRE of the rows: where the axis of `forest_plot` ends, if it must."""
MATRIX_MM = 0.5
"""Where the colours of `difference_matrix` end: a third of the MRE."""


def use_style():
    """Take the project's matplotlib style for all figures from here on, and show tables whole."""
    plt.style.use(STYLE)
    pd.set_option("display.max_rows", 100, "display.max_columns", 50, "display.max_colwidth", 100)


def pictures_allowed(cohort):
    """False for real knees (a cohort, or the name of one) where KNEEL_WITHOUT_PICTURES is set: the published notebooks show none."""
    name = getattr(cohort, "name", cohort)
    return name in POPULATIONS or name.removesuffix("_halves") in POPULATIONS or not os.environ.get(WITHOUT_PICTURES)


def with_pictures(cohort, draw, *arguments):
    """`draw(*arguments)`, a figure that shows pixels; or None, and a line that says so, where they may not be shown."""
    if pictures_allowed(cohort):
        if os.environ.get(WITHOUT_PICTURES):
            print("The knees in this picture are simulated.")
        return draw(*arguments)
    print("A picture of real knees stands here when you run this notebook; the published copy leaves it out.")
    return None


def stand_in(cohort):
    """The cohort itself where its pixels may be shown, else ten simulated knees: for pictures of what is done to an image, whosever it is."""
    return cohort if pictures_allowed(cohort) else load_cohort("simulated", 10)


def save_figure(figure, name, folder, table=None):
    """Save as `folder`/`name`.pdf and .png, and the table that it draws as .csv; returns the PNG's path."""
    folder = Path(folder)
    for ending in ("pdf", "png"):
        stamp = {"CreationDate": None} if ending == "pdf" else None
        write_whole(folder / f"{name}.{ending}", lambda temporary, kind=ending: figure.savefig(temporary, format=kind, metadata=stamp))
    if table is not None:
        write_whole(folder / f"{name}.csv", lambda temporary: table.to_csv(temporary, index=False, float_format="%.4g"))
    return folder / f"{name}.png"


def show_knee(axes, image, mm_per_px, truth_px=None, predicted_px=None, title="", numbers=False):
    """One picture with landmarks (truth: circles, prediction: crosses) and a 10 mm bar; points in pixels of the picture."""
    axes.imshow(image, vmin=0, vmax=255)
    for points, marker, size in ((truth_px, "o", 9), (predicted_px, "x", 14)):
        if points is not None:
            for bone, colour in BONES.values():
                axes.scatter(*points[list(bone)].T, s=size, c=colour, marker=marker, linewidths=0.9)
    if numbers and truth_px is not None:
        for number, (x, y) in enumerate(truth_px):
            axes.text(x, y + (9 if number in landmarks.TIBIA else -5), str(number), color="white", fontsize=6.5, ha="center")
    scale_bar(axes, image.shape, mm_per_px)
    axes.set(title=title, xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.grid(False)


def scale_bar(axes, shape, mm_per_px, colour="white"):
    """A 10 mm bar in the lower right corner."""
    length, x, y = 10 / mm_per_px, 0.95 * shape[1], 0.95 * shape[0]
    axes.plot([x - length, x], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.text(x, y - 0.02 * shape[0], "10 mm", color=colour, fontsize=6.5, ha="right", va="bottom")


def knees_by_grade(cohort, rois, seed=0):
    """Fig. 2: one knee of each Kellgren-Lawrence grade with its landmarks."""
    figure, panels = plt.subplots(1, 5, figsize=(TWO_COLUMNS, TWO_COLUMNS / 4.4))
    picks = cohort.knees.reset_index().groupby("kl").sample(1, random_state=seed)
    for axes, (_, row) in zip(panels, picks.iterrows()):
        index = row["index"]
        show_knee(axes, rois.images[index], rois.mm_per_px[index], rois.landmarks_px[index], title=f"KL {row['kl']} ({knee_name(row)})")
    return figure


def phantom_steps(maps, machine, seed=0):
    """How a simulated radiograph comes about, in six pictures: thickness of three tissues in mm, the beam, the detector, the display."""
    signal = phantom.detect(maps, machine, np.random.default_rng(seed))
    steps = {"soft tissue, mm": maps["soft"], "spongy bone, mm": maps["spongy"], "cortical bone, mm": np.minimum(maps["cortical"], 25),
             "photons that come through": phantom.transmit(maps), "+ scatter, blur and noise": signal,
             "logarithm, turned round": phantom.develop(signal, machine)}
    figure, panels = plt.subplots(2, 3, figsize=(TWO_COLUMNS * 0.72, TWO_COLUMNS * 0.62), layout="constrained")
    for axes, (title, image) in zip(panels.flat, steps.items()):
        light = "photons" in title or "noise" in title
        drawn = axes.imshow(image, cmap="viridis" if "mm" in title else "gray", vmax=np.percentile(image, 55) if light else None)
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(False)
        scale_bar(axes, image.shape, machine.mm_per_px, "black" if light else "white")
        figure.colorbar(drawn, ax=axes, shrink=0.75, extend="max" if light else "neither")
    return figure


def beam_profile(maps, machine, row, seed=0):
    """(figure, table): along one row of the phantom, bone thickness in mm and the detector's signal with few and many photons."""
    x = np.arange(maps["soft"].shape[1]) * machine.mm_per_px
    table = pd.DataFrame({"x_mm": x, "spongy_mm": maps["spongy"][row], "cortical_mm": maps["cortical"][row], "transmitted": phantom.transmit(maps)[row]})
    figure, (above, below) = plt.subplots(2, 1, figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.5), sharex=True, layout="constrained")
    above.plot(x, table["spongy_mm"], label="spongy bone")
    above.plot(x, table["cortical_mm"], label="cortical bone")
    above.set(ylabel="thickness, mm")
    for photons in (1000, 24000):
        table[f"signal_{photons}"] = phantom.detect(maps, replace(machine, photons=photons), np.random.default_rng(seed))[row]
        below.plot(x, table[f"signal_{photons}"], label=f"{photons:,} photons a pixel", linewidth=0.8)
    below.set(xlabel="mm across the leg", ylabel="signal, share of open beam", yscale="log")
    for axes in (above, below):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure, table


def knees_of_cohorts(cohorts, count=7, size_px=150, spacing_mm=0.9):
    """The first `count` knees of each cohort, a row a cohort, with their landmarks."""
    figure, panels = plt.subplots(len(cohorts), count, figsize=(TWO_COLUMNS, TWO_COLUMNS * len(cohorts) / count), layout="constrained")
    for row, cohort in zip(np.atleast_2d(panels), cohorts):
        rois = cut_rois(cohort.select(slice(0, count)), size_px, spacing_mm)
        for axes, image, points, (_, knee) in zip(row, rois.images, rois.landmarks_px, cohort.knees.iterrows()):
            show_knee(axes, image, spacing_mm, points, title=f"{cohort.name}, KL {knee['kl']}")
    return figure


def average_knees(cohorts, size_px=240, spacing_mm=0.4):
    """The average knee of each cohort side by side, each with its mean shape: where the phantom differs from bone."""
    side = min(TWO_COLUMNS / len(cohorts), ONE_COLUMN)
    figure, panels = plt.subplots(1, len(cohorts), figsize=(side * len(cohorts), 1.1 * side), layout="constrained")
    for axes, cohort in zip(np.atleast_1d(panels), cohorts):
        rois = cut_rois(cohort, size_px, spacing_mm)
        mean = average_knee(rois)
        low, high = np.percentile(mean, (2, 99.5))
        show_knee(axes, np.clip((mean - low) / (high - low), 0, 1) * 255, spacing_mm, np.nanmean(rois.landmarks_px, axis=0),
                  title=f"{cohort.name}: average of {len(cohort)} knees")
    return figure


def average_knee(rois):
    """The mean picture of all knees, each warped by a thin-plate spline of its landmarks onto the mean shape; (S, S) float.

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
        spline = RBFInterpolator(np.concatenate([mean, frame]), np.concatenate([points, frame + shift]), kernel="thin_plate_spline")
        source = spline(grid).reshape(25, 25, 2).astype(np.float32)
        maps = [cv2.resize(source[..., axis], (side, side), interpolation=cv2.INTER_CUBIC) for axis in (0, 1)]
        total += cv2.remap(image, *maps, cv2.INTER_LINEAR)
    return total / whole.sum()


def show_average_knee(rois, title):
    """`average_knee` at 88 mm, with the mean shape numbered on it."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN * 1.03))
    mean = np.nanmean(rois.landmarks_px, axis=0)
    show_knee(axes, average_knee(rois), float(np.mean(rois.mm_per_px)), mean, title=title, numbers=True)
    return figure


def shape_by_grade(cohort):
    """Mean landmark positions of each grade relative to the tibial centre, in mm: the joint space narrows."""
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.4))
    offsets = cohort.landmarks_mm - cohort.landmarks_mm[:, landmarks.CENTRE, None]
    for grade, colour in zip(range(5), plt.get_cmap("viridis")(np.linspace(0, 0.9, 5))):
        mean = np.nanmean(offsets[cohort.knees["kl"] == grade], axis=0)
        for bone, _ in BONES.values():
            axes.plot(*mean[list(bone)].T, "o-", color=colour, label=f"KL {grade}" if bone is landmarks.TIBIA else None)
    axes.set(xlabel="mm from the tibial centre, lateral to medial", ylabel="mm", aspect="equal")
    axes.invert_yaxis()
    axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return figure


def cumulative_errors(predictions_by_name, paper_points=None, limit_mm=5.0, bones=landmarks.TABLE1, axes=None):
    """(figure, table): share of knees whose bone-mean error (over `bones`' landmarks) is within r, a line for each name; a knee without errors never is.

    predictions_by_name: {label: (errors (n, 16), subjects)}. paper_points: {label: {r: PCK}} drawn as markers. Bands are
    95 % intervals (bootstrap over subjects).
    """
    beside = axes is None
    axes = plt.subplots(figsize=(TWO_COLUMNS, ONE_COLUMN * 0.9))[1] if beside else axes
    radii, rows = np.arange(0, limit_mm + 0.05, 0.1), []
    for label, (errors, subjects) in predictions_by_name.items():
        scored = metrics.bone_errors(metrics.lost_outside(errors), bones)
        within = [mean_interval(100.0 * (scored <= radius), subjects, draws=400) for radius in radii]
        mean, low, high = np.array(within).T
        line, = axes.plot(radii, mean, label=label)
        axes.fill_between(radii, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        rows += [{"line": label, "radius_mm": r, "pck": m, "low": a, "high": b} for r, m, a, b in zip(radii, mean, low, high)]
    for (label, points), marker in zip((paper_points or {}).items(), "s^D"):
        axes.plot(list(points), list(points.values()), marker, color=PAPER_COLOUR, mfc="white", label=label)
    axes.set(xlabel="distance r, mm", ylabel="PCK @ r, %", xlim=(0, limit_mm), ylim=(0, 101))
    if beside:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return axes.figure, pd.DataFrame(rows)


def errors_by_landmark(errors, subjects):
    """(figure, table): mean error of each landmark in mm with its 95 % interval (bootstrap over subjects)."""
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.42))
    rows = [dict(zip(("mre_mm", "low", "high"), mean_interval(errors[:, number], subjects)), landmark=number, name=landmarks.NAMES[number])
            for number in range(landmarks.COUNT)]
    table = pd.DataFrame(rows)
    for name, (bone, colour) in BONES.items():
        part = table.iloc[list(bone)]
        spread = [part["mre_mm"] - part["low"], part["high"] - part["mre_mm"]]
        axes.errorbar(part["landmark"], part["mre_mm"], spread, fmt="o", color=colour, label=name, capsize=2)
    labels = [f"{number} {name}" for number, name in enumerate(landmarks.NAMES)]
    axes.set_xticks(range(landmarks.COUNT), labels, rotation=40, ha="right")
    axes.set(ylabel="mean error, mm", ylim=(0, 1.15 * table["high"].max()))
    axes.legend(loc="upper left", ncols=2)
    return figure, table


def errors_by_grade(table):
    """Mean error for each Kellgren-Lawrence grade with its 95 % interval, from `tables.by_grade`."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN * 0.75))
    spread = [table["mre_mm"] - table["low"], table["high"] - table["mre_mm"]]
    axes.errorbar(table["kl"], table["mre_mm"], spread, fmt="o", capsize=3)
    axes.set(xlabel="Kellgren-Lawrence grade", ylabel="MRE over 16 landmarks, mm", ylim=(0, None), xticks=range(5))
    return figure


def forest_plot(intervals, paper, labels):
    """All rows at once: PCK @ 1 and 2.5 mm (paper's version) and MRE with 95 % intervals as dots, the paper's values as diamonds.

    A row that has fewer folds than another is hollow: it is about other knees. An MRE far beyond the others is written, so that these keep their scale.
    intervals: rows of `tables.interval_table` of one cohort and profile. paper: `tables.paper_table()`. labels: {setting: label}, in order.
    """
    quantities = {"pck_1": "PCK @ 1 mm, %", "pck_2.5": "PCK @ 2.5 mm, %", "mre_mm": "MRE, mm"}
    figure, panels = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 1.1 + 0.17 * len(labels)), sharey=True, layout="constrained")
    places, published = {name: place for place, name in enumerate(labels)}, paper.set_index("setting")
    most = intervals["folds"].max()
    for axes, (quantity, title) in zip(panels, quantities.items()):
        rows = intervals[(intervals["quantity"] == quantity) & intervals["setting"].isin(places)]
        for whole, note, fill in ((True, f"{most} folds" if most > 1 else "1 fold", "C0"), (False, "fewer folds", "white")):
            part = rows[(rows["folds"] == most) == whole]
            if len(part):
                axes.errorbar(part["mean"], part["setting"].map(places), xerr=[part["mean"] - part["low"], part["high"] - part["mean"]], fmt="o", color="C0", mfc=fill,
                              markersize=3.5, capsize=2, label=f"here, 95 %, {note}")
        if quantity in published:
            known = [name for name in places if name in published.index]
            axes.plot(published.loc[known, quantity], [places[name] for name in known], "D", color=PAPER_COLOUR, mfc="white", markersize=3.5, label="paper")
        axes.set(xlabel=title)
        end = OFF_SCALE * rows["mean"].median()
        if rows["mean"].max() > end and quantity == "mre_mm":
            axes.set_xlim(right=end)
            for row in rows[rows["mean"] > end].itertuples():
                axes.text(end, places[row.setting], f"{row.mean:.1f} → ", ha="right", va="center", fontsize=6.5, bbox={"fc": "white", "ec": "none", "pad": 1})
    panels[0].set_yticks(range(len(labels)), list(labels.values()), fontsize=7)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=6.5)
    return figure


def differences_by_group(table):
    """Where a difference in MRE comes from: by KL grade and by landmark, dots with 95 % intervals, a colour a setting; rows of `tables.comparison_by_group`."""
    figure, panels = plt.subplots(1, 2, figsize=(TWO_COLUMNS, ONE_COLUMN * 0.8), sharey=True, width_ratios=(1, 2.4), layout="constrained")
    names = list(dict.fromkeys(table["setting"]))
    for axes, (group, label) in zip(panels, (("kl", "Kellgren-Lawrence grade"), ("landmark", "landmark"))):
        for place, name in enumerate(names):
            rows = table[(table["group"] == group) & (table["setting"] == name)]
            x = rows["value"] + 0.5 * (place - (len(names) - 1) / 2) / len(names)
            axes.errorbar(x, rows["difference"], [rows["difference"] - rows["low"], rows["high"] - rows["difference"]], fmt="o", markersize=3.5, capsize=2, label=name)
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set(xlabel=label, xticks=sorted(table.loc[table["group"] == group, "value"].unique()))
    panels[0].set_ylabel(f"MRE minus that of {table['against'].iloc[0]}, mm")
    panels[1].legend(fontsize=7)
    return figure


def difference_matrix(table, labels):
    """Where each row gains (green) or loses (purple) against another: a field for each KL grade and landmark, a dot where the 95 % interval leaves out zero.

    table: rows of `tables.comparison_by_group` of one cohort and profile, against one setting. labels: of its settings, in order.
    """
    names = list(dict.fromkeys(table["setting"]))
    figure, panels = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 1.0 + 0.17 * len(names)), sharey=True, width_ratios=(5, 16), layout="constrained")
    for axes, (group, label) in zip(panels, (("kl", "Kellgren-Lawrence grade"), ("landmark", "landmark"))):
        rows = table[table["group"] == group]
        fields = rows.pivot(index="setting", columns="value", values="difference").loc[names]
        image = axes.imshow(fields, cmap="PRGn_r", vmin=-MATRIX_MM, vmax=MATRIX_MM, aspect="auto")
        clear = rows[(rows["low"] > 0) | (rows["high"] < 0)]
        axes.plot(clear["value"].map({value: place for place, value in enumerate(fields)}), clear["setting"].map(names.index), "o", color="black", mec="white", mew=0.4, markersize=3)
        axes.set(xlabel=label)
        axes.set_xticks(range(fields.shape[1]), [f"{value:g}" for value in fields], fontsize=6.5)
        axes.grid(False)
    panels[0].set_yticks(range(len(names)), labels, fontsize=7)
    figure.colorbar(image, ax=panels, extend="both", shrink=min(1, 12 / len(names)), label=f"MRE minus that of {table['against'].iloc[0]}, mm")
    return figure


def mixing_density(alphas, draws):
    """How the share of the mixed-in image is distributed for each alpha of mixup: histograms of {alpha: shares}."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.3, ONE_COLUMN * 0.7))
    for alpha in alphas:
        axes.hist(draws[alpha], bins=np.linspace(0, 1, 41), density=True, histtype="step", label=f"α = {alpha}")
    axes.set(xlabel="share λ of the first image", ylabel="density", yscale="log", xlim=(0, 1))
    axes.legend(loc="upper center", ncols=2)
    return figure


def pictures_in_row(pictures, spacing_mm, titles, points=None):
    """Square pictures (k, S, S) in 0 to 1 side by side with their titles, and landmarks (k, 16, 2) where given."""
    figure, panels = plt.subplots(1, len(pictures), figsize=(TWO_COLUMNS, 1.08 * TWO_COLUMNS / len(pictures)), layout="constrained")
    for number, (axes, picture, title) in enumerate(zip(np.atleast_1d(panels), pictures, titles)):
        show_knee(axes, 255 * np.asarray(picture), spacing_mm, None if points is None else points[number], title=title)
    return figure


STARTS = {"scratch": ("from scratch", "o"), "low_cost": ("from the tibial centre alone", "s"), "simulated": ("from simulated knees", "^")}


def label_curve(table):
    """MRE over the number of labelled real knees, a panel a recipe, profile and kind of weights, a line a start: every fold and seed as a point, their mean as a line."""
    panels = list(table.groupby(["recipe", "profile", "weights"]))
    figure, row = plt.subplots(1, len(panels), figsize=(ONE_COLUMN * (0.3 + len(panels)), ONE_COLUMN * 0.85), sharey=True, squeeze=False)
    for axes, ((recipe, profile, weights), part) in zip(row[0], panels):
        for place, (start, (label, marker)) in enumerate(STARTS.items()):
            rows = part[part["start"] == start]
            if len(rows):
                mean = rows.groupby("labels")["mre_mm"].mean()
                line, = axes.plot(mean.index, mean, label=label, color=f"C{place}")
                axes.plot(rows["labels"] * (1 + 0.03 * (place - 1)), rows["mre_mm"], marker, color=line.get_color(), markersize=4, alpha=0.8)
        counts = sorted(part["labels"].unique())
        axes.set(title=f"{recipe}, {profile}, {weights}", xlabel="labelled real knees", xscale="log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend()
    row[0, 0].set(ylabel="MRE over 16 landmarks, mm", ylim=(0, None))
    return figure


def training_curves(histories):
    """(figure, table): training loss by epoch, a line for each name; the loss's own unit, on a log scale."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.25, ONE_COLUMN * 0.8))
    for label, history in histories.items():
        axes.plot(history["epoch"], history["loss"], label=label)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure, pd.concat([history.assign(line=label) for label, history in histories.items()])


def held_out_curves(histories):
    """(figure, table): MRE of the held-out fold after every epoch, of runs that noted it (the control "picked"); its least value and its last one are marked."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN * 1.25, ONE_COLUMN * 0.8))
    for label, history in histories.items():
        best, last = history.loc[history["held_out_mre"].idxmin()], history.iloc[-1]
        line, = axes.plot(history["epoch"], history["held_out_mre"], label=f"{label}: least {best['held_out_mre']:.2f} mm (▾), last {last['held_out_mre']:.2f} mm (■)")
        for epoch, marker in ((best, "v"), (last, "s")):
            axes.plot(epoch["epoch"], epoch["held_out_mre"], marker, color=line.get_color())
    axes.set(xlabel="epoch", ylabel="MRE of the held-out fold, mm", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure, pd.concat([history.assign(line=label) for label, history in histories.items()])


def predictions_by_error(cohort, rois, predicted_px, errors):
    """The best, the median and the worst of these knees by mean error, truth and prediction on the picture."""
    order = np.argsort(np.nanmean(errors, axis=1))
    figure, panels = plt.subplots(1, 3, figsize=(TWO_COLUMNS, TWO_COLUMNS / 2.8))
    for axes, name, index in zip(panels, ("best", "median", "worst"), order[[0, len(order) // 2, -1]]):
        row = cohort.knees.iloc[index]
        title = f"{name}: {knee_name(row)}, KL {row['kl']}, {np.nanmean(errors[index]):.2f} mm"
        show_knee(axes, rois.images[index], rois.mm_per_px[index], rois.landmarks_px[index], predicted_px[index], title)
    return figure


def augmented_batch(images, points_px, mm_per_px):
    """Augmented ROIs, (n, 1, S, S) in [0, 1], in two rows with their points."""
    figure, panels = plt.subplots(2, len(images) // 2, figsize=(TWO_COLUMNS, TWO_COLUMNS * 4 / len(images) * 1.02))
    for axes, image, points in zip(panels.flat, images, points_px):
        show_knee(axes, 255 * image[0], mm_per_px, points)
    return figure


def show_maps(probabilities, cell_mm, chosen=(0, 4, 8, 9, 12, 15)):
    """Soft-argmax maps of one knee, (M, h, w) probabilities, for some landmarks; each scaled to its own peak."""
    figure, panels = plt.subplots(1, len(chosen), figsize=(TWO_COLUMNS, TWO_COLUMNS / len(chosen) * 1.2))
    for axes, number in zip(panels, chosen):
        axes.imshow(probabilities[number], cmap="magma")
        axes.set(title=f"{number}: peak {probabilities[number].max():.2f}", xticks=[], yticks=[])
        axes.grid(False)
        scale_bar(axes, probabilities[number].shape, cell_mm)
    return figure


def loss_shapes(losses, limit=0.05):
    """Losses (name: function of prediction and truth) and their slopes over the error of one normalised coordinate."""
    figure, panels = plt.subplots(1, 2, figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.32))
    errors = np.linspace(-limit, limit, 401)
    for name, values in losses.items():
        panels[0].plot(errors, values(errors), label=name)
        panels[1].plot(errors, np.gradient(values(errors), errors), label=name)
    panels[0].set(xlabel="error, share of the ROI side", ylabel="loss")
    panels[1].set(xlabel="error, share of the ROI side", ylabel="slope (gradient)")
    panels[0].legend()
    return figure


def draw_blocks(blocks):
    """Fig. 3: residual blocks side by side; blocks: {title: rows of `draw_block`}."""
    figure, panels = plt.subplots(1, len(blocks), figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.42))
    for axes, (title, rows) in zip(panels, blocks.items()):
        draw_block(axes, rows, title)
    return figure


def draw_block(axes, rows, title):
    """A residual block as a column of boxes; rows: [(text, note on its output or None)], drawn downwards."""
    axes.set(xlim=(0, 12), ylim=(-0.6, 2 * len(rows) + 0.8), title=title)
    axes.axis("off")
    for place, (text, share) in enumerate(rows):
        y = 2 * (len(rows) - 1 - place) + 0.6
        axes.add_patch(FancyBboxPatch((2.4, y), 5.2, 1.1, boxstyle="round,pad=0.08", fc="#E8F1F8", ec="#0072B2"))
        axes.text(5, y + 0.55, text, ha="center", va="center", fontsize=8)
        axes.annotate("", (5, y - 0.75 if place < len(rows) - 1 else y - 0.55), (5, y - 0.1), arrowprops={"arrowstyle": "->", "lw": 0.9})
        if share:
            axes.annotate(share, (7.75, y + 0.55), (9.2, y + 0.55), fontsize=8, va="center", arrowprops={"arrowstyle": "<-", "lw": 0.9})
    axes.plot([5, 1.2, 1.2, 4.6], [2 * len(rows) + 0.3, 2 * len(rows) + 0.3, -0.2, -0.2], color="#D55E00", lw=1)
    axes.text(0.9, len(rows), "skip", rotation=90, va="center", ha="right", fontsize=8, color="#D55E00")
    axes.text(5, -0.25, "+", ha="center", va="center", fontsize=11)


def draw_network(stages):
    """Fig. 4 from the model's own numbers: a bar a stage, its height the map's side, labelled channels x side.

    stages: [(name, channels, side)] in the order of computation.
    """
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * 0.42))
    tallest = max(side for _, _, side in stages)
    for place, (name, channels, side) in enumerate(stages):
        height = 0.12 + (side / tallest) ** 0.5
        colour = "#0072B2" if "down" in name else "#D55E00" if "up" in name else "#009E73"
        axes.add_patch(Rectangle((place - 0.36, -height / 2), 0.72, height, color=colour, alpha=0.8, lw=0))
        axes.text(place, height / 2 + 0.03, f"{channels}\n{side}²", ha="center", va="bottom", fontsize=7)
        axes.text(place, -0.68, name, ha="right", va="top", rotation=45, fontsize=7, rotation_mode="anchor")
    axes.set(xlim=(-1.2, len(stages) - 0.3), ylim=(-1.05, 0.85))
    axes.axis("off")
    return figure
