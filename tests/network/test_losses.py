import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import laplace

from kneel_lib import outlines
from kneel_lib.errors import KneelError
from kneel_lib.network import losses
from kneel_lib.network.hourglass import soft_argmax

TRUTH = torch.zeros(1, 2, 2)


def at(*errors):
    """A prediction that is off by these four coordinates."""
    return torch.tensor(errors, dtype=torch.float32).view(1, 2, 2)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("l1", (0.1 + 0.2 + 0.3 + 2) / 4),
        ("l2", (0.01 + 0.04 + 0.09 + 4) / 4),
        ("elastic", (0.6 + 2 + 0.14 + 4) / 8),
        ("wing", 15 * sum(math.log1p(e / 3) for e in (0.1, 0.2, 0.3, 2)) / 4),
    ],
)
def test_losses_by_hand(name, expected):
    assert losses.make_loss(name)(at(0.1, -0.2, 0.3, -2), TRUTH).item() == pytest.approx(expected, rel=1e-6)


def test_wing_is_continuous_at_w_with_slope_one_beyond():
    below, above, further = (
        losses.wing(at(e, e, e, e), TRUTH).item() for e in (15 - 1e-4, 15 + 1e-4, 25 + 1e-4)
    )
    assert above == pytest.approx(below, abs=1e-3)
    assert further - above == pytest.approx(10, abs=1e-4)


def test_wing_on_normalised_coordinates_is_five_times_l1():
    errors = at(0.01, -0.004, 0.002, 0.01)
    assert losses.wing(errors, TRUTH).item() == pytest.approx(5 * losses.l1(errors, TRUTH).item(), rel=2e-3)


def test_frames_scale_the_error():
    errors = at(0.1, 0.1, 0.1, 0.1)
    assert losses.make_loss("l1", "pixels", size_px=200)(errors, TRUTH).item() == pytest.approx(20, rel=1e-5)
    assert losses.make_loss("l1", "mm", weight=2, size_px=200, spacing_mm=0.5)(
        errors, TRUTH
    ).item() == pytest.approx(20, rel=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_missing_landmarks_add_nothing_and_break_no_gradient(name):
    loss = losses.make_loss(name)
    if name == "robust":
        loss.loss = losses.AdaptiveRobust(landmarks=2)
    truth = TRUTH.clone()
    truth[0, 1] = math.nan
    prediction = at(0.1, 0.2, 5, 5).requires_grad_()
    value = loss(prediction, truth)
    value.backward()
    assert torch.isfinite(value) and (prediction.grad[0, 1] == 0).all() and (prediction.grad[0, 0] != 0).all()
    assert loss(at(0.1, 0.2, 7, -7), truth).item() == pytest.approx(value.item())
    assert losses.make_loss("l1")(prediction, torch.full_like(truth, math.nan)).item() == 0


@pytest.mark.parametrize("alpha", [0.3, 1.0, 1.7])
def test_robust_density_integrates_to_one(alpha):
    def density(x):
        rho = losses.robust_rho(
            torch.tensor(x, dtype=torch.float64), torch.tensor(alpha, dtype=torch.float64), torch.tensor(1.0)
        )
        return math.exp(-rho.item() - losses.log_partition(alpha))

    assert 2 * sum(
        quad(density, *part, limit=200)[0] for part in ((0, 50), (50, 1e4), (1e4, np.inf))
    ) == pytest.approx(1, abs=2e-3)


def test_robust_at_alpha_one_is_the_charbonnier_loss():
    errors = torch.tensor([0.0, 0.5, 3.0])
    assert torch.allclose(
        losses.robust_rho(errors, torch.tensor(1.0), torch.tensor(1.0)), (errors**2 + 1).sqrt() - 1
    )


def test_robust_interpolation_between_table_entries():
    table = losses.AdaptiveRobust().log_partition
    alpha = torch.tensor([0.1234, 0.777, 1.4321, 1.99])
    exact = [losses.log_partition(value) for value in alpha.tolist()]
    assert losses.interpolate(table, alpha * losses.AdaptiveRobust.STEPS / 2).tolist() == pytest.approx(
        exact, abs=1e-4
    )


@pytest.mark.trains
def test_robust_scale_learns_the_size_of_the_errors():
    loss = losses.AdaptiveRobust(landmarks=1, scale=0.01)
    errors = torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(0)) * 0.05
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.3)
    for _ in range(600):
        optimizer.zero_grad()
        loss(errors, torch.zeros_like(errors)).backward()
        optimizer.step()
    assert loss.scale().detach().flatten().tolist() == pytest.approx([0.05, 0.05], rel=0.1)
    assert (loss.alpha() > 1.85).all()


