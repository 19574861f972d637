import re
import subprocess
import sys

import nbformat
import psutil
import pytest

from kneel_lib import notebook_runner, paths
from kneel_lib.cli import main
from kneel_lib.errors import KneelError
from kneel_lib.experiment.parameters import ALLOWED

GOOD = "from pathlib import Path\nPath(target).write_text(f'{number}')"
BAD = "from kneel_lib.errors import KneelError\nraise KneelError('the disk is full: free some space')"


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Three small notebooks, the second of which fails."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    for name, code in (("00_first", GOOD), ("01_second", BAD), ("02_third", GOOD)):
        parameters = nbformat.v4.new_code_cell(
            f"number = 1\nrate = 0.5\ntarget = '{tmp_path / name}.txt'", metadata={"tags": ["parameters"]}
        )
        notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        }
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return tmp_path


@pytest.mark.trains
def test_the_driver_keeps_going_and_lists_what_failed(notebooks, capfd):
    assert notebook_runner.run_notebooks({"number": 7}, notebooks / "out") == ["01_second.ipynb"]
    assert (notebooks / "00_first.txt").read_text() == (notebooks / "02_third.txt").read_text() == "7"
    printed = capfd.readouterr().out
    assert (
        "failed: 01_second.ipynb: error: the disk is full: free some space" in printed
        and "2 of 3 notebooks ran to their end" in printed
    )
    assert "Traceback" not in printed and "notebooks/02_third.ipynb" in printed


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"nubmer": 3},
            "no parameter 'nubmer' in any of the notebooks: did you mean number. there are number,",
        ),
        ({"number": "three"}, "parameter number must be of type int, like 1 in 00_first.ipynb: got 'three'"),
        ({"number": True}, "must be of type int"),
    ],
)
def test_parameters_are_checked_before_anything_runs(notebooks, given, message):
    with pytest.raises(KneelError, match=message):
        notebook_runner.run_notebooks(given, notebooks / "out")
    assert not (notebooks / "out").exists()


def test_a_whole_number_may_stand_for_a_float(notebooks):
    assert notebook_runner.check_parameters({"rate": 1}, notebook_runner.notebook_paths())


def test_names_choose_notebooks(notebooks):
    assert [path.stem for path in notebook_runner.notebook_paths(["02"])] == ["02_third"]
    with pytest.raises(KneelError, match="no notebook starts with '07'"):
        notebook_runner.notebook_paths(["07"])


def test_an_output_that_cannot_be_written(notebooks):
    (notebooks / "out").write_text("in the way")
    with pytest.raises(KneelError, match="cannot write .*out.*give another folder"):
        notebook_runner.run_notebooks({}, notebooks / "out")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("seed=3", ("seed", 3)),
        ("settings=['wing']", ("settings", ["wing"])),
        ("profile=quick", ("profile", "quick")),
    ],
)
def test_parameters_are_read_as_literals_or_text(text, expected):
    assert notebook_runner.parse_parameter(text) == expected


