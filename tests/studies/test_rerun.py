"""A recorded run against itself, moved by what is known."""

from dataclasses import replace

import pytest

from kneel_lib import paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment.store import recorded_in
from studies.rerun.__main__ import main
from studies.rerun.compare import compared


@pytest.fixture(scope="module")
def recorded():
    path = paths.RESULTS / "runs" / "crops" / "study" / "wing.parquet"
    return next(iter(recorded_in(path).values()))


def test_what_a_second_run_says_is_held_against_the_first_knee_by_knee(recorded):
    moved = recorded.predictions.assign(x3=recorded.predictions["x3"] + 0.4).sample(frac=1, random_state=0)
    made = recorded.manifest | {"started": "later", "processor": "another", "threads": 2, "precision": "fp32"}
    rows = list(compared(recorded, replace(recorded, predictions=moved, manifest=made)))
    assert [row["weights"] for row in rows] == ["final", "ema"]
    for row in rows:
        assert row["greatest_apart_mm"] == pytest.approx(0.4) and row["mean_apart_mm"] == pytest.approx(
            0.4 / 16
        )
        assert (
            row["again_on"] == "another, 2 threads, fp32" != row["recorded_on"] and row["difference_mm"] == 0
        )
        assert row["recorded_mre_mm"] == pytest.approx(recorded.errors(weights=row["weights"]).mean())


def test_the_recorded_run_is_no_second_one(recorded):
    with pytest.raises(KneelError, match="is the recorded run itself: set KNEEL_RUNS to an empty folder"):
        list(compared(recorded, recorded))


def test_what_is_not_recorded_cannot_be_compared(capsys):
    assert main(["wing", "--cohort", "simulated", "--profile", "smoke"]) == 1
    assert "is not recorded: record it first" in capsys.readouterr().err
