"""Layers that go together: batch norm and ReLU in one go, for the training of a process that has one core, and the joining of scales.

They are what stood between the convolutions and the machine's limit.

By themselves batch norm and ReLU walk over a layer's maps five times on the way forward and eight times on the way back, and at 450 px these walks wait for memory.
Here it is three and five: for the moments (one), and for the result. The mask of the ReLU is not kept but seen again from the input. Moments are summed in float32
over blocks of rows and in float64 over blocks, maps are bf16 as autocast makes them, so the numbers are those of torch up to rounding (tested). Joining the scales
of a block has torch's numbers to the bit, and gradients that are quicker to go on with.

Maps of (batch, C, H, W) in channels_last are seen as rows: (batch * H * W, C). A bf16 number is the upper half of the float32 with the same value.
"""

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import nn
from torch.nn import functional as F

from kneel_lib import computing

BLOCK = 64
"""Rows that are summed in float32 before they are added to a float64 sum."""


class NormReLU(nn.BatchNorm2d):
    """Batch norm, then ReLU: `nn.BatchNorm2d` and `nn.ReLU` in numbers, parameters and names; fused in training on one core in bf16."""

    def forward(self, maps):
        return self.with_maps(maps)[0]

    def with_maps(self, maps):
        """(the outcome, the maps): whoever else reads the maps should read these, and the two gradients are added in passing on the way back."""
        if self.training and can_fuse(maps):
            self.num_batches_tracked.add_(1)
            return FusedNormReLU.apply(maps, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps)
        return F.relu_(super().forward(maps)), maps


def can_fuse(maps):
    """Whether `FusedNormReLU` takes these maps: bf16 on a processor, channels last, more than one row, one thread."""
    return (not torch.compiler.is_compiling() and computing.current().fused_norm and torch.get_num_threads() == 1 and maps.dtype == torch.bfloat16
            and maps.device.type == "cpu" and maps.numel() > maps.shape[1] and maps.permute(0, 2, 3, 1).is_contiguous())


def join(parts, skip):
    """The parts side by side plus the skip connection; with gradients, by way of `Join` (unless `computing` says otherwise)."""
    if not torch.compiler.is_compiling() and torch.is_grad_enabled() and computing.current().own_gradients:
        return Join.apply(skip, *parts)
    return torch.cat(parts, dim=1).add_(skip)


class Join(torch.autograd.Function):
    """`join`, with each part's gradient laid out on its own: autograd's, a slice of the whole, takes twice as long to be added to and convolved."""

    @staticmethod
    def forward(context, skip, *parts):
        context.channels = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1).add_(skip)

    @staticmethod
    def backward(context, gradient):
        layout = torch.channels_last if gradient.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return gradient, *(part.contiguous(memory_format=layout) for part in gradient.split(context.channels, dim=1))


class FusedNormReLU(torch.autograd.Function):
    """(ReLU of batch norm with the batch's own moments, the maps as they are); moves the running moments by `momentum`."""

    @staticmethod
    def forward(context, maps, weight, bias, running_mean, running_var, momentum, eps):
        output, line = torch.empty_like(maps), np.empty((LINE, maps.shape[1]), np.float32)
        forward_pass(as_bits(maps), *(tensor.detach().numpy() for tensor in (weight, bias, running_mean, running_var)), momentum, eps, line, as_bits(output))
        context.save_for_backward(maps)
        context.line = line
        context.set_materialize_grads(False)
        return output, maps

    @staticmethod
    def backward(context, gradient, others):
        """others: the gradient of the maps from elsewhere, or None."""
        maps, = context.saved_tensors
        if gradient is None:
            return others, *[None] * 6
        result, own = torch.empty_like(maps), torch.empty(2, maps.shape[1])
        gradient, elsewhere = (part.contiguous(memory_format=torch.channels_last) for part in (gradient, gradient if others is None else others))
        backward_pass(as_bits(gradient), as_bits(maps), as_bits(elsewhere), others is not None, context.line, own.numpy(), as_bits(result))
        return result, *own, None, None, None, None


LINE = 4
"""What the way back needs of each channel: scale and shift of the way forward, mean, 1 / standard deviation."""


def as_bits(maps):
    """The bits of channels-last bf16 maps (batch, C, H, W), as (batch, H, W, C) uint16 without a copy."""
    return maps.detach().permute(0, 2, 3, 1).view(torch.uint16).numpy()


