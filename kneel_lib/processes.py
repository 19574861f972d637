"""Processes that do not outlive the one that started them, however that one ends."""

import ctypes
import os
import signal
import sys
from typing import Any

from joblib import Parallel

PR_SET_PDEATHSIG = 1


def pool(jobs: int, **how: Any) -> Parallel:
    """joblib's processes, which end with this one from their start on, also where it is killed before they
    were given anything to do. jobs, how: as `joblib.Parallel` has them.

    Call it in a thread that lives as long as its process: see `end_with`.
    """
    return Parallel(jobs, initializer=end_with, initargs=(os.getpid(),), **how)


def end_with(parent: int) -> None:
    """Have the system end this process as soon as `parent`, the process that started it, has ended, also
    where that one was killed. Only Linux can be told so; elsewhere nothing happens.

    What counts is the thread that started it: call it where that thread lives as long as its process.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended already
        os.kill(os.getpid(), signal.SIGTERM)
