"""Intervals of two kinds: over subjects (what other knees would have said of these networks: a bootstrap that
draws subjects, not knees) and over trainings (what other trainings would have said of these settings)."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

SEED = 0
DRAWS = 10_000
"""Enough that the smallest p, 2 / (draws + 1), is still small after Holm's correction over a table of
sixty rows."""


@lru_cache(maxsize=8)
def subject_counts(subjects: int, draws: int, seed: int) -> np.ndarray:
    """(draws, subjects) how often each of so many subjects is drawn:
    the same for every quantity of a table, so it is made once."""
    return (
        np.random.default_rng(seed)
        .multinomial(subjects, np.full(subjects, 1 / subjects), size=draws)
        .astype(float)
    )


@np.errstate(invalid="ignore")  # a group of which no knee is known has NaN, without a warning
def resampled_means(
    values: ArrayLike, subjects: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, np.ndarray]:
    """(mean, (draws,) means): of the known entries, and of the same when subjects are drawn with replacement,
    each with all of its knees.

    values: (n,) or (n, k), a row a knee; NaN is left out, and a subject of whom nothing is known is not
    drawn. With fewer than two subjects there is nothing to draw: the means are NaN.
    """
    rows = np.asarray(values, float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    some = ~np.isnan(rows).all(axis=1)
    rows, whose = rows[some], np.asarray(subjects)[some]
    known = ~np.isnan(rows)
    names, index = np.unique(whose, return_inverse=True)
    if len(names) < 2:
        return float(rows[known].mean()) if some.any() else np.nan, np.full(draws, np.nan)
    sums, counts = (
        np.bincount(index, weights=each, minlength=len(names))
        for each in (np.where(known, rows, 0).sum(axis=1), known.sum(axis=1))
    )
    drawn = subject_counts(len(names), draws, seed)
    return float(sums.sum() / counts.sum()), (drawn @ sums) / (drawn @ counts)


def mean_interval(
    values: ArrayLike, subjects: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float, float]:
    """(mean, low, high): the mean of the known entries and its 95 % percentile interval, clustered on
    subjects.

    values: (n,) or (n, k), a row a knee; NaN is left out. For a PCK give 100.0 and 0.0, for an MRE errors in
    mm.
    """
    mean, means = resampled_means(values, subjects, draws, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def paired_difference(
    first: ArrayLike, second: ArrayLike, subjects: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float, float, float]:
    """(mean, low, high, p) of first - second, paired by row: 95 % interval and two-sided p, both from the
    clustered bootstrap.

    first, second: (n,) or (n, k), the same knees in the same order. p is twice the smaller share of draws on
    one side of zero, with one draw added, so it is never below 2 / (draws + 1).
    """
    mean, means = resampled_means(np.asarray(first, float) - np.asarray(second, float), subjects, draws, seed)
    share = min((means <= 0).sum(), (means >= 0).sum())
    p = np.nan if np.isnan(means).any() else min(2 * (share + 1) / (draws + 1), 1.0)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high), float(p)


def weighted_interval(
    statistic: Callable[[np.ndarray], np.ndarray], subjects: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float, float]:
    """(value, low, high) of anything that takes weights: 95 % percentile interval, clustered on subjects.

    statistic: (weights (k, n), how often each knee is drawn) -> (k,) values; NaN where a draw has none, which
    is then left out. subjects: (n,), whose each knee is.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    if len(names) < 2:
        return float(statistic(np.ones((1, len(index))))[0]), np.nan, np.nan
    values = statistic(subject_counts(len(names), draws, seed)[:, index])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(statistic(np.ones((1, len(index))))[0]), float(low), float(high)


LEVEL = 0.05
"""Of every interval, p value and detectable difference here."""

FIVE_FOLDS = 1 / 4
"""Knees that a fold of five holds out for each knee that it trains on."""


class OverTrainings(NamedTuple):
    """What some trainings say of a mean: 95 % interval, two-sided p of zero, standard error."""

    mean: float
    low: float
    high: float
    p: float
    se: float


def over_trainings(values: ArrayLike, held_out_ratio: float = FIVE_FOLDS) -> OverTrainings:
    """The mean of one value a training, such as the difference of two settings on the same fold and seed, by
    the corrected resampled t test of Nadeau and Bengio (2003); all but the mean is NaN of fewer than two
    values, and where one of them is NaN.

    Trainings of a cross-validation share most of their knees, so that their mean varies by more than one
    n-th of what each does: s^2 (1 / n + held_out_ratio), with n - 1 degrees of freedom. That is exact where
    two of them correlate by the share of knees that is held out (one in five: 0.2), wider than it need be
    where they correlate less, and too narrow where they correlate more (results/interval_coverage.csv).

    held_out_ratio: knees held out by a training for each that is not; 0 of trainings that share nothing.
    """
    values = np.asarray(values, float)
    count, mean = len(values), float(np.mean(values))
    if count < 2 or np.isnan(mean):
        return OverTrainings(mean, *(np.nan,) * 4)
    se = float(values.std(ddof=1) * np.sqrt(1 / count + held_out_ratio))
    reach = float(stdtrit(count - 1, 1 - LEVEL / 2)) * se
    p = 2 * stdtr(count - 1, -abs(mean) / se) if se > 0 else float(mean == 0)
    return OverTrainings(mean, mean - reach, mean + reach, float(p), se)


def conformal_quantile(values: np.ndarray, level: float) -> np.ndarray:
    """Of n calibration values along the first axis the one that a new value stays within with a probability
    of `level` (split conformal): the ceil((n + 1) level)-th smallest; infinite where there are too few."""
    rank = int(np.ceil((len(values) + 1) * level))
    return np.sort(values, axis=0)[rank - 1] if rank <= len(values) else np.full(values.shape[1:], np.inf)


def conformal_bound(values: np.ndarray, level: float) -> np.ndarray:
    """The `conformal_quantile` of calibration values, and where they are too few the largest of them."""
    return np.asarray(np.minimum(conformal_quantile(values, level), values.max(axis=0)))


def conformal_ellipses(parts: np.ndarray, level: float, spread: float = 0.68) -> np.ndarray:
    """(k, 2) half axes of k ellipses, of which each holds a new value with a probability of `level` (split
    conformal), from calibration values (n, k, 2) along both axes: in the proportion of the shares `spread` of
    their sizes, as large as `conformal_bound` asks."""
    unit = np.quantile(np.abs(parts), spread, axis=0)
    return np.asarray(conformal_bound(np.linalg.norm(parts / unit, axis=2), level)[:, None] * unit)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down correction: p-values for a family of comparisons, in their order, each at least as
    large as before."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def holm_levels(p_values: ArrayLike, level: float = LEVEL) -> np.ndarray:
    """For each comparison of a family, in their order, the p value up to which Holm's procedure would call it
    a difference, the others being as they are."""
    p_values = np.asarray(p_values, float)
    count = len(p_values)
    steps = level / np.arange(count, 0, -1)  # the smallest p must pass the first, and so on
    levels = np.empty(count)
    for place in range(count):
        passed = np.sort(np.delete(p_values, place)) <= steps[:-1]
        levels[place] = steps[np.argmin(passed) if not passed.all() else count - 1]
    return levels


def detectable(se: ArrayLike, trainings: ArrayLike, levels: ArrayLike) -> np.ndarray:
    """The least difference that would be told from none at these levels of p (`holm_levels`), the spread over
    trainings being what it is.

    se: of `over_trainings`. trainings: how many (pairs of) trainings each has.
    """
    return np.asarray(se) * stdtrit(np.asarray(trainings) - 1.0, 1 - np.asarray(levels) / 2)
