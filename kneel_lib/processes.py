"""Processes that do not outlive the one that started them, however that one ends."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the system end this process as soon as the one that started it has ended, also where that one was
    killed. Only Linux can be told so; elsewhere nothing happens.

    What counts is the thread that started it: call it where that thread lives as long as its process.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), signal.SIGTERM)
