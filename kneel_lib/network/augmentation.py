"""Augmentation of whole batches (section 3.3, "Data Augmentation"): one homography a knee, then texture.

`augment` runs in torch on the batch's own device: all geometry is composed into one 3 x 3 matrix a knee and
sampled once. `studies.speed.solt_augmentation` is the same through solt, knee by knee. Everything random
comes from the generator that is handed in, so a seed gives the same pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch.nn import functional as F

from kneel_lib.network.ranges import Augmentation


class Draw:
    """Random numbers for a batch of `count` knees, all from one generator."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float) -> torch.Tensor:
        """(count,) uniform numbers."""
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def happens(self, probability: float) -> torch.Tensor:
        """(count,) booleans, true with this probability."""
        return torch.rand(self.count, generator=self.generator) < probability


def augment(
    images: torch.Tensor,
    points_px: torch.Tensor,
    size_px: int,
    ranges: Augmentation,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of ROIs with margin to a batch of augmented ROIs without.

    images: (batch, S, S) uint8, S >= size_px. points_px: (batch, M, 2) in pixels of these. Returns float
    images in [0, 1], (batch, 1, size_px, size_px), and the points in pixels of those. Outside of the pictures
    is black.
    """
    draw = Draw(len(images), generator)
    matrices = sample_homographies(draw, size_px, images.shape[-1], ranges)
    warped = warp(images.unsqueeze(1).float() / 255, matrices, size_px)
    return texture(warped, ranges, draw), transform_points(matrices.to(points_px.device), points_px)


def sample_homographies(draw: Draw, size_px: int, source_px: int, ranges: Augmentation) -> torch.Tensor:
    """(batch, 3, 3) matrices from source pixels to ROI pixels; with no range at all, the central cut-out."""
    active = draw.happens(ranges.geometry_p)
    bent = active & draw.happens(ranges.homography_p)
    angle = where(bent, draw.uniform(-ranges.rotation_degrees, ranges.rotation_degrees), 0) * math.pi / 180
    scale = where(bent, draw.uniform(*ranges.scale), 1)
    scale = scale * where(active & draw.happens(ranges.zoom_p), draw.uniform(*ranges.zoom), 1)
    shear = where(bent, draw.uniform(-ranges.shear, ranges.shear), 0)
    mirror = where(active & draw.happens(ranges.flip_p), -torch.ones(draw.count), 1)
    matrices = torch.zeros(draw.count, 3, 3)
    matrices[:, 0, 0] = scale * torch.cos(angle) * mirror
    matrices[:, 0, 1] = scale * (shear * torch.cos(angle) - torch.sin(angle))
    matrices[:, 1, 0] = scale * torch.sin(angle) * mirror
    matrices[:, 1, 1] = scale * (shear * torch.sin(angle) + torch.cos(angle))
    for column in (0, 1):
        matrices[:, 2, column] = where(bent, draw.uniform(*ranges.tilt), 0) / size_px
    matrices[:, 2, 2] = 1
    to_centre, from_centre = torch.eye(3).repeat(draw.count, 1, 1), torch.eye(3).repeat(draw.count, 1, 1)
    to_centre[:, :2, 2] = -(source_px - 1) / 2
    for row in (0, 1):
        from_centre[:, row, 2] = (size_px - 1) / 2 + draw.uniform(-ranges.shift, ranges.shift) * size_px
    return from_centre @ matrices @ to_centre


def where(condition: torch.Tensor, drawn: torch.Tensor, otherwise: float) -> torch.Tensor:
    return torch.where(condition, drawn, torch.full_like(drawn, otherwise))


def transform_points(matrices: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(batch, M, 2) points through (batch, 3, 3) homographies; NaN stays NaN."""
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=2) @ matrices.transpose(1, 2)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def warp(images: torch.Tensor, matrices: torch.Tensor, size_px: int) -> torch.Tensor:
    """Sample (batch, 1, S, S) images under homographies from source to output pixels, black outside."""
    steps = torch.arange(size_px, device=images.device, dtype=torch.float32)
    by_column, by_row, constant = torch.linalg.inv(matrices).to(images.device).unsqueeze(3).unbind(dim=2)
    seen = (by_column * steps).unsqueeze(2) + (by_row * steps + constant).unsqueeze(3)
    depth = seen[:, 2:]
    places = (
        (seen[:, :2] * (2 / ((images.shape[-1] - 1) * depth.clamp(min=1e-3))))
        .sub_(1)
        .masked_fill_(depth <= 1e-3, -2)
    )
    return F.grid_sample(images, places.permute(0, 2, 3, 1), align_corners=True)


def texture(images: torch.Tensor, ranges: Augmentation, draw: Draw) -> torch.Tensor:
    """One texture for some of the images, then gamma, gain and offset; values stay in [0, 1]."""
    if ranges.sharpen_p:
        images = sharpened(images, ranges, draw)
    kinds = torch.randint(len(TEXTURES), (draw.count,), generator=draw.generator)
    kinds[~draw.happens(ranges.texture_p)] = -1
    strength = draw.uniform(0, 1)
    for number, apply in enumerate(TEXTURES.values()):
        chosen = (kinds == number).nonzero().flatten()
        if len(chosen):
            images[chosen] = apply(images[chosen], strength[chosen], ranges, draw.generator)
    gamma = where(draw.happens(ranges.gamma_p), torch.exp(draw.uniform(*map(math.log, ranges.gamma))), 1)
    gain, offset = 1 + draw.uniform(-ranges.gain, ranges.gain), 0.5 * draw.uniform(-ranges.gain, ranges.gain)
    gamma, gain, offset = (value.view(-1, 1, 1, 1).to(images.device) for value in (gamma, gain, offset))
    images = (images.clamp(0, 1) ** gamma * gain + offset).clamp(0, 1)
    return cluttered(images, draw.happens(ranges.clutter_p), draw) if ranges.clutter_p else images


