"""Shared parts of the tests: a small cohort with drawn knees, and the real crops where they are on this machine."""

import os

import numpy as np
import pandas as pd
import pytest
import torch

from kneel_lib import paths
from kneel_lib.data.cohort import Cohort

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or min(2, os.cpu_count())))


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
        distance = (columns - knee[:, 0, None, None] / 0.88) ** 2 + (rows - knee[:, 1, None, None] / 0.88) ** 2
        images.append((30 + 200 * np.exp(-distance / 8).max(axis=0)).astype(np.uint8))
    knees = pd.DataFrame({"subject_id": 9000000 + np.arange(count) // 2 * 2, "side": np.where(np.arange(count) % 2, "L", "R"),
                          "kl": np.arange(count) // 2 % 5, "split": "train", "mm_per_px": 0.88})
    return Cohort("drawn", knees, tuple(images), points, 0.9)


@pytest.fixture(scope="session")
def cohort():
    return drawn_cohort()


@pytest.fixture(scope="session")
def crops():
    """The real crops; tests that need them are skipped where they are not."""
    if not (paths.downloads() / "oai_crops").is_dir():
        pytest.skip("the real crops are not on this machine (data/README.md)")
    from kneel_lib.data.crops import load_crops
    return load_crops()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty working store of runs."""
    monkeypatch.setenv("KNEEL_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"
