"""What predicts landmarks in ROIs: a trained network, or voting forests in its place."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from kneel_lib import landmarks
from kneel_lib.baselines import rfrv_clm
from kneel_lib.data.rois import Rois
from kneel_lib.network import training

VIEWS_MM = ((0.0, 0.0), (1.5, 0.0), (-0.75, 1.3), (-0.75, -1.3))
"""How far each view's ROI is moved off its centre: their spread is a cheap second opinion."""


@dataclass(frozen=True)
class Network:
    """A trained network with the ROI that it expects: `size_px` pixels of `spacing_mm`. views_mm: how far
    each of its ROIs is moved, mm.

    flip: view each ROI's mirror image too, and mirror the answer back. A network that was trained on
    mirrored knees (saw_mirrored: the released augmentation) numbers them by anatomy; one that never was takes
    the mirror image for another right knee and numbers it from the left, so that its numbers have to be
    mirrored as well. precision: "bf16" or "fp32"; None: what the machine is good at.
    """

    model: torch.nn.Module
    size_px: int
    spacing_mm: float
    views_mm: tuple = VIEWS_MM
    flip: bool = False
    saw_mirrored: bool = False
    precision: str | None = None

    def predict(self, rois: Rois) -> np.ndarray:
        """Landmarks of `Rois` without a margin in ROI pixels, (n, 16, 2)."""
        points = training.predict(self.model, rois, precision=self.precision)
        if not self.flip:
            return points
        mirror_image = replace(rois, images=np.ascontiguousarray(rois.images[:, :, ::-1]))
        mirrored = training.predict(self.model, mirror_image, precision=self.precision)
        back = landmarks.mirrored(mirrored, self.size_px - 1)
        return (points + (back if self.saw_mirrored else back[:, list(landmarks.MIRROR_IMAGE)])) / 2


@dataclass(frozen=True)
class Forests:
    """Trained voting forests (`baselines.rfrv_clm`) in a network's place: one view, since they search from
    several starts themselves.
    """

    model: rfrv_clm.Model
    views_mm: tuple = ((0.0, 0.0),)

    @property
    def size_px(self) -> int:
        return self.model.size_px

    @property
    def spacing_mm(self) -> float:
        return self.model.mm_per_px

    def predict(self, rois: Rois) -> np.ndarray:
        """Landmarks of `Rois` without a margin in ROI pixels, (n, 16, 2)."""
        return rfrv_clm.fit(self.model, rois.images)