def sharpened(images: torch.Tensor, ranges: Augmentation, draw: Draw) -> torch.Tensor:
    """Edges enhanced by an unsharp mask in some of the images, as viewers and machines do."""
    amount = where(draw.happens(ranges.sharpen_p), draw.uniform(0, ranges.sharpen), 0)
    smooth = gaussian_blur(
        images, torch.ones(draw.count), replace(ranges, blur_px=(2.0, 2.0)), draw.generator
    )
    return (images + amount.view(-1, 1, 1, 1).to(images.device) * (images - smooth)).clamp(0, 1)


def cluttered(images: torch.Tensor, chosen: torch.Tensor, draw: Draw) -> torch.Tensor:
    """A border along one side (the collimator's leaf) and a thin bar (burnt-in text), each black or white, in
    the chosen images."""
    size = images.shape[-1]
    numbers = torch.rand(draw.count, 6, generator=draw.generator).tolist()
    for index in chosen.nonzero().flatten().tolist():
        side, depth, bright, x, y, length = numbers[index]
        edge, picture = int(0.12 * depth * size), images[index, 0] if side < 0.5 else images[index, 0].T
        border = picture[:edge] if side % 0.5 < 0.25 else picture[size - edge :]
        border.fill_(float(bright > 0.5))
        row, column = int(0.94 * y * size), int(0.7 * x * size)
        bar = images[index, 0, row : row + max(size // 32, 1), column : column + int(0.3 * length * size)]
        bar.fill_(float(bright < 0.7))
    return images


def device_generator(device: torch.device, generator: torch.Generator) -> torch.Generator | None:
    """The generator itself on its own device; elsewhere one seeded from it there, so no noise travels."""
    if device == generator.device:
        return generator
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return None if device.type == "meta" else torch.Generator(device).manual_seed(seed)


def gaussian_noise(
    images: torch.Tensor, strength: torch.Tensor, ranges: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    noise = torch.randn(
        images.shape, device=images.device, generator=device_generator(images.device, generator)
    )
    return images + noise * (ranges.noise * strength.view(-1, 1, 1, 1).to(images.device))


def salt_and_pepper(
    images: torch.Tensor, strength: torch.Tensor, ranges: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    chance = torch.rand(
        images.shape, device=images.device, generator=device_generator(images.device, generator)
    )
    share = (ranges.salt_pepper * strength).view(-1, 1, 1, 1).to(images.device)
    return torch.where(
        chance < share / 2,
        torch.zeros_like(images),
        torch.where(chance < share, torch.ones_like(images), images),
    )


def gaussian_blur(
    images: torch.Tensor, strength: torch.Tensor, ranges: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    low, high = ranges.blur_px
    sigma = (low + (high - low) * strength).view(-1, 1).to(images.device)
    kernel = torch.softmax(-torch.arange(-3.0, 4.0, device=images.device).square() / (2 * sigma**2), dim=1)
    for axis in (3, 2):
        terms = (
            weight.view(-1, 1, 1, 1) * shifted
            for weight, shifted in zip(kernel.unbind(dim=1), around(images, axis, 3))
        )
        images = cast(torch.Tensor, sum(terms))
    return images


def median_blur(
    images: torch.Tensor, strength: torch.Tensor, ranges: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """The median of 3 x 3 pixels, by comparing whole pictures: each column is sorted, then the columns'
    least, middle and greatest across."""
    low, middle, high = sort_three(around(images, 2))
    greatest_low, median_middle, least_high = (
        sort_three(around(low, 3))[2],
        sort_three(around(middle, 3))[1],
        sort_three(around(high, 3))[0],
    )
    return sort_three((greatest_low, median_middle, least_high))[1]


def around(images: torch.Tensor, axis: int, reach: int = 1) -> list[torch.Tensor]:
    """2 reach + 1 pictures: each pixel's neighbours along this axis, from `reach` before to `reach` after it,
    itself among them; the edge is repeated."""
    edges = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    padded, length = F.pad(images, edges, mode="replicate"), images.shape[axis]
    return [padded.narrow(axis, start, length) for start in range(2 * reach + 1)]


def sort_three(pictures: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(least, middle, greatest) of three pictures, pixel by pixel."""
    first, second, third = pictures
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return (
        torch.minimum(low, third),
        torch.maximum(low, torch.minimum(high, third)),
        torch.maximum(high, third),
    )


TEXTURES = {
    "gaussian noise": gaussian_noise,
    "salt and pepper": salt_and_pepper,
    "gaussian blur": gaussian_blur,
    "median blur": median_blur,
}


def cut_out(
    images: torch.Tensor, side_share: float, generator: torch.Generator, probability: float = 0.5
) -> torch.Tensor:
    """Blacken a square of `side_share` of the side in this share of the images (section 4.4, "CutOut")."""
    size = images.shape[-1]
    side = int(side_share * size)
    hit = torch.rand(len(images), generator=generator) < probability
    corners = (torch.rand(len(images), 2, generator=generator) * (size - side + 1)).long()
    for index in hit.nonzero().flatten().tolist():
        x, y = corners[index].tolist()
        images[index, :, y : y + side, x : x + side] = 0
    return images


def jitter(points: torch.Tensor, amount: float, generator: torch.Generator) -> torch.Tensor:
    """Points plus uniform noise of +- `amount`, in the points' own unit (section 4.4, "Target Jitter")."""
    return points + amount * (
        2
        * torch.rand(points.shape, device=points.device, generator=device_generator(points.device, generator))
        - 1
    )
