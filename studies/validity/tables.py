"""What a joint-space width says of a grade, and of itself: width by grade, area under the curve, left against
right, one view against another; intervals over subjects."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import pearsonr

from kneel_lib.data.graded import PUBLISHED
from kneel_lib.reporting.agreement import intraclass
from kneel_lib.reporting.statistics import mean_interval, weighted_interval

LEAST_GRADES = (2, 3, 4)
DRAWS = 2000
SAMPLE_MIX, WHOLE_MIX = "sample", "whole set"
KNEE = ["subject_id", "side"]


def grade_rows(knees: pd.DataFrame, width: pd.Series) -> list[dict[str, Any]]:
    """A row a grade: mean width in mm with its interval, standard deviation, median."""
    rows = []
    for kl, group in width.groupby(knees["kl"]):
        mean, low, high = mean_interval(group, knees.loc[group.index, "subject_id"])
        numbers = {"value": mean, "low": low, "high": high, "sd": group.std(ddof=1), "median": group.median()}
        rows.append({"what": "width, mm", "group": f"KL {kl}", **numbers, **counted(knees.loc[group.index])})
    return rows


def auc_rows(knees: pd.DataFrame, width: pd.Series, draws: int = DRAWS) -> list[dict[str, Any]]:
    """A row a threshold and mix of grades: how well a narrow joint tells a grade of at least so much."""
    known = width.notna()
    knees, width = knees[known], width[known]
    rows = []
    for mix, weights in {SAMPLE_MIX: np.ones(len(knees)), WHOLE_MIX: mix_weights(knees["kl"])}.items():
        for least in LEAST_GRADES:
            positive = (knees["kl"] >= least).to_numpy()
            area = partial(weighted_auc, positive, -width.to_numpy(), weights)
            value, low, high = weighted_interval(area, knees["subject_id"], draws)
            about = {"what": "AUC", "mix": mix, "group": f"KL >= {least}"}
            rows.append({**about, "value": value, "low": low, "high": high, **counted(knees)})
    return rows


@np.errstate(invalid="ignore")
def weighted_auc(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """(k,) areas under the curve of knees that weigh `weights` (n,) and were drawn `counts` (k, n) times; NaN
    of a draw that has one kind only. It is scikit-learn's roc_auc_score, for all draws at once."""
    order = np.argsort(score)
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # of knees with the same score
    drawn = (weights * counts)[:, order]
    ill, healthy = (np.add.reduceat(drawn * kind[order], starts, axis=1) for kind in (positive, ~positive))
    below = np.cumsum(healthy, axis=1) - healthy / 2
    return (ill * below).sum(axis=1) / (ill.sum(axis=1) * healthy.sum(axis=1))


def mix_weights(grades: pd.Series) -> np.ndarray:
    """(n,) weights with which grades are as frequent as in the whole published set; their mean is 1."""
    held = grades.value_counts()
    weights = grades.map({kl: PUBLISHED[kl] / held[kl] for kl in held.index}).to_numpy(float)
    return weights / weights.mean()


def side_rows(knees: pd.DataFrame, width: pd.Series) -> list[dict[str, Any]]:
    """Left against right of the same person: intraclass and Pearson's correlation, a pair a subject."""
    pairs = knees[KNEE].assign(width=width).pivot(index="subject_id", columns="side", values="width").dropna()
    left, right = pairs["L"].to_numpy(), pairs["R"].to_numpy()
    found = intraclass(left, right)
    pearson = pearsonr(left, right)
    low, high = pearson.confidence_interval()
    count = {"knees": 2 * len(pairs), "subjects": len(pairs)}
    icc = {"value": found["icc"], "low": found["icc_low"], "high": found["icc_high"]}
    return [
        {"what": "left against right", "group": "ICC(A,1)", **icc, **count},
        {"what": "left against right", "group": "r", "value": pearson.statistic, "low": low, "high": high}
        | count,
    ]


def repeat_rows(knees: pd.DataFrame, first: pd.Series, second: pd.Series) -> list[dict[str, Any]]:
    """One view against another of the same knees, row by row: standard deviation of the difference, that of
    one measurement (by the square root of two less), and of the middle 95 % of differences half the length;
    bias."""
    difference = (second - first).dropna()
    knees = knees.loc[difference.index]
    squared, low, high = mean_interval((difference - difference.mean()) ** 2, knees["subject_id"])
    bias, bias_low, bias_high = mean_interval(difference, knees["subject_id"])
    ends = np.percentile(difference, [2.5, 97.5])
    measures = {
        "SD of the difference": np.sqrt([squared, low, high]),
        "SD of one measurement": np.sqrt(np.array([squared, low, high]) / 2),
        "bias": np.array([bias, bias_low, bias_high]),
        "middle 95 %, half": np.array([np.ptp(ends) / 2, np.nan, np.nan]),
    }
    return [
        {"what": "two views, mm", "group": name, "value": value, "low": low, "high": high, **counted(knees)}
        for name, (value, low, high) in measures.items()
    ]


def counted(knees: pd.DataFrame) -> dict[str, int]:
    return {"knees": len(knees), "subjects": knees["subject_id"].nunique()}
