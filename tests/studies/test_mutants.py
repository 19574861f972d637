"""Mutation testing itself: it finds the changes, tries them on a copy, and leaves the checkout alone."""

import subprocess
import sys

import pandas as pd
import pytest

from kneel_lib import paths
from studies.mutants.__main__ import MODULES, changes_of, shares


def test_changes_are_found_in_every_module_in_the_same_order_every_time(monkeypatch):
    monkeypatch.chdir(paths.ROOT)
    first, again = (
        [
            (change.mutations[0].operator_name, change.mutations[0].start_pos)
            for _, change in changes_of("metrics")
        ]
        for _ in range(2)
    )
    assert first == again and any("GtE_Gt" in name for name, _ in first)
    assert not any("Shift" in name or "_Bit" in name for name, _ in first)


def test_modules_and_their_tests_are_there():
    for module, *tests in MODULES.values():
        assert (paths.ROOT / "kneel_lib" / module).is_file()
        assert tests and all((paths.ROOT / "tests" / test).is_file() for test in tests)


def test_shares_are_of_each_module_and_of_all():
    table = pd.DataFrame({"module": ["a", "a", "b"], "noticed": [True, False, True]})
    assert shares(table).values.tolist() == [["a", 2, 1, 50.0], ["b", 1, 1, 100.0], ["all", 3, 2, 66.7]]


@pytest.mark.trains
def test_a_sample_is_tried_on_a_copy(tmp_path):
    before = {name: (paths.ROOT / "kneel_lib" / files[0]).read_bytes() for name, files in MODULES.items()}
    command = [sys.executable, "-m", "studies.mutants", "--sample", "1", "--modules", "metrics"]
    done = subprocess.run(
        [*command, "--table", tmp_path / "table.csv"], cwd=paths.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["module"].tolist() == ["metrics"] and " -> " in table["change"][0]
    assert before == {
        name: (paths.ROOT / "kneel_lib" / files[0]).read_bytes() for name, files in MODULES.items()
    }