@pytest.mark.parametrize("arguments", [{"name": "huber"}, {"name": "l1", "frame": "inches"}])
def test_unknown_names_are_refused(arguments):
    with pytest.raises(KneelError, match="unknown loss"):
        losses.make_loss(**arguments)


def test_map_term_is_least_for_the_gaussian_at_the_truth_and_agrees_with_the_soft_argmax():
    truth = torch.tensor([[[0.4, 0.55]]])
    maps = torch.zeros(1, 1, 24, 24, requires_grad=True)
    optimizer = torch.optim.Adam([maps], lr=0.3)
    for _ in range(400):
        optimizer.zero_grad()
        value = losses.heatmap_regularisation(maps, truth, sigma=1.0)
        value.backward()
        optimizer.step()
    assert value.item() == pytest.approx(math.log(2 * math.pi * math.e), abs=0.05)
    assert soft_argmax(maps)[0, 0].tolist() == pytest.approx([0.4, 0.55], abs=0.01)


def test_map_term_leaves_out_landmarks_that_are_missing_or_off_the_map():
    maps = torch.randn(1, 3, 12, 12)
    truth = torch.tensor([[[0.5, 0.5], [math.nan, math.nan], [1.3, 0.5]]])
    assert losses.heatmap_regularisation(maps, truth, 1.0).item() == pytest.approx(
        losses.heatmap_regularisation(maps[:, :1], truth[:, :1], 1.0).item()
    )


def test_jensen_shannon_is_zero_at_the_target_and_bounded():
    cells = torch.arange(16.0)
    peak = (
        torch.softmax(-(cells - 6).square() / 2, 0)[:, None]
        * torch.softmax(-(cells - 4).square() / 2, 0)[None]
    )
    truth = torch.tensor([[[4 / 16, 6 / 16]]])
    right, wrong = torch.log(peak + 1e-30)[None, None], torch.full((1, 1, 16, 16), -50.0)
    wrong[0, 0, 15, 15] = 0.0
    assert losses.heatmap_regularisation(
        right, truth, 1.0, divergence="jensen_shannon"
    ).item() == pytest.approx(0, abs=1e-4)
    assert losses.heatmap_regularisation(
        wrong, truth, 1.0, divergence="jensen_shannon"
    ).item() == pytest.approx(np.log(2), abs=1e-3)
    assert losses.heatmap_regularisation(wrong, truth, 1.0).item() > 20
    with pytest.raises(KneelError, match="unknown divergence of maps 'kl'"):
        losses.heatmap_regularisation(right, truth, 1.0, divergence="kl")


@pytest.mark.parametrize("beyond", [[11.5, 4.0], [-0.5, 4.0], [4.0, 11.5], [4.0, -0.5]])
def test_map_term_leaves_out_a_landmark_that_is_half_a_cell_beyond_the_outermost_cells(beyond):
    maps = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[[4.0, 4.0], beyond]]) / 12
    alone = losses.heatmap_regularisation(maps[:, :1], truth[:, :1], 1.0)
    assert losses.heatmap_regularisation(maps, truth, 1.0).item() == pytest.approx(alone.item())
    on_the_edge = torch.tensor([[[4.0, 4.0], np.clip(beyond, 0, 11).tolist()]]) / 12
    assert losses.heatmap_regularisation(maps, on_the_edge, 1.0).item() != pytest.approx(alone.item())


