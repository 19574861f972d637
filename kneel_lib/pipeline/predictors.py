"""What predicts landmarks in ROIs: a trained network with the ROI that it expects."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kneel_lib.data.rois import Rois
from kneel_lib.network import training
from kneel_lib.network.hourglass import map_deviation

VIEWS_MM = ((0.0, 0.0), (1.5, 0.0), (-0.75, 1.3), (-0.75, -1.3))
"""How far each view's ROI is moved off its centre: their spread is a cheap second opinion."""


@dataclass(frozen=True)
class Network:
    """A trained network with the ROI that it expects: `size_px` pixels of `spacing_mm`, with grey values as
    `data.rois.cut_rois` names them. views_mm: how far each of its ROIs is moved, mm.

    precision: "bf16" or "fp32"; None: what the machine is good at.
    """

    model: Any
    size_px: int
    spacing_mm: float
    views_mm: tuple = VIEWS_MM
    precision: str | None = None
    grey: str = "normalised"

    @torch.no_grad()
    def answer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(landmarks (n, 16, 2), deviation of each one's map (n, 16)) of ROIs (n, S, S) uint8, in ROI
        pixels."""
        inputs = training.standardise(torch.from_numpy(np.ascontiguousarray(images[:, None])).float() / 255)
        maps = training.predict_maps(self.model.eval(), inputs, self.precision)
        points, deviation = self.model.coordinates(maps), map_deviation(maps, self.model.architecture.beta)
        return points.numpy() * self.size_px, deviation.numpy() * self.size_px

    def predict(self, rois: Rois) -> np.ndarray:
        """Landmarks of `Rois` without a margin in ROI pixels, (n, 16, 2)."""
        return training.predict(self.model, rois, precision=self.precision)
