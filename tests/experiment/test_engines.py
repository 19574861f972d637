import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import pandas as pd
import psutil
import pytest

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment import engines, runs, trained, workers
from kneel_lib.experiment.profiles import PROFILES
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.experiment.store import load_run, working_runs

pytestmark = pytest.mark.trains

SMOKE = replace(PROFILES["smoke"], epochs=2)
NAMES = ("mean_shape", "best_finetune")


def table_of(cohort, engine, workers=2):
    return engines.get_table(
        [SETTINGS[name] for name in NAMES], SMOKE, cohort, [0, 1], engine=engine, workers=workers
    )


@pytest.fixture(scope="module")
def sequential(cohort, tmp_path_factory):
    """The table's predictions as one process makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNEEL_RUNS", str(tmp_path_factory.mktemp("sequential")))
        made = {str(run.spec.address): run.predictions for run in table_of(cohort, "sequential")}
    return made


def kill_a_worker(parent, marks):
    """Kill one process below this one that holds a whole torch, as soon as there is one: a worker in the
    middle of its work."""
    while not marks["stop"].wait(0.05):
        for child in psutil.Process(parent).children(recursive=True):
            try:
                name = " ".join(child.cmdline())
                if marks["pattern"] in name and child.memory_info().rss > 250e6:
                    child.send_signal(signal.SIGKILL)
                    marks["killed"] = name
                    return
            except psutil.Error:
                continue


@pytest.mark.parametrize(
    "engine, pattern",
    [
        ("processes", "loky"),
        pytest.param("ray", "ray::", marks=pytest.mark.slow),
        pytest.param("dask", "spawn_main", marks=pytest.mark.slow),
    ],
)
def test_a_table_is_whole_and_equal_though_a_worker_is_killed(engine, pattern, cohort, sequential, store):
    pytest.importorskip(
        {"processes": "joblib", "ray": "ray", "dask": "distributed"}[engine],
        reason=f"the extra [{engine}] is not installed",
    )
    marks = {"stop": threading.Event(), "pattern": pattern}
    killer = threading.Thread(target=kill_a_worker, args=(os.getpid(), marks))
    killer.start()
    try:
        made = table_of(cohort, engine)
    finally:
        marks["stop"].set()
        killer.join()
    assert "killed" in marks, "no worker was found to kill: this test has tried nothing"
    assert {str(run.spec.address) for run in made} == set(sequential)
    for run in made:
        assert run.folder.is_relative_to(paths.runs())
        pd.testing.assert_frame_equal(run.predictions, sequential[str(run.spec.address)])


def test_what_is_finished_is_not_made_again(cohort, sequential, store):
    first = table_of(cohort, "processes")
    stamps = [(run.folder / "manifest.json").stat().st_mtime_ns for run in first]
    again = table_of(cohort, "processes")
    assert [(run.folder / "manifest.json").stat().st_mtime_ns for run in again] == stamps


def test_what_all_folds_start_from_is_made_once_before_them_and_travels_along(cohort, store, capsys):
    made = engines.get_table(
        [SETTINGS["best_simulated"]], SMOKE, cohort, [0, 1], engine="processes", workers=2
    )
    (before,) = [run for run in working_runs(store) if run.spec.held_out == "all"]
    assert [run.spec.origin for run in made] == ["simulated", "simulated"]
    assert before.spec.cohort == "simulated"
    assert capsys.readouterr().out.count(f"processes: finished {before.spec.address}") == 1, (
        "one job for both folds, not one for each"
    )


def test_a_packed_run_is_the_same_run_elsewhere(cohort, store, tmp_path):
    run = runs.get_run(SETTINGS["best"], SMOKE, cohort, 0)
    address = engines.unpack(engines.pack(run), tmp_path / "elsewhere")
    there = load_run(tmp_path / "elsewhere" / address)
    assert (
        there.spec == run.spec
        and trained.load_network(there).state_dict().keys() == trained.load_network(run).state_dict().keys()
    )


def test_what_fails_in_a_run_is_said_once_and_not_taken_for_a_lost_worker(cohort, store, capsys):
    with pytest.raises(
        KneelError, match="best, fold 0, seed 0 failed in its worker: RuntimeError: .*nonsense"
    ):
        engines.get_table(
            [SETTINGS["best"]], SMOKE, cohort, [0], device="nonsense", engine="processes", workers=2
        )
    assert "a worker was lost" not in capsys.readouterr().out


def listened_at(process):
    """The addresses at which a process waits for others; none once it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [
            connection.laddr.ip
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    return []


@pytest.mark.parametrize("engine", [pytest.param("ray", marks=pytest.mark.slow), "dask"])
def test_an_engine_of_this_machine_alone_listens_to_nobody_else(engine, monkeypatch):
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[engine], reason=f"[{engine}] is not installed")
    monkeypatch.delenv("KNEEL_CLUSTER", raising=False)
    with workers.ENGINES[engine](1):
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        heard = [ip for process in processes for ip in listened_at(process)]
    assert heard and set(heard) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_no_library_tells_its_makers_of_a_run_unless_it_is_told_to():
    names = "RAY_USAGE_STATS_ENABLED", "ORT_DISABLE_TELEMETRY"
    code = f"import os, kneel_lib; print(*map(os.environ.get, {names}))"
    for given, said in (({}, "0 1"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "1 1")):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ORT_"))}
        command = [sys.executable, "-c", code]
        assert subprocess.run(command, env=kept | given, capture_output=True, text=True).stdout == said + "\n"


@pytest.mark.parametrize("text", ["abc", "0", "-2"])
def test_a_count_of_jobs_that_is_none_is_named(text, cohort, store, monkeypatch):
    monkeypatch.setenv("KNEEL_JOBS", text)
    with pytest.raises(KneelError, match=f"KNEEL_JOBS is '{text}'"):
        engines.get_table([SETTINGS["mean_shape"]], SMOKE, cohort, [0])


def test_unknown_engines_and_missing_extras_are_named(cohort, store):
    with pytest.raises(
        KneelError, match="unknown engine 'abacus': choose one of sequential, processes, ray, dask"
    ):
        engines.get_table([SETTINGS["mean_shape"]], SMOKE, cohort, [0], engine="abacus")
    with pytest.raises(KneelError, match=r"needs no_such_module .*: pip install \"kneel-compendium\[ray\]\""):
        workers.need("no_such_module", "ray")


def test_several_runs_go_to_processes_unless_an_engine_is_named(cohort, store, monkeypatch, capsys):
    monkeypatch.delenv("KNEEL_ENGINE")
    engines.get_table([SETTINGS["mean_shape"]], SMOKE, cohort, [0])
    assert "processes: finished" not in capsys.readouterr().out
    engines.get_table([SETTINGS["mean_shape"]], SMOKE, cohort, [0, 1, 2])
    assert capsys.readouterr().out.count("processes: finished") == 2
    engines.get_table([SETTINGS["mean_shape"]], SMOKE, cohort, [3, 4], engine="sequential")
    assert "processes: finished" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "device, asked, missing, engine",
    [
        ("cpu", None, 2, "processes"),
        ("cpu", None, 1, "sequential"),
        ("cuda", None, 5, "sequential"),
        ("cuda", 1, 5, "sequential"),
        ("cuda", 5, 5, "processes"),
        ("cuda", 5, 1, "sequential"),
    ],
)
def test_runs_share_a_gpu_only_where_that_was_asked_for(device, asked, missing, engine):
    assert engines.usual_engine(device, asked, missing) == engine
