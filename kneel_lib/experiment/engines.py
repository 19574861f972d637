"""Many runs at once: the missing runs of a table are independent jobs that joblib hands to an engine, chosen
by name.

"sequential" makes them one after the other in this process. "processes" uses processes of this machine, one a
core, and is what several runs on processors get unless another is named: each computes with one thread
(`threads.py`). "ray" and "dask" (extras of these names) also use other machines: a worker needs no disk in
common with the caller, because its inputs travel with the job and a finished run comes back as the bytes of
its files, which the caller puts into its own store. A lost worker costs the runs that were under way: they
are tried again, and whatever was finished is kept. `KNEEL_ENGINE` and `KNEEL_JOBS` say what `get_table` uses;
`KNEEL_CLUSTER` is the address of a Ray or Dask cluster that is already there (for Slurm: one that
dask-jobqueue started), and `KNEEL_GPUS` the share of a GPU that Ray gives each job.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from kneel_lib import paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.errors import KneelError, find
from kneel_lib.experiment import runs
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.settings import Setting
from kneel_lib.experiment.spec import UNSEEN, Beginning, RunSpec, beginning_of, plan
from kneel_lib.experiment.store import Run, find_run
from kneel_lib.experiment.workers import ATTEMPTS, ENGINES
from kneel_lib.files import last_line, locked, write_whole

Packed = tuple[str, dict[str, bytes]]
"""(address in a store, {file name: bytes}) of a finished run."""


@dataclass(frozen=True)
class Job:
    """One run to make, with everything that a worker needs: its data travel with it (`runs.get_run`).

    before: the packed run that it starts from. store: the caller's, where the worker shares its disk.
    """

    spec: RunSpec
    cohort: Cohort
    source: Cohort | None = None
    device: str = "cpu"
    weights: bool = False
    threads: int = 1
    before: tuple[Packed, ...] = ()
    store: str = ""

    @property
    def finished(self) -> Run | None:
        return find_run(self.spec, self.weights)

    def make(self) -> Run:
        """The run itself, loaded or made in this process."""
        return runs.get_planned(self.spec, self.cohort, self.source, None, self.device, self.weights)


def get_table(
    settings: Iterable[Setting],
    profile: Profile,
    cohort: Cohort,
    folds: Iterable[int | str] | None = None,
    seeds: Iterable[int] = (0,),
    device: str = "cpu",
    engine: str | None = None,
    workers: int | None = None,
    weights: bool = False,
) -> list[Run]:
    """[`store.Run`] of settings x seeds x folds (default: the profile's number), in this order: see
    `each_run`."""
    return list(each_run(settings, profile, cohort, folds, seeds, device, engine, workers, weights))


def each_run(
    settings: Iterable[Setting],
    profile: Profile,
    cohort: Cohort,
    folds: Iterable[int | str] | None = None,
    seeds: Iterable[int] = (0,),
    device: str = "cpu",
    engine: str | None = None,
    workers: int | None = None,
    weights: bool = False,
) -> Iterator[Run]:
    """One `store.Run` after the other of settings x seeds x folds (default: the profile's): loaded, or made.

    engine, workers: by default what `KNEEL_ENGINE` and `KNEEL_JOBS` say, else `usual_engine` and one a core.
    weights: whether networks are wanted, and not only predictions: see `runs.get_run`. Raises `KneelError`
    for an unknown engine, and if a run is still missing after ATTEMPTS.
    """
    named, asked = engine or os.environ.get("KNEEL_ENGINE"), workers or jobs_wanted()
    find(named or "sequential", ENGINES, "engine")
    numbers = range(profile.folds) if folds is None else folds
    jobs = [
        Job(plan(setting, profile, cohort, fold, seed), cohort, device=device, weights=weights)
        for setting in settings
        for seed in seeds
        for fold in numbers
    ]
    named = named or usual_engine(device, asked, sum(not job.finished for job in jobs))
    if ENGINES[named]:
        make_missing(jobs, named, asked or os.cpu_count() or 1)
    for job in jobs:
        yield job.make()


def usual_engine(device: str, asked: int | None, missing: int) -> str:
    """The engine where none is named: processes for two runs or more; on a GPU, which they share, only where
    more than one at once was asked for."""
    spread = missing > 1 and (device == "cpu" or (asked or 1) > 1)
    return "processes" if spread else "sequential"


def jobs_wanted() -> int | None:
    """How many runs at once `KNEEL_JOBS` asks for, if it is set."""
    text = os.environ.get("KNEEL_JOBS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise KneelError(f"KNEEL_JOBS is '{text}': give a whole number of runs to make at once, from 1")
    return int(text)


def make_missing(jobs: list[Job], engine: str, workers: int) -> None:
    """Make the jobs' missing runs on an engine with this many workers, and put them into the store. What a
    run starts from is made before it."""
    for attempt in range(1, ATTEMPTS + 1):
        missing = [job for job in jobs if not job.finished]
        if not missing:
            return
        before, workers = starts(missing), min(workers, len(missing))
        make_missing(list({first.spec.hash: first for first in before if first}.values()), engine, workers)
        try:
            travelling = [prepared(job, first, engine) for job, first in zip(missing, before)]
            with ENGINES[engine](workers) as work_off:
                for packed in work_off(make_packed, travelling):
                    print(f"{engine}: finished {unpack(packed, paths.runs())}", flush=True)
        except KneelError:
            raise
        except Exception as error:  # every engine has its own exception for a lost worker
            left = sum(not job.finished for job in jobs)
            print(
                f"{engine}: a worker was lost ({type(error).__name__}: {last_line(error)}), "
                f"{left} runs are still missing after attempt {attempt} of {ATTEMPTS}",
                flush=True,
            )
    unmade = [str(job.spec.address) for job in jobs if not job.finished]
    if unmade:
        raise KneelError(
            f"{engine}: {len(unmade)} runs are missing after {ATTEMPTS} attempts, the first is {unmade[0]}; "
            "the finished ones are kept, the same command goes on from there"
        )


def starts(jobs: list[Job]) -> list[Job | None]:
    """For each job the job that it starts from, or None; a start's pictures are made once a setting."""

    def kind(job: Job) -> tuple[Any, ...]:
        fold = job.spec.held_out if job.spec.setting.start == UNSEEN else None
        return job.spec.setting, job.spec.profile, job.cohort.fingerprint, fold

    beginnings = {
        key: beginning_of(job.spec.setting, job.spec.profile, job.cohort, job.spec.held_out)
        for key, job in {kind(job): job for job in jobs}.items()
    }
    return [start_job(job, first) if (first := beginnings[kind(job)]) else None for job in jobs]


def start_job(job: Job, first: Beginning) -> Job:
    """The job of the run that `job` starts from."""
    spec = plan(
        first.setting, first.profile, first.cohort, job.spec.held_out, job.spec.seed, source=first.source
    )
    return replace(job, spec=spec, cohort=first.cohort, source=first.source, weights=True)


def prepared(job: Job, first: Job | None, engine: str) -> Job:
    """The job as it travels to a worker, which computes with as many threads as this process: the numbers do
    not depend on the engine. first: the finished job that it starts from, or None."""
    return replace(
        job,
        threads=torch.get_num_threads(),
        before=(pack(cast(Run, first.finished)),) if first else (),
        store=str(paths.runs()) if engine == "processes" else "",
    )


def make_packed(job: Job) -> Packed:
    """What a worker does: make the job's run; returns it packed.

    It is made in the caller's store, or in a temporary one of the worker.
    What goes wrong in the run itself would go wrong again: it becomes a `KneelError`, so that only lost
    workers are tried again.
    """
    torch.set_num_threads(job.threads)
    with use_store(job.store):
        for packed in job.before:
            unpack(packed, paths.runs())
        try:
            return pack(job.make())
        except KneelError:
            raise
        except Exception as error:
            raise KneelError(
                f"{job.spec.said} failed in its worker: {type(error).__name__}: {last_line(error)}"
            ) from error


@contextmanager
def use_store(store: str) -> Iterator[None]:
    """Runs go to this store inside, to a temporary one for ""; a worker process makes one run at a time, so
    that nobody else sees the change."""
    known = os.environ.get("KNEEL_RUNS")
    with tempfile.TemporaryDirectory(prefix="kneel-") as temporary:
        os.environ["KNEEL_RUNS"] = store or temporary
        try:
            yield
        finally:
            del os.environ["KNEEL_RUNS"]
            if known is not None:
                os.environ["KNEEL_RUNS"] = known


def pack(run: Run) -> Packed:
    """(address in a store, {file name: bytes}) of a finished run."""
    return str(run.spec.address), {
        path.name: path.read_bytes() for path in sorted(run.folder.iterdir()) if path.is_file()
    }


def unpack(packed: Packed, store: Path | str) -> str:
    """Put a packed run into a store, the manifest last, unless it is there; returns its address."""
    address, files = packed
    folder = Path(store) / address
    with locked(folder, "KNEEL_RUNS"):
        if not (folder / "manifest.json").is_file():
            for name in sorted(files, key=lambda name: name == "manifest.json"):
                write_whole(folder / name, lambda temporary: temporary.write_bytes(files[name]))
    return address
