"""The course in nbgrader: student versions, returned files, points. No server is needed: files are handed
out and come back in any way, each named after its student."""

import filecmp
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from nbgrader.apps import NbGraderAPI
from nbgrader.plugins.zipcollect import FileNameCollectorPlugin
from traitlets.config import Config, PyFileConfigLoader

from kneel_lib import paths
from kneel_lib.errors import KneelError, find
from kneel_lib.files import write_text
from kneel_lib.progress import Progress

HERE = Path(__file__).parent
SOURCES = HERE / "source"
LABS = tuple(sorted(folder.name for folder in SOURCES.iterdir() if folder.is_dir()))
CONFIG = "nbgrader_config.py"


def source_of(lab: str) -> Path:
    """The one source notebook of a lab; `KneelError` for a lab that is not there."""
    (path,) = (SOURCES / find(lab, LABS, "lab")).glob("*.ipynb")
    return path


def default_root() -> Path:
    """Where the course is built unless the teacher says it: build/course (not committed)."""
    return paths.ROOT / "build" / "course"


def settings(root: Path) -> Config:
    """The settings in the course's folder, which a teacher may have changed."""
    if not (root / CONFIG).is_file():
        raise KneelError(f"{root} holds no course: build one there first, `python -m course build`")
    config = PyFileConfigLoader(CONFIG, path=str(root)).load_config()
    config.CourseDirectory.root = str(root.resolve())
    return config


def quiet_api(root: Path) -> NbGraderAPI:
    """nbgrader on the course's folder; it tells what went wrong in its answers."""
    find_own_programs()
    api = NbGraderAPI(config=settings(root))
    api.log.setLevel(logging.ERROR)
    return api


def find_own_programs() -> None:
    """Let nbgrader find alembic, which it starts by its name, where this environment's programs are: nobody
    need have activated it."""
    programs, found = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath).split(os.pathsep)
    if programs not in found:
        os.environ["PATH"] = os.pathsep.join([programs, *found])


def build(root: Path, students: Path | None = None) -> list[Path]:
    """Make the student version of every lab in root/release, and the gradebook; returns the versions' paths.

    students: a csv with a column `id` (and perhaps first_name, last_name, email), for those who should stand
    in the grades before they have returned anything. What was returned and graded before is kept.
    """
    table = read_students(students) if students else None
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES, root / "source", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    if not (root / CONFIG).is_file():
        shutil.copy(HERE / CONFIG, root / CONFIG)
    api = quiet_api(root)
    for lab in LABS:
        succeed(api.generate_assignment(lab, force=True), f"{lab} could not be turned into a student version")
    if table is not None:
        enrol(api, table)
    return [root / "release" / lab / source_of(lab).name for lab in LABS]


