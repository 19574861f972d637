"""The command `predict` is ended midway, by a signal or a full disk: what was answered is kept."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from kneel_lib.pipeline.predict import ANSWERS

pytestmark = pytest.mark.trains

COUNT = 6


@pytest.fixture
def folder(tmp_path):
    """Small pictures of nothing."""
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        noise = random.integers(0, 255, (100, 120)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / f"{number:02}.png")
    return tmp_path / "in"


def listening():
    """A process hears signals also where the tests themselves run under nohup or in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(folder, *options, **how):
    command = [sys.executable, "-m", "kneel_lib", "predict", folder, "--output", folder.parent / "out"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *options], **{"preexec_fn": listening} | streams | how, text=True)


def answered(folder):
    lines = (folder.parent / "out" / ANSWERS).read_text().splitlines()
    return [json.loads(line)["file"] for line in lines]


@pytest.mark.parametrize("name, jobs", [("SIGTERM", "2"), ("SIGINT", "1"), ("SIGHUP", "1"), ("SIGKILL", "2")])
def test_a_signal_costs_no_answer_and_no_process_is_left(name, jobs, folder):
    process = started(folder, "--jobs", jobs)
    said = [process.stdout.readline() for _ in range(2)]
    others = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=60)
    kept = answered(folder)
    assert len(set(kept)) == len(kept) >= 1 and all(
        "error: " in line or "predicting" in line for line in said
    )
    assert not psutil.wait_procs(others, timeout=60)[1]
    if name != "SIGKILL":
        assert process.returncode in (1, 130) and errors.startswith("stopped; ") and errors.count("\n") == 1
        assert set(pd.read_csv(folder.parent / "out" / "landmarks.csv")["file"]) == set(kept)
        return
    again = started(folder, "--jobs", "1", "--resume")
    assert again.communicate(timeout=300)[1] == "" and answered(folder)[: len(kept)] == sorted(kept)
    assert sorted(answered(folder)) == sorted(path.name for path in folder.iterdir())


def test_a_process_that_was_not_yet_given_a_file_ends_with_the_one_that_started_it(folder):
    process = started(folder, "--jobs", "3")
    while len(others := psutil.Process(process.pid).children(recursive=True)) < 3:
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    assert not psutil.wait_procs(others, timeout=60)[1]


def test_who_is_told_to_live_on_by_nohup_does(folder):
    process = started(folder, "--jobs", "1", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=300)
    assert len(answered(folder)) == COUNT


def test_a_disk_that_is_full_is_said_in_one_line_and_the_run_goes_on_from_there(folder):
    limit = 1500
    process = started(
        folder, "--jobs", "1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and errors.count("\n") == 1 and errors.startswith("error: cannot ")
    whole = (folder.parent / "out" / ANSWERS).read_text().split("\n")[:-1]
    kept = [json.loads(line)["file"] for line in whole]
    assert 0 < len(kept) < COUNT
    again = started(folder, "--jobs", "1", "--resume")
    again.communicate(timeout=300)
    assert again.returncode == 1 and len(answered(folder)) == COUNT
    assert len(pd.read_csv(folder.parent / "out" / "landmarks.csv")) >= COUNT


def test_a_worker_that_is_killed_costs_no_answer(folder):
    process = started(folder, "--jobs", "2")
    process.stdout.readline()
    (worker, *_) = [
        child for child in psutil.Process(process.pid).children() if "popen_loky" in " ".join(child.cmdline())
    ]
    worker.kill()
    _, errors = process.communicate(timeout=300)
    assert sorted(answered(folder)) == sorted(path.name for path in folder.iterdir()), errors
    assert not os.path.exists(folder.parent / "out" / ".writable")


def test_who_stops_listening_loses_no_answer(folder):
    process = started(folder, "--jobs", "1")
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait()
    assert len(answered(folder)) == COUNT