def test_the_hash_of_a_notebook_is_that_of_its_code_alone(notebooks):
    notebook = nbformat.read(notebook_runner.notebook_paths()[0], as_version=4)
    before = notebook_runner.code_hash(notebook)
    notebook.cells.append(nbformat.v4.new_markdown_cell("prose"))
    assert notebook_runner.code_hash(notebook) == before
    notebook.cells[1]["source"] += "\n"
    assert notebook_runner.code_hash(notebook) != before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "--profile", "huge"], "unknown profile 'huge': choose one of smoke, quick"),
        (["train", "wingg"], "unknown setting 'wingg'"),
        (["run", "--cohort", "crops"], "no real knees on this machine"),
        (["verify"], "530 files under .* are missing or different"),
    ],
)
def test_the_command_line_says_one_line_and_exits_with_1(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KNEEL_DATA", str(tmp_path))
    assert main(arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert re.search(message, lines[0])


@pytest.mark.trains
def test_notebooks_that_run_side_by_side_have_a_thread_each_and_name_their_lines(notebooks, capfd):
    threads = (
        "import os\nfrom pathlib import Path\n"
        "Path(target).write_text(os.environ['OMP_NUM_THREADS'])\nprint('computed')"
    )
    for path in notebook_runner.notebook_paths(["00", "02"]):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[1].source = threads
        nbformat.write(notebook, path)
    assert notebook_runner.run_notebooks({}, notebooks / "out", at_once=2) == ["01_second.ipynb"]
    assert (notebooks / "00_first.txt").read_text() == (notebooks / "02_third.txt").read_text() == "1"
    printed = capfd.readouterr().out
    assert (
        "02: computed" in printed
        and "2 of 3 notebooks ran to their end" in printed
        and "failed: 01_second.ipynb: error: the disk is full" in printed
    )


@pytest.mark.trains
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_notebooks_end_with_a_driver_that_is_killed(notebooks):
    endless = (
        "import os\nfrom pathlib import Path\nPath(target).write_text(str(os.getpid()))\n"
        "print('on', flush=True)\nwhile True:\n    pass"
    )
    (path,) = notebook_runner.notebook_paths(["00"])
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = endless
    nbformat.write(notebook, path)
    code = (
        "import sys; from pathlib import Path; from kneel_lib import notebook_runner, paths\n"
        "paths.NOTEBOOKS = Path(sys.argv[1])\n"
        "notebook_runner.run_notebooks({}, sys.argv[2], ['00'])"
    )
    command = [sys.executable, "-c", code, path.parent, notebooks / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        for line in driver.stdout:
            if line == "on\n":
                break
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    assert int((notebooks / "00_first.txt").read_text()) in [child.pid for child in children]
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_an_engine_that_spreads_runs_gets_one_notebook_at_a_time():
    assert notebook_runner.side_by_side("ray") == notebook_runner.side_by_side("processes") == 1
    for engine in (None, "sequential"):
        assert 1 <= notebook_runner.side_by_side(engine) <= notebook_runner.MOST


STUDY = {  # what the study's own notebooks declare
    "profile": "quick",
    "cohort": "auto",
    "seed": 0,
    "fold": 0,
    "models": 1,
    "rounds": 1,
    "settings": ["wing"],
    "counts": [25],
    "datasets": ["A"],
}


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("fold", 7, "a whole number from 0 to 4"),
        ("fold", -1, "a whole number from 0 to 4"),
        ("seed", -1, "a whole number from 0 to 4294967295"),
        ("seed", 10**400, "a whole number from 0 to 4294967295"),
        ("models", 0, "a whole number from 1 to 5"),
        ("models", 6, "a whole number from 1 to 5"),
        ("rounds", 0, "a whole number from 1 to 1000"),
        ("profile", "huge", "one of smoke, quick"),
        ("cohort", "mine", "one of auto, crops"),
        ("settings", [], "a list of one or more different entries, each one of"),
        ("settings", ["wingg"], "a list of one or more different entries, each one of"),
        ("settings", ["wing", "wing"], "a list of one or more different entries"),
        ("settings", [["wing"]], "a list of one or more different entries"),
        (
            "counts",
            [0],
            "a list of one or more different entries, each a whole number of labelled knees from 2",
        ),
        (
            "counts",
            [True],
            "a list of one or more different entries, each a whole number of labelled knees from 2",
        ),
        ("datasets", ["C"], "a list of one or more different entries, each one of A, B"),
    ],
)
def test_a_value_out_of_range_is_one_line_with_name_value_and_what_is_allowed(name, value, allowed):
    with pytest.raises(KneelError) as caught:
        notebook_runner.check_parameters({name: value}, notebook_runner.notebook_paths())
    message = str(caught.value)
    assert message.startswith(f"parameter {name}: ") and f"allowed is {allowed}" in message
    assert "\n" not in message and (value == 10**400 or repr(value) in message)


def test_every_parameter_of_the_study_has_what_is_allowed_and_its_default_is():
    notebooks = notebook_runner.notebook_paths()
    for path in notebooks:
        declared = notebook_runner.declared_parameters(path)
        assert declared.keys() <= ALLOWED.keys(), path
        notebook_runner.check_parameters(declared, [path])
    assert notebook_runner.check_parameters(STUDY, notebooks)


@pytest.mark.parametrize("text", ["seed", "=1", ""])
def test_a_parameter_without_name_or_value(text):
    with pytest.raises(KneelError, match="write name=value"):
        notebook_runner.parse_parameter(text)


@pytest.mark.parametrize("value", ["-" * 100_000 + "1", "[" * 5000, "9" * 5000, "__import__('os')"])
def test_what_is_no_literal_stays_text(value):
    assert notebook_runner.parse_parameter(f"seed={value}") == ("seed", value)


def test_what_is_published_does_not_say_where_the_project_lies():
    text = f"'{paths.ROOT}/output/a.png' beside /elsewhere/b.png"
    stream = nbformat.v4.new_output("stream", text=text)
    shown = nbformat.v4.new_output("execute_result", data={"text/plain": text})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[stream, shown])])
    notebook_runner.clean(notebook)
    outputs = notebook.cells[0].outputs
    assert outputs[0].text == outputs[1].data["text/plain"] == "'output/a.png' beside /elsewhere/b.png"
