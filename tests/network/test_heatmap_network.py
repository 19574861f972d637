import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from kneel_lib.errors import KneelError
from kneel_lib.experiment import runs, trained
from kneel_lib.experiment.profiles import Profile
from kneel_lib.experiment.rows import SETTINGS
from kneel_lib.network import heatmap_network, training

TINY = Profile("tiny", size_px=64, spacing_mm=1.6, width=4, depth=2, epochs=10, batch=8)


def test_without_the_toolkit_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "landmarker", None)
    with pytest.raises(
        KneelError, match="needs the landmarker toolkit .*: pip install --no-deps -r requirements-heatmap.txt"
    ):
        training.make_network(SETTINGS["heatmap"], TINY)


@pytest.fixture
def toolkit():
    pytest.importorskip(
        "landmarker", reason="the optional landmarker toolkit is not installed (requirements-heatmap.txt)"
    )


def test_coordinates_are_read_where_the_heatmaps_peak(toolkit):
    loss = heatmap_network.HeatmapLoss(16, 64, 1.6)
    truth = torch.from_numpy(np.random.default_rng(0).uniform(0.2, 0.8, (3, 16, 2)).astype(np.float32))
    maps = loss.generator(truth.flip(-1) * 64).detach()
    read = heatmap_network.SpatialConfiguration(16).coordinates(maps)
    assert (read - truth).abs().max() * 64 < 0.5
    assert loss(maps, truth) < loss(maps.roll(3, dims=3), truth)
    gaps = truth.clone()
    gaps[0, 0] = float("nan")
    moved = maps.clone()
    moved[0, 0] = 7.0
    assert loss(maps, gaps).item() == pytest.approx(loss(moved, gaps).item(), rel=1e-6)


def test_the_row_is_a_run_like_all_others(toolkit, cohort, store):
    run = runs.get_run(SETTINGS["heatmap"], TINY, cohort, 0)
    assert (
        len(run.history) == 3
        and np.isfinite(run.errors()).all()
        and run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    )
    again = trained.load_network(run)
    assert isinstance(again, heatmap_network.SpatialConfiguration)
    assert runs.get_run(SETTINGS["heatmap"], replace(TINY), cohort, 0).folder == run.folder