def test_map_term_is_the_cross_entropy_with_a_gaussian_worked_out_cell_by_cell():
    """Wider than high, so that x and y cannot be taken for one another."""
    maps = torch.randn(1, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    x, y, sigma, beta = 2.3, 1.6, 0.8, 1.7
    gaussian = np.array(
        [[math.exp(-((j - x) ** 2 + (i - y) ** 2) / 2 / sigma**2) for j in range(6)] for i in range(4)]
    )
    steep = np.exp(beta * maps[0, 0].double().numpy())
    expected = -(gaussian / gaussian.sum() * np.log(steep / steep.sum())).sum()
    truth = torch.tensor([[[x / 6, y / 4]]])
    assert losses.heatmap_regularisation(maps, truth, sigma, beta).item() == pytest.approx(expected, rel=1e-4)


def test_robust_starts_at_alpha_one_and_the_released_scale():
    """At alpha 1 the loss is Charbonnier's plus ln(c Z(1)); the released code begins with c = 0.01."""
    loss = losses.make_loss("robust").loss
    assert loss.alpha().shape == loss.scale().shape == (16, 2)
    assert torch.allclose(loss.alpha(), torch.ones(16, 2)) and torch.allclose(
        loss.scale(), torch.tensor(0.01)
    )
    two = losses.AdaptiveRobust(landmarks=2)
    expected = np.mean([math.hypot(e / 0.01, 1) - 1 for e in (0.1, 0.2, 0.03, 0.004)])
    expected += math.log(0.01) + losses.log_partition(1.0)
    assert two(at(0.1, -0.2, 0.03, -0.004), TRUTH).item() == pytest.approx(expected, rel=1e-4)


def test_robust_alpha_and_scale_keep_their_bounds_wherever_training_takes_them():
    loss = losses.AdaptiveRobust(landmarks=1)
    for latent, alpha, scale in ((-60.0, 0.001, 1e-5), (60.0, 1.999, None)):
        with torch.no_grad():
            loss.latent_alpha.fill_(latent), loss.latent_scale.fill_(latent)
        assert loss.alpha().flatten().tolist() == pytest.approx([alpha] * 2, rel=1e-4)
        assert scale is None or loss.scale().flatten().tolist() == pytest.approx([scale] * 2, rel=1e-3)
    assert losses.AdaptiveRobust(1, alpha=0.5, scale=0.2).alpha().flatten().tolist() == pytest.approx(
        [0.5] * 2
    )


@pytest.mark.parametrize(
    "alpha, expected", [(0, math.log(math.pi * math.sqrt(2))), (2, math.log(2 * math.pi) / 2)]
)
def test_the_partition_meets_its_closed_ends(alpha, expected):
    near = losses.log_partition(abs(alpha - 1e-3))
    assert losses.log_partition(alpha) == pytest.approx(expected) == pytest.approx(near, abs=5e-3)


@pytest.mark.parametrize("position", [0.0, 0.4, 3.5, 6.3, 7.0])
def test_interpolation_goes_through_a_line_exactly_and_through_every_entry(position):
    line = torch.arange(8.0) * 3 - 1
    found = losses.interpolate(line, torch.tensor(position)).item()
    inner = 1 <= position <= 6
    assert not inner or found == pytest.approx(3 * position - 1, abs=1e-5)
    bent = torch.tensor([0.0, 5.0, -2.0, 1.0, 4.0, 4.0, 9.0, 7.0])
    assert position % 1 or losses.interpolate(bent, torch.tensor(position)).item() == bent[int(position)]


@pytest.mark.parametrize(
    "frame, side", [("normalised", 1.0), ("pixels", 200.0), ("mm", 100.0)], ids=["share", "pixels", "mm"]
)
def test_a_frame_is_what_the_loss_is_taken_in(frame, side):
    loss = losses.make_loss("wing", frame, weight=0.5, size_px=200, spacing_mm=0.5)
    errors = at(0.3, -0.1, 0.2, 0.01)
    assert loss(errors, TRUTH).item() == pytest.approx(
        0.5 * losses.wing(side * errors, TRUTH).item(), rel=1e-5
    )


def shapes(count, noise=1.0):
    """(answers, truth), (count, 16, 2) mm each."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(count, 16, 2, generator=generator) * 90
    return truth + noise * torch.randn(count, 16, 2, generator=generator), truth


def test_outline_laplace_is_the_density_of_the_errors_across_and_along_the_outline():
    said, truth = shapes(5)
    across, along = outlines.split_errors(said.double().numpy(), truth.double().numpy())
    loss = losses.make_loss("outline_laplace").loss
    with torch.no_grad():
        loss.latent_scale[:, 1] = math.log(3.0 - loss.SMALLEST_SCALE)
    expected = -(laplace.logpdf(across, scale=1.0) + laplace.logpdf(along, scale=3.0)).mean() / 2
    assert loss(said, truth).item() == pytest.approx(expected, rel=1e-4)


def test_outline_laplace_leaves_out_landmarks_that_are_missing_and_those_beside_them():
    said, truth = shapes(1)
    truth[0, 4] = math.nan
    said.requires_grad_()
    value = losses.make_loss("outline_laplace")(said, truth)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(said.grad).all()
    assert (said.grad[0].abs().sum(dim=1) == 0).nonzero().flatten().tolist() == [3, 4, 5]


@pytest.mark.trains
def test_outline_laplace_learns_that_labels_are_vague_along_the_outline():
    said, truth = shapes(400, noise=0)
    generator = torch.Generator().manual_seed(1)
    direction = losses.tangents(truth)
    normal = torch.stack([-direction[..., 1], direction[..., 0]], dim=2)
    said += 0.9 * torch.randn(400, 16, 1, generator=generator) * direction
    said += 0.3 * torch.randn(400, 16, 1, generator=generator) * normal
    loss = losses.OutlineLaplace()
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(said, truth).backward()
        optimizer.step()
    mean_size = math.sqrt(2 / math.pi)
    assert loss.scale().mean(dim=0).tolist() == pytest.approx([0.3 * mean_size, 0.9 * mean_size], rel=0.05)
