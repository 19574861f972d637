"""Heatmap regression by the SpatialConfigurationNet of the `landmarker` toolkit (Payer et al. 2019).

The network from outside, for comparison; extra `heatmap`.

Network, heatmaps with widths that are learned, their loss and the read-out are the toolkit's own;
augmentation, folds and schedule are ours, so that the row differs from the others in nothing else. The maps
have the ROI's full resolution, which is what they cost.
"""

from typing import Any

import torch
from torch import nn

from kneel_lib.errors import KneelError

SIGMA_MM = 2.5
"""Width of the heatmaps at the start of training; they narrow by themselves."""

GAMMA, WIDTH_WEIGHT = 100.0, 5.0
"""Height of the heatmaps, and how strongly wide ones are punished: the toolkit's own example."""


def landmarker() -> tuple[Any, Any, Any]:
    """The toolkit's (models, heatmap, losses); `KneelError` where it is not installed."""
    try:
        from landmarker import heatmap, losses, models
    except ImportError as error:
        raise KneelError(
            f"this row needs the landmarker toolkit ({error}): "
            "pip install --no-deps -r requirements-heatmap.txt"
        ) from None
    return models, heatmap, losses


class SpatialConfiguration(nn.Module):
    """The toolkit's network behind the interface of `hourglass.Hourglass`: `maps` and `coordinates`."""

    def __init__(self, landmarks: int) -> None:
        super().__init__()
        self.network = landmarker()[0].SpatialConfigurationNet(
            spatial_dims=2, in_channels=1, out_channels=landmarks
        )

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Heatmaps (batch, M, H, W) of `images` (batch, 1, H, W)."""
        return self.network(images)

    def coordinates(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalised coordinates (batch, M, 2), x before y: a soft-argmax in five pixels around each peak."""
        places = landmarker()[1].heatmap_to_coord(maps.float(), method="local_soft_argmax")
        return places.flip(-1).float() / torch.tensor([maps.shape[3], maps.shape[2]], device=maps.device)


class HeatmapLoss(nn.Module):
    """Squared distance to gaussian heatmaps of learned widths (Thaler et al. 2021); missing ones add 0."""

    def __init__(self, landmarks: int, size_px: int, spacing_mm: float) -> None:
        super().__init__()
        _, heatmap, losses = landmarker()
        self.size_px = size_px
        self.generator = heatmap.GaussianHeatmapGenerator(
            landmarks,
            sigmas=SIGMA_MM / spacing_mm,
            gamma=GAMMA,
            heatmap_size=(size_px, size_px),
            learnable=True,
        )
        self.compare = losses.GaussianHeatmapL2Loss(alpha=WIDTH_WEIGHT)

    def forward(self, maps: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """maps (batch, M, H, W); truth (batch, M, 2) normalised."""
        known = ~torch.isnan(truth).any(dim=2)
        wanted = self.generator(torch.nan_to_num(truth, nan=0.5).flip(-1) * self.size_px)
        share = known[:, :, None, None].float()
        return self.compare(maps.float() * share, self.generator.sigmas, wanted * share)
