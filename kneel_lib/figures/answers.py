"""One figure for the answers of a chapter: a panel a question, with differences between recorded rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.figures.style import TWO_COLUMNS
from kneel_lib.reporting import selection

Pair = tuple[str, str, str]
"""(setting, the one that it is compared with, which weights: "EMA" or "last epoch")."""
MOST_ROWS = 12


def recorded_differences() -> pd.DataFrame:
    """The recorded differences in MRE at the profile of Table 1, a row a `Pair`: setting, against, weights,
    difference, low_subjects, high_subjects, low_trainings, high_trainings, knees, trainings."""
    tables = [pd.read_csv(paths.RESULTS / name) for name in ("comparisons.csv", "ablations.csv")]
    table = pd.concat(tables, ignore_index=True)
    chosen = (table["quantity"] == "mre_mm") & (table["profile"] == selection.TABLE1_PROFILE)
    table = table[chosen & (table["cohort"] == selection.STUDY)]
    return table.drop_duplicates(["setting", "against", "weights"]).reset_index(drop=True)


def answers(differences: pd.DataFrame, panels: Mapping[str, Sequence[Pair]]) -> tuple[Figure, pd.DataFrame]:
    """(figure, table): {question: pairs}, two panels side by side; a dot the difference in MRE, a thick line
    its 95 % interval over subjects, a thin one that over trainings, where there are several. Weights are EMA,
    unless a row says "last epoch" or has no others.

    Raises `KneelError` for a pair that is not recorded, and for more than `MOST_ROWS` in a panel.
    """
    known = differences.set_index(["setting", "against", "weights"])
    for question, pairs in panels.items():
        missing = [pair for pair in pairs if pair not in known.index]
        if missing or len(pairs) > MOST_ROWS:
            what = f"not recorded: {missing}" if missing else f"{len(pairs)} rows, at most {MOST_ROWS}"
            raise KneelError(f"panel '{question}': {what}")
    lines = -(-len(panels) // 2)
    counts = [len(pairs) for pairs in panels.values()] + [0] * (len(panels) % 2)
    heights = [max(counts[2 * line : 2 * line + 2]) + 2.2 for line in range(lines)]
    size = TWO_COLUMNS, 0.19 * sum(heights) + 0.3
    figure, grid = plt.subplots(
        lines, 2, figsize=size, height_ratios=heights, squeeze=False, layout="constrained"
    )
    parts = []
    for axes, (letter, (question, pairs)) in zip(grid.flat, zip("abcdefgh", panels.items())):
        rows = known.loc[list(pairs)].reset_index()
        last = rows["weights"] == "last epoch"
        averaged = np.array([(*pair, "EMA") in known.index for pair in zip(rows["setting"], rows["against"])])
        rows["row"] = (
            rows["setting"] + " − " + rows["against"] + np.where(last & averaged, ", last epoch", "")
        )
        draw_differences(axes, rows)
        axes.set_title(f"({letter}) {question}", fontsize=8, loc="left")
        parts.append(rows.assign(panel=letter))
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    figure.supxlabel("difference in MRE, mm (left of zero: the first is better)", fontsize=8)
    return figure, pd.concat(parts, ignore_index=True)


def draw_differences(axes: Axes, rows: pd.DataFrame) -> None:
    """The rows of one panel, from top to bottom."""
    places = np.arange(len(rows))
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.hlines(places, rows["low_trainings"], rows["high_trainings"], color="C0", linewidth=0.9)
    axes.hlines(places, rows["low_subjects"], rows["high_subjects"], color="C0", linewidth=3)
    axes.plot(rows["difference"], places, "o", color="C0", mec="white", mew=0.6, markersize=5)
    axes.set_yticks(places, list(rows["row"]), fontsize=6.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
