"""Tensors and numbers of a training run in one safetensors file, written whole or not at all; no pickle."""

import json
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


def restore_state(state: Any, path: Path | str) -> Any:
    """Put a saved state into a freshly started one of the same setting and profile; returns it."""
    tensors, metadata = load_tensors(path)
    numbers = json.loads(metadata["numbers"])
    for part, module in {"model": state.model, "averaged": state.averaged, "loss": state.loss}.items():
        if module:
            own = {
                name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(part + ".")
            }
            if own.keys() != module.state_dict().keys():
                raise KneelError(
                    f"{path} was left by another version of the training (its part '{part}' does not fit): "
                    "delete it; the run is then made from the start"
                )
            module.load_state_dict(own)
    parameters = state.optimizer.param_groups[0]["params"]
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, entry = name.split(".")
            entries.setdefault(int(index), {})[entry] = laid_out_like(value, parameters[int(index)])
    state.optimizer.load_state_dict({"state": entries, "param_groups": numbers["groups"]})
    if state.schedule:
        state.schedule.load_state_dict(numbers["schedule"])
    state.epoch, state.history = numbers["epoch"], numbers["history"]
    return state
