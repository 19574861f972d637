"""The network of the paper: entry block, hourglass, output block, soft-argmax (section 3.1, Fig. 3 and 4).

`PAPER` follows the text and the figures, `RELEASED` the public code, which differs from it; each difference
is a field of `Architecture`, so that any mixture can be built and tried. Images are `(batch, 1, H, W)`;
landmarks come out as `(batch, M, 2)`, x before y, in normalised coordinates: 0 is the centre of the first
pixel, 1 the image's side later (pixel = coordinate * side).

ReLU works in place, on what batch norm has just made: no skip connection reads that.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from kneel_lib.errors import KneelError, find


@dataclass(frozen=True)
class Architecture:
    """What can differ between networks. `width` is the paper's N, `depth` its d, `landmarks` its M."""

    width: int = 24
    depth: int = 6
    landmarks: int = 16
    block: str = "hmp"
    beta: float = 1.0
    dropout: float = 0.25
    pointwise_kernel: int = 1
    norm_first: bool = True
    upsampling: str = "nearest"
    widen_levels: bool = False


PAPER = Architecture()
RELEASED = Architecture(
    depth=4, pointwise_kernel=3, norm_first=False, upsampling="bilinear", widen_levels=True
)


def convolution_unit(
    inputs: int, outputs: int, kernel: int, norm_first: bool, activate: bool = True
) -> nn.Sequential:
    """Batch norm, ReLU and a same-size convolution, in this order (paper) or convolution first (released).

    `activate=False` leaves the ReLU out of the convolution-first unit.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm_first)
    if norm_first:
        return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution)
    activation = [nn.ReLU(inplace=True)] if activate else []
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), *activation)


def skip_connection(inputs: int, outputs: int, architecture: Architecture) -> nn.Module:
    """The identity, or a 1x1 convolution where the number of feature maps changes (caption of Fig. 3)."""
    if inputs == outputs:
        return nn.Identity()
    if architecture.norm_first:
        return nn.Conv2d(inputs, outputs, 1)
    return convolution_unit(inputs, outputs, architecture.pointwise_kernel, norm_first=False, activate=False)


class Bottleneck(nn.Module):
    """Fig. 3a: 1x1 down to m/2, 3x3 at m/2, 1x1 up to m, plus the skip connection."""

    def __init__(self, inputs: int, outputs: int, architecture: Architecture) -> None:
        super().__init__()
        half, point, norm_first = outputs // 2, architecture.pointwise_kernel, architecture.norm_first
        self.reduce = convolution_unit(inputs, half, point, norm_first)
        self.transform = convolution_unit(half, half, 3, norm_first)
        self.expand = convolution_unit(half, outputs, point, norm_first, activate=False)
        self.skip = skip_connection(inputs, outputs, architecture)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.expand(self.transform(self.reduce(features))) + self.skip(features)


class HierarchicalMultiScale(nn.Module):
    """Fig. 3b (HMP): 3x3 convolutions in a row give m/2, m/4 and m/4 maps, concatenated, plus the skip."""

    def __init__(self, inputs: int, outputs: int, architecture: Architecture) -> None:
        super().__init__()
        half, quarter, norm_first = outputs // 2, outputs // 4, architecture.norm_first
        self.scale1 = convolution_unit(inputs, half, 3, norm_first)
        self.scale2 = convolution_unit(half, quarter, 3, norm_first)
        self.scale3 = convolution_unit(quarter, outputs - half - quarter, 3, norm_first, activate=False)
        self.skip = skip_connection(inputs, outputs, architecture)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        scale1 = self.scale1(features)
        scale2 = self.scale2(scale1)
        scale3 = self.scale3(scale2)
        return torch.cat([scale1, scale2, scale3], dim=1) + self.skip(features)


BLOCKS = {"hmp": HierarchicalMultiScale, "bottleneck": Bottleneck}


class HourglassLevel(nn.Module):
    """One level of Fig. 4: pool, three blocks, the next level or a block, one block, up; three beside it."""

    def __init__(self, level: int, inputs: int, architecture: Architecture) -> None:
        super().__init__()
        block = BLOCKS[architecture.block]
        inner = 4 * architecture.width
        outputs = 2 * inner if architecture.widen_levels else inner
        self.upsampling = architecture.upsampling
        self.pool = nn.MaxPool2d(2)
        self.before = nn.Sequential(*[block(n, inner, architecture) for n in (inputs, inner, inner)])
        if level > 1:
            self.inside: nn.Module = HourglassLevel(level - 1, inner, architecture)
        else:
            self.inside = block(inner, outputs, architecture)
        self.after = block(outputs, outputs, architecture)
        beside = [(inputs, inner), (inner, inner), (inner, outputs)]
        self.beside = nn.Sequential(*[block(n, m, architecture) for n, m in beside])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        below = self.after(self.inside(self.before(self.pool(features))))
        corners = True if self.upsampling == "bilinear" else None
        above = F.interpolate(below, features.shape[-2:], mode=self.upsampling, align_corners=corners)
        return self.beside(features) + above


def soft_argmax(maps: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Expected position under the spatial softmax, equations 1 to 3.

    `maps` is `(batch, M, H, W)` of any real type; returns `(batch, M, 2)` float32 (x, y) with the paper's
    weights i / W and j / H. The sums run in float32 whatever the maps' type: bf16 would round coordinates to
    0.4 %.
    """
    batch, landmarks, height, width = maps.shape
    probability = torch.softmax(beta * maps.float().flatten(2), dim=2).view(batch, landmarks, height, width)
    x = probability.sum(dim=2) @ (torch.arange(width, device=maps.device, dtype=torch.float32) / width)
    y = probability.sum(dim=3) @ (torch.arange(height, device=maps.device, dtype=torch.float32) / height)
    return torch.stack([x, y], dim=2)


