from dataclasses import replace

import numpy as np
import pytest
import torch

from kneel_lib.errors import KneelError
from kneel_lib.network.hourglass import (
    PAPER,
    RELEASED,
    Architecture,
    Hourglass,
    check_image_size,
    count_parameters,
    deepest,
    map_deviation,
    soft_argmax,
)

TINY = Architecture(width=4, depth=2)


@pytest.mark.parametrize(
    "architecture, millions",
    [(PAPER, 2.568568), (RELEASED, 4.249792), (replace(PAPER, block="bottleneck"), 1.382320)],
)
def test_parameter_counts(architecture, millions):
    assert count_parameters(Hourglass(architecture)) == round(millions * 1e6)


def test_paper_block_has_the_channels_of_figure_3():
    block = Hourglass(PAPER).hourglass.before[1]
    assert [unit[-1].weight.shape[:2] for unit in (block.scale1, block.scale2, block.scale3)] == [
        (48, 96),
        (24, 48),
        (24, 24),
    ]


def test_paper_block_computes_figure_3b():
    """Written out: batch norm, ReLU and a 3x3 convolution, three times in a row; joined, plus the input."""
    torch.manual_seed(0)
    block = Hourglass(TINY).hourglass.before[1]
    weights = [unit[-1].weight for unit in (block.scale1, block.scale2, block.scale3)]
    features = torch.randn(3, 16, 6, 5)
    maps, scales, before = features, [], features.clone()
    for weight in weights:
        mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), correction=0, keepdim=True)
        normal = ((maps - mean) / (variance + 1e-5).sqrt()).clamp(min=0)
        maps = torch.nn.functional.conv2d(normal, weight, padding=1)
        scales.append(maps)
    assert torch.allclose(block(features), torch.cat(scales, dim=1) + features, atol=1e-5)
    assert torch.equal(features, before), "the skip connection reads the input itself"


def test_released_network_has_no_1x1_convolution_but_the_last():
    kernels = [
        module.kernel_size for module in Hourglass(RELEASED).modules() if isinstance(module, torch.nn.Conv2d)
    ]
    assert kernels.count((1, 1)) == 1


@pytest.mark.parametrize(
    "architecture", [TINY, replace(TINY, block="bottleneck"), replace(RELEASED, width=4, depth=2)]
)
@pytest.mark.parametrize("shape", [(64, 64), (50, 70), (33, 33)])
def test_shapes_for_any_input_size(architecture, shape):
    model = Hourglass(architecture).eval()
    images = torch.rand(2, 1, *shape)
    assert model(images).shape == (2, 16, 2)
    assert model.maps(images).shape == (2, 16, (shape[0] + 1) // 2 // 2, (shape[1] + 1) // 2 // 2)


def test_paper_network_takes_the_papers_input():
    with torch.no_grad():
        assert Hourglass(replace(PAPER, width=4)).eval()(torch.rand(1, 1, 450, 450)).shape == (1, 16, 2)


@pytest.mark.parametrize("side", range(8, 120, 3))
def test_deepest_is_the_deepest_that_runs(side):
    depth = deepest(side)
    if depth:
        Hourglass(Architecture(width=2, depth=depth)).eval()(torch.rand(1, 1, side, side))
    with pytest.raises(KneelError, match=f"{side} x {side} pixels is too small .* depth {depth + 1}"):
        check_image_size((side, side), depth + 1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"block": "dense"}, "unknown residual block 'dense'"),
        ({"upsampling": "cubic"}, "up-sampling"),
        ({"depth": 0}, "depth is 0"),
        ({"width": 5}, "must be even"),
    ],
)
def test_architectures_that_cannot_be(changes, message):
    with pytest.raises(KneelError, match=message):
        Hourglass(replace(TINY, **changes))


def test_soft_argmax_by_hand():
    maps = torch.zeros(1, 1, 2, 4)
    maps[0, 0, 1, 2] = 1.0
    peak = np.exp(2.0) / (np.exp(2.0) + 7)
    other = 1 / (np.exp(2.0) + 7)
    x = peak * 2 / 4 + other * (0 + 1 / 4 + 2 / 4 + 3 / 4 + 0 + 1 / 4 + 3 / 4)
    y = peak * 1 / 2 + other * (3 * 1 / 2)
    assert soft_argmax(maps, beta=2.0)[0, 0].tolist() == pytest.approx([x, y], abs=1e-6)


def test_soft_argmax_of_a_sharp_peak_is_its_cell():
    maps = torch.zeros(1, 2, 48, 48)
    maps[0, 0, 10, 30], maps[0, 1, 47, 0] = 1e3, 1e3
    assert torch.allclose(soft_argmax(maps)[0], torch.tensor([[30 / 48, 10 / 48], [0.0, 47 / 48]]))


def test_soft_argmax_moves_with_bf16_maps_as_with_float():
    maps = torch.randn(2, 3, 20, 20)
    assert torch.allclose(soft_argmax(maps.bfloat16()), soft_argmax(maps.bfloat16().float()))


def test_gradients_are_finite_in_bf16():
    torch.manual_seed(0)
    model = Hourglass(TINY).to(memory_format=torch.channels_last)
    images = torch.randn(4, 1, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model.maps(images)
    assert maps.dtype == torch.bfloat16
    soft_argmax(maps).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("architecture", [PAPER, RELEASED])
def test_weights_keep_the_names_that_recorded_networks_have(architecture):
    names = Hourglass(replace(architecture, width=4, depth=2)).state_dict()
    first, second = ("0", "2") if architecture.norm_first else ("1", "0")
    assert {
        f"hourglass.before.0.scale1.{first}.running_var",
        f"hourglass.before.0.scale1.{second}.weight",
        "entry.1.bias",
        "entry.3.scale1.0.weight",
        "mixer.6.bias",
    } <= set(names)


def test_a_map_of_one_peak_deviates_little_and_a_flat_one_as_a_uniform_place_does():
    maps = torch.zeros(1, 2, 48, 64)
    maps[0, 0, 10, 50] = 60.0
    peak, flat = map_deviation(maps)[0].tolist()
    assert peak < 1e-3 and flat == pytest.approx((2 / 12) ** 0.5, rel=1e-3)


def test_two_peaks_deviate_by_half_of_their_distance():
    maps = torch.full((2, 1, 64, 64), -60.0)
    maps[0, 0, 20, [16, 48]] = 0.0
    maps[1, 0, [16, 48], 20] = 0.0
    assert map_deviation(maps).flatten().tolist() == pytest.approx([0.25, 0.25], abs=1e-4)


def test_a_greater_beta_makes_a_map_sharper():
    maps = torch.zeros(1, 1, 32, 32)
    maps[0, 0, 14:17, 14:17] = 3.0
    weak, plain, strong = (map_deviation(maps, beta).item() for beta in (0.0, 1.0, 4.0))
    assert strong < 0.06 < plain < weak == pytest.approx((2 / 12) ** 0.5, rel=1e-2)
