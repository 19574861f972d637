"""The bones' outlines through the landmarks: errors across and along them, and distances to them.

A landmark that lies between two others on a smooth edge is well defined across the edge and badly along it.
Lindner et al. therefore report point-to-curve beside point-to-point errors. Both take the outline of the
truth: for directions the line through a landmark's neighbours, for distances a smooth curve through the
bone's landmarks (modified Akima interpolation over chord length, which does not overshoot at the spines).
"""

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from kneel_lib import landmarks

STEPS = 24
"""Pieces that the curve between two landmarks is drawn with."""


def tangents(points: np.ndarray) -> np.ndarray:
    """(n, 16, 2) unit vectors along the outline at each landmark, from lateral to medial: the direction from
    the landmark before to the one after, at a bone's ends that to the only neighbour. points: (n, 16, 2)."""
    along = np.empty(points.shape, dtype=float)
    for bone in (landmarks.TIBIA, landmarks.FEMUR):
        part = points[:, list(bone)]
        ends = np.concatenate([part[:, :1], part, part[:, -1:]], axis=1)
        along[:, list(bone)] = ends[:, 2:] - ends[:, :-2]
    length = np.linalg.norm(along, axis=2, keepdims=True)
    return along / np.where(length > 0, length, np.nan)


def split_errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(across, along), (n, 16) each, with signs, in the unit of the points: the error of each landmark across
    and along the outline of the truth. predicted, truth: (n, 16, 2) in the same frame."""
    error, direction = np.asarray(predicted) - truth, tangents(np.asarray(truth, dtype=float))
    along = (error * direction).sum(axis=2)
    return error[..., 1] * direction[..., 0] - error[..., 0] * direction[..., 1], along


def outline(points: np.ndarray) -> np.ndarray:
    """(m, 2) points of the smooth curve through one bone's landmarks (k, 2), in their order."""
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    fine = np.interp(
        np.linspace(0, len(points) - 1, STEPS * (len(points) - 1) + 1), range(len(points)), chord
    )
    return np.asarray(Akima1DInterpolator(chord, points, method="makima")(fine))


def curves_of(truth: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """{bone: (n, m, 2) points of each knee's outline}; NaN where a landmark of the bone is missing."""
    found = {}
    for bone in (landmarks.TIBIA, landmarks.FEMUR):
        part = truth[:, list(bone)]
        whole = np.isfinite(part).all(axis=(1, 2))
        curves = np.full((len(truth), STEPS * (len(bone) - 1) + 1, 2), np.nan)
        for knee in np.flatnonzero(whole):
            curves[knee] = outline(part[knee])
        found[bone] = curves
    return found


def distance_to_curves(points: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """(n, k) distances of points (n, k, 2) to the nearest place of each knee's polyline (n, m, 2)."""
    start, step = curves[:, None, :-1], np.diff(curves, axis=1)[:, None]
    relative = points[:, :, None] - start
    length = np.maximum((step**2).sum(axis=-1), np.finfo(float).tiny)
    share = np.clip((relative * step).sum(axis=-1) / length, 0, 1)
    return np.asarray(np.linalg.norm(relative - share[..., None] * step, axis=-1).min(axis=-1))


def point_to_curve(
    predicted: np.ndarray, truth: np.ndarray, curves: dict[tuple[int, ...], np.ndarray] | None = None
) -> np.ndarray:
    """(n, 16) distances of the predicted landmarks to the outline of the true bone that they belong to, in
    the unit of the points; NaN for a bone of which a landmark is missing. predicted, truth: (n, 16, 2).
    curves: `curves_of(truth)`, where they are known already."""
    found = np.full(predicted.shape[:2], np.nan)
    for bone, curve in (curves or curves_of(truth)).items():
        found[:, list(bone)] = distance_to_curves(predicted[:, list(bone)], curve)
    return found
