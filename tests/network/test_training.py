from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kneel_lib.data.rois import cut_rois
from kneel_lib.experiment.profiles import PROFILES, Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import fast_maps, training
from kneel_lib.network.ranges import NONE

pytestmark = pytest.mark.trains

SMOKE = PROFILES["smoke"]
TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=2, batch=8)


@pytest.fixture(scope="module")
def rois(cohort):
    return cut_rois(cohort, TINY.size_px, TINY.spacing_mm, margin_px=8)


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.method == "network"])
def test_every_setting_trains_and_predicts(name, rois):
    if SETTINGS[name].network == "heatmap":
        pytest.importorskip(
            "landmarker", reason="the optional landmarker toolkit is not installed (requirements-heatmap.txt)"
        )
    state = training.train(SETTINGS[name], TINY, rois, seed=0)
    predicted = training.predict(state.model, rois)
    assert state.epoch == 2 and predicted.shape == (24, 16, 2)
    assert np.isfinite(predicted).all() and 0 <= predicted.min() and predicted.max() <= TINY.size_px


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "released"},
        {"mixup": "standard", "mixup_alpha": 0.5},
        {"mixup": "paper", "mixup_alpha": 0.5},
        {"loss_frame": "pixels"},
    ],
)
def test_every_switch_trains(changes, rois):
    state = training.train(replace(SETTINGS["wing"], **changes), TINY, rois, seed=0)
    assert np.isfinite(training.predict(state.model, rois)).all()


def test_one_batch_can_be_learned_by_heart(cohort):
    setting = replace(SETTINGS["best"], augmentation=NONE, dropout=0.0)
    profile = replace(TINY, size_px=80, spacing_mm=1.2, width=8, epochs=150)
    few = cut_rois(cohort.select(slice(0, 8)), profile.size_px, profile.spacing_mm)
    state = training.train(setting, profile, few, seed=0)
    errors = np.linalg.norm(training.predict(state.model, few) - few.landmarks_px, axis=2)
    assert np.median(errors) < 0.5


def test_mixup_that_shows_whole_knees_only_scores_the_knee_that_is_shown(cohort, monkeypatch):
    monkeypatch.setattr(training, "autocast", lambda *choice: nullcontext())
    few = cut_rois(cohort.select(slice(0, 8)), TINY.size_px, TINY.spacing_mm)
    plain = replace(SETTINGS["wing_nowd"], augmentation=NONE, dropout=0.0)
    state = training.train(plain, replace(TINY, width=8, epochs=60), few, seed=0)
    inputs, truth = (
        training.standardise(torch.from_numpy(few.images)[:, None].float() / 255),
        torch.from_numpy(few.landmarks_px) / TINY.size_px,
    )

    def losses(setting):
        with torch.no_grad():
            return [
                float(
                    training.batch_loss(state, setting, inputs, truth, torch.Generator().manual_seed(number))
                )
                for number in range(12)
            ]

    known, whole = losses(plain)[0], replace(plain, mixup_alpha=1e-6)  # a share of 0 or 1
    assert losses(replace(whole, mixup=SETTINGS["mixup_0.75_nowd"].mixup)) == pytest.approx(
        [known] * 12, rel=1e-3
    )
    printed = losses(replace(whole, mixup=SETTINGS["mixup_printed"].mixup))
    assert min(printed) == pytest.approx(known, rel=1e-3) and max(printed) > 1.5 * known, (
        "eq. 6 as printed scores half of the batches against knees that are not shown"
    )


