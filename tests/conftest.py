"""Shared parts of the tests: a small cohort with drawn knees, and the real crops where they are on this
machine.

Tests may run in several processes at once (`make test`): each has a store, a cache and an output folder of
its own, and computes with one thread, as all that imports `kneel_lib` does.
"""

import json
import os
import shutil
import tempfile
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from kneel_lib import paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.folds import split_rows
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import NORMALISED, SEARCH
from kneel_lib.experiment.spec import plan
from kneel_lib.network import training
from kneel_lib.pipeline.predictors import Network

WORKER = os.environ.get("PYTEST_XDIST_WORKER")

settings.register_profile("same every time", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("same every time")


def pytest_configure(config):
    """Nothing that a test writes without a fixture falls into the project's own runs/, build/ and output/,
    or into another worker's."""
    folder = tempfile.mkdtemp(prefix=f"kneel-{WORKER or 'tests'}-")
    for name in ("runs", "cache", "output"):
        os.environ[f"KNEEL_{name.upper()}"] = os.path.join(folder, name)
    os.environ.setdefault("KNEEL_ENGINE", "sequential")  # the tests themselves use the cores
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A file's tests go to one worker, so that what they share is made once, unless a group of their own is
    named; the longest first.

    Groups are named before pytest-xdist reads them.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))
    items.sort(key=lambda item: not any(mark.kwargs.get("long") for mark in item.iter_markers("trains")))


def pytest_terminal_summary(terminalreporter):
    """No test skips in silence: a line for each reason, with how many tests it kept from running."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} skipped: {reason}")


def drawn_cohort(count=24, seed=0):
    """Pictures of bright dots on landmarks that vary from knee to knee; two knees of some subjects."""
    random = np.random.default_rng(seed)
    tibia = np.stack([np.linspace(18, 78, 9), 52 + 3 * np.cos(np.linspace(0, 6, 9))], axis=1)
    femur = np.stack([np.linspace(20, 76, 7), 44 - 5 * np.sin(np.linspace(0, 3, 7))], axis=1)
    mean = np.concatenate([tibia, femur])
    points = mean + random.normal(0, 1, (count, 1, 2)) + random.normal(0, 0.4, (count, 16, 2))
    rows, columns = np.mgrid[:110, :112]
    images = []
    for knee in points:
        distance = (columns - knee[:, 0, None, None] / 0.88) ** 2 + (
            rows - knee[:, 1, None, None] / 0.88
        ) ** 2
        images.append((30 + 200 * np.exp(-distance / 8).max(axis=0)).astype(np.uint8))
    knees = pd.DataFrame(
        {
            "subject_id": 9000000 + np.arange(count) // 2 * 2,
            "side": np.where(np.arange(count) % 2, "L", "R"),
            "kl": np.arange(count) // 2 % 5,
            "split": "train",
            "mm_per_px": 0.88,
        }
    )
    return Cohort("drawn", knees, tuple(images), points, 0.9)


@pytest.fixture(scope="session")
def cohort():
    return drawn_cohort()


TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=1, batch=8)


@pytest.fixture(scope="session")
def tiny_networks():
    """(landmark networks, search networks), one untrained of each: what they say is nonsense, but always the
    same.

    Maps of the landmark network are steep enough for its answers to depend on the picture; those of the
    search are flat.
    """
    made = []
    for setting, spacing_mm, steepness in ((NORMALISED, TINY.spacing_mm, 10.0), (SEARCH, 1.0, 1.0)):
        torch.manual_seed(0)
        model = training.make_network(setting, TINY).eval()
        with torch.no_grad():
            model.output.weight.mul_(steepness)
        made.append([Network(model, TINY.size_px, spacing_mm, precision="fp32")])
    return tuple(made)


def untrained_run(setting, profile, knees, fold):
    """A finished run that trained nothing, kept in the store with its network; its predictions are the
    truth."""
    spec = plan(setting, profile, knees, fold)
    history = pd.DataFrame({"epoch": range(1, profile.epochs + 1), "seconds": 0.0})
    held_out = knees.select(split_rows(knees, fold)[1])
    told = runs.predict_held_out(lambda rois, centre: rois.landmarks_px, spec, held_out, "truth", "final")
    told.insert(4, "fold", spec.held_out)
    times = {"started": "2026-01-01T00:00:00+00:00", "seconds": 0.0, "train_seconds": 0.0}
    manifest = {**times, "parameters": 0, **runs.environment()}
    return runs.keep(spec, manifest, history, told, trained.build_network(spec))


NO_CROPS = "the real crops are not on this machine: data/README.md says where to get them"


@pytest.fixture(scope="session")
def crops():
    """The real crops; tests that need them are skipped where they are not, and the summary says how many."""
    if not (paths.downloads() / "oai_crops").is_dir():
        pytest.skip(NO_CROPS)
    from kneel_lib.data.crops import load_crops

    return load_crops()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty working store of runs."""
    monkeypatch.setenv("KNEEL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


CLEAN = "0123456789ab"


def say(store, commit=CLEAN, **said):
    """Let the manifest of every finished run of a store say that it was made at this commit: tests run in
    trees with changes too, whose
    runs are not recorded."""
    for path in store.rglob("manifest.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "commit": commit, **said}))
