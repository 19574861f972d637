"""What a training step and an epoch are given: targets, augmentation, mixup and margins. Nothing is
learned here."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from kneel_lib.data.rois import cut_rois
from kneel_lib.errors import KneelError
from kneel_lib.experiment import spec
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.runs import knees_of
from kneel_lib.network import training
from kneel_lib.network.losses import l1, make_loss
from kneel_lib.network.ranges import MILD, NONE

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=24)
PLAIN = replace(SETTINGS["wing_nowd"], augmentation=NONE, dropout=0.0, loss="l1")


@pytest.fixture(scope="module")
def rois(cohort):
    return cut_rois(cohort, TINY.size_px, TINY.spacing_mm, margin_px=8)


class Noted(torch.nn.Module):
    """A loss that is the mean prediction, and keeps the targets that it was given, in ROI pixels."""

    def __init__(self):
        super().__init__()
        self.targets = []

    def forward(self, prediction, truth):
        self.targets.append(TINY.size_px * truth.detach().numpy())
        return prediction.mean()


def targets_of(setting, rois, seed=0, epochs=1):
    """The targets of each epoch, (24, 16, 2) ROI pixels, in its order: the whole cohort is one batch."""
    profile = replace(TINY, epochs=epochs)
    state = training.start(setting, profile, 1, seed, "cpu")
    state.loss = Noted()
    training.train(setting, profile, rois, seed, state=state)
    return state.loss.targets


def in_order(targets):
    """The same, whatever order the knees came in."""
    return np.array(sorted(targets.tolist()))


def test_without_augmentation_targets_are_the_landmarks_of_the_roi(rois):
    (targets,) = targets_of(PLAIN, rois)
    assert np.allclose(in_order(targets), in_order(rois.landmarks_px - rois.margin_px), atol=1e-3)


def test_jitter_moves_every_target_by_up_to_so_many_millimetres(rois):
    (plain,), (moved,) = (targets_of(replace(PLAIN, jitter_mm=mm), rois) for mm in (0.0, 0.3))
    away_mm = (moved - plain) * TINY.spacing_mm
    assert 0.29 < np.abs(away_mm).max() <= 0.3 + 1e-4 and np.abs(away_mm.mean()) < 0.02
    assert np.std(away_mm) == pytest.approx(0.3 / 3**0.5, rel=0.05)


def test_every_epoch_has_an_augmentation_of_its_own(rois):
    shifted = replace(PLAIN, augmentation=replace(NONE, shift=0.1))
    first, second, third = map(in_order, targets_of(shifted, rois, epochs=3))
    for one, other in ((first, second), (second, third), (first, third)):
        assert np.abs(one - other).mean() > 0.5
    again, other = (in_order(targets_of(shifted, rois, seed)[0]) for seed in (0, 1))
    assert np.array_equal(first, again) and np.abs(first - other).mean() > 0.5


def test_epochs_and_seeds_give_numbers_of_their_own():
    assert len({training.epoch_seed(seed, epoch) for seed in range(8) for epoch in range(8)}) == 64


def test_every_fold_and_seed_has_a_generator_of_its_own(cohort):
    planned = [spec.plan(PLAIN, TINY, cohort, fold, seed) for fold in range(5) for seed in range(3)]
    assert len({one.generator_seed for one in planned}) == 15


def test_few_labels_are_drawn_by_the_seed_of_the_run(cohort):
    known = [
        set(
            knees_of(spec.plan(PLAIN, TINY, cohort, 0, seed, labels=4), cohort, None)[0].landmarks_mm[:, 0, 0]
        )
        for seed in (0, 1, 2, 0)
    ]
    assert [len(points) for points in known] == [4] * 4
    assert known[0] == known[3] and len({frozenset(points) for points in known}) == 3


def test_predicting_leaves_the_margin_out(rois, tiny_networks):
    model, edge = tiny_networks[0][0].model, rois.margin_px
    inside = replace(rois, images=rois.images[:, edge:-edge, edge:-edge], margin_px=0)
    assert np.array_equal(training.predict(model, rois), training.predict(model, inside))
    spoilt = rois.images.copy()
    spoilt[:, :edge], spoilt[:, :, -edge:] = 255, 255
    assert np.array_equal(
        training.predict(model, rois), training.predict(model, replace(rois, images=spoilt))
    )


def test_predictions_are_in_pixels_of_the_roi(rois, tiny_networks):
    model, edge = tiny_networks[0][0].model, rois.margin_px
    inputs = torch.from_numpy(rois.images[:, None, edge:-edge, edge:-edge]).float() / 255
    with torch.no_grad():
        share = model((inputs - 0.45) / 0.25).numpy()
    predicted = training.predict(model, rois, precision="fp32")
    assert predicted.shape == (24, 16, 2) and np.allclose(predicted, 64 * share, atol=0.01)


@torch.no_grad()
def answers_of(model, inputs):
    """Coordinates as a step computes them: maps in the device's precision, the soft-argmax in 32-bit
    floats."""
    with training.autocast(inputs.device):
        maps = model.maps(inputs)
    return model.coordinates(maps)


@pytest.fixture(scope="module")
def batch(rois, tiny_networks):
    """(state with a network whose answers depend on the picture, inputs, targets that lie around its
    answers)."""
    state = training.start(PLAIN, TINY, 1, 0, "cpu")
    state.model = deepcopy(tiny_networks[0][0].model)
    state.maps = state.model.maps
    with torch.no_grad():
        state.model.output.weight.mul_(10)
    inputs = training.standardise(torch.from_numpy(rois.images[:8, None, 8:-8, 8:-8]).float() / 255)
    answers = answers_of(state.model, inputs)
    assert answers.std(dim=0).mean() > 0.02
    return state, inputs, answers


def mixed_loss(batch, mixup, seed, alpha=0.75):
    """(the step's loss, share, share of the picture's own knee, mixed pictures' answers, order) of one
    mixup."""
    state, inputs, truth = batch
    setting = replace(PLAIN, mixup=mixup, mixup_alpha=alpha)
    with torch.no_grad():
        loss = training.batch_loss(state, setting, inputs, truth, torch.Generator().manual_seed(seed)).item()
        generator = torch.Generator().manual_seed(seed)
        share = training.mixing_share(alpha, generator)
        other = torch.randperm(len(inputs), generator=generator)
        own = share if mixup == "released" else max(share, 1 - share)
        mixed = answers_of(state.model, own * inputs + (1 - own) * inputs[other])
        return loss, share, own, mixed, other


@pytest.mark.parametrize("seed", range(4))
def test_standard_mixup_weighs_each_target_by_its_knees_share_of_the_picture(batch, seed):
    loss, _, own, mixed, other = mixed_loss(batch, "standard", seed)
    truth = batch[2]
    expected = own * l1(mixed, truth) + (1 - own) * l1(mixed, truth[other])
    assert own >= 0.5 and loss == pytest.approx(expected.item(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("mixup", ["paper", "released"])
@pytest.mark.parametrize("seed", range(3))
def test_the_papers_mixup_scores_plain_pictures_and_mixed_ones(batch, mixup, seed):
    """Eq. 9: the plain ones against their own targets, the mixed ones against the other knee's."""
    loss, share, _, mixed, other = mixed_loss(batch, mixup, seed)
    state, inputs, truth = batch
    plain = answers_of(state.model, inputs)
    expected = share * l1(plain, truth) + (1 - share) * l1(mixed, truth[other])
    assert loss == pytest.approx(expected.item(), rel=1e-3, abs=1e-5)


def test_standard_mixup_of_whole_knees_scores_the_knee_that_is_shown(batch):
    """With a share of nothing or all, a network that is right has no loss."""
    assert max(mixed_loss(batch, "standard", seed, alpha=1e-6)[0] for seed in range(6)) < 2e-3


def test_the_map_term_is_added_with_its_weight(batch):
    state, inputs, truth = batch
    with torch.no_grad():
        plain, once, twice = (
            training.batch_loss(
                state, replace(PLAIN, heatmap_weight=weight), inputs, truth, torch.Generator()
            ).item()
            for weight in (0.0, 0.1, 0.2)
        )
    assert once > plain + 0.1 and twice - plain == pytest.approx(2 * (once - plain), rel=1e-4)


def test_cutout_blackens_and_augmentation_warps_what_the_network_sees(rois):
    images, points = torch.from_numpy(rois.images), torch.from_numpy(rois.landmarks_px)
    seen = []

    def look(setting):
        state = training.start(setting, TINY, 1, 0, "cpu")
        maps = state.model.maps
        state.maps = lambda inputs: seen.append(inputs.detach()) or maps(inputs)
        training.step(state, setting, TINY, images, points, torch.Generator().manual_seed(0))
        return seen[-1] * 0.25 + 0.45

    plain, cut, bent = look(PLAIN), look(replace(PLAIN, cutout=0.25)), look(replace(PLAIN, augmentation=MILD))
    assert plain.shape == (24, 1, 64, 64) and -1e-6 <= plain.min() and plain.max() <= 1 + 1e-6
    changed = (cut != plain).flatten(1).sum(dim=1)
    assert 6 <= (changed > 0).sum() <= 18 and changed.max() == 16 * 16
    assert (cut[cut != plain].abs() < 1e-6).all() and (bent - plain).abs().mean() > 0.02


def test_a_step_moves_the_network_the_schedule_and_the_average(rois):
    images, points = torch.from_numpy(rois.images), torch.from_numpy(rois.landmarks_px)
    for setting in (SETTINGS["best_ema"], replace(PLAIN, schedule="one_cycle")):
        state = training.start(setting, TINY, 1, 0, "cpu")
        before = state.model.output.weight.detach().clone()
        rate = state.optimizer.param_groups[0]["lr"]
        training.step(state, setting, TINY, images, points, torch.Generator().manual_seed(0))
        moved = (state.model.output.weight - before).abs().mean().item()
        assert moved > 0
        assert (state.schedule is None) == (state.optimizer.param_groups[0]["lr"] == rate)
        if state.averaged:
            average = (state.averaged.module.output.weight - before).abs().mean().item()
            assert average == pytest.approx((1 - setting.ema_decay) * moved, rel=1e-2)


def test_a_start_is_what_the_setting_says():
    setting = replace(PLAIN, weight_decay=0.03, learning_rate=0.02, schedule="one_cycle")
    state = training.start(setting, TINY, 5, 0, "cpu", outputs=3)
    group = state.optimizer.param_groups[0]
    assert group["weight_decay"] == 0.03 and state.schedule.total_steps == TINY.epochs * 5
    assert state.schedule.state_dict()["_schedule_phases"] and group["max_lr"] == 0.02
    assert state.model.architecture.landmarks == 3 and state.averaged is None
    assert (state.epoch, state.history) == (0, [])
    robust = training.start(replace(PLAIN, loss="robust", schedule="constant"), TINY, 5, 0, "cpu")
    trained = {id(p) for g in robust.optimizer.param_groups for p in g["params"]}
    assert {id(p) for p in robust.loss.parameters()} <= trained and robust.averaged is not None
    first, again, other = (
        training.start(PLAIN, TINY, 5, seed, "cpu").model.output.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_networks_have_the_size_of_the_profile_and_the_parts_of_the_setting():
    paper = training.make_network(PLAIN, replace(TINY, depth=3)).architecture
    assert (paper.width, paper.depth, paper.landmarks, paper.dropout) == (4, 3, 16, 0.0)
    assert training.make_network(
        replace(PLAIN, dropout=0.4, block="bottleneck"), TINY
    ).architecture == replace(paper, depth=2, dropout=0.4, block="bottleneck")
    released = training.make_network(replace(PLAIN, network="released"), replace(TINY, size_px=256, depth=6))
    assert released.architecture.depth == training.NETWORKS["released"].depth


def test_an_epochs_history_says_what_it_was(rois):
    state = training.train(replace(PLAIN, schedule="constant"), TINY, rois, seed=0)
    assert [epoch["epoch"] for epoch in state.history] == [1, 2] and state.epoch == 2
    assert all(0 < epoch["loss"] < 0.5 and epoch["seconds"] > 0 for epoch in state.history)
    assert {epoch["learning_rate"] for epoch in state.history} == {PLAIN.learning_rate}


def test_the_gradients_of_loss_and_decay_are_those_of_one_batch(rois, tiny_networks):
    model = tiny_networks[0][0].model
    images = torch.from_numpy(rois.images[:4, None, 8:-8, 8:-8]).float() / 255
    points = torch.from_numpy(rois.landmarks_px[:4]) - 8
    gradient, decay = training.loss_and_decay(model, PLAIN, TINY, images, points)
    with training.autocast(images.device):
        maps = model.maps(training.standardise(images))
    make_loss("l1")(model.coordinates(maps), points / 64).backward()
    weights = [p for p in model.parameters() if p.grad is not None]
    assert gradient == pytest.approx(sum(float(p.grad.square().sum()) for p in weights) ** 0.5, rel=1e-3)
    assert decay == pytest.approx(
        1e-4 * sum(float(p.detach().square().sum()) for p in weights) ** 0.5, rel=1e-5
    )
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"loss": "huber"}, "unknown loss"),
        ({"schedule": "stairs"}, "unknown schedule 'stairs'"),
        ({"network": "unet"}, "unknown network 'unet'"),
        ({"mixup": "manifold", "mixup_alpha": 1.0}, "unknown mixup 'manifold'"),
    ],
)
def test_unknown_names_are_refused(changes, message, rois):
    with pytest.raises(KneelError, match=message):
        training.train(replace(SETTINGS["wing"], **changes), TINY, rois, seed=0)


