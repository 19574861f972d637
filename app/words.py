"""What the page says, as HTML; whatever comes from a file is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from app.opened import BY_HAND, Opened
from kneel_lib.figures.summary import SHOWN, UNITS
from kneel_lib.pipeline.measurements import DEFINITIONS, Measurement

SIDES = {"R": "Right knee", "L": "Left knee"}
SAID = {definition.name: definition.said for definition in DEFINITIONS}

INTRODUCTION = """<h1>Landmarks of the knee</h1>
<p>Drop a frontal radiograph of one or both knees: a DICOM file, or a picture (PNG, JPEG, TIFF, BMP, WebP).
You see sixteen landmarks on each knee, what is measured from them, and what speaks against the answer. Move
what is wrong, and save. The file stays on this computer.
<strong>Research software, not a medical device.</strong></p>"""

WAITING = "No file yet."
HOW_TO_MOVE = """<p>Drag a landmark, or choose it and press the arrow keys, which move it by one pixel of the
file (x and y count from the centre of the file's first pixel). An ellipse holds the true landmark with a
probability of 90 %; a cross marks what was moved by hand. Tibia 0 to 8 orange, femur 9 to 15 blue.</p>"""


def box(said: str, kind: str = "") -> str:
    """One message. kind: wrong, doubt or fine."""
    return f'<div class="kneel-said{f" kneel-{kind}" if kind else ""}">{said}</div>'


def wrong(error: object) -> str:
    """What went wrong."""
    return box(escape(str(error)), "wrong")


def looking(name: str) -> str:
    return box(f"Looking at {escape(name)} …")


def summary(opened: Opened, seconds: float) -> str:
    """What was opened, in how many seconds, and how large its pixels are."""
    height, width = opened.radiograph.grey.shape
    step, source = opened.radiograph.mm_per_px, opened.radiograph.spacing_from
    size = f"{step:.3f} mm a pixel ({escape(source or 'as given above')})"
    unknown = "no pixel spacing in the file: measurements are in pixels"
    count = len(opened.knees)
    said = f"<strong>{escape(opened.name)}</strong>: {count} knee{'s' * (count > 1)} in {seconds:.1f} s; "
    return box(f"{said}{width} x {height} pixels, {unknown if step is None else size}.")


def heading(opened: Opened, number: int) -> str:
    """A knee's side, and how far its answer is trusted."""
    return f"<h2>{SIDES[opened.knees[number].side]}</h2>{verdict(opened, number)}"


def verdict(opened: Opened, number: int) -> str:
    """Doubts and notes of a knee."""
    knee, found = opened.knees[number], opened.found[number]
    trust = "" if math.isnan(found.trust) else f"All landmarks within 3 mm: probability {found.trust:.2f}. "
    doubts, notes = items(knee.doubts), [one for one in knee.notes if not one.startswith(BY_HAND)]
    if moved := opened.moved(number):
        trust += f"Moved by hand: {', '.join(map(str, moved))}. "
    if knee.doubts:
        return box(f"{trust}<strong>Not to be trusted:</strong>{doubts}{items(notes)}", "doubt")
    return box(f"{trust}Nothing speaks against this answer.{items(notes)}", "fine")


def items(lines: Iterable[str]) -> str:
    """A list; nothing of none."""
    made = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{made}</ul>" if made else ""


def measurement_tables(opened: Opened, number: int) -> str:
    """The measurements that matter most, and all others below a line that opens them."""
    every = opened.measurements(number)
    first = [one for one in every if one.name in SHOWN]
    rest = [one for one in every if one.name not in SHOWN]
    more = f"<details><summary>{len(rest)} more measurements</summary>{table(rest)}</details>"
    interval = "" if not opened.moved(number) else "<p>No intervals: landmarks were moved by hand.</p>"
    return table(first) + interval + more


def table(rows: Sequence[Measurement]) -> str:
    """Measurements with the intervals that hold the value from the true landmarks with 90 %."""
    head = "<tr><th>Measurement</th><th>Value</th><th>90 % interval</th><th>Unit</th></tr>"
    body = "".join(
        f'<tr><td title="{escape(SAID[one.name])}">{called(one.name)}</td>'
        f"<td>{shown(one.value)}</td><td>{interval_of(one)}</td><td>{UNITS.get(one.unit, one.unit)}</td></tr>"
        for one in rows
    )
    return f"<table>{head}{body}</table>"


def called(name: str) -> str:
    """A measurement's name as people read it."""
    return SHOWN.get(name, name.replace("_", " "))


def interval_of(one: Measurement) -> str:
    known = math.isfinite(one.low) and math.isfinite(one.high)
    return f"{shown(one.low)} to {shown(one.high)}" if known else "–"


def shown(value: float) -> str:
    """A number as it is read: two places, fewer where it is large."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"
