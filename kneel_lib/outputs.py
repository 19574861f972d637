"""What else is made of predict's answers, for other software and for people: pictures and tables to correct
(via/), DICOM structured reports (sr/), a PDF (summary.pdf).

Made of the answers that were kept (answers.jsonl), after all files were answered: what goes wrong here costs
no answer, and `--resume` makes it again. Each output is imported when it is asked for.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kneel_lib.data.radiographs import file_format
from kneel_lib.errors import KneelError, unforeseen
from kneel_lib.pipeline.input_files import find_files, printable, written_path
from kneel_lib.pipeline.predict import ANSWERS, read_answers

Entry = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """The kept answers below `output` about the file or the files below `path`."""

    path: Path
    output: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """{name in the answers: file}."""
        found = find_files(self.path, self.output)
        return {name: file for name, (file, why) in found.items() if not why}

    @cached_property
    def entries(self) -> list[Entry]:
        """The entries of these files, in their order."""
        kept = read_answers(self.output / ANSWERS)
        return [kept[name] for name in self.files if name in kept]

    @property
    def found(self) -> list[Entry]:
        """The entries with a knee."""
        return [entry for entry in self.entries if entry["knees"]]

    def file(self, entry: Entry) -> Path:
        return self.files[entry["file"]]


def write_outputs(names: Collection[str], path: Path | str, output: Path | str) -> list[str]:
    """Write the outputs of these names (of OUTPUTS); returns what went wrong, a line a file. Those that lie
    there and were not asked for are named: they are of an earlier run."""
    answers = Answers(Path(path), Path(output))
    for name, place in PLACES.items():
        if name not in names and (answers.output / place).exists():
            print(f"{answers.output / place} is of an earlier run: --{name} makes it again", flush=True)
    return [trouble for name in OUTPUTS if name in names for trouble in OUTPUTS[name](answers)]


def write_via(answers: Answers) -> list[str]:
    """Pictures, via.csv and via.json, to correct in the VGG Image Annotator."""
    from kneel_lib.pipeline.corrections import write_picture, write_tables

    rows, troubles = each(answers.found, lambda one: write_picture(one, answers.file(one), answers.output))
    try:
        write_tables([row for part in rows for row in part], answers.output)
    except KneelError as error:
        troubles.append(printable(str(error)))
    return troubles


def write_reports(answers: Answers) -> list[str]:
    """A structured report of each DICOM file, sr/<file>.dcm."""
    from kneel_lib.pipeline.structured_report import write_report

    images = [entry for entry in answers.found if file_format(answers.file(entry)) == "DICOM"]
    if len(images) < len(answers.found):
        print(f"{len(answers.found) - len(images)} pictures have no structured report: it is for DICOM files")
    folder = answers.output / "sr"

    def write(one: Entry) -> None:
        write_report(one, answers.file(one), written_path(folder, one["file"], ".dcm"))

    return each(images, write)[1]


def write_pdf(answers: Answers) -> list[str]:
    """summary.pdf of all files."""
    from kneel_lib.figures.summary import write_summary

    return write_summary(answers.entries, answers.files, answers.output / "summary.pdf")


OUTPUTS: dict[str, Callable[[Answers], list[str]]] = {"via": write_via, "sr": write_reports, "pdf": write_pdf}
PLACES = {"via": "via", "sr": "sr", "pdf": "summary.pdf"}
"""Where each lies below the folder of the answers."""


def each(entries: list[Entry], task: Callable[[Entry], Any]) -> tuple[list[Any], list[str]]:
    """(what a task made of each entry, what went wrong): whatever a file leads to stays with it."""
    made, troubles = [], []
    for entry in entries:
        try:
            made.append(task(entry))
        except KneelError as error:
            troubles.append(printable(str(error)))
        except Exception as error:
            troubles.append(printable(f"{entry['file']} could not be written ({unforeseen(error)})"))
    return made, troubles
