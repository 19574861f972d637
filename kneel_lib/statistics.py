"""Intervals that respect who the knees belong to: a bootstrap that draws subjects, not knees."""

import numpy as np

SEED = 0
DRAWS = 2000


def cluster_weights(subjects, draws=DRAWS, seed=SEED):
    """(draws, n) how often each knee counts when subjects are drawn with replacement."""
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts[:, index]


def mean_interval(values, subjects, draws=DRAWS, seed=SEED):
    """(mean, low, high): the mean of the known entries and its 95 % percentile interval, clustered on subjects.

    values: (n,) or (n, k), a row a knee; NaN is left out. For a PCK give 100.0 and 0.0, for an MRE errors in mm.
    """
    values = np.asarray(values, float).reshape(len(subjects), -1)
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axis=1), known.sum(axis=1)
    weights = cluster_weights(subjects, draws, seed)
    low, high = np.percentile((weights @ sums) / (weights @ counts), [2.5, 97.5])
    return float(sums.sum() / counts.sum()), float(low), float(high)