def test_a_depth_that_does_not_fit_is_refused_before_training(rois):
    with pytest.raises(
        KneelError,
        match="64 x 64 pixels is too small for an hourglass of depth 5: "
        "use depth 4 or less, or a side of 128",
    ):
        training.make_network(SETTINGS["wing"], replace(TINY, depth=5))


@pytest.mark.parametrize("batch, epoch", [(8, 1), (24, 2)])
def test_a_loss_that_diverges_is_one_error_after_the_epoch_in_which_it_does(rois, batch, epoch):
    """With one batch an epoch the first loss is that of the untouched network."""
    setting, profile = replace(SETTINGS["wing"], learning_rate=1e30), replace(TINY, batch=batch)
    with pytest.raises(KneelError, match=f"not finite after epoch {epoch}: lower its learning rate"):
        training.train(setting, profile, rois, seed=0)


def test_a_last_batch_of_one_is_left_out():
    assert list(training.batch_bounds(17, 8)) == [(0, 8), (8, 16)]
    assert list(training.batch_bounds(18, 8)) == [(0, 8), (8, 16), (16, 18)]


def test_mixing_share_follows_the_beta_distribution():
    generator = torch.Generator().manual_seed(0)
    shares = [training.mixing_share(0.75, generator) for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.75 + 1)), rel=0.1)


