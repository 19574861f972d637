"""Pictures of ROI localisation and of whole pipelines: Fig. 1, 5 a, 6 and 7."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from kneel_lib import landmarks
from kneel_lib.data.radiographs import Radiograph
from kneel_lib.experiment.store import Run, errors_of, points_of
from kneel_lib.figures.results import cumulative_errors
from kneel_lib.figures.style import BONES, ONE_COLUMN, TWO_COLUMNS, bare, scale_bar, show_knee
from kneel_lib.imaging import cut
from kneel_lib.reporting.pipeline_tables import OA_GRADES

EXAMPLE_MM, EXAMPLE_PX = 96.0, 320
"""Width of an example in Fig. 7, and of its picture."""
EXAMPLE_HEIGHT = 0.66
"""Of its width: the field around the joint, so that truth and predictions can be told apart."""

METHODS = {"rfrv_clm": "RFRV-CLM", "one_stage": "hourglass, one stage", "two_stage": "hourglass, two stages"}
"""How figures name the rows of Table 2."""


def roi_errors(offsets_mm: np.ndarray, limit_mm: float = 10.0) -> Figure:
    """Where ROI localisation puts the tibial centre, relative to the truth, (n, 2) mm;
    circles at 1, 2.5 and 10 mm. Points further off sit on the rim."""
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN))
    length = np.linalg.norm(offsets_mm, axis=1, keepdims=True)
    shown = offsets_mm * np.minimum(1, limit_mm / np.maximum(length, 1e-9))
    axes.scatter(shown[:, 0], shown[:, 1], s=6, alpha=0.6)
    for radius in (1.0, 2.5, limit_mm):
        axes.add_patch(Circle((0, 0), radius, fill=False, color="0.4", linewidth=0.8))
        how: dict[str, Any] = {
            "ha": "center",
            "va": "bottom",
            "bbox": {"fc": "white", "ec": "none", "pad": 0.5},
        }
        axes.text(0, -radius, f"{radius:g} mm", fontsize=6.5, color="0.25", **how)
    end = 1.1 * limit_mm
    axes.set(xlabel="to the right, mm", ylabel="downwards, mm", xlim=(-end, end), ylim=(end, -end))
    axes.set_aspect("equal")
    return figure


def roi_curve(
    errors_by_name: Mapping[str, np.ndarray],
    subjects_by_name: Mapping[str, Any],
    paper_points: Mapping[float, float],
) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): Fig. 5 a, the share of knees whose tibial centre is found within a distance; {label:
    (n,) mm}, NaN is not found."""
    lines = {name: (errors[:, None], subjects_by_name[name]) for name, errors in errors_by_name.items()}
    return cumulative_errors(lines, {"paper: OAI, 748 knees": paper_points}, bones=((0,),))


def test_set_curves(
    runs: Sequence[Run], methods: Sequence[str] = ("rfrv_clm", "two_stage")
) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): Fig.
    6, cumulative errors of Table 2's landmarks with and without radiographic OA, a panel a test set."""
    names = list(dict.fromkeys(run.spec.cohort for run in runs))
    how: dict[str, Any] = {"sharey": True, "squeeze": False, "layout": "constrained"}
    figure, panels = plt.subplots(1, len(names), figsize=(TWO_COLUMNS, ONE_COLUMN * 0.95), **how)
    parts = []
    for axes, dataset in zip(panels[0], names):
        lines = {}
        for run in runs:
            for oa, note in (("no", "KL < 2"), ("yes", "KL ≥ 2")):
                knees = run.predictions[run.predictions["kl"].isin(OA_GRADES[oa])]
                if run.spec.cohort == dataset and run.spec.setting.name in methods and len(knees):
                    lines[f"{METHODS[run.spec.setting.name]}, {note}"] = errors_of(knees), knees["subject_id"]
        _, table = cumulative_errors(lines, limit_mm=3, bones=landmarks.TABLE2, axes=axes)
        axes.set_title(f"test set {dataset}")
        axes.get_legend().remove()
        parts.append(table.assign(dataset=dataset))
    legend = panels[0, 0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=4, fontsize=7)
    return figure, pd.concat(parts, ignore_index=True)


def show_pipeline(radiograph: Radiograph, knees: Sequence[Any], roi_mm: float) -> Figure:
    """Fig. 1: a radiograph with the ROI (a square of roi_mm around predicted landmark 4) and the landmarks
    of each located knee."""
    height, width = radiograph.image.shape
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, TWO_COLUMNS * height / width))
    axes.imshow(radiograph.image, vmin=0, vmax=255)
    side_px = roi_mm / radiograph.spacing_mm
    for knee in knees:
        corner = knee.points_px[landmarks.CENTRE] - side_px / 2
        axes.add_patch(Rectangle(corner, side_px, side_px, fill=False, color="white", linewidth=1.2))
        said = f"{knee.side}: {'trusted' if knee.trusted else 'not to be trusted'}"
        axes.text(corner[0], corner[1] - 0.01 * height, said, color="white", fontsize=8, va="bottom")
        for bone, colour in BONES.values():
            x, y = knee.points_px[list(bone)].T
            axes.scatter(x, y, s=7, color=colour)
    scale_bar(axes, radiograph.image.shape, radiograph.spacing_mm)
    bare(axes)
    return figure


