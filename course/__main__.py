"""`python -m course`: build the student versions, collect what comes back, grade it (course/README.md)."""

import argparse
import sys
from pathlib import Path

from course import gradebook
from kneel_lib.errors import KneelError
from kneel_lib.paths import shown


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where it ends with an error, told in one line."""
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__)
    parser.add_argument("--folder", type=Path, default=gradebook.default_root(), help="of the course")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="student versions of all labs, and the gradebook")
    build.add_argument("--students", type=Path, help="csv with a column id")
    collect = commands.add_parser("collect", help="take in returned notebooks STUDENT_LAB....ipynb")
    grade = commands.add_parser("grade", help="run and grade what was returned")
    for command in (collect, grade):
        command.add_argument("lab", help=", ".join(gradebook.LABS))
    collect.add_argument("returned", type=Path, help="folder with what came back")
    grade.add_argument("students", nargs="*", help="only of these")
    asked = parser.parse_args(arguments)
    try:
        run(asked)
    except KneelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(asked: argparse.Namespace) -> None:
    """Do what was asked, and say what came of it."""
    if asked.command == "build":
        for path in gradebook.build(asked.folder, asked.students):
            print(shown(path))
    elif asked.command == "collect":
        students = gradebook.collect(asked.folder, asked.lab, asked.returned)
        print(f"{asked.lab}: {len(students)} taken in ({', '.join(students)})")
    else:
        print(gradebook.grade(asked.folder, asked.lab, asked.students).to_string(index=False))
        print(f"all grades: {shown(asked.folder / 'grades.csv')}")
        print(f"pages for the students: {shown(asked.folder / 'feedback')}")


if __name__ == "__main__":
    sys.exit(main())
