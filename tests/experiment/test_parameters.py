"""Parameters of the notebooks, as their setup cells check them: one line that names the choice, whoever
sets it."""

import subprocess
import sys

import nbformat
import papermill
import pytest

from kneel_lib import notebook_runner, paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment import parameters

NOTEBOOKS = {path.stem: path for path in notebook_runner.notebook_paths()}

WRONG = [
    ("03_hourglass", "fold", 9, "parameter fold: 9, allowed is a whole number from 0 to 4"),
    ("03_hourglass", "seed", -1, "parameter seed: -1, allowed is a whole number from 0 to"),
    ("03_hourglass", "seed", 1.5, "parameter seed must be of type int: got 1.5"),
    ("03_hourglass", "seed", True, "parameter seed must be of type int: got True"),
    (
        "03_hourglass",
        "foldd",
        1,
        "no parameter 'foldd' in 03_hourglass: did you mean fold? there are cohort,",
    ),
    (
        "03_hourglass",
        "models",
        2,
        "no parameter 'models' in 03_hourglass: there are cohort, fold, profile, seed",
    ),
    ("04_losses", "settings", "wing", "parameter settings must be of type list: got 'wing'"),
    ("08_test_sets", "models", 0, "parameter models: 0, allowed is a whole number from 1 to 5"),
    ("04_losses", "settings", ["wing", "mean_shape"], "parameter settings: mean_shape has no network"),
    ("12_whose_truth", "profile", "smok", "parameter profile: 'smok', allowed is one of smoke, quick"),
]


def parameters_cell(notebook):
    cells = nbformat.read(NOTEBOOKS[notebook], as_version=4).cells
    return next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))


def checked(notebook, given=None, edited=""):
    """What `check` says after the notebook's own parameters cell, `edited` by the reader, and papermill's
    cell with `given`."""
    cells = [parameters_cell(notebook), edited]
    if given:
        cells.append("# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in given.items()))
    namespace = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, namespace)
    return parameters.check(notebook, namespace)


@pytest.mark.parametrize("notebook, name, value, message", WRONG)
def test_what_papermill_sets_wrongly_is_one_line_that_names_it(notebook, name, value, message):
    with pytest.raises(KneelError) as caught:
        checked(notebook, {name: value})
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert caught.value._render_traceback_() == [f"error: {caught.value}"]


def test_what_a_reader_writes_into_the_cell_is_checked_too():
    with pytest.raises(KneelError, match="parameter fold: 5, allowed"):
        checked("03_hourglass", edited="fold: int = 5")
    with pytest.raises(KneelError, match="no parameter 'folds' in any notebook: did you mean fold"):
        checked("03_hourglass", edited="folds: int = 1")


@pytest.mark.trains
@pytest.mark.parametrize("notebook, name, value, message", [WRONG[4], WRONG[7]])
def test_papermill_on_its_own_ends_with_that_line(notebook, name, value, message, tmp_path):
    target = tmp_path / "executed.ipynb"
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS[notebook]), str(target), "-k", "python3"]
    process = subprocess.run([*command, "-p", name, str(value)], capture_output=True, text=True)
    assert process.returncode != 0
    assert process.stderr.strip().splitlines()[-1].startswith(f"error: {message}")
    errors = [
        output
        for cell in nbformat.read(target, as_version=4).cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert [len(error.traceback) for error in errors] == [1] and errors[0].ename == "KneelError"


def test_a_parameter_that_lost_its_type_in_the_cell_is_named():
    cell = "profile: str = 'smoke'\ncohort: str = 'auto'\nseed: int = 0\nfold = 7"
    namespace = {"In": ["", cell], "profile": "smoke", "cohort": "auto", "seed": 0, "fold": 7}
    namespace["__annotations__"] = {"profile": str, "cohort": str, "seed": int}
    with pytest.raises(KneelError, match="parameter fold has no type in the parameters cell"):
        parameters.check("03_hourglass", namespace)
    namespace["In"] = ["", cell.replace("fold = 7", ""), "%matplotlib inline", "fold = 7"]
    assert parameters.check("03_hourglass", namespace).values["seed"] == 0


def test_every_parameters_cell_is_typed_and_says_what_is_allowed():
    for path in NOTEBOOKS.values():
        for name, entry in papermill.inspect_notebook(str(path)).items():
            assert entry["inferred_type_name"] != "None" and len(entry["help"]) > 5, (path.name, name)


def test_published_notebooks_check_their_parameters_under_their_own_name_and_write_to_the_short_folder():
    for notebook, path in NOTEBOOKS.items():
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert f'parameters.check("{notebook}", globals())' in cells[1], notebook
        assert "paths.output(" not in "".join(cells), notebook
        declared = notebook_runner.declared_parameters(path)
        assert parameters.unusual(notebook, declared) == [], notebook
        assert checked(notebook).output("simulated") == paths.output("simulated", "quick")


@pytest.mark.parametrize(
    "notebook, given, folder",
    [
        ("03_hourglass", {"fold": 1, "seed": 3}, "simulated-quick-seed3-fold1"),
        ("03_hourglass", {"profile": "smoke", "fold": 0}, "simulated-smoke"),
        ("04_losses", {"settings": ["wing", "l1"]}, "simulated-quick-settings_wing+l1"),
        ("08_test_sets", {"models": 2, "datasets": ["B"]}, "simulated-quick-models2-datasets_B"),
    ],
)
def test_unusual_parameters_are_part_of_the_folder(notebook, given, folder):
    assert checked(notebook, given).output("simulated").name == folder


def test_a_reader_who_edits_the_cell_overwrites_nothing():
    usual, edited = checked("03_hourglass"), checked("03_hourglass", edited="fold: int = 2")
    assert edited.output("crops").name == usual.output("crops").name + "-fold2"


def test_a_long_list_keeps_the_folder_short_and_of_its_own():
    rows = list(parameters.SETTINGS)
    names = {checked("09_report", {"settings": rows[:count]}).output("crops").name for count in (20, 21)}
    assert len(names) == 2 and max(map(len, names)) < 60
