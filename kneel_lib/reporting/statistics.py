"""Intervals that respect who the knees belong to: a bootstrap that draws subjects, not knees."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

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

    values: (n,) or (n, k), a row a knee; NaN is left out.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    values = np.asarray(values, float).reshape(len(index), -1)
    known = ~np.isnan(values)
    sums, counts = (
        np.bincount(index, weights=rows, minlength=len(names))
        for rows in (np.where(known, values, 0).sum(axis=1), known.sum(axis=1))
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
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high), float(min(2 * (share + 1) / (draws + 1), 1.0))


def weighted_interval(
    statistic: Callable[[np.ndarray], np.ndarray], subjects: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float, float]:
    """(value, low, high) of anything that takes weights: 95 % percentile interval, clustered on subjects.

    statistic: (weights (k, n), how often each knee is drawn) -> (k,) values; NaN where a draw has none, which
    is then left out. subjects: (n,), whose each knee is.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    values = statistic(subject_counts(len(names), draws, seed)[:, index])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(statistic(np.ones((1, len(index))))[0]), float(low), float(high)


def interval_over_trainings(values: ArrayLike) -> tuple[float, float, float]:
    """(mean, low, high) of one value a training (two or more), by Student's t:
    the 95 % interval that knows seed variance."""
    values = np.asarray(values, float)
    reach = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - reach), float(values.mean() + reach)


def conformal_quantile(values: np.ndarray, level: float) -> np.ndarray:
    """Of n calibration values along the first axis the one that a new value stays within with a probability
    of `level` (split conformal): the ceil((n + 1) level)-th smallest; infinite where there are too few."""
    rank = int(np.ceil((len(values) + 1) * level))
    return np.sort(values, axis=0)[rank - 1] if rank <= len(values) else np.full(values.shape[1:], np.inf)


def conformal_ellipses(parts: np.ndarray, level: float, spread: float = 0.68) -> np.ndarray:
    """(k, 2) half axes of k ellipses, of which each holds a new value with a probability of `level` (split
    conformal), from calibration values (n, k, 2) along both axes: in the proportion of the shares `spread` of
    their sizes, as large as the quantile asks, and not larger than the largest of them."""
    unit = np.quantile(np.abs(parts), spread, axis=0)
    size = np.linalg.norm(parts / unit, axis=2)
    return np.asarray(np.minimum(conformal_quantile(size, level), size.max(axis=0))[:, None] * unit)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down correction: p-values for a family of comparisons, in their order, each at least as
    large as before."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1)
    return corrected