def map_deviation(maps: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Standard deviation of the position under the spatial softmax, both axes together, as a share of the
    side: (batch, M) float32. A map that is one sharp peak has little; one that hesitates has much."""
    _, _, height, width = maps.shape
    probability = torch.softmax(beta * maps.float().flatten(2), dim=2).view(maps.shape)
    total = torch.zeros(maps.shape[:2], device=maps.device)
    for sums, length in ((probability.sum(dim=2), width), (probability.sum(dim=3), height)):
        steps = torch.arange(length, device=maps.device, dtype=torch.float32) / length
        mean = sums @ steps
        total = total + (sums * (steps - mean.unsqueeze(2)).square()).sum(dim=2)
    return total.sqrt()


class Hourglass(nn.Module):
    """The whole network of Fig. 4; `forward` gives coordinates, `maps` what the soft-argmax takes."""

    def __init__(self, architecture: Architecture = PAPER) -> None:
        super().__init__()
        check_architecture(architecture)
        self.architecture = architecture
        block, width = BLOCKS[architecture.block], architecture.width
        inner = 4 * width
        out = 2 * inner if architecture.widen_levels else inner
        self.entry = nn.Sequential(
            nn.Conv2d(1, width, 7, stride=2, padding=3),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            block(width, 2 * width, architecture),
            nn.MaxPool2d(2),
            block(2 * width, 2 * width, architecture),
            block(2 * width, 2 * width, architecture),
            block(2 * width, inner, architecture),
        )
        self.hourglass = HourglassLevel(architecture.depth, inner, architecture)
        self.mixer = nn.Sequential(*mixer_unit(out, out, architecture), *mixer_unit(out, inner, architecture))
        self.output = nn.Conv2d(inner, architecture.landmarks, 1)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Landmark maps `(batch, M, H // 4, W // 4)` of `(batch, 1, H, W)`; `KneelError` if too small."""
        check_image_size(images.shape[-2:], self.architecture.depth)
        return self.output(self.mixer(self.hourglass(self.entry(images))))

    def coordinates(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalised coordinates `(batch, M, 2)` of maps."""
        return soft_argmax(maps, self.architecture.beta)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.coordinates(self.maps(images))


def mixer_unit(inputs: int, outputs: int, architecture: Architecture) -> tuple[nn.Module, ...]:
    """The output block's unit: dropout, convolution, batch norm, ReLU (section 3.1, "Output block")."""
    kernel = architecture.pointwise_kernel
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    norm, activation = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    return nn.Dropout2d(architecture.dropout), convolution, norm, activation


def check_architecture(architecture: Architecture) -> None:
    """Raise `KneelError` for a block that is not there or a size that cannot be built."""
    find(architecture.block, BLOCKS, "residual block")
    find(architecture.upsampling, ("nearest", "bilinear"), "up-sampling")
    for name in ("width", "depth", "landmarks"):
        if getattr(architecture, name) < 1:
            raise KneelError(f"the network's {name} is {getattr(architecture, name)}: it must be 1 or more")
    if architecture.width % 2:
        raise KneelError(
            f"the network's width is {architecture.width}: it must be even (blocks split it in quarters)"
        )


def deepest(size: int) -> int:
    """The largest depth that fits: how often the hourglass can pool an image of this side (pixels)."""
    cells = ((size + 1) // 2) // 2
    return max(cells.bit_length() - 1, 0)


def check_image_size(shape: Sequence[int], depth: int) -> None:
    """Raise `KneelError` if an image of `shape` (H, W in pixels) is gone before the hourglass' level
    `depth`."""
    side = min(shape)
    if deepest(side) < depth:
        raise KneelError(
            f"an image of {shape[1]} x {shape[0]} pixels is too small for an hourglass of depth {depth}: use "
            f"depth {deepest(side)} or less, or a side of {4 * 2**depth} pixels or more"
        )


def count_parameters(model: nn.Module) -> int:
    """The number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def describe_block(block: nn.Module) -> list[tuple[int, int, int]]:
    """[(kernel, inputs, outputs)] of a residual block's convolutions but the skip's: the rows of Fig. 3."""
    return [
        (module.kernel_size[0], module.in_channels, module.out_channels)
        for name, module in block.named_modules()
        if isinstance(module, nn.Conv2d) and not name.startswith("skip")
    ]


def describe_stages(model: Hourglass, side: int) -> list[tuple[str, int, int]]:
    """[(name, channels, side)] of the maps that an image of this side passes through: the bars of Fig. 4.

    Computed by running the model on the meta device: shapes only, no numbers.
    """
    stages: list[tuple[str, int, int]] = []
    hooks: list[Any] = []
    model = deepcopy(model).to("meta").eval()

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: stages.append((name, output.shape[1], output.shape[-1]))

    named = {"entry 7x7": model.entry[2], "entry": model.entry, "mixer": model.mixer, "maps": model.output}
    level: Any = model.hourglass
    number = 1
    while isinstance(level, HourglassLevel):
        named |= {f"down {number}": level.before, f"up {number}": level}
        deepest_block, level, number = level.inside, level.inside, number + 1
    named["bottom"] = deepest_block
    for name, module in named.items():
        hooks.append(module.register_forward_hook(note(name)))
    with torch.device("meta"):
        model.maps(torch.empty(1, 1, side, side))
    for hook in hooks:
        hook.remove()
    return stages