def test_a_seed_gives_the_same_network_and_another_seed_another(rois):
    setting = replace(SETTINGS["cutout_10"], jitter_mm=0.3)
    first, again, other = (
        training.predict(training.train(setting, TINY, rois, seed).model, rois) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_only_long_trainings_in_bf16_are_compiled():
    seen = {name: 423 * profile.epochs * profile.size_px**2 for name, profile in PROFILES.items()}
    compiled = {
        kind: {name for name, pixels in seen.items() if fast_maps.worth_compiling(pixels, kind)}
        for kind in ("bf16", "fp32")
    }
    assert compiled == {"bf16": {"native", "study_native", "paper"}, "fp32": set()}


def one_step_losses(rois, backend):
    """(losses of a whole batch and of a smaller one, plain; the same with compiled maps)."""
    setting, images, points = (
        SETTINGS["best_nodropout"],
        *map(torch.from_numpy, (rois.images, rois.landmarks_px)),
    )
    losses = []
    for compiled in (False, True):
        state = training.start(setting, TINY, 2, 0, "cpu")
        if compiled:
            state.maps = fast_maps.compiled_maps(state.model, TINY.batch, backend)
        generator = torch.Generator().manual_seed(0)
        losses.append(
            [
                float(training.step(state, setting, TINY, images[:count], points[:count], generator))
                for count in (8, 8, 5)
            ]
        )
    return losses


def test_compiled_maps_train_as_plain_ones_do(rois, capsys):
    plain, compiled = one_step_losses(rois, "aot_eager")
    assert compiled == pytest.approx(plain, rel=1e-3) and "failed" not in capsys.readouterr().out


def test_a_compiler_that_fails_ends_no_training(rois, capsys):
    def broken(graph, inputs):
        raise RuntimeError("no such instruction")

    plain, compiled = one_step_losses(rois, broken)
    assert compiled == plain and capsys.readouterr().out.count("torch.compile failed") == 1


class OnHost(TorchDispatchMode):
    """Notes the shape of every tensor that is made on the host."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        self.shapes += [
            tensor.shape
            for tensor in tree_leaves(result)
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu"
        ]
        return result


@pytest.mark.parametrize("name", ["wing", "best", "robust", "jitter", "cutout_10"])
def test_no_picture_is_made_on_the_host_when_training_is_elsewhere(name):
    """There is no GPU here: the meta device, whose tensors have no numbers, stands in for one."""
    setting, order = SETTINGS[name], torch.randperm(8)
    state = training.start(setting, TINY, 2, 0, "meta")
    state.schedule, state.optimizer = (
        None,
        torch.optim.Adam(state.model.parameters()),
    )  # the fused one knows no meta device
    images, points = (
        torch.zeros(8, 80, 80, dtype=torch.uint8, device="meta"),
        torch.zeros(8, 16, 2, device="meta"),
    )
    with OnHost() as host:
        loss = training.step(
            state, setting, TINY, images[order], points[order], torch.Generator().manual_seed(0)
        )
    assert loss.device.type == "meta"
    assert max(shape.numel() for shape in host.shapes) <= 8 * 3 * 3, (
        "only a batch's random numbers and matrices may come from the host"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU: none here")
@pytest.mark.parametrize("name", ["best_nodropout", "nodropout", "mixup_standard"])
def test_cuda_graphs_train_as_plain_maps_do(rois, name):
    setting = replace(SETTINGS[name], dropout=0.0)
    images, points = (torch.from_numpy(part).cuda() for part in (rois.images, rois.landmarks_px))
    losses = []
    for graphed in (False, True):
        state = training.start(setting, TINY, 2, 0, "cuda")
        assert state.maps != state.model.maps
        if not graphed:
            state.maps = state.model.maps
        generator = torch.Generator().manual_seed(0)
        losses.append(
            [
                float(training.step(state, setting, TINY, images[:count], points[:count], generator))
                for count in (8, 8, 5, 8)
            ]
        )
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_batches_of_another_size_take_the_plain_maps_and_graphs_take_turns(monkeypatch):
    calls = []

    def capture(parts, samples):
        return tuple(
            lambda images, part=part, number=number: calls.append(number) or part(images)
            for number, part in enumerate(parts)
        )

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    model = training.make_network(SETTINGS["best"], TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sample = torch.zeros(8, 1, TINY.size_px, TINY.size_px)
    maps = fast_maps.graphed_maps(model, sample, calls=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    for batch in (sample, sample[:3], sample, sample):
        with training.autocast(sample.device):  # as a step calls them
            assert torch.equal(maps(batch), model.maps(batch))
    assert calls == [0, 1, 0]
