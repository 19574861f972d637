"""Where jobs are worked off: in processes of this machine, on Ray, or on Dask (extras).

Each of `ENGINES` is a context manager that takes a number of workers and gives a `WorkOff`. A worker that is
lost raises whatever its library raises; `experiment.engines` tries again.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from joblib import Parallel, delayed, parallel_config

from kneel_lib.errors import KneelError
from kneel_lib.processes import pool

Make = Callable[[Any], Any]

WorkOff = Callable[[Make, list[Any]], Iterator[Any]]
"""Calls a function for each job in some worker, and gives back what it makes as it is finished."""

ATTEMPTS = 3

PATIENCE_S = 60
"""How long a Dask of this machine alone may have no worker: one that was lost is started anew."""

LOOPBACK = "127.0.0.1"
"""Who reaches a Ray or Dask can run what he likes there: without a cluster, both are of this machine alone.
"""

RAY_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
"""Whatever its name says: without it Ray takes a loopback address for one that others should reach instead,
and listens to everybody."""

ALONE = {"_node_ip_address": LOOPBACK, "include_dashboard": False}


@contextmanager
def on_processes(workers: int) -> Iterator[WorkOff]:
    """Processes of this machine, by joblib's loky."""
    yield lambda make, jobs: pool(workers, return_as="generator_unordered", batch_size=1)(
        delayed(make)(job) for job in jobs
    )


@contextmanager
def on_ray(workers: int) -> Iterator[WorkOff]:
    """Ray: a cluster that is there (`KNEEL_CLUSTER`), else one of this machine for as long as it takes. In
    rounds, since its pool hands results out only at the end."""
    address = os.environ.get("KNEEL_CLUSTER")
    ray, joblib_part = need("ray"), need("ray.util.joblib", "ray")
    if not address:
        os.environ.setdefault(*RAY_ALONE)  # for its processes; this one may have imported it before
        need("ray._private.ray_constants", "ray").ENABLE_RAY_CLUSTER = False
    joblib_part.register_ray()
    start_ray(ray, **({"address": address} if address else {**ALONE, "num_cpus": workers}))
    gpus = float(os.environ.get("KNEEL_GPUS") or 0)

    def work_off(make: Make, jobs: list[Any]) -> Iterator[Any]:
        with Parallel(batch_size=1) as parallel:
            for start in range(0, len(jobs), workers):
                yield from parallel(delayed(make)(job) for job in jobs[start : start + workers])

    try:
        with parallel_config("ray", n_jobs=workers, ray_remote_args={"num_cpus": 1, "num_gpus": gpus}):
            yield work_off
    finally:
        ray.shutdown()


def start_ray(ray: Any, **how: Any) -> None:
    """Start Ray or join it; on a machine that is busy it may not be there in its own 30 seconds at once."""
    for attempt in range(ATTEMPTS):
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True, **how)
            return
        except Exception:  # of no class of its own
            ray.shutdown()
            if attempt == ATTEMPTS - 1:
                raise


@contextmanager
def on_dask(workers: int) -> Iterator[WorkOff]:
    """Dask: a cluster that is there (`KNEEL_CLUSTER`), else one of this machine for as long as it takes; one
    job at a time in a worker."""
    distributed = need("distributed", "dask")
    address = os.environ.get("KNEEL_CLUSTER")
    with ExitStack() as stack:
        cluster = address or stack.enter_context(
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, host=LOOPBACK
            )
        )
        client = stack.enter_context(distributed.Client(cluster))
        yield lambda make, jobs: each_done(distributed, client, make, jobs, forever=bool(address))


def each_done(distributed: Any, client: Any, make: Make, jobs: list[Any], forever: bool) -> Iterator[Any]:
    """What is made of the jobs, as Dask finishes them. forever: wait also while there is no worker (a cluster
    may still get some); else `RuntimeError` says that none is left."""
    pending = {client.submit(make, job, pure=False) for job in jobs}
    while pending:
        try:
            done = distributed.wait(pending, timeout=PATIENCE_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            if not forever and not client.scheduler_info()["workers"]:
                raise RuntimeError("no worker is left") from None
            continue
        for future in done:
            yield future.result()
        pending -= done


def need(module: str, extra: str | None = None) -> Any:
    """An optional module; `KneelError` says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KneelError(
            f'the engine needs {module} ({error}): pip install "kneel-compendium[{extra or module}]"'
        ) from None


ENGINES: dict[str, Any] = {"sequential": None, "processes": on_processes, "ray": on_ray, "dask": on_dask}
