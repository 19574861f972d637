"""Voting forests in the place of a trained network, as what predicts landmarks in ROIs."""

from dataclasses import dataclass

import numpy as np

from kneel_lib.baselines import rfrv_clm
from kneel_lib.data.rois import Rois


@dataclass(frozen=True)
class Forests:
    """Trained voting forests (`baselines.rfrv_clm`) in a network's place: one view, since they search from
    several starts themselves. grey: as of a network.
    """

    model: rfrv_clm.Model
    views_mm: tuple = ((0.0, 0.0),)
    grey: str = "normalised"

    @property
    def size_px(self) -> int:
        return self.model.size_px

    @property
    def spacing_mm(self) -> float:
        return self.model.mm_per_px

    def predict(self, rois: Rois) -> np.ndarray:
        """Landmarks of `Rois` without a margin in ROI pixels, (n, 16, 2)."""
        return rfrv_clm.fit(self.model, rois.images)
