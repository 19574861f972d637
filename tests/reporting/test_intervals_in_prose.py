"""Intervals over trainings that the pages and notebooks quote are those of the recorded tables."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from kneel_lib import paths
from kneel_lib.experiment.store import recorded_runs
from kneel_lib.reporting.comparisons import paired_errors, training_means
from kneel_lib.reporting.selection import STUDY, group_runs, pooled_predictions, with_ema
from kneel_lib.reporting.statistics import over_trainings

NUMBER = r"([-+]?\d+\.\d+)"
QUOTED = re.compile(
    rf"over (?:the )?(?:five |two )?trainings (?:from )?{NUMBER} to {NUMBER}"
    rf"|{NUMBER} to {NUMBER} over (?:the )?(?:five |two )?trainings"
)
TABLES = ("comparisons", "ablations", "comparisons_unlike")
ELSEWHERE = [
    ("elastic", "l1"),
    ("robust", "wing_nowd"),
    ("mixup_0.5_nowd", "wing_nowd"),
    ("l1_nowd", "wing_nowd"),
]
"""Pairs that a sentence compares and no table does."""


def read(path):
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def quoted():
    for path in [*sorted((paths.ROOT / "docs").glob("*.md")), *sorted(paths.NOTEBOOKS.glob("*.ipynb"))]:
        for match in QUOTED.finditer(read(path)):
            yield path.name, [number for number in match.groups() if number]


def elsewhere(setting, against, runs):
    """low, high of the difference in MRE between two rows, over their five trainings."""
    groups = group_runs(runs)
    both, first, second = paired_errors(
        *(pooled_predictions(groups[STUDY, "study", name]) for name in (setting, against))
    )
    return over_trainings(training_means(first - second, both["fold"].to_numpy()))[1:3]


@pytest.fixture(scope="module")
def intervals():
    """The intervals (low, high) of the tables and of the pairs in no table, each in both directions."""
    tables = [pd.read_csv(paths.RESULTS / f"{name}.csv", comment="#") for name in TABLES]
    table = pd.concat(tables).query("quantity == 'mre_mm'")[["low_trainings", "high_trainings"]]
    named = {name for pair in ELSEWHERE for name in pair}
    runs = [
        run for run in recorded_runs() if run.spec.profile.name == "study" and run.spec.setting.name in named
    ]
    pairs = [elsewhere(*pair, chosen) for pair in ELSEWHERE for chosen in (runs, with_ema(runs))]
    known = np.array([*table.dropna().to_numpy(), *pairs])
    return [*known.tolist(), *(-known[:, ::-1]).tolist()]


@pytest.mark.parametrize("place, interval", list(quoted()), ids=str)
def test_an_interval_over_trainings_is_of_a_table(place, interval, intervals):
    half_a_digit = 0.51 * 10.0 ** -len(interval[0].split(".")[1])
    low, high = map(float, interval)
    assert any(abs(low - a) <= half_a_digit and abs(high - b) <= half_a_digit for a, b in intervals), place
