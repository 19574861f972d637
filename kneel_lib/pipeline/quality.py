"""How far an answer can be trusted: the spread of its views, the rarity of its shape, and the reasons to
doubt it in words."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import chi2

from kneel_lib import landmarks
from kneel_lib.simulation import shape_model

SPREAD_LIMIT_MM, SHAPE_LIMIT = 3.0, 0.9999
"""A knee is not to be trusted where views of one landmark spread (standard deviation) by more, or where
its shape is rarer than this."""

SIDE_RATIO = 1.2
"""A side that was found by trying both mirrorings is a guess if the other one is less than this many times
as implausible."""

MEASURED_MM = 1.0
"""Standard deviation of a predicted coordinate that the shape's judgement allows for."""


FOUND_SHARE, SURE_SHARE = 0.15, 0.7
"""In half a radiograph a knee is there if this share of the localisation map lies within 10 mm of its
mean, and surely there with the second share: the pretrained networks give 0.9 and more on simulated
halves, and less than 0.05 on black, grey or noise."""


def with_doubt(knee: Any, share: float) -> Any:
    """The knee, doubted if ROI localisation was unsure where it is."""
    return (
        knee
        if share >= SURE_SHARE
        else replace(
            knee, doubts=(*knee.doubts, f"ROI localisation was unsure of this knee (share {share:.2f})")
        )
    )


def more_plausible(tried: Sequence[Any]) -> Any:
    """The most plausible of the knees that were tried, doubted if another mirroring is about as plausible."""
    best, *others = sorted(tried, key=implausibility)
    if others and implausibility(others[0]) < SIDE_RATIO * implausibility(best):
        return replace(
            best, doubts=(*best.doubts, "its side is a guess: the other mirroring is about as plausible")
        )
    return best


def implausibility(knee: Any) -> float:
    """What decides between two mirrorings: spread of the views and rarity of the shape together."""
    return knee.spread_mm.mean() / SPREAD_LIMIT_MM + knee.shape_distance / chi2.ppf(
        SHAPE_LIMIT, 2 * landmarks.COUNT
    )


def shape_distance(points_mm: np.ndarray) -> float:
    """Squared Mahalanobis distance of a shape to the nearest grade's model, measurement noise included;
    chi-squared of 32 if it fits."""
    residual = points_mm - points_mm[landmarks.CENTRE]
    return min(mahalanobis(model, residual) for model in shape_model.load().values())


def mahalanobis(model: shape_model.ShapeModel, shape_mm: np.ndarray) -> float:
    """Of one grade's model, around which measured coordinates scatter by MEASURED_MM, those of landmark 4
    shared by all."""
    basis = model.modes.reshape(len(model.modes), -1)
    noise = MEASURED_MM**2 * (np.eye(basis.shape[1]) + np.tile(np.eye(2), (landmarks.COUNT, landmarks.COUNT)))
    covariance = (basis.T * model.deviations**2) @ basis + noise
    residual = (shape_mm - model.mean).ravel()
    return float(residual @ np.linalg.solve(covariance, residual))


def doubt(
    spread_mm: np.ndarray, distance: float, points_px: np.ndarray, shape: tuple[int, ...]
) -> Iterator[str]:
    """Reasons, in words, not to trust an answer."""
    if spread_mm.max() > SPREAD_LIMIT_MM:
        yield f"views disagree by {spread_mm.max():.1f} mm at landmark {int(spread_mm.argmax())}"
    if distance > chi2.ppf(SHAPE_LIMIT, 2 * landmarks.COUNT):
        yield f"no knee has this shape (distance {distance:.0f})"
    if ((points_px < 0) | (points_px > np.array(shape[::-1]) - 1)).any():
        yield "landmarks outside of the picture"
