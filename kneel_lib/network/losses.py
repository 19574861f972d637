"""The losses of section 3.2 and Table 1, looked up by name in `LOSSES`, and the heatmap regularisation.

Every loss takes `prediction` and `truth`, both (batch, M, 2), and returns a scalar: the mean over the
coordinates that are known. A landmark that is missing (NaN in the truth) adds nothing. The paper takes them
on normalised coordinates; `Frame` scales them to pixels or mm first.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kneel_lib import landmarks
from kneel_lib.errors import find


def known_errors(prediction: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(differences, known), both of the coordinates' shape: differences are 0 where the truth is not known.

    Nothing is selected by a mask: that would make a GPU wait for the count.
    """
    known = ~torch.isnan(truth)
    return torch.where(known, prediction - torch.nan_to_num(truth), torch.zeros_like(prediction)), known


def known_mean(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The mean of the known values; 0 (with a gradient of 0) where no landmark of the batch is known."""
    return torch.where(known, values, torch.zeros_like(values)).sum() / known.sum().clamp(min=1)


def l1(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute error."""
    errors, known = known_errors(prediction, truth)
    return known_mean(errors.abs(), known)


def l2(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean squared error."""
    errors, known = known_errors(prediction, truth)
    return known_mean(errors.square(), known)


def elastic(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Half L1 plus half L2, as in the released code; the paper says their sum."""
    return 0.5 * l1(prediction, truth) + 0.5 * l2(prediction, truth)


def wing(
    prediction: torch.Tensor, truth: torch.Tensor, w: float = 15.0, epsilon: float = 3.0
) -> torch.Tensor:
    """Wing loss, eq. 4 (Feng et al. 2018), with C = w - w ln(1 + w / epsilon), so that the two parts meet.

    The paper's "C = 3" is epsilon. On normalised coordinates |error| < w always: the loss is 5 x L1 to 0.2 %
    at 0.01.
    """
    errors, known = known_errors(prediction, truth)
    size = errors.abs()
    offset = w - w * math.log(1 + w / epsilon)
    return known_mean(torch.where(size < w, w * torch.log1p(size / epsilon), size - offset), known)


class AdaptiveRobust(nn.Module):
    """The adaptive form of the general robust loss (Barron, CVPR 2019, eq. 1, 9 and 16), one alpha and scale
    a coordinate.

    The negative log-likelihood rho(x, alpha, c) + ln(c Z(alpha)), mean over coordinates; alpha in (0, 2)
    starts at 1 and the scale c at 0.01, both trained with the network, as in the released code. ln Z is
    integrated numerically once and interpolated by cubic Hermite pieces.
    """

    log_partition: torch.Tensor
    LOWEST, HIGHEST, STEPS, SMALLEST_SCALE = 0.001, 1.999, 200, 1e-5

    def __init__(self, landmarks: int = 16, alpha: float = 1.0, scale: float = 0.01) -> None:
        super().__init__()
        share = (alpha - self.LOWEST) / (self.HIGHEST - self.LOWEST)
        self.latent_alpha = nn.Parameter(torch.full((landmarks, 2), math.log(share / (1 - share))))
        self.latent_scale = nn.Parameter(torch.zeros(landmarks, 2))
        self.first_scale = scale
        grid = np.linspace(0, 2, self.STEPS + 1)
        self.register_buffer(
            "log_partition",
            torch.tensor([log_partition(a) for a in grid], dtype=torch.float32),
            persistent=False,
        )

    def alpha(self) -> torch.Tensor:
        """Shape alpha of each coordinate, (M, 2)."""
        return self.LOWEST + (self.HIGHEST - self.LOWEST) * torch.sigmoid(self.latent_alpha)

    def scale(self) -> torch.Tensor:
        """Scale c of each coordinate, (M, 2), in the frame of the coordinates."""
        softplus = F.softplus(self.latent_scale + math.log(math.e - 1))
        return self.SMALLEST_SCALE + (self.first_scale - self.SMALLEST_SCALE) * softplus

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        alpha, scale = self.alpha(), self.scale()
        normaliser = torch.log(scale) + interpolate(self.log_partition, alpha * self.STEPS / 2)
        errors, known = known_errors(prediction, truth)
        return known_mean(robust_rho(errors, alpha, scale) + normaliser, known)


def robust_rho(errors: torch.Tensor, alpha: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Barron's eq. 1 for alpha strictly between 0 and 2 (elementwise, broadcast)."""
    inside = (errors / scale).square() / (2 - alpha) + 1
    return (2 - alpha) / alpha * (inside.pow(alpha / 2) - 1)


def log_partition(alpha: float) -> float:
    """ln Z(alpha), eq. 10 and 11: Z is the integral of exp(-rho(x, alpha, 1)); closed at 0 (Cauchy) and 2
    (normal)."""
    if alpha == 0:
        return math.log(math.pi * math.sqrt(2))
    if alpha == 2:
        return 0.5 * math.log(2 * math.pi)
    gap = 2 - alpha

    def density(x: float) -> float:
        return math.exp(-gap / alpha * ((x * x / gap + 1) ** (alpha / 2) - 1))

    from scipy.integrate import quad  # half a second to import, and predict needs it not

    return math.log(2 * (quad(density, 0, 10, limit=500)[0] + quad(density, 10, np.inf, limit=500)[0]))


def interpolate(table: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Values of `table` at fractional indices, by Catmull-Rom cubic pieces; differentiable."""
    left = position.detach().floor().long().clamp(0, len(table) - 2)
    t = position - left
    before, a, b, after = (table[(left + k).clamp(0, len(table) - 1)] for k in (-1, 0, 1, 2))
    return a + 0.5 * t * (
        b - before + t * (2 * before - 5 * a + 4 * b - after + t * (3 * (a - b) + after - before))
    )


def tangents(points: torch.Tensor) -> torch.Tensor:
    """(batch, M, 2) unit vectors along the bones' outlines, as `outlines.tangents` has them; NaN beside a
    missing landmark. points: (batch, M, 2), M = 16."""
    pieces = []
    for bone in (landmarks.TIBIA, landmarks.FEMUR):
        part = points[:, bone[0] : bone[-1] + 1]
        ends = torch.cat([part[:, :1], part, part[:, -1:]], dim=1)
        pieces.append(ends[:, 2:] - ends[:, :-2])
    along = torch.cat(pieces, dim=1)
    return along / along.norm(dim=2, keepdim=True)


class OutlineLaplace(nn.Module):
    """A loss that knows its labels: they are sharp across the bone's outline and vague along it.

    The negative log-likelihood of Laplace-distributed errors, |across| / a + ln 2a + |along| / b + ln 2b,
    mean over landmarks, with a and b of each landmark trained with the network. So an error along a vague
    edge costs less than one across it, by as much as the labels ask for. Not in the paper. Where a neighbour
    is missing the outline has no direction, and the landmark adds nothing.
    """

    SMALLEST_SCALE = 0.02

    def __init__(self, landmarks: int = landmarks.COUNT, scale: float = 1.0) -> None:
        super().__init__()
        self.latent_scale = nn.Parameter(torch.full((landmarks, 2), math.log(scale - self.SMALLEST_SCALE)))

    def scale(self) -> torch.Tensor:
        """Scales (a, b) of each landmark, across and along, (M, 2), in the frame of the coordinates."""
        return self.SMALLEST_SCALE + self.latent_scale.exp()

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        direction = tangents(truth)
        known = ~torch.isnan(truth + direction).any(dim=2, keepdim=True).expand_as(truth)
        direction = torch.where(known, direction, torch.zeros_like(direction))
        errors = torch.where(known, prediction - torch.nan_to_num(truth), torch.zeros_like(prediction))
        along = (errors * direction).sum(dim=2)
        across = errors[..., 1] * direction[..., 0] - errors[..., 0] * direction[..., 1]
        scale = self.scale()
        return known_mean(torch.stack([across, along], dim=2).abs() / scale + torch.log(2 * scale), known)


class Frame(nn.Module):
    """A loss taken on coordinates in another frame: normalised ones times `side` (that of the ROI)."""

    def __init__(self, loss: Callable[..., torch.Tensor], side: float, weight: float = 1.0) -> None:
        super().__init__()
        self.loss, self.side, self.weight = loss, side, weight

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return self.weight * self.loss(prediction * self.side, truth * self.side)


LOSSES: dict[str, Any] = {"l2": l2, "l1": l1, "robust": AdaptiveRobust, "elastic": elastic, "wing": wing}
"""Those of Table 1: functions, or modules that are made without an argument."""

LABEL_LOSSES: dict[str, Any] = {"outline_laplace": OutlineLaplace}
"""Those that model the labels' errors."""


def make_loss(
    name: str, frame: str = "normalised", weight: float = 1.0, size_px: int = 1, spacing_mm: float = 1.0
) -> Frame:
    """The loss of this name on coordinates in `frame`, as a module (the robust one has parameters of its
    own).

    size_px, spacing_mm: of the ROI. Raises `KneelError` for an unknown loss or frame.
    """
    sides = {"normalised": 1.0, "pixels": float(size_px), "mm": size_px * spacing_mm}
    made = find(name, LOSSES | LABEL_LOSSES, "loss")
    loss = made() if isinstance(made, type) else made
    return Frame(loss, find(frame, sides, "loss frame"), weight)


def cross_entropy(target: torch.Tensor, log_map: torch.Tensor) -> torch.Tensor:
    """-sum p ln q over the cells: heavy where the map gives the peak nearly nothing."""
    return -(target * log_map).sum(dim=(2, 3))


def jensen_shannon(target: torch.Tensor, log_map: torch.Tensor) -> torch.Tensor:
    """Half of KL(p, m) plus half of KL(q, m), m the mean of both: never above ln 2, as in DSNT (Nibali et al.
    2018)."""
    map_, tiny = log_map.exp(), 1e-12
    middle = torch.log((target + map_) / 2 + tiny)
    return 0.5 * (target * (torch.log(target + tiny) - middle) + map_ * (log_map - middle)).sum(dim=(2, 3))


DIVERGENCES = {"cross_entropy": cross_entropy, "jensen_shannon": jensen_shannon}


def gaussian_target(cells: torch.Tensor, height: int, width: int, sigma: float) -> torch.Tensor:
    """(batch, M, height, width) maps that add up to one: gaussians of `sigma` cells around (batch, M, 2)
    points, x before y, in cells."""
    row, column = (torch.arange(n, device=cells.device, dtype=torch.float32) for n in (height, width))
    across = torch.softmax(-(column - cells[..., :1]).square() / (2 * sigma**2), dim=2)
    down = torch.softmax(-(row - cells[..., 1:]).square() / (2 * sigma**2), dim=2)
    return down.unsqueeze(3) * across.unsqueeze(2)


def heatmap_regularisation(
    maps: torch.Tensor,
    truth: torch.Tensor,
    sigma: float,
    beta: float = 1.0,
    divergence: str = "cross_entropy",
) -> torch.Tensor:
    """How far the softmax map is from a gaussian at the truth: asks each map to be one peak. Not in the
    paper.

    maps: (batch, M, H, W) before the softmax. truth: (batch, M, 2) normalised. sigma: in cells of the map.
    Its weights i / W are those of the soft-argmax, so that both ask for the same place. Landmarks that are
    missing or off the map add nothing. Raises `KneelError` for an unknown divergence.
    """
    diverge = find(divergence, DIVERGENCES, "divergence of maps")
    batch, landmarks, height, width = maps.shape
    cells = truth * truth.new_tensor([width, height])
    known = ((cells >= 0) & (cells <= truth.new_tensor([width - 1, height - 1]))).all(dim=2)
    target = gaussian_target(torch.nan_to_num(cells), height, width, sigma)
    log_map = F.log_softmax(beta * maps.float().flatten(2), dim=2).view(batch, landmarks, height, width)
    return known_mean(diverge(target, log_map), known)
