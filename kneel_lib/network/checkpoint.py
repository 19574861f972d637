"""Tensors and numbers of a training run in one safetensors file, written whole or not at all; no pickle."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kneel_lib.errors import KneelError
from kneel_lib.files import write_whole


def save_weights(model: torch.nn.Module, path: Path | str) -> None:
    """A network's weights as safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_whole(path, lambda temporary: save_file(tensors, temporary))


def load_tensors(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """({name: tensor}, metadata) of a safetensors file; `KneelError` if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise KneelError(
            f"{path} is not a readable safetensors file ({error}): delete it; what it held is made again"
        ) from None


def load_weights(model: torch.nn.Module, path: Path | str) -> None:
    """Put saved weights into a network; `KneelError` if they are damaged, of another one, or not finite."""
    fill(model, load_tensors(path)[0], f"{path} holds no weights of this network", "delete it and its run")


def fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor], what: str, then: str) -> None:
    """Put tensors into a module that has just these, of these shapes and kinds; else `KneelError`."""
    own = module.state_dict()
    differ = sorted(own.keys() ^ tensors.keys())
    if differ:
        raise KneelError(f"{what} ({differ[0]} is {'missing' if differ[0] in own else 'too many'}): {then}")
    for name, value in tensors.items():
        if (value.shape, value.dtype) != (own[name].shape, own[name].dtype):
            raise KneelError(
                f"{what} ({name} is {value.dtype} of shape {tuple(value.shape)}, allowed is "
                f"{own[name].dtype} of {tuple(own[name].shape)}): {then}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise KneelError(f"{what} ({name} is not finite): {then}")
    module.load_state_dict(tensors)


def laid_out_like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The value with the parameter's memory layout (channels last): the fused optimizer needs both alike."""
    return (
        torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if value.shape == parameter.shape
        else value
    )


def save_state(state: Any, path: Path | str) -> None:
    """Everything of a `training.State` that its next epoch depends on."""
    tensors = dict(named_tensors(state))
    optimizer = state.optimizer.state_dict()
    for index, entries in optimizer["state"].items():
        tensors |= {
            f"optimizer.{index}.{name}": value.detach().cpu().contiguous() for name, value in entries.items()
        }
    numbers = {
        "epoch": state.epoch,
        "history": state.history,
        "groups": optimizer["param_groups"],
        "schedule": schedule_numbers(state.schedule),
    }
    write_whole(path, lambda temporary: save_file(tensors, temporary, {"numbers": json.dumps(numbers)}))


def named_tensors(state: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of the network, its EMA weights and the loss's own parameters."""
    parts = {"model": state.model, "averaged": state.averaged, "loss": state.loss}
    for part, module in parts.items():
        for name, value in (module.state_dict() if module else {}).items():
            yield f"{part}.{name}", value.detach().cpu().contiguous().clone()


def schedule_numbers(schedule: torch.optim.lr_scheduler.LRScheduler | None) -> dict[str, Any] | None:
    """The schedule's state that json can hold (the rest is rebuilt with it)."""
    if schedule is None:
        return None
    return {
        name: value
        for name, value in schedule.state_dict().items()
        if isinstance(value, (int, float, list, bool))
    }


AGAIN = "delete it; the run is then made from the start"


def restore_state(state: Any, path: Path | str, epochs: int) -> Any:
    """Put a saved state into a freshly started one of the same setting and profile; returns it.

    epochs: how many the run has. `KneelError` if the checkpoint is damaged or of another training.
    """
    tensors, metadata = load_tensors(path)
    numbers = read_numbers(metadata, path, epochs)
    another = f"{path} was left by another version of the training"
    parts = {"model": state.model, "averaged": state.averaged, "loss": state.loss}
    for name in tensors:
        part = name.split(".")[0]
        if part != "optimizer" and not parts.get(part):
            raise KneelError(f"{another} (its {name} has no place): {AGAIN}")
    for part, module in parts.items():
        if module:
            own = {
                name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(part + ".")
            }
            fill(module, own, f"{another} (its part '{part}' does not fit)", AGAIN)
    restore_optimizer(state, tensors, numbers["groups"], path)
    if state.schedule:
        restore_schedule(state.schedule, numbers["schedule"], path)
    state.epoch, state.history = numbers["epoch"], numbers["history"]
    return state


def read_numbers(metadata: dict[str, str], path: Path | str, epochs: int) -> dict[str, Any]:
    """The numbers beside the tensors; `KneelError` unless they tell of whole epochs, 1 to `epochs`."""
    try:
        numbers = json.loads(metadata["numbers"])
        epoch, history = numbers["epoch"], numbers["history"]
        numbers["groups"], numbers["schedule"]
        told = [(line["epoch"], math.isfinite(line["loss"]), line["seconds"] >= 0) for line in history]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise KneelError(
            f"{path} does not say what a checkpoint says ({type(error).__name__}: {str(error)[:80]}): {AGAIN}"
        ) from None
    if type(epoch) is not int or not 1 <= epoch <= epochs:
        raise KneelError(
            f"{path} is of epoch {str(epoch)[:20]}, allowed is a whole number from 1 to {epochs}: {AGAIN}"
        )
    if told != [(number, True, True) for number in range(1, epoch + 1)]:
        raise KneelError(f"{path} is of epoch {epoch}, but its history is not that of 1 to {epoch}: {AGAIN}")
    return numbers


def restore_optimizer(state: Any, tensors: dict[str, torch.Tensor], groups: Any, path: Path | str) -> None:
    """Put the optimizer's tensors and groups back; `KneelError` unless there are those of every parameter."""
    parameters = state.optimizer.param_groups[0]["params"]
    fresh = state.optimizer.state_dict()["param_groups"]
    wrong = f"{path} holds no optimizer of this training"
    kinds = [{name: type(value) for name, value in group.items()} for group in fresh]
    if not isinstance(groups, list) or [
        {name: type(value) for name, value in group.items()} if isinstance(group, dict) else None
        for group in groups
    ] != [{name: list if kind is tuple else kind for name, kind in group.items()} for group in kinds]:
        raise KneelError(f"{wrong} (its groups of parameters are others): {AGAIN}")
    for own, group in zip(fresh, groups):
        numbers = [value for value in group.values() if isinstance(value, float)]
        if group["params"] != own["params"] or not all(0 <= value < math.inf for value in numbers):
            raise KneelError(f"{wrong} (its groups of parameters are others): {AGAIN}")
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            index, entry = (*name.split(".")[1:], "", "")[:2]
            if not index.isdecimal() or not int(index) < len(parameters):
                raise KneelError(f"{wrong} ({name} has no parameter): {AGAIN}")
            shape = () if entry == "step" else parameters[int(index)].shape
            if entry not in MOMENTS or value.shape != shape or not bool(torch.isfinite(value).all()):
                raise KneelError(f"{wrong} ({name} does not fit its parameter): {AGAIN}")
            entries.setdefault(int(index), {})[entry] = laid_out_like(value, parameters[int(index)])
    lacking = [
        index
        for index, parameter in enumerate(parameters)
        if parameter.requires_grad and entries.get(index, {}).keys() != MOMENTS
    ]
    if lacking:
        raise KneelError(f"{wrong} (nothing of its parameter {lacking[0]}, {len(lacking)} such): {AGAIN}")
    state.optimizer.load_state_dict({"state": entries, "param_groups": groups})


MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam keeps of a parameter."""


def restore_schedule(schedule: torch.optim.lr_scheduler.LRScheduler, kept: Any, path: Path | str) -> None:
    """Put a schedule's numbers back; `KneelError` unless they are those of such a schedule."""
    fresh = schedule_numbers(schedule) or {}
    if not isinstance(kept, dict) or {name: type(value) for name, value in kept.items()} != {
        name: type(value) for name, value in fresh.items()
    }:
        raise KneelError(f"{path} holds no schedule of this training: {AGAIN}")
    schedule.load_state_dict(kept)