def test_moving_average_is_that_of_the_formula_from_the_first_update_on():
    model = torch.nn.BatchNorm1d(3)
    average = training.moving_average(model, 0.9)
    weight, mean = torch.ones(3), torch.zeros(3)
    for _ in range(3):
        model.weight.data += 1
        model(torch.randn(8, 3) + 5)
        average.update_parameters(model)
        weight, mean = (
            0.9 * old + 0.1 * new for old, new in ((weight, model.weight), (mean, model.running_mean))
        )
        assert torch.allclose(average.module.weight, weight) and torch.allclose(
            average.module.running_mean, mean
        )
    assert model.num_batches_tracked == 3 and average.module.num_batches_tracked == 0


def test_an_averaged_run_ends_with_the_average_of_what_a_constant_one_does(rois):
    constant = replace(SETTINGS["best_ema"], schedule="constant")
    plain, averaged = (
        training.finish(setting, training.train(setting, TINY, rois, seed=3))
        for setting in (constant, SETTINGS["best_ema"])
    )
    assert np.array_equal(
        training.predict(averaged.model, rois), training.predict(plain.averaged.module, rois)
    )
    assert averaged.averaged is None and not np.array_equal(
        training.predict(averaged.model, rois), training.predict(plain.model, rois)
    )


@pytest.mark.parametrize(
    "mixup, alpha, twice",
    [("paper", 0.7, True), ("released", 0.7, True), ("standard", 0.7, False), ("paper", 0.0, False)],
)
def test_maps_are_computed_twice_a_step_by_the_papers_mixup_alone(mixup, alpha, twice):
    assert training.mixes_maps(replace(PLAIN, mixup=mixup, mixup_alpha=alpha)) == twice
