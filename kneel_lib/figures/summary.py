"""A folder's answers as a PDF to print: eight knees a page, each with its picture and what was measured, then
what has no knee and why."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.errors import KneelError, unforeseen
from kneel_lib.figures.measurements import draw_measurements
from kneel_lib.figures.style import STYLE
from kneel_lib.files import write_whole
from kneel_lib.pipeline.knee import knee_from
from kneel_lib.pipeline.measurement_table import without_knee

A4 = 210 / 25.4, 297 / 25.4
ROWS, COLUMNS = 4, 2
LINES_A_PAGE, LETTERS_A_LINE = 80, 130
SHOWN = {
    "medial_jsw_min": "medial width, least",
    "lateral_jsw_min": "lateral width, least",
    "medial_jsw_0.250": "medial width at 0.25",
    "lateral_jsw_0.750": "lateral width at 0.75",
    "medial_area": "medial area",
    "lateral_area": "lateral area",
    "plateau_width": "plateau",
    "condyle_width": "condyles",
    "convergence_angle": "convergence",
}
UNITS = {"mm2": "mm²", "px2": "px²", "degree": "°"}
NOTICE = "Research software, not a medical device. [ ]: holds the value from the true landmarks with 90 %."


def write_summary(entries: Sequence[Mapping[str, Any]], files: Mapping[str, Path], path: Path) -> list[str]:
    """Write the PDF of all answered files; returns what went wrong, a line a picture that could not be shown.
    entries: as `predict.answer` makes them; files: {name: file}."""
    troubles: list[str] = []
    knees = [(files[entry["file"]], knee) for entry in entries for knee in entry["knees"]]
    failed = sum(bool(entry["problem"]) for entry in entries)
    said = f"{len(entries)} files, {len(knees)} knees, {failed} files that could not be used"
    absent = [f"{entry['file']}: {why}" for entry in entries for why in without_knee(entry)]
    made = chain(pages(knees, said, troubles), absent_pages(absent))
    write_whole(path, lambda temporary: write_pages(made, temporary))
    return troubles


def write_pages(made: Iterator[Figure], path: Path) -> None:
    """Figures as the pages of a PDF without dates, drawn one at a time."""
    with plt.style.context(STYLE), PdfPages(path, metadata={"CreationDate": None}) as pdf:
        for figure in made:
            pdf.savefig(figure)
            plt.close(figure)


def pages(
    knees: Sequence[tuple[Path, Mapping[str, Any]]], said: str, troubles: list[str]
) -> Iterator[Figure]:
    """The pages one by one; one without a knee says so. What went wrong is added to `troubles`."""
    count = max(-(-len(knees) // (ROWS * COLUMNS)), 1)
    for number in range(count):
        figure, panels = plt.subplots(ROWS, 2 * COLUMNS, figsize=A4, squeeze=False, layout="none")
        figure.subplots_adjust(left=0.04, right=0.98, top=0.93, bottom=0.05, wspace=0.05, hspace=0.12)
        figure.text(0.04, 0.965, f"Landmarks and measurements: {said}", fontsize=10)
        figure.text(0.04, 0.02, NOTICE, fontsize=7)
        figure.text(0.98, 0.02, f"{number + 1} of {count}", fontsize=7, ha="right")
        for axes in panels.flat:
            axes.axis("off")
        here = knees[number * ROWS * COLUMNS : (number + 1) * ROWS * COLUMNS]
        for (picture, table), (file, knee) in zip(panels.reshape(-1, 2), here):
            try:
                show(picture, table, file, knee)
            except KneelError as error:  # it was there when it was answered
                troubles.append(str(error))
            except Exception as error:  # one knee must not cost the others their page
                troubles.append(f"{file} is not on its page ({unforeseen(error)})")
        yield figure


def absent_pages(absent: Sequence[str]) -> Iterator[Figure]:
    """Pages with what has no knee among the answers, and why; none where there is nothing to say."""
    lines = [
        line for text in absent for line in wrap(in_font(text), LETTERS_A_LINE, subsequent_indent="    ")
    ]
    for first in range(0, len(lines), LINES_A_PAGE):
        figure = plt.figure(figsize=A4, layout="none")
        figure.text(0.04, 0.965, "Without a knee, and why", fontsize=10)
        figure.text(0.04, 0.02, NOTICE, fontsize=7)
        here = "\n".join(lines[first : first + LINES_A_PAGE])
        figure.text(0.04, 0.94, here, fontsize=7, va="top", parse_math=False, linespacing=1.3)
        yield figure


def show(picture: Axes, table: Axes, file: Path, knee: Mapping[str, Any]) -> None:
    """One knee: its picture on the left, its numbers on the right."""
    picture.axis("on")
    draw_measurements(picture, read_radiograph(file, spacing_needed=False), knee_from(knee))
    place: dict[str, Any] = {"transform": table.transAxes, "va": "top", "fontsize": 6.5, "parse_math": False}
    table.text(0, 1, "\n".join(headings(knee)), **place, fontweight="bold")
    for row, (name, said) in enumerate(SHOWN.items()):
        table.text(0, 0.84 - 0.07 * row, said, **place)
        table.text(1, 0.84 - 0.07 * row, value(knee["measurements"][name]), **place, ha="right")
    table.text(0, 0.18, "\n".join(reasons(knee)), **place | {"fontsize": 5.5})


def headings(knee: Mapping[str, Any]) -> list[str]:
    """Which knee, and whether it is trusted."""
    name, trust = str(knee["file"]), knee["trust"]
    sure = "" if trust is None else f" ({trust:.2f})"
    return [
        in_font(name if len(name) <= 34 else f"…{name[-33:]}"),
        f"{knee['side']}, {'trusted' if knee['trusted'] else 'not to be trusted'}{sure}",
    ]


@cache
def letters() -> frozenset[int]:
    """What the page's font can show."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def in_font(text: str) -> str:
    """The text with a question mark for each letter that the page's font does not have."""
    return "".join(letter if ord(letter) in letters() else "?" for letter in text)


def reasons(knee: Mapping[str, Any], length: int = 52) -> list[str]:
    """The first doubts, cut to the width of the column."""
    return [text if len(text) <= length else f"{text[: length - 1]}…" for text in knee["doubts"][:3]]


def value(one: Mapping[str, Any]) -> str:
    """A measurement with its unit and interval."""
    if one["value"] is None:
        return "-"
    digits = 0 if one["unit"] in ("mm2", "px", "px2") else 1
    said = f"{np.round(one['value'], digits) + 0.0:.{digits}f} {UNITS.get(one['unit'], one['unit'])}"
    if one["low"] is None:
        return said
    return f"{said} [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"
