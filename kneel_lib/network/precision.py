"""In what numbers a network is computed: bf16 (the upper half of 32-bit floats) where units for it exist."""

from contextlib import AbstractContextManager, nullcontext

import torch


def precision(device: torch.device | str) -> str:
    """ "bf16" where the device computes in it, else "fp32"."""
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if fast else "fp32"


def autocast(
    device: torch.device | str, chosen: str | None = None, keep_casts: bool = True
) -> AbstractContextManager:
    """A context in which networks are computed in the device's `precision`, or in the chosen one.

    keep_casts: whether a weight that is used twice is cast once.
    """
    if (chosen or precision(device)) == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16, cache_enabled=keep_casts)
