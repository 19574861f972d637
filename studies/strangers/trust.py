"""How sure an answer is, calibrated: P(all landmarks within 3 mm) by logistic regression on its signs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from kneel_lib import outlines
from kneel_lib.pipeline import quality
from kneel_lib.reporting.statistics import conformal_bound, conformal_ellipses
from studies.strangers.measure import Told

WITHIN_MM = 3.0
SIGNS = (
    "deviation_mm",
    "greatest_deviation_mm",
    "log_shape_distance",
    "greatest_spread_mm",
    "search_deviation",
    "log_appearance",
)
"""`quality.signs` that the regression uses: how far the centre moved from where the search saw it was tried
and tells nothing more."""
FOLDS = 10
COVERAGE = 0.9


def gather(told: Sequence[Told], knees: pd.DataFrame) -> pd.DataFrame:
    """A row a knee that was found: whose, mean error, whether all landmarks are within WITHIN_MM, signs.
    knees: of each answer, columns subject_id, kl and split."""
    rows = []
    for one, whose in zip(told, knees[["subject_id", "kl", "split"]].to_dict("records")):
        if one.knee is not None:
            near = bool((one.errors_mm < WITHIN_MM).all())
            about = {**whose, "side": one.side, "mre_mm": one.errors_mm.mean(), "near": near}
            rows.append(about | one.knee.signs)
    return pd.DataFrame(rows)


def model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.3))


def fit(table: pd.DataFrame) -> dict[str, Any]:
    """The regression as plain data: what `pipeline.quality.TRUST` holds."""
    fitted = model().fit(table[list(SIGNS)], table["near"])
    scaler, regression = fitted[0], fitted[-1]
    return {
        "signs": list(SIGNS),
        "means": scaler.mean_.tolist(),
        "deviations": scaler.scale_.tolist(),
        "weights": regression.coef_[0].tolist(),
        "intercept": float(regression.intercept_[0]),
        "within_mm": WITHIN_MM,
        "knees": int(table["subject_id"].count()),
        "subjects": int(table["subject_id"].nunique()),
    }


def unseen(table: pd.DataFrame) -> np.ndarray:
    """The trust of each row by a regression that has seen nothing of its subject."""
    cv = GroupKFold(min(FOLDS, table["subject_id"].nunique()))
    how = {"groups": table["subject_id"], "cv": cv, "method": "predict_proba"}
    return cross_val_predict(model(), table[list(SIGNS)], table["near"], **how)[:, 1]


def reliability(table: pd.DataFrame, trust: np.ndarray, bins: int) -> pd.DataFrame:
    """A row a quantile of trust: knees, mean trust, share within WITHIN_MM; and the whole's Brier score and
    area under the curve, NaN where all knees are within, or none."""
    groups, near = pd.qcut(trust, bins, labels=False, duplicates="drop"), table["near"].to_numpy()
    made = pd.DataFrame({"trust": trust, "within_3_mm": near, "group": groups}).groupby("group")
    rows = made.agg(knees=("trust", "size"), trust=("trust", "mean"), within_3_mm=("within_3_mm", "mean"))
    auc = roc_auc_score(near, trust) if len(set(near)) == 2 else np.nan
    return rows.reset_index().assign(brier=brier_score_loss(near, trust), auc=auc)


def error_ratios(told: Sequence[Told], trusts: np.ndarray) -> np.ndarray:
    """(knees, 16, 2) error across and along the answer's outline over its `quality.expected_size`, of the
    knees that were found. trusts: (knees,) of each, by a regression that has not seen its subject."""
    knees = [(one.knee, one.places) for one in told if one.knee is not None]
    answers, places = (
        np.stack(points) for points in zip(*[(knee.points_px, place) for knee, place in knees])
    )
    parts = np.stack(outlines.split_errors(places, answers), axis=2)
    deviations = np.stack([knee.deviation_px for knee, _ in knees])
    return parts / quality.expected_size(deviations, 1 - trusts)[..., None]


def conformal(ratios: np.ndarray) -> np.ndarray:
    """The ratio of each column that a new knee's stays within with a probability of COVERAGE."""
    return conformal_bound(ratios, COVERAGE)


def coverage(ratios: np.ndarray, subjects: Sequence[Any]) -> np.ndarray:
    """Of each column the share of knees within what knees of other subjects give."""
    return held(ratios, subjects, lambda own, others: own <= conformal(others)).mean(axis=0)


def covered(ratios: np.ndarray, subjects: Sequence[Any]) -> np.ndarray:
    """(knees, 16) whether knees (knees, 16, 2) are within the ellipse that knees of other subjects give."""

    def inside(own: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(own / conformal_ellipses(others, COVERAGE), axis=2) <= 1)

    return held(ratios, subjects, inside)


def held(
    ratios: np.ndarray, subjects: Sequence[Any], inside: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """(knees, columns) whether knees are `inside` of what knees of other subjects give: (own, others) ->
    booleans (own, columns)."""
    groups, within = np.asarray(subjects), np.zeros(ratios.shape[:2], bool)
    for subject in set(groups):
        own = groups == subject
        within[own] = inside(ratios[own], ratios[~own])
    return within
