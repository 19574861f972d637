"""The network of the paper: entry block, hourglass, output block, soft-argmax (section 3.1, Fig. 3 and 4).

`PAPER` follows the text and the figures, `RELEASED` the public code, which differs from it; each difference is a
field of `Architecture`, so that any mixture can be built and tried. Images are `(batch, 1, H, W)`; landmarks come out
as `(batch, M, 2)`, x before y, in normalised coordinates: 0 is the centre of the first pixel, 1 the image's side
later (pixel = coordinate * side).

ReLU and sums work in place: nobody reads what they overwrite, and half of the network's time outside of convolutions is
spent on moving memory. Batch norm and the ReLU behind it are one module, and so are the joining of
scales and their skip connection (`fused`), for the same reason.
"""

from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from kneel_lib.errors import KneelError
from kneel_lib.fused import NormReLU, join


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
RELEASED = Architecture(depth=4, pointwise_kernel=3, norm_first=False, upsampling="bilinear", widen_levels=True)


def convolution_unit(inputs, outputs, kernel, norm_first, activate=True):
    """Batch norm, ReLU and a same-size convolution: in this order (paper), or convolution first (released code).

    `activate=False` leaves the ReLU out of the convolution-first unit.
    """
    if norm_first:
        return numbered(norm_relu(inputs), [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)])
    return numbered([nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)], norm_relu(outputs) if activate else [nn.BatchNorm2d(outputs)])


def with_input(unit, features):
    """(a unit's outcome, its input): whoever else reads the input takes it from here (`NormReLU.with_maps`)."""
    first, *rest = unit
    if not isinstance(first, NormReLU):
        return unit(features), features
    normed, features = first.with_maps(features)
    for layer in rest:
        normed = layer(normed)
    return normed, features


def norm_relu(channels):
    """Batch norm with its ReLU, and the place that the ReLU would have in a list of layers."""
    return [NormReLU(channels), None]


def numbered(*parts):
    """The layers of all parts one after the other, named by their places; None takes a place and does nothing.

    So weights keep the names that they have where batch norm and ReLU are two layers.
    """
    layers = enumerate(layer for part in parts for layer in part)
    return nn.Sequential(OrderedDict((str(place), layer) for place, layer in layers if layer is not None))


def skip_connection(inputs, outputs, architecture):
    """The identity, or a 1x1 convolution where the number of feature maps changes (caption of Fig. 3)."""
    if inputs == outputs:
        return nn.Identity()
    if architecture.norm_first:
        return nn.Conv2d(inputs, outputs, 1)
    return convolution_unit(inputs, outputs, architecture.pointwise_kernel, norm_first=False, activate=False)


class Bottleneck(nn.Module):
    """Fig. 3a: 1x1 down to m/2, 3x3 at m/2, 1x1 up to m, plus the skip connection."""

    def __init__(self, inputs, outputs, architecture):
        super().__init__()
        half, point, norm_first = outputs // 2, architecture.pointwise_kernel, architecture.norm_first
        self.reduce = convolution_unit(inputs, half, point, norm_first)
        self.transform = convolution_unit(half, half, 3, norm_first)
        self.expand = convolution_unit(half, outputs, point, norm_first, activate=False)
        self.skip = skip_connection(inputs, outputs, architecture)

    def forward(self, features):
        reduced, features = with_input(self.reduce, features)
        return self.expand(self.transform(reduced)).add_(self.skip(features))


class HierarchicalMultiScale(nn.Module):
    """Fig. 3b (HMP): three 3x3 convolutions in a row give m/2, m/4 and m/4 maps, concatenated, plus the skip."""

    def __init__(self, inputs, outputs, architecture):
        super().__init__()
        half, quarter, norm_first = outputs // 2, outputs // 4, architecture.norm_first
        self.scale1 = convolution_unit(inputs, half, 3, norm_first)
        self.scale2 = convolution_unit(half, quarter, 3, norm_first)
        self.scale3 = convolution_unit(quarter, outputs - half - quarter, 3, norm_first, activate=False)
        self.skip = skip_connection(inputs, outputs, architecture)

    def forward(self, features):
        scale1, features = with_input(self.scale1, features)
        scale2, scale1 = with_input(self.scale2, scale1)
        scale3, scale2 = with_input(self.scale3, scale2)
        return join((scale1, scale2, scale3), self.skip(features))


BLOCKS = {"hmp": HierarchicalMultiScale, "bottleneck": Bottleneck}


class HourglassLevel(nn.Module):
    """One level of Fig. 4: pool, three blocks, the next level (or a block), one block, up; three blocks beside it."""

    def __init__(self, level, inputs, architecture):
        super().__init__()
        block = BLOCKS[architecture.block]
        inner = 4 * architecture.width
        outputs = 2 * inner if architecture.widen_levels else inner
        self.upsampling = architecture.upsampling
        self.pool = nn.MaxPool2d(2)
        self.before = nn.Sequential(*[block(n, inner, architecture) for n in (inputs, inner, inner)])
        if level > 1:
            self.inside = HourglassLevel(level - 1, inner, architecture)
        else:
            self.inside = block(inner, outputs, architecture)
        self.after = block(outputs, outputs, architecture)
        beside = [(inputs, inner), (inner, inner), (inner, outputs)]
        self.beside = nn.Sequential(*[block(n, m, architecture) for n, m in beside])

    def forward(self, features):
        below = self.after(self.inside(self.before(self.pool(features))))
        corners = True if self.upsampling == "bilinear" else None
        above = F.interpolate(below, features.shape[-2:], mode=self.upsampling, align_corners=corners)
        return self.beside(features).add_(above)


