"""One thread a process: the fastest way to use a machine's cores is a process for each
(`experiment/engines.py`).

Two threads in one process train 1.4 times as fast as one, two processes twice as fast (`results/speed.csv`).
And threads that share a machine with anything else spend their time waiting for each other: beside one
process that keeps a core busy, one thread kept 99 % of its speed, two kept 33 % (`results/threads.csv`).
"""

import os
import sys

SPINS = "20000"
"""How often an idle thread of OpenMP looks for work before it sleeps, where several are asked for. Without a
bound it takes the core from the thread that it waits for. What the bound is worth depends on the machine: on
that of `results/threads.csv` nothing."""


def settle() -> None:
    """One thread for numpy and torch in this process, unless `OMP_NUM_THREADS` says otherwise; spinning
    bounded.

    Read by OpenMP when torch is imported: a torch that is there already is told by hand.
    """
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if "torch" in sys.modules and threads.isdecimal() and int(threads) > 0:
        sys.modules["torch"].set_num_threads(int(threads))
