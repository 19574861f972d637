"""A point-distribution model in a reference frame, and its most probable shape given points that were voted
for.

Lindner et al. 2015, on constrained local models: x = T(mean + P b + r; pose) with a similarity T; b is free
while its Mahalanobis distance is below a limit, else the nearest valid b is taken, and every point may lie
off the model by a small residual r. Here the same knowledge is a Gaussian prior (modes, residual, free
similarity) and the votes have a covariance that was measured on training knees: one linear system gives the
shape. The similarity's product with b is left out; the next pass, which starts from the new pose, mends that.
Reference frame: mm, origin at the mean shape's middle, the pose of the current shape taken out.
"""

from dataclasses import dataclass

import numpy as np

from kneel_lib.errors import KneelError

ROUNDS = 30
"""Of generalised Procrustes alignment; it has converged long before."""

FREE_MM = 20.0
"""Standard deviation along a unit vector of pose (shift, scale, rotation): wide, the votes decide."""

REWEIGHTINGS = 6
TRUSTED = 2.0
"""Votes that lie farther than this many standard deviations from the shape lose weight (Huber's rule)."""

CLIPPED, SHRUNK, LEAST_MM = 3.0, 0.2, 0.1
"""Error covariances: clipping in standard deviations, shrinking towards the diagonal, least standard
deviation."""


@dataclass(frozen=True)
class PointModel:
    """mean: (16, 2) mm. modes: (k, 16, 2) of unit length. variances: (k,) mm^2 that the training shapes show
    along them.

    noise: mm^2, the mean variance of a coordinate outside of the kept modes.
    """

    mean: np.ndarray
    modes: np.ndarray
    variances: np.ndarray
    noise: float


@dataclass(frozen=True)
class Pose:
    """A similarity x -> matrix x + shift; matrix (2, 2) is a rotation times a scale."""

    matrix: np.ndarray
    shift: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + self.shift

    def undo(self, points: np.ndarray) -> np.ndarray:
        return (points - self.shift) @ np.linalg.inv(self.matrix).T

    def after(self, inner: "Pose") -> "Pose":
        """This pose after `inner`: self.apply(inner.apply(x))."""
        return Pose(self.matrix @ inner.matrix, self.matrix @ inner.shift + self.shift)

    @property
    def scale(self) -> float:
        return float(np.sqrt(np.linalg.det(self.matrix)))


def make_pose(
    scale: float = 1.0, radians: float = 0.0, shift: tuple[float, float] | np.ndarray = (0.0, 0.0)
) -> Pose:
    """Scale, turn, then shift."""
    cos, sin = np.cos(radians), np.sin(radians)
    return Pose(scale * np.array([[cos, -sin], [sin, cos]]), np.asarray(shift, float))


def align(points: np.ndarray, target: np.ndarray) -> Pose:
    """The pose that brings `points` (n, 2) nearest to `target` (n, 2), by least squares."""
    share = np.ones(len(points)) / len(points)
    middle, aim = share @ points, share @ target
    p, q = points - middle, target - aim
    square = share @ (p**2).sum(axis=1)
    a = share @ (p * q).sum(axis=1) / square
    b = share @ (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / square
    matrix = np.array([[a, -b], [b, a]])
    return Pose(matrix, aim - matrix @ middle)


def learn_points(shapes: np.ndarray, kept_variance: float) -> PointModel:
    """The model of shapes (n, 16, 2) in mm: generalised Procrustes alignment, then principal components."""
    if len(shapes) < 3:
        raise KneelError(f"a shape model needs 3 or more whole shapes, not {len(shapes)}")
    size = np.sqrt(((shapes - shapes.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))).mean()
    mean = shapes[0] - shapes[0].mean(axis=0)
    for _ in range(ROUNDS):
        aligned = np.stack([align(shape, mean).apply(shape) for shape in shapes])
        mean = aligned.mean(axis=0)
        mean *= size / np.sqrt((mean**2).sum())
    upright = align(mean, shapes.mean(axis=0) - shapes.mean(axis=(0, 1)))
    mean = make_pose(1.0, np.arctan2(upright.matrix[1, 0], upright.matrix[0, 0])).apply(mean)
    # distances are kept in the mean's size: each shape is carried back by the pose that brings the mean to it
    residuals = np.stack([align(mean, shape).undo(shape) for shape in shapes]) - mean
    residuals -= residuals.mean(axis=0)
    _, singular, modes = np.linalg.svd(residuals.reshape(len(shapes), -1), full_matrices=False)
    variances = singular**2 / (len(shapes) - 1)
    whole = variances.sum()
    kept = min(
        int(np.searchsorted(np.cumsum(variances) / whole, kept_variance)) + 1,
        len(variances),
        modes.shape[1] - 4,
    )
    noise = variances[kept:].sum() / modes.shape[1]
    return PointModel(mean, modes[:kept].reshape(kept, -1, 2), variances[:kept], float(noise))


def prior_covariance(model: PointModel) -> np.ndarray:
    """(32, 32) mm^2: how far shapes in the mean's pose lie from the mean: the modes, the rest, and a
    similarity that is free."""
    basis = model.modes.reshape(len(model.modes), -1)
    x, y = (model.mean - model.mean.mean(axis=0)).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    pose = np.stack([np.column_stack(pair).ravel() for pair in ((one, zero), (zero, one), (x, y), (-y, x))])
    pose /= np.linalg.norm(pose, axis=1, keepdims=True)
    return (
        (basis.T * model.variances) @ basis
        + model.noise * np.eye(basis.shape[1])
        + FREE_MM**2 * pose.T @ pose
    )


def fit_shape(model: PointModel, voted: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The most probable shape (16, 2) mm given the `voted` points (16, 2) mm, whose errors have this
    `covariance` (32, 32) mm^2.

    argmin (voted - x)' R^-1 (voted - x) + (x - mean)' S^-1 (x - mean) = mean + S (S + R)^-1 (voted - mean), R
    the votes', S the prior covariance. Where a vote lies far from the shape its errors are taken to be larger
    and the shape is found again.
    """
    prior = prior_covariance(model)
    deviations = np.sqrt(np.diag(covariance)).reshape(-1, 2)
    difference, doubt = (voted - model.mean).ravel(), np.ones(2 * len(voted))
    for _ in range(REWEIGHTINGS):
        found = prior @ np.linalg.solve(prior + doubt[:, None] * covariance * doubt, difference)
        far = np.linalg.norm((difference - found).reshape(-1, 2) / deviations, axis=1)
        doubt = np.repeat(np.maximum(1, far / TRUSTED), 2)
    return model.mean + found.reshape(-1, 2)


def error_covariance(errors: np.ndarray) -> np.ndarray:
    """(32, 32) mm^2: the covariance of errors (n, 16, 2) mm around zero, robust: what lies far out is drawn
    in to `CLIPPED` sd."""
    flat = errors.reshape(len(errors), -1)
    typical = np.maximum(1.4826 * np.median(np.abs(flat), axis=0), LEAST_MM)
    flat = np.clip(flat, -CLIPPED * typical, CLIPPED * typical)
    square = flat.T @ flat / len(flat)
    own = np.diag(np.diag(square))
    return square + SHRUNK * (own - square) + LEAST_MM**2 * np.eye(len(own))
