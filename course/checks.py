"""What the checks of the labs say: not only that an answer is wrong, but which mistake it is."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def expect(
    got: Any, expected: Any, mistakes: Mapping[str, Any] | None = None, task: str = "", within: float = 1e-6
) -> None:
    """Pass if `got` equals `expected`; else AssertionError, naming the mistake where it is a known one.

    got, expected: numbers, booleans, or arrays (numpy, torch, lists) of these; NaN equals NaN. mistakes:
    {what is wrong, in words: what it would give}. task: put before the message. within: the greatest
    difference, in the answer's own unit. ValueError if a mistake gives the right answer: such a check could
    not tell the two apart.
    """
    said = f"{task}: " if task else ""
    right = as_array(expected)
    wrong = {message: as_array(value) for message, value in (mistakes or {}).items()}
    for message, value in wrong.items():
        if same(value, right, within):
            raise ValueError(f"{said}this check cannot tell the right answer from: {message}")
    if got is None:
        raise AssertionError(f"{said}the function returns nothing: does it end with `return`?")
    answer = as_array(got)
    for message, value in wrong.items():
        if same(answer, value, within):
            raise AssertionError(f"{said}{message}")
    if answer.shape != right.shape:
        raise AssertionError(
            f"{said}the answer has shape {answer.shape}, it should have {right.shape} "
            "(wrong axis, or a mean too many or too few?)"
        )
    if not same(answer, right, within):
        raise AssertionError(f"{said}{difference(answer, right, within)}")


def as_array(value: Any) -> np.ndarray:
    """Anything that is made of numbers as an array of floats; AssertionError for what is not."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        if np.asarray(value).dtype.kind in "US":
            raise TypeError("texts, which numpy would read as numbers")
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise AssertionError(
            f"the answer is a {type(value).__name__} ({str(value)[:40]}), not a number or an array of numbers"
        ) from None


def same(first: np.ndarray, second: np.ndarray, within: float) -> bool:
    """Whether two arrays have the same shape and the same numbers, NaN in the same places."""
    return first.shape == second.shape and np.allclose(first, second, rtol=0, atol=within, equal_nan=True)


def difference(answer: np.ndarray, right: np.ndarray, within: float) -> str:
    """Where two arrays of one shape differ first, in words; in full where they are small."""
    if answer.size <= 6:
        return f"the answer is {shown(answer)}, it should be {shown(right)}"
    unlike = ~np.isclose(answer, right, rtol=0, atol=within, equal_nan=True)
    place = tuple(int(index) for index in np.argwhere(unlike)[0])
    at = ", ".join(map(str, place))
    return (
        f"{unlike.sum()} of {answer.size} numbers differ; the first is at [{at}]: "
        f"{shown(answer[place])}, it should be {shown(right[place])}"
    )


def shown(values: np.ndarray) -> str:
    """A few numbers as they are read in a message."""
    return np.array2string(np.asarray(values), precision=4, separator=", ", suppress_small=True)
