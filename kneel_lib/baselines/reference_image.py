"""Reference images of `rfrv_clm`: an ROI in the mean shape's pose, and the response images on it."""

from dataclasses import dataclass

import cv2
import numpy as np

from kneel_lib.baselines.forest_options import Stage
from kneel_lib.baselines.regression_trees import Forest, cast_votes
from kneel_lib.baselines.shape_search import PointModel, Pose, make_pose
from kneel_lib.imaging import warp


@dataclass(frozen=True)
class Canvas:
    """The reference image of a stage: pixel (x, y) lies at origin_mm + pixel_mm * (x, y); it measures shape =
    (rows, columns)."""

    origin_mm: np.ndarray
    pixel_mm: float
    shape: tuple[int, int]

    def to_px(self, points_mm: np.ndarray) -> np.ndarray:
        return (points_mm - self.origin_mm) / self.pixel_mm

    def to_mm(self, points_px: np.ndarray) -> np.ndarray:
        return self.origin_mm + np.asarray(points_px) * self.pixel_mm


def make_canvas(points: PointModel, stage: Stage) -> Canvas:
    """A canvas with room around the mean shape for every patch of the stage."""
    margin = stage.patch_mm + max(stage.radius_mm, 1.5 * stage.search_mm) + 6 * stage.pixel_mm
    least, greatest = points.mean.min(axis=0) - margin, points.mean.max(axis=0) + margin
    columns, rows = np.ceil((greatest - least) / stage.pixel_mm).astype(int) + 1
    return Canvas(least, stage.pixel_mm, (int(rows), int(columns)))


def even_contrast(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Grey values (S, S) uint8 minus their local mean, over their local deviation, black surroundings left
    out: 128 + 40 z."""
    known = (image > 0).astype(np.float32)
    grey = image.astype(np.float32)
    share = cv2.GaussianBlur(known, (0, 0), sigma_px) + 1e-3
    mean = cv2.GaussianBlur(grey * known, (0, 0), sigma_px) / share
    square = cv2.GaussianBlur(grey**2 * known, (0, 0), sigma_px) / share
    deviation = np.sqrt(np.maximum(square - mean**2, 0)) + 4
    return np.clip(128 + 40 * known * (grey - mean) / deviation, 0, 255).astype(np.uint8)


def draw_pose(stage: Stage, random: np.random.Generator) -> Pose:
    """How a training view is out of pose: scale, rotation, and a part of a pixel."""
    return make_pose(
        np.exp(stage.resize * random.normal()),
        np.radians(stage.turn_degrees * random.normal()),
        random.uniform(-0.5, 0.5, 2) * stage.pixel_mm,
    )


def see(image: np.ndarray, pose: Pose, canvas: Canvas) -> np.ndarray:
    """The reference image (canvas.shape) uint8 of an ROI whose shape has this pose (mm to ROI pixels),
    low-passed where coarser."""
    matrix = np.column_stack([pose.matrix * canvas.pixel_mm, pose.apply(canvas.origin_mm)])
    return warp(image, matrix, pose.scale * canvas.pixel_mm, canvas.shape[::-1], cv2.BORDER_REPLICATE)


def window(image: np.ndarray, row: int, column: int, reach: int) -> np.ndarray:
    """The square of 2 reach + 1 pixels around (row, column); the border is repeated outside of the image."""
    rows = np.clip(np.arange(row - reach, row + reach + 1), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(column - reach, column + reach + 1), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def respond(
    forest: Forest, stage: Stage, sums: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The response images of all landmarks, (16, h, h) float64, and their first pixels (16, 2): votes around
    places (16, 2) px."""
    half, step = stage.to_px(stage.patch_mm), stage.to_px(stage.step_mm)
    search = max(step, stage.to_px(stage.search_mm) // step * step)
    grid = np.arange(-search, search + 1, step)
    rows, columns = (side.ravel() for side in np.meshgrid(grid, grid, indexing="ij"))
    reach = search + stage.to_px(stage.radius_mm)
    last_row, last_column = np.array(sums.shape) - half - 2
    responses = np.zeros((len(places), 2 * reach + 1, 2 * reach + 1))
    corners = np.rint(places).astype(int) - reach
    trees = forest.boxes, forest.threshold, forest.left, forest.vote
    for n, (x, y) in enumerate(corners + reach):
        patches = np.clip(y + rows, half, last_row), np.clip(x + columns, half, last_column)
        cast_votes(sums, *patches, *trees, forest.roots[n], corners[n, 0], corners[n, 1], responses[n])
        responses[n] = cv2.GaussianBlur(responses[n], (0, 0), stage.smooth_mm / stage.pixel_mm)
    return responses / (len(rows) * forest.roots.shape[1]), corners
