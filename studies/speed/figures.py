"""Pictures of notebook 10: the ladders, where the time goes, cost against size."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kneel_lib.figures.style import ONE_COLUMN, TWO_COLUMNS


def ladder(table: pd.DataFrame, title: str, unit: str = "images a second") -> Figure:
    """Bars of `images_per_s`, a rung a row from the top, each with its rate and its ratio to the first."""
    figure, axes = plt.subplots(figsize=(TWO_COLUMNS, 0.7 + 0.26 * len(table)), layout="constrained")
    axes.barh(table["step"], table["images_per_s"])
    for place, row in enumerate(table.itertuples()):
        axes.text(
            row.images_per_s,
            place,
            f"  {row.images_per_s:.3g}  ({row.ratio:.1f} x)",
            va="center",
            fontsize=7.5,
        )
    axes.set(xlabel=unit, title=title, xlim=(0, 1.25 * table["images_per_s"].max()))
    axes.invert_yaxis()
    return figure


def time_shares(shares_by_recipe: Mapping[str, Mapping[str, float]]) -> Figure:
    """Where a training step's time goes, a bar a recipe; {recipe: {kind: share}}.
    Kinds in the order of the first recipe."""
    kinds = list(dict.fromkeys(kind for shares in shares_by_recipe.values() for kind in shares))
    figure, axes = plt.subplots(
        figsize=(TWO_COLUMNS, 1.2 + 0.4 * len(shares_by_recipe)), layout="constrained"
    )
    left = np.zeros(len(shares_by_recipe))
    colours = plt.get_cmap("cividis")(np.linspace(0, 1, len(kinds)))
    for kind, colour in zip(kinds, colours):
        width = np.array([100 * shares.get(kind, 0.0) for shares in shares_by_recipe.values()])
        axes.barh(
            list(shares_by_recipe),
            width,
            left=left,
            color=colour,
            edgecolor="white",
            linewidth=0.5,
            label=kind,
        )
        for place, (start, share) in enumerate(zip(left, width)):
            if share >= 5:
                axes.text(
                    start + share / 2,
                    place,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="black" if colour[:3].sum() > 1.4 else "white",
                )
        left += width
    axes.set(xlabel="share of a training step, %", xlim=(0, 100))
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4, fontsize=7)
    return figure


UNITS = {"size_px": "ROI side, px", "width": "width N", "depth": "depth d", "batch": "batch, images"}


def cost_of_size(table: pd.DataFrame) -> Figure:
    """Images a second against each size that was changed; a panel a size."""
    figure, panels = plt.subplots(
        1,
        table["changed"].nunique(),
        figsize=(TWO_COLUMNS, ONE_COLUMN * 0.6),
        sharey=True,
        layout="constrained",
    )
    for axes, (changed, rows) in zip(np.atleast_1d(panels), table.groupby("changed", sort=False)):
        axes.plot(rows["value"], rows["images_per_s"], "o-")
        axes.set(xlabel=UNITS[changed], yscale="log", xticks=rows["value"])
        axes.tick_params(axis="x", labelsize=7)
    np.atleast_1d(panels)[0].set_ylabel("images a second")
    return figure