EXAMPLE_MARKS = {"truth": "o", METHODS["two_stage"]: "x", METHODS["rfrv_clm"]: "^"}
"""Shapes of Fig. 7, the first and the last of them hollow."""

GRADES = ("KL 0 and 1", (0, 1)), ("KL 2", (2,)), ("KL 3", (3,)), ("KL 4", (4,))


def chosen_examples(predictions: pd.DataFrame, groups: Sequence[tuple[str, tuple[int, ...]]] = GRADES) -> Any:
    """[(group, "best" | "median" | "worst", row of the predictions)] by mean error over all landmarks:
    the cases of Fig. 7."""
    chosen = []
    for name, grades in groups:
        knees = predictions[predictions["kl"].isin(grades)].dropna(subset=["e0"])
        if len(knees):
            order = knees.iloc[np.argsort(errors_of(knees).mean(axis=1), kind="stable")]
            chosen += [
                (name, what, order.iloc[place])
                for what, place in (("best", 0), ("median", len(order) // 2), ("worst", -1))
            ]
    return chosen


def show_examples(chosen: Any, cases: Any, beside: pd.DataFrame) -> Figure:
    """Fig. 7: a row a group of grades, columns best, median, worst; truth as circles, the hourglass as
    crosses, the forest as triangles.

    cases: {(subject_id, side): (`Case`, row)}. beside: the forest's predictions of the same knees.
    """
    groups = list(dict.fromkeys(name for name, _, _ in chosen))
    size = TWO_COLUMNS, TWO_COLUMNS / 3 * (EXAMPLE_HEIGHT + 0.1) * len(groups) + 0.3
    figure, panels = plt.subplots(len(groups), 3, figsize=size, squeeze=False, layout="constrained")
    second = beside.set_index(["subject_id", "side"])
    scale, above = EXAMPLE_MM / EXAMPLE_PX, round(EXAMPLE_PX * (1 - EXAMPLE_HEIGHT) / 2)
    for axes, (name, what, row) in zip(panels.flat, chosen):
        key = row["subject_id"], row["side"]
        case, place = cases[key]
        step = float(case.knees["mm_per_px"].iloc[place])
        corner = case.truth_mm[place, landmarks.CENTRE] - EXAMPLE_MM / 2
        picture = cut(case.radiograph.image, corner / step, scale / step, EXAMPLE_PX)[above:-above]
        origin = corner + (0, above * scale)
        show_knee(axes, picture, scale)
        answers = case.truth_mm[place], *(points_of(rows.to_frame().T)[0] for rows in (row, second.loc[key]))
        for points, marker in zip(answers, EXAMPLE_MARKS.values()):
            for bone, colour in BONES.values():
                x, y = ((points[list(bone)] - origin) / scale).T
                look = {"color": colour} if marker == "x" else {"ec": colour, "fc": "none"}
                axes.scatter(x, y, marker=marker, s=14 if marker == "x" else 24, linewidths=0.9, **look)
        mean = errors_of(row.to_frame().T).astype(float).mean()
        axes.set_title(f"{name}, {what}: {mean:.2f} mm", fontsize=8)
    marks = [
        Line2D([], [], linestyle="none", marker=marker, color="black", mfc="none", label=label)
        for label, marker in EXAMPLE_MARKS.items()
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=3)
    return figure


def trust_curves(knees: pd.DataFrame, reliability: pd.DataFrame) -> Figure:
    """Left: the share of knees with all landmarks within 3 mm over the trust that was put in them, a point a
    quantile. Right: risk and coverage, the share that is not within 3 mm among the knees trusted most.

    knees: columns trust, near. reliability: columns trust, within_3_mm, checked_on: a line each.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 0.45 * TWO_COLUMNS))
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, group in reliability.groupby("checked_on"):
        left.plot(group["trust"], group["within_3_mm"], "o-", label=name)
    left.legend(loc="upper left")
    left.set(xlabel="trust", ylabel="share of knees within 3 mm", xlim=(0.3, 1.02), ylim=(0.3, 1.05))
    ordered = knees.sort_values("trust", ascending=False)
    coverage = np.arange(1, len(ordered) + 1) / len(ordered)
    right.plot(coverage, 1 - ordered["near"].astype(float).expanding().mean())
    right.set(xlabel="share answered, the surest first", ylabel="share not within 3 mm", ylim=(0, None))
    figure.tight_layout()
    return figure