def bitcast(source, target, llvm):
    """A numba function that reads the bits of a `source` as a `target`."""
    @intrinsic
    def cast(context, value):
        return target(source), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], llvm)
    return cast


float_from_bits, bits_from_float = bitcast(types.uint32, types.float32, ir.FloatType()), bitcast(types.float32, types.uint32, ir.IntType(32))


@njit(inline="always")
def widen(bits):
    """bf16 to float32."""
    return float_from_bits(np.uint32(np.uint32(bits) << np.uint32(16)))


@njit(inline="always")
def narrow(value):
    """float32 to bf16, to the nearest, ties to even."""
    bits = bits_from_float(value)
    return np.uint16((bits + np.uint32(0x7fff) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@njit(inline="always")
def passed(gradient, value, scale, shift):
    """The gradient before the ReLU, which cut it where the line is not above 0."""
    return widen(gradient) if value * scale + shift > 0 else np.float32(0)


@njit(inline="always")
def partner(row, count):
    """(the next row, 1), or behind the last one (that one, 0): rows are summed two at a time, which halves the walks over the sums."""
    return min(row + 1, count - 1), np.float32(row + 1 < count)


@njit(cache=True, nogil=True, fastmath=True)
def forward_pass(maps, weight, bias, running_mean, running_var, momentum, eps, line, output):
    """output = max(scale x + shift, 0) of the maps' bits; fills `line` (LINE, C) and moves the running moments."""
    channels = maps.shape[3]
    rows, results = maps.reshape(-1, channels), output.reshape(-1, channels)
    count = len(rows)
    total, square = np.zeros(channels), np.zeros(channels)
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(0, count, BLOCK):
        first[:], second[:] = 0, 0
        for row in range(start, min(start + BLOCK, count), 2):
            other, there = partner(row, count)
            for c in range(channels):
                value, beside = widen(rows[row, c]), there * widen(rows[other, c])
                first[c] += value + beside
                second[c] += value * value + beside * beside
        total += first
        square += second
    mean = total / count
    variance = np.maximum(square / count - mean ** 2, 0)
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (variance * count / (count - 1) - running_var)
    inverse = 1 / np.sqrt(variance + eps)
    line[0], line[1], line[2], line[3] = weight * inverse, bias - mean * weight * inverse, mean, inverse
    scale, shift = line[0], line[1]
    for row in range(count):
        for c in range(channels):
            results[row, c] = narrow(max(widen(rows[row, c]) * scale[c] + shift[c], np.float32(0)))


@njit(cache=True, nogil=True, fastmath=True)
def backward_pass(gradient, maps, elsewhere, added, line, own, output):
    """The maps' gradient (bits, to `output`) and that of weight and bias (to `own`, (2, C)) from the gradient's bits behind the ReLU.

    elsewhere: bits of another gradient of the maps, which is added if `added` says so.
    """
    channels = maps.shape[3]
    upstream, rows, others, results = gradient.reshape(-1, channels), maps.reshape(-1, channels), elsewhere.reshape(-1, channels), output.reshape(-1, channels)
    count = len(rows)
    scale, shift, mean, inverse = line[0], line[1], line[2], line[3]
    total, product = np.zeros(channels), np.zeros(channels)
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(0, count, BLOCK):
        first[:], second[:] = 0, 0
        for row in range(start, min(start + BLOCK, count), 2):
            other, there = partner(row, count)
            for c in range(channels):
                value, beside = widen(rows[row, c]), widen(rows[other, c])
                slope, tilted = passed(upstream[row, c], value, scale[c], shift[c]), there * passed(upstream[other, c], beside, scale[c], shift[c])
                first[c] += slope + tilted
                second[c] += slope * (value - mean[c]) + tilted * (beside - mean[c])
        total += first
        product += second
    own[0], own[1] = product * inverse, total
    tilt = (scale * inverse ** 2 * product / count).astype(np.float32)
    offset = (scale * total / count).astype(np.float32) - mean * tilt
    for row in range(count):
        if added:
            for c in range(channels):
                value = widen(rows[row, c])
                results[row, c] = narrow(scale[c] * passed(upstream[row, c], value, scale[c], shift[c]) - tilt[c] * value - offset[c] + widen(others[row, c]))
        else:
            for c in range(channels):
                value = widen(rows[row, c])
                results[row, c] = narrow(scale[c] * passed(upstream[row, c], value, scale[c], shift[c]) - tilt[c] * value - offset[c])
