"""A sweep: real papermill on a small notebook, one point of whose grid fails."""

import json

import nbformat
import pandas as pd
import pytest

from kneel_lib import notebook_runner, paths
from kneel_lib.cli import parse
from kneel_lib.errors import KneelError
from kneel_lib.sweep import points, sweep

PARAMETERS = 'profile: str = "smoke"\ncohort: str = "simulated"\nseed: int = 0\nfold: int = 0'
CODE = """
import pandas as pd
from kneel_lib.errors import KneelError
from kneel_lib.experiment import parameters
from kneel_lib.reporting.export import write_table

given = parameters.check("00_grid", globals())
if (seed, fold) == (1, 0):
    raise KneelError("the disk is full: free some space")
table = pd.DataFrame({"setting": ["wing", "l1"], "mre_mm": [seed + fold / 10, 7]})
write_table(table, given.output(cohort) / "tables" / "errors.csv")
"""
GIVEN = {"profile": "smoke", "cohort": "simulated"}


@pytest.fixture
def grid_notebook(tmp_path, monkeypatch):
    """A notebook whose error is seed + fold / 10, and one that has no fold."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    for name, cell in (("00_grid", PARAMETERS), ("01_plain", PARAMETERS.replace("\nfold: int = 0", ""))):
        tagged = nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[tagged, nbformat.v4.new_code_cell(CODE)])
        notebook.metadata["kernelspec"] = json.loads(
            '{"display_name": "Python 3", "language": "python", "name": "python3"}'
        )
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return tmp_path / "output"


@pytest.mark.trains
def test_a_point_that_fails_costs_no_other_and_all_numbers_come_into_one_table(grid_notebook, capfd):
    assert sweep(["00"], {"seed": [0, 1], "fold": [0, 2]}, GIVEN, grid_notebook) == 1
    gathered = pd.read_csv(grid_notebook / "sweep.csv")
    errors = gathered[gathered["entry"] == "wing"]
    assert list(errors["seed"]) == [0, 0, 1] and list(errors["fold"]) == [0, 2, 2]
    assert list(errors["value"]) == [0, 0.2, 1.2] and set(errors["table"]) == {"tables/errors.csv"}
    spread = pd.read_csv(grid_notebook / "spread.csv").set_index("entry")
    assert spread.loc["wing", "mean"] == pytest.approx(1.4 / 3, abs=1e-3) and spread.loc["l1", "sd"] == 0
    printed = capfd.readouterr().out
    assert "[3/4] 00_grid.ipynb, seed 1, fold 0" in printed and "3 of 4 points of the grid" in printed
    assert "failed: 00_grid.ipynb, seed 1, fold 0: error: the disk is full" in printed
    assert "6 numbers: " in printed and "Traceback" not in printed
    folders = {path.parent.parent.name for path in grid_notebook.rglob("errors.csv")}
    assert folders == {"simulated-smoke", "simulated-smoke-fold2", "simulated-smoke-seed1-fold2"}


def test_a_notebook_without_a_fold_is_executed_once_a_seed(grid_notebook):
    found = points(None, {"seed": [0, 1], "fold": [0, 1, 2]}, GIVEN, grid_notebook)
    assert [execution.path.stem for execution in found] == 6 * ["00_grid"] + 2 * ["01_plain"]
    assert len({execution.target for execution in found}) == 8
    assert [execution.said for execution in found[-2:]] == [", seed 0", ", seed 1"]


def test_a_grid_that_cannot_be_is_refused_before_anything_runs(grid_notebook):
    with pytest.raises(KneelError, match="parameter fold: 9, allowed is"):
        sweep(["00"], {"seed": [0], "fold": [9]}, GIVEN, grid_notebook)
    with pytest.raises(KneelError, match="no parameter 'fold' in any of the notebooks"):
        sweep(["01"], {"seed": [0], "fold": [0]}, GIVEN, grid_notebook)
    assert not grid_notebook.exists()


@pytest.mark.trains
def test_the_driver_writes_unusual_parameters_beside_the_usual_ones(grid_notebook):
    for path in notebook_runner.notebook_paths(["01"]):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[1].source = "pass"
        nbformat.write(notebook, path)
    for seed in (0, 4):
        assert notebook_runner.run_notebooks({"seed": seed}, f"{grid_notebook}/crops-smoke", ["01"]) == []
    made = {path.parent.parent.name for path in grid_notebook.rglob("01_plain.ipynb")}
    assert made == {"crops-smoke", "crops-smoke-seed4"}


def test_the_command_line_of_a_sweep():
    options = parse("sweep --notebook 03 --seeds 0 1 --folds 0 1 2 --profile smoke".split())
    assert (options.seeds, options.folds, options.notebook) == ([0, 1], [0, 1, 2], ["03"])