def soft_argmax(maps, beta=1.0):
    """Expected position under the spatial softmax, equations 1 to 3.

    `maps` is `(batch, M, H, W)` of any real type; returns `(batch, M, 2)` float32 (x, y) with the paper's weights
    i / W and j / H. The sums run in float32 whatever the maps' type: bf16 would round coordinates to 0.4 %.
    """
    batch, landmarks, height, width = maps.shape
    probability = torch.softmax(beta * maps.float().flatten(2), dim=2).view(batch, landmarks, height, width)
    x = probability.sum(dim=2) @ (torch.arange(width, device=maps.device, dtype=torch.float32) / width)
    y = probability.sum(dim=3) @ (torch.arange(height, device=maps.device, dtype=torch.float32) / height)
    return torch.stack([x, y], dim=2)


class Hourglass(nn.Module):
    """The whole network of Fig. 4; `forward` gives coordinates, `maps` the feature maps before the soft-argmax."""

    def __init__(self, architecture=PAPER):
        super().__init__()
        check_architecture(architecture)
        self.architecture = architecture
        block, width = BLOCKS[architecture.block], architecture.width
        inner = 4 * width
        out = 2 * inner if architecture.widen_levels else inner
        self.entry = numbered(
            [nn.Conv2d(1, width, 7, stride=2, padding=3)], norm_relu(width),
            [block(width, 2 * width, architecture), nn.MaxPool2d(2),
             block(2 * width, 2 * width, architecture), block(2 * width, 2 * width, architecture),
             block(2 * width, inner, architecture)])
        self.hourglass = HourglassLevel(architecture.depth, inner, architecture)
        self.mixer = numbered(mixer_unit(out, out, architecture), mixer_unit(out, inner, architecture))
        self.output = nn.Conv2d(inner, architecture.landmarks, 1)

    def maps(self, images):
        """Landmark maps `(batch, M, H // 4, W // 4)` for `images` `(batch, 1, H, W)`; too small an image is an error."""
        check_image_size(images.shape[-2:], self.architecture.depth)
        return self.output(self.mixer(self.hourglass(self.entry(images))))

    def coordinates(self, maps):
        """Normalised coordinates `(batch, M, 2)` of maps."""
        return soft_argmax(maps, self.architecture.beta)

    def forward(self, images):
        return self.coordinates(self.maps(images))


def mixer_unit(inputs, outputs, architecture):
    """The output block's unit: dropout, convolution, batch norm, ReLU (section 3.1, "Output block")."""
    kernel = architecture.pointwise_kernel
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [nn.Dropout2d(architecture.dropout), convolution, *norm_relu(outputs)]


def check_architecture(architecture):
    """Raise `KneelError` for a block that is not there or a size that cannot be built."""
    if architecture.block not in BLOCKS:
        raise KneelError(f"unknown residual block '{architecture.block}': choose one of {', '.join(BLOCKS)}")
    if architecture.upsampling not in ("nearest", "bilinear"):
        raise KneelError(f"unknown up-sampling '{architecture.upsampling}': choose nearest or bilinear")
    for name in ("width", "depth", "landmarks"):
        if getattr(architecture, name) < 1:
            raise KneelError(f"the network's {name} is {getattr(architecture, name)}: it must be 1 or more")
    if architecture.width % 2:
        raise KneelError(f"the network's width is {architecture.width}: it must be even (blocks split it in quarters)")


def deepest(size):
    """How many times an image of this side (pixels) can be pooled inside the hourglass: the largest depth that fits."""
    cells = ((size + 1) // 2) // 2
    return max(cells.bit_length() - 1, 0)


def check_image_size(shape, depth):
    """Raise `KneelError` if an image of `shape` (H, W in pixels) is gone before level `depth` of the hourglass."""
    side = min(shape)
    if deepest(side) < depth:
        raise KneelError(f"an image of {shape[1]} x {shape[0]} pixels is too small for an hourglass of depth {depth}: use depth "
                         f"{deepest(side)} or less, or a side of {4 * 2 ** depth} pixels or more")


def count_parameters(model):
    """The number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def describe_block(block):
    """[(kernel, inputs, outputs)] of a residual block's convolutions, without the skip connection: the rows of Fig. 3."""
    return [(module.kernel_size[0], module.in_channels, module.out_channels)
            for name, module in block.named_modules() if isinstance(module, nn.Conv2d) and not name.startswith("skip")]


def describe_stages(model, side):
    """[(name, channels, side)] of the maps that an image of this side passes through, in order: the bars of Fig. 4.

    Computed by running the model on the meta device: shapes only, no numbers.
    """
    stages, hooks, model = [], [], deepcopy(model).to("meta").eval()

    def note(name):
        return lambda module, inputs, output: stages.append((name, output.shape[1], output.shape[-1]))
    named = {"entry 7x7": model.entry[1], "entry": model.entry, "mixer": model.mixer, "maps": model.output}
    level, number = model.hourglass, 1
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
