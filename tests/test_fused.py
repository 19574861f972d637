import pytest
import torch
from torch import nn

from kneel_lib import speed
from kneel_lib.computing import computing_in
from kneel_lib.fused import NormReLU, can_fuse, join


@pytest.fixture(autouse=True)
def one_thread():
    with speed.threads_of(1):
        yield


def maps_and_gradient(shape):
    generator = torch.Generator().manual_seed(0)
    maps, gradient = (torch.randn(shape, generator=generator) for _ in range(2))
    return tuple(value.bfloat16().contiguous(memory_format=torch.channels_last) for value in (3 * maps + 1, gradient))


def make_layer(channels):
    layer, generator = NormReLU(channels), torch.Generator().manual_seed(1)
    nn.init.uniform_(layer.weight, 0.5, 1.5, generator)
    nn.init.normal_(layer.bias, generator=generator)
    return layer


def outcome(layer, maps, gradient):
    """Output, the three gradients, and the running moments after one batch."""
    maps = maps.clone(memory_format=torch.preserve_format).requires_grad_()
    output = layer(maps)
    output.backward(gradient)
    return [value.detach() for value in (output, maps.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var)]


def exact(layer, maps, gradient):
    """The same in float64, by torch's own two layers."""
    double = nn.Sequential(nn.BatchNorm2d(maps.shape[1]), nn.ReLU()).double()
    double[0].load_state_dict(layer.state_dict())
    maps = maps.double().requires_grad_()
    output = double(maps)
    output.backward(gradient.double())
    return [value.detach() for value in (output, maps.grad, double[0].weight.grad, double[0].bias.grad, double[0].running_mean, double[0].running_var)]


@pytest.mark.parametrize("shape", [(8, 96, 33, 31), (2, 24, 1, 1), (3, 12, 5, 7), (1, 4, 1, 5)])
def test_it_is_batch_norm_and_relu_to_the_last_bit_of_bf16(shape):
    maps, gradient = maps_and_gradient(shape)
    assert can_fuse(maps)
    wanted = exact(make_layer(shape[1]), maps, gradient)
    for found, true, relative in zip(outcome(make_layer(shape[1]), maps, gradient), wanted, (2 ** -8, 2 ** -8, 1e-5, 1e-5, 1e-5, 1e-5)):
        assert torch.allclose(found.double(), true, rtol=relative, atol=1e-4 * float(true.abs().max())), "a bf16 number has eight bits"


def test_without_it_torch_gives_nearly_the_same():
    maps, gradient = maps_and_gradient((4, 24, 16, 16))
    fused = outcome(make_layer(24), maps, gradient)
    with computing_in(fused_norm=False):
        assert not can_fuse(maps)
        plain = outcome(make_layer(24), maps, gradient)
    for ours, theirs in zip(fused, plain):
        assert torch.allclose(ours.float(), theirs.float(), rtol=0.02, atol=0.02 * float(theirs.abs().max()))


def test_it_steps_aside_where_it_would_be_wrong():
    maps, _ = maps_and_gradient((4, 24, 16, 16))
    assert can_fuse(maps)
    assert not can_fuse(maps.float()) and not can_fuse(maps.contiguous()) and not can_fuse(maps.to("meta"))
    with speed.threads_of(2):
        assert not can_fuse(maps)
    layer = make_layer(24).eval()
    kept = layer.running_mean.clone()
    assert torch.equal(layer(maps), torch.relu(nn.functional.batch_norm(maps, layer.running_mean, layer.running_var, layer.weight, layer.bias)))
    assert torch.equal(layer.running_mean, kept) and layer.num_batches_tracked == 0


def test_a_second_reader_of_the_maps_has_its_gradient_added():
    maps, gradient = maps_and_gradient((4, 24, 9, 8))
    layer = make_layer(24)
    read = maps.clone(memory_format=torch.preserve_format).requires_grad_()
    output, passed = layer.with_maps(read)
    (output * gradient).sum().backward(retain_graph=True)
    alone, read.grad = read.grad, None
    ((output * gradient).sum() + (3 * passed).sum()).backward(retain_graph=True)
    assert torch.allclose(read.grad.float(), alone.float() + 3, rtol=2 ** -7)
    read.grad = None
    (3 * passed).sum().backward()
    assert torch.equal(read.grad, torch.full_like(maps, 3)), "a reader may also be the only one that counts"


def test_a_single_row_has_no_variance_and_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        NormReLU(24)(torch.ones(1, 24, 1, 1, dtype=torch.bfloat16))


def test_maps_that_all_agree_give_the_bias():
    maps = torch.full((2, 4, 3, 3), 7.0).bfloat16().contiguous(memory_format=torch.channels_last)
    layer = make_layer(4)
    output, slope, *_ = outcome(layer, maps, torch.ones_like(maps))
    assert torch.allclose(output.float(), torch.relu(layer.bias.detach())[None, :, None, None].expand(2, 4, 3, 3), atol=0.01)
    assert torch.isfinite(slope.float()).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_joining_has_the_gradients_of_its_parts(layout):
    parts = [torch.randn(2, count, 5, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_() for count in (4, 2, 2, 8)]
    assert torch.autograd.gradcheck(lambda *parts: join(parts[:3], parts[3]), parts)
    joined = join(parts[:3], parts[3])
    with torch.no_grad():
        assert torch.equal(joined, join(parts[:3], parts[3]))
    first, = torch.autograd.grad(joined.square().sum(), parts[:1])
    assert first.is_contiguous(memory_format=layout)


def test_joining_gives_the_bits_that_torch_gives():
    parts = [torch.randn(3, count, 7, 5).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_() for count in (24, 12, 12, 48)]
    with computing_in(own_gradients=False):
        plain = join(parts[:3], parts[3])
    fused = join(parts[:3], parts[3])
    assert torch.equal(fused, plain)
    gradient = torch.randn(fused.shape).bfloat16().contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(torch.autograd.grad(fused, parts, gradient), torch.autograd.grad(plain, parts, gradient)):
        assert torch.equal(ours, theirs)
