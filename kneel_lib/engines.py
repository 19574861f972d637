"""Many runs at once: the missing runs of a table are independent jobs, handed to joblib; the user picks the engine that works them off by name.

"sequential" makes them one after the other in this process. "processes" uses processes of this machine. "ray" and "dask" (extras of these
names) also use other machines: a worker needs no disk in common with the caller, because its inputs travel with the job and a finished run comes
back as the bytes of its files, which the caller puts into its own store. A lost worker costs the runs that were under way: they are tried again,
and whatever was finished is kept. `KNEEL_ENGINE` and `KNEEL_JOBS` say what `get_table` uses; `KNEEL_CLUSTER` is the address of a Ray or Dask
cluster that is already there (for Slurm: one that dask-jobqueue started), and `KNEEL_GPUS` the share of a GPU that Ray gives each job.
"""

import importlib
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config

from kneel_lib import paths, runs
from kneel_lib.data.cohort import Cohort
from kneel_lib.errors import KneelError
from kneel_lib.files import last_line, locked, write_whole
from kneel_lib.settings import Profile, Setting, find

ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """One run to make, with everything that a worker needs. before: the packed run that it starts from. store: the caller's, where the worker shares its disk.

    source: a cohort to train on, all of it, in place of a fold's training knees (`runs.get_transfer`). weights: see `runs.get_run`.
    """

    setting: Setting
    profile: Profile
    cohort: Cohort
    fold: object
    seed: int
    device: str = "cpu"
    threads: int = 1
    before: tuple = ()
    store: str = ""
    weights: bool = False
    source: Cohort | None = None

    @property
    def config(self):
        if self.source is not None:
            return runs.plan_transfer(self.setting, self.profile, self.source, self.cohort, self.seed)
        return runs.plan(self.setting, self.profile, self.cohort, self.fold, self.seed)

    @property
    def finished(self):
        """The `runs.Run`, or None."""
        return runs.find_run(self.config, self.weights)

    def make(self):
        """The run itself, loaded or made in this process."""
        if self.source is not None:
            return runs.get_transfer(self.setting, self.profile, self.source, self.cohort, self.seed, self.device, self.weights)
        return runs.get_run(self.setting, self.profile, self.cohort, self.fold, self.seed, self.device, weights=self.weights)


def get_table(settings, profile, cohort, folds=None, seeds=(0,), device="cpu", engine=None, workers=None, weights=False):
    """[`runs.Run`] of settings x seeds x folds (default: as many as the profile says), in this order: see `each_run`."""
    return list(each_run(settings, profile, cohort, folds, seeds, device, engine, workers, weights))


def each_run(settings, profile, cohort, folds=None, seeds=(0,), device="cpu", engine=None, workers=None, weights=False):
    """One `runs.Run` after the other of settings x seeds x folds (default: as many as the profile says): loaded, or made by the engine.

    engine, workers: by default what `KNEEL_ENGINE` and `KNEEL_JOBS` say, else "sequential". weights: whether networks are wanted, and not only
    predictions: see `runs.get_run`. Raises `KneelError` for an unknown engine, and if a run
    is still missing after ATTEMPTS.
    """
    engine, workers = engine or os.environ.get("KNEEL_ENGINE") or "sequential", workers or jobs_wanted()
    start = find(engine, ENGINES, "engine")
    numbers = range(profile.folds) if folds is None else folds
    jobs = [Job(setting, profile, cohort, fold, seed, device, weights=weights) for setting in settings for seed in seeds for fold in numbers]
    if start:
        make_missing(jobs, engine, workers)
    for job in jobs:
        yield job.make()


def jobs_wanted():
    """How many runs at once `KNEEL_JOBS` asks for: 1 where it is not set."""
    text = os.environ.get("KNEEL_JOBS") or "1"
    if not text.isdecimal() or int(text) < 1:
        raise KneelError(f"KNEEL_JOBS is '{text}': give a whole number of runs to make at once, from 1")
    return int(text)


def make_missing(jobs, engine, workers):
    """Make the jobs' missing runs on an engine with this many workers, and put them into the store. What a run starts from is made before it."""
    for attempt in range(1, ATTEMPTS + 1):
        missing = [job for job in jobs if not job.finished]
        if not missing:
            return
        before = starts(missing)
        make_missing(list({runs.address(first.config): first for first in before if first}.values()), engine, workers)
        try:
            with ENGINES[engine](workers) as work_off:
                for packed in work_off([prepared(job, first, engine, workers) for job, first in zip(missing, before)]):
                    print(f"{engine}: finished {unpack(packed, paths.runs())}", flush=True)
        except KneelError:
            raise
        except Exception as error:   # every engine has its own exception for a lost worker
            left = sum(not job.finished for job in jobs)
            print(f"{engine}: a worker was lost ({type(error).__name__}: {last_line(error)}), {left} runs are still missing after attempt {attempt} of {ATTEMPTS}", flush=True)
    left = [runs.address(job.config) for job in jobs if not job.finished]
    if left:
        raise KneelError(f"{engine}: {len(left)} runs are missing after {ATTEMPTS} attempts, the first is {left[0]}; the finished ones are kept, "
                         "the same command goes on from there")


