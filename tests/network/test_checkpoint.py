"""A checkpoint of something else than this training, or one that does not tell of whole epochs, is one
line."""

import json

import pytest
import torch
from conftest import TINY
from safetensors import safe_open
from safetensors.torch import save_file

from kneel_lib.errors import KneelError
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import checkpoint, training

EPOCHS = 3
SETTING = SETTINGS["wing"]
MOMENT = "optimizer.0.exp_avg"


def fresh():
    return training.start(SETTING, TINY, 3, 0, "cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(tensors, numbers) of a checkpoint after one epoch."""
    path, state = tmp_path_factory.mktemp("whole") / "checkpoint.safetensors", fresh()
    inputs = torch.rand(2, 1, TINY.size_px, TINY.size_px)
    state.model.coordinates(state.model.maps(inputs)).sum().backward()
    state.optimizer.step()
    state.epoch = 1
    state.history = [{"epoch": 1, "learning_rate": 1e-3, "loss": 0.5, "seconds": 1.0}]
    checkpoint.save_state(state, path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        return tensors, json.loads(file.metadata()["numbers"])


def restored(path, tensors, numbers):
    save_file(tensors, path, {"numbers": numbers if isinstance(numbers, str) else json.dumps(numbers)})
    return checkpoint.restore_state(fresh(), path, EPOCHS)


def test_a_whole_checkpoint_is_restored(whole, tmp_path):
    state = restored(tmp_path / "checkpoint.safetensors", *whole)
    assert state.epoch == 1 and len(state.optimizer.state) == len(state.optimizer.param_groups[0]["params"])


LINE = {"epoch": 1, "learning_rate": 1e-3, "loss": 0.5, "seconds": 1.0}
NUMBERS = {
    "epoch 99": ({"epoch": 99}, "is of epoch 99, allowed is a whole number from 1 to 3"),
    "epoch 0": ({"epoch": 0}, "is of epoch 0, allowed"),
    "epoch -1": ({"epoch": -1}, "is of epoch -1, allowed"),
    "epoch as text": ({"epoch": "1"}, "allowed is a whole number"),
    "epoch 1.5": ({"epoch": 1.5}, "is of epoch 1.5, allowed"),
    "epoch true": ({"epoch": True}, "is of epoch True, allowed"),
    "epoch 10**400": ({"epoch": 10**400}, "allowed is a whole number"),
    "no history": ({"history": []}, "its history is not that of 1 to 1"),
    "history null": ({"history": None}, "does not say what a checkpoint says"),
    "history of others": ({"history": [LINE | {"epoch": 7}]}, "its history is not that of"),
    "loss NaN": ({"history": [LINE | {"loss": float("nan")}]}, "its history is not that of"),
    "loss as text": ({"history": [LINE | {"loss": "x"}]}, "does not say what a checkpoint says"),
    "no groups": ({"groups": []}, "holds no optimizer of this training"),
    "groups null": ({"groups": None}, "holds no optimizer of this training"),
    "two groups": ({"groups": [{}, {}]}, "holds no optimizer of this training"),
}


@pytest.mark.parametrize("changes, message", NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_are_not_those_of_whole_epochs(whole, tmp_path, changes, message):
    tensors, numbers = whole
    with pytest.raises(KneelError, match=f"checkpoint.safetensors .*{message}.* delete it"):
        restored(tmp_path / "checkpoint.safetensors", tensors, numbers | changes)


@pytest.mark.parametrize("rate", ["x", float("nan"), -1.0])
def test_a_learning_rate_that_is_none(whole, tmp_path, rate):
    tensors, numbers = whole
    groups = [numbers["groups"][0] | {"lr": rate}]
    with pytest.raises(KneelError, match="groups of parameters are others"):
        restored(tmp_path / "checkpoint.safetensors", tensors, numbers | {"groups": groups})


@pytest.mark.parametrize("text", ["", "[]", "{}", "{'a'", "[" * 50_000])
def test_numbers_that_are_no_json_of_ours(whole, tmp_path, text):
    with pytest.raises(KneelError, match="does not say what a checkpoint says"):
        restored(tmp_path / "checkpoint.safetensors", whole[0], text)


def without(start):
    return lambda tensors: {name: value for name, value in tensors.items() if not name.startswith(start)}


def first_weight(tensors):
    return next(name for name in tensors if name.startswith("model.") and name.endswith("weight"))


TENSORS = {
    "no optimizer": (
        without("optimizer."),
        "holds no optimizer of this training .nothing of its parameter 0",
    ),
    "a moment less": (without(MOMENT), "nothing of its parameter 0, 1 such"),
    "a moment's shape": (lambda t: t | {MOMENT: torch.zeros(7)}, "exp_avg.* does not fit its parameter"),
    "a moment NaN": (lambda t: t | {MOMENT: torch.full_like(t[MOMENT], torch.nan)}, "does not fit its"),
    "a parameter 9999": (lambda t: t | {"optimizer.9999.exp_avg": torch.zeros(2)}, "has no parameter"),
    "a parameter x": (lambda t: t | {"optimizer.x.exp_avg": torch.zeros(2)}, "has no parameter"),
    "an odd name": (lambda t: t | {"optimizer.1": torch.zeros(2)}, "does not fit its parameter"),
    "no average": (without("averaged."), "part 'averaged' does not fit.* is missing"),
    "a weight less": (lambda t: without(first_weight(t))(t), "part 'model' does not fit.* is missing"),
    "a weight more": (lambda t: t | {"model.more": torch.zeros(1)}, "does not fit.* is too many"),
    "a weight's shape": (lambda t: t | {first_weight(t): torch.zeros(3)}, "of shape .3,., allowed is"),
    "a weight NaN": (lambda t: t | {first_weight(t): t[first_weight(t)] * torch.nan}, "is not finite"),
    "another part": (lambda t: t | {"rest.x": torch.zeros(1)}, "its rest.x has no place"),
}


@pytest.mark.parametrize("change, message", TENSORS.values(), ids=TENSORS)
def test_tensors_that_are_not_those_of_this_training(whole, tmp_path, change, message):
    tensors, numbers = whole
    with pytest.raises(KneelError, match=message) as caught:
        restored(tmp_path / "checkpoint.safetensors", change(tensors), numbers)
    assert "\n" not in str(caught.value) and "checkpoint.safetensors" in str(caught.value)


@pytest.mark.parametrize("schedule", ["x", 5, None, {}, {"total_steps": "many"}])
def test_a_schedule_of_another_training(tmp_path, schedule):
    state = training.start(SETTINGS["best"], TINY, 3, 0, "cpu")
    with pytest.raises(KneelError, match="holds no schedule of this training"):
        checkpoint.restore_schedule(state.schedule, schedule, tmp_path / "checkpoint.safetensors")


def test_weights_of_another_network(tmp_path):
    small, large = fresh().model, training.start(SETTING, TINY, 3, 0, "cpu").model
    checkpoint.save_weights(small.output, tmp_path / "weights.safetensors")
    with pytest.raises(KneelError, match="weights.safetensors holds no weights of this network"):
        checkpoint.load_weights(large, tmp_path / "weights.safetensors")
