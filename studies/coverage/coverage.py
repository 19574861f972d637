"""How often the intervals of the tables hold, and how often a table of no differences has a star."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from kneel_lib.reporting.comparisons import training_means
from kneel_lib.reporting.statistics import FIVE_FOLDS, LEVEL, holm, over_trainings, paired_difference
from studies.coverage.simulation import Table

INTERVALS = "trainings, corrected", "trainings, as if independent", "subjects"
"""The tables' own for settings (Nadeau and Bengio); Student's t of the folds; the bootstrap."""
DRAWS, RESAMPLED = 1000, 60
"""Of a bootstrap; and in how many tables of several rows it is tried, since it takes most of the time."""


def intervals(table: Table, name: str) -> np.ndarray:
    """(rows, 4) mean, low, high and p of a simulated table's rows, by the functions that tables use."""
    if name == "subjects":
        zero = np.zeros(len(table.fold))
        return np.array([paired_difference(row, zero, table.subjects, DRAWS) for row in table.differences])
    ratio = FIVE_FOLDS if name == "trainings, corrected" else 0
    each = [training_means(row[:, None], table.fold) for row in table.differences]
    return np.array([over_trainings(values, ratio)[:4] for values in each])


def coverage_rows(tables: Iterable[Table], **named: Any) -> list[dict[str, Any]]:
    """Rows of results/interval_coverage.csv of repeated tables. `networks`: coverage of the mean that these
    very networks have for other knees; the settings' own: that of the effect, of which family_wise knows
    whether any row of a table was called a difference after Holm's correction, though there is none."""
    covered: dict[str, list[list[float]]] = {name: [] for name in INTERVALS}
    for number, table in enumerate(tables):
        for name, found in covered.items():
            if name == "subjects" and number >= RESAMPLED and len(table.differences) > 1:
                continue
            _, low, high, p = intervals(table, name).T
            found.append(
                [
                    np.mean((low <= table.effect) & (table.effect <= high)),
                    np.mean((low <= table.networks) & (table.networks <= high)),
                    float((holm(p) <= LEVEL).any()),
                    np.mean(high - low),
                ]
            )
    return [
        {**named, "interval": name, "tables": len(found), **summarised(np.array(found))}
        for name, found in covered.items()
    ]


def summarised(found: np.ndarray) -> dict[str, float]:
    """Means in percent with half of their own 95 % interval (Monte Carlo), and the mean width in mm."""
    percent = 100 * found[:, :3]
    error = 1.96 * percent.std(axis=0, ddof=1) / np.sqrt(len(found))
    names = ("coverage_settings", "coverage_networks", "family_wise")
    return {
        **{name: value for name, value in zip(names, percent.mean(axis=0))},
        **{f"{name}_within": value for name, value in zip(names, error)},
        "width_mm": float(found[:, 3].mean()),
    }


def learnt_rows(tables: list[Table], **named: Any) -> list[dict[str, Any]]:
    """`coverage_rows` of tables of one row that were really trained: their effect is the mean of them all,
    and so is the correlation of two folds."""
    means = np.stack([training_means(table.differences.T, table.fold) for table in tables])
    effect, together = float(means.mean()), np.corrcoef(means.T)
    correlation = together[np.triu_indices(len(together), 1)].mean()
    known = [Table(t.differences, t.subjects, t.fold, t.networks, effect) for t in tables]
    unknown = "family_wise", "family_wise_within", "coverage_networks", "coverage_networks_within"
    rows = coverage_rows(known, **named, correlation=correlation)
    return [{**row, **dict.fromkeys(unknown, np.nan)} for row in rows]
