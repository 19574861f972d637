"""How fast training is beside a process that keeps one core busy, by number of threads, and with OpenMP's
idle threads spinning as long as they like or not (`kneel_lib/threads.py`)."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from kneel_lib.data.rois import Rois
from kneel_lib.experiment.profiles import Profile
from kneel_lib.threads import SPINS
from studies.speed.training import spread_rate

UNBOUNDED = "infinite"
STEPS = 20


@dataclass(frozen=True)
class Way:
    """threads: of the one process that trains. spins: of an idle thread before it sleeps."""

    threads: int
    spins: str

    @property
    def name(self) -> str:
        if self.threads == 1:
            return "one thread"
        return f"{self.threads} threads, idle ones spin " + (
            "on" if self.spins == UNBOUNDED else f"{self.spins} times"
        )


def ways(cores: int) -> list[Way]:
    """One thread; as many as cores, spinning without and with the library's bound."""
    return [Way(1, SPINS), Way(cores, UNBOUNDED), Way(cores, SPINS)]


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy inside."""
    busy = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.terminate()
            process.join()


def rates(rois: Rois, profile: Profile, cores: int, steps: int = STEPS) -> list[dict[str, Any]]:
    """A row a way and number of busy processes (0 and 1): images a second, and as a share of the same way's
    rate when alone."""
    rows = []
    for way in ways(cores):
        with patch.dict(os.environ, {"GOMP_SPINCOUNT": way.spins, "OMP_NUM_THREADS": str(way.threads)}):
            alone = spread_rate(rois, profile, 1, way.threads, steps)
            with busy_processes(1):
                beside = spread_rate(rois, profile, 1, way.threads, steps)
        for count, rate in ((0, alone), (1, beside)):
            rows.append(
                {"way": way.name, "busy_processes": count, "images_per_s": rate, "share": rate / alone}
            )
    return rows
