"""How networks are computed, where the outcome is the same up to rounding; by themselves they choose what is fastest. The speed ladder and tests choose otherwise for a while."""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Computing:
    """precision: "bf16", "fp32", or "" for what the machine is good at.

    own_gradients: each scale of a multi-scale block gets a gradient of its own, not a slice of a larger one (`fused.Join`). fused_norm: batch norm and ReLU in one go where
    that is possible (`fused.can_fuse`).
    """

    precision: str = ""
    own_gradients: bool = True
    fused_norm: bool = True


CURRENT = ContextVar("CURRENT", default=Computing())


@contextmanager
def computing_in(**choices):
    """Inside, networks are computed with these fields of `Computing` and the others as they were."""
    before = CURRENT.set(replace(CURRENT.get(), **choices))
    try:
        yield
    finally:
        CURRENT.reset(before)


def current():
    """The `Computing` that holds here."""
    return CURRENT.get()
