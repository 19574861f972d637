"""Processes that train keep the memory that they free: glibc's malloc does so where a variable of the environment says it.

A training step frees and takes the same large blocks over and over. By itself malloc gives a large block back to the kernel at once and asks for it
anew, and the kernel has to fault each page of it in again: 60,000 to 80,000 pages a step at 450 px, a twelfth of the time (notebook 11). The variable is
read when a process starts, so the process that runs cannot set it for itself. No number changes by it, a process keeps what it had at its peak until it
ends, and nothing happens where there is no Linux or another malloc than glibc's.
"""

import os
import sys
from contextlib import contextmanager

VARIABLE = "GLIBC_TUNABLES"
KEPT = {"glibc.malloc.mmap_max": "0", "glibc.malloc.trim_threshold": str(2 ** 40)}
"""No block comes straight from the kernel, and none of the heap's goes back to it below a terabyte."""


def with_kept(tunables):
    """The variable's value with freed memory kept; what it says about the same tunables already stands."""
    return ":".join(filter(None, [tunables, *(f"{name}={value}" for name, value in KEPT.items() if name not in tunables)]))


def without(tunables):
    """The variable's value without a word about these tunables."""
    return ":".join(part for part in tunables.split(":") if part and part.split("=")[0] not in KEPT)


def start_again():
    """Start this program's process anew so that it keeps memory, on Linux, unless the environment says something about it. Returns only in a process that needs no new start."""
    known = os.environ.get(VARIABLE, "")
    if sys.platform == "linux" and with_kept(known) != known:
        os.environ[VARIABLE] = with_kept(known)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def for_new_processes(kept):
    """Processes that are started inside keep the memory that they free, or (kept is False) do as malloc does by itself."""
    known = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = with_kept(known or "") if kept else without(known or "")
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if known is not None:
            os.environ[VARIABLE] = known
