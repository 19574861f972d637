"""Tables of comparisons drawn from a model of what a difference between two settings is made of.

A row of a table is the difference in MRE (mm) of a setting from a reference, on five folds. Of a knee it is

    effect + training of the fold + subject + knee,

where each part is that of the setting less that of the reference, which all rows of a table share. What a
training does to a fold is its own luck (initial weights, order of knees) and what the knees that it saw teach
it: each of five parts of the data adds its own, and a fold has seen the other four, so that two folds share
three of four. `correlation` says how much of it all is shared; a single cross-validation cannot tell.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kneel_lib.data.folds import FOLDS
from kneel_lib.experiment.store import Run
from kneel_lib.reporting.comparisons import paired_errors
from kneel_lib.reporting.selection import group_runs, pooled_predictions, table1_runs

SHARED = (FOLDS - 2) / (FOLDS - 1)
"""Correlation of what two folds have learnt from the knees that they saw: they share three of four parts."""


@dataclass(frozen=True)
class Components:
    """Variances in mm^2 of a paired difference: between the means of folds (all that makes them differ), and
    of it what subjects do, between subjects and between the knees of one."""

    folds: float
    subjects: float
    knees: float
    count: int  # knees of all folds
    both: float  # share of knees whose subject has both

    @property
    def sampling(self) -> float:
        """What the subjects of a fold do to its mean."""
        return (self.subjects * (1 + self.both) + self.knees) / (self.count / FOLDS)


@dataclass(frozen=True)
class Table:
    """One simulated table. differences: (rows, knees) in mm. subjects, fold: (knees,). networks: (rows,) the
    mean that these very networks have over all knees there are; the settings' own is `effect`."""

    differences: np.ndarray
    subjects: np.ndarray
    fold: np.ndarray
    networks: np.ndarray
    effect: float


def measured(runs: list[Run], against: str = "wing") -> Components:
    """The components of recorded five-fold rows of Table 1: the median over all rows but `against`."""
    groups = {name: group for (_, _, name), group in group_runs(table1_runs(runs)).items()}
    reference, found = groups[against], []
    for name, group in groups.items():
        if name != against and len({run.spec.held_out for run in group}) == FOLDS:
            both, first, second = paired_errors(*(pooled_predictions(part) for part in (group, reference)))
            found.append(parts(np.nanmean(first - second, axis=1), both))
    middle = np.median(found, axis=0)
    return Components(middle[0], middle[1], middle[2], round(middle[3]), middle[4])


def parts(difference: np.ndarray, knees: pd.DataFrame) -> tuple[float, float, float, int, float]:
    """(folds, subjects, knees, count, both) of one comparison: difference (n,) in mm of each of `knees`."""
    table = knees[["subject_id", "fold"]].assign(difference=difference)
    inside = table["difference"] - table.groupby("fold")["difference"].transform("mean")
    pairs = inside.groupby(table["subject_id"])
    paired = pairs.transform("size") == 2
    within = pairs.var()[pairs.size() == 2].mean()
    means = table.groupby("fold")["difference"].mean()
    return means.var(), max(inside.var() - within, 0), within, len(table), paired.mean()


def draw(
    random: np.random.Generator, components: Components, rows: int, correlation: float, effect: float = 0.0
) -> Table:
    """A `Table` whose rows all differ from the reference by `effect` mm. correlation: of two folds' means."""
    fold, subjects = who(components)
    total = components.folds / (1 - correlation)  # folds spread by what they do not share
    shared = correlation * total / SHARED
    luck = total - shared - components.sampling
    if luck < 0:
        raise ValueError(f"folds spread by too little for subjects and a correlation of {correlation}")

    def contrast(variance: float, size: int) -> np.ndarray:
        """(rows, size): each row's own less the reference's."""
        own, reference = random.normal(0, np.sqrt(variance / 2), (2, rows, size))
        return own - reference[:1]

    taught = contrast(shared * (FOLDS - 1), FOLDS)
    trained = contrast(luck, FOLDS) + (taught.sum(axis=1, keepdims=True) - taught) / (FOLDS - 1)
    knees = contrast(components.subjects, subjects.max() + 1)[:, subjects]
    knees = knees + contrast(components.knees, len(subjects))
    shares = np.bincount(fold) / len(fold)
    return Table(effect + trained[:, fold] + knees, subjects, fold, effect + trained @ shares, effect)


def who(components: Components) -> tuple[np.ndarray, np.ndarray]:
    """(fold, subject) of each knee, (n,) each: subjects with both knees first, folds by subject."""
    pairs = round(components.count * components.both / 2)
    subjects = np.concatenate([np.repeat(np.arange(pairs), 2), np.arange(pairs, components.count - pairs)])
    return subjects % FOLDS, subjects


def train_small(random: np.random.Generator, rows: int = 1) -> Table:
    """A `Table` of networks that really are trained: ridge regression on random features, two widths of it,
    on five folds of 529 knees that are drawn anew. Nothing is put in about how trainings correlate."""
    knees = Components(0, 0, 0, 529, 0.5)
    fold, subjects = who(knees)
    inputs = random.normal(0, 1, (subjects.max() + 1, 8))[subjects] + random.normal(0, 0.5, (len(fold), 8))
    truth = np.sin(inputs[:, 0]) + 0.5 * inputs[:, 1] * inputs[:, 2] + random.normal(0, 0.3, len(fold))
    errors = np.empty((2, len(fold)))
    for setting, width in enumerate((40, 60)):
        for held_out in range(FOLDS):
            weights, offsets = random.normal(0, 0.5, (8, width)), random.normal(0, 1, width)
            features = np.maximum(inputs @ weights + offsets, 0)
            known = fold != held_out
            square = features[known].T @ features[known] + 5 * np.eye(width)
            fitted = np.linalg.solve(square, features[known].T @ truth[known])
            errors[setting, ~known] = np.abs(features[~known] @ fitted - truth[~known])
    return Table(errors[1:] - errors[:1], subjects, fold, np.full(rows, np.nan), np.nan)
