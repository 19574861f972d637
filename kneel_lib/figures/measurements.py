"""What is measured on a knee, drawn on its picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.figures.style import FEMUR_COLOUR, ONE_COLUMN, TIBIA_COLOUR, bare, scale_bar
from kneel_lib.imaging import cut
from kneel_lib.pipeline.joint import Joint, find_joint
from kneel_lib.pipeline.knee import Knee
from kneel_lib.pipeline.measurements import COMPARTMENTS, PLACES, least_at, places_of
from kneel_lib.reporting.agreement import LIMIT

SHARE, SIZE_PX = 1.25, 512
"""Width of the picture in widths of the plateau, and in pixels."""

LEAST_COLOUR, FIXED_COLOUR, ANGLE_COLOUR = "#F0E442", "#CC79A7", "#009E73"


def show_definitions(radiograph: Radiograph, knee: Knee) -> Figure:
    """One knee with all that is measured on it: outlines, the plateau's line and the line below the condyles
    (angles), the places of joint-space widths (thin: fixed; bold: the least of a compartment), areas."""
    figure, axes = plt.subplots(figsize=(1.6 * ONE_COLUMN, 1.6 * ONE_COLUMN), layout="constrained")
    draw_measurements(axes, radiograph, knee)
    axes.legend(loc="lower left", fontsize=6.5)
    return figure


def draw_measurements(axes: Axes, radiograph: Radiograph, knee: Knee) -> None:
    """The picture around a knee with what is measured on it; landmarks alone where they are no knee's."""
    step = SHARE * knee.plateau_px / SIZE_PX
    origin = knee.points_px[landmarks.CENTRE] - step * (SIZE_PX - 1) / 2
    axes.imshow(cut(radiograph.image, origin, step, SIZE_PX), vmin=0, vmax=255, cmap="gray")
    points, joint = (knee.points_px - origin) / step, find_joint(knee.points_px)
    for bone, colour in ((landmarks.TIBIA, TIBIA_COLOUR), (landmarks.FEMUR, FEMUR_COLOUR)):
        x, y = points[list(bone)].T
        axes.scatter(x, y, s=9, color=colour, zorder=3)
    if joint is not None:
        draw_joint(axes, joint, origin, step)
    if knee.mm_per_px is not None:
        scale_bar(axes, (SIZE_PX, SIZE_PX), step * knee.mm_per_px)
    bare(axes)
    axes.set(xlim=(-0.5, SIZE_PX - 0.5), ylim=(SIZE_PX - 0.5, -0.5))


def draw_joint(axes: Axes, joint: Joint, origin: np.ndarray, step: float) -> None:
    """Outlines, lines, widths and areas of a joint; origin, step: of the picture in the file's pixels."""

    def line(places: Sequence[Sequence[float]] | np.ndarray, **how: Any) -> None:
        x, y = ((joint.to_picture(np.asarray(places)) - origin) / step).T
        axes.plot(x, y, **how)

    line(joint.tibia, color=TIBIA_COLOUR, linewidth=0.9)
    line(joint.femur, color=FEMUR_COLOUR, linewidth=0.9)
    line(
        [(0, 0), (1, 0)], color=ANGLE_COLOUR, linestyle="--", linewidth=0.9, label="plateau: width and angle"
    )
    line(joint.condylar_line, color=ANGLE_COLOUR, linestyle=":", linewidth=1.2, label="condyles, for angles")
    line(joint.femur[[0, -1]], color=ANGLE_COLOUR, linestyle="-.", linewidth=0.9, label="condyles, for width")
    for number, side in enumerate(COMPARTMENTS):
        fixed, x = np.array(PLACES[side]), places_of(side)
        for place, ends in zip(fixed, np.transpose(joint.heights(fixed))):
            said = "width at fixed places" if number == 0 and place == fixed[0] else None
            line([(place, end) for end in ends], color=FIXED_COLOUR, linewidth=0.7, label=said)
        tibia, femur = joint.heights(x)
        border = np.concatenate([np.stack([x, tibia], axis=1), np.stack([x, femur], axis=1)[::-1]])
        shown = (joint.to_picture(border) - origin) / step
        axes.fill(*shown.T, color=LEAST_COLOUR, alpha=0.15, linewidth=0, label=None if number else "area")
        least = least_at(joint, side)
        said = None if number else "least width"
        ends = [(x[least], tibia[least]), (x[least], femur[least])]
        line(ends, color=LEAST_COLOUR, linewidth=2.0, label=said)


def bland_altman(ours: pd.Series, theirs: pd.Series, unit: str = "mm") -> Figure:
    """Bland and Altman's plot: the difference over the mean of the two, with bias and limits of agreement."""
    mean, difference = (ours + theirs) / 2, ours - theirs
    bias, spread = difference.mean(), difference.std(ddof=1)
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, 0.8 * ONE_COLUMN), layout="constrained")
    axes.scatter(mean, difference, s=8, alpha=0.6)
    for height, style in ((bias, "-"), (bias - LIMIT * spread, "--"), (bias + LIMIT * spread, "--")):
        axes.axhline(height, color="0.3", linestyle=style, linewidth=1)
    axes.set(xlabel=f"mean of both, {unit}", ylabel=f"ours less theirs, {unit}")
    return figure