def read_students(path: Path) -> pd.DataFrame:
    """A row a student, with a column `id`; `KneelError` where there is none, or no such table."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise KneelError(f"{path} is no table of students that can be read ({error})") from None
    if "id" not in table:
        raise KneelError(f"{path} has no column 'id': it has {', '.join(table.columns)}")
    table["id"] = table["id"].str.strip()
    for line, name in enumerate(table["id"], 2):
        if not re.fullmatch(r"\w[\w.@+-]*", name):
            raise KneelError(
                f"{path}, line {line}: '{name}' is no id of a student: letters, digits and _.@+- are allowed"
            )
    twice = table["id"][table["id"].str.casefold().duplicated()]
    if len(twice):
        raise KneelError(
            f"{path}, line {twice.index[0] + 2}: '{twice.iloc[0]}' is there twice: give each id once"
        )
    return table


def enrol(api: NbGraderAPI, table: pd.DataFrame) -> None:
    """Put students into the gradebook, or change what it says of them."""
    known = [name for name in ("first_name", "last_name", "email") if name in table]
    with api.gradebook as gradebook:
        for row in table.to_dict("records"):
            gradebook.update_or_create_student(row["id"], **{name: row[name] for name in known})


def collect(root: Path, lab: str, returned: Path) -> list[str]:
    """Take in the notebooks STUDENT_LAB....ipynb below a folder; returns the students, sorted.

    Files of other labs are left alone, and so is a file that was taken in before and has not changed. What is
    of no lab by its name is said. Raises `KneelError` where there is none of this lab, or a student has two.
    """
    name, plugin = source_of(lab).name, FileNameCollectorPlugin(config=settings(root))
    labs = {source_of(other).name for other in LABS}
    found: dict[str, Path] = {}
    if not Path(returned).is_dir():
        raise KneelError(f"{returned} is no folder: give the one with what came back")
    for file in returned_files(Path(returned)):
        parts = plugin.collect(file.name)
        if parts is None or f"{parts['file_id']}.ipynb" not in labs:
            print(f"left alone, since it is not called STUDENT_LAB.ipynb: {file}", flush=True)
        elif f"{parts['file_id']}.ipynb" == name:
            first = found.setdefault(parts["student_id"], file)
            if not filecmp.cmp(first, file, shallow=False):
                raise KneelError(f"two files of {parts['student_id']}, {first} and {file}: leave one of them")
    if not found:
        raise KneelError(f"no file below {returned} is called STUDENT_{name}: rename those that came back")
    with quiet_api(root).gradebook as gradebook:
        enrolled = {student.id for student in gradebook.students}
    if strangers := sorted(found.keys() - enrolled) if enrolled else []:
        print(
            f"not on the list of students, and taken in: {', '.join(strangers)}", file=sys.stderr, flush=True
        )
    for student, file in found.items():
        take_in(file, root / "submitted" / student / lab / name)
    return sorted(found)


def returned_files(folder: Path) -> list[Path]:
    """The notebooks below a folder, without what systems and editors leave there."""
    return [
        file
        for file in sorted(folder.rglob("*.ipynb"))
        if not any(part.startswith((".", "__MACOSX")) for part in file.relative_to(folder).parts)
    ]


def take_in(file: Path, target: Path) -> None:
    """Copy a returned file with the time at which it came: by it nbgrader knows what is still to grade."""
    if target.is_file() and filecmp.cmp(file, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)
    (target.parent / "timestamp.txt").write_text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f} UTC")


def grade(root: Path, lab: str, students: Iterable[str] = ()) -> pd.DataFrame:
    """Run and grade what came back of a lab since it was last graded, or of these students, write a feedback
    page each and root/grades.csv; returns the rows of this lab: student, lab, points, of.

    Raises `KneelError` where nobody has returned it, and, when all others are graded, for notebooks that
    could not be run.
    """
    api = quiet_api(root)
    returned = api.get_submitted_students(find(lab, LABS, "lab"))
    for student in students:
        find(student, sorted(returned), f"student who has returned {lab}")
    if not returned:
        raise KneelError(f"nobody has returned {lab} yet: `python -m course collect` takes files in")
    waiting = sorted(students) or sorted(returned - api.get_autograded_students(lab))
    progress, failed = Progress(f"grading {lab}", len(waiting), unit="notebook"), {}
    for number, student in enumerate(waiting):
        with warnings.catch_warnings(action="ignore"):  # of its database, about nbgrader's own code
            graded, page = api.autograde(lab, student), api.generate_feedback(lab, student)
        if not (graded["success"] and page["success"]):
            failed[student] = last_line_of(page if graded["success"] else graded)
        progress.advance(number + 1)
    progress.close()
    table = grades(api)
    write_text(root / "grades.csv", table.to_csv(index=False))
    rows = table[table["lab"] == lab].reset_index(drop=True)
    if failed:
        print(rows.to_string(index=False), flush=True)
        said = "; ".join(f"{student} ({why})" for student, why in failed.items())
        raise KneelError(
            f"{lab} could not be graded, and has no points, of {said}; all others stand in {root}/grades.csv"
        )
    return rows


def grades(api: NbGraderAPI) -> pd.DataFrame:
    """A row for each student and lab that somebody has returned: student, lab, points, of (the most there
    is). Points are missing where nothing was returned, or it could not be graded."""
    rows = []
    with api.gradebook as gradebook:
        students = [student.id for student in gradebook.students]
        for lab in gradebook.assignments:
            points = {row["student"]: row["score"] for row in gradebook.submission_dicts(lab.name)}
            graded = api.get_autograded_students(lab.name) if points else set()
            for student in sorted({*students, *points}) if points else ():
                earned = points[student] if student in graded else float("nan")
                rows.append((student, lab.name, earned, lab.max_score))
    return pd.DataFrame(sorted(rows), columns=["student", "lab", "points", "of"])


def succeed(answer: dict[str, object], otherwise: str) -> None:
    """`KneelError` with nbgrader's own words where it says that it failed."""
    if not answer["success"]:
        raise KneelError(f"{otherwise}: {last_line_of(answer)}")


def last_line_of(answer: dict[str, object]) -> str:
    """What nbgrader's log says last about something that failed, before it says that it has failed."""
    said = [
        line.strip()
        for line in str(answer.get("log") or answer.get("error") or "").splitlines()
        if line.strip() and not any(empty in line for empty in SAYS_NOTHING)
    ]
    return said[-1].removeprefix("[ERROR]").strip() if said else "nbgrader does not say why"


SAYS_NOTHING = "There was an error processing", "Please see the", "Removing failed", "Traceback", "[INFO]"
"""Parts of lines in nbgrader's log from which one learns nothing."""
