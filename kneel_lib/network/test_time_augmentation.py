"""Test-time augmentation: each ROI is also seen turned, scaled and moved; the predictions, carried back, are
averaged.

Nothing is trained. It costs as many predictions as there are views, and lowers one network's seed variance.
"""

from dataclasses import replace
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch

from kneel_lib.data.rois import Rois
from kneel_lib.imaging import warp
from kneel_lib.network import training

VIEWS = tuple(product((-5.0, 0.0, 5.0), (0.95, 1.05), (-1 / 64, 1 / 64)))
"""(degrees, scale, shift along the diagonal as a share of the side) of each view beside the plain one: well
inside of what training showed."""


def predict(model: Any, rois: Rois, device: torch.device | str = "cpu") -> np.ndarray:
    """As `training.predict`, (n, 16, 2) ROI pixels without the margin: the mean of plain view and VIEWS."""
    side = rois.images.shape[-1]
    answers = [training.predict(model, rois, device)]
    for view in VIEWS:
        to_roi = view_matrix(*view, side)
        found = training.predict(model, replace(rois, images=seen(rois.images, to_roi)), device)
        answers.append(carried_back(found + rois.margin_px, to_roi) - rois.margin_px)
    return np.mean(answers, axis=0)


def seen(images: np.ndarray, to_roi: np.ndarray) -> np.ndarray:
    """Pictures (n, S, S) in a view; `to_roi` as of `view_matrix`; what lies outside repeats the edge."""
    size = images.shape[2], images.shape[1]
    return np.stack([warp(image, to_roi, 1.0, size, cv2.BORDER_REPLICATE) for image in images])


def carried_back(points: np.ndarray, to_roi: np.ndarray) -> np.ndarray:
    """Points (..., 2) in pixels of a view to pixels of the picture that it is of."""
    return points @ to_roi[:, :2].T + to_roi[:, 2]


def view_matrix(degrees: float, scale: float, shift: float, side: int) -> np.ndarray:
    """(2, 3) from pixels of the view to pixels of the picture, both `side` wide; turned about the middle."""
    angle, middle = np.deg2rad(degrees), np.full(2, (side - 1) / 2)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, middle - turn @ middle + shift * side])
