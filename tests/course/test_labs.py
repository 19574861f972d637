"""The labs by nbgrader: student versions, and grading. All notebooks run in one kernel, whose start and
imports
they share; between two of them every name is deleted."""

import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.utils import determine_grade
from wrong_answers import WRONG

from course import gradebook
from course.__main__ import main
from kneel_lib import paths
from kneel_lib.errors import KneelError

FORGET = "%reset -f"
IN_STEPS = "EPOCHS = 80", "EPOCHS = 2"
"""The one number in the labs that is lowered here: for how long lab 4 trains where nothing is graded."""


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """The folder of a course with three students, its student versions made by nbgrader."""
    root = tmp_path_factory.mktemp("course")
    (root / "students.csv").write_text("id,first_name\ns01,Ann\ns02,Ben\ns03,Cyd\n")
    assert main(["--folder", str(root / "built"), "build", "--students", str(root / "students.csv")]) == 0
    return root / "built"


def cells_of(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def name_of(cell):
    return cell.metadata.nbgrader.grade_id


@pytest.mark.parametrize("lab", gradebook.LABS)
def test_the_student_version_holds_no_answers(course, lab):
    name = gradebook.source_of(lab).name
    source, given = cells_of(gradebook.source_of(lab)), cells_of(course / "release" / lab / name)
    assert [name_of(cell) for cell in source] == [name_of(cell) for cell in given]
    text = "\n".join(cell.source for cell in given)
    assert "SOLUTION" not in text and "HIDDEN" not in text
    for before, after in zip(source, given):
        if before.metadata.nbgrader.solution:
            assert after.source.startswith(before.source.split("### BEGIN")[0].rstrip())
            assert "YOUR CODE HERE" in after.source and not after.metadata.nbgrader.locked
        elif before.metadata.nbgrader.grade:
            assert after.source == before.source.split("### BEGIN")[0].rstrip()


def test_returned_files_are_told_by_their_names(course, tmp_path, capsys):
    returned = tmp_path / "returned" / "a folder_of"
    returned.mkdir(parents=True)
    release = course / "release" / "lab3" / gradebook.source_of("lab3").name
    for name in (
        "ann-b_lab3_soft_argmax_and_losses (1)",
        "c_d_lab3_soft_argmax_and_losses",
        "e_lab2_pck",
        "notes",
    ):
        shutil.copy(release, returned / f"{name}.ipynb")
    (returned / ".ipynb_checkpoints").mkdir()
    shutil.copy(release, returned / ".ipynb_checkpoints" / f"f_{release.stem}-checkpoint.ipynb")
    root = shutil.copytree(course, tmp_path / "course")
    assert gradebook.collect(root, "lab3", tmp_path / "returned") == ["ann-b", "c_d"]
    assert (root / "submitted" / "c_d" / "lab3" / release.name).is_file()
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("left alone") and said.endswith("notes.ipynb")
    again = returned.with_name("later")
    again.mkdir()
    shutil.copy(release, again / f"c_d_{release.name}")
    assert gradebook.collect(root, "lab3", tmp_path / "returned") == ["ann-b", "c_d"], "the same once more"
    (again / f"c_d_{release.name}").write_text("{}")
    with pytest.raises(KneelError, match=r"two files of c_d, .*: leave one of them"):
        gradebook.collect(root, "lab3", tmp_path / "returned")


def test_bad_input_gets_one_line(course, tmp_path, capsys):
    (tmp_path / "students.csv").write_text("name\nAnn\n")
    for arguments, said in (
        (["--folder", tmp_path / "none", "grade", "lab1"], "holds no course: build one there first"),
        (["--folder", course, "grade", "lab9"], "unknown lab 'lab9': choose one of lab1"),
        (["--folder", course, "grade", "lab2"], "nobody has returned lab2 yet"),
        (["--folder", course, "collect", "lab2", tmp_path], "is called STUDENT_lab2_pck.ipynb"),
        (
            ["--folder", tmp_path / "new", "build", "--students", tmp_path / "students.csv"],
            "has no column 'id'",
        ),
        (["--folder", tmp_path / "new", "build", "--students", tmp_path / "no.csv"], "no table of students"),
    ):
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error


@pytest.fixture(scope="module")
def executed(course):
    """{lab: {"student", "source": executed cells; "wrong": [executed check of each wrong answer]}}."""
    notebook, parts = new_notebook(), {}
    for lab in gradebook.LABS:
        name = gradebook.source_of(lab).name
        source, given = cells_of(gradebook.source_of(lab)), cells_of(course / "release" / lab / name)
        answers = {name_of(cell): cell for cell in source if cell.metadata.nbgrader.solution}
        # as when a returned file is graded: what is locked comes from the source, hidden tests included
        student = [answer if name_of(answer) in answers else own for own, answer in zip(source, given)]
        checks = {name_of(cell): cell for cell in source}
        planted = []
        for wrong in WRONG[lab]:
            planted += [
                new_code_cell(wrong.answer),
                checks[f"check_{wrong.task}"].copy(),
                answers[wrong.task].copy(),
            ]
        parts[lab] = {
            "student": [new_code_cell(cell.source, metadata=cell.metadata) for cell in student],
            "source": [new_code_cell(cell.source, metadata=cell.metadata) for cell in source],
            "wrong": [new_code_cell(cell.source, metadata=cell.metadata) for cell in planted],
        }
        for part, cells in parts[lab].items():
            notebook.cells += cells if part == "wrong" else [new_code_cell(FORGET), *cells]
    for cell in notebook.cells:
        cell.source = cell.source.replace(*IN_STEPS)
    NotebookClient(notebook, timeout=600, kernel_name="python3", allow_errors=True).execute()
    return parts


def failures(cells):
    """{name of a cell: what its error says}."""
    return {
        name_of(cell): f"{output.ename}: {output.evalue}"
        for cell in cells
        for output in cell.outputs
        if output.output_type == "error"
    }


def points(cells):
    """(points, the most there is) by nbgrader's own rule."""
    found = [determine_grade(cell) for cell in cells if cell.metadata.nbgrader.grade]
    return sum(got for got, _ in found), sum(most for _, most in found)


@pytest.mark.trains(long=True)
@pytest.mark.parametrize("lab", gradebook.LABS)
def test_the_source_passes_its_own_grading(executed, lab):
    assert failures(executed[lab]["source"]) == {}
    got, most = points(executed[lab]["source"])
    assert got == most >= 8


@pytest.mark.trains(long=True)
@pytest.mark.parametrize("lab", gradebook.LABS)
def test_the_student_version_is_graded_0_and_its_given_cells_all_run(executed, lab):
    cells = executed[lab]["student"]
    checks = {name_of(cell) for cell in cells if cell.metadata.nbgrader.grade}
    failed = failures(cells)
    assert failed.keys() == checks and all("not written yet" in said for said in failed.values())
    assert points(cells)[0] == 0
    assert all(cell.execution_count for cell in cells)


@pytest.mark.trains(long=True)
@pytest.mark.parametrize(
    "lab, place", [(lab, place) for lab, wrong in WRONG.items() for place in range(len(wrong))]
)
def test_a_wrong_answer_is_caught_by_name(executed, lab, place):
    wrong, check = WRONG[lab][place], executed[lab]["wrong"][3 * place + 1]
    said = failures([check])
    assert said and said[f"check_{wrong.task}"].startswith("AssertionError")
    assert wrong.said in said[f"check_{wrong.task}"]


@pytest.mark.trains(long=True)
def test_nbgrader_grades_what_came_back(course, tmp_path):
    """Through the command line, in kernels of their own: a full answer, and one who forgot the mirror."""
    name, returned = gradebook.source_of("lab1").name, tmp_path / "returned"
    returned.mkdir()
    shutil.copy(gradebook.source_of("lab1"), returned / f"s01_{name}")
    forgetful = nbformat.read(gradebook.source_of("lab1"), as_version=4)
    (cell,) = [
        cell for cell in forgetful.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "look_right"
    ]
    cell.source = next(wrong.answer for wrong in WRONG["lab1"] if wrong.task == "look_right")
    nbformat.write(forgetful, returned / f"s02_{name}")
    for arguments in (["collect", "lab1", returned], ["grade", "lab1"]):
        command = [sys.executable, "-m", "course", "--folder", course, *arguments]
        process = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout + process.stderr
    table = pd.read_csv(course / "grades.csv").set_index("student")
    assert table.loc["s01", "points"] == table.loc["s01", "of"] == table.loc["s02", "points"] + 2
    assert np.isnan(table.loc["s03", "points"]), "enrolled, and nothing returned yet"
    page = (course / "feedback" / "s02" / "lab1" / name).with_suffix(".html").read_text()
    assert "mirrored side forgotten: the left knee has not moved" in page
    (returned / f"s03_{name}").write_text("no notebook")
    gradebook.collect(course, "lab1", returned)
    with pytest.raises(KneelError, match=r"lab1 could not be graded, and has no points, of s03 \(\S"):
        gradebook.grade(course, "lab1")
    assert np.isnan(pd.read_csv(course / "grades.csv").set_index("student").loc["s03", "points"])


def test_grading_without_a_course_is_refused(tmp_path):
    with pytest.raises(KneelError, match="holds no course"):
        gradebook.grade(tmp_path, "lab1")
