import numpy as np
import pytest

from kneel_lib.experiment.store import recorded_runs
from kneel_lib.metrics import landmark_errors
from kneel_lib.reporting.ensembles import COLUMNS, ensemble_table, error_of_mean


def test_error_of_the_mean_point_needs_no_truth():
    rng = np.random.default_rng(0)
    truth, points = rng.normal(size=(5, 16, 2)), rng.normal(size=(3, 5, 16, 2))
    errors = np.stack([landmark_errors(answer, truth) for answer in points])
    assert np.allclose(error_of_mean(points, errors), landmark_errors(points.mean(axis=0), truth))


def test_answers_that_are_alike_gain_nothing_together():
    points = np.random.default_rng(1).normal(size=(4, 16, 2))
    errors = np.full((4, 16), 0.7)
    assert np.allclose(error_of_mean(np.stack([points, points]), np.stack([errors, errors])), 0.7)


def test_recorded_trainings_differ_from_one_another_less_than_from_the_truth():
    table = ensemble_table(recorded_runs(), {"seeds": (("study", "best"),)}).set_index("fold").loc[0]
    assert table["count"] == 3 and table["knees"] == 106
    assert 0 < table["apart_mm"] < table["each_mm"]
    assert table["each_mm"] + table["difference"] == pytest.approx(table["together_mm"])
    assert table["low"] < table["difference"] < table["high"] < 0


def test_one_training_alone_has_no_row():
    table = ensemble_table(recorded_runs(), {"alone": (("study", "best_js"),)})
    assert table.empty and tuple(table.columns) == COLUMNS
