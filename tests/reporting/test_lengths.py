"""Rows that differ in their epochs alone: recorded runs, and the same with errors that are known to
differ."""

from dataclasses import replace

import numpy as np
import pytest

from kneel_lib import paths
from kneel_lib.experiment.store import recorded_in
from kneel_lib.reporting.lengths import COLUMNS, length_table


@pytest.fixture(scope="module")
def longer():
    return list(recorded_in(paths.RESULTS / "runs" / "crops" / "study" / "wing.parquet").values())


def shorter(run, by_mm=0.1, **profile):
    """The run as if it had been trained for 40 epochs, or otherwise, and erred by so much more."""
    changed = replace(run.spec.profile, name="shorter", **{"epochs": 40, **profile})
    errors = {f"e{number}": run.predictions[f"e{number}"] + by_mm for number in range(16)}
    return replace(run, spec=replace(run.spec, profile=changed), predictions=run.predictions.assign(**errors))


def test_the_change_is_of_the_folds_that_both_have(longer):
    folds = longer[:3]
    table = length_table([*longer, *(shorter(run) for run in folds)])
    assert list(table["epochs"]) == [40, 60] and set(table["trainings"]) == {3}
    assert table["mre_mm"][1] == pytest.approx(np.mean(np.concatenate([run.errors() for run in folds])))
    assert np.isnan(table["change_mm"][0]) and table["against"][1] == 40
    assert table["change_mm"][1] == pytest.approx(-0.1)
    assert table["low_trainings"][1] <= -0.1 + 1e-9 and table["high_trainings"][1] >= -0.1 - 1e-9


@pytest.mark.parametrize("other", [{"batch": 8}, {"size_px": 192}, {"spacing_mm": 0.5}])
def test_what_differs_in_more_than_its_epochs_is_not_compared(longer, other):
    table = length_table([*longer, *(shorter(run, **other) for run in longer)])
    assert table.empty and tuple(table.columns) == COLUMNS