def starts(jobs):
    """For each job of a table the job that it starts from, or None; the pictures of a start are loaded or laid out once for a setting."""
    def kind(job):
        return job.setting, job.profile, job.cohort.fingerprint, job.fold if job.setting.start == runs.UNSEEN else None
    firsts = {key: runs.start_of(job.setting, job.profile, job.cohort, job.fold) for key, job in {kind(job): job for job in jobs}.items()}
    return [replace(job, **vars(first), weights=True) if (first := firsts[kind(job)]) else None for job in jobs]


def prepared(job, first, engine, workers):
    """The job as it travels to a worker. first: the finished job that it starts from, or None."""
    return replace(job, threads=max((os.cpu_count() or 1) // workers, 1), before=(pack(first.finished),) if first else (),
                   store=str(paths.runs()) if engine == "processes" else "")


def make_packed(job):
    """What a worker does: make the job's run in the caller's store, or in one of its own that is gone afterwards; returns the packed run.

    What goes wrong in the run itself would go wrong again: it becomes a `KneelError`, so that only lost workers are tried again.
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
            raise KneelError(f"{job.setting.name}, fold {job.fold}, seed {job.seed} failed in its worker: {type(error).__name__}: {last_line(error)}") from error


@contextmanager
def use_store(store):
    """Runs go to this store inside, to a temporary one for ""; a worker process makes one run at a time, so that nobody else sees the change."""
    known = os.environ.get("KNEEL_RUNS")
    with tempfile.TemporaryDirectory(prefix="kneel-") as temporary:
        os.environ["KNEEL_RUNS"] = store or temporary
        try:
            yield
        finally:
            del os.environ["KNEEL_RUNS"]
            if known is not None:
                os.environ["KNEEL_RUNS"] = known


def pack(run):
    """(address in a store, {file name: bytes}) of a finished run."""
    return str(runs.address(run.config)), {path.name: path.read_bytes() for path in sorted(run.folder.iterdir()) if path.is_file()}


def unpack(packed, store):
    """Put a packed run into a store, the manifest last, unless it is there; returns its address."""
    address, files = packed
    folder = Path(store) / address
    with locked(folder, "KNEEL_RUNS"):
        if not (folder / "manifest.json").is_file():
            for name in sorted(files, key=lambda name: name == "manifest.json"):
                write_whole(folder / name, lambda temporary, content=files[name]: Path(temporary).write_bytes(content))
    return address


@contextmanager
def on_processes(workers):
    """Processes of this machine, by joblib's loky."""
    with parallel_config("loky", n_jobs=workers):
        yield lambda jobs: Parallel(return_as="generator_unordered", batch_size=1)(delayed(make_packed)(job) for job in jobs)


@contextmanager
def on_ray(workers):
    """Ray: a cluster that is there (`KNEEL_CLUSTER`), else one of this machine for as long as it takes. In rounds, since its pool hands results out only at the end."""
    ray, joblib_part = need("ray"), need("ray.util.joblib", "ray")
    joblib_part.register_ray()
    address = os.environ.get("KNEEL_CLUSTER")
    ray.init(**({"address": address} if address else {"num_cpus": workers, "include_dashboard": False}), log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
    gpus = float(os.environ.get("KNEEL_GPUS") or 0)

    def work_off(jobs):
        with Parallel(batch_size=1) as parallel:
            for start in range(0, len(jobs), workers):
                yield from parallel(delayed(make_packed)(job) for job in jobs[start:start + workers])
    try:
        with parallel_config("ray", n_jobs=workers, ray_remote_args={"num_cpus": 1, "num_gpus": gpus}):
            yield work_off
    finally:
        ray.shutdown()


@contextmanager
def on_dask(workers):
    """Dask: a cluster that is there (`KNEEL_CLUSTER`), else one of this machine for as long as it takes; one job at a time in a worker."""
    distributed = need("distributed", "dask")
    address = os.environ.get("KNEEL_CLUSTER")
    with ExitStack() as stack:
        cluster = address or stack.enter_context(distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None))
        stack.enter_context(distributed.Client(cluster))
        with parallel_config("dask", n_jobs=workers):
            yield lambda jobs: Parallel(return_as="generator_unordered", batch_size=1)(delayed(make_packed)(job) for job in jobs)


def need(module, extra=None):
    """An optional module; `KneelError` says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KneelError(f"the engine needs {module} ({error}): pip install \"kneel-compendium[{extra or module}]\"") from None


ENGINES = {"sequential": None, "processes": on_processes, "ray": on_ray, "dask": on_dask}
